/** Lock discipline of one process image from its stored tables alone, and the options of it. */
import { eventRows } from '../../replay/event-rows.js';
import { recordedStacks } from '../../replay/lineage.js';
import { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import { UserError } from '../../schemas/errors.js';
import type { Table } from '../../schemas/schema.js';
import type { AnalysisOption, OptionValues } from '../analysis.js';
import type { CycleClass } from './lock-order.js';
import { LockChecker, type LockOptions, type LockOutcome } from './locks.js';
import type { SyncRow } from './sync-row.js';

/** Named as Helgrind's and DRD's own where they have such an option. */
export const LOCK_OPTIONS = {
  'track-lockorders': {
    describe:
      'Report orders of taking locks that can end in a deadlock; all: also those of threads that ran one after another',
    default: 'yes',
    values: ['no', 'yes', 'all'],
  },
  'check-cond-signal-mutex': {
    describe: 'Report signals of a condition variable whose mutex the thread does not hold',
    default: 'no',
    values: ['no', 'yes'],
  },
  'exclusive-threshold': {
    describe: 'Report locks held for writing for longer than this number of guest instructions',
    default: 'off',
  },
  'shared-threshold': {
    describe: 'Report locks held for reading for longer than this number of guest instructions',
    default: 'off',
  },
} as const satisfies Record<string, AnalysisOption>;

const ORDERS: Readonly<Record<string, readonly CycleClass[]>> = {
  no: [],
  yes: ['threads', 'same thread'],
  all: ['threads', 'same thread', 'in turn'],
};

/** What the options mean. Throws UserError for values that they do not take. */
export function lockSettings(options: OptionValues): LockOptions {
  const value = (name: keyof typeof LOCK_OPTIONS) => options[name] ?? LOCK_OPTIONS[name].default;
  const limit = (name: keyof typeof LOCK_OPTIONS): bigint | undefined => {
    const given = value(name);
    if (given === 'off') return undefined;
    if (!/^\d{1,18}$/.test(given))
      throw new UserError(`--${name} takes a number of instructions or off, not "${given}".`);
    return BigInt(given);
  };
  return {
    orders: ORDERS[value('track-lockorders')] ?? [],
    checkSignals: value('check-cond-signal-mutex') === 'yes',
    exclusive: limit('exclusive-threshold'),
    shared: limit('shared-threshold'),
  };
}

/** Judges the locks of a process image: by its stored tables alone, or told of its events by who reads them anyway. */
export class LockPass {
  private readonly checker: LockChecker;
  private isInImage = false;

  /** @param callers - addresses of a call stack that are shown */
  constructor(
    private readonly trace: Trace,
    private readonly process: number,
    options: LockOptions,
    callers: number,
  ) {
    const stacks = recordedStacks(trace, process);
    const symbols = new Symbols(trace, process);
    const context = {
      process,
      stackOf: (stack: number) => symbols.programPcs(stacks.get(stack) ?? [], callers),
      isInImage: () => this.isInImage,
      describe: (address: bigint) => {
        const variable = symbols.variable(address);
        return variable && `${variable.offset} bytes inside data symbol "${variable.name}"`;
      },
    };
    this.checker = new LockChecker(context, options);
  }

  /** Rows of these tables are to be told of, all of them, in order. */
  get tables(): readonly Table[] {
    return this.checker.tables;
  }

  applied(row: EventRow, isInImage: boolean): void {
    this.isInImage = isInImage;
    this.checker.applied(row);
  }

  /** The same of a row of `sync` of the image itself, which was read as an operation. */
  operation(operation: SyncRow, row: EventRow): void {
    this.isInImage = true;
    this.checker.operation(operation, row);
  }

  /** Reads the stored tables. */
  run(): this {
    for (const { row, isInImage } of eventRows(this.trace, this.process, this.tables))
      this.applied(row, isInImage);
    return this;
  }

  /** What came out, after all rows. */
  outcome(): LockOutcome {
    this.isInImage = true;
    const image = this.trace.processes.find((row) => row.process === this.process);
    return this.checker.finish(image?.ticks ?? 0n);
  }
}
