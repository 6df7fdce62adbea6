/**
 * `grind diff` between commits that move and rename functions, make one slower and let memory leak: what the program did not
 * do differently is not told, wherever its source is by now.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { grind, run, scratch } from './guest.js';
import { History } from './history.js';

interface Found {
  readonly kind: string;
  readonly stacks: readonly { frames: readonly { file: string; line: number }[] }[];
  readonly elsewhere?: { path: string; line: number; isChanged: boolean };
}
interface Change {
  readonly name: string;
  readonly was?: string;
  readonly before: number;
  readonly after: number;
}
type Diff = Record<'new' | 'fixed' | 'kept', readonly Found[]> &
  Record<'functions' | 'lines' | 'paths' | 'allocations', readonly Change[]> & {
    readonly missing: readonly string[];
  };

describe('diff of sources', () => {
  let history: History;
  let env: Record<string, string>;
  const call = (...args: string[]): string => {
    const { status, stdout, stderr } = grind(args, { cwd: history.folder, env });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const diff = (from: string, to: string, analyses = '--analyses=memcheck'): Diff =>
    JSON.parse(call('diff', from, to, analyses, '--behaviour=no', '--format=json')) as Diff;
  /** Number of the line with this text in a file of a commit. */
  const lineOf = (commit: string, file: string, text: string): number => {
    const lines = history.git('show', `${commit}:${file}`).split('\n');
    const at = lines.findIndex((line) => line.includes(text));
    assert.ok(at >= 0, text);
    return at + 1;
  };
  const ownLine = ({ stacks }: Found, file: string): number | undefined =>
    stacks[0]!.frames.find((frame) => frame.file === file)?.line;

  before(() => {
    history = new History();
    env = { XDG_CACHE_HOME: scratch('cache') };
    for (const name of ['first', 'renamed', 'slower', 'last'])
      call(
        ...['record', '--quiet', '--name', name, '--commit', history.commit(name)],
        ...['--build', 'make -s', '--', './program'],
      );
  });

  test('functions that moved and have another name are as they were', () => {
    const { functions, lines, allocations, kept, fixed, ...found } = diff('first', 'renamed');
    assert.deepEqual([functions, lines, allocations, fixed, found.new], [[], [], [], [], []]);
    assert.equal(kept.length, 1);
    const read = 'expect: kept InvalidRead';
    const [now, was] = ['renamed', 'first'].map((name) =>
      lineOf(history.commit(name), 'main.c', read),
    );
    assert.notEqual(now, was);
    assert.equal(ownLine(kept[0]!, 'main.c'), now);
    assert.deepEqual(kept[0]!.elsewhere, { path: 'main.c', line: was, isChanged: false });
  });

  test('the function and the lines that became slower, and nothing else', () => {
    const { functions, lines } = diff('first', 'slower');
    assert.deepEqual(
      functions.map(({ name }) => name),
      ['hash_word in program'],
    );
    const slower = history.commit('slower');
    const changed = [
      'unsigned next = 0;',
      'for (int i = 0; i < 4; i++) next = hash * 33;',
      'hash = next;',
    ].map((text) => `table.c:${lineOf(slower, 'table.c', text)}`);
    assert.deepEqual(lines.map(({ name }) => name).sort(), changed.sort());
    const growth = (list: readonly Change[]): number =>
      list.reduce((sum, change) => sum + change.after - change.before, 0);
    assert.equal(growth(lines), growth(functions));
    const { paths } = diff('first', 'slower', '--analyses=callgraph');
    const path = 'main > count_words > table_count > look_up > hash_word (itself)';
    assert.deepEqual(
      paths.map(({ name }) => name),
      [path],
    );
    assert.equal(growth(paths), growth(functions));
  });

  test('a renamed function that costs something else is one line, with both names', () => {
    history.git('checkout', '-q', history.commit('renamed'));
    history.edit('table.c', (text) =>
      text.replace(
        '  size_t length = strlen(word);',
        '  size_t length = strlen(word);\n  length = strlen(word);',
      ),
    );
    assert.equal(run(['make', '-s'], { cwd: history.folder }).status, 0);
    call('record', '--quiet', '--name', 'work', '--', './program');
    history.git('checkout', '-q', '-f', 'main');
    const { functions, missing } = diff('first', 'work');
    const own = functions.filter(({ name }) => name.endsWith(' in program'));
    assert.deepEqual(
      own.map(({ name, was }) => [name, was]),
      [['look_up in program', 'find_word in program']],
    );
    assert.deepEqual(missing, []);
  });

  test('uncommitted lines are mapped by what the run has kept of them', () => {
    history.git('checkout', '-q', history.commit('renamed'));
    history.edit('main.c', (text) => `// one\n// two\n// three\n${text}`);
    history.edit('table.c', (text) => text.replaceAll('hash_word', 'hash_of'));
    assert.equal(run(['make', '-s'], { cwd: history.folder }).status, 0);
    call('record', '--quiet', '--name', 'dirty', '--', './program');
    history.git('checkout', '-q', '-f', 'main');
    assert.match(
      readFileSync(join(history.folder, '.grind', 'dirty', 'changes.diff'), 'utf8'),
      /^\+\/\/ two$/m,
    );
    for (const [from, to, shift] of [
      ['renamed', 'dirty', -3],
      ['dirty', 'renamed', 3],
    ] as const) {
      const { functions, lines, kept } = diff(from, to);
      // Elsewhere the environment has other lengths: of the linker's functions some take longer.
      const own = functions.filter(({ name }) => name.endsWith(' in program'));
      assert.deepEqual([own, lines], [[], []]);
      assert.equal(kept[0]!.elsewhere!.line, ownLine(kept[0]!, 'main.c')! + shift);
    }
  });

  test('the leak is new, at its line; one that is mended says where its line is now', () => {
    const leak = 'calloc(1, 4)';
    const [made] = diff('slower', 'last').new;
    assert.equal(made!.kind, 'Leak_DefinitelyLost');
    const line = lineOf(history.commit('last'), 'main.c', leak);
    assert.equal(ownLine(made!, 'main.c'), line);
    const [mended] = diff('last', 'first').fixed;
    assert.deepEqual(mended!.elsewhere, {
      ...{ path: 'main.c', line: lineOf(history.commit('first'), 'main.c', leak) },
      isChanged: false,
    });
    assert.match(
      call('diff', 'last', 'first', '--analyses=memcheck', '--behaviour=no'),
      /^ The line is main\.c:\d+ now$/m,
    );
  });

  test('annotations name files of the repository, not of the checkout', () => {
    const args = [
      'diff',
      'slower',
      'last',
      '--analyses=memcheck',
      '--behaviour=no',
      '--format=github',
    ];
    assert.match(call(...args), /^::error file=main\.c,line=\d+,/m);
  });
});
