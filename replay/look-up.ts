/**
 * Looks up the accesses to a small range of addresses on all cores: a long replay is cut at keyframes,
 * and each part is replayed by a worker that keeps only the rows in the range. What is found stands in
 * for a replay, so that the scan of `accesses` does not know the difference.
 */
import { availableParallelism } from 'node:os';
import { keyframes } from '../schemas/tables.js';
import type { Job } from './replay-worker.js';
import { openReplay } from './replay.js';
import { takeWorker } from './spare-workers.js';
import type { Trace, ProcessRow } from './trace.js';
import type { AccessBatch, Replay, SiteTable } from './types.js';

/** Shorter replays are not worth the start of a worker. */
const FEWEST_TICKS = 200_000_000n;
/** More rows than this per worker, and the look-up is left to an ordinary scan. */
const MOST_ROWS = 1 << 18;

/** What one worker does: the accesses of a process in [fromTick, toTick) that begin in a range. */
export interface Part {
  readonly process: number;
  readonly addresses: readonly [bigint, bigint];
  readonly fromTick: bigint;
  readonly toTick: bigint;
}

/** Rows found, one after the other, each with what its site says. */
interface Found {
  readonly rows: readonly FoundBatch[];
  readonly divergences: readonly string[];
  /** There were too many. */
  readonly cut: boolean;
}

interface FoundBatch {
  readonly batch: AccessBatch;
  readonly sites: SiteTable;
}

/** By process: begins a replay that delivers what was found. */
export type FoundReplays = Map<number, () => Replay>;

/**
 * Replays that deliver the accesses of `processes` within a range of addresses (inclusive), found in
 * parallel up to a tick; none for those that are too short, or have too many such accesses.
 */
export async function lookUp(
  trace: Trace,
  processes: readonly ProcessRow[],
  addresses: readonly [bigint, bigint],
  lastTick: bigint,
): Promise<FoundReplays> {
  const found: FoundReplays = new Map();
  const workers = availableParallelism();
  if (workers < 2) return found;
  for (const { process, ticks: all } of processes) {
    const ticks = all <= lastTick ? all : lastTick + 1n;
    if (ticks < FEWEST_TICKS) continue;
    const cuts = cutsOf(trace, process, ticks, workers);
    if (cuts.length < 3) continue;
    const parts = cuts.slice(0, -1).map((fromTick, i) => {
      return { process, addresses, fromTick, toTick: cuts[i + 1]! };
    });
    const results = await Promise.all(parts.map((part) => runWorker(trace, part)));
    for (const sentence of results.flatMap((result) => result.divergences)) {
      trace.noteDivergence(sentence);
    }
    if (results.some((result) => result.cut)) continue;
    const rows = results.flatMap((result) => result.rows);
    found.set(process, () => new FoundReplay(rows));
  }
  return found;
}

/** Ticks at which a process is cut into about equal parts: keyframes, the beginning and the end. */
function cutsOf(trace: Trace, process: number, ticks: bigint, parts: number): bigint[] {
  const marks = [...trace.rows(keyframes, process)].map((row) => row.tick);
  const cuts = [0n];
  for (let i = 1; i < parts; i++) {
    const ideal = (ticks * BigInt(i)) / BigInt(parts);
    const nearest = marks.findLast((tick) => tick <= ideal);
    if (nearest !== undefined && nearest > cuts.at(-1)!) cuts.push(nearest);
  }
  return [...cuts, ticks + 1n];
}

function runWorker(trace: Trace, part: Part): Promise<Found> {
  return new Promise((resolve, reject) => {
    const worker = takeWorker(trace);
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.ref();
    const job: Job = { search: part };
    worker.postMessage(job);
  });
}

/** Delivers batches that were found before. */
class FoundReplay implements Replay {
  sites: SiteTable = NO_SITES;
  private next = 0;

  constructor(private readonly rows: readonly FoundBatch[]) {}

  segments(): never {
    throw new Error('a look-up counts nothing');
  }

  nextAccesses(): AccessBatch | undefined {
    const found = this.rows[this.next++];
    if (found) this.sites = found.sites;
    return found?.batch;
  }

  finish(): void {
    this.next = this.rows.length;
  }
}

const NO_SITES: SiteTable = {
  count: 0,
  pcs: new BigUint64Array(0),
  blocks: new Uint32Array(0),
  sizes: new Uint16Array(0),
  stores: new Uint8Array(0),
  atomics: new Uint8Array(0),
  guarded: new Uint8Array(0),
};

// ---- In the worker ----

/** Finds the accesses of one part. */
export function search(trace: Trace, { process, addresses, fromTick, toTick }: Part): Found {
  const replay = openReplay(trace, process, {
    accesses: true,
    addresses,
    ...(fromTick > 0n && { fromTick }),
    toTick,
  });
  const rows: FoundBatch[] = [];
  let count = 0;
  let batch: AccessBatch | undefined;
  while (count <= MOST_ROWS && (batch = replay.nextAccesses())) {
    const found = keep(batch, replay.sites, fromTick, toTick);
    if (found.batch.count === 0) continue;
    rows.push(found);
    count += found.batch.count;
  }
  trace.close();
  return { rows, divergences: replay.divergences, cut: count > MOST_ROWS };
}

/** A copy of the rows of a batch whose tick is in [from, to), each with a site of its own. */
function keep(batch: AccessBatch, sites: SiteTable, from: bigint, to: bigint): FoundBatch {
  let first = 0;
  let end = batch.count;
  let wideStart = 0;
  while (first < end && batch.ticks[first]! < from) {
    const size = sites.sizes[batch.sites[first]!]!;
    if (size > 8) wideStart += size;
    first++;
  }
  while (end > first && batch.ticks[end - 1]! >= to) end--;
  const chosen = batch.sites.slice(first, end);
  const pick = <T extends { [i: number]: bigint | number }>(from: T, into: T): T => {
    chosen.forEach((site, i) => (into[i] = from[site]!));
    return into;
  };
  const count = end - first;
  return {
    batch: {
      process: batch.process,
      thread: batch.thread,
      count,
      ticks: batch.ticks.slice(first, end),
      sites: Uint32Array.from({ length: count }, (_, i) => i),
      addresses: batch.addresses.slice(first, end),
      values: batch.values.slice(first, end),
      wide: batch.wide.slice(wideStart),
    },
    sites: {
      count,
      pcs: pick(sites.pcs, new BigUint64Array(count)),
      blocks: pick(sites.blocks, new Uint32Array(count)),
      sizes: pick(sites.sizes, new Uint16Array(count)),
      stores: pick(sites.stores, new Uint8Array(count)),
      atomics: pick(sites.atomics, new Uint8Array(count)),
      guarded: pick(sites.guarded, new Uint8Array(count)),
    },
  };
}
