/**
 * What is known, from the events alone, of the memory that a lock lies in: whether it is a thread's
 * stack, where objects end without a word, and whether other processes share it.
 */

interface Range {
  readonly start: number;
  readonly end: number;
}

/** The first thread's stack grows to this size at most, as a rule. */
const MAX_STACK_BYTES = 8 << 20;
/** A C library puts this much at most, its own data of the thread, above the stack that it maps. */
const MAX_THREAD_DATA_BYTES = 1 << 16;

export class MemoryAreas {
  /** The recording began in the middle of the execution: there may be objects that no row told of. */
  isPartial = false;
  private mapped: Range[] = [];
  private shared: Range[] = [];
  private readonly stacks = new Map<number, Range>();

  appeared(start: number, size: number, isShared: boolean): void {
    const range = { start, end: start + size };
    this.mapped.push(range);
    if (isShared) this.shared.push(range);
  }

  /** The memory is gone. (Of a mapping that is cut, the rest is no stack.) */
  vanished(start: number, size: number): void {
    const end = start + size;
    const isElsewhere = (range: Range) => range.end <= start || range.start >= end;
    this.mapped = this.mapped.filter(isElsewhere);
    this.shared = this.shared.filter(isElsewhere);
  }

  /** A thread runs with this stack pointer; of interest is the first one. */
  runs(thread: number, sp: number): void {
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

  isOnStack(address: number): boolean {
    for (const { start, end } of this.stacks.values())
      if (start <= address && address < end) return true;
    return false;
  }

  /** An object may lie here that the process itself has not initialised. */
  mayBeForeign(address: number): boolean {
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
  /** What was found last, as mostly the same is looked for again. */
  private latest: { readonly address: number; readonly value: T | undefined } | undefined;

  get(address: number): T | undefined {
    if (this.latest?.address === address) return this.latest.value;
    const value = this.byAddress.get(address);
    this.latest = { address, value };
    return value;
  }

  set(address: number, value: T): void {
    this.latest = undefined;
    this.byAddress.set(address, value);
    const page = Math.floor(address / PAGE_BYTES);
    const known = this.pages.get(page);
    if (known) known.add(address);
    else this.pages.set(page, new Set([address]));
  }

  delete(address: number): void {
    this.latest = undefined;
    this.byAddress.delete(address);
    const page = Math.floor(address / PAGE_BYTES);
    const known = this.pages.get(page);
    known?.delete(address);
    if (known?.size === 0) this.pages.delete(page);
  }

  values(): IterableIterator<T> {
    return this.byAddress.values();
  }

  /** Addresses from `start` on and below `end` that have a value. */
  within(start: number, end: number): number[] {
    if (this.pages.size === 0 || end <= start) return [];
    const [first, last] = [Math.floor(start / PAGE_BYTES), Math.floor((end - 1) / PAGE_BYTES)];
    const found: number[] = [];
    const look = (keys: Iterable<number>): void => {
      for (const key of keys) if (start <= key && key < end) found.push(key);
    };
    if (last - first >= this.pages.size) look(this.byAddress.keys());
    else for (let page = first; page <= last; page++) look(this.pages.get(page) ?? []);
    return found;
  }
}

const PAGE_BYTES = 4096;
