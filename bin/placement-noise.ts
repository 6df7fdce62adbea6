/**
 * How much of a difference of cache misses the placement of memory alone can cause. The same executions are simulated with
 * their mappings in other places (analyses/cache/placement.ts): what each run has in these is its range, and where the ranges of
 * two runs meet, nothing says that the program uses caches otherwise.
 */
import { loadAnalyses } from '../analyses/analysis.js';
import { Trace } from '../replay/trace.js';
import { countedCosts, type CountedCosts } from './counted-costs.js';
import type { Change } from './diff-costs.js';
import { judgeFor, type Comparison, type Look } from './diff.js';
import type { RunsDiff } from './diff-formats.js';

/** Figures and spreads that depend on where memory is. */
const FIGURES: readonly string[] = ['i1-misses', 'd1-misses', 'll-misses'];
const SPREADS = ['d1', 'll'] as const;

/** The same difference, with ranges of cache misses where these differ: each run is simulated so many times more. */
export async function withPlacements(
  found: RunsDiff,
  before: Look,
  after: Look,
  comparison: Comparison,
  count: number,
): Promise<RunsDiff> {
  const differs = found.figures.some(
    (figure) => FIGURES.includes(figure.name) && figure.before !== figure.after,
  );
  if (!differs || count === 0) return found;
  const [first, second] = [
    await placements(before, comparison, count),
    await placements(after, comparison, count),
  ];
  const ranged = (
    change: Change,
    valueOf: (costs: CountedCosts, name: string) => number | undefined,
  ): Change => {
    const range = (own: number, all: readonly CountedCosts[], name: string) => {
      const values = [own, ...all.map((costs) => valueOf(costs, name) ?? 0)];
      return [Math.min(...values), Math.max(...values)] as const;
    };
    const ranges = {
      before: range(change.before, first, change.was ?? change.name),
      after: range(change.after, second, change.name),
    };
    return { ...change, placements: ranges };
  };
  const spreads = { ...found.spreads };
  for (const key of SPREADS)
    spreads[key] = spreads[key].map((change) =>
      ranged(change, (costs, name) => costs.spreads[key].get(name)),
    );
  const figures = found.figures.map((figure) =>
    FIGURES.includes(figure.name)
      ? ranged(figure, (costs, name) => costs.figures.get(name))
      : figure,
  );
  return { ...found, figures, spreads };
}

/** What a run's caches count with other placements. */
async function placements(
  { source: { folder } }: Look,
  comparison: Comparison,
  count: number,
): Promise<CountedCosts[]> {
  const trace = Trace.open(folder);
  try {
    const all: CountedCosts[] = [];
    for (let seed = 1; seed <= count; seed++) {
      const given = { placement: String(seed), 'by-allocation': 'no', 'branch-sim': 'no' };
      const reports = await judgeFor(trace, await loadAnalyses('cache'), comparison, given);
      all.push(countedCosts(trace, reports));
    }
    return all;
  } finally {
    trace.close();
  }
}
