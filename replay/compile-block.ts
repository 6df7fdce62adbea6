/**
 * Compiles one superblock to a WebAssembly function, which takes nothing and returns the slot of the
 * block to run next. Guest state, the tick and the output positions live in linear memory (layout.ts);
 * temporaries are locals.
 */
import { UserError } from '../schemas/errors.js';
import {
  BLOCK_TYPE,
  Emitter,
  GRANULES,
  LINES,
  ModuleContext,
  loadAt,
  locate,
  valueTypes,
} from './emit.js';
import { EVALUATED_HELPER_TABLE, OPERATIONS } from './eval-ops.js';
import {
  FetchedLines,
  JUMP_INVALIDATE,
  JUMP_NO_REDIRECT,
  TYPE,
  TYPE_NAMES,
  TYPE_SIZES,
  type AccessSite,
  type Block,
  type DirtyStatement,
  type Expression,
  type Operand,
  type StateArray,
  type Statement,
  type Type,
} from './ir.js';
import {
  CELL,
  COUNTS,
  FETCH_LINES,
  GRANULE_BITS,
  LINE_ENTRIES,
  ROW_ADDRESSES,
  ROW_SITES,
  ROW_TICKS,
  ROW_VALUES,
  SCRATCH_RESULT,
  SHARED,
  SHARED_COUNT,
  STATE,
  TAG_PLANE,
  TALLY_STORES,
  TLB_TALLY,
  TLB_ENTRY_SIZE,
  WIDE,
  granulesOf,
} from './layout.js';
import { isPredicted, type CacheModes } from './cache-sites.js';
import { isAtEnd, type CallSite } from './call-sites.js';
import { ACCESS_SERVES, ACCESS_STORES, type FreshHooks } from './fresh-accesses.js';
import type { ShadowUnit } from './compile-shadow.js';
import { HELPER_LOWERINGS, OPERATION_LOWERINGS } from './lower.js';
import { countSite } from './support-cache.js';
import type { AccessColumn } from './types.js';
import { Code, I32, I64, V128, type OpName, type ValueType } from './wasm.js';

/** Self-modifying-code checks: not evaluated, and the exit that depends on them is not taken. */
export const CHECKSUM_HELPER = 'genericg_compute_checksum';

/** What a dirty statement or a switched-off guard leaves in the result. */
export const UNDEFINED_BYTE = 0x55n;

export interface Modes {
  /** Write a row for every load and store. */
  readonly accesses: boolean;
  /** … with these columns; all if absent. */
  readonly columns?: ReadonlySet<AccessColumn>;
  /** … that begins at an address from the first to the second of these, inclusive; compiled code has them in `CELL`. */
  readonly addresses?: readonly [bigint, bigint];
  /** … and for fetches of instructions from lines of so many bits. */
  readonly fetches?: number;
  /** … but for loads by instructions at other addresses, which need none. */
  readonly loads?: (pc: bigint) => boolean;
  /** … of which only fresh ones are of interest. */
  readonly fresh?: FreshHooks;
  /** Count accesses to the bytes that have counters (access-tally.ts). */
  readonly tally?: boolean;
  /** Count executions of segments. */
  readonly counts: boolean;
  /** Simulate caches; only together with counts. */
  readonly cache?: CacheModes;
  /** Write a row at each call site; only together with counts. */
  readonly calls?: boolean;
  /** Keep the lowest stack pointer (stack-sizes.ts). */
  readonly stacks?: boolean;
  /** Follow which memory and which values are defined; not together with the others. */
  readonly shadow?: boolean;
}

/** A block with everything that its code depends on. */
export interface CompileUnit {
  readonly block: Block;
  /** Cells for constant jump targets. */
  slotFor(target: bigint, noRedirect: boolean): number;
  /** In access mode: the sites, those of fetches last, of which the first has this number. */
  readonly sites: readonly AccessSite[];
  readonly firstSite: number;
  /** In a replay that simulates caches: number of its first cache site. */
  readonly firstCacheSite: number;
  /** In a replay that tells of calls: the call sites, of which the first has this number. */
  readonly callSites: readonly CallSite[];
  readonly firstCallSite: number;
  /** Where the stack pointer is. */
  readonly stackPointer: number;
  /** In count mode: number of the first segment. */
  readonly firstSegment: number;
  /** By statement: the number by which `dirty` is asked for it. */
  readonly dirtyNumbers: ReadonlyMap<DirtyStatement, number>;
  /** With `shadow`: which version of the block this is. */
  readonly shadow?: ShadowUnit;
  /** Blocks of the same module by their slot: number in the table of functions, and in the module. */
  readonly links?: ReadonlyMap<number, { readonly number: number; readonly index: number }>;
  /** Of a handler of threaded code: pushes a number that is not known when it is compiled. */
  readonly varying?: (code: Code, what: Varying) => void;
}

/** Numbers that differ from one block to the next. */
export type Varying = 'site' | 'instruction' | 'bailSlot' | 'shadowSite' | 'cacheSite';

const mismatch = (what: string): UserError =>
  new UserError(`The trace is damaged: a block of code has ${what}; record the program again.`);

/** Of the tags of some bytes. */
const TAG_LOADS: Readonly<Record<number, OpName>> = {
  ...({ 1: 'i64_load8_u', 2: 'i64_load16_u', 4: 'i64_load32_u', 8: 'i64_load' } as const),
};

const LOADS: Partial<Record<Type, OpName>> = {
  [TYPE.I1]: 'i32_load8_u',
  [TYPE.I8]: 'i32_load8_u',
  [TYPE.I16]: 'i32_load16_u',
  [TYPE.I32]: 'i32_load',
  [TYPE.I64]: 'i64_load',
  [TYPE.F32]: 'f32_load',
  [TYPE.F64]: 'f64_load',
};
const STORES: Partial<Record<Type, OpName>> = {
  [TYPE.I1]: 'i32_store8',
  [TYPE.I8]: 'i32_store8',
  [TYPE.I16]: 'i32_store16',
  [TYPE.I32]: 'i32_store',
  [TYPE.I64]: 'i64_store',
  [TYPE.F32]: 'f32_store',
  [TYPE.F64]: 'f64_store',
};

export class BlockCompiler {
  protected readonly e: Emitter;
  protected readonly code: Code;
  /** Where the slow paths of loads and stores stand for, as a place. */
  private readonly slowPlace: number;
  /** What places of granules are relative to. */
  protected readonly base: number;
  private nextSite: number;
  /** In a replay that tells of fetches: number of the next one's site. */
  private nextFetch: number;
  private readonly fetched: FetchedLines | undefined;
  private nextCacheSite: number;
  /** Of the access that is being compiled; -1 when it is not simulated. */
  private cacheSite = -1;
  /** Address and size of the data that the current instruction read last: a write to it is the same reference. */
  private lastRead: { readonly address: Operand; readonly size: number } | undefined;
  /** The part of a line (`CacheModes.fetchBits`) from which the last instruction came. */
  private lastFetched: bigint | undefined;
  private segment = 0;
  /** IMarks passed since the block was entered. */
  protected instructions = 0;
  /** Rows and wide bytes written since the positions in the locals were last moved. */
  private rowsAhead = 0;
  private wideAhead = 0;
  private readonly tick: number;
  private readonly rows8: number;
  private readonly rows4: number;
  private readonly wide: number;

  constructor(
    context: ModuleContext,
    protected readonly unit: CompileUnit,
    private readonly modes: Modes,
    /** The function that goes on with the block of a slot. */
    protected readonly chain: number,
  ) {
    this.e = new Emitter(context, unit.block, BLOCK_TYPE[0]);
    this.code = this.e.code;
    const { base, slowLoad } = granulesOf({
      counts: modes.counts,
      shadow: modes.shadow ?? false,
      fresh: modes.fresh !== undefined,
      cache: modes.cache !== undefined,
    });
    this.base = base;
    this.slowPlace = slowLoad - base;
    this.nextSite = unit.firstSite;
    this.nextFetch = unit.firstSite + unit.sites.findIndex(({ kind }) => kind === 'fetch');
    if (modes.fetches !== undefined) this.fetched = new FetchedLines(modes.fetches);
    this.nextCacheSite = unit.firstCacheSite;
    const writesRows = modes.accesses && !modes.fresh && unit.sites.length > 0;
    this.tick = writesRows ? this.code.local(I64) : -1;
    this.rows8 = writesRows ? this.code.local(I32) : -1;
    this.rows4 = writesRows ? this.code.local(I32) : -1;
    this.wide = writesRows ? this.code.local(I32) : -1;
  }

  compile(): Code {
    this.body();
    return this.code;
  }

  /** A handler of threaded code: one statement between what fetches and what leaves its operands. */
  compileStatement(
    statement: Statement,
    before: (e: Emitter) => void,
    after: (e: Emitter) => void,
  ): Code {
    before(this.e);
    this.begin();
    this.statement(statement);
    this.saveRows();
    after(this.e);
    return this.code;
  }

  /** Pushes a number; in threaded code, the one that belongs to the instruction. */
  protected push(what: Varying, value: () => number): void {
    if (this.unit.varying) this.unit.varying(this.code, what);
    else this.code.i32(value());
  }

  private begin(): void {
    if (this.rows8 < 0) return;
    loadAt(this.code, CELL.tick, I64);
    this.code.set(this.tick);
    this.reloadRows();
  }

  protected body(): void {
    this.begin();
    this.noteCall(false);
    for (const statement of this.unit.block.statements) this.statement(statement);
    const { next, jumpKind, offsIP } = this.unit.block;
    if (this.modes.cache?.branches && isPredicted(jumpKind) && !(next & 1)) {
      this.code.i32(this.nextCacheSite);
      this.code.i32(this.addressBits);
      this.e.push(next);
      this.e.support('predictTarget');
    }
    this.noteCall(true);
    this.code.i32(0);
    this.e.push(next);
    this.code.memory('i64_store', STATE + offsIP);
    const target = this.e.constant(next);
    const noRedirect = jumpKind === JUMP_NO_REDIRECT;
    if (target !== undefined) return this.leave(this.unit.slotFor(target, noRedirect));
    this.leave(() => {
      this.e.push(next);
      this.e.support(noRedirect ? 'jump1' : 'jump0');
    });
  }

  private noteCall(atEnd: boolean): void {
    const { callSites, firstCallSite, stackPointer } = this.unit;
    const own = callSites.findIndex((site) => isAtEnd(site) === atEnd);
    if (own < 0) return;
    this.code.i32(firstCallSite + own);
    this.code.i32(this.instructions);
    this.code.i32(stackPointer);
    this.e.support('noteCall');
  }

  protected movesStack(offset: number, data: Operand): boolean {
    return STATE + offset === this.unit.stackPointer && this.e.typeOf(data) === TYPE.I64;
  }

  /** Calls a function with the stack pointer, its new value, and a number. */
  protected stackMove(name: 'moveStack' | 'noteStack', data: Operand, what: number): void {
    loadAt(this.code, this.unit.stackPointer, I64);
    this.e.push(data);
    this.code.i32(what);
    this.e.support(name);
  }

  private reloadRows(): void {
    if (this.rows8 < 0) return;
    loadAt(this.code, CELL.rows, I32);
    this.code.tee(this.rows8);
    this.code.i32(1);
    this.code.op('i32_shr_u');
    this.code.set(this.rows4);
    loadAt(this.code, CELL.wide, I32);
    this.code.set(this.wide);
  }

  /** Writes the output positions back to memory. */
  private saveRows(): void {
    if (this.rows8 < 0) return;
    const save = (cell: number, local: number, ahead: number): void => {
      this.code.i32(0);
      this.code.get(local);
      if (ahead) {
        this.code.i32(ahead);
        this.code.op('i32_add');
      }
      this.code.memory('i32_store', cell);
    };
    save(CELL.rows, this.rows8, 8 * this.rowsAhead);
    save(CELL.wide, this.wide, this.wideAhead);
  }

  /**
   * What every way out of the block does: output positions, its counter, tick; then it goes on
   * with the block of a slot, or the one that is pushed.
   */
  private leave(slot: number | (() => void)): void {
    const { code } = this;
    this.saveRows();
    if (this.modes.counts) this.count(this.segment);
    if (this.instructions > 0) {
      code.i32(0);
      loadAt(code, CELL.tick, I64);
      code.i64(BigInt(this.instructions));
      code.op('i64_add');
      code.memory('i64_store', CELL.tick);
    }
    if (typeof slot === 'function') slot();
    else {
      this.goDirectly(slot);
      code.i32(slot);
    }
    code.returnCall(this.chain);
  }

  /** Goes on with a block of the same module without the chain, while its slot still has that block. */
  private goDirectly(slot: number): void {
    const link = this.modes.accesses && !this.modes.fresh ? undefined : this.unit.links?.get(slot);
    if (!link) return;
    const { code } = this;
    loadAt(code, CELL.tick, I64);
    loadAt(code, CELL.limit, I64);
    code.op('i64_lt_u');
    loadAt(code, slot, I32);
    code.i32(link.number);
    code.ops('i32_eq', 'i32_and');
    code.open('if');
    code.i32(slot);
    code.returnCall(link.index);
    code.end();
  }

  /** The block is left at the end of a segment; those before it were executed, too (`Guest.segments`). */
  private count(segment: number): void {
    const address = COUNTS + 8 * (this.unit.firstSegment + segment);
    this.code.i32(0);
    loadAt(this.code, address, I64);
    this.code.i64(1n);
    this.code.op('i64_add');
    this.code.memory('i64_store', address);
  }

  protected statement(statement: Statement): void {
    const { e, code } = this;
    const isFetched = this.fetched?.isNew(statement);
    switch (statement.tag) {
      case 'IMark':
        this.instructions++;
        if (this.modes.cache) this.fetch(statement, this.modes.cache);
        if (isFetched) this.fetchRow(statement.address);
        break;
      case 'AbiHint':
      case 'MBE':
        break;
      case 'Put':
        if (this.modes.stacks && this.movesStack(statement.offset, statement.data))
          this.stackMove('noteStack', statement.data, this.instructions);
        code.i32(0);
        this.putParts(statement.data, STATE + statement.offset);
        break;
      case 'PutI': {
        const address = this.elementAddress(statement);
        code.get(address);
        this.putParts(statement.data, 0, address);
        break;
      }
      case 'WrTmp':
        this.assign(statement.temp, statement.expr, statement.logged);
        break;
      case 'Store':
        this.chooseStore(statement.address, TYPE_SIZES[e.typeOf(statement.data)]);
        this.store(statement.address, e.typeOf(statement.data), (part) =>
          e.pushPart(statement.data, part),
        );
        this.row(statement.address, e.typeOf(statement.data), true, (part) =>
          e.pushPart(statement.data, part),
        );
        break;
      case 'StoreG': {
        const push = (part: number): void => e.pushPart(statement.data, part);
        const type = e.typeOf(statement.data);
        e.push(statement.guard);
        code.open('if');
        this.beginGuarded(statement.address, TYPE_SIZES[type]);
        this.store(statement.address, type, push);
        code.end();
        this.row(statement.address, type, true, push, () => e.push(statement.guard));
        break;
      }
      case 'LoadG':
        this.guardedLoad(statement);
        break;
      case 'CAS':
        this.compareAndSwap(statement);
        break;
      case 'Dirty':
        this.dirty(statement);
        break;
      case 'Exit':
        if (statement.jumpKind === JUMP_INVALIDATE) break;
        this.predict(statement);
        e.push(statement.guard);
        code.open('if');
        code.i32(0);
        code.i64(statement.target);
        code.memory('i64_store', STATE + statement.offsIP);
        this.leave(this.unit.slotFor(statement.target, statement.jumpKind === JUMP_NO_REDIRECT));
        code.end();
        this.segment++;
        break;
    }
  }

  /** Stores an operand into the guest state; the address of its first part is on the stack. */
  private putParts(data: Operand, offset: number, address = -1): void {
    const type = this.e.typeOf(data);
    const parts = valueTypes(type).length;
    for (let part = 0; part < parts; part++) {
      if (part > 0) {
        if (address < 0) this.code.i32(0);
        else this.code.get(address);
      }
      this.e.pushPart(data, part);
      this.rawStore(type, offset, part);
    }
  }

  protected rawStore(type: Type, offset: number, part: number): void {
    const partType = valueTypes(type)[part]!;
    if (partType === V128) this.code.memoryV128('v128_store', offset + 16 * part);
    else this.code.memory(type === TYPE.I128 ? 'i64_store' : STORES[type]!, offset + 8 * part);
  }

  protected rawLoad(type: Type, offset: number, part: number): void {
    const partType = valueTypes(type)[part]!;
    if (partType === V128) this.code.memoryV128('v128_load', offset + 16 * part);
    else this.code.memory(type === TYPE.I128 ? 'i64_load' : LOADS[type]!, offset + 8 * part);
  }

  /** A local with the linear address of a rotating array's element, less nothing: base included. */
  protected elementAddress(array: StateArray): number {
    const { code } = this;
    const address = this.e.scratch(I32, 'element');
    this.e.push(array.index);
    code.i32(array.bias);
    code.op('i32_add');
    code.i32(array.nElems - 1);
    code.op('i32_and');
    code.i32(TYPE_SIZES[array.elemType]);
    code.op('i32_mul');
    code.i32(STATE + array.base);
    code.op('i32_add');
    code.set(address);
    return address;
  }

  private assign(temp: number, expr: Expression, logged: boolean): void {
    const { e, code } = this;
    const type = e.block.temps[temp] as Type;
    const locals = e.localsOf(temp);
    if (logged) {
      if (expr.tag === 'Load') throw mismatch('a logged load');
      this.take(type, locals);
      return;
    }
    switch (expr.tag) {
      case 'Get':
        for (const part of locals.keys()) {
          code.i32(0);
          this.rawLoad(type, STATE + expr.offset, part);
          code.set(locals[part]!);
        }
        break;
      case 'GetI': {
        const address = this.elementAddress(expr);
        for (const part of locals.keys()) {
          code.get(address);
          this.rawLoad(type, 0, part);
          code.set(locals[part]!);
        }
        break;
      }
      case 'Atom':
        e.push(expr.operand);
        e.setLocals(locals);
        break;
      case 'Op': {
        const operation = OPERATIONS.get(expr.op);
        if (!operation) {
          throw new UserError(
            `The program uses the operation ${expr.op}, whose result is not in the trace; record it again with this version.`,
          );
        }
        if (
          operation.args.length !== expr.args.length ||
          expr.args.some((arg, i) => e.typeOf(arg) !== operation.args[i])
        ) {
          throw mismatch(`operands that do not suit ${expr.op}`);
        }
        if (operation.result !== type)
          throw mismatch(`a result of ${expr.op} that is not ${TYPE_NAMES[operation.result]}`);
        OPERATION_LOWERINGS.get(expr.op)!(e, expr.args);
        e.setLocals(locals);
        break;
      }
      case 'Load':
        this.chooseLoad(expr.address, TYPE_SIZES[type]);
        this.load(expr.address, type, locals);
        this.row(expr.address, type, false, (part) => code.get(locals[part]!));
        break;
      case 'ITE':
        for (const part of locals.keys()) {
          e.pushPart(expr.ifTrue, part);
          e.pushPart(expr.ifFalse, part);
          e.push(expr.condition);
          code.op('select');
          code.set(locals[part]!);
        }
        break;
      case 'CCall':
        this.call(expr, type, locals);
        break;
    }
  }

  private call(
    expr: Extract<Expression, { tag: 'CCall' }>,
    type: Type,
    locals: readonly number[],
  ): void {
    const { e, code } = this;
    if (expr.name.startsWith(CHECKSUM_HELPER)) return; // its exit is never taken
    const helper = EVALUATED_HELPER_TABLE.get(expr.name);
    if (!helper) {
      throw new UserError(
        `The program uses the helper ${expr.name}, whose result is not in the trace; record it again with this version.`,
      );
    }
    if (expr.args.length !== helper.arity || expr.args.some((arg) => e.typeOf(arg) !== TYPE.I64)) {
      throw mismatch(`operands that do not suit ${expr.name}`);
    }
    HELPER_LOWERINGS.get(expr.name)!(e, expr.args);
    if (type === TYPE.I32) code.op('i32_wrap_i64');
    else if (type !== TYPE.I64) throw mismatch(`an odd result of ${expr.name}`);
    e.setLocals(locals);
  }

  /** The next entries of the value log into locals. */
  private take(type: Type, locals: readonly number[]): void {
    const { e, code } = this;
    const types = valueTypes(type);
    for (const part of locals.keys()) {
      if (types[part] === V128) e.support('take16');
      else {
        e.support('take8');
        if (types[part] === I32) {
          code.op('i32_wrap_i64');
          const mask = { [TYPE.I1]: 1, [TYPE.I8]: 0xff, [TYPE.I16]: 0xffff }[type as number];
          if (mask !== undefined) {
            code.i32(mask);
            code.op('i32_and');
          }
        } else if (type === TYPE.F32) code.ops('i32_wrap_i64', 'f32_reinterpret_i32');
        else if (type === TYPE.F64) code.op('f64_reinterpret_i64');
      }
      code.set(locals[part]!);
    }
  }

  /** A load that takes the value from the log when others can change the memory. */
  protected load(address: Operand, type: Type, locals: readonly number[]): void {
    if (!this.unit.block.checked) {
      this.plainLoad(address, type, locals);
      return;
    }
    const { code } = this;
    this.pushIsShared(address);
    code.open('if');
    const site = this.cacheSite;
    this.accessCache(address, TYPE_SIZES[type], site);
    this.cacheSite = -1;
    this.take(type, locals);
    // The program does not store: it is not counted.
    this.store(address, type, (part) => code.get(locals[part]!), false);
    code.else();
    this.cacheSite = site;
    this.plainLoad(address, type, locals);
    code.end();
  }

  // ---- Simulated caches ----

  /** Simulates an access that is not one of the statements below, if it has a site. */
  private accessCache(address: Operand, size: number, site: number): void {
    if (site < 0) return;
    this.e.push(address);
    this.code.i32(size);
    this.push('cacheSite', () => site);
    this.e.support('accessData');
  }

  /** A reference of a statement whose loads and stores are none of their own. */
  private accessOnce(address: Operand, size: number): void {
    if (!this.modes.cache) return;
    this.accessCache(address, size, this.nextCacheSite++);
    this.cacheSite = -1;
    this.lastRead = undefined;
  }

  /** The site of a load that comes next. */
  private chooseLoad(address: Operand, size: number): void {
    if (!this.modes.cache) return;
    this.choose(address, size);
    this.lastRead = { address, size };
  }

  /** The site of an access that comes next. Where bytes are counted, too, the place is found in the table of granules. */
  private choose(address: Operand, size: number): void {
    this.cacheSite = this.nextCacheSite++;
    this.lastRead = undefined;
    if (!this.modes.tally) return;
    this.accessCache(address, size, this.cacheSite);
    this.cacheSite = -1;
  }

  /** The site of a store that comes next; none if it is of what was just read. */
  private chooseStore(address: Operand, size: number): void {
    if (!this.modes.cache) return;
    const isSame =
      this.lastRead?.size === size && this.isSameOperand(this.lastRead.address, address);
    if (isSame) this.cacheSite = -1;
    else this.choose(address, size);
    this.lastRead = undefined;
  }

  private isSameOperand(a: Operand, b: Operand): boolean {
    const bits = this.e.constant(a);
    return a === b || (bits !== undefined && bits === this.e.constant(b));
  }

  /** The same of an access under a guard, which holds here. */
  private beginGuarded(address: Operand, size: number): void {
    if (!this.modes.cache) return;
    const site = this.nextCacheSite;
    countSite(this.code, () => this.code.i32(site), 2);
    this.choose(address, size);
  }

  /** Fetches an instruction, if it does not come from where the last one came from. */
  private fetch(mark: Extract<Statement, { tag: 'IMark' }>, { fetchBits }: CacheModes): void {
    const { code } = this;
    const site = this.nextCacheSite++;
    this.lastRead = undefined;
    const size = Math.max(mark.length, 1);
    this.address = mark.address;
    this.nextAddress = BigInt.asUintN(64, mark.address + BigInt(mark.length));
    const bits = BigInt(fetchBits);
    const first = mark.address >> bits;
    const last = (mark.address + BigInt(size - 1)) >> bits;
    // What the last instruction came from is the latest of its set.
    const parts = [...new Set([first, last])].filter((part) => part !== this.lastFetched);
    if (parts.length === 0) return;
    this.lastFetched = last;
    parts.forEach((part, i) => {
      const entry = Number(part & BigInt(LINE_ENTRIES - 1));
      loadAt(code, FETCH_LINES + TLB_ENTRY_SIZE * entry, I64);
      code.i64(part << bits);
      code.op('i64_ne');
      if (i > 0) code.op('i32_or');
    });
    code.open('if');
    code.i64(mark.address);
    code.i32(size);
    code.i32(site);
    this.e.support('fetchCode');
    code.end();
  }

  /** Addresses of the last instruction and of what follows it. */
  private address = 0n;
  private nextAddress = 0n;
  /** As much of it as predictions of branches look at. */
  private get addressBits(): number {
    return Number(this.address & 0xffffn);
  }

  /** Predicts a conditional branch, in the sense that it has in the program. */
  private predict(exit: Extract<Statement, { tag: 'Exit' }>): void {
    this.lastRead = undefined;
    if (!this.modes.cache || !isPredicted(exit.jumpKind, true)) return;
    const site = this.nextCacheSite++;
    if (!this.modes.cache.branches) return;
    const { code } = this;
    code.i32(site);
    code.i32(this.addressBits);
    this.e.push(exit.guard);
    if (exit.target === this.nextAddress) {
      code.i32(1);
      code.op('i32_xor');
    }
    this.e.support('predictBranch');
  }

  /** Not 0 when the granule of an address is marked as shared. */
  protected pushIsShared(address: Operand): void {
    const { e, code } = this;
    e.push(address);
    code.i64(BigInt(GRANULE_BITS));
    code.ops('i64_shr_u', 'i32_wrap_i64');
    code.i32(SHARED_COUNT - 1);
    code.op('i32_and');
    code.memory('i32_load8_u', SHARED);
  }

  /** As `locate` of emit.ts, with scratch locals. */
  private locate(push: () => void, size: number, store: boolean, table = GRANULES): number {
    const { e } = this;
    const at = e.scratch(I32, 'at');
    locate(
      this.code,
      push,
      size,
      { at, entry: e.scratch(I32, 'entry'), within: e.scratch(I64, 'within') },
      store,
      table,
    );
    return at;
  }

  protected plainLoad(address: Operand, type: Type, locals: readonly number[]): void {
    this.loadAt(() => this.e.push(address), type, locals);
  }

  private loadAt(push: () => void, type: Type, locals: readonly number[]): void {
    const { e, code } = this;
    const size = TYPE_SIZES[type];
    const isSimulated = this.cacheSite >= 0;
    code.open('block');
    code.open('block');
    const at = this.locate(push, size, false, isSimulated ? LINES : GRANULES);
    this.tally(at, size, false);
    code.br(1);
    code.end();
    push();
    code.i32(size);
    if (isSimulated) {
      this.push('cacheSite', () => this.cacheSite);
      e.support('accessToLoad');
    } else e.call('loadSlowly');
    code.set(at);
    code.end();
    this.beforeLoad(at, size);
    for (const part of locals.keys()) {
      code.get(at);
      this.rawLoad(type, this.base, part);
      code.set(locals[part]!);
    }
  }

  /** For shadow memory: `at` was found to be the place of `size` bytes that are about to be loaded. */
  protected beforeLoad(_at: number, _size: number): void {}
  /** The same for a store; to be left with label depth 0 when it must be done by `storeSlowly`. */
  protected beforeStore(_at: number, _size: number): void {}

  protected store(
    address: Operand,
    type: Type,
    push: (part: number) => void,
    isCounted = true,
  ): void {
    const { e, code } = this;
    const size = TYPE_SIZES[type];
    const parts = valueTypes(type).length;
    const isSimulated = this.cacheSite >= 0;
    code.open('block');
    code.open('block');
    let at: number;
    if (isSimulated) {
      code.open('block');
      code.open('block');
      at = this.locate(() => e.push(address), size, true, LINES);
      code.br(1);
      code.end();
      e.push(address);
      code.i32(size);
      this.push('cacheSite', () => this.cacheSite);
      e.support('accessToStore');
      code.tee(at);
      code.i32(-1);
      code.op('i32_eq');
      code.brIf(1);
      code.end();
    } else at = this.locate(() => e.push(address), size, true);
    this.beforeStore(at, size);
    if (isCounted) this.tally(at, size, true);
    for (let part = 0; part < parts; part++) {
      code.get(at);
      push(part);
      this.rawStore(type, this.base, part);
    }
    code.br(1);
    code.end();
    for (let part = 0; part < parts; part++) {
      code.i32(0);
      push(part);
      this.rawStore(type, SCRATCH_RESULT, part);
    }
    e.push(address);
    this.storeSlowly(size);
    if (this.modes.fresh) {
      code.i32(this.slowPlace);
      code.set(at);
    }
    code.end();
  }

  /** Counts an access that was located, if its granule has counters. */
  private tally(at: number, size: number, isStore: boolean): void {
    if (!this.modes.tally) return;
    const { e, code } = this;
    const planes = e.scratch(I32, 'planes');
    code.get(e.scratch(I32, 'entry'));
    code.memory('i32_load', TLB_TALLY);
    code.tee(planes);
    code.open('if');
    code.get(at);
    code.get(planes);
    code.op('i32_add');
    code.i32(this.base + (isStore ? TALLY_STORES : 0));
    code.op('i32_add');
    e.support(`tally${size as 1 | 2 | 4 | 8 | 16 | 32}`);
    code.end();
  }

  /** Stores the scratch result; the address is on the stack. */
  protected storeSlowly(size: number): void {
    this.code.i32(size);
    this.e.call('storeSlowly');
  }

  /**
   * Appends the row of the next site. A row whose guard does not hold is written, but not kept.
   * @param push - pushes a part of the value that was loaded or stored
   */
  private row(
    address: Operand,
    type: Type,
    isStore: boolean,
    push: (part: number) => void,
    guard?: () => void,
  ): void {
    const { e, code, unit } = this;
    if (!this.modes.accesses) return;
    if (this.modes.fresh) return this.freshRow(address, TYPE_SIZES[type], isStore, guard);
    const { addresses, loads } = this.modes;
    if (
      loads &&
      !isStore &&
      !unit.varying &&
      !loads(unit.sites[this.nextSite - unit.firstSite]!.pc)
    ) {
      this.nextSite++;
      return;
    }
    if (addresses) {
      e.push(address);
      loadAt(code, CELL.firstAddress, I64);
      code.op('i64_sub');
      loadAt(code, CELL.addressRange, I64);
      code.op('i64_le_u');
      if (guard) {
        guard();
        code.op('i32_and');
      }
      code.open('if');
    }
    this.beginRow(
      () => this.push('site', () => this.nextSite++),
      () => e.push(address),
    );
    if (this.writes('values')) {
      code.get(this.rows8);
      push(0);
      switch (valueTypes(type)[0]!) {
        case I32:
          code.op('i64_extend_i32_u');
          break;
        case I64:
          break;
        case V128:
          code.lane('i64x2_extract_lane', 0);
          break;
        default:
          if (type === TYPE.F32) code.ops('i32_reinterpret_f32', 'i64_extend_i32_u');
          else code.op('i64_reinterpret_f64');
      }
      code.memory('i64_store', this.inRow(ROW_VALUES, 8));
    }
    const size = TYPE_SIZES[type];
    if (size > 8 && this.writes('wide')) {
      for (const part of valueTypes(type).keys()) {
        code.get(this.wide);
        push(part);
        this.rawStore(type, WIDE + this.wideAhead, part);
      }
    }
    this.advance(size, addresses ? () => code.i32(1) : guard);
    if (addresses) code.end();
  }

  /** Site, tick and address of a row. */
  private beginRow(pushSite: () => void, pushAddress: () => void): void {
    const { code } = this;
    code.get(this.rows4);
    pushSite();
    code.memory('i32_store', this.inRow(ROW_SITES, 4));
    if (this.writes('ticks')) {
      code.get(this.rows8);
      code.get(this.tick);
      this.push('instruction', () => Math.max(this.instructions - 1, 0));
      code.ops('i64_extend_i32_u', 'i64_add');
      code.memory('i64_store', this.inRow(ROW_TICKS, 8));
    }
    if (this.writes('addresses')) {
      code.get(this.rows8);
      pushAddress();
      code.memory('i64_store', this.inRow(ROW_ADDRESSES, 8));
    }
  }

  /** Where the row that is written next has a column, relative to the positions in the locals. */
  private inRow(column: number, width: 4 | 8): number {
    return column + width * this.rowsAhead;
  }

  /** Appends the row of the next fetch. */
  private fetchRow(address: bigint): void {
    this.beginRow(
      () => this.code.i32(this.nextFetch++),
      () => this.code.i64(address),
    );
    this.rowsAhead++;
  }

  /** The same where only fresh accesses are told of: `at` is the place that was just accessed. */
  private freshRow(address: Operand, size: number, isStore: boolean, guard?: () => void): void {
    const { e, code, unit } = this;
    const hooks = this.modes.fresh!;
    const site = unit.varying ? 0 : this.nextSite++;
    const pc = unit.varying ? undefined : unit.sites[site - unit.firstSite]!.pc;
    const synchronises = pc !== undefined && hooks.synchronises(pc);
    if (pc !== undefined && !synchronises && hooks.mayOmit?.(pc)) return;
    if (guard) {
      guard();
      code.open('if');
    }
    if (synchronises) {
      this.noteAccess(site, address);
      this.synchronised(site, address, size, () => code.i32(isStore ? ACCESS_STORES : 0));
    } else {
      const at = e.scratch(I32, 'at');
      this.pushIsFresh(at, size, isStore);
      code.open('if');
      code.get(at);
      this.push('site', () => site);
      this.push('instruction', () => Math.max(this.instructions - 1, 0));
      e.push(address);
      code.i32(isStore ? 1 : 0);
      e.support(`fresh${size as 1 | 2 | 4 | 8 | 16 | 32}`);
      code.end();
    }
    if (guard) code.end();
  }

  /** Pushes whether the tags of bytes at a place are not those of the current epoch. */
  private pushIsFresh(at: number, size: number, isStore: boolean): void {
    const { code } = this;
    const cell = isStore ? CELL.storeTag : CELL.loadTag;
    const plane = this.base + TAG_PLANE;
    const ones = 0x01010101010101010101010101010101n;
    if (size <= 4) {
      const load = ({ 1: 'i32_load8_u', 2: 'i32_load16_u', 4: 'i32_load' } as const)[size]!;
      code.get(at);
      code.memory(load, plane);
      if (!isStore) {
        code.i32(Number(BigInt.asUintN(8 * size, ones)));
        code.op('i32_or');
      }
      code.i32(0);
      code.memory(load, cell);
      code.op('i32_ne');
    } else if (size === 8) {
      code.get(at);
      code.memory('i64_load', plane);
      if (!isStore) {
        code.i64(BigInt.asUintN(64, ones));
        code.op('i64_or');
      }
      loadAt(code, cell, I64);
      code.op('i64_ne');
    } else {
      for (let part = 0; part < size; part += 16) {
        code.get(at);
        code.memoryV128('v128_load', plane + part);
        if (!isStore) {
          code.v128(ones);
          code.simd('v128_or');
        }
        loadAt(code, cell, V128);
        code.simd('v128_xor');
        if (part > 0) code.simd('v128_or');
      }
      code.simd('v128_any_true');
    }
  }

  private noteAccess(site: number, address: Operand): void {
    this.code.i32(site);
    this.code.i32(Math.max(this.instructions - 1, 0));
    this.e.push(address);
    this.e.support('noteAccess');
  }

  private synchronised(
    site: number,
    address: Operand,
    size: number,
    pushIsStore: () => void,
  ): void {
    const { code, e, unit } = this;
    const { servesOperations } = this.modes.fresh!;
    const serves = !unit.varying && servesOperations?.(unit.sites[site - unit.firstSite]!.pc);
    const isQuick = !serves && size <= 8;
    if (isQuick) {
      // What is marked already needs no host.
      const load = TAG_LOADS[size]!;
      code.get(e.scratch(I32, 'at'));
      code.memory(load, this.base + TAG_PLANE);
      code.i64(BigInt.asIntN(64, 2n ** BigInt(8 * size) - 1n));
      code.op('i64_eq');
      // A filter of lines is to know of each.
      loadAt(code, CELL.filterSets, I32);
      code.ops('i32_eqz', 'i32_and');
      code.open('if');
      pushIsStore();
      code.open('if');
      e.support('beginEpoch');
      code.end();
      code.else();
    }
    e.push(address);
    code.i32(size);
    pushIsStore();
    if (serves) {
      code.i32(ACCESS_SERVES);
      code.op('i32_or');
    }
    e.call('synchronised');
    if (isQuick) code.end();
  }

  private writes(column: AccessColumn): boolean {
    return this.modes.columns?.has(column) ?? true;
  }

  /** Counts the row as written; under a guard the positions themselves must move. */
  private advance(size: number, guard?: () => void): void {
    const { code } = this;
    if (!guard) {
      this.rowsAhead++;
      if (size > 8) this.wideAhead += size;
      return;
    }
    const move = (local: number, ahead: number, step: number): void => {
      code.get(local);
      if (ahead) {
        code.i32(ahead);
        code.op('i32_add');
      }
      guard();
      code.i32(step);
      code.ops('i32_mul', 'i32_add');
      code.set(local);
    };
    move(this.rows8, 8 * this.rowsAhead, 8);
    move(this.rows4, 4 * this.rowsAhead, 4);
    this.rowsAhead = 0;
    if (size > 8) {
      move(this.wide, this.wideAhead, size);
      this.wideAhead = 0;
    }
  }

  private guardedLoad(statement: Extract<Statement, { tag: 'LoadG' }>): void {
    const { e, code } = this;
    const { conversion } = statement;
    const loaded = valueTypes(conversion.from).map((type) => e.scratch(type, 'loaded'));
    const locals = e.localsOf(statement.temp);
    e.push(statement.guard);
    code.open('if');
    this.beginGuarded(statement.address, TYPE_SIZES[conversion.from]);
    this.load(statement.address, conversion.from, loaded);
    for (const local of loaded) code.get(local);
    if (conversion.signed)
      code.op(conversion.from === TYPE.I8 ? 'i32_extend8_s' : 'i32_extend16_s');
    e.setLocals(locals);
    code.else();
    e.push(statement.alternative);
    e.setLocals(locals);
    code.end();
    this.row(
      statement.address,
      conversion.from,
      false,
      (part) => code.get(loaded[part]!),
      () => e.push(statement.guard),
    );
  }

  private compareAndSwap(statement: Extract<Statement, { tag: 'CAS' }>): void {
    const { e, code } = this;
    const { type, oldHi, oldLo, address, expectedHi, expectedLo, dataHi, dataLo } = statement;
    const isDouble = oldHi >= 0;
    const eq: OpName = type === TYPE.I64 ? 'i64_eq' : 'i32_eq';
    const succeeds = e.scratch(I32, 'succeeds');
    const hiAddress = this.highAddress(statement);

    const oldLocals = isDouble
      ? [e.localsOf(oldLo)[0]!, e.localsOf(oldHi)[0]!]
      : [e.localsOf(oldLo)[0]!];
    this.accessOnce(address, TYPE_SIZES[type] * (isDouble ? 2 : 1));
    // The locals of a double operation are two values of half the size, at two addresses.
    this.loadHalves(address, hiAddress, type, oldLocals);
    code.get(oldLocals[0]!);
    e.push(expectedLo);
    code.op(eq);
    if (isDouble) {
      code.get(oldLocals[1]!);
      e.push(expectedHi!);
      code.ops(eq, 'i32_and');
    }
    code.set(succeeds);
    code.get(succeeds);
    code.open('if');
    this.store(address, type, () => e.push(dataLo));
    if (isDouble) this.storeHigh(hiAddress, type, () => e.push(dataHi!));
    code.end();

    if (!this.modes.accesses) return;
    if (this.modes.fresh) {
      const site = this.nextSite++;
      this.noteAccess(site, address);
      code.get(succeeds);
      code.open('if');
      this.noteAccess(this.nextSite++, address);
      code.end();
      const size = TYPE_SIZES[type] * (isDouble ? 2 : 1);
      this.synchronised(site, address, size, () => code.get(succeeds));
      return;
    }
    const rowOf = (isStore: boolean, halves: (() => void)[], guard?: () => void): void => {
      if (!isDouble) this.row(address, type, isStore, halves[0]!, guard);
      else if (type === TYPE.I64)
        this.row(address, TYPE.I128, isStore, (part) => halves[part]!(), guard);
      else {
        // Two halves of at most 32 bits make one value.
        const joined = e.scratch(I64, 'joined');
        halves[1]!();
        code.op('i64_extend_i32_u');
        code.i64(BigInt(8 * TYPE_SIZES[type]));
        code.op('i64_shl');
        halves[0]!();
        code.ops('i64_extend_i32_u', 'i64_or');
        code.set(joined);
        this.row(address, TYPE.I64, isStore, () => code.get(joined), guard);
      }
    };
    rowOf(
      false,
      oldLocals.map((local) => () => code.get(local)),
    );
    rowOf(true, [() => e.push(dataLo), () => e.push(dataHi!)], () => code.get(succeeds));
  }

  /** For a double compare-and-swap: a local with the address of the high half. */
  private highAddress(statement: Extract<Statement, { tag: 'CAS' }>): number {
    if (statement.oldHi < 0) return -1;
    const local = this.e.scratch(I64, 'highAddress');
    this.e.push(statement.address);
    this.code.i64(BigInt(TYPE_SIZES[statement.type]));
    this.code.op('i64_add');
    this.code.set(local);
    return local;
  }

  private loadHalves(
    address: Operand,
    hiAddress: number,
    type: Type,
    locals: readonly number[],
  ): void {
    const { code } = this;
    if (locals.length === 1) {
      this.load(address, type, locals);
      return;
    }
    // Rare (cmpxchg8b and 16b): sharing is decided by the low half.
    const loadHigh = (): void => this.loadAt(() => code.get(hiAddress), type, [locals[1]!]);
    if (!this.unit.block.checked) {
      this.plainLoad(address, type, [locals[0]!]);
      loadHigh();
      return;
    }
    this.pushIsShared(address);
    code.open('if');
    for (const local of locals) this.take(type, [local]);
    this.store(address, type, () => code.get(locals[0]!));
    this.storeHigh(hiAddress, type, () => code.get(locals[1]!));
    code.else();
    this.plainLoad(address, type, [locals[0]!]);
    loadHigh();
    code.end();
  }

  private storeHigh(hiAddress: number, type: Type, push: () => void): void {
    this.code.i32(0);
    push();
    this.rawStore(type, SCRATCH_RESULT, 0);
    this.code.get(hiAddress);
    this.storeSlowly(TYPE_SIZES[type]);
  }

  /** Dirty statements are rare: the host applies their logged effects and writes their rows. */
  protected dirty(statement: DirtyStatement): void {
    const { e, code } = this;
    const locals = statement.result >= 0 ? e.localsOf(statement.result) : [];
    const type = statement.result >= 0 ? (e.block.temps[statement.result] as Type) : TYPE.none;
    const hasRows = this.modes.accesses && statement.memory !== undefined;
    if (statement.memory) {
      const { address, size } = statement.memory;
      this.accessOnce(address, Math.min(size, this.modes.cache?.mostBytes ?? size));
    }
    e.push(statement.guard);
    code.open('if');
    if (this.rows8 >= 0) this.saveRows();
    code.i32(this.unit.dirtyNumbers.get(statement)!);
    if (statement.memory) e.push(statement.memory.address);
    else code.i64(0n);
    e.call('dirty');
    for (const part of locals.keys()) {
      code.i32(0);
      this.rawLoad(type, SCRATCH_RESULT, part);
      code.set(locals[part]!);
    }
    if (hasRows) this.reloadRows();
    code.else();
    if (hasRows) {
      // Both ways must leave the positions where the rows ahead have been added.
      this.saveRows();
      this.reloadRows();
    }
    for (const part of locals.keys()) {
      this.pushUndefined(type, part);
      code.set(locals[part]!);
    }
    code.end();
    if (hasRows) {
      this.rowsAhead = 0;
      this.wideAhead = 0;
      this.nextSite += statement.memory!.effect === 'modify' ? 2 : 1;
    }
  }

  private pushUndefined(type: Type, part: number): void {
    const { code } = this;
    let bits = 0n;
    for (let i = 0n; i < 128n; i += 8n) bits |= UNDEFINED_BYTE << i;
    const partType: ValueType = valueTypes(type)[part]!;
    if (partType === I32)
      code.i32(type === TYPE.I1 ? 1 : Number(BigInt.asUintN(8 * TYPE_SIZES[type], bits)));
    else if (partType === I64) code.i64(bits);
    else if (partType === V128) code.v128(bits);
    else if (type === TYPE.F32) code.f32(bits);
    else code.f64(bits);
  }
}
