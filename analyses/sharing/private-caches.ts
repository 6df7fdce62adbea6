/**
 * Which lines are in the private caches of cores, least recently used replaced first. A line that another core takes away
 * keeps its place until it is replaced or fetched again: so what a core replaces follows from its own accesses alone.
 */
import { LINES_OF_GRANULE } from '../../replay/line-filter.js';

/** No line. */
export const NO_LINE = Infinity;

export class PrivateCaches {
  /** By core and set: lines, the latest first. */
  private readonly lines: Float64Array;
  /** By core and granule: bits for the lines that it had. */
  private readonly had: Map<number, Uint8Array>[];
  /** What the last miss replaced, or `NO_LINE`. */
  replaced = NO_LINE;

  constructor(
    cores: number,
    private readonly sets: number,
    private readonly ways: number,
  ) {
    this.lines = new Float64Array(cores * sets * ways).fill(NO_LINE);
    this.had = Array.from({ length: cores }, () => new Map<number, Uint8Array>());
  }

  /** A core accesses a line of a set, known by any number. Returns false if it was not there. */
  touch(core: number, set: number, line: number): boolean {
    const { lines, ways } = this;
    const first = (core * this.sets + set) * ways;
    let next = lines[first]!;
    if (next === line) return true;
    lines[first] = line;
    for (let at = first + 1; at < first + ways; at++) {
      const moved = next;
      next = lines[at]!;
      lines[at] = moved;
      if (next === line) return true;
    }
    this.replaced = next;
    return false;
  }

  /** Whether the core had a line before, given by its address divided by 64; from now on it had. */
  fetch(core: number, line: number): boolean {
    const granule = Math.floor(line / LINES_OF_GRANULE);
    let had = this.had[core]!.get(granule);
    if (!had) this.had[core]!.set(granule, (had = new Uint8Array(LINES_OF_GRANULE / 8)));
    const at = line % LINES_OF_GRANULE;
    const bit = 1 << (at & 7);
    if (had[at >> 3]! & bit) return true;
    had[at >> 3]! |= bit;
    return false;
  }
}
