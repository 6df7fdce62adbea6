/**
 * Says what an address is, in the sentences and in the order of preference of Valgrind: a block that
 * the program named, a heap block, a stack, a segment.
 */
import { ORIGIN_KIND } from '../../replay/shadow.js';
import { formatCount, hex } from '../../schemas/numbers.js';
import type { FindingStack, Pc } from '../finding.js';
import type { AddressSpace } from './address-space.js';
import { isNear, REDZONE_BYTES, type Heap, type HeapBlock } from './heap.js';

/** A block that the program described by the client request CREATE_BLOCK. */
export interface UserBlock {
  readonly address: bigint;
  readonly sizeBytes: bigint;
  readonly text: string;
  /** Call stack of the request: key of `stacks`. */
  readonly stack: number;
}

/** A thread as it stands: the innermost frame first. */
export interface ThreadView {
  readonly thread: number;
  readonly sp: bigint;
  /** Stack pointer and place of each frame, where known. */
  readonly frames?: readonly { readonly pc: Pc; readonly sp: bigint }[];
}

/** What can be known of names; each may be left out. */
export interface Names {
  /** The function of an instruction: its name, its file and the line of its first instruction. */
  functionAt?(pc: Pc): { name?: string; file?: string; line?: number } | undefined;
  /** The variable of a symbol table that holds the address. */
  dataSymbol?(address: bigint): { name: string; offset: bigint } | undefined;
  /** The section of an object file that holds the address. */
  section?(
    address: bigint,
  ): { kind: 'Text' | 'Data' | 'BSS' | 'GOT' | 'PLT' | 'GOTPLT'; path: string } | undefined;
}

export interface DescribeContext extends Names {
  readonly heap: Heap;
  readonly space: AddressSpace;
  readonly userBlocks: Iterable<UserBlock>;
  /** Live threads in rising order. */
  threadViews(): Iterable<ThreadView>;
  stackOf(stack: number): readonly Pc[];
}

export interface Description {
  /** Sentences that have no stack. */
  readonly notes: readonly string[];
  readonly stacks: readonly FindingStack[];
}

/** Below the stack pointer but no farther than this, an access may be a compiler's red zone. */
const JUST_BELOW_BYTES = 1024n;
/** A frame that seems larger is no frame. */
const LARGEST_FRAME_BYTES = 0x4000000n;
const STACK_REDZONE_BYTES = 128n;

/** Where an address lies in relation to a block, and what kind of block it is. */
function blockSentence(
  address: bigint,
  block: { readonly address: bigint; readonly sizeBytes: bigint },
  noun: string,
  state: string,
): string {
  const { address: start, sizeBytes } = block;
  const [distance, relation] =
    address < start
      ? [start - address, 'before']
      : address >= start + sizeBytes
        ? [address - start - sizeBytes, 'after']
        : [address - start, 'inside'];
  return `Address ${hex(address)} is ${formatCount(distance)} bytes ${relation} a ${noun} of size ${formatCount(sizeBytes)} ${state}`;
}

/** Says what made a value undefined, by the kind of its origin. */
export function creation(kind: number): string {
  const by =
    kind === ORIGIN_KIND.stack
      ? ' by a stack allocation'
      : kind === ORIGIN_KIND.heap
        ? ' by a heap allocation'
        : kind === ORIGIN_KIND.request
          ? ' by a client request'
          : '';
  return `Uninitialised value was created${by}`;
}

/**
 * Describes an address at this moment. `sp` is given for an access by the program itself: the stack
 * pointer of the thread that made it.
 */
export function describe(context: DescribeContext, address: bigint, sp?: bigint): Description {
  return (
    describeUserBlock(context, address) ??
    describePoolBlock(context, address, false) ??
    describeLive(context, address) ??
    describeFreed(context, context.heap.freedNear(address), address) ??
    describePoolBlock(context, address, true) ??
    describeSymbol(context, address) ??
    describeStack(context, address) ??
    describeFreed(context, context.heap.formerBlocks(address)[0], address) ??
    describeSection(context, address) ??
    describeBelowStack(context, address) ??
    describeSegment(context.space, address) ?? {
      notes: [
        sp !== undefined && isJustBelow(sp, address)
          ? `Address ${hex(address)} is just below the stack ptr.  To suppress, use: --workaround-gcc296-bugs=yes`
          : `Address ${hex(address)} is not stack'd, malloc'd or (recently) free'd`,
      ],
      stacks: [],
    }
  );
}

/** Describes the live block that the wrong allocator's counterpart was called for. */
export function describeMismatch(context: DescribeContext, block: HeapBlock): Description {
  return (
    describeUserBlock(context, block.address) ??
    blockDescription(context, block, block.address, 'block', "alloc'd")
  );
}

function blockDescription(
  { stackOf }: DescribeContext,
  block: HeapBlock,
  address: bigint,
  noun: string,
  state: string,
): Description {
  const role = blockSentence(address, block, noun, state);
  return { notes: [], stacks: [{ role, pcs: stackOf(block.allocated.stack) }] };
}

function describeUserBlock(
  { userBlocks, stackOf }: DescribeContext,
  address: bigint,
): Description | undefined {
  for (const block of userBlocks) {
    if (address < block.address || address >= block.address + block.sizeBytes) continue;
    const role = blockSentence(address, block, block.text, 'client-defined');
    return { notes: [], stacks: [{ role, pcs: stackOf(block.stack) }] };
  }
  return undefined;
}

function describePoolBlock(
  context: DescribeContext,
  address: bigint,
  metapool: boolean,
): Description | undefined {
  const block = context.heap.poolBlockNear(address, metapool);
  return block && blockDescription(context, block, address, 'block', 'client-defined');
}

function describeLive(context: DescribeContext, address: bigint): Description | undefined {
  const { heap } = context;
  const block = heap.live.near(address, REDZONE_BYTES);
  if (!block) return undefined;
  const noun = heap.freedNear(address) ? 'recently re-allocated block' : 'block';
  return blockDescription(context, block, address, noun, "alloc'd");
}

function describeFreed(
  { stackOf }: DescribeContext,
  block: HeapBlock | undefined,
  address: bigint,
): Description | undefined {
  if (!block?.freed || !isNear(block, address, REDZONE_BYTES)) return undefined;
  return {
    notes: [],
    stacks: [
      {
        role: blockSentence(address, block, 'block', "free'd"),
        pcs: stackOf(block.freed.stack),
      },
      { role: "Block was alloc'd at", pcs: stackOf(block.allocated.stack) },
    ],
  };
}

function describeSymbol(context: DescribeContext, address: bigint): Description | undefined {
  const symbol = context.dataSymbol?.(address);
  return (
    symbol && {
      notes: [
        `Address ${hex(address)} is ${symbol.offset} bytes inside data symbol "${symbol.name}"`,
      ],
      stacks: [],
    }
  );
}

function describeStack(context: DescribeContext, address: bigint): Description | undefined {
  for (const view of context.threadViews()) {
    const { thread, sp, frames = [] } = view;
    const highest = context.space.stacks.find((stack) => stack.thread === thread)?.end;
    const lowest = sp - STACK_REDZONE_BYTES;
    if (highest === undefined || address < lowest || address > highest) continue;
    const notes = [`Address ${hex(address)} is on thread ${thread}'s stack`];
    const frame = frames.findIndex(({ sp: from }, i) => {
      const to = frames[i + 1]?.sp;
      return (
        to !== undefined &&
        from <= address &&
        address < to &&
        to - from <= LARGEST_FRAME_BYTES &&
        to <= highest &&
        from >= lowest
      );
    });
    const place = frame >= 0 ? context.functionAt?.(frames[frame]!.pc) : undefined;
    if (place && (place.name || place.file)) {
      const file = `${place.file ?? '???'}:${(place.file && place.line) ?? ''}`;
      notes.push(`in frame #${frame}, created by ${place.name ?? '???'} (${file})`);
    }
    return { notes, stacks: [] };
  }
  return undefined;
}

function describeSection(context: DescribeContext, address: bigint): Description | undefined {
  const section = context.section?.(address);
  if (!section) return undefined;
  const sentence = `Address ${hex(address)} is in the ${section.kind} segment of ${section.path}`;
  return section.kind === 'Text'
    ? { notes: [], stacks: [{ role: sentence, pcs: [address] }] }
    : { notes: [sentence], stacks: [] };
}

/** In a stack, but below its pointer, as after a return; or in the page that guards it. */
function describeBelowStack(context: DescribeContext, address: bigint): Description | undefined {
  const { space } = context;
  const segment = space.segment(address);
  const find = (within: bigint) => {
    const protection = space.segment(within)?.protection ?? 0;
    if ((protection & 3) !== 3) return undefined;
    const stack = space.stacks.find(({ start, end }) => start <= within && within <= end);
    if (!stack) return undefined;
    // The stack may have been registered: its thread is the one that runs on it.
    for (const view of context.threadViews()) {
      const highest = space.stacks.find(({ thread }) => thread === view.thread)?.end;
      if (highest !== undefined && view.sp <= stack.end && stack.end <= highest) return view;
    }
    return undefined;
  };
  let prefix = '';
  let view = find(address);
  if (!view && segment?.kind === 'anonymous' && segment.protection === 0) {
    view = find((address + 4096n) & ~4095n);
    prefix = 'In stack guard protected page, ';
  }
  if (!view || address >= view.sp) return undefined;
  return {
    notes: [
      `Address ${hex(address)} is on thread ${view.thread}'s stack`,
      `${prefix}${view.sp - address} bytes below stack pointer`,
    ],
    stacks: [],
  };
}

function describeSegment(space: AddressSpace, address: bigint): Description | undefined {
  const at = `Address ${hex(address)} is`;
  if (space.isInBrk(address)) {
    const { brkBase, brkLimit } = space;
    const note =
      address < brkLimit
        ? `${at} in the brk data segment ${hex(brkBase)}-${hex(brkLimit - 1n)}`
        : `${at} ${address - brkLimit} bytes after the brk data segment limit ${hex(brkLimit)}`;
    return { notes: [note], stacks: [] };
  }
  const segment = space.segment(address);
  if (!segment) return undefined;
  const { protection, kind, file } = segment;
  const bits = [...'rwx'].map((letter, i) => (protection & (1 << i) ? letter : '-')).join('');
  const noun = { anonymous: 'anonymous', file: 'mapped file', shared: 'shared memory' }[kind];
  const name = kind === 'file' ? ` ${file}` : '';
  return { notes: [`${at} in a ${bits} ${noun}${name} segment`], stacks: [] };
}

function isJustBelow(sp: bigint, address: bigint): boolean {
  const top = sp - STACK_REDZONE_BYTES;
  return top > address && top - address <= JUST_BELOW_BYTES;
}
