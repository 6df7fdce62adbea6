/** What a run cost, in figures and by function, for comparison with another run. */
import { isAbsolute, join } from 'node:path';
import type { Report } from '../analyses/report.js';
import { openAhead } from '../replay/ahead.js';
import { Database } from '../replay/database.js';
import { endWorkers } from '../replay/spare-workers.js';
import type { Trace } from '../replay/trace.js';
import { cache_levels, lock_uses } from '../schemas/views.js';
import { sourcePath } from './places.js';
import { nameInModule, type LineCost } from './renames.js';
import { manifestOf } from './runs.js';
import type { SourceChanges, SourceLine } from './source-changes.js';

/** Costs of a run by name, and by what they are spread over. */
export interface Costs extends Spreads {
  /** In the order in which they are shown; names are those of `--fail-on`. */
  readonly figures: ReadonlyMap<string, number>;
  /** Instructions by function and source line. */
  readonly lines: readonly LineCost[];
}

/** By name of what they are spread over. */
interface Spreads {
  /** Instructions by function and object file. */
  readonly functions: ReadonlyMap<string, number>;
  /** Bytes allocated, by the function that asked for them. */
  readonly allocations: ReadonlyMap<string, number>;
  /** Calls by name. */
  readonly syscalls: ReadonlyMap<string, number>;
}

/** What `SPREADS` compares. */
export type SpreadKey = (typeof SPREADS)[number]['key'];

/** What compares costs, with a title and a head for the names. */
export const SPREADS = [
  { key: 'functions', title: 'Instructions by function', head: 'function' },
  { key: 'lines', title: 'Instructions by source line', head: 'line' },
  { key: 'allocations', title: 'Bytes allocated by function', head: 'function' },
  { key: 'syscalls', title: 'System calls', head: 'call' },
] as const satisfies readonly { key: keyof Spreads | 'lines'; title: string; head: string }[];

/** The most that blocks of one process were together. Blocks that a parent allocated count for the parent. */
const PEAK = `
  select coalesce(max(bytes), 0)::double as peak from (
    select sum(change) over (partition by process order by tick, change rows unbounded preceding) as bytes
    from (select process, tick, size::hugeint as change from allocations where tick is not null
          union all
          select process, free_tick, -size::hugeint from allocations
          where tick is not null and free_tick is not null))`;

/** Of inlined code, the function that it is inlined into. */
const BY_LINE = `
  select coalesce(i.function, '') as function, coalesce(regexp_extract(m.path, '[^/]*$'), '') as module,
         coalesce(i.directory, '') as directory, coalesce(i.file, '') as file, coalesce(i.line, 0) as line,
         sum(c.executions)::double as instructions
  from instruction_counts c
  left join instructions i on i.process = c.process and i.pc = c.pc
  left join modules m on m.process = i.process and m.module = i.module
  group by all`;

/** From the root of the repository; of other files an absolute path, as a relative one is from where it was compiled. */
const placeOf = (directory: string, file: string, root: string): string =>
  isAbsolute(directory) ? sourcePath({ file, directory }, root) : join('/', directory, file);

/** Instructions by what lines have in common. */
export function sumOf(
  lines: readonly LineCost[],
  keyOf: (line: LineCost) => string,
): Map<string, number> {
  const sums = new Map<string, number>();
  for (const line of lines) {
    const key = keyOf(line);
    sums.set(key, (sums.get(key) ?? 0) + line.instructions);
  }
  return sums;
}

/**
 * @param reports - of analyses of the run: what they counted is a cost, too
 * @param root - of the repository whose sources the run is of
 */
export async function costsOf(
  trace: Trace,
  reports: readonly Report[],
  root: string,
): Promise<Costs> {
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
    const lines = (await database.rows(BY_LINE)).map(
      ({ function: fn, module, directory, file, line, instructions }): LineCost => ({
        ...{ function: String(fn), module: String(module), line: Number(line) },
        path: placeOf(String(directory), String(file), root),
        instructions: Number(instructions),
      }),
    );
    const functions = sumOf(lines, (line) => nameInModule(line.function, line.module));
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
    return { figures, lines, functions, allocations, syscalls };
  } finally {
    database.close();
    endWorkers();
  }
}

/** A cost in both runs. */
export interface Change {
  /** As in the second run, if it has that. */
  readonly name: string;
  /** Its name in the first run, where that is another one. */
  readonly was?: string;
  readonly before: number;
  readonly after: number;
}

/**
 * The costs that changed, the largest changes first.
 * @param renamed - new names by those of the first run
 */
export function changes(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
  renamed: ReadonlyMap<string, string> = new Map(),
): Change[] {
  const old = new Map([...renamed].map(([from, to]) => [to, from]));
  const now = [...before].map(([name, value]) => [renamed.get(name) ?? name, value] as const);
  return both(new Map(now), after)
    .map((change): Change => {
      const was = old.get(change.name);
      return was !== undefined && before.has(was) ? { ...change, was } : change;
    })
    .filter((change) => change.before !== change.after)
    .sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before));
}

/** Instructions by line of the repository's sources, in their places in the second run, the largest changes first. */
export function lineChanges(
  before: readonly LineCost[],
  after: readonly LineCost[],
  { mapped }: Pick<SourceChanges, 'mapped'>,
): Change[] {
  const isOwn = ({ path, line }: LineCost): boolean => line > 0 && !isAbsolute(path);
  const keyOf = ({ path, line }: SourceLine): string => `${path}:${line}`;
  const renamed = new Map<string, string>();
  const old = before.filter(isOwn).map((cost) => {
    const now = mapped(cost);
    const key = now ? keyOf(now) : `${keyOf(cost)} (removed)`;
    if (now && keyOf(now) !== keyOf(cost)) renamed.set(key, keyOf(cost));
    return { key, cost };
  });
  const sums = new Map<string, number>();
  for (const { key, cost } of old) sums.set(key, (sums.get(key) ?? 0) + cost.instructions);
  return changes(sums, sumOf(after.filter(isOwn), keyOf)).map((change) => {
    const was = renamed.get(change.name);
    return was === undefined ? change : { ...change, was };
  });
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
