/**
 * A small writer of FlatBuffers, enough for the metadata of Arrow files. (Loading the Arrow library
 * would cost more than recording a short program.)
 *
 * Objects are written front to back: a table, then what it refers to, so every reference points forward.
 */

/** A value of a table's slot; undefined leaves the slot absent. */
export type FlatValue =
  | { readonly kind: 'i8' | 'i16' | 'i32'; readonly value: number }
  | { readonly kind: 'i64'; readonly value: bigint }
  | FlatReference;

/** A value that stands elsewhere in the buffer. */
export type FlatReference =
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'table'; readonly slots: FlatTable }
  | { readonly kind: 'tables'; readonly items: readonly FlatTable[] }
  /** A vector of structs, each of `wordsPerItem` 64-bit words. */
  | { readonly kind: 'structs'; readonly words: readonly bigint[]; readonly wordsPerItem: number }
  | EncodedTable;

/** A table with all that it refers to, encoded before: a buffer, and where in it the table begins. */
export interface EncodedTable {
  readonly kind: 'encoded';
  readonly bytes: Uint8Array;
  readonly place: number;
}

/** Slots by number, as in the order of the fields of a .fbs table. */
export type FlatTable = readonly (FlatValue | undefined)[];

export const i8 = (value: number): FlatValue => ({ kind: 'i8', value });
export const i16 = (value: number): FlatValue => ({ kind: 'i16', value });
export const i32 = (value: number): FlatValue => ({ kind: 'i32', value });
export const i64 = (value: bigint | number): FlatValue => ({ kind: 'i64', value: BigInt(value) });
export const text = (value: string): FlatValue => ({ kind: 'string', value });
export const object = (slots: FlatTable): FlatValue => ({ kind: 'table', slots });
export const objects = (items: readonly FlatTable[]): FlatValue => ({ kind: 'tables', items });
export const structs = (words: readonly bigint[], wordsPerItem: number): FlatValue => ({
  kind: 'structs',
  words,
  wordsPerItem,
});

const WIDTHS = {
  i8: 1,
  i16: 2,
  i32: 4,
  i64: 8,
  string: 4,
  table: 4,
  tables: 4,
  structs: 4,
  encoded: 4,
} as const;

const ENCODER = new TextEncoder();

/** Encodes the root table; the result's length is a multiple of 8. */
export function encodeFlatbuffer(root: FlatTable): Uint8Array {
  const writer = new Writer();
  const reference = writer.reserve(4, 4);
  writer.place(reference, { kind: 'table', slots: root });
  return writer.finish();
}

/** Encodes a table that several buffers are to hold. (References are relative, so it can stand at any multiple of 8.) */
export function encodeTable(slots: FlatTable): EncodedTable {
  const writer = new Writer();
  writer.reserve(8, 8);
  writer.place(0, { kind: 'table', slots });
  const bytes = writer.finish();
  const place = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return { kind: 'encoded', bytes: bytes.subarray(8), place: place - 8 };
}

class Writer {
  private bytes = new Uint8Array(1024);
  private view = new DataView(this.bytes.buffer);
  private length = 0;

  /** Appends zero bytes at an aligned place and returns the place. */
  reserve(size: number, alignment: number): number {
    const place = Math.ceil(this.length / alignment) * alignment;
    this.length = place + size;
    if (this.length > this.bytes.length) {
      const bytes = new Uint8Array(2 * this.length);
      bytes.set(this.bytes);
      this.bytes = bytes;
      this.view = new DataView(bytes.buffer);
    }
    return place;
  }

  /** Writes what is referred to, and the reference at `at` to it. */
  place(at: number, value: FlatReference): void {
    let target: number;
    switch (value.kind) {
      case 'table':
        this.table(at, value.slots);
        return;
      case 'string': {
        // Room for the longest encoding; what is not used is given back.
        target = this.reserve(4 + 3 * value.value.length + 1, 4);
        const { written } = ENCODER.encodeInto(value.value, this.bytes.subarray(target + 4));
        this.view.setUint32(target, written, true);
        this.length = target + 4 + written + 1;
        break;
      }
      case 'encoded': {
        const start = this.reserve(value.bytes.length, 8);
        this.bytes.set(value.bytes, start);
        target = start + value.place;
        break;
      }
      case 'structs': {
        // The items are aligned to 8; their count stands right before them.
        target = this.reserve(8 + 8 * value.words.length, 8) + 4;
        this.view.setUint32(target, value.words.length / value.wordsPerItem, true);
        value.words.forEach((word, i) => this.view.setBigInt64(target + 4 + 8 * i, word, true));
        break;
      }
      case 'tables': {
        target = this.reserve(4 + 4 * value.items.length, 4);
        this.view.setUint32(target, value.items.length, true);
        this.view.setUint32(at, target - at, true);
        value.items.forEach((slots, i) => this.place(target + 4 + 4 * i, { kind: 'table', slots }));
        return;
      }
    }
    this.view.setUint32(at, target - at, true);
  }

  private table(at: number, slots: FlatTable): void {
    // The table begins with a reference to its vtable; the widest fields follow at 8.
    const present: { value: FlatValue; slot: number; offset: number }[] = [];
    let size = 4;
    for (const width of [8, 4, 2, 1]) {
      for (let slot = 0; slot < slots.length; slot++) {
        const value = slots[slot];
        if (!value || WIDTHS[value.kind] !== width) continue;
        if (width === 8 && size === 4) size = 8;
        present.push({ value, slot, offset: size });
        size += width;
      }
    }
    const vtable = this.reserve(4 + 2 * slots.length, 4);
    const table = this.reserve(size, 8);
    this.view.setUint16(vtable, 4 + 2 * slots.length, true);
    this.view.setUint16(vtable + 2, size, true);
    this.view.setInt32(table, table - vtable, true);
    for (const { slot, offset } of present)
      this.view.setUint16(vtable + 4 + 2 * slot, offset, true);
    this.view.setUint32(at, table - at, true);
    for (const { value, offset } of present) {
      const place = table + offset;
      switch (value.kind) {
        case 'i8':
          this.view.setInt8(place, value.value);
          break;
        case 'i16':
          this.view.setInt16(place, value.value, true);
          break;
        case 'i32':
          this.view.setInt32(place, value.value, true);
          break;
        case 'i64':
          this.view.setBigInt64(place, value.value, true);
          break;
        default:
          this.place(place, value);
      }
    }
  }

  finish(): Uint8Array {
    this.reserve(0, 8);
    return this.bytes.subarray(0, this.length);
  }
}
