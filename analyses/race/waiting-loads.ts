/**
 * Which loads wait, by the accesses of a replay: a load of chosen instructions waits while it reads the same
 * address again and its thread stores nothing but on its own stack; it has waited if it is left when the value
 * changed at last. The module of the replay takes nearly all rows (`replay/native/waiting.h`, on the same tables).
 */
import type { Guest } from '../../replay/guest.js';
import { ROW_ADDRESSES, ROW_SITES, ROW_VALUES } from '../../replay/layout.js';
import type { NativeWaiting } from '../../replay/native.js';

/** A store so near to the stack pointer is taken to be on the stack. */
const STACK_BYTES = 64 * 1024;

/** What a site is; from `LOAD` on the number of a load that is looked at. */
const UNKNOWN = 0;
export const IGNORED = 1;
/** A store that does not count. */
export const QUIET = 2;
export const STORE = 3;
export const LOAD = 4;

/** Words of `state`: stores of the thread that runs, its stack pointer, the number of the era, its first entry. */
const STORED = 0;
const SP = 1;
const ERA = 2;
const FIRST = 3;

/**
 * Words of an entry, what a thread waits for by a load: the address, or -1; the value, 64 bits; stores of the thread when it
 * began, or -1 once it has stored to the address itself; whether the value is not that of the load before; the address that was
 * noted last, and in which era.
 */
const ADDRESS = 0;
const VALUE = 1;
const STORES = 2;
const IS_NEW = 3;
const NOTED = 4;
const NOTED_ERA = 5;
const ENTRY_WORDS = 8;

/** Bits of a load. */
const IS_SPIN = 1;
const IS_FULL = 2;

/** Counts of entries by some bits of their addresses. */
const WATCHED = 1 << 12;

/** What is needed of a guest that delivered rows. */
export type Rows = Pick<Guest, 'native' | 'memory' | 'sites'>;

export interface WaitingHooks {
  /** What a site is that was met for the first time: one of the numbers above. */
  roleOf(site: number): number;
  /**
   * A load reads an address, as it did not the last time, or in a new era.
   * @returns whether more addresses are wanted of this load
   */
  note(load: number, site: number, address: number, row: number): boolean;
}

export class WaitingLoads {
  private readonly state = new Float64Array(4);
  private readonly watched = new Int32Array(WATCHED);
  /** By load, bits. */
  private readonly loads: Uint8Array;
  /** By thread, in the order in which they came, and load. */
  private entries = new Float64Array(0);
  private values = new BigUint64Array(0);
  private roles = new Int32Array(1024);
  private readonly threads = new Map<number, { readonly first: number; stored: number }>();
  private current = { first: 0, stored: 0 };
  private native:
    | { readonly waiting: NativeWaiting; entries?: object; roles?: object; stores?: object }
    | undefined;

  constructor(
    private readonly count: number,
    private readonly hooks: WaitingHooks,
  ) {
    this.loads = new Uint8Array(count);
  }

  /** The loads that have waited. */
  spinning(): number[] {
    const found = new Set<number>();
    for (let at = 0; at < this.entries.length; at += ENTRY_WORDS)
      if (this.hasWaited(at)) found.add((at / ENTRY_WORDS) % this.count);
    this.loads.forEach((bits, load) => bits & IS_SPIN && found.add(load));
    return [...found].sort((a, b) => a - b);
  }

  /** Addresses are to be noted again. */
  beginEra(): void {
    this.state[ERA]!++;
  }

  /** The thread whose rows follow, and where its stack pointer is. */
  select(thread: number, sp: number): void {
    const { state } = this;
    this.current.stored = state[STORED]!;
    let known = this.threads.get(thread);
    if (!known) {
      const first = this.entries.length / ENTRY_WORDS;
      this.threads.set(thread, (known = { first, stored: 0 }));
      const entries = new Float64Array(this.entries.length + this.count * ENTRY_WORDS).fill(-1);
      entries.set(this.entries);
      this.entries = entries;
      this.values = new BigUint64Array(entries.buffer);
    }
    this.current = known;
    state[STORED] = known.stored;
    state[FIRST] = known.first;
    state[SP] = sp;
  }

  /** The thread lets others go on: it does not only wait. */
  released(thread: number): void {
    const known = this.threads.get(thread);
    if (known === this.current) this.state[STORED]!++;
    else if (known) known.stored++;
  }

  /** Takes the first rows of a guest. */
  take(guest: Rows, count: number): void {
    const { sites, memory } = guest;
    if (sites.count > this.roles.length) {
      const roles = new Int32Array(2 * sites.count);
      roles.set(this.roles);
      this.roles = roles;
    }
    for (let row = 0; row < count; row++) {
      row = this.skip(guest, row, count);
      if (row === count) return;
      const site = memory.view.getUint32(ROW_SITES + 4 * row, true);
      const address = Number(memory.view.getBigUint64(ROW_ADDRESSES + 8 * row, true));
      if (sites.stores[site]) this.store(site, address);
      else this.load(site, address, memory.view.getBigUint64(ROW_VALUES + 8 * row, true), row);
    }
  }

  /** Has the module take rows from number `row` on; returns the first that it leaves. */
  private skip({ native, sites }: Rows, row: number, count: number): number {
    if (!native) return row;
    const { engine, replay } = native;
    const { entries, roles, state, watched, loads } = this;
    const bound = (this.native ??= { waiting: engine.makeWaiting() });
    const { stores } = sites;
    if (bound.entries !== entries || bound.roles !== roles || bound.stores !== stores) {
      engine.bindWaiting(bound.waiting, state, watched, loads, entries);
      engine.bindRoles(bound.waiting, roles, stores);
      Object.assign(bound, { entries, roles, stores });
    }
    return engine.takeWaiting(bound.waiting, replay, row, count);
  }

  private store(site: number, address: number): void {
    const { state, entries } = this;
    if (Math.abs(address - state[SP]!) <= STACK_BYTES) {
      if (this.watched[watchOf(address)] === 0) return;
      for (let load = 0; load < this.count; load++) {
        const at = ENTRY_WORDS * (this.current.first + load);
        if (entries[at + ADDRESS] === address) entries[at + STORES] = -1;
      }
    } else if (this.roleOf(site) === STORE) state[STORED]!++;
  }

  private load(site: number, address: number, value: bigint, row: number): void {
    const role = this.roleOf(site);
    if (role < LOAD) return;
    const load = role - LOAD;
    const { state, entries, values, watched, loads } = this;
    const at = ENTRY_WORDS * (this.current.first + load);
    if (entries[at + ADDRESS] === address && entries[at + STORES] === state[STORED]) {
      entries[at + IS_NEW] = values[at + VALUE] === value ? 0 : 1;
    } else {
      if (this.hasWaited(at)) loads[load]! |= IS_SPIN;
      if (entries[at + ADDRESS]! >= 0) watched[watchOf(entries[at + ADDRESS]!)]!--;
      watched[watchOf(address)]!++;
      entries[at + ADDRESS] = address;
      entries[at + STORES] = state[STORED]!;
      entries[at + IS_NEW] = 0;
    }
    values[at + VALUE] = value;
    if (loads[load]! & IS_FULL) return;
    // A loop reads it a million times.
    if (entries[at + NOTED] === address && entries[at + NOTED_ERA] === state[ERA]) return;
    entries[at + NOTED] = address;
    entries[at + NOTED_ERA] = state[ERA]!;
    if (!this.hooks.note(load, site, address, row)) loads[load]! |= IS_FULL;
  }

  private roleOf(site: number): number {
    return this.roles[site] || (this.roles[site] = this.hooks.roleOf(site)) || UNKNOWN;
  }

  private hasWaited(at: number): boolean {
    const { entries } = this;
    return entries[at + ADDRESS]! >= 0 && entries[at + STORES]! >= 0 && entries[at + IS_NEW] === 1;
  }
}

const watchOf = (address: number): number => {
  const low = address >>> 0;
  return (low ^ (low >>> 12)) & (WATCHED - 1);
};
