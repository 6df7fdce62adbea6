/**
 * Where blocks were lost, on a guest that says in its source where it loses which; its clean twin keeps
 * a second pointer to everything.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { compile, grind, outOptions, ROOT, run, scratch } from './guest.js';

interface Frame {
  readonly fn: string;
  readonly file: string;
  readonly line: number;
}
interface Finding {
  readonly kind: string;
  readonly what: string;
  readonly stacks: readonly { readonly role: string; readonly frames: readonly Frame[] }[];
}
interface Report {
  readonly findings: readonly Finding[];
  readonly summary: { readonly missing: readonly { readonly sentence: string }[] };
}

const record = (file: string, ...args: string[]): string => {
  const folder = scratch(file);
  const result = grind(['record', ...outOptions(folder), '--', compile(file), ...args]);
  assert.equal(result.status, 0, result.stderr);
  return folder;
};

const analyze = (folder: string, ...options: string[]): Report => {
  const args = ['analyze', 'memcheck', folder, '--format', 'json', ...options];
  const result = grind(args);
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout) as Report;
};

const isPoint = (role: string): boolean => role.startsWith('Last pointer');

test('each lost block names the line at which its last pointer went', () => {
  const folder = record('leaks.c');
  const { findings, summary } = analyze(folder, '--leak-check=full');
  assert.deepEqual(summary.missing, []);
  const found = findings
    .filter(({ kind }) => kind === 'Leak_DefinitelyLost' || kind === 'Leak_PossiblyLost')
    .map(({ what, stacks }) => {
      const bytes = Number(/^(?:\d+ \()?(\d+)/.exec(what)![1]);
      const point = stacks.find(({ role }) => isPoint(role));
      const own = point?.frames.find(({ file }) => file === 'leaks.c');
      const verb = /(?:was|went) .* at$/.exec(point?.role ?? '')?.[0];
      return [bytes, own?.line, verb] as const;
    })
    .sort((a, b) => a[0] - b[0]);
  const expected = readFileSync(join(ROOT, 'test', 'guests', 'leaks.c'), 'utf8')
    .split('\n')
    .flatMap((text, i) => {
      const comment = /\/\/ LOST (\d+): (.*)$/.exec(text);
      return comment ? [[Number(comment[1]), i + 1, `${comment[2]} at`] as const] : [];
    })
    .sort((a, b) => a[0] - b[0]);
  assert.ok(expected.length > 0);
  assert.deepEqual(found, expected);
});

test('nothing is said of the clean twin, or when it is not wanted', () => {
  const twin = analyze(record('leaks.c', 'kept'), '--leak-check=full');
  assert.deepEqual(
    twin.findings.filter(({ stacks }) => stacks.some(({ role }) => isPoint(role))),
    [],
  );
  const folder = record('leaks.c');
  for (const options of [['--leak-check=full', '--leak-points=no'], ['--leak-check=summary']]) {
    const { findings } = analyze(folder, ...options);
    assert.ok(findings.every(({ stacks }) => !stacks.some(({ role }) => isPoint(role))));
  }
});

test('optimised code: pointers that only registers held', () => {
  const program = join(scratch('fast'));
  const source = join(ROOT, 'test', 'guests', 'leaks.c');
  const built = run(['gcc', '-g', '-O2', source, '-o', program]);
  assert.equal(built.status, 0, built.stderr);
  const folder = scratch('leaks-fast');
  grind(['record', ...outOptions(folder), '--', program]);
  const lost = analyze(folder, '--leak-check=full').findings.filter(
    ({ kind }) => kind === 'Leak_DefinitelyLost',
  );
  assert.ok(lost.length > 0);
  for (const { what, stacks } of lost)
    assert.ok(
      stacks.some(({ role, frames }) => isPoint(role) && frames.length > 0),
      what,
    );
});
