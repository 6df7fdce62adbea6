/** The runs of a folder, and how sizes and numbers are shown. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { readManifest, type Manifest } from '../recorder/manifest.js';

/** Where runs are kept, under the current folder, unless --out says otherwise. */
export const RUNS_FOLDER = '.grind';

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
    const isRun = ['manifest.json', 'spool'].some((name) => existsSync(join(folder, name)));
    if (!entry.isDirectory() || !isRun) return [];
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

/** A size for people: `12.3 MB`. */
export function formatSize(sizeBytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = sizeBytes;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 || size >= 99.5 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** A number with its thousands set apart. */
export function formatCount(count: number | bigint): string {
  return count.toLocaleString('en-US');
}

/** `SIGSEGV` and the like. */
export function signalName(signal: number): string {
  const name = Object.entries(constants.signals).find(([, number]) => number === signal)?.[0];
  return name ?? `signal ${signal}`;
}

/** How a run's program ended: its status, or the signal that killed it. */
export function formatExit({ signal, exitStatus }: Manifest): string {
  if (signal !== null) return signalName(signal);
  return exitStatus === null ? 'not known' : String(exitStatus);
}
