/** A replay ahead in a worker delivers what a replay in place does. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ReplayAhead } from '../replay/ahead.js';
import { openReplay } from '../replay/replay.js';
import { endWorkers } from '../replay/spare-workers.js';
import { Trace } from '../replay/trace.js';
import type { Replay } from '../replay/types.js';
import { UserError } from '../schemas/errors.js';
import { record } from './guest.js';

/** Digests of all rows, batch by batch, with what their sites say. */
function* rows(replay: Replay): Generator<string> {
  for (let batch; (batch = replay.nextAccesses());) {
    const { sites } = replay;
    const { thread, count } = batch;
    const of = <T>(column: ArrayLike<T>): string =>
      Array.from(batch.sites.subarray(0, count), (site) => column[site]).join();
    yield [
      thread,
      count,
      batch.ticks.subarray(0, count).join(),
      batch.addresses.subarray(0, count).join(),
      batch.values.subarray(0, count).join(),
      Buffer.from(batch.wide).toString('hex'),
      of(sites.pcs),
      of(sites.sizes),
      of(sites.stores),
      of(sites.atomics),
    ].join('|');
  }
}

/** How many accesses each site has by each thread. */
function tally(replay: Replay): Map<string, number> {
  const counts = new Map<string, number>();
  for (let batch; (batch = replay.nextAccesses());) {
    const { thread, repeats } = batch;
    batch.sites.subarray(0, batch.count).forEach((site, i) => {
      const key = `${thread} ${site}`;
      counts.set(key, (counts.get(key) ?? 0) + (repeats?.[i] ?? 1));
    });
  }
  return new Map([...counts].sort());
}

test('a replay in a worker delivers the same batches', () => {
  const { folder } = record(['threads.c']);
  const trace = Trace.open(folder);
  const expected = rows(openReplay(trace, 0, { accesses: true }));
  let batches = 0;
  for (const actual of rows(new ReplayAhead(trace, 0, { accesses: true }))) {
    assert.equal(actual, expected.next().value, `batch ${batches}`);
    batches++;
  }
  assert.ok(expected.next().done);
  assert.ok(batches > 4, 'more batches than are kept ahead');

  const columns = new Set(['addresses'] as const);
  const chosen = new ReplayAhead(trace, 0, { accesses: true, columns });
  const whole = openReplay(trace, 0, { accesses: true });
  for (let batch; (batch = chosen.nextAccesses());) {
    assert.deepEqual(batch.addresses, whole.nextAccesses()!.addresses.slice());
    assert.equal(batch.values.length, 0);
  }
  assert.equal(whole.nextAccesses(), undefined);

  assert.deepEqual(
    tally(new ReplayAhead(trace, 0, { accesses: true, columns: new Set(), tallied: true })),
    tally(openReplay(trace, 0, { accesses: true })),
  );

  const abandoned = new ReplayAhead(trace, 0, { accesses: true });
  assert.ok(abandoned.nextAccesses());
  endWorkers();

  assert.throws(() => new ReplayAhead(trace, 99, {}).nextAccesses(), UserError);
  trace.close();
});
