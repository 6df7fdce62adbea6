/**
 * The project file, `grind.config.json` or a module with the same as its default export: what a repository wants of
 * grind whenever nothing else is said on the command line.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Analysis, OptionValues } from '../analyses/analysis.js';
import { fileProblem, UserError } from '../schemas/errors.js';

/** A command for the shell and the folder that it is meant for. */
export interface ShellCommand {
  readonly command: string;
  readonly folder: string;
}

/** A command to record that has a name. */
export interface Scenario {
  readonly argv: readonly string[];
  /** Where it is run: an absolute path. */
  readonly folder: string;
}

/** What the project file says; names are those of the options that it stands for. */
export interface Project {
  /** Paths of suppression files. */
  readonly suppressions: readonly string[];
  readonly 'env-exclude': readonly string[];
  readonly build?: ShellCommand;
  readonly 'fail-on'?: string;
  readonly analyses?: string;
  /** Options of analyses, by the analysis's name. */
  readonly options: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly scenarios: ReadonlyMap<string, Scenario>;
}

const FILES = ['json', 'js', 'mjs', 'ts', 'mts'].map((extension) => `grind.config.${extension}`);
const NOTHING: Project = { suppressions: [], 'env-exclude': [], options: {}, scenarios: new Map() };

/**
 * Reads the project file of a folder: the nearest one from there up to the root of the repository; outside of one, only
 * the folder's own. Without a file, nothing is said. Throws UserError for a file that is wrong.
 */
export async function readProject(folder: string): Promise<Project> {
  for (const path of candidates(folder)) if (existsSync(path)) return load(path);
  return NOTHING;
}

/**
 * What to record: the scenario of a name, or else the words of the command line, in the current folder.
 * Throws UserError when there is no such scenario, or both are given.
 */
export function chosenCommand(
  { scenarios }: Project,
  name: string | undefined,
  argv: readonly string[],
): Scenario {
  if (name === undefined) return { argv, folder: process.cwd() };
  if (argv.length > 0)
    throw new UserError(`Give either --scenario ${name} or a program after --, and not both.`);
  const found = scenarios.get(name);
  if (found) return found;
  const known = [...scenarios.keys()];
  throw new UserError(
    known.length > 0
      ? `The project file has no scenario ${name}: it has ${known.join(', ')}.`
      : `There is no scenario ${name}: a project file (grind.config.json) names them under "scenarios".`,
  );
}

/** What the project file says of an analysis's options. Throws UserError for one that there is not. */
export function presetOf({ options }: Project, { name, options: known }: Analysis): OptionValues {
  const preset = options[name] ?? {};
  for (const [option, value] of Object.entries(preset)) {
    const declared = Object.hasOwn(known, option) ? known[option] : undefined;
    if (!declared)
      throw new UserError(
        `The project file gives ${name} an option ${option}: it has ${Object.keys(known).join(', ')}.`,
      );
    if (declared.values && !declared.values.includes(value))
      throw new UserError(
        `The project file says ${option}=${value} for ${name}: it can be ${declared.values.join(', ')}.`,
      );
  }
  return preset;
}

/** The build command of the command line, which is meant for the current folder, or else the project's. */
export const chosenBuild = (
  { build }: Project,
  command: string | undefined,
): ShellCommand | undefined => (command === undefined ? build : { command, folder: process.cwd() });

/** Makes a folder the current one, as a shell does. Throws UserError when there is no such folder. */
export function changeFolder(folder: string): void {
  if (folder === process.cwd()) return;
  try {
    process.chdir(folder);
  } catch (error) {
    throw new UserError(`Cannot work in ${folder}: ${fileProblem(error)}.`);
  }
  process.env['PWD'] = folder;
}

function* candidates(folder: string): Generator<string> {
  const above: string[] = [];
  for (let at = folder; ; at = dirname(at)) {
    above.push(at);
    if (existsSync(join(at, '.git'))) break;
    if (at === dirname(at)) {
      above.length = 1; // in no repository
      break;
    }
  }
  for (const at of above) for (const file of FILES) yield join(at, file);
}

async function load(path: string): Promise<Project> {
  if (!path.endsWith('.json')) {
    const { loadModule } = await import('../analyses/user-module.js');
    return check((await loadModule(path, path))['default'], path);
  }
  try {
    return check(JSON.parse(readFileSync(path, 'utf8')), path);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${path} cannot be read: ${(error as Error).message}.`);
  }
}

function check(value: unknown, path: string): Project {
  const folder = dirname(path);
  const wrong = (what: string): never => {
    throw new UserError(`${path}: ${what}.`);
  };
  const object = (given: unknown, what: string): Record<string, unknown> =>
    typeof given === 'object' && given !== null && !Array.isArray(given)
      ? (given as Record<string, unknown>)
      : wrong(`${what} must be an object`);
  const text = (given: unknown, what: string): string =>
    typeof given === 'string' && given !== '' ? given : wrong(`${what} must be text`);
  const texts = (given: unknown, what: string): string[] =>
    Array.isArray(given) && given.every((one) => typeof one === 'string')
      ? given
      : wrong(`${what} must be a list of texts`);
  const known = (given: Record<string, unknown>, names: readonly string[], what: string): void => {
    const unknown = Object.keys(given).find((name) => !names.includes(name));
    if (unknown !== undefined)
      wrong(`${what} has no setting "${unknown}": there are ${names.join(', ')}`);
  };
  const scenario = (given: unknown, what: string): Scenario => {
    const isShort = typeof given === 'string' || Array.isArray(given);
    const settings = isShort ? { command: given } : object(given, what);
    known(settings, ['command', 'directory'], what);
    const { command, directory = '.' } = settings;
    const argv =
      typeof command === 'string'
        ? ['sh', '-c', command]
        : texts(command, `the command of ${what}`);
    if (argv.length === 0) wrong(`the command of ${what} is empty`);
    return { argv, folder: resolve(folder, text(directory, `"directory" of ${what}`)) };
  };

  const settings = object(value, 'the project file');
  known(settings, SETTINGS, 'the project file');
  const of = <T>(name: string, read: (given: unknown, what: string) => T): T | undefined =>
    settings[name] === undefined ? undefined : read(settings[name], `"${name}"`);
  const entries = of('options', object) ?? {};
  const options = Object.entries(entries).map(([analysis, given]) => {
    const values = Object.entries(object(given, `"options" of ${analysis}`)).map(([name, one]) => {
      if (!['string', 'number', 'boolean'].includes(typeof one))
        wrong(`the option ${name} of ${analysis} must be text or a number`);
      return [name, typeof one === 'boolean' ? (one ? 'yes' : 'no') : String(one)] as const;
    });
    return [analysis, Object.fromEntries(values)] as const;
  });
  const build = of('build', text);
  const failOn = of('fail-on', (given, what) =>
    (Array.isArray(given) ? texts(given, what) : [text(given, what)]).join(','),
  );
  const analyses = of('analyses', (given, what) =>
    (Array.isArray(given) ? texts(given, what) : [text(given, what)]).join(','),
  );
  return {
    suppressions: (of('suppressions', texts) ?? []).map((file) => resolve(folder, file)),
    'env-exclude': of('env-exclude', texts) ?? [],
    ...(build !== undefined && { build: { command: build, folder } }),
    ...(failOn !== undefined && { 'fail-on': failOn }),
    ...(analyses !== undefined && { analyses }),
    options: Object.fromEntries(options),
    scenarios: new Map(
      Object.entries(of('scenarios', object) ?? {}).map(([name, given]) => [
        name,
        scenario(given, `the scenario ${name}`),
      ]),
    ),
  };
}

const SETTINGS = [
  'suppressions',
  'env-exclude',
  'build',
  'fail-on',
  'analyses',
  'options',
  'scenarios',
];
