/**
 * Raw records to columns: finds the records of a spool piece, table by table, and turns each column
 * into Arrow buffers with one loop. Knows tables only by their declarations.
 */
import { isUtf8 } from 'node:buffer';
import type { RawField, Table } from '../schemas/schema.js';
import { layoutOf } from './raw.js';

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
  /** Records of all tables. */
  readonly count: number;
  /** Records of one table, by its number. */
  countOf(table: number): number;
  /** Where a record of a table begins in the piece, in bytes. */
  offsetOf(table: number, index: number): number;
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
  /** Of the piece scanned last, by table number. */
  readonly tables: TableRecords[];
  private readonly fixedSizes: Uint32Array;
  /** Per table: word offsets of the lengths of its variable columns. */
  private readonly lengthWords: Uint32Array[];

  constructor(declared: readonly Table[]) {
    const layouts = declared.map(layoutOf);
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
  scan(piece: Uint8Array): ScannedPiece & { readonly tables: readonly TableRecords[] } {
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
    const scanned = {
      count,
      tables,
      countOf: (number: number) => tables[number]!.count,
      offsetOf: (number: number, index: number) => tables[number]!.offsets[index]!,
    };
    return broken === undefined ? scanned : { ...scanned, broken };
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

/** Memory for the buffers of one batch, used again for the next: what is not allocated is not collected. */
class Scratch {
  private buffer = new ArrayBuffer(0);
  private used = 0;

  /** Makes all of it free, and enough for `sizeBytes` in many parts. */
  begin(sizeBytes: number): void {
    this.used = 0;
    if (this.buffer.byteLength < sizeBytes) this.buffer = new ArrayBuffer(2 * sizeBytes);
  }

  /** Bytes of any contents, aligned to 8. */
  take(sizeBytes: number): Uint8Array {
    const start = this.used;
    this.used = (start + sizeBytes + 7) & ~7;
    if (this.used > this.buffer.byteLength) {
      this.buffer = new ArrayBuffer(Math.max(2 * this.buffer.byteLength, sizeBytes + 8));
      this.used = (sizeBytes + 7) & ~7;
      return new Uint8Array(this.buffer, 0, sizeBytes);
    }
    return new Uint8Array(this.buffer, start, sizeBytes);
  }

  words(count: number): Uint32Array {
    const bytes = this.take(count * 4);
    return new Uint32Array(bytes.buffer, bytes.byteOffset, count);
  }
}

const scratch = new Scratch();

/**
 * Turns the records of one table into record batches, each valid until the next is asked for.
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
  const layout = layoutOf(table);
  const hasTail = layout.fields.some((field) => field.variable);
  const words = new Uint32Array(piece.buffer, piece.byteOffset, piece.length >> 2);
  for (let from = 0; from < records.count;) {
    const [to, sizeBytes] = batchEnd(words, records, from);
    const offsets = records.offsets.subarray(from, to);
    // Fixed fields are copied as they are; offsets of variable columns take the place of their lengths.
    scratch.begin(sizeBytes + (to - from) * 16 + layout.fields.length * 16);
    const buffers: Uint8Array[][] = [
      [
        processColumn(
          to - from,
          typeof process === 'number' ? process : process.subarray(from, to),
        ),
      ],
      [eventColumn(records.order.subarray(from, to), firstEvent)],
    ];
    // Where the bytes of the next variable column of each row begin.
    const tails = hasTail ? tailStarts(offsets, layout.fixedSize) : offsets;
    for (const field of layout.fields) {
      buffers.push(
        field.variable
          ? variableColumn(field, piece, words, offsets, tails)
          : [fixedColumn(field, piece, words, offsets)],
      );
    }
    yield { rows: to - from, buffers };
    from = to;
  }
}

/** Where the batch that begins with record `from` ends, and the size of its records. */
function batchEnd(words: Uint32Array, records: TableRecords, from: number): [number, number] {
  const { offsets } = records;
  const most = Math.min(records.count, from + MAX_BATCH_ROWS);
  let to = from;
  let bytes = 0;
  while (to < most && bytes < MAX_BATCH_BYTES) bytes += words[offsets[to++]! >> 2]!;
  return [to, bytes];
}

function tailStarts(offsets: Uint32Array, fixedSize: number): Uint32Array {
  const tails = scratch.words(offsets.length);
  for (let i = 0; i < offsets.length; i++) tails[i] = offsets[i]! + fixedSize;
  return tails;
}

function bytesOf(array: Uint32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function processColumn(rows: number, process: number | Uint32Array): Uint8Array {
  const out = scratch.words(rows);
  if (typeof process === 'number') out.fill(process);
  else out.set(process);
  return bytesOf(out);
}

function eventColumn(order: Uint32Array, firstEvent: number): Uint8Array {
  const out = scratch.words(order.length * 2);
  for (let i = 0; i < order.length; i++) {
    const event = firstEvent + order[i]!;
    out[2 * i] = event; // modulo 2^32
    out[2 * i + 1] = event / 0x1_0000_0000;
  }
  return bytesOf(out);
}

// The loops below are small functions of their own: what is hot is then cheap to compile.

function fixedColumn(
  field: RawField,
  piece: Uint8Array,
  words: Uint32Array,
  offsets: Uint32Array,
): Uint8Array {
  const rows = offsets.length;
  const { offset, width } = field;
  if (field.column.type === 'bool') {
    const out = scratch.take((rows + 7) >> 3).fill(0);
    copyBits(piece, offsets, offset, out);
    return out;
  }
  if (width >= 4) {
    const out = scratch.words((rows * width) >> 2);
    if (width === 8) copyPairs(words, offsets, offset >> 2, out);
    else copyWords(words, offsets, offset >> 2, out);
    return bytesOf(out);
  }
  const out = scratch.take(rows * width);
  for (let byte = 0; byte < width; byte++)
    copyBytes(piece, offsets, offset + byte, out, byte, width);
  return out;
}

function copyBits(piece: Uint8Array, offsets: Uint32Array, at: number, out: Uint8Array): void {
  for (let i = 0; i < offsets.length; i++)
    if (piece[offsets[i]! + at]) out[i >> 3]! |= 1 << (i & 7);
}

/** Copies one byte of each record to every `step`th byte from `to`. */
function copyBytes(
  piece: Uint8Array,
  offsets: Uint32Array,
  at: number,
  out: Uint8Array,
  to: number,
  step: number,
): void {
  for (let i = 0; i < offsets.length; i++, to += step) out[to] = piece[offsets[i]! + at]!;
}

function copyWords(words: Uint32Array, offsets: Uint32Array, at: number, out: Uint32Array): void {
  for (let i = 0; i < offsets.length; i++) out[i] = words[(offsets[i]! >> 2) + at]!;
}

function copyPairs(words: Uint32Array, offsets: Uint32Array, at: number, out: Uint32Array): void {
  for (let i = 0, to = 0; i < offsets.length; i++, to += 2) {
    const from = (offsets[i]! >> 2) + at;
    out[to] = words[from]!;
    out[to + 1] = words[from + 1]!;
  }
}

/** @param tails moved on past this column's bytes */
function variableColumn(
  field: RawField,
  piece: Uint8Array,
  words: Uint32Array,
  offsets: Uint32Array,
  tails: Uint32Array,
): Uint8Array[] {
  const ends = scratch.words(offsets.length + 1);
  const size = sumLengths(words, offsets, field.offset >> 2, ends);
  const out = scratch.take(size);
  if (size > 0) copyTails(piece, tails, ends, out);
  if (field.column.type === 'string' && !isUtf8(out)) return replaceInvalid(out, ends);
  return [bytesOf(ends), out];
}

function sumLengths(
  words: Uint32Array,
  offsets: Uint32Array,
  at: number,
  ends: Uint32Array,
): number {
  let size = 0;
  ends[0] = 0;
  for (let i = 0; i < offsets.length; i++) ends[i + 1] = size += words[(offsets[i]! >> 2) + at]!;
  return size;
}

function copyTails(
  piece: Uint8Array,
  tails: Uint32Array,
  ends: Uint32Array,
  out: Uint8Array,
): void {
  for (let i = 0; i < tails.length; i++) {
    const to = ends[i]!;
    const length = ends[i + 1]! - to;
    const from = tails[i]!;
    if (length <= SMALL_COPY) for (let j = 0; j < length; j++) out[to + j] = piece[from + j]!;
    else out.set(piece.subarray(from, from + length), to);
    tails[i] = from + length;
  }
}

/** Paths and names need not be UTF-8, which Arrow's strings must be. */
function replaceInvalid(bytes: Uint8Array, ends: Uint32Array): Uint8Array[] {
  const decoder = new TextDecoder();
  const texts = Array.from({ length: ends.length - 1 }, (_, i) =>
    Buffer.from(decoder.decode(bytes.subarray(ends[i], ends[i + 1]))),
  );
  const newEnds = new Uint32Array(ends.length);
  texts.forEach((text, i) => (newEnds[i + 1] = newEnds[i]! + text.length));
  return [bytesOf(newEnds), Buffer.concat(texts)];
}
