/** Recording revisions in checkouts of their own, the search for the first bad one, and the project file. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, beforeEach, describe, test } from 'node:test';
import type { Manifest } from '../recorder/manifest.js';
import { grind, Recording, scratch } from './guest.js';
import { History } from './history.js';
import { checkInvariants } from './invariants.js';

const BUILD = ['--build', 'make -s'];

describe('runs of revisions', () => {
  let history: History;
  let cache: string;
  const call = (args: readonly string[], cwd = history.folder) =>
    grind(args, { cwd, env: { XDG_CACHE_HOME: cache } });
  const done = (args: readonly string[], cwd?: string): string => {
    const { status, stdout, stderr } = call(args, cwd);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const manifest = (name: string): Manifest =>
    JSON.parse(
      readFileSync(join(history.folder, '.grind', name, 'manifest.json'), 'utf8'),
    ) as Manifest;
  const runs = (): string[] => readdirSync(join(history.folder, '.grind')).sort();
  const record = (name: string, revision: string): void =>
    void done([
      ...['record', '--quiet', '--name', name, '--commit', revision, ...BUILD],
      ...['--', './program'],
    ]);

  before(() => {
    history = new History();
    cache = scratch('cache');
  });
  beforeEach(() => rmSync(join(history.folder, '.grind'), { recursive: true, force: true }));

  test('a revision is recorded in its own checkout, and the user has theirs as it was', () => {
    history.git('checkout', '-q', '-b', 'work');
    history.edit('main.c', (text) => `// in work\n${text}`);
    writeFileSync(join(history.folder, 'notes'), 'untracked');
    history.git('add', 'notes');
    const status = history.git('status', '--porcelain', '--branch');
    record('first', history.commit('first'));
    assert.equal(history.git('status', '--porcelain', '--branch'), status);
    assert.ok(!existsSync(join(history.folder, 'program')));
    const { git, checkout, directory, argv } = manifest('first');
    assert.equal(git!.commit, history.commit('first'));
    assert.equal(git!.dirty, false);
    assert.equal(checkout!.build, '.: make -s');
    assert.equal(directory, checkout!.root);
    assert.deepEqual(argv, ['./program']);
    assert.match(done(['ls', '--commit', history.commit('first')]), /\bfirst\b/);
    history.git('checkout', '-q', '-f', 'main');
  });

  test('the checkout goes with the last run of it', () => {
    record('one', 'HEAD');
    record('two', 'HEAD');
    const { root } = manifest('one').checkout!;
    assert.equal(root, manifest('two').checkout!.root);
    done(['rm', 'one']);
    assert.ok(existsSync(join(root, 'program')));
    done(['rm', 'two']);
    assert.ok(!existsSync(root));
    assert.ok(!history.git('worktree', 'list').includes(root));
  });

  test('the same commit recorded twice gives an empty diff', () => {
    record('one', 'HEAD');
    record('two', 'HEAD');
    assert.match(done(['diff', 'one', 'two']), /^Nothing changed\.$/m);
  });

  test('the command runs in the folder that corresponds to the current one', () => {
    const below = join(history.folder, 'data', 'deep');
    mkdirSync(below, { recursive: true });
    writeFileSync(join(below, 'input'), 'text of the commit\n');
    history.git('add', '.');
    history.git('commit', '-q', '-m', 'data');
    writeFileSync(join(below, 'input'), 'text of the checkout\n');
    const command = ['record', '--quiet', '--commit', 'HEAD', '--', 'cat', 'input'];
    assert.equal(
      done([...command.slice(0, 2), '--out', '../../.grind', ...command.slice(2)], below),
      'text of the commit\n',
    );
    const { status, stderr } = call(['record', '--commit', 'HEAD~1', '--', 'cat', 'input'], below);
    assert.equal(status, 2);
    assert.match(stderr, /HEAD~1 has no folder data\/deep/);
    history.git('reset', '-q', '--hard', 'HEAD~1');
  });

  test('what cannot be built leaves nothing, and is said', () => {
    const broken = history.commit('broken');
    const { status, stderr } = call(['record', '--commit', broken, ...BUILD, '--', './program']);
    assert.equal(status, 2);
    assert.match(stderr, /`make -s` failed at [0-9a-f]+ \(status 2\)/);
    assert.ok(!existsSync(join(history.folder, '.grind')));
    assert.ok(!history.git('worktree', 'list').includes(broken.slice(0, 7)));
  });

  test('bisect-run finds the commit that began to leak, past one that does not build', () => {
    const search = (...options: string[]) =>
      JSON.parse(
        done([
          ...['bisect-run', '--good', history.commit('first'), '--bad', history.commit('last')],
          ...[...BUILD, '--format=json', ...options, '--', './program'],
        ]),
      ) as { commit: string; isCertain: boolean; gates: { gate: string }[] };
    const leak = search('--fail-on=new-findings', '--analyses=memcheck');
    assert.deepEqual([leak.commit, leak.isCertain], [history.commit('leaking'), true]);
    const recorded = runs();
    const slow = search('--fail-on=new-findings>9,instructions>+5%', '--analyses=memcheck');
    assert.deepEqual([slow.commit, slow.isCertain], [history.commit('slower'), true]);
    assert.deepEqual(
      slow.gates.map(({ gate }) => gate),
      ['instructions>+5%'],
    );
    // What had been recorded was not recorded again.
    assert.deepEqual(
      runs().filter((name) => recorded.includes(name)),
      recorded,
    );
    const commits = runs().map((name) => manifest(name).git!.commit);
    assert.equal(new Set(commits).size, commits.length);
    for (const name of runs())
      checkInvariants(new Recording(join(history.folder, '.grind', name), '', '', 0));
  });

  test('bisect-run says when commits that do not build are in the way', () => {
    history.git('checkout', '-q', '--detach', history.commit('broken'));
    history.git('checkout', '-q', history.commit('slower'), '--', '.');
    history.git('commit', '-q', '-m', 'mended and slower');
    const bad = history.git('rev-parse', 'HEAD');
    history.git('checkout', '-q', 'main');
    const { status, stdout } = call([
      ...['bisect-run', '--good', history.commit('renamed'), '--bad', bad, ...BUILD],
      ...['--format=json', '--analyses=none', '--fail-on=instructions>+5%', '--', './program'],
    ]);
    assert.equal(status, 1);
    const { commit, isCertain, skipped } = JSON.parse(stdout) as Record<string, unknown>;
    assert.deepEqual([commit, isCertain, skipped], [bad, false, [history.commit('broken')]]);
  });

  test('bisect-run refuses what it cannot search', () => {
    const cases: [string[], RegExp][] = [
      [['--good=first-of-all', '--fail-on=new-findings'], /first-of-all is no revision/],
      [
        ['--good=HEAD~1', '--bad=HEAD~2', '--fail-on=syscalls'],
        /HEAD~1 does not come before HEAD~2/,
      ],
      [['--good=HEAD~1'], /Say with --fail-on/],
      [['--good=HEAD~1', '--fail-on=behaviour'], /cannot look for behaviour/],
      [
        ['--good=HEAD~1', '--analyses=none', '--fail-on=syscalls', ...BUILD],
        /Nothing of syscalls holds at HEAD/,
      ],
    ];
    for (const [options, message] of cases) {
      const { status, stderr } = call(['bisect-run', ...options, '--', './program']);
      assert.equal(status, 2, stderr);
      assert.match(stderr, message);
    }
  });

  describe('project file', () => {
    const write = (settings: unknown, file = 'grind.config.json'): void =>
      writeFileSync(
        join(history.folder, file),
        typeof settings === 'string' ? settings : JSON.stringify(settings),
      );
    beforeEach(() => {
      for (const file of ['grind.config.json', 'grind.config.mjs', 'grind.config.ts'])
        rmSync(join(history.folder, file), { force: true });
    });

    test('a scenario is recorded by its name, where it belongs, from anywhere in the repository', () => {
      const below = join(history.folder, 'below');
      mkdirSync(below, { recursive: true });
      write({
        build: 'make -s',
        'env-exclude': ['XDG_CACHE_*'],
        scenarios: { words: ['./program'], list: { command: 'ls', directory: 'below' } },
      });
      const options = ['--quiet', '--out', '../.grind', '--commit', 'HEAD'];
      done(['record', ...options, '--name', 'words', '--scenario', 'words'], below);
      const { scenario, checkout, directory, environment } = manifest('words');
      assert.deepEqual(
        [scenario, checkout!.build, directory],
        ['words', '.: make -s', checkout!.root],
      );
      assert.ok(!('XDG_CACHE_HOME' in environment));
      done(['record', '--quiet', '--name', 'list', '--scenario=list']);
      assert.deepEqual(manifest('list').argv, ['sh', '-c', 'ls']);
      assert.equal(manifest('list').directory, below);
      assert.match(
        done(['diff', '--analyses=none', '--scenario=words', 'HEAD', 'list']),
        /^from words /,
      );
    });

    test('a module says the same; the command line wins', () => {
      write(
        `const gates: readonly string[] = ['instructions>+0', 'syscalls'];
         export default { 'fail-on': gates, analyses: 'none',
           options: { memcheck: { 'leak-check': 'no' } } };`,
        'grind.config.ts',
      );
      record('first', history.commit('first'));
      record('last', history.commit('last'));
      assert.equal(call(['diff', 'first', 'last', '--behaviour=no']).status, 1);
      const other = ['--fail-on=syscalls', '--behaviour=no'];
      assert.equal(call(['diff', 'first', 'last', ...other]).status, 0);
      const leaks = (...options: string[]): number =>
        (
          JSON.parse(
            done([
              'diff',
              'first',
              'last',
              '--analyses=memcheck',
              '--format=json',
              ...[...other, ...options],
            ]),
          ) as { new: unknown[] }
        ).new.length;
      assert.equal(leaks(), 0);
      assert.equal(leaks('--set=leak-check=full'), 1);
      const found = (...options: string[]): string =>
        done(['analyze', 'memcheck', 'last', ...options]);
      assert.doesNotMatch(found(), /LEAK SUMMARY/);
      assert.match(found('--leak-check=full'), /definitely lost/);
    });

    test('its suppressions count as well as those of the command line', () => {
      write({ suppressions: ['project.supp'], analyses: ['memcheck'] });
      writeFileSync(
        join(history.folder, 'project.supp'),
        '{\n  lost\n  Memcheck:Leak\n  match-leak-kinds: definite\n  ...\n  fun:main\n}\n',
      );
      record('first', history.commit('first'));
      record('last', history.commit('last'));
      assert.match(done(['diff', 'first', 'last', '--behaviour=no']), /Findings: 0 new/);
    });

    test('what is wrong with it is said in a sentence', () => {
      const cases: [unknown, RegExp][] = [
        ['{', /grind\.config\.json cannot be read: .+/],
        [[], /the project file must be an object/],
        [{ supressions: [] }, /has no setting "supressions": there are suppressions, /],
        [{ suppressions: 'a.supp' }, /"suppressions" must be a list of texts/],
        [{ scenarios: { a: { command: [] } } }, /the command of the scenario a is empty/],
        [{ scenarios: { a: { comand: 'ls' } } }, /the scenario a has no setting "comand"/],
        [{ scenarios: { b: 'ls' } }, /has no scenario a: it has b/],
      ];
      for (const [settings, message] of cases) {
        write(settings);
        const { status, stderr } = call(['record', '--scenario', 'a']);
        assert.equal(status, 2, stderr);
        assert.match(stderr, message);
        assert.equal(stderr.trim().split('\n').length, 1, stderr);
      }
      write({ options: { memcheck: { 'leak-chek': 'no' } } });
      assert.match(call(['analyze', 'memcheck']).stderr, /gives memcheck an option leak-chek/);
    });
  });
});
