/**
 * The evaluator against itself and against the processor: every operation compiled and interpreted
 * on random operands, helpers and operations compared with real instructions, and hand-built blocks
 * for every kind of statement.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EVALUATED_HELPERS, EVALUATED_OPS } from '../schemas/ops.js';
import { EVALUATED_HELPER_TABLE, OPERATIONS } from '../replay/eval-ops.js';
import { Guest } from '../replay/guest.js';
import { TYPE, TYPE_SIZES, type Type } from '../replay/ir.js';
import { BlockBuilder, type Atom } from './block-builder.js';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const LAYOUT = { stateSize: 4096, RIP: 184 };
/** Where tests keep operands and results in the guest state. */
const ARGUMENTS = 1024;
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

const INTERESTING64 = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0xffffffffffffffffn,
  0x8000800080008000n,
  0x7fff7fff7fff7fffn,
  0x0102030405060708n,
];
const INTERESTING_F64 = [
  0n,
  1n << 63n,
  0x3ff0000000000000n,
  0xbff0000000000000n,
  0x3fe0000000000000n,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000000n,
  0x7ff0000000000001n,
  0xfff8000000000123n,
  1n,
  0x000fffffffffffffn,
  0x7fefffffffffffffn,
  0x41dfffffffc00000n,
  0x41e0000000000000n,
  0xc1e0000000000000n,
  0x43e0000000000000n,
  0xc3e0000000000001n,
  0x3ff8000000000000n,
  0x4004000000000000n,
  0xbfe0000000000000n,
  0x36a0000000000000n,
  0x47f0000000000000n,
  0x47efffffe0000001n,
];
const INTERESTING_F32 = [
  0n,
  0x80000000n,
  0x3f800000n,
  0xbf800000n,
  0x3f000000n,
  0x7f800000n,
  0xff800000n,
  0x7fc00000n,
  0x7f800001n,
  0xffc00123n,
  1n,
  0x7f7fffffn,
  0x4f000000n,
  0xcf000000n,
  0x4effffffn,
  0x3fc00000n,
  0x40200000n,
];

function makeValues(seed: number): (type: Type, float: boolean) => bigint {
  const next = randomNumbers(seed);
  const pick = (list: readonly bigint[]): bigint => list[next() % list.length]!;
  const random64 = (): bigint => (BigInt(next()) << 32n) | BigInt(next());
  const near = (): bigint => BigInt.asUintN(64, pick(INTERESTING64) + BigInt((next() % 5) - 2));
  const word = (): bigint => [random64, () => random64() & 0xffn, near, near][next() % 4]!();
  const f64 = (): bigint => {
    const kind = next() % 4;
    if (kind === 0) return pick(INTERESTING_F64);
    if (kind === 1) return random64();
    const scratch = new DataView(new ArrayBuffer(8));
    scratch.setFloat64(0, (next() - 2 ** 31) / 2 ** (next() % 40));
    return scratch.getBigUint64(0);
  };
  const f32 = (): bigint => {
    const kind = next() % 3;
    if (kind === 0) return pick(INTERESTING_F32);
    if (kind === 1) return BigInt(next());
    const scratch = new DataView(new ArrayBuffer(4));
    scratch.setFloat32(0, (next() - 2 ** 31) / 2 ** (next() % 40));
    return BigInt(scratch.getUint32(0));
  };
  return (type, float) => {
    if (type === TYPE.F64) return f64();
    if (type === TYPE.F32) return f32();
    const bytes = TYPE_SIZES[type];
    let bits = 0n;
    if (float) {
      const wide = next() % 2 === 0;
      for (let at = 0; at < bytes; at += wide ? 8 : 4)
        bits |= (wide ? f64() : f32()) << BigInt(8 * at);
    } else for (let at = 0; at < bytes; at += 8) bits |= word() << BigInt(8 * at);
    return BigInt.asUintN(type === TYPE.I1 ? 1 : 8 * bytes, bits);
  };
}

const putState = (guest: Guest, offset: number, size: number, bits: bigint): void =>
  guest.writeState(offset, size, bits);

/** A guest with one block per named operation or helper: operands from the state, result to it. */
function evaluators(
  names: readonly { name: string; args: readonly Type[]; result: Type; helper: boolean }[],
): {
  compiled: Guest;
  run: (index: number, args: readonly bigint[]) => bigint;
} {
  const ops: string[] = [];
  const compiled = new Guest(ops, LAYOUT, { accesses: false, counts: false });
  const definitions = names.map(({ name, args, result, helper }, id) => {
    const entry = BigInt(0x1000 + 16 * id);
    const b = new BlockBuilder(entry, ops);
    b.mark(entry);
    // Guest state has no I1: operands of that type are narrowed, results widened.
    const operands = args.map((type, i) => {
      if (type === TYPE.I1) return b.op('64to1', TYPE.I1, [b.get(ARGUMENTS + 32 * i, TYPE.I64)]);
      return b.get(ARGUMENTS + 32 * i, type);
    });
    let value: Atom = helper ? b.helper(name, result, operands) : b.op(name, result, operands);
    if (result === TYPE.I1) value = b.op('1Uto64', TYPE.I64, [value]);
    b.put(RESULT, value);
    return { id, entry, address: entry, ir: b.end(b.i64(0n), LAYOUT.RIP), noRedirect: false };
  });
  compiled.prefetch(definitions);
  for (const definition of definitions) compiled.define(definition);
  return {
    compiled,
    run: (index, args) => {
      const { args: types, result } = names[index]!;
      args.forEach((bits, i) =>
        putState(compiled, ARGUMENTS + 32 * i, Math.max(8, TYPE_SIZES[types[i]!]), bits),
      );
      compiled.run(definitions[index]!.entry, false, 1);
      return compiled.readState(RESULT, TYPE_SIZES[result]);
    },
  };
}

const hex = (bits: bigint): string => `0x${bits.toString(16)}`;

describe(`evaluator (SEED=${SEED})`, () => {
  test('every listed operation is compiled to what its definition says', () => {
    assert.deepEqual([...OPERATIONS.keys()], [...EVALUATED_OPS]);
    const names = [...OPERATIONS].map(([name, { args, result }]) => ({
      name,
      args,
      result,
      helper: false,
    }));
    const { run } = evaluators(names);
    const value = makeValues(SEED);
    names.forEach(({ name, args, result }, index) => {
      const float = /F/.test(name) && !/^(Reinterp|I32S)/.test(name);
      const isShift = /^(Sh|Sa)/.test(name);
      const operation = OPERATIONS.get(name)!;
      for (let i = 0; i < 120; i++) {
        const operands = args.map((type, position) => {
          if (type === TYPE.I32 && position === 0 && float) return value(TYPE.I8, false) & 3n;
          if (isShift && position === 1) return value(TYPE.I8, false) & (i % 3 ? 0x3fn : 0xffn);
          return value(type, float);
        });
        const expected = operation.evaluate(...operands);
        const actual = run(index, operands);
        assert.equal(
          hex(actual),
          hex(expected),
          `${name}(${operands.map(hex).join(', ')}) :: ${result}`,
        );
      }
    });
  });

  test('every listed helper is compiled to what its definition says', () => {
    assert.deepEqual([...EVALUATED_HELPER_TABLE.keys()], [...EVALUATED_HELPERS]);
    const names = [...EVALUATED_HELPER_TABLE].map(([name, { arity }]) => ({
      name,
      args: Array.from({ length: arity }, () => TYPE.I64),
      result: TYPE.I64 as Type,
      helper: true,
    }));
    const { run } = evaluators(names);
    const value = makeValues(SEED + 1);
    names.forEach(({ name, args }, index) => {
      const thunk = /condition|rflags/.test(name);
      const count = thunk ? 6000 : 200;
      for (let i = 0; i < count; i++) {
        const operands = args.map((type) => value(type, false));
        const op = thunk ? args.length - 4 : -1;
        if (thunk) operands[op] = BigInt(i % 65);
        if (op === 1) operands[0] = BigInt((i / 65) & 15);
        // crc is a 32-bit value in a 64-bit register
        if (/crc/.test(name)) operands[0] = operands[0]! & 0xffffffffn;
        const expected = EVALUATED_HELPER_TABLE.get(name)!.evaluate(...operands);
        assert.equal(
          hex(run(index, operands)),
          hex(expected),
          `${name}(${operands.map(hex).join(', ')})`,
        );
      }
    });
  });
});
