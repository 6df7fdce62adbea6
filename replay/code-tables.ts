/** The tables of access sites and segments, which grow as superblocks are met. */
import type { AccessSite, Segment } from './ir.js';
import type { SiteTable } from './types.js';

/** Makes room in a typed array for `count` entries; returns the same array when there is. */
function grown<T extends Uint8Array | Uint16Array | Uint32Array | BigUint64Array>(
  array: T,
  count: number,
): T {
  if (count <= array.length) return array;
  const larger = new (array.constructor as new (length: number) => T)(
    Math.max(1024, 2 * array.length, count),
  );
  larger.set(array as never);
  return larger;
}

export class Sites implements SiteTable {
  count = 0;
  pcs = new BigUint64Array(0);
  blocks = new Uint32Array(0);
  sizes = new Uint16Array(0);
  stores = new Uint8Array(0);
  atomics = new Uint8Array(0);
  guarded = new Uint8Array(0);

  /** Appends the sites of a superblock and returns the number of the first. */
  add(block: number, sites: readonly AccessSite[]): number {
    const first = this.count;
    this.reserve(first + sites.length);
    for (const site of sites) {
      const at = this.addPlain(block, site.pc, site.size, site.kind === 'store');
      this.atomics[at] = site.atomic ? 1 : 0;
      this.guarded[at] = site.guarded ? 1 : 0;
    }
    return first;
  }

  /** Appends the site of a load or store that is neither atomic nor guarded. */
  addPlain(block: number, pc: bigint, size: number, isStore: boolean): number {
    const at = this.count++;
    this.reserve(this.count);
    this.pcs[at] = pc;
    this.blocks[at] = block;
    this.sizes[at] = Math.min(size, 0xffff);
    this.stores[at] = isStore ? 1 : 0;
    this.atomics[at] = 0;
    this.guarded[at] = 0;
    return at;
  }

  /** Appends rows of another table. */
  append(rows: SiteTable): void {
    this.reserve(this.count + rows.count);
    this.pcs.set(rows.pcs, this.count);
    this.blocks.set(rows.blocks, this.count);
    this.sizes.set(rows.sizes, this.count);
    this.stores.set(rows.stores, this.count);
    this.atomics.set(rows.atomics, this.count);
    this.guarded.set(rows.guarded, this.count);
    this.count += rows.count;
  }

  private reserve(count: number): void {
    if (count <= this.guarded.length) return;
    this.pcs = grown(this.pcs, count);
    this.blocks = grown(this.blocks, count);
    this.sizes = grown(this.sizes, count);
    this.stores = grown(this.stores, count);
    this.atomics = grown(this.atomics, count);
    this.guarded = grown(this.guarded, count);
  }
}

/** The static columns of `SegmentTable`. */
export class Segments {
  count = 0;
  blocks = new Uint32Array(0);
  addresses = new BigUint64Array(0);
  instructions = new Uint32Array(0);

  /** Appends the segments of a superblock and returns the number of the first. */
  add(block: number, segments: readonly Segment[]): number {
    const first = this.count;
    for (const { address, instructions } of segments) this.addOne(block, address, instructions);
    return first;
  }

  /** Appends one. */
  addOne(block: number, address: bigint, instructions: number): void {
    const at = this.count++;
    this.blocks = grown(this.blocks, this.count);
    this.addresses = grown(this.addresses, this.count);
    this.instructions = grown(this.instructions, this.count);
    this.blocks[at] = block;
    this.addresses[at] = address;
    this.instructions[at] = instructions;
  }
}
