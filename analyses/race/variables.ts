/**
 * Synchronisation variables: memory through which threads order their accesses without announcing it. A
 * store to one releases what its thread has done, a load acquires what was released there. Each is known
 * by some evidence, and lives as long as the memory that it lies in.
 */
import { SyncClock, type ThreadClock } from './clocks.js';
import type { AccessHistory, Marked } from './history.js';
import {
  EVIDENCE_BITS,
  KNOWN,
  MASK,
  OPERATIONS,
  THREAD,
  TICK,
  TIME,
  VERSION,
} from './operation-table.js';

/** What makes memory a synchronisation variable, in the order of their bits. */
export const EVIDENCE = [
  'atomic instruction',
  'C++ atomic',
  'futex',
  'thread end',
  'spin loop',
  'OpenMP',
  '_Atomic',
] as const;
export type Evidence = (typeof EVIDENCE)[number];

/** A variable as it is reported, and as it is known before the pass that uses it. */
export interface KnownVariable {
  readonly address: number;
  readonly size: number;
  readonly evidence: readonly Evidence[];
  /** Event of the allocation of the heap block that holds it; 0 when none does. */
  readonly born: number;
  /** Tick of the first operation on it. */
  readonly tick: number;
  readonly operations: number;
}

interface Variable {
  readonly address: number;
  /** Bits for its bytes, of the 8 that it lies in. */
  mask: number;
  evidence: number;
  readonly born: number;
  readonly tick: number;
  operations: number;
  /** Number of the thread that operated on it; -1 when there were several. */
  thread: number;
  readonly clock: SyncClock;
  /** Its row in the history's table of operations. */
  readonly row: number;
}

/** So many that are no more are remembered for the report. */
const MOST_REMEMBERED = 100_000;

export class SyncVariables {
  /** By the address of the 8 bytes. */
  private readonly granules = new Map<number, Variable[]>();
  private readonly gone: Variable[] = [];

  /**
   * @param marks - told which memory is of variables, and which is no more; and of the last of some stores to a variable
   *   that the thread of a slot did one after another
   */
  constructor(
    private readonly history: AccessHistory,
    private readonly marks: {
      mark(address: number, size: number): void;
      unmark(address: number, size: number): void;
      storedAgain(slot: number, address: number, tick: number): void;
    },
  ) {}

  /** Takes in what the module has done, of all variables. */
  settleAll(): void {
    for (const all of this.granules.values()) for (const variable of all) this.settle(variable);
  }

  /** The order of threads is forgotten: nothing is known to be a repetition. */
  startAgain(): void {
    const { rows } = this.history.operations;
    for (const all of this.granules.values())
      for (const variable of all) {
        this.settle(variable);
        rows[variable.row + KNOWN] = 0;
      }
  }

  private settle(variable: Variable): void {
    const { rows } = this.history.operations;
    const { row } = variable;
    variable.operations += rows[row + OPERATIONS]!;
    rows[row + OPERATIONS] = 0;
    if (rows[row + TIME] === 0) return;
    const slot = rows[row + KNOWN]! - 1;
    variable.clock.releasedAgain(slot, rows[row + TIME]!);
    this.marks.storedAgain(slot, variable.address, rows[row + TICK]!);
    rows[row + TIME] = 0;
  }

  /** The table of operations has what is known of the variables in 8 bytes. */
  private link(granule: number, all: readonly Variable[]): void {
    const { rows } = this.history.operations;
    for (const { row, mask, evidence } of all) {
      rows[row + MASK] = mask;
      rows[row + EVIDENCE_BITS] = evidence;
    }
    this.history.link(
      granule,
      all.map(({ row }) => row),
    );
  }

  /**
   * Makes sure that memory is a variable, or parts of it are several.
   * @param born - as in `KnownVariable`
   */
  learn(address: number, size: number, evidence: Evidence, tick: number, born: () => number): void {
    const bit = 1 << EVIDENCE.indexOf(evidence);
    const end = address + size;
    for (let at = address - (address % 8); at < end; at += 8) {
      const first = Math.max(address - at, 0);
      const mask = ((1 << (Math.min(end - at, 8) - first)) - 1) << first;
      const all = this.granules.get(at);
      const known = all?.find((variable) => variable.mask & mask);
      if (known && (known.mask & mask) === mask) {
        if ((known.evidence & bit) === 0) {
          known.evidence |= bit;
          this.link(at, all!);
        }
        continue;
      }
      this.history.mark(at + first, Math.min(end - at, 8) - first);
      this.marks.mark(at + first, Math.min(end - at, 8) - first);
      if (known) {
        known.mask |= mask;
        known.evidence |= bit;
        this.link(at, all!);
        continue;
      }
      const variable = {
        ...{ address: at + first, mask, evidence: bit, born: born(), tick },
        ...{ operations: 0, thread: 0, clock: new SyncClock() },
        row: this.history.operations.add(),
      };
      if (all) all.push(variable);
      else this.granules.set(at, [variable]);
      this.link(at, all ?? [variable]);
    }
  }

  /**
   * A thread loads or stores bytes of the 8 at an address.
   * @param operated - told the address of each variable there
   */
  operate(
    thread: ThreadClock,
    granule: number,
    mask: number,
    isStore: boolean,
    operated?: (address: number) => void,
  ): void {
    for (const variable of this.granules.get(granule) ?? []) {
      if (!(variable.mask & mask)) continue;
      this.settle(variable);
      variable.operations++;
      if (variable.thread === 0) variable.thread = thread.number;
      else if (variable.thread !== thread.number) variable.thread = -1;
      if (isStore) variable.clock.release(thread);
      else variable.clock.acquire(thread);
      operated?.(variable.address);
      const { rows } = this.history.operations;
      const { row } = variable;
      rows[row + THREAD] = variable.thread;
      const isKnown = rows[row + KNOWN] === thread.slot + 1;
      if (isStore && isKnown) rows[row + VERSION] = this.history.version;
      else if (!isKnown) {
        rows[row + KNOWN] = isStore ? 0 : thread.slot + 1;
        rows[row + VERSION] = -1;
      }
    }
  }

  /** The kernel stores to a variable at the end of a thread, which then does nothing any more. */
  publish(thread: ThreadClock, address: number, tick: number): void {
    this.learn(address, 4, 'thread end', tick, () => 0);
    for (const variable of this.granules.get(address - (address % 8)) ?? [])
      if (variable.mask & (0xf << (address % 8))) {
        this.settle(variable);
        this.history.operations.rows[variable.row + KNOWN] = 0;
        variable.clock.publish(thread);
      }
  }

  /** The memory is something else from now on. */
  forget(address: number, size: number): void {
    let isAny = false;
    this.history.unmark(address, size, ({ address: granule }: Marked, mask) => {
      isAny = true;
      const all = this.granules.get(granule) ?? [];
      const left = all.filter((variable) => (variable.mask & ~mask) !== 0);
      for (const variable of all) {
        this.settle(variable);
        if (variable.mask & ~mask) variable.mask &= ~mask;
        else {
          this.history.operations.remove(variable.row);
          if (this.gone.length < MOST_REMEMBERED) this.gone.push(variable);
        }
      }
      this.link(granule, left);
      if (left.length > 0) this.granules.set(granule, left);
      else this.granules.delete(granule);
    });
    if (isAny) this.marks.unmark(address, size);
  }

  /** All variables that there were, in order of their first operation. */
  all(): KnownVariable[] {
    this.settleAll();
    return [...this.gone, ...[...this.granules.values()].flat()]
      .sort((a, b) => a.tick - b.tick)
      .map(toKnown);
  }

  /** Those that more than one thread operated on. */
  shared(): KnownVariable[] {
    this.settleAll();
    return [...this.gone, ...[...this.granules.values()].flat()]
      .filter(({ thread }) => thread === -1)
      .sort((a, b) => a.tick - b.tick)
      .map(toKnown);
  }
}

function toKnown({ address, mask, evidence, born, tick, operations }: Variable): KnownVariable {
  let size = 0;
  for (let bits = mask; bits !== 0; bits &= bits - 1) size++;
  const names = EVIDENCE.filter((_, i) => evidence & (1 << i));
  return { address, size, evidence: names, born, tick, operations };
}
