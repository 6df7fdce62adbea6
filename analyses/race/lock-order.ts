/**
 * Which locks were taken while which others were held, and what orders can end in a deadlock.
 *
 * A *dependency* is an acquisition that can block, with the locks that the thread held. Dependencies
 * d0, d1, … form a deadlock pattern when each waits for a lock that the next one holds, and all of them
 * can be under way at once: different threads, none of which begins after another has ended; and no lock
 * that two of them hold, which would keep them apart (a gate lock). This is the abstract deadlock pattern
 * of Bensalem and Havelund (HVC 2005) and of Tunç, Mathur, Pavlogiannis and Viswanathan (PLDI 2023), with
 * the modes of read-write locks: readers do not wait for readers.
 *
 * An acquisition that gives up (try, timed) waits for nobody, but what it took is held.
 *
 * Helgrind reports orders that one thread alone took in both ways too. That is no deadlock, but the places
 * are there, and another execution may run them in two threads: these are given as their own class.
 */

/** What this needs to know of a lock: a place in memory from its initialisation to its destruction. */
export interface OrderedLock {
  /** Unique within the process image. */
  readonly id: number;
}

/** A lock that a thread holds. */
export interface Held<L extends OrderedLock> {
  readonly lock: L;
  /** Not only for reading. */
  readonly writes: boolean;
  /** Where it was taken: key of `stacks`. */
  readonly stack: number;
}

/** A sequence of held locks, the one taken last first. Equal sequences are one object. */
interface Chain<L extends OrderedLock> extends Held<L> {
  readonly outer: Chain<L> | undefined;
  /** Sequences that go on with a lock. */
  readonly inner: Chains<L>;
  /** What threads asked for that held exactly these. */
  readonly asked: Map<L, Dependency<L>[]>;
}

type Chains<L extends OrderedLock> = Map<L, Chain<L>[]>;

/** Part of a thread's life between creations and joins of others. */
interface Segment {
  readonly thread: number;
  /** Number of the segment within the thread. */
  readonly at: number;
  /** Segments of other threads, up to which everything lies before this segment. */
  readonly seen: ReadonlyMap<number, number>;
}

/** A lock was taken, or asked for, by a thread that held others. */
export interface Dependency<L extends OrderedLock> {
  /** In order of their first occurrence. */
  readonly number: number;
  readonly thread: number;
  readonly lock: L;
  readonly writes: boolean;
  readonly stack: number;
  readonly tick: number;
  /** What the thread held, the lock taken last first. */
  readonly held: Chain<L>;
  readonly segment: Segment;
}

/**
 * Whether threads of this execution can deadlock so (`threads`); or only if more threads did the same
 * (`same thread`); or not because threads ran one after another (`in turn`).
 */
export type CycleClass = 'threads' | 'same thread' | 'in turn';

/** Each waits for a lock that the next one holds, and the last for one that the first holds. */
export interface Cycle<L extends OrderedLock> {
  readonly class: CycleClass;
  /** The first is the latest. */
  readonly dependencies: readonly Dependency<L>[];
}

interface ThreadState<L extends OrderedLock> {
  segment: Segment;
  readonly held: Held<L>[];
  /** `held` as a chain, once needed. */
  chain: Chain<L> | undefined;
  isChained: boolean;
}

/** Steps of the search for cycles, after which it stops: of all, and for one dependency and class. */
const MAX_STEPS = 20_000_000;
const MAX_STEPS_EACH = 20_000;

export class LockOrder<L extends OrderedLock> {
  /** The search was cut short. */
  isCut = false;
  private readonly threads = new Map<number, ThreadState<L>>();
  /** The one that was asked for last, as mostly the same is again. */
  private latest: { readonly number: number; readonly state?: ThreadState<L> } = { number: -1 };
  private readonly chains: Chains<L> = new Map();
  /** The chains in which a lock is the one taken last. */
  private readonly chainsOf = new Map<L, Chain<L>[]>();
  /** By the lock that was asked for. */
  private readonly dependencies = new Map<L, Set<Dependency<L>>>();
  private numbers = 0;

  created(thread: number, child: number): void {
    const parent = this.thread(thread);
    const { at, seen } = parent.segment;
    const before = new Map(seen).set(thread, at);
    this.thread(child).segment = { thread: child, at: 0, seen: before };
    parent.segment = { thread: thread, at: at + 1, seen: seen };
  }

  joined(thread: number, ended: number): void {
    const state = this.thread(thread);
    const other = this.thread(ended).segment;
    const seen = new Map(state.segment.seen).set(ended, other.at);
    for (const [key, at] of other.seen) seen.set(key, Math.max(at, seen.get(key) ?? -1));
    state.segment = { thread: thread, at: state.segment.at + 1, seen: seen };
  }

  /** A thread asks for a lock, and will wait for it. */
  asked(thread: number, lock: L, writes: boolean, stack: number, tick: number): void {
    const state = this.thread(thread);
    const held = this.chainOf(state);
    if (!held) return;
    const { segment } = state;
    let asked = held.asked.get(lock);
    if (!asked) held.asked.set(lock, (asked = []));
    for (const known of asked)
      if (known.stack === stack && known.segment === segment && known.writes === writes) return;
    const number = this.numbers++;
    const dependency = { number, thread, lock, writes, stack, tick, held, segment };
    asked.push(dependency);
    const known = this.dependencies.get(lock);
    if (known) known.add(dependency);
    else this.dependencies.set(lock, new Set([dependency]));
  }

  /** A thread has taken a lock that it did not hold. */
  taken(thread: number, lock: L, writes: boolean, stack: number): void {
    const state = this.thread(thread);
    state.held.push({ lock, writes, stack });
    state.isChained = false;
  }

  /** A thread holds a lock no more. */
  released(thread: number, lock: L): void {
    const state = this.thread(thread);
    const { held } = state;
    let at = held.length - 1;
    while (at >= 0 && held[at]!.lock !== lock) at--;
    if (at < 0) return;
    const isLast = at === held.length - 1;
    if (isLast) held.pop();
    else held.splice(at, 1);
    if (isLast && state.isChained) state.chain = state.chain?.outer;
    else state.isChained = false;
  }

  /** No thread can take this lock any more, nor holds it. What can be in no cycle is forgotten. */
  died(lock: L): void {
    const chains = this.chainsOf.get(lock);
    this.chainsOf.delete(lock);
    for (const { outer } of chains ?? []) (outer?.inner ?? this.chains).delete(lock);
    if (!chains) {
      this.dependencies.delete(lock);
    } else if (!this.dependencies.has(lock)) {
      for (const { outer, asked } of chains) {
        if (outer) continue;
        for (const dependency of [...asked.values()].flat())
          this.dependencies.get(dependency.lock)?.delete(dependency);
      }
    }
  }

  /** Forgets all threads but one, as a fork does. */
  keepOnly(thread: number): void {
    this.latest = { number: -1 };
    for (const number of [...this.threads.keys()])
      if (number !== thread) this.threads.delete(number);
  }

  /**
   * One cycle for each dependency that is the latest of one, a shortest one; of those from the same places
   * only the first.
   * @param classes - those that are wanted, the best first
   */
  *cycles(classes: readonly CycleClass[]): Generator<Cycle<L>> {
    const all = [...this.dependencies.values()].flatMap((known) => [...known]);
    const told = new Set<string>();
    for (const worst of classes) {
      for (const group of meetingGroups(all, worst)) {
        const inCycles = dependenciesInCycles(group).sort((a, b) => a.number - b.number);
        const search = new Search(inCycles, worst);
        for (const latest of inCycles) {
          const places = [latest, ...chainOf(latest.held)].map(({ stack }) => stack).join(' ');
          const path = told.has(places) ? undefined : search.shortest(latest);
          if (!path) continue;
          told.add(places);
          yield { class: worst, dependencies: path };
        }
        this.isCut ||= search.isCut;
      }
    }
  }

  private thread(number: number): ThreadState<L> {
    if (number === this.latest.number) return this.latest.state!;
    let state = this.threads.get(number);
    if (!state) {
      const segment = { thread: number, at: 0, seen: new Map() };
      state = { segment, held: [], chain: undefined, isChained: true };
      this.threads.set(number, state);
    }
    this.latest = { number, state };
    return state;
  }

  private chainOf(state: ThreadState<L>): Chain<L> | undefined {
    if (state.isChained) return state.chain;
    let chain: Chain<L> | undefined;
    for (const held of state.held) {
      chain = this.chain(chain, held);
    }
    state.chain = chain;
    state.isChained = true;
    return chain;
  }

  private chain(outer: Chain<L> | undefined, held: Held<L>): Chain<L> {
    const { lock, writes, stack } = held;
    const chains = outer?.inner ?? this.chains;
    let known = chains.get(lock);
    if (!known) chains.set(lock, (known = []));
    for (const chain of known) if (chain.stack === stack && chain.writes === writes) return chain;
    const chain = { ...held, outer, inner: new Map(), asked: new Map() };
    known.push(chain);
    const all = this.chainsOf.get(lock);
    if (all) all.push(chain);
    else this.chainsOf.set(lock, [chain]);
    return chain;
  }
}

function* chainOf<L extends OrderedLock>(held: Chain<L>): Generator<Chain<L>> {
  for (let chain: Chain<L> | undefined = held; chain; chain = chain.outer) yield chain;
}

/** How a dependency holds a lock, if it does. */
export function holding<L extends OrderedLock>(
  { held }: Dependency<L>,
  lock: L,
): Held<L> | undefined {
  for (let chain: Chain<L> | undefined = held; chain; chain = chain.outer)
    if (chain.lock === lock) return chain;
  return undefined;
}

/** Finds paths from a dependency back to itself, along "waits for a lock that … holds". */
class Search<L extends OrderedLock> {
  isCut = false;
  private steps = 0;
  private limit = 0;
  /** By a lock that was held, then by the one that was asked for. */
  private readonly holders = new Map<L, Map<L, Dependency<L>[]>>();
  private readonly longest: number;

  /** @param worst - the class that no pair of a cycle may exceed */
  constructor(
    dependencies: readonly Dependency<L>[],
    private readonly worst: CycleClass,
  ) {
    for (const dependency of dependencies) {
      for (const { lock } of chainOf(dependency.held)) {
        let asked = this.holders.get(lock);
        if (!asked) this.holders.set(lock, (asked = new Map<L, Dependency<L>[]>()));
        const known = asked.get(dependency.lock);
        if (known) known.push(dependency);
        else asked.set(dependency.lock, [dependency]);
      }
    }
    const threads = new Set(dependencies.map(({ thread }) => thread)).size;
    this.longest = worst === 'threads' ? threads : this.holders.size;
  }

  /** The shortest cycle whose latest dependency this is. */
  shortest(latest: Dependency<L>): Dependency<L>[] | undefined {
    this.limit = Math.min(MAX_STEPS, this.steps + MAX_STEPS_EACH);
    for (let length = 2; length <= this.longest; length++) {
      const path = [latest];
      if (this.extend(path, length)) return path;
      if (this.steps < this.limit) continue;
      this.isCut = true;
      return undefined;
    }
    return undefined;
  }

  private extend(path: Dependency<L>[], length: number): boolean {
    const asked = this.holders.get(path.at(-1)!.lock);
    if (!asked) return false;
    if (path.length + 1 < length) {
      for (const list of asked.values()) {
        if (this.tryEach(list, path, length)) return true;
        if (this.steps >= this.limit) return false;
      }
      return false;
    }
    for (const { lock } of chainOf(path[0]!.held)) {
      const list = asked.get(lock);
      if (list && this.tryEach(list, path, length)) return true;
    }
    return false;
  }

  private tryEach(list: readonly Dependency<L>[], path: Dependency<L>[], length: number): boolean {
    const [latest, last] = [path[0]!, path.at(-1)!];
    for (const next of list) {
      this.steps++;
      if (next.number >= latest.number || this.steps >= this.limit) return false;
      if (!waitsFor(last, next)) continue;
      if (path.some((other) => !canMeet(other, next, this.worst))) continue;
      path.push(next);
      if (path.length === length ? waitsFor(next, latest) : this.extend(path, length)) return true;
      path.pop();
    }
    return false;
  }
}

function waitsFor<L extends OrderedLock>(waiter: Dependency<L>, holder: Dependency<L>): boolean {
  const held = holding(holder, waiter.lock);
  return held !== undefined && (held.writes || waiter.writes);
}

/** Both can be under way at once, as far as the class asks for it. */
function canMeet<L extends OrderedLock>(
  a: Dependency<L>,
  b: Dependency<L>,
  worst: CycleClass,
): boolean {
  if (!segmentsMeet(a.segment, b.segment, worst)) return false;
  for (let chain: Chain<L> | undefined = a.held; chain; chain = chain.outer) {
    const other = holding(b, chain.lock);
    if (other && (chain.writes || other.writes)) return false;
  }
  return true;
}

function segmentsMeet(a: Segment, b: Segment, worst: CycleClass): boolean {
  if (a.thread === b.thread) return worst !== 'threads';
  if (worst === 'in turn') return true;
  const isBefore = (first: Segment, second: Segment) =>
    (second.seen.get(first.thread) ?? -1) >= first.at;
  return !isBefore(a, b) && !isBefore(b, a);
}

/** Segments that are looked at pair by pair. */
const MAX_SEGMENTS = 2000;

/** Parts of which no two have dependencies that can meet: a cycle lies within one. */
function meetingGroups<L extends OrderedLock>(
  all: readonly Dependency<L>[],
  worst: CycleClass,
): (readonly Dependency<L>[])[] {
  const segments = new Map<Segment, Dependency<L>[]>();
  for (const dependency of all) {
    const known = segments.get(dependency.segment);
    if (known) known.push(dependency);
    else segments.set(dependency.segment, [dependency]);
  }
  if (worst === 'in turn' || segments.size > MAX_SEGMENTS) return [all];
  const left = new Set(segments.keys());
  const groups: Dependency<L>[][] = [];
  for (const first of left) {
    left.delete(first);
    const group = [first];
    for (const segment of group) {
      for (const other of left) {
        if (!segmentsMeet(segment, other, worst)) continue;
        left.delete(other);
        group.push(other);
      }
    }
    groups.push(group.flatMap((segment) => segments.get(segment)!));
  }
  return groups;
}

/**
 * Those that lie on a cycle of "this lock was taken while that one was held", whatever keeps them apart:
 * the lock lies in the same strongly connected component as one that was held (Tarjan, SIAM J. Comput. 1972).
 */
function dependenciesInCycles<L extends OrderedLock>(
  all: readonly Dependency<L>[],
): Dependency<L>[] {
  const next = new Map<L, Set<L>>();
  for (const { lock, held } of all) {
    for (const { lock: outer } of chainOf(held)) {
      const known = next.get(outer);
      if (known) known.add(lock);
      else next.set(outer, new Set([lock]));
    }
  }
  const order = new Map<L, number>();
  const low = new Map<L, number>();
  const component = new Map<L, number>();
  const open: L[] = [];
  for (const root of next.keys()) {
    if (order.has(root)) continue;
    const path: { lock: L; rest: Iterator<L> }[] = [];
    const enter = (lock: L): void => {
      order.set(lock, order.size);
      low.set(lock, order.get(lock)!);
      open.push(lock);
      path.push({ lock, rest: (next.get(lock) ?? new Set<L>()).values() });
    };
    enter(root);
    while (path.length > 0) {
      const { lock, rest } = path.at(-1)!;
      const { done, value } = rest.next();
      if (!done) {
        if (!order.has(value)) enter(value);
        else if (!component.has(value)) low.set(lock, Math.min(low.get(lock)!, order.get(value)!));
        continue;
      }
      path.pop();
      const parent = path.at(-1)?.lock;
      if (parent !== undefined) low.set(parent, Math.min(low.get(parent)!, low.get(lock)!));
      if (low.get(lock) !== order.get(lock)) continue;
      for (let member: L | undefined; member !== lock;) {
        member = open.pop()!;
        component.set(member, order.get(lock)!);
      }
    }
  }
  return all.filter(({ lock, held }) => {
    for (const outer of chainOf(held))
      if (component.get(outer.lock) === component.get(lock)) return true;
    return false;
  });
}
