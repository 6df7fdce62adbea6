/**
 * Tables of a run as files that databases query together with those of other runs: TABLE/commit=C/run=R/part-0.parquet,
 * the layout of Hive's partitions, which DuckDB, Spark, Trino, ClickHouse and Polars know.
 */
import { createWriteStream, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { openAhead } from '../replay/ahead.js';
import { Database } from '../replay/database.js';
import { endWorkers, isWorthWorker, prepareWorkers } from '../replay/spare-workers.js';
import type { Trace } from '../replay/trace.js';
import { fileProblem, UserError } from '../schemas/errors.js';
import {
  accesses,
  COMPUTED_TABLES,
  HIDDEN_COMPUTED,
  segments,
  SHOWN_TABLES,
  VIEWS,
} from '../schemas/views.js';
import { writeArrow } from './query-arrow.js';
import { Sink } from './query-output.js';
import { manifestOf } from './runs.js';

/** What Hive calls a partition whose value is NULL. */
const NO_COMMIT = '__HIVE_DEFAULT_PARTITION__';

const ALL: readonly string[] = [
  ...SHOWN_TABLES,
  ...COMPUTED_TABLES.filter((table) => !HIDDEN_COMPUTED.includes(table)),
  ...VIEWS,
].map(({ name }) => name);

/** Tables and views whose rows take a replay. */
const REPLAYING: ReadonlySet<string> = VIEWS.reduce(
  (names, { name, sql }) =>
    sql.match(/\w+/g)!.some((word) => names.has(word)) ? names.add(name) : names,
  new Set([accesses.name, segments.name] as string[]),
);

/**
 * Writes tables of a run, by default all that need no replay; those without a row have no file. What stood there of a run
 * of this name and commit is replaced. Throws UserError for a table that there is not, and if files cannot be written.
 */
export async function exportTables(
  trace: Trace,
  output: string,
  format: 'parquet' | 'arrow',
  wanted: readonly string[] = ALL.filter((name) => !REPLAYING.has(name)),
): Promise<void> {
  const unknown = wanted.find((name) => !ALL.includes(name));
  if (unknown !== undefined)
    throw new UserError(`There is no table ${unknown}: \`grind query --tables\` names all.`);
  const { git } = manifestOf(trace);
  const partition = join(
    `commit=${git?.commit ?? NO_COMMIT}`,
    `run=${encodeURIComponent(trace.name)}`,
  );
  if (wanted.some((name) => REPLAYING.has(name)) && isLong(trace)) prepareWorkers(trace, 1);
  const database = await Database.open(trace, openAhead);
  try {
    makeFolder(output);
    // Readers leave out what begins with a dot.
    const partial = join(output, `.${trace.name}.${format}`);
    for (const name of wanted) {
      const folder = join(output, name, partition);
      const path = join(folder, `part-0.${format}`);
      const rows =
        format === 'parquet'
          ? await database.writeParquet(`from ${name}`, partial)
          : await writeArrowFile(database, `from ${name}`, partial);
      endWorkers();
      if (rows > 0) {
        mkdirSync(folder, { recursive: true });
        renameSync(partial, path);
      } else for (const file of [partial, path]) rmSync(file, { force: true });
    }
  } finally {
    endWorkers();
    database.close();
  }
}

async function writeArrowFile(database: Database, sql: string, path: string): Promise<number> {
  return database.read(sql, async (result) => {
    const file = createWriteStream(path);
    const rows = await writeArrow(result, new Sink(file));
    file.end();
    await finished(file);
    return rows;
  });
}

const isLong = ({ processes }: Trace): boolean =>
  processes.some(({ ticks }) => isWorthWorker(ticks));

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new UserError(`Cannot make the folder ${folder}: ${fileProblem(error)}.`);
  }
}
