/**
 * Threaded code against the interpreter, on random blocks that read and write a few registers over and over: their
 * translation leaves copies out, and must find each value where it is then.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OPERATIONS } from '../replay/eval-ops.js';
import { Guest } from '../replay/guest.js';
import { TYPE, type Type } from '../replay/ir.js';
import { nativeEngine } from '../replay/native.js';
import { BlockBuilder, type Atom } from './block-builder.js';
import { randomOf } from './random.js';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const LAYOUT = { stateSize: 512, RIP: 184, RSP: 48 };
const MEMORY = 0x30000n;
const ENTRY = 0x400000n;
const ROUNDS = 400;

/** What makes values; those that are copies where values lie in memory come up often. */
const NAMES = [
  ...['64to32', '32Uto64', '64to1', '1Uto64', '64to8', '8Uto64', '8Uto32', '8Uto16', '16Uto32'],
  ...['1Uto8', '1Uto32', '64to16', '16Uto64', 'V128to64', 'ReinterpF64asI64', 'ReinterpI64asF64'],
  ...['Add64', 'Sub64', 'And64', 'Add32', 'Xor32', 'Add16', 'Sub8', 'CmpEQ64', 'CmpLT32U'],
  ...['32Sto64', '64HIto32', '64HLtoV128', 'XorV128', '128to64', '64HLto128'],
];
const TYPES = [TYPE.I1, TYPE.I8, TYPE.I16, TYPE.I32, TYPE.I64, TYPE.F64, TYPE.V128];
const WIDTHS = [TYPE.I8, TYPE.I16, TYPE.I32, TYPE.I64, TYPE.F64, TYPE.V128];

/** A random block, for which the same registers of 8 bytes are read and written as a whole and in parts. */
function randomBlock(below: (n: number) => number, entry: bigint): Uint8Array {
  const b = new BlockBuilder(entry, NAMES);
  const values = new Map<Type, Atom[]>(TYPES.map((type) => [type, []]));
  const keep = (type: Type, atom: Atom): void => void values.get(type)?.push(atom);
  /** One of the latest values of a type, or else a constant. */
  const value = (type: Type): Atom => {
    const all = values.get(type) ?? [];
    const one = all.at(-1 - below(5));
    return one && below(8) > 0 ? one : b.constant(type, BigInt(below(3) === 0 ? 0xffff : below(2)));
  };
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  /** The program counter is one of them. */
  const register = (): number => pick([0, 8, 16, 24, LAYOUT.RIP]);
  for (let i = 0; i < 60; i++) {
    if (i % 4 === 0) b.mark(entry + BigInt(i));
    const type = pick(below(3) > 0 ? [TYPE.I64] : WIDTHS);
    const offset = register() + (type === TYPE.I64 || type === TYPE.F64 ? 0 : below(3) * 4);
    const at = b.i64(MEMORY + BigInt(8 * below(4)));
    switch (below(12)) {
      case 0:
      case 1:
        keep(type, b.get(offset, type));
        break;
      case 2:
      case 3:
        b.put(offset, value(type));
        break;
      case 4: {
        const copied = pick(TYPES);
        keep(copied, b.copy(copied, value(copied)));
        break;
      }
      case 5:
        if (below(2)) keep(type, b.load(type, at));
        else b.store(at, value(type));
        break;
      case 6:
        if (below(2)) b.exit(value(TYPE.I1), 0x1234n + BigInt(i), LAYOUT.RIP);
        else keep(TYPE.I64, b.cas(TYPE.I64, at, [value(TYPE.I64)], [value(TYPE.I64)])[0]!);
        break;
      default: {
        const name = pick(NAMES);
        const { args, result } = OPERATIONS.get(name)!;
        keep(
          result,
          b.op(
            name,
            result,
            args.map((one) => value(one)),
          ),
        );
        // A register often gets what was just made.
        if (result === TYPE.I64 && below(2)) b.put(register(), value(result));
      }
    }
  }
  return b.end(below(2) ? value(TYPE.I64) : b.i64(0x5678n), LAYOUT.RIP);
}

test(`threaded code leaves the state that the interpreter leaves (SEED=${SEED})`, () => {
  assert.ok(nativeEngine);
  let translated = 0;
  const { translate } = nativeEngine;
  Object.assign(nativeEngine, {
    translate: (...args: Parameters<typeof translate>) => {
      const done = translate(...args);
      translated += done;
      return done;
    },
  });
  const below = randomOf(SEED);
  const guests = (['threaded', 'interpreted'] as const).map((how) => {
    const guest = new Guest(NAMES, LAYOUT, { accesses: false, counts: true });
    guest.hotAfter = 1 << 30;
    return { how, guest };
  });
  for (let round = 0; round < ROUNDS; round++) {
    const entry = ENTRY + BigInt(4096 * round);
    const ir = randomBlock(below, entry);
    const contents = Uint8Array.from({ length: LAYOUT.stateSize }, () => below(256));
    const outcomes = guests.map(({ how, guest }) => {
      guest.state.set(contents);
      guest.writeMemory(MEMORY, contents.subarray(0, 64));
      guest.define({ id: round, entry, address: entry, ir, noRedirect: false });
      const { pc } = how === 'threaded' ? guest.run(entry, false, 1) : guest.step(entry, false);
      const { executions, count } = guest.segments();
      return {
        ...{ pc, count, tick: guest.tick, state: guest.state.slice() },
        ...{ executions: executions.slice(), memory: guest.readMemory(MEMORY, 64) },
      };
    });
    assert.deepEqual(outcomes[0], outcomes[1], `round ${round}`);
  }
  assert.equal(translated, ROUNDS);
});
