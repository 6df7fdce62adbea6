/**
 * memcheck on guests whose sources say what is to be found: each line with a bug names the kinds of
 * findings that it gives, and the same program without its bugs (-DCLEAN) gives none.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { outOptions, ROOT, SCRATCH, scratch } from './guest.js';

const GUESTS = join(ROOT, 'test', 'guests', 'memcheck');
const SOURCES = readdirSync(GUESTS).filter((file) => /\.(c|cpp)$/.test(file));

interface Report {
  readonly findings: readonly {
    readonly kind: string;
    readonly what: string;
    readonly count: number;
    readonly process: number;
    readonly notes: readonly string[];
    readonly stacks: readonly {
      readonly role: string;
      readonly frames: readonly { readonly fn: string; file: string; line: number }[];
    }[];
    readonly suppression?: string;
  }[];
  readonly summary: {
    readonly suppressed_errors: number;
    readonly missing: readonly { readonly sentence: string }[];
    readonly processes: readonly { readonly leak_checks: readonly object[] }[];
  };
}

/** How often each kind was found at a place, as `kind function:line`. */
type Counts = Record<string, number>;

/** What a source announces. */
function expected(file: string): Counts {
  const counts: Counts = {};
  let fn = '';
  for (const [i, line] of readFileSync(join(GUESTS, file), 'utf8').split('\n').entries()) {
    fn = /^\w[^;=]*?\b(\w+)\([^;]*\{/.exec(line)?.[1] ?? fn;
    for (const kind of /\/\/ expect: (.*)$/.exec(line)?.[1]?.split(' ') ?? []) {
      const [name, count = '1'] = kind.split('*');
      counts[`${name} ${fn}:${i + 1}`] = Number(count);
    }
  }
  return counts;
}

/** Requests that a guest is not answered as by Memcheck, by its line `unlike Memcheck:`. */
const unlikeMemcheck = (file: string): string[] =>
  /^\/\/ unlike Memcheck: (.*)$/m
    .exec(readFileSync(join(GUESTS, file), 'utf8'))?.[1]!
    .split(' ')
    .sort() ?? [];

const missing = ({ summary }: Report): string[] =>
  summary.missing.map(({ sentence }) => /VALGRIND_(\w+)/.exec(sentence)?.[1] ?? sentence).sort();

/** What was found, by the innermost frame that lies in the guest's own source. */
function found({ findings }: Report, file: string): Counts {
  const counts: Counts = {};
  for (const { kind, what, count, stacks } of findings) {
    const frame = stacks[0]!.frames.find((candidate) => candidate.file === file);
    if (!frame && kind === 'Leak_StillReachable') continue; // what libraries keep for themselves
    const place = frame ? `${frame.fn.replace(/\(.*/, '')}:${frame.line}` : what;
    const key = `${kind} ${place}`;
    counts[key] = (counts[key] ?? 0) + count;
  }
  return counts;
}

/** Runs a command; gives what it prints, whatever its status. */
const run = (command: string, args: readonly string[]): Promise<{ out: string; err: string }> =>
  new Promise((resolve) => {
    const options = { cwd: SCRATCH, maxBuffer: 1 << 28 };
    const child = execFile(command, args, options, (_, out, err) => resolve({ out, err }));
    child.stdin?.end();
  });
const grind = (...args: string[]) =>
  run(process.execPath, [join(ROOT, 'dist', 'bin', 'grind.js'), ...args]);

/** Compiles a guest by the options in its `build:` line and records it; returns the run's folder. */
async function record(file: string, ...more: string[]): Promise<string> {
  const source = join(GUESTS, file);
  const build = /^\/\/ build: (.*)$/m.exec(readFileSync(source, 'utf8'))![1]!.split(' ');
  const program = scratch(file.replace(/\.\w+$/, ''));
  const options = ['-g', '-w', source, '-o', program, ...build.slice(1), ...more];
  const compiler = await run(build[0]!, options);
  assert.doesNotMatch(compiler.err, /error:/);
  const folder = scratch('run');
  await grind('record', '--quiet', ...outOptions(folder), '--', program);
  return folder;
}

/** The options in a guest's `analyze:` line, or else those that show all. */
const optionsOf = (file: string): string[] =>
  /^\/\/ analyze: (.*)$/m.exec(readFileSync(join(GUESTS, file), 'utf8'))?.[1]!.split(' ') ?? [
    '--leak-check=full',
    '--show-leak-kinds=all',
  ];

async function analyze(folder: string, ...options: string[]): Promise<Report> {
  const { out, err } = await grind('analyze', 'memcheck', folder, '--format=json', ...options);
  assert.match(out, /^\{/, err);
  return JSON.parse(out) as Report;
}

describe('memcheck', { concurrency: 2 }, () => {
  for (const file of SOURCES) {
    test(`${file}: what its source announces`, async () => {
      const report = await analyze(await record(file), ...optionsOf(file));
      assert.deepEqual(found(report, file), expected(file));
      assert.deepEqual(missing(report), unlikeMemcheck(file));
    });

    test(`${file}: nothing without its bugs`, async () => {
      const report = await analyze(await record(file, '-DCLEAN'), ...optionsOf(file));
      assert.deepEqual(found(report, file), {});
      assert.deepEqual(missing(report), []);
    });
  }

  test('calls that have returned are not shown, though the stack grew over them', async () => {
    const { findings } = await analyze(await record('calls.c'));
    const functions = findings[0]!.stacks[0]!.frames.map(({ fn }) => fn);
    assert.deepEqual(functions, ['grows', 'main']);
  });

  test('where an access below the stack pointer, or the last one of all, was', async () => {
    const notesOf = async (file: string) =>
      (await analyze(await record(file))).findings.map(({ notes }) => notes.join(' '));
    assert.match(
      (await notesOf('overflow.c'))[0]!,
      /^Address 0x\w+ is on thread 1's stack in frame #0, created by overflows/,
    );
    assert.match(
      (await notesOf('below.c'))[0]!,
      /^Address 0x\w+ is on thread 1's stack 8192 bytes below stack pointer$/,
    );
  });

  test('suppressions hide findings, and those that are written hide all', async () => {
    const folder = await record('allocators.cpp');
    const own = scratch('own.supp');
    writeFileSync(own, '{\n  copies\n  Memcheck:Overlap\n  ...\n  fun:*overlapping*\n}\n');
    const all = await analyze(folder, '--gen-suppressions=all');
    const some = await analyze(folder, `--suppressions=${own}`);
    const kinds = (report: Report) => report.findings.map(({ kind }) => kind);
    assert.deepEqual(
      kinds(some),
      kinds(all).filter((kind) => kind !== 'Overlap'),
    );
    assert.equal(some.summary.suppressed_errors, 2);
    writeFileSync(own, all.findings.map(({ suppression }) => suppression).join(''));
    assert.deepEqual((await analyze(folder, `--suppressions=${own}`)).findings, []);
  });
});
