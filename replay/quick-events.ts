/**
 * Events that the native module applies by itself (native/events.h), while threaded code runs on: changes of registers of the
 * thread that runs, allocations, and superblocks that run from now on. Of most programs that is nearly all, and to return to
 * the host for each costs as much as hundreds of instructions. What the module cannot do, and all other events, are left to
 * replay.ts.
 */
import type { Cursor } from './event-cursor.js';
import type { BlockDefinition, Guest } from './guest.js';
import type { NativeEngine, NativeEvents, NativeReplay } from './native.js';
import type { Batch, VarColumn } from './trace.js';
import { isRelease, blocks, heap, registers } from '../schemas/tables.js';
import type { Table } from '../schemas/schema.js';

/** In the order of the module. */
export const QUICK_TABLES = [registers, heap, blocks] as const;
const [REGISTERS, HEAP, BLOCKS] = [0, 1, 2];

/** Words that the module shares, in the order that it says. */
const WORD = {
  row: 0,
  end: 3,
  stateSize: 6,
  RIP: 7,
  base: 8,
  thread: 9,
  releases: 10,
  firstBlock: 11,
  stopped: 12,
  count: 13,
} as const;

/** Between two events for the host there are at least so many others, of whatever table, if the way into the module is to pay. */
const LEAST_EVENTS = 16;

/** Superblocks that were announced to the guest: rows of a batch from `first` on. */
export interface Announced {
  readonly batch: Batch | undefined;
  readonly first: number;
  readonly definitions: readonly BlockDefinition[];
}

export class QuickEvents {
  private readonly words = new Uint32Array(WORD.count);
  private readonly events: NativeEvents;
  private readonly engine: NativeEngine;
  private readonly replay: NativeReplay;
  /** By number of the table: absent if somebody else wants its rows. */
  private readonly cursors: (Cursor | undefined)[];
  /** The cursors of all other tables. */
  private readonly others: readonly Cursor[];
  /** Events from this one on are not for the module. */
  private barrier = 0;
  /** The batches whose arrays the module has, which have to stay. */
  private readonly bound: (Batch | undefined)[] = [];
  private announced: Announced | undefined;
  /** Two words of each block that is announced: its slot, and its position. */
  private ahead = new Uint32Array(0);
  private codes: Uint32Array | undefined;

  /**
   * @param native - the module, and what it knows the replay by
   * @param cursors - of all tables that replay reads
   * @param observed - tables whose rows somebody else wants
   * @param announce - announces the superblocks that come next
   */
  constructor(
    native: NonNullable<Guest['native']>,
    private readonly guest: Guest,
    layout: { readonly stateSize: number; readonly RIP: number },
    cursors: readonly Cursor[],
    observed: ReadonlySet<Table>,
    private readonly announce: (cursor: Cursor) => Announced,
  ) {
    this.engine = native.engine;
    this.replay = native.replay;
    this.cursors = QUICK_TABLES.map((table) =>
      observed.has(table) ? undefined : cursors.find((cursor) => cursor.table === table),
    );
    this.others = cursors.filter((cursor) => !this.has(cursor));
    this.words[WORD.stateSize] = layout.stateSize;
    this.words[WORD.RIP] = layout.RIP;
    this.words[WORD.base] = guest.memory.base;
    this.events = this.engine.makeEvents(this.words);
    const misses = guest.cache?.blocks;
    if (misses) this.engine.bindMisses(this.events, misses.handle);
  }

  private has(cursor: Cursor): boolean {
    return this.cursors.includes(cursor);
  }

  /** The next row, which this cursor has, is one of many that are applied here. */
  comes(cursor: Cursor): boolean {
    if (!this.has(cursor)) return false;
    this.barrier = Infinity;
    for (const { event } of this.others) if (event < this.barrier) this.barrier = event;
    return this.barrier - cursor.event >= LEAST_EVENTS;
  }

  /** Gets ready for the rows that come next (`comes`), with a thread running. */
  begin(thread: number): void {
    this.words[WORD.thread] = thread;
    this.cursors.forEach((cursor, table) => {
      if (!cursor) return;
      if (cursor.event === Infinity) this.bind(cursor, table, undefined, 0);
      else if (table === BLOCKS) this.bindBlocks(cursor);
      else this.bind(cursor, table, cursor.batch, cursor.end);
    });
    if (this.guest.codes !== this.codes) this.bindCodes();
  }

  /** @param end - the first row that is not to be applied */
  private bind(cursor: Cursor, table: number, batch: Batch | undefined, end: number): void {
    this.words[WORD.row + table] = batch ? cursor.row : 0;
    this.words[WORD.end + table] = end;
    if (this.bound[table] === batch) return;
    this.bound[table] = batch;
    const { engine, events } = this;
    if (!batch) return engine.bindEvents(events, table, 0, undefined, undefined);
    const column = (name: string) => batch.column(name as never) as unknown;
    const u64 = (name: string) => column(name) as BigUint64Array;
    const { count } = batch;
    if (table === REGISTERS) {
      const { offsets, data } = column('changes') as VarColumn;
      engine.bindRegisters(events, count, column('thread') as Uint32Array, offsets, data);
    } else if (table === HEAP) {
      engine.bindHeap(
        ...([events, count, column('op') as Uint8Array, u64('address'), u64('size')] as const),
        ...([u64('previous'), u64('previous_size')] as const),
        ...([column('stack') as Uint32Array, column('known') as Uint8Array] as const),
      );
      this.words[WORD.releases] = batch
        .names('op' as never)
        .reduce((mask, name, code) => mask | (isRelease(name) ? 1 << code : 0), 0);
    }
    engine.bindEvents(events, table, count, u64('event'), u64('tick'));
  }

  private bindBlocks(cursor: Cursor): void {
    const announced = this.announce(cursor);
    const { first, definitions, batch } = announced;
    if (announced !== this.announced) {
      this.announced = announced;
      this.ahead = Uint32Array.from(definitions.flatMap((one) => this.guest.placeOf(one)));
      this.words[WORD.firstBlock] = first;
      this.codes = undefined;
    }
    this.bind(cursor, BLOCKS, batch, first + definitions.length);
  }

  private bindCodes(): void {
    this.codes = this.guest.codes;
    this.engine.bindBlocks(this.events, this.ahead.length / 2, this.ahead, this.codes);
  }

  /**
   * Applies events and runs code between them from a slot on, as far as it can be done here; returns the slot to go on from.
   * If it did not stop, the code there is for the host, up to `CELL.limit`.
   */
  proceed(slot: number): number {
    this.guest.cache?.blocks?.bind();
    if (this.guest.codes !== this.codes) this.bindCodes();
    const [before] = this.words.subarray(WORD.row + BLOCKS);
    try {
      return this.engine.proceed(
        this.events,
        this.replay,
        this.barrier,
        slot,
        this.guest.functionsOfHost,
      );
    } finally {
      // Before anything else asks what runs where.
      const after = this.words[WORD.row + BLOCKS]!;
      for (let row = before!; row < after; row++)
        this.guest.define(this.announced!.definitions[row - this.announced!.first]!);
    }
  }

  /** Why it stopped: the next event is for the host, or there is no more room for rows of accesses. */
  get stopped(): 'ticks' | 'buffer' | undefined {
    return ([undefined, 'ticks', 'buffer'] as const)[this.words[WORD.stopped]!];
  }

  /** The cursors go where the module is. */
  end(): void {
    this.cursors.forEach((cursor, table) => {
      const row = this.words[WORD.row + table]!;
      if (cursor && this.bound[table] && row !== cursor.row) cursor.goTo(row);
    });
  }
}
