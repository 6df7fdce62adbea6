/**
 * Functions that have another name in the second run: those that are in one run only, and of whose lines that ran most are
 * lines of the other by the difference of the sources; and those that are in another object file under the same name.
 */
import type { SourceChanges } from './source-changes.js';

/** What a function of an object file executed on a source line. */
export interface LineCost {
  readonly function: string;
  /** File name of the object file. */
  readonly module: string;
  /** From the root of the repository, or else absolute or as far as it is known. */
  readonly path: string;
  readonly line: number;
  readonly instructions: number;
}

/** How functions are named for people, where their object file matters. */
export const nameInModule = (fn: string, module: string): string =>
  `${fn || '(unknown)'} in ${module || '?'}`;

/** New names by old ones. */
export interface Renames {
  /** As `nameInModule` has them. */
  readonly inModules: ReadonlyMap<string, string>;
  /** Names alone. */
  readonly functions: ReadonlyMap<string, string>;
}

interface Side {
  readonly name: string;
  readonly module: string;
  readonly lines: Set<string>;
}

/** @param changes - undefined where they are not known */
export function renamedFunctions(
  before: readonly LineCost[],
  after: readonly LineCost[],
  changes: SourceChanges | undefined,
): Renames {
  const [first, second] = [byFunction(before), byFunction(after)];
  const gone = [...first].filter(([key]) => !second.has(key));
  const come = [...second].filter(([key]) => !first.has(key));
  const owners = new Map<string, string[]>();
  for (const [key, { lines }] of come)
    for (const line of lines) owners.set(line, [...(owners.get(line) ?? []), key]);
  const pairs: { from: string; to: string; count: number }[] = [];
  for (const [from, { lines }] of gone) {
    const counts = new Map<string, number>();
    for (const line of lines) {
      const at = line.lastIndexOf(':');
      const place = { path: line.slice(0, at), line: Number(line.slice(at + 1)) };
      const now = changes?.mapped(place);
      if (!now || now.isChanged) continue;
      for (const to of owners.get(`${now.path}:${now.line}`) ?? [])
        counts.set(to, (counts.get(to) ?? 0) + 1);
    }
    for (const [to, count] of counts)
      if (2 * count >= lines.size && 2 * count >= second.get(to)!.lines.size)
        pairs.push({ from, to, count });
  }
  pairs.sort((a, b) => b.count - a.count);
  const inModules = new Map<string, string>();
  const taken = new Set<string>();
  const add = (from: string, to: string): void => {
    if (inModules.has(from) || taken.has(to)) return;
    inModules.set(from, to);
    taken.add(to);
  };
  for (const { from, to } of pairs) add(from, to);
  const left = come.filter(([key]) => !taken.has(key));
  for (const [from, { name }] of gone) {
    if (!name) continue;
    const [only, ...others] = left.filter(([, side]) => side.name === name);
    if (only && others.length === 0) add(from, only[0]);
  }
  const functions = new Map<string, string>();
  for (const [from, to] of inModules) {
    const [old, now] = [first.get(from)!.name, second.get(to)!.name];
    if (old !== now) functions.set(old, now);
  }
  return { inModules, functions };
}

/** Lines as `path:line`, of functions by their names for people. */
function byFunction(costs: readonly LineCost[]): Map<string, Side> {
  const sides = new Map<string, Side>();
  for (const { function: name, module, path, line } of costs) {
    const key = nameInModule(name, module);
    let side = sides.get(key);
    if (!side) sides.set(key, (side = { name, module, lines: new Set() }));
    if (line > 0) side.lines.add(`${path}:${line}`);
  }
  return sides;
}
