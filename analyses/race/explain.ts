/**
 * What is said of races: where both accesses were, with their call stacks, which locks were held there,
 * where the threads were created, and what the memory is. The detector knows when accesses happened; the
 * execution is replayed once more, up to the last of them, to look at those moments.
 */
import { recordedStacks } from '../../replay/lineage.js';
import type { StackMove } from '../../replay/shadow-guest.js';
import type { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import { hex } from '../../schemas/numbers.js';
import { slices, sync, thread_events } from '../../schemas/tables.js';
import type { Finding, FindingStack, Pc } from '../finding.js';
import { visit } from '../moments.js';
import type { Description } from '../memcheck/describe.js';
import { MemcheckEvents } from '../memcheck/events.js';
import { memcheckSettings } from '../memcheck/options.js';
import { lookAgain } from '../memcheck/second-look.js';
import type { Race, RacyAccess } from './detector.js';
import { isInRuntime, isReplacement } from './site-kinds.js';
import { witnessOf, witnessText, type Slice } from './witness.js';

/** Functions of libstdc++ that fill a table of characters; `narrow` is a part of its caller there, too. */
const FILLS_TABLE =
  /^std::(?:ctype<char>::(?:_M_(?:widen|narrow)_init|narrow)|basic_ios<char, std::char_traits<char> >::narrow)\(/;

/** A lock that a thread holds. */
interface HeldLock {
  readonly address: bigint;
  /** Call stack at which it was first taken by anybody: key of `stacks`. */
  readonly firstStack: number;
  depth: number;
}

/** What is known of the moment of an access. */
interface Moment {
  readonly thread: number;
  pcs: readonly Pc[];
  locks: readonly HeldLock[];
  description: Description;
}

const NOTHING: Description = { notes: [], stacks: [] };

/** Findings for races, in the order of their second access. */
export function explainRaces(
  trace: Trace,
  process: number,
  races: readonly Race[],
  symbols: Symbols,
  callers: number,
): Finding[] {
  if (races.length === 0) return [];
  return new Explainer(trace, process, symbols, callers).run(races);
}

class Explainer {
  private readonly stacks;
  private readonly moments = new Map<bigint, Moment>();
  /** By thread: its creator, and the call stack of the creation. */
  private readonly creations = new Map<number, { creator: number; stack: number }>();
  /** The same by number of a task of OpenMP. */
  private readonly taskCreations = new Map<number, { creator: number; stack: number }>();
  private slices: readonly Slice[] = [];
  /** Those of OpenMP that took part. */
  private readonly tasks = new Set<number>();

  constructor(
    private readonly trace: Trace,
    private readonly process: number,
    private readonly symbols: Symbols,
    private readonly callers: number,
  ) {
    this.stacks = recordedStacks(trace, process);
    for (const { op, thread, other, stack } of trace.rows(thread_events, process))
      if (op === 'create') this.creations.set(other, { creator: thread, stack });
  }

  run(races: readonly Race[]): Finding[] {
    const ordered = [...races].sort((a, b) => Number(a.later.tick - b.later.tick));
    for (const { earlier, later } of ordered)
      for (const { tick, thread, task } of [earlier, later]) {
        this.moments.set(tick, { thread, pcs: [], locks: [], description: NOTHING });
        this.tasks.add(task);
      }
    if (races.some(({ reached }) => reached))
      this.slices = [...this.trace.rows(slices, this.process)];
    this.findLocks();
    this.look(ordered);
    return grouped(
      ordered
        .filter((race) => !this.isOfRuntime(race) && !this.fillsTable(race))
        .map((race) => this.finding(race)),
    );
  }

  /** Replays up to the last access and looks at the moments of all. */
  private look(races: readonly Race[]): void {
    const { trace, process, symbols, moments } = this;
    const settings = memcheckSettings({ 'leak-check': 'no' });
    const addresses = new Map(races.map(({ later, address }) => [later.tick, address]));
    const { replay, shadow, events } = lookAgain(trace, process, settings, {
      events: (context, options) =>
        new LookEvents(
          {
            found: () => undefined,
            get memory() {
              return context.memory;
            },
            get registers() {
              return context.registers;
            },
            stackOf: (stack) => this.stackOf(stack),
            framesOf: (thread) =>
              symbols.programFrames(replay.registers.framesOf(thread, this.callers)),
            dataSymbol: (address) => symbols.variable(address),
            functionAt: (pc) => symbols.functionPlace(pc),
          },
          options,
        ),
    });
    visit(replay, moments.keys(), (tick, pc) => {
      const moment = moments.get(tick)!;
      moment.pcs = shadow.stack(pc, shadow.stackPointer);
      const address = addresses.get(tick);
      if (address !== undefined) moment.description = events.describe(address);
    });
  }

  /** Which locks the threads held at each moment. */
  private findLocks(): void {
    const ticks = [...this.moments.keys()].sort((a, b) => Number(a - b));
    const held = new Map<number, HeldLock[]>();
    const firstStacks = new Map<bigint, number>();
    let at = 0;
    const pass = (tick: bigint): void => {
      for (; at < ticks.length && ticks[at]! < tick; at++) {
        const moment = this.moments.get(ticks[at]!)!;
        moment.locks = (held.get(moment.thread) ?? []).map((lock) => ({ ...lock }));
      }
    };
    for (const row of this.trace.rows(sync, this.process)) {
      pass(row.tick);
      if (row.op === 'task_create_begin' && this.tasks.has(Number(row.object)))
        this.taskCreations.set(Number(row.object), { creator: row.thread, stack: row.stack });
      const locks = held.get(row.thread) ?? [];
      held.set(row.thread, locks);
      const take = (address: bigint): void => {
        const known = locks.find((lock) => lock.address === address);
        if (known) {
          known.depth++;
          return;
        }
        if (!firstStacks.has(address)) firstStacks.set(address, row.stack);
        locks.push({ address, firstStack: firstStacks.get(address)!, depth: 1 });
      };
      const drop = (address: bigint): void => {
        const index = locks.findIndex((lock) => lock.address === address);
        if (index >= 0 && --locks[index]!.depth === 0) locks.splice(index, 1);
      };
      switch (row.op) {
        case 'mutex_lock':
          if (row.object2 !== 0n) take(row.object);
          break;
        case 'rwlock_lock':
          if (row.value !== 0n) take(row.object);
          break;
        case 'mutex_acquired':
        case 'rwlock_acquired':
        case 'spin_lock':
          take(row.object);
          break;
        case 'cond_wait':
          take(row.object2);
          break;
        case 'mutex_unlock':
        case 'rwlock_unlock':
        case 'rwlock_released':
        case 'spin_init_or_unlock':
          drop(row.object);
          break;
        case 'cond_wait_begin':
          drop(row.object2);
      }
    }
    pass(BigInt(Number.MAX_SAFE_INTEGER));
  }

  private finding(race: Race): Finding {
    const { earlier, later, address, count } = race;
    const witness = race.reached && witnessOf(race, this.slices);
    const verb = later.isStore ? 'write' : 'read';
    const moment = this.moments.get(later.tick)!;
    const before = this.moments.get(earlier.tick)!;
    const stacks: FindingStack[] = [
      { role: '', pcs: this.pcsOf(later, moment) },
      {
        role: `This conflicts with a previous ${this.accessText(earlier)} by ${actor(earlier)}${locksText(before.locks)}`,
        pcs: this.pcsOf(earlier, before),
      },
      ...moment.description.stacks,
      ...this.lockStacks([...moment.locks, ...before.locks]),
      ...this.taskStacks([later.task, earlier.task]),
      ...this.creationStacks([later.thread, earlier.thread]),
    ];
    return {
      kind: 'Race',
      what: `Possible data race during ${verb} of size ${later.size} at ${hex(address)} by ${actor(later)}${later.by ? ` (${later.by})` : ''}`,
      notes: [
        `Locks held by thread #${later.thread}: ${lockList(moment.locks)}`,
        ...moment.description.notes,
        ...(witness ? [witnessText(witness)] : []),
      ],
      process: this.process,
      thread: later.thread,
      tick: later.tick,
      stacks,
      count,
      ...(witness && { witness }),
    };
  }

  /**
   * The later access was made by a function that the C library called, and the earlier one by the library
   * too: its own locks order them. Suppressions name what it accesses by itself.
   */
  private isOfRuntime({ earlier, later }: Race): boolean {
    const [last, first] = [this.ownPlaceOf(later), this.ownPlaceOf(earlier)];
    const isInside = ({ pc }: { pc: Pc | undefined }): boolean =>
      pc !== undefined && isInRuntime(this.symbols, pc);
    return last.depth > 0 && isInside(last) && isInside(first);
  }

  /** The C++ library fills tables of characters at their first use; who does it again stores the same. */
  private fillsTable({ earlier, later }: Race): boolean {
    return [later, earlier].some((access) => {
      const { pc } = this.ownPlaceOf(access);
      return pc !== undefined && this.symbols.frames(pc).some(({ fn }) => FILLS_TABLE.test(fn));
    });
  }

  /** Where an access was made, or what called our functions that stand for the library's; its depth in the call stack. */
  private ownPlaceOf(access: RacyAccess): { readonly pc: Pc | undefined; readonly depth: number } {
    const pcs = this.pcsOf(access, this.moments.get(access.tick)!);
    const depth = pcs.findIndex((pc) => !isReplacement(this.symbols, pc));
    return { pc: pcs[depth], depth };
  }

  private accessText({ isStore, size, by }: RacyAccess): string {
    const verb = isStore ? 'write' : 'read';
    return `${verb} of size ${size}${by ? ` (${by})` : ''}`;
  }

  private pcsOf(access: RacyAccess, moment: Moment): readonly Pc[] {
    if (access.pc === undefined) return this.stackOf(access.stack);
    return moment.pcs.length > 0 ? this.symbols.programPcs(moment.pcs, this.callers) : [access.pc];
  }

  private stackOf(stack: number): readonly Pc[] {
    return this.symbols.programPcs(this.stacks.get(stack) ?? [], this.callers);
  }

  private lockStacks(locks: readonly HeldLock[]): FindingStack[] {
    const known = new Map(locks.map((lock) => [lock.address, lock]));
    return [...known.values()].map(({ address, firstStack }) => ({
      role: `Lock at ${hex(address)} was first taken at`,
      pcs: this.stackOf(firstStack),
    }));
  }

  private taskStacks(tasks: readonly number[]): FindingStack[] {
    return [...new Set(tasks)].flatMap((task) => {
      const creation = this.taskCreations.get(task);
      if (!creation) return [];
      return [
        {
          role: `Task #${task} was created by thread #${creation.creator}`,
          pcs: this.stackOf(creation.stack),
        },
      ];
    });
  }

  private creationStacks(threads: readonly number[]): FindingStack[] {
    return [...new Set(threads)]
      .sort((a, b) => a - b)
      .flatMap((thread) => {
        const creation = this.creations.get(thread);
        if (!creation) return [];
        return [
          {
            role: `Thread #${thread} was created by thread #${creation.creator}`,
            pcs: this.stackOf(creation.stack),
          },
        ];
      });
  }
}

/**
 * A frame of megabytes is memory of the program's. Memcheck takes it for another stack, and each access to
 * it for an error; here nobody asks for those, and they would take most of the time.
 */
class LookEvents extends MemcheckEvents {
  override moveStackFar(from: bigint, to: bigint): StackMove {
    const move = super.moveStackFar(from, to);
    const stack = this.space.stackAt(to);
    return { ...move, marks: move.marks || (!!stack && stack === this.space.stackAt(from)) };
  }
}

/** Says of races on one variable, or in one block, how many there are. */
function grouped(findings: readonly Finding[]): Finding[] {
  const counts = new Map<string, number>();
  const places = findings.map(placeOf);
  for (const place of places) counts.set(place, (counts.get(place) ?? 0) + 1);
  return findings.map((finding, i) => {
    const count = counts.get(places[i]!)!;
    if (count === 1) return finding;
    return { ...finding, notes: [...finding.notes, `One of ${count} races on ${places[i]!}`] };
  });
}

/** The variable, block or address that a race is on. */
function placeOf({ what, notes, stacks }: Finding): string {
  const symbol = notes.map((note) => /inside data symbol (".*")$/.exec(note)?.[1]).find(Boolean);
  if (symbol) return symbol;
  const address = / at (0x[0-9a-f]+) by /.exec(what)?.[1] ?? '';
  const inside = stacks
    .map(({ role }) => /is ([\d,]+) bytes inside a block of size/.exec(role)?.[1])
    .find(Boolean);
  if (!inside) return address;
  return `the block at ${hex(BigInt(address) - BigInt(inside.replaceAll(',', '')))}`;
}

/** Who made an access. */
const actor = ({ thread, task }: RacyAccess): string =>
  `thread #${thread}${task ? ` in task #${task}` : ''}`;
const lockList = (locks: readonly HeldLock[]): string =>
  locks.length === 0 ? 'none' : locks.map(({ address }) => hex(address)).join(', ');
const locksText = (locks: readonly HeldLock[]): string => `, locks held: ${lockList(locks)}`;
