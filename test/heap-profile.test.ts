/** heap against what a guest's source says, an obvious twin, and massif and dhat themselves. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { Trace } from '../replay/trace.js';
import {
  compile,
  grind,
  record,
  ROOT,
  run,
  scratch,
  type Recording,
  type ResultRow,
} from './guest.js';
import { PlainHeap } from './plain-heap.js';

const GUEST = 'heap-use.c';

let shared: Recording | undefined;
const recording = (): Recording => (shared ??= record([GUEST, 'fork']));

let alone: Recording | undefined;
const unforked = (): Recording => (alone ??= record([GUEST]));

/** Analyzes a run; returns what it prints. */
function analyze(folder: string, ...options: string[]): string {
  const { status, stdout, stderr } = grind(['analyze', 'heap', folder, ...options]);
  assert.equal(status, 0, stderr);
  return stdout;
}

const SITES = 'select * exclude (analysis) from heap_sites order by process, stack';

test('a block is measured as the source says', () => {
  const { folder } = recording();
  analyze(folder, '--accesses=yes');
  const rows = recording().query(SITES);
  const source = readFileSync(join(ROOT, 'test', 'guests', GUEST), 'utf8').split('\n');
  let checked = 0;
  for (const [i, line] of source.entries()) {
    const expected = /\/\/ expect (.*)$/.exec(line)?.[1];
    if (!expected) continue;
    const found = rows.filter(
      (row) => row['process'] === 0n && row['file'] === GUEST && row['line'] === BigInt(i + 1),
    );
    assert.equal(found.length, 1, line);
    for (const [, column, value] of expected.matchAll(/(\w+)=(\d+)/g)) {
      assert.equal(found[0]![column!], BigInt(value!), `${column} of line ${i + 1}:${line}`);
      checked++;
    }
  }
  assert.ok(checked > 30);
});

const COLUMNS = [
  ...['blocks', 'bytes', 'lifetime_ticks', 'short_lived_blocks', 'peak_blocks', 'peak_bytes'],
  ...['end_blocks', 'end_bytes', 'read_bytes', 'written_bytes', 'copied_bytes'],
  ...['untouched_bytes', 'write_only_bytes'],
];

/** Accesses by offset of a site, run by run, as the table has them. */
function* runsOf(
  bytes: readonly { readonly loads: number; readonly stores: number }[],
): Generator<ResultRow> {
  const last = bytes.findLastIndex(({ loads, stores }) => loads > 0 || stores > 0);
  for (let from = 0; from <= last;) {
    const { loads, stores } = bytes[from]!;
    let to = from;
    while (to <= last && bytes[to]!.loads === loads && bytes[to]!.stores === stores) to++;
    yield {
      offset: BigInt(from),
      bytes: BigInt(to - from),
      read_bytes: BigInt(loads * (to - from)),
      written_bytes: BigInt(stores * (to - from)),
    };
    from = to;
  }
}

test('sites and offsets are those of the obvious twin, in a forked process, too', () => {
  const { folder } = recording();
  analyze(folder, '--accesses=yes');
  const rows = recording().query(SITES);
  const offsets = recording().query(
    'select process, stack, "offset", bytes, read_bytes, written_bytes from heap_offsets order by all',
  );
  const trace = Trace.open(folder);
  for (const { process } of trace.processes) {
    const twin = new PlainHeap(trace, process, 500);
    const own = rows.filter((row) => row['process'] === BigInt(process));
    assert.ok(own.length > 3);
    for (const row of own) {
      const site = twin.sites.get(Number(row['stack']))!;
      for (const column of COLUMNS)
        assert.equal(
          row[column],
          BigInt((site[column] as number | undefined) ?? 0),
          `${column} of ${String(row['function'])}:${String(row['line'])}`,
        );
      // Large blocks are counted in units.
      if ((row['largest_bytes'] as bigint) > 16384n) continue;
      const runs = offsets.filter(
        (one) => one['process'] === row['process'] && one['stack'] === row['stack'],
      );
      const inTable = runs.map(({ process: _, stack: __, ...columns }) => columns);
      assert.deepEqual(
        trimmed(inTable),
        [...runsOf(site.offsets)],
        `stack ${String(row['stack'])}`,
      );
    }
    const known = new Set(own.map((row) => Number(row['stack'])));
    for (const [stack, site] of twin.sites)
      assert.ok(known.has(stack) || !site['blocks'], `stack ${stack} is not told of`);
  }
  trace.close();
});

/** Without runs at the end that nobody accessed. */
function trimmed(runs: ResultRow[]): ResultRow[] {
  while (
    runs.length > 0 &&
    runs.at(-1)!['read_bytes'] === 0n &&
    runs.at(-1)!['written_bytes'] === 0n
  )
    runs.pop();
  return runs;
}

// ---- dhat ----

interface DhatPoint {
  readonly tb: number;
  readonly tbk: number;
  readonly tl: number;
  readonly gb: number;
  readonly gbk: number;
  readonly eb: number;
  readonly ebk: number;
  readonly rb: number;
  readonly wb: number;
  readonly acc?: number[];
  readonly fs: number[];
}

interface DhatFile {
  readonly dhatFileVersion: number;
  readonly te: number;
  readonly tg: number;
  readonly pps: DhatPoint[];
  readonly ftbl: string[];
}

/** Points by their innermost frame in the guest. */
function points({ pps, ftbl }: DhatFile): Map<string, Omit<DhatPoint, 'fs' | 'tl'>> {
  return new Map(
    pps.flatMap(({ fs, tl: _, acc, ...point }) => {
      const place = fs.map((frame) => /: (\w+ \(heap-use\.c:\d+\))$/.exec(ftbl[frame]!)?.[1]);
      const own = place.find((one) => one !== undefined);
      const { mb: __, mbk: ___, ...rest } = point as typeof point & { mb: number; mbk: number };
      return own ? [[own, { ...rest, ...(acc && { acc: expanded(acc) }) }] as const] : [];
    }),
  );
}

function expanded(acc: readonly number[]): number[] {
  const values: number[] = [];
  for (let i = 0; i < acc.length; i++) {
    const value = acc[i]!;
    if (value >= 0) values.push(value);
    else values.push(...Array.from({ length: -value }, () => acc[i + 1]!));
    if (value < 0) i++;
  }
  return values;
}

test('dhat measures the same', () => {
  const single = unforked();
  const [ours, theirs] = [scratch('dhat'), scratch('dhat')];
  analyze(single.folder, `--dhat-out=${ours}`);
  run([
    ...['valgrind', '--tool=dhat', `--dhat-out-file=${theirs}`],
    ...['--run-libc-freeres=no', '--run-cxx-freeres=no', compile(GUEST)],
  ]);
  const mine = JSON.parse(readFileSync(ours, 'utf8')) as DhatFile;
  const other = JSON.parse(readFileSync(theirs, 'utf8')) as DhatFile;
  assert.deepEqual(Object.keys(mine).sort(), Object.keys(other).sort());
  assert.equal(mine.dhatFileVersion, 2);
  const [found, expected] = [points(mine), points(other)];
  assert.ok(expected.size > 10);
  assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort());
  for (const [place, point] of expected) {
    // It takes a block of no size for one of one byte.
    const isEmpty = place.startsWith('main') && point.tb === 1;
    if (isEmpty) continue;
    const own = found.get(place)!;
    // It forgets offsets of blocks that realloc has moved, and of those in which an access counter is full it keeps less.
    const hasOffsets =
      own.acc && point.acc && !place.startsWith('moved') && !place.startsWith('often');
    assert.deepEqual(
      hasOffsets ? own : { ...own, acc: undefined },
      hasOffsets ? point : { ...point, acc: undefined },
      place,
    );
  }
});

/** What Valgrind's viewer shows of a file when it is loaded, as text. */
function shownByViewer(path: string): string {
  const folder = '/usr/libexec/valgrind';
  const page = scratch('view.html');
  const json = JSON.stringify(readFileSync(path, 'utf8')).replaceAll('<', '\\u003c');
  const load = `onLoad();
    const files = new DataTransfer();
    files.items.add(new File([${json}], 'dhat.json'));
    const input = document.querySelector('input[type=file]');
    input.files = files.files;
    input.dispatchEvent(new Event('change'));
    document.currentScript.remove();`;
  writeFileSync(
    page,
    `<!DOCTYPE html><meta charset="UTF-8"><script src="file://${folder}/dh_view.js"></script>
<body><script>${load}</script></body>`,
  );
  const { stdout } = run([
    ...['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=5000'],
    ...['--dump-dom', `file://${page}`],
  ]);
  return stdout.replaceAll(/<[^>]*>/g, '').replaceAll(/ +/g, ' ');
}

test('dh_view.html shows what the file has', () => {
  const path = scratch('dhat');
  analyze(unforked().folder, `--dhat-out=${path}`);
  const { pps, te } = JSON.parse(readFileSync(path, 'utf8')) as DhatFile;
  const shown = shownByViewer(path);
  const total = (name: 'tb' | 'tbk' | 'gb' | 'eb' | 'rb' | 'wb'): string =>
    pps.reduce((sum, point) => sum + point[name], 0).toLocaleString('en');
  for (const line of [
    `t-end: ${te.toLocaleString('en')} instrs`,
    `Total: ${total('tb')} bytes (100%, `,
    ` in ${total('tbk')} blocks (100%, `,
    `At t-gmax: ${total('gb')} bytes (100%)`,
    `At t-end: ${total('eb')} bytes (100%)`,
    `Reads: ${total('rb')} bytes (100%, `,
    `Writes: ${total('wb')} bytes (100%, `,
  ])
    assert.ok(shown.includes(line), `${line} is not in ${shown.slice(0, 2000)}`);
  assert.match(shown, /#\d+: 0x\w+: \w+ \(heap-use\.c:\d+\)/);
});

// ---- massif ----

interface MassifSnapshot {
  readonly heap: number;
  readonly extra: number;
  readonly kind: string;
  /** Bytes by place in the guest that asked for them. */
  readonly places: Map<string, number>;
}

function snapshots(file: string): MassifSnapshot[] {
  return readFileSync(file, 'utf8')
    .split(/^snapshot=/m)
    .slice(1)
    .map((text) => {
      const number = (name: string): number =>
        Number(new RegExp(`^${name}=(\\d+)$`, 'm').exec(text)![1]);
      const places = [...text.matchAll(/^ n\d+: (\d+) 0x\w+: (\w+ \(heap-use\.c:\d+\))$/gm)];
      return {
        heap: number('mem_heap_B'),
        extra: number('mem_heap_extra_B'),
        kind: /^heap_tree=(\w+)$/m.exec(text)![1]!,
        places: new Map(places.map(([, bytes, place]) => [place!, Number(bytes)])),
      };
    });
}

const inUse = ([, bytes]: readonly [string, number]): boolean => bytes > 0;

test('massif finds the same peak and the same tree, and ms_print reads the file', () => {
  const single = unforked();
  const [ours, theirs] = [scratch('massif'), scratch('massif')];
  const text = analyze(single.folder, `--massif-out=${ours}`, '--threshold=0', '--detailed-freq=1');
  run([
    ...['valgrind', '--tool=massif', `--massif-out-file=${theirs}`, '--peak-inaccuracy=0'],
    ...['--threshold=0', '--max-snapshots=1000', '--detailed-freq=1', compile(GUEST)],
  ]);
  const [mine, other] = [ours, theirs].map((file) =>
    snapshots(file).find(({ kind }) => kind === 'peak'),
  );
  assert.equal(mine!.heap, other!.heap);
  // It shows places of which nothing is left, too; and its extra bytes depend on which free block it takes.
  assert.deepEqual([...mine!.places].filter(inUse), [...other!.places].filter(inUse));
  assert.equal([...mine!.places].filter(inUse).length, 3);
  assert.ok(mine!.extra <= other!.extra);
  assert.match(
    text,
    new RegExp(`^Peak: ${mine!.heap.toLocaleString('en')} bytes in 4 blocks`, 'm'),
  );
  const printed = run(['ms_print', ours]);
  assert.equal(printed.status, 0, printed.stderr);
  const total = (mine!.heap + mine!.extra).toLocaleString('en');
  assert.match(printed.stdout, new RegExp(`^ +\\d+ +[\\d,]+ +${total} +`, 'm'));
  assert.match(printed.stdout, /->.*0x[0-9A-F]+: peak \(heap-use\.c:\d+\)/);
});

test('the heap at a moment is what was allocated before and released after it', () => {
  const { folder } = recording();
  const rows = recording().query("select tick, size from heap where process = 0 and op = 'malloc'");
  const end = recording().cell('select ticks from processes where process = 0') as bigint;
  for (const at of ['50%', String(rows[3]!['tick']), 'end', '100%']) {
    const tick =
      at === 'end' || at === '100%'
        ? end
        : at === '50%'
          ? BigInt(Math.floor(Number(end) / 2))
          : BigInt(at);
    const json = JSON.parse(
      analyze(folder, '--process=0', `--at=${at}`, '--threshold=0', '--format=json'),
    ) as { summary: { processes: { profile: { tree: { bytes: number; blocks: number }[] } }[] } };
    const [root] = json.summary.processes[0]!.profile.tree;
    const live = recording().row(
      `select count(*) as blocks, coalesce(sum(size), 0)::ubigint as bytes from allocations
       where process = 0 and tick <= ${tick} and (free_tick is null or free_tick > ${tick})
         and allocator not in ('malloclike', 'resize')`,
    );
    assert.deepEqual({ blocks: BigInt(root!.blocks), bytes: BigInt(root!.bytes) }, live, at);
  }
});

test('heap measures the same in a replay that another analysis shares', () => {
  const { folder } = unforked();
  analyze(folder, '--accesses=yes');
  const alone = unforked().query(SITES);
  const other = scratch('other.mjs');
  writeFileSync(
    other,
    `import { defineAnalysis } from 'grind';
     export const analysis = defineAnalysis({
       name: 'other', describe: 'Counts', options: {},
       part: (trace, process) => {
         let accesses = 0;
         return {
           wants: { accesses: true },
           accesses: ({ count }) => (accesses += count),
           finish: () => ({ process, findings: [], missing: [], summary: { accesses } }),
         };
       },
     });`,
  );
  const { status, stdout, stderr } = grind([
    ...['analyze', `heap,${other}`, folder, '--accesses=yes', '--format=json'],
  ]);
  assert.equal(status, 0, stderr);
  assert.deepEqual(unforked().query(SITES), alone);
  const [, counted] = JSON.parse(stdout) as { summary: { processes: { accesses: number }[] } }[];
  assert.equal(
    BigInt(counted!.summary.processes[0]!.accesses),
    unforked().cell('select count(*) from accesses'),
  );
});

test('wrong options are told in a sentence', () => {
  const { folder } = recording();
  for (const [option, what] of [
    ['--at=half', /--at takes/],
    ['--alignment=3', /power of two/],
    ['--threshold=101', /--threshold takes/],
    ['--massif-out=/nonexistent/file', /--massif-out: \/nonexistent\/file\.0 cannot be written/],
    ['--max-snapshots=1', /--max-snapshots takes/],
  ] as const) {
    const { status, stderr } = grind(['analyze', 'heap', folder, option]);
    assert.notEqual(status, 0);
    assert.match(stderr, what);
    assert.doesNotMatch(stderr, /bug in grind/);
  }
});
