/** The option `--rows` of profiles: how much of each table the text shows. */
import { UserError } from '../schemas/errors.js';
import type { AnalysisOption, OptionValues } from './analysis.js';

export const ROWS_OPTION: AnalysisOption = {
  describe: 'Rows of each table that the text shows',
  default: '20',
};

/** The value of the option, as the user gave it. Throws UserError. */
export function shownRowsOf(options: OptionValues): number {
  const rows = Number(options['rows']);
  if (!Number.isSafeInteger(rows) || rows < 1)
    throw new UserError('--rows takes a whole number from 1.');
  return rows;
}
