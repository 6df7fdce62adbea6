/**
 * The part of the conversion that is in C (`native/convert.c`), for it is compiled already when a short recording begins.
 * It does as `convert.ts` and `lz4.ts` do, which stand in for it where it was not built: when a trace is completed on
 * another machine.
 */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { join } from 'node:path';
import { TOOL_TABLES } from '../schemas/tables.js';
import type { EncodedBatch } from './arrow-file.js';
import { NATIVE_FILE } from './build.js';
import type { ScannedPiece } from './convert.js';
import { PIECE_SIZE_BYTES, TAIL_SIZE_BYTES } from './raw.js';

/** What `native/convert.c` exports; the comments are there. */
interface Module {
  scan(piece: Uint8Array, found: Uint32Array): number;
  offsetOf(table: number, index: number): number;
  batch(place: Uint32Array, firstEvent: number, body: Uint8Array, regions: Uint32Array): number;
  frame(bytes: Uint8Array, out: Uint8Array): number;
  reserve(fd: number, sizeBytes: number): number;
}

/** More than the largest batch needs; what is not used is never touched. */
const BODY_BYTES = PIECE_SIZE_BYTES + TAIL_SIZE_BYTES + (4 << 20);
const MOST_BUFFERS = 256;

export class NativeConverter {
  private readonly found = new Uint32Array(4 + TOOL_TABLES.length);
  private readonly place = new Uint32Array(4);
  private readonly regions = new Uint32Array(2 * MOST_BUFFERS);
  private readonly body = new Uint8Array(BODY_BYTES);

  private constructor(private readonly module: Module) {}

  /** @returns undefined when there is none that can be loaded */
  static load(buildFolder: string): NativeConverter | undefined {
    try {
      const require = createRequire(import.meta.url);
      return new NativeConverter(require(join(buildFolder, NATIVE_FILE)) as Module);
    } catch {
      return undefined;
    }
  }

  /** As `PieceScanner.scan`; batches are of the piece scanned last, which must not change before. */
  scan(piece: Uint8Array): ScannedPiece {
    const { module, found } = this;
    const broken = module.scan(piece, found);
    const [count, at, low, high] = found as unknown as [number, number, number, number];
    const counts = found.slice(4);
    const scanned: ScannedPiece = {
      count,
      countOf: (table) => counts[table]!,
      offsetOf: (table, index) => module.offsetOf(table, index),
    };
    if (broken === 0) return scanned;
    const words = new Uint32Array(piece.buffer, piece.byteOffset + at, 2);
    const what = [
      `a record of ${words[0]} bytes`,
      `a record of an unknown table (${words[1]})`,
      `a record of ${words[0]} bytes in table ${words[1]}`,
      `a record of ${words[0]} bytes in table ${words[1]} that needs ${high * 2 ** 32 + low}`,
    ][broken - 1];
    return { ...scanned, broken: `${what} at byte ${at}` };
  }

  /**
   * The record batches of one table of the piece scanned last, each valid until the next is asked for.
   * @returns undefined, in place of a batch, when a text is not UTF-8: for `convertTable` to mend
   */
  *batches(
    table: number,
    count: number,
    process: number,
    firstEvent: number,
  ): Generator<EncodedBatch | undefined> {
    const { place, regions, body } = this;
    for (let from = 0; from < count;) {
      place.set([table, from, process, 0]);
      const rows = this.module.batch(place, firstEvent, body, regions);
      if (rows === 0) throw new Error('a record batch is larger than it can be');
      if (rows < 0) {
        yield undefined;
        return;
      }
      yield { rows, regions, body: body.subarray(0, place[3]) };
      from += rows;
    }
  }

  /** Reserves room on disk for an open file. @throws an error as of node:fs when there is none */
  reserve(fd: number, sizeBytes: number): void {
    const errno = this.module.reserve(fd, sizeBytes);
    if (errno === 0) return;
    const code = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
    throw Object.assign(new Error(`${code}: no room can be reserved`), { code });
  }

  /** As `compressFrame` of lz4.ts. */
  compressFrame = (bytes: Uint8Array): { parts: Uint8Array[]; sizeBytes: number } | undefined => {
    const out = new Uint8Array(bytes.length);
    const sizeBytes = this.module.frame(bytes, out);
    return sizeBytes === 0 ? undefined : { parts: [out.subarray(0, sizeBytes)], sizeBytes };
  };
}
