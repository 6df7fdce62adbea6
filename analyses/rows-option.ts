/** The option `--rows` of profiles: how much of each table the text shows. */
import { wholeNumber, type OptionValues } from './analysis.js';

export const ROWS_OPTION = wholeNumber('Rows of each table that the text shows', 20, { least: 1 });

/** The value of the option. */
export const shownRowsOf = (options: OptionValues): number => Number(options['rows']);
