/** Numbers for the cache lines that a program touches, from 0, found by page: memory grows with what is touched. */

/** Lines of a page, as a power of two: they get consecutive numbers. */
const PAGE_BITS = 6;
/** Pages found last, by the low bits of their number. */
const CACHED = 1 << 15;

export class LineNumbers {
  /** Numbers below this have been given away. */
  count = 0;
  private readonly pages = new Map<number, number>();
  readonly cachedPages = new Float64Array(CACHED).fill(-1);
  readonly cachedFirsts = new Int32Array(CACHED);
  private readonly pageBits: number;
  /** What the high word of an address is worth as a part of the number of a page. */
  private readonly highUnit: number;

  /** @param lineBits - logarithm of a line's size in bytes */
  constructor(private readonly lineBits: number) {
    this.pageBits = lineBits + PAGE_BITS;
    this.highUnit = 2 ** (32 - this.pageBits);
  }

  /** The number of the line that holds the address with these words. */
  of(low: number, high: number): number {
    const inWord = low >>> this.pageBits;
    const page = high * this.highUnit + inWord;
    const slot = inWord & (CACHED - 1);
    if (this.cachedPages[slot] !== page) this.look(page, slot);
    return this.cachedFirsts[slot]! + ((low >>> this.lineBits) & ((1 << PAGE_BITS) - 1));
  }

  private look(page: number, slot: number): void {
    let first = this.pages.get(page);
    if (first === undefined) {
      this.pages.set(page, (first = this.count));
      this.count += 1 << PAGE_BITS;
    }
    this.cachedPages[slot] = page;
    this.cachedFirsts[slot] = first;
  }
}
