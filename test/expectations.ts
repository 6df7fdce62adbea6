/**
 * Guests that say in their sources what is to be found: a line that ends with `// expect: KIND …` gives one
 * finding of each kind named (KIND*3 three of them).
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { outOptions, ROOT, SCRATCH, scratch } from './guest.js';

/** The findings of a report in JSON, as far as tests look at them. */
export interface FoundJson {
  readonly kind: string;
  readonly what: string;
  readonly count: number;
  readonly process: number;
  readonly thread: number;
  readonly notes: readonly string[];
  readonly stacks: readonly {
    readonly role: string;
    readonly frames: readonly { readonly fn: string; file: string; line: number }[];
  }[];
  readonly suppression?: string;
}

/** How often each kind was found at a place, as `kind function:line`. */
export type Counts = Record<string, number>;

/** What a source announces. */
export function expectedCounts(source: string): Counts {
  const counts: Counts = {};
  let fn = '';
  for (const [i, line] of readFileSync(source, 'utf8').split('\n').entries()) {
    fn = /^\w[^;=]*?\b(\w+)\([^;]*\{/.exec(line)?.[1] ?? fn;
    for (const kind of /\/\/ expect: (.*)$/.exec(line)?.[1]?.split(' ') ?? []) {
      const [name, count = '1'] = kind.split('*');
      counts[`${name} ${fn}:${i + 1}`] = Number(count);
    }
  }
  return counts;
}

/**
 * What was found, by the innermost frame that lies in the guest's own source: of where it happened, or else
 * of another stack.
 */
export function foundCounts(findings: readonly FoundJson[], source: string): Counts {
  const counts: Counts = {};
  const file = basename(source);
  for (const { kind, what, count, stacks } of findings) {
    const frame = stacks
      .flatMap(({ frames }) => frames)
      .find((candidate) => candidate.file === file);
    if (!frame && kind === 'Leak_StillReachable') continue; // what libraries keep for themselves
    const place = frame ? `${frame.fn.replace(/\(.*/, '')}:${frame.line}` : what;
    const key = `${kind} ${place}`;
    counts[key] = (counts[key] ?? 0) + count;
  }
  return counts;
}

/** The words in a source's comment line `name: …`; none when there is no such line. */
export const wordsOf = (source: string, name: string): string[] | undefined =>
  new RegExp(`^// ${name}: (.*)$`, 'm').exec(readFileSync(source, 'utf8'))?.[1]!.split(' ');

/** Runs a command; gives what it prints, whatever its status. */
export const run = (
  command: string,
  args: readonly string[],
): Promise<{ out: string; err: string }> =>
  new Promise((resolve) => {
    const options = { cwd: SCRATCH, maxBuffer: 1 << 28, timeout: 300_000 };
    const child = execFile(command, args, options, (_, out, err) => resolve({ out, err }));
    child.stdin?.end();
  });

/** Runs the built command line beside others. */
export const grindAsync = (...args: string[]): Promise<{ out: string; err: string }> =>
  run(process.execPath, [join(ROOT, 'dist', 'bin', 'grind.js'), ...args]);

/** Compiles a guest by the options in its `build:` line and more, and records it; returns the run's folder. */
export async function recordSource(source: string, ...more: string[]): Promise<string> {
  const build = wordsOf(source, 'build')!;
  const program = scratch(basename(source).replace(/\.\w+$/, ''));
  const options = ['-g', '-w', source, '-o', program, ...build.slice(1), ...more];
  const compiler = await run(build[0]!, options);
  assert.doesNotMatch(compiler.err, /error:/);
  const folder = scratch('run');
  await grindAsync('record', '--quiet', ...outOptions(folder), '--', program);
  return folder;
}

/** The findings of an analysis that could judge everything. */
export async function findingsOf(
  analysis: string,
  folder: string,
  ...options: string[]
): Promise<FoundJson[]> {
  return findingsIn(await grindAsync('analyze', analysis, folder, '--format=json', ...options));
}

/** The same, of what the command has printed as JSON. */
export function findingsIn({ out, err }: { out: string; err: string }): FoundJson[] {
  assert.match(out, /^\{/, err);
  const report = JSON.parse(out) as { findings: FoundJson[]; summary: { missing: object[] } };
  assert.deepEqual(report.summary.missing, []);
  return report.findings;
}

/** Tests that guests of a folder give what their sources announce, and nothing with -DCLEAN. */
export function testGuests(
  folder: string,
  files: readonly string[],
  analyze: (run: string, ...options: string[]) => Promise<FoundJson[]>,
): void {
  for (const file of files) {
    const source = join(folder, file);
    const options = wordsOf(source, 'analyze') ?? [];

    test(`${file}: what its source announces`, async () => {
      const findings = await analyze(await recordSource(source), ...options);
      assert.deepEqual(foundCounts(findings, file), expectedCounts(source));
    });

    test(`${file}: nothing without its bugs`, async () => {
      const findings = await analyze(await recordSource(source, '-DCLEAN'), ...options);
      assert.deepEqual(foundCounts(findings, file), {});
    });
  }
}
