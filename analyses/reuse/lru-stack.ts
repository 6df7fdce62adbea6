/**
 * The stack of an LRU cache of any size (Mattson, Gecsei, Slutz and Traiger, 1970): lines in the order of their last
 * references, the latest on top. The place at which a line is found, its distance, is the number of other lines referenced
 * since: a fully associative LRU cache of more lines than that has it still.
 *
 * Most references find their line near the top, which is an array where each is moved to the front. What is pushed out of
 * it below gets a time (Bennett and Kruskal, 1975; Olken, 1981): the lines between it and the array are those with later
 * times, counted by a Fenwick tree of the times that were taken up again. When times are used up, they are given anew, in
 * order. So memory grows with the lines, not with the references.
 */
import { grown } from '../../replay/grown.js';

/** The distance of a line that was never referenced before. */
export const COLD = -1;

/** Lines of the array. */
const TOP = 16;
const NONE = -1;
/** Times that there are at least, a power of two. */
const LEAST_TIMES = 1 << 16;

/** Words of the state. */
const NOW = 0;
const GONE_COUNT = 1;

/** Its tables are those of replay/native/reuse.h, too. */
export class LruStack {
  readonly top = new Int32Array(TOP).fill(NONE);
  /** By line: when it was pushed out of the array, the last time; 0: never. */
  times = new Int32Array(1024);
  /** By time: the line. */
  lines = new Int32Array(LEAST_TIMES);
  /** Bits for the times whose line has been taken up again, and their number by 32 of them as a Fenwick tree. */
  gone = new Int32Array(LEAST_TIMES >> 5);
  tree = new Int32Array((LEAST_TIMES >> 5) + 1);

  /** @param state - with the next time at `NOW`, and how many times are gone at `GONE_COUNT` */
  constructor(private readonly state = new Int32Array(2)) {
    state[NOW] = 1;
  }

  /** Puts a line on top. @returns where it was found, or `COLD` */
  refer(line: number): number {
    const { top } = this;
    let above = top[0]!;
    top[0] = line;
    if (above === line) return 0;
    for (let i = 1; i < TOP; i++) {
      const found = top[i]!;
      top[i] = above;
      if (found === line) return i;
      above = found;
    }
    const distance = this.takeUp(line);
    if (above !== NONE) this.pushOut(above);
    return distance;
  }

  /** Takes a line from below the array. */
  private takeUp(line: number): number {
    const time = line < this.times.length ? this.times[line]! : 0;
    if (time === 0) return COLD;
    const { gone, state, tree } = this;
    const word = time >>> 5;
    let earlier = bitCount(gone[word]! & ((2 << (time & 31)) - 1));
    for (let i = word; i > 0; i &= i - 1) earlier += tree[i]!;
    const later = state[NOW]! - 1 - time - (state[GONE_COUNT]! - earlier);
    gone[word]! |= 1 << (time & 31);
    for (let i = word + 1; i < tree.length; i += i & -i) tree[i]!++;
    state[GONE_COUNT]!++;
    return TOP + later;
  }

  /** For lines of numbers below `count`, and for so many more times. */
  makeRoom(count: number, times: number): void {
    if (this.state[NOW]! + times > this.lines.length) this.renumber();
    if (count > this.times.length) this.times = grown(this.times, count);
  }

  private pushOut(line: number): void {
    this.makeRoom(line + 1, 1);
    this.times[line] = this.state[NOW]!;
    this.lines[this.state[NOW]!++] = line;
  }

  /** Gives new times to all lines, in the same order, and makes room for more if they take up half of it. */
  private renumber(): void {
    const { gone, lines, state, times } = this;
    const now = state[NOW]!;
    const alive = now - 1 - state[GONE_COUNT]!;
    const room = 2 * alive > lines.length ? 2 * lines.length : lines.length;
    const after = room === lines.length ? lines : new Int32Array(room);
    let next = 1;
    for (let time = 1; time < now; time++) {
      if ((gone[time >>> 5]! >>> (time & 31)) & 1) continue;
      const line = lines[time]!;
      times[line] = next;
      after[next++] = line;
    }
    this.lines = after;
    state[NOW] = next;
    state[GONE_COUNT] = 0;
    this.gone = new Int32Array(room >> 5);
    this.tree = new Int32Array((room >> 5) + 1);
  }
}

/** How many bits of a word are set. */
function bitCount(word: number): number {
  word -= (word >>> 1) & 0x55555555;
  word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
  return Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
