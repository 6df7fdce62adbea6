/**
 * Which temporaries only serve to compute addresses. For those Memcheck follows additions coarsely,
 * since only whether anything is undefined matters, and so sees that two addresses with one base are
 * undefined together and complains once.
 */
import {
  operandType,
  TYPE,
  type Block,
  type Expression,
  type Operand,
  type Type,
} from '../../replay/ir.js';

const INTEGER_TYPES: readonly Type[] = [TYPE.I8, TYPE.I16, TYPE.I32, TYPE.I64];

/** Literals of word-at-a-time string code: a block that has one is followed precisely throughout. */
const STRING_LITERALS = new Set([
  0xfefefeffn,
  0x80808080n,
  0x7f7f7f7fn,
  0x7efefeffn,
  0x81010100n,
  0xfffffffffefefeffn,
  0xfefefefefefefeffn,
  0x8080n,
  0x8080808080808080n,
  0x0101010101010101n,
]);

/** Tells of each temporary of a block whether it only serves for addresses. */
export function addressOnly(block: Block): (temp: number) => boolean {
  const { constants, statements } = block;
  const stringCode =
    constants.some(({ type, bits }) => INTEGER_TYPES.includes(type) && STRING_LITERALS.has(bits)) ||
    statements.some((s) => s.tag === 'WrTmp' && s.expr.tag === 'Op' && s.expr.op === 'GetMSBs8x16');
  if (stringCode) return () => false;

  const otherwise = new Set<number>();
  const use = (...operands: (Operand | undefined)[]): void => {
    for (const operand of operands)
      if (operand !== undefined && !(operand & 1)) otherwise.add(operand >>> 1);
  };
  const useIn = (expr: Expression, result: number): void => {
    switch (expr.tag) {
      case 'Atom':
        if (otherwise.has(result)) use(expr.operand);
        break;
      case 'Op':
        if (/^Add(?:32|64)$/.test(expr.op) && !otherwise.has(result)) break;
        use(...expr.args);
        break;
      case 'ITE':
        use(expr.ifTrue, expr.ifFalse);
        break;
      case 'CCall':
        use(...expr.args);
        break;
    }
  };
  for (let i = statements.length - 1; i >= 0; i--) {
    const s = statements[i]!;
    switch (s.tag) {
      case 'WrTmp':
        useIn(s.expr, s.temp);
        break;
      case 'Store':
      case 'Put':
      case 'PutI':
        use(s.data);
        break;
      case 'StoreG':
        use(s.address, s.data, s.guard);
        break;
      case 'LoadG':
        use(s.address, s.alternative, s.guard);
        break;
      case 'CAS':
        use(s.expectedHi, s.expectedLo, s.dataHi, s.dataLo);
        break;
      case 'Dirty':
        use(...s.args);
        break;
      case 'AbiHint':
        use(s.base, s.nia);
        break;
    }
  }
  // additions of 32 bits are always followed precisely
  return (temp) => !otherwise.has(temp) && operandType(block, 2 * temp) === TYPE.I64;
}
