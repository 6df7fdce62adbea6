/** Writes superblock IR by hand, for tests: the encoding of docs/architecture.md. */
import { TYPE, TYPE_SIZES, type Type } from '../replay/ir.js';

/** Types that can be loaded and stored. */
export const ACCESS_TYPES: readonly Type[] = [
  TYPE.I8,
  TYPE.I16,
  TYPE.I32,
  TYPE.I64,
  TYPE.F32,
  TYPE.F64,
  TYPE.V128,
  TYPE.V256,
];

export type Atom = { readonly operand: number };

class Writer {
  readonly bytes: number[] = [];
  byte(value: number): this {
    this.bytes.push(value & 0xff);
    return this;
  }
  unsigned(value: number): this {
    while (value >= 0x80) {
      this.byte((value % 128) | 0x80);
      value = Math.floor(value / 128);
    }
    return this.byte(value);
  }
  zigzag(value: bigint): this {
    let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
    while (rest >= 0x80n) {
      this.byte(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    return this.byte(Number(rest));
  }
  text(value: string): this {
    this.unsigned(value.length);
    for (const character of value) this.byte(character.charCodeAt(0));
    return this;
  }
}

/** Builds one block at an address; statements are appended in order. */
export class BlockBuilder {
  private readonly temps: Type[] = [];
  private readonly constants: { type: Type; bits: bigint }[] = [];
  private readonly body = new Writer();
  private statements = 0;

  constructor(
    readonly address: bigint,
    private readonly ops: string[],
    private readonly checked = false,
  ) {}

  temp(type: Type): Atom {
    this.temps.push(type);
    return { operand: 2 * (this.temps.length - 1) };
  }

  /** A constant; for V128 and V256 `bits` is the mask of bytes. */
  constant(type: Type, bits: bigint): Atom {
    this.constants.push({ type, bits });
    return { operand: 2 * (this.constants.length - 1) + 1 };
  }

  i64(bits: bigint): Atom {
    return this.constant(TYPE.I64, BigInt.asUintN(64, bits));
  }

  private statement(tag: number): Writer {
    this.statements++;
    return this.body.byte(tag);
  }

  private result(type: Type, logged = false): { atom: Atom; writer: Writer } {
    const atom = this.temp(type);
    return { atom, writer: this.statement(5 | (logged ? 0x80 : 0)).unsigned(atom.operand / 2) };
  }

  mark(address: bigint, length = 1): this {
    this.statement(1)
      .zigzag(address - this.address)
      .byte(length)
      .byte(0);
    return this;
  }

  get(offset: number, type: Type): Atom {
    const { atom, writer } = this.result(type);
    writer.byte(1).unsigned(offset).byte(type);
    return atom;
  }

  put(offset: number, data: Atom): this {
    this.statement(3).unsigned(offset).unsigned(data.operand);
    return this;
  }

  getI(base: number, type: Type, count: number, index: Atom, bias: number): Atom {
    const { atom, writer } = this.result(type);
    writer
      .byte(2)
      .unsigned(base)
      .byte(type)
      .unsigned(count)
      .unsigned(index.operand)
      .zigzag(BigInt(bias));
    return atom;
  }

  putI(base: number, type: Type, count: number, index: Atom, bias: number, data: Atom): this {
    this.statement(4)
      .unsigned(base)
      .byte(type)
      .unsigned(count)
      .unsigned(index.operand)
      .zigzag(BigInt(bias))
      .unsigned(data.operand);
    return this;
  }

  op(name: string, type: Type, args: readonly Atom[], logged = false): Atom {
    let key = this.ops.indexOf(name);
    if (key < 0) key = this.ops.push(name) - 1;
    const { atom, writer } = this.result(type, logged);
    writer.byte(3 + args.length).unsigned(key);
    for (const arg of args) writer.unsigned(arg.operand);
    return atom;
  }

  helper(name: string, type: Type, args: readonly Atom[], logged = false): Atom {
    const { atom, writer } = this.result(type, logged);
    writer.byte(11).text(name).byte(type).unsigned(args.length);
    for (const arg of args) writer.unsigned(arg.operand);
    return atom;
  }

  /** ITE; all operands but the condition are temporaries of one type. */
  choose(condition: Atom, ifTrue: Atom, ifFalse: Atom): Atom {
    const { atom, writer } = this.result(this.temps[ifFalse.operand / 2]!);
    writer.byte(10).unsigned(condition.operand).unsigned(ifTrue.operand).unsigned(ifFalse.operand);
    return atom;
  }

  /** RdTmp, or Const: the value of another temporary of this type, or of a constant. */
  copy(type: Type, of: Atom): Atom {
    const { atom, writer } = this.result(type);
    writer.byte(of.operand & 1 ? 9 : 3).unsigned(of.operand);
    return atom;
  }

  load(type: Type, address: Atom): Atom {
    const { atom, writer } = this.result(type);
    writer.byte(8).byte(type).unsigned(address.operand);
    return atom;
  }

  store(address: Atom, data: Atom): this {
    this.statement(6).unsigned(address.operand).unsigned(data.operand);
    return this;
  }

  storeG(address: Atom, data: Atom, guard: Atom): this {
    this.statement(7).unsigned(address.operand).unsigned(data.operand).unsigned(guard.operand);
    return this;
  }

  loadG(conversion: number, type: Type, address: Atom, alternative: Atom, guard: Atom): Atom {
    const atom = this.temp(type);
    this.statement(8)
      .byte(conversion)
      .unsigned(atom.operand / 2);
    this.body.unsigned(address.operand).unsigned(alternative.operand).unsigned(guard.operand);
    return atom;
  }

  /** Compare-and-swap; with high halves when they are given. Returns the old value(s), low first. */
  cas(type: Type, address: Atom, expected: readonly Atom[], data: readonly Atom[]): Atom[] {
    const lo = this.temp(type);
    const hi = expected.length > 1 ? this.temp(type) : undefined;
    const optional = (atom: Atom | undefined): number => (atom ? atom.operand + 1 : 0);
    this.statement(9)
      .byte(type)
      .unsigned(hi ? hi.operand / 2 + 1 : 0)
      .unsigned(lo.operand / 2)
      .unsigned(address.operand);
    this.body.unsigned(optional(expected[1])).unsigned(expected[0]!.operand);
    this.body.unsigned(optional(data[1])).unsigned(data[0]!.operand);
    return hi ? [lo, hi] : [lo];
  }

  dirty(options: {
    guard: Atom;
    result?: Type;
    memory?: { effect: 1 | 2 | 3; address: Atom; size: number };
    state?: readonly {
      effect: 1 | 2 | 3;
      offset: number;
      size: number;
      repeats: number;
      stride: number;
    }[];
  }): Atom | undefined {
    const { guard, memory, state = [] } = options;
    const atom = options.result === undefined ? undefined : this.temp(options.result);
    this.statement(10 | 0x80)
      .text('helper')
      .unsigned(guard.operand)
      .unsigned(atom ? atom.operand / 2 + 1 : 0);
    this.body.byte(memory?.effect ?? 0);
    if (memory) this.body.unsigned(memory.address.operand).unsigned(memory.size);
    this.body.unsigned(state.length);
    for (const s of state)
      this.body
        .byte(s.effect)
        .unsigned(s.offset)
        .unsigned(s.size)
        .unsigned(s.repeats)
        .unsigned(s.stride);
    this.body.unsigned(1).unsigned(0);
    return atom;
  }

  exit(guard: Atom, target: bigint, offsIP: number, jumpKind = 0): this {
    this.statement(12)
      .unsigned(guard.operand)
      .byte(jumpKind)
      .unsigned(this.i64(target).operand)
      .unsigned(offsIP);
    return this;
  }

  /** Ends the block and returns its encoding. */
  end(next: Atom, offsIP: number, jumpKind = 0): Uint8Array {
    const out = new Writer().byte(this.checked ? 1 : 0).unsigned(this.temps.length);
    for (const type of this.temps) out.byte(type);
    out.unsigned(this.constants.length);
    for (const { type, bits } of this.constants) {
      out.byte(type);
      const size = TYPE_SIZES[type] > 8 ? 8 : 8;
      for (let i = 0; i < size; i++) out.byte(Number((bits >> BigInt(8 * i)) & 0xffn));
    }
    out.unsigned(this.statements);
    out.bytes.push(...this.body.bytes);
    out.unsigned(next.operand).byte(jumpKind).unsigned(offsIP);
    return Uint8Array.from(out.bytes);
  }
}
