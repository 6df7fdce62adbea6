/**
 * `grind why` on a guest whose comments name the lines that its values pass; and one trace judged with
 * different options, without the program.
 */
import assert from 'node:assert/strict';
import { copyFileSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { compile, grind, outOptions, ROOT, scratch } from './guest.js';

interface Chain {
  readonly kind: string;
  readonly chain: readonly {
    readonly what: string;
    readonly frames: readonly { readonly file: string; readonly line: number }[];
  }[];
}
interface Report {
  readonly findings: readonly { readonly finding: number; readonly kind: string }[];
}

/** Records a copy of a guest and removes that: nothing can run it any more. */
function record(file: string, status: number): string {
  const program = scratch(file.replace(/\.c$/, ''));
  copyFileSync(compile(file), program);
  const folder = scratch(`${file}-run`);
  const result = grind(['record', ...outOptions(folder), '--', program]);
  assert.equal(result.status, status, result.stderr);
  rmSync(program);
  return folder;
}

function analyze(folder: string, ...options: string[]): Report {
  const result = grind(['analyze', 'memcheck', folder, '--format', 'json', ...options]);
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout) as Report;
}

function why(folder: string, finding: number): Chain {
  const result = grind(['why', String(finding), folder, '--format', 'json']);
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout) as Chain;
}

/** Lines of the guest that the comments give for a chain, in its order. */
function expected(file: string, name: string): number[] {
  return readFileSync(join(ROOT, 'test', 'guests', file), 'utf8')
    .split('\n')
    .flatMap((text, i) => {
      const comment = new RegExp(`// CHAIN ${name} (\\d+)`).exec(text);
      return comment ? [[Number(comment[1]), i + 1] as const] : [];
    })
    .sort((a, b) => a[0] - b[0])
    .map(([, line]) => line);
}

/** Lines of the guest that a chain names, the innermost of each station, without repetitions. */
function named(file: string, { chain }: Chain): number[] {
  const lines = chain.flatMap(({ frames }) => {
    const own = frames.find((frame) => frame.file === file);
    return own ? [own.line] : [];
  });
  return lines.filter((line, i) => line !== lines[i - 1]);
}

let folder: string;
const run = (): string => (folder ??= record('why.c', 128 + 11));

test('the way of undefined values, and of a wild address', () => {
  const { findings } = analyze(run());
  const chainOf = (kind: string): number[] =>
    named('why.c', why(run(), findings.find((found) => found.kind === kind)!.finding));
  assert.deepEqual(chainOf('UninitCondition'), expected('why.c', 'undefined'));
  const parameter = chainOf('SyscallParam');
  const [created, used] = expected('why.c', 'syscall');
  assert.deepEqual([parameter[0], parameter.at(-1)], [created, used]);
  const wild = chainOf('InvalidWrite');
  assert.deepEqual(wild.slice(-3), expected('why.c', 'wild'));
});

test('a leak: where the last pointer went; text; what cannot be answered', () => {
  const leaks = record('leaks.c', 0);
  const { findings } = analyze(leaks, '--leak-check=full');
  const lost = findings.find(({ kind }) => kind === 'Leak_DefinitelyLost')!;
  const { chain } = why(leaks, lost.finding);
  assert.ok(chain.some(({ what, frames }) => /^Last pointer/.test(what) && frames.length > 0));
  const text = grind(['why', String(lost.finding), leaks]).stdout;
  assert.match(text, /Last pointer.*\n +0x[0-9A-F]+: \w+ \(leaks\.c:\d+\)/);
  assert.equal(grind(['why', '999', leaks]).status, 2);
  assert.match(grind(['why', '999', leaks]).stderr, /There is no finding 999/);
});

test('one trace judged with other options, without the program', () => {
  const files = () =>
    readdirSync(run())
      .filter((name) => name.endsWith('.arrow') || name === 'manifest.json')
      .map((name) => [name, statSync(join(run(), name)).mtimeMs]);
  const before = files();
  assert.ok(before.length > 10);
  const kinds = (...options: string[]) =>
    new Set(analyze(run(), ...options).findings.map(({ kind }) => kind));
  const all = new Set(['UninitCondition', 'SyscallParam', 'InvalidWrite']);
  assert.deepEqual(kinds('--leak-check=no'), all);
  all.delete('UninitCondition');
  assert.equal(kinds('--undef-value-errors=no').has('UninitCondition'), false);
  const range = ['--ignore-ranges', '0x64010-0x64010', '--leak-check=no'];
  assert.equal(kinds(...range).has('InvalidWrite'), false);
  assert.deepEqual(files(), before);
});
