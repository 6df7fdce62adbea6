/** What happened to lines between cores: counts by thread, and by place, site, offset and thread. */
import { ANY_MISS, OUTCOME } from './coherence.js';

/** Events that a place and its sites are charged with: misses of true and false sharing, and what the protocol sends. */
const [TRUE, FALSE, UPGRADE, INTERVENTION, INVALIDATION] = [0, 1, 2, 3, 4];
const EVENTS = 5;

/** What one thread's accesses led to. */
export interface ThreadCounts {
  readonly thread: number;
  readonly core: number;
  /** While several threads lived. */
  instructions: number;
  accesses: number;
  /** Lines fetched that the core had never had, and that it had replaced. */
  cold: number;
  capacity: number;
  readonly events: Float64Array;
  invalidationsReceived: number;
}

/** Accesses of one thread by one site at one offset of a place. */
export interface Cell {
  readonly place: number;
  readonly site: number;
  readonly offset: number;
  readonly thread: number;
  readonly events: Float64Array;
}

/** Cells that are told apart: others are counted by thread only. */
const MOST_CELLS = 1 << 20;

export class SharingCounts {
  readonly threads = new Map<number, ThreadCounts>();
  readonly cells: Cell[] = [];
  /** By place: numbers of its cells, by site, offset and thread. */
  private readonly numbers = new Map<number, Map<number, number>>();
  /** Of cells beyond `MOST_CELLS`, by thread. */
  private readonly others = new Map<number, number>();

  of(thread: number, core: number): ThreadCounts {
    let own = this.threads.get(thread);
    if (!own) {
      const events = new Float64Array(EVENTS);
      const counts = { instructions: 0, accesses: 0, cold: 0, capacity: 0 };
      own = { thread, core, ...counts, events, invalidationsReceived: 0 };
      this.threads.set(thread, own);
    }
    return own;
  }

  /** Lines of an access that were not shared, or not in this event. */
  count(own: ThreadCounts, outcome: number): void {
    if (outcome & OUTCOME.cold) own.cold++;
    else if (outcome & OUTCOME.capacity) own.capacity++;
  }

  /**
   * An access that another core had to do with.
   * @param invalidations - how many cores lost the line
   * @returns the number of its cell, to say later if its sharing was true
   */
  event(
    own: ThreadCounts,
    outcome: number,
    invalidations: number,
    place: number,
    site: number,
    offset: number,
  ): number {
    this.count(own, outcome);
    const number = this.cellOf(place, site, offset, own.thread);
    const add = (event: number, by = 1): void => {
      own.events[event]! += by;
      this.cells[number]!.events[event]! += by;
    };
    if (outcome & OUTCOME.isTrue) add(TRUE);
    if (outcome & OUTCOME.upgrade) add(UPGRADE);
    if (outcome & OUTCOME.intervention) add(INTERVENTION);
    if (invalidations > 0) add(INVALIDATION, invalidations);
    return number;
  }

  /** Whether the sharing of a miss was true. */
  settled(number: number, isTrue: boolean): void {
    const { thread, events } = this.cells[number]!;
    const event = isTrue ? TRUE : FALSE;
    events[event]!++;
    this.threads.get(thread)!.events[event]!++;
  }

  private cellOf(place: number, site: number, offset: number, thread: number): number {
    let numbers = this.numbers.get(place);
    if (!numbers) this.numbers.set(place, (numbers = new Map()));
    const key = (site * 64 + offset) * 0x1_0000 + thread;
    let number = numbers.get(key);
    if (number !== undefined) return number;
    const isFull = this.cells.length >= MOST_CELLS;
    number = isFull ? this.others.get(thread) : undefined;
    if (number !== undefined) return number;
    const cell = isFull
      ? { place: -1, site: -1, offset: 0, thread }
      : { place, site, offset, thread };
    number = this.cells.push({ ...cell, events: new Float64Array(EVENTS) }) - 1;
    if (isFull) this.others.set(thread, number);
    else numbers.set(key, number);
    return number;
  }
}

/** Whether other cores had to do with an access of a shared line. */
export const concernsOthers = (outcome: number): boolean =>
  (outcome & ~(ANY_MISS & ~OUTCOME.coherence)) !== 0;
