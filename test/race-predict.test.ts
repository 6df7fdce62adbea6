/**
 * Prediction against all schedules that there are, for small random executions: what is predicted must be
 * possible, its schedule must pass the checker, and where it is known which write each read saw, of two
 * accesses that can race at least one is found to. Schedules of recorded programs are checked against their recorded events.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { SyncClock, Threads, type ThreadClock } from '../analyses/race/clocks.js';
import { AccessHistory, MOST_REPLACED } from '../analyses/race/history.js';
import { Predictor } from '../analyses/race/predict.js';
import { witnessOf } from '../analyses/race/witness.js';
import { grind, record, ROOT, run, scratch } from './guest.js';
import { randomOf } from './random.js';
import { checkWitness, possibleRaces, type Schedule, type Step } from './schedules.js';

const LOCKS = [100, 101];
const READERS_WRITER_LOCK = 102;
const SEMAPHORE = 200;
const BYTES = 4;

/** A possible execution of up to three threads, with accesses of up to so many bytes. */
function randomSteps(random: (below: number) => number, count: number, largest: number): Step[] {
  const steps: Step[] = [];
  const live = [1];
  const held: { thread: number; object: number; isShared: boolean }[] = [];
  let created = 1;
  let posts = 0;
  let thread = 1;
  while (steps.length < count) {
    if (!live.includes(thread) || random(5) === 0) thread = live[random(live.length)]!;
    const tick = 10 * (steps.length + 1);
    const add = (op: Step['op'], object: number, more: Partial<Step> = {}): number =>
      steps.push({ thread, tick, op, object, ...more });
    const own = held.filter((hold) => hold.thread === thread);
    switch (random(11)) {
      case 0:
      case 1:
        if (created === 3 || (created === 2 && random(3) > 0)) break;
        add('create', ++created);
        live.push(created);
        break;
      case 2:
      case 3: {
        const object = [...LOCKS, READERS_WRITER_LOCK][random(3)]!;
        const isShared = object === READERS_WRITER_LOCK && random(2) === 0;
        if (own.some((hold) => hold.object === object)) break;
        const isFree = held.every((hold) => hold.object !== object || (hold.isShared && isShared));
        if (isFree) held.push({ thread, object, isShared });
        if (isFree) add('acquire', object, { isShared });
        else if (!isShared && random(2) === 0) add('fail', object);
        break;
      }
      case 4:
      case 5:
      case 6: {
        const hold = own.at(-1);
        if (!hold) break;
        held.splice(held.indexOf(hold), 1);
        add('release', hold.object, { isShared: hold.isShared });
        break;
      }
      case 7:
        if (random(4) > 0) break;
        if (random(2) === 0 || posts === 0) posts += add('signal', SEMAPHORE) > 0 ? 1 : 0;
        else add('await', SEMAPHORE);
        break;
      default: {
        const size = 1 + random(largest);
        add(random(2) ? 'write' : 'read', (largest === 1 ? 8 : 1) * random(BYTES - size + 1), {
          size,
        });
      }
    }
    const other = live.find((candidate) => candidate !== 1 && candidate !== thread);
    if (other && thread === 1 && random(12) === 0 && !held.some((hold) => hold.thread === other)) {
      steps.push({ thread: 1, tick: 10 * (steps.length + 1), op: 'join', object: other });
      live.splice(live.indexOf(other), 1);
    }
  }
  return steps;
}

interface Found {
  readonly earlier: number;
  readonly later: number;
  /** Of one that is predicted. */
  readonly schedule: Schedule | undefined;
}

/**
 * What history and predictor find in an execution.
 * @param isExact - each access is an epoch of its own; otherwise the history is only told of fresh ones
 * @param sweeps - prediction is made to forget what it can, all the time
 */
function find(steps: readonly Step[], isExact: boolean, sweeps: boolean): Found[] {
  const found: Found[] = [];
  const threads = new Threads();
  const predictor = new Predictor();
  const clocks = new Map<number, SyncClock>();
  const readers = new Map<number, SyncClock>();
  const slots = new Map<number, number>();
  const clock = (of: Map<number, SyncClock>, object: number): SyncClock => {
    if (!of.has(object)) of.set(object, new SyncClock());
    return of.get(object)!;
  };
  const slices = steps.map(({ thread, tick }) => ({ thread, tick: BigInt(tick) }));
  let current: ThreadClock;
  let tick = 0;
  const side = (thread: number, at: number) => ({
    ...{
      thread,
      task: 0,
      tick: BigInt(at),
      pc: 0n,
      isStore: true,
      size: 1,
      by: undefined,
      stack: 0,
    },
  });
  const history = new AccessHistory(
    {
      race: (earlier) => found.push({ earlier: earlier.tick, later: tick, schedule: undefined }),
      synchronised: () => assert.fail(),
      advanced: () => assert.fail('nothing is marked'),
    },
    {
      ordered: (earlier) => {
        const bounds = predictor.findSchedule(earlier.slot, earlier.tick, current.slot, tick);
        const isHard = predictor.isOrdered(earlier.slot, earlier.tick, current.slot, tick);
        assert.ok(!isHard || !bounds);
        if (!bounds) return;
        const { thread } = threads.owner(earlier.slot, earlier.time);
        const { recordedUntil, segments, next } = witnessOf(
          {
            ...{ earlier: side(thread, earlier.tick), later: side(current.number, tick) },
            ...{ address: 0n, count: 1 },
            reached: new Map([...slots].map(([number, slot]) => [number, bounds[slot] ?? 0])),
          },
          slices,
        );
        const plain = (value: { thread: number; tick: bigint }) => ({
          ...{ thread: value.thread, tick: Number(value.tick) },
        });
        const schedule = {
          recordedUntil: Number(recordedUntil),
          segments: segments.map(({ thread: number, from, to }) => ({
            ...{ thread: number, from: Number(from), to: Number(to) },
          })),
          next: next.map(plain),
        };
        found.push({ earlier: earlier.tick, later: tick, schedule });
      },
      readFrom: (slot, time, written) =>
        predictor.readFrom(current.slot, tick, slot, time, written),
      known: (slot) => predictor.known(slot),
    },
  );
  predictor.turn(true, 0);
  slots.set(1, threads.get(1).slot);
  const times = new Map<ThreadClock, number>();
  const tags = new Map<number, string>();
  for (const [i, step] of steps.entries()) {
    const { thread, op, object, isShared = false, size = 1 } = step;
    current = threads.get(thread);
    const { slot } = current;
    ({ tick } = step);
    switch (op) {
      case 'create':
        slots.set(object, threads.create(current, object).slot);
        predictor.follow(slots.get(object)!, slot, tick);
        break;
      case 'join':
        threads.exit(object);
        threads.join(current, object);
        predictor.follow(slot, slots.get(object)!, tick);
        break;
      case 'acquire':
        clock(clocks, object).acquire(current);
        if (!isShared) clock(readers, object).acquire(current);
        predictor.acquire(slot, object, tick, !isShared);
        break;
      case 'release':
        if (isShared) clock(readers, object).releaseToo(current);
        else clock(clocks, object).release(current);
        predictor.release(slot, object, tick);
        break;
      case 'fail':
        predictor.fail(slot, object, tick);
        break;
      case 'signal':
        clock(clocks, object).releaseToo(current);
        predictor.signal(slot, object, tick);
        break;
      case 'await':
        clock(clocks, object).acquire(current);
        predictor.await(slot, object, tick);
        break;
      default: {
        const own = `${thread} ${current.time}`;
        const bytes = Array.from({ length: size }, (_, k) => object + k);
        const isStore = op === 'write';
        const isFresh = (tag: string | undefined): boolean =>
          tag !== `${own} write` && (isStore || tag !== `${own} read`);
        if (!isExact && !bytes.some((byte) => isFresh(tags.get(byte)))) break;
        for (const byte of bytes) tags.set(byte, `${own} ${op}`);
        history.enter(current);
        history.access(i, tick, object, 0, size, isStore);
        if (!isExact) break;
        current.advance();
      }
    }
    const end = op === 'read' || op === 'write' ? tick + 1 : tick;
    for (const each of threads.all()) {
      if (times.get(each) !== each.time) predictor.endEpoch(each.slot, each.time, end);
      times.set(each, each.time);
    }
    if (sweeps) predictor.sweep((visit) => history.eachAccess(visit));
  }
  return found;
}

test('what is predicted is possible, and what is possible is found', () => {
  const seed = Number(process.env['GRIND_SEED'] ?? Date.now() % 1_000_000);
  console.log(`# GRIND_SEED=${seed}`);
  const counts = { predicted: 0, hidden: 0 };
  for (let round = 0; round < 20_000; round++) {
    const steps = randomSteps(randomOf(seed * 10_000 + round), 12 + (round % 10), 1 + (round % 2));
    const context = () =>
      `seed ${seed} round ${round}\n${steps.map((s) => JSON.stringify(s)).join('\n')}`;
    let possible: ReadonlySet<string> | undefined;
    for (const isExact of [false, true]) {
      const found = find(steps, isExact, false);
      assert.deepEqual(find(steps, isExact, true), found, context());
      const isOnlyRecorded = found.length > 0 && found.every(({ schedule }) => !schedule);
      if (isOnlyRecorded) continue;
      possible ??= possibleRaces(steps);
      for (const { earlier, later, schedule } of found) {
        if (!schedule) continue;
        counts.predicted++;
        assert.ok(possible.has(`${earlier} ${later}`), `${earlier} ${later} ${context()}`);
        checkWitness(
          steps.flatMap((step) => [{ ...step, op: 'run' as const }, step]),
          schedule,
        );
      }
      // The history remembers but some accesses of 8 bytes, and of one only bytes that no later one was to.
      const places = steps.flatMap(({ op, object }) =>
        op === 'read' || op === 'write' ? [object] : [],
      );
      const isMany = places.some(
        (place) => places.filter((other) => other === place).length > MOST_REPLACED,
      );
      if (!isExact || round % 2 || isMany) continue;
      // Of accesses that race in the recorded schedule, the history keeps the last ones only.
      if (found.some(({ schedule }) => !schedule)) continue;
      if (possible.size > 0) counts.hidden++;
      for (const pair of possible) {
        const [earlier, later] = pair.split(' ').map(Number);
        assert.ok(
          found.some((one) => one.earlier === earlier || one.later === later),
          `${pair} ${JSON.stringify(found)} ${context()}`,
        );
      }
    }
  }
  console.log(`# ${JSON.stringify(counts)}`);
  assert.ok(counts.predicted > 100 && counts.hidden > 10);
});

/** What `sync` rows are as steps; others are none. */
function stepsOf(op: string, object: number, object2: number, value: number): Partial<Step>[] {
  switch (op) {
    case 'mutex_lock':
      return [{ op: object2 ? 'acquire' : 'fail', object }];
    case 'rwlock_lock':
      return [{ op: value ? 'acquire' : 'fail', object, isShared: object2 === 0 }];
    case 'spin_lock':
      return [{ op: 'acquire', object }];
    case 'mutex_unlock_begin':
    case 'rwlock_unlock_begin':
      return [{ op: 'release', object }];
    case 'sem_post':
    case 'cond_signal':
    case 'cond_broadcast':
      return [{ op: 'signal', object }];
    case 'sem_wait':
      return object2 ? [{ op: 'await', object }] : [];
    case 'cond_wait_begin':
      return [{ op: 'release', object: object2 }];
    case 'cond_wait': {
      const acquire = { op: 'acquire', object: object2 } as const;
      return value ? [acquire] : [{ op: 'await', object }, acquire];
    }
  }
  return [];
}

/** What a recorded program did from the first creation of a thread on, with the accesses of its own code. */
function recordedSteps(folder: string, program: string): Step[] {
  const rows = <T>(sql: string): T[] =>
    JSON.parse(grind(['query', folder, sql, '--format=json']).stdout) as T[];
  type Event = { tick: number; event: number; thread: number };
  const events: (Event & Partial<Step>)[] = [
    ...rows<Event>('select tick, event, thread from slices').map((row) => ({
      ...{ ...row, op: 'run' as const, object: 0 },
    })),
    ...rows<Event & { op: string; other: number }>(
      `select tick, event, thread, op::text op, other from thread_events where op in ('create', 'joined')`,
    ).map(({ op, other, ...row }) => ({
      ...{ ...row, op: op === 'create' ? ('create' as const) : ('join' as const), object: other },
    })),
    ...rows<Event & { op: string; object: number; object2: number; value: number }>(
      'select tick, event, thread, op::text op, object, object2, value from sync',
    ).flatMap(({ tick, event, thread, op, object, object2, value }) =>
      stepsOf(op, object, object2, value).map((step) => ({ tick, event, thread, ...step })),
    ),
  ];
  const accesses = rows<{ tick: number; thread: number; kind: string; addr: number; size: number }>(
    `select a.tick, a.thread, a.kind::text kind, a.addr, a.size from accesses a,
       (select min(address) low, max(address + size) high from mappings where file = '${program}')
     where a.pc between low and high
       and a.tick >= (select min(tick) from thread_events where op = 'create')`,
  ).map(({ tick, thread, kind, addr, size }) => ({
    ...{ tick, event: Infinity, thread, object: addr, size },
    op: kind === 'load' ? ('read' as const) : ('write' as const),
  }));
  return [...events, ...accesses].sort(
    (a, b) => a.tick - b.tick || (a.event === b.event ? 0 : a.event - b.event),
  ) as Step[];
}

test('schedules of predicted races lead there, by what was recorded', () => {
  const source = join(ROOT, 'test', 'guests', 'race', 'predict.c');
  const program = scratch('predict');
  const compiler = run(['gcc', '-O0', '-pthread', '-g', '-w', source, '-o', program]);
  assert.equal(compiler.status, 0, compiler.stderr);
  const { folder } = record([program]);
  const findings = (model: string): { notes: string[]; witness?: Witness }[] => {
    const { stdout } = grind(['analyze', 'race', folder, '--format=json', `--model=${model}`]);
    const report = JSON.parse(stdout) as {
      findings: { finding: number; notes: string[]; witness?: Witness }[];
    };
    // Suppressed races of the C library, which are not shown, have numbers too.
    return report.findings.map(({ finding: _, ...shown }) => shown);
  };
  assert.deepEqual(findings('hb'), []);
  const predicted = findings('predict');
  assert.deepEqual(predicted, findings('both'));
  assert.equal(predicted.length, 4);
  const steps = recordedSteps(folder, program);
  for (const { notes, witness } of predicted) {
    const isMarked = notes.some((note) =>
      note.startsWith('Does not happen in this schedule: it does in one that'),
    );
    assert.ok(isMarked, notes.join('\n'));
    const { recorded_until, segments, next } = witness!;
    const schedule = {
      recordedUntil: Number(recorded_until),
      segments: segments.map(({ thread, from, to }) => ({
        ...{ thread, from: Number(from), to: Number(to) },
      })),
      next: next.map(({ thread, tick }) => ({ thread, tick: Number(tick) })),
    };
    checkWitness(steps, schedule);
    const part = { ...schedule, segments: schedule.segments.slice(0, -1) };
    assert.throws(() => checkWitness(steps, part));
  }
});

/** As in JSON. */
interface Witness {
  readonly recorded_until: string;
  readonly segments: readonly { thread: number; from: string; to: string }[];
  readonly next: readonly { thread: number; tick: string }[];
}
