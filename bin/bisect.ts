/** `grind bisect-run`: the first commit that shows a finding or a higher cost than a good one. */
import type { CommandModule, InferredOptionTypes, Options } from 'yargs';
import { basename, join, resolve } from 'node:path';
import { DEFAULT_EXCLUDED, type Manifest } from '../recorder/manifest.js';
import { record } from '../recorder/record.js';
import { UserError } from '../schemas/errors.js';
import {
  BuildFailed,
  checkOut,
  checkoutOf,
  git,
  refuseOwnProgram,
  resolveRevision,
} from './checkout.js';
import { compareLooks, COMPARISON_OPTIONS, gatesOf, look, type Look } from './diff.js';
import { BEHAVIOUR, type JudgedGate } from './diff-gates.js';
import {
  changeFolder,
  chosenBuild,
  chosenCommand,
  readProject,
  type Project,
  type Scenario,
  type ShellCommand,
} from './project.js';
import { guestArguments, RECORD_OPTIONS } from './record.js';
import { listRuns } from './runs.js';

const FORMATS = ['text', 'json'] as const;

const OPTIONS = {
  good: {
    type: 'string',
    requiresArg: true,
    demandOption: true,
    describe: 'A git revision at which all was well; others are compared with it',
  },
  bad: {
    type: 'string',
    requiresArg: true,
    default: 'HEAD',
    describe: 'A later one at which it is not',
  },
  build: {
    type: 'string',
    requiresArg: true,
    describe: 'The command that builds the program; a revision at which it fails is skipped',
  },
  scenario: RECORD_OPTIONS.scenario,
  ...COMPARISON_OPTIONS,
  format: {
    alias: 'f',
    choices: FORMATS,
    default: 'text' as (typeof FORMATS)[number],
    describe: 'How to write the result',
  },
} as const satisfies Record<string, Options>;

type Arguments = InferredOptionTypes<typeof OPTIONS>;

/** The commit could not be told, as those that are left do not build. */
const EXIT_UNKNOWN = 1;

export const bisectCommand: CommandModule<object, Arguments> = {
  command: 'bisect-run',
  describe:
    'Find the first commit that is worse: grind bisect-run --good REV --fail-on … -- PROGRAM ARGS…',
  builder: (yargs) =>
    yargs
      .parserConfiguration({ 'populate--': true })
      .options(OPTIONS)
      .example(
        "$0 bisect-run --good v1.0 --build 'make -s' --fail-on 'new-findings,instructions>+2%' -- ./prog input",
        'Between v1.0 and HEAD',
      ),
  handler: bisect,
};

async function bisect(args: Arguments): Promise<void> {
  const project = await readProject(process.cwd());
  const comparison = { ...args, project };
  const gates = gatesOf(comparison);
  if (gates.length === 0)
    throw new UserError("Say with --fail-on what to look for, such as 'new-findings'.");
  // Each commit is recorded in a folder of its own, whose name programs ask for and open.
  if (gates.some(({ name }) => name === BEHAVIOUR))
    throw new UserError(
      `bisect-run cannot look for ${BEHAVIOUR}: name a finding or a cost, such as new-findings or instructions>+2%.`,
    );
  const command = chosenCommand(project, args.scenario, guestArguments());
  if (command.argv.length === 0)
    throw new UserError('Say after -- which program to record, or name a --scenario.');
  const recorder = new CommitRecorder(project, command, args);
  const lookAt = async (commit: string): Promise<Look> =>
    look(await recorder.runOf(commit), comparison);

  const repository = process.cwd();
  const good = resolveRevision(args.good, repository);
  const bad = resolveRevision(args.bad, repository);
  if (git(repository, 'merge-base', good, bad) !== good)
    throw new UserError(`${args.good} does not come before ${args.bad}: name an earlier revision.`);
  const base = await lookAt(good);
  /** The conditions that hold at a commit. */
  const judge = async (commit: string): Promise<readonly JudgedGate[]> => {
    const held = compareLooks(base, await lookAt(commit), gates).gates.filter(({ holds }) => holds);
    const verdict = held.length > 0 ? held.map(({ what }) => what).join('; ') : 'good';
    tell(`${nameOf(commit)}: ${verdict}`);
    return held;
  };
  const found: Found = { commit: bad, held: await judge(bad) };
  if (found.held.length === 0)
    throw new UserError(
      `Nothing of ${gates.map(({ text }) => text).join(', ')} holds at ${args.bad}.`,
    );
  const left = await search(good, found, judge);
  print(found, left, args.format);
  if (left.length > 0) process.exitCode = EXIT_UNKNOWN;
}

interface Found {
  /** The earliest commit that is known to be bad. */
  commit: string;
  held: readonly JudgedGate[];
}

/**
 * Asks for the commit that halves what is left, as `git bisect` does, until one is found.
 * @returns commits that were skipped and may be the first as well
 */
async function search(
  firstGood: string,
  found: Found,
  judge: (commit: string) => Promise<readonly JudgedGate[]>,
): Promise<string[]> {
  const good = [firstGood];
  const skipped = new Set<string>();
  for (;;) {
    // Nearest to the middle first, each followed by what is known of it.
    const list = git(
      process.cwd(),
      ...['rev-list', '--bisect-all', found.commit, ...good.map((commit) => `^${commit}`)],
    );
    const open = list
      .split('\n')
      .map((line) => line.split(' ')[0]!)
      .filter((commit) => commit !== found.commit);
    const next = open.find((commit) => !skipped.has(commit));
    if (next === undefined) return open;
    try {
      const held = await judge(next);
      if (held.length > 0) [found.commit, found.held] = [next, held];
      else good.push(next);
    } catch (error) {
      if (!(error instanceof BuildFailed)) throw error;
      tell(`${nameOf(next)}: skipped, as it does not build`);
      skipped.add(next);
    }
  }
}

/** Records commits, each once. */
class CommitRecorder {
  private readonly out: string;
  private readonly build: ShellCommand | undefined;

  constructor(
    private readonly project: Project,
    private readonly command: Scenario,
    private readonly args: Arguments,
  ) {
    this.out = resolve(args.out);
    this.build = chosenBuild(project, args.build);
    refuseOwnProgram(command.argv[0]!, command.folder);
  }

  /** The folder of a run of a commit: one that there is, or a new one. Throws BuildFailed. */
  async runOf(commit: string): Promise<string> {
    const known = this.knownRun(commit);
    if (known !== undefined) return known;
    const { argv, folder } = this.command;
    tell(`recording ${nameOf(commit)}`);
    const checkout = checkOut(commit, folder, this.build);
    const here = process.cwd();
    try {
      changeFolder(checkout.directory);
      const run = await record({
        ...{ argv, out: this.out, name: this.freeName(commit) },
        excludedEnvironment: [...DEFAULT_EXCLUDED, ...this.project['env-exclude']],
        scenario: this.args.scenario,
        checkout: checkout.description,
        // Each commit gets the same input, and our own result is all that standard output has.
        stdio: ['ignore', 2, 2],
      });
      return run.folder;
    } finally {
      changeFolder(here);
      checkout.release();
    }
  }

  private knownRun(commit: string): string | undefined {
    const { argv, folder } = this.command;
    const wanted = checkoutOf(commit, folder, this.build);
    const isSame = ({ checkout, status, ...run }: Manifest): boolean =>
      checkout?.root === wanted.root &&
      checkout.build === wanted.build &&
      status === 'complete' &&
      JSON.stringify(run.argv) === JSON.stringify(argv) &&
      run.directory === join(wanted.root, wanted.folder);
    return listRuns(this.out).findLast(({ manifest }) => manifest && isSame(manifest))?.folder;
  }

  private freeName(commit: string): string {
    const taken = new Set(listRuns(this.out).map(({ name }) => name));
    const stem = `${this.args.scenario ?? basename(this.command.argv[0]!)}-${commit.slice(0, 12)}`;
    for (let attempt = 1; ; attempt++) {
      const name = attempt === 1 ? stem : `${stem}-${attempt}`;
      if (!taken.has(name)) return name;
    }
  }
}

const tell = (sentence: string): void => void process.stderr.write(`grind: ${sentence}\n`);

const nameOf = (commit: string): string =>
  git(process.cwd(), 'show', '--no-patch', '--format=%h (%s)', commit);

function print(
  { commit, held }: Found,
  left: readonly string[],
  format: Arguments['format'],
): void {
  if (format === 'json') {
    const gates = held.map(({ gate, what }) => ({ gate: gate.text, what }));
    console.log(JSON.stringify({ commit, isCertain: left.length === 0, skipped: left, gates }));
    return;
  }
  console.log(
    left.length === 0
      ? `The first commit that is worse is ${nameOf(commit)}:`
      : `The first commit that is worse is ${nameOf(commit)}, or one of those that do not build before it: ${left.map(nameOf).join(', ')}:`,
  );
  for (const { gate, what } of held) console.log(`  ${gate.text}: ${what}`);
  console.log(`What it changed: grind diff ${commit.slice(0, 12)}~1 ${commit.slice(0, 12)}`);
}
