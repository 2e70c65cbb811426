import { createChanges } from '../../lifecycle/changes.ts';
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
  /** Neither busy nor reserved. */
  readonly free: number;
  /** Keeps slots for tasks that are claimed and on their way to a start. @returns what ends it, once */
  reserve(count: number): () => void;
  add(attempt: Attempt): void;
  /** The handler returned. */
  remove(attempt: Attempt): void;
  get(token: string): Attempt | undefined;
  all(): Attempt[];
  /** Whether an attempt runs that may be the next to kill its worker: one loss short of the cap. */
  hasSuspect(lostCap: number): boolean;
  /** Of the attempts that are not settled, the one whose time limit is over first; null if there is none. */
  earliest(): Attempt | null;
  /** The attempts whose handlers go on though their time limit is over and their outcome settled. */
  overrun(nowMs: number): Attempt[];
  /**
   * Resolves with the number of free slots: as soon as there is one while none is reserved, and else when there are
   * `worthwhile` (1 unless given); with 0 after `ms` or when the signal fires.
   */
  waitForFree(ms: number, signal: AbortSignal, worthwhile?: number): Promise<number>;
  /** Resolves with true when every attempt that runs is settled, else with false after `ms`. */
  waitForSettled(ms: number): Promise<boolean>;
}

/** @param onChange called after every change of what runs */
export function createSlots(total: number, onChange: (slots: Slots) => void = () => {}): Slots {
  const running = new Map<string, Attempt>();
  const deadlines = createDeadlines();
  const changes = createChanges();
  let reserved = 0;

  const changed = (): void => {
    onChange(slots);
    changes.tell();
  };

  const slots: Slots = {
    total,
    get busy() {
      return running.size;
    },
    get free() {
      return Math.max(0, total - running.size - reserved);
    },
    reserve(count) {
      reserved += count;
      let ended = false;
      return () => {
        if (ended) return;
        ended = true;
        reserved -= count;
        changes.tell();
      };
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
    earliest: () => deadlines.earliest(),
    overrun: (nowMs) => slots.all().filter(({ settled, deadlineMs }) => settled && deadlineMs <= nowMs),
    async waitForFree(ms, signal, worthwhile = 1) {
      const isEnough = (): boolean => slots.free > 0 && (reserved === 0 || slots.free >= worthwhile);
      await changes.until(isEnough, ms, signal);
      return !signal.aborted && isEnough() ? slots.free : 0;
    },
    async waitForSettled(ms) {
      const allSettled = (): boolean => running.values().every(({ settled }) => settled);
      await changes.until(allSettled, ms);
      return allSettled();
    },
  };
  return slots;
}
