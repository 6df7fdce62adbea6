/**
 * What an analysis is: something that reads a trace and says what is wrong with the program. Those
 * that come with grind and those in a user's own module are the same to the rest of it.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Trace } from '../replay/trace.js';
import { didYouMean, UserError } from '../schemas/errors.js';
import type { Finding, Outcome, Summary } from './finding.js';
import type { MakePart } from './replay-parts.js';

/** An option of the command line that only one analysis has. Its value is text. */
export interface AnalysisOption {
  /** One sentence without a full stop, for `--help`. */
  readonly describe: string;
  /** The value when the option is not given. */
  readonly default: string;
  /** The values that there are; absent: any text. */
  readonly values?: readonly string[];
  /** Which text will do, in words such as "a whole number from 1"; absent: the analysis checks it, or takes all. */
  readonly takes?: { readonly what: string; readonly isRight: (value: string) => boolean };
}

/** An option whose value is a whole number within bounds. */
export const wholeNumber = (
  describe: string,
  preset: number,
  { least = 0, most = Number.MAX_SAFE_INTEGER } = {},
): AnalysisOption => ({
  describe,
  default: String(preset),
  takes: {
    what: `a whole number from ${least}${most < Number.MAX_SAFE_INTEGER ? ` to ${most}` : ''}`,
    isRight: (value) => /^\d+$/.test(value) && Number(value) >= least && Number(value) <= most,
  },
});

/** Values of an analysis's options by name, without dashes before it. */
export type OptionValues = Readonly<Record<string, string>>;

/**
 * The values of an analysis's options, of which the command line gave some. Throws UserError for an option given twice, or
 * with a value that it does not take.
 */
export function optionValues(
  { options }: Analysis,
  given: Readonly<Record<string, unknown>>,
): OptionValues {
  return Object.fromEntries(
    Object.entries(options).map(([name, option]) => {
      const value = given[name] ?? option.default;
      if (Array.isArray(value)) throw new UserError(`Give --${name} only once.`);
      const text = String(value);
      const { takes, values } = option;
      const isRight = takes?.isRight(text) ?? values?.includes(text) ?? true;
      if (!isRight && (takes || text !== option.default))
        throw new UserError(
          `--${name} takes ${takes?.what ?? values!.join(' or ')}, and not "${text}".`,
        );
      return [name, text];
    }),
  );
}

/** What a run of an analysis is given besides the trace and its own options. */
export interface AnalysisContext {
  /** Numbers of the process images to judge, in rising order. */
  readonly processes: readonly number[];
  /** Addresses of a call stack that are shown; none beyond are needed. */
  readonly callers: number;
  /** To be told from time to time, as a number from 0 to 1, how much of all processes is done. */
  readonly progress: (done: number) => void;
}

/** How a finding counts: some are known but not shown, such as leaks of a kind not asked for. */
export interface Weight {
  /** It stands in the report. */
  readonly isShown: boolean;
  /** It is counted as an error. */
  readonly isError: boolean;
}

/** What is said of a process besides its findings, once suppressions have been applied. */
export interface Closing {
  /** Lines that stand between the findings: after those up to the tick. In order of the tick. */
  readonly during?: readonly { readonly tick: bigint; readonly lines: readonly string[] }[];
  /** Lines before `late`. */
  readonly before: readonly string[];
  /** The findings to be printed here and not in order of time. */
  readonly late: readonly Finding[];
  /** Lines after `late`. */
  readonly after: readonly string[];
  /** In the JSON format instead of the outcome's summary. */
  readonly summary?: Summary;
}

export interface Analysis {
  /** As on the command line. */
  readonly name: string;
  /** One sentence without a full stop. */
  readonly describe: string;
  readonly options: Readonly<Record<string, AnalysisOption>>;
  /**
   * Judges process images: one outcome for each. Findings that are equal may be given once with a
   * count or several times. Throws UserError for wrong options.
   */
  run(
    trace: Trace,
    options: OptionValues,
    context: AnalysisContext,
  ): AsyncIterable<Outcome> | Iterable<Outcome>;
  /** Present: all that `run` does is this part in a replay, so that several analyses can share one. */
  readonly part?: MakePart;
  /** Absent: all findings are shown, and are errors unless their severity is less. */
  weigh?(finding: Finding, options: OptionValues): Weight;
  /** Given the outcome with all findings. Absent: its summary is printed as names and values. */
  close?(outcome: Outcome, options: OptionValues): Closing;
}

type Options = Readonly<Record<string, AnalysisOption>>;

/** What an analysis does: judges in its own way, or as a part of a replay or reader of events, or in SQL. */
export type Definition<O extends Options> = Pick<Analysis, 'name' | 'describe' | 'close'> & {
  readonly options?: O;
  weigh?(finding: Finding, options: OptionValues): Weight;
} & (
    | {
        run(
          trace: Trace,
          options: { readonly [N in keyof O]: string },
          context: AnalysisContext,
        ): AsyncIterable<Outcome> | Iterable<Outcome>;
      }
    | { readonly part: MakePart<{ readonly [N in keyof O]: string }> }
    | {
        /** A SELECT, whose rows are findings or a table: see sql-analysis.ts. */
        readonly sql: string;
      }
  );

/**
 * An analysis from what it does; with a `part`, that is all that it does. Mistakes in a user's definition are for
 * `loadAnalyses` to find.
 */
export function defineAnalysis<const O extends Options = Record<never, never>>(
  definition: Definition<O>,
): Analysis {
  const analysis = { options: {}, ...definition } as unknown as Analysis & { sql?: string };
  const { part, sql } = analysis;
  if (!part && sql === undefined) return analysis;
  return {
    ...analysis,
    async *run(trace, options, context) {
      if (sql !== undefined) {
        const { judgeBySql } = await import('./sql-analysis.js');
        return yield* judgeBySql(trace, { name: analysis.name, sql }, options, context);
      }
      const { runParts } = await import('./outcomes.js');
      for await (const [outcome] of runParts(trace, [{ part: part!, options }], context))
        yield outcome!;
    },
  };
}

/** The analyses that come with grind, each loaded only when it is wanted. */
const BUILT_IN: Readonly<Record<string, () => Promise<{ readonly analysis: Analysis }>>> = {
  memcheck: () => import('./memcheck/memcheck.js'),
  race: () => import('./race/race.js'),
  heap: () => import('./heap/heap.js'),
  cache: () => import('./cache/cache.js'),
  sharing: () => import('./sharing/sharing.js'),
  callgraph: () => import('./callgraph/callgraph.js'),
  reuse: () => import('./reuse/reuse.js'),
  capcheck: () => import('./capcheck/capcheck.js'),
};

export const ANALYSIS_NAMES: readonly string[] = Object.keys(BUILT_IN);

/**
 * The analyses that the user names, separated by commas: those that come with grind, and paths of files that hold one
 * (plugin.ts). A path may have commas. Throws UserError when there is none, or one is not what an analysis must be.
 */
export async function loadAnalyses(names: string): Promise<Analysis[]> {
  const list = existsSync(resolve(names)) ? [names] : names.split(',').map((name) => name.trim());
  const all = await Promise.all(list.map(loadAnalysis));
  const twice = all.find(({ name }, i) => all.findIndex((other) => other.name === name) < i);
  if (twice) throw new UserError(`Name the analysis ${twice.name} only once.`);
  return all;
}

async function loadAnalysis(name: string): Promise<Analysis> {
  const builtIn = Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name] : undefined;
  if (builtIn !== undefined) return (await builtIn()).analysis;
  if (!existsSync(resolve(name)))
    throw new UserError(
      `There is no analysis ${name}${didYouMean(name, ANALYSIS_NAMES) || '.'} Name ${ANALYSIS_NAMES.join(', ')}, or a file (.ts, .js or .sql) of your own, which \`grind new-analysis\` begins.`,
    );
  const { loadPlugin } = await import('./plugin.js');
  const loading = plugins.get(name) ?? loadPlugin(name);
  plugins.set(name, loading);
  return loading;
}

/** Of the user's own, by path: first their options are asked for, then they run. */
const plugins = new Map<string, Promise<Analysis>>();
