import type { Attempt } from './attempt.ts';
import { createDeadlines } from './deadlines.ts';

/**
 * The attempts that run in this worker. Each takes a slot until its handler has
 * really returned: one whose attempt was settled as timed out still uses the
 * machine.
 */
export interface Slots {
  readonly total: number;
  readonly busy: number;
  readonly free: number;
  add(attempt: Attempt): void;
  /** The handler returned. */
  remove(attempt: Attempt): void;
  get(token: string): Attempt | undefined;
  all(): Attempt[];
  /** Whether an attempt runs that may be the next to kill its worker: one loss short of the cap. */
  hasSuspect(lostCap: number): boolean;
  /** The earliest deadline of an attempt that is not settled, in monotonic milliseconds; null if there is none. */
  earliestDeadlineMs(): number | null;
  /** Resolves with the number of free slots when there is one, else 0 after `ms` or when the signal fires. */
  waitForFree(ms: number, signal: AbortSignal): Promise<number>;
  /** Resolves with true when every attempt that runs is settled, else with false after `ms`. */
  waitForSettled(ms: number): Promise<boolean>;
}

/** @param onChange called after every change of what runs */
export function createSlots(total: number, onChange: (slots: Slots) => void = () => {}): Slots {
  const running = new Map<string, Attempt>();
  const watchers = new Set<() => void>();
  const deadlines = createDeadlines();

  const changed = (): void => {
    onChange(slots);
    for (const watcher of watchers) watcher();
  };

  /** Resolves once `condition` holds, the time is over or the signal fires. */
  const until = (condition: () => boolean, ms: number, signal?: AbortSignal): Promise<void> => {
    if (condition() || signal?.aborted === true || ms <= 0) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = (): void => {
      if (condition()) resolve();
    };
    const timer = setTimeout(resolve, ms);
    const onAbort = (): void => resolve();
    watchers.add(look);
    signal?.addEventListener('abort', onAbort, { once: true });
    return promise.finally(() => {
      clearTimeout(timer);
      watchers.delete(look);
      signal?.removeEventListener('abort', onAbort);
    });
  };

  const slots: Slots = {
    total,
    get busy() {
      return running.size;
    },
    get free() {
      return Math.max(0, total - running.size);
    },
    add(attempt) {
      running.set(attempt.token, attempt);
      deadlines.add(attempt);
      changed();
    },
    remove(attempt) {
      if (!running.delete(attempt.token)) return;
      deadlines.remove(attempt);
      changed();
    },
    get: (token) => running.get(token),
    all: () => [...running.values()],
    hasSuspect: (lostCap) => running.values().some(({ task }) => task.lost >= lostCap - 1),
    earliestDeadlineMs: () => deadlines.earliestMs(),
    async waitForFree(ms, signal) {
      await until(() => slots.free > 0, ms, signal);
      return signal.aborted ? 0 : slots.free;
    },
    async waitForSettled(ms) {
      const allSettled = (): boolean => running.values().every(({ settled }) => settled);
      await until(allSettled, ms);
      return allSettled();
    },
  };
  return slots;
}
