/**
 * The Arrow schema of a stored table, and the codec of compressed bodies, for readers that use
 * apache-arrow. (The recorder writes the same bytes without it: recorder/arrow-file.ts.)
 */
import {
  Binary,
  Bool,
  CompressionType,
  compressionRegistry,
  Field,
  Int32,
  Int64,
  Schema,
  Uint16,
  Uint32,
  Uint64,
  Uint8,
  Utf8,
  type DataType,
} from 'apache-arrow';
import lz4 from 'lz4-napi';
import type { ColumnType, Table } from '../schemas/schema.js';
import { columnMetadata, storedColumns, tableMetadata } from '../schemas/stored.js';

const TYPES: Record<ColumnType, () => DataType> = {
  u8: () => new Uint8(),
  enum: () => new Uint8(),
  u16: () => new Uint16(),
  u32: () => new Uint32(),
  u64: () => new Uint64(),
  i32: () => new Int32(),
  i64: () => new Int64(),
  bool: () => new Bool(),
  string: () => new Utf8(),
  binary: () => new Binary(),
};

/** The schema of `<table>.arrow`; no column is nullable. */
export function arrowSchema(table: Table): Schema {
  const fields = Object.entries(storedColumns(table)).map(
    ([name, column]) =>
      new Field(name, TYPES[column.type](), false, new Map(Object.entries(columnMetadata(column)))),
  );
  return new Schema(fields, new Map(Object.entries(tableMetadata(table))));
}

/** Lets apache-arrow read and write LZ4-compressed record batches. */
export function registerCodec(): void {
  compressionRegistry.set(CompressionType.LZ4_FRAME, {
    encode: (data) =>
      lz4.compressFrameSync(Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
    decode: (data) =>
      lz4.decompressFrameSync(Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  });
}
