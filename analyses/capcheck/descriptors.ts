/**
 * Descriptors as generations: a number that the kernel gives out, from then until it is closed. The same number is
 * another generation afterwards.
 */
import type { EventRow } from '../../replay/types.js';
import type { Table } from '../../schemas/schema.js';
import { syscall_enters, syscall_exits } from '../../schemas/tables.js';
import type { AnalysisOption } from '../analysis.js';
import type { CapContext, CapPart } from './part.js';

export const DESCRIPTOR_OPTIONS = {
  'track-fds': {
    describe:
      'Report descriptors that are open at the end: none, those that the process opened itself, or also inherited ones',
    default: 'yes',
    values: ['no', 'yes', 'all'],
  },
} as const satisfies Record<string, AnalysisOption>;

export class Descriptors implements CapPart {
  readonly tables: readonly Table[] = [syscall_enters, syscall_exits];

  constructor(private readonly context: CapContext) {}

  applied(row: EventRow): void {
    void row;
  }

  finish(tick: number): void {
    void tick;
    void this.context;
  }
}
