/** How each evaluated operation and helper is compiled, by name. */
import { EVALUATED_HELPERS, EVALUATED_OPS } from '../schemas/ops.js';
import type { Emitter, Lowerings, Lowering } from './emit.js';
import { FLOAT_LOWERINGS } from './lower-float.js';
import { INTEGER_LOWERINGS } from './lower-integer.js';
import { HELPER_LOWERINGS as VECTOR_HELPERS, VECTOR_LOWERINGS } from './lower-vector.js';
import type { SupportName } from './support.js';
import { TYPE, type Operand } from './ir.js';

function support(name: SupportName): Lowering {
  return (e: Emitter, args: readonly Operand[]) => {
    for (const arg of args) e.push(arg);
    e.support(name);
  };
}

function crc32c(bytes: number): Lowering {
  return (e, [crc, data]) => {
    e.push(crc!);
    e.push(data!);
    e.code.i32(bytes);
    e.support('crc32c');
  };
}

/** A control word: the rounding mode in two bits among constant ones. */
function controlWord(bits: bigint, shift: bigint): Lowering {
  return (e, [mode]) => {
    e.push(mode!);
    e.code.i64(3n);
    e.ops('i64_and');
    e.code.i64(shift);
    e.ops('i64_shl');
    e.code.i64(bits);
    e.ops('i64_or');
  };
}

/** Rare helpers are left to the host. */
const byHost =
  (name: string): Lowering =>
  (e, args) =>
    e.evaluateByHost(name, args, TYPE.I64);

const HELPERS: Lowerings = {
  ...VECTOR_HELPERS,
  amd64g_calculate_condition: support('condition'),
  amd64g_calculate_rflags_all: support('flags'),
  amd64g_calculate_rflags_c: (e, args) => {
    support('flags')(e, args);
    e.code.i64(1n);
    e.ops('i64_and');
  },
  amd64g_calc_crc32b: crc32c(1),
  amd64g_calc_crc32w: crc32c(2),
  amd64g_calc_crc32l: crc32c(4),
  amd64g_calc_crc32q: crc32c(8),
  amd64g_calculate_pdep: support('pdep'),
  amd64g_calculate_pext: support('pext'),
  amd64g_create_mxcsr: controlWord(0x1f80n, 13n),
  amd64g_create_fpucw: controlWord(0x37fn, 10n),
  amd64g_check_ldmxcsr: byHost('amd64g_check_ldmxcsr'),
  amd64g_check_fldcw: byHost('amd64g_check_fldcw'),
};

function select(names: readonly string[], from: Lowerings): ReadonlyMap<string, Lowering> {
  return new Map(
    names.map((name) => {
      const found = from[name];
      if (!found) throw new Error(`${name} is listed in schemas/ops.ts but cannot be compiled`);
      return [name, found];
    }),
  );
}

export const OPERATION_LOWERINGS = select(EVALUATED_OPS, {
  ...INTEGER_LOWERINGS,
  ...FLOAT_LOWERINGS,
  ...VECTOR_LOWERINGS,
});
export const HELPER_LOWERINGS = select(EVALUATED_HELPERS, HELPERS);
