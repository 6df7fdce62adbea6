/** The costs of functions and edges, summed up from a calling-context tree. */
import type { CallSites } from '../../replay/code-tables.js';
import { BY_JUMP, BY_SIGNAL, type CallStacks } from './call-stacks.js';

/** Costs are instructions. */
export interface FunctionCost {
  readonly thread: number;
  /** Number in `Functions`. */
  readonly fn: number;
  calls: number;
  self: number;
  /** From its call to its return; of recursive calls the outermost. */
  readonly inclusive: number;
  /** The same of other events, by their numbers. */
  readonly selfEvents: number[];
  readonly inclusiveEvents: readonly number[];
}

export interface EdgeCost {
  readonly thread: number;
  /** Numbers in `Functions`; the caller is `NO_FUNCTION` where a thread begins. */
  readonly caller: number;
  readonly callee: number;
  readonly how: 'call' | 'jump' | 'signal';
  /** Address of the call instruction, or 0. */
  readonly pc: bigint;
  readonly calls: number;
  /** While at least one of these calls is under way. */
  readonly inclusive: number;
  /** Number of the pair of functions, in its thread; and the same for all call sites of the pair. */
  readonly pair: number;
  readonly pairInclusive: number;
  /** The same of other events, by their numbers. */
  readonly inclusiveEvents: readonly number[];
  readonly pairEvents: readonly number[];
}

/** A context that has a cost of its own. */
export interface Context {
  readonly thread: number;
  /** Functions, the outermost first. */
  readonly path: readonly number[];
  readonly self: number;
  readonly selfEvents: readonly number[];
}

/** Nodes stand after their parents; 0 is none. */
const FIRST_NODE = 1;

/** A calling context with all that it cost, in a tree without what costs too little to be seen. */
export interface SeenContext {
  /** Place in the list of the context that it is called from, -1 for a thread. */
  readonly parent: number;
  readonly thread: number;
  /** Number in `Functions`; undefined for a thread, and for what is put together below `parent`. */
  readonly fn: number | undefined;
  /** Of its own, without calls. */
  readonly self: number;
  /** It stands for all callees of `parent` that are too small. */
  readonly isRest: boolean;
}

/** Contexts that cost, with what they call, at least this part of everything. */
const LEAST_SHARE = 1e-4;

/** The calling contexts, each after the one that it is called from; small ones are put together. */
export function seenContexts({ tree }: CallStacks): SeenContext[] {
  const { parent, function: functions, self } = tree.of;
  const totals = Float64Array.from(self.subarray(0, tree.count));
  for (let node = tree.count - 1; node >= FIRST_NODE; node--)
    if (parent[node]! >= FIRST_NODE) totals[parent[node]!]! += totals[node]!;
  const threads = threadsOf(tree);
  let whole = 0;
  for (let node = FIRST_NODE; node < tree.count; node++)
    if (parent[node]! < 0) whole += totals[node]!;
  const seen: SeenContext[] = [];
  const places = new Map<number, number>();
  const rest = new Map<number, { thread: number; self: number }>();
  for (let node = FIRST_NODE; node < tree.count; node++) {
    const isThread = parent[node]! < 0;
    const place = isThread ? -1 : places.get(parent[node]!);
    if (place === undefined) continue; // below one that is too small
    const thread = threads[node]!;
    if (totals[node]! < whole * LEAST_SHARE && !isThread) {
      rest.set(place, { thread, self: (rest.get(place)?.self ?? 0) + totals[node]! });
      continue;
    }
    places.set(node, seen.length);
    const fn = isThread ? undefined : functions[node]!;
    seen.push({ parent: place, thread, fn, self: self[node]!, isRest: false });
  }
  for (const [place, { thread, self: cost }] of rest)
    seen.push({ parent: place, thread, fn: undefined, self: cost, isRest: true });
  return seen;
}

/** All contexts as columns, callers first; numbers are from 1, and 0 is the parent of those that threads begin with. */
export interface ContextColumns {
  readonly count: number;
  readonly parents: Uint32Array;
  readonly threads: Float64Array;
  /** Numbers in `Functions`. */
  readonly functions: Uint32Array;
  readonly calls: Float64Array;
  readonly self: Float64Array;
  readonly inclusive: Float64Array;
}

export function contextColumns({ tree }: CallStacks): ContextColumns {
  const { parent, function: functions, self, calls } = tree.of;
  const inclusive = Float64Array.from(self.subarray(0, tree.count));
  for (let node = tree.count - 1; node >= FIRST_NODE; node--)
    if (parent[node]! >= FIRST_NODE) inclusive[parent[node]!]! += inclusive[node]!;
  const nodes: number[] = [];
  /** By node its number; 0 of what stands for a thread. */
  const numbers = new Uint32Array(tree.count);
  for (let node = FIRST_NODE; node < tree.count; node++)
    if (parent[node]! >= 0) numbers[node] = nodes.push(node);
  const threads = threadsOf(tree);
  return {
    count: nodes.length,
    parents: Uint32Array.from(nodes, (node) => numbers[parent[node]!]!),
    threads: Float64Array.from(nodes, (node) => threads[node]!),
    functions: Uint32Array.from(nodes, (node) => functions[node]!),
    calls: Float64Array.from(nodes, (node) => calls[node]!),
    self: Float64Array.from(nodes, (node) => self[node]!),
    inclusive: Float64Array.from(nodes, (node) => inclusive[node]!),
  };
}

/** By thread and function, in order of first call. */
export function functionCosts(stacks: CallStacks): FunctionCost[] {
  const { tree, edges } = stacks;
  const numbers = eventNumbers(stacks);
  const { parent, function: functions, self } = tree.of;
  const costs = new Map<string, FunctionCost>();
  const costOf = (thread: number, fn: number): FunctionCost => {
    const key = `${thread} ${fn}`;
    let cost = costs.get(key);
    if (!cost) {
      const inclusiveEvents = numbers.map((event) => stacks.inclusiveEvents(thread, fn, event));
      const inclusive = stacks.inclusive(thread, fn);
      const selfEvents = numbers.map(() => 0);
      cost = { thread, fn, calls: 0, self: 0, inclusive, selfEvents, inclusiveEvents };
      costs.set(key, cost);
    }
    return cost;
  };
  const threads = threadsOf(tree);
  for (let node = FIRST_NODE; node < tree.count; node++) {
    if (parent[node]! < 0) continue;
    const cost = costOf(threads[node]!, functions[node]!);
    cost.self += self[node]!;
    for (const event of numbers) cost.selfEvents[event]! += stacks.selfEvents.at(node, event);
  }
  const { thread, callee, calls } = edges.of;
  for (let edge = 0; edge < edges.count; edge++)
    costOf(thread[edge]!, callee[edge]!).calls += calls[edge]!;
  return [...costs.values()];
}

/** Numbers of the events besides ticks. */
const eventNumbers = ({ width }: CallStacks): number[] =>
  Array.from({ length: width }, (_, i) => i);

/** By node: the thread whose calls it is of. */
function threadsOf(tree: CallStacks['tree']): Float64Array {
  const { parent, function: functions } = tree.of;
  const threads = new Float64Array(tree.count);
  for (let node = FIRST_NODE; node < tree.count; node++)
    threads[node] = parent[node]! < 0 ? functions[node]! : threads[parent[node]!]!;
  return threads;
}

/** Edges that had calls, or were under way when the process began as a fork. */
export function edgeCosts(stacks: CallStacks): EdgeCost[] {
  const { thread, caller, callee, site, calls, ticks, pair } = stacks.edges.of;
  const pcs = (stacks.sites as CallSites | undefined)?.pcs;
  const numbers = eventNumbers(stacks);
  const costs: EdgeCost[] = [];
  for (let edge = 0; edge < stacks.edges.count; edge++) {
    const inclusiveEvents = numbers.map((event) => stacks.edgeEvents.at(edge, event));
    if (calls[edge] === 0 && ticks[edge] === 0 && !inclusiveEvents.some(Boolean)) continue;
    const at = site[edge]!;
    costs.push({
      thread: thread[edge]!,
      caller: caller[edge]!,
      callee: callee[edge]!,
      how: at === BY_JUMP ? 'jump' : at === BY_SIGNAL ? 'signal' : 'call',
      pc: at < 0 ? 0n : pcs![at]!,
      calls: calls[edge]!,
      inclusive: ticks[edge]!,
      pair: pair[edge]!,
      pairInclusive: stacks.pairs.of.ticks[pair[edge]!]!,
      inclusiveEvents,
      pairEvents: numbers.map((event) => stacks.pairEvents.at(pair[edge]!, event)),
    });
  }
  return costs;
}

/** Contexts with a cost of their own, each before those that it calls, children in the order of their first call. */
export function* contexts(stacks: CallStacks): Generator<Context> {
  const { tree } = stacks;
  const numbers = eventNumbers(stacks);
  const { parent, function: functions, self } = tree.of;
  const threads = threadsOf(tree);
  // Siblings as lists: the first child, and the next of the same parent.
  const first = new Int32Array(tree.count);
  const next = new Int32Array(tree.count);
  const roots: number[] = [];
  for (let node = tree.count - 1; node >= FIRST_NODE; node--) {
    const above = parent[node]!;
    if (above < 0) roots.unshift(node);
    else [next[node], first[above]] = [first[above]!, node];
  }
  for (const root of roots) {
    const path: number[] = [];
    const nodes = [root];
    for (let node = root; ;) {
      const selfEvents = numbers.map((event) => stacks.selfEvents.at(node, event));
      if (self[node]! > 0 || selfEvents.some(Boolean))
        yield { thread: threads[node]!, path: [...path], self: self[node]!, selfEvents };
      let down = first[node]!;
      while (down === 0 && nodes.length > 1) {
        down = next[nodes.pop()!]!;
        path.pop();
      }
      if (down === 0) break;
      node = down;
      nodes.push(node);
      path.push(functions[node]!);
    }
  }
}
