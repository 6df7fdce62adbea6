/**
 * memcheck: what Valgrind's Memcheck says of an execution, from its trace. The replay follows which
 * memory is accessible and which bits are defined; `instrument.ts` says how instructions move bits,
 * `events.ts` what system calls, allocators and client requests mean, and this puts them together.
 */
import { recordedStacks, type RecordedStacks } from '../../replay/lineage.js';
import { openReplay, type ProcessReplay } from '../../replay/replay.js';
import type { ShadowEvent, ShadowHooks } from '../../replay/shadow-guest.js';
import { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { Analysis, AnalysisContext } from '../analysis.js';
import type { Finding, Outcome, Pc } from '../finding.js';
import { Findings } from '../findings.js';
import {
  closeMemcheck,
  heapSummary,
  leakCheckRow,
  lossFindings,
  weighMemcheck,
  withStacks,
  type LeakCheckRow,
} from './closing.js';
import { MemcheckEvents, type EventContext, type Found } from './events.js';
import { instrument } from './instrument.js';
import { findLeakPoints } from './leak-points.js';
import type { LeakReport } from './leaks.js';
import { MEMCHECK_OPTIONS, memcheckSettings, type MemcheckSettings } from './options.js';
import { findReuse, type Reuse } from './reuse.js';
import { touchedRegisters, trackedWords, type RegisterOffsets } from './registers.js';

export const analysis: Analysis = {
  name: 'memcheck',
  describe: 'Invalid accesses, undefined values, wrong frees, leaks',
  options: MEMCHECK_OPTIONS,
  *run(trace, options, context) {
    const settings = memcheckSettings(options);
    const total = context.processes.reduce((sum, process) => sum + ticksOf(trace, process), 0);
    let done = 0;
    for (const process of context.processes) {
      const ticks = ticksOf(trace, process);
      const progress = (tick: bigint): void =>
        context.progress((done + Number(tick)) / Math.max(total, 1));
      yield new Memcheck(trace, process, settings, context, progress).run();
      done += ticks;
    }
  },
  weigh: weighMemcheck,
  close: closeMemcheck,
};

const ticksOf = (trace: Trace, process: number): number =>
  Number(trace.processes.find((row) => row.process === process)?.ticks ?? 0n);

/** Sections that are told of, by their names in object files. */
const SECTIONS: Readonly<Record<string, 'Text' | 'Data' | 'BSS' | 'GOT' | 'PLT' | 'GOTPLT'>> = {
  '.text': 'Text',
  '.data': 'Data',
  '.sdata': 'Data',
  '.bss': 'BSS',
  '.sbss': 'BSS',
  '.dynbss': 'BSS',
  '.plt': 'PLT',
  '.got': 'GOT',
  '.got.plt': 'GOTPLT',
};

/** One process image. */
class Memcheck {
  private readonly replay: ProcessReplay;
  private readonly events: MemcheckEvents;
  private readonly findings = new Findings();
  private readonly symbols: Symbols;
  private readonly stacks: RecordedStacks;
  private lastCheck: LeakReport | undefined;
  private readonly checks: LeakCheckRow[] = [];
  private lastLosses: readonly Finding[] = [];

  constructor(
    private readonly trace: Trace,
    private readonly process: number,
    private readonly settings: MemcheckSettings,
    private readonly context: AnalysisContext,
    progress: (tick: bigint) => void,
  ) {
    this.symbols = new Symbols(trace, process);
    this.stacks = recordedStacks(trace, process);
    const registers = trace.manifest.guest?.registers as RegisterOffsets;
    const shadow: ShadowHooks = {
      instrument: (block, from) => instrument(block, from, registers),
      touchedRegisters: (block) => {
        const { reads, writes } = touchedRegisters(block, registers);
        return [...reads, ...writes];
      },
      trackedWords: trackedWords(registers),
      report: (event) => this.report(event),
      moveStackFar: (from, to) => this.events.moveStackFar(from, to),
      partialLoadsOk: settings.partialLoadsOk,
    };
    this.events = new MemcheckEvents(this.eventContext(), settings);
    const { events } = this;
    this.replay = openReplay(trace, process, {
      shadow,
      tidyUp: true,
      observer: {
        tables: events.tables,
        applied: (row) => {
          events.applied(row);
          if (row.event % 4096 === 0) progress(this.replay.tick);
        },
      },
    });
  }

  /** What the events need; the replay is there once the first of them comes. */
  private eventContext(): EventContext {
    const replay = () => this.replay;
    const shadow = () => replay().guest.shadow!;
    return {
      get memory() {
        return shadow().planes;
      },
      get registers() {
        return replay().registers;
      },
      stackOf: (stack) => this.shown(this.stacks.get(stack) ?? []),
      found: (finding) => this.found(finding),
      currentStack: () => {
        const { registers, thread } = this.replay;
        const pc = registers.readRegister(thread, registers.registerOffset('RIP'));
        return this.shown(shadow().stack(pc, shadow().stackPointer));
      },
      stackOrigin: (number) => this.symbols.withLowBits(number, 30),
      hasErrors: () => this.findings.list.some((finding) => weighMemcheck(finding).isError),
      leakChecked: (report, moment) => {
        this.lastCheck = report;
        if (!this.replay.isInImage) return;
        this.checks.push(leakCheckRow(report, moment));
        this.lastLosses = lossFindings(report, this.process, moment);
        for (const finding of this.lastLosses) this.findings.add(finding);
      },
      functionAt: (pc) => this.symbols.functionPlace(pc),
      framesOf: (thread) => {
        const frames = replay().registers.framesOf(thread, this.context.callers);
        return this.symbols.programFrames(frames);
      },
      dataSymbol: (address) => this.symbols.variable(address),
      section: (address) => {
        const section = this.symbols.section(address);
        const kind = section && SECTIONS[section.name];
        return kind && { kind, path: section.path };
      },
    };
  }

  run(): Outcome {
    this.replay.finish();
    this.events.finish(this.replay.tick);
    const points = this.leakPoints();
    const reuse = this.reuse();
    const findings = this.findings.list.map((finding) => points.of.get(finding) ?? finding);
    for (const finding of reuse.findings) {
      const at = findings.findIndex(({ tick }) => tick > finding.tick);
      findings.splice(at < 0 ? findings.length : at, 0, finding);
    }
    return {
      process: this.process,
      findings,
      summary: heapSummary(this.events.heap, this.checks),
      missing: [
        ...this.replay.divergences,
        ...this.events.unlikeMemcheck,
        ...points.missing,
        ...reuse.missing,
      ],
    };
  }

  /** Accesses to blocks whose memory belongs to others by now. */
  private reuse(): Reuse {
    const { trace, process, settings } = this;
    const { tick, divergences } = this.replay;
    if (divergences.length > 0 || !this.events.heap.canReuse) return { findings: [], missing: [] };
    return findReuse(trace, process, settings, tick, (pcs) => this.shown(pcs));
  }

  /** Findings of the last leak check with where their blocks were lost. */
  private leakPoints(): { of: ReadonlyMap<Finding, Finding>; missing: readonly string[] } {
    const { trace, process, settings, lastCheck } = this;
    const of = new Map<Finding, Finding>();
    const { tick, divergences } = this.replay;
    const isWanted = settings.leakPoints !== 'no' && settings.leaks.leakCheck === 'full';
    if (!isWanted || !lastCheck || divergences.length > 0) return { of, missing: [] };
    const stackOf = (stack: number) => this.shown(this.stacks.get(stack) ?? []);
    const { stacks, missing } = findLeakPoints(
      ...([trace, process, settings, lastCheck, tick, stackOf, this.symbols] as const),
    );
    const records = lastCheck.records.filter(({ blocks }) => blocks > 0);
    this.lastLosses.forEach((finding, i) => {
      const found = stacks.get(records[i]!) ?? [];
      if (found.length > 0) of.set(finding, withStacks(finding, found));
    });
    return { of, missing };
  }

  /** The frames that a user wants to see of a stack. */
  private shown(pcs: readonly Pc[]): readonly Pc[] {
    return this.symbols.programPcs(pcs, this.context.callers);
  }

  private report(event: ShadowEvent): void {
    if (!this.replay.isInImage) return;
    const { ignoredRanges, ignoredBelowSp, undefValueErrors } = this.settings;
    if (event.kind === 'undefined') {
      if (!undefValueErrors) return;
    } else {
      const { address, sp } = event;
      if (ignoredRanges.some(([low, high]) => address >= low && address <= high)) return;
      if (ignoredBelowSp && sp - address <= ignoredBelowSp[0] && sp - address >= ignoredBelowSp[1])
        return;
    }
    this.events.report({ ...event, stack: () => this.shown(event.stack()) }, this.replay.thread);
  }

  private found(finding: Found): void {
    if (!this.replay.isInImage || finding.leak !== undefined) return;
    this.findings.add({ ...finding, process: this.process });
  }
}
