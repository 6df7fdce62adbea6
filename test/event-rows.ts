/** Rows of the trace made by hand, and an observer that they are given to: for tests of analyses. */
import { LEAK_DEFAULTS, type LeakOptions } from '../analyses/memcheck/leaks.js';
import { MEMCHECK_DEFAULTS, MemcheckEvents, type Found } from '../analyses/memcheck/events.js';
import type { EventRow } from '../replay/types.js';
import type { Columns, Table } from '../schemas/schema.js';
import { heap, mappings, registers, thread_events } from '../schemas/tables.js';
import { PlainMemory, PlainRegisters } from './plain-shadow.js';

/** Integers as bigint or number, enums by name, texts as string. Columns left out are 0 or empty. */
export type Values = Readonly<Record<string, bigint | number | string | Uint8Array>>;

/** A row of a table. */
export function row(table: Table, values: Values): EventRow {
  const unknown = Object.keys(values).find((name) => !(name in (table.columns as Columns)));
  if (unknown) throw new Error(`${table.name} has no column ${unknown}`);
  return {
    table,
    event: 0,
    tick: Number(values['tick'] ?? 0),
    batch: undefined,
    row: 0,
    value: (name) => values[name] as never,
    i64: (name) => BigInt.asIntN(64, BigInt((values[name] as bigint | number | undefined) ?? 0)),
    u64: (name) => BigInt.asUintN(64, BigInt((values[name] as bigint | number | undefined) ?? 0)),
    number: (name) => Number(values[name] ?? 0),
    u32: (name) => Number(values[name] ?? 0),
    name: (name) => values[name] as string | undefined,
    bytes: (name) => {
      const value = values[name] ?? '';
      return typeof value === 'string' ? new TextEncoder().encode(value) : (value as Uint8Array);
    },
  };
}

export const STACK_TOP = 0x1fff001000n;

/** A process with one thread that has begun, its stack, a data segment and a mapped file. */
export class Process {
  readonly memory = new PlainMemory();
  readonly registers = new PlainRegisters();
  readonly found: Found[] = [];
  readonly events: MemcheckEvents;
  tick = 0n;
  private stack = 1000;

  constructor(leaks: Partial<LeakOptions> = {}) {
    this.events = new MemcheckEvents(
      {
        memory: this.memory,
        registers: this.registers,
        // The stack's number tells two stacks apart.
        stackOf: (stack) => (stack ? [BigInt(stack), 0x400n] : []),
        found: (finding) => this.found.push(finding),
      },
      { ...MEMCHECK_DEFAULTS, leaks: { ...LEAK_DEFAULTS, leakCheck: 'full', ...leaks } },
    );
    const map = (address: bigint, size: bigint, protection: number, file = '') =>
      this.apply(mappings, { op: 'startup', address, size, protection, file });
    map(0x400000n, 0x1000n, 5, '/bin/program');
    map(0x401000n, 0x2000n, 3, '/bin/program');
    map(STACK_TOP - 0x2000n, 0x2000n, 3);
    this.apply(thread_events, { op: 'start', thread: 1 });
    this.startThread(1, STACK_TOP - 0x400n);
  }

  /** The first registers of a thread. */
  startThread(thread: number, sp: bigint): void {
    this.registers.set(thread, 'RSP', sp);
    const changes = BigUint64Array.of(BigInt(this.registers.registerOffset('RSP')), sp);
    this.apply(registers, { thread, full: 1, changes: new Uint8Array(changes.buffer) });
  }

  /** Applies a row; without a stack or thread of its own it gets a new stack and thread 1. */
  apply(table: Table, values: Values): void {
    const own: Values = 'stack' in table.columns ? { stack: ++this.stack } : {};
    this.events.applied(row(table, { tick: this.tick++, thread: 1, ...own, ...values }));
  }

  alloc(address: bigint, size: bigint, op = 'malloc', stack?: number): void {
    this.apply(heap, { op, address, size, ...(stack !== undefined && { stack }) });
  }

  free(address: bigint, op = 'free'): void {
    this.apply(heap, { op, address });
  }

  /** Kinds and sentences of what was found since the last call. */
  take(): string[] {
    return this.found.splice(0).map(({ kind, what }) => `${kind}: ${what}`);
  }

  /** Everything said of the last finding, besides where it happened. */
  said(): string[] {
    const last = this.found.at(-1)!;
    return [...last.notes, ...last.stacks.slice(1).map(({ role }) => role)];
  }
}
