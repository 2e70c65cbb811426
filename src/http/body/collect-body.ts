import type { IncomingMessage } from 'node:http';
import type { Readable, Transform } from 'node:stream';
import { createBrotliDecompress, createUnzip } from 'node:zlib';
import { Problem } from '../problem.ts';
import type { MemoryLease } from './memory-budget.ts';

/**
 * At its peak, a body is in memory four times: as bytes, as text, in the statement for PostgreSQL, and in the answer.
 */
export const BODY_WEIGHT = 4;

/** Memory of a decompressor and its buffers. */
const DECOMPRESSOR_BYTES = 65_536;

/**
 * Collects and decompresses the body of a request. Takes the memory for it from the lease while the body arrives. On a
 * failure, it stops reading and leaves the rest of the body unread.
 * @param limit bytes after decompression
 * @throws Problem `body_too_large`, `body_incomplete`, `unsupported_media_type`, `overloaded`
 */
export async function collectBody(request: IncomingMessage, limit: number, lease: MemoryLease): Promise<Buffer> {
  const decompressor = decompressorFor(request.headers['content-encoding']);
  const announced = decompressor === null ? Number(request.headers['content-length'] ?? 0) : 0;
  if (announced > limit) throw tooLarge(limit);
  if (decompressor === null) return collect(request, request, announced, limit, lease);
  try {
    await lease.take(DECOMPRESSOR_BYTES);
    return await collect(request, request.pipe(decompressor), 0, limit, lease);
  } finally {
    request.unpipe(decompressor);
    decompressor.destroy();
  }
}

function decompressorFor(encoding = 'identity'): Transform | null {
  switch (encoding.trim().toLowerCase()) {
    case 'identity':
      return null;
    case 'gzip':
    case 'x-gzip':
    case 'deflate':
      return createUnzip();
    case 'br':
      return createBrotliDecompress();
    default:
      throw new Problem('unsupported_media_type', 'expected the content encoding identity, gzip, deflate or br');
  }
}

const NOTHING = Buffer.alloc(0);

function collect(
  request: IncomingMessage,
  source: Readable,
  announced: number,
  limit: number,
  lease: MemoryLease,
): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  let buffer: Buffer = NOTHING;
  let length = 0;
  /** True while a chunk waits for memory. A paused stream still emits `end` if that chunk was its last one. */
  let isWaiting = false;
  let hasEnded = false;

  const append = (chunk: Buffer): void => {
    const wanted = length + chunk.length;
    if (length === 0) buffer = chunk;
    else {
      if (wanted > buffer.length) {
        // The buffer grows with the received data, not to the announced length at once: a client that announces a
        // long body and sends little of it would hold all that memory.
        const larger = Buffer.allocUnsafe(
          Math.min(limit, Math.max(wanted, 2 * length, Math.min(announced, 4 * length))),
        );
        buffer.copy(larger, 0, 0, length);
        buffer = larger;
      }
      chunk.copy(buffer, length);
    }
    length = wanted;
  };

  const onData = (chunk: Buffer): void => {
    if (length + chunk.length > limit) return fail(tooLarge(limit));
    const bytes = BODY_WEIGHT * chunk.length;
    if (lease.tryTake(bytes)) return append(chunk);
    source.pause();
    void appendWithRoom(chunk, bytes);
  };
  const appendWithRoom = async (chunk: Buffer, bytes: number): Promise<void> => {
    try {
      isWaiting = true;
      await lease.take(bytes);
      isWaiting = false;
      append(chunk);
      if (hasEnded) finish();
      else source.resume();
    } catch (error) {
      fail(error);
    }
  };
  const onEnd = (): void => {
    hasEnded = true;
    if (!isWaiting) finish();
  };
  const finish = (): void => {
    stop();
    // A stream that was cut off also emits `end`.
    if (length < announced) reject(incomplete());
    else resolve(buffer.subarray(0, length));
  };
  const onBroken = (cause?: unknown): void => fail(incomplete(cause));
  const onClose = (): void => {
    if (!request.complete) onBroken();
  };
  const fail = (error: unknown): void => {
    stop();
    source.pause();
    reject(error);
  };
  const stop = (): void => {
    source.off('data', onData).off('end', onEnd);
    request.off('close', onClose);
  };

  source.on('data', onData).on('end', onEnd);
  // These listeners stay after the end: an `error` event without a listener would end the process.
  source.on('error', onBroken);
  request.on('error', onBroken).on('close', onClose);
  if (request.destroyed) onClose();
  return promise;
}

function tooLarge(limit: number): Problem {
  return new Problem('body_too_large', `the body is longer than ${limit} bytes`);
}

function incomplete(cause?: unknown): Problem {
  return new Problem('body_incomplete', 'the body ended early, or does not match its headers', { cause });
}
