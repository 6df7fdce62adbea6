/**
 * Rows of stored tables in the order of events, without replaying anything: for analyses that need no
 * more than what was recorded.
 */
import type { Table } from '../schemas/schema.js';
import { Cursor, legsOf } from './event-cursor.js';
import type { Trace } from './trace.js';
import type { EventRow } from './types.js';

/**
 * The rows of a process image, with those that a forked image inherits first. A row is valid until the
 * next one is asked for, and so is what is yielded.
 * @yields the row, and whether it is of the image itself
 */
export function* eventRows(
  trace: Trace,
  process: number,
  tables: readonly Table[],
): Generator<{ readonly row: EventRow; readonly isInImage: boolean }> {
  for (const leg of legsOf(trace, process)) {
    const cursors = tables.map((table) => new Cursor(table, trace, leg.process, leg.endEvent));
    const found = { row: cursors[0]!, isInImage: leg.process === process };
    for (;;) {
      let first: Cursor | undefined;
      for (const cursor of cursors) if (cursor.event < (first?.event ?? Infinity)) first = cursor;
      if (!first) break;
      found.row = first;
      yield found;
      first.next();
    }
  }
}
