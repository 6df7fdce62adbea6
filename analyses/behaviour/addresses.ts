/**
 * Stored values in words that survive other addresses: a pointer is known by what it points into and how far, which is the
 * n-th heap block or mapping that a thread asked for, an object file, or a call under way on the stack; everything else by
 * its bits. Secrets that the kernel gives each execution, and pointers that the C library encrypts with them, are known as such
 * (System V ABI, AMD64 supplement, 3.4.3: AT_RANDOM; glibc's stack protector and PTR_MANGLE).
 */
import { RangeMap, type Range } from '../capcheck/ranges.js';
import { HeapMap } from '../cache/heap-map.js';
import { basename } from 'node:path';
import { hex } from '../../schemas/numbers.js';
import { isRelease } from '../../schemas/tables.js';
import type { EventRow } from '../../replay/types.js';
import { hashOf, mix } from './hash.js';
import { Kind, type Code, type Places } from './code.js';

/** The calls of a thread that are under way, the outermost first: where their return addresses are. */
export interface StackOf {
  readonly count: number;
  readonly stackPointers: Float64Array;
  /** 1 for calls of functions whose frames need not be alike in both runs. */
  readonly loose: Uint8Array;
}

interface Region {
  readonly name: string;
  /** Of the name. */
  readonly hash: number;
  readonly start: number;
  /** What lies at which offset is the same in both runs. */
  readonly isFixed: boolean;
  /** Text of an object file. */
  readonly isCode?: boolean;
}

/** What the low 12 bits of nothing point to. */
const LOWEST_ADDRESS = 0x10000;
/** Above it there are no addresses of programs: the high word of 2^47. */
const HIGH_LIMIT = 0x8000;
/** Stacks are below what was mapped for them. */
const STACK_BYTES = 2 ** 23;
const AT_NULL = 0n;
const AT_RANDOM = 25n;

export class Addresses {
  private readonly regions = new RangeMap<Region>();
  private readonly heap = new HeapMap();
  private readonly blocks: { readonly name: string; readonly hash: number }[] = [];
  private readonly allocations = new Map<string, number>();
  private readonly maps = new Map<string, number>();
  /** Found last, and before that. */
  private last: Range<Region> | undefined;
  private other: Range<Region> | undefined;
  private canary: readonly [number, number] | undefined;
  private guard: readonly [number, number] | undefined;
  private initialStack = 0;

  constructor(
    private readonly code: Code,
    private readonly places: Places,
  ) {}

  /** The process image begins: reads its secrets. @param read - guest memory */
  begin(stackPointer: number, read: (address: bigint, size: number) => Uint8Array): void {
    this.initialStack = stackPointer;
    const top = this.regions.around(stackPointer)?.end;
    if (top === undefined) return;
    const bytes = read(BigInt(stackPointer), top - stackPointer);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length & ~7);
    const word = (i: number): bigint =>
      8 * i + 8 <= view.byteLength ? view.getBigUint64(8 * i, true) : 0n;
    let at = 2 + Number(word(0)); // beyond the arguments
    while (word(at) !== 0n) at++; // and the environment
    for (at++; word(at) !== AT_NULL; at += 2) {
      if (word(at) !== AT_RANDOM) continue;
      const random = Number(word(at + 1)) - stackPointer;
      if (random < 0 || random + 16 > view.byteLength) return;
      const of = (offset: number) => view.getUint32(random + offset, true);
      this.canary = [of(0) & ~0xff, of(4)];
      this.guard = [of(8), of(12)];
      return;
    }
  }

  mapping(row: EventRow, thread: string): void {
    const op = row.name('op');
    const start = row.number('address');
    const end = start + row.number('size');
    this.last = this.other = undefined;
    if (op === 'mprotect') return;
    if (op === 'munmap' || op === 'brk_shrink') return void this.regions.clear(start, end);
    const path = new TextDecoder().decode(row.bytes('file'));
    if (op === 'brk') {
      const heap = this.regions.all.find(({ value: { name } }) => name === 'break')?.value;
      return this.regions.set(start, end, heap ?? region({ name: 'break', start, isFixed: true }));
    }
    if (path !== '') {
      const module = this.code.moduleOf(path);
      const isFixed = !module || this.places.isSame(module);
      const name = module?.key ?? basename(path);
      const isCode = (row.u32('protection') & 4) !== 0 && module !== undefined;
      const offset = row.number('offset');
      const value = region({ name, start: start - offset, isFixed, isCode });
      return this.regions.set(start, end, value);
    }
    // What lies in zeroed memory of an object file follows what its file gives.
    const before = op === 'mmap' ? this.regions.at(start)?.value : undefined;
    if (before && !before.isCode) return this.regions.set(start, end, before);
    const counted = `${op} ${thread}`;
    const number = (this.maps.get(counted) ?? 0) + 1;
    this.maps.set(counted, number);
    this.regions.set(start, end, region({ name: `${counted} ${number}`, start, isFixed: true }));
  }

  heapCall(row: EventRow, thread: string): void {
    const op = row.name('op')!;
    const address = row.number('address');
    if (isRelease(op)) return this.heap.remove(address);
    const previous = row.number('previous');
    if (previous !== 0) this.heap.remove(previous);
    if (address === 0) return;
    const number = (this.allocations.get(thread) ?? 0) + 1;
    this.allocations.set(thread, number);
    const name = `heap block ${number} of thread ${thread}`;
    const owner = this.blocks.push({ name, hash: hashOf(name) }) - 1;
    this.heap.add({ address, size: Math.max(row.number('size'), 1), owner });
  }

  /** A number for a value of 8 bytes, given as two words, that is the same for what is the same in both runs. */
  hash(low: number, high: number, stack: StackOf): number {
    if (high >= HIGH_LIMIT) {
      const secret = this.secret(low, high, stack);
      return secret ?? mix(low, high);
    }
    if (high === 0 && low < LOWEST_ADDRESS) return mix(low, 0);
    return this.addressHash(high * 2 ** 32 + low, stack) ?? mix(low, high);
  }

  /** The same of an address; undefined if nothing known lies there. */
  addressHash(address: number, stack: StackOf): number | undefined {
    const block = this.heap.at(address);
    if (block) return mix(this.blocks[block.owner]!.hash, address - block.address);
    const range = this.find(address);
    if (!range) return this.isBelowStack(address) ? this.stackHash(address, stack) : undefined;
    const { hash, start, isFixed, isCode } = range.value;
    const frame = this.isStack(range, stack) ? this.stackHash(address, stack) : undefined;
    if (frame !== undefined) return frame;
    if (isCode && !isFixed) {
      const group = this.code.groupAt(address);
      if (!group) return hash;
      const offset = group.kind === Kind.exact ? address - group.start : 0;
      return mix(group.hash, offset);
    }
    return isFixed ? mix(hash, address - start) : hash;
  }

  /** What a value of 8 bytes is, for people. */
  describe(value: bigint, stack: StackOf): string {
    const plain = value < 0x1000000n ? String(value) : hex(value);
    const [low, high] = [Number(value & 0xffffffffn), Number(value >> 32n)];
    if (high >= HIGH_LIMIT || (high === 0 && low < LOWEST_ADDRESS)) return plain;
    const address = Number(value);
    const block = this.heap.at(address);
    const plus = (offset: number): string => (offset === 0 ? '' : ` + ${offset}`);
    if (block)
      return `${plain} (${this.blocks[block.owner]!.name}${plus(address - block.address)})`;
    const range = this.find(address);
    if (range ? this.isStack(range, stack) : this.isBelowStack(address)) return `${plain} (stack)`;
    return range ? `${plain} (${range.value.name}${plus(address - range.value.start)})` : plain;
  }

  /** Whether it is the address of something. */
  isAddress(value: number): boolean {
    return (
      value >= LOWEST_ADDRESS &&
      (this.find(value) ?? this.heap.at(value) ?? this.isBelowStack(value)) !== false
    );
  }

  private find(address: number) {
    const { last, other } = this;
    if (last && address >= last.start && address < last.end) return last;
    const range =
      other && address >= other.start && address < other.end ? other : this.regions.around(address);
    if (!range) return undefined;
    this.other = last;
    return (this.last = range);
  }

  private isBelowStack(address: number): boolean {
    return address < this.initialStack && address >= this.initialStack - STACK_BYTES;
  }

  private isStack({ start, end }: { start: number; end: number }, stack: StackOf): boolean {
    const top = stack.count > 0 ? stack.stackPointers[stack.count - 1]! : this.initialStack;
    return top >= start && top < end;
  }

  /** By the call that an address on the thread's own stack belongs to; what stands above all of them has no order. */
  private stackHash(address: number, { count, stackPointers, loose }: StackOf): number | undefined {
    let [low, high] = [0, count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (stackPointers[middle]! >= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return ABOVE_STACK;
    const frame = low - 1;
    const offset = loose[frame] ? 0 : stackPointers[frame]! - address;
    return mix(mix(ON_STACK, frame), offset);
  }

  private secret(low: number, high: number, stack: StackOf): number | undefined {
    const { canary, guard } = this;
    if (!canary || !guard) return undefined;
    if (low >>> 0 === canary[0] >>> 0 && high === canary[1]) return CANARY;
    // glibc: rotated to the left by 17 after an exclusive or
    const plainLow = (((low >>> 17) | (high << 15)) ^ guard[0]) >>> 0;
    const plainHigh = (((high >>> 17) | (low << 15)) ^ guard[1]) >>> 0;
    if (plainHigh >= HIGH_LIMIT) return undefined;
    return this.addressHash(plainHigh * 2 ** 32 + plainLow, stack);
  }
}

const region = (of: Omit<Region, 'hash'>): Region => ({ ...of, hash: hashOf(of.name) });

const ON_STACK = hashOf('stack');
const ABOVE_STACK = hashOf('above the stack');
const CANARY = hashOf('canary');
