/**
 * The benchmark (`npm run bench`, `-- --json` for data): what recording and analysis cost beside running
 * natively and under the engine's own tools, how large the trace is, how fast `accesses` is read. All in
 * one run, one after the other, on this machine; nothing is cached between the columns but the file system.
 *
 * CPU is user + system time of a process and everything it waited for, as the shell's `times` reports it.
 * Peak memory is the sum of the resident sets of the guest's process tree and, separately, of the recorder
 * (Node), sampled from /proc; shared pages count in each, so both are upper bounds.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const GRIND = join(ROOT, 'dist', 'bin', 'grind.js');
const folder = mkdtempSync(join(tmpdir(), 'grind-bench-'));
const json = process.argv.includes('--json');
const only = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));

interface Guest {
  readonly name: string;
  readonly argv: readonly string[];
  /** The same on a part of the input, for lackey, which takes minutes otherwise: its cost is scaled up. */
  readonly part?: { readonly argv: readonly string[]; readonly scale: number };
}

interface Cost {
  readonly wallS: number;
  readonly cpuS: number;
}

interface Memory {
  /** Peak of the guest and the engine it runs in, in bytes. */
  guestBytes: number;
  /** Peak of the recording process, in bytes. */
  recorderBytes: number;
}

/** lackey gets one part of so many of gzip's input. */
const LACKEY_PART = 20;

/** Text that compresses about as well as prose: words of a fixed vocabulary in a fixed pseudo-random order. */
function makeText(sizeBytes: number): Buffer {
  let state = 0x9e3779b9;
  const random = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const letters = 'etaoinshrdlucmfwypvbgkjqxz';
  const words = Array.from({ length: 20_000 }, () =>
    Array.from(
      { length: 2 + Math.floor(random() * 9) },
      () => letters[Math.floor(random() ** 2 * 26)],
    ).join(''),
  );
  const parts: string[] = [];
  for (let size = 0; size < sizeBytes;) {
    const word = words[Math.floor(words.length * random() ** 4)]!;
    const end = [', ', '.\n', '; ', ' (', ') '][Math.floor(random() * 40)] ?? ' ';
    parts.push(word, end);
    size += word.length + end.length;
  }
  return Buffer.from(parts.join('')).subarray(0, sizeBytes);
}

function makeGuests(): Guest[] {
  const text = join(folder, 'input.txt');
  const content = makeText(6_000_000);
  writeFileSync(text, content);
  const part = join(folder, 'part.txt');
  writeFileSync(part, content.subarray(0, content.length / LACKEY_PART));
  const script = join(folder, 'script.sql');
  const rows = Array.from(
    { length: 2500 },
    (_, i) => `(${i}, 'row ${(i * 7919) % 2500}', ${(i * 31) % 977})`,
  );
  writeFileSync(
    script,
    `create table t (id integer primary key, name text, amount integer);
     insert into t values ${rows.join(',')};
     create index by_amount on t (amount);
     select count(*), sum(amount) from t where name like '%7%';
     select amount % 10, count(*), max(name) from t group by 1 order by 2;
     select sum(a.amount * b.amount) from t a join t b on a.id = b.amount where b.id < 500;
     update t set amount = amount + 1 where id % 3 = 0;
     select * from t order by name limit 3;`,
  );
  const loop = `
total = 0
words = {}
for i in range(60000):
    total += i * i % 7
    key = 'k%d' % (i % 100)
    words[key] = words.get(key, 0) + 1
print(total, len(words))`;
  return [
    {
      name: 'gzip',
      argv: ['gzip', '-6', '-c', text],
      part: { argv: ['gzip', '-6', '-c', part], scale: LACKEY_PART },
    },
    { name: 'sqlite3', argv: ['sqlite3', ':memory:', `.read ${script}`] },
    { name: 'python3', argv: ['/usr/bin/python3', '-S', '-c', loop] },
  ];
}

const parseTime = (text: string): number => {
  const [, minutes, seconds] = /(\d+)m([\d.]+)s/.exec(text)!;
  return Number(minutes) * 60 + Number(seconds);
};

/** Runs a command with its output thrown away and returns what it cost. */
function cost(argv: readonly string[]): Cost {
  const started = process.hrtime.bigint();
  const result = spawnSync(
    'bash',
    // A shell whose input is a socket may take it for a login over the network, and read its start-up file.
    [
      '--norc',
      '-c',
      '"$@" >/dev/null 2>&1 </dev/null; status=$?; times; exit $status',
      'bash',
      ...argv,
    ],
    {
      encoding: 'utf8',
      cwd: folder,
    },
  );
  const wallS = Number(process.hrtime.bigint() - started) / 1e9;
  if (result.status !== 0)
    throw new Error(`${argv.join(' ')} ended with ${result.status}: ${result.stderr}`);
  const children = result.stdout.trim().split('\n')[1]!.split(' ');
  return { wallS, cpuS: children.reduce((sum, text) => sum + parseTime(text), 0) };
}

/** Runs measured for each figure; the cheapest counts, as what disturbs a run only ever adds to it. */
const REPEATS = 3;

function best(tool: Tool | 'race' | 'profile', measure: () => Cost): Cost {
  // lackey takes long, beside which a disturbance is nothing.
  const runs = Array.from({ length: tool === 'lackey' ? 1 : REPEATS }, measure);
  return runs.reduce((a, b) => (b.cpuS < a.cpuS ? b : a));
}

/** Resident bytes of each process below `root`, with its program's path. */
function tree(root: number): { program: string; bytes: number }[] {
  const result = [];
  const pending = [root];
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    try {
      const program = execLink(pid);
      const pages = Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]);
      result.push({ program, bytes: pages * 4096 });
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        const children = readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1');
        pending.push(...children.split(' ').filter(Boolean).map(Number));
      }
    } catch {
      // The process ended meanwhile.
    }
  }
  return result;
}
const execLink = (pid: number): string =>
  readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')[0]!;

/** Runs a recording once more and samples its memory. */
async function memoryOf(argv: readonly string[]): Promise<Memory> {
  const memory: Memory = { guestBytes: 0, recorderBytes: 0 };
  const child = spawn(argv[0]!, argv.slice(1), { stdio: 'ignore', cwd: folder });
  const timer = setInterval(() => {
    let [guest, recorder] = [0, 0];
    for (const { program, bytes } of tree(child.pid!)) {
      if (/(^|\/)node$/.test(program)) recorder += bytes;
      else guest += bytes;
    }
    memory.guestBytes = Math.max(memory.guestBytes, guest);
    memory.recorderBytes = Math.max(memory.recorderBytes, recorder);
  }, 50);
  await new Promise((resolve) => child.on('close', resolve));
  clearInterval(timer);
  return memory;
}

function sizeOf(run: string): number {
  return readdirSync(run)
    .filter((name) => name.endsWith('.arrow') || name === 'manifest.json')
    .reduce((sum, name) => sum + statSync(join(run, name)).size, 0);
}

/** Runs one query of the command line; returns its rows and the seconds it took, start-up included. */
function query(run: string, sql: string): { rows: Record<string, unknown>[]; seconds: number } {
  const started = process.hrtime.bigint();
  const text = execFileSync(process.execPath, [GRIND, 'query', run, sql, '--format', 'json'], {
    encoding: 'utf8',
    cwd: folder,
    maxBuffer: 1 << 30,
  });
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  return { rows: JSON.parse(text) as Record<string, unknown>[], seconds };
}

/** Kinds of column, in the order in which they run. */
const TOOLS = {
  native: (argv: readonly string[]) => argv,
  none: (argv: readonly string[]) => ['valgrind', '--tool=none', '-q', ...argv],
  memcheck: (argv: readonly string[]) => ['valgrind', '--tool=memcheck', '-q', ...argv],
  lackey: (argv: readonly string[]) => [
    'valgrind',
    '--tool=lackey',
    '--trace-mem=yes',
    '--log-file=/dev/null',
    ...argv,
  ],
  record: (argv: readonly string[], run: string) => [
    process.execPath,
    GRIND,
    'record',
    '--quiet',
    '--out',
    dirname(run),
    '--name',
    basename(run),
    '--',
    ...argv,
  ],
  analyze: (_: readonly string[], run: string) => [
    process.execPath,
    GRIND,
    'analyze',
    'memcheck',
    run,
  ],
} as const;
type Tool = keyof typeof TOOLS;

async function benchGuest(guest: Guest) {
  const costs = {} as Record<Tool, Cost>;
  const run = join(folder, `${guest.name}.run`);
  for (const tool of Object.keys(TOOLS) as Tool[]) {
    const part = tool === 'lackey' ? guest.part : undefined;
    const { cpuS, wallS } = best(tool, () => {
      if (tool === 'record') rmSync(run, { recursive: true, force: true });
      return cost(TOOLS[tool](part?.argv ?? guest.argv, run));
    });
    const scale = part?.scale ?? 1;
    costs[tool] = { cpuS: cpuS * scale, wallS: wallS * scale };
    if (!json) console.error(`${guest.name} ${tool}: ${costs[tool].cpuS.toFixed(2)} s CPU`);
  }
  const instructions = Number(query(run, 'select sum(ticks) as n from processes').rows[0]!['n']);
  const traceBytes = sizeOf(run);
  const second = `${run}.memory`;
  const memory = await memoryOf(TOOLS.record(guest.argv, second));
  rmSync(second, { recursive: true, force: true });
  const { recorderBytes: analysisBytes } = await memoryOf(TOOLS.analyze(guest.argv, run));
  return {
    guest: guest.name,
    instructions,
    costs,
    recordToMemcheckCpu: costs.record.cpuS / costs.memcheck.cpuS,
    recordToNoneCpu: costs.record.cpuS / costs.none.cpuS,
    analyzeToMemcheckCpu: costs.analyze.cpuS / costs.memcheck.cpuS,
    analysisBytes,
    traceBytes,
    bytesPerInstruction: traceBytes / instructions,
    ...memory,
    run,
  };
}

/** Programs with threads, for race: one of ours, and a real one. */
function makeThreadedGuests(): Guest[] {
  const crew = join(folder, 'crew');
  const source = join(ROOT, 'test', 'guests', 'crew.c');
  execFileSync('gcc', ['-g', '-O1', '-pthread', source, '-o', crew]);
  const text = join(folder, 'threads.txt');
  writeFileSync(text, makeText(3_000_000));
  const xz = ['xz', '-T4', '-1', '--block-size=500KiB', '-k', '-c', text];
  return [
    { name: 'crew', argv: [crew] },
    { name: 'xz -T4', argv: xz },
  ];
}

/** What finding races costs beside Helgrind and DRD. */
function benchRaces({ name, argv }: Guest) {
  const run = join(folder, 'race.run');
  const under = (tool: string): number =>
    best('race', () => cost(['valgrind', `--tool=${tool}`, '-q', ...argv])).cpuS;
  rmSync(run, { recursive: true, force: true });
  const record = cost(TOOLS.record(argv, run)).cpuS;
  const analyze = best('race', () => cost([process.execPath, GRIND, 'analyze', 'race', run])).cpuS;
  const accesses = Number(query(run, 'select count(*) as n from accesses').rows[0]!['n']);
  const [native, helgrind, drd] = [cost(argv).cpuS, under('helgrind'), under('drd')];
  return { guest: name, accesses, native, helgrind, drd, record, analyze };
}

/** Analyses that measure, and what Valgrind has for the same; `reuse` stands beside what has a part of it. */
const PROFILES = [
  { analysis: ['heap'], tool: ['massif'] },
  { analysis: ['heap', '--accesses=yes'], tool: ['dhat'] },
  { analysis: ['cache'], tool: ['cachegrind', '--cache-sim=yes'] },
  { analysis: ['callgraph'], tool: ['callgrind'] },
  { analysis: ['reuse'], tool: ['cachegrind', '--cache-sim=yes'] },
];

/** What profiles cost beside Valgrind's. */
function benchProfiles({ name, argv }: Guest, run: string) {
  return PROFILES.map(({ analysis, tool: [tool, ...options] }) => {
    const out = `--${tool}-out-file=/dev/null`;
    const under = () => cost(['valgrind', `--tool=${tool}`, ...options, out, ...argv]);
    const ours = () => cost([process.execPath, GRIND, 'analyze', ...analysis, run]);
    const [theirs, analyze] = [best('profile', under).cpuS, best('profile', ours).cpuS];
    return { guest: name, analysis: analysis.join(' '), tool: tool!, theirs, analyze };
  });
}

/** Reading speed, on one trace. A query's first run also decodes and compiles; both are counted. */
function benchQueries(run: string) {
  const count = query(run, 'select count(*) as n from accesses');
  const rows = Number(count.rows[0]!['n']);
  const group = query(
    run,
    'select kind, size, count(*) as n from accesses group by all order by n desc',
  );
  const each = query(
    run,
    'select addr >> 12 as page, count(*) as n, max(tick), sum(value::hugeint) from accesses group by 1 order by n desc limit 3',
  );
  const middle = query(run, 'select cast(max(ticks) // 2 as varchar) as t from processes').rows[0]![
    't'
  ];
  const byTick = query(
    run,
    `select * from accesses where tick between ${middle} and ${middle} + 10`,
  );
  const address = query(
    run,
    `select cast(addr as varchar) as a from accesses where tick between ${middle} and ${middle} + 100 limit 1`,
  ).rows[0]!['a'];
  const byAddress = query(
    run,
    `select tick, kind, value from accesses where addr = ${address} limit 5`,
  );
  return {
    rows,
    countS: count.seconds,
    countRowsPerS: rows / count.seconds,
    groupByS: group.seconds,
    groupByRowsPerS: rows / group.seconds,
    eachRowS: each.seconds,
    eachRowRowsPerS: rows / each.seconds,
    pointByTickS: byTick.seconds,
    pointByAddressS: byAddress.seconds,
  };
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

async function main(): Promise<void> {
  const guests = makeGuests().filter(({ name }) => only.length === 0 || only.includes(name));
  const results: Awaited<ReturnType<typeof benchGuest>>[] = [];
  for (const guest of guests) results.push(await benchGuest(guest));
  const races = makeThreadedGuests()
    .filter(({ name }) => only.length === 0 || only.includes(name))
    .map(benchRaces);
  const profiles = results.flatMap(({ run }, i) => benchProfiles(guests[i]!, run));
  const queries = results.map(({ guest, run }) => ({ guest, ...benchQueries(run) }));
  const engine = execFileSync('valgrind', ['--version'], { encoding: 'utf8' }).trim();
  const cpu = /model name\s*: (.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
  const input = createHash('sha256')
    .update(readFileSync(join(folder, 'input.txt')))
    .digest('hex')
    .slice(0, 12);
  if (json) {
    const guestResults = results.map(({ run: _, ...rest }) => rest);
    console.log(
      JSON.stringify(
        {
          engine,
          cpu,
          node: process.version,
          input,
          guests: guestResults,
          races,
          profiles,
          queries,
        },
        null,
        2,
      ),
    );
    return;
  }
  console.log(`${engine}, Node ${process.version}, ${cpu}; gzip's input ${input}\n`);
  console.log('CPU seconds (wall seconds)');
  console.table(
    Object.fromEntries(
      results.map(
        ({ guest, costs, recordToMemcheckCpu, recordToNoneCpu, analyzeToMemcheckCpu }) => [
          guest,
          {
            ...Object.fromEntries(
              Object.entries(costs).map(([tool, { cpuS, wallS }]) => [
                tool,
                `${cpuS.toFixed(2)} (${wallS.toFixed(2)})`,
              ]),
            ),
            'record / memcheck': recordToMemcheckCpu.toFixed(2),
            'record / none': recordToNoneCpu.toFixed(2),
            'analyze / memcheck': analyzeToMemcheckCpu.toFixed(2),
          },
        ],
      ),
    ),
  );
  console.log('Races: CPU seconds');
  console.table(
    Object.fromEntries(
      races.map(({ guest, accesses, ...seconds }) => [
        guest,
        {
          'M accesses': (accesses / 1e6).toFixed(0),
          ...Object.fromEntries(
            Object.entries(seconds).map(([tool, cpuS]) => [tool, cpuS.toFixed(2)]),
          ),
          'analyze / helgrind': (seconds.analyze / seconds.helgrind).toFixed(2),
        },
      ]),
    ),
  );
  console.log('Profiles: CPU seconds');
  console.table(
    Object.fromEntries(
      profiles.map(({ guest, analysis, tool, theirs, analyze }) => [
        `${guest}: ${analysis}`,
        {
          tool,
          theirs: theirs.toFixed(2),
          analyze: analyze.toFixed(2),
          ratio: (analyze / theirs).toFixed(2),
        },
      ]),
    ),
  );
  console.log('The trace, and peak memory while recording and while analyzing');
  console.table(
    Object.fromEntries(
      results.map((r) => [
        r.guest,
        {
          instructions: `${(r.instructions / 1e6).toFixed(1)} M`,
          trace: megabytes(r.traceBytes),
          'bytes per instruction': r.bytesPerInstruction.toFixed(4),
          'guest + engine': megabytes(r.guestBytes),
          recorder: megabytes(r.recorderBytes),
          analysis: megabytes(r.analysisBytes),
        },
      ]),
    ),
  );
  console.log('Reading accesses, start-up included');
  console.table(
    Object.fromEntries(
      queries.map((q) => [
        q.guest,
        {
          'M rows': (q.rows / 1e6).toFixed(1),
          'count(*) M rows/s': (q.countRowsPerS / 1e6).toFixed(1),
          'group by M rows/s': (q.groupByRowsPerS / 1e6).toFixed(1),
          'each row read, M rows/s': (q.eachRowRowsPerS / 1e6).toFixed(1),
          'by tick, s': q.pointByTickS.toFixed(2),
          'by address, s': q.pointByAddressS.toFixed(2),
        },
      ]),
    ),
  );
}

try {
  await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
