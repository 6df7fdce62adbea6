/**
 * The requests of memcheck.h and valgrind.h that change what Memcheck knows or make it check: memory
 * pools and custom allocators, access and definedness, named blocks, ranges that are not judged, leak
 * checks, stacks. A part of `events.ts`.
 */
import { hex } from '../../schemas/numbers.js';
import { REQUEST_NAMES } from '../../schemas/requests.js';
import { ORIGIN_KIND } from '../../replay/shadow.js';
import type { EventRow } from '../../replay/types.js';
import { ADDRESS_END } from './address-space.js';
import type { UserBlock } from './describe.js';
import type { EventContext, MemcheckEvents } from './events.js';
import { BlockTable, type HeapBlock, type Mempool, type Moment } from './heap.js';

const U32 = 0xffffffffn;
/** Flags of CREATE_MEMPOOL_EXT. */
const AUTO_FREE = 1n;
const METAPOOL = 2n;
/** As much as GET_VBITS and SET_VBITS copy at once, in bytes. */
const VBITS_LIMIT = 1n << 28n;

/** Answers to GET_VBITS and SET_VBITS. */
const BITS_COPIED = 1n;
const BITS_NOT_ACCESSIBLE = 3n;

/** Answers to GET_VBITS that are kept. */
const GOT_BITS_LIMIT = 64;

/** Requests that the recorder answered otherwise than Memcheck would have. */
interface OtherAnswers {
  count: number;
  readonly first: bigint;
}

interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

export class ClientRequests {
  /** By the number that the program got for it. */
  private readonly namedBlocks: (UserBlock | undefined)[] = [];
  /** Answers to GET_VBITS: where they were to go, and what stood there. */
  private readonly gotBits: { address: bigint; contents: Uint8Array; bits: Uint8Array }[] = [];
  /** In rising order, without overlap. */
  private ignored: Range[] = [];
  private readonly otherAnswers = new Map<string, OtherAnswers>();

  constructor(
    private readonly events: MemcheckEvents,
    private readonly context: EventContext,
  ) {}

  /** Blocks that the program named. */
  readonly userBlocks: Iterable<UserBlock> = {
    [Symbol.iterator]: () =>
      this.namedBlocks.filter((block) => block !== undefined)[Symbol.iterator](),
  };

  /**
   * What Memcheck would have answered otherwise than the recorder, which knows of no errors: one sentence
   * for each kind of request. The program may have gone another way for it.
   */
  get unlikeMemcheck(): string[] {
    return [...this.otherAnswers].map(
      ([name, { count, first }]) =>
        `what the program does when Memcheck answers VALGRIND_${name}: ${count} times, first at tick ${first}, ` +
        'it was answered as if nothing were wrong, which Memcheck would not have said.',
    );
  }

  private answeredOtherwise(name: string, { tick }: Moment): void {
    const known = this.otherAnswers.get(name);
    if (known) known.count++;
    else this.otherAnswers.set(name, { count: 1, first: tick });
  }

  isIgnored(address: bigint): boolean {
    const { ignored } = this;
    if (ignored.length === 0) return false;
    return ignored.some(({ start, end }) => start <= address && address < end);
  }

  apply(row: EventRow, moment: Moment): void {
    const { events, context } = this;
    const { memory } = context;
    const a = row.u64('arg1');
    const b = row.u64('arg2');
    const c = row.u64('arg3');
    const d = row.u64('arg4');
    const size = a >= ADDRESS_END ? 0n : b > ADDRESS_END - a ? ADDRESS_END - a : b;
    const name = REQUEST_NAMES.get(row.u32('code'));
    switch (name) {
      case 'MAKE_MEM_NOACCESS':
        return memory.markNoAccess(a, size);
      case 'MAKE_MEM_UNDEFINED':
        return memory.markUndefined(a, size, events.origin(moment.stack, ORIGIN_KIND.request));
      case 'MAKE_MEM_DEFINED':
        return memory.markDefined(a, size);
      case 'MAKE_MEM_DEFINED_IF_ADDRESSABLE':
        return memory.markDefinedIfAccessible(a, size);
      case 'CHECK_MEM_IS_ADDRESSABLE': {
        const bad = a >= ADDRESS_END && b > 0n ? a : memory.firstNoAccess(a, size);
        if (bad !== undefined) this.failedCheck(bad, moment);
        if ((bad ?? 0n) !== row.u64('result')) this.answeredOtherwise(name, moment);
        return;
      }
      case 'CHECK_MEM_IS_DEFINED': {
        const bad = this.checkDefined(a, a >= ADDRESS_END ? b : size, moment);
        if ((bad ?? 0n) !== row.u64('result')) this.answeredOtherwise(name, moment);
        return;
      }
      case 'GET_VBITS': {
        const answer = this.canCopyBits(a, b, c) ? BITS_COPIED : BITS_NOT_ACCESSIBLE;
        const areDefined = answer !== BITS_COPIED || this.getBits(a, b, Number(c));
        if (answer !== row.u64('result') || !areDefined) this.answeredOtherwise(name, moment);
        return;
      }
      case 'SET_VBITS':
        if (this.canCopyBits(a, b, c)) {
          const bits = this.bitsAt(b, Number(c));
          memory.setUndefinedBits(a, bits, events.origin(moment.stack, ORIGIN_KIND.request));
        } else if (row.u64('result') !== BITS_NOT_ACCESSIBLE) this.answeredOtherwise(name, moment);
        return;
      case 'COUNT_LEAKS':
      case 'COUNT_LEAK_BLOCKS':
        if (events.leaks.hasCounted) this.answeredOtherwise(name, moment);
        return;
      case 'COUNT_ERRORS':
        if (context.hasErrors?.()) this.answeredOtherwise(name, moment);
        return;
      case 'CREATE_BLOCK':
        return this.createBlock(a, b, row, moment.stack);
      case 'DISCARD':
        if (b < BigInt(this.namedBlocks.length)) this.namedBlocks[Number(b)] = undefined;
        return;
      case 'DISABLE_ADDR_ERROR_REPORTING_IN_RANGE':
        if (b > 0n) this.ignore(a, size, true);
        return;
      case 'ENABLE_ADDR_ERROR_REPORTING_IN_RANGE':
        if (b > 0n) this.ignore(a, size, false);
        return;
      case 'CHANGE_ERR_DISABLEMENT':
        return events.changeDisablement(moment.thread, Number(BigInt.asIntN(32, a)));
      case 'DO_LEAK_CHECK': {
        const mode = a === 1n ? 'summary' : 'full';
        const delta = b === 1n ? 'increased' : b === 2n ? 'changed' : 'any';
        const { tick, thread } = moment;
        events.leakCheck({ mode, delta, tick, thread, atEnd: false });
        return;
      }
      case 'MEMCHECK_RECORD_OVERLAP_ERROR':
        return this.overlap(row, moment, b, c, d);
      case 'STACK_REGISTER':
        events.space.registerStack(a, b);
        return;
      case 'STACK_DEREGISTER':
        return events.space.deregisterStack(Number(a & U32));
      case 'STACK_CHANGE':
        return events.space.changeStack(Number(a & U32), b, c);
    }
    this.applyAllocation(row, moment, [a, b, c, d]);
  }

  private applyAllocation(
    row: EventRow,
    moment: Moment,
    [a, b, c, d]: readonly [bigint, bigint, bigint, bigint],
  ): void {
    const { events } = this;
    const { heap } = events;
    const code = REQUEST_NAMES.get(row.u32('code'));
    switch (code) {
      case 'MALLOCLIKE_BLOCK':
        if (a === 0n) return;
        events.newBlock(custom(a, b, 'malloclike', moment), d !== 0n);
        return this.guard(a, b, c & U32);
      case 'RESIZEINPLACE_BLOCK':
        if (a !== 0n) this.resizeInPlace(a, b, c, d & U32, moment);
        return;
      case 'FREELIKE_BLOCK':
        if (a !== 0n) events.free(a, 'custom', b & U32, moment);
        return;
      case 'CREATE_MEMPOOL':
        if (heap.pools.has(a)) return;
        heap.pools.set(a, {
          address: a,
          redzoneBytes: b & U32,
          zeroed: c !== 0n,
          autoFree: (d & AUTO_FREE) !== 0n,
          metapool: (d & METAPOOL) !== 0n,
          blocks: new BlockTable(),
        });
        return;
    }
    if (!code?.includes('MEMPOOL') || code === 'MEMPOOL_EXISTS') return;
    const pool = heap.pools.get(a);
    if (!pool) {
      const what = 'Illegal memory pool address';
      return events.foundAt(moment, 'InvalidMemPool', what, events.describe(a));
    }
    switch (code) {
      case 'DESTROY_MEMPOOL':
        return this.destroyPool(pool, moment);
      case 'MEMPOOL_ALLOC': {
        const size = c & U32;
        events.newBlock(custom(b, size, 'mempool', moment), pool.zeroed, pool.blocks);
        return this.guard(b, size, pool.redzoneBytes);
      }
      case 'MEMPOOL_FREE':
        return this.freeInPool(pool, b, moment);
      case 'MEMPOOL_TRIM':
        return this.trimPool(pool, b, c & U32, moment);
      case 'MOVE_MEMPOOL':
        heap.pools.delete(a);
        pool.address = b;
        heap.pools.set(b, pool);
        return;
      case 'MEMPOOL_CHANGE': {
        const block = pool.blocks.take(b);
        if (!block) return events.invalidFree(b, moment);
        block.address = c;
        block.sizeBytes = d & U32;
        return pool.blocks.add(block);
      }
    }
  }

  /** Redzones on both sides of a custom allocator's block. */
  private guard(address: bigint, sizeBytes: bigint, redzoneBytes: bigint): void {
    if (redzoneBytes === 0n || address < redzoneBytes) return;
    this.context.memory.markNoAccess(address - redzoneBytes, redzoneBytes);
    this.context.memory.markNoAccess(address + sizeBytes, redzoneBytes);
  }

  private resizeInPlace(
    address: bigint,
    oldSize: bigint,
    newSize: bigint,
    redzoneBytes: bigint,
    moment: Moment,
  ): void {
    const { events } = this;
    const { memory } = this.context;
    const { live } = events.heap;
    const block = live.get(address);
    if (block?.sizeBytes !== oldSize || newSize === 0n || newSize >= ADDRESS_END) {
      return events.invalidFree(address, moment);
    }
    if (oldSize === newSize) return;
    live.resize(block, newSize);
    if (newSize < oldSize) {
      memory.markNoAccess(address + newSize, oldSize - newSize + redzoneBytes);
    } else {
      const origin = events.origin(moment.stack, ORIGIN_KIND.heap);
      memory.markUndefined(address + oldSize, newSize - oldSize, origin);
      if (redzoneBytes > 0n) memory.markNoAccess(address + newSize, redzoneBytes);
    }
  }

  private destroyPool(pool: Mempool, moment: Moment): void {
    const { heap } = this.events;
    heap.pools.delete(pool.address);
    for (const block of pool.blocks) {
      this.closeOff(block, pool.redzoneBytes);
      heap.discard(block, moment);
    }
  }

  private closeOff({ address, sizeBytes }: HeapBlock, redzoneBytes: bigint): void {
    const from = address > redzoneBytes ? address - redzoneBytes : 0n;
    this.context.memory.markNoAccess(from, address - from + sizeBytes + redzoneBytes);
  }

  private freeInPool(pool: Mempool, address: bigint, moment: Moment): void {
    const { events } = this;
    const { live } = events.heap;
    const block = pool.blocks.take(address);
    if (!block) return events.invalidFree(address, moment);
    if (pool.autoFree) {
      const end = block.address + block.sizeBytes;
      const inside = [...live].filter(
        (inner) => inner.address >= block.address && inner.address + inner.sizeBytes <= end,
      );
      for (const inner of inside) {
        live.take(inner.address);
        events.retire(inner, pool.redzoneBytes, moment);
      }
    }
    events.retire(block, pool.redzoneBytes, moment);
  }

  /** Of the pool's blocks only what lies in the range is kept. */
  private trimPool(pool: Mempool, address: bigint, size: bigint, moment: Moment): void {
    const { memory } = this.context;
    const contains = (at: bigint) => address <= at && at < address + size;
    for (const block of [...pool.blocks]) {
      const first = block.address;
      const last = block.sizeBytes === 0n ? first : first + block.sizeBytes - 1n;
      if (contains(first) && contains(last)) continue;
      pool.blocks.take(first);
      if (!contains(first) && !contains(last)) {
        this.events.retire(block, pool.redzoneBytes, moment);
        continue;
      }
      // As Memcheck computes it, which takes the range's size for the block's.
      const [min, low] = first < address ? [first, address] : [address, first];
      const [high, max] =
        first > address ? [address + size, first + size] : [first + size, address + size];
      if (min < low && !contains(min)) memory.markNoAccess(min, low - min);
      if (high < max && !contains(max)) memory.markNoAccess(high, max - high);
      block.address = low;
      block.sizeBytes = high > low ? (high - low) & U32 : 0n;
      pool.blocks.add(block);
    }
  }

  /** Gives the first address that is not defined, if any. */
  private checkDefined(address: bigint, size: bigint, moment: Moment): bigint | undefined {
    const { memory } = this.context;
    const isBeyond = address >= ADDRESS_END && size > 0n;
    const noAccess = isBeyond ? address : memory.firstNoAccess(address, size);
    const accessible = noAccess === undefined ? size : noAccess - address;
    const bad = isBeyond ? undefined : memory.firstUndefined(address, accessible);
    if (bad) this.failedCheck(bad.address, moment, bad.origin);
    if (noAccess !== undefined) this.failedCheck(noAccess, moment);
    return bad?.address ?? noAccess;
  }

  /** `origin` is given for memory that is accessible but not defined. */
  private failedCheck(address: bigint, moment: Moment, origin?: number): void {
    const { events } = this;
    const problem = origin === undefined ? 'Unaddressable' : 'Uninitialised';
    const what = `${problem} byte(s) found during client check request`;
    const { notes, stacks } = events.describe(address);
    const from = origin === undefined ? [] : events.originDescription(origin).stacks;
    events.foundAt(moment, 'ClientCheck', what, { notes, stacks: [...stacks, ...from] });
  }

  /**
   * Memcheck would have written the bits, which nobody knew while recording: they are kept here.
   * Tells whether all are defined.
   */
  private getBits(address: bigint, to: bigint, size: number): boolean {
    const { memory } = this.context;
    const bits = memory.undefinedBits(address, size) ?? new Uint8Array(size);
    memory.markDefined(to, BigInt(size));
    const contents = memory.readMemory(to, size);
    this.gotBits.push({ address: to, contents, bits });
    if (this.gotBits.length > GOT_BITS_LIMIT) this.gotBits.shift();
    return bits.every((byte) => byte === 0);
  }

  /** What the program has at an address as definedness bits: what it got there, unless it changed that. */
  private bitsAt(address: bigint, size: number): Uint8Array {
    const now = this.context.memory.readMemory(address, size);
    const got = this.gotBits.findLast(
      (range) =>
        range.address <= address &&
        address + BigInt(size) <= range.address + BigInt(range.bits.length),
    );
    if (!got) return now;
    const from = Number(address - got.address);
    return now.map((byte, i) => (byte === got.contents[from + i] ? got.bits[from + i]! : byte));
  }

  private canCopyBits(address: bigint, bits: bigint, size: bigint): boolean {
    const { memory } = this.context;
    if (size > VBITS_LIMIT || address >= ADDRESS_END || bits >= ADDRESS_END) return false;
    return (
      memory.firstNoAccess(address, size) === undefined &&
      memory.firstNoAccess(bits, size) === undefined
    );
  }

  private createBlock(address: bigint, sizeBytes: bigint, row: EventRow, stack: number): void {
    if (address === 0n || sizeBytes === 0n) return;
    const text = new TextDecoder().decode(row.bytes('text'));
    const free = this.namedBlocks.indexOf(undefined);
    const number = free < 0 ? this.namedBlocks.length : free;
    this.namedBlocks[number] = { address, sizeBytes, text, stack };
  }

  private ignore(start: bigint, size: bigint, ignore: boolean): void {
    const end = start + size;
    const rest = this.ignored.flatMap((range) => [
      ...(range.start < start ? [{ ...range, end: range.end < start ? range.end : start }] : []),
      ...(range.end > end ? [{ ...range, start: range.start > end ? range.start : end }] : []),
    ]);
    this.ignored = ignore ? [...rest, { start, end }] : rest;
  }

  private overlap(
    row: EventRow,
    moment: Moment,
    destination: bigint,
    source: bigint,
    size: bigint,
  ): void {
    const name = new TextDecoder().decode(row.bytes('text'));
    const operands = [hex(destination), hex(source), ...(size ? [size] : [])].join(', ');
    const what = `Source and destination overlap in ${name}(${operands})`;
    this.events.foundAt(moment, 'Overlap', what);
  }
}

function custom(
  address: bigint,
  sizeBytes: bigint,
  op: string,
  allocated: Moment,
): Omit<HeapBlock, 'generation' | 'freed'> {
  return { address, sizeBytes, alignment: 0n, kind: 'custom', op, allocated };
}
