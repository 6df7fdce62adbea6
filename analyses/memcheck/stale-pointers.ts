/**
 * Rewrites superblocks so that stale pointers are followed through registers, memory and arithmetic. The
 * shadow of a value is a number here: how many times the stale address is in it. A copy has 1, the
 * difference of two stale pointers 0, and so has what is moved by that difference to a new block. Shadow
 * state carries the number as it would undefined bits, and the origin says which block it is of.
 */
import {
  constantBits,
  TYPE,
  TYPE_SIZES,
  type Block,
  type Expression,
  type Operand,
  type Statement,
  type Type,
} from '../../replay/ir.js';
import { shadowType } from '../../replay/shadow-ir.js';
import { isAlwaysDefined, type RegisterOffsets } from './registers.js';
import { ShadowBuilder } from './shadow-builder.js';

/** The shadow of a word that is a stale pointer, as it is stored in the bits of memory. */
export const STALE_WORD = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

/** Operations that only move the parts of a value: done to a shadow, they move those of that. */
const MOVES: ReadonlySet<string> = new Set([
  ...['V128to64', 'V128HIto64', '64HLtoV128', '64UtoV128', 'SetV128lo64', 'InterleaveLO64x2'],
  ...['InterleaveHI64x2', 'V256toV128_0', 'V256toV128_1', 'V128HLtoV256', '64x4toV256'],
  ...['V256to64_0', 'V256to64_1', 'V256to64_2', 'V256to64_3', '64HLto128', '128to64', '128HIto64'],
]);
/** Operations that change nothing but the type. */
const SAME: ReadonlySet<string> = new Set(['ReinterpF64asI64', 'ReinterpI64asF64']);
/** Numbers of so much or less that are put in a pointer's low bits are tags. */
const LARGEST_TAG = 15n;

interface Stale {
  /** The number; of values other than integers of 64 bits, those of its words. */
  readonly count: Operand;
  readonly origin: Operand;
}

/**
 * A block that follows stale pointers and tells of each access through one. Before such an access, with the
 * address at hand, come a `ShadowCheck` with the origin, whose `use` is `condition` for a store, and a
 * `ShadowReadRange` of what is to be accessed.
 * @param from as for `instrument`
 */
export function followStale(block: Block, from: number, registers: RegisterOffsets): Block {
  return new Follower(block, registers).run(from);
}

class Follower {
  private readonly b: ShadowBuilder;
  private readonly values = new Map<number, Stale>();
  private readonly noOrigin: Operand;
  private readonly one: Operand;

  constructor(
    private readonly block: Block,
    private readonly registers: RegisterOffsets,
  ) {
    this.b = new ShadowBuilder(block);
    this.noOrigin = this.b.zero(TYPE.I32);
    this.one = this.b.constant(TYPE.I64, 1n);
  }

  run(from: number): Block {
    const { block, b } = this;
    for (const statement of block.statements.slice(from)) this.statement(statement);
    return b.finish(block);
  }

  private none(type: Type): Stale {
    return { count: this.b.zero(shadowType(type)), origin: this.noOrigin };
  }

  private value(operand: Operand): Stale {
    const known = operand & 1 ? undefined : this.values.get(operand >>> 1);
    return known ?? this.none(this.b.typeOf(operand));
  }

  private pair(type: Type): { temps: { bits: number; origin: number }; stale: Stale } {
    const count = this.b.temp(shadowType(type));
    const origin = this.b.temp(TYPE.I32);
    return { temps: { bits: count >>> 1, origin: origin >>> 1 }, stale: { count, origin } };
  }

  /** Tells of an access if its address is a stale pointer with some distance. */
  private access(address: Operand, sizeBytes: number, isStore: boolean, guard?: Operand): void {
    const { b } = this;
    const { count, origin } = this.value(address);
    if (b.isZero(count)) return;
    const isStale = b.op('CmpEQ64', count, this.one);
    const bits = guard === undefined ? isStale : b.and(isStale, guard);
    const use = isStore ? 'condition' : 'value';
    b.statements.push(
      { tag: 'ShadowCheck', bits, origin, use, sizeBytes, guard: undefined },
      {
        ...{ tag: 'ShadowReadRange', address, sizeBytes, guard: bits },
        ...this.pair(TYPE.I64).temps,
      },
    );
  }

  private load(address: Operand, type: Type, guard?: Operand): Stale {
    this.access(address, TYPE_SIZES[type], false, guard);
    const { temps, stale } = this.pair(type);
    this.b.statements.push({ tag: 'ShadowLoad', ...temps, type, address, guard });
    return stale;
  }

  private store(address: Operand, type: Type, { count, origin }: Stale, guard?: Operand): void {
    this.b.statements.push({ tag: 'ShadowStore', type, address, bits: count, origin, guard });
  }

  private statement(statement: Statement): void {
    const { b } = this;
    switch (statement.tag) {
      case 'Put': {
        const type = b.typeOf(statement.data);
        const { offset } = statement;
        const { count, origin } = this.value(statement.data);
        if (!isAlwaysDefined(this.registers, offset, TYPE_SIZES[type]))
          b.statements.push({ tag: 'ShadowPut', offset, type, bits: count, origin });
        break;
      }
      case 'PutI': {
        const { base, elemType, nElems, index, bias } = statement;
        const { count, origin } = this.value(statement.data);
        b.statements.push({
          ...{ tag: 'ShadowPutI', base, elemType, nElems, index, bias },
          ...{ bits: count, origin },
        });
        break;
      }
      case 'WrTmp':
        this.values.set(statement.temp, this.expression(statement.expr, statement.temp));
        break;
      case 'Store':
      case 'StoreG': {
        const guard = statement.tag === 'StoreG' ? statement.guard : undefined;
        const type = b.typeOf(statement.data);
        this.access(statement.address, TYPE_SIZES[type], true, guard);
        this.store(statement.address, type, this.value(statement.data), guard);
        break;
      }
      case 'LoadG': {
        const { address, guard, alternative, conversion } = statement;
        const { from, to } = conversion;
        const loaded = this.load(address, from, guard);
        const other = this.value(alternative);
        const moved = from === to ? loaded : this.none(to);
        this.values.set(statement.temp, {
          count: b.choose(guard, moved.count, other.count),
          origin: b.choose(guard, moved.origin, other.origin),
        });
        break;
      }
      case 'CAS': {
        const { type, oldHi, oldLo, address, expectedLo, dataLo } = statement;
        const old = this.load(address, type);
        this.access(address, TYPE_SIZES[type], true);
        if (oldHi < 0) this.values.set(oldLo, old);
        b.statements.push(statement);
        if (oldHi < 0) {
          const width = 8 * TYPE_SIZES[type];
          const succeeded = b.op(`CmpEQ${width}`, 2 * oldLo, expectedLo);
          this.store(address, type, this.value(dataLo), succeeded);
        } else {
          const size = TYPE_SIZES[type];
          const high = b.op('Add64', address, b.constant(TYPE.I64, BigInt(size)));
          for (const half of [address, high]) this.store(half, type, this.none(type));
        }
        return;
      }
      case 'Dirty':
        for (const { effect, offset, size, repeats, repeatStride } of statement.state) {
          if (effect !== 'write' && effect !== 'modify') continue;
          for (let i = 0; i <= repeats; i++)
            for (let at = 0; at + 8 <= size; at += 8) this.clear(offset + i * repeatStride + at);
        }
        if (statement.memory && statement.memory.effect !== 'read') {
          const { address, size: sizeBytes } = statement.memory;
          const how = { address, sizeBytes, guard: statement.guard };
          const bits = b.zero(TYPE.I64);
          b.statements.push({ tag: 'ShadowWriteRange', bits, origin: this.noOrigin, ...how });
        }
        break;
    }
    b.statements.push(statement);
  }

  private clear(offset: number): void {
    if (isAlwaysDefined(this.registers, offset, 8)) return;
    const { count: bits, origin } = this.none(TYPE.I64);
    this.b.statements.push({ tag: 'ShadowPut', offset, type: TYPE.I64, bits, origin });
  }

  private expression(expr: Expression, temp: number): Stale {
    const { b } = this;
    const type = this.block.temps[temp] as Type;
    switch (expr.tag) {
      case 'Get': {
        const { offset } = expr;
        if (isAlwaysDefined(this.registers, offset, TYPE_SIZES[type])) return this.none(type);
        const { temps, stale } = this.pair(type);
        b.statements.push({ tag: 'ShadowGet', ...temps, offset, type });
        return stale;
      }
      case 'GetI': {
        const { base, elemType, nElems, index, bias } = expr;
        const { temps, stale } = this.pair(elemType);
        const array = { base, elemType, nElems, index, bias };
        b.statements.push({ tag: 'ShadowGetI', ...array, ...temps });
        return stale;
      }
      case 'Atom':
        return this.value(expr.operand);
      case 'Load':
        return this.load(expr.address, expr.type);
      case 'ITE': {
        const [yes, no] = [this.value(expr.ifTrue), this.value(expr.ifFalse)];
        return {
          count: b.choose(expr.condition, yes.count, no.count),
          origin: b.choose(expr.condition, yes.origin, no.origin),
        };
      }
      case 'Op':
        return this.operation(expr.op, expr.args) ?? this.none(type);
      case 'CCall':
        return this.none(type);
    }
  }

  private operation(op: string, args: readonly Operand[]): Stale | undefined {
    const { b } = this;
    const values = args.map((arg) => this.value(arg));
    if (values.every(({ count }) => b.isZero(count))) return undefined;
    const [x, y] = values as [Stale, Stale];
    const origin = values
      .filter(({ count }) => !b.isZero(count))
      .reduceRight<Operand>(
        (rest, value) => b.choose(b.any(value.count), value.origin, rest),
        this.noOrigin,
      );
    if (MOVES.has(op)) return { count: b.op(op, ...values.map(({ count }) => count)), origin };
    if (SAME.has(op)) return x;
    const constant = args.map((arg) => constantBits(this.block, arg));
    switch (op) {
      case 'Add64':
      case 'Sub64':
        return { count: b.op(op, x.count, y.count), origin };
      case 'Not64':
        return { count: b.op('Sub64', b.zero(TYPE.I64), x.count), origin };
      case 'Shl64':
        return constant[1] === undefined
          ? undefined
          : { count: b.op(op, x.count, args[1]!), origin };
      case 'And64':
        // aligned, or without its tag
        return this.unlessChanged(values, constant, (mask) => mask >= 1n << 63n);
      case 'Or64':
      case 'Xor64':
        return this.unlessChanged(values, constant, (tag) => tag <= LARGEST_TAG);
      default:
        return undefined;
    }
  }

  /** One of two operands is a constant that leaves the address in the other as it is, but for its low bits. */
  private unlessChanged(
    [x, y]: readonly Stale[],
    [first, second]: readonly (bigint | undefined)[],
    keeps: (constant: bigint) => boolean,
  ): Stale | undefined {
    if (second !== undefined && keeps(second)) return x;
    return first !== undefined && keeps(first) ? y : undefined;
  }
}
