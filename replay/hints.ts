/**
 * Which accesses a statement cannot need. DuckDB tells a JavaScript table function nothing of a
 * statement's conditions, so before the statement runs it is planned against a twin database whose
 * `accesses` is an ordinary, empty table: there the planner pushes conditions down to the scan and
 * EXPLAIN prints them under the table's own column names. Bounds found this way only let the scan skip
 * rows that the statement's own filter, which still runs, would drop. Whatever is not understood is
 * no bound.
 */
import type { DuckDBConnection } from '@duckdb/node-api';

/** Lowest and highest value that matters, both included. */
export type Range = readonly [bigint, bigint];

interface Bounds {
  readonly process: Range;
  readonly thread: Range;
  readonly tick: Range;
  /** Address of an access's first byte. */
  readonly address: Range;
}

export interface Hints extends Bounds {
  /** The statement only aggregates the accesses, in a way that does not depend on their order. */
  readonly anyOrder: boolean;
}

const MAX = (1n << 64n) - 1n;
const FULL: Range = [0n, MAX];

const FULL_BOUNDS: Bounds = { process: FULL, thread: FULL, tick: FULL, address: FULL };

/** The hints that skip nothing. */
export const ANYTHING: Hints = { ...FULL_BOUNDS, anyOrder: false };

/** What the planner must do to push conditions down; the rest costs time or looks at statistics. */
const NEEDED_OPTIMIZERS = new Set([
  'expression_rewriter',
  'filter_pullup',
  'filter_pushdown',
  'cte_inlining',
  'cte_filter_pusher',
  'deliminator',
]);

/** Prepares a twin database for `statementHints`; its tables and views exist already. */
export async function prepareTwin(twin: DuckDBConnection): Promise<void> {
  const result = await twin.runAndReadAll('select name from duckdb_optimizers()');
  const others = result
    .getRows()
    .map(([name]) => String(name))
    .filter((name) => !NEEDED_OPTIMIZERS.has(name));
  await twin.run(`set disabled_optimizers = '${others.join(',')}'`);
}

type Printed = string | readonly string[];

interface PlanNode {
  readonly name?: string;
  readonly children?: readonly PlanNode[];
  readonly extra_info?: {
    readonly Table?: string;
    readonly Filters?: Printed;
    readonly Aggregates?: Printed;
  };
}

const listOf = (printed: Printed = []): readonly string[] =>
  typeof printed !== 'string' ? printed : printed === '' ? [] : [printed];

/** Operators whose output, as a set of rows, does not depend on the order of their input. */
const ORDERLESS = /^(PROJECTION|FILTER|HASH_JOIN)$/;
const AGGREGATE = /^(HASH_GROUP_BY|PERFECT_HASH_GROUP_BY|UNGROUPED_AGGREGATE)$/;
/** Aggregates that do not depend on it either. */
const ORDERLESS_AGGREGATE = /^(count_star|count|sum|sum_no_overflow|avg|min|max)\(/;

/** Bounds on the accesses that `sql`, a single SELECT, can need. */
export async function statementHints(twin: DuckDBConnection, sql: string): Promise<Hints> {
  // A quoted name that looks like a condition could be printed as one.
  if (/"[^"]*[<>=][^"]*"/.test(sql)) return ANYTHING;
  let plan: PlanNode[];
  try {
    const result = await twin.runAndReadAll(`explain (format json) ${sql}`);
    plan = JSON.parse(String(result.getRows()[0]![1])) as PlanNode[];
  } catch {
    return ANYTHING; // The statement itself will say what is wrong with it, if anything is.
  }
  const scans: Hints[] = [];
  const visit = (node: PlanNode, anyOrder: boolean): void => {
    const { Table: table, Filters: filters, Aggregates: aggregates } = node.extra_info ?? {};
    if (table?.split('.').pop() === 'accesses') scans.push({ ...scanHints(filters), anyOrder });
    const below = AGGREGATE.test(node.name ?? '')
      ? listOf(aggregates).every((aggregate) => ORDERLESS_AGGREGATE.test(aggregate))
      : anyOrder && ORDERLESS.test(node.name ?? '');
    node.children?.forEach((child) => visit(child, below));
  };
  plan.forEach((node) => visit(node, false));
  return scans.length === 0 ? ANYTHING : scans.reduce(hull);
}

const COLUMNS: Readonly<Record<string, keyof Bounds>> = {
  process: 'process',
  thread: 'thread',
  tick: 'tick',
  addr: 'address',
};

/** Bounds from the conditions pushed down to one scan, each as EXPLAIN prints it. */
function scanHints(filters: Printed = []): Bounds {
  const hints: { -readonly [K in keyof Bounds]: Range } = { ...FULL_BOUNDS };
  for (const filter of listOf(filters)) {
    const terms = plain(filter)
      .split(' AND ')
      .map((term) => /^(process|thread|tick|addr)(<=|>=|=|<|>)(\d{1,20})$/.exec(term));
    if (!terms.every((term) => term !== null)) continue;
    for (const [, name, operator, digits] of terms) {
      const column = COLUMNS[name!]!;
      const value = BigInt(digits!);
      let [low, high] = hints[column];
      if (operator === '=' || operator === '>=') low = larger(low, value);
      if (operator === '=' || operator === '<=') high = smaller(high, value);
      if (operator === '>') low = larger(low, value + 1n);
      if (operator === '<') high = smaller(high, value - 1n);
      hints[column] = low <= high ? [low, high] : [1n, 0n];
    }
  }
  return hints;
}

/**
 * A condition in its plainest form. Where a bound was computed, as in `tick < 1000 + 5`, the planner
 * compares in a wider type, which changes no value, and prints that cast and a pair of parentheses.
 */
function plain(filter: string): string {
  return filter
    .replace(/CAST\((\w+) AS (?:BIGINT|HUGEINT)\)/g, '$1')
    .replace(/\((\w+) BETWEEN (\d+) AND (\d+)\)/g, '$1>=$2 AND $1<=$3')
    .replace(/\((\w+) (<=|>=|=|<|>) (\d+)\)/g, '$1$2$3');
}

const larger = (a: bigint, b: bigint) => (a > b ? a : b);
const smaller = (a: bigint, b: bigint) => (a < b ? a : b);

/** Bounds that hold for two scans of one statement. */
function hull(a: Hints, b: Hints): Hints {
  const join = ([low1, high1]: Range, [low2, high2]: Range): Range => [
    smaller(low1, low2),
    larger(high1, high2),
  ];
  return {
    process: join(a.process, b.process),
    thread: join(a.thread, b.thread),
    tick: join(a.tick, b.tick),
    address: join(a.address, b.address),
    anyOrder: a.anyOrder && b.anyOrder,
  };
}
