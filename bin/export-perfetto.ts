/**
 * A run as a trace of events (Trace Event Format, JSON), for Perfetto's and Chromium's viewers: which thread had the
 * processor, system calls, waits for locks and how long they were held, and the heap as a counter.
 *
 * The unit of time is the tick, shown as a nanosecond: it is the same in each recording of a program that does the same, and
 * does not count what recording costs. A wait in which no thread executes an instruction has no length; system calls say
 * how long they took by the clock.
 */
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { finished } from 'node:stream/promises';
import { commandOf } from '../analyses/output-file.js';
import { eventRows } from '../replay/event-rows.js';
import type { ProcessRow, Trace } from '../replay/trace.js';
import type { EventRow } from '../replay/types.js';
import { fileProblem, UserError } from '../schemas/errors.js';
import { hex } from '../schemas/numbers.js';
import { SYSCALL_NAMES } from '../schemas/syscalls.js';
import { heap, isRelease, slices, sync, syscall_enters, syscall_exits } from '../schemas/tables.js';
import { Sink } from './query-output.js';

/** Characters of events that are written at once. */
const PIECE = 1 << 16;
/** The track of the processor, which threads take in turns, beside theirs. */
const PROCESSOR = 0;

type Event = Readonly<Record<string, unknown>>;

/** Writes a run's trace to a file. Throws UserError when it cannot be written. */
export async function exportPerfetto(trace: Trace, path: string): Promise<void> {
  const file = createWriteStream(path);
  try {
    await once(file, 'open');
  } catch (error) {
    throw new UserError(`Cannot write ${path}: ${fileProblem(error)}.`);
  }
  const sink = new Sink(file);
  const starts = startsOf(trace);
  let piece = '{"displayTimeUnit":"ns","traceEvents":[\n';
  let separator = '';
  for (const image of trace.processes)
    for (const event of new Timeline(image, starts.get(image.process)!).events(trace)) {
      piece += separator + JSON.stringify(event);
      separator = ',\n';
      if (piece.length < PIECE) continue;
      await sink.write(piece);
      piece = '';
    }
  await sink.write(`${piece}\n]}\n`);
  file.end();
  await finished(file);
}

/** When each process image began: it goes on where its parent was. */
function startsOf({ processes }: Trace): Map<number, number> {
  const starts = new Map<number, number>();
  for (const { process, parent, parent_tick } of processes)
    starts.set(process, (starts.get(parent) ?? 0) + Number(parent_tick));
  return starts;
}

/** Operations that begin a wait, by those that end it, in words. */
const WAITS: Readonly<Record<string, readonly [begin: string, what: string]>> = {
  mutex_lock: ['mutex_lock_begin', 'wait for mutex'],
  mutex_acquired: ['mutex_acquire_begin', 'wait for mutex'],
  rwlock_lock: ['rwlock_lock_begin', 'wait for rwlock'],
  spin_lock: ['spin_lock_begin', 'wait for spin lock'],
  cond_wait: ['cond_wait_begin', 'wait for condition'],
  sem_wait: ['sem_wait_begin', 'wait for semaphore'],
};
const BEGINS = new Set(Object.values(WAITS).map(([begin]) => begin));

interface Moment {
  readonly tick: number;
  /** How often threads had taken turns. */
  readonly turn: number;
}

/** A system call that has not ended. */
interface Call {
  readonly name: string;
  readonly thread: number;
  readonly tick: number;
  readonly timeNs: bigint;
}

/** The events of one process image. */
class Timeline {
  /** Begun waits, by thread and what they are for. */
  private readonly waits = new Map<string, Moment>();
  /** How often each lock was taken by a thread that has not given it back. */
  private readonly held = new Map<string, number>();
  private readonly calls = new Map<bigint, Call>();
  private running: { readonly thread: number; readonly since: number } | undefined;
  private turn = 0;
  private heapBytes = 0;

  constructor(
    private readonly image: ProcessRow,
    private readonly start: number,
  ) {}

  *events(trace: Trace): Generator<Event> {
    const { image } = this;
    const threads = new Set<number>();
    yield this.named('process_name', PROCESSOR, commandOf(image));
    yield this.named('thread_name', PROCESSOR, 'processor');
    const tables = [slices, sync, syscall_enters, syscall_exits, heap];
    for (const { row, isInImage } of eventRows(trace, image.process, tables)) {
      // What a forked image inherits is its parent's, but for its heap.
      if (!isInImage) {
        if (row.table === heap) this.countHeap(row);
        continue;
      }
      const thread = row.u32('thread');
      if (!threads.has(thread)) {
        threads.add(thread);
        yield this.named('thread_name', thread, `thread ${thread}`);
      }
      if (row.table === slices) yield* this.sliced(row.tick, thread);
      else if (row.table === sync) yield* this.synchronised(row, thread);
      else if (row.table === heap) {
        this.countHeap(row);
        yield this.event('C', 'heap', row.tick, PROCESSOR, { args: { bytes: this.heapBytes } });
      } else yield* this.called(row, thread);
    }
    const end = Number(image.ticks);
    if (this.running) yield this.ran(this.running, end);
    for (const { name, tick, thread } of this.calls.values())
      yield this.event('X', name, tick, thread, { ...span(tick, end), cat: 'syscall' });
  }

  private *sliced(tick: number, thread: number): Generator<Event> {
    const { running } = this;
    if (running?.thread === thread) return;
    this.turn++;
    this.running = { thread, since: tick };
    if (running && running.since < tick) yield this.ran(running, tick);
  }

  private ran({ thread, since }: { thread: number; since: number }, end: number): Event {
    return this.event('X', `thread ${thread}`, since, PROCESSOR, span(since, end));
  }

  private *synchronised(row: EventRow, thread: number): Generator<Event> {
    const op = row.name('op') ?? '';
    const { tick, turn } = { tick: row.tick, turn: this.turn };
    const object = row.u64('object');
    const object2 = row.u64('object2');
    if (BEGINS.has(op)) this.waits.set(`${thread} ${op} ${object}`, { tick, turn });
    const wait = WAITS[op];
    if (wait) {
      const key = `${thread} ${wait[0]} ${object}`;
      const begun = this.waits.get(key);
      this.waits.delete(key);
      // Nobody else had the processor: it was free.
      if (begun && begun.turn !== turn)
        yield this.event('X', `${wait[1]} ${hex(object)}`, begun.tick, thread, {
          ...span(begun.tick, tick),
          cat: 'lock',
        });
    }
    switch (op) {
      case 'mutex_lock':
        if (object2 !== 0n) yield* this.took('mutex', object, tick, thread);
        break;
      case 'rwlock_lock':
        if (row.u64('value') !== 0n) yield* this.took('rwlock', object, tick, thread);
        break;
      case 'mutex_acquired':
      case 'rwlock_acquired':
      case 'spin_lock':
        yield* this.took(op.replace(/_.*/, ''), object, tick, thread);
        break;
      case 'cond_wait':
        yield* this.took('mutex', object2, tick, thread);
        break;
      case 'mutex_unlock':
      case 'rwlock_unlock':
      case 'rwlock_released':
      case 'spin_init_or_unlock':
        yield* this.gave(op.replace(/_.*/, ''), object, tick, thread);
        break;
      case 'cond_wait_begin':
        yield* this.gave('mutex', object2, tick, thread);
    }
  }

  private *took(kind: string, lock: bigint, tick: number, thread: number): Generator<Event> {
    const key = `${thread} ${lock}`;
    const depth = this.held.get(key) ?? 0;
    this.held.set(key, depth + 1);
    if (depth === 0) yield this.holding('b', kind, lock, tick, thread);
  }

  private *gave(kind: string, lock: bigint, tick: number, thread: number): Generator<Event> {
    const key = `${thread} ${lock}`;
    const depth = this.held.get(key) ?? 0;
    if (depth > 1) this.held.set(key, depth - 1);
    else this.held.delete(key);
    if (depth === 1) yield this.holding('e', kind, lock, tick, thread);
  }

  /** Locks that a thread holds need not be given back in order, so each is a track of its own. */
  private holding(
    phase: 'b' | 'e',
    kind: string,
    lock: bigint,
    tick: number,
    thread: number,
  ): Event {
    const id = `${this.image.process} ${thread} ${hex(lock)}`;
    return this.event(phase, `${kind} ${hex(lock)}`, tick, thread, { cat: 'held', id });
  }

  private *called(row: EventRow, thread: number): Generator<Event> {
    const call = row.u64('call');
    const timeNs = row.u64('time_ns');
    if (row.table === syscall_enters) {
      const number = row.u32('number');
      const name = SYSCALL_NAMES[number] || `system call ${number}`;
      this.calls.set(call, { name, thread, tick: row.tick, timeNs });
      return;
    }
    const begun = this.calls.get(call);
    if (!begun) return;
    this.calls.delete(call);
    const args = {
      result: String(row.i64('result')),
      duration_ns: String(timeNs - begun.timeNs),
    };
    yield this.event('X', begun.name, begun.tick, thread, {
      ...span(begun.tick, row.tick),
      cat: 'syscall',
      args,
    });
  }

  private countHeap(row: EventRow): void {
    const size = row.number('size');
    if (isRelease(row.name('op'))) this.heapBytes -= row.u32('known') !== 0 ? size : 0;
    else if (row.u64('address') !== 0n) this.heapBytes += size - row.number('previous_size');
  }

  private named(name: string, thread: number, text: string): Event {
    const { pid } = this.image;
    return { ph: 'M', name, pid, tid: this.track(thread), args: { name: text } };
  }

  private event(ph: string, name: string, tick: number, thread: number, more: Event): Event {
    const { pid } = this.image;
    return { ph, name, pid, tid: this.track(thread), ts: microseconds(this.start + tick), ...more };
  }

  /** Images after an exec have the process id of the one before, but threads of their own. */
  private track(thread: number): number {
    return this.image.process * 100_000 + thread;
  }
}

/** A tick is shown as a nanosecond. */
const microseconds = (tick: number): number => tick / 1000;
const span = (from: number, to: number): Event => ({ dur: microseconds(to - from) });
