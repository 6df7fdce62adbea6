/**
 * Vector clocks against maps from slot to time, under random operations: they hold the same times, and take no more room
 * than the largest slot asks for, however often they join one another.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VectorClock } from '../analyses/race/clocks.js';
import { randomOf } from './random.js';

const SLOTS = 100;

test('vector clocks have the times of their twins, and grow no further', () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = randomOf(seed);
  const clocks = Array.from({ length: 5 }, () => new VectorClock());
  const twins = clocks.map(() => new Map<number, number>());
  for (let step = 0; step < 3000; step++) {
    const [to, from, slot] = [random(clocks.length), random(clocks.length), random(SLOTS)];
    const [clock, twin] = [clocks[to]!, twins[to]!];
    switch (random(4)) {
      case 0:
        clock.set(slot, step);
        twin.set(slot, step);
        break;
      case 1:
        clock.assign(clocks[from]!);
        twins[to] = new Map(twins[from]);
        break;
      case 2:
        clock.reserve(slot);
        break;
      default:
        clock.join(clocks[from]!);
        for (const [at, time] of twins[from]!) twin.set(at, Math.max(time, twin.get(at) ?? 0));
    }
    assert.deepEqual(
      Array.from({ length: SLOTS }, (_, at) => clock.get(at)),
      Array.from({ length: SLOTS }, (_, at) => twins[to]!.get(at) ?? 0),
      `seed ${seed}, step ${step}`,
    );
    assert.ok(clock.times.length < 2 * SLOTS, `seed ${seed}: room for ${clock.times.length}`);
  }
});
