/**
 * The handlers of threaded code in C, as `native/` includes them: the same WebAssembly that the compiler of
 * blocks makes, so what an operation does is said once.
 */
import type { Modes } from './compile-block.js';
import { IMPORTS, ModuleContext } from './emit.js';
import { EVALUATED_HELPER_TABLE, OPERATIONS } from './eval-ops.js';
import {
  ACCESS_MODES,
  FLOW_MODES,
  HANDLER_IMPORTS,
  HANDLER_TYPE,
  HEAD_COUNT,
  HEAD_TOUCHED,
  accessHandlers,
  commonHandlers,
  flowHandlers,
  operationName,
  type Handlers,
} from './handlers.js';
import { CACHE_SITE_KINDS } from './cache-sites.js';
import { GUARDED } from './code-tables.js';
import { MISS_EVENTS, MOST_OFFSETS, OFFSET_BITS } from './heap-misses.js';
import { TYPE, TYPE_NAMES } from './ir.js';
import {
  BAIL_SLOT,
  HOT_SLOT,
  JUMP_CACHE,
  JUMP_CACHE_BITS,
  JUMP_CACHE_ENTRIES,
  GRANULE_BITS,
  MAX_MISSES,
  MISS_ADDRESSES,
  MISS_COUNT,
  MISS_SITES,
  NOTES_MISSES,
  TLB,
  TLB_ENTRIES,
  TLB_FOR_STORES,
  TLB_PLACE,
  CELL,
  COUNTS,
  FETCH_LINES,
  LINE_ENTRIES,
  MAX_ROWS,
  MAX_STATE_SIZE,
  MAX_TEMPS,
  ROW_ADDRESSES,
  ROW_SITES,
  ROW_TICKS,
  ROW_VALUES,
  STATE,
  TEMPS,
  TEMP_SIZE,
  THREADED,
  THREADED_FUNCTION,
  THREADED_SIZE,
  TLB_ENTRY_SIZE,
} from './layout.js';
import { ORIGIN_KIND } from './shadow.js';
import { wasmToC, type WasmFunction } from './wasm-to-c.js';
import { Code, I32, I64 } from './wasm.js';

const LAYOUT = {
  ...{
    THREADED_FUNCTION,
    STATE,
    MAX_STATE_SIZE,
    TEMPS,
    TEMP_SIZE,
    MAX_TEMPS,
    THREADED,
    THREADED_SIZE,
    COUNTS,
    BAIL_SLOT,
  },
  ...{ ROW_SITES, ROW_TICKS, ROW_ADDRESSES, ROW_VALUES, MAX_ROWS },
  ...{ FETCH_LINES, LINE_ENTRIES, TLB_ENTRY_SIZE },
  ...{
    GRANULE_BITS,
    TLB,
    TLB_ENTRIES,
    TLB_FOR_STORES,
    TLB_PLACE,
    JUMP_CACHE,
    JUMP_CACHE_BITS,
    JUMP_CACHE_ENTRIES,
    HOT_SLOT,
  },
  ...{ MISS_COUNT, MISS_SITES, MISS_ADDRESSES, MAX_MISSES, NOTES_MISSES },
  ...{ HM_EVENTS: MISS_EVENTS, HM_OFFSET_BITS: OFFSET_BITS, HM_MOST_OFFSETS: MOST_OFFSETS },
  ...{ SITE_GUARDED: GUARDED, SITE_WRITE: CACHE_SITE_KINDS.indexOf('write') },
  ...{ HEAD_COUNT, HEAD_TOUCHED, ORIGIN_STACK: ORIGIN_KIND.stack },
};
const FLOW_NAMES = [
  ...['head', 'exit', 'end', 'jump0', 'jump1'],
  ...['moveStack', 'abiHint', 'pushFrame'],
  ...['fetch', 'branch', 'indirect', 'noteCall'],
];

const C_TYPE = { [I32]: 'u32', [I64]: 'u64' } as Readonly<Record<number, string>>;

const hostDeclaration = ({ name, parameters, results }: WasmFunction): string =>
  `${results.length === 0 ? 'void' : C_TYPE[results[0]!]} ${name}(${['u8* m', ...parameters.map((type, i) => `${C_TYPE[type]} l${i}`)].join(', ')})`;

/** A function that asks the host: its number is its place in `IMPORTS`. */
function hostCall(one: WasmFunction): string {
  const number = Object.keys(IMPORTS).indexOf(one.name.replace('import_', ''));
  const values = one.parameters.map(
    (type, i) => `${type === I32 ? 'host_i32' : 'host_i64'}(l${i})`,
  );
  return `static ${hostDeclaration(one)}
{
   Scope scope = host_open();
   Value values[] = { ${[...values, 'NULL'].join(', ')} };
   ${one.results.length === 0 ? '' : 'return '}host_call(scope, ${number}, ${values.length}, values);
}`;
}

/**
 * Operations whose result is what lies in the place of the operand: its low part, or all of it with the zeros that follow
 * values of up to 32 bits.
 */
const COPIES: Readonly<Record<string, 'LOW' | 'ZERO_EXTENDED'>> = {
  ...({ '64to32': 'LOW', V128to64: 'LOW' } as const),
  ...({ ReinterpF64asI64: 'LOW', ReinterpI64asF64: 'LOW' } as const),
  ...({ '1Uto8': 'ZERO_EXTENDED', '1Uto32': 'ZERO_EXTENDED', '1Uto64': 'ZERO_EXTENDED' } as const),
  ...({ '8Uto16': 'ZERO_EXTENDED', '8Uto32': 'ZERO_EXTENDED', '8Uto64': 'ZERO_EXTENDED' } as const),
  ...({ '16Uto32': 'ZERO_EXTENDED', '16Uto64': 'ZERO_EXTENDED' } as const),
  ...({ '32Uto64': 'ZERO_EXTENDED' } as const),
};

/** In which registers parameters go (System V ABI, AMD64 supplement, 3.2.3). */
const PARAMETER_REGISTERS = ['rdi', 'rsi', 'rdx', 'rcx', 'r8', 'r9'];

/**
 * The call of such a function in a stencil. The way to it keeps all registers but that of the result, which the
 * compiler would not believe of a call of its own.
 */
function hostWay(one: WasmFunction): string {
  const values = ['m', ...one.parameters.map((_, i) => `l${i}`)];
  const inputs = values.map((name, i) => {
    const register = PARAMETER_REGISTERS[i]!;
    return `register u64 ${register} __asm__("${register}") = (u64)${name};`;
  });
  const list = values.map((_, i) => `"r"(${PARAMETER_REGISTERS[i]})`).join(', ');
  return `INLINE ${hostDeclaration(one)}
{
   ${inputs.join('\n   ')}
   u64 result;
seldom: __attribute__((cold, unused));
   __asm__ volatile("call ${one.name}" : "=a"(result) : ${list} : "memory", "cc");
   ${one.results.length === 0 ? '(void)result' : 'return result'};
}`;
}

type Tables = ReadonlyMap<string, number>;

/** An initialiser: the numbers of these handlers, `NO_HANDLER` for those that do not exist. */
const numbersOf = (numbers: Tables, names: readonly string[]): string =>
  `{ ${names.map((name) => numbers.get(name) ?? 'NO_HANDLER').join(', ')} }`;

const ofTypes = (name: string): string[] => TYPE_NAMES.map((type) => `${name} ${type}`);
const strings = (texts: readonly string[]): string =>
  `{\n   ${texts.map((text) => JSON.stringify(text)).join(',\n   ')}\n}`;

/** What `native/translate.h` needs to know of the rest of replay. */
function constants(): string[] {
  return [
    ...Object.entries(CELL).map(([name, at]) => `#define CELL_${name} ${at}u`),
    ...Object.entries(LAYOUT).map(([name, value]) => `#define ${name} ${value}u`),
    '#define NO_HANDLER 0xffffffffu',
    `enum { ${FLOW_NAMES.map((name) => `FLOW_${name.replace(/(?=[A-Z])/g, '_').toUpperCase()}`).join(', ')}, FLOW_HANDLERS };`,
    'enum { ACCESS_IS_UNSEEN, ACCESS_IS_ROW, ACCESS_IS_CHECKED, ACCESS_IS_SIMULATED };',
    'enum { COPY_MADE, COPY_LOW, COPY_ZERO_EXTENDED };',
    `#define PLAIN_ACCESS_MODE ${Object.keys(ACCESS_MODES).indexOf('plain')}u`,
    `#define ACCESS_MODES ${Object.keys(ACCESS_MODES).length}u`,
    `#define FLOW_MODES ${Object.keys(FLOW_MODES).length}u`,
  ];
}

/** Numbers of handlers by what they are for. */
function tables(numbers: Tables): string[] {
  const access = Object.keys(ACCESS_MODES);
  const flow = Object.keys(FLOW_MODES);
  const operations = [...OPERATIONS];
  const helpers = [...EVALUATED_HELPER_TABLE];
  const helperNames = helpers.map(([name, { arity }]) => {
    const types = Array.from({ length: arity }, () => TYPE.I64);
    return [TYPE.I32, TYPE.I64].map((result) => operationName(name, types, result));
  });
  return [
    ...['put', 'get', 'move', 'ite'].map(
      (name) => `static const u32 ${name}_handlers[] = ${numbersOf(numbers, ofTypes(name))};`,
    ),
    ...['load', 'store', 'swap'].map((name) => {
      const rows = access.map((mode) =>
        numbersOf(
          numbers,
          ofTypes(name).map((one) => `${one}|${mode}`),
        ),
      );
      return `static const u32 ${name}_handlers[][${TYPE_NAMES.length}] = { ${rows.join(', ')} };`;
    }),
    `static const u8 access_words[] = { ${Object.values(ACCESS_MODES)
      .map((modes) =>
        modes.shadow ? 'CHECKED' : modes.cache ? 'SIMULATED' : modes.accesses ? 'ROW' : 'UNSEEN',
      )
      .map((what) => `ACCESS_IS_${what}`)
      .join(', ')} };`,
    `static const u32 flow_handlers[][FLOW_HANDLERS] = { ${flow
      .map((mode) =>
        numbersOf(
          numbers,
          FLOW_NAMES.map((name) => `${name}|${mode}`),
        ),
      )
      .join(', ')} };`,
    `static const u8 flow_counts[] = { ${Object.values(FLOW_MODES)
      .map(({ counts }) => Number(counts))
      .join(', ')} };`,
    `#define NOTE_STACK_HANDLER ${numbers.get('noteStack')}u`,
    `#define OPERATION_COUNT ${operations.length}u`,
    `static const char* const operation_names[] = ${strings(operations.map(([name]) => name))};`,
    // the result's type and then the operands', four bits each
    `static const u32 operation_signatures[] = { ${operations
      .map(([, { args, result }]) =>
        [...args].reduce<number>((sum, type) => 16 * sum + type, result),
      )
      .join(', ')} };`,
    `static const u8 operation_copies[] = { ${operations.map(([name]) => `COPY_${COPIES[name] ?? 'MADE'}`).join(', ')} };`,
    `static const u32 operation_handlers[] = ${numbersOf(
      numbers,
      operations.map(([name, { args, result }]) => operationName(name, args, result)),
    )};`,
    `#define HELPER_COUNT ${helpers.length}u`,
    `static const char* const helper_names[] = ${strings(helpers.map(([name]) => name))};`,
    `static const u8 helper_arities[] = { ${helpers.map(([, { arity }]) => arity).join(', ')} };`,
    `static const u32 helper_handlers[][2] = { ${helperNames.map((pair) => numbersOf(numbers, pair)).join(', ')} };`,
  ];
}

/** What the engine itself does of a simulation of caches is the same code, too. */
function engineFunctions(): string {
  const context = new ModuleContext();
  for (const { name, parameters, results } of HANDLER_IMPORTS)
    context.builder.import(name, parameters, results);
  const code = new Code(...HANDLER_TYPE);
  code.call(context.support('settleMisses'));
  code.i32(0);
  const index = context.builder.declare(code.parameters, code.results);
  context.builder.define(index, code);
  context.builder.export('settle_misses', index);
  const translated = wasmToC(context.builder.encode(), 'engine_');
  return [...translated.exports].reduce(
    (text, [name, identifier]) => text.replace(`STENCIL(${identifier})`, `STENCIL(${name})`),
    translated.code,
  );
}

export interface NativeCode {
  /** What `native/stencils.c` includes: the stencils, `stencil_` and their number. */
  readonly stencils: string;
  /** What `native/engine.c` includes: tables of their numbers, and functions that ask the host. */
  readonly tables: string;
  /** What both include: constants of replay. */
  readonly constants: string;
  readonly stencilCount: number;
}

export function generateNativeCode(): NativeCode {
  type HandlerSet = [mode: string, handlers: Handlers, modes?: Modes];
  const sets: HandlerSet[] = [
    ['', commonHandlers()],
    ...Object.entries(ACCESS_MODES).map(([name, modes]): HandlerSet => [
      ...([`|${name}`, accessHandlers(modes), modes] as const),
    ]),
    ...Object.entries(FLOW_MODES).map(([name, modes]): HandlerSet => [
      ...([`|${name}`, flowHandlers(modes), modes] as const),
    ]),
  ];
  let imports: readonly WasmFunction[] = [];
  const parts: string[] = [];
  const numbers = new Map<string, number>();
  sets.forEach(([mode, handlers, modes], set) => {
    const context = new ModuleContext(modes?.cache?.fixed);
    for (const { name, parameters, results } of HANDLER_IMPORTS)
      context.builder.import(name, parameters, results);
    for (const [name, build] of handlers) {
      const code = build(context);
      const index = context.builder.declare(code.parameters, code.results);
      context.builder.define(index, code);
      context.builder.export(name, index);
    }
    const translated = wasmToC(context.builder.encode(), `f${set}_`);
    imports = translated.imports;
    let { code } = translated;
    for (const [name, identifier] of translated.exports) {
      code = code.replace(`STENCIL(${identifier})`, `STENCIL(${numbers.size})`);
      numbers.set(`${name}${mode}`, numbers.size);
    }
    parts.push(code);
  });
  const hosts = imports.slice(0, Object.keys(IMPORTS).length);
  return {
    stencilCount: numbers.size,
    constants: lines(constants()),
    stencils: lines([...hosts.map(hostWay), ...parts]),
    tables: lines([
      `#define STENCIL_COUNT ${numbers.size}u`,
      ...hosts.map(hostCall),
      engineFunctions(),
      ...tables(numbers),
    ]),
  };
}

const lines = (parts: readonly string[]): string => `${parts.join('\n')}\n`;
