import { MEMORY_WAIT_MAX_MS } from '../../config/timings.ts';
import { onScrape, type Metrics } from '../../telemetry/metrics.ts';
import { Problem } from '../problem.ts';

/** The part of the memory budget that one request holds. */
export interface MemoryLease {
  /** Takes more bytes if there is room now and no other request waits. @returns false if not */
  tryTake(bytes: number): boolean;
  /**
   * Takes more bytes, after the requests that are already waiting.
   * @throws Problem `overloaded` if there is no room for a second, or too many requests wait
   */
  take(bytes: number): Promise<void>;
  /** Changes the lease to exactly this many bytes. If that is more than before, it waits and throws as `take` does. */
  hold(bytes: number): Promise<void>;
  /** Gives everything back. Idempotent. */
  release(): void;
}

/**
 * Bounds the memory that all requests of one process use together: their bodies and the values parsed from them,
 * submissions that wait for PostgreSQL, and answers until the clients have taken them.
 */
export interface MemoryBudget {
  readonly maxBytes: number;
  open(): MemoryLease;
}

interface Waiting {
  readonly bytes: number;
  readonly owner: Held;
  readonly resolve: () => void;
  readonly timer: NodeJS.Timeout;
}

interface Held {
  bytes: number;
  released: boolean;
}

/** Largest `Retry-After` in seconds. The value is random, so that clients do not all retry at once. */
const RETRY_AFTER_MAX = 3;

const WAITING_MAX = 1_000;

export interface MemoryBudgetOptions {
  readonly maxBytes: number;
  readonly metrics: Pick<Metrics, 'inFlightBytes' | 'overloaded'>;
  /** Milliseconds that a request waits for memory. */
  readonly waitMs?: number;
}

export function createMemoryBudget(options: MemoryBudgetOptions): MemoryBudget {
  const { maxBytes, metrics, waitMs = MEMORY_WAIT_MAX_MS } = options;
  let used = 0;
  let waiting: Waiting[] = [];
  onScrape(metrics.inFlightBytes, () => {
    metrics.inFlightBytes.set({ kind: 'used' }, used);
    metrics.inFlightBytes.set({ kind: 'limit' }, maxBytes);
  });

  // A request that is alone may exceed the budget. Otherwise a row larger than the budget could never be read.
  const fits = (bytes: number, owner: Held): boolean => used + bytes <= maxBytes || used === owner.bytes;

  const grant = (bytes: number, owner: Held): void => {
    owner.bytes += bytes;
    used += bytes;
  };

  const refuse = (): Problem => {
    metrics.overloaded.inc();
    const headers = { 'Retry-After': String(1 + Math.floor(Math.random() * RETRY_AFTER_MAX)) };
    return new Problem('overloaded', 'the requests in progress use all the memory that is allowed for them', {
      headers,
    });
  };

  const serveWaiting = (): void => {
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      const { bytes, owner, resolve, timer } = next;
      // A released lease gets nothing: its client has gone, and the memory would never be given back.
      if (!owner.released && !fits(bytes, owner)) break;
      waiting.shift();
      clearTimeout(timer);
      if (!owner.released) grant(bytes, owner);
      resolve();
    }
  };

  const give = (bytes: number, owner: Held): void => {
    owner.bytes -= bytes;
    used -= bytes;
    serveWaiting();
  };

  const take = async (bytes: number, owner: Held): Promise<void> => {
    if (owner.released) return;
    if (waiting.length === 0 && fits(bytes, owner)) return grant(bytes, owner);
    if (waiting.length >= WAITING_MAX) throw refuse();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      waiting = waiting.filter((one) => one !== entry);
      reject(refuse());
      serveWaiting();
    }, waitMs);
    const entry: Waiting = { bytes, owner, resolve, timer };
    waiting.push(entry);
    return promise;
  };

  return {
    maxBytes,
    open() {
      const held: Held = { bytes: 0, released: false };
      return {
        tryTake(bytes) {
          if (held.released || waiting.length > 0 || !fits(bytes, held)) return false;
          grant(bytes, held);
          return true;
        },
        take: (bytes) => take(bytes, held),
        async hold(bytes) {
          if (held.released) return;
          if (bytes > held.bytes) await take(bytes - held.bytes, held);
          else give(held.bytes - bytes, held);
        },
        release() {
          if (held.released) return;
          held.released = true;
          give(held.bytes, held);
        },
      };
    },
  };
}
