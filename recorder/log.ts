/**
 * Follows the engine's log files in the spool: text that the guest prints by client request goes to
 * our stderr as it comes; the rest tells how processes ended and what the engine could not do.
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** A line of the engine itself that the trace should mention. */
export interface EngineMessage {
  readonly pid: number;
  readonly severity: 'info' | 'warning' | 'error';
  readonly what: string;
  readonly text: string;
}

const CHUNK_BYTES = 64 << 10;
/** No more messages are kept per run. */
const MAX_MESSAGES = 1000;

const FAILURE =
  /the 'impossible' happened|Assertion '.*' failed|Valgrind: FATAL|valgrind: fatal|INTERNAL ERROR/;
const WARNING = /warning|unhandled|unrecogni[sz]ed|unsupported|unimplemented|can't|cannot|failed/i;

interface LogFile {
  /** Bytes read. */
  position: number;
  /** The begun line at its end. */
  rest: string;
  /** The last line was the guest's. */
  guestLine: boolean;
}

export class EngineLog {
  /** By inode: before an exec the tool gives the file of the process another name. */
  private readonly files = new Map<number, LogFile>();
  readonly messages: EngineMessage[] = [];
  /** Fatal signals by process id. */
  readonly fatalSignals = new Map<number, number>();

  constructor(
    private readonly folder: string,
    private readonly print: (text: string) => void,
  ) {}

  /** Reads what was added. @param last also takes a line that is not ended */
  poll(last = false): void {
    for (const file of readdirSync(this.folder)) {
      const pid = Number(/^log\.(\d+)(\.\d+)?$/.exec(file)?.[1] ?? NaN);
      if (Number.isNaN(pid)) continue;
      let fd: number;
      try {
        fd = openSync(join(this.folder, file), 'r');
      } catch {
        continue; // it has just got its other name
      }
      const { ino } = fstatSync(fd);
      const state = this.files.get(ino) ?? { position: 0, rest: '', guestLine: false };
      this.files.set(ino, state);
      try {
        const buffer = Buffer.alloc(CHUNK_BYTES);
        let size: number;
        while ((size = readSync(fd, buffer, 0, buffer.length, state.position)) > 0) {
          state.position += size;
          // Bytes as characters, so that a character split between chunks comes out whole.
          const lines = (state.rest + buffer.toString('latin1', 0, size)).split('\n');
          state.rest = lines.pop()!;
          for (const line of lines) this.line(state, pid, line);
        }
      } finally {
        closeSync(fd);
      }
      if (last && state.rest) {
        this.line(state, pid, state.rest);
        state.rest = '';
      }
    }
  }

  /** @param first - the process that the file was made for: those that it forked write there, too */
  private line(state: { guestLine: boolean }, first: number, line: string): void {
    const own = /^(==|--)(\d+)\1 ?(.*)$/.exec(line);
    const pid = own ? Number(own[2]) : first;
    const isBacktrace = own !== null && state.guestLine && /^ *(at|by) 0x/.test(own[3]!);
    state.guestLine = isBacktrace || /^\*\*\d+\*\*/.test(line);
    if (state.guestLine) {
      this.print(Buffer.from(line, 'latin1').toString() + '\n');
      return;
    }
    const text = (own?.[3] ?? line).trim();
    const fatal = /terminating with default action of signal (\d+)/.exec(text);
    if (fatal) {
      this.fatalSignals.set(pid, Number(fatal[1]));
      this.add({ pid, severity: 'info', what: 'fatal_signal', text });
    } else if (FAILURE.test(text)) {
      this.add({ pid, severity: 'error', what: 'engine_failure', text });
    } else if (WARNING.test(text)) {
      this.add({ pid, severity: 'warning', what: 'engine_warning', text });
    }
  }

  private add(message: EngineMessage): void {
    if (this.messages.length < MAX_MESSAGES) this.messages.push(message);
  }
}
