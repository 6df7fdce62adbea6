/** Writes what a command puts into a file that the user named. */
import { writeFileSync } from 'node:fs';
import { fileProblem, UserError } from '../schemas/errors.js';

/** Throws UserError when the file cannot be written. */
export function writeText(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new UserError(`Cannot write ${path}: ${fileProblem(error)}.`);
  }
}
