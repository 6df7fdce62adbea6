/**
 * As if the cores had run at once. Valgrind runs one thread at a time, in long turns, so in the recorded order lines seldom
 * pass between cores. Here what each core did is put together anew: an instruction takes one unit of time on its core, and
 * what happens first comes first, of equals the core with the lower number. Only what orders threads makes a core wait:
 *
 * - who takes a lock waits until nobody on another core holds it; in which order locks are taken is not as recorded;
 * - who waits for a signal of another kind (creation and end of a thread, condition variable, semaphore, barrier) goes on
 *   when all signals have been given that had been given in the recorded execution.
 *
 * Data stay those of the recording; only the order of accesses changes. That is a model: real instructions differ in time,
 * and with another order a program may do other things. Atomic instructions order nothing here.
 *
 * Accesses wait in queues until it is sure that no core does anything before; a core that has nothing to do, as its threads
 * wait in the kernel, is not waited for. If the queues become too long, the core that is behind goes on from where the
 * others are then: so memory is bounded, and what the recorded execution has far apart stays apart.
 */

/** What is done when its time has come. */
export interface ScheduledWork {
  access(core: number, thread: number, site: number, address: number, place: number): void;
  /** The core replaces a line. */
  replace(core: number, line: number): void;
}

/** Kinds of what is in a queue besides accesses, in the place of the site. */
const TAKE = -1;
const TAKE_SHARED = -2;
const LET_GO = -3;
const SIGNAL = -4;
const AWAIT = -5;
const REPLACE = -6;

/** What a core does, in order; a ring that grows. */
class Queue {
  private capacity = 1 << 12;
  private first = 0;
  count = 0;
  private times = new Float64Array(this.capacity);
  /** Address of the access or of what synchronises. */
  private addresses = new Float64Array(this.capacity);
  private sites = new Int32Array(this.capacity);
  /** Place of the access, or how many signals are waited for. */
  private places = new Int32Array(this.capacity);
  private threads = new Uint32Array(this.capacity);

  push(time: number, thread: number, site: number, address: number, place: number): void {
    if (this.count === this.capacity) this.grow();
    const at = (this.first + this.count++) & (this.capacity - 1);
    this.times[at] = time;
    this.addresses[at] = address;
    this.sites[at] = site;
    this.places[at] = place;
    this.threads[at] = thread;
  }

  get time(): number {
    return this.times[this.first]!;
  }
  get address(): number {
    return this.addresses[this.first]!;
  }
  get site(): number {
    return this.sites[this.first]!;
  }
  get place(): number {
    return this.places[this.first]!;
  }
  get thread(): number {
    return this.threads[this.first]!;
  }

  drop(): void {
    this.first = (this.first + 1) & (this.capacity - 1);
    this.count--;
  }

  private grow(): void {
    const turned = <T extends Float64Array | Int32Array | Uint32Array>(old: T): T => {
      const larger = new (old.constructor as new (length: number) => T)(2 * this.capacity);
      larger.set(old.subarray(this.first) as never);
      larger.set(old.subarray(0, this.first) as never, this.capacity - this.first);
      return larger;
    };
    this.times = turned(this.times);
    this.addresses = turned(this.addresses);
    this.sites = turned(this.sites);
    this.places = turned(this.places);
    this.threads = turned(this.threads);
    this.first = 0;
    this.capacity *= 2;
  }
}

interface Core {
  readonly queue: Queue;
  /** Instructions that they have executed so far. */
  clock: number;
  /** What the time of the schedule is ahead of these. */
  shift: number;
  /** Threads that live and do not wait in the kernel. */
  busy: number;
}

interface Lock {
  /** The core of the thread that holds it to write, or -1. */
  core: number;
  depth: number;
  /** By core: how many of its threads hold it to read. */
  readonly readers: Map<number, number>;
}

/** Entries of all queues: a hundred megabytes. */
const MOST_ENTRIES = 1 << 22;
/** The schedule goes on when so many have come. */
const ENTRIES_AT_ONCE = 1 << 14;

export class ParallelSchedule {
  private readonly cores: readonly Core[];
  private readonly locks = new Map<number, Lock>();
  /** Signals that were given: in the recorded execution so far, and in the schedule. */
  private readonly recorded = new Map<number, number>();
  private readonly given = new Map<number, number>();
  private entries = 0;
  private fresh = 0;
  /** The core whose thread runs, or -1; and the clock of that core less the tick. */
  private running = -1;
  private base = 0;
  /** A core may go on by itself up to this time. */
  private limit = 0;
  /** Time of what was done last. */
  private now = 0;
  /** How often a core went on though what it waited for had not come: cores waited for each other. */
  cuts = 0;
  /** How often queues became too long. */
  overflows = 0;

  constructor(
    cores: number,
    private readonly work: ScheduledWork,
    private readonly mostEntries = MOST_ENTRIES,
    private readonly entriesAtOnce = ENTRIES_AT_ONCE,
  ) {
    this.cores = Array.from({ length: cores }, () => ({
      queue: new Queue(),
      clock: 0,
      shift: 0,
      busy: 0,
    }));
  }

  // ---- As recorded ----

  /** A thread of a core runs from a tick on. */
  begin(core: number, tick: number): void {
    this.running = core;
    this.base = this.cores[core]!.clock - tick;
  }

  /** The thread that runs does so up to a tick. */
  end(tick: number): void {
    if (this.running >= 0) this.cores[this.running]!.clock = this.base + tick;
    this.running = -1;
  }

  /** One thread more of a core can run, or one less. */
  setBusy(core: number, isBusy: boolean): void {
    this.cores[core]!.busy += isBusy ? 1 : -1;
  }

  add(
    core: number,
    thread: number,
    tick: number,
    site: number,
    address: number,
    place: number,
  ): void {
    const { queue, clock } = this.cores[core]!;
    const time = core === this.running ? this.base + tick : clock;
    queue.push(time, thread, site, address, place);
    this.entries++;
    this.fresh++;
  }

  replace(core: number, tick: number, line: number): void {
    this.add(core, 0, tick, REPLACE, line, 0);
  }
  takeLock(core: number, tick: number, lock: number, isShared: boolean): void {
    this.add(core, 0, tick, isShared ? TAKE_SHARED : TAKE, lock, 0);
  }
  letGo(core: number, tick: number, lock: number): void {
    this.add(core, 0, tick, LET_GO, lock, 0);
  }
  signal(core: number, tick: number, object: number): void {
    this.recorded.set(object, this.signals(object) + 1);
    this.add(core, 0, tick, SIGNAL, object, 0);
  }
  /** @param signals - how many must have been given; by default those that have been */
  await(core: number, tick: number, object: number, signals = this.signals(object)): void {
    if (signals > 0) this.add(core, 0, tick, AWAIT, object, signals);
  }
  signals(object: number): number {
    return this.recorded.get(object) ?? 0;
  }

  /** The thread that runs has come to a tick: goes on as far as it is sure what is next; if there is little new, later. */
  advance(tick: number): void {
    if (this.running >= 0) this.cores[this.running]!.clock = this.base + tick;
    if (this.fresh < this.entriesAtOnce) return;
    this.fresh = 0;
    this.run(0);
    if (this.entries <= this.mostEntries) return;
    this.overflows++;
    this.run(this.mostEntries / 2);
  }

  /** Goes on to the end of all queues. All cores are at the same time then. */
  finish(): void {
    this.run(-1);
    for (const core of this.cores) core.shift = Math.max(core.shift, this.now - core.clock);
    this.locks.clear();
    this.recorded.clear();
    this.given.clear();
  }

  // ---- The schedule ----

  /**
   * @param most - 0: only what is sure; else goes on in any case while there are more entries, and with -1 to the end
   */
  private run(most: number): void {
    while (this.entries > 0 && (most === 0 || this.entries > most)) {
      const isForced = most !== 0;
      const core = this.next(isForced);
      if (core < 0) return;
      // Accesses let no other core go on.
      const own = this.cores[core]!;
      const { queue } = own;
      let isAccess;
      do {
        isAccess = queue.site >= 0;
        this.step(core);
      } while (
        isAccess &&
        queue.count > 0 &&
        queue.time + own.shift < this.limit &&
        queue.site >= 0
      );
    }
  }

  /** The core that is next, or -1. */
  private next(isForced: boolean): number {
    let [best, time, bound] = [-1, Infinity, Infinity];
    let [first, firstTime, limit] = [-1, Infinity, Infinity];
    for (let i = 0; i < this.cores.length; i++) {
      const { queue, shift, clock, busy } = this.cores[i]!;
      if (queue.count === 0) {
        if (busy > 0) bound = Math.min(bound, clock + shift);
        continue;
      }
      const at = queue.time + shift;
      if (at < firstTime) [first, firstTime] = [i, at];
      if (at >= limit || this.mustWait(i, queue)) continue;
      if (at < time) {
        limit = time;
        [best, time] = [i, at];
      } else limit = at;
    }
    this.limit = isForced ? limit : Math.min(limit, bound);
    if (best >= 0 && (isForced || time < bound)) return best;
    if (!isForced) return -1;
    this.cuts++;
    return first;
  }

  private mustWait(core: number, { site, address, place }: Queue): boolean {
    if (site >= 0 || site === REPLACE || site === LET_GO || site === SIGNAL) return false;
    if (site === AWAIT) return (this.given.get(address) ?? 0) < place;
    const lock = this.locks.get(address);
    if (!lock) return false;
    if (lock.core >= 0 && lock.core !== core) return true;
    if (site === TAKE_SHARED) return false;
    for (const reader of lock.readers.keys()) if (reader !== core) return true;
    return false;
  }

  private step(core: number): void {
    const own = this.cores[core]!;
    const { queue } = own;
    const time = queue.time + own.shift;
    if (time < this.now) own.shift += this.now - time;
    else this.now = time;
    const { site, address } = queue;
    if (site >= 0) this.work.access(core, queue.thread, site, address, queue.place);
    else if (site === REPLACE) this.work.replace(core, address);
    else if (site === SIGNAL) this.given.set(address, (this.given.get(address) ?? 0) + 1);
    else if (site !== AWAIT) this.lock(core, site, address);
    queue.drop();
    this.entries--;
  }

  private lock(core: number, site: number, address: number): void {
    let lock = this.locks.get(address);
    if (site === LET_GO) {
      if (!lock) return;
      if (lock.core === core) {
        if (--lock.depth === 0) lock.core = -1;
      } else {
        const reads = (lock.readers.get(core) ?? 0) - 1;
        if (reads > 0) lock.readers.set(core, reads);
        else lock.readers.delete(core);
      }
      if (lock.core < 0 && lock.readers.size === 0) this.locks.delete(address);
      return;
    }
    if (!lock) this.locks.set(address, (lock = { core: -1, depth: 0, readers: new Map() }));
    if (site === TAKE_SHARED) lock.readers.set(core, (lock.readers.get(core) ?? 0) + 1);
    else {
      if (lock.core !== core) lock.depth = 0; // taken though another one holds it
      lock.core = core;
      lock.depth++;
    }
  }
}
