/**
 * Misses of the best replacement that there is, Belady's MIN (1966), for caches of chosen sizes, without knowing what comes:
 * by looking back, as OPTgen does (Jain and Lin, ISCA 2016). From a reference to a line's next one the line can be kept if,
 * at each reference in between, the cache has a place besides that of the line referenced there. A cache of n lines so has
 * n - 1 places to keep lines in, and MIN makes as many hits as such intervals can be packed into them. Taking them by their
 * ends, each into the place that has been free for the shortest time before it, packs most (Carlisle and Lloyd, "On the
 * k-coloring of intervals", 1995). So all that is remembered of a cache is when its places became free: a set of times, of
 * which the latest before a line's last reference is looked for.
 *
 * Only lines' last references and these times matter: when times are used up, they are given anew, in order, and memory
 * grows with the lines, not with the references.
 */
import { grown } from '../../replay/grown.js';

/** Times that there are at least, a power of two. */
const LEAST_TIMES = 1 << 16;

export class Optimum {
  /** By size: misses. */
  readonly misses: Float64Array;
  /** By line: when it was referenced last; 0: never. */
  private times = new Int32Array(1024);
  /** By time: the line that was referenced. */
  private lines = new Int32Array(LEAST_TIMES);
  private now = 1;
  private lineCount = 0;
  private last = -1;
  private free: TimeSet[];
  /** By size: places that have never kept a line. */
  private readonly unused: Float64Array;

  /** @param sizes - lines of the caches, each at least 1 */
  constructor(private readonly sizes: readonly number[]) {
    this.misses = new Float64Array(sizes.length);
    this.unused = Float64Array.from(sizes, (size) => size - 1);
    this.free = sizes.map(() => new TimeSet(LEAST_TIMES));
  }

  get isWanted(): boolean {
    return this.sizes.length > 0;
  }

  refer(line: number): void {
    if (line === this.last) return;
    this.last = line;
    if (this.now === this.lines.length) this.renumber();
    if (line >= this.times.length) this.times = grown(this.times, line + 1);
    const since = this.times[line]!;
    const { free, misses, unused, now } = this;
    if (since === 0) this.lineCount++;
    for (let i = 0; i < free.length; i++) {
      if (since !== 0) {
        const time = free[i]!.atOrBefore(since);
        if (time > 0) free[i]!.remove(time);
        else if (unused[i]! > 0) unused[i]!--;
        else {
          misses[i]!++;
          continue;
        }
        // At the reference itself the line has the place that each referenced line has.
        free[i]!.add(now - 1);
      } else misses[i]!++;
    }
    this.times[line] = now;
    this.lines[now] = line;
    this.now++;
  }

  private renumber(): void {
    const { sizes, lines, times } = this;
    const most = this.lineCount + sizes.reduce((sum, size, i) => sum + size - this.unused[i]!, 0);
    const room = 2 * most > lines.length ? 2 ** Math.ceil(Math.log2(4 * most)) : lines.length;
    const after = new Int32Array(room);
    const freeAfter = sizes.map(() => new TimeSet(room));
    let next = 1;
    for (let time = 1; time < this.now; time++) {
      const line = lines[time]!;
      let isWanted = times[line] === time;
      if (isWanted) {
        times[line] = next;
        after[next] = line;
      }
      for (const [i, set] of this.free.entries())
        if (set.has(time)) {
          freeAfter[i]!.add(next);
          isWanted = true;
        }
      if (isWanted) next++;
    }
    this.lines = after;
    this.free = freeAfter;
    this.now = next;
  }
}

/** Numbers below a limit: bits, and above each 32 of them a bit that says whether there is one. */
class TimeSet {
  private readonly levels: Int32Array[] = [];

  constructor(limit: number) {
    for (let bits = limit; bits > 1; bits = Math.ceil(bits / 32))
      this.levels.push(new Int32Array(Math.ceil(bits / 32)));
  }

  has(number: number): boolean {
    return ((this.levels[0]![number >>> 5]! >>> (number & 31)) & 1) !== 0;
  }

  add(number: number): void {
    for (const level of this.levels) {
      const word = number >>> 5;
      const before = level[word]!;
      level[word] = before | (1 << (number & 31));
      if (before !== 0) return;
      number = word;
    }
  }

  remove(number: number): void {
    for (const level of this.levels) {
      const word = number >>> 5;
      const after = level[word]! & ~(1 << (number & 31));
      level[word] = after;
      if (after !== 0) return;
      number = word;
    }
  }

  /** The largest that is not above a number; -1 if there is none. */
  atOrBefore(number: number): number {
    const { levels } = this;
    let bits = levels[0]![number >>> 5]! & ((2 << (number & 31)) - 1);
    let word = number >>> 5;
    let height = 0;
    while (bits === 0) {
      if (++height === levels.length) return -1;
      // Strictly before it, from here on.
      bits = levels[height]![word >>> 5]! & ((1 << (word & 31)) - 1);
      word >>>= 5;
    }
    for (;;) {
      word = 32 * word + 31 - Math.clz32(bits);
      if (height-- === 0) return word;
      bits = levels[height]![word]!;
    }
  }
}
