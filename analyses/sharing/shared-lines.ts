/**
 * Which lines can pass between cores: those that several cores access while several threads live, at least one of them to
 * write. A replay of fresh accesses finds them, with one epoch for each core: of a byte it tells again only when another
 * core has accessed it in between.
 */
import { numberAt } from '../../replay/event-cursor.js';
import { LINE_BYTES, LINES_OF_GRANULE } from '../../replay/line-filter.js';
import { openReplay } from '../../replay/replay.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import { slices, thread_events } from '../../schemas/tables.js';
import { Lives, type Placement } from './placement.js';

const ASKED = 1 << 14;

/** Of a line: the number of its core and 1, or that there are several. */
const SEVERAL = 255;

interface Granule {
  readonly cores: Uint8Array;
  readonly written: Uint8Array;
}

/** Lines that pass between cores, with numbers. */
export class SharedLines {
  /** Their addresses divided by `LINE_BYTES`, by number. */
  readonly lines: Float64Array;
  private readonly granules = new Map<number, { numbers: Int32Array }>();
  private readonly marks = new Map<number, Uint8Array>();

  constructor(found: ReadonlyMap<number, Granule>) {
    const lines: number[] = [];
    for (const [granule, { cores, written }] of found) {
      const numbers = new Int32Array(LINES_OF_GRANULE).fill(-1);
      const marks = new Uint8Array(LINES_OF_GRANULE);
      const first = lines.length;
      for (let line = 0; line < LINES_OF_GRANULE; line++) {
        if (cores[line] !== SEVERAL || !written[line]) continue;
        numbers[line] = lines.length;
        marks[line] = 1;
        lines.push(granule * LINES_OF_GRANULE + line);
      }
      if (lines.length === first) continue;
      this.granules.set(granule, { numbers });
      this.marks.set(granule, marks);
    }
    this.lines = Float64Array.from(lines);
  }

  /** By line of a granule: 1 for those that are shared. */
  marksOf(granule: number): Uint8Array | undefined {
    return this.marks.get(granule);
  }

  /** Lines that were asked for lately, and their numbers. */
  private readonly asked = new Float64Array(ASKED).fill(-1);
  private readonly answers = new Int32Array(ASKED);

  /**
   * The number of a line, given by its address divided by `LINE_BYTES`; -1 of those that are not shared.
   * @param low - the low bits of the line, at least 14
   */
  numberOf(line: number, low: number): number {
    const at = low & (ASKED - 1);
    if (this.asked[at] === line) return this.answers[at]!;
    this.asked[at] = line;
    const numbers = this.granules.get(Math.floor(line / LINES_OF_GRANULE))?.numbers;
    return (this.answers[at] = numbers?.[line % LINES_OF_GRANULE] ?? -1);
  }

  /** Visits the numbers of those in a range of memory. */
  eachIn(address: number, size: number, visit: (number: number) => void): void {
    const first = Math.floor(address / LINE_BYTES);
    const last = Math.floor((address + size - 1) / LINE_BYTES);
    const lastGranule = Math.floor(last / LINES_OF_GRANULE);
    for (let granule = Math.floor(first / LINES_OF_GRANULE); granule <= lastGranule; granule++) {
      const numbers = this.granules.get(granule)?.numbers;
      if (!numbers) continue;
      const from = Math.max(first - granule * LINES_OF_GRANULE, 0);
      const to = Math.min(last - granule * LINES_OF_GRANULE, LINES_OF_GRANULE - 1);
      for (let line = from; line <= to; line++) if (numbers[line]! >= 0) visit(numbers[line]!);
    }
  }
}

/** Replays the process image once to find them. @param progress - told of ticks */
export function findSharedLines(
  trace: Trace,
  process: number,
  { coreOf, joined }: Placement,
  progress: (tick: bigint) => void,
): SharedLines {
  const found = new Map<number, Granule>();
  const lives = new Lives(joined);
  let [core, isOn] = [0, false];
  const take = (): void => {
    const { guest, sites } = replay;
    const { count, sites: numbers, addresses } = guest.accessRows();
    const { sizes, stores } = sites;
    for (let i = 0; isOn && i < count; i++) {
      const address = numberAt(addresses, i);
      const site = numbers[i]!;
      const last = Math.floor((address + sizes[site]! - 1) / LINE_BYTES);
      for (let line = Math.floor(address / LINE_BYTES); line <= last; line++) {
        const number = Math.floor(line / LINES_OF_GRANULE);
        let granule = found.get(number);
        if (!granule) {
          const [cores, written] = [
            new Uint8Array(LINES_OF_GRANULE),
            new Uint8Array(LINES_OF_GRANULE),
          ];
          found.set(number, (granule = { cores, written }));
        }
        const at = line % LINES_OF_GRANULE;
        const known = granule.cores[at]!;
        granule.cores[at] = known === 0 || known === core + 1 ? core + 1 : SEVERAL;
        granule.written[at]! |= stores[site]!;
      }
    }
    guest.resetAccesses();
  };
  const applied = (row: EventRow): void => {
    if (!replay.isInImage) return;
    take();
    const fresh = replay.guest.fresh!;
    if (row.table === slices) {
      core = coreOf.get(row.u32('thread')) ?? 0;
      fresh.select(core);
      return;
    }
    lives.change(row.name('op'), row.u32('thread'), row.u32('other'));
    const isParallel = lives.count > 1;
    if (isParallel !== isOn) fresh.turn((isOn = isParallel));
  };
  const replay = openReplay(trace, process, {
    accesses: true,
    columns: new Set(['addresses']),
    fresh: {
      synchronises: () => false,
      // Atomic instructions are like others here.
      servesOperations: () => true,
      isInOperation: () => true,
    },
    observer: { tables: [slices, thread_events], applied },
  });
  while (replay.nextAccesses()) {
    take();
    progress(replay.tick);
  }
  take();
  return new SharedLines(found);
}
