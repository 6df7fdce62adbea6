/** `grind gc`: removes the oldest runs, as many as are more than wanted. */
import type { CommandModule, InferredOptionTypes, Options } from 'yargs';
import { UserError } from '../schemas/errors.js';
import { formatCount } from '../schemas/numbers.js';
import { formatSize, OUT_OPTION, parseSize } from './numbers.js';
import { folderBytes, isUnderWay, listRuns, removeRun, type ListedRun } from './runs.js';

const OPTIONS = {
  keep: { type: 'number', requiresArg: true, describe: 'Keep so many runs, the last ones' },
  'max-size': {
    type: 'string',
    requiresArg: true,
    describe: 'Keep runs of at most this size together, the last ones: 500M, 20G, …',
  },
  'dry-run': { type: 'boolean', default: false, describe: 'Say what would be removed' },
  out: OUT_OPTION,
} as const satisfies Record<string, Options>;

export const gcCommand: CommandModule<object, InferredOptionTypes<typeof OPTIONS>> = {
  command: 'gc',
  describe: 'Remove the oldest runs',
  builder: (yargs) =>
    yargs
      .options(OPTIONS)
      .example('$0 gc --keep 10 --max-size 20G', 'Both conditions hold after it'),
  handler: async ({ keep, 'max-size': size, 'dry-run': isDry, out }) => {
    if (keep === undefined && size === undefined)
      throw new UserError('Say what to keep: --keep 10, --max-size 20G, or both.');
    if (keep !== undefined && (!Number.isInteger(keep) || keep < 0))
      throw new UserError('--keep takes a whole number, from 0.');
    const most = size === undefined ? Infinity : parseSize('max-size', size);
    const removed: Sized[] = [];
    for (const { run, sizeBytes } of surplus(listRuns(out), keep ?? Infinity, most)) {
      if (await isUnderWay(run)) continue;
      removed.push({ run, sizeBytes });
      if (!isDry) removeRun(run);
      console.log(`${isDry ? 'would remove' : 'removed'} ${run.name}`);
    }
    const bytes = removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    console.log(`${formatCount(removed.length)} runs, ${formatSize(bytes)}`);
  },
};

interface Sized {
  readonly run: ListedRun;
  readonly sizeBytes: number;
}

/** The oldest runs, given the oldest first, without which the others are few and small enough. */
function surplus(runs: readonly ListedRun[], keep: number, mostBytes: number): Sized[] {
  const sized = runs.map((run) => ({ run, sizeBytes: folderBytes(run.folder) }));
  let total = sized.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let first = 0;
  while (first < sized.length && (sized.length - first > keep || total > mostBytes))
    total -= sized[first++]!.sizeBytes;
  return sized.slice(0, first);
}
