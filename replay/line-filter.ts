/**
 * In a replay that feeds a cache simulation outside of it: leaves out accesses that would change nothing there, in compiled
 * code. Of each set of a cache the line that was accessed last is known; to access it again is a hit, and moves no line. So
 * the accesses that are told of are the misses of a direct-mapped cache with as many sets, and from them the misses of every
 * cache with these sets and least recently used replacement follow exactly (Puzak, "Analysis of cache replacement
 * algorithms", 1985, calls it trace stripping). Lines that others can take away are never left out.
 *
 * Tags beside the bytes say which lines these are; compiled code compares them as in a replay of fresh accesses.
 */
import { SYNCHRONISES, TAG_BYTES } from './fresh-accesses.js';
import type { GuestMemory } from './guest-memory.js';
import { CELL, FILTER_LINE_BITS, FILTERED_LINES, GRANULE_SIZE, TAG_PLANE, ZERO } from './layout.js';

/** Lines have so many bytes. */
export const LINE_BYTES = 1 << FILTER_LINE_BITS;
export const LINES_OF_GRANULE = GRANULE_SIZE / LINE_BYTES;

export interface LineHooks {
  /** Sets of the cache: a power of two, at most `MAX_FILTER_SETS`. */
  readonly sets: number;
  /** By line of a granule of guest memory: not 0 if all accesses to it are told of. Undefined: none is. */
  followed(granule: number): Uint8Array | undefined;
}

/** The odd tag of a line that is the latest of its set. */
const LATEST = 3;

export class LineFilter {
  /** Granules whose tags are set up since it was turned on or off. */
  private readonly prepared = new Set<number>();
  private isOn = false;

  constructor(
    private readonly memory: GuestMemory,
    private readonly hooks: LineHooks,
  ) {
    memory.prepare = (granule, place) => this.prepare(granule, place);
    memory.released = (granule) => {
      this.forgetLatest();
      this.prepared.delete(granule);
    };
    memory.view.setUint32(CELL.filterSets, hooks.sets, true);
    this.turn(false);
  }

  /** From now on accesses are told of, or none is but atomic instructions; at first none is. */
  turn(on: boolean): void {
    this.forgetLatest();
    this.prepared.clear();
    this.memory.forgetPlaces();
    this.isOn = on;
    const { bytes } = this.memory;
    // Tags of loads are compared without the lowest bit.
    bytes.fill(on ? LATEST : 1, CELL.loadTag, CELL.loadTag + TAG_BYTES);
    bytes.fill(on ? LATEST : 0, CELL.storeTag, CELL.storeTag + TAG_BYTES);
  }

  /** No line is known to be the latest: another thread runs. */
  forgetLatest(): void {
    for (let set = 0; set < this.hooks.sets; set++) this.forget(set);
  }

  /** Told of an access that compiled code wrote down without a look at its tags. */
  passed(address: number, size: number): void {
    const first = Math.floor(address / LINE_BYTES);
    const last = Math.floor((address + size - 1) / LINE_BYTES);
    for (let line = first; line <= last; line++) this.forget(line % this.hooks.sets);
  }

  private forget(set: number): void {
    const { view, bytes } = this.memory;
    const place = view.getUint32(FILTERED_LINES + 4 * set, true);
    if (place === 0) return;
    const tags = ZERO + TAG_PLANE + place;
    bytes.fill(0, tags, tags + LINE_BYTES);
    view.setUint32(FILTERED_LINES + 4 * set, 0, true);
  }

  private prepare(granule: number, place: number): void {
    if (this.prepared.has(granule)) return;
    this.prepared.add(granule);
    const { bytes } = this.memory;
    const tags = place + TAG_PLANE;
    bytes.fill(0, tags, tags + GRANULE_SIZE);
    const followed = this.isOn ? this.hooks.followed(granule) : undefined;
    followed?.forEach((is, line) => {
      if (is) bytes.fill(SYNCHRONISES, tags + LINE_BYTES * line, tags + LINE_BYTES * (line + 1));
    });
  }
}
