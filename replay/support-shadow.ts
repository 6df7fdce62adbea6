/** Shared functions of compiled code that follows definedness: the stack, calls, states of bytes. */
import { loadAt, locate, type ModuleContext } from './emit.js';
import {
  CELL,
  FRAMES,
  FRAME_SIZE,
  GRANULE_SIZE,
  MAX_FRAMES,
  NO_ACCESS,
  ORIGIN_PLANE,
  ORIGIN_STATE,
  SHADOW_STATE,
  SHADOW_ZERO,
  STATE_PLANE,
  UNDEFINED,
} from './layout.js';
import { ORIGIN_KIND, STACK_REDZONE } from './shadow.js';
import { I32, I64, VOID, type Code, type ValueType } from './wasm.js';

interface Support {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly emit: (code: Code, context: ModuleContext) => void;
}

/** Whether a change of the stack pointer by more than this goes to another stack is asked of the host, in bytes. */
export const FAR_STACK_MOVE = 16_384n;

const allBytes = (state: number): bigint => 0x0101010101010101n * BigInt(state);

/** Marks `size` bytes with a state (8 times that byte), and their origin unless it is 0. */
function markStack(c: Code, context: ModuleContext): void {
  const [address, size, pattern, origin] = [0, 1, 2, 3];
  const at = c.local(I32);
  const end = c.local(I32);
  const pair = c.local(I64);
  const room = c.local(I32);
  // what lies in the first granule by a call of its own, until the rest lies in one
  c.open('loop');
  c.i32(GRANULE_SIZE);
  c.get(address);
  c.op('i32_wrap_i64');
  c.i32(GRANULE_SIZE - 1);
  c.ops('i32_and', 'i32_sub');
  c.tee(room);
  c.get(size);
  c.op('i32_lt_u');
  c.open('if');
  c.get(address);
  c.get(room);
  c.get(pattern);
  c.get(origin);
  c.call(context.support('markStack'));
  c.get(address);
  c.get(room);
  c.ops('i64_extend_i32_u', 'i64_add');
  c.set(address);
  c.get(size);
  c.get(room);
  c.op('i32_sub');
  c.set(size);
  c.br(1);
  c.end();
  c.end();
  c.open('block');
  c.get(address);
  c.op('i32_wrap_i64');
  c.get(size);
  c.op('i32_or');
  c.i32(7);
  c.op('i32_and');
  c.brIf(0);
  locate(c, () => c.get(address), 1, { at, entry: c.local(I32), within: c.local(I64) }, true);
  c.get(at);
  c.get(size);
  c.op('i32_add');
  c.set(end);
  c.get(origin);
  c.op('i64_extend_i32_u');
  c.i64(0x100000001n);
  c.op('i64_mul');
  c.set(pair);
  c.get(origin);
  c.open('if');
  c.open('loop');
  c.get(at);
  c.get(pattern);
  c.memory('i64_store', SHADOW_ZERO + STATE_PLANE);
  c.get(at);
  c.get(pair);
  c.memory('i64_store', SHADOW_ZERO + ORIGIN_PLANE);
  next();
  c.brIf(0);
  c.end();
  c.op('return');
  c.end();
  c.open('loop');
  c.get(at);
  c.get(pattern);
  c.memory('i64_store', SHADOW_ZERO + STATE_PLANE);
  next();
  c.brIf(0);
  c.end();
  c.op('return');
  c.end();
  c.get(address);
  c.get(size);
  c.get(pattern);
  c.get(origin);
  c.call(context.import('markSlowly'));

  function next(): void {
    c.get(at);
    c.i32(8);
    c.op('i32_add');
    c.tee(at);
    c.get(end);
    c.op('i32_lt_u');
  }
}

/** The stack pointer goes from the first to the second value: what is left loses access, what is won is undefined. */
function moveStack(c: Code, context: ModuleContext): void {
  const [before, after, origin] = [0, 1, 2];
  const grows = c.local(I64);
  c.get(before);
  c.get(after);
  c.op('i64_sub');
  c.tee(grows);
  c.op('i64_eqz');
  c.open('if');
  c.op('return');
  c.end();
  c.get(grows);
  c.i64(FAR_STACK_MOVE);
  c.op('i64_add');
  c.i64(2n * FAR_STACK_MOVE);
  c.op('i64_gt_u');
  c.open('if');
  c.get(before);
  c.get(after);
  c.get(origin);
  c.call(context.import('moveStackFar'));
  c.op('return');
  c.end();
  c.get(grows);
  c.i64(0n);
  c.op('i64_gt_s');
  c.open('if');
  c.get(after);
  c.i64(-STACK_REDZONE);
  c.op('i64_add');
  c.get(grows);
  c.op('i32_wrap_i64');
  c.i64(allBytes(UNDEFINED));
  c.get(origin);
  c.call(context.support('markStack'));
  c.else();
  c.get(before);
  c.i64(-STACK_REDZONE);
  c.op('i64_add');
  c.i32(0);
  c.get(grows);
  c.ops('i32_wrap_i64', 'i32_sub');
  c.i64(allBytes(NO_ACCESS));
  c.i32(0);
  c.call(context.support('markStack'));
  c.end();
}

/**
 * A call or a return to `target`: what the red zone held has no meaning any more, and calls that have
 * returned are dropped, before the stack grows over them again.
 */
function hintStack(c: Code, context: ModuleContext): void {
  const [base, size, target] = [0, 1, 2];
  const { top } = dropReturned(c, base, 'i64_ge_u');
  c.i32(0);
  c.get(top);
  c.memory('i32_store', CELL.frames);
  c.get(base);
  c.get(size);
  c.i64(allBytes(UNDEFINED));
  // as `stackOrigin` of shadow.ts
  c.get(target);
  c.op('i32_wrap_i64');
  c.i32(2);
  c.op('i32_shl');
  c.i32(ORIGIN_KIND.stack);
  c.op('i32_or');
  c.call(context.support('markStack'));
}

/**
 * Finds the end of the calls that have not returned, `top`: past those whose return address stands below
 * `sp`, the stack pointer above a red zone. `keeps` compares the two.
 */
function dropReturned(
  c: Code,
  base: number,
  keeps: 'i64_ge_u' | 'i64_gt_u',
): { readonly top: number; readonly sp: number } {
  const sp = c.local(I64);
  const top = c.local(I32);
  c.get(base);
  c.i64(STACK_REDZONE);
  c.op('i64_add');
  c.set(sp);
  loadAt(c, CELL.frames, I32);
  c.set(top);
  c.open('block');
  c.open('loop');
  c.get(top);
  c.i32(FRAMES);
  c.op('i32_eq');
  c.brIf(1);
  c.get(top);
  c.i32(FRAME_SIZE);
  c.op('i32_sub');
  c.memory('i64_load', 0);
  c.get(sp);
  c.op(keeps);
  c.brIf(1);
  c.get(top);
  c.i32(FRAME_SIZE);
  c.op('i32_sub');
  c.set(top);
  c.br(0);
  c.end();
  c.end();
  return { top, sp };
}

/**
 * Notes a call by the base of its red zone, and its own address. With each stands the address of the
 * return address; calls that have returned are dropped.
 */
function pushFrame(c: Code, context: ModuleContext): void {
  const [base, pc] = [0, 1];
  const { top, sp } = dropReturned(c, base, 'i64_gt_u');
  c.get(top);
  c.get(sp);
  c.memory('i64_store', 0);
  c.get(top);
  c.get(pc);
  c.memory('i64_store', 8);
  c.i32(0);
  c.get(top);
  c.i32(FRAME_SIZE);
  c.op('i32_add');
  c.tee(top);
  c.memory('i32_store', CELL.frames);
  c.get(top);
  c.i32(FRAMES + FRAME_SIZE * MAX_FRAMES);
  c.op('i32_ge_u');
  c.open('if');
  c.call(context.import('dropFrames'));
  c.end();
}

/** Makes `size` bytes at a place defined; returns 1, having done nothing, when one is not accessible. */
function settle(c: Code): void {
  const [at, size] = [0, 1];
  const bytes = (load: () => void, mask: () => void, isBad: () => void, store: () => void) => {
    c.get(at);
    load();
    mask();
    isBad();
    c.open('if');
    c.i32(1);
    c.op('return');
    c.end();
    c.get(at);
    store();
  };
  const offset = SHADOW_ZERO + STATE_PLANE;
  const ofWord = (
    load: 'i32_load8_u' | 'i32_load16_u' | 'i32_load',
    store: 'i32_store8' | 'i32_store16' | 'i32_store',
  ) =>
    bytes(
      () => c.memory(load, offset),
      () => {
        c.i32(Number(BigInt.asIntN(32, allBytes(NO_ACCESS))));
        c.op('i32_and');
      },
      () => undefined,
      () => {
        c.i32(0);
        c.memory(store, offset);
      },
    );
  const ofPair = (extra: number) =>
    bytes(
      () => c.memory('i64_load', offset + extra),
      () => {
        c.i64(allBytes(NO_ACCESS));
        c.op('i64_and');
      },
      () => c.ops('i64_eqz', 'i32_eqz'),
      () => {
        c.i64(0n);
        c.memory('i64_store', offset + extra);
      },
    );
  const when = (bytesCount: number, then: () => void): void => {
    c.get(size);
    c.i32(bytesCount);
    c.op('i32_eq');
    c.open('if');
    then();
    c.i32(0);
    c.op('return');
    c.end();
  };
  when(8, () => ofPair(0));
  when(4, () => ofWord('i32_load', 'i32_store'));
  when(1, () => ofWord('i32_load8_u', 'i32_store8'));
  when(2, () => ofWord('i32_load16_u', 'i32_store16'));
  // A vector that is accessible in part only: what was settled is stored slowly all the same.
  c.get(size);
  c.i32(16);
  c.op('i32_ge_u');
  c.open('if');
  ofPair(0);
  ofPair(8);
  c.end();
  c.get(size);
  c.i32(32);
  c.op('i32_eq');
  c.open('if');
  ofPair(16);
  ofPair(24);
  c.end();
  c.i32(0);
}

/** Whether `size` bytes at an address are known to be defined and accessible. */
function isDefined(c: Code): void {
  const [address, size] = [0, 1];
  const at = c.local(I32);
  const offset = SHADOW_ZERO + STATE_PLANE;
  c.open('block');
  locate(c, () => c.get(address), 1, { at, entry: c.local(I32), within: c.local(I64) }, false);
  c.get(address);
  c.op('i32_wrap_i64');
  c.i32(GRANULE_SIZE - 1);
  c.op('i32_and');
  c.get(size);
  c.op('i32_add');
  c.i32(GRANULE_SIZE);
  c.op('i32_gt_u');
  c.brIf(0);
  const when = (bytesCount: number, load: () => void): void => {
    c.get(size);
    c.i32(bytesCount);
    c.op('i32_eq');
    c.open('if', VOID);
    load();
    c.op('return');
    c.end();
  };
  const pair = (extra: number): void => {
    c.get(at);
    c.memory('i64_load', offset + extra);
  };
  const word = (load: 'i32_load8_u' | 'i32_load16_u' | 'i32_load') => () => {
    c.get(at);
    c.memory(load, offset);
    c.op('i32_eqz');
  };
  when(8, () => {
    pair(0);
    c.op('i64_eqz');
  });
  when(4, word('i32_load'));
  when(1, word('i32_load8_u'));
  when(2, word('i32_load16_u'));
  when(16, () => {
    pair(0);
    pair(8);
    c.ops('i64_or', 'i64_eqz');
  });
  when(32, () => {
    pair(0);
    pair(8);
    c.op('i64_or');
    pair(16);
    pair(24);
    c.ops('i64_or', 'i64_or', 'i64_eqz');
  });
  c.end();
  c.i32(0);
}

/** After the shadow of registers was written: 8 bytes of them, at an offset, may be undefined, of an origin. */
function notePut(c: Code): void {
  const [word, isUndefined, origin] = [0, 1, 2];
  const bit = c.local(I64);
  const cell = c.local(I32);
  c.i64(1n);
  c.get(word);
  c.i32(3);
  c.ops('i32_shr_u', 'i64_extend_i32_u', 'i64_shl');
  c.set(bit);
  c.i32(CELL.undefinedLow);
  c.i32(CELL.undefinedHigh);
  c.get(word);
  c.i32(512);
  c.ops('i32_lt_u', 'select');
  c.set(cell);
  c.get(isUndefined);
  c.open('if');
  c.get(word);
  c.get(origin);
  c.memory('i32_store', ORIGIN_STATE);
  c.end();
  c.get(cell);
  c.get(cell);
  c.memory('i64_load', 0);
  c.get(bit);
  c.i64(-1n);
  c.ops('i64_xor', 'i64_and');
  c.get(bit);
  c.i64(0n);
  c.get(word);
  c.memory('i64_load', SHADOW_STATE);
  c.ops('i64_eqz', 'i32_eqz', 'select', 'i64_or');
  c.memory('i64_store', 0);
}

export type ShadowSupportName =
  'markStack' | 'moveStack' | 'hintStack' | 'pushFrame' | 'settle' | 'isDefined' | 'notePut';

export const SHADOW_SUPPORT: Readonly<Record<ShadowSupportName, Support>> = {
  markStack: { parameters: [I64, I32, I64, I32], results: [], emit: markStack },
  moveStack: { parameters: [I64, I64, I32], results: [], emit: moveStack },
  hintStack: { parameters: [I64, I32, I64], results: [], emit: hintStack },
  pushFrame: { parameters: [I64, I64], results: [], emit: pushFrame },
  settle: { parameters: [I32, I32], results: [I32], emit: settle },
  isDefined: { parameters: [I64, I32], results: [I32], emit: isDefined },
  notePut: { parameters: [I32, I32, I32], results: [], emit: notePut },
};
