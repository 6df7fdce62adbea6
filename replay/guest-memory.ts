/**
 * Guest memory inside the evaluator's linear memory: granules of 64 KiB, allocated when first
 * written. Untouched memory reads as zero. Compiled code finds a granule through a cache in linear
 * memory and asks here when it is not there.
 */
import { UserError } from '../schemas/errors.js';
import {
  ADDRESS_BITS,
  DEFINED,
  GRANULE_BITS,
  GRANULE_SIZE,
  MAX_PAGES,
  NO_ACCESS,
  PAGE_SIZE,
  PLANES_SIZE,
  TAGGED_SIZE,
  SHARED,
  SHADOW_NO_ACCESS,
  SHADOW_ZERO,
  SHARED_COUNT,
  STATE_PLANE,
  TAG_PLANE,
  NO_GRANULE,
  TLB,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
  TLB_FOR_LOADS,
  TLB_FOR_STORES,
  TALLY_PLANES_SIZE,
  TLB_PLACE,
  TLB_TALLY,
  granulesOf,
} from './layout.js';

/** How much linear memory grows at a time. */
const GROWTH_PAGES = 512;

export class GuestMemory {
  readonly wasm: WebAssembly.Memory;
  /** All of linear memory; replaced when it grows. */
  bytes: Uint8Array;
  view: DataView;
  /**
   * Place in linear memory of each granule that was written, by number. With shadow memory, what is
   * accessible but was never written is `base`, and what is not here is not accessible.
   */
  readonly granules = new Map<number, number>();
  private readonly free: number[] = [];
  private next: number;
  /** The place of a granule that was never written. */
  readonly base: number;
  /** Where loads find a value that does not lie in one granule. */
  readonly slowLoad: number;
  readonly shadow: boolean;
  private readonly stride: number;
  /** With tags: told of a granule that is about to be accessed, and has a place of its own. */
  prepare: ((granule: number, place: number) => void) | undefined;
  /** Told of granules that are given back. */
  released: ((granule: number) => void) | undefined;
  /** With simulated caches: the place of a granule is no longer what it was. */
  moved: (() => void) | undefined;
  /** With shadow memory: the place of what is accessible but was never written. */
  readonly sharedZero: number;

  /** @param modes - `counts`: reserve room for segment counters; `shadow`: have shadow memory */
  constructor(modes: { counts: boolean; shadow: boolean; fresh?: boolean; cache?: boolean }) {
    const { start, base, slowLoad } = granulesOf({ fresh: false, cache: false, ...modes });
    const initial = Math.ceil(start / PAGE_SIZE);
    this.base = base;
    this.slowLoad = slowLoad;
    this.shadow = modes.shadow;
    this.sharedZero = modes.shadow ? SHADOW_ZERO : -1;
    this.stride = modes.shadow ? PLANES_SIZE : modes.fresh ? TAGGED_SIZE : GRANULE_SIZE;
    this.next = initial * PAGE_SIZE;
    // Growing would count all of it once more as allocated, which makes the engine collect garbage.
    this.wasm = new WebAssembly.Memory({ initial: initial + GROWTH_PAGES, maximum: MAX_PAGES });
    this.bytes = new Uint8Array(this.wasm.buffer);
    this.view = new DataView(this.wasm.buffer);
    new BigUint64Array(this.wasm.buffer, TLB, (TLB_ENTRY_SIZE * TLB_ENTRIES) / 8).fill(NO_GRANULE);
    if (modes.shadow) this.fillState(SHADOW_NO_ACCESS, 0, GRANULE_SIZE, NO_ACCESS);
  }

  private refresh(): void {
    this.bytes = new Uint8Array(this.wasm.buffer);
    this.view = new DataView(this.wasm.buffer);
  }

  private allocate(): number {
    const reused = this.free.pop();
    if (reused !== undefined) {
      this.bytes.fill(0, reused, reused + GRANULE_SIZE);
      if (this.shadow) this.fillState(reused, 0, GRANULE_SIZE, DEFINED);
      if (this.prepare) this.bytes.fill(0, reused + TAG_PLANE, reused + TAGGED_SIZE);
      return reused;
    }
    return this.extend(this.stride);
  }

  /** New zeros at the end. `size` is in bytes, a multiple of that of a granule. */
  private extend(size: number): number {
    if (this.next + size > this.bytes.length) {
      const pages = Math.min(GROWTH_PAGES, MAX_PAGES - this.bytes.length / PAGE_SIZE);
      try {
        if (pages === 0) throw new RangeError();
        this.wasm.grow(pages);
      } catch {
        throw new UserError(
          `The program uses more memory than replay can hold (${Math.floor(this.bytes.length / 2 ** 20)} MiB are in use, 4 GiB is the limit); record a smaller part of it.`,
        );
      }
      this.refresh();
    }
    const place = this.next;
    this.next += size;
    return place;
  }

  /**
   * By granule of which accesses are counted: where the planes of its tally begin, or 0 before the first access. Until
   * then compiled code does not find the granule in the cache.
   */
  readonly tallies = new Map<number, number>();

  /** From now on accesses to the granule are counted. */
  beginTally(granule: number): void {
    if (this.tallies.has(granule)) return;
    this.tallies.set(granule, 0);
    this.cache(granule);
  }

  /** Where the planes of a granule begin, of which accesses are counted. */
  tallyPlanes(granule: number): number {
    let planes = this.tallies.get(granule)!;
    if (planes === 0) {
      planes = this.extend(TALLY_PLANES_SIZE);
      this.tallies.set(granule, planes);
    }
    return planes;
  }

  /** The place of a granule that can be written: its own, made if it had none. */
  own(granule: number): number {
    let place = this.granules.get(granule);
    if (place !== undefined && place !== this.sharedZero) return place;
    const isAccessible = place !== undefined || !this.shadow;
    place = this.allocate();
    if (!isAccessible) this.fillState(place, 0, GRANULE_SIZE, NO_ACCESS);
    this.granules.set(granule, place);
    this.moved?.();
    return place;
  }

  /** The place to read a granule from. */
  place(granule: number): number {
    return this.granules.get(granule) ?? (this.shadow ? SHADOW_NO_ACCESS : this.base);
  }

  /** Sets the states of bytes of a granule that has a place of its own. */
  fillState(place: number, offset: number, count: number, state: number): void {
    const start = place + STATE_PLANE + offset;
    this.bytes.fill(state, start, start + count);
  }

  /** Gives a granule back; it reads as zero, and with shadow memory is accessible or not. */
  release(granule: number, isAccessible: boolean): void {
    const place = this.granules.get(granule);
    if (place !== undefined && place !== this.sharedZero) this.free.push(place);
    if (isAccessible && this.shadow) this.granules.set(granule, SHADOW_ZERO);
    else this.granules.delete(granule);
    this.released?.(granule);
    this.moved?.();
    this.cache(granule);
  }

  /**
   * Visits the parts of a range of guest memory that lie within one granule each.
   * @param visit - the granule's number, place in the granule, offset from the start of the range,
   *   bytes
   */
  parts(
    address: bigint,
    size: number,
    visit: (granule: number, offset: number, done: number, count: number) => void,
  ): void {
    const start = Number(BigInt.asUintN(ADDRESS_BITS, address));
    let offset = start % GRANULE_SIZE;
    let granule = (start - offset) / GRANULE_SIZE;
    for (let done = 0; done < size;) {
      const count = Math.min(size - done, GRANULE_SIZE - offset);
      visit(granule, offset, done, count);
      done += count;
      offset = 0;
      granule = (granule + 1) % 2 ** (ADDRESS_BITS - GRANULE_BITS);
    }
  }

  /** Puts what is known of a granule into the cache that compiled code uses. */
  cache(granule: number): void {
    const entry = TLB_ENTRY_SIZE * (granule % TLB_ENTRIES);
    this.prepare?.(granule, this.own(granule));
    const place = this.place(granule);
    const isOwn = place !== this.base && place !== SHADOW_NO_ACCESS;
    const planes = this.tallies.get(granule);
    const start = planes === 0 ? NO_GRANULE : BigInt(granule) << BigInt(GRANULE_BITS);
    this.view.setBigUint64(TLB_FOR_LOADS + entry, start, true);
    this.view.setBigUint64(TLB_FOR_STORES + entry, isOwn ? start : NO_GRANULE, true);
    this.view.setUint32(TLB_PLACE + entry, place - this.base, true);
    this.view.setUint32(TLB_TALLY + entry, planes ? planes - place : 0, true);
  }

  /** Compiled code asks for each granule again. */
  forgetPlaces(): void {
    for (const granule of this.granules.keys()) {
      const entry = TLB_ENTRY_SIZE * (granule % TLB_ENTRIES);
      this.view.setBigUint64(TLB_FOR_LOADS + entry, NO_GRANULE, true);
      this.view.setBigUint64(TLB_FOR_STORES + entry, NO_GRANULE, true);
    }
  }

  /** With tags: what is loaded or stored slowly next is fresh. */
  clearSlowTags(): void {
    if (!this.prepare) return;
    const at = this.slowLoad + TAG_PLANE;
    this.bytes.fill(0, at, at + 64);
  }

  /** A copy of guest memory. `size` is in bytes. */
  read(address: bigint, size: number): Uint8Array {
    const out = new Uint8Array(size);
    this.parts(address, size, (granule, offset, done, count) => {
      this.cache(granule);
      const place = this.granules.get(granule);
      if (place === undefined) return;
      out.set(this.bytes.subarray(place + offset, place + offset + count), done);
    });
    return out;
  }

  write(address: bigint, bytes: Uint8Array): void {
    this.parts(address, bytes.length, (granule, offset, done, count) => {
      const place = this.own(granule);
      this.cache(granule);
      this.bytes.set(bytes.subarray(done, done + count), place + offset);
    });
  }

  /** Makes a range read as zero; gives whole granules back. `size` is in bytes. */
  zero(address: bigint, size: bigint): void {
    const first = BigInt.asUintN(ADDRESS_BITS, address) >> BigInt(GRANULE_BITS);
    const last = (BigInt.asUintN(ADDRESS_BITS, address) + size - 1n) >> BigInt(GRANULE_BITS);
    if (size > 0n && last - first > BigInt(this.granules.size)) {
      // A large range of which little was ever written: the granules that exist are fewer.
      for (const granule of [...this.granules.keys()]) {
        if (granule < first || granule > last) continue;
        const start = BigInt(granule) << BigInt(GRANULE_BITS);
        const from = start > address ? start : address;
        const granuleEnd = start + BigInt(GRANULE_SIZE);
        const end = granuleEnd < address + size ? granuleEnd : address + size;
        this.zeroPart(granule, Number(from - start), Number(end - from));
      }
    } else {
      this.parts(address, Number(size), (granule, offset, _done, count) =>
        this.zeroPart(granule, offset, count),
      );
    }
  }

  private zeroPart(granule: number, offset: number, count: number): void {
    const place = this.granules.get(granule);
    if (place === undefined || place === this.sharedZero) return;
    if (count < GRANULE_SIZE || this.shadow) {
      this.bytes.fill(0, place + offset, place + offset + count);
      if (count === GRANULE_SIZE) this.reclaim(granule);
    } else this.release(granule, true);
  }

  /** With shadow memory: gives a granule back that is all zero and of which there is no more to say. */
  reclaim(granule: number): void {
    const place = this.granules.get(granule);
    if (place === undefined || place === this.sharedZero) return;
    const state = this.bytes[place + STATE_PLANE]!;
    if (state !== DEFINED && state !== NO_ACCESS) return;
    const equal = (from: number, as: number) =>
      Buffer.compare(
        this.bytes.subarray(from, from + GRANULE_SIZE),
        this.bytes.subarray(as, as + GRANULE_SIZE),
      ) === 0;
    const model = state === DEFINED ? SHADOW_ZERO : SHADOW_NO_ACCESS;
    if (!equal(place, this.base) || !equal(place + STATE_PLANE, model + STATE_PLANE)) return;
    this.release(granule, state === DEFINED);
  }

  /** Copies a range, which may overlap its target. `size` is in bytes. */
  copy(from: bigint, to: bigint, size: bigint): void {
    if (from === to) return;
    const pieces: { at: bigint; count: number; empty: boolean }[] = [];
    this.parts(from, Number(size), (granule, _offset, done, count) => {
      pieces.push({ at: BigInt(done), count, empty: !this.granules.has(granule) });
    });
    if (to > from) pieces.reverse();
    for (const { at, count, empty } of pieces) {
      if (empty) this.zero(to + at, BigInt(count));
      else this.write(to + at, this.read(from + at, count));
    }
  }

  /** Marks the granules of a range, for good: others can change them. `size` is in bytes. */
  setShared(address: bigint, size: bigint): void {
    if (size <= 0n) return;
    const first = address >> BigInt(GRANULE_BITS);
    const last = (address + size - 1n) >> BigInt(GRANULE_BITS);
    const count =
      last - first + 1n < BigInt(SHARED_COUNT) ? Number(last - first) + 1 : SHARED_COUNT;
    for (let i = 0; i < count; i++) {
      this.bytes[SHARED + Number((first + BigInt(i)) & BigInt(SHARED_COUNT - 1))] = 1;
    }
  }

  isShared(address: bigint): boolean {
    const granule = (address >> BigInt(GRANULE_BITS)) & BigInt(SHARED_COUNT - 1);
    return this.bytes[SHARED + Number(granule)] !== 0;
  }
}

/** A little-endian number from bytes. */
export function bitsOf(bytes: Uint8Array): bigint {
  let bits = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) bits = (bits << 8n) | BigInt(bytes[i]!);
  return bits;
}

/** The low `size` bytes of a number, little-endian. */
export function bytesOf(bits: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++, bits >>= 8n) bytes[i] = Number(bits & 0xffn);
  return bytes;
}
