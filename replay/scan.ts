/**
 * Table functions for DuckDB written in JavaScript: what is common to all of them. A scan is asked for
 * some of its columns and then fills vectors of up to 2048 rows, again and again.
 *
 * Values go to DuckDB by copying memory: from a typed array that holds what the vector shall hold.
 * Strings of up to 12 bytes are part of a vector's own 16-byte cells (duckdb_string_t in DuckDB's C
 * header) and are copied in the same way; only longer ones take a call each.
 */
import {
  BIGINT,
  BLOB,
  BOOLEAN,
  DuckDBTableFunction,
  ENUM,
  INTEGER,
  UBIGINT,
  UINTEGER,
  USMALLINT,
  UTINYINT,
  VARCHAR,
  type DuckDBConnection,
  type DuckDBType,
} from '@duckdb/node-api';
import duckdb, { type DataChunk, type Value, type Vector } from '@duckdb/node-bindings';
import type { Column, Columns } from '../schemas/schema.js';
import { grown } from './grown.js';

/** Rows that a vector holds. */
export const VECTOR_SIZE = 2048;

const TYPES = {
  u8: UTINYINT,
  u16: USMALLINT,
  u32: UINTEGER,
  u64: UBIGINT,
  i32: INTEGER,
  i64: BIGINT,
  bool: BOOLEAN,
  string: VARCHAR,
  binary: BLOB,
} as const;

/** The SQL type of a declared column. */
export function sqlType(column: Column): DuckDBType {
  return column.type === 'enum' ? ENUM(column.names!) : TYPES[column.type];
}

/** A value of a declared column of numbers, as it stands in a typed array. */
export function constantOf(column: Column, value: number | bigint): Value {
  switch (column.type) {
    case 'u16':
      return duckdb.create_uint16(Number(value));
    case 'u32':
      return duckdb.create_uint32(Number(value));
    case 'u64':
      return duckdb.create_uint64(BigInt(value));
    case 'bool':
      return duckdb.create_bool(value !== 0);
    case 'enum':
      return duckdb.create_enum_value(sqlType(column).toLogicalType().logical_type, Number(value));
    default:
      throw new Error(`no constant of type ${column.type}`);
  }
}

/** A chunk of rows that DuckDB wants filled: one vector per column asked for. */
export class Output {
  private readonly vectors: (Vector | undefined)[] = [];
  private readonly cells = new Uint8Array(VECTOR_SIZE * 16);
  private readonly cellWords = new Uint32Array(this.cells.buffer);
  private readonly validity = new Uint8Array(VECTOR_SIZE / 8);
  private chunk!: DataChunk;

  /** @internal */
  reset(chunk: DataChunk): void {
    this.chunk = chunk;
    this.vectors.length = 0;
  }

  private vector(column: number): Vector {
    return (this.vectors[column] ??= duckdb.data_chunk_get_vector(this.chunk, column));
  }

  /** Copies elements `start` … `start + count` of a typed array to the rows from `at` on. */
  copy(column: number, values: NumberArray, start: number, count: number, at = 0): void {
    const width = values.BYTES_PER_ELEMENT;
    duckdb.copy_data_to_vector(
      this.vector(column),
      at * width,
      values.buffer as ArrayBuffer,
      values.byteOffset + start * width,
      count * width,
    );
  }

  /** Says that all rows have one value, made by `constantOf`: DuckDB then computes once for all of them. */
  constant(column: number, value: Value): void {
    duckdb.vector_reference_value(this.vector(column), value);
  }

  /** Writes strings or byte strings: row `i` of the chunk is `data` from `offsets[start + i]` on. */
  strings(column: number, { offsets, data }: VarCells, start: number, count: number): void {
    const vector = this.vector(column);
    const { cells, cellWords } = this;
    const long: number[] = [];
    cellWords.fill(0, 0, count * 4);
    for (let i = 0; i < count; i++) {
      const from = offsets[start + i]!;
      const size = offsets[start + i + 1]! - from;
      if (size > 12) {
        long.push(i);
        continue;
      }
      cellWords[i * 4] = size;
      for (let k = 0, to = i * 16 + 4; k < size; k++) cells[to + k] = data[from + k]!;
    }
    duckdb.copy_data_to_vector(vector, 0, cells.buffer, 0, count * 16);
    for (const i of long) {
      const bytes = data.subarray(offsets[start + i]!, offsets[start + i + 1]!);
      duckdb.vector_assign_string_element_len(vector, i, bytes);
    }
  }

  /** Marks rows as NULL where `isNull` is not 0. */
  nulls(column: number, isNull: Uint8Array, count: number): void {
    const { validity } = this;
    validity.fill(0xff);
    for (let i = 0; i < count; i++) if (isNull[i]) validity[i >> 3]! &= ~(1 << (i & 7));
    duckdb.vector_ensure_validity_writable(this.vector(column));
    duckdb.copy_data_to_vector_validity(
      this.vector(column),
      0,
      validity.buffer,
      0,
      VECTOR_SIZE / 8,
    );
  }
}

export type NumberArray =
  Uint8Array | Uint16Array | Uint32Array | Int32Array | BigUint64Array | BigInt64Array;

export interface VarCells {
  readonly offsets: Int32Array;
  readonly data: Uint8Array;
}

/**
 * Opens a scan of the columns with the numbers in `projection`. The function returned is called for
 * one chunk after another: it writes column number `projection[i]` to the output's column `i`, and
 * returns the number of rows, 0 at the end.
 */
export type OpenScan = (projection: readonly number[]) => Fill;

export interface Fill {
  (output: Output): number;
  /** Nobody minds the order of chunks: DuckDB may work on several at once. */
  readonly anyOrder?: boolean;
}

/** Chunks on which DuckDB works while the next ones are filled. */
export const CHUNKS_AT_ONCE = 4;

/**
 * Registers table function `name`. `rowCount` is what the optimiser is told to expect. An error within
 * the scan ends the statement, and `failed` gets it, because DuckDB keeps only its text.
 */
export function registerScan(
  connection: DuckDBConnection,
  name: string,
  columns: Columns,
  open: OpenScan,
  failed: (error: unknown) => void,
  rowCount?: () => number,
): void {
  const guard = (info: { setError(message: string): void }, action: () => void): void => {
    try {
      action();
    } catch (error) {
      failed(error);
      info.setError(String(error));
    }
  };
  const output = new Output();
  const table = DuckDBTableFunction.create({
    name,
    supportsProjectionPushdown: true,
    bindFunction(bind) {
      for (const [column, declared] of Object.entries(columns))
        bind.addResultColumn(column, sqlType(declared));
      if (rowCount) bind.setCardinality(rowCount(), false);
    },
    initFunction(init) {
      guard(init, () => {
        const fill = open(init.getColumnIndexes());
        if (fill.anyOrder) init.setMaxThreads(CHUNKS_AT_ONCE);
        init.setInitData({ fill });
      });
    },
    mainFunction() {},
  });
  // Set again without the wrapper objects that the API makes for each chunk.
  duckdb.table_function_set_function(table.table_function, (info, chunk) => {
    let count = 0;
    try {
      const { fill } = duckdb.function_get_init_data(info) as { fill: Fill };
      output.reset(chunk);
      count = fill(output);
    } catch (error) {
      failed(error);
      duckdb.function_set_error(info, String(error));
    }
    duckdb.data_chunk_set_size(chunk, count);
  });
  connection.registerTableFunction(table);
}

/** A cell of a row that a generator makes. */
export type Cell = number | bigint | string | Uint8Array | boolean;

/**
 * A scan over rows that a generator computes, for tables that are not large: a row is an array of
 * cells in order of declaration. `wanted` tells which columns are read; cells of others are ignored.
 */
export function rowsScan(
  columns: Columns,
  rows: (wanted: ReadonlySet<string>) => Iterable<readonly Cell[]>,
): OpenScan {
  const names = Object.keys(columns);
  return (projection) => {
    const iterator = rows(new Set(projection.map((c) => names[c]!)))[Symbol.iterator]();
    const buffers = projection.map((c) => buffer(columns[names[c]!]!));
    return (output) => {
      let count = 0;
      while (count < VECTOR_SIZE) {
        const { done, value } = iterator.next();
        if (done) break;
        for (let i = 0; i < projection.length; i++) buffers[i]!.set(count, value[projection[i]!]!);
        count++;
      }
      if (count > 0) buffers.forEach((b, i) => b.flush(output, i, count));
      return count;
    };
  };
}

interface ColumnBuffer {
  set(row: number, cell: Cell): void;
  flush(output: Output, column: number, count: number): void;
}

const encoder = new TextEncoder();

function buffer(column: Column): ColumnBuffer {
  switch (column.type) {
    case 'string':
    case 'binary': {
      const offsets = new Int32Array(VECTOR_SIZE + 1);
      let data = new Uint8Array(1 << 16);
      return {
        set(row, cell) {
          const bytes = typeof cell === 'string' ? encoder.encode(cell) : (cell as Uint8Array);
          const from = row === 0 ? 0 : offsets[row]!;
          data = grown(data, from + bytes.length);
          data.set(bytes, from);
          offsets[row + 1] = from + bytes.length;
        },
        flush: (output, i, count) => output.strings(i, { offsets, data }, 0, count),
      };
    }
    case 'u64':
    case 'i64': {
      const values = new BigUint64Array(VECTOR_SIZE);
      return {
        set: (row, cell) => (values[row] = cell as bigint),
        flush: (output, i, count) => output.copy(i, values, 0, count),
      };
    }
    case 'enum': {
      const values = new Uint8Array(VECTOR_SIZE);
      const codes = new Map(column.names!.map((name, code) => [name, code]));
      return {
        set: (row, cell) => (values[row] = codes.get(cell as string)!),
        flush: (output, i, count) => output.copy(i, values, 0, count),
      };
    }
    default: {
      const values =
        column.type === 'u16'
          ? new Uint16Array(VECTOR_SIZE)
          : column.type === 'u8' || column.type === 'bool'
            ? new Uint8Array(VECTOR_SIZE)
            : new Int32Array(VECTOR_SIZE);
      return {
        set: (row, cell) => (values[row] = Number(cell)),
        flush: (output, i, count) => output.copy(i, values, 0, count),
      };
    }
  }
}
