/**
 * Misses of data in heap blocks, by the stack that allocated the block and the place in it: counted by the native module
 * (native/heap-misses.h), which knows the blocks from the calls of allocators. analyses/cache/heap-misses.ts does the same
 * without it, and with misses that a model says.
 */
import type { CacheSites } from './code-tables.js';
import type { GuestMemory } from './guest-memory.js';
import type { NativeEngine, NativeMisses } from './native.js';
import type { EventRow } from './types.js';
import { isRelease } from '../schemas/tables.js';

/** Places in blocks are told apart in steps of so many bytes, up to a limit. */
export const OFFSET_BITS = 3;
export const MOST_OFFSETS = 4096 >> OFFSET_BITS;
/** Of each place: misses of reads in the first level and in the last, and of writes. */
export const MISS_EVENTS = 4;

/** Places in the order in which they were first missed. */
export interface FoundMisses {
  readonly count: number;
  /** The number of the stack times `MOST_OFFSETS + 1`, plus the offset in steps, which is `MOST_OFFSETS` beyond the limit. */
  readonly keys: Float64Array;
  /** `MISS_EVENTS` of each. */
  readonly counts: Float64Array;
}

/** A call of an allocator: what is known of its effect. */
export interface HeapCall {
  readonly releases: boolean;
  /** For a release: it was a live block. */
  readonly known: boolean;
  readonly address: number;
  readonly size: number;
  /** The block that was reallocated, or 0. */
  readonly previous: number;
  readonly stack: number;
}

export function heapCallOf(row: EventRow): HeapCall {
  return {
    releases: isRelease(row.name('op')),
    known: row.u32('known') !== 0,
    address: row.number('address'),
    size: row.number('size'),
    previous: row.number('previous'),
    stack: row.u32('stack'),
  };
}

export class NativeHeapMisses {
  readonly handle: NativeMisses;
  private kinds: Uint8Array | undefined;
  /** Misses count: the replay is in the image itself. */
  private counting = true;

  constructor(
    private readonly engine: NativeEngine,
    private readonly memory: GuestMemory,
    private readonly sites: CacheSites,
  ) {
    this.handle = engine.makeMisses();
  }

  /** From now on misses count, or not. */
  count(counting: boolean): void {
    this.counting = counting;
    this.kinds = undefined;
    this.bind();
  }

  /** Makes known what kinds of sites there are: before misses are taken. */
  bind(): void {
    if (this.kinds === this.sites.kinds) return;
    this.kinds = this.sites.kinds;
    this.engine.bindSiteKinds(this.handle, this.kinds, this.counting ? 1 : 0);
  }

  /** Attributes the misses that were written down. */
  take(): void {
    this.bind();
    this.engine.takeMisses(this.handle, this.memory.bytes);
  }

  /** A call of an allocator has taken effect. */
  call({ releases, known, address, size, previous, stack }: HeapCall): void {
    this.bind();
    const how = (releases ? 1 : 0) | (known ? 2 : 0);
    this.engine.callHeap(this.handle, this.memory.bytes, how, address, size, previous, stack);
  }

  found(): FoundMisses {
    const none = new Float64Array(0);
    const count = this.engine.missesFound(this.handle, none, none);
    const keys = new Float64Array(count);
    const counts = new Float64Array(MISS_EVENTS * count);
    this.engine.missesFound(this.handle, keys, counts);
    return { count, keys, counts };
  }
}
