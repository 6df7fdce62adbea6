/**
 * What the code at a site of accesses is, as far as it matters for races: the program's own, the C
 * library's, or an operation on an atomic variable.
 */
import { grown } from '../../replay/grown.js';
import { programRows } from '../../replay/lineage.js';
import type { Symbols } from '../../replay/symbols.js';
import type { Trace } from '../../replay/trace.js';
import type { SiteTable } from '../../replay/types.js';
import { instructions, strings } from '../../schemas/tables.js';

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
/** Bit: what is read depends on which thread this is: in a function that says so, or of thread-local variables. */
export const OF_THREAD = 64;

const RUNTIME_FILE = /\/(?:libc[.-][^/]*|libpthread[.-][^/]*)$/;
const LINKER_FILE = /\/(?:ld-[^/]*|vgpreload_(?:sync|helgrind)-[^/]*)$/;
const REPLACEMENT_FILE = /\/vgpreload_memcheck-[^/]*$/;
const OPENMP_FILE = /\/lib(?:gomp|omp|iomp5)[.-][^/]*$/;
const THREAD_FUNCTION =
  /^_*(?:omp_get_thread_num|pthread_getspecific|tss_get|pthread_self)_?(?:@|$)/;
const ATOMIC_FILE = /^(?:atomic|atomic_base\.h|atomicity\.h|shared_ptr_atomic\.h|atomic_wait\.h)$/;
const ATOMIC_FUNCTION =
  /^(?:std::(?:__)?atomic|__atomic_|__gnu_cxx::__(?:exchange_and_add|atomic_add))/;

/** The kinds of sites, by their number. */
export class SiteKinds {
  kinds = new Uint8Array(1024);

  constructor(
    private readonly sites: SiteTable,
    private readonly symbols: Symbols,
    private readonly atomicPcs: ReadonlySet<bigint>,
  ) {}

  /** Makes room for the kinds of all sites that there are. */
  reserve(): void {
    this.kinds = grown(this.kinds, this.sites.count);
  }

  /** Finds out the kind of a site. */
  classify(site: number): number {
    const frames = this.symbols.frames(this.sites.pcs[site]!);
    let kind = 0;
    if (this.isAtomic(site)) kind |= ATOMIC;
    if (this.atomicPcs.has(this.sites.pcs[site]!)) kind |= CPP_ATOMIC;
    const { fn, module } = frames.at(-1)!;
    if (RUNTIME_FILE.test(module)) kind |= RUNTIME;
    if (LINKER_FILE.test(module)) kind |= LINKER;
    if (OPENMP_FILE.test(module)) kind |= OPENMP;
    if (kind & (OPENMP | RUNTIME) && THREAD_FUNCTION.test(fn)) kind |= OF_THREAD;
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

/** The instruction is that of a run-time library of OpenMP. */
export function isInOpenmp(symbols: Symbols, pc: bigint): boolean {
  return OPENMP_FILE.test(symbols.frames(pc).at(-1)!.module);
}

/** The instruction is in the engine's replacement of an allocator or a function of strings. */
export function isReplacement(symbols: Symbols, pc: bigint): boolean {
  return REPLACEMENT_FILE.test(symbols.frames(pc).at(-1)!.module);
}

/** The instruction is the dynamic linker's, or the recorder's wrappers'. */
export function isInLinker(symbols: Symbols, pc: bigint): boolean {
  return LINKER_FILE.test(symbols.frames(pc).at(-1)!.module);
}

/** The instruction is the C library's or the dynamic linker's. */
export function isInRuntime(symbols: Symbols, pc: bigint): boolean {
  const { module } = symbols.frames(pc).at(-1)!;
  return RUNTIME_FILE.test(module) || LINKER_FILE.test(module);
}

/** Addresses of instructions in functions of C++'s atomic types, their own or inlined ones. */
export function findAtomicPcs(trace: Trace, process: number): Set<bigint> {
  const functions = new Set<number>();
  const files = new Set<number>();
  const chains = new Set<number>();
  for (const { batch, count } of programRows(trace, strings, process)) {
    let row = 0;
    for (const { string, text } of batch.rows()) {
      if (row++ === count) break;
      if (!text.includes('atomic')) continue;
      const [fn = '', file = ''] = text.split('\n', 1)[0]!.split('|');
      if (ATOMIC_FUNCTION.test(text)) functions.add(string);
      if (ATOMIC_FILE.test(text)) files.add(string);
      if (ATOMIC_FUNCTION.test(fn) || ATOMIC_FILE.test(file)) chains.add(string);
    }
  }
  const found = new Set<bigint>();
  if (functions.size + files.size + chains.size === 0) return found;
  for (const { batch, count } of programRows(trace, instructions, process)) {
    const pcs = batch.column('pc');
    const [fns, paths, inlined] = [
      batch.column('function'),
      batch.column('file'),
      batch.column('inlined'),
    ];
    for (let row = 0; row < count; row++) {
      const isAtomic =
        inlined[row] !== 0
          ? chains.has(inlined[row]!)
          : functions.has(fns[row]!) || files.has(paths[row]!);
      if (isAtomic) found.add(pcs[row]!);
    }
  }
  return found;
}
