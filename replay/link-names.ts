/**
 * The linker's names of functions, which for C++ are mangled: a trace has the demangled ones only, but
 * suppression files have the mangled ones. They are read from the object file itself, or from its
 * separate debug file, if it is still the one that was recorded.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Trace } from './trace.js';

const SECTION_HEADER_SIZE = 64;
const SYMBOL_SIZE = 24;
const SHT_SYMTAB = 2;
const SHT_NOTE = 7;
const SHT_DYNSYM = 11;
const STT_FUNC = 2;
const STT_GNU_IFUNC = 10;
const NT_GNU_BUILD_ID = 3;
/** Far above what a sane file has; a larger section is not read. */
const MAX_SECTION_BYTES = 1 << 29;
const MAX_NOTE_BYTES = 1 << 16;

/** A function as the linker knows it. Addresses are those of the file. */
interface LinkSymbol {
  readonly address: bigint;
  readonly end: bigint;
  readonly name: string;
}

/** Symbol tables of object files, each read when first asked for. */
export class LinkNames {
  private readonly files = new Map<string, readonly LinkSymbol[]>();
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
    const symbols = this.symbols(path);
    const names = new Set<string>();
    for (let i = firstAfter(symbols, address) - 1; i >= 0 && names.size < 16; i--) {
      const symbol = symbols[i]!;
      // Aliases begin together; a symbol further down that reaches this far holds nested ones.
      if (names.size > 0 && symbol.address < symbols[i + 1]!.address) break;
      if (address < symbol.end) names.add(symbol.name);
      else if (address - symbol.address > 1n << 20n) break;
    }
    return [...names].sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  }

  private symbols(path: string): readonly LinkSymbol[] {
    let symbols = this.files.get(path);
    if (!symbols) this.files.set(path, (symbols = this.read(path)));
    return symbols;
  }

  private read(path: string): readonly LinkSymbol[] {
    const recorded = this.buildIds[path];
    const main = readElf(path);
    if (!main || (typeof recorded === 'string' && main.buildId !== recorded)) return [];
    const id = main.buildId;
    const debug =
      !main.hasSymtab && id
        ? readElf(`/usr/lib/debug/.build-id/${id.slice(0, 2)}/${id.slice(2)}.debug`)
        : undefined;
    const symbols = [...main.symbols, ...(debug && debug.buildId === id ? debug.symbols : [])];
    return symbols.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  }
}

/** Index of the first symbol that begins after an address. */
function firstAfter(symbols: readonly LinkSymbol[], address: bigint): number {
  let [low, high] = [0, symbols.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (symbols[middle]!.address <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}

interface ElfNames {
  readonly symbols: readonly LinkSymbol[];
  readonly buildId: string | undefined;
  readonly hasSymtab: boolean;
}

/** Functions in the symbol tables of an ELF file; undefined when it cannot be read as one. */
function readElf(path: string): ElfNames | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    return new ElfReader(fd).names();
  } catch {
    return undefined; // cut off, or not quite an ELF file
  } finally {
    closeSync(fd);
  }
}

interface Section {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

class ElfReader {
  private readonly fileSize: number;

  constructor(private readonly fd: number) {
    this.fileSize = fstatSync(fd).size;
  }

  names(): ElfNames | undefined {
    const header = this.bytes(0, 64);
    if (header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1)
      return undefined;
    if (header.readUInt16LE(58) !== SECTION_HEADER_SIZE) return undefined;
    const count = header.readUInt16LE(60);
    const table = this.bytes(Number(header.readBigUInt64LE(40)), count * SECTION_HEADER_SIZE);
    const sections = Array.from({ length: count }, (_, i): Section => {
      const at = i * SECTION_HEADER_SIZE;
      return {
        type: table.readUInt32LE(at + 4),
        offset: Number(table.readBigUInt64LE(at + 24)),
        size: Number(table.readBigUInt64LE(at + 32)),
        link: table.readUInt32LE(at + 40),
      };
    });
    const symbols = sections
      .filter(({ type }) => type === SHT_SYMTAB || type === SHT_DYNSYM)
      .flatMap((section) => this.functions(section, sections[section.link]));
    const buildId = sections
      .filter(({ type, size }) => type === SHT_NOTE && size <= MAX_NOTE_BYTES)
      .map((section) => findBuildId(this.bytes(section.offset, section.size)))
      .find((id) => id !== undefined);
    return { symbols, buildId, hasSymtab: sections.some(({ type }) => type === SHT_SYMTAB) };
  }

  private functions(section: Section, texts: Section | undefined): LinkSymbol[] {
    if (!texts) return [];
    const table = this.bytes(section.offset, section.size);
    const names = this.bytes(texts.offset, texts.size);
    const found: LinkSymbol[] = [];
    for (let at = 0; at + SYMBOL_SIZE <= table.length; at += SYMBOL_SIZE) {
      const type = table[at + 4]! & 15;
      const isDefined = table.readUInt16LE(at + 6) !== 0;
      const size = table.readBigUInt64LE(at + 16);
      if ((type !== STT_FUNC && type !== STT_GNU_IFUNC) || !isDefined || size === 0n) continue;
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
