/** What is wrong with a command line, in a sentence that says how it would be right. */
import type { Options } from 'yargs';
import { didYouMean, UserError } from '../schemas/errors.js';
import { spellings, type Declaration } from './declarations.js';

/** Of a command that there is not. */
export function unknownCommand(name: string, known: readonly string[]): UserError {
  const what = name.startsWith('-') ? 'option' : 'command';
  return new UserError(
    `There is no ${what} ${name}${didYouMean(name, known) || '.'} \`grind --help\` lists the commands.`,
  );
}

/**
 * Of a command's line that the option parser refused.
 * @param problem what it said, in English
 */
export function wrongUsage(
  problem: string,
  { name, synopsis, words, options }: Declaration,
): UserError {
  const said = sentence();
  const help = `\`grind ${name} --help\``;
  return new UserError(
    said.endsWith('?') ? `${said} ${help} lists the options.` : `${said}: see ${help}.`,
  );

  function sentence(): string {
    const [, unknown] = /^Unknown arguments?: (.*)$/.exec(problem) ?? [];
    if (unknown !== undefined) {
      const [first] = unknown.split(', ');
      const isOption = process.argv.some((word) => /^--?/.test(word) && word.includes(first!));
      if (!isOption) return `There is a word too many, ${first}: it is \`grind ${synopsis}\``;
      const all = Object.entries(options).flatMap(([option, its]) => spellings(option, its));
      const dashed = first!.length === 1 ? `-${first}` : `--${first}`;
      return `There is no option ${dashed}${didYouMean(dashed, all)}`;
    }
    const [, missing] = /^Not enough non-option arguments: got (\d+)/.exec(problem) ?? [];
    if (missing !== undefined) {
      const word = words[Number(missing)];
      return `\`grind ${name}\` needs its ${word?.name ?? 'argument'} (${word?.describe || synopsis})`;
    }
    const [, option, given] = /Argument: ([\w-]+), Given: (.*?), Choices:/.exec(problem) ?? [];
    if (option !== undefined) {
      const choices = (options[option] ?? words.find((word) => word.name === option))?.choices;
      const which = options[option] ? `--${option}` : option;
      return `${which} takes ${choices?.join(', ')}, and not ${given}`;
    }
    const [, bare] = /^Not enough arguments following: ([\w-]+)/.exec(problem) ?? [];
    if (bare !== undefined) return `--${bare} needs a value`;
    return problem.replace(/\.$/, '');
  }
}

/** Of values that the parser lets through: options given twice, and numbers that are none. Throws UserError. */
export function checkValues(
  given: Readonly<Record<string, unknown>>,
  options: Readonly<Record<string, Options>>,
): true {
  for (const [name, { array, type }] of Object.entries(options)) {
    const value = given[name];
    if (Array.isArray(value) && !array) throw new UserError(`Give --${name} only once.`);
    if (type === 'number' && [value].flat().some(Number.isNaN))
      throw new UserError(`--${name} takes a number.`);
  }
  return true;
}
