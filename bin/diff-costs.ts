/** What a run cost, in figures and by function, for comparison with another run. */
import type { Report } from '../analyses/report.js';
import { openAhead } from '../replay/ahead.js';
import { Database } from '../replay/database.js';
import { endWorkers } from '../replay/spare-workers.js';
import type { Trace } from '../replay/trace.js';
import { cache_levels, lock_uses } from '../schemas/views.js';
import { manifestOf } from './runs.js';

/** Costs of a run by name, and by what they are spread over. */
export interface Costs {
  /** In the order in which they are shown; names are those of `--fail-on`. */
  readonly figures: ReadonlyMap<string, number>;
  /** Instructions by function and object file. */
  readonly functions: ReadonlyMap<string, number>;
  /** Bytes allocated, by the function that asked for them. */
  readonly allocations: ReadonlyMap<string, number>;
  /** Calls by name. */
  readonly syscalls: ReadonlyMap<string, number>;
}

/** What compares costs, with a title and a head for the names. */
export const SPREADS = [
  { key: 'functions', title: 'Instructions by function', head: 'function' },
  { key: 'allocations', title: 'Bytes allocated by function', head: 'function' },
  { key: 'syscalls', title: 'System calls', head: 'call' },
] as const satisfies readonly { key: keyof Costs; title: string; head: string }[];

/** The most that blocks of one process were together. Blocks that a parent allocated count for the parent. */
const PEAK = `
  select coalesce(max(bytes), 0)::double as peak from (
    select sum(change) over (partition by process order by tick, change rows unbounded preceding) as bytes
    from (select process, tick, size::hugeint as change from allocations where tick is not null
          union all
          select process, free_tick, -size::hugeint from allocations
          where tick is not null and free_tick is not null))`;

/** @param reports - of analyses of the run: what they counted is a cost, too */
export async function costsOf(trace: Trace, reports: readonly Report[]): Promise<Costs> {
  const database = await Database.open(trace, openAhead);
  try {
    const sums = async (sql: string): Promise<Map<string, number>> => {
      const rows = await database.rows(sql);
      return new Map(rows.map(({ name, value }) => [String(name), Number(value)]));
    };
    const one = async (sql: string): Promise<Record<string, unknown>> =>
      (await database.rows(sql))[0] ?? {};
    const heap = await one(
      `select count(*) as blocks, coalesce(sum(size), 0)::double as bytes,
              coalesce(sum(size) filter (free_tick is null), 0)::double as live
       from allocations where tick is not null`,
    );
    const functions = await sums(
      `select concat(if(function = '', '(unknown)', function), ' in ', coalesce(regexp_extract(module, '[^/]*$'), '?')) as name,
              sum(executions)::double as value
       from instructions_by_function group by all`,
    );
    const allocations = await sums(
      `select if(function = '', '(unknown)', function) as name, sum(bytes)::double as value
       from allocations_by_site group by all`,
    );
    const syscalls = await sums(
      `select coalesce(name, number::varchar) as name, count(*)::double as value from syscalls group by all`,
    );
    const { instructions, processes } = manifestOf(trace);
    const figures = new Map<string, number>([
      ['instructions', instructions],
      ['processes', processes],
      ['syscalls', [...syscalls.values()].reduce((sum, count) => sum + count, 0)],
      ['allocations', Number(heap['blocks'])],
      ['allocated-bytes', Number(heap['bytes'])],
      ['peak-heap', Number((await one(PEAK))['peak'])],
      ['live-bytes-at-end', Number(heap['live'])],
    ]);
    for (const { tables } of reports)
      for (const part of tables) {
        if (!('rows' in part)) continue;
        const add = (name: string, value: bigint): void =>
          void figures.set(name, (figures.get(name) ?? 0) + Number(value));
        for (const row of part.rows) {
          if (part.table === cache_levels) {
            const { level, misses } = row as unknown as { level: string; misses: bigint };
            add(`${level.toLowerCase()}-misses`, misses);
          } else if (part.table === lock_uses) {
            const uses = row as unknown as { contended: bigint; waited_ticks: bigint };
            add('contended-acquisitions', uses.contended);
            add('lock-waiting', uses.waited_ticks);
          }
        }
      }
    return { figures, functions, allocations, syscalls };
  } finally {
    database.close();
    endWorkers();
  }
}

/** A cost in both runs. */
export interface Change {
  readonly name: string;
  readonly before: number;
  readonly after: number;
}

/** The costs that changed, the largest changes first. */
export function changes(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): Change[] {
  return both(before, after)
    .filter((change) => change.before !== change.after)
    .sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before));
}

/** All costs of either run, in order of their appearance; one that a run does not have is 0 there. */
export function both(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): Change[] {
  return [...new Set([...before.keys(), ...after.keys()])].map((name) => ({
    ...{ name, before: before.get(name) ?? 0, after: after.get(name) ?? 0 },
  }));
}
