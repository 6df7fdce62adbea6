/**
 * Finds the loads that wait in a loop for another thread: one that reads the same address again and again,
 * while its thread stores nothing but on its own stack and lets go of no lock, and is left when another
 * thread has changed the value. A loop that reads on after the last change does not wait. Of some loads the
 * code alone shows it (wait-loops.ts). All memory that such a load reads is taken to be synchronisation
 * variables: another time the value was there at once.
 */
import { openReplay } from '../../replay/replay.js';
import type { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import { heap, sync } from '../../schemas/tables.js';
import { LiveBlocks } from './live-blocks.js';
import { isInRuntime } from './site-kinds.js';
import type { KnownVariable } from './variables.js';
import { findWaitLoads } from './wait-loops.js';

/** Addresses that one load is remembered to have read. */
const MOST_ADDRESSES = 10_000;
/** A store so near to the stack pointer's page is taken to be on the stack. */
const STACK_BYTES = 64 * 1024;

/** Operations of `sync` that let other threads go on: who does them does not only wait. */
const RELEASES = /unlock|_post$|_signal$|_broadcast$|_released$/;

interface Waiting {
  readonly address: number;
  value: bigint;
  /** Stores of the thread when it began, but those on its stack; -1 once it has stored to the address itself. */
  stores: number;
  readonly thread: number;
  /** The value is not that of the first load, and was loaded once. */
  isNew: boolean;
}

interface LoadSite {
  isSpin: boolean;
  /** The address that was noted last, and how many blocks had begun or ended by then. */
  noted: number;
  notedBlocks: number;
  readonly found: Map<string, KnownVariable>;
  readonly byThread: Map<number, Waiting>;
}

/**
 * Variables that threads wait for in loops.
 * @param pcs - instructions whose loads are looked at
 */
export function findSpinVariables(
  trace: Trace,
  process: number,
  symbols: Symbols,
  pcs: ReadonlySet<bigint>,
): KnownVariable[] {
  if (pcs.size === 0) return [];
  const waiting = findWaitLoads(trace, process, pcs);
  const loads = new Map<bigint, LoadSite>();
  const loadAt = (pc: bigint): LoadSite | null => {
    let load = loads.get(pc);
    if (!load && pcs.has(pc))
      loads.set(
        pc,
        (load = {
          ...{ isSpin: waiting.has(pc), noted: -1, notedBlocks: -1 },
          ...{ found: new Map(), byThread: new Map() },
        }),
      );
    return load ?? null;
  };
  const blocks = new LiveBlocks();
  /** Blocks that began or ended. */
  let blockEvents = 0;
  const stores = new Map<number, number>();
  /** By thread: ticks of what it released, those that the accesses have not come to yet. */
  const releases = new Map<number, bigint[]>();
  const replay = openReplay(trace, process, {
    accesses: true,
    columns: new Set(['ticks', 'addresses', 'values']),
    observer: {
      tables: [heap, sync],
      applied: (row) => {
        if (row.table === sync) {
          if (!RELEASES.test(row.name('op') ?? '')) return;
          const thread = row.u32('thread');
          const known = releases.get(thread);
          if (known) known.push(row.u64('tick'));
          else releases.set(thread, [row.u64('tick')]);
          return;
        }
        blockEvents++;
        const address = Number(row.u64('address'));
        const op = row.name('op')!;
        if (op === 'free' || op === 'delete' || op === 'delete_array') blocks.remove(address);
        else {
          const previous = Number(row.u64('previous'));
          if (previous !== 0) blocks.remove(previous);
          if (address !== 0)
            blocks.add({ address, size: Number(row.u64('size')), event: row.event });
        }
      },
    },
  });
  /** By address: the last one that began to wait there. */
  const watched = new Map<number, Waiting>();
  /** Stores of the C library do not count. */
  const isQuiet: boolean[] = [];
  const bySite: (LoadSite | null | undefined)[] = [];
  for (let batch; (batch = replay.nextAccesses());) {
    const { sites } = replay;
    const { thread } = batch;
    let stored = stores.get(thread) ?? 0;
    const sp = Number(replay.registers.readRegister(thread, replay.registerOffset('RSP')));
    const released = releases.get(thread) ?? [];
    for (let i = 0; i < batch.count; i++) {
      while (released[0] !== undefined && released[0] <= batch.ticks[i]!) {
        released.shift();
        stored++;
      }
      const site = batch.sites[i]!;
      const address = Number(batch.addresses[i]!);
      if (sites.stores[site]) {
        if (Math.abs(address - sp) <= STACK_BYTES) {
          const waiting = watched.get(address);
          if (waiting?.thread === thread) waiting.stores = -1;
          continue;
        }
        if ((isQuiet[site] ??= isInRuntime(symbols, sites.pcs[site]!))) continue;
        stored++;
        continue;
      }
      let load = bySite[site];
      if (load === undefined) bySite[site] = load = loadAt(sites.pcs[site]!);
      if (load === null) continue;
      const size = sites.sizes[site]!;
      const value = batch.values[i]!;
      const waiting = load.byThread.get(thread);
      if (!waiting || waiting.address !== address || waiting.stores !== stored) {
        load.isSpin ||= waiting !== undefined && waiting.stores >= 0 && waiting.isNew;
        const begun = { address, value, stores: stored, thread, isNew: false };
        load.byThread.set(thread, begun);
        watched.set(address, begun);
      } else {
        waiting.isNew = waiting.value !== value;
        waiting.value = value;
      }
      // A loop reads it a million times.
      if (load.noted === address && load.notedBlocks === blockEvents) continue;
      load.noted = address;
      load.notedBlocks = blockEvents;
      const born = blocks.at(address)?.event ?? 0;
      const key = `${address} ${born}`;
      const known = load.found.get(key);
      if (known || load.found.size >= MOST_ADDRESSES) continue;
      load.found.set(key, {
        ...{ address, size, born, tick: Number(batch.ticks[i]!) },
        ...{ evidence: ['spin loop'], operations: 0 },
      });
    }
    stores.set(thread, stored);
  }
  for (const load of loads.values())
    for (const { isNew, stores: left } of load.byThread.values())
      load.isSpin ||= isNew && left >= 0;
  return [...loads.values()]
    .filter(({ isSpin }) => isSpin)
    .flatMap(({ found }) => [...found.values()]);
}
