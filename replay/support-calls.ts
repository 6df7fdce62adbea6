/** The shared function of compiled code that writes down calls, returns and entries of functions (calls-guest.ts). */
import { loadAt, type ModuleContext } from './emit.js';
import { CALL_MISSES, CALL_SITES, CALL_STACKS, CALL_TICKS, CELL, MAX_CALLS } from './layout.js';
import { I32, I64, type Code } from './wasm.js';

/** Writes a row of a call site, so many instructions after the block was entered, with the stack pointer, which stands there. */
function noteCall(c: Code, context: ModuleContext): void {
  const [site, instructions, stackPointer] = [0, 1, 2];
  const rows = c.local(I32);
  loadAt(c, CELL.calls, I32);
  c.tee(rows);
  c.i32(1);
  c.op('i32_shr_u');
  c.get(site);
  c.memory('i32_store', CALL_SITES);
  // Both numbers are below 2^53: an execution is shorter, and addresses have 48 bits.
  c.get(rows);
  loadAt(c, CELL.tick, I64);
  c.get(instructions);
  c.ops('i64_extend_i32_u', 'i64_add', 'f64_convert_i64_s');
  c.memory('f64_store', CALL_TICKS);
  c.get(rows);
  c.get(stackPointer);
  c.memory('i64_load', 0);
  c.op('f64_convert_i64_s');
  c.memory('f64_store', CALL_STACKS);
  c.get(rows);
  c.i32(1);
  c.op('i32_shl');
  c.i32(0);
  c.memoryV128('v128_load', CELL.misses);
  c.memoryV128('v128_store', CALL_MISSES);
  c.i32(0);
  c.get(rows);
  c.i32(8);
  c.op('i32_add');
  c.tee(rows);
  c.memory('i32_store', CELL.calls);
  c.get(rows);
  c.i32(8 * MAX_CALLS);
  c.op('i32_eq');
  c.open('if');
  c.call(context.import('takeCalls'));
  c.end();
}

export const CALL_SUPPORT = {
  noteCall: { parameters: [I32, I32, I32], results: [], emit: noteCall },
} as const;
