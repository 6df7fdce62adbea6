/**
 * SQL tables of what analyses found. `grind analyze` keeps them as Arrow files, in a folder of the run
 * for each analysis: findings/<analysis>/<table>.arrow.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../schemas/errors.js';
import type { Column, Columns, Table } from '../schemas/schema.js';
import { finding_frames, findings } from '../schemas/views.js';
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
