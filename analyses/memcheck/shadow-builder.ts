/**
 * Builds the statements that compute shadows, for `instrument`: new temporaries and constants behind
 * those of a block. Equal expressions get one temporary, and what is known beforehand costs nothing:
 * a value that is statically defined has the constant 0 as its shadow.
 */
import assert from 'node:assert/strict';
import { OPERATIONS } from '../../replay/eval-ops.js';
import {
  TYPE,
  TYPE_SIZES,
  type Block,
  type Constant,
  type Expression,
  type Operand,
  type Statement,
  type Type,
} from '../../replay/ir.js';

const { I1, I8, I16, I32, I64, I128, V128, V256 } = TYPE;

/** How the operations on whole values of a type end, as in `Or64`. */
const SUFFIXES: Readonly<Partial<Record<Type, string>>> = {
  [I1]: '1',
  [I8]: '8',
  [I16]: '16',
  [I32]: '32',
  [I64]: '64',
  [V128]: 'V128',
  [V256]: 'V256',
};

export const bitsOf = (type: Type): number => (type === I1 ? 1 : 8 * TYPE_SIZES[type]);
const allOnes = (type: Type): bigint => (1n << BigInt(bitsOf(type))) - 1n;

/** Operations whose result is 0 exactly when their operand is. */
const KEEPS_ZERO = /^(?:Left|CmpwNEZ|1Sto|1Uto)/;

export class ShadowBuilder {
  readonly temps: number[];
  readonly constants: Constant[];
  readonly statements: Statement[] = [];
  private readonly assigned = new Map<string, Operand>();
  private readonly constantOperands = new Map<string, Operand>();
  private readonly equallyZero = new Map<Operand, Operand>();

  constructor(block: Block) {
    this.temps = [...block.temps];
    this.constants = [...block.constants];
  }

  /** The block with these statements in the place of its own. */
  finish(block: Block): Block {
    const { temps, constants, statements } = this;
    return { ...block, temps: Uint8Array.from(temps), constants, statements };
  }

  /** A new temporary that a statement assigns. */
  temp(type: Type): Operand {
    this.temps.push(type);
    return 2 * (this.temps.length - 1);
  }

  typeOf(operand: Operand): Type {
    return (operand & 1 ? this.constants[operand >>> 1]!.type : this.temps[operand >>> 1]!) as Type;
  }

  constant(type: Type, bits: bigint): Operand {
    const key = `${type}:${bits}`;
    let operand = this.constantOperands.get(key);
    if (operand === undefined) {
      operand = 2 * (this.constants.push({ type, bits }) - 1) + 1;
      this.constantOperands.set(key, operand);
    }
    return operand;
  }

  zero(type: Type): Operand {
    return this.constant(type, 0n);
  }

  isZero(operand: Operand): boolean {
    return (operand & 1) !== 0 && this.constants[operand >>> 1]!.bits === 0n;
  }

  private isOnes(operand: Operand): boolean {
    if (!(operand & 1)) return false;
    const { type, bits } = this.constants[operand >>> 1]!;
    return bits === allOnes(type);
  }

  private assign(type: Type, expr: Expression, key: string): Operand {
    let result = this.assigned.get(key);
    if (result === undefined) {
      result = this.temp(type);
      this.statements.push({ tag: 'WrTmp', logged: false, temp: result >>> 1, expr });
      this.assigned.set(key, result);
    }
    return result;
  }

  /** An operation that replay evaluates. */
  op(name: string, ...args: readonly Operand[]): Operand {
    const operation = OPERATIONS.get(name);
    assert(operation, `${name} is not evaluated`);
    const { result, evaluate } = operation;
    if (TYPE_SIZES[result] <= 8 && args.every((arg) => arg & 1))
      return this.constant(result, evaluate(...args.map((arg) => this.constants[arg >>> 1]!.bits)));
    const operand = this.assign(result, { tag: 'Op', op: name, args }, `${name} ${args.join(' ')}`);
    if (KEEPS_ZERO.test(name)) this.sameZero(operand, args[0]!);
    return operand;
  }

  /** Notes that a shadow is 0 exactly when another is. */
  sameZero(operand: Operand, other: Operand): void {
    if (operand !== other) this.equallyZero.set(operand, other);
  }

  /** An operation on all bits, as `stem` and the type's suffix; for I128 on both halves. */
  private bitwise(stem: string, ...args: readonly Operand[]): Operand {
    const type = this.typeOf(args[0]!);
    if (type === I128) {
      const half = (op: string): Operand =>
        this.bitwise(stem, ...args.map((arg) => this.op(op, arg)));
      return this.op('64HLto128', half('128HIto64'), half('128to64'));
    }
    return this.op(stem + SUFFIXES[type]!, ...args);
  }

  or(a: Operand, b: Operand): Operand {
    if (a === b || this.isZero(b)) return a;
    if (this.isZero(a)) return b;
    return this.bitwise('Or', a, b);
  }

  and(a: Operand, b: Operand): Operand {
    if (a === b || this.isZero(a) || this.isOnes(b)) return a;
    if (this.isZero(b) || this.isOnes(a)) return b;
    return this.bitwise('And', a, b);
  }

  not(a: Operand): Operand {
    return this.isZero(a)
      ? this.constant(this.typeOf(a), allOnes(this.typeOf(a)))
      : this.bitwise('Not', a);
  }

  choose(condition: Operand, ifTrue: Operand, ifFalse: Operand): Operand {
    if (ifTrue === ifFalse) return ifTrue;
    if (condition & 1) return this.constants[condition >>> 1]!.bits ? ifTrue : ifFalse;
    return this.assign(
      this.typeOf(ifTrue),
      { tag: 'ITE', condition, ifTrue, ifFalse },
      `ITE ${condition} ${ifTrue} ${ifFalse}`,
    );
  }

  /** I1: any bit is set. */
  any(bits: Operand): Operand {
    const same = this.equallyZero.get(bits);
    if (same !== undefined) return this.any(same);
    switch (this.typeOf(bits)) {
      case I1:
        return bits;
      case I128:
        return this.any(this.or(this.op('128HIto64', bits), this.op('128to64', bits)));
      case V128:
        return this.any(this.or(this.op('V128HIto64', bits), this.op('V128to64', bits)));
      case V256:
        return this.any(this.or(this.op('V256toV128_1', bits), this.op('V256toV128_0', bits)));
      default:
        return this.op(`CmpNEZ${bitsOf(this.typeOf(bits))}`, bits);
    }
  }

  /** All bits of a type set like one bit (I1). */
  spread(bit: Operand, type: Type): Operand {
    if (this.isZero(bit)) return this.zero(type);
    const double = (op: string, half: Type): Operand => {
      const part = this.spread(bit, half);
      return this.op(op, part, part);
    };
    switch (type) {
      case I1:
        return bit;
      case I128:
        return double('64HLto128', I64);
      case V128:
        return double('64HLtoV128', I64);
      case V256:
        return double('V128HLtoV256', V128);
      default:
        return this.op(`1Sto${bitsOf(type)}`, bit);
    }
  }

  /** All bits of a type set if any bit of some shadows is. */
  pessimise(type: Type, ...shadows: readonly Operand[]): Operand {
    const byType = new Map<Type, Operand>();
    for (const bits of shadows) {
      if (this.isZero(bits)) continue;
      const other = byType.get(this.typeOf(bits));
      byType.set(this.typeOf(bits), other === undefined ? bits : this.or(other, bits));
    }
    const [only] = byType.values();
    if (byType.size === 1 && this.typeOf(only!) === type && (type === I32 || type === I64))
      return this.op(`CmpwNEZ${bitsOf(type)}`, only!);
    const bit = [...byType.values()].reduce(
      (all, bits) => this.or(all, this.any(bits)),
      this.zero(I1),
    );
    return this.spread(bit, type);
  }
}
