/** SQL over made-up traces: scans, views, macros, hints, and that the declarations tell the truth. */
import assert from 'node:assert/strict';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Database } from '../replay/database.js';
import { splitStatements, takeStatements } from '../replay/sql-text.js';
import { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { describeTables, referencePage } from '../schemas/reference.js';
import type { Table } from '../schemas/schema.js';
import { storedColumns } from '../schemas/stored.js';
import * as stored from '../schemas/tables.js';
import { COMPUTED_TABLES, HIDDEN_COMPUTED, MACROS, SHOWN_TABLES, VIEWS } from '../schemas/views.js';
import { expectedRows, fakeReplay, randomNumbers } from './query-replay.js';
import { add, contents, writeRun, type Contents, type PartialRow } from './query-trace.js';

const BATCHES = 12;
const PER_BATCH = 3000;

async function open(run: Contents = contents(), replay = fakeReplay(BATCHES, PER_BATCH)) {
  const trace = Trace.open(writeRun(run, undefined, { guest: { stateSize: 1024 } }));
  return { trace, replay, database: await Database.open(trace, replay.openReplay) };
}

const twoProcesses = () =>
  contents([
    { process: 0, parent: -1, ticks: 1000n },
    { process: 3, parent: 0 },
  ]);

test('accesses come back exactly, whichever columns are asked for', async () => {
  const { database } = await open(twoProcesses());
  const expected = expectedRows([0, 3], BATCHES, PER_BATCH);
  const rows = await database.rows('select * from accesses');
  assert.equal(rows.length, expected.length);
  rows.forEach((row, i) => {
    const bytes = row['bytes'] && Buffer.from(row['bytes'] as Uint8Array).toString('hex');
    assert.deepEqual({ ...row, bytes }, expected[i]);
  });
  const [count] = await database.rows('select count(*) n from accesses');
  assert.equal(count!['n'], BigInt(expected.length));
  for (const column of ['process', 'thread', 'size', 'kind', 'atomic', 'pc', 'value']) {
    const [row] = await database.rows(
      `select ${column} v, count(*) n from accesses group by 1 order by 1 limit 1`,
    );
    const values = expected.map((r) => r[column as 'pc']);
    assert.equal(row!['n'], BigInt(values.filter((v) => v === row!['v']).length), column);
  }
  const wide = expected.filter((r) => r.bytes);
  const picked = await database.rows(
    'select bytes from accesses where bytes is not null and addr > 4294967296',
  );
  assert.deepEqual(
    picked.map((r) => Buffer.from(r['bytes'] as Uint8Array).toString('hex')),
    wide.filter((r) => r.addr > 1n << 32n).map((r) => r.bytes),
  );
});

test('hints reach replay, and skip nothing that a statement needs', async () => {
  const { database, replay } = await open(twoProcesses());
  const opened = async (sql: string) => {
    replay.opened.length = 0;
    await database.rows(sql);
    return replay.opened;
  };
  const all = new Set(['ticks', 'addresses', 'values', 'wide']);
  assert.deepEqual(
    await opened('select * from accesses where tick between 10 and 20 and process = 3'),
    [{ process: 3, accesses: true, columns: all, fromTick: 10n, toTick: 20n }],
  );
  assert.deepEqual(await opened('select * from accesses where 10 < tick limit 1'), [
    { process: 0, accesses: true, columns: all, fromTick: 11n },
  ]);
  for (const condition of ['tick between 5 * 2 and 10 + 10', 'tick >= 5 * 2 and 21 - 1 >= tick']) {
    assert.deepEqual(
      await opened(`select * from accesses where ${condition} and process = 4 - 1`),
      [{ process: 3, accesses: true, columns: all, fromTick: 10n, toTick: 20n }],
      condition,
    );
  }
  const columns = async (sql: string) => [...(await opened(sql))[0]!.columns!].sort();
  assert.deepEqual(await columns('select kind, size, count(*) from accesses group by all'), []);
  assert.deepEqual(await columns('select max(value), max(pc) from accesses'), ['values']);
  assert.deepEqual(await columns('select bytes from accesses where tick > 5'), ['ticks', 'wide']);
  assert.deepEqual(await columns('select size from accesses where addr = 5'), ['addresses']);
  assert.equal((await opened('select * from accesses where tick < 5 and tick > 7')).length, 0);
  assert.equal((await opened('from last_write(4294967296, 500)'))[0]!.toTick, 499n);
  assert.equal(
    (await opened('select * from accesses where tick = 3 or addr = 5'))[0]!.fromTick,
    undefined,
  );

  const anyOrder = async (sql: string) => (await opened(sql)).every(({ tallied }) => tallied);
  for (const sql of [
    'select count(*) from accesses',
    'select distinct kind from accesses where process >= 0',
    'select kind, sum(size), min(pc) from accesses where size > 2 group by kind order by 2',
    'select count(distinct p.pid) from accesses a join processes p using (process)',
  ]) {
    assert.ok(await anyOrder(sql), sql);
  }
  for (const sql of [
    'select kind from accesses',
    'select count(*) from accesses where addr > 5',
    'select kind, first(pc) from accesses group by kind',
    'select list(size) from accesses',
    'select count(*) from (select pc from accesses limit 3)',
    'select max(n) from (select row_number() over () n from accesses)',
    'select count(*), (select pc from accesses limit 1) from accesses',
  ]) {
    assert.ok(!(await anyOrder(sql)), sql);
  }

  const random = randomNumbers(7);
  const number = () => [random(30), random(40_000), 4294967264 + random(64), 1, 3][random(5)]!;
  const big = () =>
    ['9223372036854775808', '9223372036854775790', '18446744073709551615', '0', '4294967295'][
      random(5)
    ]!;
  const column = () =>
    ['tick', 'addr', 'process', 'thread', 'a.addr', 'a.tick', 'size', 'value'][random(8)]!;
  const condition = (depth: number): string => {
    if (depth > 0 && random(3) > 0)
      return `(${condition(depth - 1)} ${['and', 'and', 'or'][random(3)]} ${condition(depth - 1)})`;
    const value = random(4) === 0 ? big() : String(number());
    switch (random(9)) {
      case 7:
        return `${column()} between ${value} - 1 and ${value} + ${number()}`;
      case 8:
        return `${column()} ${['<', '>', '=', '<=', '>='][random(5)]} ${value} - ${number()}`;
      case 0:
        return `${column()} between ${value} and ${number()}`;
      case 1:
        return `${value} ${['<', '>=', '=', '<>'][random(4)]} ${column()}`;
      case 2:
        return `${column()} in (${value}, ${number()})`;
      case 3:
        return `not ${column()} > ${value}`;
      case 4:
        return `${column()} + 1 <= ${value}`;
      default:
        return `${column()} ${['<', '>', '=', '<=', '>='][random(5)]} ${value}`;
    }
  };
  const shapes = [
    (c: string) => `select count(*) n, sum(hash(a)) s from accesses a where ${c}`,
    (c: string) =>
      `with w as (select * from accesses) select count(*) n, sum(hash(a)) s from w a where ${c}`,
    (c: string) =>
      `select count(*) n, sum(hash(a)) s from (select * replace (addr as tick, tick as addr) from accesses) a where ${c}`,
    (c: string) =>
      `select count(*) n, sum(hash(a)) s from (select * from accesses where ${condition(0).replaceAll('a.', '')} union all select * from accesses where kind = 'store') a where ${c}`,
    (c: string) =>
      `select (select count(*) from accesses a where ${c}) n, count(*) s from accesses where ${condition(1).replaceAll('a.', '')}`,
    (c: string) =>
      `select count(*) n, max(b.ticks) s from accesses a left join processes b on a.process = b.process and ${c.replaceAll(/\b(a\.)?(tick|addr|process|thread|size|value)\b/g, 'a.$2')}`,
  ];
  for (const list of ['pc', 'thread, kind', 'process, atomic, size', 'kind, thread % 2']) {
    const sql = `select ${list}, count(*), sum(size), max(pc) from accesses group by all order by all`;
    assert.deepEqual(await database.rows(sql), await plain(sql), sql);
  }
  for (let i = 0; i < 150; i++) {
    const sql = shapes[i % shapes.length]!(condition(3));
    const hinted = await database.rows(sql);
    // Planned with DuckDB alone: a statement that is not a plain SELECT gets no hints.
    const other = await plain(sql);
    assert.deepEqual(hinted, other, sql);
  }
});

let unhinted: Database | undefined;
/** The same statement in a session that has given up hints. */
async function plain(sql: string) {
  if (!unhinted) {
    unhinted = (await open(twoProcesses())).database;
    await unhinted.rows('create table mine(x integer)');
  }
  return unhinted.rows(sql);
}

test('no trick with names makes a hint of what is none', async () => {
  const { database } = await open(twoProcesses());
  const all = (await database.rows('select count(*) n from accesses'))[0]!['n'];
  for (const sql of [
    `select count(*) n from (select *, true as "tick>5000000000" from accesses) where "tick>5000000000"`,
    `select count(*) n from (select *, 'tick>5000000000' t from accesses) where t = 'tick>5000000000'`,
    `with accesses as (from accesses select *, 1::ubigint - 1 as t) select count(*) n from accesses where tick >= t`,
  ]) {
    assert.equal((await database.rows(sql))[0]!['n'], all, sql);
  }
  await database.rows(
    'create or replace view accesses as select * replace (addr as tick) from scan_accesses()',
  );
  const [row] = await database.rows(
    'select count(*) n, min(tick) t from accesses where tick > 4294967296',
  );
  assert.ok((row!['n'] as bigint) > 0n);
});

test('what is declared is what DuckDB has', async () => {
  const { database } = await open();
  const computed = COMPUTED_TABLES.filter((t) => !HIDDEN_COMPUTED.includes(t)) as readonly Table[];
  const check = async (name: string, from: string, columns: Record<string, { type: string }>) => {
    const described = await database.rows(`describe from ${from}`);
    const types: Record<string, RegExp> = {
      u8: /^UTINYINT$/,
      u16: /^USMALLINT$/,
      u32: /^UINTEGER$/,
      u64: /^UBIGINT$/,
      i32: /^INTEGER$/,
      i64: /^BIGINT$/,
      bool: /^BOOLEAN$/,
      enum: /^ENUM/,
      string: /^VARCHAR$/,
      binary: /^BLOB$/,
    };
    assert.deepEqual(
      described.map((d) => d['column_name']),
      Object.keys(columns),
      name,
    );
    for (const d of described) {
      const { type } = columns[String(d['column_name'])]!;
      assert.match(String(d['column_type']), types[type]!, `${name}.${String(d['column_name'])}`);
    }
  };
  for (const table of SHOWN_TABLES) await check(table.name, table.name, storedColumns(table));
  for (const table of [...computed, ...VIEWS]) await check(table.name, table.name, table.columns);
  const calls: Record<string, string> = {
    touched: 'touched(5)',
    last_write: 'last_write(5, 9)',
    memory_at: 'memory_at(5, 9, 4)',
  };
  for (const table of MACROS) await check(table.name, calls[table.name]!, table.columns);
  for (const name of ['accesses', 'allocations', 'touched(address, size := 1)'])
    assert.ok(describeTables().includes(`\n${name}: `), name);
});

test('a forked process has the program that its parent had at the fork', async () => {
  const run = contents([
    { process: 0, pid: 1, parent: -1, ticks: 9n },
    { process: 1, pid: 2, parent: 0, how: 'fork', parent_event: 6n, parent_tick: 5n, ticks: 9n },
  ]);
  const both = <T extends Table>(table: T, rows: PartialRow<T>[]) => {
    for (const process of [0, 1])
      add(
        run,
        table,
        rows.filter((row) => (row as { process: number }).process === process),
      );
  };
  both(stored.strings, [
    { process: 0, event: 1n, string: 1, text: 'early' },
    { process: 0, event: 7n, string: 2, text: 'late in the parent' },
    { process: 1, event: 1n, string: 2, text: 'late in the child' },
  ]);
  both(stored.modules, [{ process: 0, event: 2n, tick: 1n, module: 1, path: '/bin/a' }]);
  both(stored.instructions, [
    { process: 0, event: 3n, pc: 0x400n, module: 1, function: 1 },
    { process: 0, event: 8n, pc: 0x500n, module: 1, function: 2 },
    { process: 1, event: 2n, pc: 0x500n, module: 1, function: 2 },
  ]);
  both(stored.stacks, [
    { process: 0, event: 4n, stack: 1, pcs: pcs(0x400n) },
    { process: 0, event: 9n, stack: 2, pcs: pcs(0x500n) },
    { process: 1, event: 3n, stack: 2, pcs: pcs(0x500n, 0x400n) },
  ]);
  both(stored.heap, [
    { process: 0, event: 5n, tick: 2n, op: 'malloc', address: 16n, size: 8n, stack: 1 },
    { process: 0, event: 6n, tick: 3n, op: 'malloc', address: 32n, size: 8n, stack: 1 },
    { process: 1, event: 4n, tick: 1n, op: 'free', address: 16n, size: 8n, known: true, stack: 2 },
  ]);
  const { database } = await open(run);
  const rows = async (sql: string) => (await database.rows(sql)).map((r) => Object.values(r));
  assert.deepEqual(
    await rows('select stack, depth, function, module from frames where process = 1 order by all'),
    [
      [1, 0n, 'early', '/bin/a'],
      [2, 0n, 'late in the child', '/bin/a'],
      [2, 1n, 'early', '/bin/a'],
    ],
  );
  assert.deepEqual(
    await rows('select function from instructions where process = 0 order by event'),
    [['early'], ['late in the parent']],
  );
  assert.deepEqual(await rows('select event, tick from modules where process = 1'), [[0n, 0n]]);
  assert.deepEqual(
    await rows(
      'select address, event, tick, stack, free_tick, freed_by from allocations where process = 1',
    ),
    [[16n, null, null, 1, 1n, 'free']],
  );
  assert.deepEqual(
    await rows('select address, free_tick from allocations where process = 0 order by all'),
    [
      [16n, null],
      [32n, null],
    ],
  );
});

test('docs/tables.md is current', () => {
  const root = process.env['npm_package_json']
    ? join(process.env['npm_package_json'], '..')
    : process.cwd();
  assert.equal(
    readFileSync(join(root, 'docs', 'tables.md'), 'utf8'),
    referencePage(),
    'run `npm run docs`',
  );
});

test('stored columns: every type, long and short strings, several vectors', async () => {
  const run = contents();
  const count = 5000;
  const file = (i: number) => 'x'.repeat(i % 30) + (i % 3 === 0 ? 'é' : '');
  add(
    run,
    stored.mappings,
    Array.from({ length: count }, (_, i) => ({
      event: BigInt(i),
      address: (1n << 64n) - 1n - BigInt(i),
      shared: i % 3 === 1,
      protection: i % 8,
      op: i % 2 ? ('munmap' as const) : ('mmap' as const),
      file: file(i),
    })),
  );
  const { database } = await open(run);
  const rows = await database.rows(
    'select event, address, shared, protection, op, file from mappings',
  );
  assert.equal(rows.length, count);
  rows.forEach((row, i) => {
    assert.deepEqual(row, {
      event: BigInt(i),
      address: (1n << 64n) - 1n - BigInt(i),
      shared: i % 3 === 1,
      protection: i % 8,
      op: i % 2 ? 'munmap' : 'mmap',
      file: file(i),
    });
  });
});

test('text that is not UTF-8 is mended', async () => {
  const run = contents();
  add(run, stored.mappings, [
    { file: Buffer.from('c3', 'hex') as never },
    { file: Buffer.from('a9', 'hex') as never },
    { file: 'ok' },
  ]);
  const { database } = await open(run);
  assert.deepEqual(
    (await database.rows('select file from mappings')).map((r) => r['file']),
    ['\ufffd', '\ufffd', 'ok'],
  );
});

const pcs = (...addresses: bigint[]) => new Uint8Array(BigUint64Array.from(addresses).buffer);

test('allocations: one row per generation', async () => {
  const run = contents();
  add(run, stored.heap, [
    { event: 1n, tick: 1n, op: 'malloc', address: 0x1000n, size: 10n, stack: 1 },
    {
      event: 2n,
      tick: 2n,
      op: 'realloc',
      address: 0x2000n,
      size: 20n,
      previous: 0x1000n,
      known: true,
    },
    {
      event: 3n,
      tick: 3n,
      op: 'realloc',
      address: 0n,
      size: 1n << 50n,
      previous: 0x2000n,
      known: true,
    },
    { event: 4n, tick: 4n, op: 'malloc', address: 0n, size: 1n << 60n },
    { event: 5n, tick: 5n, op: 'free', address: 0x2000n, known: true, stack: 2 },
    { event: 6n, tick: 6n, op: 'free', address: 0x2000n, known: false },
    { event: 7n, tick: 7n, op: 'new', address: 0x1000n, size: 7n },
  ]);
  add(run, stored.client_requests, [
    { event: 8n, tick: 8n, code: 0x1301, arg1: 0x1002n, arg2: 3n },
    { event: 9n, tick: 9n, code: 0x130b, arg1: 0x1002n, arg2: 3n, arg3: 4n },
    { event: 10n, tick: 10n, code: 0x1302, arg1: 0x1002n },
    { event: 11n, tick: 11n, code: 0x1305, arg1: 0x9n, arg2: 0x1004n, arg3: 8n },
  ]);
  const { database } = await open(run);
  const rows = await database.rows(
    'select event, address, size, allocator, free_tick, free_stack, freed_by from allocations order by event',
  );
  assert.deepEqual(
    rows.map((r) => Object.values(r)),
    [
      [1n, 0x1000n, 10n, 'malloc', 2n, 0, 'realloc'],
      [2n, 0x2000n, 20n, 'realloc', 5n, 2, 'free'],
      [7n, 0x1000n, 7n, 'new', null, null, null],
      [8n, 0x1002n, 3n, 'malloclike', 9n, 0, 'resize'],
      [9n, 0x1002n, 4n, 'resize', 10n, 0, 'freelike'],
      [11n, 0x1004n, 8n, 'mempool', null, null, null],
    ],
  );
  const [request] = await database.rows('select name from client_requests order by event limit 1');
  assert.equal(request!['name'], 'MALLOCLIKE_BLOCK');
});

test('frames expand inlined functions; allocations_by_site names the caller', async () => {
  const run = contents();
  add(run, stored.modules, [{ module: 1, path: '/bin/a' }]);
  add(run, stored.instructions, [
    {
      pc: 0x400n,
      module: 1,
      function: 1,
      file: 2,
      line: 3,
      inlined: 3,
    },
    { pc: 0x500n, module: 1, function: 4, file: 5, line: 9 },
  ]);
  add(
    run,
    stored.strings,
    ['outer', 'a.c', 'operator||b.h|7\nouter|a.c|3', 'main', 'm.c'].map((text, i) => ({
      string: i + 1,
      text,
    })),
  );
  add(run, stored.stacks, [
    { stack: 1, pcs: pcs(0x400n, 0x500n) },
    { stack: 2, pcs: pcs(0x777n) },
  ]);
  add(run, stored.heap, [
    { event: 1n, op: 'malloc', address: 1n, size: 10n, stack: 1 },
    { event: 2n, op: 'malloc', address: 2n, size: 5n, stack: 1 },
  ]);
  const { database } = await open(run);
  const frames = await database.rows(
    'select stack, depth, function, file, line, module, inlined from frames order by all',
  );
  assert.deepEqual(
    frames.map((r) => Object.values(r)),
    [
      [1, 0n, 'operator|', 'b.h', 7, '/bin/a', true],
      [1, 1n, 'outer', 'a.c', 3, '/bin/a', false],
      [1, 2n, 'main', 'm.c', 9, '/bin/a', false],
      [2, 0n, '', '', 0, null, false],
    ],
  );
  const [site] = await database.rows(
    'select blocks, bytes, live_bytes, function, line from allocations_by_site',
  );
  assert.deepEqual(Object.values(site!), [2n, 15n, 15n, 'operator|', 7]);
});

test('syscalls and threads', async () => {
  const run = contents([{ process: 0, parent: -1, ticks: 100n }]);
  add(run, stored.syscall_enters, [
    { call: 1n, number: 2, time_ns: 5n, tick: 3n },
    { call: 2n, number: 1, time_ns: 50n, tick: 9n },
    { call: 3n, number: 400 },
  ]);
  add(run, stored.syscall_exits, [
    { call: 1n, result: -2n, failed: true, time_ns: 8n, tick: 4n },
    { call: 3n, result: -9999n, failed: true },
  ]);
  add(run, stored.slices, [
    { event: 7n, thread: 1 },
    { event: 8n, tick: 30n, thread: 2 },
    { event: 9n, tick: 40n, thread: 1 },
  ]);
  add(run, stored.thread_events, [
    { event: 7n, tick: 20n, thread: 1, op: 'create', other: 2 },
    { event: 9n, tick: 39n, thread: 2, op: 'name', name: 'worker' },
    { event: 10n, tick: 50n, thread: 1, op: 'joined', other: 2 },
  ]);
  const { database } = await open(run);
  const calls = await database.rows(
    'select call, name, result, errno, duration_ns, end_tick from syscalls order by call',
  );
  assert.deepEqual(
    calls.map((r) => Object.values(r)),
    [
      [1n, 'open', -2n, 'ENOENT', 3n, 4n],
      [2n, 'write', null, null, null, null],
      [3n, null, -9999n, '9999', 0n, 0n],
    ],
  );
  const threads = await database.rows(
    'select thread, name, created_tick, created_by, joined_by, instructions from threads order by 1',
  );
  assert.deepEqual(
    threads.map((r) => Object.values(r)),
    [
      [1, null, null, null, null, 90n],
      [2, 'worker', 20n, 1, 1, 10n],
    ],
  );
});

test('touched and last_write', async () => {
  const run = contents();
  add(run, stored.memory, [
    { event: 1n, tick: 99_999n, cause: 'syscall', address: (1n << 32n) - 8n, size: 100n },
  ]);
  add(run, stored.heap, [
    { event: 2n, tick: 4900n, op: 'calloc', address: (1n << 63n) + 3n, size: 2n },
  ]);
  const { database } = await open(run);
  const expected = expectedRows([0], BATCHES, PER_BATCH);
  const at = 1n << 32n;
  const overlapping = expected.filter((r) => r.addr <= at && r.addr + BigInt(r.size) > at);
  const [touched] = await database.rows(`select count(*) n from touched(${at})`);
  assert.equal(touched!['n'], BigInt(overlapping.length));
  const before = 5000n;
  const last = overlapping.filter((r) => r.kind === 'store' && r.tick < before).at(-1)!;
  const [write] = await database.rows(`from last_write(${at}, ${before})`);
  assert.equal(write!['tick'], last.tick);
  const from = (1n << 63n) - 4n;
  const bytes = new Map<bigint, number>();
  const writes = [
    ...expected.filter((r) => r.kind === 'store' && r.tick < before),
    { tick: 4900n, addr: (1n << 63n) + 3n, size: 2, value: 0n, bytes: null, order: -1 },
  ];
  // Events of a tick come before its accesses.
  const order = (w: object) => ('order' in w ? 0 : 1);
  writes.sort((a, b) => Number(a.tick - b.tick) || order(a) - order(b));
  for (const r of writes) {
    const little = r.bytes
      ? Buffer.from(r.bytes, 'hex')
      : Buffer.from(BigUint64Array.of(r.value).buffer);
    for (let i = 0; i < r.size; i++) bytes.set(r.addr + BigInt(i), little[i]!);
  }
  const memory = await database.rows(`from memory_at(${from}, 16, ${before})`);
  const wanted = Array.from({ length: 16 }, (_, i) => from + BigInt(i)).filter((a) => bytes.has(a));
  assert.deepEqual(
    memory.map((r) => [r['address'], r['byte']]),
    wanted.map((a) => [a, bytes.get(a)]),
  );
  const [kernel] = await database.rows(`select how, pc from last_write(${at}, 100000)`);
  assert.deepEqual(kernel, { how: 'syscall', pc: null });
});

test('a table that was cut off shows in health', async () => {
  const run = contents();
  add(run, stored.heap, [{ event: 1n }]);
  add(run, stored.health, [{ event: 2n, severity: 'warning', what: 'w', detail: 'd' }]);
  const folder = writeRun(run);
  truncateSync(join(folder, 'heap.arrow'), 1000);
  writeFileSync(join(folder, 'sync.arrow'), 'something else');
  const database = await Database.open(Trace.open(folder), fakeReplay(0, 0).openReplay);
  const rows = await database.rows('select process, severity, what from health order by what');
  await assert.rejects(database.rows('from sync'), /not an Arrow file/);
  assert.deepEqual(rows, [
    { process: null, severity: 'error', what: 'damaged_table' },
    { process: null, severity: 'error', what: 'damaged_table' },
    { process: 0, severity: 'warning', what: 'w' },
  ]);
});

test('errors are one sentence; errors within a scan keep theirs', async () => {
  const { database } = await open();
  const fails = (sql: string, pattern: RegExp) =>
    assert.rejects(
      () => database.rows(sql),
      (e) => e instanceof UserError && pattern.test(e.message) && !e.message.includes('\n'),
    );
  await fails('select nothing from accesses', /nothing/);
  await fails('selekt 1', /syntax error/);
  await fails("select cast('x' as integer)", /convert/i);
  const broken = await open(contents(), {
    opened: [],
    openReplay: () => {
      throw new UserError('The trace has no end.');
    },
  });
  await assert.rejects(
    () => broken.database.rows('select count(*) from accesses'),
    new UserError('The trace has no end.'),
  );
  const bug = await open(contents(), {
    opened: [],
    openReplay: () => {
      throw new TypeError('oops');
    },
  });
  await assert.rejects(() => bug.database.rows('select count(*) from accesses'), TypeError);
});

test('SQL text: statements, quotes, comments, hexadecimal', () => {
  assert.deepEqual(
    splitStatements(
      `select ';' -- a; b\n; select "x;0x10" /* ; */, 0xFF, '0x10', ab0x10 ;;\n-- end`,
    ),
    [`select ';' -- a; b`, `select "x;0x10" /* ; */, 255, '0x10', ab0x10`],
  );
  assert.deepEqual(takeStatements('select 1; select'), {
    statements: ['select 1'],
    rest: ' select',
  });
  assert.deepEqual(splitStatements('select $$ ; $$, 0xffffffffffffffff'), [
    'select $$ ; $$, 18446744073709551615',
  ]);
});
