/** The page of `grind report`: draws the sections that its data hold. */
import type { ReportData, Section } from './data.js';
import { element, Tip } from './dom.js';
import { drawFindings } from './findings.js';
import { drawFlame } from './flame.js';
import { drawHeat } from './heat.js';
import { drawLines } from './lines.js';
import { drawSources } from './sources.js';
import { drawTable } from './table.js';

const tip = new Tip();

function draw(section: Section): HTMLElement {
  switch (section.kind) {
    case 'table':
      return drawTable(section);
    case 'lines':
      return drawLines(section);
    case 'flame':
      return drawFlame(section, tip);
    case 'heat':
      return drawHeat(section, tip);
    case 'findings':
      return drawFindings(section);
    case 'sources':
      return drawSources(section);
  }
}

const { title, facts, sections } = JSON.parse(
  document.getElementById('data')!.textContent!,
) as ReportData;
document.body.prepend(
  element(
    'nav',
    {},
    ...sections.map(({ title }, i) => element('a', { href: `#section${i}` }, title)),
  ),
  element(
    'main',
    {},
    element('h1', {}, title),
    element(
      'dl',
      {},
      ...facts.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
    ),
    ...sections.map((section, i) =>
      element(
        'section',
        { id: `section${i}`, class: section.kind },
        element('h2', {}, section.title),
        ...(section.notes ?? []).map((note) => element('p', { class: 'note' }, note)),
        draw(section),
      ),
    ),
  ),
);
