/**
 * Simulated caches beyond Cachegrind's: policies, a second level, TLBs and prefetchers beside an obvious twin, on random
 * references and on those of real programs; and that nothing is lost where references are stripped.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { EVENT, EVENTS } from '../analyses/cache/counts.js';
import { Hierarchy, MISSED, type HierarchyShape } from '../analyses/cache/hierarchy.js';
import { Model, strippingShapes } from '../analyses/cache/model.js';
import { makePolicy, POLICY_NAMES, type PolicyName } from '../analyses/cache/policies.js';
import { makePrefetcher } from '../analyses/cache/prefetch.js';
import {
  recordingOf,
  referencesOf,
  simulated,
  withoutBranches,
  type Counts,
} from './cache-references.js';
import { grind, record } from './guest.js';
import { PlainCache } from './plain-cache.js';
import { PlainHierarchy } from './plain-hierarchy.js';
import { randomOf } from './random.js';

const shape = (sizeBytes: number, ways: number, lineBytes = 64) => ({ sizeBytes, ways, lineBytes });

const policies = (first: PolicyName, behind: PolicyName): HierarchyShape['policies'] => ({
  ...{ I1: first, D1: first, DTLB: first },
  ...{ L2: behind, LL: behind, STLB: behind },
});

const SHAPES: readonly HierarchyShape[] = [
  {
    ...{ I1: shape(1024, 2), D1: shape(512, 2), L2: shape(4096, 4), LL: shape(16384, 8) },
    ...{ DTLB: shape(8 * 4096, 2, 4096), STLB: shape(32 * 4096, 4, 4096) },
    policies: policies('lru', 'lru'),
    prefetcher: 'none',
  },
  {
    ...{ I1: shape(1024, 4), D1: shape(1536, 3), L2: shape(3072, 12), LL: shape(16384, 8) },
    policies: policies('plru', 'srrip'),
    prefetcher: 'next-line',
  },
  {
    ...{ I1: shape(1024, 16), D1: shape(512, 4), LL: shape(8192, 4) },
    DTLB: shape(16 * 4096, 16, 4096),
    policies: policies('fifo', 'plru'),
    prefetcher: 'stride',
  },
  {
    ...{ I1: shape(2048, 1, 32), D1: shape(1024, 8, 32), L2: shape(2048, 8, 32) },
    LL: shape(4096, 16, 32),
    policies: policies('lru', 'fifo'),
    prefetcher: 'stride',
  },
];

const describe = ({ D1, policies: { D1: first, LL }, prefetcher }: HierarchyShape): string =>
  `${Object.values(D1).join()} ${first} ${LL} ${prefetcher}`;

interface RandomReference {
  readonly isFetch: boolean;
  readonly line: number;
  readonly isTwoLines: boolean;
  readonly site: number;
}

/** Some near one another, some in steps, some anywhere; also where numbers of lines take more than 32 bits. */
function randomReferences(random: (below: number) => number, count: number): RandomReference[] {
  const base = 2 ** 41 + 12345;
  let stream = 0;
  return Array.from({ length: count }, () => {
    const kind = random(4);
    if (kind === 0) stream += 3;
    const line = kind === 0 ? stream : kind === 1 ? random(4000) : random(40);
    return {
      isFetch: random(4) === 0,
      line: base + line,
      isTwoLines: random(16) === 0,
      site: kind === 0 ? 7 : random(50),
    };
  });
}

const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
console.log(`seed ${seed}`);

test('each level misses what the obvious twin misses', () => {
  for (const one of SHAPES) {
    const references = randomReferences(randomOf(seed), 20_000);
    const [fast, plain] = [new Hierarchy(one), new PlainHierarchy(one)];
    for (const { isFetch, line, isTwoLines, site } of references) {
      const lineBytes = one.LL.lineBytes;
      const expected = plain.access(
        isFetch,
        BigInt(line) * BigInt(lineBytes),
        isTwoLines ? lineBytes + 1 : 1,
        site,
      );
      assert.equal(
        fast.reference(isFetch, line, isTwoLines, site),
        expected,
        `${describe(one)} seed ${seed}`,
      );
    }
    const { prefetched, prefetchedUsed } = fast.levels[one.L2 ? 'L2' : 'LL']!;
    assert.equal(prefetched > 0, one.prefetcher !== 'none');
    assert.ok(prefetchedUsed <= prefetched);
  }
});

test('what direct-mapped caches hit need not be told', () => {
  for (const one of SHAPES) {
    const references = randomReferences(randomOf(seed + 1), 20_000);
    const [all, stripped] = [new Hierarchy(one), new Hierarchy(one)];
    const { I1, D1 } = strippingShapes(one);
    const strip = { I1: new PlainCache(I1), D1: new PlainCache(D1) };
    let told = 0;
    for (const { isFetch, line, isTwoLines, site } of references) {
      const expected = all.reference(isFetch, line, isTwoLines, site);
      const address = BigInt(line) * BigInt(I1.lineBytes);
      const size = isTwoLines ? I1.lineBytes + 1 : 1;
      const isTold = strip[isFetch ? 'I1' : 'D1'].misses(address, size);
      if (isTold) told++;
      const found = isTold ? stripped.reference(isFetch, line, isTwoLines, site) : 0;
      assert.equal(found, expected, `${describe(one)} seed ${seed}`);
    }
    assert.ok(told < references.length);
  }
});

test('a policy gives up only lines of the set, and random ones all of them', () => {
  for (const name of POLICY_NAMES) {
    const ways = 6;
    const policy = makePolicy(name, 2, ways);
    for (let way = 0; way < ways; way++) policy.filled(1, way, false);
    const given = new Set<number>();
    for (let i = 0; i < 400; i++) {
      const way = policy.victim(1);
      assert.ok(way >= 0 && way < ways, name);
      given.add(way);
      policy.filled(1, way, false);
    }
    assert.equal(given.size, ways, name);
  }
});

test('prefetchers know what comes in a stream, and stay in the page', () => {
  const after = (name: 'next-line' | 'stride', lines: readonly number[]): number[] => {
    const prefetcher = makePrefetcher(name, 64)!;
    return lines.map((line) => prefetcher.referenced(line, 1, true));
  };
  assert.deepEqual(after('next-line', [0, 5, 62, 63]), [1, 6, 63, -1]);
  assert.deepEqual(after('stride', [0, 3, 6, 9, 12]), [-1, -1, 9, 12, 15]);
  assert.deepEqual(after('stride', [60, 50, 40, 30, 5, 20, 10]), [-1, -1, 30, 20, -1, -1, -1]);
  assert.deepEqual(after('stride', [58, 60, 62, 64, 66]), [-1, -1, -1, 66, 68]);
  // Places in the code do not disturb one another.
  const prefetcher = makePrefetcher('stride', 64)!;
  const found = [0, 1, 2, 3].map((i) => [
    prefetcher.referenced(2 * i, 1, true),
    prefetcher.referenced(40 - i, 2, true),
  ]);
  assert.deepEqual(found.slice(2), [
    [6, 37],
    [8, 36],
  ]);
});

/** Events of each instruction, as a replay with a model counts them. */
const simulate = (folder: string, one: HierarchyShape, hotAfter: number): Counts =>
  simulated(folder, { ...strippingShapes(one), branches: false }, hotAfter, {}, new Model(one));

/** The same from all that the program refers to. */
function expectedOf(folder: ReturnType<typeof referencesOf>, one: HierarchyShape): Counts {
  const plain = new PlainHierarchy(one);
  const counts: Counts = new Map();
  for (const { pc, event, address, size } of folder) {
    let row = counts.get(pc);
    if (!row) counts.set(pc, (row = EVENTS.map(() => 0)));
    const missed = plain.access(event === EVENT.Ir, address, size, Number(pc & 0xffffffffn));
    row[event]!++;
    const [second, tlb, walk] = {
      [EVENT.Ir]: [EVENT.I2mr],
      [EVENT.Dr]: [EVENT.D2mr, EVENT.DTmr, EVENT.STmr],
      [EVENT.Dw]: [EVENT.D2mw, EVENT.DTmw, EVENT.STmw],
    }[event]!;
    for (const [bit, at] of [
      [MISSED.first, event + 1],
      [MISSED.last, event + 2],
      [MISSED.second, second],
      [MISSED.tlb, tlb],
      [MISSED.walk, walk],
    ] as const)
      if (missed & bit) row[at!]!++;
  }
  return counts;
}

test('misses of each instruction of a program are those of the twin that is told everything', () => {
  for (const guest of ['counted.c', 'fields.c']) {
    const recording = recordingOf(guest);
    const references = referencesOf(recording);
    for (const one of SHAPES) {
      const expected = withoutBranches(expectedOf(references, one));
      for (const hotAfter of [0, 100_000])
        assert.deepEqual(
          withoutBranches(simulate(recording.folder, one, hotAfter)),
          expected,
          `${guest} ${describe(one)} ${hotAfter}`,
        );
    }
  }
});

const CACHES = ['--I1=1024,2,64', '--D1=512,2,64', '--LL=16384,8,64'];

test('with the policy of Cachegrind, what both simulate is the same', () => {
  const recording = recordingOf('fields.c');
  const rows = (options: readonly string[]): unknown => {
    const { status, stderr } = grind(['analyze', 'cache', recording.folder, ...CACHES, ...options]);
    assert.equal(status, 0, stderr);
    return {
      lines: recording.query(
        'select * exclude (dtmr, dtmw, stmr, stmw) from cache_lines order by all',
      ),
      blocks: recording.query('select * from cache_allocations order by all'),
    };
  };
  assert.deepEqual(rows(['--DTLB=64,4', '--STLB=1536,12']), rows([]));
});

test('tables and text have the second level, the TLBs and what was prefetched', () => {
  const recording = record(['threads.c']);
  const options = ['--L2=4096,4,64', '--DTLB=4,4', '--prefetch=next-line', '--policy=LL=srrip'];
  const { status, stderr, stdout } = grind([
    ...['analyze', 'cache', recording.folder, '--format=json', ...CACHES, ...options],
  ]);
  assert.equal(status, 0, stderr);
  const sums = ['ir', 'i2mr', 'd2mr', 'd2mw', 'dtmr', 'dtmw', 'dlmr'].map(
    (column) => `sum(${column}) ${column}`,
  );
  const total = recording.row(`select ${sums.join()} from cache_lines`);
  assert.deepEqual(recording.row(`select ${sums.join()} from cache_threads`), total);
  const levels = recording.query('select level, policy, misses, prefetched from cache_levels');
  assert.deepEqual(
    levels.map(({ level, policy }) => `${String(level)} ${String(policy)}`),
    ['I1 lru', 'D1 lru', 'L2 lru', 'LL srrip', 'DTLB lru'],
  );
  const misses = (name: string) => levels.find(({ level }) => level === name)!['misses'];
  const sum = (...names: string[]) =>
    names.reduce((all, name) => all + (total[name] as bigint), 0n);
  assert.equal(misses('L2'), sum('i2mr', 'd2mr', 'd2mw'));
  assert.equal(misses('DTLB'), sum('dtmr', 'dtmw'));
  assert.ok((levels[2]!['prefetched'] as bigint) > 0n);
  const { summary } = JSON.parse(stdout) as { summary: { processes: Record<string, string>[] } };
  assert.equal(summary.processes[0]!['D2mr'], String(total['d2mr']));
});

test('options that make no hierarchy are refused in a sentence', () => {
  const { folder } = recordingOf('counted.c');
  for (const [options, sentence] of [
    [['--policy=mru'], /--policy takes lru, plru, fifo, random, srrip/],
    [['--policy=srrip'], /give it to caches behind the first level, such as LL=srrip/],
    [['--STLB=64,4'], /--STLB is behind --DTLB/],
    [['--DTLB=64'], /--DTLB takes entries and associativity, such as 64,4, not 64/],
    [['--DTLB=preset'], /The kernel does not say what DTLB this machine has/],
    [['--L2=262144,8,32', ...CACHES], /all caches must have lines of the same size/],
    [['--prefetch=all'], /prefetch/],
  ] as const) {
    const { status, stderr } = grind(['analyze', 'cache', folder, ...options]);
    assert.notEqual(status, 0);
    assert.match(stderr, sentence);
  }
});
