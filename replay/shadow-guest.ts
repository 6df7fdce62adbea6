/**
 * What compiled code, the interpreter and events ask of the shadow state of a guest: shadow registers
 * of the current thread and of those that wait, its calls, its origins, and what is to be reported.
 */
import type { ShadowSite } from './compile-shadow.js';
import { bitsOf, bytesOf, type GuestMemory } from './guest-memory.js';
import { THREADED_SITE } from './handlers.js';
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
import { FAR_STACK_MOVE } from './support-shadow.js';

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

/** What a large move of the stack pointer means. */
export interface StackMove {
  /** What is left loses access, and what is won is undefined, as within one stack. */
  readonly marks: boolean;
  /** Keys of the two stacks, each of which has calls of its own; undefined when not known. */
  readonly from: unknown;
  readonly to: unknown;
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
  /** The stack pointer moved by much: whether from one stack to another. Absent: never. */
  moveStackFar?(from: bigint, to: bigint): StackMove;
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
/** In the place of a frame's address: the frames before are on another stack. It is above all others. */
const OTHER_STACK = 0xffff_ffff_ffff_ffffn;
/** Stacks on which nothing runs whose calls are remembered. */
const MAX_PARKED = 4096;

/** Offset and size of the parts in which a range is judged that a helper reads or writes: 4, 2 and 1 bytes. */
function* rangeParts(size: number): Generator<readonly [at: number, length: number]> {
  for (let at = 0; at < size;) {
    const length = size - at >= 4 ? 4 : size - at >= 2 ? 2 : 1;
    yield [at, length];
    at += length;
  }
}

export class ShadowGuest {
  readonly planes: ShadowPlanes;
  private readonly sites: ShadowSite[] = [];
  /** The calls under way on stacks that were left for another, by the stack's key. */
  private readonly parked = new Map<unknown, Uint8Array>();
  /** The signal whose handler is about to begin. */
  private delivered: { pc: bigint; sp: bigint; alternateStack: boolean } | undefined;

  constructor(
    private readonly memory: GuestMemory,
    readonly hooks: ShadowHooks,
    private readonly RSP: number,
    /** The site of an instruction of threaded code. */
    private readonly threadedSite: (address: number) => ShadowSite,
  ) {
    this.planes = new ShadowPlanes(memory);
    memory.view.setUint32(CELL.frames, FRAMES, true);
  }

  site(site: ShadowSite): number {
    this.sites.push(site);
    return this.sites.length - 1;
  }

  /** A site by its number, as compiled code gives it. */
  private siteOf(number: number): ShadowSite {
    const isThreaded = (number & THREADED_SITE) !== 0;
    return isThreaded ? this.threadedSite(number & ~THREADED_SITE) : this.sites[number]!;
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
    let live = sp;
    for (; at >= FRAMES && frames.length < limit; at -= FRAME_SIZE) {
      const returnAt = view.getBigUint64(at, true);
      if (returnAt === OTHER_STACK) live = 0n;
      if (returnAt < live || returnAt === OTHER_STACK) continue; // it has returned
      frames.push({ pc: view.getBigUint64(at + 8, true), sp: returnAt + 8n });
    }
    return frames;
  }

  /** As compiled code does: notes a call from `pc` that left its return address at `sp`. */
  pushFrame(sp: bigint, pc: bigint): void {
    this.dropReturned(sp + 1n);
    this.addFrame(sp, pc);
  }

  /** Drops the calls whose return address stands below the stack pointer. */
  private dropReturned(sp: bigint): void {
    const { view } = this.memory;
    let top = view.getUint32(CELL.frames, true);
    while (top > FRAMES && view.getBigUint64(top - FRAME_SIZE, true) < sp) top -= FRAME_SIZE;
    view.setUint32(CELL.frames, top, true);
  }

  private addFrame(sp: bigint, pc: bigint): void {
    const { view } = this.memory;
    const top = view.getUint32(CELL.frames, true);
    view.setBigUint64(top, sp, true);
    view.setBigUint64(top + 8, pc, true);
    view.setUint32(CELL.frames, top + FRAME_SIZE, true);
    if (top + FRAME_SIZE >= FRAMES + FRAME_SIZE * MAX_FRAMES) this.dropFrames();
  }

  /** A signal interrupts the thread at `pc`; where its handler's frame is, is told by `beginHandler`. */
  deliverSignal(pc: bigint, alternateStack: boolean): void {
    this.delivered = { pc, sp: this.stackPointer, alternateStack };
  }

  /**
   * The frame of a handler was written: first of all the address that the handler returns to, which is
   * a caller, as is the code that was interrupted.
   */
  beginHandler(address: bigint, frame: Uint8Array): void {
    if (!this.delivered || frame.length < 8) return;
    const { pc, sp, alternateStack } = this.delivered;
    this.delivered = undefined;
    this.pushFrame(sp - 8n, pc);
    if (alternateStack) this.addFrame(OTHER_STACK, 0n);
    this.pushFrame(address, bitsOf(frame.subarray(0, 8)) - 1n);
  }

  /** The calls from below the last signal handler that runs on a stack of its own; undefined without one. */
  private callsBelowHandler(): Uint8Array | undefined {
    const { bytes, view } = this.memory;
    for (let at = view.getUint32(CELL.frames, true) - FRAME_SIZE; at >= FRAMES; at -= FRAME_SIZE)
      if (view.getBigUint64(at, true) === OTHER_STACK) return bytes.slice(FRAMES, at);
    return undefined;
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

  /** As compiled code does when the stack pointer moves. */
  moveStack(before: bigint, after: bigint, pc: bigint): void {
    const grows = BigInt.asIntN(64, before - after);
    if (grows > FAR_STACK_MOVE || grows < -FAR_STACK_MOVE)
      this.moveStackFar(before, after, stackOrigin(pc));
    else this.markMove(before, after, stackOrigin(pc));
  }

  private markMove(before: bigint, after: bigint, origin: OriginTag): void {
    const grows = BigInt.asIntN(64, before - after);
    if (grows > 0n) this.planes.markUndefined(after - STACK_REDZONE, grows, origin);
    else this.planes.markNoAccess(before - STACK_REDZONE, -grows);
  }

  abiHint(base: bigint, size: number, pc: bigint): void {
    this.dropReturned(base + STACK_REDZONE);
    this.planes.markUndefined(base, BigInt(size), stackOrigin(pc));
  }

  private moveStackFar(before: bigint, after: bigint, origin: OriginTag): void {
    const move = this.hooks.moveStackFar?.(before, after);
    if (move?.marks ?? true) this.markMove(before, after, origin);
    if (move?.from === undefined || move.to === undefined || move.from === move.to) return;
    const { bytes, view } = this.memory;
    // A handler that is left by a jump is not come back to.
    const interrupted = this.callsBelowHandler();
    const calls = interrupted ?? this.parked.get(move.to) ?? new Uint8Array(0);
    this.parked.delete(move.to);
    if (!interrupted)
      this.parked.set(move.from, bytes.slice(FRAMES, view.getUint32(CELL.frames, true)));
    if (this.parked.size > MAX_PARKED) this.parked.delete(this.parked.keys().next().value);
    bytes.set(calls, FRAMES);
    view.setUint32(CELL.frames, FRAMES + calls.length, true);
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

  /** The shadow of a store; each 8 bytes of a vector that may not be written are reported. */
  store(address: bigint, size: number, bits: bigint, origin: OriginTag, site: ShadowSite): void {
    for (let at = 0; at < size; at += 8) {
      const length = Math.min(size - at, 8);
      const part = BigInt.asUintN(8 * length, bits >> BigInt(8 * at));
      if (this.planes.store(address + BigInt(at), length, part, origin) > 0)
        this.noAccess(address + BigInt(at), length, true, site);
    }
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
    let [undefinedBits, from] = [0n, 0];
    for (const [at, length] of rangeParts(size)) {
      const { bits, origin } = this.load(address + BigInt(at), length, site);
      if (undefinedBits === 0n) from = origin;
      undefinedBits |= bits;
    }
    return { bits: undefinedBits === 0n ? 0n : 0xffff_ffff_ffff_ffffn, origin: from };
  }

  writeRange(
    address: bigint,
    size: number,
    bits: bigint,
    origin: OriginTag,
    site: ShadowSite,
  ): void {
    for (const [at, length] of rangeParts(size)) {
      const all = bits === 0n ? 0n : (1n << BigInt(8 * length)) - 1n;
      this.store(address + BigInt(at), length, all, origin, site);
    }
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
      if (this.planes.firstNoAccess(at, BigInt(size)) === undefined)
        this.planes.markDefined(at, BigInt(size));
      else this.store(at, size, 0n, 0, this.siteOf(site));
      this.memory.write(at, value);
    },
    markSlowly: (address: bigint, size: number, pattern: bigint, origin: number) =>
      this.mark(BigInt.asUintN(64, address), size >>> 0, pattern, origin >>> 0),
    moveStackFar: (from: bigint, to: bigint, origin: number) =>
      this.moveStackFar(BigInt.asUintN(64, from), BigInt.asUintN(64, to), origin >>> 0),
    dropFrames: () => this.dropFrames(),
    shadowLoad: (address: bigint, size: number, site: number): number => {
      const simple = this.planes.loadSimple(address, size, SCRATCH_RESULT);
      if (simple >= 0) return simple;
      const { bits, origin } = this.load(BigInt.asUintN(64, address), size, this.siteOf(site));
      this.memory.bytes.set(bytesOf(bits, size), SCRATCH_RESULT);
      return origin;
    },
    shadowStore: (address: bigint, size: number, origin: number, site: number) => {
      if (this.planes.storeSimple(address, size, SCRATCH_RESULT, origin >>> 0)) return;
      const bits = bitsOf(this.memory.bytes.subarray(SCRATCH_RESULT, SCRATCH_RESULT + size));
      this.store(BigInt.asUintN(64, address), size, bits, origin >>> 0, this.siteOf(site));
    },
    shadowReadRange: (address: bigint, size: number, site: number): number => {
      const at = BigInt.asUintN(64, address);
      const { bits, origin } = this.readRange(at, size, this.siteOf(site));
      this.memory.view.setBigUint64(SCRATCH_RESULT, bits, true);
      return origin;
    },
    shadowWriteRange: (address: bigint, size: number, bits: bigint, origin: number, site: number) =>
      this.writeRange(BigInt.asUintN(64, address), size, bits, origin >>> 0, this.siteOf(site)),
    shadowCheck: (origin: number, site: number) => this.check(origin >>> 0, this.siteOf(site)),
  };
}
