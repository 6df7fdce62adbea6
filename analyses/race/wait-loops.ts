/**
 * Loads that code waits by, as its superblocks show it, whether or not it had to wait: they lie in a loop that
 * stores nothing but on its own stack, load from an address that stays the same, and what they load decides
 * whether the loop goes on, compared with what stays the same, too: so only another thread can make it decide
 * otherwise. A search, which compares what it loads with something else each time, does not wait. Parts of the
 * loop that never ran are not known: one that calls something while it waits is seen by spin-loops.ts only, when
 * it is gone round.
 */
import {
  decodeBlock,
  JUMP_BORING,
  type Block,
  type Expression,
  type Operand,
  type Statement,
} from '../../replay/ir.js';
import { programRows } from '../../replay/lineage.js';
import { guestOf, opNames } from '../../replay/replay.js';
import type { Trace } from '../../replay/trace.js';
import { blocks } from '../../schemas/tables.js';

/** Offsets of registers in the guest state by which a function finds its own stack. */
export interface StackRegisters {
  readonly RSP: number;
  readonly RBP: number;
}

/** Superblocks that a loop is looked for in, at most. */
const MOST_BLOCKS = 3;

/** Those of some instructions whose loads code waits by. */
export function findWaitLoads(
  trace: Trace,
  process: number,
  pcs: ReadonlySet<bigint>,
): Set<bigint> {
  const { stateSize, registers } = guestOf(trace);
  const stack = { RSP: registers['RSP']!, RBP: registers['RBP'] ?? registers['RSP']! };
  const names = opNames(trace);
  const byEntry = new Map<bigint, () => Block>();
  const holders: [bigint, () => Block][] = [];
  for (const { batch, count } of programRows(trace, blocks, process)) {
    let row = 0;
    for (const { entry, address, size, ir } of batch.rows()) {
      if (row++ === count) break;
      const block = (): Block => decodeBlock(ir, address, names, stateSize);
      byEntry.set(entry, block);
      for (const pc of pcs)
        if (pc >= address && pc < address + BigInt(size)) holders.push([pc, block]);
    }
  }
  const found = new Set<bigint>();
  const blockAt = (entry: bigint): Block | undefined => byEntry.get(entry)?.();
  for (const [pc, block] of holders)
    if (!found.has(pc) && isWaitedBy(block(), pc, stack, blockAt)) found.add(pc);
  return found;
}

/**
 * Whether a loop that begins in the block waits by what the instruction at an address loads.
 * @param blockAt - the block that runs from an address on
 */
export function isWaitedBy(
  block: Block,
  pc: bigint,
  stack: StackRegisters,
  blockAt: (entry: bigint) => Block | undefined = () => undefined,
  blocksLeft = MOST_BLOCKS - 1,
): boolean {
  const { statements, constants, next } = block;
  const marks = new Map<bigint, number>();
  statements.forEach((s, i) => {
    if (s.tag === 'IMark' && !marks.has(s.address)) marks.set(s.address, i);
  });
  const at = marks.get(pc);
  if (at === undefined) return false;
  /** Where control leaves the block, and to where. */
  const jumps = statements.flatMap((s, i): [number, bigint][] =>
    s.tag === 'Exit' && s.jumpKind === JUMP_BORING && i > at ? [[i, s.target]] : [],
  );
  if (next & 1 && block.jumpKind === JUMP_BORING)
    jumps.push([statements.length, constants[next >>> 1]!.bits]);
  return jumps.some(([end, target]) => {
    const start = marks.get(target);
    if (start !== undefined) return start <= at && new Loop(block, start, end, stack).waitsBy(at);
    const following = blocksLeft > 0 ? blockAt(target) : undefined;
    if (!following) return false;
    return isWaitedBy(joined(block, end, following), pc, stack, blockAt, blocksLeft - 1);
  });
}

/** A block up to a statement, and after it another one. */
function joined(first: Block, end: number, second: Block): Block {
  const [temps, constants] = [first.temps.length, first.constants.length];
  const moved = (operand: Operand): Operand => operand + 2 * (isTemp(operand) ? temps : constants);
  const movedIn = (expr: Expression): Expression => {
    switch (expr.tag) {
      case 'Atom':
        return { ...expr, operand: moved(expr.operand) };
      case 'Op':
      case 'CCall':
        return { ...expr, args: expr.args.map(moved) };
      case 'Load':
        return { ...expr, address: moved(expr.address) };
      case 'ITE': {
        const { condition, ifTrue, ifFalse } = expr;
        return {
          tag: 'ITE',
          ...{ condition: moved(condition), ifTrue: moved(ifTrue), ifFalse: moved(ifFalse) },
        };
      }
      default:
        return expr; // of an indexed register nothing is known anyway
    }
  };
  const statements = second.statements.map((s): Statement => {
    switch (s.tag) {
      case 'WrTmp':
        return { ...s, temp: s.temp + temps, expr: movedIn(s.expr) };
      case 'Put':
        return { ...s, data: moved(s.data) };
      case 'Store':
        return { ...s, address: moved(s.address), data: moved(s.data) };
      case 'Exit':
        return { ...s, guard: moved(s.guard) };
      default:
        return s; // nothing that a loop that waits may do
    }
  });
  return {
    ...second,
    temps: Uint8Array.of(...first.temps, ...second.temps),
    constants: [...first.constants, ...second.constants],
    statements: [...first.statements.slice(0, end + 1), ...statements],
    next: moved(second.next),
  };
}

const isTemp = (operand: Operand): boolean => (operand & 1) === 0;

/** The statements of a block from `start` on and before `end`, from where control goes back to the start. */
class Loop {
  /** By temporary: the statement that assigns it. */
  private readonly definitions = new Map<number, number>();
  /** By offset in the guest state: the statements that change it, within the loop. */
  private readonly puts = new Map<number, number[]>();
  /** By address: stores within the loop. */
  private readonly stores = new Map<string, number[]>();
  private isQuiet = true;

  constructor(
    private readonly block: Block,
    private readonly start: number,
    private readonly end: number,
    private readonly stack: StackRegisters,
  ) {
    block.statements.forEach((s, i) => {
      if (i >= end) return;
      if (s.tag === 'WrTmp') this.definitions.set(s.temp, i);
      if (i < start) return;
      if (s.tag === 'Put') this.add(this.puts, s.offset, i);
      else if (s.tag === 'Store' && this.isOnStack(s.address))
        this.add(this.stores, this.nameOf(s.address), i);
      else if (!['IMark', 'AbiHint', 'WrTmp', 'MBE', 'Exit'].includes(s.tag)) this.isQuiet = false;
    });
  }

  /** The loop does nothing but wait by loads of the instruction whose mark is given. */
  waitsBy(mark: number): boolean {
    if (!this.isQuiet) return false;
    const { statements } = this.block;
    const exits = statements.slice(this.start, this.end + 1).filter((s) => s.tag === 'Exit');
    for (let i = mark + 1; i < this.end && statements[i]!.tag !== 'IMark'; i++) {
      const s = statements[i]!;
      if (s.tag !== 'WrTmp' || s.expr.tag !== 'Load') continue;
      if (!this.staysSame(s.expr.address) || this.isOnStack(s.expr.address)) continue;
      if (exits.some(({ guard }) => this.dependsOn(guard, s.temp) && this.staysSame(guard, s.temp)))
        return true;
    }
    return false;
  }

  private add<K>(to: Map<K, number[]>, key: K, statement: number): void {
    const known = to.get(key);
    if (known) known.push(statement);
    else to.set(key, [statement]);
  }

  private definition(operand: Operand): Extract<Statement, { tag: 'WrTmp' }> | undefined {
    const s = this.block.statements[this.definitions.get(operand >>> 1) ?? -1];
    return s?.tag === 'WrTmp' ? s : undefined;
  }

  /** The same for operands that have the same value all through the loop, if they are sums of registers. */
  private nameOf(operand: Operand): string {
    if (!isTemp(operand)) return `${this.block.constants[operand >>> 1]!.bits}`;
    const expr = this.definition(operand)?.expr;
    if (expr?.tag === 'Get') return `r${expr.offset}`;
    if (expr?.tag === 'Atom') return this.nameOf(expr.operand);
    if (expr?.tag === 'Op') return `${expr.op}(${expr.args.map((arg) => this.nameOf(arg)).join()})`;
    return `t${operand >>> 1}`;
  }

  private isOnStack(address: Operand): boolean {
    if (!isTemp(address)) return false;
    const expr = this.definition(address)?.expr;
    if (expr?.tag === 'Get')
      return expr.offset === this.stack.RSP || expr.offset === this.stack.RBP;
    if (expr?.tag !== 'Op' || !/^(?:Add|Sub)64$/.test(expr.op)) return false;
    return !isTemp(expr.args[1]!) && this.isOnStack(expr.args[0]!);
  }

  /**
   * Another round would give the operand the same value, if other threads change nothing.
   * @param given - a temporary that is taken to have the same value
   */
  private staysSame(operand: Operand, given = -1): boolean {
    if (!isTemp(operand) || operand >>> 1 === given) return true;
    const at = this.definitions.get(operand >>> 1);
    const expr = this.definition(operand)?.expr;
    if (at === undefined || !expr) return false;
    // What was computed before the loop is in a register, which the loop may change.
    if (at < this.start && this.isChanged(operand)) return false;
    const all = (operands: readonly Operand[]): boolean =>
      operands.every((one) => this.staysSame(one, given));
    /** What the loop has stored before; nothing else is stored there. */
    const stored = (statements: readonly number[] | undefined): boolean => {
      if (!statements) return true;
      const data = this.storedBefore(statements, at);
      return data !== undefined && this.staysSame(data, given);
    };
    switch (expr.tag) {
      case 'Get':
        return stored(this.puts.get(expr.offset));
      case 'Atom':
        return this.staysSame(expr.operand, given);
      case 'Op':
      case 'CCall':
        return all(expr.args);
      case 'ITE':
        return all([expr.condition, expr.ifTrue, expr.ifFalse]);
      case 'Load':
        return (
          this.staysSame(expr.address, given) && stored(this.stores.get(this.nameOf(expr.address)))
        );
      default:
        return false;
    }
  }

  /** What the last of some puts or stores before a statement stored. */
  private storedBefore(statements: readonly number[], at: number): Operand | undefined {
    const s = this.block.statements[statements.findLast((i) => i < at) ?? -1];
    return s?.tag === 'Put' || s?.tag === 'Store' ? s.data : undefined;
  }

  private isChanged(operand: Operand): boolean {
    return this.block.statements.some(
      (s, i) => i < this.start && s.tag === 'Put' && s.data === operand && this.puts.has(s.offset),
    );
  }

  /** The value follows, within the loop, from that of a temporary. */
  private dependsOn(operand: Operand, temp: number): boolean {
    if (!isTemp(operand)) return false;
    if (operand >>> 1 === temp) return true;
    const at = this.definitions.get(operand >>> 1);
    const expr = this.definition(operand)?.expr;
    if (at === undefined || !expr || at < this.start) return false;
    const anyOf = (operands: readonly Operand[]): boolean =>
      operands.some((one) => this.dependsOn(one, temp));
    const before = (statements: readonly number[] | undefined): boolean => {
      const data = this.storedBefore(statements ?? [], at);
      return data !== undefined && this.dependsOn(data, temp);
    };
    switch (expr.tag) {
      case 'Get':
        return before(this.puts.get(expr.offset));
      case 'Atom':
        return this.dependsOn(expr.operand, temp);
      case 'Op':
      case 'CCall':
        return anyOf(expr.args);
      case 'ITE':
        return anyOf([expr.condition, expr.ifTrue, expr.ifFalse]);
      case 'Load':
        return before(this.stores.get(this.nameOf(expr.address)));
      default:
        return false;
    }
  }
}
