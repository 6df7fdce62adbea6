/**
 * capcheck: descriptors, mappings and the program's own capabilities as things with a life. Each use is judged by which
 * life the thing was in: used after its end, ended twice, never ended, replaced while alive, used for what it is not.
 *
 * All is read from recorded events. Only where a descriptor's number came from takes a replay (origins.ts), which long
 * executions are spared. The parts (part.ts) know nothing of each other.
 */
import { legsOf } from '../../replay/event-cursor.js';
import { eventRows } from '../../replay/event-rows.js';
import { ioctlsOf } from '../../replay/ioctl-table.js';
import { recordedStacks } from '../../replay/lineage.js';
import { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { EventRow } from '../../replay/types.js';
import { formatCount } from '../../schemas/numbers.js';
import type { Analysis, AnalysisContext, OptionValues } from '../analysis.js';
import type { Outcome } from '../finding.js';
import { COMPARED_PCS, Findings } from '../findings.js';
import { usedBySuccessor } from './inheritance.js';
import { Capabilities, CAPABILITY_OPTIONS } from './capabilities.js';
import { DESCRIPTOR_OPTIONS, Descriptors } from './descriptors.js';
import { MAPPING_OPTIONS, Mappings } from './mappings.js';
import type { CapContext, CapPart, MakeCapPart, ValueOrigins } from './part.js';

/** File of the dynamic linker. */
const LOADER = /\/ld[-.\w]*\.so[.\d]*$/;

/** The parts, each with its options. */
const PARTS: readonly MakeCapPart[] = [
  (context) => new Descriptors(context),
  (context) => new Mappings(context),
  (context) => new Capabilities(context),
];

export const analysis: Analysis = {
  name: 'capcheck',
  describe: 'Wrong uses of descriptors, mappings and capabilities: leaks, uses after the end',
  options: { ...DESCRIPTOR_OPTIONS, ...MAPPING_OPTIONS, ...CAPABILITY_OPTIONS },
  async *run(trace, options, context) {
    const { processes } = context;
    const wanted = options['fd-reuse'];
    const replayed = imagesToReplay(trace, processes, wanted);
    for (const [i, process] of processes.entries()) {
      const outcome = await judge(trace, process, options, context, replayed.has(process));
      const isTold =
        i === processes.length - 1 && wanted === 'auto' && replayed.size < processes.length;
      yield isTold
        ? {
            ...outcome,
            missing: [...outcome.missing, notReplayed(replayed.size, processes.length)],
          }
        : outcome;
      context.progress((i + 1) / processes.length);
    }
  },
};

/**
 * One process image.
 * @param findsOrigins - replay it for where descriptors come from
 */
async function judge(
  trace: Trace,
  process: number,
  options: OptionValues,
  { callers }: AnalysisContext,
  findsOrigins: boolean,
): Promise<Outcome> {
  const image = trace.processes.find((row) => row.process === process)!;
  const stacks = recordedStacks(trace, process);
  const symbols = new Symbols(trace, process);
  const findings = new Findings();
  let isInImage = false;
  let origins: ValueOrigins | undefined;
  const stackOf = (stack: number) => symbols.programPcs(stacks.get(stack) ?? [], callers);
  const context: CapContext = {
    process,
    image,
    options,
    ioctls: ioctlsOf(trace),
    stackOf,
    isInImage: () => isInImage,
    get origins() {
      return origins;
    },
    usedBySuccessor: () => usedBySuccessor(trace, process),
    siteOf: (stack) => stackOf(stack).slice(0, COMPARED_PCS).join(),
    isOfLoader: (stack) => {
      const [pc] = stackOf(stack);
      return pc !== undefined && LOADER.test(symbols.frames(pc)[0]?.module ?? '');
    },
    stack: (role, { stack }) => ({ role, pcs: stackOf(stack) }),
    found: ({ kind, what, at, notes = [], more = [], parameter }) => {
      if (!isInImage) return;
      findings.add({
        ...{ kind, what, notes, process, thread: at.thread, tick: BigInt(at.tick), count: 1 },
        stacks: [{ role: '', pcs: stackOf(at.stack) }, ...more],
        ...(parameter !== undefined && { parameter }),
      });
    },
  };
  const parts = PARTS.map((make) => make(context));
  const tables = [...new Set(parts.flatMap((part) => part.tables))];
  const readers = new Map(
    tables.map((table) => [table, parts.filter((part) => part.tables.includes(table))]),
  );
  const applied = (row: EventRow, isOwn: boolean): void => {
    isInImage = isOwn;
    for (const part of readers.get(row.table)!) part.applied(row);
  };
  const missing: string[] = [];
  if (findsOrigins) {
    const { OriginReplay } = await import('./origins.js');
    const replay = new OriginReplay(trace, process, tables, applied);
    origins = replay;
    missing.push(...replay.run());
  } else {
    for (const { row, isInImage: isOwn } of eventRows(trace, process, tables)) applied(row, isOwn);
  }
  isInImage = true;
  for (const part of parts) part.finish(Number(image.ticks));
  return {
    process,
    findings: [...findings.list].sort((a, b) => Number(a.tick - b.tick)),
    summary: Object.assign({}, ...parts.map(({ summary }) => summary)) as CapPart['summary'] & {},
    missing: [...missing, ...parts.flatMap((part) => part.missing ?? [])],
    tables: parts.flatMap(({ rows }) => rows ?? []),
  };
}

/** So many instructions are replayed without being asked to; to begin with a process image costs as much as some more. */
const MOST_TICKS = 200_000_000n;
const BEGINNING_TICKS = 10_000_000n;

/** The process images to replay for where descriptors come from: by default those that did most, as far as that is quick. */
function imagesToReplay(
  trace: Trace,
  processes: readonly number[],
  wanted: string | undefined,
): ReadonlySet<number> {
  if (wanted !== 'auto') return new Set(wanted === 'yes' ? processes : []);
  const own = new Map(trace.processes.map(({ process, ticks }) => [process, ticks]));
  const chosen = new Set<number>();
  let left = MOST_TICKS;
  for (const process of [...processes].sort((a, b) => (own.get(b)! > own.get(a)! ? 1 : -1))) {
    const cost = legsOf(trace, process).reduce((sum, leg) => sum + leg.endTick, BEGINNING_TICKS);
    if (cost > left) continue;
    left -= cost;
    chosen.add(process);
  }
  return chosen;
}

/** What is said when not all process images were replayed, though nobody asked for that. */
const notReplayed = (chosen: number, all: number): string =>
  `Uses of descriptors whose number was given out again were searched for in ${formatCount(chosen)} of ${formatCount(all)} process images, as the others did less or are long; --fd-reuse=yes does all.`;
