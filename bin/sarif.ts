/** Findings as a SARIF log (Static Analysis Results Interchange Format 2.1.0, OASIS), for code-scanning services and editors. */
import type { Location, Log, Result, ThreadFlowLocation } from 'sarif';
import { frameText } from '../analyses/report.js';
import type { Frame } from '../replay/symbols.js';
import type { ComparedFinding } from './diff-findings.js';
import { ownFrame, sourceUri } from './places.js';

const SCHEMA =
  'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json';

/** Of a finding in comparison with another run (section 3.27.24). */
export type BaselineState = 'new' | 'unchanged' | 'absent';

export interface SarifFinding {
  readonly finding: ComparedFinding;
  readonly state?: BaselineState;
}

/**
 * @param version - of grind
 * @param root - paths of source files within this folder are given from there
 */
export function sarifLog(findings: readonly SarifFinding[], version: string, root: string): Log {
  const kinds = [...new Set(findings.map(({ finding }) => finding.reported.finding.kind))];
  return {
    $schema: SCHEMA,
    version: '2.1.0',
    runs: [
      {
        tool: { driver: { name: 'grind', version, rules: kinds.map((id) => ({ id })) } },
        columnKind: 'utf16CodeUnits',
        results: findings.map((one) => result(one, kinds, root)),
      },
    ],
  };
}

function result(
  { finding: compared, state }: SarifFinding,
  kinds: readonly string[],
  root: string,
): Result {
  const { analysis, fingerprint, reported } = compared;
  const { finding, stacks, isError } = reported;
  const [where] = stacks;
  return {
    ruleId: finding.kind,
    ruleIndex: kinds.indexOf(finding.kind),
    level: finding.severity ?? (isError ? 'error' : 'note'),
    message: { text: [finding.what, ...finding.notes].join('\n') },
    locations: where ? locations([ownFrame(where)], root) : [],
    stacks: stacks.map(({ role, frames }) => ({
      message: { text: role || finding.what },
      frames: frames.map((frame) => ({ location: location(frame, root) })),
    })),
    codeFlows: [{ threadFlows: [{ locations: steps(compared, root) }] }],
    partialFingerprints: { 'grind/v1': fingerprint },
    ...(state && { baselineState: state }),
    occurrenceCount: finding.count,
    properties: { analysis, tick: String(finding.tick), thread: finding.thread },
  };
}

/**
 * What led to the finding, in order of time: its stacks tell of the use first, then of what came before it, such as the release of the
 * block and its allocation; those of a leak begin with the allocation.
 */
function steps(
  { reported: { finding, stacks } }: ComparedFinding,
  root: string,
): ThreadFlowLocation[] {
  const inTime = finding.leak ? stacks : [...stacks].reverse();
  return inTime.flatMap((stack) => {
    const frame = ownFrame(stack);
    if (!frame) return [];
    const text = stack.role || finding.what;
    return [{ location: { ...location(frame, root), message: { text } } }];
  });
}

const locations = (frames: readonly (Frame | undefined)[], root: string): Location[] =>
  frames.flatMap((frame) => (frame ? [location(frame, root)] : []));

function location(frame: Frame, root: string): Location {
  const { fn, file, line, module, pc } = frame;
  const name = fn || frameText(frame);
  return {
    ...(file && {
      physicalLocation: {
        artifactLocation: { uri: sourceUri(frame, root) },
        ...(line > 0 && { region: { startLine: line } }),
      },
    }),
    logicalLocations: [{ fullyQualifiedName: name, kind: 'function' }],
    properties: { module, address: `0x${pc.toString(16)}` },
  };
}
