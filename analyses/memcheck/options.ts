/** The options of memcheck, named as Memcheck's own: how they are declared, and what they mean. */
import { UserError } from '../../schemas/errors.js';
import type { AnalysisOption, OptionValues } from '../analysis.js';
import type { MemcheckOptions } from './events.js';
import { HEURISTICS, parseHeuristics, parseLeakCheck, parseLeakKinds } from './leaks.js';

const YES_NO = ['yes', 'no'] as const;

export const MEMCHECK_OPTIONS = {
  'leak-check': {
    describe: 'Search for leaked blocks at the end: count them, or show each',
    default: 'summary',
    values: ['no', 'summary', 'yes', 'full'],
  },
  'leak-resolution': {
    describe: 'How many addresses of their stacks must agree for leaks to be one: 2, 4, or all',
    default: 'high',
    values: ['low', 'med', 'high'],
  },
  'show-leak-kinds': {
    describe:
      'Which leaks to show: definite, indirect, possible, reachable, all, none; several with commas',
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
  'leak-points': {
    describe:
      'Say where lost blocks were lost; auto: when --leak-check=full shows some and the execution is short',
    default: 'auto',
    values: ['auto', 'yes', 'no'],
  },
  'reused-memory': {
    describe:
      'Find accesses through pointers to freed blocks whose memory was used again; auto: unless the execution is long',
    default: 'auto',
    values: ['auto', 'yes', 'no'],
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
export interface MemcheckSettings extends MemcheckOptions {
  readonly leakPoints: 'auto' | 'yes' | 'no';
  readonly reusedMemory: 'auto' | 'yes' | 'no';
  readonly undefValueErrors: boolean;
  readonly partialLoadsOk: boolean;
  /** First and last address of ranges that may be accessed. */
  readonly ignoredRanges: readonly (readonly [bigint, bigint])[];
  /** Greatest and least offset below the stack pointer, both included, at which accesses are no error. */
  readonly ignoredBelowSp: readonly [bigint, bigint] | undefined;
}

/** Reads the options' values; those left out have their defaults. Throws UserError when one is wrong. */
export function memcheckSettings(values: OptionValues): MemcheckSettings {
  type Name = keyof typeof MEMCHECK_OPTIONS;
  const value = (name: Name): string => values[name] ?? MEMCHECK_OPTIONS[name].default;
  const one = <T extends string>(name: Name, allowed: readonly T[]): T => {
    const found = allowed.find((text) => text === value(name));
    if (found === undefined)
      throw new UserError(`--${name} takes ${allowed.join(', ')}, and not "${value(name)}".`);
    return found;
  };
  const bytes = (name: Name): bigint => {
    if (!/^\d{1,18}$/.test(value(name)))
      throw new UserError(`--${name} takes a number of bytes, and not "${value(name)}".`);
    return BigInt(value(name));
  };
  const kinds = (name: Name) => parseLeakKinds(`--${name}`, value(name));
  return {
    leaks: {
      leakCheck: parseLeakCheck(value('leak-check')),
      showKinds: kinds('show-leak-kinds'),
      errorKinds: kinds('errors-for-leak-kinds'),
      heuristics: parseHeuristics(value('leak-check-heuristics')),
      resolution: one('leak-resolution', ['low', 'med', 'high']),
    },
    quarantine: {
      volumeBytes: bytes('freelist-vol'),
      bigBlockBytes: bytes('freelist-big-blocks'),
    },
    mismatchedFrees: one('show-mismatched-frees', YES_NO) === 'yes',
    leakPoints: one('leak-points', ['auto', 'yes', 'no']),
    reusedMemory: one('reused-memory', ['auto', 'yes', 'no']),
    undefValueErrors: one('undef-value-errors', YES_NO) === 'yes',
    partialLoadsOk: one('partial-loads-ok', YES_NO) === 'yes',
    ignoredRanges: parseRanges(value('ignore-ranges')),
    ignoredBelowSp: parseBelowSp(value('ignore-range-below-sp')),
  };
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
