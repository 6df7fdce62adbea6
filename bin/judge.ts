/** Runs analyses over a run: what `grind analyze` prints and `grind diff` compares. */
import { execFileSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { optionValues, type Analysis } from '../analyses/analysis.js';
import { outcomesOf } from '../analyses/outcomes.js';
import { Report } from '../analyses/report.js';
import { readSuppressions, Suppressions, type Suppression } from '../analyses/suppressions.js';
import { findProgram } from '../recorder/build.js';
import type { Trace } from '../replay/trace.js';

/** The progress bar comes when an analysis takes longer than this. */
const PATIENCE_MS = 1000;

export interface JudgeSettings {
  /** Options of the analyses, by name. */
  readonly given: Readonly<Record<string, unknown>>;
  /** Options of an analysis, for those that are not given; absent: none. */
  readonly preset?: (analysis: Analysis) => Readonly<Record<string, unknown>>;
  /** Depth of the call stacks shown. */
  readonly callers: number;
  readonly suppressions: readonly Suppression[];
  /** Show with each finding the suppression that would hide it. */
  readonly generate: boolean;
  /** Numbers of the process images to judge. */
  readonly processes: readonly number[];
}

/** Judges a run by some analyses; the reports stand in their order. Throws UserError for wrong options. */
export async function judge(
  trace: Trace,
  analyses: readonly Analysis[],
  { given, preset, callers, suppressions, generate, processes }: JudgeSettings,
): Promise<Report[]> {
  const wanted = analyses.map((analysis) => {
    const options = optionValues(analysis, { ...preset?.(analysis), ...given });
    const hidden = new Suppressions(suppressions, callers);
    const report = new Report(trace, analysis, {
      ...{ options, callers, suppressions: hidden, generate },
    });
    return { analysis, options, report };
  });
  const bar = new ProgressBar(analyses.map(({ name }) => name).join());
  try {
    const context = { processes, callers, progress: (done: number) => bar.show(done) };
    for await (const { analysis, outcome } of outcomesOf(trace, wanted, context))
      wanted.find((one) => one.analysis === analysis)!.report.add(outcome);
  } finally {
    bar.clear();
  }
  return wanted.map(({ report }) => report);
}

/** The suppressions of some files, and of the installed Valgrind's own. */
export function suppressionsOf(
  files: readonly string[] | undefined,
  withDefault: boolean,
): Suppression[] {
  return [
    ...(files ?? []).flatMap(readSuppressions),
    ...(withDefault ? defaultSuppressions() : []),
  ];
}

/** The entries of the installed Valgrind's file; none, with a word about it, when there is no such file. */
function defaultSuppressions(): Suppression[] {
  const path = defaultSuppressionFile();
  if (path !== undefined) return readSuppressions(path);
  console.error(
    "grind: Valgrind's default.supp was not found, so nothing is hidden by default: say with VALGRIND_LIB in which folder it is.",
  );
  return [];
}

function defaultSuppressionFile(): string | undefined {
  const launcher = findProgram('valgrind');
  const prefixes = [launcher ? dirname(dirname(realpathSync(launcher))) : undefined, '/usr'];
  const folders = [
    process.env['VALGRIND_LIB'],
    ...prefixes.flatMap((prefix) =>
      prefix === undefined
        ? []
        : ['libexec', 'lib/x86_64-linux-gnu', 'lib64', 'lib'].map((folder) =>
            join(prefix, folder, 'valgrind'),
          ),
    ),
  ];
  const hasFile = (folder: string | undefined): boolean =>
    folder !== undefined && existsSync(join(folder, SUPPRESSION_FILE));
  const folder = folders.find(hasFile) ?? [libraryFolder()].find(hasFile);
  return folder === undefined ? undefined : join(folder, SUPPRESSION_FILE);
}

const SUPPRESSION_FILE = 'default.supp';

/** Where pkg-config has Valgrind's libraries. */
function libraryFolder(): string | undefined {
  try {
    const folder = execFileSync('pkg-config', ['--variable=libdir', 'valgrind'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    return folder ? join(folder, 'valgrind') : undefined;
  } catch {
    return undefined; // not installed, or it does not know valgrind
  }
}

/** A bar on the terminal, for analyses that take longer than a moment. */
class ProgressBar {
  private readonly start = Date.now();
  private last = 0;
  private shown = false;
  private readonly isWanted = process.stderr.isTTY;

  constructor(private readonly name: string) {}

  show(done: number): void {
    if (!this.isWanted) return;
    const now = Date.now();
    if (now - this.start < PATIENCE_MS || now - this.last < 100) return;
    this.last = now;
    this.shown = true;
    const width = 40;
    const part = Math.min(1, Math.max(0, done));
    const filled = Math.round(part * width);
    const bar = '#'.repeat(filled) + '.'.repeat(width - filled);
    process.stderr.write(`\r\x1b[K${this.name} [${bar}] ${Math.floor(part * 100)} %`);
  }

  clear(): void {
    if (this.shown) process.stderr.write('\r\x1b[K');
  }
}
