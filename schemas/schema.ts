/**
 * How a table is declared: columns with a type and a sentence each. Everything that knows a table's
 * shape derives it from the declaration: the Arrow schema, the SQL columns, the TypeScript row type,
 * the C struct in which the recorder's tool writes a row, and the reference page.
 */

/** Storage types. `enum` is a u8 whose values are names; `binary` and `string` have variable length. */
export type ColumnType =
  'u8' | 'u16' | 'u32' | 'u64' | 'i32' | 'i64' | 'bool' | 'enum' | 'string' | 'binary';

export interface Column<T extends ColumnType = ColumnType> {
  readonly type: T;
  /** One sentence: what the value means, with its unit. Shown by `grind query --tables`. */
  readonly doc: string;
  /** Names of an enum's values, in order of their codes. */
  readonly names?: readonly string[];
}

type ColumnMaker<T extends ColumnType> = (doc: string) => Column<T>;
const maker =
  <T extends ColumnType>(type: T): ColumnMaker<T> =>
  (doc) => ({ type, doc });

export const u8 = maker('u8');
export const u16 = maker('u16');
export const u32 = maker('u32');
export const u64 = maker('u64');
export const i32 = maker('i32');
export const i64 = maker('i64');
export const bool = maker('bool');
export const string = maker('string');
export const binary = maker('binary');
export const enumOf = <const N extends readonly string[]>(names: N, doc: string) =>
  ({ type: 'enum', doc, names }) as Column<'enum'> & { readonly names: N };

export type Columns = Readonly<Record<string, Column>>;

export interface Table<C extends Columns = Columns> {
  readonly name: string;
  /** What one row is. */
  readonly doc: string;
  readonly columns: C;
}

/** The JavaScript value of a cell: 64-bit integers are bigint, never number. */
export type Value<T extends Column> = T extends { names: readonly (infer N)[] }
  ? N
  : {
      u8: number;
      u16: number;
      u32: number;
      i32: number;
      u64: bigint;
      i64: bigint;
      bool: boolean;
      enum: string;
      string: string;
      binary: Uint8Array;
    }[T['type']];

/** The TypeScript type of a table's row. */
export type Row<T extends Table> = { -readonly [K in keyof T['columns']]: Value<T['columns'][K]> };

export function table<const C extends Columns>(name: string, doc: string, columns: C): Table<C> {
  for (const [column, { doc: sentence }] of Object.entries(columns)) {
    if (!sentence.trim()) throw new Error(`${name}.${column} needs a sentence`);
  }
  return { name, doc, columns };
}

/**
 * A raw record: how the tool writes a row into its spool file. Little-endian, 8-byte aligned:
 *
 *     u32 size (whole record, a multiple of 8) · u16 table · u16 zero
 *     fixed fields, widest first, in order of declaration within a width;
 *       a string or binary column's fixed field is the u32 length of its bytes
 *     (padding to 8)
 *     the bytes of the string and binary columns, in order of declaration, without padding between
 *     (padding to 8)
 */
export interface RawField {
  readonly name: string;
  readonly column: Column;
  /** Byte offset of the fixed field from the start of the record. */
  readonly offset: number;
  readonly width: 1 | 2 | 4 | 8;
  /** The fixed field is the length of bytes that follow the fixed part. */
  readonly variable: boolean;
}

export interface RawLayout {
  /** In order of declaration. */
  readonly fields: readonly RawField[];
  /** Offset at which the variable-length bytes begin. */
  readonly fixedSize: number;
}

export const RAW_HEADER_SIZE = 8;

/** Bytes of the fixed part of each type: for variable length that of a length or an offset. */
export const COLUMN_WIDTHS: Record<ColumnType, 1 | 2 | 4 | 8> = {
  u8: 1,
  bool: 1,
  enum: 1,
  u16: 2,
  u32: 4,
  i32: 4,
  string: 4,
  binary: 4,
  u64: 8,
  i64: 8,
};

/** Lays out the raw record of a table. */
export function rawLayout(columns: Columns): RawLayout {
  const byName = new Map<string, RawField>();
  let offset = RAW_HEADER_SIZE;
  for (const width of [8, 4, 2, 1] as const) {
    for (const [name, column] of Object.entries(columns)) {
      if (COLUMN_WIDTHS[column.type] !== width) continue;
      const variable = column.type === 'string' || column.type === 'binary';
      byName.set(name, { name, column, offset, width, variable });
      offset += width;
    }
  }
  const fields = Object.keys(columns).map((name) => byName.get(name)!);
  return { fields, fixedSize: (offset + 7) & ~7 };
}
