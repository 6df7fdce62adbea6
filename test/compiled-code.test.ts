/** The code that V8 compiled in an earlier run: used again, renewed, and never wrong. On a package of its own, without modules. */
import assert from 'node:assert/strict';
import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import test from 'node:test';
import { GRIND, record, ROOT, run, scratch } from './guest.js';

/** A package that has the launcher and the bundle. */
class Package {
  readonly folder = scratch('package');
  readonly launcher = join(this.folder, 'dist', 'bin', 'grind.js');
  readonly hash = /^const HASH = '(\w+)'/m.exec(readFileSync(GRIND, 'utf8'))![1]!;
  readonly bundle = this.bundleOf(this.hash);
  readonly code = join(this.folder, 'build', 'code');
  cache = scratch('cache');

  constructor() {
    for (const name of ['bin', 'schemas'])
      mkdirSync(join(this.folder, 'dist', name), { recursive: true });
    const folders = join(this.folder, 'dist', 'schemas', 'build-folders.js');
    for (const path of [join(this.folder, 'package.json'), this.launcher, this.bundle, folders])
      copyFileSync(join(ROOT, relative(this.folder, path)), path);
    for (const name of ['node_modules', 'dist/bin/command-line.js'])
      symlinkSync(join(ROOT, name), join(this.folder, name));
  }

  bundleOf(hash: string): string {
    return join(this.folder, 'dist', 'bin', `command-line.${hash}.bundle.js`);
  }

  /** What a command that goes well prints. */
  grind(...args: string[]): string {
    const { status, stdout, stderr } = run([process.execPath, this.launcher, ...args], {
      env: { XDG_CACHE_HOME: this.cache, HOME: '' },
    });
    assert.deepEqual([status, stderr], [0, '']);
    return stdout;
  }

  /** The file of a command. */
  file(command: string): string {
    const name = readdirSync(this.code).find((file) => file.endsWith(`-${command}`));
    return join(this.code, name!);
  }

  /** Of a command's file: another when it has been written again. */
  inode(command: string): number {
    return statSync(this.file(command)).ino;
  }
}

test('what was compiled is used again, and written again when a new option needs more', () => {
  const tried = new Package();
  const { folder } = record(['own-analysis.c']);
  const heap = (...options: string[]): [string, number] => [
    tried.grind('analyze', 'heap', folder, ...options),
    tried.inode('analyze-heap'),
  ];
  const first = heap();
  assert.deepEqual(heap(), first); // although this run sets V8's flags
  const other = heap('--format=json');
  assert.notEqual(other[1], first[1]);
  assert.deepEqual(heap('--format', 'json'), other);
  assert.deepEqual(heap(), [first[0], other[1]]);
  tried.grind('completion', 'bash');
  assert.deepEqual(
    readdirSync(tried.code).map((name) => name.replace(/^\w+-\d+-/, '')),
    ['analyze-heap', 'completion'],
  );
});

test('what failed leaves no code', () => {
  const tried = new Package();
  assert.throws(() => tried.grind('info', 'no-such-run'));
  assert.ok(!existsSync(tried.code));
});

test('damaged files are not used', () => {
  const tried = new Package();
  const right = tried.grind('completion', 'bash');
  const path = tried.file('completion');
  const whole = readFileSync(path);
  const flipped = [0, 31, 32, 40, 100, whole.length >> 1, whole.length - 1].map((at) => {
    const bytes = Buffer.from(whole);
    bytes[at]! ^= 4;
    return bytes;
  });
  const cut = [0, 20, 33, whole.length >> 1, whole.length - 1].map((size) =>
    whole.subarray(0, size),
  );
  for (const damaged of [...flipped, ...cut]) {
    writeFileSync(path, damaged);
    assert.equal(tried.grind('completion', 'bash'), right);
    assert.notDeepEqual(readFileSync(path), damaged);
  }
});

test('another bundle of the same length has its own code, and that of the old one goes', () => {
  const tried = new Package();
  assert.match(tried.grind('--help'), /Remove the oldest runs/);
  const old = tried.file('--help');
  const [launcher, bundle] = [tried.launcher, tried.bundle].map((path) =>
    readFileSync(path, 'utf8'),
  );
  const hash = '0123456789abcdef';
  writeFileSync(tried.launcher, launcher!.replace(tried.hash, hash));
  writeFileSync(
    tried.bundleOf(hash),
    bundle!.replaceAll('Remove the oldest runs', 'Remove the eldest runs'),
  );
  for (const _ of 'ab') assert.match(tried.grind('--help'), /Remove the eldest runs/);
  assert.ok(!existsSync(old));
});

test('the files are few: the oldest go', () => {
  const tried = new Package();
  tried.grind('ls');
  const [prefix] = readdirSync(tried.code).map((name) => name.replace(/ls$/, ''));
  for (let i = 0; i < 50; i++) {
    const path = join(tried.code, `${prefix}${i}`);
    writeFileSync(path, '');
    utimesSync(path, 1000 + i, 1000 + i);
  }
  tried.grind('completion', 'bash');
  const left = readdirSync(tried.code);
  assert.equal(left.length, 32);
  for (const name of ['ls', 'completion', '49']) assert.ok(left.includes(`${prefix}${name}`));
});

test('where the package cannot be written to, code is in the user’s cache, or nowhere', () => {
  const tried = new Package();
  writeFileSync(join(tried.folder, 'build'), '');
  const right = tried.grind('completion', 'bash');
  const code = join(tried.cache, 'grind', 'build', 'code');
  const [name] = readdirSync(code);
  const { ino } = statSync(join(code, name!));
  assert.equal(tried.grind('completion', 'bash'), right);
  assert.equal(statSync(join(code, name!)).ino, ino);
  rmSync(code, { recursive: true });
  writeFileSync(code, '');
  assert.equal(tried.grind('completion', 'bash'), right);
  tried.cache = '';
  assert.equal(tried.grind('completion', 'bash'), right);
});

test('root runs no code from the cache of another user', { skip: process.geteuid!() !== 0 }, () => {
  const tried = new Package();
  writeFileSync(join(tried.folder, 'build'), '');
  const right = tried.grind('completion', 'bash');
  const code = join(tried.cache, 'grind', 'build', 'code');
  assert.equal(readdirSync(code).length, 1);
  rmSync(code, { recursive: true });
  chownSync(tried.cache, 65534, 65534);
  for (const cache of [tried.cache, join(tried.cache, 'none')]) {
    tried.cache = cache;
    assert.equal(tried.grind('completion', 'bash'), right);
    assert.ok(!existsSync(code) && !existsSync(join(cache, 'none')));
  }
});

test('without its bundle, the modules run', () => {
  const tried = new Package();
  const right = tried.grind('completion', 'bash');
  rmSync(tried.bundle);
  assert.equal(tried.grind('completion', 'bash'), right);
});
