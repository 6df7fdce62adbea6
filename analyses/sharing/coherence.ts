/**
 * The states of lines in private caches that are kept coherent by invalidation: the protocol MESI (Papamarcos and Patel, "A
 * low-overhead coherence solution for multiprocessors with private cache memories", ISCA 1984). Which lines a core replaces
 * does not depend on others (private-caches.ts), and is told here. Lines are of 64 bytes.
 *
 * Misses for which another core's write is to blame are told apart as Dubois et al. do ("The detection and elimination of
 * useless misses in multiprocessors", ISCA 1993, definitions 1 to 4), with bytes for their words: such a miss is of true
 * sharing if, while the line stays in the cache, the core accesses a byte that another core has written since this core's
 * last essential miss of the line; otherwise of false sharing, and would not have been if the line had no other bytes.
 * Essential are misses of true sharing, the first of a line, and those after the line had been replaced.
 */
/** What an access of a line led to, as bits: a miss of one kind, or an upgrade, or neither. */
export const OUTCOME = {
  hit: 0,
  /** The core had never had the line. */
  cold: 1,
  /** The core had it, and replaced it. */
  capacity: 2,
  /** The core had it, and another one took it away. */
  coherence: 4,
  /** With `coherence`: this access shows that the sharing is true. */
  isTrue: 8,
  /** The core had the line, but had to take it away from others to write. */
  upgrade: 16,
  /** Another core had it modified, and gave it away (HITM in `perf c2c`). */
  intervention: 32,
} as const;
export const ANY_MISS = OUTCOME.cold | OUTCOME.capacity | OUTCOME.coherence;

/** States of a line in a cache. */
export const [INVALID, SHARED, EXCLUSIVE, MODIFIED] = [0, 1, 2, 3];
/** Why a core does not have a line any more; 0 if it never had it. */
const [TAKEN, REPLACED] = [1, 2];
const NOT_PENDING = -1;

export interface CoherenceHooks {
  /** What was left open of a miss: see `leaveOpen`. */
  settled(note: number, isTrue: boolean): void;
  /** A core has taken a line away from another one. */
  invalidated(by: number, core: number): void;
}

export class Coherence {
  readonly states: Uint8Array;
  private readonly before: Uint8Array;
  /** By line and core: bytes that others have written since its last essential miss, two words each. */
  private readonly news: Uint32Array;
  /** By line: bytes that its owner has written since it is the owner, of which others need not know yet. */
  private readonly written: Uint32Array;
  /** By line and core: what is to be told when the kind of its last miss is known. */
  private readonly pending: Int32Array;
  /** @param lines - how many lines there are; they are known by numbers */
  constructor(
    private readonly cores: number,
    lines: number,
    private readonly hooks: CoherenceHooks,
  ) {
    const pairs = lines * cores;
    this.states = new Uint8Array(pairs);
    this.before = new Uint8Array(pairs);
    this.news = new Uint32Array(2 * pairs);
    this.written = new Uint32Array(2 * lines);
    this.pending = new Int32Array(pairs).fill(NOT_PENDING);
  }

  /**
   * An access to `size` bytes of a line.
   * @param isExclusive - the core takes the line for itself, whether it writes or not, as atomic instructions do
   */
  access(
    core: number,
    number: number,
    offset: number,
    size: number,
    isStore: boolean,
    isExclusive: boolean,
  ): number {
    const at = number * this.cores + core;
    const state = this.states[at]!;
    const takes = isStore || isExclusive;
    let outcome: number = OUTCOME.hit;
    if (state === INVALID) {
      const before = this.before[at]!;
      if (before === TAKEN) outcome = OUTCOME.coherence;
      else outcome = before === REPLACED ? OUTCOME.capacity : OUTCOME.cold;
      const others = this.yieldLine(core, number, takes);
      if (others === MODIFIED) outcome |= OUTCOME.intervention;
      this.states[at] = takes || others === INVALID ? (isStore ? MODIFIED : EXCLUSIVE) : SHARED;
      if (!(outcome & OUTCOME.coherence)) this.news[2 * at] = this.news[2 * at + 1] = 0;
    } else if (takes && state === SHARED) {
      outcome = OUTCOME.upgrade;
      this.yieldLine(core, number, true);
      this.states[at] = isStore ? MODIFIED : EXCLUSIVE;
    } else if (isStore) this.states[at] = MODIFIED;
    const end = offset + size;
    const low = maskOf(offset, end);
    const high = maskOf(offset - 32, end - 32);
    const isOpen = (outcome & OUTCOME.coherence) !== 0 || this.pending[at] !== NOT_PENDING;
    if (isOpen && (this.news[2 * at]! & low) | (this.news[2 * at + 1]! & high)) {
      this.news[2 * at] = this.news[2 * at + 1] = 0;
      if (outcome & OUTCOME.coherence) outcome |= OUTCOME.isTrue;
      else this.settle(at, true);
    }
    if (isStore) {
      this.written[2 * number]! |= low;
      this.written[2 * number + 1]! |= high;
    }
    return outcome;
  }

  /** After a miss of which it is not known yet if its sharing is true: `hooks` are told with this number. */
  leaveOpen(core: number, number: number, note: number): void {
    this.pending[number * this.cores + core] = note;
  }

  /** A core replaces a line, if it still has it. */
  replace(core: number, number: number): void {
    const at = number * this.cores + core;
    if (this.states[at] === INVALID) return;
    if (this.states[at] === MODIFIED) this.publish(core, number);
    this.states[at] = INVALID;
    this.before[at] = REPLACED;
    this.settle(at, false);
  }

  /** The execution is over: what is left open is of false sharing. */
  finish(): void {
    for (let at = 0; at < this.pending.length; at++) this.settle(at, false);
  }

  private settle(at: number, isTrue: boolean): void {
    const note = this.pending[at]!;
    if (note === NOT_PENDING) return;
    this.pending[at] = NOT_PENDING;
    this.hooks.settled(note, isTrue);
  }

  /**
   * Other cores get to know that this one wants a line: they lose it, or keep it to read.
   * @returns the highest state that one of them had
   */
  private yieldLine(core: number, number: number, takes: boolean): number {
    const { states, cores } = this;
    let highest = INVALID;
    for (let other = 0; other < cores; other++) {
      const at = number * cores + other;
      const state = states[at]!;
      if (other === core || state === INVALID) continue;
      highest = Math.max(highest, state);
      if (state === MODIFIED) this.publish(other, number);
      if (!takes) {
        states[at] = SHARED;
        continue;
      }
      states[at] = INVALID;
      this.before[at] = TAKEN;
      this.settle(at, false);
      this.hooks.invalidated(core, other);
    }
    return highest;
  }

  /** What a core has written to a line is news to all others. */
  private publish(core: number, number: number): void {
    const { cores, news, written } = this;
    const [low, high] = [written[2 * number]!, written[2 * number + 1]!];
    written[2 * number] = written[2 * number + 1] = 0;
    for (let other = 0; other < cores; other++) {
      if (other === core) continue;
      const at = 2 * (number * cores + other);
      news[at]! |= low;
      news[at + 1]! |= high;
    }
  }
}

/** Bits for the bytes from `from` on and before `to`, of 32. */
export function maskOf(from: number, to: number): number {
  const [first, end] = [Math.max(from, 0), Math.min(to, 32)];
  if (end <= first) return 0;
  return end - first === 32 ? -1 : ((1 << (end - first)) - 1) << first;
}
