/** Hashes of 32 bits, for what is compared between two runs. */

/** Two numbers of at most 53 bits as one of 32. */
export function mix(a: number, b: number): number {
  let hash = Math.imul(a ^ 0x9e3779b1, 0x85ebca6b) ^ Math.imul(b | 0, 0xc2b2ae35);
  if (b >= 2 ** 32 || b < -(2 ** 31)) hash ^= Math.imul(Math.floor(b / 2 ** 32), 0x27d4eb2f);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) | 0;
}

/** The same for a text (FNV-1a). */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}
