/**
 * What the operations that a program announces mean for prediction (predict.ts): rows of `sync` and
 * `thread_events`. Locks are critical sections; all else orders as it did in the recorded schedule, also
 * attempts that failed and operations of one semaphore.
 */
import type { EventRow } from '../../replay/types.js';
import type { Threads } from './clocks.js';
import type { Bounds, Predictor } from './predict.js';
import { bySyncOp, type SyncRow } from './sync-row.js';

/** What an operation means. */
const ACQUIRE = 1;
const ACQUIRE_OR_FAIL = 2;
const ACQUIRE_SHARED = 3;
const ACQUIRE_SHARED_OR_FAIL = 4;
const RELEASE = 5;
const RELEASE_IF_HELD = 6;
const WAIT_BEGIN = 7;
const WAIT_END = 8;
const SIGNAL = 9;
const AWAIT = 10;
const AWAIT_AND_SIGNAL = 11;
const BARRIER_INIT = 12;
const BARRIER_WAIT = 13;
const FORGET = 14;
const MEANINGS = bySyncOp({
  mutex_lock: ACQUIRE_OR_FAIL,
  mutex_acquired: ACQUIRE,
  spin_lock: ACQUIRE,
  rwlock_lock: ACQUIRE_SHARED_OR_FAIL,
  rwlock_acquired: ACQUIRE_SHARED,
  mutex_unlock_begin: RELEASE,
  rwlock_unlock_begin: RELEASE,
  rwlock_released: RELEASE,
  spin_init_or_unlock: RELEASE_IF_HELD,
  cond_wait_begin: WAIT_BEGIN,
  cond_wait: WAIT_END,
  cond_signal: SIGNAL,
  cond_broadcast: SIGNAL,
  happens_before: SIGNAL,
  happens_after: AWAIT,
  sem_post: AWAIT_AND_SIGNAL,
  sem_released: AWAIT_AND_SIGNAL,
  sem_wait: AWAIT_AND_SIGNAL,
  sem_acquired: AWAIT_AND_SIGNAL,
  barrier_init: BARRIER_INIT,
  barrier_resize: BARRIER_INIT,
  barrier_wait: BARRIER_WAIT,
  happens_forget: FORGET,
});

export class RecordedOrder {
  private readonly slots = new Map<number, number>();
  /** The same by number: they are asked for at each operation. */
  private readonly byNumber: (number | undefined)[] = [];
  /** Threads that wait at a barrier, by its address. */
  private readonly barriers = new Map<number, { count: number; waiting: number[] }>();

  constructor(
    private readonly predictor: Predictor,
    private readonly threads: Threads,
  ) {}

  /** Slot of a thread, which may have ended. */
  slot(thread: number): number {
    let slot = this.byNumber[thread];
    if (slot === undefined) {
      this.byNumber[thread] = slot = this.threads.get(thread).slot;
      this.slots.set(thread, slot);
    }
    return slot;
  }

  /** How far each thread has come. */
  byThread(bounds: Bounds): Map<number, number> {
    return new Map([...this.slots].map(([thread, slot]) => [thread, bounds[slot] ?? 0]));
  }

  /** Takes in a row of `thread_events`, after the clocks (synchronisation.ts) have. */
  threadEvent(row: EventRow): void {
    const [thread, other] = [row.u32('thread'), row.u32('other')];
    const tick = Number(row.u64('tick'));
    const op = row.name('op');
    if (op === 'create') this.predictor.follow(this.slot(other), this.slot(thread), tick);
    else if (op === 'joined' && this.slots.has(other))
      this.predictor.follow(this.slot(thread), this.slot(other), tick);
  }

  /** Takes in a row of `sync`, after the clocks have. */
  operation({ op, thread, tick, object: address, object2, value }: SyncRow): void {
    const { predictor } = this;
    const meaning = MEANINGS[op];
    if (!meaning) return;
    const slot = this.slot(thread);
    switch (meaning) {
      case ACQUIRE_OR_FAIL:
        if (object2 === 0) return predictor.fail(slot, address, tick);
        return predictor.acquire(slot, address, tick, true);
      case ACQUIRE:
        return predictor.acquire(slot, address, tick, true);
      case ACQUIRE_SHARED_OR_FAIL:
        if (value === 0) return predictor.fail(slot, address, tick);
        return predictor.acquire(slot, address, tick, object2 !== 0);
      case ACQUIRE_SHARED:
        return predictor.acquire(slot, address, tick, object2 !== 0);
      case RELEASE:
        return predictor.release(slot, address, tick);
      case RELEASE_IF_HELD:
        if (predictor.isHeld(address)) predictor.release(slot, address, tick);
        return;
      case WAIT_BEGIN:
        return predictor.release(slot, object2, tick);
      case WAIT_END:
        if (value === 0) predictor.await(slot, address, tick);
        return predictor.acquire(slot, object2, tick, true);
      case SIGNAL:
        return predictor.signal(slot, address, tick);
      case AWAIT:
        return predictor.await(slot, address, tick);
      case AWAIT_AND_SIGNAL:
        predictor.await(slot, address, tick);
        return predictor.signal(slot, address, tick);
      case BARRIER_INIT: {
        const waiting = this.barriers.get(address)?.waiting ?? [];
        this.barriers.set(address, { count: object2, waiting });
        return;
      }
      case BARRIER_WAIT:
        return this.waitAtBarrier(slot, address, tick);
      case FORGET:
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
