/**
 * Applies to shadow memory and shadow registers what the recorded events mean for them, and reports the
 * errors that show at events: wrong frees, parameters of system calls, checks that the program asks for,
 * leaks. The rules are Memcheck's. What the program's own instructions do is not seen here; the errors
 * that compiled code detects come in through `report` and are put into words.
 */
import type { Table } from '../../schemas/schema.js';
import {
  blocks,
  client_requests,
  heap,
  mappings,
  memory,
  registers,
  signals,
  slices,
  syscall_enters,
  syscall_exits,
  syscall_memory,
  thread_events,
} from '../../schemas/tables.js';
import {
  ORIGIN_KIND,
  type OriginTag,
  type ShadowMemory,
  type ShadowRegisters,
} from '../../replay/shadow.js';
import type { ShadowEvent, StackMove } from '../../replay/shadow-guest.js';
import type { EventRow, Observer } from '../../replay/types.js';
import type { Finding, FindingStack, Pc } from '../finding.js';
import { ADDRESS_END, AddressSpace, type StackRange } from './address-space.js';
import { ClientRequests } from './client-requests.js';
import {
  creation,
  describe,
  describeMismatch,
  type DescribeContext,
  type Description,
  type Names,
  type ThreadView,
} from './describe.js';
import {
  Heap,
  REDZONE_BYTES,
  type AllocKind,
  type HeapBlock,
  type Moment,
  type QuarantineOptions,
} from './heap.js';
import {
  LEAK_DEFAULTS,
  LeakChecker,
  type LeakCheckMoment,
  type LeakOptions,
  type LeakReport,
  type LeakSearch,
} from './leaks.js';

/** An occurrence, as reported; equal ones are merged elsewhere. `count` is 1, or a leak's blocks. */
export type Found = Omit<Finding, 'process' | 'count' | 'suppressedBy'> & {
  readonly count: number;
};

/** Shadow registers that can also be saved whole; without it, a signal's return makes all defined. */
export interface EventRegisters extends ShadowRegisters {
  /** The shadow of all registers of a thread, to be given to `restoreShadow`. */
  saveShadow?(thread: number): unknown;
  restoreShadow?(thread: number, saved: unknown): void;
}

/** Shadow memory that can also do what mprotect means; without it, it is done byte by byte. */
export interface EventMemory extends ShadowMemory {
  /** What is not accessible of the range becomes defined; what is stays as it is. */
  markDefinedIfNoAccess?(address: bigint, size: bigint): void;
}

export interface MemcheckOptions {
  readonly leaks: LeakOptions;
  readonly quarantine: QuarantineOptions;
  /** `--show-mismatched-frees`. */
  readonly mismatchedFrees: boolean;
}

export const MEMCHECK_DEFAULTS: MemcheckOptions = {
  leaks: LEAK_DEFAULTS,
  quarantine: { volumeBytes: 20_000_000n, bigBlockBytes: 1_000_000n },
  mismatchedFrees: true,
};

/** What the events need of their surroundings. */
export interface EventContext extends Names {
  readonly memory: EventMemory;
  readonly registers: EventRegisters;
  /** Addresses of a call stack of the trace, innermost first; empty for 0. */
  stackOf(stack: number): readonly Pc[];
  found(finding: Found): void;
  /** The call stack of the thread that runs, for errors of which no row gives one. */
  currentStack?(): readonly Pc[];
  /** Frames of a live thread with their stack pointers, innermost first. */
  framesOf?(thread: number): ThreadView['frames'];
  /** The place of an origin of kind `stack`. */
  stackOrigin?(number: number): readonly Pc[];
  /** Whether a suppression hides a leak: then the totals count it as suppressed. */
  isSuppressed?(kind: string, stacks: readonly FindingStack[]): boolean;
  /** Whether anything that counts as an error was found up to now. */
  hasErrors?(): boolean;
  /** Each leak check, whether at the end or asked for by the program. */
  leakChecked?(report: LeakReport, moment: LeakCheckMoment): void;
}

const SYS_EXIT = 60;
const SYS_EXIT_GROUP = 231;
const SIGBUS = 7;
const SIGSEGV = 11;
const STACK_REDZONE_BYTES = 128n;
const PAGE_BYTES = 4096n;
/** The first thread's stack grows to this size at most, as a rule. */
const MAX_STACK_GROWTH_BYTES = 8n << 20n;
/** Valgrind's --max-stackframe: a larger move of the stack pointer goes to another stack. */
const MAX_STACK_FRAME_BYTES = 2_000_000n;
/** Words that the engine writes before and after what it saves in a signal frame. */
const FRAME_BEGIN = 0x31415927;
const FRAME_END = 0x27182818;

/** The counterpart that fits an allocator. */
const ALLOCATORS: Readonly<Record<string, { kind: AllocKind; name: string }>> = {
  malloc: { kind: 'malloc', name: 'malloc' },
  calloc: { kind: 'malloc', name: 'calloc' },
  memalign: { kind: 'malloc', name: 'memalign' },
  realloc: { kind: 'malloc', name: 'realloc' },
  new: { kind: 'new', name: '__builtin_new' },
  new_array: { kind: 'new_array', name: '__builtin_vec_new' },
};
const RELEASERS: Readonly<Record<string, AllocKind>> = {
  free: 'malloc',
  delete: 'new',
  delete_array: 'new_array',
};

/** Part of the range that can be memory of the guest at all: rows are not trusted. */
function clip(address: bigint, size: bigint): [address: bigint, size: bigint] {
  if (address < 0n || address >= ADDRESS_END) return [0n, 0n];
  return [address, size > ADDRESS_END - address ? ADDRESS_END - address : size];
}

/** The first argument that is most likely negative, with its value. */
function fishyArgument(values: Readonly<Record<string, bigint>>): [string, bigint] | undefined {
  const found = Object.entries(values).find(([, value]) => value >= 1n << 63n);
  return found && [found[0], BigInt.asIntN(64, found[1])];
}

interface SignalFrame {
  /** Call stack at the signal: key of `stacks`. */
  readonly stack: number;
  /** Where it lies, once known. */
  address: bigint;
  sizeBytes: bigint;
  readonly saved: unknown;
}

interface ThreadState {
  readonly number: number;
  /** Its registers are known. */
  started: boolean;
  /** Errors of the thread are not reported while it is above 0. */
  disabled: number;
  /** Key of `stacks` of the system call under way. */
  syscallStack: number;
  /** Signal handlers that run, the innermost last. */
  readonly frames: SignalFrame[];
  /** The next full row of registers belongs to a signal. */
  signal: boolean;
}

const text = new TextDecoder();

/** The observer of a replay: give it to the replay's option `observer`. */
export class MemcheckEvents implements Observer {
  readonly tables: readonly Table[] = [
    blocks,
    registers,
    memory,
    syscall_enters,
    syscall_exits,
    syscall_memory,
    heap,
    mappings,
    signals,
    thread_events,
    slices,
    client_requests,
  ];
  readonly heap: Heap;
  readonly space = new AddressSpace();
  readonly leaks: LeakChecker;
  private readonly requests: ClientRequests;
  private readonly threads = new Map<number, ThreadState>();
  /** Threads whose registers hold pointers: live ones, and those that the end of the process ended. */
  private readonly rootThreads = new Set<number>();
  private exiting = false;
  /** Threads whose registers are gone before the last leak check: they called exit. */
  private readonly left = new Set<number>();
  /** The known stack that the stack pointer was in last. */
  private currentStack: StackRange | undefined;
  private readonly describeContext: DescribeContext;
  /** Repeated errors of compiled code, so that their addresses are described once. */
  private readonly known = new Map<string, Found>();

  constructor(
    private readonly context: EventContext,
    private readonly options: MemcheckOptions = MEMCHECK_DEFAULTS,
  ) {
    this.heap = new Heap(options.quarantine);
    this.requests = new ClientRequests(this, context);
    this.describeContext = {
      heap: this.heap,
      space: this.space,
      userBlocks: this.requests.userBlocks,
      threadViews: () => this.threadViews(),
      stackOf: (stack) => context.stackOf(stack),
      functionAt: (pc) => context.functionAt?.(pc),
      dataSymbol: (address) => context.dataSymbol?.(address),
      section: (address) => context.section?.(address),
    };
    this.leaks = new LeakChecker(
      {
        heap: this.heap,
        space: this.space,
        // The replay that has them is made with this observer, so it does not exist yet.
        get memory() {
          return context.memory;
        },
        get registers() {
          return context.registers;
        },
        rootThreads: () => this.rootThreads,
        isIgnored: (address) => this.isIgnored(address) || this.space.isUnreadable(address),
        stackOf: (stack) => context.stackOf(stack),
        isSuppressed: (kind, stacks) => context.isSuppressed?.(kind, stacks) ?? false,
      },
      options.leaks,
    );
  }

  /** Takes in one row, after replay has applied it. */
  applied(row: EventRow): void {
    switch (row.table) {
      case blocks:
        return this.appliedBlock(row);
      case registers:
        return this.appliedRegisters(row);
      case memory:
        return this.appliedMemory(row);
      case syscall_enters:
        this.thread(row).syscallStack = row.u32('stack');
        if (row.u32('number') === SYS_EXIT_GROUP) this.exiting = true;
        if (row.u32('number') === SYS_EXIT_GROUP || row.u32('number') === SYS_EXIT)
          this.left.add(row.u32('thread'));
        return;
      case syscall_exits:
        return this.markRegister(row.u32('thread'), 'RAX');
      case syscall_memory:
        return this.appliedSyscallMemory(row);
      case heap:
        return this.appliedHeap(row);
      case mappings:
        return this.appliedMapping(row);
      case signals:
        return this.appliedSignal(row);
      case thread_events:
        return this.appliedThreadEvent(row);
      case slices:
        return this.space.growStack(row.u32('thread'), row.u64('sp'));
      case client_requests:
        return this.appliedRequest(row);
    }
  }

  /** An error that compiled code detected, in the thread that runs. */
  report(event: ShadowEvent, thread: number): void {
    const { kind, store, use, address, sizeBytes, origin, tick, sp } = event;
    if (this.threadState(thread).disabled > 0) return;
    if (kind === 'no_access' && this.isIgnored(address)) return;
    const [name, what] =
      kind === 'no_access'
        ? store
          ? ['InvalidWrite', `Invalid write of size ${sizeBytes}`]
          : ['InvalidRead', `Invalid read of size ${sizeBytes}`]
        : use === 'condition'
          ? ['UninitCondition', 'Conditional jump or move depends on uninitialised value(s)']
          : ['UninitValue', `Use of uninitialised value of size ${sizeBytes}`];
    const pcs = event.stack();
    const key = `${what} ${pcs.join()}`;
    let found = this.known.get(key);
    if (!found) {
      this.space.growStack(thread, sp);
      const { notes, stacks } =
        kind === 'no_access' ? this.describe(address, sp) : this.originDescription(origin);
      const where = { role: '', pcs };
      found = { kind: name, what, notes, stacks: [where, ...stacks], tick, thread, count: 1 };
      if (this.known.size >= 10_000) this.known.clear();
      this.known.set(key, found);
    }
    this.context.found(found);
  }

  /** What the address is at this moment; `sp` as for `describe` of describe.ts. */
  describe(address: bigint, sp?: bigint): Description {
    this.growStackOver(address);
    return describe(this.describeContext, address, sp);
  }

  /** Questions of the program that Memcheck would have answered otherwise, one sentence each. */
  get unlikeMemcheck(): string[] {
    return this.requests.unlikeMemcheck;
  }

  /**
   * The first stack has reached down to an address if anything was written there or below it: how far its
   * pointer went is only seen now and then.
   */
  private growStackOver(address: bigint): void {
    const first = this.space.stacks.find(({ id }) => id === 0);
    if (!first || address >= first.start || first.start - address > MAX_STACK_GROWTH_BYTES) return;
    const page = address & ~(PAGE_BYTES - 1n);
    for (let below = 0n; below < MAX_STACK_GROWTH_BYTES && below <= page; below += PAGE_BYTES) {
      if (this.space.segment(page - below)) return;
      const bytes = this.context.memory.readMemory(page - below, Number(PAGE_BYTES));
      if (bytes.some((byte) => byte !== 0))
        return this.space.growStack(first.thread, page - below + STACK_REDZONE_BYTES);
    }
  }

  /** The program asked that accesses to this address not be judged. */
  isIgnored(address: bigint): boolean {
    return this.requests.isIgnored(address);
  }

  /** The end of the process: the last leak check, unless it is not wanted. */
  finish(tick: bigint): LeakReport | undefined {
    const { leakCheck } = this.options.leaks;
    if (leakCheck === 'no') return undefined;
    for (const number of this.left) this.rootThreads.delete(number);
    return this.leakCheck({ mode: leakCheck, delta: 'any', tick, thread: 1, atEnd: true });
  }

  leakCheck(moment: LeakCheckMoment): LeakReport {
    this.growStacks();
    const report = this.leaks.check(moment);
    const { tick, thread } = moment;
    for (const record of report.records) {
      if (!record.shown) continue;
      const { kind, what, stacks, blocks: count, bytes, indirectBytes } = record;
      const leak = { bytes, indirectBytes, blocks: count };
      this.found({ kind, what, notes: [], stacks, tick, thread, count, leak });
    }
    this.context.leakChecked?.(report, moment);
    return report;
  }

  /** What is reachable now, and how; undefined when there are no blocks. As `LeakChecker.search`. */
  searchLeaks(isSpilled?: (address: bigint) => boolean): LeakSearch | undefined {
    this.growStacks();
    return this.leaks.search(isSpilled);
  }

  private growStacks(): void {
    for (const number of this.rootThreads) {
      this.space.growStack(number, this.register(number, 'RSP'));
    }
  }

  /** The running thread's stack pointer moved by much: the rules of Memcheck on what that means. */
  moveStackFar(from: bigint, to: bigint): StackMove {
    const { space, heap } = this;
    space.growFirstStack(to);
    const [before, after] = [space.stackAt(from) ?? this.currentStack, space.stackAt(to)];
    this.currentStack = after ?? before;
    const distance = from < to ? to - from : from - to;
    const marks = distance <= MAX_STACK_FRAME_BYTES && (!after || after === before);
    const key = (sp: bigint) =>
      space.stackAt(sp) ?? heap.live.near(sp, 0n) ?? space.segment(sp)?.start;
    return { marks, from: key(from), to: key(to) };
  }

  /** Reports an error, unless the thread asked for none. */
  found(finding: Found): void {
    if ((this.threads.get(finding.thread)?.disabled ?? 0) === 0) this.context.found(finding);
  }

  /** Reports an error at an event whose row has a stack. */
  foundAt(
    moment: Moment,
    kind: string,
    what: string,
    { notes, stacks }: Description = { notes: [], stacks: [] },
    parameter?: string,
  ): void {
    const { tick, thread, stack } = moment;
    const where = { role: '', pcs: this.context.stackOf(stack) };
    this.found({
      kind,
      what,
      notes,
      stacks: [where, ...stacks],
      tick,
      thread,
      count: 1,
      ...(parameter !== undefined && { parameter }),
    });
  }

  /** Where an undefined value came from. */
  originDescription(origin: OriginTag): Description {
    const number = Math.floor(origin / 4);
    const kind = origin % 4;
    if (number === 0) return { notes: [], stacks: [] };
    const pcs =
      kind === ORIGIN_KIND.stack
        ? (this.context.stackOrigin?.(number) ?? [])
        : this.context.stackOf(number);
    return { notes: [], stacks: [{ role: creation(kind), pcs }] };
  }

  /** The origin of what becomes undefined at an event with this stack. `kind` 0 is of no known kind. */
  origin(stack: number, kind: number): OriginTag {
    return stack < 1 << 28 ? stack * 4 + kind : kind;
  }

  /* ---------------------------------------------------------------- heap blocks */

  /** A new block of malloc and its kin, or one that a client request announces. */
  newBlock(
    block: Pick<HeapBlock, 'address' | 'sizeBytes' | 'alignment' | 'kind' | 'op' | 'allocated'>,
    zeroed: boolean,
    table = this.heap.live,
  ): void {
    const [address, size] = clip(block.address, block.sizeBytes);
    this.heap.allocations++;
    this.heap.allocatedBytes += block.sizeBytes;
    this.heap.allocate({ ...block, address, sizeBytes: size }, table);
    const { memory: shadow } = this.context;
    if (zeroed) shadow.markDefined(address, size);
    else {
      const tag = this.origin(block.allocated.stack, ORIGIN_KIND.heap);
      shadow.markUndefined(address, size, tag);
    }
  }

  /** A block is freed by `kind`'s counterpart of an allocator: `free`, `delete`, …, FREELIKE_BLOCK. */
  free(address: bigint, kind: AllocKind, redzoneBytes: bigint, moment: Moment): void {
    this.heap.frees++;
    const block = this.heap.live.get(address);
    if (!block) return this.invalidFree(address, moment);
    this.checkMatch(block, kind, moment);
    this.heap.live.take(address);
    this.retire(block, redzoneBytes, moment);
  }

  /** A block that was taken out of its table is no longer accessible. */
  retire(block: HeapBlock, redzoneBytes: bigint, moment: Moment): void {
    this.markNoAccess(block.address - redzoneBytes, block.sizeBytes + 2n * redzoneBytes);
    this.heap.release(block, moment);
  }

  invalidFree(address: bigint, moment: Moment): void {
    const what = 'Invalid free() / delete / delete[] / realloc()';
    this.foundAt(moment, 'InvalidFree', what, this.describe(address));
  }

  private checkMatch(block: HeapBlock, kind: AllocKind, moment: Moment): void {
    if (block.kind === kind || !this.options.mismatchedFrees) return;
    const what = 'Mismatched free() / delete / delete []';
    const description = describeMismatch(this.describeContext, block);
    this.foundAt(moment, 'MismatchedFree', what, description);
  }

  private appliedHeap(row: EventRow): void {
    const moment = momentOf(row);
    const op = row.name('op') ?? '';
    const address = row.u64('address');
    // The engine passes the result in the register of client requests.
    this.markRegister(moment.thread, 'RDX');
    const releaser = RELEASERS[op];
    if (releaser) return this.free(address, releaser, REDZONE_BYTES, moment);
    const allocator = ALLOCATORS[op];
    if (!allocator) return;
    const sizeBytes = row.u64('size');
    const alignment = row.u64('alignment');
    const fishy =
      op === 'calloc'
        ? fishyArgument({ nmemb: row.u64('count'), size: row.u64('element_size') })
        : fishyArgument({ size: sizeBytes });
    if (fishy) {
      const [argument, value] = fishy;
      const aligned = allocator.kind !== 'malloc' && alignment > 0n ? '_aligned' : '';
      return this.foundAt(
        moment,
        'FishyValue',
        `Argument '${argument}' of function ${allocator.name}${aligned} has a fishy (possibly negative) value: ${value}`,
      );
    }
    const block = { address, sizeBytes, alignment, kind: allocator.kind, op, allocated: moment };
    const previous = row.u64('previous');
    if (op === 'realloc' && previous !== 0n) this.reallocate(previous, block, moment);
    else if (address !== 0n) this.newBlock(block, op === 'calloc');
  }

  private reallocate(
    previous: bigint,
    block: Omit<HeapBlock, 'generation' | 'freed'>,
    moment: Moment,
  ): void {
    const { live } = this.heap;
    const { memory: shadow } = this.context;
    const { address, sizeBytes } = block;
    const old = live.get(previous);
    if (sizeBytes === 0n && address === 0n && old) {
      // Newer engines tell of it; others call it a free.
      this.foundAt(moment, 'ReallocSizeZero', 'realloc() with size 0', this.describe(previous));
      return this.free(previous, 'malloc', REDZONE_BYTES, moment);
    }
    this.heap.frees++;
    this.heap.allocations++;
    this.heap.allocatedBytes += sizeBytes;
    if (old) this.checkMatch(old, 'malloc', moment);
    else this.invalidFree(previous, moment);
    if (address === 0n) return;
    const [to, size] = clip(address, sizeBytes);
    this.heap.allocate({ ...block, address: to, sizeBytes: size });
    const common = !old ? 0n : old.sizeBytes < size ? old.sizeBytes : size;
    shadow.copyShadow(previous, to, common);
    const tag = this.origin(moment.stack, ORIGIN_KIND.heap);
    shadow.markUndefined(to + common, size - common, tag);
    this.markNoAccess(to - REDZONE_BYTES, REDZONE_BYTES);
    this.markNoAccess(to + size, REDZONE_BYTES);
    if (!old) return;
    live.take(previous);
    this.retire(old, REDZONE_BYTES, moment);
  }

  /* ---------------------------------------------------------------- address space */

  private appliedMapping(row: EventRow): void {
    const [address, size] = clip(row.u64('address'), row.u64('size'));
    if (size === 0n) return;
    const { memory: shadow } = this.context;
    const end = address + size;
    const protection = row.u32('protection');
    const [source, sourceSize] = clip(row.u64('source'), size);
    if (source !== 0n) {
      this.space.copy(source, address, size, protection);
      return shadow.copyShadow(source, address, sourceSize);
    }
    switch (row.name('op')) {
      case 'startup':
      case 'mmap':
      case 'mremap': {
        const file = text.decode(row.bytes('file'));
        const kind = file ? 'file' : row.u32('shared') ? 'shared' : 'anonymous';
        this.space.map({ start: address, end, protection, kind, file });
        if (protection) shadow.markDefined(address, size);
        else shadow.markNoAccess(address, size);
        return;
      }
      case 'brk':
        this.space.setBrk(address, end);
        return shadow.markUndefined(address, size, this.origin(row.u32('stack'), 0));
      case 'brk_shrink':
        this.space.setBrk(address, address);
        return shadow.markNoAccess(address, size);
      case 'munmap':
        this.space.unmap(address, end);
        return shadow.markNoAccess(address, size);
      case 'mprotect':
        this.space.protect(address, end, protection);
        // What was not accessible was mapped so, and is as the kernel made it.
        if (protection) this.markDefinedIfNoAccess(address, size);
        return;
    }
  }

  private markDefinedIfNoAccess(address: bigint, size: bigint): void {
    const { memory: shadow } = this.context;
    if (shadow.markDefinedIfNoAccess) return shadow.markDefinedIfNoAccess(address, size);
    if (shadow.firstNoAccess(address, size) === undefined) return;
    const end = address + size;
    let at = address;
    const define = (until: bigint) => {
      if (until > at) shadow.markDefined(at, until - at);
    };
    for (const range of shadow.accessibleRanges()) {
      const from = range.address > at ? range.address : at;
      const to = range.address + range.size < end ? range.address + range.size : end;
      if (from >= to) continue;
      define(from);
      for (at = from; at < to; at++) {
        const next = shadow.firstNoAccess(at, to - at);
        if (next === undefined) break;
        shadow.markDefined(next, 1n);
        at = next;
      }
      at = to;
    }
    define(end);
  }

  private markNoAccess(address: bigint, size: bigint): void {
    const from = address < 0n ? 0n : address;
    this.context.memory.markNoAccess(...clip(from, size - (from - address)));
  }

  private appliedMemory(row: EventRow): void {
    if (row.name('cause') === 'signal') this.appliedFrame(row);
  }

  /* ---------------------------------------------------------------- system calls */

  private appliedSyscallMemory(row: EventRow): void {
    const { memory: shadow, registers: shadowRegisters } = this.context;
    const thread = this.thread(row);
    const moment = { tick: row.u64('tick'), thread: thread.number, stack: thread.syscallStack };
    const direction = row.name('direction') as string | undefined;
    const parameter = text.decode(row.bytes('parameter'));
    if (direction === 'register') {
      const bad = shadowRegisters.firstUndefinedRegister(
        thread.number,
        Number(row.u64('address')),
        Number(row.u64('size')),
      );
      if (!bad) return;
      const what = `Syscall param ${parameter} contains uninitialised byte(s)`;
      const from = this.originDescription(bad.origin);
      return this.foundAt(moment, 'SyscallParam', what, from, parameter);
    }
    const [address, size] = clip(row.u64('address'), row.u64('size'));
    const report = (bad: bigint, accessible = false, origin: OriginTag = 0) => {
      const problem = accessible ? 'uninitialised' : 'unaddressable';
      const what = `Syscall param ${parameter} points to ${problem} byte(s)`;
      const { notes, stacks } = this.describe(bad);
      const from = accessible ? this.originDescription(origin).stacks : [];
      const description = { notes, stacks: [...stacks, ...from] };
      this.foundAt(moment, 'SyscallParam', what, description, parameter);
    };
    // No memory lies there at all.
    const isBeyond = row.u64('address') >= ADDRESS_END && row.u64('size') > 0n;
    if (isBeyond && direction !== 'write') return report(row.u64('address'));
    switch (direction) {
      case 'write':
        return shadow.markDefined(address, size);
      case 'may_write': {
        const bad = shadow.firstNoAccess(address, size);
        if (bad !== undefined) report(bad);
        return;
      }
      case 'read': {
        const bad = shadow.firstUndefined(address, size);
        if (bad) report(bad.address, bad.accessible, bad.origin);
        return;
      }
      case 'read_string': {
        // The row counts what could be read: if that has no end, the byte after it is to blame.
        const bad = shadow.firstUndefinedOfString(address, size + 1n);
        if (bad) report(bad.address, bad.accessible, bad.origin);
        return;
      }
    }
  }

  /* ---------------------------------------------------------------- registers, threads, signals */

  private appliedRegisters(row: EventRow): void {
    const { registers: shadow } = this.context;
    const thread = this.thread(row);
    const first = !thread.started;
    thread.started = true;
    this.rootThreads.add(thread.number);
    if (row.u32('full') && !first && thread.signal) {
      // A signal's registers were dealt with as it was delivered or returned from.
      thread.signal = false;
      return;
    }
    thread.signal = false;
    const changes = row.bytes('changes');
    const view = new DataView(changes.buffer, changes.byteOffset, changes.length);
    for (let at = 0; at + 16 <= changes.length; at += 16) {
      shadow.markRegistersDefined(thread.number, Number(view.getBigUint64(at, true)), 8);
    }
    if (!first) return;
    const sp = this.register(thread.number, 'RSP');
    const isInitial = this.space.stacks.length === 0;
    const stack = this.space.registerThread(thread.number, sp);
    // The first thread's stack is there before it runs; below the pointer nothing is in use.
    if (stack && isInitial) {
      this.markNoAccess(stack.start, sp - STACK_REDZONE_BYTES - stack.start);
    }
  }

  private appliedThreadEvent(row: EventRow): void {
    const { number } = this.thread(row);
    switch (row.name('op')) {
      case 'start':
        this.rootThreads.add(number);
        return;
      case 'exit':
        // Threads that the end of the process ends still hold their pointers.
        if (this.exiting) return;
        this.rootThreads.delete(number);
        this.threads.delete(number);
        for (const stack of this.space.stacks) {
          if (stack.thread === number) this.space.deregisterStack(stack.id);
        }
    }
  }

  private appliedSignal(row: EventRow): void {
    const { registers: shadow } = this.context;
    const thread = this.thread(row);
    const { number } = thread;
    const op = row.name('op');
    if (op === 'deliver' || op === 'fatal') this.checkJump(row);
    // Of the threads that a signal ends no registers are left.
    if (op === 'fatal') for (const other of this.threads.keys()) this.left.add(other);
    if (op === 'deliver') {
      thread.signal = true;
      const saved = shadow.saveShadow?.(number);
      thread.frames.push({ stack: row.u32('stack'), address: 0n, sizeBytes: 0n, saved });
      for (const name of ['RSP', 'RIP', 'RDI', 'RSI', 'RDX']) this.markRegister(number, name);
    } else if (op === 'return') {
      thread.signal = true;
      // Its registers are not yet those restored: the pointer stands above the return address.
      const address = this.register(number, 'RSP') - 8n;
      let at = thread.frames.findLastIndex((frame) => frame.address === address);
      if (at < 0) at = thread.frames.length - 1;
      const [frame] = thread.frames.splice(Math.max(at, 0));
      if (!frame) {
        thread.signal = false;
        return;
      }
      this.markNoAccess(frame.address - STACK_REDZONE_BYTES, frame.sizeBytes + STACK_REDZONE_BYTES);
      if (frame.saved !== undefined) shadow.restoreShadow?.(number, frame.saved);
      else thread.signal = false;
    }
  }

  /** The engine wrote a signal frame: what the program may know of it, then what the engine saves. */
  private appliedFrame(row: EventRow): void {
    const { memory: shadow } = this.context;
    const address = row.u64('address');
    const bytes = row.bytes('bytes');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const place = (word: number, from: number) => {
      for (let at = from; at + 4 <= bytes.length; at += 4) {
        if (view.getUint32(at, true) === word) return at;
      }
      return -1;
    };
    const begin = place(FRAME_BEGIN, 0);
    const end = begin < 0 ? -1 : place(FRAME_END, begin);
    const known = BigInt(begin < 0 ? 0 : begin);
    const size = end < 0 ? known : BigInt((end + 4 + 7) & ~7);
    // Memcheck leaves out as much at the end as it takes in of the red zone before it.
    const frame = this.thread(row).frames.find((waiting) => waiting.address === 0n);
    const [from, length] = clip(address - STACK_REDZONE_BYTES, size);
    shadow.markUndefined(from, length, this.origin(frame?.stack ?? 0, 0));
    shadow.markDefined(...clip(address, known));
    if (frame) Object.assign(frame, { address, sizeBytes: size });
  }

  private appliedBlock(row: EventRow): void {
    const address = row.u64('address');
    const bad = this.context.memory.firstUndefined(address, 1n);
    if (!bad) return;
    const pcs = this.context.currentStack?.() ?? [address];
    this.invalidJump(address, pcs, row.u64('tick'), row.u32('thread'));
  }

  /** A fault of fetching an instruction where there is none. */
  private checkJump(row: EventRow): void {
    const signal = row.u32('signal');
    const pc = row.u64('pc');
    if (signal !== SIGSEGV && signal !== SIGBUS) return;
    const isCode = pc < ADDRESS_END && this.context.memory.firstNoAccess(pc, 1n) === undefined;
    if (isCode) return;
    const { tick, thread, stack } = momentOf(row);
    this.invalidJump(pc, this.context.stackOf(stack), tick, thread);
  }

  private invalidJump(address: bigint, pcs: readonly Pc[], tick: bigint, thread: number): void {
    const { notes, stacks } = this.describe(address);
    this.found({
      kind: 'InvalidJump',
      what: 'Jump to the invalid address stated on the next line',
      notes,
      stacks: [{ role: '', pcs }, ...stacks],
      tick,
      thread,
      count: 1,
    });
  }

  private appliedRequest(row: EventRow): void {
    this.markRegister(row.u32('thread'), 'RDX');
    this.requests.apply(row, momentOf(row));
  }

  /** Errors of the thread are disabled once more, or once less. */
  changeDisablement(thread: number, by: number): void {
    const state = this.threadState(thread);
    state.disabled = Math.max(0, state.disabled + by);
  }

  private thread(row: EventRow): ThreadState {
    return this.threadState(row.u32('thread'));
  }

  private threadState(number: number): ThreadState {
    let state = this.threads.get(number);
    if (!state) {
      state = {
        number,
        started: false,
        disabled: 0,
        syscallStack: 0,
        frames: [],
        signal: false,
      };
      this.threads.set(number, state);
    }
    return state;
  }

  private register(thread: number, name: string): bigint {
    const { registers: shadow } = this.context;
    return shadow.readRegister(thread, shadow.registerOffset(name));
  }

  private markRegister(thread: number, name: string): void {
    const { registers: shadow } = this.context;
    shadow.markRegistersDefined(thread, shadow.registerOffset(name), 8);
  }

  private *threadViews(): Generator<ThreadView> {
    for (const thread of [...this.rootThreads].sort((a, b) => a - b)) {
      const frames = this.context.framesOf?.(thread);
      yield { thread, sp: this.register(thread, 'RSP'), ...(frames && { frames }) };
    }
  }
}

export function momentOf(row: EventRow): Moment {
  return { tick: row.u64('tick'), thread: row.u32('thread'), stack: row.u32('stack') };
}
