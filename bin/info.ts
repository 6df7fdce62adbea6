/** `grind info`: what a run holds. */
import type { CommandModule } from 'yargs';
import type { Manifest } from '../recorder/manifest.js';
import { countAccesses, knownAccessCounts } from '../replay/access-counts.js';
import { programRows } from '../replay/lineage.js';
import { Trace, type ProcessRow } from '../replay/trace.js';
import type { Table as Declaration } from '../schemas/schema.js';
import {
  health,
  heap,
  isRelease,
  modules,
  syscall_enters,
  thread_events,
} from '../schemas/tables.js';
import { formatCount } from '../schemas/numbers.js';
import { signalName } from '../schemas/syscalls.js';
import { formatSize, OUT_OPTION, RUN_WORD } from './numbers.js';
import { layOut } from './lay-out.js';
import { findRun, formatExit, formatGit, manifestOf, traceBytes } from './runs.js';

interface Arguments {
  run?: string;
  out: string;
  accesses: boolean;
}

/** Runs of no more instructions are replayed to count their accesses without being asked to. */
const QUICKLY_REPLAYED = 50_000_000;

/** More health rows than this are counted, not shown. */
const MAX_HEALTH_ROWS = 50;

export const infoCommand: CommandModule<object, Arguments> = {
  command: 'info [run]',
  describe: 'Show what a run holds',
  builder: (yargs) =>
    yargs
      .positional('run', RUN_WORD)
      .option('out', OUT_OPTION)
      .option('accesses', {
        type: 'boolean',
        default: false,
        describe: 'Count the loads and stores, which takes a replay of the run',
      })
      .example('$0 info', 'The last run: its processes, how they ended, what is stored'),
  handler: async ({ run, out, accesses }) => {
    const trace = Trace.open(await findRun(run, out));
    try {
      console.log(describe(trace, manifestOf(trace), accesses));
    } finally {
      trace.close();
    }
  },
};

function describe(trace: Trace, manifest: Manifest, countThem: boolean): string {
  const sections = [
    describeRun(trace, manifest, describeAccesses(trace, manifest, countThem)),
    describeProcesses(trace),
    describeThreads(trace),
    describeModules(trace, manifest),
    describeTables(manifest),
    describeHealth(trace),
  ];
  return sections.join('\n\n');
}

function describeAccesses(trace: Trace, manifest: Manifest, countThem: boolean): string {
  const isQuick = manifest.instructions <= QUICKLY_REPLAYED;
  const counts =
    knownAccessCounts(trace) ?? (countThem || isQuick ? countAccesses(trace) : undefined);
  if (!counts) return 'not counted yet: `grind info --accesses` replays the run to count them';
  const { loads, stores } = counts;
  return `${formatCount(loads + stores)} (${formatCount(loads)} loads, ${formatCount(stores)} stores)`;
}

function describeRun(trace: Trace, manifest: Manifest, accesses: string): string {
  const { versions, executable, ...rest } = manifest;
  const seconds = (Date.parse(rest.ended) - Date.parse(rest.started)) / 1000;
  const size = traceBytes(manifest);
  const perInstruction =
    rest.instructions > 0
      ? `, ${(size / rest.instructions).toPrecision(2)} bytes per instruction`
      : '';
  const lines: [string, string][] = [
    ['run', `${trace.name} in ${trace.folder}`],
    ['program', rest.argv.join(' ')],
    ['folder', rest.directory],
    [
      'executable',
      `${executable.path}${executable.buildId ? `, build-id ${executable.buildId}` : ''}`,
    ],
    ['started', `${new Date(rest.started).toLocaleString('sv-SE')}, ${seconds.toFixed(1)} s`],
    ['exit', formatExit(manifest)],
    ['status', rest.status === 'complete' ? 'complete' : 'cut off: see health below'],
    ['instructions', formatCount(rest.instructions)],
    ['accesses', accesses],
    ['size', `${formatSize(size)}${perInstruction}`],
    ['git', formatGit(manifest)],
    [
      'versions',
      `grind ${versions.grind}, Valgrind ${versions.engine}, Node ${versions.node}, Linux ${versions.kernel}`,
    ],
  ];
  return lines.map(([name, value]) => `${name.padEnd(13)}${value}`).join('\n');
}

function describeProcesses(trace: Trace): string {
  const rows = trace.processes.map((image) => {
    const { allocations, bytes, unfreed } = heapFigures(trace, image.process);
    return [
      image.process,
      image.pid,
      origin(image),
      image.executable,
      end(image),
      formatCount(image.ticks),
      formatCount(countRows(trace, syscall_enters, image.process)),
      formatCount(allocations),
      formatSize(bytes),
      formatCount(unfreed),
    ];
  });
  const head = [
    'process',
    'pid',
    'from',
    'program',
    'end',
    'instructions',
    'syscalls',
    'allocations',
    'allocated',
    'not freed',
  ];
  return section('Processes', head, rows);
}

function origin({ how, parent }: ProcessRow): string {
  if (parent < 0) return how;
  return how === 'start' ? `started by ${parent}` : `${how} of ${parent}`;
}

function end({ end: how, status }: ProcessRow): string {
  if (how === 'exit') return `exit ${status}`;
  return (how === 'signal' || how === 'killed') && status > 0 ? signalName(status) : how;
}

function countRows(trace: Trace, table: Declaration, process: number): number {
  let count = 0;
  for (const rows of programRows(trace, table, process)) count += rows.count;
  return count;
}

/** Blocks allocated, their bytes, and blocks that were still there at the end. */
function heapFigures(
  trace: Trace,
  process: number,
): { allocations: number; bytes: number; unfreed: number } {
  let allocations = 0;
  let bytes = 0;
  let frees = 0;
  for (const { batch, count } of programRows(trace, heap, process)) {
    const names = batch.names('op');
    const ops = batch.column('op');
    const sizes = batch.column('size');
    const addresses = batch.column('address');
    const known = batch.column('known');
    for (let i = 0; i < count; i++) {
      const op = names[ops[i]!];
      if (isRelease(op)) {
        frees += known[i]!;
      } else if (op !== 'resize') {
        if (addresses[i] === 0n) continue;
        allocations++;
        bytes += Number(sizes[i]);
        if (op === 'realloc') frees += known[i]!;
      }
    }
  }
  return { allocations, bytes, unfreed: Math.max(0, allocations - frees) };
}

function describeThreads(trace: Trace): string {
  const threads = new Map<
    string,
    { process: number; thread: number; osThread: number; name: string; end: string }
  >();
  for (const { process, thread, op, os_thread, name } of trace.rows(thread_events)) {
    const key = `${process}.${thread}`;
    const entry = threads.get(key) ?? { process, thread, osThread: 0, name: '', end: '' };
    threads.set(key, entry);
    if (os_thread) entry.osThread = os_thread;
    if (op === 'name') entry.name = name;
    if (op === 'exit') entry.end = 'ended';
  }
  const rows = [...threads.values()]
    .sort((a, b) => a.process - b.process || a.thread - b.thread)
    .map((entry) => [entry.process, entry.thread, entry.osThread || '', entry.name, entry.end]);
  return section('Threads', ['process', 'thread', 'os thread', 'name', 'end'], rows);
}

function describeModules(trace: Trace, manifest: Manifest): string {
  const users = new Map<string, Set<number>>();
  for (const { process, path } of trace.rows(modules)) {
    const processes = users.get(path) ?? new Set();
    users.set(path, processes.add(process));
  }
  const rows = [...users].map(([path, processes]) => [
    path,
    processes.size,
    manifest.modules[path] ?? '',
  ]);
  return section('Modules', ['path', 'processes', 'build-id'], rows);
}

function describeTables(manifest: Manifest): string {
  const rows = Object.entries(manifest.tables)
    .filter(([, { rows }]) => rows > 0)
    .sort(([, a], [, b]) => b.sizeBytes - a.sizeBytes)
    .map(([name, { rows: count, sizeBytes }]) => [name, formatCount(count), formatSize(sizeBytes)]);
  return section('Tables on disk', ['table', 'rows', 'size'], rows);
}

function describeHealth(trace: Trace): string {
  const rows: (string | number)[][] = [];
  let more = 0;
  const show = (row: (string | number)[]): void =>
    void (rows.length < MAX_HEALTH_ROWS ? rows.push(row) : more++);
  for (const { table, sentence } of trace.damages())
    show(['', 'error', `damaged ${table}`, sentence]);
  for (const row of trace.rows(health)) show([row.process, row.severity, row.what, row.detail]);
  if (rows.length === 0) return 'Health\n  Nothing to report.';
  const table = section('Health', ['process', 'severity', 'what', 'detail'], rows);
  return more > 0
    ? `${table}\nand ${formatCount(more)} more: grind query "select * from health"`
    : table;
}

function section(title: string, head: string[], rows: readonly (string | number)[][]): string {
  return `${title}\n${rows.length > 0 ? indent(layOut(head, rows)) : '  none'}`;
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}
