/**
 * How undefined bits go through each operation: from the operands and their shadows to the shadow of
 * the result, by families of names. The rules are those of Memcheck (Seward and Nethercote, "Using
 * Valgrind to detect undefined value errors with bit-precision"), where additions, subtractions and
 * comparisons for equality always get the precise one.
 */
import { OPERATIONS } from '../../replay/eval-ops.js';
import { TYPE, type Operand, type Type } from '../../replay/ir.js';
import { shadowType } from '../../replay/shadow-ir.js';
import { bitsOf, type ShadowBuilder } from './shadow-builder.js';

const { I8, I16, I32, I64, I128, V128 } = TYPE;

/** An operand with its shadow. */
export interface Shadowed {
  readonly operand: Operand;
  /** A set bit for each undefined one; its type is the shadow type of the operand's. */
  readonly bits: Operand;
}

/** An application of an operation whose name matched. */
interface Application {
  readonly name: string;
  readonly match: readonly string[];
  /** Shadow type of the result. */
  readonly type: Type;
  /** Only whether the result has any undefined bit matters. */
  readonly anyBit: boolean;
}

type Rule = (b: ShadowBuilder, args: readonly Shadowed[], application: Application) => Operand;

const INTEGERS: Readonly<Record<string, Type>> = { 8: I8, 16: I16, 32: I32, 64: I64, 128: I128 };

/** A bit that is defined and decides the result (0 for And, 1 for Or) makes it defined. */
const decided =
  (isOr: boolean): Rule =>
  (b, [x, y]) => {
    const undecided = (v: Shadowed): Operand => b.or(isOr ? b.not(v.operand) : v.operand, v.bits);
    if (b.isZero(x!.bits)) return b.and(y!.bits, undecided(x!));
    if (b.isZero(y!.bits)) return b.and(x!.bits, undecided(y!));
    return b.and(b.or(x!.bits, y!.bits), b.and(undecided(x!), undecided(y!)));
  };

const either: Rule = (b, args) => args.map((v) => v.bits).reduce((x, y) => b.or(x, y));

const copied: Rule = (_b, [x]) => x!.bits;

/** The operation only moves bits, so it moves those of the shadow as well. */
const moved: Rule = (b, args, { name }) => b.op(name, ...args.map((v) => v.bits));

/** An undefined bit makes all above it undefined, as carries do. */
const carried: Rule = (b, args, application) =>
  b.op(`Left${bitsOf(application.type)}`, either(b, args, application));

/** The carries differ where the least and the greatest values that the operands can have differ. */
const addedExactly: Rule = (b, args, application) => {
  const { name, match, type, anyBit } = application;
  if (anyBit) return carried(b, args, application);
  const least = (v: Shadowed): Operand => b.and(v.operand, b.not(v.bits));
  const greatest = (v: Shadowed): Operand => b.or(v.operand, v.bits);
  const [x, y] = args as [Shadowed, Shadowed];
  const subtract = match[1] === 'Sub';
  const low = b.op(name, least(x), subtract ? greatest(y) : least(y));
  const high = b.op(name, greatest(x), subtract ? least(y) : greatest(y));
  const own = b.or(x.bits, y.bits);
  const result = b.or(own, b.op(`Xor${bitsOf(type)}`, low, high));
  if (subtract) b.sameZero(result, own);
  return result;
};

const multipliedLong: Rule = (b, args, { match }) => {
  const width = Number(match[1]);
  const low = b.op(`Left${width}`, b.or(args[0]!.bits, args[1]!.bits));
  return b.op(`${width}HLto${2 * width}`, b.pessimise(INTEGERS[width]!, low), low);
};

const shifted: Rule = (b, [x, amount], { name, type }) => {
  const all = b.pessimise(type, amount!.bits);
  return b.isZero(x!.bits) ? all : b.or(b.op(name, x!.bits, amount!.operand), all);
};

/** Two bits that are defined and differ decide the comparison. */
const compared: Rule = (b, [x, second], { match }) => {
  const width = Number(match[1]);
  const zero = b.zero(INTEGERS[width]!);
  const y = second ?? { operand: zero, bits: zero };
  const unknown = b.or(x!.bits, y.bits);
  const differs = b.isZero(y.operand) ? x!.operand : b.op(`Xor${width}`, x!.operand, y.operand);
  const different = b.any(b.and(differs, b.not(unknown)));
  return b.and(b.any(unknown), b.not(different));
};

/** Only the bits up to and with the first that is set count. */
const counted: Rule = (b, [x], { match, type }) => {
  const [, direction, width] = match;
  const { operand } = x!;
  let counting: Operand;
  if (direction === 'Ctz') {
    const below = b.op(`Sub${width}`, operand, b.constant(type, 1n));
    counting = b.op(`Xor${width}`, operand, below);
  } else {
    const right = (bits: Operand, by: number): Operand =>
      b.op(`Shr${width}`, bits, b.constant(I8, BigInt(by)));
    let filled = operand;
    for (let by = 1; by < Number(width); by *= 2) filled = b.or(filled, right(filled, by));
    counting = b.not(right(filled, 1));
  }
  return b.pessimise(type, b.and(x!.bits, counting));
};

/** Each lane is wholly undefined if any of its bits is; operands of other types hit all lanes. */
function lanes(b: ShadowBuilder, width: number, type: Type, shadows: readonly Operand[]): Operand {
  const count = bitsOf(type) / width;
  const vectors = shadows.filter((bits) => b.typeOf(bits) === type);
  const others = shadows.filter((bits) => b.typeOf(bits) !== type);
  const all = vectors.reduce((x, y) => b.or(x, y), b.zero(type));
  const spreading = `CmpNEZ${width}x${count}`;
  if (b.isZero(all) || !OPERATIONS.has(spreading)) return b.pessimise(type, ...shadows);
  return b.or(b.op(spreading, all), b.pessimise(type, ...others));
}

const byLanes =
  (width?: number): Rule =>
  (b, args, { match, type }) =>
    lanes(
      b,
      width ?? Number(match[1]),
      type,
      args.map((v) => v.bits),
    );

/** Scalar operations in the lowest lane; the others come from the first operand. */
const lowestLane: Rule = (b, args, { match }) => {
  const width = Number(match[1]);
  const low = b.op(
    `V128to${width}`,
    args.map((v) => v.bits).reduce((x, y) => b.or(x, y)),
  );
  return b.op(`SetV128lo${width}`, args[0]!.bits, b.pessimise(INTEGERS[width]!, low));
};

/** Lanes of the first operand, chosen by those of the second. */
const permuted: Rule = (b, [x, control], { name, match, type }) => {
  const chosen = b.isZero(x!.bits) ? x!.bits : b.op(name, x!.bits, control!.operand);
  return b.or(chosen, lanes(b, Number(match[1]), type, [control!.bits]));
};

/** All lanes by one amount, which has been checked. */
const lanesShifted: Rule = (b, [x, amount], { name, type }) =>
  b.isZero(x!.bits) ? b.zero(type) : b.op(name, x!.bits, amount!.operand);

/** Narrowing that keeps the meaning of all-zeros and all-ones lanes: signed saturation. */
const narrowed: Rule = (b, args, { match, type }) => {
  const [, from, to, count] = match;
  const halves = args.map((v) => lanes(b, Number(from), type, [v.bits]));
  return b.op(`QNarrowBin${from}Sto${to}Sx${count}`, ...halves);
};

const floatNarrowed: Rule = (b, [mode, x], { type }) => {
  const source = b.typeOf(x!.bits);
  const whole = lanes(b, 32, source, [x!.bits]);
  const halves =
    source === V128
      ? b.op('QNarrowBin32Sto16Sx4', b.op('V128HIto64', whole), b.op('V128to64', whole))
      : b.op('QNarrowBin32Sto16Sx8', b.op('V256toV128_1', whole), b.op('V256toV128_0', whole));
  return b.or(halves, b.pessimise(type, mode!.bits));
};

const floatWidened: Rule = (b, [x], { type }) => {
  const source = b.typeOf(x!.bits);
  const whole = lanes(b, 16, source, [x!.bits]);
  const shape = source === V128 ? '16x8' : '16x4';
  const half = (which: string): Operand => b.op(`Interleave${which}${shape}`, whole, whole);
  return b.op(type === V128 ? '64HLtoV128' : 'V128HLtoV256', half('HI'), half('LO'));
};

const LANE_OPERATIONS =
  'Q?Add|Q?Sub|Mul|MulHi|Max|Min|Avg|CmpEQ|CmpGT|CmpLT|CmpLE|CmpUN|CmpNEZ|Div|Sqrt|RecipEst|RSqrtEst';

/** The first family that matches holds; what none matches is wholly undefined if any operand is. */
const FAMILIES: readonly (readonly [RegExp, Rule])[] = [
  [/^And(?:1|8|16|32|64|V128|V256)$/, decided(false)],
  [/^Or(?:1|8|16|32|64|V128|V256)$/, decided(true)],
  [/^Xor(?:8|16|32|64|V128|V256)$/, either],
  [/^Not(?:1|8|16|32|64|V128|V256)$/, copied],
  [/^Reinterp[FI](32|64)as[FI]\1$/, copied],
  [/^(Add|Sub)(?:32|64)$/, addedExactly],
  [/^(?:(?:Add|Sub)(?:8|16)|Mul(?:8|16|32|64)|Left(?:8|16|32|64))$/, carried],
  [/^Mull[SU](8|16|32|64)$/, multipliedLong],
  [/^(?:Shl|Shr|Sar)(?:8|16|32|64)$/, shifted],
  [/^(?:CmpEQ|CmpNE|ExpCmpNE|CmpNEZ)(8|16|32|64)$/, compared],
  // They compare what memory holds with what it held a moment before.
  [/^CasCmp(?:EQ|NE)(?:8|16|32|64)$/, (b, _args, { type }) => b.zero(type)],
  [/^(Clz|Ctz)(?:Nat)?(32|64)$/, counted],
  [/^\d+(?:[US]|HI|HL)?to\d+$/, moved],
  [/^(?:V128(?:HI)?to(?:32|64)|(?:32|64)UtoV128|64HLtoV128|SetV128lo(?:32|64))$/, moved],
  [/^(?:ZeroHI\d+ofV128|V256to(?:V128|64)_\d|V128HLtoV256|64x4toV256)$/, moved],
  [/^(?:Interleave(?:HI|LO)|Cat(?:Even|Odd)Lanes|GetMSBs|NarrowBin\d+to)\d+x\d+$/, moved],
  [/^Perm(?:OrZero)?(8|32)x\d+$/, permuted],
  [/^(?:Shl|Shr|Sar)N\d+x\d+$/, lanesShifted],
  [/^QNarrowBin(\d+)Sto(\d+)[SU]x(\d+)$/, narrowed],
  [new RegExp(`^(?:${LANE_OPERATIONS})(8|16|32|64)[SUF]?x\\d+$`), byLanes()],
  [/^(?:I32StoF32|F32toI32S)x\d+$/, byLanes(32)],
  [/^PwExtUSMulQAdd8x16$/, byLanes(16)],
  [new RegExp(`^(?:${LANE_OPERATIONS})(32|64)F0x\\d$`), lowestLane],
  [/^F32toF16x[48]$/, floatNarrowed],
  [/^F16toF32x[48]$/, floatWidened],
];
/** They compute the shadow with the operation itself, which replay must be able to evaluate. */
const SELF: readonly Rule[] = [moved, permuted, lanesShifted, narrowed];

const unknown: Rule = (b, args, { type }) => b.pessimise(type, ...args.map((v) => v.bits));

const found = new Map<string, readonly [readonly string[], Rule]>();

function ruleOf(name: string): readonly [readonly string[], Rule] {
  let entry = found.get(name);
  if (!entry) {
    entry = [[], unknown];
    for (const [pattern, rule] of FAMILIES) {
      const match = pattern.exec(name);
      if (!match) continue;
      if (OPERATIONS.has(name) || !SELF.includes(rule)) entry = [match, rule];
      break;
    }
    found.set(name, entry);
  }
  return entry;
}

/** The operand whose value Memcheck wants defined before the operation, if there is one. */
export function checkedOperand(name: string): number | undefined {
  return ruleOf(name)[1] === lanesShifted ? 1 : undefined;
}

/**
 * Shadow of an operation's result.
 * @param resultType - type of the result, whose shadow type the returned operand has
 * @param anyBit - all that counts is whether the result has an undefined bit
 */
export function shadowOfOperation(
  b: ShadowBuilder,
  name: string,
  args: readonly Shadowed[],
  resultType: Type,
  anyBit: boolean,
): Operand {
  const type = shadowType(resultType);
  if (args.every((v) => b.isZero(v.bits))) return b.zero(type);
  const [match, rule] = ruleOf(name);
  return rule(b, args, { name, match, type, anyBit });
}

/** Arguments of helpers that do not count: the flags' operation and its scratch value. */
const IGNORED_ARGUMENTS: Readonly<Record<string, readonly number[]>> = {
  amd64g_calculate_condition: [0, 1, 4],
  amd64g_calculate_rflags_all: [0, 3],
  amd64g_calculate_rflags_c: [0, 3],
};

/** The arguments of a clean helper that its result's definedness depends on. */
export function countingArguments<T>(helper: string, args: readonly T[]): readonly T[] {
  const ignored = IGNORED_ARGUMENTS[helper];
  return ignored ? args.filter((_, i) => !ignored.includes(i)) : args;
}
