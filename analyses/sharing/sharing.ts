/**
 * sharing: what it would cost the program that its threads share memory, were each on a core with a private cache. One
 * replay finds the lines that several cores access; in another one the caches are simulated, with the protocol that keeps
 * them coherent (coherence.ts), in an order as if the cores had run at once (parallel-schedule.ts). Said is of each
 * line what shares it, how (truly, or only as neighbours), and who fights for it.
 */
import { LINE_BYTES } from '../../replay/line-filter.js';
import { MAX_FILTER_SETS } from '../../replay/layout.js';
import type { SiteTable } from '../../replay/types.js';
import { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import { UserError } from '../../schemas/errors.js';
import { formatCount, hex } from '../../schemas/numbers.js';
import type { Row } from '../../schemas/schema.js';
import { sharing_lines, sharing_sites, sharing_threads } from '../../schemas/views.js';
import type { Analysis, AnalysisContext, AnalysisOption, OptionValues } from '../analysis.js';
import { CACHE_OPTIONS, shapesOf } from '../cache/shapes.js';
import type { CacheShape } from '../../replay/cache-guest.js';
import type { Outcome } from '../finding.js';
import type { Profile, ProfileCell, ProfileTable } from '../profile.js';
import { ROWS_OPTION, shownRowsOf } from '../rows-option.js';
import { adviceOn, type User } from './advice.js';
import { MOST_CORES, placementOf, type Placement } from './placement.js';
import type { NamedPlace } from './places.js';
import { findSharedLines } from './shared-lines.js';
import { SharingPass } from './sharing-pass.js';
import type { Cell, ThreadCounts } from './sharing-counts.js';

const OPTIONS: Readonly<Record<string, AnalysisOption>> = {
  cores: {
    describe: `Cores, at most ${MOST_CORES}; by default as many as threads lived at once`,
    default: '',
  },
  schedule: {
    describe: 'Order of accesses: as if cores had run at once, or as recorded (one by one)',
    default: 'parallel',
    values: ['parallel', 'recorded'],
  },
  D1: CACHE_OPTIONS['D1']!,
  processor: CACHE_OPTIONS['processor']!,
  rows: ROWS_OPTION,
};

export const analysis: Analysis = {
  name: 'sharing',
  describe: 'True and false sharing of memory between threads, each on a core with its own cache',
  options: OPTIONS,
  run,
};

interface Settings {
  readonly cores: number | undefined;
  readonly isParallel: boolean;
  readonly cache: CacheShape;
  readonly rows: number;
}

function settingsOf(options: OptionValues): Settings {
  const { D1: cache } = shapesOf(options);
  if (cache.lineBytes !== LINE_BYTES)
    throw new UserError(`Sharing is simulated of lines of ${LINE_BYTES} bytes only: change --D1.`);
  if (setsOf(cache) > MAX_FILTER_SETS)
    throw new UserError(`--D1 has too many sets; ${formatCount(MAX_FILTER_SETS)} are supported.`);
  return {
    cores: coresOf(options['cores']),
    isParallel: options['schedule'] !== 'recorded',
    cache,
    rows: shownRowsOf(options),
  };
}

/** The option `--cores`, undefined if it was not given. Throws UserError. */
function coresOf(text: string | undefined): number | undefined {
  if (!text) return undefined;
  const cores = Number(text);
  if (!Number.isInteger(cores) || cores < 1 || cores > MOST_CORES)
    throw new UserError(`--cores takes a whole number from 1 to ${formatCount(MOST_CORES)}.`);
  return cores;
}

const setsOf = ({ sizeBytes, ways, lineBytes }: CacheShape): number => sizeBytes / ways / lineBytes;

function* run(trace: Trace, options: OptionValues, context: AnalysisContext): Generator<Outcome> {
  const settings = settingsOf(options);
  const { processes, progress } = context;
  for (const [place, process] of processes.entries()) {
    const ticks = Number(trace.processes.find((row) => row.process === process)?.ticks ?? 1n);
    yield analyse(trace, process, settings, (pass, tick) =>
      progress((place + (pass + Number(tick) / ticks) / 2) / processes.length),
    );
  }
}

function analyse(
  trace: Trace,
  process: number,
  settings: Settings,
  progress: (pass: 0 | 1, tick: bigint) => void,
): Outcome {
  const placement = placementOf(trace, process, settings.cores);
  if (!placement.isParallel) {
    const lines = ['Only one thread ever lived: nothing can be shared.'];
    return {
      ...{ process, findings: [], summary: {}, missing: [] },
      profile: { lines, tables: [] },
      tables: [sharing_threads, sharing_lines, sharing_sites].map((table) => ({ table, rows: [] })),
    };
  }
  const lines = findSharedLines(trace, process, placement, (tick) => progress(0, tick));
  const pass = new SharingPass(trace, process, lines, {
    placement,
    sets: setsOf(settings.cache),
    ways: settings.cache.ways,
    isParallel: settings.isParallel,
    progress: (tick) => progress(1, tick),
  });
  const symbols = new Symbols(trace, process);
  const threads = [...pass.counts.threads.values()].sort((a, b) => a.thread - b.thread);
  const shared = sharedPlaces(
    pass,
    placement.cores,
    pass.places.namer(trace, process, symbols),
    symbols,
  );
  return {
    process,
    findings: [],
    summary: summaryOf(threads),
    missing: pass.replay.divergences,
    profile: profileOf(pass, placement, settings, threads, shared),
    tables: [
      {
        table: sharing_threads,
        rows: threads.map((own) => {
          const { thread, core, instructions, accesses, cold, capacity } = own;
          return {
            ...{ process, thread, core },
            instructions: BigInt(instructions),
            accesses: BigInt(accesses),
            cold_misses: BigInt(cold),
            capacity_misses: BigInt(capacity),
            ...eventColumns(own.events),
            invalidations_received: BigInt(own.invalidationsReceived),
          };
        }),
      },
      {
        table: sharing_lines,
        rows: shared.map(({ place, address, objects, threads, events, advice }) => ({
          ...{ process, place, line_address: BigInt(address), objects, threads, advice },
          ...eventColumns(events),
        })),
      },
      {
        table: sharing_sites,
        rows: shared.flatMap(({ place, address, uses }) =>
          uses.map(({ cell, named, size, isStore, pc, fn, file, line }) => ({
            ...{ process, place, line_address: BigInt(address), offset: cell.offset, size },
            ...{ object: named.name, object_offset: BigInt(named.offset), stack: named.stack },
            ...{ thread: cell.thread, is_store: isStore, pc, function: fn, file, line },
            ...eventColumns(cell.events),
          })),
        ),
      },
    ],
  };
}

// ---- Lines and who shares them ----

/**
 * A line is worth advice if at least a third of its sharing is false, and costs something: a miss takes some hundred times
 * as long as an instruction, so fewer are less than a hundredth of a per cent.
 */
const FEWEST_MISSES = 100;
const MISSES_PER_INSTRUCTION = 1e-6;

interface SiteUse {
  readonly cell: Cell;
  readonly size: number;
  readonly isStore: boolean;
  readonly named: NamedPlace;
  readonly pc: bigint;
  readonly fn: string;
  readonly file: string;
  readonly line: number;
}

interface SharedPlace {
  readonly place: number;
  readonly address: number;
  readonly objects: string;
  readonly threads: number;
  readonly events: Float64Array;
  /** Most events first. */
  readonly uses: readonly SiteUse[];
  readonly advice: string;
}

/** How often a line had to pass between cores: misses after it was taken away, upgrades, and what else was modified. */
const costOf = ([isTrue, isFalse, upgrades]: Float64Array): number =>
  isTrue! + isFalse! + upgrades!;

/** The lines that passed between cores, those that did so most first. */
function sharedPlaces(
  pass: SharingPass,
  cores: number,
  nameOf: ReturnType<SharingPass['places']['namer']>,
  symbols: Symbols,
): SharedPlace[] {
  const { places, counts, replay } = pass;
  const usersOf = (place: number): User[] =>
    Array.from({ length: cores }, (_, core) => {
      const own = [...counts.threads.values()].filter((one) => one.core === core);
      const name = own.length === 1 ? `#${own[0]!.thread}` : `of core ${core}`;
      return { name, ...pass.usesOf(place, core) };
    }).filter(({ used: [low, high] }) => (low | high) !== 0);
  const byPlace = new Map<number, Cell[]>();
  for (const cell of counts.cells) {
    if (cell.place < 0 || cell.events.every((count) => count === 0)) continue;
    const known = byPlace.get(cell.place);
    if (known) known.push(cell);
    else byPlace.set(cell.place, [cell]);
  }
  const instructions = sum([...counts.threads.values()], (own) => own.instructions);
  const worthwhile = Math.max(FEWEST_MISSES, instructions * MISSES_PER_INSTRUCTION);
  const found = [...byPlace].map(([place, cells]): SharedPlace => {
    const where = places.all[place]!;
    const uses = merged(cells, replay.sites)
      .map((cell): SiteUse => {
        const { sites } = replay;
        const pc = sites.pcs[cell.site]!;
        const { fn, file, line } = symbols.frames(pc)[0]!;
        const named = nameOf(where, cell.offset);
        const size = Math.min(sites.sizes[cell.site]!, LINE_BYTES - cell.offset);
        const isStore = sites.stores[cell.site] === 1;
        return { cell, named, size, isStore, pc, fn, file, line };
      })
      .sort((a, b) => sumOf(b.cell.events) - sumOf(a.cell.events));
    const events = new Float64Array(cells[0]!.events.length);
    for (const cell of cells) cell.events.forEach((count, i) => (events[i]! += count));
    const isWorth = 2 * events[1]! >= events[0]! && events[1]! >= worthwhile;
    return {
      place,
      address: where.line * LINE_BYTES,
      objects: [...new Set(uses.map(({ named }) => named.name))].join(', '),
      threads: new Set(cells.map(({ thread }) => thread)).size,
      events,
      uses,
      advice: isWorth ? adviceOn(usersOf(place), (offset) => nameOf(where, offset)) : '',
    };
  });
  return found.sort(
    (a, b) =>
      costOf(b.events) - costOf(a.events) ||
      sumOf(b.events) - sumOf(a.events) ||
      a.address - b.address ||
      a.place - b.place,
  );
}

/** Code that was translated several times counts together. */
function merged(cells: readonly Cell[], { pcs, stores, sizes }: SiteTable): Cell[] {
  const found = new Map<string, Cell>();
  for (const cell of cells) {
    const { site, offset, thread, events } = cell;
    const key = `${pcs[site]!} ${stores[site]!} ${sizes[site]!} ${offset} ${thread}`;
    const known = found.get(key);
    if (!known) found.set(key, { ...cell, events: events.slice() });
    else events.forEach((count, i) => (known.events[i]! += count));
  }
  return [...found.values()];
}

const sumOf = (events: Float64Array): number => events.reduce((sum, count) => sum + count, 0);

// ---- Tables ----

type EventColumns = Pick<
  Row<typeof sharing_lines>,
  'true_misses' | 'false_misses' | 'upgrades' | 'interventions' | 'invalidations'
>;

function eventColumns(events: Float64Array): EventColumns {
  const [isTrue, isFalse, upgrades, interventions, invalidations] = [...events].map(BigInt);
  return {
    true_misses: isTrue!,
    false_misses: isFalse!,
    upgrades: upgrades!,
    interventions: interventions!,
    invalidations: invalidations!,
  };
}

const sum = <T>(all: readonly T[], value: (one: T) => number): number =>
  all.reduce((total, one) => total + value(one), 0);

function totalsOf(threads: readonly ThreadCounts[]) {
  const [isTrue, isFalse, upgrades, interventions] = [0, 1, 2, 3].map((i) =>
    sum(threads, ({ events }) => events[i]!),
  );
  return {
    accesses: sum(threads, ({ accesses }) => accesses),
    cold: sum(threads, ({ cold }) => cold),
    capacity: sum(threads, ({ capacity }) => capacity),
    true: isTrue!,
    false: isFalse!,
    upgrades: upgrades!,
    interventions: interventions!,
  };
}

const summaryOf = (threads: readonly ThreadCounts[]): Record<string, bigint> =>
  Object.fromEntries(
    Object.entries(totalsOf(threads)).map(([name, value]) => [name, BigInt(value)]),
  );

const EVENT_COLUMNS = [
  { name: 'true_misses', head: 'true' },
  { name: 'false_misses', head: 'false' },
  { name: 'upgrades' },
  { name: 'interventions', head: 'HITM' },
  { name: 'invalidations', head: 'invalidates' },
];

const eventCells = (events: Float64Array): bigint[] => [...events].map(BigInt);
function profileOf(
  pass: SharingPass,
  { cores, coreOf }: Placement,
  { cache, isParallel, rows: shownRows }: Settings,
  threads: readonly ThreadCounts[],
  shared: readonly SharedPlace[],
): Profile {
  const totals = totalsOf(threads);
  const { sizeBytes, ways } = cache;
  const count = formatCount;
  const misses = totals.cold + totals.capacity + totals.true + totals.false;
  const { overflows = 0, cuts = 0 } = pass.schedule ?? {};
  const tables: ProfileTable[] = [
    {
      name: 'threads',
      title: 'By thread, while several lived',
      columns: [
        ...['thread', 'core', 'instructions', 'accesses'].map((name) => ({ name })),
        { name: 'cold_misses', head: 'cold' },
        { name: 'capacity_misses', head: 'capacity' },
        ...EVENT_COLUMNS,
        { name: 'invalidations_received', head: 'invalidated' },
      ],
      rows: threads.map((own): ProfileCell[] => [
        ...[own.thread, own.core, own.instructions, own.accesses, own.cold, own.capacity],
        ...eventCells(own.events),
        own.invalidationsReceived,
      ]),
    },
    {
      name: 'lines',
      title: 'Lines that passed between cores',
      columns: [
        { name: 'line_address', head: 'line' },
        ...EVENT_COLUMNS,
        { name: 'threads' },
        { name: 'objects' },
      ],
      rows: shared.map(({ address, events, threads, objects }) => [
        hex(address),
        ...eventCells(events),
        threads,
        objects,
      ]),
      shownRows,
    },
    {
      name: 'advice',
      title: 'False sharing',
      columns: [{ name: 'line_address', head: 'line' }, { name: 'advice' }],
      rows: shared.flatMap(({ address, advice }) => (advice ? [[hex(address), advice]] : [])),
      shownRows,
    },
    {
      name: 'sites',
      title: 'Who fights for them',
      columns: [
        { name: 'line_address', head: 'line' },
        ...EVENT_COLUMNS,
        ...['thread', 'access', 'object', 'code'].map((name) => ({ name })),
      ],
      rows: shared.flatMap(({ address, uses }) =>
        uses.map(({ cell, named, size, isStore, fn, file, line }): ProfileCell[] => [
          hex(address),
          ...eventCells(cell.events),
          cell.thread,
          `${isStore ? 'write' : 'read'} ${size} at ${cell.offset}`,
          named.offset === 0 ? named.name : `${named.name} +${named.offset}`,
          `${fn || '???'} (${file || '???'}:${line})`,
        ]),
      ),
      shownRows,
    },
  ];
  return {
    lines: [
      `${cores} cores for ${coreOf.size} threads, each with ${count(sizeBytes)} B, ${ways}-way associative, 64 B lines, MESI`,
      `Schedule: ${isParallel ? 'as if the cores had run at once' : 'as recorded, one thread at a time'}`,
      ...(overflows > 0
        ? [
            `          cores were brought together ${count(overflows)} times, where the recording had them too far apart`,
          ]
        : []),
      ...(cuts > 0
        ? [`          ${count(cuts)} waits were cut short, as cores waited for one another`]
        : []),
      '',
      `Accesses:      ${count(totals.accesses)}`,
      `Misses:        ${count(misses)}  (${count(totals.cold)} cold, ${count(totals.capacity)} capacity, ${count(totals.true)} true sharing, ${count(totals.false)} false sharing)`,
      `Upgrades:      ${count(totals.upgrades)}`,
      `Interventions: ${count(totals.interventions)}  (another core had modified the line: HITM)`,
    ],
    tables,
  };
}
