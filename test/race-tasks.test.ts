/**
 * The order of OpenMP's tasks against an obvious twin, for random programs of tasks that several threads execute: the twin
 * keeps, for each task, the set of all accesses that happen before what it does, and takes dependences from their definition.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Threads } from '../analyses/race/clocks.js';
import { Synchronisation } from '../analyses/race/synchronisation.js';
import { SYNC_OPS, type SyncOp, type SyncRow } from '../analyses/race/sync-row.js';
import { randomOf } from './random.js';

const THREADS = 3;
const MOST_TASKS = 40;
const DEEPEST = 4;
const [IN, SET] = [0, 2];

interface Depend {
  readonly address: number;
  readonly how: number;
}

interface Task {
  /** Accesses that happen before what the task does now, as bits. */
  past: bigint;
  readonly number: number;
  readonly parent: Task | undefined;
  readonly group: Group | undefined;
  readonly depends: readonly Depend[];
  readonly isFinal: boolean;
  readonly depth: number;
  readonly children: Task[];
  isComplete: boolean;
}

interface Group {
  readonly members: Task[];
  readonly outer: Group | undefined;
}

/** What a thread waits for before it goes on; meanwhile it may execute a task. */
type Wait = (() => boolean) | undefined;
type Body = Generator<Wait, void, void>;

const dependsOn = (later: readonly Depend[], earlier: readonly Depend[]): boolean =>
  later.some(({ address, how }) =>
    earlier.some(
      (other) =>
        other.address === address &&
        !(how === IN && other.how === IN) &&
        !(how === SET && other.how === SET),
    ),
  );

/** Executes a random program; calls back with each access and those that happen before it by the twin. */
function execute(
  random: (below: number) => number,
  row: (op: SyncOp, thread: number, object?: number, object2?: number) => void,
  access: (thread: number, past: bigint) => bigint,
): void {
  let created = 0;
  const pending: Task[] = [];
  const all: Task[] = [];
  const newTask = (parent: Task | undefined, more: Partial<Task>): Task => ({
    ...{ past: 0n, number: 0, parent, group: undefined, depends: [], isFinal: false },
    ...{ depth: 0, children: [], isComplete: false, ...more },
  });
  const join = (task: Task, others: readonly Task[]): void => {
    for (const { past } of others) task.past |= past;
  };
  const before = ({ parent, number, depends }: Task): Task[] =>
    parent!.children.filter((other) => other.number < number && dependsOn(depends, other.depends));

  function* run(task: Task, thread: number): Body {
    row('task_begin', thread, task.number);
    join(task, before(task));
    yield* body(task, thread);
    task.isComplete = true;
    row('task_end', thread, task.number);
  }

  function* create(creator: Task, group: Group | undefined, thread: number): Body {
    const depends = Array.from({ length: random(3) }, () => ({
      ...{ address: random(3), how: random(3) },
    }));
    const [isUndeferred, isFinal] = [random(4) === 0, random(5) === 0];
    const task = newTask(creator, {
      ...{ number: ++created, group, depends, depth: creator.depth + 1, past: creator.past },
      isFinal: isFinal || creator.isFinal,
    });
    creator.children.push(task);
    all.push(task);
    for (let one = group; one; one = one.outer) one.members.push(task);
    for (const { address, how } of depends) row('task_depend', thread, address, how);
    row('task_create_begin', thread, task.number, Number(isUndeferred) + 2 * Number(isFinal));
    if (isUndeferred || creator.isFinal) {
      yield () => before(task).every((other) => other.isComplete);
      yield* run(task, thread);
      creator.past = task.past;
    } else {
      pending.push(task);
      yield;
    }
    row('task_create', thread, task.number);
  }

  function* body(task: Task, thread: number, groups: Group | undefined = task.group): Body {
    for (let left = 1 + random(8); left > 0; left--) {
      switch (random(6)) {
        case 0:
        case 1:
          task.past |= access(thread, task.past);
          break;
        case 2:
        case 3:
          if (created < MOST_TASKS && task.depth < DEEPEST) yield* create(task, groups, thread);
          break;
        case 4: {
          row('taskwait_begin', thread);
          const children = [...task.children];
          yield () => children.every(({ isComplete }) => isComplete);
          join(task, children);
          row('taskwait', thread);
          break;
        }
        default: {
          if (groups !== task.group) break;
          const group: Group = { members: [], outer: groups };
          row('taskgroup', thread);
          yield* body(task, thread, group);
          row('taskgroup_end_begin', thread);
          yield () => group.members.every(({ isComplete }) => isComplete);
          join(task, group.members);
          row('taskgroup_end', thread);
        }
      }
      yield;
    }
  }

  let isOver = false;
  function* implicit(thread: number): Body {
    const task = newTask(undefined, {});
    if (thread === 1) yield* body(task, thread);
    if (thread === 1) isOver = true;
    yield () => isOver && all.every(({ isComplete }) => isComplete);
    join(task, all);
    row('tasks_done', thread);
    task.past |= access(thread, task.past);
  }

  const stacks = Array.from({ length: THREADS }, (_, i) => [
    { body: implicit(i + 1), wait: undefined as Wait },
  ]);
  while (stacks.some((stack) => stack.length > 0)) {
    const thread = random(THREADS);
    const stack = stacks[thread]!;
    const top = stack.at(-1);
    if (!top) continue;
    if (top.wait && !top.wait()) {
      const eligible = pending.filter((task) => before(task).every((other) => other.isComplete));
      if (eligible.length === 0) continue;
      const task = eligible[random(eligible.length)]!;
      pending.splice(pending.indexOf(task), 1);
      stack.push({ body: run(task, thread + 1), wait: undefined });
      continue;
    }
    const { value, done } = top.body.next();
    top.wait = value ?? undefined;
    if (done) stack.pop();
  }
}

test('accesses of tasks are ordered as by a twin that keeps sets', () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  let unordered = 0;
  let reused = 0;
  for (let round = 0; round < 300; round++) {
    const threads = new Threads();
    const synchronisation = new Synchronisation(threads);
    for (let thread = 2; thread <= THREADS; thread++) threads.create(threads.get(1), thread);
    const accesses: { slot: number; time: number; task: number }[] = [];
    let tick = 0;
    execute(
      randomOf(seed + round),
      (op, thread, object = 0, object2 = 0) =>
        synchronisation.operation({
          ...{ op: SYNC_OPS[op], thread, tick: ++tick, stack: 0, object, object2, value: 0 },
        } as SyncRow),
      (thread, past) => {
        const { clock, slot, time } = threads.get(thread);
        for (const [i, earlier] of accesses.entries()) {
          const isOrdered = clock.get(earlier.slot) >= earlier.time;
          const expected = ((past >> BigInt(i)) & 1n) === 1n;
          assert.equal(
            isOrdered,
            expected,
            `seed ${seed}, round ${round}, ${i}, ${accesses.length}`,
          );
          if (!expected) unordered++;
        }
        const { task } = threads.owner(slot, time);
        if (accesses.some((one) => one.slot === slot && one.task !== task)) reused++;
        accesses.push({ slot, time, task });
        return 1n << BigInt(accesses.length - 1);
      },
    );
  }
  assert.ok(unordered > 1000 && reused > 100, `seed ${seed}: ${unordered}, ${reused}`);
});
