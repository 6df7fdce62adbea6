/** Reading stored tables: values come back exactly, and damaged files never crash the reader. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  DataType,
  makeData,
  RecordBatch,
  RecordBatchFileWriter,
  Struct,
  vectorFromArray,
} from 'apache-arrow';
import { Trace } from '../replay/trace.js';
import { arrowSchema } from './arrow-schema.js';
import { UserError } from '../schemas/errors.js';
import { heap, mappings, memory, processes, syscall_exits } from '../schemas/tables.js';
import { add, contents, temporaryFolder, writeRun, writeTable } from './query-trace.js';

const HUGE = 0xfedc_ba98_7654_3211n;

function sample() {
  const run = contents([
    { process: 0, pid: 7 },
    { process: 1, pid: 8, parent: 0, how: 'fork' },
  ]);
  add(run, heap, [
    { process: 0, event: 3n, tick: 10n, op: 'calloc', address: HUGE, size: 5n },
    { process: 0, event: 9n, tick: 11n, op: 'free', address: HUGE, known: true },
  ]);
  add(run, heap, [{ process: 1, event: 1n, tick: 1n, op: 'delete_array', address: 1n }]);
  add(run, heap, [{ process: 0, event: 12n, tick: 20n, op: 'malloc' }]);
  add(run, memory, [
    { event: 1n, address: 4096n, size: 3n, bytes: Uint8Array.of(1, 2, 3), cause: 'syscall' },
    { event: 2n, op: 'zero', size: 1n },
    { event: 3n, bytes: Uint8Array.of(255) },
  ]);
  add(run, mappings, [
    { file: '/lib/é.so', shared: true },
    { file: '' },
    { file: 'x', shared: true },
  ]);
  add(run, syscall_exits, [{ result: -2n, failed: true }, { result: -(1n << 63n) }]);
  return run;
}

test('rows come back exactly, by process and in order', () => {
  const trace = Trace.open(writeRun(sample()));
  assert.deepEqual(
    trace.processes.map((p) => [p.process, p.pid, p.parent, p.how]),
    [
      [0, 7, 0, 'start'],
      [1, 8, 0, 'fork'],
    ],
  );
  assert.deepEqual(
    [...trace.rows(heap, 0)].map((r) => [r.event, r.op, r.address, r.known]),
    [
      [3n, 'calloc', HUGE, false],
      [9n, 'free', HUGE, true],
      [12n, 'malloc', 0n, false],
    ],
  );
  assert.equal([...trace.rows(heap, 1)].length, 1);
  assert.equal(trace.rowCount(heap), 4);
  assert.deepEqual(
    [...trace.rows(memory)].map((r) => [r.cause, r.op, [...r.bytes]]),
    [
      ['syscall', 'bytes', [1, 2, 3]],
      ['startup', 'zero', []],
      ['startup', 'bytes', [255]],
    ],
  );
  assert.deepEqual(
    [...trace.rows(mappings)].map((r) => [r.file, r.shared]),
    [
      ['/lib/é.so', true],
      ['', false],
      ['x', true],
    ],
  );
  assert.deepEqual(
    [...trace.rows(syscall_exits)].map((r) => r.result),
    [-2n, -(1n << 63n)],
  );
  const [batch] = trace.batches(memory);
  assert.deepEqual([...batch!.column('address')], [4096n, 0n, 0n]);
  assert.deepEqual([...batch!.column('bytes').offsets], [0, 3, 3, 4]);
  trace.close();
});

test('a file of another writer, with its schema only in the footer, is read as well', () => {
  const folder = writeRun(sample());
  const schema = arrowSchema(heap);
  const children = schema.fields.map((field) => {
    const wide = DataType.isInt(field.type) && field.type.bitWidth === 64;
    return vectorFromArray(DataType.isBool(field.type) ? [true] : [wide ? HUGE : 1], field.type)
      .data[0]!;
  });
  const batch = new RecordBatch(
    schema,
    makeData({ type: new Struct(schema.fields), length: 1, nullCount: 0, children }),
  );
  const bytes = RecordBatchFileWriter.writeAll([batch]).toUint8Array(true);
  const read = () => {
    writeFileSync(join(folder, 'heap.arrow'), bytes.subarray(0, size));
    return [...Trace.open(folder).rows(heap)].map((r) => [r.process, r.address, r.op, r.known]);
  };
  let size = bytes.length;
  assert.deepEqual(read(), [[1, HUGE, 'calloc', true]]);
  size -= 5;
  assert.deepEqual(read(), [[1, HUGE, 'calloc', true]]);
});

test('a file cut off anywhere is read up to its last whole batch', () => {
  const folder = writeRun(sample());
  const whole = readFileSync(join(folder, 'heap.arrow'));
  const counts = new Set<number>();
  for (let size = 0; size < whole.length; size += 7) {
    writeFileSync(join(folder, 'heap.arrow'), whole.subarray(0, size));
    const trace = Trace.open(folder);
    const rows = [...trace.rows(heap)].map((r) => r.event);
    assert.deepEqual(rows, [3n, 9n, 1n, 12n].slice(0, rows.length));
    counts.add(rows.length);
    if (rows.length < 4) assert.match(trace.damages()[0]!.sentence, /not whole/);
    trace.close();
  }
  assert.deepEqual([...counts], [0, 2, 3, 4]);
});

test('a damaged byte gives a clear error or other values, never anything else', () => {
  const folder = writeRun(sample());
  const whole = readFileSync(join(folder, 'memory.arrow'));
  for (let at = 0; at < whole.length; at++) {
    const bytes = Buffer.from(whole);
    bytes[at]! ^= [0x01, 0x80, 0xff][at % 3]!;
    writeFileSync(join(folder, 'memory.arrow'), bytes);
    const trace = Trace.open(folder);
    try {
      for (const row of trace.rows(memory)) assert.ok(row.bytes instanceof Uint8Array);
    } catch (error) {
      assert.ok(error instanceof UserError, `byte ${at}: ${String(error)}`);
    }
    trace.close();
  }
});

test('what is not a run is refused with a sentence', () => {
  const refuses = (folder: string, pattern: RegExp) =>
    assert.throws(
      () => Trace.open(folder).processes,
      (e) => e instanceof UserError && pattern.test(e.message),
    );
  refuses('/nonexistent/run', /no run in/);
  refuses(writeRun(contents(), undefined, { format: 99 }), /newer than format 2/);
  refuses(writeRun(contents(), undefined, { format: 1 }), /older than format 2/);
  refuses(writeRun(contents(), undefined, { format: '1' }), /does not state a trace format/);
  const broken = writeRun(contents());
  writeFileSync(join(broken, 'manifest.json'), '{');
  refuses(broken, /not valid JSON/);
  const foreign = writeRun(contents());
  writeTable(join(foreign, 'processes.arrow'), heap, [[{}]]);
  refuses(foreign, /no column/);
  writeFileSync(join(foreign, 'processes.arrow'), 'PAR1 and some more');
  refuses(foreign, /not an Arrow file/);
  rmSync(join(foreign, 'processes.arrow'));
  refuses(foreign, new RegExp(`no ${processes.name}.arrow`));
  const unfinished = temporaryFolder();
  mkdirSync(join(unfinished, 'spool'));
  refuses(unfinished, /not complete/);
});
