/** Recordings of a part of a program: begin and end by function, tick or request; size limit; no values. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { compile, grind, record, type Recording } from './guest.js';

/** Natively: what the guest prints and returns is the same whatever part of it is recorded. */
const STATUS = 5;

/** How often each of the three counters was stored to, and the lowest and highest value. */
function stores(recording: Recording, facts = recording.facts): unknown[][] {
  return ['first', 'middle', 'last'].map((name) =>
    Object.values(
      recording.row(`select count(*) as n, min(value) as low, max(value) as high from accesses
        where kind = 'store' and size = 8 and addr = ${facts.hex(name)}`),
    ),
  );
}

const NOTHING = [0n, null, null];
const ALL = [100n, 1n, 100n];
/** The middle part first copies the first counter. */
const MIDDLE = [101n, 100n, 200n];

const PARTS: readonly [name: string, args: string[], options: string[], expected: unknown[][]][] = [
  ['all of it', [], [], [ALL, MIDDLE, ALL]],
  ['from a function', [], ['--start-at', 'function:middle_part'], [NOTHING, MIDDLE, ALL]],
  ['up to a function', [], ['--stop-at', 'function:middle_part'], [ALL, NOTHING, NOTHING]],
  [
    'from function to function',
    [],
    ['--start-at', 'function:middle_part', '--stop-at', 'function:last_part'],
    [NOTHING, MIDDLE, NOTHING],
  ],
  ['from a request', ['marked'], ['--start-at', 'request'], [NOTHING, MIDDLE, NOTHING]],
  ['up to a request', ['marked'], ['--stop-at', 'request'], [ALL, MIDDLE, NOTHING]],
];

for (const [name, args, options, expected] of PARTS) {
  test(`recording ${name}`, () => {
    const recording = record(['parts.c', ...args], { options });
    assert.equal(recording.status, STATUS);
    assert.deepEqual(stores(recording), expected);
    const stopped = expected[2] === NOTHING;
    assert.deepEqual(recording.row(`select "end", status from processes`), {
      end: stopped ? 'stopped' : 'exit',
      status: BigInt(STATUS),
    });
    assert.equal(
      recording.cell(`select count(*) from health where severity = 'warning'`),
      stopped ? 1n : 0n,
    );
    // Blocks that were there before are known, with their sizes.
    const block = recording.facts.hex('block');
    assert.equal(
      recording.cell(`select count(*) from allocations where address = ${block} and size = 1000`),
      1n,
    );
    if (expected[1] === MIDDLE) {
      const name = recording.cell(`select distinct i."function" from accesses a
        join instructions i on i.process = a.process and i.pc = a.pc
        where a.kind = 'store' and a.addr = ${recording.facts.hex('middle')}`);
      assert.equal(name, 'middle_part');
    }
  });
}

test('recording from a tick, and up to one', () => {
  const whole = record(['parts.c']);
  const tickOf = (name: string, which: 'min' | 'max') =>
    whole.cell(`select ${which}(tick) from accesses
      where kind = 'store' and addr = ${whole.facts.hex(name)}`) as bigint;
  // A recording begins and ends at the first moment from that tick on at which the engine has the control:
  // at a system call, at code that runs for the first time, after a time slice.
  const from = record(['parts.c'], {
    options: ['--start-at', `tick:${tickOf('first', 'max') + 1n}`],
  });
  assert.deepEqual(stores(from), [NOTHING, MIDDLE, ALL]);
  assert.ok(
    (from.cell('select min(tick) from accesses') as bigint) > tickOf('first', 'max'),
    'ticks count from the start of the program',
  );
  const to = record(['parts.c'], { options: ['--stop-at', `tick:${tickOf('first', 'max')}`] });
  assert.deepEqual(stores(to, whole.facts), [ALL, NOTHING, NOTHING]);
});

test('a part that never comes leaves a run that says so', () => {
  const recording = record(['parts.c'], { options: ['--start-at', 'function:no_such_function'] });
  assert.equal(recording.status, STATUS);
  assert.equal(recording.cell('select count(*) from accesses'), 0n);
  assert.deepEqual(recording.row('select what, severity from health'), {
    what: 'not started',
    severity: 'warning',
  });
  assert.equal(recording.cell('select "end" from processes'), 'exit');
});

test('the size limit stops the recording and not the program', () => {
  const recording = record(['feed.c', '60'], { options: ['--max-size', '10M'] });
  assert.equal(recording.status, 6);
  assert.equal(recording.facts.all('round').length, 60);
  assert.deepEqual(recording.row(`select "end", status from processes`), {
    end: 'stopped',
    status: 6n,
  });
  assert.match(recording.cell(`select what from health`) as string, /size limit/);
  const reads = recording.cell(
    `select count(*) from syscalls where name = 'read' and result = 1048576`,
  ) as bigint;
  assert.ok(reads >= 4n && reads <= 20n, `${reads} of 60 reads are stored`);
  const { status, stdout } = grind(['info', recording.folder]);
  assert.equal(status, 0);
  assert.match(stdout, /cut off/);
});

test('the recorder says on standard error that it stopped', () => {
  const result = grind(['record', '--max-size', '3M', '--', compile('feed.c'), '30']);
  assert.equal(result.status, 6);
  assert.match(result.stderr, /recording of process \d+ stopped before its end \(size limit\)/);
});

test('--no-values: everything but the values', () => {
  const recording = record(['parts.c'], { options: ['--no-values'] });
  assert.deepEqual(recording.row('select count(value) as n, count(bytes) as wide from accesses'), {
    n: 0n,
    wide: 0n,
  });
  const first = recording.facts.hex('first');
  assert.equal(
    recording.cell(`select count(*) from accesses where kind = 'store' and addr = ${first}`),
    100n,
  );
  const write = recording.row(`from last_write(${first}, 1000000)`);
  assert.deepEqual([write['how'], write['value']], ['store', null]);
  assert.deepEqual(recording.query(`select distinct byte from memory_at(${first}, 8, 1000000)`), [
    { byte: null },
  ]);
});
