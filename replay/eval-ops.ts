/** The operations that replay evaluates, by name, with their plain definitions. */
import { EVALUATED_HELPERS, EVALUATED_OPS } from '../schemas/ops.js';
import { FLOAT_OPERATIONS } from './eval-float.js';
import { HELPERS, type Helper } from './eval-helpers.js';
import { INTEGER_OPERATIONS, type Operation } from './eval-integer.js';
import { VECTOR_OPERATIONS } from './eval-vector.js';

const DEFINED: Record<string, Operation> = {
  ...INTEGER_OPERATIONS,
  ...FLOAT_OPERATIONS,
  ...VECTOR_OPERATIONS,
};

function select<T>(
  names: readonly string[],
  from: Readonly<Record<string, T>>,
): ReadonlyMap<string, T> {
  return new Map(
    names.map((name) => {
      const found = from[name];
      if (!found) throw new Error(`${name} is listed in schemas/ops.ts but not defined`);
      return [name, found];
    }),
  );
}

/** Exactly the operations of `EVALUATED_OPS`. */
export const OPERATIONS: ReadonlyMap<string, Operation> = select(EVALUATED_OPS, DEFINED);
/** Exactly the helpers of `EVALUATED_HELPERS`. */
export const EVALUATED_HELPER_TABLE: ReadonlyMap<string, Helper> = select(
  EVALUATED_HELPERS,
  HELPERS,
);
