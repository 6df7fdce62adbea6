/** The command line: what passes through to the guest, where runs go, and how answers are printed. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import {
  compile,
  Facts,
  grind,
  outOptions,
  parseExact,
  record,
  ROOT,
  run,
  scratch,
} from './guest.js';

test('arguments, environment, working folder, standard input and error are the guest’s own', () => {
  const cwd = scratch('folder');
  mkdirSync(cwd);
  const stdin = 'line\n'.repeat(1000) + '\0binary\xff';
  const argv = [
    compile('inputs.c'),
    '--verbose',
    'a b',
    '',
    '--',
    '-x',
    '007',
    '1e3',
    '--no-children',
  ];
  const options = { cwd, stdin, env: { GUEST_VARIABLE: 'its value' } };
  const native = run(argv, options);
  const recording = record(argv, options);
  for (const name of ['directory', 'argument', 'variable', 'stdin', 'terminal']) {
    assert.deepEqual(recording.facts.all(name), new Facts(native.stdout).all(name), name);
  }
  assert.match(recording.stderr, /to standard error/);
  assert.equal(
    recording.stderr.replace(/^==.*\n/gm, ''),
    'to standard error\n',
    '--quiet says nothing',
  );
});

test('a terminal is passed on', () => {
  const folder = scratch('tty');
  const command = `'${process.execPath}' '${ROOT}/dist/bin/grind.js' record ${outOptions(folder).join(' ')} -- '${compile('inputs.c')}'`;
  const { stdout } = run(['script', '-qec', command, '/dev/null'], { stdin: '\x04' });
  assert.match(stdout, /terminal 1 1 1/);
});

test('grind alone says what to do next', () => {
  const cwd = scratch('beginning');
  mkdirSync(cwd);
  const commands = (): string[] => {
    const { stdout, status } = grind([], { cwd });
    assert.equal(status, 0);
    return [...stdout.matchAll(/ (grind (?:record|analyze|diff|query|report)\b.*)$/gm)].map(
      ([, command]) => command!.split(' ').slice(0, 3).join(' '),
    );
  };
  assert.deepEqual(commands(), ['grind record --', 'grind analyze memcheck', 'grind query "from']);
  for (const name of ['one', 'two'])
    grind(['record', '--quiet', '--name', name, '--', compile('bare.c')], { cwd });
  const later = commands();
  assert.ok(later.includes('grind diff one'));
  assert.ok(!later.includes('grind analyze race'), 'it has one thread');
});

test('runs go to .grind of the current folder; the last one is the default; ls and info describe them', () => {
  const cwd = scratch('project');
  mkdirSync(cwd);
  const first = grind(['record', '--name', 'first', '--', compile('bare.c')], { cwd });
  assert.equal(first.status, 7, first.stderr);
  assert.ok(existsSync(join(cwd, '.grind', 'first', 'manifest.json')));
  const second = grind(['record', '--quiet', '--', compile('die.c')], { cwd });
  assert.equal(second.status, 3, second.stderr);
  assert.equal(readdirSync(join(cwd, '.grind')).length, 2);

  const list = grind(['ls'], { cwd });
  assert.match(list.stdout, /first/);
  const last = grind(['query', 'select executable from processes', '--format', 'csv'], { cwd });
  assert.match(last.stdout, /die/);
  const named = grind(['query', 'first', 'select executable from processes', '--format', 'csv'], {
    cwd,
  });
  assert.match(named.stdout, /bare/);
  const info = grind(['info', 'first'], { cwd });
  assert.equal(info.status, 0, info.stderr);
  for (const word of [/bare/, /instructions/i, /process/i, /7/]) assert.match(info.stdout, word);
});

test('formats: table, json, csv, arrow, parquet; statements from a file', () => {
  const { folder } = record(['bare.c']);
  const sql = `select kind, count(*) as n, max(value) as largest from accesses group by kind order by kind`;
  const json = parseExact(grind(['query', folder, sql, '--format', 'json']).stdout) as Record<
    string,
    unknown
  >[];
  assert.deepEqual(
    json.map((row) => row['kind']),
    ['load', 'store'],
  );
  const largest = json[1]!['largest'] as bigint;
  assert.ok(largest > 1n << 53n, 'a value that a double cannot hold');
  const csv = grind(['query', folder, sql, '--format', 'csv']).stdout.trim().split('\n');
  assert.equal(csv[0], 'kind,n,largest');
  assert.equal(csv[2]!.split(',')[2], String(largest));
  assert.match(grind(['query', folder, sql]).stdout, new RegExp(`store.*${largest}`));
  const file = scratch('query.sql');
  writeFileSync(file, `${sql};`);
  assert.equal(
    grind(['query', folder, '--file', file, '--format', 'csv']).stdout.trim(),
    csv.join('\n'),
  );
  for (const [format, magic] of [
    ['arrow', 'ARROW1'],
    ['parquet', 'PAR1'],
  ] as const) {
    const out = scratch(`rows.${format}`);
    const shell = `'${process.execPath}' '${ROOT}/dist/bin/grind.js' query '${folder}' "${sql}" --format ${format} > '${out}'`;
    const { status, stderr } = run(['sh', '-c', shell]);
    assert.equal(status, 0, stderr);
    assert.equal(readFileSync(out).subarray(0, magic.length).toString(), magic);
  }
  const tables = grind(['query', folder, '--tables']);
  assert.equal(tables.status, 0);
  for (const name of ['accesses', 'syscalls', 'allocations', 'frames', 'health'])
    assert.match(tables.stdout, new RegExp(name));
});

test('what is captured with a run', () => {
  const recording = record([compile('die.c'), 'exit'], { env: { GUEST_VARIABLE: 'seen' } });
  const row = recording.query('select * from run');
  const text = JSON.stringify(row, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
  for (const word of [/die/, /GUEST_VARIABLE/, /seen/, /3\.\d+/]) assert.match(text, word);
});

test('the everyday tables agree with each other', () => {
  const recording = record([compile('sample.c')]);
  const executed = recording.cell(
    'select cast(sum(instructions * executions) as bigint) from segments',
  );
  assert.equal(executed, recording.cell('select cast(sum(ticks) as bigint) from processes'));
  const nodes = recording.cell(`select count(*) from allocations where size = 16`);
  assert.equal(nodes, 1000n);
  assert.equal(
    recording.cell(`select count(*) from allocations where size = 16 and free_tick is null`),
    1n,
  );
});
