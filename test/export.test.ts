/** Exported tables, read by an engine that we did not write (Polars), beside the same rows asked of the runs. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { before, describe, test } from 'node:test';
import pl from 'nodejs-polars';
import { grind, record, run, scratch, type Cell, type Recording } from './guest.js';

/** A table of all runs as Polars sees it, with the values of partitions as columns. */
const scan = (folder: string, table: string) =>
  pl.scanParquet(join(folder, table, '**', '*.parquet'), { hivePartitioning: true });

/** Rows with every whole number as a bigint, in an order that both sides have. */
const comparable = (rows: readonly Record<string, unknown>[]): string[] =>
  rows
    .map((row) =>
      Object.keys(row)
        .sort()
        .map((name) => `${name}=${String(row[name])}`)
        .join(' '),
    )
    .sort();

describe('export', () => {
  let inCommit: Recording;
  let outside: Recording;
  let commit: string;
  const lake = scratch('lake');

  before(() => {
    const repository = scratch('repository');
    mkdirSync(repository);
    const git = (...args: string[]): string => {
      const { status, stdout, stderr } = run(
        ['git', '-c', 'user.name=a', '-c', 'user.email=a@b', ...args],
        { cwd: repository },
      );
      assert.equal(status, 0, stderr);
      return stdout.trim();
    };
    git('init', '--quiet');
    git('commit', '--quiet', '--allow-empty', '--message=first');
    commit = git('rev-parse', 'HEAD');
    inCommit = record(['sample.c'], { cwd: repository });
    outside = record(['sync.c']);
    assert.equal(grind(['analyze', 'memcheck', inCommit.folder, '--leak-check=full']).status, 0);
    const { status, stderr } = grind(['export', inCommit.folder, outside.folder, '-o', lake]);
    assert.equal(status, 0, stderr);
  });

  const columns: Readonly<Record<string, string>> = {
    heap: 'process, event, tick, thread, op::varchar as op, address, size, known',
    syscalls: 'process, thread, call, name, arg1, arg2, result, errno, time_ns, duration_ns',
    mappings: 'process, event, op::varchar as op, address, size, protection, file',
    slices: 'process, event, tick, pc, sp, state_hash',
    findings: 'analysis, finding, kind, what, count, leak_bytes, shown',
  };
  for (const [table, wanted] of Object.entries(columns))
    test(`${table}: Polars finds the rows of all runs, value by value`, () => {
      const names = wanted.split(', ').map((column) => column.split(' as ').at(-1)!);
      const found = scan(lake, table)
        .select('commit', 'run', ...names)
        .collectSync()
        .toRecords();
      const rows = (recording: Recording, of: string | null) =>
        recording
          .query(`select ${wanted} from ${table}`)
          .map((row) => ({ commit: of, run: basename(recording.folder), ...row }));
      const expected: Record<string, Cell>[] = [...rows(inCommit, commit), ...rows(outside, null)];
      assert.ok(expected.length > 0);
      assert.deepEqual(comparable(found), comparable(expected));
    });

  test('every table that has rows, and none that takes a replay', () => {
    const tables = readdirSync(lake).filter((name) => !name.startsWith('.'));
    assert.deepEqual(
      tables.filter((name) => /access|segments|instructions_by/.test(name)),
      [],
    );
    for (const [recording, of] of [
      [inCommit, commit],
      [outside, '__HIVE_DEFAULT_PARTITION__'],
    ] as const) {
      const counts = tables.map(
        (name) => `select '${name}' as name, count(*) as rows from ${name}`,
      );
      for (const { name, rows } of recording.query(counts.join(' union all '))) {
        const run = `run=${basename(recording.folder)}`;
        const path = join(lake, String(name), `commit=${of}`, run, 'part-0.parquet');
        assert.equal(existsSync(path), rows !== 0n, path);
        if (rows === 0n) continue;
        const [row] = pl.scanParquet(path).select(pl.len().alias('rows')).collectSync().toRecords();
        assert.equal(BigInt(row!['rows'] as number), rows, path);
      }
    }
  });

  test('accesses in both formats, as exact as they are', () => {
    const folder = scratch('accesses');
    for (const format of ['parquet', 'arrow']) {
      const options = ['-o', folder, '-f', format, '--tables', 'accesses'];
      assert.equal(grind(['export', inCommit.folder, ...options]).status, 0);
    }
    const sums = ['pc', 'addr', 'value'].map((name) => [name, pl.col(name).max()] as const);
    const ofParquet = scan(folder, 'accesses')
      .select(pl.len().alias('rows'), ...sums.map(([name, max]) => max.alias(name)))
      .collectSync()
      .toRecords();
    const [file] = readdirSync(folder, { recursive: true }).filter((name) =>
      String(name).endsWith('.arrow'),
    );
    const arrow = join(folder, String(file));
    const ofArrow = pl
      .scanIPC(arrow)
      .select(pl.len().alias('rows'), ...sums.map(([name, max]) => max.alias(name)))
      .collectSync()
      .toRecords();
    const expected = inCommit.query(
      'select count(*) as rows, max(pc) as pc, max(addr) as addr, max(value) as value from accesses',
    );
    assert.deepEqual(comparable(ofParquet), comparable(expected));
    assert.deepEqual(comparable(ofArrow), comparable(expected));
  });

  test('an enum is a dictionary in Arrow', () => {
    const folder = scratch('heap');
    const options = ['-o', folder, '-f', 'arrow', '--tables', 'heap'];
    assert.equal(grind(['export', inCommit.folder, ...options]).status, 0);
    const run = basename(inCommit.folder);
    const path = join(folder, 'heap', `commit=${commit}`, `run=${run}`, 'part-0.arrow');
    const found = pl.scanIPC(path).select('op').collectSync().toRecords();
    assert.deepEqual(found, inCommit.query('select op from heap'));
  });

  test('wrong requests are refused', () => {
    const refused = (...args: string[]): string => {
      const { status, stderr } = grind(['export', inCommit.folder, ...args]);
      assert.equal(status, 2);
      return stderr;
    };
    assert.match(refused('-o', lake, '--tables', 'heap,nothing'), /There is no table nothing/);
    assert.match(refused('-o', '/dev/null/none'), /Cannot make the folder \/dev\/null\/none/);
    assert.match(refused('-o', lake, '--all'), /Name runs or say --all/);
    const trace = ['-o', join(lake, 'x'), '-f', 'perfetto'];
    assert.match(refused(...trace, '--tables', 'heap'), /--tables is for tables/);
    assert.match(refused(outside.folder, ...trace), /A trace is of one run/);
  });
});
