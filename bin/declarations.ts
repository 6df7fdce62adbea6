/** What commands say of themselves to the option parser, for the manual page and for completion in shells. */
import type { CommandModule, Options, PositionalOptions } from 'yargs';

/** The command line's commands, each loaded only when it is wanted. */
export type Commands = Readonly<Record<string, () => Promise<CommandModule>>>;

export interface Declaration {
  readonly name: string;
  /** With its words, such as `diff <before> [after]`. */
  readonly synopsis: string;
  readonly describe: string;
  /** In order. */
  readonly words: readonly (PositionalOptions & { readonly name: string })[];
  readonly options: Readonly<Record<string, Options>>;
  /** Command lines and what they are for. */
  readonly examples: readonly (readonly [string, string])[];
}

/** The commands that `grind --help` lists. */
export async function declarations(commands: Commands): Promise<Declaration[]> {
  const all = await Promise.all(Object.keys(commands).map((name) => declaration(commands, name)));
  return all.filter(({ describe }) => describe !== '');
}

/** A command as its builder declares it. */
export async function declaration(commands: Commands, name: string): Promise<Declaration> {
  const { command, describe, builder } = await commands[name]!();
  const words: (PositionalOptions & { name: string })[] = [];
  const options: Record<string, Options> = {};
  const examples: [string, string][] = [];
  const declared: Record<string, (...given: never[]) => void> = {
    positional: (word: string, its: PositionalOptions) => void words.push({ name: word, ...its }),
    option: (option: string | Record<string, Options>, its?: Options) =>
      void Object.assign(options, typeof option === 'string' ? { [option]: its } : option),
    options: (its: Record<string, Options>) => void Object.assign(options, its),
    example: (line: string, what: string) =>
      void examples.push([line.replace('$0', 'grind'), what]),
  };
  /** Stands for the parser, of which all methods can be chained. */
  const parser: object = new Proxy(
    {},
    {
      get: (_, method) =>
        method === 'then'
          ? undefined
          : (...given: never[]) => {
              declared[String(method)]?.(...given);
              return parser;
            },
    },
  );
  if (typeof builder === 'function') await builder(parser as never);
  else Object.assign(options, builder);
  const synopsis = [command].flat()[0] ?? name;
  return { name, synopsis, describe: describe || '', words, options, examples };
}

/** Options as they are given: `--no-x` for what is so without it, and the letters. */
export const spellings = (name: string, { type, default: preset, alias }: Options): string[] => [
  type === 'boolean' && preset === true ? `--no-${name}` : `--${name}`,
  ...[alias ?? []].flat().map((letter) => (letter.length === 1 ? `-${letter}` : `--${letter}`)),
];
