/**
 * What an address of code is called: instruction addresses of one process image become frames with
 * function, file, line and object file, inlined functions included, from the tables `instructions`,
 * `strings` and `modules`.
 */
import { instructions, modules, strings } from '../schemas/tables.js';
import { wordsOf } from './event-cursor.js';
import { programRows } from './lineage.js';
import { LinkNames } from './link-names.js';
import { groupRows, rowOfKey, rowsWith, rowWith, slotsOf } from './rows.js';
import type { Batch, Trace, VarColumn } from './trace.js';

/** One function of a call stack. */
export interface Frame {
  /** Function, demangled; empty when unknown. */
  readonly fn: string;
  /** Source file name without its folder; empty when unknown. */
  readonly file: string;
  /** The file's folder; empty when unknown. */
  readonly directory: string;
  /** Line in the source file; 0 when unknown. */
  readonly line: number;
  /** Path of the object file; empty when none holds the code. */
  readonly module: string;
  /** Address of the instruction: the same for functions that are inlined into one another. */
  readonly pc: bigint;
  /** The function is inlined into that of the next frame. */
  readonly inlined: boolean;
}

/** A place in the source files. */
export interface Source {
  /** Function; empty when unknown, as are the others. */
  readonly fn: string;
  readonly file: string;
  readonly directory: string;
  /** 0 when unknown. */
  readonly line: number;
}

/** How the engine names what calls main. */
export const BELOW_MAIN = '(below main)';
/** The object file with what is wrapped around the program's calls of thread functions. */
const WRAPPERS = /\/vgpreload_(sync|helgrind)-[^/]*$/;
/** Two known instructions of one function no further apart than this have nothing else between them. */
const NEAR = 4096n;
/** The longest instruction, in bytes. */
const LONGEST_INSTRUCTION = 15n;

interface Module {
  readonly address: bigint;
  readonly size: bigint;
  readonly bias: bigint;
  readonly path: string;
}

/** A place in the table `instructions`. */
interface Place {
  readonly batch: Batch<typeof instructions>;
  readonly row: number;
  readonly pc: bigint;
}

/** Places of instructions in the sources. Text is given by its number in `texts`. */
export interface CodePlaces {
  readonly count: number;
  /** By instruction: number of its place, in order of appearance. Places can be alike but for what is inlined between. */
  readonly places: Uint32Array;
  readonly texts: readonly string[];
  /** By place: the function that is innermost there, its file and line. */
  readonly fn: Uint32Array;
  readonly file: Uint32Array;
  readonly line: Uint32Array;
  /** The function that it is inlined into, or the same. */
  readonly outer: Uint32Array;
}

/** Names for the addresses of one process image. */
export class Symbols {
  private readonly batches: { batch: Batch<typeof instructions>; count: number }[] = [];
  /** By number of the row: its address. */
  private readonly pcs: BigUint64Array;
  /** The same as words, the low ones first. */
  private readonly words: Uint32Array;
  private openSlots: Uint32Array | undefined;
  private readonly texts: { keys: Uint32Array; cells: VarColumn; count: number }[] = [];
  /** Texts that were asked for, by number. */
  private readonly decoded = new Map<number, string>();
  private readonly modules = new Map<number, Module>();
  private readonly known = new Map<bigint, readonly Frame[]>();
  /** By path of the object file: it has wrappers of thread functions. */
  private readonly wrappers = new Map<string, boolean>();
  private byLowBits: Map<number, bigint> | undefined;

  /**
   * Reads the tables of process image number `process`, those of its parents included.
   * @param linkNames of this trace, to be shared between its process images
   */
  constructor(
    trace: Trace,
    process: number,
    private readonly linkNames = new LinkNames(trace),
  ) {
    let rows = 0;
    for (const { batch, count } of programRows(trace, instructions, process)) {
      this.batches.push({ batch, count });
      rows += count;
    }
    this.pcs = new BigUint64Array(rows);
    let first = 0;
    for (const { batch, count } of this.batches) {
      this.pcs.set(batch.column('pc').subarray(0, count), first);
      first += count;
    }
    this.words = wordsOf(this.pcs);
    for (const { batch, count } of programRows(trace, strings, process))
      this.texts.push({ keys: batch.column('string'), cells: batch.column('text'), count });
    for (const { batch, count } of programRows(trace, modules, process)) {
      let row = 0;
      for (const { module, address, size, bias, path } of batch.rows()) {
        if (row++ === count) break;
        this.modules.set(module, { address, size, bias, path });
      }
    }
  }

  /**
   * The functions at an address, the innermost first: more than one where functions are inlined, and
   * always at least one. The address of a caller is that of its call instruction, or one within it.
   */
  frames(pc: bigint): readonly Frame[] {
    let frames = this.known.get(pc);
    if (!frames) this.known.set(pc, (frames = this.describe(pc)));
    return frames;
  }

  /** As debug information has it: the function that is not inlined into another, but the place of what is inlined there. */
  source(pc: bigint): Source {
    const place = this.exact(pc);
    if (!place) {
      const { fn, file, line } = this.frames(pc).at(-1)!;
      return { fn, file, directory: '', line };
    }
    return {
      fn: this.text(cell(place, 'function')),
      file: this.text(cell(place, 'file')),
      directory: this.text(cell(place, 'directory')),
      line: cell(place, 'line'),
    };
  }

  /** Length of the instruction at an address in bytes; 0 when none was translated there. */
  lengthOf(pc: bigint): number {
    const place = this.exact(pc);
    return place ? place.batch.column('length')[place.row]! : 0;
  }

  /**
   * The frames of a call stack as people want to see it: of at most `callers` addresses, and none of
   * what called main.
   * @param pcs innermost first
   */
  stack(pcs: readonly bigint[], callers = Infinity): Frame[] {
    return [...this.frameByFrame(pcs, callers)];
  }

  /** The same one by one, for those who need the first ones only. */
  *frameByFrame(pcs: readonly bigint[], callers = Infinity): Generator<Frame> {
    let left = callers;
    for (const [i, pc] of pcs.entries()) {
      if (i > 0 && this.isWrapper(pc)) continue;
      if (left-- <= 0) return;
      const frames = this.frames(pc);
      yield* frames;
      const { fn } = frames.at(-1)!;
      if (fn === 'main' || fn === BELOW_MAIN) return;
    }
  }

  /** The address of a known instruction that ends in these bits, or none. */
  withLowBits(number: number, bits: 30): bigint[] {
    this.byLowBits ??= new Map(
      Array.from(this.pcs, (pc) => [Number(BigInt.asUintN(bits, pc)), pc] as const),
    );
    const found = this.byLowBits.get(number);
    return found === undefined ? [] : [found];
  }

  /**
   * The first `callers` addresses of a stack that are the program's own: without those of the wrappers
   * that the recorder has put around thread functions, which call on and are never innermost.
   */
  programPcs(pcs: readonly bigint[], callers = Infinity): bigint[] {
    return pcs.filter((pc, i) => i === 0 || !this.isWrapper(pc)).slice(0, callers);
  }

  /** As `programPcs`, of frames. */
  programFrames<F extends { readonly pc: bigint }>(frames: readonly F[]): F[] {
    return frames.filter(({ pc }, i) => i === 0 || !this.isWrapper(pc));
  }

  private isWrapper(pc: bigint): boolean {
    const { module } = this.frames(pc).at(-1)!;
    let isOne = this.wrappers.get(module);
    if (isOne === undefined) this.wrappers.set(module, (isOne = WRAPPERS.test(module)));
    return isOne;
  }

  /**
   * The linker's names of the function at a frame, as suppression files have them; none when the
   * frame is inlined or the object file does not tell.
   */
  namesForLinker({ pc, inlined }: Frame): readonly string[] {
    const module = inlined ? undefined : this.moduleAt(pc);
    return module ? this.linkNames.at(module.path, BigInt.asUintN(64, pc - module.bias)) : [];
  }

  /** The function of a frame, by its name and the line at which it begins, as far as its object file tells. */
  functionPlace(pc: bigint): {
    readonly name?: string;
    readonly file?: string;
    readonly line?: number;
  } {
    const { fn, file } = this.frames(pc).at(-1)!;
    const start = this.functionStart(pc);
    const first = start === undefined ? undefined : this.frames(start).at(-1)!;
    const place = first?.fn === fn && first.line > 0 ? first : { file };
    return { ...(fn && { name: fn }), ...place };
  }

  private functionStart(pc: bigint): bigint | undefined {
    const module = this.moduleAt(pc);
    const start =
      module && this.linkNames.functionStart(module.path, BigInt.asUintN(64, pc - module.bias));
    return start === undefined ? undefined : start + module!.bias;
  }

  /** The same by unwind information where there is no symbol, and that address in its object file. */
  codeStart(pc: bigint): { readonly address: bigint; readonly inFile: bigint } | undefined {
    const module = this.moduleAt(pc);
    if (!module) return undefined;
    const inFile = this.linkNames.codeStart(module.path, BigInt.asUintN(64, pc - module.bias));
    return inFile === undefined ? undefined : { address: inFile + module.bias, inFile };
  }

  /** The variable with a symbol that holds an address, and how far inside the address lies, in bytes. */
  variable(address: bigint): { readonly name: string; readonly offset: bigint } | undefined {
    const place = this.placeInFile(address);
    const found = place && this.linkNames.variable(place.path, place.address);
    return found && { name: found.name, offset: place.address - found.address };
  }

  /**
   * Of the variable that holds an address: the parts whose types say that they are accessed atomically (`_Atomic` of
   * C11). Sizes are in bytes.
   */
  atomicParts(address: bigint): { readonly address: bigint; readonly size: number }[] {
    const place = this.placeInFile(address);
    if (!place) return [];
    const parts = this.linkNames.variableTypes(place.path).atomicParts(place.address);
    const bias = address - place.address;
    return parts.map((part) => ({ address: part.address + bias, size: part.size }));
  }

  /** The section of an object file that holds an address. */
  section(address: bigint): { readonly name: string; readonly path: string } | undefined {
    const place = this.placeInFile(address);
    return place && { name: place.section, path: place.path };
  }

  /** Data of an object file follows its text: the file is that of the nearest text below. */
  private placeInFile(address: bigint) {
    let nearest: Module | undefined;
    for (const module of this.modules.values()) {
      if (module.address <= address && module.address >= (nearest?.address ?? 0n)) nearest = module;
    }
    if (!nearest) return undefined;
    const { path, bias } = nearest;
    const inFile = BigInt.asUintN(64, address - bias);
    const section = this.linkNames.section(path, inFile);
    return section && { path, address: inFile, section: section.name };
  }

  /** Open addressing over all rows. */
  private get slots(): Uint32Array {
    return (this.openSlots ??= slotsOf(this.words));
  }

  /** The row that has this very address. */
  private exact(pc: bigint): Place | undefined {
    const [low, high] = [Number(pc & 0xffffffffn), Number((pc >> 32n) & 0xffffffffn)];
    const row = rowWith(this.words, this.slots, low, high);
    return row < 0 ? undefined : this.place(row);
  }

  /** The places of many instructions in the sources. */
  placesOf(pcs: BigUint64Array): CodePlaces {
    const rows = rowsWith(this.words, this.slots, wordsOf(pcs));
    const columns = (['function', 'file', 'line', 'inlined'] as const).map((name) =>
      this.allRows(name),
    );
    const [fns, files, lines, inlined] = columns as [
      ...[Uint32Array, Uint32Array, Uint32Array, Uint32Array],
    ];
    const { count, groups, firsts } = groupRows(columns, pcs.length, rows);
    const texts = new TextNumbers();
    const places = {
      ...{ count, places: groups, texts: texts.texts },
      ...{ fn: new Uint32Array(count), file: new Uint32Array(count) },
      ...{ line: new Uint32Array(count), outer: new Uint32Array(count) },
    };
    /** By number in the trace. */
    const known = new Map<number, number>();
    const numberOf = (key: number): number => {
      let number = known.get(key);
      if (number === undefined) known.set(key, (number = texts.numberOf(this.text(key))));
      return number;
    };
    for (let place = 0; place < count; place++) {
      const first = firsts[place]!;
      const row = rows[first]!;
      if (row >= 0 && inlined[row] === 0) {
        places.fn[place] = places.outer[place] = numberOf(fns[row]!);
        places.file[place] = numberOf(files[row]!);
        places.line[place] = lines[row]!;
        continue;
      }
      const frames = this.frames(pcs[first]!);
      const { fn, file, line } = frames[0]!;
      places.fn[place] = texts.numberOf(fn);
      places.file[place] = texts.numberOf(file);
      places.line[place] = line;
      places.outer[place] = texts.numberOf(frames.at(-1)!.fn);
    }
    return places;
  }

  /** A column over all batches. */
  private allRows(name: 'function' | 'file' | 'line' | 'inlined'): Uint32Array {
    const [only] = this.batches;
    if (only && this.batches.length === 1) return only.batch.column(name);
    const all = new Uint32Array(this.pcs.length);
    let first = 0;
    for (const { batch, count } of this.batches) {
      all.set(batch.column(name).subarray(0, count), first);
      first += count;
    }
    return all;
  }

  private place(row: number): Place {
    let first = 0;
    for (const { batch, count } of this.batches) {
      if (row < first + count) return { batch, row: row - first, pc: this.pcs[row]! };
      first += count;
    }
    throw new Error(`there is no row ${row}`);
  }

  /** The rows with the nearest addresses below and above one that has no row. */
  private neighbours(pc: bigint): [Place | undefined, Place | undefined] {
    let [below, above] = [-1, -1];
    for (let row = 0; row < this.pcs.length; row++) {
      const at = this.pcs[row]!;
      if (at < pc) {
        if (below < 0 || at > this.pcs[below]!) below = row;
      } else if (above < 0 || at < this.pcs[above]!) above = row;
    }
    return [below < 0 ? undefined : this.place(below), above < 0 ? undefined : this.place(above)];
  }

  private describe(pc: bigint): readonly Frame[] {
    const exact = this.exact(pc);
    if (exact) return this.framesOf(exact, pc);
    const [below, above] = this.neighbours(pc);
    if (below && pc - below.pc < LONGEST_INSTRUCTION) {
      const end = below.pc + BigInt(below.batch.column('length')[below.row]!);
      if (pc < end) return this.framesOf(below, pc);
    }
    const unknown: Frame = {
      fn: '',
      file: '',
      directory: '',
      line: 0,
      module: this.moduleAt(pc)?.path ?? '',
      pc,
      inlined: false,
    };
    // Only what both neighbours agree on is certain.
    if (!below || !above || above.pc - below.pc > NEAR) return [unknown];
    const same = (name: 'module' | 'function' | 'file' | 'line' | 'inlined') =>
      below.batch.column(name)[below.row] === above.batch.column(name)[above.row];
    if (!same('module') || !same('function') || cell(below, 'function') === 0) return [unknown];
    if (same('file') && same('line') && same('inlined')) return this.framesOf(below, pc);
    return [{ ...unknown, fn: this.text(cell(below, 'function')) }];
  }

  private framesOf(place: Place, pc: bigint): readonly Frame[] {
    const module = this.modules.get(cell(place, 'module'))?.path ?? '';
    const chain = this.text(cell(place, 'inlined'));
    const file = this.text(cell(place, 'file'));
    const directory = this.text(cell(place, 'directory'));
    if (chain) {
      const links = chain.split('\n').map((link) => /^(.*)\|([^|]*)\|(\d*)$/s.exec(link));
      if (links.every((link) => link !== null)) {
        return links.map((link, i) => ({
          fn: link[1]!,
          file: link[2]!,
          directory: link[2] === file ? directory : '',
          line: Number(link[3]),
          module,
          pc,
          inlined: i + 1 < links.length,
        }));
      }
    }
    const fn = this.text(cell(place, 'function'));
    return [{ fn, file, directory, line: cell(place, 'line'), module, pc, inlined: false }];
  }

  /** The module that holds an address; the one mapped last, when there were several. */
  private moduleAt(pc: bigint): Module | undefined {
    const exact = this.exact(pc);
    if (exact) return this.modules.get(cell(exact, 'module'));
    return [...this.modules.values()].findLast(
      ({ address, size }) => pc >= address && pc - address < size,
    );
  }

  /** The text with a number; empty when there is none. */
  private text(key: number): string {
    let text = this.decoded.get(key);
    if (text !== undefined) return text;
    const [cells, row] = this.cellsOf(key);
    if (!cells) return '';
    const { offsets, data } = cells;
    text = utf8.decode(data.subarray(offsets[row]!, offsets[row + 1]!));
    this.decoded.set(key, text);
    return text;
  }

  private cellsOf(key: number): readonly [VarColumn | undefined, number] {
    for (const { keys, cells, count } of this.texts) {
      const row = rowOfKey(keys, key, count);
      if (row >= 0) return [cells, row];
    }
    return [undefined, -1];
  }
}

/** Texts with numbers in order of appearance. */
class TextNumbers {
  readonly texts: string[] = [];
  private readonly numbers = new Map<string, number>();

  numberOf(text: string): number {
    let number = this.numbers.get(text);
    if (number === undefined) {
      this.numbers.set(text, (number = this.texts.length));
      this.texts.push(text);
    }
    return number;
  }
}

const utf8 = new TextDecoder();

const cell = (
  { batch, row }: Place,
  name: 'module' | 'function' | 'file' | 'directory' | 'line' | 'inlined',
): number => batch.column(name)[row]!;
