/** An analysis of lock discipline alone, for `grind analyze`: what the race analysis has besides races. */
import type { Analysis } from '../analyses/analysis.js';
import { LOCK_OPTIONS, LockPass, lockSettings } from '../analyses/race/check-locks.js';
import { lock_uses } from '../schemas/views.js';

export const analysis: Analysis = {
  name: 'locks',
  describe: 'Wrong uses of locks and other means of synchronisation',
  options: LOCK_OPTIONS,
  *run(trace, options, { processes, callers }) {
    const settings = lockSettings(options);
    for (const process of processes) {
      const { findings, uses, missing } = new LockPass(trace, process, settings, callers)
        .run()
        .outcome();
      const tables = [{ table: lock_uses, rows: uses }];
      yield { process, findings, summary: {}, missing, tables };
    }
  },
};
