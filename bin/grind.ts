#!/usr/bin/env node
/** The command line: finds the command, runs it, and turns what went wrong into a message and a status. */
import yargs, { type CommandModule } from 'yargs';
import { hideBin } from 'yargs/helpers';
import { UserError } from '../schemas/errors.js';

/** Each command's module, loaded only when it is wanted: recording should not pay for SQL. */
const COMMANDS: Record<string, () => Promise<CommandModule>> = {
  record: async () => (await import('./record.js')).recordCommand as CommandModule,
  ls: async () => (await import('./ls.js')).lsCommand as CommandModule,
  info: async () => (await import('./info.js')).infoCommand as CommandModule,
  query: async () => (await import('./query.js')).queryCommand as CommandModule,
};

/** Status for what the user can mend, and for our own bugs. */
const EXIT_USER_ERROR = 2;
const EXIT_BUG = 70;

async function main(argv: string[]): Promise<void> {
  const known = Object.hasOwn(COMMANDS, argv[0] ?? '');
  const commands = known
    ? [await COMMANDS[argv[0]!]!()]
    : await Promise.all(Object.values(COMMANDS).map((each) => each()));
  // A handler that returned a promise would make the parser lay out its help text, each time.
  let job = async (): Promise<void> => undefined;
  const later = (command: CommandModule): CommandModule => ({
    ...command,
    handler: (args) => {
      job = async () => command.handler(args);
    },
  });
  await yargs(argv)
    .scriptName('grind')
    .usage('$0 COMMAND: record a program once, and ask any question of that execution afterwards')
    .command(commands.map(later))
    .demandCommand(1, 'Say what to do')
    .strict()
    .version()
    .help()
    .wrap(Math.min(100, process.stdout.columns ?? 100))
    .fail((message, error: Error | undefined) => {
      if (error && error.name !== 'YError') throw error;
      const what = (error?.message ?? message).replace(/\.$/, '');
      throw new UserError(`${what}: see \`${known ? `grind ${argv[0]}` : 'grind'} --help\`.`);
    })
    .parseAsync();
  await job();
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

// A reader that has seen enough (`grind ls | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

try {
  await main(hideBin(process.argv));
} catch (error) {
  report(error);
}
