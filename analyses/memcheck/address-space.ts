/**
 * The guest's address space as the `mappings` table tells it: which segments there are, with what
 * protection and of what file; where the program's data segment ends; where stacks lie.
 */

export interface Segment {
  readonly start: bigint;
  /** First byte after it. */
  readonly end: bigint;
  /** Bits: 1 read, 2 write, 4 execute. */
  readonly protection: number;
  readonly kind: 'anonymous' | 'file' | 'shared';
  readonly file: string;
}

/** A stack: of a thread, or registered by a client request. Both ends belong to it. */
export interface StackRange {
  readonly id: number;
  start: bigint;
  end: bigint;
  /** Number of the thread that it was made for; 0 for a registered one. */
  readonly thread: number;
}

/** Memory of the guest lies below. */
export const ADDRESS_END = 1n << 48n;
const PAGE = 4096n;
const pageUp = (address: bigint) => (address + PAGE - 1n) & ~(PAGE - 1n);

export class AddressSpace {
  /** In rising order, without overlap. */
  private segments: Segment[] = [];
  /** Where the data segment begins and ends: `brk` moves the end. */
  brkBase = 0n;
  brkLimit = 0n;
  readonly stacks: StackRange[] = [];
  private nextStack = 0;
  /** What the program made unreadable: the heap belongs to no segment. */
  private unreadable: { readonly start: bigint; readonly end: bigint }[] = [];

  /** Replaces what the range held. */
  map(segment: Segment): void {
    this.unmap(segment.start, segment.end);
    this.segments.splice(this.firstAfter(segment.start), 0, segment);
  }

  unmap(start: bigint, end: bigint): void {
    this.cut(start);
    this.cut(end);
    const from = this.firstAt(start);
    this.segments.splice(from, this.firstAt(end) - from);
    if (this.unreadable.length > 0) this.setReadable(start, end);
  }

  protect(start: bigint, end: bigint, protection: number): void {
    this.cut(start);
    this.cut(end);
    for (let i = this.firstAt(start); i < this.firstAt(end); i++) {
      this.segments[i] = { ...this.segments[i]!, protection };
    }
    this.setReadable(start, end);
    if ((protection & 1) === 0) this.unreadable.push({ start, end });
  }

  private setReadable(start: bigint, end: bigint): void {
    this.unreadable = this.unreadable.flatMap((range) => [
      ...(range.start < start ? [{ ...range, end: range.end < start ? range.end : start }] : []),
      ...(range.end > end ? [{ ...range, start: range.start > end ? range.start : end }] : []),
    ]);
  }

  /** The program took away the right to read there. */
  isUnreadable(address: bigint): boolean {
    const { unreadable } = this;
    if (unreadable.length === 0) return false;
    return unreadable.some(({ start, end }) => start <= address && address < end);
  }

  /** The segment of `from` without its protection's change stands at `to` too. */
  copy(from: bigint, to: bigint, sizeBytes: bigint, protection: number): void {
    const { kind, file } = this.segment(from) ?? { kind: 'anonymous' as const, file: '' };
    this.map({ start: to, end: to + sizeBytes, protection, kind, file });
  }

  /** The end of the data segment moves from `from` to `limit`. */
  setBrk(from: bigint, limit: bigint): void {
    if (this.brkBase === 0n) this.brkBase = from < limit ? from : limit;
    if (limit < this.brkLimit) this.unmap(limit, this.brkLimit);
    else if (limit > this.brkBase) {
      const segment = { protection: 3, kind: 'anonymous' as const, file: '' };
      this.map({ start: this.brkBase, end: limit, ...segment });
    }
    this.brkLimit = limit;
  }

  /** The address lies in the pages of the data segment, of which one is always there. */
  isInBrk(address: bigint): boolean {
    const end = pageUp(this.brkLimit);
    return (
      this.brkBase > 0n &&
      address >= this.brkBase &&
      address < (end > this.brkBase ? end : this.brkBase + PAGE)
    );
  }

  segment(address: bigint): Segment | undefined {
    const segment = this.segments[this.firstAfter(address) - 1];
    return segment && address < segment.end ? segment : undefined;
  }

  all(): readonly Segment[] {
    return this.segments;
  }

  /** Segments of each run of adjoining ones with the same protection and origin begin here. */
  startOfRun(address: bigint): bigint {
    let i = this.firstAfter(address) - 1;
    const same = (a: Segment, b: Segment) =>
      a.end === b.start && a.protection === b.protection && a.kind === b.kind && a.file === b.file;
    while (i > 0 && same(this.segments[i - 1]!, this.segments[i]!)) i--;
    return this.segments[i]?.start ?? address;
  }

  /** Gives the next stack its number, as the engine does. */
  registerStack(a: bigint, b: bigint, thread = 0): StackRange {
    const [start, end] = a <= b ? [a, b] : [b, a];
    const stack = { id: this.nextStack++, start, end, thread };
    this.stacks.unshift(stack);
    return stack;
  }

  /** A new thread begins with this stack pointer: what lies below it in its segment is its stack. */
  registerThread(thread: number, sp: bigint): StackRange | undefined {
    const segment = this.segment(sp) ?? this.segment(sp - 1n);
    if (!segment || (segment.protection & 3) !== 3) return undefined;
    // The first thread's stack ends with its segment: above the pointer stand arguments and environment.
    const end = this.nextStack === 0 ? segment.end - 1n : pageUp(sp) - 1n;
    return this.registerStack(this.startOfRun(segment.start), end, thread);
  }

  /** The stack that an address is in. */
  stackAt(address: bigint): StackRange | undefined {
    return this.stacks.find(({ start, end }) => start <= address && address <= end);
  }

  deregisterStack(id: number): void {
    const at = this.stacks.findIndex((stack) => stack.id === id);
    if (at >= 0) this.stacks.splice(at, 1);
  }

  changeStack(id: number, start: bigint, end: bigint): void {
    const stack = this.stacks.find((known) => known.id === id);
    if (stack) Object.assign(stack, { start, end });
  }

  /** The first thread's stack grows by itself: its segment is made to reach down to the page of `sp`. */
  growStack(thread: number, sp: bigint): void {
    const stack = this.stacks.find((known) => known.thread === thread);
    const segment = stack && this.segment(stack.end);
    if (!stack || !segment || sp >= stack.start || stack.id !== 0) return;
    const start = (sp - 128n) & ~(PAGE - 1n);
    const below = this.segments[this.firstAfter(stack.start) - 2];
    if (start < 0n || (below && start < below.end) || stack.end - start > 1n << 30n) return;
    this.map({ ...segment, start });
    stack.start = start;
  }

  /** As `growStack`, when it is not known which thread's stack the pointer is in. */
  growFirstStack(sp: bigint): void {
    const first = this.stacks.find(({ id }) => id === 0);
    if (first) this.growStack(first.thread, sp);
  }

  /** Splits the segment that `address` lies within. */
  private cut(address: bigint): void {
    const at = this.firstAfter(address) - 1;
    const segment = this.segments[at];
    if (!segment || segment.start === address || address >= segment.end) return;
    const halves = [
      { ...segment, end: address },
      { ...segment, start: address },
    ];
    this.segments.splice(at, 1, ...halves);
  }

  /** Place of the first segment that begins after the address. */
  private firstAfter(address: bigint): number {
    let low = 0;
    let high = this.segments.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.segments[middle]!.start <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Place of the first segment that begins at or after the address. */
  private firstAt(address: bigint): number {
    const at = this.firstAfter(address);
    return at > 0 && this.segments[at - 1]!.start === address ? at - 1 : at;
  }
}
