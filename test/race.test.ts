/**
 * race on guests whose sources say what is to be found: each line with the later access of a race says so,
 * and the same program without its races (-DCLEAN) has none. Real programs without races have none either.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { grind, record, ROOT, run, scratch } from './guest.js';

const GUESTS = join(ROOT, 'test', 'guests', 'race');
const SOURCES = readdirSync(GUESTS).filter((file) => /\.(c|cpp)$/.test(file));

interface Stack {
  readonly role: string;
  readonly frames: readonly { readonly fn: string; file: string; line: number }[];
}

interface Report {
  readonly findings: readonly {
    readonly kind: string;
    readonly what: string;
    readonly notes: readonly string[];
    readonly stacks: readonly Stack[];
  }[];
  readonly summary: { readonly missing: readonly { readonly sentence: string }[] };
}

/** What a source announces, as `kind line`; in comments that begin with a word. */
function announced(file: string, word: string): string[] {
  const comment = new RegExp(`// ${word}: (.*)$`);
  const places = new Set<string>();
  for (const [i, line] of readFileSync(join(GUESTS, file), 'utf8').split('\n').entries())
    for (const kind of comment.exec(line)?.[1]?.split(' ') ?? []) places.add(`${kind} ${i + 1}`);
  return [...places].sort();
}

/** The same with default options. */
const expected = (file: string): string[] => announced(file, 'expect');

/** What was found, by the innermost line that is in the guest's own source. */
function found({ findings }: Report, file: string): string[] {
  const places = findings.map(({ kind, what, stacks }) => {
    const frame = stacks[0]!.frames.find((candidate) => candidate.file === file);
    return `${kind} ${frame?.line ?? what}`;
  });
  return [...new Set(places)].sort();
}

/** Compiles a guest by the options in its `build:` line and records it; returns the run's folder. */
function recorded(file: string, ...more: string[]): string {
  const source = join(GUESTS, file);
  const build = /^\/\/ build: (.*)$/m.exec(readFileSync(source, 'utf8'))![1]!.split(' ');
  const program = scratch(file.replace(/\.\w+$/, ''));
  const compiler = run([...build, '-g', '-w', source, '-o', program, ...more]);
  assert.equal(compiler.status, 0, compiler.stderr);
  const recording = record([program]);
  assert.equal(recording.status, 0, recording.stderr);
  return recording.folder;
}

function analyze(folder: string, ...options: string[]): Report {
  const { stdout, stderr } = grind(['analyze', 'race', folder, '--format=json', ...options]);
  assert.match(stdout, /^\{/, stderr);
  return JSON.parse(stdout) as Report;
}

describe('race', () => {
  for (const file of SOURCES) {
    test(`${file}: what its source announces`, () => {
      const report = analyze(recorded(file));
      assert.deepEqual(found(report, file), expected(file));
      assert.deepEqual(report.summary.missing, []);
    });

    test(`${file}: nothing without its races`, () => {
      const report = analyze(recorded(file, '-DCLEAN'));
      assert.deepEqual(
        report.findings.map(({ what, stacks }) => [what, stacks.slice(0, 2)]),
        [],
      );
      assert.deepEqual(report.summary.missing, []);
    });
  }

  for (const variant of [[], ['-DCLEAN']])
    test(`tasks.c: the same ${variant.join(' ')} if one thread executes all tasks`, () => {
      const report = analyze(recorded('tasks.c', '-DTHREADS=1', ...variant));
      assert.deepEqual(found(report, 'tasks.c'), variant.length > 0 ? [] : expected('tasks.c'));
    });

  test('strict.c: ordinary accesses beside atomic instructions, with --strict-atomics=yes only', () => {
    const [racy, clean] = [recorded('strict.c'), recorded('strict.c', '-DCLEAN')];
    const [strict, lenient] = [analyze(racy, '--strict-atomics=yes'), analyze(racy)];
    assert.deepEqual(found(strict, 'strict.c'), announced('strict.c', 'expect strict'));
    assert.deepEqual(found(lenient, 'strict.c'), []);
    assert.deepEqual(found(analyze(clean, '--strict-atomics=yes'), 'strict.c'), []);
  });

  test('tasks that race are named, and where they were created', () => {
    const { findings } = analyze(recorded('tasks.c'));
    const { what, stacks } = findings.find(
      ({ stacks: [first] }) => first!.frames[0]!.fn === 'add_sibling',
    )!;
    const number = (text: string) => / by thread #\d+ in task #(\d+)/.exec(text)?.[1];
    const tasks = [what, stacks[1]!.role].map(number);
    assert.equal(new Set(tasks).size, 2);
    for (const task of tasks) {
      const creation = stacks.find(({ role }) =>
        role.startsWith(`Task #${task} was created by thread #`),
      );
      assert.match(creation!.frames.find(({ file }) => file === 'tasks.c')!.fn, /^races\b/);
    }
  });

  test('both accesses, the memory, the locks and the creation of the threads', () => {
    const { findings } = analyze(recorded('memory.c'));
    const { notes, stacks } = findings.find(({ what }) => / size 1 /.test(what))!;
    const shown = stacks.map(({ role, frames }) => [
      role.replace(/0x\w+/, 'ADDRESS'),
      frames.find(({ file }) => file === 'memory.c' || file === 'race.h')?.fn,
    ]);
    assert.deepEqual(shown, [
      ['', 'follows'],
      ['This conflicts with a previous write of size 8 by thread #2, locks held: none', 'writes'],
      ["Address ADDRESS is 19 bytes inside a block of size 40 alloc'd", 'main'],
      ['Thread #2 was created by thread #1', 'two_threads'],
      ['Thread #3 was created by thread #1', 'two_threads'],
    ]);
    assert.deepEqual(notes, ['Locks held by thread #3: none']);
  });

  test('races on one variable say so', () => {
    const { findings } = analyze(recorded('memory.c'));
    const notes = findings
      .filter(({ notes }) => notes.some((note) => / inside data symbol "shared"$/.test(note)))
      .map(({ notes }) => notes.at(-1));
    assert.deepEqual(notes, ['One of 2 races on "shared"', 'One of 2 races on "shared"']);
  });

  test('the function of a place on a stack, and where it begins', () => {
    const { findings } = analyze(recorded('memory.c'));
    const notes = findings.flatMap(({ notes }) => notes).filter((note) => /^in frame #/.test(note));
    assert(notes.length > 0);
    for (const note of notes) assert.match(note, /, created by main \(memory\.c:82\)$/);
  });

  test('locks that are held, and where they were first taken', () => {
    const { findings } = analyze(recorded('pthreads.c'));
    const { stacks } = findings.find(({ stacks }) => stacks[0]!.frames[0]!.fn === 'second_reader')!;
    assert.match(stacks[1]!.role, /write of size 4 by thread #4, locks held: 0x\w+$/);
    const lock = stacks.find(({ role }) => /^Lock at 0x\w+ was first taken at$/.test(role))!;
    assert.equal(lock.frames.find(({ file }) => file === 'pthreads.c')!.fn, 'under_locks');
  });

  test('what was learned to synchronise, in SQL', () => {
    const folder = recorded('handmade.c', '-DCLEAN');
    analyze(folder);
    const { stdout } = grind([
      'query',
      folder,
      'select evidence, size from sync_variables order by all',
      '--format=csv',
    ]);
    assert.deepEqual(stdout.trim().split('\n').slice(1), [
      'atomic instruction,4',
      'atomic instruction,4',
      'spin loop,4',
      'spin loop,4',
      'spin loop,4',
    ]);
  });

  test('suppressions of Helgrind hide races', () => {
    const folder = recorded('memory.c');
    const file = scratch('own.supp');
    writeFileSync(file, '{\n  all\n  Helgrind:Race\n  ...\n  fun:follows\n}\n');
    const { findings } = analyze(folder, `--suppressions=${file}`);
    assert.deepEqual(
      findings.map(
        ({ stacks }) => stacks[0]!.frames.find(({ file: own }) => own === 'memory.c')!.fn,
      ),
      ['frees_after', 'looks'],
    );
  });

  test('a compressor with four threads has no race', () => {
    const input = scratch('input');
    const text = readFileSync(process.execPath).subarray(0, 400_000);
    writeFileSync(input, text);
    const argv = ['xz', '-T4', '-1', '--block-size=100KiB', '-k', '-c', input];
    const { folder } = record(argv, { verify: false });
    assert.deepEqual(analyze(folder).findings, []);
  });
});
