/** `grind ls`: the runs of a folder. */
import type { CommandModule } from 'yargs';
import { formatCount } from '../schemas/numbers.js';
import { formatSize, OUT_OPTION } from './numbers.js';
import { layOut } from './lay-out.js';
import { UserError } from '../schemas/errors.js';
import { commitOf, formatExit, listRuns, traceBytes } from './runs.js';

export const lsCommand: CommandModule<object, { out: string; commit?: string }> = {
  command: 'ls',
  describe: 'List the runs',
  builder: (yargs) =>
    yargs
      .option('out', OUT_OPTION)
      .option('commit', {
        type: 'string',
        requiresArg: true,
        describe: 'Only those that were recorded at this git revision',
      })
      .example('$0 ls --commit HEAD~1', 'Those that were recorded at the commit before the last'),
  handler: ({ out, commit: revision }) => {
    const commit = revision === undefined ? undefined : commitOf(revision);
    if (revision !== undefined && commit === undefined)
      throw new UserError(`${revision} is no revision of the repository in this folder.`);
    const runs = listRuns(out).filter(
      ({ manifest }) => commit === undefined || manifest?.git?.commit === commit,
    );
    if (runs.length === 0) {
      const where = revision === undefined ? '' : ` of ${revision}`;
      console.log(`No runs${where} in ${out}: record one with \`grind record -- PROGRAM\`.`);
      return;
    }
    const head = [
      'name',
      'started',
      'commit',
      'program',
      'exit',
      'processes',
      'instructions',
      'size',
    ];
    const rows = runs.map(({ name, manifest }) => {
      if (!manifest) return [name, '', '', 'not complete', '', '', '', ''];
      const { git } = manifest;
      return [
        name,
        new Date(manifest.started).toLocaleString('sv-SE'),
        git ? `${git.commit.slice(0, 10)}${git.dirty ? '+' : ''}` : '',
        shorten(manifest.argv.join(' ')),
        formatExit(manifest),
        formatCount(manifest.processes),
        formatCount(manifest.instructions),
        formatSize(traceBytes(manifest)),
      ];
    });
    console.log(layOut(head, rows));
  },
};

const LONGEST_PROGRAM = 40;

function shorten(text: string): string {
  const line = text.replace(/\s+/g, ' ');
  return line.length <= LONGEST_PROGRAM ? line : line.slice(0, LONGEST_PROGRAM - 1) + '…';
}
