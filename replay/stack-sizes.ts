/**
 * How large the stacks of all threads together are, in a replay that measures it: compiled code keeps the lowest stack
 * pointer of the current thread; the others do not move meanwhile. A stack is as large as what the thread has moved its
 * stack pointer down since it began (massif's `--stacks`); what it does on another stack counts on top of that.
 */
import type { GuestMemory } from './guest-memory.js';
import { CELL, STATE } from './layout.js';
import { OTHER_STACK_BYTES } from './support-stacks.js';

interface Stack {
  /** Where a stack pointer stands for a stack of 0 bytes. */
  base: number;
  /** Where it stood last. */
  pointer: number;
}

/** Bytes of all stacks, and when they were so large. */
export interface StackSize {
  readonly sizeBytes: number;
  readonly tick: number;
}

export class StackSizes {
  private readonly stacks = new Map<number, Stack>();
  private current: Stack | undefined;
  /** Stacks of the threads that do not run. */
  private othersBytes = 0;
  private largest: StackSize = { sizeBytes: 0, tick: 0 };

  constructor(
    private readonly memory: GuestMemory,
    /** Offset of the stack pointer in the guest state. */
    private readonly RSP: number,
  ) {}

  /** The current thread is to do nothing for a while, or its registers change otherwise than by its own code. */
  leave(): void {
    const { current } = this;
    if (!current) return;
    this.settle(current);
    this.othersBytes += sizeOf(current);
    this.current = undefined;
  }

  /** A thread goes on. */
  enter(thread: number): void {
    const pointer = this.pointer();
    let stack = this.stacks.get(thread);
    if (!stack) {
      stack = { base: pointer, pointer };
      this.stacks.set(thread, stack);
    }
    this.othersBytes -= sizeOf(stack);
    if (Math.abs(pointer - stack.pointer) > OTHER_STACK_BYTES)
      stack.base += pointer - stack.pointer;
    stack.pointer = pointer;
    this.current = stack;
    this.reset();
  }

  /** A thread is no more. */
  end(thread: number): void {
    const stack = this.stacks.get(thread);
    if (!stack) return;
    if (stack === this.current) this.leave();
    this.othersBytes -= sizeOf(stack);
    this.stacks.delete(thread);
  }

  /** No thread but this one is left, and its time begins anew: a process was forked. */
  keepOnly(thread: number): void {
    for (const other of [...this.stacks.keys()]) if (other !== thread) this.end(other);
    this.takeLargest();
  }

  /** It is not known what the threads' stacks hold: each begins anew with the next time it runs. */
  lose(): void {
    this.stacks.clear();
    this.current = undefined;
    this.othersBytes = 0;
    this.takeLargest();
  }

  /** Compiled code moves the stack pointer to another stack. */
  change(before: number, after: number): void {
    const { current } = this;
    if (!current) return;
    current.pointer = before;
    this.settleAt(before);
    current.base += after - before;
    current.pointer = after;
    this.reset();
  }

  /** As `noteStack` of compiled code, for code that is interpreted. */
  move(before: number, after: number, tick: bigint): void {
    if (Math.abs(after - before) > OTHER_STACK_BYTES) return this.change(before, after);
    const { view } = this.memory;
    if (BigInt(after) >= view.getBigUint64(CELL.lowestStack, true)) return;
    view.setBigUint64(CELL.lowestStack, BigInt(after), true);
    view.setBigUint64(CELL.lowestStackTick, tick, true);
  }

  /** Bytes of all stacks now. */
  get sizeBytes(): number {
    const { current, othersBytes } = this;
    return othersBytes + (current ? current.base - this.pointer() : 0);
  }

  /** When they were largest since the last call. */
  takeLargest(): StackSize {
    if (this.current) this.settle(this.current);
    const { largest } = this;
    this.largest = { sizeBytes: this.sizeBytes, tick: this.tick() };
    this.reset();
    return largest;
  }

  private settle(stack: Stack): void {
    stack.pointer = this.pointer();
    this.settleAt(stack.pointer);
  }

  private settleAt(pointer: number): void {
    const { view } = this.memory;
    const lowest = Number(view.getBigUint64(CELL.lowestStack, true));
    const sizeBytes = this.othersBytes + this.current!.base - Math.min(lowest, pointer);
    if (sizeBytes <= this.largest.sizeBytes) return;
    this.largest = { sizeBytes, tick: Number(view.getBigUint64(CELL.lowestStackTick, true)) };
  }

  /** What was lowest is no more. */
  private reset(): void {
    const { view } = this.memory;
    view.setBigUint64(CELL.lowestStack, BigInt(this.current?.pointer ?? 0), true);
    view.setBigUint64(CELL.lowestStackTick, view.getBigUint64(CELL.tick, true), true);
  }

  private tick(): number {
    return Number(this.memory.view.getBigUint64(CELL.tick, true));
  }

  private pointer(): number {
    return Number(this.memory.view.getBigUint64(STATE + this.RSP, true));
  }
}

const sizeOf = ({ base, pointer }: Stack): number => base - pointer;
