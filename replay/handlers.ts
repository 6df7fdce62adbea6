/**
 * The handlers of threaded code (threaded.ts): a WebAssembly function for each kind of statement. Its
 * parameter is the address of an instruction, whose words are the handler's number and then as each
 * handler says; operands are addresses. It ends in a tail call of the next instruction's handler.
 */
import { BlockCompiler, type CompileUnit, type Modes, type Varying } from './compile-block.js';
import { CleanBlockCompiler } from './compile-shadow.js';
import {
  BLOCK_TYPE,
  loadAt,
  storeAt,
  valueTypes,
  type Emitter,
  type ModuleContext,
} from './emit.js';
import {
  TYPE,
  type Block,
  type Expression,
  type Operand,
  type Statement,
  type Type,
} from './ir.js';
import { CELL, STATE } from './layout.js';
import { Code, I32, I64, V128, type OpName, type ValueType } from './wasm.js';

/** Makes a handler's code in a module; `chain` goes on with the block of a slot. */
export type Build = (context: ModuleContext, chain: number) => Code;

/** The type of a handler: where its instruction stands in, the next slot out. */
const HANDLER_TYPE = [[I32], [I32]] as const;

/** Words of the instruction that a block begins with: `buildHead`. */
export const HEAD_COUNT = 1;
export const HEAD_TOUCHED = 2;
export const HEAD_BAIL = 6;
export const HEAD_WORDS = 7;

/** Words of a load or store after its operands: `accessWords`. */
export const ACCESS_WORD = 3;

/** Says that the number of a site is the address of an instruction of threaded code. */
export const THREADED_SITE = 0x8000_0000;

/** How values lie in memory between statements: as in locals. */
const LOADS = new Map<ValueType, OpName>([
  [I32, 'i32_load'],
  [I64, 'i64_load'],
]);

/** How many words follow the operands of a load or store: slot or number of the site, statement or instruction. */
const accessWords = (modes: Modes): number => (modes.accesses || modes.shadow ? 2 : 0);

function pushVarying(code: Code, what: Varying): void {
  switch (what) {
    case 'site':
    case 'bailSlot':
      pushWord(code, ACCESS_WORD);
      break;
    case 'instruction':
      pushWord(code, ACCESS_WORD + 1);
      break;
    case 'shadowSite':
      code.get(0);
      code.i32(THREADED_SITE | 0);
      code.op('i32_or');
  }
}

/** A handler of one statement on temporaries 0, 1, … of these types. */
function buildStatement(
  modes: Modes,
  types: readonly Type[],
  statement: Statement,
  before: (e: Emitter) => void,
  after: (e: Emitter) => void,
  isAccess = false,
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
  const unit: CompileUnit = {
    block,
    slotFor: () => 0,
    sites: isAccess ? [FAKE_SITE] : [],
    firstSite: 0,
    firstSegment: 0,
    dirtyNumbers: new Map(),
    varying: pushVarying,
    ...(modes.shadow && { shadow: FAKE_SHADOW }),
  };
  const Compiler = modes.shadow ? CleanBlockCompiler : BlockCompiler;
  return (context, chain) =>
    new Compiler(context, unit, modes, chain).compileStatement(statement, before, after);
}

/** Words: operands, result. */
export function buildExpression(
  modes: Modes,
  types: readonly Type[],
  result: Type,
  expr: (args: Operand[]) => Expression,
): Build {
  const args = types.map((_, i) => i << 1);
  const temp = types.length;
  return buildStatement(
    modes,
    [...types, result],
    { tag: 'WrTmp', logged: false, temp, expr: expr(args) },
    (e) => types.forEach((type, i) => fetch(e, i, type, 1 + i)),
    (e) => {
      leave(e, temp, result, 1 + types.length);
      goOn(e.context, e.code, 2 + types.length);
    },
  );
}

/** Words: address, result, and those of an access. */
export function buildLoad(modes: Modes, type: Type): Build {
  return buildStatement(
    modes,
    [TYPE.I64, type],
    { tag: 'WrTmp', logged: false, temp: 1, expr: { tag: 'Load', type, address: 0 } },
    (e) => fetch(e, 0, TYPE.I64, 1),
    (e) => {
      leave(e, 1, type, 2);
      goOn(e.context, e.code, 3 + accessWords(modes));
    },
    true,
  );
}

/** Words: address, data, and those of an access. */
export function buildStore(modes: Modes, type: Type): Build {
  return buildStatement(
    modes,
    [TYPE.I64, type],
    { tag: 'Store', address: 0, data: 2 },
    (e) => {
      fetch(e, 0, TYPE.I64, 1);
      fetch(e, 1, type, 2);
    },
    (e) => goOn(e.context, e.code, 3 + accessWords(modes)),
    true,
  );
}

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
  RSP: -1,
  exactSlot: unused,
  site: unused,
};

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

/** Runs the threaded code of a slot; the way in from compiled code. */
export const buildEntry: Build = (context) => {
  const code = new Code(...BLOCK_TYPE);
  const pc = code.local(I32);
  code.get(0);
  code.memory('i32_load', 4);
  code.tee(pc);
  code.get(pc);
  code.memory('i32_load', 0);
  code.returnCallIndirect(context.builder.type(...HANDLER_TYPE));
  return code;
};

/** Counts down, and goes to `hotSlot` at 0; with shadow memory, goes to the exact version when a register is undefined. */
export function buildHead(modes: Modes, hotSlot: number): Build {
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
    storeAt(code, CELL.left, I32, 0);
    code.i32(hotSlot);
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
      storeAt(code, CELL.left, I32, 0);
      pushWord(code, HEAD_BAIL);
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

type PartCode = (code: Code, part: ValueType, index: number) => void;

/** A handler of the words source, target that copies a value, part by part. */
function buildCopy(type: Type, load: PartCode, store: PartCode): Build {
  return (context) => {
    const code = new Code(...HANDLER_TYPE);
    valueTypes(type).forEach((part, i) => {
      pushWord(code, 2);
      pushWord(code, 1);
      load(code, part, i);
      store(code, part, i);
    });
    goOn(context, code, 3);
    return code;
  };
}

const loadTemp: PartCode = (code, part, i) => loadPart(code, part, 16 * i);
const storeTemp: PartCode = (code, part, i) => storePart(code, part, 16 * i);
/** Bytes from a part of a guest register to the next. */
const stateStride = (type: Type): number => (type === TYPE.I128 ? 8 : 16);

/** Words: operand, where in linear memory the register is. */
export function buildPut(type: Type): Build {
  const narrow = STATE_STORES[type];
  return buildCopy(type, loadTemp, (code, part, i) => {
    if (narrow) code.memory(narrow, 0);
    else storePart(code, part, stateStride(type) * i);
  });
}

/** Words: where the register is, result. */
export function buildGet(type: Type): Build {
  const narrow = STATE_LOADS[type];
  return buildCopy(
    type,
    (code, part, i) => {
      if (narrow) code.memory(narrow, 0);
      else loadPart(code, part, stateStride(type) * i);
    },
    storeTemp,
  );
}

/** Words: operand, result. */
export const buildMove = (type: Type): Build => buildCopy(type, loadTemp, storeTemp);

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
export function buildExit(modes: Modes): Build {
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
export function buildEnd(modes: Modes): Build {
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
export function buildJump(modes: Modes, noRedirect: boolean): Build {
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
export function buildMoveStack(RSP: number): Build {
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
export const buildAbiHint = (): Build => (context) => {
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
export const buildPushFrame = (): Build => (context) => {
  const code = new Code(...HANDLER_TYPE);
  pushWord(code, 1);
  code.memory('i64_load', 0);
  pushWide(code, 2);
  code.call(context.support('pushFrame'));
  goOn(context, code, 4);
  return code;
};
