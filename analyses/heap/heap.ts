/**
 * heap: what massif and dhat measure, from a trace. How much of the heap is in use over time and what it consists of, at
 * the peak or any other moment, is read from recorded events, without a replay (heap-use.ts). How blocks are accessed
 * is counted in compiled code while the execution is replayed (sites.ts, access-tally.ts), and so is how far stacks reach.
 */
import { recordedStacks } from '../../replay/lineage.js';
import type { ProcessReplay } from '../../replay/replay.js';
import { BELOW_MAIN, Symbols, type Frame } from '../../replay/symbols.js';
import type { ProcessRow, Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import type { Row } from '../../schemas/schema.js';
import { slices, syscall_memory, thread_events } from '../../schemas/tables.js';
import { heap_offsets, heap_sites, heap_timeline } from '../../schemas/views.js';
import { formatCount } from '../../schemas/numbers.js';
import { defineAnalysis, type AnalysisContext, type OptionValues } from '../analysis.js';
import type { AnalysisRows, Outcome, Summary } from '../finding.js';
import { commandOf, writeOutput } from '../output-file.js';
import type { ProfileCell, ProfileTable } from '../profile.js';
import type { Part } from '../replay-parts.js';
import { frameText } from '../report.js';
import { Blocks, blockTables } from './blocks.js';
import { dhatJson } from './dhat-file.js';
import { graphLines } from './graph.js';
import {
  heapUse,
  usesAt,
  UseOverTime,
  type HeapUse,
  type UseSettings,
  type UseTicks,
} from './heap-use.js';
import { massifLines, type Snapshot } from './massif-file.js';
import { HEAP_OPTIONS, heapOptions, type HeapOptions } from './options.js';
import { HeapSites, type HeapSite } from './sites.js';
import { totalBytes, type HeapMoment } from './timeline.js';
import type { StackUse, StackUses } from './stack-uses.js';
import { buildTree, TreeStacks, type TreeNode } from './tree.js';

export const analysis = defineAnalysis({
  name: 'heap',
  describe: 'Heap use over time and by call stack, and how heap blocks are accessed',
  options: HEAP_OPTIONS,
  part,
  // The profile says it.
  close: () => ({ before: [], late: [], after: [] }),
});

function part(
  trace: Trace,
  process: number,
  options: OptionValues,
  context: AnalysisContext,
): Part {
  const profile = new HeapProfile(trace, process, options, context);
  const { countsAccesses, countsStacks } = profile.options;
  if (!countsAccesses && !countsStacks) return { finish: () => profile.finish() };
  const tables = [
    ...blockTables(profile.settings),
    ...(countsAccesses ? [syscall_memory] : []),
    ...(countsStacks ? [slices, thread_events] : []),
  ];
  return {
    wants: {
      ...(countsAccesses && { tally: true }),
      ...(countsStacks && { stacks: true }),
      observer: { tables, applied: (row) => profile.applied(row) },
    },
    begin: (replay) => profile.begin(replay),
    finish: () => profile.finish(),
  };
}

class HeapProfile {
  readonly options: HeapOptions;
  readonly settings: UseSettings;
  private readonly row: ProcessRow;
  private readonly endTick: number;
  private readonly symbols: Symbols;
  private readonly stackOf: (stack: number) => readonly bigint[];
  private readonly treeStacks: TreeStacks;
  private readonly sites: HeapSites;
  /** While the execution is replayed. */
  private replay: ProcessReplay | undefined;
  /** While stacks are counted. */
  private readonly over: UseOverTime | undefined;
  /** While the execution is replayed. */
  private readonly blocks: Blocks;

  constructor(
    private readonly trace: Trace,
    private readonly process: number,
    private readonly given: OptionValues,
    private readonly context: AnalysisContext,
  ) {
    this.options = heapOptions(given);
    const { adminBytes, alignmentBytes, ofPages, ignored, unit, moments } = this.options;
    const { countsAccesses, countsStacks } = this.options;
    this.row = trace.processes.find((row) => row.process === process)!;
    this.endTick = Number(this.row.ticks);
    this.symbols = new Symbols(trace, process);
    const stacks = recordedStacks(trace, process);
    this.stackOf = (stack) => stacks.get(stack) ?? [];
    this.treeStacks = new TreeStacks(this.stackOf, this.symbols, this.options);
    this.settings = {
      ...{ adminBytes, alignmentBytes, ofPages, unit, moments },
      ...(ignored.size > 0 && { isIgnored: (stack) => this.treeStacks.isIgnored(stack) }),
    };
    const tally = countsAccesses ? () => this.replay!.guest.tally! : undefined;
    this.sites = new HeapSites(this.options.shortTicks, tally);
    if (countsStacks) this.over = new UseOverTime(this.settings, this.ticks, [this.sites]);
    this.blocks = this.over?.blocks ?? new Blocks(this.settings, [this.sites]);
  }

  /** Of the end, and of the moment that is to be shown. */
  private get ticks(): UseTicks {
    const { endTick: end } = this;
    const { at } = this.options;
    const chosen =
      typeof at === 'string' ? end : 'tick' in at ? at.tick : Math.floor(at.part * end);
    return { end, chosen };
  }

  begin(replay: ProcessReplay): void {
    this.replay = replay;
  }

  applied(row: EventRow): void {
    if (row.table === syscall_memory) return this.systemCall(row);
    const { isInImage } = this.replay!;
    const { over } = this;
    const tick = row.number('tick');
    if (over && isInImage) this.noteStacks(over, tick);
    if (row.table === slices || row.table === thread_events) return;
    this.blocks.applied(row, isInImage);
    over?.after(tick, isInImage);
  }

  private systemCall(row: EventRow): void {
    const how = row.name('direction');
    if (how !== 'read' && how !== 'read_string' && how !== 'write') return;
    const [address, size] = [row.number('address'), row.number('size')];
    this.replay!.guest.tally!.add(address, size, how === 'write');
  }

  /** Stacks were largest at some moment since the last row, and have another size now. */
  private noteStacks(over: UseOverTime, now: number): void {
    const stacks = this.replay!.guest.stacks!;
    const { tick, sizeBytes } = stacks.takeLargest();
    over.before(tick, true);
    over.stacks(tick, sizeBytes);
    over.before(now, true);
    over.stacks(now, stacks.sizeBytes);
  }

  finish(): Outcome {
    const { options, trace, process, settings, endTick } = this;
    const { at } = options;
    if (this.over) this.noteStacks(this.over, endTick);
    const use =
      this.over?.finish() ??
      heapUse(
        trace,
        process,
        settings,
        this.ticks,
        this.replay || options.ofPages ? [] : [this.sites],
      );
    const chosen = at === 'peak' ? use.peak : at === 'end' ? use.end : use.chosen;
    const snapshots = options.massifFile ? this.snapshots(use, chosen) : [];
    const { uses } = use;
    if (options.massifFile) {
      const others = snapshots.filter(({ moment, isDetailed }) => isDetailed && !uses.has(moment));
      const more = others.map(({ moment }) => moment);
      const all = new Map([...uses, ...usesAt(trace, process, settings, more)]);
      this.writeMassif(snapshots, all);
    }
    const sites = options.ofPages ? [] : this.sites.finish(use.left, endTick);
    if (options.dhatFile) this.writeDhat(sites);
    const tree = this.tree(chosen, uses);
    const rows = sites.map((site) => this.siteRow(site));
    const tables: AnalysisRows[] = [
      { table: heap_timeline, rows: use.moments.map((moment) => this.timelineRow(moment, use)) },
      { table: heap_sites, rows },
      { table: heap_offsets, rows: sites.flatMap((site) => this.offsetRows(site)) },
    ];
    return {
      ...{ process, findings: [], tables, summary: this.summary(use, sites) },
      missing: this.replay?.divergences ?? [],
      profile: {
        lines: this.lines(use, chosen, sites),
        sketch: graphLines(use.moments, use.peak, use.end),
        tables: [
          timelineTable(use.moments, chosen, options.countsStacks),
          treeTable(tree, chosen, options),
          sitesTable(rows, options.countsAccesses),
        ],
      },
    };
  }

  private tree(moment: HeapMoment, uses: ReadonlyMap<HeapMoment, StackUses>): TreeNode {
    // If nothing is in use, nothing is worth being shown.
    const smallest = Math.max((totalBytes(moment) * this.options.thresholdPercent) / 100, 1);
    return buildTree(
      uses.get(moment)!,
      this.treeStacks,
      this.symbols,
      this.options.thresholdPercent === 0 ? 0 : smallest,
    );
  }

  /** The moments of a massif file: those of the timeline and the chosen one, some with what is in use. */
  private snapshots(
    { moments, peak }: HeapUse,
    chosen: HeapMoment,
  ): { moment: HeapMoment; isPeak: boolean; isDetailed: boolean }[] {
    const all = [...new Set([...moments, chosen])].sort((a, b) => a.changes - b.changes);
    return all.map((moment, i) => {
      const isPeak = moment === peak;
      const isDetailed = isPeak || moment === chosen || (i + 1) % this.options.detailedEvery === 0;
      return { moment, isPeak, isDetailed };
    });
  }

  private writeMassif(
    snapshots: readonly { moment: HeapMoment; isPeak: boolean; isDetailed: boolean }[],
    uses: ReadonlyMap<HeapMoment, StackUses>,
  ): void {
    const { massifFile, thresholdPercent, ofPages, unit } = this.options;
    const set = Object.entries(this.given).filter(
      ([name, value]) => value !== HEAP_OPTIONS[name as keyof typeof HEAP_OPTIONS]?.default,
    );
    const lines = massifLines(
      {
        description: set.map(([name, value]) => `--${name}=${value}`).join(' ') || '(none)',
        command: commandOf(this.row),
        unit: unit as 'i' | 'B',
        ...{ thresholdPercent, ofPages },
      },
      snapshots.map(({ moment, isPeak, isDetailed }): Snapshot => {
        return { moment, isPeak, ...(isDetailed && { tree: this.tree(moment, uses) }) };
      }),
    );
    this.write('massif-out', massifFile, [...lines, ''].join('\n'));
  }

  private writeDhat(sites: readonly HeapSite[]): void {
    const { dhatFile, shortTicks, countsAccesses } = this.options;
    const { pid } = this.row;
    const header = {
      ...{ command: commandOf(this.row), pid, endTick: this.endTick, shortTicks },
      hasAccesses: countsAccesses,
    };
    const text = dhatJson(header, this.sites, sites, this.stackOf, this.symbols);
    this.write('dhat-out', dhatFile, `${text}\n`);
  }

  private write(option: string, path: string, text: string): void {
    writeOutput(option, path, this.row, this.context.processes.length > 1, text);
  }

  private timelineRow(moment: HeapMoment, { peak }: HeapUse) {
    return {
      process: this.process,
      tick: BigInt(moment.tick),
      allocations: BigInt(moment.allocations),
      traffic_bytes: BigInt(moment.trafficBytes),
      blocks: BigInt(moment.blocks),
      heap_bytes: BigInt(moment.heapBytes),
      extra_bytes: BigInt(moment.extraBytes),
      stack_bytes: BigInt(moment.stackBytes),
      peak: moment === peak,
    };
  }

  private siteRow(site: HeapSite): SiteRow {
    const place = this.place(site.stack);
    return {
      process: this.process,
      stack: site.stack,
      blocks: BigInt(site.blocks),
      bytes: BigInt(site.bytes),
      smallest_bytes: BigInt(site.blocks > 0 ? site.smallestBytes : 0),
      largest_bytes: BigInt(site.largestBytes),
      lifetime_ticks: BigInt(site.lifetimeTicks),
      short_lived_blocks: BigInt(site.shortBlocks),
      most_blocks: BigInt(site.mostBlocks),
      most_bytes: BigInt(site.mostBytes),
      peak_blocks: BigInt(site.peakBlocks),
      peak_bytes: BigInt(site.peakBytes),
      end_blocks: BigInt(site.liveBlocks),
      end_bytes: BigInt(site.liveBytes),
      counted: this.options.countsAccesses,
      read_bytes: BigInt(site.loadedBytes),
      written_bytes: BigInt(site.storedBytes),
      copied_bytes: BigInt(site.copiedBytes),
      untouched_bytes: BigInt(site.untouchedBytes),
      write_only_bytes: BigInt(site.writeOnlyBytes),
      function: place?.fn ?? '',
      file: place?.file ?? '',
      line: place?.line ?? 0,
    };
  }

  /** The function that asked for the memory: the innermost with a source file, or else with a name. */
  private place(stack: number): Frame | undefined {
    const frames = this.treeStacks.get(stack).flatMap((pc) => this.symbols.frames(pc));
    const own = frames.find(({ file }) => file && !file.startsWith('vg_replace'));
    return own && own.fn !== BELOW_MAIN ? own : (frames.find(({ fn }) => fn) ?? frames[0]);
  }

  private offsetRows({ stack, offsets }: HeapSite) {
    return [...offsets.runs()].map(({ offset, count, loads, stores }) => ({
      process: this.process,
      stack,
      offset: BigInt(offset),
      bytes: BigInt(count),
      read_bytes: BigInt(loads),
      written_bytes: BigInt(stores),
    }));
  }

  private summary(
    { moments, peak, end, allocatedBytes, frees }: HeapUse,
    sites: readonly HeapSite[],
  ): Summary {
    const at = (moment: HeapMoment) => ({
      tick: BigInt(moment.tick),
      blocks: moment.blocks,
      heap_bytes: moment.heapBytes,
      extra_bytes: moment.extraBytes,
      stack_bytes: moment.stackBytes,
    });
    return {
      blocks_allocated: end.allocations,
      bytes_allocated: allocatedBytes,
      blocks_released: frees,
      peak: [at(peak)],
      end: [at(end)],
      ...(this.options.countsAccesses && {
        bytes_read: sum(sites, ({ loadedBytes }) => loadedBytes),
        bytes_written: sum(sites, ({ storedBytes }) => storedBytes),
        bytes_untouched: sum(sites, ({ untouchedBytes }) => untouchedBytes),
        bytes_write_only: sum(sites, ({ writeOnlyBytes }) => writeOnlyBytes),
      }),
      timeline: moments.map((moment) => ({
        ...at(moment),
        allocations: moment.allocations,
        traffic_bytes: moment.trafficBytes,
      })),
    };
  }

  private lines(use: HeapUse, chosen: HeapMoment, sites: readonly HeapSite[]): string[] {
    const { end, peak, allocatedBytes, frees } = use;
    const { ofPages, countsAccesses, countsStacks } = this.options;
    const [blocks, heap] = ofPages ? ['pages', 'Memory'] : ['blocks', 'Heap'];
    const state = (moment: HeapMoment): string =>
      `${formatCount(moment.heapBytes)} bytes in ${formatCount(moment.blocks)} ${blocks}` +
      (moment.extraBytes > 0 ? `, and ${formatCount(moment.extraBytes)} extra bytes` : '') +
      (countsStacks ? `, stacks of ${formatCount(moment.stackBytes)} bytes` : '');
    const part = (moment: HeapMoment): string =>
      `${((100 * moment.time) / Math.max(end.time, 1)).toFixed(1)} %`;
    return [
      `${heap}: ${formatCount(end.allocations)} ${blocks} of ${formatCount(allocatedBytes)} bytes allocated, ${formatCount(frees)} released`,
      `Peak: ${state(peak)}, at tick ${formatCount(peak.tick)} (${part(peak)} of the time)`,
      `At the end: ${state(end)}`,
      ...(chosen === peak || chosen === end
        ? []
        : [`At tick ${formatCount(chosen.tick)} (${part(chosen)} of the time): ${state(chosen)}`]),
      ...(countsAccesses
        ? [
            `Accesses to blocks: ${formatCount(sum(sites, ({ loadedBytes }) => loadedBytes))} bytes read, ${formatCount(sum(sites, ({ storedBytes }) => storedBytes))} written; never accessed: ${formatCount(sum(sites, ({ untouchedBytes }) => untouchedBytes))} bytes, only written: ${formatCount(sum(sites, ({ writeOnlyBytes }) => writeOnlyBytes))}`,
          ]
        : []),
    ];
  }
}

type SiteRow = Omit<Row<typeof heap_sites>, 'analysis'>;

const sum = <T>(items: readonly T[], value: (item: T) => number): number =>
  items.reduce((total, item) => total + value(item), 0);

/** What is in use over time, to be drawn. `chosen` may be a moment that the timeline has not. */
function timelineTable(
  moments: readonly HeapMoment[],
  chosen: HeapMoment,
  hasStacks: boolean,
): ProfileTable {
  const all = [...new Set([...moments, chosen])].sort((a, b) => a.changes - b.changes);
  return {
    name: 'timeline',
    title: 'Heap in use',
    columns: [
      { name: 'tick' },
      { name: 'heap_bytes', head: 'bytes of blocks' },
      { name: 'total_bytes', head: hasStacks ? 'with extra bytes and stacks' : 'with extra bytes' },
      { name: 'blocks' },
      ...(hasStacks ? [{ name: 'stack_bytes', head: 'bytes of stacks' }] : []),
    ],
    rows: all.map((moment) => [
      ...[moment.tick, moment.heapBytes, totalBytes(moment), moment.blocks],
      ...(hasStacks ? [moment.stackBytes] : []),
    ]),
    shownRows: 0,
    drawn: {
      ...{ as: 'lines', x: 'tick', isStepped: true },
      lines: ['heap_bytes', 'total_bytes', ...(hasStacks ? ['stack_bytes'] : [])],
    },
  };
}

/** The tree from the root, each node before its children. */
function treeTable(
  tree: TreeNode,
  moment: HeapMoment,
  { at, ofPages, thresholdPercent }: HeapOptions,
): ProfileTable {
  const total = Math.max(totalBytes(moment), 1);
  const rows: ProfileCell[][] = [];
  // Only callers that share a function stand further to the right.
  const add = (use: StackUse, depth: number, indent: number, place: string): void => {
    rows.push([use.bytes, use.bytes / total, use.blocks, depth, '  '.repeat(indent) + place]);
  };
  const visit = ({ children, small }: TreeNode, depth: number, indent: number): void => {
    const inner = children.length + (small ? 1 : 0) > 1 ? indent + 1 : indent;
    for (const child of children) {
      child.frames.forEach((frame, i) => add(child, depth + i, inner, frameText(frame)));
      visit(child, depth + child.frames.length, inner);
    }
    if (!small) return;
    const places = small.places === 1 ? '1 place' : `${small.places} places, each`;
    add(small, depth, inner, `${places} below ${thresholdPercent} %`);
  };
  add(tree, 0, 0, ofPages ? 'mapped pages' : 'heap blocks');
  visit(tree, 1, 0);
  const when = typeof at === 'string' ? `the ${at}` : `tick ${formatCount(moment.tick)}`;
  return {
    name: 'tree',
    title: `In use at ${when}, by who allocated it:`,
    columns: [
      ...[{ name: 'bytes' }, { name: 'share', isShare: true }, { name: 'blocks' }],
      ...[{ name: 'depth' }, { name: 'place' }],
    ],
    rows,
    shownRows: SHOWN_NODES,
  };
}

const SHOWN_NODES = 50;
const SHOWN_SITES = 15;

/** Sites, those that allocated most bytes first. */
function sitesTable(rows: readonly SiteRow[], hasAccesses: boolean): ProfileTable {
  const mean = (total: bigint, parts: bigint): number => Number(total) / Math.max(Number(parts), 1);
  const inOrder = [...rows].sort((a, b) => Number(b.bytes - a.bytes) || a.stack - b.stack);
  return {
    name: 'sites',
    title: 'By call stack of the allocation:',
    columns: [
      ...[{ name: 'bytes' }, { name: 'blocks' }, { name: 'mean_bytes', head: 'mean size' }],
      { name: 'mean_lifetime_ticks', head: 'mean lifetime' },
      { name: 'short_lived_blocks', head: 'short-lived' },
      ...[
        { name: 'peak_bytes', head: 'at peak' },
        { name: 'end_bytes', head: 'at end' },
      ],
      ...(hasAccesses
        ? [
            { name: 'reads_per_byte', head: 'reads/byte' },
            { name: 'writes_per_byte', head: 'writes/byte' },
            { name: 'untouched_bytes', head: 'untouched' },
            { name: 'write_only_bytes', head: 'only written' },
          ]
        : []),
      ...[{ name: 'stack' }, { name: 'place' }],
    ],
    rows: inOrder.map((row) => [
      ...[row.bytes, row.blocks, Math.round(mean(row.bytes, row.blocks))],
      Math.round(mean(row.lifetime_ticks, row.blocks)),
      ...[row.short_lived_blocks, row.peak_bytes, row.end_bytes],
      ...(hasAccesses
        ? [
            ...[row.read_bytes, row.written_bytes].map((bytes) => rounded(mean(bytes, row.bytes))),
            ...[row.untouched_bytes, row.write_only_bytes],
          ]
        : []),
      ...[row.stack, row.file ? `${row.function} (${row.file}:${row.line})` : row.function],
    ]),
    shownRows: SHOWN_SITES,
  };
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000;
