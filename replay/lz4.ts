/**
 * What LZ4 frames hold. The codec decompresses a single block in less than half the time of a whole frame, for which it
 * allocates and copies; and most columns are one block.
 */
import { createRequire } from 'node:module';

/** Not imported: for that the loader would first parse all of the codec's wrapper for its exports. */
const codec = createRequire(import.meta.url)('lz4-napi') as typeof import('lz4-napi');

/** As our recorder writes it: magic number, independent blocks without checksums, blocks of up to 4 MiB, checksum of those flags. */
const FRAME_START = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73);
const FRAME_END_BYTES = 4;
const MAX_BLOCK_BYTES = 4 << 20;
/** In the size word of a block: its bytes are not compressed. */
const STORED = 0x8000_0000;

/**
 * Decompresses a frame, and may overwrite it. Throws an error when it is damaged.
 * @param size - that of what it should hold, in bytes
 */
export function decompressFrame(frame: Buffer, size: bigint): Uint8Array {
  const at = FRAME_START.length;
  const isOurs = frame.length >= at + 4 && FRAME_START.every((byte, i) => byte === frame[i]);
  const word = isOurs ? frame.readUInt32LE(at) : STORED;
  const isOneBlock =
    word < STORED &&
    at + 4 + word + FRAME_END_BYTES === frame.length &&
    frame.readUInt32LE(at + 4 + word) === 0;
  if (!isOneBlock || size > MAX_BLOCK_BYTES) return plain(codec.decompressFrameSync(frame));
  // The codec wants the uncompressed size before the block, just where a frame has the block's size.
  frame.writeUInt32LE(Number(size), at);
  return plain(codec.uncompressSync(frame.subarray(at, -FRAME_END_BYTES)));
}

/** Parts of a Buffer would be Buffers, which take several times as long to make. */
const plain = ({ buffer, byteOffset, length }: Buffer): Uint8Array =>
  new Uint8Array(buffer, byteOffset, length);
