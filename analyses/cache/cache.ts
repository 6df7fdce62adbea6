/**
 * cache: how the program would use caches, as Cachegrind simulates them (Valgrind manual, 5): a first level each for
 * instructions and for data, a last level behind both, write-allocate, least recently used. The simulation runs in
 * compiled code (replay/cache-guest.ts), or in a model that can do more (model.ts); here its counts become tables: by
 * function, by source line with inlined functions told apart, by thread, by the allocation of the heap block and the
 * place in it.
 */
import type { CacheMisses, CacheShape } from '../../replay/cache-guest.js';
import { GUARDED } from '../../replay/code-tables.js';
import { numberAt } from '../../replay/event-cursor.js';
import { grown } from '../../replay/grown.js';
import type { ProcessReplay } from '../../replay/replay.js';
import { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import { UserError } from '../../schemas/errors.js';
import { heap, isRelease, slices, stacks } from '../../schemas/tables.js';
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
  countsByInstruction,
  EVENT,
  EVENT_COUNT,
  EVENTS,
  eventsOf,
  EventSums,
  totalsOf,
  totalsOfAll,
  type EventName,
} from './counts.js';
import { HeapMap } from './heap-map.js';
import { LEVELS, MISSED, type LevelName } from './hierarchy.js';
import { Model, strippingShapes } from './model.js';
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

/** Places in blocks are told apart in steps of so many bytes, up to a limit. */
const OFFSET_BITS = 3;
const MOST_OFFSETS = 4096 >> OFFSET_BITS;
const MISS_EVENTS = 4;

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
  private readonly blocks = new HeapMap();
  /** By stack and offset: misses of reads in the first level and in the last, and of writes. */
  private readonly numbers = new Map<number, number>();
  private misses = new Float64Array(MISS_EVENTS * 1024);

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
    this.wants = {
      counts: true,
      cache: {
        ...(model ? strippingShapes(model) : this.shapes),
        branches,
        ...(placement && { placement }),
        ...(isByBlock && { misses: (misses: CacheMisses) => this.attribute(misses) }),
        ...(model && { misses: this.refer.bind(this, isByBlock), fetchMisses: true }),
      },
      observer: {
        tables: isByBlock ? [heap, slices] : [slices],
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
    return totalsOf(cache, this.replay.segments(), this.model);
  }

  // ---- Heap blocks ----

  private heapCall(row: EventRow): void {
    const op = row.name('op')!;
    const address = row.number('address');
    if (isRelease(op)) {
      if (row.u32('known')) this.blocks.remove(address);
      return;
    }
    if (address === 0) return;
    const previous = row.number('previous');
    if (previous !== 0) this.blocks.remove(previous);
    this.replay.guest.cache!.noteMisses(true);
    this.blocks.add({ address, size: row.number('size'), owner: row.u32('stack') });
  }

  /** Lets the model have what compiled code could not leave out. */
  private refer(isByBlock: boolean, misses: CacheMisses): void {
    const { isInImage, guest } = this.replay;
    const missed = this.model!.refer(misses, guest.cache!.sites, isInImage);
    if (isByBlock) this.attribute(misses, missed);
  }

  /** @param missed - of each, bits of `MISSED`, where a model says that */
  private attribute({ count, addresses, sites }: CacheMisses, missed?: Uint8Array): void {
    if (!this.replay.isInImage) return;
    const { kinds } = this.replay.guest.cache!.sites;
    for (let i = 0; i < count; i++) {
      const site = sites[i]! >>> 2;
      const kind = kinds[site]! & ~GUARDED;
      if (missed && (kind === FETCH || (missed[i]! & MISSED.first) === 0)) continue;
      const address = numberAt(addresses, i);
      const block = this.blocks.at(address);
      if (!block) continue;
      const offset = Math.min(
        Math.floor((address - block.address) / 2 ** OFFSET_BITS),
        MOST_OFFSETS,
      );
      const at = MISS_EVENTS * this.numberOf(block.owner * (MOST_OFFSETS + 1) + offset);
      const first = at + (kind === WRITE ? 2 : 0);
      const isLast = missed ? (missed[i]! & MISSED.last) !== 0 : (sites[i]! & 1) !== 0;
      this.misses[first]!++;
      if (isLast) this.misses[first + 1]!++;
    }
  }

  private numberOf(key: number): number {
    let number = this.numbers.get(key);
    if (number === undefined) {
      this.numbers.set(key, (number = this.numbers.size));
      this.misses = grown(this.misses, MISS_EVENTS * this.numbers.size);
    }
    return number;
  }

  // ---- Results ----

  finish(replay: ProcessReplay): Outcome {
    const { process, trace } = this;
    const cache = replay.guest.cache!;
    cache.takeMisses();
    const counts = countsByInstruction(cache, replay.segments(), this.model);
    const { pcs, events } = counts;
    const totals = totalsOfAll(counts);
    this.endTurn(totals);
    const symbols = new Symbols(trace, process);
    this.writeFile(symbols, pcs, events, totals);

    const functions = new EventSums<string>();
    const lines = new EventSums<Place>();
    const alike = symbols.firstAlike(pcs);
    const onLine = new Uint32Array(pcs.length);
    for (let i = 0; i < pcs.length; i++) {
      const first = alike[i]!;
      if (first === i) {
        const place = placeOf(symbols, pcs[i]!);
        const { fn, file, line, outer } = place;
        onLine[i] = lines.numberOf(`${file}:${line}:${fn}:${outer}`, () => place);
      } else onLine[i] = onLine[first]!;
      lines.add(onLine[i]!, events, EVENT_COUNT * i);
    }
    lines.keys.forEach(({ fn, file }, i) => {
      const name = () => `${file || '???'}:${fn || '???'}`;
      functions.add(functions.numberOf(`${file}:${fn}`, name), lines.events, EVENT_COUNT * i);
    });
    const places = placeColumns(lines.keys);
    const missing = rowsThatMiss(pcs.length, events);
    const allocations = this.allocations(symbols);
    const threads = [...this.threads];
    return {
      process,
      findings: [],
      summary: this.summaryOf(totals),
      missing: replay.divergences,
      profile: this.profile(totals, functions, lines, allocations),
      tables: [
        { table: cache_levels, rows: this.levels(totals).map((row) => ({ process, ...row })) },
        {
          table: cache_lines,
          count: lines.keys.length,
          columns: {
            ...{ process, ...places },
            ...eventColumns(this.counted, lines.events, Uint32Array.from(lines.keys.keys())),
          },
        },
        {
          table: cache_sites,
          count: missing.length,
          columns: {
            ...{ process, pc: BigUint64Array.from(missing, (i) => pcs[i]!) },
            ...rowsOf(
              places,
              missing.map((i) => onLine[i]!),
            ),
            ...eventColumns(this.counted, events, missing),
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
              Uint32Array.from(threads.keys()),
            ),
          },
        },
        {
          table: cache_allocations,
          count: allocations.length,
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
    const name = this.options['cachegrind-out'];
    if (!name) return;
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

  private allocations(symbols: Symbols): Allocation[] {
    const wanted = new Set([...this.numbers.keys()].map((key) => stackOf(key)));
    const places = new Map<number, Allocation['place']>();
    for (const { stack, pcs } of this.trace.rows(stacks, this.process)) {
      if (!wanted.has(stack) || places.has(stack)) continue;
      const list = new BigUint64Array(Uint8Array.from(pcs).buffer);
      const frames = symbols.stack([...list], this.context.callers);
      // The allocator's wrapper is innermost.
      const own =
        frames.find(({ fn, module }) => fn && !/\/vgpreload_[^/]*$/.test(module)) ?? frames[0];
      places.set(stack, own ?? { fn: '', file: '', line: 0 });
    }
    return [...this.numbers].map(([key, number]) => {
      const stack = stackOf(key);
      return {
        stack,
        place: places.get(stack) ?? { fn: '', file: '', line: 0 },
        offset: (key % (MOST_OFFSETS + 1)) << OFFSET_BITS,
        misses: this.misses.subarray(MISS_EVENTS * number, MISS_EVENTS * (number + 1)),
      };
    });
  }

  private profile(
    totals: Float64Array,
    functions: EventSums<string>,
    lines: EventSums<Place>,
    allocations: readonly Allocation[],
  ): Profile {
    const { shownRows, names } = this;
    const places = names.map((name) => EVENT[name]);
    const columns = names.map((name) => ({ name: name.toLowerCase(), head: name }));
    const eventTable = <K>(
      name: string,
      title: string,
      what: string,
      sums: EventSums<K>,
      order: readonly EventName[],
      text: (key: K) => string,
    ): ProfileTable => ({
      name,
      title,
      columns: [...columns, { name: what }],
      rows: rowsOnDemand(
        sums.keys.length,
        () => sums.order(...order),
        (i) => [...places.map((place) => BigInt(sums.row(i)[place]!)), text(sums.keys[i]!)],
      ),
      shownRows,
    });
    const threads = new EventSums<string>();
    for (const [thread, row] of this.threads)
      threads.add(
        threads.numberOf(thread, () => String(thread)),
        row,
        0,
      );
    return {
      lines: summaryLines(this.shapes, this.names, totals, this.levels(totals)),
      tables: [
        eventTable('functions', 'By function', 'file:function', functions, ['Ir'], String),
        eventTable('lines', 'By line', 'line', lines, ['D1mr', 'D1mw', 'I1mr', 'Ir'], placeText),
        ...(this.threads.size > 1
          ? [eventTable('threads', 'By thread', 'thread', threads, ['Ir'], String)]
          : []),
        allocationTable(allocations, shownRows),
      ],
    };
  }
}

/** A source line, with the function that is innermost there and the one that it is inlined into, or the same. */
interface Place {
  readonly fn: string;
  readonly file: string;
  readonly line: number;
  readonly outer: string;
}

function placeOf(symbols: Symbols, pc: bigint): Place {
  const frames = symbols.frames(pc);
  const { fn, file, line } = frames[0]!;
  return { fn, file, line, outer: frames.at(-1)!.fn };
}

/** Places as columns of a table. */
const placeColumns = (places: readonly Place[]) => ({
  function: textColumn(places.map(({ fn }) => fn)),
  file: textColumn(places.map(({ file }) => file)),
  line: Uint32Array.from(places, ({ line }) => line),
  outer: textColumn(places.map(({ outer }) => outer)),
});

function textColumn(all: readonly string[]): TextColumn {
  const known = new Map<string, number>();
  const numbers = Uint32Array.from(all, (text) => {
    let number = known.get(text);
    if (number === undefined) known.set(text, (number = known.size));
    return number;
  });
  return { texts: [...known.keys()], numbers };
}

/** The same columns of other rows: of these, each as often as it is named. */
const rowsOf = (
  { function: fn, file, line, outer }: ReturnType<typeof placeColumns>,
  rows: Uint32Array,
) => {
  const take = ({ texts, numbers }: TextColumn) => ({
    texts,
    numbers: rows.map((row) => numbers[row]!),
  });
  return {
    ...{ function: take(fn), file: take(file), outer: take(outer) },
    line: rows.map((row) => line[row]!),
  };
};

const placeText = ({ fn, file, line, outer }: Place): string =>
  `${file || '???'}:${line} ${fn || '???'}${outer === fn ? '' : ` (in ${outer})`}`;

/** Misses of data in heap blocks that were allocated by one stack, at one offset in bytes. */
interface Allocation {
  readonly stack: number;
  readonly place: { readonly fn: string; readonly file: string; readonly line: number };
  readonly offset: number;
  /** As in `ALLOCATION_EVENTS`. */
  readonly misses: Float64Array;
}

const ALLOCATION_EVENTS: readonly EventName[] = ['D1mr', 'DLmr', 'D1mw', 'DLmw'];

/** Allocations as columns of a table. */
const allocationColumns = (all: readonly Allocation[]) => ({
  stack: Uint32Array.from(all, ({ stack }) => stack),
  function: textColumn(all.map(({ place }) => place.fn)),
  file: textColumn(all.map(({ place }) => place.file)),
  line: Uint32Array.from(all, ({ place }) => place.line),
  offset: Float64Array.from(all, ({ offset }) => offset),
  ...Object.fromEntries(
    ALLOCATION_EVENTS.map((name, event) => [
      name.toLowerCase(),
      Float64Array.from(all, ({ misses }) => misses[event]!),
    ]),
  ),
});

/** Numbers of the rows of `events` that have a miss. */
function rowsThatMiss(count: number, events: Float64Array): Uint32Array {
  const rows = new Uint32Array(count);
  let found = 0;
  for (let row = 0; row < count; row++)
    for (const event of MISSES)
      if (events[EVENT_COUNT * row + event]! > 0) {
        rows[found++] = row;
        break;
      }
  return rows.slice(0, found);
}

const MISSES = (['I1mr', 'D1mr', 'D1mw', 'Bcm', 'Bim'] as const).map((name) => EVENT[name]);

/** Numbers of kinds of cache sites. */
const [FETCH, WRITE] = [0, 2];

const stackOf = (key: number): number => Math.floor(key / (MOST_OFFSETS + 1));

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

/** Events of some rows of `events` as columns of a table; those that are not simulated are 0. */
function eventColumns(
  names: readonly EventName[],
  events: Float64Array,
  rows: Uint32Array,
): Readonly<Record<string, StoredColumn>> {
  return Object.fromEntries(
    EVENTS.map((name, event) => {
      if (!names.includes(name)) return [name.toLowerCase(), 0];
      const column = new Float64Array(rows.length);
      for (let i = 0; i < rows.length; i++) column[i] = events[EVENT_COUNT * rows[i]! + event]!;
      return [name.toLowerCase(), column];
    }),
  );
}

/** Misses by where blocks were allocated and the place in them, most of the first level first. */
function allocationTable(allocations: readonly Allocation[], shownRows: number): ProfileTable {
  const sums = allocations.map(({ misses }) => misses[0]! + misses[2]!);
  const rowOf = (number: number): ProfileCell[] => {
    const { stack, place, offset, misses } = allocations[number]!;
    return [
      ...[...misses].map(BigInt),
      offset === MOST_OFFSETS << OFFSET_BITS ? `${offset}+` : String(offset),
      stack,
      `${place.fn || '???'} (${place.file || '???'}:${place.line})`,
    ];
  };
  const order = () => [...sums.keys()].sort((a, b) => sums[b]! - sums[a]!);
  return {
    name: 'allocations',
    title: 'Misses in heap blocks, by offset in bytes and allocation',
    columns: [
      ...ALLOCATION_EVENTS.map((head) => ({ name: head.toLowerCase(), head })),
      { name: 'offset_bytes', head: 'offset' },
      { name: 'stack' },
      { name: 'allocated', head: 'allocated by' },
    ],
    rows: rowsOnDemand(allocations.length, order, rowOf),
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
