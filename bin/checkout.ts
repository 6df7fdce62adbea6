/**
 * Checks a revision out into a folder of grind's own, a git worktree, and builds it there. The user's checkout and index
 * stay as they are. The folder's path has the same length for all commits, so that paths in arguments, environment and
 * debug information place nothing else on the stack or heap of one than of another. It is made anew each time, as
 * what a program left there would be another input, and stays as long as there is a run of it, for analyses read the
 * program's files.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, relative } from 'node:path';
import type { RunDescription } from '../recorder/manifest.js';
import { UserError } from '../schemas/errors.js';
import type { ShellCommand } from './project.js';

export interface Checkout {
  /** Full hash. */
  readonly commit: string;
  /** What corresponds there to the folder that was asked for. */
  readonly directory: string;
  /** As the run's manifest has it. */
  readonly description: NonNullable<RunDescription['checkout']>;
  /** Lets others use the folder again. */
  release(): void;
}

/** The build command failed: what it printed went to standard error. */
export class BuildFailed extends UserError {}

/**
 * Checks out and builds. Throws UserError for what is no revision or lacks the folder, BuildFailed when the
 * command fails; then nothing is left.
 * @param folder - in the user's checkout: a command that belongs there will run in what corresponds to it
 * @param build - likewise
 */
export function checkOut(revision: string, folder: string, build?: ShellCommand): Checkout {
  const top = git(folder, 'rev-parse', '--show-toplevel');
  const commit = resolveRevision(revision, top);
  const { root } = describe(commit, top, build);
  const release = lock(root);
  try {
    removeTree(root, top);
    mkdirSync(dirname(root), { recursive: true });
    // Hooks are for the user's own checkout.
    git(top, '-c', 'core.hooksPath=/dev/null', 'worktree', 'add', '--detach', root, commit);
    const inTree = (path: string): string => {
      const mapped = join(root, within(top, path));
      if (existsSync(mapped)) return mapped;
      throw new UserError(`${revision} has no folder ${within(top, path)}.`);
    };
    if (build) runBuild(build.command, inTree(build.folder), revision);
    const description = { root, build: buildText(top, build) };
    return { commit, directory: inTree(folder), description, release };
  } catch (error) {
    removeTree(root, top);
    release();
    throw error;
  }
}

/** The full hash of a commit. Throws UserError when the revision is none. */
export function resolveRevision(revision: string, folder: string): string {
  try {
    return git(
      folder,
      'rev-parse',
      '--verify',
      '--quiet',
      '--end-of-options',
      `${revision}^{commit}`,
    );
  } catch {
    throw new UserError(`${revision} is no revision of the repository in this folder.`);
  }
}

/** What a run of a commit with a build has in its manifest, and where in the checkout a folder is. */
export function checkoutOf(
  commit: string,
  folder: string,
  build: ShellCommand | undefined,
): Checkout['description'] & { readonly folder: string } {
  const top = git(folder, 'rev-parse', '--show-toplevel');
  return { ...describe(commit, top, build), folder: within(top, folder) };
}

/** Removes the folder that a run was recorded in, if it is one of ours. */
export function removeCheckout({ root }: Checkout['description']): void {
  if (!existsSync(root)) return;
  let repository: string | undefined;
  try {
    repository = git(root, 'rev-parse', '--path-format=absolute', '--git-common-dir');
  } catch {
    repository = undefined; // it is gone, or there is no git
  }
  removeTree(root, repository);
}

/** Refuses a program that is in the user's checkout, as that is not what was checked out. */
export function refuseOwnProgram(program: string, folder: string): void {
  if (!isAbsolute(program)) return;
  const top = git(folder, 'rev-parse', '--show-toplevel');
  if (!relative(top, program).startsWith('..'))
    throw new UserError(
      `${program} is in your own checkout and not in that of the revision: name it by its path from the current folder.`,
    );
}

/** A path as it is below the root of a repository. Throws UserError when it is not. */
function within(top: string, path: string): string {
  const below = relative(top, path);
  if (below.startsWith('..')) throw new UserError(`${path} is not in the repository ${top}.`);
  return below;
}

const buildText = (top: string, build: ShellCommand | undefined): string | null =>
  build === undefined ? null : `${within(top, build.folder) || '.'}: ${build.command}`;

function describe(
  commit: string,
  top: string,
  build: ShellCommand | undefined,
): Checkout['description'] {
  const text = buildText(top, build);
  const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  const name = `${commit.slice(0, 12)}-${digest(text ?? '')}`;
  return { root: join(cache, 'grind', 'trees', digest(top), name), build: text };
}

const digest = (text: string): string =>
  createHash('sha256').update(text).digest('hex').slice(0, 8);

function runBuild(command: string, cwd: string, revision: string): void {
  // What it prints is not the recorded program's output.
  const { status, signal } = spawnSync('sh', ['-c', command], {
    cwd,
    env: { ...environment(), PWD: cwd },
    stdio: ['ignore', 2, 2],
  });
  if (status === 0) return;
  throw new BuildFailed(
    `\`${command}\` failed at ${revision} (${signal ?? `status ${status}`}), so there is nothing to record.`,
  );
}

function removeTree(root: string, repository: string | undefined): void {
  rmSync(root, { recursive: true, force: true });
  if (repository === undefined) return;
  try {
    git(repository, 'worktree', 'remove', '--force', '--force', root);
  } catch {
    // The repository does not know it.
  }
}

/** One grind at a time uses a folder. Returns what gives it back. */
function lock(root: string): () => void {
  const path = `${root}.lock`;
  mkdirSync(dirname(root), { recursive: true });
  for (;;)
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const owner = Number(readFileSync(path, 'utf8'));
      if (owner > 0 && owner !== process.pid && existsSync(`/proc/${owner}`))
        throw new UserError(`Process ${owner} is using ${root}: wait until it has ended.`);
      rmSync(path, { force: true }); // its owner was cut off
    }
}

/** Ours without what would make git look at another repository or index, as where a hook runs us. */
function environment(): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of ['GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE', 'GIT_PREFIX', 'GIT_COMMON_DIR'])
    delete env[name];
  return env;
}

/** What git prints. Throws UserError with what it says when it fails. */
export function git(folder: string, ...args: string[]): string {
  try {
    return execFileSync('git', args, {
      cwd: folder,
      env: environment(),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 1 << 30,
    }).trimEnd();
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    throw new UserError(`git ${args[0]} failed: ${stderr?.trim().split('\n').at(-1) || message}.`);
  }
}
