/**
 * How many loads and stores a run made. The trace does not say: they are counted by replaying it once,
 * and kept among the run's derived data.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openReplay } from './replay.js';
import { TalliedReplay } from './tally.js';
import type { Trace } from './trace.js';
import type { AccessColumn } from './types.js';

export interface AccessCounts {
  readonly loads: number;
  readonly stores: number;
}

const pathOf = (trace: Trace): string => join(trace.folder, 'cache', 'access-counts.json');

/** The counts of an earlier call, or undefined. */
export function knownAccessCounts(trace: Trace): AccessCounts | undefined {
  try {
    const { loads, stores } = JSON.parse(readFileSync(pathOf(trace), 'utf8')) as AccessCounts;
    return Number.isSafeInteger(loads) && Number.isSafeInteger(stores)
      ? { loads, stores }
      : undefined;
  } catch {
    return undefined; // not counted yet, or damaged: derived data
  }
}

/** Counts the accesses of all processes of a run. Takes as long as replaying it. */
export function countAccesses(trace: Trace): AccessCounts {
  let loads = 0;
  let stores = 0;
  for (const { process } of trace.processes) {
    const accesses = { accesses: true, columns: new Set<AccessColumn>() };
    const replay = new TalliedReplay(openReplay(trace, process, accesses));
    for (let batch; (batch = replay.nextAccesses());) {
      const { sites, repeats } = batch;
      repeats!.forEach((count, i) => {
        if (replay.sites.stores[sites[i]!]) stores += count;
        else loads += count;
      });
    }
  }
  try {
    mkdirSync(join(trace.folder, 'cache'), { recursive: true });
    writeFileSync(pathOf(trace), JSON.stringify({ loads, stores }));
  } catch {
    // A run that cannot be written to is counted each time.
  }
  return { loads, stores };
}
