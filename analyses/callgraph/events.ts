/** What calls cost besides instructions. */

export interface CallEvent {
  /** As a column of tables; `self_` before it for what happened in the function itself. */
  readonly column: string;
  /** As an event of Callgrind's files, and what that stands for there. */
  readonly short: string;
  readonly long: string;
  /** In pprof's files. */
  readonly unit: 'count' | 'bytes';
}

/** Where caches are simulated, in the order of `CallsGuest.misses`. */
export const MISS_EVENTS: readonly CallEvent[] = [
  { column: 'i1_misses', short: 'I1m', long: 'Fetches that missed I1', unit: 'count' },
  { column: 'd1_misses', short: 'D1m', long: 'Reads and writes that missed D1', unit: 'count' },
  {
    column: 'll_misses',
    short: 'LLm',
    long: 'References that missed the last level',
    unit: 'count',
  },
];

/** Always known, as the trace has them; the first ones. */
export const ALLOCATION_EVENTS: readonly CallEvent[] = [
  { column: 'allocations', short: 'Al', long: 'Heap blocks allocated', unit: 'count' },
  { column: 'allocated', short: 'AlB', long: 'Heap bytes allocated', unit: 'bytes' },
];
