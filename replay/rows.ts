/**
 * Loops over many rows of numbers, with which analyses make tables of what a replay has counted. JavaScript is slow in its first
 * runs, and these have no others: where the module of the replay has been loaded, it does them (native/rows.h).
 */
import type { NativeEngine } from './native.js';

/** What the module does; each is said in TypeScript below. */
export type NativeRows = Pick<
  NativeEngine,
  | 'groupRows'
  | 'fillSlots'
  | 'findRows'
  | 'sumRows'
  | 'takeColumn'
  | 'putTexts'
  | 'numberSites'
  | 'addSites'
>;

let native: NativeRows | undefined;

/** From now on the module does it. @param rows - undefined: no longer, for tests */
export function useNativeRows(rows: NativeRows | undefined): void {
  native = rows;
}

/** The module, for loops that are not here. */
export const nativeRows = (): NativeRows | undefined => native;

/** Rows that belong together. */
export interface Groups {
  readonly count: number;
  /** By row: number of its group. Groups are in order of appearance. */
  readonly groups: Uint32Array;
  /** By group: its first row. */
  readonly firsts: Uint32Array;
}

/** How two words are spread over slots of open addressing. */
export function hashOf(low: number, high: number): number {
  const hash = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1);
  return hash ^ (hash >>> 15);
}

/** Slots of open addressing for so many rows. */
export const makeSlots = (count: number): Uint32Array =>
  new Uint32Array(1 << (33 - Math.clz32(Math.max(count, 8))));

/**
 * Puts those rows together that have the same in all columns, of which there are at most four.
 * @param at - by row: which row of the columns it is, or -1 if it is none, and like no other; absent: its own
 */
export function groupRows(columns: readonly Uint32Array[], count: number, at?: Int32Array): Groups {
  const groups = new Uint32Array(count);
  const firsts = new Uint32Array(count);
  let found = native
    ? native.groupRows([groups, firsts, at, ...columns], columns.length, count)
    : -1;
  if (found < 0) found = groupPlainly(columns, count, at, groups, firsts);
  return { count: found, groups, firsts: firsts.subarray(0, found) };
}

function groupPlainly(
  columns: readonly Uint32Array[],
  count: number,
  at: Int32Array | undefined,
  groups: Uint32Array,
  firsts: Uint32Array,
): number {
  const slots = makeSlots(count);
  const isAlike = (a: number, b: number): boolean => columns.every((all) => all[a] === all[b]);
  let found = 0;
  for (let row = 0; row < count; row++) {
    const i = at ? at[row]! : row;
    let slot = -1;
    if (i >= 0) {
      slot = columns.reduce((hash, all) => hashOf(all[i]!, hash), 0) & (slots.length - 1);
      for (; slots[slot]; slot = (slot + 1) & (slots.length - 1)) {
        const first = firsts[slots[slot]! - 1]!;
        if (isAlike(at ? at[first]! : first, i)) break;
      }
    }
    if (slot >= 0 && slots[slot]) {
      groups[row] = slots[slot]! - 1;
      continue;
    }
    groups[row] = found;
    firsts[found++] = row;
    if (slot >= 0) slots[slot] = found;
  }
  return found;
}

/** Slots of open addressing with the numbers + 1 of rows of two words. */
export function slotsOf(words: Uint32Array): Uint32Array {
  const slots = makeSlots(words.length / 2);
  if (native) native.fillSlots([words, slots]);
  else
    for (let row = 0; 2 * row < words.length; row++) {
      let slot = hashOf(words[2 * row]!, words[2 * row + 1]!) & (slots.length - 1);
      while (slots[slot]) slot = (slot + 1) & (slots.length - 1);
      slots[slot] = row + 1;
    }
  return slots;
}

/** The row with two words by such slots; -1 if there is none. */
export function rowWith(words: Uint32Array, slots: Uint32Array, low: number, high: number): number {
  for (
    let slot = hashOf(low, high) & (slots.length - 1);
    ;
    slot = (slot + 1) & (slots.length - 1)
  ) {
    const row = slots[slot]! - 1;
    if (row < 0 || (words[2 * row] === low && words[2 * row + 1] === high)) return row;
  }
}

/** The same for many keys. */
export function rowsWith(words: Uint32Array, slots: Uint32Array, keys: Uint32Array): Int32Array {
  const rows = new Int32Array(keys.length / 2);
  if (native) native.findRows([words, slots, keys, rows]);
  else
    for (let i = 0; i < rows.length; i++)
      rows[i] = rowWith(words, slots, keys[2 * i]!, keys[2 * i + 1]!);
  return rows;
}

/**
 * Sums of rows of `width` values by group.
 * @param groups - absent: all are one
 */
export function sumRows(
  from: Float64Array,
  width: number,
  count: number,
  groupCount: number,
  groups?: Uint32Array,
): Float64Array {
  const to = new Float64Array(width * groupCount);
  if (native) native.sumRows([from, groups, to], width, count);
  else
    for (let row = 0; row < count; row++) {
      const at = width * (groups ? groups[row]! : 0);
      for (let i = 0; i < width; i++) to[at + i]! += from[width * row + i]!;
    }
  return to;
}

/** One value of the first rows of `width` values, which are whole numbers. */
export function columnOf(
  from: Float64Array,
  width: number,
  which: number,
  count: number,
): BigUint64Array {
  const to = new BigUint64Array(count);
  if (native) native.takeColumn([from, to], width, which);
  else {
    const words = new Uint32Array(to.buffer);
    for (let i = 0; i < count; i++) {
      const value = from[width * i + which]!;
      words[2 * i] = value; // modulo 2^32
      words[2 * i + 1] = value / WORD;
    }
  }
  return to;
}

const WORD = 2 ** 32;

/** The row of a number in the first `count` of a column in which numbers rise; -1 if there is none. */
export function rowOfKey(column: Uint32Array, key: number, count: number): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (column[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low < count && column[low] === key ? low : -1;
}

/** Texts one after another: text `i` ends where `ends[i + 1]` says. */
export interface PutTexts {
  readonly ends: Uint32Array;
  readonly bytes: Uint8Array;
}

/** Puts texts one after another, each as often as its number occurs. */
export function putTexts(texts: readonly string[], numbers: Uint32Array): PutTexts {
  const ends = new Uint32Array(numbers.length + 1);
  if (native) {
    const { encoded, places } = encodedTexts(texts);
    const tables = [encoded, places, numbers, ends];
    const bytes = new Uint8Array(native.putTexts(tables));
    native.putTexts([...tables, bytes]);
    return { ends, bytes };
  }
  const encoded = texts.map((text) => Buffer.from(text));
  for (let i = 0; i < numbers.length; i++) ends[i + 1] = ends[i]! + encoded[numbers[i]!]!.length;
  const bytes = new Uint8Array(ends[numbers.length]!);
  for (let i = 0; i < numbers.length; i++) bytes.set(encoded[numbers[i]!]!, ends[i]);
  return { ends, bytes };
}

/** Texts in UTF-8, one after another; text `i` is from `places[i]` to `places[i + 1]`. */
function encodedTexts(texts: readonly string[]): { encoded: Uint8Array; places: Uint32Array } {
  const places = new Uint32Array(texts.length + 1);
  // To encode many at once is faster, but says where each ends only if all characters are of one byte.
  const all = texts.join('');
  const encoded = Buffer.from(all);
  const isAscii = encoded.length === all.length;
  const each = isAscii ? texts : texts.map((text) => Buffer.from(text));
  for (let i = 0; i < each.length; i++) places[i + 1] = places[i]! + each[i]!.length;
  return { encoded: isAscii ? encoded : Buffer.concat(each as readonly Buffer[]), places };
}
