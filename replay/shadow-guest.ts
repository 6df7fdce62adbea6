/**
 * What compiled code, the interpreter and events ask of the shadow state of a guest: shadow registers
 * of the current thread and of those that wait, its calls, its origins, and what is to be reported.
 */
import type { ShadowSite } from './compile-shadow.js';
import { bitsOf, bytesOf, type GuestMemory } from './guest-memory.js';
import type { Block } from './ir.js';
import {
  CELL,
  FRAMES,
  FRAME_SIZE,
  MAX_FRAMES,
  MAX_SHADOWED_STATE,
  NO_ACCESS,
  ORIGIN_STATE,
  SCRATCH_RESULT,
  SHADOW_STATE,
  STATE,
  UNDEFINED,
} from './layout.js';
import { STACK_REDZONE, stackOrigin, type OriginTag } from './shadow.js';
import { ShadowPlanes } from './shadow-memory.js';

/** Something that an analysis of definedness may want to report. */
export interface ShadowEvent {
  readonly kind: 'no_access' | 'undefined';
  /** For no_access: it was a store. */
  readonly store: boolean;
  /** For undefined: what the value was used for. */
  readonly use: 'condition' | 'value';
  /** For no_access. */
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly origin: OriginTag;
  readonly pc: bigint;
  readonly tick: bigint;
  readonly sp: bigint;
  /** The call stack, innermost first; callers by the address of their call instruction. */
  stack(): readonly bigint[];
}

/** What an analysis brings along to follow definedness. */
export interface ShadowHooks {
  /** The statements of a block from a number on, with those that follow definedness. */
  instrument(block: Block, from: number): Block;
  /** Parts of the guest state that a block reads or writes, as offset and size. */
  touchedRegisters(block: Block): readonly (readonly [number, number])[];
  /** Bits of the 8-byte words of the guest state that have a shadow: of the others all are defined. */
  readonly trackedWords: bigint;
  report(event: ShadowEvent): void;
  /** The stack pointer went from one stack to another. */
  switchStack?(from: bigint, to: bigint): void;
  /** Loads that are partly beyond accessible memory are let pass, as by Memcheck: see its manual. */
  readonly partialLoadsOk: boolean;
}

/** Shadow registers and calls of a thread that does not run. */
export interface SavedShadow {
  readonly registers: Uint8Array;
  readonly undefinedLow: bigint;
  readonly undefinedHigh: bigint;
  readonly frames: Uint8Array;
}

const REGISTERS_SIZE = 2 * MAX_SHADOWED_STATE;

export class ShadowGuest {
  readonly planes: ShadowPlanes;
  private readonly sites: ShadowSite[] = [];

  constructor(
    private readonly memory: GuestMemory,
    readonly hooks: ShadowHooks,
    private readonly RSP: number,
  ) {
    this.planes = new ShadowPlanes(memory);
    memory.view.setUint32(CELL.frames, FRAMES, true);
  }

  site(site: ShadowSite): number {
    this.sites.push(site);
    return this.sites.length - 1;
  }

  // ---- Threads ----

  save(): SavedShadow {
    const { bytes, view } = this.memory;
    return {
      registers: bytes.slice(SHADOW_STATE, SHADOW_STATE + REGISTERS_SIZE),
      undefinedLow: view.getBigUint64(CELL.undefinedLow, true),
      undefinedHigh: view.getBigUint64(CELL.undefinedHigh, true),
      frames: bytes.slice(FRAMES, view.getUint32(CELL.frames, true)),
    };
  }

  /** Goes on with the shadow of another thread; a new one has all registers defined and no calls. */
  restore(saved: SavedShadow | undefined): void {
    const { bytes, view } = this.memory;
    if (saved) {
      bytes.set(saved.registers, SHADOW_STATE);
      bytes.set(saved.frames, FRAMES);
    } else bytes.fill(0, SHADOW_STATE, SHADOW_STATE + REGISTERS_SIZE);
    view.setBigUint64(CELL.undefinedLow, saved?.undefinedLow ?? 0n, true);
    view.setBigUint64(CELL.undefinedHigh, saved?.undefinedHigh ?? 0n, true);
    view.setUint32(CELL.frames, FRAMES + (saved?.frames.length ?? 0), true);
  }

  // ---- Registers of the current thread ----

  readRegisters(offset: number, size: number): { bits: bigint; origin: OriginTag } {
    const bits = bitsOf(
      this.memory.bytes.subarray(SHADOW_STATE + offset, SHADOW_STATE + offset + size),
    );
    for (let word = offset & ~7; word < offset + size; word += 8) {
      if (this.memory.view.getBigUint64(SHADOW_STATE + word, true) !== 0n)
        return { bits, origin: this.memory.view.getUint32(ORIGIN_STATE + word, true) };
    }
    return { bits, origin: 0 };
  }

  writeRegisters(offset: number, size: number, bits: bigint, origin: OriginTag): void {
    const { view } = this.memory;
    this.memory.bytes.set(bytesOf(bits, size), SHADOW_STATE + offset);
    for (let word = offset & ~7; word < offset + size; word += 8) {
      if (bits !== 0n) view.setUint32(ORIGIN_STATE + word, origin, true);
      const cell = word < 512 ? CELL.undefinedLow : CELL.undefinedHigh;
      const bit = 1n << BigInt((word >> 3) & 63);
      const mask = view.getBigUint64(cell, true) & ~bit;
      const isUndefined = view.getBigUint64(SHADOW_STATE + word, true) !== 0n;
      view.setBigUint64(cell, isUndefined ? mask | bit : mask, true);
    }
  }

  // ---- Calls ----

  /** The call stack at `pc`: that, and the calls under way, innermost first. */
  stack(pc: bigint, sp: bigint): bigint[] {
    return this.frames(pc, sp).map((frame) => frame.pc);
  }

  /** As `stack`, of at most `limit` frames, each with the stack pointer at its place. */
  frames(pc: bigint, sp: bigint, limit = Infinity): { pc: bigint; sp: bigint }[] {
    const { view } = this.memory;
    const frames = [{ pc, sp }];
    let at = view.getUint32(CELL.frames, true) - FRAME_SIZE;
    for (; at >= FRAMES && frames.length < limit; at -= FRAME_SIZE) {
      const returnAt = view.getBigUint64(at, true);
      if (returnAt < sp) continue; // it has returned
      frames.push({ pc: view.getBigUint64(at + 8, true), sp: returnAt + 8n });
    }
    return frames;
  }

  /** As compiled code does: notes a call from `pc` that left its return address at `sp`. */
  pushFrame(sp: bigint, pc: bigint): void {
    const { view } = this.memory;
    let top = view.getUint32(CELL.frames, true);
    while (top > FRAMES && view.getBigUint64(top - FRAME_SIZE, true) <= sp) top -= FRAME_SIZE;
    view.setBigUint64(top, sp, true);
    view.setBigUint64(top + 8, pc, true);
    view.setUint32(CELL.frames, top + FRAME_SIZE, true);
    if (top + FRAME_SIZE >= FRAMES + FRAME_SIZE * MAX_FRAMES) this.dropFrames();
  }

  /** Forgets the outer half of the calls. */
  dropFrames(): void {
    const { bytes, view } = this.memory;
    const half = (FRAME_SIZE * MAX_FRAMES) / 2;
    const top = view.getUint32(CELL.frames, true);
    bytes.copyWithin(FRAMES, FRAMES + half, top);
    view.setUint32(CELL.frames, top - half, true);
  }

  // ---- What code asks ----

  get stackPointer(): bigint {
    return this.memory.view.getBigUint64(STATE + this.RSP, true);
  }

  /** As compiled code does when the stack pointer moves by an ordinary amount. */
  moveStack(before: bigint, after: bigint, pc: bigint): void {
    const grows = BigInt.asIntN(64, before - after);
    if (grows > 2_000_000n || grows < -2_000_000n) this.switchStack(before, after);
    else if (grows > 0n) this.planes.markUndefined(after - STACK_REDZONE, grows, stackOrigin(pc));
    else this.planes.markNoAccess(before - STACK_REDZONE, -grows);
  }

  abiHint(base: bigint, size: number, pc: bigint): void {
    this.planes.markUndefined(base, BigInt(size), stackOrigin(pc));
  }

  switchStack(from: bigint, to: bigint): void {
    this.hooks.switchStack?.(from, to);
  }

  mark(address: bigint, size: number, pattern: bigint, origin: OriginTag): void {
    const state = Number(pattern & 0xffn);
    if (state === NO_ACCESS) this.planes.markNoAccess(address, BigInt(size));
    else if (state === UNDEFINED) this.planes.markUndefined(address, BigInt(size), origin);
    else this.planes.markDefined(address, BigInt(size));
  }

  /** The shadow of a load, reported if it may not be made: then all bits count as defined. */
  load(address: bigint, size: number, site: ShadowSite): { bits: bigint; origin: OriginTag } {
    const { bits, origin, inaccessible } = this.planes.load(address, size);
    if (inaccessible === 0) return { bits: bitsOf(bits), origin };
    const isAligned = address % BigInt(size) === 0n;
    if (this.hooks.partialLoadsOk && size >= 4 && isAligned && inaccessible < size)
      return { bits: bitsOf(bits), origin };
    this.noAccess(address, size, false, site);
    return { bits: this.accessibleBits(address, bits), origin };
  }

  /** Bytes that may not be accessed are taken as defined, once that was reported. */
  private accessibleBits(address: bigint, bits: Uint8Array): bigint {
    bits.forEach((_, i) => {
      if (this.planes.firstNoAccess(address + BigInt(i), 1n) !== undefined) bits[i] = 0;
    });
    return bitsOf(bits);
  }

  store(address: bigint, size: number, bits: bigint, origin: OriginTag, site: ShadowSite): void {
    if (this.planes.store(address, size, bits, origin) > 0)
      this.noAccess(address, size, true, site);
  }

  check(origin: OriginTag, site: ShadowSite): void {
    this.report(site, {
      kind: 'undefined',
      store: false,
      address: 0n,
      sizeBytes: site.sizeBytes,
      origin,
    });
  }

  readRange(address: bigint, size: number, site: ShadowSite): { bits: bigint; origin: OriginTag } {
    const { bits, origin } = this.load(address, size, site);
    return { bits: bits === 0n ? 0n : 0xffff_ffff_ffff_ffffn, origin };
  }

  writeRange(
    address: bigint,
    size: number,
    bits: bigint,
    origin: OriginTag,
    site: ShadowSite,
  ): void {
    const all = bits === 0n ? 0n : (1n << BigInt(8 * size)) - 1n;
    this.store(address, size, all, origin, site);
  }

  private noAccess(address: bigint, sizeBytes: number, store: boolean, site: ShadowSite): void {
    this.report(site, { kind: 'no_access', store, address, sizeBytes, origin: 0 });
  }

  private report(
    { pc, instruction, use }: ShadowSite,
    what: Pick<ShadowEvent, 'kind' | 'store' | 'address' | 'sizeBytes' | 'origin'>,
  ): void {
    const sp = this.stackPointer;
    const tick = this.memory.view.getBigUint64(CELL.tick, true) + BigInt(instruction);
    this.hooks.report({ ...what, use, pc, tick, sp, stack: () => this.stack(pc, sp) });
  }

  // ---- What compiled code imports ----

  readonly imports = {
    storeDefined: (address: bigint, size: number, site: number) => {
      const at = BigInt.asUintN(64, address);
      const value = this.memory.bytes.slice(SCRATCH_RESULT, SCRATCH_RESULT + size);
      this.store(at, size, 0n, 0, this.sites[site]!);
      this.memory.write(at, value);
    },
    markSlowly: (address: bigint, size: number, pattern: bigint, origin: number) =>
      this.mark(BigInt.asUintN(64, address), size >>> 0, pattern, origin >>> 0),
    switchStack: (from: bigint, to: bigint) =>
      this.switchStack(BigInt.asUintN(64, from), BigInt.asUintN(64, to)),
    dropFrames: () => this.dropFrames(),
    shadowLoad: (address: bigint, size: number, site: number): number => {
      const { bits, origin } = this.load(BigInt.asUintN(64, address), size, this.sites[site]!);
      this.memory.bytes.set(bytesOf(bits, size), SCRATCH_RESULT);
      return origin;
    },
    shadowStore: (address: bigint, size: number, origin: number, site: number) => {
      const bits = bitsOf(this.memory.bytes.subarray(SCRATCH_RESULT, SCRATCH_RESULT + size));
      this.store(BigInt.asUintN(64, address), size, bits, origin >>> 0, this.sites[site]!);
    },
    shadowReadRange: (address: bigint, size: number, site: number): number => {
      const at = BigInt.asUintN(64, address);
      const { bits, origin } = this.readRange(at, size, this.sites[site]!);
      this.memory.view.setBigUint64(SCRATCH_RESULT, bits, true);
      return origin;
    },
    shadowWriteRange: (address: bigint, size: number, bits: bigint, origin: number, site: number) =>
      this.writeRange(BigInt.asUintN(64, address), size, bits, origin >>> 0, this.sites[site]!),
    shadowCheck: (origin: number, site: number) => this.check(origin >>> 0, this.sites[site]!),
  };
}
