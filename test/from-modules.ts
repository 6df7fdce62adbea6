/** The command line, run from its modules and not from the bundle: for analyses that import more of grind than its index. */
import { commandLine } from '../bin/command-line.js';

await commandLine(process.argv.slice(2));
