/** The options of memcheck, named as Memcheck's own: how they are declared, and what they mean. */
import { UserError } from '../../schemas/errors.js';
import type { AnalysisOption, OptionValues, Weight } from '../analysis.js';
import type { Finding } from '../finding.js';
import { LEAK_KINDS } from '../suppressions.js';

const YES_NO = ['yes', 'no'] as const;
const LEAK_KIND_NAMES = ['definite', 'indirect', 'possible', 'reachable'] as const;
const HEURISTICS = ['stdstring', 'length64', 'newarray', 'multipleinheritance'] as const;

export type LeakKind = (typeof LEAK_KIND_NAMES)[number];
export type Heuristic = (typeof HEURISTICS)[number];

export const MEMCHECK_OPTIONS = {
  'leak-check': {
    describe: 'Search for leaked blocks at the end: count them, or show each',
    default: 'summary',
    values: ['no', 'summary', 'full'],
  },
  'leak-resolution': {
    describe: 'How many addresses of their stacks must agree for leaks to be one: 2, 4, or all',
    default: 'high',
    values: ['low', 'med', 'high'],
  },
  'show-leak-kinds': {
    describe: `Which leaks to show: ${LEAK_KIND_NAMES.join(', ')}, all, none; several with commas`,
    default: 'definite,possible',
  },
  'errors-for-leak-kinds': {
    describe: 'Which leaks are errors, named as for --show-leak-kinds',
    default: 'definite,possible',
  },
  'leak-check-heuristics': {
    describe: `What makes a pointer into a block one to the block: ${HEURISTICS.join(', ')}, all, none`,
    default: 'all',
  },
  'undef-value-errors': {
    describe: 'Report uses of undefined values',
    default: 'yes',
    values: YES_NO,
  },
  'partial-loads-ok': {
    describe: 'An aligned load of 4 bytes or more that lies partly in a block is no error',
    default: 'yes',
    values: YES_NO,
  },
  'freelist-vol': {
    describe: 'Bytes of freed blocks that are remembered',
    default: '20000000',
  },
  'freelist-big-blocks': {
    describe: 'Freed blocks of this size in bytes or more are forgotten first',
    default: '1000000',
  },
  'ignore-ranges': {
    describe: 'Addresses that may be accessed: 0xPP-0xQQ, several with commas',
    default: '',
  },
  'ignore-range-below-sp': {
    describe:
      'Offsets below the stack pointer at which accesses are no error, the larger one first: 8192-8189',
    default: '',
  },
  'show-mismatched-frees': {
    describe: 'Report blocks freed by a function that does not go with the one that allocated them',
    default: 'yes',
    values: YES_NO,
  },
} as const satisfies Record<string, AnalysisOption>;

/** What the options mean. */
export interface MemcheckSettings {
  readonly leakCheck: 'no' | 'summary' | 'full';
  /** Addresses of two stacks that must agree for their leaks to be one; Infinity for all. */
  readonly leakResolution: number;
  readonly showLeakKinds: ReadonlySet<LeakKind>;
  readonly errorsForLeakKinds: ReadonlySet<LeakKind>;
  readonly heuristics: ReadonlySet<Heuristic>;
  readonly undefValueErrors: boolean;
  readonly partialLoadsOk: boolean;
  readonly freelistSizeBytes: bigint;
  readonly freelistBigBlockSizeBytes: bigint;
  /** First and last address of ranges that may be accessed. */
  readonly ignoredRanges: readonly (readonly [bigint, bigint])[];
  /** Greatest and least offset below the stack pointer, both included, at which accesses are no error. */
  readonly ignoredBelowSp: readonly [bigint, bigint] | undefined;
  readonly showMismatchedFrees: boolean;
}

/** Reads the options' values; those left out have their defaults. Throws UserError when one is wrong. */
export function memcheckSettings(values: OptionValues): MemcheckSettings {
  const value = (name: keyof typeof MEMCHECK_OPTIONS): string =>
    values[name] ?? MEMCHECK_OPTIONS[name].default;
  const one = <T extends string>(name: keyof typeof MEMCHECK_OPTIONS, allowed: readonly T[]): T => {
    const found = allowed.find((text) => text === value(name));
    if (found === undefined)
      throw new UserError(`--${name} takes ${allowed.join(', ')}, and not "${value(name)}".`);
    return found;
  };
  const some = <T extends string>(name: keyof typeof MEMCHECK_OPTIONS, allowed: readonly T[]) =>
    parseSet(`--${name}`, value(name), allowed);
  const size = (name: keyof typeof MEMCHECK_OPTIONS): bigint => {
    if (!/^\d{1,18}$/.test(value(name)))
      throw new UserError(`--${name} takes a number of bytes, and not "${value(name)}".`);
    return BigInt(value(name));
  };
  return {
    leakCheck: one('leak-check', ['no', 'summary', 'full']),
    leakResolution: { low: 2, med: 4, high: Infinity }[
      one('leak-resolution', ['low', 'med', 'high'])
    ],
    showLeakKinds: some('show-leak-kinds', LEAK_KIND_NAMES),
    errorsForLeakKinds: some('errors-for-leak-kinds', LEAK_KIND_NAMES),
    heuristics: some('leak-check-heuristics', HEURISTICS),
    undefValueErrors: one('undef-value-errors', YES_NO) === 'yes',
    partialLoadsOk: one('partial-loads-ok', YES_NO) === 'yes',
    freelistSizeBytes: size('freelist-vol'),
    freelistBigBlockSizeBytes: size('freelist-big-blocks'),
    ignoredRanges: parseRanges(value('ignore-ranges')),
    ignoredBelowSp: parseBelowSp(value('ignore-range-below-sp')),
    showMismatchedFrees: one('show-mismatched-frees', YES_NO) === 'yes',
  };
}

function parseSet<T extends string>(option: string, text: string, allowed: readonly T[]): Set<T> {
  if (text === 'all') return new Set(allowed);
  if (text === 'none' || text === '') return new Set();
  return new Set(
    text.split(',').map((name) => {
      const found = allowed.find((known) => known === name.trim());
      if (found === undefined)
        throw new UserError(`${option} takes ${allowed.join(', ')}, all or none, not "${name}".`);
      return found;
    }),
  );
}

function parseRanges(text: string): [bigint, bigint][] {
  if (text === '') return [];
  return text.split(',').map((range) => {
    const match = /^(0x[0-9a-f]{1,16})-(0x[0-9a-f]{1,16})$/i.exec(range.trim());
    const [low, high] = [BigInt(match?.[1] ?? 1), BigInt(match?.[2] ?? 0)];
    if (low > high)
      throw new UserError(`--ignore-ranges takes ranges such as 0x1000-0x1fff, not "${range}".`);
    return [low, high];
  });
}

function parseBelowSp(text: string): [bigint, bigint] | undefined {
  if (text === '') return undefined;
  const match = /^(0x[0-9a-f]{1,8}|\d{1,9})-(0x[0-9a-f]{1,8}|\d{1,9})$/i.exec(text);
  const [far, near] = [BigInt(match?.[1] ?? 0), BigInt(match?.[2] ?? 1)];
  if (far < near || near === 0n)
    throw new UserError(
      `--ignore-range-below-sp takes two offsets, the larger one first, such as 8192-8189, not "${text}".`,
    );
  return [far, near];
}

/** Leaks count as the options say; everything else is an error and is shown. */
export function weighMemcheck(finding: Finding, values: OptionValues): Weight {
  const kind = LEAK_KINDS[finding.kind] as LeakKind | undefined;
  if (kind === undefined) return { isShown: true, isError: true };
  const { leakCheck, showLeakKinds, errorsForLeakKinds } = memcheckSettings(values);
  const isFull = leakCheck === 'full';
  return {
    isShown: isFull && showLeakKinds.has(kind),
    isError: isFull && errorsForLeakKinds.has(kind),
  };
}
