/**
 * Reads a command line that holds nothing but known options, without the option parser proper: loading
 * that costs more than recording a short program does.
 */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { InferredOptionTypes, Options } from 'yargs';

/**
 * The values of options as the parser gives them to a command's handler.
 * @param argv the command line up to `--`
 * @param declared options by name, as for the option parser
 * @param words how many words that are no options the command takes at most; they become `_`
 * @returns undefined when the command line is not that plain, is wrong or asks for help: then the option
 *   parser must read it
 */
export function plainOptions<O extends Record<string, Options>>(
  argv: readonly string[],
  declared: O,
  words = 0,
): (InferredOptionTypes<O> & { _: readonly string[] }) | undefined {
  const config: NonNullable<ParseArgsConfig['options']> = {};
  for (const [name, { type, array, choices, alias }] of Object.entries(declared)) {
    // Repeated options that may not be repeated are for the option parser.
    config[name] = {
      type: type === 'boolean' ? 'boolean' : 'string',
      multiple: true,
      ...(typeof alias === 'string' && { short: alias }),
    };
    if (type === 'boolean') config[`no-${name}`] = { type: 'boolean', multiple: true };
    else if (type !== 'string' && type !== 'number' && !array && !choices) return undefined;
  }
  let found: Record<string, unknown>;
  let rest: readonly string[];
  try {
    ({ values: found, positionals: rest } = parseArgs({
      args: [...argv],
      options: config,
      strict: true,
      allowPositionals: words > 0,
    }));
  } catch {
    return undefined;
  }
  if (rest.length > words) return undefined;
  const values: Record<string, unknown> = {};
  for (const [name, { type, array, choices, default: preset }] of Object.entries(declared)) {
    const given = [
      ...((found[name] as (string | boolean)[] | undefined) ?? []),
      ...((found[`no-${name}`] as true[] | undefined) ?? []).map(() => false),
    ];
    if (given.length > 1 && !array) return undefined;
    if (given.length > 0 && array && type === 'number') return undefined;
    if (choices && given.some((value) => !choices.includes(value as string))) return undefined;
    let value: unknown = array ? (given.length > 0 ? given : preset) : (given[0] ?? preset);
    if (type === 'number' && typeof value === 'string') {
      if (!/^\d+$/.test(value)) return undefined;
      value = Number(value);
    }
    values[name] = value;
  }
  return { ...values, _: rest } as InferredOptionTypes<O> & { _: readonly string[] };
}
