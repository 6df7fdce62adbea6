/**
 * What the operations that a program announces mean for prediction (predict.ts): rows of `sync` and
 * `thread_events`. Locks are critical sections; all else orders as it did in the recorded schedule, also
 * attempts that failed and operations of one semaphore.
 */
import { thread_events } from '../../schemas/tables.js';
import type { EventRow } from '../../replay/types.js';
import type { Threads } from './clocks.js';
import type { Bounds, Predictor } from './predict.js';

/** Those of `sync` that matter; most others tell that one of them begins or is over. */
const OPERATIONS: ReadonlySet<string> = new Set([
  'mutex_lock',
  'mutex_acquired',
  'spin_lock',
  'rwlock_lock',
  'rwlock_acquired',
  'mutex_unlock_begin',
  'rwlock_unlock_begin',
  'rwlock_released',
  'spin_init_or_unlock',
  'cond_wait_begin',
  'cond_wait',
  'cond_signal',
  'cond_broadcast',
  'happens_before',
  'happens_after',
  'sem_post',
  'sem_released',
  'sem_wait',
  'sem_acquired',
  'barrier_init',
  'barrier_resize',
  'barrier_wait',
  'happens_forget',
]);

export class RecordedOrder {
  private readonly slots = new Map<number, number>();
  /** Threads that wait at a barrier, by its address. */
  private readonly barriers = new Map<number, { count: number; waiting: number[] }>();

  constructor(
    private readonly predictor: Predictor,
    private readonly threads: Threads,
  ) {}

  /** Slot of a thread, which may have ended. */
  slot(thread: number): number {
    let slot = this.slots.get(thread);
    if (slot === undefined) this.slots.set(thread, (slot = this.threads.get(thread).slot));
    return slot;
  }

  /** How far each thread has come. */
  byThread(bounds: Bounds): Map<number, number> {
    return new Map([...this.slots].map(([thread, slot]) => [thread, bounds[slot] ?? 0]));
  }

  /** Takes in a row of `thread_events` or `sync`, after the clocks (synchronisation.ts) have. */
  applied(row: EventRow): void {
    if (row.table === thread_events) this.threadEvent(row);
    else this.operation(row);
  }

  private threadEvent(row: EventRow): void {
    const [thread, other] = [row.u32('thread'), row.u32('other')];
    const tick = Number(row.u64('tick'));
    const op = row.name('op');
    if (op === 'create') this.predictor.follow(this.slot(other), this.slot(thread), tick);
    else if (op === 'joined' && this.slots.has(other))
      this.predictor.follow(this.slot(thread), this.slot(other), tick);
  }

  private operation(row: EventRow): void {
    const { predictor } = this;
    const op = row.name('op') ?? '';
    if (!OPERATIONS.has(op)) return;
    const slot = this.slot(row.u32('thread'));
    const tick = Number(row.u64('tick'));
    const address = Number(row.u64('object'));
    const object2 = row.u64('object2');
    switch (op) {
      case 'mutex_lock':
        if (object2 === 0n) predictor.fail(slot, address, tick);
        else predictor.acquire(slot, address, tick, true);
        break;
      case 'mutex_acquired':
      case 'spin_lock':
        predictor.acquire(slot, address, tick, true);
        break;
      case 'rwlock_lock':
        if (row.u64('value') === 0n) predictor.fail(slot, address, tick);
        else predictor.acquire(slot, address, tick, object2 !== 0n);
        break;
      case 'rwlock_acquired':
        predictor.acquire(slot, address, tick, object2 !== 0n);
        break;
      case 'mutex_unlock_begin':
      case 'rwlock_unlock_begin':
      case 'rwlock_released':
        predictor.release(slot, address, tick);
        break;
      case 'spin_init_or_unlock':
        if (predictor.isHeld(address)) predictor.release(slot, address, tick);
        break;
      case 'cond_wait_begin':
        predictor.release(slot, Number(object2), tick);
        break;
      case 'cond_wait':
        if (row.u64('value') === 0n) predictor.await(slot, address, tick);
        predictor.acquire(slot, Number(object2), tick, true);
        break;
      case 'cond_signal':
      case 'cond_broadcast':
      case 'happens_before':
        predictor.signal(slot, address, tick);
        break;
      case 'happens_after':
        predictor.await(slot, address, tick);
        break;
      case 'sem_post':
      case 'sem_released':
      case 'sem_wait':
      case 'sem_acquired':
        predictor.await(slot, address, tick);
        predictor.signal(slot, address, tick);
        break;
      case 'barrier_init':
      case 'barrier_resize': {
        const waiting = this.barriers.get(address)?.waiting ?? [];
        this.barriers.set(address, { count: Number(object2), waiting });
        break;
      }
      case 'barrier_wait':
        this.waitAtBarrier(slot, address, tick);
        break;
      case 'happens_forget':
        predictor.forgetObject(address);
    }
  }

  /** When the last one arrives, all that wait have seen what all did. */
  private waitAtBarrier(slot: number, address: number, tick: number): void {
    const barrier = this.barriers.get(address);
    if (!barrier) return;
    barrier.waiting.push(slot);
    if (barrier.waiting.length < barrier.count) return;
    for (const waiting of barrier.waiting) this.predictor.signal(waiting, address, tick);
    for (const waiting of barrier.waiting) this.predictor.await(waiting, address, tick);
    barrier.waiting = [];
  }
}
