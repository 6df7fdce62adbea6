/** Runs of several processes: who started whom, how each ended, and that each child's memory is its own. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { mkdirSync, statSync } from 'node:fs';
import { record, scratch } from './guest.js';

test('fork, vfork, exec, posix_spawn, system, a child that is killed', () => {
  const recording = record(['processes.c']);
  assert.equal(recording.status, 4, 'exec replaced the first process');
  const facts = recording.facts;
  const main = facts.int('main');
  const ends = (pid: bigint) =>
    recording.query(`select how, "end", status from processes where pid = ${pid} order by process`);

  assert.equal(ends(facts.int('forked')).length, 1);
  assert.deepEqual(ends(facts.int('forked')), [{ how: 'fork', end: 'exit', status: 8n }]);
  assert.deepEqual(ends(facts.int('grandchild')), [{ how: 'fork', end: 'exit', status: 7n }]);
  assert.equal(ends(facts.int('vfork')).at(-1)!['how'], 'exec');
  assert.equal(ends(facts.int('vfork')).at(-1)!['status'], 2n);
  assert.equal(ends(facts.int('spawn')).at(-1)!['status'], 3n);
  assert.equal(ends(facts.int('killed'))[0]!['end'], 'killed');
  const first = ends(main);
  assert.deepEqual(
    first.map((row) => [row['how'], row['end']]),
    [
      ['start', 'exec'],
      ['exec', 'exit'],
    ],
  );

  const parentOf = (pid: bigint) =>
    recording.cell(
      `select q.pid from processes p join processes q on q.process = p.parent where p.pid = ${pid} and p.how = 'fork'`,
    );
  assert.equal(parentOf(facts.int('grandchild')), facts.int('forked'));
  assert.equal(parentOf(facts.int('forked')), main);

  // The same address holds other values in each process.
  const address = facts.hex('forked', 1);
  const stored = (pid: bigint) =>
    recording
      .query(
        `select value from accesses join processes using (process)
      where pid = ${pid} and kind = 'store' and addr = ${address} order by tick`,
      )
      .map((row) => row['value']);
  assert.deepEqual(stored(main).slice(0, 2), [10n, 20n]);
  assert.deepEqual(stored(facts.int('forked')), [facts.int('forked', 2)]);
  assert.deepEqual(stored(facts.int('grandchild')), [facts.int('grandchild', 2)]);
});

test('--no-children leaves children out', () => {
  const recording = record(['sh', '-c', '/bin/echo one; /bin/echo two'], {
    options: ['--no-children'],
  });
  assert.equal(recording.stdout, 'one\ntwo\n');
  assert.equal(recording.cell('select count(distinct pid) from processes'), 1n);
  // Forked children are copies of the program that is recorded.
  const forks = record(['processes.c'], { options: ['--no-children'] });
  assert.equal(forks.status, 4);
  assert.deepEqual(forks.row('select pid, how, "end" from processes'), {
    pid: forks.facts.int('main'),
    how: 'start',
    end: 'exec',
  });
});

test('a pipeline of a shell', () => {
  const recording = record(['sh', '-c', 'seq 1 200 | sort -r | head -3']);
  assert.equal(recording.stdout, '99\n98\n97\n');
  assert.equal(recording.cell('select count(distinct pid) from processes'), 4n);
  const programs = recording.query(
    `select distinct parse_filename(executable) as name from processes order by 1`,
  );
  for (const name of ['seq', 'sort', 'head'])
    assert.ok(
      programs.some((row) => row['name'] === name),
      name,
    );
});

for (const changesRoot of [false, true])
  test(
    `a daemon becomes nobody${changesRoot ? ' in a root of its own' : ''}, and all of it is recorded`,
    { skip: process.geteuid?.() !== 0 && 'only root can become another user' },
    () => {
      const root = scratch('root');
      mkdirSync(root);
      const recording = record(['steps-down.c', ...(changesRoot ? [root] : [])]);
      assert.equal(recording.status, 0, recording.stderr);
      const [child, status] = recording.facts.one('child');
      assert.equal(status, changesRoot ? '7' : '0');
      assert.deepEqual(
        recording.query(
          `select pid = ${child} as child, how, "end" from processes order by process`,
        ),
        [
          { child: false, how: 'start', end: 'exit' },
          { child: true, how: 'fork', end: changesRoot ? 'exit' : 'exec' },
          ...(changesRoot ? [] : [{ child: true, how: 'exec', end: 'exit' }]),
        ],
      );
      const seeks = recording.query(
        `select count(*) as calls from syscalls where name = 'lseek' group by process order by process limit 2`,
      );
      assert.deepEqual(seeks, [{ calls: 45000n }, { calls: 15000n }]);
      assert.deepEqual(
        recording.query('select what from health'),
        changesRoot ? [{ what: 'not recorded' }] : [],
      );
      assert.equal(statSync(recording.folder).mode & 0o777, 0o777 & ~process.umask());
    },
  );
