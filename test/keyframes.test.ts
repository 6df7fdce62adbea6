/**
 * Shortcuts of replay give the same rows as going all the way: beginning at a keyframe, leaving out
 * addresses; and after a part that cannot be followed, replay goes on at the next keyframe.
 */
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { Database } from '../replay/database.js';
import { openReplay } from '../replay/replay.js';
import { Trace } from '../replay/trace.js';
import { keyframes, registers } from '../schemas/tables.js';
import { parseExact, grind, record, Recording, scratch, type ResultRow } from './guest.js';
import { writeTable } from './query-trace.js';

/** SQL in this test process, over a recording: with hints from the statement, or without any. */
async function open(folder: string, hinted = true): Promise<Database> {
  const database = await Database.open(Trace.open(folder), openReplay);
  // A session with tables of its own gets no hints.
  if (!hinted) await database.rows('create table mine(x integer)');
  return database;
}

const SUMMARY = `count(*) as n, sum(hash(a)) as hashes, min(tick) as first, max(tick) as last`;

/** Compares statements between a session with hints and one that reads all accesses and filters. */
async function agree(folder: string, conditions: readonly string[]): Promise<void> {
  const [hinted, plain] = [await open(folder), await open(folder, false)];
  await plain.rows('create table everything as select * from accesses');
  for (const condition of conditions) {
    const ask = (table: string) => `select ${SUMMARY} from ${table} a where ${condition}`;
    assert.deepEqual(
      await hinted.rows(ask('accesses')),
      await plain.rows(ask('everything')),
      condition,
    );
  }
  for (const database of [hinted, plain]) {
    database.close();
    database.trace.close();
  }
}

let longRun: Recording | undefined;
/** A run of some 300 million instructions of two threads. */
const long = () => (longRun ??= record(['long.c']));

function keyframeTicks(folder: string): bigint[] {
  const trace = Trace.open(folder);
  const ticks = [...trace.rows(keyframes)].map(({ tick }) => tick);
  trace.close();
  return ticks;
}

test('a range of ticks gives the rows that the whole execution has there', async () => {
  const { folder, facts } = long();
  const ticks = keyframeTicks(folder);
  assert.ok(ticks.length >= 2, `${ticks.length} keyframes`);
  const cells = facts.hex('cells');
  const conditions = ticks.flatMap((tick) => [
    `tick >= ${tick}`,
    `tick between ${tick - 1000n} and ${tick + 1000n}`,
    `tick < ${tick} and tick > ${tick - 50_000n}`,
    `tick > ${tick + 20_000_000n} and tick < ${tick + 21_000_000n} and thread = 2`,
    `tick > ${tick + 5_000_000n} and addr between ${cells} and ${cells + 4095n}`,
  ]);
  await agree(folder, [...conditions, `tick > ${1n << 60n}`, 'tick < 1000']);
});

test('last_write and memory_at tell what the guest printed', () => {
  const recording = long();
  const { facts } = recording;
  const end = recording.cell('select ticks from processes');
  const [total, value] = [facts.hex('total'), facts.hex('total', 1)];
  assert.equal(recording.cell(`select value from last_write(${total}, ${end})`), value);
  const bytes = recording.query(`select byte from memory_at(${total}, 8, ${end}) order by address`);
  const words = Buffer.from(bytes.map(({ byte }) => Number(byte))).readBigUInt64LE();
  assert.equal(words, value);
  const addresses = facts.all('cell').map(([at]) => BigInt(`0x${at}`));
  const values = recording.query(`select addr, max_by(value, tick) as value from accesses
    where kind = 'store' and addr in (${addresses.join(', ')}) group by addr`);
  const found = new Map(values.map((row) => [row['addr'], row['value']]));
  for (const [at, cell] of facts.all('cell'))
    assert.equal(found.get(BigInt(`0x${at}`)) ?? 0n, BigInt(`0x${cell}`));
});

test('addresses: the same rows, whatever kind of access', async () => {
  for (const [guest, kinds] of [
    ['widths.c', 'true'],
    ['atomics.c', 'atomic'],
    // Made by helpers: x87 numbers of 80 bits, fxsave.
    ['fpu.c', 'size in (10, 160)'],
  ] as const) {
    const recording = record([guest]);
    // Addresses of every kind of access, wide ones, locked ones, and those of helpers such as fxsave.
    const places = recording.query(`
      select size, atomic, kind, min(addr) as low, quantile_disc(addr, 0.5) as middle, max(addr) as high
      from accesses where ${kinds} group by all order by all`);
    assert.ok(places.length >= 4, guest);
    // One condition for each, in turn of another form.
    const conditions = places.map(({ low, middle, high, size }, i) => {
      const [from, extent] = [middle as bigint, size as bigint];
      const forms = [`= ${low}`, `= ${middle}`, `>= ${high}`];
      return `addr ${forms[i % 4] ?? `between ${from - 1n} and ${from + extent}`}`;
    });
    await agree(recording.folder, conditions);
  }
});

/** A copy of the run in which one logged register of a system call between two ticks is another. */
function withWrongRegister(folder: string, from: bigint, to: bigint): string {
  const copy = scratch('wrong-register');
  cpSync(folder, copy, { recursive: true });
  rmSync(join(copy, 'cache'), { recursive: true, force: true });
  const trace = Trace.open(folder);
  const { RAX } = trace.manifest.guest!.registers!;
  let changed = 0;
  const rows = [...trace.rows(registers)].map((row) => {
    const words = new BigUint64Array(Uint8Array.from(row.changes).buffer);
    if (changed > 0 || row.tick < from || row.tick > to || words[0] !== BigInt(RAX!)) return row;
    changed++;
    words[1]! ^= 0x1000n;
    return { ...row, changes: new Uint8Array(words.buffer) };
  });
  trace.close();
  assert.equal(changed, 1, 'there is a row to change');
  writeTable(join(copy, 'registers.arrow'), registers, [rows]);
  return copy;
}

test('what cannot be followed is told, and replay goes on at the next keyframe', async () => {
  const { folder } = long();
  const [first, second] = keyframeTicks(folder) as [bigint, bigint];
  const damaged = withWrongRegister(folder, first + 1n, second - 20_000_000n);
  const after = `select ${SUMMARY} from accesses a where tick >= ${second}`;
  const before = `select ${SUMMARY} from accesses a where tick < ${first}`;
  const ask = (run: string, sql: string) => {
    const { status, stdout, stderr } = grind(['query', run, sql, '--format', 'json']);
    assert.equal(status, 0, stderr);
    return { rows: parseExact(stdout) as ResultRow[], stderr };
  };
  // Of the whole execution, what follows the next keyframe is as it was.
  const all = await open(damaged, false);
  const good = await open(folder, false);
  assert.deepEqual(await all.rows(after), await good.rows(after));
  assert.deepEqual(await all.rows(before), await good.rows(before));
  const [{ n: lost }] = (await all.rows(`select count(*) as n from accesses`)) as [{ n: bigint }];
  const [{ n: whole }] = (await good.rows(`select count(*) as n from accesses`)) as [{ n: bigint }];
  assert.ok(lost < whole, 'accesses that are not known are left out');
  for (const database of [all, good]) {
    database.close();
    database.trace.close();
  }
  const told = new RegExp(`could not follow.* to tick ${second}`);
  assert.match(ask(damaged, 'select count(*) from accesses').stderr, told);
  const { rows } = ask(damaged, `select severity, detail from health where severity = 'error'`);
  assert.equal(rows.length, 1);
  assert.match(String(rows[0]!['detail']), told);
  assert.match(grind(['info', damaged]).stdout, told);
});
