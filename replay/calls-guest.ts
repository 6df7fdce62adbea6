/**
 * In a replay that tells of calls: compiled code writes a row at each call site (call-sites.ts) that it passes, with the
 * tick and the stack pointer at that moment; here they are handed over, many at a time. Who is in which function since when
 * is for the reader to say (analyses/callgraph/call-stacks.ts).
 */
import { CallSites } from './code-tables.js';
import type { GuestMemory } from './guest-memory.js';
import { CALL_MISSES, CALL_SITES, CALL_STACKS, CALL_TICKS, CELL, STATE } from './layout.js';

/** Rows in order: entry `i` of each for `i < count`. The arrays are valid during the call. */
export interface CallRows {
  readonly count: number;
  readonly sites: Uint32Array;
  /** Instructions that the process had executed: after the call or return, before the function. */
  readonly ticks: Float64Array;
  /** The stack pointer then: after a call it points to the return address. */
  readonly stacks: Float64Array;
  /** `MISS_COUNTERS` of each: see `CallsGuest.misses`. */
  readonly misses: Uint32Array;
}

/** Numbers of misses in a row, of which the last is not used. */
export const MISS_COUNTERS = 4;

/** What a reader of calls is told. */
export interface CallHooks {
  /** Whether a function begins at an address. Asked once of each block. */
  isFunction(address: bigint): boolean;
  /** What the current thread did since the last call. */
  rows(rows: CallRows, sites: CallSites): void;
  /** A thread runs from this tick on. Rows of the one before have been handed over. */
  select(thread: number, tick: bigint): void;
  /** A signal interrupts the current thread, whose handler runs next. */
  signal(onOtherStack: boolean): void;
  /** What has happened so far is of the process that this one was forked from. */
  fork(tick: bigint): void;
  /** The replay is over. */
  end(tick: bigint): void;
  /** The execution could not be followed, and goes on elsewhere: where threads are is not known. */
  lost(): void;
}

export class CallsGuest {
  readonly sites = new CallSites();

  constructor(
    private readonly memory: GuestMemory,
    readonly hooks: CallHooks,
    /** Offset of the stack pointer in the guest state. */
    private readonly RSP: number,
  ) {}

  /**
   * Misses of simulated caches until now, modulo 2^32: of the first level for instructions, of that for data, of the last
   * level. Valid until more is replayed.
   */
  misses(): Uint32Array {
    return new Uint32Array(this.memory.wasm.buffer, CELL.misses, MISS_COUNTERS);
  }

  /** Hands over the rows that were written since. */
  take(): void {
    const { view, wasm } = this.memory;
    const count = view.getUint32(CELL.calls, true) / 8;
    if (count === 0) return;
    view.setUint32(CELL.calls, 0, true);
    const { buffer } = wasm;
    this.hooks.rows(
      {
        count,
        sites: new Uint32Array(buffer, CALL_SITES, count),
        ticks: new Float64Array(buffer, CALL_TICKS, count),
        stacks: new Float64Array(buffer, CALL_STACKS, count),
        misses: new Uint32Array(buffer, CALL_MISSES, MISS_COUNTERS * count),
      },
      this.sites,
    );
  }

  /** Writes a row of code that is interpreted. */
  note(site: number, tick: bigint): void {
    const { view } = this.memory;
    const at = view.getUint32(CELL.calls, true);
    view.setUint32(CALL_SITES + at / 2, site, true);
    view.setFloat64(CALL_TICKS + at, Number(tick), true);
    const stackPointer = view.getBigUint64(STATE + this.RSP, true);
    view.setFloat64(CALL_STACKS + at, Number(stackPointer), true);
    new Uint32Array(this.memory.wasm.buffer, CALL_MISSES + 2 * at, MISS_COUNTERS).set(
      this.misses(),
    );
    view.setUint32(CELL.calls, at + 8, true);
    this.take();
  }
}
