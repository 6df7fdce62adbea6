/**
 * System calls of a thread, as what the program asks for (name, parameters, memory that it passes) and what it is answered
 * (result, memory that the kernel writes): the former is behaviour, the latter input. Addresses do not count, nor does
 * what the engine does not name as a parameter.
 */
import { createHash, type Hash } from 'node:crypto';
import type { EventRow } from '../../replay/types.js';
import { ERRNO_NAMES, SYSCALL_NAMES } from '../../schemas/syscalls.js';
import { hex } from '../../schemas/numbers.js';

/** Calls whose number depends on the schedule: who waits for whom. */
const OF_THE_SCHEDULE = names('futex sched_yield restart_syscall rt_sigreturn');

/** Nobody looks at the answer. */
const NO_ANSWER = names('set_tid_address');

/** Their answers differ between any two executions: times, numbers of processes and threads, random numbers, addresses. */
const FLEETING = names(
  'clock_gettime clock_getres clock_nanosleep gettimeofday time times getrusage getrandom sysinfo getpid gettid ' +
    'getppid getpgrp getpgid getsid setsid clone clone3 fork vfork wait4 waitid nanosleep ' +
    'sched_getaffinity getcpu sched_getattr uname kill tgkill tkill poll ppoll select pselect6 epoll_wait epoll_pwait',
);

/** Files whose contents are such answers. */
const FLEETING_FILES = /^\/(dev\/u?random\0|proc\/|sys\/)/;

/**
 * Calls that give a `struct stat`, and which argument says where: only the mode and the size count, for the rest are times
 * and numbers that the file system gives.
 */
const STAT: ReadonlyMap<string, number> = new Map([
  ...['stat', 'fstat', 'lstat'].map((name) => [name, 1] as const),
  ['newfstatat', 2],
]);
const STAT_PARTS = [
  [24, 28],
  [48, 56],
] as const;

/** Offsets of registers with parameters in the guest state belong to the arguments in this order. */
const ARGUMENT_REGISTERS = ['RDI', 'RSI', 'RDX', 'R10', 'R8', 'R9'];

/** Of what a call passes as much is looked at, in bytes. */
const PASSED_BYTES = 1 << 20;
/** Of contents as much is kept to be shown, of one call and of all calls; of more the beginning. */
const KEPT_BYTES = 1 << 16;
const KEPT_OF_ALL_BYTES = 1 << 26;
const KEPT_LATER_BYTES = 64;

function names(list: string): ReadonlySet<string> {
  return new Set(list.split(' '));
}

/** One system call; strings say what it was, for comparison and for people. */
export interface Call {
  readonly name: string;
  /** Of the process image, when it began. */
  readonly tick: number;
  readonly number: number;
  /** The key of its call stack in the table `stacks`. */
  readonly stack: number;
  readonly request: string;
  readonly answer: string;
  readonly isFleeting: boolean;
  /** What was passed and what was received: how much of it, see `KEPT_BYTES`. */
  readonly passed: Uint8Array;
  readonly received: Uint8Array;
  /** Arguments and result, for people. */
  readonly text: string;
}

interface OpenCall {
  readonly name: string;
  readonly tick: number;
  readonly number: number;
  readonly stack: number;
  readonly values: readonly bigint[];
  /** The same for people. */
  readonly texts: readonly string[];
  readonly used: Set<number>;
  readonly passed: Hash;
  readonly received: Hash;
  readonly keep: { passed: Uint8Array[]; received: Uint8Array[] };
  result: bigint | undefined;
}

/** What a process image wrote to its standard output and standard error. */
export interface Output {
  readonly digest: Hash;
  sizeBytes: number;
}

export class ThreadCalls {
  readonly list: Call[] = [];
  private open: OpenCall | undefined;
  private kept = 0;

  constructor(
    private readonly registers: Readonly<Record<string, number>>,
    private readonly isAddress: (value: number) => boolean,
    private readonly outputs: Map<number, Output>,
    /** Descriptors of files whose contents differ between any two executions. */
    private readonly fleeting: Set<bigint>,
  ) {}

  enter(row: EventRow): void {
    this.close();
    const name = SYSCALL_NAMES[row.u32('number')] || `number ${row.u32('number')}`;
    const values = [1, 2, 3, 4, 5, 6].map((i) => row.u64(`arg${i}`));
    this.open = {
      ...{ name, tick: row.tick, number: row.number('call'), stack: row.u32('stack') },
      values,
      texts: values.map((value) => this.shown(value, numberText(value))),
      used: new Set(),
      passed: createHash('md5'),
      received: createHash('md5'),
      keep: { passed: [], received: [] },
      result: undefined,
    };
  }

  exit(row: EventRow): void {
    if (this.open) this.open.result = row.i64('result');
  }

  /** The kernel reads memory or a register for the call. */
  memory(row: EventRow, read: (address: bigint, size: number) => Uint8Array): void {
    const { open } = this;
    if (!open) return;
    const direction = row.name('direction');
    if (direction === 'register') {
      const offset = row.number('address');
      const argument = ARGUMENT_REGISTERS.findIndex((name) => this.registers[name] === offset);
      if (argument >= 0) open.used.add(argument);
    } else if (direction === 'read' || direction === 'read_string') {
      const bytes = read(row.u64('address'), Math.min(row.number('size'), PASSED_BYTES));
      open.passed.update(String(bytes.length)).update(bytes);
      this.keep(open.keep.passed, bytes);
      if (/^(p?write|p?writev|send)/.test(open.name) && /\(buf|\[/.test(text(row, 'parameter')))
        this.write(Number(open.values[0]!), bytes);
    }
  }

  /** The kernel changed memory for the call. */
  changed(row: EventRow): void {
    const { open } = this;
    if (!open) return;
    const bytes = row.bytes('bytes');
    const stat = STAT.get(open.name);
    if (stat !== undefined) {
      const offset = row.number('address') - Number(open.values[stat]!);
      for (const [from, to] of STAT_PARTS) {
        const part = bytes.subarray(Math.max(from - offset, 0), Math.max(to - offset, 0));
        open.received.update(part);
        this.keep(open.keep.received, part);
      }
      return;
    }
    open.received.update(row.name('op')!).update(bytes);
    this.keep(open.keep.received, bytes);
  }

  /** Nothing more belongs to the call. */
  close(): void {
    const { open } = this;
    this.open = undefined;
    if (!open || OF_THE_SCHEDULE.has(open.name)) return;
    const { name, tick, number, stack, result } = open;
    const values = [...open.used].sort((a, b) => a - b).map((i) => open.texts[i]!);
    const answered = result === undefined ? 'no result' : this.shown(result, resultText(result));
    const [passed, received] = [join(open.keep.passed), join(open.keep.received)];
    const opened = new TextDecoder().decode(passed);
    if (/^open/.test(name) && result !== undefined && result >= 0n) {
      if (FLEETING_FILES.test(opened)) this.fleeting.add(result);
      else this.fleeting.delete(result);
    }
    this.list.push({
      ...{ name, tick, number, stack, passed, received },
      request: `${name} ${values.join()} ${open.passed.digest('base64')}`,
      answer: NO_ANSWER.has(name) ? '' : `${answered} ${open.received.digest('base64')}`,
      isFleeting:
        FLEETING.has(name) || (/^p?read/.test(name) && this.fleeting.has(open.values[0]!)),
      text: `${name}(${values.join(', ')}) = ${answered}`,
    });
  }

  private keep(list: Uint8Array[], bytes: Uint8Array): void {
    const most = this.kept < KEPT_OF_ALL_BYTES ? KEPT_BYTES : KEPT_LATER_BYTES;
    const had = list.reduce((sum, { length }) => sum + length, 0);
    const part = bytes.slice(0, Math.max(0, most - had));
    this.kept += part.length;
    list.push(part);
  }

  private shown(value: bigint, other: string): string {
    return value >= 0n && this.isAddress(Number(value)) ? 'an address' : other;
  }

  private write(descriptor: number, bytes: Uint8Array): void {
    if (descriptor !== 1 && descriptor !== 2) return;
    let output = this.outputs.get(descriptor);
    if (!output)
      this.outputs.set(descriptor, (output = { digest: createHash('md5'), sizeBytes: 0 }));
    output.digest.update(bytes);
    output.sizeBytes += bytes.length;
  }
}

const join = (list: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(list));

const text = (row: EventRow, column: string): string => new TextDecoder().decode(row.bytes(column));

function numberText(value: bigint): string {
  const signed = BigInt.asIntN(64, value);
  // Descriptors and the like are 32 bits wide.
  if (value >> 31n === 1n) return String(BigInt.asIntN(32, value));
  return signed > -4096n && signed < 0x100000n ? String(signed) : hex(value);
}

function resultText(result: bigint): string {
  const error = result < 0n ? ERRNO_NAMES.get(Number(-result)) : undefined;
  return error ?? String(result);
}
