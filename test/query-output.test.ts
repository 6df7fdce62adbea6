/** Formats of query results: exact numbers, quoting, blobs, empty results, rows beyond one chunk. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, test } from 'node:test';
import type { DuckDBResult } from '@duckdb/node-api';
import { tableFromIPC } from 'apache-arrow';
import { writeArrow } from '../bin/query-arrow.js';
import { Sink, writeCsv, writeJson, writeTable } from '../bin/query-output.js';
import { Database } from '../replay/database.js';
import { Trace } from '../replay/trace.js';
import { fakeReplay } from './query-replay.js';
import { contents, temporaryFolder, writeRun } from './query-trace.js';

const database = await Database.open(Trace.open(writeRun(contents())), fakeReplay(0, 0).openReplay);
after(() => database.close());

async function written(
  sql: string,
  write: (result: DuckDBResult, sink: Sink) => Promise<unknown>,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    highWaterMark: 16, // so that the writers meet a slow reader
    write(chunk: Buffer, _encoding, done) {
      chunks.push(Buffer.from(chunk));
      setImmediate(done);
    },
  });
  await database.read(sql, (result) => write(result, new Sink(stream)));
  await new Promise((resolve) => stream.end(resolve));
  return Buffer.concat(chunks);
}

const VALUES = `select 18446744073709551615::ubigint as u, (-9223372036854775808)::bigint as i,
  170141183460469231731687303715884105727::hugeint as h, 1.25 as d, 'nan'::double as n, true as t,
  null as nothing, 'a "b", c' as s, '\\x00\\xff'::blob as b, [1, null] as l, {'k': 2} as o`;

test('JSON has every digit', async () => {
  const text = (await written(VALUES, writeJson)).toString();
  assert.equal(
    text,
    '[\n{"u":18446744073709551615,"i":-9223372036854775808,' +
      '"h":170141183460469231731687303715884105727,"d":1.25,"n":"NaN","t":true,"nothing":null,' +
      '"s":"a \\"b\\", c","b":"00ff","l":[1,null],"o":{"k":2}}\n]\n',
  );
  assert.equal((await written('select 1 as a where false', writeJson)).toString(), '[]\n');
  const many = (await written('select range as r from range(5000)', writeJson)).toString();
  assert.deepEqual(
    (JSON.parse(many) as { r: number }[]).map(({ r }) => r),
    Array.from({ length: 5000 }, (_, r) => r),
  );
});

test('CSV quotes what needs it', async () => {
  const text = (
    await written(`select 'a "b", c' as s, '' as e, null as n, 7 as i`, writeCsv)
  ).toString();
  assert.equal(text, 's,e,n,i\n"a ""b"", c","",,7\n');
});

test('a table says what it leaves out', async () => {
  const show = async (sql: string, rows: number) =>
    (await written(sql, (result, sink) => writeTable(result, sink, rows))).toString();
  assert.match(
    await show('select range as r from range(5)', 3),
    /│ 2 │\n└───┘\nThe first 3 rows; there are more/,
  );
  assert.match(await show('select range as r from range(3)', 3), /\n3 rows\n$/);
  assert.match(await show('select 1 as r', 0), /\n1 row\n$/);
  assert.match(await show(`select repeat('x', 1000) as s`, 0), /x… \(1000 characters\)/);
});

test('Arrow and Parquet have every type, with and without NULL', async () => {
  const columns = [
    "(['odd', 'even'])[r % 2 + 1]::enum('odd', 'even') as e",
    'r % 3 = 0 as t',
    ...['tinyint', 'smallint', 'integer', 'bigint', 'float', 'double'].map(
      (type) => `(r % 100 - 50)::${type} as ${type}_`,
    ),
    ...['utinyint', 'usmallint', 'uinteger'].map((type) => `(r % 200)::${type} as ${type}_`),
    '(18446744073709551615 - r)::ubigint as ubigint_',
    "repeat('ä', r::int % 20) as s",
    "repeat('x', r::int % 20)::blob as b",
    '170141183460469231731687303715884105::hugeint + r as h',
  ];
  const sql = `select r, ${columns.join(', ')} from range(5000) t(r)`;
  // Each column has NULL in rows of its own.
  const holes = columns.map((column, i) => {
    const name = column.split(' as ').at(-1)!;
    return `case when r % ${i + 2} = 1 then null else ${name} end as ${name}`;
  });
  const withNulls = `select r, ${holes.join(', ')} from (${sql})`;
  for (const statement of [sql, withNulls]) {
    const expected = await database.rows(`select columns(*)::varchar from (${statement})`);
    const table = tableFromIPC(await written(statement, writeArrow));
    const shown = (value: unknown): string | null => {
      if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
      return value === null ? null : String(value);
    };
    const found = table
      .toArray()
      .map((row: { toJSON(): Record<string, unknown> }) =>
        Object.fromEntries(
          Object.entries(row.toJSON()).map(([name, value]) => [name, shown(value)]),
        ),
      );
    assert.deepEqual(
      found,
      expected.map(({ float_, double_, ...row }) => ({
        ...row,
        ...{ float_: plain(float_), double_: plain(double_) },
      })),
    );
    const path = join(temporaryFolder(), 'types.parquet');
    assert.equal(await database.writeParquet(statement, path), 5000);
    const [same] = await database.rows(
      `select count(*) as n from (select columns(*)::varchar from '${path}' intersect select columns(*)::varchar from (${statement}))`,
    );
    assert.equal(same!['n'], 5000n);
  }
});

/** A number that DuckDB shows with `.0`. */
const plain = (value: unknown) => (value === null ? null : String(value).replace(/\.0$/, ''));

test('Arrow and Parquet come back', async () => {
  const sql = `select (range::ubigint + 9223372036854775808)::ubigint as u, if(range % 2 = 0, null, 'x') as s, '\\xfe'::blob as b from range(5000)`;
  const table = tableFromIPC(await written(sql, writeArrow));
  assert.equal(table.numRows, 5000);
  assert.equal(table.get(4999)!['u'], 9223372036854775808n + 4999n);
  assert.deepEqual([table.get(2)!['s'], table.get(3)!['s']], [null, 'x']);
  assert.deepEqual([...(table.get(0)!['b'] as Uint8Array)], [254]);
  assert.equal(tableFromIPC(await written('select 1 as a where false', writeArrow)).numRows, 0);
  const path = join(temporaryFolder(), "it's.parquet");
  await database.writeParquet(`${sql};`, path);
  assert.equal(readFileSync(path).subarray(0, 4).toString(), 'PAR1');
  const [row] = await database.rows(`select count(*) as n from '${path.replace("'", "''")}'`);
  assert.equal(row!['n'], 5000n);
});
