/**
 * reuse: what caches of every size would do, from one replay. The reuse distances of a program's references (Mattson et
 * al., "Evaluation techniques for storage hierarchies", 1970) say of a fully associative LRU cache of any size how often it
 * misses, for all of the program and for each function. Besides: the misses of the best replacement that there is, for
 * chosen sizes (optimum.ts), and how many lines the program works with over time (Denning, "The working set model for
 * program behavior", 1968).
 */
import type { ProcessReplay } from '../../replay/replay.js';
import { FETCH } from '../../replay/code-tables.js';
import { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { AccessBatch, AccessColumn } from '../../replay/types.js';
import { UserError } from '../../schemas/errors.js';
import { formatCount } from '../../schemas/numbers.js';
import {
  function_miss_curves,
  miss_curve,
  optimal_misses,
  reuse_distances,
  working_set,
} from '../../schemas/views.js';
import { defineAnalysis, type AnalysisOption, type OptionValues } from '../analysis.js';
import { executionsByInstruction } from '../callgraph/functions.js';
import type { AnalysisRows, Outcome } from '../finding.js';
import type { Profile, ProfileTable } from '../profile.js';
import type { ReplayPart } from '../replay-parts.js';
import { ROWS_OPTION, shownRowsOf } from '../rows-option.js';
import { binOf, COLD_BIN, Distances, firstOf } from './distances.js';
import { References } from './references.js';

const OPTIONS: Readonly<Record<string, AnalysisOption>> = {
  line: { describe: 'Size of a cache line in bytes', default: '64' },
  of: {
    describe:
      'References to count: loads and stores, fetches of instructions, or both as to one cache',
    default: 'data',
    values: ['data', 'instructions', 'both'],
  },
  belady: {
    describe: "Sizes of caches (32K,1M) whose misses under Belady's optimal replacement are wanted",
    default: '',
  },
  window: {
    describe:
      'Length in ticks of the windows of time of the working set; by default 400 make the run',
    default: '',
  },
  rows: ROWS_OPTION,
};

export const analysis = defineAnalysis({
  name: 'reuse',
  describe: 'Misses of caches of every size, by reuse distance; working set over time',
  options: OPTIONS,
  part: (trace, process, options) => new ReusePart(trace, process, options),
});

const DEFAULT_WINDOWS = 400;
/** Distances below this are told one by one. */
const EXACT_DISTANCES = 4096;
/** Caches whose misses the table of functions has. */
const SHOWN_SIZES = [32, 256, 1024, 8192].map((size) => 1024 * size);
/** Functions whose curves are drawn. */
const DRAWN_FUNCTIONS = 6;

interface FunctionName {
  readonly fn: string;
  readonly file: string;
}
const nameText = ({ fn, file }: FunctionName): string => `${file || '???'}:${fn || '???'}`;

/** A size that caches have, with the bin whose first distance it is in lines. */
interface Size {
  readonly bin: number;
  readonly bytes: number;
}

class ReusePart implements ReplayPart {
  readonly wants;
  private readonly references: References;
  private readonly lineBytes: number;
  private readonly windowTicks: number;
  private readonly endTick: number;
  private readonly optimumBytes: readonly number[];
  private readonly symbols: Symbols;
  private readonly shownRows: number;
  private replay!: ProcessReplay;
  /** By number of a row of counts: the function, whose fetches have a row of their own. */
  private readonly rows: { readonly name: FunctionName; readonly isFetch: boolean }[] = [];
  private readonly numbers = new Map<string, number>();

  constructor(
    trace: Trace,
    private readonly process: number,
    private readonly options: OptionValues,
  ) {
    const whole = (name: string, text = options[name]!): number => {
      const value = Number(text);
      if (!Number.isSafeInteger(value) || value < 1)
        throw new UserError(`--${name} takes a whole number from 1.`);
      return value;
    };
    this.shownRows = shownRowsOf(options);
    const lineBits = Math.log2(whole('line'));
    if (!Number.isInteger(lineBits) || lineBits < 3 || lineBits > 12)
      throw new UserError('--line takes a power of two from 8 to 4096.');
    this.lineBytes = 2 ** lineBits;
    this.optimumBytes = sizesOf(options['belady'] ?? '', this.lineBytes);
    this.endTick = Number(trace.processes.find((row) => row.process === process)?.ticks ?? 0n);
    const byDefault = Math.max(Math.ceil(this.endTick / DEFAULT_WINDOWS), 1);
    this.windowTicks = whole('window', options['window'] || String(byDefault));
    this.symbols = new Symbols(trace, process);
    this.references = new References({
      lineBits,
      optimumLines: this.optimumBytes.map((bytes) => bytes / this.lineBytes),
      windowTicks: this.windowTicks,
      rowOf: (site) => this.rowOf(site),
    });
    this.wants = {
      accesses: true,
      columns: new Set<AccessColumn>(['ticks', 'addresses']),
      ...(options['of'] !== 'data' && { fetches: lineBits, counts: true }),
    };
  }

  begin(replay: ProcessReplay): void {
    this.replay = replay;
  }

  accesses(batch: AccessBatch): void {
    this.references.take(batch, this.replay.sites);
  }

  private rowOf(site: number): number {
    const { pcs, stores } = this.replay.sites;
    const isFetch = stores[site] === FETCH;
    if (!isFetch && this.options['of'] === 'instructions') return -1;
    return this.rowOfFunction(pcs[site]!, isFetch);
  }

  /** The row of the innermost function at an address. */
  private rowOfFunction(pc: bigint, isFetch: boolean): number {
    const { fn, file } = this.symbols.frames(pc)[0]!;
    const key = `${isFetch} ${file}:${fn}`;
    let number = this.numbers.get(key);
    if (number === undefined) {
      this.numbers.set(key, (number = this.rows.length));
      this.rows.push({ name: { fn, file }, isFetch });
    }
    return number;
  }

  // ---- Results ----

  finish(replay: ProcessReplay): Outcome {
    this.references.end(this.endTick);
    const functions = this.functions(replay);
    const program = new Distances();
    for (const { distances } of functions) program.add(distances.counts);
    const sizes = this.sizes(program);
    const optima = this.optimumBytes.map((bytes, i) => ({
      bytes,
      misses: this.missesOf(program, bytes / this.lineBytes),
      optimal: this.references.optimum.misses[i]!,
    }));
    return {
      process: this.process,
      findings: [],
      summary: {
        references: program.references,
        cold_misses: program.cold,
        line_bytes: this.lineBytes,
      },
      missing: replay.divergences,
      profile: this.profile(program, functions, sizes, optima),
      tables: this.tables(program, functions, sizes, optima),
    };
  }

  /** Distances by function, those with most misses of the smallest size shown first. */
  private functions(replay: ProcessReplay): FunctionDistances[] {
    const { references } = this;
    if (this.wants.fetches !== undefined) this.countInstructions(replay);
    const byName = new Map<string, FunctionDistances>();
    this.rows.forEach(({ name }, row) => {
      const key = nameText(name);
      let known = byName.get(key);
      if (!known) byName.set(key, (known = { name, distances: new Distances() }));
      known.distances.add(references.row(row));
    });
    const bin = binOf(SHOWN_SIZES[0]! / this.lineBytes);
    const order = [...byName.values()].map((one) => ({ one, misses: one.distances.misses() }));
    return order
      .sort((a, b) => b.misses[bin]! - a.misses[bin]! || b.misses[0]! - a.misses[0]!)
      .map(({ one }) => one);
  }

  /** Adds the instructions that were in the line of the one before: they find it on top. */
  private countInstructions(replay: ProcessReplay): void {
    const { references } = this;
    const executions = new Map<number, number>();
    for (const [pc, times] of executionsByInstruction(replay.segments(), this.symbols)) {
      const row = this.rowOfFunction(BigInt(pc), true);
      executions.set(row, (executions.get(row) ?? 0) + times);
    }
    for (const [row, times] of executions) {
      const counts = references.row(row);
      // One that was interrupted was fetched, but is not among those executed.
      counts[0]! += Math.max(times - new Distances(counts).accesses, 0);
    }
  }

  /** Sizes of caches up to the first that only misses what was never referenced before. */
  private sizes(program: Distances): Size[] {
    const misses = program.misses();
    const last = misses.findIndex((count, bin) => bin > 0 && count === program.cold);
    return Array.from({ length: last }, (_, i) => ({
      bin: i + 1,
      bytes: this.lineBytes * firstOf(i + 1),
    }));
  }

  /** Misses of a cache of any number of lines. */
  private missesOf(program: Distances, lines: number): number {
    const { byDistance } = this.references;
    return byDistance.subarray(lines).reduce((sum, count) => sum + count, program.cold);
  }

  private profile(
    program: Distances,
    functions: readonly FunctionDistances[],
    sizes: readonly Size[],
    optima: readonly OptimumMisses[],
  ): Profile {
    const { lineBytes, windowTicks, shownRows } = this;
    const { windows } = this.references;
    const { references, cold } = program;
    const misses = program.misses();
    const bytesOf = (lines: number): string => `${formatCount(lineBytes * lines)} B`;
    const ratio = (count: number): number => count / Math.max(references, 1);
    const mean = windows.reduce((sum, lines) => sum + lines, 0) / Math.max(windows.length, 1);
    const most = windows.reduce((a, b) => Math.max(a, b), 0);
    const curveColumns = [
      { name: 'cache_bytes', head: 'cache, bytes' },
      { name: 'misses' },
      { name: 'miss_ratio', head: 'miss ratio', isShare: true },
    ];
    const pointOf = ({ bin, bytes }: Size) => [bytes, misses[bin]!, ratio(misses[bin]!)] as const;
    const shownSizes = SHOWN_SIZES.filter((bytes) => bytes > lineBytes);
    return {
      lines: [
        `References:   ${formatCount(references)} to lines of ${lineBytes} B (${WHAT[this.options['of']!]!})`,
        `Lines:        ${formatCount(cold)} (${bytesOf(cold)}), each missed once by a cache of any size`,
        `Working set:  ${bytesOf(Math.round(mean))} on average, ${bytesOf(most)} at most, in windows of ${formatCount(windowTicks)} instructions`,
      ],
      tables: [
        {
          name: 'misses',
          title: 'Misses by size of a fully associative LRU cache',
          columns: curveColumns,
          rows: sizes
            .filter(({ bytes }, i) => Number.isInteger(Math.log2(bytes)) || i === sizes.length - 1)
            .map(pointOf),
        },
        {
          name: 'miss_curve',
          title: 'Misses by size of the cache',
          columns: curveColumns,
          rows: sizes.map(pointOf),
          shownRows: 0,
          drawn: { as: 'lines', x: 'cache_bytes', lines: ['misses'], isLogX: true, isLogY: true },
        },
        {
          name: 'optimum',
          title: 'Misses if lines were replaced as is best (Belady)',
          columns: [
            { name: 'cache_bytes', head: 'cache, bytes' },
            { name: 'misses', head: 'LRU' },
            { name: 'optimal_misses', head: 'optimum' },
            { name: 'optimal_share', head: 'of LRU', isShare: true },
          ],
          rows: optima.map((one) => [
            ...[one.bytes, one.misses, one.optimal],
            one.optimal / Math.max(one.misses, 1),
          ]),
        },
        {
          name: 'functions',
          title: 'Misses by function and size of the cache',
          columns: [
            { name: 'references' },
            ...shownSizes.map((bytes) => ({
              name: `misses_${bytes}`,
              head: `${bytes / 1024} KiB`,
            })),
            { name: 'cold_misses', head: 'any' },
            { name: 'function', head: 'file:function' },
          ],
          rows: functions.map(({ name, distances }) => {
            const own = distances.misses();
            return [
              own[0]!,
              ...shownSizes.map((bytes) => own[binOf(bytes / lineBytes)]!),
              distances.cold,
              nameText(name),
            ];
          }),
          shownRows,
        },
        functionCurves(functions.slice(0, DRAWN_FUNCTIONS), sizes),
        {
          name: 'working_set',
          title: 'Working set',
          columns: [{ name: 'tick' }, { name: 'lines' }, { name: 'bytes' }],
          rows: windows.map((lines, i) => [i * windowTicks, lines, lines * lineBytes]),
          shownRows: 0,
          drawn: { as: 'lines', x: 'tick', lines: ['bytes'], isStepped: true },
        },
      ],
    };
  }

  private tables(
    program: Distances,
    functions: readonly FunctionDistances[],
    sizes: readonly Size[],
    optima: readonly OptimumMisses[],
  ): AnalysisRows[] {
    const { process, lineBytes, windowTicks } = this;
    const misses = program.misses();
    return [
      { table: reuse_distances, rows: this.distanceRows(program) },
      {
        table: miss_curve,
        rows: sizes.map(({ bin, bytes }) => ({
          ...{ process, cache_bytes: BigInt(bytes) },
          ...{ references: BigInt(misses[0]!), misses: BigInt(misses[bin]!) },
        })),
      },
      {
        table: function_miss_curves,
        rows: functions.flatMap(({ name: { fn, file }, distances }) => {
          const own = distances.misses();
          const changes = sizes.filter(({ bin }, i) => i === 0 || own[bin]! < own[bin - 1]!);
          return changes.map(({ bin, bytes }) => ({
            ...{ process, function: fn, file, cache_bytes: BigInt(bytes) },
            ...{ references: BigInt(own[0]!), misses: BigInt(own[bin]!) },
          }));
        }),
      },
      {
        table: optimal_misses,
        rows: optima.map((one) => ({
          ...{ process, cache_bytes: BigInt(one.bytes) },
          ...{ misses: BigInt(one.misses), optimal_misses: BigInt(one.optimal) },
        })),
      },
      {
        table: working_set,
        rows: this.references.windows.map((lines, i) => ({
          ...{ process, tick: BigInt(i * windowTicks), ticks: BigInt(windowTicks) },
          ...{ lines: BigInt(lines), bytes: BigInt(lines * lineBytes) },
        })),
      },
    ];
  }

  private distanceRows({ counts }: Distances) {
    const { byDistance } = this.references;
    const rows: {
      process: number;
      distance: bigint;
      last_distance: bigint;
      references: bigint;
    }[] = [];
    const add = (first: number, last: number, references: number): void => {
      if (references === 0) return;
      rows.push({
        ...{ process: this.process, distance: BigInt(first), last_distance: BigInt(last) },
        references: BigInt(references),
      });
    };
    add(0, 0, counts[0]!);
    for (let distance = 1; distance < EXACT_DISTANCES; distance++)
      add(distance, distance, byDistance[distance] ?? 0);
    for (let bin = binOf(EXACT_DISTANCES); bin < COLD_BIN; bin++)
      add(firstOf(bin), firstOf(bin + 1) - 1, counts[bin]!);
    return rows;
  }
}

interface FunctionDistances {
  readonly name: FunctionName;
  readonly distances: Distances;
}

interface OptimumMisses {
  readonly bytes: number;
  readonly misses: number;
  readonly optimal: number;
}

const WHAT: Readonly<Record<string, string>> = {
  data: 'loads and stores',
  instructions: 'fetches of instructions',
  both: 'loads, stores and fetches of instructions',
};

/** Misses of some functions by size, a curve for each. */
function functionCurves(
  functions: readonly FunctionDistances[],
  sizes: readonly Size[],
): ProfileTable {
  const curves = functions.map(({ name, distances }, i) => ({
    column: { name: `misses_${i + 1}`, head: nameText(name) },
    misses: distances.misses(),
  }));
  return {
    name: 'function_curves',
    title: 'Misses of functions by size of the cache',
    columns: [{ name: 'cache_bytes', head: 'cache, bytes' }, ...curves.map(({ column }) => column)],
    rows: sizes.map(({ bin, bytes }) => [bytes, ...curves.map(({ misses }) => misses[bin]!)]),
    shownRows: 0,
    drawn: {
      as: 'lines',
      x: 'cache_bytes',
      lines: curves.map(({ column }) => column.name),
      isLogX: true,
      isLogY: true,
    },
  };
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** Sizes of caches in bytes, separated by commas. Throws UserError. */
function sizesOf(text: string, lineBytes: number): number[] {
  const words = text === '' ? [] : text.split(',');
  return words.map((word) => {
    const [, digits, unit] = /^(\d{1,10})([KMG]?)$/i.exec(word) ?? [];
    const bytes = digits === undefined ? 0 : Number(digits) * UNITS[unit!.toUpperCase()]!;
    if (bytes < lineBytes || bytes % lineBytes !== 0 || bytes / lineBytes > MOST_LINES)
      throw new UserError(
        `--belady takes sizes such as 32K,1M, whole numbers of lines of ${lineBytes} bytes, not ${word}.`,
      );
    return bytes;
  });
}

const MOST_LINES = 2 ** 30;
