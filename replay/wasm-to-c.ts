/**
 * Translates a module of WebAssembly to C, so that a C compiler makes of it what an engine would make
 * at run time. Only for modules of handlers made by `wasm.ts`: nothing is checked. Instructions become calls
 * of the functions of `native/wasm.h`; the stack becomes variables, each assigned once. What the module
 * exports are stencils, in which the parameter and the imports `word1`, … are constants: `native/stencils.h`.
 */
import { F32, F64, I32, I64, OP, SIMD, V128, VOID, type ValueType } from './wasm.js';

const C_TYPES = new Map<number, string>([
  [I32, 'u32'],
  [I64, 'u64'],
  [F32, 'f32'],
  [F64, 'f64'],
  [V128, 'v128'],
]);

const SATURATING = new Map([
  [2, 'i32_trunc_sat_f64_s'],
  [6, 'i64_trunc_sat_f64_s'],
]);

const nameByCode = (codes: Readonly<Record<string, number>>): ReadonlyMap<number, string> =>
  new Map(Object.entries(codes).map(([name, code]) => [code, name]));
const OP_NAMES = nameByCode(OP);
const SIMD_NAMES = nameByCode(SIMD);

/** Instructions with one operand; those that are not here or below have two. */
const UNARY =
  /_(eqz|clz|ctz|popcnt|abs|neg|ceil|floor|trunc|nearest|sqrt|not|any_true|bitmask|splat)$|_(wrap|extend|extend8|extend16|extend32|extend_(low|high)|demote|promote|convert|reinterpret|trunc_sat|extadd_pairwise)_|_extend(8|16|32)_s$/;
const SCALAR_TYPES = { i32: I32, i64: I64, f32: F32, f64: F64 } as const;
type Scalar = keyof typeof SCALAR_TYPES;

function resultType(name: string): ValueType {
  const [shape] = name.split('_') as [string];
  const scalar = SCALAR_TYPES[shape as Scalar] as ValueType | undefined;
  if (scalar !== undefined) return /_(eqz?|ne|[lg][te](_[su])?)$/.test(name) ? I32 : scalar;
  if (/_(bitmask|any_true)$/.test(name)) return I32;
  if (!name.endsWith('_extract_lane')) return V128;
  const lane = SCALAR_TYPES[shape.slice(0, 3) as Scalar];
  return lane;
}

class ByteReader {
  at = 0;
  constructor(private readonly bytes: Uint8Array) {}

  get isAtEnd(): boolean {
    return this.at === this.bytes.length;
  }
  byte(): number {
    return this.bytes[this.at++]!;
  }
  take(count: number): Uint8Array {
    return this.bytes.subarray(this.at, (this.at += count));
  }
  /** Either kind of LEB128, with all its bits. */
  private varint(): { bits: bigint; size: bigint; isNegative: boolean } {
    let [bits, size] = [0n, 0n];
    for (;;) {
      const byte = this.byte();
      bits |= BigInt(byte & 0x7f) << size;
      size += 7n;
      if (byte < 0x80) return { bits, size, isNegative: (byte & 0x40) !== 0 };
    }
  }
  unsigned(): number {
    return Number(this.varint().bits);
  }
  signed(): bigint {
    const { bits, size, isNegative } = this.varint();
    return isNegative ? bits - (1n << size) : bits;
  }
  list<T>(read: () => T): T[] {
    return Array.from({ length: this.unsigned() }, read);
  }
  text(): string {
    return new TextDecoder().decode(this.take(this.unsigned()));
  }
}

interface Signature {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
}
export interface WasmFunction extends Signature {
  /** C identifier. */
  readonly name: string;
}
interface Variable {
  readonly name: string;
  readonly type: ValueType;
}

/** A module as C has it. */
export interface Translated {
  /** Functions that must stand before `code`: the module's imports, `import_` and their name. */
  readonly imports: readonly WasmFunction[];
  readonly code: string;
  /** C identifiers of the stencils, by the exported name. */
  readonly exports: ReadonlyMap<string, string>;
}

/** The constant that is a word of the instruction, if an import's name is that of one. */
const wordOf = (name: string): string | undefined => /^import_word(\d)$/.exec(name)?.[1];

/**
 * @param module - a binary module
 * @param prefix - begins the names of the C functions; each takes linear memory as its first parameter
 */
export function wasmToC(module: Uint8Array, prefix: string): Translated {
  const reader = new ByteReader(module.subarray(8));
  let types: Signature[] = [];
  const functions: WasmFunction[] = [];
  let imported = 0;
  const exports = new Map<string, string>();
  let bodies: Uint8Array[] = [];
  while (!reader.isAtEnd) {
    const section = reader.byte();
    const content = new ByteReader(reader.take(reader.unsigned()));
    const valueTypes = (): ValueType[] => content.list(() => content.byte() as ValueType);
    if (section === 1) {
      types = content.list(() => {
        content.byte();
        return { parameters: valueTypes(), results: valueTypes() };
      });
    } else if (section === 2) {
      content.list(() => {
        content.text();
        const name = content.text();
        const kind = content.byte();
        if (kind === 0) functions.push({ ...types[content.unsigned()]!, name: `import_${name}` });
        else content.take(kind === 1 ? 3 : 2);
      });
      imported = functions.length;
    } else if (section === 3) {
      for (const type of content.list(() => content.unsigned()))
        functions.push({ ...types[type]!, name: `${prefix}${functions.length}` });
    } else if (section === 7) {
      content.list(() => {
        const name = content.text();
        content.byte();
        exports.set(name, functions[content.unsigned()]!.name);
      });
    } else if (section === 10) bodies = content.list(() => content.take(content.unsigned()));
  }
  const defined = functions.slice(imported);
  const stencils = new Set(exports.values());
  const code = [
    ...defined.filter(({ name }) => !stencils.has(name)).map((one) => `${declaration(one)};`),
    ...defined.map((one, i) =>
      new FunctionTranslator(one, functions, bodies[i]!).translate(stencils.has(one.name)),
    ),
  ];
  return { imports: functions.slice(0, imported), code: code.join('\n'), exports };
}

/** The C type of what a function returns: two values as a `pair`. */
const returnType = ({ results }: Signature): string =>
  results.length > 1 ? 'pair' : results.length === 1 ? C_TYPES.get(results[0]!)! : 'void';

const declaration = (one: WasmFunction): string =>
  `static ${returnType(one)} ${one.name}(${['u8* m', ...one.parameters.map((type, i) => `${C_TYPES.get(type)} l${i}`)].join(', ')})`;

interface Frame {
  readonly kind: 'block' | 'loop' | 'if' | 'function';
  readonly label: string;
  readonly result: Variable | undefined;
  /** Of the stack when it was entered. */
  readonly height: number;
  hasElse: boolean;
}

/** Stencils are copied for each instruction: functions with more code than this, in bytes of WebAssembly, are called. */
const MOST_INLINED = 128;

class FunctionTranslator {
  private readonly reader: ByteReader;
  private readonly lines: string[] = [];
  private readonly declared: string[] = [];
  private readonly stack: Variable[] = [];
  private readonly frames: Frame[] = [
    { kind: 'function', label: '', result: undefined, height: 0, hasElse: false },
  ];
  private readonly locals: ValueType[];
  private next = 0;
  private readonly length: number;

  constructor(
    private readonly signature: WasmFunction,
    private readonly functions: readonly WasmFunction[],
    body: Uint8Array,
  ) {
    this.reader = new ByteReader(body);
    this.length = body.length;
    this.locals = [...signature.parameters];
    const runs = this.reader.list(() => [this.reader.unsigned(), this.reader.byte()] as const);
    for (const [count, type] of runs)
      for (let i = 0; i < count; i++) {
        this.declared.push(`${C_TYPES.get(type)} l${this.locals.length} = { 0 };`);
        this.locals.push(type as ValueType);
      }
  }

  translate(isStencil: boolean): string {
    while (!this.reader.isAtEnd) this.instruction();
    const isLong = !isStencil && this.length > MOST_INLINED;
    const head = isStencil
      ? `STENCIL(${this.signature.name})`
      : `${isLong ? '__attribute__((noinline)) ' : ''}${declaration(this.signature)}`;
    if (isStencil) this.declared.unshift('u32 l0 = INSTRUCTION;');
    const lines = [...this.declared, ...this.lines].map((line) => `   ${line}`);
    return [head, '{', ...lines, '}'].join('\n');
  }

  private say(line: string): void {
    this.lines.push(line);
  }

  private push(type: ValueType, expression: string): void {
    const name = `t${this.next++}`;
    this.say(`${C_TYPES.get(type)} ${name} = ${expression};`);
    this.stack.push({ name, type });
  }

  private pop(): string {
    return this.stack.pop()!.name;
  }

  /** Takes so many values, the first pushed first. */
  private popAll(count: number): string[] {
    return this.stack.splice(this.stack.length - count, count).map(({ name }) => name);
  }

  private instruction(): void {
    const { reader } = this;
    const code = reader.byte();
    switch (code) {
      case 0xfc: {
        const name = SATURATING.get(reader.byte())!;
        this.push(resultType(name), `${name}(${this.pop()})`);
        return;
      }
      case 0xfd:
        this.vector(SIMD_NAMES.get(reader.unsigned())!);
        return;
      case 0x20: {
        const local = reader.unsigned();
        this.push(this.locals[local]!, `l${local}`);
        return;
      }
      case 0x21:
        this.say(`l${reader.unsigned()} = ${this.pop()};`);
        return;
      case 0x22:
        this.say(`l${reader.unsigned()} = ${this.stack.at(-1)!.name};`);
        return;
      case 0x41:
        this.push(I32, `${BigInt.asUintN(32, reader.signed())}u`);
        return;
      case 0x42:
        this.push(I64, `${BigInt.asUintN(64, reader.signed())}u`);
        return;
      case 0x43:
        this.push(F32, `f32_reinterpret_i32(${this.littleEndian(4)}u)`);
        return;
      case 0x44:
        this.push(F64, `f64_reinterpret_i64(${this.littleEndian(8)}u)`);
        return;
      case 0x0e: {
        const depths = reader.list(() => reader.unsigned());
        const otherwise = reader.unsigned();
        const cases = depths.map((depth, i) => `case ${i}: ${this.branch(depth)}`);
        this.say(
          `switch (${this.pop()}) { ${cases.join(' ')} default: ${this.branch(otherwise)} }`,
        );
        this.skip();
        return;
      }
      case 0x10:
        this.call(reader.unsigned());
        return;
      case 0x12: {
        const { name, parameters } = this.functions[reader.unsigned()]!;
        this.say(`return ${name}(${['m', ...this.popAll(parameters.length)].join(', ')});`);
        this.skip();
        return;
      }
      default:
        this.plain(OP_NAMES.get(code)!);
    }
  }

  private plain(name: string): void {
    const { reader } = this;
    switch (name) {
      case 'block':
      case 'loop':
      case 'if': {
        const type = reader.byte();
        const condition = name === 'if' ? this.pop() : undefined;
        const label = `L${this.next++}`;
        let result: Variable | undefined;
        if (type !== VOID) {
          result = { name: `r${label}`, type: type as ValueType };
          this.declared.push(`${C_TYPES.get(type)} ${result.name};`);
        }
        if (name === 'loop') this.say(`${label}:;`);
        if (condition !== undefined) this.say(`if (!${condition}) goto else_${label};`);
        this.frames.push({
          ...{ kind: name, label, result },
          ...{ height: this.stack.length, hasElse: false },
        });
        return;
      }
      case 'else':
        this.otherwise();
        return;
      case 'end':
        this.end(true);
        return;
      case 'br':
        this.say(this.branch(reader.unsigned()));
        this.skip();
        return;
      case 'br_if': {
        const condition = this.pop();
        this.say(`if (${condition}) { ${this.branch(reader.unsigned())} }`);
        return;
      }
      case 'return':
        this.say(this.leave());
        this.skip();
        return;
      case 'unreachable':
        this.say('__builtin_trap();');
        this.skip();
        return;
      case 'drop':
        this.pop();
        return;
      case 'select': {
        const { type } = this.stack.at(-2)!;
        const [a, b, condition] = this.popAll(3);
        this.push(type, `${condition} ? ${a} : ${b}`);
        return;
      }
    }
    const access = /_(load|store)/.exec(name)?.[1];
    if (access !== undefined) this.access(name, access === 'store');
    else this.operation(name, []);
  }

  private operation(name: string, immediates: readonly (string | number)[]): void {
    const count = /_bitselect$/.test(name) ? 3 : UNARY.test(name) ? 1 : 2;
    const operands = this.popAll(name.endsWith('_extract_lane') ? 1 : count);
    this.push(resultType(name), `${name}(${[...operands, ...immediates].join(', ')})`);
  }

  private access(name: string, isStore: boolean): void {
    this.reader.unsigned(); // alignment
    const offset = `${this.reader.unsigned()}u`;
    const [address, value] = this.popAll(isStore ? 2 : 1) as [string, string?];
    const place = address.startsWith('WORD(') ? `ADDRESS_${address}` : address;
    if (isStore) this.say(`${name}(m, ${place}, ${offset}, ${value});`);
    else this.push(resultType(name), `${name}(m, ${place}, ${offset})`);
  }

  private vector(name: string): void {
    const { reader } = this;
    if (name === 'v128_load' || name === 'v128_store') this.access(name, name === 'v128_store');
    else if (name === 'v128_const') this.push(V128, `(v128){ ${reader.take(16).join(', ')} }`);
    else if (name === 'i8x16_shuffle') this.operation(name, [...reader.take(16)]);
    else if (name.endsWith('_lane')) this.operation(name, [reader.byte()]);
    else this.operation(name, []);
  }

  private call(index: number): void {
    const one = this.functions[index]!;
    const word = wordOf(one.name);
    if (word !== undefined) {
      this.stack.push({ name: `WORD(${word})`, type: I32 });
      return;
    }
    const args = ['m', ...this.popAll(one.parameters.length)];
    const call = `${one.name}(${args.join(', ')})`;
    if (one.results.length === 0) this.say(`${call};`);
    else if (one.results.length === 1) this.push(one.results[0]!, call);
    else {
      const name = `t${this.next++}`;
      this.say(`pair ${name} = ${call};`);
      one.results.forEach((type, i) => this.push(type, `${name}.v${i}`));
    }
  }

  private littleEndian(size: number): bigint {
    return this.reader.take(size).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  }

  // ---- Structure ----

  private branch(depth: number): string {
    const frame = this.frames.at(-1 - depth)!;
    if (frame.kind === 'function') return this.leave();
    if (frame.kind === 'loop') return `goto ${frame.label};`;
    return `${this.settle(frame)}goto ${frame.label};`;
  }

  private settle({ result }: Frame): string {
    return result ? `${result.name} = ${this.stack.at(-1)!.name}; ` : '';
  }

  private leave(): string {
    const { results } = this.signature;
    const values = this.stack.slice(this.stack.length - results.length).map(({ name }) => name);
    if (results.length === 0) return 'return;';
    return results.length === 1 ? `return ${values[0]};` : `return (pair){ ${values.join(', ')} };`;
  }

  private otherwise(isReached = true): void {
    const frame = this.frames.at(-1)!;
    if (isReached) this.say(`${this.settle(frame)}goto ${frame.label};`);
    this.say(`else_${frame.label}:;`);
    frame.hasElse = true;
    this.stack.length = frame.height;
  }

  private end(isReached: boolean): void {
    const frame = this.frames.pop()!;
    if (frame.kind === 'function') {
      if (isReached) this.say(this.leave());
      return;
    }
    if (isReached) this.say(this.settle(frame));
    if (frame.kind === 'if' && !frame.hasElse) this.say(`else_${frame.label}:;`);
    if (frame.kind !== 'loop') this.say(`${frame.label}:;`);
    this.stack.length = frame.height;
    if (frame.result) this.stack.push(frame.result);
  }

  /** Past a branch: nothing runs before the end or the other part of what is open. */
  private skip(): void {
    const { reader } = this;
    for (let depth = 0; ;) {
      const code = reader.byte();
      if (code === OP.block || code === OP.loop || code === OP.if) {
        reader.byte();
        depth++;
      } else if (code === OP.end) {
        if (depth-- === 0) return this.end(false);
      } else if (code === OP.else && depth === 0) return this.otherwise(false);
      else this.skipImmediates(code);
    }
  }

  private skipImmediates(code: number): void {
    const { reader } = this;
    const name = OP_NAMES.get(code) ?? '';
    if (code === 0xfd) {
      const vector = SIMD_NAMES.get(reader.unsigned())!;
      if (/_(load|store)$/.test(vector)) reader.take(1);
      if (/_(load|store)$/.test(vector)) reader.unsigned();
      else if (/_(const|shuffle)$/.test(vector)) reader.take(16);
      else if (vector.endsWith('_lane')) reader.take(1);
    } else if (code === 0xfc) reader.byte();
    else if (code === 0x43) reader.take(4);
    else if (code === 0x44) reader.take(8);
    else if (code === 0x0e) {
      reader.list(() => reader.unsigned());
      reader.unsigned();
    } else if (/_(load|store)/.test(name)) {
      reader.unsigned();
      reader.unsigned();
    } else if ((code >= 0x20 && code <= 0x22) || code === 0x10 || code === 0x12 || /^br/.test(name))
      reader.unsigned();
    else if (code === 0x41 || code === 0x42) reader.signed();
  }
}
