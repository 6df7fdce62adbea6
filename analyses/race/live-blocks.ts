/** The heap blocks that live, found by an address inside. */

export interface LiveBlock {
  readonly address: number;
  readonly size: number;
  /** Event of the allocation. */
  readonly event: number;
}

/** Blocks are found by cells of this size; large ones are looked at one by one. */
const CELL_BYTES = 4096;
const LARGE_BYTES = 16 * CELL_BYTES;

export class LiveBlocks {
  /** By each cell in which they lie. */
  private readonly cells = new Map<number, LiveBlock[]>();
  private readonly large = new Set<LiveBlock>();

  add(block: LiveBlock): void {
    if (block.size > LARGE_BYTES) {
      this.large.add(block);
      return;
    }
    for (let cell = cellOf(block.address); cell <= lastCellOf(block); cell++) {
      const blocks = this.cells.get(cell);
      if (blocks) blocks.push(block);
      else this.cells.set(cell, [block]);
    }
  }

  /** Removes the block that begins at an address. */
  remove(address: number): void {
    const block = this.cells.get(cellOf(address))?.find((one) => one.address === address);
    if (!block) {
      for (const one of this.large) if (one.address === address) this.large.delete(one);
      return;
    }
    for (let cell = cellOf(address); cell <= lastCellOf(block); cell++) {
      const blocks = this.cells.get(cell)!;
      const last = blocks.pop()!;
      if (blocks.length === 0) this.cells.delete(cell);
      else if (last !== block) blocks[blocks.indexOf(block)] = last;
    }
  }

  /** The block that holds an address. */
  at(address: number): LiveBlock | undefined {
    const blocks = this.cells.get(cellOf(address));
    if (blocks) for (const block of blocks) if (holds(block, address)) return block;
    for (const block of this.large) if (holds(block, address)) return block;
    return undefined;
  }
}

const cellOf = (address: number): number => Math.floor(address / CELL_BYTES);

/** A block of no bytes lies in the cell in which it begins. */
const lastCellOf = ({ address, size }: LiveBlock): number =>
  cellOf(address + Math.max(size, 1) - 1);

const holds = ({ address, size }: LiveBlock, at: number): boolean =>
  at >= address && at < address + size;
