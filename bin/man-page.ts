/** `grind man-page`, which the build runs: the manual page grind(1), in the macros of man(7), from the commands' declarations. */
import type { CommandModule, Options } from 'yargs';
import { ANALYSIS_NAMES, loadAnalyses, type AnalysisOption } from '../analyses/analysis.js';
import { ownVersion } from '../recorder/manifest.js';
import { declarations, spellings, type Commands, type Declaration } from './declarations.js';

export const manPageCommand = (commands: Commands): CommandModule => ({
  command: 'man-page',
  describe: false,
  handler: async () => void process.stdout.write(await manPage(commands)),
});

/** When this version was made. */
const RELEASED = '2026-11-22';

async function manPage(commands: Commands): Promise<string> {
  const all = await declarations(commands);
  const analyses = await loadAnalyses(ANALYSIS_NAMES.join());
  return [
    `.TH GRIND 1 "${RELEASED}" "grind ${ownVersion()}" "User Commands"`,
    '.SH NAME',
    roff('grind - record a native program once, and answer questions about that execution'),
    '.SH SYNOPSIS',
    '.B grind record',
    roff('[options] -- PROGRAM ARGS…'),
    ...all.flatMap(({ name, synopsis }) =>
      name === 'record' ? [] : ['.br', `.B ${roff(`grind ${name}`)}`, ...rest(name, synopsis)],
    ),
    '.SH DESCRIPTION',
    roff(
      'grind records a program while it runs, under Valgrind: once, with what it takes to execute it again. Every question is then answered from the recording: analyses find memory errors, leaks and races or measure caches and the heap, queries in SQL see each instruction, access, call and event.',
    ),
    '.SH COMMANDS',
    ...all.flatMap(commandLines),
    '.SH ANALYSES',
    roff('The options of each analysis, for grind analyze.'),
    ...analyses.flatMap(({ name, describe, options }) => [
      `.SS ${roff(name)}`,
      roff(`${describe}.`),
      ...Object.entries(options).flatMap(([option, its]) => optionLines(option, asOption(its))),
    ]),
    ...ENDING.flatMap(([title, entries]) => [
      `.SH ${title}`,
      ...entries.flatMap(([what, text]) => ['.TP', `.B ${roff(what)}`, roff(text)]),
    ]),
    '',
  ].join('\n');
}

const ENDING: readonly [string, readonly (readonly [string, string])[]][] = [
  [
    'EXIT STATUS',
    [
      [
        '0',
        'What was asked for was done; of grind record, the status of the program, and 128 + n for a fatal signal.',
      ],
      ['1', 'A gate of grind diff holds.'],
      [
        '2',
        'Something is wrong with the command line, or with what it names: a sentence on standard error says what.',
      ],
      ['70', 'A bug in grind.'],
    ],
  ],
  [
    'FILES',
    [
      ['.grind/', 'The runs that were recorded in this folder.'],
      [
        '~/.cache/grind/',
        'What was built for this machine, where the installation cannot be written to.',
      ],
    ],
  ],
  [
    'ENVIRONMENT',
    [
      ['NO_COLOR', 'If it is set, nothing is coloured. Neither is what does not go to a terminal.'],
      ['VALGRIND_LIB', "Where Valgrind's default suppressions are looked for first."],
      ['XDG_CACHE_HOME', 'In the place of ~/.cache.'],
    ],
  ],
];

const asOption = ({ describe, default: preset, values }: AnalysisOption): Options => ({
  type: 'string',
  describe,
  ...(preset !== '' && { default: preset }),
  ...(values && { choices: values }),
});

/** The words of a command. */
const rest = (name: string, synopsis: string): string[] => {
  const words = synopsis.slice(name.length).trim();
  return words ? [roff(words)] : [];
};

function commandLines({
  name,
  synopsis,
  describe,
  words,
  options,
  examples,
}: Declaration): string[] {
  return [
    `.SS ${roff(`grind ${synopsis}`)}`,
    roff(`${describe}.`),
    ...words.flatMap(({ name: word, describe: what }) => [
      '.TP',
      `.I ${roff(word)}`,
      roff(`${what || ''}.`),
    ]),
    ...Object.entries(options).flatMap(([option, its]) =>
      its.hidden ? [] : optionLines(option, its),
    ),
    ...(examples.length > 0 ? ['.PP', roff(`Examples of grind ${name}:`)] : []),
    ...examples.flatMap(([line, what]) => ['.TP', `.B ${roff(line)}`, roff(`${what}.`)]),
  ];
}

function optionLines(name: string, option: Options): string[] {
  const { type, choices, default: preset, describe } = option;
  const value =
    type === 'boolean' ? '' : ` ${choices?.join('|') ?? (type === 'number' ? 'N' : 'TEXT')}`;
  const isTold = preset !== undefined && type !== 'boolean';
  return [
    '.TP',
    `.B ${roff(
      `${spellings(name, option)
        .join(', ')
        .replace(/^--no-/, '--[no-]')}${value}`,
    )}`,
    roff(`${describe ?? ''}.${isTold ? ` By default ${String(preset)}.` : ''}`),
  ];
}

/** Text as groff and mandoc take it literally, on one line. */
const roff = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('…', '...')
    .replaceAll('’', '\\(cq')
    .replaceAll("'", '\\(aq')
    .replaceAll('"', '\\(dq')
    .replaceAll('`', '\\(ga')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha')
    .replaceAll('–', '\\(en')
    .replace(/^\./, '\\&.')
    .replaceAll(/\s+/g, ' ');
