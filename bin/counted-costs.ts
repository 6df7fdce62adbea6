/** What analyses counted, as costs: misses of caches, mispredicted branches, use of locks. */
import { isColumns, type AnalysisColumns, type TextColumn } from '../analyses/finding.js';
import type { Report } from '../analyses/report.js';
import { Symbols } from '../replay/symbols.js';
import type { Trace } from '../replay/trace.js';
import type { Row } from '../schemas/schema.js';
import { stacks } from '../schemas/tables.js';
import { cache_levels, cache_lines, lock_uses } from '../schemas/views.js';
import { ownFrame } from './places.js';

type Sums = Map<string, number>;

/** Columns of `cache_lines` that are events of a kind. */
const EVENTS = {
  d1: ['d1mr', 'd1mw'],
  ll: ['ilmr', 'dlmr', 'dlmw'],
  branches: ['bcm', 'bim'],
} as const;

export interface CountedCosts {
  readonly figures: ReadonlyMap<string, number>;
  readonly spreads: Record<keyof typeof EVENTS | 'waits' | 'holds', Sums>;
}

/** @param reports - of analyses of the trace */
export function countedCosts(trace: Trace, reports: readonly Report[]): CountedCosts {
  const figures: Sums = new Map();
  const spreads: CountedCosts['spreads'] = {
    ...{ d1: new Map(), ll: new Map(), branches: new Map(), waits: new Map(), holds: new Map() },
  };
  for (const part of reports.flatMap(({ tables }) => tables)) {
    if (part.table === cache_lines && isColumns(part)) {
      for (const kind of ['d1', 'll', 'branches'] as const)
        for (const [name, count] of eventsByFunction(part, EVENTS[kind]))
          add(spreads[kind], name, count);
    } else if (part.table === cache_levels && !isColumns(part))
      for (const { level, misses } of part.rows as Row<typeof cache_levels>[])
        add(figures, `${level.toLowerCase()}-misses`, Number(misses));
    else if (part.table === lock_uses && !isColumns(part)) {
      const names = new LockNames(trace);
      for (const use of part.rows as Row<typeof lock_uses>[]) {
        add(figures, 'contended-acquisitions', Number(use.contended));
        add(figures, 'lock-waiting', Number(use.waited_ticks));
        add(figures, 'lock-holding', Number(use.held_ticks));
        const longest = Math.max(figures.get('longest-hold') ?? 0, Number(use.longest_ticks));
        figures.set('longest-hold', longest);
        add(spreads.waits, names.of(use), Number(use.waited_ticks));
        add(spreads.holds, names.of(use), Number(use.held_ticks));
      }
    }
  }
  if (spreads.branches.size > 0)
    figures.set(
      'branch-mispredictions',
      [...spreads.branches.values()].reduce((sum, count) => sum + count, 0),
    );
  return { figures, spreads };
}

const add = (sums: Sums, name: string, value: number): void =>
  void sums.set(name, (sums.get(name) ?? 0) + value);

/** Sums of some columns, where they are not 0. */
function eventsByFunction({ count, columns }: AnalysisColumns, names: readonly string[]): Sums {
  const { texts, numbers } = columns['function'] as TextColumn;
  const sums: Sums = new Map();
  for (const name of names) {
    const column = columns[name];
    if (typeof column === 'number' || column === undefined) continue; // not simulated
    for (let row = 0; row < count; row++) {
      const value = Number((column as Float64Array | BigUint64Array)[row]);
      if (value > 0) add(sums, texts[numbers[row]!]! || '(unknown)', value);
    }
  }
  return sums;
}

/** Locks have no names: they are known by the place that made them or took them first. */
class LockNames {
  private readonly symbols = new Map<number, Symbols>();
  private readonly known = new Map<string, string>();

  constructor(private readonly trace: Trace) {}

  of({ process, stack, kind }: Row<typeof lock_uses>): string {
    const key = `${process} ${stack} ${kind}`;
    let name = this.known.get(key);
    if (name === undefined)
      this.known.set(key, (name = `${kind} of ${this.place(process, stack)}`));
    return name;
  }

  private place(process: number, stack: number): string {
    for (const row of this.trace.rows(stacks, process)) {
      if (row.stack !== stack) continue;
      let symbols = this.symbols.get(process);
      if (!symbols) this.symbols.set(process, (symbols = new Symbols(this.trace, process)));
      const pcs = new BigUint64Array(Uint8Array.from(row.pcs).buffer);
      const frames = symbols.stack([...pcs], CALLERS);
      return ownFrame({ role: '', frames })?.fn || '(unknown)';
    }
    return '(unknown)';
  }
}

const CALLERS = 12;
