/** Whether things of one origin become more and more, from when each was there. */

import { UserError } from '../../schemas/errors.js';
import type { OptionValues } from '../analysis.js';

/** Time is looked at in so many parts. */
const PARTS = 8;
/** In at least so many of them there are more at the end than at the beginning. */
const RISING_PARTS = 6;

/** From how many on growth is reported, by an option's value: a number, or no. Throws UserError. */
export function growthLimit(options: OptionValues, name: string): number {
  const limit = options[name] ?? 'no';
  if (limit === 'no') return Infinity;
  if (!/^[1-9]\d{0,6}$/.test(limit))
    throw new UserError(`--${name} takes a number or no, not "${limit}".`);
  return Number(limit);
}

export interface Life {
  readonly from: number;
  /** Infinity when it does not end. */
  readonly to: number;
}

/** Things that were made at the same place, of which there were more and more. */
export interface Growth<T> {
  readonly last: T;
  /** How many were there after each eighth of the time since the first. */
  readonly counts: readonly number[];
}

/**
 * Places at which things are made that become more and more: those with `limit` of them at the end.
 * @param siteOf - key of the place at which one was made
 * @param things - in order of their beginning
 * @param end - tick of the end
 */
export function* growths<T>(
  things: readonly T[],
  siteOf: (thing: T) => string,
  lifeOf: (thing: T) => Life,
  end: number,
  limit: number,
): Generator<Growth<T>> {
  const bySite = new Map<string, T[]>();
  for (const thing of things) {
    const site = siteOf(thing);
    const known = bySite.get(site);
    if (known) known.push(thing);
    else bySite.set(site, [thing]);
  }
  for (const made of bySite.values()) {
    const counts = grows(made.map(lifeOf), end, limit);
    if (counts) yield { last: made.at(-1)!, counts };
  }
}

/**
 * How many were there after each eighth of the time from the first one's beginning to the end, if there are never
 * fewer than before, in six of them more, and at the end at least `limit`; else undefined. So what a program opens at its
 * start, and keeps, does not count.
 * @param lives - in order of their beginning
 */
export function grows(
  lives: readonly Life[],
  end: number,
  limit: number,
): readonly number[] | undefined {
  if (lives.length < limit) return undefined;
  const start = lives[0]!.from;
  const counts = Array.from({ length: PARTS }, (_, part) => {
    const time = part === PARTS - 1 ? end : start + ((end - start) * (part + 1)) / PARTS;
    return lives.filter(({ from, to }) => from <= time && to > time).length;
  });
  const rises = counts.filter((count, i) => count > (counts[i - 1] ?? 0)).length;
  const falls = counts.some((count, i) => count < (counts[i - 1] ?? 0));
  return !falls && rises >= RISING_PARTS && counts.at(-1)! >= limit ? counts : undefined;
}
