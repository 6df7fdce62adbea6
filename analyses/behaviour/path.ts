/**
 * The way that each thread of a process image took, as a sequence of steps that can be compared with that of another run:
 * stores, calls and returns in exact code (`code.ts`) with the number of instructions since the step before, functions that
 * are entered in other code. Every 4,096 steps, a chunk, their hash is kept, and beside it one of what was stored where, so
 * the first difference of two executions of any length is found in the first chunks that differ; those are looked at in a
 * second replay, step by step.
 */
import { CALL_SITE_KINDS } from '../../replay/call-sites.js';
import type { CallHooks, CallRows } from '../../replay/calls-guest.js';
import type { CallSites } from '../../replay/code-tables.js';
import { numberAt, wordsOf } from '../../replay/event-cursor.js';
import { grown } from '../../replay/grown.js';
import { guestOf, openReplay, type ProcessReplay } from '../../replay/replay.js';
import type { AccessBatch, EventRow } from '../../replay/types.js';
import {
  heap,
  mappings,
  memory,
  syscall_enters,
  syscall_exits,
  syscall_memory,
  thread_events,
} from '../../schemas/tables.js';
import { Addresses, type StackOf } from './addresses.js';
import { mix } from './hash.js';
import { ThreadCalls, type Output } from './calls.js';
import { Kind, type Code, type Places } from './code.js';

const [ENTER, CALL, RETURN] = CALL_SITE_KINDS.map((_, number) => number) as [0, 1, 2, 3];

/** Steps of a chunk. */
export const CHUNK = 4096;
/** Numbers of a chunk: two hashes of the way, two of the values. */
const LANES = 4;

/** Steps of one thread that are to be kept. */
export interface Wanted {
  readonly thread: string;
  readonly from: number;
  readonly count: number;
  /** Values are told of the steps of the chunk that begins with this one. */
  readonly valuesFrom: number;
}

/** Steps that were asked for. Entry `i` of each array is step `from + i`. */
export interface Steps {
  readonly from: number;
  readonly valuesFrom: number;
  count: number;
  readonly places: Int32Array;
  readonly deltas: Float64Array;
  /** Of a store that of its instruction; of a call or return the one after it. */
  readonly ticks: Float64Array;
  /** Instructions that the thread had executed. */
  readonly times: Float64Array;
  /** Addresses of instructions. */
  readonly pcs: Float64Array;
  /** By step: what was stored. */
  readonly values: Map<number, StoredValue>;
}

export interface StoredValue {
  readonly hash: number;
  readonly tick: number;
  /** Address and value, for people. */
  readonly where: string;
  readonly what: string;
  /** The call stack, innermost first. */
  readonly stack: readonly bigint[];
}

/** The way of one thread so far. */
export class ThreadPath implements StackOf {
  /** Steps. */
  steps = 0;
  /** By chunk that is complete, `LANES` numbers. */
  chunks = new Int32Array(LANES);
  private readonly lanes = new Int32Array(LANES);
  /** Calls under way. */
  count = 0;
  stackPointers = new Float64Array(64);
  loose = new Uint8Array(64);
  /** 1 for calls of the dynamic linker, and those of the C library for it. */
  ofLinker = new Uint8Array(64);
  /** Addresses of the call instructions. */
  private callers = new Float64Array(64);
  /** Tick of the last row, and whether all code since then is exact. */
  last = 0;
  isExact = false;
  inRuntime = false;
  /** Instructions that it has executed; ticks at which it began to run last, and at which it stopped. */
  ran = 0;
  since = 0;
  pausedAt = 0;
  /** The tick at which it first ran. */
  startedAt = 0;
  /** Threads that it has created. */
  children = 0;
  kept: Steps | undefined;

  /** @param key - see `Walk.threads` @param thread - its number in the process image */
  constructor(
    readonly key: string,
    readonly thread: number,
  ) {}

  /** What it did was its parent's; calls are still under way. */
  restart(kept: Steps | undefined): void {
    this.steps = this.ran = this.since = this.last = this.startedAt = 0;
    this.lanes.fill(0);
    this.isExact = false;
    this.kept = kept;
  }

  /** The numbers of a chunk; the last one may have fewer steps. */
  chunk(number: number): Int32Array {
    return number * CHUNK + CHUNK <= this.steps
      ? this.chunks.subarray(LANES * number, LANES * (number + 1))
      : this.lanes;
  }

  /** A step, with a hash of what was stored; 0 if nothing was. */
  step(place: number, delta: number, tick: number, pc: bigint, value: number): void {
    const { lanes } = this;
    const token = mix(place, delta);
    lanes[0] = Math.imul(lanes[0]! ^ token, 0x9e3779b1);
    lanes[1] = Math.imul(lanes[1]! + token, 0x85ebca6b) ^ (lanes[1]! >>> 13);
    if (value !== 0) {
      lanes[2] = Math.imul(lanes[2]! ^ value, 0x9e3779b1);
      lanes[3] = Math.imul(lanes[3]! + value, 0x85ebca6b) ^ (lanes[3]! >>> 13);
    }
    const { kept } = this;
    if (kept && this.steps >= kept.from && kept.count < kept.places.length) {
      kept.places[kept.count] = place;
      kept.deltas[kept.count] = delta;
      kept.times[kept.count] = this.ran + tick - this.since;
      kept.pcs[kept.count] = Number(pc);
      kept.ticks[kept.count++] = tick;
    }
    if (++this.steps % CHUNK !== 0) return;
    const first = (this.steps / CHUNK - 1) * LANES;
    this.chunks = grown(this.chunks, first + LANES);
    this.chunks.set(lanes, first);
    lanes.fill(0);
  }

  push(stackPointer: number, pc: bigint, code: Kind): void {
    while (this.count > 0 && this.stackPointers[this.count - 1]! <= stackPointer) this.count--;
    this.stackPointers = grown(this.stackPointers, this.count + 1);
    if (this.loose.length < this.stackPointers.length) {
      this.loose = grown(this.loose, this.stackPointers.length);
      this.callers = grown(this.callers, this.stackPointers.length);
      this.ofLinker = grown(this.ofLinker, this.stackPointers.length);
    }
    const isOfLinker =
      code === Kind.linker || (code === Kind.runtime && this.ofLinker[this.count - 1] === 1);
    this.ofLinker[this.count] = isOfLinker ? 1 : 0;
    this.callers[this.count] = Number(pc);
    this.stackPointers[this.count] = stackPointer;
    this.loose[this.count++] = 0;
  }

  /** The addresses of the call stack at an instruction, innermost first. */
  callStack(pc: bigint): bigint[] {
    return [pc, ...Array.from(this.callers.subarray(0, this.count), BigInt).reverse()];
  }

  pop(stackPointer: number): void {
    while (this.count > 0 && this.stackPointers[this.count - 1]! < stackPointer) this.count--;
  }
}

/** Replays a process image once. */
export class Walk implements CallHooks {
  /** By spawn path: `1` is the first thread, `1.2` the second that it created. */
  readonly threads = new Map<string, ThreadPath>();
  readonly calls = new Map<string, ThreadCalls>();
  readonly outputs = new Map<number, Output>();
  /** Descriptors of files whose contents differ between any two executions. */
  private readonly fleeting = new Set<bigint>();
  /** By number of the function: how often it was entered. */
  entries = new Float64Array(1024);
  /** Where replay could not follow. */
  readonly missing: string[] = [];
  private readonly byNumber = new Map<number, ThreadPath>();
  private readonly spawned = new Map<number, string>();
  private readonly addresses: Addresses;
  private readonly replay: ProcessReplay;
  private current: ThreadPath | undefined;
  /** Rows of calls that accesses before them may still come of. */
  private readonly queue = {
    count: 0,
    sites: new Uint32Array(0),
    ticks: new Float64Array(0),
    stacks: new Float64Array(0),
  };
  private callSites: CallSites | undefined;
  /** Where `main` begins; before it, the C library looks at the environment, which is no step of a deep comparison. */
  private readonly main: number | undefined;
  private isQuiet: boolean;
  private readonly callsAt: SitePlaces;
  private readonly storesAt: SitePlaces;

  /** @param wanted - steps to keep; the walk ends when it has them. Absent: all is hashed */
  constructor(
    private readonly code: Code,
    places: Places,
    private readonly wanted?: readonly Wanted[],
    progress?: (tick: number) => void,
  ) {
    const { trace, process } = code;
    this.main = code.startOf('main');
    this.isQuiet = places.isDeep && this.main !== undefined;
    this.callsAt = new SitePlaces(code, places);
    this.storesAt = new SitePlaces(code, places);
    this.addresses = new Addresses(code, places);
    this.replay = openReplay(trace, process, {
      accesses: true,
      columns: new Set(['ticks', 'addresses', 'values']),
      loads: () => false,
      counts: true,
      calls: this,
      observer: {
        tables: [
          ...[heap, mappings, thread_events],
          ...(wanted ? [] : [memory, syscall_enters, syscall_exits, syscall_memory]),
        ],
        applied: (row) => this.applied(row),
      },
    });
    for (let batch; !this.isDone && (batch = this.replay.nextAccesses());) {
      this.deliver(batch);
      progress?.(this.replay.guest.now);
    }
    if (wanted) return;
    for (const calls of this.calls.values()) calls.close();
    this.missing.push(...this.replay.divergences);
  }

  // ---- Rows in their order ----

  readonly isFunction = (address: bigint): boolean => this.code.isFunction(Number(address));

  rows({ count, sites, ticks, stacks }: CallRows, table: CallSites): void {
    this.callSites = table;
    const { queue } = this;
    const needed = queue.count + count;
    queue.sites = grown(queue.sites, needed);
    queue.ticks = grown(queue.ticks, needed);
    queue.stacks = grown(queue.stacks, needed);
    queue.sites.set(sites, queue.count);
    queue.ticks.set(ticks, queue.count);
    queue.stacks.set(stacks, queue.count);
    queue.count = needed;
  }

  select(thread: number, tick: bigint): void {
    this.flush();
    const now = Number(tick);
    this.pause(now);
    let next = this.byNumber.get(thread);
    if (!next) {
      const key = this.spawned.get(thread) ?? String(thread);
      next = new ThreadPath(key, thread);
      next.kept = this.keptOf(key);
      next.last = next.startedAt = now;
      if (this.byNumber.size === 0) this.begin();
      this.byNumber.set(thread, next);
      this.threads.set(key, next);
    } else next.last += now - next.pausedAt;
    this.current = next;
    next.since = now;
  }

  signal(): void {
    this.flush();
    if (this.current) this.current.isExact = false;
  }

  fork(): void {
    // What the parent did is of no interest but for where everything is.
    this.flush();
    this.calls.clear();
    this.outputs.clear();
    this.entries.fill(0);
    this.threads.clear();
    this.byNumber.clear();
    if (!this.current) return;
    const thread = this.current;
    this.byNumber.set(thread.thread, thread);
    this.threads.set(thread.key, thread);
    thread.restart(this.keptOf(thread.key));
  }

  end(tick: bigint): void {
    this.flush();
    this.pause(Number(tick));
    this.current = undefined;
  }

  lost(): void {
    this.flush();
    for (const thread of this.threads.values()) thread.count = 0;
    this.current = undefined;
  }

  private pause(now: number): void {
    const { current } = this;
    if (!current) return;
    current.ran += now - current.since;
    current.pausedAt = now;
  }

  /** The registers are those of the first thread. */
  private begin(): void {
    const { guest } = this.replay;
    const stackPointer = Number(guest.readState(this.replay.registerOffset('RSP'), 8));
    this.addresses.begin(stackPointer, (address, size) => guest.readMemory(address, size));
  }

  private keptOf(key: string): Steps | undefined {
    const wanted = this.wanted?.find(({ thread }) => thread === key);
    return (
      wanted && {
        ...{ from: wanted.from, count: 0, valuesFrom: wanted.valuesFrom, values: new Map() },
        places: new Int32Array(wanted.count),
        deltas: new Float64Array(wanted.count),
        ticks: new Float64Array(wanted.count),
        times: new Float64Array(wanted.count),
        pcs: new Float64Array(wanted.count),
      }
    );
  }

  /** Whether all that was wanted is there. */
  private get isDone(): boolean {
    return (
      this.wanted?.every(({ thread }) => {
        const kept = this.threads.get(thread)?.kept;
        return kept !== undefined && kept.count === kept.places.length;
      }) ?? false
    );
  }

  private applied(row: EventRow): void {
    // What was done before an event is not to be seen after it.
    const batch = this.replay.drain();
    if (batch) this.deliver(batch);
    else {
      this.replay.guest.calls!.take();
      this.flush();
    }
    const number = row.u32('thread');
    switch (row.table) {
      case heap:
        return this.addresses.heapCall(row, this.keyOf(number));
      case mappings:
        return this.addresses.mapping(row, this.keyOf(number));
      case thread_events:
        return this.threadEvent(row, number);
    }
    if (!this.replay.isInImage) return;
    const calls = this.callsOf(number);
    switch (row.table) {
      case syscall_enters:
        return calls.enter(row);
      case syscall_exits:
        return calls.exit(row);
      case syscall_memory:
        return calls.memory(row, (address, size) => this.replay.guest.readMemory(address, size));
      case memory:
        if (row.name('cause') !== 'startup') calls.changed(row);
    }
  }

  private threadEvent(row: EventRow, number: number): void {
    if (row.name('op') !== 'create') return;
    const child = ++(this.byNumber.get(number) ?? this.others).children;
    this.spawned.set(row.u32('other'), `${this.keyOf(number)}.${child}`);
  }

  /** Counts threads whose creator is not known. */
  private readonly others = { children: 0 };

  private keyOf(thread: number): string {
    return this.byNumber.get(thread)?.key ?? this.spawned.get(thread) ?? String(thread);
  }

  private callsOf(thread: number): ThreadCalls {
    const key = this.keyOf(thread);
    let calls = this.calls.get(key);
    if (!calls) {
      const { registers } = guestOf(this.code.trace);
      const isAddress = (value: number): boolean => this.addresses.isAddress(value);
      this.calls.set(
        key,
        (calls = new ThreadCalls(registers, isAddress, this.outputs, this.fleeting)),
      );
    }
    return calls;
  }

  private deliver({ count, ticks, sites, addresses, values }: AccessBatch): void {
    this.replay.guest.calls!.take();
    const path = this.current;
    const table = this.replay.sites;
    const { queue, storesAt } = this;
    storesAt.reach(table);
    let next = 0;
    if (path) {
      const words = wordsOf(ticks);
      const [places, to] = [wordsOf(addresses), wordsOf(values)];
      for (let i = 0; i < count; i++) {
        const tick = numberAt(words, i);
        while (next < queue.count && queue.ticks[next]! <= tick) this.call(path, next++);
        const site = sites[i]!;
        if (table.stores[site] !== 1) continue;
        const kind = storesAt.kinds[site]!;
        if (kind !== Kind.exact) {
          if (kind !== Kind.linker) path.inRuntime = kind === Kind.runtime;
          path.isExact = false;
          continue;
        }
        const address = numberAt(places, i);
        const [low, high] = [to[2 * i]!, to[2 * i + 1]!];
        const { sizes } = table;
        const { kept } = path;
        let value = 0;
        if (!this.wanted || (kept && path.steps >= kept.valuesFrom)) {
          const where = this.addresses.addressHash(address, path) ?? mix(address, 0);
          const what = sizes[site]! >= 8 ? this.addresses.hash(low, high, path) : mix(low, high);
          value = mix(where, what) || 1;
        }
        if (kept && path.steps >= kept.valuesFrom && path.steps < kept.valuesFrom + CHUNK)
          kept.values.set(path.steps, {
            ...{ hash: value, tick, stack: path.callStack(table.pcs[site]!) },
            where: this.addresses.describe(BigInt(address), path),
            what: this.addresses.describe(values[i]!, path),
          });
        const delta = path.isExact ? tick - path.last : 0;
        if (!this.isQuiet) path.step(storesAt.places[site]!, delta, tick, table.pcs[site]!, value);
        path.inRuntime = false;
        path.isExact = true;
        path.last = tick;
      }
    }
    this.flush(next);
  }

  /** All accesses until now are known: the rest of the calls. */
  private flush(from = 0): void {
    const { queue, current } = this;
    if (current) for (let i = from; i < queue.count; i++) this.call(current, i);
    queue.count = 0;
  }

  private call(path: ThreadPath, row: number): void {
    const { queue } = this;
    const site = queue.sites[row]!;
    const tick = queue.ticks[row]!;
    const stackPointer = queue.stacks[row]!;
    const table = this.callSites!;
    const { callsAt } = this;
    callsAt.reach(table);
    const kind = table.kinds[site];
    const code = callsAt.kinds[site]! as Kind;
    const place = callsAt.places[site]!;
    if (kind === ENTER) {
      const wasInRuntime = path.inRuntime;
      const isSystem = code === Kind.runtime || code === Kind.linker;
      const isCalled = path.stackPointers[path.count - 1] === stackPointer;
      // The linker asks the C library to compare names, the first time that a function is called.
      if (code === Kind.runtime && isCalled && path.ofLinker[path.count - 1]) return;
      if (code !== Kind.linker) path.inRuntime = isSystem;
      path.isExact = code === Kind.exact;
      path.last = tick;
      if (isCalled && path.count > 0) path.loose[path.count - 1]! |= callsAt.loose[site]!;
      if (code === Kind.linker || (isSystem && wasInRuntime)) return;
      const fn = callsAt.functions[site]!;
      this.entries = grown(this.entries, fn + 1);
      this.entries[fn]!++;
      const pc = table.pcs[site]!;
      if (this.isQuiet && Number(pc) === this.main) this.isQuiet = false;
      if (!this.isQuiet) path.step(code === Kind.exact ? place : fn, 0, tick, pc, 0);
      return;
    }
    if (code === Kind.exact) {
      const delta = path.isExact ? tick - path.last : 0;
      if (!this.isQuiet) path.step(place, delta, tick, table.pcs[site]!, 0);
      path.inRuntime = false;
    } else if (code === Kind.coarse) path.inRuntime = false;
    path.isExact = code === Kind.exact || kind === CALL || kind === RETURN;
    path.last = tick;
    if (kind === CALL) path.push(stackPointer, table.pcs[site]!, code);
    else if (kind === RETURN) path.pop(stackPointer);
  }
}

/** What is known of the code at each site of a table, as far as the table reached. */
class SitePlaces {
  /** Numbers of places, or -1, and of functions; `Kind` of the code; 1 if frames of the function need not be alike. */
  places = new Int32Array(0);
  functions = new Int32Array(0);
  kinds = new Uint8Array(0);
  loose = new Uint8Array(0);
  private known = 0;

  constructor(
    private readonly code: Code,
    private readonly common: Places,
  ) {}

  reach({ count, pcs }: { readonly count: number; readonly pcs: BigUint64Array }): void {
    if (count <= this.known) return;
    this.places = grown(this.places, count);
    this.functions = grown(this.functions, count);
    this.kinds = grown(this.kinds, count);
    this.loose = grown(this.loose, count);
    for (; this.known < count; this.known++) {
      const pc = Number(pcs[this.known]!);
      const group = this.code.groupAt(pc);
      const kind = group?.kind ?? Kind.coarse;
      const isAlike = kind === Kind.exact || (group?.module && this.common.isSame(group.module));
      this.places[this.known] = this.common.place(this.code, pc);
      this.functions[this.known] = this.common.functionNumber(this.code, pc);
      this.kinds[this.known] = kind;
      this.loose[this.known] = isAlike ? 0 : 1;
    }
  }
}
