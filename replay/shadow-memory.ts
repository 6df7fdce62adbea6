/** `ShadowMemory` on the planes that stand beside guest memory in linear memory (layout.ts). */
import { bitsOf, bytesOf, type GuestMemory } from './guest-memory.js';
import {
  ADDRESS_BITS,
  BITS_PLANE,
  DEFINED,
  GRANULE_BITS,
  GRANULE_SIZE,
  NO_ACCESS,
  ORIGIN_PLANE,
  PARTIAL,
  STATE_PLANE,
  UNDEFINED,
} from './layout.js';
import type { OriginTag, ShadowMemory } from './shadow.js';

/** Larger ranges are changed by visiting the granules that exist, not those of the range. */
const MANY_GRANULES = 1 << 16;

const ADDRESS_END = 2 ** ADDRESS_BITS;

/** What a load finds: undefined bits (little-endian), and an origin if there are any. */
export interface ShadowValue {
  readonly bits: Uint8Array;
  readonly origin: OriginTag;
  /** Number of bytes that may not be accessed. */
  readonly inaccessible: number;
}

export class ShadowPlanes implements ShadowMemory {
  constructor(private readonly memory: GuestMemory) {}

  markNoAccess(address: bigint, size: bigint): void {
    this.parts(address, size, true, (granule, offset, _done, count) => {
      const place = this.memory.granules.get(granule);
      if (place === undefined) return;
      if (count === GRANULE_SIZE && place === this.memory.sharedZero) {
        this.memory.release(granule, false);
        return;
      }
      this.memory.fillState(this.memory.own(granule), offset, count, NO_ACCESS);
      this.memory.cache(granule);
      if (count === GRANULE_SIZE) this.memory.reclaim(granule);
    });
  }

  markDefined(address: bigint, size: bigint): void {
    this.parts(address, size, false, (granule, offset, _done, count) => {
      const { granules } = this.memory;
      if (granules.get(granule) === this.memory.sharedZero) return;
      if (count === GRANULE_SIZE && !granules.has(granule)) {
        this.memory.release(granule, true);
        return;
      }
      this.memory.fillState(this.memory.own(granule), offset, count, DEFINED);
      this.memory.cache(granule);
      if (count === GRANULE_SIZE) this.memory.reclaim(granule);
    });
  }

  markUndefined(address: bigint, size: bigint, origin: OriginTag): void {
    this.parts(address, size, false, (granule, offset, _done, count) => {
      const place = this.memory.own(granule);
      this.memory.fillState(place, offset, count, UNDEFINED);
      this.origins(place, offset, count).fill(origin);
      this.memory.cache(granule);
    });
  }

  markDefinedIfAccessible(address: bigint, size: bigint): void {
    this.parts(address, size, true, (granule, offset, _done, count) => {
      const place = this.memory.granules.get(granule);
      if (place === undefined || place === this.memory.sharedZero) return;
      const states = this.states(place, offset, count);
      for (let i = 0; i < count; i++) if (states[i] !== NO_ACCESS) states[i] = DEFINED;
    });
  }

  /** What is not accessible of the range becomes defined; what is stays as it is. */
  markDefinedIfNoAccess(address: bigint, size: bigint): void {
    this.parts(address, size, false, (granule, offset, _done, count) => {
      const { granules } = this.memory;
      if (granules.get(granule) === this.memory.sharedZero) return;
      if (!granules.has(granule)) {
        this.markDefined((BigInt(granule) << BigInt(GRANULE_BITS)) + BigInt(offset), BigInt(count));
        return;
      }
      const states = this.states(this.memory.own(granule), offset, count);
      for (let i = 0; i < count; i++) if (states[i] === NO_ACCESS) states[i] = DEFINED;
      this.memory.cache(granule);
      if (count === GRANULE_SIZE) this.memory.reclaim(granule);
    });
  }

  copyShadow(from: bigint, to: bigint, size: bigint): void {
    if (from === to || size <= 0n) return;
    // Whole copies first: the ranges may overlap.
    const pieces: { at: bigint; states: Uint8Array; bits: Uint8Array; origins: Uint32Array }[] = [];
    this.parts(from, size, false, (granule, offset, done, count) => {
      const place = this.memory.place(granule);
      const states = this.states(place, offset, count).slice();
      const origins = new Uint32Array(count);
      for (let i = 0; i < count; i++)
        if (states[i] !== DEFINED) origins[i] = this.originAt(place, offset + i);
      const bits = this.bits(place, offset, count).slice();
      pieces.push({ at: to + BigInt(done), states, bits, origins });
    });
    for (const { at, states, bits, origins } of pieces) {
      this.parts(at, BigInt(states.length), false, (granule, offset, done, count) => {
        const place = this.memory.own(granule);
        this.states(place, offset, count).set(states.subarray(done, done + count));
        this.bits(place, offset, count).set(bits.subarray(done, done + count));
        for (let i = 0; i < count; i++) {
          if (states[done + i] !== DEFINED) this.setOrigin(place, offset + i, origins[done + i]!);
        }
        this.memory.cache(granule);
      });
    }
  }

  firstNoAccess(address: bigint, size: bigint): bigint | undefined {
    return this.find(address, size, (state) => state === NO_ACCESS)?.address;
  }

  firstUndefined(
    address: bigint,
    size: bigint,
  ): { address: bigint; accessible: boolean; origin: OriginTag } | undefined {
    return this.find(address, size, (state) => state !== DEFINED);
  }

  firstUndefinedOfString(
    address: bigint,
    maxSize: bigint,
  ): { address: bigint; accessible: boolean; origin: OriginTag } | undefined {
    for (let at = 0n; at < maxSize; at += 256n) {
      const size = maxSize - at < 256n ? maxSize - at : 256n;
      const end = this.memory.read(address + at, Number(size)).indexOf(0);
      const found = this.firstUndefined(address + at, end < 0 ? size : BigInt(end + 1));
      if (found || end >= 0) return found;
    }
    return undefined;
  }

  undefinedBits(address: bigint, size: number): Uint8Array | undefined {
    const { bits, inaccessible } = this.load(address, size);
    return inaccessible > 0 ? undefined : bits;
  }

  setUndefinedBits(address: bigint, bits: Uint8Array, origin: OriginTag): void {
    this.parts(address, BigInt(bits.length), false, (granule, offset, done, count) => {
      const place = this.memory.own(granule);
      const states = this.states(place, offset, count);
      const plane = this.bits(place, offset, count);
      for (let i = 0; i < count; i++) {
        if (states[i] === NO_ACCESS) continue;
        const byte = bits[done + i]!;
        states[i] = byte === 0 ? DEFINED : byte === 0xff ? UNDEFINED : PARTIAL;
        plane[i] = byte;
        if (byte !== 0) this.setOrigin(place, offset + i, origin);
      }
      this.memory.cache(granule);
    });
  }

  readMemory(address: bigint, size: number): Uint8Array {
    return this.memory.read(address, size);
  }

  visitDefinedWords(
    address: bigint,
    size: bigint,
    visit: (address: bigint, value: bigint) => void,
  ): void {
    const first = (address + 7n) & ~7n;
    const count = address + size - first;
    if (count < 8n) return;
    this.parts(first, count & ~7n, true, (granule, offset, done, length) => {
      const place = this.memory.place(granule);
      const states = new Int32Array(
        this.memory.wasm.buffer,
        place + STATE_PLANE + offset,
        length / 4,
      );
      const values = new BigUint64Array(this.memory.wasm.buffer, place + offset, length / 8);
      for (let i = 0; i < values.length; i++) {
        if (states[2 * i] === 0 && states[2 * i + 1] === 0)
          visit(first + BigInt(done + 8 * i), values[i]!);
      }
    });
  }

  accessibleRanges(): { address: bigint; size: bigint }[] {
    const numbers = [...this.memory.granules.keys()].sort((a, b) => a - b);
    return numbers
      .filter((granule) => {
        const place = this.memory.granules.get(granule)!;
        if (place === this.memory.sharedZero) return true;
        return this.states(place, 0, GRANULE_SIZE).some((state) => state !== NO_ACCESS);
      })
      .map((granule) => ({
        address: BigInt(granule) << BigInt(GRANULE_BITS),
        size: BigInt(GRANULE_SIZE),
      }));
  }

  /** The 8 bytes at an address, when all of them may be accessed and are defined. */
  definedWord(address: bigint): bigint | undefined {
    const { memory } = this;
    const at = Number(BigInt.asUintN(ADDRESS_BITS, address));
    const offset = at % GRANULE_SIZE;
    if (offset > GRANULE_SIZE - 8) {
      if (this.firstUndefined(address, 8n) !== undefined) return undefined;
      return bitsOf(memory.read(address, 8));
    }
    const place = memory.place((at - offset) / GRANULE_SIZE) + offset;
    const { view } = memory;
    const isDefined =
      view.getUint32(place + STATE_PLANE, true) === 0 &&
      view.getUint32(place + STATE_PLANE + 4, true) === 0;
    return isDefined ? view.getBigUint64(place, true) : undefined;
  }

  /** The shadow of `size` bytes; bytes that may not be accessed count as undefined. */
  load(address: bigint, size: number): ShadowValue {
    const bits = new Uint8Array(size);
    let origin = 0;
    let inaccessible = 0;
    this.parts(address, BigInt(size), false, (granule, offset, done, count) => {
      const place = this.memory.place(granule);
      const states = this.states(place, offset, count);
      const plane = this.bits(place, offset, count);
      for (let i = 0; i < count; i++) {
        const state = states[i]!;
        if (state === DEFINED) continue;
        const at = done + i;
        bits[at] = state === PARTIAL ? plane[i]! : 0xff;
        if (state === NO_ACCESS) inaccessible++;
        else origin ||= this.originAt(place, offset + i);
      }
    });
    return { bits, origin, inaccessible };
  }

  /** Stores the shadow of a value; returns how many of its bytes may not be accessed, which it leaves. */
  store(address: bigint, size: number, bits: bigint, origin: OriginTag): number {
    const inaccessible = this.load(address, size).inaccessible;
    this.setUndefinedBits(address, bytesOf(bits, size), origin);
    return inaccessible;
  }

  /**
   * As `load`, of bytes of one granule that may all be accessed, to a place in linear memory.
   * @returns the origin, or −1 when it is not as simple as that
   */
  loadSimple(address: bigint, size: number, to: number): OriginTag | -1 {
    const { bytes, view } = this.memory;
    const at = Number(address);
    if (!(at >= 0 && at < ADDRESS_END)) return -1;
    const offset = at % GRANULE_SIZE;
    if (offset + size > GRANULE_SIZE) return -1;
    const place = this.memory.place((at - offset) / GRANULE_SIZE);
    const states = place + STATE_PLANE + offset;
    let origin = 0;
    for (let i = 0; i < size; i++) {
      const state = bytes[states + i]!;
      if (state === NO_ACCESS) return -1;
      if (state === DEFINED) bytes[to + i] = 0;
      else {
        bytes[to + i] = state === PARTIAL ? bytes[place + BITS_PLANE + offset + i]! : 0xff;
        origin ||= view.getUint32(place + ORIGIN_PLANE + ((offset + i) & ~3), true);
      }
    }
    return origin;
  }

  /** As `store` of what stands at a place in linear memory; false when it is not as simple as `loadSimple`. */
  storeSimple(address: bigint, size: number, from: number, origin: OriginTag): boolean {
    const { bytes, view, granules, sharedZero } = this.memory;
    const at = Number(address);
    if (!(at >= 0 && at < ADDRESS_END)) return false;
    const offset = at % GRANULE_SIZE;
    const place = granules.get((at - offset) / GRANULE_SIZE);
    if (place === undefined || place === sharedZero || offset + size > GRANULE_SIZE) return false;
    const states = place + STATE_PLANE + offset;
    for (let i = 0; i < size; i++) if (bytes[states + i] === NO_ACCESS) return false;
    for (let i = 0; i < size; i++) {
      const byte = bytes[from + i]!;
      bytes[states + i] = byte === 0 ? DEFINED : byte === 0xff ? UNDEFINED : PARTIAL;
      if (byte === 0) continue;
      bytes[place + BITS_PLANE + offset + i] = byte;
      view.setUint32(place + ORIGIN_PLANE + ((offset + i) & ~3), origin, true);
    }
    return true;
  }

  private find(
    address: bigint,
    size: bigint,
    wanted: (state: number) => boolean,
  ): { address: bigint; accessible: boolean; origin: OriginTag } | undefined {
    for (let done = 0n; done < size;) {
      const at = address + done;
      const granule = Number(BigInt.asUintN(48, at) >> BigInt(GRANULE_BITS));
      const offset = Number(at & BigInt(GRANULE_SIZE - 1));
      const left = size - done;
      const room = GRANULE_SIZE - offset;
      const count = left < BigInt(room) ? Number(left) : room;
      const place = this.memory.place(granule);
      if (place !== this.memory.sharedZero) {
        const i = this.states(place, offset, count).findIndex(wanted);
        if (i >= 0) {
          const accessible = this.states(place, offset + i, 1)[0] !== NO_ACCESS;
          const origin = accessible ? this.originAt(place, offset + i) : 0;
          return { address: at + BigInt(i), accessible, origin };
        }
      }
      done += BigInt(count);
    }
    return undefined;
  }

  /**
   * Visits the parts of a range that lie within one granule each; of a very large range only those
   * that exist, if that is enough.
   */
  private parts(
    address: bigint,
    size: bigint,
    existing: boolean,
    visit: (granule: number, offset: number, done: number, count: number) => void,
  ): void {
    if (size <= 0n) return;
    const first = Number(BigInt.asUintN(48, address) >> BigInt(GRANULE_BITS));
    const granules = Number(size >> BigInt(GRANULE_BITS));
    if (!existing || granules < MANY_GRANULES) {
      this.memory.parts(address, Number(size), visit);
      return;
    }
    const start = BigInt.asUintN(48, address);
    const end = start + size;
    for (const granule of [...this.memory.granules.keys()].sort((a, b) => a - b)) {
      if (granule < first || granule > first + granules + 1) continue;
      const at = BigInt(granule) << BigInt(GRANULE_BITS);
      const from = at > start ? at : start;
      const to = at + BigInt(GRANULE_SIZE) < end ? at + BigInt(GRANULE_SIZE) : end;
      if (from < to) visit(granule, Number(from - at), Number(from - start), Number(to - from));
    }
  }

  private states(place: number, offset: number, count: number): Uint8Array {
    const start = place + STATE_PLANE + offset;
    return this.memory.bytes.subarray(start, start + count);
  }

  private bits(place: number, offset: number, count: number): Uint8Array {
    const start = place + BITS_PLANE + offset;
    return this.memory.bytes.subarray(start, start + count);
  }

  /** Origins of the groups of 4 bytes that a range touches. */
  private origins(place: number, offset: number, count: number): Uint32Array {
    const first = offset >> 2;
    const end = (offset + count + 3) >> 2;
    return new Uint32Array(this.memory.wasm.buffer, place + ORIGIN_PLANE + 4 * first, end - first);
  }

  private setOrigin(place: number, offset: number, origin: OriginTag): void {
    this.memory.view.setUint32(place + ORIGIN_PLANE + (offset & ~3), origin, true);
  }

  private originAt(place: number, offset: number): OriginTag {
    return this.memory.view.getUint32(place + ORIGIN_PLANE + (offset & ~3), true);
  }
}
