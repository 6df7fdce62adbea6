/** `grind query`: SQL over a run. */
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { CommandModule, InferredOptionTypes, Options } from 'yargs';
import { isWorthWorker, prepareWorkers } from '../replay/spare-workers.js';
import { splitStatements } from '../replay/sql-text.js';
import { Trace } from '../replay/trace.js';
import { fileProblem, UserError } from '../schemas/errors.js';
import type { Table } from '../schemas/schema.js';
import { MACROS, READS_ACCESSES } from '../schemas/views.js';
import { OUT_OPTION } from './numbers.js';
import { plainOptions } from './plain-options.js';
import type { Format } from './query-answer.js';
import { findRun } from './runs.js';

const FORMATS: readonly Format[] = ['table', 'json', 'csv', 'arrow', 'parquet'];

const OPTIONS = {
  format: {
    alias: 'f',
    choices: FORMATS,
    default: 'table' as Format,
    describe: 'How to write the rows',
  },
  output: { alias: 'o', type: 'string', requiresArg: true, describe: 'Write to this file' },
  file: { type: 'string', requiresArg: true, describe: 'Read the statements from this file' },
  rows: {
    type: 'number',
    requiresArg: true,
    default: 1000,
    describe: 'Show at most so many rows as a table; 0 for all',
  },
  tables: { type: 'boolean', default: false, describe: 'Describe all tables and columns' },
  out: OUT_OPTION,
} as const satisfies Record<string, Options>;

type Arguments = InferredOptionTypes<typeof OPTIONS> & { run?: string; sql?: string };

export const queryCommand: CommandModule<object, Arguments> = {
  command: 'query [run] [sql]',
  describe: 'Answer SQL from a run; with no SQL, prompt for it',
  builder: (yargs) =>
    yargs
      .positional('run', {
        type: 'string',
        describe:
          "A run's name, a folder, or a git revision; by default, or as @last, the last run",
      })
      .positional('sql', { type: 'string', describe: 'Statements, separated by semicolons' })
      .options(OPTIONS)
      .example(
        "$0 query 'from instructions_by_function limit 10'",
        'Where the last run spent its instructions',
      )
      .example("$0 query 'from touched(0x1fff000ab8)'", 'Who touched an address'),
  handler: runQuery,
};

/** The arguments of a command line that is plain; undefined when it is not. */
export function plainArguments(argv: readonly string[]): Arguments | undefined {
  const found = plainOptions(argv, OPTIONS, 2);
  const [run, sql] = found?._ ?? [];
  return (
    found && { ...found, ...(run !== undefined && { run }), ...(sql !== undefined && { sql }) }
  );
}

/** Answers what the command line asks. */
export async function runQuery(options: Arguments): Promise<void> {
  if (options.tables) {
    const { describeTables } = await import('../schemas/reference.js');
    process.stdout.write(describeTables(await ownTablesOf(options)));
    return;
  }
  const { run, sql } = whichIsSql(options);
  const { format, output, rows } = options;
  const prompting = sql === undefined && options.file === undefined && process.stdin.isTTY;
  const statements = prompting ? [] : splitStatements(sql ?? (await readSql(options.file)));
  if (!prompting && statements.length === 0)
    throw new UserError(
      'There is no SQL statement to run: give it as an argument, by --file, or on standard input.',
    );
  if (format === 'parquet' || format === 'arrow') {
    if (statements.length !== 1)
      throw new UserError(`Format ${format} takes exactly one SQL statement.`);
    if (output === undefined && process.stdout.isTTY) {
      throw new UserError(`Format ${format} is not for a terminal: name a file with -o.`);
    }
  }
  const trace = Trace.open(await findRun(run, options.out));
  try {
    prepareWorkers(trace, workersFor(statements, trace));
    const { answerAll } = await import('./query-answer.js');
    await answerAll(trace, prompting ? undefined : statements, {
      format,
      rows,
      ...(output !== undefined && { output }),
    });
  } finally {
    trace.close();
  }
}

/** Tables of the user's analyses in the run that is meant, if there is one. */
async function ownTablesOf({ run, out }: Arguments): Promise<Table[]> {
  const { ownTables } = await import('../replay/scan-findings.js');
  try {
    return ownTables(Trace.open(await findRun(run, out)));
  } catch (error) {
    if (run !== undefined || !(error instanceof UserError)) throw error;
    return [];
  }
}

/** Matches statements that may ask for an address. */
const LOOKS_UP = new RegExp(
  `\\b(${['addr', ...MACROS.map(({ name }) => name)].join('|')})\\b`,
  'i',
);

/** How many workers statements probably need: one for a scan of accesses, all for the look-up of an address. */
function workersFor(statements: readonly string[], trace: Trace): number {
  const readers = statements.filter((statement) => READS_ACCESSES.test(statement));
  if (readers.length === 0 || !trace.processes.some(({ ticks }) => isWorthWorker(ticks))) return 0;
  return readers.some((statement) => LOOKS_UP.test(statement)) ? availableParallelism() : 1;
}

/** A single argument with a space in it is SQL, unless a run is called so. */
function whichIsSql({ run, sql, file, out }: Arguments): { run?: string; sql?: string } {
  if (run === undefined || sql !== undefined || file !== undefined) return { run, sql };
  const isRun = !/\s/.test(run) || existsSync(join(out, run)) || existsSync(run);
  return isRun ? { run } : { sql: run };
}

async function readSql(file: string | undefined): Promise<string> {
  if (file === undefined) return text(process.stdin);
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`Cannot read the SQL file ${file}: ${fileProblem(error)}.`);
  }
}
