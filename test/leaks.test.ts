/** The leak check on heaps made by hand: states of blocks, heuristics, records, repeated checks. */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  LEAK_DEFAULTS,
  parseHeuristics,
  parseLeakCheck,
  parseLeakKinds,
} from '../analyses/memcheck/leaks.js';
import { UserError } from '../schemas/errors.js';
import {
  client_requests,
  mappings,
  signals,
  syscall_enters,
  thread_events,
} from '../schemas/tables.js';
import { Process, STACK_TOP } from './event-rows.js';

const DATA = 0x401000n;
const MC = 0x4d430000;
/** Every kind is shown. */
const ALL = { showKinds: parseLeakKinds('--show-leak-kinds', 'all') };

/** State of each block by its address. */
function states(process: Process): Record<string, string> {
  const report = process.events.finish(process.tick)!;
  return Object.fromEntries(
    report.blocks.map(({ block, state }) => [`0x${block.address.toString(16)}`, state]),
  );
}

test('A block is reached from data, from the stack, from registers and through blocks', () => {
  const p = new Process();
  for (const address of [0x5000n, 0x5100n, 0x5200n, 0x5300n, 0x5400n]) p.alloc(address, 64n);
  p.memory.store(DATA + 8n, 0x5000n);
  p.memory.store(STACK_TOP - 0x100n, 0x5100n);
  p.registers.set(1, 'RBX', 0x5200n);
  p.memory.store(0x5000n + 16n, 0x5300n);
  assert.deepEqual(states(p), {
    '0x5000': 'reachable',
    '0x5100': 'reachable',
    '0x5200': 'reachable',
    '0x5300': 'reachable',
    '0x5400': 'definite',
  });
});

test('Pointers that are undefined, unaligned, below the stack or read-only do not count', () => {
  const p = new Process();
  for (const address of [0x5000n, 0x5100n, 0x5200n, 0x5300n]) p.alloc(address, 64n);
  p.memory.store(DATA, 0x5000n);
  p.memory.setUndefinedBits(DATA + 3n, Uint8Array.of(1), 0);
  p.memory.write(DATA + 20n, new Uint8Array(BigUint64Array.of(0x5100n).buffer));
  p.memory.store(STACK_TOP - 0x800n, 0x5200n);
  p.memory.store(0x400000n, 0x5300n);
  assert.deepEqual(new Set(Object.values(states(p))), new Set(['definite']));
});

test('A pointer to the interior makes a block, and what only it points to, possibly lost', () => {
  const p = new Process();
  p.alloc(0x5000n, 64n);
  p.alloc(0x5100n, 64n);
  p.memory.store(DATA, 0x5010n);
  p.memory.store(0x5020n, 0x5100n);
  assert.deepEqual(states(p), { '0x5000': 'possible', '0x5100': 'possible' });
  p.memory.store(DATA + 8n, 0x5000n);
  assert.deepEqual(states(p), { '0x5000': 'reachable', '0x5100': 'reachable' });
});

test('The end of a block does not reach it; a block of no size is reached by its address', () => {
  const p = new Process();
  p.alloc(0x5000n, 16n);
  p.alloc(0x5100n, 0n);
  p.memory.store(DATA, 0x5010n, 0x5100n);
  assert.deepEqual(states(p), { '0x5000': 'definite', '0x5100': 'reachable' });
});

test('What only lost blocks point to is lost indirectly, also in cycles and over several leaders', () => {
  const p = new Process(ALL);
  // A chain whose head comes last, and a ring.
  for (const [i, size] of [10n, 20n, 30n].entries()) p.alloc(0x5000n + BigInt(i) * 0x100n, size);
  p.memory.store(0x5200n, 0x5100n);
  p.memory.store(0x5100n, 0x5000n);
  p.alloc(0x6000n, 16n);
  p.alloc(0x6100n, 16n);
  p.memory.store(0x6000n, 0x6100n);
  p.memory.store(0x6100n, 0x6000n);
  assert.deepEqual(states(p), {
    '0x5000': 'indirect',
    '0x5100': 'indirect',
    '0x5200': 'definite',
    '0x6000': 'definite',
    '0x6100': 'indirect',
  });
  assert.deepEqual(p.take(), [
    'Leak_IndirectlyLost: 10 bytes in 1 blocks are indirectly lost in loss record 1 of 5',
    'Leak_IndirectlyLost: 16 bytes in 1 blocks are indirectly lost in loss record 2 of 5',
    'Leak_IndirectlyLost: 20 bytes in 1 blocks are indirectly lost in loss record 3 of 5',
    'Leak_DefinitelyLost: 32 (16 direct, 16 indirect) bytes in 1 blocks are definitely lost in loss record 4 of 5',
    'Leak_DefinitelyLost: 60 (30 direct, 30 indirect) bytes in 1 blocks are definitely lost in loss record 5 of 5',
  ]);
  const { definite, indirect } = p.events.leaks.totals;
  assert.deepEqual(
    [definite, indirect],
    [
      { bytes: 46n, blocks: 2 },
      { bytes: 46n, blocks: 3 },
    ],
  );
});

test('Blocks of the same state and stack make one record; commas stand in large numbers', () => {
  const p = new Process();
  for (let i = 0n; i < 1200n; i++) p.alloc(0x100000n + i * 0x100n, 100n, 'malloc', 7);
  p.alloc(0x5000n, 8n, 'new', 8);
  p.events.finish(p.tick);
  assert.deepEqual(p.take(), [
    'Leak_DefinitelyLost: 8 bytes in 1 blocks are definitely lost in loss record 1 of 2',
    'Leak_DefinitelyLost: 120,000 bytes in 1,200 blocks are definitely lost in loss record 2 of 2',
  ]);
  const low = new Process({ resolution: 'low' });
  low.alloc(0x5000n, 8n, 'malloc', 7);
  low.alloc(0x5100n, 8n, 'malloc', 8);
  assert.equal(low.events.finish(0n)!.records.length, 2);
});

test('Heuristics explain interior pointers', () => {
  const p = new Process();
  const counts = () =>
    Object.fromEntries(
      Object.entries(p.events.leaks.totals.heuristics).map(([name, { blocks }]) => [name, blocks]),
    );
  p.alloc(0x5000n, 24n + 15n + 1n); // std::string: length, capacity, references, characters
  p.memory.store(0x5000n, 5n, 15n, 0n);
  p.alloc(0x5100n, 8n + 100n); // length64
  p.memory.store(0x5100n, 100n);
  p.alloc(0x5200n, 8n + 4n * 12n); // new[] of 4
  p.memory.store(0x5200n, 4n);
  // An object with two tables of virtual functions in the program's file.
  p.apply(mappings, {
    op: 'mmap',
    address: 0x700000n,
    size: 0x1000n,
    protection: 1,
    file: '/bin/program',
  });
  p.memory.store(0x700010n, 0x400010n, 0x400020n);
  p.memory.store(0x700110n, 0n, 0x400010n, 0x400020n);
  p.alloc(0x5300n, 48n);
  p.memory.store(0x5300n, 0x700010n);
  p.memory.store(0x5318n, 0x700110n);
  p.memory.store(DATA, 0x5018n, 0x5108n, 0x5208n, 0x5318n);
  assert.deepEqual(new Set(Object.values(states(p))), new Set(['reachable']));
  assert.deepEqual(counts(), { stdstring: 1, length64: 1, newarray: 1, multipleinheritance: 1 });
  const none = new Process({ heuristics: new Set() });
  none.alloc(0x5100n, 108n);
  none.memory.store(0x5100n, 100n);
  none.memory.store(DATA, 0x5108n);
  assert.deepEqual(states(none), { '0x5100': 'possible' });
});

test('Checks in the middle tell what increased or changed since the last', () => {
  const p = new Process();
  const check = (mode: number, delta: number) =>
    p.apply(client_requests, { code: MC + 6, arg1: mode, arg2: delta });
  p.alloc(0x5000n, 40n, 'malloc', 7);
  check(0, 0);
  assert.deepEqual(p.take(), [
    'Leak_DefinitelyLost: 40 bytes in 1 blocks are definitely lost in loss record 1 of 1',
  ]);
  check(0, 1);
  check(1, 0);
  assert.deepEqual(p.take(), []);
  p.alloc(0x5100n, 60n, 'malloc', 7);
  check(0, 1);
  assert.deepEqual(p.take(), [
    'Leak_DefinitelyLost: 100 (+60) bytes in 2 (+1) blocks are definitely lost in loss record 1 of 1',
  ]);
  p.free(0x5100n);
  check(0, 1);
  assert.deepEqual(p.take(), []);
  p.alloc(0x5200n, 1n, 'malloc', 7);
  p.free(0x5200n);
  p.free(0x5000n);
  p.alloc(0x5300n, 50n, 'malloc', 9);
  check(0, 2);
  assert.deepEqual(p.take(), [
    'Leak_DefinitelyLost: 0 (-40) bytes in 0 (-1) blocks are definitely lost in loss record 1 of 2',
    'Leak_DefinitelyLost: 50 (+50) bytes in 1 (+1) blocks are definitely lost in loss record 2 of 2',
  ]);
});

test('Superblocks of pools and of custom allocators are not searched for themselves', () => {
  const p = new Process();
  p.alloc(0x5000n, 0x400n);
  p.apply(client_requests, { code: 0x1301, arg1: 0x5010n, arg2: 0x20n });
  p.apply(client_requests, { code: 0x1301, arg1: 0x5080n, arg2: 0x20n });
  p.alloc(0x6000n, 0x400n);
  p.apply(client_requests, { code: 0x1303, arg1: 0x6000n });
  p.apply(client_requests, { code: 0x1305, arg1: 0x6000n, arg2: 0x6100n, arg3: 0x40n });
  p.memory.store(DATA, 0x5080n);
  assert.deepEqual(states(p), {
    '0x5010': 'definite',
    '0x5080': 'reachable',
    '0x6100': 'definite',
  });
});

test('Registers count of threads that live or that the end of the process ended', () => {
  const p = new Process();
  p.apply(mappings, { op: 'mmap', address: 0x800000n, size: 0x10000n, protection: 3 });
  for (const thread of [2, 3]) {
    p.apply(thread_events, { op: 'start', thread });
    p.startThread(thread, 0x808000n);
  }
  p.alloc(0x5000n, 8n);
  p.alloc(0x5100n, 8n);
  p.alloc(0x5200n, 8n);
  p.registers.set(1, 'R12', 0x5200n);
  p.registers.set(2, 'R12', 0x5000n);
  p.registers.set(3, 'R12', 0x5100n);
  p.apply(thread_events, { op: 'exit', thread: 2 });
  p.apply(syscall_enters, { number: 231 });
  p.apply(thread_events, { op: 'exit', thread: 3 });
  // The thread that ended the process has no registers any more.
  assert.deepEqual(states(p), {
    '0x5000': 'definite',
    '0x5100': 'reachable',
    '0x5200': 'definite',
  });
});

test('Of the threads that a signal ended no registers count', () => {
  const p = new Process();
  p.alloc(0x5000n, 8n);
  p.registers.set(1, 'R12', 0x5000n);
  p.apply(signals, { op: 'fatal', signal: 15 });
  assert.deepEqual(states(p), { '0x5000': 'definite' });
});

test('A suppressed record is counted apart', () => {
  const p = new Process();
  p.alloc(0x5000n, 40n);
  const { context } = p.events as unknown as { context: { isSuppressed: () => boolean } };
  context.isSuppressed = () => true;
  const report = p.events.finish(p.tick)!;
  assert.deepEqual(p.take(), []);
  assert.deepEqual(report.totals.suppressed, { bytes: 40n, blocks: 1 });
  assert.deepEqual(report.totals.definite, { bytes: 0n, blocks: 0 });
});

test('Options are checked', () => {
  assert.deepEqual(
    parseLeakKinds('--show-leak-kinds', 'definite,possible'),
    LEAK_DEFAULTS.showKinds,
  );
  assert.deepEqual(parseLeakKinds('--show-leak-kinds', 'none'), new Set());
  assert.equal(parseLeakCheck('yes'), 'full');
  assert.throws(() => parseLeakKinds('--show-leak-kinds', 'lost'), UserError);
  assert.throws(() => parseHeuristics('guess'), UserError);
  assert.throws(() => parseLeakCheck('maybe'), UserError);
});
