/** `grind diff`: what changed between two runs, such as those of two commits. */
import type { CommandModule, InferredOptionTypes, Options } from 'yargs';
import { loadAnalyses } from '../analyses/analysis.js';
import type { Report } from '../analyses/report.js';
import type { Manifest } from '../recorder/manifest.js';
import { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { both, changes, costsOf, type Costs } from './diff-costs.js';
import { annotations, junit } from './ci-formats.js';
import {
  compared,
  diffFindings,
  type ComparedFinding,
  type FindingsDiff,
} from './diff-findings.js';
import { diffJson, diffMarkdown, diffText, type RunsDiff, type Side } from './diff-formats.js';
import { judgeGates, parseGates } from './diff-gates.js';
import { judge, suppressionsOf } from './judge.js';
import { OUT_OPTION } from './numbers.js';
import { sourceRoot } from './places.js';
import { chosenProcesses, findRun, manifestOf } from './runs.js';
import { sarifLog, type BaselineState } from './sarif.js';
import { writeText } from './write-text.js';

const FORMATS = ['text', 'markdown', 'json', 'sarif', 'junit', 'github'] as const;

const OPTIONS = {
  analyses: {
    type: 'string',
    requiresArg: true,
    default: 'memcheck,race',
    describe:
      'Analyses whose findings and counts are compared, separated by commas; `none` for none',
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
  output: { alias: 'o', type: 'string', requiresArg: true, describe: 'Write to this file' },
  out: OUT_OPTION,
} as const satisfies Record<string, Options>;

type Arguments = InferredOptionTypes<typeof OPTIONS> & { before: string; after?: string };

/** Addresses of a call stack that findings are compared by. */
const CALLERS = 12;
/** A condition of `--fail-on` holds. */
const EXIT_FAILED = 1;
/** Leaks are findings like others here. */
const PRESET: Readonly<Record<string, string>> = { 'leak-check': 'full' };

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
  const gates = parseGates(args['fail-on'] ?? '');
  const [before, after] = [await look(args.before, args), await look(args.after, args)];
  const figures = both(before.costs.figures, after.costs.figures);
  const findings = diffFindings(before.findings, after.findings);
  const found: RunsDiff = {
    ...{ before: before.side, after: after.side, findings, figures },
    spreads: {
      functions: changes(before.costs.functions, after.costs.functions),
      allocations: changes(before.costs.allocations, after.costs.allocations),
      syscalls: changes(before.costs.syscalls, after.costs.syscalls),
    },
    gates: judgeGates(gates, findings.added.length, figures),
    missing: [before, after].flatMap(({ missing }) => missing),
  };
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

function sarifOf({ added, fixed, kept }: FindingsDiff, { versions }: Manifest): object {
  const inState = (list: readonly ComparedFinding[], state: BaselineState) =>
    list.map((finding) => ({ finding, state }));
  return sarifLog(
    [...inState(added, 'new'), ...inState(kept, 'unchanged'), ...inState(fixed, 'absent')],
    versions.grind,
    sourceRoot(),
  );
}

/** What is known of one run. */
interface Look {
  readonly side: Side;
  readonly costs: Costs;
  readonly findings: readonly ComparedFinding[];
  readonly missing: readonly string[];
}

async function look(run: string | undefined, args: Arguments): Promise<Look> {
  const trace = Trace.open(await findRun(run, args.out));
  try {
    const analyses = args.analyses === 'none' ? [] : await loadAnalyses(args.analyses);
    const reports = await judge(trace, analyses, {
      given: { ...PRESET, ...settings(args.set ?? []) },
      callers: CALLERS,
      suppressions: suppressionsOf(args.suppressions, true),
      generate: false,
      processes: chosenProcesses(trace, undefined),
    });
    return {
      side: { run: trace.name, manifest: manifestOf(trace) },
      costs: await costsOf(trace, reports),
      findings: reports.flatMap(shownFindings),
      missing: reports.flatMap(({ missing }) =>
        missing.map(({ sentence }) => `${trace.name}: ${sentence}`),
      ),
    };
  } finally {
    trace.close();
  }
}

const shownFindings = ({ name, findings }: Report): ComparedFinding[] =>
  findings.filter(({ isShown }) => isShown).map((reported) => compared(name, reported));

function settings(assignments: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    assignments.map((text) => {
      const at = text.indexOf('=');
      if (at < 1) throw new UserError(`--set ${text}: write the option's name, = and its value.`);
      return [text.slice(0, at).replace(/^--/, ''), text.slice(at + 1)];
    }),
  );
}
