/** Accesses and their values against what guests say of themselves. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { record, type Cell, type Recording } from './guest.js';

/** Looks up the value (its lowest 8 bytes) of the last store to exactly an address. */
function lastStores(recording: Recording): (address: bigint) => Cell | undefined {
  // Globals of a guest lie in one small range, which one pass over the accesses collects.
  const rows = recording.query(`select addr, max_by(value, tick) as value from accesses
    where kind = 'store' and addr < 16 << 20 group by addr`);
  const values = new Map(rows.map((row) => [row['addr'] as bigint, row['value']!]));
  return (address) => values.get(address);
}

const count = (recording: Recording, kind: string, from: bigint, bytes: number, more = 'true') =>
  recording.cell(
    `select count(*) from accesses where kind = '${kind}' and addr >= ${from} and addr < ${from + BigInt(bytes)} and ${more}`,
  );

test('every width from 1 to 32 bytes is stored with its value', () => {
  const recording = record(['widths.c']);
  const copies = recording.facts.all('copy');
  const addresses = copies.map(([, at]) => BigInt(`0x${at}`));
  const [first, end] = [addresses[0]!, addresses.at(-1)! + 64n];
  const rows = recording.query(`select addr, size, value, lower(hex(bytes)) as bytes from accesses
    where kind = 'store' and addr >= ${first} and addr < ${end}`);
  for (const [i, [name, , size, hex]] of copies.entries()) {
    const from = addresses[i]!;
    const stores = rows.filter(
      ({ addr }) => (addr as bigint) >= from && (addr as bigint) < from + 64n,
    );
    if (name === 'masked' || name === 'maskmov') {
      assert.ok(stores.length > 0, name);
      continue;
    }
    assert.equal(stores.length, 1, name);
    const low = Buffer.from(hex!.slice(0, 16).padEnd(16, '0'), 'hex').readBigUInt64LE();
    const bytes = size === '16' || size === '32' ? hex! : null;
    assert.deepEqual(stores[0], { addr: from, size: BigInt(size!), value: low, bytes }, name);
  }
});

test('locked instructions load and store atomically', () => {
  const recording = record(['atomics.c']);
  const facts = recording.facts;
  const lastStore = lastStores(recording);
  const cell = facts.hex('final64');
  assert.equal(lastStore(cell), facts.hex('final64', 1));
  assert.equal(lastStore(facts.hex('final32')), facts.hex('final32', 1));
  assert.equal(lastStore(facts.hex('xchg')), 0xdeadbeefcafef00dn);
  // xadd, a successful compare-and-swap and 50 increments.
  assert.equal(count(recording, 'store', cell, 8, 'atomic'), 52n);
  // A failed compare-and-swap only loads.
  assert.equal(count(recording, 'store', facts.hex('casfail'), 8), 0n);
  assert.equal(count(recording, 'load', facts.hex('casfail'), 8, 'atomic'), 1n);
  const stored = recording.query(
    `select value from accesses where kind = 'store' and atomic and addr = ${cell} order by tick limit 2`,
  );
  assert.deepEqual(
    stored.map((row) => row['value']),
    [0xff00ff00ff05n, 0x123456789abcdefn],
  );
});

test('string instructions make one access per repetition', () => {
  const recording = record(['strings.c']);
  const facts = recording.facts;
  const [from, to] = [facts.hex('movsb'), facts.hex('movsb', 1)];
  assert.equal(count(recording, 'store', to, 1024, 'size = 1'), 400n);
  assert.equal(count(recording, 'store', to + 1024n, 800, 'size = 8'), 100n);
  assert.equal(count(recording, 'load', from + 1024n, 800, 'size = 8'), 100n);
  assert.equal(
    count(recording, 'store', facts.hex('stosb'), 4096, 'size = 1 and value = 90'),
    200n,
  );
  assert.equal(
    count(recording, 'store', facts.hex('stosq'), 4096, `value = ${0x1122334455667788n}`),
    70n,
  );
});

test('floating point of every kind and rounding mode is recomputed to the bit', () => {
  // The guest's memory is compared by hash at its end; here one can see what it stored.
  const recording = record(['fpu.c']);
  const facts = recording.facts;
  const lastStore = lastStores(recording);
  assert.equal(lastStore(facts.hex('crc')), facts.hex('crc', 1));
  for (let i = 0; i < 4; i++) {
    assert.equal(lastStore(facts.hex('rdtsc') + BigInt(8 * i)), facts.hex('rdtsc', i + 1));
    assert.equal(lastStore(facts.hex('cpuid') + BigInt(4 * i)), facts.hex('cpuid', i + 1));
  }
  for (let i = 0; i < 3; i++)
    assert.equal(lastStore(facts.hex('bits') + BigInt(8 * i)), facts.hex('bits', i + 1));
  assert.equal(facts.all('mode').length, 4);
});

test('values from outside are those that the guest saw', () => {
  const recording = record(['inputs.c', 'one', 'two words'], { stdin: 'x'.repeat(10_000) });
  const facts = recording.facts;
  assert.equal(facts.one('stdin')[0], '10000');
  const lastStore = lastStores(recording);
  assert.equal(lastStore(facts.hex('sum')), facts.hex('sum', 1));
  assert.equal(
    facts.hex('sum', 1),
    facts.hex('random', 1) ^ BigInt.asUintN(64, facts.hex('random', 2) + facts.hex('clock', 2)),
  );
  const loaded = recording.query(
    `select value from accesses where kind = 'load' and addr = ${facts.hex('random')} order by tick`,
  );
  assert.ok(loaded.length > 0 && loaded.every((row) => row['value'] === facts.hex('random', 1)));
});

test('mappings: shared memory, files, mremap, brk', () => {
  const recording = record(['mappings.c']);
  const facts = recording.facts;
  // The parent loads what the child stored.
  const shared = facts.hex('shared');
  const loads = recording.query(`select distinct value from accesses join processes using (process)
    where parent = -1 and kind = 'load' and size = 8 and addr = ${shared + 8n}`);
  assert.deepEqual(
    loads.map((row) => row['value']),
    [0x1234567890abcdefn],
  );
  const mapped = (name: string, field: number, where: string) =>
    recording.cell(`select count(*) from mappings join processes using (process)
      where parent = -1 and address = ${facts.hex(name, field)} and ${where}`);
  assert.equal(mapped('shared', 0, `op = 'mmap' and shared and size = 65536`), 1n);
  assert.equal(
    mapped(
      'private',
      0,
      `op = 'mmap' and not shared and size = 65536 and file like '%grind-test-%'`,
    ),
    1n,
  );
  assert.equal(mapped('sharedfile', 0, `op = 'mmap' and shared`), 1n);
  // The part that moved, and the part that is new.
  const moved = facts.hex('mremap', 1);
  assert.deepEqual(
    recording.query(`select address, source, size, protection from mappings join processes using (process)
      where parent = -1 and op = 'mremap' order by address`),
    [
      { address: moved, source: facts.hex('mremap'), size: 262144n, protection: 3n },
      { address: moved + 262144n, source: 0n, size: 262144n, protection: 3n },
    ],
  );
  assert.equal(mapped('mprotect', 0, `op = 'mprotect' and size = 65536 and protection = 1`), 1n);
  assert.ok((mapped('brk', 0, `op = 'brk'`) as bigint) >= 1n);
  assert.equal(facts.one('text')[0], 'cOXtents');
});

test('stacks that grow, are left and are changed', () => {
  const recording = record(['contexts.c']);
  assert.equal(recording.status, 0);
  const depth =
    recording.cell(`select max(executions) from segments s join instructions i on i.process = s.process and i.pc = s.address
    where i."function" = 'deep'`);
  assert.ok((depth as bigint) >= 20_000n);
});

test('code that changes while it runs', () => {
  const recording = record(['jit.c']);
  const facts = recording.facts;
  assert.deepEqual(facts.one('results').slice(1), ['1', '-1', '-1', '99']);
  const results = facts.hex('results');
  const lastStore = lastStores(recording);
  for (let i = 0; i < 20; i++) assert.equal(lastStore(results + BigInt(4 * i)), BigInt(i * 1000));
  assert.equal(lastStore(results + 4n * 31n), 0xffffffffn);
  assert.equal(lastStore(results + 4n * 33n), 99n);
});
