/** Where findings are in source files, as other programs want to be told: by paths that they find. */
import { execFileSync } from 'node:child_process';
import { isAbsolute, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { NamedStack } from '../analyses/report.js';
import type { Frame } from '../replay/symbols.js';

/** The root of the repository that the current folder is in, or the folder. */
export function sourceRoot(): string {
  try {
    return execFileSync('git', ['rev-parse', '--show-toplevel'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return process.cwd();
  }
}

/** The path of a frame's source file from the root, if it is within it; else its whole path, as far as it is known. */
export function sourcePath(
  { file, directory }: Pick<Frame, 'file' | 'directory'>,
  root: string,
): string {
  if (!directory) return file;
  const path = resolve(root, directory, file);
  const within = relative(root, path);
  return within.startsWith('..') || isAbsolute(within) ? path : within;
}

/** The same as a relative reference or a URL. */
export function sourceUri(frame: Frame, root: string): string {
  const path = sourcePath(frame, root);
  if (isAbsolute(path)) return pathToFileURL(path).href;
  return path.split('/').map(encodeURIComponent).join('/');
}

/** A frame of code below one folder as if it were below another. */
export function relocated<F extends Pick<Frame, 'directory'>>(
  frame: F,
  from: string,
  to: string,
): F {
  const { directory } = frame;
  const isBelow = directory === from || directory.startsWith(`${from}/`);
  return isBelow ? { ...frame, directory: to + directory.slice(from.length) } : frame;
}

/** The innermost frame with a source file that is not of the engine's replacements of allocators. */
export const ownFrame = ({ frames }: NamedStack): Frame | undefined =>
  frames.find(({ file }) => file && !file.startsWith('vg_replace')) ?? frames[0];
