/** `grind record` as a user runs it: what reaches the terminal, exit statuses, and what becomes of a run that is cut off. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { buildTool, CACHE_FOLDER } from '../recorder/build.js';
import type { Manifest } from '../recorder/manifest.js';
import { Trace } from '../replay/trace.js';
import { health } from '../schemas/tables.js';

const GRIND = join(dirname(fileURLToPath(import.meta.url)), '..', 'bin', 'grind.js');
const GUEST = `
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <valgrind/valgrind.h>
int main(int argc, char** argv)
{
   VALGRIND_PRINTF("said to the engine\\n");
   if (!strcmp(argv[1], "exit")) _exit(7);
   if (!strcmp(argv[1], "segv")) *(volatile int*)16 = 1;
   if (!strcmp(argv[1], "kill")) kill(getpid(), SIGKILL);
   if (!strcmp(argv[1], "wait")) { puts("waiting"); fflush(stdout); for (;;) pause(); }
   if (!strcmp(argv[1], "echo")) { int c; while ((c = getchar()) != EOF) putchar(c); }
   if (!strcmp(argv[1], "outlive") && fork() == 0) { setsid(); sleep(1); exit(0); }
   if (!strcmp(argv[1], "env")) puts(getenv("LD_LIBRARY_PATH") ? "changed" : "as it was");
   return 3;
}
`;

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'grind-test-'));
  writeFileSync(join(folder, 'guest.c'), GUEST);
  execFileSync('gcc', ['-o', 'guest', 'guest.c'], { cwd: folder });
});
after(() => rmSync(folder, { recursive: true }));

function environment(): NodeJS.ProcessEnv {
  const { LD_LIBRARY_PATH: _, ...rest } = process.env;
  return { ...rest, SECRET_OF_TEST: 'x', PLAIN_OF_TEST: 'y' };
}

function grind(
  args: string[],
  input = '',
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [GRIND, ...args], {
    cwd: folder,
    encoding: 'utf8',
    input,
    env: environment(),
  });
}

function manifest(name: string): Manifest {
  return JSON.parse(
    readFileSync(join(folder, '.grind', name, 'manifest.json'), 'utf8'),
  ) as Manifest;
}

test("the exit status and the output are the guest's own", () => {
  const cases: [string, number, Partial<Manifest>][] = [
    ['exit', 7, { exitStatus: 7, signal: null }],
    ['segv', 139, { exitStatus: null, signal: 11 }],
    ['kill', 137, { exitStatus: null, signal: 9 }],
    ['echo', 3, { exitStatus: 3, signal: null }],
  ];
  for (const [what, status, expected] of cases) {
    const {
      status: got,
      stdout,
      stderr,
    } = grind(['record', '--quiet', '--name', what, '--', './guest', what], 'input\n');
    assert.equal(got, status, what);
    assert.equal(stdout, what === 'echo' ? 'input\n' : '');
    assert.match(stderr, /^\*\*\d+\*\* said to the engine\n$/);
    const { exitStatus, signal, status: complete, processes } = manifest(what);
    assert.deepEqual(
      { exitStatus, signal },
      { exitStatus: expected.exitStatus, signal: expected.signal },
    );
    assert.equal(complete, 'complete');
    assert.equal(processes, 1);
    assert.ok(!existsSync(join(folder, '.grind', what, 'spool')));
  }
});

test('the run says what was recorded', () => {
  const { stderr } = grind([
    'record',
    '--name',
    'facts',
    '--env-exclude',
    'PLAIN*',
    '--',
    './guest',
    '007',
    '1e3',
  ]);
  assert.match(stderr, /grind: recorded facts: 1 process, [\d,]+ instructions, [\d.]+ MB\n$/);
  const facts = manifest('facts');
  assert.deepEqual(facts.argv, ['./guest', '007', '1e3']);
  assert.equal(facts.directory, folder);
  assert.ok(!('SECRET_OF_TEST' in facts.environment) && !('PLAIN_OF_TEST' in facts.environment));
  assert.equal(facts.environment['HOME'], process.env['HOME']);
  const sum = execFileSync('sha256sum', ['guest'], { cwd: folder, encoding: 'utf8' }).slice(0, 64);
  assert.equal(facts.executable.sha256, sum);
  const notes = execFileSync('readelf', ['-n', 'guest'], { cwd: folder, encoding: 'utf8' });
  assert.ok(notes.includes(`Build ID: ${facts.executable.buildId}`));
  assert.equal(facts.modules[join(folder, 'guest')], facts.executable.buildId);
  assert.match(grind(['ls']).stdout, /^facts .* \.\/guest 007 1e3 +3 +1 +[\d,]+ +[\d.]+ MB$/m);
  assert.match(grind(['info', 'facts']).stdout, /^exit +3$/m);
});

test("the environment is the guest's own", () => {
  assert.equal(grind(['record', '--quiet', '--', './guest', 'env']).stdout, 'as it was\n');
});

test('what cannot be recorded is refused in one sentence, and leaves nothing', () => {
  writeFileSync(join(folder, 'text'), 'hello\n', { mode: 0o755 });
  writeFileSync(join(folder, 'plain'), 'hello\n', { mode: 0o644 });
  const elf32 = Buffer.from('7f454c460101010000000000000000000200030001000000', 'hex');
  writeFileSync(join(folder, 'elf32'), elf32, { mode: 0o755 });
  writeFileSync(join(folder, 'script'), '#!/no/such/shell\n', { mode: 0o755 });
  const runs = readdirSync(join(folder, '.grind'));
  const cases: [string[], RegExp][] = [
    [['record', '--', 'no-such-program'], /no program no-such-program in PATH/],
    [['record', '--', './no-such-program'], /no program \.\/no-such-program/],
    [['record', '--', './plain'], /not executable/],
    [['record', '--', './text'], /neither a Linux program nor a script/],
    [['record', '--', './elf32'], /not a program for 64-bit x86/],
    [['record', '--', './script'], /script for \/no\/such\/shell/],
    [['record', '--', './.'], /not a file/],
    [['record'], /which program/],
    [['record', '--start-at', 'nonsense', '--', './guest', 'x'], /--start-at takes/],
    [['record', '--max-size', 'much', '--', './guest', 'x'], /--max-size takes/],
    [['record', '--name', 'facts', '--', './guest', 'x'], /already a run named facts/],
    [['record', '--out', '/proc/x', '--', './guest', 'x'], /--out/],
    [['record', '--nonsense', '--', './guest', 'x'], /There is no option --nonsense/],
    [['info', 'no-such-run'], /no run no-such-run/],
  ];
  for (const [args, message] of cases) {
    const { status, stderr, stdout } = grind(args);
    assert.equal(status, 2, args.join(' '));
    assert.match(stderr, message);
    assert.match(stderr, /^grind: [^\n]*\n$/, args.join(' '));
    assert.equal(stdout, '');
  }
  assert.deepEqual(readdirSync(join(folder, '.grind')), runs);
});

test('an option that the engine does not know leaves no run', () => {
  const runs = readdirSync(join(folder, '.grind'));
  const { status, stderr } = grind(['record', '--valgrind-arg=--nonsense=1', '--', './guest', 'x']);
  assert.equal(status, 2);
  assert.match(stderr, /--nonsense=1/);
  assert.deepEqual(readdirSync(join(folder, '.grind')), runs);
});

test('the recording waits for processes that outlive the program', () => {
  const { status, stderr } = grind(['record', '--name', 'outlive', '--', './guest', 'outlive']);
  assert.equal(status, 3);
  assert.match(stderr, /which the run waits for/);
  const trace = Trace.open(join(folder, '.grind', 'outlive'));
  assert.deepEqual(
    trace.processes.map(({ how, end, status: code }) => [how, end, code]),
    [
      ['start', 'exit', 3],
      ['fork', 'exit', 0],
    ],
  );
  trace.close();
});

test('SIGTERM is passed on to the guest', async () => {
  const recorder = startWaiting('terminated');
  await recorder.waiting;
  recorder.child.kill('SIGTERM');
  assert.equal(await recorder.ended, 143);
  assert.equal(manifest('terminated').signal, 15);
});

test('a run whose recorder was killed is completed when it is opened', async () => {
  const recorder = startWaiting('cut-off');
  await recorder.waiting;
  await sleep(500);
  recorder.child.kill('SIGKILL');
  await recorder.ended;
  const running = grind(['info', 'cut-off']);
  assert.equal(running.status, 2);
  const guest = Number(/by process (\d+)/.exec(running.stderr)?.[1]);
  assert.ok(guest > 0, running.stderr);
  process.kill(guest, 'SIGKILL');
  await sleep(300);
  const { status, stdout } = grind(['info', 'cut-off']);
  assert.equal(status, 0);
  assert.match(stdout, /^status +cut off/m);
  const trace = Trace.open(join(folder, '.grind', 'cut-off'));
  assert.equal(trace.processes[0]!.end, 'unknown');
  assert.deepEqual(
    [...trace.rows(health)].map((row) => row.what),
    ['cut_off'],
  );
  trace.close();
});

/** Records a guest that waits for a signal. */
function startWaiting(name: string) {
  const child = spawn(
    process.execPath,
    [GRIND, 'record', '--quiet', '--name', name, '--', './guest', 'wait'],
    {
      cwd: folder,
      env: environment(),
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  const waiting = new Promise((done) => child.stdout.once('data', done));
  const ended = new Promise<number | null>((done) => child.once('exit', (status) => done(status)));
  return { child, waiting, ended };
}

test('lines and inlined functions are the same when what was read of them is kept from an earlier recording', async () => {
  const steps = Array.from({ length: 2500 }, (_, i) => `   x = step(x) ^ ${i};`).join('\n');
  const inline = 'static inline __attribute__((always_inline)) int';
  writeFileSync(
    join(folder, 'inlined.c'),
    `${inline} half(int x) { return x / 3; }\n${inline} step(int x) { return half(x) * 3 + 1; }
int main(int argc, char** argv) { int x = argc;\n${steps}\n return x & 1; }\n`,
  );
  execFileSync('gcc', ['-g', '-O1', '-o', 'inlined', 'inlined.c'], { cwd: folder });
  const cache = join((await buildTool()).folder, CACHE_FOLDER);
  const { ino } = statSync(join(folder, 'inlined'));
  const keptKinds = (): string[] =>
    readdirSync(cache)
      .filter((name) => name.split('-')[1] === ino.toString(16))
      .map((name) => name.split('.')[1]!)
      .sort();
  assert.deepEqual(keptKinds(), []);
  const [read, kept] = ['read', 'kept'].map((name) => {
    grind(['record', '--quiet', '--name', name, '--', './inlined']);
    assert.deepEqual(keptKinds(), ['inlined', 'lines']);
    const sql =
      "select pc, function, file, line, inlined from instructions where file = 'inlined.c' order by pc";
    return grind(['query', name, sql, '--format', 'csv']).stdout;
  });
  assert.equal(kept, read);
  assert.ok(read!.split('\n').length > 5000);
  assert.match(read!, /half\|inlined.c\|1\nstep\|inlined.c\|2\nmain\|inlined.c\|1200/);
});
