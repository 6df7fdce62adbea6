/** Programs that people really run: each is recorded, replayed whole, and gives its usual answer. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { compile, outOptions, record, Recording, ROOT, run, scratch } from './guest.js';
import { checkInvariants } from './invariants.js';

/** Records a command and expects what it prints without us. */
function sameOutput(
  argv: readonly string[],
  options: Parameters<typeof record>[1] = {},
): Recording {
  const native = run(argv, options);
  const recording = record(argv, options);
  assert.equal(recording.stdout, native.stdout);
  assert.equal(recording.status, native.status);
  assert.equal(recording.cell(`select count(*) from health where severity = 'error'`), 0n);
  return recording;
}

test('ls', () => {
  sameOutput(['ls', '-l', join(ROOT, 'test', 'guests')]);
});

test('gzip: what it compresses is what another gzip unpacks', () => {
  const input = scratch('input');
  writeFileSync(
    input,
    Array.from({ length: 4000 }, (_, i) => `${i * i} is the square of ${i}\n`).join(''),
  );
  const recording = record(['sh', '-c', `gzip -6 -c ${input} > ${input}.gz`]);
  assert.equal(recording.status, 0);
  assert.equal(run(['sh', '-c', `gunzip -c ${input}.gz | cmp - ${input}`]).status, 0);
});

test('sqlite3 with a script', () => {
  const recording = sameOutput(['sqlite3', ':memory:'], {
    stdin: `create table t(a integer, b text);
      with recursive n(i) as (select 1 union all select i + 1 from n where i < 200) insert into t select i, 'x' || i from n;
      create index i on t(b); select count(*), sum(a), max(b), avg(a * 1.5) from t where b like '%7%'; select printf('%.3f', sqrt(2));`,
  });
  assert.match(recording.stdout, /^\d+\|/);
});

test('python3', () => {
  sameOutput(
    [
      '/usr/bin/python3',
      '-c',
      'import json, math; print(json.dumps({str(i): math.sin(i) * 1e10 for i in range(50)}), 2 ** 200)',
    ],
    {
      env: { PYTHONHASHSEED: '1' },
    },
  );
});

test('perl', () => {
  sameOutput([
    'perl',
    '-e',
    'my %h; $h{$_ % 7} += sqrt($_) for 1 .. 2000; printf "%d %.12g\n", $_, $h{$_} for sort keys %h',
  ]);
});

test('descriptors have the numbers that they have natively', () => {
  sameOutput([
    'perl',
    '-e',
    'open F, "<", "/dev/null"; pipe R, W; print join(" ", map { fileno } *F, *R, *W), "\\n"',
  ]);
  // In forked children, and in the programs that they become.
  const open = `perl -e 'open F, "<", "/dev/null"; print fileno(F), "\\n"'`;
  sameOutput(['sh', '-c', `${open}; (exec 3</dev/null 4</dev/null; ${open}; echo); ${open}`]);
});

test('git, with the processes it starts', () => {
  const folder = scratch('repository');
  const env = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' };
  run(['git', 'init', '-q', '-b', 'main', folder], { env });
  writeFileSync(join(folder, 'file.txt'), 'one\ntwo\n');
  const git = (...args: string[]) => [
    'git',
    '-C',
    folder,
    '-c',
    'user.name=A',
    '-c',
    'user.email=a@b',
    ...args,
  ];
  run(git('add', '.'), { env });
  const commit = record(git('commit', '-q', '-m', 'First'), { env });
  assert.equal(commit.status, 0, commit.stderr);
  sameOutput(git('log', '--stat', '--format=%s'), { env });
});

test('gcc -c: driver, compiler proper and assembler', () => {
  const source = scratch('unit.c');
  writeFileSync(source, 'int twice(int n) { return 2 * n; }\n');
  const object = `${source}.o`;
  const recording = record(['gcc', '-c', source, '-o', object], { timeoutMs: 300_000 });
  assert.equal(recording.status, 0, recording.stderr);
  assert.ok(existsSync(object));
  const names = recording
    .query(`select distinct parse_filename(executable) as name from processes`)
    .map((row) => row['name']);
  assert.ok(
    names.includes('cc1') && names.some((name) => /(^|-)as$/.test(name as string)),
    String(names),
  );
});

test('a statically linked program', () => {
  const source = scratch('static.c');
  writeFileSync(
    source,
    '#include <stdio.h>\nint main(void) { printf("%.3f\\n", 1.0 / 3); return 0; }\n',
  );
  run(['gcc', '-static', '-g', source, '-o', `${source}.out`]);
  sameOutput([`${source}.out`]);
});

test('node -e: code that writes code', () => {
  sameOutput([process.execPath, '--jitless', '-e', 'console.log([3, 1, 2].sort().join())'], {
    timeoutMs: 300_000,
  });
});

test('node with its just-in-time compiler', () => {
  const program =
    'let s = 0; function f(i) { return i * 2 + 1 } for (let i = 0; i < 3000; i++) s += f(i); console.log(s)';
  sameOutput([process.execPath, '--single-threaded', '-e', program], { timeoutMs: 300_000 });
});

test('a server on loopback, stopped by SIGTERM', async () => {
  const folder = scratch('server');
  const child = spawn(
    process.execPath,
    [
      join(ROOT, 'dist/bin/grind.js'),
      'record',
      '--verify',
      '--quiet',
      ...outOptions(folder),
      '--',
      compile('server.c'),
    ],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  const closed = once(child, 'close');
  while (!/port \d+ \d+\n/.test(stdout)) await new Promise((resolve) => setTimeout(resolve, 50));
  const [port, pid] = /port (\d+) (\d+)/.exec(stdout)!.slice(1).map(Number);
  for (const word of ['hello', 'again']) {
    const socket = connect(port!, '127.0.0.1');
    socket.end(word);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.equal(answer.toString(), word.toUpperCase());
  }
  process.kill(pid!, 'SIGTERM');
  const [status] = (await closed) as [number];
  assert.equal(status, 0);
  const recording = new Recording(folder, stdout, '', status);
  checkInvariants(recording);
  assert.deepEqual(recording.facts.one('stopped'), ['15', '2']);
  assert.equal(recording.cell('select count(*) from threads'), 3n);
  assert.equal(
    recording.cell(`select count(*) from signals where op = 'deliver' and signal = 15`),
    1n,
  );
});
