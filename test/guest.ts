/**
 * How end-to-end tests run things: compile a guest, record it with the built command line, ask the trace
 * questions, read the facts that the guest printed. Every recording is checked against the invariants
 * that hold for any trace (`invariants.ts`).
 */
import assert from 'node:assert/strict';
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../recorder/build.js';
import { checkInvariants } from './invariants.js';

/** The package's root folder, whichever folder this was compiled to. */
export const ROOT = ((): string => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
})();
/** The command. */
export const GRIND = join(ROOT, 'dist', 'bin', 'grind.js');
export const GUESTS = join(ROOT, 'test', 'guests');

/** A temporary folder of this test process, removed when it ends. */
export const SCRATCH = mkdtempSync(join(tmpdir(), 'grind-test-'));
process.on('exit', () => {
  if (!process.env['GRIND_KEEP']) rmSync(SCRATCH, { recursive: true, force: true });
});
let sequence = 0;

/** A fresh path below the temporary folder. */
export const scratch = (name: string): string => join(SCRATCH, `${++sequence}-${name}`);

/** The options that make a run's folder this one. */
export const outOptions = (folder: string): string[] => [
  '--out',
  dirname(folder),
  '--name',
  basename(folder),
];

/** How one cell arrives: integers of every size as bigint. */
export type Cell = bigint | number | string | boolean | null | Cell[] | { [key: string]: Cell };
export type ResultRow = Record<string, Cell>;

/** Parses JSON with every integer as a bigint, so that no 64-bit value is rounded. */
export function parseExact(json: string): unknown {
  const marked = json.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?![\d.eE])/g, (token) =>
    token.startsWith('"') ? token : `"\\u0000${token}"`,
  );
  return JSON.parse(marked, (_, value: unknown) =>
    typeof value === 'string' && value.startsWith('\0') ? BigInt(value.slice(1)) : value,
  );
}

const compiled = new Map<string, string>();

/**
 * Compiles a guest of `test/guests` (by file name) with debug information and the options in its `build:`
 * line, once per test process. Returns the program's path.
 */
export function compile(file: string): string {
  const known = compiled.get(file);
  if (known) return known;
  const source = join(GUESTS, file);
  const build = /^\/\/ build: (\S+) ?(.*)$/m.exec(readFileSync(source, 'utf8'));
  const [compiler, options] = [build?.[1] ?? 'gcc', build?.[2]?.split(' ').filter(Boolean) ?? []];
  const program = join(SCRATCH, basename(file).replace(/\.\w+$/, ''));
  const result = spawnSync(compiler, ['-g', source, '-o', program, ...options], {
    encoding: 'utf8',
  });
  assert.equal(result.status, 0, `${file} does not compile: ${result.stderr}`);
  compiled.set(file, program);
  return program;
}

/** Runs the built command line. Output is text. */
export function grind(args: readonly string[], options: RunOptions = {}): SpawnSyncReturns<string> {
  return run([process.execPath, GRIND, ...args], options);
}

export interface RunOptions {
  readonly stdin?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Runs a command to its end; fails the test when it takes longer than `timeoutMs`. */
export function run(argv: readonly string[], options: RunOptions = {}): SpawnSyncReturns<string> {
  const result = spawnSync(argv[0]!, argv.slice(1), {
    input: options.stdin ?? '',
    cwd: options.cwd ?? SCRATCH,
    env: { ...process.env, PATH: PATH, ...options.env },
    encoding: 'utf8',
    timeout: options.timeoutMs ?? 600_000,
    maxBuffer: 1 << 30,
  });
  assert.ok(!result.error, `${argv.join(' ')}: ${result.error?.message}`);
  return result;
}

/**
 * Tests use the distribution's programs, whatever version managers stand first in the path, with the
 * Valgrind that does.
 */
export const PATH = [
  dirname(findProgram('valgrind') ?? '/usr/bin/valgrind'),
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
  dirname(process.execPath),
]
  .filter((folder, index, all) => all.indexOf(folder) === index)
  .join(':');

export interface RecordOptions extends RunOptions {
  /** Options of `grind record`. */
  readonly options?: readonly string[];
  /** Leave the trace's page hashes out, as for guests too large to replay in a test. */
  readonly verify?: boolean;
  /** Do not check the invariants: for traces that are damaged on purpose. */
  readonly unchecked?: boolean;
}

/** One finished recording. */
export class Recording {
  constructor(
    /** The run's folder. */
    readonly folder: string,
    readonly stdout: string,
    readonly stderr: string,
    readonly status: number | null,
  ) {}

  /** Rows of an SQL query over this trace; every integer is a bigint. */
  query(sql: string): ResultRow[] {
    const result = grind(['query', this.folder, sql, '--format', 'json']);
    assert.equal(result.status, 0, `${sql.trim().slice(0, 200)}\n${result.stderr}`);
    return parseExact(result.stdout) as ResultRow[];
  }

  /** The only row. */
  row(sql: string): ResultRow {
    const rows = this.query(sql);
    assert.equal(rows.length, 1, `${sql}: ${rows.length} rows`);
    return rows[0]!;
  }

  /** The only cell of the only row. */
  cell(sql: string): Cell {
    const values = Object.values(this.row(sql));
    assert.equal(values.length, 1, sql);
    return values[0]!;
  }

  /** What the guest printed, as facts. */
  get facts(): Facts {
    return new Facts(this.stdout);
  }
}

/** The lines of a guest's output, `name field field …`, by name. */
export class Facts {
  private readonly lines: string[][];

  constructor(text: string) {
    this.lines = text
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' '));
    const failure = this.lines.find(([name]) => name === 'failed');
    assert.ok(!failure, `the guest's own check failed: ${failure?.join(' ')}`);
  }

  /** The fields after the name, for each line of this name. */
  all(name: string): string[][] {
    return this.lines.filter((line) => line[0] === name).map((line) => line.slice(1));
  }

  /** The fields of the only line of this name. */
  one(name: string): string[] {
    const lines = this.all(name);
    assert.equal(lines.length, 1, `${lines.length} facts called ${name}`);
    return lines[0]!;
  }

  /** A field that was printed in hexadecimal. */
  hex(name: string, field = 0): bigint {
    return BigInt(`0x${this.one(name)[field]}`);
  }

  /** A field that was printed in decimal. */
  int(name: string, field = 0): bigint {
    return BigInt(this.one(name)[field]!);
  }
}

/**
 * Records a program: `argv[0]` is a guest's file name (`heap.cpp`), a path or a command. The trace must
 * hold the invariants.
 */
export function record(argv: readonly string[], options: RecordOptions = {}): Recording {
  const program = /\.(c|cpp)$/.test(argv[0]!) ? compile(argv[0]!) : argv[0]!;
  const folder = scratch('run');
  const result = grind(
    [
      'record',
      '--quiet',
      ...(options.verify === false ? [] : ['--verify']),
      ...outOptions(folder),
      ...(options.options ?? []),
      '--',
      program,
      ...argv.slice(1),
    ],
    options,
  );
  assert.ok(
    existsSync(join(folder, 'manifest.json')),
    `no trace of ${argv.join(' ')}: ${result.stderr}`,
  );
  const recording = new Recording(folder, result.stdout, result.stderr, result.status);
  if (!options.unchecked) checkInvariants(recording);
  return recording;
}

/** The status a shell would report for a result of `run`. */
export const shellStatus = (result: SpawnSyncReturns<string>): number =>
  result.signal ? 128 + constants.signals[result.signal] : (result.status ?? -1);
