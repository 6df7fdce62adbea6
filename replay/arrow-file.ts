/**
 * Reads one stored table: an Arrow IPC file whose record batches each belong to one process image.
 *
 * The file is walked message by message from its start, so a file that was cut off (no footer) is read
 * up to its last whole batch, in the same way as a complete one. Only the buffers of columns that are
 * asked for are read and decompressed. Nothing in the file is trusted: sizes, offsets, codes and types
 * are checked before use.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { UserError } from '../schemas/errors.js';
import {
  COLUMN_WIDTHS,
  type Column,
  type ColumnType,
  type Columns,
  type Table,
  type Value,
} from '../schemas/schema.js';
import { storedColumns, type ADDED_COLUMNS } from '../schemas/stored.js';
import { decompressFrame } from '../schemas/lz4.js';
import {
  decodeFooter,
  decodeMessage,
  type ArrowField,
  type ArrowMessage,
  type BatchHeader,
} from './flatbuffer.js';

/** A column of strings or byte strings: row `i` is `data.subarray(offsets[i], offsets[i + 1])`. */
export interface VarColumn {
  readonly offsets: Int32Array;
  readonly data: Uint8Array;
}

/** The typed array that holds a column of each storage type. */
export interface ColumnArrays {
  u8: Uint8Array;
  bool: Uint8Array;
  enum: Uint8Array;
  u16: Uint16Array;
  u32: Uint32Array;
  i32: Int32Array;
  u64: BigUint64Array;
  i64: BigInt64Array;
  string: VarColumn;
  binary: VarColumn;
}

/** Declared columns of a table and the key columns. */
export type AllColumns<T extends Table> = T['columns'] & typeof ADDED_COLUMNS;

/** A row of a stored table, key columns included. */
export type StoredRow<T extends Table> = {
  -readonly [K in keyof AllColumns<T>]: Value<AllColumns<T>[K]>;
};

/** Largest message header that a sane file has: far above that of a table with 20 columns. */
const MAX_HEADER_BYTES = 1 << 20;
const MAX_FOOTER_BYTES = 1 << 28;
/** Rows of one batch that a sane file has. */
const MAX_BATCH_ROWS = 1 << 28;

const SEVERAL = -1;

interface BatchIndexEntry {
  readonly header: BatchHeader;
  /** File offset of the batch's body. */
  readonly bodyOffset: number;
  /** Process image, once known; `SEVERAL` in the tables with a row per process. */
  process?: number;
}

interface FileColumn {
  readonly column: Column;
  /** Number of the column's first buffer within a batch. */
  readonly firstBuffer: number;
  /** Names of an enum's codes, as this file has them. */
  readonly names: readonly string[];
}

/** One record batch of a stored table: rows of one process image (of several only in `processes`). Columns are decoded on first use. */
export class Batch<T extends Table = Table> {
  readonly count: number;
  /** The process image of the rows. */
  readonly process: number;
  private readonly decoded = new Map<string, ColumnArrays[ColumnType]>();

  /** @internal */
  constructor(
    private readonly file: ArrowFile<T>,
    private readonly entry: BatchIndexEntry,
  ) {
    this.count = entry.header.length;
    this.process = entry.process!;
  }

  /** The values of a column, `count` of them, as a typed array (or offsets and bytes). */
  column<K extends keyof AllColumns<T> & string>(name: K): ColumnArrays[AllColumns<T>[K]['type']] {
    let values = this.decoded.get(name);
    if (!values) this.decoded.set(name, (values = this.file.decode(this.entry, name)));
    return values as ColumnArrays[AllColumns<T>[K]['type']];
  }

  /** The names of an enum column's codes. */
  names(name: keyof AllColumns<T> & string): readonly string[] {
    return this.file.names(name);
  }

  /** The rows as objects, in order. For tables that are small: it makes an object per row. */
  *rows(): Generator<StoredRow<T>> {
    const getters = Object.entries<Column>(storedColumns(this.file.table)).map(
      ([name, column]) => [name, cellGetter(this, name, column)] as const,
    );
    for (let i = 0; i < this.count; i++) {
      const row: Record<string, unknown> = {};
      for (const [name, get] of getters) row[name] = get(i);
      yield row as StoredRow<T>;
    }
  }
}

const utf8 = new TextDecoder();

/** What reads a cell of a column, by the number of its row. */
export function cellGetter(batch: Batch, name: string, column: Column): (i: number) => unknown {
  const values = batch.column(name as never) as unknown;
  switch (column.type) {
    case 'string': {
      const { offsets, data } = values as VarColumn;
      return (i) => utf8.decode(data.subarray(offsets[i]!, offsets[i + 1]!));
    }
    case 'binary': {
      const { offsets, data } = values as VarColumn;
      return (i) => data.subarray(offsets[i]!, offsets[i + 1]!);
    }
    case 'bool':
      return (i) => (values as Uint8Array)[i] !== 0;
    case 'enum': {
      const names = batch.names(name as never);
      return (i) => names[(values as Uint8Array)[i]!];
    }
    default:
      return (i) => (values as Uint32Array)[i];
  }
}

/** An open Arrow IPC file of a stored table. */
export class ArrowFile<T extends Table = Table> {
  /** Why the file ends early, in words; undefined when it is whole. */
  readonly damage: string | undefined;
  private readonly columns = new Map<string, FileColumn>();
  private readonly entries: BatchIndexEntry[] = [];
  private fd: number;

  /** Opens the file at `path` as table `table`. Throws UserError when it is not such a file. */
  constructor(
    readonly path: string,
    readonly table: T,
  ) {
    this.fd = openSync(path, 'r');
    try {
      this.damage = this.readIndex(fstatSync(this.fd).size);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }

  /** Rows in all batches. */
  get rowCount(): number {
    return this.entries.reduce((sum, { header }) => sum + header.length, 0);
  }

  names(name: string): readonly string[] {
    return this.columns.get(name)!.names;
  }

  /** The batches of one process image, or of all, in file order. */
  *batches(process?: number): Generator<Batch<T>> {
    for (const entry of this.entries) {
      if (entry.header.length === 0) continue;
      entry.process ??= this.processOf(entry);
      if (process !== undefined && entry.process === SEVERAL) {
        throw this.damaged('a record batch mixes rows of several processes');
      }
      if (process === undefined || entry.process === process) yield new Batch(this, entry);
    }
  }

  /** Walks the messages; returns what is wrong with the file's end, if anything. */
  private readIndex(fileSize: number): string | undefined {
    const magic = this.read(0, Math.min(8, fileSize));
    if (fileSize < 8 || Buffer.from(magic.subarray(0, 6)).toString('latin1') !== 'ARROW1') {
      if (fileSize < 8) return 'it is cut off before its first byte of data';
      throw this.foreign('it is not an Arrow file');
    }
    let offset = 8;
    for (;;) {
      if (offset + 8 > fileSize) return `it is cut off at byte ${fileSize}`;
      const prefix = new DataView(this.read(offset, 8).buffer);
      const headerSize = prefix.getInt32(4, true);
      if (
        prefix.getUint32(0, true) !== 0xffffffff ||
        headerSize < 0 ||
        headerSize > MAX_HEADER_BYTES
      ) {
        return `the data at byte ${offset} are damaged`;
      }
      if (headerSize === 0) return undefined;
      if (offset + 8 + headerSize > fileSize) return `it is cut off at byte ${fileSize}`;
      let message: ArrowMessage;
      try {
        message = decodeMessage(this.read(offset + 8, headerSize));
      } catch {
        return `the message header at byte ${offset} is damaged`;
      }
      const bodyOffset = offset + 8 + headerSize;
      const { bodyLength } = message;
      if (bodyLength < 0) return `the message at byte ${offset} is damaged`;
      if (bodyOffset + bodyLength > fileSize) return `it is cut off at byte ${fileSize}`;
      if (message.schema) {
        this.readSchema(message.schema);
      } else if (message.batch) {
        if (this.columns.size === 0) this.readFooterSchema(fileSize);
        this.entries.push({
          header: this.checkBatch(message.batch, bodyLength, offset),
          bodyOffset,
        });
      } else {
        throw this.foreign('it holds a kind of message that grind does not write');
      }
      offset = bodyOffset + bodyLength;
    }
  }

  /**
   * Some writers give the schema only in the footer. A file of theirs that lost its footer must have the
   * columns in order of declaration.
   */
  private readFooterSchema(fileSize: number): void {
    const end = this.read(Math.max(0, fileSize - 10), 10);
    const size = new DataView(end.buffer).getInt32(0, true);
    if (
      Buffer.from(end.subarray(4)).toString('latin1') === 'ARROW1' &&
      size > 0 &&
      size <= Math.min(fileSize - 18, MAX_FOOTER_BYTES)
    ) {
      let fields: readonly ArrowField[];
      try {
        fields = decodeFooter(this.read(fileSize - 10 - size, size));
      } catch {
        throw this.damaged('its footer cannot be read');
      }
      this.readSchema(fields);
      return;
    }
    let buffer = 0;
    for (const [name, column] of Object.entries<Column>(storedColumns(this.table))) {
      this.columns.set(name, { column, firstBuffer: buffer, names: column.names ?? [] });
      buffer += isVariable(column) ? 3 : 2;
    }
  }

  private readSchema(fields: readonly ArrowField[]): void {
    const expected: Columns = storedColumns(this.table);
    let buffer = 0;
    for (const { name, type, metadata } of fields) {
      const firstBuffer = buffer;
      if (type === 'other')
        throw this.foreign(`its column ${name} has a type that grind does not write`);
      buffer += type === 'string' || type === 'binary' ? 3 : 2;
      const column = expected[name];
      // A column that this version does not know is from a compatible newer writer.
      if (!column) continue;
      if (type !== (column.type === 'enum' ? 'u8' : column.type)) {
        throw this.foreign(`its column ${name} has type ${type} in place of ${column.type}`);
      }
      this.columns.set(name, {
        column,
        firstBuffer,
        names: metadata.get('enum')?.split(',') ?? column.names ?? [],
      });
    }
    for (const name of Object.keys(expected)) {
      if (!this.columns.has(name)) throw this.foreign(`it has no column ${name}`);
    }
  }

  private checkBatch(header: BatchHeader, bodyLength: number, at: number): BatchHeader {
    const { length, buffers, compression, nullCounts } = header;
    const inside = (b: { offset: number; length: number }) =>
      b.offset >= 0 && b.length >= 0 && b.offset + b.length <= bodyLength;
    const last = Math.max(
      ...[...this.columns.values()].map((c) => c.firstBuffer + (isVariable(c.column) ? 2 : 1)),
    );
    if (
      !(length >= 0 && length <= MAX_BATCH_ROWS) ||
      buffers.length <= last ||
      !buffers.every(inside)
    ) {
      throw this.damaged(`the record batch at byte ${at} has impossible sizes`);
    }
    if (nullCounts.some((count) => count !== 0)) throw this.foreign('it has null values');
    if (compression === 'other')
      throw this.foreign('it is compressed in another way than with LZ4');
    return header;
  }

  private processOf(entry: BatchIndexEntry): number {
    const processes = this.decode(entry, 'process') as Uint32Array;
    const process = processes[0]!;
    return processes.every((p) => p === process) ? process : SEVERAL;
  }

  /** @internal Decodes one column of a batch. */
  decode(entry: BatchIndexEntry, name: string): ColumnArrays[ColumnType] {
    const { column, firstBuffer, names } = this.columns.get(name)!;
    const rows = entry.header.length;
    const bytes = (buffer: number, size: number) =>
      this.buffer(entry, firstBuffer + buffer, size, name);
    switch (column.type) {
      case 'bool':
        return unpackBits(bytes(1, (rows + 7) >> 3), rows);
      case 'enum': {
        const codes = bytes(1, rows).subarray(0, rows);
        for (let i = 0; i < rows; i++) {
          if (codes[i]! >= names.length)
            throw this.damaged(`column ${name} holds ${codes[i]}, which is no code of it`);
        }
        return codes;
      }
      case 'string':
      case 'binary': {
        const raw = bytes(1, (rows + 1) * 4);
        const offsets = new Int32Array(raw.buffer, raw.byteOffset, rows + 1);
        for (let i = 0, previous = 0; i <= rows; i++) {
          if (offsets[i]! < previous)
            throw this.damaged(`column ${name} has offsets that go backwards`);
          previous = offsets[i]!;
        }
        return { offsets, data: bytes(2, offsets[rows]!) };
      }
      default: {
        const raw = bytes(1, rows * COLUMN_WIDTHS[column.type]);
        return new ARRAYS[column.type](raw.buffer as ArrayBuffer, raw.byteOffset, rows);
      }
    }
  }

  /** Reads and decompresses buffer `index` of a batch: at least `size` bytes, 8-byte aligned. */
  private buffer(entry: BatchIndexEntry, index: number, size: number, name: string): Uint8Array {
    const { offset, length } = entry.header.buffers[index]!;
    if (size === 0) return new Uint8Array(0);
    if (entry.header.compression === 'none') {
      if (length < size) throw this.damaged(`column ${name} is shorter than its row count`);
      return this.read(entry.bodyOffset + offset, size);
    }
    if (length < 8) throw this.damaged(`column ${name} is shorter than its row count`);
    const stored = this.read(entry.bodyOffset + offset, length);
    const full = new DataView(stored.buffer, stored.byteOffset).getBigInt64(0, true);
    const body = stored.subarray(8);
    let bytes: Uint8Array = body;
    if (full !== -1n) {
      try {
        const frame = Buffer.from(body.buffer, body.byteOffset, body.length);
        bytes = decompressFrame(frame, full);
      } catch {
        throw this.damaged(`the compressed data of column ${name} are damaged`);
      }
      if (BigInt(bytes.length) !== full)
        throw this.damaged(`column ${name} has another size than it says`);
    }
    if (bytes.length < size) throw this.damaged(`column ${name} is shorter than its row count`);
    return bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  }

  /** Reads exactly `size` bytes at `offset` of the file into memory of their own. */
  private read(offset: number, size: number): Uint8Array {
    const { buffer } = Buffer.allocUnsafeSlow(size); // all of it is read
    const bytes = new Uint8Array(buffer);
    let done = 0;
    while (done < size) {
      const n = readSync(this.fd, bytes, done, size - done, offset + done);
      if (n === 0) throw this.damaged('it became shorter while it was read');
      done += n;
    }
    return bytes;
  }

  private foreign(why: string): UserError {
    return new UserError(`${this.path} is not a table of a grind trace: ${why}.`);
  }

  private damaged(why: string): UserError {
    return new UserError(`${this.path} is damaged: ${why}; record the run again.`);
  }
}

const ARRAYS = {
  u8: Uint8Array,
  u16: Uint16Array,
  u32: Uint32Array,
  i32: Int32Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
} as const;

const isVariable = (column: Column) => column.type === 'string' || column.type === 'binary';

function unpackBits(bits: Uint8Array, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) bytes[i] = (bits[i >> 3]! >> (i & 7)) & 1;
  return bytes;
}
