/**
 * Synchronisation variables (variables.ts) as the module of the replay sees them (`replay/native/history.h`): it does the
 * operations that only repeat what is known. Those are loads by a thread that has acquired all that was released there,
 * and then its stores, while it has got to know nothing new since its last one: they change only its own time.
 */

/**
 * Words of a row: bits for the bytes, of the 8 that they lie in; bits for the evidence; operations that were done here; number of the
 * thread that operated on it, -1 for several; slot of the thread that has acquired all, plus 1; what that thread knew
 * (`AccessHistory.version`) at its last store, or -1; time and tick of its last store that was done here, 0 for none; the next
 * row of the same 8 bytes.
 */
export const MASK = 0;
export const EVIDENCE_BITS = 1;
export const OPERATIONS = 2;
export const THREAD = 3;
export const KNOWN = 4;
export const VERSION = 5;
export const TIME = 6;
export const TICK = 7;
const NEXT = 8;
const ROW_WORDS = 9;

export class OperationTable {
  /** Rows are named by where their words begin; there is none at 0. */
  rows = new Float64Array(64 * ROW_WORDS);
  /** By number of the marked 8 bytes the first row, or 0. */
  firsts = new Int32Array(64);
  private readonly free: number[] = [];
  private end = ROW_WORDS;

  add(): number {
    const row = this.free.pop() ?? this.end;
    if (row === this.end) {
      this.end += ROW_WORDS;
      if (this.end > this.rows.length) {
        const rows = new Float64Array(2 * this.rows.length);
        rows.set(this.rows);
        this.rows = rows;
      }
    }
    this.rows.fill(0, row, row + ROW_WORDS);
    this.rows[row + VERSION] = -1;
    return row;
  }

  remove(row: number): void {
    this.free.push(row);
  }

  /** These are the rows of marked 8 bytes. */
  link(marked: number, rows: readonly number[]): void {
    if (marked >= this.firsts.length) {
      const firsts = new Int32Array(2 * marked);
      firsts.set(this.firsts);
      this.firsts = firsts;
    }
    this.firsts[marked] = rows[0] ?? 0;
    rows.forEach((row, i) => (this.rows[row + NEXT] = rows[i + 1] ?? 0));
  }
}
