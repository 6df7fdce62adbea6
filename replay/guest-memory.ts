/**
 * Guest memory inside the evaluator's linear memory: granules of 64 KiB, allocated when first
 * written. Untouched memory reads as zero. Compiled code finds a granule through a cache in linear
 * memory and asks here when it is not there.
 */
import { UserError } from '../schemas/errors.js';
import {
  ADDRESS_BITS,
  GRANULE_BITS,
  GRANULE_SIZE,
  MAX_PAGES,
  PAGE_SIZE,
  SHARED,
  SHARED_COUNT,
  TLB,
  TLB_ENTRIES,
  ZERO,
  granulesStart,
} from './layout.js';

/** How much linear memory grows at a time. */
const GROWTH_PAGES = 512;

export class GuestMemory {
  readonly wasm: WebAssembly.Memory;
  /** All of linear memory; replaced when it grows. */
  bytes: Uint8Array;
  view: DataView;
  /** Place in linear memory of each granule that was written, by number. */
  private readonly granules = new Map<number, number>();
  private readonly free: number[] = [];
  private next: number;

  /** @param counts - reserve room for segment counters */
  constructor(counts: boolean) {
    this.next = granulesStart(counts);
    const initial = Math.ceil(this.next / PAGE_SIZE);
    this.next = initial * PAGE_SIZE;
    this.wasm = new WebAssembly.Memory({ initial, maximum: MAX_PAGES });
    this.bytes = new Uint8Array(this.wasm.buffer);
    this.view = new DataView(this.wasm.buffer);
  }

  private refresh(): void {
    this.bytes = new Uint8Array(this.wasm.buffer);
    this.view = new DataView(this.wasm.buffer);
  }

  private allocate(): number {
    const reused = this.free.pop();
    if (reused !== undefined) {
      this.bytes.fill(0, reused, reused + GRANULE_SIZE);
      return reused;
    }
    if (this.next + GRANULE_SIZE > this.bytes.length) {
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
    const granule = this.next;
    this.next += GRANULE_SIZE;
    return granule;
  }

  /**
   * Visits the parts of a range of guest memory that lie within one granule each.
   * @param visit - the granule's number, place in the granule, offset from the start of the range,
   *   bytes
   */
  private parts(
    address: bigint,
    size: number,
    visit: (granule: number, offset: number, done: number, count: number) => void,
  ): void {
    for (let done = 0; done < size;) {
      const at = BigInt.asUintN(ADDRESS_BITS, address + BigInt(done));
      const offset = Number(at & BigInt(GRANULE_SIZE - 1));
      const count = Math.min(size - done, GRANULE_SIZE - offset);
      visit(Number(at >> BigInt(GRANULE_BITS)), offset, done, count);
      done += count;
    }
  }

  /** Puts what is known of a granule into the cache that compiled code uses. */
  private cache(granule: number): void {
    const entry = TLB + 8 * (granule % TLB_ENTRIES);
    const place = this.granules.get(granule);
    this.view.setUint32(entry, granule, true);
    this.view.setUint32(entry + 4, place === undefined ? 0 : place - ZERO, true);
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
      let place = this.granules.get(granule);
      if (place === undefined) {
        place = this.allocate();
        this.granules.set(granule, place);
      }
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
    if (place === undefined) return;
    if (count === GRANULE_SIZE) {
      this.free.push(place);
      this.granules.delete(granule);
      this.cache(granule);
    } else this.bytes.fill(0, place + offset, place + offset + count);
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
