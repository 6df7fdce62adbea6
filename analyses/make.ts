/** What analyses give, made briefly: findings and tables of their own. */
import { string, table, type Columns, type Table } from '../schemas/schema.js';
import { ADDED_COLUMNS } from '../schemas/stored.js';
import { findings } from '../schemas/views.js';
import type { Finding, FindingStack, Pc } from './finding.js';

/** Where and when something happened; an event's row has the last two. */
export interface Where {
  readonly process: number;
  readonly thread: number;
  readonly tick: number | bigint;
}

/** What a finding says. */
export interface Said extends Partial<
  Pick<Finding, 'notes' | 'count' | 'severity' | 'parameter' | 'leak'>
> {
  readonly kind: string;
  readonly what: string;
  /** The call stack there, innermost first. */
  readonly pcs?: readonly Pc[];
  /** Other stacks that belong to it. */
  readonly stacks?: readonly FindingStack[];
}

/** A finding: something happened there, once unless `count` says otherwise. */
export const findingAt = (
  { process, thread, tick }: Where,
  { kind, what, pcs, stacks = [], notes = [], count = 1, ...rest }: Said,
): Finding => ({
  ...{ kind, what, notes, process, thread, tick: BigInt(tick), count, ...rest },
  stacks: [...(pcs ? [{ role: '', pcs }] : []), ...stacks],
});

/** What the columns are that all tables of analyses have. */
type WithOwner<C extends Columns> = C & {
  readonly process: typeof ADDED_COLUMNS.process;
  readonly analysis: typeof findings.columns.analysis;
};

/**
 * Declares a table of an analysis's own, which SQL shows under this name. Columns come from `u64('What it is.')` and the like;
 * rows have `process` besides.
 * @param name lower case with underscores
 * @param doc what one row is
 */
export const analysisTable = <const C extends Columns>(
  name: string,
  doc: string,
  columns: C,
): Table<WithOwner<C>> =>
  table(name, doc, {
    process: ADDED_COLUMNS.process,
    analysis: string(findings.columns.analysis.doc),
    ...columns,
  }) as Table<WithOwner<C>>;
