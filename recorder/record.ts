/**
 * Records a program: starts it under the engine with our tool, converts what the tool writes while it
 * runs, and completes the run folder when it has ended.
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../schemas/errors.js';
import { FORMAT_VERSION, STORED_TABLES } from '../schemas/tables.js';
import { useSchemas } from './arrow-file.js';
import { buildTool, CACHE_FOLDER, SYNC_PRELOAD, TOOL_FILE, type ToolBuild } from './build.js';
import { buildId } from './elf.js';
import { EngineLog } from './log.js';
import {
  filterEnvironment,
  gitState,
  keepChanges,
  moduleBuildIds,
  sha256,
  versions,
  writeManifest,
  type Manifest,
  type RunDescription,
} from './manifest.js';
import { findGuest } from './guest.js';
import { NativeConverter } from './native.js';
import { RunWriter, type RunEnd } from './run-writer.js';

export interface RecordOptions {
  /** The guest's argv; the first is searched for in PATH. */
  readonly argv: readonly string[];
  /** Folder that holds the runs. */
  readonly out: string;
  /** The run's name; by default the program's name and the time. */
  readonly name?: string;
  readonly children?: boolean;
  /** Let the C library free what it holds when the program has ended, as under Memcheck. */
  readonly freeres?: boolean;
  /** Patterns of environment names that are not stored. */
  readonly excludedEnvironment?: readonly string[];
  /** Stop recording a process when it has written this much raw trace. */
  readonly maxSizeBytes?: number;
  /** Do not show values of memory accesses to readers. */
  readonly values?: boolean;
  /** Depth of call stacks. */
  readonly callers?: number;
  /** `function:NAME`, `tick:N` or `request`. */
  readonly startAt?: string;
  readonly stopAt?: string;
  /** More options for the engine. */
  readonly engineOptions?: readonly string[];
  /** Store hashes of memory that replay checks. */
  readonly verify?: boolean;
  /** For the manifest: see RunDescription. */
  readonly checkout?: RunDescription['checkout'];
  readonly scenario?: string;
  /** The guest's standard input, output and error; ours by default. */
  readonly stdio?: StdioOptions;
  /** Called about once a second while the guest runs. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called with one sentence that the user should see. */
  readonly onNotice?: (sentence: string) => void;
}

export interface Progress {
  /** Wall time since the start. */
  readonly seconds: number;
  readonly processes: number;
  /** Size of the trace so far. */
  readonly sizeBytes: number;
}

export interface RecordResult {
  readonly folder: string;
  readonly name: string;
  /** As a shell reports it: the guest's, or 128 + the number of the fatal signal. */
  readonly exitStatus: number;
  readonly processes: number;
  /** Guest instructions of all processes. */
  readonly instructions: number;
  readonly sizeBytes: number;
}

export const DEFAULT_CALLERS = 64;
const POLL_MS = 100;
const PROGRESS_MS = 1000;
/** Files in the tool's cache. */
const MAX_CACHED = 200;
const RECORDER_FILE = 'recorder.json';

interface RecorderFile {
  readonly pid: number;
  readonly description: RunDescription;
  readonly opNames: readonly string[];
}

/** Runs and records a program. Returns when it, and every process it has started under the tool, has ended. */
export async function record(options: RecordOptions): Promise<RecordResult> {
  const guest = findGuest(options.argv[0]!);
  const engineArguments = toolArguments(options);
  const build = await buildTool();
  useSchemas(STORED_TABLES, build.schemas);
  const { folder, name } = makeRunFolder(options);
  const spool = join(folder, 'spool');
  const git = gitState(process.cwd()); // asked now: the guest may change files
  const description: RunDescription = {
    name,
    argv: options.argv,
    directory: process.cwd(),
    environment: filterEnvironment(process.env, options.excludedEnvironment ?? []),
    executable: { path: guest, buildId: buildId(guest) ?? null },
    versions: versions(build),
    started: new Date().toISOString(),
    options: storedOptions(options),
    ...(options.checkout && { checkout: options.checkout }),
    ...(options.scenario !== undefined && { scenario: options.scenario }),
    guest: { stateSize: build.stateSize, registers: build.registers },
  };
  const recorder: RecorderFile = { pid: process.pid, description, opNames: build.ops };
  const writer = openWriter(folder, recorder, build);

  const child = startGuest(build, spool, engineArguments, options);
  const ended = waitFor(child);
  const restoreSignals = passSignals(child);
  try {
    const log = new EngineLog(spool, (text) => process.stderr.write(text));
    const hash = sha256(guest); // while the guest runs
    const exit = await follow(child, ended, writer, log, spool, options);
    const state = await git;
    const details = {
      ...description,
      git: state?.git,
      executable: { ...description.executable, sha256: hash },
    };
    if (writer.processImages.length === 0) {
      rmSync(folder, { recursive: true });
      throw new UserError(
        `Nothing was recorded of ${options.argv[0]}${log.messages.length ? `: ${log.messages.at(-1)!.text}` : ' (the engine says why above)'}.`,
      );
    }
    keepChanges(folder, state);
    const runEnd: RunEnd = { pid: child.pid, ...exit, fatalSignals: log.fatalSignals };
    pruneCache(build);
    const manifest = complete(folder, writer, log, runEnd, details, build.ops, options.onNotice);
    return {
      folder,
      name,
      exitStatus: exit.exitStatus ?? 128 + (exit.signal ?? 0),
      processes: manifest.processes,
      instructions: manifest.instructions,
      sizeBytes: Object.values(manifest.tables).reduce((sum, table) => sum + table.sizeBytes, 0),
    };
  } finally {
    restoreSignals();
  }
}

/**
 * Completes a run whose recorder was cut off. Does nothing when the run is complete.
 * @returns whether there was something to complete
 */
export function recoverRun(folder: string): boolean {
  const spool = resolve(folder, 'spool'); // as the tool's option names it
  if (existsSync(join(folder, 'manifest.json'))) {
    rmSync(spool, { recursive: true, force: true });
    return false;
  }
  if (!existsSync(spool)) return false;
  let recorder: RecorderFile;
  try {
    recorder = JSON.parse(readFileSync(join(spool, RECORDER_FILE), 'utf8')) as RecorderFile;
  } catch {
    throw new UserError(
      `The run in ${folder} was cut off before its program began: record it again.`,
    );
  }
  const live = recordingProcess(recorder, spool);
  if (live !== undefined)
    throw new UserError(
      `The run in ${folder} is still being recorded (by process ${live}): wait until it has ended.`,
    );

  const log = new EngineLog(spool, () => undefined);
  const writer = new RunWriter(folder);
  writer.poll(() => true);
  log.poll(true);
  writer.note({
    severity: 'warning',
    what: 'cut_off',
    detail: 'The recorder was stopped before the program ended: how it ended is not known.',
  });
  const runEnd: RunEnd = {
    pid: undefined,
    exitStatus: null,
    signal: null,
    fatalSignals: log.fatalSignals,
  };
  complete(folder, writer, log, runEnd, recorder.description, recorder.opNames, undefined);
  return true;
}

/** Whether a run is still being recorded. */
export function isBeingRecorded(folder: string): boolean {
  const spool = resolve(folder, 'spool');
  if (existsSync(join(folder, 'manifest.json'))) return false;
  try {
    const file = readFileSync(join(spool, RECORDER_FILE), 'utf8');
    return recordingProcess(JSON.parse(file) as RecorderFile, spool) !== undefined;
  } catch {
    return false; // it was cut off before its program began
  }
}

/** Number of a live process that records into a spool: the recorder, or else one that is recorded. */
const recordingProcess = ({ pid }: RecorderFile, spool: string): number | undefined =>
  isRecorder(pid) ? pid : liveProcesses(spool)[0];

/** Completes the run's files and its manifest, and removes the spool. */
function complete(
  folder: string,
  writer: RunWriter,
  log: EngineLog,
  runEnd: RunEnd,
  description: RunDescription,
  opNames: readonly string[],
  onNotice: RecordOptions['onNotice'],
): Manifest {
  for (const { pid, severity, what, text } of log.messages) {
    writer.note({ severity, what, detail: text }, pid);
    if (severity === 'error') onNotice?.(`the engine failed: ${text}`);
  }
  let full = writer.diskFull;
  if (full) {
    writer.releaseReserve();
    writer.poll(() => true);
    full = writer.diskFull;
    if (full) {
      const detail = 'The disk was full: what the program did after this moment is not stored.';
      writer.note({ severity: 'error', what: 'disk_full', detail });
      onNotice?.(`the disk is full: the trace in ${folder} holds only what was stored before.`);
    }
  }
  for (const { pid, end, lastAnomaly } of writer.processImages) {
    if (end?.how === 'stopped')
      onNotice?.(
        `recording of process ${pid} stopped before its end (${lastAnomaly}): the trace holds what came before.`,
      );
  }
  writer.releaseReserve();
  try {
    const { tables, processes } = writer.finish(runEnd, opNames);
    const stopped = processes.some((image) => image.end === 'stopped' || image.end === 'unknown');
    const manifest: Manifest = {
      ...description,
      format: FORMAT_VERSION,
      status: full || stopped ? 'cut_off' : 'complete',
      ended: new Date().toISOString(),
      exitStatus: runEnd.exitStatus,
      signal: runEnd.signal,
      processes: processes.length,
      instructions: Number(processes.reduce((sum, image) => sum + image.ticks, 0n)),
      tables,
      modules: moduleBuildIds(writer.processImages.flatMap((image) => [...image.modules])),
    };
    writeManifest(folder, manifest);
    const spool = join(folder, 'spool');
    for (const file of readdirSync(spool)) unlinkSync(join(spool, file));
    rmdirSync(spool);
    if (isRoot()) chmodSync(folder, 0o777 & ~process.umask());
    return manifest;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    throw new UserError(
      `The disk is full: the trace in ${folder} could not be completed; free some space and run \`grind info ${folder}\` to complete it.`,
    );
  }
}

function storedOptions(options: RecordOptions): Record<string, unknown> {
  const {
    children = true,
    freeres = true,
    values = true,
    callers = DEFAULT_CALLERS,
    verify = false,
  } = options;
  const { maxSizeBytes, startAt, stopAt, engineOptions = [], excludedEnvironment = [] } = options;
  return {
    children,
    freeres,
    values,
    callers,
    verify,
    maxSizeBytes,
    startAt,
    stopAt,
    engineOptions,
    excludedEnvironment,
  };
}

/** The engine's options, except where the spool is. */
function toolArguments(options: RecordOptions): string[] {
  const args = [
    '--tool=grind',
    '--vgdb=no',
    '--read-inline-info=yes',
    // Superblocks that do not go on through jumps: no code is translated, and stored, many times over.
    '--vex-guest-chase=no',
    `--num-callers=${options.callers ?? DEFAULT_CALLERS}`,
    `--trace-children=${(options.children ?? true) ? 'yes' : 'no'}`,
    `--grind-children=${(options.children ?? true) ? 'yes' : 'no'}`,
  ];
  if (options.freeres === false) args.push('--run-libc-freeres=no', '--run-cxx-freeres=no');
  if (options.verify) args.push('--grind-verify=yes');
  if (options.maxSizeBytes !== undefined) args.push(`--grind-max-size=${options.maxSizeBytes}`);
  for (const [side, place] of [
    ['start', options.startAt],
    ['stop', options.stopAt],
  ] as const) {
    if (place !== undefined) args.push(placeArgument(side, place));
  }
  return [...args, ...(options.engineOptions ?? [])];
}

function placeArgument(side: 'start' | 'stop', place: string): string {
  const match = /^(?:(tick):(\d+)|(function):(.+)|(request))$/.exec(place);
  if (!match)
    throw new UserError(`--${side}-at takes function:NAME, tick:N or request, and not "${place}".`);
  if (match[1]) return `--grind-${side}-tick=${match[2]}`;
  if (match[3]) return `--grind-${side}-function=${match[4]}`;
  return `--grind-${side}-request=yes`;
}

/** Makes `<out>/<name>/spool`; a run's name is used once. */
function makeRunFolder(options: RecordOptions): { folder: string; name: string } {
  const program = basename(options.argv[0]!);
  const out = resolve(options.out);
  try {
    makeFolder(out);
    const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
    for (let attempt = 1; ; attempt++) {
      const name = options.name ?? `${program}-${time}${attempt > 1 ? `-${attempt}` : ''}`;
      if (!/^[^/\0]+$/.test(name) || name === '.' || name === '..')
        throw new UserError(
          `"${name}" cannot be the name of a run: it must be the name of a folder.`,
        );
      const folder = join(out, name);
      try {
        mkdirSync(folder);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        if (options.name !== undefined)
          throw new UserError(
            `There is already a run named ${name} in ${out}: choose another --name or remove it.`,
          );
        continue;
      }
      makeSpool(folder);
      return { folder, name };
    }
  } catch (error) {
    throw cannotWrite(error, out);
  }
}

/**
 * A program that we start as root may go on as another user, who must be able to write to the spool then: others can,
 * but they do not get there while the run is recorded.
 */
function makeSpool(folder: string): void {
  const spool = join(folder, 'spool');
  mkdirSync(spool);
  if (!isRoot()) return;
  chmodSync(folder, 0o700);
  chmodSync(spool, 0o733);
}

const isRoot = (): boolean => process.geteuid?.() === 0;

/** Writes what a run has before its program begins. */
function openWriter(folder: string, recorder: RecorderFile, build: ToolBuild): RunWriter {
  try {
    writeFileSync(join(folder, 'spool', RECORDER_FILE), JSON.stringify(recorder));
    return new RunWriter(folder, NativeConverter.load(build.folder));
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw cannotWrite(error, dirname(folder));
  }
}

/** What the user is told of a run's folder that cannot be written. */
function cannotWrite(error: unknown, out: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof UserError || code === undefined) return error;
  return new UserError(
    `No run can be written in ${out} (${code}): choose another folder with --out.`,
  );
}

/** Makes a folder and those above it. (Node's own way never returns in a folder such as /proc.) */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder);
}

function startGuest(
  build: ToolBuild,
  spool: string,
  engineArguments: readonly string[],
  { argv, stdio = 'inherit' }: RecordOptions,
): ChildProcess {
  // `%` is special in the engine's file names.
  const log = join(spool, 'log.').replaceAll('%', '%%') + '%p';
  const preload = [join(build.folder, SYNC_PRELOAD), process.env['LD_PRELOAD']];
  const cache = join(build.folder, CACHE_FOLDER);
  return spawn(
    build.launcher,
    [
      ...engineArguments,
      `--log-file=${log}`,
      `--grind-cache=${cache}`,
      `--grind-spool=${spool}`,
      '--',
      ...argv,
    ],
    {
      stdio,
      env: {
        ...process.env,
        VALGRIND_LIB: build.folder,
        LD_PRELOAD: preload.filter(Boolean).join(':'),
      },
    },
  );
}

/** Object files come and go: the oldest half of what the tool keeps of them is removed when it has become much. */
function pruneCache({ folder }: ToolBuild): void {
  const cache = join(folder, CACHE_FOLDER);
  try {
    const files = readdirSync(cache);
    if (files.length <= MAX_CACHED) return;
    const age = new Map(files.map((file) => [file, statSync(join(cache, file)).mtimeMs]));
    files.sort((a, b) => age.get(a)! - age.get(b)!);
    for (const file of files.slice(0, files.length / 2)) unlinkSync(join(cache, file));
  } catch {
    // The build belongs to another user, or another recorder is doing the same.
  }
}

type Exit = Pick<RunEnd, 'exitStatus' | 'signal'>;

function waitFor(child: ChildProcess): Promise<Exit> {
  return new Promise((done, fail) => {
    child.once('error', (error) =>
      fail(new UserError(`The engine cannot be started: ${error.message}.`)),
    );
    child.once('exit', (exitStatus, signal) =>
      done({ exitStatus, signal: signal && constants.signals[signal] }),
    );
  });
}

/**
 * A terminal sends its signals to the guest as well as to us, and what they do is the guest's affair;
 * signals sent to us alone are passed on.
 */
function passSignals(child: ChildProcess): () => void {
  const ignore = (): void => undefined;
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  const handlers = [
    ['SIGINT', ignore],
    ['SIGQUIT', ignore],
    ['SIGTERM', pass],
    ['SIGHUP', pass],
  ] as const;
  for (const [signal, handler] of handlers) process.on(signal, handler);
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}

/** Converts while the guest, and then whatever it has left running, goes on. */
async function follow(
  child: ChildProcess,
  ended: Promise<Exit>,
  writer: RunWriter,
  log: EngineLog,
  spool: string,
  options: RecordOptions,
): Promise<Exit> {
  const started = Date.now();
  let exit: Exit | undefined;
  let nextProgress = PROGRESS_MS;
  const isGone = (pid: number): boolean =>
    (pid === child.pid && exit !== undefined) || !isToolProcess(pid);
  while (!exit) {
    // The last timer must not keep us waiting when all is done.
    exit = await Promise.race([ended, sleep(POLL_MS, undefined, { ref: false })]);
    log.poll();
    writer.poll(isGone);
    limitSize(writer, spool, options);
    const elapsed = Date.now() - started;
    if (!exit && elapsed >= nextProgress) {
      nextProgress = elapsed + PROGRESS_MS;
      options.onProgress?.({
        seconds: elapsed / 1000,
        processes: writer.processImages.length,
        sizeBytes: writer.sizeBytes,
      });
    }
  }
  await followRest(writer, log, spool, isGone, options);
  log.poll(true);
  writer.poll(() => true);
  return exit;
}

/** Each tool limits what its own process writes; the run as a whole is limited here. */
function limitSize(writer: RunWriter, spool: string, { maxSizeBytes }: RecordOptions): void {
  if (maxSizeBytes !== undefined && writer.sizeBytes > maxSizeBytes) {
    writeFileSync(join(spool, 'stop'), '');
  }
}

/** Waits for processes that have outlived the first one; SIGINT or SIGTERM ends the waiting. */
async function followRest(
  writer: RunWriter,
  log: EngineLog,
  spool: string,
  isGone: (pid: number) => boolean,
  options: RecordOptions,
): Promise<void> {
  let running = liveProcesses(spool);
  if (running.length === 0) return;
  options.onNotice?.(
    `the program has ended and has left ${running.length === 1 ? 'a process' : `${running.length} processes`} (${running.join(', ')}) running, which the run waits for; Ctrl-C stops the recording.`,
  );
  let stop = false;
  const onStop = (): void => void (stop = true);
  process.on('SIGINT', onStop).on('SIGTERM', onStop);
  while (running.length > 0 && !stop) {
    await sleep(POLL_MS);
    log.poll();
    writer.poll(isGone);
    limitSize(writer, spool, options);
    running = liveProcesses(spool);
  }
  process.off('SIGINT', onStop).off('SIGTERM', onStop);
  for (const pid of running) {
    writer.note(
      {
        severity: 'warning',
        what: 'still_running',
        detail: `Process ${pid} was still running when the recording was stopped.`,
      },
      pid,
    );
  }
}

/** What `read` says of a process or else of one of its threads: if the first one has ended, only the others can tell. */
function ofAnyThread(pid: number, read: (folder: string) => boolean): boolean {
  const holds = (folder: string): boolean => {
    try {
      return read(folder);
    } catch {
      return false;
    }
  };
  const folder = `/proc/${pid}`;
  return holds(folder) || threadsOf(folder).some(holds);
}

function threadsOf(folder: string): string[] {
  try {
    return readdirSync(`${folder}/task`).map((thread) => `${folder}/task/${thread}`);
  } catch {
    return [];
  }
}

/** Whether a process runs under our tool; false for one that has ended but was not yet waited for. */
const isToolProcess = (pid: number): boolean =>
  ofAnyThread(pid, (folder) => basename(readlinkSync(`${folder}/exe`)).startsWith(TOOL_FILE));

/** Processes that write to a spool. */
function liveProcesses(spool: string): number[] {
  const option = `--grind-spool=${spool}`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && isToolProcess(Number(name)))
    .map(Number)
    .filter((pid) =>
      ofAnyThread(pid, (folder) =>
        readFileSync(`${folder}/cmdline`, 'utf8').split('\0').includes(option),
      ),
    );
}

/** Whether a process is (still) the recorder of a run: a number may have been given to another program. */
function isRecorder(pid: number): boolean {
  try {
    return (
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('record') &&
      realpathSync(`/proc/${pid}/exe`) === realpathSync(process.execPath)
    );
  } catch {
    return false;
  }
}
