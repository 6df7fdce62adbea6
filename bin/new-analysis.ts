/** `grind new-analysis`: begins an analysis of the user's own. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { ANALYSIS_NAMES } from '../analyses/analysis.js';
import { PACKAGE_FOLDER } from '../schemas/build-folders.js';
import { fileProblem, UserError } from '../schemas/errors.js';

/** What there are templates for, with the ends of their names. */
const KINDS = { events: 'ts', accesses: 'ts', sql: 'sql' } as const;
type Kind = keyof typeof KINDS;

export const newAnalysisCommand: CommandModule<object, { name: string; kind: Kind }> = {
  command: 'new-analysis <name>',
  describe: 'Begin an analysis of your own: write a file that works, to be changed',
  builder: (yargs) =>
    yargs
      .positional('name', {
        type: 'string',
        demandOption: true,
        describe: 'What it is called: letters, digits and dashes',
      })
      .option('kind', {
        choices: Object.keys(KINDS) as Kind[],
        default: 'events' as Kind,
        describe: 'What it looks at: recorded events, memory accesses, or tables by a SELECT',
      })
      .example('$0 new-analysis large-blocks', 'Write large-blocks.ts, which looks at events')
      .example('$0 new-analysis hot-stores --kind accesses', 'One that replays the execution')
      .example('$0 new-analysis failed-calls --kind sql', 'Write failed-calls.sql'),
  handler: ({ name, kind }) => {
    if (!/^[a-z][\w-]*$/i.test(name))
      throw new UserError(
        `An analysis cannot be called ${name}: its name has letters, digits and dashes.`,
      );
    if (ANALYSIS_NAMES.includes(name))
      throw new UserError(`${name} comes with grind: give the analysis another name.`);
    const file = `${name}.${KINDS[kind]}`;
    const template = join(PACKAGE_FOLDER, 'bin', 'templates', `${kind}.${KINDS[kind]}`);
    writeNew(file, readFileSync(template, 'utf8').replaceAll('NAME', name));
    console.log(`Wrote ${file}: run it with \`grind analyze ./${file}\`.`);
    if (KINDS[kind] === 'ts' && !existsSync('tsconfig.json')) {
      writeNew('tsconfig.json', TSCONFIG);
      console.log('Wrote tsconfig.json, by which editors and tsc know the types of grind.');
    }
  },
};

/** Files run without it: it is for editors and for tsc. */
const TSCONFIG = `${JSON.stringify(
  {
    compilerOptions: {
      ...{ target: 'ES2022', module: 'ESNext', moduleResolution: 'Bundler' },
      ...{ strict: true, noEmit: true, skipLibCheck: true },
      paths: { grind: [join(PACKAGE_FOLDER, 'dist', 'analyses', 'index.d.ts')] },
    },
    include: ['*.ts'],
  },
  undefined,
  2,
)}\n`;

function writeNew(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'wx' });
  } catch (error) {
    const isThere = (error as NodeJS.ErrnoException).code === 'EEXIST';
    throw new UserError(
      isThere
        ? `${path} is there already: remove it, or give the analysis another name.`
        : `Cannot write ${path}: ${fileProblem(error)}.`,
    );
  }
}
