/** The command line: finds the command, runs it, and turns what went wrong into a message and a status. */
import type { Argv, CommandModule } from 'yargs';
import { importBy } from '../analyses/importing.js';
import { UserError } from '../schemas/errors.js';
import { checkValues, unknownCommand, wrongUsage } from './usage.js';
import { keepFlags } from './compiler-flags.js';
import { declaration, type Commands, type Declaration } from './declarations.js';

/** Each command's module, loaded only when it is wanted: recording should not pay for SQL. */
const COMMANDS: Commands = {
  record: async () => (await import('./record.js')).recordCommand as CommandModule,
  ls: async () => (await import('./ls.js')).lsCommand as CommandModule,
  rm: async () => (await import('./rm.js')).rmCommand as CommandModule,
  gc: async () => (await import('./gc.js')).gcCommand as CommandModule,
  info: async () => (await import('./info.js')).infoCommand as CommandModule,
  query: async () => (await import('./query.js')).queryCommand as CommandModule,
  why: async () => (await import('./why.js')).whyCommand as CommandModule,
  analyze: async () => (await (await import('./analyze.js')).analyzeCommand()) as CommandModule,
  'new-analysis': async () =>
    (await import('./new-analysis.js')).newAnalysisCommand as CommandModule,
  diff: async () => (await import('./diff.js')).diffCommand as CommandModule,
  'bisect-run': async () => (await import('./bisect.js')).bisectCommand as CommandModule,
  export: async () => (await import('./export.js')).exportCommand as CommandModule,
  report: async () => (await import('./report.js')).reportCommand as CommandModule,
  completion: async () =>
    (await import('./completion.js')).completionCommand(COMMANDS) as CommandModule,
  'man-page': async () => (await import('./man-page.js')).manPageCommand(COMMANDS),
};

/**
 * Commands that run without the option parser, whose loading costs more than recording a short program,
 * when their command line is plain; false when it is not.
 */
const PLAINLY: Record<string, (argv: string[]) => Promise<boolean>> = {
  async record(argv) {
    const dashes = argv.indexOf('--');
    if (dashes === -1) return false;
    const { RECORD_OPTIONS, runRecord } = await import('./record.js');
    const { plainOptions } = await import('./plain-options.js');
    const options = plainOptions(argv.slice(0, dashes), RECORD_OPTIONS);
    if (options) await runRecord(options);
    return options !== undefined;
  },
  async analyze(argv) {
    const [analysis] = argv;
    if (analysis === undefined || analysis.startsWith('-')) return false;
    const { plainArguments, runAnalyze } = await import('./analyze.js');
    const args = await plainArguments(analysis, argv.slice(1));
    if (args) await runAnalyze(args);
    return args !== undefined;
  },
  async query(argv) {
    const { plainArguments, runQuery } = await import('./query.js');
    const args = plainArguments(argv);
    if (args) await runQuery(args);
    return args !== undefined;
  },
};

/** Status for what the user can mend, and for our own bugs. */
const EXIT_USER_ERROR = 2;
const EXIT_BUG = 70;

async function main(argv: string[]): Promise<void> {
  const [name] = argv;
  if (name === undefined) {
    console.log((await import('./next-steps.js')).nextSteps());
    return;
  }
  if (Object.hasOwn(PLAINLY, name) && (await PLAINLY[name]!(argv.slice(1)))) return;
  const { default: yargs } = await import('yargs');
  const known = Object.hasOwn(COMMANDS, name) ? await declaration(COMMANDS, name) : undefined;
  const parser = known
    ? parserOf(yargs(argv.slice(1)), await COMMANDS[name]!(), known)
    : yargs(argv)
        .usage(
          '$0 COMMAND: record a program once, and ask any question of that execution afterwards',
        )
        .command(await Promise.all(Object.values(COMMANDS).map((load) => load())))
        .demandCommand(1, 'Say what to do');
  await parser
    .scriptName('grind')
    .locale('en')
    .strict()
    .version()
    .help()
    .wrap(Math.min(100, process.stdout.columns ?? 100))
    .fail((message, error: Error | undefined) => {
      if (error && error.name !== 'YError') throw error;
      throw known
        ? wrongUsage(error?.message ?? message, known)
        : unknownCommand(name, Object.keys(COMMANDS));
    })
    .parseAsync();
}

/**
 * A parser for one command alone, as its default: the parser lays out the help text after each run of
 * any other command, at a cost that recording a short program would show.
 */
function parserOf(parser: Argv, command: CommandModule, { options }: Declaration): Argv {
  const synopsis = String(command.command);
  const positionals = synopsis.replace(/^\S+/, '');
  return parser
    .usage(`$0 ${synopsis}\n\n${command.describe}`)
    .command({ ...command, command: `$0${positionals}`, describe: false })
    .check((given) => checkValues(given, options));
}

function report(error: unknown): void {
  if (error instanceof UserError) {
    process.stderr.write(`grind: ${error.message}\n`);
    process.exitCode = EXIT_USER_ERROR;
    return;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`${text}\ngrind: this is a bug in grind.\n`);
  process.exitCode = EXIT_BUG;
}

/** What runs the command line from a bundle has to say. */
export interface Host {
  /** V8's flags are to be left alone. */
  readonly keepsFlags: boolean;
  /** Imports a module by its URL. */
  readonly importer: (address: string) => Promise<unknown>;
}

/**
 * Runs the command that the words of a command line ask for, and sets the status.
 * @param host - absent: the command line runs from its modules
 * @returns whether it was done, with whatever result
 */
export async function commandLine(argv: string[], host?: Host): Promise<boolean> {
  // A reader that has seen enough (`grind ls | head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  if (host) importBy(host.importer);
  if (host?.keepsFlags) keepFlags();
  try {
    await main(argv);
    return true;
  } catch (error) {
    report(error);
    return false;
  }
}
