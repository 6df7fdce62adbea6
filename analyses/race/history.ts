/**
 * Who accessed each byte last, as far as it matters for races: of each byte the last write, and the reads
 * since then that are concurrent with one another. Epochs (clocks.ts) say which accesses are ordered.
 *
 * Memory is found by page; each 8 bytes have a list of records, and a record says for which of them it
 * holds, so that bytes are told apart only where they were accessed differently. A record's place is
 * used again when no byte is left to it: memory is bounded by what the program touched.
 */
import type { Guest } from '../../replay/guest.js';
import type { NativeHistory } from '../../replay/native.js';
import type { SiteTable } from '../../replay/types.js';
import type { ThreadClock } from './clocks.js';

/** Memory is found in pages of this size. */
const PAGE_BITS = 12;
const GRANULES = 1 << (PAGE_BITS - 3);
/** Pages found last, by the low bits of their number. */
const CACHED = 1 << 12;
/** In the first word of a record, after a bit for each of 8 bytes. */
const STORE = 0x100;
const BYTES = 0xff;

/**
 * Words of a record, which lies in one line of a cache: bytes and `STORE`, and above them the thread's slot; its
 * time; the site; the next record; the tick, as a 64-bit float.
 */
const TIME = 1;
const SITE = 2;
const NEXT = 3;
const TICK = 4;
const RECORD_BITS = 3;
const SLOT_SHIFT = 16;

/** Words of `state`. */
const SLOT = 0;
const NOW = 1;
const FREE = 2;
const END = 3;

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

/** The tables that the module knows, to see which were replaced since. */
interface NativeTables {
  readonly history: NativeHistory;
  heads?: Int32Array;
  records?: Int32Array;
  kinds?: Uint8Array;
  sizes?: Uint16Array;
}

export class AccessHistory {
  private readonly pages = new Map<number, number>();
  private readonly cachedKeys = new Float64Array(CACHED).fill(-1);
  private readonly cachedPages = new Int32Array(CACHED);
  /** Of each 8 bytes the first record, 0 for none, or the negated number of an entry of `marked`. */
  private heads = new Int32Array(64 * GRANULES);
  private pageCount = 0;
  private readonly marked: Marked[] = [{ address: 0, mask: 0, head: 0 }];

  /** Records are named by where their words begin; there is none at 0. */
  private records = new Int32Array(1024 << RECORD_BITS);
  private ticks = new Float64Array(this.records.buffer);

  /** In an array that `replay/native/history.h` sees, too: the current thread's slot and epoch; free records. */
  private readonly state = Int32Array.of(0, 0, 0, 1 << RECORD_BITS);
  /** What the current thread has seen. */
  private seen: Uint32Array = new Uint32Array(1);
  private native: NativeTables | undefined;

  constructor(private readonly hooks: HistoryHooks) {}

  /** The accesses that follow are made by this thread, in the epoch that it is in. */
  enter({ slot, time, clock }: ThreadClock): void {
    this.state[SLOT] = slot;
    this.state[NOW] = time;
    this.seen = clock.times;
  }

  /**
   * Takes rows of the current thread's accesses from number `from` on, as far as the module for Node can: plain
   * ones within 8 bytes that race with nothing.
   * @param kinds - of sites: 1 for those whose accesses are plain
   * @returns the number of the first row that is left, or `count`
   */
  take(
    { native }: Guest,
    { sizes, stores }: SiteTable,
    kinds: Uint8Array,
    from: number,
    count: number,
  ): number {
    if (!native) return from;
    const { engine, replay } = native;
    const tables = (this.native ??= { history: engine.makeHistory() });
    const { history } = tables;
    if (tables.heads !== this.heads || tables.records !== this.records) {
      const { state, cachedKeys, cachedPages, heads, records } = this;
      engine.bindRecords(history, state, cachedKeys, cachedPages, heads, records);
      Object.assign(tables, { heads, records });
    }
    if (tables.kinds !== kinds || tables.sizes !== sizes) {
      engine.bindSites(history, kinds, sizes, stores);
      Object.assign(tables, { kinds, sizes });
    }
    return engine.takeAccesses(history, replay, this.seen, from, count);
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
    this.state[END] = 1 << RECORD_BITS;
    this.state[FREE] = 0;
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
    if (head > 0 && this.isKnown(head, mask, site, tick)) return;
    this.heads[granule] = this.loaded(head, mask, site, tick, address);
  }

  private store(granule: number, mask: number, site: number, tick: number, address: number): void {
    const head = this.heads[granule]!;
    if (head < 0) return this.special(-head, mask, site, tick, address, true);
    if (head > 0 && this.isKnown(head, mask | STORE, site, tick)) return;
    this.heads[granule] = this.stored(head, mask, site, tick, address);
  }

  /**
   * Whether the first record of a list holds an access of the current epoch, if need be by taking it there: when it is
   * the only one, of the current thread, and of just these bytes.
   */
  private isKnown(head: number, what: number, site: number, tick: number): boolean {
    const { records } = this;
    const its = records[head]!;
    if (its >>> SLOT_SHIFT !== this.state[SLOT]) return false;
    if (records[head + TIME] === this.state[NOW]) return (its & what) === what;
    if ((its & 0xffff) !== what || records[head + NEXT] !== 0) return false;
    records[head + TIME] = this.state[NOW]!;
    records[head + SITE] = site;
    this.ticks[(head + TICK) >> 1] = tick;
    return true;
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
    const { records, seen } = this;
    const [slot, time] = [this.state[SLOT]!, this.state[NOW]!];
    let own = 0;
    let covered = 0;
    let before = 0;
    for (let record = head; record !== 0;) {
      const after = records[record + NEXT]!;
      const its = records[record]!;
      const itsSlot = its >>> SLOT_SHIFT;
      const itsTime = records[record + TIME]!;
      if (itsSlot === slot && itsTime === time) {
        if (its & STORE) covered |= its;
        else if (records[record + SITE] === site) own = record;
        else covered |= its;
      } else if (its & mask) {
        const isOrdered = itsSlot === slot || itsTime <= seen[itsSlot]!;
        if (its & STORE) {
          if (!isOrdered) this.race(record, mask, address);
        } else if (isOrdered) {
          const rest = its & ~mask;
          if ((rest & BYTES) === 0) {
            if (before === 0) head = after;
            else records[before + NEXT] = after;
            this.release(record);
            record = after;
            continue;
          }
          records[record] = rest;
        }
      }
      before = record;
      record = after;
    }
    const wanted = mask & ~covered;
    if (wanted === 0) return head;
    if (own) {
      records[own]! |= wanted;
      return head;
    }
    return this.add(wanted, site, tick, head);
  }

  /** The same for a store. */
  private stored(head: number, mask: number, site: number, tick: number, address: number): number {
    const { records, seen } = this;
    const [slot, time] = [this.state[SLOT]!, this.state[NOW]!];
    let own = 0;
    let before = 0;
    for (let record = head; record !== 0;) {
      const after = records[record + NEXT]!;
      const its = records[record]!;
      const itsSlot = its >>> SLOT_SHIFT;
      const itsTime = records[record + TIME]!;
      if (itsSlot === slot) {
        if (itsTime === time && its & STORE && records[record + SITE] === site) own = record;
      } else if (its & mask && itsTime > seen[itsSlot]!) {
        this.race(record, mask, address);
      }
      const rest = its & ~mask;
      if ((rest & BYTES) === 0 && record !== own) {
        if (before === 0) head = after;
        else records[before + NEXT] = after;
        this.release(record);
      } else {
        records[record] = rest;
        before = record;
      }
      record = after;
    }
    if (own) {
      records[own]! |= mask;
      return head;
    }
    return this.add(mask | STORE, site, tick, head);
  }

  private race(record: number, mask: number, address: number): void {
    const { records } = this;
    const its = records[record]!;
    const both = its & mask & BYTES;
    const first = 31 - Math.clz32(both & -both);
    this.hooks.race(
      {
        slot: its >>> SLOT_SHIFT,
        time: records[record + TIME]!,
        site: records[record + SITE]!,
        tick: this.ticks[(record + TICK) >> 1]!,
        isStore: (its & STORE) !== 0,
      },
      address + first,
    );
  }

  // ---- Records ----

  private add(mask: number, site: number, tick: number, after: number): number {
    const { state } = this;
    let record = state[FREE]!;
    if (record !== 0) state[FREE] = this.records[record + NEXT]!;
    else {
      record = state[END]!;
      state[END]! += 1 << RECORD_BITS;
      if (state[END]! > this.records.length) {
        this.records = larger(this.records, 2 * this.records.length);
        this.ticks = new Float64Array(this.records.buffer);
      }
    }
    const { records } = this;
    records[record] = mask | (state[SLOT]! << SLOT_SHIFT);
    records[record + TIME] = state[NOW]!;
    records[record + SITE] = site;
    records[record + NEXT] = after;
    this.ticks[(record + TICK) >> 1] = tick;
    return record;
  }

  private release(record: number): void {
    this.records[record + NEXT] = this.state[FREE]!;
    this.state[FREE] = record;
  }

  /** A list of records without what they say of some bytes. */
  private without(head: number, mask: number): number {
    const { records } = this;
    let before = 0;
    for (let record = head; record !== 0;) {
      const after = records[record + NEXT]!;
      const rest = records[record]! & ~mask;
      if ((rest & BYTES) === 0) {
        if (before === 0) head = after;
        else records[before + NEXT] = after;
        this.release(record);
      } else {
        records[record] = rest;
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

function larger(array: Int32Array<ArrayBuffer>, length: number): Int32Array<ArrayBuffer> {
  const copy = new Int32Array(length);
  copy.set(array);
  return copy;
}
