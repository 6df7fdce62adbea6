/**
 * A flame graph (Gregg, CACM 2016) with the caller on top: as wide as what a call costs with all calls
 * that it makes. A click shows one call alone, a click on one above it leads back.
 */
import type { FlameSection } from './data.js';
import { count, element, share, type Tip } from './dom.js';

const ROW_HEIGHT = 18;
/** Narrower calls are not drawn, as a part of the whole width. */
const LEAST_SHARE = 0.0005;

export function drawFlame(
  { names, name, parent, self, unit }: FlameSection,
  tip: Tip,
): HTMLElement {
  const total = [...self];
  for (let i = total.length - 1; i >= 0; i--) if (parent[i]! >= 0) total[parent[i]!]! += total[i]!;
  const children = new Map<number, number[]>();
  parent.forEach((above, i) => {
    const list = children.get(above);
    if (list) list.push(i);
    else children.set(above, [i]);
  });
  for (const list of children.values()) list.sort((a, b) => total[b]! - total[a]!);
  const roots = children.get(-1) ?? [];
  const whole = roots.reduce((sum, i) => sum + total[i]!, 0);

  const place = element('div', { class: 'flame' });
  let wanted = '';
  let shown = -1;
  const search = element('input', {
    type: 'search',
    placeholder: 'Find a function',
    'aria-label': 'Find a function',
    oninput: () => ((wanted = search.value.toLowerCase()), draw()),
  });

  function draw(): void {
    const boxes: HTMLElement[] = [];
    let deepest = 0;
    const box = (i: number, left: number, width: number, depth: number): void => {
      const text = names[name[i]!]!;
      const isFound = wanted !== '' && text.toLowerCase().includes(wanted);
      const made = element(
        'div',
        {
          class: `call${isFound ? ' found' : ''}`,
          style: `left:${100 * left}%;width:${100 * width}%;top:${depth * ROW_HEIGHT}px;--hue:${hue(text)}`,
          onclick: () => ((shown = i), draw()),
          onmousemove: (event: MouseEvent) =>
            tip.show(event, [
              text,
              `${count(total[i]!)} ${unit}, ${share(total[i]! / whole)}`,
              `${count(self[i]!)} without what it calls`,
            ]),
          onmouseleave: () => tip.hide(),
        },
        width > 0.02 ? text : '',
      );
      boxes.push(made);
      deepest = Math.max(deepest, depth);
    };
    const below = (list: readonly number[], left: number, width: number, depth: number): void => {
      const sum = list.reduce((all, i) => all + total[i]!, 0);
      const above = list.length > 0 && parent[list[0]!]! >= 0 ? total[parent[list[0]!]!]! : sum;
      for (const i of list) {
        const part = above > 0 ? (width * total[i]!) / above : 0;
        if (part < LEAST_SHARE) break;
        box(i, left, part, depth);
        below(children.get(i) ?? [], left, part, depth + 1);
        left += part;
      }
    };
    const path: number[] = [];
    for (let i = shown; i >= 0; i = parent[i]!) path.unshift(i);
    path.forEach((i, depth) => box(i, 0, 1, depth));
    if (shown < 0) below(roots, 0, 1, 0);
    else below(children.get(shown) ?? [], 0, 1, path.length);
    place.style.height = `${(deepest + 1) * ROW_HEIGHT}px`;
    place.replaceChildren(...boxes);
  }

  const all = element('button', { onclick: () => ((shown = -1), draw()) }, 'Show all');
  draw();
  return element('div', {}, element('div', { class: 'controls' }, search, all), place);
}

/** The same colour for the same function wherever it stands. */
function hue(text: string): number {
  let hash = 0;
  for (const character of text) hash = (hash * 31 + character.codePointAt(0)!) % 3600;
  return Math.round(hash / 60);
}
