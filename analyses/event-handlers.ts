/** How parts of analyses ask for events: by the name of the table that has them (docs/tables.md, "Stored files"). */
import { eventRows } from '../replay/event-rows.js';
import type { Trace } from '../replay/trace.js';
import type { EventRow } from '../replay/types.js';
import { UserError } from '../schemas/errors.js';
import type { Table } from '../schemas/schema.js';
import { EVENTS } from '../schemas/tables.js';
import type { EventPart, Part } from './replay-parts.js';

export type EventName = keyof typeof EVENTS;

/** Each is given the rows of the table that it is called like, one after another; a row is valid during the call. */
export type EventHandlers = {
  readonly [N in EventName]?: (row: EventRow<(typeof EVENTS)[N]>) => void;
};

type Handler = (row: EventRow, isInImage: boolean) => void;

/** What is to be told of the rows of each table. Throws UserError for an event that there is not. */
export function handlersOf(parts: readonly Part[]): Map<Table, Handler[]> {
  const handlers = new Map<Table, Handler[]>();
  for (const { events = {}, inheritsEvents } of parts)
    for (const [name, told] of Object.entries(events) as [string, (row: EventRow) => void][]) {
      if (!Object.hasOwn(EVENTS, name))
        throw new UserError(
          `There are no events called ${name}: they are ${Object.keys(EVENTS).join(', ')}, and accesses as a function of the part.`,
        );
      const table: Table = EVENTS[name as EventName];
      const known = handlers.get(table) ?? [];
      known.push((row, isInImage) => {
        if (isInImage || inheritsEvents) told(row);
      });
      handlers.set(table, known);
    }
  return handlers;
}

/** Tells parts that want nothing else of the events of a process image, without a replay. */
export function readEvents(trace: Trace, process: number, parts: readonly EventPart[]): void {
  const handlers = handlersOf(parts);
  if (handlers.size === 0) return;
  for (const { row, isInImage } of eventRows(trace, process, [...handlers.keys()]))
    for (const told of handlers.get(row.table)!) told(row, isInImage);
}
