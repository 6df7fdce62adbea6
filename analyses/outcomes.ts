/** What several analyses say of a run. */
import type { Trace } from '../replay/trace.js';
import type { Analysis, AnalysisContext, OptionValues } from './analysis.js';
import { readEvents } from './event-handlers.js';
import type { Outcome } from './finding.js';
import type { EventPart, MakePart, Part } from './replay-parts.js';

/** Runs analyses one after another, but those that can share a replay together. */
export async function* outcomesOf(
  trace: Trace,
  wanted: readonly { analysis: Analysis; options: OptionValues }[],
  context: AnalysisContext,
): AsyncGenerator<{ analysis: Analysis; outcome: Outcome }> {
  const sharing = wanted.flatMap(({ analysis, options }) =>
    analysis.part ? [{ analysis, options, part: analysis.part }] : [],
  );
  if (sharing.length > 1)
    for await (const outcomes of runParts(trace, sharing, context))
      for (const [i, { analysis }] of sharing.entries()) yield { analysis, outcome: outcomes[i]! };
  for (const { analysis, options } of wanted)
    if (sharing.length < 2 || !analysis.part)
      for await (const outcome of analysis.run(trace, options, context))
        yield { analysis, outcome };
}

/** Goes through each process image once for all parts: yields the outcomes of an image in the order of `makers`. */
export async function* runParts(
  trace: Trace,
  makers: readonly { readonly part: MakePart; readonly options: OptionValues }[],
  context: AnalysisContext,
): AsyncGenerator<Outcome[]> {
  const { processes } = context;
  for (const [place, process] of processes.entries()) {
    const ticks = Number(trace.processes.find((row) => row.process === process)?.ticks ?? 1n);
    const progress = (done: number): void => context.progress((place + done) / processes.length);
    const parts = makers.map(({ part, options }) =>
      part(trace, process, options, { ...context, progress }),
    );
    if (parts.every(isOfEvents)) {
      readEvents(trace, process, parts);
      yield parts.map((part) => part.finish());
      continue;
    }
    // Replay costs something to load.
    const { replayParts } = await import('./replay-parts.js');
    yield replayParts(trace, process, parts, (tick) => progress(tick / ticks));
  }
}

const isOfEvents = (part: Part): part is EventPart => part.wants === undefined;
