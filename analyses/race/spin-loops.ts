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
import type { EventRow } from '../../replay/types.js';
import { heap, isRelease, sync } from '../../schemas/tables.js';
import { LiveBlocks } from './live-blocks.js';
import { isInRuntime } from './site-kinds.js';
import type { KnownVariable } from './variables.js';
import { findWaitLoads } from './wait-loops.js';
import { IGNORED, LOAD, QUIET, STORE, WaitingLoads } from './waiting-loads.js';

/** Addresses that one load is remembered to have read. */
const MOST_ADDRESSES = 10_000;

/** Operations of `sync` that let other threads go on: who does them does not only wait. */
const RELEASES = /unlock|_post$|_signal$|_broadcast$|_released$/;

/** What a load has read: by address, then by the event that made the block of it. */
class Found {
  private readonly byAddress = new Map<number, KnownVariable[]>();
  private size = 0;

  has(address: number, born: number): boolean {
    return this.byAddress.get(address)?.some((known) => known.born === born) ?? false;
  }

  /** Returns whether there is room for more. */
  add(variable: KnownVariable): boolean {
    const known = this.byAddress.get(variable.address);
    if (known) known.push(variable);
    else this.byAddress.set(variable.address, [variable]);
    return ++this.size < MOST_ADDRESSES;
  }

  all(): KnownVariable[] {
    return [...this.byAddress.values()].flat();
  }
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
  const loads = [...pcs];
  const numbers = new Map(loads.map((pc, load) => [pc, load]));
  const found = loads.map(() => new Found());
  const blocks = new LiveBlocks();
  const roleOf = (site: number): number => {
    const pc = replay.sites.pcs[site]!;
    // Stores of the C library do not count.
    if (replay.sites.stores[site]) return isInRuntime(symbols, pc) ? QUIET : STORE;
    const load = numbers.get(pc);
    return load === undefined ? IGNORED : LOAD + load;
  };
  const note = (load: number, site: number, address: number, row: number): boolean => {
    const born = blocks.at(address)?.event ?? 0;
    if (found[load]!.has(address, born)) return true;
    const tick = Number(replay.guest.takeAccesses().ticks[row]!);
    const size = replay.sites.sizes[site]!;
    const evidence = ['spin loop'] as const;
    return found[load]!.add({ address, size, born, tick, evidence, operations: 0 });
  };
  const waiting = new WaitingLoads(loads.length, { roleOf, note });
  const take = (count: number): void => {
    if (count === 0 || !replay.isInImage) return;
    const { thread } = replay;
    const sp = replay.registers.readRegister(thread, replay.registerOffset('RSP'));
    waiting.select(thread, Number(sp));
    waiting.take(replay.guest, count);
  };
  const allocated = (row: EventRow): void => {
    waiting.beginEra();
    const address = row.number('address');
    const op = row.name('op')!;
    if (isRelease(op)) return blocks.remove(address);
    const previous = row.number('previous');
    if (previous !== 0) blocks.remove(previous);
    if (address !== 0) blocks.add({ address, size: row.number('size'), event: row.event });
  };
  const replay = openReplay(trace, process, {
    accesses: true,
    columns: new Set(['ticks', 'addresses', 'values']),
    loads: (pc) => pcs.has(pc),
    observer: {
      tables: [heap, sync],
      applied: (row) => {
        take(replay.guest.accessRows().count);
        replay.guest.resetAccesses();
        if (row.table === heap) allocated(row);
        else if (RELEASES.test(row.name('op') ?? '')) waiting.released(row.u32('thread'));
      },
    },
  });
  for (let batch; (batch = replay.nextAccesses());) take(batch.count);
  const spinning = new Set(waiting.spinning());
  const known = findWaitLoads(trace, process, pcs);
  return loads.flatMap((pc, load) =>
    spinning.has(load) || known.has(pc) ? found[load]!.all() : [],
  );
}
