/**
 * The recorded changes of a process image's heap, one after another, without a replay. There may be millions of rows of
 * `heap`: they are read as arrays.
 */
import { Cursor, legsOf, numberAt, wordsOf } from '../../replay/event-cursor.js';
import { rowsBefore } from '../../replay/lineage.js';
import type { Trace } from '../../replay/trace.js';
import { heap } from '../../schemas/tables.js';
import { Blocks, blockTables, type HeapSettings } from './blocks.js';

/**
 * Applies the changes to `blocks`.
 * @param before - told the tick of each change before it, and whether it is of the image itself; returns whether to go on
 * @param after - the same after it
 */
export function applyChanges(
  trace: Trace,
  process: number,
  settings: HeapSettings,
  blocks: Blocks,
  before: (tick: number, isInImage: boolean) => boolean,
  after: (tick: number, isInImage: boolean) => void,
): void {
  const others = blockTables(settings).filter((table) => table !== heap);
  for (const leg of legsOf(trace, process)) {
    const isInImage = leg.process === process;
    const cursors = others.map((table) => new Cursor(table, trace, leg.process, leg.endEvent));
    /** Applies rows of other tables before an event; returns false when it is to end. */
    const applyOthers = (event: number): boolean => {
      for (const cursor of cursors)
        for (; cursor.event < event; cursor.next()) {
          const tick = cursor.number('tick');
          if (!before(tick, isInImage)) return false;
          blocks.applied(cursor, isInImage);
          after(tick, isInImage);
        }
      return true;
    };
    for (const batch of settings.ofPages ? [] : trace.batches(heap, leg.process)) {
      const end = rowsBefore(batch, leg.endEvent);
      const wide = (name: 'event' | 'tick' | 'address' | 'size' | 'previous'): Uint32Array =>
        wordsOf(batch.column(name));
      const [events, ticks, addresses] = [wide('event'), wide('tick'), wide('address')];
      const [sizes, previous] = [wide('size'), wide('previous')];
      const [ops, known, stacks] = [
        batch.column('op'),
        batch.column('known'),
        batch.column('stack'),
      ];
      const names = batch.names('op');
      for (let row = 0; row < end; row++) {
        if (!applyOthers(numberAt(events, row))) return;
        const tick = numberAt(ticks, row);
        if (!before(tick, isInImage)) return;
        blocks.allocator(
          names[ops[row]!],
          numberAt(addresses, row),
          numberAt(sizes, row),
          numberAt(previous, row),
          known[row] !== 0,
          stacks[row]!,
          tick,
          isInImage,
        );
        after(tick, isInImage);
      }
    }
    if (!applyOthers(Infinity)) return;
  }
}
