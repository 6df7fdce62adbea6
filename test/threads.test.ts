/** Threads and synchronisation against the guests' own counts. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { record } from './guest.js';

const WORKERS = 3n;
const ROUNDS = 40n;

test('threads, mutex, condition, rwlock, semaphore, barrier, spin lock and once', () => {
  const recording = record(['threads.c']);
  assert.equal(recording.status, 0);
  const facts = recording.facts;
  const done = (op: string, object: string) =>
    recording.cell(
      `select count(*) from sync where op = '${op}' and object = ${facts.hex(object)}`,
    );
  assert.equal(done('mutex_lock', 'mutex'), WORKERS * ROUNDS + 2n * WORKERS);
  assert.equal(done('mutex_unlock_begin', 'mutex'), WORKERS * ROUNDS + 2n * WORKERS);
  assert.equal(done('rwlock_lock', 'rwlock'), WORKERS * ROUNDS + WORKERS);
  assert.equal(done('rwlock_unlock_begin', 'rwlock'), WORKERS * ROUNDS + WORKERS);
  assert.equal(done('cond_signal', 'cond'), WORKERS);
  assert.equal(done('barrier_wait', 'barrier'), WORKERS);
  assert.equal(done('barrier_init', 'barrier'), 1n);
  assert.equal(done('sem_wait', 'sem'), WORKERS);
  assert.equal(done('sem_post', 'sem'), WORKERS);
  assert.equal(done('spin_lock', 'spin'), WORKERS * ROUNDS);

  const rows = recording.query(`select thread, os_thread, joined_by from threads order by thread`);
  assert.deepEqual(
    rows.map((row) => row['joined_by']),
    [null, 1n, 1n, 1n],
  );
  assert.equal(BigInt(rows.length), WORKERS + 1n);
  const printed = [facts.one('main')[0], ...facts.all('worker').map((fields) => fields[1])].map(
    (id) => BigInt(id!),
  );
  assert.deepEqual(rows.map((row) => row['os_thread'] as bigint).sort(), printed.sort());
  assert.equal(recording.cell(`select count(*) from thread_events where op = 'create'`), WORKERS);
  assert.equal(recording.cell(`select count(*) from thread_events where op = 'joined'`), WORKERS);
  assert.equal(
    recording.cell(`select count(*) from thread_events where op = 'exit' and thread > 1`),
    WORKERS,
  );

  // Each worker adds to the counter in its own thread; together they leave what the guest printed.
  const adds = recording.query(`select thread, count(*) as n from accesses
    where kind = 'store' and addr = ${facts.hex('counter')} group by thread order by thread`);
  assert.deepEqual(
    adds.map((row) => row['n']),
    [ROUNDS, ROUNDS, ROUNDS],
  );
  assert.equal(
    recording.cell(
      `select max(value) from accesses where kind = 'store' and addr = ${facts.hex('counter')}`,
    ),
    facts.int('counter', 1),
  );
  // (The first thread fills the block with zeros before it starts the other.)
  for (const [, , local] of facts.all('worker')) {
    const stores = recording.query(
      `select distinct thread from accesses where kind = 'store' and thread > 1 and addr = ${BigInt(`0x${local}`)}`,
    );
    assert.equal(stores.length, 1, 'a thread’s own variable is its own');
  }
});

test('synchronisation that fails, times out or is tried', () => {
  const recording = record(['sync.c']);
  assert.equal(recording.status, 0);
  const facts = recording.facts;
  const rows = (object: string) =>
    recording
      .query(
        `select op, object2, value from sync where object = ${facts.hex(object)} order by event`,
      )
      .map(({ op, object2, value }) => [op, object2, value]);
  // For a lock the second operand is whether it is only tried, and then whether it was taken.
  assert.deepEqual(rows('held'), [
    ['mutex_lock_begin', 0n, 0n],
    ['mutex_lock', 1n, 0n],
    ['mutex_lock_begin', 1n, 0n],
    ['mutex_lock', 0n, 0n],
    ['mutex_lock_begin', 1n, 0n],
    ['mutex_lock', 0n, 0n],
  ]);
  assert.deepEqual(rows('recursive'), [
    ['mutex_init', 1n, 0n],
    // It was never used: it is as a static initialiser leaves a mutex, but for its type.
    ['mutex_destroy', 1n, 0n],
  ]);
  // For a read-write lock it is whether it is for writing; the third is what a mutex has as its second.
  assert.deepEqual(rows('rwlock'), [
    ['rwlock_init', 0n, 0n],
    ['rwlock_lock_begin', 1n, 0n],
    ['rwlock_lock', 1n, 1n],
    ['rwlock_lock_begin', 0n, 1n],
    ['rwlock_lock', 0n, 0n],
    ['rwlock_lock_begin', 1n, 1n],
    ['rwlock_lock', 1n, 0n],
  ]);
  assert.deepEqual(rows('cond'), [
    ['cond_init', 0n, 0n],
    ['cond_wait_begin', facts.hex('held'), 0n],
    ['cond_wait', facts.hex('held'), 1n],
  ]);
  assert.deepEqual(rows('sem'), [
    ['sem_init', 1n, 0n],
    ...[1n, 0n, 0n].flatMap((taken) => [
      ['sem_wait_begin', 0n, 0n],
      ['sem_wait', taken, 0n],
    ]),
  ]);
  const error = recording.row(`select object2, text from sync where op = 'api_error'`);
  assert.deepEqual([error['object2'], error['text']], [35n, 'pthread_rwlock_timedwrlock']);
  // Who called is the first frame after the function itself.
  const caller = recording.row(
    `select function from frames where depth = 1 and stack in
      (select stack from sync where op = 'cond_wait_begin')`,
  );
  assert.equal(caller['function'], 'main');
});

test('OpenMP', () => {
  const recording = record(['openmp.c']);
  const facts = recording.facts;
  assert.equal(recording.cell('select count(*) from threads'), 3n);
  for (let i = 0; i < 3; i++) {
    const address = facts.hex('cells') + BigInt(8 * i);
    const row = recording.row(
      `select thread, value from accesses where kind = 'store' and addr = ${address}`,
    );
    assert.equal(row['value'], BigInt(1000 + i));
  }
});

test('C++ exceptions, in threads too', () => {
  const recording = record(['exceptions.cpp']);
  assert.equal(recording.status, 0);
  assert.deepEqual(recording.facts.one('threads'), ['11', '12', '13']);
  assert.equal(recording.cell('select count(*) from threads'), 4n);
  // Ten frames of thrower and more: the address of each is known with its function.
  const named = recording.cell(
    `select count(*) from instructions where "function" like 'thrower%' and file = 'exceptions.cpp'`,
  );
  assert.ok((named as bigint) > 10n);
});

test('two threads that take turns: their accesses stand in the order in which they happened', () => {
  const recording = record(['turns.c']);
  const facts = recording.facts;
  const turns = facts.int('turn', 1);
  const stores = recording.query(`select thread, addr, value, tick from accesses
    where kind = 'store' and thread > 1 and (addr = ${facts.hex('turn')}
      or addr between ${facts.hex('turns')} and ${facts.hex('turns') + 8n * turns - 1n})`);
  assert.deepEqual(
    stores.map(({ thread, addr, value }) => [thread, addr, value]),
    Array.from({ length: Number(turns) }, (_, i) => {
      const player = BigInt((i % 2) + 1);
      return [
        [player + 1n, facts.hex('turns') + 8n * BigInt(i), player],
        [player + 1n, facts.hex('turn'), BigInt(i + 1)],
      ];
    }).flat(),
  );
  assert.ok(
    stores.every(({ tick }, i) => i === 0 || (tick as bigint) > (stores[i - 1]!['tick'] as bigint)),
  );
  // Each loads what the other has stored.
  const last = recording.row(`from last_write(${facts.hex('sum')}, 1000000000)`);
  assert.equal(last['value'], facts.int('sum', 1));
  const seen = recording.cell(`select count(distinct value) from accesses
    where kind = 'load' and addr = ${facts.hex('turn')} and thread = 2`);
  assert.ok((seen as bigint) >= turns / 2n);
  const switches = recording.cell(`select count(*) from (
    select thread <> lag(thread) over (order by event) as switched from slices) where switched`);
  assert.ok((switches as bigint) >= turns);
});

test('a process whose first thread ends before the others is recorded to its end', () => {
  const recording = record(['leaderless.c']);
  assert.equal(recording.status, 3, recording.stderr);
  assert.equal(recording.facts.int('rounds'), 20n);
  assert.deepEqual(recording.query('select "end"::varchar as how, status from processes'), [
    { how: 'exit', status: 3n },
  ]);
  assert.equal(
    recording.cell(`select count(*) from heap where op = 'malloc' and size between 100 and 119`),
    20n,
  );
});
