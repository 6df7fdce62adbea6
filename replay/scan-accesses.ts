/**
 * SQL table `accesses`: every load and store, delivered by replay while DuckDB scans. Nothing is kept;
 * per row only the columns that the statement reads are written, in loops over typed arrays.
 *
 * 64-bit columns that must be gathered are moved as pairs of 32-bit words, which costs no bigint.
 */
import assert from 'node:assert/strict';
import type { Value } from '@duckdb/node-bindings';
import type { Trace } from './trace.js';
import type { AccessBatch, AccessColumn, Replay, ReplayOptions, SiteTable } from './types.js';
import { ANYTHING, type Hints } from './hints.js';
import { constantOf, VECTOR_SIZE, type OpenScan, type Output } from './scan.js';
import { accesses } from '../schemas/views.js';

/** Starts a replay of one process image: `openReplay` of replay.ts, or a stand-in in tests. */
export type OpenReplay = (trace: Trace, process: number, options: ReplayOptions) => Replay;

/** What a batch must hold for a column of the table. */
const COLUMNS: Readonly<Record<string, AccessColumn>> = {
  tick: 'ticks',
  addr: 'addresses',
  value: 'values',
  bytes: 'wide',
};

/**
 * A scan of `accesses`. `hints` is asked when a scan begins: rows outside of them are not needed, and
 * may be skipped.
 */
export function accessesScan(
  trace: Trace,
  openReplay: OpenReplay,
  hints: () => Hints = () => ANYTHING,
): OpenScan {
  const names = Object.keys(accesses.columns);
  return (projection) => {
    const { process, thread, tick, address, anyOrder } = hints();
    const processes = trace.processes
      .map((row) => row.process)
      .filter((p) => within(BigInt(p), process));
    if ([thread, tick, address].some(([low, high]) => low > high)) processes.length = 0;
    const wanted = projection.map((c) => names[c]!);
    const fillers = new Fillers(wanted);
    const chosen = new Uint32Array(VECTOR_SIZE);
    const [low, high] = address;
    const filtered = low > 0n || high < ANYTHING.address[1];
    const columns = new Set(wanted.flatMap((name) => COLUMNS[name] ?? []));
    if (filtered) columns.add('addresses');
    const tallied = anyOrder && columns.size === 0;
    const isNear = filtered ? rangeTest(low, high) : undefined;
    let replay: Replay | undefined;
    let batch: AccessBatch | undefined;
    let position = 0;

    const nextBatch = (): boolean => {
      for (;;) {
        if (!replay) {
          const next = processes.shift();
          if (next === undefined) return false;
          replay = openReplay(trace, next, {
            accesses: true,
            columns,
            ...(tallied && { tallied }),
            ...(filtered && { addresses: address }),
            ...(tick[0] > 0n && { fromTick: tick[0] }),
            ...(tick[1] < ANYTHING.tick[1] && { toTick: tick[1] }),
          });
        }
        batch = replay.nextAccesses();
        if (!batch) replay = undefined;
        else if (batch.count > 0 && within(BigInt(batch.thread), thread)) {
          position = 0;
          fillers.begin(batch, replay.sites);
          return true;
        }
      }
    };

    /** The rows of the batch from `position` on that are in the range of addresses. */
    const nearRows = (output: Output, { count, addresses }: AccessBatch): number => {
      const words = new Uint32Array(addresses.buffer, addresses.byteOffset, count * 2);
      let found = 0;
      while (position < count && found < VECTOR_SIZE) {
        if (isNear!(words, position)) chosen[found++] = position;
        position++;
      }
      if (found > 0) fillers.chosen(output, chosen, found);
      return found;
    };

    const rowsOf = (output: Output, from: AccessBatch): number => {
      if (from.repeats) return fillers.repeated(output);
      if (isNear) return nearRows(output, from);
      const rows = Math.min(VECTOR_SIZE, from.count - position);
      fillers.range(output, position, rows);
      position += rows;
      return rows;
    };

    const fill = (output: Output): number => {
      while (batch || nextBatch()) {
        const rows = rowsOf(output, batch!);
        if (rows > 0) return rows;
        batch = undefined;
      }
      return 0;
    };
    return Object.assign(fill, { anyOrder });
  };
}

function within(value: bigint, [low, high]: readonly [bigint, bigint]): boolean {
  return value >= low && value <= high;
}

/** A test of the 64-bit number at position `i` of an array of word pairs. */
function rangeTest(low: bigint, high: bigint): (words: Uint32Array, i: number) => boolean {
  const [lowHi, lowLo] = [Number(low >> 32n), Number(low & 0xffff_ffffn)];
  const [highHi, highLo] = [Number(high >> 32n), Number(high & 0xffff_ffffn)];
  if (lowHi === highHi) {
    return (words, i) =>
      words[i * 2 + 1] === lowHi && words[i * 2]! >= lowLo && words[i * 2]! <= highLo;
  }
  return (words, i) => {
    const hi = words[i * 2 + 1]!;
    if (hi < lowHi || hi > highHi) return false;
    const lo = words[i * 2]!;
    return (hi !== lowHi || lo >= lowLo) && (hi !== highHi || lo <= highLo);
  };
}

/** Where a site has the value of a column of the table. */
const SITE_COLUMNS: Readonly<Record<string, 'pcs' | 'stores' | 'atomics' | 'sizes'>> = {
  pc: 'pcs',
  kind: 'stores',
  atomic: 'atomics',
  size: 'sizes',
};

/** Equal rows: accesses like entry `entry` of the batch. */
interface Run {
  readonly entry: number;
  count: number;
  constants?: Value[];
}

/** Writes the columns asked for from a batch to DuckDB's vectors. */
class Fillers {
  private batch!: AccessBatch;
  private sites!: SiteTable;
  private readonly words64 = new Uint32Array(VECTOR_SIZE * 2);
  private readonly quads = new BigUint64Array(this.words64.buffer);
  private readonly words = new Uint32Array(VECTOR_SIZE);
  private readonly halves = new Uint16Array(VECTOR_SIZE);
  private readonly bytes = new Uint8Array(VECTOR_SIZE);
  private readonly offsets = new Int32Array(VECTOR_SIZE + 1);
  private readonly all = new Uint32Array(VECTOR_SIZE);
  /** Where in `batch.wide` the next wide access begins, and which access that is at the earliest. */
  private wideOffset = 0;
  private widePosition = 0;
  /** What is left of a batch whose entries repeat. */
  private runs: Run[] = [];

  constructor(private readonly wanted: readonly string[]) {}

  begin(batch: AccessBatch, sites: SiteTable): void {
    this.batch = batch;
    this.sites = sites;
    this.wideOffset = 0;
    this.widePosition = 0;
    this.runs = batch.repeats ? this.equalRows(batch.repeats) : [];
  }

  /** Writes accesses `start` … `start + count`. */
  range(output: Output, start: number, count: number): void {
    const { batch } = this;
    let all: Uint32Array | undefined;
    this.wanted.forEach((name, column) => {
      if (name === 'tick') output.copy(column, batch.ticks, start, count);
      else if (name === 'addr') output.copy(column, batch.addresses, start, count);
      else if (name === 'value') output.copy(column, batch.values, start, count);
      else {
        if (!all) {
          all = this.all;
          for (let i = 0; i < count; i++) all[i] = start + i;
        }
        this.column(output, column, name, all, count);
      }
    });
  }

  /** Writes the accesses at the positions `chosen`, which rise. */
  chosen(output: Output, chosen: Uint32Array, count: number): void {
    this.wanted.forEach((name, column) => this.column(output, column, name, chosen, count));
  }

  /** Writes the next accesses of a batch whose entries repeat, and returns how many; 0 at its end. */
  repeated(output: Output): number {
    const run = this.runs.at(-1);
    if (run && run.count >= VECTOR_SIZE) {
      run.constants ??= this.wanted.map((name) =>
        constantOf(accesses.columns[name as 'pc'], this.cell(name, run.entry)),
      );
      run.constants.forEach((value, column) => output.constant(column, value));
      run.count -= VECTOR_SIZE;
      return VECTOR_SIZE;
    }
    const chosen = this.all;
    let rows = 0;
    for (let next; rows < VECTOR_SIZE && (next = this.runs.at(-1));) {
      const count = Math.min(next.count, VECTOR_SIZE - rows);
      chosen.fill(next.entry, rows, (rows += count));
      next.count -= count;
      if (next.count === 0) this.runs.pop();
    }
    if (rows > 0) this.chosen(output, chosen, rows);
    return rows;
  }

  /** Entries of the batch whose rows are the same, as one run: in order from the end. */
  private equalRows(repeats: Uint32Array): Run[] {
    const runs = new Map<string, Run>();
    repeats.forEach((count, entry) => {
      const key = this.wanted.map((name) => this.cell(name, entry)).join();
      const run = runs.get(key);
      if (run) run.count += count;
      else runs.set(key, { entry, count });
    });
    return [...runs.values()].reverse();
  }

  /** The value of a column that a thread and a site determine, as it stands in a typed array. */
  private cell(name: string, entry: number): number | bigint {
    const { batch, sites } = this;
    if (name === 'process' || name === 'thread') return batch[name];
    const column = SITE_COLUMNS[name];
    assert(column, `accesses has no column ${name} that repeats`);
    return sites[column][batch.sites[entry]!]!;
  }

  private column(
    output: Output,
    column: number,
    name: string,
    chosen: Uint32Array,
    count: number,
  ): void {
    const { batch, sites, words, halves, bytes } = this;
    const bySite = <A extends Uint8Array | Uint16Array>(from: A, to: A): void => {
      const ids = batch.sites;
      for (let i = 0; i < count; i++) to[i] = from[ids[chosen[i]!]!]!;
      output.copy(column, to, 0, count);
    };
    switch (name) {
      case 'process':
      case 'thread':
        words.fill(name === 'process' ? batch.process : batch.thread, 0, count);
        return output.copy(column, words, 0, count);
      case 'tick':
        return this.gather64(output, column, batch.ticks, chosen, count);
      case 'addr':
        return this.gather64(output, column, batch.addresses, chosen, count);
      case 'value':
        return this.gather64(output, column, batch.values, chosen, count);
      case 'pc': {
        const from = new Uint32Array(sites.pcs.buffer, sites.pcs.byteOffset, sites.pcs.length * 2);
        const { words64 } = this;
        const ids = batch.sites;
        for (let i = 0; i < count; i++) {
          const site = ids[chosen[i]!]!;
          words64[i * 2] = from[site * 2]!;
          words64[i * 2 + 1] = from[site * 2 + 1]!;
        }
        return output.copy(column, this.quads, 0, count);
      }
      case 'kind':
        return bySite(sites.stores, bytes);
      case 'atomic':
        return bySite(sites.atomics, bytes);
      case 'size':
        return bySite(sites.sizes, halves);
      case 'bytes':
        return this.wideBytes(output, column, chosen, count);
      default:
        throw new Error(`accesses has no column ${name}`);
    }
  }

  private gather64(
    output: Output,
    column: number,
    values: BigUint64Array,
    chosen: Uint32Array,
    count: number,
  ): void {
    const from = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
    const { words64 } = this;
    for (let i = 0; i < count; i++) {
      const at = chosen[i]!;
      words64[i * 2] = from[at * 2]!;
      words64[i * 2 + 1] = from[at * 2 + 1]!;
    }
    output.copy(column, this.quads, 0, count);
  }

  private wideBytes(output: Output, column: number, chosen: Uint32Array, count: number): void {
    const { batch, sites, offsets, bytes: isNull } = this;
    const parts: Uint8Array[] = [];
    for (let i = 0, end = 0; i < count; i++) {
      const at = chosen[i]!;
      for (; this.widePosition < at; this.widePosition++)
        this.wideOffset += wideSize(sites, batch, this.widePosition);
      const size = wideSize(sites, batch, at);
      isNull[i] = size === 0 ? 1 : 0;
      if (size > 0) parts.push(batch.wide.subarray(this.wideOffset, this.wideOffset + size));
      offsets[i] = end;
      end += size;
      offsets[i + 1] = end;
    }
    output.strings(column, { offsets, data: Buffer.concat(parts) }, 0, count);
    output.nulls(column, isNull, count);
  }
}

/** Bytes that an access has in `AccessBatch.wide`. */
function wideSize(sites: SiteTable, batch: AccessBatch, i: number): number {
  const size = sites.sizes[batch.sites[i]!]!;
  return size > 8 ? size : 0;
}
