/**
 * References to lines as accesses come in: their distances by function, the optimum of chosen caches, and working sets by
 * window of time. An access to bytes of several lines is a reference to each of these, in order of their addresses.
 */
import { grown } from '../../replay/grown.js';
import type { AccessBatch, SiteTable } from '../../replay/types.js';
import { nativeEngine, type NativeEngine } from '../../replay/native.js';
import { binOf, COLD_BIN, ROW_SIZE, SPANS } from './distances.js';
import { LineNumbers } from './line-numbers.js';
import { COLD, LruStack } from './lru-stack.js';
import { Optimum } from './optimum.js';

/** What is counted of references. */
export interface ReferenceOptions {
  /** Logarithm of the size of a line in bytes. */
  readonly lineBits: number;
  /** Caches whose optimum is wanted, in lines. */
  readonly optimumLines: readonly number[];
  /** Ticks of a window. */
  readonly windowTicks: number;
  /** The number of the row that counts the references of a site; -1 if they are of no interest. Asked once of each site. */
  rowOf(site: number): number;
}

/** In `starts`. */
const UNKNOWN = -2;
const UNWANTED = -1;

/**
 * Words of the state after those of the stack: lines referenced in this window, which are the topmost ones of the stack;
 * the line referenced last, as the low word of its address without the bits within it, and the high word; lines in the trail,
 * -1 if there is none; and what replay/native/reuse.h is to know.
 */
const IN_WINDOW = 2;
const LAST_LOW = 3;
const LAST_HIGH = 4;
const LINE_BITS = 5;
const TRAIL_COUNT = 6;
const COLD_BIN_WORD = 7;
const SPANS_WORD = 8;
const STATE_WORDS = 9;

/** Lines of a trail. */
const TRAIL = 1 << 16;

export class References {
  readonly optimum: Optimum;
  /** Working sets in lines, by window. */
  readonly windows: number[] = [];
  /** References by their exact distances above 0. */
  byDistance = new Float64Array(1024);
  private counts = new Float64Array(64 * ROW_SIZE);
  private readonly numbers: LineNumbers;
  private readonly stack: LruStack;
  /** By site: where in `counts` its row begins. */
  private starts = new Int32Array(0);
  private windowEnd: number;
  private readonly state = new Int32Array(STATE_WORDS);
  /** The lines referenced, for the optimum. */
  private readonly trail: Int32Array;

  /** @param native - takes most references; null: there is none */
  constructor(
    private readonly options: ReferenceOptions,
    private readonly native: NativeEngine | null = nativeEngine ?? null,
  ) {
    this.numbers = new LineNumbers(options.lineBits);
    this.optimum = new Optimum(options.optimumLines);
    this.windowEnd = options.windowTicks;
    this.trail = new Int32Array(this.optimum.isWanted ? TRAIL : 1);
    const { state } = this;
    state[LINE_BITS] = options.lineBits;
    state[TRAIL_COUNT] = this.optimum.isWanted ? 0 : -1;
    state[COLD_BIN_WORD] = COLD_BIN;
    state[SPANS_WORD] = SPANS;
    state[LAST_LOW] = state[LAST_HIGH] = -1;
    this.stack = new LruStack(state);
  }

  /** What was counted of a row, as `Distances` takes it. */
  row(number: number): Float64Array {
    return this.counts.subarray(ROW_SIZE * number, ROW_SIZE * (number + 1));
  }

  /** Takes accesses in, which must come in the order in which they happened. */
  take({ count, ticks, addresses, sites }: AccessBatch, table: SiteTable): void {
    this.starts = grown(this.starts, table.count, UNKNOWN);
    const words = new Uint32Array(addresses.buffer, addresses.byteOffset, 2 * count);
    let from = 0;
    while (from < count) {
      if (Number(ticks[from]!) >= this.windowEnd) this.endWindow();
      else {
        const to = firstAtOrAfter(ticks, BigInt(this.windowEnd), from, count);
        if (!this.native) this.takeRows(words, sites, table.sizes, from, to);
        else
          while ((from = this.takeNatively(sites, addresses, table.sizes, from, to)) < to)
            this.takeRows(words, sites, table.sizes, from, ++from);
        from = to;
      }
    }
    this.followTrail();
  }

  /** As `takeRows`, as far as it takes no room; returns the first row that is left. */
  private takeNatively(
    sites: Uint32Array,
    addresses: BigUint64Array,
    sizes: Uint16Array,
    from: number,
    to: number,
  ): number {
    const { state, starts, counts, numbers, stack, trail } = this;
    if (2 * state[TRAIL_COUNT]! > trail.length) this.followTrail();
    stack.makeRoom(numbers.count, 2);
    this.byDistance = grown(this.byDistance, numbers.count);
    const { byDistance } = this;
    const { cachedPages, cachedFirsts } = numbers;
    const { top, times, lines, gone, tree } = stack;
    const ofRows = [state, sites, addresses, sizes, starts, counts, byDistance];
    const ofLines = [cachedPages, cachedFirsts, top, times, lines, gone, tree, trail];
    return this.native!.takeReferences([...ofRows, ...ofLines], from, to);
  }

  private followTrail(): void {
    const { optimum, state, trail } = this;
    for (let i = 0; i < state[TRAIL_COUNT]!; i++) optimum.refer(trail[i]!);
    if (optimum.isWanted) state[TRAIL_COUNT] = 0;
  }

  /** Time has come to its end: the window that is under way is the last one. */
  end(tick: number): void {
    while (tick > this.windowEnd) this.endWindow();
    if (tick > this.windowEnd - this.options.windowTicks) this.endWindow();
  }

  private endWindow(): void {
    const { state } = this;
    this.windows.push(state[IN_WINDOW]!);
    state[IN_WINDOW] = 0;
    this.windowEnd += this.options.windowTicks;
    // Even the line on top is not of the next window yet.
    state[LAST_LOW] = state[LAST_HIGH] = -1;
  }

  private takeRows(
    words: Uint32Array,
    sites: Uint32Array,
    sizes: Uint16Array,
    from: number,
    to: number,
  ): void {
    const { lineBits } = this.options;
    const most = 1 << lineBits;
    const { starts, state } = this;
    for (let i = from; i < to; i++) {
      const site = sites[i]!;
      let start = starts[site]!;
      if (start < 0) {
        if (start === UNKNOWN) start = this.startOf(site);
        if (start === UNWANTED) continue;
      }
      const low = words[2 * i]!;
      const high = words[2 * i + 1]!;
      const size = sizes[site]!;
      if ((low & (most - 1)) + size > most) this.referToSeveral(low, high, size, start);
      else if (low >>> lineBits === state[LAST_LOW] && high === state[LAST_HIGH])
        this.counts[start]!++;
      else this.refer(low, high, start);
    }
  }

  private startOf(site: number): number {
    const row = this.options.rowOf(site);
    const start = row < 0 ? UNWANTED : ROW_SIZE * row;
    this.counts = grown(this.counts, start + ROW_SIZE);
    return (this.starts[site] = start);
  }

  private referToSeveral(low: number, high: number, size: number, start: number): void {
    const lineBytes = 1 << this.options.lineBits;
    const end = (low & (lineBytes - 1)) + size;
    const first = low - (low & (lineBytes - 1));
    this.counts[start + SPANS]! += Math.ceil(end / lineBytes) - 1;
    for (let at = 0; at < end; at += lineBytes) {
      const next = first + at;
      if (next < 2 ** 32) this.refer(next, high, start);
      else this.refer(next - 2 ** 32, high + 1, start);
    }
  }

  private refer(low: number, high: number, start: number): void {
    const { state } = this;
    state[LAST_LOW] = low >>> this.options.lineBits;
    state[LAST_HIGH] = high;
    const line = this.numbers.of(low, high);
    const distance = this.stack.refer(line);
    if (this.optimum.isWanted) {
      if (state[TRAIL_COUNT] === TRAIL) this.followTrail();
      this.trail[state[TRAIL_COUNT]!++] = line;
    }
    if (distance === COLD) {
      state[IN_WINDOW]!++;
      this.counts[start + COLD_BIN]!++;
      return;
    }
    if (distance >= state[IN_WINDOW]!) state[IN_WINDOW]!++;
    this.counts[start + binOf(distance)]!++;
    if (distance > 0) this.countExactly(distance);
  }

  private countExactly(distance: number): void {
    if (distance >= this.byDistance.length) this.byDistance = grown(this.byDistance, distance + 1);
    this.byDistance[distance]!++;
  }
}

/** The first place from `from` on, or `to`, where rising ticks are no less than a tick. */
function firstAtOrAfter(ticks: BigUint64Array, tick: bigint, from: number, to: number): number {
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (ticks[middle]! < tick) from = middle + 1;
    else to = middle;
  }
  return from;
}
