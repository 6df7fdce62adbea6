/**
 * Compiles VEX's integer operations. I1 to I32 live in i32, always zero-extended: an operation that
 * can set higher bits clears them again.
 */
import type { Emitter, Lowerings } from './emit.js';
import type { Operand } from './ir.js';
import type { OpName } from './wasm.js';

const WIDTHS = [8, 16, 32, 64] as const;
type Width = (typeof WIDTHS)[number];

/** Clears what is above the width. */
function clip(e: Emitter, bits: Width): void {
  if (bits >= 32) return;
  e.code.i32(bits === 8 ? 0xff : 0xffff);
  e.ops('i32_and');
}

const word = (bits: Width): 'i32' | 'i64' => (bits === 64 ? 'i64' : 'i32');

function pushSigned(e: Emitter, operand: Operand, bits: Width): void {
  e.push(operand);
  if (bits === 8) e.ops('i32_extend8_s');
  if (bits === 16) e.ops('i32_extend16_s');
}

/** Shift counts are I8; those of 64-bit shifts need an i64. */
function pushCount(e: Emitter, operand: Operand, bits: Width): void {
  e.push(operand);
  if (bits === 64) e.ops('i64_extend_i32_u');
}

function arithmetic(lowerings: Lowerings, bits: Width): void {
  const w = word(bits);
  const binary = (
    name: string,
    op: 'add' | 'sub' | 'mul' | 'and' | 'or' | 'xor',
    clips: boolean,
  ): void => {
    lowerings[`${name}${bits}`] = (e, [a, b]) => {
      e.push(a!);
      e.push(b!);
      e.ops(`${w}_${op}`);
      if (clips) clip(e, bits);
    };
  };
  binary('Add', 'add', true);
  binary('Sub', 'sub', true);
  binary('Mul', 'mul', true);
  binary('And', 'and', false);
  binary('Or', 'or', false);
  binary('Xor', 'xor', false);
  lowerings[`Shl${bits}`] = (e, [a, n]) => {
    e.push(a!);
    pushCount(e, n!, bits);
    e.ops(`${w}_shl`);
    clip(e, bits);
  };
  lowerings[`Shr${bits}`] = (e, [a, n]) => {
    e.push(a!);
    pushCount(e, n!, bits);
    e.ops(`${w}_shr_u`);
  };
  lowerings[`Sar${bits}`] = (e, [a, n]) => {
    pushSigned(e, a!, bits);
    pushCount(e, n!, bits);
    e.ops(`${w}_shr_s`);
    clip(e, bits);
  };
  lowerings[`Not${bits}`] = (e, [a]) => {
    e.push(a!);
    if (bits === 64) e.code.i64(-1n);
    else e.code.i32(bits === 8 ? 0xff : bits === 16 ? 0xffff : -1);
    e.ops(`${w}_xor`);
  };
  lowerings[`Left${bits}`] = (e, [a]) => {
    e.push(a!);
    if (bits === 64) e.code.i64(0n);
    else e.code.i32(0);
    e.push(a!);
    e.ops(`${w}_sub`, `${w}_or`);
    clip(e, bits);
  };
}

function comparisons(lowerings: Lowerings, bits: Width): void {
  const w = word(bits);
  const compare = (name: string, op: OpName): void => {
    lowerings[name] = (e, [a, b]) => {
      e.push(a!);
      e.push(b!);
      e.ops(op);
    };
  };
  for (const prefix of ['', 'Cas']) compare(`${prefix}CmpEQ${bits}`, `${w}_eq`);
  for (const prefix of ['', 'Cas', 'Exp']) compare(`${prefix}CmpNE${bits}`, `${w}_ne`);
  lowerings[`CmpNEZ${bits}`] = (e, [a]) => {
    e.push(a!);
    e.ops(`${w}_eqz`, 'i32_eqz');
  };
  if (bits < 32) return;
  compare(`CmpLT${bits}S`, `${w}_lt_s`);
  compare(`CmpLT${bits}U`, `${w}_lt_u`);
  compare(`CmpLE${bits}S`, `${w}_le_s`);
  compare(`CmpLE${bits}U`, `${w}_le_u`);
  lowerings[`CmpwNEZ${bits}`] = (e, [a]) => {
    // All ones when a ≠ 0: the negated condition.
    if (bits === 64) e.code.i64(0n);
    else e.code.i32(0);
    e.push(a!);
    e.ops(`${w}_eqz`, 'i32_eqz');
    if (bits === 64) e.ops('i64_extend_i32_u');
    e.ops(`${w}_sub`);
  };
  for (const suffix of ['', 'Nat']) {
    lowerings[`Clz${suffix}${bits}`] = unary(`${w}_clz`);
    lowerings[`Ctz${suffix}${bits}`] = unary(`${w}_ctz`);
  }
  lowerings[`PopCount${bits}`] = unary(`${w}_popcnt`);
}

function unary(...ops: OpName[]): Lowerings[string] {
  return (e, [a]) => {
    e.push(a!);
    e.ops(...ops);
  };
}

function masked(mask: number, ...ops: OpName[]): Lowerings[string] {
  return (e, [a]) => {
    e.push(a!);
    e.ops(...ops);
    e.code.i32(mask);
    e.ops('i32_and');
  };
}

function multiplications(lowerings: Lowerings): void {
  for (const bits of [8, 16] as const) {
    lowerings[`MullU${bits}`] = (e, [a, b]) => {
      e.push(a!);
      e.push(b!);
      e.ops('i32_mul');
    };
    lowerings[`MullS${bits}`] = (e, [a, b]) => {
      pushSigned(e, a!, bits);
      pushSigned(e, b!, bits);
      e.ops('i32_mul');
      if (bits === 8) clip(e, 16);
    };
  }
  for (const [sign, extend] of [
    ['U', 'i64_extend_i32_u'],
    ['S', 'i64_extend_i32_s'],
  ] as const) {
    lowerings[`Mull${sign}32`] = (e, [a, b]) => {
      e.push(a!);
      e.ops(extend);
      e.push(b!);
      e.ops(extend, 'i64_mul');
    };
    lowerings[`Mull${sign}64`] = (e, [a, b]) => {
      e.push(a!);
      e.push(b!);
      e.ops('i64_mul');
      e.push(a!);
      e.push(b!);
      e.support(sign === 'U' ? 'mulHighU' : 'mulHighS');
    };
  }
}

function divisions(lowerings: Lowerings): void {
  for (const sign of ['U', 'S'] as const) {
    lowerings[`DivMod${sign}64to32`] = (e, [a, b]) => {
      e.push(a!);
      e.push(b!);
      e.ops(sign === 'U' ? 'i64_extend_i32_u' : 'i64_extend_i32_s');
      e.support(sign === 'U' ? 'divMod32U' : 'divMod32S');
    };
    const name = `DivMod${sign}128to64`;
    lowerings[name] = (e, [a, b]) => {
      e.push(a!);
      e.push(b!);
      e.support(sign === 'U' ? 'divMod64U' : 'divMod64S');
    };
  }
}

function conversions(lowerings: Lowerings): void {
  lowerings['8Uto16'] = lowerings['8Uto32'] = lowerings['16Uto32'] = unary();
  lowerings['8Uto64'] = lowerings['16Uto64'] = lowerings['32Uto64'] = unary('i64_extend_i32_u');
  lowerings['8Sto16'] = masked(0xffff, 'i32_extend8_s');
  lowerings['8Sto32'] = unary('i32_extend8_s');
  lowerings['16Sto32'] = unary('i32_extend16_s');
  lowerings['8Sto64'] = unary('i64_extend_i32_u', 'i64_extend8_s');
  lowerings['16Sto64'] = unary('i64_extend_i32_u', 'i64_extend16_s');
  lowerings['32Sto64'] = unary('i64_extend_i32_s');
  lowerings['64to8'] = masked(0xff, 'i32_wrap_i64');
  lowerings['64to16'] = masked(0xffff, 'i32_wrap_i64');
  lowerings['64to32'] = unary('i32_wrap_i64');
  lowerings['32to8'] = lowerings['16to8'] = masked(0xff);
  lowerings['32to16'] = masked(0xffff);
  lowerings['128to64'] = (e, [a]) => e.pushPart(a!, 0);
  lowerings['128HIto64'] = (e, [a]) => e.pushPart(a!, 1);
  const high =
    (shift: number): Lowerings[string] =>
    (e, [a]) => {
      e.push(a!);
      e.code.i32(shift);
      e.ops('i32_shr_u');
    };
  lowerings['16HIto8'] = high(8);
  lowerings['32HIto16'] = high(16);
  lowerings['64HIto32'] = (e, [a]) => {
    e.push(a!);
    e.code.i64(32n);
    e.ops('i64_shr_u', 'i32_wrap_i64');
  };
  const join =
    (shift: number): Lowerings[string] =>
    (e, [hi, lo]) => {
      e.push(hi!);
      e.code.i32(shift);
      e.ops('i32_shl');
      e.push(lo!);
      e.ops('i32_or');
    };
  lowerings['8HLto16'] = join(8);
  lowerings['16HLto32'] = join(16);
  lowerings['32HLto64'] = (e, [hi, lo]) => {
    e.push(hi!);
    e.ops('i64_extend_i32_u');
    e.code.i64(32n);
    e.ops('i64_shl');
    e.push(lo!);
    e.ops('i64_extend_i32_u', 'i64_or');
  };
  lowerings['64HLto128'] = (e, [hi, lo]) => {
    e.push(lo!);
    e.push(hi!);
  };
}

function bits(lowerings: Lowerings): void {
  lowerings['Not1'] = unary('i32_eqz');
  for (const [name, op] of [
    ['And1', 'i32_and'],
    ['Or1', 'i32_or'],
  ] as const) {
    lowerings[name] = (e, [a, b]) => {
      e.push(a!);
      e.push(b!);
      e.ops(op);
    };
  }
  lowerings['32to1'] = masked(1);
  lowerings['64to1'] = masked(1, 'i32_wrap_i64');
  lowerings['1Uto8'] = lowerings['1Uto32'] = unary();
  lowerings['1Uto64'] = unary('i64_extend_i32_u');
  const spread =
    (mask: number): Lowerings[string] =>
    (e, [a]) => {
      e.code.i32(0);
      e.push(a!);
      e.ops('i32_sub');
      if (mask !== -1) {
        e.code.i32(mask);
        e.ops('i32_and');
      }
    };
  lowerings['1Sto8'] = spread(0xff);
  lowerings['1Sto16'] = spread(0xffff);
  lowerings['1Sto32'] = spread(-1);
  lowerings['1Sto64'] = (e, [a]) => {
    e.code.i64(0n);
    e.push(a!);
    e.ops('i64_extend_i32_u', 'i64_sub');
  };
  lowerings['Max32U'] = (e, [a, b]) => {
    e.push(a!);
    e.push(b!);
    e.push(a!);
    e.push(b!);
    e.ops('i32_gt_u', 'select');
  };
}

function build(): Lowerings {
  const lowerings: Lowerings = {};
  for (const width of WIDTHS) {
    arithmetic(lowerings, width);
    comparisons(lowerings, width);
  }
  multiplications(lowerings);
  divisions(lowerings);
  conversions(lowerings);
  bits(lowerings);
  return lowerings;
}

export const INTEGER_LOWERINGS: Lowerings = build();
