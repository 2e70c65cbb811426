import { createConnection } from 'node:net';

/**
 * The handler's side of the tally: every execution is noted with its number and
 * the monotonic time of its start, which all processes of a machine share.
 */
const FLUSH_MS = 20;

/** Microseconds from the process's own zero to that of the machine's monotonic clock. */
const OFFSET_US = Number(process.hrtime.bigint() / 1_000n) - performance.now() * 1_000;

export function nowUs(): number {
  return Math.round(performance.now() * 1_000 + OFFSET_US);
}

let notes: string[] = [];
const path = process.env['BENCH_TALLY'];
const socket = path === undefined ? null : createConnection(path);
// The runner ends first when a run is broken off.
socket?.on('error', () => {});
socket?.unref();

function flush(): void {
  socket?.write(`${notes.join(' ')}\n`);
  notes = [];
}

export function note(n: number): void {
  // Not an interval: it would wake a worker whose idling is measured.
  if (notes.length === 0) setTimeout(flush, FLUSH_MS);
  notes.push(`${n}:${nowUs()}`);
}

/** What every contender's task carries; about 130 bytes as JSON. */
export interface Note {
  readonly n: number;
  readonly sleep_ms: number;
  readonly text: string;
}

export const TEXT = 'a payload of about a hundred bytes, as a message with an address and a reference would be';

/** The no-op of the bench, or a wait. */
export function work({ n, sleep_ms: sleepMs }: Note): Promise<void> | undefined {
  note(n);
  if (sleepMs === 0) return undefined;
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, sleepMs);
  return promise;
}
