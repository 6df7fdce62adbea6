/**
 * Who accessed each byte last, as far as it matters for races: of each byte the last write, and the reads
 * since then that are concurrent with one another. Epochs (clocks.ts) say which accesses are ordered.
 *
 * Memory is found by page; each 8 bytes have a list of records, and a record says for which of them it
 * holds, so that bytes are told apart only where they were accessed differently. A record's place is
 * used again when no byte is left to it: memory is bounded by what the program touched.
 *
 * For prediction (predict.ts) a few accesses that later ones replaced are remembered besides, and accesses
 * are told of that conflict with earlier ones and are ordered after them.
 */
import { lengthened } from '../../replay/grown.js';
import type { AccessRows, Guest } from '../../replay/guest.js';
import { MAX_PAGES, MAX_ROWS, PAGE_SIZE } from '../../replay/layout.js';
import type { NativeEngine, NativeHistory } from '../../replay/native.js';
import type { SiteTable } from '../../replay/types.js';
import { UserError } from '../../schemas/errors.js';
import type { ThreadClock, VectorClock } from './clocks.js';
import { OperationTable } from './operation-table.js';
import { KNOWLEDGE, NEEDS, REQUIRED, SINCE, STORED, type Requirements } from './predict.js';

/** Memory is found in pages of this size. */
const PAGE_BITS = 12;
const GRANULES = 1 << (PAGE_BITS - 3);
/** Pages found last, by the low bits of their number. */
const CACHED = 1 << 15;
/**
 * In the first word of a record, which is 0 of those that are free, after a bit for each of 8 bytes. Above: where the first access of the record began,
 * and its size less 1; others have been added to it, of other bytes and at later ticks.
 */
const STORE = 0x100;
const BYTES = 0xff;
const FIRST_SHIFT = 9;
/** Replaced accesses that are remembered of 8 bytes. */
export const MOST_REPLACED = 4;

/**
 * Words of a record, which lies in one line of a cache: the first, and above it the thread's slot; its time; the site;
 * the next record; the tick, as a 64-bit float; bits for the slots, up to 32, of which an access was told to prediction
 * together with this one; of one that was replaced, what it and those after it in the list are.
 */
const TIME = 1;
const SITE = 2;
const NEXT = 3;
const TICK = 4;
const JUDGED = 6;
const LISTED = 7;
const RECORD_BITS = 3;
/** In `LISTED`: bits for the slots of all, above them for those of stores, then for the bytes of stores. */
const LISTED_SLOTS = 12;
const SLOTS = (1 << LISTED_SLOTS) - 1;
const STORES_SHIFT = LISTED_SLOTS;
const BYTES_SHIFT = 2 * LISTED_SLOTS;
const SLOT_SHIFT = 16;

/** Words of `state`. */
const SLOT = 0;
const NOW = 1;
const FREE = 2;
const END = 3;
const DROPPED = 4;
const NUMBER = 5;
const CLOCK_VERSION = 6;
const ADVANCED = 7;
const ENDED = 8;
const SECTIONS = 9;
const PASSED = 10;
const STATE_WORDS = 11;

/** Ends of epochs that the module notes before it is asked for them. */
const MOST_ENDS = 4096;
/** Critical sections that the module goes over before it is asked. */
const MOST_SECTIONS = 64;

/** Threads that take what is set aside (`replay/native/takers.h`), at most. */
export const MOST_TAKERS = 4;

const NOT_PREDICTED: Requirements = { needs: new Float64Array(0), reads: new Uint32Array(0) };

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
  /**
   * Operations on synchronisation variables that the module has done have begun epochs of the current thread.
   * @param ends - ticks at which those ended in which it had stored
   */
  advanced(epochs: number, ends: Float64Array): void;
}

/** What prediction is told of. */
export interface PredictionHooks {
  /**
   * The current access conflicts with an earlier one that happened before it. Of each thread's accesses, the
   * first one after the earlier one is told of: what orders that one orders those after it.
   */
  ordered(earlier: Access, address: number): void;
  /** The current access reads what another thread wrote, at the tick or later in that epoch, which is not known to be required. */
  readFrom(slot: number, time: number, tick: number): void;
  /** What is known of the thread of a slot. */
  known(slot: number): Requirements;
}

/** The tables that the module knows, to see which were replaced since; they live as long as threads of the module may read them. */
interface NativeTables {
  readonly history: NativeHistory;
  firsts?: Int32Array;
  rows?: Float64Array;
  heads?: Int32Array;
  replaced?: Int32Array;
  records?: Int32Array;
  kinds?: Uint8Array;
  sizes?: Uint16Array;
  stores?: Uint8Array;
  seen?: Uint32Array;
  needs?: Float64Array;
  reads?: Uint32Array;
}

/** Rows of one thread that other threads of the module take. */
interface Aside {
  readonly engine: NativeEngine;
  readonly history: NativeHistory;
  readonly rows: AccessRows & { count: number };
}

export class AccessHistory {
  private readonly pages = new Map<number, number>();
  private readonly cachedKeys = new Float64Array(CACHED).fill(-1);
  private readonly cachedPages = new Int32Array(CACHED);
  /** Of each 8 bytes the first record, 0 for none, or the negated number of an entry of `marked`. */
  private heads = new Int32Array(64 * GRANULES);
  private pageCount = 0;
  private readonly marked: Marked[] = [{ address: 0, mask: 0, head: 0 }];

  /**
   * Records are named by where their words begin; there is none at 0. WebAssembly's memory is aligned to pages, so that a record
   * lies in one line of the cache, and grows without a copy.
   */
  private readonly recordMemory = new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES });
  private records = new Int32Array(this.recordMemory.buffer);
  private ticks = new Float64Array(this.recordMemory.buffer);

  /**
   * In an array that `replay/native/history.h` sees, too: the current thread's slot and epoch; free records; bits for the
   * kinds of sites whose accesses the module drops; the thread's number and the version of its clock; how many epochs the module
   * has begun, and ended with stores, since it was asked; how many places there are in `sections`, and how many of
   * them it has passed.
   */
  private readonly state = new Int32Array(STATE_WORDS);
  private readonly ends = new Float64Array(MOST_ENDS);
  /**
   * Critical sections that the current thread comes to and that nothing depends on but its own time: of each the ticks where
   * taking the lock begins and ends, and letting it go.
   */
  readonly sections = new Float64Array(4 * MOST_SECTIONS);
  readonly operations = new OperationTable();
  private clock: VectorClock | undefined;
  /** What the current thread has seen. */
  private seen: Uint32Array = new Uint32Array(1);
  private known: Requirements = NOT_PREDICTED;
  private native: NativeTables | undefined;
  /** Where rows are set aside; undefined where nobody would take them. */
  private aside: Aside | undefined;

  /** Of each 8 bytes the first record of those that were replaced. */
  private replaced: Int32Array<ArrayBuffer>;

  constructor(
    private readonly hooks: HistoryHooks,
    private readonly prediction?: PredictionHooks,
    private takers = 0,
  ) {
    this.replaced = new Int32Array(prediction ? this.heads.length : 1);
    this.state[END] = 1 << RECORD_BITS;
  }

  /** The accesses that follow are made by this thread, in the epoch that it is in. */
  enter({ number, slot, time, clock }: ThreadClock): void {
    this.state[SLOT] = slot;
    this.state[NOW] = time;
    this.state[NUMBER] = number;
    this.clock = clock;
    this.seen = clock.times;
    if (this.prediction) this.known = this.prediction.known(slot);
  }

  /** How many of the ticks in `sections` hold, of which none is passed yet. */
  setSections(count: number): void {
    this.state[SECTIONS] = count;
    this.state[PASSED] = 0;
  }

  get sectionCount(): number {
    return this.state[SECTIONS]!;
  }

  /** So many of them are passed: by the module, whose epochs are ahead of the thread's then, or by who sets it. */
  get passed(): number {
    return this.state[PASSED]!;
  }
  set passed(count: number) {
    this.state[PASSED] = count;
  }

  /** Another number whenever the current thread gets to know something of others. */
  get version(): number {
    return this.clock!.version + (this.known.needs[KNOWLEDGE] ?? 0);
  }

  /**
   * Takes rows of the current thread's accesses from number `from` on, as far as the module for Node can: plain
   * ones that race with nothing, and of which prediction need not be told, and operations on synchronisation variables that
   * repeat others.
   * @param rows - those that the guest delivered, or that were set aside
   * @param kinds - of sites (site-kinds.ts)
   * @param dropped - bits for those whose accesses are of no interest
   * @returns the number of the first row that is left, or `count`
   */
  take(
    { native }: Guest,
    rows: AccessRows,
    sites: SiteTable,
    kinds: Uint8Array,
    dropped: number,
    from: number,
    count: number,
  ): number {
    if (!native) return from;
    const { engine, replay } = native;
    const { history } = this.bind(engine, sites, kinds, dropped);
    const isAside = rows === this.aside?.rows;
    const taken = engine.takeAccesses(history, isAside ? undefined : replay, from, count);
    this.tellAdvances();
    return taken;
  }

  /**
   * Sets rows that the guest delivered aside, for the threads that this history has beside the caller's: they take them as `take`
   * does, each those in memory of its own. Until `endTaking` nothing else may be asked of this history.
   * @returns whether they do; not if there are rows that are not plain
   */
  setAside(
    { native }: Guest,
    sites: SiteTable,
    kinds: Uint8Array,
    dropped: number,
    from: number,
    count: number,
  ): boolean {
    if (!native || this.takers === 0) return false;
    const { engine, replay } = native;
    const { history } = this.bind(engine, sites, kinds, dropped);
    this.aside ??= this.makeAside(engine, history);
    if (!this.aside || !engine.setAside(history, replay, from, count)) return false;
    this.aside.rows.count = count - from;
    return true;
  }

  /** Waits until what was set aside is taken; the rows, and the number of the first that is left, or their count. */
  endTaking(): { readonly rows: AccessRows; readonly taken: number } {
    const { engine, history, rows } = this.aside!;
    const taken = engine.endTaking(history);
    this.tellAdvances();
    return { rows, taken };
  }

  private makeAside(engine: NativeEngine, history: NativeHistory): Aside | undefined {
    const [sites, ticks, addresses] = [1, 2, 2].map((words) => new Uint32Array(words * MAX_ROWS));
    const rows = { count: 0, sites: sites!, ticks: ticks!, addresses: addresses! };
    if (engine.bindBatch(history, rows.ticks, rows.sites, rows.addresses, this.takers))
      return { engine, history, rows };
    this.takers = 0;
    return undefined;
  }

  /** Has the module know the tables as they are now. */
  private bind(
    engine: NativeEngine,
    { sizes, stores }: SiteTable,
    kinds: Uint8Array,
    dropped: number,
  ): NativeTables {
    const tables = (this.native ??= { history: engine.makeHistory() });
    const { history } = tables;
    const { state, cachedKeys, cachedPages, heads, records, replaced } = this;
    if (tables.heads !== heads || tables.records !== records || tables.replaced !== replaced) {
      engine.bindPages(history, state, cachedKeys, cachedPages);
      engine.bindRecords(history, heads, records, replaced);
      Object.assign(tables, { heads, records, replaced });
    }
    if (tables.kinds !== kinds || tables.sizes !== sizes) {
      engine.bindSites(history, kinds, sizes, stores);
      Object.assign(tables, { kinds, sizes, stores });
    }
    const { firsts, rows } = this.operations;
    if (tables.firsts !== firsts || tables.rows !== rows) {
      engine.bindOperations(history, firsts, rows, this.ends, this.sections);
      Object.assign(tables, { firsts, rows });
    }
    state[DROPPED] = dropped;
    state[CLOCK_VERSION] = this.clock!.version;
    const { seen } = this;
    const { needs, reads } = this.known;
    if (tables.seen !== seen || tables.needs !== needs || tables.reads !== reads) {
      engine.bindThread(history, seen, needs, reads);
      Object.assign(tables, { seen, needs, reads });
    }
    return tables;
  }

  private tellAdvances(): void {
    const { state } = this;
    if (state[ADVANCED] === 0 && state[ENDED] === 0) return;
    this.hooks.advanced(state[ADVANCED]!, this.ends.subarray(0, state[ENDED]));
    state[ADVANCED] = state[ENDED] = 0;
  }

  /** The rows of `operations` for the variables in 8 marked bytes. */
  link(address: number, rows: readonly number[]): void {
    const head = this.heads[this.granule(address)]!;
    if (head < 0) this.operations.link(-head, rows);
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
      if (this.prediction) this.forgetReplaced(granule, mask);
      if (head > 0) this.heads[granule] = this.without(head, mask);
      else if (head < 0) this.marked[-head]!.head = this.without(this.marked[-head]!.head, mask);
    });
  }

  /** Forgets all accesses. Synchronisation variables stay. */
  forgetAll(): void {
    const { heads, marked } = this;
    for (let i = 0; i < this.pageCount * GRANULES; i++) if (heads[i]! > 0) heads[i] = 0;
    for (const entry of marked) entry.head = 0;
    this.replaced.fill(0);
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
      if (this.prediction) this.forgetReplaced(granule, BYTES);
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

  /** How many accesses can be remembered without more memory. */
  get size(): number {
    return this.state[END]! >> RECORD_BITS;
  }

  /** Calls back with all accesses that are remembered. */
  eachAccess(visit: (slot: number, tick: number, isStore: boolean) => void): void {
    const { records, ticks } = this;
    for (let at = 1 << RECORD_BITS; at < this.state[END]!; at += 1 << RECORD_BITS) {
      const its = records[at]!;
      if (its !== 0) visit(its >>> SLOT_SHIFT, ticks[(at + TICK) >> 1]!, (its & STORE) !== 0);
    }
  }

  // ---- One granule ----

  private load(granule: number, mask: number, site: number, tick: number, address: number): void {
    const head = this.heads[granule]!;
    if (head < 0) return this.special(-head, mask, site, tick, address, false);
    if (head > 0 && this.isKnown(head, mask)) return;
    this.heads[granule] = this.loaded(head, mask, site, tick, address, granule);
  }

  private store(granule: number, mask: number, site: number, tick: number, address: number): void {
    const head = this.heads[granule]!;
    if (head < 0) return this.special(-head, mask, site, tick, address, true);
    if (head > 0 && this.isKnown(head, mask | STORE)) return;
    this.heads[granule] = this.stored(head, mask, site, tick, address, granule);
  }

  /** Whether the first record of a list holds an access of the current epoch. */
  private isKnown(head: number, what: number): boolean {
    const { records, state } = this;
    const its = records[head]!;
    return (
      records[head + TIME] === state[NOW] &&
      its >>> SLOT_SHIFT === state[SLOT] &&
      (its & what) === what
    );
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
        ? this.stored(entry.head, plain, site, tick, address, -1)
        : this.loaded(entry.head, plain, site, tick, address, -1);
    }
    if (mask & entry.mask) this.hooks.synchronised(entry, mask & entry.mask, isStore);
  }

  /** Judges a load and takes it into a list of records; returns the new head. */
  private loaded(
    head: number,
    mask: number,
    site: number,
    tick: number,
    address: number,
    granule: number,
  ): number {
    const { records, seen, prediction } = this;
    if (prediction && this.replaced[granule])
      this.judgeReplaced(granule, mask, false, tick, address);
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
        const isOwn = itsSlot === slot;
        const isOrdered = isOwn || itsTime <= seen[itsSlot]!;
        if (its & STORE) {
          if (!isOrdered) this.race(record, mask, address);
          if (prediction && !isOwn) {
            if (isOrdered) this.judge(record, mask, tick, address);
            if (!(this.known.reads[itsSlot]! >= itsTime))
              prediction.readFrom(itsSlot, itsTime, this.ticks[(record + TICK) >> 1]!);
          }
        } else if (isOrdered) {
          const rest = its & ~mask;
          if ((rest & BYTES) === 0) {
            if (before === 0) head = after;
            else records[before + NEXT] = after;
            this.replace(record, granule);
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
  private stored(
    head: number,
    mask: number,
    site: number,
    tick: number,
    address: number,
    granule: number,
  ): number {
    const { records, seen, prediction } = this;
    if (prediction && this.replaced[granule])
      this.judgeReplaced(granule, mask, true, tick, address);
    if (prediction) this.known.needs[STORED] = 1;
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
      } else if (its & mask) {
        if (!(itsTime <= seen[itsSlot]!)) this.race(record, mask, address);
        else if (prediction) this.judge(record, mask, tick, address);
      }
      const rest = its & ~mask;
      if ((rest & BYTES) === 0 && record !== own) {
        if (before === 0) head = after;
        else records[before + NEXT] = after;
        this.replace(record, granule);
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
    const both = this.records[record]! & mask & BYTES;
    this.hooks.race(this.toAccess(record), address + lowestBit(both));
  }

  private toAccess(record: number): Access {
    const { records } = this;
    return {
      slot: records[record]! >>> SLOT_SHIFT,
      time: records[record + TIME]!,
      site: records[record + SITE]!,
      tick: this.ticks[(record + TICK) >> 1]!,
      isStore: (records[record]! & STORE) !== 0,
    };
  }

  // ---- Prediction ----

  /**
   * Tells of the current access and one that happened before it, if bytes of the record's first access are common and they
   * are not known to be ordered in all schedules.
   */
  private judge(record: number, mask: number, tick: number, address: number): void {
    const { records } = this;
    const slot = this.state[SLOT]!;
    const both = records[record]! & mask & this.firstMask(record);
    const bit = slot < 32 ? 1 << slot : 0;
    if (both === 0 || records[record + JUDGED]! & bit) return;
    records[record + JUDGED]! |= bit;
    const { needs } = this.known;
    const isKnown = tick >= needs[REQUIRED]!;
    if (
      isKnown &&
      needs[NEEDS + (records[record]! >>> SLOT_SHIFT)]! > this.ticks[(record + TICK) >> 1]!
    )
      return;
    this.prediction!.ordered(this.toAccess(record), address + lowestBit(both));
  }

  private judgeReplaced(
    granule: number,
    mask: number,
    isStore: boolean,
    tick: number,
    address: number,
  ): void {
    const { records, seen } = this;
    const current = this.state[SLOT]!;
    const head = this.replaced[granule]!;
    const listed = records[head + LISTED]!;
    const others = ~slotBit(current);
    if (((isStore ? listed : listed >> STORES_SHIFT) & others & SLOTS) === 0) return;
    if (!isStore && ((listed >>> BYTES_SHIFT) & mask) === 0) return;
    for (let record = head; record !== 0; record = records[record + NEXT]!) {
      const its = records[record]!;
      const slot = its >>> SLOT_SHIFT;
      const conflicts = slot !== current && (isStore || its & STORE);
      if (conflicts && records[record + TIME]! <= seen[slot]!)
        this.judge(record, mask, tick, address);
    }
  }

  private firstMask(record: number): number {
    const first = (this.records[record]! >> FIRST_SHIFT) & 0x3f;
    return ((2 << (first >> 3)) - 1) << (first & 7);
  }

  /** A record has no byte any more: remembers it if none of this place and thread is remembered. */
  private replace(record: number, granule: number): void {
    if (!this.prediction || granule < 0) return this.release(record);
    const { records, replaced, state } = this;
    const its = records[record]!;
    const slot = its >>> SLOT_SHIFT;
    const isOwn = slot === state[SLOT] && records[record + TIME] === state[NOW];
    // What can be concurrent with it can be with what replaces it, too.
    if (isOwn && this.ticks[(record + TICK) >> 1]! >= this.known.needs[SINCE]!)
      return this.release(record);
    let count = 0;
    for (let other = replaced[granule]!; other !== 0; other = records[other + NEXT]!) {
      const differing = (records[other]! ^ its) >>> 0;
      if (differing <= BYTES && records[other + SITE] === records[record + SITE])
        return this.release(record);
      count++;
    }
    if (count >= MOST_REPLACED) return this.release(record);
    const head = replaced[granule]!;
    const slots = slotBit(slot) || SLOTS;
    const bytes = its & this.firstMask(record) & BYTES;
    const own = its & STORE ? slots | (slots << STORES_SHIFT) | (bytes << BYTES_SHIFT) : slots;
    records[record + LISTED] = own | (head && records[head + LISTED]!);
    records[record + NEXT] = head;
    replaced[granule] = record;
  }

  private forgetReplaced(granule: number, mask: number): void {
    if (this.replaced[granule])
      this.replaced[granule] = this.without(this.replaced[granule]!, mask);
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
        this.growRecords();
      }
    }
    const { records } = this;
    const first = lowestBit(mask);
    const size = 31 - Math.clz32(mask & BYTES) - first; // less 1
    records[record] = mask | (((size << 3) | first) << FIRST_SHIFT) | (state[SLOT]! << SLOT_SHIFT);
    records[record + JUDGED] = 0;
    records[record + TIME] = state[NOW]!;
    records[record + SITE] = site;
    records[record + NEXT] = after;
    this.ticks[(record + TICK) >> 1] = tick;
    return record;
  }

  private growRecords(): void {
    try {
      this.recordMemory.grow(this.records.byteLength / PAGE_SIZE);
    } catch {
      throw new UserError(
        `The threads access more memory than there is room to remember (${this.size} accesses are remembered); record a smaller part of the program.`,
      );
    }
    this.records = new Int32Array(this.recordMemory.buffer);
    this.ticks = new Float64Array(this.recordMemory.buffer);
  }

  private release(record: number): void {
    this.records[record] = 0;
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
      if (page + GRANULES > this.heads.length) this.heads = lengthened(this.heads, 2 * page);
      if (this.prediction && this.replaced.length < this.heads.length)
        this.replaced = lengthened(this.replaced, this.heads.length);
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

/** None for slots that there is no bit for. */
const slotBit = (slot: number): number => (slot < LISTED_SLOTS ? 1 << slot : 0);

const lowestBit = (mask: number): number => 31 - Math.clz32(mask & -mask);
