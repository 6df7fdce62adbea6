/**
 * The context in which one superblock is turned into WebAssembly: where its temporaries live, how
 * an operand gets onto the stack, and the small shared functions that a module brings along.
 */
import { UserError } from '../schemas/errors.js';
import { OPERATIONS, EVALUATED_HELPER_TABLE } from './eval-ops.js';
import { TYPE, TYPE_NAMES, operandType, type Block, type Operand, type Type } from './ir.js';
import {
  DATA_LINES,
  GRANULE_BITS,
  LINE_BITS,
  LINE_ENTRIES,
  SCRATCH,
  SCRATCH_RESULT,
  SCRATCH_STRIDE,
  TLB,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
  TLB_FOR_STORES,
  TLB_PLACE,
} from './layout.js';
import { SUPPORT, type SupportName } from './support.js';
import {
  Code,
  F32,
  F64,
  I32,
  I64,
  ModuleBuilder,
  V128,
  type OpName,
  type ValueType,
} from './wasm.js';

/** Functions that the host provides to every module. */
export const IMPORTS = {
  /** Evaluates operation or helper number n on the operands in the scratch area. */
  evaluate: { parameters: [I32], results: [] },
  /** Puts n bytes at a guest address, and their states, where a load finds them; returns that place. */
  loadSlowly: { parameters: [I64, I32], results: [I32] },
  /** Stores n bytes of the scratch result at a guest address. */
  storeSlowly: { parameters: [I64, I32], results: [] },
  /** Makes n bytes of the value log available; throws when it has fewer. */
  refill: { parameters: [I32], results: [] },
  /** The slot for a guest address (name space 0 or 1); enters it in the jump cache. */
  lookup: { parameters: [I64, I32], results: [I32] },
  /** Performs dirty statement n with this memory address; its result is left in scratch. */
  dirty: { parameters: [I32, I64], results: [] },
  /** With a tally: the counter at a place has gone through zero. */
  tallyWrapped: { parameters: [I32], results: [] },
  /** With caches: so many misses were written down that there is no room for more. */
  takeMisses: { parameters: [], results: [] },
  /** With calls: there is no room for more rows of them. */
  takeCalls: { parameters: [], results: [] },
  changeStack: { parameters: [I64, I64], results: [] },
  /** With tags: the current thread begins a new epoch. */
  beginEpoch: { parameters: [], results: [] },
  /** With tags: n bytes at an address were accessed by an instruction that synchronises; whether it stored. */
  synchronised: { parameters: [I64, I32, I32], results: [] },
  /** With shadow memory: stores n bytes of the scratch result, defined, at an address, for a shadow site. */
  storeDefined: { parameters: [I64, I32, I32], results: [] },
  /** Marks n bytes at an address as all of one state (8 times the byte), with an origin. */
  markSlowly: { parameters: [I64, I32, I64, I32], results: [] },
  /** The stack pointer goes from one stack to another. */
  moveStackFar: { parameters: [I64, I64, I32], results: [] },
  /** Makes room among the frames. */
  dropFrames: { parameters: [], results: [] },
  /** Shadow of n bytes at an address, for a shadow site: bits to the scratch result; returns the origin. */
  shadowLoad: { parameters: [I64, I32, I32], results: [I32] },
  /** Sets the shadow of n bytes at an address from the scratch result, with an origin, for a shadow site. */
  shadowStore: { parameters: [I64, I32, I32, I32], results: [] },
  /** The same for ranges of any size, of which the bits are all or none. */
  shadowReadRange: { parameters: [I64, I32, I32], results: [I32] },
  shadowWriteRange: { parameters: [I64, I32, I64, I32, I32], results: [] },
  /** Reports the use of an undefined value of an origin, for a shadow site. */
  shadowCheck: { parameters: [I32, I32], results: [] },
} as const satisfies Record<
  string,
  { parameters: readonly ValueType[]; results: readonly ValueType[] }
>;
export type ImportName = keyof typeof IMPORTS;

/** The type of a block's function: its slot in, the next slot out. */
export const BLOCK_TYPE = [[I32], [I32]] as const;

/** Numbers by which compiled code names an operation or helper to the host. */
export const EVALUATION_NUMBERS: ReadonlyMap<string, number> = new Map(
  [...OPERATIONS.keys(), ...EVALUATED_HELPER_TABLE.keys()].map((name, number) => [name, number]),
);

const VALUE_TYPES: readonly (readonly ValueType[] | undefined)[] = (() => {
  const table: (readonly ValueType[] | undefined)[] = [];
  for (const type of [TYPE.I1, TYPE.I8, TYPE.I16, TYPE.I32]) table[type] = [I32];
  table[TYPE.I64] = [I64];
  table[TYPE.I128] = [I64, I64];
  table[TYPE.F32] = [F32];
  table[TYPE.F64] = [F64];
  table[TYPE.V128] = [V128];
  table[TYPE.V256] = [V128, V128];
  return table;
})();

/** WebAssembly types that hold a value of an IR type: two for I128 and V256, low half first. */
export function valueTypes(type: Type): readonly ValueType[] {
  const types = VALUE_TYPES[type];
  if (types) return types;
  throw new UserError(
    `The program uses values of type ${TYPE_NAMES[type]}, which replay does not support.`,
  );
}

/** A module being built, with the support functions it needs so far. */
export class ModuleContext {
  readonly builder = new ModuleBuilder();
  private readonly imports = new Map<ImportName, number>();
  private readonly supports = new Map<SupportName, number>();

  /** @param fixed - words of linear memory that do not change, by address: they need not be loaded */
  constructor(readonly fixed: ReadonlyMap<number, bigint> = new Map<number, bigint>()) {
    for (const [name, { parameters, results }] of Object.entries(IMPORTS)) {
      this.imports.set(name as ImportName, this.builder.import(name, parameters, results));
    }
  }

  import(name: ImportName): number {
    return this.imports.get(name)!;
  }

  /** Function index of a support function, which is added to the module when first asked for. */
  support(name: SupportName): number {
    let index = this.supports.get(name);
    if (index === undefined) {
      const { parameters, results, emit } = SUPPORT[name];
      index = this.builder.declare(parameters, results);
      this.supports.set(name, index);
      const code = new Code(parameters, results);
      emit(code, this);
      this.builder.define(index, code);
    }
    return index;
  }
}

/** A direct-mapped table of places: of granules, or of lines that the simulated data cache had last. */
export interface PlaceTable {
  readonly start: number;
  readonly entries: number;
  /** Logarithm of the bytes that an entry is for. */
  readonly bits: number;
}
export const GRANULES: PlaceTable = { start: TLB, entries: TLB_ENTRIES, bits: GRANULE_BITS };
export const LINES: PlaceTable = { start: DATA_LINES, entries: LINE_ENTRIES, bits: LINE_BITS };

/**
 * Sets local `at` to the place, relative to the granules' base, of an access of `size` bytes; leaves
 * with label depth 0 when the table does not know its granule or line, or when it reaches into the next one.
 * @param push - pushes the guest address
 * @param size - or what pushes by how much it may lie after the start of the granule or line
 * @param entry - a free I32 local
 * @param within - a free I64 local
 */
export function locate(
  code: Code,
  push: () => void,
  size: number | (() => void),
  { at, entry, within }: { readonly at: number; readonly entry: number; readonly within: number },
  store: boolean,
  table = GRANULES,
): void {
  push();
  code.op('i32_wrap_i64');
  code.i32(table.bits - Math.log2(TLB_ENTRY_SIZE));
  code.op('i32_shr_u');
  code.i32((table.entries - 1) * TLB_ENTRY_SIZE);
  code.op('i32_and');
  code.set(entry);
  push();
  code.get(entry);
  code.memory('i64_load', table.start + (store ? TLB_FOR_STORES - TLB : 0));
  code.op('i64_sub');
  code.tee(within);
  if (typeof size === 'function') size();
  else code.i64(BigInt(2 ** table.bits - size));
  code.op('i64_gt_u');
  code.brIf(0);
  code.get(entry);
  code.memory('i32_load', table.start + (TLB_PLACE - TLB));
  code.get(within);
  code.ops('i32_wrap_i64', 'i32_add');
  code.set(at);
}

/** Stores the value on the stack, of a given type, at a constant address. */
export function storeAt(code: Code, address: number, type: ValueType, local: number): void {
  code.i32(0);
  code.get(local);
  if (type === V128) code.memoryV128('v128_store', address);
  else
    code.memory(
      type === I32
        ? 'i32_store'
        : type === I64
          ? 'i64_store'
          : type === F32
            ? 'f32_store'
            : 'f64_store',
      address,
    );
}

export function loadAt(code: Code, address: number, type: ValueType): void {
  code.i32(0);
  if (type === V128) code.memoryV128('v128_load', address);
  else
    code.memory(
      type === I32
        ? 'i32_load'
        : type === I64
          ? 'i64_load'
          : type === F32
            ? 'f32_load'
            : 'f64_load',
      address,
    );
}

/** Emits the code of one superblock. */
export class Emitter {
  readonly code: Code;
  /** The first local of each temporary; a second one follows it. */
  private readonly temps: Uint32Array;
  private readonly pools = new Map<string, number>();

  constructor(
    readonly context: ModuleContext,
    readonly block: Block,
    parameters: readonly ValueType[] = [],
  ) {
    this.code = new Code(parameters, [I32]);
    const { temps } = block;
    this.temps = new Uint32Array(temps.length);
    for (let temp = 0; temp < temps.length; temp++) {
      const types = valueTypes(temps[temp] as Type);
      this.temps[temp] = this.code.local(types[0]!);
      if (types.length > 1) this.code.local(types[1]!);
    }
  }

  /** Locals of a temporary. */
  localsOf(temp: number): readonly number[] {
    const first = this.temps[temp]!;
    return valueTypes(this.block.temps[temp] as Type).length > 1 ? [first, first + 1] : [first];
  }

  typeOf(operand: Operand): Type {
    return operandType(this.block, operand);
  }

  /** The bits of a constant operand, else undefined. */
  constant(operand: Operand): bigint | undefined {
    return operand & 1 ? this.block.constants[operand >>> 1]!.bits : undefined;
  }

  /** A scratch local that is free for use within one statement; `name` tells uses apart. */
  scratch(type: ValueType, name: string): number {
    const key = `${type}:${name}`;
    let local = this.pools.get(key);
    if (local === undefined) {
      local = this.code.local(type);
      this.pools.set(key, local);
    }
    return local;
  }

  /** Puts an operand on the stack; both halves of I128 and V256. */
  push(operand: Operand): void {
    const parts = valueTypes(this.typeOf(operand)).length;
    for (let part = 0; part < parts; part++) this.pushPart(operand, part);
  }

  /** Puts the low (0) or high (1) half of an I128 or V256 on the stack. */
  pushPart(operand: Operand, part: number): void {
    if (!(operand & 1)) {
      this.code.get(this.temps[operand >>> 1]! + part);
      return;
    }
    const { type, bits } = this.block.constants[operand >>> 1]!;
    switch (valueTypes(type)[part]!) {
      case I32:
        this.code.i32(Number(BigInt.asIntN(32, bits)));
        break;
      case I64:
        this.code.i64(bits >> BigInt(64 * part));
        break;
      case F32:
        this.code.f32(bits);
        break;
      case F64:
        this.code.f64(bits);
        break;
      case V128:
        this.code.v128(bits >> BigInt(128 * part));
        break;
    }
  }

  /** Takes a value from the stack into the locals, the high half first. */
  setLocals(locals: readonly number[]): void {
    for (let part = locals.length - 1; part >= 0; part--) this.code.set(locals[part]!);
  }

  call(name: ImportName): void {
    this.code.call(this.context.import(name));
  }

  support(name: SupportName): void {
    this.code.call(this.context.support(name));
  }

  ops(...names: OpName[]): void {
    this.code.ops(...names);
  }

  /** Evaluates an operation or helper by the host and puts the result on the stack. */
  evaluateByHost(name: string, args: readonly Operand[], result: Type): void {
    args.forEach((arg, i) => {
      valueTypes(this.typeOf(arg)).forEach((type, part) => {
        const local = this.scratch(type, 'argument');
        this.pushPart(arg, part);
        this.code.set(local);
        storeAt(
          this.code,
          SCRATCH + i * SCRATCH_STRIDE + part * (type === V128 ? 16 : 8),
          type,
          local,
        );
      });
    });
    this.code.i32(EVALUATION_NUMBERS.get(name)!);
    this.call('evaluate');
    valueTypes(result).forEach((type, part) =>
      loadAt(this.code, SCRATCH_RESULT + part * (type === V128 ? 16 : 8), type),
    );
  }
}

/** Emits an operation: operands are atoms, the result is left on the stack, low half first. */
export type Lowering = (e: Emitter, args: readonly Operand[]) => void;
export type Lowerings = Record<string, Lowering>;
