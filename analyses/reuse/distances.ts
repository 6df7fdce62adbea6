/**
 * Counts of references by reuse distance: the number of other lines referenced since the last reference to the line. The
 * cache of how many lines or less misses them, distances say exactly below 32, and above in 16 steps for each power of two;
 * so misses are exact for caches whose lines are the first of a step: 32 KiB, 36 KiB, 48 KiB, 1 MiB, 1.25 MiB, and so on.
 */

const STEP_BITS = 4;
const STEPS = 1 << STEP_BITS;

/** The bin of a distance. */
export function binOf(distance: number): number {
  if (distance < STEPS) return distance;
  const octave = 31 - STEP_BITS - Math.clz32(distance);
  return (octave << STEP_BITS) + (distance >>> octave);
}

/** The smallest distance of a bin. */
export function firstOf(bin: number): number {
  if (bin < 2 * STEPS) return bin;
  const octave = (bin >>> STEP_BITS) - 1;
  return (STEPS + (bin & (STEPS - 1))) * 2 ** octave;
}

/** References to lines that were never referenced before have a bin of their own, after those of all distances below 2^31. */
export const COLD_BIN = binOf(2 ** 31 - 1) + 1;
/** Beside the bins: references that an access makes besides its first one, as it spans several lines. */
export const SPANS = COLD_BIN + 1;
export const ROW_SIZE = SPANS + 1;

/** References by bin, of a function or of all of a program. */
export class Distances {
  /** @param counts - by bin, and `SPANS` */
  constructor(readonly counts: Float64Array = new Float64Array(ROW_SIZE)) {}

  add(counts: Float64Array): void {
    for (let i = 0; i < ROW_SIZE; i++) this.counts[i]! += counts[i]!;
  }

  get references(): number {
    return this.misses()[0]!;
  }

  get accesses(): number {
    return this.references - this.counts[SPANS]!;
  }

  get cold(): number {
    return this.counts[COLD_BIN]!;
  }

  /** By bin: misses of a cache of as many lines as the first distance of the bin. */
  misses(): Float64Array {
    const misses = new Float64Array(COLD_BIN + 1);
    let sum = 0;
    for (let bin = COLD_BIN; bin >= 0; bin--) misses[bin] = sum += this.counts[bin]!;
    return misses;
  }
}
