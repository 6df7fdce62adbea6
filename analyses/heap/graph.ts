/** A graph of the heap's use over time in characters, in the way of ms_print's. */
import { totalBytes, type HeapMoment } from './timeline.js';

const WIDTH = 72;
const HEIGHT = 12;
const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/** @param moments - in order of time; between two of them no more was in use than at one of them */
export function graphLines(
  moments: readonly HeapMoment[],
  peak: HeapMoment,
  end: HeapMoment,
): string[] {
  const most = totalBytes(peak);
  if (most === 0 || end.time === 0) return [];
  const column = ({ time }: HeapMoment): number =>
    Math.min(Math.floor((time / end.time) * WIDTH), WIDTH - 1);
  const heights: number[] = [];
  let before = 0;
  for (const moment of moments) {
    const at = column(moment);
    // Nothing is known to have changed in between.
    while (heights.length < at) heights.push(before);
    before = totalBytes(moment);
    heights[at] = Math.max(heights[at] ?? 0, before);
  }
  const lines: string[] = [];
  for (let level = HEIGHT; level > 0; level--) {
    const cells = heights.map((bytes, at) =>
      bytes * HEIGHT > most * (level - 1) ? (at === column(peak) ? '#' : ':') : ' ',
    );
    const label = level === HEIGHT ? sizeText(most) : '';
    lines.push(`${label.padStart(9)} |${cells.join('').trimEnd()}`);
  }
  return [...lines, `${'0'.padStart(9)} +${'-'.repeat(WIDTH)}`];
}

function sizeText(bytes: number): string {
  let [size, unit] = [bytes, 0];
  while (size >= 1000 && unit + 1 < UNITS.length) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 ? size : size.toFixed(2)} ${UNITS[unit]}`;
}
