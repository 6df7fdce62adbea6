/**
 * The program's heap blocks as events tell of them, and how much they take: what massif and dhat learn
 * from the allocator. Blocks that MALLOCLIKE_BLOCK announces count, too, as in massif; pools do not. Or else the pages
 * that are mapped, each as a block: massif's --pages-as-heap.
 * Sizes and addresses are numbers: both are below 2^53.
 */
import type { EventRow } from '../../replay/types.js';
import type { Table } from '../../schemas/schema.js';
import { client_requests, heap, mappings } from '../../schemas/tables.js';

/** Codes of valgrind.h. */
const MALLOCLIKE_BLOCK = 0x1301;
const FREELIKE_BLOCK = 0x1302;
const RESIZEINPLACE_BLOCK = 0x130b;

const PAGE_BYTES = 4096;

export interface HeapBlock {
  readonly address: number;
  /** As asked for. */
  readonly sizeBytes: number;
  /** As the allocator makes it. */
  readonly roundedBytes: number;
  /** Call stack of the allocation, or of the last realloc. */
  readonly stack: number;
  readonly tick: number;
  /** Stack and tick of the allocation before all realloc; 0 of what the process image inherited. */
  readonly firstStack: number;
  readonly firstTick: number;
  /** The program announced it: it may lie in another block. */
  readonly isCustom: boolean;
}

/**
 * Told of each change after it; of a realloc once, with what was before. `isInImage`: not what a process image
 * inherits from the one that it was forked from.
 */
export interface BlockListener {
  began(block: HeapBlock, isInImage: boolean): void;
  ended(block: HeapBlock, tick: number, isInImage: boolean): void;
  replaced(before: HeapBlock, after: HeapBlock, isInImage: boolean): void;
}

export interface HeapSettings {
  /** Bytes that the allocator needs for each block besides. */
  readonly adminBytes: number;
  /** Sizes are rounded up to a multiple of this. */
  readonly alignmentBytes: number;
  /** Pages count, and not the blocks of allocators. */
  readonly ofPages: boolean;
  /** The allocation does not count. */
  readonly isIgnored?: (stack: number) => boolean;
}

/** The tables whose rows `Blocks` is to be given, in the order of events. */
export const blockTables = ({ ofPages }: HeapSettings): readonly Table[] =>
  ofPages ? [mappings] : [heap, client_requests];

export class Blocks {
  private readonly live = new Map<number, HeapBlock>();
  /** Bytes of live blocks, as asked for. */
  heapBytes = 0;
  /** What rounding and administration add. */
  extraBytes = 0;
  /** Blocks allocated, each realloc as one more; bytes of them. Those of a parent process do not count. */
  allocations = 0;
  allocatedBytes = 0;
  frees = 0;
  /** Bytes by which the heap has grown and shrunk, extra bytes included: massif's time unit B. */
  trafficBytes = 0;

  constructor(
    private readonly settings: HeapSettings,
    private readonly listeners: readonly BlockListener[] = [],
  ) {}

  /** In any order. */
  get all(): Iterable<HeapBlock> {
    return this.live.values();
  }

  get count(): number {
    return this.live.size;
  }

  /** @param isInImage - not what a process image inherits from the one that it was forked from */
  applied(row: EventRow, isInImage: boolean): void {
    const tick = row.number('tick');
    if (row.table === heap) {
      const [address, size] = [row.number('address'), row.number('size')];
      const [previous, isKnown] = [row.number('previous'), row.u32('known') !== 0];
      const [op, stack] = [row.name('op'), row.u32('stack')];
      this.allocator(op, address, size, previous, isKnown, stack, tick, isInImage);
    } else if (row.table === client_requests) this.request(row, tick, isInImage);
    else if (row.table === mappings) this.mapping(row, tick, isInImage);
  }

  /** A row of `heap`: its columns, but for `isInImage`. */
  allocator(
    op: string | undefined,
    address: number,
    sizeBytes: number,
    previous: number,
    isKnown: boolean,
    stack: number,
    tick: number,
    isInImage: boolean,
  ): void {
    switch (op) {
      case 'free':
      case 'delete':
      case 'delete_array':
        return this.end(address, tick, isInImage);
      case 'realloc': {
        if (address === 0 || !isKnown) return;
        const before = this.live.get(previous);
        // Valgrind's allocator leaves a block where it is if it can, with all of its room.
        const roundedBytes =
          before && sizeBytes <= before.roundedBytes ? before.roundedBytes : this.round(sizeBytes);
        return this.begin(address, sizeBytes, roundedBytes, stack, tick, isInImage, false, before);
      }
      default:
        if (address === 0) return;
        this.begin(address, sizeBytes, this.round(sizeBytes), stack, tick, isInImage, false);
    }
  }

  private mapping(row: EventRow, tick: number, isInImage: boolean): void {
    const [start, size] = [row.number('address'), row.number('size')];
    const first = Math.floor(start / PAGE_BYTES) * PAGE_BYTES;
    const release = (from: number): void => {
      // A page of which a part remains remains.
      for (let at = Math.ceil(from / PAGE_BYTES) * PAGE_BYTES; at < from + size; at += PAGE_BYTES)
        this.end(at, tick, isInImage);
    };
    const op = row.name('op');
    switch (op) {
      case 'mprotect':
        return;
      case 'munmap':
      case 'brk_shrink':
        return release(start);
      case 'mremap':
        release(row.number('source'));
        break;
    }
    const stack = row.u32('stack');
    for (let at = first; at < start + size; at += PAGE_BYTES)
      if (op !== 'brk' || !this.live.has(at))
        this.begin(at, PAGE_BYTES, PAGE_BYTES, stack, tick, isInImage, false);
  }

  private request(row: EventRow, tick: number, isInImage: boolean): void {
    const code = row.u32('code');
    if (code !== MALLOCLIKE_BLOCK && code !== FREELIKE_BLOCK && code !== RESIZEINPLACE_BLOCK)
      return;
    const address = row.number('arg1');
    if (code !== MALLOCLIKE_BLOCK) this.end(address, tick, isInImage);
    if (code === FREELIKE_BLOCK) return;
    const sizeBytes = row.number(code === MALLOCLIKE_BLOCK ? 'arg2' : 'arg3');
    this.begin(address, sizeBytes, sizeBytes, row.u32('stack'), tick, isInImage, true);
  }

  private round(sizeBytes: number): number {
    const { alignmentBytes } = this.settings;
    return Math.ceil(sizeBytes / alignmentBytes) * alignmentBytes;
  }

  private extra(block: HeapBlock): number {
    if (this.settings.ofPages) return 0;
    return block.roundedBytes - block.sizeBytes + this.settings.adminBytes;
  }

  private end(address: number, tick: number, isInImage: boolean): void {
    const block = this.live.get(address);
    if (!block) return;
    this.live.delete(address);
    this.heapBytes -= block.sizeBytes;
    this.extraBytes -= this.extra(block);
    for (const listener of this.listeners) listener.ended(block, tick, isInImage);
    if (!isInImage) return;
    this.frees++;
    this.trafficBytes += block.sizeBytes + this.extra(block);
  }

  /** A block begins, perhaps in place of another one. */
  private begin(
    address: number,
    sizeBytes: number,
    roundedBytes: number,
    stack: number,
    tick: number,
    isInImage: boolean,
    isCustom: boolean,
    before?: HeapBlock,
  ): void {
    if (this.settings.isIgnored?.(stack)) {
      if (before) this.end(before.address, tick, isInImage);
      return;
    }
    const firstStack = before ? before.firstStack : stack;
    const firstTick = before ? before.firstTick : isInImage ? tick : 0;
    const after = {
      address,
      sizeBytes,
      roundedBytes,
      stack,
      tick,
      firstStack,
      firstTick,
      isCustom,
    };
    if (before) this.live.delete(before.address);
    // A release that the trace lacks.
    if (this.live.has(address)) this.end(address, tick, isInImage);
    this.live.set(address, after);
    const heapBytes = sizeBytes - (before?.sizeBytes ?? 0);
    const extraBytes = this.extra(after) - (before ? this.extra(before) : 0);
    this.heapBytes += heapBytes;
    this.extraBytes += extraBytes;
    for (const listener of this.listeners)
      if (before) listener.replaced(before, after, isInImage);
      else listener.began(after, isInImage);
    if (!isInImage) return;
    this.allocations++;
    this.allocatedBytes += sizeBytes;
    this.trafficBytes += Math.abs(heapBytes + extraBytes);
  }
}
