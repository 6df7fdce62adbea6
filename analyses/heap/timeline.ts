/**
 * Heap use over time in a bounded number of moments: for each stretch of time the moment at which most
 * was in use, so that no peak is lost, and the first and the last moment of all. Stretches grow twofold
 * when there are too many of them.
 */

/** What is in use at a moment. */
export interface HeapMoment {
  readonly tick: number;
  /** How many changes of the heap came before it. */
  readonly changes: number;
  /** In the unit of time that the timeline is for. */
  readonly time: number;
  /** Blocks allocated so far, and massif's time unit B. */
  readonly allocations: number;
  readonly trafficBytes: number;
  readonly blocks: number;
  readonly heapBytes: number;
  readonly extraBytes: number;
  readonly stackBytes: number;
}

export const totalBytes = ({ heapBytes, extraBytes, stackBytes }: HeapMoment): number =>
  heapBytes + extraBytes + stackBytes;

export class Timeline {
  /** By number of the stretch, in rising order. */
  private stretches = new Map<number, HeapMoment>();
  private width = 1;
  /** The last stretch, and the most that was in use in it. */
  private stretch = -1;
  private most = 0;
  private first: HeapMoment | undefined;
  /** The first moment at which most was in use. */
  peak: HeapMoment | undefined;

  /** @param limit - stretches that are kept at most */
  constructor(private readonly limit: number) {}

  /** Whether a moment that is not before the last one added is to be added, too. */
  wants(time: number, totalBytes: number): boolean {
    return totalBytes > this.most || Math.floor(time / this.width) !== this.stretch;
  }

  /** Adds a moment that is wanted; returns whether it is the peak so far. */
  add(moment: HeapMoment): boolean {
    this.first ??= moment;
    this.stretch = Math.floor(moment.time / this.width);
    this.stretches.set(this.stretch, moment);
    this.most = totalBytes(moment);
    while (this.stretches.size > this.limit) this.widen();
    if (this.peak && totalBytes(moment) <= totalBytes(this.peak)) return false;
    this.peak = moment;
    return true;
  }

  private widen(): void {
    this.width *= 2;
    const old = this.stretches;
    this.stretches = new Map();
    for (const moment of old.values()) {
      this.stretch = Math.floor(moment.time / this.width);
      const known = this.stretches.get(this.stretch);
      if (!known || totalBytes(moment) > totalBytes(known))
        this.stretches.set(this.stretch, moment);
    }
    this.most = totalBytes(this.stretches.get(this.stretch)!);
  }

  /** All that are kept, in order of time, ended by this one. */
  moments(end: HeapMoment): HeapMoment[] {
    const inner = [...this.stretches.values()].filter((one) => one !== this.first);
    return [...(this.first ? [this.first] : []), ...inner, end];
  }
}
