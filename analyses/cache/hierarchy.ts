/**
 * A processor's caches beyond what Cachegrind simulates: a second level, replacement policies, prefetchers, translation
 * lookaside buffers. It is told of the references that are not to the line of a set that was referenced last, in order:
 * others change nothing (Puzak 1985). Caches are neither inclusive nor exclusive; a reference goes on to the next level where
 * it misses, and fills each level on its way. Lines are never written back, as in Cachegrind.
 */
import type { CacheShape } from '../../replay/cache-guest.js';
import { makePolicy, type PolicyName, type ReplacementPolicy } from './policies.js';
import { makePrefetcher, type Prefetcher, type PrefetcherName } from './prefetch.js';

/** What is to be simulated. All levels have lines of the same size. */
export interface HierarchyShape {
  readonly I1: CacheShape;
  readonly D1: CacheShape;
  /** Absent: the last level is right behind the first ones. */
  readonly L2?: CacheShape;
  readonly LL: CacheShape;
  /** Data TLBs: of pages (`lineBytes`), the second behind the first. */
  readonly DTLB?: CacheShape;
  readonly STLB?: CacheShape;
  readonly policies: Readonly<Record<LevelName, PolicyName>>;
  readonly prefetcher: PrefetcherName;
}

export const LEVELS = ['I1', 'D1', 'L2', 'LL', 'DTLB', 'STLB'] as const;
export type LevelName = (typeof LEVELS)[number];

/** Lines of pages that no address has. */
const NO_LINE = -1;

/** One cache, of lines known by number. */
export class ModelCache {
  /** Lines that were fetched ahead, and those of them that were referenced before they went. */
  prefetched = 0;
  prefetchedUsed = 0;
  /** The last reference was to a line that was missing, or fetched ahead and not referenced since. */
  isNews = false;
  private readonly lines: Float64Array;
  private readonly isAhead: Uint8Array;
  private readonly policy: ReplacementPolicy;
  private readonly setMask: number;
  private readonly ways: number;

  constructor(
    readonly shape: CacheShape,
    readonly policyName: PolicyName,
  ) {
    const { sizeBytes, ways, lineBytes } = shape;
    const sets = sizeBytes / lineBytes / ways;
    this.ways = ways;
    this.setMask = sets - 1;
    this.lines = new Float64Array(sets * ways).fill(NO_LINE);
    this.isAhead = new Uint8Array(sets * ways);
    this.policy = makePolicy(policyName, sets, ways);
  }

  /** References a line, which is there afterwards. @returns whether it was */
  reference(line: number): boolean {
    // The low 32 bits of a number below 2^53.
    const set = (line | 0) & this.setMask;
    const way = this.wayOf(set, line);
    if (way < 0) {
      this.isNews = true;
      this.fill(set, line, false);
      return false;
    }
    const at = set * this.ways + way;
    this.isNews = this.isAhead[at] === 1;
    if (this.isNews) {
      this.isAhead[at] = 0;
      this.prefetchedUsed++;
    }
    this.policy.hit(set, way);
    return true;
  }

  /** Fetches a line ahead. @returns whether it was there already */
  prefetch(line: number): boolean {
    const set = (line | 0) & this.setMask;
    if (this.wayOf(set, line) >= 0) return true;
    this.prefetched++;
    this.fill(set, line, true);
    return false;
  }

  private wayOf(set: number, line: number): number {
    const { lines, ways } = this;
    const first = set * ways;
    for (let way = 0; way < ways; way++) if (lines[first + way] === line) return way;
    return -1;
  }

  private fill(set: number, line: number, isPrefetch: boolean): void {
    const empty = this.wayOf(set, NO_LINE);
    const way = empty >= 0 ? empty : this.policy.victim(set);
    const at = set * this.ways + way;
    this.lines[at] = line;
    this.isAhead[at] = isPrefetch ? 1 : 0;
    this.policy.filled(set, way, isPrefetch);
  }
}

/** What a reference missed, as bits. */
export const MISSED = { first: 1, second: 2, last: 4, tlb: 8, walk: 16 } as const;

/** The caches of one core. */
export class Hierarchy {
  readonly levels: Readonly<Partial<Record<LevelName, ModelCache>>>;
  private readonly I1: ModelCache;
  private readonly D1: ModelCache;
  private readonly L2: ModelCache | undefined;
  private readonly LL: ModelCache;
  private readonly DTLB: ModelCache | undefined;
  private readonly STLB: ModelCache | undefined;
  private readonly prefetcher: Prefetcher | undefined;
  private readonly lineBytes: number;
  private readonly linesPerPage: number;

  constructor(shape: HierarchyShape) {
    const make = (name: LevelName): ModelCache | undefined =>
      shape[name] && new ModelCache(shape[name], shape.policies[name]);
    this.I1 = make('I1')!;
    this.D1 = make('D1')!;
    this.L2 = make('L2');
    this.LL = make('LL')!;
    this.DTLB = make('DTLB');
    this.STLB = make('STLB');
    const { I1, D1, L2, LL, DTLB, STLB } = this;
    this.levels = { I1, D1, ...(L2 && { L2 }), LL, ...(DTLB && { DTLB }), ...(STLB && { STLB }) };
    this.lineBytes = shape.LL.lineBytes;
    this.linesPerPage = (shape.DTLB?.lineBytes ?? 0) / this.lineBytes;
    this.prefetcher = makePrefetcher(shape.prefetcher, this.lineBytes);
  }

  /**
   * A fetch of an instruction, or an access to data, of one line or of two that follow one another. As in Cachegrind, both
   * are referenced behind the first level if one of them is missing there.
   * @param line - number of the (first) line: its address by the size of a line
   * @param site - number of the place in the code
   * @returns what was missed, of either line: bits of `MISSED`
   */
  reference(isFetch: boolean, line: number, isTwoLines: boolean, site: number): number {
    const first = isFetch ? this.I1 : this.D1;
    const isTranslated = !isFetch && this.DTLB !== undefined;
    let missed = isTranslated ? this.translate(line) : 0;
    let isThere = first.reference(line);
    if (isTwoLines) {
      if (isTranslated) missed |= this.translate(line + 1);
      isThere = first.reference(line + 1) && isThere;
    }
    if (isThere) return missed;
    missed |= MISSED.first | this.behind(line, site);
    return isTwoLines ? missed | this.behind(line + 1, site) : missed;
  }

  private behind(line: number, site: number): number {
    const behind = this.L2 ?? this.LL;
    const isThere = behind.reference(line);
    const { isNews } = behind;
    let missed = isThere ? 0 : this.L2 ? MISSED.second : MISSED.last;
    if (!isThere && this.L2 && !this.LL.reference(line)) missed |= MISSED.last;
    const next = this.prefetcher?.referenced(line, site, isNews) ?? -1;
    if (next >= 0 && !behind.prefetch(next) && this.L2) this.LL.prefetch(next);
    return missed;
  }

  private translate(line: number): number {
    const page = Math.floor(line / this.linesPerPage);
    if (this.DTLB!.reference(page)) return 0;
    return this.STLB?.reference(page) ? MISSED.tlb : MISSED.tlb | MISSED.walk;
  }
}
