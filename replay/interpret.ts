/**
 * A plain interpreter of superblocks on bigints: the obvious twin of the compiler, against which
 * that is tested, and what runs a block that must stop in the middle.
 */
import { UserError } from '../schemas/errors.js';
import { CHECKSUM_HELPER, UNDEFINED_BYTE } from './compile-block.js';
import type { ShadowSite } from './compile-shadow.js';
import { EVALUATED_HELPER_TABLE, OPERATIONS } from './eval-ops.js';
import {
  JUMP_INVALIDATE,
  TYPE,
  TYPE_SIZES,
  constantBits,
  type Block,
  type DirtyStatement,
  type Expression,
  type Operand,
  type Statement,
  type StateArray,
  type Type,
} from './ir.js';
import { STACK_REDZONE, type OriginTag } from './shadow.js';
import type { ShadowGuest } from './shadow-guest.js';
import type { ShadowStatement } from './shadow-ir.js';

/** What a block works on. All bit patterns are non-negative; sizes are in bytes. */
export interface Machine {
  readState(offset: number, size: number): bigint;
  writeState(offset: number, size: number, bits: bigint): void;
  load(address: bigint, size: number): bigint;
  store(address: bigint, size: number, bits: bigint): void;
  /** Others can change the memory at this address. */
  isShared(address: bigint): boolean;
  /** The next bytes of the value log, as a little-endian number. */
  takeValue(size: number): bigint;
  /**
   * An access happened.
   * @param site - number of the site within the block
   * @param instruction - number of the guest instruction within the block
   */
  access(
    site: number,
    instruction: number,
    address: bigint,
    size: number,
    bits: bigint,
    isStore: boolean,
  ): void;
}

/** The machine of a replay that follows definedness. */
export interface ShadowMachine {
  readonly guest: ShadowGuest;
  /** Offset of the stack pointer in the guest state. */
  readonly RSP: number;
  /** The block is the rest of one that ran to there; absent, a whole one. */
  readonly start?: {
    readonly temps: ReadonlyMap<number, bigint>;
    /** Instructions before it, the address of the last of them, and the address after that. */
    readonly instructions: number;
    readonly pc: bigint;
    readonly nextPc: bigint;
  };
}

/** How a block was left. */
export interface Outcome {
  /** It was stopped before an instruction: nothing of that one has taken effect. */
  readonly stopped: boolean;
  /** Guest address to go on at. */
  readonly next: bigint;
  readonly jumpKind: number;
  /** Guest instructions in the segments that were completed. */
  readonly instructions: number;
  /** Segments that were completed. */
  readonly segments: number;
}

/** Bytes that an entry of the value log takes for a type. */
const entrySize = (type: Type): number => Math.max(8, TYPE_SIZES[type]);

const clip = (type: Type, bits: bigint): bigint =>
  BigInt.asUintN(type === TYPE.I1 ? 1 : 8 * TYPE_SIZES[type], bits);

/** Statements of a faulting instruction that are looked at, and others that are passed over. */
const JUDGED_AT_FAULT: ReadonlySet<Statement['tag']> = new Set([
  'WrTmp',
  'ShadowGet',
  'ShadowGetI',
  'ShadowLoad',
  'ShadowStore',
  'ShadowCheck',
]);
const HAS_NO_EFFECT_AT_FAULT: ReadonlySet<Statement['tag']> = new Set([
  'AbiHint',
  'MBE',
  'Put',
  'PutI',
  'Store',
  'StoreG',
  'ShadowPut',
  'ShadowPutI',
]);

const ACCESSES: ReadonlySet<Statement['tag']> = new Set(['ShadowLoad', 'ShadowStore']);

/** A division may be what faulted. */
const canEvaluate = (expr: Expression): boolean =>
  !(expr.tag === 'Op' && expr.op.startsWith('DivMod'));

/** Applies the logged effects of a dirty statement and returns its result (0 when it has none). */
export function applyDirty(
  machine: Machine,
  statement: DirtyStatement,
  resultType: Type,
  address: bigint,
  firstSite: number,
  instruction: number,
): bigint {
  const { memory } = statement;
  const roundUp = (size: number): number => (size + 7) & ~7;
  let site = firstSite;
  const result =
    statement.result >= 0 ? clip(resultType, machine.takeValue(entrySize(resultType))) : 0n;
  for (const { effect, offset, size, repeats, repeatStride } of statement.state) {
    if (effect !== 'write' && effect !== 'modify') continue;
    for (let i = 0; i <= repeats; i++) {
      const bits = BigInt.asUintN(8 * size, machine.takeValue(roundUp(size)));
      machine.writeState(offset + i * repeatStride, size, bits);
    }
  }
  if (memory && memory.effect !== 'write') {
    const bits = machine.load(address, memory.size);
    machine.access(site++, instruction, address, memory.size, bits, false);
  }
  if (memory && memory.effect !== 'read') {
    const bits = BigInt.asUintN(8 * memory.size, machine.takeValue(roundUp(memory.size)));
    machine.store(address, memory.size, bits);
    machine.access(site, instruction, address, memory.size, bits, true);
  }
  return result;
}

/**
 * Runs one superblock.
 * @param stopBefore - asked before each instruction, with the number of instructions before it in
 *   the block and its address; true stops there
 */
export function interpretBlock(
  machine: Machine,
  block: Block,
  stopBefore?: (instructions: number, pc: bigint) => boolean,
  shadow?: ShadowMachine,
): Outcome {
  const temps = new Array<bigint>(block.temps.length).fill(0n);
  for (const [temp, bits] of shadow?.start?.temps ?? []) temps[temp] = bits;
  const value = (operand: Operand): bigint =>
    operand & 1 ? block.constants[operand >>> 1]!.bits : temps[operand >>> 1]!;
  const typeOf = (operand: Operand): Type =>
    (operand & 1 ? block.constants[operand >>> 1]!.type : block.temps[operand >>> 1]!) as Type;
  let instruction = (shadow?.start?.instructions ?? 0) - 1;
  let completed = 0;
  let segments = 0;
  let site = 0;
  let pc = shadow?.start?.pc ?? 0n;
  let nextPc = shadow?.start?.nextPc ?? 0n;
  let pushesReturn = false;
  /** The instruction faulted: it takes no effect, but what it was about to access is judged. */
  let faulted = false;
  let stoppedAt = 0n;
  /** The current instruction has accessed memory. */
  let accessed = false;

  const access = (
    address: bigint,
    size: number,
    bits: bigint,
    isStore: boolean,
    happened = true,
  ): void => {
    if (happened) machine.access(site, Math.max(instruction, 0), address, size, bits, isStore);
    site++;
  };
  const load = (address: bigint, type: Type): bigint => {
    const size = TYPE_SIZES[type];
    if (!(block.checked && machine.isShared(address)))
      return clip(type, machine.load(address, size));
    const bits = clip(type, machine.takeValue(entrySize(type)));
    machine.store(address, size, bits);
    return bits;
  };
  const element = (array: StateArray): number => {
    const index =
      Number(BigInt.asUintN(32, value(array.index) + BigInt(array.bias))) & (array.nElems - 1);
    return array.base + index * TYPE_SIZES[array.elemType];
  };
  const evaluate = (expr: Expression): bigint => {
    switch (expr.tag) {
      case 'Get':
        return clip(expr.type, machine.readState(expr.offset, TYPE_SIZES[expr.type]));
      case 'GetI':
        return clip(expr.elemType, machine.readState(element(expr), TYPE_SIZES[expr.elemType]));
      case 'Atom':
        return value(expr.operand);
      case 'Op': {
        const operation = OPERATIONS.get(expr.op);
        if (!operation) {
          throw new UserError(
            `The program uses the operation ${expr.op}, whose result is not in the trace; record it again with this version.`,
          );
        }
        return operation.evaluate(...expr.args.map(value));
      }
      case 'Load': {
        const address = value(expr.address);
        const bits = load(address, expr.type);
        access(address, TYPE_SIZES[expr.type], bits, false);
        return bits;
      }
      case 'ITE':
        return value(expr.condition) === 1n ? value(expr.ifTrue) : value(expr.ifFalse);
      case 'CCall': {
        if (expr.name.startsWith(CHECKSUM_HELPER)) return 0n; // its exit is never taken
        const helper = EVALUATED_HELPER_TABLE.get(expr.name);
        if (!helper) {
          throw new UserError(
            `The program uses the helper ${expr.name}, whose result is not in the trace; record it again with this version.`,
          );
        }
        return clip(expr.type, helper.evaluate(...expr.args.map(value)));
      }
    }
  };
  const leave = (next: bigint, jumpKind: number, offsIP: number): Outcome => {
    machine.writeState(offsIP, 8, next);
    return {
      stopped: false,
      next,
      jumpKind,
      instructions: instruction + 1,
      segments: segments + 1,
    };
  };

  const stop = (): Outcome => ({
    stopped: true,
    next: stoppedAt,
    jumpKind: 0,
    instructions: completed,
    segments,
  });

  for (const statement of block.statements) {
    if (faulted && !JUDGED_AT_FAULT.has(statement.tag)) {
      if (!HAS_NO_EFFECT_AT_FAULT.has(statement.tag)) return stop();
      // A push or a call moves the stack pointer before it stores.
      const movesStack = statement.tag === 'Put' && statement.offset === shadow!.RSP;
      if (!movesStack || accessed) continue;
    }
    accessed ||= ACCESSES.has(statement.tag);
    switch (statement.tag) {
      case 'ShadowGet':
      case 'ShadowPut':
      case 'ShadowGetI':
      case 'ShadowPutI':
      case 'ShadowLoad':
      case 'ShadowStore':
      case 'ShadowReadRange':
      case 'ShadowWriteRange':
      case 'ShadowCheck':
        interpretShadow(shadow!.guest, statement, {
          pc,
          instruction: Math.max(instruction, 0),
          value,
          element,
          assign: (temp, bits) => (temps[temp] = bits),
        });
        break;
      case 'IMark':
        if (stopBefore?.(instruction + 1, statement.address)) {
          stoppedAt = statement.address;
          if (!shadow) return stop();
          faulted = true;
        }
        instruction++;
        pc = BigInt.asUintN(64, statement.address + BigInt(statement.delta));
        nextPc = BigInt.asUintN(64, statement.address + BigInt(statement.length));
        pushesReturn = false;
        accessed = false;
        break;
      case 'AbiHint':
        if (shadow) {
          const base = value(statement.base);
          shadow.guest.abiHint(base, statement.size, value(statement.nia));
          if (pushesReturn) shadow.guest.pushFrame(base + STACK_REDZONE, pc);
        }
        break;
      case 'MBE':
        break;
      case 'Put':
        if (shadow && statement.offset === shadow.RSP)
          shadow.guest.moveStack(machine.readState(shadow.RSP, 8), value(statement.data), pc);
        machine.writeState(
          statement.offset,
          TYPE_SIZES[typeOf(statement.data)],
          value(statement.data),
        );
        break;
      case 'PutI':
        machine.writeState(
          element(statement),
          TYPE_SIZES[statement.elemType],
          value(statement.data),
        );
        break;
      case 'WrTmp': {
        const type = block.temps[statement.temp] as Type;
        if (faulted && (statement.logged || !canEvaluate(statement.expr))) return stop();
        temps[statement.temp] = statement.logged
          ? clip(type, machine.takeValue(entrySize(type)))
          : evaluate(statement.expr);
        break;
      }
      case 'Store':
      case 'StoreG': {
        pushesReturn ||= constantBits(block, statement.data) === nextPc;
        const holds = statement.tag === 'Store' || value(statement.guard) === 1n;
        const address = value(statement.address);
        const size = TYPE_SIZES[typeOf(statement.data)];
        if (holds) machine.store(address, size, value(statement.data));
        access(address, size, value(statement.data), true, holds);
        break;
      }
      case 'LoadG': {
        const { from, to, signed } = statement.conversion;
        const address = value(statement.address);
        const holds = value(statement.guard) === 1n;
        const bits = holds ? load(address, from) : 0n;
        access(address, TYPE_SIZES[from], bits, false, holds);
        const widened = signed ? clip(to, BigInt.asIntN(8 * TYPE_SIZES[from], bits)) : bits;
        temps[statement.temp] = holds ? widened : value(statement.alternative);
        break;
      }
      case 'CAS': {
        const {
          type,
          oldHi,
          oldLo,
          address: at,
          expectedHi,
          expectedLo,
          dataHi,
          dataLo,
        } = statement;
        const address = value(at);
        const size = TYPE_SIZES[type];
        const high = BigInt.asUintN(64, address + BigInt(size));
        let hi = 0n;
        let lo: bigint;
        if (oldHi >= 0 && block.checked && machine.isShared(address)) {
          lo = clip(type, machine.takeValue(8));
          hi = clip(type, machine.takeValue(8));
          machine.store(address, size, lo);
          machine.store(high, size, hi);
        } else {
          lo = load(address, type);
          if (oldHi >= 0) hi = machine.load(high, size);
        }
        const whole = oldHi >= 0 ? 2 * size : size;
        const join = (h: bigint, l: bigint): bigint =>
          oldHi >= 0 ? (h << BigInt(8 * size)) | l : l;
        access(address, whole, join(hi, lo), false);
        const newHi = dataHi === undefined ? 0n : value(dataHi);
        const newLo = value(dataLo);
        const succeeds =
          lo === value(expectedLo) && (expectedHi === undefined || hi === value(expectedHi));
        if (succeeds) {
          machine.store(address, size, newLo);
          if (oldHi >= 0) machine.store(high, size, newHi);
        }
        access(address, whole, join(newHi, newLo), true, succeeds);
        temps[oldLo] = lo;
        if (oldHi >= 0) temps[oldHi] = hi;
        break;
      }
      case 'Dirty': {
        const type = (statement.result >= 0 ? block.temps[statement.result]! : TYPE.none) as Type;
        if (value(statement.guard) === 1n) {
          const address = statement.memory ? value(statement.memory.address) : 0n;
          const result = applyDirty(
            machine,
            statement,
            type,
            address,
            site,
            Math.max(instruction, 0),
          );
          if (statement.result >= 0) temps[statement.result] = result;
        } else if (statement.result >= 0) {
          let undefinedBits = 0n;
          for (let i = 0; i < TYPE_SIZES[type]; i++)
            undefinedBits = (undefinedBits << 8n) | UNDEFINED_BYTE;
          temps[statement.result] = clip(type, undefinedBits);
        }
        if (statement.memory) site += statement.memory.effect === 'modify' ? 2 : 1;
        break;
      }
      case 'Exit':
        if (statement.jumpKind === JUMP_INVALIDATE) break;
        if (value(statement.guard) === 1n)
          return leave(statement.target, statement.jumpKind, statement.offsIP);
        segments++;
        completed = instruction + 1;
        break;
    }
  }
  if (faulted) return stop();
  return leave(value(block.next), block.jumpKind, block.offsIP);
}

/** Carries out a statement that follows definedness. */
function interpretShadow(
  guest: ShadowGuest,
  statement: ShadowStatement,
  block: {
    readonly pc: bigint;
    readonly instruction: number;
    value(operand: Operand): bigint;
    element(array: StateArray): number;
    assign(temp: number, bits: bigint): void;
  },
): void {
  const { value, assign, pc, instruction } = block;
  const origin = (operand: Operand): number => Number(value(operand));
  const site: ShadowSite = { pc, instruction, use: 'value', sizeBytes: 0 };
  const found = (
    { bits, origin: from }: { bits: bigint; origin: OriginTag },
    into: { bits: number; origin: number },
  ): void => {
    assign(into.bits, bits);
    assign(into.origin, BigInt(from));
  };
  const holds = (guard: Operand | undefined): boolean => guard === undefined || value(guard) === 1n;
  switch (statement.tag) {
    case 'ShadowGet':
      found(guest.readRegisters(statement.offset, TYPE_SIZES[statement.type]), statement);
      break;
    case 'ShadowGetI':
      found(
        guest.readRegisters(block.element(statement), TYPE_SIZES[statement.elemType]),
        statement,
      );
      break;
    case 'ShadowPut':
      guest.writeRegisters(
        statement.offset,
        TYPE_SIZES[statement.type],
        value(statement.bits),
        origin(statement.origin),
      );
      break;
    case 'ShadowPutI':
      guest.writeRegisters(
        block.element(statement),
        TYPE_SIZES[statement.elemType],
        value(statement.bits),
        origin(statement.origin),
      );
      break;
    case 'ShadowLoad':
      if (holds(statement.guard))
        found(guest.load(value(statement.address), TYPE_SIZES[statement.type], site), statement);
      break;
    case 'ShadowStore':
      if (holds(statement.guard))
        guest.store(
          value(statement.address),
          TYPE_SIZES[statement.type],
          value(statement.bits),
          origin(statement.origin),
          site,
        );
      break;
    case 'ShadowReadRange':
      if (holds(statement.guard))
        found(guest.readRange(value(statement.address), statement.sizeBytes, site), statement);
      break;
    case 'ShadowWriteRange':
      if (holds(statement.guard))
        guest.writeRange(
          value(statement.address),
          statement.sizeBytes,
          value(statement.bits),
          origin(statement.origin),
          site,
        );
      break;
    case 'ShadowCheck': {
      const { use, sizeBytes } = statement;
      if (holds(statement.guard) && value(statement.bits) !== 0n)
        guest.check(origin(statement.origin), { ...site, use, sizeBytes });
      break;
    }
  }
}
