/**
 * Shared functions of compiled code that counts accesses (access-tally.ts). The counter of an access of n bytes at a
 * multiple of n has n bytes itself, and stands where the bytes do, in the plane for that size.
 */
import type { ModuleContext } from './emit.js';
import { GRANULE_SIZE, TALLY_SIZES } from './layout.js';
import { I32, type Code, type OpName, type ValueType } from './wasm.js';

interface Support {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly emit: (code: Code, context: ModuleContext) => void;
}

const LOADS: Readonly<Record<number, OpName>> = {
  1: 'i32_load8_u',
  2: 'i32_load16_u',
  4: 'i32_load',
};
const STORES: Readonly<Record<number, OpName>> = {
  1: 'i32_store8',
  2: 'i32_store16',
  4: 'i32_store',
};

/** Counts an access of `size` bytes, whose place in the plane for single bytes is the parameter. */
function tally(size: 1 | 2 | 4 | 8 | 16 | 32): Support {
  return {
    parameters: [I32],
    results: [],
    emit: (c, context) => {
      const place = 0;
      const halves = (): void => {
        const half = context.support(`tally${(size / 2) as 1 | 2 | 4 | 8 | 16}`);
        for (const offset of [0, size / 2]) {
          c.get(place);
          c.i32(offset);
          c.op('i32_add');
          c.call(half);
        }
      };
      if (size > 8) return halves();
      if (size > 1) {
        c.get(place);
        c.i32(size - 1);
        c.op('i32_and');
        c.open('if');
        halves();
        c.op('return');
        c.end();
      }
      const plane = TALLY_SIZES.indexOf(size as 1 | 2 | 4 | 8) * GRANULE_SIZE;
      if (size === 8) {
        c.get(place);
        c.get(place);
        c.memory('i64_load', plane);
        c.i64(1n);
        c.op('i64_add');
        c.memory('i64_store', plane);
        return;
      }
      const count = c.local(I32);
      c.get(place);
      c.get(place);
      c.memory(LOADS[size]!, plane);
      c.i32(1);
      c.op('i32_add');
      c.tee(count);
      c.memory(STORES[size]!, plane);
      c.get(count);
      c.i32(size === 4 ? -1 : 2 ** (8 * size) - 1);
      c.ops('i32_and', 'i32_eqz');
      c.open('if');
      c.get(place);
      c.i32(plane);
      c.op('i32_add');
      c.call(context.import('tallyWrapped'));
      c.end();
    },
  };
}

export const TALLY_SUPPORT = {
  tally1: tally(1),
  tally2: tally(2),
  tally4: tally(4),
  tally8: tally(8),
  tally16: tally(16),
  tally32: tally(32),
} as const satisfies Readonly<Record<string, Support>>;

export type TallySupportName = keyof typeof TALLY_SUPPORT;
