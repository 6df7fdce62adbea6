/**
 * Operations on synchronisation variables, with the module that does those that only repeat others and without: clocks,
 * variables, races and what prediction requires must be the same. The twin is the history in TypeScript alone, which does each
 * operation as variables.ts says.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Threads, type ThreadClock } from '../analyses/race/clocks.js';
import { AccessHistory } from '../analyses/race/history.js';
import { Predictor } from '../analyses/race/predict.js';
import { ATOMIC, OPENMP, PLAIN } from '../analyses/race/site-kinds.js';
import { SyncVariables } from '../analyses/race/variables.js';
import { Guest } from '../replay/guest.js';
import { ROW_ADDRESSES, ROW_SITES, ROW_TICKS } from '../replay/layout.js';
import { randomOf } from './random.js';

const SEED = Number(process.env['GRIND_SEED'] ?? Date.now() % 1_000_000);

const BASE = 0x12_3456_7000;
/** Two variables in one granule, and one of 8 bytes; then memory of the program. */
const VARIABLES = [
  { address: BASE, size: 4 },
  { address: BASE + 4, size: 4 },
  { address: BASE + 8, size: 8 },
];
const PLAIN_BYTES = 32;
const THREADS = 3;
const KINDS = [PLAIN, ATOMIC, OPENMP];
/** Sites by kind, size (4 or 8) and whether they store. */
const SITES = KINDS.flatMap((kind) =>
  [4, 8].flatMap((size) => [0, 1].map((isStore) => ({ kind, size, isStore }))),
);

/** The part of the detector that takes accesses. */
class Side {
  readonly told: string[] = [];
  readonly threads = new Threads();
  readonly predictor = new Predictor();
  readonly variables: SyncVariables;
  taken = 0;
  private readonly history: AccessHistory;
  private current!: ThreadClock;
  private tick = 0;
  private readonly kinds = Uint8Array.from(SITES, ({ kind }) => kind);
  private readonly sizes = Uint16Array.from(SITES, ({ size }) => size);
  private readonly stores = Uint8Array.from(SITES, ({ isStore }) => isStore);

  constructor(private readonly guest?: Guest) {
    const { predictor, told } = this;
    this.history = new AccessHistory(
      {
        race: ({ slot, tick }, address) => told.push(`race ${slot} ${tick} ${address - BASE}`),
        synchronised: ({ address }, mask, isStore) => this.operate(address, mask, isStore),
        advanced: (_, ends) => predictor.endEpochs(this.current.slot, this.current.time, ends),
      },
      {
        ordered: ({ slot, tick }, address) => {
          const bounds = predictor.findSchedule(slot, tick, this.current.slot, this.tick);
          if (bounds) told.push(`ordered ${slot} ${tick} ${address - BASE} ${bounds.join()}`);
        },
        readFrom: (slot, time, tick) =>
          predictor.readFrom(this.current.slot, this.tick, slot, time, tick),
        known: (slot) => predictor.known(slot),
      },
    );
    this.variables = new SyncVariables(this.history, {
      mark: () => undefined,
      unmark: () => undefined,
      storedAgain: (slot, address, tick) => predictor.signalAgain(slot, address, tick),
    });
    predictor.turn(true, 0);
    for (let child = 2; child <= THREADS; child++) this.threads.create(this.threads.get(1), child);
  }

  learn(index: number): void {
    const { address, size } = VARIABLES[index]!;
    this.variables.learn(address, size, 'atomic instruction', this.tick, () => 0);
  }

  forget(index: number): void {
    const { address, size } = VARIABLES[index]!;
    this.variables.forget(address, size);
  }

  /** Two threads as by a lock. */
  join(one: number, other: number, tick: number): void {
    const [to, from] = [this.threads.get(one), this.threads.get(other)];
    to.clock.join(from.clock);
    from.advance();
    this.predictor.follow(to.slot, from.slot, tick);
    this.predictor.endEpoch(from.slot, from.time, tick);
  }

  access(thread: number, tick: number, site: number, address: number): void {
    this.current = this.threads.get(thread);
    this.tick = tick;
    this.history.enter(this.current);
    if (this.guest) {
      const { view } = this.guest.memory;
      view.setUint32(ROW_SITES, site, true);
      view.setBigUint64(ROW_TICKS, BigInt(tick), true);
      view.setBigUint64(ROW_ADDRESSES, BigInt(address), true);
      const sites = { ...this.guest.sites, sizes: this.sizes, stores: this.stores };
      const rows = this.guest.accessRows();
      const isTaken = this.history.take(this.guest, rows, sites, this.kinds, 0, 0, 1) === 1;
      if (isTaken) this.taken++;
      if (isTaken) return;
    }
    const { kind, size, isStore } = SITES[site]!;
    if (kind & ATOMIC) this.variables.learn(address, size, 'atomic instruction', tick, () => 0);
    const [low, high] = [address % 2 ** 32, Math.floor(address / 2 ** 32)];
    this.history.access(site, tick, low, high, size, isStore === 1);
  }

  /** All that can be seen. */
  state(tick: number): unknown {
    this.variables.settleAll();
    const slots = [...this.threads.all()].map(({ slot, clock }) => ({
      times: [...clock.times],
      reached: this.predictor.reached(slot, tick),
    }));
    return { slots, variables: this.variables.all(), told: this.told };
  }

  private operate(granule: number, mask: number, isStore: boolean): void {
    const { slot } = this.current;
    const next = this.tick + 1;
    this.variables.operate(this.current, granule, mask, isStore, (address) => {
      if (isStore) this.predictor.signal(slot, address, next);
      else this.predictor.await(slot, address, next);
    });
    if (isStore) this.predictor.endEpoch(slot, this.current.time, next);
    this.history.enter(this.current);
  }
}

function compare(seed: number, guest: Guest): number {
  const random = randomOf(seed);
  const sides = [new Side(), new Side(guest)] as const;
  const each = (act: (side: Side) => void): void => sides.forEach(act);
  let thread = 1;
  for (let tick = 1; tick < 400; tick++) {
    if (random(8) === 0) thread = 1 + random(THREADS);
    const what = random(60);
    if (what === 0) {
      const index = random(VARIABLES.length);
      each((side) => side.forget(index));
    } else if (what === 1) {
      const index = random(VARIABLES.length);
      each((side) => side.learn(index));
    } else if (what === 2) {
      const other = 1 + random(THREADS);
      each((side) => side.join(thread, other, tick));
    } else {
      const isVariable = random(2) === 0;
      const kind = isVariable ? random(KINDS.length) : 0;
      const { address, size } = isVariable
        ? VARIABLES[random(VARIABLES.length)]!
        : { address: BASE + 16 + 4 * random(PLAIN_BYTES / 4), size: 4 };
      const site = 4 * kind + (size === 8 ? 2 : 0) + random(2);
      each((side) => side.access(thread, tick, site, address));
    }
    if (random(20) === 0)
      assert.deepEqual(sides[1].state(tick), sides[0].state(tick), `seed ${seed}, tick ${tick}`);
  }
  assert.deepEqual(sides[1].state(400), sides[0].state(400), `seed ${seed}`);
  return sides[1].taken;
}

test(`operations are the same where the module does those that repeat (GRIND_SEED=${SEED})`, () => {
  const layout = { stateSize: 1024, RIP: 184, RSP: 48 };
  const fresh = { synchronises: () => false };
  const guest = new Guest([], layout, { accesses: true, counts: false, fresh });
  assert.ok(guest.native, 'the module was not built');
  let taken = 0;
  for (let i = 0; i < 200; i++) taken += compare(SEED + i, guest);
  assert.ok(taken > 5000, `only ${taken} accesses were taken`);
});
