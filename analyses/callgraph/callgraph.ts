/**
 * callgraph: instructions by function and by call, as Callgrind counts them (Valgrind manual, 6), inclusive and exclusive,
 * for each thread, and heap blocks allocated and cache misses meanwhile; and the calling contexts as files for other
 * tools. What is under way when is in call-stacks.ts.
 *
 * An instruction's own executions are counted apart from the calls, so costs by source line are exact whatever the stack
 * pointer does.
 */
import { basename } from 'node:path';
import type { ProcessReplay } from '../../replay/replay.js';
import { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import { type heap, isRelease } from '../../schemas/tables.js';
import { call_contexts, call_edges, function_costs } from '../../schemas/views.js';
import { formatCount } from '../../schemas/numbers.js';
import {
  defineAnalysis,
  type AnalysisContext,
  type AnalysisOption,
  type OptionValues,
} from '../analysis.js';
import type { AnalysisColumns, AnalysisRows, Outcome } from '../finding.js';
import { commandOf, writeOutput } from '../output-file.js';
import type { Profile } from '../profile.js';
import type { ReplayPart } from '../replay-parts.js';
import { ROWS_OPTION, shownRowsOf } from '../rows-option.js';
import { countsByInstruction, EVENT, EVENT_COUNT, type EventName } from '../cache/counts.js';
import { CACHE_OPTIONS, shapesOf, type Shapes } from '../cache/shapes.js';
import { CallStacks, NO_FUNCTION } from './call-stacks.js';
import { callgrindFile } from './callgrind-file.js';
import {
  contextColumns,
  contexts,
  edgeCosts,
  functionCosts,
  seenContexts,
  type EdgeCost,
  type FunctionCost,
} from './costs.js';
import { collapsedStacks, speedscopeFile } from './flame-files.js';
import { ALLOCATION_EVENTS, MISS_EVENTS, type CallEvent } from './events.js';
import { executionsByInstruction, Functions } from './functions.js';
import { pprofFile } from './pprof-file.js';

const fileOption = (what: string): AnalysisOption => ({
  describe: `Write ${what} to this file; %p in its name stands for the process id`,
  default: '',
});
const OPTIONS = {
  'callgrind-out': fileOption('costs by line and call, for callgrind_annotate and KCachegrind,'),
  'collapsed-out': fileOption('collapsed stacks, for flame graphs,'),
  'speedscope-out': fileOption("call stacks as speedscope's JSON"),
  'pprof-out': fileOption('call stacks for pprof'),
  'cache-sim': {
    describe: 'Simulate caches, too, and count their misses',
    default: 'no',
    values: ['no', 'yes'],
  },
  ...CACHE_OPTIONS,
  rows: { ...ROWS_OPTION, default: '25' },
} as const satisfies Readonly<Record<string, AnalysisOption>>;

export const analysis = defineAnalysis({
  name: 'callgraph',
  describe: 'Instructions by function and call, as Callgrind counts them',
  options: OPTIONS,
  part: (trace, process, options, context) => new CallGraphPart(trace, process, options, context),
});

class CallGraphPart implements ReplayPart {
  readonly wants;
  readonly events = { heap: (row: EventRow<typeof heap>) => this.heapCall(row) };
  readonly inheritsEvents = true;
  private readonly symbols: Symbols;
  private readonly functions: Functions;
  private readonly stacks: CallStacks;
  private readonly shownRows: number;
  private readonly counted: readonly CallEvent[];
  private readonly caches: Shapes | undefined;
  private replay!: ProcessReplay;

  constructor(
    private readonly trace: Trace,
    private readonly process: number,
    private readonly options: OptionValues,
    private readonly context: AnalysisContext,
  ) {
    this.shownRows = shownRowsOf(options);
    this.symbols = new Symbols(trace, process);
    this.functions = new Functions(this.symbols);
    const { isStart, at } = this.functions;
    this.caches = options['cache-sim'] === 'yes' ? shapesOf(options) : undefined;
    this.counted = [...ALLOCATION_EVENTS, ...(this.caches ? MISS_EVENTS : [])];
    this.stacks = new CallStacks(
      ...([isStart, at, this.counted.length] as const),
      this.caches && ALLOCATION_EVENTS.length,
      () => this.replay.guest.calls!.misses(),
    );
    this.wants = {
      counts: true,
      calls: this.stacks,
      ...(this.caches && { cache: { ...this.caches, branches: false } }),
    };
  }

  begin(replay: ProcessReplay): void {
    this.replay = replay;
  }

  /** Whoever runs when a block is allocated is the cause of it. */
  private heapCall(row: EventRow<typeof heap>): void {
    const op = row.value('op');
    if (isRelease(op) || op === 'resize') return;
    if (row.value('address') === 0n) return;
    this.replay.guest.calls!.take();
    this.stacks.happened(0, 1);
    this.stacks.happened(1, Number(row.value('size')));
  }

  finish(replay: ProcessReplay): Outcome {
    const { process, stacks } = this;
    const functions = functionCosts(stacks);
    const edges = edgeCosts(stacks);
    this.writeFiles(replay, functions, edges);
    const total = functions.reduce((sum, { self }) => sum + self, 0);
    return {
      process,
      findings: [],
      summary: { instructions: total },
      missing: [
        ...replay.divergences,
        ...(stacks.isCut
          ? ['There are too many calling contexts: some are put together below their thread.']
          : []),
      ],
      profile: this.profile(total, functions, edges),
      tables: [...this.tables(functions, edges), this.contextTable()],
    };
  }

  private writeFiles(
    replay: ProcessReplay,
    costs: readonly FunctionCost[],
    edges: readonly EdgeCost[],
  ): void {
    const { trace, functions, symbols, stacks, options, counted } = this;
    const row = trace.processes.find((one) => one.process === this.process)!;
    const command = commandOf(row);
    const write = (option: keyof typeof OPTIONS, content: () => string | Uint8Array): void => {
      const path = options[option];
      const isOneOfSeveral = this.context.processes.length > 1;
      if (path) writeOutput(option, path, row, isOneOfSeveral, content());
    };
    const frames = () =>
      functions.list.map(({ source: { file, line } }, fn) => ({
        name: this.nameOf(fn),
        file,
        line,
      }));
    write('callgrind-out', () => {
      const head = { pid: row.pid, command };
      const instructions = this.instructions(replay);
      return callgrindFile(head, functions, symbols, instructions, edges, costs, counted);
    });
    write('collapsed-out', () =>
      collapsedStacks(
        contexts(stacks),
        frames().map(({ name }) => name),
      ),
    );
    write('speedscope-out', () => speedscopeFile(contexts(stacks), frames(), command));
    write('pprof-out', () => pprofFile(contexts(stacks), frames(), counted));
  }

  /** Addresses of instructions with their executions and the other events, of which allocations are no instruction's. */
  private *instructions(replay: ProcessReplay): Generator<readonly [number, readonly number[]]> {
    const segments = replay.segments();
    const none = ALLOCATION_EVENTS.map(() => 0);
    for (const [pc, count] of executionsByInstruction(segments, this.symbols))
      yield [pc, [count, ...none]];
    if (!this.caches) return;
    const { pcs, events } = countsByInstruction(replay.guest.cache!, segments);
    for (const [i, pc] of pcs.entries()) {
      const of = (...names: readonly EventName[]): number =>
        names.reduce((sum, name) => sum + events[EVENT_COUNT * i + EVENT[name]]!, 0);
      const misses = [of('I1mr'), of('D1mr', 'D1mw'), of('ILmr', 'DLmr', 'DLmw')];
      if (misses.some(Boolean)) yield [Number(pc), [0, ...none, ...misses]];
    }
  }

  /** The name of a function for people. */
  private nameOf(fn: number): string {
    if (fn === NO_FUNCTION) return '(thread)';
    const { name, module } = this.functions.list[fn]!;
    return name || `??? in ${basename(module) || 'unknown code'}`;
  }

  private profile(
    total: number,
    functions: readonly FunctionCost[],
    edges: readonly EdgeCost[],
  ): Profile {
    const { shownRows } = this;
    const sums = sumBy(functions, ({ fn }) => fn).sort((a, b) => b.inclusive - a.inclusive);
    const ofPairs = sumBy(edges, ({ pair }) => pair).map((edge) => {
      return { ...edge, inclusive: edge.pairInclusive, inclusiveEvents: edge.pairEvents };
    });
    const calls = sumBy(ofPairs, ({ caller, callee }) => `${caller} ${callee}`).sort(
      (a, b) => b.inclusive - a.inclusive,
    );
    const threads = sumBy(functions, ({ thread }) => thread);
    const share = (part: number): number => (total === 0 ? 0 : part / total);
    const nameOf = (fn: number): string => this.nameOf(fn);
    return {
      lines: [
        `Instructions: ${formatCount(total)}`,
        `Heap blocks allocated: ${formatCount(functions.reduce((sum, { selfEvents }) => sum + selfEvents[0]!, 0))}`,
      ],
      tables: [
        {
          name: 'functions',
          title: 'Functions by inclusive cost:',
          columns: [
            { name: 'inclusive_share', head: 'inclusive', isShare: true },
            { name: 'self_share', head: 'self', isShare: true },
            { name: 'inclusive', head: 'instructions' },
            { name: 'self', head: 'of its own' },
            { name: 'calls' },
            ...this.counted.map(({ column }) => ({ name: column })),
            { name: 'function' },
            { name: 'module' },
          ],
          rows: sums.map(({ fn, calls: count, self, inclusive, inclusiveEvents }) => [
            share(inclusive),
            share(self),
            ...[inclusive, self, count],
            ...inclusiveEvents,
            nameOf(fn),
            basename(this.functions.list[fn]!.module),
          ]),
          shownRows,
        },
        {
          name: 'calls',
          title: 'Calls by inclusive cost:',
          columns: [
            { name: 'inclusive_share', head: 'inclusive', isShare: true },
            { name: 'inclusive', head: 'instructions' },
            { name: 'calls' },
            ...this.counted.map(({ column }) => ({ name: column })),
            { name: 'caller' },
            { name: 'callee' },
          ],
          rows: calls
            .filter(({ caller }) => caller !== NO_FUNCTION)
            .map(({ caller, callee, calls: count, inclusive, inclusiveEvents }) => [
              share(inclusive),
              ...[inclusive, count],
              ...inclusiveEvents,
              ...[nameOf(caller), nameOf(callee)],
            ]),
          shownRows,
        },
        {
          name: 'contexts',
          title: 'Calls as a flame graph',
          columns: [{ name: 'caller' }, { name: 'function' }, { name: 'self' }],
          rows: seenContexts(this.stacks).map(({ parent, thread, fn, self, isRest }) => [
            parent,
            fn !== undefined ? nameOf(fn) : isRest ? '…' : `thread ${thread}`,
            self,
          ]),
          shownRows: 0,
          drawn: {
            as: 'flame',
            parent: 'caller',
            name: 'function',
            self: 'self',
            unit: 'instructions',
          },
        },
        {
          name: 'threads',
          title: 'Threads:',
          columns: [
            { name: 'thread' },
            { name: 'self_share', head: 'share', isShare: true },
            { name: 'self', head: 'instructions' },
          ],
          rows:
            threads.length > 1
              ? threads.map(({ thread, self }) => [thread, share(self), self])
              : [],
        },
      ],
    };
  }

  private contextTable(): AnalysisColumns {
    const { list } = this.functions;
    const of = contextColumns(this.stacks);
    const text = (texts: readonly string[]) => ({ texts, numbers: of.functions });
    return {
      table: call_contexts,
      count: of.count,
      columns: {
        process: this.process,
        context: Uint32Array.from(of.parents, (_, i) => i + 1),
        parent: of.parents,
        thread: Uint32Array.from(of.threads),
        function: text(list.map(({ name }) => name)),
        module: text(list.map(({ module }) => module)),
        ...{ calls: of.calls, self: of.self, inclusive: of.inclusive },
      },
    };
  }

  private tables(functions: readonly FunctionCost[], edges: readonly EdgeCost[]): AnalysisRows[] {
    const { process, symbols } = this;
    const named = (fn: number): { name: string; module: string } =>
      fn === NO_FUNCTION ? { name: '', module: '' } : this.functions.list[fn]!;
    return [
      {
        table: function_costs,
        rows: functions.map(
          ({ thread, fn, calls, self, inclusive, inclusiveEvents, selfEvents }) => {
            const { name, module, source } = this.functions.list[fn]!;
            return {
              ...{ process, thread, function: name, module, file: source.file, line: source.line },
              calls: BigInt(calls),
              self: BigInt(self),
              inclusive: BigInt(inclusive),
              ...eventColumns(ALL_EVENTS, inclusiveEvents),
              ...eventColumns(SELF_EVENTS, selfEvents),
            };
          },
        ),
      },
      {
        table: call_edges,
        rows: edges.map(
          ({ thread, caller, callee, how, pc, calls, inclusive, inclusiveEvents }) => {
            const from = named(caller);
            const to = named(callee);
            const { file, line } = how === 'call' ? symbols.source(pc) : { file: '', line: 0 };
            return {
              ...{ process, thread, how, pc, file, line },
              ...{ caller: from.name, caller_module: from.module },
              ...{ callee: to.name, callee_module: to.module },
              calls: BigInt(calls),
              inclusive: BigInt(inclusive),
              ...eventColumns(ALL_EVENTS, inclusiveEvents),
            };
          },
        ),
      },
    ];
  }
}

const ALL_EVENTS = [...ALLOCATION_EVENTS, ...MISS_EVENTS].map(({ column }) => column);
/** What a function allocates itself is of no interest. */
const SELF_EVENTS = ALL_EVENTS.map((column, i) =>
  i < ALLOCATION_EVENTS.length ? undefined : `self_${column}`,
);

/** Events as columns of a table; those that were not counted are 0. Written as a loop, as there are many rows. */
function eventColumns(
  columns: readonly (string | undefined)[],
  values: readonly number[],
): Record<string, bigint> {
  const row: Record<string, bigint> = {};
  for (let i = 0; i < columns.length; i++)
    if (columns[i] !== undefined) row[columns[i]!] = BigInt(values[i] ?? 0);
  return row;
}

type Summed = {
  calls: number;
  inclusive: number;
  self?: number;
  inclusiveEvents: readonly number[];
};

/** Costs with the same key as one, with all else of the first. */
function sumBy<T extends Summed>(costs: readonly T[], keyOf: (cost: T) => unknown): T[] {
  const sums = new Map<unknown, T>();
  for (const cost of costs) {
    const key = keyOf(cost);
    const sum = sums.get(key);
    if (!sum) {
      sums.set(key, { ...cost });
      continue;
    }
    sum.calls += cost.calls;
    sum.inclusive += cost.inclusive;
    sum.inclusiveEvents = sum.inclusiveEvents.map((value, i) => value + cost.inclusiveEvents[i]!);
    if (sum.self !== undefined) sum.self += cost.self!;
  }
  return [...sums.values()];
}
