/**
 * One pass over a process image that finds its races: replays it, follows what orders its accesses, and
 * judges each access against the history of the memory that it touches.
 */
import { numberAt } from '../../replay/event-cursor.js';
import { recordedStacks, type RecordedStacks } from '../../replay/lineage.js';
import { openReplay, type ProcessReplay } from '../../replay/replay.js';
import type { AccessRows } from '../../replay/guest.js';
import type { FreshAccesses } from '../../replay/fresh-accesses.js';
import type { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import type { Table } from '../../schemas/schema.js';
import {
  client_requests,
  heap,
  isRelease,
  mappings,
  memory,
  slices,
  sync,
  syscall_enters,
  syscall_memory,
  thread_events,
} from '../../schemas/tables.js';
import type { LockPass } from './check-locks.js';
import { SyncClock, Threads, type Tenancy, type ThreadClock } from './clocks.js';
import { AccessHistory, type Access } from './history.js';
import { LiveBlocks } from './live-blocks.js';
import { Predictor } from './predict.js';
import { RecordedOrder } from './recorded-order.js';
import {
  ATOMIC,
  CPP_ATOMIC,
  isInLinker,
  isInOpenmp,
  isInRuntime,
  isReplacement,
  LINKER,
  OF_THREAD,
  OPENMP,
  PLAIN,
  RUNTIME,
  SiteKinds,
  UNKNOWN,
} from './site-kinds.js';
import { bySyncOp, SYNC_OPS, SyncRow } from './sync-row.js';
import { Synchronisation } from './synchronisation.js';
import { SyncVariables, type Evidence, type KnownVariable } from './variables.js';

/** One side of a race. */
export interface RacyAccess {
  readonly thread: number;
  /** Number of the task of OpenMP that the thread executed; 0 for none. */
  readonly task: number;
  readonly tick: bigint;
  /** The instruction; undefined when the program did not access by itself. */
  readonly pc: bigint | undefined;
  readonly isStore: boolean;
  readonly size: number;
  /** What accessed in the place of an instruction: `free`, or the name of a system call's parameter. */
  readonly by: string | undefined;
  /** Recorded call stack, where the program did not access by itself. */
  readonly stack: number;
}

/** Two concurrent accesses to the same memory. */
export interface Race {
  readonly earlier: RacyAccess;
  readonly later: RacyAccess;
  /** First byte of the later access. */
  readonly address: bigint;
  /** How often these two places raced. */
  count: number;
  /** Of a race that happens in another schedule only: how far each thread comes there, its tick. */
  readonly reached?: ReadonlyMap<number, number>;
}

export interface DetectorResult {
  /** Those that the execution shows, then those that are predicted at other places. */
  readonly races: readonly Race[];
  /** Pairs of accesses that another schedule was looked for, and such that were not for their number. */
  readonly predictions: { readonly judged: number; readonly skipped: number };
  /** Races are not all told: there were too many places. */
  readonly isCut: boolean;
  readonly variables: readonly KnownVariable[];
  readonly sharedVariables: readonly KnownVariable[];
  /** What threads access in OpenMP's library without any order that is known. */
  readonly racedInLibrary: readonly KnownVariable[];
  readonly divergences: readonly string[];
}

export interface DetectorOptions {
  /** Addresses of instructions in functions of C++'s atomic types. */
  readonly atomicPcs: ReadonlySet<bigint>;
  /** Synchronisation variables that are known before. */
  readonly variables: readonly KnownVariable[];
  /** Atomic instructions do not make a variable of the memory that they access: plain loads and stores there are judged. */
  readonly areAtomicsStrict: boolean;
  /** A block that is freed counts as written by who frees it. */
  readonly freeIsWrite: boolean;
  /** Look for races of other schedules, too; not if there are tasks, whose order in a thread nothing turns round. */
  readonly predicts: boolean;
  /** OpenMP's tasks are created. */
  readonly hasTasks: boolean;
  /** Threads that judge accesses while the replay goes on; 0: it waits for them. */
  readonly takers: number;
  readonly progress: (tick: bigint) => void;
  /** Is told of the rows of its tables, too. */
  readonly locks: LockPass | undefined;
}

/** Pairs of places that are told of at most. */
const MOST_RACES = 1000;
/** Pairs of accesses that another schedule is looked for: at two places, and at all. */
const MOST_PREDICTIONS_OF_PLACES = 1000;
const MOST_PREDICTIONS = 2_000_000;
/** Prediction may remember so many entries. */
const FEW_ENTRIES = 250_000;
/** Numbers of what is no site of an instruction begin here. */
const OTHER_SITES = 2 ** 25;
/** Bytes that the C library keeps at the end of a thread's stack for itself. */
const THREAD_DESCRIPTOR_BYTES = 4096;
const SYS_ARCH_PRCTL = 158;
const ARCH_SET_FS = 0x1002;
const SYS_FUTEX = 202;
/** System calls whose parameters are the C library's business, or the engine's. */
const QUIET_SYSCALLS: ReadonlySet<number> = new Set([
  SYS_FUTEX,
  56,
  60,
  218,
  231,
  273,
  334,
  435,
  449,
]);
const RUNTIME_PATH = /\/(?:ld-[^/]*|libc[.-][^/]*|libpthread[.-][^/]*)$/;

/** Requests of drd.h, whose codes begin with its two letters. */
const DRD = 0x44520000;
const DRD_REQUEST = {
  startSuppression: DRD + 2,
  finishSuppression: DRD + 3,
  recordLoads: DRD + 6,
  recordStores: DRD + 7,
  semaphoreWaitPost: DRD + 13,
  semaphorePostPre: DRD + 14,
} as const;
/** Operations of `sync` that say how memory is to be looked at. */
const CLEAN_MEMORY = 1;
const CLEAN_BLOCK = 2;
const UNTRACK = 3;
const TRACK = 4;
const ANNOTATIONS = bySyncOp({
  clean_memory: CLEAN_MEMORY,
  clean_heap_block: CLEAN_BLOCK,
  untrack: UNTRACK,
  track: TRACK,
});
/** The operations of a critical section. */
const SECTION: readonly number[] = [
  SYNC_OPS.mutex_lock_begin,
  SYNC_OPS.mutex_lock,
  SYNC_OPS.mutex_unlock_begin,
  SYNC_OPS.mutex_unlock,
];
/** Fewer rows are not set aside. */
const FEWEST_ASIDE = 512;
const NO_ENDS = new Float64Array(0);
/** Bits: a thread asked that its loads, or stores, not be looked at. */
const NO_LOADS = 1;
const NO_STORES = 2;

const TABLES: readonly Table[] = [
  client_requests,
  heap,
  mappings,
  memory,
  slices,
  sync,
  syscall_enters,
  syscall_memory,
  thread_events,
];

/** So many operations are taken ahead of the replay. */
const MOST_WAITING = 256;
/** Those that can be: they begin no epoch, of any thread. */
const GO_AHEAD = bySyncOp({
  ...{ mutex_lock_begin: 1, mutex_lock: 1, mutex_unlock: 1, mutex_acquired: 1 },
  ...{ rwlock_lock_begin: 1, rwlock_lock: 1, rwlock_unlock: 1, rwlock_acquired: 1 },
  ...{ cond_wait: 1, cond_signal_end: 1, cond_broadcast_end: 1, sem_wait_begin: 1, sem_wait: 1 },
  ...{ sem_acquired: 1, sem_post_end: 1, spin_lock_begin: 1, spin_lock: 1 },
  ...{ spin_init_or_unlock_end: 1, create_begin: 1, create_end: 1, happens_after: 1 },
  ...{ task_create_begin: 1, task_depend: 1, taskwait_begin: 1, taskwait: 1, taskgroup: 1 },
  ...{ taskgroup_end_begin: 1, taskgroup_end: 1, tasks_done: 1 },
});
/** Those that begin an epoch, of their own thread and no other. */
const BEGINS_EPOCH = bySyncOp({
  ...{ mutex_unlock_begin: 1, rwlock_unlock_begin: 1, rwlock_released: 1, spin_init_or_unlock: 1 },
  ...{ cond_wait_begin: 1, cond_signal: 1, cond_broadcast: 1, happens_before: 1 },
  ...{ sem_post: 1, sem_released: 1 },
});

interface OtherSite {
  readonly by: string;
  readonly stack: number;
  readonly isStore: boolean;
  size: number;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

export class Detector {
  private readonly replay: ProcessReplay;
  private readonly fresh: FreshAccesses;
  private readonly threads = new Threads();
  private readonly synchronisation = new Synchronisation(this.threads);
  private readonly history: AccessHistory;
  private readonly variables: SyncVariables;
  /** If atomics are strict, what atomic instructions released, by address. */
  private readonly atomics = new Map<number, SyncClock>();
  private readonly kinds: SiteKinds;
  private readonly others: OtherSite[] = [];
  private readonly otherNumbers = new Map<string, number>();
  private readonly races = new Map<number, Race>();
  private readonly racedInLibrary = new Map<string, KnownVariable>();
  private readonly predictor: Predictor | undefined;
  private readonly order: RecordedOrder | undefined;
  private readonly predicted = new Map<number, Race>();
  /** By pair of places. */
  private readonly predictions = new Map<number, number>();
  private judged = 0;
  private skipped = 0;
  private isCut = false;
  /** Those that wait stand first, in order. */
  private readonly operations: SyncRow[] = [];
  private waiting = 0;
  /** So many of them have been performed and not been taken out yet. */
  private done = 0;
  private mostEntries = FEW_ENTRIES;
  /** More than one thread lives, or did things that are concurrent with what the one does. */
  private isConcurrent = false;
  /** Memory of the C library that only it accesses. */
  private readonly runtimeData: Range[] = [];
  /** Mappings without a file, in which stacks lie. */
  private anonymous: Range[] = [];
  private untracked: Range[] = [];
  /** Accesses that threads asked not to be looked at. */
  private readonly ignored = new Map<number, number>();
  /** Call under way, by thread. */
  private readonly calls = new Map<number, { number: number; stack: number }>();
  private readonly known: readonly KnownVariable[];
  private readonly blocks = new LiveBlocks();
  /** Addresses of those that OpenMP's library has allocated for itself, and what call stacks say of that. */
  private readonly librarysBlocks = new Set<number>();
  private readonly isLibrarysStack = new Map<number, boolean>();
  private readonly stacks: RecordedStacks;
  /** Where thread-local variables lie. */
  private readonly threadLocal: Range[] = [];
  /** By thread: the epoch for which accesses are told of. */
  private readonly epochs: number[] = [];
  private settled = 0;
  private readonly begun = new Set<number>();
  /** The thread whose rows are set aside; 0 when none are. */
  private aside = 0;

  // The access that is being judged.
  private current: ThreadClock | undefined;
  private tick = 0;
  private site = 0;
  private address = 0;

  constructor(
    trace: Trace,
    process: number,
    private readonly symbols: Symbols,
    private readonly options: DetectorOptions,
  ) {
    this.stacks = recordedStacks(trace, process);
    if (options.predicts && !options.hasTasks) {
      this.predictor = new Predictor();
      this.order = new RecordedOrder(this.predictor, this.threads);
    }
    this.history = new AccessHistory(
      {
        race: (earlier, address) => this.race(earlier, address),
        synchronised: ({ address }, mask, isStore) => this.operate(address, mask, isStore),
        advanced: (epochs, ends) => this.advanced(epochs, ends),
      },
      this.predictor && {
        ordered: (earlier, address) => this.predict(earlier, address),
        readFrom: (slot, time, tick) =>
          this.predictor!.readFrom(this.current!.slot, this.tick, slot, time, tick),
        known: (slot) => this.predictor!.known(slot),
      },
      options.takers,
    );
    this.variables = new SyncVariables(this.history, {
      mark: (address, size) => this.fresh.mark(address, size),
      unmark: (address, size) => this.fresh.unmark(address, size),
      storedAgain: (slot, address, tick) => this.predictor?.signalAgain(slot, address, tick),
    });
    this.known = [...options.variables].sort((a, b) => a.address - b.address);
    this.replay = openReplay(trace, process, {
      accesses: true,
      columns: new Set(['ticks', 'addresses']),
      fresh: {
        synchronises: (pc) => options.atomicPcs.has(pc),
        mayOmit: (pc) => isInLinker(symbols, pc),
        servesOperations: (pc) => isInRuntime(symbols, pc) || isInOpenmp(symbols, pc),
        isInOperation: () =>
          this.synchronisation.isWithinAfter(
            this.replay.thread,
            this.operations,
            this.waiting,
            this.replay.guest.now,
          ),
      },
      observer: {
        tables: TABLES,
        applied: (row) => this.applied(row),
        takesAhead: (row) => this.takesAhead(row),
      },
    });
    this.fresh = this.replay.guest.fresh!;
    this.kinds = new SiteKinds(this.replay.sites, symbols, options.atomicPcs);
  }

  run(): DetectorResult {
    const { replay } = this;
    try {
      for (let batch; (batch = replay.nextAccesses());) {
        this.accesses(batch.thread, replay.guest.accessRows(), false);
        this.options.progress(replay.tick);
      }
    } finally {
      this.settle();
    }
    return {
      races: [...this.races.values(), ...this.predictedRaces()],
      predictions: { judged: this.judged, skipped: this.skipped },
      isCut: this.isCut,
      variables: this.variables.all(),
      sharedVariables: this.variables.shared(),
      racedInLibrary: [...this.racedInLibrary.values()],
      divergences: replay.divergences,
    };
  }

  // ---- Accesses ----

  /** @param isAwaited - something is to be done next that depends on what is judged */
  private accesses(number: number, rows: AccessRows, isAwaited: boolean): void {
    const { count, ticks } = rows;
    if (count === 0 || !this.replay.isInImage) return;
    this.settle();
    const last = numberAt(ticks, count - 1);
    const { history, operations } = this;
    let from = 0;
    this.done = 0;
    while (this.done < this.waiting) {
      const operation = operations[this.done]!;
      if (operation.tick > last) break;
      const sections = this.findSections(number);
      const next = this.done + sections;
      const end = next < this.waiting ? firstAt(ticks, operations[next]!.tick, from, count) : count;
      history.setSections(sections);
      if (end > from) this.accessesOf(number, rows, from, end);
      history.setSections(0);
      if (sections === 0 || end === from) this.performLate(operations[this.done++]!);
      from = end;
    }
    this.drop(this.done);
    if (isAwaited || !this.setAside(number, from, count))
      this.accessesOf(number, rows, from, count);
  }

  /**
   * Has other threads judge the rows from number `from` on, if there are any, and the replay need not wait for what comes of it: all
   * rows are plain ones. Their thread's clock, the history, and prediction stay what they are until `settle`.
   */
  private setAside(number: number, from: number, count: number): boolean {
    if (count - from < FEWEST_ASIDE || !this.isConcurrent) return false;
    if (this.options.hasTasks || this.ignored.size > 0) return false;
    const { guest, sites } = this.replay;
    this.kinds.reserve();
    this.enter(number);
    const dropped = this.droppedOf(number);
    const { kinds } = this.kinds;
    if (!this.history.setAside(guest, sites, kinds, dropped, from, count)) return false;
    this.aside = number;
    return true;
  }

  /** Waits for the rows that are set aside, and judges those that are left. */
  private settle(): void {
    if (this.aside === 0) return;
    const number = this.aside;
    this.aside = 0;
    const { rows, taken } = this.history.endTaking();
    if (taken < rows.count) this.accessesOf(number, rows, taken, rows.count);
  }

  /**
   * Finds critical sections of mutexes that come next among the operations that wait, and concern only the thread: nobody else
   * can have had the mutex since it did. The module judges the accesses in and between them at once.
   * @returns how many operations these are
   */
  private findSections(number: number): number {
    const { operations, history, synchronisation, predictor } = this;
    if (!this.isConcurrent || this.options.hasTasks || this.ignored.size > 0) return 0;
    if (synchronisation.isWithinOperation(number)) return 0;
    const { slot } = this.threads.get(number);
    const { sections } = history;
    let count = 0;
    for (; count < sections.length && this.done + count + 4 <= this.waiting; count += 4) {
      const first = this.done + count;
      const { object } = operations[first]!;
      for (let part = 0; part < 4; part++) {
        const operation = operations[first + part]!;
        const isPart = operation.op === SECTION[part] && operation.object === object;
        if (!isPart || operation.thread !== number) return count;
        sections[count + part] = operation.tick;
      }
      if (operations[first + 1]!.object2 === 0 || !synchronisation.isOf(slot, object)) break;
      if (predictor && !predictor.isFree(object)) break;
    }
    return count;
  }

  /**
   * Performs operations of the sections: those that the module has passed, then the others up to a tick.
   * @param first - number of operations that were done before them
   */
  private passSections(number: number, first: number, count: number, tick: number): boolean {
    const { history, operations, predictor } = this;
    const before = this.done;
    for (; this.done < first + history.passed; this.done++) {
      const operation = operations[this.done]!;
      this.perform(operation);
      if (!BEGINS_EPOCH[operation.op]) continue;
      const { slot, time } = this.threads.get(number);
      this.epochs[number] = slot * 2 ** 32 + time;
      predictor?.endEpochs(slot, time, NO_ENDS);
    }
    for (; this.done < first + count && operations[this.done]!.tick <= tick; this.done++)
      this.performLate(operations[this.done]!);
    if (this.done === before) return false;
    history.passed = this.done - first;
    this.enter(number);
    this.sweep();
    return true;
  }

  /** The rows from number `from` on and before `count`, between which nothing else happened but sections (`findSections`). */
  private accessesOf(number: number, rows: AccessRows, from: number, count: number): void {
    const { sites, ticks, addresses } = rows;
    if (!this.isConcurrent) return this.learnBefore(rows, from, count);
    this.kinds.reserve();
    this.enter(number);
    const { history, replay } = this;
    const { kinds } = this.kinds;
    const { sizes, stores } = replay.sites;
    const ignored = this.ignored.size === 0 ? 0 : (this.ignored.get(number) ?? 0);
    const first = this.done;
    const sections = history.sectionCount;
    let dropped = this.droppedOf(number);
    for (let i = from; i < count; i++) {
      const next = kinds[sites[i]!]!;
      if (ignored === 0 && (isTaken(next) || next & dropped)) {
        i = history.take(replay.guest, rows, replay.sites, kinds, dropped, i, count);
        if (i === count) {
          if (sections > 0) this.passSections(number, first, sections, -1);
          break;
        }
      }
      const site = sites[i]!;
      const tick = numberAt(ticks, i);
      if (sections > 0 && this.passSections(number, first, sections, tick))
        dropped = this.droppedOf(number);
      const low = addresses[2 * i]!;
      const high = addresses[2 * i + 1]!;
      if (ignored !== 0 && ignored & (stores[site] ? NO_STORES : NO_LOADS)) continue;
      this.site = site;
      this.tick = tick;
      this.address = high * 0x1_0000_0000 + low;
      let kind = kinds[site]!;
      if (kind === UNKNOWN) {
        kind = this.kinds.classify(site);
        if (kind === PLAIN && this.options.hasTasks && isIn(this.threadLocal, this.address))
          kind = kinds[site] = OF_THREAD;
      }
      if (kind === PLAIN) history.access(site, tick, low, high, sizes[site]!, stores[site] === 1);
      else this.specialAccess(kind, low, high);
    }
  }

  /** Bits for kinds of sites whose accesses are of no interest now. */
  private droppedOf(number: number): number {
    return this.synchronisation.isWithinOperation(number) ? LINKER | RUNTIME | OPENMP : LINKER;
  }

  /** While there is one thread, only which variables atomic instructions access is of interest. */
  private learnBefore({ sites, addresses }: AccessRows, from: number, count: number): void {
    if (this.options.areAtomicsStrict) return;
    const { atomics, sizes } = this.replay.sites;
    for (let i = from; i < count; i++) {
      const site = sites[i]!;
      if (!atomics[site] || this.isRuntime(site)) continue;
      const address = numberAt(addresses, i);
      this.learn(address, sizes[site]!, 'atomic instruction', this.tick);
    }
  }

  private isRuntime(site: number): boolean {
    this.kinds.reserve();
    return ((this.kinds.kinds[site] || this.kinds.classify(site)) & (RUNTIME | LINKER)) !== 0;
  }

  /** An access that is not simply one of the program's. */
  private specialAccess(kind: number, low: number, high: number): void {
    const { site, tick } = this;
    const { address } = this;
    if (kind & LINKER) return;
    if (kind & OF_THREAD) {
      const { slot, time } = this.current!;
      this.threads.owner(slot, time).knowsThread = true;
    }
    if (kind & OPENMP && this.synchronisation.isWithinOperation(this.current!.number)) return;
    if (kind & RUNTIME) {
      if (this.synchronisation.isWithinOperation(this.current!.number)) return;
      if (isIn(this.runtimeData, address)) return;
    }
    const size = this.replay.sites.sizes[site]!;
    const isStrict = this.options.areAtomicsStrict && (kind & CPP_ATOMIC) === 0;
    if (kind & (ATOMIC | CPP_ATOMIC) && !isStrict) {
      const evidence = kind & ATOMIC ? 'atomic instruction' : 'C++ atomic';
      this.learn(address, size, evidence, tick);
    }
    const isStore = this.replay.sites.stores[site] === 1;
    this.history.access(site, tick, low, high, size, isStore);
    if (kind & ATOMIC && isStrict) this.orderAtomic(address, isStore);
  }

  /** Atomic instructions order what they access, if nothing else does: loads acquire, and stores release. */
  private orderAtomic(address: number, isStore: boolean): void {
    const clock = this.atomics.get(address) ?? new SyncClock();
    this.atomics.set(address, clock);
    if (isStore) clock.release(this.current!);
    else clock.acquire(this.current!);
    this.orderInPrediction(address, isStore);
    this.operated(isStore);
  }

  private learn(address: number, size: number, evidence: Evidence, tick: number): void {
    this.variables.learn(address, size, evidence, tick, () => this.blocks.at(address)?.event ?? 0);
  }

  private operate(granule: number, mask: number, isStore: boolean): void {
    this.variables.operate(this.current!, granule, mask, isStore, (address) =>
      this.orderInPrediction(address, isStore),
    );
    this.operated(isStore);
  }

  /** What synchronises at an address signals by the current store, or is waited for by the current load. */
  private orderInPrediction(address: number, isStore: boolean): void {
    const { slot } = this.current!;
    if (isStore) this.predictor?.signal(slot, address, this.tick + 1);
    else this.predictor?.await(slot, address, this.tick + 1);
  }

  /** After an operation that synchronises: a store has begun an epoch. */
  private operated(isStore: boolean): void {
    const { slot, time } = this.current!;
    if (isStore) this.predictor?.endEpoch(slot, time, this.tick + 1);
    this.history.enter(this.current!);
  }

  /** The module has done stores to synchronisation variables. */
  private advanced(epochs: number, ends: Float64Array): void {
    const { slot, time } = this.current!;
    this.threads.epochs.count += epochs;
    this.predictor?.endEpochs(slot, time, ends);
    this.sweep();
  }

  private enter(number: number): void {
    this.current = this.threads.get(number);
    this.history.enter(this.current);
  }

  private race(earlier: Access, address: number): void {
    if (this.isLibrarys(this.site) || this.isLibrarys(earlier.site)) {
      if (this.isLibrarys(this.site) && this.isLibrarys(earlier.site)) this.learnLater();
      return;
    }
    if (this.isAtomic(this.site) && this.isAtomic(earlier.site)) return;
    if (this.untracked.length > 0 && isIn(this.untracked, address)) return;
    if (this.options.hasTasks && this.isOneAfterOther(earlier, address)) return;
    const key = pairOf(earlier.site, this.site);
    const known = this.races.get(key);
    if (known) {
      known.count++;
      return;
    }
    if (this.races.size >= MOST_RACES) {
      this.isCut = true;
      return;
    }
    this.races.set(key, this.raceWith(earlier));
  }

  /**
   * Tasks are not ordered, but they would not both access this at once: it is the thread's, which executes one task after
   * the other; or the memory of a stack was that of a call which is over.
   */
  private isOneAfterOther(earlier: Access, address: number): boolean {
    if (this.synchronisation.tasks.wasCleared(address, earlier.tick)) return true;
    const { slot, time, number } = this.current!;
    const owner = this.threads.owner(earlier.slot, earlier.time);
    if (owner.thread !== number) return false;
    if (owner.knowsThread && this.threads.owner(slot, time).knowsThread) return true;
    if (isIn(this.threadLocal, address)) return true;
    // The C library leaves out its locks while there is one thread.
    const sites = [earlier.site, this.site];
    if (sites.every((site) => site < OTHER_SITES && this.isRuntime(site))) return true;
    return this.librarysBlocks.has(this.blocks.at(address)?.address ?? 0);
  }

  /** The site is one of a run-time library of OpenMP. */
  private isLibrarys(site: number): boolean {
    return site < OTHER_SITES && (this.kinds.kinds[site]! & OPENMP) !== 0;
  }

  /** The site is one of an atomic instruction. */
  private isAtomic(site: number): boolean {
    return site < OTHER_SITES && (this.kinds.kinds[site]! & ATOMIC) !== 0;
  }

  /** The library is right: by what races in it, it orders accesses. */
  private learnLater(): void {
    const { address, tick } = this;
    const born = this.blocks.at(address)?.event ?? 0;
    const size = this.replay.sites.sizes[this.site]!;
    const variable = { address, size, evidence: ['OpenMP'] as const, born, tick, operations: 0 };
    this.racedInLibrary.set(`${address} ${size} ${born}`, variable);
  }

  private raceWith(earlier: Access): Race {
    const owner = this.threads.owner(earlier.slot, earlier.time);
    return {
      earlier: this.side(owner, earlier.tick, earlier.site, earlier.isStore),
      later: this.side(
        this.threads.owner(this.current!.slot, this.current!.time),
        this.tick,
        this.site,
        undefined,
      ),
      address: BigInt(this.address),
      count: 1,
    };
  }

  /** Looks for a schedule in which the current access is concurrent with an earlier one that it now follows. */
  private predict(earlier: Access, address: number): void {
    const { predictor, order } = this;
    const { slot } = this.current!;
    if (!predictor || !order || this.isLibrarys(this.site) || this.isLibrarys(earlier.site)) return;
    if (this.isAtomic(this.site) && this.isAtomic(earlier.site)) return;
    if (predictor.isOrdered(earlier.slot, earlier.tick, slot, this.tick)) return;
    if (this.untracked.length > 0 && isIn(this.untracked, address)) return;
    const key = pairOf(earlier.site, this.site);
    if (this.predicted.has(key)) return;
    const count = this.predictions.get(key) ?? 0;
    if (count >= MOST_PREDICTIONS_OF_PLACES || this.judged >= MOST_PREDICTIONS) {
      this.skipped++;
      return;
    }
    this.predictions.set(key, count + 1);
    this.judged++;
    const bounds = predictor.findSchedule(earlier.slot, earlier.tick, slot, this.tick);
    if (!bounds) return;
    if (this.predicted.size >= MOST_RACES) this.isCut = true;
    else this.predicted.set(key, { ...this.raceWith(earlier), reached: order.byThread(bounds) });
  }

  /** At places that do not race in the recorded schedule. */
  private predictedRaces(): Race[] {
    return [...this.predicted]
      .filter(([key]) => !this.races.has(key) && !this.races.has(turned(key)))
      .map(([, race]) => race);
  }

  private side(
    { thread, task }: Tenancy,
    tick: number,
    site: number,
    isStore: boolean | undefined,
  ): RacyAccess {
    const { sites } = this.replay;
    if (site >= OTHER_SITES) {
      const other = this.others[site - OTHER_SITES]!;
      return { thread, task, tick: BigInt(tick), pc: undefined, ...other };
    }
    return {
      thread,
      task,
      tick: BigInt(tick),
      pc: sites.pcs[site]!,
      isStore: isStore ?? sites.stores[site] === 1,
      size: sites.sizes[site]!,
      by: undefined,
      stack: 0,
    };
  }

  // ---- Events ----

  private applied(row: EventRow): void {
    const { isInImage } = this.replay;
    if (row.table === sync && isInImage) return this.synchronised(row);
    const { locks } = this.options;
    if (locks?.tables.includes(row.table)) locks.applied(row, isInImage);
    if (!isInImage) return;
    if (row.table !== slices) this.drain();
    switch (row.table) {
      case thread_events:
        this.synchronisation.threadEvent(row);
        this.settleConcurrency(row);
        this.order?.threadEvent(row);
        this.settleEpochs(row.tick);
        break;
      case memory:
        if (row.name('cause') === 'thread_exit') this.threadExit(row);
        break;
      case slices:
        this.begin(row);
        break;
      case heap:
        this.heapCall(row);
        break;
      case mappings:
        this.mapping(row);
        break;
      case syscall_enters:
        this.syscall(row);
        break;
      case syscall_memory:
        this.syscallMemory(row);
        break;
      case client_requests:
        this.request(row);
        break;
    }
  }

  /**
   * Operations that begin no epoch need not stop the replay: they wait until the accesses before them have been judged,
   * of which there are more then.
   */
  private takesAhead(row: EventRow): boolean {
    if (row.table !== sync || !this.replay.isInImage || this.waiting === MOST_WAITING) return false;
    const operation = this.nextOperation(row);
    if (!GO_AHEAD[operation.op]) return false;
    this.options.locks?.operation(operation, row);
    this.waiting++;
    return true;
  }

  /**
   * The replay has come to a row of `sync`. One that begins an epoch of its thread does so in compiled code at once, and else
   * waits as those do that are taken ahead.
   */
  private synchronised(row: EventRow): void {
    const operation = this.nextOperation(row);
    this.options.locks?.operation(operation, row);
    if (BEGINS_EPOCH[operation.op] && this.waiting < MOST_WAITING) {
      this.fresh.endEpoch(operation.thread);
      this.waiting++;
      return;
    }
    this.drain();
    this.perform(operation);
    if (this.synchronisation.tasks.areDeferred) this.beginConcurrency(row.tick);
    this.settleEpochs(row.tick);
  }

  /** The row as an operation, behind those that wait. */
  private nextOperation(row: EventRow): SyncRow {
    return (this.operations[this.waiting] ??= new SyncRow()).read(row);
  }

  private perform(operation: SyncRow): void {
    this.synchronisation.operation(operation);
    this.order?.operation(operation);
    if (ANNOTATIONS[operation.op]) this.annotation(operation);
  }

  /** Performs an operation that has waited: compiled code knows of the epoch that it begins. */
  private performLate(operation: SyncRow): void {
    this.perform(operation);
    if (!BEGINS_EPOCH[operation.op]) return;
    this.beginEpoch(this.threads.get(operation.thread), operation.tick);
    this.sweep();
  }

  /** The first of the operations wait no more. */
  private drop(count: number): void {
    if (count < this.waiting && count > 0)
      this.operations.push(...this.operations.splice(0, count)); // to be used again
    this.waiting -= count;
  }

  /** Judges the accesses that were made before the event, and performs the operations. */
  private drain(): void {
    this.settle();
    const { guest } = this.replay;
    const rows = guest.accessRows();
    if (rows.count > 0) {
      this.accesses(this.replay.thread, rows, true);
      guest.resetAccesses();
    }
    for (let i = 0; i < this.waiting; i++) this.performLate(this.operations[i]!);
    this.waiting = 0;
  }

  private settleConcurrency(row: EventRow): void {
    const op = row.name('op');
    if (op === 'create') this.beginConcurrency(row.tick);
    else if (op === 'joined' && this.isConcurrent) {
      const thread = this.threads.get(row.u32('thread'));
      if (!this.threads.isAfterAll(thread) || this.synchronisation.tasks.areDeferred) return;
      this.isConcurrent = false;
      this.history.forgetAll();
      this.fresh.turn(false);
      this.variables.startAgain();
      this.predictor?.turn(false, row.tick);
    }
  }

  /** A second thread begins, or a task that may as well be executed by one. */
  private beginConcurrency(tick: number): void {
    if (this.isConcurrent) return;
    this.isConcurrent = true;
    this.fresh.turn(true);
    this.variables.startAgain();
    this.predictor?.turn(true, tick);
    for (const { address, size, evidence, born, tick } of this.known)
      if (born === 0)
        for (const one of evidence) this.variables.learn(address, size, one, tick, () => 0);
  }

  /** Accesses of threads that have begun a new epoch are of interest again. */
  private settleEpochs(tick: number): void {
    const { count } = this.threads.epochs;
    if (count === this.settled) return;
    this.settled = count;
    for (const thread of this.threads.all())
      if (this.beginEpoch(thread, tick)) this.fresh.endEpoch(thread.number);
    this.sweep();
  }

  /** Whether the thread has begun an epoch since this was asked, which prediction is told of. */
  private beginEpoch({ number, slot, time }: ThreadClock, tick: number): boolean {
    const epoch = slot * 2 ** 32 + time;
    if (this.epochs[number] === epoch) return false;
    this.epochs[number] = epoch;
    this.predictor?.endEpoch(slot, time, tick);
    return true;
  }

  /** Now and then, what prediction remembers is gone through; as often as it has doubled, so that this costs little. */
  private sweep(): void {
    const { predictor, history } = this;
    if (!predictor || predictor.size < this.mostEntries) return;
    this.variables.settleAll();
    predictor.sweep((visit) => history.eachAccess(visit));
    this.mostEntries = Math.max(FEW_ENTRIES, history.size, 2 * predictor.size);
  }

  private threadExit(row: EventRow): void {
    const thread = this.threads.endedThread(row.u32('thread'));
    if (!thread) return;
    const [address, tick] = [Number(row.u64('address')), row.tick];
    this.variables.publish(thread, address, tick);
    this.predictor?.signal(thread.slot, address, tick);
  }

  /** A thread runs; the first time on a stack that is its own from now on. */
  private begin(row: EventRow): void {
    const thread = row.u32('thread');
    this.fresh.select(thread);
    if (this.begun.has(thread)) return;
    this.settle();
    this.begun.add(thread);
    const sp = Number(row.u64('sp'));
    const stack = this.anonymous.find(({ start, end }) => sp >= start && sp < end);
    if (!stack || thread === 1) return;
    this.threadLocal.push({ start: sp, end: stack.end });
    this.forget(stack.start, stack.end - stack.start); // thread-local variables, too
    this.runtimeData.push({
      start: sp,
      end: Math.min(stack.end, sp + 2 * THREAD_DESCRIPTOR_BYTES),
    });
  }

  private annotation({ op, object: address, object2: size }: SyncRow): void {
    switch (ANNOTATIONS[op]) {
      case CLEAN_MEMORY:
        return this.forget(address, size);
      case CLEAN_BLOCK:
        return this.forget(address, this.blocks.at(address)?.size ?? 0);
      case UNTRACK:
        return this.untrack(address, size);
      case TRACK:
        return this.track(address, size);
    }
  }

  /** Requests of drd.h that helgrind.h does not have. */
  private request(row: EventRow): void {
    const [address, size] = [Number(row.u64('arg1')), Number(row.u64('arg2'))];
    const number = row.u32('thread');
    const tick = row.tick;
    switch (row.u32('code')) {
      case DRD_REQUEST.startSuppression:
        return this.untrack(address, size);
      case DRD_REQUEST.finishSuppression:
        return this.track(address, size);
      case DRD_REQUEST.recordLoads:
        return this.ignore(number, NO_LOADS, address === 0);
      case DRD_REQUEST.recordStores:
        return this.ignore(number, NO_STORES, address === 0);
      case DRD_REQUEST.semaphoreWaitPost:
        this.predictor?.await(this.threads.get(number).slot, address, tick);
        return this.synchronisation.acquire(this.threads.get(number), address);
      case DRD_REQUEST.semaphorePostPre:
        this.predictor?.signal(this.threads.get(number).slot, address, tick);
        this.synchronisation.release(this.threads.get(number), address);
        return this.settleEpochs(tick);
    }
  }

  private ignore(thread: number, bit: number, isWanted: boolean): void {
    const bits = this.ignored.get(thread) ?? 0;
    this.ignored.set(thread, isWanted ? bits | bit : bits & ~bit);
  }

  private track(start: number, size: number): void {
    this.untracked = this.untracked.filter(
      (range) => range.start < start || range.end > start + size,
    );
  }

  private untrack(start: number, size: number): void {
    this.untracked.push({ start, end: start + size });
  }

  // ---- Memory ----

  private heapCall(row: EventRow): void {
    const op = row.name('op')!;
    const address = Number(row.u64('address'));
    const previous = Number(row.u64('previous'));
    if (isRelease(op)) {
      if (row.u32('known')) this.freed(row, address, Number(row.u64('size')));
      return;
    }
    if (address === 0) return;
    if (previous !== 0) this.freed(row, previous, Number(row.u64('previous_size')));
    const size = Number(row.u64('size'));
    this.newObject(address, size);
    this.blocks.add({ address, size, event: row.event });
    if (this.options.hasTasks && this.isOfLibrary(row.u32('stack')))
      this.librarysBlocks.add(address);
    this.born(address, size, row.event);
  }

  private freed(row: EventRow, address: number, size: number): void {
    this.blocks.remove(address);
    const isLibrarys = this.librarysBlocks.delete(address);
    if (this.isConcurrent && this.options.freeIsWrite && !isLibrarys) {
      this.enter(row.u32('thread'));
      this.setOther(address, 'free', row.u32('stack'), true, size, row);
      this.history.storeToKnown(this.site, this.tick, address, size);
    }
    this.variables.forget(address, size);
    this.synchronisation.forget(address, size);
  }

  /** The call stack is one of a call by OpenMP's library. */
  private isOfLibrary(stack: number): boolean {
    let isIt = this.isLibrarysStack.get(stack);
    if (isIt === undefined) {
      const [caller] =
        this.stacks.get(stack)?.filter((pc) => !isReplacement(this.symbols, pc)) ?? [];
      this.isLibrarysStack.set(stack, (isIt = !!caller && isInOpenmp(this.symbols, caller)));
    }
    return isIt;
  }

  /** A range becomes a new object. */
  private newObject(address: number, size: number): void {
    this.forget(address, size);
    this.variables.forget(address, size);
    this.forgetAtomics(address, size);
  }

  private forgetAtomics(start: number, size: number): void {
    const { atomics } = this;
    if (size < atomics.size)
      for (let address = start; address < start + size; address++) atomics.delete(address);
    else
      for (const address of atomics.keys())
        if (address >= start && address < start + size) atomics.delete(address);
  }

  private forget(address: number, size: number): void {
    this.history.forget(address, size);
    this.fresh.clear(address, size);
  }

  /** Variables that are known before come to life with their block. */
  private born(start: number, size: number, event: number): void {
    const end = start + size;
    let [low, high] = [0, this.known.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.known[middle]!.address < start) low = middle + 1;
      else high = middle;
    }
    for (; low < this.known.length && this.known[low]!.address < end; low++) {
      const { address, size: bytes, evidence, born, tick } = this.known[low]!;
      if (born === event)
        for (const one of evidence) this.variables.learn(address, bytes, one, tick, () => born);
    }
  }

  private mapping(row: EventRow): void {
    const op = row.name('op');
    const start = Number(row.u64('address'));
    const end = start + Number(row.u64('size'));
    if (op === 'mprotect' || op === 'brk' || op === 'brk_shrink') return;
    const file = Buffer.from(row.bytes('file')).toString();
    this.newObject(start, end - start);
    this.anonymous = this.anonymous.filter((range) => range.end <= start || range.start >= end);
    if (op === 'munmap') return;
    if (RUNTIME_PATH.test(file)) this.runtimeData.push({ start, end });
    else if (file === '') this.anonymous.push({ start, end });
  }

  // ---- System calls ----

  private syscall(row: EventRow): void {
    const thread = row.u32('thread');
    const number = row.u32('number');
    if (number === SYS_ARCH_PRCTL && Number(row.u64('arg1')) === ARCH_SET_FS) {
      const end = Number(row.u64('arg2'));
      const mapping = this.anonymous.find((range) => end >= range.start && end < range.end);
      if (mapping) this.threadLocal.push({ start: mapping.start, end });
    }
    this.calls.set(thread, { number, stack: row.u32('stack') });
    if (number !== SYS_FUTEX || !this.isConcurrent) return;
    const address = Number(row.u64('arg1'));
    if (this.synchronisation.isWithinOperation(thread) || isIn(this.runtimeData, address)) return;
    this.learn(address, 4, 'futex', row.tick);
  }

  private syscallMemory(row: EventRow): void {
    if (!this.isConcurrent) return;
    const direction = row.name('direction');
    if (direction !== 'read' && direction !== 'write' && direction !== 'read_string') return;
    const call = this.calls.get(row.u32('thread'));
    if (!call || QUIET_SYSCALLS.has(call.number)) return;
    const address = Number(row.u64('address'));
    const size = Number(row.u64('size'));
    if (size === 0 || isIn(this.runtimeData, address)) return;
    this.enter(row.u32('thread'));
    const isStore = direction === 'write';
    const parameter = Buffer.from(row.bytes('parameter')).toString();
    this.setOther(
      address,
      parameter || `system call ${call.number}`,
      call.stack,
      isStore,
      size,
      row,
    );
    this.history.range(this.site, this.tick, address, size, isStore);
  }

  private setOther(
    address: number,
    by: string,
    stack: number,
    isStore: boolean,
    size: number,
    row: EventRow,
  ): void {
    const key = `${by} ${stack} ${isStore}`;
    let number = this.otherNumbers.get(key);
    if (number === undefined) {
      number = OTHER_SITES + this.others.push({ by, stack, isStore, size }) - 1;
      this.otherNumbers.set(key, number);
    }
    this.site = number;
    this.tick = row.tick;
    this.address = address;
  }
}

/** Accesses of sites of this kind may be taken by the module. */
const isTaken = (kind: number): boolean =>
  kind !== UNKNOWN && (kind & ~(PLAIN | ATOMIC | CPP_ATOMIC | OPENMP)) === 0;

/** A key for two places; `turned` is that of the same ones the other way round. */
const pairOf = (earlier: number, later: number): number => earlier * 2 ** 26 + later;
const turned = (pair: number): number => pairOf(pair % 2 ** 26, Math.floor(pair / 2 ** 26));

/** The first of the rows from `from` on and before `end` whose tick is not below `tick`, or `end`. */
function firstAt(ticks: Uint32Array, tick: number, from: number, end: number): number {
  for (let step = 8; from + step < end; step *= 2) {
    if (numberAt(ticks, from + step) >= tick) {
      end = from + step;
      break;
    }
    from += step;
  }
  while (from < end) {
    const middle = (from + end) >>> 1;
    if (numberAt(ticks, middle) < tick) from = middle + 1;
    else end = middle;
  }
  return from;
}

const isIn = (ranges: readonly Range[], address: number): boolean =>
  ranges.some(({ start, end }) => address >= start && address < end);
