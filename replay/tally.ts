/**
 * Accesses counted instead of listed: for a reader that asks neither when nor where an access was, all
 * accesses of one site by one thread are the same row.
 */
import { grown } from './grown.js';
import type { AccessBatch, Replay, SegmentTable, SiteTable } from './types.js';

/** Accesses counted before they are delivered: a count of one site must fit 32 bits. */
const MOST_COUNTED = 2 ** 31;

/**
 * Delivers the accesses of `replay`, which must be opened for no columns, as batches with `repeats`:
 * one for each thread, at the end and after every 2^31 accesses.
 */
export class TalliedReplay implements Replay {
  /** By thread: accesses of each site. */
  private readonly counts = new Map<number, Uint32Array>();
  private readonly ready: AccessBatch[] = [];
  private process = 0;
  private ended = false;

  constructor(private readonly replay: Replay) {}

  get sites(): SiteTable {
    return this.replay.sites;
  }

  nextAccesses(): AccessBatch | undefined {
    let counted = 0;
    while (this.ready.length === 0 && !this.ended) {
      const batch = this.replay.nextAccesses();
      if (batch) counted += this.count(batch);
      else this.ended = true;
      if (this.ended || counted > MOST_COUNTED) this.deliver();
    }
    return this.ready.shift();
  }

  segments(): SegmentTable {
    return this.replay.segments();
  }

  finish(): void {
    this.replay.finish();
  }

  private count({ process, thread, count, sites }: AccessBatch): number {
    this.process = process;
    let counts = this.counts.get(thread);
    if (!counts || counts.length < this.sites.count) {
      counts = grown(counts ?? new Uint32Array(0), this.sites.count);
      this.counts.set(thread, counts);
    }
    for (let i = 0; i < count; i++) counts[sites[i]!]!++;
    return count;
  }

  private deliver(): void {
    for (const [thread, counts] of this.counts) {
      const sites = Uint32Array.from(counts.keys()).filter((site) => counts[site]! > 0);
      this.ready.push({
        process: this.process,
        thread,
        count: sites.length,
        sites,
        repeats: sites.map((site) => counts[site]!),
        ticks: new BigUint64Array(0),
        addresses: new BigUint64Array(0),
        values: new BigUint64Array(0),
        wide: new Uint8Array(0),
      });
    }
    this.counts.clear();
  }
}
