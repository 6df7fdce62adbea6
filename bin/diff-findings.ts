/**
 * Which findings of one run are those of another: matched by what they are and by the functions that they happened in,
 * not by addresses and lines, which change with every commit.
 */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import type { NamedStack, ReportedFinding } from '../analyses/report.js';
import { ownFrame } from './places.js';

/** A finding of a run, with what it is known by in other runs. */
export interface ComparedFinding {
  readonly analysis: string;
  readonly reported: ReportedFinding;
  /** Hexadecimal: the same for the same defect in another commit, as long as its functions have their names. */
  readonly fingerprint: string;
  /** The same of less: of the functions only the innermost ones of the program, which callers do not change. */
  readonly kinship: string;
}

export interface FindingsDiff {
  readonly added: readonly ComparedFinding[];
  readonly fixed: readonly ComparedFinding[];
  /** Those of the second run that the first one had, too. */
  readonly kept: readonly ComparedFinding[];
}

export function compared(analysis: string, reported: ReportedFinding): ComparedFinding {
  const { kind, parameter } = reported.finding;
  const what = [analysis, kind, parameter ?? ''];
  const { stacks } = reported;
  return {
    ...{ analysis, reported },
    fingerprint: digest([...what, ...stacks.flatMap((stack) => [part(stack), ...names(stack)])]),
    kinship: digest([...what, ...stacks.flatMap((stack) => [part(stack), innermost(stack)])]),
  };
}

/** Matches each finding of the second run with at most one of the first: by fingerprints, then those left by kinship. */
export function diffFindings(
  first: readonly ComparedFinding[],
  second: readonly ComparedFinding[],
): FindingsDiff {
  let [added, fixed] = [second, first];
  for (const key of ['fingerprint', 'kinship'] as const) {
    const open = new Map<string, ComparedFinding[]>();
    for (const one of fixed) open.set(one[key], [...(open.get(one[key]) ?? []), one]);
    const matched = new Set<ComparedFinding>();
    added = added.filter((one) => {
      const partner = open.get(one[key])?.shift();
      if (partner) matched.add(partner);
      return !partner;
    });
    fixed = fixed.filter((one) => !matched.has(one));
  }
  const isAdded = new Set(added);
  return { added, fixed, kept: second.filter((one) => !isAdded.has(one)) };
}

/** What a stack shows, without numbers: those of threads, sizes and addresses differ from run to run. */
const part = ({ role }: NamedStack): string => role.replace(/0x[0-9a-f]+|\d+/gi, '#');

const name = ({ fn, module }: NamedStack['frames'][number]): string =>
  fn || `in ${basename(module)}`;

const names = ({ frames }: NamedStack): string[] => frames.map(name);

function innermost(stack: NamedStack): string {
  const own = ownFrame(stack);
  return own ? name(own) : '';
}

const digest = (parts: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
