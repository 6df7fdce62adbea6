/** Calling contexts as files for flame graphs. Costs are instructions; what has none is left out. */
import type { Context } from './costs.js';

/**
 * Collapsed stacks (Gregg's stackcollapse format): a line for each context, functions from the outermost one, separated by
 * semicolons, then its cost. Where there are several threads, each is the outermost frame.
 */
export function collapsedStacks(all: Iterable<Context>, names: readonly string[]): string {
  const list = [...all].filter(({ self }) => self > 0);
  const hasThreads = new Set(list.map(({ thread }) => thread)).size > 1;
  const lines = list.map(({ thread, path, self }) => {
    const frames = path.map((fn) => names[fn]!.replace(/[;\n]/g, ':'));
    if (hasThreads) frames.unshift(`thread ${thread}`);
    return `${frames.join(';') || '???'} ${self}\n`;
  });
  return lines.join('');
}

/**
 * As speedscope's file format (https://www.speedscope.app/file-format-schema.json): a profile of weighted samples for each
 * thread.
 */
export function speedscopeFile(
  all: Iterable<Context>,
  frames: readonly { readonly name: string; readonly file: string; readonly line: number }[],
  name: string,
): string {
  const threads = new Map<number, { samples: (readonly number[])[]; weights: number[] }>();
  for (const { thread, path, self } of all) {
    if (self === 0) continue;
    let own = threads.get(thread);
    if (!own) threads.set(thread, (own = { samples: [], weights: [] }));
    own.samples.push(path);
    own.weights.push(self);
  }
  return `${JSON.stringify({
    $schema: 'https://www.speedscope.app/file-format-schema.json',
    exporter: 'grind',
    name,
    activeProfileIndex: 0,
    shared: {
      frames: frames.map((frame) => ({
        name: frame.name,
        ...(frame.file && { file: frame.file, line: frame.line }),
      })),
    },
    profiles: [...threads].map(([thread, { samples, weights }]) => ({
      type: 'sampled',
      name: `thread ${thread}`,
      unit: 'none',
      startValue: 0,
      endValue: weights.reduce((sum, weight) => sum + weight, 0),
      samples,
      weights,
    })),
  })}\n`;
}
