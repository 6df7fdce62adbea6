/**
 * Cycles of lock orders against two obvious twins: a search through all interleavings of small random
 * programs for one that ends in a deadlock, and the definition of a deadlock pattern taken literally.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { holding, LockOrder, type Cycle } from '../analyses/race/lock-order.js';
import { randomOf } from './random.js';

interface Lock {
  readonly id: number;
}

/** A thread takes a lock, or lets it go. */
interface Step {
  readonly lock: Lock;
  readonly takes: boolean;
  readonly writes: boolean;
}

type Program = readonly (readonly Step[])[];

function randomProgram(random: (below: number) => number): Program {
  const locks = Array.from({ length: 3 + random(2) }, (_, id) => ({ id }));
  return Array.from({ length: 2 + random(2) }, () => {
    const steps: Step[] = [];
    const held: Step[] = [];
    for (let i = 0; i < 6; i++) {
      const lock = locks[random(locks.length)]!;
      if (!held.some((step) => step.lock === lock) && random(3) > 0) {
        held.push({ lock, takes: true, writes: random(3) > 0 });
        steps.push(held.at(-1)!);
      } else if (held.length > 0) {
        const [{ lock: released, writes }] = held.splice(random(held.length), 1) as [Step];
        steps.push({ lock: released, takes: false, writes });
      }
    }
    return [...steps, ...held.map(({ lock, writes }) => ({ lock, takes: false, writes }))];
  });
}

/** Whether some interleaving ends with threads that cannot go on. */
function canDeadlock(program: Program): boolean {
  const seen = new Set<string>();
  const visit = (places: number[]): boolean => {
    const key = places.join();
    if (seen.has(key)) return false;
    seen.add(key);
    const held = program.map((steps, thread) =>
      steps
        .slice(0, places[thread])
        .filter(
          (step, i, done) =>
            step.takes && !done.slice(i).some(({ lock, takes }) => !takes && lock === step.lock),
        ),
    );
    let isOver = true;
    let canGoOn = false;
    for (const [thread, steps] of program.entries()) {
      const step = steps[places[thread]!];
      if (!step) continue;
      isOver = false;
      const isFree =
        !step.takes ||
        !held.some(
          (list, other) =>
            other !== thread &&
            list.some(({ lock, writes }) => lock === step.lock && (writes || step.writes)),
        );
      if (!isFree) continue;
      canGoOn = true;
      if (visit(places.map((place, i) => (i === thread ? place + 1 : place)))) return true;
    }
    return !isOver && !canGoOn;
  };
  return visit(program.map(() => 0));
}

/** What is asked for and held meanwhile, as the definition has it. */
interface Asked extends Step {
  readonly thread: number;
  readonly held: readonly Step[];
}

/** Whether there is a deadlock pattern, by trying all sequences of acquisitions of different threads. */
function hasPattern(program: Program): boolean {
  const asked = program.flatMap((steps, thread) => {
    let held: Step[] = [];
    return steps.flatMap((step) => {
      const before = held;
      held = step.takes ? [...held, step] : held.filter(({ lock }) => lock !== step.lock);
      return step.takes && before.length > 0 ? [{ ...step, thread, held: before }] : [];
    });
  });
  const conflict = (a: Step, b: Step) => a.lock === b.lock && (a.writes || b.writes);
  const waitsFor = (a: Asked, b: Asked) => b.held.some((step) => conflict(a, step));
  const canMeet = (a: Asked, b: Asked) =>
    a.thread !== b.thread && !a.held.some((step) => b.held.some((other) => conflict(step, other)));
  const extend = (path: Asked[]): boolean =>
    (path.length > 1 && waitsFor(path.at(-1)!, path[0]!)) ||
    asked.some(
      (next) =>
        path.every((other) => canMeet(other, next)) &&
        waitsFor(path.at(-1)!, next) &&
        extend([...path, next]),
    );
  return asked.some((first) => extend([first]));
}

/** The threads of a program run one after another, but could run at the same time. */
function observe(program: Program): LockOrder<Lock> {
  const order = new LockOrder<Lock>();
  for (const [thread, steps] of program.entries()) {
    for (const [i, { lock, takes, writes }] of steps.entries()) {
      if (takes) {
        order.asked(thread, lock, writes, i, i);
        order.taken(thread, lock, writes, i);
      } else {
        order.released(thread, lock);
      }
    }
  }
  return order;
}

function checkCycle({ dependencies }: Cycle<Lock>): void {
  for (const [i, dependency] of dependencies.entries()) {
    const next = dependencies[(i + 1) % dependencies.length]!;
    const held = holding(next, dependency.lock);
    assert.ok(held && (held.writes || dependency.writes));
    assert.ok(i === 0 || dependency.number < dependencies[0]!.number);
  }
}

test('random programs: what is found, and what can happen', () => {
  const random = randomOf(20261121);
  let [deadlocks, patterns] = [0, 0];
  for (let i = 0; i < 3000; i++) {
    const program = randomProgram(random);
    const cycles = [...observe(program).cycles(['threads'])];
    cycles.forEach(checkCycle);
    const isPossible = canDeadlock(program);
    const isPattern = hasPattern(program);
    assert.equal(cycles.length > 0, isPattern, JSON.stringify(program));
    assert.ok(isPattern || !isPossible, JSON.stringify(program));
    deadlocks += Number(isPossible);
    patterns += Number(isPattern);
  }
  // Both happen, and patterns that cannot come about are few.
  assert.ok(deadlocks > 300 && patterns < 1.2 * deadlocks, `${deadlocks} of ${patterns}`);
});

test('creations and joins order threads', () => {
  const [a, b] = [{ id: 0 }, { id: 1 }];
  const both = (order: LockOrder<Lock>, thread: number, first: Lock, second: Lock) => {
    order.taken(thread, first, true, thread);
    order.asked(thread, second, true, thread, 0);
    order.taken(thread, second, true, thread);
    order.released(thread, second);
    order.released(thread, first);
  };
  const classes = (run: (order: LockOrder<Lock>) => void) => {
    const order = new LockOrder<Lock>();
    run(order);
    return [...order.cycles(['threads', 'same thread', 'in turn'])].map((cycle) => cycle.class);
  };
  const together = classes((order) => {
    order.created(1, 2);
    order.created(1, 3);
    both(order, 2, a, b);
    both(order, 3, b, a);
  });
  assert.deepEqual(together, ['threads']);
  const after = classes((order) => {
    order.created(1, 2);
    both(order, 2, a, b);
    order.joined(1, 2);
    order.created(1, 3);
    both(order, 3, b, a);
  });
  assert.deepEqual(after, ['in turn']);
  const parent = classes((order) => {
    both(order, 1, a, b);
    order.created(1, 2);
    both(order, 2, b, a);
    both(order, 1, a, b);
  });
  assert.deepEqual(parent, ['threads', 'in turn']);
  const alone = classes((order) => {
    both(order, 1, a, b);
    both(order, 1, b, a);
  });
  assert.deepEqual(alone, ['same thread']);
});

test('locks that are gone leave nothing behind, unless they are part of an order', () => {
  const order = new LockOrder<Lock>();
  const lasting = { id: 0 };
  const kept = (): number =>
    [...(order as unknown as { dependencies: Map<Lock, Set<unknown>> }).dependencies.values()]
      .map(({ size }) => size)
      .reduce((sum, size) => sum + size, 0);
  for (let id = 1; id < 1000; id += 2) {
    const [inner, outer] = [{ id }, { id: id + 1 }];
    for (const [first, second] of [
      [lasting, inner],
      [outer, lasting],
    ] as const) {
      order.taken(1, first, true, 1);
      order.asked(1, second, true, 2, 0);
      order.taken(1, second, true, 2);
      order.released(1, second);
      order.released(1, first);
    }
    assert.equal(kept(), 2);
    order.died(inner);
    order.died(outer);
    assert.equal(kept(), 0);
  }
});
