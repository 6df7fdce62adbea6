/**
 * The heap by call stack of the allocation, as DHAT tells it: how many blocks, how long they live, how much of them is
 * ever accessed and where. A block that realloc makes larger or smaller is still the same block, of the stack that first
 * allocated it; but it counts as one more allocated, as in DHAT (Valgrind manual, chapter 10).
 */
import type { AccessTally } from '../../replay/access-tally.js';
import type { BlockListener, HeapBlock } from './blocks.js';
import { OffsetHistogram } from './offsets.js';

export interface HeapSite {
  /** Call stack of the allocation. */
  readonly stack: number;
  /** Allocated. */
  blocks: number;
  bytes: number;
  smallestBytes: number;
  largestBytes: number;
  /** Live now; at the end: then. */
  liveBlocks: number;
  liveBytes: number;
  /** Live at most at a time. */
  mostBlocks: number;
  mostBytes: number;
  /** Live when the heap of the whole program was largest, the last time if it was so several times. */
  peakBlocks: number;
  peakBytes: number;
  /** Ticks from allocation to release or to the end, of all blocks. */
  lifetimeTicks: number;
  /** Blocks that lived no longer than `shortTicks`. */
  shortBlocks: number;
  /** By instructions and by the kernel. */
  loadedBytes: number;
  storedBytes: number;
  /** By realloc, from one block to the next. */
  copiedBytes: number;
  /** Bytes of blocks at their end that nobody ever accessed, and those that were only ever stored to. */
  untouchedBytes: number;
  writeOnlyBytes: number;
  /** Sizes at the end of blocks: DHAT shows offsets only where all are the same. */
  finalBytes: number | 'several' | undefined;
  readonly offsets: OffsetHistogram;
  /** Number of the peak that `peakBytes` is of. */
  peak: number;
}

const LOADED = 1;
const STORED = 2;

export class HeapSites implements BlockListener {
  private readonly sites = new Map<number, HeapSite>();
  /** By address, of blocks that were moved: by byte whether it was loaded or stored before. */
  private readonly touched = new Map<number, Uint8Array>();
  private liveBytes = 0;
  private liveBlocks = 0;
  /** The heap's largest size, when it was so for the last time, and how many blocks there were. */
  peakBytes = 0;
  peakBlocks = 0;
  peakTick = 0;
  /** Grows with each new peak; what a site had then is noted when the site changes for the first time after it. */
  private peak = 0;

  /**
   * @param shortTicks - blocks that live no longer are short-lived
   * @param tally - what counts accesses; absent: they are not counted
   */
  constructor(
    private readonly shortTicks: number,
    private readonly tally?: () => AccessTally,
  ) {}

  began(block: HeapBlock, isInImage: boolean): void {
    if (block.isCustom) return;
    const site = this.site(block.firstStack);
    this.tally?.().begin(block.address, block.sizeBytes);
    this.allocated(site, block.sizeBytes, isInImage);
    this.change(site, 1, block.sizeBytes, block.tick, isInImage);
  }

  ended(block: HeapBlock, tick: number, isInImage: boolean): void {
    if (block.isCustom) return;
    const site = this.site(block.firstStack);
    if (isInImage) this.retire(site, block, tick);
    this.touched.delete(block.address);
    this.change(site, -1, -block.sizeBytes, tick, isInImage);
  }

  replaced(before: HeapBlock, after: HeapBlock, isInImage: boolean): void {
    const site = this.site(before.firstStack);
    if (this.tally) {
      if (isInImage) {
        const keptBytes = Math.min(before.sizeBytes, after.sizeBytes);
        const touched = this.bytesTouched(site, before);
        this.judge(site, touched.subarray(keptBytes));
        this.touched.delete(before.address);
        this.touched.set(after.address, touched.subarray(0, keptBytes));
        site.copiedBytes += keptBytes;
      }
      this.tally().begin(after.address, after.sizeBytes);
    }
    this.allocated(site, after.sizeBytes, isInImage);
    this.change(site, 0, after.sizeBytes - before.sizeBytes, after.tick, isInImage);
  }

  /**
   * The execution is over, and so are the blocks that are still live, but sites count them as live. Returns all sites in
   * order of the stacks' numbers.
   */
  finish(live: Iterable<HeapBlock>, tick: number): HeapSite[] {
    for (const block of live)
      if (!block.isCustom) this.retire(this.site(block.firstStack), block, tick);
    for (const site of this.sites.values()) this.settle(site);
    // Of what was over before a process image was forked there is nothing to say.
    const own = [...this.sites.values()].filter((site) => site.blocks > 0 || site.mostBlocks > 0);
    return own.sort((a, b) => a.stack - b.stack);
  }

  private allocated(site: HeapSite, sizeBytes: number, isInImage: boolean): void {
    if (!isInImage) return;
    site.blocks++;
    site.bytes += sizeBytes;
    site.smallestBytes = Math.min(site.smallestBytes, sizeBytes);
    site.largestBytes = Math.max(site.largestBytes, sizeBytes);
  }

  private change(
    site: HeapSite,
    blocks: number,
    bytes: number,
    tick: number,
    isInImage: boolean,
  ): void {
    this.settle(site);
    site.liveBlocks += blocks;
    site.liveBytes += bytes;
    this.liveBytes += bytes;
    this.liveBlocks += blocks;
    if (site.liveBytes > site.mostBytes || !isInImage) {
      site.mostBytes = site.liveBytes;
      site.mostBlocks = site.liveBlocks;
    }
    if (isInImage && (bytes < 0 || this.liveBytes < this.peakBytes)) return;
    this.peak++;
    this.peakBytes = this.liveBytes;
    this.peakBlocks = this.liveBlocks;
    this.peakTick = isInImage ? tick : 0;
  }

  private settle(site: HeapSite): void {
    if (site.peak === this.peak) return;
    site.peak = this.peak;
    site.peakBlocks = site.liveBlocks;
    site.peakBytes = site.liveBytes;
  }

  private retire(site: HeapSite, block: HeapBlock, tick: number): void {
    const { address, firstTick, sizeBytes } = block;
    const lifetimeTicks = tick - firstTick;
    site.lifetimeTicks += lifetimeTicks;
    if (lifetimeTicks <= this.shortTicks) site.shortBlocks++;
    site.finalBytes =
      site.finalBytes === undefined || site.finalBytes === sizeBytes ? sizeBytes : 'several';
    if (!this.tally) return;
    if (this.touched.has(address)) return this.judge(site, this.bytesTouched(site, block));
    site.untouchedBytes += sizeBytes;
    this.fold(site, block, (_, how) => {
      site.untouchedBytes--;
      if (how === STORED) site.writeOnlyBytes++;
    });
  }

  /** Takes a block's counts for its site; returns by byte whether it was ever loaded or stored. */
  private bytesTouched(site: HeapSite, block: HeapBlock): Uint8Array {
    const touched = new Uint8Array(block.sizeBytes);
    const before = this.touched.get(block.address);
    if (before) touched.set(before);
    this.fold(site, block, (offset, how) => (touched[offset]! |= how));
    return touched;
  }

  /** Takes a block's counts for its site; visits the bytes that were accessed. */
  private fold(
    site: HeapSite,
    { address, sizeBytes }: HeapBlock,
    visit: (offset: number, how: number) => void,
  ): void {
    this.tally!().take(address, sizeBytes, ({ offset, count, loads, stores }) => {
      site.offsets.add(offset, count, loads, stores);
      for (let i = 0; i < count; i++) {
        const [loaded, stored] = [loads[i]!, stores[i]!];
        if (loaded === 0 && stored === 0) continue;
        site.loadedBytes += loaded;
        site.storedBytes += stored;
        visit(offset + i, (loaded > 0 ? LOADED : 0) | (stored > 0 ? STORED : 0));
      }
    });
  }

  private judge(site: HeapSite, touched: Uint8Array): void {
    for (const how of touched) {
      if (how === 0) site.untouchedBytes++;
      else if (how === STORED) site.writeOnlyBytes++;
    }
  }

  private site(stack: number): HeapSite {
    let site = this.sites.get(stack);
    if (!site) {
      site = {
        stack,
        ...{ blocks: 0, bytes: 0, smallestBytes: Infinity, largestBytes: 0 },
        ...{ liveBlocks: 0, liveBytes: 0, mostBlocks: 0, mostBytes: 0 },
        ...{ peakBlocks: 0, peakBytes: 0, lifetimeTicks: 0, shortBlocks: 0 },
        ...{ loadedBytes: 0, storedBytes: 0, copiedBytes: 0 },
        ...{ untouchedBytes: 0, writeOnlyBytes: 0, finalBytes: undefined, peak: this.peak },
        offsets: new OffsetHistogram(),
      };
      this.sites.set(stack, site);
    }
    return site;
  }
}
