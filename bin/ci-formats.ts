/** Findings and conditions in the forms of continuous integration: JUnit's XML, and annotations of GitHub's workflows. */
import type { ComparedFinding } from './diff-findings.js';
import { stackLines } from './diff-formats.js';
import type { JudgedGate } from './diff-gates.js';
import { ownFrame, sourcePath } from './places.js';
import { escapeXml } from './valgrind-xml.js';

/**
 * A test suite as Jenkins and others read it: a test for each condition, which fails if it holds, and for each finding, of which the
 * new ones fail.
 */
export function junit(
  name: string,
  added: readonly ComparedFinding[],
  kept: readonly ComparedFinding[],
  gates: readonly JudgedGate[],
): string {
  const cases = [
    ...gates.map(({ gate, holds, what }) =>
      testCase('conditions', gate.text, holds ? { message: what, text: what } : undefined),
    ),
    ...added.map((one) =>
      testCase(one.analysis, title(one), {
        message: one.reported.finding.what,
        text: describe(one),
      }),
    ),
    ...kept.map((one) => testCase(one.analysis, title(one))),
  ];
  const failures = added.length + gates.filter(({ holds }) => holds).length;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<testsuites>',
    `<testsuite name="${escapeXml(name)}" tests="${cases.length}" failures="${failures}" errors="0">`,
    ...cases,
    '</testsuite>',
    '</testsuites>',
  ].join('\n');
}

function testCase(
  group: string,
  name: string,
  failure?: { message: string; text: string },
): string {
  const head = `<testcase classname="${escapeXml(group)}" name="${escapeXml(name)}"`;
  if (!failure) return `${head}/>`;
  return `${head}><failure message="${escapeXml(failure.message)}">${escapeXml(failure.text)}</failure></testcase>`;
}

/** Workflow commands: an error at each new finding's line, and one for each condition that holds. */
export function annotations(
  added: readonly ComparedFinding[],
  gates: readonly JudgedGate[],
  root: string,
): string {
  const lines = added.map((one) => {
    const { finding, stacks } = one.reported;
    const frame = stacks[0] && ownFrame(stacks[0]);
    const place = frame?.file
      ? `file=${escapeProperty(sourcePath(frame, root))},line=${Math.max(frame.line, 1)},`
      : '';
    return `::error ${place}title=${escapeProperty(finding.kind)}::${escapeData(describe(one))}`;
  });
  for (const { gate, holds, what } of gates)
    if (holds) lines.push(`::error title=${escapeProperty(gate.text)}::${escapeData(what)}`);
  return lines.join('\n');
}

/** Kind, function and fingerprint: the name of a test must stay the same, and be the only one. */
function title({ reported: { finding, stacks }, fingerprint }: ComparedFinding): string {
  const frame = stacks[0] && ownFrame(stacks[0]);
  return `${finding.kind}${frame?.fn ? ` in ${frame.fn}` : ''} [${fingerprint}]`;
}

const describe = ({ reported: { finding, stacks } }: ComparedFinding): string =>
  [finding.what, ...finding.notes, ...stacks.flatMap(stackLines)].join('\n');

const escapeData = (text: string): string =>
  text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
const escapeProperty = (text: string): string =>
  escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
