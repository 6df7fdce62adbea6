/** System calls against strace. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import test from 'node:test';
import { recordedCalls, straceCalls } from './compare-strace.js';
import { compile, record, scratch } from './guest.js';

const text = scratch('text');
writeFileSync(text, Array.from({ length: 500 }, (_, i) => `line ${i}\n`).join(''));

const PROGRAMS: readonly { name: string; argv: string[]; stdin?: string }[] = [
  { name: 'cat', argv: ['cat', text] },
  { name: 'head', argv: ['head', '-n', '3', text] },
  { name: 'sort', argv: ['sort', '--parallel=1', '-r', text] },
  { name: 'gzip', argv: ['gzip', '-c', text] },
  { name: 'tee', argv: ['tee', '/dev/null'], stdin: 'some input\n' },
  { name: 'sh with two children', argv: ['sh', '-c', '/bin/cat /etc/hostname; /bin/echo hello'] },
];

for (const { name, argv, stdin } of PROGRAMS) {
  test(`strace sees the same calls: ${name}`, () => {
    const recording = record(argv, { stdin });
    assert.deepEqual(recordedCalls(recording), straceCalls(argv, { stdin }));
  });
}

test('arguments, results and the memory that the kernel read and wrote', () => {
  const recording = record([compile('inputs.c')], { stdin: 'abc' });
  const facts = recording.facts;
  const random = recording.row(
    `select s.call, arg1, arg2, result from syscalls s where name = 'getrandom' and arg1 = ${facts.hex('random')}`,
  );
  assert.deepEqual([random['arg2'], random['result']], [32n, 32n]);
  const written = recording.query(
    `select address, size from syscall_memory where call = ${random['call']} and direction = 'write'`,
  );
  assert.deepEqual(written, [{ address: facts.hex('random'), size: 32n }]);
  assert.equal(
    recording.cell(`select count(*) from syscalls where name = 'read' and arg1 = 0 and result = 3`),
    1n,
  );
  const bytes = recording.cell(
    `select cast(sum(result) as bigint) from syscalls where name = 'write' and arg1 = 1 and result > 0`,
  );
  assert.equal(bytes, BigInt(recording.stdout.length));
});

test('what system calls change of what they were given is known', () => {
  const recording = record(['waits.c']);
  assert.equal(recording.status, 0, recording.stderr);
  assert.deepEqual(recording.facts.all('isset'), [
    ['1', '0'],
    ['1', '0'],
  ]);
  const sets = ['reading', 'writing', 'select', 'pselect', 'ppoll'];
  const lengths = ['length', 'message', 'header'];
  const names = [...sets, 'from', 'to', 'spliced', 'path', 'path_at', ...lengths];
  const shown = names.flatMap((name) => recording.facts.all(name)).filter(([, value]) => value);
  const loads = recording.query(`select addr, list(distinct value) as loaded from accesses
    where kind = 'load' and size = 8 group by addr`);
  const loaded = new Map(loads.map((row) => [row['addr'], row['loaded'] as unknown as bigint[]]));
  for (const [address, value] of shown)
    assert.ok(loaded.get(BigInt(`0x${address}`))?.includes(BigInt(`0x${value}`)), address);
  assert.equal(shown.length, 13 + 2 * 12 + 13);
});

test('readv names each part that was written', () => {
  const recording = record(['mappings.c']);
  const [length, first, second] = recording.facts.one('readv');
  assert.equal(length, '30');
  const parts = recording.query(`select m.address, m.size from syscall_memory m
    join syscalls s on s.process = m.process and s.call = m.call
    where s.name = 'readv' and m.direction = 'write' order by m.event`);
  assert.deepEqual(parts, [
    { address: BigInt(`0x${first}`), size: 10n },
    { address: BigInt(`0x${second}`), size: 20n },
  ]);
});
