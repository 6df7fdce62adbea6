/** Random numbers for tests, the same for the same seed. */

/**
 * Random numbers that a seed determines (Marsaglia, xorshift).
 * @returns a function that gives the next one, from 0 and below its argument
 */
export function randomOf(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
