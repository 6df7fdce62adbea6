/**
 * The leak check: which heap blocks the program can still reach, from registers and from memory outside
 * of the heap, and which not. Same rules as Memcheck (Valgrind manual, section 4.2.8): a pointer to a
 * block's start reaches it; one to its interior does so possibly, unless a heuristic says that it is how
 * the program holds such blocks; a lost block that only lost blocks point to is lost indirectly.
 */
import { UserError } from '../../schemas/errors.js';
import type { ShadowMemory, ShadowRegisters } from '../../replay/shadow.js';
import { formatCount } from '../../schemas/numbers.js';
import type { FindingStack, Pc } from '../finding.js';
import type { AddressSpace } from './address-space.js';
import type { Heap, HeapBlock } from './heap.js';
import { GP_REGISTERS } from './registers.js';

/** In the order in which records of the same size are listed. */
const STATES = ['reachable', 'possible', 'indirect', 'definite'] as const;
/** `reachable` … `definite`, as the options name them. */
export type LeakKind = (typeof STATES)[number];
const REACHABLE = 0;
const POSSIBLE = 1;
const INDIRECT = 2;
const UNREACHED = 3;

const KIND_NAMES: Readonly<Record<LeakKind, string>> = {
  reachable: 'Leak_StillReachable',
  possible: 'Leak_PossiblyLost',
  indirect: 'Leak_IndirectlyLost',
  definite: 'Leak_DefinitelyLost',
};
const LOSS_NAMES: Readonly<Record<LeakKind, string>> = {
  reachable: 'still reachable',
  possible: 'possibly lost',
  indirect: 'indirectly lost',
  definite: 'definitely lost',
};

export const HEURISTICS = ['stdstring', 'length64', 'newarray', 'multipleinheritance'] as const;
export type Heuristic = (typeof HEURISTICS)[number];

export interface LeakOptions {
  /** What happens at the end of the program; `yes` is `full`. */
  readonly leakCheck: 'no' | 'summary' | 'full';
  readonly showKinds: ReadonlySet<LeakKind>;
  /** Which count as errors. */
  readonly errorKinds: ReadonlySet<LeakKind>;
  readonly heuristics: ReadonlySet<Heuristic>;
  /** How many callers must be the same for blocks to be reported together. */
  readonly resolution: 'low' | 'med' | 'high';
}

/** Memcheck's own. */
export const LEAK_DEFAULTS: LeakOptions = {
  leakCheck: 'summary',
  showKinds: new Set(['definite', 'possible']),
  errorKinds: new Set(['definite', 'possible']),
  heuristics: new Set(HEURISTICS),
  resolution: 'high',
};

function parseSet<T extends string>(option: string, names: readonly T[], text: string): Set<T> {
  if (text === 'all') return new Set(names);
  if (text === 'none' || text === '') return new Set();
  const chosen = text.split(',').map((name) => name.trim());
  for (const name of chosen) {
    if (!names.includes(name as T)) {
      throw new UserError(
        `${option} does not know ${JSON.stringify(name)}: give all, none, or some of ${names.join(',')}.`,
      );
    }
  }
  return new Set(chosen as T[]);
}

/** The value of `--show-leak-kinds` or `--errors-for-leak-kinds`. Throws UserError. */
export const parseLeakKinds = (option: string, text: string) => parseSet(option, STATES, text);

/** The value of `--leak-check-heuristics`. Throws UserError. */
export const parseHeuristics = (text: string) =>
  parseSet('--leak-check-heuristics', HEURISTICS, text);

/** The value of `--leak-check`. Throws UserError. */
export function parseLeakCheck(text: string): LeakOptions['leakCheck'] {
  if (text === 'yes' || text === 'full') return 'full';
  if (text === 'no' || text === 'summary') return text;
  throw new UserError(`--leak-check is no, summary, yes or full, not ${JSON.stringify(text)}.`);
}

/** Bytes and blocks. */
export interface Amount {
  bytes: bigint;
  blocks: number;
}

export type LeakTotals = Readonly<Record<LeakKind | 'suppressed', Amount>> & {
  /** Of those that are reachable: through interior pointers that a heuristic explains. */
  readonly heuristics: Readonly<Record<Heuristic, Amount>>;
};

/** Blocks of the same state that were allocated at the same place. */
export interface LossRecord {
  readonly state: LeakKind;
  readonly kind: string;
  /** Key of `stacks`: where the first of them was allocated. */
  readonly stack: number;
  readonly bytes: bigint;
  readonly indirectBytes: bigint;
  readonly blocks: number;
  /** The sentence, such as "40 bytes in 1 blocks are definitely lost in loss record 1 of 3". */
  readonly what: string;
  readonly stacks: readonly FindingStack[];
  /** By the options, it is to be reported; it counts as an error. */
  readonly shown: boolean;
  readonly error: boolean;
  readonly suppressed: boolean;
}

/** A word or register that holds a pointer to a block. */
export interface Link {
  /** Address of the word; offset in the guest state of the register. */
  readonly place: bigint;
  /** The thread whose register it is; 0 for a word of memory. */
  readonly thread: number;
  readonly value: bigint;
  /** Number of the block that the word is in; −1 outside of the heap. */
  readonly holder: number;
}

/** One block, as the check found it. */
export interface CheckedBlock {
  readonly block: HeapBlock;
  readonly state: LeakKind;
  /** The record that it belongs to. */
  readonly record: LossRecord;
  /** For a block that is lost indirectly: the block that leads to it. */
  readonly leader: HeapBlock | undefined;
}

export interface LeakReport {
  /** In the order in which they are printed: by size, the largest last. */
  readonly records: readonly LossRecord[];
  readonly totals: LeakTotals;
  /** Every live block, by rising address. */
  readonly blocks: readonly CheckedBlock[];
}

export interface LeakCheckRequest {
  readonly mode: 'full' | 'summary';
  /** Against the check before: report everything, what increased, or what changed. */
  readonly delta: 'any' | 'increased' | 'changed';
}

/** A check, and when it was made. */
export interface LeakCheckMoment extends LeakCheckRequest {
  readonly tick: bigint;
  readonly thread: number;
  /** It is the last one, which the program did not ask for. */
  readonly atEnd: boolean;
}

export interface LeakContext {
  readonly heap: Heap;
  readonly space: AddressSpace;
  readonly memory: ShadowMemory;
  readonly registers: ShadowRegisters;
  /** Threads whose registers hold pointers. */
  rootThreads(): Iterable<number>;
  /** Memory that the program asked not to be judged, or cannot read, holds no pointers. */
  isIgnored(address: bigint): boolean;
  stackOf(stack: number): readonly Pc[];
  /** Whether a suppression hides such a record. */
  isSuppressed(kind: string, stacks: readonly FindingStack[]): boolean;
}

/** A record as it is kept from one check to the next. */
interface KeptRecord {
  readonly state: number;
  readonly stack: number;
  now: Sizes;
  old: Sizes;
}
interface Sizes {
  bytes: bigint;
  indirectBytes: bigint;
  blocks: number;
}
const nothing = (): Sizes => ({ bytes: 0n, indirectBytes: 0n, blocks: 0 });

const noTotals = (): LeakTotals => {
  const amount = (): Amount => ({ bytes: 0n, blocks: 0 });
  return {
    reachable: amount(),
    possible: amount(),
    indirect: amount(),
    definite: amount(),
    suppressed: amount(),
    heuristics: Object.fromEntries(HEURISTICS.map((name) => [name, amount()])) as Record<
      Heuristic,
      Amount
    >,
  };
};

export class LeakChecker {
  /** Of the last check. */
  totals = noTotals();
  private kept = new Map<string, KeptRecord>();
  private readonly keys = new Map<number, string>();

  constructor(
    private readonly context: LeakContext,
    private readonly options: LeakOptions = LEAK_DEFAULTS,
  ) {}

  /** The last check found blocks of any kind. */
  get hasCounted(): boolean {
    const { totals } = this;
    return [...STATES, 'suppressed' as const].some((kind) => totals[kind].blocks > 0);
  }

  check(request: LeakCheckRequest): LeakReport {
    const blocks = blocksToCheck(this.context.heap);
    if (blocks.length === 0) {
      this.kept.clear();
      return { records: [], totals: this.totals, blocks: [] };
    }
    const search = new LeakSearch(this.context, blocks, this.options.heuristics);
    search.run();
    const { records, ofBlocks } = this.record(search, request);
    return {
      records,
      totals: this.totals,
      blocks: blocks.map((block, i) => ({
        block,
        state: STATES[search.states[i]!]!,
        record: ofBlocks[i]!,
        leader: search.states[i] === INDIRECT ? blocks[search.cliques[i]!] : undefined,
      })),
    };
  }

  /**
   * Searches without a report, noting how each block is reached.
   * @param isSpilled - tells of a word of memory that it only keeps a register
   */
  search(isSpilled: (address: bigint) => boolean = () => false): LeakSearch | undefined {
    const blocks = blocksToCheck(this.context.heap);
    if (blocks.length === 0) return undefined;
    const search = new LeakSearch(this.context, blocks, this.options.heuristics, isSpilled);
    search.run();
    return search;
  }

  /** Merges the blocks into records and puts these in order. */
  private record(
    search: LeakSearch,
    { mode, delta }: LeakCheckRequest,
  ): { records: LossRecord[]; ofBlocks: LossRecord[] } {
    for (const [key, record] of this.kept) {
      if (record.now.blocks === 0) this.kept.delete(key);
      record.old = record.now;
      record.now = nothing();
    }
    const totals = (this.totals = noTotals());
    const keptOf = search.blocks.map((block, i) => {
      const state = search.states[i]!;
      const heuristic = HEURISTICS[search.heuristics[i]! - 1];
      if (heuristic) add(totals.heuristics[heuristic], block.sizeBytes, 1);
      const { stack } = block.allocated;
      const key = `${state} ${this.key(stack)}`;
      let record = this.kept.get(key);
      if (!record) {
        this.kept.set(key, (record = { state, stack, now: nothing(), old: nothing() }));
      }
      record.now.bytes += block.sizeBytes;
      record.now.blocks++;
      if (state === UNREACHED) record.now.indirectBytes += BigInt(search.indirectBytes[i]!);
      return record;
    });
    const sorted = [...this.kept.values()].sort(compareRecords);
    const records = sorted.map((record, i) => {
      const { bytes, indirectBytes, blocks } = record.now;
      const state = STATES[record.state]!;
      const kind = KIND_NAMES[state];
      const stacks = [{ role: '', pcs: this.context.stackOf(record.stack) }];
      const suppressed = this.context.isSuppressed(kind, stacks);
      add(totals[suppressed ? 'suppressed' : state], bytes, blocks);
      const considered = mode === 'full' && hasChanged(record, delta);
      return {
        state,
        kind,
        stack: record.stack,
        bytes,
        indirectBytes,
        blocks,
        what: sentence(record, i + 1, sorted.length, delta !== 'any'),
        stacks,
        shown: considered && this.options.showKinds.has(state) && !suppressed,
        error: considered && this.options.errorKinds.has(state) && !suppressed,
        suppressed,
      };
    });
    const places = new Map(sorted.map((record, i) => [record, i]));
    return { records, ofBlocks: keptOf.map((record) => records[places.get(record)!]!) };
  }

  /** Stacks with the same key are one place of allocation. */
  private key(stack: number): string {
    const { resolution } = this.options;
    if (resolution === 'high') return String(stack);
    let key = this.keys.get(stack);
    if (key === undefined) {
      key = this.context
        .stackOf(stack)
        .slice(0, resolution === 'low' ? 2 : 4)
        .join();
      this.keys.set(stack, key);
    }
    return key;
  }
}

function add(amount: Amount, bytes: bigint, blocks: number): void {
  amount.bytes += bytes;
  amount.blocks += blocks;
}

function hasChanged({ now, old }: KeptRecord, delta: LeakCheckRequest['delta']): boolean {
  const pairs = [
    [now.bytes, old.bytes],
    [now.indirectBytes, old.indirectBytes],
    [now.blocks, old.blocks],
  ] as const;
  if (delta === 'any') return now.blocks > 0;
  return pairs.some(([a, b]) => (delta === 'increased' ? a > b : a !== b));
}

function compareRecords(a: KeptRecord, b: KeptRecord): number {
  const bytes = a.now.bytes + a.now.indirectBytes - (b.now.bytes + b.now.indirectBytes);
  if (bytes !== 0n) return bytes < 0n ? -1 : 1;
  return a.state - b.state || a.now.blocks - b.now.blocks || a.stack - b.stack;
}

function sentence({ now, old, state }: KeptRecord, number: number, count: number, delta: boolean) {
  const amount = (current: bigint | number, before: bigint | number) => {
    const change = BigInt(current) - BigInt(before);
    const text = change < 0n ? ` (-${formatCount(-change)})` : ` (+${formatCount(change)})`;
    return formatCount(current) + (delta ? text : '');
  };
  const bytes = amount(now.bytes, old.bytes);
  const indirect = amount(now.indirectBytes, old.indirectBytes);
  const total = amount(now.bytes + now.indirectBytes, old.bytes + old.indirectBytes);
  const size = now.indirectBytes > 0n ? `${total} (${bytes} direct, ${indirect} indirect)` : bytes;
  return (
    `${size} bytes in ${amount(now.blocks, old.blocks)} blocks are ` +
    `${LOSS_NAMES[STATES[state]!]} in loss record ${formatCount(number)} of ${formatCount(count)}`
  );
}

/**
 * Blocks of pools, and those of malloc that hold no block of a pool or one that was announced by a
 * client request: a custom allocator's superblock is not itself searched for. By rising address.
 */
function blocksToCheck(heap: Heap): HeapBlock[] {
  const byAddress = (a: HeapBlock, b: HeapBlock) =>
    a.address < b.address ? -1 : a.address > b.address ? 1 : 0;
  const live = [...heap.live].sort(byAddress);
  if (live.length === 0) return [];
  const starts = Float64Array.from(live, ({ address }) => Number(address));
  const holdsPoolBlock = new Uint8Array(live.length);
  const pooled: HeapBlock[] = [];
  for (const pool of heap.pools.values()) {
    for (const block of pool.blocks) {
      pooled.push(block);
      for (const address of [block.address, block.address + block.sizeBytes - 1n]) {
        const holder = find(live, starts, address);
        if (holder >= 0) holdsPoolBlock[holder] = 1;
      }
    }
  }
  const blocks = [...pooled, ...live.filter((_, i) => !holdsPoolBlock[i])].sort(byAddress);
  const result: HeapBlock[] = [];
  for (const block of blocks) {
    const previous = result.at(-1);
    if (previous && previous.address + previous.sizeBytes > block.address) {
      if (isWithin(block, previous)) result.pop();
      else if (isWithin(previous, block)) continue;
    }
    result.push(block);
  }
  return result;
}

/** A block that a client request announced stands in one that was allocated otherwise. */
function isWithin(custom: HeapBlock, block: HeapBlock): boolean {
  return (
    custom.kind === 'custom' &&
    block.kind !== 'custom' &&
    custom.address >= block.address &&
    custom.address + custom.sizeBytes <= block.address + block.sizeBytes
  );
}

/** Place of the block that holds the address, or −1. A block of no size holds its own address. */
function find(blocks: readonly HeapBlock[], starts: Float64Array, address: bigint): number {
  const wanted = Number(address);
  let low = 0;
  let high = starts.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (wanted < starts[middle]!) {
      high = middle - 1;
    } else {
      const { sizeBytes } = blocks[middle]!;
      if (address < blocks[middle]!.address + (sizeBytes || 1n)) return middle;
      low = middle + 1;
    }
  }
  return -1;
}

/** One search. The arrays have an entry for each of `blocks`. */
export class LeakSearch {
  readonly states: Uint8Array;
  /** Number of the heuristic that explains an interior pointer, from 1; 0 for none. */
  readonly heuristics: Uint8Array;
  /** For a block that is lost: what is lost with it, in bytes. */
  readonly indirectBytes: Float64Array;
  /** For one that is lost indirectly: number of the block that leads to it. */
  readonly cliques: Int32Array;
  /** What made each block reached as it is, where that is wanted. */
  readonly links: (Link | undefined)[] | undefined;
  /** What is being scanned: the word or register, and the block that the word is in. */
  private place = 0n;
  private thread = 0;
  private segment = 0n;
  /** Words that keep registers, with their values. */
  private readonly spilled: (readonly [bigint, bigint])[] = [];
  private holder = -1;
  private readonly starts: Float64Array;
  private readonly ends: Float64Array;
  private readonly pending: Uint8Array;
  private readonly marked: Int32Array;
  private markedCount = 0;
  private readonly lowest: bigint;
  private readonly highest: bigint;

  constructor(
    private readonly context: LeakContext,
    readonly blocks: readonly HeapBlock[],
    private readonly chosen: ReadonlySet<Heuristic>,
    private readonly isSpilled?: (address: bigint) => boolean,
  ) {
    const { length } = blocks;
    this.links = isSpilled ? new Array<undefined>(length).fill(undefined) : undefined;
    this.states = new Uint8Array(length).fill(UNREACHED);
    this.heuristics = new Uint8Array(length);
    this.indirectBytes = new Float64Array(length);
    this.cliques = new Int32Array(length);
    this.pending = new Uint8Array(length);
    this.marked = new Int32Array(length);
    // Addresses are below 2^48, so they are exact.
    this.starts = Float64Array.from(blocks, ({ address }) => Number(address));
    this.ends = Float64Array.from(blocks, ({ address, sizeBytes }) =>
      Number(address + (sizeBytes || 1n)),
    );
    this.lowest = blocks[0]!.address;
    this.highest = BigInt(this.ends.reduce((a, b) => Math.max(a, b)));
  }

  run(): void {
    const follow = (value: bigint, definite: boolean): void => this.reach(value, definite);
    this.scanMemory();
    this.process(follow);
    this.scanRegisters();
    this.process(follow);
    // What is not reached leads a clique of blocks that are lost with it; a later one may take in
    // earlier ones.
    for (let leader = 0; leader < this.blocks.length; leader++) {
      if (this.states[leader] !== UNREACHED) continue;
      this.push(leader);
      this.process((value, _, from) => this.join(value, leader, from));
    }
  }

  private scanMemory(): void {
    const { memory, space } = this.context;
    const visit = (address: bigint, value: bigint) => {
      if (value >= this.lowest && value < this.highest && !this.context.isIgnored(address)) {
        if (this.isSpilled?.(address)) {
          this.spilled.push([address, value]);
          return;
        }
        this.place = address;
        this.reach(value, true);
      }
    };
    for (const { start, end, protection, file } of space.all()) {
      // Only what the program can both read and write holds pointers to the heap. Heap blocks are
      // not in the address space's segments: these are scanned when they are reached.
      const isDevice = file.startsWith('/dev/') && file !== '/dev/zero';
      this.segment = start;
      if ((protection & 3) === 3 && !isDevice) memory.visitDefinedWords(start, end - start, visit);
    }
  }

  /** After memory, so that what memory reaches is not said to be reached by a register. */
  private scanRegisters(): void {
    const { registers, rootThreads } = this.context;
    const offsets = GP_REGISTERS.map((name) => registers.registerOffset(name));
    for (const thread of rootThreads.call(this.context)) {
      this.thread = thread;
      this.holder = -1;
      for (const offset of offsets) {
        this.place = BigInt(offset);
        this.reach(registers.readRegister(thread, offset), true);
      }
    }
    this.thread = 0;
    for (const [address, value] of this.spilled) {
      this.place = address;
      this.reach(value, true);
    }
  }

  /** Scans what was marked, and what that marks, until nothing is left. */
  private process(follow: (value: bigint, definite: boolean, from: number) => void): void {
    const { memory, isIgnored } = this.context;
    while (this.markedCount > 0) {
      const at = this.marked[--this.markedCount]!;
      this.pending[at] = 0;
      const definite = this.states[at] !== POSSIBLE;
      const { address, sizeBytes } = this.blocks[at]!;
      this.holder = at;
      memory.visitDefinedWords(address, sizeBytes, (word, value) => {
        this.place = word;
        if (value < this.lowest || value >= this.highest) return;
        if (!isIgnored.call(this.context, word)) follow(value, definite, at);
      });
    }
  }

  private push(at: number): void {
    if (this.pending[at]) return;
    this.pending[at] = 1;
    this.marked[this.markedCount++] = at;
  }

  private find(value: bigint): number {
    if (value < this.lowest || value >= this.highest) return -1;
    const wanted = Number(value);
    const { starts } = this;
    let low = 0;
    let high = starts.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (wanted < starts[middle]!) high = middle - 1;
      else if (wanted >= this.ends[middle]!) low = middle + 1;
      else return middle;
    }
    return -1;
  }

  /** `value` stands in the roots, or in a block that is reached, `definite`ly or possibly. */
  private reach(value: bigint, definite: boolean): void {
    const at = this.find(value);
    if (at < 0) return;
    const atStart = value === this.blocks[at]!.address;
    if (this.states[at] === REACHABLE) {
      if (atStart) this.heuristics[at] = 0;
      if (atStart && this.links) this.preferLasting(at, value);
      return;
    }
    let surely = atStart;
    if (!atStart && this.chosen.size > 0) {
      this.heuristics[at] = this.heuristic(value, this.blocks[at]!);
      surely = this.heuristics[at] > 0;
    }
    if (surely && definite) {
      this.states[at] = REACHABLE;
    } else if (this.states[at] === UNREACHED) {
      this.states[at] = POSSIBLE;
    } else return;
    this.push(at);
    const { links, place, thread, holder } = this;
    if (links) links[at] = { place, thread, value, holder };
  }

  /**
   * Another pointer to a block: noted if it is likely to stay longer. Of pointers on one stack that is the
   * one in the outermost frame; and a word of memory stays longer than a register.
   */
  private preferLasting(at: number, value: bigint): void {
    const { place, thread, holder } = this;
    const links = this.links!;
    const known = links[at]!;
    if (thread !== 0) return;
    if (holder < 0) {
      const isRoot = known.holder < 0 && known.thread === 0;
      if (isRoot && known.place >= this.segment) links[at] = { place, thread, value, holder };
      return;
    }
    if (known.thread === 0) return;
    // The way to the block that holds it must not lead through this one.
    for (let from = holder; from >= 0; from = links[from]!.holder) if (from === at) return;
    links[at] = { place, thread, value, holder };
  }

  /** `value` stands in block `from`, which is lost with the clique of `leader`. */
  private join(value: bigint, leader: number, from: number): void {
    const at = this.find(value);
    if (at < 0 || at === leader || this.states[at] !== UNREACHED) return;
    this.push(at);
    this.indirectBytes[leader]! += Number(this.blocks[at]!.sizeBytes) + this.indirectBytes[at]!;
    this.states[at] = INDIRECT;
    this.cliques[at] = from;
  }

  /** Number of the heuristic that explains an interior pointer, or 0. */
  private heuristic(value: bigint, block: HeapBlock): number {
    const { address, sizeBytes } = block;
    const offset = value - address;
    const is: Record<Heuristic, () => boolean> = {
      /** Length, capacity, reference count, then the characters that it points to. */
      stdstring: () => {
        if (offset !== 24n) return false;
        const capacity = this.word(address + 8n);
        if (capacity === undefined || 24n + capacity + 1n !== sizeBytes) return false;
        const length = this.word(address);
        return length !== undefined && length <= capacity;
      },
      /** The size of the rest stands before it. */
      length64: () => {
        if (offset !== 8n) return false;
        const size = this.word(address);
        return size !== undefined && size > 0n && sizeBytes - 8n === size;
      },
      /** The number of elements, which have a destructor, stands before them. */
      newarray: () => {
        if (offset !== 8n) return false;
        const count = this.word(address);
        return count !== undefined && count > 0n && (sizeBytes - 8n) % count === 0n;
      },
      /** Points to a table of virtual functions within an object that begins with one. */
      multipleinheritance: () => {
        const inner = this.word(value);
        if (inner === undefined || !this.mayBeTable(inner)) return false;
        const first = this.word(address);
        if (first === undefined || !this.mayBeTable(first)) return false;
        return this.isTable(inner) && this.isTable(first);
      },
    };
    return HEURISTICS.findIndex((name) => this.chosen.has(name) && is[name]()) + 1;
  }

  /** The word at an address, if it stands at a multiple of 8, is accessible and defined. */
  private word(address: bigint): bigint | undefined {
    let found: bigint | undefined;
    if ((address & 7n) === 0n && !this.context.isIgnored(address)) {
      this.context.memory.visitDefinedWords(address, 8n, (_, value) => (found = value));
    }
    return found;
  }

  private mayBeTable(address: bigint): boolean {
    return (address & 7n) === 0n && address >= 4096n;
  }

  /** In a mapped file, of the next 20 words those that are not 0 point to code, and two do. */
  private isTable(address: bigint): boolean {
    const { space, memory } = this.context;
    const segment = space.segment(address);
    if (segment?.kind !== 'file' || !(segment.protection & 1)) return false;
    const room = segment.end - address;
    const bytes = memory.readMemory(address, Number(room < 168n ? room : 168n));
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let functions = 0;
    for (let at = 0; at + 8 <= bytes.length; at += 8) {
      const code = view.getBigUint64(at, true);
      if (code === 0n) continue;
      const target = space.segment(code);
      if (target?.kind !== 'file' || !(target.protection & 4)) return false;
      if (++functions === 2) return true;
    }
    return false;
  }
}
