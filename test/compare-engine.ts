/** Independent witnesses: what the engine's own tools (lackey, cachegrind, memcheck) say of a program. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { run, scratch } from './guest.js';

export interface Access {
  readonly store: boolean;
  readonly address: bigint;
  readonly sizeBytes: number;
}

/** The sequence of accesses that lackey sees; a modification is a load followed by a store. */
export function lackeyAccesses(argv: readonly string[]): Access[] {
  const log = scratch('lackey');
  run(['valgrind', '--tool=lackey', '--trace-mem=yes', `--log-file=${log}`, ...argv]);
  const accesses: Access[] = [];
  for (const [, kind, address, size] of readFileSync(log, 'utf8').matchAll(
    /^ ([LSM]) ([0-9a-f]+),(\d+)$/gm,
  )) {
    const access = { address: BigInt(`0x${address}`), sizeBytes: Number(size) };
    if (kind !== 'S') accesses.push({ store: false, ...access });
    if (kind !== 'L') accesses.push({ store: true, ...access });
  }
  return accesses;
}

/** Instructions that cachegrind counts. */
export function cachegrindInstructions(argv: readonly string[]): bigint {
  const out = scratch('cachegrind');
  run(['valgrind', '--tool=cachegrind', '--cache-sim=no', `--cachegrind-out-file=${out}`, ...argv]);
  return BigInt(/^summary: (\d+)/m.exec(readFileSync(out, 'utf8'))![1]!);
}

/** What memcheck's closing line says of the heap, with or without what libc's own clean-up releases. */
export function memcheckHeap(
  argv: readonly string[],
  freeres = false,
): {
  allocations: bigint;
  frees: bigint;
  bytes: bigint;
} {
  const log = scratch('memcheck');
  const wanted = freeres ? 'yes' : 'no';
  const cleanUp = [`--run-libc-freeres=${wanted}`, `--run-cxx-freeres=${wanted}`];
  run(['valgrind', ...cleanUp, `--log-file=${log}`, ...argv]);
  const line = /total heap usage: ([\d,]+) allocs, ([\d,]+) frees, ([\d,]+) bytes/.exec(
    readFileSync(log, 'utf8'),
  );
  assert.ok(line, 'memcheck ended without a summary');
  const [allocations, frees, bytes] = line.slice(1).map((text) => BigInt(text.replaceAll(',', '')));
  return { allocations: allocations!, frees: frees!, bytes: bytes! };
}
