/**
 * Reads the flatbuffers of Arrow IPC metadata: messages, record batch headers, schemas and footers.
 *
 * apache-arrow's own decoder believes every length it meets, so a damaged file can make it allocate
 * without end. Here each read is bounds-checked by the DataView, and a vector must lie in its buffer.
 * Any violation throws a RangeError. Field numbers are those of Arrow's Message.fbs and Schema.fbs.
 */

class FlatTable {
  private readonly vtable: number;
  private readonly vtableSize: number;

  constructor(
    private readonly view: DataView,
    private readonly at: number,
  ) {
    this.vtable = at - view.getInt32(at, true);
    this.vtableSize = view.getUint16(this.vtable, true);
  }

  /** Position of a field's value, or undefined when it has its default. */
  private field(id: number): number | undefined {
    const slot = 4 + id * 2;
    if (slot + 2 > this.vtableSize) return undefined;
    const offset = this.view.getUint16(this.vtable + slot, true);
    return offset === 0 ? undefined : this.at + offset;
  }

  byte(id: number): number {
    const at = this.field(id);
    return at === undefined ? 0 : this.view.getUint8(at);
  }

  int(id: number): number {
    const at = this.field(id);
    return at === undefined ? 0 : this.view.getInt32(at, true);
  }

  long(id: number): number {
    const at = this.field(id);
    return at === undefined ? 0 : toNumber(this.view.getBigInt64(at, true));
  }

  table(id: number): FlatTable | undefined {
    const at = this.field(id);
    return at === undefined
      ? undefined
      : new FlatTable(this.view, at + this.view.getUint32(at, true));
  }

  string(id: number): string {
    const [start, count] = this.vector(id, 1);
    return new TextDecoder().decode(
      new Uint8Array(this.view.buffer, this.view.byteOffset + start, count),
    );
  }

  tables(id: number): FlatTable[] {
    const [start, count] = this.vector(id, 4);
    return Array.from({ length: count }, (_, i) => {
      const at = start + i * 4;
      return new FlatTable(this.view, at + this.view.getUint32(at, true));
    });
  }

  /** A vector of structs of two i64. */
  pairs(id: number): [number, number][] {
    const [start, count] = this.vector(id, 16);
    return Array.from({ length: count }, (_, i) => {
      const at = start + i * 16;
      return [
        toNumber(this.view.getBigInt64(at, true)),
        toNumber(this.view.getBigInt64(at + 8, true)),
      ];
    });
  }

  /** Position of the first element and number of elements. */
  private vector(id: number, elementSize: number): [number, number] {
    const at = this.field(id);
    if (at === undefined) return [0, 0];
    const vector = at + this.view.getUint32(at, true);
    const count = this.view.getUint32(vector, true);
    if (vector + 4 + count * elementSize > this.view.byteLength)
      throw new RangeError('vector outside its buffer');
    return [vector + 4, count];
  }
}

function toNumber(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new RangeError('size beyond 2^53');
  return number;
}

/** A column's type as far as grind writes it; `other` is anything else. */
export type ArrowType =
  | 'u8'
  | 'u16'
  | 'u32'
  | 'u64'
  | 'i8'
  | 'i16'
  | 'i32'
  | 'i64'
  | 'bool'
  | 'string'
  | 'binary'
  | 'other';

export interface ArrowField {
  readonly name: string;
  readonly type: ArrowType;
  /** Custom metadata of the field. */
  readonly metadata: ReadonlyMap<string, string>;
}

export interface BatchHeader {
  /** Rows. */
  readonly length: number;
  readonly nullCounts: readonly number[];
  readonly buffers: readonly { readonly offset: number; readonly length: number }[];
  readonly compression: 'none' | 'lz4' | 'other';
}

export interface ArrowMessage {
  readonly bodyLength: number;
  /** Set when the message is a schema. */
  readonly schema?: readonly ArrowField[];
  /** Set when the message is a record batch. */
  readonly batch?: BatchHeader;
}

const root = (bytes: Uint8Array) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return new FlatTable(view, view.getUint32(0, true));
};

/** Decodes a message's metadata (without the 8 bytes before it). */
export function decodeMessage(bytes: Uint8Array): ArrowMessage {
  const message = root(bytes);
  const bodyLength = message.long(3);
  const header = message.table(2);
  if (!header) throw new RangeError('message without a header');
  if (message.byte(1) === 1) return { bodyLength, schema: decodeSchema(header) };
  if (message.byte(1) !== 3) return { bodyLength };
  const compression = header.table(3);
  return {
    bodyLength,
    batch: {
      length: header.long(0),
      nullCounts: header.pairs(1).map(([, nullCount]) => nullCount),
      buffers: header.pairs(2).map(([offset, length]) => ({ offset, length })),
      compression: !compression ? 'none' : compression.byte(0) === 0 ? 'lz4' : 'other',
    },
  };
}

/** Decodes a file's footer; returns the fields of its schema. */
export function decodeFooter(bytes: Uint8Array): readonly ArrowField[] {
  const schema = root(bytes).table(1);
  if (!schema) throw new RangeError('footer without a schema');
  return decodeSchema(schema);
}

function decodeSchema(schema: FlatTable): readonly ArrowField[] {
  return schema.tables(1).map((field) => ({
    name: field.string(0),
    type: field.table(4) ? 'other' : decodeType(field.byte(2), field.table(3)),
    metadata: new Map(field.tables(6).map((pair) => [pair.string(0), pair.string(1)])),
  }));
}

function decodeType(tag: number, type: FlatTable | undefined): ArrowType {
  if (tag === 2 && type) {
    const bits = type.int(0);
    if (bits === 8 || bits === 16 || bits === 32 || bits === 64)
      return `${type.byte(1) ? 'i' : 'u'}${bits}`;
  }
  return tag === 4 ? 'binary' : tag === 5 ? 'string' : tag === 6 ? 'bool' : 'other';
}
