/**
 * The meaning of VEX's vector operations (64, 128 and 256 bits), lane by lane on bigints. Lane 0 is
 * the least significant. Where VEX leaves an operand out of range undefined, x86 decides.
 */
import {
  FORMAT32,
  FORMAT64,
  ARITHMETIC,
  fromInteger,
  maximum,
  minimum,
  settle,
  toInteger,
} from './eval-float.js';
import { signed, unsigned, type Operations } from './eval-integer.js';
import { TYPE, type Type } from './ir.js';

const { I8, I16, I32, I64, V128, V256 } = TYPE;

/** Splits a vector into `count` lanes of `bits` bits, lane 0 first. */
export function lanesOf(vector: bigint, bits: number, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => unsigned(bits, vector >> BigInt(i * bits)));
}

export function joinLanes(lanes: readonly bigint[], bits: number): bigint {
  return lanes.reduceRight((all, lane) => (all << BigInt(bits)) | unsigned(bits, lane), 0n);
}

const ones = (bits: number): bigint => (1n << BigInt(bits)) - 1n;
const clamp = (value: bigint, low: bigint, high: bigint): bigint =>
  value < low ? low : value > high ? high : value;
const clampSigned = (bits: number, value: bigint): bigint =>
  clamp(value, -(1n << BigInt(bits - 1)), (1n << BigInt(bits - 1)) - 1n);
const clampUnsigned = (bits: number, value: bigint): bigint => clamp(value, 0n, ones(bits));

type Lane2 = (a: bigint, b: bigint, bits: number) => bigint;

/** Lane-wise operations on unsigned lanes, and on lanes taken as signed. */
const PLAIN: Record<string, Lane2> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  CmpEQ: (a, b, bits) => (a === b ? ones(bits) : 0n),
};
const SIGNED: Record<string, Lane2> = {
  QAdd: (a, b, bits) => clampSigned(bits, a + b),
  QSub: (a, b, bits) => clampSigned(bits, a - b),
  CmpGT: (a, b, bits) => (a > b ? ones(bits) : 0n),
  Max: (a, b) => (a > b ? a : b),
  Min: (a, b) => (a < b ? a : b),
  MulHi: (a, b, bits) => (a * b) >> BigInt(bits),
};
const UNSIGNED: Record<string, Lane2> = {
  QAdd: (a, b, bits) => clampUnsigned(bits, a + b),
  QSub: (a, b, bits) => clampUnsigned(bits, a - b),
  Max: (a, b) => (a > b ? a : b),
  Min: (a, b) => (a < b ? a : b),
  MulHi: (a, b, bits) => (a * b) >> BigInt(bits),
  Avg: (a, b) => (a + b + 1n) >> 1n,
};

function integerLanes(ops: Operations, total: number, type: Type): void {
  for (const bits of [8, 16, 32, 64]) {
    const count = total / bits;
    if (count < 2) continue;
    const shape = `${bits}x${count}`;
    const binary = (name: string, evaluate: (a: bigint, b: bigint) => bigint): void => {
      ops[name] = {
        args: [type, type],
        result: type,
        evaluate: (a, b) => {
          const right = lanesOf(b, bits, count);
          return joinLanes(
            lanesOf(a, bits, count).map((lane, i) => evaluate(lane, right[i]!)),
            bits,
          );
        },
      };
    };
    for (const [name, lane] of Object.entries(PLAIN))
      binary(`${name}${shape}`, (a, b) => lane(a, b, bits));
    for (const [name, lane] of Object.entries(SIGNED)) {
      binary(`${name}${bits}Sx${count}`, (a, b) => lane(signed(bits, a), signed(bits, b), bits));
    }
    for (const [name, lane] of Object.entries(UNSIGNED))
      binary(`${name}${bits}Ux${count}`, (a, b) => lane(a, b, bits));
    ops[`CmpNEZ${shape}`] = {
      args: [type],
      result: type,
      evaluate: (a) =>
        joinLanes(
          lanesOf(a, bits, count).map((lane) => (lane === 0n ? 0n : ones(bits))),
          bits,
        ),
    };

    // Shifts of all lanes by one count: too large a count clears, or fills with the sign.
    const width = BigInt(bits);
    const shift = (name: string, evaluate: (lane: bigint, n: bigint) => bigint): void => {
      ops[`${name}${shape}`] = {
        args: [type, I8],
        result: type,
        evaluate: (a, n) =>
          joinLanes(
            lanesOf(a, bits, count).map((lane) => evaluate(lane, n)),
            bits,
          ),
      };
    };
    shift('ShlN', (lane, n) => (n < width ? lane << n : 0n));
    shift('ShrN', (lane, n) => (n < width ? lane >> n : 0n));
    if (bits === 8 || bits === 64) shift('SarN', (lane, n) => signed(bits, lane) >> (n % width));
    else shift('SarN', (lane, n) => signed(bits, lane) >> (n < width ? n : width - 1n));

    // The left operand gives the odd lanes of the result.
    const interleave = (name: string, first: number): void => {
      ops[`${name}${shape}`] = {
        args: [type, type],
        result: type,
        evaluate: (a, b) => {
          const left = lanesOf(a, bits, count);
          const right = lanesOf(b, bits, count);
          return joinLanes(
            left.map((_, i) => (i % 2 ? left : right)[first + (i >> 1)]!),
            bits,
          );
        },
      };
    };
    interleave('InterleaveLO', 0);
    interleave('InterleaveHI', count / 2);

    // The right operand gives the low half of the result.
    const half = (a: bigint, b: bigint): bigint[] => [
      ...lanesOf(b, bits, count),
      ...lanesOf(a, bits, count),
    ];
    const narrowing = (name: string, evaluate: (lane: bigint) => bigint): void => {
      ops[name] = {
        args: [type, type],
        result: type,
        evaluate: (a, b) => joinLanes(half(a, b).map(evaluate), bits / 2),
      };
    };
    if (bits > 8) {
      const to = bits / 2;
      narrowing(`QNarrowBin${bits}Sto${to}Sx${2 * count}`, (lane) =>
        clampSigned(to, signed(bits, lane)),
      );
      narrowing(`QNarrowBin${bits}Sto${to}Ux${2 * count}`, (lane) =>
        clampUnsigned(to, signed(bits, lane)),
      );
      narrowing(`NarrowBin${bits}to${to}x${2 * count}`, (lane) => lane);
    }
    const cat = (name: string, odd: number): void => {
      ops[`${name}${shape}`] = {
        args: [type, type],
        result: type,
        evaluate: (a, b) =>
          joinLanes(
            half(a, b).filter((_, i) => i % 2 === odd),
            bits,
          ),
      };
    };
    cat('CatEvenLanes', 0);
    cat('CatOddLanes', 1);
  }
}

function permutations(ops: Operations): void {
  const permute = (
    name: string,
    type: Type,
    bits: number,
    count: number,
    zeroing: boolean,
  ): void => {
    ops[name] = {
      args: [type, type],
      result: type,
      evaluate: (a, b) => {
        const source = lanesOf(a, bits, count);
        return joinLanes(
          lanesOf(b, bits, count).map((index) =>
            zeroing && index & 0x80n ? 0n : source[Number(index) & (count - 1)]!,
          ),
          bits,
        );
      },
    };
  };
  permute('PermOrZero8x8', I64, 8, 8, true);
  permute('PermOrZero8x16', V128, 8, 16, true);
  permute('Perm32x4', V128, 32, 4, false);
  permute('Perm32x8', V256, 32, 8, false);

  const signBits = (count: number) => (a: bigint) =>
    joinLanes(
      lanesOf(a, 8, count).map((lane) => lane >> 7n),
      1,
    );
  ops['GetMSBs8x8'] = { args: [I64], result: I8, evaluate: signBits(8) };
  ops['GetMSBs8x16'] = { args: [V128], result: I16, evaluate: signBits(16) };

  // Unsigned bytes times signed bytes, neighbouring products added with saturation (pmaddubsw).
  ops['PwExtUSMulQAdd8x16'] = {
    args: [V128, V128],
    result: V128,
    evaluate: (a, b) => {
      const left = lanesOf(a, 8, 16);
      const right = lanesOf(b, 8, 16).map((lane) => signed(8, lane));
      const products = left.map((lane, i) => lane * right[i]!);
      return joinLanes(
        Array.from({ length: 8 }, (_, i) =>
          clampSigned(16, products[2 * i]! + products[2 * i + 1]!),
        ),
        16,
      );
    },
  };
}

function packing(ops: Operations): void {
  const low = (bits: number) => (a: bigint) => unsigned(bits, a);
  ops['V128to64'] = { args: [V128], result: I64, evaluate: low(64) };
  ops['V128HIto64'] = { args: [V128], result: I64, evaluate: (a) => a >> 64n };
  ops['V128to32'] = { args: [V128], result: I32, evaluate: low(32) };
  ops['64HLtoV128'] = { args: [I64, I64], result: V128, evaluate: (hi, lo) => (hi << 64n) | lo };
  ops['64UtoV128'] = { args: [I64], result: V128, evaluate: (a) => a };
  ops['32UtoV128'] = { args: [I32], result: V128, evaluate: (a) => a };
  ops['SetV128lo64'] = {
    args: [V128, I64],
    result: V128,
    evaluate: (a, lo) => ((a >> 64n) << 64n) | lo,
  };
  ops['SetV128lo32'] = {
    args: [V128, I32],
    result: V128,
    evaluate: (a, lo) => ((a >> 32n) << 32n) | lo,
  };
  for (const zeroed of [64, 96, 112, 120]) {
    ops[`ZeroHI${zeroed}ofV128`] = { args: [V128], result: V128, evaluate: low(128 - zeroed) };
  }
  ops['V256toV128_0'] = { args: [V256], result: V128, evaluate: low(128) };
  ops['V256toV128_1'] = { args: [V256], result: V128, evaluate: (a) => a >> 128n };
  ops['V128HLtoV256'] = {
    args: [V128, V128],
    result: V256,
    evaluate: (hi, lo) => (hi << 128n) | lo,
  };
  ops['64x4toV256'] = {
    args: [I64, I64, I64, I64],
    result: V256,
    evaluate: (a, b, c, d) => joinLanes([d, c, b, a], 64),
  };
  for (const i of [0, 1, 2, 3]) {
    ops[`V256to64_${i}`] = {
      args: [V256],
      result: I64,
      evaluate: (a) => unsigned(64, a >> BigInt(64 * i)),
    };
  }
  for (const [name, type, bits] of [
    ['V128', V128, 128],
    ['V256', V256, 256],
  ] as const) {
    ops[`Not${name}`] = { args: [type], result: type, evaluate: (a) => a ^ ones(bits) };
    ops[`And${name}`] = { args: [type, type], result: type, evaluate: (a, b) => a & b };
    ops[`Or${name}`] = { args: [type, type], result: type, evaluate: (a, b) => a | b };
    ops[`Xor${name}`] = { args: [type, type], result: type, evaluate: (a, b) => a ^ b };
  }
}

/** Comparisons whose result is a mask; false for NaNs except `CmpUN`. */
const COMPARISONS: Record<string, (a: number, b: number) => boolean> = {
  CmpEQ: (a, b) => a === b,
  CmpLT: (a, b) => a < b,
  CmpLE: (a, b) => a <= b,
  CmpUN: (a, b) => Number.isNaN(a) || Number.isNaN(b),
};

function floatLanes(ops: Operations): void {
  for (const [bits, format] of [
    [32, FORMAT32],
    [64, FORMAT64],
  ] as const) {
    const lane: Record<string, (a: bigint, b: bigint) => bigint> = {
      Max: (a, b) => maximum(format, a, b),
      Min: (a, b) => minimum(format, a, b),
    };
    for (const [name, operate] of Object.entries(ARITHMETIC)) {
      lane[name] = (a, b) => settle(format, operate(format.decode(a), format.decode(b)), a, b);
    }
    for (const [name, holds] of Object.entries(COMPARISONS)) {
      lane[name] = (a, b) => (holds(format.decode(a), format.decode(b)) ? ones(bits) : 0n);
    }
    const sqrt = (a: bigint): bigint => settle(format, Math.sqrt(format.decode(a)), a);

    for (const [total, type] of [
      [128, V128],
      [256, V256],
    ] as const) {
      const count = total / bits;
      const shape = `${bits}Fx${count}`;
      for (const [name, evaluate] of Object.entries(lane)) {
        const all = (a: bigint, b: bigint): bigint => {
          const right = lanesOf(b, bits, count);
          return joinLanes(
            lanesOf(a, bits, count).map((x, i) => evaluate(x, right[i]!)),
            bits,
          );
        };
        if (name in ARITHMETIC)
          ops[`${name}${shape}`] = {
            args: [I32, type, type],
            result: type,
            evaluate: (_mode, a, b) => all(a, b),
          };
        else ops[`${name}${shape}`] = { args: [type, type], result: type, evaluate: all };
      }
      const all = (a: bigint): bigint => joinLanes(lanesOf(a, bits, count).map(sqrt), bits);
      ops[`Sqrt${shape}`] =
        type === V128
          ? { args: [I32, type], result: type, evaluate: (_mode, a) => all(a) }
          : { args: [type], result: type, evaluate: all };
    }

    // Lowest lane only; the others come from the first operand.
    const shape = `${bits}F0x${128 / bits}`;
    const upper = (a: bigint): bigint => (a >> BigInt(bits)) << BigInt(bits);
    for (const [name, evaluate] of Object.entries(lane)) {
      ops[`${name}${shape}`] = {
        args: [V128, V128],
        result: V128,
        evaluate: (a, b) => upper(a) | evaluate(unsigned(bits, a), unsigned(bits, b)),
      };
    }
    ops[`Sqrt${shape}`] = {
      args: [V128],
      result: V128,
      evaluate: (a) => upper(a) | sqrt(unsigned(bits, a)),
    };
  }
  for (const [count, type] of [
    [4, V128],
    [8, V256],
  ] as const) {
    const each = (evaluate: (lane: bigint, mode: number) => bigint) => (mode: bigint, a: bigint) =>
      joinLanes(
        lanesOf(a, 32, count).map((lane) => evaluate(lane, Number(mode & 3n))),
        32,
      );
    ops[`I32StoF32x${count}`] = {
      args: [I32, type],
      result: type,
      evaluate: each((lane, mode) => fromInteger(FORMAT32, signed(32, lane), mode)),
    };
    ops[`F32toI32Sx${count}`] = {
      args: [I32, type],
      result: type,
      evaluate: each((lane, mode) => toInteger(FORMAT32.decode(lane), mode, 32)),
    };
  }
}

function build(): Operations {
  const ops: Operations = {};
  integerLanes(ops, 64, I64);
  integerLanes(ops, 128, V128);
  integerLanes(ops, 256, V256);
  permutations(ops);
  packing(ops);
  floatLanes(ops);
  return ops;
}

export const VECTOR_OPERATIONS: Operations = build();
