/** Looks at a short part of an execution instruction by instruction, with the calls under way. */
import { CALL_SITE_KINDS } from '../../replay/call-sites.js';
import type { CallRows } from '../../replay/calls-guest.js';
import type { CallSites } from '../../replay/code-tables.js';
import { grown } from '../../replay/grown.js';
import { openReplay } from '../../replay/replay.js';
import type { Code } from './code.js';

const [, CALL, RETURN] = CALL_SITE_KINDS.map((_, number) => number) as [0, 1, 2, 3];

/** A superblock has fewer instructions than this: replay stops at their ends only. */
const LONGEST_BLOCK = 400;
/** As many instructions are interpreted at most, of all threads. */
const MOST = 2_000_000;

/** libvex_guest_amd64.h and guest_amd64_defs.h: what the flags are of. */
const CC_OP_SUB = 5n;
const CC_OP_LOGIC = 17n;

/** A call under way. */
interface Frame {
  readonly stackPointer: number;
  /** Address of the call instruction. */
  readonly pc: bigint;
}

/** What a thread executed in a range of ticks. Entry `i` of each array is one instruction. */
export interface Stretch {
  readonly count: number;
  readonly pcs: Float64Array;
  readonly ticks: Float64Array;
  /** The addresses of the call stack before the instruction, innermost first. */
  stackAt(i: number): bigint[];
  /** What was compared last before it, for people; undefined if it was no comparison. */
  comparedBefore(i: number): string | undefined;
}

/**
 * Replays up to a range of ticks, and that by the interpreter.
 * @param thread - its number
 * @param from - tick of the first instruction that is wanted
 * @param to - tick of the last one
 */
export function zoom(code: Code, thread: number, from: number, to: number): Stretch {
  const stacks = new Map<number, Frame[]>();
  const later: { kind: number; pc: bigint; stackPointer: number; tick: number }[] = [];
  let isThere = false;
  let current: Frame[] = [];
  let running = 0;
  const apply = (stack: Frame[], kind: number, pc: bigint, stackPointer: number): void => {
    const isLeft = (one: Frame): boolean =>
      kind === CALL ? one.stackPointer <= stackPointer : one.stackPointer < stackPointer;
    if (kind !== CALL && kind !== RETURN) return;
    while (stack.length > 0 && isLeft(stack.at(-1)!)) stack.pop();
    if (kind === CALL) stack.push({ stackPointer, pc });
  };
  const replay = openReplay(code.trace, code.process, {
    counts: true,
    calls: {
      isFunction: () => false,
      rows: ({ count, sites, ticks, stacks: pointers }: CallRows, table: CallSites) => {
        for (let i = 0; i < count; i++) {
          const [kind, pc] = [table.kinds[sites[i]!]!, table.pcs[sites[i]!]!];
          if (!isThere) apply(current, kind, pc, pointers[i]!);
          else if (running === thread)
            later.push({ kind, pc, stackPointer: pointers[i]!, tick: ticks[i]! });
        }
      },
      select: (number) => {
        running = number;
        current = stacks.get(number) ?? [];
        stacks.set(number, current);
      },
      signal: () => undefined,
      fork: () => undefined,
      end: () => undefined,
      lost: () => undefined,
    },
  });
  replay.runUntil(BigInt(Math.max(0, from - LONGEST_BLOCK)));
  replay.guest.calls!.take();
  isThere = true;
  const base = [...(stacks.get(thread) ?? [])];
  const offsets = ['CC_OP', 'CC_DEP1', 'CC_DEP2'].map((name) => replay.registerOffset(name));
  let count = 0;
  let pcs = new Float64Array(0);
  let ticks = new Float64Array(0);
  let flags = new BigUint64Array(0);
  let [block, inside] = [-1, 0];
  let interpreted = 0;
  const instruction = (pc: bigint): void => {
    interpreted++;
    // Ticks are counted at the ends of superblocks.
    const { now } = replay.guest;
    inside = now === block ? inside + 1 : 0;
    block = now;
    const tick = now + inside;
    if (tick < from || tick > to || replay.thread !== thread) return;
    pcs = grown(pcs, count + 1);
    ticks = grown(ticks, count + 1);
    flags = grown(flags, 3 * pcs.length);
    pcs[count] = Number(pc);
    ticks[count] = tick;
    offsets.forEach((offset, i) => (flags[3 * count + i] = replay.guest.readState(offset, 8)));
    count++;
  };
  for (let at = from; at <= to && interpreted < MOST; at += LONGEST_BLOCK)
    if (!replay.runUntil(BigInt(Math.min(at + LONGEST_BLOCK, to + 1)), 'after', instruction)) break;
  replay.guest.calls!.take();
  return {
    ...{ count, pcs, ticks },
    stackAt: (i) => {
      const stack = [...base];
      for (const { kind, pc, stackPointer, tick } of later)
        if (tick <= ticks[i]!) apply(stack, kind, pc, stackPointer);
      return [BigInt(pcs[i]!), ...stack.reverse().map(({ pc }) => pc)];
    },
    comparedBefore: (i) => {
      const [op, left, right] = [flags[3 * i]!, flags[3 * i + 1]!, flags[3 * i + 2]!];
      const shown = (value: bigint, first: bigint): string =>
        String(BigInt.asIntN(8 << Number(op - first), value));
      if (op >= CC_OP_SUB && op < CC_OP_SUB + 4n)
        return `${shown(left, CC_OP_SUB)} with ${shown(right, CC_OP_SUB)}`;
      if (op >= CC_OP_LOGIC && op < CC_OP_LOGIC + 4n) return `${shown(left, CC_OP_LOGIC)} with 0`;
      return undefined;
    },
  };
}
