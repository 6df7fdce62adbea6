/**
 * What the operations that a program announces mean for the order of its accesses: those of POSIX
 * threads and semaphores and of the annotations of helgrind.h and drd.h (rows of `sync`), and the lives of
 * threads (`thread_events`).
 */
import { sync, thread_events } from '../../schemas/tables.js';
import type { EventRow } from '../../replay/types.js';
import { SyncClock, type ThreadClock, type Threads } from './clocks.js';

interface SyncObject {
  /** Of a readers-writer lock: what writers released. */
  readonly clock: SyncClock;
  /** What readers released. */
  readers?: SyncClock;
  /** Number of the thread that holds the lock for writing; 0 for none. */
  writer: number;
  /** Of a barrier: how many threads it waits for, and those that wait. */
  barrier?: { readonly count: number; waiting: ThreadClock[] };
}

/** Operations of which another one tells that they are over; their code is not the program's. */
const BEGINS: Readonly<Record<string, readonly string[]>> = {
  mutex_lock_begin: ['mutex_lock'],
  mutex_unlock_begin: ['mutex_unlock'],
  rwlock_lock_begin: ['rwlock_lock'],
  rwlock_unlock_begin: ['rwlock_unlock'],
  cond_wait_begin: ['cond_wait'],
  cond_signal: ['cond_signal_end'],
  cond_broadcast: ['cond_broadcast_end'],
  sem_wait_begin: ['sem_wait'],
  sem_post: ['sem_post_end'],
  spin_lock_begin: ['spin_lock'],
  spin_init_or_unlock: ['spin_init_or_unlock_end'],
  create_begin: ['create_end'],
};
const ENDS = new Set(Object.values(BEGINS).flat());

export class Synchronisation {
  private readonly objects = new Map<number, SyncObject>();
  /** How many announced operations each thread is within. */
  private readonly within = new Map<number, number>();

  constructor(private readonly threads: Threads) {}

  /** The thread executes an operation that was announced. */
  isWithinOperation(thread: number): boolean {
    return (this.within.get(thread) ?? 0) > 0;
  }

  /** The objects in a range of memory are no more. */
  forget(address: number, size: number): void {
    const { objects } = this;
    if (objects.size < size / 4) {
      for (const at of objects.keys()) if (at >= address && at < address + size) objects.delete(at);
    } else for (let at = address; at < address + size; at++) objects.delete(at);
  }

  /** Takes in a row of `thread_events` or `sync`. */
  applied(row: EventRow): void {
    if (row.table === thread_events) this.threadEvent(row);
    else if (row.table === sync) this.operation(row);
  }

  private threadEvent(row: EventRow): void {
    const number = row.u32('thread');
    switch (row.name('op')) {
      case 'create':
        this.threads.create(this.threads.get(number), row.u32('other'));
        break;
      case 'start':
        this.threads.get(number);
        break;
      case 'exit':
        this.threads.exit(number);
        this.within.delete(number);
        break;
      case 'joined':
        this.threads.join(this.threads.get(number), row.u32('other'));
    }
  }

  private operation(row: EventRow): void {
    const op = row.name('op') ?? '';
    const number = row.u32('thread');
    const within = this.within.get(number) ?? 0;
    if (op in BEGINS) this.within.set(number, within + 1);
    else if (ENDS.has(op)) this.within.set(number, Math.max(within - 1, 0));
    const thread = this.threads.get(number);
    const address = Number(row.u64('object'));
    switch (op) {
      case 'mutex_lock':
        if (row.u64('object2') === 0n) break;
        this.object(address).clock.acquire(thread);
        break;
      case 'mutex_acquired':
      case 'spin_lock':
      case 'sem_acquired':
      case 'happens_after':
        this.object(address).clock.acquire(thread);
        break;
      case 'mutex_unlock_begin':
      case 'spin_init_or_unlock':
        this.object(address).clock.release(thread);
        break;
      case 'sem_post':
      case 'sem_released':
      case 'happens_before':
      case 'cond_signal':
      case 'cond_broadcast':
        this.object(address).clock.releaseToo(thread);
        break;
      case 'sem_wait':
        if (row.u64('object2') !== 0n) this.object(address).clock.acquire(thread);
        break;
      case 'cond_wait_begin':
        this.object(Number(row.u64('object2'))).clock.release(thread);
        break;
      case 'cond_wait':
        // The mutex is taken again though the time is over, but nobody has signalled.
        if (row.u64('value') === 0n) this.object(address).clock.acquire(thread);
        this.object(Number(row.u64('object2'))).clock.acquire(thread);
        break;
      case 'rwlock_lock':
        if (row.u64('value') === 0n) break;
        this.lockShared(thread, this.object(address), row.u64('object2') !== 0n);
        break;
      case 'rwlock_acquired':
        this.lockShared(thread, this.object(address), row.u64('object2') !== 0n);
        break;
      case 'rwlock_unlock_begin':
      case 'rwlock_released':
        this.unlockShared(thread, this.object(address));
        break;
      case 'barrier_init': {
        const object = this.object(address);
        object.barrier = { count: Number(row.u64('object2')), waiting: [] };
        break;
      }
      case 'barrier_resize': {
        const object = this.object(address);
        const waiting = object.barrier?.waiting ?? [];
        object.barrier = { count: Number(row.u64('object2')), waiting };
        break;
      }
      case 'barrier_wait':
        this.waitAtBarrier(thread, this.object(address));
        break;
      case 'mutex_destroy':
      case 'rwlock_destroy':
      case 'cond_destroy':
      case 'sem_destroy':
      case 'spin_destroy':
      case 'barrier_destroy':
      case 'happens_forget':
        this.objects.delete(address);
    }
  }

  /** Operations on an object that are not rows of `sync`. */
  acquire(thread: ThreadClock, address: number): void {
    this.object(address).clock.acquire(thread);
  }
  release(thread: ThreadClock, address: number): void {
    this.object(address).clock.releaseToo(thread);
  }

  private object(address: number): SyncObject {
    let object = this.objects.get(address);
    if (!object) this.objects.set(address, (object = { clock: new SyncClock(), writer: 0 }));
    return object;
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
