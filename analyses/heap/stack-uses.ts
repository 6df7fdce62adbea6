/**
 * What is in use by call stack, now and at the last moment that was marked: what a stack had then is noted when it
 * changes for the first time afterwards, so that marking costs nothing. A block belongs to the stack of its last realloc,
 * as in massif.
 */
import type { BlockListener, HeapBlock } from './blocks.js';

/** Bytes and blocks of one call stack. */
export interface StackUse {
  readonly bytes: number;
  readonly blocks: number;
}

/** By number of the stack; of those in use only. */
export type StackUses = ReadonlyMap<number, StackUse>;

interface Use {
  bytes: number;
  blocks: number;
  markedBytes: number;
  markedBlocks: number;
  /** The mark that these are of. */
  mark: number;
}

export class LiveUses implements BlockListener {
  private readonly uses = new Map<number, Use>();
  private mark = 0;

  began({ stack, sizeBytes }: HeapBlock): void {
    this.change(stack, 1, sizeBytes);
  }

  ended({ stack, sizeBytes }: HeapBlock): void {
    this.change(stack, -1, -sizeBytes);
  }

  replaced(before: HeapBlock, after: HeapBlock): void {
    this.ended(before);
    this.began(after);
  }

  /** From now on `marked` is what is in use now. */
  setMark(): void {
    this.mark++;
  }

  get now(): StackUses {
    return inUse(this.uses, ({ bytes, blocks }) => ({ bytes, blocks }));
  }

  get marked(): StackUses {
    for (const use of this.uses.values()) this.settle(use);
    return inUse(this.uses, ({ markedBytes: bytes, markedBlocks: blocks }) => ({ bytes, blocks }));
  }

  private change(stack: number, blocks: number, bytes: number): void {
    let use = this.uses.get(stack);
    if (!use) {
      use = { bytes: 0, blocks: 0, markedBytes: 0, markedBlocks: 0, mark: this.mark };
      this.uses.set(stack, use);
    }
    this.settle(use);
    use.blocks += blocks;
    use.bytes += bytes;
  }

  private settle(use: Use): void {
    if (use.mark === this.mark) return;
    use.mark = this.mark;
    use.markedBytes = use.bytes;
    use.markedBlocks = use.blocks;
  }
}

function inUse(uses: ReadonlyMap<number, Use>, use: (of: Use) => StackUse): StackUses {
  return new Map(
    [...uses]
      .map(([stack, of]) => [stack, use(of)] as const)
      .filter(([, { blocks }]) => blocks > 0),
  );
}
