/**
 * What the code at a site of accesses is, as far as it matters for races: the program's own, the C
 * library's, or an operation on an atomic variable.
 */
import type { Frame, Symbols } from '../../replay/symbols.js';
import type { SiteTable } from '../../replay/types.js';

/** Not known yet. */
export const UNKNOWN = 0;
/** The program's, or that of a library like the program's. */
export const PLAIN = 1;
/** Bit: a locked instruction. */
export const ATOMIC = 2;
/** Bit: in a function of C++'s atomic types. */
export const CPP_ATOMIC = 4;
/** Bit: in the C library. */
export const RUNTIME = 8;
/** Bit: in the dynamic linker or the recorder's wrappers, whose accesses are nobody's business. */
export const LINKER = 16;
/** Bit: in a run-time library of OpenMP, whose own memory only matters as it synchronises. */
export const OPENMP = 32;

const RUNTIME_FILE = /\/(?:libc[.-][^/]*|libpthread[.-][^/]*)$/;
const LINKER_FILE = /\/(?:ld-[^/]*|vgpreload_(?:sync|helgrind)-[^/]*)$/;
const OPENMP_FILE = /\/lib(?:gomp|omp|iomp5)[.-][^/]*$/;
const ATOMIC_FILE = /^(?:atomic|atomic_base\.h|atomicity\.h|shared_ptr_atomic\.h|atomic_wait\.h)$/;
const ATOMIC_FUNCTION =
  /^(?:std::(?:__)?atomic|__atomic_|__gnu_cxx::__(?:exchange_and_add|atomic_add))/;

/** The kinds of sites, by their number. */
export class SiteKinds {
  kinds = new Uint8Array(1024);

  constructor(
    private readonly sites: SiteTable,
    private readonly symbols: Symbols,
  ) {}

  /** Makes room for the kinds of all sites that there are. */
  reserve(): void {
    const { count } = this.sites;
    if (count <= this.kinds.length) return;
    const larger = new Uint8Array(Math.max(count, 2 * this.kinds.length));
    larger.set(this.kinds);
    this.kinds = larger;
  }

  /** Finds out the kind of a site. */
  classify(site: number): number {
    const frames = this.symbols.frames(this.sites.pcs[site]!);
    let kind = 0;
    if (this.isAtomic(site)) kind |= ATOMIC;
    if (isOfAtomicType(frames[0]!)) kind |= CPP_ATOMIC;
    const { module } = frames.at(-1)!;
    if (RUNTIME_FILE.test(module)) kind |= RUNTIME;
    if (LINKER_FILE.test(module)) kind |= LINKER;
    if (OPENMP_FILE.test(module)) kind |= OPENMP;
    return (this.kinds[site] = kind || PLAIN);
  }

  /** The engine may load what a locked instruction finds before it compares and exchanges. */
  private isAtomic(site: number): boolean {
    const { atomics, pcs, blocks, count } = this.sites;
    for (let near = site; near < Math.min(count, site + 3); near++) {
      if (pcs[near] !== pcs[site] || blocks[near] !== blocks[site]) return false;
      if (atomics[near]) return true;
    }
    return false;
  }
}

/** The instruction is one of a run-time library of OpenMP. */
export const isInOpenMp = (symbols: Symbols, pc: bigint): boolean =>
  OPENMP_FILE.test(symbols.frames(pc).at(-1)!.module);

/** The instruction is the C library's or the dynamic linker's. */
export function isInRuntime(symbols: Symbols, pc: bigint): boolean {
  const { module } = symbols.frames(pc).at(-1)!;
  return RUNTIME_FILE.test(module) || LINKER_FILE.test(module);
}

const isOfAtomicType = ({ fn, file }: Frame): boolean =>
  ATOMIC_FILE.test(file) || ATOMIC_FUNCTION.test(fn);
