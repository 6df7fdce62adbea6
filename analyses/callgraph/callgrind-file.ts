/**
 * Costs as a file that callgrind_annotate and KCachegrind read (Valgrind manual, Callgrind Format Specification): for each
 * function its own instructions by source line, and its calls by the line of the call, with their inclusive cost.
 */
import type { Source, Symbols } from '../../replay/symbols.js';
import { entry, oneLine, pathOf } from '../output-file.js';
import { NO_FUNCTION } from './call-stacks.js';
import type { EdgeCost, FunctionCost } from './costs.js';
import { ALLOCATION_EVENTS, type CallEvent } from './events.js';
import type { FunctionName, Functions } from './functions.js';

export interface CallgrindHead {
  readonly pid: number;
  readonly command: string;
}

interface FunctionLines {
  /** Own instructions and other events by file, then by line. */
  readonly own: Map<string, Map<number, number[]>>;
  /** Calls by file, line and callee. */
  readonly calls: Map<string, Call>;
}

interface Call {
  readonly file: string;
  readonly line: number;
  readonly callee: number;
  calls: number;
  readonly inclusive: number[];
}

/**
 * @param instructions addresses with their executions and other events
 * @param costs of functions, for the first events, which are not counted by instruction: they stand at a line of the function
 */
export function callgrindFile(
  { pid, command }: CallgrindHead,
  functions: Functions,
  symbols: Symbols,
  instructions: Iterable<readonly [number, readonly number[]]>,
  edges: readonly EdgeCost[],
  costs: readonly FunctionCost[],
  events: readonly CallEvent[],
): string {
  const all = new Map<number, FunctionLines>();
  const linesOf = (fn: number): FunctionLines =>
    entry(all, fn, () => ({ own: new Map(), calls: new Map() }));
  const nothing = (): number[] => [0, ...events.map(() => 0)];
  const totals = nothing();
  const addTo = (sums: number[], values: readonly number[]): void =>
    values.forEach((value, i) => (sums[i]! += value));
  const addOwn = (fn: number, source: Source, values: readonly number[]): void => {
    const lines = entry(linesOf(fn).own, pathOf(source), () => new Map<number, number[]>());
    addTo(entry(lines, source.file ? source.line : 0, nothing), values);
    addTo(totals, values);
  };
  for (const [at, counts] of instructions) {
    const pc = BigInt(at);
    addOwn(functions.at(pc), symbols.source(pc), counts);
  }
  for (const { fn, selfEvents } of costs) {
    const allocations = selfEvents.slice(0, ALLOCATION_EVENTS.length);
    if (fn !== NO_FUNCTION && allocations.some(Boolean))
      addOwn(fn, functions.list[fn]!.source, [0, ...allocations]);
  }
  for (const { caller, callee, how, pc, calls, inclusive, inclusiveEvents } of edges) {
    if (caller === NO_FUNCTION) continue;
    const source = how === 'call' ? symbols.source(pc) : functions.list[caller]!.source;
    const [file, line] = [pathOf(source), source.file ? source.line : 0];
    const call = entry(linesOf(caller).calls, `${file}\n${line}\n${callee}`, () => {
      return { file, line, callee, calls: 0, inclusive: nothing() };
    });
    call.calls += calls;
    addTo(call.inclusive, [inclusive, ...inclusiveEvents]);
  }

  const files = new Names();
  const objects = new Names();
  const names = new Names();
  const text = [
    '# callgrind format',
    ...['version: 1', 'creator: grind', `pid: ${pid}`, `cmd: ${oneLine(command)}`, 'part: 1', ''],
    ...events.map(({ short, long }) => `event: ${short} : ${long}`),
    ...['positions: line', `events: ${['Ir', ...events.map(({ short }) => short)].join(' ')}`],
    ...[`summary: ${totals.join(' ')}`, ''],
  ];
  const nameOf = (prefix: string, { name, module, source }: FunctionName): string[] => [
    `${prefix}ob=${objects.of(module || '???')}`,
    `${prefix}${prefix ? 'fi' : 'fl'}=${files.of(pathOf(source))}`,
    `${prefix}fn=${names.of(name || '???', module)}`,
  ];
  for (const [fn, { own, calls }] of all) {
    const function_ = functions.list[fn]!;
    text.push(...nameOf('', function_));
    const home = pathOf(function_.source);
    let current = home;
    const goTo = (file: string): void => {
      if (file !== current) text.push(`${file === home ? 'fe' : 'fi'}=${files.of(file)}`);
      current = file;
    };
    for (const [file, lines] of own) {
      goTo(file);
      for (const [line, counts] of [...lines].sort(([a], [b]) => a - b))
        text.push(`${line} ${counts.join(' ')}`);
    }
    for (const { file, line, callee, calls: count, inclusive } of calls.values()) {
      goTo(file);
      const target = functions.list[callee]!;
      text.push(
        ...nameOf('c', target),
        `calls=${count} ${target.source.line}`,
        `${line} ${inclusive.join(' ')}`,
      );
    }
    text.push('');
  }
  text.push(`totals: ${totals.join(' ')}`, '');
  return text.join('\n');
}

/** Name compression: a name is written out once, with a number that stands for it from then on. */
class Names {
  private readonly numbers = new Map<string, number>();
  /** @param scope - what tells names apart that are the same text */
  of(text: string, scope = ''): string {
    const key = `${scope}\n${text}`;
    const known = this.numbers.get(key);
    if (known !== undefined) return `(${known})`;
    this.numbers.set(key, this.numbers.size + 1);
    return `(${this.numbers.size}) ${oneLine(text)}`;
  }
}
