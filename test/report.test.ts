/** `grind report`: the page holds what SQL says, and a browser draws all of it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import test from 'node:test';
import type { ReportData, Section } from '../bin/page/data.js';
import { compile, grind, record, scratch } from './guest.js';

/** A profile with curves and a flame graph: main calls f twice as long as g, and f calls g. */
const PROFILE = `export const analysis = {
  name: 'drawn', describe: 'Draws', options: {},
  part: (trace, process) => ({
    finish: () => ({ process, findings: [], summary: {}, missing: [], profile: { lines: ['A line.'], sketch: ['###'], tables: [
        { name: 'curve', title: 'Curve', columns: [{ name: 'size_bytes', head: 'size' }, { name: 'misses' }],
          rows: [[1, 5n], [2, 3n], [4, 2n]], drawn: { as: 'lines', x: 'size_bytes', lines: ['misses'], isLogX: true } },
        { name: 'logs', title: 'Over logarithms', shownRows: 0, columns: [{ name: 'size_bytes' }, { name: 'misses' }],
          rows: [[1, 1000n], [2, 3n], [4, 0n]], drawn: { as: 'lines', x: 'size_bytes', lines: ['misses'], isLogX: true, isLogY: true } },
        { name: 'calls', title: 'Calls', shownRows: 0, columns: [{ name: 'caller' }, { name: 'function' }, { name: 'instructions' }],
          rows: [[-1, 'main<int>', 1n], [0, 'f', 20n], [0, 'g', 10n], [1, 'g', 5n]],
          drawn: { as: 'flame', parent: 'caller', name: 'function', self: 'instructions', unit: 'instructions' } },
      ] } }),
  }),
};`;

const profile = scratch('drawn.mjs');
writeFileSync(profile, PROFILE);

function report(folder: string): { path: string; data: ReportData } {
  const path = scratch('report.html');
  const made = grind(['report', folder, '--output', path, '--analyses', profile]);
  assert.equal(made.status, 0, made.stderr);
  const page = readFileSync(path, 'utf8');
  const [, json] = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)!;
  // Nothing is loaded from elsewhere.
  assert.doesNotMatch(page.replace(json!, ''), /(?:src|href)=["']|url\(|@import/);
  return { path, data: JSON.parse(json!) as ReportData };
}

const of = <K extends Section['kind']>(data: ReportData, kind: K) =>
  data.sections.filter((section): section is Section & { kind: K } => section.kind === kind);

test('a page holds what was found and counted, and a browser draws it', () => {
  const recording = record(['leaks.c']);
  const { folder } = recording;
  const analyzed = grind(['analyze', 'memcheck', '--leak-check=full', folder]);
  assert.equal(analyzed.status, 0, analyzed.stderr);
  const { path, data } = report(folder);

  const [findings] = of(data, 'findings');
  const known = recording.query('select kind, count from findings order by finding');
  assert.ok(known.length > 0);
  assert.deepEqual(
    findings!.findings.map(({ kind, count }) => ({ kind, count: BigInt(count) })),
    known,
  );
  assert.ok(findings!.findings.every(({ stacks }) => stacks[0]!.frames.length > 0));

  const functions = of(data, 'table').find(({ title }) => title === 'Functions')!;
  const counts = recording.row(
    `select (select sum(executions) from instructions_by_function)::ubigint as executions,
            count(*) filter (kind = 'load') as loads, count(*) filter (kind = 'store') as stores from accesses`,
  );
  const sum = (values: readonly number[]): bigint => BigInt(values.reduce((a, b) => a + b, 0));
  const column = (i: number): number[] => functions.rows.map((row) => row[i] as number);
  assert.equal(sum(column(2)), counts['executions']);
  assert.equal(sum(column(4)), counts['loads']);
  assert.equal(sum(column(5)), counts['stores']);
  const [heat] = of(data, 'heat');
  assert.equal(sum(heat!.loads), counts['loads']);
  assert.equal(sum(heat!.stores), counts['stores']);
  assert.ok(heat!.rows.some(({ region }) => region === compile('leaks.c')));
  assert.ok(heat!.rows.some(({ region }) => region === 'stack'));
  assert.ok(heat!.rows.some(({ region }) => region === 'heap'));

  const [sources] = of(data, 'sources');
  const guest = sources!.files.find((file) => file.path.endsWith('leaks.c'))!;
  const text = readFileSync(guest.path, 'utf8').split('\n');
  const lines = recording.query(
    "select line, executions from instructions_by_line where file = 'leaks.c' and line > 0 order by line",
  );
  assert.deepEqual(
    guest.lines
      .filter(([, , [instructions]]) => instructions! > 0)
      .map(([line, , [instructions]]) => ({
        line: BigInt(line),
        executions: BigInt(instructions!),
      })),
    lines,
  );
  for (const [line, shown] of guest.lines) assert.equal(shown, text[line - 1]);

  const drawn = execFileSync(
    'chromium',
    [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=5000'],
      ...['--dump-dom', `file://${path}`],
    ],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 28 },
  );
  const times = (pattern: RegExp): number => drawn.match(pattern)?.length ?? 0;
  assert.equal(times(/<section /g), data.sections.length);
  assert.equal(times(/<details/g), known.length);
  assert.equal(times(/class="uplot/g), 2);
  assert.ok(times(/<canvas/g) >= 3, 'curves and memory over time');
  const calls = [
    ...drawn.matchAll(/class="call" style="left: ?([\d.]+)%; ?width: ?([\d.]+)%;[^>]*>([^<]*)/g),
  ];
  assert.deepEqual(
    calls.map(([, left, width, name]) => [
      name,
      Math.round(Number(left)),
      Math.round(Number(width)),
    ]),
    [
      ['main&lt;int&gt;', 0, 100],
      ['f', 0, 69],
      ['g', 0, 14],
      ['g', 69, 28],
    ],
  );
});

test('what cannot be shown is said in a sentence', () => {
  const { folder } = record(['leaks.c']);
  const path = scratch('no-folder') + '/report.html';
  for (const [options, message] of [
    [['--analyses', 'memcheck'], /memcheck is no profile/],
    [['--process', '7'], /no process 7/],
    [['--analyses', profile, '--output', path], /Cannot write .*no such file or folder/],
  ] as const) {
    const { status, stderr } = grind(['report', folder, ...options]);
    assert.equal(status, 2);
    assert.match(stderr, message);
  }
});
