/**
 * Guest memory inside the evaluator's linear memory: granules of 64 KiB, allocated when first
 * written. Untouched memory reads as zero. Addresses at and above 2^37 read as zero, and stores
 * there are dropped.
 */
import { UserError } from '../schemas/errors.js';
import {
  ADDRESS_BITS,
  GRANULE_BITS,
  GRANULE_COUNT,
  GRANULE_SIZE,
  MAX_PAGES,
  PAGE_SIZE,
  SHARED,
  TABLE,
  ZERO,
  granulesStart,
} from './layout.js';

const ADDRESS_END = 1n << BigInt(ADDRESS_BITS);
/** How much linear memory grows at a time. */
const GROWTH_PAGES = 512;

export class GuestMemory {
  readonly wasm: WebAssembly.Memory;
  /** All of linear memory; replaced when it grows. */
  bytes: Uint8Array;
  view: DataView;
  private table: Uint32Array;
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
    this.table = new Uint32Array(this.wasm.buffer, TABLE, GRANULE_COUNT);
  }

  private refresh(): void {
    this.bytes = new Uint8Array(this.wasm.buffer);
    this.view = new DataView(this.wasm.buffer);
    this.table = new Uint32Array(this.wasm.buffer, TABLE, GRANULE_COUNT);
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
   * @param visit - place in the granule, offset from the start of the range, bytes; the granule's
   *   number, or -1 when the part is outside of the address space
   */
  private parts(
    address: bigint,
    size: number,
    visit: (granule: number, offset: number, done: number, count: number) => void,
  ): void {
    for (let done = 0; done < size;) {
      const at = BigInt.asUintN(64, address + BigInt(done));
      const offset = Number(at & BigInt(GRANULE_SIZE - 1));
      const count = Math.min(size - done, GRANULE_SIZE - offset);
      visit(at < ADDRESS_END ? Number(at >> BigInt(GRANULE_BITS)) : -1, offset, done, count);
      done += count;
    }
  }

  /** A copy of guest memory. `size` is in bytes. */
  read(address: bigint, size: number): Uint8Array {
    const out = new Uint8Array(size);
    this.parts(address, size, (granule, offset, done, count) => {
      const entry = granule < 0 ? 0 : this.table[granule]!;
      if (entry === 0) return;
      const from = ZERO + entry + offset;
      out.set(this.bytes.subarray(from, from + count), done);
    });
    return out;
  }

  write(address: bigint, bytes: Uint8Array): void {
    this.parts(address, bytes.length, (granule, offset, done, count) => {
      if (granule < 0) return;
      if (this.table[granule] === 0) {
        const base = this.allocate();
        this.table[granule] = base - ZERO;
      }
      this.bytes.set(bytes.subarray(done, done + count), ZERO + this.table[granule]! + offset);
    });
  }

  /** Makes a range read as zero; gives whole granules back. `size` is in bytes. */
  zero(address: bigint, size: bigint): void {
    const clipped = size > ADDRESS_END - address ? ADDRESS_END - address : size;
    if (clipped <= 0n) return;
    this.parts(address, Number(clipped), (granule, offset, _done, count) => {
      const entry = this.table[granule]!;
      if (entry === 0) return;
      if (count === GRANULE_SIZE) {
        this.free.push(ZERO + entry);
        this.table[granule] = 0;
      } else this.bytes.fill(0, ZERO + entry + offset, ZERO + entry + offset + count);
    });
  }

  /** Copies a range, which may overlap its target. `size` is in bytes. */
  copy(from: bigint, to: bigint, size: bigint): void {
    if (from === to) return;
    const clipped = size > ADDRESS_END ? ADDRESS_END : size;
    const pieces: { at: bigint; count: number; empty: boolean }[] = [];
    if (from >= ADDRESS_END) {
      this.zero(to, clipped);
      return;
    }
    this.parts(from, Number(clipped), (granule, _offset, done, count) => {
      pieces.push({ at: BigInt(done), count, empty: granule < 0 || this.table[granule] === 0 });
    });
    if (to > from) pieces.reverse();
    for (const { at, count, empty } of pieces) {
      if (empty) this.zero(to + at, BigInt(count));
      else this.write(to + at, this.read(from + at, count));
    }
  }

  /** Marks the granules of a range: others can change them. `size` is in bytes. */
  setShared(address: bigint, size: bigint, shared: boolean): void {
    if (size <= 0n || address >= ADDRESS_END) return;
    const end = address + size > ADDRESS_END ? ADDRESS_END : address + size;
    // A granule on the edge of a range that is not shared may hold others that are.
    const inner = shared ? 0n : BigInt(GRANULE_SIZE - 1);
    const first = Number((address + inner) >> BigInt(GRANULE_BITS));
    const past = Number((end + BigInt(GRANULE_SIZE - 1) - inner) >> BigInt(GRANULE_BITS));
    if (first < past) this.bytes.fill(shared ? 1 : 0, SHARED + first, SHARED + past);
  }

  isShared(address: bigint): boolean {
    return (
      address < ADDRESS_END && this.bytes[SHARED + Number(address >> BigInt(GRANULE_BITS))] !== 0
    );
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
