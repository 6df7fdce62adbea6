/**
 * Who called whom, from the calls, returns and entries of functions that a replay tells of: for each thread the calls under
 * way, and what they cost, as a calling-context tree and as edges of the call graph.
 *
 * A call is under way as long as the stack pointer is below its return address, so longjmp, exceptions and whatever else
 * drops calls need no cases of their own. A jump from one function to the beginning of another is a call by the first one, as
 * for Callgrind (Valgrind manual, 6.2); what lies between a call and the function's beginning (a stub of the procedure
 * linkage table) belongs to the caller.
 *
 * The tree is folded at recursion (Ammons, Ball and Larus, PLDI 1997): a function that is under way already is no new context
 * but that of its outermost call. So its size depends on the program and not on the depth of its recursion, and no function
 * stands below itself; but what is called from the inner call is not below the functions in between. The inclusive cost of a
 * function or an edge is the time during which at least one of its calls is under way.
 *
 * Besides ticks there can be other events, such as allocations: what happens while a call is under way is part of its cost.
 */
import { CALL_SITE_KINDS } from '../../replay/call-sites.js';
import { MISS_COUNTERS, type CallHooks, type CallRows } from '../../replay/calls-guest.js';
import type { CallSites } from '../../replay/code-tables.js';
import { grown } from '../../replay/grown.js';

const [ENTER, CALL, RETURN] = CALL_SITE_KINDS.map((_, number) => number) as [0, 1, 2, 3];

/** In the place of a call site: a jump into a function, and a signal. */
export const BY_JUMP = -1;
export const BY_SIGNAL = -2;

/** How a frame came to be. */
const PENDING = 1; // its function is not known yet; its node is the caller's
const ENTERED = 2; // at the beginning of its function
const OUTERMOST = 4; // of its function
const OTHER_STACK = 8; // frames below it have a stack of their own

/** A function that calls others when it is not known which one runs, and the thread as a whole. */
export const NO_FUNCTION = -1;

/** Nodes of the tree beyond this are put together by function. */
const MAX_NODES = 1 << 21;
/** A handler's stack is smaller than this, in bytes. */
const MAX_HANDLER_STACK = 1 << 20;

/** Rows of one number for each event besides ticks. */
export class EventRows {
  of: Float64Array;

  constructor(private readonly width: number) {
    this.of = new Float64Array(64 * width);
  }

  /** One number of a row, 0 if nothing was ever added to it. */
  at(row: number, event: number): number {
    return this.of[row * this.width + event] ?? 0;
  }

  set(row: number, values: Float64Array): void {
    const { width } = this;
    const first = row * width;
    if (first + width > this.of.length) this.reserve(row);
    // Rows are short: a loop is faster than TypedArray.set.
    const { of } = this;
    for (let event = 0; event < width; event++) of[first + event] = values[event]!;
  }

  /** Adds what happened until `now` since a row of `before` was set. Mostly nothing did. */
  addSince(row: number, now: Float64Array, before: EventRows): void {
    const { width } = this;
    for (let event = 0; event < width; event++) {
      const times = now[event]! - before.of[row * width + event]!;
      if (times !== 0) this.add(row, event, times);
    }
  }

  add(row: number, event: number, amount: number): void {
    this.reserve(row);
    this.of[row * this.width + event]! += amount;
  }

  private reserve(row: number): void {
    const length = (row + 1) * this.width;
    if (length > this.of.length) this.of = grown(this.of, length);
  }
}

/** Misses of caches, which rows tell of by counters. */
interface Misses {
  /** Number of the first such event. */
  readonly first: number;
  /** Counters when they were looked at last. */
  readonly before: Uint32Array;
  readonly now: () => Uint32Array;
  /** Those to be looked at stand from `at` on. */
  counters: Uint32Array;
  at: number;
}

/** The calls of one thread that are under way. */
class ThreadStack {
  count = 0;
  /** Of each frame: where its return address is, its node, function, edge and call site, and the flags above. */
  stackPointers = new Float64Array(64);
  nodes = new Int32Array(64);
  functions = new Int32Array(64);
  edges = new Int32Array(64);
  sites = new Int32Array(64);
  flags = new Uint8Array(64);
  /** Of each frame: `happened` when its function began. */
  marks = new Float64Array(64);
  /** Frames below this are not looked at: they have another stack. */
  base = 0;
  /** By function that is under way: its node; else 0. */
  active = new Int32Array(256);
  /** By function: ticks that it was under way, and when its outermost call began. */
  inclusive = new Float64Array(256);
  since = new Float64Array(256);
  /** Ticks that it has run, and the tick up to which they are counted. */
  time = 0;
  last = 0;
  /** A signal interrupted it whose handler has not begun. */
  signal: 'own' | 'other' | undefined;
  /** Of events besides ticks: how many happened; by function those while it was under way, and how many there were before. */
  readonly events: Float64Array;
  /** How often any of these happened. */
  happened = 0;
  readonly inclusiveEvents: EventRows;
  readonly eventsBefore: EventRows;

  constructor(
    readonly thread: number,
    readonly root: number,
    width: number,
  ) {
    this.events = new Float64Array(width);
    this.inclusiveEvents = new EventRows(width);
    this.eventsBefore = new EventRows(width);
  }

  /** Makes room for functions up to a number. */
  growFunctions(fn: number): void {
    this.active = grown(this.active, fn + 1);
    this.inclusive = grown(this.inclusive, fn + 1);
    this.since = grown(this.since, fn + 1);
  }

  /** Makes room for more frames. */
  grow(): void {
    const length = 2 * this.flags.length;
    this.stackPointers = grown(this.stackPointers, length);
    this.nodes = grown(this.nodes, length);
    this.functions = grown(this.functions, length);
    this.edges = grown(this.edges, length);
    this.sites = grown(this.sites, length);
    this.flags = grown(this.flags, length);
    this.marks = grown(this.marks, length);
  }
}

/** A table of columns of numbers that grows. */
class Columns<Name extends string> {
  count = 0;
  private capacity = 1024;
  readonly of: Record<Name, Float64Array>;
  constructor(names: readonly Name[]) {
    this.of = Object.fromEntries(
      names.map((name) => [name, new Float64Array(this.capacity)]),
    ) as Record<Name, Float64Array>;
  }
  /** The number of a new row, all zero. */
  add(): number {
    if (this.count === this.capacity) {
      this.capacity *= 2;
      for (const name of Object.keys(this.of) as Name[]) {
        this.of[name] = grown(this.of[name], this.capacity);
      }
    }
    return this.count++;
  }
}

export class CallStacks implements CallHooks {
  /** The tree: of each node its parent (-1: it stands for a thread), function (or the thread), ticks of its own and calls. */
  readonly tree = new Columns(['parent', 'function', 'self', 'calls']);
  /** Of each edge its thread, functions, call site, calls, inclusive ticks; how many of its calls are under way, since when. */
  readonly edges = new Columns([
    ...(['thread', 'caller', 'callee', 'site', 'calls', 'ticks'] as const),
    ...(['active', 'since', 'pair'] as const),
  ]);
  /** The same of each pair of functions, whatever the call site. */
  readonly pairs = new Columns(['ticks', 'active', 'since']);
  /** Events besides ticks: of each node its own; of each edge and pair those while its calls were under way, and those before. */
  readonly selfEvents: EventRows;
  readonly edgeEvents: EventRows;
  readonly pairEvents: EventRows;
  private readonly edgeEventsBefore: EventRows;
  private readonly pairEventsBefore: EventRows;
  private readonly misses: Misses | undefined;
  /** Contexts that did not fit in the tree were put together. */
  isCut = false;
  /** Addresses of call sites, by the number that edges have. */
  sites: CallSites | undefined;

  /** From a node by a call site to a function: the node and the edge. In a table with open addressing. */
  private readonly arcs = new Columns(['parent', 'site', 'function', 'node', 'edge']);
  private arcSlots = new Int32Array(1 << 12);
  private readonly edgeNumbers = new Map<string, number>();
  private readonly pairNumbers = new Map<string, number>();
  private readonly threads = new Map<number, ThreadStack>();
  private current: ThreadStack | undefined;
  /** By call site: the function that it is in, once that was asked; the first site of the same instruction. */
  private siteFunctions = new Int32Array(0);
  private siteNames = new Int32Array(0);
  private readonly sitesByPc = new Map<bigint, number>();

  /**
   * @param isFunction - whether a function begins at an address
   * @param functionAt - number of the function that an instruction belongs to
   * @param width - how many kinds of events there are besides ticks
   * @param firstMiss - where caches are simulated: the events from this one on are the misses that rows have
   * @param missesNow - see `CallsGuest.misses`
   */
  constructor(
    readonly isFunction: (address: bigint) => boolean,
    private readonly functionAt: (pc: bigint) => number,
    readonly width = 0,
    firstMiss?: number,
    missesNow: () => Uint32Array = () => new Uint32Array(MISS_COUNTERS),
  ) {
    if (firstMiss !== undefined)
      this.misses = {
        first: firstMiss,
        before: new Uint32Array(width - firstMiss),
        now: missesNow,
        counters: new Uint32Array(MISS_COUNTERS),
        at: 0,
      };
    this.selfEvents = new EventRows(width);
    this.edgeEvents = new EventRows(width);
    this.pairEvents = new EventRows(width);
    this.edgeEventsBefore = new EventRows(width);
    this.pairEventsBefore = new EventRows(width);
  }

  rows({ count, sites, ticks, stacks, misses }: CallRows, table: CallSites): void {
    this.sites = table;
    if (table.count > this.siteFunctions.length) this.growSites(table.count);
    const stack = this.current;
    if (!stack) return;
    const { kinds } = table;
    const { self } = this.tree.of;
    let ownSelf = self;
    if (this.misses) this.misses.counters = misses;
    for (let i = 0; i < count; i++) {
      const site = sites[i]!;
      const sp = stacks[i]!;
      const tick = ticks[i]!;
      const kind = kinds[site];
      if (this.misses) this.misses.at = MISS_COUNTERS * i;
      let top = stack.count - 1;
      if (kind === ENTER) {
        this.enter(stack, site, tick, sp);
        ownSelf = this.tree.of.self;
        continue;
      }
      if (stack.flags[top]! & PENDING) {
        // A stub's jump does not tell which function it is for.
        if (kind > RETURN && sp <= stack.stackPointers[top]!) continue;
        this.open(stack, top, this.functionOf(site), 0);
        ownSelf = this.tree.of.self;
      }
      const passed = tick - stack.last;
      stack.last = tick;
      stack.time += passed;
      ownSelf[stack.nodes[top]!]! += passed;
      if (this.misses) this.chargeMisses(stack, this.misses);
      if (kind === CALL) {
        while (stack.stackPointers[top]! <= sp && top > stack.base) this.pop(stack, top--);
        top++;
        if (top === stack.flags.length) stack.grow();
        stack.stackPointers[top] = sp;
        stack.nodes[top] = stack.nodes[top - 1]!;
        stack.sites[top] = site;
        stack.flags[top] = PENDING;
        stack.count = top + 1;
        continue;
      }
      if (kind !== RETURN) {
        this.leaveHandler(stack, sp);
        top = stack.count - 1;
      }
      while (stack.stackPointers[top]! < sp && top > stack.base) this.pop(stack, top--);
    }
  }

  select(thread: number, tick: bigint): void {
    this.lookAtMisses();
    if (this.current) this.charge(this.current, Number(tick));
    else this.misses?.before.set(this.misses.counters.subarray(0, this.misses.before.length));
    let stack = this.threads.get(thread);
    if (!stack) {
      const root = this.addNode(-1, thread);
      this.threads.set(thread, (stack = new ThreadStack(thread, root, this.width)));
      this.begin(stack);
    }
    this.current = stack;
    stack.last = Number(tick);
  }

  /** The function that runs now is the cause of an event, so many times. All rows so far have been handed over. */
  happened(event: number, times: number): void {
    if (this.current) this.happenedTo(this.current, event, times);
  }

  private happenedTo(stack: ThreadStack, event: number, times: number): void {
    stack.events[event]! += times;
    stack.happened++;
    this.selfEvents.add(stack.nodes[stack.count - 1]!, event, times);
  }

  signal(onOtherStack: boolean): void {
    if (this.current) this.current.signal = onOtherStack ? 'other' : 'own';
  }

  fork(tick: bigint): void {
    if (this.current && this.misses) {
      this.lookAtMisses();
      this.chargeMisses(this.current, this.misses);
    }
    this.tree.of.self.fill(0);
    this.tree.of.calls.fill(0);
    this.edges.of.calls.fill(0);
    this.edges.of.ticks.fill(0);
    this.pairs.of.ticks.fill(0);
    for (const rows of [this.selfEvents, this.edgeEvents, this.pairEvents]) rows.of.fill(0);
    for (const stack of this.threads.values()) {
      stack.last = Number(tick);
      stack.inclusive.fill(0);
      stack.since.fill(stack.time);
      stack.inclusiveEvents.of.fill(0);
      for (let i = 1; i < stack.count; i++)
        if (!(stack.flags[i]! & PENDING)) {
          const edge = stack.edges[i]!;
          const pair = this.edges.of.pair[edge]!;
          this.edges.of.since[edge] = stack.time;
          this.pairs.of.since[pair] = stack.time;
          stack.eventsBefore.set(stack.functions[i]!, stack.events);
          this.edgeEventsBefore.set(edge, stack.events);
          this.pairEventsBefore.set(pair, stack.events);
        }
    }
  }

  lost(): void {
    for (const stack of this.threads.values()) {
      this.drop(stack);
      this.begin(stack);
    }
    this.current = undefined;
  }

  end(tick: bigint): void {
    this.lookAtMisses();
    if (this.current) this.charge(this.current, Number(tick));
    for (const stack of this.threads.values()) this.drop(stack);
  }

  /** Misses are those until now, and not until a row. */
  private lookAtMisses(): void {
    if (!this.misses) return;
    this.misses.counters = this.misses.now();
    this.misses.at = 0;
  }

  /** Ticks during which a function was under way in a thread, once the replay is over. */
  inclusive(thread: number, fn: number): number {
    return this.threads.get(thread)?.inclusive[fn] ?? 0;
  }

  /** The same of another event. */
  inclusiveEvents(thread: number, fn: number, event: number): number {
    return this.threads.get(thread)?.inclusiveEvents.at(fn, event) ?? 0;
  }

  /** The bottom of a stack: the thread, and its first function, which is not known yet. Neither is ever left. */
  private begin(stack: ThreadStack): void {
    stack.count = 2;
    stack.base = 1;
    stack.stackPointers.fill(Infinity, 0, 2);
    stack.nodes.fill(stack.root, 0, 2);
    stack.functions[0] = NO_FUNCTION;
    stack.sites.fill(BY_JUMP, 0, 2);
    stack.flags[0] = 0;
    stack.flags[1] = PENDING;
  }

  private drop(stack: ThreadStack): void {
    while (stack.count > 1) this.pop(stack, stack.count - 1);
  }

  /** Ticks since the last time are those of the innermost function. */
  private charge(stack: ThreadStack, tick: number): void {
    const passed = tick - stack.last;
    stack.last = tick;
    stack.time += passed;
    this.tree.of.self[stack.nodes[stack.count - 1]!]! += passed;
    if (this.misses) this.chargeMisses(stack, this.misses);
  }

  /** The same of misses of caches. */
  private chargeMisses(stack: ThreadStack, { counters, at, before, first }: Misses): void {
    for (let i = 0; i < before.length; i++) {
      const count = (counters[at + i]! - before[i]!) >>> 0;
      if (count === 0) continue;
      before[i] = counters[at + i]!;
      this.happenedTo(stack, first + i, count);
    }
  }

  /** A function is at its beginning. */
  private enter(stack: ThreadStack, site: number, tick: number, sp: number): void {
    const fn = this.functionOf(site);
    let top = stack.count - 1;
    if (stack.signal) {
      this.charge(stack, tick);
      const flags = stack.signal === 'other' ? ENTERED | OTHER_STACK : ENTERED;
      stack.signal = undefined;
      return this.push(stack, sp, BY_SIGNAL, fn, flags);
    }
    if (stack.flags[top]! & PENDING) {
      const expected = stack.stackPointers[top]!;
      if (expected === Infinity) {
        // The first function of a thread that is known has what came before it.
        this.open(stack, top, fn, ENTERED);
        return this.charge(stack, tick);
      }
      if (sp <= expected) {
        this.charge(stack, tick);
        // A stub that has pushed something asks the dynamic linker; the function itself comes after it.
        return this.open(stack, top, fn, sp === expected ? ENTERED : 0);
      }
    }
    this.charge(stack, tick);
    while (stack.stackPointers[top]! < sp && top > stack.base) this.pop(stack, top--);
    const isSameCall = stack.stackPointers[top] === sp;
    if (stack.functions[top] === fn && !(stack.flags[top]! & PENDING)) return; // a loop to its beginning
    if (isSameCall && !(stack.flags[top]! & ENTERED) && top > stack.base) {
      // What was called was no function but the way to this one.
      const called = stack.sites[top]!;
      this.pop(stack, top);
      return this.push(stack, sp, called, fn, ENTERED);
    }
    for (let i = top - 1; i > stack.base && stack.stackPointers[i] === sp; i--) {
      if (stack.functions[i] !== fn) continue;
      // Functions that jump to one another are a loop, and not deeper and deeper calls.
      const edge = this.edge(stack.thread, stack.functions[top]!, BY_JUMP, fn);
      this.edges.of.calls[edge]!++;
      while (top > i) this.pop(stack, top--);
      return;
    }
    this.push(stack, sp, BY_JUMP, fn, ENTERED);
  }

  private push(stack: ThreadStack, sp: number, site: number, fn: number, flags: number): void {
    const top = stack.count++;
    if (top === stack.flags.length) stack.grow();
    stack.stackPointers[top] = sp;
    stack.nodes[top] = stack.nodes[top - 1]!;
    stack.sites[top] = site;
    if (flags & OTHER_STACK) stack.base = top - 1;
    this.open(stack, top, fn, flags);
  }

  /** From now on a frame is that of a function. */
  private open(stack: ThreadStack, frame: number, fn: number, flags: number): void {
    const arc = this.arc(stack, stack.nodes[frame]!, stack.sites[frame]!, fn, frame);
    const edge = this.arcs.of.edge[arc]!;
    if (fn >= stack.active.length) stack.growFunctions(fn);
    const outer = stack.active[fn]!;
    const node = outer !== 0 ? outer : this.arcs.of.node[arc]!;
    if (outer === 0) {
      stack.active[fn] = node;
      stack.since[fn] = stack.time;
      if (this.width > 0) stack.eventsBefore.set(fn, stack.events);
    }
    this.tree.of.calls[node]!++;
    stack.nodes[frame] = node;
    stack.functions[frame] = fn;
    stack.edges[frame] = edge;
    stack.marks[frame] = stack.happened;
    stack.flags[frame] = outer === 0 ? flags | OUTERMOST : flags;
    const { calls, active, since, pair } = this.edges.of;
    calls[edge]!++;
    if (active[edge]!++ === 0) {
      since[edge] = stack.time;
      if (this.width > 0) this.edgeEventsBefore.set(edge, stack.events);
    }
    const both = pair[edge]!;
    const { of } = this.pairs;
    if (of.active[both]!++ === 0) {
      of.since[both] = stack.time;
      if (this.width > 0) this.pairEventsBefore.set(both, stack.events);
    }
  }

  private pop(stack: ThreadStack, frame: number): void {
    stack.count = frame;
    const flags = stack.flags[frame]!;
    if (flags & PENDING) return;
    const edge = stack.edges[frame]!;
    // The frame that ends a function, an edge or a pair is the one that began it.
    const isQuiet = stack.marks[frame] === stack.happened;
    if (flags & OUTERMOST) {
      const fn = stack.functions[frame]!;
      stack.active[fn] = 0;
      stack.inclusive[fn]! += stack.time - stack.since[fn]!;
      if (!isQuiet) stack.inclusiveEvents.addSince(fn, stack.events, stack.eventsBefore);
    }
    if (flags & OTHER_STACK) {
      let below = frame - 1;
      while (below > 1 && !(stack.flags[below]! & OTHER_STACK)) below--;
      stack.base = Math.max(below - 1, 1);
    }
    const { active, since, ticks, pair } = this.edges.of;
    if (--active[edge]! === 0) {
      ticks[edge]! += stack.time - since[edge]!;
      if (!isQuiet) this.edgeEvents.addSince(edge, stack.events, this.edgeEventsBefore);
    }
    const both = pair[edge]!;
    const { of } = this.pairs;
    if (--of.active[both]! === 0) {
      of.ticks[both]! += stack.time - of.since[both]!;
      if (!isQuiet) this.pairEvents.addSince(both, stack.events, this.pairEventsBefore);
    }
  }

  /** A jump to a place outside of the stack of a signal handler: it is not returned from. */
  private leaveHandler(stack: ThreadStack, sp: number): void {
    while (stack.base > 1) {
      const handler = stack.base + 1;
      const bottom = stack.stackPointers[handler]!;
      if (sp <= bottom && bottom - sp < MAX_HANDLER_STACK) return;
      while (stack.count > handler) this.pop(stack, stack.count - 1);
    }
  }

  // ---- The tree and the edges ----

  private addNode(parent: number, fn: number): number {
    // Number 0 is not used: it says that a function is not under way.
    if (this.tree.count === 0) this.tree.of.parent[this.tree.add()] = -1;
    const node = this.tree.add();
    this.tree.of.parent[node] = parent;
    this.tree.of.function[node] = fn;
    return node;
  }

  /** The way from a node by a call site to a function. */
  private arc(stack: ThreadStack, parent: number, site: number, fn: number, frame: number): number {
    const { of } = this.arcs;
    const mask = this.arcSlots.length - 1;
    let hash =
      Math.imul(parent, 0x9e3779b1) ^ Math.imul(site, 0x85ebca6b) ^ Math.imul(fn, 0xc2b2ae35);
    hash ^= hash >>> 15;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const arc = this.arcSlots[slot]! - 1;
      if (arc < 0) break;
      if (of.parent[arc] === parent && of.site[arc] === site && of.function[arc] === fn) return arc;
    }
    return this.addArc(stack, parent, site, fn, frame);
  }

  private addArc(
    stack: ThreadStack,
    parent: number,
    site: number,
    fn: number,
    frame: number,
  ): number {
    const caller = stack.functions[frame - 1]!;
    const arc = this.arcs.add();
    const { of } = this.arcs;
    of.parent[arc] = parent;
    of.site[arc] = site;
    of.function[arc] = fn;
    of.edge[arc] = this.edge(stack.thread, caller, site, fn);
    of.node[arc] = this.child(stack, parent, fn);
    if (2 * this.arcs.count > this.arcSlots.length) {
      this.arcSlots = new Int32Array(2 * this.arcSlots.length);
      for (let i = 0; i < this.arcs.count; i++) this.enterArc(i);
    } else this.enterArc(arc);
    return arc;
  }

  private enterArc(arc: number): void {
    const { of } = this.arcs;
    const mask = this.arcSlots.length - 1;
    let hash =
      Math.imul(of.parent[arc]!, 0x9e3779b1) ^
      Math.imul(of.site[arc]!, 0x85ebca6b) ^
      Math.imul(of.function[arc]!, 0xc2b2ae35);
    hash ^= hash >>> 15;
    let slot = hash & mask;
    while (this.arcSlots[slot] !== 0) slot = (slot + 1) & mask;
    this.arcSlots[slot] = arc + 1;
  }

  /** The node of a function below another one, whatever the call site. */
  private child(stack: ThreadStack, parent: number, fn: number): number {
    const key = parent * 2 ** 31 + fn;
    let node = this.children.get(key);
    if (node === undefined) {
      const isFull = this.tree.count >= MAX_NODES;
      if (isFull && parent !== stack.root) {
        this.isCut = true;
        node = this.child(stack, stack.root, fn);
      } else node = this.addNode(parent, fn);
      if (!isFull || parent === stack.root) this.children.set(key, node);
    }
    return node;
  }
  private readonly children = new Map<number, number>();

  private edge(thread: number, caller: number, site: number, callee: number): number {
    const named = site < 0 ? site : this.siteName(site);
    const key = `${thread} ${caller} ${named} ${callee}`;
    let edge = this.edgeNumbers.get(key);
    if (edge === undefined) {
      this.edgeNumbers.set(key, (edge = this.edges.add()));
      const { of } = this.edges;
      of.thread[edge] = thread;
      of.caller[edge] = caller;
      of.site[edge] = named;
      of.callee[edge] = callee;
      const both = `${thread} ${caller} ${callee}`;
      let pair = this.pairNumbers.get(both);
      if (pair === undefined) this.pairNumbers.set(both, (pair = this.pairs.add()));
      of.pair[edge] = pair;
    }
    return edge;
  }

  // ---- Call sites ----

  private growSites(count: number): void {
    this.siteFunctions = grown(this.siteFunctions, count, NO_FUNCTION);
    this.siteNames = grown(this.siteNames, count, -1);
  }

  /** The first of the sites that are the same instruction. */
  private siteName(site: number): number {
    if (this.siteNames[site]! < 0) {
      const pc = this.sites!.pcs[site]!;
      const first = this.sitesByPc.get(pc) ?? site;
      this.sitesByPc.set(pc, first);
      this.siteNames[site] = first;
    }
    return this.siteNames[site]!;
  }

  private functionOf(site: number): number {
    let fn = this.siteFunctions[site]!;
    if (fn < 0) this.siteFunctions[site] = fn = this.functionAt(this.sites!.pcs[site]!);
    return fn;
  }
}
