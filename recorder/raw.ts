/** Single raw records to and from rows: for the few rows that the recorder itself reads or writes. */
import {
  rawLayout,
  type Column,
  type RawLayout,
  type Row,
  type Table,
  type Value,
} from '../schemas/schema.js';

/** Bytes of a full spool piece; no piece is larger. Small enough that converting one stays within the caches. */
export const PIECE_SIZE_BYTES = 4 << 20;
/** Most bytes of a spool's tail: more than any record has. */
export const TAIL_SIZE_BYTES = 3 << 20;

const layouts = new Map<Table, RawLayout>();
const encoder = new TextEncoder();

/** The layout of a table's raw records, worked out once. */
export function layoutOf(table: Table): RawLayout {
  let layout = layouts.get(table);
  if (!layout) layouts.set(table, (layout = rawLayout(table.columns)));
  return layout;
}

/**
 * The raw record of a row, as the tool would write it.
 * @param tableNumber the table's place in TOOL_TABLES
 */
export function encodeRecord<T extends Table>(
  table: T,
  tableNumber: number,
  row: Row<T>,
): Uint8Array {
  const { fields, fixedSize } = layoutOf(table);
  const cells = row as Record<string, Value<Column>>;
  const tail: Uint8Array[] = [];
  let tailSize = 0;
  for (const { name, variable } of fields) {
    if (!variable) continue;
    const cell = cells[name];
    const bytes = typeof cell === 'string' ? encoder.encode(cell) : (cell as Uint8Array);
    tail.push(bytes);
    tailSize += bytes.length;
  }
  const record = new Uint8Array((fixedSize + tailSize + 7) & ~7);
  const view = new DataView(record.buffer);
  view.setUint32(0, record.length, true);
  view.setUint16(4, tableNumber, true);
  let at = fixedSize;
  let tailIndex = 0;
  for (const { name, column, offset, width, variable } of fields) {
    const cell = cells[name];
    if (variable) {
      const bytes = tail[tailIndex++]!;
      view.setUint32(offset, bytes.length, true);
      record.set(bytes, at);
      at += bytes.length;
    } else if (width === 8) {
      view.setBigInt64(offset, cell as bigint, true);
    } else {
      const number = column.names ? column.names.indexOf(cell as string) : Number(cell);
      if (width === 4) view.setInt32(offset, number, true);
      else if (width === 2) view.setUint16(offset, number, true);
      else view.setUint8(offset, number);
    }
  }
  return record;
}

/** The row of a raw record whose sizes were checked. Binary cells are copies. */
export function decodeRecord<T extends Table>(table: T, piece: Uint8Array, start: number): Row<T> {
  const { fields, fixedSize } = layoutOf(table);
  const view = new DataView(piece.buffer, piece.byteOffset + start);
  const row: Record<string, unknown> = {};
  let at = start + fixedSize;
  for (const { name, column, offset } of fields) {
    switch (column.type) {
      case 'u8':
        row[name] = view.getUint8(offset);
        break;
      case 'bool':
        row[name] = view.getUint8(offset) !== 0;
        break;
      case 'enum':
        row[name] = column.names?.[view.getUint8(offset)] ?? '';
        break;
      case 'u16':
        row[name] = view.getUint16(offset, true);
        break;
      case 'u32':
        row[name] = view.getUint32(offset, true);
        break;
      case 'i32':
        row[name] = view.getInt32(offset, true);
        break;
      case 'u64':
        row[name] = view.getBigUint64(offset, true);
        break;
      case 'i64':
        row[name] = view.getBigInt64(offset, true);
        break;
      case 'string':
      case 'binary': {
        const bytes = piece.slice(at, at + view.getUint32(offset, true));
        at += bytes.length;
        row[name] = column.type === 'string' ? new TextDecoder().decode(bytes) : bytes;
        break;
      }
    }
  }
  return row as Row<T>;
}
