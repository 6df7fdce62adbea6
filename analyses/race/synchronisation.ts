/**
 * What the operations that a program announces mean for the order of its accesses: those of POSIX
 * threads and semaphores and of the annotations of helgrind.h and drd.h (rows of `sync`), and the lives of
 * threads (`thread_events`).
 */
import type { EventRow } from '../../replay/types.js';
import { SyncClock, type ThreadClock, type Threads } from './clocks.js';
import { bySyncOp, SYNC_OPS, type SyncRow } from './sync-row.js';
import { Tasks } from './tasks.js';

interface SyncObject {
  readonly address: number;
  /** Of a readers-writer lock: what writers released. */
  readonly clock: SyncClock;
  /** What readers released. */
  readers?: SyncClock;
  /** Number of the thread that holds the lock for writing; 0 for none. */
  writer: number;
  /** Of a barrier: how many threads it waits for, and those that wait. */
  barrier?: { readonly count: number; waiting: ThreadClock[] };
}

/** What an operation does to the clocks of its thread and of its object. */
const ACQUIRE = 1;
const ACQUIRE_IF_TAKEN = 2;
const RELEASE = 3;
const RELEASE_TOO = 4;
const WAIT_BEGIN = 5;
const WAIT_END = 6;
const LOCK_SHARED = 7;
const LOCK_SHARED_IF_TAKEN = 8;
const UNLOCK_SHARED = 9;
const BARRIER_INIT = 10;
const BARRIER_WAIT = 11;
const FORGET = 12;
const ACTIONS = bySyncOp({
  mutex_lock: ACQUIRE_IF_TAKEN,
  mutex_acquired: ACQUIRE,
  spin_lock: ACQUIRE,
  sem_acquired: ACQUIRE,
  happens_after: ACQUIRE,
  mutex_unlock_begin: RELEASE,
  spin_init_or_unlock: RELEASE,
  sem_post: RELEASE_TOO,
  sem_released: RELEASE_TOO,
  happens_before: RELEASE_TOO,
  cond_signal: RELEASE_TOO,
  cond_broadcast: RELEASE_TOO,
  sem_wait: ACQUIRE_IF_TAKEN,
  cond_wait_begin: WAIT_BEGIN,
  cond_wait: WAIT_END,
  rwlock_lock: LOCK_SHARED_IF_TAKEN,
  rwlock_acquired: LOCK_SHARED,
  rwlock_unlock_begin: UNLOCK_SHARED,
  rwlock_released: UNLOCK_SHARED,
  barrier_init: BARRIER_INIT,
  barrier_resize: BARRIER_INIT,
  barrier_wait: BARRIER_WAIT,
  mutex_destroy: FORGET,
  rwlock_destroy: FORGET,
  cond_destroy: FORGET,
  sem_destroy: FORGET,
  spin_destroy: FORGET,
  barrier_destroy: FORGET,
  happens_forget: FORGET,
});

/** Operations of which another one tells that they are over; their code is not the program's. */
const BEGIN = 1;
const END = 2;
const PARTS = bySyncOp({
  ...{ mutex_lock_begin: BEGIN, mutex_lock: END, mutex_unlock_begin: BEGIN, mutex_unlock: END },
  ...{ rwlock_lock_begin: BEGIN, rwlock_lock: END, rwlock_unlock_begin: BEGIN, rwlock_unlock: END },
  ...{ cond_wait_begin: BEGIN, cond_wait: END, cond_signal: BEGIN, cond_signal_end: END },
  ...{ cond_broadcast: BEGIN, cond_broadcast_end: END, sem_wait_begin: BEGIN, sem_wait: END },
  ...{ sem_post: BEGIN, sem_post_end: END, spin_lock_begin: BEGIN, spin_lock: END },
  ...{ spin_init_or_unlock: BEGIN, spin_init_or_unlock_end: END },
  ...{ create_begin: BEGIN, create_end: END, task_create_begin: BEGIN, task_create: END },
  ...{ taskwait_begin: BEGIN, taskwait: END, taskgroup_end_begin: BEGIN, taskgroup_end: END },
});

function depthAfter(op: number, depth: number): number {
  const part = PARTS[op];
  return part === BEGIN ? depth + 1 : part === END && depth > 0 ? depth - 1 : depth;
}

export class Synchronisation {
  private readonly objects = new Map<number, SyncObject>();
  /** The one that was asked for last, as mostly the same is again. */
  private latest: SyncObject | undefined;
  /** How many announced operations each thread is within. */
  private readonly within: number[] = [];
  /** What `isWithinAfter` has found so far; of no thread once an operation was performed. */
  private readonly ahead = { thread: -1, count: 0, depth: 0 };
  readonly tasks: Tasks;

  constructor(private readonly threads: Threads) {
    this.tasks = new Tasks(threads, this.within);
  }

  /** The thread executes an operation that was announced. */
  isWithinOperation(thread: number): boolean {
    return (this.within[thread] ?? 0) > 0;
  }

  /** The same after some of these operations, those up to a tick. Both only grow until operations are performed. */
  isWithinAfter(
    thread: number,
    operations: readonly SyncRow[],
    count: number,
    tick: number,
  ): boolean {
    const { ahead } = this;
    if (ahead.thread !== thread) {
      ahead.thread = thread;
      ahead.count = 0;
      ahead.depth = this.within[thread] ?? 0;
    }
    for (; ahead.count < count; ahead.count++) {
      const operation = operations[ahead.count]!;
      if (operation.tick > tick) break;
      if (operation.thread === thread) ahead.depth = depthAfter(operation.op, ahead.depth);
    }
    return ahead.depth > 0;
  }

  /** The objects in a range of memory are no more. */
  forget(address: number, size: number): void {
    const { objects } = this;
    this.latest = undefined;
    if (objects.size < size / 4) {
      for (const at of objects.keys()) if (at >= address && at < address + size) objects.delete(at);
    } else for (let at = address; at < address + size; at++) objects.delete(at);
  }

  /** Takes in a row of `thread_events`. */
  threadEvent(row: EventRow): void {
    const number = row.u32('thread');
    this.ahead.thread = -1;
    switch (row.name('op')) {
      case 'create':
        this.threads.create(this.threads.get(number), row.u32('other'));
        break;
      case 'start':
        this.threads.get(number);
        break;
      case 'exit':
        this.threads.exit(number);
        this.within[number] = 0;
        break;
      case 'joined':
        this.threads.join(this.threads.get(number), row.u32('other'));
    }
  }

  /** Takes in a row of `sync`. */
  operation(row: SyncRow): void {
    const { op, thread: number, object: address, object2, value } = row;
    this.ahead.thread = -1;
    this.within[number] = depthAfter(op, this.within[number] ?? 0);
    const action = ACTIONS[op];
    if (!action) return this.tasks.operation(row);
    const thread = this.threads.get(number);
    switch (action) {
      case ACQUIRE:
        return this.object(address).clock.acquire(thread);
      case ACQUIRE_IF_TAKEN:
        return object2 === 0 ? undefined : this.object(address).clock.acquire(thread);
      case RELEASE:
        return this.object(address).clock.release(thread);
      case RELEASE_TOO:
        return this.object(address).clock.releaseToo(thread);
      case WAIT_BEGIN:
        return this.object(object2).clock.release(thread);
      case WAIT_END:
        // The mutex is taken again though the time is over, but nobody has signalled.
        if (value === 0) this.object(address).clock.acquire(thread);
        return this.object(object2).clock.acquire(thread);
      case LOCK_SHARED_IF_TAKEN:
        return value === 0
          ? undefined
          : this.lockShared(thread, this.object(address), object2 !== 0);
      case LOCK_SHARED:
        return this.lockShared(thread, this.object(address), object2 !== 0);
      case UNLOCK_SHARED:
        return this.unlockShared(thread, this.object(address));
      case BARRIER_INIT: {
        const object = this.object(address);
        const waiting = op === SYNC_OPS.barrier_resize ? (object.barrier?.waiting ?? []) : [];
        object.barrier = { count: object2, waiting };
        return;
      }
      case BARRIER_WAIT:
        return this.waitAtBarrier(thread, this.object(address));
      case FORGET:
        this.latest = undefined;
        this.objects.delete(address);
    }
  }

  /** To acquire the object tells the thread of a slot nothing. */
  isOf(slot: number, address: number): boolean {
    return this.object(address).clock.isOf(slot);
  }

  /** Operations on an object that are not rows of `sync`. */
  acquire(thread: ThreadClock, address: number): void {
    this.object(address).clock.acquire(thread);
  }
  release(thread: ThreadClock, address: number): void {
    this.object(address).clock.releaseToo(thread);
  }

  private object(address: number): SyncObject {
    if (this.latest?.address === address) return this.latest;
    let object = this.objects.get(address);
    if (!object)
      this.objects.set(address, (object = { address, clock: new SyncClock(), writer: 0 }));
    return (this.latest = object);
  }

  /** Readers are ordered with writers, but not with one another. */
  private lockShared(thread: ThreadClock, object: SyncObject, writes: boolean): void {
    object.clock.acquire(thread);
    if (!writes) return;
    object.readers?.acquire(thread);
    object.writer = thread.number;
  }

  private unlockShared(thread: ThreadClock, object: SyncObject): void {
    if (object.writer === thread.number) {
      object.writer = 0;
      object.clock.release(thread);
    } else (object.readers ??= new SyncClock()).releaseToo(thread);
  }

  /** When the last one arrives, all that wait have seen what all did. */
  private waitAtBarrier(thread: ThreadClock, { barrier }: SyncObject): void {
    if (!barrier) return;
    barrier.waiting.push(thread);
    if (barrier.waiting.length < barrier.count) return;
    const all = new SyncClock();
    for (const waiting of barrier.waiting) all.releaseToo(waiting);
    for (const waiting of barrier.waiting) all.acquire(waiting);
    barrier.waiting = [];
  }
}
