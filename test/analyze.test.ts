/**
 * `grind analyze` with an analysis that says something of each allocation of a guest: merging,
 * suppressions, the formats, the SQL tables.
 */
import assert from 'node:assert/strict';
import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import {
  closeMemcheck,
  lossFindings,
  weighMemcheck,
  type LeakCheckRow,
} from '../analyses/memcheck/closing.js';
import { memcheckSettings } from '../analyses/memcheck/options.js';
import { Findings } from '../analyses/findings.js';
import type { OptionValues } from '../analyses/analysis.js';
import type { Finding } from '../analyses/finding.js';
import type { LeakTotals } from '../analyses/memcheck/leaks.js';
import { UserError } from '../schemas/errors.js';
import { frameText } from '../analyses/report.js';
import { grind, record, scratch, type Recording } from './guest.js';

/** Reports blocks of whole thousands of bytes: as an undefined condition, those of 4000 as a leak. */
const ANALYSIS = scratch('allocations.mjs');
writeFileSync(
  ANALYSIS,
  `import { tables } from 'grind';
   export const analysis = {
     name: 'allocations',
     describe: 'Reports allocations',
     options: { least: { describe: 'Smallest block', default: '1000' }, mode: { describe: 'x', default: 'a', values: ['a', 'b'] } },
     weigh: (finding) => ({ isShown: finding.kind !== 'Hidden', isError: finding.kind !== 'Hidden' }),
     async *run(trace, options, { processes, callers, progress }) {
       for (const process of processes) {
         const pcs = new Map();
         for (const row of trace.rows(tables.stacks, process))
           pcs.set(row.stack, [...new BigUint64Array(Uint8Array.from(row.pcs).buffer)].slice(0, callers));
         const findings = [];
         for (const row of trace.rows(tables.heap, process)) {
           if (row.size % 1000n !== 0n || row.size < BigInt(options.least) || row.op === 'free') continue;
           findings.push({
             kind: row.size === 4000n ? 'Leak_DefinitelyLost' : 'UninitCondition',
             what: row.size === 4000n ? 'Lost' : 'Conditional jump or move depends on uninitialised value(s)',
             notes: ['Address 0x0 is odd'],
             process, thread: row.thread, tick: row.tick + 0x10000000000000n, count: 1,
             stacks: [{ role: '', pcs: pcs.get(row.stack) }, { role: 'Block was', pcs: pcs.get(row.stack) }],
             ...(row.size === 4000n && { leak: { bytes: 4000n, indirectBytes: 0n, blocks: 1 } }),
           });
           progress(0.5);
         }
         yield { process, findings, summary: { heap_in_use_bytes: 4000n }, missing: [] };
       }
     },
   };`,
);

interface JsonFinding {
  kind: string;
  count: number;
  tick: string;
  suppression?: string;
  stacks: { role: string; frames: { fn: string; file: string; line: number; pc: string }[] }[];
}
interface JsonReport {
  analysis: string;
  run: string;
  options: Record<string, string>;
  findings: JsonFinding[];
  summary: {
    errors: number;
    contexts: number;
    suppressed_errors: number;
    suppressed_contexts: number;
    processes: Record<string, unknown>[];
    suppressions: { name: string; uses: number }[];
  };
}

let shared: Recording | undefined;
const recording = (): Recording => (shared ??= record(['report.cpp']));

function analyze(...options: string[]) {
  return grind(['analyze', ANALYSIS, recording().folder, ...options]);
}

function json(...options: string[]): JsonReport {
  const result = analyze('--format', 'json', ...options);
  assert.equal(result.status, 0, result.stderr);
  return JSON.parse(result.stdout) as JsonReport;
}

const functions = ({ stacks }: JsonFinding) => stacks[0]!.frames.map(({ fn }) => fn);
const brief = (report: JsonReport) =>
  report.findings.map((finding) => [finding.kind, finding.count, functions(finding)]);

const ORDERS = ['malloc', 'shop::order(unsigned int)', 'main'];
const OUTER = ['calloc', 'inner', 'shop::outer(unsigned int)', 'main'];

test('findings are merged, have names, and inlined functions have frames', () => {
  const report = json();
  assert.deepEqual(brief(report), [
    ['UninitCondition', 3, ORDERS],
    ['UninitCondition', 1, OUTER],
    ['UninitCondition', 1, ['malloc', 'plain', 'main']],
    ['Leak_DefinitelyLost', 1, ORDERS],
  ]);
  assert.equal(report.analysis, 'allocations');
  assert.deepEqual(report.options, { least: '1000', mode: 'a' });
  const { errors, contexts, suppressed_errors, processes } = report.summary;
  assert.deepEqual(
    { errors, contexts, suppressed_errors },
    { errors: 6, contexts: 4, suppressed_errors: 0 },
  );
  assert.equal(processes[0]!['heap_in_use_bytes'], '4000');
  const [first] = report.findings;
  assert.ok(BigInt(first!.tick) > 0x10000000000000n, 'ticks are exact');
  const frame = first!.stacks[0]!.frames[1]!;
  assert.deepEqual([frame.file, frame.line], ['report.cpp', 6]);
  assert.match(frame.pc, /^0x[0-9a-f]+$/);
  assert.deepEqual(
    first!.stacks.map(({ role }) => role),
    ['', 'Block was'],
  );
});

test('--num-callers, options of the analysis, and wrong ones', () => {
  assert.deepEqual(brief(json('--num-callers=1', '--least', '2000'))[0], [
    'UninitCondition',
    1,
    ['calloc'],
  ]);
  for (const [option, message] of [
    ['--mode=c', /mode/],
    ['--num-callers=0', /--num-callers takes a whole number/],
    ['--process=7', /no process 7/],
    ['--suppressions=/no/such', /no such file/],
    ['--least', /least/],
    ['--leak-check=full', /leak-check/],
  ] as const) {
    const result = analyze(option);
    assert.equal(result.status, 2, option);
    assert.match(result.stderr, message);
  }
  assert.equal(grind(['analyze', 'nothing', recording().folder]).status, 2);
});

test('--error-exitcode', () => {
  assert.equal(analyze('--error-exitcode=9').status, 9);
  assert.equal(analyze('--error-exitcode=9', '--least=9000').status, 0);
});

test('suppressions hide findings, by mangled names too; generated ones hide everything', () => {
  const file = scratch('some.supp');
  writeFileSync(
    file,
    `{
   orders
   Memcheck:Cond
   fun:malloc
   fun:_ZN4shop5orderEj
}
{
   leaks
   Memcheck:Leak
   match-leak-kinds: possible
   ...
   fun:main
}
{
   inlined
   Memcheck:Cond
   fun:calloc
   fun:inner
   obj:*/report
}
`,
  );
  const report = json('--suppressions', file);
  assert.deepEqual(
    brief(report).map(([kind, count]) => [kind, count]),
    [
      ['UninitCondition', 1],
      ['Leak_DefinitelyLost', 1],
    ],
  );
  const { errors, suppressed_errors, suppressed_contexts, suppressions } = report.summary;
  assert.deepEqual([errors, suppressed_errors, suppressed_contexts], [2, 4, 2]);
  assert.deepEqual(
    suppressions.map(({ name, uses }) => [name, uses]),
    [
      ['orders', 3],
      ['inlined', 1],
    ],
  );
  const generated = json('--gen-suppressions=all').findings.map((f) => f.suppression!);
  assert.match(generated[0]!, /^ {3}fun:_ZN4shop5orderEj$/m);
  writeFileSync(file, generated.join('\n'));
  assert.deepEqual(json('--suppressions', file).findings, []);
  // What the text format prints between the findings is the same.
  const text = analyze('--gen-suppressions=all').stdout;
  assert.deepEqual(
    text.match(/^\{\n[^}]*^\}$/gm),
    generated.map((entry) => entry.trimEnd()),
  );
});

test("text is as Valgrind's", () => {
  const lines = analyze()
    .stdout.replace(/0x[0-9A-F]+/g, '0x')
    .split('\n');
  assert.deepEqual(lines.slice(0, 12), [
    'Conditional jump or move depends on uninitialised value(s)',
    lines[1],
    '   by 0x: shop::order(unsigned int) (report.cpp:6)',
    '   by 0x: main (report.cpp:22)',
    ' Address 0x is odd',
    ' Block was',
    lines[6],
    '   by 0x: shop::order(unsigned int) (report.cpp:6)',
    '   by 0x: main (report.cpp:22)',
    '',
    'Conditional jump or move depends on uninitialised value(s)',
    lines[11],
  ]);
  assert.match(lines[1]!, /^ {3}at 0x: malloc \(/);
  assert.equal(lines.at(-2), 'ERROR SUMMARY: 6 errors from 4 contexts (suppressed: 0 from 0)');
  const table = analyze('--format', 'table').stdout;
  assert.match(
    table,
    /^ +1 +0 +UninitCondition +3 +[\d,]+ +shop::order\(unsigned int\) +report.cpp:6/m,
  );
  const frame = { fn: 'f', file: '', line: 0, module: '/x', pc: 0x1abcn, inlined: false };
  assert.equal(frameText(frame), '0x1ABC: f (in /x)');
  assert.equal(frameText({ ...frame, module: '' }), '0x1ABC: f (in ???)');
  assert.equal(frameText({ ...frame, fn: '', module: '' }), '0x1ABC: ???');
});

test('findings are tables; another run of the analysis replaces them', () => {
  json('--least=1000');
  const rows = () =>
    recording().query('select finding, kind, count, leak_bytes, error from findings order by 1');
  assert.deepEqual(rows(), [
    { finding: 1n, kind: 'UninitCondition', count: 3n, leak_bytes: 0n, error: true },
    { finding: 2n, kind: 'UninitCondition', count: 1n, leak_bytes: 0n, error: true },
    { finding: 3n, kind: 'UninitCondition', count: 1n, leak_bytes: 0n, error: true },
    { finding: 4n, kind: 'Leak_DefinitelyLost', count: 1n, leak_bytes: 4000n, error: true },
  ]);
  assert.deepEqual(
    recording()
      .query(
        `select analysis, stack, depth, function, inlined from finding_frames
         where finding = 2 order by stack, depth`,
      )
      .map((row) => Object.values(row)),
    [0n, 1n].flatMap((stack) =>
      OUTER.map((name, depth) => ['allocations', stack, BigInt(depth), name, name === 'inner']),
    ),
  );
  json('--least=4000');
  assert.equal(rows().length, 1);
  const file = join(recording().folder, 'findings', 'allocations', 'findings.arrow');
  assert.ok(existsSync(file));
  truncateSync(file, 300);
  const damaged = grind(['query', recording().folder, 'select count(*) from findings']);
  assert.equal(damaged.status, 2);
  assert.match(damaged.stderr, /run `grind analyze allocations` again/);
  json();
  assert.equal(rows().length, 4);
});

const finding = (
  kind: string,
  what: string,
  pcs: bigint[],
  more: Partial<Finding> = {},
): Finding => ({
  kind,
  what,
  notes: [],
  process: 0,
  thread: 1,
  tick: 1n,
  stacks: [{ role: '', pcs }],
  count: 1,
  ...more,
});

test('what is merged: the same kind and sentence at the same four innermost addresses', () => {
  const merged = (...given: Finding[]) => {
    const findings = new Findings();
    for (const one of given) findings.add(one);
    return findings.list.map(({ kind, count }) => [kind, count]);
  };
  const read = 'Invalid read of size 4';
  const far = [1n, 2n, 3n, 4n, 5n];
  assert.deepEqual(
    merged(finding('InvalidRead', read, far), finding('InvalidRead', read, [1n, 2n, 3n, 4n, 6n])),
    [['InvalidRead', 2]],
  );
  assert.equal(
    merged(finding('InvalidRead', read, far), finding('InvalidRead', read, [1n, 2n, 3n, 5n]))
      .length,
    2,
  );
  assert.equal(
    merged(finding('InvalidRead', read, far), finding('InvalidRead', 'Invalid read of size 8', far))
      .length,
    2,
  );
  // One instruction that loads and stores gives one error.
  assert.deepEqual(
    merged(
      finding('InvalidRead', read, far),
      finding('InvalidWrite', 'Invalid write of size 4', far),
    ),
    [['InvalidRead', 2]],
  );
  assert.deepEqual(
    merged(finding('Overlap', 'in memcpy(0x1, 0x2, 3)', far), finding('Overlap', 'in x(0x9)', far)),
    [['Overlap', 2]],
  );
  const leak = { bytes: 1n, indirectBytes: 0n, blocks: 1 };
  const lost = () => finding('Leak_DefinitelyLost', '1 bytes', far, { leak });
  assert.equal(merged(lost(), lost()).length, 2);
  const findings = new Findings();
  assert.equal(findings.recur('UninitCondition', 'x', far), false);
  findings.add(finding('UninitCondition', 'x', far));
  assert.equal(findings.recur('UninitCondition', 'x', far), true);
  assert.equal(findings.list[0]!.count, 2);
});

test('memcheck’s options', () => {
  const settings = memcheckSettings({
    'leak-check': 'full',
    'show-leak-kinds': 'all',
    'errors-for-leak-kinds': 'none',
    'leak-check-heuristics': 'stdstring,newarray',
    'ignore-range-below-sp': '8192-8189',
    'ignore-ranges': '0x1000-0x1fff,0x20-0x30',
  });
  assert.deepEqual([...settings.leaks.heuristics], ['stdstring', 'newarray']);
  assert.equal(settings.leaks.showKinds.size, 4);
  assert.equal(settings.leaks.errorKinds.size, 0);
  assert.deepEqual(settings.ignoredBelowSp, [8192n, 8189n]);
  assert.deepEqual(settings.ignoredRanges, [
    [0x1000n, 0x1fffn],
    [0x20n, 0x30n],
  ]);
  assert.equal(settings.quarantine.volumeBytes, 20_000_000n);
  const wrongs: OptionValues[] = [
    { 'leak-check': 'maybe' },
    { 'show-leak-kinds': 'some' },
    { 'ignore-ranges': '0x2000-0x1000' },
    { 'ignore-range-below-sp': '10-20' },
    { 'freelist-vol': '-1' },
  ];
  for (const wrong of wrongs) assert.throws(() => memcheckSettings(wrong), UserError);
});

test('leaks: totals of each check, suppressed ones apart; those of the last at the end', () => {
  const lost = (kind: string, bytes: bigint, tick: bigint, suppressedBy?: string) =>
    finding(kind, '', [], {
      tick,
      leak: { bytes, indirectBytes: 0n, blocks: 1 },
      ...(suppressedBy && { suppressedBy }),
    });
  const findings = [
    lost('Leak_DefinitelyLost', 7n, 5n),
    lost('Leak_DefinitelyLost', 1000n, 9n),
    lost('Leak_StillReachable', 30n, 9n),
    lost('Leak_PossiblyLost', 8n, 9n, 'x'),
  ];
  const summary = {
    heap_in_use_bytes: 1038n,
    heap_in_use_blocks: 3,
    heap_allocs: 5,
    heap_frees: 2,
    heap_allocated_bytes: 123456n,
    leak_checks: [
      leakCheck(3n, 0, 'request', 'full', 'any'),
      leakCheck(5n, 1, 'request', 'summary', 'changed'),
      {
        ...leakCheck(9n, 3, 'end', 'full', 'any'),
        heuristic_newarray_blocks: 1,
        heuristic_newarray_bytes: 30n,
      },
    ],
  };
  const outcome = { process: 0, findings, summary, missing: [] };
  const closing = closeMemcheck(outcome, { 'leak-check': 'full' });
  assert.deepEqual(closing.during, [
    { tick: 3n, lines: ['All heap blocks were freed -- no leaks are possible', ''] },
    {
      tick: 5n,
      lines: [
        'LEAK SUMMARY:',
        '   definitely lost: 7 (+7) bytes in 1 (+1) blocks',
        '   indirectly lost: 0 (+0) bytes in 0 (+0) blocks',
        '     possibly lost: 0 (+0) bytes in 0 (+0) blocks',
        '   still reachable: 0 (+0) bytes in 0 (+0) blocks',
        '        suppressed: 0 (+0) bytes in 0 (+0) blocks',
        'Rerun with --leak-check=full to see details of leaked memory',
        '',
      ],
    },
  ]);
  const [, midway, last] = closing.summary!['leak_checks'] as readonly LeakCheckRow[];
  assert.deepEqual([midway!['definite_bytes'], midway!['definite_blocks']], [7n, 1]);
  assert.deepEqual([last!['suppressed_bytes'], last!['reachable_bytes']], [8n, 30n]);
  assert.deepEqual(closing.late, findings.slice(1));
  assert.deepEqual(closing.before, [
    'HEAP SUMMARY:',
    '    in use at exit: 1,038 bytes in 3 blocks',
    '  total heap usage: 5 allocs, 2 frees, 123,456 bytes allocated',
    '',
  ]);
  assert.deepEqual(closing.after, [
    'LEAK SUMMARY:',
    '   definitely lost: 1,000 bytes in 1 blocks',
    '   indirectly lost: 0 bytes in 0 blocks',
    '     possibly lost: 0 bytes in 0 blocks',
    '   still reachable: 30 bytes in 1 blocks',
    '                      of which reachable via heuristic:',
    '                        newarray           : 30 bytes in 1 blocks',
    '        suppressed: 8 bytes in 1 blocks',
    'Reachable blocks (those to which a pointer was found) are not shown.',
    'To see them, rerun with: --leak-check=full --show-leak-kinds=all',
    '',
  ]);
});

const leakCheck = (
  tick: bigint,
  blocks: number,
  cause: LeakCheckRow['cause'],
  detail: LeakCheckRow['detail'],
  compare: LeakCheckRow['compare'],
): LeakCheckRow => ({ tick, thread: 1, cause, detail, compare, blocks });

test('what a leak check does not show is known all the same', () => {
  const record = {
    state: 'reachable' as const,
    kind: 'Leak_StillReachable',
    stack: 1,
    bytes: 8n,
    indirectBytes: 0n,
    blocks: 2,
    what: '8 bytes',
    stacks: [{ role: '', pcs: [1n] }],
    shown: false,
    error: true,
    suppressed: false,
  };
  const records = [record, { ...record, blocks: 0 }];
  const report = { records, totals: {} as LeakTotals, blocks: [] };
  const [found, ...more] = lossFindings(report, 3, { tick: 5n, thread: 2 });
  assert.deepEqual(more, [], 'one without blocks is only kept to be compared with');
  assert.deepEqual(found, {
    kind: 'Leak_StillReachable',
    what: '8 bytes',
    notes: [],
    process: 3,
    thread: 2,
    tick: 5n,
    stacks: record.stacks,
    count: 2,
    leak: { bytes: 8n, indirectBytes: 0n, blocks: 2 },
  });
  assert.deepEqual(weighMemcheck(found!), { isShown: false, isError: true });
  assert.deepEqual(weighMemcheck(finding('InvalidRead', 'x', [])), {
    isShown: true,
    isError: true,
  });
});
