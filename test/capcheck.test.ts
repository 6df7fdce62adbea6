/**
 * capcheck on guests whose sources say what is to be found: each line with a bug names the kinds of findings that it
 * gives, and the same program without its bugs (-DCLEAN) gives none.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  findingsOf,
  grindAsync,
  recordSource,
  run,
  testGuests,
  type FoundJson,
} from './expectations.js';
import { compile, grind, record, Recording, ROOT, run as straced, scratch } from './guest.js';

const GUESTS = join(ROOT, 'test', 'guests', 'capcheck');
const SOURCES = readdirSync(GUESTS).filter((file) => file !== 'repaired.c');

const analyze = (folder: string, ...options: string[]): Promise<FoundJson[]> =>
  findingsOf('capcheck', folder, ...options);

describe('capcheck', { concurrency: 2 }, () => {
  testGuests(GUESTS, SOURCES, analyze);

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

  test('generations: what became of each number, in SQL', async () => {
    const folder = await recordSource(join(GUESTS, 'descriptors.c'));
    await analyze(folder);
    const recording = new Recording(folder, '', '', 0);
    const lives = recording.query(
      `select origin, d.end, d.kind, uses from descriptors d
       join frames f on f.process = d.process and f.stack = opened_stack and f.function = 'overmap'
       where name like '/etc/%' order by generation`,
    );
    assert.deepEqual(
      lives.map((row) => Object.values(row).join(' ')),
      [
        'opened closed file 2',
        'opened replaced file 0',
        'duplicated closed file 1',
        'opened replaced file 1',
        'duplicated closed file 1',
      ],
    );
  });

  test('what is open at the end, as Valgrind says with --track-fds=all', async () => {
    const folder = await recordSource(join(GUESTS, 'descriptors.c'));
    const program = compile('capcheck/descriptors.c');
    const { err } = await run('valgrind', ['--tool=none', '--track-fds=all', program]);
    const valgrinds = [...err.matchAll(/Open .*?(\d+):.*\n==\d+== {4}at /g)].map((match) =>
      Number(match[1]),
    );
    await analyze(folder);
    const ours = new Recording(folder, '', '', 0).query(
      `select descriptor from descriptors d where d.end = 'open' and origin <> 'inherited'`,
    );
    assert.ok(ours.length > 64);
    assert.deepEqual(ours.map((row) => Number(row['descriptor'])).sort(), valgrinds.sort());
  });

  test('the same descriptors as strace sees', () => {
    for (const argv of [
      ['sort', '/etc/passwd'],
      ['sqlite3', ':memory:', 'select 1'],
      ['git', '--version'],
      ['python3', '-c', 'open("/etc/group").read()'],
    ]) {
      const log = scratch('strace');
      straced(['strace', '-y', '-o', log, ...argv]);
      const lines = readFileSync(log, 'utf8').split('\n');
      const loaded = lines.slice(lines.findIndex((line) => line.startsWith('munmap')));
      const theirs = loaded.flatMap((line) => {
        const [, number, name] =
          /^(?:openat|open|socket|dup|accept4?)\(.* = (\d+)<(.*)>$/.exec(line) ?? [];
        return number === undefined ? [] : [`${number} ${name!.replace(/\[\d+\]/, '')}`];
      });
      const recording = record(argv, { verify: false });
      const tick = recording.cell(
        `select min(tick) from syscalls where process = 0 and name = 'munmap'`,
      );
      const ours = recording.query(
        `select descriptor || ' ' || name as seen from descriptor_events
         where op = 'opened' and process = 0 and tick > ${tick} order by event`,
      );
      assert.deepEqual(
        ours.map(({ seen }) => String(seen).replace(/\[\d+\]/, '')),
        theirs,
        argv.join(' '),
      );
      assert.ok(theirs.length > 0);
    }
  });

  test('suppressions that are generated hide what they are for', async () => {
    const folder = await recordSource(join(GUESTS, 'descriptors.c'));
    const { out } = await grindAsync('analyze', 'capcheck', folder, '--gen-suppressions=all');
    const entries = out
      .split('\n')
      .filter((line) => /^(\{|\}| {3}(<|grind:|fun:|obj:))/.test(line));
    const file = scratch('supp');
    writeFileSync(file, entries.join('\n'));
    assert.deepEqual(await analyze(folder, `--suppressions=${file}`), []);
  });

  test('wrong values of options', async () => {
    const folder = await recordSource(join(GUESTS, 'unmapped.c'));
    const { err } = await grindAsync('analyze', 'capcheck', folder, '--fd-growth=many');
    assert.match(err, /--fd-growth takes a number or no, not "many"/);
  });
});
