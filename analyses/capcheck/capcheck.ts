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
    for (const [i, process] of context.processes.entries()) {
      yield await judge(trace, process, options, context);
      context.progress((i + 1) / context.processes.length);
    }
  },
};

/** One process image. */
async function judge(
  trace: Trace,
  process: number,
  options: OptionValues,
  { callers }: AnalysisContext,
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
  if (wantsOrigins(trace, process, options, missing)) {
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

/** Executions of more instructions than this are only replayed when the user says so. */
const LONGEST_TICKS = 200_000_000n;

/** Whether to replay a process image for where descriptors come from; if not for its length, that is said. */
function wantsOrigins(
  trace: Trace,
  process: number,
  options: OptionValues,
  missing: string[],
): boolean {
  if (options['fd-reuse'] !== 'auto') return options['fd-reuse'] === 'yes';
  const ticks = legsOf(trace, process).reduce((sum, leg) => sum + leg.endTick, 0n);
  if (ticks <= LONGEST_TICKS) return true;
  missing.push(
    `Uses of descriptors whose number was given out again were not searched for, as the execution is long (${formatCount(ticks)} instructions); --fd-reuse=yes does.`,
  );
  return false;
}
