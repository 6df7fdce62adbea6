/** Writes the rows of a SQL result: as a table for people, JSON or CSV. Rows are written as they come. */
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import {
  DuckDBBlobValue,
  DuckDBDecimalValue,
  DuckDBListValue,
  DuckDBMapValue,
  DuckDBStructValue,
  DuckDBTypeId,
  type DuckDBResult,
  type DuckDBType,
  type DuckDBValue,
} from '@duckdb/node-api';
import Table from 'cli-table3';
import { fitted, widthOf } from './terminal.js';

/** Writes to a stream, and waits when its reader is slower than we are. */
export class Sink {
  constructor(private readonly stream: Writable) {}

  async write(chunk: string | Uint8Array): Promise<void> {
    if (chunk.length > 0 && !this.stream.write(chunk)) await once(this.stream, 'drain');
  }
}

type Rows = readonly (readonly DuckDBValue[])[];

async function* rowsOf(result: DuckDBResult): AsyncGenerator<Rows> {
  for (;;) {
    const chunk = await result.fetchChunk();
    if (!chunk || chunk.rowCount === 0) return;
    yield chunk.getRows();
  }
}

/**
 * A table for people, as wide as the terminal at most. Column widths need all rows at hand, so at most `maxRows` are shown (0: all), and
 * a line says so.
 */
export async function writeTable(result: DuckDBResult, sink: Sink, maxRows: number): Promise<void> {
  const names = result.deduplicatedColumnNames();
  const isNumber = result.columnTypes().map(isNumeric);
  const cells: string[][] = [];
  let shown = 0;
  let more = false;
  for await (const rows of rowsOf(result)) {
    for (const row of rows) {
      if (maxRows > 0 && shown === maxRows) {
        more = true;
        break;
      }
      cells.push(row.map(short));
      shown++;
    }
    if (more) break;
  }
  const widths = names.map((name, i) => widthOf([name, ...cells.map((row) => row[i]!)]));
  const table = new Table({
    head: names,
    colWidths: fitted(widths, 3).map((width) => width + 2),
    colAligns: isNumber.map((number) => (number ? 'right' : 'left')),
    style: { head: [], border: [], compact: true },
  });
  table.push(...cells);
  await sink.write(`${table.toString()}\n`);
  const count = `${shown.toLocaleString('en-US')} ${shown === 1 ? 'row' : 'rows'}`;
  await sink.write(
    more ? `The first ${count}; there are more (--rows 0 shows all).\n` : `${count}\n`,
  );
}

/** Bytes of a blob, and characters of other values, that a table for people shows. */
const SHORT_BLOB_BYTES = 32;
const SHORT_TEXT = 160;

/** A cell of a table for people; one that is cut says so. */
function short(value: DuckDBValue): string {
  if (value === null) return 'NULL';
  if (value instanceof DuckDBBlobValue && value.bytes.length > SHORT_BLOB_BYTES) {
    const start = Buffer.from(value.bytes.subarray(0, SHORT_BLOB_BYTES)).toString('hex');
    return `${start}… (${value.bytes.length} bytes)`;
  }
  const cell = text(value);
  return cell.length > SHORT_TEXT
    ? `${cell.slice(0, SHORT_TEXT)}… (${cell.length} characters)`
    : cell;
}

/** A JSON array of objects. Integers are written with all their digits, blobs in hexadecimal. */
export async function writeJson(result: DuckDBResult, sink: Sink): Promise<void> {
  const names = result.deduplicatedColumnNames().map((name) => JSON.stringify(name));
  let separator = '[\n';
  for await (const rows of rowsOf(result)) {
    const lines = rows.map(
      (row) => `{${row.map((value, i) => `${names[i]}:${json(value)}`).join(',')}}`,
    );
    await sink.write(separator + lines.join(',\n'));
    separator = ',\n';
  }
  await sink.write(separator === '[\n' ? '[]\n' : '\n]\n');
}

/** Comma separated values with a header line; NULL is an empty field, an empty string is "". */
export async function writeCsv(result: DuckDBResult, sink: Sink): Promise<void> {
  await sink.write(`${result.deduplicatedColumnNames().map(csv).join(',')}\n`);
  for await (const rows of rowsOf(result)) {
    await sink.write(rows.map((row) => `${row.map(csv).join(',')}\n`).join(''));
  }
}

function isNumeric(type: DuckDBType): boolean {
  return (
    (type.typeId >= DuckDBTypeId.TINYINT && type.typeId <= DuckDBTypeId.DOUBLE) ||
    type.typeId === DuckDBTypeId.HUGEINT ||
    type.typeId === DuckDBTypeId.UHUGEINT ||
    type.typeId === DuckDBTypeId.DECIMAL
  );
}

/** A value as text, for tables and CSV. Blobs are in hexadecimal. */
export function text(value: DuckDBValue): string {
  if (value instanceof DuckDBBlobValue) return hex(value);
  return String(value);
}

const hex = (blob: DuckDBBlobValue) => Buffer.from(blob.bytes).toString('hex');

function csv(value: DuckDBValue): string {
  if (value === null) return '';
  const cell = text(value);
  return cell === '' || /[",\n\r]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

function json(value: DuckDBValue): string {
  if (value === null) return 'null';
  switch (typeof value) {
    case 'bigint':
    case 'boolean':
      return String(value);
    case 'number':
      // JSON has no infinity and no NaN.
      return Number.isFinite(value) ? String(value) : JSON.stringify(String(value));
    case 'string':
      return JSON.stringify(value);
  }
  if (value instanceof DuckDBBlobValue) return JSON.stringify(hex(value));
  if (value instanceof DuckDBDecimalValue) return value.toString();
  if (value instanceof DuckDBListValue) return `[${value.items.map(json).join(',')}]`;
  if (value instanceof DuckDBStructValue) {
    return `{${Object.entries(value.entries)
      .map(([key, inner]) => `${JSON.stringify(key)}:${json(inner)}`)
      .join(',')}}`;
  }
  if (value instanceof DuckDBMapValue) {
    return `[${value.entries.map(({ key, value: inner }) => `{"key":${json(key)},"value":${json(inner)}}`).join(',')}]`;
  }
  return JSON.stringify(String(value));
}
