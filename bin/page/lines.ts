/** Curves: a timeline of the heap, a miss curve. Drag to zoom, double-click to see all again. */
import uPlot from 'uplot';
import type { LinesSection } from './data.js';
import { brief, briefBinary, count, element } from './dom.js';

const HEIGHT = 280;

export function drawLines({ x, lines, isLogX, isLogY, isStepped }: LinesSection): HTMLElement {
  const place = element('div', { class: 'lines' });
  const colour = (i: number): string =>
    getComputedStyle(document.documentElement).getPropertyValue(`--line${(i % 6) + 1}`);
  const ink = getComputedStyle(document.documentElement).getPropertyValue('--ink');
  const labelled = (text: (value: number) => string) => (_: uPlot, values: (number | null)[]) =>
    values.map((value) => (value === null ? '' : text(value)));
  const axis = {
    stroke: ink,
    grid: { stroke: '#8883', width: 1 },
    ticks: { stroke: '#8883', width: 1 },
    values: labelled(brief),
  };
  const value = (_: uPlot, shown: number | null): string => (shown === null ? '–' : count(shown));
  const options: uPlot.Options = {
    width: 900,
    height: HEIGHT,
    scales: {
      x: { time: false, ...(isLogX && { distr: 3, log: 2 }) },
      y: isLogY ? { distr: 3, log: 10 } : { range: [0, null] },
    },
    axes: [
      { ...axis, label: x.head, labelSize: 20, ...(isLogX && { values: labelled(briefBinary) }) },
      { ...axis, size: 70 },
    ],
    series: [
      { label: x.head, value },
      ...lines.map(({ head }, i) => ({
        label: head,
        stroke: colour(i),
        width: 1.5,
        value,
        points: { show: false },
        ...(isStepped && { paths: uPlot.paths.stepped!({ align: 1 }) }),
      })),
    ],
  };
  const shown = (y: number): number | null => (isLogY && y === 0 ? null : y);
  const data: uPlot.AlignedData = [[...x.values], ...lines.map(({ values }) => values.map(shown))];
  // Its width is known once it stands in the page.
  requestAnimationFrame(() => {
    const plot = new uPlot({ ...options, width: place.clientWidth }, data, place);
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: HEIGHT })).observe(
      place,
    );
  });
  return place;
}
