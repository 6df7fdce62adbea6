/**
 * Where along the paths of calls a difference of instructions begins: a function that is called otherwise often by a caller
 * that is not accounts for all that it calls, and one that is called as often as before for its own instructions. So each
 * instruction of the difference is told once, and what follows from it is not.
 */
import { basename } from 'node:path';
import type { Report } from '../analyses/report.js';
import { isColumns, type AnalysisColumns, type TextColumn } from '../analyses/finding.js';
import { BELOW_MAIN } from '../replay/symbols.js';
import { call_contexts } from '../schemas/views.js';
import type { Change } from './diff-costs.js';
import { nameInModule } from './renames.js';

/** A function in one calling context, of all threads and processes of a program. */
export interface CallPath {
  /** Empty where it is not known. */
  readonly fn: string;
  readonly module: string;
  calls: number;
  self: number;
  inclusive: number;
  readonly callees: Map<string, CallPath>;
}

/** Costs are instructions: with all callees where the number of calls changed, else of the function itself. */
export interface PathChange extends Change {
  /** Functions, the outermost first. */
  readonly path: readonly string[];
  readonly callsBefore: number;
  readonly callsAfter: number;
}

const newPath = (fn: string, module: string): CallPath => ({
  ...{ fn, module, calls: 0, self: 0, inclusive: 0, callees: new Map<string, CallPath>() },
});

/** @param programs - by number of the process image: what it executed */
export function callPaths(
  reports: readonly Report[],
  programs: ReadonlyMap<number, string>,
): CallPath {
  const root = newPath('', '');
  // The name of the only program says nothing.
  const isOne = new Set(programs.values()).size <= 1;
  for (const part of reports.flatMap(({ tables }) => tables)) {
    if (part.table !== call_contexts || !isColumns(part)) continue;
    const program = programs.get(Number(part.columns['process'])) ?? '';
    addContexts(isOne ? root : below(root, basename(program), program), part);
  }
  return root;
}

/** Functions without a symbol have none, or their address, which other code displaces. */
const NAMELESS = /^(0x[0-9a-f]+)?$/;

function below({ callees }: CallPath, fn: string, module: string): CallPath {
  const key = NAMELESS.test(fn) ? `in ${basename(module)}` : fn;
  let found = callees.get(key);
  if (!found) callees.set(key, (found = newPath(fn, module)));
  return found;
}

function addContexts(root: CallPath, { count, columns }: AnalysisColumns): void {
  const numbers = (name: string) => columns[name] as Uint32Array | Float64Array;
  const text = (name: string): ((row: number) => string) => {
    const { texts, numbers: of } = columns[name] as TextColumn;
    return (row) => texts[of[row]!]!;
  };
  const [parent, calls, self] = [numbers('parent'), numbers('calls'), numbers('self')];
  const [inclusive, fn, module] = [numbers('inclusive'), text('function'), text('module')];
  // What leads to main has names, or none, by chance of what symbols there are.
  const isStart = new Uint8Array(count + 1);
  for (let row = count - 1; row >= 0; row--)
    if (isStart[row + 1] || fn(row) === 'main') isStart[parent[row]!] = 1;
  const paths = [root];
  for (let row = 0; row < count; row++) {
    const path = isStart[row + 1]
      ? below(root, BELOW_MAIN, '')
      : below(paths[parent[row]!]!, fn(row), module(row));
    paths.push(path);
    path.self += self[row]!;
    if (isStart[row + 1] && parent[row] !== 0) continue; // it is within its caller
    path.calls += calls[row]!;
    path.inclusive += inclusive[row]!;
  }
}

/** How often functions were called, by their names with modules. */
function callsOf(root: CallPath): Map<string, number> {
  const calls = new Map<string, number>();
  const add = (path: CallPath): void => {
    const name = nameInModule(path.fn, basename(path.module));
    calls.set(name, (calls.get(name) ?? 0) + path.calls);
    for (const callee of path.callees.values()) add(callee);
  };
  for (const path of root.callees.values()) add(path);
  return calls;
}

/** A run's calls, and its object files: their build ids by path. */
export interface Called {
  readonly paths: CallPath;
  readonly modules: Readonly<Record<string, string>>;
}

/**
 * Marks functions whose code is the same in both runs and that were called equally often: they were given other arguments,
 * or memory lies elsewhere, on which the C library's work on strings depends.
 */
export function markSameCode(
  changes: readonly Change[],
  before: Called,
  after: Called,
): readonly Change[] {
  const callsBefore = callsOf(before.paths);
  const callsAfter = callsOf(after.paths);
  const ids = ({ modules }: Called): ReadonlyMap<string, string> =>
    new Map(Object.entries(modules).map(([path, id]) => [basename(path), id]));
  const idsBefore = ids(before);
  const idsAfter = ids(after);
  return changes.map((change) => {
    const { name } = change;
    const module = name.slice(name.lastIndexOf(' in ') + ' in '.length);
    const id = idsBefore.get(module);
    const calls = callsBefore.get(name) ?? 0;
    const isSameCode =
      id !== undefined &&
      id === idsAfter.get(module) &&
      calls > 0 &&
      calls === callsAfter.get(name);
    return isSameCode ? { ...change, isSameCode } : change;
  });
}

/**
 * The places where differences begin, the largest first; they add up to the difference of the runs.
 * @param renamed - new names of functions by those of the first run
 */
export function pathChanges(
  before: CallPath,
  after: CallPath,
  renamed: ReadonlyMap<string, string>,
): PathChange[] {
  const found: PathChange[] = [];
  const add = (path: readonly string[], old: CallPath, now: CallPath, isSelf: boolean): void => {
    const [was, is] = isSelf ? [old.self, now.self] : [old.inclusive, now.inclusive];
    if (was === is) return;
    found.push({
      ...{ name: pathText(path, old.calls, now.calls), before: was, after: is },
      ...{ path, callsBefore: old.calls, callsAfter: now.calls },
    });
  };
  const walk = (path: readonly string[], old: CallPath, now: CallPath): void => {
    const others = new Map([...old.callees].map(([key, one]) => [renamed.get(key) ?? key, one]));
    for (const key of new Set([...others.keys(), ...now.callees.keys()])) {
      const [first, second] = [others.get(key), now.callees.get(key)];
      const [a, b] = [first ?? newPath('', ''), second ?? newPath('', '')];
      const here = [...path, key];
      const isSelf = first !== undefined && second !== undefined && a.calls === b.calls;
      add(here, a, b, isSelf);
      if (isSelf) walk(here, a, b);
    }
  };
  walk([], before, after);
  return found.sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before));
}

/** Functions at the end of a path that are shown. */
const SHOWN_FUNCTIONS = 5;

function pathText(path: readonly string[], before: number, after: number): string {
  // What is below main is the same in all programs.
  const shown = path.slice(Math.max(path.indexOf('main'), 0));
  const cut =
    shown.length > SHOWN_FUNCTIONS ? [shown[0]!, '…', ...shown.slice(1 - SHOWN_FUNCTIONS)] : shown;
  const how = before === after ? 'itself' : `${before} → ${after} calls`;
  return `${cut.join(' > ')} (${how})`;
}
