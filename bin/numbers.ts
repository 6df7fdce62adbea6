/** How sizes and numbers are shown, and what commands share that must load quickly. */

import type { Options, PositionalOptions } from 'yargs';
import { UserError } from '../schemas/errors.js';

/** Where runs are kept, under the current folder, unless --out says otherwise. */
export const RUNS_FOLDER = '.grind';

/** A size for people: `12.3 MB`. */
export function formatSize(sizeBytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = sizeBytes;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 || size >= 99.5 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** `500M` and the like, in bytes. Throws UserError, which names the option, for anything else. */
export function parseSize(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?$/i.exec(text);
  if (!match)
    throw new UserError(`--${option} takes a size such as 500M or 2G, and not "${text}".`);
  const scale = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 }[match[2]!.toLowerCase()]!;
  return Math.max(1, Math.round(Number(match[1]) * scale));
}

/** The option of commands that says where the runs are. */
export const OUT_OPTION = {
  type: 'string',
  requiresArg: true,
  default: RUNS_FOLDER,
  describe: 'Folder that holds the runs',
} as const satisfies Options;

/** The word of a command that names a run: see `findRun`. */
export const RUN_WORD = {
  type: 'string',
  describe: "A run's name, a folder, or a git revision; by default, or as @last, the last run",
} as const satisfies PositionalOptions;
