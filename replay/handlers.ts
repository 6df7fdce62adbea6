/**
 * What the instructions of threaded code (threaded.ts) do: a WebAssembly function for each kind of
 * statement. Its parameter is the address of an instruction, whose words are the number of its kind and
 * then as each function says; operands are addresses.
 *
 * These functions never run as they are. They become C (native-code.ts), and the machine code of each is
 * a stencil: copied for each instruction, with the words put into their places.
 */
import { BlockCompiler, type CompileUnit, type Modes, type Varying } from './compile-block.js';
import { CleanBlockCompiler } from './compile-shadow.js';
import { IMPORTS, loadAt, storeAt, valueTypes, type Emitter, type ModuleContext } from './emit.js';
import {
  TYPE,
  TYPE_NAMES,
  type Block,
  type Expression,
  type Operand,
  type Statement,
  type Type,
} from './ir.js';
import { EVALUATED_HELPER_TABLE, OPERATIONS } from './eval-ops.js';
import { USUAL_CACHES, areUsual } from './cache-guest.js';
import type { CacheModes } from './cache-sites.js';
import { CELL, HOT_SLOT } from './layout.js';
import { Code, I32, I64, V128, type OpName, type ValueType } from './wasm.js';

/** Makes a handler's code in a module that has `HANDLER_IMPORTS`. */
export type Build = (context: ModuleContext) => Code;

/**
 * Imported after `IMPORTS`: what goes on with the block of a slot, what goes on with the next instruction,
 * and the words of the instruction.
 */
export const HANDLER_IMPORTS = [
  { name: 'chain', parameters: [I32], results: [I32] },
  { name: 'chainUnseen', parameters: [I32], results: [I32] },
  { name: 'next', parameters: [], results: [I32] },
  ...Array.from({ length: 9 }, (_, i) => ({
    name: `word${i + 1}`,
    parameters: [],
    results: [I32] as const,
  })),
] as const;
const importNumber = (name: string): number =>
  Object.keys(IMPORTS).length + HANDLER_IMPORTS.findIndex((one) => one.name === name);
/** The way to the next block: shorter where no rows are written. */
const chainOf = ({ shadow, cache }: Modes): number =>
  importNumber(shadow || cache ? 'chainUnseen' : 'chain');
const NEXT = importNumber('next');
const WORD1 = importNumber('word1');

/** The type of a handler: where its instruction stands in, the next slot out. */
export const HANDLER_TYPE = [[I32], [I32]] as const;

/** Words of the instruction that a block begins with: `buildHead`. */
export const HEAD_COUNT = 1;
export const HEAD_TOUCHED = 2;
export const HEAD_BAIL = 6;

/** Words of a load or store after its operands, if it is seen or checked: slot or number of the site; statement or instruction. If it is simulated, only its cache site. */
export const ACCESS_WORD = 3;

/** Says that the number of a site is the address of an instruction of threaded code. */
export const THREADED_SITE = 0x8000_0000;

/** How values lie in memory between statements: as in locals. */
const LOADS = new Map<ValueType, OpName>([
  [I32, 'i32_load'],
  [I64, 'i64_load'],
]);

function pushVarying(code: Code, what: Varying): void {
  switch (what) {
    case 'site':
    case 'cacheSite':
      pushWord(code, ACCESS_WORD);
      break;
    case 'bailSlot':
      pushCell(code, ACCESS_WORD);
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
    firstCacheSite: 0,
    callSites: [],
    firstCallSite: 0,
    stackPointer: 0,
    firstSegment: 0,
    dirtyNumbers: new Map(),
    varying: pushVarying,
    ...(modes.shadow && { shadow: FAKE_SHADOW }),
  };
  const Compiler = modes.shadow ? CleanBlockCompiler : BlockCompiler;
  return (context) =>
    new Compiler(context, unit, modes, chainOf(modes)).compileStatement(statement, before, after);
}

/** Words: operands, result. */
function buildExpression(
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
      e.code.returnCall(NEXT);
    },
  );
}

/** Words: address, result, and those of an access. */
function buildLoad(modes: Modes, type: Type): Build {
  return buildStatement(
    modes,
    [TYPE.I64, type],
    { tag: 'WrTmp', logged: false, temp: 1, expr: { tag: 'Load', type, address: 0 } },
    (e) => fetch(e, 0, TYPE.I64, 1),
    (e) => {
      leave(e, 1, type, 2);
      e.code.returnCall(NEXT);
    },
    true,
  );
}

/** Words: address, data, and those of an access. */
function buildStore(modes: Modes, type: Type): Build {
  return buildStatement(
    modes,
    [TYPE.I64, type],
    { tag: 'Store', address: 0, data: 2 },
    (e) => {
      fetch(e, 0, TYPE.I64, 1);
      fetch(e, 1, type, 2);
    },
    (e) => e.code.returnCall(NEXT),
    true,
  );
}

/** Words: address, expected value, two of an access, new value, old value. */
function buildSwap(modes: Modes, type: Type): Build {
  return buildStatement(
    modes,
    [TYPE.I64, type, type, type],
    {
      ...({ tag: 'CAS', type, oldHi: -1, oldLo: 3, address: 0 } as const),
      ...{ expectedHi: undefined, expectedLo: 2, dataHi: undefined, dataLo: 4 },
    },
    (e) => {
      fetch(e, 0, TYPE.I64, 1);
      fetch(e, 1, type, 2);
      fetch(e, 2, type, ACCESS_WORD + 2);
    },
    (e) => {
      leave(e, 3, type, ACCESS_WORD + 3);
      e.code.returnCall(NEXT);
    },
    true,
  );
}

const buildChoice = (type: Type): Build =>
  buildExpression(PLAIN, [TYPE.I1, type, type], type, ([condition, ifTrue, ifFalse]) => ({
    tag: 'ITE',
    condition: condition!,
    ifTrue: ifTrue!,
    ifFalse: ifFalse!,
  }));

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

/** Pushes a word of the instruction. */
function pushWord(code: Code, word: number): void {
  code.call(WORD1 + word - 1);
}

/** The same of a word that changes after the instruction was made. */
function pushCell(code: Code, word: number): void {
  code.get(0);
  code.memory('i32_load', 4 * word);
}

function pushWide(code: Code, word: number): void {
  code.get(0);
  code.memory('i64_load', 4 * word);
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
    storeTemp(e.code, part, i);
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

/** Counts down, and goes to `hotSlot` at 0; with shadow memory, goes to the exact version when a register is undefined. */
function buildHead(modes: Modes): Build {
  return () => {
    const code = new Code(...HANDLER_TYPE);
    const left = code.local(I32);
    code.get(0);
    pushCell(code, HEAD_COUNT);
    code.i32(1);
    code.op('i32_sub');
    code.tee(left);
    code.memory('i32_store', 4 * HEAD_COUNT);
    code.get(left);
    code.op('i32_eqz');
    code.open('if');
    storeAt(code, CELL.left, I32, 0);
    code.i32(HOT_SLOT);
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
      pushCell(code, HEAD_BAIL);
      code.returnCall(chainOf(modes));
      code.end();
    }
    code.returnCall(NEXT);
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
  return () => {
    const code = new Code(...HANDLER_TYPE);
    valueTypes(type).forEach((part, i) => {
      pushWord(code, 2);
      pushWord(code, 1);
      load(code, part, i);
      store(code, part, i);
    });
    code.returnCall(NEXT);
    return code;
  };
}

const loadTemp: PartCode = (code, part, i) => loadPart(code, part, 16 * i);
/** Values of up to 32 bits have zeros after them: to extend one is to copy it, which is not done (`native/translate.h`). */
const storeTemp: PartCode = (code, part, i) => {
  if (part === I32) code.op('i64_extend_i32_u');
  storePart(code, part === I32 ? I64 : part, 16 * i);
};
/** Bytes from a part of a guest register to the next. */
const stateStride = (type: Type): number => (type === TYPE.I128 ? 8 : 16);

/** Words: operand, where in linear memory the register is. */
function buildPut(type: Type): Build {
  const narrow = STATE_STORES[type];
  return buildCopy(type, loadTemp, (code, part, i) => {
    if (narrow) code.memory(narrow, 0);
    else storePart(code, part, stateStride(type) * i);
  });
}

/** Words: where the register is, result. */
function buildGet(type: Type): Build {
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
const buildMove = (type: Type): Build => buildCopy(type, loadTemp, storeTemp);

/** Counts the instructions of a block that is left, and the way out, which is known by its segment. */
function passTicks(code: Code, modes: Modes, ticksWord: number, counterWord: number): void {
  code.i32(0);
  loadAt(code, CELL.tick, I64);
  pushWord(code, ticksWord);
  code.ops('i64_extend_i32_u', 'i64_add');
  code.memory('i64_store', CELL.tick);
  if (!modes.counts) return;
  pushWord(code, counterWord);
  pushWord(code, counterWord);
  code.memory('i64_load', 0);
  code.i64(1n);
  code.op('i64_add');
  code.memory('i64_store', 0);
}

/** Words: guard, where the program counter is, instructions, slot, target (2), segment counter. */
function buildExit(modes: Modes): Build {
  return () => {
    const code = new Code(...HANDLER_TYPE);
    pushWord(code, 1);
    code.memory('i32_load', 0);
    code.open('if');
    pushWord(code, 2);
    pushWide(code, 5);
    code.memory('i64_store', 0);
    passTicks(code, modes, 3, 7);
    pushCell(code, 4);
    code.returnCall(chainOf(modes));
    code.end();
    code.returnCall(NEXT);
    return code;
  };
}

/** Words: where the program counter is, instructions, slot, target (2), segment counter. */
function buildEnd(modes: Modes): Build {
  return () => {
    const code = new Code(...HANDLER_TYPE);
    pushWord(code, 1);
    pushWide(code, 4);
    code.memory('i64_store', 0);
    passTicks(code, modes, 2, 6);
    pushCell(code, 3);
    code.returnCall(chainOf(modes));
    return code;
  };
}

/** Words: where the program counter is, instructions, target operand, segment counter. */
function buildJump(modes: Modes, noRedirect: boolean): Build {
  return (context) => {
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
    code.returnCall(chainOf(modes));
    return code;
  };
}

/**
 * Words: where the stack pointer is, its new value, and what the function wants to know besides: an origin, or
 * instructions of the block before it.
 */
const buildStackMove =
  (name: 'moveStack' | 'noteStack'): Build =>
  (context) => {
    const code = new Code(...HANDLER_TYPE);
    for (const word of [1, 2]) {
      pushWord(code, word);
      code.memory('i64_load', 0);
    }
    pushWord(code, 3);
    code.call(context.support(name));
    code.returnCall(NEXT);
    return code;
  };

/** Words: base, target, size. */
const buildAbiHint: Build = (context) => {
  const code = new Code(...HANDLER_TYPE);
  pushWord(code, 1);
  code.memory('i64_load', 0);
  pushWord(code, 3);
  pushWord(code, 2);
  code.memory('i64_load', 0);
  code.call(context.support('hintStack'));
  code.returnCall(NEXT);
  return code;
};

/** Words: base of the red zone, address of the call instruction (2). */
const buildPushFrame: Build = (context) => {
  const code = new Code(...HANDLER_TYPE);
  pushWord(code, 1);
  code.memory('i64_load', 0);
  pushWide(code, 2);
  code.call(context.support('pushFrame'));
  code.returnCall(NEXT);
  return code;
};

/** Words: entry of the table of lines, what it has if nothing is to be done (2), address (2), size, site. */
const buildFetch: Build = (context) => {
  const code = new Code(...HANDLER_TYPE);
  pushWord(code, 1);
  code.memory('i64_load', 0);
  pushWide(code, 2);
  code.op('i64_ne');
  code.open('if');
  pushWide(code, 4);
  pushWord(code, 6);
  pushWord(code, 7);
  code.call(context.support('fetchCode'));
  code.end();
  code.returnCall(NEXT);
  return code;
};

/** Words: guard, site, address, 1 if the branch is taken where the guard does not hold. */
const buildBranch: Build = (context) => {
  const code = new Code(...HANDLER_TYPE);
  pushWord(code, 2);
  pushWord(code, 3);
  pushWord(code, 1);
  code.memory('i32_load', 0);
  pushWord(code, 4);
  code.op('i32_xor');
  code.call(context.support('predictBranch'));
  code.returnCall(NEXT);
  return code;
};

/** Words: target, site, address. */
const buildIndirect: Build = (context) => {
  const code = new Code(...HANDLER_TYPE);
  pushWord(code, 2);
  pushWord(code, 3);
  pushWord(code, 1);
  code.memory('i64_load', 0);
  code.call(context.support('predictTarget'));
  code.returnCall(NEXT);
  return code;
};

/** Words: call site, instructions of the block before it, where the stack pointer is. */
const buildNoteCall: Build = (context) => {
  const code = new Code(...HANDLER_TYPE);
  for (const word of [1, 2, 3]) pushWord(code, word);
  code.call(context.support('noteCall'));
  code.returnCall(NEXT);
  return code;
};

// ---- All of them, by name ----

/** Types of values that replay supports. */
const HANDLED_TYPES: readonly Type[] = [
  ...[TYPE.I1, TYPE.I8, TYPE.I16, TYPE.I32, TYPE.I64, TYPE.I128],
  ...[TYPE.F32, TYPE.F64, TYPE.V128, TYPE.V256],
];

/** Of values that are compared and swapped. */
const SWAPPED_TYPES: readonly Type[] = [TYPE.I8, TYPE.I16, TYPE.I32, TYPE.I64];

/** By name; `loadName` and its like say which. */
export type Handlers = ReadonlyMap<string, Build>;

const ofTypes = (name: string, build: (type: Type) => Build): [string, Build][] =>
  HANDLED_TYPES.map((type) => [`${name} ${TYPE_NAMES[type]}`, build(type)]);

/** The name of an operation's or a helper's handler for operands and a result of these types. */
export const operationName = (name: string, types: readonly Type[], result: Type): string =>
  `${name}(${types.map((type) => TYPE_NAMES[type]).join()})${TYPE_NAMES[result]}`;

const PLAIN: Modes = { accesses: false, counts: false };

/** Those that are the same in every kind of replay. */
export function commonHandlers(): Handlers {
  const helpers = [...EVALUATED_HELPER_TABLE].flatMap(([name, { arity }]) =>
    ([TYPE.I32, TYPE.I64] as const).map((type): [string, Build] => {
      const types = Array.from({ length: arity }, () => TYPE.I64);
      return [
        operationName(name, types, type),
        buildExpression(PLAIN, types, type, (args) => ({ tag: 'CCall', name, type, args })),
      ];
    }),
  );
  const operations = [...OPERATIONS].map(([op, { args: types, result }]): [string, Build] => [
    operationName(op, types, result),
    buildExpression(PLAIN, types, result, (args) => ({ tag: 'Op', op, args })),
  ]);
  return new Map([
    ...ofTypes('put', buildPut),
    ...ofTypes('get', buildGet),
    ...ofTypes('move', buildMove),
    ...ofTypes('ite', (type) => buildChoice(type)),
    ...operations,
    ...helpers,
    ['noteStack', buildStackMove('noteStack')],
  ]);
}

/** Those that depend on whether and how loads and stores are seen. */
export function accessHandlers(modes: Modes): Handlers {
  return new Map([
    ...ofTypes('load', (type) => buildLoad(modes, type)),
    ...ofTypes('store', (type) => buildStore(modes, type)),
    // Where rows are written, or what is fresh is told of, it has two sites.
    ...(modes.accesses
      ? []
      : SWAPPED_TYPES.map((type): [string, Build] => [
          `swap ${TYPE_NAMES[type]}`,
          buildSwap(modes, type),
        ])),
  ]);
}

/** Those that depend on what is done where a block begins and ends. */
export function flowHandlers(modes: Modes): Handlers {
  return new Map<string, Build>([
    ['head', buildHead(modes)],
    ['exit', buildExit(modes)],
    ['end', buildEnd(modes)],
    ['jump0', buildJump(modes, false)],
    ['jump1', buildJump(modes, true)],
    ...(modes.shadow
      ? ([
          ['moveStack', buildStackMove('moveStack')],
          ['abiHint', buildAbiHint],
          ['pushFrame', buildPushFrame],
        ] as const)
      : []),
    ...(modes.cache
      ? ([
          ['fetch', buildFetch],
          ['branch', buildBranch],
          ['indirect', buildIndirect],
        ] as const)
      : []),
    ...(modes.calls ? ([['noteCall', buildNoteCall]] as const) : []),
  ]);
}

/** Handlers do not depend on what the caches are, */
const CACHE: Modes = {
  accesses: false,
  counts: true,
  cache: { fetchBits: 0, branches: false, mostBytes: 1 },
};
/** or only on what most have in common. */
const USUAL_CACHE: Modes = { ...CACHE, cache: { ...CACHE.cache!, fixed: USUAL_CACHES } };

/** What `accessHandlers` and `flowHandlers` look at of the modes. */
export const ACCESS_MODES: Readonly<Record<string, Modes>> = {
  plain: PLAIN,
  accesses: { accesses: true, counts: false },
  within: { accesses: true, counts: false, addresses: [0n, 0n] },
  fresh: { accesses: true, counts: false, fresh: { synchronises: () => false } },
  tally: { accesses: false, counts: false, tally: true },
  accessesTally: { accesses: true, counts: false, tally: true },
  shadow: { accesses: false, counts: false, shadow: true },
  cache: CACHE,
  usualCache: USUAL_CACHE,
};
export const FLOW_MODES: Readonly<Record<string, Modes>> = {
  plain: PLAIN,
  counts: { accesses: false, counts: true },
  shadow: { accesses: false, counts: false, shadow: true },
  cache: CACHE,
  calls: { accesses: false, counts: true, calls: true },
  cacheAndCalls: { ...CACHE, calls: true },
  usualCache: USUAL_CACHE,
  usualCacheAndCalls: { ...USUAL_CACHE, calls: true },
};

const cacheMode = (cache: CacheModes): string => (areUsual(cache) ? 'usualCache' : 'cache');

export const accessMode = (modes: Modes): string =>
  modes.shadow
    ? 'shadow'
    : modes.cache
      ? cacheMode(modes.cache)
      : !modes.accesses
        ? modes.tally
          ? 'tally'
          : 'plain'
        : modes.fresh
          ? 'fresh'
          : modes.addresses
            ? 'within'
            : modes.tally
              ? 'accessesTally'
              : 'accesses';
export const flowMode = (modes: Modes): string =>
  modes.shadow
    ? 'shadow'
    : modes.cache
      ? `${cacheMode(modes.cache)}${modes.calls ? 'AndCalls' : ''}`
      : modes.calls
        ? 'calls'
        : modes.counts
          ? 'counts'
          : 'plain';
