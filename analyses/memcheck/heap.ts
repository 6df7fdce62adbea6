/**
 * The heap as Memcheck sees it: live blocks, blocks freed not long ago (its quarantine), memory pools,
 * and beyond it every former block of an address, so that an access through a stale pointer can be
 * told after the address was used again. Knows nothing of definedness: `events.ts` applies that.
 */
import { lengthened } from '../../replay/grown.js';

export type AllocKind = 'malloc' | 'new' | 'new_array' | 'custom';

/** When, by which thread and with which call stack (a key of `stacks`) something happened. */
export interface Moment {
  readonly tick: bigint;
  readonly thread: number;
  readonly stack: number;
}

/** One generation of a piece of heap: from its allocation to its release. */
export interface HeapBlock {
  /** Number of the generation, from 1, in order of allocation. */
  readonly generation: number;
  address: bigint;
  sizeBytes: bigint;
  readonly alignment: bigint;
  readonly kind: AllocKind;
  /** The allocator function's `op` in the `heap` table, or `malloclike` or `mempool`. */
  readonly op: string;
  readonly allocated: Moment;
  freed: Moment | undefined;
}

/** Bytes before and after a block of malloc and its kin that are not accessible. */
export const REDZONE_BYTES = 16n;

/** The address lies in the block, or within so many bytes of it. */
export function isNear(block: HeapBlock, address: bigint, redzoneBytes: bigint): boolean {
  return (
    address >= block.address - redzoneBytes &&
    address < block.address + block.sizeBytes + redzoneBytes
  );
}

/** Blocks of up to 4 KiB, 1 MiB and 256 MiB are filed by the cell of that size in which they begin. */
const CELL_SIZES = [2 ** 12, 2 ** 20, 2 ** 28] as const;

/** Blocks by the cell in which they begin. */
class Cells {
  private readonly cells = new Map<number, HeapBlock | HeapBlock[]>();

  constructor(private readonly sizeBytes: number) {}

  /** The cell of an address; of those that differ only above 2^52, the same. */
  private cell(address: bigint): number {
    return Math.floor(Number(BigInt.asUintN(52, address)) / this.sizeBytes);
  }

  add(block: HeapBlock): void {
    const cell = this.cell(block.address);
    const found = this.cells.get(cell);
    if (found === undefined) this.cells.set(cell, block);
    else if (Array.isArray(found)) found.push(block);
    else this.cells.set(cell, [found, block]);
  }

  remove(block: HeapBlock): void {
    const cell = this.cell(block.address);
    const found = this.cells.get(cell)!;
    if (!Array.isArray(found) || found.length === 1) {
      this.cells.delete(cell);
      return;
    }
    const last = found.pop()!;
    if (last !== block) found[found.indexOf(block)] = last;
  }

  /** Visits the blocks that begin in the cells of a range, in the one before it, and perhaps others. */
  visit(first: bigint, last: bigint, look: (block: HeapBlock) => void): void {
    const { cells } = this;
    if (cells.size === 0) return;
    const each = (found: HeapBlock | HeapBlock[]): void => {
      if (Array.isArray(found)) for (const block of found) look(block);
      else look(found);
    };
    const from = this.cell(first) - 1;
    const to = this.cell(last);
    if (to < from || to - from > cells.size) for (const found of cells.values()) each(found);
    else {
      for (let cell = from; cell <= to; cell++) {
        const found = cells.get(cell);
        if (found !== undefined) each(found);
      }
    }
  }
}

/** Finds blocks by address. Blocks may overlap. */
export class BlockIndex {
  private readonly levels = CELL_SIZES.map((sizeBytes) => new Cells(sizeBytes));
  private readonly huge = new Set<HeapBlock>();

  add(block: HeapBlock): void {
    const level = this.level(block);
    if (level) level.add(block);
    else this.huge.add(block);
  }

  remove(block: HeapBlock): void {
    const level = this.level(block);
    if (level) level.remove(block);
    else this.huge.delete(block);
  }

  /** The blocks that touch [address − reach, address + size + reach). `reach` is at most 4 KiB. */
  near(address: bigint, sizeBytes: bigint, reach: bigint): HeapBlock[] {
    const found: HeapBlock[] = [];
    const first = address > reach ? address - reach : 0n;
    const last = address + (sizeBytes > 0n ? sizeBytes - 1n : 0n) + reach;
    const look = (block: HeapBlock): void => {
      if (last >= block.address && first < block.address + block.sizeBytes) found.push(block);
    };
    for (const level of this.levels) level.visit(first, last, look);
    this.huge.forEach(look);
    return found;
  }

  /** The cells in which a block is filed by its size; none for a huge one. */
  private level({ sizeBytes }: HeapBlock): Cells | undefined {
    if (sizeBytes <= 4096n) return this.levels[0];
    if (sizeBytes <= 0x10_0000n) return this.levels[1];
    return sizeBytes <= 0x1000_0000n ? this.levels[2] : undefined;
  }
}

/** Blocks by their address; of two at the same address the later one is found until it is removed. */
export class BlockTable {
  private readonly byAddress = new Map<bigint, HeapBlock | HeapBlock[]>();
  private readonly index = new BlockIndex();
  size = 0;

  get(address: bigint): HeapBlock | undefined {
    const found = this.byAddress.get(address);
    return Array.isArray(found) ? found.at(-1) : found;
  }

  add(block: HeapBlock): void {
    const same = this.byAddress.get(block.address);
    if (same === undefined) this.byAddress.set(block.address, block);
    else if (Array.isArray(same)) same.push(block);
    else this.byAddress.set(block.address, [same, block]);
    this.index.add(block);
    this.size++;
  }

  /** Removes and returns the block at this very address. */
  take(address: bigint): HeapBlock | undefined {
    const same = this.byAddress.get(address);
    if (same === undefined) return undefined;
    let block: HeapBlock;
    if (Array.isArray(same)) {
      block = same.pop()!;
      if (same.length === 1) this.byAddress.set(address, same[0]!);
    } else {
      block = same;
      this.byAddress.delete(address);
    }
    this.index.remove(block);
    this.size--;
    return block;
  }

  /** Changes the size of a live block. */
  resize(block: HeapBlock, sizeBytes: bigint): void {
    this.index.remove(block);
    block.sizeBytes = sizeBytes;
    this.index.add(block);
  }

  /** The block that contains the address or is near it: the one without a redzone, then the smallest, first. */
  near(address: bigint, redzoneBytes: bigint): HeapBlock | undefined {
    return this.index
      .near(address, 1n, redzoneBytes > 4096n ? 4096n : redzoneBytes)
      .filter((block) => isNear(block, address, redzoneBytes))
      .sort(
        (a, b) => Number(isNear(b, address, 0n)) - Number(isNear(a, address, 0n)) || order(a, b),
      )
      .at(0);
  }

  *[Symbol.iterator](): Generator<HeapBlock> {
    for (const same of this.byAddress.values()) {
      if (Array.isArray(same)) yield* same;
      else yield same;
    }
  }
}

const order = (a: HeapBlock, b: HeapBlock) =>
  a.sizeBytes < b.sizeBytes ? -1 : a.sizeBytes > b.sizeBytes ? 1 : b.generation - a.generation;

export interface Mempool {
  address: bigint;
  readonly redzoneBytes: bigint;
  readonly zeroed: boolean;
  readonly autoFree: boolean;
  readonly metapool: boolean;
  readonly blocks: BlockTable;
}

/** Which freed blocks are still told as such: `--freelist-vol` and `--freelist-big-blocks`. */
export interface QuarantineOptions {
  readonly volumeBytes: bigint;
  readonly bigBlockBytes: bigint;
}

/** A queue of freed blocks: of the big ones, or of the small ones. */
interface FreedQueue {
  blocks: HeapBlock[];
  /** Those before are gone. */
  first: number;
}

/** Freed blocks that are told of as such, in the order in which Memcheck forgets them. */
class Quarantine {
  private readonly queues: readonly [FreedQueue, FreedQueue] = [
    { blocks: [], first: 0 },
    { blocks: [], first: 0 },
  ];
  private readonly index = new BlockIndex();
  private readonly gone = new Set<HeapBlock>();
  private volumeBytes = 0n;

  constructor(
    private readonly options: QuarantineOptions,
    private readonly forget: (block: HeapBlock) => void,
  ) {}

  add(block: HeapBlock): void {
    const queue = this.queues[this.isBig(block) ? 0 : 1];
    // A block that alone exceeds the volume is the next to go.
    if (block.sizeBytes >= this.options.volumeBytes) {
      if (queue.first > 0) queue.blocks[--queue.first] = block;
      else queue.blocks.unshift(block);
    } else {
      queue.blocks.push(block);
    }
    this.volumeBytes += block.sizeBytes;
    this.index.add(block);
  }

  /** Forgets the oldest, big ones first, down to the volume. Happens before an allocation. */
  trim(): void {
    for (const queue of this.queues) {
      while (queue.first < queue.blocks.length) {
        const block = queue.blocks[queue.first]!;
        if (!this.gone.delete(block)) {
          if (this.volumeBytes <= this.options.volumeBytes) break;
          this.drop(block);
        }
        queue.first++;
      }
      const { length } = queue.blocks;
      if (queue.first + this.gone.size > 1024 && 2 * (queue.first + this.gone.size) > length) {
        queue.blocks = queue.blocks.slice(queue.first).filter((block) => !this.gone.delete(block));
        queue.first = 0;
      }
    }
  }

  /** Memory of these blocks is in use again: the recorder's own quarantine let them go earlier. */
  reused(address: bigint, sizeBytes: bigint): void {
    for (const block of this.index.near(address, sizeBytes, 0n)) {
      if (block.kind === 'custom') continue;
      this.gone.add(block);
      this.drop(block);
    }
  }

  /** The first that Memcheck's search, big ones first and then from the oldest on, comes upon. */
  near(address: bigint): HeapBlock | undefined {
    return this.index
      .near(address, 1n, REDZONE_BYTES)
      .filter((block) => isNear(block, address, REDZONE_BYTES))
      .sort(
        (a, b) =>
          Number(this.isBig(b)) - Number(this.isBig(a)) ||
          (a.freed!.tick < b.freed!.tick ? -1 : a.freed!.tick > b.freed!.tick ? 1 : 0),
      )
      .at(0);
  }

  private drop(block: HeapBlock): void {
    this.volumeBytes -= block.sizeBytes;
    this.index.remove(block);
    this.forget(block);
  }

  private isBig(block: HeapBlock): boolean {
    return block.sizeBytes >= this.options.bigBlockBytes;
  }
}

/** Former blocks kept beyond the quarantine: bounded, whatever the length of the trace. */
const HISTORY_LIMIT = 1 << 20;

/** Blocks whose memory may have been used again, as columns: the newest `HISTORY_LIMIT`. */
class History {
  private capacity = 0;
  private addresses = new BigUint64Array(0);
  private sizes = new BigUint64Array(0);
  private ticks = new BigUint64Array(0);
  /** generation, stack and thread of the allocation, stack and thread of the release, kind. */
  private words = new Uint32Array(0);
  count = 0;

  add(block: HeapBlock): void {
    if (this.count >= this.capacity && this.capacity < HISTORY_LIMIT) this.grow();
    const at = this.count++ % this.capacity;
    this.addresses[at] = block.address;
    this.sizes[at] = block.sizeBytes;
    this.ticks[2 * at] = block.allocated.tick;
    this.ticks[2 * at + 1] = block.freed!.tick;
    this.words.set(
      [
        block.generation,
        block.allocated.stack,
        block.allocated.thread,
        block.freed!.stack,
        block.freed!.thread,
        KINDS.indexOf(block.kind),
      ],
      6 * at,
    );
  }

  /** Those that contained the address, the newest first. */
  of(address: bigint): HeapBlock[] {
    const found: HeapBlock[] = [];
    const kept = Math.min(this.count, this.capacity);
    for (let i = 1; i <= kept; i++) {
      const at = (this.count - i) % this.capacity;
      const start = this.addresses[at]!;
      if (address >= start && address - start < this.sizes[at]!) found.push(this.block(at));
    }
    return found;
  }

  private block(at: number): HeapBlock {
    const [generation, stack, thread, freeStack, freeThread, kind] = this.words.subarray(6 * at);
    return {
      generation: generation!,
      address: this.addresses[at]!,
      sizeBytes: this.sizes[at]!,
      alignment: 0n,
      kind: KINDS[kind!]!,
      op: KINDS[kind!]!,
      allocated: { tick: this.ticks[2 * at]!, thread: thread!, stack: stack! },
      freed: { tick: this.ticks[2 * at + 1]!, thread: freeThread!, stack: freeStack! },
    };
  }

  private grow(): void {
    this.capacity = Math.min(HISTORY_LIMIT, Math.max(1024, 2 * this.capacity));
    this.addresses = lengthened(this.addresses, this.capacity);
    this.sizes = lengthened(this.sizes, this.capacity);
    this.ticks = lengthened(this.ticks, 2 * this.capacity);
    this.words = lengthened(this.words, 6 * this.capacity);
  }
}

const KINDS: readonly AllocKind[] = ['malloc', 'new', 'new_array', 'custom'];

export class Heap {
  /** Blocks of malloc and its kin, and those announced by client requests outside of pools. */
  readonly live = new BlockTable();
  readonly pools = new Map<bigint, Mempool>();
  /** Calls of allocators, of their counterparts, and bytes asked for, as Memcheck's summary counts. */
  allocations = 0;
  frees = 0;
  allocatedBytes = 0n;

  private generations = 0;
  private readonly history = new History();
  private readonly quarantine: Quarantine;

  constructor(
    options: QuarantineOptions = { volumeBytes: 20_000_000n, bigBlockBytes: 1_000_000n },
  ) {
    this.quarantine = new Quarantine(options, (block) => this.history.add(block));
  }

  /** A new block in `table`: that of malloc, or a pool's. */
  allocate(
    block: Pick<HeapBlock, 'address' | 'sizeBytes' | 'alignment' | 'kind' | 'op' | 'allocated'>,
    table = this.live,
  ): HeapBlock {
    this.quarantine.trim();
    if (block.kind !== 'custom') this.quarantine.reused(block.address, block.sizeBytes);
    const added = { ...block, generation: ++this.generations, freed: undefined };
    table.add(added);
    return added;
  }

  /** A block that was taken out of its table waits in the quarantine. */
  release(block: HeapBlock, freed: Moment): void {
    block.freed = freed;
    this.quarantine.add(block);
  }

  /** A block that was taken out of its table with its pool: it is not told of as freed. */
  discard(block: HeapBlock, freed: Moment): void {
    block.freed = freed;
    this.history.add(block);
  }

  /** Whether memory of freed blocks can have been used again: some block has left the quarantine. */
  get canReuse(): boolean {
    return this.history.count > 0;
  }

  /** The freed block in the quarantine that contains the address or is near it. */
  freedNear(address: bigint): HeapBlock | undefined {
    return this.quarantine.near(address);
  }

  /** The block of a pool that contains the address or is near it. */
  poolBlockNear(address: bigint, metapool: boolean): HeapBlock | undefined {
    for (const pool of this.pools.values()) {
      if (pool.metapool !== metapool) continue;
      const block = pool.blocks.near(address, pool.redzoneBytes);
      if (block) return block;
    }
    return undefined;
  }

  /**
   * Blocks that contained the address and were freed, the newest first. Beyond the quarantine the
   * newest million is kept.
   */
  formerBlocks(address: bigint): HeapBlock[] {
    const quarantined = this.quarantine.near(address);
    const former = this.history.of(address);
    return quarantined && isNear(quarantined, address, 0n) ? [quarantined, ...former] : former;
  }

  /** Bytes and blocks that are live. */
  inUse(): { bytes: bigint; blocks: number } {
    let bytes = 0n;
    for (const block of this.live) bytes += block.sizeBytes;
    return { bytes, blocks: this.live.size };
  }
}
