/**
 * The allocation tree: what is in use, by the call stacks that allocated it, with the innermost callers
 * at the top, as massif shows it (Valgrind manual, section 9.2.5).
 */
import { BELOW_MAIN, type Frame, type Symbols } from '../../replay/symbols.js';
import type { StackUse, StackUses } from './stack-uses.js';

export interface TreeNode {
  /** The functions at the address, the innermost first; none at the root. */
  readonly frames: readonly Frame[];
  readonly bytes: number;
  readonly blocks: number;
  /** The largest first. */
  readonly children: readonly TreeNode[];
  /** Children too small to be shown. */
  readonly small?: StackUse & { readonly places: number };
}

/** What allocates, as massif names it: not shown when innermost. */
const ALLOCATORS: ReadonlySet<string> = new Set([
  ...['malloc', 'calloc', 'realloc', 'memalign', 'posix_memalign', 'aligned_alloc', 'valloc'],
  ...['__builtin_new', '__builtin_vec_new'],
]);
const isAllocator = (fn: string): boolean =>
  ALLOCATORS.has(fn) || /^operator new(\[\])?\(/.test(fn);

export interface StackSettings {
  /** Functions that allocate for others. */
  readonly allocators: ReadonlySet<string>;
  /** Allocations that these functions ask for do not count. */
  readonly ignored: ReadonlySet<string>;
  /** Addresses of a stack at most. */
  readonly depth: number;
}

/** Call stacks as the tree has them. */
export class TreeStacks {
  private readonly known = new Map<number, readonly bigint[]>();

  constructor(
    private readonly stackOf: (stack: number) => readonly bigint[],
    private readonly symbols: Symbols,
    private readonly settings: StackSettings,
  ) {}

  /** Addresses from the one who asked for memory to main, innermost first. */
  get(stack: number): readonly bigint[] {
    let pcs = this.known.get(stack);
    if (!pcs) this.known.set(stack, (pcs = this.cut(stack)));
    return pcs;
  }

  isIgnored(stack: number): boolean {
    const { ignored } = this.settings;
    if (ignored.size === 0) return false;
    const named = this.get(stack).find((pc) => this.function(pc) !== '');
    return named !== undefined && ignored.has(this.function(named));
  }

  private cut(stack: number): readonly bigint[] {
    const pcs = this.symbols.programPcs(this.stackOf(stack));
    const { allocators, depth } = this.settings;
    let first = 0;
    while (first < pcs.length) {
      const fn = this.function(pcs[first]!);
      if (!isAllocator(fn) && !allocators.has(fn)) break;
      first++;
    }
    const main = pcs.findIndex((pc) => [BELOW_MAIN, 'main'].includes(this.function(pc)));
    return pcs.slice(first, main >= first ? main + 1 : pcs.length).slice(0, depth);
  }

  private function(pc: bigint): string {
    return this.symbols.frames(pc).at(-1)!.fn;
  }
}

/** @param smallestBytes - what is less is not shown by itself */
export function buildTree(
  uses: StackUses,
  stacks: TreeStacks,
  symbols: Symbols,
  smallestBytes: number,
): TreeNode {
  const leaves = [...uses].map(([stack, use]) => ({ ...use, pcs: stacks.get(stack) }));
  type Leaf = (typeof leaves)[number];
  const node = (frames: readonly Frame[], depth: number, within: readonly Leaf[]): TreeNode => {
    const groups = new Map<bigint, Leaf[]>();
    for (const leaf of within) {
      const pc = leaf.pcs[depth];
      if (pc === undefined) continue;
      const group = groups.get(pc);
      if (group) group.push(leaf);
      else groups.set(pc, [leaf]);
    }
    const parts = [...groups].map(([pc, group]) => ({ pc, group, ...sum(group) }));
    parts.sort((a, b) => b.bytes - a.bytes || (a.pc < b.pc ? -1 : 1));
    const small = parts.filter(({ bytes }) => bytes < smallestBytes);
    return {
      frames,
      ...sum(within),
      children: parts
        .filter(({ bytes }) => bytes >= smallestBytes)
        .map(({ pc, group }) => node(symbols.frames(pc), depth + 1, group)),
      ...(small.length > 0 && { small: { ...sum(small), places: small.length } }),
    };
  };
  return node([], 0, leaves);
}

function sum(parts: readonly StackUse[]): StackUse {
  let [bytes, blocks] = [0, 0];
  for (const part of parts) {
    bytes += part.bytes;
    blocks += part.blocks;
  }
  return { bytes, blocks };
}
