import { writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/**
 * Milliseconds to wait for the reader of a full pipe. pino's own destination waits
 * 100 ms, which blocks the whole process. The log of a few hundred tasks that end
 * together is larger than a pipe, so this happens in practice.
 */
const FULL_PIPE_WAIT_MS = 1;

/** Lines that are logged together are written when they have this many characters. */
const TOGETHER_MAX = 65_536;

/** A destination that can write the lines of one piece of work with few system calls. */
export interface BatchingDestination extends DestinationStream {
  /** Writes the lines that `body` logs before this returns, and earlier if there are many. Calls must not be nested. */
  together(body: () => void): void;
}

export type WriteSync = (fd: number, bytes: Uint8Array, offset: number) => number;

/** Writes each line to standard output before it returns. If the reader is gone, lines are dropped. */
export function createStandardOutput(write: WriteSync = writeSync): BatchingDestination {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  let gone = false;
  /** The lines that are being gathered. Null while every line is written alone. */
  let held: string | null = null;

  const writeNow = (text: string): void => {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length && !gone;) {
      try {
        at += write(1, bytes, at);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') Atomics.wait(cell, 0, 0, FULL_PIPE_WAIT_MS);
        else gone = true;
      }
    }
  };

  return {
    write(line) {
      if (held === null) return writeNow(line);
      held += line;
      if (held.length < TOGETHER_MAX) return;
      writeNow(held);
      held = '';
    },
    together(body) {
      held = '';
      try {
        body();
      } finally {
        const rest = held;
        held = null;
        writeNow(rest);
      }
    },
  };
}
