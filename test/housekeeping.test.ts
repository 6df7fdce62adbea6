/** The catalogue of runs: those of a commit, and removing the ones that nobody needs any more. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, test } from 'node:test';
import { compile, grind, run, scratch } from './guest.js';

describe('the catalogue of runs', () => {
  let cwd: string;
  const names = (): string[] => readdirSync(join(cwd, '.grind')).sort();
  const record = (name: string): void => {
    const argv = ['record', '--quiet', '--name', name, '--', compile('bare.c')];
    assert.equal(grind(argv, { cwd }).status, 7);
  };
  const git = (...args: string[]): void => {
    const who = ['-c', 'user.name=A', '-c', 'user.email=a@example.org'];
    assert.equal(run(['git', ...who, ...args], { cwd }).status, 0);
  };

  beforeEach(() => {
    cwd = scratch('catalogue');
    mkdirSync(cwd);
    git('init', '-q', '-b', 'main');
    git('commit', '-q', '--allow-empty', '-m', 'first');
    record('a');
    record('b');
    git('commit', '-q', '--allow-empty', '-m', 'second');
    record('c');
  });

  test('ls shows the runs of a commit', () => {
    const listed = (...args: string[]): string[] => {
      const { stdout } = grind(['ls', ...args], { cwd });
      return stdout
        .split('\n')
        .slice(1, -1)
        .map((line) => line.split(' ')[0]!);
    };
    assert.deepEqual(listed(), ['a', 'b', 'c']);
    assert.deepEqual(listed('--commit=HEAD~1'), ['a', 'b']);
    assert.deepEqual(listed('--commit=main'), ['c']);
    const wrong = grind(['ls', '--commit=nothing'], { cwd });
    assert.equal(wrong.status, 2);
    assert.match(wrong.stderr, /nothing is no revision/);
  });

  test('rm removes those that are named, or none', () => {
    const wrong = grind(['rm', 'a', 'd'], { cwd });
    assert.equal(wrong.status, 2);
    assert.match(wrong.stderr, /There is no run d/);
    assert.deepEqual(names(), ['a', 'b', 'c']);
    assert.equal(grind(['rm', 'a', 'c'], { cwd }).status, 0);
    assert.deepEqual(names(), ['b']);
  });

  test('gc keeps the last runs, by number and by size', () => {
    assert.match(grind(['gc', '--keep=2', '--dry-run'], { cwd }).stdout, /^would remove a\n1 runs/);
    assert.deepEqual(names(), ['a', 'b', 'c']);
    assert.equal(grind(['gc', '--keep=2'], { cwd }).status, 0);
    assert.deepEqual(names(), ['b', 'c']);
    const folder = join(cwd, '.grind', 'c');
    const files = readdirSync(folder, { recursive: true }).map((file) =>
      statSync(join(folder, String(file))),
    );
    const size = files.reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
    assert.equal(grind(['gc', `--max-size=${size + 1000}`], { cwd }).status, 0);
    assert.deepEqual(names(), ['c']);
    assert.equal(grind(['gc'], { cwd }).status, 2);
    assert.ok(existsSync(folder));
  });
});
