/** `grind record`: records a program. */
import { resolve } from 'node:path';
import type { CommandModule, InferredOptionTypes, Options } from 'yargs';
import { DEFAULT_EXCLUDED } from '../recorder/manifest.js';
import { DEFAULT_CALLERS, record, type Progress } from '../recorder/record.js';
import { UserError } from '../schemas/errors.js';
import { formatCount } from '../schemas/numbers.js';
import type { Checkout } from './checkout.js';
import { setFlags } from './compiler-flags.js';
import { formatSize, OUT_OPTION, parseSize } from './numbers.js';
import {
  changeFolder,
  chosenBuild,
  chosenCommand,
  readProject,
  type Scenario,
  type ShellCommand,
} from './project.js';

export const RECORD_OPTIONS = {
  out: OUT_OPTION,
  name: {
    type: 'string',
    requiresArg: true,
    describe: "The run's name; by default the program's name and the time",
  },
  quiet: { type: 'boolean', default: false, describe: 'Print nothing of our own' },
  children: {
    type: 'boolean',
    default: true,
    describe: 'Record the programs that the program starts (--no-children: not)',
  },
  freeres: {
    type: 'boolean',
    default: true,
    describe:
      "At a program's end, let the C library free what it holds, for analyses of leaks (--no-freeres: not)",
  },
  'env-exclude': {
    type: 'string',
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: `Do not store environment variables whose name matches, such as 'AWS_*'; these are never stored: ${DEFAULT_EXCLUDED.join(' ')}`,
  },
  'max-size': {
    type: 'string',
    requiresArg: true,
    describe:
      'Stop recording when a process has written this much, or the run has this size: 500M, 2G, …',
  },
  values: {
    type: 'boolean',
    default: true,
    describe: 'Show values of memory accesses (--no-values: readers see NULL)',
  },
  'num-callers': {
    type: 'number',
    requiresArg: true,
    default: DEFAULT_CALLERS,
    describe: 'Depth of call stacks, at most 500',
  },
  'start-at': {
    type: 'string',
    requiresArg: true,
    describe: 'Begin to record at function:NAME, tick:N, or request',
  },
  'stop-at': {
    type: 'string',
    requiresArg: true,
    describe: 'Stop recording at function:NAME, tick:N, or request',
  },
  'valgrind-arg': {
    type: 'string',
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: "An option for Valgrind, such as '--smc-check=all'; can be repeated",
  },
  commit: {
    type: 'string',
    requiresArg: true,
    describe: 'Check this git revision out into a folder of its own, and record there',
  },
  build: {
    type: 'string',
    requiresArg: true,
    describe: 'With --commit: the command that builds the program there',
  },
  scenario: {
    type: 'string',
    requiresArg: true,
    describe: 'Record the command that the project file has under this name; no -- is needed then',
  },
  verify: {
    type: 'boolean',
    default: false,
    describe: 'Store hashes of the memory at the end, which replay checks',
  },
} as const satisfies Record<string, Options>;

export const recordCommand: CommandModule<object, InferredOptionTypes<typeof RECORD_OPTIONS>> = {
  command: 'record',
  describe: 'Record a program: grind record [options] -- PROGRAM ARGS…',
  builder: (yargs) => {
    const isAsked = process.argv[2] === 'record';
    const isComplete = process.argv.some((word) => /^--(help|scenario(=.*)?)?$/.test(word));
    if (isAsked && !isComplete) throw noProgram();
    return yargs
      .parserConfiguration({ 'populate--': true })
      .options(RECORD_OPTIONS)
      .example('$0 record -- ls -l', 'record ls')
      .example(
        '$0 record --name slow --env-exclude "AWS_*" -- ./server --port 8080',
        'with options',
      )
      .example("$0 record --commit HEAD~1 --build 'make -s' -- ./server", 'the commit before');
  },
  handler: runRecord,
};

/** Records as the options say, and takes over the program's exit status. */
export async function runRecord(args: InferredOptionTypes<typeof RECORD_OPTIONS>): Promise<void> {
  tuneCompiler();
  const project = await readProject(process.cwd());
  const { scenario } = args;
  const { argv, folder } = chosenCommand(project, scenario, guestArguments());
  if (argv.length === 0) throw noProgram();
  if (args.build !== undefined && args.commit === undefined)
    throw new UserError('--build is for --commit, which names the revision to build.');
  if (
    !Number.isInteger(args['num-callers']) ||
    args['num-callers'] < 1 ||
    args['num-callers'] > 500
  ) {
    throw new UserError('--num-callers takes a whole number from 1 to 500.');
  }
  const progress = args.quiet || !process.stderr.isTTY ? undefined : new ProgressLine();
  const out = resolve(args.out);
  const checkout =
    args.commit === undefined
      ? undefined
      : await checkedOut(args.commit, { argv, folder }, chosenBuild(project, args.build));
  changeFolder(checkout?.directory ?? folder);
  const result = await record({
    argv,
    out,
    scenario,
    checkout: checkout?.description,
    name: args.name,
    children: args.children,
    freeres: args.freeres,
    excludedEnvironment: [
      ...DEFAULT_EXCLUDED,
      ...project['env-exclude'],
      ...(args['env-exclude'] ?? []),
    ],
    maxSizeBytes:
      args['max-size'] === undefined ? undefined : parseSize('max-size', args['max-size']),
    values: args.values,
    callers: args['num-callers'],
    startAt: args['start-at'],
    stopAt: args['stop-at'],
    engineOptions: args['valgrind-arg'] ?? [],
    verify: args.verify,
    onProgress: (state) => progress?.show(state),
    onNotice: args.quiet ? undefined : (sentence) => process.stderr.write(`grind: ${sentence}\n`),
  }).finally(() => checkout?.release());
  progress?.clear();
  if (!args.quiet) {
    const processes = `${formatCount(result.processes)} process${result.processes === 1 ? '' : 'es'}`;
    process.stderr.write(
      `grind: recorded ${result.name}: ${processes}, ${formatCount(result.instructions)} instructions, ${formatSize(result.sizeBytes)}\n`,
    );
  }
  process.exitCode = result.exitStatus;
}

/** Loaded only where it is wanted, as all of this is. */
async function checkedOut(
  revision: string,
  { argv, folder }: Scenario,
  build: ShellCommand | undefined,
): Promise<Checkout> {
  const { checkOut, refuseOwnProgram } = await import('./checkout.js');
  refuseOwnProgram(argv[0]!, folder);
  return checkOut(revision, folder, build);
}

/** Our own code runs for some ten milliseconds in all, its loops being in C: to compile it costs more than that saves. */
function tuneCompiler(): void {
  setFlags('--no-opt', '--no-sparkplug');
}

function noProgram(): UserError {
  return new UserError(
    'Say after -- which program to record: grind record [options] -- PROGRAM ARGS…',
  );
}

/** What follows `--`, taken from the command line itself: the parser would turn 007 into 7. */
export function guestArguments(): string[] {
  const dashes = process.argv.indexOf('--');
  return dashes === -1 ? [] : process.argv.slice(dashes + 1);
}

/**
 * One line on the terminal that is written again each second. The cursor is left at its beginning, so
 * that what the program prints takes its place.
 */
class ProgressLine {
  private shown = false;

  show({ seconds, processes, sizeBytes }: Progress): void {
    const count = processes === 1 ? '1 process' : `${processes} processes`;
    process.stderr.write(
      `\r\x1b[Kgrind: recording for ${Math.round(seconds)} s, ${count}, ${formatSize(sizeBytes)}\r`,
    );
    this.shown = true;
  }

  clear(): void {
    if (this.shown) process.stderr.write('\r\x1b[K');
  }
}
