/**
 * The module for Node that runs threaded code (`native/engine.c`): built once by the C compiler, which is here
 * because recording needs it, into the package's build folder. Runnable as a script, which only builds it:
 * `node dist/replay/native.js`. Without it blocks are compiled before they run.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decompressBlocksBy } from '../schemas/lz4.js';
import { buildFolders, PACKAGE_FOLDER } from '../schemas/build-folders.js';
import { useNativeRows } from './rows.js';

/** A replay in a linear memory, as the module knows it. */
export type NativeReplay = object;

/** Events that the module applies, as it knows them. */
export type NativeEvents = object;

/** Misses in heap blocks, as the module knows them. */
export type NativeMisses = object;

/** An access history of race, as the module knows it. */
export type NativeHistory = object;

/** The waiting of loads, as the module knows it. */
export type NativeWaiting = object;

/** What `native/engine.c` exports; the comments are there. */
export interface NativeEngine {
  readonly operations: readonly string[];
  attach(memory: Uint8Array): NativeReplay | undefined;
  release(replay: NativeReplay): void;
  isAt(replay: NativeReplay, memory: Uint8Array): number;
  translate(
    replay: NativeReplay,
    inOut: Uint32Array,
    operations: Uint16Array,
    ir: Uint8Array,
    notes: Uint32Array,
  ): number;
  warm(
    replay: NativeReplay,
    starts: Uint32Array,
    count: number,
    executions: number,
    found: Uint32Array,
  ): number;
  makeEvents(words: Uint32Array): NativeEvents;
  bindEvents(
    quick: NativeEvents,
    table: number,
    count: number,
    events: BigUint64Array | undefined,
    ticks: BigUint64Array | undefined,
  ): void;
  bindRegisters(
    quick: NativeEvents,
    count: number,
    threads: Uint32Array,
    offsets: Int32Array,
    changes: Uint8Array,
  ): void;
  bindHeap(
    quick: NativeEvents,
    count: number,
    ops: Uint8Array,
    addresses: BigUint64Array,
    sizes: BigUint64Array,
    previous: BigUint64Array,
    previousSizes: BigUint64Array,
    stacks: Uint32Array,
    known: Uint8Array,
  ): void;
  bindBlocks(quick: NativeEvents, count: number, ahead: Uint32Array, codes: Uint32Array): void;
  bindMisses(quick: NativeEvents, misses: NativeMisses): void;
  proceed(
    quick: NativeEvents,
    replay: NativeReplay,
    barrier: number,
    slot: number,
    functions: readonly unknown[],
  ): number;
  decompress(block: Uint8Array, out: Uint8Array): boolean;
  makeMisses(): NativeMisses;
  bindSiteKinds(misses: NativeMisses, kinds: Uint8Array, counting: number): void;
  takeMisses(misses: NativeMisses, memory: Uint8Array): void;
  callHeap(
    misses: NativeMisses,
    memory: Uint8Array,
    how: number,
    address: number,
    size: number,
    previous: number,
    owner: number,
  ): void;
  missesFound(misses: NativeMisses, keys: Float64Array, counts: Float64Array): number;
  makeHistory(): NativeHistory;
  bindPages(history: NativeHistory, state: Int32Array, keys: Float64Array, pages: Int32Array): void;
  bindRecords(
    history: NativeHistory,
    heads: Int32Array,
    records: Int32Array,
    replaced: Int32Array,
  ): void;
  bindSites(
    history: NativeHistory,
    kinds: Uint8Array,
    sizes: Uint16Array,
    stores: Uint8Array,
  ): void;
  bindThread(
    history: NativeHistory,
    seen: Uint32Array,
    needs: Float64Array,
    reads: Uint32Array,
  ): void;
  takeReferences(tables: readonly ArrayBufferView[], from: number, to: number): number;
  bindOperations(
    history: NativeHistory,
    firsts: Int32Array,
    rows: Float64Array,
    ends: Float64Array,
    sections: Float64Array,
  ): void;
  takeAccesses(
    history: NativeHistory,
    replay: NativeReplay | undefined,
    from: number,
    count: number,
  ): number;
  bindBatch(
    history: NativeHistory,
    ticks: Uint32Array,
    sites: Uint32Array,
    addresses: Uint32Array,
    count: number,
  ): boolean;
  setAside(history: NativeHistory, replay: NativeReplay, from: number, count: number): boolean;
  endTaking(history: NativeHistory): number;
  makeWaiting(): NativeWaiting;
  bindWaiting(
    waiting: NativeWaiting,
    state: Float64Array,
    watched: Int32Array,
    loads: Uint8Array,
    entries: Float64Array,
  ): void;
  bindRoles(waiting: NativeWaiting, roles: Int32Array, stores: Uint8Array): void;
  takeWaiting(waiting: NativeWaiting, replay: NativeReplay, from: number, count: number): number;
  run(replay: NativeReplay, slot: number, functions: readonly unknown[]): number;
  groupRows(tables: Tables, columnCount: number, count: number): number;
  fillSlots(tables: Tables): void;
  findRows(tables: Tables): void;
  sumRows(tables: Tables, width: number, count: number): void;
  takeColumn(tables: Tables, width: number, which: number): void;
  putTexts(tables: Tables): number;
  numberSites(tables: Tables, count: number): number;
  addSites(tables: Tables, count: number, width: number): void;
}

type Tables = readonly (ArrayBufferView | undefined)[];

const FILE = 'engine.node';
/** As the script's argument: to print the digest, and not to build. */
const DIGEST_ONLY = 'digest';
const SOURCES = [
  ...['engine.c', 'events.h', 'heap-misses.h', 'history.h', 'lz4.h', 'machine-code.h'],
  ...['reuse.h', 'rows.h'],
  ...['stencils.c', 'takers.h', 'translate.h', 'waiting.h', 'wasm.h'],
];
const MODULE_FLAGS = ['-O2', '-std=gnu99', '-fPIC', '-pthread', '-fvisibility=hidden', '-shared'];
const STENCIL_FLAGS = [
  ...[
    '-c',
    '-O2',
    '-std=gnu99',
    '-Werror=implicit-function-declaration',
    '-fno-strict-aliasing',
    '-fwrapv',
  ],
  ...[
    '-ffp-contract=off',
    '-fno-math-errno',
    '-fno-stack-protector',
    '-fomit-frame-pointer',
    '-mno-red-zone',
  ],
  ...['-fno-pic', '-fno-pie', '-mcmodel=small', '-fcf-protection=none'],
  ...[
    '-ffunction-sections',
    '-fno-inline-functions-called-once',
    '-fno-ipa-icf',
    '-fno-jump-tables',
    '-fno-tree-slp-vectorize',
    '-fno-reorder-blocks-and-partition',
  ],
  ...['-fno-asynchronous-unwind-tables', '-fno-exceptions'],
];

const HERE = dirname(fileURLToPath(import.meta.url));
const SOURCE_FOLDER = join(PACKAGE_FOLDER, 'replay', 'native');

/** Stands for the sources and for the code that generates the rest. */
function digest(): string {
  const modules = readdirSync(HERE).filter((name) => name.endsWith('.js'));
  const hash = createHash('sha256').update([MODULE_FLAGS, STENCIL_FLAGS].join());
  for (const name of SOURCES) hash.update(readFileSync(join(SOURCE_FOLDER, name)));
  for (const name of modules.sort()) hash.update(readFileSync(join(HERE, name)));
  return hash.digest('hex').slice(0, 16);
}

const buildRoots = (): string[] => buildFolders().map((folder) => join(folder, 'replay'));

/** The path of the module that has this digest, if it has been built. */
function findBuilt(name: string): string | undefined {
  return buildRoots()
    .map((root) => join(root, name, FILE))
    .find((path) => existsSync(path));
}

/** Builds the module in a process of its own, as this one needs it before it can wait; returns its path. */
function buildApart(): string {
  return execFileSync(process.execPath, [fileURLToPath(import.meta.url)], {
    ...{ encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  }).trim();
}

/** Builds the module, unless that was done; returns its path. Throws when it cannot be built. */
async function build(): Promise<string> {
  const name = digest();
  const found = findBuilt(name);
  if (found !== undefined) return found;
  const { generateNativeCode } = await import('./native-code.js');
  const { writeStencils } = await import('./stencils.js');
  const code = generateNativeCode();
  let failure: unknown;
  for (const root of buildRoots()) {
    const folder = join(root, `.new-${process.pid}`);
    try {
      mkdirSync(folder, { recursive: true });
      const write = (name: string, text: string) => writeFileSync(join(folder, name), text);
      const compile = (source: string, to: string, flags: readonly string[]): void => {
        const folders = ['-I', folder, '-I', SOURCE_FOLDER];
        const files = ['-o', join(folder, to), join(SOURCE_FOLDER, source), '-lm'];
        execFileSync('gcc', [...flags, ...folders, ...files], {
          stdio: ['ignore', 'ignore', 'pipe'],
        });
      };
      write('constants.h', code.constants);
      write('stencils.h', code.stencils);
      write('tables.h', code.tables);
      compile('stencils.c', 'stencils.o', STENCIL_FLAGS);
      const object = readFileSync(join(folder, 'stencils.o'));
      write('stencil-tables.h', writeStencils(object, code.stencilCount));
      compile('engine.c', FILE, MODULE_FLAGS);
      mkdirSync(join(root, name), { recursive: true });
      renameSync(join(folder, FILE), join(root, name, FILE));
      for (const old of readdirSync(root))
        if (old !== name && !old.startsWith('.'))
          rmSync(join(root, old), { recursive: true, force: true });
      return join(root, name, FILE);
    } catch (error) {
      failure = error;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  throw failure;
}

/** In a bundle, what `digest` was when that was made (bin/bundle.ts): to read all sources takes longer than loading the module. */
declare const NATIVE_DIGEST: string | undefined;

function load(): NativeEngine | undefined {
  try {
    const known = typeof NATIVE_DIGEST === 'string' ? findBuilt(NATIVE_DIGEST) : undefined;
    const path = known ?? findBuilt(digest()) ?? buildApart();
    return createRequire(import.meta.url)(path) as NativeEngine;
  } catch {
    return undefined;
  }
}

const isScript = process.argv[1] && existsSync(process.argv[1]) && realpathSync(process.argv[1]);
const isBuilder = isScript === fileURLToPath(import.meta.url);
if (isBuilder && process.argv[2] === DIGEST_ONLY) console.log(digest());
else if (isBuilder) void build().then(console.log);

/** Undefined where it cannot be built. */
export const nativeEngine = isBuilder ? undefined : load();
if (nativeEngine) {
  useNativeRows(nativeEngine);
  decompressBlocksBy((block, out) => nativeEngine.decompress(block, out));
}
