/**
 * memcheck on guests whose sources say what is to be found: each line with a bug names the kinds of
 * findings that it gives, and the same program without its bugs (-DCLEAN) gives none.
 */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  expectedCounts,
  foundCounts,
  grindAsync,
  recordSource,
  wordsOf,
  type FoundJson,
} from './expectations.js';
import { ROOT, scratch } from './guest.js';

const GUESTS = join(ROOT, 'test', 'guests', 'memcheck');
const SOURCES = readdirSync(GUESTS).filter((file) => /\.(c|cpp)$/.test(file));

interface Report {
  readonly findings: readonly FoundJson[];
  readonly summary: {
    readonly suppressed_errors: number;
    readonly missing: readonly { readonly sentence: string }[];
    readonly processes: readonly { readonly leak_checks: readonly object[] }[];
  };
}

const expected = (file: string) => expectedCounts(join(GUESTS, file));
const found = ({ findings }: Report, file: string) => foundCounts(findings, file);
const record = (file: string, ...more: string[]) => recordSource(join(GUESTS, file), ...more);

/** Requests that a guest is not answered as by Memcheck, by its line `unlike Memcheck:`. */
const unlikeMemcheck = (file: string): string[] =>
  wordsOf(join(GUESTS, file), 'unlike Memcheck')?.sort() ?? [];

const missing = ({ summary }: Report): string[] =>
  summary.missing.map(({ sentence }) => /VALGRIND_(\w+)/.exec(sentence)?.[1] ?? sentence).sort();

/** The options in a guest's `analyze:` line, or else those that show all. */
const optionsOf = (file: string): string[] =>
  wordsOf(join(GUESTS, file), 'analyze') ?? ['--leak-check=full', '--show-leak-kinds=all'];

async function analyze(folder: string, ...options: string[]): Promise<Report> {
  const { out, err } = await grindAsync('analyze', 'memcheck', folder, '--format=json', ...options);
  assert.match(out, /^\{/, err);
  return JSON.parse(out) as Report;
}

describe('memcheck', { concurrency: 2 }, () => {
  for (const file of SOURCES) {
    test(`${file}: what its source announces`, async () => {
      const report = await analyze(await record(file), ...optionsOf(file));
      assert.deepEqual(found(report, file), expected(file));
      assert.deepEqual(missing(report), unlikeMemcheck(file));
    });

    test(`${file}: nothing without its bugs`, async () => {
      const report = await analyze(await record(file, '-DCLEAN'), ...optionsOf(file));
      assert.deepEqual(found(report, file), {});
      assert.deepEqual(missing(report), []);
    });
  }

  test('calls that have returned are not shown, though the stack grew over them', async () => {
    const { findings } = await analyze(await record('calls.c'));
    const functions = findings[0]!.stacks[0]!.frames.map(({ fn }) => fn);
    assert.deepEqual(functions, ['grows', 'main']);
  });

  test('where an access below the stack pointer, or the last one of all, was', async () => {
    const notesOf = async (file: string) =>
      (await analyze(await record(file))).findings.map(({ notes }) => notes.join(' '));
    assert.match(
      (await notesOf('overflow.c'))[0]!,
      /^Address 0x\w+ is on thread 1's stack in frame #0, created by overflows/,
    );
    assert.match(
      (await notesOf('below.c'))[0]!,
      /^Address 0x\w+ is on thread 1's stack 8192 bytes below stack pointer$/,
    );
  });

  test('suppressions hide findings, and those that are written hide all', async () => {
    const folder = await record('allocators.cpp');
    const own = scratch('own.supp');
    writeFileSync(own, '{\n  copies\n  Memcheck:Overlap\n  ...\n  fun:*overlapping*\n}\n');
    const all = await analyze(folder, '--gen-suppressions=all');
    const some = await analyze(folder, `--suppressions=${own}`);
    const kinds = (report: Report) => report.findings.map(({ kind }) => kind);
    assert.deepEqual(
      kinds(some),
      kinds(all).filter((kind) => kind !== 'Overlap'),
    );
    assert.equal(some.summary.suppressed_errors, 2);
    writeFileSync(own, all.findings.map(({ suppression }) => suppression).join(''));
    assert.deepEqual((await analyze(folder, `--suppressions=${own}`)).findings, []);
  });
});
