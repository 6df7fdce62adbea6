/**
 * The two versions of a superblock in a replay that follows definedness.
 *
 * Undefined values are rare. The clean version of a block computes as any other replay does and only
 * watches: it asks once whether a register that it touches holds undefined bits, and for each load
 * whether all bytes are defined and accessible. If not, it goes on with the exact version of the rest
 * of the block, which an analysis has rewritten to follow each bit; temporaries go there through memory.
 *
 * Both versions mark the stack as its pointer moves, and note calls.
 */
import { BlockCompiler, type CompileUnit, type Modes } from './compile-block.js';
import { loadAt, storeAt, valueTypes, type Emitter, type ModuleContext } from './emit.js';
import {
  TYPE_SIZES,
  assignedBy,
  visitOperands,
  type Block,
  type DirtyStatement,
  type Operand,
  type Statement,
  type Type,
} from './ir.js';
import {
  CELL,
  ORIGIN_STATE,
  SCRATCH_RESULT,
  SHADOW_STATE,
  STATE,
  STATE_PLANE,
  TEMPS,
  TEMP_SIZE,
} from './layout.js';
import { stackOrigin } from './shadow.js';
import { shadowType } from './shadow-ir.js';
import { I32, I64, V128, type Code } from './wasm.js';

/** A place of compiled code that may report something. */
export interface ShadowSite {
  readonly pc: bigint;
  /** Number of the instruction within the block. */
  readonly instruction: number;
  readonly use: 'condition' | 'value';
  readonly sizeBytes: number;
}

/** What a version of a block depends on. */
export interface ShadowUnit {
  readonly exact: boolean;
  /** Instructions of the block before its beginning. */
  readonly instructions: number;
  /** Address of the last of them, and the address after it. */
  readonly pc: bigint;
  readonly nextPc: bigint;
  /** Temporaries that the clean version leaves for the exact one. */
  readonly spilled: readonly number[];
  /** Of the clean version: bits for the registers that it touches, as in `CELL.undefinedLow`. */
  readonly touchedLow: bigint;
  readonly touchedHigh: bigint;
  /** The slot of the exact version from a statement on. */
  exactSlot(from: number): number;
  /** Enters a site and returns its number. */
  site(site: ShadowSite): number;
}

abstract class ShadowBlockCompiler extends BlockCompiler {
  protected readonly shadow: ShadowUnit;
  protected pc: bigint;
  /** Address after the current instruction, and whether that was stored, as a call does. */
  private nextPc: bigint;
  private pushesReturn = false;

  constructor(context: ModuleContext, unit: CompileUnit, modes: Modes, chain: number) {
    super(context, unit, modes, chain);
    this.shadow = unit.shadow!;
    this.instructions = this.shadow.instructions;
    this.pc = this.shadow.pc;
    this.nextPc = this.shadow.nextPc;
  }

  protected override statement(statement: Statement): void {
    const { e } = this;
    switch (statement.tag) {
      case 'IMark':
        this.pc = BigInt.asUintN(64, statement.address + BigInt(statement.delta));
        this.nextPc = BigInt.asUintN(64, statement.address + BigInt(statement.length));
        this.pushesReturn = false;
        break;
      case 'Store':
        this.pushesReturn ||= e.constant(statement.data) === this.nextPc;
        break;
      case 'Put':
        if (this.movesStack(statement.offset, statement.data))
          this.stackMove('moveStack', statement.data, stackOrigin(this.pc));
        break;
      case 'AbiHint':
        this.abiHint(statement.base, statement.size, statement.nia);
        break;
    }
    super.statement(statement);
  }

  /** A call or a return: what the red zone held has no meaning any more. */
  private abiHint(base: Operand, size: number, target: Operand): void {
    const { e, code } = this;
    e.push(base);
    code.i32(size);
    e.push(target);
    e.support('hintStack');
    if (!this.pushesReturn) return;
    e.push(base);
    code.i64(this.pc);
    e.support('pushFrame');
  }

  protected siteNumber(use: ShadowSite['use'] = 'value', sizeBytes = 0): number {
    const instruction = Math.max(this.instructions - 1, 0);
    return this.shadow.site({ pc: this.pc, instruction, use, sizeBytes });
  }

  /** Pushes whether the shadow on the stack has any bit set. */
  protected isNotZero(type: Type): void {
    const { code } = this;
    const types = valueTypes(type);
    if (types[0] === I32) return;
    if (types[0] === V128) {
      if (types.length > 1) code.simd('v128_or');
      code.simd('v128_any_true');
      return;
    }
    if (types.length > 1) code.op('i64_or');
    code.ops('i64_eqz', 'i32_eqz');
  }
}

export class CleanBlockCompiler extends ShadowBlockCompiler {
  /** The statement that is being compiled, as the exact version would begin with it. */
  private at = 0;
  private bailDepth = 0;

  protected override body(): void {
    const { code, shadow } = this;
    code.open('block', I32);
    this.bailDepth = code.depth;
    if (shadow.touchedLow || shadow.touchedHigh) {
      this.pushBailSlot();
      loadAt(code, CELL.undefinedLow, I64);
      code.i64(shadow.touchedLow);
      code.op('i64_and');
      if (shadow.touchedHigh) {
        loadAt(code, CELL.undefinedHigh, I64);
        code.i64(shadow.touchedHigh);
        code.ops('i64_and', 'i64_or');
      }
      code.ops('i64_eqz', 'i32_eqz');
      this.bail();
    }
    super.body();
    code.end();
    for (const temp of shadow.spilled) spill(code, this.e.localsOf(temp), temp, this.typesOf(temp));
    code.returnCall(this.chain);
  }

  override compileStatement(
    statement: Statement,
    before: (e: Emitter) => void,
    after: (e: Emitter) => void,
  ): Code {
    const { code } = this;
    code.open('block', I32);
    this.bailDepth = code.depth;
    super.compileStatement(statement, before, after);
    code.end();
    // Temporaries are where the exact version looks for them.
    storeAt(code, CELL.left, I32, 0);
    code.returnCall(this.chain);
    return code;
  }

  protected override statement(statement: Statement): void {
    super.statement(statement);
    this.at++;
  }

  private typesOf(temp: number) {
    return valueTypes(this.unit.block.temps[temp] as Type);
  }

  private pushBailSlot(): void {
    this.push('bailSlot', () => this.shadow.exactSlot(this.at));
  }

  /** Goes on with the exact version, whose slot is below the condition on the stack. */
  private bail(): void {
    this.code.brIf(this.code.depth - this.bailDepth);
    this.code.op('drop');
  }

  protected override load(address: Operand, type: Type, locals: readonly number[]): void {
    if (this.unit.block.checked) {
      // The exact version asks before it takes a value from the log.
      this.pushBailSlot();
      this.pushIsShared(address);
      this.bail();
    }
    this.plainLoad(address, type, locals);
  }

  protected override beforeLoad(at: number, size: number): void {
    this.pushBailSlot();
    this.pushStates(at, size);
    this.bail();
  }

  protected override beforeStore(at: number, size: number): void {
    const { code } = this;
    this.pushStates(at, size);
    code.open('if');
    code.get(at);
    code.i32(size);
    this.e.support('settle');
    code.brIf(1);
    code.end();
  }

  protected override storeSlowly(size: number): void {
    this.code.i32(size);
    this.push('shadowSite', () => this.siteNumber());
    this.e.call('storeDefined');
  }

  /** Pushes whether any of the bytes at a place is not defined. */
  private pushStates(at: number, size: number): void {
    const { code } = this;
    const offset = this.base + STATE_PLANE;
    code.get(at);
    switch (size) {
      case 1:
        code.memory('i32_load8_u', offset);
        break;
      case 2:
        code.memory('i32_load16_u', offset);
        break;
      case 4:
        code.memory('i32_load', offset);
        break;
      case 8:
        code.memory('i64_load', offset);
        code.ops('i64_eqz', 'i32_eqz');
        break;
      default:
        code.memoryV128('v128_load', offset);
        if (size === 32) {
          code.get(at);
          code.memoryV128('v128_load', offset + 16);
          code.simd('v128_or');
        }
        code.simd('v128_any_true');
    }
  }

  protected override dirty(): void {
    this.pushBailSlot();
    this.code.br(this.code.depth - this.bailDepth);
  }
}

export class ExactBlockCompiler extends ShadowBlockCompiler {
  protected override body(): void {
    const { code } = this;
    for (const temp of this.shadow.spilled) {
      const types = valueTypes(this.unit.block.temps[temp] as Type);
      this.e.localsOf(temp).forEach((local, part) => {
        loadAt(code, TEMPS + TEMP_SIZE * temp + 16 * part, types[part]!);
        code.set(local);
      });
    }
    super.body();
  }

  protected override statement(statement: Statement): void {
    const { e, code } = this;
    switch (statement.tag) {
      case 'ShadowGet':
        for (const [part, local] of e.localsOf(statement.bits).entries()) {
          code.i32(0);
          this.rawLoad(shadowType(statement.type), SHADOW_STATE + statement.offset, part);
          code.set(local);
        }
        this.originOfRegisters(statement.offset, TYPE_SIZES[statement.type]);
        code.set(e.localsOf(statement.origin)[0]!);
        break;
      case 'ShadowPut':
        this.putBits(statement);
        break;
      case 'ShadowGetI': {
        const address = this.elementAddress(statement);
        const type = shadowType(statement.elemType);
        for (const [part, local] of e.localsOf(statement.bits).entries()) {
          code.get(address);
          this.rawLoad(type, SHADOW_STATE - STATE, part);
          code.set(local);
        }
        code.get(address);
        code.i32(-8);
        code.op('i32_and');
        code.memory('i32_load', ORIGIN_STATE - STATE);
        code.set(e.localsOf(statement.origin)[0]!);
        break;
      }
      case 'ShadowPutI':
        this.putBitsIndexed(statement);
        break;
      case 'ShadowLoad':
        this.shadowLoad(statement);
        break;
      case 'ShadowStore':
        this.shadowStore(statement);
        break;
      case 'ShadowReadRange':
        this.shadowReadRange(statement);
        break;
      case 'ShadowWriteRange':
        this.shadowWriteRange(statement);
        break;
      case 'ShadowCheck':
        if (statement.guard !== undefined) {
          e.push(statement.guard);
          code.open('if');
        }
        e.push(statement.bits);
        this.isNotZero(e.typeOf(statement.bits));
        code.open('if');
        e.push(statement.origin);
        code.i32(this.siteNumber(statement.use, statement.sizeBytes));
        e.call('shadowCheck');
        code.end();
        if (statement.guard !== undefined) code.end();
        break;
      default:
        super.statement(statement);
    }
  }

  protected override dirty(statement: DirtyStatement): void {
    super.dirty(statement);
  }

  /** Pushes the origin of the first 8 bytes of registers whose shadow is not zero. */
  private originOfRegisters(offset: number, size: number): void {
    const { code } = this;
    const first = offset & ~7;
    const last = (offset + size - 1) & ~7;
    loadAt(code, ORIGIN_STATE + last, I32);
    for (let word = last - 8; word >= first; word -= 8) {
      const rest = this.e.scratch(I32, 'origin');
      code.set(rest);
      loadAt(code, ORIGIN_STATE + word, I32);
      code.get(rest);
      loadAt(code, SHADOW_STATE + word, I64);
      code.ops('i64_eqz', 'i32_eqz', 'select');
    }
  }

  /** Writes the shadow of registers, and says which of them are undefined. */
  private putBits({ offset, type, bits, origin }: Extract<Statement, { tag: 'ShadowPut' }>): void {
    const { e, code } = this;
    const shadow = shadowType(type);
    const size = TYPE_SIZES[type];
    const parts = valueTypes(shadow).length;
    for (let part = 0; part < parts; part++) {
      code.i32(0);
      e.pushPart(bits, part);
      this.rawStore(shadow, SHADOW_STATE + offset, part);
    }
    e.push(bits);
    this.isNotZero(shadow);
    const isUndefined = e.scratch(I32, 'undefined');
    code.set(isUndefined);
    for (let word = offset & ~7; word < offset + size; word += 8) {
      code.i32(word);
      code.get(isUndefined);
      e.push(origin);
      e.support('notePut');
    }
  }

  private putBitsIndexed(statement: Extract<Statement, { tag: 'ShadowPutI' }>): void {
    const { e, code } = this;
    const address = this.elementAddress(statement);
    const type = shadowType(statement.elemType);
    const parts = valueTypes(type).length;
    for (let part = 0; part < parts; part++) {
      code.get(address);
      e.pushPart(statement.bits, part);
      this.rawStore(type, SHADOW_STATE - STATE, part);
    }
    code.get(address);
    code.i32(STATE);
    code.op('i32_sub');
    code.i32(-8);
    code.op('i32_and');
    e.push(statement.bits);
    this.isNotZero(type);
    e.push(statement.origin);
    e.support('notePut');
  }

  private shadowLoad(statement: Extract<Statement, { tag: 'ShadowLoad' }>): void {
    const { e, code } = this;
    const size = TYPE_SIZES[statement.type];
    if (statement.guard !== undefined) {
      e.push(statement.guard);
      code.open('if');
    }
    e.push(statement.address);
    code.i32(size);
    e.support('isDefined');
    code.op('i32_eqz');
    code.open('if');
    e.push(statement.address);
    code.i32(size);
    code.i32(this.siteNumber());
    e.call('shadowLoad');
    code.set(e.localsOf(statement.origin)[0]!);
    const type = shadowType(statement.type);
    for (const [part, local] of e.localsOf(statement.bits).entries()) {
      code.i32(0);
      this.rawLoad(type, SCRATCH_RESULT, part);
      code.set(local);
    }
    code.end();
    if (statement.guard !== undefined) code.end();
  }

  private shadowStore(statement: Extract<Statement, { tag: 'ShadowStore' }>): void {
    const { e, code } = this;
    const size = TYPE_SIZES[statement.type];
    const type = shadowType(statement.type);
    const guard = statement.guard;
    if (guard !== undefined) {
      e.push(guard);
      code.open('if');
    }
    e.push(statement.bits);
    this.isNotZero(type);
    e.push(statement.address);
    code.i32(size);
    e.support('isDefined');
    code.ops('i32_eqz', 'i32_or');
    code.open('if');
    for (let part = 0; part < valueTypes(type).length; part++) {
      code.i32(0);
      e.pushPart(statement.bits, part);
      this.rawStore(type, SCRATCH_RESULT, part);
    }
    e.push(statement.address);
    code.i32(size);
    e.push(statement.origin);
    code.i32(this.siteNumber());
    e.call('shadowStore');
    code.end();
    if (guard !== undefined) code.end();
  }

  private shadowReadRange(statement: Extract<Statement, { tag: 'ShadowReadRange' }>): void {
    const { e, code } = this;
    e.push(statement.guard);
    code.open('if');
    e.push(statement.address);
    code.i32(statement.sizeBytes);
    code.i32(this.siteNumber());
    e.call('shadowReadRange');
    code.set(e.localsOf(statement.origin)[0]!);
    loadAt(code, SCRATCH_RESULT, I64);
    code.set(e.localsOf(statement.bits)[0]!);
    code.end();
  }

  private shadowWriteRange(statement: Extract<Statement, { tag: 'ShadowWriteRange' }>): void {
    const { e, code } = this;
    e.push(statement.guard);
    code.open('if');
    e.push(statement.address);
    code.i32(statement.sizeBytes);
    e.push(statement.bits);
    e.push(statement.origin);
    code.i32(this.siteNumber());
    e.call('shadowWriteRange');
    code.end();
  }
}

/** Statements with which an exact version may have to begin. */
function canBail(statement: Statement): boolean {
  switch (statement.tag) {
    case 'WrTmp':
      return statement.expr.tag === 'Load';
    case 'LoadG':
    case 'CAS':
    case 'Dirty':
      return true;
    default:
      return false;
  }
}

/** Temporaries that an exact version may need from the clean one. */
export function spilledOf(block: Block): number[] {
  const { statements } = block;
  const lastUse = new Int32Array(block.temps.length).fill(-1);
  const note = (at: number) => (operand: Operand) => {
    if (!(operand & 1)) lastUse[operand >>> 1] = at;
  };
  statements.forEach((statement, at) => visitOperands(statement, note(at)));
  note(statements.length)(block.next);
  const spilled: number[] = [];
  let nextBail = Infinity;
  for (let at = statements.length - 1; at >= 0; at--) {
    for (const temp of assignedBy(statements[at]!))
      if (lastUse[temp]! >= nextBail) spilled.push(temp);
    if (canBail(statements[at]!)) nextBail = at;
  }
  return spilled;
}

/** Leaves a temporary for the exact version. */
function spill(
  code: Code,
  locals: readonly number[],
  temp: number,
  types: readonly (typeof I32 | typeof I64 | typeof V128 | number)[],
): void {
  locals.forEach((local, part) =>
    storeAt(code, TEMPS + TEMP_SIZE * temp + 16 * part, types[part] as never, local),
  );
}
