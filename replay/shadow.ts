/**
 * Shadow state beside the guest's: for each byte of memory whether the program may access it and which
 * of its bits are defined, and where an undefined value came from. The operations that analyses apply
 * when an event changes what is known; compiled code does its part by itself (compile-shadow.ts).
 *
 * "Defined" and "accessible" are Memcheck's terms (Valgrind manual, section 4.5).
 */

/**
 * Where an undefined value came from: number of the origin times 4, plus its kind; 0 is unknown.
 * A stack origin's number is the low 30 bits of the address of the instruction that made room on the
 * stack, or of the function that was called; the others are given out by analyses.
 */
export type OriginTag = number;
export const ORIGIN_KIND = { stack: 1, heap: 2, request: 3 } as const;

/** Bytes below the stack pointer that a function may use (System V ABI, 3.2.2). */
export const STACK_REDZONE = 128n;

/** The origin of what an instruction makes room for on the stack. */
export const stackOrigin = (pc: bigint): OriginTag =>
  4 * Number(BigInt.asUintN(30, pc)) + ORIGIN_KIND.stack;

/** Memory of one process image, as seen by an analysis. Sizes are in bytes; ranges may wrap nowhere. */
export interface ShadowMemory {
  /** The program may not touch the range. */
  markNoAccess(address: bigint, size: bigint): void;
  /** The range is accessible, all its bits undefined. */
  markUndefined(address: bigint, size: bigint, origin: OriginTag): void;
  /** The range is accessible and defined. */
  markDefined(address: bigint, size: bigint): void;
  /** What is accessible of the range becomes defined; what is not stays so. */
  markDefinedIfAccessible(address: bigint, size: bigint): void;
  /** Copies access, definedness and origins, as when the kernel moves a mapping or realloc a block. */
  copyShadow(from: bigint, to: bigint, size: bigint): void;
  /** The first byte of the range that is not accessible, or undefined if there is none. */
  firstNoAccess(address: bigint, size: bigint): bigint | undefined;
  /**
   * The first byte of the range that is not accessible or not wholly defined, and of what origin its
   * value is; undefined if there is none.
   */
  firstUndefined(
    address: bigint,
    size: bigint,
  ):
    | { readonly address: bigint; readonly accessible: boolean; readonly origin: OriginTag }
    | undefined;
  /** As `firstUndefined` for a string with its final zero, of at most `maxSize` bytes. */
  firstUndefinedOfString(
    address: bigint,
    maxSize: bigint,
  ):
    | { readonly address: bigint; readonly accessible: boolean; readonly origin: OriginTag }
    | undefined;
  /** Undefined bits of the range, a set bit for each; undefined when it is not all accessible. */
  undefinedBits(address: bigint, size: number): Uint8Array | undefined;
  /** Sets which bits are undefined, of accessible memory. */
  setUndefinedBits(address: bigint, bits: Uint8Array, origin: OriginTag): void;
  /** Contents of guest memory: a copy. */
  readMemory(address: bigint, size: number): Uint8Array;
  /**
   * Visits the 8-byte words, at addresses that are multiples of 8 within the range, that are
   * accessible and wholly defined, as a leak check does: with each word's address and value.
   */
  visitDefinedWords(
    address: bigint,
    size: bigint,
    visit: (address: bigint, value: bigint) => void,
  ): void;
  /** Ranges of memory that have any accessible byte, in rising order, cut at multiples of 64 KiB. */
  accessibleRanges(): { readonly address: bigint; readonly size: bigint }[];
}

/** Guest registers of a thread with their shadow. Offsets are those of VEX's guest state. */
export interface ShadowRegisters {
  /** The bytes of the guest state from `offset` become defined. */
  markRegistersDefined(thread: number, offset: number, size: number): void;
  /** Origin of the first undefined bit among the bytes of the guest state, or undefined. */
  firstUndefinedRegister(
    thread: number,
    offset: number,
    size: number,
  ): { readonly origin: OriginTag } | undefined;
  /** Value of 8 bytes of the guest state. */
  readRegister(thread: number, offset: number): bigint;
  /** Number of every live thread. */
  readonly threads: readonly number[];
  /** Offset of a register by its name in the manifest, such as `RSP`. */
  registerOffset(name: string): number;
}
