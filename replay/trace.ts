/**
 * An open trace: one run's folder, its manifest and its stored tables. Files are opened when first
 * used and read batch by batch, so that memory stays bounded by one batch whatever the trace's size.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { UserError } from '../schemas/errors.js';
import type { Table } from '../schemas/schema.js';
import { FORMAT_VERSION, process_ends, processes, STORED_TABLES } from '../schemas/tables.js';
import { ArrowFile, type Batch, type StoredRow } from './arrow-file.js';

export type { AllColumns, Batch, ColumnArrays, StoredRow, VarColumn } from './arrow-file.js';

/** manifest.json, as far as readers use it. Only `format` is checked: all else may be missing. */
export interface Manifest {
  /** Version of the trace format. */
  readonly format: number;
  /** ISO time at which the recording began. */
  readonly started?: string;
  /** State of the repository that the program was recorded in. */
  readonly git?: { readonly commit?: string; readonly dirty?: boolean };
  readonly guest?: {
    /** Size of the guest state, in bytes. */
    readonly stateSize?: number;
    /** Offset of each register in the guest state. */
    readonly registers?: Readonly<Record<string, number>>;
  };
  readonly [key: string]: unknown;
}

export type ProcessRow = StoredRow<typeof processes>;

export class Trace {
  private readonly files = new Map<string, ArrowFile | undefined>();
  private processRows: ProcessRow[] | undefined;
  private exitEvents: Map<number, bigint> | undefined;
  private divergenceSentences: string[] | undefined;

  private constructor(
    /** The run's folder. */
    readonly folder: string,
    readonly manifest: Manifest,
  ) {}

  /** Opens the run in `folder`. Throws UserError when there is none, or one of a newer format. */
  static open(folder: string): Trace {
    folder = resolve(folder);
    const path = join(folder, 'manifest.json');
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch {
      if (existsSync(join(folder, 'spool'))) {
        throw new UserError(
          `The run in ${folder} is not complete: it is still being recorded, or its recording was cut off before the trace was put together.`,
        );
      }
      throw new UserError(`There is no run in ${folder}: it has no manifest.json.`);
    }
    let manifest: Manifest;
    try {
      manifest = JSON.parse(text) as Manifest;
    } catch {
      throw new UserError(`${path} is not valid JSON: the trace is damaged; record the run again.`);
    }
    if (typeof manifest !== 'object' || manifest === null || !Number.isInteger(manifest.format)) {
      throw new UserError(`${path} does not state a trace format: this is not a run of grind.`);
    }
    if (manifest.format > FORMAT_VERSION) {
      throw new UserError(
        `The run in ${folder} has trace format ${manifest.format}, newer than format ${FORMAT_VERSION} which this grind reads; update grind.`,
      );
    }
    if (manifest.format < FORMAT_VERSION) {
      throw new UserError(
        `The run in ${folder} has trace format ${manifest.format}, older than format ${FORMAT_VERSION} which this grind reads; record the program again.`,
      );
    }
    return new Trace(folder, manifest);
  }

  /** The run's name. */
  get name(): string {
    return basename(this.folder);
  }

  /** The process images of the run, in order of their numbers. */
  get processes(): readonly ProcessRow[] {
    this.processRows ??= [...this.rows(processes)].sort((a, b) => a.process - b.process);
    return this.processRows;
  }

  /**
   * Record batches of a stored table, in the order of events of each process image: those of one
   * image, or of all. Typed arrays are decoded when asked for; a batch stays valid after the next.
   */
  *batches<T extends Table>(table: T, process?: number): Generator<Batch<T>> {
    const file = this.file(table);
    if (file) yield* file.batches(process);
  }

  /** The rows of a stored table as objects, for tables that are small. */
  *rows<T extends Table>(table: T, process?: number): Generator<StoredRow<T>> {
    for (const batch of this.batches(table, process)) yield* batch.rows();
  }

  /** The event with which a process image exited: what follows is the C library's tidying up. */
  exitEvent(process: number): bigint | undefined {
    if (!this.exitEvents) {
      this.exitEvents = new Map();
      for (const row of this.rows(process_ends))
        if (row.how === 'exit') this.exitEvents.set(row.process, row.event);
    }
    return this.exitEvents.get(process);
  }

  /** Rows that a stored table has in this trace. */
  rowCount(table: Table): number {
    // A table that SQL shows in another way than it is stored has the name of the stored one.
    const stored = STORED_TABLES.find(({ name }) => name === table.name) ?? table;
    return this.file<Table>(stored)?.rowCount ?? 0;
  }

  /** What is wrong with the stored files, and where replay could not follow: one sentence each. */
  damages(): { table: string; sentence: string }[] {
    const damaged = STORED_TABLES.flatMap((table) => {
      let sentence: string;
      try {
        const file = this.file(table);
        if (!file?.damage) return [];
        sentence = `Table ${table.name} is not whole: ${file.damage}. Its ${file.rowCount} rows before that place are used.`;
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        sentence = error.message;
      }
      return [{ table: table.name, sentence }];
    });
    return [...damaged, ...this.divergences().map((sentence) => ({ table: 'accesses', sentence }))];
  }

  /** Notes that replay could not follow a part of the execution, for now and for later readers. */
  noteDivergence(sentence: string): void {
    const known = this.divergences();
    if (known.includes(sentence)) return;
    known.push(sentence);
    try {
      mkdirSync(join(this.folder, 'cache'), { recursive: true });
      writeFileSync(this.divergencesPath, JSON.stringify(known, undefined, 1));
    } catch {
      // A trace that cannot be written to is told of each time.
    }
  }

  private get divergencesPath(): string {
    return join(this.folder, 'cache', 'divergences.json');
  }

  private divergences(): string[] {
    if (!this.divergenceSentences) {
      this.divergenceSentences = [];
      try {
        const stored: unknown = JSON.parse(readFileSync(this.divergencesPath, 'utf8'));
        if (Array.isArray(stored)) this.divergenceSentences = stored.map(String);
      } catch {
        // None noted, or damaged: derived data, found again by the next replay.
      }
    }
    return this.divergenceSentences;
  }

  /** Closes the files. Batches already handed out keep the columns they have decoded. */
  close(): void {
    for (const file of this.files.values()) file?.close();
    this.files.clear();
  }

  private file<T extends Table>(table: T): ArrowFile<T> | undefined {
    if (!this.files.has(table.name)) {
      const path = join(this.folder, `${table.name}.arrow`);
      this.files.set(
        table.name,
        existsSync(path) ? new ArrowFile(path, table) : this.missing(table),
      );
    }
    return this.files.get(table.name) as ArrowFile<T> | undefined;
  }

  /** A table without a row may have no file; but every run has a process. */
  private missing(table: Table): undefined {
    if (table.name === processes.name) {
      throw new UserError(
        `The run in ${this.folder} has no ${table.name}.arrow: the trace is damaged; record the run again.`,
      );
    }
    return undefined;
  }
}
