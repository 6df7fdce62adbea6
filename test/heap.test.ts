/** Heap blocks against the guest's own list and memcheck's count. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { openReplay } from '../replay/replay.js';
import { Trace } from '../replay/trace.js';
import { heap } from '../schemas/tables.js';
import { memcheckHeap } from './compare-engine.js';
import { compile, record, type Recording } from './guest.js';

const KIND: Readonly<Record<string, string>> = {
  posix_memalign: 'memalign',
  aligned_alloc: 'memalign',
  new_aligned: 'new',
  new_array_aligned: 'new_array',
  new_nothrow: 'new',
};

function blocksAreThere(recording: Recording): void {
  const facts = recording.facts;
  const rows = recording.query(
    'select op, address, size, alignment, previous, known from heap order by event',
  );
  let at = 0;
  const next = (what: string, matches: (row: (typeof rows)[number]) => boolean) => {
    while (at < rows.length && !matches(rows[at]!)) at++;
    assert.ok(at < rows.length, `no row for ${what}`);
    at++;
  };
  const lines = recording.stdout.split('\n').map((line) => line.split(' '));
  for (const [name, first, second, third, fourth] of lines) {
    if (name === 'block') {
      const op = KIND[first!] ?? first!;
      next(
        `block ${first} ${second}`,
        (row) =>
          row['op'] === op &&
          row['address'] === BigInt(`0x${second}`) &&
          row['size'] === BigInt(third!) &&
          (fourth === '0' || row['alignment'] === BigInt(fourth!)),
      );
    } else if (name === 'release') {
      next(
        `release ${second}`,
        (row) =>
          row['op'] === first && row['address'] === BigInt(`0x${second}`) && row['known'] === true,
      );
    } else if (name === 'realloc' && first !== '0') {
      next(
        `realloc ${second}`,
        (row) =>
          row['op'] === 'realloc' &&
          row['previous'] === BigInt(`0x${first}`) &&
          row['address'] === BigInt(`0x${second}`) &&
          row['size'] === BigInt(third!),
      );
    }
  }
  assert.ok(facts.all('block').length > 30);
}

test('the allocator family: every block, its size, alignment and release', () => {
  const recording = record(['heap.cpp']);
  assert.equal(recording.status, 0);
  blocksAreThere(recording);
  const facts = recording.facts;
  // The block that was not freed.
  const leaked =
    recording.row(`select size, free_tick from allocations where address = ${facts.hex('leaked')}
    order by event desc limit 1`);
  assert.deepEqual(leaked, { size: 50n, free_tick: null });
  // An address that is used again has one row per block.
  assert.equal(
    recording.cell('select count(*) from (select distinct event from allocations)'),
    recording.cell('select count(*) from allocations'),
  );
  // 100 MB, touched every 1 MB.
  const big = facts.hex('sparse');
  assert.equal(
    recording.cell(`select count(*) from accesses where kind = 'store' and size = 1
      and addr >= ${big} and addr < ${big + (100n << 20n)}`),
    100n,
  );
  // The stack of an allocation leads to main.
  const functions = recording.query(`select distinct f."function" as name from allocations a
    join frames f on f.process = a.process and f.stack = a.stack where a.size = 5000`);
  assert.ok(
    functions.some((row) => row['name'] === 'main'),
    JSON.stringify(functions),
  );
});

test('memcheck counts the same blocks', () => {
  const recording = record(['heap.cpp']);
  const memcheck = memcheckHeap([compile('heap.cpp')]);
  assert.equal(recording.cell(`select count(*) from allocations`), memcheck.allocations);
  assert.equal(
    recording.cell(`select count(*) from allocations where free_tick is not null`),
    memcheck.frees,
  );
  assert.equal(
    BigInt(recording.cell(`select cast(sum(size) as bigint) from allocations`) as bigint),
    memcheck.bytes,
  );
});

test('large blocks are zero when new, also where memory is used again, and touch no other', () => {
  const recording = record(['large.c']);
  assert.equal(recording.status, 0, recording.stdout.slice(-100));
  const looks = ['fresh', 'kept'].map((name) => recording.facts.all(name));
  for (const [address, size, , sum] of looks[0]!)
    assert.equal(sum, '0', `${address}, ${size} bytes`);
  // Every word that the guest looked at, in order, from the replay.
  const loads =
    recording.query(`select addr, value from accesses join instructions using (process, pc)
    where "function" = 'look' and kind = 'load' and addr < 0x1000000000 order by tick`);
  let at = 0;
  for (const line of recording.stdout.split('\n')) {
    const [name, address, size, count, sum] = line.split(' ');
    if (name !== 'fresh' && name !== 'kept') continue;
    const words = loads.slice(at, (at += Number(count)));
    const [start, values] = [BigInt(`0x${address}`), words.map(({ value }) => value as bigint)];
    assert.ok(
      words.every(
        ({ addr }) => start <= (addr as bigint) && (addr as bigint) < start + BigInt(size!),
      ),
    );
    assert.equal(
      BigInt.asUintN(
        64,
        values.reduce((a, b) => a + b, 0n),
      ),
      BigInt(`0x${sum}`),
      line,
    );
  }
  assert.equal(at, loads.length);
  // They stand where others stood.
  const places = looks[0]!.map(
    ([address, size]) => [Number(`0x${address}`), Number(size)] as const,
  );
  const starts = places.map(([start]) => start);
  const used = Math.max(...starts) - Math.min(...starts);
  assert.ok(places.reduce((sum, [, size]) => sum + size, 0) > 3 * used);
});

/** Blocks freed in a recording, and ticks replayed, with what the C library does after the exit. */
function toTheVeryEnd(folder: string): { frees: number; ticks: bigint } {
  const trace = Trace.open(folder);
  try {
    const replay = openReplay(trace, 0, { tidyUp: true });
    replay.finish();
    assert.deepEqual(replay.divergences, []);
    const frees = [...trace.rows(heap)].filter(({ known }) => known).length;
    return { frees, ticks: replay.tick };
  } finally {
    trace.close();
  }
}

test('what the C library frees after the exit is no part of the program, but is there', () => {
  const [free, keep] = [[], ['--no-freeres']].map((options) => record(['heap.cpp'], { options }));
  const figures = `select ticks, (select count(*) from heap), (select count(*) from syscalls),
    (select cast(sum(instructions * executions) as bigint) from segments) from processes`;
  assert.deepEqual(free!.row(figures), keep!.row(figures));
  const ticks = free!.cell('select ticks from processes') as bigint;
  assert.equal(free!.cell('select tick from process_ends'), ticks);
  const [freed, kept] = [toTheVeryEnd(free!.folder), toTheVeryEnd(keep!.folder)];
  assert.equal(kept.ticks, ticks);
  assert.ok(freed.ticks > ticks);
  const program = [compile('heap.cpp')];
  assert.equal(BigInt(kept.frees), memcheckHeap(program).frees);
  assert.equal(BigInt(freed.frees), memcheckHeap(program, true).frees);
});
