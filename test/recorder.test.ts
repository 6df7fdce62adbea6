/** The recorder without the engine: spool pieces, made here, become Arrow files that others can read. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { tableFromIPC, util } from 'apache-arrow';
import lz4 from 'lz4-napi';
import { convertTable, PieceScanner } from '../recorder/convert.js';
import { buildId, programKind } from '../recorder/elf.js';
import {
  generateOpsHeader,
  generateTablesHeader,
  parseGuestState,
  parseOps,
} from '../recorder/generate.js';
import { EngineLog } from '../recorder/log.js';
import { compressFrame, decompressFrame } from '../schemas/lz4.js';
import { filterEnvironment } from '../recorder/manifest.js';
import { decodeRecord } from '../recorder/raw.js';
import { RunWriter } from '../recorder/run-writer.js';
import { arrowSchema, registerCodec } from './arrow-schema.js';
import { ENDED, raw, start } from './raw-records.js';
import { rawLayout, type Columns, type Row, type Table } from '../schemas/schema.js';
import {
  health,
  heap,
  memory,
  process_ends,
  process_starts,
  slices,
  STORED_TABLES,
  TOOL_TABLES,
} from '../schemas/tables.js';

registerCodec();

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'grind-test-'));
  mkdirSync(join(folder, 'spool'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const all = (): boolean => true;

/** Where a `memory` record has the length of its bytes. */
const BYTES_LENGTH = rawLayout(memory.columns).fields.find(({ name }) => name === 'bytes')!.offset;

function block(i: number): Row<typeof heap> {
  return {
    tick: BigInt(i),
    thread: 1,
    stack: i,
    op: i % 3 === 2 ? 'free' : 'malloc',
    address: 0xffff_ffff_0000_0001n + BigInt(i),
    size: 16n,
    alignment: 0n,
    previous: 0n,
    previous_size: 0n,
    known: i % 3 === 2,
    count: 0n,
    element_size: 0n,
  };
}

function change(i: number): Row<typeof memory> {
  return {
    tick: BigInt(i),
    thread: 1,
    cause: 'syscall',
    op: 'bytes',
    address: 4096n,
    size: 100n,
    source: 0n,
    bytes: new Uint8Array(i % 90).fill(i),
  };
}

function writePiece(name: string, number: number, ...records: Uint8Array[]): void {
  writeFileSync(join(folder, 'spool', `${name}.${number}`), Buffer.concat(records));
}

function readTable(table: Table): Record<string, unknown>[] {
  return tableFromIPC(readFileSync(join(folder, `${table.name}.arrow`)))
    .toArray()
    .map((row: { toJSON(): Record<string, unknown> }) => row.toJSON());
}

test('every table goes through a raw record and an Arrow file unchanged', () => {
  const samples = {
    u8: 200,
    u16: 60000,
    u32: 0xffff_fffe,
    i32: -5,
    u64: 0xffff_ffff_ffff_fffen,
    i64: -5n,
    bool: true,
    string: 'größe',
    binary: new Uint8Array([0, 255, 7]),
  };
  for (const table of TOOL_TABLES as readonly Table<Columns>[]) {
    const row: Record<string, unknown> = {};
    for (const [name, column] of Object.entries(table.columns))
      row[name] = column.type === 'enum' ? column.names!.at(-1) : samples[column.type];
    const record = raw(table, row as Row<typeof table>);
    assert.deepEqual(decodeRecord(table, record, 0), row, table.name);
  }
});

test('pieces become Arrow files that a standard reader opens', () => {
  const changes = Array.from({ length: 5000 }, (_, i) => raw(memory, change(i)));
  const blocks = Array.from({ length: 5000 }, (_, i) => raw(heap, block(i)));
  writePiece('p10-0', 0, start(), ...changes, ...blocks.slice(0, 3000));
  writePiece('p10-0', 1, ...blocks.slice(3000), new Uint8Array(64));
  const writer = new RunWriter(folder);
  writer.poll(all);
  const { tables, processes } = writer.finish(ENDED, ['INVALID', 'Add8']);

  for (const table of STORED_TABLES) {
    const path = join(folder, `${table.name}.arrow`);
    assert.equal(statSync(path).size, tables[table.name]!.sizeBytes);
    const read = tableFromIPC(readFileSync(path));
    assert.equal(read.numRows, tables[table.name]!.rows);
    assert.ok(util.compareSchemas(read.schema, arrowSchema(table)), table.name);
    assert.deepEqual(read.schema.metadata, arrowSchema(table).metadata);
    assert.deepEqual(
      read.schema.fields.map((field) => field.metadata),
      arrowSchema(table).fields.map((field) => field.metadata),
    );
  }
  const heapRows = readTable(heap);
  assert.equal(heapRows.length, 5000);
  assert.deepEqual(heapRows[4999], {
    process: 0,
    event: 10000n,
    ...block(4999),
    op: heap.columns.op.names.indexOf(block(4999).op),
  });
  const memoryRows = readTable(memory);
  memoryRows.forEach((row, i) => assert.deepEqual(row['bytes'], change(i).bytes));
  assert.equal(processes[0]!.events, 10001n);
  assert.equal(processes[0]!.ticks, 4999n);
  assert.equal(processes[0]!.arguments, '["x","a b"]');
  assert.equal(processes[0]!.end, 'killed');
});

test('LZ4 frames of several blocks, compressed or not, are read back', () => {
  assert.equal(compressFrame(new Uint8Array(10)), undefined);
  assert.equal(compressFrame(new Uint8Array(randomBytes(1000))), undefined);
  const bytes = Buffer.concat([
    Buffer.alloc(5 << 20, 'text'),
    randomBytes(4 << 20),
    Buffer.from('the end'),
  ]);
  const frame = compressFrame(bytes)!;
  const whole = Buffer.concat(frame.parts);
  assert.equal(whole.length, frame.sizeBytes);
  assert.ok(whole.length < bytes.length);
  assert.ok(lz4.decompressFrameSync(whole).equals(bytes));
  assert.ok(bytes.equals(decompressFrame(whole, BigInt(bytes.length))));
});

test('large tables are cut into batches', () => {
  const piece = new Uint8Array(
    Buffer.concat(Array.from({ length: 70_000 }, (_, i) => raw(heap, block(i)))),
  );
  const scanned = new PieceScanner(TOOL_TABLES).scan(piece);
  const records = scanned.tables[TOOL_TABLES.indexOf(heap)]!;
  const batches = [...convertTable(heap, piece, records, 0, 5)];
  assert.equal(scanned.broken, undefined);
  assert.ok(batches.length > 1);
  assert.equal(
    batches.reduce((sum, batch) => sum + batch.rows, 0),
    70_000,
  );
});

test('a piece is left alone until its successor has begun', () => {
  writePiece('p10-0', 0, start());
  const writer = new RunWriter(folder);
  const running = (): boolean => false;
  writer.poll(running);
  assert.equal(writer.processImages[0]!.nextPiece, 0);
  writePiece('p10-0', 1, new Uint8Array(64));
  writer.poll(running);
  assert.equal(writer.processImages[0]!.nextPiece, 0);
  writePiece('p10-0', 1, raw(heap, block(0)));
  writer.poll(running);
  assert.equal(writer.processImages[0]!.nextPiece, 1);
});

test('what a killed process has left in its tail is added to its pieces', () => {
  const writeTail = (name: string, piece: number, offset: number, ...records: Uint8Array[]): void =>
    writeFileSync(
      join(folder, 'spool', `${name}.tail`),
      Buffer.concat(
        [Uint32Array.of(piece, offset), ...records].map((part) => Buffer.from(part.buffer)),
      ),
    );
  const end = new Uint8Array(64);
  const stale = raw(heap, block(9)).slice();
  const first = start();
  // Nothing of the tail was appended; a part of it; all of it, which it does not know yet; all, as it knows.
  writePiece('p10-0', 0, first);
  writeTail('p10-0', 0, first.length, raw(heap, block(0)), raw(heap, block(1)), end, stale);
  writePiece(
    'p11-0',
    0,
    start({ pid: 11 }),
    raw(heap, block(0)),
    raw(heap, block(1)).subarray(0, 16),
  );
  writeTail('p11-0', 0, first.length, raw(heap, block(0)), raw(heap, block(1)), end);
  writePiece('p12-0', 0, start({ pid: 12 }), raw(heap, block(0)), raw(heap, block(1)));
  writeTail('p12-0', 0, first.length, raw(heap, block(0)), raw(heap, block(1)), end);
  writePiece('p13-0', 0, start({ pid: 13 }), raw(heap, block(0)), raw(heap, block(1)));
  writeTail('p13-0', 0, first.length, end, stale);
  // The tail's records would begin a piece; a piece is shorter than its tail says.
  writePiece('p14-0', 0, start({ pid: 14 }), raw(heap, block(0)));
  writeTail('p14-0', 1, 0, raw(heap, block(1)), end);
  writePiece('p15-0', 0, start({ pid: 15 }));
  writeTail('p15-0', 0, 4096, raw(heap, block(1)), end);
  const writer = new RunWriter(folder);
  writer.poll(() => false);
  assert.ok(writer.processImages.every((image) => image.nextPiece === 0));
  writer.poll(all);
  writer.finish(ENDED, []);
  const rows = readTable(heap).map(({ process, tick }) => [process, Number(tick)]);
  const expected = [0, 1, 2, 3, 4].flatMap((process) => [0, 1].map((tick) => [process, tick]));
  assert.deepEqual(rows, expected);
  assert.deepEqual(
    writer.processImages.map((image) => [image.pid, image.broken]),
    [10, 11, 12, 13, 14, 15].map((pid) => [pid, pid === 15]),
  );
});

test('forks and execs are pieced together', () => {
  writePiece('p10-0', 0, start());
  writePiece(
    'p11-0',
    0,
    start({
      how: 'fork',
      pid: 11,
      parent_pid: 10,
      parent: 'p10-0',
      parent_tick: 7n,
      parent_event: 1n,
      time_ns: 2000n,
    }),
  );
  writePiece(
    'p11-1',
    0,
    start({ pid: 11, parent_pid: 10, executable: '/bin/y', time_ns: 3000n }),
    raw(process_ends, { tick: 9n, how: 'exit', status: 3, time_ns: 4000n }),
  );
  const writer = new RunWriter(folder);
  writer.poll(all);
  const { processes } = writer.finish({ ...ENDED, exitStatus: null, signal: 15 }, []);
  const facts = processes.map(({ pid, parent, how, parent_tick, end, status }) => ({
    pid,
    parent,
    how,
    parent_tick,
    end,
    status,
  }));
  assert.deepEqual(facts, [
    { pid: 10, parent: -1, how: 'start', parent_tick: 0n, end: 'signal', status: 15 },
    { pid: 11, parent: 0, how: 'fork', parent_tick: 7n, end: 'exec', status: -1 },
    { pid: 11, parent: 1, how: 'exec', parent_tick: 0n, end: 'exit', status: 3 },
  ]);
});

test('a damaged piece keeps what precedes the damage, and says so', () => {
  const damages: Record<string, (record: Uint8Array) => void> = {
    'size not a multiple of 8': (record) => (record[0] = 13),
    'size beyond the piece': (record) => (record[2] = 255),
    'size too small': (record) => (record[0] = 8),
    'unknown table': (record) => (record[4] = 250),
    'length beyond the record': (record) =>
      new DataView(record.buffer).setUint32(BYTES_LENGTH, 0xffff_fff0, true),
  };
  for (const [what, damage] of Object.entries(damages)) {
    const bad = raw(memory, change(50));
    damage(bad);
    writePiece('p10-0', 0, start(), raw(heap, block(0)), bad, raw(heap, block(1)));
    writePiece('p10-0', 1, raw(heap, block(2)));
    const writer = new RunWriter(folder);
    writer.poll(all);
    writer.finish(ENDED, []);
    assert.equal(readTable(heap).length, 1, what);
    const [row] = readTable(health);
    assert.equal(row?.['what'], 'broken_spool', what);
    rmSync(join(folder, 'spool', 'journal'));
  }
});

test('a conversion that was cut off goes on where it was, without losing or doubling rows', () => {
  const records = Array.from({ length: 300 }, (_, i) => raw(heap, block(i)));
  writePiece('p10-0', 0, start(), ...records.slice(0, 100));
  const killed = new RunWriter(folder);
  killed.poll(all);
  // What is left when the recorder is killed while it converts the next piece: a torn batch and journal.
  const torn = join(folder, 'heap.arrow');
  writeFileSync(torn, 'half a batch', { flag: 'a' });
  writeFileSync(join(folder, 'spool', 'journal'), '{"image":{"na', { flag: 'a' });
  writePiece('p10-0', 0, start(), ...records.slice(0, 100)); // not yet deleted
  writePiece('p10-0', 1, ...records.slice(100));

  const writer = new RunWriter(folder);
  writer.poll(all);
  const { processes } = writer.finish({ ...ENDED, pid: undefined }, []);
  assert.deepEqual(
    readTable(heap).map((row) => row['event']),
    records.map((_, i) => BigInt(i + 1)),
  );
  assert.equal(processes[0]!.end, 'unknown');
});

test('names that are not UTF-8 are stored with replacement characters', () => {
  const record = start({ executable: '/bin/xyz' });
  record.set([0xff], Buffer.from(record).indexOf('xyz'));
  writePiece('p10-0', 0, record);
  const writer = new RunWriter(folder);
  writer.poll(all);
  writer.finish(ENDED, []);
  assert.equal(readTable(process_starts)[0]!['executable'], '/bin/\ufffdyz');
});

test('a file that is shorter than the journal says is not continued', () => {
  writePiece('p10-0', 0, start(), raw(heap, block(0)));
  new RunWriter(folder).poll(all);
  truncateSync(join(folder, 'heap.arrow'), 100);
  assert.throws(() => new RunWriter(folder), /shorter than its journal/);
});

test('the C header declares each record with the size that the converter expects', () => {
  const header = generateTablesHeader();
  assert.match(header, /#define TABLE_PROCESS_STARTS 0\n/);
  assert.match(header, /SYNC_OP_MUTEX_INIT = 0,/);
  const slice = raw(slices, { tick: 0n, thread: 1, pc: 0n, sp: 0n, state_hash: 0n });
  assert.ok(header.includes(`_Static_assert(sizeof(RawSlices) == ${slice.length}, `));
});

test("the numbering of operations follows the engine's header", () => {
  const ops = parseOps(
    'enum { Iop_INVALID=0x1400, /* Iop_No */\n Iop_Add8, // no\n Iop_Add16,\n Iop_LAST } IROp;',
  );
  assert.deepEqual(ops, ['INVALID', 'Add8', 'Add16']);
  const header = generateOpsHeader(ops, ['Add16', 'NotHere'], ['helper']);
  assert.match(header, /\n {3}0, 0, 1\n/);
  assert.match(header, /"helper",\n {3}0\n/);
  assert.throws(() => parseOps('enum { Iop_INVALID=1, Iop_A = 7, Iop_LAST }'), /not expected/);
  assert.deepEqual(
    parseGuestState(
      'struct { UInt pad; ULong guest_RAX; U256 guest_YMM0 ; ULong guest_FPREG[8]; } VexGuestAMD64State;',
    ),
    ['RAX', 'YMM0', 'FPREG'],
  );
});

test("the engine's log: guest output is printed, ends and warnings are kept", () => {
  const path = join(folder, 'spool', 'log.10');
  writeFileSync(
    path,
    '==10== grind\n**10** from the guest\n==10==    at 0x1: f (x.c:1)\n==10==    Process terminating with default action of signal 11 (SIGSEGV)\n**10** ä',
  );
  let printed = '';
  const log = new EngineLog(join(folder, 'spool'), (text) => (printed += text));
  log.poll();
  assert.equal(printed, '**10** from the guest\n==10==    at 0x1: f (x.c:1)\n');
  writeFileSync(path, ' end\n--10-- WARNING: unhandled amd64-linux syscall: 999', { flag: 'a' });
  log.poll(true);
  assert.ok(printed.endsWith('**10** ä end\n'));
  assert.equal(log.fatalSignals.get(10), 11);
  assert.deepEqual(
    log.messages.map((message) => message.severity),
    ['info', 'warning'],
  );
});

test('names that match a pattern are left out of the environment', () => {
  const kept = filterEnvironment({ HOME: '/', API_KEY: 'x', Api_Token: 'y', 'A+B': 'z' }, [
    '*KEY*',
    '*token',
    'a+b',
  ]);
  assert.deepEqual(kept, { HOME: '/' });
});

test('programs are told from other files', () => {
  assert.equal(programKind(process.execPath), 'elf64-x86-64');
  const path = join(folder, 'file');
  writeFileSync(path, '#!/bin/sh\n');
  assert.equal(programKind(path), 'script');
  writeFileSync(path, Buffer.from('7f454c460101010000000000000000000200030001000000', 'hex'));
  assert.equal(programKind(path), 'other-elf');
  writeFileSync(path, '');
  assert.equal(programKind(path), 'unknown');
  assert.equal(buildId(path), undefined);
});
