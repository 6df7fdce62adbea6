/**
 * The parts of capcheck: each knows one sort of thing with a life (descriptors, mappings, capabilities of the program's
 * own), is told of the recorded events, and reports what was done with such a thing before, after or beside its life.
 */
import type { ProcessRow } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import type { Ioctl } from '../../schemas/ioctls.js';
import type { Table } from '../../schemas/schema.js';
import type { AnalysisRows, FindingStack, Pc, SummaryValue } from '../finding.js';
import type { OptionValues } from '../analysis.js';
import type { UsedDescriptors } from './inheritance.js';

/** Where something happened. */
export interface Moment {
  readonly thread: number;
  readonly tick: number;
  /** Key of `stacks`; 0 when there is none. */
  readonly stack: number;
}

/** What a row with these three columns gives. */
export const momentOf = (row: EventRow): Moment => ({
  thread: row.u32('thread'),
  tick: row.tick,
  stack: row.u32('stack'),
});

/** The arguments in a row of `syscall_enters`. */
export const argumentsOf = (row: EventRow): readonly bigint[] =>
  ['arg1', 'arg2', 'arg3', 'arg4', 'arg5', 'arg6'].map((name) => row.u64(name));

/** A finding without what all findings of an image have in common. */
export interface CapFinding {
  /** `Fd…`, `Map…` or `Cap…`. */
  readonly kind: string;
  /** A sentence without its full stop; addresses and numbers that differ from one occurrence to the next are better in the notes. */
  readonly what: string;
  readonly at: Moment;
  readonly notes?: readonly string[];
  /** Further stacks, each with its sentence: where the thing was created, where it ended. */
  readonly more?: readonly FindingStack[];
  /** The parameter of a system call, as suppressions name it, such as `close(fd)`. */
  readonly parameter?: string;
}

/** From which descriptors values came (origins.ts): these are known by numbers that `gave` and `wrote` are told. */
export interface ValueOrigins {
  /** The descriptor that an argument of the call that a thread begins came from; undefined when that is not known. */
  argument(thread: number, argument: number): number | undefined;
  /** The result of a thread's call is this descriptor. */
  gave(thread: number, descriptor: number): void;
  /** The kernel wrote this descriptor's number to an address. */
  wrote(address: bigint, descriptor: number): void;
}

/** What parts need of their surroundings. */
export interface CapContext {
  readonly process: number;
  readonly image: ProcessRow;
  readonly options: OptionValues;
  /** Names and families of the requests of ioctl, by number. */
  readonly ioctls: ReadonlyMap<number, Ioctl>;
  /** The events are of the image itself, not of one that it was forked from. */
  isInImage(): boolean;
  /** Present when the execution is replayed for it. */
  readonly origins?: ValueOrigins | undefined;
  /** Addresses of a call stack of the trace, innermost first; empty for 0. */
  stackOf(stack: number): readonly Pc[];
  /** Key of the place that a stack tells, in Valgrind's way: its four innermost addresses. */
  siteOf(stack: number): string;
  /** The innermost function of a stack is one of the dynamic linker. */
  isOfLoader(stack: number): boolean;
  /** A stack with its sentence, for `CapFinding.more`. */
  stack(role: string, at: { readonly stack: number }): FindingStack;
  /**
   * The descriptors that the program which an exec began got and used, or that programs did which it began; undefined when
   * it was not recorded.
   */
  usedBySuccessor(): UsedDescriptors | undefined;
  /** Reports a finding; those of an image that this one was forked from are left out. */
  found(finding: CapFinding): void;
}

/** One sort of thing in one process image. */
export interface CapPart {
  /** Stored tables whose rows are wanted. */
  readonly tables: readonly Table[];
  /** The next row of these, in the order of events; first those of images that this one was forked from. */
  applied(row: EventRow): void;
  /** The end of the execution, after this number of instructions. */
  finish(tick: number): void;
  /** Rows for SQL, after `finish`. */
  readonly rows?: readonly AnalysisRows[];
  /** Names and values for the summary, after `finish`. */
  readonly summary?: Readonly<Record<string, SummaryValue>>;
  /** What could not be judged. */
  readonly missing?: readonly string[];
}

export type MakeCapPart = (context: CapContext) => CapPart;
