/**
 * How often the bytes of a site's blocks were accessed, by their offset from the start of the block: to the byte for
 * blocks of up to 16 KiB, beyond that in units of a power of two, so that memory stays bounded.
 */
import { lengthened } from '../../replay/grown.js';

const MOST_UNITS = 16384;

/** Bytes of consecutive offsets that were accessed equally often. */
export interface OffsetRun {
  readonly offset: number;
  readonly count: number;
  /** Bytes loaded and stored there, in all blocks together. */
  readonly loads: number;
  readonly stores: number;
}

export class OffsetHistogram {
  private unit = 1;
  /** Largest offset seen, plus 1. */
  private end = 0;
  private loads: Float64Array = new Float64Array(0);
  private stores: Float64Array = new Float64Array(0);

  /** Adds what was loaded and stored at `count` bytes from an offset on. */
  add(offset: number, count: number, loads: Float64Array, stores: Float64Array): void {
    this.reserve(offset + count);
    for (let i = 0; i < count; i++) {
      const at = Math.floor((offset + i) / this.unit);
      this.loads[at]! += loads[i]!;
      this.stores[at]! += stores[i]!;
    }
  }

  private reserve(end: number): void {
    if (end <= this.end) return;
    this.end = end;
    while (Math.ceil(end / this.unit) > MOST_UNITS) {
      this.unit *= 2;
      for (const sums of [this.loads, this.stores]) {
        const half = Math.ceil(sums.length / 2);
        for (let i = 0; i < half; i++) sums[i] = sums[2 * i]! + (sums[2 * i + 1] ?? 0);
        sums.fill(0, half);
      }
    }
    const units = Math.ceil(end / this.unit);
    if (units <= this.loads.length) return;
    const length = Math.min(MOST_UNITS, Math.max(units, 2 * this.loads.length));
    this.loads = lengthened(this.loads, length);
    this.stores = lengthened(this.stores, length);
  }

  /** In order of the offset; the last one ends where the last access did. */
  *runs(): Generator<OffsetRun> {
    const units = Math.ceil(this.end / this.unit);
    for (let from = 0; from < units;) {
      const [loads, stores] = [this.loads[from]!, this.stores[from]!];
      let to = from + 1;
      while (to < units && this.loads[to] === loads && this.stores[to] === stores) to++;
      const offset = from * this.unit;
      const count = Math.min(to * this.unit, this.end) - offset;
      yield { offset, count, loads: loads * (to - from), stores: stores * (to - from) };
      from = to;
    }
  }
}
