/**
 * Compiles VEX's vector operations to 128-bit SIMD. A V256 is two V128, low half first. A 64-bit
 * (MMX) operation is done on a V128 whose upper half does not matter.
 */
import type { Emitter, Lowering, Lowerings } from './emit.js';
import { TYPE, type Operand } from './ir.js';
import { I32, I64, V128, type SimdName } from './wasm.js';

/** Emits an operation on two V128 that are on the stack. */
type Binary = (e: Emitter) => void;

const simd =
  (name: SimdName): Binary =>
  (e) =>
    e.code.simd(name);

/** Takes the operands from the stack into locals, and gives functions that push them again. */
function stash(e: Emitter): { left: () => void; right: () => void } {
  const left = e.scratch(V128, 'left');
  const right = e.scratch(V128, 'right');
  e.code.set(right);
  e.code.set(left);
  return { left: () => e.code.get(left), right: () => e.code.get(right) };
}

/** For an instruction that wants its operands the other way round. */
const swapped =
  (name: SimdName): Binary =>
  (e) => {
    const { left, right } = stash(e);
    right();
    left();
    e.code.simd(name);
  };

/** Byte numbers of whole lanes of `size` bytes, for a shuffle. */
const bytesOf = (lanes: readonly number[], size: number): number[] =>
  lanes.flatMap((lane) => Array.from({ length: size }, (_, i) => lane * size + i));

/** A shuffle by lanes of `size` bytes: numbers from 0 are the left operand's, then the right's. */
const shuffle =
  (lanes: readonly number[], size: number): Binary =>
  (e) =>
    e.code.shuffle(bytesOf(lanes, size));

/**
 * VEX interleaves with the left operand in the odd lanes; `first` is the lane to begin with.
 */
function interleave(size: number, first: number): Binary {
  const count = 16 / size;
  const lanes = Array.from({ length: count }, (_, i) => first + (i >> 1) + (i % 2 ? 0 : count));
  return shuffle(lanes, size);
}

/** High halves of 16-bit products. */
const mulHigh =
  (sign: 's' | 'u'): Binary =>
  (e) => {
    const { left, right } = stash(e);
    for (const half of ['low', 'high'] as const) {
      left();
      right();
      e.code.simd(`i32x4_extmul_${half}_i16x8_${sign}`);
    }
    e.code.shuffle(bytesOf([1, 3, 5, 7, 9, 11, 13, 15], 2));
  };

/** Unsigned bytes times signed bytes, neighbours added with saturation. */
const pmaddubsw: Binary = (e) => {
  const { left, right } = stash(e);
  const even = (push: () => void, sign: 's' | 'u'): void => {
    push();
    e.code.i32(8);
    e.code.simd('i16x8_shl');
    e.code.i32(8);
    e.code.simd(`i16x8_shr_${sign}`);
  };
  const odd = (push: () => void, sign: 's' | 'u'): void => {
    push();
    e.code.i32(8);
    e.code.simd(`i16x8_shr_${sign}`);
  };
  even(left, 'u');
  even(right, 's');
  e.code.simd('i16x8_mul');
  odd(left, 'u');
  odd(right, 's');
  e.code.simd('i16x8_mul');
  e.code.simd('i16x8_add_sat_s');
};

/** Selects bytes of the left operand; an index with bit 7 set gives zero, bits 4–6 do not matter. */
const permuteOrZero =
  (mask: bigint): Binary =>
  (e) => {
    // swizzle gives zero for any index above 15
    const pattern = repeatByte(mask);
    e.code.v128(pattern);
    e.code.simd('v128_and');
    e.code.simd('i8x16_swizzle');
  };

function repeatByte(byte: bigint): bigint {
  let all = 0n;
  for (let i = 0n; i < 128n; i += 8n) all |= byte << i;
  return all;
}

/** Lane-wise operations by VEX's name for one lane width: `op` and shape are appended by the caller. */
function laneOperations(): Record<string, { bits: number; sign: '' | 'S' | 'U'; emit: Binary }> {
  const table: Record<string, { bits: number; sign: '' | 'S' | 'U'; emit: Binary }> = {};
  const add = (name: string, bits: number, sign: '' | 'S' | 'U', emit: Binary): void => {
    table[`${name}${bits}${sign}`] = { bits, sign, emit };
  };
  const shape = { 8: 'i8x16', 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' } as const;
  for (const bits of [8, 16, 32, 64] as const) {
    const s = shape[bits];
    add('Add', bits, '', simd(`${s}_add`));
    add('Sub', bits, '', simd(`${s}_sub`));
    add('CmpEQ', bits, '', simd(`${s}_eq`));
    add('CmpGT', bits, 'S', simd(`${s}_gt_s`));
  }
  for (const bits of [8, 16] as const) {
    const s = shape[bits];
    for (const [sign, suffix] of [
      ['S', 's'],
      ['U', 'u'],
    ] as const) {
      add('QAdd', bits, sign, simd(`${s}_add_sat_${suffix}`));
      add('QSub', bits, sign, simd(`${s}_sub_sat_${suffix}`));
    }
    add('Avg', bits, 'U', simd(`${s}_avgr_u`));
  }
  for (const bits of [8, 16, 32] as const) {
    const s = shape[bits];
    for (const [sign, suffix] of [
      ['S', 's'],
      ['U', 'u'],
    ] as const) {
      add('Max', bits, sign, simd(`${s}_max_${suffix}`));
      add('Min', bits, sign, simd(`${s}_min_${suffix}`));
    }
  }
  add('Mul', 16, '', simd('i16x8_mul'));
  add('Mul', 32, '', simd('i32x4_mul'));
  add('MulHi', 16, 'S', mulHigh('s'));
  add('MulHi', 16, 'U', mulHigh('u'));
  return table;
}

/** Applies a V128 operation to I64 operands, V128 or V256. */
function binary(type: 'I64' | 'V128' | 'V256', emit: Binary): Lowering {
  if (type === 'V128') {
    return (e, [a, b]) => {
      e.push(a!);
      e.push(b!);
      emit(e);
    };
  }
  if (type === 'V256') {
    return (e, [a, b]) => {
      for (const part of [0, 1]) {
        e.pushPart(a!, part);
        e.pushPart(b!, part);
        emit(e);
      }
    };
  }
  return (e, [a, b]) => {
    for (const operand of [a!, b!]) {
      e.push(operand);
      e.code.simd('i64x2_splat');
    }
    emit(e);
    e.code.lane('i64x2_extract_lane', 0);
  };
}

function unary(type: 'I64' | 'V128' | 'V256', emit: Binary): Lowering {
  return (e, [a]) => {
    for (const part of type === 'V256' ? [0, 1] : [0]) {
      e.pushPart(a!, part);
      if (type === 'I64') e.code.simd('i64x2_splat');
      emit(e);
      if (type === 'I64') e.code.lane('i64x2_extract_lane', 0);
    }
  };
}

/** Shifts every lane by the same count; what x86 does with counts beyond the lane is explicit. */
function laneShift(
  type: 'I64' | 'V128' | 'V256',
  bits: 8 | 16 | 32 | 64,
  kind: 'ShlN' | 'ShrN' | 'SarN',
): Lowering {
  const shape = ({ 8: 'i8x16', 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' } as const)[bits];
  const op =
    `${shape}_${({ ShlN: 'shl', ShrN: 'shr_u', SarN: 'shr_s' } as const)[kind]}` as SimdName;
  // VEX masks the count of the two arithmetic shifts that x86 lacks, and so does SIMD.
  const masks = kind === 'SarN' && (bits === 8 || bits === 64);
  return (e, [a, n]) => {
    const count = e.constant(n!);
    for (const part of type === 'V256' ? [0, 1] : [0]) {
      const value = (): void => {
        e.pushPart(a!, part);
        if (type === 'I64') e.code.simd('i64x2_splat');
      };
      if (masks || (count !== undefined && count < BigInt(bits))) {
        value();
        e.push(n!);
        e.code.simd(op);
      } else if (kind === 'SarN') {
        // at most bits - 1
        value();
        e.push(n!);
        e.code.i32(bits - 1);
        e.push(n!);
        e.code.i32(bits);
        e.ops('i32_lt_u', 'select');
        e.code.simd(op);
      } else {
        value();
        e.push(n!);
        e.code.simd(op);
        e.code.v128(0n);
        e.push(n!);
        e.code.i32(bits);
        e.ops('i32_lt_u', 'select');
      }
      if (type === 'I64') e.code.lane('i64x2_extract_lane', 0);
    }
  };
}

/** Unsigned comparison with zero per lane. */
const notZero =
  (bits: number): Binary =>
  (e) => {
    e.code.v128(0n);
    e.code.simd(
      ({ 8: 'i8x16_ne', 16: 'i16x8_ne', 32: 'i32x4_ne', 64: 'i64x2_ne' } as const)[bits as 8],
    );
  };

function integerLanes(lowerings: Lowerings): void {
  const lanes = laneOperations();
  for (const [total, type] of [
    [64, 'I64'],
    [128, 'V128'],
    [256, 'V256'],
  ] as const) {
    for (const [name, { bits, emit }] of Object.entries(lanes))
      lowerings[`${name}x${total / bits}`] = binary(type, emit);
    for (const bits of [8, 16, 32, 64] as const) {
      const shape = `${bits}x${total / bits}`;
      lowerings[`CmpNEZ${shape}`] = unary(type, notZero(bits));
      for (const kind of ['ShlN', 'ShrN', 'SarN'] as const)
        lowerings[`${kind}${shape}`] = laneShift(type, bits, kind);
    }
  }
}

function rearrangements(lowerings: Lowerings): void {
  for (const size of [1, 2, 4, 8]) {
    const bits = 8 * size;
    const count = 16 / size;
    lowerings[`InterleaveLO${bits}x${count}`] = binary('V128', interleave(size, 0));
    lowerings[`InterleaveHI${bits}x${count}`] = binary('V128', interleave(size, count / 2));
    if (size === 8) continue;
    // In 64 bits the lanes of the upper half begin a quarter of the way.
    lowerings[`InterleaveLO${bits}x${count / 2}`] = binary('I64', interleave(size, 0));
    lowerings[`InterleaveHI${bits}x${count / 2}`] = binary('I64', interleave(size, count / 4));
  }
  // Lanes 0–7 of a shuffle by 16 bits are the left operand's, which gives the upper half.
  lowerings['CatEvenLanes16x4'] = binary('I64', shuffle([8, 10, 0, 2, 8, 10, 0, 2], 2));
  lowerings['CatOddLanes16x4'] = binary('I64', shuffle([9, 11, 1, 3, 9, 11, 1, 3], 2));

  // The right operand gives the low half, as the first operand of SIMD's narrowing.
  lowerings['QNarrowBin16Sto8Sx16'] = binary('V128', swapped('i8x16_narrow_i16x8_s'));
  lowerings['QNarrowBin16Sto8Ux16'] = binary('V128', swapped('i8x16_narrow_i16x8_u'));
  lowerings['QNarrowBin32Sto16Sx8'] = binary('V128', swapped('i16x8_narrow_i32x4_s'));
  lowerings['QNarrowBin32Sto16Ux8'] = binary('V128', swapped('i16x8_narrow_i32x4_u'));
  lowerings['NarrowBin16to8x16'] = binary(
    'V128',
    shuffle([16, 18, 20, 22, 24, 26, 28, 30, 0, 2, 4, 6, 8, 10, 12, 14], 1),
  );
  lowerings['NarrowBin32to16x8'] = binary('V128', shuffle([8, 10, 12, 14, 0, 2, 4, 6], 2));
  const narrow64 =
    (name: SimdName): Lowering =>
    (e, [hi, lo]) => {
      e.push(lo!);
      e.code.simd('i64x2_splat');
      e.push(hi!);
      e.code.lane('i64x2_replace_lane', 1);
      e.code.v128(0n);
      e.code.simd(name);
      e.code.lane('i64x2_extract_lane', 0);
    };
  lowerings['QNarrowBin16Sto8Sx8'] = narrow64('i8x16_narrow_i16x8_s');
  lowerings['QNarrowBin16Sto8Ux8'] = narrow64('i8x16_narrow_i16x8_u');
  lowerings['QNarrowBin32Sto16Sx4'] = narrow64('i16x8_narrow_i32x4_s');

  lowerings['PermOrZero8x16'] = binary('V128', permuteOrZero(0x8fn));
  lowerings['PermOrZero8x8'] = binary('I64', permuteOrZero(0x87n));
  lowerings['PwExtUSMulQAdd8x16'] = binary('V128', pmaddubsw);
  lowerings['GetMSBs8x16'] = (e, [a]) => {
    e.push(a!);
    e.code.simd('i8x16_bitmask');
  };
  lowerings['GetMSBs8x8'] = (e, [a]) => {
    e.push(a!);
    e.code.simd('i64x2_splat');
    e.code.simd('i8x16_bitmask');
    e.code.i32(0xff);
    e.ops('i32_and');
  };

  /** Byte indices 4·i … 4·i+3 from 32-bit indices i (already reduced), on the stack. */
  const byteIndices = (e: Emitter): void => {
    e.code.i32(2);
    e.code.simd('i32x4_shl');
    e.code.v128(0n);
    e.code.shuffle([0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]);
    e.code.v128(0x03020100_03020100_03020100_03020100n);
    e.code.simd('v128_or');
  };
  const lanes = (value: bigint): bigint => (value << 96n) | (value << 64n) | (value << 32n) | value;
  lowerings['Perm32x4'] = binary('V128', (e) => {
    e.code.v128(lanes(3n));
    e.code.simd('v128_and');
    byteIndices(e);
    e.code.simd('i8x16_swizzle');
  });
  lowerings['Perm32x8'] = (e, [a, b]) => {
    for (const part of [0, 1]) {
      // From the low or the high half of the table, by bit 2 of the index.
      for (const half of [1, 0]) {
        e.pushPart(a!, half);
        e.pushPart(b!, part);
        e.code.v128(lanes(3n));
        e.code.simd('v128_and');
        byteIndices(e);
        e.code.simd('i8x16_swizzle');
      }
      e.pushPart(b!, part);
      e.code.v128(lanes(4n));
      e.code.simd('v128_and');
      e.code.v128(0n);
      e.code.simd('i32x4_ne');
      e.code.simd('v128_bitselect');
    }
  };
}

function packing(lowerings: Lowerings): void {
  const extract =
    (lane: 0 | 1, part: 0 | 1): Lowering =>
    (e, [a]) => {
      e.pushPart(a!, part);
      e.code.lane('i64x2_extract_lane', lane);
    };
  /** A V128 from two I64 on the stack's future: pushes low, then replaces the high lane. */
  const join = (e: Emitter, hi: Operand, lo: Operand): void => {
    e.push(lo);
    e.code.simd('i64x2_splat');
    e.push(hi);
    e.code.lane('i64x2_replace_lane', 1);
  };
  lowerings['V128to64'] = extract(0, 0);
  lowerings['V128HIto64'] = extract(1, 0);
  lowerings['V128to32'] = (e, [a]) => {
    e.push(a!);
    e.code.lane('i32x4_extract_lane', 0);
  };
  lowerings['64HLtoV128'] = (e, [hi, lo]) => join(e, hi!, lo!);
  lowerings['64UtoV128'] = (e, [a]) => {
    e.code.v128(0n);
    e.push(a!);
    e.code.lane('i64x2_replace_lane', 0);
  };
  lowerings['32UtoV128'] = (e, [a]) => {
    e.code.v128(0n);
    e.push(a!);
    e.code.lane('i32x4_replace_lane', 0);
  };
  lowerings['SetV128lo64'] = (e, [a, lo]) => {
    e.push(a!);
    e.push(lo!);
    e.code.lane('i64x2_replace_lane', 0);
  };
  lowerings['SetV128lo32'] = (e, [a, lo]) => {
    e.push(a!);
    e.push(lo!);
    e.code.lane('i32x4_replace_lane', 0);
  };
  for (const zeroed of [64, 96, 112, 120]) {
    lowerings[`ZeroHI${zeroed}ofV128`] = (e, [a]) => {
      e.push(a!);
      e.code.v128((1n << BigInt(128 - zeroed)) - 1n);
      e.code.simd('v128_and');
    };
  }
  lowerings['V256toV128_0'] = (e, [a]) => e.pushPart(a!, 0);
  lowerings['V256toV128_1'] = (e, [a]) => e.pushPart(a!, 1);
  lowerings['V128HLtoV256'] = (e, [hi, lo]) => {
    e.push(lo!);
    e.push(hi!);
  };
  lowerings['64x4toV256'] = (e, [q3, q2, q1, q0]) => {
    join(e, q1!, q0!);
    join(e, q3!, q2!);
  };
  for (const i of [0, 1, 2, 3])
    lowerings[`V256to64_${i}`] = extract((i & 1) as 0 | 1, (i >> 1) as 0 | 1);
  for (const type of ['V128', 'V256'] as const) {
    lowerings[`Not${type}`] = unary(type, simd('v128_not'));
    lowerings[`And${type}`] = binary(type, simd('v128_and'));
    lowerings[`Or${type}`] = binary(type, simd('v128_or'));
    lowerings[`Xor${type}`] = binary(type, simd('v128_xor'));
  }
}

/** Repairs NaN lanes of a result, as x86 gives them; the operands were stashed. */
function repairNaN(e: Emitter, bits: 32 | 64, left: () => void, right: () => void): void {
  const result = e.scratch(V128, 'result');
  e.code.tee(result);
  e.code.get(result);
  e.code.simd(bits === 32 ? 'f32x4_ne' : 'f64x2_ne');
  e.code.simd('v128_any_true');
  e.code.open('if');
  left();
  right();
  e.code.get(result);
  e.support(bits === 32 ? 'nan32x4' : 'nan64x2');
  e.code.set(result);
  e.code.end();
  e.code.get(result);
}

/** Rounds float lanes to integers and converts; what does not fit becomes 0x80000000. */
function toIntegerLanes(e: Emitter, mode: Operand, value: () => void): void {
  const rounded = e.scratch(V128, 'rounded');
  const number = e.scratch(I32, 'mode');
  e.push(mode);
  e.code.i32(3);
  e.ops('i32_and');
  e.code.set(number);
  value();
  e.code.simd('f32x4_nearest');
  e.code.set(rounded);
  for (const [m, op] of [
    [1, 'f32x4_floor'],
    [2, 'f32x4_ceil'],
    [3, 'f32x4_trunc'],
  ] as const) {
    e.code.get(number);
    e.code.i32(m);
    e.ops('i32_eq');
    e.code.open('if');
    value();
    e.code.simd(op);
    e.code.set(rounded);
    e.code.end();
  }
  const all = (lane: bigint): bigint => (lane << 96n) | (lane << 64n) | (lane << 32n) | lane;
  e.code.get(rounded);
  e.code.simd('i32x4_trunc_sat_f32x4_s');
  e.code.v128(all(0x80000000n));
  e.code.get(rounded);
  e.code.v128(all(0xcf000000n)); // -2^31
  e.code.simd('f32x4_ge');
  e.code.get(rounded);
  e.code.v128(all(0x4f000000n)); // 2^31
  e.code.simd('f32x4_lt');
  e.code.simd('v128_and');
  e.code.simd('v128_bitselect');
}

function floatLanes(lowerings: Lowerings): void {
  for (const [bits, f] of [
    [32, 'f32x4'],
    [64, 'f64x2'],
  ] as const) {
    const arithmetic =
      (op: 'add' | 'sub' | 'mul' | 'div'): Binary =>
      (e) => {
        const { left, right } = stash(e);
        left();
        right();
        e.code.simd(`${f}_${op}`);
        repairNaN(e, bits, left, right);
      };
    const sqrt: Binary = (e) => {
      const left = e.scratch(V128, 'left');
      e.code.tee(left);
      e.code.simd(`${f}_sqrt`);
      const push = (): void => e.code.get(left);
      repairNaN(e, bits, push, push);
    };
    const isNaN: Binary = (e) => {
      const { left, right } = stash(e);
      left();
      left();
      e.code.simd(`${f}_ne`);
      right();
      right();
      e.code.simd(`${f}_ne`);
      e.code.simd('v128_or');
    };
    const plain: Record<string, Binary> = {
      Max: swapped(`${f}_pmax`),
      Min: swapped(`${f}_pmin`),
      CmpEQ: simd(`${f}_eq`),
      CmpLT: simd(`${f}_lt`),
      CmpLE: simd(`${f}_le`),
      CmpUN: isNaN,
    };
    const withMode: Record<string, Binary> = {
      Add: arithmetic('add'),
      Sub: arithmetic('sub'),
      Mul: arithmetic('mul'),
      Div: arithmetic('div'),
    };
    for (const type of ['V128', 'V256'] as const) {
      const shape = `${bits}Fx${(type === 'V128' ? 128 : 256) / bits}`;
      for (const [name, emit] of Object.entries(plain))
        lowerings[`${name}${shape}`] = binary(type, emit);
      for (const [name, emit] of Object.entries(withMode)) {
        const lowering = binary(type, emit);
        lowerings[`${name}${shape}`] = (e, [, a, b]) => lowering(e, [a!, b!]);
      }
      const lowering = unary(type, sqrt);
      lowerings[`Sqrt${shape}`] = type === 'V256' ? lowering : (e, [, a]) => lowering(e, [a!]);
    }
    // Lowest lane only: take that lane of the full result and the others of the first operand.
    const shape = `${bits}F0x${128 / bits}`;
    const size = bits / 8;
    const merge = Array.from({ length: 16 }, (_, i) => (i < size ? 16 + i : i));
    for (const [name, emit] of Object.entries({ ...plain, ...withMode })) {
      lowerings[`${name}${shape}`] = (e, [a, b]) => {
        e.push(a!);
        e.push(a!);
        e.push(b!);
        emit(e);
        e.code.shuffle(merge);
      };
    }
    lowerings[`Sqrt${shape}`] = (e, [a]) => {
      e.push(a!);
      e.push(a!);
      sqrt(e);
      e.code.shuffle(merge);
    };
  }
  for (const [count, type] of [
    [4, TYPE.V128],
    [8, TYPE.V256],
  ] as const) {
    const parts = type === TYPE.V256 ? [0, 1] : [0];
    lowerings[`F32toI32Sx${count}`] = (e, [mode, a]) => {
      for (const part of parts) toIntegerLanes(e, mode!, () => e.pushPart(a!, part));
    };
    const name = `I32StoF32x${count}`;
    lowerings[name] = (e, args) => {
      const results = parts.map((part) => e.scratch(V128, `converted${part}`));
      e.push(args[0]!);
      e.code.i32(3);
      e.ops('i32_and');
      e.code.open('if');
      e.evaluateByHost(name, args, type);
      e.setLocals(results);
      e.code.else();
      for (const part of parts) {
        e.pushPart(args[1]!, part);
        e.code.simd('f32x4_convert_i32x4_s');
      }
      e.setLocals(results);
      e.code.end();
      for (const local of results) e.code.get(local);
    };
  }
}

/** Helpers (CCall), with 64-bit operands and result. */
export const HELPER_LOWERINGS: Lowerings = {
  amd64g_calculate_mmx_pmaddwd: binary('I64', simd('i32x4_dot_i16x8_s')),
  amd64g_calculate_mmx_psadbw: binary('I64', (e) => {
    const { left, right } = stash(e);
    left();
    right();
    e.code.simd('i8x16_sub_sat_u');
    right();
    left();
    e.code.simd('i8x16_sub_sat_u');
    e.code.simd('v128_or');
    e.code.simd('i16x8_extadd_pairwise_i8x16_u');
    e.code.simd('i32x4_extadd_pairwise_i16x8_u');
    // add the two 32-bit sums of the low half
    const sums = e.scratch(I64, 'sums');
    e.code.lane('i64x2_extract_lane', 0);
    e.code.tee(sums);
    e.code.i64(32n);
    e.ops('i64_shr_u');
    e.code.get(sums);
    e.code.i64(0xffffffffn);
    e.ops('i64_and', 'i64_add');
    e.code.simd('i64x2_splat');
  }),
};

function build(): Lowerings {
  const lowerings: Lowerings = {};
  integerLanes(lowerings);
  rearrangements(lowerings);
  packing(lowerings);
  floatLanes(lowerings);
  return lowerings;
}

export const VECTOR_LOWERINGS: Lowerings = build();
