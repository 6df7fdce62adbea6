/** Reuse distances and the best replacement as one would write them down: twins of what is in analyses/reuse. */

/** An LRU stack of numbered lines. */
export class PlainStack {
  private readonly lines: number[] = [];

  /** Where the line was found from the top, -1 if nowhere; puts it on top. */
  refer(line: number): number {
    const at = this.lines.lastIndexOf(line);
    const distance = at < 0 ? -1 : this.lines.length - 1 - at;
    if (at >= 0) this.lines.splice(at, 1);
    this.lines.push(line);
    return distance;
  }
}

/** Misses of a cache of so many lines that gives up the line that is referred to again last. */
export function plainOptimum(references: readonly number[], lines: number): number {
  const next = new Float64Array(references.length);
  const seen = new Map<number, number>();
  for (let i = references.length - 1; i >= 0; i--) {
    next[i] = seen.get(references[i]!) ?? Infinity;
    seen.set(references[i]!, i);
  }
  /** What the cache holds, with when it is referred to again. */
  const held = new Map<number, number>();
  let misses = 0;
  references.forEach((line, i) => {
    if (!held.has(line)) {
      misses++;
      if (held.size === lines) {
        const [victim] = [...held].reduce((a, b) => (b[1] > a[1] ? b : a));
        held.delete(victim);
      }
    }
    held.set(line, next[i]!);
  });
  return misses;
}
