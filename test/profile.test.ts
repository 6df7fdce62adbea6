/** Profiles: tables in the report, and several analyses in one replay, with two that count. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import test from 'node:test';
import { grind, record, scratch, type Recording } from './guest.js';

/** Counts accesses in one replay, and the rows of `heap` with the accesses before each. */
const counter = (name: string, columns: string): string => {
  const path = scratch(`${name}.mjs`);
  writeFileSync(
    path,
    `import { defineAnalysis, tables } from 'grind';
     export const analysis = defineAnalysis({
       name: '${name}', describe: 'Counts', options: {},
       part: (trace, process) => {
         let accesses = 0, sum = 0n;
         const rows = [];
         return {
           wants: {
             accesses: true, columns: new Set([${columns}]),
             observer: { tables: [tables.heap], applied: (row) => rows.push([row.u64('size'), accesses, 0.5]) },
           },
           begin(replay) { globalThis.replays = new Set([...globalThis.replays ?? [], replay]); },
           accesses(batch) {
             accesses += batch.count;
             for (let i = 0; i < batch.count; i++) sum ^= batch.addresses[i];
           },
           finish: () => ({
             process, findings: [], summary: {}, missing: [],
             profile: {
               lines: ['accesses: ' + accesses],
               tables: [
                 { name: 'calls', title: 'Calls', rows, shownRows: 2,
                   columns: [{ name: 'size_bytes', head: 'size' }, { name: 'before' }, { name: 'part', isShare: true }] },
                 { name: 'totals', title: 'Totals', rows: [[sum, globalThis.replays.size]], columns: [{ name: 'sum' }, { name: 'replays' }] },
               ],
             },
           }),
         };
       },
     });`,
  );
  return path;
};

let shared: Recording | undefined;
const recording = (): Recording => (shared ??= record(['report.cpp']));

interface ProfileReport {
  analysis: string;
  summary: {
    processes: {
      profile: {
        calls: { size_bytes: string; before: number; part: number }[];
        totals: { sum: string; replays: number }[];
      };
    }[];
  };
}

const profiles = (analyses: string): ProfileReport[] => {
  const { status, stdout, stderr } = grind([
    ...['analyze', analyses, recording().folder, '--format', 'json'],
  ]);
  assert.equal(status, 0, stderr);
  const value = JSON.parse(stdout) as ProfileReport | ProfileReport[];
  return Array.isArray(value) ? value : [value];
};

test('a profile is printed as tables, and errors are not counted', () => {
  const { status, stdout, stderr } = grind([
    'analyze',
    counter('one', "'addresses'"),
    recording().folder,
  ]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^accesses: \d+$/m);
  assert.match(
    stdout,
    /\nCalls\n +size +before +part\n( +[\d,]+ +[\d,]+ +50\.00 %\n){2} {2}… and \d+ more\n/,
  );
  assert.doesNotMatch(stdout, /ERROR SUMMARY/);
});

test('analyses that are asked together share one replay and see what each sees alone', () => {
  const one = counter('one', "'addresses'");
  const two = counter('two', "'addresses', 'values'");
  const together = profiles(`${one},${two}`).map(({ summary }) => summary.processes[0]!.profile);
  const alone = profiles(one)[0]!.summary.processes[0]!.profile;
  assert.equal(together.length, 2);
  for (const profile of together) {
    assert.deepEqual(profile.calls, alone.calls);
    assert.deepEqual(profile.totals, alone.totals);
    assert.equal(profile.totals[0]!.replays, 1);
  }
});
