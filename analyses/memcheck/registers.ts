/** Which guest registers have a shadow, and which of them a superblock touches. */
import {
  operandType,
  TYPE_SIZES,
  type Block,
  type Expression,
  type StateArray,
  type Type,
} from '../../replay/ir.js';

/** Offset of each register in the guest state by its name, as in the manifest (`guest.registers`). */
export type RegisterOffsets = Readonly<Record<string, number>>;

/** A part of the guest state: offset and size in bytes. */
export type RegisterRange = readonly [offset: number, size: number];

/** The general-purpose registers, by their names in the manifest. */
export const GP_REGISTERS = [
  ...['RAX', 'RCX', 'RDX', 'RBX', 'RSI', 'RDI', 'RSP', 'RBP'],
  ...['R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'],
];

/** Registers that always count as defined, with their size in bytes. */
const ALWAYS_DEFINED: readonly (readonly [name: string, sizeBytes: number])[] = [
  ['CC_OP', 8],
  ['CC_NDEP', 8],
  ['DFLAG', 8],
  ['IDFLAG', 8],
  ['RIP', 8],
  ['FS_CONST', 8],
  ['FTOP', 4],
  ['FPTAG', 8],
  ['FPROUND', 8],
  ['FC3210', 8],
  ['EMNOTE', 4],
  ['SSEROUND', 8],
  ['CMSTART', 8],
  ['CMLEN', 8],
  ['SC_CLASS', 8],
  ['IP_AT_SYSCALL', 8],
];

const rangesOf = new WeakMap<RegisterOffsets, RegisterRange[]>();

/** Whether a part of the guest state lies in a register that always counts as defined. */
export function isAlwaysDefined(registers: RegisterOffsets, offset: number, size: number): boolean {
  let ranges = rangesOf.get(registers);
  if (!ranges) {
    ranges = ALWAYS_DEFINED.flatMap(([name, sizeBytes]): RegisterRange[] => {
      const start = registers[name];
      return start === undefined ? [] : [[start, sizeBytes]];
    });
    rangesOf.set(registers, ranges);
  }
  return ranges.some(([start, length]) => offset >= start && offset + size <= start + length);
}

/** A bit for each 8 bytes of the guest state that have a shadow. */
export function trackedWords(registers: RegisterOffsets): bigint {
  let words = 0n;
  for (let word = 0; word < 128; word++)
    if (!isAlwaysDefined(registers, 8 * word, 8)) words |= 1n << BigInt(word);
  return words;
}

/** The bytes of the guest state that an array of registers takes. */
export const arrayRange = (array: StateArray): RegisterRange => [
  array.base,
  array.nElems * TYPE_SIZES[array.elemType],
];

/**
 * The parts of the guest state that have a shadow and that a superblock reads and writes, in the
 * order of its statements, with repetitions; of an array the whole. What a guarded helper writes counts
 * as written.
 */
export function touchedRegisters(
  block: Block,
  registers: RegisterOffsets,
): { readonly reads: RegisterRange[]; readonly writes: RegisterRange[] } {
  const reads: RegisterRange[] = [];
  const writes: RegisterRange[] = [];
  const add = (list: RegisterRange[], [offset, size]: RegisterRange): void => {
    if (!isAlwaysDefined(registers, offset, size)) list.push([offset, size]);
  };
  const read = (expr: Expression): void => {
    if (expr.tag === 'Get') add(reads, [expr.offset, TYPE_SIZES[expr.type]]);
    else if (expr.tag === 'GetI') add(reads, arrayRange(expr));
  };
  for (const statement of block.statements) {
    switch (statement.tag) {
      case 'WrTmp':
        read(statement.expr);
        break;
      case 'Put':
        add(writes, [statement.offset, TYPE_SIZES[operandType(block, statement.data) as Type]]);
        break;
      case 'PutI':
        add(writes, arrayRange(statement));
        break;
      case 'Dirty':
        for (const { effect, offset, size, repeats, repeatStride } of statement.state) {
          for (let i = 0; i <= repeats; i++) {
            const range: RegisterRange = [offset + i * repeatStride, size];
            if (effect !== 'write') add(reads, range);
            if (effect !== 'read') add(writes, range);
          }
        }
        break;
    }
  }
  return { reads, writes };
}
