/** Memory over time: a row for some pages, a column for some ticks, brighter where more was accessed. */
import type { HeatSection } from './data.js';
import { brief, count, element, type Tip } from './dom.js';

const HEIGHT = 420;

type What = 'loads' | 'stores' | 'loads and stores';

export function drawHeat(section: HeatSection, tip: Tip): HTMLElement {
  const { columns, rows, ticks, cells, loads, stores } = section;
  const at = new Map(cells.map((cell, i) => [cell, i]));
  const canvas = element('canvas', { width: columns, height: rows.length });
  canvas.style.height = `${HEIGHT}px`;

  function draw(what: What): void {
    const values = cells.map(
      (_, i) => (what === 'stores' ? 0 : loads[i]!) + (what === 'loads' ? 0 : stores[i]!),
    );
    const most = Math.log1p(values.reduce((a, b) => Math.max(a, b), 1));
    const context = canvas.getContext('2d')!;
    const image = context.createImageData(columns, rows.length);
    cells.forEach((cell, i) => {
      if (values[i] === 0) return;
      const [red, green, blue] = colourOf(Math.log1p(values[i]!) / most);
      image.data.set([red, green, blue, 255], cell * 4);
    });
    context.putImageData(image, 0, 0);
  }

  canvas.addEventListener('mousemove', (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows.length);
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const under = rows[row];
    if (!under) return tip.hide();
    const i = at.get(row * columns + column);
    tip.show(event, [
      under.region,
      `${under.from} to ${under.to}`,
      `from tick ${count(Math.floor((column * ticks) / columns))}`,
      i === undefined ? 'no access' : `${count(loads[i]!)} loads, ${count(stores[i]!)} stores`,
    ]);
  });
  canvas.addEventListener('mouseleave', () => tip.hide());

  const choices = (['loads and stores', 'loads', 'stores'] as const).map((what) =>
    element('option', { value: what }, what),
  );
  const choice = element(
    'select',
    { 'aria-label': 'What is counted', onchange: () => draw(choice.value as What) },
    ...choices,
  );
  draw('loads and stores');
  return element(
    'div',
    {},
    element('div', { class: 'controls' }, choice),
    element('div', { class: 'heat' }, regionLabels(rows), canvas),
    element(
      'div',
      { class: 'axis' },
      element('span', {}, 'tick 0'),
      element('span', {}, brief(ticks)),
    ),
  );
}

/** Names of the regions beside the rows that they take. */
function regionLabels(rows: HeatSection['rows']): HTMLElement {
  const labels = element('div', { class: 'regions' });
  for (let row = 0, end = 0; row < rows.length; row = end) {
    const { region } = rows[row]!;
    while (end < rows.length && rows[end]!.region === region) end++;
    const height = ((end - row) / rows.length) * HEIGHT;
    labels.append(
      element(
        'div',
        { class: 'region', style: `height:${height}px`, title: region },
        height >= 13 ? region.slice(region.lastIndexOf('/') + 1) : '',
      ),
    );
  }
  return labels;
}

/** From dark blue over red to light yellow, for 0 to 1. */
function colourOf(part: number): [number, number, number] {
  const stops = [
    [40, 30, 90],
    [140, 40, 130],
    [220, 70, 80],
    [250, 150, 50],
    [255, 245, 160],
  ];
  const place = Math.min(part, 0.9999) * (stops.length - 1);
  const [low, high] = [stops[Math.floor(place)]!, stops[Math.floor(place) + 1]!];
  const mixed = low.map((from, i) => Math.round(from + (high[i]! - from) * (place % 1)));
  return [mixed[0]!, mixed[1]!, mixed[2]!];
}
