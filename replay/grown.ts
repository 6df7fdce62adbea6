/** Typed arrays that grow. */

type TypedArray =
  Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array | BigUint64Array;

/** A longer copy of an array; what it has more is zero. */
export function lengthened<T extends TypedArray>(array: T, length: number): T {
  const longer = new (array.constructor as new (length: number) => T)(length);
  longer.set(array as never);
  return longer;
}

/**
 * Makes room for `count` entries: the same array when it has them, else a copy at least twice as long, so that growing costs
 * a constant time per entry.
 * @param rest - what the new entries are
 */
export function grown<T extends TypedArray>(array: T, count: number, rest = 0): T {
  if (count <= array.length) return array;
  const longer = lengthened(array, Math.max(1024, 2 * array.length, count));
  return rest === 0 ? longer : (longer.fill(rest as never, array.length) as T);
}
