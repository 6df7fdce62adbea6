/** What each recorded event means for shadow memory and which errors it shows: rows made by hand. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Heap } from '../analyses/memcheck/heap.js';
import {
  blocks,
  client_requests,
  heap,
  mappings,
  memory,
  registers,
  signals,
  syscall_enters,
  syscall_exits,
  syscall_memory,
  thread_events,
} from '../schemas/tables.js';
import { Process, STACK_TOP } from './event-rows.js';

const MC = 0x4d430000;
const REQUEST = { malloclike: 0x1301, freelike: 0x1302, resize: 0x130b };

/** State of each byte of a range: `.` not accessible, `u` not defined, `d` defined. */
function shape(process: Process, address: bigint, size: number): string {
  return Array.from({ length: size }, (_, i) => {
    const bad = process.memory.firstUndefined(address + BigInt(i), 1n);
    return !bad ? 'd' : bad.accessible ? 'u' : '.';
  }).join('');
}

const request = (p: Process, code: number, ...args: (bigint | number)[]) =>
  p.apply(client_requests, {
    code,
    ...Object.fromEntries(args.map((value, i) => [`arg${i + 1}`, value])),
  });

test('Mappings decide what is accessible', () => {
  const p = new Process();
  const map = (op: string, address: bigint, protection: number) =>
    p.apply(mappings, { op, address, size: 16n, protection });
  map('mmap', 0x10000n, 3);
  map('mmap', 0x10010n, 0);
  assert.equal(shape(p, 0x10008n, 16), 'dddddddd........');
  p.memory.markUndefined(0x10008n, 4n, 0);
  map('mprotect', 0x10008n, 1);
  assert.equal(shape(p, 0x10008n, 20), 'uuuudddddddddddd....');
  map('mprotect', 0x10000n, 0);
  assert.equal(shape(p, 0x10008n, 5), 'uuuud');
  p.apply(mappings, { op: 'mremap', address: 0x20000n, size: 16n, source: 0x10000n });
  assert.equal(shape(p, 0x20008n, 9), 'uuuudddd.');
  map('munmap', 0x10000n, 0);
  assert.equal(shape(p, 0x10000n, 16), '.'.repeat(16));
  p.apply(mappings, { op: 'brk', address: 0x30000n, size: 32n, protection: 3 });
  p.apply(mappings, { op: 'brk_shrink', address: 0x30010n, size: 16n });
  assert.equal(shape(p, 0x30000n, 32), 'u'.repeat(16) + '.'.repeat(16));
});

test('A large range that was not accessible becomes so with mprotect', () => {
  const p = new Process();
  p.apply(mappings, { op: 'mmap', address: 0x100000n, size: 0x200000n, protection: 0 });
  p.memory.markUndefined(0x180010n, 8n, 0);
  p.apply(mappings, { op: 'mprotect', address: 0x100000n, size: 0x200000n, protection: 3 });
  assert.equal(p.memory.firstNoAccess(0x100000n, 0x200000n), undefined);
  assert.equal(p.memory.firstUndefined(0x100000n, 0x200000n)?.address, 0x180010n);
});

test('Below the stack pointer with its red zone the first stack is not accessible', () => {
  const p = new Process();
  const sp = STACK_TOP - 0x400n;
  assert.equal(p.memory.firstNoAccess(sp - 128n, 0x400n + 128n), undefined);
  assert.equal(p.memory.firstNoAccess(sp - 129n, 1n), sp - 129n);
});

test('Heap blocks: undefined, zeroed, copied, freed', () => {
  const p = new Process();
  p.alloc(0x5000n, 8n, 'malloc', 77);
  assert.equal(shape(p, 0x4ff0n, 40), '.'.repeat(16) + 'u'.repeat(8) + '.'.repeat(16));
  assert.equal(p.memory.firstUndefined(0x5000n, 1n)?.origin, 77 * 4 + 2);
  p.alloc(0x6000n, 8n, 'calloc');
  assert.equal(shape(p, 0x5ff8n, 24), '........dddddddd........');
  p.memory.store(0x5000n, 1n);
  p.apply(heap, { op: 'realloc', address: 0x7000n, size: 12n, previous: 0x5000n, known: 1 });
  assert.equal(shape(p, 0x7000n, 16), 'dddddddduuuu....');
  assert.equal(shape(p, 0x5000n, 8), '........');
  p.apply(heap, { op: 'realloc', address: 0x8000n, size: 4n, previous: 0x7000n, known: 1 });
  assert.equal(shape(p, 0x8000n, 8), 'dddd....');
  p.free(0x8000n);
  assert.equal(shape(p, 0x8000n, 4), '....');
  assert.deepEqual(p.take(), []);
  const { allocations, frees, allocatedBytes } = p.events.heap;
  assert.deepEqual([allocations, frees, allocatedBytes], [4, 3, 32n]);
  assert.deepEqual(p.events.heap.inUse(), { bytes: 8n, blocks: 1 });
});

test('Wrong frees are told with what the address was', () => {
  const p = new Process();
  p.alloc(0x5000n, 40n);
  p.free(0x5008n);
  assert.deepEqual(p.said(), ["Address 0x5008 is 8 bytes inside a block of size 40 alloc'd"]);
  p.free(0x5000n);
  p.free(0x5000n);
  assert.deepEqual(p.said(), [
    "Address 0x5000 is 0 bytes inside a block of size 40 free'd",
    "Block was alloc'd at",
  ]);
  p.free(0x5037n);
  assert.deepEqual(p.said()[0], "Address 0x5037 is 15 bytes after a block of size 40 free'd");
  p.free(0x4fefn);
  assert.deepEqual(p.said(), ["Address 0x4fef is not stack'd, malloc'd or (recently) free'd"]);
  p.free(0x401010n);
  assert.deepEqual(p.said(), ['Address 0x401010 is in a rw- mapped file /bin/program segment']);
  p.apply(heap, { op: 'realloc', previous: 0x5004n, size: 10n });
  const wrong = 'InvalidFree: Invalid free() / delete / delete[] / realloc()';
  assert.deepEqual(
    p.take(),
    Array.from({ length: 6 }, () => wrong),
  );
  p.alloc(0x6000n, 1n, 'new_array');
  p.free(0x6000n, 'delete');
  assert.deepEqual(p.said(), ["Address 0x6000 is 0 bytes inside a block of size 1 alloc'd"]);
  p.alloc(0x6100n, 8n, 'new');
  p.apply(heap, { op: 'realloc', address: 0x6200n, previous: 0x6100n, size: 9n, known: 1 });
  const mismatch = 'MismatchedFree: Mismatched free() / delete / delete []';
  assert.deepEqual(p.take(), [mismatch, mismatch]);
});

test('Sizes that seem negative are told; the allocation failed', () => {
  const p = new Process();
  const size = 2n ** 64n - 3n;
  p.alloc(0n, size);
  p.alloc(0n, size, 'new');
  p.apply(heap, { op: 'new_array', size, alignment: 64n });
  const calloc = (count: bigint, each: bigint) =>
    p.apply(heap, { op: 'calloc', size: count * each, count, element_size: each });
  calloc(size, 1n);
  calloc(0n, size);
  const say = (argument: string, name: string) =>
    `FishyValue: Argument '${argument}' of function ${name} has a fishy (possibly negative) value: -3`;
  assert.deepEqual(p.take(), [
    say('size', 'malloc'),
    say('size', '__builtin_new'),
    say('size', '__builtin_vec_new_aligned'),
    say('nmemb', 'calloc'),
    say('size', 'calloc'),
  ]);
  assert.equal(p.events.heap.allocations, 0);
});

test('Freed blocks leave the quarantine when its volume is exceeded, big ones first', () => {
  const heapOf = () => new Heap({ volumeBytes: 100n, bigBlockBytes: 50n });
  const at = { tick: 0n, thread: 1, stack: 1 };
  const make = (h: Heap, address: bigint, sizeBytes: bigint) =>
    h.allocate({
      address,
      sizeBytes,
      alignment: 0n,
      kind: 'malloc',
      op: 'malloc',
      allocated: at,
    });
  const h = heapOf();
  const sizes = [40n, 40n, 60n];
  const made = sizes.map((size, i) => make(h, 0x1000n * BigInt(i + 1), size));
  for (const block of made) h.release(h.live.take(block.address)!, at);
  const known = () => made.map(({ address }) => h.freedNear(address) !== undefined);
  assert.deepEqual(known(), [true, true, true]);
  make(h, 0x9000n, 1n);
  assert.deepEqual(known(), [true, true, false]);
  assert.equal(h.formerBlocks(0x3001n).length, 1);
  // Memory that is used again is not told of as freed; its former blocks are remembered.
  make(h, 0x1000n, 8n);
  h.release(h.live.take(0x1000n)!, at);
  make(h, 0x1000n, 16n);
  assert.equal(h.freedNear(0x1000n), undefined);
  assert.deepEqual(
    h.formerBlocks(0x1000n).map(({ sizeBytes }) => sizeBytes),
    [8n, 40n],
  );
});

test('Custom allocators and pools', () => {
  const p = new Process();
  p.apply(mappings, { op: 'mmap', address: 0x10000n, size: 0x1000n, protection: 3 });
  request(p, REQUEST.malloclike, 0x10010n, 8n, 4n, 0n);
  assert.equal(shape(p, 0x1000bn, 18), 'd....uuuuuuuu....d');
  request(p, REQUEST.malloclike, 0x10040n, 8n, 0n, 1n);
  assert.equal(shape(p, 0x10040n, 8), 'dddddddd');
  request(p, REQUEST.resize, 0x10040n, 8n, 12n, 2n);
  assert.equal(shape(p, 0x10040n, 15), 'dddddddduuuu..d');
  request(p, REQUEST.resize, 0x10040n, 12n, 4n, 2n);
  assert.equal(shape(p, 0x10040n, 15), 'dddd..........d');
  request(p, REQUEST.resize, 0x10040n, 12n, 4n, 2n);
  request(p, REQUEST.freelike, 0x10010n, 4n);
  assert.equal(shape(p, 0x1000bn, 18), 'd................d');
  request(p, REQUEST.freelike, 0x10010n, 4n);
  assert.equal(p.take().length, 2);
  p.free(0x10040n);
  assert.deepEqual(p.take(), ['MismatchedFree: Mismatched free() / delete / delete []']);

  const pool = 0x10800n;
  request(p, 0x1303, pool, 4n, 0n);
  request(p, 0x1305, pool, 0x10810n, 8n);
  assert.equal(shape(p, 0x1080bn, 18), 'd....uuuuuuuu....d');
  request(p, MC + 4, 0x1080en, 4n);
  assert.deepEqual(p.said(), [
    'Address 0x1080e is 2 bytes before a block of size 8 client-defined',
  ]);
  request(p, 0x1309, pool, 0x10810n, 0x10820n, 8n);
  request(p, 0x1306, pool, 0x10810n);
  request(p, 0x1306, pool, 0x10820n);
  request(p, 0x1306, 0x999n, 0x10820n);
  assert.deepEqual(
    p.take().map((text) => text.split(':')[0]),
    ['ClientCheck', 'InvalidFree', 'InvalidMemPool'],
  );
  request(p, 0x1308, pool, 0x10900n);
  for (const address of [0x10910n, 0x10930n, 0x10950n]) request(p, 0x1305, 0x10900n, address, 16n);
  request(p, 0x1307, 0x10900n, 0x10938n, 0x18n);
  const [kept] = [...p.events.heap.pools.values()].map((each) => [...each.blocks]);
  assert.deepEqual(
    kept!.map(({ address }) => address),
    [0x10938n],
  );
  request(p, 0x1304, 0x10900n);
  assert.equal(p.events.heap.pools.size, 0);
  assert.deepEqual(p.take(), []);
});

test('A pool that frees by itself releases the blocks within', () => {
  const p = new Process();
  p.alloc(0x5000n, 0x400n);
  request(p, 0x1303, 0x5000n, 0n, 0n, 3n);
  request(p, 0x1305, 0x5000n, 0x5000n, 0x100n);
  request(p, REQUEST.malloclike, 0x5010n, 16n, 0n, 0n);
  assert.match(
    p.events.describe(0x5011n).stacks[0]!.role,
    /1 bytes inside a block of size 16 alloc/,
  );
  assert.match(p.events.describe(0x5080n).stacks[0]!.role, /inside a block of size 1,024 alloc/);
  request(p, 0x1306, 0x5000n, 0x5000n);
  assert.equal(p.events.heap.live.get(0x5010n), undefined);
  assert.deepEqual(p.take(), []);
});

test('Requests set and check what is accessible and defined', () => {
  const p = new Process();
  p.alloc(0x5000n, 32n);
  request(p, MC + 2, 0x5000n, 8n);
  request(p, MC + 0, 0x5010n, 8n);
  request(p, MC + 11, 0x5008n, 12n);
  assert.equal(shape(p, 0x5000n, 32), 'd'.repeat(16) + '.'.repeat(8) + 'u'.repeat(8));
  request(p, MC + 1, 0x5004n, 4n);
  request(p, MC + 5, 0x5000n, 32n);
  assert.equal(
    p.found[0]!.stacks.at(-1)!.role,
    'Uninitialised value was created by a client request',
  );
  assert.deepEqual(p.take(), [
    'ClientCheck: Uninitialised byte(s) found during client check request',
    'ClientCheck: Unaddressable byte(s) found during client check request',
  ]);
  request(p, MC + 5, 0x5008n, 8n);
  request(p, MC + 4, 0x5000n, 16n);
  assert.deepEqual(p.take(), []);
  request(p, MC + 4, 2n ** 63n, 1n);
  request(p, MC + 5, 2n ** 63n, 1n);
  assert.equal(p.take().length, 2);
  p.memory.write(0x5008n, Uint8Array.of(0x0f));
  request(p, MC + 9, 0x5000n, 0x5008n, 1n);
  assert.deepEqual(p.memory.undefinedBits(0x5000n, 1), Uint8Array.of(0x0f));
});

test('Named blocks, ranges without judgement, disabled errors, overlaps', () => {
  const p = new Process();
  p.apply(client_requests, { code: MC + 10, arg1: 0x5000n, arg2: 16n, text: 'table' });
  assert.deepEqual(
    p.events.describe(0x5004n).stacks.map(({ role }) => role),
    ['Address 0x5004 is 4 bytes inside a table of size 16 client-defined'],
  );
  request(p, MC + 3, 0n, 0n);
  assert.equal(p.events.describe(0x5004n).stacks.length, 0);
  request(p, MC + 14, 0x6000n, 0x100n);
  request(p, MC + 13, 0x6010n, 0x10n);
  assert.deepEqual(
    [0x5fffn, 0x6000n, 0x6010n, 0x6020n, 0x6100n].map((a) => p.events.isIgnored(a)),
    [false, true, false, true, false],
  );
  request(p, 0x1801, 1n);
  p.free(0x123n);
  request(p, 0x1801, 2n ** 64n - 1n);
  assert.deepEqual(p.take(), []);
  const overlap = { code: MC + 256, arg2: 0x10n, arg3: 0x14n, text: 'memcpy' };
  p.apply(client_requests, { ...overlap, arg4: 8n });
  p.apply(client_requests, overlap);
  assert.deepEqual(p.take(), [
    'Overlap: Source and destination overlap in memcpy(0x10, 0x14, 8)',
    'Overlap: Source and destination overlap in memcpy(0x10, 0x14)',
  ]);
});

test('Parameters of system calls', () => {
  const p = new Process();
  p.alloc(0x5000n, 16n, 'malloc', 5);
  p.memory.store(0x5000n, 0x41424344n);
  p.apply(syscall_enters, { number: 1, call: 1, stack: 99 });
  const memoryRow = (direction: string, address: bigint, size: bigint, parameter = 'f(x)') =>
    p.apply(syscall_memory, { direction, address, size, parameter });
  memoryRow('read', 0x5000n, 8n);
  memoryRow('read_string', 0x5000n, 5n);
  memoryRow('may_write', 0x5000n, 16n);
  assert.deepEqual(p.take(), []);
  memoryRow('read', 0x5000n, 16n, 'write(buf)');
  assert.equal(p.found[0]!.parameter, 'write(buf)');
  assert.deepEqual(p.found[0]!.stacks[0]!.pcs[0], 99n);
  assert.deepEqual(p.said(), [
    "Address 0x5008 is 8 bytes inside a block of size 16 alloc'd",
    'Uninitialised value was created by a heap allocation',
  ]);
  memoryRow('may_write', 0x5008n, 9n, 'read(buf)');
  memoryRow('read_string', 0n, 0n, 'open(filename)');
  memoryRow('read', 2n ** 64n - 1n, 8192n, 'writev(vector[...])');
  assert.deepEqual(p.take(), [
    'SyscallParam: Syscall param write(buf) points to uninitialised byte(s)',
    'SyscallParam: Syscall param read(buf) points to unaddressable byte(s)',
    'SyscallParam: Syscall param open(filename) points to unaddressable byte(s)',
    'SyscallParam: Syscall param writev(vector[...]) points to unaddressable byte(s)',
  ]);
  memoryRow('write', 0x5008n, 8n, '');
  assert.equal(shape(p, 0x5008n, 8), 'dddddddd');
  p.registers.markUndefined(1, 'RDI');
  const offset = (name: string) => BigInt(p.registers.registerOffset(name));
  memoryRow('register', offset('RDI'), 8n, 'close(fd)');
  memoryRow('register', offset('RSI'), 8n, 'close(fd)');
  assert.deepEqual(p.take(), [
    'SyscallParam: Syscall param close(fd) contains uninitialised byte(s)',
  ]);
  p.registers.markUndefined(1, 'RAX');
  p.apply(syscall_exits, { call: 1 });
  assert.ok(p.registers.isDefined(1, 'RAX'));
});

test('Registers that the engine changes become defined; a signal keeps the others as they are', () => {
  const p = new Process();
  const names = ['RAX', 'RBX', 'RDI'];
  const definedOnes = () => names.map((name) => p.registers.isDefined(1, name));
  for (const name of names) p.registers.markUndefined(1, name);
  const changes = BigUint64Array.of(BigInt(p.registers.registerOffset('RAX')), 5n);
  p.apply(registers, { changes: new Uint8Array(changes.buffer) });
  assert.deepEqual(definedOnes(), [true, false, false]);

  const frame = STACK_TOP - 0x800n;
  p.apply(signals, { op: 'deliver', signal: 10, pc: 0x400010n });
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  view.setUint32(16, 0x31415927, true);
  view.setUint32(56, 0x27182818, true);
  p.apply(memory, { cause: 'signal', op: 'bytes', address: frame, size: 64, bytes });
  const all = BigUint64Array.from(
    names.flatMap((name) => [BigInt(p.registers.registerOffset(name)), 1n]),
  );
  const full = { full: 1, changes: new Uint8Array(all.buffer) };
  p.apply(registers, full);
  assert.deepEqual(definedOnes(), [true, false, true]);
  assert.equal(shape(p, frame, 64), 'd'.repeat(16) + '.'.repeat(48));
  p.registers.markUndefined(1, 'RAX');
  p.registers.set(1, 'RSP', frame + 8n);
  p.apply(signals, { op: 'return', pc: 0x400010n });
  p.apply(registers, full);
  assert.deepEqual(definedOnes(), [true, false, false]);
  assert.equal(shape(p, frame, 64), '.'.repeat(64));
});

test('Jumps to where no code is', () => {
  const p = new Process();
  p.apply(signals, { op: 'deliver', signal: 11, pc: 0n, fault: 1 });
  assert.deepEqual(p.said(), ["Address 0x0 is not stack'd, malloc'd or (recently) free'd"]);
  p.apply(signals, { op: 'fatal', signal: 11, pc: 0x400010n });
  p.apply(blocks, { address: 0x400010n });
  p.alloc(0x5000n, 8n);
  p.apply(blocks, { address: 0x5000n });
  const what = 'InvalidJump: Jump to the invalid address stated on the next line';
  assert.deepEqual(p.take(), [what, what]);
});

test('Errors of compiled code are put into words, and addresses are described', () => {
  const p = new Process();
  p.apply(mappings, { op: 'mmap', address: 0x800000n, size: 0x1000n, protection: 0 });
  p.apply(mappings, { op: 'mmap', address: 0x801000n, size: 0x10000n, protection: 3 });
  p.apply(thread_events, { op: 'start', thread: 2 });
  p.startThread(2, 0x80f010n);
  p.alloc(0x5000n, 40n);
  const sp = STACK_TOP - 0x400n;
  const event = {
    ...{ kind: 'no_access' as const, store: true, use: 'value' as const, sizeBytes: 8 },
    ...{ origin: 0, pc: 1n, tick: 3n, sp },
  };
  const said = (address: bigint, pc = address) => {
    p.events.report({ ...event, address, pc, stack: () => [pc] }, 1);
    return p.said()[0];
  };
  const at = (address: bigint) => `Address 0x${address.toString(16)} is`;
  assert.equal(said(0x5028n), "Address 0x5028 is 0 bytes after a block of size 40 alloc'd");
  assert.equal(said(sp + 8n), `${at(sp + 8n)} on thread 1's stack`);
  assert.equal(said(sp - 0x200n), `${at(sp - 0x200n)} on thread 1's stack`);
  assert.deepEqual(p.said()[1], '512 bytes below stack pointer');
  assert.deepEqual(said(0x80f000n - 0x800n), "Address 0x80e800 is on thread 2's stack");
  assert.equal(said(0x800ff0n), "Address 0x800ff0 is on thread 2's stack");
  assert.equal(p.said()[1], 'In stack guard protected page, 57376 bytes below stack pointer');
  p.apply(mappings, { op: 'brk', address: 0x30000n, size: 32n, protection: 3 });
  assert.equal(said(0x30008n), 'Address 0x30008 is in the brk data segment 0x30000-0x3001f');
  assert.equal(
    said(0x30028n),
    'Address 0x30028 is 8 bytes after the brk data segment limit 0x30020',
  );
  p.take();
  said(0x5028n);
  p.events.report({ ...event, kind: 'undefined', address: 0n, origin: 14, stack: () => [] }, 1);
  assert.equal(p.said()[0], 'Uninitialised value was created by a heap allocation');
  const condition = { ...event, kind: 'undefined' as const, use: 'condition' as const };
  p.events.report({ ...condition, address: 0n, stack: () => [] }, 1);
  assert.deepEqual(p.take(), [
    'InvalidWrite: Invalid write of size 8',
    'UninitValue: Use of uninitialised value of size 8',
    'UninitCondition: Conditional jump or move depends on uninitialised value(s)',
  ]);
});

test('Stacks that the program registers have numbers as the engine gives them', () => {
  const p = new Process();
  request(p, 0x1501, 0x9000n, 0x9fffn);
  request(p, 0x1501, 0xafffn, 0xa000n);
  const ranges = () => p.events.space.stacks.map(({ start, end }) => [start, end]);
  assert.deepEqual(ranges().slice(0, 2), [
    [0xa000n, 0xafffn],
    [0x9000n, 0x9fffn],
  ]);
  request(p, 0x1503, 1n, 0x8000n, 0x8fffn);
  request(p, 0x1502, 2n);
  assert.deepEqual(ranges()[0], [0x8000n, 0x8fffn]);
});

test('Rows that cannot be are taken without harm', () => {
  const p = new Process();
  const huge = 2n ** 64n - 16n;
  p.apply(mappings, { op: 'munmap', address: huge, size: huge });
  p.apply(heap, { op: 'malloc', address: huge, size: 100n });
  p.apply(heap, { op: 'unknown', address: 1n });
  p.apply(syscall_memory, { direction: 'read', address: huge, size: huge });
  p.apply(signals, { op: 'return' });
  p.apply(memory, { cause: 'signal', op: 'bytes', address: huge, bytes: 'short' });
  request(p, REQUEST.freelike, huge, 1n);
  request(p, 0x1307, 1n, 1n, 1n);
  p.events.finish(0n);
});
