/**
 * How locks were used: how often, by how many threads, how long threads waited for them and held them;
 * and locks that were held for too long, as DRD's --exclusive-threshold and --shared-threshold find them
 * (Valgrind manual, section 8.2). Time is in guest instructions of the whole process, of all threads.
 */
import type { Finding } from '../finding.js';
import type { Row } from '../../schemas/schema.js';
import type { lock_uses } from '../../schemas/views.js';

/** What a thread does with a lock, from taking it to letting it go. */
export interface Use {
  readonly writes: boolean;
  /** When it was taken. */
  readonly tick: number;
  /** Where: key of `stacks`. */
  readonly stack: number;
}

export interface HoldLimits {
  /** Longest time to hold a lock, in ticks; undefined: any. */
  readonly exclusive: bigint | undefined;
  /** Of a lock for reading. */
  readonly shared: bigint | undefined;
}

/** The use of one lock. */
export class LockUsage {
  /** Attempts that gave up. */
  failed = 0;
  private acquisitions = 0;
  private contended = 0;
  private waitedTicks = 0;
  private heldTicks = 0;
  private longestTicks = 0;
  private readonly threads = new Set<number>();
  private latest = -1;

  /** @param waited - ticks for which another thread held it; undefined when it was free */
  taken(thread: number, waited: number | undefined): void {
    this.acquisitions++;
    if (thread !== this.latest) this.threads.add((this.latest = thread));
    if (waited === undefined) return;
    this.contended++;
    this.waitedTicks += waited;
  }

  released(ticks: number): void {
    this.heldTicks += ticks;
    if (ticks > this.longestTicks) this.longestTicks = ticks;
  }

  /** What was before does not count. */
  reset(): void {
    this.acquisitions = this.contended = this.failed = 0;
    this.waitedTicks = this.heldTicks = this.longestTicks = 0;
    this.threads.clear();
    this.latest = -1;
  }

  /** The columns of `lock_uses` that tell of the use. */
  get row(): Pick<
    Row<typeof lock_uses>,
    | 'acquisitions'
    | 'contended'
    | 'failed'
    | 'waited_ticks'
    | 'held_ticks'
    | 'longest_ticks'
    | 'threads'
  > {
    return {
      acquisitions: BigInt(this.acquisitions),
      contended: BigInt(this.contended),
      failed: BigInt(this.failed),
      waited_ticks: BigInt(this.waitedTicks),
      held_ticks: BigInt(this.heldTicks),
      longest_ticks: BigInt(this.longestTicks),
      threads: this.threads.size,
    };
  }
}

/** A place at which a lock was let go after too long. */
interface LongHold {
  readonly finding: Omit<Finding, 'what' | 'count'>;
  readonly lockName: string;
  readonly limit: bigint;
  longestTicks: number;
  count: number;
}

/** Locks that were held for too long: one finding for each pair of places of taking it and letting it go. */
export class LongHolds {
  private readonly holds = new Map<string, LongHold>();

  constructor(private readonly limits: HoldLimits) {}

  isLong({ writes }: Use, ticks: number): boolean {
    const limit = writes ? this.limits.exclusive : this.limits.shared;
    return limit !== undefined && ticks > limit;
  }

  /**
   * Notes a long hold.
   * @param at - where it was let go: key of `stacks`
   * @param lockName - what the lock is, and its address
   * @param finding - all of the finding but what was measured; asked for only where it is new
   */
  note(
    use: Use,
    ticks: number,
    at: number,
    lockName: string,
    finding: () => LongHold['finding'],
  ): void {
    const limit = (use.writes ? this.limits.exclusive : this.limits.shared)!;
    const key = `${use.stack} ${at}`;
    const known = this.holds.get(key);
    if (!known) {
      this.holds.set(key, { finding: finding(), lockName, limit, longestTicks: ticks, count: 1 });
      return;
    }
    known.count++;
    if (ticks > known.longestTicks) known.longestTicks = ticks;
  }

  get findings(): Finding[] {
    return [...this.holds.values()].map(({ finding, lockName, limit, longestTicks, count }) => ({
      ...finding,
      what: `Lock on ${lockName} was held during ${longestTicks} instructions (threshold: ${limit})`,
      count,
    }));
  }
}
