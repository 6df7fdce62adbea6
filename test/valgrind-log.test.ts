/** The log of findings beside those of Valgrind's own tools, line by line, and as CTest reads it. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { findProgram } from '../recorder/build.js';
import { wordsOf } from './expectations.js';
import { grind, GUESTS, outOptions, PATH, ROOT, run, scratch } from './guest.js';

/** What Valgrind says of itself and of its options, which grind has not. */
const OF_VALGRIND =
  /^(Copyright |Using Valgrind-|grind \d|For lists of |Use --history-level|the cost of reduced| If you believe| overflow in your| possible\), you| main thread stack using| The main thread stack)/;
/** Frames of what stands between the program and the functions of threads, for which each has its own. */
const WRAPPER = /\(in .*\/vgpreload_(helgrind|sync)-[^/]*\)$/;

/** The lines of a log without process ids and addresses, and what else depends on where the program runs. */
function lines(log: string, pid?: string): string[] {
  return readFileSync(log, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [, process, said] = /^==(\d+)== ?(.*)$/.exec(line)!;
      assert.equal((pid ??= process!), process);
      return said!.replace(/0x[0-9a-f]+/gi, 'ADDRESS').trimEnd();
    })
    .filter((line) => !OF_VALGRIND.test(line) && !WRAPPER.test(line))
    .map((line) => line.replace(/^Parent PID: \d+$/, 'Parent PID').replace(/^ {3}(at|by) /, '   '));
}

/** Compiles a guest, and judges it by both; gives both logs. */
function logsOf(
  guest: string,
  analysis: string,
  theirOptions: readonly string[],
  ourOptions: readonly string[],
): { theirs: string[]; ours: string[] } {
  const source = join(GUESTS, guest);
  const program = scratch(basename(guest).replace(/\.\w+$/, ''));
  const [compiler, ...options] = wordsOf(source, 'build')!;
  assert.equal(run([compiler!, '-g', '-w', source, '-o', program, ...options]).status, 0);
  const [theirs, ours] = [scratch('theirs.log'), scratch('ours.log')];
  run(['valgrind', ...theirOptions, `--log-file=${theirs}`, program]);
  const folder = scratch('run');
  grind(['record', '--quiet', ...outOptions(folder), '--', program]);
  const { status, stderr } = grind([
    ...['analyze', analysis, folder, `--log-file=${ours}`],
    ...ourOptions,
  ]);
  assert.equal(status, 0, stderr);
  return { theirs: lines(theirs), ours: lines(ours) };
}

for (const guest of ['accesses.c', 'allocators.cpp', 'leaks.cpp', 'recursion.c', 'requests.c'])
  test(`${guest}: Memcheck’s log`, () => {
    const { theirs, ours } = logsOf(
      join('memcheck', guest),
      'memcheck',
      ['--leak-check=full', '--track-origins=yes'],
      ['--leak-check=full', '--leak-points=no', '--reused-memory=no'],
    );
    assert.match(theirs.at(-1)!, /^ERROR SUMMARY: /);
    assert.deepEqual(ours, theirs);
  });

test('Helgrind’s log', () => {
  const { theirs, ours } = logsOf(
    join('race', 'helgrind.c'),
    'race',
    ['--tool=helgrind'],
    ['--model=hb'],
  );
  // It looks at a thread's creation before the system call, and suppresses races within libraries that we do not look for.
  const alike = (all: readonly string[]) =>
    all.map((line) => line.replace(/clone\.S:\d+/, 'clone.S').replace(/ \(suppressed.*/, ''));
  assert.ok(ours.filter((line) => /^-+$/.test(line)).length >= 4);
  assert.deepEqual(alike(ours), alike(theirs));
});

test('a log for all process images, or one for each process', () => {
  const folder = scratch('run');
  const script = '/bin/true; (:); exit 3';
  grind(['record', '--quiet', ...outOptions(folder), '--', 'sh', '-c', script]);
  const rows = grind(['query', folder, '-f', 'csv', 'select process, pid from processes']);
  const pids = rows.stdout
    .trim()
    .split('\n')
    .slice(1)
    .map((row) => row.split(',')[1]!);
  assert.ok(pids.length > 2 && new Set(pids).size < pids.length);
  const commands = (log: string, pid: string) =>
    [...log.matchAll(new RegExp(`^==${pid}== Command: `, 'gm'))].length;
  const counts = (all: (pid: string) => string) => pids.map((pid) => commands(all(pid), pid));
  const expected = pids.map((pid) => pids.filter((other) => other === pid).length);
  const write = (path: string) =>
    assert.equal(grind(['analyze', 'memcheck', folder, `--log-file=${path}`]).status, 0);
  const one = scratch('all.log');
  write(one);
  assert.deepEqual(
    counts(() => readFileSync(one, 'utf8')),
    expected,
  );
  const each = scratch('each');
  write(`${each}.%p`);
  assert.deepEqual(
    counts((pid) => readFileSync(`${each}.${pid}`, 'utf8')),
    expected,
  );
});

test('suppressions stand in it as they can be copied', () => {
  const folder = scratch('run');
  const program = scratch('below');
  run(['gcc', '-g', '-w', join(GUESTS, 'memcheck', 'accesses.c'), '-o', program]);
  grind(['record', '--quiet', ...outOptions(folder), '--', program]);
  const log = scratch('log');
  const judge = (...options: string[]) => grind(['analyze', 'memcheck', folder, ...options]).stdout;
  judge('--gen-suppressions=all', `--log-file=${log}`);
  const suppressions = scratch('supp');
  const plain = readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => !line.startsWith('=='));
  writeFileSync(suppressions, plain.join('\n'));
  assert.match(
    judge(`--suppressions=${suppressions}`),
    /ERROR SUMMARY: 0 errors .*suppressed: [1-9]/,
  );
});

test('CTest reads it, with grind as its memory checker, as it reads Valgrind’s', () => {
  const folder = scratch('ctest');
  const bin = join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  const program = join(bin, 'leaks');
  run(['g++', '-g', '-w', join(GUESTS, 'memcheck', 'leaks.cpp'), '-o', program]);
  const project = `cmake_minimum_required(VERSION 3.16)
project(tests NONE)
include(CTest)
add_test(NAME leaks COMMAND ${program})
add_test(NAME clean COMMAND true)
add_test(NAME fails COMMAND sh -c "exit 3")
`;
  writeFileSync(join(folder, 'CMakeLists.txt'), project);
  const shim = `#!/bin/sh\nexec ${process.execPath} ${join(ROOT, 'dist', 'bin', 'grind.js')} "$@"\n`;
  writeFileSync(join(bin, 'grind'), shim, { mode: 0o755 });
  const checked = (checker: string): { tests: string[]; defects: string[] } => {
    const build = scratch('build');
    const configured = run([
      ...['cmake', '-S', folder, '-B', build, '-DMEMORYCHECK_TYPE=Valgrind'],
      `-DMEMORYCHECK_COMMAND=${checker}`,
    ]);
    assert.equal(configured.status, 0, configured.stderr);
    const { stdout } = run(['ctest', '-T', 'memcheck'], {
      cwd: build,
      env: { PATH: `${bin}:${PATH}` },
    });
    const [testing] = readdirSync(join(build, 'Testing')).filter((name) => /^\d+-/.test(name));
    const xml = readFileSync(join(build, 'Testing', testing!, 'DynamicAnalysis.xml'), 'utf8');
    return {
      tests: stdout.match(/MemCheck #\d: .*?(Passed|Failed)/g) ?? [],
      defects: xml.match(/<Name>.*|<Defect type=.*/g) ?? [],
    };
  };
  const checkers = [join(ROOT, 'bin', 'ctest-memcheck.sh'), findProgram('valgrind')!];
  const [ours, theirs] = checkers.map(checked);
  assert.equal(ours!.tests.length, 3);
  assert.ok(ours!.defects.some((line) => line.includes('"Potential Memory Leak"')));
  assert.deepEqual(ours, theirs);
});
