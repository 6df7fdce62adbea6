/**
 * Shared functions of compiled code that simulates caches (cache-guest.ts), in Cachegrind's terms (Valgrind manual, 5):
 * a set is a list of lines, the latest first; an access of two lines is one reference and at most one miss, which is a
 * reference to both in the last level. Lines are known by the address at which they begin.
 *
 * Compiled code calls them for what stands in neither table of lines. An entry there says: nothing of the simulation
 * changes if this is accessed again. So it goes as soon as its line is no longer the latest of its set.
 */
import { GRANULES, loadAt, locate, type ModuleContext } from './emit.js';
import {
  BRANCH_COUNTERS,
  BRANCH_HISTORY,
  BRANCH_TARGETS,
  BRANCH_TARGET_COUNT,
  CACHE,
  CACHE_D1,
  CACHE_I1,
  CACHE_LL,
  DATA_LINES,
  FETCH_LINES,
  GRANULE_SIZE,
  LINE_BITS,
  LINE_ENTRIES,
  MAX_MISSES,
  MISS_ADDRESSES,
  MISS_COUNT,
  MISS_SITES,
  NOTES_FETCHES,
  NOTES_MISSES,
  NO_GRANULE,
  SITE_COUNTERS,
  SITE_COUNTERS_BITS,
  TLB,
  TLB_ENTRY_SIZE,
  TLB_FOR_STORES,
  TLB_PLACE,
} from './layout.js';
import { I32, I64, type Code, type ValueType } from './wasm.js';

interface Support {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly emit: (code: Code, context: ModuleContext) => void;
}

const ENTRY_BITS = Math.log2(TLB_ENTRY_SIZE);
const FOR_STORES = TLB_FOR_STORES - TLB;
const PLACE = TLB_PLACE - TLB;

/** Pushes a field of a cache that is a local. */
function field(c: Code, cache: number, name: keyof typeof CACHE): void {
  c.get(cache);
  c.memory(name === 'lineSize' || name === 'lineMask' ? 'i64_load' : 'i32_load', CACHE[name]);
}

/** Adds 1 to a counter of a site that is a local: 0 misses, 1 those of the last level, 2 executions. */
export function countSite(c: Code, pushSite: () => void, counter: 0 | 1 | 2): void {
  const at = c.local(I32);
  pushSite();
  c.i32(SITE_COUNTERS_BITS);
  c.op('i32_shl');
  c.tee(at);
  c.get(at);
  c.memory('i64_load', SITE_COUNTERS + 8 * counter);
  c.i64(1n);
  c.op('i64_add');
  c.memory('i64_store', SITE_COUNTERS + 8 * counter);
}

/** (cache, line): takes the entries of a line out of the cache's table. */
function forgetLine(c: Code): void {
  const [cache, line] = [0, 1];
  const chunk = c.local(I64);
  const end = c.local(I64);
  const entry = c.local(I32);
  c.get(line);
  c.tee(chunk);
  field(c, cache, 'lineSize');
  c.op('i64_add');
  c.set(end);
  c.open('loop');
  c.get(chunk);
  field(c, cache, 'chunkBits');
  c.ops('i64_extend_i32_u', 'i64_shr_u', 'i32_wrap_i64');
  c.i32(LINE_ENTRIES - 1);
  c.op('i32_and');
  c.i32(ENTRY_BITS);
  c.op('i32_shl');
  field(c, cache, 'lines');
  c.op('i32_add');
  c.tee(entry);
  c.memory('i64_load', 0);
  c.get(chunk);
  c.op('i64_eq');
  c.open('if');
  for (const offset of [0, FOR_STORES]) {
    c.get(entry);
    c.i64(NO_GRANULE);
    c.memory('i64_store', offset);
  }
  c.end();
  c.get(chunk);
  c.i64(1n);
  field(c, cache, 'chunkBits');
  c.ops('i64_extend_i32_u', 'i64_shl', 'i64_add');
  c.tee(chunk);
  c.get(end);
  c.op('i64_lt_u');
  c.brIf(0);
  c.end();
}

/** (cache, line): 1 for a miss. The line is the latest of its set then, and each that was later is one place further. */
function touchLine(c: Code, context: ModuleContext): void {
  const [cache, line] = [0, 1];
  const at = c.local(I32);
  const end = c.local(I32);
  const moved = c.local(I64);
  const next = c.local(I64);
  c.get(line);
  field(c, cache, 'lineBits');
  c.ops('i64_extend_i32_u', 'i64_shr_u', 'i32_wrap_i64');
  field(c, cache, 'setMask');
  c.op('i32_and');
  field(c, cache, 'strideBits');
  c.op('i32_shl');
  field(c, cache, 'sets');
  c.op('i32_add');
  c.tee(at);
  c.memory('i64_load', 0);
  c.tee(moved);
  c.get(line);
  c.op('i64_eq');
  c.open('if');
  c.i32(0);
  c.op('return');
  c.end();
  field(c, cache, 'lines');
  c.open('if');
  c.get(cache);
  c.get(moved);
  c.call(context.support('forgetLine'));
  c.end();
  c.get(at);
  c.get(line);
  c.memory('i64_store', 0);
  c.get(at);
  field(c, cache, 'waysSize');
  c.op('i32_add');
  c.set(end);
  c.open('block');
  c.open('loop');
  c.get(at);
  c.i32(8);
  c.op('i32_add');
  c.tee(at);
  c.get(end);
  c.op('i32_eq');
  c.brIf(1);
  c.get(at);
  c.memory('i64_load', 0);
  c.set(next);
  c.get(at);
  c.get(moved);
  c.memory('i64_store', 0);
  c.get(next);
  c.set(moved);
  c.get(next);
  c.get(line);
  c.op('i64_ne');
  c.brIf(0);
  c.i32(0);
  c.op('return');
  c.end();
  c.end();
  c.i32(1);
}

/** (cache, address, size): 1 if one of the lines is missed; all of them are referenced. */
function touchLines(c: Code, context: ModuleContext): void {
  const [cache, address, size] = [0, 1, 2];
  const last = c.local(I64);
  const misses = c.local(I32);
  c.get(address);
  c.get(size);
  c.ops('i64_extend_i32_u', 'i64_add');
  c.i64(1n);
  c.op('i64_sub');
  field(c, cache, 'lineMask');
  c.op('i64_and');
  c.set(last);
  c.get(address);
  field(c, cache, 'lineMask');
  c.op('i64_and');
  c.set(address);
  c.open('loop');
  c.get(cache);
  c.get(address);
  c.call(context.support('touchLine'));
  c.get(misses);
  c.op('i32_or');
  c.set(misses);
  c.get(address);
  c.get(last);
  c.op('i64_ne');
  c.open('if');
  c.get(address);
  field(c, cache, 'lineSize');
  c.op('i64_add');
  c.set(address);
  c.br(1);
  c.end();
  c.end();
  c.get(misses);
}

/** In what says how many caches missed: the reference was to two lines. */
const TWO_LINES = 4;

/** (cache, address, size, site): a reference to two lines of a first level, and on a miss to the last; how many of them missed. */
function reference(c: Code, context: ModuleContext): void {
  const [cache, address, size, site] = [0, 1, 2, 3];
  c.get(cache);
  c.get(address);
  c.get(size);
  c.call(context.support('touchLines'));
  c.op('i32_eqz');
  c.open('if');
  c.i32(0);
  c.op('return');
  c.end();
  countSite(c, () => c.get(site), 0);
  c.i32(CACHE_LL);
  c.get(address);
  c.get(size);
  c.call(context.support('touchLines'));
  c.op('i32_eqz');
  c.open('if');
  c.i32(TWO_LINES + 1);
  c.op('return');
  c.end();
  countSite(c, () => c.get(site), 1);
  c.i32(TWO_LINES + 2);
}

/** Pushes a field of a cache: as a constant where it is known. */
function fixedField(
  c: Code,
  context: ModuleContext,
  cache: number,
  name: keyof typeof CACHE,
): void {
  const isWide = name === 'lineSize' || name === 'lineMask';
  const value = context.fixed.get(cache + CACHE[name]);
  if (value === undefined) loadAt(c, cache + CACHE[name], isWide ? I64 : I32);
  else if (isWide) c.i64(value);
  else c.i32(Number(value));
}

/** A set of at most so many ways is searched without a loop. */
const MOST_UNROLLED = 16;

/**
 * Looks for a line, a local, in its set, and makes it the latest; leaves with label depth 0 if it was there.
 * @param isForgotten - the line that was the latest must be taken out of the table of lines
 */
function emitSearch(
  c: Code,
  context: ModuleContext,
  cache: number,
  line: number,
  isForgotten: boolean,
): void {
  const at = c.local(I32);
  const moved = c.local(I64);
  const next = c.local(I64);
  const known = (name: keyof typeof CACHE): number =>
    Number(context.fixed.get(cache + CACHE[name]) ?? -1);
  c.get(line);
  fixedField(c, context, cache, 'lineBits');
  c.ops('i64_extend_i32_u', 'i64_shr_u', 'i32_wrap_i64');
  fixedField(c, context, cache, 'setMask');
  c.op('i32_and');
  fixedField(c, context, cache, 'strideBits');
  c.op('i32_shl');
  fixedField(c, context, cache, 'sets');
  c.op('i32_add');
  c.tee(at);
  c.memory('i64_load', 0);
  c.tee(moved);
  c.get(line);
  c.op('i64_eq');
  c.brIf(0);
  if (isForgotten && known('lines') !== 0) {
    fixedField(c, context, cache, 'lines');
    c.open('if');
    c.i32(cache);
    c.get(moved);
    c.call(context.support('forgetLine'));
    c.end();
  }
  c.get(at);
  c.get(line);
  c.memory('i64_store', 0);
  const shift = (offset: number): void => {
    c.get(at);
    c.memory('i64_load', offset);
    c.set(next);
    c.get(at);
    c.get(moved);
    c.memory('i64_store', offset);
    c.get(next);
    c.get(line);
    c.op('i64_eq');
  };
  const waysSize = known('waysSize');
  if (waysSize > 0 && waysSize <= 8 * MOST_UNROLLED) {
    for (let offset = 8; offset < waysSize; offset += 8) {
      shift(offset);
      c.brIf(0);
      c.get(next);
      c.set(moved);
    }
  } else {
    const end = c.local(I32);
    c.get(at);
    fixedField(c, context, cache, 'waysSize');
    c.op('i32_add');
    c.set(end);
    c.open('block');
    c.open('loop');
    c.get(at);
    c.i32(8);
    c.op('i32_add');
    c.tee(at);
    c.get(end);
    c.op('i32_eq');
    c.brIf(1);
    shift(0);
    c.brIf(2);
    c.get(next);
    c.set(moved);
    c.br(0);
    c.end();
    c.end();
  }
}

/** (line): 1 if the last level misses it; used where the shape of that is known. */
function touchLast(c: Code, context: ModuleContext): void {
  const line = 0;
  c.open('block');
  emitSearch(c, context, CACHE_LL, line, false);
  c.i32(1);
  c.op('return');
  c.end();
  c.i32(0);
}

/**
 * The same for any access, in fewer instructions if it is to one line; sets a local to how many caches missed.
 * @param isKept - an entry of the table of lines is made of the line afterwards
 */
function emitReference(
  c: Code,
  context: ModuleContext,
  cache: number,
  [address, size, site]: readonly [number, number, number],
  isKept: boolean,
): number {
  const misses = c.local(I32);
  const line = c.local(I64);
  const known = (name: keyof typeof CACHE): number =>
    Number(context.fixed.get(cache + CACHE[name]) ?? -1);
  c.get(address);
  fixedField(c, context, cache, 'lineMask');
  c.op('i64_and');
  c.tee(line);
  c.get(address);
  c.get(size);
  c.ops('i64_extend_i32_u', 'i64_add');
  c.i64(1n);
  c.op('i64_sub');
  fixedField(c, context, cache, 'lineMask');
  c.ops('i64_and', 'i64_ne');
  c.open('if');
  c.i32(cache);
  for (const local of [address, size, site]) c.get(local);
  c.call(context.support('reference'));
  c.set(misses);
  c.else();
  // Of two lines of a set, the later one often takes the entry of the other.
  const isReplaced =
    isKept && known('lineBits') === LINE_BITS && known('setMask') >= LINE_ENTRIES - 1;
  c.open('block');
  emitSearch(c, context, cache, line, !isReplaced);
  countSite(c, () => c.get(site), 0);
  const lastBits = context.fixed.get(CACHE_LL + CACHE.lineBits);
  if (lastBits !== undefined && Number(lastBits) === known('lineBits')) {
    c.get(line);
    c.call(context.support('touchLast'));
  } else {
    c.i32(CACHE_LL);
    c.get(address);
    c.get(size);
    c.call(context.support('touchLines'));
  }
  c.tee(misses);
  c.open('if');
  countSite(c, () => c.get(site), 1);
  c.end();
  c.get(misses);
  c.i32(1);
  c.op('i32_add');
  c.set(misses);
  c.end();
  c.end();
  return misses;
}

/** (address, size, site): an instruction is fetched. */
function fetchCode(c: Code, context: ModuleContext): void {
  const [address, size, site] = [0, 1, 2];
  const bits = c.local(I64);
  const misses = emitReference(c, context, CACHE_I1, [address, size, site], true);
  emitNote(c, context, NOTES_FETCHES, [address, site, misses]);
  // Its last line is the latest of a set.
  fixedField(c, context, CACHE_I1, 'chunkBits');
  c.op('i64_extend_i32_u');
  c.set(bits);
  c.get(address);
  c.get(size);
  c.ops('i64_extend_i32_u', 'i64_add');
  c.i64(1n);
  c.op('i64_sub');
  c.get(bits);
  c.op('i64_shr_u');
  c.tee(address);
  c.op('i32_wrap_i64');
  c.i32(LINE_ENTRIES - 1);
  c.op('i32_and');
  c.i32(ENTRY_BITS);
  c.op('i32_shl');
  c.get(address);
  c.get(bits);
  c.op('i64_shl');
  c.memory('i64_store', FETCH_LINES);
}

/** (address, size, site): data is accessed. */
function accessData(c: Code, context: ModuleContext): void {
  const [address, size, site] = [0, 1, 2];
  const misses = emitReference(c, context, CACHE_D1, [address, size, site], false);
  emitNote(c, context, NOTES_MISSES, [address, site, misses]);
}

/** Writes a miss down if there is one and the word at `flag` is not 0. */
function emitNote(
  c: Code,
  context: ModuleContext,
  flag: number,
  [address, site, misses]: readonly [number, number, number],
): void {
  c.get(misses);
  loadAt(c, flag, I32);
  c.op('i32_mul');
  c.open('if');
  c.get(address);
  c.get(site);
  c.get(misses);
  c.call(context.support('noteMiss'));
  c.end();
}

/** (address, site, misses): writes a miss down. */
function noteMiss(c: Code, context: ModuleContext): void {
  const [address, site, misses] = [0, 1, 2];
  const count = c.local(I32);
  loadAt(c, MISS_COUNT, I32);
  c.tee(count);
  c.i32(3);
  c.op('i32_shl');
  c.get(address);
  c.memory('i64_store', MISS_ADDRESSES);
  c.get(count);
  c.i32(2);
  c.op('i32_shl');
  c.get(site);
  c.i32(2);
  c.op('i32_shl');
  // Of 1, 2, and these with TWO_LINES: the last level missed, and two lines.
  c.get(misses);
  c.i32(1);
  c.ops('i32_shr_u', 'i32_or');
  c.memory('i32_store', MISS_SITES);
  c.i32(0);
  c.get(count);
  c.i32(1);
  c.op('i32_add');
  c.tee(count);
  c.memory('i32_store', MISS_COUNT);
  c.get(count);
  c.i32(MAX_MISSES);
  c.op('i32_eq');
  c.open('if');
  c.call(context.import('takeMisses'));
  c.end();
}

/** Pushes where the entry for an address stands in a table of lines, from its start. */
function pushEntry(c: Code, address: number): void {
  c.get(address);
  c.op('i32_wrap_i64');
  c.i32(LINE_BITS - ENTRY_BITS);
  c.op('i32_shr_u');
  c.i32((LINE_ENTRIES - 1) * TLB_ENTRY_SIZE);
  c.op('i32_and');
}

/** (address, size, site): the same before a load or store; returns the place, or -1 when a store is for the host. */
function accessPlace(isStore: boolean) {
  return (c: Code, context: ModuleContext): void => {
    const [address, size, site] = [0, 1, 2];
    const at = c.local(I32);
    const entry = c.local(I32);
    const line = c.local(I32);
    const within = c.local(I64);
    const canStore = c.local(I64);
    const misses = emitReference(c, context, CACHE_D1, [address, size, site], true);
    emitNote(c, context, NOTES_MISSES, [address, site, misses]);
    c.open('block');
    c.open('block');
    locate(
      c,
      () => c.get(address),
      () => {
        c.i64(BigInt(GRANULE_SIZE));
        c.get(size);
        c.ops('i64_extend_i32_u', 'i64_sub');
      },
      { at, entry, within },
      isStore,
      GRANULES,
    );
    c.br(1);
    c.end();
    // No entry is made after all.
    for (const offset of [0, FOR_STORES]) {
      pushEntry(c, address);
      c.i64(NO_GRANULE);
      c.memory('i64_store', DATA_LINES + offset);
    }
    if (isStore) c.i32(-1);
    else {
      c.get(address);
      c.get(size);
      c.call(context.import('loadSlowly'));
    }
    c.op('return');
    c.end();
    // What lies within one line can be accessed again without this; unless the cache has no table.
    c.get(address);
    c.op('i32_wrap_i64');
    c.i32(2 ** LINE_BITS - 1);
    c.op('i32_and');
    c.tee(line);
    c.get(size);
    c.op('i32_add');
    c.i32(2 ** LINE_BITS);
    c.op('i32_le_u');
    loadAt(c, CACHE_D1 + CACHE.lines, I32);
    c.i32(0);
    c.ops('i32_ne', 'i32_and');
    c.open('if');
    c.i64(NO_GRANULE);
    c.get(address);
    c.i64(BigInt(-(2 ** LINE_BITS)));
    c.op('i64_and');
    c.tee(address);
    c.get(entry);
    c.memory('i64_load', TLB_FOR_STORES);
    c.i64(NO_GRANULE);
    c.op('i64_eq');
    c.op('select');
    c.set(canStore);
    pushEntry(c, address);
    c.tee(entry);
    c.get(address);
    c.memory('i64_store', DATA_LINES);
    c.get(entry);
    c.get(canStore);
    c.memory('i64_store', DATA_LINES + FOR_STORES);
    c.get(entry);
    c.get(at);
    c.get(line);
    c.op('i32_sub');
    c.memory('i32_store', DATA_LINES + PLACE);
    c.end();
    c.get(at);
  };
}

/** (site, address, taken): a conditional branch; counters of 2 bits, found by the last 7 branches and the address. */
function predictBranch(c: Code): void {
  const [site, address, taken] = [0, 1, 2];
  const at = c.local(I32);
  const counter = c.local(I32);
  const history = c.local(I32);
  loadAt(c, BRANCH_HISTORY, I32);
  c.tee(history);
  c.i32(127);
  c.op('i32_and');
  c.i32(7);
  c.op('i32_shl');
  c.get(address);
  c.i32(127);
  c.ops('i32_and', 'i32_or');
  c.tee(at);
  c.memory('i32_load8_u', BRANCH_COUNTERS);
  c.tee(counter);
  c.i32(2);
  c.op('i32_ge_u');
  c.get(taken);
  c.op('i32_ne');
  c.open('if');
  countSite(c, () => c.get(site), 0);
  c.end();
  c.i32(0);
  c.get(history);
  c.i32(1);
  c.op('i32_shl');
  c.get(taken);
  c.op('i32_or');
  c.memory('i32_store', BRANCH_HISTORY);
  c.get(at);
  c.get(counter);
  c.get(taken);
  c.open('if', I32);
  c.get(counter);
  c.i32(3);
  c.op('i32_lt_u');
  c.else();
  c.i32(0);
  c.get(counter);
  c.i32(0);
  c.ops('i32_ne', 'i32_sub');
  c.end();
  c.op('i32_add');
  c.memory('i32_store8', BRANCH_COUNTERS);
}

/** (site, address, target): an indirect jump; predicted to go where one from an address with the same low 9 bits went. */
function predictTarget(c: Code): void {
  const [site, address, target] = [0, 1, 2];
  c.get(address);
  c.i32(BRANCH_TARGET_COUNT - 1);
  c.op('i32_and');
  c.i32(3);
  c.op('i32_shl');
  c.tee(address);
  c.memory('i64_load', BRANCH_TARGETS);
  c.get(target);
  c.op('i64_ne');
  c.open('if');
  countSite(c, () => c.get(site), 0);
  c.get(address);
  c.get(target);
  c.memory('i64_store', BRANCH_TARGETS);
  c.end();
}

const ACCESS = [I64, I32, I32] as const;

export const CACHE_SUPPORT = {
  forgetLine: { parameters: [I32, I64], results: [], emit: forgetLine },
  touchLine: { parameters: [I32, I64], results: [I32], emit: touchLine },
  touchLines: { parameters: [I32, I64, I32], results: [I32], emit: touchLines },
  touchLast: { parameters: [I64], results: [I32], emit: touchLast },
  reference: { parameters: [I32, I64, I32, I32], results: [I32], emit: reference },
  fetchCode: { parameters: ACCESS, results: [], emit: fetchCode },
  noteMiss: { parameters: [I64, I32, I32], results: [], emit: noteMiss },
  accessData: { parameters: ACCESS, results: [], emit: accessData },
  accessToLoad: { parameters: ACCESS, results: [I32], emit: accessPlace(false) },
  accessToStore: { parameters: ACCESS, results: [I32], emit: accessPlace(true) },
  predictBranch: { parameters: [I32, I32, I32], results: [], emit: predictBranch },
  predictTarget: { parameters: [I32, I32, I64], results: [], emit: predictTarget },
} as const satisfies Readonly<Record<string, Support>>;

export type CacheSupportName = keyof typeof CACHE_SUPPORT;
