/**
 * A small encoder of WebAssembly binaries: `Code` is the body of one function, `ModuleBuilder` puts
 * functions together. Only what the compiler of superblocks needs; nothing is validated here, the
 * engine does that.
 */
import { grown } from './grown.js';

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;
export const V128 = 0x7b;
const FUNCREF = 0x70;
/** The type of a block that leaves nothing on the stack. */
export const VOID = 0x40;

export type ValueType = typeof I32 | typeof I64 | typeof F32 | typeof F64 | typeof V128;

/** Opcodes by name, as in the text format with `.` replaced by `_`. SIMD opcodes follow 0xfd. */
export const OP = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  br_if: 0x0d,
  return: 0x0f,
  drop: 0x1a,
  select: 0x1b,
  i32_load: 0x28,
  i64_load: 0x29,
  f32_load: 0x2a,
  f64_load: 0x2b,
  i32_load8_u: 0x2d,
  i32_load16_u: 0x2f,
  i64_load8_u: 0x31,
  i64_load16_u: 0x33,
  i64_load32_u: 0x35,
  i32_store: 0x36,
  i64_store: 0x37,
  i64_store8: 0x3c,
  i64_store16: 0x3d,
  i64_store32: 0x3e,
  f32_store: 0x38,
  f64_store: 0x39,
  i32_store8: 0x3a,
  i32_store16: 0x3b,
  i32_eqz: 0x45,
  i32_eq: 0x46,
  i32_ne: 0x47,
  i32_lt_s: 0x48,
  i32_lt_u: 0x49,
  i32_gt_s: 0x4a,
  i32_gt_u: 0x4b,
  i32_le_s: 0x4c,
  i32_le_u: 0x4d,
  i32_ge_s: 0x4e,
  i32_ge_u: 0x4f,
  i64_eqz: 0x50,
  i64_eq: 0x51,
  i64_ne: 0x52,
  i64_lt_s: 0x53,
  i64_lt_u: 0x54,
  i64_gt_s: 0x55,
  i64_gt_u: 0x56,
  i64_le_s: 0x57,
  i64_le_u: 0x58,
  i64_ge_s: 0x59,
  i64_ge_u: 0x5a,
  f32_eq: 0x5b,
  f32_ne: 0x5c,
  f32_lt: 0x5d,
  f32_gt: 0x5e,
  f32_le: 0x5f,
  f32_ge: 0x60,
  f64_eq: 0x61,
  f64_ne: 0x62,
  f64_lt: 0x63,
  f64_gt: 0x64,
  f64_le: 0x65,
  f64_ge: 0x66,
  i32_clz: 0x67,
  i32_ctz: 0x68,
  i32_popcnt: 0x69,
  i32_add: 0x6a,
  i32_sub: 0x6b,
  i32_mul: 0x6c,
  i32_and: 0x71,
  i32_or: 0x72,
  i32_xor: 0x73,
  i32_shl: 0x74,
  i32_shr_s: 0x75,
  i32_shr_u: 0x76,
  i64_clz: 0x79,
  i64_ctz: 0x7a,
  i64_popcnt: 0x7b,
  i64_add: 0x7c,
  i64_sub: 0x7d,
  i64_mul: 0x7e,
  i64_div_s: 0x7f,
  i64_div_u: 0x80,
  i64_rem_s: 0x81,
  i64_rem_u: 0x82,
  i64_and: 0x83,
  i64_or: 0x84,
  i64_xor: 0x85,
  i64_shl: 0x86,
  i64_shr_s: 0x87,
  i64_shr_u: 0x88,
  f32_abs: 0x8b,
  f32_neg: 0x8c,
  f32_ceil: 0x8d,
  f32_floor: 0x8e,
  f32_trunc: 0x8f,
  f32_nearest: 0x90,
  f32_sqrt: 0x91,
  f32_add: 0x92,
  f32_sub: 0x93,
  f32_mul: 0x94,
  f32_div: 0x95,
  f64_abs: 0x99,
  f64_neg: 0x9a,
  f64_ceil: 0x9b,
  f64_floor: 0x9c,
  f64_trunc: 0x9d,
  f64_nearest: 0x9e,
  f64_sqrt: 0x9f,
  f64_add: 0xa0,
  f64_sub: 0xa1,
  f64_mul: 0xa2,
  f64_div: 0xa3,
  i32_wrap_i64: 0xa7,
  i64_extend_i32_s: 0xac,
  i64_extend_i32_u: 0xad,
  f32_demote_f64: 0xb6,
  f64_convert_i32_s: 0xb7,
  f64_convert_i64_s: 0xb9,
  f64_promote_f32: 0xbb,
  i32_reinterpret_f32: 0xbc,
  i64_reinterpret_f64: 0xbd,
  f32_reinterpret_i32: 0xbe,
  f64_reinterpret_i64: 0xbf,
  i32_extend8_s: 0xc0,
  i32_extend16_s: 0xc1,
  i64_extend8_s: 0xc2,
  i64_extend16_s: 0xc3,
  i64_extend32_s: 0xc4,
} as const;

export const SIMD = {
  v128_load: 0x00,
  v128_store: 0x0b,
  v128_const: 0x0c,
  i8x16_shuffle: 0x0d,
  i8x16_swizzle: 0x0e,
  i8x16_splat: 0x0f,
  i16x8_splat: 0x10,
  i32x4_splat: 0x11,
  i64x2_splat: 0x12,
  f64x2_splat: 0x14,
  i32x4_extract_lane: 0x1b,
  i32x4_replace_lane: 0x1c,
  i64x2_extract_lane: 0x1d,
  i64x2_replace_lane: 0x1e,
  f32x4_extract_lane: 0x1f,
  f32x4_replace_lane: 0x20,
  f64x2_extract_lane: 0x21,
  f64x2_replace_lane: 0x22,
  i8x16_eq: 0x23,
  i8x16_ne: 0x24,
  i8x16_gt_s: 0x27,
  i16x8_eq: 0x2d,
  i16x8_ne: 0x2e,
  i16x8_gt_s: 0x31,
  i32x4_eq: 0x37,
  i32x4_ne: 0x38,
  i32x4_gt_s: 0x3b,
  f32x4_eq: 0x41,
  f32x4_ne: 0x42,
  f32x4_lt: 0x43,
  f32x4_le: 0x45,
  f32x4_ge: 0x46,
  f64x2_eq: 0x47,
  f64x2_ne: 0x48,
  f64x2_lt: 0x49,
  f64x2_le: 0x4b,
  v128_not: 0x4d,
  v128_and: 0x4e,
  v128_or: 0x50,
  v128_xor: 0x51,
  v128_bitselect: 0x52,
  v128_any_true: 0x53,
  i8x16_bitmask: 0x64,
  i8x16_narrow_i16x8_s: 0x65,
  i8x16_narrow_i16x8_u: 0x66,
  f32x4_floor: 0x68,
  f32x4_ceil: 0x67,
  f32x4_trunc: 0x69,
  f32x4_nearest: 0x6a,
  i8x16_shl: 0x6b,
  i8x16_shr_s: 0x6c,
  i8x16_shr_u: 0x6d,
  i8x16_add: 0x6e,
  i8x16_add_sat_s: 0x6f,
  i8x16_add_sat_u: 0x70,
  i8x16_sub: 0x71,
  i8x16_sub_sat_s: 0x72,
  i8x16_sub_sat_u: 0x73,
  i8x16_min_s: 0x76,
  i8x16_min_u: 0x77,
  i8x16_max_s: 0x78,
  i8x16_max_u: 0x79,
  i8x16_avgr_u: 0x7b,
  i16x8_narrow_i32x4_s: 0x85,
  i16x8_narrow_i32x4_u: 0x86,
  i16x8_extend_low_i8x16_s: 0x87,
  i16x8_extend_high_i8x16_s: 0x88,
  i16x8_extend_low_i8x16_u: 0x89,
  i16x8_extend_high_i8x16_u: 0x8a,
  i16x8_shl: 0x8b,
  i16x8_shr_s: 0x8c,
  i16x8_shr_u: 0x8d,
  i16x8_add: 0x8e,
  i16x8_add_sat_s: 0x8f,
  i16x8_add_sat_u: 0x90,
  i16x8_sub: 0x91,
  i16x8_sub_sat_s: 0x92,
  i16x8_sub_sat_u: 0x93,
  i16x8_mul: 0x95,
  i16x8_min_s: 0x96,
  i16x8_min_u: 0x97,
  i16x8_max_s: 0x98,
  i16x8_max_u: 0x99,
  i16x8_avgr_u: 0x9b,
  i32x4_extend_low_i16x8_s: 0xa7,
  i32x4_extend_high_i16x8_s: 0xa8,
  i32x4_shl: 0xab,
  i32x4_shr_s: 0xac,
  i32x4_shr_u: 0xad,
  i32x4_add: 0xae,
  i32x4_sub: 0xb1,
  i32x4_mul: 0xb5,
  i32x4_min_s: 0xb6,
  i32x4_min_u: 0xb7,
  i32x4_max_s: 0xb8,
  i32x4_max_u: 0xb9,
  i32x4_dot_i16x8_s: 0xba,
  i32x4_extmul_low_i16x8_s: 0xbc,
  i32x4_extmul_high_i16x8_s: 0xbd,
  i32x4_extmul_low_i16x8_u: 0xbe,
  i32x4_extmul_high_i16x8_u: 0xbf,
  i64x2_shl: 0xcb,
  i64x2_shr_s: 0xcc,
  i64x2_shr_u: 0xcd,
  i64x2_add: 0xce,
  i64x2_sub: 0xd1,
  i64x2_eq: 0xd6,
  i64x2_ne: 0xd7,
  i64x2_gt_s: 0xd9,
  i16x8_extadd_pairwise_i8x16_u: 0x7d,
  i32x4_extadd_pairwise_i16x8_u: 0x7f,
  f32x4_sqrt: 0xe3,
  f32x4_add: 0xe4,
  f32x4_sub: 0xe5,
  f32x4_mul: 0xe6,
  f32x4_div: 0xe7,
  f32x4_pmin: 0xea,
  f32x4_pmax: 0xeb,
  f64x2_sqrt: 0xef,
  f64x2_add: 0xf0,
  f64x2_sub: 0xf1,
  f64x2_mul: 0xf2,
  f64x2_div: 0xf3,
  f64x2_pmin: 0xf6,
  f64x2_pmax: 0xf7,
  i32x4_trunc_sat_f32x4_s: 0xf8,
  f32x4_convert_i32x4_s: 0xfa,
} as const;

export type OpName = keyof typeof OP;
export type SimdName = keyof typeof SIMD;

/** A growing byte array with the integer encodings of WebAssembly. */
export class Bytes {
  private buffer = new Uint8Array(1024);
  length = 0;

  private reserve(extra: number): void {
    const { buffer, length } = this;
    if (length + extra > buffer.length) this.buffer = grown(buffer, length + extra);
  }

  byte(value: number): void {
    if (this.length === this.buffer.length) this.reserve(1);
    this.buffer[this.length++] = value;
  }

  append(bytes: ArrayLike<number>): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Unsigned LEB128 of a number below 2^32. */
  unsigned(value: number): void {
    while (value >= 0x80) {
      this.byte((value & 0x7f) | 0x80);
      value = Math.floor(value / 128);
    }
    this.byte(value);
  }

  /** Signed LEB128 of a 32-bit integer. */
  signed(value: number): void {
    for (;;) {
      const low = value & 0x7f;
      value >>= 7;
      if ((value === 0 && (low & 0x40) === 0) || (value === -1 && (low & 0x40) !== 0)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  /** Signed LEB128 of a 64-bit integer. */
  signed64(value: bigint): void {
    let small = Number(value);
    while (small < -0x80000000 || small > 0x7fffffff) {
      // four groups of seven bits at a time
      const low = Number(value & 0xfffffffn);
      for (let shift = 0; shift < 28; shift += 7) this.byte(((low >>> shift) & 0x7f) | 0x80);
      value >>= 28n;
      small = Number(value);
    }
    this.signed(small);
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.unsigned(bytes.length);
    this.append(bytes);
  }

  view(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }
}

/** Bodies that are not in use: a buffer for each function would cost more than what is written to it. */
const spareBodies: Bytes[] = [];

/** The body of one function: its locals and instructions. */
export class Code {
  readonly body = spareBodies.pop() ?? new Bytes();
  private readonly locals: ValueType[] = [];
  /** Blocks, loops and ifs that are open here. */
  depth = 0;

  constructor(
    readonly parameters: readonly ValueType[],
    readonly results: readonly ValueType[],
  ) {}

  /** Declares a local and returns its index. */
  local(type: ValueType): number {
    this.locals.push(type);
    return this.parameters.length + this.locals.length - 1;
  }

  op(name: OpName): void {
    this.body.byte(OP[name]);
  }

  ops(...names: OpName[]): void {
    for (const name of names) this.op(name);
  }

  simd(name: SimdName): void {
    this.body.byte(0xfd);
    this.body.unsigned(SIMD[name]);
  }

  /** A SIMD instruction with a lane number. */
  lane(name: SimdName, lane: number): void {
    this.simd(name);
    this.body.byte(lane);
  }

  /** Byte shuffle of two vectors: lanes 0–15 come from the first, 16–31 from the second. */
  shuffle(lanes: ArrayLike<number>): void {
    this.simd('i8x16_shuffle');
    this.body.append(lanes);
  }

  get(local: number): void {
    this.body.byte(0x20);
    this.body.unsigned(local);
  }

  set(local: number): void {
    this.body.byte(0x21);
    this.body.unsigned(local);
  }

  tee(local: number): void {
    this.body.byte(0x22);
    this.body.unsigned(local);
  }

  i32(value: number): void {
    this.body.byte(0x41);
    this.body.signed(value | 0);
  }

  i64(value: bigint): void {
    this.body.byte(0x42);
    this.body.signed64(BigInt.asIntN(64, value));
  }

  f32(bits: bigint): void {
    this.body.byte(0x43);
    this.littleEndian(bits, 4);
  }

  f64(bits: bigint): void {
    this.body.byte(0x44);
    this.littleEndian(bits, 8);
  }

  v128(bits: bigint): void {
    this.simd('v128_const');
    this.littleEndian(bits, 16);
  }

  private littleEndian(bits: bigint, size: number): void {
    for (let i = 0; i < size; i++) this.body.byte(Number((bits >> BigInt(8 * i)) & 0xffn));
  }

  /** A load or store; the address is on the stack, `offset` is added to it. No alignment is promised. */
  memory(name: OpName, offset: number): void {
    this.op(name);
    this.body.byte(0);
    this.body.unsigned(offset);
  }

  memoryV128(name: 'v128_load' | 'v128_store', offset: number): void {
    this.simd(name);
    this.body.byte(0);
    this.body.unsigned(offset);
  }

  /** Opens a block, loop or if with at most one result. */
  open(kind: 'block' | 'loop' | 'if', result: ValueType | typeof VOID = VOID): void {
    this.op(kind);
    this.body.byte(result);
    this.depth++;
  }

  else(): void {
    this.op('else');
  }

  end(): void {
    this.op('end');
    this.depth--;
  }

  br(depth: number): void {
    this.op('br');
    this.body.unsigned(depth);
  }

  brIf(depth: number): void {
    this.op('br_if');
    this.body.unsigned(depth);
  }

  brTable(depths: readonly number[], otherwise: number): void {
    this.body.byte(0x0e);
    this.body.unsigned(depths.length);
    for (const depth of depths) this.body.unsigned(depth);
    this.body.unsigned(otherwise);
  }

  call(func: number): void {
    this.body.byte(0x10);
    this.body.unsigned(func);
  }

  callIndirect(type: number): void {
    this.body.byte(0x11);
    this.body.unsigned(type);
    this.body.unsigned(0);
  }

  /** Calls in the place of this function: nothing of it stays on the stack. */
  returnCall(func: number): void {
    this.body.byte(0x12);
    this.body.unsigned(func);
  }

  returnCallIndirect(type: number): void {
    this.body.byte(0x13);
    this.body.unsigned(type);
    this.body.unsigned(0);
  }

  /** Appends the function as it stands in the code section, without its size. It ends here. */
  finish(out: Bytes): void {
    const runs: { type: number; count: number }[] = [];
    for (const type of this.locals) {
      const last = runs.at(-1);
      if (last?.type === type) last.count++;
      else runs.push({ type, count: 1 });
    }
    out.unsigned(runs.length);
    for (const { type, count } of runs) {
      out.unsigned(count);
      out.byte(type);
    }
    out.append(this.body.view());
    out.byte(0x0b);
    this.body.length = 0;
    spareBodies.push(this.body);
  }
}

/**
 * A module that imports `env.memory`, some functions, and defines others. All imports must be
 * declared before the first function is added.
 */
export class ModuleBuilder {
  private readonly types: { key: string; encoded: Bytes }[] = [];
  private readonly imports: { name: string; type: number }[] = [];
  /** Where the finished functions stand in `bodies`. */
  private readonly functions: { type: number; start: number; end: number }[] = [];
  private readonly bodies = new Bytes();
  private readonly exports: { name: string; index: number }[] = [];
  private importsTable = false;

  type(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${parameters.join()}:${results.join()}`;
    const known = this.types.findIndex((type) => type.key === key);
    if (known >= 0) return known;
    const encoded = new Bytes();
    encoded.byte(0x60);
    encoded.unsigned(parameters.length);
    encoded.append(parameters);
    encoded.unsigned(results.length);
    encoded.append(results);
    this.types.push({ key, encoded });
    return this.types.length - 1;
  }

  /** Imports `env.<name>` and returns its function index. */
  import(name: string, parameters: readonly ValueType[], results: readonly ValueType[]): number {
    this.imports.push({ name, type: this.type(parameters, results) });
    return this.imports.length - 1;
  }

  /** Reserves a function index; `define` gives it its code. */
  declare(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    this.functions.push({ type: this.type(parameters, results), start: 0, end: 0 });
    return this.imports.length + this.functions.length - 1;
  }

  define(index: number, code: Code): void {
    const defined = this.functions[index - this.imports.length]!;
    defined.start = this.bodies.length;
    code.finish(this.bodies);
    defined.end = this.bodies.length;
  }

  export(name: string, index: number): void {
    this.exports.push({ name, index });
  }

  /**
   * Imports `env.table`, for `call_indirect`. V8 keeps a copy of an imported table for each instance
   * and updates all of them, so modules of blocks do not do this.
   */
  importTable(): void {
    this.importsTable = true;
  }

  encode(): Uint8Array<ArrayBuffer> {
    const out = new Bytes();
    out.append([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
    const section = (id: number, count: number, write: (content: Bytes) => void): void => {
      if (count === 0) return;
      const content = new Bytes();
      content.unsigned(count);
      write(content);
      out.byte(id);
      out.unsigned(content.length);
      out.append(content.view());
    };
    section(1, this.types.length, (s) =>
      this.types.forEach((type) => s.append(type.encoded.view())),
    );
    section(2, this.imports.length + (this.importsTable ? 2 : 1), (s) => {
      for (const { name, type } of this.imports) {
        s.text('env');
        s.text(name);
        s.byte(0);
        s.unsigned(type);
      }
      s.text('env');
      s.text('memory');
      s.append([2, 0, 0]);
      if (!this.importsTable) return;
      s.text('env');
      s.text('table');
      s.append([1, FUNCREF, 0, 0]);
    });
    section(3, this.functions.length, (s) =>
      this.functions.forEach(({ type }) => s.unsigned(type)),
    );
    section(7, this.exports.length, (s) => {
      for (const { name, index } of this.exports) {
        s.text(name);
        s.byte(0);
        s.unsigned(index);
      }
    });
    section(10, this.functions.length, (s) => {
      const bodies = this.bodies.view();
      for (const { start, end } of this.functions) {
        s.unsigned(end - start);
        s.append(bodies.subarray(start, end));
      }
    });
    return out.view().slice() as Uint8Array<ArrayBuffer>;
  }
}
