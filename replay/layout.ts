/**
 * The linear memory of the evaluator: fixed regions first, then granules of guest memory, allocated
 * as they are touched. Untouched pages of a region cost no physical memory.
 */

/** Guest memory is mapped in granules of this size. */
export const GRANULE_BITS = 16;
export const GRANULE_SIZE = 1 << GRANULE_BITS;
/** Guest addresses are taken modulo 2^48, so that a granule's number has 32 bits. */
export const ADDRESS_BITS = 48;

export const PAGE_SIZE = 65536;
/** Linear memory ends at 4 GiB. */
export const MAX_PAGES = 65536;

/** Words that compiled code and the host share. Rows are counted in units of 8. */
export const CELL = {
  tick: 64,
  limit: 72,
  rows: 80,
  wide: 84,
  rowsLimit: 88,
  wideLimit: 92,
  values: 96,
  valuesEnd: 100,
  /** A bit for each 8 bytes of the guest state (two words): some of its bits may be undefined. */
  undefinedLow: 104,
  undefinedHigh: 112,
  /** Where the next frame of the current thread goes. */
  frames: 120,
  /** The instruction at which threaded code left it to the host to go on. */
  left: 124,
  /** Accesses are seen that begin at this address, or no more than so many bytes after it. */
  firstAddress: 128,
  addressRange: 136,
  /** In a replay of fresh accesses: tags of the current epoch, for 16 bytes; loads are compared without the lowest bit. */
  loadTag: 144,
  storeTag: 160,
  /** Calls written down, in units of 8. */
  calls: 176,
  /** In a replay that filters lines: how many sets the cache has whose latest lines are left out; 0 in others. */
  filterSets: 180,
  /** In a replay of fresh accesses: number of the epoch that was begun last; `LAST_EPOCH` when the host is to begin the next. */
  epoch: 184,
  /** Misses of simulated caches modulo 2^32: of the first levels for instructions and data, of the last level, and a spare word. */
  misses: 192,
  /** In a replay that measures stacks: the lowest stack pointer since the host asked, and the tick at which it was so low. */
  lowestStack: 208,
  lowestStackTick: 216,
} as const;

/** Operands (32 bytes each, at most 5) and after them the result of an operation done by the host. */
export const SCRATCH = 1024;
export const SCRATCH_STRIDE = 32;
export const SCRATCH_RESULT = SCRATCH + 5 * SCRATCH_STRIDE;

/** Guest state of the current thread. */
export const STATE = 4096;
export const MAX_STATE_SIZE = 8192;

/** Which bits of the guest state are undefined, and for each 8 bytes of it an origin (u32). */
export const SHADOW_STATE = STATE + MAX_STATE_SIZE;
export const MAX_SHADOWED_STATE = 1024;
export const ORIGIN_STATE = SHADOW_STATE + MAX_SHADOWED_STATE;
/** A granule that is always zero, where what was never written is loaded from. */
export const ZERO = 0x10000;
/**
 * A direct-mapped cache of granules, as a processor's TLB. Entry `number mod entries` holds twice the
 * guest address (u64) at which the granule begins, for loads and for stores, each `NO_GRANULE` while
 * it is not to be used; and the granule's place relative to the base (u32).
 */
export const TLB = ZERO + GRANULE_SIZE;
export const TLB_ENTRIES = 1 << 16;
export const TLB_ENTRY_SIZE = 32;
export const TLB_FOR_LOADS = TLB;
export const TLB_FOR_STORES = TLB + 8;
export const TLB_PLACE = TLB + 16;
/** With a tally: where its planes of the granule are, relative to the granule's place (u32); 0 when it has none. */
export const TLB_TALLY = TLB + 20;
/** No granule begins here, and no address of a program is near. */
export const NO_GRANULE = 1n << 63n;
/** One byte per granule number modulo this: others can change it. The recorder folds in the same way. */
export const SHARED = TLB + TLB_ENTRY_SIZE * TLB_ENTRIES;
export const SHARED_COUNT = 1 << 21;

/**
 * Per name space, a direct-mapped cache from guest address (u64) to slot (u32), 16 bytes each. The entry's number is that of the
 * lowest bits and of those above them, since functions of libraries often have the same lowest bits.
 */
export const JUMP_CACHE_BITS = 15;
export const JUMP_CACHE_ENTRIES = 1 << JUMP_CACHE_BITS;
export const JUMP_CACHE = SHARED + SHARED_COUNT;

/** Cells that hold the function of a block, and where the machine code of its threaded code is (u32 each); compiled jumps name the cell. */
export const SLOTS = JUMP_CACHE + 2 * 16 * JUMP_CACHE_ENTRIES;
export const SLOT_SIZE = 8;
export const MAX_SLOTS = 1 << 22;
/** Where threaded code goes that needs an exact version, while there is none; and when it has run often. */
export const BAIL_SLOT = SLOTS;
export const HOT_SLOT = SLOTS + SLOT_SIZE;

/** Temporaries of the block that runs, where they are not locals. */
export const TEMPS = SLOTS + SLOT_SIZE * MAX_SLOTS;
export const TEMP_SIZE = 32;
export const MAX_TEMPS = 1 << 12;

/** Threaded code. */
export const THREADED = TEMPS + TEMP_SIZE * MAX_TEMPS;
export const THREADED_SIZE = 1 << 28;
/** Number of the function, in the table of functions, that runs the threaded code of a slot. */
export const THREADED_FUNCTION = 1;

/** Window on the value log. */
export const VALUES = THREADED + THREADED_SIZE;
export const VALUES_SIZE = 1 << 20;

/** Output rows, as columns. */
export const MAX_ROWS = 1 << 15;
export const ROW_SITES = VALUES + VALUES_SIZE;
export const ROW_TICKS = ROW_SITES + 4 * MAX_ROWS;
export const ROW_ADDRESSES = ROW_TICKS + 8 * MAX_ROWS;
export const ROW_VALUES = ROW_ADDRESSES + 8 * MAX_ROWS;
/** All bytes of the accesses wider than 8. */
export const WIDE = ROW_VALUES + 8 * MAX_ROWS;
export const WIDE_SIZE = 1 << 20;

/**
 * Calls, returns and entries of functions (calls-guest.ts), as columns: sites (u32), ticks and stack pointers (f64), and
 * misses until then as in `CELL`.
 */
export const MAX_CALLS = 1 << 14;
export const CALL_SITES = WIDE + WIDE_SIZE;
export const CALL_TICKS = CALL_SITES + 4 * MAX_CALLS;
export const CALL_STACKS = CALL_TICKS + 8 * MAX_CALLS;
export const CALL_MISSES = CALL_STACKS + 8 * MAX_CALLS;

/** Where the slow path of a load leaves the value, as if it were a place in a granule. */
const SLOW_LOAD = CALL_MISSES + 16 * MAX_CALLS;

/** One u64 per segment: how often its block was left at the end of it (`Guest.segments`). */
export const COUNTS = SLOW_LOAD + 64;
export const MAX_SEGMENTS = 1 << 23;

/**
 * In a replay that simulates caches, after the counters (cache-guest.ts). Two tables of lines that may be accessed again
 * without a look at the simulated cache, for data and for fetches. An entry is as one of `TLB`: what of a line is known of
 * as hit, which of them can be stored to, and the place of the line. It is for `LINE_BITS` bytes, whatever the caches have.
 */
export const LINE_BITS = 6;
export const LINE_ENTRIES = 64;
export const DATA_LINES = COUNTS + 8 * MAX_SEGMENTS;
export const FETCH_LINES = DATA_LINES + TLB_ENTRY_SIZE * LINE_ENTRIES;
/** What is known of each cache; places in it are those of `CACHE`. */
export const CACHE_I1 = FETCH_LINES + TLB_ENTRY_SIZE * LINE_ENTRIES;
export const CACHE_D1 = CACHE_I1 + 64;
export const CACHE_LL = CACHE_D1 + 64;
export const CACHE = {
  /** Where the ways of its sets are (u32). */
  sets: 0,
  /** Logarithm of the size of a line; number of sets less 1 (u32 each). */
  lineBits: 4,
  setMask: 8,
  /** Size of the ways of a set in bytes, and the logarithm of the distance from one set to the next (u32 each). */
  waysSize: 12,
  strideBits: 16,
  /** Its table of lines, or 0; logarithm of what an entry is for (u32 each). */
  lines: 20,
  chunkBits: 24,
  /** Size of a line (u64), and all bits of an address but those within a line (u64). */
  lineSize: 32,
  lineMask: 40,
  /** A line that is not the latest any more has to be taken out of the table: no entry of another replaces its own (u32). */
  forgets: 48,
  /** Memory is placed otherwise: numbers of sets are shifted as `PLACEMENTS` says (u32). */
  isPlaced: 52,
  /** The last level may be referred to later (u32): see `DELAYED_ADDRESSES`. */
  delays: 56,
} as const;
/** A set of at most so many ways is searched at once. As many words (u64) with all bits, and after them as many with none. */
export const MOST_SEARCHED_WAYS = 16;
export const WAY_MASKS = CACHE_LL + 64;
/** Misses of data are written down while this is not 0 (u32), and how many there are (u32). */
export const NOTES_MISSES = WAY_MASKS + 16 * MOST_SEARCHED_WAYS;
export const MISS_COUNT = NOTES_MISSES + 4;
/**
 * What became of the last branches, the latest in the lowest bit (u32); whether misses of fetches are written down, too
 * (u32); counters of 2 bits, a byte each; last targets (u64). */
export const BRANCH_HISTORY = MISS_COUNT + 4;
export const NOTES_FETCHES = BRANCH_HISTORY + 4;
export const BRANCH_COUNTERS = NOTES_FETCHES + 4;
export const BRANCH_COUNTER_COUNT = 1 << 14;
export const BRANCH_TARGETS = BRANCH_COUNTERS + BRANCH_COUNTER_COUNT;
export const BRANCH_TARGET_COUNT = 1 << 9;
/** Misses: their addresses (u64) and sites (u32: see `CacheMisses`). */
export const MAX_MISSES = 1 << 15;
export const MISS_ADDRESSES = BRANCH_TARGETS + 8 * BRANCH_TARGET_COUNT;
export const MISS_SITES = MISS_ADDRESSES + 8 * MAX_MISSES;
/** By number of the granule, modulo their count: sets that its lines are shifted by (u32). */
export const PLACEMENTS = MISS_SITES + 4 * MAX_MISSES;
export const PLACEMENT_COUNT = 1 << 12;
/** Misses of D1 with which the last level was not referred to yet: their addresses (u64), sites and count (u32). */
export const MAX_DELAYED = 1 << 8;
export const DELAYED_ADDRESSES = PLACEMENTS + 4 * PLACEMENT_COUNT;
export const DELAYED_SITES = DELAYED_ADDRESSES + 8 * MAX_DELAYED;
export const DELAYED_COUNT = DELAYED_SITES + 4 * MAX_DELAYED;
/** By cache site: misses (u64), those in the last level (u64), and if guarded how often it was executed (u64). */
export const SITE_COUNTERS = DELAYED_COUNT + 16;
export const SITE_COUNTERS_BITS = 5;
export const MAX_CACHE_SITES = 1 << 22;
/** Ways of the first levels and of the last, a word for each line. */
export const CACHE_SETS = SITE_COUNTERS + (MAX_CACHE_SITES << SITE_COUNTERS_BITS);
export const FIRST_LEVEL_LINES = 1 << 17;
export const LAST_LEVEL_LINES = 1 << 23;
const CACHE_END = CACHE_SETS + 8 * (2 * FIRST_LEVEL_LINES + LAST_LEVEL_LINES);

/**
 * In a replay with shadow memory: the current thread's calls that have not returned, as pairs of the
 * address of the return address and the address of the call instruction. In the place of `COUNTS`.
 */
export const FRAMES = COUNTS;
export const FRAME_SIZE = 16;
export const MAX_FRAMES = 1 << 16;

/**
 * With shadow memory four planes of one granule each stand in a row: contents, state of each byte,
 * undefined bits of each byte (only where the state is `PARTIAL`), and an origin (u32) for each 4
 * bytes (only where the state is not `DEFINED`). Untouched planes cost no physical memory.
 */
export const STATE_PLANE = GRANULE_SIZE;
export const BITS_PLANE = 2 * GRANULE_SIZE;
export const ORIGIN_PLANE = 3 * GRANULE_SIZE;
export const PLANES_SIZE = 4 * GRANULE_SIZE;

/** States of a byte; all but `DEFINED` are not 0, and only `NO_ACCESS` has the high bit. */
export const DEFINED = 0;
export const UNDEFINED = 1;
export const PARTIAL = 2;
export const NO_ACCESS = 0x80;

/** The last number of an epoch. */
export const LAST_EPOCH = 125;

/** In a replay of fresh accesses a tag for each byte stands after the contents of a granule. */
export const TAG_PLANE = GRANULE_SIZE;
export const TAGGED_SIZE = 2 * GRANULE_SIZE;
/** After the counters the slow path of a load leaves a value and its tags. */
const FRESH_SLOW_LOAD = COUNTS + 8 * MAX_SEGMENTS;

/**
 * In a replay that filters lines (line-filter.ts): by set of the cache, the place of the line whose tags say that it is the
 * latest (u32), as a place of an access; 0 for none.
 */
export const FILTERED_LINES = FRESH_SLOW_LOAD + TAGGED_SIZE;
export const MAX_FILTER_SETS = 1 << 14;
export const FILTER_LINE_BITS = 6;

/**
 * A tally (access-tally.ts) has planes of the size of a granule, one after another: of loads of 1, 2, 4 and 8 bytes, and
 * of stores of these.
 */
export const TALLY_SIZES = [1, 2, 4, 8] as const;
export const TALLY_STORES = TALLY_SIZES.length * GRANULE_SIZE;
export const TALLY_PLANES_SIZE = 2 * TALLY_STORES;

/** With shadow memory, the first two granules are shared: accessible zeros, and no access. */
export const SHADOW_ZERO = FRAMES + FRAME_SIZE * MAX_FRAMES;
export const SHADOW_NO_ACCESS = SHADOW_ZERO + PLANES_SIZE;
/** After them the slow path of a load leaves a value and the states of its bytes. */
const SHADOW_SLOW_LOAD = SHADOW_NO_ACCESS + PLANES_SIZE;

/** Where granules begin, what their places in the cache are relative to, where slow loads are left. */
export function granulesOf(modes: {
  readonly counts: boolean;
  readonly shadow: boolean;
  readonly fresh: boolean;
  readonly cache: boolean;
}): {
  readonly start: number;
  readonly base: number;
  readonly slowLoad: number;
} {
  if (modes.shadow) {
    const start = SHADOW_SLOW_LOAD + PLANES_SIZE;
    return { start, base: SHADOW_ZERO, slowLoad: SHADOW_SLOW_LOAD };
  }
  if (modes.fresh)
    return { start: FILTERED_LINES + 4 * MAX_FILTER_SETS, base: ZERO, slowLoad: FRESH_SLOW_LOAD };
  // the counters are only reserved when they are wanted
  const start = modes.cache ? CACHE_END : COUNTS + (modes.counts ? 8 * MAX_SEGMENTS : 0);
  return { start, base: ZERO, slowLoad: SLOW_LOAD };
}
