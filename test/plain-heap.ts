/**
 * The obvious twin of the heap analysis: every block with a count for each byte, found by looking through all live
 * blocks, from rows of accesses and events.
 */
import { replayParts } from '../analyses/replay-parts.js';
import type { ProcessReplay } from '../replay/replay.js';
import type { Trace } from '../replay/trace.js';
import type { EventRow } from '../replay/types.js';
import { heap, syscall_memory } from '../schemas/tables.js';

interface Byte {
  loads: number;
  stores: number;
}

interface PlainBlock {
  readonly address: number;
  readonly stack: number;
  readonly begin: number;
  bytes: Byte[];
}

/** Columns of `heap_sites`, and by offset how often bytes were loaded and stored. */
export interface PlainSite {
  [column: string]: number | Byte[];
  offsets: Byte[];
}

export class PlainHeap {
  readonly sites = new Map<number, PlainSite>();
  private live: PlainBlock[] = [];
  private most = -1;

  /** @param shortTicks - blocks that live no longer are short-lived */
  constructor(
    trace: Trace,
    process: number,
    private readonly shortTicks: number,
  ) {
    let replay!: ProcessReplay;
    replayParts(trace, process, [
      {
        wants: {
          accesses: true,
          columns: new Set(['addresses'] as const),
          observer: {
            tables: [heap, syscall_memory],
            applied: (row) => this.applied(row, replay.isInImage),
          },
        },
        begin: (begun) => void (replay = begun),
        accesses: ({ count, addresses, sites }) => {
          const { sizes, stores } = replay.sites;
          for (let i = 0; i < count; i++)
            this.access(Number(addresses[i]), sizes[sites[i]!]!, stores[sites[i]!] === 1);
        },
        finish: () => ({ process, findings: [], summary: {}, missing: [] }),
      },
    ]);
    const end = Number(trace.processes.find((row) => row.process === process)!.ticks);
    for (const block of this.live) this.end(block, end);
  }

  private access(address: number, size: number, isStore: boolean): void {
    for (let at = address; at < address + size; at++) {
      const block = this.live.find(
        (one) => at >= one.address && at < one.address + one.bytes.length,
      );
      const byte = block?.bytes[at - block.address];
      if (byte && isStore) byte.stores++;
      else if (byte) byte.loads++;
    }
  }

  private applied(row: EventRow, isInImage: boolean): void {
    const [address, size] = [Number(row.u64('address')), Number(row.u64('size'))];
    if (row.table === syscall_memory) {
      const how = row.name('direction')!;
      if (['read', 'read_string', 'write'].includes(how))
        this.access(address, size, how === 'write');
      return;
    }
    const tick = isInImage ? Number(row.u64('tick')) : 0;
    const op = row.name('op')!;
    const gone = ['free', 'delete', 'delete_array'].includes(op)
      ? address
      : Number(row.u64('previous'));
    const before = this.live.find((block) => block.address === gone);
    if (gone === address) {
      if (!before) return;
      if (isInImage) this.end(before, tick);
      this.change(before.stack, -1, -before.bytes.length);
      this.live = this.live.filter((block) => block !== before);
      return;
    }
    if (address === 0) return;
    const stack = before?.stack ?? row.u32('stack');
    const site = this.site(stack);
    const fresh = Array.from({ length: size }, () => ({ loads: 0, stores: 0 }));
    const kept = before?.bytes.slice(0, size) ?? [];
    if (before && isInImage) {
      this.judge(site, before.bytes.slice(size), size);
      add(site, 'copied_bytes', kept.length);
    }
    const block = {
      ...{ address, stack, begin: before?.begin ?? tick },
      bytes: [...kept, ...fresh.slice(kept.length)],
    };
    this.live = [...this.live.filter((one) => one !== before), block];
    if (isInImage) {
      add(site, 'blocks', 1);
      add(site, 'bytes', size);
    }
    this.change(stack, before ? 0 : 1, size - (before?.bytes.length ?? 0));
    const total = this.live.reduce((sum, { bytes }) => sum + bytes.length, 0);
    if (isInImage && total < this.most) return;
    this.most = total;
    for (const one of this.sites.values()) {
      one['peak_blocks'] = one['end_blocks']!;
      one['peak_bytes'] = one['end_bytes']!;
    }
  }

  private change(stack: number, blocks: number, bytes: number): void {
    add(this.site(stack), 'end_blocks', blocks);
    add(this.site(stack), 'end_bytes', bytes);
  }

  private end({ stack, begin, bytes }: PlainBlock, tick: number): void {
    const site = this.site(stack);
    add(site, 'lifetime_ticks', tick - begin);
    if (tick - begin <= this.shortTicks) add(site, 'short_lived_blocks', 1);
    this.judge(site, bytes, 0);
  }

  /** Notes what is known of bytes that are no more, of which the first is at this offset of its block. */
  private judge(site: PlainSite, bytes: readonly Byte[], from: number): void {
    for (const [i, { loads, stores }] of bytes.entries()) {
      const offset = (site.offsets[from + i] ??= { loads: 0, stores: 0 });
      offset.loads += loads;
      offset.stores += stores;
      add(site, 'read_bytes', loads);
      add(site, 'written_bytes', stores);
      if (loads === 0 && stores === 0) add(site, 'untouched_bytes', 1);
      else if (loads === 0) add(site, 'write_only_bytes', 1);
    }
  }

  private site(stack: number): PlainSite {
    let site = this.sites.get(stack);
    if (!site) this.sites.set(stack, (site = { offsets: [] }));
    return site;
  }
}

function add(site: PlainSite, column: string, value: number): void {
  site[column] = ((site[column] as number | undefined) ?? 0) + value;
}
