/**
 * What `grind diff` says of two commits of a program that states in its source what changed, and of two recordings of
 * one commit.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from 'sarif';
import { before, describe, test } from 'node:test';
import { compile, grind, GUESTS, record, run, scratch } from './guest.js';

interface Change {
  readonly isSameCode?: boolean;
  readonly name: string;
  readonly before: number;
  readonly after: number;
}

interface Placed extends Change {
  readonly placements?: Record<'before' | 'after', readonly [number, number]>;
  readonly isWithinPlacements?: boolean;
}

interface DiffJson {
  readonly new: readonly Described[];
  readonly fixed: readonly Described[];
  readonly kept: readonly Described[];
  readonly figures: readonly Change[];
  readonly functions: readonly Change[];
  readonly allocations: readonly Change[];
  readonly syscalls: readonly Change[];
  readonly paths: readonly (Change & { path: readonly string[] })[];
  readonly blocks: readonly Change[];
  readonly peak: readonly Change[];
  readonly d1: readonly Change[];
  readonly branches: readonly Change[];
  readonly gates: readonly { gate: string; failed: boolean }[];
  readonly before: { commit?: string };
  readonly after: { commit?: string };
}

interface Described {
  readonly kind: string;
  readonly fingerprint: string;
  readonly stacks: readonly { frames: readonly { file: string; line: number }[] }[];
}

const SOURCE = join(GUESTS, 'versions.c');

/** What the source announces of findings: those that are new, fixed or kept, as `kind line`. */
function announced(what: string): string[] {
  const lines = readFileSync(SOURCE, 'utf8').split('\n');
  return lines.flatMap((line, i) => {
    const kind = new RegExp(`// expect: ${what} (\\w+)$`).exec(line)?.[1];
    return kind ? [`${kind} ${i + 1}`] : [];
  });
}

const places = (list: readonly Described[]): string[] =>
  list.map(({ kind, stacks }) => {
    const frame = stacks[0]!.frames.find(({ file }) => file === 'versions.c');
    return `${kind} ${frame?.line}`;
  });

describe('diff', () => {
  let folder: string;
  const diff = (...args: string[]) => {
    const result = grind(['diff', '--behaviour=no', ...args], { cwd: folder });
    assert.ok(result.status === 0 || result.status === 1, result.stderr);
    return { ...result, json: () => JSON.parse(result.stdout) as DiffJson };
  };
  const git = (...args: string[]): string => {
    const who = ['-c', 'user.name=A', '-c', 'user.email=a@example.org'];
    const { status, stdout, stderr } = run(['git', ...who, ...args], { cwd: folder });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  };

  before(() => {
    folder = scratch('repository');
    mkdirSync(folder);
    git('init', '-q', '-b', 'main');
    copyFileSync(SOURCE, join(folder, 'versions.c'));
    const record = (name: string, ...options: string[]): void => {
      const compiler = ['gcc', '-O0', '-g', 'versions.c', '-o', 'program', ...options];
      assert.equal(run(compiler, { cwd: folder }).status, 0);
      const recorded = grind(['record', '--quiet', '--name', name, '--', './program'], {
        cwd: folder,
      });
      assert.equal(recorded.status, 0, recorded.stderr);
    };
    git('add', '.');
    git('commit', '-q', '-m', 'first');
    record('one');
    record('again');
    git('commit', '-q', '--allow-empty', '-m', 'second');
    record('two', '-DNEXT');
  });

  test('between two commits: the findings that are new, fixed and kept, to the line', () => {
    const found = diff('HEAD~1', 'HEAD', '--format=json').json();
    assert.deepEqual(places(found.new), announced('new'));
    assert.deepEqual(places(found.fixed), announced('fixed'));
    assert.deepEqual(places(found.kept), announced('kept'));
    assert.deepEqual(
      [found.before.commit, found.after.commit],
      [git('rev-parse', 'HEAD~1'), git('rev-parse', 'HEAD')],
    );
  });

  test('the function that became slower stands first, and one that did not change not at all', () => {
    const { functions, figures } = diff('one', 'two', '--format=json').json();
    assert.equal(functions[0]!.name, 'find in program');
    assert.ok(functions[0]!.after > 4 * functions[0]!.before);
    assert.ok(!functions.some(({ name }) => name.startsWith('unchanged ')));
    const sum = (key: 'before' | 'after') => functions.reduce((total, one) => total + one[key], 0);
    const instructions = figures.find(({ name }) => name === 'instructions')!;
    assert.equal(sum('after') - sum('before'), instructions.after - instructions.before);
  });

  test('where the paths of calls begin to differ: together that is the whole difference', () => {
    const { paths, figures } = diff('one', 'two', '--analyses=callgraph', '--format=json').json();
    assert.deepEqual(paths[0]!.path.slice(-2), ['main', 'find']);
    assert.match(paths[0]!.name, /^main > find \(itself\)$/);
    const spare = paths.find(({ path }) => path.at(-1) === 'keep_spare')!;
    assert.match(spare.name, /^main > keep_spare \(0 → 1 calls\)$/);
    assert.ok(!paths.some(({ path }) => path.slice(0, -1).includes('keep_spare')));
    const sum = (key: 'before' | 'after') => paths.reduce((total, one) => total + one[key], 0);
    const instructions = figures.find(({ name }) => name === 'instructions')!;
    assert.equal(sum('after') - sum('before'), instructions.after - instructions.before);
  });

  test('misses and mispredictions are figures, and told by function', () => {
    const { figures, branches, d1 } = diff(
      'one',
      'two',
      '--analyses=cache',
      '--format=json',
    ).json();
    const growth = (list: readonly Change[]): number =>
      list.reduce((total, one) => total + one.after - one.before, 0);
    const figure = (name: string) => figures.filter((one) => one.name === name);
    assert.equal(growth(figure('branch-mispredictions')), growth(branches));
    assert.equal(growth(figure('d1-misses')), growth(d1));
    assert.ok(figure('ll-misses')[0]!.after > 0);
    // Where to go in a sorted table is hard to predict, and a loop is not.
    const find = branches.find(({ name }) => name === 'find')!;
    assert.ok(find.after < find.before);
  });

  test('functions of the same code that are called as often are told apart from those that changed', () => {
    // The length of the text is asked for as often; numbers are read in the second only.
    const texts = [
      ['%s', 'a'],
      ['%s %d', 'b'.repeat(300), '5'],
    ];
    const folders = texts.map((text) => record(['/usr/bin/printf', ...text]).folder);
    const { stdout } = grind([
      'diff',
      ...folders,
      '--behaviour=no',
      '--analyses=callgraph',
      '-f',
      'json',
    ]);
    const { functions } = JSON.parse(stdout) as DiffJson;
    assert.ok(functions.length > 0);
    const marked = functions.filter(({ isSameCode }) => isSameCode);
    assert.ok(marked.length > 0 && marked.length < functions.length);
    assert.ok(marked.every(({ before, after }) => before > 0 && after > 0));
    const built = diff('one', 'two', '--analyses=callgraph', '--format=json').json();
    const slower = built.functions.find(({ name }) => name.startsWith('find '))!;
    assert.equal(slower.isSameCode, undefined);
  });

  test('heap use as the source has it', () => {
    const { figures, allocations, blocks, peak } = diff('one', 'two', '--format=json').json();
    const figure = (name: string) => figures.find((one) => one.name === name)!;
    const growth = (name: string) => figure(name).after - figure(name).before;
    assert.equal(growth('allocations'), 1);
    assert.equal(growth('allocated-bytes'), 28);
    assert.equal(growth('live-bytes-at-end'), 28);
    assert.deepEqual(allocations, [{ name: 'keep_spare', before: 0, after: 28 }]);
    assert.deepEqual(blocks, [{ name: 'keep_spare', before: 0, after: 1 }]);
    assert.deepEqual(peak, allocations);
  });

  test('nothing between two recordings of one commit', () => {
    const found = diff('one', 'again', '--format=json').json();
    for (const list of [
      found.new,
      found.fixed,
      found.functions,
      found.paths,
      found.allocations,
      found.syscalls,
    ])
      assert.deepEqual(list, []);
    for (const figure of found.figures) assert.equal(figure.after, figure.before, figure.name);
    assert.match(diff('one', 'again').stdout, /^Nothing changed\.$/m);
  });

  test('conditions to fail on', () => {
    const status = (gates: string, analyses = 'none'): number =>
      diff('one', 'two', `--analyses=${analyses}`, `--fail-on=${gates}`).status!;
    assert.equal(status('new-findings', 'memcheck'), 1);
    assert.equal(status('new-findings>1', 'memcheck'), 0);
    assert.equal(status('instructions>+2%'), 1);
    assert.equal(status('instructions>+100000%,syscalls'), 0);
    assert.equal(status('peak-heap>+27'), 1);
    assert.equal(status('peak-heap>+28'), 0);
  });

  test('SARIF has all findings with their state, at their places in the repository', () => {
    const log = JSON.parse(
      diff('one', 'two', '--analyses=memcheck', '--format=sarif').stdout,
    ) as Log;
    const { results, tool } = log.runs[0]!;
    const told = results!.map(({ ruleId, baselineState, locations, codeFlows }) => {
      const { artifactLocation, region } = locations![0]!.physicalLocation!;
      const steps = codeFlows![0]!.threadFlows[0]!.locations;
      return [baselineState, artifactLocation!.uri, `${ruleId} ${region!.startLine}`, steps.length];
    });
    assert.deepEqual(told, [
      ['new', 'versions.c', announced('new')[0], 2], // where it was allocated, and lost
      ['unchanged', 'versions.c', announced('kept')[0], 2],
      ['absent', 'versions.c', announced('fixed')[0], 2],
    ]);
    assert.deepEqual(
      tool.driver.rules!.map(({ id }) => id),
      ['Leak_DefinitelyLost', 'InvalidRead'],
    );
    const prints = results!.map(({ partialFingerprints }) => partialFingerprints!['grind/v1']);
    assert.equal(new Set(prints).size, 3);
  });

  test('JUnit: conditions that hold and new findings fail, by a reader of others', () => {
    const { stdout } = diff('one', 'two', '--format=junit', '--fail-on=new-findings,processes');
    const reader = `
import sys
from junitparser import JUnitXml, Failure
for suite in JUnitXml.fromstring(sys.stdin.buffer.read()):
    print(suite.tests, suite.failures)
    for case in suite:
        print(case.classname, case.name.split(' [')[0], any(isinstance(r, Failure) for r in case.result))
`;
    const read = run(['/usr/bin/python3', '-c', reader], { stdin: stdout });
    assert.deepEqual(
      read.stdout.trim().split('\n'),
      [
        '4 2',
        'conditions new-findings True',
        'conditions processes False',
        'memcheck Leak_DefinitelyLost in keep_spare True',
        'memcheck InvalidRead in last_of False',
      ],
      read.stderr,
    );
  });

  test('annotations stand at the lines of new findings', () => {
    const { stdout } = diff('one', 'two', '--format=github', '--fail-on=instructions>+2%');
    const heads = stdout
      .trim()
      .split('\n')
      .map((line) => /^::error (.*?)::/.exec(line)?.[1]);
    const line = announced('new')[0]!.split(' ')[1];
    assert.deepEqual(heads, [
      `file=versions.c,line=${line},title=Leak_DefinitelyLost`,
      'title=instructions>+2%25',
    ]);
  });

  test('misses that placement alone can cause, and others', () => {
    const touch = compile('touch.c');
    const record = (name: string, lines: number, padding: number): void => {
      const { status, stderr } = grind(
        ['record', '--quiet', '--name', name, '--', touch, String(lines)],
        { cwd: folder, env: { PADDING: 'x'.repeat(padding) } },
      );
      assert.equal(status, 0, stderr);
    };
    record('few', 400, 1);
    record('few-elsewhere', 400, 1000);
    record('many', 900, 1);
    const misses = (to: string, ...options: string[]) =>
      diff('few', to, '--analyses=cache', '--set=D1=32768,8,64', '--format=json', ...options)
        .json()
        .figures.find(({ name }) => name === 'd1-misses')! as Placed;
    const moved = misses('few-elsewhere');
    assert.equal(moved.isWithinPlacements ?? moved.before === moved.after, true);
    const real = misses('many');
    assert.equal(real.isWithinPlacements, false);
    for (const side of ['before', 'after'] as const) {
      const [least, most] = real.placements![side];
      assert.ok(least <= real[side] && real[side] <= most);
    }
    assert.equal(misses('many', '--placements=0').placements, undefined);
  });

  test('what is wrong with a command line is said', () => {
    const cases: [string[], RegExp][] = [
      [['one', 'three'], /There is no run three/],
      [['one', 'two', '--fail-on=instructions<3'], /does not understand "instructions<3"/],
      [['one', 'two', '--analyses=none', '--fail-on=speed>3'], /no figure with "speed".*peak-heap/],
      [['one', 'two', '--set=leak-check'], /write the option's name/],
    ];
    for (const [args, message] of cases) {
      const { status, stderr } = grind(['diff', ...args], { cwd: folder });
      assert.equal(status, 2);
      assert.match(stderr, message);
    }
  });
});
