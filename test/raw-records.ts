/** Records as the tool writes them, for tests that make spool pieces of their own. */
import { encodeRecord } from '../recorder/raw.js';
import type { RunEnd } from '../recorder/run-writer.js';
import type { Row, Table } from '../schemas/schema.js';
import { process_starts, TOOL_TABLES } from '../schemas/tables.js';

/** How the process of `start` ended. */
export const ENDED: RunEnd = { pid: 10, exitStatus: 0, signal: null, fatalSignals: new Map() };

/** The raw record of a row. */
export function raw<T extends Table>(table: T, row: Row<T>): Uint8Array {
  return encodeRecord(table, TOOL_TABLES.indexOf(table as never), row);
}

/** The record that the first piece of a process image begins with. */
export function start(overrides: Partial<Row<typeof process_starts>> = {}): Uint8Array {
  return raw(process_starts, {
    how: 'start',
    pid: 10,
    parent_pid: 1,
    time_ns: 1000n,
    parent: '',
    parent_tick: 0n,
    parent_event: 0n,
    executable: '/bin/x',
    arguments: Buffer.from('x\0a b\0'),
    directory: '/',
    engine: '3.19.0',
    ...overrides,
  });
}
