/** How often segments are executed, by any kind of code: of random blocks with several exits beside a count of our own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest } from '../replay/guest.js';
import { TYPE } from '../replay/ir.js';
import { BlockBuilder } from './block-builder.js';
import { randomOf } from './random.js';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const LAYOUT = { stateSize: 512, RIP: 184, RSP: 48 };
const NAMES = ['64to1'];
const BLOCKS = 40;
const RUNS = 2000;
const MOST_EXITS = 6;

const entryOf = (block: number): bigint => 0x400000n + BigInt(4096 * block);
const registerOf = (exit: number): number => 200 + 8 * exit;

/** Exit `i` is taken if register `i` is odd. */
function blockWithExits(entry: bigint, exits: number): Uint8Array {
  const b = new BlockBuilder(entry, NAMES);
  for (let i = 0; i < exits; i++) {
    b.mark(entry + BigInt(8 * i));
    const guard = b.op('64to1', TYPE.I1, [b.get(registerOf(i), TYPE.I64)]);
    b.exit(guard, entry + BigInt(2048 + i), LAYOUT.RIP);
  }
  b.mark(entry + BigInt(8 * exits));
  return b.end(b.i64(entry + 2048n + BigInt(exits)), LAYOUT.RIP);
}

for (const how of ['compiled', 'threaded', 'interpreted', 'mixed'] as const)
  test(`each segment that was passed is counted: ${how} code (SEED=${SEED})`, () => {
    const below = randomOf(SEED);
    const guest = new Guest(NAMES, LAYOUT, { accesses: false, counts: true });
    guest.hotAfter = how === 'compiled' ? 0 : 1 << 30;
    guest.blocksPerModule = 1 + below(3);
    const exits = Array.from({ length: BLOCKS }, () => below(MOST_EXITS + 1));
    exits.forEach((count, id) => {
      const entry = entryOf(id);
      const ir = blockWithExits(entry, count);
      guest.define({ id, entry, address: entry, ir, noRedirect: false });
    });
    const expected = exits.map((count) => new Array<number>(count + 1).fill(0));
    for (let run = 0; run < RUNS; run++) {
      const block = below(BLOCKS);
      let left = -1;
      for (let i = 0; i < MOST_EXITS; i++) {
        const isTaken = below(4) === 0;
        if (isTaken && left < 0) left = i;
        guest.writeState(registerOf(i), 8, BigInt(2 * below(9) + Number(isTaken)));
      }
      if (left < 0 || left > exits[block]!) left = exits[block]!;
      const isStepped = how === 'interpreted' || (how === 'mixed' && below(2) === 0);
      const entry = entryOf(block);
      const { pc } = isStepped ? guest.step(entry, false) : guest.run(entry, false, 1);
      assert.equal(pc, entry + 2048n + BigInt(left));
      for (let i = 0; i <= left; i++) expected[block]![i]!++;
      if (run % 500 === 0) guest.segments();
    }
    const { count, blocks, executions } = guest.segments();
    const counted = exits.map((): number[] => []);
    for (let i = 0; i < count; i++) counted[blocks[i]!]!.push(Number(executions[i]!));
    assert.deepEqual(counted, expected);
    guest.forgetExecutions();
    assert.ok(guest.segments().executions.every((one) => one === 0n));
  });
