/** The functions of a call graph by number, and what instructions cost. */
import type { Source, Symbols } from '../../replay/symbols.js';
import type { SegmentTable } from '../../replay/types.js';

export interface FunctionName {
  /** Demangled; its address in the object file when it has none; empty when that is unknown, too. */
  readonly name: string;
  /** Path of the object file; empty when none holds the code. */
  readonly module: string;
  /** Where an instruction of it is, the first that was asked for. */
  readonly source: Source;
}

/** What a compiler appends to the name of a part of a function that is put elsewhere, as it rarely runs. */
const COLD = /(\.cold(\.\d+)?| \[clone [^\]]*\.cold[^\]]*\])$/;

/** Functions, in the order in which they were asked for. A part of a function that stands elsewhere belongs to it. */
export class Functions {
  readonly list: FunctionName[] = [];
  private readonly numbers = new Map<string, number>();

  constructor(private readonly symbols: Symbols) {}

  /** Number of the function that an instruction belongs to: not of one that is inlined there. */
  readonly at = (pc: bigint): number => {
    const { fn, module } = this.symbols.frames(pc).at(-1)!;
    const name = fn.replace(COLD, '') || this.unnamed(pc);
    const key = `${module}\n${name}`;
    let number = this.numbers.get(key);
    if (number === undefined) {
      number = this.list.push({ name, module, source: this.symbols.source(pc) }) - 1;
      this.numbers.set(key, number);
    }
    return number;
  };

  /** A function without a name has its address in the object file, as for Callgrind; none is empty. */
  private unnamed(pc: bigint): string {
    const start = this.symbols.codeStart(pc);
    return start ? `0x${start.inFile.toString(16).padStart(16, '0')}` : '';
  }

  /** Whether a function begins at an address. */
  readonly isStart = (address: bigint): boolean =>
    this.symbols.codeStart(address)?.address === address &&
    !COLD.test(this.symbols.frames(address).at(-1)!.fn);
}

/** Executions of each instruction that ran, by address: below 2^53, as all addresses and counts are. */
export function executionsByInstruction(
  { count, addresses, instructions, executions }: SegmentTable,
  symbols: Symbols,
): Map<number, number> {
  const sums = new Map<number, number>();
  const lengths = new Map<number, number>();
  for (let segment = 0; segment < count; segment++) {
    const times = Number(executions[segment]!);
    let pc = Number(addresses[segment]!);
    for (let i = times === 0 ? 0 : instructions[segment]!; i > 0; i--) {
      sums.set(pc, (sums.get(pc) ?? 0) + times);
      let length = lengths.get(pc);
      if (length === undefined) lengths.set(pc, (length = symbols.lengthOf(BigInt(pc))));
      pc += length;
    }
  }
  return sums;
}
