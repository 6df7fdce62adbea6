/** The difference of two runs as text, as Markdown for a comment on a change, and as JSON. */
import { frameText, type NamedStack } from '../analyses/report.js';
import type { Manifest } from '../recorder/manifest.js';
import { formatCount } from '../schemas/numbers.js';
import {
  behaviourJson,
  behaviourLines,
  otherImages,
  type BehaviourDiff,
} from './diff-behaviour.js';
import { isPlacement, SPREADS, type Change } from './diff-costs.js';
import type { ComparedFinding, FindingsDiff } from './diff-findings.js';
import type { JudgedGate } from './diff-gates.js';
import type { MappedLine } from './source-changes.js';
import { layOut } from './lay-out.js';

/** One of the two runs. */
export interface Side {
  readonly run: string;
  readonly manifest: Manifest;
}

export interface RunsDiff {
  readonly before: Side;
  readonly after: Side;
  readonly findings: FindingsDiff;
  /** All figures, also those that are the same. */
  readonly figures: readonly Change[];
  /** By key of `SPREADS`: what changed, the largest changes first. */
  readonly spreads: Readonly<Record<(typeof SPREADS)[number]['key'], readonly Change[]>>;
  readonly gates: readonly JudgedGate[];
  /** Absent if it was not compared. */
  readonly behaviour?: BehaviourDiff | undefined;
  /** What could not be judged in either run. */
  readonly missing: readonly string[];
}

/** Whether nothing changed that is compared. */
export const isSame = ({ findings, figures, spreads, behaviour }: RunsDiff): boolean =>
  (!behaviour || otherImages(behaviour) === 0) &&
  findings.added.length + findings.fixed.length === 0 &&
  figures.every(({ before, after }) => before === after) &&
  SPREADS.every(({ key }) => spreads[key].length === 0);

/** @param most - rows of each table that are shown */
export function diffText(diff: RunsDiff, most: number): string {
  const { before, after, findings, figures, spreads, gates, behaviour, missing } = diff;
  const lines = [`from ${sideText(before)}`, `to   ${sideText(after)}`, ''];
  for (const sentence of missing) lines.push(`Not judged: ${sentence}`);
  if (isSame(diff)) lines.push('Nothing changed.', '');
  else {
    lines.push(layOut(['figure', 'before', 'after', 'change'], figures.map(cells)), '');
    lines.push(`Findings: ${countsText(findings)}`, '');
    for (const [title, list] of titled(findings))
      for (const { reported, fingerprint, elsewhere } of list) {
        lines.push(`${title}: ${reported.finding.what} [${fingerprint}]`);
        const [where, ...others] = reported.stacks;
        for (const frame of where?.frames ?? []) lines.push(`   at ${frameText(frame)}`);
        if (elsewhere) lines.push(` The line is ${placeText(elsewhere)} now`);
        for (const note of reported.finding.notes) lines.push(` ${note}`);
        for (const { role, frames } of others)
          lines.push(` ${role}`, ...frames.map((frame) => `   at ${frameText(frame)}`));
        lines.push('');
      }
    for (const { key, title, head } of SPREADS) {
      if (spreads[key].length === 0) continue;
      const shown = spreads[key].slice(0, most);
      lines.push(`${title}${cutText(spreads[key].length, most)}:`);
      lines.push(layOut([head, 'before', 'after', 'change'], shown.map(cells)), '');
    }
  }
  if (behaviour) lines.push('Behaviour:', ...behaviourLines(behaviour), '');
  for (const { gate, holds, what } of gates)
    lines.push(`${holds ? 'FAILED' : 'passed'} ${gate.text}: ${what}`);
  return lines.join('\n').trimEnd();
}

/** GitHub's dialect. */
export function diffMarkdown(diff: RunsDiff, most: number): string {
  const { before, after, findings, figures, spreads, gates, behaviour, missing } = diff;
  const failed = gates.filter(({ holds }) => holds);
  const lines = [`### grind: ${countsText(findings)}`, ''];
  lines.push(`From ${code(sideText(before))} to ${code(sideText(after))}.`, '');
  for (const { gate, what } of failed) lines.push(`- ❌ ${code(gate.text)}: ${what}`);
  for (const { gate, what, holds } of gates)
    if (!holds) lines.push(`- ✅ ${code(gate.text)}: ${what}`);
  for (const sentence of missing) lines.push(`- Not judged: ${escapeMarkdown(sentence)}`);
  if (gates.length + missing.length > 0) lines.push('');
  if (isSame(diff)) return [...lines, 'Nothing changed.', ''].join('\n');
  const changed = figures.filter((figure) => figure.before !== figure.after);
  if (changed.length > 0) lines.push(...markdownTable('figure', changed), '');
  for (const [title, list] of titled(findings)) {
    if (list.length === 0) continue;
    lines.push(`#### ${title}`, '');
    for (const { reported } of list.slice(0, most)) {
      lines.push('<details>', `<summary>${escapeHtml(reported.finding.what)}</summary>`, '', '```');
      lines.push(...reported.stacks.flatMap(stackLines));
      lines.push('```', '</details>', '');
    }
    if (list.length > most) lines.push(`${list.length - most} more.`, '');
  }
  for (const { key, title, head } of SPREADS) {
    if (spreads[key].length === 0) continue;
    lines.push(`<details><summary>${title}${cutText(spreads[key].length, most)}</summary>`, '');
    lines.push(...markdownTable(head, spreads[key].slice(0, most)), '', '</details>', '');
  }
  if (behaviour && otherImages(behaviour) > 0) {
    lines.push('<details><summary>Where the executions part</summary>', '', '```');
    lines.push(...behaviourLines(behaviour), '```', '</details>', '');
  }
  return lines.join('\n');
}

export function diffJson(diff: RunsDiff) {
  const { before, after, findings, figures, spreads, gates, behaviour, missing } = diff;
  const side = ({ run, manifest: { git, argv, started } }: Side) => ({
    ...{ run, argv, started },
    ...(git && { commit: git.commit, dirty: git.dirty }),
  });
  const list = (all: readonly ComparedFinding[]) =>
    all.map(({ analysis, fingerprint, elsewhere, reported: { finding, stacks } }) => ({
      ...{ analysis, fingerprint, kind: finding.kind, what: finding.what, count: finding.count },
      ...(elsewhere && { elsewhere }),
      stacks: stacks.map(({ role, frames }) => ({
        role,
        frames: frames.map(({ fn, file, line, module }) => ({ function: fn, file, line, module })),
      })),
    }));
  return {
    before: side(before),
    after: side(after),
    new: list(findings.added),
    fixed: list(findings.fixed),
    kept: list(findings.kept),
    figures: figures.map(changeJson),
    ...Object.fromEntries(SPREADS.map(({ key }) => [key, spreads[key].map(changeJson)])),
    gates: gates.map(({ gate, holds, what }) => ({ gate: gate.text, failed: holds, what })),
    ...(behaviour && { behaviour: behaviourJson(behaviour) }),
    missing,
  };
}

const changeJson = (change: Change): object => ({
  ...change,
  ...(change.placements && { isWithinPlacements: isPlacement(change) }),
});

/** The stack's part in the finding, and its frames. */
export const stackLines = ({ role, frames }: NamedStack): string[] => [
  ...(role ? [role] : []),
  ...frames.map((frame) => `  at ${frameText(frame)}`),
];

const titled = ({ added, fixed }: FindingsDiff): [string, readonly ComparedFinding[]][] => [
  ['New', added],
  ['Fixed', fixed],
];

const countsText = ({ added, fixed, kept }: FindingsDiff): string =>
  `${added.length} new, ${fixed.length} fixed, ${kept.length} still there`;

const cutText = (count: number, most: number): string =>
  count > most ? `, the ${most} largest changes of ${formatCount(count)}` : '';

function sideText({ run, manifest: { git } }: Side): string {
  return git ? `${run} (${git.commit.slice(0, 12)}${git.dirty ? ', with changes' : ''})` : run;
}

const placeText = ({ path, line, isChanged }: MappedLine): string =>
  `${path}:${line}${isChanged ? ', changed' : ''}`;

const cells = (change: Change): string[] => [
  change.was === undefined ? change.name : `${change.name} (was ${change.was})`,
  formatCount(change.before),
  formatCount(change.after),
  changeText(change.before, change.after) +
    (isPlacement(change) && change.before !== change.after ? ', as placement alone can' : '') +
    (change.isSameCode ? ', of the same code, called as often' : ''),
];

/** Such as `+1,234 (+2.5 %)`; empty when there is none. */
function changeText(before: number, after: number): string {
  if (before === after) return '';
  const sign = after > before ? '+' : '-';
  const amount = `${sign}${formatCount(Math.abs(after - before))}`;
  if (before === 0) return amount;
  const percent = Math.abs((100 * (after - before)) / before);
  return `${amount} (${sign}${percent < 10 ? Number(percent.toPrecision(2)) : Math.round(percent)} %)`;
}

const markdownTable = (head: string, rows: readonly Change[]): string[] => [
  `| ${head} | before | after | change |`,
  '| --- | ---: | ---: | ---: |',
  ...rows.map((row) => `| ${cells(row).map(escapeMarkdown).join(' | ')} |`),
];

const escapeMarkdown = (text: string): string => text.replace(/[\\`*_{}[\]<>|~]/g, '\\$&');
const escapeHtml = (text: string): string =>
  text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
const code = (text: string): string => `\`${text}\``;
