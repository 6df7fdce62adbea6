/** Conditions on the difference of two runs, such as `instructions>+2%`, under which `grind diff` fails. */
import { UserError } from '../schemas/errors.js';
import { formatCount } from '../schemas/numbers.js';
import { otherImages, type BehaviourDiff } from './diff-behaviour.js';
import type { Change } from './diff-costs.js';

export interface Gate {
  /** As the user wrote it. */
  readonly text: string;
  /** `new-findings`, `behaviour`, or the name of a figure. */
  readonly name: string;
  /** What the figure may grow by: in percent, or in its own unit. */
  readonly most: number;
  readonly isPercent: boolean;
}

export interface JudgedGate {
  readonly gate: Gate;
  readonly holds: boolean;
  /** What was compared, in a sentence. */
  readonly what: string;
}

export const NEW_FINDINGS = 'new-findings';
/** Process images that did something else. */
export const BEHAVIOUR = 'behaviour';

/** Parses conditions separated by commas. Throws UserError for what is none. */
export function parseGates(text: string): Gate[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const found = /^([a-z0-9-]+)(?:>\+?(\d+(?:\.\d+)?)(%?))?$/.exec(part);
      const [, name, most, percent] = found ?? [];
      const isCount = name === NEW_FINDINGS || name === BEHAVIOUR;
      if (name === undefined || (isCount && percent))
        throw new UserError(
          `--fail-on does not understand "${part}": write new-findings, new-findings>2, instructions>+2% or peak-heap>+4096, separated by commas.`,
        );
      return { text: part, name, most: Number(most ?? 0), isPercent: percent === '%' };
    });
}

/** Whether each condition holds. Throws UserError for the name of a figure that there is none of. */
export function judgeGates(
  gates: readonly Gate[],
  newFindings: number,
  figures: readonly Change[],
  behaviour?: BehaviourDiff,
): JudgedGate[] {
  return gates.map((gate) => {
    if (gate.name === NEW_FINDINGS)
      return {
        ...{ gate, holds: newFindings > gate.most },
        what: `${formatCount(newFindings)} new findings`,
      };
    if (gate.name === BEHAVIOUR && behaviour) {
      const others = otherImages(behaviour);
      return {
        ...{ gate, holds: others > gate.most },
        what: `${formatCount(others)} process images did something else`,
      };
    }
    const figure = figures.find(({ name }) => name === gate.name);
    if (!figure)
      throw new UserError(
        `--fail-on names no figure with "${gate.name}": there are ${[NEW_FINDINGS, BEHAVIOUR, ...figures.map(({ name }) => name)].join(', ')}.`,
      );
    const growth = figure.after - figure.before;
    // Anything is infinitely more than nothing.
    const grown = gate.isPercent ? (growth === 0 ? 0 : (100 * growth) / figure.before) : growth;
    return {
      ...{ gate, holds: grown > gate.most },
      what: `${figure.name} went from ${formatCount(figure.before)} to ${formatCount(figure.after)}`,
    };
  });
}
