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
import { Code, I32, I64, ModuleBuilder } from './wasm.js';

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

const PLANES = TALLY_PLANES_SIZE / GRANULE_SIZE;

/** Exports `look`: see `planesInUse`. Most blocks are small and have been accessed in a few ways only. */
function compileLook(): Uint8Array<ArrayBuffer> {
  const builder = new ModuleBuilder();
  const code = new Code([I32, I32], [I32]);
  const [from, to] = [0, 1];
  const [at, found, bits] = [code.local(I32), code.local(I64), code.local(I32)];
  for (let plane = 0; plane < PLANES; plane++) {
    code.i64(0n);
    code.set(found);
    code.get(from);
    code.set(at);
    code.open('loop');
    code.get(found);
    code.get(at);
    code.memory('i64_load', plane * GRANULE_SIZE);
    code.op('i64_or');
    code.set(found);
    code.get(at);
    code.i32(8);
    code.op('i32_add');
    code.tee(at);
    code.get(to);
    code.op('i32_lt_u');
    code.brIf(0);
    code.end();
    code.get(bits);
    code.get(found);
    code.ops('i64_eqz', 'i32_eqz');
    code.i32(plane);
    code.ops('i32_shl', 'i32_or');
    code.set(bits);
  }
  code.get(bits);
  const index = builder.declare(code.parameters, code.results);
  builder.define(index, code);
  builder.export('look', index);
  return builder.encode();
}

export class AccessTally {
  /** By page of 4 KiB of linear memory and counter: how often it has gone through zero. */
  private readonly wraps = new Map<number, Map<number, number>>();
  private readonly loads = new Float64Array(PIECE_BYTES);
  private readonly stores = new Float64Array(PIECE_BYTES);
  private words = new Uint32Array(0);

  /** Bits for the planes that are not all zero, from one place in the first plane to another, at multiples of 8. */
  private readonly planesInUse: (from: number, to: number) => number;

  constructor(private readonly memory: GuestMemory) {
    const imports = { env: { memory: memory.wasm } };
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(compileLook()), imports);
    this.planesInUse = exports['look'] as typeof this.planesInUse;
  }

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
        const inUse = this.inUse(start, part);
        if (inUse === 0) continue;
        const { loads, stores } = this;
        loads.fill(0, 0, part);
        stores.fill(0, 0, part);
        for (let plane = 0; plane < PLANES; plane++) {
          if (((inUse >>> plane) & 1) === 0) continue;
          const size = TALLY_SIZES[plane % TALLY_SIZES.length]!;
          const sums = plane < TALLY_SIZES.length ? loads : stores;
          this.gather(start + plane * GRANULE_SIZE, part, size, sums);
        }
        visit({ offset: done + from, count: part, loads, stores });
      }
    });
  }

  /** Bits for the planes with counts of `count` bytes from a place in the first one on. */
  private inUse(start: number, count: number): number {
    // The last counter may reach beyond the range.
    let bits = this.planesInUse(start, (start + count + 7) & ~7);
    if (this.wraps.size === 0) return bits;
    for (let plane = 0; plane < PLANES; plane++) {
      const at = start + plane * GRANULE_SIZE;
      for (let page = at >>> 12; page <= (at + count - 1) >>> 12; page++)
        if (this.wraps.has(page)) bits |= 1 << plane;
    }
    return bits;
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
