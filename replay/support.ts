/**
 * Small functions that compiled superblocks call: a module carries those it uses. They are written
 * in WebAssembly because calls to the host are slow.
 */
import { EVALUATION_NUMBERS, loadAt, storeAt, type ModuleContext } from './emit.js';
import { CC_OP_COUNT } from './eval-helpers.js';
import {
  CELL,
  JUMP_CACHE,
  JUMP_CACHE_BITS,
  JUMP_CACHE_ENTRIES,
  SCRATCH,
  SCRATCH_RESULT,
  SCRATCH_STRIDE,
} from './layout.js';
import { CACHE_SUPPORT, type CacheSupportName } from './support-cache.js';
import { CALL_SUPPORT } from './support-calls.js';
import { FRESH_SUPPORT, type FreshSupportName } from './support-fresh.js';
import { STACK_SUPPORT } from './support-stacks.js';
import { TALLY_SUPPORT, type TallySupportName } from './support-tally.js';
import { SHADOW_SUPPORT, type ShadowSupportName } from './support-shadow.js';
import { F32, F64, I32, I64, V128, VOID, type Code, type ValueType } from './wasm.js';

interface Support {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly emit: (code: Code, context: ModuleContext) => void;
}

/** High half of an unsigned 64 × 64 product, from four 32-bit products. */
function mulHighU(c: Code): void {
  const [a, b] = [0, 1];
  const low = c.local(I64);
  const middle = c.local(I64);
  const part = (x: number, high: boolean): void => {
    c.get(x);
    if (high) {
      c.i64(32n);
      c.op('i64_shr_u');
    } else {
      c.i64(0xffffffffn);
      c.op('i64_and');
    }
  };
  const product = (highA: boolean, highB: boolean): void => {
    part(a, highA);
    part(b, highB);
    c.op('i64_mul');
  };
  // low = (aL·bL >> 32) + aH·bL, which cannot overflow
  product(false, false);
  c.i64(32n);
  c.op('i64_shr_u');
  product(true, false);
  c.op('i64_add');
  c.set(low);
  // middle = (low mod 2^32) + aL·bH
  part(low, false);
  product(false, true);
  c.op('i64_add');
  c.set(middle);
  product(true, true);
  part(low, true);
  c.op('i64_add');
  part(middle, true);
  c.op('i64_add');
}

/** The signed high half is the unsigned one, less each operand when the other is negative. */
function mulHighS(c: Code, context: ModuleContext): void {
  c.get(0);
  c.get(1);
  c.call(context.support('mulHighU'));
  for (const [x, y] of [
    [0, 1],
    [1, 0],
  ] as const) {
    c.get(x);
    c.i64(63n);
    c.op('i64_shr_s');
    c.get(y);
    c.ops('i64_and', 'i64_sub');
  }
}

/** 64 by 32 bits: quotient in the low half, remainder in the high half; 0 when dividing by 0. */
function divMod32(isSigned: boolean) {
  return (c: Code): void => {
    const sign = isSigned ? 's' : 'u';
    c.get(1);
    c.op('i64_eqz');
    c.open('if');
    c.i64(0n);
    c.op('return');
    c.end();
    if (isSigned) {
      // The one quotient that does not fit 64 bits: negating the dividend gives the same bits.
      c.get(1);
      c.i64(-1n);
      c.op('i64_eq');
      c.open('if');
      c.i64(0n);
      c.get(0);
      c.op('i64_sub');
      c.i64(0xffffffffn);
      c.ops('i64_and', 'return');
      c.end();
    }
    c.get(0);
    c.get(1);
    c.op(`i64_rem_${sign}`);
    c.i64(32n);
    c.op('i64_shl');
    c.get(0);
    c.get(1);
    c.op(`i64_div_${sign}`);
    c.i64(0xffffffffn);
    c.ops('i64_and', 'i64_or');
  };
}

/** 128 by 64 bits (low, high, divisor); the host does what does not fit a 64-bit division. */
function divMod64(isSigned: boolean) {
  return (c: Code, context: ModuleContext): void => {
    const [low, high, divisor] = [0, 1, 2];
    const sign = isSigned ? 's' : 'u';
    // Simple when the high half only extends the low one and the divisor is neither 0 nor -1.
    c.get(high);
    if (isSigned) {
      c.get(low);
      c.i64(63n);
      c.ops('i64_shr_s', 'i64_eq');
      c.get(divisor);
      c.i64(1n);
      c.op('i64_add');
      c.i64(1n);
      c.ops('i64_gt_u', 'i32_and');
    } else {
      c.op('i64_eqz');
      c.get(divisor);
      c.ops('i64_eqz', 'i32_eqz', 'i32_and');
    }
    c.open('if');
    c.get(low);
    c.get(divisor);
    c.op(`i64_div_${sign}`);
    c.get(low);
    c.get(divisor);
    c.ops(`i64_rem_${sign}`, 'return');
    c.end();
    storeAt(c, SCRATCH, I64, low);
    storeAt(c, SCRATCH + 8, I64, high);
    storeAt(c, SCRATCH + SCRATCH_STRIDE, I64, divisor);
    c.i32(EVALUATION_NUMBERS.get(isSigned ? 'DivModS128to64' : 'DivModU128to64')!);
    c.call(context.import('evaluate'));
    loadAt(c, SCRATCH_RESULT, I64);
    loadAt(c, SCRATCH_RESULT + 8, I64);
  };
}

/** x86's result when an operation on (a, b) gives a NaN. */
function scalarNaN(bits: 32 | 64) {
  const [f, i] = bits === 32 ? (['f32', 'i32'] as const) : (['f64', 'i64'] as const);
  return (c: Code): void => {
    for (const operand of [0, 1]) {
      c.get(operand);
      c.get(operand);
      c.op(`${f}_ne`);
      c.open('if');
      c.get(operand);
      if (bits === 32) {
        c.op('i32_reinterpret_f32');
        c.i32(0x400000);
      } else {
        c.op('i64_reinterpret_f64');
        c.i64(1n << 51n);
      }
      c.op(`${i}_or`);
      c.ops(bits === 32 ? 'f32_reinterpret_i32' : 'f64_reinterpret_i64', 'return');
      c.end();
    }
    if (bits === 32) {
      c.i32(0xffc00000);
      c.op('f32_reinterpret_i32');
    } else {
      c.i64(0xfff8000000000000n);
      c.op('f64_reinterpret_i64');
    }
  };
}

const repeat = (lane: bigint, bits: 32 | 64): bigint => {
  let all = 0n;
  for (let shift = 0; shift < 128; shift += bits) all |= lane << BigInt(shift);
  return all;
};

/** The same for each lane of (a, b, result) where the result is a NaN. */
function vectorNaN(bits: 32 | 64) {
  const quiet = repeat(bits === 32 ? 0x400000n : 1n << 51n, bits);
  const standard = repeat(bits === 32 ? 0xffc00000n : 0xfff8000000000000n, bits);
  const ne = bits === 32 ? 'f32x4_ne' : 'f64x2_ne';
  return (c: Code): void => {
    const quieted = (local: number): void => {
      c.get(local);
      c.v128(quiet);
      c.simd('v128_or');
    };
    const isNaN = (local: number): void => {
      c.get(local);
      c.get(local);
      c.simd(ne);
    };
    quieted(0);
    quieted(1);
    c.v128(standard);
    isNaN(1);
    c.simd('v128_bitselect');
    isNaN(0);
    c.simd('v128_bitselect');
    c.get(2);
    isNaN(2);
    c.simd('v128_bitselect');
  };
}

/** Single to double precision; a NaN keeps its payload. */
function promote(c: Code): void {
  const bits = c.local(I64);
  c.get(0);
  c.get(0);
  c.op('f32_eq');
  c.open('if');
  c.get(0);
  c.ops('f64_promote_f32', 'return');
  c.end();
  c.get(0);
  c.ops('i32_reinterpret_f32', 'i64_extend_i32_u');
  c.tee(bits);
  c.i64(0x80000000n);
  c.op('i64_and');
  c.i64(32n);
  c.op('i64_shl');
  c.get(bits);
  c.i64(0x3fffffn);
  c.op('i64_and');
  c.i64(29n);
  c.ops('i64_shl', 'i64_or');
  c.i64(0x7ff8000000000000n);
  c.ops('i64_or', 'f64_reinterpret_i64');
}

/** Double to single precision, to nearest; a NaN keeps the upper bits of its payload. */
function demote(c: Code): void {
  const bits = c.local(I64);
  c.get(0);
  c.get(0);
  c.op('f64_eq');
  c.open('if');
  c.get(0);
  c.ops('f32_demote_f64', 'return');
  c.end();
  c.get(0);
  c.op('i64_reinterpret_f64');
  c.tee(bits);
  c.i64(32n);
  c.op('i64_shr_u');
  c.i64(0x80000000n);
  c.op('i64_and');
  c.get(bits);
  c.i64(29n);
  c.op('i64_shr_u');
  c.i64(0x3fffffn);
  c.ops('i64_and', 'i64_or');
  c.i64(0x7fc00000n);
  c.ops('i64_or', 'i32_wrap_i64', 'f32_reinterpret_i32');
}

/** Rounds to an integer by mode (first parameter); NaNs become quiet. */
function round(bits: 32 | 64) {
  const f = bits === 32 ? ('f32' as const) : ('f64' as const);
  return (c: Code, context: ModuleContext): void => {
    const [mode, value] = [0, 1];
    c.get(value);
    c.get(value);
    c.op(`${f}_ne`);
    c.open('if');
    c.get(value);
    c.get(value);
    c.call(context.support(bits === 32 ? 'nan32' : 'nan64'));
    c.op('return');
    c.end();
    for (const [m, name] of [
      [1, 'floor'],
      [2, 'ceil'],
      [3, 'trunc'],
    ] as const) {
      c.get(mode);
      c.i32(3);
      c.op('i32_and');
      c.i32(m);
      c.op('i32_eq');
      c.open('if');
      c.get(value);
      c.ops(`${f}_${name}`, 'return');
      c.end();
    }
    c.get(value);
    c.op(`${f}_nearest`);
  };
}

/** A number rounded to an integer as I32 or I64; x86's "integer indefinite" when it does not fit. */
function toInteger(bits: 32 | 64) {
  const limit = bits === 32 ? 0x41e0000000000000n : 0x43e0000000000000n; // 2^31, 2^63
  return (c: Code, context: ModuleContext): void => {
    const rounded = c.local(F64);
    c.get(0);
    c.get(1);
    c.call(context.support('round64'));
    c.tee(rounded);
    c.f64(limit | (1n << 63n));
    c.op('f64_ge');
    c.get(rounded);
    c.f64(limit);
    c.ops('f64_lt', 'i32_and');
    c.open('if');
    c.get(rounded);
    c.body.append([0xfc, bits === 32 ? 2 : 6]); // trunc_sat_f64_s
    c.op('return');
    c.end();
    if (bits === 32) c.i32(-0x80000000);
    else c.i64(1n << 63n);
  };
}

/** The next entry of the value log: 8 bytes, or 16. */
function take(size: 8 | 16) {
  return (c: Code, context: ModuleContext): void => {
    const at = c.local(I32);
    loadAt(c, CELL.values, I32);
    c.i32(size);
    c.op('i32_add');
    loadAt(c, CELL.valuesEnd, I32);
    c.op('i32_gt_u');
    c.open('if');
    c.i32(size);
    c.call(context.import('refill'));
    c.end();
    c.i32(0);
    loadAt(c, CELL.values, I32);
    c.tee(at);
    c.i32(size);
    c.op('i32_add');
    c.memory('i32_store', CELL.values);
    c.get(at);
    if (size === 8) c.memory('i64_load', 0);
    else c.memoryV128('v128_load', 0);
  };
}

/** Where to go on after an indirect jump: the slot of the target, from the jump cache. */
function jump(space: 0 | 1) {
  return (c: Code, context: ModuleContext): void => {
    const entry = c.local(I32);
    const base = JUMP_CACHE + space * 16 * JUMP_CACHE_ENTRIES;
    c.get(0);
    c.op('i32_wrap_i64');
    c.tee(entry);
    c.get(entry);
    c.i32(JUMP_CACHE_BITS);
    c.ops('i32_shr_u', 'i32_xor');
    c.i32(JUMP_CACHE_ENTRIES - 1);
    c.op('i32_and');
    c.i32(4);
    c.op('i32_shl');
    c.tee(entry);
    c.memory('i64_load', base);
    c.get(0);
    c.op('i64_eq');
    c.open('if');
    c.get(entry);
    c.memory('i32_load', base + 8);
    c.tee(entry);
    c.open('if');
    c.get(entry);
    c.op('return');
    c.end();
    c.end();
    c.get(0);
    c.i32(space);
    c.call(context.import('lookup'));
  };
}

/**
 * All flags of a condition-code thunk (op, dep1, dep2, ndep). Operands are moved to the top of
 * 64 bits, so that carry, sign and overflow are those of 64-bit arithmetic at every width.
 */
function flags(c: Code, context: ModuleContext): void {
  const [op, dep1, dep2, ndep] = [0, 1, 2, 3];
  const family = c.local(I32);
  const shift = c.local(I64);
  const a = c.local(I64);
  const b = c.local(I64);
  const result = c.local(I64); // at the top of 64 bits
  const raw = c.local(I64); // low bits of the result, for parity
  const carryIn = c.local(I64);
  const out = c.local(I64);

  const host = (): void => {
    [op, dep1, dep2, ndep].forEach((local, i) =>
      storeAt(c, SCRATCH + i * SCRATCH_STRIDE, I64, local),
    );
    c.i32(EVALUATION_NUMBERS.get('amd64g_calculate_rflags_all')!);
    c.call(context.import('evaluate'));
    loadAt(c, SCRATCH_RESULT, I64);
    c.op('return');
  };
  /** out |= condition << bit, with the condition (i32) on the stack. */
  const flag = (bit: bigint): void => {
    c.op('i64_extend_i32_u');
    if (bit) {
      c.i64(bit);
      c.op('i64_shl');
    }
    c.get(out);
    c.op('i64_or');
    c.set(out);
  };
  /** Adjust flag: bit 4 of dep1 ^ right ^ raw. */
  const adjust = (right: () => void): void => {
    c.get(dep1);
    right();
    c.op('i64_xor');
    c.get(raw);
    c.op('i64_xor');
    c.i64(0x10n);
    c.op('i64_and');
    c.get(out);
    c.op('i64_or');
    c.set(out);
  };
  const top = (from: number, to: number): void => {
    c.get(from);
    c.get(shift);
    c.op('i64_shl');
    c.set(to);
  };
  const isNegative = (): void => {
    c.i64(0n);
    c.op('i64_lt_s');
  };
  const carryFromNdep = (): void => {
    c.get(ndep);
    c.i64(1n);
    c.op('i64_and');
    c.set(out);
  };
  /** raw = dep1 is the result. */
  const resultIsDep1 = (): void => {
    c.get(dep1);
    c.set(raw);
    c.get(a);
    c.set(result);
  };

  // Rotations, multiplications and BMI are rare enough for the host; 0 only copies.
  c.get(op);
  c.op('i64_eqz');
  c.open('if');
  c.get(dep1);
  c.i64(0x8d5n);
  c.ops('i64_and', 'return');
  c.end();
  c.get(op);
  c.i64(BigInt(CC_OP_COUNT));
  c.op('i64_ge_u');
  c.get(op);
  c.i64(37n);
  c.ops('i64_ge_u', 'i32_or');
  c.open('if');
  host();
  c.end();

  // shift = 64 - (8 << ((op - 1) & 3))
  c.i64(64n);
  c.i64(8n);
  c.get(op);
  c.i64(1n);
  c.op('i64_sub');
  c.i64(3n);
  c.ops('i64_and', 'i64_shl', 'i64_sub');
  c.set(shift);
  c.get(op);
  c.op('i32_wrap_i64');
  c.i32(1);
  c.op('i32_sub');
  c.set(family);
  c.get(family);
  c.i32(2);
  c.op('i32_shr_u');
  c.set(family);
  top(dep1, a);
  top(dep2, b);

  for (let depth = 0; depth < 10; depth++) c.open('block');
  c.get(family);
  c.brTable([0, 1, 2, 3, 4, 5, 6, 7], 8);
  const leave = (index: number): void => c.br(8 - index); // to the end of the outermost block

  // 0 ADD
  c.end();
  c.get(dep1);
  c.get(dep2);
  c.op('i64_add');
  c.set(raw);
  c.get(a);
  c.get(b);
  c.op('i64_add');
  c.tee(result);
  c.get(a);
  c.op('i64_lt_u');
  flag(0n);
  adjust(() => c.get(dep2));
  c.get(a);
  c.get(b);
  c.op('i64_xor');
  c.i64(-1n);
  c.op('i64_xor');
  c.get(a);
  c.get(result);
  c.ops('i64_xor', 'i64_and');
  isNegative();
  flag(11n);
  leave(0);

  // 1 SUB
  c.end();
  c.get(dep1);
  c.get(dep2);
  c.op('i64_sub');
  c.set(raw);
  c.get(a);
  c.get(b);
  c.op('i64_sub');
  c.set(result);
  c.get(a);
  c.get(b);
  c.op('i64_lt_u');
  flag(0n);
  adjust(() => c.get(dep2));
  c.get(a);
  c.get(b);
  c.op('i64_xor');
  c.get(a);
  c.get(result);
  c.ops('i64_xor', 'i64_and');
  isNegative();
  flag(11n);
  leave(1);

  for (const subtract of [false, true]) {
    // 2 ADC, 3 SBB: dep2 is the right operand with the old carry flipped into its lowest bit
    c.end();
    const w = subtract ? 'i64_sub' : 'i64_add';
    c.get(ndep);
    c.i64(1n);
    c.op('i64_and');
    c.tee(carryIn);
    c.get(dep2);
    c.op('i64_xor');
    c.tee(dep2);
    c.set(raw);
    top(dep2, b);
    c.get(dep1);
    c.get(dep2);
    c.op(w);
    c.get(carryIn);
    c.op(w);
    c.set(raw);
    c.get(a);
    c.get(b);
    c.op(w);
    c.get(carryIn);
    c.get(shift);
    c.ops('i64_shl', w);
    c.set(result);
    const [left, right] = subtract ? [a, b] : [result, a];
    c.get(left);
    c.get(right);
    c.op('i64_le_u');
    c.get(left);
    c.get(right);
    c.op('i64_lt_u');
    c.get(carryIn);
    c.ops('i32_wrap_i64', 'select');
    flag(0n);
    adjust(() => c.get(dep2));
    c.get(a);
    c.get(b);
    c.op('i64_xor');
    if (!subtract) {
      c.i64(-1n);
      c.op('i64_xor');
    }
    c.get(a);
    c.get(result);
    c.ops('i64_xor', 'i64_and');
    isNegative();
    flag(11n);
    leave(subtract ? 3 : 2);
  }

  // 4 LOGIC
  c.end();
  resultIsDep1();
  leave(4);

  for (const decrement of [false, true]) {
    // 5 INC, 6 DEC
    c.end();
    carryFromNdep();
    resultIsDep1();
    c.get(raw);
    c.i64(0xfn);
    c.op('i64_and');
    c.i64(decrement ? 0xfn : 0n);
    c.op('i64_eq');
    flag(4n);
    // overflow: the operand before had the other sign, and the result is the extreme one
    c.get(result);
    c.i64(1n);
    c.get(shift);
    c.op('i64_shl');
    c.op(decrement ? 'i64_add' : 'i64_sub');
    c.get(result);
    c.op('i64_xor');
    c.get(result);
    if (!decrement) {
      // result is the most negative number: it is negative and one less is not
      c.op('i64_and');
    } else {
      // result is the most positive number: it is not negative and one more is
      c.i64(-1n);
      c.ops('i64_xor', 'i64_and');
    }
    isNegative();
    flag(11n);
    leave(decrement ? 6 : 5);
  }

  // 7 SHL
  c.end();
  resultIsDep1();
  c.get(b);
  isNegative();
  flag(0n);
  c.get(a);
  c.get(b);
  c.op('i64_xor');
  isNegative();
  flag(11n);
  leave(7);

  // 8 SHR
  c.end();
  resultIsDep1();
  c.get(dep2);
  c.i64(1n);
  c.ops('i64_and', 'i32_wrap_i64');
  flag(0n);
  c.get(a);
  c.get(b);
  c.op('i64_xor');
  isNegative();
  flag(11n);
  c.end();

  // zero, sign and parity are common to all
  c.get(result);
  c.op('i64_eqz');
  flag(6n);
  c.get(result);
  isNegative();
  flag(7n);
  c.get(raw);
  c.i64(0xffn);
  c.ops('i64_and', 'i64_popcnt', 'i32_wrap_i64');
  c.i32(1);
  c.ops('i32_and', 'i32_eqz');
  flag(2n);
  c.get(out);
}

/** 1 when the condition (first parameter) holds for the thunk, else 0. */
function condition(c: Code, context: ModuleContext): void {
  const f = c.local(I64);
  for (let i = 1; i <= 4; i++) c.get(i);
  c.call(context.support('flags'));
  c.set(f);
  const shifted = (bit: bigint): void => {
    c.get(f);
    if (bit) {
      c.i64(bit);
      c.op('i64_shr_u');
    }
  };
  const less = (): void => {
    shifted(7n);
    shifted(11n);
    c.op('i64_xor');
  };
  const cases: (() => void)[] = [
    () => shifted(11n),
    () => shifted(0n),
    () => shifted(6n),
    () => {
      shifted(0n);
      shifted(6n);
      c.op('i64_or');
    },
    () => shifted(7n),
    () => shifted(2n),
    less,
    () => {
      less();
      shifted(6n);
      c.op('i64_or');
    },
  ];
  for (let depth = 0; depth < 9; depth++) c.open('block', depth === 0 ? I64 : VOID);
  c.get(0);
  c.ops('i32_wrap_i64');
  c.i32(1);
  c.op('i32_shr_u');
  c.i32(7);
  c.op('i32_and');
  c.brTable([0, 1, 2, 3, 4, 5, 6], 7);
  cases.forEach((emit, i) => {
    c.end();
    emit();
    if (i < 7) c.br(7 - i);
  });
  c.end();
  c.get(0);
  c.op('i64_xor');
  c.i64(1n);
  c.op('i64_and');
}

/** CRC-32C of a number of bytes (crc, data, bytes). */
function crc32c(c: Code): void {
  const [crc, data, count] = [0, 1, 2];
  const bit = c.local(I32);
  c.open('loop');
  c.get(data);
  c.i64(0xffn);
  c.op('i64_and');
  c.get(crc);
  c.op('i64_xor');
  c.set(crc);
  c.i32(8);
  c.set(bit);
  c.open('loop');
  c.get(crc);
  c.i64(1n);
  c.op('i64_shr_u');
  c.i64(0n);
  c.get(crc);
  c.i64(1n);
  c.ops('i64_and', 'i64_sub');
  c.i64(0x82f63b78n);
  c.ops('i64_and', 'i64_xor');
  c.set(crc);
  c.get(bit);
  c.i32(1);
  c.op('i32_sub');
  c.tee(bit);
  c.brIf(0);
  c.end();
  c.get(data);
  c.i64(8n);
  c.op('i64_shr_u');
  c.set(data);
  c.get(count);
  c.i32(1);
  c.op('i32_sub');
  c.tee(count);
  c.brIf(0);
  c.end();
  c.get(crc);
}

/** pdep and pext (source, mask): visits the set bits of the mask from the lowest. */
function bitwise(deposit: boolean) {
  return (c: Code): void => {
    const [source, mask] = [0, 1];
    const position = c.local(I64);
    const result = c.local(I64);
    const lowest = (): void => {
      c.get(mask);
      c.i64(0n);
      c.get(mask);
      c.ops('i64_sub', 'i64_and');
    };
    const one = (): void => c.i64(1n);
    const at = (): void => {
      one();
      c.get(position);
      c.op('i64_shl');
    };
    c.open('block');
    c.open('loop');
    c.get(mask);
    c.op('i64_eqz');
    c.brIf(1);
    c.get(result);
    if (deposit) {
      lowest();
      c.i64(0n);
      c.get(source);
      at();
      c.ops('i64_and', 'i64_eqz', 'i32_eqz', 'select');
    } else {
      at();
      c.i64(0n);
      c.get(source);
      lowest();
      c.ops('i64_and', 'i64_eqz', 'i32_eqz', 'select');
    }
    c.op('i64_or');
    c.set(result);
    c.get(mask);
    c.get(mask);
    one();
    c.ops('i64_sub', 'i64_and');
    c.set(mask);
    c.get(position);
    one();
    c.op('i64_add');
    c.set(position);
    c.br(0);
    c.end();
    c.end();
    c.get(result);
  };
}

export type SupportName =
  | ShadowSupportName
  | FreshSupportName
  | TallySupportName
  | CacheSupportName
  | keyof typeof CALL_SUPPORT
  | keyof typeof STACK_SUPPORT
  | 'mulHighU'
  | 'mulHighS'
  | 'divMod32U'
  | 'divMod32S'
  | 'divMod64U'
  | 'divMod64S'
  | 'nan32'
  | 'nan64'
  | 'nan32x4'
  | 'nan64x2'
  | 'promote'
  | 'demote'
  | 'round32'
  | 'round64'
  | 'toI32'
  | 'toI64'
  | 'take8'
  | 'take16'
  | 'jump0'
  | 'jump1'
  | 'flags'
  | 'condition'
  | 'crc32c'
  | 'pdep'
  | 'pext';

export const SUPPORT: Readonly<Record<SupportName, Support>> = {
  ...SHADOW_SUPPORT,
  ...FRESH_SUPPORT,
  ...TALLY_SUPPORT,
  ...CACHE_SUPPORT,
  ...CALL_SUPPORT,
  ...STACK_SUPPORT,
  mulHighU: { parameters: [I64, I64], results: [I64], emit: mulHighU },
  mulHighS: { parameters: [I64, I64], results: [I64], emit: mulHighS },
  divMod32U: { parameters: [I64, I64], results: [I64], emit: divMod32(false) },
  divMod32S: { parameters: [I64, I64], results: [I64], emit: divMod32(true) },
  divMod64U: { parameters: [I64, I64, I64], results: [I64, I64], emit: divMod64(false) },
  divMod64S: { parameters: [I64, I64, I64], results: [I64, I64], emit: divMod64(true) },
  nan32: { parameters: [F32, F32], results: [F32], emit: scalarNaN(32) },
  nan64: { parameters: [F64, F64], results: [F64], emit: scalarNaN(64) },
  nan32x4: { parameters: [V128, V128, V128], results: [V128], emit: vectorNaN(32) },
  nan64x2: { parameters: [V128, V128, V128], results: [V128], emit: vectorNaN(64) },
  promote: { parameters: [F32], results: [F64], emit: promote },
  demote: { parameters: [F64], results: [F32], emit: demote },
  round32: { parameters: [I32, F32], results: [F32], emit: round(32) },
  round64: { parameters: [I32, F64], results: [F64], emit: round(64) },
  toI32: { parameters: [I32, F64], results: [I32], emit: toInteger(32) },
  toI64: { parameters: [I32, F64], results: [I64], emit: toInteger(64) },
  take8: { parameters: [], results: [I64], emit: take(8) },
  take16: { parameters: [], results: [V128], emit: take(16) },
  jump0: { parameters: [I64], results: [I32], emit: jump(0) },
  jump1: { parameters: [I64], results: [I32], emit: jump(1) },
  flags: { parameters: [I64, I64, I64, I64], results: [I64], emit: flags },
  condition: { parameters: [I64, I64, I64, I64, I64], results: [I64], emit: condition },
  crc32c: { parameters: [I64, I64, I32], results: [I64], emit: crc32c },
  pdep: { parameters: [I64, I64], results: [I64], emit: bitwise(true) },
  pext: { parameters: [I64, I64], results: [I64], emit: bitwise(false) },
};
