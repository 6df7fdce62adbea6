/** `grind` alone: what to do next, by what there is. */
import { layOut } from './lay-out.js';
import { RUNS_FOLDER } from './numbers.js';
import { formatExit, listRuns, type ListedRun } from './runs.js';

export function nextSteps(): string {
  const runs = listRuns(RUNS_FOLDER).filter(({ manifest }) => manifest);
  const last = runs.at(-1);
  const program = last?.manifest!.argv[0];
  const before = runs.slice(0, -1).findLast(({ manifest }) => manifest!.argv[0] === program);
  const steps = last ? stepsAfter(last, before) : FIRST_STEPS;
  return [
    last
      ? `The last run is ${last.name}: ${last.manifest!.argv.join(' ')} (exit ${formatExit(last.manifest!)}).`
      : 'grind records a program once, and answers any question about that execution afterwards.',
    '',
    layOut(['to do this', 'say'], steps),
    '',
    'grind --help lists the commands, grind COMMAND --help the options of one.',
  ].join('\n');
}

const FIRST_STEPS = [
  ['record a program', 'grind record -- PROGRAM ARGS…'],
  ['find its memory errors and leaks', 'grind analyze memcheck --leak-check=full'],
  ['ask in SQL', 'grind query "from instructions_by_function limit 10"'],
];

function stepsAfter({ manifest, name }: ListedRun, before: ListedRun | undefined): string[][] {
  // A process with one thread has a row for its beginning and one for its end.
  const threadRows = manifest?.tables['thread_events']?.rows ?? 0;
  const hasThreads = threadRows > 2 * (manifest?.processes ?? 0);
  return [
    ['find memory errors and leaks', 'grind analyze memcheck --leak-check=full'],
    ...(hasThreads ? [['find races', 'grind analyze race']] : []),
    ['see where the heap went', 'grind analyze heap'],
    ['see what ran most', 'grind query "from instructions_by_function limit 10"'],
    ['look at it in a browser', 'grind report -o report.html'],
    ...(before ? [['compare it with the run before', `grind diff ${before.name} ${name}`]] : []),
    ['record another one', 'grind record -- PROGRAM ARGS…'],
  ];
}
