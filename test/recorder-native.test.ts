/** The part of the conversion that is in C does what the one in TypeScript does, on any input. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { tableFromIPC } from 'apache-arrow';
import lz4 from 'lz4-napi';
import { buildTool } from '../recorder/build.js';
import { PieceScanner } from '../recorder/convert.js';
import { compressFrame, decompressFrame } from '../schemas/lz4.js';
import { NativeConverter } from '../recorder/native.js';
import { encodeRecord, PIECE_SIZE_BYTES } from '../recorder/raw.js';
import { RunWriter } from '../recorder/run-writer.js';
import type { Columns, Row, Table } from '../schemas/schema.js';
import { heap, memory, strings, TOOL_TABLES } from '../schemas/tables.js';
import { registerCodec } from './arrow-schema.js';
import { ENDED, raw, start } from './raw-records.js';

registerCodec();

let folder: string;
let native: NativeConverter;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'grind-test-'));
  native = NativeConverter.load((await buildTool()).folder)!;
  assert.ok(native);
});
after(() => rmSync(folder, { recursive: true }));

/** Numbers below `end`, the same in each run. */
let state = 1;
function random(end: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * end);
}

function randomBytes(size: number, alphabet: number): Uint8Array {
  return Uint8Array.from({ length: size }, () => random(alphabet));
}

/** A raw record of any contents. */
function randomRecord(number: number): Uint8Array {
  const table = TOOL_TABLES[number] as Table<Columns>;
  const row: Record<string, unknown> = {};
  for (const [name, { type, names }] of Object.entries(table.columns)) {
    if (type === 'string') row[name] = ['', 'a', 'größer', 'x'.repeat(40), '\u{1f600}'][random(5)];
    else if (type === 'binary') row[name] = randomBytes(random(4) * random(100), 256);
    else if (type === 'u64' || type === 'i64') row[name] = BigInt(random(2 ** 32)) << 20n;
    else if (names) row[name] = names[random(names.length)];
    else row[name] = type === 'bool' ? random(2) === 1 : random(200);
  }
  return encodeRecord(table, number, row as Row<typeof table>);
}

/** The rows of all tables that a converter makes of pieces. */
function convert(
  name: string,
  pieces: readonly Uint8Array[],
  converter?: NativeConverter,
): unknown {
  const run = join(folder, name);
  mkdirSync(join(run, 'spool'), { recursive: true });
  pieces.forEach((piece, i) => writeFileSync(join(run, 'spool', `p10-0.${i}`), piece));
  const writer = new RunWriter(run, converter);
  writer.poll(() => true);
  const { tables } = writer.finish(ENDED, ['INVALID', 'Add8']);
  return Object.keys(tables).map((table) => [
    table,
    tableFromIPC(readFileSync(join(run, `${table}.arrow`)))
      .toArray()
      .map((row: object) =>
        JSON.stringify(row, (_, v: unknown) => (typeof v === 'bigint' ? `${v}` : v)),
      ),
  ]);
}

test('records of every table become the same rows', () => {
  const pieces = [0, 1].map((piece) => {
    const records = Array.from({ length: 3000 }, () => randomRecord(random(TOOL_TABLES.length)));
    return Buffer.concat(piece === 0 ? [start(), ...records] : records);
  });
  assert.deepEqual(convert('native', pieces, native), convert('plain', pieces));
});

test('large tables are cut into batches, large values are whole, and names need not be UTF-8', () => {
  const text = raw(strings, { string: 7, text: 'name' });
  const wrong = text.slice();
  wrong[Buffer.from(wrong).indexOf('name')] = 0xff;
  const large = raw(memory, {
    tick: 1n,
    thread: 1,
    cause: 'mmap',
    op: 'bytes',
    address: 0n,
    size: 0n,
    source: 0n,
    bytes: Buffer.concat([randomBytes(1 << 20, 256), new Uint8Array(2 << 20)]),
  });
  const rows = Array.from({ length: 40_000 }, () => randomRecord(TOOL_TABLES.indexOf(heap)));
  const texts = Array.from({ length: 1000 }, (_, i) => (i === 500 ? wrong : text));
  const pieces = [
    Buffer.concat([start(), ...rows, ...texts]),
    Buffer.concat([large, large.slice(0)]),
  ];
  assert.ok(pieces[0]!.length < PIECE_SIZE_BYTES);
  pieces[1] = pieces[1]!.subarray(0, large.length);
  assert.deepEqual(convert('large', pieces, native), convert('large-plain', pieces));
});

test('damage is found where it is', () => {
  const records = Array.from({ length: 50 }, () => randomRecord(random(TOOL_TABLES.length)));
  const plain = new PieceScanner(TOOL_TABLES);
  for (let i = 0; i < 3000; i++) {
    const piece = new Uint8Array(Buffer.concat(records));
    for (let change = random(3); change >= 0; change--) {
      const at = random(piece.length);
      piece[at] = [0, 255, piece[at]! ^ (1 << random(8))][random(3)]!;
    }
    const found = native.scan(piece);
    const expected = plain.scan(piece);
    assert.equal(found.broken, expected.broken);
    assert.equal(found.count, expected.count);
    for (let table = 0; table < TOOL_TABLES.length; table++) {
      assert.equal(found.countOf(table), expected.countOf(table));
      for (let k = 0; k < found.countOf(table); k++)
        assert.equal(found.offsetOf(table, k), expected.offsetOf(table, k));
    }
  }
});

test('LZ4 frames of any bytes are read back, and are about as small as those of the library', () => {
  const check = (bytes: Uint8Array): number => {
    const frame = native.compressFrame(bytes);
    if (!frame) return bytes.length;
    const whole = Buffer.concat(frame.parts);
    assert.equal(whole.length, frame.sizeBytes);
    assert.ok(whole.length < bytes.length);
    assert.ok(lz4.decompressFrameSync(whole).equals(bytes), `${bytes.length} bytes`);
    const found = decompressFrame(Buffer.from(whole), BigInt(bytes.length));
    assert.ok(Buffer.from(bytes).equals(found), `${bytes.length} bytes, as one block`);
    return frame.sizeBytes;
  };
  for (let size = 0; size < 400; size++)
    for (const alphabet of [1, 2, 5, 256]) check(randomBytes(size, alphabet));
  for (let i = 0; i < 100; i++) {
    const parts = Array.from({ length: 20 }, () =>
      randomBytes(random(5000), [1, 2, 16, 256][random(4)]!),
    );
    const repeated = parts.flatMap((part) => (random(2) ? [part, part] : [part]));
    check(Buffer.concat(repeated));
  }
  // Matches at the farthest distance, beyond it, and in several blocks of which one does not shrink.
  const part = randomBytes(3000, 256);
  for (const distance of [65534, 65535, 65536, 70000])
    check(Buffer.concat([part, new Uint8Array(distance - part.length), part]));
  check(
    Buffer.concat([Buffer.alloc(5 << 20, 'text'), randomBytes(4 << 20, 256), Buffer.from('end')]),
  );
  const program = readFileSync(process.execPath).subarray(0, 8 << 20);
  const library = compressFrame(program)?.sizeBytes ?? program.length;
  assert.ok(check(program) < 1.05 * library);
});
