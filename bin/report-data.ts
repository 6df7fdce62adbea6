/** Gathers what `grind report` shows of one process of a run. */
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Profile, ProfileCell, ProfileTable } from '../analyses/profile.js';
import type { Manifest } from '../recorder/manifest.js';
import type { Database } from '../replay/database.js';
import type { ProcessRow } from '../replay/trace.js';
import { formatCount, hex } from '../schemas/numbers.js';
import { formatSize } from './numbers.js';
import type {
  FindingsSection,
  FlameSection,
  HeatSection,
  LinesSection,
  Section,
  SourcesSection,
  TableSection,
} from './page/data.js';
import { formatExit, formatGit, traceBytes } from './runs.js';

/** Rows of a table that the page holds. */
const MOST_ROWS = 5000;
/** Of the picture of accesses. */
const HEAT_COLUMNS = 400;
const MOST_HEAT_ROWS = 360;
const PAGE_BITS = 12n;
/** Source files that the page holds, lines of all of them, and what is shown around a line that ran. */
const MOST_FILES = 40;
const MOST_LINES = 20_000;
const LINES_AROUND = 4;
const MOST_SOURCE_BYTES = 32_000_000;

type SqlRow = Record<string, unknown>;

/** Names and values at the top of the page. */
export function facts(manifest: Manifest, image: ProcessRow): [string, string][] {
  const { versions } = manifest;
  const seconds = (Date.parse(manifest.ended) - Date.parse(manifest.started)) / 1000;
  return [
    ['program', manifest.argv.join(' ')],
    ['process', `${image.process} of ${manifest.processes}: ${image.executable}`],
    ['recorded', `${manifest.started}, ${seconds.toFixed(1)} s`],
    ['exit', formatExit(manifest)],
    ['instructions', formatCount(image.ticks)],
    ['trace', formatSize(traceBytes(manifest))],
    ...(manifest.git ? [['git', formatGit(manifest)] as [string, string]] : []),
    ['versions', `grind ${versions.grind}, Valgrind ${versions.engine}`],
  ];
}

/** What analyses found, one section for each of those that ran. */
export async function findingSections(database: Database, process: number): Promise<Section[]> {
  const all = await database.rows(
    `select analysis, finding, kind, what, count, tick, thread, suppressed_by
     from findings where process = ${process} order by analysis, finding`,
  );
  const frames = await database.rows(
    `select analysis, finding, stack, role, function, file, line, module, pc
     from finding_frames where process = ${process} order by analysis, finding, stack, depth`,
  );
  const stacks = new Map<string, { role: string; frames: string[] }[]>();
  for (const frame of frames) {
    const key = `${String(frame['analysis'])} ${String(frame['finding'])}`;
    const list = stacks.get(key) ?? [];
    stacks.set(key, list);
    const stack = (list[Number(frame['stack'])] ??= { role: String(frame['role']), frames: [] });
    stack.frames.push(frameText(frame));
  }
  const names = [...new Set(all.map((row) => String(row['analysis'])))];
  return names.map((analysis): FindingsSection => {
    const findings = all
      .filter((row) => row['analysis'] === analysis)
      .map((row) => ({
        kind: String(row['kind']),
        what: String(row['what']),
        count: Number(row['count']),
        tick: formatCount(row['tick'] as bigint),
        thread: Number(row['thread']),
        isSuppressed: Boolean(row['suppressed_by']),
        stacks: stacks.get(`${analysis} ${String(row['finding'])}`)?.filter(Boolean) ?? [],
      }));
    return { kind: 'findings', title: `Findings of ${analysis}`, findings };
  });
}

function frameText({ function: name, file, line, module, pc }: SqlRow): string {
  const place = file ? `${String(file)}:${String(line)}` : `in ${String(module) || 'no module'}`;
  return `${String(name) || hex(pc as bigint)} (${place})`;
}

// ---- Profiles ----

export function profileSections({ lines, tables }: Profile, analysis: string): Section[] {
  const sections = tables.filter(({ rows }) => rows.length > 0).flatMap(profileTable);
  const [first, ...others] = sections.map((section) => {
    return { ...section, title: `${analysis}: ${section.title.replace(/:$/, '')}` };
  });
  return first ? [{ ...first, notes: lines.filter((line) => line.trim() !== '') }, ...others] : [];
}

function profileTable(table: ProfileTable): Section[] {
  const { title, columns, rows, drawn } = table;
  const place = (name: string): number => {
    const found = columns.findIndex((column) => column.name === name);
    if (found < 0) throw new Error(`the table ${table.name} has no column ${name} to be drawn`);
    return found;
  };
  const head = (name: string): string => columns[place(name)]!.head ?? name;
  const numbers = (name: string): number[] => rows.map((row) => Number(row[place(name)]));
  if (drawn?.as === 'flame') {
    const { names, numbers: name } = numbered(rows.map((row) => String(row[place(drawn.name)])));
    const flame: FlameSection = {
      kind: 'flame',
      title,
      unit: drawn.unit,
      names,
      name,
      parent: numbers(drawn.parent),
      self: numbers(drawn.self),
    };
    return [flame];
  }
  const shown: TableSection = {
    kind: 'table',
    title,
    columns: columns.map(({ name, head = name, isShare }) => ({
      head,
      ...(isShare && { isShare }),
    })),
    rows: rows.slice(0, MOST_ROWS).map((row) => row.map(cell)),
    ...(rows.length > MOST_ROWS && {
      notes: [`The first ${formatCount(MOST_ROWS)} of ${formatCount(rows.length)} rows.`],
    }),
  };
  if (!drawn) return [shown];
  const picture: LinesSection = {
    kind: 'lines',
    title,
    x: { head: head(drawn.x), values: numbers(drawn.x) },
    lines: drawn.lines.map((name) => ({ head: head(name), values: numbers(name) })),
    ...(drawn.isLogX && { isLogX: true }),
    ...(drawn.isLogY && { isLogY: true }),
    ...(drawn.isStepped && { isStepped: true }),
  };
  return table.shownRows === 0 ? [picture] : [picture, { ...shown, title: `${title}, in numbers` }];
}

/** A bigint that a number cannot hold is text. */
function cell(value: ProfileCell): string | number {
  if (typeof value !== 'bigint') return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
}

function numbered(texts: readonly string[]): { names: string[]; numbers: number[] } {
  const known = new Map<string, number>();
  const numbers = texts.map((text) => {
    const number = known.get(text) ?? known.size;
    known.set(text, number);
    return number;
  });
  return { names: [...known.keys()], numbers };
}

// ---- What SQL says ----

/** What instructions of one line of one function cost. */
export interface CodeCosts {
  readonly function: string;
  /** Name of the object file without its folder. */
  readonly module: string;
  /** Whole path; empty when unknown. */
  readonly file: string;
  readonly line: number;
  readonly instructions: number;
  readonly loads: number;
  readonly stores: number;
}

export async function codeCosts(database: Database, process: number): Promise<CodeCosts[]> {
  const of = (table: string): string => `(from ${table} where process = ${process})`;
  const rows = await database.rows(
    `select i.function, regexp_extract(m.path, '[^/]*$') as module, i.directory, i.file, i.line,
            sum(c.executions)::double as instructions,
            coalesce(sum(a.loads), 0)::double as loads, coalesce(sum(a.stores), 0)::double as stores
     from ${of('instruction_counts')} c
     left join ${of('instructions')} i on i.pc = c.pc
     left join ${of('modules')} m on m.module = i.module
     left join ${of('access_counts')} a on a.pc = c.pc
     group by all`,
  );
  return rows.map(
    ({ function: name, module, directory, file, line, instructions, loads, stores }) => ({
      function: name ? String(name) : '(unknown)',
      module: module ? String(module) : '',
      file: file ? resolve(String(directory), String(file)) : '',
      line: Number(line ?? 0),
      instructions: Number(instructions),
      loads: Number(loads),
      stores: Number(stores),
    }),
  );
}

export function functionSection(costs: readonly CodeCosts[]): TableSection {
  const whole = costs.reduce((sum, { instructions }) => sum + instructions, 0);
  const functions = new Map<string, { name: string; module: string; sums: number[] }>();
  for (const { function: name, module, instructions, loads, stores } of costs) {
    const key = `${module} ${name}`;
    const { sums } = functions.get(key) ?? { sums: [0, 0, 0] };
    functions.set(key, {
      name,
      module,
      sums: [instructions, loads, stores].map((value, i) => value + sums[i]!),
    });
  }
  const rows = [...functions.values()]
    .sort((a, b) => b.sums[0]! - a.sums[0]!)
    .slice(0, MOST_ROWS)
    .map(({ name, module, sums: [instructions, loads, stores] }) => {
      return [name, module, instructions!, instructions! / whole, loads!, stores!];
    });
  return {
    kind: 'table',
    title: 'Functions',
    columns: [
      { head: 'function' },
      { head: 'module' },
      { head: 'instructions' },
      { head: 'share', isShare: true },
      { head: 'loads' },
      { head: 'stores' },
    ],
    rows,
  };
}

/** Where in memory accesses were, over time. */
export async function heatSection(
  database: Database,
  { process, ticks }: ProcessRow,
): Promise<HeatSection> {
  const perColumn = ticks / BigInt(HEAT_COLUMNS) + 1n;
  const counted = await database.rows(
    `select (tick // ${perColumn})::integer as col, addr >> ${PAGE_BITS} as page,
            count(*) filter (kind = 'load') as loads, count(*) filter (kind = 'store') as stores
     from accesses where process = ${process} group by all`,
  );
  const pages = [...new Set(counted.map((row) => row['page'] as bigint))].sort((a, b) =>
    a < b ? -1 : 1,
  );
  const regionOf = await regionNames(database, process);
  const perRow = Math.ceil(pages.length / MOST_HEAT_ROWS);
  const rows: { from: string; to: string; region: string }[] = [];
  const rowOf = new Map<bigint, number>();
  let inRow = perRow;
  pages.forEach((page, i) => {
    const region = regionOf(page << PAGE_BITS);
    // A row is of one region only.
    if (inRow === perRow || rows.at(-1)!.region !== region) {
      rows.push({ from: hex(page << PAGE_BITS), to: '', region });
      inRow = 0;
    }
    inRow++;
    rowOf.set(page, rows.length - 1);
    rows.at(-1)!.to = hex(((pages[i]! + 1n) << PAGE_BITS) - 1n);
  });
  const cells = new Map<number, { loads: number; stores: number }>();
  for (const { col, page, loads, stores } of counted) {
    const at = rowOf.get(page as bigint)! * HEAT_COLUMNS + Number(col);
    const sum = cells.get(at) ?? { loads: 0, stores: 0 };
    cells.set(at, { loads: sum.loads + Number(loads), stores: sum.stores + Number(stores) });
  }
  return {
    kind: 'heat',
    title: 'Memory over time',
    notes: [
      `Pages that were accessed, in order of address, without those between them; ${formatCount(perColumn)} instructions a column${perRow > 1 ? `, up to ${perRow} pages a row` : ''}.`,
    ],
    columns: HEAT_COLUMNS,
    ticks: Number(perColumn) * HEAT_COLUMNS,
    rows,
    cells: [...cells.keys()],
    loads: [...cells.values()].map(({ loads }) => loads),
    stores: [...cells.values()].map(({ stores }) => stores),
  };
}

/** How far the first thread's stack may grow down. */
const MOST_STACK_BYTES = 8n << 20n;

/** What lies at an address: the file that was mapped there last, the stack of the first thread, the heap. */
async function regionNames(
  database: Database,
  process: number,
): Promise<(address: bigint) => string> {
  const mapped = await database.rows(
    `select address, size, op::varchar as op, file from mappings
     where process = ${process} and op in ('startup', 'mmap', 'brk') order by event desc`,
  );
  const regions = mapped.map(({ address, size, op, file }) => ({
    low: address as bigint,
    high: (address as bigint) + (size as bigint),
    name: file ? String(file) : op === 'brk' ? 'break' : 'mapped',
    isStartup: op === 'startup' && !file,
  }));
  // What the process has at its start and is of no file: the stack is the highest.
  const stack = regions
    .filter(({ isStartup }) => isStartup)
    .reduce((top, { high }) => (high > top ? high : top), 0n);
  return (address) => {
    if (address < stack && address >= stack - MOST_STACK_BYTES) return 'stack';
    return regions.find(({ low, high }) => address >= low && address < high)?.name ?? 'heap';
  };
}

/** Source files of the lines that ran most, as far as they are there. */
export function sourcesSection(costs: readonly CodeCosts[]): SourcesSection | undefined {
  const byFile = new Map<string, Map<number, number[]>>();
  for (const { file, line, instructions, loads, stores } of costs) {
    if (!file || line === 0) continue;
    const lines = byFile.get(file) ?? new Map<number, number[]>();
    byFile.set(file, lines);
    // Functions that a line is of, such as instances of a template, are summed up.
    const sums = lines.get(line) ?? [0, 0, 0];
    lines.set(
      line,
      [instructions, loads, stores].map((value, i) => value + sums[i]!),
    );
  }
  const totals = [...byFile].map(([path, lines]) => {
    const sums = [0, 0, 0];
    for (const counts of lines.values()) counts.forEach((value, i) => (sums[i]! += value));
    return { path, lines, totals: sums };
  });
  totals.sort((a, b) => b.totals[0]! - a.totals[0]!);
  const files: SourcesSection['files'][number][] = [];
  let left = MOST_LINES;
  for (const { path, lines, totals: sums } of totals) {
    const text = files.length < MOST_FILES && left > 0 ? sourceText(path) : undefined;
    if (!text) continue;
    const shown = text.flatMap((line, i) => {
      const number = i + 1;
      const isNear = Array.from({ length: 2 * LINES_AROUND + 1 }, (_, k) =>
        lines.has(number + k - LINES_AROUND),
      ).some(Boolean);
      return isNear ? [[number, line, lines.get(number) ?? [0, 0, 0]] as const] : [];
    });
    left -= shown.length;
    files.push({ path, totals: sums, lines: shown });
  }
  if (files.length === 0) return undefined;
  const heads = ['instructions', 'loads', 'stores'];
  return { kind: 'sources', title: 'Source', heads, files };
}

/** The lines of a source file, or undefined when it is not there or not a text of ordinary size. */
function sourceText(path: string): string[] | undefined {
  try {
    if (statSync(path).size > MOST_SOURCE_BYTES) return undefined;
    return readFileSync(path, 'utf8').split(/\r?\n/);
  } catch {
    return undefined;
  }
}
