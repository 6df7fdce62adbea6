/**
 * What lies in a line of memory: global variables, parts of heap blocks, stacks of threads. Heap blocks come and go, so a
 * line can be several _places_ in the course of time: one for each set of blocks that lie in it, told apart by where they
 * were allocated and which part of them it is.
 */
import { LINE_BYTES } from '../../replay/line-filter.js';
import type { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import { hex } from '../../schemas/numbers.js';
import { isRelease, stacks } from '../../schemas/tables.js';
import { HeapMap } from '../cache/heap-map.js';
import type { SharedLines } from './shared-lines.js';

/** Heap blocks begin at multiples of this. */
const UNIT_BYTES = 16;

interface BlockPart {
  /** Bytes of the line that it has: from this one on and before the other. */
  readonly from: number;
  readonly to: number;
  /** Call stack of the allocation. */
  readonly stack: number;
  readonly size: number;
  /** Where the line begins in the block, in bytes; negative if the block begins in the line. */
  readonly offset: number;
}

export interface Place {
  /** Number of the line. */
  readonly number: number;
  /** Its address divided by `LINE_BYTES`. */
  readonly line: number;
  readonly blocks: readonly BlockPart[];
}

/** A variable or block, and where in it. */
export interface NamedPlace {
  /** Without the offset. */
  readonly name: string;
  readonly offset: number;
  /** Call stack of the allocation of a heap block; 0 of other memory. */
  readonly stack: number;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** The main thread's stack grows to at most so many bytes, and has so many above its first frame. */
const MAIN_STACK = { below: 8 << 20, above: 1 << 20 };

export class Places {
  /** By number. */
  readonly all: Place[] = [];
  private readonly numbers = new Map<string, number>();
  /** By number of a shared line: its place now, or -1 if that is not known. */
  private readonly now: Int32Array;
  private readonly blocks = new HeapMap();
  private readonly sizes = new Map<number, number>();
  private anonymous: Range[] = [];
  private readonly stacks = new Map<number, Range>();

  constructor(private readonly lines: SharedLines) {
    this.now = new Int32Array(lines.lines.length).fill(-1);
  }

  /** The number of the place that a shared line is now. */
  at(number: number): number {
    const known = this.now[number]!;
    return known >= 0 ? known : this.find(number);
  }

  private find(number: number): number {
    const line = this.lines.lines[number]!;
    const blocks: BlockPart[] = [];
    for (let byte = 0; byte < LINE_BYTES; byte += UNIT_BYTES) {
      const block = this.blocks.at(line * LINE_BYTES + byte);
      const offset = block ? line * LINE_BYTES - block.address : 0;
      const last = blocks.at(-1);
      if (!block || (last && last.offset === offset)) continue;
      const to = Math.min(LINE_BYTES, block.size - offset);
      const { owner: stack, size } = block;
      blocks.push({ from: Math.max(-offset, 0), to, stack, size, offset });
    }
    const key = [
      line,
      ...blocks.map(({ from, stack, size, offset }) => `${from} ${stack} ${size} ${offset}`),
    ].join();
    let place = this.numbers.get(key);
    if (place === undefined) {
      place = this.all.push({ number, line, blocks }) - 1;
      this.numbers.set(key, place);
    }
    this.now[number] = place;
    return place;
  }

  /** Takes in a row of `heap`. */
  heapCall(row: EventRow): void {
    const op = row.name('op')!;
    const address = row.number('address');
    if (isRelease(op)) {
      if (row.u32('known')) this.end(address);
      return;
    }
    if (address === 0) return;
    const previous = row.number('previous');
    if (previous !== 0) this.end(previous);
    const size = row.number('size');
    this.blocks.add({ address, size, owner: row.u32('stack') });
    this.sizes.set(address, size);
    this.change(address, size);
  }

  private end(address: number): void {
    this.blocks.remove(address);
    this.change(address, this.sizes.get(address) ?? 0);
    this.sizes.delete(address);
  }

  private change(address: number, size: number): void {
    if (size > 0) this.lines.eachIn(address, size, (number) => (this.now[number] = -1));
  }

  /** Takes in a row of `mappings`. */
  mapping(row: EventRow): void {
    const op = row.name('op');
    if (op === 'mprotect' || op === 'brk' || op === 'brk_shrink') return;
    const start = row.number('address');
    const end = start + row.number('size');
    this.anonymous = this.anonymous.filter((range) => range.end <= start || range.start >= end);
    if (op !== 'munmap' && row.bytes('file').length === 0) this.anonymous.push({ start, end });
  }

  /** A thread runs, with a stack pointer. */
  run(thread: number, sp: number): void {
    if (this.stacks.has(thread)) return;
    const mapped = this.anonymous.find(({ start, end }) => sp >= start && sp < end);
    const { below, above } = MAIN_STACK;
    this.stacks.set(thread, mapped ?? { start: sp - below, end: sp + above });
  }

  /** The names of what lies at offsets of places. */
  namer(trace: Trace, process: number, symbols: Symbols): (place: Place, at: number) => NamedPlace {
    const wanted = new Set(this.all.flatMap(({ blocks }) => blocks.map(({ stack }) => stack)));
    const allocators = new Map<number, string>();
    for (const { stack, pcs } of trace.rows(stacks, process)) {
      if (!wanted.has(stack) || allocators.has(stack)) continue;
      const list = new BigUint64Array(Uint8Array.from(pcs).buffer);
      const frames = symbols.stack([...list]);
      // The allocator's wrapper is innermost.
      const own = frames.find(({ fn, module }) => fn && !/\/vgpreload_[^/]*$/.test(module));
      const by = own ? `${own.fn} (${own.file || '???'}:${own.line})` : '???';
      allocators.set(stack, by);
    }
    return ({ line, blocks }, at) => {
      const address = line * LINE_BYTES + at;
      const block = blocks.find(({ from, to }) => at >= from && at < to);
      if (block) {
        const { stack, size, offset } = block;
        const name = `block of ${size} bytes allocated by ${allocators.get(stack) ?? '???'}`;
        return { name, offset: offset + at, stack };
      }
      const variable = symbols.variable(BigInt(address));
      if (variable) return { name: variable.name, offset: Number(variable.offset), stack: 0 };
      for (const [thread, { start, end }] of this.stacks)
        if (address >= start && address < end)
          return { name: `stack of thread #${thread}`, offset: address - start, stack: 0 };
      const section = symbols.section(BigInt(address));
      const name = section ? `${hex(address)} in ${section.name}` : hex(address);
      return { name, offset: 0, stack: 0 };
    };
  }
}
