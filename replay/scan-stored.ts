/** SQL over stored tables: their columns go from the Arrow buffers to DuckDB's vectors unchanged. */
import { isUtf8 } from 'node:buffer';
import type { Table } from '../schemas/schema.js';
import { storedColumns } from '../schemas/stored.js';
import {
  VECTOR_SIZE,
  type NumberArray,
  type OpenScan,
  type Output,
  type VarCells,
} from './scan.js';
import type { Batch, Trace } from './trace.js';

/** A scan of stored table `table`, all processes after one another in the order of the file. */
export function storedScan(trace: Trace, table: Table): OpenScan {
  const columns = Object.entries(storedColumns(table));
  return (projection) => {
    const wanted = projection.map((c) => columns[c]!);
    const batches = trace.batches(table);
    let writers: ((output: Output, start: number, count: number) => void)[] = [];
    let rows = 0;
    let position = 0;
    return (output) => {
      if (position === rows) {
        const { done, value: batch } = batches.next();
        if (done) return 0;
        rows = batch.count;
        position = 0;
        writers = wanted.map(([name, { type, names }], i) => {
          const values: unknown = batch.column(name as never);
          if (type === 'string' || type === 'binary') {
            const cells = type === 'string' ? validText(values as VarCells) : (values as VarCells);
            return (to, start, count) => to.strings(i, cells, start, count);
          }
          const numbers = names ? declaredCodes(batch, name, names) : (values as NumberArray);
          return (to, start, count) => to.copy(i, numbers, start, count);
        });
      }
      const count = Math.min(VECTOR_SIZE, rows - position);
      for (const write of writers) write(output, position, count);
      position += count;
      return count;
    };
  };
}

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
