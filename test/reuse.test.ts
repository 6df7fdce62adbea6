/**
 * Accesses through stale pointers to memory that was used again, on a guest that marks them in its source;
 * its clean twin only keeps, copies, compares and subtracts old pointers.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { compile, grind, outOptions, ROOT, scratch } from './guest.js';

interface Report {
  readonly findings: readonly {
    readonly kind: string;
    readonly stacks: readonly {
      readonly role: string;
      readonly frames: readonly { readonly fn: string; readonly file: string; line: number }[];
    }[];
  }[];
  readonly summary: { readonly missing: readonly unknown[] };
}

function judge(file: string, args: string[] = [], options: string[] = []): Report {
  const folder = scratch(file);
  const recorded = grind(['record', ...outOptions(folder), '--', compile(file), ...args]);
  assert.equal(recorded.status, 0, recorded.stderr);
  const result = grind(['analyze', 'memcheck', folder, '--format', 'json', ...options]);
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout) as Report;
}

test('each access through a stale pointer is found, with the three moments of its block', () => {
  const { findings, summary } = judge('reuse.c');
  assert.deepEqual(summary.missing, []);
  const found = findings.map(({ kind, stacks }) => [
    stacks[0]!.frames.find(({ file }) => file === 'reuse.c')!.line,
    kind,
  ]);
  const marked = readFileSync(join(ROOT, 'test', 'guests', 'reuse.c'), 'utf8')
    .split('\n')
    .flatMap((text, i) => {
      const comment = /\/\/ STALE (\w+)$/.exec(text);
      return comment ? [[i + 1, comment[1]]] : [];
    });
  assert.ok(marked.length > 3);
  assert.deepEqual(found, marked);
  const roles = findings[0]!.stacks.map(({ role, frames }) => [
    role.replace(/0x[0-9a-f]+/, '0x'),
    frames.find(({ file }) => file === 'reuse.c')!.fn,
  ]);
  assert.deepEqual(roles, [
    ['', 'wrong'],
    ["Address 0x is 8 bytes inside a block of size 64 free'd", 'main'],
    ["Block was alloc'd at", 'main'],
    ["Its memory was used again by a block of size 500,000 alloc'd", 'reuse'],
  ]);
});

test('no alarm for a correct program with old pointers; none when it is not wanted', () => {
  assert.deepEqual(judge('reuse.c', ['clean']).findings, []);
  assert.deepEqual(judge('reuse.c', [], ['--reused-memory=no']).findings, []);
});
