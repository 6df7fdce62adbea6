/**
 * Mappings of memory as things with a life, from mmap, shmat or an extension by mremap until the last part is unmapped: what is
 * accessed after it, against its protection, unmapped twice or with another size, replaced while it lives, or becomes more and
 * more. And segments of System V shared memory, which outlive a process that does not remove them.
 *
 * That munmap finds nothing to unmap is no error to the kernel (mmap(2)), nor is what MAP_FIXED replaces.
 */
import type { Row, Table } from '../../schemas/schema.js';
import { ERRNO_NAMES, SYSCALL_NAMES, syscallNumber as sys } from '../../schemas/syscalls.js';
import { faults, mappings, signals, syscall_enters, syscall_exits } from '../../schemas/tables.js';
import { mapping_lives } from '../../schemas/views.js';
import type { EventRow } from '../../replay/types.js';
import { hex } from '../../schemas/numbers.js';
import type { AnalysisOption } from '../analysis.js';
import type { AnalysisRows, FindingStack } from '../finding.js';
import { growthLimit, growths } from './growth.js';
import { argumentsOf, momentOf, type CapContext, type CapPart, type Moment } from './part.js';
import { RangeMap, type Range } from './ranges.js';

export const MAPPING_OPTIONS = {
  'track-maps': {
    describe: 'Report mappings that the process made and that are there at its end',
    default: 'no',
    values: ['no', 'yes'],
  },
  'map-growth': {
    describe:
      'Report places that go on mapping files or shared memory when so many mappings of one are there, or no',
    default: '16',
  },
} as const satisfies Record<string, AnalysisOption>;

type Origin = Row<typeof mapping_lives>['origin'];
type End = Row<typeof mapping_lives>['end'];

interface Mapping {
  readonly id: number;
  readonly address: number;
  readonly sizeBytes: number;
  readonly protection: number;
  readonly isShared: boolean;
  readonly file: string;
  origin: Origin;
  readonly mapped: Moment;
  /** Bytes that are still there. */
  leftBytes: number;
  unmapped: Moment | undefined;
  end: End;
}

/** A part of a mapping as it is. */
interface Part {
  readonly mapping: Mapping;
  readonly protection: number;
  /** Where the protection was set, if not when it was mapped. */
  readonly changed?: Moment;
}

/** A part of a mapping that is no more. */
interface Gone {
  readonly mapping: Mapping;
  readonly at: Moment;
}

/** A system call under way. */
interface Call {
  readonly number: number;
  readonly arguments: readonly bigint[];
  readonly at: Moment;
  /** What it is to replace or unmap, as it was before. */
  readonly before: readonly Range<Part>[];
}

/** A segment of System V shared memory that the process made. */
interface Segment {
  readonly made: Moment;
  readonly sizeBytes: bigint;
}

/** The rest of a mapping after its first bytes were unmapped, which may have been meant to be all. */
interface Rest {
  readonly mapping: Mapping;
  readonly start: number;
  readonly unmappedBytes: number;
  readonly at: Moment;
}

const SYS = {
  mmap: sys('mmap'),
  mprotect: sys('mprotect'),
  mremap: sys('mremap'),
  munmap: sys('munmap'),
  shmat: sys('shmat'),
  shmctl: sys('shmctl'),
  shmdt: sys('shmdt'),
  shmget: sys('shmget'),
} as const;
const MAP_FIXED = 0x10n;
const MAP_FIXED_NOREPLACE = 0x100000n;
const MREMAP_FIXED = 2n;
const IPC_PRIVATE = 0;
const IPC_CREAT = 0o1000n;
const IPC_EXCL = 0o2000n;
const IPC_RMID = 0;
const PAGE_BYTES = 4096;
/** What allocators cut off to have an address aligned leaves a multiple of at least so much. */
const ALIGNMENT_BYTES = 1 << 16;
const [EFAULT, ENOMEM, EINVAL] = [14, 12, 22];
const PROTECTIONS = ['read', 'write', 'execute'] as const;

export class Mappings implements CapPart {
  readonly tables: readonly Table[] = [mappings, syscall_enters, syscall_exits, faults, signals];
  private readonly live = new RangeMap<Part>();
  private readonly gone = new RangeMap<Gone>();
  private readonly all: Mapping[] = [];
  private readonly calls = new Map<number, Call>();
  private readonly segments = new Map<number, Segment>();
  private readonly rests: Rest[] = [];
  /** Of each thread a fault that a handler may repair. */
  private readonly doubted = new Map<number, () => void>();
  private readonly growth: number;
  private wasInImage = false;
  private heap: Mapping | undefined;
  rows: readonly AnalysisRows[] = [];

  constructor(private readonly context: CapContext) {
    this.growth = growthLimit(context.options, 'map-growth');
  }

  applied(row: EventRow): void {
    if (!this.wasInImage && this.context.isInImage()) this.enterImage();
    switch (row.table) {
      case mappings:
        return this.mappingChanged(row);
      case syscall_enters:
        return this.begins(row);
      case syscall_exits:
        return this.ends(row);
      case faults:
        return this.fault(row);
      case signals:
        // The handler has returned: it has done something about the fault.
        if (row.name('op') === 'return') this.doubted.delete(row.u32('thread'));
        return;
    }
  }

  finish(tick: number): void {
    this.enterImage();
    for (const report of this.doubted.values()) report();
    for (const rest of this.rests) this.checkRest(rest);
    if (this.context.image.end !== 'exec') {
      this.findLeaks();
      for (const { made, sizeBytes } of this.segments.values())
        this.context.found({
          kind: 'MapSegmentLeak',
          what: 'Segment of shared memory is not removed',
          at: made,
          notes: [`It has ${sizeBytes} bytes, and outlives the process`],
        });
    }
    this.findGrowth(tick);
    this.rows = [{ table: mapping_lives, rows: this.all.map((one) => this.rowOf(one)) }];
  }

  // ---------------------------------------------------------------- lives

  private enterImage(): void {
    if (this.wasInImage || !this.context.isInImage()) return;
    this.wasInImage = true;
    if (this.context.image.how !== 'fork') return;
    this.calls.clear();
    this.doubted.clear();
    this.segments.clear();
    this.rests.length = 0;
    const left = new Set(this.live.all.map(({ value }) => value.mapping));
    this.all.splice(0, Infinity, ...[...left].sort((a, b) => a.id - b.id));
    for (const mapping of left) if (mapping.origin !== 'startup') mapping.origin = 'forked';
  }

  private mappingChanged(row: EventRow): void {
    const [start, sizeBytes] = [row.number('address'), row.number('size')];
    const end = start + sizeBytes;
    const at = momentOf(row);
    switch (row.name('op')) {
      case 'startup':
        return this.begin(row, 'startup', at);
      case 'mmap': {
        const isSegment = this.calls.get(at.thread)?.number === SYS.shmat;
        return this.begin(row, isSegment ? 'shmat' : 'mmap', at);
      }
      case 'brk':
        if (!this.heap) this.begin(row, 'brk', at);
        this.heap ??= this.all.at(-1)!;
        return this.extend(this.heap, start, end, row.u32('protection'));
      case 'munmap':
      case 'brk_shrink':
        return this.vanish(start, end, at, 'unmapped');
      case 'mprotect':
        for (const part of this.live.within(start, end))
          this.live.set(part.start, part.end, {
            ...{ mapping: part.value.mapping, protection: row.u32('protection'), changed: at },
          });
        return;
      case 'mremap': {
        const source = row.number('source');
        const call = this.calls.get(at.thread);
        const mapping =
          this.live.at(source || Number(call?.arguments[0] ?? 0n))?.value.mapping ??
          call?.before[0]?.value.mapping;
        if (!mapping) return this.begin(row, 'mmap', at);
        return this.extend(mapping, start, end, row.u32('protection'));
      }
    }
  }

  private begin(row: EventRow, origin: Origin, at: Moment): void {
    const [address, sizeBytes] = [row.number('address'), row.number('size')];
    const mapping: Mapping = {
      ...{ id: (this.all.at(-1)?.id ?? 0) + 1, address, sizeBytes, origin, mapped: at },
      ...{ protection: row.u32('protection'), isShared: row.u32('shared') !== 0 },
      file: new TextDecoder().decode(row.bytes('file')),
      ...{ leftBytes: 0, unmapped: undefined, end: 'mapped' },
    };
    this.all.push(mapping);
    this.vanish(address, address + sizeBytes, at, 'replaced');
    this.extend(mapping, address, address + sizeBytes, mapping.protection);
  }

  private extend(mapping: Mapping, start: number, end: number, protection: number): void {
    for (const part of this.live.clear(start, end))
      part.value.mapping.leftBytes -= part.end - part.start;
    this.live.set(start, end, { mapping, protection });
    this.gone.clear(start, end);
    mapping.leftBytes += end - start;
    mapping.end = 'mapped';
  }

  private vanish(start: number, end: number, at: Moment, how: End): void {
    for (const part of this.live.clear(start, end)) {
      const { mapping } = part.value;
      mapping.leftBytes -= part.end - part.start;
      this.gone.set(part.start, part.end, { mapping, at });
      if (mapping.leftBytes > 0) continue;
      mapping.unmapped = at;
      mapping.end = how;
    }
  }

  private rowOf(one: Mapping): Omit<Row<typeof mapping_lives>, 'analysis'> {
    const { mapped, unmapped, origin } = one;
    const isBefore = origin === 'forked';
    return {
      ...{ process: this.context.process, mapping: one.id, address: BigInt(one.address), origin },
      ...{ size: BigInt(one.sizeBytes), left: BigInt(one.leftBytes), file: one.file },
      ...{ protection: one.protection, shared: one.isShared, end: one.end },
      ...{ mapped_tick: isBefore ? 0n : BigInt(mapped.tick), mapped_thread: mapped.thread },
      ...{ mapped_stack: mapped.stack, unmapped_stack: unmapped?.stack ?? 0 },
      ...{ unmapped_tick: BigInt(unmapped?.tick ?? 0), unmapped_thread: unmapped?.thread ?? 0 },
    };
  }

  // ---------------------------------------------------------------- system calls

  private begins(row: EventRow): void {
    const number = row.u32('number');
    const given = argumentsOf(row);
    const [first, second, , flags] = given as [bigint, bigint, bigint, bigint];
    let replaced: readonly [bigint, bigint] = [first, 0n];
    if (number === SYS.munmap) replaced = [first, second];
    else if (number === SYS.mmap && flags & MAP_FIXED && !(flags & MAP_FIXED_NOREPLACE))
      replaced = [first, second];
    else if (number === SYS.mremap && flags & MREMAP_FIXED) replaced = [given[4]!, given[2]!];
    else if (number === SYS.mremap) replaced = [first, 1n];
    const start = Number(replaced[0]);
    const end = start + pages(Number(replaced[1]));
    const before = replaced[1] > 0n ? this.live.within(start, end) : [];
    const at = momentOf(row);
    this.calls.set(at.thread, { number, arguments: given, at, before });
  }

  private ends(row: EventRow): void {
    const thread = row.u32('thread');
    const call = this.calls.get(thread);
    if (!call) return;
    this.calls.delete(thread);
    if (row.u32('failed') !== 0) return this.failed(call, -Number(row.i64('result')));
    const [first, second, flags] = call.arguments as [bigint, bigint, bigint];
    switch (call.number) {
      case SYS.munmap:
        return this.unmapped(call);
      case SYS.mmap:
      case SYS.mremap:
        if (call.number === SYS.mmap || call.arguments[3]! & MREMAP_FIXED) this.overmapped(call);
        return;
      case SYS.shmget: {
        const isNew = Number(first) === IPC_PRIVATE || (flags & IPC_CREAT && flags & IPC_EXCL);
        if (isNew)
          this.segments.set(Number(row.i64('result')), { made: call.at, sizeBytes: second });
        return;
      }
      case SYS.shmctl:
        if (Number(BigInt.asIntN(32, second)) === IPC_RMID) this.segments.delete(Number(first));
        return;
    }
  }

  private failed(call: Call, error: number): void {
    const { number, at } = call;
    const name = SYSCALL_NAMES[number]!;
    const [address] = call.arguments as [bigint];
    if (number === SYS.shmdt && error === EINVAL)
      return this.nothingThere(call, Number(address), 1);
    if (number === SYS.munmap && error === EINVAL) {
      const notes = [`It was given ${hex(address)} and a size of ${call.arguments[1]}`];
      this.context.found({ kind: 'MapBad', what: 'What munmap is given are no pages', at, notes });
      return;
    }
    if (error !== EFAULT && error !== ENOMEM) return;
    // Only calls about memory itself fail with ENOMEM for what is not mapped.
    const given = error === EFAULT ? call.arguments : call.arguments.slice(0, 1);
    if (error === ENOMEM && number !== SYS.mprotect && number !== SYS.mremap) return;
    for (const value of given) {
      const gone = this.gone.at(Number(value));
      if (!gone) continue;
      this.context.found({
        kind: 'MapUseAfterUnmap',
        what: `Memory is given to ${name} after it was unmapped`,
        at,
        notes: [
          `Address ${hex(value)} was in ${describe(gone.value.mapping)}; the call failed with ${ERRNO_NAMES.get(error)!}`,
        ],
        more: this.life(gone.value),
      });
      return;
    }
  }

  private unmapped(call: Call): void {
    const start = Number(call.arguments[0]!);
    const end = start + pages(Number(call.arguments[1]!));
    const [aim] = call.before;
    if (!aim) return this.nothingThere(call, start, end - start);
    const { mapping } = aim.value;
    const others = new Set(call.before.map(({ value }) => value.mapping));
    others.delete(mapping);
    for (const other of others) {
      if (this.haveOneOwner(mapping, other)) continue;
      const isPart = other.leftBytes > 0;
      this.context.found({
        kind: 'MapPartialUnmap',
        what: `Unmapping reaches into another mapping${isPart ? ', of which a part stays' : ''}`,
        at: call.at,
        notes: [
          `Unmapped was ${hex(start)} to ${hex(end)}, with ${describe(mapping)}, and of ${describe(other)}`,
        ],
        more: [
          this.mappedAt(mapping),
          this.context.stack('The other one was mapped at', other.mapped),
        ],
      });
    }
    if (others.size > 0) return;
    const last = call.before.at(-1)!;
    if (end > last.end && mapping.leftBytes === 0) {
      this.sizeDiffers(mapping, call.at, end - start, end - last.end);
    } else if (aim.start === start && mapping.leftBytes > 0 && end % ALIGNMENT_BYTES !== 0) {
      if (this.live.at(end)?.value.mapping === mapping)
        this.rests.push({ mapping, start: end, unmappedBytes: end - start, at: call.at });
    }
  }

  private sizeDiffers(
    mapping: Mapping,
    at: Moment,
    unmappedBytes: number,
    beyondBytes: number,
  ): void {
    this.context.found({
      kind: 'MapSize',
      what:
        beyondBytes > 0
          ? 'Mapping is unmapped with a size larger than its own'
          : 'Mapping is unmapped with a size smaller than its own, and the rest stays',
      at,
      notes: [`Unmapped were ${unmappedBytes} bytes of ${describe(mapping)}`],
      more: [this.mappedAt(mapping)],
    });
  }

  /** At the end: whether what was left of a mapping was of no more use. */
  private checkRest({ mapping, start, unmappedBytes, at }: Rest): void {
    const rest = this.live.at(start);
    const isUntouched =
      rest?.value.mapping === mapping &&
      rest.value.changed === undefined &&
      this.live.all.some((range) => range.start === start && range.value.mapping === mapping);
    if (isUntouched) this.sizeDiffers(mapping, at, unmappedBytes, 0);
  }

  private nothingThere(call: Call, start: number, sizeBytes: number): void {
    const [gone] = this.gone.within(start, start + sizeBytes);
    const name = SYSCALL_NAMES[call.number]!;
    const notes = [`Address ${hex(start)}${gone ? ` was in ${describe(gone.value.mapping)}` : ''}`];
    this.context.found({
      kind: gone ? 'MapDoubleUnmap' : 'MapBad',
      what: gone
        ? `Memory is unmapped by ${name} that was unmapped already`
        : `Memory is unmapped by ${name} that was never mapped`,
      at: call.at,
      notes,
      more: gone ? this.life(gone.value) : [],
    });
  }

  private overmapped(call: Call): void {
    const told = new Set<Mapping>();
    for (const { value } of call.before) {
      const { mapping, protection } = value;
      // What no access is allowed to is a place kept free.
      if (protection === 0 || told.has(mapping)) continue;
      told.add(mapping);
      const by = this.live.at(Number(call.arguments[call.number === SYS.mmap ? 0 : 4]!))?.value;
      if (by && this.haveOneOwner(by.mapping, mapping)) continue;
      this.context.found({
        kind: 'MapOvermap',
        what: `Live mapping is replaced by ${SYSCALL_NAMES[call.number]!}`,
        at: call.at,
        notes: [`Replaced was a part of ${describe(mapping)}`],
        more: [this.mappedAt(mapping)],
      });
    }
  }

  /**
   * Both are of one part of the program: of the same file, made at the same place, or by the same invocation of a
   * function, as far as call stacks tell.
   */
  private haveOneOwner(a: Mapping, b: Mapping): boolean {
    if (a === b || (a.file !== '' && a.file === b.file)) return true;
    const [first, second] = [a, b].map(({ mapped }) => this.context.stackOf(mapped.stack));
    if (first!.length < 2 || second!.length < 2) return false;
    return first![1] === second![1] || first!.slice(2).join() === second!.slice(2).join();
  }

  // ---------------------------------------------------------------- accesses

  private fault(row: EventRow): void {
    const address = row.number('address');
    const at = momentOf(row);
    const live = this.live.at(address)?.value;
    const gone = this.gone.at(address)?.value;
    if (!live && !gone) return;
    const mapping = (live ?? gone)!.mapping;
    const notes = [
      `Address ${hex(address)} is ${address - mapping.address} bytes inside ${describe(mapping)}`,
    ];
    const report = (): void => {
      if (!live)
        return this.context.found({
          ...{ kind: 'MapUseAfterUnmap', what: 'Memory is accessed after it was unmapped' },
          ...{ at, notes, more: this.life(gone!) },
        });
      this.context.found({
        kind: 'MapPermission',
        what: `Access that the protection of the memory forbids: ${protectionName(live.protection)}`,
        at,
        notes,
        more: [
          ...(live.changed ? [this.context.stack('The protection was set at', live.changed)] : []),
          this.mappedAt(mapping),
        ],
      });
    };
    if (row.u32('fatal') !== 0) report();
    else this.doubted.set(at.thread, report);
  }

  // ---------------------------------------------------------------- the end

  /** The process image made it, by a call of its own and not of the dynamic linker. */
  private isOfProgram({ origin, mapped }: Mapping): boolean {
    return (origin === 'mmap' || origin === 'shmat') && !this.context.isOfLoader(mapped.stack);
  }

  private findLeaks(): void {
    if (this.context.options['track-maps'] !== 'yes') return;
    for (const mapping of this.all) {
      if (mapping.leftBytes === 0 || !this.isOfProgram(mapping)) continue;
      this.context.found({
        kind: 'MapLeak',
        what: 'Mapping is left',
        at: mapping.mapped,
        notes: [`${mapping.leftBytes} bytes are left of ${describe(mapping)}`],
      });
    }
  }

  private findGrowth(tick: number): void {
    const found = growths(
      this.all.filter((mapping) => this.isOfProgram(mapping) && !isHeap(mapping)),
      ({ mapped }) => this.context.siteOf(mapped.stack),
      ({ mapped, unmapped }) => ({ from: mapped.tick, to: unmapped?.tick ?? Infinity }),
      tick,
      this.growth,
    );
    for (const { last, counts } of found) {
      this.context.found({
        kind: 'MapGrowth',
        what: 'More and more mappings that are made here are there',
        at: last.mapped,
        notes: [`There after each eighth of the time since the first: ${counts.join(', ')}`],
      });
    }
  }

  // ---------------------------------------------------------------- words

  private mappedAt(mapping: Mapping): FindingStack {
    return this.context.stack('It was mapped at', mapping.mapped);
  }

  private life({ mapping, at }: Gone): FindingStack[] {
    return [this.context.stack('It was unmapped at', at), this.mappedAt(mapping)];
  }
}

/** Private memory is what allocators make a heap of: that it grows is no mistake in itself. */
const isHeap = ({ isShared, file }: Mapping): boolean => !isShared && file === '';

const pages = (sizeBytes: number): number => Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES;

const describe = ({ sizeBytes, file, address }: Mapping): string =>
  `a mapping of ${sizeBytes} bytes at ${hex(address)}${file ? ` of ${file}` : ''}`;

const protectionName = (bits: number): string => {
  const names = PROTECTIONS.filter((_, bit) => bits & (1 << bit));
  return names.length > 0 ? `only ${names.join(' and ')}` : 'no access';
};
