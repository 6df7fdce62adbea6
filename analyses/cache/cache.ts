/**
 * cache: how the program would use caches, as Cachegrind simulates them (Valgrind manual, 5): a first level each for
 * instructions and for data, a last level behind both, write-allocate, least recently used. The simulation runs in
 * compiled code (replay/cache-guest.ts), or in a model that can do more (model.ts); here its counts become tables: by
 * function, by source line with inlined functions told apart, by thread, by the allocation of the heap block and the
 * place in it.
 */
import type { CacheMisses, CacheShape } from '../../replay/cache-guest.js';
import {
  heapCallOf,
  MISS_EVENTS,
  MOST_OFFSETS,
  OFFSET_BITS,
  type FoundMisses,
} from '../../replay/heap-misses.js';
import { nativeEngine } from '../../replay/native.js';
import type { ProcessReplay } from '../../replay/replay.js';
import { columnOf, groupRows, rowOfKey, sumRows } from '../../replay/rows.js';
import { Symbols, type CodePlaces, type Frame } from '../../replay/symbols.js';
import type { Batch, Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import { UserError } from '../../schemas/errors.js';
import { heap, slices, stacks } from '../../schemas/tables.js';
import {
  cache_allocations,
  cache_levels,
  cache_lines,
  cache_sites,
  cache_threads,
} from '../../schemas/views.js';
import { formatCount } from '../../schemas/numbers.js';
import type { Row } from '../../schemas/schema.js';
import {
  defineAnalysis,
  type AnalysisContext,
  type AnalysisOption,
  type OptionValues,
} from '../analysis.js';
import type { Outcome, StoredColumn, TextColumn } from '../finding.js';
import { commandOf, writeOutput } from '../output-file.js';
import { rowsOnDemand, type Profile, type ProfileCell, type ProfileTable } from '../profile.js';
import type { ReplayPart } from '../replay-parts.js';
import { ROWS_OPTION, shownRowsOf } from '../rows-option.js';
import { cachegrindFile } from './cachegrind-out.js';
import {
  byMost,
  EVENT,
  EVENT_COUNT,
  EVENTS,
  eventsOf,
  SiteCounts,
  type EventName,
} from './counts.js';
import { LEVELS, type LevelName } from './hierarchy.js';
import { Model, strippingShapes } from './model.js';
import { PlainHeapMisses } from './plain-heap-misses.js';
import { placementOf } from './placement.js';
import { CACHE_OPTIONS, MODEL_OPTIONS, shapesOf, type Wanted } from './shapes.js';

const OPTIONS: Readonly<Record<string, AnalysisOption>> = {
  ...CACHE_OPTIONS,
  ...MODEL_OPTIONS,
  'branch-sim': {
    describe: 'Predict branches and jumps, too',
    default: 'no',
    values: ['no', 'yes'],
  },
  placement: {
    describe: 'Simulate as if memory lay elsewhere, as this number has it; 0: where it was',
    default: '0',
  },
  'by-allocation': {
    describe: 'Say of misses in heap blocks where the block was allocated',
    default: 'yes',
    values: ['yes', 'no'],
  },
  'cachegrind-out': {
    describe:
      'Write the counts to this file, for cg_annotate; %p in its name stands for the process id',
    default: '',
  },
  rows: ROWS_OPTION,
};

export const analysis = defineAnalysis({
  name: 'cache',
  describe: 'Use of caches, as Cachegrind simulates them; and of branch predictors',
  options: OPTIONS,
  part: (trace, process, options, context) => new CachePart(trace, process, options, context),
});

/** Throws UserError for what is no number, or where it cannot be simulated. */
function seedOf({ placement }: OptionValues, hasModel: boolean): number {
  const text = placement ?? '0';
  const seed = Number(text);
  if (!/^\d+$/.test(text) || seed >= 2 ** 31)
    throw new UserError(`--placement takes a whole number below 2^31, and not "${text}".`);
  if (seed > 0 && hasModel)
    throw new UserError(
      '--placement is for I1, D1 and LL alone: leave out what else is simulated.',
    );
  return seed;
}

class CachePart implements ReplayPart {
  readonly wants;
  private readonly shapes: Wanted;
  private readonly model: Model | undefined;
  /** The events that the simulation has. */
  private readonly names: readonly EventName[];
  /** The same and how often branches were executed, which is known without predicting them. */
  private readonly counted: readonly EventName[];
  private readonly shownRows: number;
  private replay!: ProcessReplay;
  private readonly threads = new Map<number, Float64Array>();
  private thread = -1;
  /** Totals when the thread began to run. */
  private before: Float64Array = new Float64Array(EVENT_COUNT);
  /** Misses in heap blocks, where replay does not count them. */
  private readonly blocks: PlainHeapMisses | undefined;

  constructor(
    private readonly trace: Trace,
    private readonly process: number,
    private readonly options: OptionValues,
    private readonly context: AnalysisContext,
  ) {
    this.shapes = shapesOf(options);
    const { model } = this.shapes;
    const branches = options['branch-sim'] === 'yes';
    const placement = placementOf(trace, process, seedOf(options, model !== undefined));
    this.model = model && new Model(model);
    this.names = eventsOf(branches, model);
    this.counted = eventsOf(true, model);
    this.shownRows = shownRowsOf(options);
    const isByBlock = options['by-allocation'] !== 'no';
    const isCounted = isByBlock && !model && nativeEngine !== undefined;
    const blocks = isByBlock && !isCounted ? new PlainHeapMisses() : undefined;
    this.blocks = blocks;
    this.wants = {
      counts: true,
      cache: {
        ...(model ? strippingShapes(model) : this.shapes),
        branches,
        ...(placement && { placement }),
        ...(isCounted && { blocks: true }),
        ...(blocks && { misses: (misses: CacheMisses) => this.attribute(misses) }),
        ...(model && { misses: (misses: CacheMisses) => this.refer(misses), fetchMisses: true }),
      },
      observer: {
        tables: blocks ? [heap, slices] : [slices],
        applied: (row: EventRow) => this.applied(row),
      },
    };
  }

  begin(replay: ProcessReplay): void {
    this.replay = replay;
    // There is no block yet that misses could lie in.
    if (!this.model) replay.guest.cache!.noteMisses(false);
  }

  private applied(row: EventRow): void {
    if (row.table === slices) this.switchTo(row.u32('thread'));
    else {
      this.replay.guest.cache!.takeMisses();
      this.heapCall(row);
    }
  }

  // ---- Threads ----

  private switchTo(thread: number): void {
    if (thread === this.thread || !this.replay.isInImage) return;
    this.endTurn();
    this.thread = thread;
  }

  /** What was counted since the last switch is the thread's. */
  private endTurn(totals = this.totals()): void {
    if (this.thread >= 0) {
      let own = this.threads.get(this.thread);
      if (!own) this.threads.set(this.thread, (own = new Float64Array(EVENT_COUNT)));
      for (let i = 0; i < EVENT_COUNT; i++) own[i]! += totals[i]! - this.before[i]!;
    }
    this.before = totals;
  }

  private totals(): Float64Array {
    const cache = this.replay.guest.cache!;
    if (this.model) cache.takeMisses();
    return new SiteCounts(cache, this.replay.segments(), this.model).sums(1);
  }

  // ---- Heap blocks ----

  private heapCall(row: EventRow): void {
    this.replay.guest.cache!.noteMisses(true);
    this.blocks!.call(heapCallOf(row));
  }

  /** Lets the model have what compiled code could not leave out. */
  private refer(misses: CacheMisses): void {
    const { isInImage, guest } = this.replay;
    const missed = this.model!.refer(misses, guest.cache!.sites, isInImage);
    this.attribute(misses, missed);
  }

  private attribute(misses: CacheMisses, missed?: Uint8Array): void {
    const { isInImage, guest } = this.replay;
    if (isInImage) this.blocks?.attribute(misses, guest.cache!.sites, missed);
  }

  // ---- Results ----

  finish(replay: ProcessReplay): Outcome {
    const { process, trace } = this;
    const cache = replay.guest.cache!;
    cache.takeMisses();
    const counts = new SiteCounts(cache, replay.segments(), this.model);
    const instructions = counts.instructions();
    const { pcs, missing } = instructions;
    const symbols = new Symbols(trace, process);
    const code = symbols.placesOf(pcs);
    // Rows for all instructions would be several times as many.
    const byPlace = counts.sums(code.count, instructions, code.places);
    const totals = sumRows(byPlace, EVENT_COUNT, code.count, 1);
    this.endTurn(totals);
    if (this.options['cachegrind-out'])
      this.writeFile(symbols, pcs, counts.sums(pcs.length, instructions), totals);

    const onLine = groupRows([code.file, code.line, code.fn, code.outer], code.count);
    const lines = sumRows(byPlace, EVENT_COUNT, code.count, onLine.count, onLine.groups);
    const places = placeColumns(code, onLine.firsts);
    const { function: fn, file } = places;
    const inFunction = groupRows([file.numbers, fn.numbers], onLine.count);
    const functions = sumRows(
      ...[lines, EVENT_COUNT, onLine.count, inFunction.count, inFunction.groups],
    );
    const rowOfMissing = new Int32Array(pcs.length).fill(-1);
    missing.forEach((instruction, row) => (rowOfMissing[instruction] = row));
    const ofMissing = counts.sums(missing.length, instructions, rowOfMissing);
    const allocations = this.allocations(symbols, (cache.blocks ?? this.blocks)?.found());
    const threads = [...this.threads];
    return {
      process,
      findings: [],
      summary: this.summaryOf(totals),
      missing: replay.divergences,
      profile: this.profile(
        totals,
        {
          ...{ count: inFunction.count, events: functions },
          text: (i) => functionText(places, inFunction.firsts[i]!),
        },
        { count: onLine.count, events: lines, text: (i) => placeText(places, i) },
        allocations,
      ),
      tables: [
        { table: cache_levels, rows: this.levels(totals).map((row) => ({ process, ...row })) },
        {
          table: cache_lines,
          count: onLine.count,
          columns: { process, ...places, ...eventColumns(this.counted, lines, onLine.count) },
        },
        {
          table: cache_sites,
          count: missing.length,
          columns: {
            ...{ process, pc: rowsOf(pcs, missing) },
            ...placeColumns(code, rowsOf(code.places, missing)),
            ...eventColumns(this.counted, ofMissing, missing.length),
          },
        },
        {
          table: cache_threads,
          count: threads.length,
          columns: {
            process,
            thread: Uint32Array.from(threads, ([thread]) => thread),
            ...eventColumns(
              this.counted,
              Float64Array.from(threads.flatMap(([, row]) => [...row])),
              threads.length,
            ),
          },
        },
        {
          table: cache_allocations,
          count: allocations.count,
          columns: { process, ...allocationColumns(allocations) },
        },
      ],
    };
  }

  private writeFile(
    symbols: Symbols,
    pcs: BigUint64Array,
    events: Float64Array,
    totals: Float64Array,
  ): void {
    const name = this.options['cachegrind-out']!;
    const row = this.trace.processes.find(({ process }) => process === this.process)!;
    if (!name.includes('%p') && this.context.processes.length > 1)
      throw new UserError(
        'The run has several processes: put %p into the name of --cachegrind-out, or choose one with --process.',
      );
    const sources = Array.from(pcs, (pc) => symbols.source(pc));
    const text = cachegrindFile(sources, events, totals, {
      ...this.shapes,
      command: commandOf(row),
      names: this.names,
    });
    writeOutput('cachegrind-out', name, row, false, text);
  }

  private summaryOf(totals: Float64Array): Record<string, bigint> {
    return Object.fromEntries(this.names.map((name) => [name, BigInt(totals[EVENT[name]]!)]));
  }

  /** The caches simulated, and what became of them. */
  private levels(totals: Float64Array): LevelRow[] {
    const { model } = this.shapes;
    const shapes = model ?? this.shapes;
    return LEVELS.flatMap((level) => {
      const shape = level in shapes ? shapes[level as keyof typeof shapes] : undefined;
      if (!shape) return [];
      const { sizeBytes, ways, lineBytes } = shape as CacheShape;
      const misses = LEVEL_MISSES[level].reduce((sum, name) => sum + totals[EVENT[name]]!, 0);
      const { prefetched, prefetchedUsed } = this.model?.hierarchy.levels[level] ?? NO_PREFETCH;
      return {
        ...{ level, size: BigInt(sizeBytes), ways, line: lineBytes },
        policy: model?.policies[level] ?? 'lru',
        misses: BigInt(misses),
        prefetched: BigInt(prefetched),
        prefetched_used: BigInt(prefetchedUsed),
      };
    });
  }

  private allocations(symbols: Symbols, found: FoundMisses = NO_MISSES): Allocations {
    const { count, keys } = found;
    const owners = Uint32Array.from(keys, (key) => Math.floor(key / (MOST_OFFSETS + 1)));
    const offsets = keys.map((key) => (key % (MOST_OFFSETS + 1)) << OFFSET_BITS);
    const { groups, firsts } = groupRows([owners], count);
    const batches = count > 0 ? [...this.trace.batches(stacks, this.process)] : [];
    const places = Array.from(firsts, (first) =>
      this.allocatedAt(owners[first]!, batches, symbols),
    );
    const events = found.counts.subarray(0, MISS_EVENTS * count);
    return { count, stacks: owners, offsets, places, placeOf: groups, events };
  }

  /** The place that allocated, by the number of its stack. */
  private allocatedAt(
    stack: number,
    batches: readonly Batch<typeof stacks>[],
    symbols: Symbols,
  ): AllocatedAt {
    for (const batch of batches) {
      const row = rowOfKey(batch.column('stack'), stack, batch.count);
      if (row < 0) continue;
      const { offsets, data } = batch.column('pcs');
      const bytes = Uint8Array.from(data.subarray(offsets[row]!, offsets[row + 1]!));
      let innermost: AllocatedAt | undefined;
      for (const frame of symbols.frameByFrame(
        [...new BigUint64Array(bytes.buffer)],
        this.context.callers,
      )) {
        // The allocator's wrapper is innermost.
        if (frame.fn && !/\/vgpreload_[^/]*$/.test(frame.module)) return frame;
        innermost ??= frame;
      }
      return innermost ?? NO_PLACE;
    }
    return NO_PLACE;
  }

  private profile(
    totals: Float64Array,
    functions: EventRows,
    lines: EventRows,
    allocations: Allocations,
  ): Profile {
    const { shownRows, names } = this;
    const places = names.map((name) => EVENT[name]);
    const columns = names.map((name) => ({ name: name.toLowerCase(), head: name }));
    const eventTable = (
      name: string,
      title: string,
      what: string,
      { count, events, text }: EventRows,
      ...order: readonly EventName[]
    ): ProfileTable => ({
      name,
      title,
      columns: [...columns, { name: what }],
      rows: rowsOnDemand(count, byMost(events, ...order), (i) => [
        ...places.map((place) => BigInt(events[EVENT_COUNT * i + place]!)),
        text(i),
      ]),
      shownRows,
    });
    const numbers = [...this.threads.keys()];
    const threads = {
      count: numbers.length,
      events: Float64Array.from([...this.threads.values()].flatMap((row) => [...row])),
      text: (i: number) => String(numbers[i]),
    };
    return {
      lines: summaryLines(this.shapes, this.names, totals, this.levels(totals)),
      tables: [
        eventTable('functions', 'By function', 'file:function', functions, 'Ir'),
        eventTable('lines', 'By line', 'line', lines, 'D1mr', 'D1mw', 'I1mr', 'Ir'),
        ...(this.threads.size > 1
          ? [eventTable('threads', 'By thread', 'thread', threads, 'Ir')]
          : []),
        allocationTable(allocations, shownRows),
      ],
    };
  }
}

/** Rows of events, and what each is of. */
interface EventRows {
  readonly count: number;
  readonly events: Float64Array;
  readonly text: (row: number) => string;
}

/**
 * Columns of a table: source lines, with the function that is innermost there and the one that it is inlined into, or the same.
 */
interface PlaceColumns {
  readonly function: TextColumn;
  readonly file: TextColumn;
  readonly line: Uint32Array;
  readonly outer: TextColumn;
}

/** Some places as columns, each as often as it is named. */
const placeColumns = (
  { texts, fn, file, line, outer }: CodePlaces,
  rows: Uint32Array,
): PlaceColumns => ({
  function: { texts, numbers: rowsOf(fn, rows) },
  file: { texts, numbers: rowsOf(file, rows) },
  line: rowsOf(line, rows),
  outer: { texts, numbers: rowsOf(outer, rows) },
});

/** Some values of a column. */
function rowsOf<T extends Uint32Array | BigUint64Array>(column: T, rows: Uint32Array): T {
  const found = new (column.constructor as new (length: number) => T)(rows.length);
  for (let i = 0; i < rows.length; i++) found[i] = column[rows[i]!]!;
  return found;
}

const textAt = ({ texts, numbers }: TextColumn, row: number): string => texts[numbers[row]!]!;

const functionText = ({ function: fn, file }: PlaceColumns, row: number): string =>
  `${textAt(file, row) || '???'}:${textAt(fn, row) || '???'}`;

function placeText(places: PlaceColumns, row: number): string {
  const { function: fn, file, line, outer } = places;
  const inlinedInto = outer.numbers[row] === fn.numbers[row] ? '' : ` (in ${textAt(outer, row)})`;
  return `${textAt(file, row) || '???'}:${line[row]} ${textAt(fn, row) || '???'}${inlinedInto}`;
}

/** Misses of data in heap blocks that were allocated by one stack, at one offset in bytes, in columns. */
interface Allocations {
  readonly count: number;
  readonly stacks: Uint32Array;
  readonly offsets: Float64Array;
  /** The place that allocated it, by number. */
  readonly placeOf: Uint32Array;
  readonly places: readonly AllocatedAt[];
  /** As in `ALLOCATION_EVENTS`, one row after another. */
  readonly events: Float64Array;
}

type AllocatedAt = Pick<Frame, 'fn' | 'file' | 'line'>;

const NO_PLACE: AllocatedAt = { fn: '', file: '', line: 0 };

const NO_MISSES: FoundMisses = {
  count: 0,
  keys: new Float64Array(0),
  counts: new Float64Array(0),
};

const ALLOCATION_EVENTS: readonly EventName[] = ['D1mr', 'DLmr', 'D1mw', 'DLmw'];

/** Allocations as columns of a table. */
function allocationColumns({ count, stacks, offsets, places, placeOf, events }: Allocations) {
  const lines = Uint32Array.from(places, ({ line }) => line);
  return {
    stack: stacks,
    function: { texts: places.map(({ fn }) => fn), numbers: placeOf },
    file: { texts: places.map(({ file }) => file), numbers: placeOf },
    line: rowsOf(lines, placeOf),
    offset: offsets,
    ...Object.fromEntries(
      ALLOCATION_EVENTS.map((name, event) => [
        name.toLowerCase(),
        columnOf(events, MISS_EVENTS, event, count),
      ]),
    ),
  };
}

/** Events that are misses of a cache. */
const LEVEL_MISSES: Readonly<Record<LevelName, readonly EventName[]>> = {
  I1: ['I1mr'],
  D1: ['D1mr', 'D1mw'],
  L2: ['I2mr', 'D2mr', 'D2mw'],
  LL: ['ILmr', 'DLmr', 'DLmw'],
  DTLB: ['DTmr', 'DTmw'],
  STLB: ['STmr', 'STmw'],
};
const NO_PREFETCH = { prefetched: 0, prefetchedUsed: 0 };

type LevelRow = Omit<Row<typeof cache_levels>, 'process' | 'analysis'>;

/** Events of the first rows of `events` as columns of a table; those that are not simulated are 0. */
const eventColumns = (
  names: readonly EventName[],
  events: Float64Array,
  count: number,
): Readonly<Record<string, StoredColumn>> =>
  Object.fromEntries(
    EVENTS.map((name, event) => [
      name.toLowerCase(),
      names.includes(name) ? columnOf(events, EVENT_COUNT, event, count) : 0,
    ]),
  );

/** Misses by where blocks were allocated and the place in them, most of the first level first. */
function allocationTable(
  { count, stacks, offsets, places, placeOf, events }: Allocations,
  shownRows: number,
): ProfileTable {
  const first = (row: number): number =>
    events[MISS_EVENTS * row]! + events[MISS_EVENTS * row + 2]!;
  const rowOf = (row: number): ProfileCell[] => {
    const misses = events.subarray(MISS_EVENTS * row, MISS_EVENTS * (row + 1));
    const { fn, file, line } = places[placeOf[row]!]!;
    const offset = offsets[row]!;
    return [
      ...Array.from(misses, BigInt),
      offset === MOST_OFFSETS << OFFSET_BITS ? `${offset}+` : String(offset),
      stacks[row]!,
      `${fn || '???'} (${file || '???'}:${line})`,
    ];
  };
  return {
    name: 'allocations',
    title: 'Misses in heap blocks, by offset in bytes and allocation',
    columns: [
      ...ALLOCATION_EVENTS.map((head) => ({ name: head.toLowerCase(), head })),
      { name: 'offset_bytes', head: 'offset' },
      { name: 'stack' },
      { name: 'allocated', head: 'allocated by' },
    ],
    rows: rowsOnDemand(count, (a, b) => first(b) - first(a), rowOf),
    shownRows,
  };
}

const describe = ({ sizeBytes, ways, lineBytes }: CacheShape): string =>
  `${formatCount(sizeBytes)} B, ${lineBytes} B lines, ${ways === 1 ? 'direct-mapped' : `${ways}-way associative`}`;

const percent = (part: number, whole: number): string =>
  `${((100 * part) / Math.max(whole, 1)).toFixed(2)} %`;

/** Totals in the way of Cachegrind's own, and what it has not. */
function summaryLines(
  { I1, D1, LL, model }: Wanted,
  names: readonly EventName[],
  totals: Float64Array,
  levels: readonly LevelRow[],
): string[] {
  const t = (...events: readonly EventName[]): number =>
    events.reduce((sum, name) => sum + totals[EVENT[name]]!, 0);
  const split = (label: string, read: EventName, write: EventName): string =>
    `${label} ${formatCount(t(read, write))}  (${formatCount(t(read))} rd + ${formatCount(t(write))} wr)`;
  const mpki = (misses: number): string => ((1000 * misses) / Math.max(t('Ir'), 1)).toFixed(3);
  /** Misses of data, as a share of what was asked for. */
  const data = (label: string, read: EventName, write: EventName): string =>
    `${split(label, read, write)}  ${percent(t(read, write), t('Dr', 'Dw'))}, ${mpki(t(read, write))} per 1000 instructions`;
  const last = t('ILmr', 'DLmr', 'DLmw');
  const second = t('I2mr', 'D2mr', 'D2mw');
  const first = t('I1mr', 'D1mr', 'D1mw');
  const has = (name: EventName): boolean => names.includes(name);
  const policy = (level: LevelName): string =>
    model && model.policies[level] !== 'lru' ? `, ${model.policies[level]}` : '';
  return [
    `I1 cache:       ${describe(I1)}${policy('I1')}`,
    `D1 cache:       ${describe(D1)}${policy('D1')}`,
    ...(model?.L2 ? [`L2 cache:       ${describe(model.L2)}${policy('L2')}`] : []),
    `LL cache:       ${describe(LL)}${policy('LL')}`,
    ...(['DTLB', 'STLB'] as const).flatMap((level) => {
      const shape = model?.[level];
      if (!shape) return [];
      const { sizeBytes, ways, lineBytes } = shape;
      return `${`${level}:`.padEnd(16)}${formatCount(sizeBytes / lineBytes)} pages of ${formatCount(lineBytes)} B, ${ways}-way associative${policy(level)}`;
    }),
    '',
    `I refs:         ${formatCount(t('Ir'))}`,
    `I1 misses:      ${formatCount(t('I1mr'))}  (${percent(t('I1mr'), t('Ir'))}, ${mpki(t('I1mr'))} per 1000 instructions)`,
    `LLi misses:     ${formatCount(t('ILmr'))}  (${percent(t('ILmr'), t('Ir'))})`,
    '',
    split('D refs:        ', 'Dr', 'Dw'),
    data('D1 misses:     ', 'D1mr', 'D1mw'),
    `${split('LLd misses:    ', 'DLmr', 'DLmw')}  ${percent(t('DLmr', 'DLmw'), t('Dr', 'Dw'))}`,
    ...(has('DTmr') ? ['', data('DTLB misses:   ', 'DTmr', 'DTmw')] : []),
    ...(has('STmr') ? [data('STLB misses:   ', 'STmr', 'STmw')] : []),
    '',
    ...(has('D2mr')
      ? [
          `L2 refs:        ${formatCount(first)}`,
          `L2 misses:      ${formatCount(second)}  (${percent(second, first)} of these, ${mpki(second)} per 1000 instructions)`,
        ]
      : []),
    `LL refs:        ${formatCount(has('D2mr') ? second : first)}`,
    `LL misses:      ${formatCount(last)}  (${percent(last, t('Ir', 'Dr', 'Dw'))}, ${mpki(last)} per 1000 instructions)`,
    ...levels
      .filter(({ prefetched }) => prefetched > 0n)
      .map(({ level, prefetched, prefetched_used }) => {
        const used = percent(Number(prefetched_used), Number(prefetched));
        return `${`${level} prefetched:`.padEnd(16)}${formatCount(prefetched)}, of which ${formatCount(prefetched_used)} were referenced  (${used})`;
      }),
    ...(has('Bc')
      ? [
          '',
          `Branches:       ${formatCount(t('Bc', 'Bi'))}  (${formatCount(t('Bc'))} cond + ${formatCount(t('Bi'))} ind)`,
          `Mispredicts:    ${formatCount(t('Bcm', 'Bim'))}  (${formatCount(t('Bcm'))} cond + ${formatCount(t('Bim'))} ind)  ${percent(t('Bcm', 'Bim'), t('Bc', 'Bi'))}`,
        ]
      : []),
  ];
}
