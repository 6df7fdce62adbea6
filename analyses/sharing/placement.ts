/** On which core each thread runs. */
import type { Trace } from '../../replay/trace.js';
import { thread_events } from '../../schemas/tables.js';

/** More are not simulated: of each line that is shared something is known for each core. */
export const MOST_CORES = 64;

export interface Placement {
  readonly cores: number;
  /** The core of a thread, by its number. */
  readonly coreOf: ReadonlyMap<number, number>;
  /** Threads that are joined at some time. */
  readonly joined: ReadonlySet<number>;
  /** More than one thread lived at some time. */
  readonly isParallel: boolean;
}

/**
 * A thread stays on the core that it begins on: the one with the fewest threads then, the first of equals. This fills
 * cores in turn, and cores of threads that ended are used again. A thread that is joined ends there, however short it ran:
 * in a turn of its own it may have been over before others began.
 * @param wanted - how many cores there are; undefined: as many as threads ever lived at once
 */
export function placementOf(trace: Trace, process: number, wanted?: number): Placement {
  const events = [...trace.rows(thread_events, process)];
  const joined = new Set(events.flatMap(({ op, other }) => (op === 'joined' ? other : [])));
  const lives = new Lives(joined);
  let most = 1;
  for (const { op, thread, other } of events) {
    lives.change(op, thread, other);
    most = Math.max(most, lives.count);
  }
  const cores = wanted ?? Math.min(most, MOST_CORES);
  const coreOf = new Map([[events[0]?.thread ?? 1, 0]]);
  const load = new Array<number>(cores).fill(0);
  load[0] = 1;
  const again = new Lives(joined);
  for (const { op, thread, other } of events) {
    const ended = again.change(op, thread, other);
    if (ended !== undefined) load[coreOf.get(ended) ?? 0]!--;
    if (op !== 'create') continue;
    const core = load.indexOf(Math.min(...load));
    load[core]!++;
    coreOf.set(other, core);
  }
  return { cores, coreOf, joined, isParallel: most > 1 };
}

/** How many threads live, as rows of `thread_events` come in. */
export class Lives {
  count = 1;

  /** @param joined - threads that are joined at some time */
  constructor(private readonly joined: ReadonlySet<number>) {}

  /** Takes in a row; returns the thread that ends by it. */
  change(op: string | undefined, thread: number, other: number): number | undefined {
    if (op === 'create') this.count++;
    const isEnd = op === 'exit' && !this.joined.has(thread);
    if (!isEnd && op !== 'joined') return undefined;
    this.count--;
    return isEnd ? thread : other;
  }
}
