/** What a run cost, in figures and by function, for comparison with another run. */
import { isAbsolute, join } from 'node:path';
import type { Report } from '../analyses/report.js';
import { openAhead } from '../replay/ahead.js';
import { Database } from '../replay/database.js';
import { endWorkers } from '../replay/spare-workers.js';
import type { Trace } from '../replay/trace.js';
import { callPaths, type CallPath } from './call-paths.js';
import { countedCosts } from './counted-costs.js';
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
  /** The tree of calls, if an analysis of them was asked for. */
  readonly paths: CallPath;
}

/** By name of what they are spread over. */
interface Spreads {
  /** Instructions by function and object file. */
  readonly functions: ReadonlyMap<string, number>;
  /** Bytes allocated, by the function that asked for them. */
  readonly allocations: ReadonlyMap<string, number>;
  /** Blocks allocated, likewise. */
  readonly blocks: ReadonlyMap<string, number>;
  /** Bytes that were in use at the peak of their process, likewise. */
  readonly peak: ReadonlyMap<string, number>;
  /** Misses of caches and mispredicted branches by function, if that was asked for. */
  readonly d1: ReadonlyMap<string, number>;
  readonly ll: ReadonlyMap<string, number>;
  readonly branches: ReadonlyMap<string, number>;
  /** Ticks by lock, if that was asked for: those that threads waited for it, and those for which it was held. */
  readonly waits: ReadonlyMap<string, number>;
  readonly holds: ReadonlyMap<string, number>;
  /** Calls by name. */
  readonly syscalls: ReadonlyMap<string, number>;
}

/** What `SPREADS` compares. */
export type SpreadKey = (typeof SPREADS)[number]['key'];

/** What compares costs, with a title and a head for the names. */
export const SPREADS = [
  { key: 'functions', title: 'Instructions by function', head: 'function' },
  { key: 'paths', title: 'Instructions by call path, where the change begins', head: 'path' },
  { key: 'lines', title: 'Instructions by source line', head: 'line' },
  { key: 'allocations', title: 'Bytes allocated by function', head: 'function' },
  { key: 'blocks', title: 'Blocks allocated by function', head: 'function' },
  { key: 'peak', title: 'Bytes at the peak of the heap by function', head: 'function' },
  { key: 'd1', title: 'Misses of the first-level data cache by function', head: 'function' },
  { key: 'll', title: 'Misses of the last level by function', head: 'function' },
  { key: 'branches', title: 'Mispredicted branches by function', head: 'function' },
  { key: 'waits', title: 'Ticks waited for locks', head: 'lock' },
  { key: 'holds', title: 'Ticks for which locks were held', head: 'lock' },
  { key: 'syscalls', title: 'System calls', head: 'call' },
] as const satisfies readonly {
  key: keyof Spreads | 'lines' | 'paths';
  title: string;
  head: string;
}[];

/** The most that blocks of one process were together. Blocks that a parent allocated count for the parent. */
const PEAKS = `
  select process, tick, bytes, row_number() over (partition by process order by bytes desc, tick) as rank from (
    select process, tick, sum(change) over (partition by process order by tick, change rows unbounded preceding) as bytes
    from (select process, tick, size::hugeint as change from allocations where tick is not null
          union all
          select process, free_tick, -size::hugeint from allocations
          where tick is not null and free_tick is not null))`;
const PEAK = `select coalesce(max(bytes), 0)::double as peak from (${PEAKS})`;
const AT_PEAK = `
  select if(s.function = '', '(unknown)', s.function) as name, sum(a.size)::double as value
  from allocations a
  join (select * from (${PEAKS}) where rank = 1) p on p.process = a.process and a.tick <= p.tick
       and (a.free_tick is null or a.free_tick > p.tick)
  left join (select distinct process, stack, function from allocations_by_site) s
       on s.process = a.process and s.stack = a.stack
  group by all`;

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
    const blocks = await sums(
      `select if(function = '', '(unknown)', function) as name, sum(blocks)::double as value
       from allocations_by_site group by all`,
    );
    const peak = await sums(AT_PEAK);
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
    const counted = countedCosts(trace, reports);
    for (const [name, value] of counted.figures) figures.set(name, value);
    const programs = new Map(trace.processes.map((one) => [one.process, one.executable]));
    return {
      ...counted.spreads,
      ...{ figures, lines, functions, allocations, blocks, peak, syscalls },
      paths: callPaths(reports, programs),
    };
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
  /** Of a function: its code is the same in both runs, and it was called equally often. */
  readonly isSameCode?: boolean;
  /** The least and the most that each run has with its memory in other places, where that was looked at. */
  readonly placements?: {
    readonly before: readonly [number, number];
    readonly after: readonly [number, number];
  };
}

/** The placement of memory alone can cause the change; undefined when that was not looked at. */
export const isPlacement = ({ placements }: Change): boolean | undefined =>
  placements &&
  placements.before[0] <= placements.after[1] &&
  placements.after[0] <= placements.before[1];

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
