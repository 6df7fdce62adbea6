/** `grind analyze`: judges a recorded execution. */
import type { Argv, CommandModule } from 'yargs';
import {
  ANALYSIS_NAMES,
  loadAnalyses,
  type Analysis,
  type OptionValues,
} from '../analyses/analysis.js';
import { writeOutput } from '../analyses/output-file.js';
import type { Report } from '../analyses/report.js';
import { Trace, type ProcessRow } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { formatCount } from '../schemas/numbers.js';
import { process_starts } from '../schemas/tables.js';
import { setFlags } from './compiler-flags.js';
import { storeFindings } from './finding-files.js';
import { judge, suppressionsOf } from './judge.js';
import { OUT_OPTION, RUN_WORD } from './numbers.js';
import { ownFrame } from './places.js';
import { plainOptions } from './plain-options.js';
import { presetOf, readProject } from './project.js';
import { chosenProcesses, findRun, manifestOf } from './runs.js';
import { painter } from './terminal.js';

const FORMATS = ['text', 'table', 'json'] as const;
const MAX_CALLERS = 500;
/** Executions of fewer instructions than this are short. */
const SHORT_TICKS = 150_000_000n;

/** Options of every analysis. */
const OPTIONS = {
  format: {
    alias: 'f',
    choices: FORMATS,
    default: 'text' as (typeof FORMATS)[number],
    describe: "How to print the findings: in Valgrind's words, one per row, or as JSON",
  },
  'num-callers': {
    type: 'number',
    requiresArg: true,
    default: 12,
    describe: `Depth of the call stacks shown, at most ${MAX_CALLERS}`,
  },
  process: {
    type: 'number',
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: 'Judge only this process image, by its number as in `grind info`; can be repeated',
  },
  suppressions: {
    type: 'string',
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: 'Hide what this Valgrind suppression file names; can be repeated',
  },
  'default-suppressions': {
    choices: ['yes', 'no'] as const,
    default: 'yes' as 'yes' | 'no',
    describe: "Hide what the installed Valgrind's own suppression file names",
  },
  'gen-suppressions': {
    choices: ['no', 'all'] as const,
    default: 'no' as 'no' | 'all',
    describe: 'Print with each finding the suppression that hides it',
  },
  'xml-file': {
    type: 'string',
    requiresArg: true,
    describe: "Write the findings as Valgrind's XML, too; %p in the name stands for the process id",
  },
  'log-file': {
    type: 'string',
    requiresArg: true,
    describe: "Write the findings as Valgrind's log, too; %p in the name stands for the process id",
  },
  'error-exitcode': {
    type: 'number',
    requiresArg: true,
    default: 0,
    describe: 'Exit with this status when there are errors',
  },
  verbose: {
    alias: 'v',
    type: 'boolean',
    default: false,
    describe: 'Say which suppressions were of use',
  },
  out: OUT_OPTION,
} as const;

interface Arguments {
  analysis: string;
  run?: string;
  format: (typeof FORMATS)[number];
  'num-callers': number;
  process?: number[];
  suppressions?: string[];
  'default-suppressions': 'yes' | 'no';
  'gen-suppressions': 'no' | 'all';
  'error-exitcode': number;
  'xml-file'?: string;
  'log-file'?: string;
  verbose: boolean;
  out: string;
  readonly [option: string]: unknown;
}

/**
 * The command, with the options of the analysis that the command line names: the option parser does
 * not report what is wrong in options that it gets late.
 */
export async function analyzeCommand(): Promise<CommandModule<object, Arguments>> {
  const name = await analysisOnCommandLine();
  const own = name === undefined ? {} : await optionsOf(await loadAnalyses(name));
  return {
    command: 'analyze <analysis> [run]',
    describe:
      'Judge a recorded execution: memory errors, leaks, races, wrong uses of locks; and profiles',
    builder: (yargs) => declare(yargs, own) as Argv<Arguments>,
    handler: runAnalyze,
  };
}

/** The arguments of a command line that is plain after the name of the analysis; undefined when it is not. */
export async function plainArguments(
  analysis: string,
  argv: readonly string[],
): Promise<Arguments | undefined> {
  const options = await optionsOf(await loadAnalyses(analysis));
  const own = Object.entries(options).map(([name, { default: preset, values }]) => {
    return [name, { type: 'string', default: preset, ...(values && { choices: values }) }] as const;
  });
  const found = plainOptions(argv, { ...Object.fromEntries(own), ...OPTIONS }, 1);
  const [run] = found?._ ?? [];
  return found && ({ ...found, analysis, ...(run !== undefined && { run }) } as Arguments);
}

/** Of all these analyses: one of the same name goes to each that has it. The project file's values are their defaults. */
async function optionsOf(analyses: readonly Analysis[]): Promise<Analysis['options']> {
  const project = await readProject(process.cwd());
  const presets = Object.assign(
    {},
    ...analyses.map((one) => presetOf(project, one)),
  ) as OptionValues;
  const all = Object.assign({}, ...analyses.map(({ options }) => options)) as Analysis['options'];
  return Object.fromEntries(
    Object.entries(all).map(([name, option]) => [
      name,
      { ...option, default: presets[name] ?? option.default },
    ]),
  );
}

function declare(yargs: Argv, own: Analysis['options']): Argv {
  yargs
    .positional('analysis', {
      type: 'string',
      describe: `${ANALYSIS_NAMES.join(', ')}, or a file of your own (.ts, .js, .sql: see grind new-analysis); several separated by commas`,
    })
    .positional('run', RUN_WORD)
    .options(OPTIONS)
    .example('$0 analyze memcheck', 'Memory errors of the last run')
    .example('$0 analyze memcheck --leak-check=full', 'Leaks too')
    .example('$0 analyze race', 'Data races, and wrong uses of locks')
    .example('$0 analyze heap', 'Heap use over time and by call stack')
    .example('$0 analyze memcheck,./mine.ts', 'Together with an analysis of your own');
  for (const [option, { describe, default: preset, values }] of Object.entries(own)) {
    yargs.option(option, {
      type: 'string',
      requiresArg: true,
      describe,
      default: preset,
      ...(values && { choices: values }),
    });
  }
  return yargs;
}

/** The analysis that the command line asks for, if it is of this command. */
async function analysisOnCommandLine(): Promise<string | undefined> {
  if (process.argv[2] !== 'analyze') return undefined;
  const { default: yargs } = await import('yargs');
  const { _: words } = await yargs(process.argv.slice(3))
    .options(OPTIONS)
    .help(false)
    .version(false)
    .exitProcess(false)
    .fail(false)
    .parseAsync()
    .catch(() => ({ _: [] }));
  return words[0] === undefined ? undefined : String(words[0]);
}

/** Runs an analysis and prints its report. */
export async function runAnalyze(args: Arguments): Promise<void> {
  const callers = wholeNumber('num-callers', args['num-callers'], 1, MAX_CALLERS);
  const exitcode = wholeNumber('error-exitcode', args['error-exitcode'], 0, 255);
  // Most of replay's own code runs too briefly for inlining to pay.
  setFlags('--max-inlined-bytecode-size-cumulative=0');
  const analyses = await loadAnalyses(args.analysis);
  const project = await readProject(process.cwd());
  const suppressions = suppressionsOf(
    [...project.suppressions, ...(args.suppressions ?? [])],
    args['default-suppressions'] === 'yes',
  );
  const trace = Trace.open(await findRun(args.run, args.out));
  const ticks = trace.processes.reduce((sum, process) => sum + process.ticks, 0n);
  // Code of a short execution rarely runs often enough to repay being optimised.
  if (ticks < SHORT_TICKS) {
    setFlags('--wasm-tiering-budget=10000000');
    if (Number.parseInt(process.versions.v8) < 12) setFlags('--interrupt-budget=1000000'); // gone since
  }
  try {
    for (const { sentence } of trace.damages()) console.error(`grind: ${sentence}`);
    const reports = await judge(trace, analyses, {
      given: args,
      callers,
      suppressions,
      generate: args['gen-suppressions'] === 'all',
      processes: chosenProcesses(trace, args.process),
    });
    for (const report of reports) storeFindings(trace, report.name, report.findings, report.tables);
    if (args['xml-file'] !== undefined) await writeXml(trace, reports, args['xml-file']);
    if (args['log-file'] !== undefined) await writeLog(trace, reports, args['log-file']);
    await print(reports, args);
    if (reports.some(({ counts }) => counts.errors > 0)) process.exitCode = exitcode;
  } finally {
    trace.close();
  }
}

/** As `valgrind --xml=yes --xml-file=` does: a document for each process image. */
async function writeXml(trace: Trace, reports: readonly Report[], path: string): Promise<void> {
  const { valgrindXml } = await import('./valgrind-xml.js');
  const [report, judged] = onlyReport(trace, reports, 'xml-file');
  for (const { image, parentPid } of judged) {
    const xml = valgrindXml(report, image, parentPid, manifestOf(trace));
    writeOutput('xml-file', path, image, judged.length > 1, xml);
  }
}

/** As `valgrind --log-file=` does: what goes to one file stands one after another. */
async function writeLog(trace: Trace, reports: readonly Report[], path: string): Promise<void> {
  const { valgrindLog } = await import('./valgrind-log.js');
  const [report, judged] = onlyReport(trace, reports, 'log-file');
  const logs = new Map<string, string>();
  for (const { image, parentPid } of judged) {
    const file = path.replaceAll('%p', String(image.pid));
    const log = valgrindLog(trace, report, image, parentPid, manifestOf(trace));
    logs.set(file, (logs.get(file) ?? '') + log);
  }
  for (const [file, log] of logs) writeOutput('log-file', file, judged[0]!.image, false, log);
}

/** The report of the only analysis, and the process images that it judged. Throws UserError if there are more. */
function onlyReport(
  trace: Trace,
  reports: readonly Report[],
  option: string,
): [Report, { image: ProcessRow; parentPid: number }[]] {
  const [report] = reports;
  if (!report || reports.length > 1)
    throw new UserError(`--${option} is for one analysis: run the others apart.`);
  const parents = new Map<number, number>();
  for (const { process, parent_pid } of trace.rows(process_starts))
    parents.set(process, parent_pid);
  const judged = trace.processes
    .filter(({ process }) => report.processNumbers.includes(process))
    .map((image) => ({ image, parentPid: parents.get(image.process) ?? 0 }));
  return [report, judged];
}

/** Several reports stand one after another; in JSON, in a list. */
async function print(reports: readonly Report[], { format, verbose }: Arguments): Promise<void> {
  if (format === 'json') {
    const values = reports.map((report) => report.json());
    return write(`${JSON.stringify(values.length === 1 ? values[0] : values, undefined, 1)}\n`);
  }
  const paint = painter();
  const coloured: Parameters<Report['text']>[1] = (severity, what) =>
    paint(COLOURS[severity], what);
  for (const report of reports) {
    if (reports.length > 1) write(`== ${report.name} ==\n`);
    if (format === 'table') write(`${await tableText(report)}\n`);
    else write([...report.text(verbose, coloured), ''].join('\n'));
  }
}

/** Of findings, on a terminal. */
const COLOURS = { error: 'red', warning: 'yellow', note: 'cyan' } as const;

const write = (text: string): void => void process.stdout.write(text);

function wholeNumber(option: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new UserError(`--${option} takes a whole number from ${least} to ${most}.`);
  return value;
}

/** One row per finding. */
async function tableText(report: Report): Promise<string> {
  const rows = report.findings
    .filter(({ isShown }) => isShown)
    .map(({ number, finding, stacks }) => {
      // The program's own code says more than the allocator's.
      const own = stacks[0] && ownFrame(stacks[0]);
      return [
        number,
        finding.process,
        finding.kind,
        formatCount(finding.count),
        formatCount(finding.tick),
        own?.fn || '???',
        own?.file ? `${own.file}:${own.line}` : (own?.module ?? ''),
        finding.what,
      ];
    });
  const { errors, contexts, suppressed } = report.counts;
  const total = `${formatCount(errors)} errors from ${formatCount(contexts)} contexts, ${formatCount(suppressed)} suppressed`;
  const head = ['finding', 'process', 'kind', 'count', 'tick', 'function', 'place', 'what'];
  const { layOut } = await import('./lay-out.js');
  return rows.length > 0 ? `${layOut(head, rows)}\n${total}` : total;
}
