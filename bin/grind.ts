#!/usr/bin/env node
/**
 * Starts the command line, command-line.ts. It runs from one file that holds all modules (bundle.ts), together with what V8
 * compiled of it in an earlier run of the same command: finding, reading and compiling modules takes longer than many
 * commands. Where there is no such file, the modules themselves run.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedDataVersionTag } from 'node:v8';
import { Script } from 'node:vm';
import { buildFolders } from '../schemas/build-folders.js';
import type { commandLine } from './command-line.js';

const HERE = dirname(fileURLToPath(import.meta.url));
/** Of the bundle. bundle.ts fills it in here, and compiling empties it, so that a bundle older than the modules is left alone. */
const HASH = '';
const BUNDLE = join(HERE, `command-line.${HASH}.bundle.js`);
/** Files of compiled code, of 1 to 2 MB each, that are kept. */
const MOST_FILES = 32;
const DIGEST_BYTES = 32;

function readBundle(): string | undefined {
  try {
    return readFileSync(BUNDLE, 'latin1'); // which has ASCII only
  } catch {
    return undefined;
  }
}

async function runBundle(source: string): Promise<void> {
  const { command, options } = partsOf(argv);
  // V8 looks at the length of the source only, so its hash is part of the name.
  const name = `${HASH}-${cachedDataVersionTag()}-${command}`;
  const found = readCode(name);
  const script = new Script(source, {
    filename: BUNDLE,
    ...(found && { cachedData: found.code }),
  });
  const known = found && !script.cachedDataRejected ? found.options : undefined;
  const isKnown = known !== undefined && options.every((option) => known.includes(option));
  const load = script.runInThisContext() as Bundle;
  let isDone: boolean | undefined = undefined;
  // At the end, since V8 compiles functions when they are called first. What it had from the file is in it again.
  if (!isKnown)
    process.once('exit', (status) => {
      const all = [...new Set([...(known ?? []), ...options])];
      if (isDone ?? status === 0)
        writeCode(name, { options: all, code: script.createCachedData() });
    });
  const bundled = load(createRequire(import.meta.url), HERE);
  isDone = await bundled.commandLine(argv, {
    keepsFlags: !isKnown,
    importer: (address) => import(address),
  });
}

/** What the bundle's source is: it gives what command-line.ts exports. */
type Bundle = (require: NodeJS.Require, folder: string) => { commandLine: typeof commandLine };

/** What tells which code runs: the command with the analyses, and the names of options. */
function partsOf([command = '', ...rest]: readonly string[]): {
  command: string;
  options: string[];
} {
  const end = rest.indexOf('--');
  const own = end === -1 ? rest : rest.slice(0, end);
  const analyses = command === 'analyze' ? (own[0] ?? '').split(',') : [];
  return {
    command: [command, ...analyses.map((name) => (/[./]/.test(name) ? 'own' : name))]
      .join('-')
      .replaceAll(/[^\w-]/g, '_')
      .slice(0, 100),
    options: own.flatMap((word) => /^--?[\w-]+(?==|$)/.exec(word)?.[0] ?? []),
  };
}

const codeFolders = (): string[] => buildFolders().map((folder) => join(folder, 'code'));

/** A file's content: its digest, a line with the names of options that it is known to be for, and V8's data. */
interface Code {
  readonly options: readonly string[];
  readonly code: Buffer;
}

const digest = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** Compiled code that a run has left. V8 believes all that stands in it, so damage is looked for here. */
function readCode(name: string): Code | undefined {
  for (const folder of codeFolders()) {
    try {
      const file = readFileSync(join(folder, name));
      const content = file.subarray(DIGEST_BYTES);
      if (!digest(content).equals(file.subarray(0, DIGEST_BYTES))) continue;
      const end = content.indexOf('\n');
      const options = content.toString('latin1', 0, end).split(' ');
      return { options, code: content.subarray(end + 1) };
    } catch {
      continue;
    }
  }
  return undefined;
}

/** Leaves compiled code for the next run, where that can be done, and removes what is of no use any more. */
function writeCode(name: string, { options, code }: Code): void {
  const content = Buffer.concat([Buffer.from(`${options.join(' ')}\n`), code]);
  for (const folder of codeFolders()) {
    const unfinished = join(folder, `${HASH}-${process.pid}.new`);
    try {
      mkdirSync(folder, { recursive: true });
      writeFileSync(unfinished, Buffer.concat([digest(content), content]));
      renameSync(unfinished, join(folder, name));
      const files = readdirSync(folder);
      const own = files.filter((file) => file.startsWith(HASH));
      const timeOf = (file: string): number =>
        statSync(join(folder, file), { throwIfNoEntry: false })?.mtimeMs ?? 0;
      const times = new Map(own.map((file) => [file, timeOf(file)]));
      const kept = own.sort((a, b) => times.get(b)! - times.get(a)!).slice(0, MOST_FILES);
      for (const file of files)
        if (!kept.includes(file)) rmSync(join(folder, file), { force: true });
      return;
    } catch {
      if (existsSync(unfinished)) rmSync(unfinished);
    }
  }
}

const argv = process.argv.slice(2);
const bundle = readBundle();
if (bundle === undefined) await (await import('./command-line.js')).commandLine(argv);
else await runBundle(bundle);
