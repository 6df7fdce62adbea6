/** Analyses of the user's own: the README's, those that `grind new-analysis` writes, and wrong ones. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { GUESTS, grind, record, ROOT, run, scratch, type Recording } from './guest.js';

interface Told {
  analysis: string;
  findings: {
    kind: string;
    what: string;
    count: number;
    severity?: string;
    stacks: { frames: { fn: string; line: number }[] }[];
  }[];
  summary: { errors: number; processes: Record<string, unknown>[] };
}

let shared: Recording | undefined;
const recording = (): Recording => (shared ??= record(['own-analysis.c']));

/** A folder of its own, far from the package. */
const folder = (): string => {
  const path = scratch('own');
  mkdirSync(path);
  return path;
};

const analyze = (cwd: string, analyses: string, ...options: string[]) =>
  grind(['analyze', analyses, recording().folder, ...options], { cwd });

function told(cwd: string, analyses: string, ...options: string[]): Told[] {
  const { status, stdout, stderr } = analyze(cwd, analyses, '--format=json', ...options);
  assert.equal(status, 0, stderr);
  const value = JSON.parse(stdout) as Told | Told[];
  return Array.isArray(value) ? value : [value];
}

const brief = ({ findings }: Told) =>
  findings.map(({ kind, count, stacks }) => [
    kind,
    count,
    stacks[0]?.frames.find(({ fn }) => EXPECTED.some((one) => one.fn === fn))?.line,
  ]);

/** What the guest says of itself: `// expect KIND COUNT` at lines of functions. */
const EXPECTED = (() => {
  let fn = '';
  return readFileSync(join(GUESTS, 'own-analysis.c'), 'utf8')
    .split('\n')
    .flatMap((text, index) => {
      fn = /(\w+)\([^()]*\) \{$/.exec(text)?.[1] ?? fn;
      const [, kind, count] = /\/\/ expect (\w+) (\d+)/.exec(text) ?? [];
      return kind ? [{ kind, count: Number(count), fn, line: index + 1 }] : [];
    });
})();
const expected = (wanted: string) =>
  EXPECTED.filter(({ kind }) => kind === wanted).map(({ kind, count, line }) => [
    kind,
    count,
    line,
  ]);

/** An example of the README, by its file name. */
function example(name: string): string {
  const blocks = readFileSync(join(ROOT, 'README.md'), 'utf8').matchAll(
    /^```(?:ts|sql)\n([^]*?)^```$/gm,
  );
  const found = [...blocks].find(([, text]) => /^(?:\/\/|--) (.*)/.exec(text!)?.[1] === name);
  assert.ok(found, `the README shows ${name}`);
  return found[1]!;
}

/** Type-checks all files of a folder as its tsconfig.json says. */
function typeCheck(cwd: string): void {
  const { status, stdout } = run(
    [process.execPath, join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', cwd],
    { cwd },
  );
  assert.equal(status, 0, stdout);
}

test('the README’s analyses find what they say, alone and together', () => {
  const cwd = folder();
  for (const name of ['secrets.ts', 'failed-calls.sql'])
    writeFileSync(join(cwd, name), example(name));
  const options = ['--secret=hunter2', '--default-suppressions=no'];
  const [secrets] = told(cwd, './secrets.ts', ...options);
  assert.deepEqual(brief(secrets!), expected('SecretWritten'));
  const [calls] = told(cwd, './failed-calls.sql', '--least=2');
  assert.deepEqual(brief(calls!), expected('FailedCall'));
  assert.deepEqual(
    calls!.findings.map(({ what, severity }) => [what, severity]),
    [['close failed: EBADF', 'warning']],
  );
  assert.equal(calls!.summary.errors, 0, 'a warning is no error');
  const all = told(cwd, 'memcheck,./secrets.ts,./failed-calls.sql', '--least=2', ...options);
  assert.deepEqual(all.map(({ findings }) => findings).slice(1), [
    secrets!.findings,
    calls!.findings,
  ]);
  assert.deepEqual(told(cwd, './secrets.ts', '--secret=nowhere')[0]!.findings, []);
  assert.match(analyze(cwd, './secrets.ts', '--help').stdout, /--secret +The text/);
});

test('what new-analysis writes type-checks and runs, and SQL has its tables', () => {
  const cwd = folder();
  for (const [name, kind] of [
    ['large-blocks', 'events'],
    ['hot-stores', 'accesses'],
    ['failures', 'sql'],
  ] as const) {
    const { status, stderr } = grind(['new-analysis', name, '--kind', kind], { cwd });
    assert.equal(status, 0, stderr);
  }
  writeFileSync(join(cwd, 'secrets.ts'), example('secrets.ts'));
  typeCheck(cwd);
  const [blocks, stores, failures] = told(
    cwd,
    './large-blocks.ts,./hot-stores.ts,./failures.sql',
    '--least=2',
  );
  assert.deepEqual(brief(failures!), expected('FailedCall'));
  const rows = recording().query(
    "select tick, address, size, stack from heap where size >= 2 and op not in ('free', 'delete', 'delete_array', 'resize') order by tick",
  );
  assert.ok(rows.length > 0);
  assert.equal(
    BigInt(blocks!.summary.processes[0]!['large_blocks'] as number),
    BigInt(rows.length),
  );
  const shown = () =>
    recording().query(
      'select tick, address, size_bytes as size, stack from large_blocks order by tick',
    );
  assert.deepEqual(shown(), rows);
  told(cwd, './large-blocks.ts', '--least=30000');
  assert.deepEqual(
    brief(told(cwd, './large-blocks.ts', '--least=30000')[0]!),
    expected('LargeBlock'),
  );
  assert.match(
    grind(['query', '--tables', recording().folder]).stdout,
    /^large_blocks: One row per large block\.\n.*\n.*\n +tick +UBIGINT +Instructions executed/m,
  );
  const { profile } = stores!.summary.processes[0] as unknown as {
    profile: { stores: { function: string; bytes: number }[] };
  };
  const bytes = new Map(profile.stores.map((row) => [row.function, BigInt(row.bytes)]));
  const [{ stored }] = recording().query(
    `select sum(size)::ubigint as stored from accesses join instructions using (process, pc)
     where kind = 'store' and "function" = 'fill' and inlined = ''`,
  ) as [{ stored: bigint }];
  assert.equal(bytes.get('fill'), stored);
  const again = grind(['new-analysis', 'failures', '--kind', 'sql'], { cwd });
  assert.equal(again.status, 2);
  assert.match(again.stderr, /failures\.sql is there already/);
});

test('rows without `what` are a table, whatever its name is in SQL', () => {
  const cwd = folder();
  writeFileSync(
    join(cwd, 'order.sql'),
    `-- describe: Blocks by kind
-- option kind = malloc: Of which kind
create temp table chosen as select * from heap where op = $kind; -- $not an option in a comment
select op::varchar as op, count(*) as blocks, -sum(size) as bytes, avg(size) as mean, size > 1e9 as "huge", '$kind' as text
from chosen group by all`,
  );
  const [report] = told(cwd, './order.sql');
  const rows = recording().query('select * exclude (analysis, process) from "order"');
  const expectedRows = recording().query(
    `select 'malloc' as op, count(*)::ubigint as blocks, -sum(size)::bigint as bytes, '40000' as mean,
     false as huge, '$kind' as text from heap where op = 'malloc'`,
  );
  assert.deepEqual(rows, expectedRows);
  const { profile } = report!.summary.processes[0] as { profile?: { order: unknown[] } };
  assert.equal(profile!.order.length, 1);
  const none = told(cwd, './order.sql', '--kind=memalign');
  assert.deepEqual(none[0]!.findings, []);
  assert.deepEqual(recording().query('from "order"'), []);
});

test('calls of a function with its arguments, and call stacks at moments', () => {
  const cwd = folder();
  writeFileSync(
    join(cwd, 'fills.ts'),
    `import { callsTo, defineAnalysis, findingAt, stacksAt } from 'grind';
     import { kindOf } from './kind.js';
     export const analysis = defineAnalysis({
       name: 'fills', describe: 'Calls', options: {},
       *run(trace, _options, { processes, callers }) {
         for (const process of processes) {
           const calls = [...callsTo(trace, process, ['fill'])].map((call) =>
             ({ tick: call.tick, thread: call.thread, size: call.arguments[1] }));
           const bytes = [];
           for (const call of callsTo(trace, process, ['fill'])) bytes.push(call.memory(call.arguments[0], 1)[0]);
           const stacks = stacksAt(trace, process, calls.map(({ tick }) => tick));
           yield { process, summary: {}, missing: [], findings: calls.map(({ tick, thread, size }, i) =>
             findingAt({ process, thread, tick }, { kind: kindOf(size), what: \`\${size} \${bytes[i]}\`, pcs: stacks.get(tick)!.slice(0, callers) })) };
         }
       },
     });`,
  );
  writeFileSync(
    join(cwd, 'kind.ts'),
    'export const kindOf = (size: bigint): string => `Fill${size}`;',
  );
  const [{ findings }] = told(cwd, './fills.ts') as [Told];
  assert.deepEqual(
    findings.map(({ kind, what, stacks }) => [
      kind,
      what,
      ...stacks[0]!.frames.map(({ fn }) => fn),
    ]),
    [
      ['Fill40000', '40000 0', 'fill', 'main'],
      ['Fill8', '8 7', 'fill', 'main'],
    ],
  );
});

const PART = (body: string, more = ''): string =>
  `import { defineAnalysis } from 'grind';
   export default defineAnalysis({ name: 'wrong', describe: 'x', options: {}, ${more} part: (trace, process) => (${body}) });`;
const FINISH = 'finish: () => ({ process, findings: [], summary: {}, missing: [] })';

/** Name of a file, what is in it, and what is said of it; options of the command line. */
const WRONG: readonly [string, string, RegExp, ...string[]][] = [
  [
    'syntax.ts',
    'export default {\n name: "x"\n describe: 1 };',
    /cannot be loaded: Expected .* \(.*syntax\.ts:3\)/,
  ],
  ['import.ts', 'import "no-such-package";', /Could not resolve "no-such-package" .*import\.ts:1/],
  [
    'throws.ts',
    '\nthrow new Error("at once");',
    /throws\.ts cannot be loaded: at once \(throws\.ts:2\)/,
  ],
  ['empty.ts', 'export const other = 1;', /exports no analysis: it needs `export default/],
  ['unnamed.js', 'module.exports = { describe: "x", run() {} };', /needs a `name`/],
  ['ours.js', 'export default { name: "race", describe: "x", run() {} };', /cannot be called race/],
  ['idle.js', 'export default { name: "idle", describe: "x" };', /does nothing: it needs/],
  [
    'options.js',
    'export default { name: "o", describe: "x", options: { a: {} }, run() {} };',
    /an option `a` without/,
  ],
  [
    'event.ts',
    PART(`{ events: { haep() {} }, ${FINISH} }`),
    /no events called haep: they are .*heap, /,
  ],
  [
    'column.ts',
    PART(`{ events: { heap: (row) => row.value('sise') }, ${FINISH} }`),
    /no column sise in heap: it has tick, .*size/,
  ],
  ['part.ts', PART('undefined'), /must give an object with a function `finish`/],
  [
    'readers.ts',
    PART(`{ wants: { accesses: true }, ${FINISH} }`),
    /wants accesses and has no function `accesses`/,
  ],
  [
    'event-throws.ts',
    PART(`{ events: {\n heap() { throw new TypeError('no heap.'); } }, ${FINISH} }`),
    /wrong \(.*\) failed at an event of heap: no heap \(event-throws\.ts:3\)\.$/m,
  ],
  [
    'access-throws.ts',
    PART(`{ wants: { accesses: true }, accesses() { null.x; }, ${FINISH} }`),
    /failed at accesses: Cannot read/,
  ],
  ['outcome.ts', PART('{ finish: () => undefined }'), /gave no outcome: \{ process, /],
  ['async.ts', PART('{ finish: async () => ({}) }'), /gave a promise/],
  [
    'finding.ts',
    PART(`{ finish: () => ({ process, findings: [{ kind: 'x' }], summary: {}, missing: [] }) }`),
    /gave a finding \(number 1\) that is not/,
  ],
  [
    'table.ts',
    PART(
      `{ finish: () => ({ process, findings: [], summary: {}, missing: [], tables: [{ table: { name: 'heap', doc: '', columns: {} }, rows: [] }] }) }`,
    ),
    /gave a table \(heap\) that SQL cannot show/,
  ],
  [
    'row.ts',
    `import { analysisTable, defineAnalysis, u64 } from 'grind';
    const table = analysisTable('mine', 'x', { size: u64('x') });
    export default defineAnalysis({ name: 'wrong', describe: 'x', part: (_, process) => ({ finish: () => ({ process, findings: [], summary: {}, missing: [], tables: [{ table, rows: [{ process }] }] }) }) });`,
    /gave a row of mine without `size`/,
  ],
  [
    'run.js',
    'export default { name: "wrong", describe: "x", async *run() { throw new Error("in run"); } };',
    /failed as it ran: in run/,
  ],
  [
    'process.js',
    'export default { name: "wrong", describe: "x", *run() { yield { process: 7 }; } };',
    /`process` is 7, and not one of those/,
  ],
  [
    'stale.ts',
    `import { callsTo, defineAnalysis } from 'grind';
     export default defineAnalysis({ name: 'stale', describe: 'x', run(trace) { return [...callsTo(trace, 0, ['fill'])].map((call) => call.memory(0n, 1)); } });`,
    /are to be asked for before the next call is/,
  ],
  [
    'option.ts',
    `import { defineAnalysis, wholeNumber } from 'grind';
    export default defineAnalysis({ name: 'wrong', describe: 'x', options: { least: wholeNumber('x', 3, { least: 1, most: 9 }) }, run: () => [] });`,
    /--least takes a whole number from 1 to 9, and not "10"/,
    '--least=10',
  ],
  [
    'export.ts',
    "import { missing } from 'grind'; export default missing;",
    /No matching export in .* for import "missing" \(.*export\.ts:1\)/,
  ],
  [
    'inner.ts',
    `import { heap } from '${ROOT}/dist/schemas/tables.js'; export default heap;`,
    /import from 'grind' what you need of .*tables\.js \(.*inner\.ts:1\)/,
  ],
  ['plain.sql', 'select 1 as what', /must begin with a comment such as `-- describe: /],
  ['header.sql', '-- describe: x\n-- option least 1\nselect 1', /is not as it must be/],
  [
    'wrong.sql',
    '-- describe: x\nselect sise from heap',
    /The SQL of the analysis wrong is wrong: .*sise/,
  ],
  ['placeholder.sql', '-- describe: x\nselect $most as n', /has no option for \$most: it has none/],
  [
    'columns.sql',
    '-- describe: x\nselect count(*) from heap',
    /a column `count_star\(\)`: name it/,
  ],
  [
    'severity.sql',
    "-- describe: x\nselect 1 as what, 'bad' as severity",
    /`severity` .* must be error, warning, note, and not bad/,
  ],
];

test('mistakes in an analysis are told as such, with its name and what to do', () => {
  const cwd = folder();
  for (const [file, text, message, ...options] of WRONG) {
    writeFileSync(join(cwd, file), text);
    const { status, stderr } = analyze(cwd, `./${file}`, ...options);
    assert.match(stderr, message, file);
    assert.equal(status, 2, file);
    assert.doesNotMatch(stderr, /bug in grind/, file);
    assert.equal(stderr.trim().split('\n').length, 1, `${file}: ${stderr}`);
  }
  const { stderr } = analyze(cwd, './nowhere.ts');
  assert.match(stderr, /no analysis \.\/nowhere\.ts\. Name memcheck, .* or a file .*new-analysis/);
});

test('a forked process has its own events, and what it inherited if that is wanted; with a replay or without', () => {
  const cwd = folder();
  const forked = record(['own-analysis-fork.c']);
  for (const [name, wants, inherits] of [
    ['read', '', false],
    ['replayed', 'wants: {},', false],
    ['read-all', '', true],
    ['replayed-all', 'wants: {},', true],
  ] as const) {
    writeFileSync(
      join(cwd, `${name}.ts`),
      `import { defineAnalysis } from 'grind';
       export default defineAnalysis({ name: '${name}', describe: 'Sizes', part: (_trace, process) => {
         const sizes: bigint[] = [];
         return {
           ${wants} inheritsEvents: ${inherits},
           events: { heap: (row) => void (row.value('op') === 'malloc' && row.value('size') > 10000n && sizes.push(row.value('size'))) },
           finish: () => ({ process, findings: [], summary: { sizes: sizes.join() }, missing: [] }),
         };
       } });`,
    );
    const { status, stdout, stderr } = grind(
      ['analyze', `./${name}.ts`, forked.folder, '--format=json'],
      { cwd },
    );
    assert.equal(status, 0, stderr);
    const { summary } = JSON.parse(stdout) as Told;
    assert.deepEqual(
      summary.processes.map(({ sizes }) => sizes),
      ['10100,10300', inherits ? '10100,10200' : '10200'],
      name,
    );
  }
});
