/**
 * Prefetchers: what they ask for when a reference has missed the first level. They see only these references, and fill the
 * level behind it, as those of second-level caches do. They do not go beyond a page, as real ones know physical addresses.
 */

/** Asks for lines. */
export interface Prefetcher {
  /**
   * A line was referenced behind the first level.
   * @param site - number of the place in the code
   * @param isNews - it was not there, or only because it was prefetched and never referenced since
   * @returns the line to be fetched now, or -1
   */
  referenced(line: number, site: number, isNews: boolean): number;
}

export const PREFETCHERS = ['none', 'next-line', 'stride'] as const;
export type PrefetcherName = (typeof PREFETCHERS)[number];

const PAGE_BYTES = 4096;

export function makePrefetcher(name: PrefetcherName, lineBytes: number): Prefetcher | undefined {
  const linesPerPage = Math.max(1, PAGE_BYTES / lineBytes);
  const withinPage = (line: number, next: number): number =>
    next >= 0 && Math.floor(line / linesPerPage) === Math.floor(next / linesPerPage) ? next : -1;
  if (name === 'next-line') return nextLine(withinPage);
  return name === 'stride' ? stride(withinPage) : undefined;
}

/** The line after one that is new (tagged prefetch: Smith, Cache Memories, 1982, 2.1). */
const nextLine = (withinPage: (line: number, next: number) => number): Prefetcher => ({
  referenced: (line, _site, isNews) => (isNews ? withinPage(line, line + 1) : -1),
});

const [INITIAL, TRANSIENT, STEADY, NO_PREDICTION] = [0, 1, 2, 3];
/** Places in the code that are told apart. */
const STRIDE_ENTRIES = 1024;

/**
 * Reference prediction table (Chen and Baer, Effective Hardware-Based Data Prefetching, 1995): of each place in the code the
 * last line, the distance from the one before, and whether that was right lately.
 */
function stride(withinPage: (line: number, next: number) => number): Prefetcher {
  const sites = new Float64Array(STRIDE_ENTRIES).fill(-1);
  const lines = new Float64Array(STRIDE_ENTRIES);
  const strides = new Float64Array(STRIDE_ENTRIES);
  const states = new Uint8Array(STRIDE_ENTRIES);
  return {
    referenced(line, site) {
      const entry = site % STRIDE_ENTRIES;
      if (sites[entry] !== site) {
        sites[entry] = site;
        lines[entry] = line;
        strides[entry] = 0;
        states[entry] = INITIAL;
        return -1;
      }
      const state = states[entry]!;
      const distance = line - lines[entry]!;
      const isRight = distance === strides[entry];
      lines[entry] = line;
      // A steady stride survives one mistake.
      if (!isRight && state !== STEADY) strides[entry] = distance;
      states[entry] = isRight
        ? state === NO_PREDICTION
          ? TRANSIENT
          : STEADY
        : state === STEADY
          ? INITIAL
          : state === INITIAL
            ? TRANSIENT
            : NO_PREDICTION;
      return states[entry] === STEADY && distance !== 0 ? withinPage(line, line + distance) : -1;
    },
  };
}
