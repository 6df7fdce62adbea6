/** Counts as a file that cg_annotate reads (Valgrind manual, 5.7: file format). */
import type { CacheShape } from '../../replay/cache-guest.js';
import type { Source } from '../../replay/symbols.js';
import { entry, oneLine, pathOf } from '../output-file.js';
import { EVENT, EVENT_COUNT, type EventName } from './counts.js';
import type { Shapes } from './shapes.js';

export interface FileHead extends Shapes {
  readonly command: string;
  /** The columns. */
  readonly names: readonly EventName[];
}

/**
 * The text of the file.
 * @param sources places of instructions; their events are those of `counts.ts`
 */
export function cachegrindFile(
  sources: readonly Source[],
  events: Float64Array,
  totals: Float64Array,
  { I1, D1, LL, command, names }: FileHead,
): string {
  const places = names.map((name) => EVENT[name]);
  const files = new Map<string, Map<string, Map<number, Float64Array>>>();
  sources.forEach((source, i) => {
    const { fn, file, line } = source;
    const functions = entry(
      files,
      pathOf(source),
      () => new Map<string, Map<number, Float64Array>>(),
    );
    const lines = entry(functions, fn || '???', () => new Map<number, Float64Array>());
    const sums = entry(lines, file ? line : 0, () => new Float64Array(names.length));
    places.forEach((place, column) => (sums[column]! += events[EVENT_COUNT * i + place]!));
  });
  const text = [
    `desc: I1 cache:         ${describe(I1)}`,
    `desc: D1 cache:         ${describe(D1)}`,
    `desc: LL cache:         ${describe(LL)}`,
    `cmd: ${oneLine(command)}`,
    `events: ${names.join(' ')}`,
  ];
  for (const [path, functions] of sorted(files)) {
    text.push(`fl=${oneLine(path)}`);
    for (const [fn, lines] of sorted(functions)) {
      text.push(`fn=${oneLine(fn)}`);
      for (const [line, sums] of [...lines].sort(([a], [b]) => a - b))
        text.push(`${line} ${sums.join(' ')}`);
    }
  }
  text.push(`summary: ${places.map((place) => totals[place]).join(' ')}`, '');
  return text.join('\n');
}

const sorted = <V>(map: ReadonlyMap<string, V>): [string, V][] =>
  [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));

const describe = ({ sizeBytes, ways, lineBytes }: CacheShape): string =>
  `${sizeBytes} B, ${lineBytes} B, ${ways === 1 ? 'direct-mapped' : `${ways}-way associative`}`;
