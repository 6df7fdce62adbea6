/** manifest.json: what is known of a run as a whole. It appears last, so a run with one is complete. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PACKAGE_FOLDER } from '../schemas/build-folders.js';
import type { ToolBuild } from './build.js';
import { buildId } from './elf.js';
import type { TableSize } from './run-writer.js';

const run = promisify(execFile);
const HASH_CHUNK_BYTES = 256 << 10;

/** What is known when the recording begins; kept beside the spool until the run is complete. */
export interface RunDescription {
  readonly name: string;
  /** The guest's argv. */
  readonly argv: readonly string[];
  readonly directory: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly executable: {
    readonly path: string;
    readonly buildId: string | null;
    readonly sha256?: string;
  };
  /** Of the folder: its commit, whether tracked files differ from it (see CHANGES_FILE), and the repository's root. */
  readonly git?: { readonly commit: string; readonly dirty: boolean; readonly root?: string };
  /** Where the revision was checked out for this run, and `FOLDER: COMMAND` of what built it, if anything did. */
  readonly checkout?: { readonly root: string; readonly build: string | null };
  /** Name of the command in the project file. */
  readonly scenario?: string;
  readonly versions: {
    readonly grind: string;
    readonly engine: string;
    readonly node: string;
    readonly kernel: string;
  };
  /** ISO time. */
  readonly started: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly guest: {
    readonly stateSize: number;
    readonly registers: Readonly<Record<string, number>>;
  };
}

export interface Manifest extends RunDescription {
  /** FORMAT_VERSION of the writer. */
  readonly format: number;
  /** `cut_off`: the recording did not see the end of the program, or could not store all of it. */
  readonly status: 'complete' | 'cut_off';
  readonly ended: string;
  /** Null when the program was killed by a signal, or its end was not seen. */
  readonly exitStatus: number | null;
  /** Number of the signal that killed the program, or null. */
  readonly signal: number | null;
  /** Process images. */
  readonly processes: number;
  /** Guest instructions of all processes. */
  readonly instructions: number;
  readonly tables: Readonly<Record<string, TableSize>>;
  /** Build-id of each object file that has one, by path. */
  readonly modules: Readonly<Record<string, string>>;
}

/** Moves the manifest into place: from then on the run is complete. */
export function writeManifest(folder: string, manifest: Manifest): void {
  const draft = join(folder, 'manifest.json.new');
  writeFileSync(draft, JSON.stringify(manifest, null, 1) + '\n');
  renameSync(draft, join(folder, 'manifest.json'));
}

export function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Manifest;
}

export function versions(build: ToolBuild): RunDescription['versions'] {
  return {
    ...{ grind: ownVersion(), engine: build.engineVersion },
    ...{ node: process.version, kernel: release() },
  };
}

/** The version of grind. */
export function ownVersion(): string {
  const text = readFileSync(join(PACKAGE_FOLDER, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Names that usually hold secrets are left out unless the user says otherwise. */
export const DEFAULT_EXCLUDED = [
  '*SECRET*',
  '*TOKEN*',
  '*PASSWORD*',
  '*PASSWD*',
  '*PASSPHRASE*',
  '*CREDENTIAL*',
  '*KEY*',
  '*COOKIE*',
  '*AUTH*',
];

/** The environment without the names that match one of the patterns (`*` stands for any text; case does not count). */
export function filterEnvironment(
  environment: NodeJS.ProcessEnv,
  excluded: readonly string[],
): Record<string, string> {
  const patterns = excluded.map((pattern) => {
    const source = pattern.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    return new RegExp(`^${source.join('.*')}$`, 'i');
  });
  const kept = Object.entries(environment).filter(
    ([name]) => !patterns.some((pattern) => pattern.test(name)),
  );
  return Object.fromEntries(kept) as Record<string, string>;
}

/** In a run's folder: what the working tree had besides its commit, as git writes differences. */
export const CHANGES_FILE = 'changes.diff';
/** Larger changes than this are not kept. */
const MOST_CHANGES_CHARACTERS = 16 << 20;

/** Arguments for git that make a difference be written for programs, whatever the user's settings are. */
export const DIFF_OPTIONS = [
  ...[
    '-c',
    'core.quotePath=false',
    '-c',
    'diff.relative=false',
    'diff',
    '--find-renames',
    '--unified=0',
    '--no-color',
  ],
  ...['--no-ext-diff', '--no-textconv', '--src-prefix=a/', '--dst-prefix=b/'],
];

export interface GitState {
  readonly git: RunDescription['git'];
  /** What is not committed; undefined when there is nothing or too much. */
  readonly changes?: string;
}

/** Keeps the changes with a run, if there is room for them. */
export function keepChanges(folder: string, state: GitState | undefined): void {
  if (state?.changes === undefined) return;
  const path = join(folder, CHANGES_FILE);
  try {
    writeFileSync(path, state.changes);
  } catch {
    rmSync(path, { force: true }); // the run itself is worth more
  }
}

/** The git commit of a folder and how tracked files differ from it; undefined outside of a repository. */
export async function gitState(folder: string): Promise<GitState | undefined> {
  let root = folder;
  while (!existsSync(join(root, '.git'))) {
    if (root === dirname(root)) return undefined;
    root = dirname(root);
  }
  const git = async (...args: string[]): Promise<string> => {
    const env = { ...process.env, GIT_OPTIONAL_LOCKS: '0' };
    return (await run('git', args, { cwd: folder, env, maxBuffer: 64 << 20 })).stdout;
  };
  try {
    const status = await git('status', '--porcelain=v2', '--branch', '--untracked-files=no');
    const commit = /^# branch\.oid ([0-9a-f]+)$/m.exec(status)?.[1];
    if (commit === undefined) return undefined;
    const dirty = /^[^#]/m.test(status);
    const changes = dirty ? await git(...DIFF_OPTIONS, 'HEAD').catch(() => '') : '';
    return {
      git: { commit, dirty, root },
      ...(changes !== '' && changes.length <= MOST_CHANGES_CHARACTERS && { changes }),
    };
  } catch {
    return undefined; // no git, or not a repository that it likes
  }
}

/** SHA-256 of a file in hexadecimal; undefined when it cannot be read. */
export function sha256(path: string): string | undefined {
  const hash = createHash('sha256');
  try {
    const fd = openSync(path, 'r');
    try {
      const buffer = Buffer.allocUnsafe(HASH_CHUNK_BYTES);
      let size: number;
      while ((size = readSync(fd, buffer, 0, buffer.length, null)) > 0)
        hash.update(buffer.subarray(0, size));
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
  return hash.digest('hex');
}

export function moduleBuildIds(paths: Iterable<string>): Record<string, string> {
  const ids: Record<string, string> = {};
  for (const path of new Set(paths)) {
    const id = buildId(path);
    if (id) ids[path] = id;
  }
  return ids;
}
