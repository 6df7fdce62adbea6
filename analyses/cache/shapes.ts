/** The caches to simulate: from options, of this machine, or of a processor with a name. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkShape, isPowerOfTwo, type CacheShape } from '../../replay/cache-guest.js';
import { UserError } from '../../schemas/errors.js';
import type { AnalysisOption, OptionValues } from '../analysis.js';

export interface Shapes {
  readonly I1: CacheShape;
  readonly D1: CacheShape;
  readonly LL: CacheShape;
}

const shape = (sizeBytes: number, ways: number, lineBytes = 64): CacheShape => ({
  sizeBytes,
  ways,
  lineBytes,
});
const KB = 1024;
const MB = 1024 * KB;

/** First levels and the last of processors, as their makers' optimisation manuals give them for one core and its L3. */
const PROCESSORS: Readonly<Record<string, Shapes>> = {
  nehalem: { I1: shape(32 * KB, 4), D1: shape(32 * KB, 8), LL: shape(8 * MB, 16) },
  haswell: { I1: shape(32 * KB, 8), D1: shape(32 * KB, 8), LL: shape(8 * MB, 16) },
  skylake: { I1: shape(32 * KB, 8), D1: shape(32 * KB, 8), LL: shape(8 * MB, 16) },
  'skylake-sp': { I1: shape(32 * KB, 8), D1: shape(32 * KB, 8), LL: shape(38.5 * MB, 11) },
  'ice-lake': { I1: shape(32 * KB, 8), D1: shape(48 * KB, 12), LL: shape(8 * MB, 16) },
  zen2: { I1: shape(32 * KB, 8), D1: shape(32 * KB, 8), LL: shape(16 * MB, 16) },
  zen3: { I1: shape(32 * KB, 8), D1: shape(32 * KB, 8), LL: shape(32 * MB, 16) },
  zen4: { I1: shape(32 * KB, 8), D1: shape(32 * KB, 8), LL: shape(32 * MB, 16) },
};

/** Where the machine says nothing: Cachegrind's defaults for amd64. */
const DEFAULTS: Shapes = { I1: shape(64 * KB, 2), D1: shape(64 * KB, 2), LL: shape(256 * KB, 8) };

export const SHAPE_OPTIONS: Readonly<Record<string, AnalysisOption>> = {
  ...Object.fromEntries(
    [
      ['I1', 'Instruction cache'],
      ['D1', 'Data cache'],
      ['LL', 'Last-level cache'],
    ].map(([name, what]) => [
      name,
      { describe: `${what}: size in bytes, associativity, line size (65536,2,64)`, default: '' },
    ]),
  ),
  processor: {
    describe: 'The caches that are not given one by one: those of this machine, or of a processor',
    default: 'host',
    values: ['host', ...Object.keys(PROCESSORS)],
  },
};

/** The caches that options ask for. Throws UserError for those that cannot be. */
export function shapesOf(options: OptionValues): Shapes {
  const name = options['processor'] ?? 'host';
  const preset = name === 'host' ? hostShapes() : PROCESSORS[name]!;
  const shapes = {
    I1: given('I1', options) ?? preset.I1,
    D1: given('D1', options) ?? preset.D1,
    LL: given('LL', options) ?? withPowerOfTwoSets(preset.LL),
  };
  for (const [level, one] of Object.entries(shapes)) checkShape(level, one);
  return shapes;
}

function given(name: string, options: OptionValues): CacheShape | undefined {
  const text = options[name];
  if (!text) return undefined;
  const numbers = /^(\d{1,10}),(\d{1,5}),(\d{1,5})$/.exec(text)?.slice(1).map(Number);
  if (!numbers || numbers.includes(0))
    throw new UserError(
      `--${name} takes size, associativity and line size, such as 65536,2,64, not ${text}.`,
    );
  return shape(numbers[0]!, numbers[1]!, numbers[2]!);
}

/**
 * The same cache with a power of two of sets, as Cachegrind makes it (cg_arch): fewer sets and more ways, so that the size
 * stays about the same.
 */
export function withPowerOfTwoSets({ sizeBytes, ways, lineBytes }: CacheShape): CacheShape {
  const sets = Math.floor(sizeBytes / (ways * lineBytes));
  if (sets === 0 || isPowerOfTwo(sets))
    return { sizeBytes: sets * ways * lineBytes, ways, lineBytes };
  const fewer = 2 ** Math.floor(Math.log2(sets));
  const more = Math.floor(0.5 + (sets / fewer) * ways);
  return { sizeBytes: lineBytes * more * fewer, ways: more, lineBytes };
}

const CPU_CACHES = '/sys/devices/system/cpu/cpu0/cache';

/** What the kernel says of the first processor: its first levels, and the last that is for both. */
function hostShapes(): Shapes {
  const found = new Map<string, CacheShape>();
  let last = 0;
  try {
    for (const folder of readdirSync(CPU_CACHES).filter((name) => name.startsWith('index'))) {
      const read = (name: string): string =>
        readFileSync(join(CPU_CACHES, folder, name), 'utf8').trim();
      const level = Number(read('level'));
      const [, size, unit] = /^(\d+)([KM]?)$/.exec(read('size')) ?? [];
      const sizeBytes = Number(size) * (unit === 'K' ? KB : unit === 'M' ? MB : 1);
      const one = shape(
        sizeBytes,
        Number(read('ways_of_associativity')),
        Number(read('coherency_line_size')),
      );
      if (!Object.values(one).every((value) => value > 0)) continue;
      const type = read('type');
      if (type === 'Instruction' && level === 1) found.set('I1', one);
      if (type === 'Data' && level === 1) found.set('D1', one);
      if (type === 'Unified' && level > last) {
        last = level;
        found.set('LL', one);
      }
    }
  } catch {
    return DEFAULTS; // a machine that says nothing of its caches
  }
  const [I1, D1, LL] = [found.get('I1'), found.get('D1'), found.get('LL')];
  return I1 && D1 && LL ? { I1, D1, LL } : DEFAULTS;
}
