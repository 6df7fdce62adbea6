/**
 * Misses of data in heap blocks, by the stack that allocated the block and the place in it, where the native module cannot
 * count them (replay/heap-misses.ts): it is not there, or a model says what was missed.
 */
import type { CacheMisses } from '../../replay/cache-guest.js';
import { GUARDED, type CacheSites } from '../../replay/code-tables.js';
import { numberAt } from '../../replay/event-cursor.js';
import { grown } from '../../replay/grown.js';
import {
  MISS_EVENTS,
  MOST_OFFSETS,
  OFFSET_BITS,
  type FoundMisses,
  type HeapCall,
} from '../../replay/heap-misses.js';
import { HeapMap } from './heap-map.js';
import { MISSED } from './hierarchy.js';

/** Numbers of kinds of cache sites. */
const [FETCH, WRITE] = [0, 2];

export class PlainHeapMisses {
  private readonly blocks = new HeapMap();
  /** Numbers of places by key, in order of appearance. */
  private readonly numbers = new Map<number, number>();
  private counts = new Float64Array(MISS_EVENTS * 1024);

  /** A call of an allocator has taken effect; misses before it have been attributed. */
  call({ releases, known, address, size, previous, stack }: HeapCall): void {
    if (releases) {
      if (known) this.blocks.remove(address);
      return;
    }
    if (address === 0) return;
    if (previous !== 0) this.blocks.remove(previous);
    this.blocks.add({ address, size, owner: stack });
  }

  /** @param missed - of each, bits of `MISSED`, where a model says that */
  attribute(
    { count, addresses, sites }: CacheMisses,
    { kinds }: CacheSites,
    missed?: Uint8Array,
  ): void {
    for (let i = 0; i < count; i++) {
      const site = sites[i]! >>> 2;
      const kind = kinds[site]! & ~GUARDED;
      if (missed && (kind === FETCH || (missed[i]! & MISSED.first) === 0)) continue;
      const address = numberAt(addresses, i);
      const block = this.blocks.at(address);
      if (!block) continue;
      const offset = Math.min(
        Math.floor((address - block.address) / (1 << OFFSET_BITS)),
        MOST_OFFSETS,
      );
      const at = MISS_EVENTS * this.numberOf(block.owner * (MOST_OFFSETS + 1) + offset);
      const first = at + (kind === WRITE ? 2 : 0);
      const isLast = missed ? (missed[i]! & MISSED.last) !== 0 : (sites[i]! & 1) !== 0;
      this.counts[first]!++;
      if (isLast) this.counts[first + 1]!++;
    }
  }

  private numberOf(key: number): number {
    let number = this.numbers.get(key);
    if (number === undefined) {
      this.numbers.set(key, (number = this.numbers.size));
      this.counts = grown(this.counts, MISS_EVENTS * this.numbers.size);
    }
    return number;
  }

  found(): FoundMisses {
    const { counts, numbers } = this;
    return { count: numbers.size, keys: Float64Array.from(numbers.keys()), counts };
  }
}
