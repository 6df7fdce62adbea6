/** Completion in bash, zsh and fish, by these shells themselves; and the manual page, read by mandoc and groff. */
import assert from 'node:assert/strict';
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { grind, record, ROOT, run, scratch } from './guest.js';

/** A folder with a run, a file and a folder in it, and `grind` in the path of shells. */
let place: { cwd: string; env: Record<string, string> } | undefined;
function somewhere(): NonNullable<typeof place> {
  if (place) return place;
  const cwd = scratch('completion');
  mkdirSync(join(cwd, 'bin'), { recursive: true });
  const program = join(cwd, 'bin', 'grind');
  writeFileSync(
    program,
    `#!/bin/sh\nexec '${process.execPath}' '${ROOT}/dist/bin/grind.js' "$@"\n`,
  );
  chmodSync(program, 0o755);
  writeFileSync(
    join(cwd, 'mine.sql'),
    '-- describe: Mine\n-- option most = 3: Of them\nselect 1 as what',
  );
  cpSync(record(['sample.c']).folder, join(cwd, '.grind', 'some-run'), { recursive: true });
  const env = { PATH: `${join(cwd, 'bin')}:/usr/bin:/bin`, HOME: cwd, TERM: 'dumb' };
  return (place = { cwd, env });
}

/** A command line up to the cursor, and what it must become, or be offered: the words, sorted. */
const CASES: readonly (readonly [string, readonly string[]])[] = [
  ['grind an', ['analyze']],
  ['grind re', ['record', 'report']],
  ['grind analyze memcheck --leak-check=f', ['--leak-check=full']],
  ['grind analyze memcheck --leak-check s', ['summary']],
  ['grind analyze memcheck,ra', ['memcheck,race']],
  ['grind analyze mi', ['mine.sql']],
  ['grind analyze ./mine.sql --mo', ['--most']],
  [
    'grind query --format=',
    ['arrow', 'csv', 'json', 'parquet', 'table'].map((f) => `--format=${f}`),
  ],
  ['grind info so', ['some-run']],
  ['grind query --file m', ['mine.sql']],
  ['grind record --no-c', ['--no-children']],
  ['grind record --quiet -- gzi', ['gzip']],
  ['grind completion z', ['zsh']],
];

test('bash completes commands, options, their values, runs and files', () => {
  const { cwd, env } = somewhere();
  const script = CASES.map(([line]) => {
    // As bash splits the words of a line.
    const words = line.split(/ |(=)/).filter((word) => word !== undefined);
    const list = words.map((word) => `'${word}'`).join(' ');
    const before = line.includes('=')
      ? line.slice(line.lastIndexOf(' ') + 1, line.lastIndexOf('=') + 1)
      : '';
    return `COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _grind; printf -- '${before}%s ' "\${COMPREPLY[@]}"; echo`;
  });
  const { status, stdout, stderr } = run(
    [
      'bash',
      '--norc',
      '-c',
      `compopt() { :; }; eval "$(grind completion bash)"\n${script.join('\n')}`,
    ],
    { cwd, env },
  );
  assert.equal(status, 0, stderr);
  const found = stdout.trimEnd().split('\n');
  CASES.forEach(([line, expected], i) =>
    assert.deepEqual([...new Set(found[i]!.trim().split(/\s+/))].sort(), expected, line),
  );
});

test('fish completes them', () => {
  const { cwd, env } = somewhere();
  const script = CASES.map(([line]) => `complete -C '${line}' | string split -f1 \\t; echo ---`);
  const { status, stdout, stderr } = run(
    ['fish', '--no-config', '-c', `grind completion fish | source\n${script.join('\n')}`],
    { cwd, env },
  );
  assert.equal(status, 0, stderr);
  const found = stdout.split('---\n');
  CASES.forEach(([line, expected], i) =>
    assert.deepEqual(found[i]!.split('\n').filter(Boolean).sort(), expected, line),
  );
});

test('zsh completes them', () => {
  const { cwd, env } = somewhere();
  const only = CASES.filter(([, expected]) => expected.length === 1);
  // A terminal in which each line is typed with the tab key; another key shows what it has become.
  const lines = only.map(
    ([line]) =>
      `zpty -w -n z $'${line}\\t\\x18'; zpty -r z text '*<<*>>*'; print -r -- \${\${text##*<<}%%>>*}`,
  );
  const { status, stdout, stderr } = run(
    [
      ...['zsh', '-f', '-c'],
      `zmodload zsh/zpty; zpty z zsh -f -i
zpty -w z 'show() { print -r -- "<""<$BUFFER>"">"; BUFFER= }; zle -N show; bindkey "^X" show; PS1=; autoload -U compinit; compinit -u -D; eval "$(grind completion zsh)"; print -r -- rea""dy'
zpty -r z text '*ready*'
${lines.join('\n')}`,
    ],
    { cwd, env, timeoutMs: 120_000 },
  );
  assert.equal(status, 0, stderr);
  const found = stdout.trimEnd().split('\n');
  only.forEach(([line, [word]], i) => {
    const expected = `${line.slice(0, line.lastIndexOf(' ') + 1)}${word}`;
    assert.equal(found[i]!.trimEnd(), expected, line);
  });
});

test('the manual page has every command with its options, and no mistakes', () => {
  const page = join(ROOT, 'dist', 'grind.1');
  const checked = run(['mandoc', '-Tlint', '-Wwarning', page]);
  assert.equal(checked.status, 0, checked.stdout);
  const set = run(['groff', '-ww', '-man', '-Tutf8', page]);
  assert.equal(set.stderr, '');
  const text = plain(run(['mandoc', '-Tutf8', '-Owidth=200', page]).stdout);
  assert.equal(
    readFileSync(page, 'utf8'),
    grind(['man-page']).stdout,
    'it was built with these declarations',
  );
  const help = grind(['--help']).stdout;
  const names = [...help.matchAll(/^ {2}grind ([\w-]+)/gm)].map(([, name]) => name!);
  assert.ok(names.length > 10);
  for (const name of names) {
    assert.match(text, new RegExp(`^ {3}grind ${name}`, 'm'));
    const own = grind([name, '--help']).stdout;
    for (const [, option] of own.matchAll(/^ +(?:-\w, )?--([\w-]+) /gm))
      if (option !== 'help' && option !== 'version')
        assert.match(text, new RegExp(`^ +--(\\[no-\\])?${option}\\b`, 'm'), `${name} --${option}`);
    assert.match(own, /^Examples:/m, `${name} --help has examples`);
  }
});

/** Text without the letters that are struck over, which is how terminals were told of bold ones. */
const plain = (text: string): string =>
  text
    .split('\b')
    .map((part, i, all) => (i < all.length - 1 ? part.slice(0, -1) : part))
    .join('');
