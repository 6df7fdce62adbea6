/**
 * Where code refers to caches and branch predictors, as Cachegrind counts it (Valgrind manual, 5): each instruction is
 * fetched; an instruction that writes what it just read (same address and size) makes one reference, a read; conditional
 * exits and jumps to unknown places are predicted, returns are not.
 */
import {
  JUMP_BORING,
  JUMP_CALL,
  JUMP_INVALIDATE,
  JUMP_RETURN,
  TYPE_SIZES,
  endsSegment,
  operandType,
  type Block,
  type Operand,
} from './ir.js';

/** What of a simulation the compiled code depends on. */
export interface CacheModes {
  /** Logarithm of the bytes of code that are fetched together: no more than a line, nor than an entry of `FETCH_LINES`. */
  readonly fetchBits: number;
  /** Predict branches. */
  readonly branches: boolean;
  /** No access is of more bytes than this. */
  readonly mostBytes: number;
  /** The shapes of the caches: words of linear memory, by address. */
  readonly fixed?: ReadonlyMap<number, bigint>;
}

export const CACHE_SITE_KINDS = ['fetch', 'read', 'write', 'branch', 'indirect'] as const;
export type CacheSiteKind = (typeof CACHE_SITE_KINDS)[number];

export interface CacheSite {
  /** Number of the statement; that of all statements for the jump at the end. */
  readonly statement: number;
  readonly pc: bigint;
  readonly kind: CacheSiteKind;
  /** It is not executed whenever its segment is: executions have a counter of their own. */
  readonly guarded: boolean;
  /** Number of its segment within the block. */
  readonly segment: number;
}

/** Whether a branch predictor looks at a jump: where to, or if an exit is taken. */
export const isPredicted = (jumpKind: number, isExit = false): boolean =>
  jumpKind === JUMP_BORING || jumpKind === JUMP_CALL || (isExit && jumpKind === JUMP_RETURN);

/** The sites of a block, in the order in which the compiler and `native/translate.h` count them. */
export function cacheSites(block: Block): CacheSite[] {
  const sites: CacheSite[] = [];
  let pc = 0n;
  let segment = 0;
  let statement = 0;
  let lastRead: { address: Operand; size: number } | undefined;
  const add = (kind: CacheSiteKind, guarded = false): void => {
    sites.push({ statement, pc, kind, guarded, segment });
    lastRead = undefined;
  };
  const bitsOf = (operand: Operand) =>
    operand & 1 ? block.constants[operand >>> 1]!.bits : undefined;
  const isSame = (a: Operand, b: Operand): boolean =>
    a === b || (bitsOf(a) !== undefined && bitsOf(a) === bitsOf(b));
  for (; statement < block.statements.length; statement++) {
    const one = block.statements[statement]!;
    switch (one.tag) {
      case 'IMark':
        pc = one.address;
        add('fetch');
        break;
      case 'WrTmp':
        if (one.expr.tag !== 'Load') break;
        add('read');
        lastRead = { address: one.expr.address, size: TYPE_SIZES[one.expr.type] };
        break;
      case 'Store': {
        const size = TYPE_SIZES[operandType(block, one.data)];
        const isModified = lastRead?.size === size && isSame(lastRead.address, one.address);
        if (!isModified) add('write');
        lastRead = undefined;
        break;
      }
      case 'StoreG':
        add('write', true);
        break;
      case 'LoadG':
        add('read', true);
        break;
      case 'CAS':
        add('read');
        break;
      case 'Dirty':
        if (one.memory) add(one.memory.effect === 'write' ? 'write' : 'read');
        break;
      case 'Exit':
        if (one.jumpKind === JUMP_INVALIDATE) break;
        if (isPredicted(one.jumpKind, true)) add('branch');
        if (endsSegment(one)) segment++;
        lastRead = undefined;
    }
  }
  if (isPredicted(block.jumpKind) && !(block.next & 1)) add('indirect');
  return sites;
}
