/** The caches to simulate: from options, of this machine, or of a processor with a name. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkShape, isPowerOfTwo, type CacheShape } from '../../replay/cache-guest.js';
import { UserError } from '../../schemas/errors.js';
import { LEVELS, type HierarchyShape, type LevelName } from './hierarchy.js';
import { ignoresRepeats, POLICY_NAMES, type PolicyName } from './policies.js';
import { PREFETCHERS, type PrefetcherName } from './prefetch.js';
import type { AnalysisOption, OptionValues } from '../analysis.js';

export interface Shapes {
  readonly I1: CacheShape;
  readonly D1: CacheShape;
  readonly LL: CacheShape;
}

/** What is known of a processor. */
type Preset = Shapes & { readonly [level in 'L2' | 'DTLB' | 'STLB']?: CacheShape };

const shape = (sizeBytes: number, ways: number, lineBytes = 64): CacheShape => ({
  sizeBytes,
  ways,
  lineBytes,
});
const KB = 1024;
const MB = 1024 * KB;

/** A TLB as a cache of pages. */
const tlb = (entries: number, ways: number): CacheShape => shape(entries * PAGE, ways, PAGE);
const PAGE = 4 * KB;

/** Size of a cache in KiB, or entries of a TLB; and its ways. */
type Pair = readonly [number, number];

function processor(I1: Pair, D1: Pair, L2: Pair, LL: Pair, DTLB: Pair, STLB: Pair): Preset {
  const cache = ([size, ways]: Pair): CacheShape => shape(size * KB, ways);
  return {
    ...{ I1: cache(I1), D1: cache(D1), L2: cache(L2), LL: cache(LL) },
    ...{ DTLB: tlb(...DTLB), STLB: tlb(...STLB) },
  };
}

/**
 * Caches and data TLBs (for pages of 4 KiB) of processors, as their makers' optimisation manuals give them for one core and
 * its L3.
 */
const PROCESSORS: Readonly<Record<string, Preset>> = {
  nehalem: processor([32, 4], [32, 8], [256, 8], [8192, 16], [64, 4], [512, 4]),
  haswell: processor([32, 8], [32, 8], [256, 8], [8192, 16], [64, 4], [1024, 8]),
  skylake: processor([32, 8], [32, 8], [256, 4], [8192, 16], [64, 4], [1536, 12]),
  'skylake-sp': processor([32, 8], [32, 8], [1024, 16], [39424, 11], [64, 4], [1536, 12]),
  'ice-lake': processor([32, 8], [48, 12], [512, 8], [8192, 16], [64, 4], [2048, 16]),
  zen2: processor([32, 8], [32, 8], [512, 8], [16384, 16], [64, 64], [2048, 16]),
  zen3: processor([32, 8], [32, 8], [512, 8], [32768, 16], [64, 64], [2048, 16]),
  zen4: processor([32, 8], [32, 8], [1024, 8], [32768, 16], [72, 72], [3072, 24]),
};

/** Where the machine says nothing: Cachegrind's defaults for amd64. */
const DEFAULTS: Shapes = { I1: shape(64 * KB, 2), D1: shape(64 * KB, 2), LL: shape(256 * KB, 8) };

/** Options of the caches that Cachegrind simulates. */
export const CACHE_OPTIONS: Readonly<Record<string, AnalysisOption>> = {
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

/** Options of what it does not simulate. */
export const MODEL_OPTIONS: Readonly<Record<string, AnalysisOption>> = {
  L2: {
    describe: 'Second-level cache between them, which Cachegrind has not: as above, or `preset`',
    default: '',
  },
  DTLB: {
    describe: 'Data TLB for pages of 4 KiB: entries, associativity (64,4), or `preset`',
    default: '',
  },
  STLB: { describe: 'TLB behind that: the same', default: '' },
  policy: {
    describe: `Which line gives way: ${POLICY_NAMES.join(', ')}; of one cache only as in LL=srrip; several separated by commas`,
    default: 'lru',
  },
  prefetch: {
    describe: 'Prefetcher, which sees what misses the first level, and fills the level behind it',
    default: 'none',
    values: PREFETCHERS,
  },
};

/** What options ask for: the caches that Cachegrind simulates, and the others if any were asked for. */
export interface Wanted extends Shapes {
  /** Present: more than Cachegrind simulates is to be, by a model of its own (hierarchy.ts). */
  readonly model?: HierarchyShape;
}

/** The caches that options ask for. Throws UserError for those that cannot be. */
export function shapesOf(options: OptionValues): Wanted {
  const name = options['processor'] ?? 'host';
  const preset = name === 'host' ? hostShapes() : PROCESSORS[name]!;
  const shapes = {
    I1: given('I1', options) ?? preset.I1,
    D1: given('D1', options) ?? preset.D1,
    LL: given('LL', options) ?? withPowerOfTwoSets(preset.LL),
  };
  const more = {
    L2: given('L2', options, preset),
    DTLB: givenTlb('DTLB', options, preset),
    STLB: givenTlb('STLB', options, preset),
  };
  const present = Object.fromEntries(Object.entries(more).filter(([, one]) => one)) as Partial<
    Record<keyof typeof more, CacheShape>
  >;
  for (const [level, one] of Object.entries({ ...shapes, ...present })) checkShape(level, one);
  const policies = policiesOf(options['policy'] ?? '');
  const prefetcher = (options['prefetch'] ?? 'none') as PrefetcherName;
  const isLru = Object.values(policies).every((policy) => policy === 'lru');
  if (isLru && prefetcher === 'none' && Object.keys(present).length === 0) return shapes;
  const model: HierarchyShape = { ...shapes, ...present, policies, prefetcher };
  checkModel(model);
  return { ...shapes, model };
}

function checkModel({ I1, D1, L2, LL, DTLB, STLB, policies }: HierarchyShape): void {
  if (STLB && !DTLB) throw new UserError('--STLB is behind --DTLB: give both.');
  const lines = new Set([I1, D1, L2, LL].flatMap((one) => one?.lineBytes ?? []));
  if (lines.size > 1)
    throw new UserError(
      'With --L2, --DTLB, --policy or --prefetch all caches must have lines of the same size.',
    );
  for (const level of ['I1', 'D1', 'DTLB'] as const)
    if (!ignoresRepeats(policies[level]))
      throw new UserError(
        `--policy=${level}=${policies[level]} cannot be simulated: give it to caches behind the first level, such as LL=${policies[level]}.`,
      );
}

/** `lru`, or `LL=srrip,L2=plru`: a policy for all, and those of some caches. */
function policiesOf(text: string): Record<LevelName, PolicyName> {
  const policies = Object.fromEntries(LEVELS.map((level) => [level, 'lru'])) as Record<
    LevelName,
    PolicyName
  >;
  for (const part of text.split(',').filter(Boolean)) {
    const [, level, policy] = /^(?:(\w+)=)?(\w+)$/.exec(part) ?? [];
    const wanted = level === undefined ? LEVELS : LEVELS.filter((name) => name === level);
    const found = POLICY_NAMES.find((name) => name === policy);
    if (wanted.length === 0 || found === undefined)
      throw new UserError(
        `--policy takes ${POLICY_NAMES.join(', ')}, for one of ${LEVELS.join(', ')} as in LL=${POLICY_NAMES.at(-1)}; several separated by commas; not ${part}.`,
      );
    for (const name of wanted) policies[name] = found;
  }
  return policies;
}

/** The cache that an option describes; `preset` stands for the processor's. */
function given(name: keyof Preset, options: OptionValues, preset?: Preset): CacheShape | undefined {
  const text = options[name];
  if (!text) return undefined;
  if (preset && text === 'preset') return presetOf(name, preset);
  const numbers = /^(\d{1,10}),(\d{1,5}),(\d{1,5})$/.exec(text)?.slice(1).map(Number);
  if (!numbers || numbers.includes(0))
    throw new UserError(
      `--${name} takes size, associativity and line size, such as 65536,2,64, not ${text}.`,
    );
  return shape(numbers[0]!, numbers[1]!, numbers[2]!);
}

function givenTlb(
  name: 'DTLB' | 'STLB',
  options: OptionValues,
  preset: Preset,
): CacheShape | undefined {
  const text = options[name];
  if (!text) return undefined;
  if (text === 'preset') return presetOf(name, preset);
  const numbers = /^(\d{1,6}),(\d{1,5})$/.exec(text)?.slice(1).map(Number);
  if (!numbers || numbers.includes(0))
    throw new UserError(`--${name} takes entries and associativity, such as 64,4, not ${text}.`);
  return tlb(numbers[0]!, numbers[1]!);
}

function presetOf(name: keyof Preset, preset: Preset): CacheShape {
  const found = preset[name];
  if (!found)
    throw new UserError(
      `The kernel does not say what ${name} this machine has: describe it, or choose a --processor.`,
    );
  return found;
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

/** What the kernel says of the first processor: its first levels, and those that are for both. */
function hostShapes(): Preset {
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
      if (type === 'Unified' && level === 2) found.set('L2', one);
      if (type === 'Unified' && level > last) {
        last = level;
        found.set('LL', one);
      }
    }
  } catch {
    return DEFAULTS; // a machine that says nothing of its caches
  }
  const [I1, D1, L2, LL] = ['I1', 'D1', 'L2', 'LL'].map((name) => found.get(name));
  if (!I1 || !D1 || !LL) return DEFAULTS;
  return { I1, D1, LL, ...(L2 && L2 !== LL && { L2 }) };
}
