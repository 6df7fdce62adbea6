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

/** Always known, as the trace has them. */
export const ALLOCATION_EVENTS: readonly CallEvent[] = [
  { column: 'allocations', short: 'Al', long: 'Heap blocks allocated', unit: 'count' },
  { column: 'allocated', short: 'AlB', long: 'Heap bytes allocated', unit: 'bytes' },
];
