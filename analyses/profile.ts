/**
 * What a profile is: an analysis that measures instead of finding errors gives tables, each with a title and columns,
 * which the report prints in its text, and gives whole as JSON. What SQL shows are tables of the analysis's own, as ever
 * (`Outcome.tables`).
 */
import { formatCount } from '../schemas/numbers.js';

export type ProfileCell = string | number | bigint;

export interface ProfileColumn {
  /** As in JSON: lower case with underscores, the unit last. */
  readonly name: string;
  /** Above the column in the text; absent: the name. */
  readonly head?: string;
  /** A part of a whole, from 0 to 1, which the text shows in per cent. */
  readonly isShare?: boolean;
}

/** How a report that can draw shows a table, above its rows. */
export type Drawing =
  | {
      /** Curves of some columns over another one, which rises. */
      readonly as: 'lines';
      readonly x: string;
      readonly lines: readonly string[];
      readonly isLogX?: boolean;
      /** Values that are 0 are not drawn then. */
      readonly isLogY?: boolean;
      /** A value holds until the next row. */
      readonly isStepped?: boolean;
    }
  | {
      /**
       * A flame graph: each row is a call, with the number of the row that it is called from (-1: none), which
       * stands before it, the function, and its own cost. The rows are not shown as a table.
       */
      readonly as: 'flame';
      readonly parent: string;
      readonly name: string;
      readonly self: string;
      /** What the cost is, such as instructions. */
      readonly unit: string;
    };

export interface ProfileTable {
  /** As in JSON. */
  readonly name: string;
  /** The line above it in the text. */
  readonly title: string;
  readonly columns: readonly ProfileColumn[];
  readonly rows: ProfileRows;
  /** Rows that the text shows, the first ones; absent: all. */
  readonly shownRows?: number;
  readonly drawn?: Drawing;
}

/** Rows of a table: an array, or what makes them when they are asked for. */
export interface ProfileRows {
  readonly length: number;
  slice(from: number, to?: number): readonly (readonly ProfileCell[])[];
  map<T>(each: (row: readonly ProfileCell[]) => T): T[];
}

/** Rows of which the text shows a few: each is made when it is asked for, in the order that is then found, of equals the lower number first. */
export function rowsOnDemand(
  length: number,
  compare: (a: number, b: number) => number,
  row: (number: number) => readonly ProfileCell[],
): ProfileRows {
  const slice = (from: number, to = length): (readonly ProfileCell[])[] =>
    firstOf(length, to, compare).slice(from, to).map(row);
  return { length, slice, map: (each) => slice(0).map(each) };
}

/** The first `wanted` of the numbers below `count` in an order; of equals, the lower one. */
function firstOf(
  count: number,
  wanted: number,
  compare: (a: number, b: number) => number,
): number[] {
  if (wanted >= count / FEW) return Array.from({ length: count }, (_, i) => i).sort(compare);
  const found: number[] = [];
  for (let i = 0; i < count; i++) {
    if (found.length === wanted && !(compare(i, found[wanted - 1]!) < 0)) continue;
    let at = found.length;
    while (at > 0 && compare(i, found[at - 1]!) < 0) at--;
    found.splice(at, 0, i);
    if (found.length > wanted) found.pop();
  }
  return found;
}

/** To look for the first ones pays when they are no more than such a part. */
const FEW = 16;

/** What a profile says of one process image. */
export interface Profile {
  /** Lines that stand before the tables in the text. */
  readonly lines: readonly string[];
  /** A picture made of characters, which the text shows after the lines. */
  readonly sketch?: readonly string[];
  readonly tables: readonly ProfileTable[];
}

/** The text of a profile, line by line. */
export function* profileText({ lines, sketch = [], tables }: Profile): Generator<string> {
  yield* lines;
  if (sketch.length > 0) yield '';
  yield* sketch;
  for (const table of tables) {
    if (table.rows.length === 0 || table.shownRows === 0) continue;
    yield '';
    yield table.title;
    yield* tableLines(table);
    const left = table.rows.length - (table.shownRows ?? table.rows.length);
    if (left > 0) yield `  … and ${left} more`;
  }
  yield '';
}

/** Numbers stand right and text left; the last column of text is not filled up. */
function* tableLines({ columns, rows, shownRows }: ProfileTable): Generator<string> {
  const first = rows.slice(0, shownRows);
  const shown = first.map((row) => row.map((cell, i) => cellText(cell, columns[i]!)));
  const head = columns.map(({ name, head }) => head ?? name);
  const widths = head.map((text, i) =>
    Math.max(text.length, ...shown.map((row) => row[i]!.length)),
  );
  const isRight = columns.map((_, i) => first.every((row) => typeof row[i] !== 'string'));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (isRight[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd();
  yield `  ${line(head)}`;
  for (const row of shown) yield `  ${line(row)}`;
}

function cellText(cell: ProfileCell, { isShare }: ProfileColumn): string {
  if (typeof cell === 'string') return cell;
  if (isShare) return `${(100 * Number(cell)).toFixed(2)} %`;
  if (typeof cell === 'number' && !Number.isInteger(cell)) return cell.toFixed(3);
  return formatCount(cell);
}

/** The same as a value for JSON: rows as objects; numbers that can be beyond 2^53 are text. */
export function profileJson({ tables }: Profile): object {
  return Object.fromEntries(
    tables.map(({ name, columns, rows }) => [
      name,
      rows.map((row) =>
        Object.fromEntries(
          columns.map((column, i) => {
            const cell = row[i]!;
            return [column.name, typeof cell === 'bigint' ? String(cell) : cell];
          }),
        ),
      ),
    ]),
  );
}
