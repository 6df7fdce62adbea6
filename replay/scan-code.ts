/** SQL tables computed from the translated superblocks: sites, segments, IR text; and call stacks. */
import { UserError } from '../schemas/errors.js';
import { blocks, ops, stacks as storedStacks } from '../schemas/tables.js';
import { accessSites, endsSegment, decodeBlock, formatBlock, type Block } from './ir.js';
import type { Cell } from './scan.js';
import { programRows } from './lineage.js';
import type { OpenReplay } from './scan-accesses.js';
import type { Trace } from './trace.js';

/** A superblock with where it stands. */
interface Superblock {
  readonly process: number;
  readonly block: number;
  readonly address: bigint;
  readonly decoded: Block;
}

/** The decoded superblocks of one process image, or of all, in order of translation; inherited ones first. */
export function* superblocks(trace: Trace, process?: number): Generator<Superblock> {
  const opNames: string[] = [];
  for (const { op, name } of trace.rows(ops)) opNames[op] = name;
  const stateSize = trace.manifest.guest?.stateSize;
  if (!Number.isInteger(stateSize)) {
    throw new UserError(
      `The manifest of ${trace.folder} does not say how large the guest state is: the trace is damaged.`,
    );
  }
  for (const rows of programRows(trace, blocks, process)) {
    const { batch } = rows;
    const numbers = batch.column('block');
    const addresses = batch.column('address');
    const { offsets, data } = batch.column('ir');
    for (let i = 0; i < rows.count; i++) {
      const address = addresses[i]!;
      const decoded = decodeBlock(
        data.subarray(offsets[i], offsets[i + 1]),
        address,
        opNames,
        stateSize!,
      );
      yield { process: rows.process, block: numbers[i]!, address, decoded };
    }
  }
}

/** Addresses of the instructions of each segment of a block. The last segment may have none. */
function segmentInstructions(block: Block): bigint[][] {
  const segments: bigint[][] = [[]];
  for (const statement of block.statements) {
    if (statement.tag === 'IMark')
      segments.at(-1)!.push(BigInt.asUintN(64, statement.address + BigInt(statement.delta)));
    else if (endsSegment(statement)) segments.push([]);
  }
  return segments;
}

/** Number of the first segment of each block within its process. */
function* withFirstSegment(
  trace: Trace,
): Generator<Superblock & { first: number; segments: bigint[][] }> {
  let process = -1;
  let first = 0;
  for (const superblock of superblocks(trace)) {
    if (superblock.process !== process) first = 0;
    process = superblock.process;
    const segments = segmentInstructions(superblock.decoded);
    yield { ...superblock, first, segments };
    first += segments.length;
  }
}

/** Rows of table `segments`. */
export function* segmentRows(
  trace: Trace,
  openReplay: OpenReplay,
  wanted: ReadonlySet<string>,
): Generator<Cell[]> {
  let process = -1;
  let executions: Map<number, bigint[]> | undefined;
  for (const superblock of withFirstSegment(trace)) {
    if (wanted.has('executions') && superblock.process !== process) {
      process = superblock.process;
      executions = executionCounts(trace, openReplay, process);
    }
    const { block, address, segments, first } = superblock;
    const counts = executions?.get(block);
    let start = address;
    for (const [i, pcs] of segments.entries()) {
      if (pcs.length > 0) start = pcs[0]!;
      const last = pcs.at(-1) ?? start;
      yield [superblock.process, first + i, block, start, last, pcs.length, counts?.[i] ?? 0n];
      start = last;
    }
  }
}

/** How often each segment of each block ran, by block. */
function executionCounts(
  trace: Trace,
  openReplay: OpenReplay,
  process: number,
): Map<number, bigint[]> {
  const replay = openReplay(trace, process, { counts: true });
  replay.finish();
  const { count, blocks: numbers, executions } = replay.segments();
  const counts = new Map<number, bigint[]>();
  for (let i = 0; i < count; i++) {
    const ofBlock = counts.get(numbers[i]!);
    if (ofBlock) ofBlock.push(executions[i]!);
    else counts.set(numbers[i]!, [executions[i]!]);
  }
  return counts;
}

/** Rows of table `segment_instructions`. */
export function* segmentInstructionRows(trace: Trace): Generator<Cell[]> {
  for (const { process, segments, first } of withFirstSegment(trace)) {
    for (const [i, pcs] of segments.entries()) {
      for (const pc of pcs) yield [process, first + i, pc];
    }
  }
}

/** Rows of table `sites`. */
export function* siteRows(trace: Trace): Generator<Cell[]> {
  let current = -1;
  let site = 0;
  for (const { process, block, address, decoded, first } of withFirstSegment(trace)) {
    if (process !== current) site = 0;
    current = process;
    let segment = first;
    let statement = 0;
    for (const access of accessSites(decoded, address)) {
      for (; statement < access.statement; statement++)
        if (endsSegment(decoded.statements[statement]!)) segment++;
      yield [
        process,
        site++,
        block,
        segment,
        access.pc,
        access.kind,
        access.atomic,
        access.guarded,
        access.size,
      ];
    }
  }
}

/** Rows of table `ir`. */
export function* irRows(trace: Trace): Generator<Cell[]> {
  for (const { process, block, address, decoded } of superblocks(trace)) {
    let pc = address;
    let line = 1;
    for (const text of formatBlock(decoded).split('\n')) {
      if (text === '') continue;
      const mark = /^-+ IMark\((0x[0-9a-f]+), \d+, (\d+)\)/.exec(text.trim());
      if (mark) pc = BigInt(mark[1]!) + BigInt(mark[2]!);
      yield [process, block, line++, pc, text];
    }
  }
}

/** Rows of table `stacks`. */
export function* stackRows(trace: Trace): Generator<Cell[]> {
  for (const { process, batch, count } of programRows(trace, storedStacks)) {
    const stacks = batch.column('stack');
    const { offsets, data } = batch.column('pcs');
    for (let i = 0; i < count; i++) {
      const view = new DataView(
        data.buffer,
        data.byteOffset + offsets[i]!,
        offsets[i + 1]! - offsets[i]!,
      );
      for (let at = 0; at + 8 <= view.byteLength; at += 8) {
        yield [process, stacks[i]!, at / 8, view.getBigUint64(at, true)];
      }
    }
  }
}

/** Rows of table `run`: the manifest, flattened. */
export function* manifestRows(trace: Trace): Generator<Cell[]> {
  yield ['folder', trace.folder];
  function* flatten(prefix: string, value: unknown): Generator<Cell[]> {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value))
        yield* flatten(prefix ? `${prefix}.${key}` : key, inner);
    } else {
      yield [prefix, typeof value === 'string' ? value : JSON.stringify(value)];
    }
  }
  yield* flatten('', trace.manifest);
}
