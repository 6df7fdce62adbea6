/**
 * A file of massif's format, for ms_print and massif-visualizer: snapshots of the heap's use, some of
 * them with their allocation tree.
 */
import { frameText } from '../report.js';
import type { HeapMoment } from './timeline.js';
import type { TreeNode } from './tree.js';

export interface Snapshot {
  readonly moment: HeapMoment;
  readonly isPeak: boolean;
  readonly tree?: TreeNode;
}

export interface MassifHeader {
  readonly description: string;
  readonly command: string;
  readonly unit: 'i' | 'B';
  /** What is less than this part of a snapshot, in per cent, is not shown by itself. */
  readonly thresholdPercent: number;
  /** Pages are counted and not blocks. */
  readonly ofPages: boolean;
}

/** The lines of the file. */
export function* massifLines(
  header: MassifHeader,
  snapshots: readonly Snapshot[],
): Generator<string> {
  yield `desc: ${header.description}`;
  yield `cmd: ${header.command}`;
  yield `time_unit: ${header.unit}`;
  for (const [number, { moment, isPeak, tree }] of snapshots.entries()) {
    yield* ['#-----------', `snapshot=${number}`, '#-----------'];
    yield `time=${moment.time}`;
    yield `mem_heap_B=${moment.heapBytes}`;
    yield `mem_heap_extra_B=${moment.extraBytes}`;
    yield `mem_stacks_B=${moment.stackBytes}`;
    yield `heap_tree=${tree ? (isPeak ? 'peak' : 'detailed') : 'empty'}`;
    if (!tree) continue;
    const what = header.ofPages
      ? '(page allocation syscalls) mmap/mremap/brk, --alloc-fns, etc.'
      : '(heap allocation functions) malloc/new/new[], --alloc-fns, etc.';
    yield `n${childrenOf(tree)}: ${tree.bytes} ${what}`;
    yield* subtrees(tree, 1, header.thresholdPercent);
  }
}

const childrenOf = ({ children, small }: TreeNode): number => children.length + (small ? 1 : 0);

function* subtrees(node: TreeNode, indent: number, thresholdPercent: number): Generator<string> {
  const { small } = node;
  let isTold = !small;
  const smallLine = (): string => {
    const places = small!.places === 1 ? 'place,' : 'places, all';
    return `${' '.repeat(indent)}n0: ${small!.bytes} in ${small!.places} ${places} below massif's threshold (${thresholdPercent.toFixed(2)}%)`;
  };
  for (const child of node.children) {
    // In order of size, whatever they are.
    if (!isTold && small!.bytes > child.bytes) {
      isTold = true;
      yield smallLine();
    }
    let inner = indent;
    for (const [i, frame] of child.frames.entries()) {
      const below = i + 1 < child.frames.length ? 1 : childrenOf(child);
      yield `${' '.repeat(inner)}n${below}: ${child.bytes} ${frameText(frame)}`;
      inner++;
    }
    yield* subtrees(child, inner, thresholdPercent);
  }
  if (!isTold) yield smallLine();
}
