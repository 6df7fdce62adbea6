/**
 * `grind completion`: a script for a shell, which asks grind at each press of the tab key what can stand there. So commands,
 * options and their values are completed as they are declared, those of a user's own analysis too; and runs as they are.
 */
import { execFileSync } from 'node:child_process';
import type { CommandModule, Options } from 'yargs';
import { ANALYSIS_NAMES, loadAnalyses } from '../analyses/analysis.js';
import { UserError } from '../schemas/errors.js';
import { declaration, declarations, spellings, type Commands } from './declarations.js';
import { RUNS_FOLDER } from './numbers.js';
import { listRuns } from './runs.js';

/** What may stand in a place, and what that is; or what only the shell knows. */
type Candidate = readonly [word: string, what: string];
const FILES: Candidate = [':files', ''];
const FOLDERS: Candidate = [':folders', ''];
/** A program, and behind it its own arguments. */
const PROGRAM: Candidate = [':program', ''];

/**
 * The scripts. `grind completion --words SHELL -- WORD…` prints candidates for the last word, one a line, with a tab and a
 * few words about it; a line that begins with a colon is for the shell to fill in.
 */
const SCRIPTS = {
  bash: `# Completion of grind for bash: eval "$(grind completion bash)"
_grind() {
  local IFS=$'\\n' line word=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  for line in $(grind completion --words bash -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); do
    case $line in
      :files) COMPREPLY+=($(compgen -f -- "$word")); compopt -o filenames ;;
      :folders) COMPREPLY+=($(compgen -d -- "$word")); compopt -o filenames ;;
      :program) COMPREPLY+=($(compgen -c -- "$word")) ;;
      *=) COMPREPLY+=("$line"); compopt -o nospace ;;
      *) COMPREPLY+=("$line") ;;
    esac
  done
}
complete -F _grind grind
`,
  zsh: `#compdef grind
# Completion of grind for zsh: eval "$(grind completion zsh)", or as a file _grind in a folder of $fpath
_grind() {
  local line
  local -a found values
  for line in "\${(@f)$(grind completion --words zsh -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    case $line in
      :files) _files ;;
      :folders) _files -/ ;;
      :program) _command_names -e ;;
      *=$'\\t'*) values+=("\${\${line//:/\\\\:}/$'\\t'/:}") ;;
      ?*) found+=("\${\${line//:/\\\\:}/$'\\t'/:}") ;;
    esac
  done
  (( $#found )) && _describe grind found
  (( $#values )) && _describe grind values -S ''
}
compdef _grind grind
`,
  fish: `# Completion of grind for fish: grind completion fish | source
function __grind_words
  set -l words (commandline -opc) (commandline -ct)
  for line in (grind completion --words fish -- $words[2..-1] 2>/dev/null)
    switch $line
      case :files
        __fish_complete_path (commandline -ct)
      case :folders
        __fish_complete_directories (commandline -ct)
      case :program
        __fish_complete_command
      case '*'
        echo $line
    end
  end
end
complete -c grind -f -a '(__grind_words)'
`,
} as const;
type Shell = keyof typeof SCRIPTS;
const SHELLS = Object.keys(SCRIPTS) as Shell[];

export const completionCommand = (
  commands: Commands,
): CommandModule<object, { shell?: Shell; words?: Shell }> => ({
  command: 'completion [shell]',
  describe: 'Print what makes a shell complete commands, options and runs',
  builder: (yargs) =>
    yargs
      .positional('shell', { choices: SHELLS, describe: 'The shell that is to complete' })
      .option('words', { choices: SHELLS, hidden: true })
      .parserConfiguration({ 'populate--': true })
      .example('eval "$(grind completion bash)"', 'In ~/.bashrc; likewise zsh in ~/.zshrc')
      .example('grind completion fish | source', 'In ~/.config/fish/config.fish'),
  handler: async ({ shell, words }) => {
    if (words) {
      const given = process.argv.slice(process.argv.indexOf('--') + 1);
      const found = await candidates(commands, given, words === 'bash');
      const line = ([word, what]: Candidate) =>
        words === 'bash' || word.startsWith(':') ? word : `${word}\t${firstWords(what)}`;
      for (const one of found) process.stdout.write(`${line(one)}\n`);
      return;
    }
    if (!shell) throw new UserError(`Say for which shell: ${SHELLS.join(', ')}.`);
    process.stdout.write(SCRIPTS[shell]);
  },
});

/** A description, as far as it fits beside a word. */
const firstWords = (what: string): string => what.replaceAll(/\s+/g, ' ').split(/[;:(]/)[0]!.trim();

/**
 * What the last word can become.
 * @param splitsValues the shell takes the equals sign of an option for a word, as bash does
 */
export async function candidates(
  commands: Commands,
  given: readonly string[],
  splitsValues: boolean,
): Promise<Candidate[]> {
  const words = splitsValues ? joined(given) : given;
  const current = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const [name] = before;
  if (name === undefined) {
    const all = await declarations(commands);
    return starting(
      current,
      all.map((one) => [one.name, one.describe]),
    );
  }
  if (!Object.hasOwn(commands, name)) return [];
  const command = await declaration(commands, name);
  if (before.includes('--')) return [before.at(-1) === '--' ? PROGRAM : FILES];
  const plain = plainWords(before.slice(1), command.options);
  const own = name === 'analyze' && plain[0] !== undefined ? await optionsOf(plain[0]) : {};
  const options = { ...command.options, ...own };
  // The value of an option, which stands behind an equals sign or as the next word.
  const equals = /^(--[\w-]+)=(.*)$/s.exec(current);
  const spelled = equals?.[1] ?? before.at(-1)!;
  const wanted = Object.entries(options).find(
    ([option, its]) =>
      (spellings(option, its).includes(spelled) || spelled === `--${option}`) &&
      its.type !== 'boolean',
  );
  if (wanted && (equals || spelled.startsWith('-'))) {
    const start = equals?.[2] ?? current;
    const values = starting(start, await valuesOf(...wanted, start));
    const isWhole = equals && !splitsValues;
    return values.map(([word, what]) => [
      isWhole && !word.startsWith(':') ? `${spelled}=${word}` : word,
      what,
    ]);
  }
  if (current.startsWith('-')) {
    const spelt = Object.entries(options).flatMap(([option, its]) =>
      its.hidden ? [] : spellings(option, its).map((word): Candidate => [word, its.describe ?? '']),
    );
    return starting(current, [...spelt, ['--help', 'Show help']]);
  }
  if (name === 'record') return starting(current, [['--', 'Then the program']]);
  const word = command.words[Math.min(plain.length, command.words.length - 1)];
  return word ? starting(current, await valuesOf(word.name, word, current)) : [];
}

const starting = (start: string, all: readonly Candidate[]): Candidate[] =>
  all.filter(([word]) => word.startsWith(start) || word.startsWith(':'));

/** Words as they were typed, of those that bash splits at equals signs and at `@`. */
function joined(given: readonly string[]): string[] {
  const words: string[] = [];
  given.forEach((word, i) => {
    const before = words.at(-1);
    const isValue = word === '=' || given[i - 1] === '=';
    if (isValue && before?.startsWith('--')) words[words.length - 1] = before + word;
    else words.push(word);
  });
  return words;
}

/** The words that are neither options nor their values. */
function plainWords(
  words: readonly string[],
  options: Readonly<Record<string, Options>>,
): string[] {
  const takesValue = (word: string | undefined): boolean =>
    Object.entries(options).some(
      ([option, its]) =>
        its.type !== 'boolean' && [...spellings(option, its), `--${option}`].includes(word ?? ''),
    );
  return words.filter((word, i) => !word.startsWith('-') && !takesValue(words[i - 1]));
}

async function optionsOf(names: string): Promise<Record<string, Options>> {
  const analyses = await loadAnalyses(names);
  return Object.fromEntries(
    analyses.flatMap(({ options }) =>
      Object.entries(options).map(([name, { describe, values }]) => [
        name,
        { type: 'string', describe, ...(values && { choices: values }) },
      ]),
    ),
  );
}

/** The values of an option or a word: those declared, or what its name and description speak of. */
async function valuesOf(
  name: string,
  {
    choices,
    describe = '',
  }: Pick<Options, 'choices'> & { readonly describe?: string | undefined | false },
  start: string,
): Promise<Candidate[]> {
  if (choices) return choices.map((value): Candidate => [String(value), '']);
  const about = describe || '';
  if (name === 'analysis' || name === 'analyses') {
    // Several, separated by commas.
    const others = start.slice(0, start.lastIndexOf(',') + 1);
    const names = ANALYSIS_NAMES.filter((one) => !others.split(',').includes(one));
    const all = await Promise.all(names.map(async (one) => (await loadAnalyses(one))[0]!));
    return [...all.map((one): Candidate => [others + one.name, one.describe]), FILES];
  }
  if (/\bfolder\b/i.test(about) && !/\brevision\b/.test(about)) return [FOLDERS];
  if (/\bruns?\b/i.test(about) && /\brevision\b|\bname/.test(about)) return [...runs(), FOLDERS];
  if (/\brevision\b/.test(about)) return revisions();
  return /\b(file|path)\b/i.test(about) ? [FILES] : [];
}

function runs(): Candidate[] {
  const all = listRuns(RUNS_FOLDER);
  const commits = new Set(all.map(({ manifest }) => manifest?.git?.commit));
  const named = all.map(({ name, manifest }): Candidate => [name, manifest?.argv.join(' ') ?? '']);
  const recorded = revisions().filter(([, commit]) => commits.has(commit));
  return [...named, ['@last', 'the last run'], ...recorded];
}

/** Branches and tags of the repository in this folder, with their commits. */
function revisions(): Candidate[] {
  const format =
    '--format=%(refname:short) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)';
  try {
    const text = execFileSync('git', ['for-each-ref', format, 'refs/heads', 'refs/tags'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return text
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' ') as [string, string]);
  } catch {
    return []; // no repository, or no git
  }
}
