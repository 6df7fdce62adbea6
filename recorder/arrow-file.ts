/**
 * Writes one Arrow IPC file, record batch by record batch, with LZ4-compressed buffers. Nothing of
 * what was written is held, except where each batch stands.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, writevSync } from 'node:fs';
import type { Column, ColumnType, Table } from '../schemas/schema.js';
import { columnMetadata, storedColumns, tableMetadata } from '../schemas/stored.js';
import {
  encodeFlatbuffer,
  encodeTable,
  i16,
  i32,
  i64,
  i8,
  object,
  objects,
  structs,
  text,
  type EncodedTable,
  type FlatTable,
  type FlatValue,
} from './flatbuffer.js';
import { compressFrame } from '../schemas/lz4.js';

/** Where a record batch stands in its file. */
export interface BatchPlace {
  readonly offset: number;
  /** Size of its metadata with the prefix, in bytes. */
  readonly metadataSize: number;
  readonly bodySize: number;
  readonly rows: number;
}

/** A record batch but for its metadata. */
export interface EncodedBatch {
  readonly rows: number;
  /** Offset and size in the body of each buffer that `ArrowFileWriter.append` would take, in bytes. */
  readonly regions: Uint32Array;
  /** The buffers as the file has them: compressed, with their sizes, aligned. */
  readonly body: Uint8Array;
}

const MAGIC = Buffer.from('ARROW1');
const FILE_START = Buffer.from('ARROW1\0\0');
const END_OF_STREAM = Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
const METADATA_V5 = 4;
const HEADER_SCHEMA = 1;
const HEADER_RECORD_BATCH = 3;
const NOT_COMPRESSED = word(-1n);
const ZEROS = new Uint8Array(8);

const intType = (bits: number, signed: boolean): [number, FlatTable] => [
  2,
  [i32(bits), i8(signed ? 1 : 0)],
];
/** The number of each type in Arrow's `Type` union, and its table. */
const ARROW_TYPES: Record<ColumnType, [number, FlatTable]> = {
  u8: intType(8, false),
  enum: intType(8, false),
  u16: intType(16, false),
  u32: intType(32, false),
  u64: intType(64, false),
  i32: intType(32, true),
  i64: intType(64, true),
  binary: [4, []],
  string: [5, []],
  bool: [6, []],
};

export class ArrowFileWriter {
  private fd: number;
  private length = 0;
  private batches: BatchPlace[] = [];
  private schemaEnd = 0;
  /** Per stored column: how many buffers it has, the validity bitmap aside. */
  private readonly bufferCounts: number[];

  /**
   * Creates the file, or continues one that was cut off.
   * @param batches of a file to continue: the batches to keep; whatever follows them is cut away
   * @param compress makes the LZ4 frame of a buffer
   */
  constructor(
    path: string,
    private readonly table: Table,
    batches?: readonly BatchPlace[],
    private readonly compress: typeof compressFrame = compressFrame,
  ) {
    this.bufferCounts = Object.values(storedColumns(table)).map(({ type }) =>
      type === 'string' || type === 'binary' ? 2 : 1,
    );
    const last = batches?.at(-1);
    this.fd = openSync(path, last ? 'r+' : 'w');
    if (batches && last) {
      this.batches = [...batches];
      this.length = last.offset + last.metadataSize + last.bodySize;
      if (fstatSync(this.fd).size < this.length)
        throw new Error(`${path} is shorter than its journal says`);
      ftruncateSync(this.fd, this.length);
    } else {
      this.write([FILE_START, ...message(HEADER_SCHEMA, schemaOf(table), 0)]);
    }
    this.schemaEnd = this.batches[0]?.offset ?? this.length;
  }

  get rows(): number {
    return this.batches.reduce((sum, batch) => sum + batch.rows, 0);
  }

  get sizeBytes(): number {
    return this.length;
  }

  /**
   * Appends a record batch.
   * @param buffers one list per stored column: for integers and bool (a bitmap) the values; for string
   *   and binary the offsets (i32, rows + 1) and the bytes
   */
  append(rows: number, buffers: readonly (readonly Uint8Array[])[]): BatchPlace {
    const regions: number[] = [];
    const body: Uint8Array[] = [];
    let bodySize = 0;
    for (const buffer of buffers.flat()) {
      if (buffer.length === 0) {
        regions.push(bodySize, 0);
        continue;
      }
      const frame = this.compress(buffer);
      const size = 8 + (frame?.sizeBytes ?? buffer.length);
      regions.push(bodySize, size);
      // Before the bytes stands their uncompressed size, or -1 when they are not compressed.
      body.push(frame ? word(BigInt(buffer.length)) : NOT_COMPRESSED);
      if (frame) body.push(...frame.parts);
      else body.push(buffer);
      bodySize += size;
      const padding = -size & 7;
      if (padding) body.push(ZEROS.subarray(0, padding));
      bodySize += padding;
    }
    return this.appendBody(rows, regions, body, bodySize);
  }

  /** Appends a record batch whose body is ready. */
  appendEncoded({ rows, regions, body }: EncodedBatch): BatchPlace {
    return this.appendBody(rows, regions, [body], body.length);
  }

  /** @param places offset and size of each buffer of `append`, in bytes */
  private appendBody(
    rows: number,
    places: ArrayLike<number>,
    body: Uint8Array[],
    bodySize: number,
  ): BatchPlace {
    const nodes: bigint[] = [];
    const regions: bigint[] = [];
    let at = 0;
    for (const buffers of this.bufferCounts) {
      nodes.push(BigInt(rows), 0n);
      regions.push(BigInt(places[at]!), 0n); // no validity bitmap: nothing is null
      for (const end = at + 2 * buffers; at < end; at++) regions.push(BigInt(places[at]!));
    }
    const lz4Frame = object([i8(0), i8(0)]);
    const header = object([i64(rows), structs(nodes, 2), structs(regions, 2), lz4Frame]);
    const metadata = message(HEADER_RECORD_BATCH, header, bodySize);
    const place = {
      offset: this.length,
      metadataSize: metadata[0].length + metadata[1].length,
      bodySize,
      rows,
    };
    this.write([...metadata, ...body]);
    this.batches.push(place);
    return place;
  }

  /** Takes back all batches after the first `count`, and what a failed `append` has left. */
  rollBack(count: number): void {
    this.batches.length = count;
    const last = this.batches.at(-1);
    this.length = last ? last.offset + last.metadataSize + last.bodySize : this.schemaEnd;
    ftruncateSync(this.fd, this.length);
  }

  get batchCount(): number {
    return this.batches.length;
  }

  /** Writes the footer and closes the file. */
  finish(): void {
    const blocks = this.batches.flatMap((batch) => [
      BigInt(batch.offset),
      BigInt(batch.metadataSize),
      BigInt(batch.bodySize),
    ]);
    const footer = encodeFlatbuffer([
      i16(METADATA_V5),
      schemaOf(this.table),
      structs([], 3),
      structs(blocks, 3),
    ]);
    const size = new Uint8Array(Int32Array.of(footer.length).buffer);
    this.write([END_OF_STREAM, footer, size, MAGIC]);
    this.close();
  }

  close(): void {
    closeSync(this.fd);
  }

  private write(chunks: Uint8Array[]): void {
    let rest = chunks.filter((chunk) => chunk.length > 0);
    while (rest.length) {
      let written = writevSync(this.fd, rest.slice(0, 1000), this.length);
      this.length += written;
      while (rest.length && written >= rest[0]!.length) {
        written -= rest[0]!.length;
        rest.shift();
      }
      if (written) rest = [rest[0]!.subarray(written), ...rest.slice(1)];
    }
  }
}

function word(value: bigint): Uint8Array {
  return new Uint8Array(BigInt64Array.of(value).buffer);
}

/** An encapsulated message: continuation mark and size, then the metadata. */
function message(type: number, header: FlatValue, bodySize: number): [Uint8Array, Uint8Array] {
  const metadata = encodeFlatbuffer([i16(METADATA_V5), i8(type), header, i64(bodySize)]);
  return [new Uint8Array(Int32Array.of(-1, metadata.length).buffer), metadata];
}

const schemas = new Map<Table, EncodedTable>();

/** The schema, which stands in a file twice: at its beginning and in its footer. */
function schemaOf(table: Table): EncodedTable {
  let schema = schemas.get(table);
  if (!schema) {
    const fields = Object.entries(storedColumns(table)).map(([name, column]) =>
      fieldTable(name, column),
    );
    schema = encodeTable([i16(0), objects(fields), keyValues(tableMetadata(table))]);
    schemas.set(table, schema);
  }
  return schema;
}

/** Encoded schemas as JSON: where each begins, and its bytes in base64. */
export type StoredSchemas = readonly (readonly [place: number, base64: string])[];

/** The schemas of tables, for `useSchemas`. */
export function storeSchemas(tables: readonly Table[]): StoredSchemas {
  return tables.map((table) => {
    const { place, bytes } = schemaOf(table);
    return [place, Buffer.from(bytes).toString('base64')];
  });
}

/** Takes what `storeSchemas` made of the same tables: to encode them costs a tenth of recording a short program. */
export function useSchemas(tables: readonly Table[], stored: StoredSchemas): void {
  for (const [i, table] of tables.entries()) {
    const [place, base64] = stored[i]!;
    schemas.set(table, { kind: 'encoded', place, bytes: Buffer.from(base64, 'base64') });
  }
}

function fieldTable(name: string, column: Column): FlatTable {
  const [type, slots] = ARROW_TYPES[column.type];
  return [
    text(name),
    i8(0),
    i8(type),
    object(slots),
    undefined,
    objects([]),
    keyValues(columnMetadata(column)),
  ];
}

function keyValues(entries: Record<string, string>): FlatValue {
  return objects(Object.entries(entries).map(([key, value]) => [text(key), text(value)]));
}
