/**
 * Where two executions part, told by a program that announces it: of two builds, with other input, at other times, with
 * other addresses, with threads; and that two executions of one program that do the same differ in nothing.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  compareImages,
  matchImages,
  type Moment,
  type ProcessBehaviour,
} from '../analyses/behaviour/compare.js';
import { Trace } from '../replay/trace.js';
import { grind, GUESTS, record, run, scratch } from './guest.js';

const SOURCE = join(GUESTS, 'behaviour.c');

/** The line that announces something. */
function announced(what: string): number {
  const lines = readFileSync(SOURCE, 'utf8').split('\n');
  return 1 + lines.findIndex((line) => line.includes(`// expect: ${what}`));
}

/** Compiles the program, always at the same path, so that a later version takes the place of the one before. */
const folder = scratch('behaviour');
run(['mkdir', folder]);
const program = join(folder, 'program');
function build(...options: string[]): void {
  const built = run(['gcc', '-g', '-O1', SOURCE, '-o', program, '-pthread', ...options]);
  assert.equal(built.status, 0, built.stderr);
}

function compare(before: string, after: string): ProcessBehaviour {
  const traces = [Trace.open(before), Trace.open(after)] as const;
  try {
    const [images, ...others] = matchImages(...traces);
    assert.equal(others.length, 0);
    return compareImages(...traces, images!);
  } finally {
    for (const trace of traces) trace.close();
  }
}

/** The innermost line of the program on a stack. */
const lineOf = ({ frames }: Moment): number =>
  frames.find(({ file }) => file === 'behaviour.c')?.line ?? 0;

const nothing = { parting: undefined, request: undefined, value: undefined, input: undefined };

function didSame({ threads, end, functions, outputs, unmatched, missing }: ProcessBehaviour): void {
  for (const { parting, request, value, input } of threads)
    assert.deepEqual({ parting, request, value, input }, nothing);
  assert.equal(end, undefined);
  assert.deepEqual([functions.before, functions.after, outputs, missing], [[], [], [], []]);
  assert.deepEqual(unmatched, { before: [], after: [] });
}

describe('behaviour', () => {
  build();
  const text = (contents: string): string => {
    const path = scratch('text');
    writeFileSync(path, contents);
    return path;
  };
  const input = text('some letters\n');
  const plain = record([program]).folder;
  const threads = record([program, 'threads']).folder;

  test('an execution recorded twice differs in nothing', () => {
    didSame(compare(plain, record([program]).folder));
    const read = record([program, input]).folder;
    didSame(compare(read, record([program, input]).folder));
  });

  test('nor with other addresses: a larger environment, a mapping more', () => {
    const large = { FILLER: 'x'.repeat(5000) };
    didSame(compare(plain, record([program], { env: large }).folder));
    const [moved, large2] = [{ MOVE: '1' }, { MOVE: '1', ...large }];
    didSame(
      compare(record([program], { env: moved }).folder, record([program], { env: large2 }).folder),
    );
  });

  test('threads are compared one by one, whatever the schedule', () => {
    const other = record([program, 'threads'], {
      options: ['--valgrind-arg=--vex-guest-max-insns=6'],
    }).folder;
    const found = compare(threads, other);
    assert.deepEqual(
      found.threads.map(({ thread }) => thread),
      ['1', '1.1', '1.2', '1.3'],
    );
    didSame(found);
  });

  test('other input: what was read, the value that came of it, the branch that it decided', () => {
    const other = text('some lexters\n');
    const found = compare(record([program, input]).folder, record([program, other]).folder);
    const [thread] = found.threads;
    assert.equal(lineOf(thread!.input!.before!), announced('input read'));
    assert.match(thread!.input!.after!.contents, /lexters/);
    assert.equal(lineOf(thread!.value!.before), announced('input value'));
    assert.deepEqual(
      [thread!.value!.before.what, thread!.value!.after.what],
      ['t', 'x'].map((letter) => String(letter.charCodeAt(0))),
    );
    assert.equal(lineOf(thread!.parting!.before), announced('input branch'));
    const { before, after } = thread!.parting!;
    assert.deepEqual(
      [before.next.compared, after.next.compared],
      ['t', 'x'].map((letter) => `${letter.charCodeAt(0)} with ${'x'.charCodeAt(0)}`),
    );
    assert.ok(thread!.sequel!.again);
    assert.equal(thread!.sequel!.partings, 1);
    assert.deepEqual(found.outputs, [1]);
  });

  test('the time of day is told apart from other input', () => {
    const found = compare(record([program, 'time']).folder, record([program, 'time']).folder);
    const [thread] = found.threads;
    assert.equal(thread!.input, undefined);
    assert.match(thread!.fleeting!.before!.text, /^clock_gettime/);
    assert.equal(lineOf(thread!.value!.before), announced('time value'));
    assert.equal(thread!.parting, undefined);
  });

  test('two builds: the branch that another constant decides, in a function of the same shape', () => {
    build('-DLIMIT=45');
    const found = compare(plain, record([program]).folder);
    const [thread] = found.threads;
    assert.equal(lineOf(thread!.parting!.before), announced('limit branch'));
    const { before, after } = thread!.parting!;
    assert.deepEqual([before.next.compared, after.next.compared], ['41 with 40', '41 with 45']);
    assert.ok(thread!.sequel!.again && thread!.sequel!.isWhole);
    assert.match(thread!.request!.before!.text, /^write/);
  });

  test('two builds: a function of another shape that does the same for all others is no difference', () => {
    build('-DLONGER');
    const found = compare(plain, record([program]).folder);
    assert.equal(found.threads[0]!.parting, undefined);
    assert.equal(found.threads[0]!.request, undefined);
  });

  test('two builds: where a function of another shape calls others is told to the line', () => {
    build('-DLONGER', '-DLIMIT=45');
    const found = compare(plain, record([program]).folder);
    const [thread] = found.threads;
    const { before, after } = thread!.parting!;
    assert.deepEqual([before.frames[0]!.fn, after.frames[0]!.fn], ['choose', 'choose']);
    assert.equal(before.next.frame!.fn, 'rare');
    assert.ok(thread!.request);
  });

  test('the command line says so, and fails if it is asked to', () => {
    build('-DLIMIT=45');
    const other = record([program]).folder;
    const diff = (...args: string[]) => grind(['diff', '--analyses=none', plain, ...args]);
    const told = diff(other, '--fail-on=behaviour', '--format=json');
    assert.equal(told.status, 1, told.stderr);
    const { behaviour } = JSON.parse(told.stdout) as { behaviour: { images: ProcessBehaviour[] } };
    assert.equal(
      lineOf(behaviour.images[0]!.threads[0]!.parting!.before),
      announced('limit branch'),
    );
    assert.match(diff(other).stdout, /having compared 41 with 45/);
    assert.match(diff(other, '--format=markdown').stdout, /having compared 41 with 45/);
    assert.doesNotMatch(diff(other, '--behaviour=no').stdout, /having compared/);
    const same = diff(plain, '--fail-on=behaviour');
    assert.equal(same.status, 0, same.stderr);
    assert.match(same.stdout, /^Nothing changed\.$/m);
  });
});
