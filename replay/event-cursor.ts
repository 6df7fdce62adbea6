/** The rows of one stored table in the order of events, and which of them belong to a process image. */
import { UserError } from '../schemas/errors.js';
import type { Column, Table, Value } from '../schemas/schema.js';
import { cellGetter } from './arrow-file.js';
import { rowsBefore } from './lineage.js';
import type { Batch, Trace, VarColumn } from './trace.js';
import type { EventRow } from './types.js';

/** A place in one table: the next row not yet delivered. */
export class Cursor implements EventRow {
  batch: Batch | undefined;
  row = 0;
  /** Numbers of the batch's events, and its ticks once they are asked for, the low word first. */
  private ids!: Uint32Array;
  private ticks: Uint32Array | undefined;
  /** Rows of the batch that belong to the leg. */
  end = 0;
  private readonly batches: Iterator<Batch>;

  /** Words of columns of the batch, the low ones first. */
  private readonly words = new Map<string, Uint32Array>();
  /** What reads cells of columns of the batch. */
  private readonly getters = new Map<string, (row: number) => unknown>();

  constructor(
    readonly table: Table,
    trace: Trace,
    process: number,
    /** Rows at and after this event are left out. */
    private readonly endEvent: bigint,
  ) {
    this.batches = trace.batches(table, process);
    this.load();
  }

  /** Number of the next row's event; Infinity when there is none. */
  event = Infinity;

  next(): void {
    this.goTo(this.row + 1);
  }

  /** Goes on to a later row of the batch, or its end. */
  goTo(row: number): void {
    this.row = row;
    if (row < this.batch!.count) this.settle();
    else this.load();
  }

  private load(): void {
    const { value, done } = this.batches.next();
    this.batch = done ? undefined : (value as Batch);
    this.row = 0;
    this.words.clear();
    this.getters.clear();
    if (!this.batch) {
      this.event = Infinity;
      return;
    }
    this.ids = wordsOf(this.batch.column('event'));
    this.ticks = undefined;
    this.end = rowsBefore(this.batch, this.endEvent);
    if (this.batch.count === 0) this.load();
    else this.settle();
  }

  private settle(): void {
    const { ids, row } = this;
    this.event = this.isBeforeEnd() ? numberAt(ids, row) : Infinity;
  }

  /** The current row belongs to the leg. */
  isBeforeEnd(): boolean {
    return this.row < this.end;
  }

  /** Tick of the row, in a table that has them. */
  get tick(): number {
    const { row } = this;
    const ticks = (this.ticks ??= wordsOf(this.batch!.column('tick' as never) as BigUint64Array));
    return numberAt(ticks, row);
  }

  value<K extends string>(name: K): Value<Column> {
    let get = this.getters.get(name);
    if (!get) {
      const column = this.table.columns[name];
      if (!column) {
        const columns = Object.keys(this.table.columns).join(', ');
        throw new UserError(`There is no column ${name} in ${this.table.name}: it has ${columns}.`);
      }
      this.getters.set(name, (get = cellGetter(this.batch!, name, column)));
    }
    return get(this.row) as Value<Column>;
  }

  u64(name: string): bigint {
    return (this.batch!.column(name as never) as BigUint64Array)[this.row]!;
  }

  number(name: string): number {
    let words = this.words.get(name);
    if (!words) {
      words = wordsOf(this.batch!.column(name as never) as BigUint64Array);
      this.words.set(name, words);
    }
    return numberAt(words, this.row);
  }

  i64(name: string): bigint {
    return BigInt.asIntN(64, this.u64(name));
  }

  u32(name: string): number {
    return (this.batch!.column(name as never) as Uint32Array)[this.row]!;
  }

  /** Name of an enum column's value. */
  name(name: string): string | undefined {
    return this.batch!.names(name as never)[this.u32(name)];
  }

  bytes(name: string): Uint8Array {
    const { offsets, data } = this.batch!.column(name as never) as unknown as VarColumn;
    return data.subarray(offsets[this.row]!, offsets[this.row + 1]!);
  }
}

/** Integers of 64 bits as pairs of words, the low one first: these are read faster. */
export const wordsOf = ({ buffer, byteOffset, length }: BigUint64Array): Uint32Array =>
  new Uint32Array(buffer, byteOffset, 2 * length);

/** The integer of a row of these, which is exact below 2^53. */
export const numberAt = (words: Uint32Array, row: number): number =>
  words[2 * row]! + words[2 * row + 1]! * WORD;

/** A constant: V8 computes a power each time. */
const WORD = 2 ** 32;

/** A part of the replay: the events of one image, up to a fork or the end. */
export interface Leg {
  readonly process: number;
  /** Events at and after this number do not belong to the leg. */
  readonly endEvent: bigint;
  /** Where the leg ends, by a fork or for good: run to this tick after the last event. */
  readonly endTick: bigint;
}

const U64 = 0xffffffffffffffffn;

/**
 * The parts of a replay of a process image: first those of the images that it was forked from. Throws
 * UserError when the trace lacks one.
 * @param tidyUp - with what the C library does after an exit
 */
export function legsOf(trace: Trace, process: number, tidyUp = false): Leg[] {
  const legs: Leg[] = [];
  let image = trace.processes.find((row) => row.process === process);
  if (!image) throw new UserError(`The run has no process ${process}.`);
  const exit = tidyUp ? undefined : trace.exitEvent(process);
  let leg: Leg = {
    process,
    endEvent: exit === undefined ? U64 : exit + 1n,
    endTick: image.ticks,
  };
  for (let depth = 0; ; depth++) {
    legs.unshift(leg);
    if (image!.how !== 'fork') return legs;
    const parent: number = image!.parent;
    leg = { process: parent, endEvent: image!.parent_event, endTick: image!.parent_tick };
    image = trace.processes.find((row) => row.process === parent);
    if (!image || depth > trace.processes.length) {
      throw new UserError(
        `The trace does not hold the process that process ${process} was forked from: process ${process} cannot be replayed.`,
      );
    }
  }
}
