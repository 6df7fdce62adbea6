/** Where the package is, and where what grind builds of itself at first use is kept. */
import { statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's folder, which has package.json. */
export const PACKAGE_FOLDER = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const ROOT = 0;

/** In the package, or in the user's cache when the package is read-only; the first that has it, or can be written to, is used. */
export function buildFolders(): string[] {
  const cache = userCache();
  const folders = [join(PACKAGE_FOLDER, 'build')];
  if (cache !== undefined && mayRunFrom(cache)) folders.push(join(cache, 'grind', 'build'));
  return folders;
}

/** Undefined where nothing says who the user is. */
function userCache(): string | undefined {
  try {
    return process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  } catch {
    return undefined;
  }
}

/** Root runs nothing that another user can have put there, such as one who kept their HOME when they became root. */
function mayRunFrom(folder: string): boolean {
  if (process.geteuid?.() !== ROOT) return true;
  const found = statSync(folder, { throwIfNoEntry: false });
  return found ? found.uid === ROOT : mayRunFrom(dirname(folder));
}
