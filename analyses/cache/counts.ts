/**
 * What a replay that simulated caches has counted: events of each instruction, by Cachegrind's names, and sums of them.
 * Counts are of executions, so they stay below 2^53.
 */
import { COUNTERS_WORDS, isGuarded, type CacheGuest } from '../../replay/cache-guest.js';
import { GUARDED } from '../../replay/code-tables.js';
import { wordsOf } from '../../replay/event-cursor.js';
import { grown } from '../../replay/grown.js';
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
const FIRST_EVENT = [EVENT.Ir, EVENT.Dr, EVENT.Dw, EVENT.Bc, EVENT.Bi];
/** By the same: misses of the second level, of the TLB, of the second TLB. */
const MODEL_EVENTS = [
  [EVENT.I2mr],
  [EVENT.D2mr, EVENT.DTmr, EVENT.STmr],
  [EVENT.D2mw, EVENT.DTmw, EVENT.STmw],
];
/** Kinds that have no last level. */
const FIRST_BRANCH = 3;

const HIGH = 2 ** 32;

/** Reads the counters of all sites, and adds them up to so many rows, as `add` says: the row of a site. */
function addUp(
  cache: CacheGuest,
  segments: SegmentTable,
  model: Model | undefined,
  rows: number,
  add: (site: number) => number,
): Float64Array {
  const { sites } = cache;
  const counters = cache.counters();
  const executions = new Uint32Array(
    segments.executions.buffer,
    segments.executions.byteOffset,
    2 * segments.count,
  );
  const sums = new Float64Array(EVENT_COUNT * rows);
  for (let site = 0; site < sites.count; site++) {
    const kind = sites.kinds[site]!;
    const at = COUNTERS_WORDS * site;
    const segment = 2 * sites.segments[site]!;
    const executed = isGuarded(kind)
      ? counters[at + 4]! + HIGH * counters[at + 5]!
      : executions[segment]! + HIGH * executions[segment + 1]!;
    const isBranch = (kind & ~GUARDED) >= FIRST_BRANCH;
    const modelled = isBranch ? undefined : model;
    const misses = modelled
      ? modelled.misses(site, 'first')
      : counters[at]! + HIGH * counters[at + 1]!;
    // An instruction that was interrupted is fetched, but its segment is not counted.
    if (executed === 0 && misses === 0) continue;
    const row = EVENT_COUNT * add(site);
    const first = row + FIRST_EVENT[kind & ~GUARDED]!;
    sums[first]! += executed;
    sums[first + 1]! += misses;
    if (isBranch) continue;
    sums[first + 2]! += modelled
      ? modelled.misses(site, 'last')
      : counters[at + 2]! + HIGH * counters[at + 3]!;
    if (!modelled) continue;
    const [second, tlb, walk] = MODEL_EVENTS[kind & ~GUARDED]!;
    sums[row + second!]! += modelled.misses(site, 'second');
    if (tlb !== undefined) sums[row + tlb]! += modelled.misses(site, 'tlb');
    if (walk !== undefined) sums[row + walk]! += modelled.misses(site, 'walk');
  }
  return sums;
}

/** Sums over all of the program. */
export const totalsOf = (cache: CacheGuest, segments: SegmentTable, model?: Model): Float64Array =>
  addUp(cache, segments, model, 1, () => 0);

/** The same of what is known of all instructions. */
export function totalsOfAll({ pcs, events }: InstructionCounts): Float64Array {
  const totals = new Float64Array(EVENT_COUNT);
  for (let at = 0; at < EVENT_COUNT * pcs.length; at += EVENT_COUNT)
    for (let i = 0; i < EVENT_COUNT; i++) totals[i]! += events[at + i]!;
  return totals;
}

/** Instructions with their events, as columns: those of instruction `i` begin at `events[EVENT_COUNT * i]`. */
export interface InstructionCounts {
  readonly pcs: BigUint64Array;
  readonly events: Float64Array;
}

/** Sums by address of the instruction: code that was translated several times counts together. */
export function countsByInstruction(
  cache: CacheGuest,
  segments: SegmentTable,
  model?: Model,
): InstructionCounts {
  const { sites } = cache;
  const pcs = new BigUint64Array(sites.count);
  const words = wordsOf(pcs);
  let count = 0;
  // Open addressing: number of the instruction + 1, 0 when free.
  const slots = new Uint32Array(1 << (33 - Math.clz32(Math.max(sites.count, 8))));
  // Sites of an instruction mostly stand together.
  let [lastLow, lastHigh, last] = [-1, -1, -1];
  const events = addUp(cache, segments, model, sites.count, (site) => {
    const low = sites.pcs[site]!;
    const high = sites.pcsHigh[site]!;
    if (low === lastLow && high === lastHigh) return last;
    const hash = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1);
    let slot = (hash ^ (hash >>> 15)) & (slots.length - 1);
    lastLow = low;
    lastHigh = high;
    for (; slots[slot]; slot = (slot + 1) & (slots.length - 1)) {
      last = slots[slot]! - 1;
      if (words[2 * last] === low && words[2 * last + 1] === high) return last;
    }
    last = count;
    words[2 * count] = low;
    words[2 * count + 1] = high;
    slots[slot] = ++count;
    return last;
  });
  return { pcs: pcs.slice(0, count), events };
}

/** Sums of rows of `events` by a key. */
export class EventSums<K> {
  readonly keys: K[] = [];
  events = new Float64Array(EVENT_COUNT * 64);
  private readonly numbers = new Map<unknown, number>();

  /** The number of a key, new ones in order of appearance. @param identity equal for equal keys */
  numberOf(identity: unknown, key: () => K): number {
    let number = this.numbers.get(identity);
    if (number === undefined) {
      this.numbers.set(identity, (number = this.keys.length));
      this.keys.push(key());
      this.events = grown(this.events, EVENT_COUNT * this.keys.length);
    }
    return number;
  }

  /** Adds the row of `events` that begins at `from` to those of a key. */
  add(number: number, events: Float64Array, from: number): void {
    const to = EVENT_COUNT * number;
    const sums = this.events;
    for (let i = 0; i < EVENT_COUNT; i++) sums[to + i]! += events[from + i]!;
  }

  /** Events of a key by its number. */
  row(number: number): Float64Array {
    return this.events.subarray(EVENT_COUNT * number, EVENT_COUNT * (number + 1));
  }

  /** Numbers of keys, those with most of the first event first; of equals, with most of the next. */
  order(...by: readonly EventName[]): number[] {
    const { events } = this;
    const places = by.map((name) => EVENT[name]);
    const compare = (a: number, b: number): number => {
      for (let i = 0; i < places.length; i++) {
        const less = events[EVENT_COUNT * b + places[i]!]! - events[EVENT_COUNT * a + places[i]!]!;
        if (less !== 0) return less;
      }
      return a - b;
    };
    return [...this.keys.keys()].sort(compare);
  }
}
