/** How numbers are shown to people. */

/** A whole number with its thousands set apart. */
export function formatCount(count: number | bigint): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** An address. */
export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
