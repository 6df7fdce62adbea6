/**
 * Threaded code: how blocks run that have not run often. Most blocks of a program run a few times only,
 * and compiling one costs more than some thousand runs. So a block is first a list of instructions in
 * linear memory, each the number of a handler (handlers.ts) and the addresses of its operands: of a
 * temporary (`TEMPS`), where an exact version finds it, too, or of a constant. Its machine code is that of
 * the handlers, copied one after the other with these addresses put in ("copy and patch": Xu and Kjolstad,
 * OOPSLA 2021).
 *
 * A module in C (`native/`) makes it and runs it; here is what the rest of replay sees of it.
 */
import type { CacheSites, CallSites, Segments, Sites } from './code-tables.js';
import type { Modes } from './compile-block.js';
import {
  ACCESS_MODES,
  ACCESS_WORD,
  FLOW_MODES,
  HEAD_BAIL,
  HEAD_COUNT,
  HEAD_TOUCHED,
  accessMode,
  flowMode,
} from './handlers.js';
import { grown } from './grown.js';
import type { GuestMemory } from './guest-memory.js';
import { THREADED } from './layout.js';
import type { NativeEngine, NativeReplay } from './native.js';

/** What the translation of a block needs to know of it. */
export interface ThreadedBlock {
  /** Its number in the trace, and the guest address that was translated. */
  readonly id: number;
  readonly address: bigint;
  readonly ir: Uint8Array;
  /** In a replay that tells of calls: a function begins there. */
  readonly isFunction: boolean;
  /** Where its parts stand in the tables, if they do. */
  readonly known: FirstNumbers | undefined;
}

/** Numbers of the first site, segment and so on of a block. */
export interface FirstNumbers {
  readonly firstSite: number;
  readonly firstSegment: number;
  readonly firstCacheSite: number;
  readonly firstCallSite: number;
}

/** What a translated block consists of. */
export interface Translation extends FirstNumbers {
  /** Its number, from 0, where its code begins, and where the machine code of that is. */
  readonly number: number;
  readonly start: number;
  readonly machineCode: number;
  readonly instructions: number;
  /** Instructions before the first way out. */
  readonly firstInstructions: number;
  /** Access rows that it writes at most, and bytes of those wider than 8. */
  readonly rows: number;
  readonly wideBytes: number;
}

/** What the code of a block refers to outside of it. */
export interface ThreadedContext {
  readonly engine: NativeEngine;
  readonly memory: GuestMemory;
  readonly replay: NativeReplay;
  readonly modes: Modes;
  /** Names of the trace's operations by key. */
  readonly opNames: readonly string[];
  /** Size of the guest state, and where its stack pointer is, in bytes. */
  readonly stateSize: number;
  readonly RSP: number;
  /** Bits of the 8-byte words of the guest state that have a shadow. */
  readonly trackedWords: bigint;
  readonly sites: Sites;
  readonly segments: Segments;
  /** In a replay that simulates caches. */
  readonly cacheSites: CacheSites | undefined;
  /** In a replay that tells of calls. */
  readonly callSites: CallSites | undefined;
  /** Cell of a constant jump target. */
  slotFor(target: bigint, noRedirect: boolean): number;
}

/** Words that the host and `native/translate.h` share, in the order that it says. */
const WORD = {
  accessMode: 0,
  flowMode: 1,
  stateSize: 2,
  RSP: 3,
  tracked: 4,
  executions: 8,
  next: 9,
  address: 10,
  firstSite: 12,
  firstSegment: 13,
  firstCacheSite: 14,
  fetchBits: 15,
  branches: 16,
  firstCallSite: 17,
  isFunction: 18,
  stacks: 19,
  outNext: 20,
  start: 21,
  instructions: 22,
  firstInstructions: 23,
  rows: 24,
  wideBytes: 25,
  notes: 26,
  machineCode: 27,
  count: 28,
} as const;
const NOTE = { site: 0, segment: 1, slot: 2, cacheSite: 3, callSite: 4 } as const;
const NOTE_WORDS = 4;
const MOST_NOTES = 1 << 14;

const toBigInt = (low: number, high: number): bigint => (BigInt(high) << 32n) | BigInt(low);

export class ThreadedCode {
  private readonly shared = new Uint32Array(WORD.count);
  private readonly notes = new Uint32Array(NOTE_WORDS * MOST_NOTES);
  /** By number of an operation in the trace: its number in the engine plus 1, or 0. */
  private readonly operations: Uint16Array;
  private next = THREADED;
  /** Where the blocks begin, by number; and again, but 0 for those that are not to run any more. */
  private readonly starts: number[] = [];
  private running = new Uint32Array(1024);

  constructor(private readonly context: ThreadedContext) {
    const { engine, modes, opNames, stateSize, RSP, trackedWords } = context;
    const numbers = new Map(engine.operations.map((name, number) => [name, number + 1]));
    this.operations = Uint16Array.from(opNames, (name) => numbers.get(name) ?? 0);
    this.shared[WORD.accessMode] = Object.keys(ACCESS_MODES).indexOf(accessMode(modes));
    this.shared[WORD.flowMode] = Object.keys(FLOW_MODES).indexOf(flowMode(modes));
    this.shared[WORD.fetchBits] = modes.cache?.fetchBits ?? 0;
    this.shared[WORD.branches] = modes.cache?.branches ? 1 : 0;
    this.shared[WORD.stacks] = modes.stacks ? 1 : 0;
    this.shared[WORD.stateSize] = stateSize;
    this.shared[WORD.RSP] = RSP;
    for (let i = 0; i < 4; i++)
      this.shared[WORD.tracked + i] = Number(BigInt.asUintN(32, trackedWords >> BigInt(32 * i)));
  }

  /** Numbers of the blocks that will be handed to the host after fewer than `executions` more. */
  warm(executions: number, most: number): Uint32Array {
    const { engine, replay } = this.context;
    const found = new Uint32Array(most);
    const count = engine.warm(replay, this.running, this.starts.length, executions, found);
    return found.subarray(0, count);
  }

  /** From now on all blocks are handed to the host after so many executions fewer. */
  hurry(executions: number): void {
    const { view } = this.context.memory;
    for (const start of this.running.subarray(0, this.starts.length)) {
      const at = start + 4 * HEAD_COUNT;
      if (start !== 0) view.setUint32(at, Math.max(view.getUint32(at, true) - executions, 1), true);
    }
  }

  /** Bits for the registers that the block whose code begins there touches, as in `CELL.undefinedLow`. */
  touchedBy(start: number): bigint {
    const { view } = this.context.memory;
    const at = start + 4 * HEAD_TOUCHED;
    return view.getBigUint64(at, true) | (view.getBigUint64(at + 8, true) << 64n);
  }

  /** A block is compiled: its threaded code will not run any more. */
  retire(number: number): void {
    this.running[number] = 0;
  }

  /**
   * The block that the instruction at an address belongs to, and the statement that an exact version
   * has to begin with.
   */
  find(address: number): { number: number; statement: number } {
    let low = 0;
    for (let high = this.starts.length; high - low > 1;) {
      const middle = (low + high) >> 1;
      if (this.starts[middle]! <= address) low = middle;
      else high = middle;
    }
    if (this.starts[low] === address) return { number: low, statement: 0 };
    const { view } = this.context.memory;
    return { number: low, statement: view.getUint32(address + 4 * (ACCESS_WORD + 1), true) };
  }

  /** From now on the instruction at an address goes to this slot when it needs an exact version. */
  setBailSlot(address: number, slot: number): void {
    const { number } = this.find(address);
    const word = this.starts[number] === address ? HEAD_BAIL : ACCESS_WORD;
    this.context.memory.view.setUint32(address + 4 * word, slot, true);
  }

  /**
   * Translates a block; returns undefined when it is left to the compiler, as it has statements that are
   * rare, or is damaged, or there is no room. Enters its sites and segments, as far as the modes want them, unless that was
   * done before.
   * @param executions - after how many it is handed to the host
   */
  translate(
    { id, address, ir, isFunction, known }: ThreadedBlock,
    executions: number,
  ): Translation | undefined {
    const { shared, notes } = this;
    const { engine, replay, memory, sites, segments, cacheSites, callSites } = this.context;
    const firstSite = known?.firstSite ?? sites.count;
    const firstSegment = known?.firstSegment ?? segments.count;
    const firstCacheSite = known?.firstCacheSite ?? cacheSites?.count ?? 0;
    const firstCallSite = known?.firstCallSite ?? callSites?.count ?? 0;
    shared[WORD.executions] = executions;
    shared[WORD.next] = this.next;
    shared[WORD.address] = Number(BigInt.asUintN(32, address));
    shared[WORD.address + 1] = Number(BigInt.asUintN(32, address >> 32n));
    shared[WORD.firstSite] = firstSite;
    shared[WORD.firstSegment] = firstSegment;
    shared[WORD.firstCacheSite] = firstCacheSite;
    shared[WORD.firstCallSite] = firstCallSite;
    shared[WORD.isFunction] = isFunction ? 1 : 0;
    if (engine.translate(replay, shared, this.operations, ir, notes) === 0) return undefined;
    const end = NOTE_WORDS * shared[WORD.notes]!;
    if (this.synchronises(end)) return undefined;
    let inSegment = 0;
    for (let at = 0; at < end; at += NOTE_WORDS) {
      const kind = notes[at]!;
      const x = notes[at + 1]!;
      const y = notes[at + 2]!;
      const z = notes[at + 3]!;
      if (known && (kind & 0xff) !== NOTE.slot) continue;
      switch (kind & 0xff) {
        case NOTE.site:
          sites.addPlain(id, toBigInt(x, y), z & 0x7fff_ffff, z >>> 31 === 1);
          inSegment++;
          break;
        case NOTE.segment:
          segments.addOne(id, toBigInt(x, y), z, inSegment);
          inSegment = 0;
          break;
        case NOTE.cacheSite:
          cacheSites!.addOne(x, y, (kind >>> 8) & 0xff, z);
          break;
        case NOTE.callSite:
          callSites!.addOne(toBigInt(x, y), (kind >>> 8) & 0xff);
          break;
        case NOTE.slot:
          memory.view.setUint32(x, this.context.slotFor(toBigInt(y, z), kind >>> 8 === 1), true);
      }
    }
    this.next = shared[WORD.outNext]!;
    const start = shared[WORD.start]!;
    return {
      number: this.enter(start),
      start,
      machineCode: shared[WORD.machineCode]!,
      instructions: shared[WORD.instructions]!,
      firstInstructions: shared[WORD.firstInstructions]!,
      rows: shared[WORD.rows]!,
      wideBytes: shared[WORD.wideBytes]!,
      firstSite,
      firstSegment,
      firstCacheSite,
      firstCallSite,
    };
  }

  /** Whether an instruction of the block just translated always is of interest: threaded code knows of none. */
  private synchronises(end: number): boolean {
    const { notes } = this;
    const { fresh } = this.context.modes;
    for (let at = 0; fresh && at < end; at += NOTE_WORDS) {
      const isSite = (notes[at]! & 0xff) === NOTE.site;
      if (isSite && fresh.synchronises(toBigInt(notes[at + 1]!, notes[at + 2]!))) return true;
    }
    return false;
  }

  private enter(start: number): number {
    const number = this.starts.push(start) - 1;
    this.running = grown(this.running, number + 1);
    this.running[number] = start;
    return number;
  }
}
