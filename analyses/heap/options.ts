/** The options of heap, with massif's names where it has such an option (Valgrind manual, section 9.3). */
import { UserError } from '../../schemas/errors.js';
import type { AnalysisOption, OptionValues } from '../analysis.js';
import { TIME_UNITS, type TimeUnit } from './heap-use.js';

const YES_NO = ['no', 'yes'];

export const HEAP_OPTIONS = {
  accesses: {
    describe:
      'Count reads and writes of heap blocks, as DHAT does, which takes a replay; auto: with --dhat-out',
    default: 'auto',
    values: ['no', 'yes', 'auto'],
  },
  at: {
    describe: 'Show what is in use at this moment: a tick, peak, end, or a part of the time as 50%',
    default: 'peak',
  },
  'time-unit': {
    describe:
      'Unit of time of the timeline: i (instructions), B (bytes allocated and released), allocations',
    default: 'i',
    values: TIME_UNITS,
  },
  'max-snapshots': { describe: 'Moments of the timeline, about', default: '100' },
  'detailed-freq': {
    describe: 'Every how many moments --massif-out gets what is in use then',
    default: '10',
  },
  depth: { describe: 'Callers in the tree of what is in use', default: '30' },
  threshold: {
    describe: 'Per cent of what is in use below which a place is not shown by itself',
    default: '1.0',
  },
  'heap-admin': { describe: 'Bytes of administration per block', default: '8' },
  alignment: { describe: 'Sizes of blocks are rounded up to a multiple of this', default: '16' },
  'alloc-fn': {
    describe: 'Functions that only allocate for others, separated by semicolons',
    default: '',
  },
  'ignore-fn': {
    describe: 'Functions whose allocations do not count, separated by semicolons',
    default: '',
  },
  'pages-as-heap': {
    describe: 'Count mapped pages instead of heap blocks',
    default: 'no',
    values: YES_NO,
  },
  stacks: {
    describe: 'Count the stacks of threads, too, which takes a replay',
    default: 'no',
    values: YES_NO,
  },
  'short-lived': {
    describe: 'Instructions up to which a block counts as short-lived',
    default: '500',
  },
  'massif-out': {
    describe: 'Write a file for ms_print; %p in the name is the process id',
    default: '',
  },
  'dhat-out': {
    describe: 'Write a file for dh_view.html; %p in the name is the process id',
    default: '',
  },
} as const satisfies Record<string, AnalysisOption>;

/** A moment: a tick, a part of the execution from 0 to 1, or by name. */
export type At = 'peak' | 'end' | { readonly tick: number } | { readonly part: number };

export interface HeapOptions {
  readonly countsAccesses: boolean;
  readonly countsStacks: boolean;
  readonly at: At;
  readonly unit: TimeUnit;
  readonly moments: number;
  readonly detailedEvery: number;
  readonly depth: number;
  readonly thresholdPercent: number;
  readonly adminBytes: number;
  readonly alignmentBytes: number;
  readonly allocators: ReadonlySet<string>;
  readonly ignored: ReadonlySet<string>;
  readonly ofPages: boolean;
  readonly shortTicks: number;
  readonly massifFile: string;
  readonly dhatFile: string;
}

/** What the options mean. Throws UserError for values that they do not take. */
export function heapOptions(options: OptionValues): HeapOptions {
  const value = (name: keyof typeof HEAP_OPTIONS) => options[name] ?? HEAP_OPTIONS[name].default;
  const whole = (name: keyof typeof HEAP_OPTIONS, least: number, most: number): number => {
    const given = value(name);
    const number = Number(given);
    if (!/^\d+$/.test(given) || number < least || number > most)
      throw new UserError(
        `--${name} takes a whole number from ${least} to ${most}, not "${given}".`,
      );
    return number;
  };
  const names = (name: 'alloc-fn' | 'ignore-fn') =>
    new Set(
      value(name)
        .split(';')
        .map((one) => one.trim())
        .filter(Boolean),
    );
  const alignmentBytes = whole('alignment', 1, 1 << 20);
  if ((alignmentBytes & (alignmentBytes - 1)) !== 0)
    throw new UserError(`--alignment takes a power of two, not "${alignmentBytes}".`);
  const thresholdPercent = Number(value('threshold'));
  if (!/^\d+(\.\d+)?$/.test(value('threshold')) || thresholdPercent > 100)
    throw new UserError(`--threshold takes a number from 0 to 100, not "${value('threshold')}".`);
  const unit = value('time-unit') as TimeUnit;
  const massifFile = value('massif-out');
  if (massifFile && unit === 'allocations')
    throw new UserError('The format of --massif-out has no --time-unit=allocations: use i or B.');
  const dhatFile = value('dhat-out');
  const ofPages = value('pages-as-heap') === 'yes';
  const accesses = value('accesses');
  if (ofPages && (dhatFile || accesses === 'yes'))
    throw new UserError('Accesses are counted of heap blocks: not with --pages-as-heap=yes.');
  const countsStacks = value('stacks') === 'yes';
  if (ofPages && countsStacks)
    throw new UserError('Stacks lie in mapped pages: --stacks=yes is not for --pages-as-heap=yes.');
  return {
    countsStacks,
    countsAccesses: accesses === 'yes' || (accesses === 'auto' && dhatFile !== ''),
    at: atOf(value('at')),
    unit,
    moments: whole('max-snapshots', 10, 100_000),
    detailedEvery: whole('detailed-freq', 1, 1_000_000),
    depth: whole('depth', 1, 200),
    thresholdPercent,
    adminBytes: whole('heap-admin', 0, 1024),
    alignmentBytes,
    allocators: names('alloc-fn'),
    ignored: names('ignore-fn'),
    ofPages,
    shortTicks: whole('short-lived', 0, Number.MAX_SAFE_INTEGER),
    massifFile,
    dhatFile,
  };
}

function atOf(text: string): At {
  if (text === 'peak' || text === 'end') return text;
  if (/^\d{1,15}$/.test(text)) return { tick: Number(text) };
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text);
  if (percent && Number(percent[1]) <= 100) return { part: Number(percent[1]) / 100 };
  throw new UserError(`--at takes a tick, peak, end, or a part of the time as 50%, not "${text}".`);
}
