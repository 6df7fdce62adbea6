/**
 * In a replay that tells only of fresh accesses: those to bytes that their thread has not accessed in this
 * way since its epoch began, or that another thread has accessed since then. Beside each byte of guest
 * memory stands a tag, the number of the epoch that accessed it last, with the lowest bit for a store;
 * compiled code compares it, and tells nobody if it is that of the current epoch. Epochs have seven bits.
 * When their numbers are used up, a new generation begins: tags of a granule are cleared when it is next
 * touched.
 */
import type { GuestMemory } from './guest-memory.js';
import { CELL, GRANULE_SIZE, LAST_EPOCH, TAG_PLANE } from './layout.js';

/** What decides which accesses are fresh. */
export interface FreshHooks {
  /** Accesses by the instruction at an address are always fresh, and its stores begin a new epoch. */
  synchronises(pc: bigint): boolean;
  /** Accesses by the instruction at an address, an atomic one apart, may be left out: they concern nobody. */
  mayOmit?(pc: bigint): boolean;
  /** The instruction at an address is part of an announced operation, if its thread executes one: then it orders nothing. */
  servesOperations?(pc: bigint): boolean;
  /** The thread that runs executes an announced operation. */
  isInOperation?(): boolean;
}

/** Bits of what compiled code says of an atomic instruction: it stores; it may be part of an announced operation. */
export const ACCESS_STORES = 1;
export const ACCESS_SERVES = 2;

/** The tag of what synchronises, which is that of no epoch. */
export const SYNCHRONISES = 0xff;

/** Tags are compared with so many of the current epoch. */
export const TAG_BYTES = 16;

export class FreshAccesses {
  /** Granules whose tags are of this generation. */
  private readonly prepared = new Set<number>();
  /** By granule: offsets of bytes that synchronise. */
  private readonly marked = new Map<number, Set<number>>();
  /** By thread: its epoch, in this generation; that of the current one is in its tags, as compiled code begins epochs, too. */
  private readonly threads = new Map<number, number>();
  private thread = 0;
  private isOn = false;

  constructor(
    private readonly memory: GuestMemory,
    private readonly hooks: FreshHooks,
  ) {
    memory.prepare = (granule, place) => this.prepare(granule, place);
    memory.released = (granule) => this.prepared.delete(granule);
    this.epoch = LAST_EPOCH;
    this.setTags();
  }

  /** From now on all accesses are told of once; `off`: none are. Either way, all tags are cleared. */
  turn(on: boolean): void {
    this.isOn = on;
    this.beginGeneration();
    this.beginEpoch();
  }

  /** The thread that runs from now on. */
  select(thread: number): void {
    const { bytes } = this.memory;
    if (this.isOn) this.threads.set(this.thread, bytes[CELL.storeTag]! >> 1);
    this.thread = thread;
    const epoch = this.threads.get(thread);
    if (epoch === undefined) this.beginEpoch();
    else this.setTags(epoch);
  }

  /** What the current thread accesses from now on is fresh again. */
  beginEpoch(): void {
    if (!this.isOn) return this.setTags();
    if (this.epoch === LAST_EPOCH) this.beginGeneration();
    this.setTags(++this.epoch);
  }

  /** The same for a thread that does not run. */
  endEpoch(thread: number): void {
    if (thread === this.thread) this.beginEpoch();
    else this.threads.delete(thread);
  }

  /** All accesses to a range are fresh again. */
  clear(address: number, size: number): void {
    this.eachPart(address, size, (granule, offset, count) => {
      const place = this.memory.granules.get(granule);
      if (place === undefined || !this.prepared.has(granule)) return;
      this.memory.bytes.fill(0, place + TAG_PLANE + offset, place + TAG_PLANE + offset + count);
      const marks = this.isOn ? this.marked.get(granule) : undefined;
      if (!marks) return;
      if (marks.size < count) this.setMarks(granule, place);
      else
        for (let i = offset; i < offset + count; i++)
          if (marks.has(i)) this.memory.bytes[place + TAG_PLANE + i] = SYNCHRONISES;
    });
  }

  /** Accesses to these bytes are always fresh, and stores to them begin a new epoch. */
  mark(address: number, size: number): void {
    this.eachPart(address, size, (granule, offset, count) => {
      let marks = this.marked.get(granule);
      if (!marks) this.marked.set(granule, (marks = new Set()));
      const place = this.isOn ? this.memory.granules.get(granule) : undefined;
      for (let i = offset; i < offset + count; i++) {
        marks.add(i);
        if (place !== undefined) this.memory.bytes[place + TAG_PLANE + i] = SYNCHRONISES;
      }
    });
  }

  unmark(address: number, size: number): void {
    this.eachPart(address, size, (granule, offset, count) => {
      const marks = this.marked.get(granule);
      if (!marks) return;
      for (let i = 0; i < count; i++) marks.delete(offset + i);
      if (marks.size === 0) this.marked.delete(granule);
    });
    this.clear(address, size);
  }

  /**
   * As compiled code says that an atomic instruction has accessed some bytes.
   * @param serves - it may be part of an announced operation
   */
  synchronised(address: number, size: number, isStore: boolean, serves: boolean): void {
    if (!this.isOn || (serves && this.hooks.isInOperation?.())) return;
    if (!this.isMarked(address, size)) this.mark(address, size);
    if (isStore) this.beginEpoch();
  }

  /** Within one granule: the tags say so. */
  private isMarked(address: number, size: number): boolean {
    const granule = Math.floor(address / GRANULE_SIZE);
    const place = this.memory.granules.get(granule);
    if (place === undefined || !this.prepared.has(granule)) return false;
    const from = place + TAG_PLANE + (address % GRANULE_SIZE);
    const { bytes } = this.memory;
    for (let i = 0; i < size; i++) if (bytes[from + i] !== SYNCHRONISES) return false;
    return true;
  }

  private get epoch(): number {
    return this.memory.view.getUint32(CELL.epoch, true);
  }
  private set epoch(epoch: number) {
    this.memory.view.setUint32(CELL.epoch, epoch, true);
  }

  private beginGeneration(): void {
    this.prepared.clear();
    this.epoch = this.isOn ? 0 : LAST_EPOCH;
    this.threads.clear();
    this.memory.forgetPlaces();
  }

  private prepare(granule: number, place: number): void {
    if (this.prepared.has(granule)) return;
    this.prepared.add(granule);
    this.memory.bytes.fill(0, place + TAG_PLANE, place + TAG_PLANE + GRANULE_SIZE);
    this.setMarks(granule, place);
  }

  private setMarks(granule: number, place: number): void {
    if (!this.isOn) return;
    for (const offset of this.marked.get(granule) ?? [])
      this.memory.bytes[place + TAG_PLANE + offset] = SYNCHRONISES;
  }

  /** Tags of no epoch are those of memory that nobody has accessed. */
  private setTags(epoch?: number): void {
    const { bytes } = this.memory;
    bytes.fill(epoch === undefined ? 1 : 2 * epoch + 1, CELL.loadTag, CELL.loadTag + TAG_BYTES);
    bytes.fill(epoch === undefined ? 0 : 2 * epoch + 1, CELL.storeTag, CELL.storeTag + TAG_BYTES);
  }

  private eachPart(
    address: number,
    size: number,
    visit: (granule: number, offset: number, count: number) => void,
  ): void {
    const first = Math.floor(address / GRANULE_SIZE);
    const last = Math.floor((address + size - 1) / GRANULE_SIZE);
    const each = (granule: number): void => {
      const start = Math.max(address - granule * GRANULE_SIZE, 0);
      const end = Math.min(address + size - granule * GRANULE_SIZE, GRANULE_SIZE);
      visit(granule, start, end - start);
    };
    if (last - first <= this.memory.granules.size)
      for (let granule = first; granule <= last; granule++) each(granule);
    else
      for (const granule of this.memory.granules.keys())
        if (granule >= first && granule <= last) each(granule);
  }
}
