/**
 * What a replay that simulated caches has counted: events of each instruction, by Cachegrind's names, and sums of them.
 * Counts are of executions, so they stay below 2^53.
 */
import { COUNTERS_WORDS, isGuarded, type CacheGuest } from '../../replay/cache-guest.js';
import { GUARDED } from '../../replay/code-tables.js';
import { numberAt, wordsOf } from '../../replay/event-cursor.js';
import { hashOf, makeSlots, nativeRows } from '../../replay/rows.js';
import type { HierarchyShape } from './hierarchy.js';
import type { Model } from './model.js';
import type { SegmentTable } from '../../replay/types.js';

/** Those of caches and branches, in the order in which Cachegrind's files have them; those of the second level, of TLBs. */
export const EVENTS = [
  ...(['Ir', 'I1mr', 'ILmr', 'Dr', 'D1mr', 'DLmr', 'Dw', 'D1mw', 'DLmw'] as const),
  ...(['Bc', 'Bcm', 'Bi', 'Bim'] as const),
  ...(['I2mr', 'D2mr', 'D2mw'] as const),
  ...(['DTmr', 'DTmw', 'STmr', 'STmw'] as const),
] as const;
export type EventName = (typeof EVENTS)[number];
export const EVENT_COUNT = EVENTS.length;
export const EVENT = Object.fromEntries(EVENTS.map((name, i) => [name, i])) as Readonly<
  Record<EventName, number>
>;

/** The events that a simulation has. */
export function eventsOf(branches: boolean, model: Partial<HierarchyShape> = {}): EventName[] {
  const has: readonly [RegExp, unknown][] = [
    [/^B/, branches],
    [/^[ID]2/, model.L2],
    [/^DT/, model.DTLB],
    [/^ST/, model.STLB],
  ];
  return EVENTS.filter((name) => has.every(([those, isThere]) => isThere || !those.test(name)));
}

/** By number of the kind of a cache site: the event of its executions; misses stand after it, then those of the last level. */
const FIRST_EVENT = Uint32Array.of(EVENT.Ir, EVENT.Dr, EVENT.Dw, EVENT.Bc, EVENT.Bi);
/** By the same: misses of the second level, of the TLB, of the second TLB. */
const MODEL_EVENTS = [
  [EVENT.I2mr],
  [EVENT.D2mr, EVENT.DTmr, EVENT.STmr],
  [EVENT.D2mw, EVENT.DTmw, EVENT.STmw],
];
/** Kinds that have no last level. */
const FIRST_BRANCH = 3;

/** As `FIRST_EVENT`: how many levels have misses. */
const MISS_LEVELS = Uint32Array.of(2, 2, 2, 1, 1);

/** Instructions that have run, by number. */
export interface Instructions {
  readonly pcs: BigUint64Array;
  /** By site: number of its instruction; -1 if it has not run. */
  readonly ofSites: Int32Array;
  /** Numbers of those with misses, in order. */
  readonly missing: Uint32Array;
}

/** What the sites of simulated caches have counted. Of a model, which has counted what misses, the module knows nothing. */
export class SiteCounts {
  private readonly counters: Uint32Array;
  private readonly executions: Uint32Array;

  constructor(
    private readonly cache: CacheGuest,
    { executions }: SegmentTable,
    private readonly model?: Model,
  ) {
    this.counters = cache.counters();
    this.executions = wordsOf(executions);
  }

  /** Code that was translated several times is the same instruction. */
  instructions(): Instructions {
    const { sites } = this.cache;
    const pcs = new BigUint64Array(sites.count);
    const ofSites = new Int32Array(sites.count);
    const missed = new Uint8Array(sites.count);
    const native = this.model ? undefined : nativeRows();
    const tables = [sites.pcs, sites.pcsHigh, wordsOf(pcs), ofSites, missed];
    let count = native ? native.numberSites([...this.tables(), ...tables], sites.count) : -1;
    if (count < 0) count = this.numberPlainly(wordsOf(pcs), ofSites, missed);
    return { pcs: pcs.subarray(0, count), ofSites, missing: rowsWithFlag(missed, count) };
  }

  /**
   * Sums of events in so many rows of `EVENT_COUNT`; without `instructions` all are in one.
   * @param rows - by instruction: its row, or -1; absent: its number
   */
  sums(
    rowCount: number,
    instructions?: Instructions,
    rows?: Int32Array | Uint32Array,
  ): Float64Array {
    const { sites } = this.cache;
    const sums = new Float64Array(EVENT_COUNT * rowCount);
    const native = this.model ? undefined : nativeRows();
    if (native) {
      const columns = [...this.tables(), FIRST_EVENT, MISS_LEVELS];
      const tables = [...columns, instructions?.ofSites, rows, sums];
      native.addSites(tables, sites.count, EVENT_COUNT);
    } else
      for (let site = 0; site < sites.count; site++) {
        const number = instructions ? instructions.ofSites[site]! : 0;
        const row = rows && number >= 0 ? rows[number]! : number;
        if (row >= 0) this.addTo(sums, EVENT_COUNT * row, site);
      }
    return sums;
  }

  private tables(): ArrayBufferView[] {
    const { kinds, segments } = this.cache.sites;
    return [kinds, segments, this.counters, this.executions];
  }

  private numberPlainly(words: Uint32Array, ofSites: Int32Array, missed: Uint8Array): number {
    const { sites } = this.cache;
    // Open addressing: number of the instruction + 1, 0 when free.
    const slots = makeSlots(sites.count);
    let count = 0;
    for (let site = 0; site < sites.count; site++) {
      const misses = this.misses(site);
      ofSites[site] = -1;
      // An instruction that was interrupted is fetched, but its segment is not counted.
      if (misses === 0 && this.executed(site) === 0) continue;
      const low = sites.pcs[site]!;
      const high = sites.pcsHigh[site]!;
      let slot = hashOf(low, high) & (slots.length - 1);
      for (; slots[slot]; slot = (slot + 1) & (slots.length - 1)) {
        const other = slots[slot]! - 1;
        if (words[2 * other] === low && words[2 * other + 1] === high) break;
      }
      if (!slots[slot]) {
        words[2 * count] = low;
        words[2 * count + 1] = high;
        slots[slot] = ++count;
      }
      ofSites[site] = slots[slot]! - 1;
      if (misses > 0) missed[ofSites[site]!] = 1;
    }
    return count;
  }

  private executed(site: number): number {
    const { kinds, segments } = this.cache.sites;
    return isGuarded(kinds[site]!)
      ? numberAt(this.counters, (COUNTERS_WORDS / 2) * site + 2)
      : numberAt(this.executions, segments[site]!);
  }

  /** Of the first level, or of a branch. */
  private misses(site: number): number {
    const model = this.isBranch(site) ? undefined : this.model;
    return model
      ? model.misses(site, 'first')
      : numberAt(this.counters, (COUNTERS_WORDS / 2) * site);
  }

  private isBranch(site: number): boolean {
    return (this.cache.sites.kinds[site]! & ~GUARDED) >= FIRST_BRANCH;
  }

  private addTo(sums: Float64Array, row: number, site: number): void {
    const kind = this.cache.sites.kinds[site]! & ~GUARDED;
    const first = row + FIRST_EVENT[kind]!;
    sums[first]! += this.executed(site);
    sums[first + 1]! += this.misses(site);
    if (this.isBranch(site)) return;
    const { model } = this;
    sums[first + 2]! += model
      ? model.misses(site, 'last')
      : numberAt(this.counters, (COUNTERS_WORDS / 2) * site + 1);
    if (!model) return;
    const [second, tlb, walk] = MODEL_EVENTS[kind]!;
    sums[row + second!]! += model.misses(site, 'second');
    if (tlb !== undefined) sums[row + tlb]! += model.misses(site, 'tlb');
    if (walk !== undefined) sums[row + walk]! += model.misses(site, 'walk');
  }
}

function rowsWithFlag(flags: Uint8Array, count: number): Uint32Array {
  const rows: number[] = [];
  for (let row = flags.indexOf(1); row >= 0 && row < count; row = flags.indexOf(1, row + 1))
    rows.push(row);
  return Uint32Array.from(rows);
}

/** Instructions with their events, as columns: those of instruction `i` begin at `events[EVENT_COUNT * i]`. */
export interface InstructionCounts {
  readonly pcs: BigUint64Array;
  readonly events: Float64Array;
}

/** Sums by address of the instruction. */
export function countsByInstruction(
  cache: CacheGuest,
  segments: SegmentTable,
  model?: Model,
): InstructionCounts {
  const counts = new SiteCounts(cache, segments, model);
  const instructions = counts.instructions();
  const { pcs } = instructions;
  return { pcs, events: counts.sums(pcs.length, instructions) };
}

/** Compares rows of `events` by their numbers: those with most of the first event first; of equals, with most of the next. */
export function byMost(
  events: Float64Array,
  ...names: readonly EventName[]
): (a: number, b: number) => number {
  const places = names.map((name) => EVENT[name]);
  return (a, b) => {
    for (let i = 0; i < places.length; i++) {
      const less = events[EVENT_COUNT * b + places[i]!]! - events[EVENT_COUNT * a + places[i]!]!;
      if (less !== 0) return less;
    }
    return a - b;
  };
}
