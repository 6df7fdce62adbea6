/**
 * Analyses of the user's own: a file in TypeScript, JavaScript or SQL becomes an analysis as those that come with grind
 * are. Its mistakes are told as such: with its name, and the line.
 */
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { isDeclaration } from '../replay/scan-findings.js';
import { fileProblem, UserError } from '../schemas/errors.js';
import { ANALYSIS_TABLES } from '../schemas/views.js';
import { ANALYSIS_NAMES, defineAnalysis, type Analysis, type Definition } from './analysis.js';
import type { Outcome } from './finding.js';
import type { MakePart, Part, ReplayPart } from './replay-parts.js';
import { definitionOfSql } from './sql-analysis.js';
import { loadModule, place, reason } from './user-module.js';

const HINT = 'see `grind new-analysis --help`';

/** The analysis in a file. Throws UserError when it holds none, or one with mistakes that show before it runs. */
export async function loadPlugin(path: string): Promise<Analysis> {
  const definition = extname(path) === '.sql' ? ofSql(path) : await ofModule(path);
  checkDefinition(definition, path);
  return guarded(defineAnalysis(definition), path);
}

function ofSql(path: string): Definition<Analysis['options']> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`Cannot read the analysis ${path}: ${fileProblem(error)}.`);
  }
  return definitionOfSql(text, path);
}

// ---- Loading ----

async function ofModule(path: string): Promise<Definition<Analysis['options']>> {
  const exported = await loadModule(path, `The analysis ${path}`);
  const found = exported['analysis'] ?? exported['default'];
  if (typeof found !== 'object' || found === null)
    throw new UserError(
      `The file ${path} exports no analysis: it needs \`export default defineAnalysis({ … })\`; ${HINT}.`,
    );
  return found as Definition<Analysis['options']>;
}

// ---- Checks ----

type Shape = Readonly<Record<string, unknown>>;
const isShape = (value: unknown): value is Shape => typeof value === 'object' && value !== null;

function checkDefinition(definition: object, path: string): void {
  const { name, describe, options = {}, run, part, sql } = definition as Shape;
  const wrong = (what: string): UserError =>
    new UserError(`The analysis in ${path} ${what}; ${HINT}.`);
  if (typeof name !== 'string' || !/^[\w-]+$/.test(name))
    throw wrong('needs a `name` of letters, digits and dashes');
  if (ANALYSIS_NAMES.includes(name))
    throw wrong(`cannot be called ${name}, which comes with grind: give it another \`name\``);
  if (typeof describe !== 'string') throw wrong('needs a sentence about itself as `describe`');
  if (!isShape(options)) throw wrong('has `options` that are no object');
  for (const [option, declared] of Object.entries(options))
    if (
      !isShape(declared) ||
      typeof declared['describe'] !== 'string' ||
      typeof declared['default'] !== 'string'
    )
      throw wrong(`has an option \`${option}\` without \`describe\` and \`default\`, both text`);
  const does = [run, part].filter((one) => typeof one === 'function').length;
  if (does === 0 && typeof sql !== 'string')
    throw wrong('does nothing: it needs a function `part` or `run`, or a SELECT as `sql`');
}

/** Says what is wrong with what an analysis gives for a process image; undefined if nothing is. */
function outcomeProblem(outcome: unknown, processes: readonly number[]): string | undefined {
  if (outcome instanceof Promise)
    return 'gave a promise as its outcome: only `run` may be asynchronous';
  if (!isShape(outcome)) return 'gave no outcome: { process, findings, summary, missing }';
  const { process, findings, summary, missing, tables = [] } = outcome as Partial<Outcome>;
  if (!processes.includes(process!))
    return `gave an outcome whose \`process\` is ${process}, and not one of those to be judged`;
  if (!Array.isArray(findings)) return 'gave an outcome without a list of `findings`';
  if (!isShape(summary)) return 'gave an outcome without a `summary`, which may be {}';
  if (!Array.isArray(missing)) return 'gave an outcome without `missing`, which may be []';
  const number = findings.findIndex((finding) => !isFinding(finding, process!));
  if (number >= 0)
    return `gave a finding (number ${number + 1}) that is not { kind, what, notes, process, thread, tick (a bigint), stacks, count }: \`findingAt\` makes one`;
  for (const part of tables) {
    const { table } = part;
    if (!isDeclaration(table) && !(ANALYSIS_TABLES as readonly unknown[]).includes(table))
      return `gave a table (${String(table?.name)}) that SQL cannot show: \`analysisTable\` makes one, its name must be new, and all names lower case with underscores`;
    const columns = Object.keys(table.columns).filter((column) => column !== 'analysis');
    for (const row of 'rows' in part ? part.rows : []) {
      const lacking = columns.find((column) => (row as Shape)[column] === undefined);
      if (lacking !== undefined) return `gave a row of ${table.name} without \`${lacking}\``;
    }
  }
  return undefined;
}

const isFinding = (finding: unknown, process: number): boolean =>
  isShape(finding) &&
  ['kind', 'what'].every((name) => typeof finding[name] === 'string') &&
  typeof finding['tick'] === 'bigint' &&
  ['thread', 'count'].every((name) => Number.isInteger(finding[name])) &&
  finding['process'] === process &&
  Array.isArray(finding['notes']) &&
  Array.isArray(finding['stacks']) &&
  finding['stacks'].every(
    (stack) =>
      isShape(stack) &&
      typeof stack['role'] === 'string' &&
      Array.isArray(stack['pcs']) &&
      stack['pcs'].every((pc) => typeof pc === 'bigint'),
  );

// ---- Mistakes while it runs ----

/** The same analysis, whose mistakes are errors of the user's and not of grind's. */
function guarded(analysis: Analysis, path: string): Analysis {
  const blame = (error: unknown, when: string): UserError =>
    error instanceof UserError
      ? error
      : new UserError(
          `The analysis ${analysis.name} (${path}) failed ${when}: ${reason(error)}${place(error, path)}.`,
        );
  const guard =
    <A extends unknown[], R>(when: string, action: (...args: A) => R) =>
    (...args: A): R => {
      try {
        return action(...args);
      } catch (error) {
        throw blame(error, when);
      }
    };
  const checked = <T>(outcome: T, processes: readonly number[]): T => {
    const problem = outcomeProblem(outcome, processes);
    if (problem === undefined) return outcome;
    throw new UserError(`The analysis ${analysis.name} (${path}) ${problem}.`);
  };
  const guardPart = (part: Part, process: number): Part => {
    if (!isShape(part) || typeof part.finish !== 'function')
      throw new UserError(
        `The \`part\` of the analysis ${analysis.name} (${path}) must give an object with a function \`finish\`; ${HINT}.`,
      );
    const { wants, begin, accesses } = part as Partial<ReplayPart>;
    if (wants?.accesses && typeof accesses !== 'function')
      throw new UserError(
        `The analysis ${analysis.name} (${path}) wants accesses and has no function \`accesses\` to be told of them.`,
      );
    const events = Object.entries(part.events ?? {}).map(([name, told]) => [
      name,
      guard(`at an event of ${name}`, (row: never) => (told as (row: never) => void)(row)),
    ]);
    return {
      ...(wants && { wants }),
      events: Object.fromEntries(events) as NonNullable<Part['events']>,
      inheritsEvents: part.inheritsEvents ?? false,
      ...(begin && { begin: guard('as its replay began', begin.bind(part)) }),
      ...(accesses && { accesses: guard('at accesses', accesses.bind(part)) }),
      finish: guard('as it finished', (replay) => checked(part.finish(replay as never), [process])),
    } as Part;
  };
  const { part, weigh, close } = analysis;
  const begun = part && guard('as its part began', part);
  const guardedPart: MakePart | undefined =
    begun && ((...given) => guardPart(begun(...given), given[1]));
  const run: Analysis['run'] = async function* (trace, options, context) {
    try {
      for await (const outcome of analysis.run(trace, options, context))
        yield checked(outcome, context.processes);
    } catch (error) {
      throw blame(error, 'as it ran');
    }
  };
  return {
    ...(guardedPart ? defineAnalysis({ ...analysis, part: guardedPart }) : { ...analysis, run }),
    ...(weigh && { weigh: guard('as it weighed a finding', weigh.bind(analysis)) }),
    ...(close && { close: guard('as it closed', close.bind(analysis)) }),
  };
}
