/** Wrong command lines: each is answered in one sentence that says how it would be right. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fitted } from '../bin/terminal.js';
import { grind, record, ROOT, run, scratch } from './guest.js';
import { randomOf } from './random.js';

const WRONG: readonly (readonly [line: string, sentence: RegExp])[] = [
  ['anlyze', /no command anlyze; did you mean analyze\? `grind --help` lists the commands\.$/],
  ['frobnicate', /no command frobnicate\. `grind --help` lists/],
  ['-x', /no option -x\. `grind --help`/],
  [
    'analyze',
    /`grind analyze` needs its analysis \(memcheck, race, .*: see `grind analyze --help`\.$/,
  ],
  ['analyze memchek', /no analysis memchek; did you mean memcheck\? Name memcheck, race/],
  ['analyze ./nowhere.ts', /no analysis \.\/nowhere\.ts\. Name .*`grind new-analysis` begins\.$/],
  [
    'analyze memcheck RUN --leak-chek=full',
    /no option --leak-chek; did you mean --leak-check\? `grind analyze --help` lists/,
  ],
  [
    'analyze memcheck RUN --leak-check=maybe',
    /--leak-check takes no, summary, yes, full, and not "maybe"/,
  ],
  ['analyze memcheck RUN --leak-check', /--leak-check needs a value/],
  ['analyze memcheck RUN more', /a word too many, more: it is `grind analyze <analysis> \[run\]`/],
  ['analyze memcheck RUN --process x', /--process takes a number/],
  ['analyze memcheck RUN --process 9', /no process 9: `grind info` shows/],
  ['analyze heap,heap RUN', /Name the analysis heap only once/],
  ['analyze cache RUN --rows=x', /--rows takes a whole number from 1, and not "x"/],
  ['analyze cache nowhere', /no run nowhere in .*`grind ls` shows the runs/],
  ['record', /Say after -- which program/],
  ['record ls', /Say after -- which program/],
  ['record -- no-such-program', /no program no-such-program in PATH: check its name/],
  ['record --nmae x -- ls', /no option --nmae; did you mean --name\?/],
  ['record --out a --out b -- ls', /Give --out only once/],
  ['record --max-size lots -- ls', /--max-size takes a size such as 500M or 2G, and not "lots"/],
  ['record --start-at here -- ls', /--start-at takes function:NAME, tick:N or request/],
  ['query RUN', /no SQL statement to run: give it as an argument, by --file, or on standard input/],
  ['query RUN selct', /syntax error at or near "selct"/],
  [
    'query RUN --format=xml select',
    /--format takes table, json, csv, arrow, parquet, and not "xml"/,
  ],
  ['query RUN --file nowhere.sql', /Cannot read the SQL file nowhere\.sql: there is no such file/],
  ['query', /no SQL statement/],
  ['rm', /`grind rm` needs its runs \(/],
  ['rm nowhere', /no run nowhere/],
  ['gc', /Say what to keep: --keep 10/],
  ['gc --keep x', /--keep takes a (whole )?number/],
  ['diff', /`grind diff` needs its before \(/],
  ['diff one two', /no run one in/],
  ['why', /`grind why` needs its finding \(/],
  ['ls more', /a word too many, more/],
  ['ls --commit nowhere', /nowhere is no revision/],
  ['report', /no run in .*: record one with/],
  ['completion', /Say for which shell: bash, zsh, fish/],
  ['completion tcsh', /shell takes bash, zsh, fish, and not "tcsh"/],
  ['new-analysis', /`grind new-analysis` needs its name/],
  ['new-analysis race', /race comes with grind/],
  ['new-analysis a.b', /cannot be called a\.b/],
];

test('wrong command lines are answered in a sentence, in whatever language the user has', () => {
  const cwd = scratch('nothing');
  mkdirSync(cwd);
  const { folder } = record(['sample.c']);
  for (const [line, sentence] of WRONG) {
    const words = line.split(' ').map((word) => (word === 'RUN' ? folder : word));
    const { status, stderr } = grind(words, { cwd, env: { LANG: 'de_DE.UTF-8', LC_ALL: '' } });
    assert.match(stderr.trimEnd(), sentence, line);
    assert.match(stderr, /^grind: .+\n$/, `${line}: one sentence`);
    assert.equal(status, 2, line);
  }
});

test('on a terminal tables fit, and findings have colours; not if NO_COLOR is set, nor elsewhere', () => {
  const { folder } = record(['sample.c']);
  const cwd = scratch('terminal');
  mkdirSync(cwd);
  writeFileSync(join(cwd, 'one.sql'), "-- describe: One\nselect 'one thing' as what");
  const command = (words: string) => `'${process.execPath}' '${ROOT}/dist/bin/grind.js' ${words}`;
  const terminal = (words: string, env: Record<string, string> = {}) =>
    run(['script', '-qec', `stty cols 60; ${command(words)}`, '/dev/null'], {
      cwd,
      env: { TERM: 'xterm', NO_COLOR: '', ...env },
    }).stdout.replaceAll('\r', '');
  const sql = `"select repeat('x', 100) as long, 7 as short, repeat('y', 90) as other"`;
  const table = terminal(`query ${folder} ${sql}`).split('\n');
  assert.ok(
    table.every((line) => line.length <= 60),
    table.join('\n'),
  );
  assert.match(table.join('\n'), /│ x+… │ +7 │ y+… │/);
  const piped = grind(['query', folder, sql.slice(1, -1)]).stdout;
  assert.match(piped, /│ x{100} │ +7 │ y{90} │/);
  const red = '\x1b[31mone thing\x1b[0m';
  assert.ok(terminal(`analyze ./one.sql ${folder}`).includes(red));
  assert.ok(!terminal(`analyze ./one.sql ${folder}`, { NO_COLOR: '1' }).includes('\x1b'));
  assert.ok(!grind(['analyze', './one.sql', folder], { cwd }).stdout.includes('\x1b'));
});

test('widths that fit: the widest columns become narrower, by an obvious count', () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
  const next = randomOf(seed);
  for (let round = 0; round < 300; round++) {
    const widths = Array.from({ length: 1 + next(8) }, () => next(60));
    const room = next(200);
    const found = fitted(widths, 3, room);
    const total = (all: readonly number[]) => all.reduce((sum, width) => sum + width + 3, 1);
    const about = `seed ${seed}: ${widths.join()} in ${room}`;
    if (total(widths) <= room) assert.deepEqual(found, widths, about);
    else if (total(found) > room) {
      assert.deepEqual(found, widths, about);
      assert.ok(total(widths.map((width) => Math.min(width, 6))) > room, about);
    } else {
      const cap = Math.max(...found);
      assert.deepEqual(
        found,
        widths.map((width) => Math.min(width, cap)),
        about,
      );
      assert.ok(total(widths.map((width) => Math.min(width, cap + 1))) > room, about);
    }
  }
});
