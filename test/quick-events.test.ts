/**
 * What the native module does in the place of replay's own code: events between blocks, misses in heap blocks, columns
 * decompressed; each compared with that code.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import test from 'node:test';
import { PlainHeapMisses } from '../analyses/cache/plain-heap-misses.js';
import { CacheSites } from '../replay/code-tables.js';
import { GuestMemory } from '../replay/guest-memory.js';
import { NativeHeapMisses, type FoundMisses } from '../replay/heap-misses.js';
import { GRANULE_SIZE, MISS_ADDRESSES, MISS_COUNT, MISS_SITES } from '../replay/layout.js';
import { nativeEngine } from '../replay/native.js';
import { QUICK_TABLES } from '../replay/quick-events.js';
import { openReplay, type ProcessReplay } from '../replay/replay.js';
import { Trace } from '../replay/trace.js';
import type { Table } from '../schemas/schema.js';
import { record } from './guest.js';
import { randomOf } from './random.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
console.log(`seed ${seed}`);

const CACHE = { sizeBytes: 1024, ways: 2, lineBytes: 64 };

/** What a replay leaves: how often code ran, registers, memory, misses in heap blocks; and how many events it applied itself. */
function replayed(trace: Trace, process: number, observed: readonly Table[]) {
  const replay = openReplay(trace, process, {
    counts: true,
    cache: { I1: CACHE, D1: CACHE, LL: CACHE, branches: false, blocks: true },
    ...(observed.length > 0 && { observer: { tables: observed, applied() {} } }),
  });
  let applied = 0;
  const own = replay as unknown as { apply(cursor: { readonly table: Table }): void };
  const apply = own.apply.bind(replay);
  own.apply = (cursor) => {
    if ((QUICK_TABLES as readonly Table[]).includes(cursor.table)) applied++;
    apply(cursor);
  };
  replay.finish();
  const { blocks, count, executions } = replay.segments();
  const counts = new Map<number, bigint[]>();
  for (let i = 0; i < count; i++)
    if (executions[i]! > 0n)
      counts.set(blocks[i]!, [...(counts.get(blocks[i]!) ?? []), executions[i]!]);
  const { found, ...rest } = { found: replay.guest.cache!.blocks!.found(), ...stateOf(replay) };
  return { applied, ...rest, counts, misses: missesOf(found) };
}

const missesOf = ({ count, keys, counts }: FoundMisses): number[][] =>
  Array.from({ length: count }, (_, i) => [keys[i]!, ...counts.subarray(4 * i, 4 * i + 4)]);

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function stateOf(replay: ProcessReplay) {
  const { memory } = replay.guest;
  const { threads, current } = replay.threadsNow();
  const contents = [...memory.granules].flatMap(([granule, place]) => {
    const bytes = memory.bytes.slice(place, place + GRANULE_SIZE);
    return bytes.some((byte) => byte !== 0) ? [[granule, digestOf(bytes)] as const] : [];
  });
  return {
    tick: replay.tick,
    divergences: replay.divergences,
    memory: new Map(contents.sort(([a], [b]) => a - b)),
    registers: [...threads.values()].map(({ number, state, pc }) => [
      number,
      pc,
      digestOf(number === current?.number ? replay.guest.state : state),
    ]),
  };
}

for (const guest of ['heap.cpp', 'processes.c', 'threads.c', 'signals.c', 'jit.c', 'requests.c'])
  test(`${guest}: what the native module applies is what replay applies`, () => {
    // That the guest of signals goes on after a fault needs exact registers at it.
    const options = ['--valgrind-arg=--vex-iropt-register-updates=allregs-at-mem-access'];
    const recording = record([guest], { options });
    const trace = Trace.open(recording.folder);
    try {
      let [quickly, slowly] = [0, 0];
      for (const { process } of trace.processes) {
        const { applied: few, ...quick } = replayed(trace, process, []);
        const { applied: all, ...slow } = replayed(trace, process, QUICK_TABLES);
        assert.deepEqual(quick, slow);
        assert.deepEqual(quick.divergences, []);
        quickly += few;
        slowly += all;
      }
      assert.ok(quickly < slowly / 4, `${quickly} of ${slowly} events were left`);
    } finally {
      trace.close();
    }
  });

test('misses in heap blocks are attributed as by the plain code', () => {
  const random = randomOf(seed);
  const memory = new GuestMemory({ counts: true, shadow: false, cache: true });
  const sites = new CacheSites();
  for (let i = 0; i < 100; i++) sites.addOne(i, 0, 1 + random(2) + (random(4) === 0 ? 0x80 : 0), 0);
  const native = new NativeHeapMisses(nativeEngine!, memory, sites);
  const plain = new PlainHeapMisses();
  const addresses = new Uint32Array(memory.wasm.buffer, MISS_ADDRESSES, 2 << 10);
  const numbers = new Uint32Array(memory.wasm.buffer, MISS_SITES, 1 << 10);
  const base = 2 ** 40;
  const live = new Map<number, number>();
  for (let step = 0; step < 3000; step++) {
    const blocks = [...live];
    const isNear = (address: number, size: number): boolean =>
      blocks.some(([start, length]) => address < start + length + 16 && start < address + size);
    const count = random(20);
    for (let i = 0; i < count; i++) {
      const [start, size] = blocks[random(blocks.length + 1)] ?? [base, 0];
      const address = random(4) === 0 ? base + random(1 << 24) : start + random(size + 20);
      addresses[2 * i] = address % 2 ** 32;
      addresses[2 * i + 1] = Math.floor(address / 2 ** 32);
      numbers[i] = 4 * random(100) + random(4);
    }
    memory.view.setUint32(MISS_COUNT, count, true);
    plain.attribute({ count, addresses, sites: numbers }, sites);
    const size = random(10) === 0 ? random(1 << 20) : random(300);
    const address = base + 16 * random(1 << 20);
    const [old] = blocks[random(blocks.length + 1)] ?? [0];
    const call = {
      releases: false,
      known: true,
      address,
      size,
      previous: 0,
      stack: random(2 ** 32),
    };
    if (random(2) === 0) {
      const releases = { ...call, releases: true, address: old, known: random(8) > 0 };
      if (releases.known) live.delete(old);
      native.call(releases);
      plain.call(releases);
    } else if (!isNear(address, size)) {
      const previous = random(4) === 0 ? old : 0;
      live.delete(previous);
      live.set(address, size);
      native.call({ ...call, previous });
      plain.call({ ...call, previous });
    } else native.take();
    assert.equal(memory.view.getUint32(MISS_COUNT, true), 0);
  }
  const found = missesOf(plain.found());
  assert.ok(found.length > 1000);
  assert.deepEqual(missesOf(native.found()), found);
});

test('what LZ4 has compressed is decompressed; damage is refused, or changes the content alone', () => {
  const { compressSync } = createRequire(import.meta.url)('lz4-napi') as typeof import('lz4-napi');
  const random = randomOf(seed);
  for (let i = 0; i < 1000; i++) {
    const content = Buffer.alloc(1 + random(random(10) === 0 ? 100_000 : 2000));
    const letters = 1 + random(256);
    for (let at = 0, left = 0, byte = 0; at < content.length; at++) {
      if (left-- === 0) [left, byte] = [random(40), random(letters)];
      content[at] = random(5) === 0 ? random(letters) : byte;
    }
    const block = compressSync(content).subarray(4);
    const out = new Uint8Array(content.length);
    assert.ok(nativeEngine!.decompress(block, out));
    assert.equal(Buffer.compare(content, out), 0);
    for (const other of [-1, 1])
      assert.ok(!nativeEngine!.decompress(block, new Uint8Array(content.length + other)));
    assert.ok(!nativeEngine!.decompress(block.subarray(0, random(block.length)), out));
    const damaged = Buffer.from(block);
    for (let n = 0; n < 3; n++) damaged[random(damaged.length)] = random(256);
    // Beyond its room it must not write.
    const room = new Uint8Array(content.length + 64);
    nativeEngine!.decompress(damaged, room.subarray(32, 32 + content.length));
    assert.ok(room.subarray(0, 32).every((byte) => byte === 0));
    assert.ok(room.subarray(-32).every((byte) => byte === 0));
  }
});
