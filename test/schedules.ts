/**
 * What a schedule may be, for tests of prediction and without its code: threads do a beginning of what
 * they did in the recorded execution. `checkWitness` runs a schedule step by step; `possibleRaces` tries all.
 */
import assert from 'node:assert/strict';

/** Something that a thread did, in the order of the recorded execution. */
export interface Step {
  readonly thread: number;
  readonly tick: number;
  /** `fail`: could not have a lock; `await`: found all that was signalled; `run`: got the processor. */
  readonly op:
    | 'read'
    | 'write'
    | 'acquire'
    | 'release'
    | 'fail'
    | 'await'
    | 'signal'
    | 'create'
    | 'join'
    | 'run';
  /** First byte, lock, what is waited for, or other thread. */
  readonly object: number;
  /** Bytes. */
  readonly size?: number;
  /** A lock for reading. */
  readonly isShared?: boolean;
}

export interface Schedule {
  readonly recordedUntil: number;
  readonly segments: readonly {
    readonly thread: number;
    readonly from: number;
    readonly to: number;
  }[];
  readonly next: readonly { readonly thread: number; readonly tick: number }[];
}

const isAccess = ({ op }: Step): boolean => op === 'read' || op === 'write';
const bytesOf = ({ object, size = 1 }: Step): number[] =>
  Array.from({ length: size }, (_, i) => object + i);

export function conflict(a: Step, b: Step): boolean {
  if (!isAccess(a) || !isAccess(b) || (a.op === 'read' && b.op === 'read')) return false;
  const [sizeA, sizeB] = [a.size ?? 1, b.size ?? 1];
  return a.object < b.object + sizeB && b.object < a.object + sizeA;
}

/** Those that hold a lock, by their acquisitions. */
function holdersAfter(held: readonly Step[], step: Step): readonly Step[] {
  if (step.op === 'acquire') return [...held, step];
  const last = held.findLastIndex(({ thread }) => thread === step.thread);
  return held.filter((_, i) => i !== last);
}

/** A recorded execution: what each step saw then. */
export class Recorded {
  readonly threads = new Map<number, Step[]>();
  /** Of each read, by byte, the write that it saw. */
  readonly seen = new Map<Step, (Step | undefined)[]>();
  /** By object, what was signalled before each `await`. */
  readonly awaited = new Map<Step, readonly Step[]>();
  /** Of each `fail`, who held the lock. */
  readonly holders = new Map<Step, readonly Step[]>();
  readonly order = new Map<Step, number>();
  readonly creator = new Map<number, Step>();

  constructor(readonly steps: readonly Step[]) {
    const writes = new Map<number, Step>();
    const signals = new Map<number, readonly Step[]>();
    const held = new Map<number, readonly Step[]>();
    for (const [i, step] of steps.entries()) {
      if (step.op === 'run') continue;
      this.order.set(step, i);
      const own = this.threads.get(step.thread);
      if (own) own.push(step);
      else this.threads.set(step.thread, [step]);
      if (step.op === 'create') this.creator.set(step.object, step);
      if (step.op === 'read')
        this.seen.set(
          step,
          bytesOf(step).map((byte) => writes.get(byte)),
        );
      if (step.op === 'write') for (const byte of bytesOf(step)) writes.set(byte, step);
      if (step.op === 'acquire' || step.op === 'release')
        held.set(step.object, holdersAfter(held.get(step.object) ?? [], step));
      if (step.op === 'fail') this.holders.set(step, held.get(step.object) ?? []);
      if (step.op === 'await') this.awaited.set(step, signals.get(step.object) ?? []);
      if (step.op === 'signal')
        signals.set(step.object, [...(signals.get(step.object) ?? []), step]);
    }
  }
}

/** Runs some of the steps of an execution in another order. */
export class Execution {
  private readonly done = new Set<Step>();
  private readonly held = new Map<number, readonly Step[]>();
  private readonly writes = new Map<number, Step>();

  constructor(private readonly recorded: Recorded) {}

  /** Why a step cannot be done now, or would not be what it was; undefined when it can. */
  obstacle(step: Step): string | undefined {
    const { recorded, done } = this;
    const creator = recorded.creator.get(step.thread);
    if (creator && !done.has(creator)) return 'its thread is not created';
    const held = this.held.get(step.object) ?? [];
    switch (step.op) {
      case 'read': {
        const seen = recorded.seen.get(step)!;
        const isSame = bytesOf(step).every((byte, i) => this.writes.get(byte) === seen[i]);
        return isSame ? undefined : 'it reads another write';
      }
      case 'acquire':
        return held.some(
          ({ thread, isShared }) => thread !== step.thread && !(isShared && step.isShared),
        )
          ? 'the lock is held'
          : undefined;
      case 'fail':
        return recorded.holders.get(step)!.every((acquisition) => held.includes(acquisition))
          ? undefined
          : 'the lock is not held';
      case 'await':
        return recorded.awaited.get(step)!.every((signal) => done.has(signal))
          ? undefined
          : 'nobody has signalled';
      case 'join':
        return (recorded.threads.get(step.object) ?? []).every((other) => done.has(other))
          ? undefined
          : 'the thread has not ended';
    }
    return undefined;
  }

  do(step: Step): void {
    this.done.add(step);
    if (step.op === 'acquire' || step.op === 'release')
      this.held.set(step.object, holdersAfter(this.held.get(step.object) ?? [], step));
    if (step.op === 'write') for (const byte of bytesOf(step)) this.writes.set(byte, step);
  }
}

/** Asserts that a schedule can be, and leads to two accesses that are next and conflict. */
export function checkWitness(
  steps: readonly Step[],
  { recordedUntil, segments, next }: Schedule,
): void {
  const recorded = new Recorded(steps);
  const execution = new Execution(recorded);
  const at = new Map([...recorded.threads.keys()].map((thread) => [thread, 0]));
  const advance = (thread: number): void => {
    const step = recorded.threads.get(thread)![at.get(thread)!]!;
    const obstacle = execution.obstacle(step);
    assert.equal(obstacle, undefined, `${JSON.stringify(step)}: ${obstacle}`);
    execution.do(step);
    at.set(thread, at.get(thread)! + 1);
  };
  for (const step of steps) {
    // What happens at a tick does so before the instruction with that number.
    if (step.tick > recordedUntil) break;
    if (step.tick === recordedUntil && (isAccess(step) || step.op === 'run')) break;
    if (step.op !== 'run') advance(step.thread);
  }
  for (const { thread, from, to } of segments) {
    const own = recorded.threads.get(thread)!;
    const first = own[at.get(thread)!];
    assert.ok(!first || first.tick >= from, `thread ${thread} leaves out ${JSON.stringify(first)}`);
    for (let step; (step = own[at.get(thread)!]);) {
      if (step.tick > to || (step.tick === to && isAccess(step))) break;
      advance(thread);
    }
  }
  const [a, b] = next.map(({ thread, tick }) => {
    const own = recorded.threads.get(thread)!;
    const step = own[at.get(thread)!]!;
    assert.equal(step.tick, tick, `thread ${thread} is not at tick ${tick}`);
    return own.filter((other) => other.tick === tick && isAccess(other));
  });
  assert.notEqual(next[0]!.thread, next[1]!.thread);
  assert.ok(
    a!.some((one) => b!.some((other) => conflict(one, other))),
    'nothing conflicts',
  );
}

/**
 * All pairs of conflicting accesses, as `tick tick`, that are next in some schedule in which locks are taken
 * in the recorded order, as far as one of two is not for reading.
 */
export function possibleRaces(steps: readonly Step[]): Set<string> {
  const recorded = new Recorded(steps);
  const threads = [...recorded.threads.keys()];
  const races = new Set<string>();
  const known = new Set<string>();
  const isInOrder = (step: Step, done: readonly Step[]): boolean =>
    step.op !== 'acquire' ||
    !done.some(
      (other) =>
        other.op === 'acquire' &&
        other.object === step.object &&
        !(other.isShared && step.isShared) &&
        recorded.order.get(other)! > recorded.order.get(step)!,
    );
  const visit = (done: readonly Step[]): void => {
    const count = (thread: number) => done.filter((step) => step.thread === thread).length;
    const writes = new Map<number, Step>();
    for (const step of done)
      if (step.op === 'write') for (const byte of bytesOf(step)) writes.set(byte, step);
    const state = [
      ...threads.map(count),
      ...[...writes].sort(([x], [y]) => x - y).map(([byte, { tick }]) => `${byte}:${tick}`),
    ].join();
    if (known.has(state)) return;
    known.add(state);
    const execution = new Execution(recorded);
    for (const step of done) execution.do(step);
    const next = threads.flatMap((thread) => {
      const step = recorded.threads.get(thread)![count(thread)];
      const creator = recorded.creator.get(thread);
      return step && (!creator || done.includes(creator)) ? [step] : [];
    });
    for (const a of next)
      for (const b of next)
        if (a.thread !== b.thread && a.tick < b.tick && conflict(a, b))
          races.add(`${a.tick} ${b.tick}`);
    for (const step of next)
      if (execution.obstacle(step) === undefined && isInOrder(step, done)) visit([...done, step]);
  };
  visit([]);
  return races;
}
