/**
 * A small repository with a history: commits of the program in `test/guests/history`, each of which does what its
 * message says.
 */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GUESTS, run, scratch } from './guest.js';

/** One commit: its name, and what it makes of files, by their names. */
interface Step {
  readonly name: string;
  readonly edits: Readonly<Record<string, (text: string) => string>>;
}

/** Replaces a text that must be there. */
const swap =
  (...pairs: readonly (readonly [string, string])[]) =>
  (text: string): string =>
    pairs.reduce((now, [old, next]) => {
      assert.ok(now.includes(old), `no ${old}`);
      return now.replaceAll(old, next);
    }, text);

const source = (file: string): string => readFileSync(join(GUESTS, 'history', file), 'utf8');

/** A function of a source file, by its first line. */
function functionAt(file: string, head: string): string {
  const text = source(file);
  const start = text.indexOf(head);
  assert.ok(start >= 0, head);
  return text.slice(start, text.indexOf('\n}\n', start) + 3);
}

const STEPS: readonly Step[] = [
  { name: 'first', edits: {} },
  {
    // All lines move, and one function goes to another place of its file.
    name: 'moved',
    edits: {
      'main.c': (text) => {
        const moved = functionAt('main.c', 'static int last_digit');
        const [before, after] = text.split(moved);
        return `// Counts words.\n\n${before}${after!.replace('int main', `${moved}\nint main`)}`;
      },
    },
  },
  {
    name: 'renamed',
    edits: { 'table.c': swap(['find_word', 'look_up']) },
  },
  { name: 'broken', edits: { 'table.h': swap(['struct table;', 'struct tabel {']) } },
  { name: 'mended', edits: { 'table.h': swap(['struct tabel {', 'struct table;']) } },
  {
    // Each letter's hash is computed four times.
    name: 'slower',
    edits: {
      'table.c': swap([
        '    hash = hash * 33;\n',
        '    unsigned next = 0;\n    for (int i = 0; i < 4; i++) next = hash * 33;\n    hash = next;\n',
      ]),
    },
  },
  {
    name: 'leaking',
    edits: { 'main.c': swap(['  free(digits);\n', '']) },
  },
  { name: 'last', edits: { 'main.c': swap(['// Counts words.', '// Counts words, and leaks.']) } },
];

export class History {
  readonly folder = scratch('history');
  private readonly commits = new Map<string, string>();

  constructor() {
    cpSync(join(GUESTS, 'history'), this.folder, { recursive: true });
    this.git('init', '-q', '-b', 'main');
    writeFileSync(join(this.folder, '.gitignore'), '*.o\nprogram\n.grind\n');
    for (const { name, edits } of STEPS) {
      for (const [file, edit] of Object.entries(edits)) this.edit(file, edit);
      this.git('add', '.');
      this.git('commit', '-q', '-m', name);
      this.commits.set(name, this.git('rev-parse', 'HEAD'));
    }
  }

  /** Changes a file of the working tree. */
  edit(file: string, edit: (text: string) => string): void {
    const path = join(this.folder, file);
    writeFileSync(path, edit(readFileSync(path, 'utf8')));
  }

  /** The hash of the commit with this message. */
  commit(name: string): string {
    const found = this.commits.get(name);
    assert.ok(found, name);
    return found;
  }

  git(...args: string[]): string {
    const who = ['-c', 'user.name=A', '-c', 'user.email=a@example.org'];
    const { status, stdout, stderr } = run(['git', ...who, ...args], { cwd: this.folder });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  }
}
