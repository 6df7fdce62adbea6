/** Caches as their definitions have them, one reference after the other: the obvious twin of analyses/cache/hierarchy.ts. */
import { MISSED, type HierarchyShape, type LevelName } from '../analyses/cache/hierarchy.js';
import { makePrefetcher, type Prefetcher } from '../analyses/cache/prefetch.js';

interface Slot {
  line: number;
  ahead: boolean;
  /** Times of the last reference and of its coming. */
  referenced: number;
  came: number;
  /** Predicted re-reference interval. */
  interval: number;
}

class PlainLevel {
  isNews = false;
  private readonly sets = new Map<number, (Slot | undefined)[]>();
  /** Of each set and each part of its ways `from:to`: the second half is the one that was referenced less recently. */
  private readonly pointers = new Map<string, boolean>();
  private now = 0;

  constructor(
    private readonly sizeInLines: number,
    private readonly ways: number,
    private readonly policy: string,
  ) {}

  reference(line: number): boolean {
    const slot = this.setOf(line).find((one) => one?.line === line);
    this.isNews = slot === undefined || slot.ahead;
    if (!slot) {
      this.put(line, false);
      return false;
    }
    slot.ahead = false;
    slot.referenced = ++this.now;
    slot.interval = 0;
    this.point(line);
    return true;
  }

  prefetch(line: number): boolean {
    if (this.setOf(line).some((one) => one?.line === line)) return true;
    this.put(line, true);
    return false;
  }

  private number(line: number): number {
    return line % (this.sizeInLines / this.ways);
  }

  private setOf(line: number): (Slot | undefined)[] {
    const number = this.number(line);
    let set = this.sets.get(number);
    if (!set) this.sets.set(number, (set = Array.from({ length: this.ways }, () => undefined)));
    return set;
  }

  private put(line: number, ahead: boolean): void {
    const set = this.setOf(line);
    const empty = set.indexOf(undefined);
    const way = empty >= 0 ? empty : this.victim(line, set as Slot[]);
    const now = ++this.now;
    set[way] = { line, ahead, referenced: now, came: now, interval: ahead ? 3 : 2 };
    this.point(line);
  }

  private victim(line: number, set: Slot[]): number {
    const oldest = (by: 'referenced' | 'came'): number =>
      set.indexOf(set.reduce((a, b) => (b[by] < a[by] ? b : a)));
    if (this.policy === 'lru') return oldest('referenced');
    if (this.policy === 'fifo') return oldest('came');
    if (this.policy === 'srrip') {
      while (!set.some(({ interval }) => interval === 3)) for (const slot of set) slot.interval++;
      return set.findIndex(({ interval }) => interval === 3);
    }
    let [from, to] = this.all();
    while (to - from > 1) {
      const half = (from + to) / 2;
      const isSecond = half < this.ways && this.pointers.get(this.key(line, from, to)) === true;
      if (isSecond) from = half;
      else to = half;
    }
    return from;
  }

  /** Lets the tree point away from the way of a line. */
  private point(line: number): void {
    const way = this.setOf(line).findIndex((slot) => slot?.line === line);
    let [from, to] = this.all();
    while (to - from > 1) {
      const half = (from + to) / 2;
      this.pointers.set(this.key(line, from, to), way < half);
      if (way < half) to = half;
      else from = half;
    }
  }

  private all(): [number, number] {
    let leaves = 1;
    while (leaves < this.ways) leaves *= 2;
    return [0, leaves];
  }

  private key(line: number, from: number, to: number): string {
    return `${this.number(line)} ${from}:${to}`;
  }
}

export class PlainHierarchy {
  private readonly levels = new Map<LevelName, PlainLevel>();
  private readonly prefetcher: Prefetcher | undefined;
  private readonly linesPerPage: number;

  constructor(private readonly shape: HierarchyShape) {
    for (const name of ['I1', 'D1', 'L2', 'LL', 'DTLB', 'STLB'] as const) {
      const one = shape[name];
      if (!one) continue;
      const { sizeBytes, ways, lineBytes } = one;
      this.levels.set(name, new PlainLevel(sizeBytes / lineBytes, ways, shape.policies[name]));
    }
    this.prefetcher = makePrefetcher(shape.prefetcher, shape.LL.lineBytes);
    this.linesPerPage = (shape.DTLB?.lineBytes ?? 0) / shape.LL.lineBytes;
  }

  /** An access; what was missed of its lines. */
  access(isFetch: boolean, address: bigint, size: number, site: number): number {
    const { levels } = this;
    const lineBytes = BigInt(this.shape.LL.lineBytes);
    const lines: number[] = [];
    for (let line = address / lineBytes; line <= (address + BigInt(size) - 1n) / lineBytes; line++)
      lines.push(Number(line));
    let missed = 0;
    for (const line of !isFetch && levels.has('DTLB') ? lines : []) {
      const page = Math.floor(line / this.linesPerPage);
      if (levels.get('DTLB')!.reference(page)) continue;
      missed |= MISSED.tlb;
      if (!levels.get('STLB')?.reference(page)) missed |= MISSED.walk;
    }
    const first = levels.get(isFetch ? 'I1' : 'D1')!;
    const found = lines.map((line) => first.reference(line));
    if (!found.includes(false)) return missed;
    missed |= MISSED.first;
    const behind = [levels.get('L2'), levels.get('LL')].filter((level) => level !== undefined);
    for (const line of lines) {
      const holder = behind.findIndex((level) => level.reference(line));
      if (holder !== 0 && levels.has('L2')) missed |= MISSED.second;
      if (holder < 0) missed |= MISSED.last;
      const next = this.prefetcher?.referenced(line, site, behind[0]!.isNews) ?? -1;
      if (next >= 0) for (const level of behind) if (level.prefetch(next)) break;
    }
    return missed;
  }
}
