/**
 * The meaning of VEX's scalar floating-point operations, on bit patterns held as bigints.
 *
 * The facts to match are those of the host that recorded: results are rounded to nearest whatever
 * rounding mode an arithmetic operation carries (VEX's amd64 back end ignores it there), while
 * conversions and rounding to an integer obey it; NaNs follow x86: the first NaN operand, made
 * quiet, and the negative default NaN when the operation itself is invalid.
 */
import { signed, unsigned, type Operations } from './eval-integer.js';
import { TYPE } from './ir.js';

const { I32, I64, F32, F64 } = TYPE;

const scratch = new DataView(new ArrayBuffer(8));

/** Parameters of a binary format, with its conversions to and from a JavaScript number. */
export interface FloatFormat {
  readonly bits: number;
  readonly quietBit: bigint;
  readonly defaultNaN: bigint;
  /** The number with these bits; any NaN is NaN. */
  decode(bits: bigint): number;
  /** The bits of a number rounded to nearest; not for NaN. */
  encode(value: number): bigint;
}

export const FORMAT64: FloatFormat = {
  bits: 64,
  quietBit: 1n << 51n,
  defaultNaN: 0xfff8000000000000n,
  decode(bits) {
    scratch.setBigUint64(0, bits);
    return scratch.getFloat64(0);
  },
  encode(value) {
    scratch.setFloat64(0, value);
    return scratch.getBigUint64(0);
  },
};

export const FORMAT32: FloatFormat = {
  bits: 32,
  quietBit: 1n << 22n,
  defaultNaN: 0xffc00000n,
  decode(bits) {
    scratch.setUint32(0, Number(bits));
    return scratch.getFloat32(0);
  },
  encode(value) {
    scratch.setFloat32(0, value);
    return BigInt(scratch.getUint32(0));
  },
};

/** The result of an operation on `args` whose numeric value is `value`. */
export function settle(format: FloatFormat, value: number, ...args: bigint[]): bigint {
  if (!Number.isNaN(value)) return format.encode(value);
  const culprit = args.find((bits) => Number.isNaN(format.decode(bits)));
  return culprit === undefined ? format.defaultNaN : culprit | format.quietBit;
}

/**
 * Arithmetic of the format. Doing it in double precision and rounding once more is exact for
 * single precision: 53 ≥ 2·24 + 2 bits.
 */
export const ARITHMETIC: Record<'Add' | 'Sub' | 'Mul' | 'Div', (a: number, b: number) => number> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
};

/** x86: false whenever either is a NaN, and then, as for equal operands, the second is taken. */
export function minimum(format: FloatFormat, a: bigint, b: bigint): bigint {
  return format.decode(a) < format.decode(b) ? a : b;
}
export function maximum(format: FloatFormat, a: bigint, b: bigint): bigint {
  return format.decode(a) > format.decode(b) ? a : b;
}

/** The largest integer magnitude with a fractional part is below this. */
const ALL_INTEGERS = 2 ** 52;

/** Rounds to an integer; mode 0 nearest even, 1 down, 2 up, 3 towards zero. Keeps the sign of zero. */
export function roundToInteger(value: number, mode: number): number {
  if (!Number.isFinite(value) || Math.abs(value) >= ALL_INTEGERS) return value;
  const down = Math.floor(value);
  let rounded: number;
  if (mode === 1) rounded = down;
  else if (mode === 2) rounded = Math.ceil(value);
  else if (mode === 3) rounded = Math.trunc(value);
  else {
    const fraction = value - down;
    rounded = fraction > 0.5 || (fraction === 0.5 && down % 2 !== 0) ? down + 1 : down;
  }
  return rounded === 0 ? (value < 0 || Object.is(value, -0) ? -0 : 0) : rounded;
}

/** Converts to a signed integer; what does not fit, or is a NaN, gives the x86 "integer indefinite". */
export function toInteger(value: number, mode: number, bits: number): bigint {
  const indefinite = 1n << BigInt(bits - 1);
  const rounded = roundToInteger(value, mode);
  const limit = 2 ** (bits - 1);
  return rounded >= -limit && rounded < limit ? unsigned(bits, BigInt(rounded)) : indefinite;
}

/** The neighbouring bit pattern of a finite number, away from or towards zero. */
const larger = (bits: bigint): bigint => bits + 1n;
const smaller = (bits: bigint): bigint => bits - 1n;

/**
 * Corrects a nearest rounding to a directed one.
 * @param bits - the exact value rounded to nearest
 * @param order - sign of (rounded − exact)
 */
function direct(format: FloatFormat, bits: bigint, order: number, mode: number): bigint {
  if (order === 0) return bits;
  const sign = 1n << BigInt(format.bits - 1);
  const negative = (bits & sign) !== 0n;
  const away = order > 0 !== negative; // the magnitude was rounded up
  const wantAway = mode === 3 ? false : (mode === 2) !== negative;
  if (away === wantAway) return bits;
  return wantAway ? larger(bits) : smaller(bits);
}

/**
 * A signed integer as a float, rounded by `mode`. For single precision the integer must have at
 * most 53 bits, so that it is rounded only once.
 */
export function fromInteger(format: FloatFormat, value: bigint, mode: number): bigint {
  const nearest = format.encode(Number(value));
  if (mode === 0) return nearest;
  const rounded = BigInt(format.decode(nearest));
  return direct(format, nearest, rounded === value ? 0 : rounded > value ? 1 : -1, mode);
}

/** Double to single precision, rounded by `mode`. */
export function narrow(bits: bigint, mode: number): bigint {
  const value = FORMAT64.decode(bits);
  if (Number.isNaN(value))
    return ((bits >> 32n) & 0x80000000n) | 0x7fc00000n | ((bits >> 29n) & 0x3fffffn);
  const nearest = FORMAT32.encode(value);
  if (mode === 0 || !Number.isFinite(value)) return nearest;
  const rounded = FORMAT32.decode(nearest);
  return direct(FORMAT32, nearest, Math.sign(rounded - value) || 0, mode);
}

/** Single to double precision. */
export function widen(bits: bigint): bigint {
  const value = FORMAT32.decode(bits);
  if (Number.isNaN(value))
    return ((bits & 0x80000000n) << 32n) | 0x7ff8000000000000n | ((bits & 0x3fffffn) << 29n);
  return FORMAT64.encode(value);
}

/** 0x45 unordered, 1 less, 0 greater, 0x40 equal. */
function compare(format: FloatFormat, a: bigint, b: bigint): bigint {
  const x = format.decode(a);
  const y = format.decode(b);
  if (x < y) return 1n;
  if (x > y) return 0n;
  return x === y ? 0x40n : 0x45n;
}

const modeOf = (rounding: bigint): number => Number(rounding & 3n);

function build(): Operations {
  const ops: Operations = {};
  for (const [name, operate] of Object.entries(ARITHMETIC)) {
    ops[`${name}F64`] = {
      args: [I32, F64, F64],
      result: F64,
      evaluate: (_mode, a, b) =>
        settle(FORMAT64, operate(FORMAT64.decode(a), FORMAT64.decode(b)), a, b),
    };
  }
  ops['SqrtF64'] = {
    args: [I32, F64],
    result: F64,
    evaluate: (_mode, a) => settle(FORMAT64, Math.sqrt(FORMAT64.decode(a)), a),
  };
  for (const [suffix, type, format] of [
    ['F64', F64, FORMAT64],
    ['F32', F32, FORMAT32],
  ] as const) {
    const sign = 1n << BigInt(format.bits - 1);
    ops[`Neg${suffix}`] = { args: [type], result: type, evaluate: (a) => a ^ sign };
    ops[`Abs${suffix}`] = { args: [type], result: type, evaluate: (a) => a & ~sign };
    ops[`Cmp${suffix}`] = {
      args: [type, type],
      result: I32,
      evaluate: (a, b) => compare(format, a, b),
    };
    ops[`Round${suffix}toInt`] = {
      args: [I32, type],
      result: type,
      evaluate: (mode, a) => settle(format, roundToInteger(format.decode(a), modeOf(mode)), a),
    };
  }
  ops['F64toI32S'] = {
    args: [I32, F64],
    result: I32,
    evaluate: (mode, a) => toInteger(FORMAT64.decode(a), modeOf(mode), 32),
  };
  ops['F64toI64S'] = {
    args: [I32, F64],
    result: I64,
    evaluate: (mode, a) => toInteger(FORMAT64.decode(a), modeOf(mode), 64),
  };
  ops['I32StoF64'] = {
    args: [I32],
    result: F64,
    evaluate: (a) => FORMAT64.encode(Number(signed(32, a))),
  };
  ops['I64StoF64'] = {
    args: [I32, I64],
    result: F64,
    evaluate: (mode, a) => fromInteger(FORMAT64, signed(64, a), modeOf(mode)),
  };
  ops['F32toF64'] = { args: [F32], result: F64, evaluate: widen };
  ops['F64toF32'] = {
    args: [I32, F64],
    result: F32,
    evaluate: (mode, a) => narrow(a, modeOf(mode)),
  };
  const same = (a: bigint): bigint => a;
  ops['ReinterpF64asI64'] = { args: [F64], result: I64, evaluate: same };
  ops['ReinterpI64asF64'] = { args: [I64], result: F64, evaluate: same };
  ops['ReinterpF32asI32'] = { args: [F32], result: I32, evaluate: same };
  ops['ReinterpI32asF32'] = { args: [I32], result: F32, evaluate: same };
  return ops;
}

export const FLOAT_OPERATIONS: Operations = build();
