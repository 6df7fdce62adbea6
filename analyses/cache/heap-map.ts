/** Which live heap block holds an address, in a few array accesses: for millions of them. */

const PAGE_BITS = 12;
const PAGE_BYTES = 1 << PAGE_BITS;
/** Blocks begin at multiples of this. */
const UNIT_BITS = 4;
const UNITS = PAGE_BYTES >> UNIT_BITS;

export interface MappedBlock {
  readonly address: number;
  readonly size: number;
  /** Number of whatever the block stands for. */
  readonly owner: number;
}

export class HeapMap {
  /** By number of a page: the block that fills it, or by unit the number of its block plus 1 in `blocks`. */
  private readonly pages = new Map<number, MappedBlock | Uint32Array>();
  private readonly blocks: (MappedBlock | undefined)[] = [];
  /** Numbers in `blocks` by address. */
  private readonly numbers = new Map<number, number>();
  private readonly free: number[] = [];
  private lowest = Infinity;
  private highest = 0;
  private lastPage = -1;
  private last: MappedBlock | Uint32Array | undefined;

  add(block: MappedBlock): void {
    const { address, size } = block;
    if (size === 0) return;
    this.remove(address);
    const number = this.free.pop() ?? this.blocks.length;
    this.blocks[number] = block;
    this.numbers.set(address, number);
    this.lowest = Math.min(this.lowest, address);
    this.highest = Math.max(this.highest, address + size);
    this.mark(block, number + 1);
  }

  /** Takes away the block that begins at an address; nothing if there is none. */
  remove(address: number): void {
    const number = this.numbers.get(address);
    if (number === undefined) return;
    const block = this.blocks[number]!;
    this.numbers.delete(address);
    this.blocks[number] = undefined;
    this.free.push(number);
    this.mark(block, 0);
  }

  at(address: number): MappedBlock | undefined {
    if (address < this.lowest || address >= this.highest) return undefined;
    const page = Math.floor(address / PAGE_BYTES);
    if (page !== this.lastPage) {
      this.lastPage = page;
      this.last = this.pages.get(page);
    }
    const found = this.last;
    if (found === undefined) return undefined;
    const block =
      found instanceof Uint32Array
        ? this.blocks[found[(address % PAGE_BYTES) >> UNIT_BITS]! - 1]
        : found;
    return block && address < block.address + block.size ? block : undefined;
  }

  private mark(block: MappedBlock, number: number): void {
    const { address, size } = block;
    this.lastPage = -1;
    for (let at = address; at < address + size;) {
      const page = Math.floor(at / PAGE_BYTES);
      const end = Math.min(address + size, (page + 1) * PAGE_BYTES);
      const isWhole = end - at === PAGE_BYTES;
      if (isWhole && number > 0) this.pages.set(page, block);
      else if (isWhole) this.pages.delete(page);
      else {
        let units = this.pages.get(page);
        if (!(units instanceof Uint32Array)) this.pages.set(page, (units = new Uint32Array(UNITS)));
        const first = (at % PAGE_BYTES) >> UNIT_BITS;
        const last = ((end - 1) % PAGE_BYTES) >> UNIT_BITS;
        units.fill(number, first, last + 1);
      }
      at = end;
    }
  }
}
