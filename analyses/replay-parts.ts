/**
 * One replay of a process image for several analyses: each says what it wants delivered, and gets its own events and
 * accesses. What one wants another may get, too.
 */
import { openReplay, type ProcessReplay } from '../replay/replay.js';
import type { Trace } from '../replay/trace.js';
import type { AccessBatch, AccessColumn, EventRow, ReplayOptions } from '../replay/types.js';
import { UserError } from '../schemas/errors.js';
import type { Table } from '../schemas/schema.js';
import type { Analysis, AnalysisContext, OptionValues } from './analysis.js';
import type { Outcome } from './finding.js';

/** An analysis's part in one replay of one process image. */
export interface ReplayPart {
  /** What is to be delivered. The options of all parts are united: see `unite`. */
  readonly wants: ReplayOptions;
  /** The replay is open, and nothing has run. */
  begin?(replay: ProcessReplay): void;
  /**
   * Accesses since the last call, before the event that comes next takes effect on this part; the arrays are valid during
   * the call. Called of every part that wants accesses.
   */
  accesses?(batch: AccessBatch): void;
  /** The replay is over. */
  finish(replay: ProcessReplay): Outcome;
}

/** Begins the part of an analysis in the replay of a process image. Throws UserError for wrong options. */
export type MakePart = (
  trace: Trace,
  process: number,
  options: OptionValues,
  context: AnalysisContext,
) => ReplayPart;

/** An analysis all of whose work is its part in a replay. */
export function analysisOfPart(analysis: Omit<Analysis, 'run'> & { part: MakePart }): Analysis {
  return {
    ...analysis,
    *run(trace, options, context) {
      for (const [outcome] of runParts(trace, [{ part: analysis.part, options }], context))
        yield outcome!;
    },
  };
}

/** Replays each process image once for all: yields the outcomes of an image in the order of `makers`. */
export function* runParts(
  trace: Trace,
  makers: readonly { readonly part: MakePart; readonly options: OptionValues }[],
  context: AnalysisContext,
): Generator<Outcome[]> {
  const { processes } = context;
  for (const [place, process] of processes.entries()) {
    const ticks = Number(trace.processes.find((row) => row.process === process)?.ticks ?? 1n);
    const progress = (done: number): void => context.progress((place + done) / processes.length);
    const parts = makers.map(({ part, options }) =>
      part(trace, process, options, { ...context, progress }),
    );
    yield replayParts(trace, process, parts, (tick) => progress(tick / ticks));
  }
}

/** Replays one process image for these parts. */
export function replayParts(
  trace: Trace,
  process: number,
  parts: readonly ReplayPart[],
  progress: (tick: number) => void = () => {},
): Outcome[] {
  const readers = parts.filter((part) => part.wants.accesses);
  const deliver = (batch: AccessBatch): void => {
    for (const part of readers) part.accesses!(batch);
  };
  const observers = parts.flatMap(({ wants }) => wants.observer ?? []);
  const tables = [...new Set(observers.flatMap((one) => one.tables))];
  const byTable = new Map<Table, typeof observers>(
    tables.map((table) => [table, observers.filter((one) => one.tables.includes(table))]),
  );
  const applied = (row: EventRow): void => {
    // What was accessed before an event is not to be seen after it.
    const batch = readers.length > 0 ? replay.drain() : undefined;
    if (batch) deliver(batch);
    for (const one of byTable.get(row.table)!) one.applied(row);
    progress(replay.guest.now);
  };
  const replay = openReplay(trace, process, {
    ...unite(parts.map(({ wants }) => wants)),
    ...(tables.length > 0 && { observer: { tables, applied } }),
  });
  for (const part of parts) part.begin?.(replay);
  for (let batch; (batch = replay.nextAccesses());) {
    deliver(batch);
    progress(replay.guest.now);
  }
  return parts.map((part) => part.finish(replay));
}

/**
 * What several want together: accesses with the columns of all, counts if one wants them. Whoever restricts what is
 * delivered, or follows definedness, has its replay for itself: that is a mistake of the analysis.
 */
function unite(all: readonly ReplayOptions[]): ReplayOptions {
  const [first] = all;
  if (all.length === 1 && first) return first;
  // Their rows would be taken for accesses.
  if (
    all.some(({ fetches }) => fetches !== undefined) &&
    all.filter(({ accesses }) => accesses).length > 1
  )
    throw new UserError(
      'An analysis that looks at fetches of instructions cannot share a replay with one of accesses: ask for them one by one.',
    );
  let united: ReplayOptions = {};
  for (const { accesses, columns, counts, observer: _, ...rest } of all) {
    for (const name of Object.keys(rest))
      if (Object.hasOwn(united, name) && name === 'cache')
        throw new UserError(
          'Two of these analyses simulate caches, which one replay does only once: ask for them one after the other.',
        );
      else if (Object.hasOwn(united, name))
        throw new Error(`two analyses want ${name} of one replay`);
    united = { ...united, ...rest, ...(counts && { counts }) };
    if (!accesses) continue;
    const wanted: ReadonlySet<AccessColumn> | undefined =
      united.accesses && !united.columns
        ? undefined
        : columns && new Set([...(united.columns ?? []), ...columns]);
    united = { ...united, accesses };
    if (wanted) united = { ...united, columns: wanted };
    else united = withoutColumns(united);
  }
  return united;
}

function withoutColumns(options: ReplayOptions): ReplayOptions {
  const { columns: _, ...rest } = options;
  return rest;
}
