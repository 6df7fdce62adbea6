/**
 * LZ4 frames, put together from blocks and taken apart. The codec handles single blocks several times as fast as
 * whole frames, for which it allocates and copies.
 */
import { createRequire } from 'node:module';

/**
 * Loaded when it is needed: a recording has a codec of its own (`recorder/native.ts`). And not imported: for that the loader would
 * first parse all of the codec's wrapper for its exports.
 */
let codec: Codec | undefined;
const loadCodec = (): Codec => (codec ??= requireCodec());

type Codec = typeof import('lz4-napi');

/** The codec without its wrapper, which looks for the machine's kind: that takes longer than loading it. */
function requireCodec(): Codec {
  const require = createRequire(import.meta.url);
  try {
    const wrapper = createRequire(require.resolve('lz4-napi'));
    return wrapper('@antoniomuso/lz4-napi-linux-x64-gnu') as Codec;
  } catch {
    return require('lz4-napi') as Codec;
  }
}

/** Decompresses a block that holds just as many bytes as there is room for; false if it does not. */
type DecompressBlock = (block: Uint8Array, out: Uint8Array) => boolean;
let decompressBlock: DecompressBlock | undefined;

/** From now on blocks are decompressed by this, which does not copy what it has decompressed. */
export function decompressBlocksBy(way: DecompressBlock): void {
  decompressBlock = way;
}

/** Magic number, independent blocks without checksums, blocks of up to 4 MiB, checksum of those flags. */
const FRAME_START = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73);
const FRAME_END = new Uint8Array(4);
const MAX_BLOCK_BYTES = 4 << 20;
/** In the size word of a block: its bytes are not compressed. */
const STORED = 0x8000_0000;
/** Below this, a frame's own overhead outweighs what compression saves. */
const SMALLEST_COMPRESSED = 64;

/**
 * Compresses `bytes` into the parts of one frame.
 * @returns undefined when the bytes do not shrink
 */
export function compressFrame(
  bytes: Uint8Array,
): { parts: Uint8Array[]; sizeBytes: number } | undefined {
  if (bytes.length < SMALLEST_COMPRESSED) return undefined;
  const parts: Uint8Array[] = [FRAME_START];
  let sizeBytes = FRAME_START.length + FRAME_END.length;
  for (let at = 0; at < bytes.length; at += MAX_BLOCK_BYTES) {
    const size = Math.min(MAX_BLOCK_BYTES, bytes.length - at);
    const source = Buffer.from(bytes.buffer, bytes.byteOffset + at, size);
    // The codec puts the uncompressed size before the block, just where a frame has the block's size.
    const block = loadCodec().compressSync(source);
    if (block.length - 4 < size) {
      block.writeUInt32LE(block.length - 4, 0);
      parts.push(block);
      sizeBytes += block.length;
    } else {
      const word = Buffer.alloc(4);
      word.writeUInt32LE((STORED | size) >>> 0, 0);
      parts.push(word, source);
      sizeBytes += 4 + size;
    }
  }
  if (sizeBytes >= bytes.length) return undefined;
  parts.push(FRAME_END);
  return { parts, sizeBytes };
}

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
    at + 4 + word + FRAME_END.length === frame.length &&
    frame.readUInt32LE(at + 4 + word) === 0;
  if (!isOneBlock || size > MAX_BLOCK_BYTES) return plain(loadCodec().decompressFrameSync(frame));
  if (decompressBlock) {
    const out = plain(Buffer.allocUnsafeSlow(Number(size)));
    if (decompressBlock(frame.subarray(at + 4, -FRAME_END.length), out)) return out;
    throw new Error('the block is damaged');
  }
  // Most columns are one block. The codec wants the uncompressed size before it, where a frame has the block's size.
  frame.writeUInt32LE(Number(size), at);
  return plain(loadCodec().uncompressSync(frame.subarray(at, -FRAME_END.length)));
}

/** Parts of a Buffer would be Buffers, which take several times as long to make. */
const plain = ({ buffer, byteOffset, length }: Buffer): Uint8Array =>
  new Uint8Array(buffer, byteOffset, length);
