/**
 * Who accessed each byte last, as far as it matters for races: of each byte the last write, and the reads
 * since then that are concurrent with one another. Epochs (clocks.ts) say which accesses are ordered.
 *
 * Memory is found by page; each 8 bytes have a list of records, and a record says for which of them it
 * holds, so that bytes are told apart only where they were accessed differently. A record's place is
 * used again when no byte is left to it: memory is bounded by what the program touched.
 */
import type { ThreadClock } from './clocks.js';

/** Memory is found in pages of this size. */
const PAGE_BITS = 12;
const GRANULES = 1 << (PAGE_BITS - 3);
/** Pages found last, by the low bits of their number. */
const CACHED = 1 << 12;
/** In the masks of records, after a bit for each of 8 bytes. */
const STORE = 0x100;
const BYTES = 0xff;

/** An access that is remembered. */
export interface Access {
  readonly slot: number;
  readonly time: number;
  readonly site: number;
  readonly tick: number;
  readonly isStore: boolean;
}

/** A part of 8 bytes with synchronisation variables. */
export interface Marked {
  /** Address of the 8 bytes. */
  readonly address: number;
  /** Bits for the bytes of synchronisation variables. */
  mask: number;
  /** Records of the others. */
  head: number;
}

export interface HistoryHooks {
  /**
   * The current access and an earlier one are concurrent, and one of them is a store.
   * @param address of the first byte that both accessed
   */
  race(earlier: Access, address: number): void;
  /** The current access is to a synchronisation variable. */
  synchronised(marked: Marked, mask: number, isStore: boolean): void;
}

export class AccessHistory {
  private readonly pages = new Map<number, number>();
  private readonly cachedKeys = new Float64Array(CACHED).fill(-1);
  private readonly cachedPages = new Int32Array(CACHED);
  /** Of each 8 bytes the first record, 0 for none, or the negated number of an entry of `marked`. */
  private heads = new Int32Array(64 * GRANULES);
  private pageCount = 0;
  private readonly marked: Marked[] = [{ address: 0, mask: 0, head: 0 }];

  // Records, from 1.
  private masks = new Uint16Array(1024);
  private slots = new Uint16Array(1024);
  private times = new Uint32Array(1024);
  private sites = new Uint32Array(1024);
  private ticks = new Float64Array(1024);
  private next = new Int32Array(1024);
  private recordCount = 1;
  private free = 0;

  /** The current thread: its slot, its epoch, and what it has seen. */
  private slot = 0;
  private time = 0;
  private seen: Uint32Array = new Uint32Array(1);

  constructor(private readonly hooks: HistoryHooks) {}

  /** The accesses that follow are made by this thread, in the epoch that it is in. */
  enter({ slot, time, clock }: ThreadClock): void {
    this.slot = slot;
    this.time = time;
    this.seen = clock.times;
  }

  /**
   * An access of the current thread.
   * @param low - the low 32 bits of the address; `high` those above
   * @param size - in bytes
   */
  access(
    site: number,
    tick: number,
    low: number,
    high: number,
    size: number,
    isStore: boolean,
  ): void {
    const offset = low & 7;
    const page = this.page(high * 0x10_0000 + (low >>> PAGE_BITS));
    const granule = page + ((low >>> 3) & (GRANULES - 1));
    if (offset + size <= 8) {
      const mask = ((1 << size) - 1) << offset;
      if (isStore) this.store(granule, mask, site, tick, high * 0x1_0000_0000 + (low - offset));
      else this.load(granule, mask, site, tick, high * 0x1_0000_0000 + (low - offset));
    } else this.range(site, tick, high * 0x1_0000_0000 + low, size, isStore);
  }

  /** An access of any size by the current thread. */
  range(site: number, tick: number, address: number, size: number, isStore: boolean): void {
    const end = address + size;
    for (let at = address - (address % 8); at < end; at += 8) {
      const first = Math.max(address - at, 0);
      const last = Math.min(end - at, 8);
      const mask = ((1 << (last - first)) - 1) << first;
      const granule = this.granule(at);
      if (isStore) this.store(granule, mask, site, tick, at);
      else this.load(granule, mask, site, tick, at);
    }
  }

  /** A store of the current thread to those bytes of a range that were accessed before. */
  storeToKnown(site: number, tick: number, address: number, size: number): void {
    this.visit(address, size, (granule, mask, at) => {
      if (this.heads[granule]! > 0) this.store(granule, mask, site, tick, at);
    });
  }

  /** Forgets the accesses to a range: it is a new object. */
  forget(address: number, size: number): void {
    this.visit(address, size, (granule, mask) => {
      const head = this.heads[granule]!;
      if (head > 0) this.heads[granule] = this.without(head, mask);
      else if (head < 0) this.marked[-head]!.head = this.without(this.marked[-head]!.head, mask);
    });
  }

  /** Forgets all accesses. Synchronisation variables stay. */
  forgetAll(): void {
    const { heads, marked } = this;
    for (let i = 0; i < this.pageCount * GRANULES; i++) if (heads[i]! > 0) heads[i] = 0;
    for (const entry of marked) entry.head = 0;
    this.recordCount = 1;
    this.free = 0;
  }

  /** Bytes become those of a synchronisation variable. */
  mark(address: number, size: number): void {
    const end = address + size;
    for (let at = address - (address % 8); at < end; at += 8) {
      const first = Math.max(address - at, 0);
      const mask = ((1 << (Math.min(end - at, 8) - first)) - 1) << first;
      const granule = this.granule(at);
      const head = this.heads[granule]!;
      const entry = head < 0 ? this.marked[-head]! : { address: at, mask: 0, head };
      if (head >= 0) this.heads[granule] = -(this.marked.push(entry) - 1);
      entry.mask |= mask;
      entry.head = this.without(entry.head, mask);
    }
  }

  /** The synchronisation variables of a range are no more. */
  unmark(address: number, size: number, dropped: (marked: Marked, mask: number) => void): void {
    this.visit(address, size, (granule, mask) => {
      const head = this.heads[granule]!;
      if (head >= 0) return;
      const entry = this.marked[-head]!;
      if (entry.mask & mask) dropped(entry, entry.mask & mask);
      entry.mask &= ~mask;
    });
  }

  /** An access that only matters as far as it is to synchronisation variables. */
  synchronise(address: number, size: number, isStore: boolean): void {
    this.visit(address, size, (granule, mask) => {
      const head = this.heads[granule]!;
      if (head >= 0) return;
      const entry = this.marked[-head]!;
      if (mask & entry.mask) this.hooks.synchronised(entry, mask & entry.mask, isStore);
    });
  }

  // ---- One granule ----

  private load(granule: number, mask: number, site: number, tick: number, address: number): void {
    const head = this.heads[granule]!;
    if (head < 0) return this.special(-head, mask, site, tick, address, false);
    if (
      head > 0 &&
      this.times[head] === this.time &&
      this.slots[head] === this.slot &&
      (this.masks[head]! & mask) === mask
    )
      return;
    this.heads[granule] = this.loaded(head, mask, site, tick, address);
  }

  private store(granule: number, mask: number, site: number, tick: number, address: number): void {
    const head = this.heads[granule]!;
    if (head < 0) return this.special(-head, mask, site, tick, address, true);
    const wanted = mask | STORE;
    if (
      head > 0 &&
      this.times[head] === this.time &&
      this.slots[head] === this.slot &&
      (this.masks[head]! & wanted) === wanted
    )
      return;
    this.heads[granule] = this.stored(head, mask, site, tick, address);
  }

  private special(
    index: number,
    mask: number,
    site: number,
    tick: number,
    address: number,
    isStore: boolean,
  ): void {
    const entry = this.marked[index]!;
    const plain = mask & ~entry.mask;
    if (plain) {
      entry.head = isStore
        ? this.stored(entry.head, plain, site, tick, address)
        : this.loaded(entry.head, plain, site, tick, address);
    }
    if (mask & entry.mask) this.hooks.synchronised(entry, mask & entry.mask, isStore);
  }

  /** Judges a load and takes it into a list of records; returns the new head. */
  private loaded(head: number, mask: number, site: number, tick: number, address: number): number {
    const { masks, slots, times, sites, next, seen, slot, time } = this;
    let own = 0;
    let covered = 0;
    let before = 0;
    for (let record = head; record !== 0;) {
      const after = next[record]!;
      const its = masks[record]!;
      const isOwn = slots[record] === slot;
      if (isOwn && times[record] === time) {
        if (its & STORE) covered |= its;
        else if (sites[record] === site) own = record;
        else covered |= its;
      } else if (its & mask) {
        const isOrdered = isOwn || times[record]! <= seen[slots[record]!]!;
        if (its & STORE) {
          if (!isOrdered) this.race(record, mask, address);
        } else if (isOrdered) {
          const rest = its & ~mask;
          if (rest === 0) {
            if (before === 0) head = after;
            else next[before] = after;
            this.release(record);
            record = after;
            continue;
          }
          masks[record] = rest;
        }
      }
      before = record;
      record = after;
    }
    const wanted = mask & ~covered;
    if (wanted === 0) return head;
    if (own) {
      masks[own]! |= wanted;
      return head;
    }
    return this.add(wanted, site, tick, head);
  }

  /** The same for a store. */
  private stored(head: number, mask: number, site: number, tick: number, address: number): number {
    const { masks, slots, times, sites, next, seen, slot, time } = this;
    let own = 0;
    let before = 0;
    for (let record = head; record !== 0;) {
      const after = next[record]!;
      const its = masks[record]!;
      if (slots[record] === slot) {
        if (times[record] === time && its & STORE && sites[record] === site) own = record;
      } else if (its & mask && times[record]! > seen[slots[record]!]!) {
        this.race(record, mask, address);
      }
      const rest = its & ~mask;
      if ((rest & BYTES) === 0 && record !== own) {
        if (before === 0) head = after;
        else next[before] = after;
        this.release(record);
      } else {
        masks[record] = rest;
        before = record;
      }
      record = after;
    }
    if (own) {
      masks[own]! |= mask;
      return head;
    }
    return this.add(mask | STORE, site, tick, head);
  }

  private race(record: number, mask: number, address: number): void {
    const both = this.masks[record]! & mask & BYTES;
    const first = 31 - Math.clz32(both & -both);
    this.hooks.race(
      {
        slot: this.slots[record]!,
        time: this.times[record]!,
        site: this.sites[record]!,
        tick: this.ticks[record]!,
        isStore: (this.masks[record]! & STORE) !== 0,
      },
      address + first,
    );
  }

  // ---- Records ----

  private add(mask: number, site: number, tick: number, after: number): number {
    let record = this.free;
    if (record !== 0) this.free = this.next[record]!;
    else {
      record = this.recordCount++;
      if (record === this.masks.length) this.grow();
    }
    this.masks[record] = mask;
    this.slots[record] = this.slot;
    this.times[record] = this.time;
    this.sites[record] = site;
    this.ticks[record] = tick;
    this.next[record] = after;
    return record;
  }

  private release(record: number): void {
    this.next[record] = this.free;
    this.free = record;
  }

  private grow(): void {
    const length = 2 * this.masks.length;
    this.masks = larger(this.masks, length);
    this.slots = larger(this.slots, length);
    this.times = larger(this.times, length);
    this.sites = larger(this.sites, length);
    this.ticks = larger(this.ticks, length);
    this.next = larger(this.next, length);
  }

  /** A list of records without what they say of some bytes. */
  private without(head: number, mask: number): number {
    const { masks, next } = this;
    let before = 0;
    for (let record = head; record !== 0;) {
      const after = next[record]!;
      const rest = masks[record]! & ~mask;
      if ((rest & BYTES) === 0) {
        if (before === 0) head = after;
        else next[before] = after;
        this.release(record);
      } else {
        masks[record] = rest;
        before = record;
      }
      record = after;
    }
    return head;
  }

  // ---- Places ----

  private granule(address: number): number {
    const key = Math.floor(address / (1 << PAGE_BITS));
    return this.page(key) + (((address % (1 << PAGE_BITS)) >> 3) & (GRANULES - 1));
  }

  /** Number of the first granule of a page, which is made if it is new. */
  private page(key: number): number {
    const cached = key & (CACHED - 1);
    if (this.cachedKeys[cached] === key) return this.cachedPages[cached]!;
    let page = this.pages.get(key);
    if (page === undefined) {
      page = this.pageCount++ * GRANULES;
      if (page + GRANULES > this.heads.length) this.heads = larger(this.heads, 2 * page);
      this.pages.set(key, page);
    }
    this.cachedKeys[cached] = key;
    this.cachedPages[cached] = page;
    return page;
  }

  /** Visits the granules of a range on pages that are known. */
  private visit(
    address: number,
    size: number,
    visit: (granule: number, mask: number, address: number) => void,
  ): void {
    const end = address + size;
    const pageSize = 1 << PAGE_BITS;
    const first = Math.floor(address / pageSize);
    const last = Math.floor((end - 1) / pageSize);
    const each = (key: number, page: number): void => {
      const from = Math.max(address, key * pageSize);
      const to = Math.min(end, (key + 1) * pageSize);
      for (let at = from - (from % 8); at < to; at += 8) {
        const low = Math.max(from - at, 0);
        const mask = ((1 << (Math.min(to - at, 8) - low)) - 1) << low;
        visit(page + ((at % pageSize) >> 3), mask, at);
      }
    };
    if (last - first < this.pages.size) {
      for (let key = first; key <= last; key++) {
        const page = this.pages.get(key);
        if (page !== undefined) each(key, page);
      }
    } else for (const [key, page] of this.pages) if (key >= first && key <= last) each(key, page);
  }
}

function larger<T extends Uint16Array | Uint32Array | Int32Array | Float64Array>(
  array: T,
  length: number,
): T {
  const copy = new (array.constructor as new (length: number) => T)(length);
  copy.set(array as never);
  return copy;
}
