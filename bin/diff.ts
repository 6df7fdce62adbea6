/** `grind diff`: what changed between two runs, such as those of two commits. */
import type { CommandModule, InferredOptionTypes, Options } from 'yargs';
import { loadAnalyses, type Analysis } from '../analyses/analysis.js';
import type { Report } from '../analyses/report.js';
import type { Manifest } from '../recorder/manifest.js';
import type { Frame } from '../replay/symbols.js';
import { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { both, changes, costsOf, lineChanges, type Costs } from './diff-costs.js';
import { markSameCode, pathChanges } from './call-paths.js';
import { annotations, junit } from './ci-formats.js';
import { BEHAVIOUR_MODES, behaviourDiff, type BehaviourDiff } from './diff-behaviour.js';
import {
  compared,
  diffFindings,
  type ComparedFinding,
  type FindingsDiff,
} from './diff-findings.js';
import { diffJson, diffMarkdown, diffText, type RunsDiff, type Side } from './diff-formats.js';
import { BEHAVIOUR, judgeGates, parseGates, type Gate } from './diff-gates.js';
import { judge, suppressionsOf } from './judge.js';
import { OUT_OPTION } from './numbers.js';
import { withPlacements } from './placement-noise.js';
import { relocated, sourceRoot } from './places.js';
import { presetOf, readProject, type Project } from './project.js';
import { renamedFunctions } from './renames.js';
import { chosenProcesses, findRun, manifestOf } from './runs.js';
import { sarifLog, type BaselineState } from './sarif.js';
import { sourceChanges, type RunSource, type SourceChanges } from './source-changes.js';
import { writeText } from './write-text.js';

const FORMATS = ['text', 'markdown', 'json', 'sarif', 'junit', 'github'] as const;

/** Options that say what is compared, and how. */
export const COMPARISON_OPTIONS = {
  analyses: {
    type: 'string',
    requiresArg: true,
    describe:
      'Analyses whose findings and counts are compared, separated by commas; `none` for none; by default memcheck,race,callgraph',
  },
  set: {
    type: 'string',
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: 'An option of the analyses, such as leak-check=summary; can be repeated',
  },
  suppressions: {
    type: 'string',
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: 'Leave out findings that this Valgrind suppression file names; can be repeated',
  },
  'fail-on': {
    type: 'string',
    requiresArg: true,
    describe:
      "Exit with status 1 if one of these holds, such as 'new-findings,instructions>+2%,peak-heap>+4096'",
  },
  out: OUT_OPTION,
} as const satisfies Record<string, Options>;

const OPTIONS = {
  ...COMPARISON_OPTIONS,
  format: {
    alias: 'f',
    choices: FORMATS,
    default: 'text' as (typeof FORMATS)[number],
    describe: 'How to write the difference',
  },
  rows: {
    type: 'number',
    requiresArg: true,
    default: 10,
    describe: 'Show at most so many rows of each table; 0 for all',
  },
  behaviour: {
    choices: BEHAVIOUR_MODES,
    default: 'auto' as (typeof BEHAVIOUR_MODES)[number],
    describe:
      'Say where the executions part; auto: of the largest process images of together 500 million instructions',
  },
  placements: {
    type: 'number',
    requiresArg: true,
    default: 4,
    describe:
      'Where cache misses differ, simulate each run so many times more with its memory in other places',
  },
  output: { alias: 'o', type: 'string', requiresArg: true, describe: 'Write to this file' },
  scenario: {
    type: 'string',
    requiresArg: true,
    describe: 'A git revision means the last run of this scenario there',
  },
} as const satisfies Record<string, Options>;

/** The values of these options, and what the project file has for them. */
export type Comparison = InferredOptionTypes<typeof COMPARISON_OPTIONS> & { project: Project };
type Arguments = InferredOptionTypes<typeof OPTIONS> & { before: string; after?: string };

/** Addresses of a call stack that findings are compared by. */
const CALLERS = 12;
const DEFAULT_ANALYSES = 'memcheck,race,callgraph';
/** A condition of `--fail-on` holds. */
const EXIT_FAILED = 1;
/** Leaks are findings like others here, and mispredicted branches a cost. */
const PRESET: Readonly<Record<string, string>> = { 'leak-check': 'full', 'branch-sim': 'yes' };

const RUN =
  "A run's name, a folder, or a git revision, which means the last run that was recorded there";

export const diffCommand: CommandModule<object, Arguments> = {
  command: 'diff <before> [after]',
  describe: 'Say what changed between two runs: findings, costs, system calls',
  builder: (yargs) =>
    yargs
      .positional('before', { type: 'string', demandOption: true, describe: RUN })
      .positional('after', { type: 'string', describe: `${RUN}; by default the last run` })
      .options(OPTIONS)
      .example('$0 diff HEAD~1 HEAD', 'What the last commit changed')
      .example(
        "$0 diff main @last --fail-on 'new-findings,instructions>+2%'",
        'Fail when the last run is worse than that of main',
      ),
  handler: diff,
};

async function diff(args: Arguments): Promise<void> {
  if (!Number.isInteger(args.placements) || args.placements < 0)
    throw new UserError('--placements takes a whole number, from 0.');
  const comparison: Comparison = { ...args, project: await readProject(process.cwd()) };
  const gates = gatesOf(comparison);
  const lookAt = async (run: string | undefined): Promise<Look> =>
    look(await findRun(run, args.out, args.scenario), comparison);
  const [before, after] = [await lookAt(args.before), await lookAt(args.after)];
  const behaviour = await compareBehaviour(args, gates);
  const found = await withPlacements(
    compareLooks(before, after, gates, behaviour),
    ...([before, after, comparison, args.placements] as const),
  );
  const { findings } = found;
  const most = args.rows === 0 ? Infinity : args.rows;
  const text = {
    text: () => diffText(found, most),
    markdown: () => diffMarkdown(found, most),
    json: () => JSON.stringify(diffJson(found), undefined, 1),
    sarif: () => JSON.stringify(sarifOf(findings, after.side.manifest), undefined, 1),
    junit: () => junit('grind diff', findings.added, findings.kept, found.gates),
    github: () => annotations(findings.added, found.gates, sourceRoot()),
  }[args.format]();
  if (args.output === undefined) process.stdout.write(`${text}\n`);
  else writeText(args.output, `${text}\n`);
  if (found.gates.some(({ holds }) => holds)) process.exitCode = EXIT_FAILED;
}

/** The conditions to fail on. */
export const gatesOf = ({ 'fail-on': given, project }: Comparison): Gate[] =>
  parseGates(given ?? project['fail-on'] ?? '');

/** What changed from one run to another. */
export function compareLooks(
  before: Look,
  after: Look,
  gates: readonly Gate[],
  behaviour?: BehaviourDiff,
): RunsDiff {
  const figures = both(before.costs.figures, after.costs.figures);
  const sources = sourceChanges(before.source, after.source);
  const renames = renamedFunctions(before.costs.lines, after.costs.lines, sources);
  const { mapped } = sources ?? UNCHANGED;
  const findings = diffFindings(before.findings, after.findings, {
    ...{ functions: renames.functions, mapped, root: after.root },
  });
  const [first, second] = [before.costs, after.costs];
  return {
    ...{ before: before.side, after: after.side, findings, figures },
    spreads: {
      functions: markSameCode(
        changes(first.functions, second.functions, renames.inModules),
        { paths: first.paths, modules: before.side.manifest.modules },
        { paths: second.paths, modules: after.side.manifest.modules },
      ),
      lines: lineChanges(first.lines, second.lines, { mapped }),
      paths: pathChanges(first.paths, second.paths, renames.functions),
      allocations: changes(first.allocations, second.allocations, renames.functions),
      blocks: changes(first.blocks, second.blocks, renames.functions),
      peak: changes(first.peak, second.peak, renames.functions),
      d1: changes(first.d1, second.d1, renames.functions),
      ll: changes(first.ll, second.ll, renames.functions),
      branches: changes(first.branches, second.branches, renames.functions),
      waits: changes(first.waits, second.waits),
      holds: changes(first.holds, second.holds),
      syscalls: changes(first.syscalls, second.syscalls),
    },
    gates: judgeGates(gates, findings.added.length, figures, behaviour),
    behaviour,
    missing: [...[before, after].flatMap(({ missing }) => missing), ...(sources?.missing ?? [])],
  };
}

/** Undefined if it is not wanted. */
async function compareBehaviour(
  { before, after, out, scenario, behaviour }: Arguments,
  gates: readonly Gate[],
): Promise<BehaviourDiff | undefined> {
  const isGate = gates.some(({ name }) => name === BEHAVIOUR);
  if (behaviour === 'no' && !isGate) return undefined;
  const folderOf = (run: string | undefined): Promise<string> => findRun(run, out, scenario);
  const folders = { before: await folderOf(before), after: await folderOf(after) };
  return behaviourDiff(folders, isGate || behaviour === 'yes');
}

function sarifOf({ added, fixed, kept }: FindingsDiff, { versions }: Manifest): object {
  const inState = (list: readonly ComparedFinding[], state: BaselineState) =>
    list.map((finding) => ({ finding, state }));
  return sarifLog(
    [...inState(added, 'new'), ...inState(kept, 'unchanged'), ...inState(fixed, 'absent')],
    versions.grind,
    sourceRoot(),
  );
}

/** Without a repository, lines are where they were. */
const UNCHANGED: Pick<SourceChanges, 'mapped'> = {
  mapped: (line) => ({ ...line, isChanged: false }),
};

/** What is known of one run. */
export interface Look {
  readonly side: Side;
  readonly source: RunSource;
  /** Of the repository, as the frames of findings have it. */
  readonly root: string;
  readonly costs: Costs;
  readonly findings: readonly ComparedFinding[];
  readonly missing: readonly string[];
}

/** Has analyses judge a trace as a comparison's options say, but for those given. */
export const judgeFor = (
  trace: Trace,
  analyses: readonly Analysis[],
  { set, suppressions, project }: Comparison,
  given: Readonly<Record<string, string>>,
): Promise<Report[]> =>
  judge(trace, analyses, {
    given: { ...settings(set ?? []), ...given },
    preset: (analysis) => ({ ...PRESET, ...presetOf(project, analysis) }),
    callers: CALLERS,
    suppressions: suppressionsOf([...project.suppressions, ...(suppressions ?? [])], true),
    generate: false,
    processes: chosenProcesses(trace, undefined),
  });

/** Judges a run, a folder, for a comparison. */
export async function look(folder: string, comparison: Comparison): Promise<Look> {
  const { analyses: names, project } = comparison;
  const trace = Trace.open(folder);
  try {
    const wanted = names ?? project.analyses ?? DEFAULT_ANALYSES;
    const analyses = wanted === 'none' ? [] : await loadAnalyses(wanted);
    const reports = await judgeFor(trace, analyses, comparison, {});
    const manifest = manifestOf(trace);
    // Other programs are told of places in the current folder's repository, wherever the revision was checked out.
    const here = sourceRoot();
    const from = manifest.git?.root ?? here;
    const isHere = from === here || !manifest.checkout;
    return {
      side: { run: trace.name, manifest },
      source: { folder, manifest },
      root: isHere ? from : here,
      costs: await costsOf(trace, reports, from),
      findings: reports.flatMap((report) =>
        shownFindings(report, isHere ? (frame) => frame : (frame) => relocated(frame, from, here)),
      ),
      missing: reports.flatMap(({ missing }) =>
        missing.map(({ sentence }) => `${trace.name}: ${sentence}`),
      ),
    };
  } finally {
    trace.close();
  }
}

function shownFindings(
  { name, findings }: Report,
  placed: (frame: Frame) => Frame,
): ComparedFinding[] {
  return findings
    .filter(({ isShown }) => isShown)
    .map((reported) => {
      const stacks = reported.stacks.map(({ role, frames }) => ({
        ...{ role, frames: frames.map(placed) },
      }));
      return compared(name, { ...reported, stacks });
    });
}

function settings(assignments: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    assignments.map((text) => {
      const at = text.indexOf('=');
      if (at < 1) throw new UserError(`--set ${text}: write the option's name, = and its value.`);
      return [text.slice(0, at).replace(/^--/, ''), text.slice(at + 1)];
    }),
  );
}
