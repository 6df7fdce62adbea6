/**
 * Descriptors as generations: a generation is a number from when the kernel gives it until it is closed; the same number
 * is another one afterwards. Each process has a table of them, which a fork copies and an exec filters; generations that
 * were duplicated share an open file description (open(2)).
 *
 * What a call needs of a descriptor is declared in schemas/descriptor-calls.ts; whether it was a mistake, the kernel's answer
 * says, so nothing is reported that had no effect. Valgrind's --track-fds (manual, 2.6.3) has leaks, double closes and bad
 * numbers; the rest is ours.
 */
import {
  DESCRIPTOR_CALLS,
  GIVING_IOCTLS,
  type DescriptorUse,
  type ObjectKind,
} from '../../schemas/descriptor-calls.js';
import { IOCTL_OBJECTS, type Ioctl } from '../../schemas/ioctls.js';
import type { Row, Table } from '../../schemas/schema.js';
import { ERRNO_NAMES, SYSCALL_NAMES, syscallNumber as sys } from '../../schemas/syscalls.js';
import { descriptor_events, syscall_enters, syscall_exits } from '../../schemas/tables.js';
import { descriptors } from '../../schemas/views.js';
import type { EventRow } from '../../replay/types.js';
import type { AnalysisOption } from '../analysis.js';
import type { AnalysisRows, FindingStack } from '../finding.js';
import { growthLimit, growths } from './growth.js';
import { kindOf, obstacle, withArticle } from './objects.js';
import { argumentsOf, momentOf, type CapContext, type CapPart, type Moment } from './part.js';

export const DESCRIPTOR_OPTIONS = {
  'track-fds': {
    describe:
      'Report descriptors that are open at the end: those that the process opened itself (yes), inherited and standard ones, too (all)',
    default: 'yes',
    values: ['no', 'yes', 'all'],
  },
  'fd-bad': {
    describe: 'Report uses of numbers that are no descriptors; all: also where -1 is closed',
    default: 'yes',
    values: ['no', 'yes', 'all'],
  },
  'fd-growth': {
    describe: 'Report places that go on opening descriptors when so many of one are open, or no',
    default: '16',
  },
  'fd-exec': {
    describe:
      'Report descriptors without close-on-exec that a program got and neither used nor closed (yes), or all that it got',
    default: 'yes',
    values: ['no', 'yes', 'all'],
  },
  'fd-reuse': {
    describe:
      'Find uses of a closed descriptor whose number was given out again, which takes a replay; auto: unless the execution is long',
    default: 'auto',
    values: ['auto', 'yes', 'no'],
  },
  'fd-overmap': {
    describe:
      'Report dup2 and dup3 onto a live descriptor: if what it was of is lost thereby (yes), always (all), or no',
    default: 'yes',
    values: ['no', 'yes', 'all'],
  },
  'fd-protocol': {
    describe:
      'Report operations that an object does not have; all: also those by which programs find out what it is',
    default: 'yes',
    values: ['no', 'yes', 'all'],
  },
} as const satisfies Record<string, AnalysisOption>;

/** What several descriptors may share: where a file is read, how it was opened. */
interface Description {
  readonly number: number;
  kind: ObjectKind;
  name: string;
  /** As F_GETFL gives them; undefined when not known. */
  flags: number | undefined;
  /** Live descriptors of the process. */
  references: number;
  isShutDown: boolean;
  /** Of an epoll instance: the descriptors that it watches, by the generation that was given. */
  readonly watched: Set<Generation>;
}

type Origin = Row<typeof descriptors>['origin'];
type End = Row<typeof descriptors>['end'];

interface Generation {
  readonly id: number;
  readonly descriptor: number;
  readonly description: Description;
  origin: Origin;
  readonly opened: Moment;
  closesOnExec: boolean;
  closed: Moment | undefined;
  end: End;
  uses: number;
  /** Generations of the same number whose values stand for this one, too: the program itself put it in their place. */
  readonly standsFor: Set<Generation>;
  /** Epoll instances that watch it. */
  readonly watchers: Set<Description>;
}

/** A system call under way. */
interface Call {
  readonly number: number;
  readonly arguments: readonly bigint[];
  readonly at: Moment;
  readonly uses: readonly Used[];
  /** What poll or select wait for. */
  waits: readonly Generation[];
}

interface Used {
  readonly use: DescriptorUse;
  readonly descriptor: number;
  /** What the number was when the call began. */
  readonly generation: Generation | undefined;
  /** What the number was when the program got the value that it gives. */
  readonly source: Generation | undefined;
}

const SYS = {
  close: sys('close'),
  closeRange: sys('close_range'),
  execs: new Set([sys('execve'), sys('execveat')]),
  dup2: sys('dup2'),
  dup3: sys('dup3'),
  epollCtl: sys('epoll_ctl'),
  fcntl: sys('fcntl'),
  fstat: sys('fstat'),
  ioctl: sys('ioctl'),
  lseek: sys('lseek'),
  mmap: sys('mmap'),
  receive: new Set([sys('recvmsg'), sys('recvmmsg')]),
  shutdown: sys('shutdown'),
  duplicates: new Set([sys('dup'), sys('dup2'), sys('dup3')]),
  signalfds: new Set([sys('signalfd'), sys('signalfd4')]),
} as const;
/** Which argument of a call that gives two descriptors says where to. */
const PAIRS: ReadonlyMap<number, number> = new Map([
  [sys('pipe'), 0],
  [sys('pipe2'), 0],
  [sys('socketpair'), 3],
]);
const [F_DUPFD, F_GETFD, F_SETFD, F_SETFL, F_DUPFD_CLOEXEC] = [0, 1, 2, 4, 1030];
const [EPOLL_CTL_ADD, EPOLL_CTL_DEL] = [1, 2];
const CLOSE_RANGE_CLOEXEC = 4;
const MAP_ANONYMOUS = 0x20n;
const SEEK_SET = 0;
const O_CLOEXEC = 0o2000000;
const AT_FDCWD = -100;
const EBADF = 9;
const FIRST_OWN = 3;
/** Families of ioctl requests that terminals take. */
const TERMINAL: ReadonlySet<string> = new Set(['tty', 'console']);
const GIVING = new Set(Object.values(GIVING_IOCTLS));
/** Errors that an object of the wrong kind gives. */
const WRONG_KIND = new Set(
  [...ERRNO_NAMES].flatMap(([number, name]) =>
    /^(EBADF|EINVAL|ENOTTY|ESPIPE|ENOTDIR|ENOTSOCK|EOPNOTSUPP|EACCES|EPERM|ENXIO|ENODEV)$/.test(
      name,
    )
      ? [number]
      : [],
  ),
);

export class Descriptors implements CapPart {
  readonly tables: readonly Table[] = [syscall_enters, syscall_exits, descriptor_events];
  private readonly open = new Map<number, Generation>();
  /** The generation of each number that ended last. */
  private readonly ended = new Map<number, Generation>();
  private readonly all: Generation[] = [];
  private readonly byId = new Map<number, Generation>();
  /** Of dup2, dup3 and F_DUPFD under way, by thread: what the value of the number asked for came from. */
  private readonly targets = new Map<number, Generation | undefined>();
  private readonly calls = new Map<number, Call>();
  /** The last call of each thread, once it has ended: rows on the descriptors that it gave come then. */
  private readonly done = new Map<number, Call>();
  /** Of each thread a complaint about a bad number that may be one of many in a row. */
  private readonly doubted = new Map<
    number,
    { readonly call: Call; readonly report: () => void }
  >();
  private readonly growth: number;
  private descriptions = 0;
  private wasInImage = false;
  private knowsKinds = false;
  rows: readonly AnalysisRows[] = [];
  summary: CapPart['summary'] & object = {};
  missing: readonly string[] = [];

  constructor(private readonly context: CapContext) {
    this.growth = growthLimit(context.options, 'fd-growth');
  }

  applied(row: EventRow): void {
    if (!this.wasInImage && this.context.isInImage()) this.enterImage();
    switch (row.table) {
      case syscall_enters:
        return this.begins(row);
      case syscall_exits:
        return this.ends(row);
      case descriptor_events:
        return this.told(row);
    }
  }

  finish(tick: number): void {
    this.enterImage();
    for (const thread of [...this.doubted.keys()]) this.settle(thread);
    const { image } = this.context;
    const at = { thread: 1, tick, stack: 0 };
    if (image.end === 'exec') {
      const exec = [...this.calls.values()].find(({ number }) => SYS.execs.has(number))?.at ?? at;
      for (const generation of [...this.open.values()])
        this.close(generation, exec, generation.closesOnExec ? 'closed_on_exec' : 'passed_on');
      this.findExecLeaks(exec);
    } else {
      for (const generation of this.open.values()) this.leaked(generation);
    }
    this.findGrowth(tick);
    this.rows = [{ table: descriptors, rows: this.all.map((one) => this.rowOf(one)) }];
    const own = this.all.filter(({ origin }) => origin !== 'inherited' && origin !== 'forked');
    this.summary = {
      descriptors_opened: own.length,
      descriptors_left_open: own.filter(({ end }) => end === 'open').length,
    };
    if (!this.knowsKinds)
      this.missing = ['The trace does not tell what descriptors are of: record the program again.'];
  }

  // ---------------------------------------------------------------- system calls

  private begins(row: EventRow): void {
    const number = row.u32('number');
    const at = momentOf(row);
    const { uses = [] } = DESCRIPTOR_CALLS.get(number) ?? {};
    const call: Call = {
      number,
      arguments: argumentsOf(row),
      at,
      uses: [],
      waits: [],
    };
    const used = uses.flatMap((use): Used[] => {
      const descriptor = int(call.arguments[use.argument]!);
      if (use.need === 'at' && descriptor === AT_FDCWD) return [];
      if (number === SYS.mmap && call.arguments[3]! & MAP_ANONYMOUS) return [];
      const source = this.sourceOf(at.thread, use.argument);
      return [{ use, descriptor, generation: this.open.get(descriptor), source }];
    });
    if (number === SYS.dup2 || number === SYS.dup3 || number === SYS.fcntl)
      this.targets.set(at.thread, this.sourceOf(at.thread, number === SYS.fcntl ? 2 : 1));
    this.settle(at.thread, call);
    this.calls.set(at.thread, { ...call, uses: used });
  }

  /** The descriptor that an argument's value came from, where that is known. */
  private sourceOf(thread: number, argument: number): Generation | undefined {
    const id = this.context.origins?.argument(thread, argument);
    return id === undefined ? undefined : this.byId.get(id);
  }

  private ends(row: EventRow): void {
    const thread = row.u32('thread');
    const call = this.calls.get(thread);
    if (!call) return;
    this.calls.delete(thread);
    this.done.set(thread, call);
    const result = row.i64('result');
    this.checkSources(call);
    if (row.u32('failed') !== 0) return this.failed(call, -Number(result));
    for (const { generation } of call.uses) if (generation) generation.uses++;
    this.succeeded(call, Number(result));
  }

  private succeeded(call: Call, result: number): void {
    const { number, at } = call;
    const [first, second, third] = call.arguments.map(int) as [number, number, number];
    const [used] = call.uses;
    switch (number) {
      case SYS.close:
        if (used?.generation) this.closed(used.generation, at);
        return;
      case SYS.closeRange:
        return this.closedRange(at, call);
      case SYS.fcntl:
        return this.controlled(call, second, third, result);
      case SYS.shutdown:
        if (used?.generation) used.generation.description.isShutDown = true;
        return;
      case SYS.epollCtl:
        return this.watch(call, second);
      case SYS.ioctl:
        if (GIVING.has(Number(BigInt.asUintN(32, call.arguments[1]!))))
          this.gave(this.create(result, at));
        return;
    }
    if (SYS.duplicates.has(number)) {
      if (number === SYS.dup2 && first === second) return;
      const cloexec = number === SYS.dup3 && (third & O_CLOEXEC) !== 0;
      return this.duplicated(used?.generation, result, at, cloexec);
    }
    if (SYS.signalfds.has(number) && this.open.has(first)) return; // only its mask is another one
    const gives = DESCRIPTOR_CALLS.get(number)?.gives;
    if (gives) this.gave(this.create(result, at, gives));
  }

  private controlled(call: Call, command: number, argument: number, result: number): void {
    const generation = call.uses[0]?.generation;
    if (!generation) return;
    if (command === F_SETFD) generation.closesOnExec = (argument & 1) !== 0;
    else if (command === F_SETFL) {
      const { description } = generation;
      if (description.flags !== undefined)
        description.flags = (description.flags & 3) | (argument & ~3);
    } else if (command === F_DUPFD || command === F_DUPFD_CLOEXEC)
      this.duplicated(generation, result, call.at, command === F_DUPFD_CLOEXEC);
  }

  private watch(call: Call, operation: number): void {
    const [instance, target] = call.uses;
    if (!instance?.generation || !target?.generation) return;
    const { description } = instance.generation;
    if (operation === EPOLL_CTL_ADD) {
      description.watched.add(target.generation);
      target.generation.watchers.add(description);
    } else if (operation === EPOLL_CTL_DEL) {
      description.watched.delete(target.generation);
      target.generation.watchers.delete(description);
    }
  }

  private closedRange(at: Moment, call: Call): void {
    const [low, high] = call.arguments.map((value) => Number(BigInt.asUintN(32, value)));
    const flags = int(call.arguments[2]!);
    for (const generation of [...this.open.values()]) {
      if (generation.descriptor < low! || generation.descriptor > high!) continue;
      if (flags & CLOSE_RANGE_CLOEXEC) generation.closesOnExec = true;
      else this.closed(generation, at);
    }
  }

  /** A row about a descriptor that was there, was given, or came with a message; or about what a call waits for. */
  private told(row: EventRow): void {
    const op = row.name('op');
    const thread = row.u32('thread');
    if (op === 'waited') {
      const call = this.calls.get(thread);
      if (call) this.calls.set(thread, { ...call, waits: this.generationsIn(row.bytes('set')) });
      return;
    }
    this.knowsKinds = true;
    const descriptor = row.u32('descriptor') | 0;
    const name = new TextDecoder().decode(row.bytes('name'));
    const [mode, flags] = [row.u32('mode'), row.u32('flags')];
    const call = this.done.get(thread);
    if (op === 'sent') {
      const generation = this.open.get(descriptor);
      if (generation) generation.uses++;
      return;
    }
    let generation = this.open.get(descriptor);
    if (op === 'startup') {
      generation = this.create(descriptor, { thread, tick: row.tick, stack: 0 }, 'unknown');
      generation.origin = 'inherited';
    } else if (!generation || (generation.opened !== call?.at && call)) {
      // The call wrote the number to memory.
      generation = this.create(descriptor, call?.at ?? { thread, tick: row.tick, stack: 0 });
      if (op === 'received') generation.origin = 'received';
      else if (call) this.wrote(call, generation);
    }
    const { description } = generation;
    description.kind = kindOf(description.kind, name, mode);
    description.name = name;
    description.flags = flags;
    generation.closesOnExec = (flags & O_CLOEXEC) !== 0;
  }

  /** A call that gives two descriptors wrote them side by side. */
  private wrote(call: Call, generation: Generation): void {
    const argument = PAIRS.get(call.number);
    if (argument === undefined) return;
    const isSecond = this.all.at(-2)?.opened === call.at;
    this.context.origins?.wrote(call.arguments[argument]! + (isSecond ? 4n : 0n), generation.id);
  }

  private generationsIn(set: Uint8Array): Generation[] {
    const view = new DataView(set.buffer, set.byteOffset, set.byteLength);
    const numbers = Array.from({ length: set.length / 4 }, (_, i) => view.getInt32(4 * i, true));
    return numbers.flatMap((number) => this.open.get(number) ?? []);
  }

  // ---------------------------------------------------------------- lives

  private create(descriptor: number, at: Moment, kind: ObjectKind = 'unknown'): Generation {
    const description: Description = {
      number: this.descriptions++,
      ...{ kind, name: '', flags: undefined, references: 0, isShutDown: false },
      watched: new Set(),
    };
    return this.begin(descriptor, description, at, 'opened');
  }

  private begin(descriptor: number, description: Description, at: Moment, origin: Origin) {
    const before = this.open.get(descriptor);
    if (before) this.close(before, at, 'unknown'); // how it ended was not recorded
    const generation: Generation = {
      ...{ id: this.byId.size + 1, descriptor, description, origin, opened: at, uses: 0 },
      ...{ closesOnExec: false, closed: undefined, end: 'open', watchers: new Set<Description>() },
      standsFor: new Set(),
    };
    description.references++;
    this.open.set(descriptor, generation);
    this.all.push(generation);
    this.byId.set(generation.id, generation);
    return generation;
  }

  private close(generation: Generation, at: Moment, end: End): void {
    generation.closed = at;
    generation.end = end;
    generation.description.references--;
    this.open.delete(generation.descriptor);
    this.ended.set(generation.descriptor, generation);
  }

  /** The program closed a descriptor. */
  private closed(generation: Generation, at: Moment): void {
    this.close(generation, at, 'closed');
    this.checkWaiters(generation, at);
  }

  private duplicated(
    from: Generation | undefined,
    descriptor: number,
    at: Moment,
    closesOnExec: boolean,
  ): void {
    const replaced = this.open.get(descriptor);
    if (replaced) {
      this.close(replaced, at, 'replaced');
      this.overmapped(replaced, at);
    }
    const generation = from
      ? this.begin(descriptor, from.description, at, 'duplicated')
      : this.create(descriptor, at);
    generation.closesOnExec = closesOnExec;
    const target = this.targets.get(at.thread);
    this.targets.delete(at.thread);
    for (const before of [replaced, target])
      if (before?.descriptor === descriptor)
        for (const one of [before, ...before.standsFor]) generation.standsFor.add(one);
    this.gave(generation);
  }

  /** It is the result of the call that opened it. */
  private gave({ id, opened }: Generation): void {
    this.context.origins?.gave(opened.thread, id);
  }

  /** The first event of a forked image: its own copies of what its parent had, and only the thread that forked. */
  private enterImage(): void {
    if (this.wasInImage || !this.context.isInImage()) return;
    this.wasInImage = true;
    if (this.context.image.how !== 'fork') return;
    this.calls.clear();
    this.done.clear();
    this.doubted.clear();
    this.ended.clear();
    this.all.length = 0;
    for (const generation of this.open.values()) {
      generation.origin = generation.origin === 'inherited' ? 'inherited' : 'forked';
      generation.uses = 0;
      this.all.push(generation);
    }
  }

  private rowOf(one: Generation): Omit<Row<typeof descriptors>, 'analysis'> {
    const { description, opened, closed } = one;
    const isForked = one.origin === 'forked';
    return {
      ...{ process: this.context.process, generation: one.id, descriptor: one.descriptor },
      ...{ description: description.number, kind: description.kind, name: description.name },
      ...{
        flags: description.flags ?? 0,
        origin: one.origin,
        end: one.end,
        uses: BigInt(one.uses),
      },
      ...{ opened_tick: isForked ? 0n : BigInt(opened.tick), opened_stack: opened.stack },
      ...{ opened_thread: opened.thread, closed_thread: closed?.thread ?? 0 },
      ...{ closed_tick: BigInt(closed?.tick ?? 0), closed_stack: closed?.stack ?? 0 },
    };
  }

  // ---------------------------------------------------------------- mistakes

  private failed(call: Call, error: number): void {
    const bad = error === EBADF ? call.uses.find(({ generation }) => !generation) : undefined;
    if (bad) return this.badNumber(call, bad);
    // It is closed whatever else went wrong (close(2)).
    if (call.number === SYS.close && call.uses[0]?.generation)
      return this.closed(call.uses[0].generation, call.at);
    if (WRONG_KIND.has(error)) this.checkProtocol(call, error);
  }

  /** A value that the program got as another descriptor, which is closed, while its number is one again. */
  private checkSources(call: Call): void {
    for (const { use, descriptor, generation, source } of call.uses) {
      if (!generation || !source || source === generation || source.descriptor !== descriptor)
        continue;
      if (source.end === 'open' || generation.standsFor.has(source)) continue;
      if (call.number === SYS.fcntl && int(call.arguments[1]!) === F_GETFD) continue;
      const name = SYSCALL_NAMES[call.number]!;
      const isClose = use.need === 'close';
      this.context.found({
        kind: isClose ? 'FdDoubleClose' : 'FdUseAfterReuse',
        what: isClose
          ? 'Descriptor is closed that was closed already; its number is another one by now'
          : `Descriptor is used by ${name} after it was closed; its number is another one by now`,
        at: call.at,
        notes: [
          `Descriptor ${descriptor}, which was ${this.describe(source)}, is ${this.describe(generation)}`,
        ],
        more: [
          ...this.life(source),
          this.context.stack('The one with its number was opened at', generation.opened),
        ],
        parameter: `${name}(fd)`,
      });
    }
  }

  private badNumber(call: Call, { use, descriptor, source }: Used): void {
    const { number, at } = call;
    const name = SYSCALL_NAMES[number]!;
    const before = source?.descriptor === descriptor ? source : this.ended.get(descriptor);
    const asks =
      (number === SYS.fcntl && int(call.arguments[1]!) === F_GETFD) ||
      // Whether the standard ones are there.
      (!before && descriptor < FIRST_OWN && (number === SYS.fcntl || number === SYS.fstat));
    const wanted = this.context.options['fd-bad'];
    const isNothing = number === SYS.close && descriptor === -1;
    if (asks || (!before && (wanted === 'no' || (isNothing && wanted !== 'all')))) return;
    const parameter = `${name}(fd)`;
    const notes = [`Descriptor ${descriptor}`];
    const more = before ? this.life(before) : [];
    const isClose = use.need === 'close';
    const [kind, what] = before
      ? isClose
        ? (['FdDoubleClose', 'Descriptor is closed that was closed already'] as const)
        : (['FdUseAfterClose', `Descriptor is used by ${name} after it was closed`] as const)
      : (['FdBad', `Number that is no descriptor is used by ${name}`] as const);
    if (before) notes[0] += `, which was ${this.describe(before)}`;
    const report = () => this.context.found({ kind, what, at, notes, more, parameter });
    // Numbers that are counted through come from no descriptor.
    if (source?.descriptor === descriptor) report();
    else this.doubted.set(at.thread, { call, report });
  }

  /**
   * Programs that close all numbers one after another, or set flags of all, do not know which are open: that is no mistake,
   * and it shows by the next call of the thread, or the one before.
   */
  private settle(thread: number, next?: Call): void {
    const doubt = this.doubted.get(thread);
    if (next && next.at.stack !== this.sweeps.get(thread) && !doubt) this.sweeps.delete(thread);
    if (!doubt) return;
    this.doubted.delete(thread);
    const follows = (a: Call | undefined, b: Call | undefined) =>
      a !== undefined &&
      b !== undefined &&
      a.number === b.number &&
      a.at.stack === b.at.stack &&
      Math.abs(int(a.arguments[0]!) - int(b.arguments[0]!)) === 1;
    const isSweep = follows(doubt.call, next) || this.sweeps.get(thread) === doubt.call.at.stack;
    if (follows(doubt.call, next)) this.sweeps.set(thread, doubt.call.at.stack);
    else this.sweeps.delete(thread);
    if (!isSweep) doubt.report();
  }

  /** The stack of a row of closes that a thread is in. */
  private readonly sweeps = new Map<number, number>();

  private checkProtocol(call: Call, error: number): void {
    const wanted = this.context.options['fd-protocol'];
    if (wanted === 'no') return;
    const { number, at } = call;
    for (const { use, generation } of call.uses) {
      if (!generation) continue;
      const request = number === SYS.ioctl ? this.requestOf(call) : undefined;
      const against = isOfAnother(request, generation.description)
        ? withArticle(generation.description.kind)
        : obstacle(use.need, generation.description);
      if (against === undefined) continue;
      if (wanted !== 'all' && (use.isProbe || isProbe(call, request))) continue;
      const name = SYSCALL_NAMES[number]!;
      const what = `Operation ${name}${request ? ` ${request.name}` : ''} on ${against}`;
      const notes = [
        `Descriptor ${generation.descriptor} is ${this.describe(generation)}; the call failed with ${ERRNO_NAMES.get(error) ?? error}`,
      ];
      const more = [this.openedAt(generation)];
      this.context.found({ kind: 'FdProtocol', what, at, notes, more, parameter: `${name}(fd)` });
      return;
    }
  }

  private requestOf(call: Call): Ioctl | undefined {
    return this.context.ioctls.get(Number(BigInt.asUintN(32, call.arguments[1]!)));
  }

  /** A descriptor was closed, while others wait for what it was of. */
  private checkWaiters(generation: Generation, at: Moment): void {
    const { description } = generation;
    for (const watcher of generation.watchers) {
      watcher.watched.delete(generation);
      if (watcher.references === 0 || description.references === 0) continue;
      // The kernel forgets it only with the last descriptor (epoll(7)).
      this.context.found({
        kind: 'FdCloseInUse',
        what: 'Descriptor is closed that epoll goes on watching, as what it is of stays open',
        at,
        notes: [`Descriptor ${generation.descriptor} is ${this.describe(generation)}`],
        more: [this.openedAt(generation)],
      });
    }
    if (description.isShutDown) return;
    for (const [thread, call] of this.calls) {
      if (thread === at.thread) continue;
      const isWaited =
        call.waits.includes(generation) || call.uses.some((used) => used.generation === generation);
      if (!isWaited) continue;
      const name = SYSCALL_NAMES[call.number]!;
      this.context.found({
        kind: 'FdCloseInUse',
        what: `Descriptor is closed that another thread waits for in ${name}`,
        at,
        notes: [`Descriptor ${generation.descriptor} is ${this.describe(generation)}`],
        more: [
          this.context.stack(`Thread #${thread} waits for it`, call.at),
          this.openedAt(generation),
        ],
      });
    }
  }

  private overmapped(replaced: Generation, at: Moment): void {
    const wanted = this.context.options['fd-overmap'];
    if (wanted === 'no') return;
    if (wanted !== 'all') {
      const isKept = replaced.description.references > 0;
      if (isKept || replaced.descriptor < FIRST_OWN || !isOwn(replaced)) return;
      // A number that the program gave out itself by dup2 is a place of its own.
      if (replaced.origin === 'duplicated') return;
    }
    this.context.found({
      kind: 'FdOvermap',
      what: 'Live descriptor is replaced by another one',
      at,
      notes: [`Descriptor ${replaced.descriptor} was ${this.describe(replaced)}`],
      more: [this.openedAt(replaced)],
    });
  }

  private leaked(generation: Generation): void {
    const wanted = this.context.options['track-fds'];
    if (wanted === 'no') return;
    const own = isOwn(generation);
    if (wanted !== 'all' && (!own || generation.descriptor < FIRST_OWN)) return;
    const what = own
      ? 'Descriptor is left open'
      : `Inherited descriptor ${generation.descriptor} is left open`;
    const notes = [`Descriptor ${generation.descriptor} is ${this.describe(generation)}`];
    this.context.found({ kind: 'FdLeak', what, at: generation.opened, notes });
  }

  /** What the program that an exec began got, and neither used nor closed. */
  private findExecLeaks(at: Moment): void {
    const wanted = this.context.options['fd-exec'];
    if (wanted === 'no') return;
    const passed = this.all.filter(
      ({ end, descriptor, origin }) =>
        end === 'passed_on' && descriptor >= FIRST_OWN && origin !== 'inherited',
    );
    if (passed.length === 0) return;
    const used = this.context.usedBySuccessor();
    if (!used) return;
    for (const generation of passed) {
      const isUsed =
        used.numbers.has(generation.descriptor) || used.names.has(generation.description.name);
      if (isUsed && wanted !== 'all') continue;
      this.context.found({
        kind: 'FdExecLeak',
        what: isUsed
          ? 'Descriptor is passed on to a program'
          : 'Descriptor is passed on to a program that neither uses nor closes it',
        at,
        notes: [`Descriptor ${generation.descriptor} is ${this.describe(generation)}`],
        more: [this.openedAt(generation)],
      });
    }
  }

  private findGrowth(tick: number): void {
    const found = growths(
      this.all.filter(isOwn),
      ({ opened }) => this.context.siteOf(opened.stack),
      ({ opened, closed }) => ({ from: opened.tick, to: closed?.tick ?? Infinity }),
      tick,
      this.growth,
    );
    for (const { last, counts } of found) {
      this.context.found({
        kind: 'FdGrowth',
        what: 'More and more descriptors that are opened here are open',
        at: last.opened,
        notes: [
          `Open after each eighth of the time since the first: ${counts.join(', ')}`,
          `The last is ${this.describe(last)}`,
        ],
      });
    }
  }

  // ---------------------------------------------------------------- words

  private describe({ description: { kind, name } }: Generation): string {
    return name === '' ? withArticle(kind) : `${withArticle(kind)}, ${name}`;
  }

  private openedAt(generation: Generation): FindingStack {
    const roles: Readonly<Record<Origin, string>> = {
      opened: 'It was opened at',
      duplicated: 'It was made by duplication at',
      received: 'It was received at',
      inherited: 'It was inherited',
      forked: 'It was opened, before the fork, at',
    };
    return this.context.stack(roles[generation.origin], generation.opened);
  }

  private life(generation: Generation): FindingStack[] {
    const role = generation.end === 'replaced' ? 'It was replaced at' : 'It was closed at';
    return [this.context.stack(role, generation.closed!), this.openedAt(generation)];
  }
}

/** The process image opened it, not one that it comes from. */
const isOwn = ({ origin }: Generation): boolean => origin !== 'inherited' && origin !== 'forked';

const int = (value: bigint): number => Number(BigInt.asIntN(32, value));

/** A request of ioctl is for other objects. */
function isOfAnother(request: Ioctl | undefined, { name }: Description): boolean {
  const objects = request && IOCTL_OBJECTS[request.family];
  return objects !== undefined && name !== '' && !objects.test(name);
}

/** The call is one by which programs find out whether an object has positions, or is a terminal. */
const isProbe = ({ number, arguments: given }: Call, request: Ioctl | undefined): boolean =>
  (number === SYS.lseek && int(given[2]!) !== SEEK_SET) ||
  (request !== undefined && TERMINAL.has(request.family));
