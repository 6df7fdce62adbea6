/**
 * Writes small runs for the tests of reading: rows given as objects become the stored tables of a run
 * folder, without a recorder.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArrowFileWriter } from '../recorder/arrow-file.js';
import type { StoredRow } from '../replay/arrow-file.js';
import type { Column, Table } from '../schemas/schema.js';
import { storedColumns } from '../schemas/stored.js';
import { FORMAT_VERSION, processes } from '../schemas/tables.js';

/** A row with any columns left out: they are 0, false, empty or the enum's first name. */
export type PartialRow<T extends Table> = Partial<StoredRow<T>>;

const ARRAYS = {
  u8: Uint8Array,
  enum: Uint8Array,
  u16: Uint16Array,
  u32: Uint32Array,
  i32: Int32Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
} as const;

const bytesOf = (array: ArrayBufferView) =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** The Arrow buffers of a column. Absent values are 0, false or empty. */
function columnBuffers(column: Column, values: readonly unknown[]): Uint8Array[] {
  switch (column.type) {
    case 'bool': {
      const bits = new Uint8Array((values.length + 7) >> 3);
      values.forEach((value, i) => (bits[i >> 3]! |= value ? 1 << (i & 7) : 0));
      return [bits];
    }
    case 'string':
    case 'binary': {
      const cells = values.map((value) =>
        typeof value === 'string'
          ? Buffer.from(value)
          : ((value as Uint8Array) ?? new Uint8Array()),
      );
      const offsets = new Int32Array(values.length + 1);
      cells.forEach((cell, i) => (offsets[i + 1] = offsets[i]! + cell.length));
      return [bytesOf(offsets), Buffer.concat(cells)];
    }
    case 'u64':
    case 'i64':
      return [
        bytesOf(new ARRAYS[column.type](values.map((value) => BigInt((value as bigint) ?? 0)))),
      ];
    default:
      return [
        bytesOf(
          new ARRAYS[column.type](
            values.map((value) =>
              typeof value === 'string' ? column.names!.indexOf(value) : Number(value ?? 0),
            ),
          ),
        ),
      ];
  }
}

/** Writes the Arrow file of a table: one record batch per element of `batches`. */
export function writeTable<T extends Table>(
  path: string,
  table: T,
  batches: readonly (readonly PartialRow<T>[])[],
): void {
  const writer = new ArrowFileWriter(path, table);
  for (const rows of batches) {
    const columns = Object.entries(storedColumns(table));
    writer.append(
      rows.length,
      columns.map(([name, column]) =>
        columnBuffers(
          column,
          rows.map((row) => (row as Record<string, unknown>)[name]),
        ),
      ),
    );
  }
  writer.finish();
}

/** Rows of the stored tables of a run, by table. */
export type Contents = Map<Table, readonly (readonly PartialRow<Table>[])[]>;

/** Starts a run's contents with one process image, number 0, unless `rows` says otherwise. */
export function contents(
  rows: readonly PartialRow<typeof processes>[] = [
    {
      process: 0,
      pid: 100,
      parent: -1,
      executable: '/bin/true',
      arguments: '["true"]',
      ticks: 1000n,
    },
  ],
): Contents {
  return new Map<Table, readonly (readonly PartialRow<Table>[])[]>([
    [processes, rows.map((row) => [row])],
  ]);
}

/** Adds a batch of rows to a table. */
export function add<T extends Table>(
  run: Contents,
  table: T,
  rows: readonly PartialRow<T>[],
): void {
  run.set(table, [...(run.get(table) ?? []), rows as readonly PartialRow<Table>[]]);
}

const folders: string[] = [];
process.on('exit', () =>
  folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })),
);

/** A new temporary folder, which goes when the tests are done. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'grind-test-'));
  folders.push(folder);
  return folder;
}

/** Writes a run folder and returns its path. */
export function writeRun(
  run: Contents,
  folder = join(temporaryFolder(), 'run'),
  manifest: object = {},
): string {
  mkdirSync(folder, { recursive: true });
  for (const [table, batches] of run)
    writeTable(join(folder, `${table.name}.arrow`), table, batches);
  writeFileSync(
    join(folder, 'manifest.json'),
    JSON.stringify({ format: FORMAT_VERSION, ...manifest }),
  );
  return folder;
}
