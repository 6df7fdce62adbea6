/**
 * SQL over one trace: an in-memory DuckDB whose tables are scans of the trace. Nothing is ingested.
 * What there is, is declared in schemas/views.ts.
 */
import { availableParallelism } from 'node:os';
import {
  DuckDBInstance,
  DuckDBTypeId,
  StatementType,
  type DuckDBConnection,
  type DuckDBPreparedStatement,
  type DuckDBResult,
} from '@duckdb/node-api';
import { UserError } from '../schemas/errors.js';
import type { Columns, Table } from '../schemas/schema.js';
import { storedColumns } from '../schemas/stored.js';
import {
  accesses,
  ANALYSIS_TABLES,
  COMPUTED_TABLES,
  HIDDEN_COMPUTED,
  HIDDEN_TABLES,
  ioctl_names,
  ir,
  MACROS,
  READS_ACCESSES,
  run,
  segment_instructions,
  segments,
  SHOWN_TABLES,
  sites,
  stacks,
  trace_damage,
  VIEWS,
} from '../schemas/views.js';
import { ANYTHING, prepareTwin, statementHints, type Hints } from './hints.js';
import { CHUNKS_AT_ONCE, registerScan, rowsScan, sqlType, type OpenScan } from './scan.js';
import { ioctlRows } from './ioctl-table.js';
import type { FoundReplays, lookUp } from './look-up.js';
import { accessesScan, type OpenReplay } from './scan-accesses.js';
import {
  irRows,
  manifestRows,
  segmentInstructionRows,
  segmentRows,
  siteRows,
  stackRows,
} from './scan-code.js';
import { findingRows, ownTables } from './scan-findings.js';
import { storedScan } from './scan-stored.js';
import type { Trace } from './trace.js';

/** Bytes of address space that are looked up in parallel; more are scanned. */
const MOST_LOOKED_UP = 4096n;

const WIDE_INTEGERS: ReadonlySet<DuckDBTypeId> = new Set([
  DuckDBTypeId.HUGEINT,
  DuckDBTypeId.UHUGEINT,
]);

export class Database {
  private hints: Hints = ANYTHING;
  /** Made when first needed; undefined once its tables may differ from ours. */
  private twin: Promise<Twin> | undefined;
  private changed = false;
  /** Accesses looked up for the statement under way. */
  private found: FoundReplays = new Map();
  /** What went wrong within a scan. */
  private scanError: unknown;

  private constructor(
    readonly trace: Trace,
    /** The connection, for statements that need no hints. */
    readonly connection: DuckDBConnection,
    private readonly lookUpFirst: typeof lookUp | undefined,
  ) {}

  /**
   * Opens SQL over `trace`. `openReplay` makes the replays that `accesses` and counts need; with
   * `lookUp`, accesses to a small range of addresses are looked up in parallel first.
   */
  static async open(
    trace: Trace,
    openReplay: OpenReplay,
    lookUpFirst?: typeof lookUp,
  ): Promise<Database> {
    const database = new Database(trace, await connect(), lookUpFirst);
    const openOrFound: OpenReplay = (ofTrace, process, options) =>
      database.found.get(process)?.() ?? openReplay(ofTrace, process, options);
    const own = ownTables(trace);
    const scans = new Map<Table, OpenScan>([
      [run, rowsScan(run.columns, () => manifestRows(trace))],
      [accesses, accessesScan(trace, openOrFound, () => database.hints)],
      [sites, rowsScan(sites.columns, () => siteRows(trace))],
      [segments, rowsScan(segments.columns, (wanted) => segmentRows(trace, openReplay, wanted))],
      [
        segment_instructions,
        rowsScan(segment_instructions.columns, () => segmentInstructionRows(trace)),
      ],
      [ir, rowsScan(ir.columns, () => irRows(trace))],
      [stacks, rowsScan(stacks.columns, () => stackRows(trace))],
      [ioctl_names, rowsScan(ioctl_names.columns, () => ioctlRows(trace))],
      ...[...ANALYSIS_TABLES, ...own].map(
        (table) => [table, rowsScan(table.columns, () => findingRows(trace, table))] as const,
      ),
      [trace_damage, rowsScan(trace_damage.columns, () => damageRows(trace))],
    ]);
    const { connection } = database;
    const failed = (error: unknown) => (database.scanError ??= error);
    for (const table of [...COMPUTED_TABLES, ...own]) {
      registerScan(connection, `scan_${table.name}`, table.columns, scans.get(table)!, failed);
    }
    for (const table of [...SHOWN_TABLES, ...HIDDEN_TABLES]) {
      const rowCount = () => {
        try {
          return trace.rowCount(table);
        } catch {
          return 0; // Who reads the table gets the error.
        }
      };
      registerScan(
        connection,
        `scan_${table.name}`,
        storedColumns(table),
        storedScan(trace, table),
        failed,
        rowCount,
      );
    }
    const hidden = hidesValues(trace)
      ? ' select * replace (null::ubigint as value, null::blob as bytes)'
      : '';
    await define(
      connection,
      definitions(
        ({ name }) =>
          `create view "${name}" as${name === accesses.name ? hidden : ''} from scan_${name}()`,
        own,
      ),
    );
    return database;
  }

  /**
   * Starts `sql`, one statement, and returns its result, which is produced while it is read; a failure
   * while reading is DuckDB's error (see `read`). Throws UserError when the statement is wrong.
   */
  async stream(sql: string): Promise<DuckDBResult> {
    return this.explained(async () => {
      // Left to the garbage collector: the result reads through it.
      const statement = await this.prepare(sql);
      const isSelect = statement.statementType === StatementType.SELECT;
      if (!isSelect) this.changed = true;
      await this.getReady(sql, isSelect);
      return statement.stream();
    });
  }

  /** Runs one statement and gives its result to `use`. Throws UserError when the statement fails. */
  async read<R>(sql: string, use: (result: DuckDBResult) => Promise<R>): Promise<R> {
    const result = await this.stream(sql);
    return this.explained(() => use(result));
  }

  /** All rows of a statement, as JavaScript values; 64-bit integers are bigint. */
  async rows(sql: string): Promise<Record<string, unknown>[]> {
    return this.read(
      sql,
      async (result) => (await result.getRowObjectsJS()) as Record<string, unknown>[],
    );
  }

  /**
   * Writes the rows of a SELECT to a Parquet file. Gives their number. Integers of 128 bits, which Parquet does not have,
   * are decimal numbers, not DuckDB's doubles.
   */
  async writeParquet(sql: string, path: string): Promise<number> {
    return this.explained(async () => {
      const statement = await this.prepare(sql);
      const wide = Array.from({ length: statement.columnCount }, (_, i) => i)
        .filter((i) => WIDE_INTEGERS.has(statement.columnTypeId(i)))
        .map((i) => `"${statement.columnName(i).replaceAll('"', '""')}"`);
      statement.destroySync();
      const exact = wide.map((name) => `${name}::decimal(38, 0) as ${name}`);
      const rows = withoutSemicolon(sql);
      const source =
        wide.length === 0 ? rows : `select * replace (${exact.join(', ')}) from (${rows}\n)`;
      await this.getReady(sql, true);
      const { rowsChanged } = await this.connection.run(
        `copy (${source}\n) to '${path.replaceAll("'", "''")}' (format parquet)`,
      );
      return rowsChanged;
    });
  }

  close(): void {
    this.connection.closeSync();
  }

  private async prepare(sql: string): Promise<DuckDBPreparedStatement> {
    try {
      return await this.connection.prepare(sql);
    } catch (error) {
      // DuckDB 1.5 fails on `column + 1 < constant` when the constant is 2^63 or more: its rewriter of
      // expressions computes the difference as a signed number.
      if (!String(error).includes('INTERNAL Error')) throw error;
      await this.connection.run("set disabled_optimizers = 'expression_rewriter'");
      try {
        return await this.connection.prepare(sql);
      } finally {
        await this.connection.run("set disabled_optimizers = ''");
      }
    }
  }

  /** Runs `action` and turns DuckDB's errors into one sentence. */
  private async explained<T>(action: () => Promise<T>): Promise<T> {
    this.scanError = undefined;
    try {
      return await action();
    } catch (error) {
      if (this.scanError !== undefined) throw this.scanError;
      // DuckDB's errors are of no class of their own.
      if (!(error instanceof Error) || error.constructor !== Error || 'code' in error) throw error;
      // After the sentence, the place in the statement is shown.
      const [sentence] = error.message.trim().split(/\n\n(?:LINE |Stack Trace)/);
      throw new UserError(sentence!.replace(/\s*\n\s*/g, ' '));
    }
  }

  /** Before a statement runs: finds out what it cannot need, looks up addresses, gives it threads. */
  private async getReady(sql: string, isSelect: boolean): Promise<void> {
    this.hints = isSelect ? await this.hintsFor(sql) : ANYTHING;
    this.found = await this.lookedUp();
    await this.setThreads(READS_ACCESSES.test(sql));
  }

  private async lookedUp(): Promise<FoundReplays> {
    const { address, process, tick } = this.hints;
    const isSmall = address[1] - address[0] < MOST_LOOKED_UP;
    if (!this.lookUpFirst || !isSmall || tick[0] > 0n) return new Map();
    const processes = this.trace.processes.filter(
      (row) => row.process >= process[0] && row.process <= process[1],
    );
    return this.lookUpFirst(this.trace, processes, address, tick[1]);
  }

  /**
   * Threads for the statement to be run. DuckDB's own thread waits for the others by spinning, so they may
   * not take the core that fills their chunks; but chunks in any order are waited for by all, and a scan of
   * accesses in order feeds only one.
   */
  private async setThreads(readsAccesses: boolean): Promise<void> {
    const cores = availableParallelism();
    const { anyOrder } = this.hints;
    const threads = anyOrder ? Math.max(CHUNKS_AT_ONCE, cores) : readsAccesses ? 1 : cores - 1;
    await this.connection.run(`set threads = ${Math.max(1, threads)}`);
  }

  /** What the statement cannot need of `accesses`. Nothing is known once the session has views of its own. */
  private async hintsFor(sql: string): Promise<Hints> {
    if (this.changed || !READS_ACCESSES.test(sql)) return ANYTHING;
    this.twin ??= Twin.open(ownTables(this.trace));
    return (await this.twin).hints(withoutSemicolon(sql));
  }
}

/** The program was recorded with --no-values. */
function hidesValues(trace: Trace): boolean {
  return (trace.manifest['options'] as { values?: boolean } | undefined)?.values === false;
}

async function connect(): Promise<DuckDBConnection> {
  const options = {
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  };
  const instance = await DuckDBInstance.create(':memory:', options);
  return instance.connect();
}

/** A table, view or macro, and the statements that define it. */
interface Definition {
  readonly name: string;
  readonly sql: string;
}

/**
 * All tables, views and macros, each after those that it reads.
 * @param source gives the statement of a table
 * @param own tables of the user's analyses
 */
function definitions(source: (table: Table) => string, own: readonly Table[]): Definition[] {
  const tables = [
    ...own,
    ...SHOWN_TABLES,
    ...COMPUTED_TABLES.filter((table) => !HIDDEN_COMPUTED.includes(table)),
  ];
  return [
    ...tables.map((table) => ({ name: table.name, sql: source(table) })),
    ...VIEWS.map(({ name, sql }) => ({ name, sql: `create view ${name} as ${sql}` })),
    ...MACROS.map(({ name, parameters, sql }) => {
      return { name, sql: `create macro ${name}(${parameters}) as table ${sql}` };
    }),
  ];
}

const define = (connection: DuckDBConnection, all: readonly Definition[]) =>
  connection.run(all.map(({ sql }) => sql).join(';\n'));

/** The database without rows that hints are planned against. What a statement reads is defined for it. */
class Twin {
  private readonly missing: Map<string, Definition>;

  private constructor(
    private readonly connection: DuckDBConnection,
    own: readonly Table[],
  ) {
    this.missing = new Map(twinDefinitions(own).map((d) => [d.name, d]));
  }

  static async open(own: readonly Table[]): Promise<Twin> {
    const connection = await connect();
    await prepareTwin(connection);
    return new Twin(connection, own);
  }

  async hints(sql: string): Promise<Hints> {
    const wanted = new Set<Definition>();
    const visit = (text: string): void => {
      for (const name of text.toLowerCase().match(/\w+/g) ?? []) {
        const definition = this.missing.get(name);
        if (!definition || wanted.has(definition)) continue;
        wanted.add(definition);
        visit(definition.sql);
      }
    };
    visit(sql);
    const inOrder = [...this.missing.values()].filter((d) => wanted.has(d));
    if (inOrder.length > 0) await define(this.connection, inOrder);
    for (const { name } of inOrder) this.missing.delete(name);
    return statementHints(this.connection, sql);
  }
}

function twinDefinitions(own: readonly Table[]): Definition[] {
  const create = (name: string, columns: Columns) =>
    `create table "${name}"(${Object.entries(columns)
      .map(([c, column]) => `"${c}" ${sqlType(column).toString()}`)
      .join(', ')})`;
  const allColumns = (table: Table) =>
    [...COMPUTED_TABLES, ...own].includes(table) ? table.columns : storedColumns(table);
  const hidden = [...HIDDEN_TABLES, ...HIDDEN_COMPUTED].map((table) => {
    const name = `scan_${table.name}`;
    const rows = `rows_${table.name}`;
    return {
      name,
      sql: `${create(rows, allColumns(table))};\ncreate macro ${name}() as table from ${rows}`,
    };
  });
  return [...hidden, ...definitions((table) => create(table.name, allColumns(table)), own)];
}

function* damageRows(trace: Trace) {
  for (const { sentence } of trace.damages()) yield ['damaged_table', sentence];
}

const withoutSemicolon = (sql: string) => sql.replace(/[;\s]+$/, '');
