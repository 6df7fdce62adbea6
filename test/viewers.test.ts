/** Files for viewers, opened by one that we did not write: speedscope, in a browser; and what the trace of events has. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { marked } from 'marked';
import { grind, record, ROOT, run, scratch, type Recording } from './guest.js';

const VIEWER = join(ROOT, 'node_modules', 'speedscope', 'dist', 'release', 'index.html');

/** Lines of text that speedscope shows of a file. */
function shown(path: string): string[] {
  const script = scratch('load.js');
  const content = readFileSync(path).toString('base64');
  writeFileSync(script, `speedscope.loadFileFromBase64("profile", "${content}")`);
  const { stdout } = run([
    ...['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--enable-unsafe-swiftshader'],
    ...['--allow-file-access-from-files', '--virtual-time-budget=20000', '--dump-dom'],
    `file://${VIEWER}#localProfilePath=${script}`,
  ]);
  return stdout
    .replace(/<(style|script)[^]*?<\/\1>/g, '')
    .split(/<[^>]*>|\n/)
    .map((line) => line.trim())
    .filter(Boolean);
}

/** Names and total weights in the list of a file's profiles. */
function profiles(path: string): [string, string][] {
  const lines = shown(path);
  const first = lines.indexOf('Total Weight') + 1;
  assert.ok(first > 0, lines.join('\n'));
  const found: [string, string][] = [];
  for (let i = first; lines[i] === String(found.length + 1); i += 3)
    found.push([lines[i + 1]!, lines[i + 2]!]);
  return found;
}

interface Event {
  readonly ph: string;
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly id?: string;
  readonly args?: Readonly<Record<string, string | number>>;
}

/** Ticks stand for nanoseconds, in microseconds. */
const ticks = (microseconds: number): bigint => BigInt(Math.round(microseconds * 1000));

describe('a trace of events', () => {
  let recording: Recording;
  let events: Event[];
  const path = scratch('trace.json');

  before(() => {
    recording = record([join('race', 'helgrind.c')]);
    const { status, stderr } = grind(['export', recording.folder, '-f', 'perfetto', '-o', path]);
    assert.equal(status, 0, stderr);
    events = (JSON.parse(readFileSync(path, 'utf8')) as { traceEvents: Event[] }).traceEvents;
  });

  test('a viewer shows the processor and every thread', () => {
    const { pid, ticks: all } = recording.row('select pid, ticks from processes');
    const threads = recording.query('select distinct thread from slices order by thread');
    const found = profiles(path);
    const name = (what: string, tid: bigint) => `(pid ${pid}), ${what} (tid ${tid})`;
    const program = found[0]![0].split(' (pid')[0]!;
    assert.deepEqual(
      found.map(([shownName]) => shownName),
      [
        name('processor', 0n),
        ...threads.map(({ thread }) => name(`thread ${String(thread)}`, thread as bigint)),
      ].map((rest) => `${program} ${rest}`),
    );
    assert.equal(found[0]![1], `${(Number(all) / 1000).toFixed(2)}µs`);
  });

  test('the processor is always somebody’s', () => {
    const running = events.filter(({ ph, tid }) => ph === 'X' && tid === 0);
    let end = 0n;
    for (const { ts, dur } of running) {
      assert.equal(ticks(ts), end);
      end = ticks(ts + dur!);
    }
    assert.equal(end, recording.cell('select ticks from processes'));
    assert.ok(new Set(running.map(({ name }) => name)).size > 1);
  });

  test('all system calls', () => {
    const found = events
      .filter(({ cat }) => cat === 'syscall')
      .map(({ name, tid, ts, dur, args }) => {
        const [from, length] = [ticks(ts), ticks(dur!)];
        const known = args ? [BigInt(args['result']!), BigInt(args['duration_ns']!)] : [null, null];
        return [name, BigInt(tid), from, from + length, ...known].join();
      });
    const rows = recording.query(
      `select name, thread, tick, coalesce(end_tick, p.ticks) as done, result, duration_ns
       from syscalls s join processes p using (process)`,
    );
    const expected = rows.map((row) => Object.values(row).join());
    assert.deepEqual(found.sort(), expected.sort());
  });

  test('the heap in use', () => {
    const found = events.flatMap(({ ph, ts, args }) =>
      ph === 'C' ? [`${ticks(ts)} ${args!['bytes']}`] : [],
    );
    const change = `case when op in ('free', 'delete', 'delete_array') then -if(known, size, 0)
      when address = 0 then 0 else size::bigint - previous_size::bigint end`;
    const rows = recording.query(
      `select tick, sum(${change}) over (order by event)::bigint as bytes from heap order by event`,
    );
    assert.deepEqual(
      found,
      rows.map(({ tick, bytes }) => `${String(tick)} ${String(bytes)}`),
    );
  });

  test('locks are held one after another, as often as they were taken, and waited for', () => {
    const open = new Set<string>();
    const taken = new Map<string, number>();
    for (const { ph, name, id } of events.filter(({ cat }) => cat === 'held')) {
      assert.equal(open.has(id!), ph === 'e', name);
      if (ph === 'e') open.delete(id!);
      else {
        open.add(id!);
        const [address] = /0x[0-9a-f]+$/.exec(name)!;
        taken.set(address, (taken.get(address) ?? 0) + 1);
      }
    }
    assert.equal(grind(['analyze', 'race', recording.folder]).status, 0);
    const uses = recording.query(
      `select address, sum(acquisitions)::ubigint as taken, sum(contended)::ubigint as contended
       from lock_contention group by address having taken > 0`,
    );
    assert.ok(uses.length > 0);
    assert.deepEqual(
      Object.fromEntries(taken),
      Object.fromEntries(
        uses.map((use) => [`0x${(use['address'] as bigint).toString(16)}`, Number(use['taken'])]),
      ),
    );
    const waits = events.filter(({ cat }) => cat === 'lock');
    assert.ok(waits.length >= uses.filter(({ contended }) => contended !== 0n).length);
  });
});

test('the viewer opens call stacks in each format, and finds the threads and their instructions', () => {
  const { folder } = record(['calls.cpp']);
  const formats = ['speedscope', 'collapsed', 'pprof'] as const;
  const paths = formats.map((format) => scratch(format));
  const options = formats.map((format, i) => `--${format}-out=${paths[i]}`);
  assert.equal(grind(['analyze', 'callgraph', folder, ...options]).status, 0);
  const isOpened = (path: string): boolean => shown(path).includes('Left Heavy');
  assert.deepEqual(paths.map(isOpened), [true, true, true]);
  const sums = new Map<string, number>();
  for (const line of readFileSync(paths[1]!, 'utf8').trim().split('\n')) {
    const [, thread, count] = /^([^;]*).* (\d+)$/.exec(line)!;
    sums.set(thread!, (sums.get(thread!) ?? 0) + Number(count));
  }
  assert.ok(sums.size > 1);
  assert.deepEqual(
    profiles(paths[0]!),
    [...sums].map(([thread, count]) => [thread, count.toLocaleString('en')]),
  );
});

describe('comparisons and answers, by readers of others', () => {
  const compare = (format: string, path: string): void => {
    const folders = ['versions.c', 'leaks.c'].map((guest) => record([guest]).folder);
    const options = ['--behaviour=no', '--analyses=memcheck', `--format=${format}`];
    const { status, stderr } = grind(['diff', ...folders, ...options, '-o', path]);
    assert.equal(status, 0, stderr);
  };

  test('SARIF Multitool finds no mistake in SARIF', () => {
    const path = scratch('log.sarif');
    compare('sarif', path);
    const tool = join(ROOT, 'node_modules', '.bin', 'sarif-multitool');
    // It needs no library for languages then.
    const env = { DOTNET_SYSTEM_GLOBALIZATION_INVARIANT: '1' };
    const { status, stdout } = run([tool, 'validate', path], { env });
    assert.equal(status, 0, stdout);
    assert.match(stdout, /Analysis completed successfully/);
    assert.doesNotMatch(stdout, /: error /);
  });

  test('marked makes tables and folded parts of Markdown', async () => {
    const path = scratch('comment.md');
    compare('markdown', path);
    const text = readFileSync(path, 'utf8');
    const html = await marked(text, { gfm: true });
    const headers = text.match(/^\|(?: -+:? \|)+$/gm)!;
    assert.equal(html.match(/<table>/g)!.length, headers.length);
    assert.equal(html.match(/<details>/g)!.length, text.match(/<details>/g)!.length);
    assert.doesNotMatch(html.replace(/<pre>[^]*?<\/pre>/g, ''), /^\||```/m);
  });

  test('sqlite3 reads CSV, and Python JSON, with all 64 bits', () => {
    const sql = `select address, size, kind, addr from (select 18446744073709551615::ubigint as address,
      -9223372036854775808 as size, 'a "b", c' as kind, e'two\nlines' as addr)`;
    const { folder } = record(['bare.c']);
    const path = scratch('rows.csv');
    assert.equal(grind(['query', folder, sql, '--format=csv', '-o', path]).status, 0);
    const database = ['sqlite3', ':memory:', '-cmd', '.mode csv', '-cmd', `.import ${path} rows`];
    const asked = run([
      ...database,
      "select address || '|' || size || '|' || kind || '|' || addr from rows",
    ]);
    const expected = '18446744073709551615|-9223372036854775808|a "b", c|two\nlines';
    assert.equal(asked.stdout.trim().replace(/^"|"$/g, '').replaceAll('""', '"'), expected);
    const json = grind(['query', folder, sql, '--format=json']).stdout;
    const script =
      'import json,sys\nprint("|".join(str(v) for v in json.load(sys.stdin)[0].values()))';
    assert.equal(run(['/usr/bin/python3', '-c', script], { stdin: json }).stdout.trim(), expected);
  });
});
