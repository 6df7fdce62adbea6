/** `grind why`: how a finding came about. */
import type { CommandModule } from 'yargs';
import { explain, type Station, type StoredFinding } from '../analyses/memcheck/why.js';
import { frameText } from '../analyses/report.js';
import { findingRows } from '../replay/scan-findings.js';
import type { Frame } from '../replay/symbols.js';
import { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import type { Table } from '../schemas/schema.js';
import { finding_frames, findings } from '../schemas/views.js';
import { formatCount, hex } from '../schemas/numbers.js';
import { OUT_OPTION, RUN_WORD } from './numbers.js';
import { findRun } from './runs.js';

interface Arguments {
  finding: number;
  run?: string;
  format: 'text' | 'json';
  out: string;
}

/** Stations shown of a long way, from either end. */
const MOST_SHOWN = 20;
const ANALYSIS = 'memcheck';

export const whyCommand: CommandModule<object, Arguments> = {
  command: 'why <finding> [run]',
  describe: 'Say how a finding came about: where the value was created, and each copy of it',
  builder: (yargs) =>
    yargs
      .positional('finding', {
        type: 'number',
        demandOption: true,
        describe: 'Number of the finding, as in `grind analyze memcheck --format table`',
      })
      .positional('run', RUN_WORD)
      .option('format', {
        alias: 'f',
        choices: ['text', 'json'] as const,
        default: 'text' as const,
        describe: 'How to print the chain',
      })
      .option('out', OUT_OPTION)
      .example('$0 why 1', 'Where the wrong value of the first finding came from'),
  handler: async ({ finding, run, format, out }) => {
    const trace = Trace.open(await findRun(run, out));
    try {
      const stored = storedFinding(trace, finding);
      const stations = explain(trace, stored);
      const text =
        format === 'json'
          ? JSON.stringify(chainJson(finding, stored, stations), undefined, 1)
          : chainText(stations).join('\n');
      process.stdout.write(`${text}\n`);
    } finally {
      trace.close();
    }
  },
};

/** Rows of a table of findings, by the names of its columns. */
function* rowsOf(trace: Trace, table: Table): Generator<Record<string, unknown>> {
  const names = Object.keys(table.columns);
  for (const cells of findingRows(trace, table)) {
    const row = Object.fromEntries(names.map((name, i) => [name, cells[i]]));
    if (row['analysis'] === ANALYSIS) yield row;
  }
}

function storedFinding(trace: Trace, number: number): StoredFinding {
  const all = [...rowsOf(trace, findings)];
  if (all.length === 0) {
    throw new UserError(
      'There are no findings of memcheck: run `grind analyze memcheck` on this run first.',
    );
  }
  const row = all.find((candidate) => candidate['finding'] === number);
  if (!row) throw new UserError(`There is no finding ${number}: they go from 1 to ${all.length}.`);
  const stacks = new Map<number, { role: string; frames: Frame[] }>();
  for (const frame of rowsOf(trace, finding_frames)) {
    if (frame['finding'] !== number) continue;
    const at = frame['stack'] as number;
    const stack = stacks.get(at) ?? { role: frame['role'] as string, frames: [] };
    stacks.set(at, stack);
    const { function: fn, file, line, module, pc, inlined } = frame as Record<string, never>;
    stack.frames.push({ fn, file, directory: '', line, module, pc, inlined });
  }
  const { process, kind, what, tick, pc } = row as Record<string, never>;
  return { process, kind, what, tick, pc, stacks: [...stacks.values()] };
}

function chainText(stations: readonly Station[]): string[] {
  const left = stations.length - 2 * MOST_SHOWN;
  return stations.flatMap(({ what, tick, frames }, i) => {
    if (left > 0 && i >= MOST_SHOWN && i < MOST_SHOWN + left)
      return i === MOST_SHOWN ? [`${indent(i)}… ${formatCount(left)} more loads and stores …`] : [];
    const depth = indent(left > 0 && i >= MOST_SHOWN ? i - left + 1 : i);
    const when = tick === undefined ? '' : ` (tick ${formatCount(tick)})`;
    return [`${depth}${what}${when}`, ...frames.map((frame) => `${depth}   ${frameText(frame)}`)];
  });
}

const indent = (depth: number): string => '  '.repeat(depth);

function chainJson(finding: number, stored: StoredFinding, stations: readonly Station[]): object {
  const { process, kind, what } = stored;
  return {
    finding,
    process,
    kind,
    what,
    chain: stations.map((station) => ({
      what: station.what,
      ...(station.tick !== undefined && { tick: String(station.tick) }),
      frames: station.frames.map(({ fn, file, line, module, pc }) => ({
        fn,
        file,
        line,
        module,
        pc: hex(pc),
      })),
    })),
  };
}
