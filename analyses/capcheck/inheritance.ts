/** What became of the descriptors that a program got: whether it, or one that it began, ever used them. */
import type { Trace } from '../../replay/trace.js';
import { DESCRIPTOR_CALLS } from '../../schemas/descriptor-calls.js';
import { syscallNumber } from '../../schemas/syscalls.js';
import { descriptor_events, syscall_enters } from '../../schemas/tables.js';

const CLOSE_RANGE = syscallNumber('close_range');
const ARGUMENTS = ['arg1', 'arg2', 'arg3', 'arg4', 'arg5', 'arg6'] as const;

/** What a program used of what it got. */
export interface UsedDescriptors {
  /** Numbers that its system calls named as descriptors. */
  readonly numbers: Set<number>;
  /** Names of what it opened: /dev/fd has what a number is of by another way. */
  readonly names: Set<string>;
}

/**
 * What the image that an exec of `process` began used, and all images that come from it; undefined when there is no such
 * image.
 */
export function usedBySuccessor(trace: Trace, process: number): UsedDescriptors | undefined {
  const successor = trace.processes.find(({ how, parent }) => how === 'exec' && parent === process);
  if (!successor) return undefined;
  const used = { numbers: new Set<number>(), names: new Set<string>() };
  const images = [successor.process];
  for (const image of images) {
    addUsed(trace, image, used);
    for (const { parent, process: child } of trace.processes)
      if (parent === image) images.push(child);
  }
  return used;
}

function addUsed(trace: Trace, image: number, { numbers, names }: UsedDescriptors): void {
  for (const row of trace.rows(syscall_enters, image)) {
    if (row.number === CLOSE_RANGE) {
      // What is not open is not asked about.
      for (let number = Number(row.arg1); number <= Math.min(Number(row.arg2), 1 << 16); number++)
        numbers.add(number);
    }
    for (const { argument } of DESCRIPTOR_CALLS.get(row.number)?.uses ?? [])
      numbers.add(Number(BigInt.asIntN(32, row[ARGUMENTS[argument]!])));
  }
  for (const { op, set, descriptor, name } of trace.rows(descriptor_events, image)) {
    if (op === 'sent') numbers.add(descriptor);
    if (op === 'opened') names.add(name);
    const view = new DataView(set.buffer, set.byteOffset, set.byteLength);
    for (let at = 0; at + 4 <= set.length; at += 4) numbers.add(view.getInt32(at, true));
  }
}
