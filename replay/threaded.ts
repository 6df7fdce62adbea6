/**
 * Threaded code: how blocks run that have not run often. Most blocks of a program run a few times only,
 * and compiling one costs more than some hundred runs. So a block is first a list of instructions in
 * linear memory, each the number of a handler (a WebAssembly function, made once for each kind of
 * statement) and the addresses of its operands; each handler ends in a tail call of the next.
 *
 * An instruction is a row of u32 words: the handler's number, then as its `Handler` says. Operands are
 * addresses: of a temporary (`TEMPS`), where an exact version finds it, too, or of a constant.
 */
import { BlockCompiler, type CompileUnit, type Modes, type Varying } from './compile-block.js';
import { CleanBlockCompiler } from './compile-shadow.js';
import { defineChain } from './compile.js';
import { ModuleContext, loadAt, valueTypes, type Emitter } from './emit.js';
import type { GuestMemory } from './guest-memory.js';
import {
  JUMP_INVALIDATE,
  JUMP_NO_REDIRECT,
  TYPE,
  TYPE_NAMES,
  TYPE_SIZES,
  operandType,
  type Block,
  type Expression,
  type Operand,
  type Statement,
  type Type,
} from './ir.js';
import {
  CELL,
  COUNTS,
  MAX_TEMPS,
  STATE,
  TEMPS,
  TEMP_SIZE,
  THREADED,
  THREADED_SIZE,
} from './layout.js';
import { stackOrigin } from './shadow.js';
import { Code, I32, I64, V128, type OpName, type ValueType } from './wasm.js';

/** Words of the instruction that a block begins with. */
const HEAD_COUNT = 1;
const HEAD_TOUCHED = 2;
const HEAD_EXACT = 6;
const HEAD_WORDS = 7;

/** Bytes that a block may take at most for each statement, and for each constant. */
const MOST_PER_STATEMENT = 64;
const MOST_PER_CONSTANT = 32;

type Build = (context: ModuleContext, chain: number) => Code;

/** The type of a handler: where its instruction stands in, the next slot out. */
const HANDLER_TYPE = [[I32], [I32]] as const;

/** How values lie in memory between statements: as in locals. */
const LOADS = new Map<ValueType, OpName>([
  [I32, 'i32_load'],
  [I64, 'i64_load'],
]);

export class ThreadedCode {
  private readonly numbers = new Map<string, number>();
  /** Handlers that were asked for and are not made yet. */
  private pending: { number: number; build: Build }[] = [];
  private next = THREADED;
  /** Number of the function that runs the threaded code of the slot in `CELL.slot`. */
  readonly entry: number;

  /**
   * @param reserve - gives out numbers in the table of functions
   * @param instantiate - makes a module's functions and enters them under these numbers
   * @param tracked - bits of the 8-byte words of the guest state that have a shadow
   */
  constructor(
    private readonly memory: GuestMemory,
    private readonly modes: Modes,
    private readonly reserve: () => number,
    private readonly instantiate: (
      module: Uint8Array<ArrayBuffer>,
      numbers: readonly number[],
    ) => void,
    private readonly RSP: number,
    private readonly tracked: bigint,
  ) {
    this.entry = this.reserve();
    this.pending.push({ number: this.entry, build: buildEntry });
  }

  /** Makes the handlers that were asked for since the last time. */
  flush(): void {
    if (this.pending.length === 0) return;
    const context = new ModuleContext();
    const chain = defineChain(context, this.modes);
    const numbers = this.pending.map(({ number, build }, position) => {
      const code = build(context, chain);
      const index = context.builder.declare(code.parameters, code.results);
      context.builder.define(index, code);
      context.builder.export(String(position), index);
      return number;
    });
    this.pending = [];
    this.instantiate(context.builder.encode(), numbers);
  }

  /** Executions that are left before a block is worth compiling. */
  left(address: number): number {
    return this.memory.view.getInt32(address + 4 * HEAD_COUNT, true);
  }

  /**
   * Translates a block; returns where its code begins, or undefined when it has statements that are
   * only compiled, or there is no room.
   * @param executions - after how many it is handed to the host
   */
  encode(unit: CompileUnit, executions: number): number | undefined {
    const { block } = unit;
    const { temps, constants, statements } = block;
    const most =
      MOST_PER_STATEMENT * (statements.length + 2) + MOST_PER_CONSTANT * (constants.length + 1);
    if (
      block.checked ||
      temps.length > MAX_TEMPS ||
      this.next + most > THREADED + THREADED_SIZE ||
      !statements.every(isSimple)
    )
      return undefined;
    const { view } = this.memory;
    let at = (this.next + 15) & ~15;
    const pool = new Uint32Array(constants.length);
    constants.forEach(({ type, bits }, i) => {
      pool[i] = at;
      const size = TYPE_SIZES[type];
      for (let done = 0; done < Math.max(size, 8); done += 8) {
        // the halves of a wide value stand 16 bytes apart, as those of a temporary
        const part = type === TYPE.I128 ? 2 * done : done;
        view.setBigUint64(at + part, BigInt.asUintN(64, bits >> BigInt(8 * done)), true);
      }
      at += size > 8 ? 32 : 8;
    });
    const start = at;
    const word = (value: number): void => {
      view.setUint32(at, value, true);
      at += 4;
    };
    const wide = (value: bigint): void => {
      view.setBigUint64(at, value, true);
      at += 8;
    };
    const place = (operand: Operand): number =>
      operand & 1 ? pool[operand >>> 1]! : TEMPS + TEMP_SIZE * (operand >>> 1);
    const typeOf = (operand: Operand): Type => operandType(block, operand);

    word(this.handler('head', () => buildHead(this.modes)));
    word(executions);
    const touchedAt = at;
    at += 16;
    word(this.modes.shadow ? unit.shadow!.exactSlot(0) : 0);
    let touched = 0n;
    const touch = (offset: number, size: number): void => {
      for (let bit = offset >> 3; bit <= (offset + size - 1) >> 3; bit++)
        touched |= BITS[bit & 127]!;
    };

    let instructions = 0;
    let segment = unit.firstSegment;
    let site = unit.firstSite;
    let pc = 0n;
    let nextPc = 0n;
    let pushesReturn = false;
    const instruction = (): number => Math.max(instructions - 1, 0);
    /** Numbers of an access, as `accessWords` says. */
    const access = (statement: number): void => {
      if (this.modes.accesses) {
        word(site++);
        word(instruction());
      } else if (this.modes.shadow) {
        word(unit.shadow!.exactSlot(statement));
        word(unit.shadow!.site({ pc, instruction: instruction(), use: 'value', sizeBytes: 0 }));
      }
    };
    const counter = (): void => word(COUNTS + 8 * segment);

    for (let i = 0; i < statements.length; i++) {
      const statement = statements[i]!;
      switch (statement.tag) {
        case 'IMark':
          instructions++;
          pc = BigInt.asUintN(64, statement.address + BigInt(statement.delta));
          nextPc = BigInt.asUintN(64, statement.address + BigInt(statement.length));
          pushesReturn = false;
          break;
        case 'AbiHint':
          if (!this.modes.shadow) break;
          word(this.handler('abiHint', buildAbiHint));
          word(place(statement.base));
          word(place(statement.nia));
          word(statement.size);
          if (!pushesReturn) break;
          word(this.handler('pushFrame', buildPushFrame));
          word(place(statement.base));
          wide(pc);
          break;
        case 'Put': {
          const type = typeOf(statement.data);
          if (this.modes.shadow) {
            touch(statement.offset, TYPE_SIZES[type]);
            if (statement.offset === this.RSP && type === TYPE.I64) {
              word(this.handler('moveStack', () => buildMoveStack(this.RSP)));
              word(place(statement.data));
              word(stackOrigin(pc));
            }
          }
          word(this.handler(PUT_KEYS[type]!, () => buildPut(type)));
          word(place(statement.data));
          word(STATE + statement.offset);
          break;
        }
        case 'WrTmp':
          this.assign(statement.expr, block.temps[statement.temp] as Type, typeOf, word, place);
          if (statement.expr.tag === 'Get' && this.modes.shadow)
            touch(statement.expr.offset, TYPE_SIZES[statement.expr.type]);
          word(TEMPS + TEMP_SIZE * statement.temp);
          if (statement.expr.tag === 'Load') access(i);
          break;
        case 'Store': {
          const type = typeOf(statement.data);
          if (statement.data & 1) pushesReturn ||= constants[statement.data >>> 1]!.bits === nextPc;
          word(this.handler(STORE_KEYS[type]!, () => this.buildStore(type)));
          word(place(statement.address));
          word(place(statement.data));
          access(i);
          break;
        }
        case 'Exit':
          if (statement.jumpKind === JUMP_INVALIDATE) break;
          word(this.handler('exit', () => buildExit(this.modes)));
          word(place(statement.guard));
          word(STATE + statement.offsIP);
          word(instructions);
          word(unit.slotFor(statement.target, statement.jumpKind === JUMP_NO_REDIRECT));
          wide(statement.target);
          counter();
          segment++;
          break;
      }
    }
    const noRedirect = block.jumpKind === JUMP_NO_REDIRECT;
    if (block.next & 1) {
      const target = constants[block.next >>> 1]!.bits;
      word(this.handler('end', () => buildEnd(this.modes)));
      word(STATE + block.offsIP);
      word(instructions);
      word(unit.slotFor(target, noRedirect));
      wide(target);
    } else {
      word(this.handler(noRedirect ? 'jump1' : 'jump0', () => buildJump(this.modes, noRedirect)));
      word(STATE + block.offsIP);
      word(instructions);
      word(place(block.next));
    }
    counter();
    touched &= this.tracked;
    view.setBigUint64(touchedAt, BigInt.asUintN(64, touched), true);
    view.setBigUint64(touchedAt + 8, touched >> 64n, true);
    this.next = at;
    return start;
  }

  /** Writes an expression's handler and operands; its result's address is to follow. */
  private assign(
    expr: Expression,
    type: Type,
    typeOf: (operand: Operand) => Type,
    word: (value: number) => void,
    place: (operand: Operand) => number,
  ): void {
    switch (expr.tag) {
      case 'Get':
        word(this.handler(GET_KEYS[type]!, () => buildGet(type)));
        word(STATE + expr.offset);
        break;
      case 'Atom':
        word(this.handler(MOVE_KEYS[type]!, () => buildMove(type)));
        word(place(expr.operand));
        break;
      case 'Load':
        word(this.handler(LOAD_KEYS[type]!, () => this.buildLoad(type)));
        word(place(expr.address));
        break;
      case 'ITE':
        word(
          this.handler(ITE_KEYS[type]!, () =>
            this.buildExpression([TYPE.I1, type, type], type, ([condition, ifTrue, ifFalse]) => ({
              tag: 'ITE',
              condition: condition!,
              ifTrue: ifTrue!,
              ifFalse: ifFalse!,
            })),
          ),
        );
        word(place(expr.condition));
        word(place(expr.ifTrue));
        word(place(expr.ifFalse));
        break;
      case 'Op': {
        const types = expr.args.map(typeOf);
        // A name alone says its types, unless the trace is damaged: then the compiler says so.
        const key =
          types.reduce((text, one) => text + TYPE_LETTERS[one], expr.op + ':') + TYPE_LETTERS[type];
        word(
          this.handler(key, () =>
            this.buildExpression(types, type, (args) => ({ tag: 'Op', op: expr.op, args })),
          ),
        );
        for (const arg of expr.args) word(place(arg));
        break;
      }
      case 'CCall': {
        const types = expr.args.map(typeOf);
        const key = `${expr.name}:${types.join()}:${type}`;
        word(
          this.handler(key, () =>
            this.buildExpression(types, type, (args) => ({
              tag: 'CCall',
              name: expr.name,
              type: expr.type,
              args,
            })),
          ),
        );
        for (const arg of expr.args) word(place(arg));
        break;
      }
    }
  }

  private handler(key: string, make: () => Build): number {
    let number = this.numbers.get(key);
    if (number === undefined) {
      number = this.reserve();
      this.numbers.set(key, number);
      this.pending.push({ number, build: make() });
    }
    return number;
  }

  /** A handler of one statement on temporaries 0, 1, … of these types. */
  private buildStatement(
    types: readonly Type[],
    statement: Statement,
    before: (e: Emitter) => void,
    after: (e: Emitter) => void,
    accessWords = 0,
  ): Build {
    const block: Block = {
      checked: false,
      temps: Uint8Array.from(types),
      constants: [],
      statements: [],
      next: 0,
      jumpKind: 0,
      offsIP: 0,
    };
    const words: Record<Varying, number> = {
      site: accessWords,
      instruction: accessWords + 1,
      bailSlot: accessWords,
      shadowSite: accessWords + 1,
    };
    const unit: CompileUnit = {
      block,
      slotFor: () => 0,
      sites: accessWords > 0 ? [FAKE_SITE] : [],
      firstSite: 0,
      firstSegment: 0,
      dirtyNumbers: new Map(),
      varying: (code, what) => pushWord(code, words[what]),
      ...(this.modes.shadow && { shadow: { ...FAKE_SHADOW, RSP: this.RSP } }),
    };
    const Compiler = this.modes.shadow ? CleanBlockCompiler : BlockCompiler;
    return (context, chain) =>
      new Compiler(context, unit, this.modes, chain, [I32]).compileStatement(
        statement,
        before,
        after,
      );
  }

  private buildExpression(
    types: readonly Type[],
    result: Type,
    expr: (args: Operand[]) => Expression,
  ): Build {
    const args = types.map((_, i) => i << 1);
    const temp = types.length;
    return this.buildStatement(
      [...types, result],
      { tag: 'WrTmp', logged: false, temp, expr: expr(args) },
      (e) => types.forEach((type, i) => fetch(e, i, type, 1 + i)),
      (e) => {
        leave(e, temp, result, 1 + types.length);
        goOn(e.context, e.code, 2 + types.length);
      },
    );
  }

  private buildLoad(type: Type): Build {
    return this.buildStatement(
      [TYPE.I64, type],
      { tag: 'WrTmp', logged: false, temp: 1, expr: { tag: 'Load', type, address: 0 } },
      (e) => fetch(e, 0, TYPE.I64, 1),
      (e) => {
        leave(e, 1, type, 2);
        goOn(e.context, e.code, 3 + this.accessWords);
      },
      3,
    );
  }

  private buildStore(type: Type): Build {
    return this.buildStatement(
      [TYPE.I64, type],
      { tag: 'Store', address: 0, data: 2 },
      (e) => {
        fetch(e, 0, TYPE.I64, 1);
        fetch(e, 1, type, 2);
      },
      (e) => goOn(e.context, e.code, 3 + this.accessWords),
      3,
    );
  }

  private get accessWords(): number {
    return this.modes.accesses || this.modes.shadow ? 2 : 0;
  }
}

/** Statements that have handlers. The others are rare. */
function isSimple(statement: Statement): boolean {
  switch (statement.tag) {
    case 'IMark':
    case 'AbiHint':
    case 'MBE':
    case 'Put':
    case 'Store':
    case 'Exit':
      return true;
    case 'WrTmp':
      return !statement.logged && statement.expr.tag !== 'GetI' && !isSelfCheck(statement.expr);
    default:
      return false;
  }
}

const isSelfCheck = (expr: Expression): boolean =>
  expr.tag === 'CCall' && expr.name.startsWith('genericg_');

const BITS = Array.from({ length: 128 }, (_, i) => 1n << BigInt(i));
const keysOf = (name: string): readonly string[] => TYPE_NAMES.map((type) => `${name} ${type}`);
const PUT_KEYS = keysOf('put');
const GET_KEYS = keysOf('get');
const MOVE_KEYS = keysOf('move');
const LOAD_KEYS = keysOf('load');
const STORE_KEYS = keysOf('store');
const ITE_KEYS = keysOf('ite');
const TYPE_LETTERS = TYPE_NAMES.map((_, type) => String.fromCharCode(97 + type));

const FAKE_SITE = {
  statement: 0,
  pc: 0n,
  kind: 'load',
  atomic: false,
  guarded: false,
  size: 0,
  instruction: 0,
} as const;

const unused = (): never => {
  throw new Error('a handler asks for what only a block has');
};
const FAKE_SHADOW = {
  exact: false,
  instructions: 0,
  pc: 0n,
  nextPc: 0n,
  spilled: [],
  touchedLow: 0n,
  touchedHigh: 0n,
  exactSlot: unused,
  site: unused,
};

// ---- Handlers ----

/** Pushes a word of the instruction, whose address is the handler's parameter. */
function pushWord(code: Code, word: number): void {
  code.get(0);
  code.memory('i32_load', 4 * word);
}

function pushWide(code: Code, word: number): void {
  code.get(0);
  code.memory('i64_load', 4 * word);
}

/** Goes on with the instruction after one of this many words. */
function goOn(context: ModuleContext, code: Code, words: number): void {
  code.get(0);
  code.i32(4 * words);
  code.op('i32_add');
  code.tee(0);
  code.get(0);
  code.memory('i32_load', 0);
  code.returnCallIndirect(context.builder.type(...HANDLER_TYPE));
}

/** Loads the value whose address is a word of the instruction into a temporary's locals. */
function fetch(e: Emitter, temp: number, type: Type, word: number): void {
  const locals = e.localsOf(temp);
  valueTypes(type).forEach((part, i) => {
    pushWord(e.code, word);
    loadPart(e.code, part, 16 * i);
    e.code.set(locals[i]!);
  });
}

/** Stores a temporary's locals at the address that is a word of the instruction. */
function leave(e: Emitter, temp: number, type: Type, word: number): void {
  const locals = e.localsOf(temp);
  valueTypes(type).forEach((part, i) => {
    pushWord(e.code, word);
    e.code.get(locals[i]!);
    storePart(e.code, part, 16 * i);
  });
}

function loadPart(code: Code, part: ValueType, offset: number): void {
  if (part === V128) code.memoryV128('v128_load', offset);
  else
    code.memory(
      LOADS.get(part) ?? (part === valueTypes(TYPE.F32)[0] ? 'f32_load' : 'f64_load'),
      offset,
    );
}

function storePart(code: Code, part: ValueType, offset: number): void {
  if (part === V128) code.memoryV128('v128_store', offset);
  else if (part === I32) code.memory('i32_store', offset);
  else if (part === I64) code.memory('i64_store', offset);
  else code.memory(part === valueTypes(TYPE.F32)[0] ? 'f32_store' : 'f64_store', offset);
}

/** Runs the threaded code of the slot that the chain went to. */
const buildEntry: Build = (context) => {
  const code = new Code([], [I32]);
  const pc = code.local(I32);
  loadAt(code, CELL.slot, I32);
  code.memory('i32_load', 4);
  code.tee(pc);
  code.get(pc);
  code.memory('i32_load', 0);
  code.returnCallIndirect(context.builder.type(...HANDLER_TYPE));
  return code;
};

/** Counts down; with shadow memory, goes to the exact version when a register is undefined. */
function buildHead(modes: Modes): Build {
  return (context, chain) => {
    const code = new Code(...HANDLER_TYPE);
    const left = code.local(I32);
    code.get(0);
    pushWord(code, HEAD_COUNT);
    code.i32(1);
    code.op('i32_sub');
    code.tee(left);
    code.memory('i32_store', 4 * HEAD_COUNT);
    code.get(left);
    code.op('i32_eqz');
    code.open('if');
    loadAt(code, CELL.slot, I32);
    code.op('return');
    code.end();
    if (modes.shadow) {
      loadAt(code, CELL.undefinedLow, I64);
      pushWide(code, HEAD_TOUCHED);
      code.op('i64_and');
      loadAt(code, CELL.undefinedHigh, I64);
      pushWide(code, HEAD_TOUCHED + 2);
      code.ops('i64_and', 'i64_or', 'i64_eqz', 'i32_eqz');
      code.open('if');
      pushWord(code, HEAD_EXACT);
      code.returnCall(chain);
      code.end();
    }
    goOn(context, code, HEAD_WORDS);
    return code;
  };
}

/** How guest registers of a type are read and written: not as wide as a local. */
const STATE_LOADS: Partial<Record<Type, OpName>> = {
  [TYPE.I1]: 'i32_load8_u',
  [TYPE.I8]: 'i32_load8_u',
  [TYPE.I16]: 'i32_load16_u',
};
const STATE_STORES: Partial<Record<Type, OpName>> = {
  [TYPE.I1]: 'i32_store8',
  [TYPE.I8]: 'i32_store8',
  [TYPE.I16]: 'i32_store16',
};

/** Words: operand, where in linear memory the register is. */
function buildPut(type: Type): Build {
  return (context) => {
    const code = new Code(...HANDLER_TYPE);
    valueTypes(type).forEach((part, i) => {
      pushWord(code, 2);
      pushWord(code, 1);
      loadPart(code, part, 16 * i);
      const narrow = STATE_STORES[type];
      if (narrow) code.memory(narrow, 0);
      else storePart(code, part, (type === TYPE.I128 ? 8 : 16) * i);
    });
    goOn(context, code, 3);
    return code;
  };
}

/** Words: where the register is, result. */
function buildGet(type: Type): Build {
  return (context) => {
    const code = new Code(...HANDLER_TYPE);
    valueTypes(type).forEach((part, i) => {
      pushWord(code, 2);
      pushWord(code, 1);
      const narrow = STATE_LOADS[type];
      if (narrow) code.memory(narrow, 0);
      else loadPart(code, part, (type === TYPE.I128 ? 8 : 16) * i);
      storePart(code, part, 16 * i);
    });
    goOn(context, code, 3);
    return code;
  };
}

/** Words: operand, result. */
function buildMove(type: Type): Build {
  return (context) => {
    const code = new Code(...HANDLER_TYPE);
    valueTypes(type).forEach((part, i) => {
      pushWord(code, 2);
      pushWord(code, 1);
      loadPart(code, part, 16 * i);
      storePart(code, part, 16 * i);
    });
    goOn(context, code, 3);
    return code;
  };
}

/** Counts the instructions of a block that is left, and its segment. */
function passTicks(code: Code, modes: Modes, ticksWord: number, counterWord: number): void {
  code.i32(0);
  loadAt(code, CELL.tick, I64);
  pushWord(code, ticksWord);
  code.ops('i64_extend_i32_u', 'i64_add');
  code.memory('i64_store', CELL.tick);
  if (modes.counts) countSegment(code, counterWord);
}

function countSegment(code: Code, counterWord: number): void {
  pushWord(code, counterWord);
  pushWord(code, counterWord);
  code.memory('i64_load', 0);
  code.i64(1n);
  code.op('i64_add');
  code.memory('i64_store', 0);
}

/** Words: guard, where the program counter is, instructions, slot, target (2), segment counter. */
function buildExit(modes: Modes): Build {
  return (context, chain) => {
    const code = new Code(...HANDLER_TYPE);
    pushWord(code, 1);
    code.memory('i32_load', 0);
    code.open('if');
    pushWord(code, 2);
    pushWide(code, 5);
    code.memory('i64_store', 0);
    passTicks(code, modes, 3, 7);
    pushWord(code, 4);
    code.returnCall(chain);
    code.end();
    if (modes.counts) countSegment(code, 7);
    goOn(context, code, 8);
    return code;
  };
}

/** Words: where the program counter is, instructions, slot, target (2), segment counter. */
function buildEnd(modes: Modes): Build {
  return (_, chain) => {
    const code = new Code(...HANDLER_TYPE);
    pushWord(code, 1);
    pushWide(code, 4);
    code.memory('i64_store', 0);
    passTicks(code, modes, 2, 6);
    pushWord(code, 3);
    code.returnCall(chain);
    return code;
  };
}

/** Words: where the program counter is, instructions, target operand, segment counter. */
function buildJump(modes: Modes, noRedirect: boolean): Build {
  return (context, chain) => {
    const code = new Code(...HANDLER_TYPE);
    const target = code.local(I64);
    pushWord(code, 3);
    code.memory('i64_load', 0);
    code.set(target);
    pushWord(code, 1);
    code.get(target);
    code.memory('i64_store', 0);
    passTicks(code, modes, 2, 4);
    code.get(target);
    code.call(context.support(noRedirect ? 'jump1' : 'jump0'));
    code.returnCall(chain);
    return code;
  };
}

/** Words: new stack pointer, origin. */
function buildMoveStack(RSP: number): Build {
  return (context) => {
    const code = new Code(...HANDLER_TYPE);
    loadAt(code, STATE + RSP, I64);
    pushWord(code, 1);
    code.memory('i64_load', 0);
    pushWord(code, 2);
    code.call(context.support('moveStack'));
    goOn(context, code, 3);
    return code;
  };
}

/** Words: base, target, size. */
const buildAbiHint = (): Build => (context) => {
  const code = new Code(...HANDLER_TYPE);
  pushWord(code, 1);
  code.memory('i64_load', 0);
  pushWord(code, 3);
  pushWord(code, 2);
  code.memory('i64_load', 0);
  code.call(context.support('hintStack'));
  goOn(context, code, 4);
  return code;
};

/** Words: base of the red zone, address of the call instruction (2). */
const buildPushFrame = (): Build => (context) => {
  const code = new Code(...HANDLER_TYPE);
  pushWord(code, 1);
  code.memory('i64_load', 0);
  pushWide(code, 2);
  code.call(context.support('pushFrame'));
  goOn(context, code, 4);
  return code;
};
