/**
 * Reuse distances: the stack and the optimum beside plain ones on random references; all tables of recorded programs beside
 * those that plain models make of their references; misses beside those of simulated caches, ours and Cachegrind's.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import test from 'node:test';
import { binOf, COLD_BIN, firstOf } from '../analyses/reuse/distances.js';
import { LruStack } from '../analyses/reuse/lru-stack.js';
import { Optimum } from '../analyses/reuse/optimum.js';
import { References } from '../analyses/reuse/references.js';
import { nativeEngine } from '../replay/native.js';
import { Symbols } from '../replay/symbols.js';
import { Trace } from '../replay/trace.js';
import type { SiteTable } from '../replay/types.js';
import { EVENT } from '../analyses/cache/counts.js';
import { recordingOf, referencesOf, type Reference } from './cache-references.js';
import {
  compile,
  grind,
  run,
  scratch,
  type Cell,
  type Recording,
  type ResultRow,
} from './guest.js';
import { plainOptimum, PlainStack } from './plain-reuse.js';
import { randomOf } from './random.js';

function seeded(): (below: number) => number {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  return randomOf(seed);
}

/** Numbers of lines, most of them near the last ones; new ones come all the time, old ones are left behind. */
function* randomLines(count: number, most: number, random: (below: number) => number) {
  const recent = Array.from({ length: 40 }, () => 0);
  for (let i = 0; i < count; i++) {
    const how = random(10);
    const base = Math.floor((i * most) / count / 2);
    const line =
      how < 6 ? recent[random(recent.length)]! : base + random(how < 9 ? 50 : Math.ceil(most / 2));
    recent[random(40)] = line;
    yield line;
  }
}

test('distances of random references are those of a plain stack', () => {
  const random = seeded();
  for (const most of [12, 500, 3000]) {
    const stack = new LruStack();
    const plain = new PlainStack();
    let step = 0;
    // Enough for times to be given anew some times.
    for (const line of randomLines(400_000, most, random))
      assert.equal(stack.refer(line), plain.refer(line), `of ${most}, step ${step++}`);
  }
});

test('a stack of many lines makes room for them', () => {
  const stack = new LruStack();
  const lines = 300_000;
  for (let line = 0; line < lines; line++) assert.equal(stack.refer(line), -1);
  for (let line = 0; line < lines; line++) assert.equal(stack.refer(line), lines - 1);
});

test('the optimum of random references is that of a plain model that knows what comes', () => {
  const random = seeded();
  for (const [count, most] of [
    [3000, 6],
    [20_000, 60],
    [150_000, 300],
  ] as const) {
    const lines = [...randomLines(count, most, random)];
    const sizes = [1, 2, 3, 7, 20, 100].filter((size) => size <= most);
    const optimum = new Optimum(sizes);
    for (const line of lines) optimum.refer(line);
    assert.deepEqual(
      [...optimum.misses],
      sizes.map((size) => plainOptimum(lines, size)),
      `${count} references to ${most} lines`,
    );
  }
});

test('bins of distances lie beside one another, 16 to a power of two', () => {
  for (let bin = 0; bin < COLD_BIN; bin++) {
    const first = firstOf(bin);
    assert.equal(binOf(first), bin);
    if (first > 0) assert.equal(binOf(first - 1), bin - 1);
    assert.ok(firstOf(bin + 1) - first <= Math.max(1, first / 16));
  }
  assert.equal(binOf(2 ** 31 - 1), COLD_BIN - 1);
  for (const size of [32768, 49152, 1 << 20, 1.25 * (1 << 20)])
    assert.equal(firstOf(binOf(size / 64)), size / 64);
});

test('the module takes random rows as TypeScript does', { skip: !nativeEngine }, () => {
  const random = seeded();
  for (const lineBits of [4, 6]) {
    const sizes = Uint16Array.from({ length: 40 }, () => [1, 4, 8, 16, 32, 100][random(6)]!);
    const table = { count: sizes.length, sizes } as unknown as SiteTable;
    const options = {
      ...{ lineBits, windowTicks: 3333, optimumLines: [4, 1000] },
      rowOf: (site: number) => (site % 7 === 0 ? -1 : site % 5),
    };
    const both = [new References(options), new References(options, null)];
    let tick = 0;
    for (let step = 0; step < 40; step++) {
      const count = 1 + random(10_000);
      const near = random(1 << 20);
      const batch = {
        ...{ process: 0, thread: 0, count },
        ticks: BigUint64Array.from({ length: count }, () => BigInt((tick += random(3)))),
        sites: Uint32Array.from({ length: count }, () => random(sizes.length)),
        addresses: BigUint64Array.from({ length: count }, () => {
          const far = [0n, 0xffff_ff00n, 0x1fff_0000_0000n][random(3)]!;
          return far + BigInt(random(4) > 0 ? near + random(5000) : random(1 << 22));
        }),
        ...{ values: new BigUint64Array(0), wide: new Uint8Array(0) },
      };
      for (const one of both) one.take(batch, table);
    }
    const [native, plain] = both.map((one) => {
      one.end(tick);
      const rows = Array.from({ length: 5 }, (_, i) => one.row(i));
      const distances = [...one.byDistance.entries()].filter(([, references]) => references > 0);
      return { rows, distances, windows: one.windows, optimum: one.optimum.misses };
    });
    assert.ok(plain!.distances.length > 1000);
    assert.deepEqual(native, plain);
  }
});

// ---- Recorded programs ----

type Kind = 'data' | 'instructions' | 'both';

const known = new Map<Recording, readonly Reference[]>();
function allReferencesOf(recording: Recording): readonly Reference[] {
  let references = known.get(recording);
  if (!references) known.set(recording, (references = referencesOf(recording, true)));
  return references;
}

/** References to lines: an access to several is one to each. */
function linesOf(
  references: readonly Reference[],
  kind: Kind,
  lineBytes: number,
): { pc: bigint; tick: number; line: number }[] {
  const size = BigInt(lineBytes);
  return references
    .filter((one) => kind === 'both' || (one.event === EVENT.Ir) === (kind === 'instructions'))
    .flatMap(({ pc, tick, address, size: bytes }) => {
      const first = Number(address / size);
      const last = Number((address + BigInt(bytes) - 1n) / size);
      return Array.from({ length: last - first + 1 }, (_, i) => ({ pc, tick, line: first + i }));
    });
}

/** Rows of a table of the analysis, without its name and the process. */
const rowsOf = (recording: Recording, table: string, order: string): ResultRow[] =>
  recording.query(
    `select * exclude (process, analysis) from ${table} where process = 0 order by ${order}`,
  );

function analyze(recording: Recording, options: readonly string[]): void {
  const { status, stderr } = grind(['analyze', 'reuse', recording.folder, ...options]);
  assert.equal(status, 0, stderr);
}

/** Misses by size of the cache in lines. */
const missesOf = (distances: readonly number[], lines: number): bigint =>
  BigInt(distances.filter((distance) => distance < 0 || distance >= lines).length);

test('all tables are those of plain models of what the program refers to', () => {
  const all = [
    ['data', 64, 1000],
    ['instructions', 64, 777],
    ['both', 32, 1_000_000],
  ] as const;
  for (const [guest, cases] of [
    ['bare.c', all],
    ['counted.c', all.slice(2)],
  ] as const) {
    const recording = recordingOf(guest);
    const references = allReferencesOf(recording);
    const ticks = Number(recording.cell('select ticks from processes'));
    const trace = Trace.open(recording.folder);
    const symbols = new Symbols(trace, 0);
    const nameOf = new Map(references.map(({ pc }) => [pc, symbols.frames(pc)[0]!] as const));
    trace.close();
    for (const [kind, lineBytes, window] of cases) {
      const belady = [8 * lineBytes, 64 * lineBytes];
      const options = [`--of=${kind}`, `--line=${lineBytes}`, `--window=${window}`];
      analyze(recording, [...options, `--belady=${belady.join()}`]);
      const what = `${guest} ${options.join(' ')}`;

      const lines = linesOf(references, kind, lineBytes);
      const stack = new PlainStack();
      const distances = lines.map(({ line }) => stack.refer(line));
      const counts = new Map<number, number>();
      for (const distance of distances) counts.set(distance, (counts.get(distance) ?? 0) + 1);
      assert.deepEqual(
        rowsOf(recording, 'reuse_distances', 'distance'),
        [...counts]
          .filter(([distance]) => distance >= 0)
          .sort(([a], [b]) => a - b)
          .map(([distance, count]) => ({
            distance: BigInt(distance),
            last_distance: BigInt(distance),
            references: BigInt(count),
          })),
        what,
      );

      const curve = rowsOf(recording, 'miss_curve', 'cache_bytes');
      assert.ok(curve.length > 3, what);
      assert.equal(curve.at(-1)!['misses'], BigInt(counts.get(-1)!));
      for (const { cache_bytes: bytes, references: all, misses } of curve) {
        assert.equal(all, BigInt(lines.length), what);
        assert.equal(misses, missesOf(distances, Number(bytes) / lineBytes), `${what} ${bytes}`);
      }

      const functions = new Map<string, number[]>();
      lines.forEach(({ pc }, i) => {
        const { fn, file } = nameOf.get(pc)!;
        const key = `${file}:${fn}`;
        let own = functions.get(key);
        if (!own) functions.set(key, (own = []));
        own.push(distances[i]!);
      });
      const own = recording.query(
        `select file || ':' || function as name, cache_bytes, misses, "references"
         from function_miss_curves order by name, cache_bytes`,
      );
      assert.deepEqual(new Set(own.map(({ name }) => name)), new Set(functions.keys()), what);
      for (const { name, cache_bytes: bytes, misses, references: all } of own) {
        const of = functions.get(String(name))!;
        assert.equal(all, BigInt(of.length), `${what} ${name}`);
        assert.equal(misses, missesOf(of, Number(bytes) / lineBytes), `${what} ${name} ${bytes}`);
      }

      assert.deepEqual(
        rowsOf(recording, 'optimal_misses', 'cache_bytes'),
        belady.map((bytes) => ({
          cache_bytes: BigInt(bytes),
          misses: missesOf(distances, bytes / lineBytes),
          optimal_misses: BigInt(
            plainOptimum(
              lines.map(({ line }) => line),
              bytes / lineBytes,
            ),
          ),
        })),
        what,
      );

      const windows = Array.from({ length: Math.ceil(ticks / window) }, () => new Set<number>());
      for (const { tick, line } of lines) windows[Math.floor(tick / window)]!.add(line);
      assert.deepEqual(
        rowsOf(recording, 'working_set', 'tick'),
        windows.map(({ size }, i) => ({
          ...{ tick: BigInt(i * window), ticks: BigInt(window) },
          ...{ lines: BigInt(size), bytes: BigInt(size * lineBytes) },
        })),
        what,
      );
    }
  }
});

/** What a cache with one set counts as a miss: an access of two lines that misses both is one. */
function missesOfOneSet(recording: Recording, kind: Kind, lines: number): Cell {
  const stack = new PlainStack();
  let twice = 0;
  for (const one of allReferencesOf(recording)) {
    const missed = linesOf([one], kind, 64)
      .map(({ line }) => stack.refer(line))
      .filter((distance) => distance < 0 || distance >= lines);
    if (missed.length > 1) twice++;
  }
  const misses = recording.cell(
    `select misses from miss_curve where cache_bytes = ${64 * lines}`,
  ) as bigint;
  return misses - BigInt(twice);
}

test('misses are those of simulated caches with one set', () => {
  const recording = recordingOf('counted.c');
  for (const [kind, cache, misses, lines] of [
    ['data', 'D1', 'sum(d1mr + d1mw)', 32],
    ['instructions', 'I1', 'sum(i1mr)', 4],
  ] as const) {
    analyze(recording, [`--of=${kind}`]);
    const shape = `--${cache}=${64 * lines},${lines},64`;
    const { status, stderr } = grind(['analyze', 'cache', recording.folder, shape]);
    assert.equal(status, 0, stderr);
    const theirs = recording.cell(`select ${misses} from cache_lines`);
    assert.equal(missesOfOneSet(recording, kind, lines), theirs, shape);
  }
});

test('misses are those of Cachegrind, of a static program without a heap', () => {
  const recording = recordingOf('counted.c');
  analyze(recording, []);
  const lines = 16;
  const { stderr } = run([
    ...['valgrind', '--tool=cachegrind', '--cache-sim=yes', `--D1=${64 * lines},${lines},64`],
    ...[`--cachegrind-out-file=${scratch('cachegrind.out')}`, compile('counted.c')],
  ]);
  const [, misses] = /D1 +misses: +([\d,]+)/.exec(stderr) ?? [];
  assert.equal(missesOfOneSet(recording, 'data', lines), BigInt(misses!.replaceAll(',', '')));
});

test('an analysis that shares the replay changes nothing, nor one that cannot', () => {
  const recording = recordingOf('bare.c');
  const curve = (analyses: string, ...options: string[]): ResultRow[] => {
    const { status, stderr } = grind(['analyze', analyses, recording.folder, ...options]);
    assert.equal(status, 0, stderr);
    return rowsOf(recording, 'miss_curve', 'cache_bytes');
  };
  assert.deepEqual(curve('cache,reuse'), curve('reuse'));
  assert.deepEqual(curve('callgraph,reuse', '--of=both'), curve('reuse', '--of=both'));

  // Fetches of instructions are read by a replay of their own.
  const other = scratch('accesses.mjs');
  writeFileSync(
    other,
    `export const analysis = { name: 'accesses', describe: 'Counts accesses', options: {},
       part: (trace, process) => {
         let read = 0;
         return { wants: { accesses: true }, accesses({ count }) { read += count; },
           finish: () => ({ process, findings: [], summary: { read }, missing: [] }) };
       } };`,
  );
  const alone = grind(['analyze', other, recording.folder]);
  const [, read] = /^read: (\d+)$/m.exec(alone.stdout)!;
  assert.equal(BigInt(read!), recording.cell('select count(*) from accesses'));
  const both = grind(['analyze', `reuse,${other}`, recording.folder, '--of=both']);
  assert.match(both.stdout, new RegExp(`^read: ${read}$`, 'm'));
  assert.deepEqual(curve(`reuse,${other}`, '--of=both'), curve('reuse', '--of=both'));
});

test('options that make no sense are refused in a sentence', () => {
  const { folder } = recordingOf('counted.c');
  for (const [option, sentence] of [
    ['--line=48', /--line takes a power of two from 8 to 4096/],
    ['--belady=32K,100', /--belady takes sizes such as 32K,1M, .*, not 100\./],
    ['--belady=much', /--belady takes sizes/],
    ['--window=0', /--window takes a whole number from 1/],
    ['--of=everything', /everything/],
  ] as const) {
    const { status, stderr } = grind(['analyze', 'reuse', folder, option]);
    assert.notEqual(status, 0);
    assert.match(stderr, sentence);
  }
});
