/** What of the recorded operations makes cores wait in a parallel schedule (parallel-schedule.ts). */
import { bySyncOp, SYNC_OPS, type SyncRow } from '../race/sync-row.js';
import type { EventRow } from '../../replay/types.js';
import type { ParallelSchedule } from './parallel-schedule.js';

const TAKE = 1;
const TAKE_IF_TAKEN = 2;
const TAKE_RW = 3;
const TAKE_RW_IF_TAKEN = 4;
const LET_GO = 5;
const WAIT_BEGIN = 6;
const WAIT_END = 7;
const SIGNAL = 8;
const AWAIT = 9;
const AWAIT_IF_TAKEN = 10;
const BARRIER_INIT = 11;
const BARRIER_WAIT = 12;
const ACTIONS = bySyncOp({
  mutex_lock: TAKE_IF_TAKEN,
  mutex_acquired: TAKE,
  spin_lock: TAKE,
  rwlock_lock: TAKE_RW_IF_TAKEN,
  rwlock_acquired: TAKE_RW,
  mutex_unlock: LET_GO,
  rwlock_unlock: LET_GO,
  rwlock_released: LET_GO,
  spin_init_or_unlock: LET_GO,
  cond_wait_begin: WAIT_BEGIN,
  cond_wait: WAIT_END,
  cond_signal: SIGNAL,
  cond_broadcast: SIGNAL,
  sem_post: SIGNAL,
  sem_released: SIGNAL,
  happens_before: SIGNAL,
  sem_wait: AWAIT_IF_TAKEN,
  sem_acquired: AWAIT,
  happens_after: AWAIT,
  barrier_init: BARRIER_INIT,
  barrier_resize: BARRIER_INIT,
  barrier_wait: BARRIER_WAIT,
});
export const HAS_ACTION: Uint8Array = ACTIONS;

/** Objects that have no address. */
const creationOf = (thread: number): number => -2 * thread;
const endOf = (thread: number): number => -2 * thread - 1;

export class RecordedWaits {
  /** By address of a barrier: for how many it waits, and how many have come. */
  private readonly barriers = new Map<number, { count: number; arrived: number }>();

  constructor(
    private readonly schedule: ParallelSchedule,
    private readonly coreOf: (thread: number) => number,
  ) {}

  /** Takes in a row of `thread_events`. */
  threadEvent(row: EventRow): void {
    const { schedule } = this;
    const [thread, other] = [row.u32('thread'), row.u32('other')];
    const [core, { tick }] = [this.coreOf(thread), row];
    switch (row.name('op')) {
      case 'create':
        schedule.signal(core, tick, creationOf(other));
        break;
      case 'start':
        schedule.await(core, tick, creationOf(thread));
        break;
      case 'exit':
        schedule.signal(core, tick, endOf(thread));
        break;
      case 'joined':
        schedule.await(core, tick, endOf(other));
    }
  }

  /** Takes in a row of `sync`. */
  operation({ op, thread, tick, object, object2, value }: SyncRow): void {
    const { schedule } = this;
    const action = ACTIONS[op];
    if (!action) return;
    const core = this.coreOf(thread);
    switch (action) {
      case TAKE_IF_TAKEN:
        if (object2 !== 0) schedule.takeLock(core, tick, object, false);
        return;
      case TAKE:
        return schedule.takeLock(core, tick, object, false);
      case TAKE_RW_IF_TAKEN:
        if (value !== 0) schedule.takeLock(core, tick, object, object2 === 0);
        return;
      case TAKE_RW:
        return schedule.takeLock(core, tick, object, object2 === 0);
      case LET_GO:
        return schedule.letGo(core, tick, object);
      case WAIT_BEGIN:
        return schedule.letGo(core, tick, object2);
      case WAIT_END:
        if (value === 0) schedule.await(core, tick, object);
        return schedule.takeLock(core, tick, object2, false);
      case SIGNAL:
        return schedule.signal(core, tick, object);
      case AWAIT_IF_TAKEN:
        if (object2 !== 0) schedule.await(core, tick, object);
        return;
      case AWAIT:
        return schedule.await(core, tick, object);
      case BARRIER_INIT: {
        const arrived = op === SYNC_OPS.barrier_resize ? this.barriers.get(object)?.arrived : 0;
        this.barriers.set(object, { count: object2, arrived: arrived ?? 0 });
        return;
      }
      case BARRIER_WAIT:
        return this.arrive(core, tick, object);
    }
  }

  private arrive(core: number, tick: number, object: number): void {
    const barrier = this.barriers.get(object);
    if (!barrier) return;
    const round = this.schedule.signals(object) - barrier.arrived;
    this.schedule.signal(core, tick, object);
    barrier.arrived = (barrier.arrived + 1) % barrier.count;
    this.schedule.await(core, tick, object, round + barrier.count);
  }
}
