/**
 * What the module does by itself, with it and without: critical sections that concern only their thread, and accesses that other
 * threads judge. Findings must be the same to the last tick. The twin is the detector in TypeScript alone, which does each operation
 * and access by itself.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AccessHistory } from '../analyses/race/history.js';
import { analysis } from '../analyses/race/race.js';
import { Trace } from '../replay/trace.js';
import { compile, record } from './guest.js';

const SEED = Number(process.env['GRIND_SEED'] ?? Date.now() % 1_000_000);
const RUNS = 2;

/** Runs with another method in the place of one of the history's. */
async function instead<K extends 'take' | 'endTaking', T>(
  name: K,
  other: (own: AccessHistory[K]) => AccessHistory[K],
  run: () => Promise<T>,
): Promise<T> {
  const own = AccessHistory.prototype[name];
  AccessHistory.prototype[name] = other(own);
  try {
    return await run();
  } finally {
    AccessHistory.prototype[name] = own;
  }
}

/** What is found in a trace, and how many operations of sections the module has gone over. */
async function judge(
  folder: string,
  model: string,
): Promise<{ readonly found: string; readonly passed: number }> {
  let passed = 0;
  const found = await instead(
    'take',
    (take) =>
      function (this: AccessHistory, ...args) {
        const before = this.passed;
        const taken = take.apply(this, args);
        passed += this.passed - before;
        return taken;
      },
    () => findings(folder, { model, workers: '0' }),
  );
  return { found, passed };
}

function judgeByTwin(folder: string, model: string): Promise<string> {
  return instead(
    'take',
    () => (_guest, _rows, _sites, _kinds, _dropped, from) => from,
    () => findings(folder, { model, workers: '0' }),
  );
}

/** What is found in a trace with so many threads besides, and how many rows they took. */
async function judgeAside(
  folder: string,
  model: string,
  takers: number,
): Promise<{ readonly found: string; readonly taken: number }> {
  let taken = 0;
  const found = await instead(
    'endTaking',
    (endTaking) =>
      function (this: AccessHistory) {
        const ended = endTaking.call(this);
        taken += ended.taken;
        return ended;
      },
    () => findings(folder, { model, workers: String(takers) }),
  );
  return { found, taken };
}

async function findings(folder: string, options: Record<string, string>): Promise<string> {
  const context = { processes: [0], callers: 12, progress: () => undefined };
  const outcomes = [];
  const trace = Trace.open(folder);
  try {
    for await (const { findings, missing } of analysis.run(trace, options, context))
      outcomes.push({ findings, missing });
  } finally {
    trace.close();
  }
  return JSON.stringify(
    outcomes,
    (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
    1,
  );
}

test(`critical sections, by the module and by its twin (GRIND_SEED=${SEED})`, async () => {
  const program = compile('sections.c');
  let [found, passed] = [0, 0];
  for (let run = 0; run < RUNS; run++) {
    const { folder } = record([program, String(SEED + run)]);
    for (const model of ['both', 'hb']) {
      const byModule = await judge(folder, model);
      assert.equal(byModule.found, await judgeByTwin(folder, model));
      found += byModule.found.length;
      passed += byModule.passed;
    }
  }
  assert(found > 1000 && passed > 1000, `${found} characters were found, ${passed} passed`);
});

test(`accesses that other threads judge, and the twin (GRIND_SEED=${SEED})`, async () => {
  const { folder } = record([compile('takers.c'), String(SEED)]);
  for (const model of ['both', 'hb']) {
    const byTwin = await judgeByTwin(folder, model);
    assert(byTwin.length > 1000, 'races are found');
    for (const takers of [1, 3]) {
      const { found, taken } = await judgeAside(folder, model, takers);
      assert.equal(found, byTwin, `${takers} threads`);
      assert(taken > 10_000, `${taken} rows were taken by ${takers}`);
    }
  }
});
