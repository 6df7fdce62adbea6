/** Bad input gets one sentence, a non-zero status and no stack dump. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { compile, grind, outOptions, record, scratch, type RunOptions } from './guest.js';

/** Runs the command and expects one line on standard error that matches. */
function refuses(args: readonly string[], message: RegExp, options: RunOptions = {}): void {
  const { status, stderr, stdout } = grind(args, options);
  assert.notEqual(status, 0, `${args.join(' ')} should fail`);
  assert.equal(stdout, '');
  assert.doesNotMatch(stderr, /\bat .*\.(js|ts):\d+|node:internal/, 'no stack dump');
  const lines = stderr.trim().split('\n');
  assert.match(lines.slice(-2).join(' '), message);
  // A wrong command line also gets the usage.
  assert.ok(lines.length <= 2 || /options:|commands:/i.test(stderr), stderr);
}

test('programs that cannot be recorded', () => {
  const text = scratch('text');
  writeFileSync(text, 'just text\n');
  refuses(['record', '--', '/no/such/program'], /no program/);
  refuses(['record', '--', 'no-such-command-anywhere'], /no program/);
  refuses(['record', '--', text], /not executable/);
  refuses(['record', '--', '/tmp'], /not a file/);
  refuses(['record', '--'], /program/i);
  // The header of a program says whom it is for; a 32-bit compiler is not needed.
  const foreign = (name: string, change: (bytes: Buffer) => void) => {
    const path = scratch(name);
    const bytes = readFileSync('/bin/true');
    change(bytes);
    writeFileSync(path, bytes, { mode: 0o755 });
    return path;
  };
  refuses(
    ['record', '--', foreign('i386', (bytes) => ((bytes[4] = 1), bytes.writeUInt16LE(3, 18)))],
    /64-bit x86/,
  );
  refuses(
    ['record', '--', foreign('arm64', (bytes) => bytes.writeUInt16LE(183, 18))],
    /64-bit x86/,
  );
});

test('runs that cannot be read', () => {
  const folder = scratch('empty');
  mkdirSync(folder);
  refuses(['query', '/no/such/run', 'select 1'], /no run|no such|not find/i);
  refuses(['query', folder, 'select 1'], /no run|manifest/i);
  refuses(['query', 'select 1'], /no run|record/i, { cwd: folder });
  refuses(['info'], /no run|record/i, { cwd: folder });

  const good = record(['bare.c']).folder;
  const copy = (): string => {
    const to = scratch('damaged');
    cpSync(good, to, { recursive: true });
    return to;
  };
  const newer = copy();
  const manifest = JSON.parse(readFileSync(join(newer, 'manifest.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  writeFileSync(join(newer, 'manifest.json'), JSON.stringify({ ...manifest, format: 999 }));
  refuses(['query', newer, 'select 1'], /newer|999/);
  const notJson = copy();
  writeFileSync(join(notJson, 'manifest.json'), '{"format": ');
  refuses(['query', notJson, 'select 1'], /manifest|damaged/i);
  const foreign = copy();
  copyFileSync('/bin/true', join(foreign, 'blocks.arrow'));
  assert.doesNotMatch(
    grind(['query', foreign, 'select count(*) from accesses']).stderr,
    /\bat .*\.js:\d+/,
  );
});

test('a truncated trace is refused or read up to the damage, in either case without a crash', () => {
  const good = record(['bare.c']).folder;
  for (const table of readdirSync(good).filter((name) => name.endsWith('.arrow'))) {
    const size = statSync(join(good, table)).size;
    for (const kept of [0, size >> 1, size - 9]) {
      const folder = scratch('truncated');
      cpSync(good, folder, { recursive: true });
      truncateSync(join(folder, table), Math.min(kept, size));
      const { status, stderr } = grind([
        'query',
        folder,
        'select count(*) from accesses',
        '--format',
        'json',
      ]);
      assert.doesNotMatch(
        stderr,
        /\bat .*\.js:\d+|node:internal|assert/i,
        `${table} cut to ${kept}`,
      );
      if (status !== 0)
        assert.ok(stderr.trim().length > 0 && stderr.trim().split('\n').length <= 3, stderr);
      if (
        ![
          'blocks.arrow',
          'memory.arrow',
          'registers.arrow',
          'values.arrow',
          'slices.arrow',
        ].includes(table)
      )
        break;
    }
  }
});

test('SQL that is wrong', () => {
  const { folder } = record(['bare.c']);
  refuses(['query', folder, 'select nothing from nowhere'], /nowhere/);
  refuses(['query', folder, 'selekt 1'], /syntax|selekt/i);
  refuses(['query', folder, 'select 1', '--format', 'yaml'], /yaml|format/i);
  refuses(['query', folder, '--file', '/no/such/file.sql'], /no such|not find|cannot read/i);
});

test('options that are wrong', () => {
  refuses(['record', '--no-such-option', '--', 'true'], /option|argument/i);
  refuses(['frobnicate'], /command|frobnicate/i);
  const folder = scratch('exists');
  mkdirSync(folder);
  writeFileSync(join(folder, 'precious.txt'), 'mine');
  refuses(['record', ...outOptions(folder), '--', compile('bare.c')], /already/);
  assert.equal(readFileSync(join(folder, 'precious.txt'), 'utf8'), 'mine');
});
