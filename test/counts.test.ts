/** Instruction, load and store counts against lackey and cachegrind, on a program without libc. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cachegrindInstructions, lackeyAccesses, type Access } from './compare-engine.js';
import { compile, record } from './guest.js';

const STACK = 0x1f_0000_0000n;

/** Stack addresses depend on the size of the environment: make them relative to the first. */
function relative(accesses: readonly Access[]): string[] {
  const first = accesses.find(({ address }) => address > STACK)?.address ?? 0n;
  return accesses.map(({ store, address, sizeBytes }) => {
    const at = address > STACK ? `stack${address - first}` : address.toString(16);
    return `${store ? 'store' : 'load'} ${at} ${sizeBytes}`;
  });
}

test('a program without libc: every access is lackey’s, every instruction cachegrind’s', () => {
  const program = compile('bare.c');
  const recording = record(['bare.c']);
  assert.equal(recording.status, 7);
  const facts = recording.facts;

  assert.equal(recording.cell('select ticks from processes'), cachegrindInstructions([program]));

  const rows = recording.query('select kind, addr, size from accesses');
  const accesses = rows.map((row) => ({
    store: row['kind'] === 'store',
    address: row['addr'] as bigint,
    sizeBytes: Number(row['size']),
  }));
  assert.deepEqual(relative(accesses), relative(lackeyAccesses([program])));

  const inRange = (name: string, bytes: number, kind: string) =>
    recording.cell(`select count(*) from accesses where kind = '${kind}'
      and addr >= ${facts.hex(name)} and addr < ${facts.hex(name) + BigInt(bytes)}`);
  assert.equal(inRange('bytes', 4096, 'load'), facts.hex('loads'));
  assert.equal(inRange('longs', 4096, 'store'), facts.hex('stores'));
  assert.equal(inRange('words', 1024, 'store'), 100n);
  assert.equal(inRange('ints', 2048, 'store'), 150n);
  assert.equal(inRange('ints', 2048, 'load'), 50n);

  const longs = recording.query(`select value from accesses where kind = 'store'
    and addr >= ${facts.hex('longs')} and addr < ${facts.hex('longs') + 4096n} order by tick`);
  longs.forEach((row, i) =>
    assert.equal(
      row['value'],
      BigInt.asUintN(64, 0x1111111111111111n * BigInt(i & 15) + BigInt(i)),
    ),
  );
  assert.equal(
    recording.cell(
      `select value from accesses where kind = 'store' and addr = ${facts.hex('split') + 60n}`,
    ),
    0x8877665544332211n,
  );
});
