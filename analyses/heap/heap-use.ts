/**
 * How much of the heap a process image uses over time, and what it consists of at chosen moments, from
 * recorded events alone.
 */
import type { Trace } from '../../replay/trace.js';
import { Blocks, type BlockListener, type HeapBlock, type HeapSettings } from './blocks.js';
import { Timeline, type HeapMoment } from './timeline.js';
import { applyChanges } from './recorded-changes.js';
import { LiveUses, type StackUses } from './stack-uses.js';

/** Units of time: instructions, bytes allocated and released, blocks allocated. */
export const TIME_UNITS = ['i', 'B', 'allocations'] as const;
export type TimeUnit = (typeof TIME_UNITS)[number];

export interface HeapUse {
  /** Bounded in number, in order of time. */
  readonly moments: readonly HeapMoment[];
  /** The first at which most was in use, extra bytes included. */
  readonly peak: HeapMoment;
  readonly end: HeapMoment;
  /** At the tick that was asked for. */
  readonly chosen: HeapMoment;
  /** What was in use at these three. */
  readonly uses: ReadonlyMap<HeapMoment, StackUses>;
  readonly frees: number;
  /** Blocks live at the end. */
  readonly left: Iterable<HeapBlock>;
  readonly allocatedBytes: number;
}

const timeOf = ({ trafficBytes, allocations }: Blocks, unit: TimeUnit, tick: number): number =>
  unit === 'i' ? tick : unit === 'B' ? trafficBytes : allocations;

/** The state of the heap in a unit of time. */
function momentOf(blocks: Blocks, unit: TimeUnit, tick: number, changes: number): HeapMoment {
  return {
    tick,
    changes,
    time: timeOf(blocks, unit, tick),
    allocations: blocks.allocations,
    trafficBytes: blocks.trafficBytes,
    blocks: blocks.count,
    heapBytes: blocks.heapBytes,
    extraBytes: blocks.extraBytes,
    stackBytes: 0,
  };
}

/**
 * The heap's use over time.
 * @param moments - how many are kept at most, but for a few
 * @param ticks - of the end of the execution, and of a moment that is of interest
 */
export function heapUse(
  trace: Trace,
  process: number,
  settings: HeapSettings & { readonly unit: TimeUnit; readonly moments: number },
  ticks: { readonly end: number; readonly chosen: number },
  listeners: readonly BlockListener[],
): HeapUse {
  const live = new LiveUses();
  const blocks = new Blocks(settings, [live, ...listeners]);
  const timeline = new Timeline(settings.moments);
  let changes = 0;
  let isStarted = false;
  let chosen: { moment: HeapMoment; uses: StackUses } | undefined;
  const now = (tick: number): HeapMoment => momentOf(blocks, settings.unit, tick, changes);
  const choose = (tick: number) => (chosen ??= { moment: now(tick), uses: live.now });
  const note = (tick: number): void => {
    const total = blocks.heapBytes + blocks.extraBytes;
    const time = timeOf(blocks, settings.unit, tick);
    if (timeline.wants(time, total) && timeline.add(now(tick))) live.setMark();
  };
  const start = (): void => {
    if (!isStarted) note(0);
    isStarted = true;
  };
  const before = (tick: number, isInImage: boolean): boolean => {
    if (!isInImage) return true;
    start();
    if (tick > ticks.chosen) choose(ticks.chosen);
    return true;
  };
  applyChanges(trace, process, settings, blocks, before, (tick, isInImage) => {
    changes++;
    if (isInImage) note(tick);
  });
  start();
  const end = now(ticks.end);
  const { moment, uses } = choose(Math.min(ticks.chosen, ticks.end));
  const { allocatedBytes, frees } = blocks;
  const moments = timeline.moments(end);
  const peak = timeline.peak!;
  const known = [
    [moment, uses],
    [end, live.now],
    [peak, live.marked],
  ] as const;
  return {
    moments,
    peak,
    end,
    chosen: moment,
    uses: new Map(known),
    allocatedBytes,
    frees,
    left: blocks.all,
  };
}

/** What is in use after so many changes of the heap, at each of some moments. Reads the events again. */
export function usesAt(
  trace: Trace,
  process: number,
  settings: HeapSettings,
  moments: readonly HeapMoment[],
): ReadonlyMap<HeapMoment, StackUses> {
  const wanted = [...new Set(moments)].sort((a, b) => a.changes - b.changes);
  const found = new Map<HeapMoment, StackUses>();
  const live = new LiveUses();
  const blocks = new Blocks(settings, [live]);
  let changes = 0;
  const reach = (): void => {
    while (found.size < wanted.length && wanted[found.size]!.changes <= changes)
      found.set(wanted[found.size]!, live.now);
  };
  const isToGoOn = (): boolean => {
    reach();
    return found.size < wanted.length;
  };
  applyChanges(trace, process, settings, blocks, isToGoOn, () => changes++);
  reach();
  return found;
}
