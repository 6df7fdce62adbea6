/** Accesses and their values against what guests say of themselves. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { record, type Recording } from './guest.js';

/** The value of the last store to exactly this address, or its lowest 8 bytes. */
const lastStore = (recording: Recording, address: bigint) =>
  recording.cell(
    `select value from accesses where kind = 'store' and addr = ${address} order by tick desc limit 1`,
  );

const count = (recording: Recording, kind: string, from: bigint, bytes: number, more = 'true') =>
  recording.cell(
    `select count(*) from accesses where kind = '${kind}' and addr >= ${from} and addr < ${from + BigInt(bytes)} and ${more}`,
  );

test('every width from 1 to 32 bytes is stored with its value', () => {
  const recording = record(['widths.c']);
  for (const [name, at, size, hex] of recording.facts.all('copy')) {
    const address = BigInt(`0x${at}`);
    const low = Buffer.from(hex!.slice(0, 16).padEnd(16, '0'), 'hex').readBigUInt64LE();
    if (name === 'masked' || name === 'maskmov') {
      const from = `addr >= ${address} and addr < ${address + BigInt(size!)}`;
      assert.ok(
        (recording.cell(
          `select count(*) from accesses where kind = 'store' and ${from}`,
        ) as bigint) > 0n,
        name,
      );
      continue;
    }
    const row = recording.row(
      `select size, value from accesses where kind = 'store' and addr = ${address}`,
    );
    assert.equal(row['size'], BigInt(size!), name);
    assert.equal(row['value'], low, name);
  }
});

test('locked instructions load and store atomically', () => {
  const recording = record(['atomics.c']);
  const facts = recording.facts;
  const cell = facts.hex('final64');
  assert.equal(lastStore(recording, cell), facts.hex('final64', 1));
  assert.equal(lastStore(recording, facts.hex('final32')), facts.hex('final32', 1));
  assert.equal(lastStore(recording, facts.hex('xchg')), 0xdeadbeefcafef00dn);
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
  assert.equal(lastStore(recording, facts.hex('crc')), facts.hex('crc', 1));
  for (let i = 0; i < 4; i++) {
    assert.equal(
      lastStore(recording, facts.hex('rdtsc') + BigInt(8 * i)),
      facts.hex('rdtsc', i + 1),
    );
    assert.equal(
      lastStore(recording, facts.hex('cpuid') + BigInt(4 * i)),
      facts.hex('cpuid', i + 1),
    );
  }
  for (let i = 0; i < 3; i++)
    assert.equal(lastStore(recording, facts.hex('bits') + BigInt(8 * i)), facts.hex('bits', i + 1));
  for (let mode = 0; mode < 4; mode++) {
    const from = facts.all('mode')[mode]!;
    const stores = count(recording, 'store', BigInt(`0x${from[1]}`), 8 * Number(from[2]));
    assert.ok((stores as bigint) >= BigInt(from[2]!), `mode ${mode}`);
  }
});

test('values from outside are those that the guest saw', () => {
  const recording = record(['inputs.c', 'one', 'two words'], { stdin: 'x'.repeat(10_000) });
  const facts = recording.facts;
  assert.equal(facts.one('stdin')[0], '10000');
  assert.equal(lastStore(recording, facts.hex('sum')), facts.hex('sum', 1));
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
  assert.equal(
    mapped('mremap', 1, `op = 'mremap' and source = ${facts.hex('mremap')} and size = 524288`),
    1n,
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
  for (let i = 0; i < 20; i++)
    assert.equal(lastStore(recording, results + BigInt(4 * i)), BigInt(i * 1000));
  assert.equal(lastStore(recording, results + 4n * 31n), 0xffffffffn);
  assert.equal(lastStore(recording, results + 4n * 33n), 99n);
});
