/**
 * Analyses that are a SELECT. If its rows have a column `what`, each is a finding; otherwise they are a table, which the
 * report shows, and SQL under the analysis's name.
 *
 * A finding has what its row has of: `kind`, `count`, `process`, `thread`, `tick`, `stack` (a key of `stacks`) or `pc`, and
 * `severity`; other columns are told as notes. `$name` stands for the value of an option, as text that DuckDB converts.
 */
import { basename, extname } from 'node:path';
import { recordedStacks } from '../replay/lineage.js';
import { splitStatements } from '../replay/sql-text.js';
import type { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { binary, bool, i64, string, u64, type Column, type Row } from '../schemas/schema.js';
import type {
  Analysis,
  AnalysisContext,
  AnalysisOption,
  Definition,
  OptionValues,
} from './analysis.js';
import { SEVERITIES, type AnalysisRows, type Finding, type Outcome } from './finding.js';
import { analysisTable, findingAt } from './make.js';
import type { Profile, ProfileCell } from './profile.js';

type Rows = readonly Readonly<Record<string, unknown>>[];

/**
 * The analysis in a file of SQL. Comments at its beginning say what it is:
 *
 *     -- describe: System calls that failed
 *     -- option least = 1: Failures of one kind at one place that are told
 *
 * Its name is that of the file, or what `-- name:` says. Throws UserError.
 */
export function definitionOfSql(text: string, path: string): Definition<Analysis['options']> {
  const options: Record<string, AnalysisOption> = {};
  let name = basename(path, extname(path));
  let describe: string | undefined;
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    if (!line.startsWith('--')) break;
    const said = /^--\s*(name|describe|option)\b(.*)$/.exec(line);
    if (!said) continue;
    const [, what, rest] = said as unknown as [string, string, string];
    const option = /^\s+([\w-]+)\s*=\s*(.*?)\s*:\s+(.+)$/.exec(rest);
    const value = /^\s*:\s*(.+)$/.exec(rest)?.[1]!.trim();
    if (what === 'option' && option)
      options[option[1]!] = { default: option[2]!, describe: option[3]!.trim() };
    else if (what === 'name' && value) name = value;
    else if (what === 'describe' && value) describe = value;
    else
      throw new UserError(
        `A line of ${path} is not as it must be, \`-- name: …\`, \`-- describe: …\` or \`-- option NAME = DEFAULT: …\`: ${line}`,
      );
  }
  if (describe === undefined)
    throw new UserError(
      `The analysis ${path} must begin with a comment such as \`-- describe: System calls that failed\`.`,
    );
  return { name, describe, options, sql: text };
}

/** Answers the SELECT, and tells its rows by process image. Throws UserError for wrong SQL. */
export async function* judgeBySql(
  trace: Trace,
  { name, sql }: { readonly name: string; readonly sql: string },
  options: OptionValues,
  { processes, callers }: AnalysisContext,
): AsyncGenerator<Outcome> {
  const { columns, types, rows } = await answer(trace, name, withOptions(name, sql, options));
  if (!columns.includes('process') && processes.length > 1)
    throw new UserError(
      `The run has several processes, so the SELECT of the analysis ${name} must have a column \`process\`.`,
    );
  for (const process of processes) {
    const own = rows.filter((row) => Number(row['process'] ?? process) === process);
    const outcome = { process, findings: [], summary: {}, missing: [] };
    yield columns.includes('what')
      ? { ...outcome, findings: findingsOf(trace, name, process, own, callers) }
      : { ...outcome, ...tableOf(name, process, { columns, types }, own) };
  }
}

/** Values of options in the place of `$name`, but in texts and comments. */
function withOptions(name: string, sql: string, options: OptionValues): string {
  const token = /'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\/|\$([a-z][\w-]*)/gi;
  return sql.replace(token, (text, option: string | undefined) => {
    if (option === undefined) return text;
    const value = options[option];
    if (value !== undefined) return `'${value.replaceAll("'", "''")}'`;
    const known = Object.keys(options).map((one) => `$${one}`);
    throw new UserError(
      `The analysis ${name} has no option for ${text}: it has ${known.join(', ') || 'none'}.`,
    );
  });
}

async function answer(
  trace: Trace,
  name: string,
  sql: string,
): Promise<{ columns: readonly string[]; types: readonly string[]; rows: Rows }> {
  const { openAhead } = await import('../replay/ahead.js');
  const { Database } = await import('../replay/database.js');
  const statements = splitStatements(sql);
  if (statements.length === 0) throw new UserError(`The analysis ${name} has no SELECT.`);
  const database = await Database.open(trace, openAhead);
  try {
    for (const statement of statements.slice(0, -1)) await database.rows(statement);
    return await database.read(statements.at(-1)!, async (result) => ({
      columns: result.deduplicatedColumnNames(),
      types: result.columnTypes().map(String),
      rows: (await result.getRowObjectsJS()) as Rows,
    }));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`The SQL of the analysis ${name} is wrong: ${error.message}`);
  } finally {
    database.close();
  }
}

// ---- Findings ----

/** Columns that have a meaning of their own. */
const MEANT = new Set([
  'process',
  'what',
  'kind',
  'count',
  'thread',
  'tick',
  'stack',
  'pc',
  'severity',
] as const);

function findingsOf(
  trace: Trace,
  name: string,
  process: number,
  rows: Rows,
  callers: number,
): Finding[] {
  const stacks = recordedStacks(trace, process);
  const number = (column: string, value: unknown): number => {
    const found = Number(value);
    if (Number.isSafeInteger(found)) return found;
    throw new UserError(
      `The column \`${column}\` of the analysis ${name} must be a whole number, and not ${text(value)}.`,
    );
  };
  return rows.map((row) => {
    const { what, kind, count, thread, tick, stack, pc, severity } = row;
    const recorded = stack != null ? stacks.get(number('stack', stack)) : undefined;
    const pcs = recorded ?? (pc != null ? [BigInt(number('pc', pc))] : []);
    const known = SEVERITIES.find((one) => one === (severity ?? SEVERITIES[0]));
    if (!known)
      throw new UserError(
        `The column \`severity\` of the analysis ${name} must be ${SEVERITIES.join(', ')}, and not ${text(severity)}.`,
      );
    return findingAt(
      { process, thread: number('thread', thread ?? 0), tick: BigInt(number('tick', tick ?? 0)) },
      {
        kind: kind == null ? name : text(kind),
        what: text(what),
        count: number('count', count ?? 1),
        pcs: pcs.slice(0, callers),
        severity: known,
        notes: Object.entries(row)
          .filter(([column]) => !MEANT.has(column as never))
          .map(([column, value]) => `${column}: ${text(value)}`),
      },
    );
  });
}

/** A cell for people. */
function text(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (value == null) return '';
  return typeof value === 'object'
    ? JSON.stringify(value, (_, inner: unknown) =>
        typeof inner === 'bigint' ? String(inner) : inner,
      )
    : String(value as string | number | bigint | boolean);
}

// ---- Tables ----

function tableOf(
  name: string,
  process: number,
  { columns, types }: { columns: readonly string[]; types: readonly string[] },
  rows: Rows,
): { profile: Profile; tables: AnalysisRows[] } {
  const names = columns.filter((column) => column !== 'process');
  const wrong = names.find((column) => !/^[a-z_][a-z0-9_]*$/.test(column) || column === 'analysis');
  if (wrong !== undefined)
    throw new UserError(
      `The SELECT of the analysis ${name} has a column \`${wrong}\`: name it in lower case with underscores (\`… as its_name\`).`,
    );
  const declared = Object.fromEntries(
    names.map((column) => [
      column,
      columnOf(
        types[columns.indexOf(column)]!,
        rows.map((row) => row[column]),
      ),
    ]),
  );
  const table = analysisTable(
    name.replaceAll('-', '_'),
    `What the analysis ${name} answered.`,
    declared,
  );
  const cells = rows.map((row) => names.map((column) => row[column]));
  const shown = (value: unknown): ProfileCell =>
    typeof value === 'number' || typeof value === 'bigint' ? value : text(value);
  return {
    profile: {
      lines: [],
      tables: [
        {
          name: table.name,
          title: `${name}: ${rows.length} rows`,
          columns: names.map((column) => ({ name: column })),
          rows: cells.map((row) => row.map(shown)),
        },
      ],
    },
    tables: [
      {
        table,
        rows: cells.map((row) => ({
          process,
          ...Object.fromEntries(
            names.map((column, i) => [column, stored(row[i], declared[column]!)]),
          ),
        })) as unknown as Omit<Row<typeof table>, 'analysis'>[],
      },
    ],
  };
}

const LARGEST = { u64: 2n ** 64n - 1n, i64: 2n ** 63n - 1n };

/** How a column is kept: integers in 64 bits, if they fit; all else that has no type of ours as text. */
function columnOf(type: string, values: readonly unknown[]): Column {
  const doc = 'As the SELECT has it; 0 or empty for NULL.';
  if (type === 'BOOLEAN') return bool(doc);
  if (type === 'BLOB') return binary(doc);
  if (!/^U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$/.test(type)) return string(doc);
  const numbers = values.map((value) => BigInt((value ?? 0) as number | bigint));
  const fits = (least: bigint, most: bigint) =>
    numbers.every((value) => value >= least && value <= most);
  if (fits(0n, LARGEST.u64)) return u64(doc);
  return fits(-LARGEST.i64 - 1n, LARGEST.i64) ? i64(doc) : string(doc);
}

function stored(value: unknown, { type }: Column): bigint | boolean | string | Uint8Array {
  if (type === 'u64' || type === 'i64') return BigInt((value ?? 0) as number | bigint);
  if (type === 'bool') return value === true;
  return type === 'binary' ? ((value ?? new Uint8Array()) as Uint8Array) : text(value);
}
