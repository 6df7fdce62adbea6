/**
 * Shadow memory and shadow registers in the most obvious way, byte by byte: what tests of the analyses
 * hand them in place of the replay's. Pages come into being when they are touched.
 */
import type { OriginTag, ShadowMemory, ShadowRegisters } from '../replay/shadow.js';

const PAGE = 4096;

interface Page {
  readonly accessible: Uint8Array;
  readonly undefinedBits: Uint8Array;
  readonly origins: Uint32Array;
  readonly contents: Uint8Array;
}

export class PlainMemory implements ShadowMemory {
  private readonly pages = new Map<bigint, Page>();

  /** Sets contents, as the guest would. */
  write(address: bigint, bytes: Uint8Array): void {
    bytes.forEach((byte, i) =>
      this.at(address + BigInt(i), (page, o) => (page.contents[o] = byte)),
    );
  }

  /** Stores a word: accessible memory of which it is becomes defined. */
  store(address: bigint, ...values: bigint[]): void {
    values.forEach((value, i) => {
      const word = new Uint8Array(BigUint64Array.of(value).buffer);
      this.write(address + BigInt(8 * i), word);
    });
    this.markDefinedIfAccessible(address, BigInt(8 * values.length));
  }

  markNoAccess(address: bigint, size: bigint): void {
    this.set(address, size, 0, 0, 0);
  }

  markUndefined(address: bigint, size: bigint, origin: OriginTag): void {
    this.set(address, size, 1, 0xff, origin);
  }

  markDefined(address: bigint, size: bigint): void {
    this.set(address, size, 1, 0, 0);
  }

  markDefinedIfAccessible(address: bigint, size: bigint): void {
    for (let a = address; a < address + size; a++) {
      this.at(a, (page, o) => {
        if (page.accessible[o]) page.undefinedBits[o] = 0;
      });
    }
  }

  copyShadow(from: bigint, to: bigint, size: bigint): void {
    const states = Array.from({ length: Number(size) }, (_, i) =>
      this.at(
        from + BigInt(i),
        (page, o) => [page.accessible[o]!, page.undefinedBits[o]!, page.origins[o]!] as const,
      ),
    );
    states.forEach((state, i) => this.set(to + BigInt(i), 1n, ...state));
  }

  firstNoAccess(address: bigint, size: bigint): bigint | undefined {
    for (let a = address; a < address + size; a++) if (!this.state(a).accessible) return a;
    return undefined;
  }

  firstUndefined(address: bigint, size: bigint) {
    for (let a = address; a < address + size; a++) {
      const { accessible, bits, origin } = this.state(a);
      if (!accessible || bits) return { address: a, accessible, origin };
    }
    return undefined;
  }

  firstUndefinedOfString(address: bigint, maxSize: bigint) {
    for (let a = address; a < address + maxSize; a++) {
      const bad = this.firstUndefined(a, 1n);
      if (bad) return bad;
      if (this.readMemory(a, 1)[0] === 0) return undefined;
    }
    return undefined;
  }

  undefinedBits(address: bigint, size: number): Uint8Array | undefined {
    if (this.firstNoAccess(address, BigInt(size)) !== undefined) return undefined;
    return Uint8Array.from({ length: size }, (_, i) => this.state(address + BigInt(i)).bits);
  }

  setUndefinedBits(address: bigint, bits: Uint8Array, origin: OriginTag): void {
    bits.forEach((byte, i) => this.set(address + BigInt(i), 1n, 1, byte, byte ? origin : 0));
  }

  readMemory(address: bigint, size: number): Uint8Array {
    return Uint8Array.from({ length: size }, (_, i) =>
      this.at(address + BigInt(i), (page, o) => page.contents[o]!),
    );
  }

  visitDefinedWords(
    address: bigint,
    size: bigint,
    visit: (address: bigint, value: bigint) => void,
  ): void {
    const end = address + size;
    for (let a = (address + 7n) & ~7n; a + 8n <= end; a += 8n) {
      const page = this.pages.get(a / BigInt(PAGE));
      if (!page) {
        a = (a | BigInt(PAGE - 1)) - 7n;
        continue;
      }
      const o = Number(a % BigInt(PAGE));
      let good = true;
      for (let i = o; i < o + 8; i++) good &&= !!page.accessible[i] && !page.undefinedBits[i];
      if (good) visit(a, new DataView(page.contents.buffer).getBigUint64(o, true));
    }
  }

  accessibleRanges(): { address: bigint; size: bigint }[] {
    const cells = new Set<bigint>();
    for (const [number, page] of this.pages) {
      if (page.accessible.includes(1)) cells.add((number * BigInt(PAGE)) >> 16n);
    }
    return [...cells]
      .sort((a, b) => (a < b ? -1 : 1))
      .map((cell) => ({ address: cell << 16n, size: 1n << 16n }));
  }

  private state(address: bigint): { accessible: boolean; bits: number; origin: OriginTag } {
    return this.at(address, (page, o) => ({
      accessible: page.accessible[o] === 1,
      bits: page.undefinedBits[o]!,
      origin: page.origins[o]!,
    }));
  }

  private set(address: bigint, size: bigint, accessible: number, bits: number, origin: number) {
    for (let a = address; a < address + size;) {
      const o = Number(a % BigInt(PAGE));
      const rest = Number(address + size - a);
      const until = Math.min(PAGE, o + rest);
      this.at(a, (page) => {
        page.accessible.fill(accessible, o, until);
        page.undefinedBits.fill(bits, o, until);
        page.origins.fill(origin, o, until);
      });
      a += BigInt(until - o);
    }
  }

  private at<T>(address: bigint, use: (page: Page, offset: number) => T): T {
    const number = address / BigInt(PAGE);
    let page = this.pages.get(number);
    if (!page) {
      page = {
        accessible: new Uint8Array(PAGE),
        undefinedBits: new Uint8Array(PAGE),
        origins: new Uint32Array(PAGE),
        contents: new Uint8Array(PAGE),
      };
      this.pages.set(number, page);
    }
    return use(page, Number(address % BigInt(PAGE)));
  }
}

/** Offsets as in VEX's amd64 guest state. */
const OFFSETS: Readonly<Record<string, number>> = Object.fromEntries(
  ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8', 'R9', 'R10', 'R11', 'R12', 'R13']
    .concat(['R14', 'R15', 'CC_OP', 'CC_DEP1', 'CC_DEP2', 'CC_NDEP', 'DFLAG', 'RIP'])
    .map((name, i) => [name, 16 + 8 * i]),
);
const STATE_SIZE = 1024;

export class PlainRegisters implements ShadowRegisters {
  private readonly states = new Map<number, { values: DataView; undefinedBytes: Uint8Array }>();

  get threads(): readonly number[] {
    return [...this.states.keys()];
  }

  registerOffset(name: string): number {
    const offset = OFFSETS[name];
    if (offset === undefined) throw new Error(`no register ${name}`);
    return offset;
  }

  /** Sets a register, as replay does. */
  set(thread: number, name: string, value: bigint): void {
    this.of(thread).values.setBigUint64(this.registerOffset(name), value, true);
  }

  markUndefined(thread: number, name: string): void {
    const offset = this.registerOffset(name);
    this.of(thread).undefinedBytes.fill(1, offset, offset + 8);
  }

  isDefined(thread: number, name: string): boolean {
    return this.firstUndefinedRegister(thread, this.registerOffset(name), 8) === undefined;
  }

  markRegistersDefined(thread: number, offset: number, size: number): void {
    this.of(thread).undefinedBytes.fill(0, offset, offset + size);
  }

  firstUndefinedRegister(thread: number, offset: number, size: number) {
    const bytes = this.of(thread).undefinedBytes.subarray(offset, offset + size);
    return bytes.includes(1) ? { origin: 0 } : undefined;
  }

  readRegister(thread: number, offset: number): bigint {
    return this.of(thread).values.getBigUint64(offset, true);
  }

  saveShadow(thread: number): unknown {
    return this.of(thread).undefinedBytes.slice();
  }

  restoreShadow(thread: number, saved: unknown): void {
    this.of(thread).undefinedBytes.set(saved as Uint8Array);
  }

  private of(thread: number) {
    let state = this.states.get(thread);
    if (!state) {
      state = {
        values: new DataView(new ArrayBuffer(STATE_SIZE)),
        undefinedBytes: new Uint8Array(STATE_SIZE),
      };
      this.states.set(thread, state);
    }
    return state;
  }
}
