/**
 * Which parts of an object file's variables are of atomic types, from its debug information (DWARF Debugging
 * Information Format, versions 2 to 5; section 7 has the encoding). Of the tree of entries only types and variables
 * with a fixed address are looked at.
 */

const TAG = {
  array: 0x01,
  class: 0x02,
  enumeration: 0x04,
  member: 0x0d,
  pointer: 0x0f,
  structure: 0x13,
  typedef: 0x16,
  union: 0x17,
  inheritance: 0x1c,
  subrange: 0x21,
  base: 0x24,
  const: 0x26,
  variable: 0x34,
  volatile: 0x35,
  restrict: 0x37,
  atomic: 0x47,
} as const;
const WANTED: ReadonlySet<number> = new Set(Object.values(TAG));

const AT = {
  location: 0x02,
  byteSize: 0x0b,
  upperBound: 0x2f,
  count: 0x37,
  memberLocation: 0x38,
  specification: 0x47,
  type: 0x49,
  addressBase: 0x73,
} as const;

const OP_ADDR = 0x03;
const OP_ADDRX = 0xa1;

/** Parts of one variable that are told of at most. */
const MOST_PARTS = 10_000;

/** Sizes of forms that always have the same. */
const FIXED: Readonly<Record<number, number>> = {
  0x05: 2,
  0x06: 4,
  0x07: 8,
  0x0b: 1,
  0x0c: 1,
  0x11: 1,
  0x12: 2,
  0x13: 4,
  0x14: 8,
  0x19: 0,
  0x1c: 4,
  0x1e: 16,
  0x20: 8,
  0x24: 8,
  0x25: 1,
  0x26: 2,
  0x27: 3,
  0x28: 4,
  0x29: 1,
  0x2a: 2,
  0x2b: 3,
  0x2c: 4,
};
const FORM = {
  addr: 0x01,
  block2: 0x03,
  block4: 0x04,
  string: 0x08,
  block: 0x09,
  block1: 0x0a,
  sdata: 0x0d,
  strp: 0x0e,
  udata: 0x0f,
  refAddr: 0x10,
  ref1: 0x11,
  ref8: 0x14,
  refUdata: 0x15,
  indirect: 0x16,
  secOffset: 0x17,
  exprloc: 0x18,
  strx: 0x1a,
  addrx: 0x1b,
  strpSup: 0x1d,
  lineStrp: 0x1f,
  implicitConst: 0x21,
  loclistx: 0x22,
  rnglistx: 0x23,
  gnuAddrIndex: 0x1f01,
  gnuStrIndex: 0x1f02,
  gnuRefAlt: 0x1f20,
  gnuStrpAlt: 0x1f21,
} as const;

interface Abbreviation {
  readonly tag: number;
  readonly hasChildren: boolean;
  /** Attribute, form and constant of each. */
  readonly attributes: readonly (readonly [number, number, number])[];
}

/** A type, or a part of one. References are offsets in the section. */
interface Entry {
  readonly tag: number;
  readonly type: number | undefined;
  readonly specification: number | undefined;
  /** Of a type its size in bytes, of a member its place. */
  readonly size: number | undefined;
  readonly offset: number;
  /** Of the dimension of an array. */
  readonly count: number;
  readonly children: Entry[];
}

interface Variable {
  readonly address: bigint;
  readonly entry: Entry;
}

/** A part of memory, at an address of the file. */
export interface Part {
  readonly address: bigint;
  readonly size: number;
}

interface Unit {
  readonly start: number;
  readonly version: number;
  readonly offsetSize: 4 | 8;
  readonly addressSize: number;
  readonly abbreviations: ReadonlyMap<number, Abbreviation>;
  addressBase: number;
}

export class VariableTypes {
  private readonly entries = new Map<number, Entry>();
  /** With an address, in rising order of it. */
  private readonly variables: readonly Variable[];
  /** By number of the entry's offset: whether anything in the type is atomic. */
  private readonly atomic = new Map<Entry, boolean>();

  /** @param sections - those of debug information by name; without them nothing is known */
  constructor(sections: ReadonlyMap<string, Buffer>) {
    const [info, abbrev] = [sections.get('.debug_info'), sections.get('.debug_abbrev')];
    const found: Variable[] = [];
    const reader = info && abbrev && new InfoReader(info, abbrev, sections.get('.debug_addr'));
    try {
      reader?.read(this.entries, found);
    } catch {
      // Damaged, or of a kind that this does not know: what was read until then holds.
    }
    this.variables = found.sort((a, b) => (a.address < b.address ? -1 : 1));
  }

  /** The parts with atomic types of the variable that holds an address of the file. */
  atomicParts(address: bigint): Part[] {
    let [low, high] = [0, this.variables.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.variables[middle]!.address <= address) low = middle + 1;
      else high = middle;
    }
    const variable = this.variables[low - 1];
    const type = variable && this.typeOf(variable.entry);
    if (!type || address >= variable.address + BigInt(this.sizeOf(type))) return [];
    const parts: Part[] = [];
    this.collect(type, variable.address, parts);
    return parts;
  }

  private at(offset: number | undefined): Entry | undefined {
    return offset === undefined ? undefined : this.entries.get(offset);
  }

  private typeOf({ type, specification }: Entry): Entry | undefined {
    return this.at(type) ?? this.at(this.at(specification)?.type);
  }

  private sizeOf(type: Entry): number {
    if (type.size !== undefined) return type.size;
    if (type.tag === TAG.pointer) return 8;
    const inner = this.at(type.type);
    const size = inner ? this.sizeOf(inner) : 0;
    return type.tag === TAG.array ? size * elementsOf(type) : size;
  }

  private hasAtomic(type: Entry): boolean {
    const known = this.atomic.get(type);
    if (known !== undefined) return known;
    this.atomic.set(type, false);
    const inner = type.tag === TAG.pointer ? undefined : this.at(type.type);
    const found =
      type.tag === TAG.atomic ||
      (inner !== undefined && this.hasAtomic(inner)) ||
      type.children.some((child) => this.hasAtomic(child));
    this.atomic.set(type, found);
    return found;
  }

  private collect(type: Entry, address: bigint, parts: Part[]): void {
    if (parts.length >= MOST_PARTS || !this.hasAtomic(type)) return;
    if (type.tag === TAG.atomic) {
      parts.push({ address, size: this.sizeOf(type) });
      return;
    }
    for (const child of type.children) {
      const inner = child.tag === TAG.subrange ? undefined : this.at(child.type);
      if (inner) this.collect(inner, address + BigInt(child.offset), parts);
    }
    const inner = this.at(type.type);
    if (!inner) return;
    const step = BigInt(this.sizeOf(inner));
    const count = type.tag === TAG.array ? elementsOf(type) : 1;
    for (let i = 0; i < count && parts.length < MOST_PARTS; i++)
      this.collect(inner, address + BigInt(i) * step, parts);
  }
}

const elementsOf = ({ children }: Entry): number =>
  children.reduce(
    (product, { tag, count }) => (tag === TAG.subrange ? product * count : product),
    1,
  );

/** Reads all units of `.debug_info`. */
class InfoReader {
  private at = 0;
  private readonly tables = new Map<number, ReadonlyMap<number, Abbreviation>>();
  /** The value of the form that was read last: a number, or an expression. */
  private value = 0;
  private expression: Buffer | undefined;

  constructor(
    private readonly info: Buffer,
    private readonly abbrev: Buffer,
    private readonly addresses: Buffer | undefined,
  ) {}

  read(entries: Map<number, Entry>, variables: Variable[]): void {
    while (this.at < this.info.length) {
      const [unit, end] = this.header();
      if (unit) this.entriesOf(unit, end, entries, variables);
      this.at = end;
    }
  }

  private header(): [Unit | undefined, number] {
    const start = this.at;
    let length = this.number(4);
    const offsetSize = length === 0xffffffff ? 8 : 4;
    if (offsetSize === 8) length = this.number(8);
    const end = this.at + length;
    const version = this.number(2);
    if (version < 2 || version > 5) return [undefined, end];
    const kind = version === 5 ? this.number(1) : 1;
    let addressSize = version === 5 ? this.number(1) : 0;
    const table = this.number(offsetSize);
    if (version < 5) addressSize = this.number(1);
    if (kind === 2 || kind === 6) this.at += 8 + offsetSize;
    else if (kind === 4 || kind === 5) this.at += 8;
    const abbreviations = this.table(table);
    // Where addresses begin after the header of their section, unless the unit says otherwise.
    return [{ start, version, offsetSize, addressSize, abbreviations, addressBase: 8 }, end];
  }

  private entriesOf(
    unit: Unit,
    end: number,
    entries: Map<number, Entry>,
    variables: Variable[],
  ): void {
    const open: (Entry | undefined)[] = [];
    while (this.at < end) {
      const offset = this.at;
      const code = this.unsigned();
      if (code === 0) {
        open.pop();
        continue;
      }
      const abbreviation = unit.abbreviations.get(code);
      if (!abbreviation) throw new Error('no such abbreviation');
      const { tag, hasChildren } = abbreviation;
      let location: bigint | undefined;
      let type: number | undefined;
      let specification: number | undefined;
      let size: number | undefined;
      let place: number | undefined;
      let count: number | undefined;
      let last: number | undefined;
      for (const [attribute, form, constant] of abbreviation.attributes) {
        this.expression = undefined;
        this.form(unit, form, constant);
        if (attribute === AT.location) location = this.address(unit);
        if (this.expression) continue;
        const { value } = this;
        if (attribute === AT.type) type = value;
        else if (attribute === AT.byteSize) size = value;
        else if (attribute === AT.memberLocation) place = value;
        else if (attribute === AT.count) count = value;
        else if (attribute === AT.upperBound) last = value;
        else if (attribute === AT.specification) specification = value;
        else if (attribute === AT.addressBase) unit.addressBase = value;
      }
      let entry: Entry | undefined;
      if (WANTED.has(tag)) {
        count ??= last === undefined ? 0 : last + 1;
        entry = { tag, type, specification, size, offset: place ?? 0, count, children: [] };
        if (tag === TAG.variable && location !== undefined)
          variables.push({ address: location, entry });
        if (tag === TAG.member || tag === TAG.inheritance || tag === TAG.subrange)
          open.at(-1)?.children.push(entry);
        entries.set(offset, entry);
      }
      if (hasChildren) open.push(entry);
    }
  }

  /** What an expression says, if it is an address. */
  private address(unit: Unit): bigint | undefined {
    const { expression } = this;
    if (!expression) return undefined;
    if (expression[0] === OP_ADDR && expression.length === 9) return expression.readBigUInt64LE(1);
    if (expression[0] !== OP_ADDRX || !this.addresses) return undefined;
    const [index] = unsignedAt(expression, 1);
    return this.addresses.readBigUInt64LE(unit.addressBase + 8 * index);
  }

  private form(unit: Unit, form: number, constant: number): void {
    const size = FIXED[form];
    if (size !== undefined) {
      this.value = this.number(size);
      if (form >= FORM.ref1 && form <= FORM.ref8) this.value += unit.start;
      return;
    }
    switch (form) {
      case FORM.addr:
        this.value = this.number(unit.addressSize);
        return;
      case FORM.refAddr:
        this.value = this.number(unit.version === 2 ? unit.addressSize : unit.offsetSize);
        return;
      case FORM.strp:
      case FORM.secOffset:
      case FORM.strpSup:
      case FORM.lineStrp:
      case FORM.gnuRefAlt:
      case FORM.gnuStrpAlt:
        this.value = this.number(unit.offsetSize);
        return;
      case FORM.udata:
      case FORM.sdata: // none of what is looked at is negative
      case FORM.strx:
      case FORM.addrx:
      case FORM.loclistx:
      case FORM.rnglistx:
      case FORM.gnuAddrIndex:
      case FORM.gnuStrIndex:
        this.value = this.unsigned();
        return;
      case FORM.refUdata:
        this.value = unit.start + this.unsigned();
        return;
      case FORM.implicitConst:
        this.value = constant;
        return;
      case FORM.string:
        this.at = this.info.indexOf(0, this.at) + 1;
        return;
      case FORM.indirect:
        return this.form(unit, this.unsigned(), 0);
      case FORM.exprloc:
      case FORM.block:
        return this.block(this.unsigned());
      case FORM.block1:
        return this.block(this.number(1));
      case FORM.block2:
        return this.block(this.number(2));
      case FORM.block4:
        return this.block(this.number(4));
      default:
        throw new Error('unknown form');
    }
  }

  private block(size: number): void {
    this.expression = this.info.subarray(this.at, this.at + size);
    this.at += size;
  }

  /** Numbers above 2^53, which are none of sizes and places, are not exact. */
  private number(size: number): number {
    const { at } = this;
    this.at += size;
    if (size === 0) return 1;
    if (size <= 6) return this.info.readUIntLE(at, size);
    return Number(this.info.readBigUInt64LE(at));
  }

  private unsigned(): number {
    const [value, end] = unsignedAt(this.info, this.at);
    this.at = end;
    return value;
  }

  private table(offset: number): ReadonlyMap<number, Abbreviation> {
    const known = this.tables.get(offset);
    if (known) return known;
    const table = new Map<number, Abbreviation>();
    this.tables.set(offset, table);
    let at = offset;
    const next = (): number => {
      const [value, end] = unsignedAt(this.abbrev, at);
      at = end;
      return value;
    };
    for (let code; (code = next()) !== 0;) {
      const tag = next();
      const hasChildren = this.abbrev[at++] === 1;
      const attributes: [number, number, number][] = [];
      for (;;) {
        const [attribute, form] = [next(), next()];
        if (attribute === 0 && form === 0) break;
        attributes.push([attribute, form, form === FORM.implicitConst ? next() : 0]);
      }
      table.set(code, { tag, hasChildren, attributes });
    }
    return table;
  }
}

/** An unsigned LEB128 number, and where it ends. */
function unsignedAt(bytes: Buffer, from: number): [number, number] {
  let [value, scale, at] = [0, 1, from];
  for (;;) {
    const byte = bytes[at++];
    if (byte === undefined) throw new Error('cut off');
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (byte < 0x80) return [value, at];
  }
}
