/** The tables of access sites, cache sites, call sites and segments, which grow as superblocks are met. */
import { CACHE_SITE_KINDS, type CacheSite } from './cache-sites.js';
import { CALL_SITE_KINDS, type CallSite } from './call-sites.js';
import { grown } from './grown.js';
import type { AccessSite, Segment } from './ir.js';
import type { SiteTable } from './types.js';

/** In `SiteTable.stores`: it is neither a store nor a load. */
export const FETCH = 2;

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
      if (site.kind === 'fetch') this.stores[at] = FETCH;
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
  /** Loads and stores in one execution without those under a guard, in a replay that tells of accesses. */
  accesses = new Uint32Array(0);

  /** Appends the segments of a superblock and returns the number of the first. @param accesses - by segment */
  add(block: number, segments: readonly Segment[], accesses: readonly number[]): number {
    const first = this.count;
    segments.forEach(({ address, instructions }, i) =>
      this.addOne(block, address, instructions, accesses[i] ?? 0),
    );
    return first;
  }

  /** Appends one. */
  addOne(block: number, address: bigint, instructions: number, accesses: number): void {
    const at = this.count++;
    if (at === this.blocks.length) {
      this.blocks = grown(this.blocks, this.count);
      this.addresses = grown(this.addresses, this.count);
      this.instructions = grown(this.instructions, this.count);
      this.accesses = grown(this.accesses, this.count);
    }
    this.blocks[at] = block;
    this.addresses[at] = address;
    this.instructions[at] = instructions;
    this.accesses[at] = accesses;
  }
}

/** Where code refers to simulated caches, as columns. */
export class CacheSites {
  count = 0;
  /** Addresses of instructions, the low words and the high ones. */
  pcs = new Uint32Array(0);
  pcsHigh = new Uint32Array(0);
  /** Number in `CACHE_SITE_KINDS`, and `GUARDED` for those that have a counter of executions. */
  kinds = new Uint8Array(0);
  segments = new Uint32Array(0);

  /** Appends the sites of a superblock whose first segment has this number; returns the number of the first. */
  add(sites: readonly CacheSite[], firstSegment: number): number {
    const first = this.count;
    for (const { pc, kind, guarded, segment } of sites) {
      const number = CACHE_SITE_KINDS.indexOf(kind) | (guarded ? GUARDED : 0);
      const low = Number(BigInt.asUintN(32, pc));
      this.addOne(low, Number(pc >> 32n), number, firstSegment + segment);
    }
    return first;
  }

  addOne(pcLow: number, pcHigh: number, kind: number, segment: number): void {
    const at = this.count++;
    if (at === this.kinds.length) {
      this.pcs = grown(this.pcs, this.count);
      this.pcsHigh = grown(this.pcsHigh, this.count);
      this.kinds = grown(this.kinds, this.count);
      this.segments = grown(this.segments, this.count);
    }
    this.pcs[at] = pcLow;
    this.pcsHigh[at] = pcHigh;
    this.kinds[at] = kind;
    this.segments[at] = segment;
  }
}

/** Of the kind of a cache site: it is under a guard. */
export const GUARDED = 0x80;

/** Where code tells of calls, as columns. */
export class CallSites {
  count = 0;
  /** Addresses of instructions. */
  pcs = new BigUint64Array(0);
  /** Numbers in `CALL_SITE_KINDS`. */
  kinds = new Uint8Array(0);

  /** Appends the sites of a superblock; returns the number of the first. */
  add(sites: readonly CallSite[]): number {
    const first = this.count;
    for (const { kind, pc } of sites) this.addOne(pc, CALL_SITE_KINDS.indexOf(kind));
    return first;
  }

  addOne(pc: bigint, kind: number): void {
    const at = this.count++;
    if (at === this.kinds.length) {
      this.pcs = grown(this.pcs, this.count);
      this.kinds = grown(this.kinds, this.count);
    }
    this.pcs[at] = pc;
    this.kinds[at] = kind;
  }
}
