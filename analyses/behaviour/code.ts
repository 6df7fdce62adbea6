/**
 * Which code of one run is which of another, in words that survive another build and other addresses. In an object file with
 * the same build id it is the offset in the file. Elsewhere functions are matched by name, and a function has the same shape
 * in both runs if instructions at equal offsets have equal lengths and none begins inside one of the other run: then an
 * instruction is known by its offset in the function. What has another shape is compared from outside only: when it is
 * entered, and what it calls.
 *
 * Functions are taken from what the engine noted when it translated code, and not from object files, of which a later build may
 * have taken the place. Code of the C library, the dynamic linker and what the recorder has preloaded counts as a part of the system: it differs with the
 * environment (`getenv` walks through all of it), with the processor and with contents of strings, where nobody looks for
 * the cause.
 */
import { basename } from 'node:path';
import { legsOf, numberAt, wordsOf, type Leg } from '../../replay/event-cursor.js';
import { grown } from '../../replay/grown.js';
import { programRows } from '../../replay/lineage.js';
import type { Trace } from '../../replay/trace.js';
import { instructions, mappings, modules, strings } from '../../schemas/tables.js';
import { hashOf } from './hash.js';

/** Code that is not the program's, by name of the object file. */
const RUNTIME =
  /^(vgpreload_|(libc|libm|libpthread|libdl|librt|libgcc_s|libstdc\+\+|libc\+\+|libmvec)[.-])/;
const LINKER = /^ld[-.]/;

/** How code is compared. */
export const enum Kind {
  /** Instruction by instruction. */
  exact,
  /** Functions that are entered: what is in them is not the same. */
  coarse,
  /** The C library and the like: that they are called by other code. */
  runtime,
  /** The dynamic linker: not at all. */
  linker,
}

export interface CodeModule {
  /** Lowest address of its text, its size in bytes, and what addresses in the file lack. */
  readonly address: number;
  readonly size: number;
  readonly bias: number;
  readonly path: string;
  /** Its name in both runs: that of the file, and one for all programs. */
  readonly key: string;
  readonly buildId: string | undefined;
}

/** Instructions next to each other that belong to one function of one object file. */
export interface CodeGroup {
  readonly module: CodeModule | undefined;
  /** Of the function, demangled; empty when unknown. */
  readonly name: string;
  /** By what it is known in both runs. */
  readonly key: string;
  /** Of the key. */
  readonly hash: number;
  /** Addresses: its first instruction that ran, and the end of its last one. */
  readonly start: number;
  readonly end: number;
  /** Rows of its instructions in `Code.pcs`: the first, and the one beyond the last. */
  readonly first: number;
  readonly beyond: number;
  kind: Kind;
}

const PROGRAM = '(program)';

/** The code of a process image that ran, in rising order of addresses. */
export class Code {
  readonly pcs: Float64Array;
  private readonly lengths: Uint8Array;
  readonly groups: CodeGroup[] = [];
  readonly modules: CodeModule[] = [];

  constructor(
    readonly trace: Trace,
    readonly process: number,
  ) {
    const texts = new Map<number, string>();
    for (const { batch, count } of programRows(trace, strings, process)) {
      let row = 0;
      for (const { string, text } of batch.rows()) if (row++ < count) texts.set(string, text);
    }
    const byNumber = this.readModules();
    const rows = this.readInstructions();
    this.pcs = rows.pcs;
    this.lengths = rows.lengths;
    const { own, fns } = rows;
    const ofName = new Map<string, number>();
    for (let first = 0, i = 1; first < this.pcs.length; i++) {
      if (i < this.pcs.length && own[i] === own[first] && fns[i] === fns[first]) continue;
      const module = byNumber.get(own[first]!);
      const name = texts.get(fns[first]!) ?? '';
      // Static functions of several source files may have one name.
      const called = `${module?.key ?? ''}:${name}`;
      const number = ofName.get(called) ?? 0;
      ofName.set(called, number + 1);
      const key = number === 0 ? called : `${called}#${number}`;
      this.groups.push({
        ...{ module, name, key, hash: hashOf(key), kind: Kind.coarse },
        ...{ start: this.pcs[first]!, end: this.pcs[i - 1]! + this.lengths[i - 1]! },
        ...{ first, beyond: i },
      });
      first = i;
    }
  }

  /** All that ran, by address: length, module and function of each. */
  private readInstructions() {
    const { trace, process } = this;
    let count = 0;
    let [pcs, lengths] = [new Float64Array(0), new Uint8Array(0)];
    let [own, fns] = [new Uint32Array(0), new Uint32Array(0)];
    for (const { batch, count: rows } of programRows(trace, instructions, process)) {
      pcs = grown(pcs, count + rows);
      lengths = grown(lengths, pcs.length);
      own = grown(own, pcs.length);
      fns = grown(fns, pcs.length);
      const [at, sizes] = [wordsOf(batch.column('pc')), batch.column('length')];
      const [from, of] = [batch.column('module'), batch.column('function')];
      for (let i = 0; i < rows; i++) {
        if (sizes[i] === 0) continue; // only a caller
        pcs[count] = numberAt(at, i);
        lengths[count] = sizes[i]!;
        own[count] = from[i]!;
        fns[count++] = of[i]!;
      }
    }
    const order = Uint32Array.from({ length: count }, (_, i) => i).sort(
      (a, b) => pcs[a]! - pcs[b]!,
    );
    return {
      pcs: Float64Array.from(order, (i) => pcs[i]!),
      lengths: Uint8Array.from(order, (i) => lengths[i]!),
      own: Uint32Array.from(order, (i) => own[i]!),
      fns: Uint32Array.from(order, (i) => fns[i]!),
    };
  }

  /** The file that was executed, which for a forked image is the one of those that it comes from. */
  private programPath(): string | undefined {
    const [{ process }] = legsOf(this.trace, this.process) as [Leg];
    for (const { op, file } of this.trace.rows(mappings, process))
      if (op === 'startup' && file !== '') return file;
    return undefined;
  }

  private readModules(): Map<number, CodeModule> {
    const { trace, process } = this;
    const buildIds = (trace.manifest['modules'] ?? {}) as Readonly<Record<string, string>>;
    const program = this.programPath();
    const byNumber = new Map<number, CodeModule>();
    for (const { batch, count } of programRows(trace, modules, process)) {
      let row = 0;
      for (const { module, address, size, bias, path } of batch.rows()) {
        if (row++ === count) break;
        const found: CodeModule = {
          ...{ address: Number(address), size: Number(size), bias: Number(bias), path },
          ...{ key: path === program ? PROGRAM : basename(path), buildId: buildIds[path] },
        };
        byNumber.set(module, found);
        this.modules.push(found);
      }
    }
    return byNumber;
  }

  /** The functions around an address, even if that very instruction did not run. */
  groupAt(pc: number): CodeGroup | undefined {
    let [low, high] = [0, this.groups.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.groups[middle]!.start <= pc) low = middle + 1;
      else high = middle;
    }
    const group = this.groups[low - 1];
    if (!group || pc < group.end) return group;
    const { module } = group;
    return module && pc < module.address + module.size ? group : undefined;
  }

  /** Whether a named function begins at an address. */
  isFunction(pc: number): boolean {
    const group = this.groupAt(pc);
    return group !== undefined && group.start === pc && group.name !== '';
  }

  /** Where a function of the program begins. */
  startOf(name: string): number | undefined {
    return this.groups.find((group) => group.name === name && group.module?.key === PROGRAM)?.start;
  }

  moduleOf(path: string): CodeModule | undefined {
    return this.modules.find((module) => module.path === path);
  }

  /** The module with this name in both runs. */
  moduleWith(key: string): CodeModule | undefined {
    return this.modules.find((module) => module.key === key);
  }

  lengthAt(row: number): number {
    return this.lengths[row]!;
  }
}

/** Places in the code of two runs under common numbers. */
export class Places {
  private readonly numbers = new Map<string, number>();
  private readonly names: string[] = [];
  /** By module key: both runs have the same file. */
  private readonly same = new Set<string>();

  /** @param isDeep - the C library and the like are compared as the program is, where both runs have the same one */
  constructor(
    readonly before: Code,
    readonly after: Code,
    readonly isDeep = false,
  ) {
    for (const module of before.modules) {
      const { buildId } = module;
      if (buildId !== undefined && after.moduleWith(module.key)?.buildId === buildId)
        this.same.add(module.key);
    }
    const others = new Map(after.groups.map((group) => [group.key, group]));
    for (const code of [before, after])
      for (const group of code.groups) group.kind = this.kindOf(group);
    for (const group of before.groups) {
      const other = others.get(group.key);
      if (group.kind !== Kind.coarse || !other || group.name === '') continue;
      if (haveOneShape(before, group, after, other)) group.kind = other.kind = Kind.exact;
    }
    // A function that ran in one run only has nothing that it differs from.
    for (const code of [before, after]) {
      const known = new Set((code === before ? after : before).groups.map(({ key }) => key));
      for (const group of code.groups)
        if (group.kind === Kind.coarse && group.name !== '' && !known.has(group.key))
          group.kind = Kind.exact;
    }
  }

  private kindOf({ module }: CodeGroup): Kind {
    if (!module) return Kind.coarse;
    if (LINKER.test(module.key)) return Kind.linker;
    if (RUNTIME.test(module.key) && !(this.isDeep && this.same.has(module.key)))
      return Kind.runtime;
    return this.same.has(module.key) ? Kind.exact : Kind.coarse;
  }

  /** Both runs loaded the same object file. */
  isSame(module: CodeModule): boolean {
    return this.same.has(module.key);
  }

  /** Number of an instruction; -1 where code is not compared instruction by instruction. */
  place(code: Code, pc: number): number {
    const group = code.groupAt(pc);
    if (!group || group.kind !== Kind.exact) return -1;
    return this.number(this.keyOf(group, pc), group.name);
  }

  /** Number of a function, known by its beginning. */
  functionNumber(code: Code, pc: number): number {
    const group = code.groupAt(pc);
    return group ? this.number(group.key, group.name) : -1;
  }

  /** What an instruction of exact code is known by. */
  keyOf({ module, key, start }: CodeGroup, pc: number): string {
    return module && this.same.has(module.key)
      ? `${module.key}+${pc - module.bias}`
      : `${key}+${pc - start}`;
  }

  private number(key: string, name: string): number {
    let number = this.numbers.get(key);
    if (number === undefined) {
      this.numbers.set(key, (number = this.names.length));
      this.names.push(name);
    }
    return number;
  }

  /** The function of a number. */
  nameOf(number: number): string {
    return this.names[number] ?? '';
  }
}

/** Whether the instructions of a function that ran in two runs can be those of the same code. */
function haveOneShape(one: Code, a: CodeGroup, other: Code, b: CodeGroup): boolean {
  let [i, j] = [a.first, b.first];
  while (i < a.beyond && j < b.beyond) {
    const [at, to] = [one.pcs[i]! - a.start, other.pcs[j]! - b.start];
    const [ends, endsTo] = [at + one.lengthAt(i), to + other.lengthAt(j)];
    if (at === to) {
      if (ends !== endsTo) return false;
      i++;
      j++;
    } else if (at < to) {
      if (ends > to) return false;
      i++;
    } else {
      if (endsTo > at) return false;
      j++;
    }
  }
  return true;
}
