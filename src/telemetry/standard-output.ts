import { writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/**
 * How long a full pipe is left to its reader. pino's own destination waits
 * 100 ms, in which the whole process stands still, and the log of a few hundred
 * tasks that end together is larger than a pipe.
 */
const FULL_PIPE_WAIT_MS = 1;

export type WriteSync = (fd: number, bytes: Uint8Array, offset: number) => number;

/** Writes each line to standard output before it returns. Where nobody reads any more, lines are dropped. */
export function createStandardOutput(write: WriteSync = writeSync): DestinationStream {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  let gone = false;
  return {
    write(line) {
      const bytes = Buffer.from(line);
      for (let at = 0; at < bytes.length && !gone;) {
        try {
          at += write(1, bytes, at);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'EAGAIN') Atomics.wait(cell, 0, 0, FULL_PIPE_WAIT_MS);
          else gone = true;
        }
      }
    },
  };
}
