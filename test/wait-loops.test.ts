/** Which loads code is seen to wait by, on superblocks made by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isWaitedBy } from '../analyses/race/wait-loops.js';
import { decodeBlock, TYPE, type Block } from '../replay/ir.js';
import { BlockBuilder, type Atom } from './block-builder.js';

const [RAX, RCX, RBP, RSP, RIP] = [16, 24, 56, 48, 184];
const ENTRY = 0x1000n;
const LOAD = ENTRY + 4n;

/** A block that begins at an address; its last jump goes to `next`. */
function blockOf(entry: bigint, next: bigint, describe: (b: BlockBuilder) => void): Block {
  const ops: string[] = [];
  const b = new BlockBuilder(entry, ops);
  b.mark(entry);
  describe(b);
  return decodeBlock(b.end(b.i64(next), RIP), entry, ops, 4096);
}

const isZero = (b: BlockBuilder, value: Atom): Atom => b.op('CmpEQ64', TYPE.I1, [value, b.i64(0n)]);
const slot = (b: BlockBuilder): Atom => b.op('Add64', TYPE.I64, [b.get(RBP, TYPE.I64), b.i64(-8n)]);
const waits = (block: Block, following?: Block): boolean =>
  isWaitedBy(block, LOAD, { RSP, RBP }, (entry) => (entry === 0x2000n ? following : undefined));

/** A loop whose load is at `LOAD`. */
const loop = (address: (b: BlockBuilder) => Atom, rest: (b: BlockBuilder, value: Atom) => Atom) =>
  blockOf(ENTRY, 0x3000n, (b) => {
    const from = address(b);
    b.mark(LOAD);
    const value = b.load(TYPE.I64, from);
    b.exit(rest(b, value), ENTRY, RIP);
  });
const fixed = (b: BlockBuilder): Atom => b.get(RAX, TYPE.I64);

test('until a value changes', () => {
  assert(waits(loop(fixed, isZero)));
  assert(waits(loop((b) => b.load(TYPE.I64, b.i64(0x5000n)), isZero)));
});

test('through a variable on the stack', () => {
  const keeps = (b: BlockBuilder, value: Atom): Atom => {
    b.store(slot(b), value);
    return isZero(b, b.load(TYPE.I64, slot(b)));
  };
  assert(waits(loop(fixed, keeps)));
});

test('in two superblocks', () => {
  const first = blockOf(ENTRY, 0x2000n, (b) => {
    b.mark(LOAD);
    b.store(slot(b), b.load(TYPE.I64, fixed(b)));
  });
  const test = (back: bigint): Block =>
    blockOf(0x2000n, 0x3000n, (b) => {
      b.exit(isZero(b, b.load(TYPE.I64, slot(b))), back, RIP);
    });
  assert(waits(first, test(ENTRY)));
  assert(!waits(first, test(0x4000n)));
  assert(!waits(first));
});

/** Whether a register that holds what `next` makes of it each round is less than the value. */
const least =
  (next: (b: BlockBuilder, last: Atom) => Atom) =>
  (b: BlockBuilder, value: Atom): Atom => {
    const one = next(b, b.get(RCX, TYPE.I64));
    b.put(RCX, one);
    return b.op('CmpLT64U', TYPE.I1, [b.get(RCX, TYPE.I64), value]);
  };

test('compared with what stays the same', () => {
  const [same, other] = [(b: BlockBuilder) => b.load(TYPE.I64, slot(b)), slot];
  assert(waits(loop(fixed, least(same))));
  assert(waits(loop(fixed, least(other))));
  assert(
    waits(loop(fixed, (b, value) => b.op('CmpLT64U', TYPE.I1, [b.get(RCX, TYPE.I64), value]))),
  );
  assert(
    !waits(
      loop(
        fixed,
        least((b, last) => b.op('Add64', TYPE.I64, [last, b.i64(1n)])),
      ),
    ),
  );
});

test('not when the loop ends by itself, or does something', () => {
  const walks = (b: BlockBuilder): Atom => {
    const at = b.op('Add64', TYPE.I64, [b.get(RAX, TYPE.I64), b.i64(8n)]);
    b.put(RAX, at);
    return at;
  };
  assert(!waits(loop(walks, isZero)));
  const counts = (b: BlockBuilder): Atom => {
    const count = b.op('Sub64', TYPE.I64, [b.get(RCX, TYPE.I64), b.i64(1n)]);
    b.put(RCX, count);
    return isZero(b, count);
  };
  assert(!waits(loop(fixed, counts)));
  const stores = (b: BlockBuilder, value: Atom): Atom => {
    b.store(b.get(RCX, TYPE.I64), value);
    return isZero(b, value);
  };
  assert(!waits(loop(fixed, stores)));
  assert(
    !waits(
      loop(
        (b) => b.load(TYPE.I64, slot(b)),
        (b, value) => {
          b.store(slot(b), value);
          return isZero(b, value);
        },
      ),
    ),
  );
});

test('not when nothing goes back', () => {
  const straight = blockOf(ENTRY, 0x3000n, (b) => {
    b.mark(LOAD);
    b.exit(isZero(b, b.load(TYPE.I64, fixed(b))), 0x4000n, RIP);
  });
  assert(!waits(straight));
});
