import { createConnection } from 'node:net';

/**
 * The handler's side of the tally. It notes every execution with its number and the monotonic time of its start.
 * All processes of a machine share the monotonic clock.
 */
const FLUSH_MS = 20;

/** Microseconds between the zero of `performance.now()` and the zero of the machine's monotonic clock. */
const OFFSET_US = Number(process.hrtime.bigint() / 1_000n) - performance.now() * 1_000;

export function nowUs(): number {
  return Math.round(performance.now() * 1_000 + OFFSET_US);
}

let notes: string[] = [];
const path = process.env['BENCH_TALLY'];
const socket = path === undefined ? null : createConnection(path);
// When a run is interrupted, the runner may end first and close the socket.
socket?.on('error', () => {});
socket?.unref();

function flush(): void {
  socket?.write(`${notes.join(' ')}\n`);
  notes = [];
}

export function note(n: number): void {
  // An interval would wake a worker while the bench measures its idling.
  if (notes.length === 0) setTimeout(flush, FLUSH_MS);
  notes.push(`${n}:${nowUs()}`);
}

/** The payload of every contender's tasks; about 130 bytes as JSON, or about 1 KB with `LONG_TEXT`. */
export interface Note {
  readonly n: number;
  readonly sleep_ms: number;
  readonly text: string;
}

export const TEXT = 'a payload of about a hundred bytes, as a message with an address and a reference would be';
export const LONG_TEXT = TEXT.repeat(11).slice(0, 980);

/** Notes the execution, then waits `sleep_ms` milliseconds; 0 is a no-op. */
export function work({ n, sleep_ms: sleepMs }: Note): Promise<void> | undefined {
  note(n);
  if (sleepMs === 0) return undefined;
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, sleepMs);
  return promise;
}
