/** A table that sorts by a click on a head, and shows the rows that hold what is typed. */
import type { TableSection } from './data.js';
import { cellText, element } from './dom.js';

/** Rows that are drawn; the filter finds the others. */
const MOST_DRAWN = 200;

export function drawTable({ columns, rows }: TableSection): HTMLElement {
  const texts = rows.map((row) => row.map((cell, i) => cellText(cell, columns[i]!.isShare)));
  const isNumber = columns.map((_, i) => rows.every((row) => typeof row[i] === 'number'));
  let order = rows.map((_, i) => i);
  let sorted = { column: -1, isFalling: false };
  let drawn = MOST_DRAWN;

  const filter = element('input', {
    type: 'search',
    placeholder: `Filter ${rows.length.toLocaleString('en-US')} rows`,
    'aria-label': 'Filter rows',
    oninput: () => draw(),
  });
  const heads = columns.map(({ head }, column) =>
    element(
      'th',
      { class: isNumber[column]! ? 'number' : '', onclick: () => sort(column) },
      element('button', {}, head),
    ),
  );
  const body = element('tbody');
  const more = element('button', { class: 'more', onclick: () => ((drawn *= 5), draw()) });

  function sort(column: number): void {
    const isFalling = sorted.column === column ? !sorted.isFalling : isNumber[column]!;
    sorted = { column, isFalling };
    const sign = isFalling ? -1 : 1;
    order = rows.map((_, i) => i);
    order.sort((a, b) => {
      const [x, y] = [rows[a]![column]!, rows[b]![column]!];
      const compared =
        typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
      return sign * compared || a - b;
    });
    heads.forEach((head, i) =>
      head.setAttribute(
        'aria-sort',
        i !== column ? 'none' : isFalling ? 'descending' : 'ascending',
      ),
    );
    draw();
  }

  function draw(): void {
    const wanted = filter.value.toLowerCase();
    const found = order.filter((i) =>
      texts[i]!.some((text) => text.toLowerCase().includes(wanted)),
    );
    body.replaceChildren(
      ...found
        .slice(0, drawn)
        .map((i) =>
          element(
            'tr',
            {},
            ...texts[i]!.map((text, column) =>
              element('td', { class: isNumber[column]! ? 'number' : '', title: text }, text),
            ),
          ),
        ),
    );
    const left = found.length - drawn;
    more.hidden = left <= 0;
    more.textContent = `${left.toLocaleString('en-US')} more rows`;
  }

  draw();
  return element(
    'div',
    { class: 'table' },
    ...(rows.length > 10 ? [filter] : []),
    element(
      'div',
      { class: 'scroll' },
      element('table', {}, element('thead', {}, element('tr', {}, ...heads)), body),
    ),
    more,
  );
}
