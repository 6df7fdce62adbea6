/**
 * `instrument` against what definedness means: each operation is evaluated with many fillings of its
 * undefined bits, and what differs must be marked. Then exact shadows of known idioms, and where checks
 * and shadow accesses stand. Instrumented blocks are run by a small evaluator of straight-line code.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkedOperand } from '../analyses/memcheck/shadow-rules.js';
import { instrument } from '../analyses/memcheck/instrument.js';
import { touchedRegisters, type RegisterOffsets } from '../analyses/memcheck/registers.js';
import { OPERATIONS } from '../replay/eval-ops.js';
import {
  decodeBlock,
  TYPE,
  TYPE_SIZES,
  type Block,
  type Expression,
  type Operand,
  type Statement,
  type Type,
} from '../replay/ir.js';
import { shadowType } from '../replay/shadow-ir.js';
import { superblocks } from '../replay/scan-code.js';
import { Trace } from '../replay/trace.js';
import { BlockBuilder, type Atom } from './block-builder.js';
import { record } from './guest.js';

const { I1, I8, I16, I32, I64, F64, V128 } = TYPE;
const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);

const REGISTERS: RegisterOffsets = { CC_OP: 144, CC_DEP1: 152, RIP: 184, FPTAG: 896, FTOP: 824 };
const RIP = 184;
/** Where tests keep operands, and the result. */
const argument = (i: number): number => 1024 + 32 * i;
const RESULT = 2048;

/** A small deterministic generator (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}
const next = randomNumbers(SEED);

const bitsOf = (type: Type): number => (type === I1 ? 1 : 8 * TYPE_SIZES[type]);
const ones = (type: Type): bigint => (1n << BigInt(bitsOf(type))) - 1n;

function randomBits(type: Type): bigint {
  let bits = 0n;
  for (let i = 0; i < 8; i++) bits = (bits << 32n) | BigInt(next());
  return bits & ones(type);
}

/** A value: uniform, small, or of bytes that are all zeros or all ones. */
function randomValue(type: Type): bigint {
  switch (next() % 4) {
    case 0:
      return BigInt(next() % 40) & ones(type);
    case 1: {
      let bits = 0n;
      for (let i = 0; i < 32; i++) bits = (bits << 8n) | [0n, 0xffn, 0x80n, 1n][next() % 4]!;
      return bits & ones(type);
    }
    default:
      return randomBits(type);
  }
}

/** Which bits are undefined: none, all, one, a byte, few or many. */
function randomMask(type: Type): bigint {
  const size = bitsOf(type);
  const at = BigInt(next() % size);
  switch (next() % 7) {
    case 0:
      return 0n;
    case 1:
      return ones(type);
    case 2:
      return 1n << at;
    case 3:
      return (0xffn << (at & ~7n)) & ones(type);
    case 4:
      return randomBits(type) & randomBits(type) & randomBits(type) & randomBits(type);
    case 5:
      return (ones(type) << at) & ones(type);
    default:
      return randomBits(type);
  }
}

interface Cell {
  readonly value: bigint;
  /** Undefined bits. */
  readonly bits: bigint;
  readonly origin?: bigint;
}
const cell = (value: bigint, bits = 0n, origin = 0n): Cell => ({ value, bits, origin });

interface Run {
  /** What was put, by offset. */
  readonly state: Map<number, Cell>;
  readonly memory: Map<bigint, Cell>;
  /** Checks that reported something: what was used, its size, its origin. */
  readonly reports: string[];
}

/** Runs a block up to its end or a taken exit, on registers and memory given as whole cells. */
function run(block: Block, registers: Record<number, Cell>, memory: [bigint, Cell][] = []): Run {
  const temps = new Array<bigint | undefined>(block.temps.length);
  const value = (operand: Operand): bigint => {
    const bits = operand & 1 ? block.constants[operand >>> 1]!.bits : temps[operand >>> 1];
    assert(bits !== undefined, `temporary ${operand >>> 1} is used before it is assigned`);
    return bits;
  };
  const set = (temp: number, bits: bigint): void => {
    assert.equal(temps[temp], undefined, `temporary ${temp} is assigned twice`);
    assert.equal(bits, bits & ones(block.temps[temp] as Type), `temporary ${temp} overflows`);
    temps[temp] = bits;
  };
  const state = new Map(Object.entries(registers).map(([at, c]) => [Number(at), c]));
  const cells = new Map(memory);
  const reports: string[] = [];
  const holds = (guard: Operand | undefined): boolean => guard === undefined || value(guard) === 1n;
  const stateAt = (at: number): Cell => state.get(at) ?? cell(0n);
  const memoryAt = (at: bigint): Cell => cells.get(at) ?? cell(0n);

  const evaluate = (expr: Expression): bigint => {
    switch (expr.tag) {
      case 'Get':
        return stateAt(expr.offset).value;
      case 'Op':
        return OPERATIONS.get(expr.op)!.evaluate(...expr.args.map(value));
      case 'ITE':
        return value(expr.condition) ? value(expr.ifTrue) : value(expr.ifFalse);
      case 'Atom':
        return value(expr.operand);
      case 'Load':
        return memoryAt(value(expr.address)).value;
      default:
        return 0n;
    }
  };
  for (const s of block.statements) {
    switch (s.tag) {
      case 'WrTmp':
        set(s.temp, evaluate(s.expr));
        break;
      case 'LoadG':
        set(s.temp, holds(s.guard) ? memoryAt(value(s.address)).value : value(s.alternative));
        break;
      case 'Put':
        state.set(s.offset, { ...stateAt(s.offset), value: value(s.data) });
        break;
      case 'Store':
      case 'StoreG':
        if (s.tag === 'Store' || holds(s.guard))
          cells.set(value(s.address), { ...memoryAt(value(s.address)), value: value(s.data) });
        break;
      case 'CAS': {
        const at = value(s.address);
        const old = memoryAt(at);
        set(s.oldLo, old.value);
        if (old.value === value(s.expectedLo)) cells.set(at, { ...old, value: value(s.dataLo) });
        break;
      }
      case 'Dirty':
        if (s.result >= 0) set(s.result, 0n);
        break;
      case 'ShadowGet': {
        const { bits, origin = 0n } = stateAt(s.offset);
        set(s.bits, bits);
        set(s.origin, origin);
        break;
      }
      case 'ShadowPut':
        state.set(s.offset, cell(stateAt(s.offset).value, value(s.bits), value(s.origin)));
        break;
      case 'ShadowLoad': {
        const { bits, origin = 0n } = holds(s.guard) ? memoryAt(value(s.address)) : cell(0n);
        set(s.bits, bits);
        set(s.origin, origin);
        break;
      }
      case 'ShadowStore': {
        const at = value(s.address);
        if (holds(s.guard)) cells.set(at, cell(memoryAt(at).value, value(s.bits), value(s.origin)));
        break;
      }
      case 'ShadowReadRange': {
        const { bits, origin = 0n } = memoryAt(value(s.address));
        set(s.bits, bits && ones(I64));
        set(s.origin, origin);
        break;
      }
      case 'ShadowWriteRange':
        if (holds(s.guard)) cells.set(value(s.address), cell(0n, value(s.bits), value(s.origin)));
        break;
      case 'ShadowCheck':
        if (holds(s.guard) && value(s.bits) !== 0n)
          reports.push(`${s.use} ${s.sizeBytes} ${value(s.origin)}`);
        break;
      case 'Exit':
        if (value(s.guard) === 1n) return { state, memory: cells, reports };
        break;
    }
  }
  return { state, memory: cells, reports };
}

/** Decodes a block that a test describes. */
function makeBlock(describeBlock: (b: BlockBuilder) => Atom | void): Block {
  const ops: string[] = [];
  const builder = new BlockBuilder(0x1000n, ops);
  const next = describeBlock(builder) ?? builder.i64(0x2000n);
  return decodeBlock(builder.end(next, RIP), 0x1000n, ops, 4096);
}

const tags = (block: Block): string[] => block.statements.map((s) => s.tag);
const only = <T extends Statement['tag']>(block: Block, tag: T): Extract<Statement, { tag: T }>[] =>
  block.statements.filter((s): s is Extract<Statement, { tag: T }> => s.tag === tag);

/** Assignments only to new temporaries, by operations that replay evaluates, of the right types. */
function assertWellFormed(original: Block, block: Block, from = 0): void {
  const typeOf = (operand: Operand): number =>
    operand & 1 ? block.constants[operand >>> 1]!.type : block.temps[operand >>> 1]!;
  assert.deepEqual(block.temps.slice(0, original.temps.length), original.temps);
  assert.deepEqual(block.constants.slice(0, original.constants.length), original.constants);
  const old = new Set(original.statements);
  assert.deepEqual(
    block.statements.filter((s) => old.has(s)),
    original.statements.slice(from),
  );
  for (const s of block.statements) {
    if (s.tag === 'WrTmp' && !old.has(s)) {
      assert(s.temp >= original.temps.length && !s.logged);
      if (s.expr.tag === 'Op') {
        const operation = OPERATIONS.get(s.expr.op);
        assert(operation, `${s.expr.op} is not evaluated`);
        assert.deepEqual(
          s.expr.args.map((arg) => shadowType(typeOf(arg) as Type)),
          operation.args.map(shadowType),
          s.expr.op,
        );
        assert.equal(block.temps[s.temp], operation.result);
      }
    }
    if ('bits' in s && s.tag !== 'ShadowCheck') {
      const assigned = s.tag === 'ShadowGet' || s.tag === 'ShadowGetI' || s.tag === 'ShadowLoad';
      if (assigned) {
        const type = s.tag === 'ShadowGetI' ? s.elemType : s.type;
        assert.equal(block.temps[s.bits], shadowType(type));
        assert.equal(block.temps[s.origin], I32);
      } else if (s.tag !== 'ShadowReadRange') {
        const type =
          s.tag === 'ShadowPutI' ? s.elemType : s.tag === 'ShadowWriteRange' ? I64 : s.type;
        assert.equal(typeOf(s.bits), shadowType(type));
        assert.equal(typeOf(s.origin), I32);
      }
    }
  }
}

/** One operation on registers, its result put into another. */
function operationBlock(name: string): { block: Block; shadowed: Block } {
  const { args, result } = OPERATIONS.get(name)!;
  const block = makeBlock((b) => {
    const atoms = args.map((type, i) =>
      type === I1 ? b.op('64to1', I1, [b.get(argument(i), I64)]) : b.get(argument(i), type),
    );
    const value = b.op(name, result, atoms);
    b.put(RESULT, result === I1 ? b.op('1Uto8', I8, [value]) : value);
  });
  const shadowed = instrument(block, 0, REGISTERS);
  assertWellFormed(block, shadowed);
  return { block, shadowed };
}

const registersOf = (cells: readonly Cell[]): Record<number, Cell> =>
  Object.fromEntries(cells.map((c, i) => [argument(i), c]));

/** Undefined bits of the result of an operation. */
const shadowOf = (shadowed: Block, ...cells: readonly Cell[]): bigint =>
  run(shadowed, registersOf(cells)).state.get(RESULT)!.bits;

/** By definition they only compare a value with itself. */
const ALWAYS_DEFINED_RESULT = /^CasCmp/;

describe(`operations (SEED=${SEED})`, () => {
  test('every bit that undefined bits can change is undefined', () => {
    for (const [name, { args, evaluate }] of OPERATIONS) {
      if (ALWAYS_DEFINED_RESULT.test(name)) continue;
      const { shadowed } = operationBlock(name);
      for (let round = 0; round < 40; round++) {
        const cells = args.map((type, i) =>
          cell(randomValue(type), i === checkedOperand(name) ? 0n : randomMask(type)),
        );
        const bits = shadowOf(shadowed, ...cells);
        const result = evaluate(...cells.map((c) => c.value));
        for (let filling = 0; filling < 10; filling++) {
          const other = cells.map((c, i) => (c.value & ~c.bits) | (randomBits(args[i]!) & c.bits));
          const changed = (evaluate(...other) ^ result) & ~bits;
          assert.equal(
            changed,
            0n,
            `${name}(${cells.map((c) => `${c.value.toString(16)}?${c.bits.toString(16)}`).join(', ')}) ` +
              `changes bits ${changed.toString(16)}, marked ${bits.toString(16)}; SEED=${SEED}`,
          );
        }
      }
    }
  });

  test('defined operands give a defined result and no report', () => {
    for (const [name, { args }] of OPERATIONS) {
      const { shadowed } = operationBlock(name);
      for (let round = 0; round < 5; round++) {
        const { state, reports } = run(
          shadowed,
          registersOf(args.map((type) => cell(randomValue(type)))),
        );
        assert.equal(state.get(RESULT)!.bits, 0n, name);
        assert.deepEqual(reports, [], name);
      }
    }
  });

  test('precise rules mark exactly the bits that can change', () => {
    const few = (type: Type): bigint => {
      let mask = 0n;
      for (let i = next() % 4; i > 0; i--) mask |= 1n << BigInt(next() % bitsOf(type));
      return mask;
    };
    const fillings = (mask: bigint): bigint[] => {
      const list = [0n];
      for (let bit = 1n; bit <= mask; bit <<= 1n)
        if (mask & bit) list.push(...list.map((bits) => bits | bit));
      return list;
    };
    for (const name of [
      ...['And8', 'Or16', 'Xor32', 'Not64', 'AndV128', 'OrV256', 'And1', 'Or1'],
      ...['Add32', 'Add64', 'Sub32', 'Sub64', 'CmpEQ8', 'CmpNE32', 'CmpEQ64', 'ExpCmpNE16'],
      ...['CmpNEZ32', '8Sto32', '16Uto64', '64HIto32', '32HLto64', 'GetMSBs8x16', '64to1'],
      ...['InterleaveHI8x16', 'CatOddLanes16x4', 'SetV128lo32', 'ZeroHI96ofV128', 'Reinterp'],
    ].filter((n) => OPERATIONS.has(n))) {
      const { args, evaluate } = OPERATIONS.get(name)!;
      const { shadowed } = operationBlock(name);
      for (let round = 0; round < 200; round++) {
        const cells = args.map((type) => cell(randomValue(type), few(type)));
        let changed = 0n;
        const first = evaluate(...cells.map((c) => c.value));
        const all = cells.reduce<bigint[][]>(
          (lists, c) =>
            lists.flatMap((l) => fillings(c.bits).map((f) => [...l, (c.value & ~c.bits) | f])),
          [[]],
        );
        for (const values of all) changed |= evaluate(...values) ^ first;
        const shown = cells.map((c) => `${c.value.toString(16)}?${c.bits.toString(16)}`).join(', ');
        assert.equal(shadowOf(shadowed, ...cells), changed, `${name}(${shown}); SEED=${SEED}`);
      }
    }
  });

  test('known shadows', () => {
    const expectShadow = (name: string, cells: readonly Cell[], expected: bigint): void => {
      const { shadowed } = operationBlock(name);
      assert.equal(shadowOf(shadowed, ...cells), expected, name);
    };
    const undefined64 = cell(0x1234n, ones(I64));
    expectShadow('And64', [undefined64, cell(0xff00n)], 0xff00n);
    expectShadow('Or64', [undefined64, cell(0xff00n)], ones(I64) & ~0xff00n);
    expectShadow('Shl64', [cell(0n, 0xffn), cell(8n)], 0xff00n);
    expectShadow('Sar32', [cell(0n, 0x80000000n), cell(4n)], 0xf8000000n);
    expectShadow('Shr64', [cell(0n), cell(4n, 1n)], ones(I64));
    expectShadow('Mul32', [cell(3n, 0x10n), cell(2n)], 0xfffffff0n);
    expectShadow('Add8', [cell(0n, 0x10n), cell(0n)], 0xf0n);
    expectShadow('MullU32', [cell(3n, 0x10n), cell(2n)], 0xfffffffffffffff0n);
    expectShadow('CmpLT64U', [cell(0n, 1n), cell(100n)], 1n);
    expectShadow('Ctz64', [cell(0x8n, ~0xfn & ones(I64))], 0n);
    expectShadow('Ctz64', [cell(0x8n, 1n)], ones(I64));
    expectShadow('Clz32', [cell(0x00800001n, 0xffffn)], 0n);
    expectShadow('Clz32', [cell(1n, 1n)], ones(I32));
    expectShadow('PopCount64', [cell(1n, 1n)], ones(I64));
    expectShadow('Add8x16', [cell(0n, 0x0100n), cell(0n)], 0xff00n);
    expectShadow('CmpEQ32x4', [cell(0n, 1n << 40n), cell(0n)], 0xffffffffn << 32n);
    expectShadow('Add64F0x2', [cell(0n, 1n | (1n << 70n)), cell(0n)], ones(I64) | (1n << 70n));
    expectShadow('Sqrt32F0x4', [cell(0n, 1n << 40n)], 1n << 40n);
    expectShadow('Add64Fx2', [cell(0n, 1n), cell(0n), cell(0n)], ones(V128));
    expectShadow('AddF64', [cell(0n), cell(0n, 1n), cell(0n)], ones(F64));
    expectShadow('CmpF64', [cell(0n, 1n), cell(0n)], ones(I32));
    expectShadow('PermOrZero8x16', [cell(0n, 0xffn << 8n), cell(0x8001n)], 0xffn);
    expectShadow('PermOrZero8x16', [cell(0n), cell(0n, 1n << 24n)], 0xffn << 24n);
    expectShadow('ShlN32x4', [cell(0n, 1n), cell(4n)], 16n);
    expectShadow('QNarrowBin32Sto16Ux8', [cell(0n), cell(0n, 1n << 40n)], 0xffff0000n);
    expectShadow('QNarrowBin16Sto8Ux8', [cell(0n, 1n), cell(0n)], 0xff00000000n);
    expectShadow('I32StoF32x4', [cell(0n), cell(0n, 1n)], 0xffffffffn);
    expectShadow('DivModU64to32', [cell(9n, 1n), cell(2n)], ones(I64));
    expectShadow('CasCmpEQ64', [undefined64, cell(0n)], 0n);
    expectShadow('ReinterpF64asI64', [cell(0n, 5n)], 5n);
  });
});

describe('idioms', () => {
  test('inserting a bit-field defines those bits, extracting others is defined', () => {
    const block = makeBlock((b) => {
      const field = b.op('And64', I64, [b.get(argument(0), I64), b.i64(~0xf0n)]);
      const whole = b.op('Or64', I64, [field, b.i64(0x50n)]);
      b.put(RESULT, whole);
      const part = b.op('Shr64', I64, [whole, b.constant(I8, 4n)]);
      b.put(RESULT + 8, b.op('And64', I64, [part, b.i64(0xfn)]));
    });
    const { state } = run(instrument(block, 0, REGISTERS), {
      [argument(0)]: cell(0x1234n, ones(I64)),
    });
    assert.equal(state.get(RESULT)!.bits, ones(I64) & ~0xf0n);
    assert.deepEqual(state.get(RESULT + 8), cell(5n, 0n, state.get(RESULT + 8)!.origin));
  });

  test('adding a field that was zero marks only that field', () => {
    const block = makeBlock((b) => {
      const high = b.op('Shl64', I64, [b.get(argument(0), I64), b.constant(I8, 32n)]);
      b.put(RESULT, b.op('Add64', I64, [high, b.get(argument(1), I64)]));
    });
    const { state } = run(instrument(block, 0, REGISTERS), {
      [argument(0)]: cell(7n, 0xffffffffn),
      [argument(1)]: cell(9n),
    });
    assert.equal(state.get(RESULT)!.bits, 0xffffffff00000000n);
  });

  test('strlen with vectors: what comes after the zero does not matter', () => {
    const block = makeBlock((b) => {
      const zero = b.constant(V128, 0n);
      const same = b.op('CmpEQ8x16', V128, [b.get(argument(0), V128), zero]);
      const mask = b.op('16Uto32', I32, [b.op('GetMSBs8x16', I16, [same])]);
      b.exit(b.op('CmpEQ32', I1, [mask, b.constant(I32, 0n)]), 0x3000n, RIP);
      const wide = b.op('32Uto64', I64, [mask]);
      b.put(RESULT, b.op('CtzNat64', I64, [wide]));
    });
    const shadowed = instrument(block, 0, REGISTERS);
    const text = 0x41424300444546474849n; // zero in byte 6
    const after = ones(V128) & ~0xffffffffffffffn;
    const good = run(shadowed, { [argument(0)]: cell(text, after) });
    assert.deepEqual(good.reports, []);
    assert.deepEqual([good.state.get(RESULT)!.value, good.state.get(RESULT)!.bits], [6n, 0n]);
    // the zero itself is undefined
    const bad = run(shadowed, { [argument(0)]: cell(text, after | (0xffn << 48n), 12n) });
    assert.equal(bad.reports[0], 'condition 0 12');
  });

  test('a choice takes the shadow of what is chosen, or is undefined with its condition', () => {
    const block = makeBlock((b) => {
      const condition = b.op('64to1', I1, [b.get(argument(0), I64)]);
      b.put(RESULT, b.choose(condition, b.get(argument(1), I64), b.get(argument(2), I64)));
    });
    const shadowed = instrument(block, 0, REGISTERS);
    const result = (condition: Cell): Cell =>
      run(shadowed, {
        ...{ [argument(0)]: condition, [argument(1)]: cell(1n, 0xfn, 20n) },
        ...{ [argument(2)]: cell(2n, 0xf0n, 24n) },
      }).state.get(RESULT)!;
    assert.deepEqual(result(cell(1n)), cell(1n, 0xfn, 20n));
    assert.deepEqual(result(cell(0n, 2n, 28n)), cell(2n, 0xf0n, 24n));
    assert.deepEqual(result(cell(1n, 1n, 28n)), cell(1n, ones(I64), 28n));
  });

  test('of two operands, the origin is that of one that is undefined', () => {
    const block = makeBlock((b) => {
      b.put(RESULT, b.op('Xor64', I64, [b.get(argument(0), I64), b.get(argument(1), I64)]));
    });
    const shadowed = instrument(block, 0, REGISTERS);
    const origin = (a: Cell, b: Cell): bigint =>
      run(shadowed, registersOf([a, b])).state.get(RESULT)!.origin!;
    assert.equal(origin(cell(0n, 1n, 8n), cell(0n, 0n, 99n)), 8n);
    assert.equal(origin(cell(0n, 0n, 99n), cell(0n, 1n, 8n)), 8n);
    assert.ok([4n, 8n].includes(origin(cell(0n, 1n, 4n), cell(0n, 1n, 8n))));
  });

  test('the flags’ helpers depend on their operands only', () => {
    const helper = (name: string, ignored: readonly number[], count: number): void => {
      for (let i = 0; i < count; i++) {
        const block = makeBlock((b) => {
          const args = Array.from({ length: count }, (_, n) =>
            n === i ? b.get(argument(0), I64) : b.i64(0n),
          );
          b.put(RESULT, b.helper(name, I64, args));
        });
        const { state } = run(instrument(block, 0, REGISTERS), { [argument(0)]: cell(0n, 1n) });
        const expected = ignored.includes(i) ? 0n : ones(I64);
        assert.equal(state.get(RESULT)!.bits, expected, `${name} ${i}`);
      }
    };
    helper('amd64g_calculate_condition', [0, 1, 4], 5);
    helper('amd64g_calculate_rflags_c', [0, 3], 4);
    helper('amd64g_calculate_rflags_all', [0, 3], 4);
    helper('amd64g_calculate_pext', [], 2);
  });
});

describe('structure', () => {
  test('statements before `from` are left out, and what they assign is defined', () => {
    const block = makeBlock((b) => {
      b.mark(0x1000n);
      const early = b.get(argument(0), I64);
      b.mark(0x1001n);
      b.put(RESULT, b.op('Xor64', I64, [early, b.get(argument(1), I64)]));
    });
    const late = instrument(block, 2, REGISTERS);
    assertWellFormed(block, late, 2);
    assert.deepEqual(tags(late), ['IMark', 'ShadowGet', 'WrTmp', 'WrTmp', 'ShadowPut', 'Put']);
    const [put] = only(late, 'ShadowPut');
    assert.equal(put!.bits >>> 1, only(late, 'ShadowGet')[0]!.bits);
  });

  test('what is statically defined needs no statements but shadow stores and puts', () => {
    const block = makeBlock((b) => {
      const flags = b.get(144, I64);
      const sum = b.op('Add64', I64, [flags, b.i64(5n)]);
      b.put(152, sum).put(144, sum);
      b.store(sum, b.op('64to32', I32, [sum]));
      b.exit(b.op('CmpEQ64', I1, [sum, b.i64(1n)]), 0x3000n, RIP);
      return sum;
    });
    const shadowed = instrument(block, 0, REGISTERS);
    assert.deepEqual(
      tags(shadowed).filter((tag) => tag.startsWith('Shadow')),
      ['ShadowPut', 'ShadowStore'],
    );
    assert.equal(only(shadowed, 'WrTmp').length, only(block, 'WrTmp').length);
    const [put] = only(shadowed, 'ShadowPut');
    assert.deepEqual(shadowed.constants[put!.bits >>> 1], { type: I64, bits: 0n });
  });

  test('an address is checked once, before its access, and counts as defined from there on', () => {
    const block = makeBlock((b) => {
      const address = b.get(argument(0), I64);
      const data = b.load(I32, address);
      b.store(address, data);
      return address;
    });
    const shadowed = instrument(block, 0, REGISTERS);
    assertWellFormed(block, shadowed);
    assert.deepEqual(tags(shadowed), [
      ...[
        'ShadowGet',
        'WrTmp',
        'WrTmp',
        'ShadowCheck',
        'ShadowLoad',
        'WrTmp',
        'ShadowStore',
        'Store',
      ],
    ]);
    const { reports, memory } = run(shadowed, { [argument(0)]: cell(64n, 1n, 4n) }, [
      [64n, cell(7n, 0xf0n, 8n)],
    ]);
    assert.deepEqual(reports, ['value 8 4']);
    assert.deepEqual(memory.get(64n), cell(7n, 0xf0n, 8n));
  });

  test('two addresses with one base are reported once, unless they serve otherwise', () => {
    const checks = (keep: boolean, literal = 0n): number => {
      const block = makeBlock((b) => {
        const base = b.get(argument(0), I64);
        for (const offset of [8n, 16n]) {
          const address = b.op('Add64', I64, [base, b.i64(offset)]);
          b.put(RESULT, b.load(I64, address));
          if (keep) b.put(RESULT, address);
        }
        b.put(RESULT, b.i64(literal));
      });
      return only(instrument(block, 0, REGISTERS), 'ShadowCheck').length;
    };
    assert.equal(checks(false), 1);
    assert.equal(checks(true), 2);
    assert.equal(checks(false, 0x8080808080808080n), 2);
  });

  test('exits check their condition, self-modification checks do not; so does the next address', () => {
    const block = makeBlock((b) => {
      const value = b.get(argument(0), I64);
      const condition = b.op('64to1', I1, [value]);
      b.exit(condition, 0x3000n, RIP, 7);
      b.exit(condition, 0x3000n, RIP);
      b.exit(condition, 0x3000n, RIP);
      return value;
    });
    const shadowed = instrument(block, 0, REGISTERS);
    assert.deepEqual(
      tags(shadowed).filter((tag) => /Exit|ShadowCheck/.test(tag)),
      ['Exit', 'ShadowCheck', 'Exit', 'Exit', 'ShadowCheck'],
    );
    assert.deepEqual(
      only(shadowed, 'ShadowCheck').map(({ use, sizeBytes }) => [use, sizeBytes]),
      [
        ['condition', 0],
        ['value', 8],
      ],
    );
  });

  test('guarded accesses check their guard, and the address if it holds', () => {
    const block = makeBlock((b) => {
      const guard = b.op('64to1', I1, [b.get(argument(0), I64)]);
      const address = b.get(argument(1), I64);
      const loaded = b.loadG(5, I32, address, b.get(argument(2), I32), guard);
      b.put(RESULT, loaded);
      b.storeG(address, b.get(argument(3), I64), guard);
      b.put(RESULT + 8, address);
    });
    const shadowed = instrument(block, 0, REGISTERS);
    assertWellFormed(block, shadowed);
    const registers = (guard: Cell): Record<number, Cell> => ({
      ...{ [argument(0)]: guard, [argument(1)]: cell(64n, 2n, 4n) },
      ...{ [argument(2)]: cell(1n, 3n, 8n), [argument(3)]: cell(5n, 6n, 12n) },
    });
    const memory: [bigint, Cell][] = [[64n, cell(0x80n, 0x80n, 16n)]];
    const taken = run(shadowed, registers(cell(1n)), memory);
    assert.deepEqual(taken.reports, ['value 8 4']);
    assert.deepEqual(taken.state.get(RESULT)!.bits, 0xffffff80n);
    assert.deepEqual(taken.state.get(RESULT)!.origin, 16n);
    assert.deepEqual(taken.state.get(RESULT + 8)!.bits, 0n);
    assert.deepEqual(taken.memory.get(64n), cell(5n, 6n, 12n));
    const skipped = run(shadowed, registers(cell(0n)), memory);
    assert.deepEqual(skipped.reports, []);
    assert.deepEqual(skipped.state.get(RESULT), cell(1n, 3n, 8n));
    assert.deepEqual(skipped.state.get(RESULT + 8), cell(64n, 2n, 4n));
    assert.deepEqual(skipped.memory.get(64n), cell(0x80n, 0x80n, 16n));
    assert.deepEqual(run(shadowed, registers(cell(0n, 1n, 20n)), memory).reports, [
      'condition 0 20',
    ]);
  });

  test('a compare-and-swap gives the old shadow and stores the new one if it succeeds', () => {
    const block = makeBlock((b) => {
      const [old] = b.cas(I32, b.i64(64n), [b.get(argument(0), I32)], [b.get(argument(1), I32)]);
      b.put(RESULT, old!);
    });
    const shadowed = instrument(block, 0, REGISTERS);
    assertWellFormed(block, shadowed);
    const order = tags(shadowed).filter((tag) => /CAS|ShadowLoad|ShadowStore/.test(tag));
    assert.deepEqual(order, ['ShadowLoad', 'CAS', 'ShadowStore']);
    const swap = (expected: bigint): Run =>
      run(shadowed, registersOf([cell(expected, 1n), cell(9n, 2n, 4n)]), [
        [64n, cell(3n, 0x30n, 8n)],
      ]);
    assert.deepEqual(swap(3n).state.get(RESULT), cell(3n, 0x30n, 8n));
    assert.deepEqual(swap(3n).memory.get(64n), cell(9n, 2n, 4n));
    assert.deepEqual(swap(4n).memory.get(64n), cell(3n, 0x30n, 8n));
    assert.deepEqual(swap(4n).reports, []);
  });

  test('a double compare-and-swap has the shadows of both halves', () => {
    const block = makeBlock((b) => {
      const pair = (at: number): Atom[] => [b.get(argument(at), I64), b.get(argument(at + 1), I64)];
      for (const [i, old] of b.cas(I64, b.i64(64n), pair(0), pair(2)).entries())
        b.put(RESULT + 8 * i, old);
    });
    const shadowed = instrument(block, 0, REGISTERS);
    assertWellFormed(block, shadowed);
    assert.deepEqual(
      only(shadowed, 'ShadowStore').map(({ guard }) => guard !== undefined),
      [true, true],
    );
    const [hi, lo] = only(shadowed, 'ShadowLoad');
    const [putLo, putHi] = only(shadowed, 'ShadowPut');
    assert.deepEqual([putLo!.bits, putHi!.bits], [2 * lo!.bits, 2 * hi!.bits]);
  });

  test('what a helper writes is undefined when anything that it reads is', () => {
    const block = (guard: bigint | undefined): Block =>
      makeBlock((b) => {
        const result = b.dirty({
          guard:
            guard === undefined
              ? b.op('64to1', I1, [b.get(argument(0), I64)])
              : b.constant(I1, guard),
          result: I64,
          memory: { effect: 3, address: b.get(argument(1), I64), size: 10 },
          state: [
            { effect: 1, offset: argument(2), size: 8, repeats: 1, stride: 32 },
            { effect: 2, offset: argument(4), size: 12, repeats: 0, stride: 0 },
            { effect: 3, offset: 896, size: 8, repeats: 0, stride: 0 },
          ],
        });
        b.put(RESULT, result!);
      });
    const plain = instrument(block(1n), 0, REGISTERS);
    const reads = { [argument(1)]: cell(64n), [argument(3)]: cell(0n, 1n, 4n) };
    const bad = run(plain, reads);
    assert.deepEqual(bad.state.get(RESULT), cell(0n, ones(I64), 4n));
    assert.equal(bad.state.get(argument(4))!.bits, ones(I64));
    assert.equal(bad.state.get(argument(4) + 8)!.bits, ones(I32));
    assert.equal(bad.memory.get(64n)!.bits, ones(I64));
    assert.deepEqual(bad.reports, []);
    assert.equal(run(plain, { [argument(1)]: cell(64n) }).state.get(RESULT)!.bits, 0n);
    const memory: [bigint, Cell][] = [[64n, cell(0n, 1n, 8n)]];
    assert.equal(run(plain, { [argument(1)]: cell(64n) }, memory).state.get(RESULT)!.origin, 8n);

    const original = block(undefined);
    const guarded = instrument(original, 0, REGISTERS);
    assertWellFormed(original, guarded);
    const kept = { [argument(4)]: cell(0n, 3n, 12n) };
    const skipped = run(guarded, { ...reads, ...kept, [argument(0)]: cell(0n) });
    assert.deepEqual(skipped.state.get(argument(4)), cell(0n, 3n, 12n));
    const undefinedGuard = run(guarded, { ...reads, [argument(0)]: cell(0n, 1n, 16n) });
    assert.deepEqual(undefinedGuard.reports, ['condition 0 16']);
  });

  test('a logged operation that replay cannot evaluate is undefined as a whole', () => {
    const block = makeBlock((b) => {
      b.put(RESULT, b.op('SinF64', F64, [b.constant(I32, 0n), b.get(argument(0), F64)], true));
    });
    const shadowed = instrument(block, 0, REGISTERS);
    assertWellFormed(block, shadowed);
    assert.equal(only(shadowed, 'ShadowPut')[0]!.type, F64);
    const put = only(shadowed, 'ShadowPut')[0]!;
    assert.equal(shadowed.temps[put.bits >>> 1], I64);
  });

  test('arrays of registers: indices are checked, arrays that are always defined have no shadow', () => {
    const block = makeBlock((b) => {
      const index = b.get(argument(0), I32);
      b.putI(832, F64, 8, index, 1, b.getI(832, F64, 8, index, 0));
      b.putI(896, I8, 8, index, 1, b.getI(896, I8, 8, index, 0));
    });
    const shadowed = instrument(block, 0, REGISTERS);
    assertWellFormed(block, shadowed);
    assert.deepEqual(
      tags(shadowed).filter((tag) => tag.startsWith('Shadow')),
      ['ShadowGet', 'ShadowCheck', 'ShadowGetI', 'ShadowPutI'],
    );
    assert.equal(only(shadowed, 'ShadowCheck')[0]!.sizeBytes, 4);
    assert.deepEqual(touchedRegisters(block, REGISTERS), {
      reads: [
        [argument(0), 4],
        [832, 64],
      ],
      writes: [[832, 64]],
    });
  });

  test('registers that a block touches', () => {
    const block = makeBlock((b) => {
      b.put(RESULT, b.get(144, I64))
        .put(144, b.get(argument(0), I32))
        .put(152, b.i64(0n));
      b.dirty({
        guard: b.constant(I1, 1n),
        state: [
          { effect: 3, offset: 1600, size: 4, repeats: 1, stride: 16 },
          { effect: 2, offset: 184, size: 8, repeats: 0, stride: 0 },
        ],
      });
    });
    assert.deepEqual(touchedRegisters(block, REGISTERS), {
      reads: [
        [argument(0), 4],
        [1600, 4],
        [1616, 4],
      ],
      writes: [
        [RESULT, 8],
        [152, 8],
        [1600, 4],
        [1616, 4],
      ],
    });
  });
});

test('blocks of real programs, from any statement', () => {
  for (const program of ['strings.c', 'fpu.c']) {
    const trace = Trace.open(record([program]).folder);
    const registers = (trace.manifest.guest as unknown as { registers: RegisterOffsets }).registers;
    for (const { decoded } of superblocks(trace)) {
      for (const from of [0, next() % decoded.statements.length])
        assertWellFormed(decoded, instrument(decoded, from, registers), from);
      touchedRegisters(decoded, registers);
    }
  }
});
