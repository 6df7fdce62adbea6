/**
 * Which accesses a replay of fresh ones delivers, against an obvious twin: of each byte who accessed it last, in
 * which epoch and how. Compiled code and stencils run the same random blocks, between random changes of
 * thread, epoch and of what synchronises.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest } from '../replay/guest.js';
import { TYPE, TYPE_SIZES, type Type } from '../replay/ir.js';
import { nativeEngine } from '../replay/native.js';
import { ACCESS_TYPES, BlockBuilder, type Atom } from './block-builder.js';
import { randomOf } from './random.js';

const LAYOUT = { stateSize: 1024, RIP: 184, RSP: 48 };
const GRANULE = 0x10000;
/** Accesses are made around these: within two granules, and across their border. */
const PLACES = [0x77_0000_1000, 0x77_0000_ffc0, 0x77_0001_0000, 0x77_0001_3000];
const NEAR = 48;
/** Conversions of LoadG, by the type that they give. */
const GUARDED: readonly [number, Type, number][] = [
  [0, TYPE.I64, 8],
  [1, TYPE.I32, 4],
  [2, TYPE.I32, 2],
  [4, TYPE.I32, 1],
  [6, TYPE.V128, 16],
];

interface Access {
  readonly pc: number;
  readonly address: number;
  readonly size: number;
  readonly isStore: boolean;
  /** Told of whatever was before; `begins`: and what its thread does next is a new epoch. */
  readonly synchronises?: { readonly begins: boolean; readonly ends: boolean };
}

const rowOf = ({ pc, address, size, isStore }: Access): string =>
  `${isStore ? 'store' : 'load'} ${size} 0x${address.toString(16)} by 0x${pc.toString(16)}`;

const range = (address: number, size: number): number[] =>
  Array.from({ length: size }, (_, i) => address + i);

class Twin {
  /** By byte. */
  private readonly last = new Map<number, { epoch: object; isStore: boolean }>();
  private readonly marked = new Set<number>();
  private readonly epochs = new Map<number, object>();
  /** Granules that code finds at once. The first access to another is told of, and not remembered. */
  private readonly found = new Set<number>();
  private readonly touched = new Set<number>();
  private thread = 0;
  private begun = 0;
  private isOn = false;

  turn(on: boolean): void {
    this.isOn = on;
    this.forgetAll();
    this.beginEpoch();
  }
  private forgetAll(): void {
    for (const known of [this.last, this.epochs, this.found]) known.clear();
    this.begun = 0;
  }
  select(thread: number): void {
    this.thread = thread;
    if (!this.epochs.has(thread)) this.beginEpoch();
  }
  beginEpoch(): void {
    if (!this.isOn) return;
    if (this.begun === 125) this.forgetAll(); // numbers are used up
    this.begun++;
    this.epochs.set(this.thread, {});
  }
  endEpoch(thread: number): void {
    if (thread === this.thread) this.beginEpoch();
    else this.epochs.delete(thread);
  }
  clear(address: number, size: number): void {
    for (const byte of range(address, size)) this.last.delete(byte);
  }
  mark(address: number, size: number): void {
    for (const byte of range(address, size)) this.marked.add(byte);
  }
  unmark(address: number, size: number): void {
    for (const byte of range(address, size)) this.marked.delete(byte);
    this.clear(address, size);
  }

  private find(granule: number): void {
    this.found.add(granule);
    this.touched.add(granule);
  }
  /** A granule reads as zero from now on. */
  zero(granule: number): void {
    if (!this.touched.has(granule)) return;
    this.find(granule);
    this.clear(granule * GRANULE, GRANULE);
  }

  /** Whether the access is told of. */
  access({ address, size, isStore, synchronises }: Access): boolean {
    const granules = [address, address + size - 1].map((byte) => Math.floor(byte / GRANULE));
    const isFound = granules[0] === granules[1] && this.found.has(granules[0]!);
    for (const granule of granules) this.find(granule);
    if (synchronises) {
      if (synchronises.ends && this.isOn) this.mark(address, size);
      if (synchronises.begins) this.beginEpoch();
      return true;
    }
    if (!this.isOn) return false;
    if (!isFound) return true;
    const bytes = range(address, size);
    if (bytes.some((byte) => this.marked.has(byte))) {
      if (isStore) this.beginEpoch();
      return true;
    }
    const epoch = this.epochs.get(this.thread)!;
    const isKnown = bytes.every((byte) => {
      const last = this.last.get(byte);
      return last?.epoch === epoch && (last.isStore || !isStore);
    });
    if (!isKnown) for (const byte of bytes) this.last.set(byte, { epoch, isStore });
    return !isKnown;
  }
}

interface TestBlock {
  readonly entry: number;
  readonly ir: Uint8Array;
  readonly accesses: readonly Access[];
}

const SYNCHRONISES = 0x1000_0000;

/** A block with some accesses of any kind, to memory that stays zero. */
function makeBlock(random: (below: number) => number, ops: string[], number: number): TestBlock {
  const entry = (random(6) === 0 ? SYNCHRONISES : 0) + 0x1000 + 64 * number;
  const b = new BlockBuilder(BigInt(entry), ops);
  const accesses: Access[] = [];
  const zero = (type: Type): Atom => b.get(512, type);
  const count = 1 + random(4);
  for (let i = 0; i < count; i++) {
    const pc = entry + i;
    b.mark(BigInt(pc));
    const at = PLACES[random(PLACES.length)]! + random(NEAR);
    const address = b.i64(BigInt(at));
    const isSite = pc >= SYNCHRONISES;
    const note = (size: number, isStore: boolean, holds = true): void => {
      if (!holds) return;
      const synchronises = isSite ? { begins: isStore, ends: true } : undefined;
      accesses.push({ pc, address: at, size, isStore, ...(synchronises && { synchronises }) });
    };
    const type = ACCESS_TYPES[random(ACCESS_TYPES.length)]!;
    const holds = random(2) === 0;
    const guard = b.constant(TYPE.I1, holds ? 1n : 0n);
    switch (random(5)) {
      case 0:
        b.storeG(address, zero(type), guard);
        note(TYPE_SIZES[type], true, holds);
        break;
      case 1: {
        const [conversion, result, size] = GUARDED[random(GUARDED.length)]!;
        b.loadG(conversion, result, address, zero(result), guard);
        note(size, false, holds);
        break;
      }
      case 2: {
        const double = random(2) === 0;
        const half = double ? TYPE.I64 : [TYPE.I8, TYPE.I16, TYPE.I32, TYPE.I64][random(4)]!;
        const wanted = b.constant(half, holds ? 0n : 1n);
        const halves = (atom: Atom): Atom[] => (double ? [atom, zero(half)] : [atom]);
        b.cas(half, address, halves(wanted), halves(zero(half)));
        const one = { pc, address: at, size: TYPE_SIZES[half] * (double ? 2 : 1) };
        accesses.push({ ...one, isStore: false, synchronises: { begins: false, ends: !holds } });
        if (holds)
          accesses.push({ ...one, isStore: true, synchronises: { begins: true, ends: true } });
        break;
      }
      case 3:
        b.store(address, zero(type));
        note(TYPE_SIZES[type], true);
        break;
      default:
        b.load(type, address);
        note(TYPE_SIZES[type], false);
    }
  }
  return { entry, ir: b.end(b.i64(0x10n), LAYOUT.RIP), accesses };
}

/** Returns how many accesses were told of, and how many there were. */
function compare(seed: number, hotAfter: number): [number, number] {
  const random = randomOf(seed);
  const ops: string[] = [];
  const blocks = Array.from({ length: 12 }, (_, number) => makeBlock(random, ops, number));
  const fresh = { synchronises: (pc: bigint) => pc >= SYNCHRONISES };
  const guest = new Guest(ops, LAYOUT, { accesses: true, counts: false, fresh });
  guest.hotAfter = hotAfter;
  blocks.forEach(({ entry, ir }, id) =>
    guest.define({ id, entry: BigInt(entry), address: BigInt(entry), ir, noRedirect: false }),
  );
  const twin = new Twin();
  const both = (change: (one: Twin | NonNullable<Guest['fresh']>) => void): void => {
    change(twin);
    change(guest.fresh!);
  };
  let [told, all] = [0, 0];
  both((one) => one.select(1));
  for (let step = 0; step < 400; step++) {
    const thread = 1 + random(3);
    const [address, size] = [PLACES[random(PLACES.length)]! + random(NEAR), 1 + random(20)];
    switch (random(24)) {
      case 0:
        both((one) => one.beginEpoch());
        break;
      case 1:
        both((one) => one.endEpoch(thread));
        break;
      case 2:
        both((one) => one.clear(address, size));
        break;
      case 3:
        if (random(4) === 0) both((one) => one.mark(address, Math.min(size, 8)));
        break;
      case 4:
        both((one) => one.unmark(address, size));
        break;
      case 5: {
        const isOn = random(4) > 0;
        if (random(4) === 0 || step < 20) both((one) => one.turn(isOn));
        break;
      }
      case 6: {
        const granule = Math.floor(address / GRANULE);
        twin.zero(granule);
        guest.zeroMemory(BigInt(granule * GRANULE), BigInt(GRANULE));
        break;
      }
      case 7:
      case 8:
        both((one) => one.select(thread));
        break;
      default: {
        const { entry, accesses } = blocks[random(blocks.length)]!;
        const expected = accesses.filter((access) => twin.access(access)).map(rowOf);
        guest.run(BigInt(entry), false, 1);
        const { count, sites, addresses } = guest.takeAccesses();
        const rows = Array.from({ length: count }, (_, i) =>
          rowOf({
            pc: Number(guest.sites.pcs[sites[i]!]!),
            address: Number(addresses[i]!),
            size: guest.sites.sizes[sites[i]!]!,
            isStore: guest.sites.stores[sites[i]!] === 1,
          }),
        );
        assert.deepEqual(rows, expected, `seed ${seed}, step ${step}`);
        guest.resetAccesses();
        told += rows.length;
        all += accesses.length;
      }
    }
  }
  return [told, all];
}

const SEED = Number(process.env['GRIND_SEED'] ?? Date.now() % 1_000_000);

for (const [name, hotAfter] of [
  ['compiled code', 0],
  ['stencils', 1 << 30],
] as const)
  test(`${name} delivers what is fresh (GRIND_SEED=${SEED})`, () => {
    assert.ok(nativeEngine);
    let [told, all] = [0, 0];
    for (let i = 0; i < 30; i++) {
      const [some, more] = compare(SEED + i, hotAfter);
      told += some;
      all += more;
    }
    assert.ok(told > 1000 && all - told > 1000, `${told} of ${all} accesses were delivered`);
  });
