/**
 * The interface between replay and its readers: what re-executing one process image delivers. SQL
 * scans and analyses are written against these types; `replay.ts` implements them.
 *
 * All arrays that grow (`SiteTable`, `SegmentTable`) are valid up to `count`; entries at and beyond it
 * are meaningless. A growing array may be replaced by a larger one, so read it from its table again
 * after each batch.
 */

import type { Batch } from './arrow-file.js';
import type { Table, Value } from '../schemas/schema.js';
import type { CacheHooks } from './cache-guest.js';
import type { CallHooks } from './calls-guest.js';
import type { FreshHooks } from './fresh-accesses.js';
import type { LineHooks } from './line-filter.js';
import type { ShadowHooks } from './shadow-guest.js';

/**
 * Accesses in the order in which they happened, as columns: entry `i` of each array describes one
 * access, for `i < count`. All accesses of a batch were made by one thread.
 */
export interface AccessBatch {
  /** The run's number of the process image. */
  readonly process: number;
  readonly thread: number;
  readonly count: number;
  /** Tick of the instruction that made the access. */
  readonly ticks: BigUint64Array;
  /** Index into `SiteTable`. */
  readonly sites: Uint32Array;
  readonly addresses: BigUint64Array;
  /** The lowest 8 bytes loaded or stored, zero-extended. */
  readonly values: BigUint64Array;
  /** All bytes of each access wider than 8, one after another, in order. */
  readonly wide: Uint8Array;
  /** How many accesses each entry stands for, in a replay that is `tallied`; otherwise it is one. */
  readonly repeats?: Uint32Array;
}

/** Places in the code that access memory. Grows while replay meets new superblocks. */
export interface SiteTable {
  readonly count: number;
  readonly pcs: BigUint64Array;
  /** Number of the superblock. */
  readonly blocks: Uint32Array;
  /** Width of the access in bytes. */
  readonly sizes: Uint16Array;
  /** 1 for a store, 0 for a load; 2 for a fetch of an instruction, of which there are none unless asked for. */
  readonly stores: Uint8Array;
  /** 1 when part of a compare-and-swap or another locked operation. */
  readonly atomics: Uint8Array;
  /** 1 when the access only happens if a condition holds. */
  readonly guarded: Uint8Array;
}

/** Straight-line parts of superblocks: a superblock is split at its side exits. */
export interface SegmentTable {
  readonly count: number;
  /** Number of the superblock. */
  readonly blocks: Uint32Array;
  /** Address of the first instruction. */
  readonly addresses: BigUint64Array;
  /** Guest instructions in one execution. */
  readonly instructions: Uint32Array;
  /** Loads and stores in one execution without those under a guard; 0 in a replay that does not tell of accesses. */
  readonly accesses: Uint32Array;
  /** Valid until `segments` is called again. */
  readonly executions: BigUint64Array;
}

/** Columns of a batch that cost something to fill. */
export type AccessColumn = 'ticks' | 'addresses' | 'values' | 'wide';

/** A row of a stored table, while replay stands at it. */
export interface EventRow<T extends Table = Table> {
  readonly table: T;
  /** Its place in the one order of all rows of the process image. */
  readonly event: number;
  /** In a table that has ticks. */
  readonly tick: number;
  /** The value of a column as SQL has it: integers of 64 bits as bigint, text as text, the name of an enum's value. */
  value<K extends keyof T['columns'] & string>(column: K): Value<T['columns'][K]>;
  /* Faster, where the type is known: */
  u64(column: string): bigint;
  /** The same of a value that is below 2^53. */
  number(column: string): number;
  i64(column: string): bigint;
  u32(column: string): number;
  /** The name of an enum column's value. */
  name(column: string): string | undefined;
  bytes(column: string): Uint8Array;
  /** Where it stands, for those who read whole columns: its batch, and its number in it. */
  readonly batch: Batch | undefined;
  readonly row: number;
}

/** Gets to know the events of a replay, in their order. */
export interface Observer {
  /** Stored tables whose rows are wanted; each must have a tick. */
  readonly tables: readonly Table[];
  /** A row took effect, at the current tick. */
  applied(row: EventRow): void;
  /**
   * A row of a table that replay itself does not act on comes next, at its tick or before. If it is taken in then, which
   * this returns, replay does not stop for it.
   */
  takesAhead?(row: EventRow): boolean;
}

export interface ReplayOptions {
  /** Deliver accesses; without it `nextAccesses` returns undefined once the process has ended. */
  readonly accesses?: boolean;
  /** The columns that are needed, all if absent: others may hold anything. */
  readonly columns?: ReadonlySet<AccessColumn>;
  /** With no columns: accesses may come in any order, and equal ones as one entry that repeats. */
  readonly tallied?: boolean;
  /** Accesses that begin at an address below the first or above the second of these may be left out. */
  readonly addresses?: readonly [bigint, bigint];
  /**
   * Deliver, with accesses to all addresses, also fetches of instructions: where an instruction is in another line of code
   * than the one before it in its superblock, or follows an access. All others are from the line of the row before. The
   * number is the logarithm of a line's size. Such a row has no value.
   */
  readonly fetches?: number;
  /** Loads by instructions at other addresses may be left out. */
  readonly loads?: (pc: bigint) => boolean;
  /** Deliver only accesses that are fresh (fresh-accesses.ts), without values. */
  readonly fresh?: FreshHooks;
  /** Deliver no accesses to the latest line of a set of a cache (line-filter.ts), nor values. */
  readonly lines?: LineHooks;
  /** Count accesses to each byte of chosen memory (access-tally.ts). */
  readonly tally?: boolean;
  /** Count the executions of segments. */
  readonly counts?: boolean;
  /** Simulate caches (cache-guest.ts); with `counts`, and with accesses if they are not only fresh ones. */
  readonly cache?: CacheHooks;
  /** Tell of calls and returns (calls-guest.ts); with `counts`, and not from a keyframe on. */
  readonly calls?: CallHooks;
  /** Measure the stacks of all threads (stack-sizes.ts); not together with definedness. */
  readonly stacks?: boolean;
  /** Follow definedness; with neither accesses nor counts. */
  readonly shadow?: ShadowHooks;
  readonly observer?: Observer;
  /** Go on where the program has exited and the C library frees what it holds. */
  readonly tidyUp?: boolean;
  /** Accesses before this tick may be left out. */
  readonly fromTick?: bigint;
  /** Accesses after this tick may be left out. */
  readonly toTick?: bigint;
}

/** One pass over one process image. Synchronous. */
export interface Replay {
  readonly sites: SiteTable;
  /** Segments seen so far; with `counts`, how often each ran. */
  segments(): SegmentTable;
  /** The next accesses; undefined at the end. The arrays are valid until the next call. */
  nextAccesses(): AccessBatch | undefined;
  /** Runs what is left, so that `segments` and `sites` are complete. */
  finish(): void;
}
