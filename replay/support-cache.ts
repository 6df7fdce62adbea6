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
  CELL,
  DATA_LINES,
  DELAYED_ADDRESSES,
  DELAYED_COUNT,
  DELAYED_SITES,
  MAX_DELAYED,
  FETCH_LINES,
  GRANULE_BITS,
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
  PLACEMENTS,
  PLACEMENT_COUNT,
  SITE_COUNTERS,
  SITE_COUNTERS_BITS,
  TLB,
  TLB_ENTRY_SIZE,
  TLB_FOR_STORES,
  TLB_PLACE,
  WAY_MASKS,
  MOST_SEARCHED_WAYS,
} from './layout.js';
import { I32, I64, V128, type Code, type ValueType } from './wasm.js';

interface Support {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly emit: (code: Code, context: ModuleContext) => void;
}

const ENTRY_BITS = Math.log2(TLB_ENTRY_SIZE);
const FOR_STORES = TLB_FOR_STORES - TLB;
const PLACE = TLB_PLACE - TLB;

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

/** Adds 1 to the misses of a cache. */
function countMiss(c: Code, level: Level): void {
  const at = CELL.misses + 4 * ['I1', 'D1', 'LL'].indexOf(level);
  c.i32(0);
  loadAt(c, at, I32);
  c.i32(1);
  c.op('i32_add');
  c.memory('i32_store', at);
}

/** Where what is known of each cache stands. */
const CACHES = { I1: CACHE_I1, D1: CACHE_D1, LL: CACHE_LL } as const;
type Level = keyof typeof CACHES;
type FirstLevel = Exclude<Level, 'LL'>;
type Field = keyof typeof CACHE;

/** Code on one cache: its shape is in constants where it is known when the code is made. */
class CacheCode {
  private readonly cache: number;

  constructor(
    private readonly c: Code,
    private readonly context: ModuleContext,
    readonly level: Level,
  ) {
    this.cache = CACHES[level];
  }

  known(name: Field): number | undefined {
    const value = this.context.fixed.get(this.cache + CACHE[name]);
    return value === undefined ? undefined : Number(value);
  }

  push(name: Field): void {
    const { c } = this;
    const isWide = name === 'lineSize' || name === 'lineMask';
    const value = this.context.fixed.get(this.cache + CACHE[name]);
    if (value === undefined) loadAt(c, this.cache + CACHE[name], isWide ? I64 : I32);
    else if (isWide) c.i64(value);
    else c.i32(Number(value));
  }

  /** Emits code for where a field is not 0. */
  ifNotZero(name: Field, emit: () => void): void {
    const value = this.known(name);
    if (value === 0) return;
    if (value === undefined) {
      this.push(name);
      this.c.open('if');
    }
    emit();
    if (value === undefined) this.c.end();
  }

  /** Pushes the line that holds an address, a local, plus `size - 1` if there is a local with a size. */
  pushLine(address: number, size?: number): void {
    const { c } = this;
    c.get(address);
    if (size !== undefined) {
      c.get(size);
      c.ops('i64_extend_i32_u', 'i64_add');
      c.i64(1n);
      c.op('i64_sub');
    }
    this.push('lineMask');
    c.op('i64_and');
  }
}

/** Takes the entries of a line out of the cache's table. */
function forgetLine(level: FirstLevel) {
  return (c: Code, context: ModuleContext): void => {
    const line = 0;
    const cache = new CacheCode(c, context, level);
    const chunk = c.local(I64);
    const end = c.local(I64);
    const entry = c.local(I32);
    c.get(line);
    c.tee(chunk);
    cache.push('lineSize');
    c.op('i64_add');
    c.set(end);
    c.open('loop');
    c.get(chunk);
    cache.push('chunkBits');
    c.ops('i64_extend_i32_u', 'i64_shr_u', 'i32_wrap_i64');
    c.i32(LINE_ENTRIES - 1);
    c.op('i32_and');
    c.i32(ENTRY_BITS);
    c.op('i32_shl');
    cache.push('lines');
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
    cache.push('chunkBits');
    c.ops('i64_extend_i32_u', 'i64_shl', 'i64_add');
    c.tee(chunk);
    c.get(end);
    c.op('i64_lt_u');
    c.brIf(0);
    c.end();
  };
}

/** A set of at most so many ways is searched without a loop. */
const MOST_UNROLLED = 16;

/** A local with the place of the set of a line, a local. */
function emitSet(cache: CacheCode, c: Code, line: number): number {
  const at = c.local(I32);
  c.get(line);
  cache.push('lineBits');
  c.ops('i64_extend_i32_u', 'i64_shr_u', 'i32_wrap_i64');
  c.set(at);
  cache.ifNotZero('isPlaced', () => {
    c.get(at);
    c.get(line);
    c.i64(BigInt(GRANULE_BITS));
    c.ops('i64_shr_u', 'i32_wrap_i64');
    c.i32(PLACEMENT_COUNT - 1);
    c.op('i32_and');
    c.i32(2);
    c.op('i32_shl');
    c.memory('i32_load', PLACEMENTS);
    c.op('i32_add');
    c.set(at);
  });
  c.get(at);
  cache.push('setMask');
  c.op('i32_and');
  cache.push('strideBits');
  c.op('i32_shl');
  cache.push('sets');
  c.op('i32_add');
  c.set(at);
  return at;
}

/**
 * Looks for a line, a local, in its set, and makes it the latest; returns a local, 1 for a miss. Each that was
 * later is one place further then. At first line 0 stands in each way, as in Cachegrind.
 * @param forgets - the line that was the latest is taken out of the table of lines where this field is not 0
 */
function emitTouch(
  cache: CacheCode,
  c: Code,
  context: ModuleContext,
  line: number,
  forgets: Field,
): number {
  const isMiss = c.local(I32);
  const moved = c.local(I64);
  const next = c.local(I64);
  const at = emitSet(cache, c, line);
  c.i32(0);
  c.set(isMiss);
  c.open('block');
  c.get(at);
  c.memory('i64_load', 0);
  c.tee(moved);
  c.get(line);
  c.op('i64_eq');
  c.brIf(0);
  const { level } = cache;
  if (level !== 'LL')
    cache.ifNotZero(forgets, () => {
      c.get(moved);
      c.call(context.support(`forget${level}`));
    });
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
    c.tee(moved);
    c.get(line);
    c.op('i64_eq');
  };
  const waysSize = cache.known('waysSize') ?? Infinity;
  if (waysSize <= 8 * MOST_UNROLLED) {
    for (let offset = 8; offset < waysSize; offset += 8) {
      shift(offset);
      c.brIf(0);
    }
  } else {
    const end = c.local(I32);
    c.get(at);
    cache.push('waysSize');
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
    c.br(0);
    c.end();
    c.end();
  }
  c.i32(1);
  c.set(isMiss);
  c.end();
  return isMiss;
}

/**
 * The same of a set of at most `MOST_SEARCHED_WAYS` without a branch: all of it is searched, and written anew. The line that was
 * the latest stays in the table of lines.
 */
function emitTouchAtOnce(cache: CacheCode, c: Code, line: number): number {
  const isMiss = c.local(I32);
  const wanted = c.local(V128);
  const found = c.local(I32);
  const masks = c.local(I32);
  const at = emitSet(cache, c, line);
  const ways = cache.known('waysSize')! / 8;
  const pairs = Array.from({ length: Math.ceil(ways / 2) }, () => c.local(V128));
  c.get(line);
  c.simd('i64x2_splat');
  c.set(wanted);
  pairs.forEach((pair, i) => {
    c.get(at);
    c.memoryV128('v128_load', 16 * i);
    c.set(pair);
  });
  // Two bits for each way.
  const compare = (i: number): void => {
    c.get(pairs[Math.min(i, pairs.length - 1)]!);
    c.get(wanted);
    c.simd('i64x2_eq');
  };
  for (let i = 0; i < pairs.length; i += 4) {
    for (const half of [i, i + 2]) {
      compare(half);
      compare(half + 1);
      c.simd('i16x8_narrow_i32x4_s');
    }
    c.simd('i8x16_narrow_i16x8_s');
    c.simd('i8x16_bitmask');
    if (i === 0) continue;
    c.i32(16);
    c.ops('i32_shl', 'i32_or');
  }
  c.i32(2 ** (2 * ways) - 1);
  c.op('i32_and');
  c.tee(found);
  c.op('i32_eqz');
  c.set(isMiss);
  // Ways up to that of the line, or all, get what is in the way before.
  c.i32(WAY_MASKS + 8 * (MOST_SEARCHED_WAYS - 1));
  c.get(found);
  c.i32(2 ** (2 * ways - 2));
  c.ops('i32_or', 'i32_ctz');
  c.i32(2);
  c.ops('i32_shl', 'i32_sub');
  c.set(masks);
  pairs.forEach((pair, i) => {
    c.get(at);
    c.get(pairs[i - 1] ?? wanted);
    c.get(pair);
    c.shuffle(MIDDLE);
    c.get(pair);
    c.get(masks);
    c.memoryV128('v128_load', 16 * i);
    c.simd('v128_bitselect');
    c.memoryV128('v128_store', 16 * i);
  });
  return isMiss;
}

/** Lanes of a shuffle: the second half of a vector and the first of another. */
const MIDDLE = Array.from({ length: 16 }, (_, i) => 8 + i);

/** (line): 1 for a miss. */
function touchLine(level: Level) {
  return (c: Code, context: ModuleContext): void => {
    // An instruction that is fetched has an entry for each of its lines.
    const forgets = level === 'I1' ? 'forgets' : 'lines';
    c.get(emitTouch(new CacheCode(c, context, level), c, context, 0, forgets));
  };
}

/** (address, size): 1 if one of the lines is missed; all of them are referenced. */
function touchLines(level: Level) {
  return (c: Code, context: ModuleContext): void => {
    const [address, size] = [0, 1];
    const cache = new CacheCode(c, context, level);
    const last = c.local(I64);
    const misses = c.local(I32);
    cache.pushLine(address, size);
    c.set(last);
    cache.pushLine(address);
    c.set(address);
    c.open('loop');
    c.get(address);
    c.call(context.support(`touch${level}`));
    c.get(misses);
    c.op('i32_or');
    c.set(misses);
    c.get(address);
    c.get(last);
    c.op('i64_ne');
    c.open('if');
    c.get(address);
    cache.push('lineSize');
    c.op('i64_add');
    c.set(address);
    c.br(1);
    c.end();
    c.end();
    c.get(misses);
  };
}

/**
 * A reference to a first level, of a local address, size and site. Goes on with other functions where it is of two lines,
 * where it is a miss, and where too many misses wait: so this one has nothing to save while it runs, and hits are quick.
 * @param forgets - as for `emitTouch`
 * @returns a local with the line
 */
function emitReference(
  c: Code,
  context: ModuleContext,
  level: FirstLevel,
  reference: Reference,
  forgets: Field,
  goesOn: {
    readonly crossing: CacheSupportName;
    readonly missing: CacheSupportName;
    readonly delaying?: CacheSupportName;
  },
): number {
  const [address, size] = reference;
  const cache = new CacheCode(c, context, level);
  const line = c.local(I64);
  const goOn = (name: CacheSupportName): void => {
    c.open('if');
    for (const local of reference) c.get(local);
    c.returnCall(context.support(name));
    c.end();
  };
  cache.pushLine(address);
  c.tee(line);
  cache.pushLine(address, size);
  c.op('i64_ne');
  goOn(goesOn.crossing);
  if (goesOn.delaying !== undefined && cache.known('delays') === 1) {
    delayMiss(c, reference, emitTouchAtOnce(cache, c, line));
    goOn(goesOn.delaying);
  } else {
    c.get(emitTouch(cache, c, context, line, forgets));
    goOn(goesOn.missing);
  }
  return line;
}

/**
 * Writes a miss down for later, if a local says that it is one: no branch depends on that, as nobody could predict it. Pushes
 * whether there may be no room for another.
 */
function delayMiss(c: Code, [address, , site]: Reference, isMiss: number): void {
  const count = c.local(I32);
  loadAt(c, DELAYED_COUNT, I32);
  c.tee(count);
  c.i32(3);
  c.op('i32_shl');
  c.get(address);
  c.memory('i64_store', DELAYED_ADDRESSES);
  c.get(count);
  c.i32(2);
  c.op('i32_shl');
  c.get(site);
  c.memory('i32_store', DELAYED_SITES);
  c.i32(0);
  c.get(count);
  c.get(isMiss);
  c.op('i32_add');
  c.tee(count);
  c.memory('i32_store', DELAYED_COUNT);
  c.get(count);
  c.i32(MAX_DELAYED - 1);
  c.op('i32_eq');
}

/** What was written down by `delayMiss` happens. */
function settleMisses(c: Code, context: ModuleContext): void {
  const at = c.local(I32);
  const count = c.local(I32);
  const address = c.local(I64);
  const site = c.local(I32);
  const size = c.local(I32);
  loadAt(c, DELAYED_COUNT, I32);
  c.set(count);
  c.i32(1);
  c.set(size);
  // Who is told of a miss may ask for this, too.
  c.i32(0);
  c.i32(0);
  c.memory('i32_store', DELAYED_COUNT);
  c.open('block');
  c.open('loop');
  c.get(at);
  c.get(count);
  c.op('i32_eq');
  c.brIf(1);
  c.get(at);
  c.i32(3);
  c.op('i32_shl');
  c.memory('i64_load', DELAYED_ADDRESSES);
  c.set(address);
  c.get(at);
  c.i32(2);
  c.op('i32_shl');
  c.memory('i32_load', DELAYED_SITES);
  c.set(site);
  emitMiss(c, context, 'D1', [address, size, site], false);
  c.get(at);
  c.i32(1);
  c.op('i32_add');
  c.set(at);
  c.br(0);
  c.end();
  c.end();
}

/** (address, size, site): the same after `delayMiss`, when there is no room for another. */
function settlePlace(isStore: boolean) {
  return (c: Code, context: ModuleContext): void => {
    const line = c.local(I64);
    c.call(context.support('settleMisses'));
    new CacheCode(c, context, 'D1').pushLine(0);
    c.set(line);
    emitPlace(c, context, isStore, [0, 1], line);
  };
}

type Reference = readonly [address: number, size: number, site: number];

/** (address, size, site): a reference to more than one line. */
function crossLines(level: FirstLevel) {
  return (c: Code, context: ModuleContext): void => {
    const [address, size, site] = [0, 1, 2];
    c.get(address);
    c.get(size);
    c.call(context.support(`touchLines${level}`));
    c.open('if');
    emitMiss(c, context, level, [address, size, site], true);
    c.end();
  };
}

/** (address, size, site): a miss of one line. */
function missLine(level: FirstLevel) {
  return (c: Code, context: ModuleContext): void => emitMiss(c, context, level, [0, 1, 2], false);
}

/**
 * A first level is missed: the last level is referred to. Misses are written down if somebody wants them.
 * @param isCrossing - it was a reference to two lines of the first level
 */
function emitMiss(
  c: Code,
  context: ModuleContext,
  level: FirstLevel,
  [address, size, site]: Reference,
  isCrossing: boolean,
): void {
  const isLastMissed = c.local(I32);
  const cache = new CacheCode(c, context, level);
  // All in their order.
  new CacheCode(c, context, 'D1').ifNotZero('delays', () => {
    loadAt(c, DELAYED_COUNT, I32);
    c.open('if');
    c.call(context.support('settleMisses'));
    c.end();
  });
  const lineBits = cache.known('lineBits');
  const isOneLine =
    lineBits !== undefined && lineBits === new CacheCode(c, context, 'LL').known('lineBits');
  countSite(c, () => c.get(site), 0);
  countMiss(c, level);
  if (isOneLine && !isCrossing) {
    cache.pushLine(address);
    c.call(context.support('touchLL'));
  } else {
    c.get(address);
    c.get(size);
    c.call(context.support('touchLinesLL'));
  }
  c.tee(isLastMissed);
  c.open('if');
  countSite(c, () => c.get(site), 1);
  countMiss(c, 'LL');
  c.end();
  loadAt(c, level === 'D1' ? NOTES_MISSES : NOTES_FETCHES, I32);
  c.open('if');
  for (const local of [address, site, isLastMissed]) c.get(local);
  if (isCrossing) {
    c.i32(2);
    c.op('i32_or');
  }
  c.call(context.support('noteMiss'));
  c.end();
}

/** The chunk of an address, or of that of the last byte, is of the line that is the latest of its set. */
function enterFetched(c: Code, context: ModuleContext, address: number, size?: number): void {
  const cache = new CacheCode(c, context, 'I1');
  const bits = c.local(I64);
  const chunk = c.local(I64);
  cache.push('chunkBits');
  c.op('i64_extend_i32_u');
  c.set(bits);
  c.get(address);
  if (size !== undefined) {
    c.get(size);
    c.ops('i64_extend_i32_u', 'i64_add');
    c.i64(1n);
    c.op('i64_sub');
  }
  c.get(bits);
  c.op('i64_shr_u');
  c.tee(chunk);
  c.op('i32_wrap_i64');
  c.i32(LINE_ENTRIES - 1);
  c.op('i32_and');
  c.i32(ENTRY_BITS);
  c.op('i32_shl');
  c.get(chunk);
  c.get(bits);
  c.op('i64_shl');
  c.memory('i64_store', FETCH_LINES);
}

/** (address, size, site): an instruction is fetched. */
function fetchCode(c: Code, context: ModuleContext): void {
  const [address, size, site] = [0, 1, 2];
  const goesOn = { crossing: 'fetchLines', missing: 'fetchMissed' } as const;
  const line = emitReference(c, context, 'I1', [address, size, site], 'forgets', goesOn);
  if (new CacheCode(c, context, 'I1').known('lineBits') === LINE_BITS) {
    pushEntry(c, line);
    c.get(line);
    c.memory('i64_store', FETCH_LINES);
    return;
  }
  enterFetched(c, context, address);
  enterFetched(c, context, address, size);
}

/** (address, size, site): the same of one in two lines. */
function fetchLines(c: Code, context: ModuleContext): void {
  const [address, size, site] = [0, 1, 2];
  // The first line is until the last is referred to.
  enterFetched(c, context, address);
  for (const local of [address, size, site]) c.get(local);
  c.call(context.support('crossI1'));
  enterFetched(c, context, address, size);
}

/** (address, size, site): the same of one whose line is missed. */
function fetchMissed(c: Code, context: ModuleContext): void {
  const [address, size] = [0, 1];
  enterFetched(c, context, address);
  enterFetched(c, context, address, size);
  emitMiss(c, context, 'I1', [0, 1, 2], false);
}

/** (address, size, site): data is accessed. */
function accessData(c: Code, context: ModuleContext): void {
  const goesOn = { crossing: 'crossD1', missing: 'missD1' } as const;
  emitReference(c, context, 'D1', [0, 1, 2], 'lines', goesOn);
}

/** (address, site, what the lowest bits of `CacheMisses.sites` say): writes a miss down. */
function noteMiss(c: Code, context: ModuleContext): void {
  const [address, site, how] = [0, 1, 2];
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
  c.get(how);
  c.op('i32_or');
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
  const goesOn = isStore
    ? ({ crossing: 'crossToStore', missing: 'missToStore', delaying: 'settleToStore' } as const)
    : ({ crossing: 'crossToLoad', missing: 'missToLoad', delaying: 'settleToLoad' } as const);
  return (c: Code, context: ModuleContext): void => {
    const [address, size, site] = [0, 1, 2];
    const line = emitReference(c, context, 'D1', [address, size, site], 'forgets', goesOn);
    emitPlace(c, context, isStore, [address, size], line);
  };
}

/** (address, size, site): the same where the line is missed. */
function missPlace(isStore: boolean) {
  return (c: Code, context: ModuleContext): void => {
    const [address, size, site] = [0, 1, 2];
    const line = c.local(I64);
    emitMiss(c, context, 'D1', [address, size, site], false);
    new CacheCode(c, context, 'D1').pushLine(address);
    c.set(line);
    emitPlace(c, context, isStore, [address, size], line);
  };
}

/** (address, size, site): the same of more than one line. */
function crossPlace(isStore: boolean) {
  return (c: Code, context: ModuleContext): void => {
    const [address, size, site] = [0, 1, 2];
    for (const local of [address, size, site]) c.get(local);
    c.call(context.support('crossD1'));
    emitPlace(c, context, isStore, [address, size]);
  };
}

/**
 * Leaves the place of a load or store on the stack, or -1.
 * @param line - a local with the only line that is accessed: an entry of the table of lines is made of it
 */
function emitPlace(
  c: Code,
  context: ModuleContext,
  isStore: boolean,
  [address, size]: readonly [number, number],
  line?: number,
): void {
  const at = c.local(I32);
  const entry = c.local(I32);
  const within = c.local(I64);
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
  if (isStore) {
    c.i32(-1);
    c.op('return');
  } else {
    c.get(address);
    c.get(size);
    c.returnCall(context.import('loadSlowly'));
  }
  c.end();
  // What was accessed can be accessed again without this; unless the cache has no table.
  if (line !== undefined) {
    const cache = new CacheCode(c, context, 'D1');
    cache.ifNotZero('lines', () => {
      if (cache.known('lineBits') === LINE_BITS)
        enterPlace(c, { line, at, entry, pushOffset: () => pushOffset(c, address) });
      else {
        // A line may be longer than what an entry is for.
        pushOffset(c, address);
        c.get(size);
        c.op('i32_add');
        c.i32(2 ** LINE_BITS);
        c.op('i32_le_u');
        c.open('if');
        c.get(address);
        c.i64(BigInt(-(2 ** LINE_BITS)));
        c.op('i64_and');
        c.set(line);
        enterPlace(c, { line, at, entry, pushOffset: () => pushOffset(c, address) });
        c.end();
      }
    });
  }
  c.get(at);
}

/** Pushes how far after the start of what an entry is for an address lies. */
function pushOffset(c: Code, address: number): void {
  c.get(address);
  c.op('i32_wrap_i64');
  c.i32(2 ** LINE_BITS - 1);
  c.op('i32_and');
}

/**
 * Makes an entry of the table of lines.
 * @param entry - a local with the place of the entry of the granule in its table; it is changed
 */
function enterPlace(
  c: Code,
  {
    line,
    at,
    entry,
    pushOffset,
  }: {
    readonly line: number;
    readonly at: number;
    readonly entry: number;
    readonly pushOffset: () => void;
  },
): void {
  const canStore = c.local(I64);
  c.i64(NO_GRANULE);
  c.get(line);
  c.get(entry);
  c.memory('i64_load', TLB_FOR_STORES);
  c.i64(NO_GRANULE);
  c.op('i64_eq');
  c.op('select');
  c.set(canStore);
  pushEntry(c, line);
  c.tee(entry);
  c.get(line);
  c.memory('i64_store', DATA_LINES);
  c.get(entry);
  c.get(canStore);
  c.memory('i64_store', DATA_LINES + FOR_STORES);
  c.get(entry);
  c.get(at);
  pushOffset();
  c.op('i32_sub');
  c.memory('i32_store', DATA_LINES + PLACE);
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

const LINE = [I64] as const;
const LINES_OF = [I64, I32] as const;

export const CACHE_SUPPORT = {
  forgetI1: { parameters: LINE, results: [], emit: forgetLine('I1') },
  forgetD1: { parameters: LINE, results: [], emit: forgetLine('D1') },
  touchI1: { parameters: LINE, results: [I32], emit: touchLine('I1') },
  touchD1: { parameters: LINE, results: [I32], emit: touchLine('D1') },
  touchLL: { parameters: LINE, results: [I32], emit: touchLine('LL') },
  touchLinesI1: { parameters: LINES_OF, results: [I32], emit: touchLines('I1') },
  touchLinesD1: { parameters: LINES_OF, results: [I32], emit: touchLines('D1') },
  touchLinesLL: { parameters: LINES_OF, results: [I32], emit: touchLines('LL') },
  crossI1: { parameters: ACCESS, results: [], emit: crossLines('I1') },
  crossD1: { parameters: ACCESS, results: [], emit: crossLines('D1') },
  missD1: { parameters: ACCESS, results: [], emit: missLine('D1') },
  fetchCode: { parameters: ACCESS, results: [], emit: fetchCode },
  fetchLines: { parameters: ACCESS, results: [], emit: fetchLines },
  fetchMissed: { parameters: ACCESS, results: [], emit: fetchMissed },
  noteMiss: { parameters: [I64, I32, I32], results: [], emit: noteMiss },
  accessData: { parameters: ACCESS, results: [], emit: accessData },
  accessToLoad: { parameters: ACCESS, results: [I32], emit: accessPlace(false) },
  accessToStore: { parameters: ACCESS, results: [I32], emit: accessPlace(true) },
  missToLoad: { parameters: ACCESS, results: [I32], emit: missPlace(false) },
  missToStore: { parameters: ACCESS, results: [I32], emit: missPlace(true) },
  settleMisses: { parameters: [], results: [], emit: settleMisses },
  settleToLoad: { parameters: ACCESS, results: [I32], emit: settlePlace(false) },
  settleToStore: { parameters: ACCESS, results: [I32], emit: settlePlace(true) },
  crossToLoad: { parameters: ACCESS, results: [I32], emit: crossPlace(false) },
  crossToStore: { parameters: ACCESS, results: [I32], emit: crossPlace(true) },
  predictBranch: { parameters: [I32, I32, I32], results: [], emit: predictBranch },
  predictTarget: { parameters: [I32, I32, I64], results: [], emit: predictTarget },
} as const satisfies Readonly<Record<string, Support>>;

export type CacheSupportName = keyof typeof CACHE_SUPPORT;
