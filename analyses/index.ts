/**
 * What an analysis of the user's own imports from 'grind'. It is the interface of the analyses that come with grind, too:
 *
 * - `defineAnalysis` makes an analysis of a name, options, and what it does: a `part` of a replay, which is told of events
 *   by name and of accesses; a `run` that reads the trace as it likes; or a SELECT (`sql`).
 * - A part that has no `wants` is told of recorded events alone, and costs next to nothing. `wants: {}` replays the execution:
 *   `begin` gets the replay, with registers and memory at each event. `wants: { accesses: true }` adds loads and stores,
 *   `columns` says which of their columns are needed, `counts` counts executions.
 * - Parts that are asked for together (`grind analyze memcheck,./mine.ts`) share a replay, if they have not restricted what
 *   is delivered.
 * - What is found is a `Finding` (`findingAt`), a table for SQL (`analysisTable`), a profile for the report; or several.
 *
 * docs/tables.md lists the events, under "Stored files", with their columns.
 */
export {
  defineAnalysis,
  wholeNumber,
  type Analysis,
  type AnalysisContext,
  type AnalysisOption,
  type Closing,
  type Definition,
  type OptionValues,
  type Weight,
} from './analysis.js';
export type { EventHandlers, EventName } from './event-handlers.js';
export type {
  AnalysisColumns,
  AnalysisRows,
  Finding,
  FindingStack,
  Outcome,
  Pc,
  StoredColumn,
  Summary,
} from './finding.js';
export { Findings } from './findings.js';
export { analysisTable, findingAt, type Said, type Where } from './make.js';
export { callsTo, stacksAt, type Call } from './moments.js';
export type { Drawing, Profile, ProfileColumn, ProfileTable } from './profile.js';
export type { EventPart, MakePart, Part, ReplayPart } from './replay-parts.js';
export { recordedStacks, type RecordedStacks } from '../replay/lineage.js';
export { openReplay, type ProcessReplay } from '../replay/replay.js';
export { Symbols, type Frame } from '../replay/symbols.js';
export type { ProcessRow, Trace } from '../replay/trace.js';
export type {
  AccessBatch,
  AccessColumn,
  EventRow,
  ReplayOptions,
  SegmentTable,
  SiteTable,
} from '../replay/types.js';
export { UserError } from '../schemas/errors.js';
export { hex } from '../schemas/numbers.js';
export {
  binary,
  bool,
  enumOf,
  i32,
  i64,
  string,
  u16,
  u32,
  u64,
  u8,
  type Table,
} from '../schemas/schema.js';
export { ERRNO_NAMES, SYSCALL_NAMES, syscallNumber } from '../schemas/syscalls.js';
export * as tables from '../schemas/tables.js';
