/** How sizes and numbers are shown, and what commands share that must load quickly. */

/** Where runs are kept, under the current folder, unless --out says otherwise. */
export const RUNS_FOLDER = '.grind';

/** A size for people: `12.3 MB`. */
export function formatSize(sizeBytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = sizeBytes;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 || size >= 99.5 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** A whole number with its thousands set apart. */
export function formatCount(count: number | bigint): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}
