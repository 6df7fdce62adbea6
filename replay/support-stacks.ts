/** The shared function of compiled code that measures how far stacks reach (stack-sizes.ts). */
import { loadAt, type ModuleContext } from './emit.js';
import { CELL } from './layout.js';
import { I32, I64, type Code } from './wasm.js';

/** A move by more bytes is one to another stack; what Memcheck takes for `--max-stackframe`. */
export const OTHER_STACK_BYTES = 2_000_000;

/** The stack pointer goes from the first to the second value, so many instructions after the block was entered. */
function noteStack(c: Code, context: ModuleContext): void {
  const [before, after, instructions] = [0, 1, 2];
  c.get(before);
  c.get(after);
  c.op('i64_sub');
  c.i64(BigInt(OTHER_STACK_BYTES));
  c.op('i64_add');
  c.i64(2n * BigInt(OTHER_STACK_BYTES));
  c.op('i64_gt_u');
  c.open('if');
  c.get(before);
  c.get(after);
  c.call(context.import('changeStack'));
  c.op('return');
  c.end();
  c.get(after);
  loadAt(c, CELL.lowestStack, I64);
  c.op('i64_ge_u');
  c.open('if');
  c.op('return');
  c.end();
  c.i32(0);
  c.get(after);
  c.memory('i64_store', CELL.lowestStack);
  c.i32(0);
  loadAt(c, CELL.tick, I64);
  c.get(instructions);
  c.ops('i64_extend_i32_u', 'i64_add');
  c.memory('i64_store', CELL.lowestStackTick);
}

export const STACK_SUPPORT = {
  noteStack: { parameters: [I64, I64, I32], results: [], emit: noteStack },
} as const;
