/** `grind export`: runs as files for other programs. */
import type { CommandModule, InferredOptionTypes, Options } from 'yargs';
import { Trace } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { OUT_OPTION } from './numbers.js';
import { findRun, listRuns } from './runs.js';

const FORMATS = ['parquet', 'arrow', 'perfetto'] as const;

const OPTIONS = {
  format: {
    alias: 'f',
    choices: FORMATS,
    default: 'parquet' as (typeof FORMATS)[number],
    describe: 'Tables as Parquet or Arrow files, or a trace for Perfetto and chrome://tracing',
  },
  output: {
    alias: 'o',
    type: 'string',
    requiresArg: true,
    demandOption: true,
    describe: 'The folder for tables, TABLE/commit=C/run=R/part-0.parquet, or the file',
  },
  tables: {
    type: 'string',
    requiresArg: true,
    describe: 'Only these tables or views, separated by commas; by default all that need no replay',
  },
  all: { type: 'boolean', default: false, describe: 'All runs' },
  out: OUT_OPTION,
} as const satisfies Record<string, Options>;

type Arguments = InferredOptionTypes<typeof OPTIONS> & { runs?: string[] };

export const exportCommand: CommandModule<object, Arguments> = {
  command: 'export [runs..]',
  describe: 'Write runs as files for other programs: databases, trace viewers',
  builder: (yargs) =>
    yargs
      .positional('runs', {
        type: 'string',
        array: true,
        describe: "Runs' names, folders, or git revisions; by default the last run",
      })
      .options(OPTIONS)
      .example('$0 export --all -o lake', 'All runs as Parquet, partitioned by commit and run')
      .example('$0 export -o run.json -f perfetto', 'The last run for https://ui.perfetto.dev')
      .example('$0 export -o out -f arrow --tables accesses', 'Every load and store'),
  handler: runExport,
};

async function runExport(args: Arguments): Promise<void> {
  const { format, output, tables } = args;
  const folders = await chosenFolders(args);
  if (format === 'perfetto') {
    if (tables !== undefined) throw new UserError('--tables is for tables, not for a trace.');
    if (folders.length > 1) throw new UserError('A trace is of one run: name one.');
  }
  for (const folder of folders) {
    const trace = Trace.open(folder);
    try {
      for (const { sentence } of trace.damages()) console.error(`grind: ${sentence}`);
      if (format === 'perfetto') {
        const { exportPerfetto } = await import('./export-perfetto.js');
        await exportPerfetto(trace, output);
      } else {
        const { exportTables } = await import('./export-tables.js');
        await exportTables(trace, output, format, tables?.split(','));
      }
    } finally {
      trace.close();
    }
  }
}

/** Of the runs that are meant, each once. */
async function chosenFolders({ runs = [], all, out }: Arguments): Promise<string[]> {
  if (!all)
    return Promise.all(
      [...new Set(runs.length === 0 ? [undefined] : runs)].map((run) => findRun(run, out)),
    );
  if (runs.length > 0) throw new UserError('Name runs or say --all, not both.');
  const folders = listRuns(out).flatMap(({ folder, manifest }) => (manifest ? [folder] : []));
  if (folders.length === 0) throw new UserError(`There is no run in ${out}.`);
  return folders;
}
