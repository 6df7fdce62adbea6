/** `grind report`: a run as one page for a browser, which needs nothing else. */
import { readFileSync } from 'node:fs';
import type { CommandModule, InferredOptionTypes, Options } from 'yargs';
import { ANALYSIS_NAMES, loadAnalyses, optionValues, type Analysis } from '../analyses/analysis.js';
import { outcomesOf } from '../analyses/outcomes.js';
import { openAhead } from '../replay/ahead.js';
import { Database } from '../replay/database.js';
import { endWorkers } from '../replay/spare-workers.js';
import { Trace, type ProcessRow } from '../replay/trace.js';
import { UserError } from '../schemas/errors.js';
import { OUT_OPTION, RUN_WORD } from './numbers.js';
import type { ReportData, Section } from './page/data.js';
import {
  codeCosts,
  facts,
  findingSections,
  functionSection,
  heatSection,
  profileSections,
  sourcesSection,
} from './report-data.js';
import { chosenProcesses, findRun, manifestOf } from './runs.js';
import { writeText } from './write-text.js';

const OPTIONS = {
  output: {
    alias: 'o',
    type: 'string',
    requiresArg: true,
    default: 'report.html',
    describe: 'Write the page to this file',
  },
  analyses: {
    type: 'string',
    requiresArg: true,
    describe: 'Profiles to show, separated by commas; by default all that come with grind',
  },
  process: {
    type: 'number',
    requiresArg: true,
    describe: 'The process to show, by its number; by default the one that executed most',
  },
  out: OUT_OPTION,
} as const satisfies Record<string, Options>;

type Arguments = InferredOptionTypes<typeof OPTIONS> & { run?: string };

/** Addresses of a call stack that profiles show, as `grind analyze` does. */
const CALLERS = 12;

export const reportCommand: CommandModule<object, Arguments> = {
  command: 'report [run]',
  describe: 'Show a run as a page for a browser: findings, profiles, pictures, sources',
  builder: (yargs) =>
    yargs
      .positional('run', RUN_WORD)
      .options(OPTIONS)
      .example('$0 report -o report.html', 'The last run'),
  handler: report,
};

async function report({ run, out, output, analyses, process }: Arguments): Promise<void> {
  const trace = Trace.open(await findRun(run, out));
  try {
    const image = chosenProcess(trace, process);
    const profiles = await profilesOf(trace, image, await chosenAnalyses(analyses));
    const database = await Database.open(trace, openAhead);
    let data: ReportData;
    try {
      const number = image.process;
      const costs = await codeCosts(database, number);
      const sources = sourcesSection(costs);
      data = {
        title: `${trace.name}: ${manifestOf(trace).argv.join(' ')}`,
        facts: facts(manifestOf(trace), image),
        sections: [
          ...(await findingSections(database, number)),
          ...profiles,
          await heatSection(database, image),
          functionSection(costs),
          ...(sources ? [sources] : []),
        ],
      };
    } finally {
      database.close();
      endWorkers();
    }
    writeText(output, page(data));
    console.error(`grind: ${output} shows run ${trace.name}.`);
  } finally {
    trace.close();
  }
}

/** The process that the user chose, or the one that executed most. */
function chosenProcess(trace: Trace, wanted: number | undefined): ProcessRow {
  const chosen = chosenProcesses(trace, wanted === undefined ? undefined : [wanted]);
  const images = trace.processes.filter(({ process }) => chosen.includes(process));
  if (images.length === 0) throw new UserError(`Run ${trace.name} has no processes.`);
  return images.reduce((a, b) => (b.ticks > a.ticks ? b : a));
}

/** The analyses named; those of grind's own that can share a replay when none are. */
async function chosenAnalyses(names: string | undefined): Promise<Analysis[]> {
  if (names !== undefined) return loadAnalyses(names);
  return (await loadAnalyses(ANALYSIS_NAMES.join())).filter(({ part }) => part);
}

async function profilesOf(
  trace: Trace,
  { process }: ProcessRow,
  analyses: readonly Analysis[],
): Promise<Section[]> {
  const wanted = analyses.map((analysis) => ({
    analysis,
    options: optionValues(analysis, {}),
  }));
  const context = { processes: [process], callers: CALLERS, progress: () => {} };
  const sections: Section[] = [];
  for await (const { analysis, outcome } of outcomesOf(trace, wanted, context)) {
    if (!outcome.profile)
      throw new UserError(
        `The analysis ${analysis.name} is no profile: \`grind analyze ${analysis.name}\` keeps its findings, and the report shows them.`,
      );
    sections.push(...profileSections(outcome.profile, analysis.name));
  }
  return sections;
}

/** The page with its script, its style and its data. */
function page(data: ReportData): string {
  const part = (name: string): string =>
    readFileSync(new URL(`./page/page.bundle.${name}`, import.meta.url), 'utf8');
  // Within a script element, nothing may look like a tag.
  const json = JSON.stringify(data).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(data.title)}</title>
<style>${part('css')}</style>
</head>
<body>
<script type="application/json" id="data">${json}</script>
<script>${part('js').replaceAll('</script', '<\\/script')}</script>
</body>
</html>
`;
}

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
