/**
 * Findings of one process image, equal ones merged as Valgrind does: those of the same kind that say
 * the same and happened at the same four innermost places of the call stack are one, with a count.
 */
import type { Finding, Pc } from './finding.js';

/** Addresses of the stack that must agree. */
export const COMPARED_PCS = 4;

export class Findings {
  private readonly known = new Map<string, Finding>();
  private readonly all: Finding[] = [];

  /** The findings in order of their first occurrence; their counts may grow. */
  get list(): readonly Finding[] {
    return this.all;
  }

  /**
   * Counts an occurrence of a finding that is known already; false when it is new, and must be added.
   * So what an address was, and where values came from, need only be found out once.
   * @param pcs of the stack where it happened, innermost first
   */
  recur(kind: string, what: string, pcs: readonly Pc[], count = 1): boolean {
    const known = this.known.get(keyOf(kind, what, pcs));
    if (known) known.count += count;
    return known !== undefined;
  }

  /** Adds a finding, or its count to that of an equal one. Loss records are never merged. */
  add(finding: Finding): void {
    const { kind, what, count } = finding;
    const pcs = finding.stacks[0]?.pcs ?? [];
    if (finding.leak === undefined) {
      if (this.recur(kind, what, pcs, count)) return;
      this.known.set(keyOf(kind, what, pcs), finding);
    }
    this.all.push(finding);
  }
}

function keyOf(kind: string, what: string, pcs: readonly Pc[]): string {
  return `${identity(kind, what)} ${pcs.slice(0, COMPARED_PCS).join(' ')}`;
}

/** Kind and sentence as far as they tell findings apart: not by the values of one occurrence. */
function identity(kind: string, what: string): string {
  switch (kind) {
    case 'InvalidRead':
    case 'InvalidWrite':
      // One and the same to Valgrind, as for an instruction that does both.
      return `Invalid ${/\d+$/.exec(what)?.[0] ?? what}`;
    case 'Overlap':
      return kind;
    case 'FishyValue':
      return what.replace(/-?\d+$/, '');
    default:
      return `${kind} ${what}`;
  }
}
