/** Source files with counts before each line, the lines that cost most marked. */
import type { SourcesSection } from './data.js';
import { count, element } from './dom.js';

export function drawSources({ heads, files }: SourcesSection): HTMLElement {
  const place = element('div', { class: 'scroll source' });
  const choice = element(
    'select',
    { 'aria-label': 'File', onchange: () => draw(Number(choice.value)) },
    ...files.map(({ path, totals }, i) =>
      element('option', { value: i }, `${path} (${count(totals[0]!)} ${heads[0]!})`),
    ),
  );

  function draw(file: number): void {
    const { lines } = files[file]!;
    const most = Math.max(1, ...lines.map(([, , counts]) => counts[0]!));
    let last = 0;
    const rows: HTMLElement[] = [];
    for (const [number, text, counts] of lines) {
      if (number > last + 1 && last > 0)
        rows.push(
          element('tr', { class: 'gap' }, element('td', { colspan: heads.length + 2 }, '⋯')),
        );
      last = number;
      const part = Math.sqrt(counts[0]! / most);
      rows.push(
        element(
          'tr',
          counts[0]! > 0 ? { style: `--part:${(100 * part).toFixed(0)}%` } : {},
          ...counts.map((value) =>
            element('td', { class: 'number' }, value > 0 ? count(value) : ''),
          ),
          element('td', { class: 'number line' }, String(number)),
          element('td', { class: 'code' }, text),
        ),
      );
    }
    const head = [...heads, 'line', ''].map((name) => element('th', { class: 'number' }, name));
    place.replaceChildren(
      element(
        'table',
        {},
        element('thead', {}, element('tr', {}, ...head)),
        element('tbody', {}, ...rows),
      ),
    );
  }

  if (files.length > 0) draw(0);
  return element('div', {}, element('div', { class: 'controls' }, choice), place);
}
