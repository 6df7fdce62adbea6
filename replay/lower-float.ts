/**
 * Compiles VEX's scalar floating-point operations. WebAssembly leaves the bits of a NaN result open,
 * so a NaN is replaced by the one that x86 gives; the test for it is never taken otherwise.
 */
import type { Emitter, Lowerings } from './emit.js';
import { TYPE, type Operand } from './ir.js';
import { F32, F64, type OpName } from './wasm.js';

/** Emits a float operation on (a, b) and repairs a NaN result. */
function withNaN(
  e: Emitter,
  bits: 32 | 64,
  push: (operand: number) => void,
  operate: () => void,
): void {
  const type = bits === 32 ? F32 : F64;
  const result = e.scratch(type, 'result');
  operate();
  e.code.tee(result);
  e.code.get(result);
  e.ops(bits === 32 ? 'f32_ne' : 'f64_ne');
  e.code.open('if');
  push(0);
  push(1);
  e.support(bits === 32 ? 'nan32' : 'nan64');
  e.code.set(result);
  e.code.end();
  e.code.get(result);
}

function binary(op: OpName): Lowerings[string] {
  return (e, args) =>
    withNaN(
      e,
      64,
      (i) => e.push(args[i + 1]!),
      () => {
        e.push(args[1]!);
        e.push(args[2]!);
        e.ops(op);
      },
    );
}

/** Takes the operation's fast form when the rounding mode is nearest, and asks the host otherwise. */
function nearestOrHost(
  e: Emitter,
  name: string,
  args: readonly Operand[],
  result: typeof F32 | typeof F64,
  fast: () => void,
): void {
  const mode = e.constant(args[0]!);
  const irType = result === F32 ? TYPE.F32 : TYPE.F64;
  if (mode !== undefined) {
    if ((mode & 3n) === 0n) fast();
    else e.evaluateByHost(name, args, irType);
    return;
  }
  e.push(args[0]!);
  e.code.i32(3);
  e.ops('i32_and');
  e.code.open('if', result);
  e.evaluateByHost(name, args, irType);
  e.code.else();
  fast();
  e.code.end();
}

/** x86's comparison code: 0x45 unordered, 1 less, 0 greater, 0x40 equal. */
function compare(f: 'f32' | 'f64'): Lowerings[string] {
  return (e, [a, b]) => {
    const both = (op: OpName): void => {
      e.push(a!);
      e.push(b!);
      e.ops(op);
    };
    // equal << 6 | less, with 0x45 when none of the three relations holds
    both(`${f}_eq`);
    e.code.i32(6);
    e.ops('i32_shl');
    both(`${f}_lt`);
    e.ops('i32_or');
    both(`${f}_ge`);
    both(`${f}_lt`);
    e.ops('i32_or', 'i32_eqz');
    e.code.i32(0x45);
    e.ops('i32_mul', 'i32_or');
  };
}

function unary(op: OpName): Lowerings[string] {
  return (e, [a]) => {
    e.push(a!);
    e.ops(op);
  };
}

function build(): Lowerings {
  const lowerings: Lowerings = {
    AddF64: binary('f64_add'),
    SubF64: binary('f64_sub'),
    MulF64: binary('f64_mul'),
    DivF64: binary('f64_div'),
    SqrtF64: (e, [, a]) =>
      withNaN(
        e,
        64,
        () => e.push(a!),
        () => {
          e.push(a!);
          e.ops('f64_sqrt');
        },
      ),
    NegF64: unary('f64_neg'),
    AbsF64: unary('f64_abs'),
    NegF32: unary('f32_neg'),
    AbsF32: unary('f32_abs'),
    CmpF64: compare('f64'),
    CmpF32: compare('f32'),
    I32StoF64: unary('f64_convert_i32_s'),
    I64StoF64: (e, args) =>
      nearestOrHost(e, 'I64StoF64', args, F64, () => {
        e.push(args[1]!);
        e.ops('f64_convert_i64_s');
      }),
    F32toF64: (e, [a]) => {
      e.push(a!);
      e.support('promote');
    },
    F64toF32: (e, args) =>
      nearestOrHost(e, 'F64toF32', args, F32, () => {
        e.push(args[1]!);
        e.support('demote');
      }),
    ReinterpF64asI64: unary('i64_reinterpret_f64'),
    ReinterpI64asF64: unary('f64_reinterpret_i64'),
    ReinterpF32asI32: unary('i32_reinterpret_f32'),
    ReinterpI32asF32: unary('f32_reinterpret_i32'),
  };
  const modal = (name: string, support: 'round32' | 'round64' | 'toI32' | 'toI64'): void => {
    lowerings[name] = (e, [mode, a]) => {
      e.push(mode!);
      e.push(a!);
      e.support(support);
    };
  };
  modal('RoundF64toInt', 'round64');
  modal('RoundF32toInt', 'round32');
  modal('F64toI32S', 'toI32');
  modal('F64toI64S', 'toI64');
  return lowerings;
}

export const FLOAT_LOWERINGS: Lowerings = build();
