import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

/** Counts the executions that the handlers of all worker processes report, and records their times. */
export interface Tally {
  /** Path of the socket that `note.ts` writes to. */
  readonly path: string;
  /** Number of executions so far. */
  readonly total: number;
  /** Forgets all executions and expects the numbers 0 to `count - 1`. */
  reset(count: number): void;
  /** Resolves when `total` has reached `count`. @throws if no execution is reported for `stalledMs` */
  reached(count: number, stalledMs?: number): Promise<void>;
  /** Start of each number's first execution, in microseconds; 0 if there was none. */
  readonly startsUs: Float64Array;
  /** Counts the numbers that were not executed exactly once. */
  wrong(): { readonly never: number; readonly repeated: number };
  close(): Promise<void>;
}

export async function openTally(path: string): Promise<Tally> {
  let counts = new Uint8Array(0);
  let startsUs = new Float64Array(0);
  let total = 0;
  const sockets = new Set<Socket>();

  const take = (line: string): void => {
    for (const entry of line.split(' ')) {
      if (entry === '') continue;
      const colon = entry.indexOf(':');
      const n = Number(entry.slice(0, colon));
      if (n >= counts.length) continue;
      if (counts[n] === 0) startsUs[n] = Number(entry.slice(colon + 1));
      counts[n] = (counts[n] as number) + 1;
      total++;
    }
  };

  rmSync(path, { force: true });
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    createInterface({ input: socket }).on('line', take);
  });
  server.listen(path);
  await once(server, 'listening');

  return {
    path,
    get total() {
      return total;
    },
    get startsUs() {
      return startsUs;
    },
    reset(count) {
      counts = new Uint8Array(count);
      startsUs = new Float64Array(count);
      total = 0;
    },
    async reached(count, stalledMs = 30_000) {
      let seen = -1;
      let sinceMs = performance.now();
      const isReached = (): boolean => total >= count;
      while (!isReached()) {
        if (total > seen) {
          seen = total;
          sinceMs = performance.now();
        }
        if (performance.now() - sinceMs > stalledMs)
          throw new Error(`${total} of ${count} executions, and none within the last ${stalledMs} ms`);
        await delay(2);
      }
    },
    wrong() {
      let never = 0;
      let repeated = 0;
      for (const count of counts) {
        if (count === 0) never++;
        if (count > 1) repeated++;
      }
      return { never, repeated };
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
