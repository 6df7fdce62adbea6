/**
 * The access history of race against an obvious twin: full vector clocks of the loads and stores of each
 * byte. Both see the same random accesses, locks, and threads that begin, end and are joined.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SyncClock, Threads } from '../analyses/race/clocks.js';
import { AccessHistory } from '../analyses/race/history.js';
import { NEEDS, REQUIRED, SINCE } from '../analyses/race/predict.js';
import { PLAIN } from '../analyses/race/site-kinds.js';
import { Guest } from '../replay/guest.js';
import { ROW_ADDRESSES, ROW_SITES, ROW_TICKS } from '../replay/layout.js';
import { randomOf } from './random.js';

type Times = Map<number, number>;
const join = (into: Times, from: Times): void => {
  for (const [thread, time] of from) into.set(thread, Math.max(into.get(thread) ?? 0, time));
};

/** Each thread has its own entry for ever, and nothing is forgotten. */
class Twin {
  private readonly clocks = new Map<number, Times>();
  private readonly locks = new Map<number, Times>();
  private readonly loads = new Map<number, Times>();
  private readonly stores = new Map<number, Times>();

  clock(thread: number): Times {
    let clock = this.clocks.get(thread);
    if (!clock) this.clocks.set(thread, (clock = new Map([[thread, 1]])));
    return clock;
  }
  private advance(thread: number): void {
    this.clock(thread).set(thread, this.clock(thread).get(thread)! + 1);
  }
  create(parent: number, child: number): void {
    join(this.clock(child), this.clock(parent));
    this.advance(parent);
  }
  join(thread: number, other: number): void {
    join(this.clock(thread), this.clock(other));
  }
  acquire(thread: number, lock: number): void {
    join(this.clock(thread), this.locks.get(lock) ?? new Map());
  }
  release(thread: number, lock: number, keep: boolean): void {
    const clock: Times = new Map(this.clock(thread));
    if (keep) join(clock, this.locks.get(lock) ?? new Map());
    this.locks.set(lock, clock);
    this.advance(thread);
  }
  /** The access races at this byte. */
  access(thread: number, byte: number, isStore: boolean): boolean {
    const clock = this.clock(thread);
    const isConcurrent = (times: Times | undefined): boolean =>
      [...(times ?? [])].some(([other, time]) => time > (clock.get(other) ?? 0));
    const races =
      isConcurrent(this.stores.get(byte)) || (isStore && isConcurrent(this.loads.get(byte)));
    const times = isStore ? this.stores : this.loads;
    if (!times.has(byte)) times.set(byte, new Map());
    times.get(byte)!.set(thread, clock.get(thread)!);
    return races;
  }
  forget(byte: number): void {
    this.loads.delete(byte);
    this.stores.delete(byte);
  }
}

const BASE = 0x12_3456_7000;
const BYTES = 40;
const SIZES = [1, 1, 2, 4, 4, 8, 8, 16];

const STEPS = 600;
/** Slots of which prediction knows something. */
const FEW_SLOTS = 4;
const sites = {
  kinds: new Uint8Array(STEPS).fill(PLAIN),
  sizes: new Uint16Array(STEPS),
  stores: new Uint8Array(STEPS),
};

/** Has the module take an access, as the only row that a guest delivered; false when it leaves it. */
function takesRow(history: AccessHistory, guest: Guest, step: number, address: number): boolean {
  const { view } = guest.memory;
  view.setUint32(ROW_SITES, step, true);
  view.setBigUint64(ROW_TICKS, BigInt(step), true);
  view.setBigUint64(ROW_ADDRESSES, BigInt(address), true);
  return (
    history.take(guest, guest.accessRows(), { ...guest.sites, ...sites }, sites.kinds, 0, 0, 1) ===
    1
  );
}

/**
 * @param guest - the module takes what it can
 * @param told - gets what prediction is told
 */
function compare(seed: number, guest?: Guest, told?: string[]): number {
  let taken = 0;
  const random = randomOf(seed);
  const twin = new Twin();
  const threads = new Threads();
  const raced: number[] = [];
  const history = new AccessHistory(
    {
      race: (_, address) => raced.push(address - BASE),
      synchronised: () => assert.fail('nothing is marked'),
      advanced: () => assert.fail('nothing is marked'),
    },
    told && {
      ordered: ({ slot, tick, isStore }, address) =>
        told.push(`${slot} ${tick} ${isStore} ${address - BASE}`),
      readFrom: (slot, time, tick) => told.push(`${slot} ${time} ${tick}`),
      known: (slot) => known[slot]!,
    },
  );
  const known = Array.from({ length: 30 }, () => ({
    needs: new Float64Array(NEEDS + FEW_SLOTS),
    reads: new Uint32Array(FEW_SLOTS),
  }));
  const locks = Array.from({ length: 3 }, () => new SyncClock());
  const live = [1];
  const ended: number[] = [];
  const tainted = new Set<number>();
  let last = 1;
  threads.get(1);
  for (let step = 0; step < STEPS; step++) {
    const thread = live[random(live.length)]!;
    const clock = threads.get(thread);
    const what = random(20);
    if (what < 10) {
      for (const { needs } of known) needs[SINCE] = step;
      const { needs, reads } = known[random(FEW_SLOTS)]!;
      needs[NEEDS + random(FEW_SLOTS)] = step - random(100);
      reads[random(FEW_SLOTS)] = random(40);
      needs[REQUIRED] = step + random(2);
    }
    if (what === 0 && live.length < 5) {
      threads.create(clock, ++last);
      twin.create(thread, last);
      live.push(last);
    } else if (what === 1 && live.length > 1) {
      threads.exit(thread);
      live.splice(live.indexOf(thread), 1);
      ended.push(thread);
    } else if (what === 2 && ended.length > 0) {
      const other = ended.splice(random(ended.length), 1)[0]!;
      threads.join(clock, other);
      twin.join(thread, other);
    } else if (what < 6) {
      const lock = random(locks.length);
      locks[lock]!.acquire(clock);
      twin.acquire(thread, lock);
    } else if (what < 9) {
      const lock = random(locks.length);
      const keep = random(3) === 0;
      if (keep) locks[lock]!.releaseToo(clock);
      else locks[lock]!.release(clock);
      twin.release(thread, lock, keep);
    } else if (what === 9) {
      const [start, size] = [random(BYTES - 8), 1 + random(8)];
      history.forget(BASE + start, size);
      for (let byte = start; byte < start + size; byte++) {
        twin.forget(byte);
        tainted.delete(byte);
      }
    } else {
      const size = SIZES[random(SIZES.length)]!;
      const start = random(BYTES - size);
      const isStore = random(3) === 0;
      const address = BASE + start;
      raced.length = 0;
      history.enter(clock);
      const [low, high] = [address % 2 ** 32, Math.floor(address / 2 ** 32)];
      sites.sizes[step] = size;
      sites.stores[step] = isStore ? 1 : 0;
      if (guest && takesRow(history, guest, step, address)) taken++;
      else history.access(step, step, low, high, size, isStore);
      const bytes = Array.from({ length: size }, (_, i) => start + i);
      const expected = bytes.filter((byte) => twin.access(thread, byte, isStore));
      // After a race the two remember different things of a byte.
      if (!bytes.some((byte) => tainted.has(byte))) {
        const where = `seed ${seed}, step ${step}`;
        assert.equal(raced.length > 0, expected.length > 0, where);
        for (const byte of raced) assert.ok(expected.includes(byte), `${where}, byte ${byte}`);
      }
      if (expected.length > 0) for (const byte of bytes) tainted.add(byte);
    }
  }
  return taken;
}

const SEED = Number(process.env['GRIND_SEED'] ?? Date.now() % 1_000_000);

test(`races are those that full vector clocks find (GRIND_SEED=${SEED})`, () => {
  for (let i = 0; i < 400; i++) compare(SEED + i);
});

function makeGuest(): Guest {
  const fresh = { synchronises: () => false };
  const layout = { stateSize: 1024, RIP: 184, RSP: 48 };
  return new Guest([], layout, { accesses: true, counts: false, fresh });
}

test(`the same where the module takes what it can (GRIND_SEED=${SEED})`, () => {
  const guest = makeGuest();
  let taken = 0;
  for (let i = 0; i < 400; i++) taken += compare(SEED + i, guest);
  assert.ok(taken > 1000, `only ${taken} accesses were taken`);
});

test(`and prediction is told the same (GRIND_SEED=${SEED})`, () => {
  const guest = makeGuest();
  let taken = 0;
  for (let i = 0; i < 400; i++) {
    const [alone, withModule]: [string[], string[]] = [[], []];
    compare(SEED + i, undefined, alone);
    taken += compare(SEED + i, guest, withModule);
    assert.deepEqual(withModule, alone, `seed ${SEED + i}`);
  }
  assert.ok(taken > 1000, `only ${taken} accesses were taken`);
});
