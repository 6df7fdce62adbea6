/** Files that analyses write for other tools. */
import { writeFileSync } from 'node:fs';
import type { Source } from '../replay/symbols.js';
import type { ProcessRow } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';

/**
 * Writes what an option asks for. `%p` in the path is the process id; where several process images are judged and it
 * has none, the number of the image is appended. Throws UserError when the file cannot be written.
 */
export function writeOutput(
  option: string,
  pattern: string,
  { pid, process }: ProcessRow,
  isOneOfSeveral: boolean,
  text: string | Uint8Array,
): void {
  const named = pattern.replaceAll('%p', String(pid));
  const path = isOneOfSeveral && named === pattern ? `${pattern}.${process}` : named;
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new UserError(`--${option}: ${path} cannot be written: ${(error as Error).message}.`);
  }
}

/** The arguments of a process image, the program's name first. */
export function argumentsOf({ executable, arguments: json }: ProcessRow): string[] {
  try {
    const argv: unknown = JSON.parse(json);
    if (Array.isArray(argv) && argv.length > 0) return argv.map(String);
  } catch {
    // Damaged: the program's path must do.
  }
  return [executable];
}

/** The same separated by blanks. */
export const commandOf = (image: ProcessRow): string => oneLine(argumentsOf(image).join(' '));

/** Their formats have a line for each thing. */
export const oneLine = (text: string): string => text.replaceAll('\n', ' ');

/** The path of a source file, as far as it is known. */
export const pathOf = ({ file, directory }: Source): string =>
  !file ? '???' : directory ? `${directory}/${file}` : file;

/** The value of a key, made when it is asked for first. */
export function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}
