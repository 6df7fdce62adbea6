/**
 * heap --stacks: the peak of a program with one thread as massif has it, to the byte; the stacks of several as an
 * obvious twin measures them, which looks at the stack pointer before each instruction and whenever one writes to it
 * (bt does, as VEX describes it, for a moment; massif counts that, too).
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { openReplay, type ProcessReplay } from '../replay/replay.js';
import { Trace } from '../replay/trace.js';
import type { EventRow } from '../replay/types.js';
import { slices, thread_events } from '../schemas/tables.js';
import { compile, grind, record, run, scratch } from './guest.js';

const OTHER_STACK_BYTES = 2_000_000;

/** `mem_*_B` at the peak of a massif file. */
function peakOf(path: string): Record<string, number> {
  const snapshots = readFileSync(path, 'utf8').split('#-----------\nsnapshot=');
  const peak = snapshots.find((snapshot) => snapshot.includes('heap_tree=peak'))!;
  return Object.fromEntries(
    [...peak.matchAll(/^mem_(\w+)_B=(\d+)$/gm)].map(([, what, bytes]) => [what!, Number(bytes)]),
  );
}

test('the peak of heap and stack is that of massif', () => {
  const recording = record(['stacks.c']);
  const out = scratch('ours.out');
  const options = ['--stacks=yes', '--massif-out', out];
  const { status, stderr } = grind(['analyze', 'heap', recording.folder, ...options]);
  assert.equal(status, 0, stderr);
  const theirFile = scratch('massif.out');
  const massif = ['--stacks=yes', '--peak-inaccuracy=0', `--massif-out-file=${theirFile}`];
  const theirs = run(['valgrind', '--tool=massif', ...massif, compile('stacks.c')]);
  assert.equal(theirs.status, 0, theirs.stderr);
  assert.deepEqual(peakOf(out), peakOf(theirFile));

  const [row] = recording.query(
    'select heap_bytes, extra_bytes, stack_bytes from heap_timeline where peak',
  );
  const [heap, heap_extra, stacks] = Object.values(row!).map(Number);
  assert.deepEqual({ heap, heap_extra, stacks }, peakOf(out));
  assert.ok(stacks! > 300 * 1000);
});

test('stacks are not counted with pages', () => {
  const recording = record(['stacks.c']);
  const { status, stderr } = grind([
    ...['analyze', 'heap', recording.folder],
    ...['--stacks=yes', '--pages-as-heap=yes'],
  ]);
  assert.notEqual(status, 0);
  assert.match(stderr, /--stacks=yes is not for --pages-as-heap=yes/);
});

test('the stacks of all threads are those of a twin that looks at each change', () => {
  const recording = record(['stacks.c', 'threads']);
  const trace = Trace.open(recording.folder);
  const RSP = (trace.manifest.guest as { registers: Record<string, number> }).registers['RSP']!;
  const ticks = trace.processes[0]!.ticks;

  /** The largest sizes between rows of these tables. */
  const sizes = (how: (replay: ProcessReplay) => void): number[] => {
    const found: number[] = [];
    const replay = openReplay(trace, 0, {
      stacks: true,
      observer: {
        tables: [slices, thread_events],
        applied: () => found.push(replay.guest.stacks!.takeLargest().sizeBytes),
      },
    });
    how(replay);
    replay.finish();
    return [...found, replay.guest.stacks!.takeLargest().sizeBytes];
  };

  const twin = (): number[] => {
    const found: number[] = [];
    const stacks = new Map<number, { base: number; pointer: number }>();
    let largest = 0;
    const total = (): number =>
      [...stacks.values()].reduce((sum, { base, pointer }) => sum + base - pointer, 0);
    const lookAt = (thread: number, state: Uint8Array): void => {
      const view = new DataView(state.buffer, state.byteOffset);
      const pointer = Number(view.getBigUint64(RSP, true));
      const stack = stacks.get(thread) ?? { base: pointer, pointer };
      if (Math.abs(pointer - stack.pointer) > OTHER_STACK_BYTES)
        stack.base += pointer - stack.pointer;
      stack.pointer = pointer;
      stacks.set(thread, stack);
      largest = Math.max(largest, total());
    };
    const look = (): void => {
      if (replay.threadsNow().current) lookAt(replay.thread, replay.guest.state);
    };
    const replay = openReplay(trace, 0, {
      observer: {
        tables: [slices, thread_events],
        applied: (row: EventRow) => {
          // What the last instruction of the thread did that ran before.
          for (const { number, state } of replay.threadsNow().threads.values())
            if (stacks.has(number) && number !== replay.thread) lookAt(number, state);
          if (row.table === thread_events && row.name('op') === 'exit')
            stacks.delete(row.u32('thread'));
          else look();
          found.push(largest);
          largest = total();
        },
      },
    });
    const { guest } = replay;
    const write = guest.writeState.bind(guest);
    guest.writeState = (offset, size, bits) => {
      write(offset, size, bits);
      if (offset === RSP) look();
    };
    replay.runUntil(ticks, 'after', look);
    return [...found, largest];
  };

  const expected = twin();
  const ways: ((replay: ProcessReplay) => void)[] = [
    () => {},
    ({ guest }) => (guest.hotAfter = 0),
    (replay) => replay.runUntil(ticks, 'after', () => {}),
  ];
  for (const how of ways) assert.deepEqual(sizes(how), expected);
  // Three threads were deep at once.
  assert.ok(Math.max(...expected) > 600 * 1000);
  trace.close();
});
