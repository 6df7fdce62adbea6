/**
 * A file of DHAT's format, version 2, which dh_view.html shows. What the fields are is said in the format's description
 * in DHAT's source (dh_main.c), and in that of other writers of it (the dhat crate).
 */
import { frameText } from '../report.js';
import type { Symbols } from '../../replay/symbols.js';
import type { HeapSite, HeapSites } from './sites.js';

export interface DhatHeader {
  readonly command: string;
  readonly pid: number;
  readonly endTick: number;
  /** Blocks that live no longer are short-lived, in ticks. */
  readonly shortTicks: number;
  /** Accesses were counted. */
  readonly hasAccesses: boolean;
}

/** Largest blocks of which the viewer gets the accesses by offset: as large as DHAT's. */
const MOST_OFFSETS = 1024;
/** The viewer takes this as too much to count. */
const MOST_ACCESSES = 0xffff;
/** The allocator's own functions are not shown. */
const PRELOADED = /\/vgpreload_[^/]*$/;

/** The text of the file. */
export function dhatJson(
  { command, pid, endTick, shortTicks, hasAccesses }: DhatHeader,
  heap: HeapSites,
  sites: readonly HeapSite[],
  stackOf: (stack: number) => readonly bigint[],
  symbols: Symbols,
): string {
  const frames = new Map<string, number>([['[root]', 0]]);
  const numberOf = (text: string): number => {
    const number = frames.get(text) ?? frames.size;
    frames.set(text, number);
    return number;
  };
  const points = sites.map((site) => ({
    ...{ tb: site.bytes, tbk: site.blocks, tl: site.lifetimeTicks },
    ...{ mb: site.mostBytes, mbk: site.mostBlocks, gb: site.peakBytes, gbk: site.peakBlocks },
    ...{ eb: site.liveBytes, ebk: site.liveBlocks },
    ...(hasAccesses && {
      // The copies that realloc makes are accesses there.
      rb: site.loadedBytes + site.copiedBytes,
      wb: site.storedBytes + site.copiedBytes,
      ...(hasOffsets(site) && { acc: accessesByOffset(site) }),
    }),
    fs: symbols
      .programPcs(stackOf(site.stack))
      .flatMap((pc) => symbols.frames(pc))
      .filter(({ module }) => !PRELOADED.test(module))
      .map((frame) => numberOf(frameText(frame))),
  }));
  return JSON.stringify({
    ...{ dhatFileVersion: 2, mode: 'heap', verb: 'Allocated', bklt: true, bkacc: hasAccesses },
    ...{ tu: 'instrs', Mtu: 'Minstr', tuth: shortTicks, cmd: command, pid },
    ...{ te: endTick, tg: heap.peakTick, pps: points, ftbl: [...frames.keys()] },
  });
}

const hasOffsets = ({ finalBytes }: HeapSite): boolean =>
  typeof finalBytes === 'number' && finalBytes > 0 && finalBytes <= MOST_OFFSETS;

/** Accesses of each byte, equal ones one after another as their number, negative, and then the value. */
function accessesByOffset({ finalBytes, offsets }: HeapSite): number[] {
  const found: { count: number; value: number }[] = [];
  let left = finalBytes as number;
  const add = (count: number, value: number): void => {
    const last = found.at(-1);
    if (last?.value === value) last.count += count;
    else found.push({ count, value });
    left -= count;
  };
  // Blocks may have been larger before realloc.
  for (const { count, loads, stores } of offsets.runs())
    if (left > 0) add(Math.min(count, left), Math.min((loads + stores) / count, MOST_ACCESSES));
  if (left > 0) add(left, 0);
  return found.flatMap(({ count, value }) => (count === 1 ? [value] : [-count, value]));
}
