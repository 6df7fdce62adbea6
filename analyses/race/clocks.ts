/**
 * Vector clocks and the threads that have them, after Flanagan and Freund, "FastTrack: efficient and
 * precise dynamic race detection" (PLDI 2009). A thread has a slot; its epoch is the time of that slot in
 * its own clock, and goes up with each release. An access at time `t` of slot `s` happens before what a
 * thread does now if and only if the thread's clock has at least `t` at `s`.
 */

/** Versions of clocks so far. */
let versions = 0;

export class VectorClock {
  /** Another one, of all clocks, whenever it takes in what another clock has. */
  version = ++versions;
  /** Time by slot; slots beyond the end have time 0. */
  times = new Uint32Array(8);

  get(slot: number): number {
    return slot < this.times.length ? this.times[slot]! : 0;
  }

  set(slot: number, time: number): void {
    this.reserve(slot + 1);
    this.times[slot] = time;
  }

  /** The later of both, slot by slot. */
  join(other: VectorClock): void {
    const from = other.times;
    this.reserve(from.length);
    const { times } = this;
    let isNew = false;
    for (let i = 0; i < from.length; i++) {
      if (from[i]! <= times[i]!) continue;
      times[i] = from[i]!;
      isNew = true;
    }
    if (isNew) this.version = ++versions;
  }

  assign(other: VectorClock): void {
    const from = other.times;
    this.reserve(from.length);
    this.times.set(from);
    this.times.fill(0, from.length);
    this.version = ++versions;
  }

  /**
   * Makes room for times of so many slots. What is made depends on `slots` alone: of two clocks that join each
   * other in turn, neither may end up larger than the larger one was, or they grow without end.
   */
  reserve(slots: number): void {
    if (slots <= this.times.length) return;
    let room = this.times.length;
    while (room < slots) room *= 2;
    const larger = new Uint32Array(room);
    larger.set(this.times);
    this.times = larger;
  }
}

/** What those who acquire a synchronisation object have then seen. */
export class SyncClock {
  private readonly clock = new VectorClock();
  /** The last release, if the clock is that of its thread alone: who has seen it has seen all of it. */
  private slot = -1;
  private time = 0;
  /** Version of that thread's clock then. */
  private version = 0;
  private isEmpty = true;

  /** Everything the thread has done so far happens before what follows an acquisition. */
  release(thread: ThreadClock): void {
    this.publish(thread);
    thread.advance();
  }

  /** As `release`, of a thread that does nothing any more. */
  publish(thread: ThreadClock): void {
    const { slot, time, clock } = thread;
    if (slot === this.slot && clock.version === this.version) this.clock.set(slot, time);
    else this.clock.assign(clock);
    this.slot = slot;
    this.time = time;
    this.version = clock.version;
    this.isEmpty = false;
  }

  /** The thread of a slot, which released last and has got to know nothing new, has released again. */
  releasedAgain(slot: number, time: number): void {
    this.clock.set(slot, time);
    this.slot = slot;
    this.time = time;
    this.isEmpty = false;
  }

  /** As `release`, and what was released before stays released. */
  releaseToo(thread: ThreadClock): void {
    if (this.isEmpty) return this.release(thread);
    this.clock.join(thread.clock);
    this.slot = -1;
    thread.advance();
  }

  /** Nobody else can have released since the thread of a slot did, if anybody did. */
  isOf(slot: number): boolean {
    return this.isEmpty || this.slot === slot;
  }

  acquire(thread: ThreadClock): void {
    if (this.isEmpty) return;
    if (this.slot >= 0 && thread.clock.get(this.slot) >= this.time) return;
    thread.clock.join(this.clock);
  }
}

export class ThreadClock {
  /** With a time for the slot of each live thread. */
  readonly clock = new VectorClock();

  constructor(
    /** The thread's number in the trace. */
    readonly number: number,
    readonly slot: number,
    /** Counts the epochs that all threads have begun. */
    private readonly epochs: { count: number },
  ) {}

  get time(): number {
    return this.clock.get(this.slot);
  }

  /** Begins a new epoch. */
  advance(): void {
    this.epochs.count++;
    this.clock.set(this.slot, this.time + 1);
  }
}

/** Who has or had a slot. */
export interface Tenancy {
  readonly thread: number;
  readonly from: number;
  /** Number of a task of OpenMP, which the thread executed; 0 for the thread itself. */
  readonly task: number;
  /** It has asked which thread it is, so what it accesses may be that thread's alone. */
  knowsThread: boolean;
}

/**
 * So many tasks have slots of their own. Of more that are concurrent each comes after another one, which hides races
 * of these two: one pair in a hundred. A prime number, or what a program repeats may hide all.
 */
const MOST_TASKS = 101;

/** All threads of a process image. */
export class Threads {
  /** Goes up whenever a thread begins an epoch. */
  readonly epochs = { count: 0 };
  /** By number of a thread: its clock, or that of the task that it executes. */
  private readonly live = new Map<number, ThreadClock>();
  /** The same by number: they are asked for at each operation. */
  private readonly byNumber: (ThreadClock | undefined)[] = [];
  /** Threads that ended and may still be joined, or are concurrent with some that live. */
  private readonly ended: ThreadClock[] = [];
  private readonly endedTasks: ThreadClock[] = [];
  private tasks = 0;
  private readonly tenants: Tenancy[][] = [];

  get(number: number): ThreadClock {
    return this.byNumber[number] ?? this.addThread(number, undefined);
  }

  /** Those that live. */
  all(): Iterable<ThreadClock> {
    return this.live.values();
  }

  create(parent: ThreadClock, child: number): ThreadClock {
    const thread = this.addThread(child, parent.clock);
    parent.advance();
    return thread;
  }

  /**
   * A thread begins to execute a task.
   * @param seen - what happened before its creation
   */
  beginTask(number: number, task: number, seen: VectorClock): ThreadClock {
    let reused = this.endedTasks.findLastIndex((other) => hasSeen(seen, other));
    if (reused < 0 && this.tasks >= MOST_TASKS && this.endedTasks.length > 0) {
      seen.join(this.endedTasks[0]!.clock);
      reused = 0;
    }
    const before = reused < 0 ? undefined : this.endedTasks.splice(reused, 1)[0];
    if (!before) this.tasks++;
    this.epochs.count++;
    return this.add(number, task, seen, before);
  }

  /** The task is complete; the thread goes on with what it did before. */
  endTask(number: number, task: ThreadClock, outer: ThreadClock): void {
    this.endedTasks.push(task);
    this.epochs.count++;
    this.live.set(number, outer);
    this.byNumber[number] = outer;
    outer.clock.reserve(this.tenants.length);
  }

  /** The thread does nothing any more. */
  exit(number: number): void {
    const thread = this.live.get(number);
    if (!thread) return;
    this.live.delete(number);
    this.byNumber[number] = undefined;
    this.ended.push(thread);
  }

  /** A thread that ended, if it was not forgotten. */
  endedThread(number: number): ThreadClock | undefined {
    return this.ended.find((candidate) => candidate.number === number);
  }

  /** What the ended thread did happens before what `thread` does from now on. */
  join(thread: ThreadClock, number: number): void {
    const other = this.endedThread(number);
    if (other) thread.clock.join(other.clock);
  }

  /** All that was ever done happens before what this thread does from now on. */
  isAfterAll(thread: ThreadClock): boolean {
    const isBefore = (other: ThreadClock): boolean => hasSeen(thread.clock, other);
    return this.live.size === 1 && this.ended.every(isBefore) && this.endedTasks.every(isBefore);
  }

  /** Who had a slot at a time. */
  owner(slot: number, time: number): Tenancy {
    return this.tenants[slot]!.findLast(({ from }) => from <= time)!;
  }

  private addThread(number: number, seen: VectorClock | undefined): ThreadClock {
    const reusable = seen ? this.ended.findIndex((other) => hasSeen(seen, other)) : -1;
    return this.add(number, 0, seen, reusable < 0 ? undefined : this.ended.splice(reusable, 1)[0]);
  }

  /**
   * The slot of a thread that ended is used again if its end happens before the new thread's beginning:
   * then nothing that either did is concurrent with what the other did.
   */
  private add(
    number: number,
    task: number,
    seen: VectorClock | undefined,
    before: ThreadClock | undefined,
  ): ThreadClock {
    const slot = before?.slot ?? this.tenants.length;
    const from = (before?.time ?? 0) + 1;
    const thread = new ThreadClock(number, slot, this.epochs);
    if (seen) thread.clock.assign(seen);
    thread.clock.set(slot, from);
    (this.tenants[slot] ??= []).push({ thread: number, from, task, knowsThread: false });
    this.live.set(number, thread);
    this.byNumber[number] = thread;
    for (const { clock } of this.live.values()) clock.reserve(this.tenants.length);
    return thread;
  }
}

const hasSeen = (seen: VectorClock, other: ThreadClock): boolean =>
  seen.get(other.slot) >= other.time;
