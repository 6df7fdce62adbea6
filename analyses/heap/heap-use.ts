/** How much of the heap a process image uses over time, and what it consists of at chosen moments. */
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

export type UseSettings = HeapSettings & { readonly unit: TimeUnit; readonly moments: number };

/** Ticks of the end of the execution, and of a moment that is of interest. */
export interface UseTicks {
  readonly end: number;
  readonly chosen: number;
}

/** The heap's use over time, told of the changes one after another; `moments` of the settings are kept at most, but for a few. */
export class UseOverTime {
  private readonly live = new LiveUses();
  readonly blocks: Blocks;
  private readonly timeline: Timeline;
  private changes = 0;
  private isStarted = false;
  private stackBytes = 0;
  private chosen: { moment: HeapMoment; uses: StackUses } | undefined;

  constructor(
    private readonly settings: UseSettings,
    private readonly ticks: UseTicks,
    listeners: readonly BlockListener[],
  ) {
    this.blocks = new Blocks(settings, [this.live, ...listeners]);
    this.timeline = new Timeline(settings.moments);
  }

  /** Something is going to change at a tick; `isInImage`: not before the image was forked. */
  before(tick: number, isInImage: boolean): void {
    if (!isInImage) return;
    this.start();
    if (tick > this.ticks.chosen) this.choose(this.ticks.chosen);
  }

  /** The heap has changed. */
  after(tick: number, isInImage: boolean): void {
    this.changes++;
    if (isInImage) this.note(tick);
  }

  /** Stacks have this size, after `before`. */
  stacks(tick: number, sizeBytes: number): void {
    this.stackBytes = sizeBytes;
    this.note(tick);
  }

  finish(): HeapUse {
    this.start();
    const end = this.now(this.ticks.end);
    const { moment, uses } = this.choose(Math.min(this.ticks.chosen, this.ticks.end));
    const { allocatedBytes, frees } = this.blocks;
    const moments = this.timeline.moments(end);
    const peak = this.timeline.peak!;
    const known = [
      [moment, uses],
      [end, this.live.now],
      [peak, this.live.marked],
    ] as const;
    return {
      ...{ moments, peak, end, chosen: moment, uses: new Map(known) },
      ...{ allocatedBytes, frees, left: this.blocks.all },
    };
  }

  private start(): void {
    if (!this.isStarted) this.note(0);
    this.isStarted = true;
  }

  private note(tick: number): void {
    const { blocks, timeline, settings, stackBytes } = this;
    const total = blocks.heapBytes + blocks.extraBytes + stackBytes;
    const time = timeOf(blocks, settings.unit, tick);
    if (timeline.wants(time, total) && timeline.add(this.now(tick))) this.live.setMark();
  }

  private choose(tick: number): { moment: HeapMoment; uses: StackUses } {
    return (this.chosen ??= { moment: this.now(tick), uses: this.live.now });
  }

  private now(tick: number): HeapMoment {
    const { blocks, changes, settings, stackBytes } = this;
    // Without spreading others into it: while the heap grows there is one for each change.
    return {
      tick,
      changes,
      time: timeOf(blocks, settings.unit, tick),
      allocations: blocks.allocations,
      trafficBytes: blocks.trafficBytes,
      blocks: blocks.count,
      heapBytes: blocks.heapBytes,
      extraBytes: blocks.extraBytes,
      stackBytes,
    };
  }
}

/** The heap's use over time, from recorded events alone. */
export function heapUse(
  trace: Trace,
  process: number,
  settings: UseSettings,
  ticks: UseTicks,
  listeners: readonly BlockListener[],
): HeapUse {
  const use = new UseOverTime(settings, ticks, listeners);
  const before = (tick: number, isInImage: boolean): boolean => {
    use.before(tick, isInImage);
    return true;
  };
  const after = (tick: number, isInImage: boolean): void => use.after(tick, isInImage);
  applyChanges(trace, process, settings, use.blocks, before, after);
  return use.finish();
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
