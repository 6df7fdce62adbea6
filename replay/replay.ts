/**
 * Re-executes one process image from its trace: applies the recorded events in order, and between
 * them runs guest code up to the tick of the next one. This is the one loop that everything that
 * looks at instructions, addresses or values stands on.
 *
 * A forked image begins as its parent was at the fork, so its replay first replays the parent (and
 * the parent's parent …) up to there, delivering nothing.
 */
import { UserError } from '../schemas/errors.js';
import type { Table } from '../schemas/schema.js';
import {
  blocks,
  heap,
  isRelease,
  keyframe_memory,
  keyframes,
  mappings,
  memory,
  ops,
  page_hashes,
  process_ends,
  registers,
  signals,
  slices,
  thread_events,
  values,
} from '../schemas/tables.js';
import { Cursor, legsOf, type Leg } from './event-cursor.js';
import type { FreshHooks } from './fresh-accesses.js';
import { STATE } from './layout.js';
import { Divergence, Guest, type BlockDefinition, type RunResult } from './guest.js';
import type { SavedShadow } from './shadow-guest.js';
import { heapCallOf } from './heap-misses.js';
import { QuickEvents, type Announced } from './quick-events.js';
import { ReplayRegisters } from './shadow-registers.js';
import type { StoredRow, Trace } from './trace.js';
import type {
  AccessBatch,
  AccessColumn,
  Replay,
  ReplayOptions,
  SegmentTable,
  SiteTable,
} from './types.js';

/** The tables whose rows replay acts on. `values` is read apart: it is a log, not events. */
const EVENT_TABLES = [
  blocks,
  registers,
  memory,
  heap,
  mappings,
  signals,
  slices,
  page_hashes,
  process_ends,
] as const;

/** Those whose rows hold whatever guest code does: a replay that begins at a keyframe needs them too. */
const PROGRAM_TABLES = new Set<Table>([blocks, memory, mappings]);

type Keyframe = StoredRow<typeof keyframes> & {
  /** The event of the keyframe before, or 0: the memory of this one stands after it. */
  readonly previousEvent: bigint;
};

export interface Thread {
  readonly number: number;
  state: Uint8Array;
  /** While it does not run, in a replay that follows definedness; none if all is defined. */
  shadow?: SavedShadow | undefined;
  pc: bigint;
  /** Its registers are of no more interest. */
  ended?: boolean;
  /** The jump to `pc` asked for the function itself, not its replacement. */
  noRedirect: boolean;
}

const NOTHING_SYNCHRONISES: FreshHooks = { synchronises: () => false };

const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;
const U64 = 0xffffffffffffffffn;

function fnv(words: BigUint64Array): bigint {
  let hash = FNV_OFFSET;
  for (const word of words) hash = ((hash ^ word) * FNV_PRIME) & U64;
  return hash;
}

/** How many superblocks are announced, and so compiled, together. */
const BLOCKS_AHEAD = 400;
/** The same after a start at a keyframe, where most of the blocks known so far will not run again. */
const BLOCKS_NEAR = 32;

/** Zero bytes before and after each heap block (see the `heap` table). */
const REDZONE = 16n;

interface GuestManifest {
  readonly stateSize: number;
  readonly registers: Readonly<Record<string, number>>;
}

/** What the trace says of the guest state. Throws UserError when it does not. */
export function guestOf(trace: Trace): GuestManifest {
  const guest = trace.manifest.guest as GuestManifest | undefined;
  const names = ['RIP', 'RSP', 'CMSTART', 'CMLEN'];
  if (
    !guest ||
    !Number.isInteger(guest.stateSize) ||
    names.some((name) => !Number.isInteger(guest.registers?.[name]))
  ) {
    throw new UserError(
      `The manifest of ${trace.folder} does not describe the guest's registers: the trace is damaged; record the run again.`,
    );
  }
  return guest;
}

/** Names of operations, by their key in encoded superblocks. */
export function opNames(trace: Trace): string[] {
  const names: string[] = [];
  for (const row of trace.rows(ops)) names[row.op] = row.name;
  return names;
}

/** Begins a replay of process image number `process`. Throws UserError when the trace has none. */
export function openReplay(
  trace: Trace,
  process: number,
  options: ReplayOptions = {},
): ProcessReplay {
  return new ProcessReplay(trace, process, options);
}

export class ProcessReplay implements Replay {
  /** Where the execution could not be followed: one sentence each. */
  readonly divergences: string[] = [];
  readonly guest: Guest;

  private readonly legs: readonly Leg[];
  private cursors: Cursor[] = [];
  private valueLog!: Cursor;
  private readonly observed: ReadonlySet<Table>;
  /** Tables whose rows the observer may take ahead. */
  private readonly ahead: ReadonlySet<Table> = new Set();
  private readonly threads = new Map<number, Thread>();
  private current: Thread | undefined;
  private readonly layout: GuestManifest;
  private ended = false;
  private pause:
    | {
        readonly tick: bigint;
        readonly events: 'before' | 'after';
        readonly instruction: ((pc: bigint) => void) | undefined;
      }
    | undefined;
  /** Accesses of the image itself are delivered, not those of the ancestors. */
  private leg = -1;

  constructor(
    private readonly trace: Trace,
    readonly process: number,
    private readonly options: ReplayOptions,
  ) {
    this.layout = guestOf(trace);
    this.observed = new Set(options.observer?.tables);
    const isOwn = new Set<Table>(EVENT_TABLES);
    if (options.observer?.takesAhead)
      this.ahead = new Set([...this.observed].filter((table) => !isOwn.has(table)));
    const { stateSize, registers: offsets } = this.layout;
    this.guest = new Guest(
      opNames(trace),
      { stateSize, RIP: offsets.RIP!, RSP: offsets.RSP! },
      {
        accesses: options.accesses ?? false,
        counts: options.counts ?? false,
        ...(options.columns && { columns: withTicks(options) }),
        ...(options.addresses && { addresses: options.addresses }),
        ...(options.fetches !== undefined && { fetches: options.fetches }),
        ...((options.fresh ?? options.lines) && { fresh: options.fresh ?? NOTHING_SYNCHRONISES }),
        ...(options.loads && { loads: options.loads }),
        ...(options.tally && { tally: true }),
        ...(options.stacks && { stacks: true }),
      },
      options.shadow,
      options.cache,
      options.calls,
      options.lines,
    );
    this.guest.moreValues = () => this.moreValues();
    this.legs = legsOf(trace, process, options.tidyUp);
    const { fromTick } = options;
    const keyframe = fromTick !== undefined && this.keyframe((tick) => tick > fromTick, true);
    if (keyframe) this.beginAt(keyframe);
    else this.nextLeg();
  }

  /** Ticks passed. */
  get tick(): bigint {
    return this.guest.tick;
  }

  get sites(): SiteTable {
    return this.guest.sites;
  }

  segments(): SegmentTable {
    return this.guest.segments();
  }

  nextAccesses(): AccessBatch | undefined {
    while (this.step()) {
      const batch = this.take();
      if (batch) return batch;
    }
    return this.take();
  }

  /** The accesses that were not taken yet, and forgets them; for observers, before an event. */
  drain(): AccessBatch | undefined {
    const batch = this.take();
    this.guest.resetAccesses();
    this.mustReset = false;
    return this.inLastLeg ? batch : undefined;
  }

  finish(): void {
    while (this.step()) this.guest.resetAccesses();
    this.guest.resetAccesses();
  }

  /**
   * Runs to a tick of the image itself and stops there, before the instruction that is to run next: the
   * superblock in which the tick falls is completed. Returns false when the process ended before.
   * @param events - whether those of the tick that was reached have happened
   * @param instruction - told the address of each instruction before it takes effect, which is slow
   */
  runUntil(
    tick: bigint,
    events: 'before' | 'after' = 'after',
    instruction?: (pc: bigint) => void,
  ): boolean {
    this.pause = { tick, events, instruction };
    try {
      while (!this.isPaused()) {
        if (!this.step()) return false;
        this.guest.resetAccesses();
      }
      return true;
    } finally {
      this.pause = undefined;
    }
  }

  private isPaused(): boolean {
    if (!this.pause || !this.inLastLeg || !this.current || this.tick < this.pause.tick)
      return false;
    if (this.pause.events === 'before') return true;
    const next = this.nextCursor();
    return !next || next.tick > this.guest.now;
  }

  /** Where to stop on the way to a tick, unless a fault in the middle of a superblock is too near. */
  private stopBefore(tick: number, isInside: boolean): number {
    if (!this.pause || !this.inLastLeg || this.pause.tick >= tick) return tick;
    const near = isInside ? this.guest.mostInstructions : 0;
    const stop = Number(this.pause.tick);
    return stop + near > tick ? tick : stop;
  }

  /** Registers with their shadow, in a replay that follows definedness. */
  readonly registers = new ReplayRegisters(this);

  /** The offset of a register in the guest state. */
  registerOffset(name: string): number {
    return this.layout.registers[name]!;
  }

  /**
   * The value of a register of 64 bits, such as `RDI`, of the thread that runs or another one: exact at events and where a
   * superblock begins. Throws UserError for an unknown one.
   */
  register(name: string, thread = this.thread): bigint {
    const offset = this.layout.registers[name];
    if (offset === undefined) throw new UserError(`There is no register ${name}.`);
    return this.registers.readRegister(thread, offset);
  }

  /** Live threads by number, and the one that runs. */
  threadsNow(): { threads: ReadonlyMap<number, Thread>; current: Thread | undefined } {
    return { threads: this.threads, current: this.current };
  }

  /** Not what the image inherited from the process that it was forked from. */
  get isInImage(): boolean {
    return this.inLastLeg;
  }

  /** Number of the thread that runs. */
  get thread(): number {
    return this.current?.number ?? 0;
  }

  private take(): AccessBatch | undefined {
    const { count, sites, ticks, addresses, values: stored, wide } = this.guest.takeAccesses();
    if (count === 0) return undefined;
    this.mustReset = true;
    const { fromTick } = this.options;
    if (fromTick !== undefined && ticks[count - 1]! < fromTick) return undefined;
    return {
      process: this.process,
      thread: this.thread,
      count,
      ticks,
      sites,
      addresses,
      values: stored,
      wide,
    };
  }

  private mustReset = false;
  /** After a divergence: where to go on. */
  private resume: Keyframe | undefined;
  /** The event of the fault that the replay last ran into. */
  private judgedFault = -1;
  /** Rows of a batch of `blocks` before `end` were announced to the guest. */
  private announced: Announced & { readonly end: number } = {
    batch: undefined,
    first: 0,
    end: 0,
    definitions: [],
  };

  /**
   * Goes on until there are accesses to deliver, or something changes after which they could not be
   * told apart. Returns false at the end of the replay.
   */
  private step(): boolean {
    if (this.mustReset) {
      this.guest.resetAccesses();
      this.mustReset = false;
    }
    if (this.ended) return false;
    if (this.resume) {
      const keyframe = this.resume;
      this.resume = undefined;
      this.leg = -1;
      this.threads.clear();
      this.current = undefined;
      this.beginAt(keyframe);
    }
    try {
      for (;;) {
        if (
          this.options.toTick !== undefined &&
          this.inLastLeg &&
          this.tick > this.options.toTick
        ) {
          return this.end();
        }
        if (this.isPaused()) return true;
        let cursor = this.nextCursor();
        if (this.quick && cursor && this.current && !this.pause && this.quick.comes(cursor)) {
          if (this.applyQuickly()) return true;
          cursor = this.nextCursor();
        }
        if (!cursor) {
          const endTick = Number(this.legs[this.leg]!.endTick);
          if (this.current && this.guest.now < endTick) {
            if (this.runTo(this.stopBefore(endTick, false))) return true;
          } else if (!this.nextLeg()) {
            return this.end();
          }
          continue;
        }
        if (this.ahead.has(cursor.table) && this.options.observer!.takesAhead!(cursor)) {
          cursor.next();
          continue;
        }
        const { tick } = cursor;
        const { now } = this.guest;
        if (this.current && this.isInsideBlock(cursor)) {
          const pc = cursor.u64('pc');
          const stop = this.stopBefore(tick, true);
          const isThere = now === tick && this.current.pc === pc;
          if (stop < tick && now < stop) {
            if (this.runTo(stop)) return true;
            continue;
          }
          if (!isThere || this.mustJudge(cursor)) {
            this.judgedFault = cursor.event;
            if (this.runInto(tick, pc)) return true;
            continue;
          }
        } else if (this.current && now < tick) {
          if (this.runTo(this.stopBefore(tick, false))) return true;
          continue;
        }
        if (!this.current) this.guest.tick = BigInt(tick);
        else if (now > tick) {
          throw this.diverged(`the next event, of table ${cursor.table.name}, is at tick ${tick}`);
        }
        /* What was accessed so far belongs to the thread that is about to stop. */
        const switches =
          cursor.table === slices && this.current && cursor.u32('thread') !== this.current.number;
        if (switches && this.guest.takeAccesses().count > 0 && this.inLastLeg) return true;
        this.apply(cursor);
        if (this.observed.has(cursor.table)) this.options.observer!.applied(cursor);
        cursor.next();
      }
    } catch (error) {
      if (!(error instanceof Divergence)) throw error;
      return this.recover(error);
    }
  }

  /** Notes a divergence, and goes on at the next keyframe if there is one. */
  private recover(divergence: Divergence): boolean {
    const { tick } = this;
    const keyframe = this.keyframe((next) => !this.inLastLeg || next > tick);
    const { message } = divergence;
    const sentence = `Replay of process ${this.process} could not follow the recording ${message}. Accesses from there to ${keyframe ? `tick ${keyframe.tick}` : 'its end'} are missing.`;
    this.guest.calls?.take();
    this.guest.calls?.hooks.lost();
    this.guest.stacks?.lose();
    this.divergences.push(sentence);
    this.trace.noteDivergence(sentence);
    if (!keyframe) return this.end();
    this.resume = keyframe;
    // What was accessed before is delivered first.
    if (this.inLastLeg && this.guest.takeAccesses().count > 0) return true;
    this.mustReset = true;
    return this.step();
  }

  private end(): false {
    this.guest.calls?.take();
    this.guest.calls?.hooks.end(this.tick);
    this.ended = true;
    this.guest.release();
    return false;
  }

  private get inLastLeg(): boolean {
    return this.leg === this.legs.length - 1;
  }

  private nextLeg(): boolean {
    if (this.inLastLeg) return false;
    this.guest.cache?.takeMisses();
    this.leg++;
    this.guest.cache?.blocks?.count(this.inLastLeg);
    const { process, endEvent } = this.legs[this.leg]!;
    const tables = new Set([...EVENT_TABLES, ...this.observed]);
    this.cursors = [...tables].map((table) => new Cursor(table, this.trace, process, endEvent));
    this.lead = undefined;
    this.quick = this.makeQuick();
    this.valueLog = new Cursor(values, this.trace, process, endEvent);
    this.guest.calls?.take();
    this.guest.tick = 0n;
    this.guest.forgetExecutions(); // those of the parent
    this.guest.tally?.forget();
    this.guest.calls?.hooks.fork(this.tick);
    if (this.current) this.guest.stacks?.keepOnly(this.current.number);
    return true;
  }

  /** The first keyframe of the image itself whose tick is as wanted; or else, if asked for, the last before. */
  private keyframe(wanted: (tick: bigint) => boolean, orBefore = false): Keyframe | undefined {
    let before: Keyframe | undefined;
    let event = 0n;
    for (const row of this.trace.rows(keyframes, this.process)) {
      const found = { ...row, previousEvent: event };
      if (wanted(row.tick)) return orBefore ? before : found;
      before = found;
      event = row.event;
    }
    return orBefore ? before : undefined;
  }

  /**
   * Begins at a keyframe: what only describes the program is taken from all rows before it, memory
   * that cannot be written from the rows that mapped it, all else from the keyframe.
   */
  private beginAt(keyframe: Keyframe): void {
    this.guest.blocksPerModule = BLOCKS_NEAR;
    while (this.nextLeg()) {
      const end = this.inLastLeg ? Number(keyframe.event) : Infinity;
      for (const cursor of this.cursors) {
        for (; cursor.event < end; cursor.next()) {
          if (PROGRAM_TABLES.has(cursor.table)) this.apply(cursor);
        }
      }
      while (this.valueLog.event < end) this.valueLog.next();
    }
    for (const batch of this.trace.batches(keyframe_memory, this.process)) {
      const events = batch.column('event');
      if (events[batch.count - 1]! < keyframe.previousEvent) continue;
      if (events[0]! > keyframe.event) break;
      const addresses = batch.column('address');
      const sizes = batch.column('size');
      const { offsets, data } = batch.column('bytes');
      for (let i = 0; i < batch.count; i++) {
        if (events[i]! < keyframe.previousEvent || events[i]! > keyframe.event) continue;
        const bytes = data.subarray(offsets[i]!, offsets[i + 1]!);
        if (bytes.length) this.guest.writeMemory(addresses[i]!, bytes);
        else this.guest.zeroMemory(addresses[i]!, sizes[i]!);
      }
    }
    const { RIP } = this.layout.registers;
    for (
      let at = 0;
      at + keyframe.thread_size <= keyframe.threads.length;
      at += keyframe.thread_size
    ) {
      const record = Uint8Array.from(keyframe.threads.subarray(at, at + keyframe.thread_size));
      const view = new DataView(record.buffer);
      const number = Number(view.getBigUint64(0, true));
      const pc = view.getBigUint64(8 + RIP!, true);
      this.threads.set(number, { number, state: record.slice(8), pc, noRedirect: false });
    }
    this.current = this.threads.get(keyframe.thread);
    if (!this.current || this.current.state.length !== this.layout.stateSize) {
      throw new UserError(
        `A keyframe of ${this.trace.folder} is damaged; query without a range of ticks.`,
      );
    }
    this.guest.state.set(this.current.state);
    this.guest.tick = keyframe.tick;
    this.guest.calls?.hooks.select(this.current.number, this.tick);
    this.guest.stacks?.enter(this.current.number);
  }

  /** What the native module applies by itself; not where each event, or each tick, is of interest. */
  private makeQuick(): QuickEvents | undefined {
    const { guest, options, cursors, observed } = this;
    if (!guest.native || guest.stacks || options.toTick !== undefined) return undefined;
    const { stateSize, registers: offsets } = this.layout;
    const announce = (cursor: Cursor) => this.announce(cursor);
    const layout = { stateSize, RIP: offsets.RIP! };
    return new QuickEvents(guest.native, guest, layout, cursors, observed, announce);
  }

  /**
   * Runs the current thread, and lets the native module apply events, up to the next one that is left to us. Returns true when
   * accesses are to be delivered first.
   */
  private applyQuickly(): boolean {
    const quick = this.quick!;
    const { number, pc, noRedirect } = this.current!;
    quick.begin(number);
    try {
      return this.ran(this.guest.run(pc, noRedirect, 0, quick));
    } finally {
      quick.end();
      this.lead = undefined;
    }
  }
  private quick: QuickEvents | undefined;

  private nextCursor(): Cursor | undefined {
    const { lead } = this;
    if (lead && lead.event < this.leadsUntil) return lead;
    let best: Cursor | undefined;
    let event = Infinity;
    let second = Infinity;
    for (const cursor of this.cursors) {
      if (cursor.event < event) {
        second = event;
        event = cursor.event;
        best = cursor;
      } else if (cursor.event < second) second = cursor.event;
    }
    this.lead = best;
    this.leadsUntil = second;
    return best;
  }
  /** The cursor that was next, and still is up to an event: the least one of the others, which only grow. */
  private lead: Cursor | undefined;
  private leadsUntil = 0;

  /** The next chunk of logged results, or undefined at the end of the log. */
  private moreValues(): Uint8Array | undefined {
    if (this.valueLog.event === Infinity) return undefined;
    const bytes = this.valueLog.bytes('bytes');
    this.valueLog.next();
    return bytes;
  }

  /** The event happened in the middle of a superblock: a fault, or the end of the process by one. */
  private isInsideBlock(cursor: Cursor): boolean {
    if (cursor.table === signals) return cursor.u32('fault') !== 0;
    if (cursor.table !== slices || cursor.u32('thread') !== this.current!.number) return false;
    const row = cursor.event;
    return (
      this.cursors.every(
        (other) =>
          other === cursor ||
          other.event === Infinity ||
          ((other.table === process_ends || other.table === page_hashes) && other.event > row),
      ) && this.isLastRow(cursor)
    );
  }

  /** An instruction faulted of which the replay's analysis has not been told. */
  private mustJudge(cursor: Cursor): boolean {
    return (
      this.guest.shadow !== undefined &&
      cursor.table === signals &&
      cursor.event !== this.judgedFault
    );
  }

  private isLastRow(cursor: Cursor): boolean {
    return cursor.row === cursor.batch!.count - 1;
  }

  /** Runs the current thread to a tick. Returns true when accesses are to be delivered first. */
  private runTo(tick: number): boolean {
    const { pc, noRedirect } = this.current!;
    if (this.pause?.instruction && this.inLastLeg)
      return this.ran(this.guest.step(pc, noRedirect, this.pause.instruction));
    return this.ran(this.guest.run(pc, noRedirect, tick - this.guest.now));
  }

  /** Runs the current thread to the middle of a superblock. */
  private runInto(tick: number, faultPc: bigint): boolean {
    const { pc, noRedirect } = this.current!;
    const { now } = this.guest;
    const isFar = now + this.guest.mostInstructions < tick;
    if (this.pause?.instruction && this.inLastLeg && isFar)
      return this.ran(this.guest.step(pc, noRedirect, this.pause.instruction));
    const instruction = this.inLastLeg ? this.pause?.instruction : undefined;
    return this.ran(this.guest.runToFault(pc, noRedirect, tick - now, faultPc, instruction));
  }

  private ran({ pc, noRedirect, reason }: RunResult): boolean {
    this.current!.pc = pc;
    this.current!.noRedirect = noRedirect;
    if (reason === 'missing') throw this.diverged('no superblock was recorded for this address');
    if (!this.inLastLeg) this.guest.resetAccesses();
    return reason === 'buffer' && this.inLastLeg;
  }

  private diverged(why: string): Divergence {
    const { number = 0, pc = 0n } = this.current ?? {};
    return new Divergence(
      `at tick ${this.tick}: thread ${number}, address 0x${pc.toString(16)}: ${why}`,
      this.tick,
      pc,
    );
  }

  private apply(cursor: Cursor): void {
    switch (cursor.table) {
      case thread_events:
        if (cursor.name('op') === 'exit') {
          const thread = this.threads.get(cursor.u32('thread'));
          if (thread) thread.ended = true;
          this.guest.stacks?.end(cursor.u32('thread'));
        }
        return;
      case blocks:
        return this.applyBlock(cursor);
      case registers:
        return this.applyRegisters(cursor);
      case memory:
        return this.applyMemory(cursor);
      case heap:
        return this.applyHeap(cursor);
      case mappings:
        return this.applyMapping(cursor);
      case signals:
        return this.applySignal(cursor);
      case slices:
        return this.applySlice(cursor);
      case page_hashes:
        return this.checkPage(cursor);
    }
  }

  private applyBlock(cursor: Cursor): void {
    const { first, definitions } = this.announce(cursor);
    this.guest.define(definitions[cursor.row - first]!);
  }

  /** Tells the guest of the blocks that come next, so that it compiles many at a time; returns what it was told. */
  private announce(cursor: Cursor): Announced {
    const { batch, row } = cursor;
    if (this.announced.batch === batch && row < this.announced.end) return this.announced;
    const end = Math.min(row + BLOCKS_AHEAD, batch!.count);
    const definitions = [];
    for (cursor.row = row; cursor.row < end && cursor.isBeforeEnd(); cursor.row++) {
      definitions.push(definition(cursor));
    }
    cursor.row = row;
    this.announced = { batch, first: row, end, definitions };
    this.guest.prefetch(definitions);
    return this.announced;
  }

  private applyRegisters(cursor: Cursor): void {
    const number = cursor.u32('thread');
    let thread = this.threads.get(number);
    if (!thread) {
      thread = { number, state: new Uint8Array(this.layout.stateSize), pc: 0n, noRedirect: false };
      this.threads.set(number, thread);
    }
    const isCurrent = thread === this.current;
    if (isCurrent) this.guest.stacks?.leave();
    const view = isCurrent ? this.guest.memory.view : new DataView(thread.state.buffer);
    const start = isCurrent ? STATE : 0;
    // This is after each call of an allocator: pairs of words, an offset and a value.
    const bytes = cursor.bytes('changes');
    const changes = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at + 16 <= bytes.length; at += 16) {
      const offset = changes.getUint32(at, true);
      if (changes.getUint32(at + 4, true) !== 0 || offset + 8 > this.layout.stateSize)
        throw this.diverged('a register outside the guest state changes');
      view.setUint32(start + offset, changes.getUint32(at + 8, true), true);
      view.setUint32(start + offset + 4, changes.getUint32(at + 12, true), true);
      if (offset === this.layout.registers.RIP) {
        thread.pc = changes.getBigUint64(at + 8, true);
        thread.noRedirect = false;
      }
    }
    if (isCurrent) this.guest.stacks?.enter(number);
  }

  private applyMemory(cursor: Cursor): void {
    const address = cursor.u64('address');
    if (cursor.name('cause') === 'signal')
      this.guest.shadow?.beginHandler(address, cursor.bytes('bytes'));
    switch (cursor.name('op')) {
      case 'bytes':
        return this.guest.writeMemory(address, cursor.bytes('bytes'));
      case 'zero':
        return this.guest.zeroMemory(address, cursor.u64('size'));
      case 'copy':
        return this.guest.copyMemory(cursor.u64('source'), address, cursor.u64('size'));
      default:
        throw this.diverged('a change of memory is of an unknown kind');
    }
  }

  private applyHeap(cursor: Cursor): void {
    const address = cursor.u64('address');
    if (address !== 0n && !isRelease(cursor.name('op'))) {
      const size = cursor.u64('size');
      this.guest.zeroMemory(address - REDZONE, size + 2n * REDZONE);
      const previous = cursor.u64('previous');
      const previousSize = cursor.u64('previous_size');
      if (previous !== 0n)
        this.guest.copyMemory(previous, address, previousSize < size ? previousSize : size);
    }
    if (this.guest.cache?.blocks) this.guest.cache.heapCall(heapCallOf(cursor));
  }

  private applyMapping(cursor: Cursor): void {
    if (cursor.u32('shared')) this.guest.setShared(cursor.u64('address'), cursor.u64('size'));
  }

  /** The code that a signal interrupts is a caller of the handler. */
  private applySignal(cursor: Cursor): void {
    const { shadow, calls } = this.guest;
    if (cursor.name('op') !== 'deliver') return;
    const onOtherStack = cursor.u32('alternate_stack') !== 0;
    shadow?.deliverSignal(cursor.u64('pc'), onOtherStack);
    calls?.take();
    calls?.hooks.signal(onOtherStack);
  }

  private applySlice(cursor: Cursor): void {
    const thread = this.threads.get(cursor.u32('thread'));
    if (!thread) throw this.diverged('a thread runs whose registers are not known');
    if (this.current !== thread) {
      this.guest.stacks?.leave();
      if (this.current) {
        this.current.state = this.guest.state.slice();
        this.current.shadow = this.guest.shadow?.save();
      }
      this.guest.state.set(thread.state);
      this.guest.shadow?.restore(thread.shadow);
      this.guest.calls?.take();
      this.guest.calls?.hooks.select(thread.number, this.tick);
      this.guest.stacks?.enter(thread.number);
      this.current = thread;
    }
    const pc = cursor.u64('pc');
    if (thread.pc !== pc) throw this.diverged(`the recorder was at address 0x${pc.toString(16)}`);
    const hash = cursor.u64('state_hash');
    if (hash !== 0n && this.stateHash() !== hash) {
      throw this.diverged('the guest registers are not those of the recorder');
    }
  }

  /** As the recorder computes it: all but the engine's own 16 bytes and registers that it sets. */
  private stateHash(): bigint {
    const state = words(this.guest.state);
    const { RIP, CMSTART, CMLEN } = this.layout.registers;
    let hash = FNV_OFFSET;
    for (let i = 2; i < state.length; i++) {
      const offset = i * 8;
      if (offset === RIP || offset === CMSTART || offset === CMLEN) continue;
      hash = ((hash ^ state[i]!) * FNV_PRIME) & U64;
    }
    return hash;
  }

  private checkPage(cursor: Cursor): void {
    const address = cursor.u64('address');
    const size = cursor.u64('size');
    if (fnv(words(this.guest.readMemory(address, Number(size)))) !== cursor.u64('hash')) {
      throw this.diverged(
        `the ${size} bytes of memory at 0x${address.toString(16)} are not those of the recorder`,
      );
    }
  }
}

/** Where replay began at a keyframe, batches before the wanted tick are known by their ticks. */
function withTicks({ columns, fromTick }: ReplayOptions): ReadonlySet<AccessColumn> {
  return fromTick === undefined ? columns! : new Set([...columns!, 'ticks']);
}

/** The superblock in a row of `blocks`. */
function definition(cursor: Cursor): BlockDefinition {
  return {
    id: cursor.u32('block'),
    entry: cursor.u64('entry'),
    address: cursor.u64('address'),
    ir: cursor.bytes('ir'),
    noRedirect: cursor.u32('no_redirect') !== 0,
  };
}

/** The 64-bit words of some bytes, copied where they do not stand on an 8-byte boundary. */
function words(bytes: Uint8Array): BigUint64Array {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : Uint8Array.from(bytes);
  return new BigUint64Array(aligned.buffer, aligned.byteOffset, bytes.length >> 3);
}
