/**
 * Races of other schedules: sync-preserving prediction after Mathur, Pavlogiannis and Viswanathan, "Optimal
 * prediction of synchronization-preserving races" (POPL 2021). Two accesses race in another schedule if
 * the threads can be brought to both, so that each of them is next, by running of each thread a beginning of what it did,
 * in the recorded order: every read must see the write that it saw, whatever waited for another thread must find it so
 * far, and a lock must be let go before another thread's acquisition that was later. What must have been
 * run is the least such set, the closure of what comes before the two accesses; they race if neither is in it.
 *
 * A set is told by how far each thread has come, a tick for each (`Bounds`): its instructions with smaller
 * ticks, and its events up to that tick. Everything but locks is order that no schedule turns round:
 * creation and end of threads, semaphores, condition variables, barriers, annotations, variables that are learned to
 * synchronise, and reads of what another thread wrote. It is followed while the trace is read (`needs`), so
 * that a closure takes a few look-ups for each lock that is held. Where it is not known which of a thread's
 * writes a read saw, for only the first of an epoch is told of, it is taken to be the last possible
 * one; where a lock is used in ways that are not a critical section, its operations are ordered as they were. Both
 * can only hide races.
 */

/** By slot of a thread (clocks.ts): how far it has come. Slots beyond the end: it has done nothing. */
export type Bounds = readonly number[];

/** From taking a lock to letting it go. */
interface Section {
  readonly lock: Lock;
  readonly acquired: number;
  readonly writes: boolean;
  released: number;
  depth: number;
}

interface Lock {
  readonly address: number;
  /** By slot, ticks at which it was taken; and taken for writing. */
  readonly acquired: number[][];
  readonly acquiredToWrite: number[][];
  readonly held: Map<number, Section>;
  /** What is required to take it, once a thread has let it go that did not hold it. */
  order?: number[];
}

/** What the threads of a slot did, as entries in order of ticks. */
class SlotLog {
  readonly ticks: number[] = [];
  /** What others must have done before what follows the entry. */
  readonly needs: Bounds[] = [];
  readonly held: (readonly Section[])[] = [];
  /** When epochs ended. */
  readonly ends: number[] = [];

  /** Number of the last entry up to a tick, or -1. */
  at(tick: number): number {
    return after(this.ticks, tick) - 1;
  }

  needsAt(tick: number): Bounds {
    return this.needs[this.at(tick)] ?? NOTHING;
  }

  add(tick: number, needs: Bounds, held: readonly Section[], isKept: boolean): void {
    if (!isKept) this.ticks.length = this.needs.length = this.held.length = this.ends.length = 0;
    this.ticks.push(tick);
    this.needs.push(needs);
    this.held.push(held);
  }
}

const NOTHING: Bounds = [];

/** Index of the first number that is larger, in an ascending list. */
function after(list: readonly number[], value: number): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The recorded order of events, and what other orders there could have been. */
export class Predictor {
  private readonly slots: SlotLog[] = [];
  private readonly locks = new Map<number, Lock>();
  /** What is required by waiting for an object. */
  private readonly objects = new Map<number, number[]>();
  private isOn = false;
  /** What was done before comes before all else. */
  private start = 0;

  /** Begins to remember, or forgets all but which locks are held: there is one thread only. */
  turn(on: boolean, tick: number): void {
    this.isOn = on;
    this.start = tick;
    this.objects.clear();
    const sections = [...this.locks.values()].flatMap(({ held }) => [...held]);
    this.locks.clear();
    for (const log of this.slots) log.add(0, NOTHING, [], false);
    for (const [slot, { acquired, writes, lock, depth }] of sections) {
      this.acquire(slot, lock.address, acquired, writes);
      this.lock(lock.address).held.get(slot)!.depth = depth;
    }
  }

  // ---- Order that no schedule turns round ----

  /** What a thread does from a tick on requires what another one did up to then. */
  follow(slot: number, other: number, tick: number): void {
    if (slot !== other) this.require(slot, this.reached(other, tick), tick);
  }

  /** What follows waiting for an object requires what the thread did until now. */
  signal(slot: number, object: number, tick: number): void {
    if (!this.isOn) return;
    this.objects.set(object, joined(this.objects.get(object) ?? NOTHING, this.reached(slot, tick)));
  }

  await(slot: number, object: number, tick: number): void {
    const needs = this.objects.get(object);
    if (needs) this.require(slot, needs, tick);
  }

  forgetObject(object: number): void {
    this.objects.delete(object);
  }

  /** What a thread has done and what that required. */
  reached(slot: number, tick: number): number[] {
    const reached = [...this.log(slot).needsAt(tick)];
    while (reached.length <= slot) reached.push(0);
    reached[slot] = tick;
    return reached;
  }

  /** What a thread does from a tick on requires that threads have come so far. */
  require(slot: number, needs: Bounds, tick: number): void {
    const log = this.log(slot);
    const now = log.needs.at(-1) ?? NOTHING;
    if (needs.some((bound, other) => other !== slot && bound > (now[other] ?? 0)))
      log.add(tick, joined(now, needs), log.held.at(-1) ?? [], this.isOn);
  }

  /** Accesses of the thread so far are of another epoch than those from now on. */
  endEpoch(slot: number, tick: number): void {
    if (this.isOn) this.log(slot).ends.push(tick);
  }

  /** Tick since when nothing was remembered of a thread. */
  since(slot: number): number {
    return this.log(slot).ticks.at(-1) ?? 0;
  }

  /** An instruction reads what another thread wrote in the epoch to which the instruction `written` belongs. */
  readFrom(slot: number, tick: number, writer: number, written: number): void {
    const { ends } = this.log(writer);
    const bound = Math.min(ends[after(ends, written)] ?? tick, tick);
    if ((this.log(slot).needs.at(-1)?.[writer] ?? 0) >= bound) return;
    this.require(slot, this.reached(writer, bound), tick + 1);
  }

  // ---- Locks ----

  acquire(slot: number, address: number, tick: number, writes: boolean): void {
    const lock = this.lock(address);
    const own = lock.held.get(slot);
    if (own) {
      own.depth++;
      return;
    }
    if (lock.order) this.require(slot, lock.order, tick);
    const section = { lock, acquired: tick, writes, released: Infinity, depth: 1 };
    lock.held.set(slot, section);
    (lock.acquired[slot] ??= []).push(tick);
    if (writes) (lock.acquiredToWrite[slot] ??= []).push(tick);
    const log = this.log(slot);
    const held = [...(log.held.at(-1) ?? []), section];
    log.add(tick, log.needs.at(-1) ?? NOTHING, held, this.isOn);
  }

  release(slot: number, address: number, tick: number): void {
    const lock = this.lock(address);
    const own = lock.held.get(slot);
    if (own) {
      if (--own.depth === 0) this.end(slot, own, tick);
    } else {
      lock.order = joined(lock.order ?? NOTHING, this.reached(slot, tick));
      for (const [holder, section] of lock.held) this.end(holder, section, tick);
    }
    if (lock.order) lock.order = joined(lock.order, this.reached(slot, tick));
  }

  isHeld(address: number): boolean {
    return (this.locks.get(address)?.held.size ?? 0) > 0;
  }

  /** A thread tried to take a lock, which others held. */
  fail(slot: number, address: number, tick: number): void {
    for (const [holder, { acquired }] of this.lock(address).held)
      if (holder !== slot) this.require(slot, this.reached(holder, acquired), tick);
  }

  private end(slot: number, section: Section, tick: number): void {
    section.released = tick;
    section.lock.held.delete(slot);
    if (!this.isOn) section.lock.acquired.length = section.lock.acquiredToWrite.length = 0;
    const log = this.log(slot);
    const held = log.held.at(-1)!.filter((other) => other !== section);
    log.add(tick, log.needs.at(-1)!, held, this.isOn);
  }

  // ---- Prediction ----

  /** Whether in every schedule the instruction at `earlier` comes before what the other thread does at `later`. */
  isOrdered(slot: number, earlier: number, other: number, later: number): boolean {
    return (this.log(other).needsAt(later)[slot] ?? 0) > earlier;
  }

  /**
   * Looks for a schedule that brings two threads to two instructions, given by their ticks, the first one
   * the earlier.
   * @returns how far each thread has come then; undefined when there is none that keeps the order of
   * acquisitions
   */
  findSchedule(slot: number, earlier: number, other: number, later: number): Bounds | undefined {
    const bounds = new Array<number>(this.slots.length).fill(this.start);
    const changed = new Set<number>();
    const raise = (which: number, bound: number): void => {
      if (bound <= bounds[which]!) return;
      bounds[which] = bound;
      changed.add(which);
    };
    raise(slot, earlier);
    raise(other, later);
    while (changed.size > 0) {
      for (const which of changed) {
        changed.delete(which);
        this.slots[which]!.needsAt(bounds[which]!).forEach((bound, needed) => raise(needed, bound));
      }
      if (bounds[slot]! > earlier || bounds[other]! > later) return undefined;
      if (bounds.includes(Infinity)) return undefined;
      this.slots.forEach((log, which) => {
        for (const section of log.held[log.at(bounds[which]!)] ?? [])
          if (isTakenLater(section, which, bounds)) raise(which, section.released);
      });
    }
    return bounds;
  }

  private lock(address: number): Lock {
    let lock = this.locks.get(address);
    if (!lock) {
      lock = { address, acquired: [], acquiredToWrite: [], held: new Map() };
      this.locks.set(address, lock);
    }
    return lock;
  }

  private log(slot: number): SlotLog {
    while (this.slots.length <= slot) this.slots.push(new SlotLog());
    return this.slots[slot]!;
  }
}

/** Another thread takes the lock after this section, within the bounds. */
function isTakenLater({ lock, acquired, writes }: Section, slot: number, bounds: Bounds): boolean {
  return (writes ? lock.acquired : lock.acquiredToWrite).some((ticks, other) => {
    if (other === slot) return false;
    const last = after(ticks, bounds[other]!) - 1;
    return last >= 0 && ticks[last]! >= acquired;
  });
}

function joined(a: Bounds, b: Bounds): number[] {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, slot) =>
    Math.max(a[slot] ?? 0, b[slot] ?? 0),
  );
}
