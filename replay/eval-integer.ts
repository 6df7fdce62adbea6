/**
 * The meaning of VEX's integer operations, on bit patterns held as non-negative bigints. This is
 * the plain definition; `lower-integer.ts` compiles the same operations.
 */
import { TYPE, type Type } from './ir.js';

/** One operation: types of operands and result, and its value. */
export interface Operation {
  readonly args: readonly Type[];
  readonly result: Type;
  readonly evaluate: (...args: bigint[]) => bigint;
}
export type Operations = Record<string, Operation>;

export const unsigned = BigInt.asUintN;
export const signed = BigInt.asIntN;

const { I1, I8, I16, I32, I64, I128 } = TYPE;
const WIDTHS = [
  [8, I8],
  [16, I16],
  [32, I32],
  [64, I64],
] as const;

const bool = (condition: boolean): bigint => (condition ? 1n : 0n);

/** x86 shifts narrow values in 32-bit registers and takes the count modulo 32 or 64. */
function shiftOps(ops: Operations, bits: number, type: Type): void {
  const countMask = bits === 64 ? 63n : 31n;
  ops[`Shl${bits}`] = {
    args: [type, I8],
    result: type,
    evaluate: (a, n) => unsigned(bits, a << (n & countMask)),
  };
  ops[`Shr${bits}`] = { args: [type, I8], result: type, evaluate: (a, n) => a >> (n & countMask) };
  ops[`Sar${bits}`] = {
    args: [type, I8],
    result: type,
    evaluate: (a, n) => unsigned(bits, signed(bits, a) >> (n & countMask)),
  };
}

/** Bits before the highest set bit; `bits` for zero. */
const leadingZeros = (bits: number, a: bigint): bigint =>
  BigInt(a === 0n ? bits : bits - a.toString(2).length);

/** Bits after the lowest set bit; `bits` for zero. */
const trailingZeros = (bits: number, a: bigint): bigint =>
  a === 0n ? BigInt(bits) : BigInt((a & -a).toString(2).length - 1);

const ones = (a: bigint): bigint => BigInt(a.toString(2).replaceAll('0', '').length);

/** Quotient in the low, remainder in the high half; 0 for a division by zero, which faults natively. */
function divide(bits: number, isSigned: boolean): (a: bigint, b: bigint) => bigint {
  return (a, b) => {
    if (b === 0n) return 0n;
    const dividend = isSigned ? signed(2 * bits, a) : a;
    const divisor = isSigned ? signed(bits, b) : b;
    return (
      (unsigned(bits, dividend % divisor) << BigInt(bits)) | unsigned(bits, dividend / divisor)
    );
  };
}

function build(): Operations {
  const ops: Operations = {};
  for (const [bits, type] of WIDTHS) {
    const binary = (name: string, evaluate: (a: bigint, b: bigint) => bigint): void => {
      ops[`${name}${bits}`] = {
        args: [type, type],
        result: type,
        evaluate: (a, b) => unsigned(bits, evaluate(a, b)),
      };
    };
    binary('Add', (a, b) => a + b);
    binary('Sub', (a, b) => a - b);
    binary('Mul', (a, b) => a * b);
    binary('And', (a, b) => a & b);
    binary('Or', (a, b) => a | b);
    binary('Xor', (a, b) => a ^ b);
    shiftOps(ops, bits, type);
    for (const prefix of ['CmpEQ', 'CasCmpEQ']) {
      ops[`${prefix}${bits}`] = {
        args: [type, type],
        result: I1,
        evaluate: (a, b) => bool(a === b),
      };
    }
    for (const prefix of ['CmpNE', 'CasCmpNE', 'ExpCmpNE']) {
      ops[`${prefix}${bits}`] = {
        args: [type, type],
        result: I1,
        evaluate: (a, b) => bool(a !== b),
      };
    }
    ops[`CmpNEZ${bits}`] = { args: [type], result: I1, evaluate: (a) => bool(a !== 0n) };
    ops[`Not${bits}`] = { args: [type], result: type, evaluate: (a) => unsigned(bits, ~a) };
    ops[`Left${bits}`] = { args: [type], result: type, evaluate: (a) => a | unsigned(bits, -a) };
    const double = [I16, I32, I64, I128][WIDTHS.findIndex((w) => w[0] === bits)]!;
    ops[`MullU${bits}`] = { args: [type, type], result: double, evaluate: (a, b) => a * b };
    ops[`MullS${bits}`] = {
      args: [type, type],
      result: double,
      evaluate: (a, b) => unsigned(2 * bits, signed(bits, a) * signed(bits, b)),
    };
    if (bits < 32) continue;
    const compare = (name: string, holds: (a: bigint, b: bigint) => boolean): void => {
      ops[`${name}${bits}U`] = {
        args: [type, type],
        result: I1,
        evaluate: (a, b) => bool(holds(a, b)),
      };
      ops[`${name}${bits}S`] = {
        args: [type, type],
        result: I1,
        evaluate: (a, b) => bool(holds(signed(bits, a), signed(bits, b))),
      };
    };
    compare('CmpLT', (a, b) => a < b);
    compare('CmpLE', (a, b) => a <= b);
    ops[`CmpwNEZ${bits}`] = {
      args: [type],
      result: type,
      evaluate: (a) => (a === 0n ? 0n : unsigned(bits, -1n)),
    };
    for (const suffix of ['', 'Nat']) {
      ops[`Clz${suffix}${bits}`] = {
        args: [type],
        result: type,
        evaluate: (a) => leadingZeros(bits, a),
      };
      ops[`Ctz${suffix}${bits}`] = {
        args: [type],
        result: type,
        evaluate: (a) => trailingZeros(bits, a),
      };
    }
    ops[`PopCount${bits}`] = { args: [type], result: type, evaluate: (a) => ones(a) };
  }
  for (const isSigned of [false, true]) {
    const sign = isSigned ? 'S' : 'U';
    ops[`DivMod${sign}64to32`] = { args: [I64, I32], result: I64, evaluate: divide(32, isSigned) };
    ops[`DivMod${sign}128to64`] = {
      args: [I128, I64],
      result: I128,
      evaluate: divide(64, isSigned),
    };
  }
  ops['Max32U'] = { args: [I32, I32], result: I32, evaluate: (a, b) => (a > b ? a : b) };

  // Conversions between widths.
  for (const [from, fromType] of WIDTHS) {
    for (const [to, toType] of WIDTHS) {
      if (to <= from) continue;
      ops[`${from}Uto${to}`] = { args: [fromType], result: toType, evaluate: (a) => a };
      ops[`${from}Sto${to}`] = {
        args: [fromType],
        result: toType,
        evaluate: (a) => unsigned(to, signed(from, a)),
      };
      ops[`${to}to${from}`] = {
        args: [toType],
        result: fromType,
        evaluate: (a) => unsigned(from, a),
      };
    }
  }
  for (const [half, halfType, wholeType] of [
    [8, I8, I16],
    [16, I16, I32],
    [32, I32, I64],
    [64, I64, I128],
  ] as const) {
    const shift = BigInt(half);
    ops[`${2 * half}to${half}`] = {
      args: [wholeType],
      result: halfType,
      evaluate: (a) => unsigned(half, a),
    };
    ops[`${2 * half}HIto${half}`] = {
      args: [wholeType],
      result: halfType,
      evaluate: (a) => a >> shift,
    };
    ops[`${half}HLto${2 * half}`] = {
      args: [halfType, halfType],
      result: wholeType,
      evaluate: (hi, lo) => (hi << shift) | lo,
    };
  }
  ops['Not1'] = { args: [I1], result: I1, evaluate: (a) => a ^ 1n };
  ops['And1'] = { args: [I1, I1], result: I1, evaluate: (a, b) => a & b };
  ops['Or1'] = { args: [I1, I1], result: I1, evaluate: (a, b) => a | b };
  ops['32to1'] = { args: [I32], result: I1, evaluate: (a) => a & 1n };
  ops['64to1'] = { args: [I64], result: I1, evaluate: (a) => a & 1n };
  for (const [bits, type] of WIDTHS) {
    if (bits !== 16) ops[`1Uto${bits}`] = { args: [I1], result: type, evaluate: (a) => a };
    ops[`1Sto${bits}`] = { args: [I1], result: type, evaluate: (a) => unsigned(bits, -a) };
  }
  return ops;
}

export const INTEGER_OPERATIONS: Operations = build();
