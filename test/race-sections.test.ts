/**
 * Critical sections that concern only their thread, with the module that goes over them and without: findings must be the
 * same to the last tick. The twin is the detector in TypeScript alone, which does each operation and access by itself.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AccessHistory } from '../analyses/race/history.js';
import { analysis } from '../analyses/race/race.js';
import { Trace } from '../replay/trace.js';
import { compile, record } from './guest.js';

const SEED = Number(process.env['GRIND_SEED'] ?? Date.now() % 1_000_000);
const RUNS = 2;

/** What is found in a trace, and how many operations of sections the module has gone over. */
async function judge(
  folder: string,
  model: string,
): Promise<{ readonly found: string; readonly passed: number }> {
  let passed = 0;
  const { take } = AccessHistory.prototype;
  AccessHistory.prototype.take = function (...args) {
    const before = this.passed;
    const taken = take.apply(this, args);
    passed += this.passed - before;
    return taken;
  };
  try {
    return { found: await findings(folder, model), passed };
  } finally {
    AccessHistory.prototype.take = take;
  }
}

async function judgeByTwin(folder: string, model: string): Promise<string> {
  const { take } = AccessHistory.prototype;
  AccessHistory.prototype.take = (_guest, _sites, _kinds, _dropped, from) => from;
  try {
    return await findings(folder, model);
  } finally {
    AccessHistory.prototype.take = take;
  }
}

async function findings(folder: string, model: string): Promise<string> {
  const context = { processes: [0], callers: 12, progress: () => undefined };
  const outcomes = [];
  const trace = Trace.open(folder);
  try {
    for await (const { findings, missing } of analysis.run(trace, { model }, context))
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
