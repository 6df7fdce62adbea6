/**
 * Where two executions part: of each thread the first step that only one of them took, the first value that they stored
 * differently, the first system call with which they asked for something else, and the first one by which they learned
 * something else; and what comes after.
 *
 * Each image is replayed once for hashes (`path.ts`). Where these differ, it is replayed again up to there, and what lies
 * between the last common step and the first that differs is interpreted (`zoom.ts`), which tells the branch. If threads of the program took
 * the same way and yet asked for other things, the difference is in what the C library computed: then its code is compared,
 * too.
 */
import { Symbols, type Frame } from '../../replay/symbols.js';
import type { ProcessRow, Trace } from '../../replay/trace.js';
import { stacks } from '../../schemas/tables.js';
import { argumentsOf } from '../output-file.js';
import { mix } from './hash.js';
import type { Call } from './calls.js';
import { Code, Kind, Places } from './code.js';
import { CHUNK, Walk, type Steps, type ThreadPath } from './path.js';
import { zoom, type Stretch } from './zoom.js';

/** What is known of both executions. */
export interface Both<T> {
  readonly before: T;
  readonly after: T;
}

/** A moment of one execution. */
export interface Moment {
  /** Guest instructions executed by the process image. */
  readonly tick: number;
  readonly frames: readonly Frame[];
}

/** The last thing that both did is the innermost frame of both stacks. */
export interface Parting extends Both<Moment & { readonly next: Next }> {
  /** Found in code of the C library or the like, the program itself took one way. */
  readonly isDeep: boolean;
}

export interface Next {
  /** Where it went on; absent if the thread did nothing more. */
  readonly frame: Frame | undefined;
  /** What the branch compared, such as `3 with 5`. */
  readonly compared: string | undefined;
}

export interface ValueDifference extends Both<
  Moment & { readonly where: string; readonly what: string }
> {
  readonly isDeep: boolean;
}

/** A system call; absent where one made none any more. */
export type CallDifference = Both<
  (Moment & { readonly text: string; readonly contents: string }) | undefined
>;

/** What follows the parting. */
export interface Sequel {
  /** Where both go on alike, and instructions from the parting on until there; absent if they do not within reach. */
  readonly again: (Both<number> & { readonly frame: Frame }) | undefined;
  /** How often they part until the end, or in the part that was looked at. */
  readonly partings: number;
  readonly isWhole: boolean;
  /** Instructions that the thread still executed. */
  readonly left: Both<number>;
}

export interface ThreadBehaviour {
  /** By spawn path: `1` is the first thread, `1.2` the second that it created. */
  readonly thread: string;
  readonly parting: Parting | undefined;
  readonly sequel: Sequel | undefined;
  readonly value: ValueDifference | undefined;
  /** What it asked for. */
  readonly request: CallDifference | undefined;
  /** What it was answered: times, numbers of processes and the like are told apart. */
  readonly input: CallDifference | undefined;
  readonly fleeting: CallDifference | undefined;
}

export interface ProcessBehaviour {
  /** Numbers of the process image in both runs. */
  readonly before: number;
  readonly after: number;
  readonly program: string;
  /** Arguments of the program differ. */
  readonly arguments: Both<string> | undefined;
  readonly threads: readonly ThreadBehaviour[];
  /** Spawn paths of threads that the other run does not have. */
  readonly unmatched: Both<readonly string[]>;
  /** Functions of the program that were entered in one run only, with how often, the most frequent first. */
  readonly functions: Both<readonly { readonly name: string; readonly calls: number }[]>;
  /** How it ended, where it did differently. */
  readonly end: Both<string> | undefined;
  /** Descriptors of 1 and 2 to which something else was written. */
  readonly outputs: readonly number[];
  /** What could not be compared. */
  readonly missing: readonly string[];
}

/** Steps that are compared one by one from the first difference on. */
const WINDOW = 1 << 18;
/** Steps that must be the same for two executions to have come together again. */
const ALIKE = 24;
/** Partings are counted up to this. */
const MOST_PARTINGS = 1000;
const KEPT_FUNCTIONS = 100;

/** Process images of two runs that stand for one another: of the same program, in their order. */
export function matchImages(before: Trace, after: Trace): Both<ProcessRow>[] {
  // What was recorded may have another name in each run.
  const nameOf = ({ processes }: Trace, { executable }: ProcessRow): string =>
    executable === processes[0]!.executable ? '' : executable.replace(/.*\//, '');
  const open = new Map<string, ProcessRow[]>();
  for (const row of after.processes) {
    const name = nameOf(after, row);
    open.set(name, [...(open.get(name) ?? []), row]);
  }
  return before.processes.flatMap((row) => {
    const other = open.get(nameOf(before, row))?.shift();
    return other ? [{ before: row, after: other }] : [];
  });
}

/** Compares two process images. */
export function compareImages(
  before: Trace,
  after: Trace,
  images: Both<ProcessRow>,
): ProcessBehaviour {
  const codes = {
    before: new Code(before, images.before.process),
    after: new Code(after, images.after.process),
  };
  const pair = new Pair(codes, false);
  // Threads come up in the order of the schedule, which says nothing.
  const threadsOf = (side: keyof Both<0>): string[] =>
    [...pair.walks[side].threads.keys()].sort((a, b) =>
      a.localeCompare(b, 'en', { numeric: true }),
    );
  const matched = threadsOf('before').filter((key) => pair.walks.after.threads.has(key));
  const own = pair.explainAll(matched);
  const calls = new Map(matched.map((key) => [key, pair.callDifferences(key)]));
  const hidden = matched.filter(
    (key) => !own.get(key)!.parting && calls.get(key)!.request !== undefined,
  );
  // From here on the code is looked at in another way: what concerns the pair has been asked.
  const deep = hidden.length > 0 ? new Pair(codes, true).explainAll(hidden) : undefined;
  const threads = matched.map((key): ThreadBehaviour => {
    const [found, inside] = [own.get(key)!, deep?.get(key)];
    return {
      thread: key,
      parting: found.parting ?? inside?.parting,
      sequel: found.sequel ?? inside?.sequel,
      value: found.value ?? inside?.value,
      ...calls.get(key)!,
    };
  });
  const only = (side: keyof Both<0>): string[] => threadsOf(side).filter((key) => !own.has(key));
  const ends = { before: endOf(images.before), after: endOf(images.after) };
  const argumentsText = (image: ProcessRow): string => JSON.stringify(argumentsOf(image).slice(1));
  const given = { before: argumentsText(images.before), after: argumentsText(images.after) };
  return {
    ...{ before: images.before.process, after: images.after.process },
    program: images.before.executable,
    arguments: given.before === given.after ? undefined : given,
    threads,
    unmatched: { before: only('before'), after: only('after') },
    functions: pair.functionsOfOne(),
    end: ends.before === ends.after ? undefined : ends,
    outputs: pair.otherOutputs(),
    missing: [...pair.walks.before.missing, ...pair.walks.after.missing],
  };
}

const endOf = ({ end, status }: ProcessRow): string =>
  end === 'exit' || end === 'signal' ? `${end} ${status}` : end;

/** Numbers of the first chunks that differ, or -1. */
interface Located {
  readonly way: number;
  readonly values: number;
}

type Explanation = Pick<ThreadBehaviour, 'parting' | 'sequel' | 'value'>;

/** The two executions of one process image. */
class Pair {
  readonly walks: Both<Walk>;
  private readonly places: Places;
  private readonly symbols: Both<Symbols>;
  private kept: Both<Walk> | undefined;

  constructor(
    private readonly codes: Both<Code>,
    private readonly isDeep: boolean,
  ) {
    this.places = new Places(codes.before, codes.after, isDeep);
    this.walks = {
      before: new Walk(codes.before, this.places),
      after: new Walk(codes.after, this.places),
    };
    this.symbols = {
      before: new Symbols(codes.before.trace, codes.before.process),
      after: new Symbols(codes.after.trace, codes.after.process),
    };
  }

  /** Says what the first differences of threads are. */
  explainAll(keys: readonly string[]): Map<string, Explanation> {
    const found = new Map(keys.map((key) => [key, this.locate(key)]));
    this.collect(found);
    return new Map(keys.map((key) => [key, this.explain(key, found.get(key)!)]));
  }

  /** The first chunks of a thread in which the executions differ. */
  private locate(key: string): Located {
    const [a, b] = [this.walks.before.threads.get(key)!, this.walks.after.threads.get(key)!];
    const differs = (chunk: number, lane: number): boolean => {
      const [one, other] = [a.chunk(chunk), b.chunk(chunk)];
      return one[lane] !== other[lane] || one[lane + 1] !== other[lane + 1];
    };
    const chunks = Math.ceil(Math.min(a.steps, b.steps) / CHUNK);
    let [way, values] = [-1, -1];
    for (let chunk = 0; chunk < chunks && way < 0; chunk++) {
      if (differs(chunk, 0)) way = chunk;
      if (values < 0 && differs(chunk, 2)) values = chunk;
    }
    if (way < 0 && a.steps !== b.steps) way = Math.floor(Math.min(a.steps, b.steps) / CHUNK);
    return { way, values };
  }

  /** Replays up to where threads differ and keeps their steps there. */
  private collect(found: ReadonlyMap<string, Located>): void {
    const wanted = [...found].flatMap(([thread, { way, values }]) => {
      if (way < 0 && values < 0) return [];
      const first = (values < 0 ? way : values) * CHUNK;
      // The step before tells where they still were together.
      const from = Math.max(0, first - 1);
      const most = way < 0 ? CHUNK + 1 : way * CHUNK - first + WINDOW;
      return [{ thread, from, most, valuesFrom: values < 0 ? Infinity : first }];
    });
    if (wanted.length === 0) return;
    const walk = (side: keyof Both<0>): Walk =>
      new Walk(
        this.codes[side],
        this.places,
        wanted.map(({ thread, from, most, valuesFrom }) => {
          const { steps } = this.walks[side].threads.get(thread)!;
          return { thread, from, valuesFrom, count: Math.max(0, Math.min(most, steps - from)) };
        }),
      );
    this.kept = { before: walk('before'), after: walk('after') };
  }

  private explain(key: string, { way, values }: Located): Explanation {
    if (way < 0 && values < 0) return { parting: undefined, sequel: undefined, value: undefined };
    const [a, b] = [
      this.kept!.before.threads.get(key)!.kept!,
      this.kept!.after.threads.get(key)!.kept!,
    ];
    const most = Math.min(a.count, b.count);
    let at = 0;
    while (at < most && a.places[at] === b.places[at] && a.deltas[at] === b.deltas[at]) at++;
    const parts = way >= 0;
    return {
      parting: parts ? this.parting(key, a, b, at) : undefined,
      sequel: parts ? this.sequel(key, a, b, at) : undefined,
      value: values < 0 ? undefined : this.value(a, b, parts ? at : most),
    };
  }

  /** The first different stored value before the executions part. */
  private value(a: Steps, b: Steps, end: number): ValueDifference | undefined {
    for (const [step, one] of a.values) {
      if (step - a.from >= end) return undefined;
      const other = b.values.get(step);
      if (!other || other.hash === one.hash) continue;
      const moment = (side: keyof Both<0>, { stack, tick, where, what }: typeof one) => {
        return { tick, frames: this.symbols[side].stack(stack), where, what };
      };
      return {
        before: moment('before', one),
        after: moment('after', other),
        isDeep: this.isDeep,
      };
    }
    return undefined;
  }

  private threadOf(side: keyof Both<0>, key: string): ThreadPath {
    return this.walks[side].threads.get(key)!;
  }

  /** What lies between the last common step and the first that differs. */
  private parting(key: string, a: Steps, b: Steps, at: number): Parting {
    const stretch = (side: keyof Both<0>, steps: Steps): Stretch => {
      const { thread, startedAt, pausedAt } = this.threadOf(side, key);
      const from = at === 0 ? startedAt : steps.ticks[at - 1]!;
      return zoom(this.codes[side], thread, from, at < steps.count ? steps.ticks[at]! : pausedAt);
    };
    const both = { before: stretch('before', a), after: stretch('after', b) };
    const ways = {
      before: this.way('before', both.before),
      after: this.way('after', both.after),
    };
    const [one, other] = [ways.before, ways.after];
    let i = 0;
    while (i < one.keys.length && i < other.keys.length && one.keys[i] === other.keys[i]) i++;
    const side = (name: keyof Both<0>, steps: Steps) => {
      const { firsts, lasts } = ways[name];
      const lines = both[name];
      const symbols = this.symbols[name];
      const row = i === 0 ? 0 : lasts[i - 1]!;
      const next = firsts[i];
      // Where nothing tells the two apart but the steps: in code without a name, or too far away.
      const step = at < steps.count ? steps.pcs[at] : undefined;
      const later = next === undefined ? step : lines.pcs[next];
      const pc = lines.count > 0 ? lines.pcs[row]! : steps.pcs[Math.max(0, at - 1)]!;
      return {
        tick: lines.count > 0 ? lines.ticks[row]! : steps.ticks[Math.max(0, at - 1)]!,
        frames: symbols.stack(lines.count > 0 ? lines.stackAt(row) : [BigInt(pc)]),
        frame: later === undefined ? undefined : symbols.frames(BigInt(later))[0],
        compared: next === undefined ? undefined : lines.comparedBefore(next),
        fallsThrough: next === row + 1 && lines.pcs[next] === pc + symbols.lengthOf(BigInt(pc)),
      };
    };
    const [first, second] = [side('before', a), side('after', b)];
    const isBranch = first.fallsThrough !== second.fallsThrough;
    const plain = ({ tick, frames, frame, compared }: typeof first) => ({
      ...{ tick, frames },
      next: { frame, compared: isBranch ? compared : undefined },
    });
    return { before: plain(first), after: plain(second), isDeep: this.isDeep };
  }

  /**
   * Instructions of a stretch by what they are known by in both runs, as rows of the stretch; of coarse code, lines that
   * follow one another, with their first and last instructions.
   */
  private way(
    side: keyof Both<0>,
    { count, pcs }: Stretch,
  ): { keys: (string | number)[]; firsts: number[]; lasts: number[] } {
    const code = this.codes[side];
    const [keys, firsts, lasts] = [[] as (string | number)[], [] as number[], [] as number[]];
    for (let i = 0; i < count; i++) {
      const pc = pcs[i]!;
      const group = code.groupAt(pc);
      if (!group || group.kind === Kind.linker || group.kind === Kind.runtime) continue;
      let key: string | number = this.places.place(code, pc);
      if (group.kind === Kind.coarse) {
        if (group.name === '') continue;
        const line = (at: number): number => this.symbols[side].source(BigInt(at)).line;
        key = `${group.key}:${line(pc) - line(group.start)}`;
        if (key === keys.at(-1)) {
          lasts[lasts.length - 1] = i;
          continue;
        }
      }
      keys.push(key);
      firsts.push(i);
      lasts.push(i);
    }
    return { keys, firsts, lasts };
  }

  /** Whether they come together again, and how often they part. */
  private sequel(key: string, a: Steps, b: Steps, at: number): Sequel {
    const [one, other] = [tokensOf(a), tokensOf(b)];
    const ends = [a, b].map(({ from, count }, i) => {
      const side = i === 0 ? ('before' as const) : ('after' as const);
      return from + count === this.threadOf(side, key).steps;
    });
    const isWhole = ends.every(Boolean);
    let again: Sequel['again'];
    let partings = 0;
    let [i, j] = [at, at];
    while (partings < MOST_PARTINGS && (i < one.length || j < other.length)) {
      partings++;
      const met = meet(one, other, i, j, isWhole);
      if (!met) break;
      [i, j] = met;
      if (partings === 1 && i < a.count && j < b.count)
        again = {
          before: a.times[i]! - (at === 0 ? 0 : a.times[at - 1]!),
          after: b.times[j]! - (at === 0 ? 0 : b.times[at - 1]!),
          frame: this.symbols.before.frames(BigInt(a.pcs[i]!))[0]!,
        };
      while (i < one.length && j < other.length && one[i] === other[j]) {
        i++;
        j++;
      }
    }
    const left = (side: keyof Both<0>, steps: Steps): number =>
      this.threadOf(side, key).ran - (at === 0 ? 0 : steps.times[at - 1]!);
    return {
      ...{ again, partings, isWhole: isWhole && partings < MOST_PARTINGS },
      left: { before: left('before', a), after: left('after', b) },
    };
  }

  /** The first system calls of a thread that differ. */
  callDifferences(key: string): Pick<ThreadBehaviour, 'request' | 'input' | 'fleeting'> {
    const lists = {
      before: this.walks.before.calls.get(key)?.list ?? [],
      after: this.walks.after.calls.get(key)?.list ?? [],
    };
    const { before: a, after: b } = lists;
    let [request, input, fleeting] = [-1, -1, -1];
    const most = Math.max(a.length, b.length);
    for (let i = 0; i < most; i++) {
      const [one, other] = [a[i], b[i]];
      if (request < 0 && one?.request !== other?.request) request = i;
      // What other calls are answered says nothing; the same call for something else does.
      if (one?.name !== other?.name) break;
      if (one!.answer === other!.answer) continue;
      if (!one!.isFleeting && input < 0) input = i;
      else if (one!.isFleeting && fleeting < 0) fleeting = i;
    }
    const at = (i: number, which: 'passed' | 'received'): CallDifference | undefined =>
      i < 0
        ? undefined
        : {
            before: this.describe('before', a[i], which, b[i]),
            after: this.describe('after', b[i], which, a[i]),
          };
    return {
      request: at(request, 'passed'),
      input: at(input, 'received'),
      fleeting: at(fleeting, 'received'),
    };
  }

  private describe(
    side: keyof Both<0>,
    call: Call | undefined,
    which: 'passed' | 'received',
    other: Call | undefined,
  ): CallDifference['before'] {
    if (!call) return undefined;
    const first = differAt(call[which], other?.[which] ?? new Uint8Array(0));
    return {
      ...{ tick: call.tick, text: call.text },
      frames: this.symbols[side].stack(this.stack(side, call)),
      contents: first < 0 ? '' : excerpt(call[which], first),
    };
  }

  /** The stored call stack of a system call. */
  private stack(side: keyof Both<0>, { stack }: Call): bigint[] {
    const { trace, process } = this.codes[side];
    for (const row of trace.rows(stacks, process)) {
      if (row.stack !== stack) continue;
      const view = new DataView(row.pcs.buffer, row.pcs.byteOffset, row.pcs.length);
      return Array.from({ length: row.pcs.length >> 3 }, (_, i) => view.getBigUint64(8 * i, true));
    }
    return [];
  }

  functionsOfOne(): ProcessBehaviour['functions'] {
    const { before, after } = this.walks;
    const only = (own: Float64Array, others: Float64Array) =>
      Array.from(own, (calls, fn) => ({ name: this.places.nameOf(fn), calls, fn }))
        .filter(({ calls, fn }) => calls > 0 && !others[fn])
        .sort((a, b) => b.calls - a.calls)
        .slice(0, KEPT_FUNCTIONS)
        .map(({ name, calls }) => ({ name, calls }));
    return {
      before: only(before.entries, after.entries),
      after: only(after.entries, before.entries),
    };
  }

  otherOutputs(): number[] {
    const digest = (walk: Walk, descriptor: number): string =>
      walk.outputs.get(descriptor)?.digest.copy().digest('hex') ?? '';
    const { before, after } = this.walks;
    return [1, 2].filter((one) => digest(before, one) !== digest(after, one));
  }
}

const tokensOf = ({ places, deltas, count }: Steps): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => mix(places[i]!, deltas[i]!));

/** The nearest steps from which on two sequences are alike for a while; their ends are, if they are known. */
function meet(
  a: Int32Array,
  b: Int32Array,
  i: number,
  j: number,
  areWhole: boolean,
): [number, number] | undefined {
  const grams = (list: Int32Array, from: number): Int32Array => {
    const count = Math.max(0, Math.min(list.length - ALIKE + 1 - from, REACH));
    return Int32Array.from({ length: count }, (_, at) => {
      let hash = 0;
      for (let k = 0; k < ALIKE; k++) hash = mix(hash, list[from + at + k]!);
      return hash;
    });
  };
  const first = new Map<number, number>();
  grams(a, i).forEach((hash, at) => {
    if (!first.has(hash)) first.set(hash, at);
  });
  let best: [number, number] | undefined;
  let least = Infinity;
  const others = grams(b, j);
  for (let at = 0; at < others.length && at < least; at++) {
    const found = first.get(others[at]!);
    if (found === undefined || found + at >= least) continue;
    least = found + at;
    best = [i + found, j + at];
  }
  if (best || !areWhole) return best;
  // Shorter ends that are alike.
  let same = 0;
  while (
    same < a.length - i &&
    same < b.length - j &&
    a[a.length - 1 - same] === b[b.length - 1 - same]
  )
    same++;
  return [a.length - same, b.length - same];
}

/** Steps from a parting on within which the executions must come together. */
const REACH = 1 << 15;

/** The first byte in which two contents differ, or -1. */
function differAt(one: Uint8Array, other: Uint8Array): number {
  const most = Math.max(one.length, other.length);
  for (let at = 0; at < most; at++) if (one[at] !== other[at]) return at;
  return -1;
}

/** Bytes that are shown of contents, and as many of them before the first that differs. */
const EXCERPT_BYTES = 64;
const LEAD_BYTES = 16;

/** Tabs and ends of lines. */
const TEXT_CONTROLS: ReadonlySet<number> = new Set([9, 10, 13]);

/** Contents around a byte, such as `"a line\n"`, or hexadecimal where it is no text. */
function excerpt(bytes: Uint8Array, at: number): string {
  const from = bytes.length <= EXCERPT_BYTES ? 0 : Math.max(0, at - LEAD_BYTES);
  const end = bytes.at(-1) === 0 ? bytes.length - 1 : bytes.length; // of a string
  const part = bytes.subarray(from, Math.min(from + EXCERPT_BYTES, end));
  const isText = part.every((byte) => TEXT_CONTROLS.has(byte) || (byte >= 0x20 && byte < 0x7f));
  const text = isText
    ? JSON.stringify(new TextDecoder().decode(part))
    : Buffer.from(part).toString('hex');
  return from === 0 ? text : `from byte ${from} on ${text}`;
}
