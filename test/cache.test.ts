/**
 * Simulated caches: counts beside Cachegrind's, misses beside a plain model that is fed with the accesses and the path of
 * the instructions, the compiled simulation on random references, tables and the file for cg_annotate.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { EVENT, EVENTS } from '../analyses/cache/counts.js';
import { HeapMap } from '../analyses/cache/heap-map.js';
import { withPowerOfTwoSets } from '../analyses/cache/shapes.js';
import {
  USUAL_CACHES,
  areUsual,
  cacheModes,
  CacheGuest,
  type CacheHooks,
  type CacheMisses,
} from '../replay/cache-guest.js';
import { IMPORTS, ModuleContext } from '../replay/emit.js';
import { GuestMemory } from '../replay/guest-memory.js';
import {
  DATA_LINES,
  FETCH_LINES,
  LINE_ENTRIES,
  NO_GRANULE,
  PLACEMENT_COUNT,
  TLB_ENTRY_SIZE,
} from '../replay/layout.js';
import type { ReplayOptions } from '../replay/types.js';
import { PlainCaches, type PlainShapes } from './plain-cache.js';
import {
  recordingOf,
  referencesOf,
  simulated,
  withoutBranches,
  type Counts,
  type Reference,
} from './cache-references.js';
import { compile, grind, record, run, scratch, SCRATCH } from './guest.js';
import { randomOf } from './random.js';

const shape = (sizeBytes: number, ways: number, lineBytes: number) => ({
  sizeBytes,
  ways,
  lineBytes,
});

/** Of every kind: as processors have them, tiny, direct-mapped, lines of all sizes, one set. */
const SHAPES: readonly PlainShapes[] = [
  { I1: shape(32768, 8, 64), D1: shape(49152, 12, 64), LL: shape(1 << 20, 16, 64) },
  { I1: shape(1024, 1, 64), D1: shape(512, 2, 64), LL: shape(4096, 4, 64) },
  { I1: shape(2048, 2, 16), D1: shape(1024, 4, 32), LL: shape(16384, 8, 64) },
  { I1: shape(65536, 2, 128), D1: shape(65536, 2, 128), LL: shape(262144, 8, 256) },
  { I1: shape(512, 8, 64), D1: shape(1280, 20, 64), LL: shape(65536, 4, 32) },
  { I1: shape(28672, 7, 64), D1: shape(12288, 3, 64), LL: shape(65536, 16, 64) },
  { I1: shape(8192, 2, 64), D1: shape(65536, 16, 64), LL: shape(1 << 17, 8, 64) },
  { I1: shape(65536, 16, 64), D1: shape(32768, 8, 64), LL: shape(1 << 17, 8, 128) },
];

const describe = ({ I1, D1, LL }: PlainShapes): string =>
  [I1, D1, LL].map((one) => Object.values(one).join()).join(' ');

const optionsOf = ({ I1, D1, LL }: PlainShapes): string[] =>
  Object.entries({ I1, D1, LL }).map(
    ([name, { sizeBytes, ways, lineBytes }]) => `--${name}=${sizeBytes},${ways},${lineBytes}`,
  );

/** What a replay that simulates counts. @param hotAfter executions after which a block is compiled */
const simulate = (
  folder: string,
  shapes: PlainShapes,
  hotAfter: number,
  others?: ReplayOptions,
): Counts => simulated(folder, { ...shapes, branches: true }, hotAfter, others);

/** What the plain model counts. */
function model(references: readonly Reference[], shapes: PlainShapes): Counts {
  const counts: Counts = new Map();
  const caches = new PlainCaches(shapes);
  for (const { pc, event, address, size } of references) {
    let row = counts.get(pc);
    if (!row) counts.set(pc, (row = EVENTS.map(() => 0)));
    const misses = caches.refer(event === EVENT.Ir ? 'I1' : 'D1', address, size);
    row[event]!++;
    if (misses > 0) row[event + 1]!++;
    if (misses > 1) row[event + 2]!++;
  }
  return counts;
}

test('misses of each instruction are those of a plain model', () => {
  for (const guest of ['counted.c', 'fields.c']) {
    const recording = recordingOf(guest);
    const references = referencesOf(recording);
    for (const shapes of SHAPES) {
      const expected = withoutBranches(model(references, shapes));
      for (const hotAfter of [0, 100_000]) {
        const found = withoutBranches(simulate(recording.folder, shapes, hotAfter));
        assert.deepEqual(found, expected, `${guest} ${describe(shapes)} ${hotAfter}`);
      }
    }
  }
});

test('code that is compiled, copied or both counts the same, branches too', () => {
  const { folder } = recordingOf('counted.c');
  const compiled = simulate(folder, SHAPES[0]!, 0);
  for (const hotAfter of [1000, 1_000_000_000])
    assert.deepEqual(simulate(folder, SHAPES[0]!, hotAfter), compiled, String(hotAfter));
});

test('an analysis that shares the replay changes nothing', () => {
  for (const guest of ['counted.c', 'fields.c']) {
    const { folder } = recordingOf(guest);
    const alone = simulate(folder, SHAPES[1]!, 100_000);
    for (const others of [{ accesses: true }, { tally: true }, { accesses: true, tally: true }])
      assert.deepEqual(
        simulate(folder, SHAPES[1]!, 100_000, others),
        alone,
        Object.keys(others).join(),
      );
  }
});

test('a static program without a heap has the counts of Cachegrind, misses and mispredictions too', () => {
  const program = compile('counted.c');
  const shapes = optionsOf(SHAPES[0]!);
  const out = scratch('cachegrind.out');
  const args = ['--tool=cachegrind', '--cache-sim=yes', '--branch-sim=yes'];
  const theirs = run(['valgrind', ...args, ...shapes, `--cachegrind-out-file=${out}`, program]);
  assert.match(theirs.stderr, /I +refs/);
  const ours = scratch('ours.out');
  const result = grind([
    ...['analyze', 'cache', recordingOf('counted.c').folder, ...shapes],
    ...['--branch-sim', 'yes', '--cachegrind-out', ours],
  ]);
  assert.equal(result.status, 0, result.stderr);
  assert.deepEqual(linesOf(ours), linesOf(out));
});

/** Counts of a file for cg_annotate by function and line, and the summary. */
function linesOf(path: string): Record<string, string> {
  const found: Record<string, string> = {};
  let fn = '';
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (line.startsWith('fn=')) fn = line.slice(3);
    const [, number, counts] = /^(\d+) ([\d ]+)$/.exec(line.trim()) ?? [];
    if (number !== undefined) found[`${fn}:${number}`] = counts!;
    if (line.startsWith('summary:')) found['summary'] = line;
    if (line.startsWith('events:')) found['events'] = line.trim();
  }
  return found;
}

test('cg_annotate reads the file and finds the totals of the report', () => {
  const out = scratch('annotated.out');
  const { folder } = recordingOf('fields.c');
  const report = grind([
    ...['analyze', 'cache', folder, '--format', 'json', '--cachegrind-out', out],
  ]);
  assert.equal(report.status, 0, report.stderr);
  const annotated = run(['cg_annotate', out], { cwd: SCRATCH });
  assert.equal(annotated.status, 0, annotated.stderr);
  const totals = /^([\d,]+ \(100\.0%\).*)PROGRAM TOTALS/m.exec(annotated.stdout)![1]!;
  const numbers = [...totals.matchAll(/([\d,]+) \(100/g)].map((match) =>
    match[1]!.replaceAll(',', ''),
  );
  const { summary } = JSON.parse(report.stdout) as {
    summary: { processes: Record<string, string>[] };
  };
  const [process] = summary.processes;
  const names = EVENTS.slice(0, EVENT.Bc);
  assert.deepEqual(
    numbers,
    names.map((name) => process![name]),
  );
  assert.match(annotated.stdout, /fields\.c:walk/);
});

test('tables add up to the totals; misses in heap blocks are told by allocation and field', () => {
  const recording = recordingOf('fields.c');
  const shapes = optionsOf(SHAPES[1]!);
  const report = grind(['analyze', 'cache', recording.folder, ...shapes]);
  assert.equal(report.status, 0, report.stderr);
  assert.doesNotMatch(report.stdout, /ERROR SUMMARY/);
  const sums = (table: string): unknown =>
    recording.row(
      `select sum(ir) ir, sum(d1mr) d1mr, sum(dlmw) dlmw, sum(bc) bc from ${table} where analysis = 'cache'`,
    );
  assert.deepEqual(sums('cache_lines'), sums('cache_threads'));
  assert.equal(
    recording.cell('select sum(d1mw) = (select sum(d1mw) from cache_lines) from cache_sites'),
    true,
  );
  assert.equal(
    recording.cell('select sum(ir) from cache_lines'),
    recording.cell('select ticks from processes'),
  );
  // 10 walks over 200 nodes: the fields of each lie in lines of their own, which were thrown out since.
  const fields = recording.query(
    `select "offset", d1mr, d1mw from cache_allocations where function = 'make_nodes'
     and "offset" in (64, 128) order by "offset", d1mr`,
  );
  assert.deepEqual(fields, [
    { offset: 64n, d1mr: 2000n, d1mw: 0n },
    { offset: 128n, d1mr: 0n, d1mw: 2000n },
  ]);
});

test('each thread has its counts, and all of them are those of the program', () => {
  const recording = record(['threads.c']);
  const report = grind(['analyze', 'cache', recording.folder]);
  assert.equal(report.status, 0, report.stderr);
  const threads = recording.query('select thread, ir, dr from cache_threads order by thread');
  assert.ok(threads.length > 1);
  for (const { ir } of threads) assert.ok((ir as bigint) > 0n);
  const total = (column: string): bigint =>
    threads.reduce((all, row) => all + (row[column] as bigint), 0n);
  const lines = recording.row('select sum(ir) ir, sum(dr) dr from cache_lines');
  assert.deepEqual({ ir: total('ir'), dr: total('dr') }, lines);
});

test('options that make no cache are refused in a sentence', () => {
  const { folder } = recordingOf('counted.c');
  for (const [option, sentence] of [
    ['--D1=1000,2,64', /D1 cannot be simulated: its 7\.8125 sets are no power of two/],
    ['--I1=32768,8', /--I1 takes size, associativity and line size/],
    ['--LL=1048576,16,8', /LL cannot be simulated: its lines of 8 bytes/],
    ['--rows=0', /--rows takes a whole number from 1/],
  ] as const) {
    const { status, stderr } = grind(['analyze', 'cache', folder, option]);
    assert.notEqual(status, 0);
    assert.match(stderr, sentence);
  }
});

test('a last level is made one with a power of two of sets, of about its size', () => {
  assert.deepEqual(withPowerOfTwoSets(shape(12 << 20, 16, 64)), shape(12 << 20, 24, 64));
  assert.deepEqual(withPowerOfTwoSets(shape(8 << 20, 16, 64)), shape(8 << 20, 16, 64));
});

// ---- The compiled simulation alone ----

interface Compiled {
  fetchCode(address: bigint, size: number, site: number): void;
  accessToLoad(address: bigint, size: number, site: number): number;
  accessToStore(address: bigint, size: number, site: number): number;
}

/** The functions that compiled code calls, in a memory of their own: several of each, of which any can be called. */
function compiledCaches(
  shapes: PlainShapes,
  isFixed: boolean,
  misses: CacheMisses[],
  placement: Uint32Array | undefined,
  tellsCalls: boolean,
) {
  const hooks: CacheHooks = {
    ...shapes,
    ...(placement && { placement }),
    branches: false,
    fetchMisses: isFixed,
    misses: ({ count, addresses, sites }) =>
      misses.push({
        count,
        addresses: addresses.slice(0, 2 * count),
        sites: sites.slice(0, count),
      }),
  };
  const memory = new GuestMemory({ counts: true, shadow: false, cache: true });
  const cache = new CacheGuest(memory, hooks, tellsCalls);
  const modes = cacheModes(hooks, tellsCalls);
  const host = {
    ...Object.fromEntries(Object.keys(IMPORTS).map((name) => [name, () => 0])),
    takeMisses: () => cache.takeMisses(),
  };
  const table = new WebAssembly.Table({ element: 'anyfunc', initial: 1 });
  const env = { memory: memory.wasm, table, ...host };
  cache.imports = { env };
  const compile = (context: ModuleContext): Compiled => {
    context.builder.importTable();
    for (const name of ['fetchCode', 'accessToLoad', 'accessToStore'] as const)
      context.builder.export(name, context.support(name));
    const module = new WebAssembly.Module(context.builder.encode());
    return new WebAssembly.Instance(module, { env }).exports as unknown as Compiled;
  };
  // As compiled blocks, and as stencils.
  const codes = [compile(new ModuleContext())];
  if (isFixed) codes.push(compile(new ModuleContext(modes.fixed)));
  if (areUsual(modes)) codes.push(compile(new ModuleContext(USUAL_CACHES)));
  return { memory, cache, codes };
}

test('the compiled simulation of random references is the plain one', () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = randomOf(seed);
  for (const shapes of SHAPES) {
    for (const [isFixed, isPlaced] of [
      [false, false],
      [true, false],
      [false, true],
      [true, true],
    ] as const) {
      const noted: CacheMisses[] = [];
      const placement = isPlaced
        ? Uint32Array.from({ length: PLACEMENT_COUNT }, () => random(1 << 20))
        : undefined;
      const tellsCalls = random(4) === 0;
      const { memory, cache, codes } = compiledCaches(
        ...([shapes, isFixed, noted, placement, tellsCalls] as const),
      );
      const plain = new PlainCaches(shapes, (address) =>
        BigInt(placement?.[Number(address >> 16n) % PLACEMENT_COUNT] ?? 0),
      );
      const expected = new Uint32Array(8 * 64);
      const missed: [number, number][] = [];
      cache.sites.count = 64;
      const hot = Array.from({ length: 8 }, () => random(1 << 20));
      for (let i = 0; i < 20_000; i++) {
        const isNear = random(4) > 0;
        const address = 0x10000 + (isNear ? hot[random(8)]! + random(200) : random(1 << 20));
        const size = 1 << random(5);
        const site = random(64);
        const isFetch = random(3) === 0;
        // What the code would not call for, as it is in the table of lines.
        if (random(10) === 0) memory.write(BigInt(address), Uint8Array.of(1));
        const code = codes[random(codes.length)]!;
        if (isFetch) code.fetchCode(BigInt(address), size, site);
        else if (random(2) === 0) code.accessToLoad(BigInt(address), size, site);
        else code.accessToStore(BigInt(address), size, site);
        const misses = plain.refer(isFetch ? 'I1' : 'D1', BigInt(address), size);
        if (misses > 0) expected[8 * site]!++;
        if (misses > 1) expected[8 * site + 2]!++;
        if (misses > 0 && (!isFetch || isFixed)) {
          const isTwo = plain[isFetch ? 'I1' : 'D1'].isTwoLines(BigInt(address), size);
          missed.push([address, 4 * site + (isTwo ? 2 : 0) + misses - 1]);
        }
        checkEntries(memory, plain);
      }
      const what = `${describe(shapes)} ${isFixed} ${isPlaced} seed ${seed}`;
      assert.deepEqual(cache.counters().slice(0, 8 * 64), expected, what);
      cache.takeMisses();
      const found = noted.flatMap(({ count, addresses, sites }) =>
        Array.from({ length: count }, (_, i) => [addresses[2 * i]!, sites[i]!]),
      );
      assert.deepEqual(found, missed, what);
    }
  }
});

/** What stands in the tables of lines is the latest of its set, and its place is right. */
function checkEntries(memory: GuestMemory, plain: PlainCaches): void {
  for (let entry = 0; entry < LINE_ENTRIES; entry++) {
    const fetched = memory.view.getBigUint64(FETCH_LINES + TLB_ENTRY_SIZE * entry, true);
    if (fetched !== NO_GRANULE)
      assert.ok(plain.I1.isLatest(fetched), `fetched 0x${fetched.toString(16)}`);
    const at = DATA_LINES + TLB_ENTRY_SIZE * entry;
    const chunk = memory.view.getBigUint64(at, true);
    const toStore = memory.view.getBigUint64(at + 8, true);
    if (chunk === NO_GRANULE) {
      assert.equal(toStore, NO_GRANULE);
      continue;
    }
    assert.ok(plain.D1.isLatest(chunk), `0x${chunk.toString(16)}`);
    const granule = Number(chunk >> 16n);
    const place = memory.place(granule) - memory.base + Number(chunk & 0xffffn);
    assert.equal(memory.view.getUint32(at + 16, true), place);
    assert.ok(toStore === NO_GRANULE || (toStore === chunk && memory.granules.has(granule)));
  }
}

test('heap blocks are found by address as in a list of them', () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = randomOf(seed);
  const map = new HeapMap();
  const live = new Map<number, number>();
  for (let i = 0; i < 20_000; i++) {
    const address = 16 * random(1 << 14);
    const isFree = ![...live].some(
      ([start, size]) => address < start + size && start < address + 20_000,
    );
    if (random(3) > 0 && isFree) {
      const size = 1 + random(random(8) === 0 ? 20_000 : 200);
      live.set(address, size);
      map.add({ address, size, owner: i });
    } else if (live.size > 0) {
      const [start] = [...live][random(live.size)]!;
      live.delete(start);
      map.remove(start);
    }
    const at = random(1 << 18);
    const expected = [...live].find(([start, size]) => at >= start && at < start + size)?.[0];
    assert.equal(map.at(at)?.address, expected, `seed ${seed} step ${i}`);
  }
});
