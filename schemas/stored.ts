/** What is on disk for a table: its columns as stored, and the metadata in the files' schemas. */
import { u32, u64, type Column, type Columns, type Table } from './schema.js';
import { FORMAT_VERSION } from './tables.js';

/** The two columns that every stored table begins with. */
export const ADDED_COLUMNS = {
  process: u32('Number of the process image within the run, in order of appearance.'),
  event: u64("The row's place in the one order in which the process's tool wrote all its rows."),
} as const satisfies Columns;

/** All columns of a table's Arrow file, in order. */
export function storedColumns(table: Table): Columns {
  return { ...ADDED_COLUMNS, ...table.columns };
}

/** Metadata of the file's schema. */
export function tableMetadata(table: Table): Record<string, string> {
  return { table: table.name, doc: table.doc, format: String(FORMAT_VERSION) };
}

/** Metadata of a column's field; an enum is stored as u8 and names its values here. */
export function columnMetadata(column: Column): Record<string, string> {
  return column.names ? { doc: column.doc, enum: column.names.join(',') } : { doc: column.doc };
}
