/**
 * Compares grind with the installed Memcheck on any program: runs it under both and lists where the
 * findings differ, by kind, the three innermost functions, and how often; with --whole by everything that
 * is said of them, and by up to twelve frames of each of their stacks.
 *
 *     npm run compare -- [options] PROGRAM ARGS…
 *     npm run compare -- [options] --list FILE
 *
 * A line of FILE is a command with its arguments; `cwd=FOLDER` before it sets its working folder, and
 * # begins a comment. Only the first process image of each program is compared; with --children all of
 * them, the findings of those with the same program together. Images that end by exec are left out then,
 * as Memcheck has their output overwritten by that of the image that follows. Ends with status 1 when anything
 * differs.
 */
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { argv, env } from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { child, children, parseXml, text, type XmlNode } from './xml.js';

/** Frames that are compared, and with --whole. */
const FRAMES = 3;
const WHOLE_FRAMES = 12;
/** Kinds that Memcheck has. Those that only grind has make no difference. */
const KINDS =
  /^(Invalid(Read|Write|Jump|Free|MemPool)|Uninit(Condition|Value)|MismatchedFree|SyscallParam|ClientCheck|Overlap|FishyValue|Leak_\w+|CoreMemError|ReallocSizeZero|Bad\w+)$/;

/** Options of ours that leave out what Memcheck cannot find, which costs time. */
const WITHOUT_EXTRAS = ['--leak-points=no', '--reused-memory=no'];

/** How often something was found. */
export interface Tally {
  /** Occurrences; of a leak the blocks. NaN: not known, as of a process image that an exec ended. */
  count: number;
  /** Of a leak, indirectly lost ones included; otherwise 0. */
  bytes: bigint;
}

/** Findings by kind and innermost functions, as one text. */
export type Tallies = Map<string, Tally>;

/** A finding as both sides tell of it. */
interface Told {
  readonly kind: string;
  readonly what: string;
  /** Functions of the stack of where it happened. */
  readonly functions: readonly string[];
  /** Further sentences, each with the functions of its stack if it has one. */
  readonly more: readonly { readonly sentence: string; readonly functions: readonly string[] }[];
}

const chain = (functions: readonly string[], frames: number): string =>
  functions.slice(0, frames).join(' < ');

/** Without what differs from run to run: addresses, process ids in names, numbers of loss records. */
const unvarying = (sentence: string): string =>
  sentence
    .trim()
    .replace(/\b0x[0-9a-f]+/gi, '0x…')
    .replace(/\.\d+(?= segment$)/, '.…')
    .replace(/ in loss record .*/, '');

function keyOf({ kind, what, functions, more }: Told, whole = false): string {
  const short = `${kind}: ${chain(functions, whole ? WHOLE_FRAMES : FRAMES) || 'no stack'}`;
  if (!whole) return short;
  const lines = more.map(({ sentence, functions: inner }) =>
    `${unvarying(sentence)}: ${chain(inner, WHOLE_FRAMES)}`.replace(/: $/, ''),
  );
  return [short, unvarying(what), ...lines.sort()].join('\n      ');
}

function note(tallies: Tallies, key: string, { count, bytes }: Tally): void {
  const known = tallies.get(key);
  if (known) {
    known.count += count;
    known.bytes += bytes;
  } else tallies.set(key, { count, bytes });
}

/** What tells findings apart. */
interface KeyOptions {
  /** All that is said of them. */
  readonly whole?: boolean;
  /** The program: findings of several process images are told. */
  readonly children?: boolean;
}

/**
 * What Memcheck found, from its XML output (protocol 4). The output may be cut off.
 * @param tallies - where to add it
 */
export function memcheckTallies(
  xml: string,
  options: KeyOptions = {},
  tallies: Tallies = new Map(),
): Tallies {
  const root = children(parseXml(xml), 'valgrindoutput')[0];
  if (!root) return tallies;
  const program = child(child(root, 'args') ?? root, 'argv');
  const prefix = options.children && program ? `${programName(text(program, 'exe'))} ` : '';
  const counts = new Map<string, number>();
  const lastCounts = children(root, 'errorcounts').at(-1);
  for (const pair of lastCounts ? children(lastCounts, 'pair') : [])
    counts.set(text(pair, 'unique'), Number(text(pair, 'count')));
  for (const error of children(root, 'error')) {
    const what = child(error, 'xwhat');
    const blocks = what && text(what, 'leakedblocks');
    note(tallies, prefix + keyOf(toldBy(error), options.whole), {
      count: blocks ? Number(blocks) : (counts.get(text(error, 'unique')) ?? NaN),
      bytes: BigInt((what && text(what, 'leakedbytes')) || 0),
    });
  }
  return tallies;
}

/** The name of the file that a command runs: of what a link leads to, as grind tells it. */
function programName(command: string): string {
  const folders = command.includes('/') ? [''] : (env['PATH'] ?? '').split(':');
  const file = folders.map((folder) => join(folder, command)).find((path) => existsSync(path));
  return basename(file === undefined ? command : realpathSync(file));
}

/** An element `error`: the stack after a further sentence belongs to it, the first one to none. */
function toldBy(error: XmlNode): Told {
  const more: { sentence: string; functions: readonly string[] }[] = [];
  let functions: readonly string[] = [];
  for (const part of error.children) {
    const { tag } = part;
    if (tag === 'auxwhat') more.push({ sentence: part.text, functions: [] });
    else if (tag === 'xauxwhat') more.push({ sentence: text(part, 'text'), functions: [] });
    else if (tag === 'stack') {
      const names = children(part, 'frame').map((frame) => text(frame, 'fn') || '???');
      const last = more.at(-1);
      if (last) last.functions = names;
      else functions = names;
    }
  }
  const extended = child(error, 'xwhat');
  const what = extended ? text(extended, 'text') : text(error, 'what');
  return { kind: text(error, 'kind'), what, functions, more };
}

interface JsonReport {
  readonly findings: readonly {
    readonly process?: number;
    readonly kind: string;
    readonly count: number;
    readonly what?: string;
    readonly notes?: readonly string[];
    readonly stacks: readonly {
      readonly role?: string;
      readonly frames: readonly { readonly fn: string }[];
    }[];
    readonly leak?: { readonly bytes: string; readonly indirect_bytes: string; blocks: number };
  }[];
  readonly summary?: {
    readonly processes: readonly { process: number; executable: string; end: string }[];
    readonly missing: readonly { readonly sentence: string }[];
  };
}

/** What grind found, by its JSON report. */
export function grindTallies(report: JsonReport, options: KeyOptions = {}): Tallies {
  const tallies: Tallies = new Map();
  for (const finding of report.findings) {
    const image = report.summary?.processes.find(({ process }) => process === finding.process);
    if (options.children && image?.end === 'exec') continue;
    const prefix = options.children && image ? `${basename(image.executable)} ` : '';
    const { kind, what = '', count, notes = [], leak } = finding;
    const stacks = finding.stacks.map(({ role = '', frames }) => ({
      sentence: role,
      functions: frames.map(({ fn }) => fn || '???'),
    }));
    const plain = notes.map((sentence) => ({ sentence, functions: [] }));
    const more = [...plain, ...stacks.slice(1)];
    const told = { kind, what, functions: stacks[0]?.functions ?? [], more };
    note(tallies, prefix + keyOf(told, options.whole), {
      count: leak?.blocks ?? count,
      bytes: leak ? BigInt(leak.bytes) + BigInt(leak.indirect_bytes) : 0n,
    });
  }
  return tallies;
}

export interface Difference {
  readonly key: string;
  readonly memcheck: Tally | undefined;
  readonly grind: Tally | undefined;
}

/** Where two sets differ. Without `counts` only by what was found, not how often. */
export function differences(memcheck: Tallies, grind: Tallies, counts = true): Difference[] {
  const keys = [...new Set([...memcheck.keys(), ...grind.keys()])];
  return keys.flatMap((key) => {
    const difference = { key, memcheck: memcheck.get(key), grind: grind.get(key) };
    const { memcheck: a, grind: b } = difference;
    if (!a && !KINDS.test(/(\w+):/.exec(key)![1]!)) return [];
    const isAsOften = a && b && (Number.isNaN(a.count) || a.count === b.count);
    if (a && b && (!counts || (isAsOften && a.bytes === b.bytes))) return [];
    return [difference];
  });
}

export function describe({ key, memcheck, grind }: Difference): string {
  const amount = ({ count, bytes }: Tally) => (bytes ? `${count} (${bytes} bytes)` : String(count));
  if (!grind) return `  only Memcheck, ${amount(memcheck!)} times: ${key}`;
  if (!memcheck) return `  only grind, ${amount(grind)} times: ${key}`;
  return `  Memcheck ${amount(memcheck)}, grind ${amount(grind)} times: ${key}`;
}

interface Command {
  readonly argv: readonly string[];
  readonly cwd?: string;
}

/** The commands of a list; words are separated by spaces, and may be quoted. */
export function parseList(list: string): Command[] {
  return list.split('\n').flatMap((line) => {
    if (/^\s*(#|$)/.test(line)) return [];
    const words = [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
      ([, double, single, plain]) => double ?? single ?? plain!,
    );
    const cwd = /^cwd=(.+)$/.exec(words[0]!)?.[1];
    return [cwd === undefined ? { argv: words } : { argv: words.slice(1), cwd }];
  });
}

interface Options extends KeyOptions {
  /** Options of Memcheck, given to both. */
  readonly options: readonly string[];
  readonly analysis: string;
  readonly counts: boolean;
  readonly timeoutMs: number;
  readonly environments: { readonly memcheck: Environment; readonly grind: Environment };
}

const ROOT = ((): string => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
})();

const GRIND = [process.execPath, join(ROOT, 'dist', 'bin', 'grind.js')];

function run(
  command: readonly string[],
  { cwd }: Command,
  timeoutMs: number,
  environment: Environment = env,
) {
  return spawnSync(command[0]!, command.slice(1), {
    cwd,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 30,
  });
}

/** Why a run cannot be compared, in words. */
function failure(name: string, result: SpawnSyncReturns<string>): Error {
  const why = result.error?.message ?? result.stderr.trim().split('\n').slice(-3).join(' | ');
  return new Error(`${name} failed: ${why}`);
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Environments for both in which the program finds variables of the same names and lengths: those that
 * the two add themselves differ, and many programs keep copies of all.
 */
function equalEnvironments(timeoutMs: number): { memcheck: Environment; grind: Environment } {
  const seen = (command: readonly string[], environment: Environment): Environment => {
    const result = run([...command, '--', 'env', '-0'], {} as Command, timeoutMs, environment);
    if (result.status !== 0) throw failure(command[0]!, result);
    return Object.fromEntries(
      result.stdout.split('\0').map((line) => /^([^=]*)=?([^]*)$/.exec(line)!.slice(1)),
    ) as Environment;
  };
  const folder = mkdtempSync(join(tmpdir(), 'grind-compare-'));
  try {
    const underMemcheck = (environment: Environment) =>
      seen(['valgrind', '-q', '--tool=memcheck'], environment);
    const theirs = underMemcheck(env);
    const ours = seen([...GRIND, 'record', '--quiet', '--out', folder], env);
    const library = dirname(theirs['LD_PRELOAD']!.split(':')[0]!);
    const slashes = '/'.repeat(Math.max((ours['VALGRIND_LIB'] ?? '').length - library.length, 0));
    const memcheck = { ...ours, ...env, VALGRIND_LIB: library + slashes, LD_PRELOAD: ':' };
    const lengthOf = (environment: Environment) => environment['LD_PRELOAD']!.length;
    const colons = Math.max(lengthOf(ours) - lengthOf(underMemcheck(memcheck)), 0);
    return {
      memcheck: { ...memcheck, LD_PRELOAD: ':'.repeat(colons + 1) },
      grind: { ...theirs, ...env, LD_PRELOAD: undefined },
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What Memcheck says when it cannot go on. */
const GAVE_UP = /^.*the 'impossible' happened.*$|^.*Valgrind: FATAL.*$/m;

/** Runs a program under both. Throws when one of them gives no result. */
function compare(command: Command, options: Options): { found: number; lines: string[] } {
  const folder = mkdtempSync(join(tmpdir(), 'grind-compare-'));
  try {
    const valgrind = [
      'valgrind',
      '--tool=memcheck',
      '--xml=yes',
      `--xml-file=${join(folder, 'memcheck.%p.xml')}`,
      options.children ? '--trace-children=yes' : '--child-silent-after-fork=yes',
      '--leak-check=full',
      '--track-origins=yes',
      // As new blocks are while recording: programs may act on what they never set.
      '--malloc-fill=0x00',
      ...options.options,
      '--',
      ...command.argv,
    ];
    const memcheckRun = run(valgrind, command, options.timeoutMs, options.environments.memcheck);
    const files = readdirSync(folder).filter((name) => name.startsWith('memcheck.'));
    const gaveUp = GAVE_UP.exec(memcheckRun.stderr);
    if (gaveUp) throw new Error(`Memcheck gave up: ${gaveUp[0]}`);
    if (files.length === 0) throw failure('Memcheck', memcheckRun);
    const memcheck: Tallies = new Map();
    for (const file of options.children ? files : files.slice(0, 1))
      memcheckTallies(readFileSync(join(folder, file), 'utf8'), options, memcheck);

    const place = ['--out', folder, '--name', 'run'];
    const record = [...GRIND, 'record', '--quiet', ...place, '--', ...command.argv];
    const recordRun = run(record, command, options.timeoutMs, options.environments.grind);
    if (!existsSync(join(folder, 'run', 'manifest.json'))) throw failure('Recording', recordRun);
    const analyze = [
      ...GRIND,
      'analyze',
      options.analysis,
      join(folder, 'run'),
      '--format=json',
      ...(options.children ? [] : ['--process=0']),
      '--leak-check=full',
      ...(options.analysis === 'memcheck' ? WITHOUT_EXTRAS : []),
      ...options.options,
    ];
    const analyzeRun = run(analyze, {} as Command, options.timeoutMs);
    if (analyzeRun.status !== 0) throw failure('The analysis', analyzeRun);
    const report = JSON.parse(analyzeRun.stdout) as JsonReport;
    const ours = grindTallies(report, options);
    const lines = differences(memcheck, ours, options.counts).map(describe).sort();
    const missing =
      report.summary?.missing.map(({ sentence }) => `  grind says: ${sentence}`) ?? [];
    return { found: memcheck.size, lines: lines.length > 0 ? [...lines, ...missing] : [] };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function main(): void {
  const { values, positionals } = parseArgs({
    options: {
      list: { type: 'string' },
      option: { type: 'string', multiple: true, default: [] },
      analysis: { type: 'string', default: 'memcheck' },
      'no-counts': { type: 'boolean', default: false },
      whole: { type: 'boolean', default: false },
      children: { type: 'boolean', default: false },
      timeout: { type: 'string', default: '300' },
    },
    args: argv.slice(2, 2 + ownArguments(argv.slice(2))),
    allowPositionals: true,
  });
  const program = argv.slice(2 + ownArguments(argv.slice(2)));
  const commands = values.list ? parseList(readFileSync(values.list, 'utf8')) : [];
  if (program.length > 0) commands.push({ argv: program });
  if (commands.length === 0 || positionals.length > 0) {
    console.error(
      'Say which program to compare: npm run compare -- [--option=--OPTION-OF-MEMCHECK]… [--no-counts] [--whole] [--children] [--timeout SECONDS] [--list FILE] PROGRAM ARGS…',
    );
    process.exitCode = 2;
    return;
  }
  const timeoutMs = Number(values.timeout) * 1000;
  const options: Options = {
    environments: equalEnvironments(timeoutMs),
    options: values.option,
    analysis: existsSync(values.analysis) ? resolve(values.analysis) : values.analysis,
    counts: !values['no-counts'],
    whole: values.whole,
    children: values.children,
    timeoutMs,
  };
  let [same, different, failed] = [0, 0, 0];
  for (const command of commands) {
    const name = command.argv.join(' ');
    try {
      const { found, lines } = compare(command, options);
      if (lines.length === 0) same++;
      else different++;
      console.log(
        lines.length === 0
          ? `same, ${found} findings: ${name}`
          : [`different: ${name}`, ...lines].join('\n'),
      );
    } catch (error) {
      failed++;
      console.log(`not compared: ${name}: ${(error as Error).message}`);
    }
  }
  console.log(`${same} programs the same, ${different} different, ${failed} not compared`);
  if (different + failed > 0) process.exitCode = 1;
}

/** How many of the first arguments are ours: up to the program's name. */
function ownArguments(args: readonly string[]): number {
  const takesValue = ['--list', '--option', '--analysis', '--timeout'];
  let count = 0;
  while (count < args.length && args[count]!.startsWith('--') && args[count] !== '--')
    count += takesValue.includes(args[count]!) ? 2 : 1;
  return args[count] === '--' ? count + 1 : Math.min(count, args.length);
}

if (argv[1] !== undefined && import.meta.url === pathToFileURL(argv[1]).href) main();
