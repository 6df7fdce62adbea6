/**
 * The evaluator against itself and against the processor: every operation compiled and interpreted
 * on random operands, helpers and operations compared with real instructions, and hand-built blocks
 * for every kind of statement.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { EVALUATED_HELPERS, EVALUATED_OPS } from '../schemas/ops.js';
import { EVALUATED_HELPER_TABLE, OPERATIONS } from '../replay/eval-ops.js';
import { Guest } from '../replay/guest.js';
import { TYPE, TYPE_SIZES, type Type } from '../replay/ir.js';
import { nativeEngine } from '../replay/native.js';
import { ACCESS_TYPES, BlockBuilder, type Atom } from './block-builder.js';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const LAYOUT = { stateSize: 4096, RIP: 184, RSP: 48 };
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
  const compiled = new Guest(ops, LAYOUT, { accesses: false, counts: false });
  compiled.hotAfter = 0;
  const threaded = new Guest(ops, LAYOUT, { accesses: false, counts: false });
  threaded.hotAfter = 1 << 30;
  for (const guest of [compiled, threaded]) {
    guest.prefetch(definitions);
    for (const definition of definitions) guest.define(definition);
  }
  return {
    compiled,
    run: (index, args) => {
      const { args: types, result } = names[index]!;
      const [first, second] = [compiled, threaded].map((guest) => {
        args.forEach((bits, i) =>
          putState(guest, ARGUMENTS + 32 * i, Math.max(8, TYPE_SIZES[types[i]!]), bits),
        );
        guest.run(definitions[index]!.entry, false, 1);
        return guest.readState(RESULT, TYPE_SIZES[result]);
      });
      assert.equal(second, first, `${names[index]!.name}: threaded code and compiled code differ`);
      return first!;
    },
  };
}

const hex = (bits: bigint): string => `0x${bits.toString(16)}`;

describe(`evaluator (SEED=${SEED})`, () => {
  test('the module that runs threaded code is built', () => assert.ok(nativeEngine));

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

  test('operations and helpers compute what the processor does', (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'grind-test-'));
    const program = join(folder, 'known-answers');
    const flags = ['-O1', '-mavx2', '-mbmi', '-mbmi2', '-msse4.2', '-mno-red-zone'];
    let lines: string[];
    try {
      execFileSync('gcc', [...flags, '-o', program, 'test/known-answers.c']);
      lines = execFileSync(program, { maxBuffer: 2 ** 28 })
        .toString()
        .trim()
        .split('\n');
    } finally {
      rmSync(folder, { recursive: true });
    }
    if (lines[0] === 'unsupported') {
      context.skip('this processor has no AVX2 or BMI2');
      return;
    }
    const names = [
      ...[...OPERATIONS].map(([name, { args, result }]) => ({ name, args, result, helper: false })),
      ...[...EVALUATED_HELPER_TABLE].map(([name, { arity }]) => ({
        name,
        args: Array.from({ length: arity }, () => TYPE.I64 as Type),
        result: TYPE.I64 as Type,
        helper: true,
      })),
    ];
    const numbers = new Map(names.map(({ name }, index) => [name, index]));
    const { run } = evaluators(names);
    const covered = new Set<string>();
    for (const line of lines) {
      const [name, mask, ...words] = line.split(' ');
      const [expected, ...operands] = words.map((word) => BigInt(`0x${word}`));
      const defined = mask === '-' ? (1n << 256n) - 1n : BigInt(`0x${mask}`);
      covered.add(name!);
      assert.equal(hex(run(numbers.get(name!)!, operands) & defined), hex(expected!), line);
    }
    assert.ok(covered.size > 200, `${covered.size} operations were compared`);
  });

  test('statements of every kind, compiled and interpreted, have the same effects', () => {
    const value = makeValues(SEED + 2);
    for (let round = 0; round < 60; round++) {
      const ops: string[] = [];
      const entry = 0x400000n;
      const checked = round % 2 === 1;
      const b = new BlockBuilder(entry, ops, checked);
      // Both take what they need from the same log.
      const log = Uint8Array.from({ length: 8192 }, () => Number(value(TYPE.I8, false)));
      // Memory near a granule's end, so that some accesses cross it; a shared granule; a bad address.
      const places = [
        0x2fff0n,
        0x2fffcn,
        0x30004n,
        0x50000n,
        0x50010n,
        0x7fffffffffn,
        0x1fffffffffn,
      ];
      const random = (): number => Number(value(TYPE.I16, false) % 997n);
      const address = (): bigint => places[random() % places.length]! + BigInt(random() % 8);
      const guard = (): Atom => b.op('64to1', TYPE.I1, [b.i64(BigInt(random()))]);
      const results: Atom[] = [];
      const keep = (atom: Atom, offset: number): void => {
        b.put(512 + 32 * (offset % 40), atom);
        results.push(atom);
      };
      for (let i = 0; i < 25; i++) {
        if (i % 3 === 0) b.mark(entry + BigInt(i));
        const type = ACCESS_TYPES[random() % ACCESS_TYPES.length]!;
        const at = address();
        const where = b.get(8 * (i % 20), TYPE.I64);
        const pointer = b.op('Add64', TYPE.I64, [
          b.op('And64', TYPE.I64, [where, b.i64(7n)]),
          b.i64(at),
        ]);
        switch (i % 10) {
          case 0:
          case 1:
            keep(b.load(type, b.i64(at)), i);
            break;
          case 2:
            b.store(pointer, b.get(1024 + 32 * (i % 8), type));
            break;
          case 3:
            b.storeG(pointer, b.get(1024 + 32 * (i % 8), type), guard());
            break;
          case 4: {
            const conversion = random() % 7;
            const to = [TYPE.I64, TYPE.I32, TYPE.I32, TYPE.I32, TYPE.I32, TYPE.I32, TYPE.V128][
              conversion
            ]!;
            keep(b.loadG(conversion, to, b.i64(at), b.get(1024, to), guard()), i);
            break;
          }
          case 5: {
            const casType = [TYPE.I8, TYPE.I16, TYPE.I32, TYPE.I64][random() % 4]!;
            const isDouble = casType >= TYPE.I32 && random() % 2 === 0;
            // half of the time what is expected is what is there
            const expected = random() % 2 ? b.constant(casType, 0n) : b.load(casType, b.i64(at));
            const data = b.get(1024, casType);
            const old = b.cas(
              casType,
              b.i64(at),
              isDouble ? [expected, b.constant(casType, 0n)] : [expected],
              isDouble ? [data, data] : [data],
            );
            old.forEach((atom, half) => keep(atom, i + half));
            break;
          }
          case 6: {
            const index = b.get(1040, TYPE.I32);
            keep(b.getI(900, TYPE.I8, 8, index, random() % 8), i);
            b.putI(900, TYPE.I8, 8, index, (random() % 8) - 4, b.get(1024, TYPE.I8));
            b.putI(920, TYPE.F64, 8, index, -1, b.get(1024, TYPE.F64));
            break;
          }
          case 7: {
            const resultType = ACCESS_TYPES[random() % ACCESS_TYPES.length]!;
            const effect = (1 + (random() % 3)) as 1 | 2 | 3;
            const size = 1 + (random() % 40);
            const result = b.dirty({
              guard: guard(),
              result: resultType,
              memory: { effect, address: pointer, size },
              state: [
                { effect: 2, offset: 300, size: 13, repeats: 2, stride: 32 },
                { effect: 1, offset: 0, size: 8, repeats: 0, stride: 0 },
              ],
            });
            keep(result!, i);
            break;
          }
          case 8: {
            keep(b.helper('somewhere_else', type, [], true), i);
            keep(b.choose(guard(), b.get(1024, type), results.at(-1)!), i);
            break;
          }
          case 9:
            b.exit(
              b.op('CmpLT64U', TYPE.I1, [b.i64(BigInt(random())), b.i64(200n)]),
              0x1234n,
              LAYOUT.RIP,
            );
            b.exit(b.constant(TYPE.I1, 1n), 0x6666n, LAYOUT.RIP, 7);
            break;
        }
      }
      const ir = b.end(b.get(16, TYPE.I64), LAYOUT.RIP);
      const outcomes = (['compiled', 'threaded', 'interpreted'] as const).map((how) => {
        const guest = new Guest(ops, LAYOUT, { accesses: true, counts: true });
        guest.hotAfter = how === 'compiled' ? 0 : 1 << 30;
        const fill = makeValues(SEED + round);
        for (let offset = 0; offset < LAYOUT.stateSize; offset += 8)
          guest.writeState(offset, 8, fill(TYPE.I64, false));
        for (const place of places)
          guest.writeMemory(
            place - 16n,
            Uint8Array.from({ length: 64 }, (_, i) => (i * 37) & (i % 2 ? 0xff : 0)),
          );
        guest.setShared(0x50000n, 0x1000n);
        guest.pushValues(log);
        guest.tick = 1000n;
        guest.define({ id: 7, entry, address: entry, ir, noRedirect: false });
        const result =
          how === 'interpreted' ? guest.step(entry, false) : guest.run(entry, false, 1);
        const { count, sites, ticks, addresses, values, wide } = guest.takeAccesses();
        const { executions } = guest.segments();
        return {
          result,
          state: guest.state.slice(),
          memory: places.map((place) => guest.readMemory(place - 64n, 256)),
          count,
          tick: guest.tick,
          sites: sites.slice(),
          ticks: ticks.slice(),
          addresses: addresses.slice(),
          values: values.slice(),
          wide: wide.slice(),
          executions: executions.slice(),
          left: guest.valuesLeft,
        };
      });
      assert.deepEqual(outcomes[0], outcomes[2], `round ${round}`);
      assert.deepEqual(outcomes[1], outcomes[2], `round ${round}, threaded`);
    }
  });
});
