/**
 * From which descriptor a number came that a system call is given. A number that was closed and given out again looks the
 * same as before; so the execution is replayed with the machinery of memcheck (shadow-rules.ts), in which each result that
 * is a descriptor counts as undefined, and its origin is the generation. Origins are carried along by copies through
 * registers and memory, to the bit, so a number tells where it is from, or, when it was computed otherwise, nothing.
 */
import { registers } from '../../schemas/tables.js';
import type { Table } from '../../schemas/schema.js';
import { ORIGIN_KIND } from '../../replay/shadow.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import { MEMCHECK_OPTIONS, memcheckSettings } from '../memcheck/options.js';
import { lookAgain, type SecondLook } from '../memcheck/second-look.js';
import type { ValueOrigins } from './part.js';

/** Numbers of origins from here on are generations; below are keys of `stacks`. */
const FIRST = 1 << 27;
const ARGUMENTS = ['RDI', 'RSI', 'RDX', 'R10', 'R8', 'R9'] as const;
const RESULT = 'RAX';
const NUMBER_BITS = 0xffff_ffffn;

const originOf = (generation: number): number => 4 * (FIRST + generation) + ORIGIN_KIND.request;

/** Replays a process image and tells of its events while origins are known. */
export class OriginReplay implements ValueOrigins {
  private readonly look: SecondLook;
  /** Results of threads that have not gone on since their call. */
  private readonly results = new Map<number, number>();

  /**
   * @param tables - rows that are told of
   * @param applied - told of each, and whether it is of the image itself
   */
  constructor(
    trace: Trace,
    process: number,
    tables: readonly Table[],
    applied: (row: EventRow, isInImage: boolean) => void,
  ) {
    const settings = memcheckSettings({
      ...Object.fromEntries(
        Object.entries(MEMCHECK_OPTIONS).map(([name, one]) => [name, one.default]),
      ),
      'leak-check': 'no',
    });
    const exit = trace.exitEvent(process) ?? Infinity;
    this.look = lookAgain(trace, process, settings, {
      tables,
      applied: (row) => {
        const { isInImage } = this.look.replay;
        if (isInImage && row.event > exit) return;
        if (row.table === registers) this.goesOn(row.u32('thread'));
        if (tables.includes(row.table)) applied(row, isInImage);
      },
    });
  }

  /** Replays everything. Returns what could not be followed. */
  run(): readonly string[] {
    this.look.replay.finish();
    return this.look.replay.divergences;
  }

  argument(thread: number, argument: number): number | undefined {
    const { registers: file } = this.look.replay;
    const found = file.firstUndefinedRegister(thread, file.registerOffset(ARGUMENTS[argument]!), 1);
    const generation = Math.floor((found?.origin ?? 0) / 4) - FIRST;
    return generation > 0 && found!.origin % 4 === ORIGIN_KIND.request ? generation : undefined;
  }

  gave(thread: number, generation: number): void {
    this.results.set(thread, generation);
    this.mark(thread, generation);
  }

  wrote(address: bigint, generation: number): void {
    this.look.shadow.planes.markUndefined(address, 4n, originOf(generation));
  }

  /** The engine writes the result when the thread goes on, and what it writes is defined. */
  private goesOn(thread: number): void {
    const generation = this.results.get(thread);
    if (generation === undefined) return;
    this.results.delete(thread);
    this.mark(thread, generation);
  }

  private mark(thread: number, generation: number): void {
    const { registers: file } = this.look.replay;
    file.markRegister(thread, file.registerOffset(RESULT), NUMBER_BITS, originOf(generation));
  }
}
