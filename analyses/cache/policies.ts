/** Which line of a set is given up for another: replacement policies of caches, behind one small interface. */

/** A policy of one cache, with its state for all sets. Ways are numbers from 0. */
export interface ReplacementPolicy {
  /** The line in a way was referenced. */
  hit(set: number, way: number): void;
  /** A full set: the way whose line goes. */
  victim(set: number): number;
  /** A line was put into a way: one that was referenced, or that a prefetcher wants. */
  filled(set: number, way: number, isPrefetch: boolean): void;
}

export type PolicyName = keyof typeof POLICIES;

/** Least recently used. */
class Lru implements ReplacementPolicy {
  /** Of each line: when it was referenced last. */
  private readonly times: Float64Array;
  private now = 0;

  constructor(
    sets: number,
    private readonly ways: number,
  ) {
    this.times = new Float64Array(sets * ways);
  }

  hit(set: number, way: number): void {
    this.times[set * this.ways + way] = ++this.now;
  }

  victim(set: number): number {
    const { times, ways } = this;
    const first = set * ways;
    let oldest = 0;
    for (let way = 1; way < ways; way++)
      if (times[first + way]! < times[first + oldest]!) oldest = way;
    return oldest;
  }

  filled(set: number, way: number): void {
    this.hit(set, way);
  }
}

/** First in, first out: references do not count. */
class Fifo extends Lru {
  override hit(): void {}

  override filled(set: number, way: number): void {
    super.hit(set, way);
  }
}

/**
 * Tree of bits (pseudo-LRU): each inner node of a binary tree over the ways points to the half that was referenced less
 * recently. Where the ways are no power of two, halves without ways are never pointed to.
 */
class TreePlru implements ReplacementPolicy {
  private readonly leaves: number;
  /** Of each set its nodes, the root at 1, children of node n at 2n and 2n + 1: 1 points to the second. */
  private readonly nodes: Uint8Array;

  constructor(
    sets: number,
    private readonly ways: number,
  ) {
    this.leaves = 2 ** Math.ceil(Math.log2(ways));
    this.nodes = new Uint8Array(sets * this.leaves);
  }

  hit(set: number, way: number): void {
    const first = set * this.leaves;
    for (let node = this.leaves + way; node > 1; node >>>= 1)
      this.nodes[first + (node >>> 1)] = (node & 1) ^ 1;
  }

  victim(set: number): number {
    const { leaves, nodes } = this;
    const first = set * leaves;
    let node = 1;
    for (let span = leaves >>> 1, way = 0; span > 0; span >>>= 1) {
      const isSecond = nodes[first + node]! === 1 && way + span < this.ways;
      node = 2 * node + (isSecond ? 1 : 0);
      if (isSecond) way += span;
    }
    return node - leaves;
  }

  filled(set: number, way: number): void {
    this.hit(set, way);
  }
}

/** Any line: the same ones in each run. */
class Random implements ReplacementPolicy {
  private state = 0x9e3779b9;

  constructor(
    _sets: number,
    private readonly ways: number,
  ) {}

  hit(): void {}

  /** Marsaglia's xorshift, 32 bits. */
  victim(): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % this.ways;
  }

  filled(): void {}
}

/**
 * Static re-reference interval prediction with 2 bits, by hit priority (SRRIP-HP: Jaleel and others, ISCA 2010): a new line
 * is thought to be referenced after a long time, a line that was referenced again soon, one that is prefetched in the distant
 * future.
 */
class Srrip implements ReplacementPolicy {
  private static readonly DISTANT = 3;
  private readonly intervals: Uint8Array;

  constructor(
    sets: number,
    private readonly ways: number,
  ) {
    this.intervals = new Uint8Array(sets * ways).fill(Srrip.DISTANT);
  }

  hit(set: number, way: number): void {
    this.intervals[set * this.ways + way] = 0;
  }

  victim(set: number): number {
    const { intervals, ways } = this;
    const own = intervals.subarray(set * ways, (set + 1) * ways);
    const farthest = own.reduce((a, b) => Math.max(a, b));
    for (let way = 0; way < ways; way++) own[way]! += Srrip.DISTANT - farthest;
    return own.indexOf(Srrip.DISTANT);
  }

  filled(set: number, way: number, isPrefetch: boolean): void {
    this.intervals[set * this.ways + way] = isPrefetch ? Srrip.DISTANT : Srrip.DISTANT - 1;
  }
}

const POLICIES = { lru: Lru, plru: TreePlru, fifo: Fifo, random: Random, srrip: Srrip } as const;

export const POLICY_NAMES = Object.keys(POLICIES) as readonly PolicyName[];

export const makePolicy = (name: PolicyName, sets: number, ways: number): ReplacementPolicy =>
  new POLICIES[name](sets, ways);

/**
 * Whether a reference to the line of a set that was referenced last changes nothing: then a simulation may leave such
 * references out (Puzak, Analysis of Cache Replacement Algorithms, 1985: trace stripping).
 */
export const ignoresRepeats = (name: PolicyName): boolean => name !== 'srrip';
