/**
 * What is known, from the events alone, of the memory that a lock lies in: whether it is a thread's
 * stack, where objects end without a word, and whether other processes share it.
 */

interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** The first thread's stack grows to this size at most, as a rule. */
const MAX_STACK_BYTES = 8n << 20n;
/** A C library puts this much at most, its own data of the thread, above the stack that it maps. */
const MAX_THREAD_DATA_BYTES = 1n << 16n;

export class MemoryAreas {
  /** The recording began in the middle of the execution: there may be objects that no row told of. */
  isPartial = false;
  private mapped: Range[] = [];
  private shared: Range[] = [];
  private readonly stacks = new Map<number, Range>();

  appeared(start: bigint, size: bigint, isShared: boolean): void {
    const range = { start, end: start + size };
    this.mapped.push(range);
    if (isShared) this.shared.push(range);
  }

  /** The memory is gone. (Of a mapping that is cut, the rest is no stack.) */
  vanished(start: bigint, size: bigint): void {
    const end = start + size;
    const isElsewhere = (range: Range) => range.end <= start || range.start >= end;
    this.mapped = this.mapped.filter(isElsewhere);
    this.shared = this.shared.filter(isElsewhere);
  }

  /** A thread runs with this stack pointer; of interest is the first one. */
  runs(thread: number, sp: bigint): void {
    if (this.stacks.has(thread)) return;
    const mapping = this.mapped.findLast(({ start, end }) => start <= sp && sp < end);
    // Not of a stack that the program has made: that may be part of anything.
    const isOwn = thread > 1 && mapping && mapping.end - sp <= MAX_THREAD_DATA_BYTES;
    this.stacks.set(thread, isOwn ? mapping : { start: sp - MAX_STACK_BYTES, end: sp });
    if (thread > 1 && !isOwn) this.stacks.set(thread, { start: sp, end: sp });
  }

  /** Ends a thread; returns its stack if that is known. */
  ended(thread: number): Range | undefined {
    const range = this.stacks.get(thread);
    this.stacks.delete(thread);
    return thread > 1 && range && range.end > range.start ? range : undefined;
  }

  isOnStack(address: bigint): boolean {
    for (const { start, end } of this.stacks.values())
      if (start <= address && address < end) return true;
    return false;
  }

  /** An object may lie here that the process itself has not initialised. */
  mayBeForeign(address: bigint): boolean {
    return (
      this.isPartial || this.shared.some(({ start, end }) => start <= address && address < end)
    );
  }
}

/** Values by addresses of memory (below 2^48, so that they are exact as numbers), found by range too. */
export class AddressMap<T> {
  private readonly byAddress = new Map<number, T>();
  /** Addresses by their page. */
  private readonly pages = new Map<number, Set<number>>();

  get(address: bigint): T | undefined {
    return this.byAddress.get(Number(address));
  }

  set(address: bigint, value: T): void {
    const key = Number(address);
    this.byAddress.set(key, value);
    const page = Math.floor(key / PAGE_BYTES);
    const known = this.pages.get(page);
    if (known) known.add(key);
    else this.pages.set(page, new Set([key]));
  }

  delete(address: bigint): void {
    const key = Number(address);
    this.byAddress.delete(key);
    const page = Math.floor(key / PAGE_BYTES);
    const known = this.pages.get(page);
    known?.delete(key);
    if (known?.size === 0) this.pages.delete(page);
  }

  values(): IterableIterator<T> {
    return this.byAddress.values();
  }

  /** Addresses from `start` on and below `end` that have a value. */
  within(start: bigint, end: bigint): bigint[] {
    if (this.pages.size === 0 || end <= start) return [];
    const [from, to] = [Number(start), Number(end)];
    const [first, last] = [Math.floor(from / PAGE_BYTES), Math.floor((to - 1) / PAGE_BYTES)];
    const found: bigint[] = [];
    const look = (keys: Iterable<number>): void => {
      for (const key of keys) if (from <= key && key < to) found.push(BigInt(key));
    };
    if (last - first >= this.pages.size) look(this.byAddress.keys());
    else for (let page = first; page <= last; page++) look(this.pages.get(page) ?? []);
    return found;
  }
}

const PAGE_BYTES = 4096;
