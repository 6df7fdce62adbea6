/** A stand-in for replay: delivers made-up accesses in batches, the same each time. */
import type { OpenReplay } from '../replay/scan-accesses.js';
import { TalliedReplay } from '../replay/tally.js';
import type { AccessBatch, Replay, ReplayOptions, SiteTable } from '../replay/types.js';

const SIZES = [1, 2, 4, 8, 16, 32];

export const SITES: SiteTable = {
  count: 24,
  pcs: BigUint64Array.from({ length: 24 }, (_, i) => 0x40_0000n + BigInt(i)),
  blocks: new Uint32Array(24),
  sizes: Uint16Array.from({ length: 24 }, (_, i) => SIZES[i % 6]!),
  stores: Uint8Array.from({ length: 24 }, (_, i) => (i >> 1) & 1),
  atomics: Uint8Array.from({ length: 24 }, (_, i) => (i >> 3) & 1),
  guarded: new Uint8Array(24),
};

/** A small generator of numbers that look random. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/**
 * Batches of one process. Addresses stand around 2^32 and 2^63, where comparisons of halves can go
 * wrong.
 */
export function makeBatches(process: number, batches: number, perBatch: number): AccessBatch[] {
  const random = randomNumbers(process + 1);
  let tick = 0n;
  return Array.from({ length: batches }, () => {
    const count = random(perBatch + 1);
    const wide: number[] = [];
    const batch = {
      process,
      thread: 1 + random(3),
      count,
      ticks: new BigUint64Array(count),
      sites: new Uint32Array(count),
      addresses: new BigUint64Array(count),
      values: new BigUint64Array(count),
    };
    for (let i = 0; i < count; i++) {
      tick += BigInt(random(3));
      const site = random(SITES.count);
      batch.ticks[i] = tick;
      batch.sites[i] = site;
      batch.addresses[i] = [1n << 32n, 1n << 63n, 100n][random(3)]! + BigInt(random(64)) - 32n;
      batch.values[i] = (BigInt(random(2 ** 31)) << 33n) | BigInt(random(2 ** 31));
      if (SITES.sizes[site]! > 8)
        for (let k = 0; k < SITES.sizes[site]!; k++) wide.push(random(256));
    }
    return { ...batch, wide: Uint8Array.from(wide) };
  });
}

/** Opens replays of `makeBatches`, and notes the options that they were opened with. */
export function fakeReplay(batches: number, perBatch: number) {
  const opened: (ReplayOptions & { process: number })[] = [];
  const openReplay: OpenReplay = (_, process, options) => {
    opened.push({ process, ...options });
    const { fromTick = 0n, toTick = 1n << 63n } = options;
    // Real replay may leave out whole stretches, and does so by batch.
    const left = makeBatches(process, batches, perBatch).filter(
      ({ ticks, count }) => count > 0 && ticks[count - 1]! >= fromTick && ticks[0]! <= toTick,
    );
    const replay: Replay = {
      sites: SITES,
      segments: () => ({
        count: 2,
        blocks: Uint32Array.of(1, 1),
        addresses: BigUint64Array.of(0n, 0n),
        instructions: Uint32Array.of(1, 1),
        accesses: Uint32Array.of(0, 0),
        executions: BigUint64Array.of(7n, 5n),
      }),
      nextAccesses: () => left.shift(),
      finish: () => undefined,
    };
    return options.tallied ? new TalliedReplay(replay) : replay;
  };
  return { openReplay, opened };
}

/** The rows that `select * from accesses` must give. */
export function expectedRows(processes: readonly number[], batches: number, perBatch: number) {
  return processes.flatMap((process) =>
    makeBatches(process, batches, perBatch).flatMap((batch) => {
      let wide = 0;
      return Array.from({ length: batch.count }, (_, i) => {
        const site = batch.sites[i]!;
        const size = SITES.sizes[site]!;
        const bytes =
          size > 8 ? Buffer.from(batch.wide.subarray(wide, (wide += size))).toString('hex') : null;
        return {
          process,
          tick: batch.ticks[i]!,
          thread: batch.thread,
          pc: SITES.pcs[site]!,
          kind: SITES.stores[site] ? 'store' : 'load',
          atomic: SITES.atomics[site] === 1,
          addr: batch.addresses[i]!,
          size,
          value: batch.values[i]!,
          bytes,
        };
      });
    }),
  );
}
