/**
 * Which findings of one run are those of another: matched by what they are and by the functions that they happened in,
 * not by addresses and lines, which change with every commit.
 */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import type { NamedStack, ReportedFinding } from '../analyses/report.js';
import type { Frame } from '../replay/symbols.js';
import { ownFrame, sourcePath } from './places.js';
import type { MappedLine, SourceLine } from './source-changes.js';

/** A finding of a run, with what it is known by in other runs. */
export interface ComparedFinding {
  readonly analysis: string;
  readonly reported: ReportedFinding;
  /** Hexadecimal: the same for the same defect in another commit, as long as its functions have their names. */
  readonly fingerprint: string;
  /** Its own frame in the other run, where it is known: of one that is still there the old one, else where the line is now. */
  readonly elsewhere?: MappedLine;
}

export interface FindingsDiff {
  readonly added: readonly ComparedFinding[];
  readonly fixed: readonly ComparedFinding[];
  /** Those of the second run that the first one had, too. */
  readonly kept: readonly ComparedFinding[];
}

export function compared(analysis: string, reported: ReportedFinding): ComparedFinding {
  return { analysis, reported, fingerprint: fingerprint({ analysis, reported }, AS_IT_IS) };
}

/** How what a finding of the first run names is called in the second one. */
export interface Translation {
  readonly functions: ReadonlyMap<string, string>;
  readonly mapped: (line: SourceLine) => MappedLine | undefined;
  /** Of the repository, as the frames have it. */
  readonly root: string;
}

const AS_IT_IS: Translation = {
  functions: new Map(),
  mapped: (line) => ({ ...line, isChanged: false }),
  root: '/',
};

type Told = Pick<ComparedFinding, 'analysis' | 'reported'>;
type Key = (finding: Told, translation: Translation) => string;

const whatIs = ({ analysis, reported: { finding } }: Told): string[] => [
  ...[analysis, finding.kind, finding.parameter ?? ''],
];

/** Functions and, as the second run has them, lines. */
const exactly: Key = (told, translation) =>
  digest([
    ...whatIs(told),
    ...told.reported.stacks.flatMap((stack) => [
      part(stack),
      ...stack.frames.map((frame) => nameOf(frame, translation) + placeText(frame, translation)),
    ]),
  ]);

/** Functions of all stacks. */
const fingerprint: Key = (told, translation) =>
  digest([
    ...whatIs(told),
    ...told.reported.stacks.flatMap((stack) => [
      part(stack),
      ...stack.frames.map((frame) => nameOf(frame, translation)),
    ]),
  ]);

/** Of the functions only the innermost ones of the program, which callers do not change; with their lines, and without. */
const kinship =
  (place: (frame: Frame, translation: Translation) => string): Key =>
  (told, translation) =>
    digest([
      ...whatIs(told),
      ...told.reported.stacks.flatMap((stack) => {
        const own = ownFrame(stack);
        return [part(stack), own ? nameOf(own, translation) + place(own, translation) : ''];
      }),
    ]);

/**
 * Matches each finding of the second run with at most one of the first: those of the same functions, best at the same
 * lines, then those left that have the same innermost functions.
 * @param translation - from the first run to the second
 */
export function diffFindings(
  first: readonly ComparedFinding[],
  second: readonly ComparedFinding[],
  translation: Translation = AS_IT_IS,
): FindingsDiff {
  let [added, fixed] = [second, first];
  const partners = new Map<ComparedFinding, ComparedFinding>();
  for (const key of [exactly, fingerprint, kinship(placeText), kinship(() => '')]) {
    const open = new Map<string, ComparedFinding[]>();
    for (const one of fixed) {
      const its = key(one, translation);
      open.set(its, [...(open.get(its) ?? []), one]);
    }
    const matched = new Set<ComparedFinding>();
    added = added.filter((one) => {
      const partner = open.get(key(one, { ...AS_IT_IS, root: translation.root }))?.shift();
      if (partner) matched.add(partner);
      if (partner) partners.set(one, partner);
      return !partner;
    });
    fixed = fixed.filter((one) => !matched.has(one));
  }
  const lineOf = ({ reported: { stacks } }: ComparedFinding): SourceLine | undefined => {
    const own = stacks[0] && ownFrame(stacks[0]);
    return own?.file ? { path: sourcePath(own, translation.root), line: own.line } : undefined;
  };
  const placed = (one: ComparedFinding, elsewhere: MappedLine | undefined): ComparedFinding =>
    elsewhere ? { ...one, elsewhere } : one;
  return {
    added,
    fixed: fixed.map((one) => {
      const line = lineOf(one);
      return placed(one, line && translation.mapped(line));
    }),
    kept: second
      .filter((one) => partners.has(one))
      .map((one) => {
        const old = lineOf(partners.get(one)!);
        return placed(one, old && { ...old, isChanged: false });
      }),
  };
}

/** What a stack shows, without numbers: those of threads, sizes and addresses differ from run to run. */
const part = ({ role }: NamedStack): string => role.replace(/0x[0-9a-f]+|\d+/gi, '#');

const nameOf = ({ fn, module }: Frame, { functions }: Translation): string =>
  fn ? (functions.get(fn) ?? fn) : `in ${basename(module)}`;

/** Where a frame is in the second run; nothing is known of lines that are gone, or of code without any. */
function placeText(frame: Frame, { mapped, root }: Translation): string {
  if (!frame.file) return '';
  const now = mapped({ path: sourcePath(frame, root), line: frame.line });
  return now ? ` ${now.path}:${now.line}` : ' gone';
}

const digest = (parts: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
