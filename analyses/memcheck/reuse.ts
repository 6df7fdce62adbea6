/**
 * Accesses through a pointer whose block was freed although its memory belongs to another block by now:
 * to Memcheck these are accesses like any other. A second replay follows stale pointers. Before the
 * memory of freed blocks is used again no pointer into them can be right, so whatever looks like one then
 * is stale, and so is what is copied or computed from it (stale-pointers.ts).
 */
import { recordedStacks, type RecordedStacks } from '../../replay/lineage.js';
import { ORIGIN_KIND, type OriginTag } from '../../replay/shadow.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import { heap, isRelease } from '../../schemas/tables.js';
import { formatCount, hex } from '../../schemas/numbers.js';
import type { Finding, Pc } from '../finding.js';
import { Findings } from '../findings.js';
import { momentOf } from './events.js';
import { BlockIndex, type HeapBlock, type Moment } from './heap.js';
import type { MemcheckSettings } from './options.js';
import { GP_REGISTERS } from './registers.js';
import { lookAgain, type SecondLook } from './second-look.js';
import { followStale, STALE_WORD } from './stale-pointers.js';

/** Unless the user insists, longer executions are not replayed a second time, in ticks. */
const LONGEST_TICKS = 300_000_000n;
/** As much memory as is searched for stale pointers, in bytes. */
const MOST_SEARCHED_BYTES = 4_000_000_000n;
/** Stale blocks that are told apart; origins have numbers from here on, which no others have. */
const MOST_STALE = 1 << 20;
const FIRST_NUMBER = 1 << 28;

export interface Reuse {
  readonly findings: readonly Finding[];
  readonly missing: readonly string[];
}

/**
 * Finds the accesses.
 * @param shown the part of a call stack that is shown
 */
export function findReuse(
  trace: Trace,
  process: number,
  settings: MemcheckSettings,
  ticks: bigint,
  shown: (pcs: readonly Pc[]) => readonly Pc[],
): Reuse {
  if (settings.reusedMemory === 'no' || !isReused(trace, process))
    return { findings: [], missing: [] };
  if (settings.reusedMemory === 'auto' && ticks > LONGEST_TICKS) {
    const sentence = `Accesses through stale pointers to memory that was used again were not searched for, as the execution is long (${formatCount(ticks)} instructions); --reused-memory=yes does.`;
    return { findings: [], missing: [sentence] };
  }
  return new StalePointers(trace, process, settings, shown).run();
}

/** Blocks as the rows of `heap` tell of them: live ones, and freed ones whose memory is not used again. */
class Blocks {
  readonly live = new Map<bigint, HeapBlock>();
  readonly liveIndex = new BlockIndex();
  private readonly freed = new BlockIndex();
  private generations = 0;

  /** Takes in a row. Returns the freed blocks whose memory is used again from now on. */
  apply(row: HeapRow): HeapBlock[] {
    const { op, address, previous, known } = row;
    if (isRelease(op)) {
      if (known) this.free(address, row.moment);
      return [];
    }
    if (previous !== 0n && known) this.free(previous, row.moment);
    if (address === 0n) return [];
    const block: HeapBlock = {
      generation: ++this.generations,
      address,
      sizeBytes: row.size,
      alignment: 0n,
      kind: 'malloc',
      op,
      allocated: row.moment,
      freed: undefined,
    };
    const reused = this.freed.near(address, row.size, 0n);
    for (const old of reused) this.freed.remove(old);
    this.live.set(address, block);
    this.liveIndex.add(block);
    return reused;
  }

  private free(address: bigint, moment: Moment): void {
    const block = this.live.get(address);
    if (!block) return;
    this.live.delete(address);
    this.liveIndex.remove(block);
    block.freed = moment;
    this.freed.add(block);
    this.released?.(block);
  }

  released: ((block: HeapBlock) => void) | undefined;
}

interface HeapRow {
  readonly op: string;
  readonly address: bigint;
  readonly size: bigint;
  readonly previous: bigint;
  readonly known: boolean;
  readonly moment: Moment;
}

/** Whether the memory of any freed block is used again. */
function isReused(trace: Trace, process: number): boolean {
  const blocks = new Blocks();
  const moment = { tick: 0n, thread: 0, stack: 0 };
  for (const { op, address, size, previous, known } of trace.rows(heap, process)) {
    const row = { op: String(op), address, size, previous, known: Boolean(known), moment };
    if (blocks.apply(row).length > 0) return true;
  }
  return false;
}

class StalePointers {
  private readonly blocks = new Blocks();
  /** Freed blocks to which pointers have not been searched for yet. */
  private unsearched = new Set<HeapBlock>();
  /** Blocks to which there were stale pointers, by their origin's number. */
  private readonly stale: HeapBlock[] = [];
  private readonly look: SecondLook;
  private readonly findings = new Findings();
  private readonly missing = new Set<string>();
  private readonly stacks: RecordedStacks;
  private searchedBytes = 0n;
  /** Of the address that is about to be accessed. */
  private origin: OriginTag = 0;
  private isStore = false;

  constructor(
    trace: Trace,
    private readonly process: number,
    settings: MemcheckSettings,
    private readonly shown: (pcs: readonly Pc[]) => readonly Pc[],
  ) {
    this.stacks = recordedStacks(trace, process);
    this.blocks.released = (block) => this.unsearched.add(block);
    this.look = lookAgain(trace, process, settings, {
      instrument: followStale,
      applied: (row) => this.applied(row),
    });
    const { shadow } = this.look;
    shadow.check = (origin, { use }) => {
      this.origin = origin;
      this.isStore = use === 'condition';
    };
    shadow.readRange = (address, sizeBytes, { pc, instruction }) => {
      this.judge(address, sizeBytes, pc, this.look.replay.tick + BigInt(instruction));
      return { bits: 0n, origin: 0 };
    };
  }

  run(): Reuse {
    this.look.replay.finish();
    return { findings: this.findings.list, missing: [...this.missing] };
  }

  private applied(row: EventRow): void {
    if (row.table !== heap) return;
    const reused = this.blocks.apply({
      op: row.name('op') ?? '',
      address: row.u64('address'),
      size: row.u64('size'),
      previous: row.u64('previous'),
      known: row.u32('known') !== 0,
      moment: momentOf(row),
    });
    if (reused.some((block) => this.unsearched.has(block))) this.search(row.u32('thread'));
  }

  /**
   * Marks all that points to freed blocks whose memory is not used again, up to this very row.
   * @param allocating the thread that is about to be given the new block, in rdx
   */
  private search(allocating: number): void {
    const blocks = [...this.unsearched].sort((a, b) => (a.address < b.address ? -1 : 1));
    this.unsearched = new Set();
    if (this.searchedBytes > MOST_SEARCHED_BYTES) {
      this.missing.add(
        'Not all accesses through stale pointers to memory that was used again were found, as too much memory had to be searched.',
      );
      return;
    }
    const starts = Float64Array.from(blocks, ({ address }) => Number(address));
    const [low, high] = [blocks[0]!.address, endOf(blocks.at(-1)!)];
    const blockAt = (value: bigint): HeapBlock | undefined => {
      if (value < low || value > high) return undefined;
      const block = blocks[lastAtMost(starts, Number(value))];
      return block && value <= endOf(block) ? block : undefined;
    };
    const { shadow, events, replay } = this.look;
    const words: { readonly address: bigint; readonly block: HeapBlock }[] = [];
    const visit = (address: bigint, value: bigint): void => {
      const block = value >= low && value <= high ? blockAt(value) : undefined;
      if (block) words.push({ address, block });
    };
    for (const { start, end, protection } of events.space.all()) {
      if ((protection & 2) === 0) continue;
      this.searchedBytes += end - start;
      shadow.planes.visitDefinedWords(start, end - start, visit);
    }
    for (const { address, sizeBytes } of this.blocks.live.values()) {
      this.searchedBytes += sizeBytes;
      shadow.planes.visitDefinedWords(address, sizeBytes, visit);
    }
    const tags = new Map<HeapBlock, OriginTag>();
    for (const { address, block } of words)
      shadow.planes.setUndefinedBits(address, STALE_WORD, this.tagOf(block, tags));
    for (const thread of replay.registers.threads) {
      for (const name of GP_REGISTERS) {
        if (name === 'RSP' || (thread === allocating && name === 'RDX')) continue;
        const offset = replay.registers.registerOffset(name);
        const block = blockAt(replay.registers.readRegister(thread, offset));
        if (block) replay.registers.markRegister(thread, offset, 1n, this.tagOf(block, tags));
      }
    }
  }

  private tagOf(block: HeapBlock, tags: Map<HeapBlock, OriginTag>): OriginTag {
    let tag = tags.get(block);
    if (tag === undefined) {
      if (this.stale.length >= MOST_STALE) return 0;
      tag = 4 * (FIRST_NUMBER + this.stale.push(block) - 1) + ORIGIN_KIND.request;
      tags.set(block, tag);
    }
    return tag;
  }

  /** An access through an address that was computed from a stale pointer. */
  private judge(address: bigint, sizeBytes: number, pc: Pc, tick: bigint): void {
    if (this.origin % 4 !== ORIGIN_KIND.request) return;
    const old = this.stale[Math.floor(this.origin / 4) - FIRST_NUMBER];
    if (!old?.freed || address < old.address || address >= endOf(old)) return;
    if (!this.look.replay.isInImage) return;
    // While no block is there again, it is an invalid access to anybody.
    const [now] = this.blocks.liveIndex.near(address, 1n, 0n);
    if (!now || now.generation <= old.generation) return;
    const { shadow, replay } = this.look;
    const { isStore } = this;
    const pcs = this.shown(shadow.stack(pc, shadow.stackPointer));
    const stackOf = ({ stack }: Moment): readonly Pc[] => this.shown(this.stacks.get(stack) ?? []);
    const size = (block: HeapBlock): string => `a block of size ${formatCount(block.sizeBytes)}`;
    this.findings.add({
      kind: isStore ? 'InvalidWriteReused' : 'InvalidReadReused',
      what: `Invalid ${isStore ? 'write' : 'read'} of size ${sizeBytes} through a stale pointer, in memory that was used again`,
      notes: [],
      process: this.process,
      thread: replay.thread,
      tick,
      count: 1,
      stacks: [
        { role: '', pcs },
        {
          role: `Address ${hex(address)} is ${formatCount(address - old.address)} bytes inside ${size(old)} free'd`,
          pcs: stackOf(old.freed),
        },
        { role: "Block was alloc'd at", pcs: stackOf(old.allocated) },
        {
          role: `Its memory was used again by ${size(now)} alloc'd`,
          pcs: stackOf(now.allocated),
        },
      ],
    });
  }
}

const endOf = ({ address, sizeBytes }: HeapBlock): bigint => address + sizeBytes;

/** Place of the last of rising numbers that is at most `wanted`, or −1. */
function lastAtMost(numbers: Float64Array, wanted: number): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle]! <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
