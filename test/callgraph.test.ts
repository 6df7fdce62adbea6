/** The call graph: numbers of calls that a guest states, costs that add up, the files for other tools, all ways to run code. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { gunzipSync } from 'node:zlib';
import { CALL_SITE_KINDS } from '../replay/call-sites.js';
import type { CallHooks } from '../replay/calls-guest.js';
import { openReplay, type ProcessReplay } from '../replay/replay.js';
import { Symbols } from '../replay/symbols.js';
import { Trace } from '../replay/trace.js';
import { grind, record, ROOT, run, scratch, type Recording } from './guest.js';

const FILES = ['callgrind', 'collapsed', 'speedscope', 'pprof'] as const;

let shared: { recording: Recording; paths: Record<(typeof FILES)[number], string> } | undefined;
function analysed(): NonNullable<typeof shared> {
  if (shared) return shared;
  const recording = record(['calls.cpp']);
  const paths = Object.fromEntries(FILES.map((name) => [name, scratch(name)])) as NonNullable<
    typeof shared
  >['paths'];
  const { status, stderr } = grind([
    ...['analyze', 'callgraph', recording.folder],
    ...FILES.flatMap((name) => [`--${name}-out`, paths[name]]),
  ]);
  assert.equal(status, 0, stderr);
  return (shared = { recording, paths });
}

/** Calls by the words of an expectation, its number last: `CALLER CALLEE` or `thread N CALLER CALLEE`. */
function expectations(): Map<string, bigint> {
  const text = readFileSync(join(ROOT, 'test', 'guests', 'calls.cpp'), 'utf8');
  const found = [...text.matchAll(/\/\/ expect ((?:thread \d+ )?\w+ \w+) (\d+)$/gm)];
  return new Map(found.map(([, what, count]) => [what!, BigInt(count!)]));
}

test('every call that the guest states is found, by call, jump, pointer, signal or thread, and no other', () => {
  const { recording } = analysed();
  const expected = expectations();
  assert.ok(expected.size > 25);
  const own = new Set([...expected.keys()].flatMap((key) => key.split(' ').slice(-2)));
  const rows = recording.query(
    `select caller, callee, thread, sum(calls)::ubigint as calls from call_edges where how <> 'signal' group by all`,
  );
  const found = new Map<string, bigint>();
  for (const { caller, callee, thread, calls } of rows) {
    if (!own.has(caller as string) || !own.has(callee as string)) continue;
    const key = `${caller as string} ${callee as string}`;
    found.set(key, (found.get(key) ?? 0n) + (calls as bigint));
    found.set(`thread ${thread as bigint} ${key}`, calls as bigint);
  }
  for (const [key, count] of expected) assert.equal(found.get(key), count, key);
  for (const key of found.keys()) assert.ok(expected.has(key.replace(/^thread \d+ /, '')), key);
  const handlers = recording.query(
    `select callee, sum(calls)::ubigint as calls from call_edges where how = 'signal' group by all order by all`,
  );
  assert.deepEqual(handlers, [
    { callee: 'handler', calls: 2n },
    { callee: 'leaving_handler', calls: 1n },
  ]);
});

test('costs add up: to the ticks of the process, and without recursion to those of what is called', () => {
  const { recording } = analysed();
  const ticks = recording.cell('select ticks from processes');
  assert.equal(recording.cell('select sum(self)::ubigint from function_costs'), ticks);
  assert.equal(
    recording.cell(`select sum(self)::ubigint from function_costs where thread > 1`),
    recording.cell(`select sum(instructions)::ubigint from threads where thread > 1`),
  );
  const wrong = recording.query(
    `with e as (select thread, caller, callee, caller_module, callee_module, sum(inclusive) as inclusive from call_edges group by all),
       recursive as (
         with recursive reach(a, b) as (
           select distinct caller, callee from e where caller <> '' union select r.a, e.callee from reach r join e on e.caller = r.b)
         select a from reach where a = b),
       below as (select thread, caller, caller_module, sum(inclusive) as inclusive from e group by all)
     select f.function from function_costs f
       left join below b on b.thread = f.thread and b.caller = f.function and b.caller_module = f.module
     where f.inclusive <> f.self + coalesce(b.inclusive, 0) and f.function <> '' and f.function not in (select a from recursive)`,
  );
  assert.deepEqual(wrong, []);
  const recursive = recording.row(
    `select inclusive, (select sum(inclusive)::ubigint from call_edges where caller = 'main' and callee = 'fibonacci') as called
     from function_costs where function = 'fibonacci'`,
  );
  assert.equal(recursive['inclusive'], recursive['called']);
});

/** Functions of the guest that call nothing by a stub, whose instructions would be theirs. */
const WITHOUT_STUBS = [
  ...['leaf', 'fibonacci', 'is_even', 'is_odd', 'jumps_even', 'jumps_odd', 'jumps_to_leaf'],
  ...['first', 'second', 'by_pointer', 'handler', 'step', 'work'],
];

test('callgrind_annotate reads the file, and its counts are those of executed instructions', () => {
  const { paths, recording } = analysed();
  const ticks = recording.cell('select ticks from processes') as bigint;
  const { status, stdout, stderr } = run([
    ...['callgrind_annotate', '--threshold=100', '--auto=no', '--show=Ir', paths.callgrind],
  ]);
  assert.equal(status, 0, stderr);
  const counts = new Map<string, bigint>();
  for (const [, count, name] of stdout.matchAll(
    /^ *([\d,]+) \( *[\d.]+%\) {2}\S*?:(.+?)(?: \[.*\])?$/gm,
  ))
    counts.set(name!, (counts.get(name!) ?? 0n) + BigInt(count!.replaceAll(',', '')));
  assert.match(
    stdout,
    new RegExp(`^${ticks.toLocaleString('en-US')} \\(100.0%\\)  PROGRAM TOTALS$`, 'm'),
  );
  const costs = recording.query(
    `select function, sum(self)::ubigint as self from function_costs where module like '%/calls' group by all`,
  );
  const selves = new Map(costs.map((row) => [row['function'], row['self']]));
  for (const name of WITHOUT_STUBS) assert.equal(counts.get(name), selves.get(name), name);
  const calls = run([
    'callgrind_annotate',
    '--threshold=100',
    '--auto=no',
    '--tree=calling',
    '--show=Ir',
    paths.callgrind,
  ]);
  assert.match(calls.stdout, />\s+\S*calls\.cpp:second \(10x\)/);
});

test('collapsed stacks, speedscope and pprof have the same contexts', () => {
  const { paths, recording } = analysed();
  const ticks = Number(recording.cell('select ticks from processes'));
  const collapsed = sums(
    readFileSync(paths.collapsed, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => {
        const [, path, count] = /^(.*) (\d+)$/.exec(line)!;
        return [path!, Number(count)] as const;
      }),
  );
  assert.equal(sumOf(collapsed), ticks);
  assert.ok([...collapsed.keys()].some((path) => /;start_thread;work;step;leaf$/.test(path)));

  const speedscope = JSON.parse(readFileSync(paths.speedscope, 'utf8')) as {
    shared: { frames: { name: string }[] };
    profiles: { name: string; endValue: number; samples: number[][]; weights: number[] }[];
  };
  assert.equal(speedscope.profiles.length, 4);
  const names = speedscope.shared.frames.map(({ name }) => name);
  const ofSpeedscope = speedscope.profiles.flatMap(({ name, samples, weights, endValue }) => {
    assert.equal(
      endValue,
      weights.reduce((sum, weight) => sum + weight, 0),
    );
    return samples.map((sample, i) => {
      const path = [name, ...sample.map((frame) => names[frame])].join(';');
      return [path, weights[i]!] as const;
    });
  });
  assert.deepEqual(sums(ofSpeedscope), collapsed);

  const profile = gunzipSync(readFileSync(paths.pprof));
  assert.deepEqual(sums(pprofSamples(profile, 'instructions')), collapsed);
  assert.deepEqual(
    sumOf(sums(pprofSamples(profile, 'allocated'))),
    Number(recording.cell("select sum(size)::ubigint from heap where op not like '%free%'")),
  );
});

/** Functions of the same name are the same here. */
function sums(costs: Iterable<readonly [string, number]>): Map<string, number> {
  const found = new Map<string, number>();
  for (const [path, count] of costs) found.set(path, (found.get(path) ?? 0) + count);
  return found;
}

const sumOf = (costs: ReadonlyMap<string, number>): number =>
  [...costs.values()].reduce((sum, cost) => sum + cost, 0);

/** Field numbers and values of a message of Protocol Buffers. */
function* fields(bytes: Uint8Array): Generator<[number, number | Uint8Array]> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    if ((tag & 7) === 0) yield [tag >> 3, varint()];
    else {
      assert.equal(tag & 7, 2);
      const size = varint();
      yield [tag >> 3, bytes.subarray(at, (at += size))];
    }
  }
}

const fieldsOf = (bytes: Uint8Array, wanted: number): (number | Uint8Array)[] =>
  [...fields(bytes)].filter(([field]) => field === wanted).map(([, value]) => value);

/** Samples of a profile as paths of function names, thread first, read by profile.proto's own words. */
function* pprofSamples(profile: Uint8Array, event: string): Generator<[string, number]> {
  const texts = fieldsOf(profile, 6).map((text) => Buffer.from(text as Uint8Array).toString());
  const one = (message: Uint8Array, field: number) => fieldsOf(message, field)[0] as never;
  const functions = new Map(
    (fieldsOf(profile, 5) as Uint8Array[]).map((message) => [
      one(message, 1),
      texts[one(message, 2)],
    ]),
  );
  const locations = new Map(
    (fieldsOf(profile, 4) as Uint8Array[]).map((message) => [
      one(message, 1) as number,
      functions.get(one(one(message, 4), 1)),
    ]),
  );
  const events = (fieldsOf(profile, 1) as Uint8Array[]).map((type) => texts[one(type, 1)]);
  const value = events.indexOf(event);
  assert.ok(value >= 0);
  const packed = (bytes: Uint8Array): number[] => {
    const values: number[] = [];
    for (let at = 0; at < bytes.length;) {
      let value = 0;
      for (let factor = 1; ; factor *= 128) {
        const byte = bytes[at++]!;
        value += (byte & 127) * factor;
        if (byte < 128) break;
      }
      values.push(value);
    }
    return values;
  };
  for (const sample of fieldsOf(profile, 2) as Uint8Array[]) {
    const label: Uint8Array = one(sample, 3);
    assert.equal(texts[one(label, 1)], 'thread');
    const path = packed(one(sample, 1)).map((id) => locations.get(id)!);
    const cost = packed(one(sample, 2))[value]!;
    if (cost > 0) yield [[`thread ${one(label, 3) as number}`, ...path.reverse()].join(';'), cost];
  }
}

test('who allocated is who stands in the recorded call stacks, and all callers of it', () => {
  const recording = record(['heap-use.c']);
  const file = scratch('allocations.out');
  const { status, stderr } = grind([
    ...['analyze', 'callgraph', recording.folder, '--callgrind-out', file],
  ]);
  assert.equal(status, 0, stderr);
  const ofStacks = recording.query(
    `with own as (
       select stack, arg_min(function, depth) caller from frames
       where not inlined and module not like '%/vgpreload_%' group by stack)
     select caller, count(*)::ubigint allocations, sum(size)::ubigint allocated
     from heap join own using (stack)
     where op not in ('free', 'delete', 'delete_array', 'resize') and address <> 0
     group by caller order by caller`,
  );
  assert.ok(ofStacks.length > 3);
  const ofCalls = recording.query(
    `select caller, sum(allocations)::ubigint allocations, sum(allocated)::ubigint allocated
     from call_edges
     where callee_module like '%/vgpreload_%' and caller_module not like '%/vgpreload_%' and allocations > 0
     group by caller order by caller`,
  );
  assert.deepEqual(ofCalls, ofStacks);
  const total = recording.row(
    `select sum(allocations)::ubigint allocations, sum(allocated)::ubigint allocated
     from (from heap select 1 allocations, size allocated
           where op not in ('free', 'delete', 'delete_array', 'resize') and address <> 0)`,
  );
  assert.deepEqual(
    recording.row("select allocations, allocated from function_costs where function = 'main'"),
    total,
  );
  const annotated = run(['callgrind_annotate', '--show=Al,AlB', '--sort=AlB', file]);
  assert.equal(annotated.status, 0, annotated.stderr);
  const numbers = /^([\d,]+) \(100\.0%\) +([\d,]+) \(100\.0%\) +PROGRAM TOTALS$/m.exec(
    annotated.stdout,
  )!;
  assert.deepEqual(
    numbers.slice(1).map((number) => BigInt(number.replaceAll(',', ''))),
    [total['allocations'], total['allocated']],
  );
});

test('misses of functions are those that the simulation counts by instruction, and add up along calls', () => {
  const recording = record(['fields.c']);
  const caches = ['--I1=1024,2,64', '--D1=512,2,64', '--LL=16384,8,64'];
  const file = scratch('misses.out');
  for (const [analysis, ...options] of [
    ['callgraph', '--cache-sim=yes', '--callgrind-out', file],
    ['cache', '--by-allocation=no'],
  ]) {
    const { status, stderr } = grind([
      ...['analyze', analysis!, recording.folder, ...caches, ...options],
    ]);
    assert.equal(status, 0, stderr);
  }
  const sums = 'sum(i1)::ubigint i1, sum(d1)::ubigint d1, sum(ll)::ubigint as "last"';
  const bySite = `(from cache_lines select "outer" as function, i1mr i1, d1mr + d1mw d1, ilmr + dlmr + dlmw ll)`;
  const byCall = `(from function_costs select function, self_i1_misses i1, self_d1_misses d1, self_ll_misses ll)`;
  const total = recording.row(`select ${sums} from ${bySite}`);
  assert.deepEqual(recording.row(`select ${sums} from ${byCall}`), total);
  // It calls nothing by a stub, whose misses would be its own.
  const own = (of: string) =>
    recording.query(
      `select function, ${sums} from ${of} where function = 'walk' group by function`,
    );
  assert.equal(own(byCall).length, 1);
  assert.deepEqual(own(byCall), own(bySite));
  assert.deepEqual(
    recording.query(
      `with below as (from call_edges select caller, sum(d1_misses)::ubigint misses group by caller)
       select function from function_costs f left join below b on b.caller = f.function
       where f.function in ('main', 'walk', 'make_nodes') and f.d1_misses <> f.self_d1_misses + coalesce(b.misses, 0)`,
    ),
    [],
  );
  const annotated = run(['callgrind_annotate', '--show=I1m,D1m,LLm', '--sort=D1m', file]);
  assert.equal(annotated.status, 0, annotated.stderr);
  const [, ...numbers] =
    /^([\d,]+) \(.*?\) +([\d,]+) \(.*?\) +([\d,]+) \(.*?\) +PROGRAM TOTALS$/m.exec(
      annotated.stdout,
    )!;
  assert.deepEqual(
    numbers.map((number) => BigInt(number.replaceAll(',', ''))),
    [total['i1'], total['d1'], total['last']],
  );
  // One replay has one simulation, so these two have two.
  const costs = () =>
    recording.query('select * exclude (analysis) from function_costs order by all');
  const alone = costs();
  const both = grind([
    ...['analyze', 'cache,callgraph', recording.folder, '--cache-sim=yes', ...caches],
  ]);
  assert.equal(both.status, 0, both.stderr);
  assert.deepEqual(costs(), alone);
});

/** All rows of a replay as text. */
function rowsOf(trace: Trace, how: (replay: ProcessReplay) => void): string[] {
  const symbols = new Symbols(trace, 0);
  const found: string[] = [];
  const hooks: CallHooks = {
    isFunction: (address) => symbols.codeStart(address)?.address === address,
    rows: ({ count, sites, ticks, stacks }, table) => {
      for (let i = 0; i < count; i++) {
        const site = sites[i]!;
        found.push(
          `${CALL_SITE_KINDS[table.kinds[site]!]} ${table.pcs[site]} ${ticks[i]} ${stacks[i]}`,
        );
      }
    },
    select: (thread, tick) => found.push(`thread ${thread} ${tick}`),
    signal: (onOtherStack) => found.push(`signal ${onOtherStack}`),
    fork: () => {},
    end: (tick) => found.push(`end ${tick}`),
    lost: () => assert.fail('diverged'),
  };
  const replay = openReplay(trace, 0, { counts: true, calls: hooks });
  how(replay);
  replay.finish();
  return found;
}

test('stencils, compiled blocks and the interpreter tell of the same calls', () => {
  const trace = Trace.open(analysed().recording.folder);
  try {
    const threaded = rowsOf(trace, () => {});
    const compiled = rowsOf(trace, ({ guest }) => (guest.hotAfter = 0));
    const { ticks } = trace.processes[0]!;
    const interpreted = rowsOf(trace, (replay) => replay.runUntil(ticks, 'after', () => {}));
    assert.ok(threaded.length > 5000);
    assert.deepEqual(compiled, threaded);
    assert.deepEqual(interpreted, threaded);
  } finally {
    trace.close();
  }
});
