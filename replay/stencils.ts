/**
 * Takes the stencils of threaded code from the object file that the C compiler made of `native/stencils.c`
 * (System V ABI, AMD64 supplement, 4.4), and writes them as C tables for `native/machine-code.h`.
 */

const SECTION = { symbols: 2, strings: 3, relocations: 4, notes: 7 } as const;
const SECTION_ALLOCATED = 2n;
const SECTION_HEADER_SIZE = 64;
const SYMBOL_SIZE = 24;
const RELOCATION_SIZE = 24;
/** The relocations that the small code model has; the first two are relative to their place. */
const R_X86_64_PC32 = 2;
const R_X86_64_PLT32 = 4;
const R_X86_64_32 = 10;
const R_X86_64_32S = 11;
/** A jump with a 32-bit displacement. */
const JMP = 0xe9;
const ALIGNMENT = 16;

interface Section {
  readonly name: string;
  readonly type: number;
  readonly isAllocated: boolean;
  readonly bytes: Buffer;
  readonly link: number;
  readonly info: number;
}

interface ElfSymbol {
  readonly name: string;
  /** 0 when it is not defined here. */
  readonly section: number;
  readonly value: number;
}

interface Relocation {
  readonly at: number;
  readonly type: number;
  readonly symbol: ElfSymbol;
  readonly addend: number;
}

function readSections(object: Buffer): Section[] {
  const start = Number(object.readBigUInt64LE(0x28));
  const headers = Array.from({ length: object.readUInt16LE(0x3c) }, (_, i) =>
    object.subarray(start + SECTION_HEADER_SIZE * i, start + SECTION_HEADER_SIZE * (i + 1)),
  );
  const bytesOf = (header: Buffer): Buffer => {
    const offset = Number(header.readBigUInt64LE(24));
    return object.subarray(offset, offset + Number(header.readBigUInt64LE(32)));
  };
  const names = bytesOf(headers[object.readUInt16LE(0x3e)]!);
  return headers.map((header) => ({
    name: textAt(names, header.readUInt32LE(0)),
    type: header.readUInt32LE(4),
    isAllocated: (header.readBigUInt64LE(8) & SECTION_ALLOCATED) !== 0n,
    bytes: bytesOf(header),
    link: header.readUInt32LE(40),
    info: header.readUInt32LE(44),
  }));
}

const textAt = (bytes: Buffer, at: number): string =>
  bytes.toString('latin1', at, bytes.indexOf(0, at));

const entries = (bytes: Buffer, size: number): Buffer[] =>
  Array.from({ length: bytes.length / size }, (_, i) => bytes.subarray(size * i, size * (i + 1)));

/** What a 32-bit place of copied code is filled with: `kind` as in `native/machine-code.h`. */
interface Patch {
  readonly at: number;
  readonly kind: 'WORD' | 'NEXT' | 'SHARED' | 'SHARED_ADDRESS' | 'EXTERNAL';
  readonly index: number;
  readonly addend: number;
}

/**
 * @param object - an object file
 * @param count - how many stencils it has
 * @returns C: the stencils, what they share, and the functions that they call outside
 */
export function writeStencils(object: Buffer, count: number): string {
  const sections = readSections(object);
  const table = sections.find(({ type }) => type === SECTION.symbols)!;
  const names = sections[table.link]!.bytes;
  const symbols = entries(table.bytes, SYMBOL_SIZE).map((entry) => ({
    name: textAt(names, entry.readUInt32LE(0)),
    section: entry.readUInt16LE(6),
    value: Number(entry.readBigUInt64LE(8)),
  }));
  const relocations = new Map<number, Relocation[]>();
  for (const { type, info, bytes } of sections) {
    if (type !== SECTION.relocations) continue;
    const list = entries(bytes, RELOCATION_SIZE).map((entry) => ({
      at: Number(entry.readBigUInt64LE(0)),
      type: entry.readUInt32LE(8),
      symbol: symbols[entry.readUInt32LE(12)]!,
      addend: Number(entry.readBigInt64LE(16)),
    }));
    relocations.set(info, list);
  }

  // Everything that is not a stencil is copied once, for all.
  const sharedAt = new Map<number, number>();
  const shared: Buffer[] = [];
  let sharedSize = 0;
  const stencils = new Map<number, number>();
  sections.forEach(({ name, type, isAllocated, bytes }, number) => {
    if (!isAllocated || type === SECTION.notes || bytes.length === 0) return;
    const stencil = /^\.text\.stencil_(\d+)$/.exec(name);
    if (stencil) stencils.set(Number(stencil[1]), number);
    else {
      sharedAt.set(number, sharedSize);
      const padded = Buffer.alloc(Math.ceil(bytes.length / ALIGNMENT) * ALIGNMENT);
      bytes.copy(padded);
      shared.push(padded);
      sharedSize += padded.length;
    }
  });

  const externals: string[] = [];
  const patchOf = ({ at, type, symbol, addend }: Relocation): Patch => {
    const isRelative = type === R_X86_64_PC32 || type === R_X86_64_PLT32;
    if (!isRelative && type !== R_X86_64_32 && type !== R_X86_64_32S)
      throw new Error(`a relocation of type ${type} (${symbol.name})`);
    if (symbol.section !== 0) {
      const start = sharedAt.get(symbol.section);
      if (start === undefined) throw new Error(`a stencil refers to another (${symbol.name})`);
      const kind = isRelative ? 'SHARED' : 'SHARED_ADDRESS';
      return { at, kind, index: 0, addend: start + symbol.value + addend };
    }
    const word = symbol.name === 'AT' ? '0' : /^W(\d)$/.exec(symbol.name)?.[1];
    if (word !== undefined && !isRelative) return { at, kind: 'WORD', index: Number(word), addend };
    if (!isRelative) throw new Error(`the address of ${symbol.name} is asked for`);
    if (symbol.name === 'NEXT') return { at, kind: 'NEXT', index: 0, addend };
    let index = externals.indexOf(symbol.name);
    if (index < 0) index = externals.push(symbol.name) - 1;
    return { at, kind: 'EXTERNAL', index, addend };
  };

  const code: Buffer[] = [];
  const patches: Patch[] = [];
  const rows: string[] = [];
  let codeSize = 0;
  for (let number = 0; number < count; number++) {
    const section = stencils.get(number)!;
    let { bytes } = sections[section]!;
    const own = (relocations.get(section) ?? []).map(patchOf).sort((a, b) => a.at - b.at);
    const last = own.at(-1);
    // It runs into the next one.
    if (last?.kind === 'NEXT' && last.at + 4 === bytes.length && bytes[last.at - 1] === JMP) {
      bytes = bytes.subarray(0, last.at - 1);
      own.pop();
    }
    rows.push(`{ ${codeSize}, ${bytes.length}, ${patches.length}, ${own.length} }`);
    code.push(bytes);
    patches.push(...own);
    codeSize += bytes.length;
  }
  const sharedPatches = [...sharedAt].flatMap(([section, start]) =>
    (relocations.get(section) ?? []).map(patchOf).map((one) => ({ ...one, at: one.at + start })),
  );
  const chain = symbols.find(({ name }) => name === 'import_chain')!;
  const patchRows = (list: readonly Patch[]): string =>
    list
      .map(({ at, kind, index, addend }) => `{ ${at}, PATCH_${kind}, ${index}, ${addend} }`)
      .join(',\n');
  return `static const u8 stencil_code[] = { ${Buffer.concat(code).join(',')} };
static const struct stencil stencils[] = { ${rows.join(',\n')} };
static const struct patch stencil_patches[] = { ${patchRows(patches)} };
static const u8 shared_code[] = { ${Buffer.concat(shared).join(',')} };
static const struct patch shared_patches[] = { ${patchRows(sharedPatches)} };
#define SHARED_PATCHES ${sharedPatches.length}u
/* Where what runs the block of a slot stands in the shared code. */
#define SHARED_CHAIN ${sharedAt.get(chain.section)! + chain.value}u
#define EXTERNALS ${externals.length}u
static void* const externals[] = { ${externals.map((name) => `(void*)${name}`).join(', ')} };
`;
}
