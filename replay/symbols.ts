/**
 * What an address of code is called: instruction addresses of one process image become frames with
 * function, file, line and object file, inlined functions included, from the tables `instructions`,
 * `strings` and `modules`.
 */
import { instructions, modules, strings } from '../schemas/tables.js';
import { wordsOf } from './event-cursor.js';
import { programRows } from './lineage.js';
import { LinkNames } from './link-names.js';
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

/** Names for the addresses of one process image. */
export class Symbols {
  private readonly batches: { batch: Batch<typeof instructions>; count: number }[] = [];
  /** Open addressing over all rows: number of the row + 1, 0 when free. */
  private readonly slots: Uint32Array;
  /** By number of the row: its address. */
  private readonly pcs: BigUint64Array;
  /** The same as words, the low ones first. */
  private readonly words: Uint32Array;
  private readonly texts = new Map<number, { cells: VarColumn; row: number }>();
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
    this.slots = new Uint32Array(1 << (33 - Math.clz32(Math.max(rows, 8))));
    let first = 0;
    for (const { batch, count } of this.batches) {
      this.pcs.set(batch.column('pc').subarray(0, count), first);
      first += count;
    }
    const words = (this.words = wordsOf(this.pcs));
    for (let row = 0; row < rows; row++) {
      let slot = this.slotOf(words[row * 2]!, words[row * 2 + 1]!);
      while (this.slots[slot]) slot = (slot + 1) & (this.slots.length - 1);
      this.slots[slot] = row + 1;
    }
    for (const { batch, count } of programRows(trace, strings, process)) {
      const keys = batch.column('string');
      const cells = batch.column('text');
      for (let row = 0; row < count; row++) this.texts.set(keys[row]!, { cells, row });
    }
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
    const stack: Frame[] = [];
    for (const pc of this.programPcs(pcs, callers)) {
      const frames = this.frames(pc);
      stack.push(...frames);
      const { fn } = frames.at(-1)!;
      if (fn === 'main' || fn === BELOW_MAIN) break;
    }
    return stack;
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

  private slotOf(low: number, high: number): number {
    const hash = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1);
    return (hash ^ (hash >>> 15)) & (this.slots.length - 1);
  }

  /** The row that has this very address. */
  private exact(pc: bigint): Place | undefined {
    const row = this.rowAt(Number(pc & 0xffffffffn), Number((pc >> 32n) & 0xffffffffn));
    return row < 0 ? undefined : this.place(row);
  }

  /** Number of the row that has an address, given as two words; -1 if there is none. */
  private rowAt(low: number, high: number): number {
    const { slots, words } = this;
    for (let slot = this.slotOf(low, high); ; slot = (slot + 1) & (slots.length - 1)) {
      const row = slots[slot]! - 1;
      if (row < 0 || (words[2 * row] === low && words[2 * row + 1] === high)) return row;
    }
  }

  /**
   * Which of many instructions are at the same place in the sources: for each the number of the first of them of which
   * debug information says the same, so that only those need be named.
   */
  firstAlike(pcs: BigUint64Array): Uint32Array {
    const [fns, files, lines, inlined] = (['function', 'file', 'line', 'inlined'] as const).map(
      (name) => this.allRows(name),
    ) as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
    const words = wordsOf(pcs);
    const rows = new Int32Array(pcs.length);
    const first = new Uint32Array(pcs.length);
    const slots = new Uint32Array(1 << (33 - Math.clz32(Math.max(pcs.length, 8))));
    for (let i = 0; i < pcs.length; i++) {
      const row = (rows[i] = this.rowAt(words[2 * i]!, words[2 * i + 1]!));
      first[i] = i;
      if (row < 0) continue;
      const [fn, file, line, chain] = [fns[row]!, files[row]!, lines[row]!, inlined[row]!];
      const hash = Math.imul(
        Math.imul(fn ^ Math.imul(file, 0x85ebca6b), 0xc2b2ae35) ^
          Math.imul(line, 0x27d4eb2f) ^
          chain,
        0x9e3779b1,
      );
      let slot = (hash ^ (hash >>> 15)) & (slots.length - 1);
      for (; slots[slot]; slot = (slot + 1) & (slots.length - 1)) {
        const other = rows[slots[slot]! - 1]!;
        const isAlike =
          fns[other] === fn &&
          lines[other] === line &&
          files[other] === file &&
          inlined[other] === chain;
        if (isAlike) break;
      }
      if (slots[slot]) first[i] = slots[slot]! - 1;
      else slots[slot] = i + 1;
    }
    return first;
  }

  /** A column over all batches. */
  private allRows(name: 'function' | 'file' | 'line' | 'inlined'): Uint32Array {
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
    const place = this.texts.get(key);
    if (!place) return '';
    const { offsets, data } = place.cells;
    text = utf8.decode(data.subarray(offsets[place.row]!, offsets[place.row + 1]!));
    this.decoded.set(key, text);
    return text;
  }
}

const utf8 = new TextDecoder();

const cell = (
  { batch, row }: Place,
  name: 'module' | 'function' | 'file' | 'directory' | 'line' | 'inlined',
): number => batch.column(name)[row]!;
