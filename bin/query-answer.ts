/** Answers SQL statements of `grind query`: all that needs DuckDB. */
import { createReadStream, createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import { ResultReturnType } from '@duckdb/node-api';
import { openAhead } from '../replay/ahead.js';
import { Database } from '../replay/database.js';
import { lookUp } from '../replay/look-up.js';
import { ownTables } from '../replay/scan-findings.js';
import { endWorkers } from '../replay/spare-workers.js';
import { takeStatements } from '../replay/sql-text.js';
import type { Trace } from '../replay/trace.js';
import { fileProblem, UserError } from '../schemas/errors.js';
import { describeTables } from '../schemas/reference.js';
import { Sink, writeCsv, writeJson, writeTable } from './query-output.js';

export type Format = 'table' | 'json' | 'csv' | 'arrow' | 'parquet';

/** How rows are to be written. */
export interface Writing {
  readonly format: Format;
  /** A file; standard output if absent. */
  readonly output?: string;
  /** Rows of a table that are shown at most, 0 for all. */
  readonly rows: number;
}

/** Answers `statements`, or prompts for them if there are none. Throws UserError for wrong ones. */
export async function answerAll(
  trace: Trace,
  statements: readonly string[] | undefined,
  writing: Writing,
): Promise<void> {
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
    if (!statements) await prompt(database, writing);
    else if (writing.format === 'parquet')
      await writeParquet(database, statements[0]!, writing.output);
    else await writeAll(database, statements, writing);
    tellDamages(); // what a replay has found since
  } finally {
    database.close();
  }
}

async function writeAll(
  database: Database,
  statements: readonly string[],
  writing: Writing,
): Promise<void> {
  const { output } = writing;
  if (output === undefined) {
    for (const statement of statements)
      await answer(database, statement, writing, new Sink(process.stdout));
    return;
  }
  const file = await openOutput(output);
  for (const statement of statements) await answer(database, statement, writing, new Sink(file));
  file.end();
  await finished(file);
}

async function openOutput(path: string) {
  const file = createWriteStream(path);
  try {
    await once(file, 'open');
  } catch (error) {
    throw new UserError(`Cannot write ${path}: ${fileProblem(error)}.`);
  }
  return file;
}

/** Runs one statement and writes its rows. */
async function answer(
  database: Database,
  statement: string,
  { format, rows }: Writing,
  sink: Sink,
): Promise<void> {
  try {
    await database.read(statement, async (result) => {
      if (result.returnType !== ResultReturnType.QUERY_RESULT) return; // such as CREATE TABLE
      if (format === 'json') await writeJson(result, sink);
      else if (format === 'csv') await writeCsv(result, sink);
      else if (format === 'arrow')
        await (await import('./query-arrow.js')).writeArrow(result, sink);
      else await writeTable(result, sink, rows);
    });
  } finally {
    endWorkers();
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
async function prompt(database: Database, writing: Writing): Promise<void> {
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
    if (command === '.tables') await sink.write(describeTables(ownTables(database.trace)));
    else if (command.startsWith('.')) await sink.write(HELP);
    else {
      const { statements, rest } = takeStatements(`${pending}${line}\n`);
      pending = rest.trim() ? rest : '';
      for (const statement of statements) {
        try {
          await answer(database, statement, writing, sink);
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
