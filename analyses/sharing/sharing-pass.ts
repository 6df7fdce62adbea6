/**
 * The replay in which caches of several cores are simulated: takes the accesses that can change what is in them, puts them
 * into the order that is wanted, and counts what they lead to.
 */
import { numberAt } from '../../replay/event-cursor.js';
import { grown } from '../../replay/grown.js';
import { FILTER_LINE_BITS } from '../../replay/layout.js';
import { LINE_BYTES } from '../../replay/line-filter.js';
import { openReplay, type ProcessReplay } from '../../replay/replay.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import {
  heap,
  mappings,
  slices,
  sync,
  syscall_enters,
  syscall_exits,
  thread_events,
} from '../../schemas/tables.js';
import { SyncRow } from '../race/sync-row.js';
import { Coherence, maskOf, OUTCOME } from './coherence.js';
import { ParallelSchedule } from './parallel-schedule.js';
import { Places } from './places.js';
import { PrivateCaches } from './private-caches.js';
import { Lives, type Placement } from './placement.js';
import { HAS_ACTION, RecordedWaits } from './recorded-waits.js';
import type { SharedLines } from './shared-lines.js';
import { concernsOthers, SharingCounts, type ThreadCounts } from './sharing-counts.js';

export interface SharingSettings {
  readonly placement: Placement;
  readonly sets: number;
  readonly ways: number;
  readonly isParallel: boolean;
  /** Told of the ticks that the replay comes to. */
  readonly progress: (tick: bigint) => void;
}

/** System calls in which a thread waits for others: futex, nanosleep, poll, select, epoll_wait, waits for signals. */
const WAITING_CALLS = new Set([7, 23, 34, 35, 61, 128, 130, 202, 230, 232, 247, 270, 271, 281]);

/** The number of a site and which of the access's lines it is, in one number. */
const PARTS = 16;
/** Lines in as many bytes as the low word of an address can tell apart. */
const LINES_OF_HIGH_WORD = 2 ** (32 - FILTER_LINE_BITS);
/** So many operations are taken in ahead of the replay. */
const MOST_WAITING = 64;

export class SharingPass {
  readonly replay: ProcessReplay;
  readonly counts = new SharingCounts();
  readonly places: Places;
  readonly schedule: ParallelSchedule | undefined;
  private readonly waits: RecordedWaits | undefined;
  private readonly caches: PrivateCaches;
  private readonly coherence: Coherence;
  private readonly lives: Lives;
  private isOn = false;
  private thread = -1;
  private core = 0;
  /** Where what was counted last began: accesses of all segments, and the tick. */
  private counted = { accesses: 0, tick: 0 };
  /** Threads that wait in a system call. */
  private readonly idle = new Set<number>();
  /** By core: the thread that ran on it last, in the schedule. */
  private readonly latest: (ThreadCounts | undefined)[] = [];
  /** By place and core: bytes that it has used, and written; two words each. */
  private uses = new Uint32Array(1 << 12);
  /** Cores that the current access took a line from. */
  private taken = 0;
  /** Operations of the thread that runs which the replay has not stopped for, the first `waiting`. */
  private readonly operations: SyncRow[] = [];
  private waiting = 0;

  constructor(
    trace: Trace,
    process: number,
    private readonly lines: SharedLines,
    private readonly settings: SharingSettings,
  ) {
    const { placement, sets, ways, isParallel, progress } = settings;
    const { cores } = placement;
    this.lives = new Lives(placement.joined);
    this.places = new Places(lines);
    this.caches = new PrivateCaches(cores, sets, ways);
    this.coherence = new Coherence(cores, lines.lines.length, {
      settled: (cell, isTrue) => this.counts.settled(cell, isTrue),
      invalidated: (_, core) => {
        this.taken++;
        this.latest[core]!.invalidationsReceived++;
      },
    });
    if (isParallel) {
      this.schedule = new ParallelSchedule(cores, {
        access: (core, thread, site, address, place) =>
          this.access(core, thread, site, address, place),
        replace: (core, number) => this.coherence.replace(core, number),
      });
      this.schedule.setBusy(0, true);
      this.waits = new RecordedWaits(this.schedule, (thread) => this.coreOf(thread));
    }
    const forSchedule = isParallel ? [sync, syscall_enters, syscall_exits] : [];
    this.replay = openReplay(trace, process, {
      accesses: true,
      counts: true,
      columns: new Set(['ticks', 'addresses']),
      lines: { sets, followed: (granule) => lines.marksOf(granule) },
      observer: {
        tables: [heap, mappings, slices, thread_events, ...forSchedule],
        applied: (row) => this.applied(row),
        takesAhead: (row) => this.takesAhead(row),
      },
    });
    while (this.replay.nextAccesses()) {
      this.take();
      progress(this.replay.tick);
    }
    if (this.isOn) this.turn(false);
    this.coherence.finish();
  }

  private coreOf(thread: number): number {
    return this.settings.placement.coreOf.get(thread) ?? 0;
  }

  // ---- Accesses ----

  /** Accesses since the last call, and the operations between them. */
  private take(): void {
    const { guest } = this.replay;
    const { count, ticks } = guest.accessRows();
    let from = 0;
    for (let i = 0; i < this.waiting; i++) {
      const operation = this.operations[i]!;
      let to = from;
      while (to < count && numberAt(ticks, to) < operation.tick) to++;
      this.takeRows(from, to);
      from = to;
      this.waits!.operation(operation);
    }
    this.waiting = 0;
    this.takeRows(from, count);
    guest.resetAccesses();
    if (this.isOn) this.schedule?.advance(guest.now);
  }

  private takeRows(from: number, to: number): void {
    if (!this.isOn || from === to) return;
    const { lines, core, thread, settings, caches } = this;
    const { sizes, guarded } = this.replay.sites;
    const { sites, ticks, addresses } = this.replay.guest.accessRows();
    const own = this.counts.of(thread, core);
    for (let i = from; i < to; i++) {
      const site = sites[i]!;
      own.accesses += guarded[site]!;
      const low = addresses[2 * i]!;
      const lineLow = low >>> FILTER_LINE_BITS;
      const line = lineLow + addresses[2 * i + 1]! * LINES_OF_HIGH_WORD;
      const parts = ((low & (LINE_BYTES - 1)) + sizes[site]! + LINE_BYTES - 1) >>> FILTER_LINE_BITS;
      for (let part = 0; part < parts && part < PARTS; part++) {
        const number = lines.numberOf(line + part, lineLow + part);
        const isShared = number >= 0;
        const set = (lineLow + part) & (settings.sets - 1);
        if (!caches.touch(core, set, isShared ? -1 - number : line + part)) {
          const { replaced } = caches;
          if (!isShared) {
            if (caches.fetch(core, line + part)) own.capacity++;
            else own.cold++;
          }
          if (replaced < 0) this.replace(numberAt(ticks, i), -1 - replaced);
        }
        if (isShared) {
          const address = numberAt(addresses, i);
          this.accessShared(
            numberAt(ticks, i),
            PARTS * site + part,
            address,
            this.places.at(number),
          );
        }
      }
    }
  }

  private accessShared(tick: number, code: number, address: number, place: number): void {
    const { schedule, core, thread } = this;
    if (schedule) schedule.add(core, thread, tick, code, address, place);
    else this.access(core, thread, code, address, place);
  }

  private replace(tick: number, number: number): void {
    if (this.schedule) this.schedule.replace(this.core, tick, number);
    else this.coherence.replace(this.core, number);
  }

  /** In the order of the schedule. */
  private access(core: number, thread: number, code: number, address: number, place: number): void {
    const site = Math.floor(code / PARTS);
    const { sizes, stores, atomics } = this.replay.sites;
    const { number, line } = this.places.all[place]!;
    const first = line * LINE_BYTES;
    const offset = Math.max(address - first, 0);
    const end = Math.min(address + sizes[site]! - first, LINE_BYTES);
    this.taken = 0;
    const isStore = stores[site] === 1;
    this.noteUse(place, core, offset, end, isStore);
    const own = this.counts.of(thread, core);
    this.latest[core] = own;
    const outcome = this.coherence.access(
      core,
      number,
      offset,
      end - offset,
      isStore,
      atomics[site] === 1,
    );
    if (outcome === OUTCOME.hit) return;
    if (!concernsOthers(outcome) && this.taken === 0) return this.counts.count(own, outcome);
    const cell = this.counts.event(own, outcome, this.taken, place, site, offset);
    if ((outcome & (OUTCOME.coherence | OUTCOME.isTrue)) === OUTCOME.coherence)
      this.coherence.leaveOpen(core, number, cell);
  }

  private noteUse(place: number, core: number, from: number, to: number, isStore: boolean): void {
    const at = 4 * (place * this.settings.placement.cores + core);
    if (at >= this.uses.length) this.uses = grown(this.uses, at + 4);
    const { uses } = this;
    const [low, high] = [maskOf(from, to), maskOf(from - 32, to - 32)];
    uses[at]! |= low;
    uses[at + 1]! |= high;
    if (!isStore) return;
    uses[at + 2]! |= low;
    uses[at + 3]! |= high;
  }

  /** Bytes of a place that a core has used, and written, as bits in two words each. */
  usesOf(place: number, core: number): { used: [number, number]; written: [number, number] } {
    const at = 4 * (place * this.settings.placement.cores + core);
    const word = (i: number): number => this.uses[at + i] ?? 0;
    return { used: [word(0), word(1)], written: [word(2), word(3)] };
  }

  // ---- Events ----

  private takesAhead(row: EventRow): boolean {
    if (row.table !== sync || this.waiting === MOST_WAITING) return false;
    if (!this.isOn) return true;
    const operation = (this.operations[this.waiting] ??= new SyncRow()).read(row);
    if (HAS_ACTION[operation.op]) this.waiting++;
    return true;
  }

  private applied(row: EventRow): void {
    if (!this.replay.isInImage) return;
    this.take();
    switch (row.table) {
      case heap:
        return this.places.heapCall(row);
      case mappings:
        return this.places.mapping(row);
      case slices:
        return this.begin(row);
      case thread_events:
        return this.threadEvent(row);
      case sync:
        if (this.isOn) this.waits!.operation(new SyncRow().read(row));
        return;
      case syscall_enters:
        if (WAITING_CALLS.has(row.u32('number'))) this.setIdle(row.u32('thread'), true);
        return;
      case syscall_exits:
        this.setIdle(row.u32('thread'), false);
    }
  }

  private begin(row: EventRow): void {
    const thread = row.u32('thread');
    this.places.run(thread, row.number('sp'));
    if (thread === this.thread) return;
    this.endTurn(row.tick);
    this.thread = thread;
    this.core = this.coreOf(thread);
    this.replay.guest.lines!.forgetLatest();
    if (this.isOn) this.schedule?.begin(this.core, row.tick);
  }

  private threadEvent(row: EventRow): void {
    const op = row.name('op');
    const thread = row.u32('thread');
    this.lives.change(op, thread, row.u32('other'));
    const isParallel = this.lives.count > 1;
    if (isParallel && !this.isOn) this.turn(true);
    if (this.isOn) this.waits?.threadEvent(row);
    if (op === 'create') this.schedule?.setBusy(this.coreOf(row.u32('other')), true);
    if (op === 'exit') {
      this.setIdle(thread, false);
      this.schedule?.setBusy(this.coreOf(thread), false);
    }
    if (!isParallel && this.isOn) this.turn(false);
  }

  private setIdle(thread: number, isIdle: boolean): void {
    if (this.idle.has(thread) === isIdle) return;
    if (isIdle) this.idle.add(thread);
    else this.idle.delete(thread);
    this.schedule?.setBusy(this.coreOf(thread), !isIdle);
  }

  /** Several threads live from now on, or one. */
  private turn(isOn: boolean): void {
    const tick = this.replay.guest.now;
    this.endTurn(tick);
    this.isOn = isOn;
    this.replay.guest.lines!.turn(isOn);
    if (isOn) this.schedule?.begin(this.core, tick);
    else this.schedule?.finish();
  }

  /** What was executed since the last call is the thread's. */
  private endTurn(tick: number): void {
    this.schedule?.end(tick);
    const accesses = this.accessesNow();
    if (this.isOn && this.thread >= 0) {
      const own = this.counts.of(this.thread, this.core);
      own.accesses += accesses - this.counted.accesses;
      own.instructions += tick - this.counted.tick;
    }
    this.counted = { accesses, tick };
  }

  /** Loads and stores so far, without those under a guard. */
  private accessesNow(): number {
    const { count, executions, accesses } = this.replay.segments();
    const words = new Uint32Array(executions.buffer, executions.byteOffset, 2 * count);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += accesses[i]! * numberAt(words, i);
    return sum;
  }
}
