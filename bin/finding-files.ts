/** Keeps the findings of an analysis in the run's folder, where SQL finds them (replay/scan-findings.ts). */
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { AnalysisRows } from '../analyses/finding.js';
import type { ReportedFinding } from '../analyses/report.js';
import { ArrowFileWriter } from '../recorder/arrow-file.js';
import { convertTable } from '../recorder/convert.js';
import { encodeRecord } from '../recorder/raw.js';
import { findingsFolder, storedFindings } from '../replay/scan-findings.js';
import type { Trace } from '../replay/trace.js';
import type { Row, Table } from '../schemas/schema.js';
import { finding_frames, findings } from '../schemas/views.js';

type FindingRow = Omit<Row<typeof findings>, 'analysis'>;
type FrameRow = Omit<Row<typeof finding_frames>, 'analysis'>;

/**
 * Replaces the stored findings and tables of an analysis. A run folder that cannot be written to is left as it is,
 * and the user is told: the report does not depend on it.
 */
export function storeFindings(
  trace: Trace,
  analysis: string,
  reported: readonly ReportedFinding[],
  tables: readonly AnalysisRows[] = [],
): void {
  const folder = join(findingsFolder(trace), analysis);
  const draft = join(findingsFolder(trace), `.${analysis}.${process.pid}`);
  try {
    mkdirSync(draft, { recursive: true });
    writeRows(draft, findings, reported.map(findingRow));
    writeRows(draft, finding_frames, reported.flatMap(frameRows));
    for (const { table, rows } of tables) writeRows(draft, table, rows);
    rmSync(folder, { recursive: true, force: true });
    renameSync(draft, folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    rmSync(draft, { recursive: true, force: true });
    console.error(
      `grind: the findings cannot be kept for \`grind query\`: ${(error as Error).message}.`,
    );
  }
}

function findingRow({
  number,
  finding,
  isShown,
  isError,
  suppression,
  stacks,
}: ReportedFinding): FindingRow {
  const innermost = stacks[0]?.frames[0];
  return {
    process: finding.process,
    finding: number,
    kind: finding.kind,
    what: finding.what,
    count: BigInt(finding.count),
    tick: finding.tick,
    thread: finding.thread,
    pc: innermost?.pc ?? 0n,
    function: innermost?.fn ?? '',
    file: innermost?.file ?? '',
    line: innermost?.line ?? 0,
    notes: finding.notes.join('\n'),
    parameter: finding.parameter ?? '',
    leak_bytes: finding.leak?.bytes ?? 0n,
    leak_indirect_bytes: finding.leak?.indirectBytes ?? 0n,
    shown: isShown,
    error: isError,
    suppressed_by: suppression?.name ?? '',
  };
}

function frameRows({ number, finding, stacks }: ReportedFinding): FrameRow[] {
  return stacks.flatMap(({ role, frames }, stack) =>
    frames.map(({ fn, file, line, module, pc, inlined }, depth) => ({
      process: finding.process,
      finding: number,
      stack,
      role,
      depth,
      pc,
      function: fn,
      file,
      line,
      module,
      inlined,
    })),
  );
}

function writeRows<T extends Table>(folder: string, shown: T, rows: AnalysisRows<T>['rows']): void {
  const table = storedFindings(shown);
  const records = rows.map((row) => encodeRecord(table, 0, row as Row<Table>));
  const bytes = new Uint8Array(Buffer.concat(records)); // copied, so that it is aligned
  let at = 0;
  const offsets = Uint32Array.from(records, (record) => (at += record.length) - record.length);
  const order = Uint32Array.from(rows, (_, i) => i);
  const processes = Uint32Array.from(rows, (row) => (row as { process: number }).process);
  const writer = new ArrowFileWriter(join(folder, `${table.name}.arrow`), table);
  const list = { count: rows.length, offsets, order };
  for (const batch of convertTable(table, bytes, list, processes, 0))
    writer.append(batch.rows, batch.buffers);
  writer.finish();
}
