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
 *
 * What is remembered is bounded by the memory that the program touched, not by how long it ran: a closure begins at
 * accesses that the history remembers, and goes on to ticks that it finds in entries, so entries that are the last before
 * none of these ticks are dropped (`sweep`).
 */

/** By slot of a thread (clocks.ts): how far it has come. Slots beyond the end: it has done nothing. */
export type Bounds = readonly number[];

/**
 * What is known of the order of a slot's present and other threads: in arrays that `replay/native/history.h` reads, too, and
 * that are replaced as they grow.
 */
export interface Requirements {
  /** From `NEEDS` on by slot, how far others must have come; before that two ticks and two other numbers. */
  readonly needs: Float64Array;
  /** By slot, an epoch: the writes of epochs up to it are required. */
  readonly reads: Uint32Array;
}
/** In `needs`: tick since when nothing was remembered of the thread; and since when it requires what it does now. */
export const SINCE = 0;
export const REQUIRED = 1;
/** Then a number that goes up with what it requires, and whether it has stored in its present epoch. */
export const KNOWLEDGE = 2;
export const STORED = 3;
export const NEEDS = 4;

/** Calls back with the accesses that are remembered. */
export type EachAccess = (visit: (slot: number, tick: number, isStore: boolean) => void) => void;

/** From taking a lock to letting it go. */
interface Section {
  readonly slot: number;
  readonly lock: Lock;
  readonly acquired: number;
  readonly writes: boolean;
  released: number;
  depth: number;
}

/** Sections that a thread is in, as a list. */
interface Held {
  readonly section: Section;
  readonly next: Held | undefined;
}

interface Lock {
  readonly address: number;
  /** By slot, ticks at which it was taken; and taken for writing. */
  readonly acquired: number[][];
  readonly acquiredToWrite: number[][];
  /** One for each slot that holds it, mostly none or one. */
  readonly held: Section[];
  /** What is required to take it, once a thread has let it go that did not hold it. */
  order?: number[];
}

/** Values in order of the ticks since when they hold. */
class Log<T> {
  readonly ticks: number[] = [];
  readonly values: T[] = [];

  add(tick: number, value: T): void {
    this.ticks.push(tick);
    this.values.push(value);
  }

  /** Number of the last entry up to a tick, or -1. */
  indexAt(tick: number): number {
    return after(this.ticks, tick) - 1;
  }

  at(tick: number): T | undefined {
    return this.values[this.indexAt(tick)];
  }

  clear(): void {
    this.ticks.length = this.values.length = 0;
  }
}

/** Last entries of a log that may be in force: what an access adds holds after it only. */
const LATEST = 2;

/** What the threads of a slot did. */
class SlotLog implements Requirements {
  /** What others must have done before what follows. */
  readonly required = new Log<Bounds>();
  readonly held = new Log<Held | undefined>();
  /** When epochs with stores ended, and the number of the present one. */
  readonly ends: number[] = [];
  epoch = 0;
  needs = new Float64Array(NEEDS + 8);
  reads = new Uint32Array(8);

  clear(): void {
    this.required.clear();
    this.held.clear();
    this.ends.length = 0;
    const knowledge = this.needs[KNOWLEDGE]!;
    this.needs.fill(0);
    this.needs[KNOWLEDGE] = knowledge + 1;
    this.reads.fill(0);
  }

  /** How far another slot must have come. */
  need(slot: number): number {
    return this.needs[NEEDS + slot] ?? 0;
  }

  require(tick: number, bounds: Bounds, isKept: boolean): void {
    if (!isKept) this.required.clear();
    this.required.add(tick, bounds);
    if (NEEDS + bounds.length > this.needs.length)
      this.needs = larger(this.needs, new Float64Array(NEEDS + 2 * bounds.length));
    this.needs.set(bounds, NEEDS);
    this.needs[REQUIRED] = this.needs[SINCE] = tick;
    this.needs[KNOWLEDGE]!++;
  }

  hold(tick: number, held: Held | undefined, isKept: boolean): void {
    if (!isKept) this.held.clear();
    this.held.add(tick, held);
    this.needs[SINCE] = tick;
  }

  hasRead(writer: number, epoch: number): void {
    if (writer >= this.reads.length)
      this.reads = larger(this.reads, new Uint32Array(2 * (writer + 1)));
    if (epoch > this.reads[writer]!) this.reads[writer] = epoch;
  }

  get size(): number {
    return this.required.ticks.length + this.held.ticks.length + this.ends.length;
  }
}

function larger<T extends Float64Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

const NOTHING: Bounds = [];

/** Index of the first number that is larger, in an ascending list. */
function after(list: readonly number[], value: number): number {
  let high = list.length;
  if (high === 0 || list[high - 1]! <= value) return high;
  let low = 0;
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
  /** The one that was asked for last, as mostly the same is again. */
  private latest: Lock | undefined;
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
    const sections = [...this.locks.values()].flatMap(({ held }) => held);
    this.locks.clear();
    this.latest = undefined;
    for (const log of this.slots) log.clear();
    for (const { slot, acquired, writes, lock, depth } of sections) {
      this.acquire(slot, lock.address, acquired, writes);
      sectionOf(this.lock(lock.address), slot)!.depth = depth;
    }
  }

  /** What is known of the order of a slot's present. */
  known(slot: number): Requirements {
    return this.log(slot);
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

  /** As `signal` once more, when the thread has required nothing new since then. */
  signalAgain(slot: number, object: number, tick: number): void {
    const needs = this.objects.get(object);
    if (needs) needs[slot] = Math.max(needs[slot] ?? 0, tick);
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
    const reached = [...(this.log(slot).required.at(tick) ?? NOTHING)];
    while (reached.length <= slot) reached.push(0);
    reached[slot] = tick;
    return reached;
  }

  /** What a thread does from a tick on requires that threads have come so far. */
  require(slot: number, needs: Bounds, tick: number): void {
    const log = this.log(slot);
    if (!needs.some((bound, other) => other !== slot && bound > log.need(other))) return;
    log.require(tick, joined(log.required.values.at(-1) ?? NOTHING, needs), this.isOn);
  }

  /** Accesses of the thread so far are of another epoch than those from now on, which has this number. */
  endEpoch(slot: number, epoch: number, tick: number): void {
    const log = this.log(slot);
    if (this.isOn && epoch !== log.epoch && log.needs[STORED]) {
      log.ends.push(tick);
      log.needs[STORED] = 0;
    }
    log.epoch = epoch;
  }

  /** The same of several epochs; `ends` are of those with stores. */
  endEpochs(slot: number, epoch: number, ends: Float64Array): void {
    const log = this.log(slot);
    for (const end of ends) log.ends.push(end);
    log.epoch = epoch;
  }

  /** An instruction reads what another thread wrote in an epoch, to which the instruction `written` belongs. */
  readFrom(slot: number, tick: number, writer: number, epoch: number, written: number): void {
    const { ends } = this.log(writer);
    const end = ends[after(ends, written)];
    const bound = Math.min(end ?? tick, tick);
    const log = this.log(slot);
    if (log.need(writer) < bound) this.require(slot, this.reached(writer, bound), tick + 1);
    if (bound === end) log.hasRead(writer, epoch);
  }

  // ---- Locks ----

  acquire(slot: number, address: number, tick: number, writes: boolean): void {
    const lock = this.lock(address);
    const own = sectionOf(lock, slot);
    if (own) {
      own.depth++;
      return;
    }
    if (lock.order) this.require(slot, lock.order, tick);
    const section = { slot, lock, acquired: tick, writes, released: Infinity, depth: 1 };
    lock.held.push(section);
    (lock.acquired[slot] ??= []).push(tick);
    if (writes) (lock.acquiredToWrite[slot] ??= []).push(tick);
    const log = this.log(slot);
    log.hold(tick, { section, next: log.held.values.at(-1) }, this.isOn);
  }

  release(slot: number, address: number, tick: number): void {
    const lock = this.lock(address);
    const own = sectionOf(lock, slot);
    if (own) {
      if (--own.depth === 0) this.end(own, tick);
    } else {
      lock.order = joined(lock.order ?? NOTHING, this.reached(slot, tick));
      for (const section of [...lock.held]) this.end(section, tick);
    }
    if (lock.order) lock.order = joined(lock.order, this.reached(slot, tick));
  }

  /** Nobody holds the lock, and to take it requires nothing. */
  isFree(address: number): boolean {
    const { held, order } = this.lock(address);
    return held.length === 0 && !order;
  }

  isHeld(address: number): boolean {
    return (this.locks.get(address)?.held.length ?? 0) > 0;
  }

  /** A thread tried to take a lock, which others held. */
  fail(slot: number, address: number, tick: number): void {
    for (const { slot: holder, acquired } of this.lock(address).held)
      if (holder !== slot) this.require(slot, this.reached(holder, acquired), tick);
  }

  private end(section: Section, tick: number): void {
    const { slot } = section;
    const { held } = section.lock;
    section.released = tick;
    if (held.length === 1) held.length = 0;
    else held.splice(held.indexOf(section), 1);
    if (!this.isOn) section.lock.acquired.length = section.lock.acquiredToWrite.length = 0;
    const log = this.log(slot);
    log.hold(tick, without(log.held.values.at(-1), section), this.isOn);
  }

  // ---- Prediction ----

  /** Whether in every schedule the instruction at `earlier` comes before what the other thread does at `later`. */
  isOrdered(slot: number, earlier: number, other: number, later: number): boolean {
    return (this.log(other).required.at(later)?.[slot] ?? 0) > earlier;
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
        const needs = this.slots[which]!.required.at(bounds[which]!) ?? NOTHING;
        needs.forEach((bound, needed) => raise(needed, bound));
      }
      if (bounds[slot]! > earlier || bounds[other]! > later) return undefined;
      if (bounds.includes(Infinity)) return undefined;
      this.slots.forEach((log, which) => {
        for (let held = log.held.at(bounds[which]!); held; held = held.next)
          if (isTakenLater(held.section, which, bounds)) raise(which, held.section.released);
      });
    }
    return bounds;
  }

  // ---- What is remembered ----

  /** Entries that are remembered. */
  get size(): number {
    return this.slots.reduce((sum, log) => sum + log.size, 0);
  }

  /** Drops the entries that no question can lead to any more. */
  sweep(eachAccess: EachAccess): void {
    const marks = this.slots.map(({ required, held, ends }) => ({
      required: new Uint8Array(required.ticks.length),
      held: new Uint8Array(held.ticks.length),
      ends: new Uint8Array(ends.length),
    }));
    const found: number[] = [];
    const reach = (slot: number, tick: number): void => {
      const { required, held } = this.slots[slot]!;
      const requirement = required.indexAt(tick);
      if (requirement >= 0 && !marks[slot]!.required[requirement]) {
        marks[slot]!.required[requirement] = 1;
        required.values[requirement]!.forEach((bound, other) => found.push(other, bound));
      }
      const hold = held.indexAt(tick);
      if (hold < 0 || marks[slot]!.held[hold]) return;
      marks[slot]!.held[hold] = 1;
      for (let one = held.values[hold]; one; one = one.next) found.push(slot, one.section.released);
    };
    const reachAll = (bounds: Bounds): void => bounds.forEach((bound, slot) => reach(slot, bound));
    this.slots.forEach(({ required, held }, slot) => {
      reach(slot, this.start);
      for (const { ticks } of [required, held])
        for (const tick of ticks.slice(-LATEST)) reach(slot, tick);
    });
    for (const bounds of this.objects.values()) reachAll(bounds);
    for (const { order, held } of this.locks.values()) {
      if (order) reachAll(order);
      for (const { slot, acquired } of held) reach(slot, acquired);
    }
    eachAccess((slot, tick, isStore) => {
      reach(slot, tick);
      const { ends } = this.log(slot);
      const end = isStore ? after(ends, tick) : ends.length;
      if (end === ends.length) return;
      marks[slot]!.ends[end] = 1;
      reach(slot, ends[end]!);
    });
    while (found.length > 0) {
      const tick = found.pop()!;
      reach(found.pop()!, tick);
    }
    this.slots.forEach(({ required, held, ends }, slot) => {
      keepMarked(marks[slot]!.required, required.ticks, required.values);
      keepMarked(marks[slot]!.held, held.ticks, held.values);
      keepMarked(marks[slot]!.ends, ends);
    });
    for (const { acquired, acquiredToWrite } of this.locks.values())
      for (const lists of [acquired, acquiredToWrite])
        lists.forEach((ticks, slot) => keepLast(ticks, this.slots[slot]!.held.ticks));
  }

  private lock(address: number): Lock {
    if (this.latest?.address === address) return this.latest;
    let lock = this.locks.get(address);
    if (!lock) {
      lock = { address, acquired: [], acquiredToWrite: [], held: [] };
      this.locks.set(address, lock);
    }
    return (this.latest = lock);
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

function sectionOf({ held }: Lock, slot: number): Section | undefined {
  for (const section of held) if (section.slot === slot) return section;
  return undefined;
}

function without(held: Held | undefined, section: Section): Held | undefined {
  if (held?.section === section) return held.next;
  const inner: Section[] = [];
  for (; held && held.section !== section; held = held.next) inner.push(held.section);
  let list = held?.next;
  while (inner.length > 0) list = { section: inner.pop()!, next: list };
  return list;
}

/** Keeps the values of lists that have a mark. */
function keepMarked(marks: Uint8Array, ...lists: unknown[][]): void {
  for (const list of lists) {
    let count = 0;
    for (let i = 0; i < list.length; i++) if (marks[i]) list[count++] = list[i];
    list.length = count;
  }
}

/** Of an ascending list, the last number up to each of some limits, which ascend too. */
function keepLast(list: number[], limits: readonly number[]): void {
  let count = 0;
  let limit = 0;
  for (let i = 0; i < list.length; i++) {
    while (limit < limits.length && limits[limit]! < list[i]!) limit++;
    if (limit < limits.length && !(list[i + 1]! <= limits[limit]!)) list[count++] = list[i]!;
  }
  list.length = count;
}

function joined(a: Bounds, b: Bounds): number[] {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, slot) =>
    Math.max(a[slot] ?? 0, b[slot] ?? 0),
  );
}
