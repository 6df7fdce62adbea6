/** SQL over stored tables: their columns go from the Arrow buffers to DuckDB's vectors unchanged. */
import { isUtf8 } from 'node:buffer';
import type { Column, Table } from '../schemas/schema.js';
import { storedColumns } from '../schemas/stored.js';
import { STORED_TABLES, strings } from '../schemas/tables.js';
import { programRows, type ProgramRows } from './lineage.js';
import {
  VECTOR_SIZE,
  type NumberArray,
  type OpenScan,
  type Output,
  type VarCells,
} from './scan.js';
import type { Batch, Trace } from './trace.js';

const STORED = new Map<string, Table>(STORED_TABLES.map((table) => [table.name, table]));

/**
 * A scan of a stored table, all processes after one another in the order of the file. A column of
 * strings that is stored as numbers shows the texts with these numbers in table `strings`.
 */
export function storedScan(trace: Trace, table: Table): OpenScan {
  const stored = STORED.get(table.name) ?? table;
  const columns = Object.entries(storedColumns(table));
  return (projection) => {
    const wanted = projection.map((c) => columns[c]!);
    const pieces = programRows(trace, stored);
    const texts = new Texts(trace);
    let writers: ((output: Output, start: number, count: number) => void)[] = [];
    let rows = 0;
    let position = 0;
    return (output) => {
      if (position === rows) {
        const { done, value: piece } = pieces.next();
        if (done) return 0;
        rows = piece.count;
        position = 0;
        writers = wanted.map(([name, column], i) => {
          const values = columnValues(piece, name, column, stored, texts);
          return 'data' in values
            ? (to, start, count) => to.strings(i, values, start, count)
            : (to, start, count) => to.copy(i, values, start, count);
        });
      }
      const count = Math.min(VECTOR_SIZE, rows - position);
      for (const write of writers) write(output, position, count);
      position += count;
      return count;
    };
  };
}

/** The values of a column as SQL shows them. */
function columnValues(
  { process, inherited, batch, count }: ProgramRows<Table>,
  name: string,
  { type, names }: Column,
  stored: Table,
  texts: Texts,
): NumberArray | VarCells {
  if (inherited && name === 'process') return new Uint32Array(count).fill(process);
  // What a forked image inherits is there when it begins.
  if (inherited && (name === 'event' || name === 'tick')) return new BigUint64Array(count);
  const values: unknown = batch.column(name as never);
  if (type === 'string')
    return stored.columns[name]?.type === 'u32'
      ? texts.expand(process, values as Uint32Array, count)
      : validText(values as VarCells);
  if (type === 'binary') return values as VarCells;
  return names ? declaredCodes(batch, name, names) : (values as NumberArray);
}

/** Table `strings` of one process image at a time. */
class Texts {
  private process = -1;
  private readonly places = new Map<number, { cells: VarCells; row: number }>();

  constructor(private readonly trace: Trace) {}

  /** The texts with these numbers; a number without a text, as 0, gives the empty text. */
  expand(process: number, keys: Uint32Array, count: number): VarCells {
    this.load(process);
    const offsets = new Int32Array(count + 1);
    for (let i = 0; i < count; i++) {
      const place = this.places.get(keys[i]!);
      offsets[i + 1] = offsets[i]! + (place ? sizeOf(place.cells, place.row) : 0);
    }
    const data = new Uint8Array(offsets[count]!);
    for (let i = 0; i < count; i++) {
      const place = this.places.get(keys[i]!);
      if (!place) continue;
      const from = place.cells.offsets[place.row]!;
      data.set(place.cells.data.subarray(from, from + sizeOf(place.cells, place.row)), offsets[i]);
    }
    return { offsets, data };
  }

  private load(process: number): void {
    if (process === this.process) return;
    this.process = process;
    this.places.clear();
    for (const { batch, count } of programRows(this.trace, strings, process)) {
      const keys = batch.column('string');
      const cells = validText(batch.column('text'));
      for (let row = 0; row < count; row++) this.places.set(keys[row]!, { cells, row });
    }
  }
}

const sizeOf = ({ offsets }: VarCells, row: number) => offsets[row + 1]! - offsets[row]!;

/** Codes of an enum as declared here, which may be others than in a file of another version. */
function declaredCodes(batch: Batch, name: string, names: readonly string[]): Uint8Array {
  const codes = batch.column(name as never) as Uint8Array;
  const inFile = batch.names(name as never);
  if (inFile.every((value, code) => value === names[code])) return codes;
  const translation = inFile.map((value) => Math.max(0, names.indexOf(value)));
  return codes.map((code) => translation[code]!);
}

/** Text that is UTF-8 throughout: DuckDB relies on it, and a damaged file may hold anything. */
function validText(cells: VarCells): VarCells {
  const { offsets, data } = cells;
  const end = offsets[offsets.length - 1]!;
  if (isUtf8(data.subarray(offsets[0], end)) && startsOfCharacters(cells)) return cells;
  const parts: Buffer[] = [];
  const moved = new Int32Array(offsets.length);
  for (let i = 0; i + 1 < offsets.length; i++) {
    const bytes = data.subarray(offsets[i], offsets[i + 1]);
    const text = Buffer.from(
      Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'),
    );
    parts.push(text);
    moved[i + 1] = moved[i]! + text.length;
  }
  return { offsets: moved, data: Buffer.concat(parts) };
}

/** No string of the column begins in the middle of a character. */
function startsOfCharacters({ offsets, data }: VarCells): boolean {
  for (let i = 0; i + 1 < offsets.length; i++) {
    if (offsets[i]! < offsets[i + 1]! && (data[offsets[i]!]! & 0xc0) === 0x80) return false;
  }
  return true;
}
