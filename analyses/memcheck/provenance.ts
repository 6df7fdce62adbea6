/**
 * Where values come from: a log of the loads and stores that a value passed through. It rides on the
 * origins that shadow state carries along with undefined bits. Each load and store gives the value a new
 * origin, a number of this log, with the origin that it had before; so the last one leads back through
 * all of them. For undefined values memcheck's own rules carry the origins; for others `traceValues`
 * rewrites blocks so that every value has one.
 */
import {
  TYPE,
  TYPE_SIZES,
  type Block,
  type Expression,
  type Operand,
  type Statement,
  type Type,
} from '../../replay/ir.js';
import type { ProcessReplay } from '../../replay/replay.js';
import { ORIGIN_KIND, type OriginTag } from '../../replay/shadow.js';
import type { ShadowGuest } from '../../replay/shadow-guest.js';
import { shadowType } from '../../replay/shadow-ir.js';
import { isAlwaysDefined, type RegisterOffsets } from './registers.js';
import { ShadowBuilder } from './shadow-builder.js';

/** A load or store that a value passed through, or a register at the beginning. */
export interface Passage {
  readonly how: 'load' | 'store' | 'register';
  /** Of the memory; of a register, its offset in the guest state. */
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly pc: bigint;
  readonly tick: bigint;
  /** The origin before: of another passage, or of none. */
  readonly previous: OriginTag;
}

/** Origins of passages have numbers from here on, which no others have: those of stacks are smaller. */
const FIRST_NUMBER = 1 << 28;
/** Passages kept, so that memory is bounded. */
const MOST_PASSAGES = 2_000_000;

export class PassageLog {
  private passages: Passage[] = [];
  /** There were too many: the ways of some values are not whole. */
  isCut = false;

  constructor(private readonly wanted: (root: OriginTag) => boolean = () => true) {}

  /** Notes a passage and returns the origin of the value from there on. */
  add(passage: Passage): OriginTag {
    if (!this.wanted(this.root(passage.previous))) return passage.previous;
    if (this.passages.length >= MOST_PASSAGES) {
      this.isCut = true;
      return passage.previous;
    }
    const number = FIRST_NUMBER + this.passages.push(passage) - 1;
    return 4 * number + ORIGIN_KIND.heap;
  }

  get(origin: OriginTag): Passage | undefined {
    if (origin % 4 !== ORIGIN_KIND.heap) return undefined;
    return this.passages[Math.floor(origin / 4) - FIRST_NUMBER];
  }

  /** The passages that led to an origin, the first first. */
  chain(origin: OriginTag): Passage[] {
    const chain: Passage[] = [];
    for (let passage = this.get(origin); passage; passage = this.get(passage.previous))
      chain.push(passage);
    return chain.reverse();
  }

  /** The origin before all passages. */
  root(origin: OriginTag): OriginTag {
    let root = origin;
    for (let passage = this.get(root); passage; passage = this.get(root)) root = passage.previous;
    return root;
  }
}

/** From now on notes the loads and stores of undefined values. */
export function logUndefined(replay: ProcessReplay, shadow: ShadowGuest, log: PassageLog): void {
  const load = shadow.load.bind(shadow);
  const store = shadow.store.bind(shadow);
  const tickOf = (instruction: number) => replay.tick + BigInt(instruction);
  shadow.load = (address, sizeBytes, site) => {
    const { bits, origin } = load(address, sizeBytes, site);
    if (bits === 0n || origin === 0) return { bits, origin };
    const { pc, instruction } = site;
    const passage = { address, sizeBytes, pc, tick: tickOf(instruction), previous: origin };
    return { bits, origin: log.add({ how: 'load', ...passage }) };
  };
  shadow.store = (address, sizeBytes, bits, origin, site) => {
    if (bits === 0n) return store(address, sizeBytes, bits, origin, site);
    const { pc, instruction } = site;
    const passage = { address, sizeBytes, pc, tick: tickOf(instruction), previous: origin };
    return store(address, sizeBytes, bits, log.add({ how: 'store', ...passage }), site);
  };
}

/** An access as `logValues` sees it: with the origins of its address and of the value stored. */
export interface TracedAccess {
  readonly isStore: boolean;
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly pc: bigint;
  readonly tick: bigint;
  readonly ofAddress: OriginTag;
  readonly ofValue: OriginTag;
}

/**
 * From now on notes the loads and stores of all values, in blocks that `traceValues` rewrote.
 * @returns `last`, the origin of the last address that was to be accessed: of a fault nothing else is seen
 */
export function logValues(
  replay: ProcessReplay,
  shadow: ShadowGuest,
  log: PassageLog,
  visit: (access: TracedAccess) => void,
): { readonly last: () => { origin: OriginTag; pc: bigint; tick: bigint } | undefined } {
  let ofAddress: OriginTag = 0;
  let last: { origin: OriginTag; pc: bigint; tick: bigint } | undefined;
  shadow.check = (origin, { pc, instruction }) => {
    ofAddress = origin;
    last = { origin, pc, tick: replay.tick + BigInt(instruction) };
  };
  shadow.readRange = (address, sizeBytes, { pc, instruction }) => {
    const { bits, origin } = shadow.planes.load(address, sizeBytes);
    const previous = bits.some((byte) => byte !== 0) ? origin : 0;
    const access = { address, sizeBytes, pc, tick: replay.tick + BigInt(instruction) };
    visit({ isStore: false, ...access, ofAddress, ofValue: previous });
    ofAddress = 0;
    return { bits: ALL_BITS, origin: log.add({ how: 'load', ...access, previous }) };
  };
  shadow.writeRange = (address, sizeBytes, _, previous, { pc, instruction }) => {
    const access = { address, sizeBytes, pc, tick: replay.tick + BigInt(instruction) };
    visit({ isStore: true, ...access, ofAddress, ofValue: previous });
    ofAddress = 0;
    const origin = log.add({ how: 'store', ...access, previous });
    shadow.planes.setUndefinedBits(address, new Uint8Array(sizeBytes).fill(0xff), origin);
  };
  return { last: () => last };
}

const ALL_BITS = 0xffff_ffff_ffff_ffffn;

/**
 * A block in which every value has the origin of what it was made of, and none when it was made of
 * constants. Of two operands of an addition that is the larger, which is the pointer.
 */
export function traceValues(block: Block, registers: RegisterOffsets): Block {
  const b = new ShadowBuilder(block);
  const { I32, I64 } = TYPE;
  const none = b.zero(I32);
  const origins = new Map<number, Operand>();
  const originOf = (operand: Operand): Operand =>
    operand & 1 ? none : (origins.get(operand >>> 1) ?? none);
  const first = (list: readonly Operand[]): Operand =>
    list
      .filter((origin) => origin !== none)
      .reduceRight((rest, origin) => b.choose(b.op('CmpNEZ32', origin), origin, rest), none);
  const pair = (type: Type) => ({ bits: b.temp(type) >>> 1, origin: b.temp(I32) >>> 1 });
  const always = b.constant(TYPE.I1, 1n);
  const note = (address: Operand): void => {
    const origin = originOf(address);
    if (origin === none) return;
    const bits = b.op('CmpNEZ32', origin);
    b.statements.push({
      ...{ tag: 'ShadowCheck', bits, origin, use: 'value', sizeBytes: 8, guard: undefined },
    });
  };
  const load = (address: Operand, sizeBytes: number, guard = always): Operand => {
    note(address);
    const temps = pair(I64);
    b.statements.push({ tag: 'ShadowReadRange', ...temps, address, sizeBytes, guard });
    return 2 * temps.origin;
  };
  const store = (address: Operand, sizeBytes: number, origin: Operand, guard = always): void => {
    note(address);
    const bits = b.constant(I64, ALL_BITS);
    b.statements.push({ tag: 'ShadowWriteRange', bits, origin, address, sizeBytes, guard });
  };
  /** The origin of registers, or none where nothing is known of them. */
  const known = (temps: { bits: number; origin: number }): Operand =>
    b.choose(b.any(2 * temps.bits), 2 * temps.origin, none);
  const expression = (expr: Expression): Operand => {
    switch (expr.tag) {
      case 'Get': {
        const { offset, type } = expr;
        if (isAlwaysDefined(registers, offset, TYPE_SIZES[type])) return none;
        const temps = pair(shadowType(type));
        b.statements.push({ tag: 'ShadowGet', ...temps, offset, type });
        return known(temps);
      }
      case 'Atom':
        return originOf(expr.operand);
      case 'Load':
        return load(expr.address, TYPE_SIZES[expr.type]);
      case 'ITE':
        return b.choose(expr.condition, originOf(expr.ifTrue), originOf(expr.ifFalse));
      case 'Op': {
        const [x, y] = expr.args.map(originOf);
        if (expr.op === 'Add64' && x !== none && y !== none) {
          const isLess = b.op('CmpLT64U', expr.args[0]!, expr.args[1]!);
          return b.choose(isLess, first([y!, x!]), first([x!, y!]));
        }
        return first(expr.args.map(originOf));
      }
      default:
        return none;
    }
  };
  const put = (offset: number, type: Type, origin: Operand): void => {
    if (isAlwaysDefined(registers, offset, TYPE_SIZES[type])) return;
    const bits =
      origin === none
        ? b.zero(shadowType(type))
        : b.spread(b.op('CmpNEZ32', origin), shadowType(type));
    b.statements.push({ tag: 'ShadowPut', offset, type, bits, origin });
  };
  const follow = (statement: Statement): void => {
    switch (statement.tag) {
      case 'Put':
        return put(statement.offset, b.typeOf(statement.data), originOf(statement.data));
      case 'WrTmp':
        return void origins.set(statement.temp, expression(statement.expr));
      case 'Store':
      case 'StoreG': {
        const guard = statement.tag === 'StoreG' ? statement.guard : always;
        const size = TYPE_SIZES[b.typeOf(statement.data)];
        return store(statement.address, size, originOf(statement.data), guard);
      }
      case 'LoadG': {
        const { address, guard, alternative, conversion } = statement;
        const loaded = load(address, TYPE_SIZES[conversion.from], guard);
        return void origins.set(statement.temp, b.choose(guard, loaded, originOf(alternative)));
      }
      case 'CAS':
        origins.set(statement.oldLo, load(statement.address, TYPE_SIZES[statement.type]));
        return store(statement.address, TYPE_SIZES[statement.type], originOf(statement.dataLo));
      case 'Dirty':
        for (const { effect, offset, size } of statement.state)
          if (effect !== 'read' && size <= 8) put(offset, I64, none);
    }
  };
  for (const statement of block.statements) {
    follow(statement);
    b.statements.push(statement);
  }
  return b.finish(block);
}
