/** The heap blocks that live, found by an address inside. */

export interface LiveBlock {
  readonly address: number;
  readonly size: number;
  /** Event of the allocation. */
  readonly event: number;
}

/** Blocks are found by cells of this size; larger ones are looked at one by one. */
const CELL_BYTES = 4096;
const LARGE_BYTES = 16 * CELL_BYTES;

export class LiveBlocks {
  /** By the cell in which they begin. */
  private readonly cells = new Map<number, LiveBlock[]>();
  private readonly large = new Set<LiveBlock>();

  add(block: LiveBlock): void {
    if (block.size > LARGE_BYTES) this.large.add(block);
    else {
      const cell = Math.floor(block.address / CELL_BYTES);
      const blocks = this.cells.get(cell);
      if (blocks) blocks.push(block);
      else this.cells.set(cell, [block]);
    }
  }

  /** Removes the block that begins at an address. */
  remove(address: number): void {
    const cell = Math.floor(address / CELL_BYTES);
    const blocks = this.cells.get(cell);
    const at = blocks?.findIndex((block) => block.address === address) ?? -1;
    if (at >= 0) {
      blocks!.splice(at, 1);
      if (blocks!.length === 0) this.cells.delete(cell);
      return;
    }
    for (const block of this.large) if (block.address === address) this.large.delete(block);
  }

  /** The block that holds an address. */
  at(address: number): LiveBlock | undefined {
    const holds = (block: LiveBlock): boolean =>
      address >= block.address && address < block.address + block.size;
    const cell = Math.floor(address / CELL_BYTES);
    for (let near = cell; near >= cell - LARGE_BYTES / CELL_BYTES; near--) {
      const found = this.cells.get(near)?.find(holds);
      if (found) return found;
    }
    for (const block of this.large) if (holds(block)) return block;
    return undefined;
  }
}
