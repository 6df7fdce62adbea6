/**
 * The report of an analysis: gives findings their numbers, hides those that suppressions name, and
 * prints them, in the way of Valgrind's own messages or as JSON.
 */
import { LinkNames } from '../replay/link-names.js';
import { Symbols, type Frame } from '../replay/symbols.js';
import type { ProcessRow, Trace } from '../replay/trace.js';
import { hex } from '../schemas/numbers.js';
import { signalName } from '../schemas/syscalls.js';
import type { Analysis, OptionValues } from './analysis.js';
import type {
  AnalysisColumns,
  AnalysisRows,
  Finding,
  Outcome,
  Summary,
  SummaryValue,
} from './finding.js';
import { Findings } from './findings.js';
import { fatalSignalOf, type FatalSignal } from './fatal-signal.js';
import { argumentsOf } from './output-file.js';
import { profileJson, profileText } from './profile.js';
import {
  formatSuppression,
  type NamedFrame,
  type Suppression,
  type Suppressions,
} from './suppressions.js';

export interface ReportSettings {
  /** Values of the analysis's own options. */
  readonly options: OptionValues;
  /** Addresses of a call stack that are shown; inlined functions do not count. */
  readonly callers: number;
  readonly suppressions: Suppressions;
  /** Show with each finding the suppression that would hide it. */
  readonly generate: boolean;
}

/** Shows a sentence of a finding. */
type Headline = (severity: NonNullable<Finding['severity']>, what: string) => string;

/** A call stack with names. */
export interface NamedStack {
  /** As in `FindingStack`. */
  readonly role: string;
  readonly frames: readonly Frame[];
}

/** A finding with its place in the report. */
export interface ReportedFinding {
  /** From 1, in order of the report. */
  readonly number: number;
  readonly finding: Finding;
  readonly isShown: boolean;
  readonly isError: boolean;
  readonly suppression: Suppression | undefined;
  /** The entry that would hide it, where that is asked for. */
  readonly generated: string | undefined;
  readonly stacks: readonly NamedStack[];
}

/** How many errors there were, in Valgrind's terms: a context is what counts as one finding. */
export interface ErrorCounts {
  readonly errors: number;
  readonly contexts: number;
  readonly suppressed: number;
  readonly suppressedContexts: number;
}

interface ProcessReport {
  readonly row: ProcessRow;
  readonly outcome: Outcome;
  readonly reported: readonly ReportedFinding[];
}

/** How the findings of a process image are laid out as text. */
export interface Layout {
  /** Say of which thread a finding is where that is another than of the one before. */
  readonly threads: boolean;
  /** The lines of a finding, without the empty one after it. */
  finding(entry: ReportedFinding): Iterable<string>;
  /** Lines between the findings and what is said of the end. */
  readonly gap: readonly string[];
  /** Show the summary of an analysis that has no words for it. */
  readonly summary: boolean;
}

export class Report {
  private readonly processes: ProcessReport[] = [];
  private readonly linkNames: LinkNames;
  private readonly uses = new Map<Suppression, number>();
  private count = 0;

  constructor(
    private readonly trace: Trace,
    private readonly analysis: Analysis,
    private readonly settings: ReportSettings,
  ) {
    this.linkNames = new LinkNames(trace);
  }

  /** Of the analysis. */
  get name(): string {
    return this.analysis.name;
  }

  /** Adds what the analysis says of a process image. */
  add(given: Outcome): void {
    const row = this.trace.processes.find(({ process }) => process === given.process);
    if (!row) throw new Error(`the trace has no process ${given.process}`);
    const merged = new Findings();
    for (const finding of given.findings) merged.add(finding);
    const outcome = { ...given, findings: [...merged.list] };
    // Most images of a run of many have nothing to be named.
    let symbols: Symbols | undefined;
    const reported = outcome.findings.map((finding) => {
      symbols ??= new Symbols(this.trace, given.process, this.linkNames);
      return this.judge(finding, symbols);
    });
    this.processes.push({ row, outcome, reported });
  }

  /** All findings, hidden ones too, in order of the report. */
  get findings(): readonly ReportedFinding[] {
    return this.processes.flatMap(({ reported }) => reported);
  }

  /** Of the process images that were judged. */
  get processNumbers(): readonly number[] {
    return this.processes.map(({ row }) => row.process);
  }

  /** Tables of the analysis's own, of one process image after another. */
  get tables(): readonly (AnalysisRows | AnalysisColumns)[] {
    return this.processes.flatMap(({ outcome }) => outcome.tables ?? []);
  }

  /** What could not be judged. */
  get missing(): readonly { readonly process: number; readonly sentence: string }[] {
    return this.processes.flatMap(({ row, outcome }) =>
      outcome.missing.map((sentence) => ({ process: row.process, sentence })),
    );
  }

  get counts(): ErrorCounts {
    return countErrors(this.findings);
  }

  /** How often each suppression that was of use hid something. */
  get suppressionUses(): ReadonlyMap<Suppression, number> {
    return this.uses;
  }

  private judge(finding: Finding, symbols: Symbols): ReportedFinding {
    const { callers, suppressions, options } = this.settings;
    const where = finding.stacks[0]?.pcs ?? [];
    const suppression = suppressions.find(
      finding,
      withLinkNames(
        symbols.programPcs(where, callers).flatMap((pc) => symbols.frames(pc)),
        symbols,
      ),
    );
    if (suppression) {
      finding.suppressedBy = suppression.name;
      const count = occurrences(finding);
      this.uses.set(suppression, (this.uses.get(suppression) ?? 0) + count);
    }
    const weight = this.analysis.weigh?.(finding, options) ?? {
      isShown: true,
      isError: (finding.severity ?? 'error') === 'error',
    };
    const isShown = weight.isShown && !suppression;
    const stacks = finding.stacks.map(({ role, pcs }) => ({
      role,
      frames: symbols.stack(pcs, callers),
    }));
    const generated =
      this.settings.generate && isShown
        ? formatSuppression(finding, withLinkNames(stacks[0]?.frames ?? [], symbols))
        : undefined;
    const { isError } = weight;
    return { number: ++this.count, finding, isShown, isError, suppression, generated, stacks };
  }

  /**
   * The report as text, line by line, as Valgrind prints it but for the process number before each line.
   * @param listSuppressions say which suppressions were of use
   * @param headline shows the sentence of a finding, by how bad that is
   */
  *text(listSuppressions = false, headline: Headline = (_, what) => what): Generator<string> {
    for (const process of this.processes) {
      if (this.processes.length > 1) yield* [processTitle(process.row), ''];
      yield* this.processText(process, {
        ...REPORT_LAYOUT,
        finding: (entry) => findingLines(entry, headline),
      });
      const counts = countErrors(process.reported);
      for (const sentence of process.outcome.missing) yield `Not judged: ${sentence}`;
      if (!process.outcome.profile) yield summaryLine(counts);
      if (this.processes.length > 1) yield '';
    }
    if (listSuppressions) {
      for (const [{ name, file, line }, uses] of this.uses)
        yield `used_suppression: ${String(uses).padStart(6)} ${name} ${file}:${line}`;
    }
    if (this.processes.length > 1 && !this.processes.every(({ outcome }) => outcome.profile))
      yield `All processes: ${summaryLine(this.counts)}`;
  }

  /** The findings of one process image and what is said of its end, line by line. */
  *lines(process: number, layout: Layout): Generator<string> {
    yield* this.processText(this.of(process), layout);
  }

  /** How many errors one process image made, as Valgrind says it last. */
  errorSummary(process: number): string {
    return summaryLine(countErrors(this.of(process).reported));
  }

  /** The signal that killed a process image, if one did. */
  fatalSignal(process: number): FatalSignal | undefined {
    if (this.of(process).row.end !== 'signal') return undefined;
    const symbols = new Symbols(this.trace, process, this.linkNames);
    return fatalSignalOf(this.trace, process, symbols, this.settings.callers);
  }

  private of(process: number): ProcessReport {
    return this.processes.find(({ row }) => row.process === process)!;
  }

  private *processText(
    { row, outcome, reported }: ProcessReport,
    layout: Layout,
  ): Generator<string> {
    if (outcome.profile) yield* profileText(outcome.profile);
    const closing = this.analysis.close?.(outcome, this.settings.options) ?? {
      before: [],
      late: [],
      after: layout.summary ? summaryLines(outcome) : [],
    };
    const late = new Set(closing.late);
    let thread = 1;
    const print = function* (entry: ReportedFinding): Generator<string> {
      if (!entry.isShown) return;
      if (layout.threads && entry.finding.thread !== thread)
        yield `Thread ${entry.finding.thread}:`;
      thread = entry.finding.thread;
      yield* layout.finding(entry);
      yield '';
      if (entry.generated) yield* entry.generated.trimEnd().split('\n');
    };
    const during = [...(closing.during ?? [])];
    for (const entry of reported) {
      while (during.length > 0 && during[0]!.tick < entry.finding.tick)
        yield* during.shift()!.lines;
      if (!late.has(entry.finding)) yield* print(entry);
    }
    for (const { lines } of during) yield* lines;
    yield* layout.gap;
    if (!outcome.profile) yield* this.endLines(row);
    yield* closing.before;
    for (const entry of reported) if (late.has(entry.finding)) yield* print(entry);
    yield* closing.after;
  }

  private *endLines({ process }: ProcessRow): Generator<string> {
    const fatal = this.fatalSignal(process);
    if (!fatal) return;
    const { signal, frames, fault } = fatal;
    yield `Process terminating with default action of signal ${signal} (${signalName(signal)})`;
    if (fault?.event) yield ` ${fault.event} at address ${upperHex(fault.address)}`;
    yield* stackLines({ frames });
    yield '';
  }

  /**
   * The report as a value for JSON. Numbers that can be beyond 2^53 are text: addresses in hexadecimal
   * with 0x, ticks, bytes and large counts in decimal. Suppressed findings are only counted.
   */
  json(): object {
    const shown = this.findings.filter(({ isShown }) => isShown);
    return {
      analysis: this.analysis.name,
      run: this.trace.name,
      options: this.settings.options,
      findings: shown.map(findingJson),
      summary: {
        ...countsJson(this.counts),
        processes: this.processes.map(({ row, outcome, reported }) => ({
          process: row.process,
          pid: row.pid,
          executable: row.executable,
          end: row.end,
          ...countsJson(countErrors(reported)),
          ...summaryJson(
            this.analysis.close?.(outcome, this.settings.options).summary ?? outcome.summary,
          ),
          ...(outcome.profile && { profile: profileJson(outcome.profile) }),
        })),
        suppressions: [...this.uses].map(([{ name, file, line }, uses]) => ({
          name,
          file,
          line,
          uses,
        })),
        missing: this.missing,
      },
    };
  }
}

function withLinkNames(frames: readonly Frame[], symbols: Symbols): NamedFrame[] {
  return frames.map((frame) => {
    let names: readonly string[] | undefined;
    return { ...frame, namesForLinker: () => (names ??= symbols.namesForLinker(frame)) };
  });
}

/** Occurrences as errors: a loss record is one, however many blocks it is of. */
const occurrences = ({ leak, count }: Finding): number => (leak === undefined ? count : 1);

function countErrors(reported: readonly ReportedFinding[]): ErrorCounts {
  const errors = reported.filter(({ isError }) => isError);
  const hidden = errors.filter(({ suppression }) => suppression);
  const open = errors.filter(({ suppression }) => !suppression);
  const sum = (entries: readonly ReportedFinding[]) =>
    entries.reduce((total, { finding }) => total + occurrences(finding), 0);
  return {
    errors: sum(open),
    contexts: open.length,
    suppressed: sum(hidden),
    suppressedContexts: hidden.length,
  };
}

function summaryLine({ errors, contexts, suppressed, suppressedContexts }: ErrorCounts): string {
  return `ERROR SUMMARY: ${errors} errors from ${contexts} contexts (suppressed: ${suppressed} from ${suppressedContexts})`;
}

function countsJson({ errors, contexts, suppressed, suppressedContexts }: ErrorCounts): object {
  return {
    errors,
    contexts,
    suppressed_errors: suppressed,
    suppressed_contexts: suppressedContexts,
  };
}

const processTitle = (image: ProcessRow): string =>
  `Process ${image.process} (pid ${image.pid}): ${argumentsOf(image).join(' ')}`;

function summaryLines({ summary }: Outcome): string[] {
  const entries = Object.entries(summary);
  const shown = (value: SummaryValue | object) =>
    typeof value === 'object'
      ? JSON.stringify(value, (_, inner) => exact(inner as SummaryValue))
      : value;
  return entries.length > 0
    ? [...entries.map(([name, value]) => `${name}: ${shown(value)}`), '']
    : [];
}

/** A finding in Valgrind's words: the sentence, where it happened, and what is known of the address or value. */
export function* findingLines(
  { finding, isError, stacks }: ReportedFinding,
  headline: Headline = (_, what) => what,
): Generator<string> {
  const severity = finding.severity ?? (isError ? 'error' : 'note');
  const isLess = finding.severity !== undefined && severity !== 'error';
  yield headline(severity, isLess ? `${severity}: ${finding.what}` : finding.what);
  const [where, ...others] = stacks;
  if (where) yield* stackLines(where);
  for (const note of finding.notes) yield ` ${note}`;
  for (const stack of others) {
    yield ` ${stack.role}`;
    yield* stackLines(stack);
  }
}

const REPORT_LAYOUT: Layout = {
  threads: true,
  finding: (entry) => findingLines(entry),
  gap: [],
  summary: true,
};

/** The lines of a call stack. */
export function* stackLines({ frames }: Pick<NamedStack, 'frames'>): Generator<string> {
  for (const [i, frame] of frames.entries())
    yield `   ${i === 0 ? 'at' : 'by'} ${frameText(frame)}`;
}

const upperHex = (address: bigint): string => `0x${address.toString(16).toUpperCase()}`;

/** One frame as Valgrind prints it, such as `0x109151: main (a.c:12)`. */
export function frameText({
  fn,
  file,
  line,
  module,
  pc,
}: Omit<Frame, 'directory' | 'inlined'>): string {
  const address = upperHex(pc);
  const place = file ? ` (${file}:${line})` : module ? ` (in ${module})` : fn ? ' (in ???)' : '';
  return `${address}: ${fn || '???'}${place}`;
}

function findingJson({ number, finding, stacks, generated }: ReportedFinding): object {
  const { kind, what, count, tick, thread, process, notes, parameter, leak, witness } = finding;
  return {
    finding: number,
    kind,
    ...(finding.severity && { severity: finding.severity }),
    what,
    count,
    tick: exact(tick),
    thread,
    process,
    stacks: stacks.map(({ role, frames }) => ({
      role,
      frames: frames.map(({ fn, file, line, module, pc }) => ({
        fn,
        file,
        line,
        module,
        pc: hex(pc),
      })),
    })),
    notes,
    ...(parameter !== undefined && { parameter }),
    ...(leak && {
      leak: {
        bytes: exact(leak.bytes),
        indirect_bytes: exact(leak.indirectBytes),
        blocks: leak.blocks,
      },
    }),
    ...(witness && {
      witness: {
        recorded_until: exact(witness.recordedUntil),
        segments: witness.segments.map(({ thread, from, to }) => ({
          thread,
          from: exact(from),
          to: exact(to),
        })),
        next: witness.next.map(({ thread, tick }) => ({ thread, tick: exact(tick) })),
      },
    }),
    ...(generated !== undefined && { suppression: generated }),
  };
}

function summaryJson(summary: Summary): object {
  const values = (row: Readonly<Record<string, SummaryValue>>) =>
    Object.fromEntries(Object.entries(row).map(([name, value]) => [name, exact(value)]));
  return Object.fromEntries(
    Object.entries(summary).map(([name, value]) => [
      name,
      typeof value === 'object' ? value.map(values) : exact(value),
    ]),
  );
}

const exact = (value: SummaryValue): string | number =>
  typeof value === 'bigint' ? String(value) : value;
