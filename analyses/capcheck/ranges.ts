/** What lies where in an address space: ranges that do not overlap, each with a value. */

export interface Range<T> {
  readonly start: number;
  /** Beyond its last byte. */
  readonly end: number;
  readonly value: T;
}

export class RangeMap<T> {
  /** In rising order. */
  private ranges: Range<T>[] = [];

  /** A range has a value from now on, whatever it had. */
  set(start: number, end: number, value: T): void {
    this.replace(start, end, [{ start, end, value }]);
  }

  /** Nothing is there any more; gives what was, cut to the range. */
  clear(start: number, end: number): Range<T>[] {
    return this.replace(start, end, []);
  }

  at(address: number): Range<T> | undefined {
    return this.within(address, address + 1)[0];
  }

  /** The range that holds an address, not cut. */
  around(address: number): Range<T> | undefined {
    const [first, beyond] = this.overlapping(address, address + 1);
    return beyond > first ? this.ranges[first] : undefined;
  }

  /** What overlaps a range, cut to it. */
  within(start: number, end: number): Range<T>[] {
    const [first, beyond] = this.overlapping(start, end);
    return this.ranges.slice(first, beyond).map((range) => ({
      start: Math.max(range.start, start),
      end: Math.min(range.end, end),
      value: range.value,
    }));
  }

  get all(): readonly Range<T>[] {
    return this.ranges;
  }

  private replace(start: number, end: number, by: Range<T>[]): Range<T>[] {
    if (end <= start) return [];
    const before = this.within(start, end);
    const [first, beyond] = this.overlapping(start, end);
    const [head, tail] = [this.ranges[first], this.ranges[beyond - 1]];
    if (beyond > first && head!.start < start) by = [{ ...head!, end: start }, ...by];
    if (beyond > first && tail!.end > end) by = [...by, { ...tail!, start: end }];
    this.ranges.splice(first, beyond - first, ...by);
    return before;
  }

  /** Numbers of the first range that reaches beyond `start`, and of the first that begins at `end` or later. */
  private overlapping(start: number, end: number): [first: number, beyond: number] {
    let [low, high] = [0, this.ranges.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ranges[middle]!.end <= start) low = middle + 1;
      else high = middle;
    }
    let beyond = low;
    while (beyond < this.ranges.length && this.ranges[beyond]!.start < end) beyond++;
    return [low, beyond];
  }
}
