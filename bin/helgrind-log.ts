/** Findings of the race analysis in the order and the words in which Helgrind prints them. */
import {
  stackLines,
  type Layout,
  type NamedStack,
  type ReportedFinding,
} from '../analyses/report.js';
import { recordedStacks } from '../replay/lineage.js';
import { Symbols } from '../replay/symbols.js';
import type { Trace } from '../replay/trace.js';
import { thread_events } from '../schemas/tables.js';

/** Addresses of the call stack of a thread's creation that are shown. */
const CALLERS = 12;
const ANNOUNCEMENT = '---Thread-Announcement------------------------------------------';
const SEPARATOR = '----------------------------------------------------------------';

/** Roles of stacks that Helgrind tells of elsewhere: it announces threads once, and locks in other words. */
const CREATION = /^Thread #\d+ was created/;
const LOCK = /^Lock at (0x[0-9a-f]+)\b.* was first (?:observed|taken at)$/i;

/** For the log of one process image. */
export function helgrindLayout(trace: Trace, process: number): Layout {
  const announced = new Set<number>();
  const stacks = recordedStacks(trace, process);
  const symbols = new Symbols(trace, process);
  const announcement = function* (thread: number): Generator<string> {
    if (announced.has(thread)) return;
    announced.add(thread);
    yield* [ANNOUNCEMENT, ''];
    const creation = [...trace.rows(thread_events, process)].find(
      ({ op, other }) => op === 'create' && other === thread,
    );
    if (creation) {
      const frames = symbols.stack(stacks.get(creation.stack) ?? [], CALLERS);
      yield* block(`Thread #${thread} was created`, { frames });
    } else yield `Thread #${thread} is the program's root thread`;
    yield '';
  };
  return {
    threads: false,
    gap: [''],
    summary: false,
    *finding(entry) {
      const lines = [...body(entry, symbols)];
      for (const line of lines)
        for (const [, thread] of line.matchAll(/\bthread #(\d+)/gi))
          yield* announcement(Number(thread));
      yield* [SEPARATOR, '', ...lines];
    },
  };
}

function* body({ finding, stacks }: ReportedFinding, symbols: Symbols): Generator<string> {
  const [where, ...all] = stacks.filter(({ role }) => !CREATION.test(role));
  const isLock = ({ role }: NamedStack): boolean => LOCK.test(role);
  const locks = all.filter(isLock).flatMap((stack) => [...lockLines(stack, symbols)]);
  const others = all.filter((stack) => !isLock(stack));
  const { kind, what, notes } = finding;
  if (kind === 'Race') {
    const [conflict, ...more] = others;
    const [held, ...further] = notes;
    yield* locks;
    yield* block(`${what}\n${locksHeld(held)}`, where);
    yield '';
    const sentence = conflict?.role.replace(/, locks held: .*$/, '');
    yield* block(`${sentence}\n${locksHeld(conflict?.role)}`, conflict);
    yield* further.map((note) => ` ${note}`);
    for (const stack of more) yield* block(` ${stack.role}`, stack);
  } else if (kind === 'LockOrder') {
    const [held, ...required] = others;
    const lock = (role?: string): string => /lock at (\S+)/.exec(role ?? '')?.[1] ?? '???';
    yield* [what, ''];
    yield* block(`Observed (incorrect) order is: acquisition of lock at ${lock(held?.role)}`, held);
    yield '';
    // Which lock that was, the required order says first.
    yield* block(` followed by a later acquisition of lock at ${lock(required[0]?.role)}`, where);
    for (const stack of required) {
      yield '';
      yield* block(
        stack.role.replace(/^followed/, ' followed').replace(/ by thread .*/, ''),
        stack,
      );
    }
    yield '';
    yield* locks;
    yield* notes.map((note) => ` ${note}`);
  } else {
    // The error of a function stands in a line of its own.
    yield* block(what.replace(/ (with error code .*)$/, '\n   $1'), where);
    yield* notes.map((note) => ` ${note}`);
    for (const stack of others) yield* block(` ${stack.role}`, stack);
    yield* locks;
  }
}

function* block(sentences: string, stack?: Pick<NamedStack, 'frames'>): Generator<string> {
  yield* sentences.split('\n');
  if (stack) yield* stackLines(stack);
}

/** As Helgrind announces a lock. */
function* lockLines(stack: NamedStack, symbols: Symbols): Generator<string> {
  const [, address = ''] = LOCK.exec(stack.role)!;
  yield* block(` Lock at ${address} was first observed`, stack);
  const variable = symbols.variable(BigInt(address));
  if (variable)
    yield ` Address ${address.toLowerCase()} is ${variable.offset} bytes inside data symbol "${variable.name}"`;
  yield '';
}

/** From a sentence that ends in a colon and addresses. */
function locksHeld(sentence = ''): string {
  const addresses = (/: (0x.*)$/.exec(sentence)?.[1] ?? '').split(', ').filter(Boolean);
  if (addresses.length === 0) return 'Locks held: none';
  return `Locks held: ${addresses.length}, at address${addresses.length > 1 ? 'es' : ''} ${addresses.join(' ')}`;
}
