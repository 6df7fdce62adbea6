/**
 * What an analysis is: something that reads a trace and says what is wrong with the program. Those
 * that come with grind and those in a user's own module are the same to the rest of it.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import type { Finding, Outcome, Summary } from './finding.js';
import type { MakePart } from './replay-parts.js';

/** An option of the command line that only one analysis has. Its value is text. */
export interface AnalysisOption {
  /** One sentence without a full stop, for `--help`. */
  readonly describe: string;
  /** The value when the option is not given. */
  readonly default: string;
  /** The values that there are; absent: any text, which the analysis checks in `run`. */
  readonly values?: readonly string[];
}

/** Values of an analysis's options by name, without dashes before it. */
export type OptionValues = Readonly<Record<string, string>>;

/** The values of an analysis's options, of which the command line gave some. Throws UserError for an option given twice. */
export function optionValues(
  { options }: Analysis,
  given: Readonly<Record<string, unknown>>,
): OptionValues {
  return Object.fromEntries(
    Object.entries(options).map(([name, option]) => {
      const value = given[name] ?? option.default;
      if (Array.isArray(value)) throw new UserError(`Give --${name} only once.`);
      return [name, String(value)];
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
  /** Absent: all findings are shown and are errors. */
  weigh?(finding: Finding, options: OptionValues): Weight;
  /** Given the outcome with all findings. Absent: its summary is printed as names and values. */
  close?(outcome: Outcome, options: OptionValues): Closing;
}

/** The analyses that come with grind, each loaded only when it is wanted. */
const BUILT_IN: Readonly<Record<string, string>> = {
  memcheck: './memcheck/memcheck.js',
  race: './race/race.js',
  heap: './heap/heap.js',
  cache: './cache/cache.js',
  sharing: './sharing/sharing.js',
  callgraph: './callgraph/callgraph.js',
  reuse: './reuse/reuse.js',
  capcheck: './capcheck/capcheck.js',
};

export const ANALYSIS_NAMES: readonly string[] = Object.keys(BUILT_IN);

/**
 * The analyses that the user names, separated by commas: those that come with grind, and paths of JavaScript modules that
 * export one as `analysis` or as their default. A path may have commas. Throws UserError when there is none.
 */
export async function loadAnalyses(names: string): Promise<Analysis[]> {
  const list = existsSync(resolve(names)) ? [names] : names.split(',');
  const all = await Promise.all(list.map(loadAnalysis));
  const twice = all.find(({ name }, i) => all.findIndex((other) => other.name === name) < i);
  if (twice) throw new UserError(`Name the analysis ${twice.name} only once.`);
  return all;
}

async function loadAnalysis(name: string): Promise<Analysis> {
  const builtIn = Object.hasOwn(BUILT_IN, name) ? BUILT_IN[name] : undefined;
  if (builtIn !== undefined) return analysisOf((await import(builtIn)) as object, name);
  const path = resolve(name);
  if (!existsSync(path)) {
    throw new UserError(
      `There is no analysis ${name}: name ${ANALYSIS_NAMES.join(', ')}, or a JavaScript file that exports one.`,
    );
  }
  let module: object;
  try {
    module = (await import(pathToFileURL(path).href)) as object;
  } catch (error) {
    throw new UserError(
      `Cannot load the analysis ${name}: ${error instanceof Error ? error.message : String(error)}.`,
    );
  }
  return analysisOf(module, name);
}

function analysisOf(module: { analysis?: unknown; default?: unknown }, name: string): Analysis {
  const found = (module.analysis ?? module.default) as Partial<Analysis> | undefined;
  if (
    typeof found !== 'object' ||
    typeof found.name !== 'string' ||
    !/^[\w-]+$/.test(found.name) ||
    typeof found.run !== 'function'
  ) {
    throw new UserError(
      `The module ${name} exports no analysis: it needs \`export const analysis\` with a name, describe, options and run.`,
    );
  }
  return found as Analysis;
}
