/**
 * Where the code of a block tells of calls: at the first instruction of a function, so that calls through stubs and jumps
 * from one function to another are known, too; at a jump at its end that calls or returns; and at one to an unknown place in
 * a block that has moved the stack pointer, as longjmp does.
 */
import { JUMP_BORING, JUMP_CALL, JUMP_RETURN, TYPE, operandType, type Block } from './ir.js';

/** As `native/translate.h` numbers them. */
export const CALL_SITE_KINDS = ['enter', 'call', 'return', 'jump'] as const;
export type CallSiteKind = (typeof CALL_SITE_KINDS)[number];

export interface CallSite {
  readonly kind: CallSiteKind;
  /** Address of the instruction. */
  readonly pc: bigint;
}

/**
 * The sites of a block in the order in which it passes them: at most one at its beginning and one at its end.
 * @param RSP - offset of the stack pointer in the guest state
 * @param isFunction - a function begins there
 */
export function callSites(
  block: Block,
  address: bigint,
  RSP: number,
  isFunction: boolean,
): CallSite[] {
  const sites: CallSite[] = isFunction ? [{ kind: 'enter', pc: address }] : [];
  let pc = address;
  let movesStack = false;
  for (const statement of block.statements) {
    if (statement.tag === 'IMark') pc = statement.address;
    else if (statement.tag === 'Put' && statement.offset === RSP)
      movesStack ||= operandType(block, statement.data) === TYPE.I64;
  }
  const { jumpKind, next } = block;
  if (jumpKind === JUMP_CALL) sites.push({ kind: 'call', pc });
  else if (jumpKind === JUMP_RETURN) sites.push({ kind: 'return', pc });
  else if (jumpKind === JUMP_BORING && !(next & 1) && movesStack) sites.push({ kind: 'jump', pc });
  return sites;
}

export const isAtEnd = ({ kind }: CallSite): boolean => kind !== 'enter';
