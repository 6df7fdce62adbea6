/** Elements and numbers, as all parts of the page make them. */
import type { Cell } from './data.js';

type Properties = Readonly<Record<string, string | number | boolean | ((event: never) => void)>>;

/** An element: `on…` properties are listeners, others attributes; children are elements or text. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function')
      made.addEventListener(name.slice(2), value as unknown as EventListener);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/** A whole number with its thousands set apart, or a fraction with three digits. */
export function count(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 3 });
}

/** A number for an axis: 12.3M. */
export function brief(value: number): string {
  return value.toLocaleString('en-US', { notation: 'compact', maximumSignificantDigits: 4 });
}

/** A number on a scale of powers of two, such as the size of a cache: 16Ki. */
export function briefBinary(value: number): string {
  const power = Math.min(Math.max(Math.floor(Math.log2(value) / 10), 0), 4);
  return `${brief(value / 1024 ** power)}${['', 'Ki', 'Mi', 'Gi', 'Ti'][power]}`;
}

export const share = (value: number): string => `${(100 * value).toFixed(2)} %`;

export function cellText(cell: Cell, isShare = false): string {
  if (typeof cell === 'string') return cell;
  return isShare ? share(cell) : count(cell);
}

/** A text that stands at the pointer while it is over something. */
export class Tip {
  private readonly box = element('div', { class: 'tip', hidden: true });

  constructor() {
    document.body.append(this.box);
  }

  show({ clientX, clientY }: MouseEvent, lines: readonly string[]): void {
    this.box.hidden = false;
    this.box.replaceChildren(...lines.map((line) => element('div', {}, line)));
    const { width, height } = this.box.getBoundingClientRect();
    this.box.style.left = `${Math.max(0, Math.min(clientX + 12, innerWidth - width - 4))}px`;
    this.box.style.top = `${Math.max(0, Math.min(clientY + 12, innerHeight - height - 4))}px`;
  }

  hide(): void {
    this.box.hidden = true;
  }
}
