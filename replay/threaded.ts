/**
 * Threaded code: how blocks run that have not run often. Most blocks of a program run a few times only,
 * and compiling one costs more than some hundred runs. So a block is first a list of instructions in
 * linear memory, each the number of a handler (handlers.ts) and the addresses of its operands: of a
 * temporary (`TEMPS`), where an exact version finds it, too, or of a constant.
 *
 * Programs have many blocks, so they are translated in one pass over the encoded IR, without the
 * statements that `decodeBlock` makes of it. Blocks with statements that are rare are left to the compiler.
 */
import type { Modes } from './compile-block.js';
import type { Segments, Sites } from './code-tables.js';
import { defineChain } from './compile.js';
import { ModuleContext } from './emit.js';
import type { GuestMemory } from './guest-memory.js';
import {
  ACCESS_WORD,
  HEAD_BAIL,
  HEAD_COUNT,
  HEAD_TOUCHED,
  HEAD_WORDS,
  buildAbiHint,
  buildEnd,
  buildEntry,
  buildExit,
  buildExpression,
  buildGet,
  buildHead,
  buildJump,
  buildLoad,
  buildMove,
  buildMoveStack,
  buildPushFrame,
  buildPut,
  buildStore,
  type Build,
} from './handlers.js';
import {
  EXPRESSION,
  JUMP_INVALIDATE,
  JUMP_KINDS,
  JUMP_NO_REDIRECT,
  Reader,
  STATEMENT,
  TYPE,
  TYPE_NAMES,
  TYPE_SIZES,
  damaged,
  type Operand,
  type Type,
} from './ir.js';
import { COUNTS, MAX_TEMPS, STATE, TEMPS, TEMP_SIZE, THREADED, THREADED_SIZE } from './layout.js';
import { stackOrigin } from './shadow.js';

/** Bytes that a block may take at most for each statement, and for each constant. */
const MOST_PER_STATEMENT = 64;
const MOST_PER_CONSTANT = 32;
/** Calls of helpers with more arguments are compiled. */
const MOST_ARGUMENTS = 8;

/** What the translation of a block needs to know of it. */
export interface ThreadedBlock {
  /** Its number in the trace, and the guest address that was translated. */
  readonly id: number;
  readonly address: bigint;
  readonly ir: Uint8Array;
}

/** What a translated block consists of. */
export interface Translation {
  /** Its number, from 0, and where its code begins. */
  readonly number: number;
  readonly start: number;
  readonly instructions: number;
  /** Instructions before the first way out. */
  readonly firstInstructions: number;
  /** Access rows that it writes at most, and bytes of those wider than 8. */
  readonly rows: number;
  readonly wideBytes: number;
  readonly firstSite: number;
  readonly firstSegment: number;
}

/** What the code of a block refers to outside of it. */
export interface ThreadedContext {
  readonly memory: GuestMemory;
  readonly modes: Modes;
  /** Names of the trace's operations by key. */
  readonly opNames: readonly string[];
  /** Size of the guest state, and where its stack pointer is, in bytes. */
  readonly stateSize: number;
  readonly RSP: number;
  /** Bits of the 8-byte words of the guest state that have a shadow. */
  readonly trackedWords: bigint;
  readonly sites: Sites;
  readonly segments: Segments;
  /** Slot that tells the host that the instruction in `CELL.left` needs an exact version. */
  readonly bailSlot: number;
  /** Slot that tells the host that the block whose head is in `CELL.left` ran often enough. */
  readonly hotSlot: number;
  /** Cell of a constant jump target. */
  slotFor(target: bigint, noRedirect: boolean): number;
  /** Gives out a number in the table of functions. */
  reserve(): number;
  /** Makes a module's functions and enters them under these numbers. */
  instantiate(module: Uint8Array<ArrayBuffer>, numbers: readonly number[]): void;
}

/** Handlers of an operation for the types with which it was met first, which are nearly always all. */
interface OpHandler {
  readonly signature: number;
  readonly handler: number;
}

export class ThreadedCode {
  private readonly numbers = new Map<string, number>();
  private readonly ops: OpHandler[] = [];
  /** Handlers that were asked for and are not made yet. */
  private pending: { number: number; build: Build }[] = [];
  private next = THREADED;
  /** Where the blocks begin, by number; and again, but 0 for those that are not to run any more. */
  private starts: number[] = [];
  private running = new Uint32Array(1024);
  /** Number of the function that runs the threaded code of a slot. */
  readonly entry: number;

  // Of the block that is being translated.
  private types = new Uint8Array(64);
  private pool = new Uint32Array(64);
  private constantTypes = new Uint8Array(64);
  private tempCount = 0;
  private constantCount = 0;
  private words = new Uint32Array(0);
  private at = 0;
  private readonly touched = new Uint32Array(4);
  private readonly tracked: Uint32Array;

  constructor(private readonly context: ThreadedContext) {
    this.entry = context.reserve();
    this.pending.push({ number: this.entry, build: buildEntry });
    this.tracked = new Uint32Array(
      BigUint64Array.of(
        BigInt.asUintN(64, context.trackedWords),
        BigInt.asUintN(64, context.trackedWords >> 64n),
      ).buffer,
    );
  }

  /** Makes the handlers that were asked for since the last time. */
  flush(): void {
    if (this.pending.length === 0) return;
    const context = new ModuleContext();
    const chain = defineChain(context, this.context.modes);
    const numbers = this.pending.map(({ number, build }, position) => {
      const code = build(context, chain);
      const index = context.builder.declare(code.parameters, code.results);
      context.builder.define(index, code);
      context.builder.export(String(position), index);
      return number;
    });
    this.pending = [];
    this.context.instantiate(context.builder.encode(), numbers);
  }

  /** Numbers of the blocks that will be handed to the host after fewer than `executions` more. */
  warm(executions: number, most: number): number[] {
    this.refresh();
    const found: number[] = [];
    for (let number = 0; number < this.starts.length && found.length < most; number++) {
      const start = this.running[number]!;
      if (start !== 0 && this.words[(start >> 2) + HEAD_COUNT]! < executions) found.push(number);
    }
    return found;
  }

  /** Bits for the registers that the block whose code begins there touches, as in `CELL.undefinedLow`. */
  touchedBy(start: number): bigint {
    const { view } = this.context.memory;
    const at = start + 4 * HEAD_TOUCHED;
    return view.getBigUint64(at, true) | (view.getBigUint64(at + 8, true) << 64n);
  }

  /** A block is compiled: its threaded code will not run any more. */
  retire(number: number): void {
    this.running[number] = 0;
  }

  /**
   * The block that the instruction at an address belongs to, and the statement that an exact version
   * has to begin with.
   */
  find(address: number): { number: number; statement: number } {
    let low = 0;
    for (let high = this.starts.length; high - low > 1;) {
      const middle = (low + high) >> 1;
      if (this.starts[middle]! <= address) low = middle;
      else high = middle;
    }
    if (this.starts[low] === address) return { number: low, statement: 0 };
    this.refresh();
    return { number: low, statement: this.words[(address >> 2) + ACCESS_WORD + 1]! };
  }

  /** From now on the instruction at an address goes to this slot when it needs an exact version. */
  setBailSlot(address: number, slot: number): void {
    const { number } = this.find(address);
    const word = this.starts[number] === address ? HEAD_BAIL : ACCESS_WORD;
    this.words[(address >> 2) + word] = slot;
  }

  private refresh(): void {
    const { buffer } = this.context.memory.wasm;
    if (this.words.buffer !== buffer) this.words = new Uint32Array(buffer);
  }

  /**
   * Translates a block; returns undefined when it has statements that are only compiled, or there is
   * no room. Enters its sites and segments, as far as the modes want them.
   * @param executions - after how many it is handed to the host
   * @throws UserError when the bytes are not a well-formed block
   */
  translate(block: ThreadedBlock, executions: number): Translation | undefined {
    const { sites, segments } = this.context;
    const [firstSite, firstSegment] = [sites.count, segments.count];
    const translation = this.tryTranslate(block, executions);
    if (!translation) [sites.count, segments.count] = [firstSite, firstSegment];
    return translation;
  }

  private tryTranslate(block: ThreadedBlock, executions: number): Translation | undefined {
    const { modes, RSP, sites, segments } = this.context;
    const { id, address } = block;
    const { shadow } = modes;
    const reader = new Reader(block.ir);
    this.refresh();
    this.at = ((this.next + 15) & ~15) >> 2;
    const isChecked = (reader.byte() & 1) !== 0;
    this.readTypes(reader);
    const count = this.readConstants(reader);
    if (isChecked || this.tempCount > MAX_TEMPS || count === undefined) return undefined;
    const [firstSite, firstSegment] = [sites.count, segments.count];
    const start = this.at << 2;

    this.word(this.handler('head', () => buildHead(modes, this.context.hotSlot)));
    this.word(executions);
    this.at += HEAD_WORDS - HEAD_TOUCHED;
    this.words[(start >> 2) + HEAD_BAIL] = this.context.bailSlot;
    this.touched.fill(0);

    let instructions = 0;
    let firstInstructions = -1;
    let [rows, wideBytes] = [0, 0];
    // Of the segment: instructions before it, and the address of its first.
    let before = 0;
    let [segmentStart, last] = [address, address];
    // Of the instruction: its address in the trace, and what is added to it and after it.
    let [relative, delta, length] = [0n, 0, 0];
    let pushesReturn = false;
    /** Of the instruction, or of the block before the first. */
    const pc = (): bigint => BigInt.asUintN(64, last + BigInt(delta));
    const access = (statement: number, size: number, isStore: boolean): void => {
      if (modes.accesses) {
        this.word(sites.addPlain(id, pc(), size, isStore));
        this.word(Math.max(instructions - 1, 0));
        rows++;
        if (size > 8) wideBytes += size;
      } else if (shadow) {
        this.word(this.context.bailSlot);
        this.word(statement);
      }
    };
    const counter = (): number => COUNTS + 8 * (modes.counts ? segments.count : 0);
    const endSegment = (): void => {
      if (modes.counts) segments.addOne(id, segmentStart, instructions - before);
      if (firstInstructions < 0) firstInstructions = instructions;
      before = instructions;
      segmentStart = last;
    };

    for (let statement = 0; statement < count; statement++) {
      const tag = reader.byte();
      switch (tag) {
        case STATEMENT.IMark:
          relative = reader.zigzag();
          length = reader.byte();
          delta = reader.byte();
          last = BigInt.asUintN(64, address + relative);
          if (instructions++ === before) segmentStart = last;
          pushesReturn = false;
          break;
        case STATEMENT.AbiHint: {
          const base = this.operand(reader);
          const size = reader.count();
          const nia = this.operand(reader);
          if (!shadow) break;
          this.word(this.handler('abiHint', buildAbiHint));
          this.word(this.place(base));
          this.word(this.place(nia));
          this.word(size);
          if (!pushesReturn) break;
          this.word(this.handler('pushFrame', buildPushFrame));
          this.word(this.place(base));
          this.wide(pc());
          break;
        }
        case STATEMENT.Put: {
          const offset = reader.count();
          const data = this.operand(reader);
          const type = this.typeOf(data);
          this.checkState(offset, TYPE_SIZES[type]);
          if (shadow) {
            this.touch(offset, TYPE_SIZES[type]);
            if (offset === RSP && type === TYPE.I64) {
              this.word(this.handler('moveStack', () => buildMoveStack(RSP)));
              this.word(this.place(data));
              this.word(stackOrigin(pc()));
            }
          }
          this.word(this.handler(PUT_KEYS[type]!, () => buildPut(type)));
          this.word(this.place(data));
          this.word(STATE + offset);
          break;
        }
        case STATEMENT.WrTmp: {
          const temp = reader.count();
          if (temp >= this.tempCount) throw damaged('a temporary that does not exist');
          const loaded = this.assign(reader, this.types[temp] as Type);
          if (loaded === undefined) return undefined;
          this.word(TEMPS + TEMP_SIZE * temp);
          if (loaded > 0) access(statement, loaded, false);
          break;
        }
        case STATEMENT.Store: {
          const target = this.typed(reader, TYPE.I64);
          const data = this.operand(reader);
          const type = this.typeOf(data);
          if (shadow && data & 1 && type === TYPE.I64)
            pushesReturn ||=
              this.constant(data) === BigInt.asUintN(64, last + BigInt(length)) && instructions > 0;
          this.word(this.handler(STORE_KEYS[type]!, () => buildStore(modes, type)));
          this.word(this.place(target));
          this.word(this.place(data));
          access(statement, TYPE_SIZES[type], true);
          break;
        }
        case STATEMENT.MBE:
          reader.byte();
          break;
        case STATEMENT.Exit: {
          const guard = this.typed(reader, TYPE.I1);
          const jumpKind = this.jumpKind(reader);
          const target = this.typed(reader, TYPE.I64);
          if (!(target & 1)) throw damaged('a side exit without a constant target');
          const offsIP = this.checkState(reader.count(), 8);
          if (jumpKind === JUMP_INVALIDATE) break;
          const to = this.constant(target);
          this.word(this.handler('exit', () => buildExit(modes)));
          this.word(this.place(guard));
          this.word(STATE + offsIP);
          this.word(instructions);
          this.word(this.context.slotFor(to, jumpKind === JUMP_NO_REDIRECT));
          this.wide(to);
          this.word(counter());
          endSegment();
          break;
        }
        default:
          return undefined; // rare, or not a statement at all: that is for the compiler to say
      }
    }

    const next = this.typed(reader, TYPE.I64);
    const noRedirect = this.jumpKind(reader) === JUMP_NO_REDIRECT;
    const offsIP = this.checkState(reader.count(), 8);
    if (!reader.atEnd) throw damaged('bytes left over');
    if (next & 1) {
      const target = this.constant(next);
      this.word(this.handler('end', () => buildEnd(modes)));
      this.word(STATE + offsIP);
      this.word(instructions);
      this.word(this.context.slotFor(target, noRedirect));
      this.wide(target);
    } else {
      const name = noRedirect ? 'jump1' : 'jump0';
      this.word(this.handler(name, () => buildJump(modes, noRedirect)));
      this.word(STATE + offsIP);
      this.word(instructions);
      this.word(this.place(next));
    }
    this.word(counter());
    endSegment();
    for (let i = 0; i < 4; i++)
      this.words[(start >> 2) + HEAD_TOUCHED + i] = this.touched[i]! & this.tracked[i]!;
    this.next = this.at << 2;
    const number = this.enter(start);
    return {
      ...{ number, start, instructions, firstInstructions, rows, wideBytes },
      ...{ firstSite, firstSegment },
    };
  }

  private enter(start: number): number {
    const number = this.starts.push(start) - 1;
    if (number === this.running.length) {
      const larger = new Uint32Array(2 * number);
      larger.set(this.running);
      this.running = larger;
    }
    this.running[number] = start;
    return number;
  }

  private readTypes(reader: Reader): void {
    this.tempCount = reader.length();
    if (this.tempCount > this.types.length) this.types = new Uint8Array(2 * this.tempCount);
    for (let i = 0; i < this.tempCount; i++) this.types[i] = this.type(reader);
  }

  /** Reads constants into the pool and returns the number of statements, if there is room for them. */
  private readConstants(reader: Reader): number | undefined {
    const count = (this.constantCount = reader.length());
    if ((this.at << 2) + MOST_PER_CONSTANT * (count + 1) > THREADED + THREADED_SIZE)
      return undefined;
    if (count > this.pool.length) {
      this.pool = new Uint32Array(2 * count);
      this.constantTypes = new Uint8Array(2 * count);
    }
    const { words } = this;
    for (let i = 0; i < count; i++) {
      const type = this.type(reader);
      const [low, high] = [reader.word(), reader.word()];
      const size = TYPE_SIZES[type];
      this.constantTypes[i] = type;
      this.pool[i] = this.at << 2;
      if (size <= 8) {
        words[this.at++] =
          type === TYPE.I1 ? low & 1 : size < 4 ? low & (2 ** (8 * size) - 1) : low;
        words[this.at++] = size === 8 ? high : 0;
        continue;
      }
      // A mask of bytes; the halves of an I128 stand 16 bytes apart, as those of a temporary.
      const { bytes } = this.context.memory;
      bytes.fill(0, this.at << 2, (this.at << 2) + 32);
      for (let byte = 0; byte < size; byte++) {
        const place = type === TYPE.I128 && byte >= 8 ? byte + 8 : byte;
        if ((low >>> byte) & 1) bytes[(this.at << 2) + place] = 0xff;
      }
      this.at += 8;
    }
    const statements = reader.length();
    const most = MOST_PER_STATEMENT * (statements + 2);
    return (this.at << 2) + most > THREADED + THREADED_SIZE ? undefined : statements;
  }

  /**
   * Translates an expression but for where its result goes.
   * @returns the size of what it loads, 0 when it loads nothing, undefined when it is only compiled
   */
  private assign(reader: Reader, result: Type): number | undefined {
    const { modes } = this.context;
    const check = (type: Type): void => {
      if (type !== result) throw damaged('an assignment between two types');
    };
    const tag = reader.byte();
    switch (tag) {
      case EXPRESSION.Get: {
        const offset = reader.count();
        const type = this.type(reader);
        check(type);
        this.checkState(offset, TYPE_SIZES[type]);
        if (modes.shadow) this.touch(offset, TYPE_SIZES[type]);
        this.word(this.handler(GET_KEYS[type]!, () => buildGet(type)));
        this.word(STATE + offset);
        return 0;
      }
      case EXPRESSION.RdTmp:
      case EXPRESSION.Const: {
        const operand = this.operand(reader);
        const type = this.typeOf(operand);
        check(type);
        this.word(this.handler(MOVE_KEYS[type]!, () => buildMove(type)));
        this.word(this.place(operand));
        return 0;
      }
      case EXPRESSION.Unop:
      case EXPRESSION.Binop:
      case EXPRESSION.Triop:
      case EXPRESSION.Qop:
        this.operation(reader, tag - EXPRESSION.Unop + 1, result);
        return 0;
      case EXPRESSION.Load: {
        const type = this.type(reader);
        check(type);
        const address = this.typed(reader, TYPE.I64);
        this.word(this.handler(LOAD_KEYS[type]!, () => buildLoad(modes, type)));
        this.word(this.place(address));
        return TYPE_SIZES[type];
      }
      case EXPRESSION.ITE: {
        const condition = this.typed(reader, TYPE.I1);
        const [ifTrue, ifFalse] = [this.operand(reader), this.operand(reader)];
        const type = this.typeOf(ifTrue);
        if (type !== this.typeOf(ifFalse)) throw damaged('a choice between two types');
        check(type);
        const key = ITE_KEYS[type]!;
        this.word(this.handler(key, () => buildChoice(modes, type)));
        this.word(this.place(condition));
        this.word(this.place(ifTrue));
        this.word(this.place(ifFalse));
        return 0;
      }
      case EXPRESSION.CCall:
        return this.helperCall(reader, result) ? 0 : undefined;
      default:
        return undefined;
    }
  }

  private operation(reader: Reader, count: number, result: Type): void {
    const key = reader.count();
    const op = this.context.opNames[key];
    if (op === undefined) throw damaged(`an operation that the trace does not name (${key})`);
    const handlerAt = this.at++;
    let signature = result as number;
    for (let i = 0; i < count; i++) {
      const operand = this.operand(reader);
      signature = 16 * signature + this.typeOf(operand);
      this.word(this.place(operand));
    }
    const known = this.ops[key];
    if (known?.signature === signature) {
      this.words[handlerAt] = known.handler;
      return;
    }
    // The name alone says the types, unless the trace is damaged: then the compiler says so.
    const types = typesOf(signature, count);
    const handler = this.handler(`${op}:${signature}`, () =>
      buildExpression(this.context.modes, types, result, (args) => ({ tag: 'Op', op, args })),
    );
    this.words[handlerAt] = handler;
    this.ops[key] = { signature, handler };
  }

  private helperCall(reader: Reader, result: Type): boolean {
    const name = reader.string();
    const type = this.type(reader);
    if (type !== result) throw damaged('an assignment between two types');
    const count = reader.length();
    if (count > MOST_ARGUMENTS || name.startsWith('genericg_')) return false;
    const handlerAt = this.at++;
    let signature = result as number;
    for (let i = 0; i < count; i++) {
      const operand = this.operand(reader);
      signature = 16 * signature + this.typeOf(operand);
      this.word(this.place(operand));
    }
    const types = typesOf(signature, count);
    this.words[handlerAt] = this.handler(`${name}():${signature}`, () =>
      buildExpression(this.context.modes, types, result, (args) => {
        return { tag: 'CCall', name, type, args };
      }),
    );
    return true;
  }

  private handler(key: string, make: () => Build): number {
    let number = this.numbers.get(key);
    if (number === undefined) {
      number = this.context.reserve();
      this.numbers.set(key, number);
      this.pending.push({ number, build: make() });
    }
    return number;
  }

  // ---- Reading, and checking what is read ----

  private type(reader: Reader): Type {
    const code = reader.byte();
    if (code === 0 || code > TYPE.V256) throw damaged(`an unknown type (${code})`);
    return code as Type;
  }

  private operand(reader: Reader): Operand {
    const value = reader.count();
    if (value >>> 1 >= (value & 1 ? this.constantCount : this.tempCount))
      throw damaged('an operand that does not exist');
    return value;
  }

  private typed(reader: Reader, expected: Type): Operand {
    const value = this.operand(reader);
    if (this.typeOf(value) !== expected)
      throw damaged(`an operand that is not ${TYPE_NAMES[expected]}`);
    return value;
  }

  private typeOf(operand: Operand): Type {
    return (operand & 1 ? this.constantTypes : this.types)[operand >>> 1] as Type;
  }

  private constant(operand: Operand): bigint {
    return this.context.memory.view.getBigUint64(this.pool[operand >>> 1]!, true);
  }

  private jumpKind(reader: Reader): number {
    const kind = reader.byte();
    if (kind >= JUMP_KINDS.length) throw damaged('an unknown kind of jump');
    return kind;
  }

  private checkState(offset: number, size: number): number {
    if (offset + size > this.context.stateSize) throw damaged('an access beyond the guest state');
    return offset;
  }

  // ---- Writing ----

  private place(operand: Operand): number {
    return operand & 1 ? this.pool[operand >>> 1]! : TEMPS + TEMP_SIZE * (operand >>> 1);
  }

  private word(value: number): void {
    this.words[this.at++] = value;
  }

  private wide(value: bigint): void {
    this.context.memory.view.setBigUint64(this.at << 2, value, true);
    this.at += 2;
  }

  /** Notes that the block reads or writes these bytes of the guest state. */
  private touch(offset: number, size: number): void {
    for (let word = offset >> 3; word <= (offset + size - 1) >> 3; word++)
      this.touched[(word >> 5) & 3]! |= 1 << (word & 31);
  }
}

/** The types of operands from a signature, in which each takes 4 bits. */
function typesOf(signature: number, count: number): Type[] {
  const types = Array.from({ length: count }, (_, i) => Math.floor(signature / 16 ** i) % 16);
  return types.reverse() as Type[];
}

const buildChoice = (modes: Modes, type: Type): Build =>
  buildExpression(modes, [TYPE.I1, type, type], type, ([condition, ifTrue, ifFalse]) => ({
    tag: 'ITE',
    condition: condition!,
    ifTrue: ifTrue!,
    ifFalse: ifFalse!,
  }));

const keysOf = (name: string): readonly string[] => TYPE_NAMES.map((type) => `${name} ${type}`);
const PUT_KEYS = keysOf('put');
const GET_KEYS = keysOf('get');
const MOVE_KEYS = keysOf('move');
const LOAD_KEYS = keysOf('load');
const STORE_KEYS = keysOf('store');
const ITE_KEYS = keysOf('ite');
