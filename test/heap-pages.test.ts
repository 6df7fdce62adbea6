/** heap --pages-as-heap: pages in use over time as the guest's source says, and at the peak as massif has them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { compile, grind, record, run, scratch } from './guest.js';

const PAGE = 4096;

/** Pages that a massif file has at its peak: in all, and by the address that mapped them. */
function peakOf(path: string): { pages: number; byAddress: Record<string, number> } {
  const snapshots = readFileSync(path, 'utf8').split('#-----------\nsnapshot=');
  const peak = snapshots.find((snapshot) => snapshot.includes('heap_tree=peak'))!;
  const [, bytes] = /^mem_heap_B=(\d+)$/m.exec(peak)!;
  const places = [...peak.matchAll(/^ n\d+: (\d+) (0x[1-9A-F][0-9A-F]*):/gm)];
  return {
    pages: Number(bytes) / PAGE,
    byAddress: Object.fromEntries(places.map(([, own, address]) => [address!, Number(own) / PAGE])),
  };
}

test('pages in use are those that the program mapped and did not give back', () => {
  const recording = record(['pages.c']);
  const out = scratch('ours.out');
  const options = ['--pages-as-heap=yes', '--massif-out', out];
  const { status, stderr } = grind(['analyze', 'heap', recording.folder, ...options]);
  assert.equal(status, 0, stderr);

  // What changes after each system call of the guest, in pages.
  const changes = [30, -10, 8, 8, 7, -3, 100, -100];
  const found = recording
    .query('select blocks, heap_bytes from heap_timeline where tick > 0 order by tick')
    .map(({ blocks, heap_bytes: bytes }) => {
      assert.equal(bytes, (blocks as bigint) * BigInt(PAGE));
      return Number(blocks);
    })
    .filter((pages, i, all) => pages !== all[i - 1]);
  const before = found[0]! - changes[0]!;
  let pages = before;
  const expected = changes.map((change) => (pages += change));
  assert.deepEqual(found, expected);

  const ours = peakOf(out);
  assert.equal(ours.pages, Math.max(...expected));
  assert.deepEqual(Object.values(ours.byAddress).sort(), [120, 16, 4]);

  const theirFile = scratch('massif.out');
  const massif = ['--tool=massif', '--pages-as-heap=yes', `--massif-out-file=${theirFile}`];
  assert.equal(run(['valgrind', ...massif, compile('pages.c')]).status, 0);
  const theirs = peakOf(theirFile);
  assert.deepEqual(theirs.byAddress, ours.byAddress);
  // Massif counts pages again that are announced again at the start: for a part of one, and below the first break.
  assert.equal(theirs.pages, ours.pages + 2);
});
