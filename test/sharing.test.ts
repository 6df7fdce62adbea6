/**
 * Sharing of lines between cores: the filtered accesses against all of them, caches and their coherence against a twin that
 * follows the definitions word by word, the parallel schedule against one that is made at the end, and guests.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Coherence, EXCLUSIVE, INVALID, MODIFIED, OUTCOME } from '../analyses/sharing/coherence.js';
import { ParallelSchedule } from '../analyses/sharing/parallel-schedule.js';
import { placementOf } from '../analyses/sharing/placement.js';
import { PrivateCaches } from '../analyses/sharing/private-caches.js';
import { findSharedLines } from '../analyses/sharing/shared-lines.js';
import { openReplay } from '../replay/replay.js';
import { Trace } from '../replay/trace.js';
import type { ReplayOptions } from '../replay/types.js';
import { slices } from '../schemas/tables.js';
import { grind, record, type Recording } from './guest.js';
import { randomOf } from './random.js';

const LINE = 64;
const seed = (): number => Number(process.env['GRIND_SEED'] ?? Date.now() % 1_000_000);

// ---- Caches and coherence ----

interface Reference {
  readonly core: number;
  readonly line: number;
  readonly offset: number;
  readonly size: number;
  readonly isStore: boolean;
  readonly isExclusive: boolean;
}

/** What a reference led to, when all is over. */
interface Result {
  readonly kind: 'hit' | 'cold' | 'capacity' | 'true' | 'false' | 'upgrade';
  readonly isIntervention: boolean;
  readonly invalidated: readonly number[];
}

/** The definitions of MESI, of least recently used, and those of Dubois et al., word by word. */
class Twin {
  /** By core and set: lines with their states, the latest first. One that was taken away keeps its place. */
  private readonly sets: { line: number; state: 'M' | 'E' | 'S' | 'I' }[][][];
  private time = 0;
  private readonly writes: { time: number; core: number; line: number; byte: number }[] = [];
  /** By core and line. */
  private readonly lost = new Map<string, 'taken' | 'replaced'>();
  private readonly lastEssential = new Map<string, number>();
  /** Misses whose lines are still there, with what was accessed since. */
  private readonly lifetimes = new Map<string, { result: { kind: string }; time: number }>();
  readonly results: { kind: string; isIntervention: boolean; invalidated: number[] }[] = [];

  constructor(
    private readonly cores: number,
    private readonly setCount: number,
    private readonly ways: number,
  ) {
    this.sets = Array.from({ length: cores }, () => Array.from({ length: setCount }, () => []));
  }

  private find(core: number, line: number) {
    return this.sets[core]![line % this.setCount]!.find((entry) => entry.line === line);
  }

  state(core: number, line: number): string {
    return this.find(core, line)?.state ?? 'I';
  }

  refer({ core, line, offset, size, isStore, isExclusive }: Reference): void {
    this.time++;
    const key = `${core} ${line}`;
    const state = this.state(core, line);
    const result = { kind: 'hit', isIntervention: false, invalidated: [] as number[] };
    this.results.push(result);
    const others = Array.from({ length: this.cores }, (_, i) => i).filter(
      (other) => other !== core && this.state(other, line) !== 'I',
    );
    const invalidateOthers = (): void => {
      for (const other of others) {
        this.find(other, line)!.state = 'I';
        this.lost.set(`${other} ${line}`, 'taken');
        this.lifetimes.delete(`${other} ${line}`);
        result.invalidated.push(other);
      }
    };
    const wants = isStore || isExclusive;
    let next = state;
    if (state === 'I') {
      const lost = this.lost.get(key);
      result.kind = !this.lastEssential.has(key) ? 'cold' : lost === 'taken' ? 'false' : 'capacity';
      result.isIntervention = others.some((other) => this.state(other, line) === 'M');
      if (wants) invalidateOthers();
      else for (const other of others) this.find(other, line)!.state = 'S';
      next = isStore ? 'M' : wants || others.length === 0 ? 'E' : 'S';
      if (result.kind !== 'false') this.lastEssential.set(key, this.time);
      else this.lifetimes.set(key, { result, time: this.time });
    } else if (wants && state === 'S') {
      result.kind = 'upgrade';
      invalidateOthers();
      next = isStore ? 'M' : 'E';
    } else if (isStore) next = 'M';
    this.bring(core, line, next as 'M');
    const bytes = Array.from({ length: size }, (_, i) => offset + i);
    const lifetime = this.lifetimes.get(key);
    const since = this.lastEssential.get(key)!;
    const isNew = this.writes.some(
      (write) =>
        write.core !== core &&
        write.line === line &&
        write.time > since &&
        bytes.includes(write.byte),
    );
    if (lifetime && isNew) {
      lifetime.result.kind = 'true';
      this.lastEssential.set(key, lifetime.time);
      this.lifetimes.delete(key);
    }
    if (isStore) for (const byte of bytes) this.writes.push({ time: this.time, core, line, byte });
  }

  private bring(core: number, line: number, state: 'M' | 'E' | 'S' | 'I'): void {
    const set = this.sets[core]![line % this.setCount]!;
    const at = set.findIndex((entry) => entry.line === line);
    if (at >= 0) set.splice(at, 1);
    set.unshift({ line, state });
    if (set.length <= this.ways) return;
    const out = set.pop()!;
    if (out.state === 'I') return;
    this.lost.set(`${core} ${out.line}`, 'replaced');
    this.lifetimes.delete(`${core} ${out.line}`);
  }
}

/** The same by the analysis's own structures, as it uses them. */
function simulate(
  references: readonly Reference[],
  cores: number,
  sets: number,
  ways: number,
  lines: number,
  check: (coherence: Coherence) => void,
): Result[] {
  const kinds: string[] = [];
  let invalidated: number[] = [];
  const caches = new PrivateCaches(cores, sets, ways);
  const coherence = new Coherence(cores, lines, {
    settled: (number, isTrue) => (kinds[number] = isTrue ? 'true' : 'false'),
    invalidated: (_, core) => invalidated.push(core),
  });
  const results = references.map(({ core, line, offset, size, isStore, isExclusive }, i) => {
    if (!caches.touch(core, line % sets, -1 - line) && caches.replaced < 0)
      coherence.replace(core, -1 - caches.replaced);
    invalidated = [];
    const outcome = coherence.access(core, line, offset, size, isStore, isExclusive);
    if (outcome & OUTCOME.coherence) {
      if (outcome & OUTCOME.isTrue) kinds[i] = 'true';
      else coherence.leaveOpen(core, line, i);
    } else if (outcome & OUTCOME.upgrade) kinds[i] = 'upgrade';
    else
      kinds[i] = outcome & OUTCOME.cold ? 'cold' : outcome & OUTCOME.capacity ? 'capacity' : 'hit';
    check(coherence);
    return { isIntervention: (outcome & OUTCOME.intervention) !== 0, invalidated };
  });
  coherence.finish();
  return results.map((result, i) => ({ kind: kinds[i] as 'hit', ...result }));
}

test('caches of several cores do what MESI and the definitions of sharing say', () => {
  const first = seed();
  const seen = new Set<string>();
  for (let round = 0; round < 60; round++) {
    const random = randomOf(first + round);
    const cores = 2 + random(3);
    const [sets, ways, lines] = [1 << random(3), 1 + random(3), 4 + random(8)];
    const references = Array.from({ length: 400 }, (): Reference => {
      const size = 1 << random(6);
      const isStore = random(3) === 0;
      // Few places, so that bytes meet.
      const offset = Math.min(8 * random(8), LINE - size);
      const line = random(3) === 0 ? random(lines) : random(2);
      return { core: random(cores), line, offset, size, isStore, isExclusive: random(8) === 0 };
    });
    const twin = new Twin(cores, sets, ways);
    for (const reference of references) twin.refer(reference);
    const results = simulate(references, cores, sets, ways, lines, ({ states }) => {
      for (let line = 0; line < lines; line++) {
        const held = [...states.subarray(line * cores, (line + 1) * cores)].filter(
          (state) => state !== INVALID,
        );
        const owners = held.filter((state) => state === MODIFIED || state === EXCLUSIVE).length;
        assert.ok(owners === 0 || held.length === 1, `line ${line} has an owner and others`);
      }
    });
    assert.deepEqual(results, twin.results, `GRIND_SEED=${first + round}`);
    for (const { kind } of results) seen.add(kind);
  }
  assert.deepEqual([...seen].sort(), ['capacity', 'cold', 'false', 'hit', 'true', 'upgrade']);
});

test('sharing is true by the byte that is accessed, at any time before the line is lost again', () => {
  const kinds = (...list: [core: number, offset: number, isStore: boolean][]): string[] =>
    simulate(
      list.map(([core, offset, isStore]) => {
        return { core, line: 0, offset, size: 1, isStore, isExclusive: false };
      }),
      2,
      1,
      1,
      1,
      () => {},
    ).map(({ kind }) => kind);
  const [read, write] = [false, true];
  // Only the neighbour's byte was written.
  assert.deepEqual(kinds([0, 0, read], [1, 1, write], [0, 0, read]), ['cold', 'cold', 'false']);
  // The miss is of one byte, and a later hit of the one that was written.
  assert.deepEqual(kinds([0, 0, read], [1, 1, write], [0, 0, read], [0, 1, read]), [
    ...['cold', 'cold', 'true', 'hit'],
  ]);
  // What was written before a miss of false sharing is still news after the next.
  assert.deepEqual(
    kinds([0, 0, read], [1, 1, write], [0, 0, read], [1, 2, write], [0, 1, read], [0, 2, read]),
    ['cold', 'cold', 'false', 'upgrade', 'true', 'hit'],
  );
});

// ---- The schedule ----

interface Step {
  readonly core: number;
  readonly tick: number;
  readonly what: 'access' | 'take' | 'let go' | 'signal' | 'await';
  readonly object: number;
}

/** Random turns of cores with locks and signals that make sense in the recorded order. */
function randomSteps(random: (below: number) => number, cores: number): Step[] {
  const steps: Step[] = [];
  const holder = new Map<number, number>();
  const held = new Map<number, number>();
  let tick = 0;
  for (let turn = 0; turn < 40; turn++) {
    const core = random(cores);
    for (let i = random(12); i >= 0; i--) {
      tick += random(4);
      const object = random(3);
      const own = held.get(core);
      const kind = random(8);
      if (kind === 0 && own === undefined && !holder.has(object)) {
        holder.set(object, core);
        held.set(core, object);
        steps.push({ core, tick, what: 'take', object });
      } else if (kind === 1 && own !== undefined) {
        holder.delete(own);
        held.delete(core);
        steps.push({ core, tick, what: 'let go', object: own });
      } else if (kind === 2) steps.push({ core, tick, what: 'signal', object: 10 + object });
      else if (kind === 3 && own === undefined)
        steps.push({ core, tick, what: 'await', object: 10 + object });
      else steps.push({ core, tick, what: 'access', object: steps.length });
    }
    tick += 1;
  }
  for (const [core, object] of held) steps.push({ core, tick, what: 'let go', object });
  return steps;
}

/** The accesses in the order of the schedule. @param goesOn - asks it to go on whenever it can */
function scheduled(steps: readonly Step[], cores: number, goesOn: boolean, most?: number) {
  const order: number[] = [];
  const schedule = new ParallelSchedule(
    cores,
    { access: (_core, _thread, _site, address) => order.push(address), replace: () => {} },
    most,
    1,
  );
  for (let core = 0; core < cores; core++) schedule.setBusy(core, true);
  let running = -1;
  for (const { core, tick, what, object } of steps) {
    if (core !== running) {
      schedule.end(tick);
      schedule.begin((running = core), tick);
    }
    if (what === 'access') schedule.add(core, core, tick, 0, object, 0);
    else if (what === 'take') schedule.takeLock(core, tick, object, false);
    else if (what === 'let go') schedule.letGo(core, tick, object);
    else if (what === 'signal') schedule.signal(core, tick, object);
    else schedule.await(core, tick, object);
    if (goesOn) schedule.advance(tick);
  }
  schedule.end(steps.at(-1)!.tick);
  schedule.finish();
  return { order, cuts: schedule.cuts, overflows: schedule.overflows };
}

test('a schedule that goes on as soon as it can is that which is made at the end', () => {
  const first = seed();
  for (let round = 0; round < 200; round++) {
    const random = randomOf(first + round);
    const cores = 2 + random(3);
    const steps = randomSteps(random, cores);
    const message = `GRIND_SEED=${first + round}`;
    const { order, cuts } = scheduled(steps, cores, true);
    assert.equal(cuts, 0, message);
    assert.deepEqual(order, scheduled(steps, cores, false).order, message);
    // Each core does what it did, in that order.
    const accesses = steps.filter(({ what }) => what === 'access');
    assert.equal(order.length, accesses.length);
    const coreOf = new Map(accesses.map(({ object, core }) => [object, core]));
    for (let core = 0; core < cores; core++)
      assert.deepEqual(
        order.filter((object) => coreOf.get(object) === core),
        accesses.filter((step) => step.core === core).map(({ object }) => object),
        message,
      );
    // With hardly any room all the same happens, in another order.
    const narrow = scheduled(steps, cores, true, 8);
    assert.deepEqual([...narrow.order].sort(), [...order].sort(), message);
  }
});

test('cores run at once, but for locks and signals', () => {
  const steps = (text: string): Step[] => {
    const words = { a: 'access', t: 'take', l: 'let go', s: 'signal', w: 'await' } as const;
    return text.split(' ').map((word, i) => {
      const what = words[word[0] as keyof typeof words];
      return { core: Number(word[1]), tick: i, what, object: what === 'access' ? i : 99 };
    });
  };
  const order = (text: string): number[] => scheduled(steps(text), 2, true).order;
  assert.deepEqual(order('a0 a0 a0 a1 a1 a1'), [0, 3, 1, 4, 2, 5]);
  // The second core comes to the lock while the first has it.
  assert.deepEqual(order('t0 a0 a0 a0 l0 a0 t1 a1 l1'), [1, 2, 3, 5, 7]);
  // The other way round than it was recorded: the first core is late.
  assert.deepEqual(order('a0 a0 a0 a0 t0 a0 l0 t1 a1 l1'), [0, 1, 8, 2, 3, 5]);
  assert.deepEqual(order('a0 a0 s0 a0 w1 a1 a1'), [0, 1, 3, 5, 6]);
});

// ---- Filtered accesses ----

/** Misses of a small cache for each core, by ticks and lines, from all accesses or those that a filter lets through. */
function misses(trace: Trace, options: ReplayOptions, sets: number, ways: number): string[] {
  const { cores, coreOf } = placementOf(trace, 0);
  const caches = new PrivateCaches(cores, sets, ways);
  const found: string[] = [];
  let core = 0;
  const take = (): void => {
    const { count, sites, ticks, addresses } = replay.guest.takeAccesses();
    for (let i = 0; i < count; i++) {
      const size = BigInt(replay.sites.sizes[sites[i]!]!);
      const from = addresses[i]! / 64n;
      for (let line = from; line <= (addresses[i]! + size - 1n) / 64n; line++)
        if (!caches.touch(core, Number(line % BigInt(sets)), Number(line)))
          found.push(`${ticks[i]!} core ${core} line ${line}`);
    }
    replay.guest.resetAccesses();
  };
  const replay = openReplay(trace, 0, {
    accesses: true,
    columns: new Set(['ticks', 'addresses']),
    ...options,
    observer: {
      tables: [slices],
      applied: (row) => {
        take();
        core = coreOf.get(row.u32('thread')) ?? 0;
        replay.guest.lines?.forgetLatest();
      },
    },
  });
  replay.guest.lines?.turn(true);
  while (replay.nextAccesses()) take();
  take();
  assert.deepEqual(replay.divergences, []);
  return found;
}

test('accesses that are left out change nothing in any cache with these sets', () => {
  const trace = Trace.open(record(['threads.c']).folder);
  try {
    const shared = findSharedLines(trace, 0, placementOf(trace, 0), () => {});
    assert.ok(shared.lines.length > 0);
    for (const [sets, ways] of [
      [64, 12],
      [64, 1],
      [4, 2],
      [1, 8],
    ] as const) {
      const all = misses(trace, {}, sets, ways);
      assert.deepEqual(
        misses(trace, { lines: { sets, followed: () => undefined } }, sets, ways),
        all,
      );
      assert.deepEqual(
        misses(trace, { lines: { sets, followed: (at) => shared.marksOf(at) } }, sets, ways),
        all,
      );
    }
  } finally {
    trace.close();
  }
});

test('all accesses to lines that are shared are told of, and all others are counted', () => {
  const trace = Trace.open(record(['threads.c']).folder);
  try {
    const shared = findSharedLines(trace, 0, placementOf(trace, 0), () => {});
    const numbers = new Set(shared.lines);
    const rows = (options: ReplayOptions): { shared: string[]; count: number; counted: number } => {
      const found: string[] = [];
      let count = 0;
      const replay = openReplay(trace, 0, { accesses: true, counts: true, ...options });
      replay.guest.lines?.turn(true);
      for (let batch; (batch = replay.nextAccesses());)
        for (let i = 0; i < batch.count; i++) {
          const isGuarded = replay.sites.guarded[batch.sites[i]!] === 1;
          if (!isGuarded) count++;
          const line = Number(batch.addresses[i]! / 64n);
          if (numbers.has(line)) found.push(`${batch.ticks[i]!} ${batch.addresses[i]!}`);
        }
      const { count: segments, accesses, executions } = replay.segments();
      let counted = 0;
      for (let i = 0; i < segments; i++) counted += accesses[i]! * Number(executions[i]!);
      return { shared: found, count, counted };
    };
    const all = rows({});
    const some = rows({ lines: { sets: 64, followed: (granule) => shared.marksOf(granule) } });
    assert.deepEqual(some.shared, all.shared);
    assert.ok(some.count < all.count / 2);
    assert.equal(some.counted, all.count);
  } finally {
    trace.close();
  }
});

// ---- Guests ----

const ROUNDS = 5000;

function analyse(recording: Recording, ...options: string[]): void {
  const { status, stderr, stdout } = grind(['analyze', 'sharing', recording.folder, ...options]);
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stdout, /ERROR SUMMARY/);
}

const recordings = new Map<string, Recording>();
function recordingOf(kind: string): Recording {
  let known = recordings.get(kind);
  if (!known) recordings.set(kind, (known = record(['sharing.c', kind, String(ROUNDS)])));
  return known;
}

/** The line that most is to be said of, of those with an object, with the sites in functions that count. */
function worst(recording: Recording, object = '') {
  const line = recording.query(
    `select place, true_misses::bigint "true", false_misses::bigint "false", upgrades, threads, objects, advice
     from sharing_lines where contains(objects, '${object}') order by true_misses + false_misses + upgrades desc limit 1`,
  )[0]!;
  const sites = recording.query(
    `select thread, is_store, object, object_offset, stack > 0 in_heap, line from sharing_sites
     where place = ${String(line['place'])} and function like 'count%' and true_misses + false_misses + upgrades > 10
     order by thread, is_store`,
  );
  return { line, sites };
}

for (const [kind, object, inHeap] of [
  ['false', /^neighbours$/, false],
  ['heap', /^block of 16 bytes allocated by make_counters \(sharing\.c:\d+\)$/, true],
  ['stack', /^stack of thread #1$/, false],
] as const)
  test(`two counters in one line are false sharing: ${kind}`, () => {
    const recording = recordingOf(kind);
    analyse(recording);
    const { line, sites } = worst(recording);
    assert.match(line['objects'] as string, object);
    assert.equal(line['true'], 0n);
    // Each round is a miss, but before both threads run; and an upgrade, or a second one to write.
    assert.ok((line['false'] as bigint) > (2n * BigInt(ROUNDS) * 9n) / 10n);
    assert.ok((line['upgrades'] as bigint) > (BigInt(ROUNDS) * 9n) / 10n);
    assert.match(line['advice'] as string, /^Keep apart by 64 bytes .*thread #2; .*thread #3\.$/);
    // One thread fights for the first of them, the other for the second.
    const offsets = [2n, 3n].map((number) => {
      const own = sites.filter(({ thread }) => thread === number);
      assert.equal(new Set(own.map((site) => site['object_offset'])).size, 1);
      return own[0]!['object_offset'] as bigint;
    });
    assert.equal(offsets[1]! - offsets[0]!, 8n);
    for (const site of sites) assert.equal(site['in_heap'], inHeap);
  });

test('counters that are a line apart are not shared', () => {
  const recording = recordingOf('apart');
  analyse(recording);
  const { line } = worst(recording);
  assert.ok((line['false'] as bigint) + (line['true'] as bigint) < 10n);
  assert.equal(recording.cell("select count(*) from sharing_lines where advice <> ''"), 0n);
  assert.equal(
    recording.cell("select count(*) from sharing_lines where objects like '%strangers%'"),
    0n,
  );
});

for (const [kind, object] of [
  ['true', 'common'],
  ['guarded', 'guarded'],
] as const)
  test(`one counter that all change is true sharing: ${kind}`, () => {
    const recording = recordingOf(kind);
    analyse(recording);
    // What lets the two take turns passes more often than what the lock guards.
    const { line } = worst(recording, kind === 'guarded' ? object : '');
    assert.equal(line['objects'], object);
    // A thread may count on while the other gets nowhere; a lock is taken by both in each round.
    const least = BigInt(kind === 'guarded' ? ROUNDS - 2 : ROUNDS / 10);
    assert.ok((line['true'] as bigint) > least, String(line['true']));
    assert.equal(line['advice'], '');
  });

test('in the recorded order hardly any line passes between cores, and on one core none', () => {
  const recording = recordingOf('false');
  const total = (): bigint =>
    recording.cell(
      'select sum(true_misses + false_misses + upgrades)::bigint from sharing_threads',
    ) as bigint;
  analyse(recording);
  const parallel = total();
  const accesses = recording.query('select thread, accesses, instructions from sharing_threads');
  analyse(recording, '--schedule=recorded');
  assert.ok(100n * total() < parallel);
  assert.deepEqual(
    recording.query('select thread, accesses, instructions from sharing_threads'),
    accesses,
  );
  analyse(recording, '--cores=1');
  assert.equal(total(), 0n);
});

interface Profile {
  readonly threads: { thread: number }[];
  readonly lines: object[];
  readonly sites: object[];
}

test('tables add up; what one sends another receives; JSON has the tables', () => {
  const recording = recordingOf('guarded');
  analyse(recording);
  const events = ['true_misses', 'false_misses', 'upgrades', 'interventions', 'invalidations'];
  const sums = (table: string) =>
    recording.row(
      `select ${events.map((name) => `sum(${name}) ${name}`).join()} from ${table} where analysis = 'sharing'`,
    );
  assert.deepEqual(sums('sharing_lines'), sums('sharing_threads'));
  assert.deepEqual(sums('sharing_sites'), sums('sharing_threads'));
  assert.equal(
    recording.cell('select sum(invalidations) = sum(invalidations_received) from sharing_threads'),
    true,
  );
  const { stdout } = grind(['analyze', 'sharing', recording.folder, '--format', 'json']);
  const { summary } = JSON.parse(stdout) as {
    summary: { processes: [{ profile: Profile }] };
  };
  const { threads, lines, sites } = summary.processes[0].profile;
  assert.deepEqual(
    threads.map(({ thread }) => thread),
    [1, 2, 3],
  );
  assert.ok(lines.length > 0 && sites.length > 0);
});

test('options that make no sense are refused in a sentence; one thread shares nothing', () => {
  const { folder } = recordingOf('false');
  for (const [option, sentence] of [
    ['--cores=0', /--cores takes a whole number from 1 to 64/],
    ['--D1=32768,8,128', /lines of 64 bytes only/],
    ['--rows=0', /--rows takes a whole number from 1/],
  ] as const) {
    const { status, stderr } = grind(['analyze', 'sharing', folder, option]);
    assert.notEqual(status, 0);
    assert.match(stderr, sentence);
  }
  const { stdout } = grind(['analyze', 'sharing', record(['counted.c']).folder]);
  assert.match(stdout, /Only one thread ever lived/);
});
