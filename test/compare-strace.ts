/**
 * An independent witness of system calls: `strace -f`.
 *
 * Two things differ between a native run and one under the engine, and are left out on both sides:
 * - loading: the engine maps the program itself, and the loader also loads the preloaded libraries. The
 *   comparison begins after the first munmap, with which the loader ends (it unmaps ld.so.cache);
 * - memory: the engine replaces the allocator, so brk and mmap differ, as does getrandom, which the C
 *   library's allocator calls; it refuses rseq and set_robust_list.
 */
import { readFileSync } from 'node:fs';
import { run, scratch, type Recording, type RunOptions } from './guest.js';

const LEFT_OUT = new Set([
  'brk',
  'mmap',
  'munmap',
  'mprotect',
  'mremap',
  'madvise',
  'getrandom',
  'rseq',
  'set_robust_list',
  'futex',
  'sched_yield',
  'execve',
  'arch_prctl',
  'set_tid_address',
  'prlimit64',
  'restart_syscall',
]);
/** Calls whose results are the same in every run. */
const WITH_RESULT = new Set([
  'read',
  'write',
  'openat',
  'close',
  'lseek',
  'pread64',
  'pwrite64',
  'dup2',
  'getdents64',
  'access',
]);

export interface Call {
  readonly name: string;
  readonly result: string;
}

function normalise(calls: readonly Call[]): string[] {
  const loaded = calls.findIndex(({ name }) => name === 'munmap');
  return calls
    .slice(loaded + 1)
    .filter(({ name }) => !LEFT_OUT.has(name))
    .map(({ name, result }) => (WITH_RESULT.has(name) ? `${name} = ${result}` : name));
}

/** Normalised calls per process, in order of process ids (those of the first process come first). */
export function straceCalls(argv: readonly string[], options: RunOptions = {}): string[][] {
  const log = scratch('strace');
  run(['strace', '-f', '-o', log, ...argv], options);
  const processes = new Map<string, Call[]>();
  for (const line of readFileSync(log, 'utf8').split('\n')) {
    const [, pid, name] = /^(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed)/.exec(line) ?? [];
    if (!pid || !name || line.endsWith('<unfinished ...>')) continue;
    const result = / = (-?\d+|\?)[^=]*$/.exec(line)?.[1] ?? '?';
    processes.set(pid, [
      ...(processes.get(pid) ?? []),
      { name, result: result.startsWith('-') ? 'failed' : result },
    ]);
  }
  return [...processes]
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([, calls]) => normalise(calls));
}

/** The same of a recording. Images before and after an exec in one process count as one. */
export function recordedCalls(recording: Recording): string[][] {
  const rows = recording.query(`
    select p.pid, s.name, s.result, s.end_tick is not null as ended from syscalls s join processes p using (process)
    order by p.pid, s.process, s.call`);
  const processes = new Map<bigint, Call[]>();
  for (const row of rows) {
    const result = row['ended'] && row['result'] !== null ? (row['result'] as bigint) : undefined;
    const text = result === undefined ? '?' : result < 0n ? 'failed' : String(result);
    const pid = row['pid'] as bigint;
    processes.set(pid, [
      ...(processes.get(pid) ?? []),
      { name: row['name'] as string, result: text },
    ]);
  }
  return [...processes.values()].map(normalise);
}
