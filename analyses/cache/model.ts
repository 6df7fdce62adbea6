/**
 * A replay that simulates more than Cachegrind's caches (hierarchy.ts). Compiled code then only strips the references: its
 * caches are direct-mapped with as many sets as the real first levels, and what they miss is all that a set can learn of
 * (policies.ts, `ignoresRepeats`). Pages have sets of their own, so with a TLB only repeats of the last line are left out.
 */
import type { CacheHooks, CacheMisses, CacheShape } from '../../replay/cache-guest.js';
import { GUARDED, type CacheSites } from '../../replay/code-tables.js';
import { grown } from '../../replay/grown.js';
import { Hierarchy, MISSED, type HierarchyShape } from './hierarchy.js';

/** Caches of one way for compiled code, which miss what the hierarchy must be told of. */
export function strippingShapes({
  I1,
  D1,
  LL,
  DTLB,
}: HierarchyShape): Pick<CacheHooks, 'I1' | 'D1' | 'LL'> {
  const directMapped = ({ sizeBytes, ways, lineBytes }: CacheShape): CacheShape => ({
    sizeBytes: sizeBytes / ways,
    ways: 1,
    lineBytes,
  });
  const oneLine: CacheShape = { sizeBytes: LL.lineBytes, ways: 1, lineBytes: LL.lineBytes };
  return { I1: directMapped(I1), D1: DTLB ? oneLine : directMapped(D1), LL: oneLine };
}

/** Counters of each site, in the order of the bits of `MISSED`. */
const SITE_MISSES = Object.keys(MISSED).length;

export class Model {
  readonly hierarchy: Hierarchy;
  /** By site `SITE_MISSES` counts. */
  private counts = new Float64Array(SITE_MISSES * 4096);
  private results = new Uint8Array(0);
  private readonly lineBits: number;

  constructor(shape: HierarchyShape) {
    this.hierarchy = new Hierarchy(shape);
    this.lineBits = Math.log2(shape.LL.lineBytes);
  }

  /**
   * References that compiled code did not strip, in order.
   * @param isCounted - they are of the process that is judged, not of one that it was forked from
   * @returns what each missed, as bits of `MISSED`; valid until the next call
   */
  refer(misses: CacheMisses, sites: CacheSites, isCounted: boolean): Uint8Array {
    const { count, addresses, sites: words } = misses;
    const { hierarchy, lineBits } = this;
    if (this.results.length < count) this.results = new Uint8Array(count);
    const { results } = this;
    const counts = this.room(sites.count);
    const highLines = 2 ** (32 - lineBits);
    for (let i = 0; i < count; i++) {
      const word = words[i]!;
      const site = word >>> 2;
      const isFetch = (sites.kinds[site]! & ~GUARDED) === 0;
      const line = addresses[2 * i + 1]! * highLines + (addresses[2 * i]! >>> lineBits);
      const isTwoLines = (word & 2) !== 0;
      const missed = hierarchy.reference(isFetch, line, isTwoLines, sites.pcs[site]!);
      results[i] = missed;
      if (missed === 0 || !isCounted) continue;
      const at = SITE_MISSES * site;
      for (let event = 0; event < SITE_MISSES; event++)
        counts[at + event]! += (missed >>> event) & 1;
    }
    // What was fetched ahead before is not the process's own.
    if (!isCounted)
      for (const level of Object.values(hierarchy.levels))
        level.prefetched = level.prefetchedUsed = 0;
    return results;
  }

  /** How often a site missed. */
  misses(site: number, what: keyof typeof MISSED): number {
    return this.counts[SITE_MISSES * site + Math.log2(MISSED[what])] ?? 0;
  }

  /** Counters of so many sites. */
  private room(sites: number): Float64Array {
    return (this.counts = grown(this.counts, SITE_MISSES * sites));
  }
}
