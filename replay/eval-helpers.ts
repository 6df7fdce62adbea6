/**
 * The meaning of the pure helper functions that VEX's amd64 front end calls: the condition codes of
 * x86 arithmetic (kept as an operation and its operands until someone asks for flags), CRC-32C, bit
 * deposit and extract, and a few others. All operands are 64-bit patterns.
 */
import { signed, unsigned } from './eval-integer.js';
import { joinLanes, lanesOf } from './eval-vector.js';

export interface Helper {
  readonly arity: number;
  readonly evaluate: (...args: bigint[]) => bigint;
}

/** Bits of the flags register. */
export const FLAG = { C: 0x1n, P: 0x4n, A: 0x10n, Z: 0x40n, S: 0x80n, O: 0x800n };
const ALL_FLAGS = FLAG.C | FLAG.P | FLAG.A | FLAG.Z | FLAG.S | FLAG.O;

/** Operations of the condition-code thunk: four widths each, in this order, after 0 = copy. */
export const CC_FAMILIES = [
  'ADD',
  'SUB',
  'ADC',
  'SBB',
  'LOGIC',
  'INC',
  'DEC',
  'SHL',
  'SHR',
  'ROL',
  'ROR',
  'UMUL',
  'SMUL',
] as const;
/** Then these, for 32 and 64 bits. */
export const CC_BMI_FAMILIES = ['ANDN', 'BLSI', 'BLSMSK', 'BLSR', 'ADCX', 'ADOX'] as const;
const FIRST_BMI = 1 + 4 * CC_FAMILIES.length;
/** Thunk operations are below this. */
export const CC_OP_COUNT = FIRST_BMI + 2 * CC_BMI_FAMILIES.length;

interface Flags {
  carry?: boolean;
  adjust?: boolean;
  overflow?: boolean;
}

/** All six flags of a thunk: `dep1`, `dep2` and `ndep` mean what the operation says. */
export function allFlags(op: bigint, dep1: bigint, dep2: bigint, ndep: bigint): bigint {
  const code = Number(op);
  if (code === 0 || code >= CC_OP_COUNT) return dep1 & ALL_FLAGS;
  const bmi = code >= FIRST_BMI;
  const family = bmi ? CC_BMI_FAMILIES[(code - FIRST_BMI) >> 1]! : CC_FAMILIES[(code - 1) >> 2]!;
  const bits = bmi ? 32 << ((code - FIRST_BMI) & 1) : 8 << ((code - 1) & 3);
  const a = unsigned(bits, dep1);
  const b = unsigned(bits, dep2);
  const top = BigInt(bits - 1);
  const isNegative = (value: bigint): boolean => ((value >> top) & 1n) === 1n;

  /** The flags that follow from a result, plus those given; `parity` false leaves P clear. */
  const from = (result: bigint, { carry, adjust, overflow }: Flags, parity = true): bigint => {
    const value = unsigned(bits, result);
    let flags = 0n;
    if (carry) flags |= FLAG.C;
    if (adjust) flags |= FLAG.A;
    if (overflow) flags |= FLAG.O;
    if (value === 0n) flags |= FLAG.Z;
    if (isNegative(value)) flags |= FLAG.S;
    if (parity && (value & 0xffn).toString(2).replaceAll('0', '').length % 2 === 0) flags |= FLAG.P;
    return flags;
  };
  const adjusted = (x: bigint, y: bigint, result: bigint): boolean =>
    ((x ^ y ^ result) & 0x10n) !== 0n;

  switch (family) {
    case 'ADD':
    case 'ADC': {
      const carryIn = family === 'ADC' ? ndep & 1n : 0n;
      const right = unsigned(bits, dep2 ^ carryIn);
      const result = unsigned(bits, a + right + carryIn);
      return from(result, {
        carry: a + right + carryIn > unsigned(bits, -1n),
        adjust: adjusted(a, right, result),
        overflow: isNegative(~(a ^ right) & (a ^ result)),
      });
    }
    case 'SUB':
    case 'SBB': {
      const carryIn = family === 'SBB' ? ndep & 1n : 0n;
      const right = unsigned(bits, dep2 ^ carryIn);
      const result = unsigned(bits, a - right - carryIn);
      return from(result, {
        carry: a < right + carryIn,
        adjust: adjusted(a, right, result),
        overflow: isNegative((a ^ right) & (a ^ result)),
      });
    }
    case 'LOGIC':
      return from(a, {});
    case 'INC':
      return from(a, {
        carry: (ndep & 1n) === 1n,
        adjust: (a & 0xfn) === 0n,
        overflow: a === 1n << top,
      });
    case 'DEC':
      return from(a, {
        carry: (ndep & 1n) === 1n,
        adjust: (a & 0xfn) === 0xfn,
        overflow: a === (1n << top) - 1n,
      });
    case 'SHL':
      return from(a, { carry: isNegative(b), overflow: isNegative(a ^ b) });
    case 'SHR':
      return from(a, { carry: (b & 1n) === 1n, overflow: isNegative(a ^ b) });
    case 'ROL': {
      const carry = (a & 1n) === 1n;
      return (
        (ndep & ~(FLAG.O | FLAG.C)) |
        (carry ? FLAG.C : 0n) |
        (isNegative(a) !== carry ? FLAG.O : 0n)
      );
    }
    case 'ROR': {
      const carry = isNegative(a);
      return (
        (ndep & ~(FLAG.O | FLAG.C)) |
        (carry ? FLAG.C : 0n) |
        (isNegative(a) !== isNegative(a << 1n) ? FLAG.O : 0n)
      );
    }
    case 'UMUL': {
      const carry = (a * b) >> BigInt(bits) !== 0n;
      return from(a * b, { carry, overflow: carry });
    }
    case 'SMUL': {
      const product = signed(bits, a) * signed(bits, b);
      const carry = product !== signed(bits, product);
      return from(product, { carry, overflow: carry });
    }
    case 'ANDN':
      return from(a, {}, false);
    case 'BLSI':
      return from(a, { carry: b !== 0n }, false);
    case 'BLSMSK':
      return from(a, { carry: b === 0n }, false) & ~FLAG.Z;
    case 'BLSR':
      return from(a, { carry: b === 0n }, false);
    case 'ADCX':
    case 'ADOX': {
      const flag = family === 'ADCX' ? FLAG.C : FLAG.O;
      const carryIn = ndep & flag ? 1n : 0n;
      const carry = a + unsigned(bits, dep2 ^ carryIn) + carryIn > unsigned(bits, -1n);
      return (ndep & ~flag) | (carry ? flag : 0n);
    }
  }
}

/** Conditions in pairs, the odd one negated: O, B, Z, BE, S, P, L, LE. */
function condition(cond: bigint, op: bigint, dep1: bigint, dep2: bigint, ndep: bigint): bigint {
  const flags = allFlags(op, dep1, dep2, ndep);
  const has = (flag: bigint): boolean => (flags & flag) !== 0n;
  const less = has(FLAG.S) !== has(FLAG.O);
  const holds = [
    has(FLAG.O),
    has(FLAG.C),
    has(FLAG.Z),
    has(FLAG.C) || has(FLAG.Z),
    has(FLAG.S),
    has(FLAG.P),
    less,
    less || has(FLAG.Z),
  ][Number(cond >> 1n) & 7]!;
  return holds !== ((cond & 1n) === 1n) ? 1n : 0n;
}

/** CRC-32C of `bytes` little-endian bytes. */
function crc32c(crc: bigint, data: bigint, bytes: number): bigint {
  let sum = Number(unsigned(32, crc));
  for (let i = 0; i < bytes; i++) {
    sum ^= Number((data >> BigInt(8 * i)) & 0xffn);
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0x82f63b78 : 0);
  }
  return BigInt(sum >>> 0);
}

/** Moves the low bits of `source` to the set positions of `mask`. */
function deposit(source: bigint, mask: bigint): bigint {
  let result = 0n;
  for (let bit = 1n, from = 0n; bit <= mask; bit <<= 1n) {
    if (mask & bit) result |= (source >> from++) & 1n ? bit : 0n;
  }
  return result;
}

/** Collects the bits of `source` at the set positions of `mask` into the low bits. */
function extract(source: bigint, mask: bigint): bigint {
  let result = 0n;
  for (let bit = 1n, to = 0n; bit <= mask; bit <<= 1n) {
    if (mask & bit) result |= (source & bit ? 1n : 0n) << to++;
  }
  return result;
}

function multiplyAdd(a: bigint, b: bigint): bigint {
  const right = lanesOf(b, 16, 4).map((lane) => signed(16, lane));
  const products = lanesOf(a, 16, 4).map((lane, i) => signed(16, lane) * right[i]!);
  return joinLanes([products[0]! + products[1]!, products[2]! + products[3]!], 32);
}

function sumOfDifferences(a: bigint, b: bigint): bigint {
  const right = lanesOf(b, 8, 8);
  return lanesOf(a, 8, 8).reduce(
    (sum, lane, i) => sum + (lane > right[i]! ? lane - right[i]! : right[i]! - lane),
    0n,
  );
}

/** Numbers of VEX's emulation notes, in the upper half of the results below. */
const NOTE = {
  none: 0n,
  x87Exceptions: 1n,
  x87Precision: 2n,
  sseExceptions: 3n,
  flushToZero: 4n,
  denormalsAreZero: 5n,
};

/** Rounding mode that a control word asks for, and what VEX cannot emulate of it. */
function checkMxcsr(mxcsr: bigint): bigint {
  let note = NOTE.none;
  if ((mxcsr & 0x1f80n) !== 0x1f80n) note = NOTE.sseExceptions;
  else if (mxcsr & 0x8000n) note = NOTE.flushToZero;
  else if (mxcsr & 0x40n) note = NOTE.denormalsAreZero;
  return (note << 32n) | ((mxcsr >> 13n) & 3n);
}

function checkX87Control(word: bigint): bigint {
  let note = NOTE.none;
  if ((word & 0x3fn) !== 0x3fn) note = NOTE.x87Exceptions;
  else if (((word >> 8n) & 3n) !== 3n) note = NOTE.x87Precision;
  return (note << 32n) | ((word >> 10n) & 3n);
}

/** Pure helpers by the name in the IR. */
export const HELPERS: Readonly<Record<string, Helper>> = {
  amd64g_calculate_condition: { arity: 5, evaluate: condition },
  amd64g_calculate_rflags_all: { arity: 4, evaluate: allFlags },
  amd64g_calculate_rflags_c: {
    arity: 4,
    evaluate: (...thunk) => allFlags(thunk[0]!, thunk[1]!, thunk[2]!, thunk[3]!) & FLAG.C,
  },
  amd64g_calc_crc32b: { arity: 2, evaluate: (crc, data) => crc32c(crc, data, 1) },
  amd64g_calc_crc32w: { arity: 2, evaluate: (crc, data) => crc32c(crc, data, 2) },
  amd64g_calc_crc32l: { arity: 2, evaluate: (crc, data) => crc32c(crc, data, 4) },
  amd64g_calc_crc32q: { arity: 2, evaluate: (crc, data) => crc32c(crc, data, 8) },
  amd64g_calculate_pdep: { arity: 2, evaluate: deposit },
  amd64g_calculate_pext: { arity: 2, evaluate: extract },
  amd64g_calculate_mmx_pmaddwd: { arity: 2, evaluate: multiplyAdd },
  amd64g_calculate_mmx_psadbw: { arity: 2, evaluate: sumOfDifferences },
  amd64g_create_mxcsr: { arity: 1, evaluate: (mode) => 0x1f80n | ((mode & 3n) << 13n) },
  amd64g_create_fpucw: { arity: 1, evaluate: (mode) => 0x37fn | ((mode & 3n) << 10n) },
  amd64g_check_ldmxcsr: { arity: 1, evaluate: checkMxcsr },
  amd64g_check_fldcw: { arity: 1, evaluate: checkX87Control },
};
