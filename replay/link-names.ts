/**
 * What the linker knows of an object file: names of functions, which for C++ are mangled (a trace has the
 * demangled ones only, but suppression files have the mangled ones), variables and sections; and the types of
 * variables. They are read from the object file itself, or from its separate debug file, if it is still the
 * one that was recorded.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { inflateSync } from 'node:zlib';
import type { Trace } from './trace.js';
import { VariableTypes } from './variable-types.js';

const SECTION_HEADER_SIZE = 64;
const SYMBOL_SIZE = 24;
const SHT_SYMTAB = 2;
const SHT_NOTE = 7;
const SHT_NOBITS = 8;
const SHF_ALLOC = 2n;
const SHF_COMPRESSED = 0x800n;
const COMPRESSION_HEADER_SIZE = 24;
const COMPRESSED_BY_ZLIB = 1;
const SHT_DYNSYM = 11;
const STT_OBJECT = 1;
const STT_FUNC = 2;
const STT_GNU_IFUNC = 10;
const NT_GNU_BUILD_ID = 3;
/** Far above what a sane file has; a larger section is not read. */
const MAX_SECTION_BYTES = 1 << 29;
const MAX_NOTE_BYTES = 1 << 16;

/** A function, a variable or a section as the linker knows it. Addresses are those of the file. */
export interface LinkSymbol {
  readonly address: bigint;
  readonly end: bigint;
  readonly name: string;
}

/** Of one object file, each in rising order of addresses. */
interface FileNames {
  /** Where functions begin, by symbols and by the file's unwind information, which stripped files have, too. */
  readonly starts: readonly bigint[];
  readonly functions: readonly LinkSymbol[];
  readonly variables: readonly LinkSymbol[];
  readonly sections: readonly LinkSymbol[];
}

const NO_NAMES: FileNames = { starts: [], functions: [], variables: [], sections: [] };

/** Symbol tables of object files, each read when first asked for. */
export class LinkNames {
  private readonly files = new Map<string, FileNames>();
  private readonly types = new Map<string, VariableTypes>();
  private readonly buildIds: Readonly<Record<string, unknown>>;

  constructor(trace: Trace) {
    const modules: unknown = trace.manifest['modules'];
    this.buildIds =
      typeof modules === 'object' && modules !== null ? (modules as Record<string, unknown>) : {};
  }

  /**
   * All names of the function at an address of an object file, the shortest first; none when the
   * file has no symbol there, is gone, or has changed since it was recorded.
   */
  at(path: string, address: bigint): readonly string[] {
    const names = new Set(symbolsAt(this.names(path).functions, address).map(({ name }) => name));
    return [...names].sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  }

  /** Where the function at an address of an object file begins, if the file tells. */
  functionStart(path: string, address: bigint): bigint | undefined {
    return symbolsAt(this.names(path).functions, address)[0]?.address;
  }

  /** The same, by symbols and unwind information: the nearest beginning of a function before an address. */
  codeStart(path: string, address: bigint): bigint | undefined {
    const { starts } = this.names(path);
    return starts[countWhile(starts, (start) => start <= address) - 1];
  }

  /** The variable at an address of an object file, under the name that Valgrind prefers. */
  variable(path: string, address: bigint): LinkSymbol | undefined {
    return symbolsAt(this.names(path).variables, address).sort((a, b) => byName(a.name, b.name))[0];
  }

  /** The section of an object file that holds an address of it when loaded. */
  section(path: string, address: bigint): LinkSymbol | undefined {
    const { sections } = this.names(path);
    return sections.find(({ address: start, end }) => start <= address && address < end);
  }

  /** The types of the variables of an object file, as far as it has debug information. */
  variableTypes(path: string): VariableTypes {
    let types = this.types.get(path);
    if (!types) this.types.set(path, (types = new VariableTypes(this.debugSections(path))));
    return types;
  }

  private debugSections(path: string): ReadonlyMap<string, Buffer> {
    const recorded = this.buildIds[path];
    const main = withElf(path, (elf) => elf.debugSections());
    if (!main || (typeof recorded === 'string' && main.buildId !== recorded)) return new Map();
    if (main.sections.size > 0 || !main.buildId) return main.sections;
    const separate = withElf(debugFile(main.buildId), (elf) => elf.debugSections());
    return separate?.buildId === main.buildId ? separate.sections : new Map();
  }

  private names(path: string): FileNames {
    let names = this.files.get(path);
    if (!names) this.files.set(path, (names = this.read(path)));
    return names;
  }

  private read(path: string): FileNames {
    const recorded = this.buildIds[path];
    const main = withElf(path, (elf) => elf.names());
    if (!main || (typeof recorded === 'string' && main.buildId !== recorded)) return NO_NAMES;
    const id = main.buildId;
    const debug = !main.hasSymtab && id ? withElf(debugFile(id), (elf) => elf.names()) : undefined;
    const files = debug && debug.buildId === id ? [main, debug] : [main];
    const sorted = (symbols: LinkSymbol[]) =>
      symbols.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
    const functions = sorted(files.flatMap((file) => file.functions));
    return {
      starts: withSymbols(main.starts, functions),
      functions,
      variables: sorted(files.flatMap(({ variables }) => variables)),
      sections: sorted([...main.sections]),
    };
  }
}

/** The symbols that hold an address: those that begin together, the innermost where they are nested. */
function symbolsAt(symbols: readonly LinkSymbol[], address: bigint): LinkSymbol[] {
  const found: LinkSymbol[] = [];
  for (let i = firstAfter(symbols, address) - 1; i >= 0 && found.length < 16; i--) {
    const symbol = symbols[i]!;
    // A symbol further down that reaches this far holds nested ones.
    if (found.length > 0 && symbol.address < symbols[i + 1]!.address) break;
    if (address < symbol.end) found.push(symbol);
    else if (address - symbol.address > 1n << 24n) break;
  }
  return found;
}

/** Addresses of symbols, and those of unwind information that lie in none; both are in rising order, as is the result. */
function withSymbols(unwind: readonly bigint[], symbols: readonly LinkSymbol[]): bigint[] {
  const starts: bigint[] = [];
  let end = 0n;
  let next = 0;
  for (const symbol of [...symbols, undefined]) {
    for (; next < unwind.length && (!symbol || unwind[next]! < symbol.address); next++)
      if (unwind[next]! >= end) starts.push(unwind[next]!);
    if (!symbol) break;
    if (starts.at(-1) !== symbol.address) starts.push(symbol.address);
    if (symbol.end > end) end = symbol.end;
  }
  return starts;
}

/** Short names first, as they are without their version; of two as short, the one with a version. */
function byName(a: string, b: string): number {
  const length = (name: string) => name.replace(/@.*/, '').length;
  return (
    length(a) - length(b) || Number(b.includes('@')) - Number(a.includes('@')) || (a < b ? -1 : 1)
  );
}

/** Index of the first symbol that begins after an address. */
function firstAfter(symbols: readonly LinkSymbol[], address: bigint): number {
  return countWhile(symbols, (symbol) => symbol.address <= address);
}

/** How many elements at the beginning of a list hold, of one whose others do not. */
function countWhile<T>(list: readonly T[], holds: (element: T) => boolean): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(list[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface ElfNames extends FileNames {
  readonly buildId: string | undefined;
  readonly hasSymtab: boolean;
}

/** Where distributions put the debug information of an object file. */
const debugFile = (buildId: string): string =>
  `/usr/lib/debug/.build-id/${buildId.slice(0, 2)}/${buildId.slice(2)}.debug`;

/** Reads something of an ELF file; undefined when it cannot be read as one. */
function withElf<T>(path: string, read: (elf: ElfReader) => T): T | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    return read(new ElfReader(fd));
  } catch {
    return undefined; // cut off, or not quite an ELF file
  } finally {
    closeSync(fd);
  }
}

interface Section {
  readonly nameAt: number;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

class ElfReader {
  private readonly fileSize: number;
  private readonly sections: readonly Section[];
  /** The names of sections. */
  private readonly texts: Buffer;

  constructor(private readonly fd: number) {
    this.fileSize = fstatSync(fd).size;
    const header = this.bytes(0, 64);
    const isOurs = header.readUInt32BE(0) === 0x7f454c46 && header[4] === 2 && header[5] === 1;
    if (!isOurs || header.readUInt16LE(58) !== SECTION_HEADER_SIZE) throw new Error('no ELF file');
    const count = header.readUInt16LE(60);
    const table = this.bytes(Number(header.readBigUInt64LE(40)), count * SECTION_HEADER_SIZE);
    this.sections = Array.from({ length: count }, (_, i): Section => {
      const at = i * SECTION_HEADER_SIZE;
      return {
        nameAt: table.readUInt32LE(at),
        type: table.readUInt32LE(at + 4),
        flags: table.readBigUInt64LE(at + 8),
        address: table.readBigUInt64LE(at + 16),
        offset: Number(table.readBigUInt64LE(at + 24)),
        size: Number(table.readBigUInt64LE(at + 32)),
        link: table.readUInt32LE(at + 40),
      };
    });
    const texts = this.sections[header.readUInt16LE(62)];
    this.texts = texts ? this.bytes(texts.offset, texts.size) : Buffer.alloc(0);
  }

  names(): ElfNames {
    const { sections, texts } = this;
    const symbols = (...types: number[]) =>
      sections
        .filter(({ type }) => type === SHT_SYMTAB || type === SHT_DYNSYM)
        .flatMap((section) => this.symbols(section, sections[section.link], types));
    const named = sections.flatMap((section) => {
      const { flags, address, size } = section;
      const name = sectionName(section, texts);
      if (!(flags & SHF_ALLOC) || size === 0 || name === undefined) return [];
      return [{ address, end: address + BigInt(size), name }];
    });
    return {
      starts: this.unwindStarts(sections, named),
      functions: symbols(STT_FUNC, STT_GNU_IFUNC),
      variables: symbols(STT_OBJECT),
      sections: named,
      buildId: this.buildId,
      hasSymtab: sections.some(({ type }) => type === SHT_SYMTAB),
    };
  }

  /** Debug information in the format of DWARF, by the names of its sections. */
  debugSections(): { sections: ReadonlyMap<string, Buffer>; buildId: string | undefined } {
    const sections = new Map<string, Buffer>();
    for (const section of this.sections) {
      const name = sectionName(section, this.texts) ?? '';
      if (!name.startsWith('.debug_')) continue;
      const bytes = this.bytes(section.offset, section.size);
      if (!(section.flags & SHF_COMPRESSED)) sections.set(name, bytes);
      else if (bytes.readUInt32LE(0) === COMPRESSED_BY_ZLIB)
        sections.set(name, inflateSync(bytes.subarray(COMPRESSION_HEADER_SIZE)));
    }
    return { sections, buildId: this.buildId };
  }

  private get buildId(): string | undefined {
    return this.sections
      .filter(({ type, size }) => type === SHT_NOTE && size <= MAX_NOTE_BYTES)
      .map((section) => findBuildId(this.bytes(section.offset, section.size)))
      .find((id) => id !== undefined);
  }

  /**
   * First addresses in the table for binary search that the linker makes of unwind information, in rising order (Linux
   * Standard Base, Core specification 5.0, 10.6.2); without stubs, which have entries, too.
   */
  private unwindStarts(sections: readonly Section[], named: readonly LinkSymbol[]): bigint[] {
    const found = named.find(({ name }) => name === '.eh_frame_hdr');
    const section = found && sections.find(({ address }) => address === found.address);
    if (!section || section.type === SHT_NOBITS) return [];
    const bytes = this.bytes(section.offset, section.size);
    // A pointer and a count of 4 bytes each, then pairs of signed 4-byte distances from the section.
    const [version, , countEncoding, tableEncoding] = bytes;
    if (version !== 1 || countEncoding !== 0x03 || tableEncoding !== 0x3b) return [];
    const count = Math.min(bytes.readUInt32LE(8), Math.floor((section.size - 12) / 8));
    const stubs = named.filter(({ name }) => name.startsWith('.plt'));
    return Array.from({ length: count }, (_, i) => {
      return BigInt.asUintN(64, section.address + BigInt(bytes.readInt32LE(12 + 8 * i)));
    }).filter((start) => !stubs.some(({ address, end }) => start >= address && start < end));
  }

  private symbols(
    section: Section,
    texts: Section | undefined,
    types: readonly number[],
  ): LinkSymbol[] {
    if (!texts) return [];
    const table = this.bytes(section.offset, section.size);
    const names = this.bytes(texts.offset, texts.size);
    const found: LinkSymbol[] = [];
    for (let at = 0; at + SYMBOL_SIZE <= table.length; at += SYMBOL_SIZE) {
      const type = table[at + 4]! & 15;
      const isDefined = table.readUInt16LE(at + 6) !== 0;
      const size = table.readBigUInt64LE(at + 16);
      if (!types.includes(type) || !isDefined || size === 0n) continue;
      const start = table.readUInt32LE(at);
      const end = names.indexOf(0, start);
      if (start >= names.length || end < 0) continue;
      const address = table.readBigUInt64LE(at + 8);
      const name = withoutMark(names.toString('latin1', start, end));
      found.push({ address, end: address + size, name });
    }
    return found;
  }

  private bytes(offset: number, size: number): Buffer {
    if (!(offset >= 0 && size >= 0 && size <= MAX_SECTION_BYTES && offset + size <= this.fileSize))
      throw new Error('outside of the file');
    const bytes = Buffer.alloc(size);
    if (readSync(this.fd, bytes, 0, size, offset) < size) throw new Error('cut off');
    return bytes;
  }
}

function sectionName({ nameAt }: Section, texts: Buffer): string | undefined {
  const end = texts.indexOf(0, nameAt);
  return nameAt < texts.length && end >= 0 ? texts.toString('latin1', nameAt, end) : undefined;
}

/** Characters that the engine writes in another way in the names of its replacements. */
const Z_CODES: Readonly<Record<string, string>> = {
  a: '*',
  c: ':',
  d: '.',
  h: '-',
  p: '+',
  s: ' ',
  u: '_',
  A: '@',
  D: '$',
  L: '(',
  P: '%',
  R: ')',
  S: '/',
  Z: 'Z',
};

/** The name of a function that the engine replaces, from that of its replacement; other names as they are. */
function withoutMark(name: string): string {
  const [, coded, replaced] = /^_vg[rw]\d{5}Z([UZ])_[^_]*_(.+)$/.exec(name) ?? [];
  if (replaced === undefined) return name;
  if (coded === 'U') return replaced;
  return replaced.replace(/Z(.)/g, (text, code: string) => Z_CODES[code] ?? text);
}

function findBuildId(notes: Buffer): string | undefined {
  for (let at = 0; at + 12 <= notes.length;) {
    const nameSize = notes.readUInt32LE(at);
    const size = notes.readUInt32LE(at + 4);
    const description = at + 12 + ((nameSize + 3) & ~3);
    if (
      notes.readUInt32LE(at + 8) === NT_GNU_BUILD_ID &&
      notes.toString('latin1', at + 12, at + 15) === 'GNU'
    ) {
      return notes.toString('hex', description, description + size);
    }
    at = description + ((size + 3) & ~3);
  }
  return undefined;
}
