/**
 * Which loads wait, against an obvious twin: each load's thread has an object for what it waits for. Both see
 * the same random accesses, with and without the module that takes most of them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IGNORED, LOAD, QUIET, STORE, WaitingLoads } from '../analyses/race/waiting-loads.js';
import { Guest } from '../replay/guest.js';
import { ROW_ADDRESSES, ROW_SITES, ROW_VALUES } from '../replay/layout.js';
import { randomOf } from './random.js';

const SEED = Number(process.env['GRIND_SEED'] ?? Date.now() % 1_000_000);

const LOADS = 3;
/** Sites: loads that are looked at, another one, stores that count, and one that does not. */
const ROLES = [LOAD, LOAD + 1, LOAD + 2, LOAD, IGNORED, STORE, STORE, QUIET];
const stores = Uint8Array.from(ROLES, (role) => (role === STORE || role === QUIET ? 1 : 0));
const STACK = 0x1f_ff00_0000;
const HEAP = 0x12_3456_7000;
const MOST_NOTED = 12;

interface Row {
  readonly site: number;
  readonly address: number;
  readonly value: bigint;
}

interface Wait {
  readonly address: number;
  readonly stores: number;
  value: bigint;
  isNew: boolean;
  /** Its thread has stored to the address. */
  isOver: boolean;
}

class Twin {
  readonly spinning = new Set<number>();
  /** Load, address and era of what was noted. */
  readonly noted: Set<string>[] = Array.from({ length: LOADS }, () => new Set());
  era = 0;
  private readonly waits = new Map<string, Wait>();
  private readonly stored = new Map<number, number>();

  released(thread: number): void {
    this.stored.set(thread, (this.stored.get(thread) ?? 0) + 1);
  }

  row(thread: number, { site, address, value }: Row): void {
    const role = ROLES[site]!;
    if (stores[site]) {
      if (address >= HEAP + 0x100_0000) {
        for (let load = 0; load < LOADS; load++) {
          const wait = this.waits.get(`${thread} ${load}`);
          if (wait?.address === address) wait.isOver = true;
        }
      } else if (role === STORE) this.released(thread);
    } else if (role >= LOAD) {
      const load = role - LOAD;
      const key = `${thread} ${load}`;
      const wait = this.waits.get(key);
      const begun = this.stored.get(thread) ?? 0;
      if (wait && wait.address === address && wait.stores === begun && !wait.isOver) {
        wait.isNew = wait.value !== value;
        wait.value = value;
      } else {
        this.leave(load, wait);
        this.waits.set(key, { address, stores: begun, value, isNew: false, isOver: false });
      }
      const noted = this.noted[load]!;
      if (noted.size < MOST_NOTED) noted.add(`${address} ${this.era}`);
    }
  }

  finish(): number[] {
    for (const [key, wait] of this.waits) this.leave(Number(key.split(' ')[1]), wait);
    return [...this.spinning].sort((a, b) => a - b);
  }

  private leave(load: number, wait: Wait | undefined): void {
    if (wait && wait.isNew && !wait.isOver) this.spinning.add(load);
  }
}

/** Returns which loads have waited. */
function compare(seed: number, guest: Guest, native: Guest['native']): number[] {
  const random = randomOf(seed);
  const twin = new Twin();
  const noted: Set<string>[] = Array.from({ length: LOADS }, () => new Set());
  const waiting = new WaitingLoads(LOADS, {
    roleOf: (site) => ROLES[site]!,
    note: (load, _, address) => {
      noted[load]!.add(`${address} ${twin.era}`);
      return noted[load]!.size < MOST_NOTED;
    },
  });
  const rows = {
    native,
    memory: guest.memory,
    sites: { ...guest.sites, count: ROLES.length, stores },
  };
  const { view } = guest.memory;
  for (let turn = 0; turn < 30; turn++) {
    const thread = 1 + random(3);
    const what = random(8);
    if (what === 0) {
      twin.era++;
      waiting.beginEra();
    } else if (what === 1) {
      twin.released(thread);
      waiting.released(thread);
    }
    waiting.select(thread, STACK - 4096 * thread);
    const count = 1 + random(6);
    for (let row = 0; row < count; row++) {
      const at = random(3) === 0 ? STACK + 8 * random(2) : HEAP + 8 * random(3);
      const one = {
        site: random(2) ? random(4) : random(ROLES.length),
        address: at,
        value: BigInt(random(2)),
      };
      view.setUint32(ROW_SITES + 4 * row, one.site, true);
      view.setBigUint64(ROW_ADDRESSES + 8 * row, BigInt(one.address), true);
      view.setBigUint64(ROW_VALUES + 8 * row, one.value, true);
      twin.row(thread, one);
    }
    waiting.take(rows, count);
  }
  const found = waiting.spinning();
  assert.deepEqual(found, twin.finish(), `seed ${seed}`);
  assert.deepEqual(noted, twin.noted, `seed ${seed}`);
  return found;
}

for (const by of ['TypeScript', 'the module'])
  test(`loads that wait are those of the twin, found by ${by} (GRIND_SEED=${SEED})`, () => {
    const layout = { stateSize: 1024, RIP: 184, RSP: 48 };
    const guest = new Guest([], layout, { accesses: true, counts: false });
    if (by === 'the module') assert.ok(guest.native, 'the module was not built');
    let [some, none] = [0, 0];
    for (let i = 0; i < 400; i++) {
      const found = compare(SEED + i, guest, by === 'the module' ? guest.native : undefined);
      if (found.length > 0) some++;
      if (found.length < LOADS) none++;
    }
    assert.ok(some > 20 && none > 20, `${some} and ${none} runs`);
  });
