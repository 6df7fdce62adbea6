/** What several analyses say of a run. */
import type { Trace } from '../replay/trace.js';
import type { Analysis, AnalysisContext, OptionValues } from './analysis.js';
import type { Outcome } from './finding.js';

/** Runs analyses one after another, but those that can share a replay together. */
export async function* outcomesOf(
  trace: Trace,
  wanted: readonly { analysis: Analysis; options: OptionValues }[],
  context: AnalysisContext,
): AsyncGenerator<{ analysis: Analysis; outcome: Outcome }> {
  const sharing = wanted.flatMap(({ analysis, options }) =>
    analysis.part ? [{ analysis, options, part: analysis.part }] : [],
  );
  if (sharing.length > 1) {
    // Not all analyses need a replay, which costs something to load.
    const { runParts } = await import('./replay-parts.js');
    for (const outcomes of runParts(trace, sharing, context))
      for (const [i, { analysis }] of sharing.entries()) yield { analysis, outcome: outcomes[i]! };
  }
  for (const { analysis, options } of wanted)
    if (sharing.length < 2 || !analysis.part)
      for await (const outcome of analysis.run(trace, options, context))
        yield { analysis, outcome };
}
