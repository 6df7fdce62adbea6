/**
 * Looking closer at chosen moments of an execution, for analyses that have found out which: the call stacks there, and
 * arguments of calls. Each is a further replay, so it is for a few thousand moments and not for all accesses.
 */
import { openReplay, type ProcessReplay } from '../replay/replay.js';
import { Symbols } from '../replay/symbols.js';
import type { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { CALL_SITE_KINDS } from '../replay/call-sites.js';
import type { Pc } from './finding.js';
import { memcheckSettings } from './memcheck/options.js';
import { lookAgain } from './memcheck/second-look.js';

/** More instructions than a superblock has. */
const LARGEST_BLOCK = 256n;

/**
 * Replays to instructions by their ticks, in rising order.
 * @param at is told the tick and the address of each, before it takes effect
 */
export function visit(
  replay: ProcessReplay,
  ticks: Iterable<bigint>,
  at: (tick: bigint, pc: bigint) => void,
): void {
  const left = new Set(ticks);
  let blockTick = -1n;
  let instruction = 0n;
  const before = (pc: bigint): void => {
    const { tick } = replay;
    instruction = tick === blockTick ? instruction + 1n : 0n;
    blockTick = tick;
    if (left.delete(tick + instruction)) at(tick + instruction, pc);
  };
  for (const tick of [...left].sort((a, b) => Number(a - b))) {
    if (!left.has(tick)) continue;
    const near = tick - LARGEST_BLOCK;
    if (near > replay.tick) replay.runUntil(near);
    replay.runUntil(tick + 1n, 'before', before);
  }
}

/** The call stacks at instructions, by their ticks: addresses, the innermost first. Throws UserError for no such process. */
export function stacksAt(
  trace: Trace,
  process: number,
  ticks: Iterable<bigint>,
): Map<bigint, readonly Pc[]> {
  const settings = memcheckSettings({ 'leak-check': 'no' });
  const { replay, shadow } = lookAgain(trace, process, settings);
  const stacks = new Map<bigint, readonly Pc[]>();
  visit(replay, ticks, (tick, pc) => stacks.set(tick, shadow.stack(pc, shadow.stackPointer)));
  return stacks;
}

/** A call of a function, before its first instruction. */
export interface Call {
  readonly process: number;
  readonly thread: number;
  /** Of the function's first instruction: see `stacksAt`. */
  readonly tick: bigint;
  /** Demangled. */
  readonly function: string;
  /** The innermost address is the function's, the next one that of the call. */
  readonly pcs: readonly [Pc, Pc];
  /**
   * The first six integers or pointers that it can have been given (System V ABI, AMD64, 3.2.3); one narrower than 64 bits
   * may have anything above.
   */
  readonly arguments: readonly bigint[];
  /** A register, such as `R10`. Throws UserError for an unknown one, and once the next call has been asked for. */
  register(name: string): bigint;
  /** Bytes of the guest's memory. Throws UserError once the next call has been asked for. */
  memory(address: bigint, sizeBytes: number): Uint8Array;
}

const ARGUMENTS = ['RDI', 'RSI', 'RDX', 'RCX', 'R8', 'R9'];
const ENTER = CALL_SITE_KINDS.indexOf('enter');

/**
 * The calls of functions, by their demangled names, in order: not of what was inlined. Replays the execution twice, and stops at each call, which takes microseconds.
 */
export function* callsTo(
  trace: Trace,
  process: number,
  functions: readonly string[],
): Generator<Call> {
  const symbols = new Symbols(trace, process);
  const names = new Set(functions);
  const nameAt = (pc: bigint): string => symbols.frames(pc).at(-1)!.fn;
  const entries = entriesOf(
    trace,
    process,
    (address) => names.has(nameAt(address)) && symbols.codeStart(address)?.address === address,
  );
  const replay = openReplay(trace, process);
  for (const { tick, thread, pc } of entries) {
    if (!replay.runUntil(BigInt(tick)) || replay.register('RIP') !== pc) continue;
    const now = (): ProcessReplay => {
      if (replay.tick === BigInt(tick)) return replay;
      throw new UserError(
        'Registers and memory at a call are to be asked for before the next call is.',
      );
    };
    const memory = (address: bigint, size: number): Uint8Array =>
      now().guest.readMemory(address, size);
    const [returnTo] = new BigUint64Array(
      Uint8Array.from(memory(replay.register('RSP'), 8)).buffer,
    );
    yield {
      ...{ process, thread, tick: BigInt(tick), function: nameAt(pc), memory },
      pcs: [pc, returnTo! - 1n],
      arguments: ARGUMENTS.map((name) => replay.register(name)),
      register: (name) => now().register(name),
    };
  }
}

interface Entry {
  readonly tick: number;
  readonly thread: number;
  readonly pc: bigint;
}

/** Where functions were entered, in order. */
function entriesOf(
  trace: Trace,
  process: number,
  isFunction: (address: bigint) => boolean,
): Entry[] {
  let entries: Entry[] = [];
  let thread = 0;
  const replay = openReplay(trace, process, {
    counts: true,
    calls: {
      isFunction,
      rows({ count, sites, ticks }, { kinds, pcs }) {
        for (let i = 0; i < count; i++)
          if (kinds[sites[i]!] === ENTER)
            entries.push({ tick: ticks[i]!, thread, pc: pcs[sites[i]!]! });
      },
      select: (next) => void (thread = next),
      fork: () => void (entries = []),
      signal() {},
      end() {},
      lost() {},
    },
  });
  replay.finish();
  return entries;
}
