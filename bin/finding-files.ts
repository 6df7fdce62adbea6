/** Keeps the findings of an analysis in the run's folder, where SQL finds them (replay/scan-findings.ts). */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type {
  AnalysisColumns,
  AnalysisRows,
  StoredColumn,
  TextColumn,
} from '../analyses/finding.js';
import type { ReportedFinding } from '../analyses/report.js';
import { ArrowFileWriter } from '../recorder/arrow-file.js';
import { convertTable } from '../recorder/convert.js';
import { encodeRecord } from '../recorder/raw.js';
import { putTexts } from '../replay/rows.js';
import {
  DECLARATIONS,
  findingsFolder,
  ownTables,
  storedFindings,
} from '../replay/scan-findings.js';
import type { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import type { ColumnType, Row, Table } from '../schemas/schema.js';
import { storedColumns } from '../schemas/stored.js';
import { ANALYSIS_TABLES, finding_frames, findings } from '../schemas/views.js';

type FindingRow = Omit<Row<typeof findings>, 'analysis'>;
type FrameRow = Omit<Row<typeof finding_frames>, 'analysis'>;

/**
 * Replaces the stored findings and tables of an analysis. A run folder that cannot be written to is left as it is,
 * and the user is told: the report does not depend on it. Throws UserError for a table that another analysis has declared
 * otherwise.
 */
export function storeFindings(
  trace: Trace,
  analysis: string,
  reported: readonly ReportedFinding[],
  tables: readonly (AnalysisRows | AnalysisColumns)[] = [],
): void {
  const folder = join(findingsFolder(trace), analysis);
  const draft = join(findingsFolder(trace), `.${analysis}.${process.pid}`);
  try {
    mkdirSync(draft, { recursive: true });
    writeTable(draft, findings, [{ table: findings, rows: reported.map(findingRow) }]);
    writeTable(draft, finding_frames, [
      { table: finding_frames, rows: reported.flatMap(frameRows) },
    ]);
    for (const table of new Set(tables.map((part) => part.table)))
      writeTable(
        draft,
        table,
        tables.filter((part) => part.table === table),
      );
    const own = [...new Set(tables.map(({ table }) => table))].filter(
      (table) => !(ANALYSIS_TABLES as readonly Table[]).includes(table),
    );
    if (own.length > 0) writeFileSync(join(draft, DECLARATIONS), JSON.stringify(own));
    rmSync(folder, { recursive: true, force: true });
    checkDeclarations(trace, analysis, own);
    renameSync(draft, folder);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    console.error(
      `grind: the findings cannot be kept for \`grind query\`: ${(error as Error).message}.`,
    );
  }
}

function checkDeclarations(trace: Trace, analysis: string, own: readonly Table[]): void {
  const columns = (table: Table): string => JSON.stringify(Object.entries(table.columns));
  for (const other of ownTables(trace)) {
    const table = own.find(({ name }) => name === other.name);
    if (table && columns(table) !== columns(other))
      throw new UserError(
        `The table ${table.name} of the analysis ${analysis} has other columns than the one that an earlier analysis of this run has: give it another name.`,
      );
  }
}

function findingRow({
  number,
  finding,
  isShown,
  isError,
  suppression,
  stacks,
}: ReportedFinding): FindingRow {
  const innermost = stacks[0]?.frames[0];
  return {
    process: finding.process,
    finding: number,
    kind: finding.kind,
    what: finding.what,
    count: BigInt(finding.count),
    tick: finding.tick,
    thread: finding.thread,
    pc: innermost?.pc ?? 0n,
    function: innermost?.fn ?? '',
    file: innermost?.file ?? '',
    line: innermost?.line ?? 0,
    notes: finding.notes.join('\n'),
    parameter: finding.parameter ?? '',
    leak_bytes: finding.leak?.bytes ?? 0n,
    leak_indirect_bytes: finding.leak?.indirectBytes ?? 0n,
    shown: isShown,
    error: isError,
    suppressed_by: suppression?.name ?? '',
  };
}

function frameRows({ number, finding, stacks }: ReportedFinding): FrameRow[] {
  return stacks.flatMap(({ role, frames }, stack) =>
    frames.map(({ fn, file, line, module, pc, inlined }, depth) => ({
      process: finding.process,
      finding: number,
      stack,
      role,
      depth,
      pc,
      function: fn,
      file,
      line,
      module,
      inlined,
    })),
  );
}

/** Writes the parts of a table. */
function writeTable(
  folder: string,
  shown: Table,
  parts: readonly (AnalysisRows | AnalysisColumns)[],
): void {
  const table = storedFindings(shown);
  const writer = new ArrowFileWriter(join(folder, `${table.name}.arrow`), table);
  appendRows(
    writer,
    table,
    parts.flatMap((part) => ('rows' in part ? part.rows : [])),
  );
  for (const part of parts) if ('columns' in part) appendColumns(writer, table, part);
  writer.finish();
}

function appendRows(writer: ArrowFileWriter, table: Table, rows: AnalysisRows['rows']): void {
  const records = rows.map((row) => encodeRecord(table, 0, row as Row<Table>));
  const bytes = new Uint8Array(Buffer.concat(records)); // copied, so that it is aligned
  let at = 0;
  const offsets = Uint32Array.from(records, (record) => (at += record.length) - record.length);
  const order = Uint32Array.from(rows, (_, i) => i);
  const processes = Uint32Array.from(rows, (row) => (row as { process: number }).process);
  const list = { count: rows.length, offsets, order };
  for (const batch of convertTable(table, bytes, list, processes, 0))
    writer.append(batch.rows, batch.buffers);
}

const MOST_ROWS = 1 << 16;

function appendColumns(
  writer: ArrowFileWriter,
  table: Table,
  { count, columns }: AnalysisColumns,
): void {
  const stored = Object.entries(storedColumns(table));
  for (let from = 0; from < count; from += MOST_ROWS) {
    const rows = Math.min(count - from, MOST_ROWS);
    const buffers = stored.map(([name, { type }]) => {
      if (name === 'event') return [bytesOf(numbersFrom(from, rows))];
      return valuesOf(columns[name]!, from, rows, type);
    });
    writer.append(rows, buffers);
  }
}

/** Integers of 64 bits that follow one another. */
function numbersFrom(first: number, count: number): Uint32Array {
  const words = new Uint32Array(2 * count);
  for (let i = 0; i < count; i++) words[2 * i] = first + i;
  return words;
}

/** Rows of a column, as `ArrowFileWriter.append` takes them. */
function valuesOf(
  column: StoredColumn,
  from: number,
  rows: number,
  type: ColumnType,
): Uint8Array[] {
  if (typeof column === 'number')
    return [
      bytesOf(
        type === 'u32'
          ? new Uint32Array(rows).fill(column)
          : new BigUint64Array(rows).fill(BigInt(column)),
      ),
    ];
  return 'texts' in column ? texts(column, from, rows) : integers(column, from, rows, type);
}

const WORD = 2 ** 32;

function integers(
  values: Exclude<StoredColumn, number | TextColumn>,
  from: number,
  rows: number,
  type: ColumnType,
): Uint8Array[] {
  if (values instanceof BigUint64Array) return [bytesOf(values.subarray(from, from + rows))];
  if (type === 'u32') return [bytesOf(Uint32Array.from(values.subarray(from, from + rows)))];
  assert.equal(type, 'u64');
  const words = new Uint32Array(2 * rows);
  for (let i = 0; i < rows; i++) {
    const value = values[from + i]!;
    words[2 * i] = value; // modulo 2^32
    words[2 * i + 1] = value / WORD;
  }
  return [bytesOf(words)];
}

function texts(column: TextColumn, from: number, rows: number): Uint8Array[] {
  const { ends, bytes } = putTexts(column.texts, column.numbers.subarray(from, from + rows));
  return [bytesOf(ends), bytes];
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
