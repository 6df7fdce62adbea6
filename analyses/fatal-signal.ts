/** The signal that killed a process image, as Valgrind tells of it at the end. */
import { recordedStacks } from '../replay/lineage.js';
import type { Frame, Symbols } from '../replay/symbols.js';
import type { Trace } from '../replay/trace.js';
import { faults, signals } from '../schemas/tables.js';

export interface FatalSignal {
  /** Its number. */
  readonly signal: number;
  readonly thread: number;
  readonly frames: readonly Frame[];
  /** Of a signal that an access raised. */
  readonly fault?: {
    /** si_code of sigaction(2). */
    readonly code: number;
    readonly address: bigint;
    /** What was wrong, in Valgrind's words; empty for codes that it has none for. */
    readonly event: string;
  };
}

const [SIGBUS, SIGSEGV] = [7, 11];
/** By signal and si_code. */
const EVENTS: Readonly<Record<string, string>> = {
  [`${SIGSEGV} 1`]: 'Access not within mapped region',
  [`${SIGSEGV} 2`]: 'Bad permissions for mapped region',
  [`${SIGBUS} 1`]: 'Invalid address alignment',
  [`${SIGBUS} 2`]: 'Non-existent physical address',
  [`${SIGBUS} 3`]: 'Hardware error',
};

/**
 * Undefined if none did.
 * @param callers - addresses of the call stack at most
 */
export function fatalSignalOf(
  trace: Trace,
  process: number,
  symbols: Symbols,
  callers: number,
): FatalSignal | undefined {
  const fatal = [...trace.rows(signals, process)].findLast(({ op }) => op === 'fatal');
  if (!fatal) return undefined;
  const { signal, thread, tick, stack } = fatal;
  const pcs = recordedStacks(trace, process).get(stack) ?? [];
  const frames = symbols.stack(pcs, callers);
  const fault = [...trace.rows(faults, process)].findLast(
    (row) => row.fatal && row.tick === tick && row.thread === thread,
  );
  if (!fault) return { signal, thread, frames };
  const { code, address } = fault;
  const event = EVENTS[`${signal} ${code}`] ?? '';
  return { signal, thread, frames, fault: { code, address, event } };
}
