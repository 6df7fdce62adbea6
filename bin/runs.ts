/** The runs of a folder, and how they are shown. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readManifest, type Manifest } from '../recorder/manifest.js';
import type { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { signalName } from '../schemas/syscalls.js';
import { removeCheckout } from './checkout.js';

const MANIFEST = 'manifest.json';

export interface ListedRun {
  readonly name: string;
  readonly folder: string;
  /** Undefined when the run is not complete, or its manifest cannot be read. */
  readonly manifest: Manifest | undefined;
}

/** All runs of a folder, the oldest first. */
export function listRuns(out: string): ListedRun[] {
  if (!existsSync(out)) return [];
  const runs = readdirSync(out, { withFileTypes: true }).flatMap((entry) => {
    const folder = join(out, entry.name);
    if (!entry.isDirectory() || !isRunFolder(folder)) return [];
    let manifest: Manifest | undefined;
    try {
      manifest = readManifest(folder);
    } catch {
      manifest = undefined;
    }
    const started = manifest ? Date.parse(manifest.started) : statSync(folder).birthtimeMs;
    return [{ name: entry.name, folder, manifest, started }];
  });
  return runs.sort((a, b) => a.started - b.started);
}

/** How a run's program ended: its status, or the signal that killed it. */
export function formatExit({ signal, exitStatus }: Manifest): string {
  if (signal !== null) return signalName(signal);
  return exitStatus === null ? 'not known' : String(exitStatus);
}

/** The commit of the folder in which a run was recorded. */
export const formatGit = ({ git }: Manifest): string =>
  git ? `${git.commit}${git.dirty ? ', with changes' : ''}` : 'not in a repository';

/** Bytes of a run's stored tables. */
export const traceBytes = ({ tables }: Manifest): number =>
  Object.values(tables).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

/** A run's whole manifest, of which replay reads only a part. */
export const manifestOf = ({ manifest }: Trace): Manifest => manifest as unknown as Manifest;

/** The numbers of the processes that the user chose; all if none were. Throws UserError when the run lacks one. */
export function chosenProcesses(trace: Trace, wanted: readonly number[] | undefined): number[] {
  const all = trace.processes.map(({ process }) => process);
  const missing = wanted?.find((process) => !all.includes(process));
  if (missing !== undefined)
    throw new UserError(
      `The run has no process ${missing}: \`grind info\` shows the numbers of its ${all.length}.`,
    );
  return wanted ? all.filter((process) => wanted.includes(process)) : all;
}

/**
 * The folder of the run that the user means; a run whose recorder was cut off is completed first.
 * @param run a run's name, a folder, or a git revision; by default, or as @last, the last run
 * @param out folder that holds the runs
 * @param scenario the one that a revision's run must be of; absent: any
 */
export async function findRun(
  run: string | undefined,
  out: string,
  scenario?: string,
): Promise<string> {
  if (run === undefined || run === '@last') return lastRun(out);
  const folder = [join(out, run), run].find(isRunFolder) ?? runOfRevision(run, out, scenario);
  if (folder === undefined) {
    throw new UserError(`There is no run ${run} in ${out}: \`grind ls\` shows the runs.`);
  }
  if (!existsSync(join(folder, MANIFEST))) await recover(folder);
  return folder;
}

async function lastRun(out: string): Promise<string> {
  const runs = listRuns(out).reverse();
  for (const { folder, manifest } of runs) {
    if (manifest) return folder;
    try {
      await recover(folder);
      return folder;
    } catch (error) {
      // Still being recorded, or of no use: the last one before it is meant.
      if (!(error instanceof UserError)) throw error;
    }
  }
  throw new UserError(`There is no run in ${out}: record one with \`grind record -- PROGRAM\`.`);
}

/** The last run that was recorded at a commit. */
function runOfRevision(
  revision: string,
  out: string,
  scenario: string | undefined,
): string | undefined {
  const commit = commitOf(revision);
  if (commit === undefined) return undefined;
  return listRuns(out).findLast(
    ({ manifest }) =>
      manifest?.git?.commit === commit &&
      (scenario === undefined || manifest.scenario === scenario),
  )?.folder;
}

/** The commit that a revision names in the repository of the current folder; undefined when none does. */
export function commitOf(revision: string): string | undefined {
  if (revision.startsWith('-')) return undefined;
  try {
    return execFileSync('git', ['rev-parse', '--verify', '--quiet', `${revision}^{commit}`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined; // no such revision, no repository, or no git
  }
}

/** Bytes that a run takes on the disk, what was derived from it included. */
export function folderBytes(folder: string): number {
  const entries = readdirSync(folder, { recursive: true }) as string[];
  const all = entries.map((entry) => statSync(join(folder, entry)));
  return all.reduce((sum, entry) => sum + (entry.isFile() ? entry.size : 0), 0);
}

/** Whether a run is still being recorded. */
export async function isUnderWay({ folder, manifest }: ListedRun): Promise<boolean> {
  if (manifest) return false;
  const { isBeingRecorded } = await import('../recorder/record.js');
  return isBeingRecorded(folder);
}

/** Removes a run that is not under way, and the checkout that it was recorded in when no other run of the folder has it. */
export function removeRun({ folder, manifest }: ListedRun): void {
  // What is half removed must not look like a run.
  for (const part of [MANIFEST, 'spool'])
    rmSync(join(folder, part), { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
  const tree = manifest?.checkout;
  const isNeeded = (): boolean =>
    listRuns(dirname(folder)).some((run) => run.manifest?.checkout?.root === tree?.root);
  if (tree && !isNeeded()) removeCheckout(tree);
}

async function recover(folder: string): Promise<void> {
  const { recoverRun } = await import('../recorder/record.js');
  recoverRun(folder);
}

function isRunFolder(folder: string): boolean {
  return [MANIFEST, 'spool'].some((name) => existsSync(join(folder, name)));
}
