/** Parts of the heap analysis on random input, against obvious twins. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { OffsetHistogram } from '../analyses/heap/offsets.js';
import { Timeline, totalBytes, type HeapMoment } from '../analyses/heap/timeline.js';
import { AccessTally } from '../replay/access-tally.js';
import { GuestMemory } from '../replay/guest-memory.js';
import { randomOf } from './random.js';

const SEEDS = [1, 20, 300, 4000];

test('a tally gives the accesses to each byte since it began or was taken', () => {
  for (const seed of SEEDS) {
    const random = randomOf(seed);
    const memory = new GuestMemory({ counts: false, shadow: false });
    const tally = new AccessTally(memory);
    const base = 0x7ff80; // ranges reach over the end of a granule
    const ranges = Array.from({ length: 8 }, (_, i) => ({
      address: base + 48 * i,
      size: 1 + random(40),
      loads: new Map<number, number>(),
      stores: new Map<number, number>(),
      isCounted: false,
    }));
    for (let step = 0; step < 4000; step++) {
      const range = ranges[random(ranges.length)]!;
      if (random(300) === 0) {
        if (!range.isCounted) tally.begin(range.address, range.size);
        const found = { loads: new Map<number, number>(), stores: new Map<number, number>() };
        tally.take(range.address, range.size, ({ offset, count, loads, stores }) => {
          for (let i = 0; i < count; i++) {
            if (loads[i]! > 0) found.loads.set(offset + i, loads[i]!);
            if (stores[i]! > 0) found.stores.set(offset + i, stores[i]!);
          }
        });
        const byOffset = (map: Map<number, number>) => [...map].sort(([a], [b]) => a - b);
        for (const kind of ['loads', 'stores'] as const) {
          assert.deepEqual(byOffset(found[kind]), byOffset(range[kind]), `seed ${seed}`);
          range[kind].clear();
        }
        range.isCounted = true;
        continue;
      }
      const offset = random(range.size);
      const size = 1 + random(Math.min(range.size - offset, 32));
      const isStore = random(2) === 0;
      const times = 1 + random(3) * random(200); // counters of one byte overflow
      for (let i = 0; i < times; i++) tally.add(range.address + offset, size, isStore);
      if (!range.isCounted) continue;
      const map = isStore ? range.stores : range.loads;
      for (let at = offset; at < offset + size; at++) map.set(at, (map.get(at) ?? 0) + times);
    }
  }
});

test('accesses by offset add up, in units where blocks are large', () => {
  for (const seed of SEEDS) {
    const random = randomOf(seed);
    const most = [100, 16384, 16385, 200_000][SEEDS.indexOf(seed)]!;
    const histogram = new OffsetHistogram();
    const plain = { loads: new Float64Array(most), stores: new Float64Array(most) };
    let unit = 1;
    for (let step = 0; step < 60; step++) {
      const offset = random(most);
      const count = 1 + random(Math.min(most - offset, 5000));
      const loads = Float64Array.from({ length: count }, () => random(3));
      const stores = Float64Array.from({ length: count }, () => random(2));
      histogram.add(offset, count, loads, stores);
      for (let i = 0; i < count; i++) {
        plain.loads[offset + i]! += loads[i]!;
        plain.stores[offset + i]! += stores[i]!;
      }
      while (Math.ceil((offset + count) / unit) > 16384) unit *= 2;
    }
    const sum = (values: Float64Array, from: number, count: number): number =>
      values.subarray(from, from + count).reduce((total, value) => total + value, 0);
    let end = 0;
    let before = '';
    for (const { offset, count, loads, stores } of histogram.runs()) {
      assert.equal(offset, end, `seed ${seed}`);
      assert.equal(loads, sum(plain.loads, offset, count));
      assert.equal(stores, sum(plain.stores, offset, count));
      assert.equal(offset % unit, 0);
      const rates = `${loads / count} ${stores / count}`;
      // A last unit that is not whole may be like the one before.
      assert.ok(rates !== before || count < unit || unit > 1, `seed ${seed}: two runs of ${rates}`);
      before = rates;
      end += count;
    }
    assert.equal(sum(plain.loads, end, most), 0);
  }
});

test('a timeline keeps the most of each stretch of time, and the peak exactly', () => {
  for (const seed of SEEDS) {
    const random = randomOf(seed);
    const limit = 10 + random(30);
    const timeline = new Timeline(limit);
    const all: HeapMoment[] = [];
    let [time, heapBytes] = [0, 0];
    for (let step = 0; step < 3000; step++) {
      time += random(50) * random(2);
      heapBytes = Math.max(0, heapBytes + random(201) - 100);
      const moment: HeapMoment = {
        ...{ tick: time, time, changes: step, allocations: 0, trafficBytes: 0, blocks: 0 },
        ...{ heapBytes, extraBytes: 0, stackBytes: 0 },
      };
      const isPeak = all.every((one) => totalBytes(one) < heapBytes);
      const isFound = timeline.wants(time, heapBytes) && timeline.add(moment);
      assert.equal(isFound, isPeak, `seed ${seed}`);
      all.push(moment);
    }
    const end = all.at(-1)!;
    const kept = timeline.moments(end);
    assert.equal(kept[0], all[0]);
    assert.equal(kept.at(-1), end);
    assert.ok(kept.length <= limit + 2 && kept.length > limit / 2);
    const peak = all.reduce((a, b) => (totalBytes(b) > totalBytes(a) ? b : a));
    assert.equal(timeline.peak, peak);
    assert.ok(kept.includes(peak));
    // The first with the most of its stretch, of whatever width the stretches are.
    let width = 1;
    while (new Set(all.map((one) => Math.floor(one.time / width))).size > limit) width *= 2;
    const most = new Map<number, HeapMoment>();
    for (const one of all) {
      const stretch = Math.floor(one.time / width);
      if (!most.has(stretch) || totalBytes(one) > totalBytes(most.get(stretch)!))
        most.set(stretch, one);
    }
    assert.deepEqual(
      kept.slice(1, -1),
      [...most.values()].filter((one) => one !== all[0]),
      `seed ${seed}`,
    );
  }
});
