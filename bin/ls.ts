/** `grind ls`: the runs of a folder. */
import type { CommandModule } from 'yargs';
import { formatCount } from '../schemas/numbers.js';
import { formatSize, OUT_OPTION } from './numbers.js';
import { layOut } from './lay-out.js';
import { formatExit, listRuns, traceBytes } from './runs.js';

export const lsCommand: CommandModule<object, { out: string }> = {
  command: 'ls',
  describe: 'List the runs',
  builder: (yargs) => yargs.option('out', OUT_OPTION),
  handler: ({ out }) => {
    const runs = listRuns(out);
    if (runs.length === 0) {
      console.log(`No runs in ${out}: record one with \`grind record -- PROGRAM\`.`);
      return;
    }
    const head = ['name', 'started', 'program', 'exit', 'processes', 'instructions', 'size'];
    const rows = runs.map(({ name, manifest }) => {
      if (!manifest) return [name, '', 'not complete', '', '', '', ''];
      return [
        name,
        new Date(manifest.started).toLocaleString('sv-SE'),
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
