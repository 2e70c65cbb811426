const POOL_BYTES = 4_096;

/**
 * Hands out random bytes from a larger draw, because a draw costs about as much for a few bytes as for
 * thousands. No byte is handed out twice.
 * @param draw returns random bytes, like `crypto.randomBytes`
 */
export function createRandomPool(draw: (size: number) => Uint8Array): (size: number) => Uint8Array {
  let pool: Uint8Array = new Uint8Array(0);
  let next = 0;
  return (size) => {
    if (size > POOL_BYTES) return draw(size);
    if (next + size > pool.length) {
      pool = draw(POOL_BYTES);
      next = 0;
    }
    next += size;
    return pool.subarray(next - size, next);
  };
}

/** Hands out random bytes in the same way, as text in hexadecimal: a draw is written as text once. */
export function createRandomHex(draw: (size: number) => Uint8Array): (bytes: number) => string {
  let pool = '';
  let next = 0;
  return (bytes) => {
    const length = 2 * bytes;
    if (bytes > POOL_BYTES) return Buffer.from(draw(bytes)).toString('hex');
    if (next + length > pool.length) {
      pool = Buffer.from(draw(POOL_BYTES)).toString('hex');
      next = 0;
    }
    next += length;
    return pool.slice(next - length, next);
  };
}
