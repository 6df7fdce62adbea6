/**
 * Raw records to columns: finds the records of a spool piece, table by table, and turns each column
 * into Arrow buffers with one loop. Knows tables only by their declarations.
 */
import { isUtf8 } from 'node:buffer';
import { rawLayout, type RawField, type Table } from '../schemas/schema.js';

const MAX_BATCH_ROWS = 1 << 16;
const MAX_BATCH_BYTES = 4 << 20;
/** Records of at most this many bytes are copied byte by byte: faster than a call for each. */
const SMALL_COPY = 32;

/** The records of one table within a piece. */
export interface TableRecords {
  count: number;
  /** Byte offset of each record in the piece. */
  offsets: Uint32Array;
  /** Number of each record among the records of all tables of the piece. */
  order: Uint32Array;
}

export interface ScannedPiece {
  /** By table number. */
  readonly tables: readonly TableRecords[];
  /** Records of all tables. */
  readonly count: number;
  /** Why the piece cannot be read to its end, and where. */
  readonly broken?: string;
}

/** A record batch ready to be written. */
export interface Batch {
  readonly rows: number;
  /** As `ArrowFileWriter.append` takes them. */
  readonly buffers: readonly (readonly Uint8Array[])[];
}

/** Finds and checks the records of pieces. Its arrays are used again for each piece. */
export class PieceScanner {
  private readonly tables: TableRecords[];
  private readonly fixedSizes: Uint32Array;
  /** Per table: word offsets of the lengths of its variable columns. */
  private readonly lengthWords: Uint32Array[];

  constructor(declared: readonly Table[]) {
    const layouts = declared.map((table) => rawLayout(table.columns));
    this.tables = declared.map(() => ({
      count: 0,
      offsets: new Uint32Array(64),
      order: new Uint32Array(64),
    }));
    this.fixedSizes = Uint32Array.from(layouts, (layout) => layout.fixedSize);
    this.lengthWords = layouts.map((layout) =>
      Uint32Array.from(
        layout.fields.filter((field) => field.variable),
        (field) => field.offset >> 2,
      ),
    );
  }

  /**
   * @param piece starts at a multiple of 8 in its buffer
   * @returns views that are valid until the next scan
   */
  scan(piece: Uint8Array): ScannedPiece {
    const { tables, fixedSizes, lengthWords } = this;
    const words = new Uint32Array(piece.buffer, piece.byteOffset, piece.length >> 2);
    const end = words.length;
    for (const table of tables) table.count = 0;
    let count = 0;
    let at = 0; // in words
    let broken: string | undefined;
    while (at < end) {
      const size = words[at]!;
      if (size === 0) break;
      const number = words[at + 1]!; // the upper half is zero
      const table = tables[number];
      if (size & 7 || at + (size >>> 2) > end) broken = `a record of ${size} bytes`;
      else if (table === undefined) broken = `a record of an unknown table (${number})`;
      else {
        let needed = fixedSizes[number]!;
        const lengths = lengthWords[number]!;
        if (needed > size) broken = `a record of ${size} bytes in table ${number}`;
        else for (let i = 0; i < lengths.length; i++) needed += words[at + lengths[i]!]!;
        if (broken === undefined && Math.ceil(needed / 8) * 8 !== size)
          broken = `a record of ${size} bytes in table ${number} that needs ${needed}`;
      }
      if (broken !== undefined) {
        broken += ` at byte ${at * 4}`;
        break;
      }
      const records = table!;
      if (records.count === records.offsets.length) grow(records);
      records.offsets[records.count] = at * 4;
      records.order[records.count++] = count++;
      at += size >>> 2;
    }
    return broken === undefined ? { tables, count } : { tables, count, broken };
  }
}

function grow(records: TableRecords): void {
  const offsets = new Uint32Array(records.count * 2);
  const order = new Uint32Array(records.count * 2);
  offsets.set(records.offsets);
  order.set(records.order);
  records.offsets = offsets;
  records.order = order;
}

/**
 * Turns the records of one table into record batches.
 * @param process the number of the process of all rows, or of each row
 * @param firstEvent event number of the piece's first record
 */
export function* convertTable(
  table: Table,
  piece: Uint8Array,
  records: TableRecords,
  process: number | Uint32Array,
  firstEvent: number,
): Generator<Batch> {
  const layout = rawLayout(table.columns);
  const words = new Uint32Array(piece.buffer, piece.byteOffset, piece.length >> 2);
  for (let from = 0; from < records.count;) {
    let to = from;
    let bytes = 0;
    while (to < records.count && to - from < MAX_BATCH_ROWS && bytes < MAX_BATCH_BYTES) {
      bytes += words[records.offsets[to++]! >> 2]!;
    }
    const offsets = records.offsets.subarray(from, to);
    const order = records.order.subarray(from, to);
    const processes = typeof process === 'number' ? process : process.subarray(from, to);
    const buffers: Uint8Array[][] = [
      [processColumn(to - from, processes)],
      [eventColumn(order, firstEvent)],
    ];
    // Where the bytes of the next variable column of each row begin.
    const tails = layout.fields.some((field) => field.variable)
      ? offsets.map((offset) => offset + layout.fixedSize)
      : undefined;
    for (const field of layout.fields) {
      buffers.push(
        field.variable
          ? variableColumn(field, piece, words, offsets, tails!)
          : [fixedColumn(field, piece, words, offsets)],
      );
    }
    yield { rows: to - from, buffers };
    from = to;
  }
}

function bytesOf(array: Uint32Array | Uint16Array | Int32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function processColumn(rows: number, process: number | Uint32Array): Uint8Array {
  return bytesOf(
    typeof process === 'number' ? new Uint32Array(rows).fill(process) : process.slice(),
  );
}

function eventColumn(order: Uint32Array, firstEvent: number): Uint8Array {
  const out = new Uint32Array(order.length * 2);
  for (let i = 0; i < order.length; i++) {
    const event = firstEvent + order[i]!;
    out[2 * i] = event; // modulo 2^32
    out[2 * i + 1] = event / 0x1_0000_0000;
  }
  return bytesOf(out);
}

function fixedColumn(
  field: RawField,
  piece: Uint8Array,
  words: Uint32Array,
  offsets: Uint32Array,
): Uint8Array {
  const rows = offsets.length;
  const { offset, width } = field;
  if (field.column.type === 'bool') {
    const out = new Uint8Array((rows + 7) >> 3);
    for (let i = 0; i < rows; i++) if (piece[offsets[i]! + offset]) out[i >> 3]! |= 1 << (i & 7);
    return out;
  }
  if (width === 8) {
    const out = new Uint32Array(rows * 2);
    for (let i = 0; i < rows; i++) {
      const from = (offsets[i]! + offset) >> 2;
      out[2 * i] = words[from]!;
      out[2 * i + 1] = words[from + 1]!;
    }
    return bytesOf(out);
  }
  if (width === 4) {
    const out = new Uint32Array(rows);
    for (let i = 0; i < rows; i++) out[i] = words[(offsets[i]! + offset) >> 2]!;
    return bytesOf(out);
  }
  const out = new Uint8Array(rows * width);
  for (let i = 0; i < rows; i++) {
    for (let byte = 0; byte < width; byte++)
      out[i * width + byte] = piece[offsets[i]! + offset + byte]!;
  }
  return out;
}

/** @param tails moved on past this column's bytes */
function variableColumn(
  field: RawField,
  piece: Uint8Array,
  words: Uint32Array,
  offsets: Uint32Array,
  tails: Uint32Array,
): Uint8Array[] {
  const rows = offsets.length;
  const ends = new Int32Array(rows + 1);
  let size = 0;
  for (let i = 0; i < rows; i++) ends[i + 1] = size += words[(offsets[i]! + field.offset) >> 2]!;
  const out = new Uint8Array(size);
  for (let i = 0; i < rows; i++) {
    const to = ends[i]!;
    const length = ends[i + 1]! - to;
    const from = tails[i]!;
    if (length <= SMALL_COPY) for (let j = 0; j < length; j++) out[to + j] = piece[from + j]!;
    else out.set(piece.subarray(from, from + length), to);
    tails[i] = from + length;
  }
  if (field.column.type === 'string' && !isUtf8(out)) return replaceInvalid(out, ends);
  return [bytesOf(ends), out];
}

/** Paths and names need not be UTF-8, which Arrow's strings must be. */
function replaceInvalid(bytes: Uint8Array, ends: Int32Array): Uint8Array[] {
  const decoder = new TextDecoder();
  const texts = Array.from({ length: ends.length - 1 }, (_, i) =>
    Buffer.from(decoder.decode(bytes.subarray(ends[i], ends[i + 1]))),
  );
  const newEnds = new Int32Array(ends.length);
  texts.forEach((text, i) => (newEnds[i + 1] = newEnds[i]! + text.length));
  return [bytesOf(newEnds), Buffer.concat(texts)];
}
