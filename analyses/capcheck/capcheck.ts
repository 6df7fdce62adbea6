/**
 * capcheck: descriptors, mappings and the program's own capabilities as things with a life. Each use is judged by which
 * life the thing was in: used after its end, ended twice, never ended, replaced while alive, used for what it is not.
 *
 * All is read from recorded events, so it takes no replay. The parts (part.ts) know nothing of each other.
 */
import { eventRows } from '../../replay/event-rows.js';
import { recordedStacks } from '../../replay/lineage.js';
import { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { Analysis, AnalysisContext, OptionValues } from '../analysis.js';
import type { Outcome } from '../finding.js';
import { Findings } from '../findings.js';
import { usedBySuccessor } from './inheritance.js';
import { DESCRIPTOR_OPTIONS, Descriptors } from './descriptors.js';
import type { CapContext, CapPart, MakeCapPart } from './part.js';

/** The parts, each with its options. */
const PARTS: readonly MakeCapPart[] = [(context) => new Descriptors(context)];

export const analysis: Analysis = {
  name: 'capcheck',
  describe: 'Wrong uses of descriptors, mappings and capabilities: leaks, uses after the end',
  options: { ...DESCRIPTOR_OPTIONS },
  *run(trace, options, context) {
    for (const [i, process] of context.processes.entries()) {
      yield judge(trace, process, options, context);
      context.progress((i + 1) / context.processes.length);
    }
  },
};

/** One process image. */
function judge(
  trace: Trace,
  process: number,
  options: OptionValues,
  { callers }: AnalysisContext,
): Outcome {
  const image = trace.processes.find((row) => row.process === process)!;
  const stacks = recordedStacks(trace, process);
  const symbols = new Symbols(trace, process);
  const findings = new Findings();
  let isInImage = false;
  const stackOf = (stack: number) => symbols.programPcs(stacks.get(stack) ?? [], callers);
  const context: CapContext = {
    process,
    image,
    options,
    stackOf,
    isInImage: () => isInImage,
    usedBySuccessor: () => usedBySuccessor(trace, process),
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
  for (const { row, isInImage: isOwn } of eventRows(trace, process, tables)) {
    isInImage = isOwn;
    for (const part of readers.get(row.table)!) part.applied(row);
  }
  isInImage = true;
  for (const part of parts) part.finish(Number(image.ticks));
  return {
    process,
    findings: [...findings.list].sort((a, b) => Number(a.tick - b.tick)),
    summary: Object.assign({}, ...parts.map(({ summary }) => summary)) as CapPart['summary'] & {},
    missing: parts.flatMap(({ missing }) => missing ?? []),
    tables: parts.flatMap(({ rows }) => rows ?? []),
  };
}
