/**
 * Decodes the superblock IR of `blocks.ir` (docs/architecture.md) into typed statements. The bytes
 * come from a trace and are not trusted: every count, index and offset is checked here, so that
 * the interpreter and the compiler can rely on a well-formed block.
 */
import { UserError } from '../schemas/errors.js';
import type { ShadowStatement } from './shadow-ir.js';

/** Type codes, as stored. */
export const TYPE = {
  none: 0,
  I1: 1,
  I8: 2,
  I16: 3,
  I32: 4,
  I64: 5,
  I128: 6,
  F16: 7,
  F32: 8,
  F64: 9,
  D32: 10,
  D64: 11,
  D128: 12,
  F128: 13,
  V128: 14,
  V256: 15,
} as const;
export type Type = (typeof TYPE)[keyof typeof TYPE];
export const TYPE_NAMES = Object.keys(TYPE);

/** Size of a value in bytes, by type code; I1 takes one byte. */
export const TYPE_SIZES = [0, 1, 1, 2, 4, 8, 16, 2, 4, 8, 4, 8, 16, 16, 16, 32] as const;

export const JUMP_KINDS = [
  'Boring',
  'Call',
  'Ret',
  'Other',
  'NoRedir',
  'Sys',
  'ClientReq',
  'InvalICache',
  'Yield',
  'Sig',
  'NoDecode',
] as const;
export const JUMP_BORING = 0;
export const JUMP_CALL = 1;
export const JUMP_RETURN = 2;
export const JUMP_NO_REDIRECT = 4;
export const JUMP_INVALIDATE = 7;

/** Low bit 0: temporary `operand >> 1`; low bit 1: constant number `operand >> 1`. */
export type Operand = number;

export interface Constant {
  readonly type: Type;
  /** Bit pattern, zero-extended; for V128 and V256 the expanded vector. */
  readonly bits: bigint;
}

/** A rotating array in the guest state: `nElems` is a power of two. */
export interface StateArray {
  readonly base: number;
  readonly elemType: Type;
  readonly nElems: number;
  readonly index: Operand;
  readonly bias: number;
}

export type Expression =
  | { readonly tag: 'Get'; readonly offset: number; readonly type: Type }
  | ({ readonly tag: 'GetI' } & StateArray)
  | { readonly tag: 'Atom'; readonly operand: Operand }
  | { readonly tag: 'Op'; readonly op: string; readonly args: readonly Operand[] }
  | { readonly tag: 'Load'; readonly type: Type; readonly address: Operand }
  | {
      readonly tag: 'ITE';
      readonly condition: Operand;
      readonly ifTrue: Operand;
      readonly ifFalse: Operand;
    }
  | {
      readonly tag: 'CCall';
      readonly name: string;
      readonly type: Type;
      readonly args: readonly Operand[];
    };

/** How a guarded load widens what it loaded: type in memory, type of the result, sign. */
export const LOAD_CONVERSIONS = [
  { name: 'Ident64', from: TYPE.I64, to: TYPE.I64, signed: false },
  { name: 'Ident32', from: TYPE.I32, to: TYPE.I32, signed: false },
  { name: '16Uto32', from: TYPE.I16, to: TYPE.I32, signed: false },
  { name: '16Sto32', from: TYPE.I16, to: TYPE.I32, signed: true },
  { name: '8Uto32', from: TYPE.I8, to: TYPE.I32, signed: false },
  { name: '8Sto32', from: TYPE.I8, to: TYPE.I32, signed: true },
  { name: 'IdentV128', from: TYPE.V128, to: TYPE.V128, signed: false },
] as const;

export type Effect = 'none' | 'read' | 'write' | 'modify';
const EFFECTS: readonly Effect[] = ['none', 'read', 'write', 'modify'];

export interface StateEffect {
  readonly effect: Effect;
  readonly offset: number;
  readonly size: number;
  readonly repeats: number;
  readonly repeatStride: number;
}

export interface MemoryEffect {
  readonly effect: 'read' | 'write' | 'modify';
  readonly address: Operand;
  readonly size: number;
}

export interface CasStatement {
  readonly tag: 'CAS';
  readonly type: Type;
  /** Temporaries; `oldHi` is -1 when this is not a double compare-and-swap. */
  readonly oldHi: number;
  readonly oldLo: number;
  readonly address: Operand;
  readonly expectedHi: Operand | undefined;
  readonly expectedLo: Operand;
  readonly dataHi: Operand | undefined;
  readonly dataLo: Operand;
}

export interface DirtyStatement {
  readonly tag: 'Dirty';
  readonly name: string;
  readonly logged: boolean;
  readonly guard: Operand;
  /** Temporary that gets the result, or -1. */
  readonly result: number;
  readonly memory: MemoryEffect | undefined;
  readonly state: readonly StateEffect[];
  /** Those that are values. */
  readonly args: readonly Operand[];
}

export type Statement =
  | {
      readonly tag: 'IMark';
      readonly address: bigint;
      readonly length: number;
      readonly delta: number;
    }
  | {
      readonly tag: 'AbiHint';
      readonly base: Operand;
      readonly size: number;
      readonly nia: Operand;
    }
  | { readonly tag: 'Put'; readonly offset: number; readonly data: Operand }
  | ({ readonly tag: 'PutI'; readonly data: Operand } & StateArray)
  | {
      readonly tag: 'WrTmp';
      readonly logged: boolean;
      readonly temp: number;
      readonly expr: Expression;
    }
  | { readonly tag: 'Store'; readonly address: Operand; readonly data: Operand }
  | {
      readonly tag: 'StoreG';
      readonly address: Operand;
      readonly data: Operand;
      readonly guard: Operand;
    }
  | {
      readonly tag: 'LoadG';
      readonly conversion: (typeof LOAD_CONVERSIONS)[number];
      readonly temp: number;
      readonly address: Operand;
      readonly alternative: Operand;
      readonly guard: Operand;
    }
  | CasStatement
  | DirtyStatement
  | { readonly tag: 'MBE'; readonly event: number }
  | {
      readonly tag: 'Exit';
      readonly guard: Operand;
      readonly jumpKind: number;
      readonly target: bigint;
      readonly offsIP: number;
    }
  | ShadowStatement;

/** A decoded superblock. */
export interface Block {
  /** Loads may hit memory that others change. */
  readonly checked: boolean;
  readonly temps: Uint8Array;
  readonly constants: readonly Constant[];
  readonly statements: readonly Statement[];
  readonly next: Operand;
  readonly jumpKind: number;
  readonly offsIP: number;
}

/** The error that a block is not well-formed. */
export const damaged = (what: string): UserError =>
  new UserError(`The trace is damaged: a block of code has ${what}; record the program again.`);

/** Reads the parts of an encoded block, none beyond its end. */
export class Reader {
  position = 0;
  private readonly view: DataView;
  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    if (this.position >= this.bytes.length) throw damaged('too few bytes');
    return this.bytes[this.position++]!;
  }

  /** A varint that must fit 32 bits. */
  count(): number {
    const first = this.byte();
    if (first < 0x80) return first;
    let value = first & 0x7f;
    for (let scale = 128; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (value > 0xffffffff) throw damaged('a number out of range');
      if (byte < 0x80) return value;
    }
  }

  /** A count of things that take at least one byte each. */
  length(): number {
    const value = this.count();
    if (value > this.bytes.length - this.position) throw damaged('a list longer than its bytes');
    return value;
  }

  /** A zigzag varint of at most 64 bits. */
  zigzag(): bigint {
    const first = this.byte();
    if (first < 0x80) return BigInt((first >>> 1) ^ -(first & 1));
    let value = BigInt(first & 0x7f);
    for (let shift = 7n; ; shift += 7n) {
      if (shift > 63n) throw damaged('a number out of range');
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n));
    }
  }

  /** Four bytes, as a number without sign. */
  word(): number {
    if (this.position + 4 > this.bytes.length) throw damaged('too few bytes');
    const value = this.view.getUint32(this.position, true);
    this.position += 4;
    return value;
  }

  bits64(): bigint {
    if (this.position + 8 > this.bytes.length) throw damaged('too few bytes');
    const value = this.view.getBigUint64(this.position, true);
    this.position += 8;
    return value;
  }

  string(): string {
    const length = this.length();
    let text = '';
    for (let i = 0; i < length; i++) text += String.fromCharCode(this.bytes[this.position++]!);
    return text;
  }

  get atEnd(): boolean {
    return this.position === this.bytes.length;
  }
}

/** Numbers of statements and expressions, as stored. */
export const STATEMENT = {
  IMark: 1,
  AbiHint: 2,
  Put: 3,
  PutI: 4,
  WrTmp: 5,
  Store: 6,
  StoreG: 7,
  LoadG: 8,
  CAS: 9,
  Dirty: 10,
  MBE: 11,
  Exit: 12,
} as const;
export const EXPRESSION = {
  Get: 1,
  GetI: 2,
  RdTmp: 3,
  Unop: 4,
  Binop: 5,
  Triop: 6,
  Qop: 7,
  Load: 8,
  Const: 9,
  ITE: 10,
  CCall: 11,
} as const;
/** In the number of a statement: its result is in the value log. */
export const LOGGED = 0x80;

/** Expands a constant's mask of bytes: bit i set makes byte i 0xff. */
function expandMask(mask: bigint, size: number): bigint {
  let bits = 0n;
  for (let i = 0; i < size; i++) if ((mask >> BigInt(i)) & 1n) bits |= 0xffn << BigInt(8 * i);
  return bits;
}

/**
 * Decodes one superblock.
 * @param ir - the encoded block
 * @param address - guest address that was translated; instruction addresses are relative to it
 * @param opNames - names of the operations by the key that the trace uses
 * @param stateSize - size of the guest state in bytes; accesses beyond it are refused
 * @throws UserError when the bytes are not a well-formed block
 */
export function decodeBlock(
  ir: Uint8Array,
  address: bigint,
  opNames: readonly string[],
  stateSize: number,
): Block {
  const reader = new Reader(ir);
  const checked = (reader.byte() & 1) !== 0;

  const type = (): Type => {
    const code = reader.byte();
    if (code === 0 || code > TYPE.V256) throw damaged(`an unknown type (${code})`);
    return code as Type;
  };
  const temps = new Uint8Array(reader.length());
  for (let i = 0; i < temps.length; i++) temps[i] = type();

  const constants: Constant[] = [];
  for (let left = reader.length(); left > 0; left--) {
    const constantType = type();
    const bits = reader.bits64();
    const sizeBytes = TYPE_SIZES[constantType];
    constants.push({
      type: constantType,
      bits:
        sizeBytes > 8
          ? expandMask(bits, sizeBytes)
          : BigInt.asUintN(constantType === TYPE.I1 ? 1 : 8 * sizeBytes, bits),
    });
  }

  const operand = (): Operand => {
    const value = reader.count();
    if (value / 2 >= (value % 2 ? constants.length : temps.length))
      throw damaged('an operand that does not exist');
    return value;
  };
  const shifted = (by: number): Operand | undefined => {
    const value = reader.count() - by;
    if (value < 0) return undefined;
    if (value / 2 >= (value % 2 ? constants.length : temps.length))
      throw damaged('an operand that does not exist');
    return value;
  };
  const typeOf = (value: Operand): number =>
    value & 1 ? constants[value >>> 1]!.type : temps[value >>> 1]!;
  const typed = (expected: Type): Operand => {
    const value = operand();
    if (typeOf(value) !== expected) throw damaged(`an operand that is not ${TYPE_NAMES[expected]}`);
    return value;
  };
  const temp = (): number => {
    const value = reader.count();
    if (value >= temps.length) throw damaged('a temporary that does not exist');
    return value;
  };
  const optionalTemp = (): number => {
    const value = reader.count() - 1;
    if (value >= temps.length) throw damaged('a temporary that does not exist');
    return value;
  };
  const stateRange = (offset: number, size: number): number => {
    if (offset + size > stateSize) throw damaged('an access beyond the guest state');
    return offset;
  };
  const stateArray = (): StateArray => {
    const base = reader.count();
    const elemType = type();
    const nElems = reader.count();
    if (nElems === 0 || (nElems & (nElems - 1)) !== 0)
      throw damaged('a state array whose length is no power of two');
    stateRange(base, TYPE_SIZES[elemType] * nElems);
    const index = typed(TYPE.I32);
    return { base, elemType, nElems, index, bias: Number(BigInt.asIntN(32, reader.zigzag())) };
  };
  const op = (): string => {
    const key = reader.count();
    const name = opNames[key];
    if (name === undefined) throw damaged(`an operation that the trace does not name (${key})`);
    return name;
  };
  const operands = (count: number): Operand[] => {
    const list: Operand[] = [];
    for (let i = 0; i < count; i++) list.push(operand());
    return list;
  };

  const expression = (): Expression => {
    const tag = reader.byte();
    switch (tag) {
      case EXPRESSION.Get: {
        const offset = reader.count();
        const got = type();
        return { tag: 'Get', offset: stateRange(offset, TYPE_SIZES[got]), type: got };
      }
      case EXPRESSION.GetI:
        return { tag: 'GetI', ...stateArray() };
      case EXPRESSION.RdTmp:
      case EXPRESSION.Const:
        return { tag: 'Atom', operand: operand() };
      case EXPRESSION.Unop:
      case EXPRESSION.Binop:
      case EXPRESSION.Triop:
      case EXPRESSION.Qop:
        return { tag: 'Op', op: op(), args: operands(tag - EXPRESSION.Unop + 1) };
      case EXPRESSION.Load:
        return { tag: 'Load', type: type(), address: typed(TYPE.I64) };
      case EXPRESSION.ITE:
        return { tag: 'ITE', condition: typed(TYPE.I1), ifTrue: operand(), ifFalse: operand() };
      case EXPRESSION.CCall: {
        const name = reader.string();
        const result = type();
        return { tag: 'CCall', name, type: result, args: operands(reader.length()) };
      }
      default:
        throw damaged(`an unknown expression (${tag})`);
    }
  };

  const typeOfExpression = (expr: Expression): number => {
    switch (expr.tag) {
      case 'Get':
      case 'Load':
      case 'CCall':
        return expr.type;
      case 'GetI':
        return expr.elemType;
      case 'Atom':
        return typeOf(expr.operand);
      case 'ITE':
        if (typeOf(expr.ifTrue) !== typeOf(expr.ifFalse))
          throw damaged('a choice between two types');
        return typeOf(expr.ifTrue);
      case 'Op':
        return -1; // known to the evaluator only
    }
  };

  const statement = (): Statement => {
    const first = reader.byte();
    const logged = (first & LOGGED) !== 0;
    switch (first & ~LOGGED) {
      case STATEMENT.IMark: {
        const relative = reader.zigzag();
        return {
          tag: 'IMark',
          address: BigInt.asUintN(64, address + relative),
          length: reader.byte(),
          delta: reader.byte(),
        };
      }
      case STATEMENT.AbiHint:
        return { tag: 'AbiHint', base: operand(), size: reader.count(), nia: operand() };
      case STATEMENT.Put: {
        const offset = reader.count();
        const data = operand();
        return { tag: 'Put', offset: stateRange(offset, TYPE_SIZES[typeOf(data) as Type]), data };
      }
      case STATEMENT.PutI: {
        const array = stateArray();
        return { tag: 'PutI', ...array, data: typed(array.elemType) };
      }
      case STATEMENT.WrTmp: {
        const target = temp();
        const expr = expression();
        const exprType = typeOfExpression(expr);
        if (exprType >= 0 && exprType !== temps[target])
          throw damaged('an assignment between two types');
        return { tag: 'WrTmp', logged, temp: target, expr };
      }
      case STATEMENT.Store:
        return { tag: 'Store', address: typed(TYPE.I64), data: operand() };
      case STATEMENT.StoreG:
        return { tag: 'StoreG', address: typed(TYPE.I64), data: operand(), guard: typed(TYPE.I1) };
      case STATEMENT.LoadG: {
        const conversion = LOAD_CONVERSIONS[reader.byte()];
        if (!conversion) throw damaged('an unknown guarded load');
        const target = temp();
        if (temps[target] !== conversion.to) throw damaged('a guarded load of the wrong type');
        return {
          tag: 'LoadG',
          conversion,
          temp: target,
          address: typed(TYPE.I64),
          alternative: typed(conversion.to),
          guard: typed(TYPE.I1),
        };
      }
      case STATEMENT.CAS: {
        const casType = type();
        if (casType < TYPE.I8 || casType > TYPE.I64)
          throw damaged('a compare-and-swap of an odd type');
        const oldHi = optionalTemp();
        const oldLo = temp();
        const casAddress = typed(TYPE.I64);
        const expectedHi = shifted(1);
        const expectedLo = typed(casType);
        const dataHi = shifted(1);
        const dataLo = typed(casType);
        for (const part of [expectedHi, dataHi]) {
          if ((part !== undefined) !== oldHi >= 0)
            throw damaged('half of a double compare-and-swap');
          if (part !== undefined && typeOf(part) !== casType)
            throw damaged('a compare-and-swap of two types');
        }
        if (temps[oldLo] !== casType || (oldHi >= 0 && temps[oldHi] !== casType))
          throw damaged('a compare-and-swap of two types');
        return {
          tag: 'CAS',
          type: casType,
          oldHi,
          oldLo,
          address: casAddress,
          expectedHi,
          expectedLo,
          dataHi,
          dataLo,
        };
      }
      case STATEMENT.Dirty: {
        const name = reader.string();
        const guard = typed(TYPE.I1);
        const result = optionalTemp();
        const effect = EFFECTS[reader.byte()];
        if (!effect) throw damaged('an unknown effect');
        const memory =
          effect === 'none'
            ? undefined
            : { effect, address: typed(TYPE.I64), size: reader.count() };
        if (memory && memory.size > 65536) throw damaged('a memory effect that is too large');
        const state: StateEffect[] = [];
        for (let left = reader.length(); left > 0; left--) {
          const stateEffect = EFFECTS[reader.byte()];
          if (!stateEffect) throw damaged('an unknown effect');
          const offset = reader.count();
          const size = reader.count();
          const repeats = reader.count();
          const repeatStride = reader.count();
          stateRange(offset + repeats * repeatStride, size);
          state.push({ effect: stateEffect, offset, size, repeats, repeatStride });
        }
        const args: Operand[] = [];
        for (let left = reader.length(); left > 0; left--) {
          const arg = shifted(2);
          if (arg !== undefined) args.push(arg);
        }
        return { tag: 'Dirty', name, logged, guard, result, memory, state, args };
      }
      case STATEMENT.MBE:
        return { tag: 'MBE', event: reader.byte() };
      case STATEMENT.Exit: {
        const guard = typed(TYPE.I1);
        const jumpKind = reader.byte();
        if (jumpKind >= JUMP_KINDS.length) throw damaged('an unknown kind of jump');
        const target = typed(TYPE.I64);
        if (!(target & 1)) throw damaged('a side exit without a constant target');
        const offsIP = stateRange(reader.count(), 8);
        return { tag: 'Exit', guard, jumpKind, target: constants[target >>> 1]!.bits, offsIP };
      }
      default:
        throw damaged(`an unknown statement (${first & ~LOGGED})`);
    }
  };

  const statements: Statement[] = [];
  for (let left = reader.length(); left > 0; left--) statements.push(statement());
  const next = typed(TYPE.I64);
  const jumpKind = reader.byte();
  if (jumpKind >= JUMP_KINDS.length) throw damaged('an unknown kind of jump');
  const offsIP = stateRange(reader.count(), 8);
  if (!reader.atEnd) throw damaged('bytes left over');
  return { checked, temps, constants, statements, next, jumpKind, offsIP };
}

/** Calls `use` for each operand that a statement reads. */
export function visitOperands(statement: Statement, use: (operand: Operand) => void): void {
  const optional = (operand: Operand | undefined): void => {
    if (operand !== undefined) use(operand);
  };
  switch (statement.tag) {
    case 'IMark':
    case 'MBE':
    case 'ShadowGet':
      break;
    case 'AbiHint':
      use(statement.base);
      use(statement.nia);
      break;
    case 'Put':
      use(statement.data);
      break;
    case 'PutI':
      use(statement.index);
      use(statement.data);
      break;
    case 'WrTmp':
      visitExpression(statement.expr, use);
      break;
    case 'Store':
      use(statement.address);
      use(statement.data);
      break;
    case 'StoreG':
      use(statement.address);
      use(statement.data);
      use(statement.guard);
      break;
    case 'LoadG':
      use(statement.address);
      use(statement.alternative);
      use(statement.guard);
      break;
    case 'CAS':
      use(statement.address);
      use(statement.expectedLo);
      use(statement.dataLo);
      optional(statement.expectedHi);
      optional(statement.dataHi);
      break;
    case 'Dirty':
      use(statement.guard);
      optional(statement.memory?.address);
      statement.args.forEach(use);
      break;
    case 'Exit':
      use(statement.guard);
      break;
    case 'ShadowGetI':
      use(statement.index);
      break;
    case 'ShadowPut':
      use(statement.bits);
      use(statement.origin);
      break;
    case 'ShadowPutI':
      use(statement.index);
      use(statement.bits);
      use(statement.origin);
      break;
    case 'ShadowLoad':
    case 'ShadowReadRange':
      use(statement.address);
      optional(statement.guard);
      break;
    case 'ShadowStore':
    case 'ShadowWriteRange':
      use(statement.address);
      use(statement.bits);
      use(statement.origin);
      optional(statement.guard);
      break;
    case 'ShadowCheck':
      use(statement.bits);
      use(statement.origin);
      optional(statement.guard);
      break;
  }
}

function visitExpression(expr: Expression, use: (operand: Operand) => void): void {
  switch (expr.tag) {
    case 'Get':
      break;
    case 'GetI':
      use(expr.index);
      break;
    case 'Atom':
      use(expr.operand);
      break;
    case 'Op':
    case 'CCall':
      expr.args.forEach(use);
      break;
    case 'Load':
      use(expr.address);
      break;
    case 'ITE':
      use(expr.condition);
      use(expr.ifTrue);
      use(expr.ifFalse);
      break;
  }
}

/** The temporaries that a statement assigns. */
export function assignedBy(statement: Statement): readonly number[] {
  switch (statement.tag) {
    case 'WrTmp':
    case 'LoadG':
      return [statement.temp];
    case 'CAS':
      return statement.oldHi >= 0 ? [statement.oldLo, statement.oldHi] : [statement.oldLo];
    case 'Dirty':
      return statement.result >= 0 ? [statement.result] : [];
    case 'ShadowGet':
    case 'ShadowGetI':
    case 'ShadowLoad':
    case 'ShadowReadRange':
      return [statement.bits, statement.origin];
    default:
      return [];
  }
}

/** The type of an operand. */
export function operandType(block: Block, operand: Operand): Type {
  return (operand & 1 ? block.constants[operand >>> 1]!.type : block.temps[operand >>> 1]!) as Type;
}

/** The value of an operand that is a constant, else undefined. */
export function constantBits(block: Block, operand: Operand | undefined): bigint | undefined {
  return operand !== undefined && operand & 1 ? block.constants[operand >>> 1]!.bits : undefined;
}

/** A place in the code that loads or stores guest memory, or where instructions are fetched. */
export interface AccessSite {
  /** Number of the statement in the block. */
  readonly statement: number;
  readonly pc: bigint;
  readonly kind: 'load' | 'store' | 'fetch';
  /** Part of a compare-and-swap. */
  readonly atomic: boolean;
  /** Happens only when a guard holds. */
  readonly guarded: boolean;
  readonly size: number;
  /** Number of the guest instruction within the block, from 0. */
  readonly instruction: number;
}

/**
 * The access sites of a block in the order in which their rows appear: a load before the store of
 * the same statement, statements in order.
 */
export function accessSites(block: Block, address: bigint): AccessSite[] {
  const sites: AccessSite[] = [];
  let pc = address;
  let instruction = -1;
  block.statements.forEach((statement, index) => {
    const add = (
      kind: 'load' | 'store',
      size: number,
      flags: { atomic?: boolean; guarded?: boolean } = {},
    ): void => {
      const { atomic = false, guarded = false } = flags;
      sites.push({
        statement: index,
        pc,
        kind,
        atomic,
        guarded,
        size,
        instruction: Math.max(instruction, 0),
      });
    };
    switch (statement.tag) {
      case 'IMark':
        pc = BigInt.asUintN(64, statement.address + BigInt(statement.delta));
        instruction++;
        break;
      case 'WrTmp':
        if (statement.expr.tag === 'Load') add('load', TYPE_SIZES[statement.expr.type]);
        break;
      case 'Store':
        add('store', TYPE_SIZES[operandType(block, statement.data)]);
        break;
      case 'StoreG':
        add('store', TYPE_SIZES[operandType(block, statement.data)], { guarded: true });
        break;
      case 'LoadG':
        add('load', TYPE_SIZES[statement.conversion.from], { guarded: true });
        break;
      case 'CAS': {
        const size = TYPE_SIZES[statement.type] * (statement.oldHi >= 0 ? 2 : 1);
        add('load', size, { atomic: true });
        add('store', size, { atomic: true, guarded: true });
        break;
      }
      case 'Dirty':
        if (statement.memory) {
          const guarded = constantBits(block, statement.guard) !== 1n;
          if (statement.memory.effect !== 'write') add('load', statement.memory.size, { guarded });
          if (statement.memory.effect !== 'read') add('store', statement.memory.size, { guarded });
        }
        break;
    }
  });
  return sites;
}

/** Whether a statement has access sites. */
const accessesMemory = (one: Statement): boolean =>
  one.tag === 'WrTmp'
    ? one.expr.tag === 'Load'
    : one.tag === 'Dirty'
      ? one.memory !== undefined
      : one.tag === 'Store' || one.tag === 'StoreG' || one.tag === 'LoadG' || one.tag === 'CAS';

/**
 * Which instructions of a block are fetched from another line than the one before, or after an access to memory: told by
 * its statements in their order.
 */
export class FetchedLines {
  private last: bigint | undefined;

  /** @param lineBits - logarithm of a line's size in bytes */
  constructor(private readonly lineBits: number) {}

  /** Whether the statement is such an instruction. */
  isNew(statement: Statement): boolean {
    if (statement.tag !== 'IMark') {
      if (accessesMemory(statement)) this.last = undefined;
      return false;
    }
    const { address, length } = statement;
    const bits = BigInt(this.lineBits);
    const first = address >> bits;
    const last = (address + BigInt(Math.max(length, 1) - 1)) >> bits;
    const isNew = first !== last || first !== this.last;
    this.last = last;
    return isNew;
  }
}

/** Sites of such instructions; of the first in any case. */
export function fetchSites(block: Block, lineBits: number): AccessSite[] {
  const lines = new FetchedLines(lineBits);
  let instruction = 0;
  return block.statements.flatMap((mark, statement): AccessSite[] => {
    const isNew = lines.isNew(mark);
    if (mark.tag !== 'IMark') return [];
    const number = instruction++;
    if (!isNew) return [];
    const size = Math.max(mark.length, 1);
    const flags = { atomic: false, guarded: false };
    return [{ statement, pc: mark.address, kind: 'fetch', ...flags, size, instruction: number }];
  });
}

/** A straight-line part of a block: up to a side exit, or to the end. */
export interface Segment {
  /** Address of the first instruction; of the last one before when it has none of its own. */
  readonly address: bigint;
  readonly instructions: number;
}

/** The statement ends a segment: exits that are never taken do not. */
export const endsSegment = (statement: Statement): boolean =>
  statement.tag === 'Exit' && statement.jumpKind !== JUMP_INVALIDATE;

/** The segments of a block, in order. */
export function segmentsOf(block: Block, address: bigint): Segment[] {
  const segments: Segment[] = [];
  let instructions = 0;
  let first = address;
  let last = address;
  for (const statement of block.statements) {
    if (statement.tag === 'IMark') {
      last = statement.address;
      if (instructions++ === 0) first = last;
    } else if (endsSegment(statement)) {
      segments.push({ address: first, instructions });
      instructions = 0;
      first = last;
    }
  }
  segments.push({ address: first, instructions });
  return segments;
}

/** Prints a block as text, one statement per line, in the manner of VEX. */
export function formatBlock(block: Block): string {
  const hex = (value: bigint): string => `0x${value.toString(16)}`;
  const atom = (operand: Operand): string => {
    if (!(operand & 1)) return `t${operand >>> 1}`;
    const { type, bits } = block.constants[operand >>> 1]!;
    return `${hex(bits)}:${TYPE_NAMES[type]}`;
  };
  const array = (a: StateArray): string =>
    `(${a.base}:${a.nElems}x${TYPE_NAMES[a.elemType]})[${atom(a.index)},${a.bias}]`;
  const expression = (e: Expression): string => {
    switch (e.tag) {
      case 'Get':
        return `GET:${TYPE_NAMES[e.type]}(${e.offset})`;
      case 'GetI':
        return `GETI${array(e)}`;
      case 'Atom':
        return atom(e.operand);
      case 'Op':
        return `${e.op}(${e.args.map(atom).join(',')})`;
      case 'Load':
        return `LDle:${TYPE_NAMES[e.type]}(${atom(e.address)})`;
      case 'ITE':
        return `ITE(${atom(e.condition)},${atom(e.ifTrue)},${atom(e.ifFalse)})`;
      case 'CCall':
        return `${e.name}(${e.args.map(atom).join(',')}):${TYPE_NAMES[e.type]}`;
    }
  };
  const line = (s: Statement): string => {
    switch (s.tag) {
      case 'IMark':
        return `------ IMark(${hex(s.address)}, ${s.length}, ${s.delta}) ------`;
      case 'AbiHint':
        return `====== AbiHint(${atom(s.base)}, ${s.size}, ${atom(s.nia)}) ======`;
      case 'Put':
        return `PUT(${s.offset}) = ${atom(s.data)}`;
      case 'PutI':
        return `PUTI${array(s)} = ${atom(s.data)}`;
      case 'WrTmp':
        return `t${s.temp} = ${expression(s.expr)}${s.logged ? '  (logged)' : ''}`;
      case 'Store':
        return `STle(${atom(s.address)}) = ${atom(s.data)}`;
      case 'StoreG':
        return `if (${atom(s.guard)}) { STle(${atom(s.address)}) = ${atom(s.data)} }`;
      case 'LoadG':
        return `t${s.temp} = if (${atom(s.guard)}) ${s.conversion.name}(LDle(${atom(s.address)})) else ${atom(s.alternative)}`;
      case 'CAS': {
        const pair = (hi: string | undefined, lo: string): string =>
          hi === undefined ? lo : `${hi},${lo}`;
        const optional = (o: Operand | undefined): string | undefined =>
          o === undefined ? undefined : atom(o);
        const old = pair(s.oldHi >= 0 ? `t${s.oldHi}` : undefined, `t${s.oldLo}`);
        return `${old} = CASle(${atom(s.address)} :: ${pair(optional(s.expectedHi), atom(s.expectedLo))} -> ${pair(optional(s.dataHi), atom(s.dataLo))})`;
      }
      case 'Dirty': {
        const result = s.result >= 0 ? `t${s.result} = ` : '';
        const memory = s.memory
          ? ` ${s.memory.effect}-mem(${atom(s.memory.address)},${s.memory.size})`
          : '';
        const state = s.state.map(
          (f) =>
            ` ${f.effect}-gst(${f.offset},${f.size}${f.repeats ? `,reps${f.repeats},step${f.repeatStride}` : ''})`,
        );
        return `${result}DIRTY ${atom(s.guard)}${memory}${state.join('')} ::: ${s.name}`;
      }
      case 'MBE':
        return `MBE(${s.event})`;
      case 'Exit':
        return `if (${atom(s.guard)}) { PUT(${s.offsIP}) = ${hex(s.target)}; exit-${JUMP_KINDS[s.jumpKind]} }`;
      default:
        return JSON.stringify(s);
    }
  };
  const lines = block.statements.map(line);
  lines.push(`PUT(${block.offsIP}) = ${atom(block.next)}; exit-${JUMP_KINDS[block.jumpKind]}`);
  return lines.join('\n');
}
