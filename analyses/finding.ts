/**
 * What an analysis finds: one kind of defect at one place, with how often it happened. All analyses
 * report in these terms; `report.ts` prints them, SQL shows them as tables.
 */

import type { Row, Table } from '../schemas/schema.js';
import type { Profile } from './profile.js';

/** A place in the program: an instruction of a call stack before it is given names. */
export type Pc = bigint;

/** A call stack with its part in the finding. */
export interface FindingStack {
  /**
   * What the stack shows: empty for where it happened; otherwise a sentence without its full stop,
   * such as "Address 0x4a51068 is 0 bytes after a block of size 40 alloc'd", "Block was alloc'd at",
   * "Uninitialised value was created by a heap allocation".
   */
  readonly role: string;
  /** Addresses of instructions, innermost first; those of callers are of their call instruction. */
  readonly pcs: readonly Pc[];
}

/** How bad a finding is, the worst first. Only errors are counted as such, unless the analysis weighs them itself. */
export const SEVERITIES = ['error', 'warning', 'note'] as const;

/** A defect, found once or more often at the same place. */
export interface Finding {
  /** As in Valgrind's XML output, such as `InvalidRead` or `Leak_DefinitelyLost`. */
  readonly kind: string;
  /** The sentence that Valgrind prints, such as "Invalid read of size 4". */
  readonly what: string;
  /** Further sentences without a stack, such as "Address 0x0 is not stack'd, malloc'd or (recently) free'd". */
  readonly notes: readonly string[];
  readonly process: number;
  readonly thread: number;
  /** Guest instructions executed by the process before the first occurrence. */
  readonly tick: bigint;
  /** The first is where it happened. */
  readonly stacks: readonly FindingStack[];
  /** How often it happened; for a leak, the number of blocks. */
  count: number;
  /** Absent: an error. */
  readonly severity?: (typeof SEVERITIES)[number];
  /** Of the parameter of a system call, as suppressions name it, such as `write(buf)`; else absent. */
  readonly parameter?: string;
  /** Bytes and blocks of a leak. */
  readonly leak?: {
    readonly bytes: bigint;
    readonly indirectBytes: bigint;
    readonly blocks: number;
  };
  /** Another schedule of the recorded threads in which it happens; absent if it does in the recorded one. */
  readonly witness?: Witness;
  /** Name of the suppression that hides it from the report. */
  suppressedBy?: string;
}

/** A schedule: as recorded up to a tick, then each thread goes on where it was. */
export interface Witness {
  readonly recordedUntil: bigint;
  readonly segments: readonly Segment[];
  /** The thread and the tick of the instructions that are next at its end, those of the race. */
  readonly next: readonly { readonly thread: number; readonly tick: bigint }[];
}

/**
 * What a thread did in the recorded schedule from a tick to just before another one; events of that one (which
 * take effect before its instruction), such as the end of a wait, too.
 */
export interface Segment {
  readonly thread: number;
  readonly from: bigint;
  readonly to: bigint;
}

export type SummaryValue = string | number | bigint;

/** Name to value, or to a list of such things, printed at the end: heap use, leak checks. */
export type Summary = Readonly<
  Record<string, SummaryValue | readonly Readonly<Record<string, SummaryValue>>[]>
>;

/** Rows of a table of the analysis's own, one that SQL shows (schemas/views.ts). */
export interface AnalysisRows<T extends Table = Table> {
  readonly table: T;
  /** All columns but `analysis`. */
  readonly rows: readonly Omit<Row<T>, 'analysis'>[];
}

/** The same as columns, for tables of many rows. */
export interface AnalysisColumns {
  readonly table: Table;
  readonly count: number;
  /** All but `analysis`. */
  readonly columns: Readonly<Record<string, StoredColumn>>;
}

/** Which of the two a part is. */
export const isColumns = (part: AnalysisRows | AnalysisColumns): part is AnalysisColumns =>
  'columns' in part;

/** Numbers, in a table's column of integers; the same number in all rows; text that many rows share, by number. */
export type StoredColumn = number | Float64Array | Uint32Array | BigUint64Array | TextColumn;

export interface TextColumn {
  readonly texts: readonly string[];
  /** By row. */
  readonly numbers: Uint32Array;
}

/** What an analysis says of a whole process image. */
export interface Outcome {
  readonly process: number;
  readonly findings: Finding[];
  readonly summary: Summary;
  /** What could not be judged, one sentence each: divergences, damage, code that is missing. */
  readonly missing: readonly string[];
  /** What it has counted or learnt, for SQL. */
  readonly tables?: readonly (AnalysisRows | AnalysisColumns)[];
  /** What it has measured; errors are then not counted. */
  readonly profile?: Profile;
}
