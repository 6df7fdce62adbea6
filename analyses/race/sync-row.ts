/**
 * A row of `sync` in plain numbers. A program may take locks millions of times, and each operation is looked at for
 * several purposes: so the columns are read once for all of them, without integers of 64 bits, which are slow.
 */
import { wordsOf } from '../../replay/event-cursor.js';
import type { EventRow } from '../../replay/types.js';
import { sync } from '../../schemas/tables.js';

const NAMES = sync.columns.op.names;
export type SyncOp = (typeof NAMES)[number];

/** Numbers of operations by their names. */
export const SYNC_OPS = Object.fromEntries(NAMES.map((name, number) => [name, number])) as Readonly<
  Record<SyncOp, number>
>;

/** A value for each operation: those named, or else a common one. */
export function bySyncOp(values: Partial<Readonly<Record<SyncOp, number>>>): Uint8Array {
  return Uint8Array.from(NAMES, (name) => values[name] ?? 0);
}

export class SyncRow {
  /** As in `SYNC_OPS`; -1 of operations that this version does not know. */
  op = -1;
  thread = 0;
  tick = 0;
  /** Key of `stacks`. */
  stack = 0;
  /** The columns of these names; what is above 2^53 is not exact, as an address or a count never is. */
  object = 0;
  object2 = 0;
  value = 0;

  private batch: EventRow['batch'];
  private names: readonly string[] = [];
  private ops = new Int8Array(0);
  private codes!: Uint8Array;
  private threads!: Uint32Array;
  private stacks!: Uint32Array;
  private ticks!: Uint32Array;
  private objects!: Uint32Array;
  private objects2!: Uint32Array;
  private values!: Uint32Array;

  /** Takes in the row at which the events stand. */
  read({ batch, row }: EventRow): this {
    if (batch !== this.batch) this.open(batch);
    const { ticks, objects, objects2, values } = this;
    const [low, high] = [2 * row, 2 * row + 1];
    this.op = this.ops[this.codes[row]!]!;
    this.thread = this.threads[row]!;
    this.stack = this.stacks[row]!;
    this.tick = ticks[low]! + ticks[high]! * 0x1_0000_0000;
    this.object = objects[low]! + objects[high]! * 0x1_0000_0000;
    this.object2 = objects2[low]! + objects2[high]! * 0x1_0000_0000;
    this.value = values[low]! + values[high]! * 0x1_0000_0000;
    return this;
  }

  private open(batch: EventRow['batch']): void {
    this.batch = batch;
    const column = (name: string) => batch!.column(name as never) as unknown;
    const words = (name: string) => wordsOf(column(name) as BigUint64Array);
    this.codes = column('op') as Uint8Array;
    this.threads = column('thread') as Uint32Array;
    this.stacks = column('stack') as Uint32Array;
    this.ticks = words('tick');
    this.objects = words('object');
    this.objects2 = words('object2');
    this.values = words('value');
    const names = batch!.names('op' as never);
    if (names === this.names) return;
    this.names = names;
    this.ops = Int8Array.from(names, (name) => SYNC_OPS[name as SyncOp] ?? -1);
  }
}
