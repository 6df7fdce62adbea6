/** Tables of the commands that list something. */
import Table from 'cli-table3';
import { fitted, widthOf } from './terminal.js';

/** An aligned text table as wide as the terminal at most; columns whose cells are all numbers stand to the right. */
export function layOut(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const isNumeric = (column: number): boolean =>
    rows.every((row) => /^[\d,.]*( [kMGT]?B)?$/.test(String(row[column])));
  const widths = head.map((name, column) => widthOf([name, ...rows.map((row) => row[column]!)]));
  const table = new Table({
    head: [...head],
    colWidths: fitted(widths, 2).map((width) => width + 2),
    colAligns: head.map((_, column) => (isNumeric(column) ? 'right' : 'left')),
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    chars: {
      top: '',
      'top-mid': '',
      'top-left': '',
      'top-right': '',
      bottom: '',
      'bottom-mid': '',
      'bottom-left': '',
      'bottom-right': '',
      left: '',
      'left-mid': '',
      mid: '',
      'mid-mid': '',
      right: '',
      'right-mid': '',
      middle: '',
    },
  });
  table.push(...rows.map((row) => [...row]));
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}
