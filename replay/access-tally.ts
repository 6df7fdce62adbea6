/**
 * In a replay that counts accesses byte by byte: counters for chosen ranges of guest memory, without a look-up of what
 * the memory is. Compiled code adds one for each access: the counter of a load or store of n bytes at a multiple of n
 * has n bytes, and stands where the bytes stand, in a plane of its own for each n and for loads and stores (layout.ts);
 * other accesses are several such ones. When a counter of 1, 2 or 4 bytes goes through zero, that is noted here. Planes
 * exist for granules with ranges that are counted; elsewhere an access costs one test. Ranges begin at multiples of 8,
 * and no two have a byte of the same 8.
 */
import type { GuestMemory } from './guest-memory.js';
import { GRANULE_SIZE, TALLY_PLANES_SIZE, TALLY_SIZES, TALLY_STORES } from './layout.js';

/** Counters are told of in pieces of at most so many bytes. */
const PIECE_BYTES = 4096;

/** How often the program has loaded and stored each byte of a part of a range. */
export interface TallyPiece {
  /** Of the first byte from the start of the range. */
  readonly offset: number;
  readonly count: number;
  /** By byte of the piece; valid until the next piece. */
  readonly loads: Float64Array;
  readonly stores: Float64Array;
}

const ZEROS = new Uint8Array(PIECE_BYTES + 8);

export class AccessTally {
  /** By page of 4 KiB of linear memory and counter: how often it has gone through zero. */
  private readonly wraps = new Map<number, Map<number, number>>();
  private readonly loads = new Float64Array(PIECE_BYTES);
  private readonly stores = new Float64Array(PIECE_BYTES);
  private words = new Uint32Array(0);

  constructor(private readonly memory: GuestMemory) {}

  /** As compiled code says of a counter in linear memory. */
  wrapped(counter: number): void {
    const page = counter >>> 12;
    let known = this.wraps.get(page);
    if (!known) this.wraps.set(page, (known = new Map()));
    known.set(counter, (known.get(counter) ?? 0) + 1);
  }

  /** From now on accesses to a range are counted, from zero. */
  begin(address: number, size: number): void {
    this.memory.parts(BigInt(address), size, (granule) => this.memory.beginTally(granule));
    this.take(address, size, () => {});
  }

  /** Nothing has been counted, anywhere. */
  forget(): void {
    for (const planes of this.memory.tallies.values())
      if (planes) this.memory.bytes.fill(0, planes, planes + TALLY_PLANES_SIZE);
    this.wraps.clear();
  }

  /** An access that compiled code leaves to the host, or that the kernel makes. */
  add(address: number, size: number, isStore: boolean): void {
    const { memory } = this;
    memory.parts(BigInt(address), size, (granule, offset, _done, count) => {
      if (!memory.tallies.has(granule)) return;
      const planes = memory.tallyPlanes(granule);
      const { bytes } = memory;
      const start = planes + (isStore ? TALLY_STORES : 0) + offset;
      for (let at = start; at < start + count; at++)
        if ((bytes[at] = (bytes[at]! + 1) & 0xff) === 0) this.wrapped(at);
    });
  }

  /** Gives the counts of a range and sets them to zero. Pieces without an access are left out. */
  take(address: number, size: number, visit: (piece: TallyPiece) => void): void {
    const { memory } = this;
    if (this.words.buffer !== memory.bytes.buffer) this.words = new Uint32Array(memory.wasm.buffer);
    memory.parts(BigInt(address), size, (granule, offset, done, count) => {
      const planes = memory.tallies.get(granule);
      if (!planes) return;
      for (let from = 0; from < count; from += PIECE_BYTES) {
        const part = Math.min(PIECE_BYTES, count - from);
        const start = planes + offset + from;
        let isEmpty = true;
        for (let plane = 0; plane < TALLY_PLANES_SIZE; plane += GRANULE_SIZE) {
          if (this.isZero(start + plane, part)) continue;
          if (isEmpty) {
            this.loads.fill(0, 0, part);
            this.stores.fill(0, 0, part);
          }
          isEmpty = false;
          const size = TALLY_SIZES[(plane % TALLY_STORES) / GRANULE_SIZE]!;
          this.gather(start + plane, part, size, plane < TALLY_STORES ? this.loads : this.stores);
        }
        const { loads, stores } = this;
        if (!isEmpty) visit({ offset: done + from, count: part, loads, stores });
      }
    });
  }

  private isZero(start: number, count: number): boolean {
    if (this.wraps.size > 0)
      for (let page = start >>> 12; page <= (start + count - 1) >>> 12; page++)
        if (this.wraps.has(page)) return false;
    const end = (start + count + 7) & ~7; // the last counter may reach beyond the range
    if (count >= 128) {
      const { bytes } = this.memory;
      return Buffer.compare(bytes.subarray(start, end), ZEROS.subarray(0, end - start)) === 0;
    }
    for (let word = start >>> 2; word < end >>> 2; word++) if (this.words[word] !== 0) return false;
    return true;
  }

  /** Adds the counters of `count` bytes of a plane to `sums`, and sets them to zero. */
  private gather(
    start: number,
    count: number,
    size: (typeof TALLY_SIZES)[number],
    sums: Float64Array,
  ): void {
    const { words } = this;
    const { bytes } = this.memory;
    const add = (counter: number, value: number): void => {
      const from = Math.max(counter - start, 0);
      const to = Math.min(counter - start + size, count);
      for (let at = from; at < to; at++) sums[at]! += value;
    };
    // A word holds several counters, one, or half of one.
    for (let at = start & ~Math.max(size - 1, 3); at < start + count; at += Math.max(size, 4)) {
      const low = words[at >>> 2]!;
      const high = size === 8 ? words[(at >>> 2) + 1]! : 0;
      if (low === 0 && high === 0) continue;
      if (size >= 4) add(at, low + high * 2 ** 32);
      else
        for (let counter = at; counter < at + 4; counter += size) {
          const value = size === 1 ? bytes[counter]! : bytes[counter]! + 256 * bytes[counter + 1]!;
          if (value > 0) add(counter, value);
        }
    }
    bytes.fill(0, start & ~(size - 1), (start + count + size - 1) & ~(size - 1));
    if (this.wraps.size === 0) return;
    for (let page = start >>> 12; page <= (start + count - 1) >>> 12; page++) {
      const known = this.wraps.get(page);
      if (!known) continue;
      for (const [counter, times] of known) {
        if (counter + size <= start || counter >= start + count) continue;
        add(counter, times * 2 ** (8 * size));
        known.delete(counter);
      }
      if (known.size === 0) this.wraps.delete(page);
    }
  }
}
