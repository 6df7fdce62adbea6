/** Call stacks from calls and returns: random executions against an obvious twin. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { CallStacks, NO_FUNCTION } from '../analyses/callgraph/call-stacks.js';
import { contexts, edgeCosts, functionCosts } from '../analyses/callgraph/costs.js';
import { CALL_SITE_KINDS, type CallSiteKind } from '../replay/call-sites.js';
import { MISS_COUNTERS } from '../replay/calls-guest.js';
import { CallSites } from '../replay/code-tables.js';
import { randomOf } from './random.js';

const FUNCTIONS = 7;
/** A function's sites: its beginning, two calls, a return and a jump; its number is the page of its address. */
const SITES: readonly CallSiteKind[] = ['enter', 'call', 'call', 'return', 'jump'];
const PAGE = 4096;
/** Kinds of events besides ticks: those that are told of one by one, and misses, which rows have counters of. */
const TOLD = 2;
const MISSES = 3;
const EVENTS = TOLD + MISSES;

function sites(): CallSites {
  const table = new CallSites();
  for (let fn = 0; fn < FUNCTIONS; fn++)
    SITES.forEach((kind, i) => table.addOne(BigInt(PAGE * fn + i), CALL_SITE_KINDS.indexOf(kind)));
  return table;
}

interface Frame {
  readonly fn: number;
  /** Where its return address stands. */
  readonly sp: number;
  /** `caller how callee`, absent at the bottom. */
  readonly edge: string;
}

/** A thread that calls at random, and what is under way in it, frame by frame. */
class Thread {
  readonly frames: Frame[] = [];
  sp: number;
  readonly calls = new Map<string, number>();
  /** By event, ticks being the first: while each edge, and each function, was under way; and by context. */
  readonly costs = Array.from({ length: 1 + EVENTS }, () => ({
    edges: new Map<string, number>(),
    inclusive: new Map<number, number>(),
    self: new Map<string, number>(),
  }));

  constructor(readonly number: number) {
    this.sp = 1_000_000 * (number + 1);
  }

  /** All that is under way takes so many ticks, or is the cause of another event. */
  pass(times: number, event = 0): void {
    if (times === 0) return;
    const add = <K>(map: Map<K, number>, key: K): void => {
      map.set(key, (map.get(key) ?? 0) + times);
    };
    const { edges, inclusive, self } = this.costs[event]!;
    for (const edge of new Set(this.frames.map((frame) => frame.edge))) add(edges, edge);
    for (const fn of new Set(this.frames.map((frame) => frame.fn))) add(inclusive, fn);
    // Recursion goes back to the outermost call.
    const outermost = new Map<number, readonly number[]>();
    let path: readonly number[] = [];
    for (const { fn } of this.frames) {
      path = outermost.get(fn) ?? [...path, fn];
      outermost.set(fn, path);
    }
    add(self, path.join(' '));
  }

  push(fn: number, how: string): void {
    const caller = this.frames.at(-1)?.fn ?? NO_FUNCTION;
    const edge = `${caller} ${how} ${fn}`;
    this.calls.set(edge, (this.calls.get(edge) ?? 0) + 1);
    this.frames.push({ fn, sp: this.sp, edge });
  }
}

function compare(seed: number): void {
  const random = randomOf(seed);
  const table = sites();
  // They begin anew at 2^32.
  const counters = new Uint32Array(MISS_COUNTERS).fill(2 ** 32 - 500);
  const missRows: number[] = [];
  const stacks = new CallStacks(
    () => false,
    (pc) => (Number(pc) / PAGE) | 0,
    EVENTS,
    TOLD,
    () => counters,
  );
  const threads = [0, 1, 2].map((number) => new Thread(number + 1));
  let tick = 0;
  let rows: [number, number, number][] = [];
  const flush = (): void => {
    const column = (i: 0 | 1 | 2): Float64Array => Float64Array.from(rows, (row) => row[i]);
    stacks.rows(
      {
        count: rows.length,
        sites: Uint32Array.from(column(0)),
        ticks: column(1),
        stacks: column(2),
        misses: Uint32Array.from(missRows.splice(0)),
      },
      table,
    );
    rows = [];
  };
  const row = (fn: number, kind: number, { sp }: Thread): void => {
    rows.push([SITES.length * fn + kind, tick, sp]);
    missRows.push(...counters);
    if (random(10) === 0) flush();
  };
  let thread = threads[0]!;
  stacks.select(thread.number, 0n);
  const pass = (): void => {
    const ticks = random(5);
    thread.pass(ticks);
    tick += ticks;
    for (let miss = 0; miss < MISSES; miss++) {
      const times = random(3);
      counters[miss]! += times;
      thread.pass(times, 1 + TOLD + miss);
    }
  };
  const begin = (): void => {
    const fn = random(FUNCTIONS);
    row(fn, 0, thread);
    thread.push(fn, 'jump');
  };
  begin();
  for (let step = 0; step < 3000; step++) {
    pass();
    const top = thread.frames.at(-1)!;
    if (random(6) === 0) {
      flush();
      const [event, times] = [random(TOLD), 1 + random(1000)];
      stacks.happened(event, times);
      thread.pass(times, 1 + event);
    }
    switch (random(9)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        // A call: straight, or by a stub, which belongs to the caller.
        if (thread.frames.length > 40) break;
        const site = 1 + random(2);
        thread.sp -= 8 * (1 + random(4));
        row(top.fn, site, thread);
        if (random(3) === 0) pass();
        const fn = random(FUNCTIONS);
        row(fn, 0, thread);
        thread.push(fn, `call${site}`);
        break;
      }
      case 4:
      case 5: {
        if (thread.frames.length === 1) break;
        // A return drops the functions that jumped to this one, too.
        const { sp } = top;
        while (thread.frames.length > 1 && thread.frames.at(-1)!.sp === sp) thread.frames.pop();
        thread.sp = sp + 8;
        row(top.fn, 3, thread);
        break;
      }
      case 6: {
        // A jump to the beginning of a function, in the frame of this one.
        if (thread.frames.length === 1) break;
        thread.sp = top.sp;
        const fn = random(FUNCTIONS);
        row(fn, 0, thread);
        const { frames } = thread;
        const before = frames.findLastIndex((frame, i) => {
          return frame.fn === fn && frame.sp === top.sp && i > 0;
        });
        // Several frames of one call have different functions: this one is gone back to.
        if (before < 0) thread.push(fn, 'jump');
        else if (before < frames.length - 1) {
          const edge = `${top.fn} jump ${fn}`;
          thread.calls.set(edge, (thread.calls.get(edge) ?? 0) + 1);
          frames.length = before + 1;
        }
        break;
      }
      case 7: {
        // As longjmp: to a function some calls above.
        if (thread.frames.length < 4 || random(4) > 0) break;
        const to = 1 + random(thread.frames.length - 2);
        const { sp } = thread.frames[to + 1]!;
        while (thread.frames.length > 1 && thread.frames.at(-1)!.sp <= sp) thread.frames.pop();
        thread.sp = sp + 8;
        row(top.fn, 4, thread);
        break;
      }
      case 8:
        if (random(3) > 0) break;
        flush();
        thread = threads[random(threads.length)]!;
        stacks.select(thread.number, BigInt(tick));
        if (thread.frames.length === 0) begin();
    }
  }
  flush();
  stacks.end(BigInt(tick));

  const sorted = <V>(entries: Iterable<readonly [string, V]>): (readonly [string, V])[] =>
    [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  const edges = edgeCosts(stacks);
  const costs = functionCosts(stacks);
  for (const { number, calls, costs: expected } of threads) {
    const own = edges.filter((edge) => edge.thread === number);
    const nameOf = ({ caller, callee, how, pc }: (typeof edges)[number]): string =>
      `${caller} ${how}${how === 'call' ? Number(pc) % PAGE : ''} ${callee}`;
    assert.deepEqual(sorted(own.map((edge) => [nameOf(edge), edge.calls])), sorted(calls));
    const ofThread = costs.filter((one) => one.thread === number);
    const paths = [...contexts(stacks)].filter((one) => one.thread === number);
    const some = (entries: readonly (readonly [string, number])[]) =>
      sorted(entries.filter(([, cost]) => cost > 0));
    for (const [event, { edges: ofEdges, inclusive, self }] of expected.entries()) {
      const cost = (ticks: number, others: readonly number[]): number => [ticks, ...others][event]!;
      assert.deepEqual(
        some(own.map((edge) => [nameOf(edge), cost(edge.inclusive, edge.inclusiveEvents)])),
        sorted(ofEdges),
      );
      assert.deepEqual(
        some(ofThread.map((one) => [String(one.fn), cost(one.inclusive, one.inclusiveEvents)])),
        sorted([...inclusive].map(([fn, times]) => [String(fn), times])),
      );
      assert.deepEqual(
        some(paths.map((one) => [one.path.join(' '), cost(one.self, one.selfEvents)])),
        sorted(self),
      );
      for (const { caller, callee } of own) {
        const all = own.filter((edge) => edge.caller === caller && edge.callee === callee);
        for (const edge of all)
          assert.ok(
            cost(edge.pairInclusive, edge.pairEvents) >= cost(edge.inclusive, edge.inclusiveEvents),
          );
      }
    }
  }
}

test('costs and calls of random executions are those of the twin', () => {
  for (let seed = 1; seed <= 30; seed++) {
    try {
      compare(seed);
    } catch (error) {
      throw new Error(`with seed ${seed}: ${String(error)}`, { cause: error });
    }
  }
});
