/** What the page of `grind report` is given: the report's sections, in order. */

export type Cell = string | number;

export interface ReportData {
  readonly title: string;
  /** Names and values at the top. */
  readonly facts: readonly (readonly [string, string])[];
  readonly sections: readonly Section[];
}

export type Section =
  TableSection | LinesSection | FlameSection | HeatSection | FindingsSection | SourcesSection;

interface Titled {
  readonly title: string;
  /** Sentences below the title. */
  readonly notes?: readonly string[];
}

export interface TableSection extends Titled {
  readonly kind: 'table';
  readonly columns: readonly { readonly head: string; readonly isShare?: boolean }[];
  readonly rows: readonly (readonly Cell[])[];
}

/** Curves over one axis, which rises. */
export interface LinesSection extends Titled {
  readonly kind: 'lines';
  readonly x: { readonly head: string; readonly values: readonly number[] };
  readonly lines: readonly { readonly head: string; readonly values: readonly number[] }[];
  readonly isLogX?: boolean;
  readonly isLogY?: boolean;
  /** The value holds until the next one. */
  readonly isStepped?: boolean;
}

/** A tree of calls: entries in an order in which each stands after the one that it is called from. */
export interface FlameSection extends Titled {
  readonly kind: 'flame';
  /** What is counted. */
  readonly unit: string;
  readonly names: readonly string[];
  /** Of each entry: which name; which entry it is called from, -1 for none; its own count, without calls. */
  readonly name: readonly number[];
  readonly parent: readonly number[];
  readonly self: readonly number[];
}

/** Counts over time and address: row by row, each for some pages of memory. */
export interface HeatSection extends Titled {
  readonly kind: 'heat';
  readonly columns: number;
  /** Ticks of all columns together. */
  readonly ticks: number;
  readonly rows: readonly {
    readonly from: string;
    readonly to: string;
    /** What lies there. */
    readonly region: string;
  }[];
  /** Of each cell that is not empty: row × columns + column, loads, stores. */
  readonly cells: readonly number[];
  readonly loads: readonly number[];
  readonly stores: readonly number[];
}

export interface FindingsSection extends Titled {
  readonly kind: 'findings';
  readonly findings: readonly {
    readonly kind: string;
    readonly what: string;
    readonly count: number;
    readonly tick: string;
    readonly thread: number;
    readonly isSuppressed: boolean;
    readonly stacks: readonly { readonly role: string; readonly frames: readonly string[] }[];
  }[];
}

/** Source files with counts per line; lines without any are left out where many follow on each other. */
export interface SourcesSection extends Titled {
  readonly kind: 'sources';
  /** What is counted. */
  readonly heads: readonly string[];
  readonly files: readonly {
    readonly path: string;
    /** Of the whole file, one for each head. */
    readonly totals: readonly number[];
    /** Number of the line, its text, its counts. */
    readonly lines: readonly (readonly [number, string, readonly number[]])[];
  }[];
}
