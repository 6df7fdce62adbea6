/**
 * Other placements of a program's memory: each mapping, with the heap as one and each object file as one, is moved by a
 * number of cache lines of its own. What lies together stays together, so only which mappings meet in a set changes, as
 * it does from commit to commit by the size of code, environment and libraries alone (Mytkowicz et al., "Producing wrong data
 * without doing anything obviously wrong", ASPLOS 2009).
 */
import { GRANULE_BITS, PLACEMENT_COUNT } from '../../replay/layout.js';
import { programRows } from '../../replay/lineage.js';
import type { Trace } from '../../replay/trace.js';
import { mappings, modules } from '../../schemas/tables.js';

/** More than a cache has sets: shifts are taken modulo their number. */
const MOST_SHIFT = 2 ** 20;

/** Shifts by granule, modulo `PLACEMENT_COUNT`, as one seed has them; 0 leaves all where it is. */
export function placementOf(trace: Trace, process: number, seed: number): Uint32Array | undefined {
  if (seed === 0) return undefined;
  const shifts = new Uint32Array(PLACEMENT_COUNT);
  const isPlaced = new Uint8Array(PLACEMENT_COUNT);
  const next = randomNumbers(seed);
  let [end, shift] = [-1n, 0];
  const place = (address: bigint, size: bigint): void => {
    // What goes on where the last one ended belongs to it, such as a heap that grows.
    if (address !== end) shift = next() % MOST_SHIFT;
    end = address + size;
    const last = (end - 1n) >> BigInt(GRANULE_BITS);
    for (let granule = address >> BigInt(GRANULE_BITS); granule <= last; granule++) {
      const at = Number(granule % BigInt(PLACEMENT_COUNT));
      if (isPlaced[at]) continue;
      isPlaced[at] = 1;
      shifts[at] = shift;
    }
  };
  for (const { batch, count } of programRows(trace, modules, process)) {
    let row = 0;
    for (const { address, size } of batch.rows()) {
      if (row++ === count) break;
      place(address, size);
    }
  }
  end = -1n;
  for (const { op, address, size } of trace.rows(mappings, process))
    if (size > 0n && (op === 'startup' || op === 'mmap' || op === 'brk' || op === 'mremap'))
      place(address, size);
  return shifts;
}

/** Numbers that a seed determines (Marsaglia, xorshift). */
function randomNumbers(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
