/**
 * The schedule that leads to a predicted race: the recorded one without what threads do after the point
 * that they have come to. Up to the first such omission the two are the same.
 */
import type { Segment, Witness } from '../finding.js';
import type { Race } from './detector.js';

/** When a thread got the processor. */
export interface Slice {
  readonly thread: number;
  readonly tick: bigint;
}

/** @param slices - of the recorded execution, in order */
export function witnessOf({ earlier, later, reached }: Race, slices: readonly Slice[]): Witness {
  const segments: Segment[] = [];
  let recordedUntil: bigint | undefined;
  for (const [i, { thread, tick: from }] of slices.entries()) {
    if (from >= later.tick) break;
    const bound = BigInt(reached?.get(thread) ?? 0);
    const end = slices[i + 1]?.tick ?? later.tick;
    const to = end < bound ? end : bound;
    if (recordedUntil === undefined && to < end) recordedUntil = to > from ? to : from;
    else if (recordedUntil === undefined) continue;
    // A segment without instructions stands for what happened when the thread got the processor.
    if (to < from || recordedUntil > from) continue;
    const before = segments.at(-1);
    if (before?.thread === thread) segments[segments.length - 1] = { ...before, to };
    else segments.push({ thread, from, to });
  }
  const next = [earlier, later].map(({ thread, tick }) => ({ thread, tick }));
  return { recordedUntil: recordedUntil ?? later.tick, segments, next };
}

/** Segments that are named in a sentence. */
const MOST_NAMED = 3;

export function witnessText({ recordedUntil, segments }: Witness): string {
  const parts = segments
    .filter(({ from, to }) => from < to)
    .map(({ thread, from, to }) => `thread #${thread} from tick ${from} to ${to}`);
  const named = parts.slice(-MOST_NAMED).join(', then ');
  const left = parts.length - MOST_NAMED;
  return [
    `Does not happen in this schedule: it does in one that is the same up to tick ${recordedUntil}`,
    ...(left > 0 ? [`goes on with ${left} more`] : []),
    ...(named ? [named] : []),
  ].join(', then ');
}
