/**
 * An analysis of memory accesses, for which the execution is replayed: functions by the bytes that they store.
 * Run it with: grind analyze ./NAME.ts, or with others in one replay: grind analyze cache,./NAME.ts
 */
import { defineAnalysis, Symbols, wholeNumber, type ProcessReplay } from 'grind';

export default defineAnalysis({
  name: 'NAME',
  describe: 'Functions by the bytes that they store',
  options: {
    shown: wholeNumber('Functions that the text shows', 10, { least: 1 }),
  },
  // Called once for each process of the run. `options` are text, as on the command line.
  part(trace, process, options) {
    const symbols = new Symbols(trace, process);
    let stores = new Float64Array(1024); // by number of the site: a place in the code that accesses memory
    let replay: ProcessReplay;
    return {
      // What costs something is delivered if it is wanted; `columns` can have ticks, addresses, values and wide.
      wants: { accesses: true, columns: new Set() },
      begin: (begun) => void (replay = begun), // replay.register('RDI') and replay.guest.readMemory(…) at events
      accesses({ count, sites }) {
        for (let i = 0; i < count; i++) {
          const site = sites[i]!;
          if (site >= stores.length) {
            const longer = new Float64Array(2 * site);
            longer.set(stores);
            stores = longer;
          }
          stores[site]! += 1;
        }
      },
      finish() {
        const { count, pcs, sizes, stores: isStore } = replay.sites;
        const bytes = new Map<string, number>();
        for (let site = 0; site < Math.min(count, stores.length); site++) {
          if (!isStore[site] || !stores[site]) continue;
          const name = symbols.frames(pcs[site]!)[0]!.fn || '???';
          bytes.set(name, (bytes.get(name) ?? 0) + stores[site]! * sizes[site]!);
        }
        const rows = [...bytes].sort(([, a], [, b]) => b - a);
        return {
          process,
          findings: [],
          summary: {},
          missing: replay.divergences, // where the execution could not be followed
          // A profile: tables for the text, JSON and `grind report`.
          profile: {
            lines: [],
            tables: [
              {
                name: 'stores',
                title: 'Bytes stored, by function',
                columns: [{ name: 'function' }, { name: 'bytes' }],
                rows,
                shownRows: Number(options.shown),
              },
            ],
          },
        };
      },
    };
  },
});
