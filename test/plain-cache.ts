/** Caches as one would write them down: the obvious twin of the simulation in replay/support-cache.ts. */
import type { CacheShape } from '../replay/cache-guest.js';

/** Write-allocate, least recently used. Lines are numbers of 64-bit addresses, by line size. */
export class PlainCache {
  /** By set: its lines, the latest first. */
  private readonly sets: bigint[][];

  /** @param shift - sets that a line is shifted by, by its address */
  constructor(
    private readonly shape: CacheShape,
    private readonly shift: (address: bigint) => bigint = () => 0n,
  ) {
    const { sizeBytes, ways, lineBytes } = shape;
    // Valgrind's caches begin with line 0 in each way.
    this.sets = Array.from({ length: sizeBytes / lineBytes / ways }, () =>
      Array.from({ length: ways }, () => 0n),
    );
  }

  /** References all lines of an access; true if one of them was missing. */
  misses(address: bigint, size: number): boolean {
    const lineBytes = BigInt(this.shape.lineBytes);
    let isMiss = false;
    for (
      let line = address / lineBytes;
      line <= (address + BigInt(size) - 1n) / lineBytes;
      line++
    ) {
      const set = this.setOf(line);
      const at = set.indexOf(line);
      if (at < 0) {
        isMiss = true;
        set.pop();
      } else set.splice(at, 1);
      set.unshift(line);
    }
    return isMiss;
  }

  isTwoLines(address: bigint, size: number): boolean {
    const lineBytes = BigInt(this.shape.lineBytes);
    return address / lineBytes !== (address + BigInt(size) - 1n) / lineBytes;
  }

  /** The line of an address is the one of its set that was referred to last. */
  isLatest(address: bigint): boolean {
    const line = address / BigInt(this.shape.lineBytes);
    return this.setOf(line)[0] === line;
  }

  private setOf(line: bigint): bigint[] {
    const shift = this.shift(line * BigInt(this.shape.lineBytes));
    return this.sets[Number((line + shift) % BigInt(this.sets.length))]!;
  }
}

export interface PlainShapes {
  readonly I1: CacheShape;
  readonly D1: CacheShape;
  readonly LL: CacheShape;
}

/** Two first levels and a last one behind both. */
export class PlainCaches {
  readonly I1: PlainCache;
  readonly D1: PlainCache;
  readonly LL: PlainCache;

  constructor({ I1, D1, LL }: PlainShapes, shift?: (address: bigint) => bigint) {
    this.I1 = new PlainCache(I1, shift);
    this.D1 = new PlainCache(D1, shift);
    this.LL = new PlainCache(LL, shift);
  }

  /** How many levels missed: 0, 1 or 2. */
  refer(level: 'I1' | 'D1', address: bigint, size: number): number {
    if (!this[level].misses(address, size)) return 0;
    return this.LL.misses(address, size) ? 2 : 1;
  }
}
