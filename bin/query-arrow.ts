/** Writes the rows of a SQL result as an Arrow file. Loaded when it is wanted: the library is large. */
import {
  Binary,
  Bool,
  Float32,
  Float64,
  Int16,
  Int32,
  Int64,
  Int8,
  makeData,
  RecordBatch,
  RecordBatchFileWriter,
  Schema,
  Field,
  Struct,
  Uint16,
  Uint32,
  Uint64,
  Uint8,
  Utf8,
  vectorFromArray,
  type DataType,
} from 'apache-arrow';
import {
  DuckDBTypeId,
  type DuckDBBlobValue,
  type DuckDBResult,
  type DuckDBType,
  type DuckDBValue,
} from '@duckdb/node-api';
import { text, type Sink } from './query-output.js';

/** An Arrow IPC file. */
export async function writeArrow(result: DuckDBResult, sink: Sink): Promise<void> {
  const types = result.columnTypes().map(arrowType);
  const names = result.deduplicatedColumnNames();
  const schema = new Schema(names.map((name, i) => new Field(name, types[i]!.type, true)));
  const writer = new RecordBatchFileWriter();
  const written = (async () => {
    for await (const chunk of writer.toNodeStream()) await sink.write(chunk as Uint8Array);
  })();
  const write = (columns: (readonly DuckDBValue[])[], length: number) => {
    const children = columns.map((values, i) => {
      const { type, convert } = types[i]!;
      return vectorFromArray(
        values.map((value) => (value === null ? null : convert(value))),
        type,
      ).data[0]!;
    });
    writer.write(
      new RecordBatch(
        schema,
        makeData({ type: new Struct(schema.fields), length, nullCount: 0, children }),
      ),
    );
  };
  write(
    names.map(() => []),
    0,
  );
  for (;;) {
    const chunk = await result.fetchChunk();
    if (!chunk || chunk.rowCount === 0) break;
    write(chunk.getColumns(), chunk.rowCount);
  }
  writer.finish();
  await written;
}

interface ArrowColumn {
  readonly type: DataType;
  readonly convert: (value: DuckDBValue) => unknown;
}

/** How a SQL column is written in Arrow. What Arrow's simple types cannot hold exactly is text. */
function arrowType({ typeId }: DuckDBType): ArrowColumn {
  const same = (type: DataType): ArrowColumn => ({ type, convert: (value) => value });
  switch (typeId) {
    case DuckDBTypeId.BOOLEAN:
      return same(new Bool());
    case DuckDBTypeId.TINYINT:
      return same(new Int8());
    case DuckDBTypeId.SMALLINT:
      return same(new Int16());
    case DuckDBTypeId.INTEGER:
      return same(new Int32());
    case DuckDBTypeId.BIGINT:
      return same(new Int64());
    case DuckDBTypeId.UTINYINT:
      return same(new Uint8());
    case DuckDBTypeId.USMALLINT:
      return same(new Uint16());
    case DuckDBTypeId.UINTEGER:
      return same(new Uint32());
    case DuckDBTypeId.UBIGINT:
      return same(new Uint64());
    case DuckDBTypeId.FLOAT:
      return same(new Float32());
    case DuckDBTypeId.DOUBLE:
      return same(new Float64());
    case DuckDBTypeId.BLOB:
      return { type: new Binary(), convert: (value) => (value as DuckDBBlobValue).bytes };
    default:
      return { type: new Utf8(), convert: text };
  }
}
