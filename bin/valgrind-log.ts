/**
 * Findings of a process image as the log that Valgrind writes with --log-file, which CTest, editors and scripts read. What
 * Valgrind says of itself and its options is left out.
 */
import { commandOf } from '../analyses/output-file.js';
import { findingLines, type Layout, type Report } from '../analyses/report.js';
import type { Manifest } from '../recorder/manifest.js';
import type { ProcessRow, Trace } from '../replay/trace.js';
import { helgrindLayout } from './helgrind-log.js';

/** The first line of the tool whose findings those of an analysis are. */
const TITLES: Readonly<Record<string, string>> = {
  memcheck: 'Memcheck, a memory error detector',
  race: 'Helgrind, a thread error detector',
};

const MEMCHECK_LAYOUT: Layout = {
  threads: true,
  finding: findingLines,
  gap: [''],
  summary: false,
};

/** @param parentPid - 0 if that is not known */
export function valgrindLog(
  trace: Trace,
  report: Report,
  image: ProcessRow,
  parentPid: number,
  { versions }: Manifest,
): string {
  const { process, pid } = image;
  const layout = report.name === 'race' ? helgrindLayout(trace, process) : MEMCHECK_LAYOUT;
  const lines = [
    TITLES[report.name] ?? report.name,
    `grind ${versions.grind}, from a recording under Valgrind ${versions.engine}`,
    `Command: ${commandOf(image)}`,
    ...(parentPid === 0 ? [] : [`Parent PID: ${parentPid}`]),
    '',
    ...report.lines(process, layout),
    report.errorSummary(process),
  ];
  // Suppressions are to be copied into a file as they stand.
  let isSuppression = false;
  const text = lines.map((line) => {
    isSuppression ||= line === '{';
    const plain = isSuppression;
    if (line === '}') isSuppression = false;
    return plain ? `${line}\n` : `==${pid}== ${line}\n`;
  });
  return text.join('');
}
