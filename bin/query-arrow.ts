/** Writes the rows of a SQL result as an Arrow file. Loaded when it is wanted: the library is large. */
import {
  DuckDBTypeId,
  type DuckDBDataChunk,
  type DuckDBEnumType,
  type DuckDBResult,
  type DuckDBType,
} from '@duckdb/node-api';
import duckdb, { type Vector } from '@duckdb/node-bindings';
import {
  Binary,
  Bool,
  Dictionary,
  Field,
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
  Struct,
  Uint16,
  Uint32,
  Uint64,
  Uint8,
  Utf8,
  vectorFromArray,
  type Data,
  type DataType,
} from 'apache-arrow';
import { text, type Sink } from './query-output.js';

/** An Arrow IPC file, a record batch for each chunk of the result. Gives the number of rows. */
export async function writeArrow(result: DuckDBResult, sink: Sink): Promise<number> {
  const columns = result.columnTypes().map(columnOf);
  const names = result.deduplicatedColumnNames();
  const schema = new Schema(names.map((name, i) => new Field(name, columns[i]!.type, true)));
  const writer = new Writer();
  writer.reset(undefined, schema);
  let rows = 0;
  for (;;) {
    const chunk = await result.fetchChunk();
    if (!chunk || chunk.rowCount === 0) break;
    const length = chunk.rowCount;
    const children = columns.map(({ data }, i) => data(chunk, i));
    const type = new Struct(schema.fields);
    writer.write(
      new RecordBatch(schema, makeData({ type, length, nullCount: 0, children: children })),
    );
    rows += length;
    for (const bytes of writer.taken()) await sink.write(bytes);
  }
  writer.finish();
  for (const bytes of writer.taken()) await sink.write(bytes);
  return rows;
}

/** The library's writer has a queue without an end; here what it has written is taken batch by batch. */
class Writer extends RecordBatchFileWriter {
  private pieces: Uint8Array[] = [];

  /** The bytes since the last call. */
  taken(): Uint8Array[] {
    const taken = this.pieces;
    this.pieces = [];
    return taken;
  }

  protected override _write(chunk: Uint8Array): this {
    if (!this._started || chunk.byteLength === 0) return this;
    this.pieces.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    this._position += chunk.byteLength;
    return this;
  }
}

/** How a SQL column is written in Arrow. */
interface ArrowColumn {
  readonly type: DataType;
  /** Column `i` of a chunk. */
  data(chunk: DuckDBDataChunk, i: number): Data;
}

type NumberArrayType =
  | typeof Int8Array
  | typeof Int16Array
  | typeof Int32Array
  | typeof BigInt64Array
  | typeof Uint8Array
  | typeof Uint16Array
  | typeof Uint32Array
  | typeof BigUint64Array
  | typeof Float32Array
  | typeof Float64Array;

/** Names of an enum are a dictionary. What Arrow's simple types cannot hold exactly is text. */
function columnOf(type: DuckDBType): ArrowColumn {
  switch (type.typeId) {
    case DuckDBTypeId.BOOLEAN:
      return bools;
    case DuckDBTypeId.TINYINT:
      return numbers(new Int8(), Int8Array);
    case DuckDBTypeId.SMALLINT:
      return numbers(new Int16(), Int16Array);
    case DuckDBTypeId.INTEGER:
      return numbers(new Int32(), Int32Array);
    case DuckDBTypeId.BIGINT:
      return numbers(new Int64(), BigInt64Array);
    case DuckDBTypeId.UTINYINT:
      return numbers(new Uint8(), Uint8Array);
    case DuckDBTypeId.USMALLINT:
      return numbers(new Uint16(), Uint16Array);
    case DuckDBTypeId.UINTEGER:
      return numbers(new Uint32(), Uint32Array);
    case DuckDBTypeId.UBIGINT:
      return numbers(new Uint64(), BigUint64Array);
    case DuckDBTypeId.FLOAT:
      return numbers(new Float32(), Float32Array);
    case DuckDBTypeId.DOUBLE:
      return numbers(new Float64(), Float64Array);
    case DuckDBTypeId.VARCHAR:
      return bytes(new Utf8());
    case DuckDBTypeId.BLOB:
      return bytes(new Binary());
    case DuckDBTypeId.ENUM:
      return names(type as DuckDBEnumType);
    default:
      return texts;
  }
}

/** DuckDB's vectors of numbers are as Arrow's. */
function numbers(type: DataType, array: NumberArrayType): ArrowColumn {
  return {
    type,
    data(chunk, i) {
      const [vector, length] = vectorOf(chunk, i);
      const data = cells(vector, length, array);
      return makeData({ type, length, data, ...nulls(vector, length) } as never);
    },
  };
}

function names({ values, internalTypeId }: DuckDBEnumType): ArrowColumn {
  const codes = columnOf({ typeId: internalTypeId } as DuckDBType);
  const dictionary = vectorFromArray(values, new Utf8());
  const type = new Dictionary(new Utf8(), codes.type as Uint8 | Uint16 | Uint32);
  return {
    type,
    data(chunk, i) {
      const { length, values: data, nullBitmap, nullCount } = codes.data(chunk, i);
      return makeData({ type, length, data, dictionary, nullBitmap, nullCount } as never);
    },
  };
}

/** Strings are cells of 16 bytes: the length, then up to 12 bytes, or 4 of them and a pointer to all. */
function bytes(type: Utf8 | Binary): ArrowColumn {
  return {
    type,
    data(chunk, i) {
      const [vector, length] = vectorOf(chunk, i);
      const raw = cells(vector, length * 16, Uint8Array);
      const words = new Uint32Array(raw.buffer);
      const missing = nulls(vector, length);
      const isNull = ({ nullBitmap }: Nulls, row: number) =>
        nullBitmap && (nullBitmap[row >> 3]! & (1 << (row & 7))) === 0;
      const valueOffsets = new Int32Array(length + 1);
      for (let row = 0; row < length; row++)
        valueOffsets[row + 1] = valueOffsets[row]! + (isNull(missing, row) ? 0 : words[row * 4]!);
      const data = new Uint8Array(valueOffsets[length]!);
      for (let row = 0; row < length; row++) {
        const size = valueOffsets[row + 1]! - valueOffsets[row]!;
        if (size === 0) continue;
        const value =
          size > 12
            ? duckdb.get_data_from_pointer(raw.buffer as ArrayBuffer, row * 16 + 8, size)
            : raw.subarray(row * 16 + 4, row * 16 + 4 + size);
        data.set(value, valueOffsets[row]);
      }
      return makeData({ type, length, valueOffsets, data, ...missing } as never);
    },
  };
}

/** A bit for each value, the lowest first, where DuckDB has a byte. */
const bools: ArrowColumn = {
  type: new Bool(),
  data(chunk, i) {
    const [vector, length] = vectorOf(chunk, i);
    const data = new Uint8Array((length + 7) >> 3);
    for (const [row, value] of cells(vector, length, Uint8Array).entries())
      data[row >> 3]! |= (value & 1) << (row & 7);
    return makeData({ type: new Bool(), length, data, ...nulls(vector, length) });
  },
};

const texts: ArrowColumn = {
  type: new Utf8(),
  data: (chunk, i) => {
    const values = chunk.getColumnValues(i);
    const shown = values.map((value) => (value === null ? null : text(value)));
    return vectorFromArray(shown, new Utf8()).data[0]!;
  },
};

const vectorOf = ({ chunk, rowCount }: DuckDBDataChunk, i: number): [Vector, number] => [
  duckdb.data_chunk_get_vector(chunk, i),
  rowCount,
];

/** A copy of the cells of a vector. */
function cells<T extends NumberArrayType>(
  vector: Vector,
  length: number,
  array: T,
): InstanceType<T> {
  const bytes = duckdb.vector_get_data(vector, length * array.BYTES_PER_ELEMENT).slice();
  return new array(bytes.buffer as ArrayBuffer, 0, length) as InstanceType<T>;
}

interface Nulls {
  readonly nullBitmap?: Uint8Array;
  readonly nullCount: number;
}

/** Which cells have values: bits in the same order in both. */
function nulls(vector: Vector, length: number): Nulls {
  const bits = duckdb.vector_get_validity(vector, ((length + 63) >> 6) * 8) as
    Uint8Array | undefined;
  // The library counts them.
  return bits ? { nullBitmap: bits.slice(), nullCount: -1 } : { nullCount: 0 };
}
