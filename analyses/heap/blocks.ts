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
    if (row.table === heap) this.allocator(row, isInImage);
    else if (row.table === client_requests) this.request(row, isInImage);
    else if (row.table === mappings) this.mapping(row, isInImage);
  }

  private mapping(row: EventRow, isInImage: boolean): void {
    const [start, size] = [Number(row.u64('address')), Number(row.u64('size'))];
    const first = Math.floor(start / PAGE_BYTES) * PAGE_BYTES;
    const release = (from: number): void => {
      // A page of which a part remains remains.
      for (let at = Math.ceil(from / PAGE_BYTES) * PAGE_BYTES; at < from + size; at += PAGE_BYTES)
        this.end(at, row, isInImage);
    };
    switch (row.name('op')) {
      case 'mprotect':
        return;
      case 'munmap':
      case 'brk_shrink':
        return release(start);
      case 'mremap':
        release(Number(row.u64('source')));
        break;
    }
    const isBreak = row.name('op') === 'brk';
    for (let at = first; at < start + size; at += PAGE_BYTES)
      if (!isBreak || !this.live.has(at)) this.begin(row, at, PAGE_BYTES, PAGE_BYTES, isInImage);
  }

  private allocator(row: EventRow, isInImage: boolean): void {
    const address = Number(row.u64('address'));
    switch (row.name('op')) {
      case 'free':
      case 'delete':
      case 'delete_array':
        return this.end(address, row, isInImage);
      case 'realloc': {
        const before = this.live.get(Number(row.u64('previous')));
        if (address === 0 || !row.u32('known')) return;
        const sizeBytes = Number(row.u64('size'));
        // Valgrind's allocator leaves a block where it is if it can, with all of its room.
        const roundedBytes =
          before && sizeBytes <= before.roundedBytes ? before.roundedBytes : this.round(sizeBytes);
        return this.begin(row, address, sizeBytes, roundedBytes, isInImage, before);
      }
      default: {
        if (address === 0) return;
        const sizeBytes = Number(row.u64('size'));
        return this.begin(row, address, sizeBytes, this.round(sizeBytes), isInImage);
      }
    }
  }

  private request(row: EventRow, isInImage: boolean): void {
    const code = row.u32('code');
    if (code !== MALLOCLIKE_BLOCK && code !== FREELIKE_BLOCK && code !== RESIZEINPLACE_BLOCK)
      return;
    const address = Number(row.u64('arg1'));
    if (code !== MALLOCLIKE_BLOCK) this.end(address, row, isInImage);
    if (code === FREELIKE_BLOCK) return;
    const sizeBytes = Number(row.u64(code === MALLOCLIKE_BLOCK ? 'arg2' : 'arg3'));
    this.begin(row, address, sizeBytes, sizeBytes, isInImage);
  }

  private round(sizeBytes: number): number {
    const { alignmentBytes } = this.settings;
    return Math.ceil(sizeBytes / alignmentBytes) * alignmentBytes;
  }

  private extra(block: HeapBlock): number {
    if (this.settings.ofPages) return 0;
    return block.roundedBytes - block.sizeBytes + this.settings.adminBytes;
  }

  private end(address: number, row: EventRow, isInImage: boolean): void {
    const block = this.live.get(address);
    if (!block) return;
    this.live.delete(address);
    this.heapBytes -= block.sizeBytes;
    this.extraBytes -= this.extra(block);
    const tick = Number(row.u64('tick'));
    for (const listener of this.listeners) listener.ended(block, tick, isInImage);
    if (!isInImage) return;
    this.frees++;
    this.trafficBytes += block.sizeBytes + this.extra(block);
  }

  /** A block begins, perhaps in place of another one. */
  private begin(
    row: EventRow,
    address: number,
    sizeBytes: number,
    roundedBytes: number,
    isInImage: boolean,
    before?: HeapBlock,
  ): void {
    const stack = row.u32('stack');
    if (this.settings.isIgnored?.(stack)) {
      if (before) this.end(before.address, row, isInImage);
      return;
    }
    const tick = Number(row.u64('tick'));
    const firstStack = before ? before.firstStack : stack;
    const firstTick = before ? before.firstTick : isInImage ? tick : 0;
    const isCustom = row.table === client_requests;
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
    if (this.live.has(after.address)) this.end(after.address, row, isInImage);
    this.live.set(after.address, after);
    const heapBytes = after.sizeBytes - (before?.sizeBytes ?? 0);
    const extraBytes = this.extra(after) - (before ? this.extra(before) : 0);
    this.heapBytes += heapBytes;
    this.extraBytes += extraBytes;
    for (const listener of this.listeners)
      if (before) listener.replaced(before, after, isInImage);
      else listener.began(after, isInImage);
    if (!isInImage) return;
    this.allocations++;
    this.allocatedBytes += after.sizeBytes;
    this.trafficBytes += Math.abs(heapBytes + extraBytes);
  }
}
