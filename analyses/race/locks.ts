/**
 * Lock discipline: what is wrong with how a program uses mutexes, read-write locks, spin locks, condition
 * variables, semaphores and barriers, whatever memory it accesses; and how its locks were used. All of it
 * is read from recorded events. Kinds and sentences are those of Helgrind (Valgrind manual, chapter 7)
 * where it has them; `Deadlock`, `FreeMemLock` and `HoldTime` are ours.
 *
 * A trace tells what happened after a call, so some things are judged better than while the program
 * runs: an unlock by another thread lets a lock go unless the call failed; a relock of a mutex that may be
 * recursive is a mistake when the thread never came back from it; threads that the end of the process cut
 * off are not blamed for locks that they held.
 */
import type { Row, Table } from '../../schemas/schema.js';
import {
  heap,
  mappings,
  slices,
  sync,
  syscall_enters,
  thread_events,
} from '../../schemas/tables.js';
import type { lock_uses } from '../../schemas/views.js';
import type { EventRow, Observer } from '../../replay/types.js';
import type { Finding, FindingStack, Pc } from '../finding.js';
import { Findings } from '../findings.js';
import { apiErrorText, isMistake } from './api-errors.js';
import { AddressMap, MemoryAreas } from './areas.js';
import { LockUsage, LongHolds, type HoldLimits } from './contention.js';
import { holding, LockOrder, type Cycle, type CycleClass, type OrderedLock } from './lock-order.js';
import {
  Barriers,
  Conditions,
  Semaphores,
  type IsSame,
  type Moment,
  type MutexState,
} from './sync-objects.js';
import { SYNC_OPS, SyncRow } from './sync-row.js';

export type LockKind = Row<typeof lock_uses>['kind'];

/** A row of the table of how locks were used. */
export type LockUseRow = Omit<Row<typeof lock_uses>, 'analysis'>;

export interface LockOptions extends HoldLimits {
  /** Classes of lock-order cycles that are reported. */
  readonly orders: readonly CycleClass[];
  /** `--check-cond-signal-mutex`. */
  readonly checkSignals: boolean;
}

/** What the events need of their surroundings. */
export interface LockContext {
  readonly process: number;
  /** Addresses of a call stack of the trace, innermost first; empty for 0. */
  stackOf(stack: number): readonly Pc[];
  /** The events are of the image itself, not of one that it was forked from. */
  isInImage(): boolean;
  /** A sentence on what lies at an address, such as the name of a variable. */
  describe?(address: bigint): string | undefined;
}

/** What came out, at the end. */
export interface LockOutcome {
  /** In order of their ticks. */
  readonly findings: Finding[];
  readonly uses: LockUseRow[];
  readonly missing: readonly string[];
}

/** A thread has a lock. */
interface Hold {
  readonly thread: number;
  readonly writes: boolean;
  readonly tick: number;
  readonly stack: number;
  /** How often it was taken and not let go. */
  depth: number;
}

interface Lock extends OrderedLock, MutexState {
  readonly address: number;
  readonly kind: LockKind;
  /** Its type is known: without, a mutex may be recursive. */
  readonly isInitialised: boolean;
  readonly appeared: Moment;
  readonly holds: Hold[];
  readonly usage: LockUsage;
}

/** A thread has asked for a lock and does not have it yet. */
interface Wait extends Moment {
  readonly lock: Lock;
  readonly writes: boolean;
  /** It gives up when the lock is not to be had, at once or after some time. */
  readonly tries: boolean;
  readonly isContended: boolean;
  /** It holds the lock itself. */
  readonly again: Hold | undefined;
}

interface Thread {
  wait: Wait | undefined;
  /** Takes back what its last call did, should the next row say that it failed. */
  undo: (() => void) | undefined;
  /** Where it called exit: key of `stacks`. */
  exit: number | undefined;
}

const SYS_EXIT = 60;
const SYS_EXIT_GROUP = 231;
const RELEASES = new Set(['free', 'delete', 'delete_array', 'realloc']);

const OP = SYNC_OPS;

const RELOCK = 'Attempt to re-lock a non-recursive lock I already hold';

/** The observer of a replay, or of stored rows alone (replay/event-rows.ts). Judges one process image. */
export class LockChecker implements Observer {
  readonly tables: readonly Table[] = [sync, thread_events, heap, mappings, slices, syscall_enters];
  private readonly syncRow = new SyncRow();
  private readonly findings = new Findings();
  private readonly areas = new MemoryAreas();
  private readonly locks = new AddressMap<Lock>();
  private readonly threads = new Map<number, Thread>();
  /** The one that was asked for last, as mostly the same is again. */
  private latest: { readonly number: number; readonly thread?: Thread } = { number: -1 };
  /** Threads that have ended by themselves. */
  private readonly ended = new Set<number>();
  private readonly order = new LockOrder<Lock>();
  private readonly longHolds: LongHolds;
  private readonly conditions: Conditions;
  private readonly semaphores: Semaphores;
  private readonly barriers: Barriers;
  private uses: LockUseRow[] = [];
  private lockIds = 0;
  private isInImage = false;

  constructor(
    private readonly context: LockContext,
    private readonly options: LockOptions,
  ) {
    const complain = (at: Moment, sentence: string) => this.complain(at, sentence);
    const isSame: IsSame = (address, first, again) => this.isSame(address, first, again);
    const mutexAt = (address: number) => this.locks.get(address);
    this.longHolds = new LongHolds(options);
    this.conditions = new Conditions(complain, this.areas, mutexAt, options.checkSignals);
    this.semaphores = new Semaphores(complain, this.areas, isSame);
    this.barriers = new Barriers(complain, this.areas, isSame);
  }

  applied(row: EventRow): void {
    switch (row.table) {
      case sync:
        return this.operation(this.syncRow.read(row), row);
      case thread_events:
        this.enterImage(row.u32('thread'));
        return this.threadEvent(row);
      case heap: {
        const isMoved = row.name('op') === 'realloc';
        const address = Number(row.u64(isMoved ? 'previous' : 'address'));
        const size = Number(row.u64(isMoved ? 'previous_size' : 'size'));
        if (RELEASES.has(row.name('op')!) && address !== 0) this.freed(moment(row), address, size);
        return;
      }
      case mappings:
        return this.mapped(row);
      case slices:
        return this.areas.runs(row.u32('thread'), Number(row.u64('sp')));
      case syscall_enters: {
        const number = row.u32('number');
        if (number === SYS_EXIT || number === SYS_EXIT_GROUP)
          this.thread(row.u32('thread')).exit = row.u32('stack');
        return;
      }
    }
  }

  /**
   * The end of the execution.
   * @param tick - how many instructions were executed
   */
  finish(tick: bigint): LockOutcome {
    for (const thread of this.threads.values()) {
      const { wait } = thread;
      if (wait?.again && !wait.tries && !wait.lock.isInitialised) this.relocked(wait, wait.again);
    }
    this.deadlocks();
    for (const lock of [...this.locks.values()]) {
      for (const hold of lock.holds) lock.usage.released(Number(tick) - hold.tick);
      this.noteUse(lock);
    }
    for (const cycle of this.order.cycles(this.options.orders)) this.reportOrder(cycle);
    const findings = [...this.findings.list, ...this.longHolds.findings];
    const missing = this.order.isCut
      ? ['Too many orders of locks to look at all cycles among them.']
      : [];
    return {
      findings: findings.sort((a, b) => (a.tick < b.tick ? -1 : a.tick > b.tick ? 1 : 0)),
      uses: this.uses.sort((a, b) => a.lock - b.lock),
      missing,
    };
  }

  // ---------------------------------------------------------------- reports

  private report(kind: string, what: string, at: Moment, more: readonly FindingStack[] = []): void {
    if (!this.context.isInImage()) return;
    const { thread } = at;
    const tick = BigInt(at.tick);
    const stacks = [this.stack('', at), ...more];
    const { process } = this.context;
    this.findings.add({ kind, what, notes: [], process, thread, tick, stacks, count: 1 });
  }

  private complain(at: Moment, sentence: string, more: readonly FindingStack[] = []): void {
    this.report('Misc', `Thread #${at.thread}: ${sentence}`, at, more);
  }

  private stack(role: string, { stack }: { readonly stack: number }): FindingStack {
    return { role, pcs: this.context.stackOf(stack) };
  }

  /** Where a lock came from, as Helgrind announces it. */
  private origin(lock: Lock): FindingStack[] {
    const place = this.context.describe?.(BigInt(lock.address));
    const role = `Lock at ${hex(lock.address)}${place ? `, ${place},` : ''} was first observed`;
    return [this.stack(role, lock.appeared)];
  }

  // ---------------------------------------------------------------- locks

  private thread(number: number): Thread {
    if (number === this.latest.number) return this.latest.thread!;
    let thread = this.threads.get(number);
    if (!thread) {
      thread = { wait: undefined, undo: undefined, exit: undefined };
      this.threads.set(number, thread);
    }
    this.latest = { number, thread };
    return thread;
  }

  private create(address: number, kind: LockKind, at: Moment, isInitialised: boolean): Lock {
    const holds: Hold[] = [];
    const lock: Lock = {
      id: this.lockIds++,
      address,
      kind,
      isInitialised,
      appeared: at,
      holds,
      usage: new LockUsage(),
      isRwlock: kind === 'rwlock',
      get isHeld() {
        return holds.length > 0;
      },
      depth: (thread) => holdOf(holds, thread)?.depth ?? 0,
    };
    this.locks.set(address, lock);
    return lock;
  }

  /**
   * Whether two initialisations at one address are of one object. Memory of a stack serves one object after
   * another; but where both calls are the thread's outermost function's own, it has not returned between them.
   */
  private isSame(address: number, first: Moment, again: Moment): boolean {
    if (!this.areas.isOnStack(address)) return true;
    if (first.thread !== again.thread) return false;
    const [a, b] = [this.context.stackOf(first.stack), this.context.stackOf(again.stack)];
    const outermost = first.thread === 1 ? 2 : 4; // the wrapper, the function, those that start a thread
    return a.length === b.length && a.length <= outermost && a[1] !== b[1];
  }

  private initialised(at: Moment, address: number, kind: LockKind): void {
    const known = this.locks.get(address);
    if (known) {
      const fn = INITIALISERS[kind];
      if (known.holds.length > 0 || this.isSame(address, known.appeared, at)) {
        const state = known.holds.length > 0 ? 'locked' : 'already initialised';
        this.complain(at, `${fn}: lock is ${state}`, this.origin(known));
      }
      this.end(known, at);
    }
    this.create(address, kind, at, true);
  }

  private destroyed(at: Moment, address: number, isRwlock: boolean, isBlank: boolean): void {
    const lock = this.locks.get(address);
    const fn = isRwlock ? 'pthread_rwlock_destroy' : 'pthread_mutex_destroy';
    if (!lock && (isBlank || this.areas.mayBeForeign(address))) return;
    if (lock?.isRwlock !== isRwlock) this.complain(at, `${fn} with invalid argument`);
    if (!lock) return;
    const holds = [...lock.holds];
    if (holds.length > 0) {
      const more = holds.map((hold) => this.stack(takenBy(lock, hold), hold));
      this.complain(at, `${fn} of a locked mutex`, [...more, ...this.origin(lock)]);
    }
    const uses = this.uses.length;
    this.end(lock, at);
    // It fails for most locks that are held.
    this.thread(at.thread).undo = () => {
      this.uses.length = uses;
      this.locks.set(address, lock);
      for (const hold of holds) {
        lock.holds.push(hold);
        this.order.taken(hold.thread, lock, hold.writes, hold.stack);
      }
    };
  }

  /** The lock is no more. */
  private end(lock: Lock, at: Moment): void {
    for (const hold of lock.holds.splice(0)) {
      lock.usage.released(at.tick - hold.tick);
      this.order.released(hold.thread, lock);
    }
    this.order.died(lock);
    this.noteUse(lock);
    this.locks.delete(lock.address);
  }

  private noteUse({ id, address, kind, appeared, usage }: Lock): void {
    if (!this.context.isInImage()) return;
    const { process } = this.context;
    const { thread, stack } = appeared;
    const place = { address: BigInt(address), tick: BigInt(appeared.tick) };
    this.uses.push({ process, lock: id, ...place, kind, thread, stack, ...usage.row });
  }

  private asked(
    at: Moment,
    address: number,
    kind: LockKind,
    writes: boolean,
    tries: boolean,
  ): void {
    const lock = this.locks.get(address) ?? this.create(address, kind, at, kind !== 'mutex');
    if (kind === 'rwlock' && !lock.isRwlock) {
      this.complain(at, 'pthread_rwlock_{rd,rw}lock with a pthread_mutex_t* argument');
    } else if (kind !== 'rwlock' && lock.isRwlock) {
      this.complain(at, 'pthread_mutex_lock with a pthread_rwlock_t* argument');
    }
    const again = holdOf(lock.holds, at.thread);
    let isContended = false;
    for (const hold of lock.holds)
      if (hold.thread !== at.thread && (hold.writes || writes)) isContended = true;
    const { thread, tick, stack } = at;
    const wait = { thread, tick, stack, lock, writes, tries, isContended, again };
    this.thread(thread).wait = wait;
    if (tries) return;
    if (!again) this.order.asked(thread, lock, writes, stack, tick);
    else if ((again.writes || writes) && lock.kind !== 'recursive mutex' && lock.isInitialised)
      this.relocked(wait, again);
  }

  private relocked(wait: Wait, again: Hold): void {
    const { lock } = wait;
    const previous = this.stack('Lock was previously acquired', again);
    this.complain(wait, RELOCK, [previous, ...this.origin(lock)]);
  }

  /** A thread has taken a lock, or has failed to. */
  private answered(
    at: Moment,
    address: number,
    kind: LockKind,
    writes: boolean,
    ok: boolean,
  ): void {
    const thread = this.thread(at.thread);
    const wait = thread.wait?.lock.address === address ? thread.wait : undefined;
    thread.wait = undefined;
    if (ok) return this.acquired(at, address, kind, writes, wait);
    const lock = wait?.lock;
    if (!lock) return;
    lock.usage.failed++;
    // An error-checking mutex has said so itself.
    if (wait.again && !wait.tries && !lock.isInitialised) this.relocked(wait, wait.again);
  }

  private acquired(
    at: Moment,
    address: number,
    kind: LockKind,
    writes: boolean,
    wait?: Wait,
  ): void {
    const lock = this.locks.get(address) ?? this.create(address, kind, at, kind !== 'mutex');
    const own = holdOf(lock.holds, at.thread);
    if (own) {
      own.depth++;
      return;
    }
    if (lock.holds.length > 0) this.makeRoom(lock, at, writes);
    const { thread, tick, stack } = at;
    lock.holds.push({ thread, tick, stack, writes, depth: 1 });
    lock.usage.taken(thread, wait?.isContended ? tick - wait.tick : undefined);
    this.order.taken(thread, lock, writes, stack);
  }

  /** Ends what stood in the way of a thread that has taken a lock all the same. */
  private makeRoom(lock: Lock, at: Moment, writes: boolean): void {
    // A robust mutex is let go by the kernel when its thread ends.
    const gone = lock.holds.filter(({ thread }) => this.ended.has(thread));
    for (const hold of gone) this.letGo(lock, hold, at);
    const other = lock.holds.find((hold) => hold.writes || writes);
    if (!other) return;
    const what = writes ? 'write lock' : 'read lock';
    const how = other.writes ? 'wr-held by a different thread' : 'rd-held';
    this.complain(
      at,
      `Bug in libpthread: ${what} granted on mutex/rwlock which is currently ${how}`,
      [this.stack(takenBy(lock, other), other), ...this.origin(lock)],
    );
    for (const hold of [...lock.holds]) this.letGo(lock, hold, at);
  }

  private letGo(lock: Lock, hold: Hold, at: Moment): void {
    if (lock.holds.length === 1) lock.holds.length = 0;
    else lock.holds.splice(lock.holds.indexOf(hold), 1);
    this.order.released(hold.thread, lock);
    const ticks = at.tick - hold.tick;
    lock.usage.released(ticks);
    if (!this.longHolds.isLong(hold, ticks) || !this.context.isInImage()) return;
    this.longHolds.note(hold, ticks, at.stack, `${lock.kind} ${hex(lock.address)}`, () => ({
      kind: 'HoldTime',
      notes: [],
      process: this.context.process,
      thread: at.thread,
      tick: BigInt(at.tick),
      stacks: [this.stack('', at), this.stack('Lock was acquired', hold), ...this.origin(lock)],
    }));
  }

  private unlocked(at: Moment, address: number, isRwlock: boolean): void {
    const thread = this.thread(at.thread);
    // A wait that was cancelled ends with the mutex taken, before the handler that lets it go.
    if (this.conditions.isWaiting(at.thread)) this.waitEnded(at);
    const lock = this.locks.get(address);
    if (!lock) {
      if (this.areas.mayBeForeign(address)) return;
      return this.report(
        'UnlockBogus',
        `Thread #${at.thread} unlocked an invalid lock at ${hex(address)}`,
        at,
      );
    }
    if (isRwlock && !lock.isRwlock)
      this.complain(at, 'pthread_rwlock_unlock with a pthread_mutex_t* argument');
    if (!isRwlock && lock.isRwlock)
      this.complain(at, 'pthread_mutex_unlock with a pthread_rwlock_t* argument');
    const other = lock.holds[0];
    if (!other) {
      return this.report(
        'UnlockUnlocked',
        `Thread #${at.thread} unlocked a not-locked lock at ${hex(address)}`,
        at,
        this.origin(lock),
      );
    }
    const own = holdOf(lock.holds, at.thread);
    if (own && --own.depth > 0) return;
    if (own) return this.letGo(lock, own, at);
    this.report(
      'UnlockForeign',
      `Thread #${at.thread} unlocked lock at ${hex(address)} currently held by thread #${other.thread}`,
      at,
      [this.stack(takenBy(lock, other), other), ...this.origin(lock)],
    );
    // Ordinary mutexes allow it.
    this.letGo(lock, other, at);
    thread.undo = () => {
      lock.holds.push(other);
      this.order.taken(other.thread, lock, other.writes, other.stack);
    };
  }

  // ---------------------------------------------------------------- events

  /** The first event of a forked image: only the thread that forked is left of its parent. */
  private enterImage(thread: number): void {
    if (this.isInImage || thread === 0 || !this.context.isInImage()) return;
    this.isInImage = true;
    for (const number of [...this.threads.keys()]) {
      if (number === thread) continue;
      this.threads.delete(number);
      this.latest = { number: -1 };
      this.conditions.waitEnds(number);
    }
    this.order.keepOnly(thread);
    for (const lock of [...this.locks.values()]) {
      lock.usage.reset();
      const own = lock.holds.filter((hold) => hold.thread === thread);
      // What others held is lost: the program may make it anew, as it likes.
      if (lock.holds.length > 0 && own.length === 0) this.locks.delete(lock.address);
      lock.holds.splice(0, Infinity, ...own);
    }
  }

  /** A row of `sync`, which was read as an operation. */
  operation(operation: SyncRow, row: EventRow): void {
    const { op, thread: number, tick, stack, object, object2, value } = operation;
    if (!this.isInImage) this.enterImage(number);
    const at = { thread: number, tick, stack };
    const thread = this.thread(number);
    if (op === OP.api_error) {
      this.apiError(at, row);
      thread.undo = undefined;
      return;
    }
    if (op !== OP.mutex_unlock && op !== OP.rwlock_unlock) thread.undo = undefined;
    switch (op) {
      case OP.mutex_init:
        return this.initialised(at, object, object2 ? 'recursive mutex' : 'mutex');
      case OP.rwlock_init:
        return this.initialised(at, object, 'rwlock');
      case OP.spin_init_or_unlock:
        if (this.locks.get(object)?.isHeld) this.unlocked(at, object, false);
        return;
      case OP.spin_init_or_unlock_end:
        if (!this.locks.get(object)) this.create(object, 'spin lock', at, true);
        return;
      case OP.mutex_destroy:
      case OP.rwlock_destroy:
      case OP.spin_destroy:
        return this.destroyed(at, object, op === OP.rwlock_destroy, object2 !== 0);
      case OP.mutex_lock_begin:
      case OP.mutex_acquire_begin:
        return this.asked(at, object, 'mutex', true, object2 !== 0);
      case OP.spin_lock_begin:
        return this.asked(at, object, 'spin lock', true, object2 !== 0);
      case OP.rwlock_lock_begin:
        return this.asked(at, object, 'rwlock', object2 !== 0, value !== 0);
      case OP.mutex_lock:
        return this.answered(at, object, 'mutex', true, object2 !== 0);
      case OP.mutex_acquired:
        return this.answered(at, object, 'mutex', true, true);
      case OP.spin_lock:
        return this.answered(at, object, 'spin lock', true, true);
      case OP.rwlock_lock:
        return this.answered(at, object, 'rwlock', object2 !== 0, value !== 0);
      case OP.rwlock_acquired:
        return this.acquired(at, object, 'rwlock', object2 !== 0);
      case OP.mutex_unlock_begin:
        return this.unlocked(at, object, false);
      case OP.rwlock_unlock_begin:
      case OP.rwlock_released:
        return this.unlocked(at, object, true);
      case OP.cond_init:
        return this.conditions.initialised(object);
      case OP.cond_destroy:
        thread.undo = this.conditions.destroyed(at, object, object2 !== 0);
        return;
      case OP.cond_signal:
      case OP.cond_broadcast:
        return this.conditions.signalled(at, object, op === OP.cond_broadcast, value !== 0);
      case OP.cond_wait_begin:
        return this.waitBegins(at, object, object2, value !== 0);
      case OP.cond_wait:
        return this.waitEnded(at);
      case OP.sem_init:
        return this.semaphores.initialised(at, object, object2);
      case OP.sem_destroy:
        thread.undo = this.semaphores.destroyed(at, object);
        return;
      case OP.sem_post:
      case OP.sem_released:
        thread.undo = this.semaphores.posted(at, object);
        return;
      case OP.sem_wait_begin:
        return this.semaphores.waitBegins(at, object);
      case OP.sem_wait:
        return this.semaphores.waitEnds(at, object, object2 !== 0);
      case OP.sem_acquired:
        return this.semaphores.waitEnds(at, object, true);
      case OP.barrier_init:
        thread.undo = this.barriers.initialised(at, object, object2, value !== 0);
        return;
      case OP.barrier_wait:
        return this.barriers.arrives(at, object);
      case OP.barrier_resize:
        return this.barriers.resized(at, object, object2);
      case OP.barrier_destroy:
        thread.undo = this.barriers.destroyed(at, object);
        return;
      case OP.unimplemented:
        return this.complain(at, `Unimplemented client request macro "${text(row)}"`);
    }
  }

  /** Threads that wait for a condition, with the hold of the mutex that they were not entitled to end. */
  private readonly waits = new Map<number, { readonly isProper: boolean; broken?: Hold }>();

  private waitBegins(at: Moment, condition: number, mutex: number, isSet: boolean): void {
    const isProper = this.conditions.waitBegins(at, condition, mutex, isSet);
    const lock = this.locks.get(mutex);
    if (lock?.isRwlock) return;
    const [hold] = lock?.holds ?? [];
    this.waits.set(at.thread, { isProper, ...(!isProper && hold && { broken: hold }) });
    if (!lock || !hold) return;
    if (hold.depth > 1) hold.depth--;
    else this.letGo(lock, hold, at);
  }

  private waitEnded(at: Moment): void {
    const mutex = this.conditions.waitEnds(at.thread);
    const wait = this.waits.get(at.thread);
    if (mutex === undefined || !wait) return;
    this.waits.delete(at.thread);
    let lock = this.locks.get(mutex);
    // It waits for the mutex anew, whatever it holds besides.
    if (wait.isProper && lock && !holdOf(lock.holds, at.thread))
      this.order.asked(at.thread, lock, true, at.stack, at.tick);
    this.acquired(at, mutex, 'mutex', true);
    if (wait.isProper) return;
    // It is taken whoever had it, unless the call failed.
    lock = this.locks.get(mutex)!;
    const taken = lock.holds[0]!;
    this.thread(at.thread).undo = () => {
      lock.holds.splice(0, Infinity, ...(wait.broken ? [wait.broken] : []));
      this.order.released(taken.thread, lock);
      if (wait.broken) this.order.taken(wait.broken.thread, lock, true, wait.broken.stack);
    };
  }

  private apiError(at: Moment, row: EventRow): void {
    const [fn, error] = [text(row), row.u64('object2')];
    if (!isMistake(fn, error)) return;
    this.thread(at.thread).undo?.();
    this.report('PthAPIerror', apiErrorText(at.thread, fn, error), at);
  }

  private threadEvent(row: EventRow): void {
    const at = moment(row);
    switch (row.name('op')) {
      case 'create':
        return this.order.created(at.thread, row.u32('other'));
      case 'joined':
        return this.order.joined(at.thread, row.u32('other'));
      case 'exit':
        return this.exited(at);
    }
  }

  /** A thread ends: by itself, or because the process does. */
  private exited(at: Moment): void {
    const { exit } = this.thread(at.thread);
    if (exit !== undefined) {
      this.ended.add(at.thread);
      const here = { ...at, stack: exit };
      if (this.conditions.isWaiting(at.thread)) this.waitEnded(here); // it was cancelled
      const held = [...this.locks.values()].flatMap((lock) => {
        const hold = holdOf(lock.holds, at.thread);
        return hold ? [{ lock, hold }] : [];
      });
      if (held.length > 0) {
        const what = `Exiting thread still holds ${held.length} lock${held.length > 1 ? 's' : ''}`;
        const more = held.map(({ lock, hold }) => this.stack(takenBy(lock, hold), hold));
        this.complain(here, what, more);
      }
      const stack = this.areas.ended(at.thread);
      if (stack) this.forget(here, stack.start, stack.end);
    }
  }

  private mapped(row: EventRow): void {
    const [address, size] = [Number(row.u64('address')), Number(row.u64('size'))];
    switch (row.name('op')) {
      case 'startup':
        if (row.u64('tick') > 0n) this.areas.isPartial = true;
        return this.areas.appeared(address, size, row.u32('shared') !== 0);
      case 'mmap':
        this.gone(moment(row), address, size); // what was there is replaced
        return this.areas.appeared(address, size, row.u32('shared') !== 0);
      case 'mremap':
        this.gone(moment(row), Number(row.u64('source')), size);
        return this.areas.appeared(address, size, row.u32('shared') !== 0);
      case 'munmap':
      case 'brk_shrink':
        return this.gone(moment(row), address, size);
    }
  }

  private gone(at: Moment, address: number, size: number): void {
    this.areas.vanished(address, size);
    this.freed(at, address, size);
  }

  private freed(at: Moment, address: number, size: number): void {
    for (const place of this.locks.within(address, address + size)) {
      const lock = this.locks.get(place)!;
      for (const hold of lock.holds) {
        this.report(
          'FreeMemLock',
          `Thread #${at.thread} frees the memory of lock at ${hex(place)}, which thread #${hold.thread} holds`,
          at,
          [this.stack(takenBy(lock, hold), hold), ...this.origin(lock)],
        );
      }
    }
    this.forget(at, address, address + size);
  }

  /** Objects in a range of memory are no more. */
  private forget(at: Moment, start: number, end: number): void {
    for (const address of this.locks.within(start, end)) this.end(this.locks.get(address)!, at);
    this.conditions.forget(at, start, end);
    this.semaphores.forget(start, end);
    this.barriers.forget(at, start, end);
  }

  // ---------------------------------------------------------------- the end

  /** Threads that wait for each other's locks when the execution ends. */
  private deadlocks(): void {
    const told = new Set<number>();
    for (const start of this.threads.keys()) {
      const path: { readonly wait: Wait; readonly hold: Hold }[] = [];
      for (let number = start; !told.has(number);) {
        const at = path.findIndex(({ wait }) => wait.thread === number);
        if (at >= 0) {
          this.reportDeadlock(path.slice(at));
          break;
        }
        const wait = this.threads.get(number)?.wait;
        if (!wait || wait.tries || wait.again) break;
        const hold = wait.lock.holds.find(({ writes }) => writes || wait.writes);
        if (!hold) break;
        path.push({ wait, hold });
        number = hold.thread;
      }
      for (const { wait } of path) told.add(wait.thread);
    }
  }

  private reportDeadlock(circle: readonly { readonly wait: Wait; readonly hold: Hold }[]): void {
    const last = circle.reduce((a, b) => (a.wait.tick > b.wait.tick ? a : b));
    const at = circle.indexOf(last);
    const inOrder = [...circle.slice(at), ...circle.slice(0, at)];
    const parts = inOrder.map(
      ({ wait, hold }) =>
        `thread #${wait.thread} waits for lock at ${hex(wait.lock.address)}, which thread #${hold.thread} holds`,
    );
    const more = inOrder.flatMap(({ wait, hold }, i) => [
      ...(i > 0
        ? [this.stack(`Thread #${wait.thread} waits for lock at ${hex(wait.lock.address)}`, wait)]
        : []),
      this.stack(takenBy(wait.lock, hold), hold),
    ]);
    this.report('Deadlock', `Deadlock: ${parts.join('; ')}`, last.wait, more);
  }

  // ---------------------------------------------------------------- lock order

  private readonly orders = new Map<string, Finding>();

  private reportOrder({ class: sort, dependencies }: Cycle<Lock>): void {
    const [latest] = dependencies;
    if (!latest || !this.context.isInImage()) return;
    const { thread } = latest;
    // Each waits for a lock of the next one; in these terms the required order is read off the others.
    const required = dependencies.slice(1).map((dependency, i) => {
      const lock = dependencies[i]!.lock;
      return { lock, held: holding(dependency, lock)!, dependency };
    });
    const last = dependencies.at(-1)!.lock;
    const locks = [...required.map(({ lock }) => lock), last];
    const name = ({ address }: Lock) => hex(address);
    const stacks = [
      this.stack('', latest),
      this.stack(`after the acquisition of lock at ${name(last)}`, holding(latest, last)!),
      ...required.flatMap(({ lock, held, dependency }) => [
        this.stack(
          `Required order was established by acquisition of lock at ${name(lock)} by thread #${dependency.thread}`,
          held,
        ),
        this.stack(
          `followed by a later acquisition of lock at ${name(dependency.lock)}`,
          dependency,
        ),
      ]),
    ];
    const key = stacks
      .map(({ pcs }) => pcs.slice(0, 4).join())
      .sort()
      .join(';');
    const known = this.orders.get(key);
    if (known) {
      known.count++;
      return;
    }
    const finding: Finding = {
      kind: 'LockOrder',
      what: `Thread #${thread}: lock order "${locks.map(name).join(' before ')}" violated`,
      notes: NOTES[sort],
      process: this.context.process,
      thread,
      tick: BigInt(latest.tick),
      stacks: [...stacks, ...locks.flatMap((lock) => this.origin(lock))],
      count: 1,
    };
    this.orders.set(key, finding);
    this.findings.add(finding);
  }
}

const INITIALISERS: Readonly<Record<LockKind, string>> = {
  mutex: 'pthread_mutex_init',
  'recursive mutex': 'pthread_mutex_init',
  rwlock: 'pthread_rwlock_init',
  'spin lock': 'pthread_spin_init',
};

const NOTES: Readonly<Record<CycleClass, readonly string[]>> = {
  threads: [],
  'same thread': [
    'One thread took them in several of these orders: a deadlock needs more threads that do the same',
  ],
  'in turn': [
    'These threads ran one after another: a deadlock needs some that do the same at the same time',
  ],
};

const hex = (address: number): string => `0x${address.toString(16).toUpperCase()}`;

const takenBy = ({ address }: Lock, { thread }: Hold): string =>
  `Lock at ${hex(address)} was acquired by thread #${thread}`;

function holdOf(holds: readonly Hold[], thread: number): Hold | undefined {
  for (const hold of holds) if (hold.thread === thread) return hold;
  return undefined;
}

const moment = (row: EventRow): Moment => ({
  thread: row.u32('thread'),
  tick: Number(row.u64('tick')),
  stack: row.table === slices ? 0 : row.u32('stack'),
});

const text = (row: EventRow): string => new TextDecoder().decode(row.bytes('text'));
