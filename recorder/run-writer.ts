/**
 * Converts the spool of a run, piece by piece, while it is being written, and keeps a journal so that
 * a conversion that was cut off can go on: after each piece, where its record batches stand and what
 * is known of its process image; only then is the piece deleted.
 */
import {
  appendFileSync,
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { RAW_HEADER_SIZE, type Row, type Table } from '../schemas/schema.js';
import {
  health,
  modules,
  ops,
  process_ends,
  process_starts,
  processes,
  signals,
  STORED_TABLES,
  syscall_enters,
  syscall_exits,
  TOOL_TABLES,
} from '../schemas/tables.js';
import { ArrowFileWriter, type BatchPlace } from './arrow-file.js';
import { convertTable, PieceScanner, type ScannedPiece } from './convert.js';
import { compressFrame } from '../schemas/lz4.js';
import type { NativeConverter } from './native.js';
import { decodeRecord, encodeRecord, layoutOf, PIECE_SIZE_BYTES, TAIL_SIZE_BYTES } from './raw.js';

const JOURNAL = 'journal';
/** Room given back when the disk is full, so that what was converted can be completed. */
const RESERVE_FILE = 'reserve';
const RESERVE_BYTES = 2 << 20;

const number = (table: Table): number => TOOL_TABLES.indexOf(table as (typeof TOOL_TABLES)[number]);
const PROCESS_STARTS = number(process_starts);
const PROCESS_ENDS = number(process_ends);
const SIGNALS = number(signals);
const MODULES = number(modules);
const HEALTH = number(health);
const SYSCALL_ENTERS = number(syscall_enters);
const SYSCALL_EXITS = number(syscall_exits);
/** The tail begins with the number of the piece that its records belong to, and where in it. */
const TAIL_HEADER_SIZE = 8;
/** execve and execveat. */
const EXEC_CALLS = [59, 322];
/** exit and exit_group. */
const EXIT_CALLS = [60, 231];

/** A process image: what its tool has written so far. */
export interface Image {
  /** Number of the process within the run. */
  readonly number: number;
  /** Spool name, `p<pid>-<n>`. */
  readonly name: string;
  readonly pid: number;
  readonly start: Row<typeof process_starts>;
  end: Row<typeof process_ends> | undefined;
  /** Number of the fatal signal, 0 when there was none. */
  fatalSignal: number;
  /** What the tool's last health row is about; empty when there is none. */
  lastAnomaly: string;
  /** Its last system call is an exec that has not failed. */
  inExec: boolean;
  /** What its last system call, when that ends the process, gives as its exit status; -1 otherwise. */
  exitStatus: number;
  nextPiece: number;
  events: number;
  /** Guest instructions executed, as far as the rows tell. */
  ticks: bigint;
  /** A piece could not be read: nothing after it is converted. */
  broken: boolean;
  /** Paths of its object files. */
  readonly modules: Set<string>;
}

/** How the run ended, as far as the tool's rows do not tell. */
export interface RunEnd {
  /** Process id of the first process; undefined when nobody waited for it. */
  readonly pid: number | undefined;
  readonly exitStatus: number | null;
  readonly signal: number | null;
  /** Fatal signals that the engine's log names, by process id. */
  readonly fatalSignals: ReadonlyMap<number, number>;
}

export interface TableSize {
  readonly rows: number;
  readonly sizeBytes: number;
}

type ProcessRow = Row<typeof processes>;
type HealthRow = Omit<Row<typeof health>, 'tick'>;
type JournalEntry = { image: ImageState; batches: [string, ...number[]][] };
type ImageState = Record<
  'number' | 'fatalSignal' | 'exitStatus' | 'nextPiece' | 'events',
  number
> & {
  name: string;
  lastAnomaly: string;
  inExec: boolean;
  start: string;
  end: string | null;
  ticks: string;
  broken: boolean;
  modules: string[];
};

/** What an image had yet to append to its pieces. */
interface Tail {
  /** Number of the piece that the records belong to, and where in it, in bytes. */
  readonly piece: number;
  readonly offset: number;
  /** Empty when all were appended. */
  readonly records: Uint8Array;
}

export class RunWriter {
  private readonly spool: string;
  private readonly images = new Map<string, Image>();
  private readonly writers = new Map<string, ArrowFileWriter>();
  private readonly scanner = new PieceScanner(TOOL_TABLES);
  private readonly compress: typeof compressFrame;
  private readonly anomalies: { pid: number; row: HealthRow }[] = [];
  private buffer = new Uint8Array(0);
  /** The disk is full: pieces stay where they are until the end. */
  diskFull = false;

  /**
   * @param folder the run's folder, with its spool; a journal that is there is taken up
   * @param native does the same in less time
   */
  constructor(
    private readonly folder: string,
    private readonly native?: NativeConverter,
  ) {
    this.compress = native?.compressFrame ?? compressFrame;
    this.spool = join(folder, 'spool');
    if (existsSync(join(this.spool, JOURNAL))) this.resume();
    else this.reserve(join(this.spool, RESERVE_FILE));
  }

  private reserve(path: string): void {
    if (!this.native) {
      writeFileSync(path, Buffer.alloc(RESERVE_BYTES, 1));
      return;
    }
    const fd = openSync(path, 'w');
    try {
      this.native.reserve(fd, RESERVE_BYTES);
    } finally {
      closeSync(fd);
    }
  }

  /** Process images in order of their numbers. */
  get processImages(): Image[] {
    return [...this.images.values()].sort((a, b) => a.number - b.number);
  }

  get sizeBytes(): number {
    let sum = 0;
    for (const writer of this.writers.values()) sum += writer.sizeBytes;
    return sum;
  }

  /** Notes an anomaly of the recording; stored at the end. */
  note(row: HealthRow, pid = 0): void {
    this.anomalies.push({ pid, row });
  }

  /**
   * Converts all pieces that are final.
   * @param isGone whether a process no longer runs under the tool
   */
  poll(isGone: (pid: number) => boolean): void {
    const pieces = this.listPieces();
    this.discover(pieces, isGone);
    for (const [name, numbers] of pieces) {
      const image = this.images.get(name);
      if (!image) continue;
      const gone = this.isReplaced(image) || isGone(image.pid);
      const tail = gone ? this.readTail(name) : undefined;
      if (tail && tail.records.length > 0 && !numbers.includes(tail.piece))
        numbers.push(tail.piece);
      for (const [i, piece] of numbers.entries()) {
        if (this.diskFull) return;
        const successor = numbers[i + 1];
        const final = gone || (successor !== undefined && this.firstWord(name, successor) !== 0);
        if (!final) break;
        this.convertPiece(image, piece, tail?.piece === piece ? tail : undefined);
      }
      if (tail && !this.diskFull) unlinkSync(this.tailPath(name));
    }
  }

  /** Piece numbers in ascending order, by spool name; none for a spool of which only the tail is there. */
  private listPieces(): Map<string, number[]> {
    const pieces = new Map<string, number[]>();
    for (const file of readdirSync(this.spool)) {
      const match = /^(p\d+-\d+)\.(\d+|tail)$/.exec(file);
      if (!match) continue;
      let numbers = pieces.get(match[1]!);
      if (!numbers) pieces.set(match[1]!, (numbers = []));
      if (match[2] !== 'tail') numbers.push(Number(match[2]));
    }
    for (const numbers of pieces.values()) numbers.sort((a, b) => a - b);
    return pieces;
  }

  /** Gives numbers to process images that have begun to write. */
  private discover(pieces: Map<string, number[]>, isGone: (pid: number) => boolean): void {
    const found: { name: string; start: Row<typeof process_starts> }[] = [];
    for (const [name, numbers] of pieces) {
      if (this.images.has(name)) continue;
      const gone = isGone(pidOf(name));
      const start =
        (numbers[0] === 0 ? this.readStart(name) : undefined) ??
        (gone ? this.readStartOfTail(name) : undefined);
      if (start) {
        found.push({ name, start });
      } else if (gone) {
        for (const piece of numbers) {
          if (this.firstWord(name, piece) !== 0)
            this.note({
              severity: 'error',
              what: 'broken_spool',
              detail: `The spool of ${name} does not begin with a process_starts row: it was left out.`,
            });
          unlinkSync(this.piecePath(name, piece));
        }
      }
    }
    found.sort((a, b) =>
      a.start.time_ns < b.start.time_ns ? -1 : a.start.time_ns > b.start.time_ns ? 1 : 0,
    );
    for (const { name, start } of found) {
      this.images.set(name, {
        number: this.images.size,
        name,
        pid: pidOf(name),
        start,
        end: undefined,
        fatalSignal: 0,
        lastAnomaly: '',
        inExec: false,
        exitStatus: -1,
        nextPiece: 0,
        events: 0,
        ticks: 0n,
        broken: false,
        modules: new Set(),
      });
    }
  }

  private isReplaced(image: Image): boolean {
    for (const other of this.images.values())
      if (other.pid === image.pid && other.number > image.number) return true;
    return false;
  }

  private piecePath(name: string, piece: number): string {
    return join(this.spool, `${name}.${piece}`);
  }

  private tailPath(name: string): string {
    return join(this.spool, `${name}.tail`);
  }

  /** The tail of an image that is gone; undefined when there is none (any more). */
  private readTail(name: string): Tail | undefined {
    if (!existsSync(this.tailPath(name))) return undefined;
    const fd = openSync(this.tailPath(name), 'r');
    try {
      const header = new Uint32Array(4);
      readSync(fd, header);
      const [piece, offset, firstWord] = header as unknown as [number, number, number];
      if (firstWord === 0) return { piece, offset, records: new Uint8Array(0) };
      const records = new Uint8Array(TAIL_SIZE_BYTES - TAIL_HEADER_SIZE);
      const length = readSync(fd, records, 0, records.length, TAIL_HEADER_SIZE);
      return { piece, offset, records: records.subarray(0, length) };
    } finally {
      closeSync(fd);
    }
  }

  private firstWord(name: string, piece: number): number {
    const fd = openSync(this.piecePath(name, piece), 'r');
    try {
      const word = new Uint32Array(1);
      readSync(fd, word);
      return word[0]!;
    } finally {
      closeSync(fd);
    }
  }

  /** The first row of an image's spool; undefined when it is not there (yet). */
  private readStart(name: string): Row<typeof process_starts> | undefined {
    const size = this.firstWord(name, 0);
    if (size > PIECE_SIZE_BYTES) return undefined;
    const record = new Uint8Array(Math.ceil(size / 8) * 8);
    const fd = openSync(this.piecePath(name, 0), 'r');
    try {
      if (readSync(fd, record) !== size) return undefined;
    } finally {
      closeSync(fd);
    }
    return this.startIn(record);
  }

  /** The same of an image that is gone, and for whose first piece there was no room. */
  private readStartOfTail(name: string): Row<typeof process_starts> | undefined {
    const tail = this.readTail(name);
    if (tail?.piece !== 0 || tail.offset !== 0 || tail.records.length === 0) return undefined;
    const [size] = new Uint32Array(tail.records.buffer, tail.records.byteOffset, 1);
    return this.startIn(tail.records.subarray(0, size));
  }

  private startIn(record: Uint8Array): Row<typeof process_starts> | undefined {
    if (record.length < layoutOf(process_starts).fixedSize) return undefined;
    const scanned = this.scanner.scan(record);
    // A record whose fixed part is still being filled in does not add up, or has no time yet.
    if (scanned.broken !== undefined || scanned.countOf(PROCESS_STARTS) !== 1) return undefined;
    const start = decodeRecord(process_starts, record, 0);
    return start.time_ns === 0n ? undefined : start;
  }

  /** @param tail of the image, when its records belong to this piece */
  private convertPiece(image: Image, piece: number, tail: Tail | undefined): void {
    const path = this.piecePath(image.name, piece);
    if (image.broken || piece < image.nextPiece) {
      remove(path); // converted before the conversion was cut off, or of no use
      return;
    }
    if (piece > image.nextPiece) {
      this.breakOff(image, `piece ${image.nextPiece} is missing`);
      remove(path);
      return;
    }
    const bytes = this.readPiece(path, tail);
    if (!bytes) {
      this.breakOff(image, `piece ${piece} is not as large as it should be`);
      remove(path);
      return;
    }
    const scanned = (this.native ?? this.scanner).scan(bytes);
    const counts = new Map([...this.writers].map(([name, writer]) => [name, writer.batchCount]));
    const batches: JournalEntry['batches'] = [];
    const updated: Image = { ...image, modules: new Set(image.modules) };
    try {
      for (const [i, table] of TOOL_TABLES.entries()) {
        for (const place of this.appendTable(table, i, bytes, scanned.countOf(i), image))
          batches.push([table.name, place.offset, place.metadataSize, place.bodySize, place.rows]);
      }
      this.learn(updated, bytes, scanned);
      updated.nextPiece = piece + 1;
      updated.events += scanned.count;
      this.writeJournal({ image: imageState(updated), batches });
    } catch (error) {
      for (const [name, writer] of this.writers) writer.rollBack(counts.get(name) ?? 0);
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      this.diskFull = true;
      return;
    }
    Object.assign(image, updated);
    remove(path);
    if (scanned.broken !== undefined) this.breakOff(image, `piece ${piece} has ${scanned.broken}`);
  }

  /** Appends the records of one table of the piece that was scanned last. */
  private *appendTable(
    table: Table,
    number: number,
    piece: Uint8Array,
    count: number,
    image: Image,
  ): Generator<BatchPlace> {
    let done = 0;
    if (this.native) {
      for (const batch of this.native.batches(number, count, image.number, image.events)) {
        if (!batch) break;
        yield this.writer(table).appendEncoded(batch);
        done += batch.rows;
      }
      if (done === count) return;
      this.scanner.scan(piece);
    }
    const { offsets, order } = this.scanner.tables[number]!;
    const rest = {
      count: count - done,
      offsets: offsets.subarray(done, count),
      order: order.subarray(done, count),
    };
    for (const batch of convertTable(table, piece, rest, image.number, image.events))
      yield this.writer(table).append(batch.rows, batch.buffers);
  }

  private breakOff(image: Image, why: string): void {
    image.broken = true;
    this.note(
      {
        severity: 'error',
        what: 'broken_spool',
        detail: `The spool of this process is damaged (${why}): the rest of the process is left out.`,
      },
      image.pid,
    );
  }

  /** @returns the piece, in memory that the next call uses again; undefined when it has not the size that it can have */
  private readPiece(path: string, tail: Tail | undefined): Uint8Array | undefined {
    let size = 0;
    // A piece may have been made for the tail's records, and may have got a part of them.
    const cut = tail && tail.records.length > 0 ? tail.offset : PIECE_SIZE_BYTES;
    if (existsSync(path)) {
      const fd = openSync(path, 'r');
      try {
        size = fstatSync(fd).size;
        if (size > PIECE_SIZE_BYTES) return undefined;
        size = Math.min(size, cut) & ~7;
        this.reserveBuffer(size + TAIL_SIZE_BYTES);
        for (let length = 0, read: number; length < size; length += read) {
          read = readSync(fd, this.buffer, length, size - length, length);
          if (read === 0) return undefined;
        }
      } finally {
        closeSync(fd);
      }
    }
    if (!tail || tail.records.length === 0) return this.buffer.subarray(0, size);
    if (size !== tail.offset) return undefined;
    this.reserveBuffer(size + TAIL_SIZE_BYTES);
    this.buffer.set(tail.records, size);
    return this.buffer.subarray(0, (size + tail.records.length) & ~7);
  }

  private reserveBuffer(sizeBytes: number): void {
    if (this.buffer.length < sizeBytes)
      this.buffer = new Uint8Array(PIECE_SIZE_BYTES + TAIL_SIZE_BYTES);
  }

  /** Takes from a piece's rows what the recorder itself needs to know. */
  private learn(image: Image, bytes: Uint8Array, scanned: ScannedPiece): void {
    const rows = <T extends Table>(table: T, index: number): Row<T>[] =>
      Array.from({ length: scanned.countOf(index) }, (_, i) =>
        decodeRecord(table, bytes, scanned.offsetOf(index, i)),
      );
    const last = <T extends Table>(table: T, index: number): Row<T> | undefined => {
      const count = scanned.countOf(index);
      return count > 0 ? decodeRecord(table, bytes, scanned.offsetOf(index, count - 1)) : undefined;
    };
    image.end = last(process_ends, PROCESS_ENDS) ?? image.end;
    for (const signal of rows(signals, SIGNALS))
      if (signal.op === 'fatal') image.fatalSignal = signal.signal;
    image.lastAnomaly = last(health, HEALTH)?.what ?? image.lastAnomaly;
    const entered = last(syscall_enters, SYSCALL_ENTERS);
    const left = last(syscall_exits, SYSCALL_EXITS);
    if (entered) {
      image.inExec = EXEC_CALLS.includes(entered.number) && left?.call !== entered.call;
      image.exitStatus = EXIT_CALLS.includes(entered.number) ? Number(entered.arg1 & 0xffn) : -1;
    } else if (left) {
      image.inExec = false;
    }
    for (const module of rows(modules, MODULES)) image.modules.add(module.path);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (const [i, table] of TOOL_TABLES.entries()) {
      const count = scanned.countOf(i);
      if (count === 0 || !('tick' in table.columns)) continue;
      // `tick` is the first 8-byte column of its tables, so it follows the header.
      const tick = view.getBigUint64(scanned.offsetOf(i, count - 1) + RAW_HEADER_SIZE, true);
      if (tick > image.ticks) image.ticks = tick;
    }
    // What follows is the C library's tidying up.
    if (image.end?.how === 'exit') image.ticks = image.end.tick;
  }

  private tablePath(table: Table): string {
    return join(this.folder, `${table.name}.arrow`);
  }

  private writer(table: Table): ArrowFileWriter {
    let writer = this.writers.get(table.name);
    if (!writer)
      this.writers.set(
        table.name,
        (writer = new ArrowFileWriter(this.tablePath(table), table, undefined, this.compress)),
      );
    return writer;
  }

  private writeJournal(entry: JournalEntry): void {
    appendFileSync(join(this.spool, JOURNAL), JSON.stringify(entry) + '\n');
  }

  private resume(): void {
    const batches = new Map<string, BatchPlace[]>();
    for (const line of readFileSync(join(this.spool, JOURNAL), 'utf8').split('\n')) {
      let entry: JournalEntry;
      try {
        entry = JSON.parse(line) as JournalEntry;
      } catch {
        continue; // the last line, when writing it was cut off
      }
      const image = imageFrom(entry.image);
      this.images.set(image.name, image);
      for (const [table, offset, metadataSize, bodySize, rows] of entry.batches) {
        const places = batches.get(table) ?? [];
        places.push({
          offset: offset!,
          metadataSize: metadataSize!,
          bodySize: bodySize!,
          rows: rows!,
        });
        batches.set(table, places);
      }
    }
    for (const table of STORED_TABLES) {
      const places = batches.get(table.name);
      if (places)
        this.writers.set(
          table.name,
          new ArrowFileWriter(this.tablePath(table), table, places, this.compress),
        );
    }
  }

  /** Gives back the reserve; pieces that did not fit before may fit now. */
  releaseReserve(): void {
    const reserve = join(this.spool, RESERVE_FILE);
    if (existsSync(reserve)) unlinkSync(reserve);
    this.diskFull = false;
  }

  /**
   * Writes the last rows and completes all files. All pieces must have been converted, unless the disk is full.
   * @param opNames names of the engine's IR operations, by number
   */
  finish(
    runEnd: RunEnd,
    opNames: readonly string[],
  ): { tables: Record<string, TableSize>; processes: ProcessRow[] } {
    const images = this.processImages;
    const rows = images.map((image) => processRow(image, images, runEnd));
    this.appendRows(
      processes,
      rows,
      rows.map((_, i) => i),
      rows.map(() => 0),
    );
    this.writer(ops).append(opNames.length, opColumns(opNames));
    for (const { pid, row } of this.anomalies) {
      const image = images.findLast((candidate) => candidate.pid === pid) ?? images[0];
      this.appendRows(
        health,
        [{ ...row, tick: image?.ticks ?? 0n }],
        [image?.number ?? 0],
        [image ? image.events++ : 0],
      );
    }
    const tables: Record<string, TableSize> = {};
    for (const table of STORED_TABLES) {
      const writer = this.writer(table);
      writer.finish();
      tables[table.name] = { rows: writer.rows, sizeBytes: writer.sizeBytes };
    }
    return { tables, processes: rows };
  }

  /** Appends rows of the recorder's own as one batch. */
  private appendRows<T extends Table>(
    table: T,
    rows: readonly Row<T>[],
    processNumbers: number[],
    events: number[],
  ): void {
    const records = rows.map((row) => encodeRecord(table, 0, row));
    const bytes = new Uint8Array(Buffer.concat(records)); // copied, so that it is aligned
    let at = 0;
    const offsets = Uint32Array.from(records, (record) => (at += record.length) - record.length);
    const list = { count: rows.length, offsets, order: Uint32Array.from(events) };
    for (const batch of convertTable(table, bytes, list, Uint32Array.from(processNumbers), 0)) {
      this.writer(table).append(batch.rows, batch.buffers);
    }
  }
}

/** The columns of `ops`, whose many rows are the same in each run: made at once, which is cheaper than row by row. */
function opColumns(names: readonly string[]): Uint8Array[][] {
  const bytes = (array: Uint16Array | Uint32Array | BigUint64Array): Uint8Array =>
    new Uint8Array(array.buffer);
  const count = names.length;
  const ends = new Uint32Array(count + 1);
  for (let i = 0; i < count; i++) ends[i + 1] = ends[i]! + names[i]!.length; // they are ASCII
  return [
    [bytes(new Uint32Array(count))],
    [bytes(BigUint64Array.from(names, (_, i) => BigInt(i)))],
    [bytes(Uint16Array.from(names, (_, i) => i))],
    [bytes(ends), Buffer.from(names.join(''), 'latin1')],
  ];
}

/** (Node's own way to do without the file would load a module for it.) */
function remove(path: string): void {
  if (existsSync(path)) unlinkSync(path);
}

function pidOf(name: string): number {
  return Number(/^p(\d+)-/.exec(name)![1]);
}

function processRow(image: Image, images: readonly Image[], runEnd: RunEnd): ProcessRow {
  const { start, end } = image;
  const earlier = images.slice(0, image.number);
  const forker =
    start.how === 'fork' ? earlier.findLast((other) => other.name === start.parent) : undefined;
  const replaced =
    start.how === 'fork' ? undefined : earlier.findLast((other) => other.pid === image.pid);
  const parent = forker ?? replaced ?? earlier.findLast((other) => other.pid === start.parent_pid);
  const successor = images
    .slice(image.number + 1)
    .find((other) => other.pid === image.pid && other.start.how !== 'fork');
  const waited = image.pid === runEnd.pid && !successor ? runEnd : undefined;

  let how: ProcessRow['end'];
  let status = -1;
  const signal =
    image.fatalSignal ||
    (successor ? 0 : (runEnd.fatalSignals.get(image.pid) ?? 0)) ||
    (waited?.signal ?? 0) ||
    // The engine names every fatal signal but one: SIGKILL sent by the process to itself.
    (end?.how === 'signal' ? constants.signals.SIGKILL : 0);
  if (end?.how === 'stopped') [how, status] = ['stopped', waited?.exitStatus ?? -1];
  else if (end?.how === 'exec' || successor) how = 'exec';
  else if (signal === constants.signals.SIGKILL) [how, status] = ['killed', signal];
  else if (end?.how === 'signal' || signal) [how, status] = ['signal', signal || -1];
  else if (image.inExec && !end)
    how = 'exec'; // by a program that is not recorded
  else if (end)
    [how, status] = [
      'exit',
      waited?.exitStatus ?? (image.exitStatus >= 0 ? image.exitStatus : end.status),
    ];
  else how = runEnd.pid === undefined ? 'unknown' : 'killed';

  return {
    pid: image.pid,
    parent: parent?.number ?? -1,
    how: forker ? 'fork' : replaced ? 'exec' : start.how,
    parent_tick: forker ? start.parent_tick : (parent?.ticks ?? 0n),
    parent_event: forker ? start.parent_event : BigInt(parent?.events ?? 0),
    executable: start.executable,
    arguments: JSON.stringify(splitArguments(start.arguments)),
    directory: start.directory,
    start_time_ns: start.time_ns,
    end_time_ns: end?.time_ns ?? 0n,
    end: how,
    status,
    ticks: image.ticks,
    events: BigInt(image.events),
  };
}

function splitArguments(bytes: Uint8Array): string[] {
  const all = new TextDecoder().decode(bytes).split('\0');
  return all.at(-1) === '' ? all.slice(0, -1) : all;
}

function imageState(image: Image): ImageState {
  const record = <T extends Table>(table: T, row: Row<T>): string =>
    Buffer.from(encodeRecord(table, number(table), row)).toString('base64');
  return {
    number: image.number,
    name: image.name,
    start: record(process_starts, image.start),
    end: image.end ? record(process_ends, image.end) : null,
    fatalSignal: image.fatalSignal,
    lastAnomaly: image.lastAnomaly,
    inExec: image.inExec,
    exitStatus: image.exitStatus,
    nextPiece: image.nextPiece,
    events: image.events,
    ticks: String(image.ticks),
    broken: image.broken,
    modules: [...image.modules],
  };
}

function imageFrom(state: ImageState): Image {
  const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
  return {
    ...state,
    pid: pidOf(state.name),
    start: decodeRecord(process_starts, bytes(state.start), 0),
    end: state.end === null ? undefined : decodeRecord(process_ends, bytes(state.end), 0),
    ticks: BigInt(state.ticks),
    modules: new Set(state.modules),
  };
}
