/** What a program refers to in caches, from its path and its accesses: independent of what simulates caches. */
import { EVENT } from '../analyses/cache/counts.js';
import { openReplay } from '../replay/replay.js';
import { Trace } from '../replay/trace.js';
import { record, type Recording } from './guest.js';

const recordings = new Map<string, Recording>();
/** The recording of a guest, which is made once. */
export function recordingOf(guest: string): Recording {
  let known = recordings.get(guest);
  if (!known) recordings.set(guest, (known = record([guest])));
  return known;
}

export interface Reference {
  readonly pc: bigint;
  /** Of the instruction. */
  readonly tick: number;
  readonly event: number;
  readonly address: bigint;
  readonly size: number;
}

/**
 * What the program refers to, in order: from each instruction, and each row of accesses.
 * @param withModified - also stores of what the instruction just read, which are no references for Cachegrind
 */
export function referencesOf(recording: Recording, withModified = false): Reference[] {
  const lengths = new Map(
    recording
      .query(
        "select distinct pc, regexp_extract(text, 'IMark.*, (\\d+), 0', 1)::int length from ir where text like '%IMark%'",
      )
      .map((row) => [row['pc'] as bigint, Number(row['length'])]),
  );
  const trace = Trace.open(recording.folder);
  const references: Reference[] = [];
  try {
    const path: bigint[] = [];
    openReplay(trace, 0).runUntil(2n ** 62n, 'after', (pc) => path.push(pc));
    const replay = openReplay(trace, 0, { accesses: true });
    let tick = -1;
    /** The access before, while it is a read of the same instruction. */
    let read: { address: bigint; size: number } | undefined;
    const fetchTo = (to: number): void => {
      while (tick < to) {
        const pc = path[++tick]!;
        references.push({ pc, tick, event: EVENT.Ir, address: pc, size: lengths.get(pc)! });
        read = undefined;
      }
    };
    for (let batch; (batch = replay.nextAccesses());) {
      const { sites } = replay;
      for (let i = 0; i < batch.count; i++) {
        fetchTo(Number(batch.ticks[i]!));
        const site = batch.sites[i]!;
        const [address, size] = [batch.addresses[i]!, sites.sizes[site]!];
        const isStore = sites.stores[site] === 1;
        const isModified = isStore && read?.address === address && read.size === size;
        read = isStore ? undefined : { address, size };
        const event = isStore ? EVENT.Dw : EVENT.Dr;
        if (!isModified || withModified)
          references.push({ pc: path[tick]!, tick, event, address, size });
      }
    }
    fetchTo(path.length - 1);
  } finally {
    trace.close();
  }
  return references;
}
