/**
 * What memcheck says at the end of a process: the heap, the leaks in order of size, and their totals; the
 * totals of leak checks in the middle of the run too.
 */
import { formatCount } from '../../schemas/numbers.js';
import type { Closing, OptionValues, Weight } from '../analysis.js';
import type { Finding, FindingStack, Outcome, Summary, SummaryValue } from '../finding.js';
import type { Heap } from './heap.js';
import {
  HEURISTICS,
  type LeakCheckMoment,
  type LeakCheckRequest,
  type LeakReport,
} from './leaks.js';
import { memcheckSettings } from './options.js';

/** A leak check, as far as it is known without its findings and suppressions; a row of `leak_checks`. */
export interface LeakCheckRow extends Record<string, SummaryValue> {
  tick: bigint;
  thread: number;
  /** Who wanted it: a request of the program, or the options at the end. */
  cause: 'request' | 'end';
  detail: LeakCheckRequest['mode'];
  compare: LeakCheckRequest['delta'];
  /** Blocks that it looked for. */
  blocks: number;
}

/** The row of a leak check, with what heuristics explained. */
export function leakCheckRow(
  { blocks, totals }: LeakReport,
  { tick, thread, mode, delta, atEnd }: LeakCheckMoment,
): LeakCheckRow {
  const row: LeakCheckRow = {
    tick,
    thread,
    cause: atEnd ? 'end' : 'request',
    detail: mode,
    compare: delta,
    blocks: blocks.length,
  };
  if (blocks.length === 0) return row;
  for (const [name, amount] of Object.entries(totals.heuristics)) {
    row[`heuristic_${name}_bytes`] = amount.bytes;
    row[`heuristic_${name}_blocks`] = amount.blocks;
  }
  return row;
}

/** The entries of `Outcome.summary`: blocks and bytes in use at the end, what the allocators did, leak checks. */
export const heapSummary = (heap: Heap, checks: readonly LeakCheckRow[]): Summary => ({
  heap_in_use_bytes: [...heap.live].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0n),
  heap_in_use_blocks: heap.live.size,
  heap_allocs: heap.allocations,
  heap_frees: heap.frees,
  heap_allocated_bytes: heap.allocatedBytes,
  leak_checks: checks,
});

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

const SUPPRESSED = 'suppressed';
/** Kinds of leaks in the order of the summary: name in rows, and in words. */
const LINES = [
  ['Leak_DefinitelyLost', 'definite', 'definitely lost'],
  ['Leak_IndirectlyLost', 'indirect', 'indirectly lost'],
  ['Leak_PossiblyLost', 'possible', 'possibly lost'],
  ['Leak_StillReachable', 'reachable', 'still reachable'],
  [SUPPRESSED, SUPPRESSED, SUPPRESSED],
] as const;

/** The check's row with bytes and blocks of each kind of leak; those suppressed are counted apart. */
function withTotals(check: LeakCheckRow, findings: readonly Finding[]): LeakCheckRow {
  const total: LeakCheckRow = { ...check };
  for (const [, name] of LINES)
    Object.assign(total, { [`${name}_bytes`]: 0n, [`${name}_blocks`]: 0 });
  for (const { kind, leak, suppressedBy } of lossesOf(check, findings)) {
    const wanted = suppressedBy === undefined ? kind : SUPPRESSED;
    const name = LINES.find(([line]) => line === wanted)?.[1];
    if (name === undefined) continue;
    total[`${name}_bytes`] = bytesOf(total, name) + leak!.bytes;
    total[`${name}_blocks`] = blocksOf(total, name) + leak!.blocks;
  }
  return total;
}

const bytesOf = (row: LeakCheckRow | undefined, name: string) =>
  BigInt(row?.[`${name}_bytes`] ?? 0);
const blocksOf = (row: LeakCheckRow | undefined, name: string) =>
  Number(row?.[`${name}_blocks`] ?? 0);

const lossesOf = ({ tick }: LeakCheckRow, findings: readonly Finding[]): Finding[] =>
  findings.filter((finding) => finding.leak !== undefined && finding.tick === tick);

/**
 * The closing of a process's report, and what is said of leak checks in the middle of it. Loss records
 * must be among the findings whether shown or not.
 */
export function closeMemcheck({ findings, summary }: Outcome, values: OptionValues): Closing {
  const { showKinds } = memcheckSettings(values).leaks;
  const rows = (summary['leak_checks'] ?? []) as readonly LeakCheckRow[];
  const checks = rows.map((check) => withTotals(check, findings));
  const lines = checks.map((check, i) =>
    check.blocks === 0
      ? [NO_LEAKS, '']
      : leakSummary(
          check,
          checks.slice(0, i).findLast(({ blocks }) => blocks > 0),
          showKinds,
        ),
  );
  const isMidway = ({ cause }: LeakCheckRow) => cause === 'request';
  const last = checks.at(-1);
  const count = (name: string) => formatCount(BigInt((summary[name] as SummaryValue) ?? 0));
  const shared = {
    during: checks.flatMap((check, i) =>
      isMidway(check) ? [{ tick: check.tick, lines: lines[i]! }] : [],
    ),
    before: [
      'HEAP SUMMARY:',
      `    in use at exit: ${count('heap_in_use_bytes')} bytes in ${count('heap_in_use_blocks')} blocks`,
      `  total heap usage: ${count('heap_allocs')} allocs, ${count('heap_frees')} frees, ${count('heap_allocated_bytes')} bytes allocated`,
      '',
    ],
    summary: { ...summary, leak_checks: checks },
  };
  if (count('heap_in_use_blocks') === '0') return { ...shared, late: [], after: [NO_LEAKS, ''] };
  if (!last || isMidway(last)) {
    const after = ['For a detailed leak analysis, rerun with: --leak-check=full', ''];
    return { ...shared, late: [], after };
  }
  return { ...shared, late: lossesOf(last, findings), after: lines.at(-1)! };
}

const NO_LEAKS = 'All heap blocks were freed -- no leaks are possible';

/** @param before - the check before it, whose totals it is compared with if it was asked to be */
function leakSummary(
  check: LeakCheckRow,
  before: LeakCheckRow | undefined,
  showKinds: ReadonlySet<string>,
): string[] {
  const change = (difference: bigint) =>
    check.compare === 'any'
      ? ''
      : difference < 0n
        ? ` (-${formatCount(-difference)})`
        : ` (+${formatCount(difference)})`;
  const amount = (name: string) => {
    const bytes = bytesOf(check, name);
    const blocks = BigInt(blocksOf(check, name));
    const moreBytes = change(bytes - bytesOf(before, name));
    const moreBlocks = change(blocks - BigInt(blocksOf(before, name)));
    return `${formatCount(bytes)}${moreBytes} bytes in ${formatCount(blocks)}${moreBlocks} blocks`;
  };
  const lines = ['LEAK SUMMARY:'];
  for (const [, name, words] of LINES) {
    if (name === SUPPRESSED) {
      const used = HEURISTICS.map((heuristic) => `heuristic_${heuristic}`).filter(
        (key) => blocksOf(check, key) > 0 || blocksOf(before, key) > 0,
      );
      if (used.length > 0) lines.push(`${' '.repeat(22)}of which reachable via heuristic:`);
      for (const key of used)
        lines.push(`${' '.repeat(24)}${key.slice('heuristic_'.length).padEnd(19)}: ${amount(key)}`);
    }
    lines.push(`${`${words}:`.padStart(19)} ${amount(name)}`);
  }
  const isFull = check.detail === 'full';
  const found = LINES.some(([, name]) => name !== SUPPRESSED && blocksOf(check, name) > 0);
  if (!isFull && found) lines.push('Rerun with --leak-check=full to see details of leaked memory');
  if (isFull && blocksOf(check, 'reachable') > 0 && !showKinds.has('reachable')) {
    lines.push(
      'Reachable blocks (those to which a pointer was found) are not shown.',
      'To see them, rerun with: --leak-check=full --show-leak-kinds=all',
    );
  }
  return [...lines, ''];
}
