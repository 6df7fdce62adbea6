/** Signals and every way to die: the trace says how the program ended and holds everything until then. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { checkInvariants } from './invariants.js';
import {
  compile,
  outOptions,
  record,
  Recording,
  ROOT,
  run,
  scratch,
  shellStatus,
} from './guest.js';

test('handlers, alternate stacks, siglongjmp out of a fault, repairing a fault', () => {
  // Going on after a fault needs exact registers at it, which the engine keeps only when asked to.
  const recording = record(['signals.c'], {
    options: ['--valgrind-arg=--vex-iropt-register-updates=allregs-at-mem-access'],
  });
  assert.equal(recording.status, 0, recording.stdout);
  const facts = recording.facts;
  const delivered = (signal: number, where = 'true') =>
    recording.cell(
      `select count(*) from signals where op = 'deliver' and signal = ${signal} and ${where}`,
    );
  assert.equal(delivered(10), 2n);
  assert.equal(delivered(12, 'alternate_stack'), 1n);
  assert.equal(delivered(11, 'fault'), 4n);
  assert.equal(delivered(11, `pc = ${facts.hex('fault', 2)}`), 1n);
  assert.ok((delivered(14) as bigint) >= 3n);
  assert.equal(delivered(1), 0n, 'a signal that was waited for is not delivered');
  assert.equal(
    recording.cell(
      `select value from accesses where kind = 'store' and addr = ${facts.hex('repaired') + 8n} and value = 119`,
    ),
    0x77n,
  );
});

test('a fault in a loop that the engine has unrolled: every step before it is there', () => {
  for (const skipped of [0, 1, 2, 3]) {
    const recording = record(['walk.c', String(skipped)]);
    const steps = recording.facts.int('steps');
    assert.equal(steps, 64n - BigInt(skipped));
    const stores = recording.row(`select count(*) as n, max(value) as last from accesses
      where kind = 'store' and addr = ${recording.facts.hex('address')}`);
    assert.deepEqual(stores, { n: steps, last: steps });
  }
});

const DEATHS: readonly { how: string; status: number; end: string; code: number }[] = [
  { how: 'return', status: 3, end: 'exit', code: 3 },
  { how: 'exit', status: 4, end: 'exit', code: 4 },
  { how: '_exit', status: 5, end: 'exit', code: 5 },
  { how: 'thread-exit', status: 6, end: 'exit', code: 6 },
  { how: 'segv', status: 139, end: 'signal', code: 11 },
  { how: 'thread-segv', status: 139, end: 'signal', code: 11 },
  { how: 'abort', status: 134, end: 'signal', code: 6 },
  { how: 'fpe', status: 136, end: 'signal', code: 8 },
  { how: 'ill', status: 132, end: 'signal', code: 4 },
  { how: 'term', status: 143, end: 'signal', code: 15 },
  { how: 'overflow', status: 139, end: 'signal', code: 11 },
  { how: 'kill', status: 137, end: 'killed', code: 9 },
];

for (const { how, status, end, code } of DEATHS) {
  test(`a program that ends by ${how}`, () => {
    const recording = record(['die.c', how]);
    assert.equal(shellStatus(run([compile('die.c'), how])), status, 'natively');
    assert.equal(recording.status, status);
    const row = recording.row('select "end", status from processes');
    assert.equal(row['end'], end);
    if (end !== 'killed') assert.equal(row['status'], BigInt(code));
    const fatal = recording.query(`select signal, fault, tick = ticks as "last" from signals
      join processes using (process) where op = 'fatal'`);
    const fault = ['segv', 'thread-segv', 'fpe', 'overflow'].includes(how);
    if (end === 'exit') assert.deepEqual(fatal, []);
    else assert.deepEqual(fatal, [{ signal: BigInt(code), fault, last: true }]);
    // Everything until the end is there: the last of a thousand stores.
    const last = BigInt(`0x${recording.facts.all('last')[0]![0]}`);
    const stores = recording.row(
      `select count(*) as n, max(value) as last from accesses where kind = 'store' and addr = ${last}`,
    );
    assert.ok((stores['n'] as bigint) >= 1000n);
    assert.equal(stores['last'], 1000n);
  });
}

test('SIGKILL from outside, in the middle of a loop', async () => {
  const folder = scratch('killed');
  const child = spawn(
    process.execPath,
    [
      join(ROOT, 'dist/bin/grind.js'),
      'record',
      '--quiet',
      ...outOptions(folder),
      '--',
      compile('die.c'),
      'hang',
    ],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  const closed = once(child, 'close');
  while (!stdout.includes('last ')) await new Promise((resolve) => setTimeout(resolve, 50));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const victim = run(['pgrep', '-f', '-n', `${compile('die.c')} hang`]).stdout.trim();
  process.kill(Number(victim), 'SIGKILL');
  const [status] = (await closed) as [number];
  assert.equal(status, 137);
  assert.ok(existsSync(join(folder, 'manifest.json')));
  const recording = new Recording(folder, stdout, '', status);
  checkInvariants(recording);
  assert.equal(recording.cell('select "end" from processes'), 'killed');
  const last = BigInt(`0x${stdout.trim().split(' ')[1]}`);
  const before = recording.cell(
    `select count(*) from accesses where kind = 'store' and addr = ${last}`,
  );
  assert.ok((before as bigint) >= 1000n);
});
