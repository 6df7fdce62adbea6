/**
 * Where lost blocks were lost: the instruction at which the last pointer to a block was overwritten,
 * freed or went out of scope. That a block is lost does not change any more, so the moment is searched
 * for by replaying again: first with leak checks at a few ticks, which narrows it down for all blocks at
 * once; then superblock by superblock, watching the words on the way to each block; at the end
 * instruction by instruction through the superblock in which it happened.
 */
import { openReplay, type ProcessReplay } from '../../replay/replay.js';
import type { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { AccessBatch, EventRow } from '../../replay/types.js';
import { syscall_enters } from '../../schemas/tables.js';
import { formatCount, hex } from '../../schemas/numbers.js';
import type { FindingStack, Pc } from '../finding.js';
import type { HeapBlock } from './heap.js';
import type { LeakKind, LeakReport, LeakSearch, Link, LossRecord } from './leaks.js';
import type { MemcheckSettings } from './options.js';
import type { RegisterOffsets } from './registers.js';
import { lookAgain, type SecondLook } from './second-look.js';

/** Unless the user insists, longer executions are not searched, in ticks. */
export const LEAK_POINT_TICKS = 200_000_000n;
/** Blocks of a loss record, and in all, whose moment is searched for. */
const BLOCKS_PER_RECORD = 4;
const MOST_BLOCKS = 256;
/** An interval of so many ticks is short enough to be gone through superblock by superblock. */
const WINDOW_TICKS = 200_000n;
const CHECKS_PER_PASS = 16n;
const MOST_PASSES = 12;
/** Words looked at while superblocks run, before the search is given up. */
const MOST_LOOKS = 50_000_000;
/** Unless the user insists, bytes that are searched for pointers, and what each search costs besides. */
const MOST_SEARCHED_BYTES = 300_000_000;
const SEARCH_BYTES = 500_000;
const OUT_OF_SCOPE = 'went out of scope';

/** Searches while superblocks run that are made on the mere chance that a block is in memory again. */
const MOST_SEARCHES = 2000;

/** How badly a block is lost. */
const LEVELS: Readonly<Record<LeakKind, number>> = {
  reachable: 0,
  possible: 1,
  indirect: 2,
  definite: 2,
};
/** The same of the states of a search, which are numbered in the order of `LeakKind`. */
const STATE_LEVELS = [0, 1, 2, 2];

/** The moment at which a word on the way to a block ceased to be a pointer. */
interface Break {
  /** Tick at which the superblock began, or of the event. */
  readonly tick: bigint;
  readonly link: Link;
  /** It led not to the block itself but to one that led to it. */
  readonly isIndirect: boolean;
  /** What an event did; absent when an instruction did it. */
  readonly event: { readonly verb: string; readonly stack: number } | undefined;
  /** Filled in at last. */
  verb: string;
  pcs: readonly Pc[];
}

/** Something that may be a pointer to the heap is stored. */
interface Stored {
  readonly tick: bigint;
  readonly address: bigint;
  readonly value: bigint;
  readonly pc: bigint;
}

/** What may still be searched. */
class Budget {
  constructor(private leftBytes: number) {}

  get isSpent(): boolean {
    return this.leftBytes <= 0;
  }

  /** Searches for what is reachable now. */
  search({ events }: SecondLook, isSpilled?: (address: bigint) => boolean): LeakSearch | undefined {
    const found = events.searchLeaks(isSpilled);
    this.leftBytes -= SEARCH_BYTES;
    for (const { sizeBytes } of found?.blocks ?? []) this.leftBytes -= Number(sizeBytes);
    return found;
  }
}

/** A block whose moment is searched for. */
interface Target {
  readonly record: LossRecord;
  readonly generation: number;
  readonly allocated: bigint;
  readonly level: number;
  /** A tick at which it was not lost yet, and one at which it was. */
  low: bigint;
  high: bigint;
  /** The words that led to it, outermost last; empty while it is lost. */
  chain: readonly Link[];
  /** The blocks that these words point to: the block itself, and those that lead to it. */
  ways: readonly HeapBlock[];
  /** The last pointer in memory, and the last at all. */
  memoryBreak: Break | undefined;
  lastBreak: Break | undefined;
  readonly address: bigint;
  /** First address after it; of a block of no size, after its address. */
  readonly endAddress: bigint;
  /** A pointer to it was stored while it was watched, not only as a register that was saved. */
  wasStored: boolean;
  /** Ticks of other accesses to what the block holds. */
  readonly uses: bigint[];
  /** When to see whether it is still lost. */
  nextLook: bigint;
  lookDistance: bigint;
}

export interface LeakPoints {
  /** For each loss record, what is to be added to its finding. */
  readonly stacks: ReadonlyMap<LossRecord, readonly FindingStack[]>;
  /** What could not be found out, one sentence each. */
  readonly missing: readonly string[];
}

export const NO_LEAK_POINTS: LeakPoints = { stacks: new Map(), missing: [] };

/**
 * Searches for the moments at which the blocks of the loss records that are shown were lost.
 * @param report of the leak check at the end of the process
 * @param end tick of that check
 * @param stackOf a recorded call stack
 */
export function findLeakPoints(
  trace: Trace,
  process: number,
  settings: MemcheckSettings,
  report: LeakReport,
  end: bigint,
  stackOf: (stack: number) => readonly Pc[],
  symbols: Symbols,
): LeakPoints {
  const targets = chooseTargets(report, end);
  if (targets.length === 0) return NO_LEAK_POINTS;
  if (settings.leakPoints === 'auto' && end > LEAK_POINT_TICKS) {
    const sentence = `Where blocks were lost was not searched for, as the execution is long (${formatCount(end)} instructions); --leak-points=yes does.`;
    return { stacks: new Map(), missing: [sentence] };
  }
  const look = () => lookAgain(trace, process, settings);
  const budget = new Budget(settings.leakPoints === 'auto' ? MOST_SEARCHED_BYTES : Infinity);
  for (let pass = 0; pass < MOST_PASSES && !budget.isSpent; pass++) {
    if (!targets.some(({ low, high }) => high - low > WINDOW_TICKS)) break;
    narrow(look(), targets, budget);
  }
  const stores = noteAccesses(trace, process, targets, report);
  const watch = new Watch(trace, process, settings, { targets, stores, stackOf, symbols, budget });
  watch.run();
  findInstructions(look(), targets);
  const registers = trace.manifest.guest?.registers as RegisterOffsets;
  const stacks = new Map<LossRecord, FindingStack[]>();
  for (const record of new Set(targets.map((target) => target.record)))
    stacks.set(
      record,
      describe(
        targets.filter((target) => target.record === record),
        registers,
      ),
    );
  return { stacks, missing: watch.missing };
}

function chooseTargets(report: LeakReport, end: bigint): Target[] {
  const perRecord = new Map<LossRecord, number>();
  const targets: Target[] = [];
  const inOrder = [...report.blocks].sort((a, b) => a.block.generation - b.block.generation);
  for (const { block, state, record } of inOrder) {
    if (state === 'reachable' || !record.shown || targets.length >= MOST_BLOCKS) continue;
    const known = perRecord.get(record) ?? 0;
    if (known >= BLOCKS_PER_RECORD) continue;
    perRecord.set(record, known + 1);
    const allocated = block.allocated.tick;
    targets.push({
      record,
      generation: block.generation,
      allocated,
      level: LEVELS[state],
      low: allocated,
      high: end,
      chain: [],
      memoryBreak: undefined,
      lastBreak: undefined,
      address: block.address,
      endAddress: block.address + (block.sizeBytes || 1n),
      wasStored: false,
      ways: [],
      uses: [],
      nextLook: 0n,
      lookDistance: 1n,
    });
  }
  return targets;
}

// ---- Narrowing down by leak checks ----

/** One replay with checks at ticks spread over the intervals in which something was lost. */
function narrow(look: SecondLook, targets: readonly Target[], budget: Budget): void {
  const { replay } = look;
  const intervals = new Map<string, readonly [bigint, bigint]>();
  for (const { low, high } of targets)
    if (high - low > WINDOW_TICKS) intervals.set(`${low} ${high}`, [low, high]);
  const perInterval = CHECKS_PER_PASS / BigInt(intervals.size);
  const parts = (perInterval > 3n ? perInterval : 3n) + 1n;
  const ticks = new Set<bigint>();
  for (const [low, high] of intervals.values())
    for (let i = 1n; i < parts; i++) ticks.add(low + ((high - low) * i) / parts);
  const found = new Map<Target, bigint>();
  for (const tick of spread([...ticks], Number(CHECKS_PER_PASS))) {
    if (budget.isSpent || !replay.runUntil(tick)) break;
    const levels = levelsOf(budget.search(look));
    for (const target of targets) {
      if (tick <= target.low || tick >= target.high) continue;
      if (levels(target) < target.level) {
        target.low = tick;
        found.delete(target);
      } else if (!found.has(target)) found.set(target, replay.tick);
    }
  }
  for (const [target, tick] of found) if (tick < target.high) target.high = tick;
}

/** Some of the ticks, spread evenly over them, in order. */
function spread(ticks: readonly bigint[], most: number): bigint[] {
  const inOrder = [...ticks].sort((a, b) => (a < b ? -1 : 1));
  const step = Math.max(1, inOrder.length / most);
  return Array.from(
    { length: Math.min(most, inOrder.length) },
    (_, i) => inOrder[Math.floor((i + 0.5) * step)]!,
  );
}

/** How badly each block is lost in a search; 2 for a block that is not there. */
function levelsOf(search: LeakSearch | undefined): (target: Target) => number {
  const numbers = new Map(search?.blocks.map(({ generation }, i) => [generation, i]));
  return ({ generation }) => {
    const at = numbers.get(generation);
    return at === undefined ? 2 : STATE_LEVELS[search!.states[at]!]!;
  };
}

// ---- Accesses while the blocks are watched ----

/** Finds the stores of pointers to the heap while blocks are watched, and notes accesses to these. */
function noteAccesses(
  trace: Trace,
  process: number,
  targets: readonly Target[],
  report: LeakReport,
): Stored[] {
  const windows = targets.map((target) => ({ target, start: startOf(target) }));
  const fromTick = windows.reduce((tick, { start }) => (start < tick ? start : tick), U64);
  const toTick = targets.reduce((tick, { high }) => (high > tick ? high : tick), 0n);
  const { blocks } = report;
  const heap: Range = [
    blocks.reduce((least, { block }) => (block.address < least ? block.address : least), U64),
    blocks.reduce((end, { block }) => (endOf(block) > end ? endOf(block) : end), 0n),
  ];
  const stores: Stored[] = [];
  const replay = openReplay(trace, process, { accesses: true, fromTick, toTick, tidyUp: true });
  for (let batch = replay.nextAccesses(); batch; batch = replay.nextAccesses()) {
    const { ticks, count } = batch;
    const open = windows.filter(
      ({ target, start }) => ticks[0]! <= target.high && ticks[count - 1]! >= start,
    );
    if (open.length > 0) noteBatch(batch, replay, heap, open, stores);
  }
  return stores;
}

type Range = readonly [first: bigint, end: bigint];
const isIn = (value: bigint, [first, end]: Range): boolean => value >= first && value < end;
const endOf = ({ address, sizeBytes }: HeapBlock): bigint => address + (sizeBytes || 1n);

function noteBatch(
  { ticks, sites, addresses, values, wide, count }: AccessBatch,
  replay: ProcessReplay,
  heap: Range,
  open: readonly { readonly target: Target; readonly start: bigint }[],
  found: Stored[],
): void {
  const { sizes, stores, pcs } = replay.sites;
  const words = new DataView(wide.buffer, wide.byteOffset, wide.length);
  let wideAt = 0;
  for (let i = 0; i < count; i++) {
    const site = sites[i]!;
    const size = sizes[site]!;
    const address = addresses[i]!;
    const watched = (): Target[] =>
      open
        .filter(({ target, start }) => ticks[i]! >= start && ticks[i]! <= target.high)
        .map(({ target }) => target);
    if (isIn(address, heap)) {
      for (const { uses, address: first, endAddress } of watched())
        if (isIn(address, [first, endAddress])) uses.push(ticks[i]!);
    }
    for (let part = 0; stores[site] === 1 && size >= 8 && part < size; part += 8) {
      const value = size === 8 ? values[i]! : words.getBigUint64(wideAt + part, true);
      if (isIn(value, heap) && watched().length > 0)
        found.push({ tick: ticks[i]!, address: address + BigInt(part), value, pc: pcs[site]! });
    }
    if (size > 8) wideAt += size;
  }
}

const U64 = (1n << 64n) - 1n;

// ---- Watching the words that lead to a block ----

class Watch {
  readonly missing: string[] = [];
  private readonly look: SecondLook;
  private readonly targets: readonly Target[];
  private readonly stores: readonly Stored[];
  private readonly stackOf: (stack: number) => readonly Pc[];
  private readonly symbols: Symbols;
  private readonly budget: Budget;
  private readonly active = new Set<Target>();
  private looks = 0;
  /** The words that lead to any of the active blocks; undefined when that has changed. */
  private watched: ReadonlySet<Link> | undefined;
  /** The search at the moment that is being looked at. */
  private search: { tick: bigint; events: number; found: LeakSearch | undefined } | undefined;
  private eventCount = 0;
  private nextStore = 0;
  private searches = 0;
  /** Words that keep a register, and by address of an instruction whether it saves one. */
  private readonly spilled = new Set<bigint>();
  private readonly saving = new Map<bigint, boolean>();
  /** By thread: the call stack of its last system call. */
  private readonly syscallStacks = new Map<number, number>();
  /** The first event of this moment at which a watched word broke. */
  private readonly breaking = new Map<Target, Break>();

  constructor(
    trace: Trace,
    process: number,
    settings: MemcheckSettings,
    given: {
      readonly targets: readonly Target[];
      /** In order of time. */
      readonly stores: readonly Stored[];
      readonly stackOf: (stack: number) => readonly Pc[];
      readonly symbols: Symbols;
      readonly budget: Budget;
    },
  ) {
    ({
      targets: this.targets,
      stores: this.stores,
      stackOf: this.stackOf,
      symbols: this.symbols,
      budget: this.budget,
    } = given);
    this.look = lookAgain(trace, process, settings, { applied: (row) => this.applied(row) });
  }

  run(): void {
    const { replay } = this.look;
    const waiting = this.targets
      .map((target) => ({ target, start: startOf(target) }))
      .sort((a, b) => (a.start < b.start ? -1 : 1));
    while (waiting.length > 0 || this.active.size > 0) {
      if (this.active.size === 0 && !replay.runUntil(waiting[0]!.start)) return;
      while (waiting.length > 0 && waiting[0]!.start <= replay.tick) {
        const { target } = waiting.shift()!;
        this.active.add(target);
        this.watched = undefined;
        this.follow(target);
      }
      const before = replay.tick;
      const isBefore = replay.runUntil(before + 1n, 'before');
      this.afterBlock(before);
      if (!isBefore || !replay.runUntil(replay.tick)) return;
      this.afterEvents();
      for (const target of this.active) {
        if (replay.tick <= target.high) continue;
        this.active.delete(target);
        this.watched = undefined;
      }
      if (this.looks > MOST_LOOKS || this.budget.isSpent) {
        this.missing.push(
          this.budget.isSpent
            ? 'Where some blocks were lost was not found out, as that takes many searches of a large heap; --leak-points=yes goes on.'
            : 'Where some blocks were lost was not found out, as too many words led to them.',
        );
        return;
      }
    }
  }

  /** Finds the words that lead to a block now. Returns false when it is lost. */
  private follow(target: Target): boolean {
    const { tick } = this.look.replay;
    if (this.search?.tick !== tick || this.search.events !== this.eventCount) {
      this.searches++;
      this.search = {
        tick,
        events: this.eventCount,
        found: this.budget.search(this.look, (at) => this.spilled.has(at)),
      };
    }
    const { found } = this.search;
    target.chain = [];
    this.watched = undefined;
    if (levelsOf(found)(target) >= target.level) {
      target.nextLook = tick + target.lookDistance;
      target.lookDistance *= 2n;
      return false;
    }
    const chain: Link[] = [];
    const ways: HeapBlock[] = [];
    let at = found!.blocks.findIndex(({ generation }) => generation === target.generation);
    for (let link = found!.links![at]; link; link = found!.links![at]) {
      chain.push(link);
      ways.push(found!.blocks[at]!);
      at = link.holder;
      if (at < 0) break;
    }
    target.chain = chain;
    target.ways = ways;
    target.lookDistance = 1n;
    return true;
  }

  private afterBlock(tick: bigint): void {
    const made = this.storesSince(tick);
    let broken = this.brokenLinks();
    for (const target of this.active) {
      this.noteStores(target, made, tick);
      if (!this.watched) broken = this.brokenLinks();
      const link = broken && target.chain.find((word) => broken!.has(word));
      if (link) this.broke(target, this.breakOf(target, link, tick, undefined));
      else if (target.chain.length === 0 && this.look.replay.tick >= target.nextLook)
        if (this.follow(target)) target.memoryBreak = target.lastBreak = undefined;
    }
  }

  /** Stores of pointers by the superblock that just ran, which began at a tick. */
  private storesSince(tick: bigint): Stored[] {
    const { stores } = this;
    for (; this.nextStore < stores.length; this.nextStore++)
      if (stores[this.nextStore]!.tick >= tick) break;
    const made: Stored[] = [];
    for (; this.nextStore < stores.length; this.nextStore++) {
      const stored = stores[this.nextStore]!;
      if (stored.tick >= this.look.replay.tick) break;
      if (this.savesRegister(stored.pc)) this.spilled.add(stored.address);
      else {
        this.spilled.delete(stored.address);
        made.push(stored);
      }
    }
    return made;
  }

  /** Looks at stores of pointers to a block, or to one that leads to it, that only registers hold. */
  private noteStores(target: Target, made: readonly Stored[], tick: bigint): void {
    const isSafe =
      target.chain.at(-1)?.thread === 0 && !this.spilled.has(target.chain.at(-1)!.place);
    let lost: Break | undefined;
    for (const { address: place, value } of made) {
      const to = target.ways.findIndex((block) => isIn(value, [block.address, endOf(block)]));
      if (to === 0) target.wasStored = true;
      if (to < 0 || isSafe) continue;
      if (target.level === 1 && value !== target.ways[to]!.address) continue;
      const link: Link = { place, thread: 0, value, holder: -1 };
      if (holds(this.look, link)) return this.changeTo(target, link);
      lost = this.breakOf(target, link, tick, undefined, to > 0);
    }
    if (lost) target.memoryBreak = lost;
    else if (!isSafe && made.length > 0 && target.chain.length > 0) {
      // Another block, now stored, may lead to it too.
      if (this.searches < MOST_SEARCHES && this.follow(target) && this.isInMemory(target))
        target.memoryBreak = undefined;
    }
  }

  /** A word of memory points to the block, and not one that only keeps a register. */
  private isInMemory({ chain: [pointer] }: Target): boolean {
    return pointer?.thread === 0 && !this.spilled.has(pointer.place);
  }

  /** The instruction saves a register, whatever that holds: a push, or code that the linker or we insert. */
  private savesRegister(pc: bigint): boolean {
    let saves = this.saving.get(pc);
    if (saves === undefined) {
      const [first, second] = this.look.replay.guest.readMemory(pc, 2);
      const opcode = first === 0x41 ? second! : first!;
      const { fn, module } = this.symbols.frames(pc).at(-1)!;
      saves =
        (opcode >= 0x50 && opcode <= 0x57) ||
        fn.startsWith('_dl_runtime_resolve') ||
        /\/vgpreload_[^/]*$/.test(module);
      this.saving.set(pc, saves);
    }
    return saves;
  }

  /** A pointer to the block was stored: on a stack or in data it leads there, elsewhere it may. */
  private changeTo(target: Target, link: Link): void {
    const { heap } = this.look.events;
    const isRoot = this.look.events.space.segment(link.place) && !heap.live.near(link.place, 0n);
    if (isRoot && link.value === target.address && link.place % 8n === 0n) {
      target.chain = [link];
      this.watched = undefined;
      target.ways = target.ways.slice(0, 1);
      target.memoryBreak = target.lastBreak = undefined;
    } else if (this.follow(target)) target.lastBreak = undefined;
  }

  /** While the events of a moment happen, blocks may be lost in between only. */
  private applied(row: EventRow): void {
    if (row.table === syscall_enters) this.syscallStacks.set(row.u32('thread'), row.u32('stack'));
    if (this.active.size === 0) return;
    this.eventCount++;
    const broken = this.brokenLinks();
    for (const target of broken ? this.active : []) {
      if (this.breaking.has(target)) continue;
      const link = target.chain.find((word) => broken!.has(word));
      if (!link) continue;
      const { tick } = this.look.replay;
      this.breaking.set(target, this.breakOf(target, link, tick, this.eventOf(row)));
    }
  }

  private afterEvents(): void {
    for (const [target, found] of this.breaking) this.broke(target, found);
    this.breaking.clear();
  }

  private broke(target: Target, found: Break): void {
    // A store in the same superblock says more.
    const isKnown = target.memoryBreak?.tick === found.tick && found.link.thread !== 0;
    const wasInMemory = this.isInMemory(target) && !isKnown;
    if (this.follow(target)) {
      if (this.isInMemory(target)) target.memoryBreak = undefined;
      else if (wasInMemory) target.memoryBreak = found;
      return;
    }
    if (wasInMemory) target.memoryBreak = undefined;
    target.lastBreak = found;
  }

  private breakOf(
    target: Target,
    link: Link,
    tick: bigint,
    event: Break['event'],
    isIndirect = target.chain.indexOf(link) > 0,
  ): Break {
    const verb = event?.verb ?? '';
    return { tick, link, isIndirect, event, verb, pcs: event ? this.stackOf(event.stack) : [] };
  }

  /** The words that lead to active blocks and are not what they were; undefined when there are none. */
  private brokenLinks(): ReadonlySet<Link> | undefined {
    this.watched ??= new Set([...this.active].flatMap(({ chain }) => chain));
    this.looks += this.watched.size;
    let broken: Set<Link> | undefined;
    for (const link of this.watched) {
      if (holds(this.look, link)) continue;
      broken ??= new Set();
      broken.add(link);
    }
    return broken;
  }

  private eventOf(row: EventRow): Break['event'] {
    const stack = 'stack' in row.table.columns ? row.u32('stack') : 0;
    switch (row.table.name) {
      case 'heap':
        return { verb: 'was freed with its block', stack };
      case 'mappings':
        return { verb: 'was unmapped', stack };
      case 'thread_events':
        return { verb: 'went out of scope with its thread', stack };
      case 'client_requests':
        return { verb: 'was given up by a client request', stack };
      case 'signals':
      case 'registers':
        return { verb: OUT_OF_SCOPE, stack };
      default:
        return {
          verb: 'was overwritten by the kernel',
          stack: this.syscallStacks.get(row.u32('thread')) ?? 0,
        };
    }
  }
}

/** Where watching begins: well before the block was lost, so that what led to that is seen too. */
function startOf({ allocated, low, high }: Target): bigint {
  const early = high > WINDOW_TICKS ? high - WINDOW_TICKS : 0n;
  const start = early < low ? early : low;
  return start > allocated ? start : allocated;
}

/** The word is still the pointer that it was. */
function holds({ replay, shadow }: SecondLook, { place, thread, value }: Link): boolean {
  if (thread !== 0) return replay.registers.readRegister(thread, Number(place)) === value;
  return shadow.planes.definedWord(place) === value;
}

function wordAt(replay: ProcessReplay, address: bigint): bigint {
  const bytes = replay.guest.readMemory(address, 8);
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
}

// ---- The instruction ----

/** Goes through the superblocks in which pointers were lost. */
function findInstructions(look: SecondLook, targets: readonly Target[]): void {
  const { replay, shadow } = look;
  const byTick = new Map<bigint, Break[]>();
  for (const { memoryBreak, lastBreak } of targets) {
    for (const found of [memoryBreak, lastBreak]) {
      if (!found || found.event) continue;
      const same = byTick.get(found.tick);
      if (same) same.push(found);
      else byTick.set(found.tick, [found]);
    }
  }
  for (const tick of [...byTick.keys()].sort((a, b) => (a < b ? -1 : 1))) {
    if (!replay.runUntil(tick)) return;
    const open = new Set(byTick.get(tick)!);
    const held = new Set<Break>();
    let previous: readonly Pc[] = [];
    const settle = (): void => {
      for (const found of open) {
        if (holds(look, found.link)) {
          held.add(found);
          continue;
        }
        if (!held.has(found)) continue; // the pointer is yet to be stored
        found.pcs = previous;
        found.verb = whatHappened(look, found.link);
        open.delete(found);
      }
    };
    replay.runUntil(tick + 1n, 'before', (pc) => {
      settle();
      previous = shadow.stack(pc, shadow.stackPointer);
    });
    settle();
  }
}

function whatHappened({ replay, shadow }: SecondLook, { place, thread, value }: Link): string {
  if (thread !== 0) return 'was overwritten';
  const isThere = shadow.planes.firstNoAccess(place, 8n) === undefined;
  return isThere && wordAt(replay, place) !== value ? 'was overwritten' : OUT_OF_SCOPE;
}

// ---- In words ----

/** Stacks for a loss record. Blocks that were lost at the same place are said together. */
function describe(targets: readonly Target[], registers: RegisterOffsets): FindingStack[] {
  const places = new Map<string, { found: Break; pointer: string; count: number }>();
  const { blocks } = targets[0]!.record;
  for (const target of targets) {
    const { memoryBreak, lastBreak, level } = target;
    if (wasDropped(target)) {
      const { pcs } = target.record.stacks[0]!;
      const pointer = 'Last pointer to the block was dropped: it was never stored or used after';
      const known = places.get(pointer);
      if (known) known.count++;
      else places.set(pointer, { found: { ...lastBreak!, verb: '', pcs }, pointer, count: 1 });
      continue;
    }
    const aim = level === 1 ? 'the start of the block' : 'the block';
    for (const found of [memoryBreak, lastBreak]) {
      if (!found || found.pcs.length === 0) continue;
      if (found !== memoryBreak && memoryBreak && !isOfInterest(target, registers)) continue;
      const where = found === memoryBreak && found.link.thread === 0 ? ' in memory' : '';
      const pointer = `Last pointer${where} to ${found.isIndirect ? `a block that led to ${aim}` : aim}`;
      const key = `${pointer} ${found.verb} ${found.pcs.join(' ')}`;
      const known = places.get(key);
      if (known) known.count++;
      else places.set(key, { found, pointer, count: 1 });
    }
  }
  return [...places.values()].map(({ found, pointer, count }) => {
    const place = count === 1 ? placeText(found.link, registers) : '';
    const part = blocks > 1 ? ` (${count} of the ${targets.length} blocks looked at)` : '';
    if (!found.verb) return { role: `${pointer}${part}`, pcs: found.pcs };
    return { role: `${pointer}${place} ${found.verb} at${part}`, pcs: found.pcs };
  });
}

/**
 * After the last pointer in memory was lost a register held another one: that is of interest if the
 * program used it, or may have returned it.
 */
function isOfInterest(
  { memoryBreak, lastBreak, uses }: Target,
  registers: RegisterOffsets,
): boolean {
  const { place, thread } = lastBreak!.link;
  if (thread !== 0 && Number(place) === registers['RAX'] && memoryBreak!.verb === OUT_OF_SCOPE)
    return true;
  return uses.some((tick) => tick > memoryBreak!.tick && tick <= lastBreak!.tick);
}

/** The program did nothing with what the allocator returned. */
function wasDropped(target: Target): boolean {
  const { memoryBreak, lastBreak, uses, wasStored, allocated, level } = target;
  if (!lastBreak || memoryBreak || level < 2 || startOf(target) > allocated) return false;
  return uses.length === 0 && !wasStored;
}

function placeText({ place, thread }: Link, registers: RegisterOffsets): string {
  if (thread === 0) return `, at ${hex(place)},`;
  const [name] = Object.entries(registers).find(([, offset]) => offset === Number(place)) ?? [];
  return name ? `, in register ${name.toLowerCase()},` : '';
}
