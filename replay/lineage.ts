/**
 * Rows that describe the program: superblocks, modules, instructions, call stacks and their texts. A
 * forked process image has those of the images that it comes from, written before the fork: its tool
 * does not write them again.
 */
import type { Table } from '../schemas/schema.js';
import {
  blocks,
  health,
  instructions,
  modules,
  ops,
  processes,
  stacks,
  strings,
} from '../schemas/tables.js';
import { rowOfKey } from './rows.js';
import type { Batch, Trace } from './trace.js';

/** The tables that a forked image inherits, by name. */
const INHERITED: ReadonlySet<string> = new Set(
  [blocks, instructions, modules, stacks, strings].map(({ name }) => name),
);

/** Those, and others that are not events of the program. */
const ABOUT_ALL: ReadonlySet<string> = new Set([
  ...INHERITED,
  health.name,
  ops.name,
  processes.name,
]);

/** The first `count` rows of a batch, as rows of a process image. */
export interface ProgramRows<T extends Table> {
  /** The image that has the rows. */
  readonly process: number;
  /** An ancestor wrote them: for `process` they stand before its first tick and event. */
  readonly inherited: boolean;
  readonly batch: Batch<T>;
  readonly count: number;
}

/** Rows of a stored table for one process image, or for all; inherited rows come first. */
export function* programRows<T extends Table>(
  trace: Trace,
  table: T,
  process?: number,
): Generator<ProgramRows<T>> {
  const forks = INHERITED.has(table.name) && trace.processes.some(({ how }) => how === 'fork');
  if (!forks) {
    for (const batch of trace.batches(table, process)) {
      const count = rowsUntilExit(trace, table, batch);
      if (count > 0) yield { process: batch.process, inherited: false, batch, count };
    }
    return;
  }
  const images = process === undefined ? trace.processes.map((row) => row.process) : [process];
  for (const image of images) {
    for (const { ancestor, endEvent } of lineage(trace, image)) {
      for (const batch of trace.batches(table, ancestor)) {
        const count = endEvent === undefined ? batch.count : rowsBefore(batch, endEvent);
        if (count > 0) yield { process: image, inherited: ancestor !== image, batch, count };
        if (count < batch.count) break;
      }
    }
  }
}

/** A process image and those it was forked from, the oldest first, each with its event at the fork. */
function lineage(trace: Trace, process: number): { ancestor: number; endEvent?: bigint }[] {
  const line: { ancestor: number; endEvent?: bigint }[] = [{ ancestor: process }];
  for (;;) {
    const child = line[0]!.ancestor;
    const row = trace.processes.find((image) => image.process === child);
    // A parent comes before its children, or the trace is damaged.
    if (row?.how !== 'fork' || row.parent < 0 || row.parent >= child) return line;
    line.unshift({ ancestor: row.parent, endEvent: row.parent_event });
  }
}

/** How many rows of a batch stand before the C library tidies up: code that runs then is code all the same. */
function rowsUntilExit(trace: Trace, table: Table, batch: Batch): number {
  if (ABOUT_ALL.has(table.name)) return batch.count;
  const exit = trace.exitEvent(batch.process);
  return exit === undefined ? batch.count : rowsBefore(batch, exit + 1n);
}

/** How many rows of a batch, which are in order of events, precede an event. */
export function rowsBefore(batch: Batch, event: bigint): number {
  const events = batch.column('event');
  let [low, high] = [0, batch.count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle]! < event) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Call stacks by number. */
export interface RecordedStacks {
  /** Program counters, the innermost first. */
  get(stack: number): readonly bigint[] | undefined;
}

/**
 * The call stacks of a process image, with those that it inherited. Many are recorded and few are asked
 * for: each is read when it is.
 */
export function recordedStacks(trace: Trace, process: number): RecordedStacks {
  const known = new Map<number, readonly bigint[]>();
  let parts: ProgramRows<typeof stacks>[] | undefined;
  return {
    get(stack) {
      const found = known.get(stack);
      if (found) return found;
      parts ??= [...programRows(trace, stacks, process)];
      for (const { batch, count } of parts) {
        const row = rowOfKey(batch.column('stack'), stack, count);
        if (row < 0) continue;
        const { offsets, data } = batch.column('pcs');
        const bytes = Uint8Array.from(data.subarray(offsets[row]!, offsets[row + 1]!));
        const pcs = [...new BigUint64Array(bytes.buffer, 0, bytes.length >> 3)];
        known.set(stack, pcs);
        return pcs;
      }
      return undefined;
    },
  };
}
