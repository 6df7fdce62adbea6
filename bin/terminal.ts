/** What output to a terminal has: colours, unless NO_COLOR is set (no-color.org), and tables no wider than it. */
import type { WriteStream } from 'node:tty';

const CODES = { bold: 1, red: 31, yellow: 33, cyan: 36 } as const;
type Colour = keyof typeof CODES;

/** Gives text a colour, on a terminal that shows colours. */
export function painter(
  stream: WriteStream = process.stdout,
): (colour: Colour, text: string) => string {
  const isWanted = stream.isTTY && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
  return (colour, text) => (isWanted ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text);
}

/** Columns narrower than this say nothing. */
const LEAST_WIDTH = 6;

/**
 * The widths of a table's columns that fit a terminal: those that are widest become narrower. As they are if there is no
 * terminal, or too little room.
 * @param extra - characters around each column
 */
export function fitted(
  widths: readonly number[],
  extra: number,
  room: number | undefined = process.stdout.isTTY ? process.stdout.columns : undefined,
): readonly number[] {
  if (room === undefined) return widths;
  const most = room - extra * widths.length - 1;
  const sum = (cap: number): number => widths.reduce((all, width) => all + Math.min(width, cap), 0);
  let cap = Math.max(0, ...widths);
  while (cap > LEAST_WIDTH && sum(cap) > most) cap--;
  return sum(cap) > most ? widths : widths.map((width) => Math.min(width, cap));
}

/** The widest line of cells, in characters. */
export const widthOf = (cells: readonly (string | number)[]): number =>
  Math.max(
    0,
    ...cells.flatMap((cell) =>
      String(cell)
        .split('\n')
        .map((line) => line.length),
    ),
  );
