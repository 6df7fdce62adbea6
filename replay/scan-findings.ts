/**
 * SQL tables of what analyses found. `grind analyze` keeps them as Arrow files, in a folder of the run
 * for each analysis: findings/<analysis>/<table>.arrow.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../schemas/errors.js';
import { COLUMN_WIDTHS, type Column, type Columns, type Table } from '../schemas/schema.js';
import {
  COMPUTED_TABLES,
  finding_frames,
  findings,
  HIDDEN_TABLES,
  MACROS,
  SHOWN_TABLES,
  VIEWS,
} from '../schemas/views.js';
import { ArrowFile } from './arrow-file.js';
import type { Cell } from './scan.js';
import type { Trace } from './trace.js';

/** The folder of a run that holds the findings of each analysis. */
export const findingsFolder = (trace: Trace): string => join(trace.folder, 'findings');

export const FINDING_TABLES = [findings, finding_frames] as const;

/**
 * A table as it is stored: every file has a column `process` that is not declared, and each folder is of
 * one analysis.
 */
export function storedFindings({ name, doc, columns }: Table): Table {
  const stored: Record<string, Column> = { ...columns };
  delete stored['process'];
  delete stored['analysis'];
  return { name, doc, columns: stored };
}

/** The file beside those tables that declares the ones which only this analysis has. */
export const DECLARATIONS = 'tables.json';

/** Tables that only analyses of the user's own have, as those that were run declared them, by name. */
export function ownTables(trace: Trace): Table[] {
  const folder = findingsFolder(trace);
  if (!existsSync(folder)) return [];
  const tables = new Map<string, Table>();
  for (const analysis of readdirSync(folder).sort()) {
    const path = join(folder, analysis, DECLARATIONS);
    if (analysis.startsWith('.') || !existsSync(path)) continue;
    let declared: Table[];
    try {
      declared = JSON.parse(readFileSync(path, 'utf8')) as Table[];
    } catch {
      continue; // What reads its tables is told that there are none: derived data, which another run mends.
    }
    if (!Array.isArray(declared)) continue;
    for (const table of declared)
      if (isDeclaration(table) && !tables.has(table.name)) tables.set(table.name, table);
  }
  return [...tables.values()];
}

/** What a table of a user's analysis must be like: a new name that needs no quotes, and columns of the known types. */
export function isDeclaration(table: Table | undefined): boolean {
  const { name, doc, columns } = table ?? {};
  const isName = (text: string | undefined): boolean => /^[a-z_][a-z0-9_]*$/.test(text ?? '');
  if (!isName(name) || SQL_NAMES.has(name!) || typeof doc !== 'string') return false;
  return Object.entries(columns ?? {}).every(
    ([column, { type, names = [] }]) =>
      isName(column) && Object.hasOwn(COLUMN_WIDTHS, type) && names.every(isName),
  );
}

const SQL_NAMES = new Set(
  [...COMPUTED_TABLES, ...SHOWN_TABLES, ...HIDDEN_TABLES, ...VIEWS, ...MACROS].map(
    ({ name }) => name,
  ),
);

/** Rows of a table of all analyses of this run. */
export function* findingRows(trace: Trace, table: Table): Generator<Cell[]> {
  const folder = findingsFolder(trace);
  if (!existsSync(folder)) return;
  const names = Object.keys(table.columns);
  for (const analysis of readdirSync(folder).sort()) {
    const path = join(folder, analysis, `${table.name}.arrow`);
    // A name with a dot is of a folder that is being written.
    if (analysis.startsWith('.') || !existsSync(path)) continue;
    for (const row of storedRows(path, storedFindings(table), analysis))
      yield names.map((name) => (name === 'analysis' ? analysis : (row[name] as Cell)));
  }
}

function storedRows(path: string, table: Table, analysis: string): Record<string, unknown>[] {
  try {
    const file = new ArrowFile<Table<Columns>>(path, table);
    try {
      if (file.damage) throw new UserError(`${path} is not whole: ${file.damage}.`);
      return [...file.batches()].flatMap((batch) => [...batch.rows()]);
    } finally {
      file.close();
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(
      `The findings of ${analysis} cannot be read: run \`grind analyze ${analysis}\` again (${path}).`,
    );
  }
}
