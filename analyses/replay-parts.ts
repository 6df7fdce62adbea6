/**
 * One replay of a process image for several analyses: each says what it wants delivered, and gets its own events and
 * accesses. What one wants another may get, too.
 */
import { openReplay, type ProcessReplay } from '../replay/replay.js';
import type { Trace } from '../replay/trace.js';
import type { AccessBatch, AccessColumn, EventRow, ReplayOptions } from '../replay/types.js';
import type { Table } from '../schemas/schema.js';
import type { AnalysisContext, OptionValues } from './analysis.js';
import { handlersOf, readEvents, type EventHandlers } from './event-handlers.js';
import type { Outcome } from './finding.js';

/** What parts of analyses have in common. */
interface AnyPart {
  /**
   * Told of events by name, each once it has taken effect. What the image did itself: of what it was forked from,
   * it is told with `inheritsEvents`.
   */
  readonly events?: EventHandlers;
  /** `events` also has those of the images that this one was forked from, up to the forks. */
  readonly inheritsEvents?: boolean;
}

/** An analysis's part in one replay of one process image. */
export interface ReplayPart extends AnyPart {
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

/** A part that needs the recorded events alone: nothing is replayed for it. */
export interface EventPart extends AnyPart {
  readonly wants?: undefined;
  /** There are no more events. */
  finish(): Outcome;
}

export type Part = ReplayPart | EventPart;

/** Begins the part of an analysis in the replay of a process image. Throws UserError for wrong options. */
export type MakePart<O extends OptionValues = OptionValues> = (
  trace: Trace,
  process: number,
  options: O,
  context: AnalysisContext,
) => Part;

/** Replays one process image for these parts: once, unless some want what excludes what others want. */
export function replayParts(
  trace: Trace,
  process: number,
  parts: readonly Part[],
  progress: (tick: number) => void = () => {},
): Outcome[] {
  const outcomes = new Map<Part, Outcome>();
  for (const group of groupsOf(parts))
    for (const [part, outcome] of replayTogether(trace, process, group, progress))
      outcomes.set(part, outcome);
  return parts.map((part) => outcomes.get(part)!);
}

/** Parts that can share a replay; those that need none join the first. */
function groupsOf(parts: readonly Part[]): Part[][] {
  const groups: Part[][] = [];
  const replayed = parts.filter((part) => part.wants) as ReplayPart[];
  for (const part of replayed) {
    const group = groups.find((one) => canShare([...(one as ReplayPart[]), part]));
    if (group) group.push(part);
    else groups.push([part]);
  }
  const others = parts.filter((part) => !part.wants);
  if (others.length > 0) (groups[0] ?? (groups[0] = [])).push(...others);
  return groups;
}

function* replayTogether(
  trace: Trace,
  process: number,
  parts: readonly Part[],
  progress: (tick: number) => void,
): Generator<[Part, Outcome]> {
  const replayed = parts.filter((part) => part.wants) as ReplayPart[];
  if (replayed.length === 0) {
    const others = parts as readonly EventPart[];
    readEvents(trace, process, others);
    for (const part of others) yield [part, part.finish()];
    return;
  }
  const readers = replayed.filter((part) => part.wants.accesses);
  const deliver = (batch: AccessBatch): void => {
    for (const part of readers) part.accesses!(batch);
  };
  const told = handlersOf(parts);
  for (const { tables, applied } of replayed.flatMap(({ wants }) => wants.observer ?? []))
    for (const table of new Set<Table>(tables))
      told.set(table, [...(told.get(table) ?? []), (row) => applied(row)]);
  const tables = [...told.keys()];
  const applied = (row: EventRow): void => {
    // What was accessed before an event is not to be seen after it.
    const batch = readers.length > 0 ? replay.drain() : undefined;
    if (batch) deliver(batch);
    for (const one of told.get(row.table)!) one(row, replay.isInImage);
    progress(replay.guest.now);
  };
  const replay = openReplay(trace, process, {
    ...unite(replayed.map(({ wants }) => wants)),
    ...(tables.length > 0 && { observer: { tables, applied } }),
  });
  for (const part of replayed) part.begin?.(replay);
  for (let batch; (batch = replay.nextAccesses());) {
    deliver(batch);
    progress(replay.guest.now);
  }
  for (const part of parts) yield [part, part.finish(replay)];
}

/** Who restricts what is delivered, or follows definedness, has a replay for itself. */
const FOR_ONE_ALONE: readonly (keyof ReplayOptions)[] = [
  ...(['addresses', 'fresh', 'lines', 'loads', 'shadow', 'tallied'] as const),
  ...(['fromTick', 'toTick', 'tidyUp'] as const),
];

/** Whether one replay can do what several want: it has one simulation of caches, and rows of fetches would be taken for accesses. */
function canShare(parts: readonly ReplayPart[]): boolean {
  const all = parts.map(({ wants }) => wants);
  if (all.some((wants) => FOR_ONE_ALONE.some((name) => wants[name] !== undefined))) return false;
  if (
    all.some(({ fetches }) => fetches !== undefined) &&
    all.filter(({ accesses }) => accesses).length > 1
  )
    return false;
  const once = all.flatMap(({ accesses: _a, columns: _c, counts: _n, observer: _o, ...rest }) =>
    Object.keys(rest),
  );
  return new Set(once).size === once.length;
}

/** What several that can share a replay want together: accesses with the columns of all, counts if one wants them. */
function unite(all: readonly ReplayOptions[]): ReplayOptions {
  const [first] = all;
  if (all.length === 1 && first) return first;
  let united: ReplayOptions = {};
  for (const { accesses, columns, counts, observer: _, ...rest } of all) {
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
