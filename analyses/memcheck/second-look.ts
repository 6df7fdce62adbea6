/**
 * Replays a process image again as memcheck does, to look at moments of it: the same shadow state and the
 * same events, but nothing is reported unless the caller wants it.
 */
import type { Block } from '../../replay/ir.js';
import { openReplay, type ProcessReplay } from '../../replay/replay.js';
import type { ShadowGuest, ShadowEvent } from '../../replay/shadow-guest.js';
import type { Trace } from '../../replay/trace.js';
import type { Table } from '../../schemas/schema.js';
import type { EventRow } from '../../replay/types.js';
import { MemcheckEvents, type EventContext, type Found } from './events.js';
import { instrument } from './instrument.js';
import type { MemcheckSettings } from './options.js';
import { touchedRegisters, trackedWords, type RegisterOffsets } from './registers.js';

export interface SecondLook {
  readonly replay: ProcessReplay;
  readonly events: MemcheckEvents;
  readonly shadow: ShadowGuest;
}

/** What a second look does otherwise than memcheck. */
export interface LookOptions {
  report?(event: ShadowEvent): void;
  found?(finding: Found): void;
  /** A row took effect, in the guest and in the shadow state. */
  applied?(row: EventRow): void;
  /** Tables whose rows `applied` is told of, besides those that memcheck reads. */
  readonly tables?: readonly Table[];
  /** In the place of memcheck's own, with the offsets of registers. */
  instrument?(block: Block, from: number, registers: RegisterOffsets): Block;
  /** In the place of memcheck's own. */
  events?(context: EventContext, settings: MemcheckSettings): MemcheckEvents;
}

/** Begins a second look, at the first tick. */
export function lookAgain(
  trace: Trace,
  process: number,
  settings: MemcheckSettings,
  options: LookOptions = {},
): SecondLook {
  const registers = trace.manifest.guest?.registers as RegisterOffsets;
  const rewrite = options.instrument ?? instrument;
  const context: EventContext = {
    get memory() {
      return replay.guest.shadow!.planes;
    },
    get registers() {
      return replay.registers;
    },
    stackOf: () => [],
    found: (finding) => options.found?.(finding),
  };
  const events = options.events?.(context, settings) ?? new MemcheckEvents(context, settings);
  const replay: ProcessReplay = openReplay(trace, process, {
    shadow: {
      instrument: (block, from) => rewrite(block, from, registers),
      touchedRegisters: (block) => {
        const { reads, writes } = touchedRegisters(block, registers);
        return [...reads, ...writes];
      },
      trackedWords: trackedWords(registers),
      report: (event) => options.report?.(event),
      moveStackFar: (from, to) => events.moveStackFar(from, to),
      partialLoadsOk: settings.partialLoadsOk,
    },
    tidyUp: true,
    observer: {
      tables: [...new Set([...events.tables, ...(options.tables ?? [])])],
      applied: (row) => {
        events.applied(row);
        options.applied?.(row);
      },
    },
  });
  return { replay, events, shadow: replay.guest.shadow! };
}
