/**
 * Rewrites a superblock so that it follows definedness, bit by bit, beside the values: Memcheck's
 * instrumentation on replay's IR. It is the exact version of a block, which runs only where something
 * is undefined; stack frames and calls are the compiler's business in either version.
 */
import {
  constantBits,
  JUMP_INVALIDATE,
  TYPE,
  TYPE_SIZES,
  type Block,
  type CasStatement,
  type DirtyStatement,
  type Expression,
  type Operand,
  type StateArray,
  type Statement,
  type Type,
} from '../../replay/ir.js';
import { shadowType } from '../../replay/shadow-ir.js';
import { addressOnly } from './address-only.js';
import { arrayRange, isAlwaysDefined, type RegisterOffsets } from './registers.js';
import { ShadowBuilder } from './shadow-builder.js';
import {
  checkedOperand,
  countingArguments,
  shadowOfOperation,
  type Shadowed,
} from './shadow-rules.js';

const { I1, I8, I16, I32, I64 } = TYPE;

/** Shadow of a value: its undefined bits, and where they came from, which is computed when asked for. */
interface Shadow {
  readonly bits: Operand;
  readonly origin: () => Operand;
}
type Value = Shadowed & Shadow;

/** Memcheck forgets which conditions it has checked when there were more than this many since. */
const REMEMBERED_CHECKS = 16;

/** The pieces of at most 8 bytes of a part of the guest state, as [offset, type]. */
function pieces(offset: number, size: number): (readonly [number, Type])[] {
  const list: (readonly [number, Type])[] = [];
  for (let at = offset, left = size; left > 0;) {
    const type = left >= 8 ? I64 : left >= 4 ? I32 : left >= 2 ? I16 : I8;
    list.push([at, type]);
    at += TYPE_SIZES[type];
    left -= TYPE_SIZES[type];
  }
  return list;
}

class Instrumenter {
  private readonly b: ShadowBuilder;
  private readonly shadows = new Map<number, Shadow>();
  private readonly checked: string[] = [];
  private readonly isAddressOnly: (temp: number) => boolean;

  constructor(
    private readonly block: Block,
    private readonly registers: RegisterOffsets,
  ) {
    this.b = new ShadowBuilder(block);
    this.isAddressOnly = addressOnly(block);
  }

  run(from: number): Block {
    const { block, b } = this;
    for (let i = from; i < block.statements.length; i++) this.statement(block.statements[i]!);
    this.check(block.next);
    return b.finish(block);
  }

  private defined(type: Type): Shadow {
    return { bits: this.b.zero(shadowType(type)), origin: () => this.b.zero(I32) };
  }

  private value(operand: Operand): Value {
    const shadow = operand & 1 ? undefined : this.shadows.get(operand >>> 1);
    return { operand, ...(shadow ?? this.defined(this.b.typeOf(operand))) };
  }

  /** Origin of a value made of others: that of the first which has undefined bits. */
  private originOf(values: readonly Shadow[]): () => Operand {
    const { b } = this;
    const sources = values.filter((value) => !b.isZero(value.bits));
    let known: Operand | undefined;
    return () =>
      (known ??=
        sources.reduceRight<Operand | undefined>(
          (rest, { bits, origin }) =>
            rest === undefined ? origin() : b.choose(b.any(bits), origin(), rest),
          undefined,
        ) ?? b.zero(I32));
  }

  /** Reports the use of a value if it is undefined, and takes it as defined from there on. */
  private check(operand: Operand, guard?: Operand): void {
    const { b } = this;
    const { bits, origin } = this.value(operand);
    if (b.isZero(bits)) return;
    const type = b.typeOf(operand);
    const sizeBytes = type === I1 ? 0 : TYPE_SIZES[type];
    const any = b.any(bits);
    // Memcheck leaves out a check of the same condition, such as of two addresses with one base.
    const key = `${sizeBytes} ${any} ${guard}`;
    if (!this.checked.includes(key)) {
      const use = type === I1 ? 'condition' : 'value';
      const report = { bits: any, origin: origin(), use, sizeBytes, guard } as const;
      b.statements.push({ tag: 'ShadowCheck', ...report });
      if (this.checked.push(key) > REMEMBERED_CHECKS) this.checked.shift();
    }
    const zero = b.zero(shadowType(type));
    this.shadows.set(operand >>> 1, {
      bits: guard === undefined ? zero : b.choose(guard, zero, bits),
      origin,
    });
  }

  /** A guard, or undefined when it always holds. */
  private guard(operand: Operand): Operand | undefined {
    this.check(operand);
    return constantBits(this.block, operand) === 1n ? undefined : operand;
  }

  private statement(statement: Statement): void {
    const { b } = this;
    switch (statement.tag) {
      case 'Put': {
        const type = b.typeOf(statement.data);
        if (!isAlwaysDefined(this.registers, statement.offset, TYPE_SIZES[type]))
          this.put(statement.offset, type, this.value(statement.data));
        break;
      }
      case 'PutI': {
        const { base, elemType, nElems, index, bias } = statement;
        const { bits, origin } = this.value(statement.data);
        this.check(index);
        if (!isAlwaysDefined(this.registers, ...arrayRange(statement)))
          b.statements.push({
            ...{ tag: 'ShadowPutI', base, elemType, nElems, index, bias },
            ...{ bits, origin: origin() },
          });
        break;
      }
      case 'WrTmp':
        this.shadows.set(statement.temp, this.expression(statement.expr, statement.temp));
        break;
      case 'Store':
      case 'StoreG': {
        const guard = statement.tag === 'StoreG' ? this.guard(statement.guard) : undefined;
        const data = this.value(statement.data);
        this.check(statement.address, guard);
        this.store(statement.address, b.typeOf(statement.data), data, guard);
        break;
      }
      case 'LoadG': {
        const { from, to, signed } = statement.conversion;
        const guard = this.guard(statement.guard);
        const alternative = this.value(statement.alternative);
        this.check(statement.address, guard);
        const loaded = this.load(statement.address, from, guard);
        const widening = `${8 * TYPE_SIZES[from]}${signed ? 'S' : 'U'}to${8 * TYPE_SIZES[to]}`;
        const bits = from === to ? loaded.bits : b.op(widening, loaded.bits);
        this.shadows.set(
          statement.temp,
          guard === undefined
            ? { bits, origin: loaded.origin }
            : {
                bits: b.choose(guard, bits, alternative.bits),
                origin: () => b.choose(guard, loaded.origin(), alternative.origin()),
              },
        );
        break;
      }
      case 'CAS':
        this.compareAndSwap(statement);
        return;
      case 'Dirty':
        this.dirty(statement);
        break;
      case 'Exit':
        if (statement.jumpKind !== JUMP_INVALIDATE) this.check(statement.guard);
        break;
    }
    b.statements.push(statement);
  }

  private expression(expr: Expression, temp: number): Shadow {
    const { b } = this;
    const type = this.block.temps[temp] as Type;
    switch (expr.tag) {
      case 'Get':
        return this.get(expr.offset, expr.type);
      case 'GetI':
        this.check(expr.index);
        return this.getIndexed(expr);
      case 'Atom':
        return this.value(expr.operand);
      case 'Load':
        this.check(expr.address);
        return this.load(expr.address, expr.type, undefined);
      case 'ITE': {
        const condition = this.value(expr.condition);
        const ifTrue = this.value(expr.ifTrue);
        const ifFalse = this.value(expr.ifFalse);
        const chosen: Shadow = {
          bits: b.choose(expr.condition, ifTrue.bits, ifFalse.bits),
          origin: () => b.choose(expr.condition, ifTrue.origin(), ifFalse.origin()),
        };
        return {
          bits: b.or(chosen.bits, b.pessimise(b.typeOf(chosen.bits), condition.bits)),
          origin: this.originOf([condition, chosen]),
        };
      }
      case 'Op': {
        const check = checkedOperand(expr.op);
        if (check !== undefined && check < expr.args.length) this.check(expr.args[check]!);
        const args = expr.args.map((arg) => this.value(arg));
        const anyBit = this.isAddressOnly(temp);
        return {
          bits: shadowOfOperation(b, expr.op, args, type, anyBit),
          origin: this.originOf(args),
        };
      }
      case 'CCall': {
        const args = countingArguments(expr.name, expr.args).map((arg) => this.value(arg));
        return {
          bits: b.pessimise(shadowType(type), ...args.map((arg) => arg.bits)),
          origin: this.originOf(args),
        };
      }
    }
  }

  /** Two new temporaries that a shadow statement assigns, as numbers and as a shadow. */
  private pair(type: Type): { temps: { bits: number; origin: number }; shadow: Shadow } {
    const bits = this.b.temp(shadowType(type));
    const origin = this.b.temp(I32);
    return {
      temps: { bits: bits >>> 1, origin: origin >>> 1 },
      shadow: { bits, origin: () => origin },
    };
  }

  private get(offset: number, type: Type): Shadow {
    if (isAlwaysDefined(this.registers, offset, TYPE_SIZES[type])) return this.defined(type);
    const { temps, shadow } = this.pair(type);
    this.b.statements.push({ tag: 'ShadowGet', ...temps, offset, type });
    return shadow;
  }

  private getIndexed(array: StateArray): Shadow {
    const { base, elemType, nElems, index, bias } = array;
    if (isAlwaysDefined(this.registers, ...arrayRange(array))) return this.defined(elemType);
    const { temps, shadow } = this.pair(elemType);
    this.b.statements.push({
      ...{ tag: 'ShadowGetI', base, elemType, nElems, index, bias },
      ...temps,
    });
    return shadow;
  }

  private put(offset: number, type: Type, { bits, origin }: Shadow): void {
    this.b.statements.push({ tag: 'ShadowPut', offset, type, bits, origin: origin() });
  }

  private load(address: Operand, type: Type, guard: Operand | undefined): Shadow {
    const { temps, shadow } = this.pair(type);
    this.b.statements.push({ tag: 'ShadowLoad', ...temps, type, address, guard });
    return shadow;
  }

  private store(address: Operand, type: Type, data: Shadow, guard: Operand | undefined): void {
    const { bits, origin } = data;
    this.b.statements.push({
      ...{ tag: 'ShadowStore', type, address, bits, origin: origin(), guard },
    });
  }

  /** The comparison itself is never undefined: nearly always the value is compared with itself. */
  private compareAndSwap(statement: CasStatement): void {
    const { b } = this;
    const { type, oldHi, oldLo, address, expectedLo, dataLo } = statement;
    const { expectedHi = expectedLo, dataHi = dataLo } = statement;
    const data = [this.value(dataHi), this.value(dataLo)] as const;
    this.check(address);
    const width = 8 * TYPE_SIZES[type];
    const high =
      oldHi < 0 ? address : b.op('Add64', address, b.constant(I64, BigInt(TYPE_SIZES[type])));
    // high half first, as Memcheck does
    if (oldHi >= 0) this.shadows.set(oldHi, this.load(high, type, undefined));
    this.shadows.set(oldLo, this.load(address, type, undefined));
    b.statements.push(statement);
    const same = (old: number, expected: Operand): Operand =>
      b.op(`CmpEQ${width}`, 2 * old, expected);
    let succeeded = same(oldLo, expectedLo);
    if (oldHi >= 0) {
      succeeded = b.and(same(oldHi, expectedHi), succeeded);
      this.store(high, type, data[0], succeeded);
    }
    this.store(address, type, data[1], succeeded);
  }

  /** A helper: all that it writes is undefined if anything that it reads is. */
  private dirty(statement: DirtyStatement): void {
    const { b } = this;
    const { memory, state, result } = statement;
    const always = b.constant(I1, 1n);
    const guard = this.guard(statement.guard);
    const inputs: Shadow[] = statement.args.map((arg) => this.value(arg));
    const tracked = (written: boolean): (readonly [number, Type])[] =>
      state
        .filter(({ effect }) => effect !== 'none' && effect !== (written ? 'read' : 'write'))
        .flatMap(({ offset, size, repeats, repeatStride }) =>
          Array.from({ length: repeats + 1 }, (_, i) => offset + i * repeatStride)
            .filter((at) => !isAlwaysDefined(this.registers, at, size))
            .flatMap((at) => pieces(at, size)),
        );

    for (const [offset, type] of tracked(false)) {
      const { bits, origin } = this.get(offset, type);
      inputs.push({
        bits: guard === undefined ? bits : b.choose(guard, bits, b.zero(type)),
        origin,
      });
    }
    if (memory) this.check(memory.address, guard);
    if (memory && memory.effect !== 'write') {
      const { temps, shadow } = this.pair(I64);
      const { address, size: sizeBytes } = memory;
      const how = { address, sizeBytes, guard: guard ?? always };
      b.statements.push({ tag: 'ShadowReadRange', ...temps, ...how });
      inputs.push(shadow);
    }

    const any = b.pessimise(I1, ...inputs.map((input) => input.bits));
    const origin = this.originOf(inputs);
    const output = (type: Type): Shadow => ({ bits: b.spread(any, shadowType(type)), origin });
    if (result >= 0) this.shadows.set(result, output(this.block.temps[result] as Type));
    for (const [offset, type] of tracked(true)) {
      const written = output(type);
      if (guard === undefined) {
        this.put(offset, type, written);
        continue;
      }
      const kept = this.get(offset, type);
      this.put(offset, type, {
        bits: b.choose(guard, written.bits, kept.bits),
        origin: () => b.choose(guard, origin(), kept.origin()),
      });
    }
    if (memory && memory.effect !== 'read') {
      const { address, size: sizeBytes } = memory;
      const { bits } = output(I64);
      const how = { address, sizeBytes, guard: guard ?? always };
      b.statements.push({ tag: 'ShadowWriteRange', bits, origin: origin(), ...how });
    }
  }
}

/**
 * The exact version of a superblock.
 * @param from - number of the statement that it begins with; all temporaries that earlier statements
 *   assign are wholly defined
 * @param registers - offsets of the guest's registers by name
 * @returns a block with the statements of `block` from there on, unchanged and in order, among
 *   shadow statements and assignments to temporaries and of constants that are behind those of `block`
 */
export function instrument(block: Block, from: number, registers: RegisterOffsets): Block {
  return new Instrumenter(block, registers).run(from);
}
