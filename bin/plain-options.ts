/**
 * Reads a command line that holds nothing but known options, without the option parser proper: loading
 * that costs more than recording a short program does.
 */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { InferredOptionTypes, Options } from 'yargs';

/**
 * The values of options as the parser gives them to a command's handler.
 * @param argv the command line up to `--`
 * @returns undefined when the command line is not that plain, is wrong or asks for help: then the option
 *   parser must read it
 */
export function plainOptions<O extends Record<string, Options>>(
  argv: readonly string[],
  declared: O,
): InferredOptionTypes<O> | undefined {
  const config: NonNullable<ParseArgsConfig['options']> = {};
  for (const [name, { type, array }] of Object.entries(declared)) {
    // Repeated options that may not be repeated are for the option parser.
    config[name] = { type: type === 'boolean' ? 'boolean' : 'string', multiple: true };
    if (type === 'boolean') config[`no-${name}`] = { type: 'boolean', multiple: true };
    else if (type !== 'string' && type !== 'number' && !array) return undefined;
  }
  let found: Record<string, unknown>;
  try {
    found = parseArgs({ args: [...argv], options: config, strict: true }).values;
  } catch {
    return undefined;
  }
  const values: Record<string, unknown> = {};
  for (const [name, { type, array, default: preset }] of Object.entries(declared)) {
    const given = [
      ...((found[name] as (string | boolean)[] | undefined) ?? []),
      ...((found[`no-${name}`] as true[] | undefined) ?? []).map(() => false),
    ];
    if (given.length > 1 && !array) return undefined;
    let value: unknown = array ? (given.length > 0 ? given : preset) : (given[0] ?? preset);
    if (type === 'number' && typeof value === 'string') {
      if (!/^\d+$/.test(value)) return undefined;
      value = Number(value);
    }
    values[name] = value;
  }
  return values as InferredOptionTypes<O>;
}
