/**
 * Shared functions of compiled code that tells only of fresh accesses (fresh-accesses.ts), or leaves out those to the
 * latest lines (line-filter.ts): what is done when the tags of some bytes are not those of the current epoch.
 */
import { loadAt, type ModuleContext } from './emit.js';
import {
  CELL,
  FILTER_LINE_BITS,
  FILTERED_LINES,
  LAST_EPOCH,
  ROW_ADDRESSES,
  ROW_SITES,
  ROW_TICKS,
  TAG_PLANE,
  ZERO,
} from './layout.js';
import { I32, I64, type Code, type OpName, type ValueType } from './wasm.js';

interface Support {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly emit: (code: Code, context: ModuleContext) => void;
}

const ACCESS = [I32, I32, I32, I64, I32] as const;
const LOADS: Readonly<Record<number, OpName>> = {
  1: 'i64_load8_u',
  2: 'i64_load16_u',
  4: 'i64_load32_u',
  8: 'i64_load',
};
const STORES: Readonly<Record<number, OpName>> = {
  1: 'i64_store8',
  2: 'i64_store16',
  4: 'i64_store32',
  8: 'i64_store',
};

/**
 * An access of `size` bytes at a place, by a site and an instruction of the block, to an address: a row, and
 * the tags of the bytes. A store to what synchronises begins a new epoch.
 */
function fresh(size: number): Support {
  return {
    parameters: ACCESS,
    results: [],
    emit: (c, context) => {
      const [at, site, instruction, address, isStore] = [0, 1, 2, 3, 4];
      loadAt(c, CELL.filterSets, I32);
      c.open('if');
      for (const parameter of [at, site, instruction, address]) c.get(parameter);
      c.i32(size);
      c.call(context.support('passLines'));
      c.op('return');
      c.end();
      const marked = c.local(I64);
      const tags = c.local(I64);
      const width = Math.min(size, 8);
      const offset = (part: number): number => ZERO + TAG_PLANE + 8 * part;
      const parts = Array.from({ length: Math.ceil(size / 8) }, (_, part) => part);
      for (const part of parts) {
        // A byte of the complement is zero where a tag has all bits.
        c.get(at);
        c.memory(LOADS[width]!, offset(part));
        c.i64(-1n);
        c.op('i64_xor');
        c.tee(tags);
        c.i64(0x0101010101010101n);
        c.op('i64_sub');
        c.get(tags);
        c.i64(-1n);
        c.ops('i64_xor', 'i64_and');
        c.i64(0x8080808080808080n);
        c.op('i64_and');
        c.get(marked);
        c.op('i64_or');
        c.set(marked);
      }
      c.get(marked);
      c.op('i64_eqz');
      c.open('if');
      c.get(isStore);
      c.open('if');
      for (const part of parts) {
        c.get(at);
        loadAt(c, CELL.storeTag, I64);
        c.memory(STORES[width]!, offset(part));
      }
      c.else();
      for (const part of parts) {
        c.get(at);
        loadAt(c, CELL.loadTag, I64);
        c.i64(0x0101010101010101n);
        c.op('i64_xor');
        c.memory(STORES[width]!, offset(part));
      }
      c.end();
      c.end();
      c.get(site);
      c.get(instruction);
      c.get(address);
      c.call(context.support('noteAccess'));
      c.get(isStore);
      c.get(marked);
      c.ops('i64_eqz', 'i32_eqz', 'i32_and');
      c.open('if');
      c.call(context.support('beginEpoch'));
      c.end();
    },
  };
}

const LINE = 1 << FILTER_LINE_BITS;

/**
 * An access of some bytes at a place, by a site and an instruction of the block, to an address: a row, and its line, or
 * both, are the latest of their sets.
 */
function passLines(c: Code, context: ModuleContext): void {
  const [at, site, instruction, address, size] = [0, 1, 2, 3, 4];
  const last = c.local(I64);
  for (const parameter of [site, instruction, address]) c.get(parameter);
  c.call(context.support('noteAccess'));
  c.get(at);
  c.get(address);
  c.call(context.support('enterLine'));
  c.get(address);
  c.get(size);
  c.i32(1);
  c.ops('i32_sub', 'i64_extend_i32_u', 'i64_add');
  c.tee(last);
  c.get(address);
  c.op('i64_xor');
  c.i64(BigInt(LINE));
  c.op('i64_ge_u');
  c.open('if');
  c.get(at);
  c.get(size);
  c.i32(1);
  c.ops('i32_sub', 'i32_add');
  c.get(last);
  c.call(context.support('enterLine'));
  c.end();
}

/** The line of an address, which is at a place, is the latest of its set: the one that was it has no tags any more. */
function enterLine(c: Code): void {
  const [at, address] = [0, 1];
  const [entry, line] = [c.local(I32), c.local(I32)];
  const fill = (push: () => void): void => {
    for (let offset = 0; offset < LINE; offset += 8) {
      c.get(line);
      push();
      c.memory('i64_store', ZERO + TAG_PLANE + offset);
    }
  };
  c.get(address);
  c.i64(BigInt(FILTER_LINE_BITS));
  c.ops('i64_shr_u', 'i32_wrap_i64');
  loadAt(c, CELL.filterSets, I32);
  c.i32(1);
  c.ops('i32_sub', 'i32_and');
  c.i32(2);
  c.op('i32_shl');
  c.tee(entry);
  c.memory('i32_load', FILTERED_LINES);
  c.tee(line);
  c.open('if');
  fill(() => c.i64(0n));
  c.end();
  // Those of lines that are always told of have all bits.
  c.get(entry);
  c.get(at);
  c.memory('i32_load8_u', ZERO + TAG_PLANE);
  c.i32(0xff);
  c.op('i32_ne');
  c.open('if', I32);
  c.get(at);
  c.i32(-LINE);
  c.op('i32_and');
  c.tee(line);
  fill(() => loadAt(c, CELL.storeTag, I64));
  c.else();
  c.i32(0);
  c.end();
  c.memory('i32_store', FILTERED_LINES);
}

/** Begins an epoch, as FreshAccesses.beginEpoch does, which it leaves the last one of a generation to. */
function beginEpoch(c: Code, context: ModuleContext): void {
  const epoch = c.local(I32);
  const tag = c.local(I64);
  loadAt(c, CELL.epoch, I32);
  c.tee(epoch);
  c.i32(LAST_EPOCH);
  c.op('i32_ge_u');
  c.open('if');
  c.call(context.import('beginEpoch'));
  c.else();
  c.i32(0);
  c.get(epoch);
  c.i32(1);
  c.op('i32_add');
  c.tee(epoch);
  c.memory('i32_store', CELL.epoch);
  c.get(epoch);
  c.i32(1);
  c.op('i32_shl');
  c.i32(1);
  c.op('i32_or');
  c.op('i64_extend_i32_u');
  c.i64(0x0101010101010101n);
  c.op('i64_mul');
  c.set(tag);
  for (const cell of [CELL.loadTag, CELL.loadTag + 8, CELL.storeTag, CELL.storeTag + 8]) {
    c.i32(0);
    c.get(tag);
    c.memory('i64_store', cell);
  }
  c.end();
}

/** Writes a row of a site, an instruction of the block, and an address. Stops the run when there are many. */
function noteAccess(c: Code): void {
  const [site, instruction, address] = [0, 1, 2];
  const rows = c.local(I32);
  loadAt(c, CELL.rows, I32);
  c.tee(rows);
  c.i32(1);
  c.op('i32_shr_u');
  c.get(site);
  c.memory('i32_store', ROW_SITES);
  c.get(rows);
  loadAt(c, CELL.tick, I64);
  c.get(instruction);
  c.ops('i64_extend_i32_u', 'i64_add');
  c.memory('i64_store', ROW_TICKS);
  c.get(rows);
  c.get(address);
  c.memory('i64_store', ROW_ADDRESSES);
  c.i32(0);
  c.get(rows);
  c.i32(8);
  c.op('i32_add');
  c.tee(rows);
  c.memory('i32_store', CELL.rows);
  c.get(rows);
  loadAt(c, CELL.rowsLimit, I32);
  c.op('i32_gt_u');
  c.open('if');
  c.i32(0);
  c.i64(0n);
  c.memory('i64_store', CELL.limit);
  c.end();
}

export const FRESH_SUPPORT = {
  fresh1: fresh(1),
  fresh2: fresh(2),
  fresh4: fresh(4),
  fresh8: fresh(8),
  fresh16: fresh(16),
  fresh32: fresh(32),
  beginEpoch: { parameters: [], results: [], emit: beginEpoch },
  noteAccess: { parameters: [I32, I32, I64], results: [], emit: noteAccess },
  passLines: { parameters: [I32, I32, I32, I64, I32], results: [], emit: passLines },
  enterLine: { parameters: [I32, I64], results: [], emit: enterLine },
} as const satisfies Readonly<Record<string, Support>>;

export type FreshSupportName = keyof typeof FRESH_SUPPORT;
