/**
 * In a replay that simulates caches: two first levels, for instructions and for data, and a last level behind both, in
 * linear memory (`CACHE_I1` and what follows in layout.ts). Compiled code refers to them (support-cache.ts); here they are
 * set up and read.
 *
 * Most accesses are to the line that was the latest of its set already. The tables of lines know these, with their place in
 * linear memory: in such a replay they stand in for the table of granules, so hits of this kind cost nothing more.
 */
import type { CacheModes } from './cache-sites.js';
import { CacheSites, GUARDED } from './code-tables.js';
import { ModuleContext } from './emit.js';
import type { GuestMemory } from './guest-memory.js';
import { NativeHeapMisses, type HeapCall } from './heap-misses.js';
import {
  CACHE,
  CACHE_D1,
  CACHE_I1,
  CACHE_LL,
  CACHE_SETS,
  DATA_LINES,
  DELAYED_COUNT,
  FETCH_LINES,
  FIRST_LEVEL_LINES,
  LAST_LEVEL_LINES,
  LINE_BITS,
  LINE_ENTRIES,
  MAX_CACHE_SITES,
  MAX_MISSES,
  MISS_ADDRESSES,
  MISS_COUNT,
  MISS_SITES,
  MOST_SEARCHED_WAYS,
  NOTES_FETCHES,
  NOTES_MISSES,
  NO_GRANULE,
  PLACEMENTS,
  PLACEMENT_COUNT,
  SITE_COUNTERS,
  SITE_COUNTERS_BITS,
  TLB_ENTRY_SIZE,
  WAY_MASKS,
} from './layout.js';
import { nativeEngine } from './native.js';
import { UserError } from '../schemas/errors.js';

/** The shape of a cache. All are powers of two but the number of ways. */
export interface CacheShape {
  readonly sizeBytes: number;
  readonly ways: number;
  readonly lineBytes: number;
}

/** What a replay is to simulate. */
export interface CacheHooks {
  readonly I1: CacheShape;
  readonly D1: CacheShape;
  readonly LL: CacheShape;
  /** Predict branches, too. */
  readonly branches: boolean;
  /** Sets by which lines of a granule are shifted, by its number modulo `PLACEMENT_COUNT`: as if memory lay elsewhere. */
  readonly placement?: Uint32Array;
  /** Attribute misses of data to heap blocks, where the native module is: see `CacheGuest.blocks`. */
  readonly blocks?: boolean;
  /** Told of each miss in the first level when there are many, and when asked to (`CacheGuest.takeMisses`): of data, */
  readonly misses?: (misses: CacheMisses) => void;
  /** and of fetches, too. */
  readonly fetchMisses?: boolean;
}

/** Misses, in order: entry `i` of each for `i < count`. The arrays are valid during the call. */
export interface CacheMisses {
  readonly count: number;
  /** Addresses as pairs of words, the low one first. */
  readonly addresses: Uint32Array;
  /** Four times the number of the cache site, and 1 if the last level missed, too, and 2 if two lines were referenced. */
  readonly sites: Uint32Array;
}

/** Cachegrind's checks (cg_arch: a simulated cache has a power of two of sets). Throws UserError. */
export function checkShape(name: string, { sizeBytes, ways, lineBytes }: CacheShape): void {
  const sets = sizeBytes / lineBytes / ways;
  const fail = (what: string): never => {
    throw new UserError(`The cache ${name} cannot be simulated: ${what}.`);
  };
  if (!isPowerOfTwo(lineBytes) || lineBytes < 16 || lineBytes > 4096)
    fail(`its lines of ${lineBytes} bytes are no power of two from 16 to 4096`);
  if (!isPowerOfTwo(sets)) fail(`its ${sets} sets are no power of two`);
  const most = name === 'LL' ? LAST_LEVEL_LINES : FIRST_LEVEL_LINES;
  if (sets * strideWays(ways) > most)
    fail(`it has ${sizeBytes / lineBytes} lines, and at most ${most} are supported`);
}

export const isPowerOfTwo = (n: number): boolean => Number.isInteger(Math.log2(n)) && n > 0;

/** Sets stand apart by a power of two. */
const strideWays = (ways: number): number => 2 ** Math.ceil(Math.log2(ways));

/** @param tellsCalls - the replay tells of calls, too */
export function cacheModes(hooks: CacheHooks, tellsCalls: boolean): CacheModes {
  const { I1, D1, LL, branches } = hooks;
  return {
    fetchBits: Math.min(Math.log2(I1.lineBytes), LINE_BITS),
    branches,
    mostBytes: Math.min(I1.lineBytes, D1.lineBytes, LL.lineBytes),
    fixed: new Map(layOut(hooks, tellsCalls).map(({ at, value }) => [at, value])),
  };
}

/** What linear memory holds of each cache. */
function layOut(
  { I1, D1, LL, placement }: CacheHooks,
  tellsCalls: boolean,
): { at: number; value: bigint; isWide: boolean }[] {
  // Entries are for whole lines, or parts of them.
  const dataLines = D1.lineBytes < 2 ** LINE_BITS ? 0 : DATA_LINES;
  // Who is told of calls is told of misses until then.
  const canDelay =
    !tellsCalls && D1.ways > 1 && D1.ways <= MOST_SEARCHED_WAYS && D1.lineBytes === LL.lineBytes;
  const first = 8 * FIRST_LEVEL_LINES;
  const caches = [
    { cache: CACHE_I1, shape: I1, sets: CACHE_SETS, lines: FETCH_LINES },
    { cache: CACHE_D1, shape: D1, sets: CACHE_SETS + first, lines: dataLines },
    { cache: CACHE_LL, shape: LL, sets: CACHE_SETS + 2 * first, lines: 0 },
  ];
  return caches.flatMap(({ cache, shape: { sizeBytes, ways, lineBytes }, sets, lines }) => {
    const lineBits = Math.log2(lineBytes);
    const setCount = sizeBytes / lineBytes / ways;
    // Of two lines of a set, the later one often takes the entry of the other.
    const isReplaced = lineBits === LINE_BITS && setCount >= LINE_ENTRIES && !placement;
    const fields = {
      sets,
      lineBits,
      setMask: setCount - 1,
      waysSize: 8 * ways,
      strideBits: 3 + Math.log2(strideWays(ways)),
      lines,
      chunkBits: Math.min(lineBits, LINE_BITS),
      forgets: isReplaced ? 0 : lines,
      isPlaced: placement ? 1 : 0,
      delays: cache === CACHE_D1 && isReplaced && canDelay ? 1 : 0,
    };
    const words = Object.entries(fields).map(([name, value]) => {
      const at = cache + CACHE[name as keyof typeof fields];
      return { at, value: BigInt(value), isWide: false };
    });
    return [
      ...words,
      { at: cache + CACHE.lineSize, value: BigInt(lineBytes), isWide: true },
      { at: cache + CACHE.lineMask, value: -BigInt(lineBytes), isWide: true },
    ];
  });
}

const USUAL: CacheShape = { sizeBytes: 2 ** 15, ways: 8, lineBytes: 2 ** LINE_BITS };
const DIFFERENT = (['setMask', 'waysSize', 'strideBits', 'delays'] as const).map(
  (name) => CACHE[name],
);

/**
 * What most caches have in common: lines of 64 bytes, and in the first levels no fewer sets than there are entries in the
 * tables of lines. Stencils that go by it are quicker.
 */
export const USUAL_CACHES: ReadonlyMap<number, bigint> = new Map(
  layOut({ I1: USUAL, D1: USUAL, LL: USUAL, branches: false }, true)
    .filter(({ at }) =>
      [CACHE_I1, CACHE_D1, CACHE_LL].every(
        (cache) => !DIFFERENT.some((place) => cache + place === at),
      ),
    )
    .map(({ at, value }) => [at, value]),
);

export const areUsual = ({ fixed }: CacheModes): boolean =>
  fixed !== undefined && [...USUAL_CACHES].every(([at, value]) => fixed.get(at) === value);

export class CacheGuest {
  readonly sites = new CacheSites();
  /** Misses in heap blocks, if that was asked for. */
  readonly blocks: NativeHeapMisses | undefined;

  constructor(
    private readonly memory: GuestMemory,
    private readonly hooks: CacheHooks,
    tellsCalls: boolean,
  ) {
    for (const { at, value, isWide } of layOut(hooks, tellsCalls))
      if (isWide) memory.view.setBigInt64(at, value, true);
      else memory.view.setUint32(at, Number(value), true);
    new Uint8Array(memory.wasm.buffer, WAY_MASKS, 8 * MOST_SEARCHED_WAYS).fill(0xff);
    if (hooks.blocks && nativeEngine)
      this.blocks = new NativeHeapMisses(nativeEngine, memory, this.sites);
    if (hooks.placement)
      new Uint32Array(memory.wasm.buffer, PLACEMENTS, PLACEMENT_COUNT).set(hooks.placement);
    this.noteMisses(hooks.misses !== undefined);
    memory.view.setUint32(NOTES_FETCHES, hooks.fetchMisses ? 1 : 0, true);
    this.forget(FETCH_LINES);
    this.forget(DATA_LINES);
    memory.moved = () => this.forget(DATA_LINES);
  }

  /** Empties a table of lines: only what is simulated again then is known to be a hit. */
  private forget(lines: number): void {
    const words = new BigUint64Array(
      this.memory.wasm.buffer,
      lines,
      (TLB_ENTRY_SIZE / 8) * LINE_ENTRIES,
    );
    words.fill(NO_GRANULE);
  }

  /** From now on misses of data are written down, or not; at first they are if somebody wants them. */
  noteMisses(on: boolean): void {
    this.settle();
    this.memory.view.setUint32(NOTES_MISSES, on ? 1 : 0, true);
  }

  /** Hands over the misses that were written down since. */
  takeMisses(): void {
    this.settle();
    const { view, wasm } = this.memory;
    const count = view.getUint32(MISS_COUNT, true);
    if (count === 0) return;
    if (this.blocks) return this.blocks.take();
    view.setUint32(MISS_COUNT, 0, true);
    // That is often: after each event of the heap.
    if (this.misses?.addresses.buffer !== wasm.buffer)
      this.misses = {
        count,
        addresses: new Uint32Array(wasm.buffer, MISS_ADDRESSES, 2 * MAX_MISSES),
        sites: new Uint32Array(wasm.buffer, MISS_SITES, MAX_MISSES),
      };
    this.misses.count = count;
    this.hooks.misses!(this.misses);
  }
  private misses: (CacheMisses & { count: number }) | undefined;

  /** A call of an allocator has taken effect, in a replay that attributes misses to heap blocks. */
  heapCall(call: HeapCall): void {
    this.settle();
    this.blocks!.call(call);
  }

  /** Refers to the last level for the misses that wait for it. */
  private settle(): void {
    if (this.memory.view.getUint32(DELAYED_COUNT, true) > 0) this.refer().settleMisses();
  }

  /** Refuses more sites than there is room for. */
  checkSites(): void {
    if (this.sites.count > MAX_CACHE_SITES)
      throw new UserError(
        'The program has more code than a replay can simulate caches for; ask for a smaller part of it.',
      );
  }

  /**
   * Counters of all sites as words, `COUNTERS_WORDS` for each: misses, misses of the last level, and executions if it is
   * guarded, each the low word first.
   */
  counters(): Uint32Array {
    this.settle();
    const words = this.sites.count << (SITE_COUNTERS_BITS - 2);
    return new Uint32Array(this.memory.wasm.buffer, SITE_COUNTERS, words);
  }

  /** Counts from here on. What is in the caches stays. */
  forgetCounts(): void {
    this.counters().fill(0);
    this.memory.view.setUint32(MISS_COUNT, 0, true);
  }

  /** References of code that is interpreted. */
  readonly refer = this.interpreted();

  private interpreted(): () => {
    fetchCode(address: bigint, size: number, site: number): void;
    accessData(address: bigint, size: number, site: number): void;
    settleMisses(): void;
  } {
    let made: ReturnType<CacheGuest['refer']> | undefined;
    return () => (made ??= this.instantiate());
  }

  private instantiate(): ReturnType<CacheGuest['refer']> {
    const context = new ModuleContext();
    context.builder.importTable();
    for (const name of ['fetchCode', 'accessData', 'settleMisses'] as const)
      context.builder.export(name, context.support(name));
    const module = new WebAssembly.Module(context.builder.encode());
    return new WebAssembly.Instance(module, this.imports!).exports as never;
  }

  /** As for compiled blocks. */
  imports: WebAssembly.Imports | undefined;
}

/** Words of the counters of a site. */
export const COUNTERS_WORDS = 2 ** (SITE_COUNTERS_BITS - 2);

export const isGuarded = (kind: number): boolean => (kind & GUARDED) !== 0;
