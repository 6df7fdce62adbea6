/**
 * race: data races, as Helgrind, DRD and ThreadSanitizer look for them, from a trace. Two accesses to the
 * same byte race if one of them is a store and nothing orders them: not the operations that the program
 * announces (synchronisation.ts), and not those on variables that are found to be for synchronisation
 * (variables.ts). Predicted are those that this schedule orders, but another one would not (predict.ts).
 *
 * What synchronises without an announcement is learned from the whole execution: a pass that finds races
 * on memory that later turns out to be such a variable, or that a thread waits for in a loop
 * (spin-loops.ts), is done again with that knowledge. A program without races needs one pass. The discipline
 * of locks is judged apart (check-locks.ts).
 */
import { availableParallelism } from 'node:os';
import type { Trace } from '../../replay/trace.js';
import { Symbols } from '../../replay/symbols.js';
import { sync, thread_events } from '../../schemas/tables.js';
import { lock_uses, sync_variables } from '../../schemas/views.js';
import {
  wholeNumber,
  type Analysis,
  type AnalysisContext,
  type AnalysisOption,
  type OptionValues,
} from '../analysis.js';
import type { Finding, Summary } from '../finding.js';
import { LOCK_OPTIONS, LockPass, lockSettings } from './check-locks.js';
import { Detector, type DetectorResult, type Race } from './detector.js';
import { explainRaces } from './explain.js';
import { MOST_TAKERS } from './history.js';
import { findAtomicPcs } from './site-kinds.js';
import { findSpinVariables } from './spin-loops.js';
import type { KnownVariable } from './variables.js';

const WORKERS = wholeNumber(
  `Threads that judge accesses while the replay goes on, each those to its own addresses; by default as many as there are processors besides one, up to ${MOST_TAKERS}`,
  0,
  { most: MOST_TAKERS },
);

const OPTIONS: Readonly<Record<string, AnalysisOption>> = {
  model: {
    describe:
      'Races of the recorded schedule (hb: nothing that happens orders the accesses), those that only another schedule of the same threads shows (predict), or both',
    default: 'both',
    values: ['hb', 'predict', 'both'],
  },
  'free-is-write': {
    describe: 'A block that is freed counts as written then',
    default: 'yes',
    values: ['yes', 'no'],
  },
  'learn-sync': {
    describe:
      'Take variables to order accesses that threads are seen to synchronise by: waited for in loops, or accessed by atomic instructions later on',
    default: 'yes',
    values: ['yes', 'no'],
  },
  'strict-atomics': {
    describe:
      'Judge ordinary loads and stores of memory that atomic instructions access, too, unless its type is known to be atomic; a load or store of an atomic type is often an ordinary instruction',
    default: 'no',
    values: ['yes', 'no'],
  },
  workers: {
    ...WORKERS,
    default: 'auto',
    takes: {
      what: `auto, or ${WORKERS.takes!.what}`,
      isRight: (value) => value === 'auto' || WORKERS.takes!.isRight(value),
    },
  },
};

const presetTakers = (): number => Math.min(availableParallelism() - 1, MOST_TAKERS);

export const analysis: Analysis = {
  name: 'race',
  describe:
    'Data races between threads, and wrong uses of locks and other means of synchronisation',
  options: { ...OPTIONS, ...LOCK_OPTIONS },
  *run(trace, options, context) {
    const locks = lockSettings(options);
    for (const process of context.processes) {
      const pass = new LockPass(trace, process, locks, context.callers);
      const races = findRaces(trace, process, options, context, pass);
      const { findings, uses, missing } = (
        races.hasReadAll ? pass : new LockPass(trace, process, locks, context.callers).run()
      ).outcome();
      yield {
        process,
        findings: [...races.findings, ...findings].sort((a, b) => Number(a.tick - b.tick)),
        summary: summaryOf(races.variables),
        missing: [...races.missing, ...missing],
        tables: [
          { table: lock_uses, rows: uses },
          { table: sync_variables, rows: races.variables.map((one) => variableRow(process, one)) },
        ],
      };
    }
  },
};

interface Races {
  readonly findings: readonly Finding[];
  /** Those that several threads used. */
  readonly variables: readonly KnownVariable[];
  readonly missing: readonly string[];
  /** All rows were read, and told to the pass over the locks. */
  readonly hasReadAll: boolean;
}

function findRaces(
  trace: Trace,
  process: number,
  options: OptionValues,
  context: AnalysisContext,
  locks: LockPass,
): Races {
  const hasThreads = [...trace.rows(thread_events, process)].some(({ op }) => op === 'create');
  const hasTasks = createsTasks(trace, process);
  if (!hasThreads && !hasTasks)
    return { findings: [], variables: [], missing: [], hasReadAll: false };
  const symbols = new Symbols(trace, process);
  const atomicPcs = findAtomicPcs(trace, process);
  const ticks = Number(trace.processes.find((row) => row.process === process)?.ticks ?? 1n);
  const detect = (variables: readonly KnownVariable[], told?: LockPass): DetectorResult =>
    new Detector(trace, process, symbols, {
      variables,
      atomicPcs,
      areAtomicsStrict: options['strict-atomics'] === 'yes',
      freeIsWrite: options['free-is-write'] !== 'no',
      predicts: options['model'] !== 'hb',
      hasTasks,
      takers: options['workers'] === 'auto' ? presetTakers() : Number(options['workers']),
      progress: (tick) => context.progress(Number(tick) / ticks),
      locks: told,
    }).run();
  let result = detect([], locks);
  const hasReadAll = result.divergences.length === 0;
  if (result.races.length > 0 && options['learn-sync'] !== 'no') {
    const learned = learnFrom(trace, process, symbols, result);
    if (learned.length > 0) result = detect([...result.variables, ...learned]);
  }
  const { isCut, sharedVariables, divergences, predictions } = result;
  const races = result.races.filter(({ reached }) => options['model'] !== 'predict' || reached);
  return {
    findings: explainRaces(trace, process, races, symbols, context.callers),
    variables: sharedVariables,
    hasReadAll,
    missing: [
      ...divergences,
      ...(isCut ? [`Races at more than ${races.length} pairs of places are not told.`] : []),
      ...(predictions.skipped > 0
        ? [
            `Of pairs of accesses that the schedule orders, ${predictions.judged} were looked for in another one, ${predictions.skipped} more were not.`,
          ]
        : []),
    ],
  };
}

/** OpenMP's tasks are created. */
function createsTasks(trace: Trace, process: number): boolean {
  for (const batch of trace.batches(sync, process)) {
    const creation = batch.names('op').indexOf('task_create_begin');
    if (creation >= 0 && batch.column('op').includes(creation)) return true;
  }
  return false;
}

function variableRow(process: number, variable: KnownVariable) {
  const { address, size, evidence, tick, operations } = variable;
  return {
    ...{ process, size, evidence: evidence.join(', ') },
    ...{ address: BigInt(address), tick: BigInt(tick), operations: BigInt(operations) },
  };
}

/** What is known after a pass that was not known in it, and may order what raced. */
function learnFrom(
  trace: Trace,
  process: number,
  symbols: Symbols,
  result: DetectorResult,
): KnownVariable[] {
  const { races, variables, racedInLibrary } = result;
  const late = variables.filter(({ address, size }) =>
    races.some((race) => isIn(race, address, size)),
  );
  const declared = races
    .filter(({ later }) => later.pc !== undefined)
    .flatMap(({ address }) => symbols.atomicParts(address))
    .map(({ address, size }) => ({
      ...{ address: Number(address), size, evidence: ['_Atomic'] as const },
      ...{ born: 0, tick: 0, operations: 0 },
    }));
  const loads = new Set(
    races.flatMap(({ earlier, later }) =>
      [earlier, later].flatMap(({ pc, isStore }) => (pc === undefined || isStore ? [] : [pc])),
    ),
  );
  return [
    ...late,
    ...racedInLibrary,
    ...declared,
    ...findSpinVariables(trace, process, symbols, loads),
  ];
}

const isIn = ({ address }: Race, start: number, size: number): boolean =>
  Number(address) >= start && Number(address) < start + size;

/** How many variables synchronise, by what they are known. */
function summaryOf(variables: readonly KnownVariable[]): Summary {
  const counts = new Map<string, { variables: number; operations: number }>();
  for (const { evidence, operations } of variables) {
    const key = evidence.join(', ');
    const known = counts.get(key) ?? { variables: 0, operations: 0 };
    counts.set(key, {
      variables: known.variables + 1,
      operations: known.operations + operations,
    });
  }
  return {
    synchronisation_variables: [...counts].map(([evidence, count]) => ({ evidence, ...count })),
  };
}
