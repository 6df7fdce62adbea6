/**
 * Builds the recorder's Valgrind tool against the installed Valgrind, once, into the package's build
 * folder. Runnable as a script: `node dist/recorder/build.js`.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { buildFolders, PACKAGE_FOLDER } from '../schemas/build-folders.js';
import { UserError } from '../schemas/errors.js';
import type { StoredSchemas } from './arrow-file.js';
const run = promisify(execFile);

/** What `build.json` says of a built tool. */
export interface BuildInfo {
  readonly engineVersion: string;
  /** Names of the IR operations by number, without `Iop_`. */
  readonly ops: readonly string[];
  /** Of STORED_TABLES. */
  readonly schemas: StoredSchemas;
  /** Size of the guest state, in bytes. */
  readonly stateSize: number;
  /** Byte offset of each guest register in the guest state. */
  readonly registers: Readonly<Record<string, number>>;
  /** Path of the engine's launcher program (not a wrapper script). */
  readonly launcher: string;
  /** Files that the build was made from; it is made again when one changes. */
  readonly inputs: readonly { path: string; sizeBytes: number; modifiedMs: number }[];
  /** Hash of the modules that say what is built. */
  readonly hash: string;
}

export interface ToolBuild extends BuildInfo {
  /** The folder that holds the tool: the value of VALGRIND_LIB. */
  readonly folder: string;
}

/** Folder, in the build's folder, of what the tool keeps of object files' debug information. */
export const CACHE_FOLDER = 'debuginfo';
export const TOOL_FILE = 'grind-amd64-linux';
/** The engine's own preload libraries, which it looks for under these names. */
const PRELOADS = {
  'vgpreload_core-amd64-linux.so': 'vgpreload_core-amd64-linux.so',
  'vgpreload_grind-amd64-linux.so': 'vgpreload_memcheck-amd64-linux.so',
};
/** Ours, from `tool/preload`: it tells of synchronisation. Named so that the engine keeps it from programs that it does not follow. */
export const SYNC_PRELOAD = 'vgpreload_sync-amd64-linux.so';
/** The module for Node of `native/convert.c`. */
export const NATIVE_FILE = 'convert.node';
const SUPPRESSIONS = 'default.supp';
const OLDEST_VERSION = [3, 19] as const;
/** The version that grind is developed with. */
const KNOWN_VERSION = '3.19';
const COMPILER_LOG = 'compiler.log';
const INSTALL_HINT =
  'install it with `apt-get install valgrind gcc libc6-dev` (Fedora: `dnf install valgrind valgrind-devel gcc glibc-devel`)';

const COMPILE_FLAGS = [
  '-O2',
  '-std=gnu99',
  '-Wall',
  '-Wno-unused-function',
  '-fomit-frame-pointer',
  '-fno-stack-protector',
  '-fno-strict-aliasing',
  '-fno-builtin',
  '-fno-pie',
  '-DVGA_amd64=1',
  '-DVGO_linux=1',
  '-DVGP_amd64_linux=1',
  '-DVGPV_amd64_linux_vanilla=1',
];
const LINK_FLAGS = [
  '-static',
  '-no-pie',
  '-nodefaultlibs',
  '-nostartfiles',
  '-u',
  '_start',
  '-Wl,--build-id=none',
  '-Wl,-Ttext-segment=0x58000000',
  // What events.c has to say about fatal signals, it sees here.
  '-Wl,--wrap=vgPlain_nuke_all_threads_except',
  '-Wl,--wrap=vgPlain_kill_self',
  '-Wl,--wrap=vgPlain_gdbserver_report_signal',
  // What debuginfo.c and engine.c do in the engine's stead.
  '-Wl,--wrap=vgModuleLocal_read_debuginfo_dwarf3',
  '-Wl,--wrap=vgModuleLocal_new_dwarf3_reader',
  '-Wl,--wrap=vgModuleLocal_addLineInfo',
  '-Wl,--wrap=vgModuleLocal_addInlInfo',
  '-Wl,--wrap=vgPlain_string_match',
  '-Wl,--wrap=cprop_BB',
  '-Wl,--wrap=do_deadcode_BB',
  '-Wl,--wrap=sanityCheckIRSB',
];
const PRELOAD_FLAGS = [
  '-O2',
  '-std=gnu99',
  '-Wall',
  '-fPIC',
  '-fno-stack-protector',
  '-shared',
  '-nostdlib',
  '-Wl,--build-id=none',
];
const NATIVE_FLAGS = ['-O2', '-std=gnu99', '-Wall', '-fPIC', '-fvisibility=hidden', '-shared'];
const ARCHIVES = ['libcoregrind-amd64-linux.a', 'libvex-amd64-linux.a', 'libgcc-sup-amd64-linux.a'];

/** The modules that say what is built, and how: their text stands for what they generate. */
const GENERATORS = [
  '../schemas/tables.js',
  '../schemas/descriptor-calls.js',
  '../schemas/syscalls.js',
  '../schemas/schema.js',
  '../schemas/ops.js',
  '../schemas/stored.js',
  './raw.js',
  './flatbuffer.js',
  './arrow-file.js',
  './generate.js',
  './build.js',
];

/** Builds the tool when there is no build that fits the Valgrind that stands first in PATH and our sources. */
export async function buildTool(): Promise<ToolBuild> {
  const valgrind = findProgram('valgrind');
  const launcher = valgrind === undefined ? undefined : unwrapLauncher(valgrind);
  const hash = createHash('sha256');
  for (const module of GENERATORS) hash.update(readFileSync(new URL(module, import.meta.url)));
  const digest = hash.digest('hex');
  const sources = toolSources();
  return findBuild(launcher, digest, sources) ?? (await makeBuild(launcher, digest, sources));
}

/** Each engine has a build of its own, named by its launcher's path. */
const folderName = (launcher: string): string => launcher.slice(1).replaceAll('/', '-').slice(-200);

const toolFolder = (): string => join(PACKAGE_FOLDER, 'recorder', 'tool');

const syncPreloadSource = (): string => join(toolFolder(), 'preload', 'sync.c');
const nativeSource = (): string => join(PACKAGE_FOLDER, 'recorder', 'native', 'convert.c');

function toolSources(): string[] {
  const folder = toolFolder();
  const names = existsSync(folder)
    ? readdirSync(folder).filter((name) => /\.[ch]$/.test(name))
    : [];
  if (!names.some((name) => name.endsWith('.c'))) throw new Error(`no C sources in ${folder}`);
  return names.sort().map((name) => join(folder, name));
}

/**
 * An existing build whose inputs are all unchanged: that for a launcher, or any when the path leads to none.
 * Only stats files: this runs at every recording.
 */
function findBuild(
  launcher: string | undefined,
  hash: string,
  sources: readonly string[],
): ToolBuild | undefined {
  for (const root of buildFolders()) {
    if (!existsSync(root)) continue;
    for (const name of launcher === undefined ? readdirSync(root) : [folderName(launcher)]) {
      const folder = join(root, name);
      let info: BuildInfo;
      try {
        info = JSON.parse(readFileSync(join(folder, 'build.json'), 'utf8')) as BuildInfo;
      } catch {
        continue;
      }
      const known = new Set(info.inputs.map((input) => input.path));
      if (
        info.hash === hash &&
        (launcher === undefined || info.launcher === launcher) &&
        [...sources, syncPreloadSource(), nativeSource()].every((path) => known.has(path)) &&
        info.inputs.every((input) => isUnchanged(input)) &&
        existsSync(join(folder, TOOL_FILE))
      ) {
        return { ...info, folder };
      }
    }
  }
  return undefined;
}

function isUnchanged({ path, sizeBytes, modifiedMs }: BuildInfo['inputs'][number]): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && stat.size === sizeBytes && stat.mtimeMs === modifiedMs;
}

interface Engine {
  readonly version: string;
  readonly launcher: string;
  readonly headers: string;
  readonly archives: readonly string[];
  /** Folder of the preload libraries. */
  readonly libexec: string;
}

async function makeBuild(
  launcher: string | undefined,
  hash: string,
  sources: readonly string[],
): Promise<ToolBuild> {
  // Loaded here: a recording that finds a build has no use for them.
  const generate = await import('./generate.js');
  const { storeSchemas } = await import('./arrow-file.js');
  const { STORED_TABLES } = await import('../schemas/tables.js');
  const { EVALUATED_HELPERS, EVALUATED_OPS } = await import('../schemas/ops.js');
  const engine = await findEngine(launcher);
  const gcc = findProgram('gcc');
  if (!gcc)
    throw new UserError(
      'No C compiler (gcc) was found, which grind needs to build its recorder: install it with `apt-get install gcc libc6-dev`.',
    );

  const root = writableFolder(buildFolders());
  const folder = join(root, `.new-${process.pid}`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  try {
    const irHeader = join(engine.headers, 'libvex_ir.h');
    const stateHeader = join(engine.headers, 'libvex_guest_amd64.h');
    const ops = generate.parseOps(readFileSync(irHeader, 'utf8'));
    writeFileSync(join(folder, generate.TABLES_HEADER), generate.generateTablesHeader());
    writeFileSync(
      join(folder, generate.OPS_HEADER),
      generate.generateOpsHeader(ops, EVALUATED_OPS, EVALUATED_HELPERS),
    );

    const program = join(folder, 'offsets.c');
    writeFileSync(
      program,
      generate.generateOffsetsProgram(generate.parseGuestState(readFileSync(stateHeader, 'utf8'))),
    );
    const log = join(root, COMPILER_LOG);
    await compile(gcc, ['-I', engine.headers, '-o', join(folder, 'offsets'), program], log);
    const { stdout } = await run(join(folder, 'offsets'));
    const state = JSON.parse(stdout) as Pick<BuildInfo, 'stateSize' | 'registers'>;

    const toolArguments = [
      ...COMPILE_FLAGS,
      '-I',
      engine.headers,
      '-I',
      folder,
      '-o',
      join(folder, TOOL_FILE),
      ...sources.filter((path) => path.endsWith('.c')),
      ...LINK_FLAGS,
      ...engine.archives,
      '-lgcc',
    ];
    await compile(gcc, toolArguments, log);
    const preloadArguments = [
      ...PRELOAD_FLAGS,
      '-I',
      engine.headers,
      '-I',
      toolFolder(),
      '-o',
      join(folder, SYNC_PRELOAD),
      syncPreloadSource(),
      `-Wl,-soname,${SYNC_PRELOAD}`,
    ];
    await compile(gcc, preloadArguments, log);
    writeFileSync(join(folder, generate.COLUMNS_HEADER), generate.generateColumnsHeader());
    const nativeArguments = ['-I', folder, '-o', join(folder, NATIVE_FILE), nativeSource()];
    await compile(gcc, [...NATIVE_FLAGS, ...nativeArguments], log);

    for (const [name, target] of Object.entries(PRELOADS))
      symlinkSync(join(engine.libexec, target), join(folder, name));
    const suppressions = join(engine.libexec, SUPPRESSIONS);
    if (existsSync(suppressions)) symlinkSync(suppressions, join(folder, SUPPRESSIONS));
    else writeFileSync(join(folder, SUPPRESSIONS), '');
    for (const name of ['offsets.c', 'offsets']) rmSync(join(folder, name));
    mkdirSync(join(folder, CACHE_FOLDER));

    const inputs = [
      ...sources,
      syncPreloadSource(),
      nativeSource(),
      irHeader,
      stateHeader,
      engine.launcher,
      ...engine.archives,
    ].map((path) => {
      const stat = statSync(path);
      return { path, sizeBytes: stat.size, modifiedMs: stat.mtimeMs };
    });
    const info: BuildInfo = {
      engineVersion: engine.version,
      ops,
      schemas: storeSchemas(STORED_TABLES),
      ...state,
      launcher: engine.launcher,
      inputs,
      hash,
    };
    writeFileSync(join(folder, 'build.json'), JSON.stringify(info, null, 1));
    return { ...info, folder: publish(folder, join(root, folderName(engine.launcher))) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Moves a finished build to its place; another process may be doing the same. */
function publish(folder: string, place: string): string {
  const old = `${folder}-old`;
  for (let attempt = 0; ; attempt++) {
    try {
      renameSync(folder, place);
      return place;
    } catch (error) {
      if (
        attempt === 5 ||
        !['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')
      )
        throw error;
      try {
        renameSync(place, old);
      } catch {
        continue; // another process has just moved it away
      }
      rmSync(old, { recursive: true, force: true });
    }
  }
}

/** @param log where the compiler's messages go when it fails */
async function compile(gcc: string, args: readonly string[], log: string): Promise<void> {
  try {
    await run(gcc, [...args], { maxBuffer: 16 << 20 });
  } catch (error) {
    const { stderr = String(error) } = error as { stderr?: string };
    if (/cannot find -l|[sS]?crt1\.o|stdio\.h: No such file/.test(stderr)) {
      throw new UserError(
        "The C library's development files are missing, which grind needs to build its recorder: install them with `apt-get install libc6-dev`.",
      );
    }
    writeFileSync(log, stderr);
    const first = /error: (.*)/.exec(stderr)?.[1] ?? stderr.split('\n')[0];
    throw new UserError(
      `grind's recorder does not build against the installed Valgrind (${first}): install Valgrind ${KNOWN_VERSION}, or report this with ${log}.`,
    );
  }
}

/** Finds what belongs to a launcher: headers, static libraries and preload libraries. */
async function findEngine(launcher: string | undefined): Promise<Engine> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new UserError(
      `grind records on Linux on x86-64 only, and this is ${process.platform} on ${process.arch}.`,
    );
  }
  if (launcher === undefined)
    throw new UserError(`Valgrind was not found, which grind records with: ${INSTALL_HINT}.`);
  const prefix = dirname(dirname(launcher));

  const headers = firstWith('libvex_ir.h', [
    join(prefix, 'include/valgrind'),
    await pkgConfig('includedir', ''),
    '/usr/include/valgrind',
  ]);
  const libraries = firstWith(ARCHIVES[0]!, [
    join(prefix, 'lib/x86_64-linux-gnu/valgrind'),
    join(prefix, 'lib64/valgrind'),
    join(prefix, 'lib/valgrind'),
    await pkgConfig('libdir', 'valgrind'),
    '/usr/lib/x86_64-linux-gnu/valgrind',
    '/usr/lib64/valgrind',
    '/usr/lib/valgrind',
  ]);
  const version =
    headers &&
    /VERSION "(\d+)\.(\d+)([^"]*)"/.exec(readFileSync(join(headers, 'config.h'), 'utf8'));
  if (!headers || !libraries || !version) {
    throw new UserError(
      'Valgrind is installed without its headers and static libraries, which grind needs to build its recorder: install them with `apt-get install valgrind` (Fedora: `dnf install valgrind-devel`).',
    );
  }
  const [major, minor] = [Number(version[1]), Number(version[2])];
  if (major < OLDEST_VERSION[0] || (major === OLDEST_VERSION[0] && minor < OLDEST_VERSION[1])) {
    throw new UserError(
      `Valgrind ${major}.${minor} is too old for grind: install Valgrind ${OLDEST_VERSION.join('.')} or newer.`,
    );
  }
  const engineVersion = `${version[1]}.${version[2]}${version[3]}`;
  const launched = (await run(launcher, ['--version'])).stdout.trim();
  if (launched !== `valgrind-${engineVersion}`) {
    throw new UserError(
      `The installed valgrind program (${launched}) and its headers (${engineVersion}) are of different versions: reinstall Valgrind with its development files.`,
    );
  }
  const libexec = firstWith(PRELOADS['vgpreload_grind-amd64-linux.so'], [
    join(prefix, 'libexec/valgrind'),
    join(prefix, 'lib/x86_64-linux-gnu/valgrind'),
    join(prefix, 'lib64/valgrind'),
    join(prefix, 'lib/valgrind'),
    '/usr/libexec/valgrind',
    '/usr/lib/x86_64-linux-gnu/valgrind',
    '/usr/lib/valgrind',
  ]);
  if (!libexec)
    throw new UserError(
      `Valgrind's preload libraries for x86-64 were not found: reinstall it (${INSTALL_HINT}).`,
    );
  const archives = ARCHIVES.map((name) => join(libraries, name)).filter((path) => existsSync(path));
  return { version: engineVersion, launcher, headers, archives, libexec };
}

/** Debian's `valgrind` is a shell script around `valgrind.bin` that changes the guest's environment. */
function unwrapLauncher(found: string): string {
  const path = realpathSync(found);
  const isScript = readFileSync(path).subarray(0, 2).toString() === '#!';
  return isScript && existsSync(`${path}.bin`) ? realpathSync(`${path}.bin`) : path;
}

async function pkgConfig(variable: string, suffix: string): Promise<string | undefined> {
  try {
    const { stdout } = await run('pkg-config', [`--variable=${variable}`, 'valgrind']);
    return stdout.trim() ? join(stdout.trim(), suffix) : undefined;
  } catch {
    return undefined; // not installed, or it does not know valgrind: the usual places are tried
  }
}

function firstWith(file: string, folders: readonly (string | undefined)[]): string | undefined {
  return folders.find((folder) => folder !== undefined && existsSync(join(folder, file)));
}

/** The path of a program, searched for like a shell does. */
export function findProgram(name: string, path = process.env['PATH'] ?? ''): string | undefined {
  if (name.includes('/')) return isExecutable(name) ? name : undefined;
  return path
    .split(delimiter)
    .map((folder) => join(folder || '.', name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function writableFolder(folders: readonly string[]): string {
  for (const folder of folders) {
    try {
      mkdirSync(folder, { recursive: true });
      accessSync(folder, constants.W_OK);
      return folder;
    } catch {
      continue;
    }
  }
  throw new UserError(
    `grind cannot write its recorder to ${folders.join(' or ')}: make one of them writable.`,
  );
}

async function asScript(): Promise<void> {
  try {
    const { folder, engineVersion } = await buildTool();
    console.log(`${folder} (Valgrind ${engineVersion})`);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(`grind: ${error.message}`);
    process.exitCode = 2;
  }
}

if (
  process.argv[1] &&
  existsSync(process.argv[1]) &&
  realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)
)
  void asScript();
