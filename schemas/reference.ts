/**
 * Describes everything that SQL and the files offer, from the declarations: as text for
 * `grind query --tables`, and as the page docs/tables.md (`npm run docs`).
 */
import { argv } from 'node:process';
import { pathToFileURL } from 'node:url';
import type { Column, Table } from './schema.js';
import { storedColumns } from './stored.js';
import { STORED_TABLES } from './tables.js';
import { COMPUTED_TABLES, HIDDEN_COMPUTED, MACROS, SHOWN_TABLES, VIEWS } from './views.js';

const SQL_TYPES: Record<Column['type'], string> = {
  u8: 'UTINYINT',
  u16: 'USMALLINT',
  u32: 'UINTEGER',
  u64: 'UBIGINT',
  i32: 'INTEGER',
  i64: 'BIGINT',
  bool: 'BOOLEAN',
  enum: 'ENUM',
  string: 'VARCHAR',
  binary: 'BLOB',
};

/** A table as SQL shows it. */
interface Shown {
  /** With the parameters of a macro. */
  readonly heading: string;
  readonly doc: string;
  readonly columns: readonly (readonly [string, Column])[];
}

interface Section {
  readonly title: string;
  readonly tables: readonly Shown[];
}

const asDeclared = ({ name, doc, columns }: Table): Shown => ({
  heading: name,
  doc,
  columns: Object.entries(columns),
});
const asStored = (table: Table): Shown => ({
  ...asDeclared(table),
  columns: Object.entries(storedColumns(table)),
});

/**
 * What SQL offers, in the order in which it is described.
 * @param own tables of the user's analyses
 */
export function sqlSections(own: readonly Table[] = []): Section[] {
  const computed = COMPUTED_TABLES.filter((table) => !HIDDEN_COMPUTED.includes(table));
  const macros = MACROS.map((macro) => ({
    ...asDeclared(macro),
    heading: `${macro.name}(${macro.parameters})`,
  }));
  const ofOwn = { title: "Tables of this run's own analyses", tables: own.map(asDeclared) };
  return [
    ...(own.length > 0 ? [ofOwn] : []),
    { title: 'Tables computed from the program and by replay', tables: computed.map(asDeclared) },
    { title: 'Recorded tables', tables: SHOWN_TABLES.map(asStored) },
    { title: 'Views', tables: VIEWS.map(asDeclared) },
    { title: 'Macros, used as `from name(…)`', tables: macros },
  ];
}

/** Text for `grind query --tables`. */
export function describeTables(own: readonly Table[] = []): string {
  const blocks = sqlSections(own).flatMap(({ title, tables }) => [
    title.toUpperCase(),
    ...tables.map(({ heading, doc, columns }) => {
      const width = Math.max(...columns.map(([name]) => name.length));
      const lines = columns.map(
        ([name, column]) =>
          `  ${name.padEnd(width)}  ${SQL_TYPES[column.type].padEnd(9)}  ${sentence(column)}`,
      );
      return [`${heading}: ${doc}`, ...lines].join('\n');
    }),
  ]);
  return `${blocks.join('\n\n')}\n`;
}

function sentence({ doc, names }: Column): string {
  return names ? `${doc} One of ${names.join(', ')}.` : doc;
}

/** The page docs/tables.md. */
export function referencePage(): string {
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const tableText = ({ heading, doc, columns }: Shown, type: (column: Column) => string) =>
    [
      `### ${heading}`,
      doc,
      [
        '| column | type | meaning |',
        '| --- | --- | --- |',
        ...columns.map(
          ([name, column]) => `| ${name} | ${type(column)} | ${cell(sentence(column))} |`,
        ),
      ].join('\n'),
    ].join('\n\n');
  const sql = sqlSections().flatMap(({ title, tables }) => [
    `## ${title}`,
    ...tables.map((shown) => tableText(shown, (column) => SQL_TYPES[column.type])),
  ]);
  const files = STORED_TABLES.map((table) =>
    tableText({ ...asStored(table), heading: `${table.name}.arrow` }, ({ type }) => type),
  );
  return `${[
    '# Tables',
    'Generated from the declarations in `schemas/` by `npm run docs`; do not edit.',
    'The first part is what `grind query` offers. Addresses and values are exact 64-bit integers; write them in decimal or hexadecimal (`0x1ffe`). The last part is what the files of a run folder hold.',
    ...sql,
    '## Stored files',
    'Each file `<table>.arrow` of a run folder is an Arrow IPC file with LZ4-compressed bodies. An enum is a u8 whose names are in the field’s metadata (`enum`).',
    ...files,
  ].join('\n\n')}\n`;
}

if (argv[1] !== undefined && import.meta.url === pathToFileURL(argv[1]).href)
  process.stdout.write(referencePage());
