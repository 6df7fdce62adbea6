/** Client requests, and code that comes and goes (dlopen). */
import assert from 'node:assert/strict';
import test from 'node:test';
import { compile, record, run } from './guest.js';

test('client requests of valgrind.h and memcheck.h with their arguments', () => {
  const recording = record(['requests.c']);
  assert.equal(recording.status, 0);
  const facts = recording.facts;
  assert.equal(facts.one('running')[0], '1');
  const [area, pool] = [facts.hex('area'), facts.hex('pool')];
  const request = (code: number, ...args: bigint[]) =>
    recording.cell(`select count(*) from client_requests where code = ${code}
      ${args.map((arg, i) => `and arg${i + 1} = ${arg}`).join(' ')}`);
  const memcheck = 0x4d43_0000; // 'MC'
  assert.equal(request(memcheck, area, 1024n), 1n, 'MAKE_MEM_NOACCESS');
  assert.equal(request(memcheck + 1, area + 64n, 128n), 1n, 'MAKE_MEM_UNDEFINED');
  assert.equal(request(memcheck + 2, area + 192n, 32n), 1n, 'MAKE_MEM_DEFINED');
  assert.equal(request(memcheck + 4, area + 64n, 16n), 1n, 'CHECK_MEM_IS_ADDRESSABLE');
  assert.equal(request(memcheck + 5, area + 192n, 16n), 1n, 'CHECK_MEM_IS_DEFINED');
  assert.equal(request(0x1301, area + 2048n, 100n, 16n), 1n, 'MALLOCLIKE_BLOCK');
  assert.equal(request(0x1302, area + 2048n, 16n), 1n, 'FREELIKE_BLOCK');
  assert.equal(request(0x1303, pool, 8n, 1n), 1n, 'CREATE_MEMPOOL');
  assert.equal(request(0x1304, pool), 1n, 'DESTROY_MEMPOOL');
  assert.equal(request(0x1305, pool, pool + 64n, 40n), 1n, 'MEMPOOL_ALLOC');
  assert.equal(request(0x1306, pool, pool + 128n), 1n, 'MEMPOOL_FREE');
  assert.equal(request(0x130b, area + 2048n, 100n, 200n, 16n), 1n, 'RESIZEINPLACE_BLOCK');
  assert.equal(
    request(0x1501, facts.hex('stack'), facts.hex('stack') + 4096n),
    1n,
    'STACK_REGISTER',
  );
  assert.match(recording.stderr, /printed by the guest: 42/);
  assert.match(recording.stderr, /with a backtrace: here/);
});

test('the program is answered as by Memcheck when all is well', () => {
  const { stdout } = run(['valgrind', '-q', '--tool=memcheck', compile('requests.c'), 'answers']);
  assert.match(stdout, /blocks 0 1 -1/);
  const recording = record(['requests.c', 'answers']);
  assert.equal(recording.stdout, stdout);
  assert.equal(
    recording.cell(`select count(*) from memory where cause = 'client_request' and op = 'zero'`),
    1n,
  );
});

test('a library that is loaded and unloaded three times', () => {
  const recording = record(['dl.c', compile('plugin.c')]);
  const facts = recording.facts;
  assert.equal(facts.all('plugin').length, 3);
  assert.ok(
    (recording.cell(`select count(*) from modules where path like '%/plugin'`) as bigint) >= 1n,
  );
  const entered = recording.cell(`select cast(sum(executions) as bigint) from segments s
    where address in (${facts
      .all('plugin')
      .map(([at]) => BigInt(`0x${at}`))
      .join(', ')})`);
  assert.equal(entered, 6n);
});
