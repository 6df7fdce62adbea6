/** `grind query`: SQL over a run. */
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import { text } from 'node:stream/consumers';
import { ResultReturnType } from '@duckdb/node-api';
import type { CommandModule } from 'yargs';
import { Database } from '../replay/database.js';
import { lookUp } from '../replay/look-up.js';
import { openAhead, prepareReplayAhead, stopReplaysAhead } from '../replay/ahead.js';
import { splitStatements, takeStatements } from '../replay/sql-text.js';
import { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { describeTables } from '../schemas/reference.js';
import { Sink, writeArrow, writeCsv, writeJson, writeTable } from './query-output.js';
import { RUNS_FOLDER } from './numbers.js';
import { findRun } from './runs.js';

const FORMATS = ['table', 'json', 'csv', 'arrow', 'parquet'] as const;
type Format = (typeof FORMATS)[number];

interface Arguments {
  run?: string;
  sql?: string;
  format: Format;
  output?: string;
  file?: string;
  rows: number;
  tables: boolean;
  out: string;
}

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
      .option('format', {
        alias: 'f',
        choices: FORMATS,
        default: 'table' as Format,
        describe: 'How to write the rows',
      })
      .option('output', {
        alias: 'o',
        type: 'string',
        requiresArg: true,
        describe: 'Write to this file',
      })
      .option('file', {
        type: 'string',
        requiresArg: true,
        describe: 'Read the statements from this file',
      })
      .option('rows', {
        type: 'number',
        requiresArg: true,
        default: 1000,
        describe: 'Show at most so many rows as a table; 0 for all',
      })
      .option('tables', {
        type: 'boolean',
        default: false,
        describe: 'Describe all tables and columns',
      })
      .option('out', {
        type: 'string',
        requiresArg: true,
        default: RUNS_FOLDER,
        describe: 'Folder that holds the runs',
      })
      .example(
        "$0 query 'from instructions_by_function limit 10'",
        'Where the last run spent its instructions',
      )
      .example("$0 query 'from touched(0x1fff000ab8)'", 'Who touched an address'),
  handler: query,
};

async function query(options: Arguments): Promise<void> {
  if (options.tables) {
    process.stdout.write(describeTables());
    return;
  }
  const { run, sql } = whichIsSql(options);
  const prompting = sql === undefined && options.file === undefined && process.stdin.isTTY;
  const statements = prompting ? [] : splitStatements(sql ?? (await readSql(options.file)));
  if (!prompting && statements.length === 0)
    throw new UserError('There is no SQL statement to run.');
  if (options.format === 'parquet' || options.format === 'arrow') {
    if (statements.length !== 1)
      throw new UserError(`Format ${options.format} takes exactly one SQL statement.`);
    if (options.output === undefined && process.stdout.isTTY) {
      throw new UserError(`Format ${options.format} is not for a terminal: name a file with -o.`);
    }
  }
  const trace = Trace.open(await findRun(run === '@last' ? undefined : run, options.out));
  if (statements.some((statement) => /\baccesses\b/i.test(statement))) prepareReplayAhead(trace);
  const database = await Database.open(trace, openAhead, lookUp);
  const told = new Set<string>();
  const tellDamages = (): void => {
    for (const { sentence } of trace.damages()) {
      if (!told.has(sentence)) console.error(`grind: ${sentence}`);
      told.add(sentence);
    }
  };
  try {
    tellDamages();
    if (prompting) await prompt(database, options);
    else if (options.format === 'parquet')
      await writeParquet(database, statements[0]!, options.output);
    else await writeAll(database, statements, options);
    tellDamages(); // what a replay has found since
  } finally {
    database.close();
    trace.close();
  }
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
    throw new UserError(`Cannot read the SQL file ${file}: ${reason(error)}.`);
  }
}

async function writeAll(
  database: Database,
  statements: readonly string[],
  options: Arguments,
): Promise<void> {
  const { output } = options;
  if (output === undefined) {
    for (const statement of statements)
      await answer(database, statement, options, new Sink(process.stdout));
    return;
  }
  const file = await openOutput(output);
  for (const statement of statements) await answer(database, statement, options, new Sink(file));
  file.end();
  await finished(file);
}

async function openOutput(path: string) {
  const file = createWriteStream(path);
  try {
    await once(file, 'open');
  } catch (error) {
    throw new UserError(`Cannot write ${path}: ${reason(error)}.`);
  }
  return file;
}

/** Runs one statement and writes its rows. */
async function answer(
  database: Database,
  statement: string,
  { format, rows }: Arguments,
  sink: Sink,
): Promise<void> {
  try {
    await database.read(statement, async (result) => {
      if (result.returnType !== ResultReturnType.QUERY_RESULT) return; // such as CREATE TABLE
      if (format === 'json') await writeJson(result, sink);
      else if (format === 'csv') await writeCsv(result, sink);
      else if (format === 'arrow') await writeArrow(result, sink);
      else await writeTable(result, sink, rows);
    });
  } finally {
    stopReplaysAhead();
  }
}

async function writeParquet(
  database: Database,
  statement: string,
  output: string | undefined,
): Promise<void> {
  if (output !== undefined) {
    await database.writeParquet(statement, output);
    return;
  }
  // DuckDB writes Parquet to files only.
  const folder = mkdtempSync(join(tmpdir(), 'grind-query-'));
  try {
    const path = join(folder, 'rows.parquet');
    await database.writeParquet(statement, path);
    const sink = new Sink(process.stdout);
    for await (const chunk of createReadStream(path)) await sink.write(chunk as Uint8Array);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const HELP = 'End a statement with a semicolon. .tables describes the tables, .quit leaves.\n';

/** Reads statements from the terminal and answers them, until the end of input or `.quit`. */
async function prompt(database: Database, options: Arguments): Promise<void> {
  const lines = createInterface({
    input: process.stdin,
    output: process.stdout,
    prompt: 'grind> ',
  });
  const sink = new Sink(process.stdout);
  await sink.write(`Run ${database.trace.name}. ${HELP}`);
  let pending = '';
  lines.on('SIGINT', () => {
    pending = '';
    process.stdout.write('\n');
    lines.setPrompt('grind> ');
    lines.prompt();
  });
  lines.prompt();
  for await (const line of lines) {
    const command = pending === '' ? line.trim() : '';
    if (command === '.quit' || command === '.exit') break;
    if (command === '.tables') await sink.write(describeTables());
    else if (command.startsWith('.')) await sink.write(HELP);
    else {
      const { statements, rest } = takeStatements(`${pending}${line}\n`);
      pending = rest.trim() ? rest : '';
      for (const statement of statements) {
        try {
          await answer(database, statement, options, sink);
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          console.error(error.message);
        }
      }
    }
    lines.setPrompt(pending ? '   ... ' : 'grind> ');
    lines.prompt();
  }
  lines.close();
}

const reason = (error: unknown) => {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such file or folder';
  return error instanceof Error ? error.message : String(error);
};
