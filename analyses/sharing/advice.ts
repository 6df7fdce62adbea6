/** What to do about a line that threads share only as neighbours. */
import { LINE_BYTES } from '../../replay/line-filter.js';

/** Who used a line: bits for the bytes that it read or wrote, and for those that it wrote, in two words each. */
export interface User {
  /** Such as `#2`. */
  readonly name: string;
  readonly used: readonly [number, number];
  readonly written: readonly [number, number];
}

const has = ([low, high]: readonly [number, number], byte: number): boolean =>
  (((byte < 32 ? low : high) >>> (byte & 31)) & 1) === 1;

/** Names of more users are not listed. */
const MOST_NAMES = 4;

/**
 * A sentence that says which bytes of the line are whose; empty if it would not help to keep them apart, as nobody who loses
 * the line when a byte is written can do without that byte.
 * @param nameOf - what lies at an offset
 */
export function adviceOn(
  users: readonly User[],
  nameOf: (offset: number) => { readonly name: string; readonly offset: number },
): string {
  const bytes = Array.from({ length: LINE_BYTES }, (_, byte) => byte);
  const suffers = users.some((user) =>
    users.some(
      (other) =>
        other !== user && bytes.some((byte) => has(other.written, byte) && !has(user.used, byte)),
    ),
  );
  if (!suffers) return '';
  const texts = bytes.map((byte) => {
    const own = users.filter(({ used }) => has(used, byte));
    if (own.length > MOST_NAMES) {
      const writers = own.filter(({ written }) => has(written, byte)).length;
      return `${own.length} threads${writers === 0 ? ' (read)' : writers < own.length ? ` (${writers} write)` : ''}`;
    }
    const names = own.map(({ name, written }) => `${name}${has(written, byte) ? '' : ' (reads)'}`);
    return names.length === 0 ? '' : `thread${names.length > 1 ? 's' : ''} ${names.join(', ')}`;
  });
  const parts: string[] = [];
  for (let from = 0; from < LINE_BYTES;) {
    const { name, offset } = nameOf(from);
    let to = from + 1;
    while (to < LINE_BYTES && texts[to] === texts[from] && (!texts[to] || nameOf(to).name === name))
      to++;
    if (texts[from]) {
      const where = offset === 0 ? name : `${name} +${offset}`;
      parts.push(`bytes ${from}–${to - 1} (${where}) ${texts[from]}`);
    }
    from = to;
  }
  return `Keep apart by ${LINE_BYTES} bytes what is used by different threads: ${parts.join('; ')}.`;
}
