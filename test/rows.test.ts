/** Loops over rows of numbers, by the module beside TypeScript's, on random rows. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { EVENT_COUNT, SiteCounts } from '../analyses/cache/counts.js';
import { COUNTERS_WORDS, type CacheGuest } from '../replay/cache-guest.js';
import { CacheSites, GUARDED, Segments } from '../replay/code-tables.js';
import { nativeEngine } from '../replay/native.js';
import {
  columnOf,
  groupRows,
  putTexts,
  rowOfKey,
  rowsWith,
  slotsOf,
  sumRows,
  useNativeRows,
} from '../replay/rows.js';
import { randomOf } from './random.js';

function seeded(): (below: number) => number {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  return randomOf(seed);
}

/** What the module makes is what TypeScript makes. */
function assertAlike<T>(what: string, make: () => T): T {
  assert.ok(nativeEngine);
  useNativeRows(undefined);
  let plain: T;
  try {
    plain = make();
  } finally {
    useNativeRows(nativeEngine);
  }
  const native = make();
  assert.deepEqual(native, plain, what);
  return native;
}

const skip = { skip: !nativeEngine };

test('the module groups and sums random rows as TypeScript does', skip, () => {
  const random = seeded();
  for (const count of [0, 1, 2, 30, 3000]) {
    const words = (below: number, length = count): Uint32Array =>
      Uint32Array.from({ length }, () => random(below));
    const columns = Array.from({ length: 1 + random(4) }, () => words(random(2) ? 3 : 2 ** 32));
    assertAlike(`groups of ${count}`, () => groupRows(columns, count));
    const at = Int32Array.from({ length: 2 * count }, () => random(count + 1) - 1);
    const { groups, ...grouped } = assertAlike(`groups of ${at.length} rows of ${count}`, () =>
      groupRows(columns, at.length, at),
    );
    const width = 1 + random(5);
    const values = Float64Array.from({ length: width * at.length }, () => random(1000) * 2 ** 35);
    const sums = assertAlike('sums', () =>
      sumRows(values, width, at.length, grouped.count, groups),
    );
    assertAlike('one sum', () => sumRows(values, width, at.length, 1));
    const which = random(width);
    assertAlike('a column', () => columnOf(sums, width, which, grouped.count));
    const keys = words(50, 2 * count);
    const wanted = words(50, 100);
    assertAlike('rows', () => rowsWith(keys, slotsOf(keys), wanted));
  }
});

test('the module puts random texts one after another as TypeScript does', skip, () => {
  const random = seeded();
  for (const alphabet of ['ab', 'aß€𝄞']) {
    const letters = [...alphabet];
    const texts = Array.from({ length: 200 }, () =>
      Array.from({ length: random(9) }, () => letters[random(letters.length)]).join(''),
    );
    for (const count of [0, 1, 5000]) {
      const numbers = Uint32Array.from({ length: count }, () => random(texts.length));
      const { ends, bytes } = assertAlike('texts', () => putTexts(texts, numbers));
      numbers.forEach((number, i) =>
        assert.equal(Buffer.from(bytes.subarray(ends[i], ends[i + 1])).toString(), texts[number]),
      );
    }
  }
  assertAlike('no texts', () => putTexts([], new Uint32Array(0)));
  assertAlike('empty texts', () => putTexts([''], new Uint32Array(3)));
});

test('the module counts random sites as TypeScript does', skip, () => {
  const random = seeded();
  for (const count of [0, 1, 20, 4000]) {
    const sites = new CacheSites();
    const segments = new Segments();
    for (let i = 0; i <= count / 4; i++) segments.addOne(0, 0n, 1, 0);
    for (let i = 0; i < count; i++) {
      const kind = random(5) | (random(5) ? 0 : GUARDED);
      sites.addOne(0x1000 + random(1 + count / 3), random(2), kind, random(segments.count));
    }
    const often = (): number => (random(3) ? 0 : random(5) ? random(100) : random(2 ** 32));
    // Low words and high ones; the last level misses only what the first has missed.
    const counters = Uint32Array.from({ length: COUNTERS_WORDS * count }, (_, word) =>
      word % 2 ? random(2) : often(),
    );
    for (let at = 0; at < counters.length; at += COUNTERS_WORDS)
      if (random(3) || !(counters[at]! + counters[at + 1]!)) counters.fill(0, at, at + 4);
    const executions = BigUint64Array.from({ length: segments.count }, () => BigInt(often()) << 4n);
    const cache = { sites, counters: () => counters } as unknown as CacheGuest;
    const counts = new SiteCounts(cache, { ...segments, executions });
    const instructions = assertAlike(`instructions of ${count} sites`, () => counts.instructions());
    const { length } = instructions.pcs;
    const total = assertAlike('totals', () => counts.sums(1));
    const all = assertAlike('sums', () => counts.sums(length, instructions));
    assert.deepEqual(sumRows(all, EVENT_COUNT, length, 1), total);
    const rows = Int32Array.from({ length }, () => random(4) - 1);
    assertAlike('sums of rows', () => counts.sums(3, instructions, rows));
  }
});

test('a number in a rising column is found', () => {
  const random = seeded();
  const column = Uint32Array.from({ length: 300 }, () => random(1000)).sort();
  for (let key = 0; key < 1000; key++)
    for (const count of [0, 1, 150, 300])
      assert.equal(rowOfKey(column, key, count), column.subarray(0, count).indexOf(key));
});
