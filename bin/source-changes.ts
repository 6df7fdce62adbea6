/**
 * Where the source lines of one run are in those of another, by what git says of their commits, and of the uncommitted
 * changes that each run has kept.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHANGES_FILE, DIFF_OPTIONS, type Manifest } from '../recorder/manifest.js';
import { UserError } from '../schemas/errors.js';
import { git } from './checkout.js';

/** A line of a source file. */
export interface SourceLine {
  /** From the root of the repository. */
  readonly path: string;
  /** From 1. */
  readonly line: number;
}

export interface MappedLine extends SourceLine {
  /** Its text is another one: the line stands where the old one stood. */
  readonly isChanged: boolean;
}

/** A side of a comparison: a run's manifest, and its folder. */
export interface RunSource {
  readonly folder: string;
  readonly manifest: Manifest;
}

export interface SourceChanges {
  /** Where a line is now; undefined when it is gone. */
  readonly mapped: (line: SourceLine) => MappedLine | undefined;
  /** What is not known of the sources, as sentences. */
  readonly missing: readonly string[];
}

/** What changed in the sources from one run to another; undefined where that is not known. */
export function sourceChanges(before: RunSource, after: RunSource): SourceChanges | undefined {
  const [from, to] = [before.manifest.git, after.manifest.git];
  if (!from || !to) return undefined;
  let between = '';
  if (from.commit !== to.commit)
    try {
      between = diffOfCommits(from.commit, to.commit, [process.cwd(), to.root, from.root]);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const missing = `How lines moved between the runs is not known, as ${error.message}`;
      return { mapped: (line) => ({ ...line, isChanged: false }), missing: [missing] };
    }
  const missing: string[] = [];
  const uncommitted = ({ folder, manifest: { name, git: state } }: RunSource): string => {
    if (!state!.dirty) return '';
    const path = join(folder, CHANGES_FILE);
    if (existsSync(path)) return readFileSync(path, 'utf8');
    missing.push(
      `The uncommitted changes of ${name} were not kept: its lines are taken for those of its commit.`,
    );
    return '';
  };
  const patches = [
    new Patch(uncommitted(before)).inverse(),
    new Patch(between),
    new Patch(uncommitted(after)),
  ];
  const mapped = (line: SourceLine): MappedLine | undefined => {
    let at: MappedLine = { ...line, isChanged: false };
    for (const patch of patches) {
      const next = patch.mapped(at);
      if (!next) return undefined;
      at = { ...next, isChanged: at.isChanged || next.isChanged };
    }
    return at;
  };
  return { mapped, missing };
}

/** Asks the first of some folders that knows both commits. */
function diffOfCommits(from: string, to: string, folders: readonly (string | undefined)[]): string {
  const known = [...new Set(folders)].filter((one): one is string => !!one && existsSync(one));
  for (const [i, folder] of known.entries())
    try {
      return git(folder, ...DIFF_OPTIONS, from, to);
    } catch (error) {
      if (i === known.length - 1) throw error;
    }
  throw new UserError('their repository is not here.');
}

interface Hunk {
  /** First lines that are replaced, and of what replaces them; where there are none, the line before them. */
  readonly from: number;
  readonly count: number;
  readonly to: number;
  readonly newCount: number;
}

interface FileChange {
  readonly path: string;
  readonly newPath: string;
  readonly hunks: Hunk[];
}

/** A line that was removed or added, as moved lines are looked for. */
interface LooseLine extends SourceLine {
  readonly text: string;
}

/** Shorter blocks than this are alike by chance: the limit of `git diff --color-moved`. */
const LEAST_ALPHANUMERIC = 20;

/** A difference as git writes it with `-U0`. */
export class Patch {
  private readonly files = new Map<string, FileChange>();
  /** Lines that moved into another hunk, by `path:line`. */
  private readonly moves = new Map<string, SourceLine>();

  constructor(text: string) {
    const removed: LooseLine[] = [];
    const added: LooseLine[] = [];
    for (const part of text.split(/^diff --git .*\n/m).slice(1)) this.read(part, removed, added);
    this.match(removed, added);
  }

  /** The patch that takes this one back. */
  inverse(): Patch {
    const back = new Patch('');
    for (const { path, newPath, hunks } of this.files.values())
      back.files.set(newPath, {
        ...{ path: newPath, newPath: path },
        hunks: hunks.map(({ from, count, to, newCount }) => {
          return { from: to, count: newCount, to: from, newCount: count };
        }),
      });
    for (const [key, { path, line }] of this.moves) {
      const at = key.lastIndexOf(':');
      const place = { path: key.slice(0, at), line: Number(key.slice(at + 1)) };
      back.moves.set(`${path}:${line}`, place);
    }
    return back;
  }

  /** Where a line is after the change; undefined when it is gone. */
  mapped({ path, line }: SourceLine): MappedLine | undefined {
    const file = this.files.get(path);
    if (!file) return { path, line, isChanged: false };
    const moved = this.moves.get(`${path}:${line}`);
    if (moved) return { ...moved, isChanged: false };
    let shift = 0;
    for (const { from, count, to, newCount } of file.hunks) {
      const end = from + Math.max(count, 1);
      if (line >= end) {
        shift += newCount - count;
        continue;
      }
      if (line < from || count === 0) break;
      if (newCount === 0) return undefined;
      const place = to + Math.min(line - from, newCount - 1);
      return { path: file.newPath, line: place, isChanged: true };
    }
    return { path: file.newPath, line: line + shift, isChanged: false };
  }

  private read(part: string, removed: LooseLine[], added: LooseLine[]): void {
    const lines = part.split('\n');
    const name = (head: RegExp): string | undefined =>
      lines
        .slice(0, lines.findIndex((line) => line.startsWith('@@')) >>> 0)
        .map((line) => head.exec(line)?.[1])
        .find((found) => found !== undefined);
    const path = name(/^rename from (.*)$/) ?? name(/^--- a\/(.*?)\t?$/);
    const newPath = name(/^rename to (.*)$/) ?? name(/^\+\+\+ b\/(.*?)\t?$/);
    const hunks: Hunk[] = [];
    let [line, newLine] = [0, 0];
    for (const text of lines) {
      const head = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(text);
      if (head) {
        const [from, count, to, newCount] = head.slice(1).map((one) => Number(one ?? 1));
        hunks.push({ from: from!, count: count!, to: to!, newCount: newCount! });
        [line, newLine] = [from!, to!];
      } else if (hunks.length === 0) continue;
      else if (text.startsWith('-') && path !== undefined)
        removed.push({ path, line: line++, text: text.slice(1).trim() });
      else if (text.startsWith('+') && newPath !== undefined)
        added.push({ path: newPath, line: newLine++, text: text.slice(1).trim() });
    }
    // A file that was added or removed has one name; a binary one may have none here.
    const known = path ?? newPath;
    if (known !== undefined)
      this.files.set(known, { path: known, newPath: newPath ?? known, hunks });
  }

  /** Blocks of lines that were removed in one place and added in another: around lines that are there just once. */
  private match(removed: readonly LooseLine[], added: readonly LooseLine[]): void {
    const [gone, come] = [single(removed), single(added)];
    let done = -1;
    for (const [i, { text }] of removed.entries()) {
      if (i <= done || gone.get(text) !== i) continue;
      const j = come.get(text);
      if (j === undefined || j < 0) continue;
      let [first, last] = [0, 0];
      while (first < i - done - 1 && isNext(removed, added, i - first - 1, j - first - 1)) first++;
      while (isNext(removed, added, i + last, j + last)) last++;
      const block = removed.slice(i - first, i + last + 1);
      if (alphanumeric(block) < LEAST_ALPHANUMERIC) continue;
      for (const [k, { path, line }] of block.entries()) {
        const { path: newPath, line: newLine } = added[j - first + k]!;
        this.moves.set(`${path}:${line}`, { path: newPath, line: newLine });
      }
      done = i + last;
    }
  }
}

/** Whether lines i and i + 1 stand together in both lists, and are the same there. */
function isNext(a: readonly LooseLine[], b: readonly LooseLine[], i: number, j: number): boolean {
  const isRun = (list: readonly LooseLine[], at: number): boolean =>
    list[at] !== undefined &&
    list[at + 1]?.path === list[at].path &&
    list[at + 1]!.line === list[at].line + 1;
  return (
    isRun(a, i) && isRun(b, j) && a[i]!.text === b[j]!.text && a[i + 1]!.text === b[j + 1]!.text
  );
}

/** By text the place of a line that is there only once; -1 for others. */
function single(lines: readonly LooseLine[]): Map<string, number> {
  const places = new Map<string, number>();
  for (const [i, { text }] of lines.entries()) places.set(text, places.has(text) ? -1 : i);
  return places;
}

const alphanumeric = (lines: readonly LooseLine[]): number =>
  lines.reduce((sum, { text }) => sum + text.replace(/[^a-z0-9]/gi, '').length, 0);
