/**
 * Wrong uses of condition variables, semaphores and barriers, in Helgrind's words where it has any
 * (Valgrind manual, section 7.3), otherwise for what DRD finds (section 8.2.3).
 */
import type { FindingStack } from '../finding.js';
import { AddressMap, type MemoryAreas } from './areas.js';

/** Where and when something happens. */
export interface Moment {
  readonly thread: number;
  readonly tick: number;
  /** Key of `stacks`. */
  readonly stack: number;
}

/** Takes a finding of kind `Misc`; the number of the thread is put before the sentence. */
export type Complain = (at: Moment, sentence: string, more?: readonly FindingStack[]) => void;

/** Whether two initialisations at one address are of one object, not of two one after the other. */
export type IsSame = (address: number, first: Moment, again: Moment) => boolean;

/** What a condition variable has to know of a mutex. */
export interface MutexState {
  readonly isRwlock: boolean;
  readonly isHeld: boolean;
  /** How often the thread has taken it and not let it go. */
  depth(thread: number): number;
}

interface Waiter {
  readonly mutex: number;
  readonly condition: Condition;
}

interface Condition {
  readonly address: number;
  /** That of the last wait that began while none was under way; 0: none. */
  mutex: number;
  readonly waiters: Set<number>;
  /** How many of them a signal has woken: they will not touch it again, as it may be destroyed by now. */
  woken: number;
}

const WAIT = 'pthread_cond_{timed}wait';
const SIGNAL = 'pthread_cond_{signal,broadcast}';

export class Conditions {
  private readonly all = new AddressMap<Condition>();
  private readonly waits = new Map<number, Waiter>();

  constructor(
    private readonly complain: Complain,
    private readonly areas: MemoryAreas,
    private readonly mutexAt: (address: number) => MutexState | undefined,
    /** Whether to complain of signals without the mutex, which are no mistake by themselves. */
    private readonly checkSignals: boolean,
  ) {}

  initialised(address: number): void {
    this.at(address);
  }

  /** Returns whether the thread holds the mutex, and so lets it go while it waits. */
  waitBegins(at: Moment, address: number, mutex: number, isSet: boolean): boolean {
    this.used(at, address, isSet, WAIT);
    const state = this.mutexAt(mutex);
    const depth = state?.depth(at.thread) ?? 0;
    if (!state) {
      if (!this.areas.mayBeForeign(mutex)) this.complain(at, `${WAIT} called with invalid mutex`);
    } else if (state.isRwlock) {
      this.complain(at, `${WAIT} called with mutex of type pthread_rwlock_t*`);
    } else if (!state.isHeld) {
      this.complain(at, `${WAIT} called with un-held mutex`);
    } else if (depth === 0) {
      this.complain(at, `${WAIT} called with mutex held by a different thread`);
    } else if (depth > 1) {
      this.complain(at, `${WAIT} called with mutex locked recursively: it stays locked`);
    }
    const condition = this.at(address);
    if (condition.waiters.size === 0) condition.mutex = mutex;
    else if (condition.mutex !== mutex)
      this.complain(at, `${WAIT}: cond is associated with a different mutex`);
    condition.waiters.add(at.thread);
    this.waits.set(at.thread, { mutex, condition });
    return depth > 0 && state?.isRwlock === false;
  }

  /** Ends the wait of a thread; returns the mutex that it waited with. */
  waitEnds(thread: number): number | undefined {
    const wait = this.waits.get(thread);
    if (!wait) return undefined;
    this.waits.delete(thread);
    const { condition } = wait;
    condition.waiters.delete(thread);
    if (condition.woken > 0) condition.woken--;
    return wait.mutex;
  }

  isWaiting(thread: number): boolean {
    return this.waits.has(thread);
  }

  signalled(at: Moment, address: number, isBroadcast: boolean, isSet: boolean): void {
    this.used(at, address, isSet, SIGNAL);
    const condition = this.at(address);
    const { waiters } = condition;
    condition.woken = isBroadcast ? waiters.size : Math.min(waiters.size, condition.woken + 1);
    if (!this.checkSignals || condition.mutex === 0) return;
    const mutex = this.mutexAt(condition.mutex);
    if (!mutex) return;
    if (mutex.isRwlock) this.complain(at, `${SIGNAL}: associated lock is a rwlock`);
    if (!mutex.isHeld)
      this.complain(at, `${SIGNAL}: dubious: associated lock is not held by any thread`);
    else if (mutex.depth(at.thread) === 0)
      this.complain(at, `${SIGNAL}: associated lock is not held by calling thread`);
  }

  /** Returns how to take it back, in case the call fails. */
  destroyed(at: Moment, address: number, isBlank: boolean): (() => void) | undefined {
    const condition = this.all.get(address);
    if (!condition) {
      if (!isBlank && !this.areas.mayBeForeign(address))
        this.complain(at, 'pthread_cond_destroy: destruction of unknown cond var');
      return undefined;
    }
    if (condition.waiters.size > condition.woken) {
      const sentence = 'destruction of condition variable being waited upon';
      this.complain(at, `pthread_cond_destroy: ${sentence}`);
      return undefined;
    }
    this.all.delete(address);
    return () => this.all.set(address, condition);
  }

  /** @param isSet - the condition is not as static initialisers leave it */
  private used(at: Moment, address: number, isSet: boolean, fn: string): void {
    if (!isSet || this.all.get(address) || this.areas.mayBeForeign(address)) return;
    this.complain(at, `${fn}: condition variable has not been initialized`);
  }

  forget(at: Moment, start: number, end: number): void {
    for (const address of this.all.within(start, end)) {
      const { waiters, woken } = this.all.get(address)!;
      if (waiters.size > woken)
        this.complain(at, 'memory of a condition variable being waited upon is freed');
      this.all.delete(address);
    }
  }

  private at(address: number): Condition {
    let condition = this.all.get(address);
    if (!condition) {
      condition = { address, mutex: 0, waiters: new Set(), woken: 0 };
      this.all.set(address, condition);
    }
    return condition;
  }
}

interface Semaphore {
  readonly appeared: Moment;
  /** Posts that no wait has used; only a lower limit where other processes may post. */
  value: number;
  readonly waiters: Set<number>;
}

export class Semaphores {
  private readonly all = new AddressMap<Semaphore>();

  constructor(
    private readonly complain: Complain,
    private readonly areas: MemoryAreas,
    private readonly isSame: IsSame,
  ) {}

  initialised(at: Moment, address: number, value: number): void {
    const known = this.all.get(address);
    if (known && known.waiters.size > 0)
      this.complain(at, 'sem_init: threads are waiting for the semaphore');
    else if (known && this.isSame(address, known.appeared, at) && !this.areas.mayBeForeign(address))
      this.complain(at, 'sem_init: semaphore is already initialised');
    this.all.set(address, { appeared: at, value, waiters: new Set() });
  }

  posted(at: Moment, address: number): (() => void) | undefined {
    const semaphore = this.known(at, address, 'sem_post');
    if (!semaphore) return undefined;
    semaphore.value++;
    return () => void semaphore.value--;
  }

  waitBegins(at: Moment, address: number): void {
    this.known(at, address, 'sem_wait')?.waiters.add(at.thread);
  }

  waitEnds(at: Moment, address: number, isTaken: boolean): void {
    const semaphore = this.all.get(address);
    if (!semaphore) return;
    semaphore.waiters.delete(at.thread);
    if (!isTaken) return;
    if (semaphore.value > 0) semaphore.value--;
    else if (!this.areas.mayBeForeign(address))
      this.complain(
        at,
        'Bug in libpthread: sem_wait succeeded on semaphore without prior sem_post',
      );
  }

  destroyed(at: Moment, address: number): (() => void) | undefined {
    const semaphore = this.known(at, address, 'sem_destroy');
    if (!semaphore) return undefined;
    if (semaphore.waiters.size > 0)
      this.complain(at, 'sem_destroy: threads are waiting for the semaphore');
    this.all.delete(address);
    return () => this.all.set(address, semaphore);
  }

  forget(start: number, end: number): void {
    for (const address of this.all.within(start, end)) this.all.delete(address);
  }

  private known(at: Moment, address: number, fn: string): Semaphore | undefined {
    const semaphore = this.all.get(address);
    if (!semaphore && !this.areas.mayBeForeign(address))
      this.complain(at, `${fn}: semaphore was never initialised`);
    return semaphore;
  }
}

interface Barrier {
  readonly appeared: Moment;
  size: number;
  readonly isResizable: boolean;
  /** Threads that have arrived since all were let go. */
  waiting: number;
}

export class Barriers {
  private readonly all = new AddressMap<Barrier>();

  constructor(
    private readonly complain: Complain,
    private readonly areas: MemoryAreas,
    private readonly isSame: IsSame,
  ) {}

  initialised(at: Moment, address: number, size: number, isResizable: boolean): () => void {
    const say = (sentence: string) => this.complain(at, `pthread_barrier_init: ${sentence}`);
    if (size === 0) say("'count' argument is zero");
    const known = this.all.get(address);
    if (known && this.isSame(address, known.appeared, at)) say('barrier is already initialised');
    if (known && known.waiting > 0) say('threads are waiting at barrier');
    this.all.set(address, { appeared: at, size, isResizable, waiting: 0 });
    return () => (known ? this.all.set(address, known) : this.all.delete(address));
  }

  arrives(at: Moment, address: number): void {
    const barrier = this.known(at, address, 'pthread_barrier_wait: barrier is uninitialised');
    if (barrier && ++barrier.waiting >= barrier.size) barrier.waiting = 0;
  }

  resized(at: Moment, address: number, size: number): void {
    const fn = 'pthread_barrier_resize';
    const barrier = this.known(at, address, `${fn}: barrier is uninitialised`);
    if (!barrier) return;
    if (!barrier.isResizable) this.complain(at, `${fn}: barrier is may not be resized`);
    else if (size === 0) this.complain(at, `${fn}: 'newcount' argument is zero`);
    else {
      barrier.size = size;
      if (barrier.waiting >= size) barrier.waiting = 0;
    }
  }

  destroyed(at: Moment, address: number): (() => void) | undefined {
    const fn = 'pthread_barrier_destroy';
    const barrier = this.known(at, address, `${fn}: barrier was never initialised`);
    if (!barrier) return undefined;
    if (barrier.waiting > 0) this.complain(at, `${fn}: threads are waiting at barrier`);
    this.all.delete(address);
    return () => this.all.set(address, barrier);
  }

  forget(at: Moment, start: number, end: number): void {
    for (const address of this.all.within(start, end)) {
      if (this.all.get(address)!.waiting > 0)
        this.complain(at, 'memory of a barrier that threads are waiting at is freed');
      this.all.delete(address);
    }
  }

  private known(at: Moment, address: number, sentence: string): Barrier | undefined {
    const barrier = this.all.get(address);
    if (!barrier && !this.areas.mayBeForeign(address)) this.complain(at, sentence);
    return barrier;
  }
}
