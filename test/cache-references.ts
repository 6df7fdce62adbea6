/**
 * What a program refers to in caches, from its path and its accesses: independent of what simulates caches. And what a
 * replay that simulates them counts.
 */
import assert from 'node:assert/strict';
import { countsByInstruction, EVENT, EVENT_COUNT } from '../analyses/cache/counts.js';
import type { Model } from '../analyses/cache/model.js';
import type { CacheHooks } from '../replay/cache-guest.js';
import { openReplay } from '../replay/replay.js';
import { Trace } from '../replay/trace.js';
import type { ReplayOptions } from '../replay/types.js';
import { record, type Recording } from './guest.js';

const recordings = new Map<string, Recording>();
/** The recording of a guest, which is made once. */
export function recordingOf(guest: string): Recording {
  let known = recordings.get(guest);
  if (!known) recordings.set(guest, (known = record([guest])));
  return known;
}

export interface Reference {
  readonly pc: bigint;
  /** Of the instruction. */
  readonly tick: number;
  readonly event: number;
  readonly address: bigint;
  readonly size: number;
}

/**
 * What the program refers to, in order: from each instruction, and each row of accesses.
 * @param withModified - also stores of what the instruction just read, which are no references for Cachegrind
 */
export function referencesOf(recording: Recording, withModified = false): Reference[] {
  const lengths = new Map(
    recording
      .query(
        "select distinct pc, regexp_extract(text, 'IMark.*, (\\d+), 0', 1)::int length from ir where text like '%IMark%'",
      )
      .map((row) => [row['pc'] as bigint, Number(row['length'])]),
  );
  const trace = Trace.open(recording.folder);
  const references: Reference[] = [];
  try {
    const path: bigint[] = [];
    openReplay(trace, 0).runUntil(2n ** 62n, 'after', (pc) => path.push(pc));
    const replay = openReplay(trace, 0, { accesses: true });
    let tick = -1;
    /** The access before, while it is a read of the same instruction. */
    let read: { address: bigint; size: number } | undefined;
    const fetchTo = (to: number): void => {
      while (tick < to) {
        const pc = path[++tick]!;
        references.push({ pc, tick, event: EVENT.Ir, address: pc, size: lengths.get(pc)! });
        read = undefined;
      }
    };
    for (let batch; (batch = replay.nextAccesses());) {
      const { sites } = replay;
      for (let i = 0; i < batch.count; i++) {
        fetchTo(Number(batch.ticks[i]!));
        const site = batch.sites[i]!;
        const [address, size] = [batch.addresses[i]!, sites.sizes[site]!];
        const isStore = sites.stores[site] === 1;
        const isModified = isStore && read?.address === address && read.size === size;
        read = isStore ? undefined : { address, size };
        const event = isStore ? EVENT.Dw : EVENT.Dr;
        if (!isModified || withModified)
          references.push({ pc: path[tick]!, tick, event, address, size });
      }
    }
    fetchTo(path.length - 1);
  } finally {
    trace.close();
  }
  return references;
}

/** Events of instructions by address, as columns in the order of `EVENTS`. */
export type Counts = Map<bigint, number[]>;

/**
 * What a replay counts.
 * @param hotAfter - executions after which a block is compiled
 * @param model - what simulates the caches from the misses of the compiled simulation, unless that does
 */
export function simulated(
  folder: string,
  cache: CacheHooks,
  hotAfter: number,
  others: ReplayOptions = {},
  model?: Model,
): Counts {
  const trace = Trace.open(folder);
  try {
    const refer: CacheHooks['misses'] = (misses) =>
      void model!.refer(misses, replay.guest.cache!.sites, true);
    const replay = openReplay(trace, 0, {
      counts: true,
      cache: { ...cache, ...(model && { fetchMisses: true, misses: refer }) },
      ...others,
    });
    replay.guest.hotAfter = hotAfter;
    replay.finish();
    assert.deepEqual(replay.divergences, []);
    replay.guest.cache!.takeMisses();
    const { pcs, events } = countsByInstruction(replay.guest.cache!, replay.segments(), model);
    return new Map(
      Array.from(pcs, (pc, i) => [
        pc,
        [...events.subarray(EVENT_COUNT * i, EVENT_COUNT * (i + 1))],
      ]),
    );
  } finally {
    trace.close();
  }
}

/** In order, without branches, which plain models do not have. */
export const withoutBranches = (counts: Counts): [bigint, number[]][] =>
  [...counts]
    .map(([pc, row]): [bigint, number[]] => [
      pc,
      row.filter((_, event) => event < EVENT.Bc || event > EVENT.Bim),
    ])
    .filter(([, row]) => row.some((count) => count > 0))
    .sort(([a], [b]) => (a < b ? -1 : 1));
