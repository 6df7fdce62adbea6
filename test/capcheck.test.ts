/**
 * capcheck on guests whose sources say what is to be found: each line with a bug names the kinds of findings that it
 * gives, and the same program without its bugs (-DCLEAN) gives none.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
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
import { grind, record, ROOT } from './guest.js';

const GUESTS = join(ROOT, 'test', 'guests', 'capcheck');
const SOURCES = existsSync(GUESTS)
  ? readdirSync(GUESTS).filter((file) => file.endsWith('.c') && file !== 'repaired.c')
  : [];

async function analyze(folder: string, ...options: string[]): Promise<FoundJson[]> {
  const { out, err } = await grindAsync('analyze', 'capcheck', folder, '-f', 'json', ...options);
  assert.match(out, /^\{/, err);
  const report = JSON.parse(out) as { findings: FoundJson[]; summary: { missing: object[] } };
  assert.deepEqual(report.summary.missing, []);
  return report.findings;
}

describe('capcheck', { concurrency: 2 }, () => {
  for (const file of SOURCES) {
    const source = join(GUESTS, file);
    const options = wordsOf(source, 'analyze') ?? [];

    test(`${file}: what its source announces`, async () => {
      const findings = await analyze(await recordSource(source), ...options);
      assert.deepEqual(foundCounts(findings, file), expectedCounts(source));
    });

    test(`${file}: nothing without its bugs`, async () => {
      const findings = await analyze(await recordSource(source, '-DCLEAN'), ...options);
      assert.deepEqual(foundCounts(findings, file), {});
    });
  }

  test('a fault that a handler repairs is none', () => {
    const options = ['--valgrind-arg=--vex-iropt-register-updates=allregs-at-mem-access'];
    const { folder } = record(['capcheck/repaired.c'], { options });
    const report = grind(['analyze', 'capcheck', folder, '-f', 'json']);
    assert.deepEqual((JSON.parse(report.stdout) as { findings: FoundJson[] }).findings, []);
  });

  test('programs of every day have no findings', () => {
    for (const argv of [
      ['ls', '/'],
      ['python3', '-c', 'print(1)'],
      ['sqlite3', ':memory:', 'select 1'],
      ['sh', '-c', 'ls / | sort | head -2; x=$(echo a | tr a b); echo $x'],
    ]) {
      const { folder } = record(argv, { verify: false });
      const report = grind(['analyze', 'capcheck', folder, '-f', 'json']);
      const { findings } = JSON.parse(report.stdout) as { findings: FoundJson[] };
      assert.deepEqual(
        findings.map(({ kind, what }) => [kind, what]),
        [],
        argv.join(' '),
      );
    }
  });
});
