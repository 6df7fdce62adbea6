/** `grind rm`: removes runs. */
import type { CommandModule } from 'yargs';
import { UserError } from '../schemas/errors.js';
import { OUT_OPTION } from './numbers.js';
import { isUnderWay, listRuns, removeRun } from './runs.js';

export const rmCommand: CommandModule<object, { runs: string[]; out: string }> = {
  command: 'rm <runs..>',
  describe: 'Remove runs',
  builder: (yargs) =>
    yargs
      .positional('runs', {
        type: 'string',
        array: true,
        demandOption: true,
        describe: 'Names of runs, as `grind ls` shows them',
      })
      .option('out', OUT_OPTION)
      .example('$0 rm slow-20261120-140655', 'Remove one run'),
  handler: async ({ runs, out }) => {
    const known = listRuns(out);
    // Nothing is removed if one of the names is wrong.
    const wanted = runs.map((name) => {
      const found = known.find((run) => run.name === name);
      if (!found)
        throw new UserError(`There is no run ${name} in ${out}: \`grind ls\` shows the runs.`);
      return found;
    });
    for (const run of wanted)
      if (await isUnderWay(run))
        throw new UserError(`Run ${run.name} is still being recorded: wait until it has ended.`);
    for (const run of new Set(wanted)) removeRun(run);
  },
};
