/** Findings: each with its sentence, opened to show its call stacks. */
import type { FindingsSection } from './data.js';
import { count, element } from './dom.js';

export function drawFindings({ findings }: FindingsSection): HTMLElement {
  return element(
    'div',
    { class: 'findings' },
    ...findings.map(({ kind, what, count: times, tick, thread, isSuppressed, stacks }, i) =>
      element(
        'details',
        { class: isSuppressed ? 'suppressed' : '', open: i === 0 },
        element(
          'summary',
          {},
          element('span', { class: 'kind' }, kind),
          ` ${what}`,
          element(
            'span',
            { class: 'where' },
            ` ${count(times)} ×, first at tick ${tick} in thread ${thread}${isSuppressed ? ', suppressed' : ''}`,
          ),
        ),
        ...stacks.flatMap(({ role, frames }) => [
          ...(role ? [element('p', {}, role)] : []),
          element('ol', {}, ...frames.map((frame) => element('li', {}, frame))),
        ]),
      ),
    ),
  );
}
