/** What memcheck says at the end of a process: the heap, the leaks in order of size, and their totals. */
import type { Closing, OptionValues, Weight } from '../analysis.js';
import type { Finding, FindingStack, Outcome } from '../finding.js';
import { commas } from './describe.js';
import type { Heap } from './heap.js';
import type { LeakReport } from './leaks.js';
import { memcheckSettings } from './options.js';

/**
 * The entries of `Outcome.summary`: blocks and bytes in use at the end, what the allocators did, and what
 * heuristics explained in the last leak check.
 */
export function heapSummary(heap: Heap, lastCheck?: LeakReport): Outcome['summary'] {
  const summary: Record<string, number | bigint> = {
    heap_in_use_bytes: [...heap.live].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n),
    heap_in_use_blocks: heap.live.size,
    heap_allocs: heap.allocations,
    heap_frees: heap.frees,
    heap_allocated_bytes: heap.allocatedBytes,
  };
  for (const [name, { bytes, blocks }] of Object.entries(lastCheck?.totals.heuristics ?? {})) {
    if (blocks === 0) continue;
    summary[`heuristic_${name}_bytes`] = bytes;
    summary[`heuristic_${name}_blocks`] = blocks;
  }
  return summary;
}

const HEURISTIC_KEY = /^heuristic_(\w+)_blocks$/;

/** What a leak check said of its records, which only it knows: whether to show one, and if it is an error. */
const weights = new WeakMap<Finding, Weight>();

/**
 * The findings of a leak check: all its records, since suppressed ones and those not shown are counted
 * too. Suppressions are the report's business: the check must not have been given any.
 */
export function lossFindings(
  { records }: LeakReport,
  process: number,
  { tick, thread }: { readonly tick: bigint; readonly thread: number },
): Finding[] {
  return records
    .filter(({ blocks, shown }) => blocks > 0 || shown)
    .map(({ kind, what, stacks, bytes, indirectBytes, blocks, shown, error }) => {
      const leak = { bytes, indirectBytes, blocks };
      const finding = { kind, what, notes: [], process, thread, tick, stacks, count: blocks, leak };
      weights.set(finding, { isShown: shown, isError: error });
      return finding;
    });
}

/** The same finding with further stacks. */
export function withStacks(finding: Finding, stacks: readonly FindingStack[]): Finding {
  const extended = { ...finding, stacks: [...finding.stacks, ...stacks] };
  const weight = weights.get(finding);
  if (weight) weights.set(extended, weight);
  return extended;
}

/** Loss records count as their check says; everything else is an error and is shown. */
export const weighMemcheck = (finding: Finding): Weight =>
  weights.get(finding) ?? { isShown: true, isError: true };

/** Loss records of the last leak check, which is the one at the end when blocks were left then. */
function lastLeaks(findings: readonly Finding[]): Finding[] {
  const leaks = findings.filter(({ leak }) => leak !== undefined);
  const last = leaks.reduce((tick, leak) => (leak.tick > tick ? leak.tick : tick), 0n);
  return leaks.filter(({ tick }) => tick === last);
}

/** Bytes and blocks of each kind of leak; those suppressed are counted apart. */
export function leakTotals(
  findings: readonly Finding[],
): Map<string, { bytes: bigint; blocks: number }> {
  const totals = new Map<string, { bytes: bigint; blocks: number }>(
    LINES.map(([kind]) => [kind, { bytes: 0n, blocks: 0 }]),
  );
  for (const { kind, leak, suppressedBy } of lastLeaks(findings)) {
    const total = totals.get(suppressedBy === undefined ? kind : SUPPRESSED);
    if (!total) continue;
    total.bytes += leak!.bytes;
    total.blocks += leak!.blocks;
  }
  return totals;
}

const SUPPRESSED = 'suppressed';
const LINES = [
  ['Leak_DefinitelyLost', 'definitely lost'],
  ['Leak_IndirectlyLost', 'indirectly lost'],
  ['Leak_PossiblyLost', 'possibly lost'],
  ['Leak_StillReachable', 'still reachable'],
  [SUPPRESSED, 'suppressed'],
] as const;

/** The closing of a process's report. Loss records must be among the findings whether shown or not. */
export function closeMemcheck({ findings, summary }: Outcome, values: OptionValues): Closing {
  const { leakCheck, showKinds } = memcheckSettings(values).leaks;
  const count = (name: string) => commas(BigInt(summary[name] ?? 0));
  const before = [
    'HEAP SUMMARY:',
    `    in use at exit: ${count('heap_in_use_bytes')} bytes in ${count('heap_in_use_blocks')} blocks`,
    `  total heap usage: ${count('heap_allocs')} allocs, ${count('heap_frees')} frees, ${count('heap_allocated_bytes')} bytes allocated`,
    '',
  ];
  if (BigInt(summary['heap_in_use_blocks'] ?? 0) === 0n) {
    const after = ['All heap blocks were freed -- no leaks are possible', ''];
    return { before, late: [], after };
  }
  if (leakCheck === 'no') {
    const after = ['For a detailed leak analysis, rerun with: --leak-check=full', ''];
    return { before, late: [], after };
  }
  const totals = leakTotals(findings);
  const after = ['LEAK SUMMARY:'];
  for (const [kind, name] of LINES) {
    const { bytes, blocks } = totals.get(kind)!;
    if (kind === SUPPRESSED) after.push(...heuristicLines(summary));
    after.push(`${`${name}:`.padStart(19)} ${commas(bytes)} bytes in ${commas(blocks)} blocks`);
  }
  const unsuppressed = LINES.filter(([kind]) => kind !== SUPPRESSED);
  if (leakCheck !== 'full' && unsuppressed.some(([kind]) => totals.get(kind)!.blocks > 0))
    after.push('Rerun with --leak-check=full to see details of leaked memory');
  const isReachable = totals.get('Leak_StillReachable')!.blocks > 0;
  if (leakCheck === 'full' && isReachable && !showKinds.has('reachable')) {
    after.push(
      'Reachable blocks (those to which a pointer was found) are not shown.',
      'To see them, rerun with: --leak-check=full --show-leak-kinds=all',
    );
  }
  return { before, late: lastLeaks(findings), after: [...after, ''] };
}

function heuristicLines(summary: Outcome['summary']): string[] {
  const lines = Object.entries(summary).flatMap(([key, blocks]) => {
    const name = HEURISTIC_KEY.exec(key)?.[1];
    if (name === undefined) return [];
    const bytes = BigInt(summary[`heuristic_${name}_bytes`] ?? 0);
    return [
      `${' '.repeat(24)}${name.padEnd(19)}: ${commas(bytes)} bytes in ${commas(BigInt(blocks))} blocks`,
    ];
  });
  return lines.length > 0 ? [`${' '.repeat(22)}of which reachable via heuristic:`, ...lines] : [];
}
