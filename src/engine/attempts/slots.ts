import { createChanges } from '../../lifecycle/changes.ts';
import type { Attempt } from './attempt.ts';
import { createDeadlines } from './deadlines.ts';

/**
 * The attempts that run in this worker. Each takes a slot until its handler has really returned: after a timeout the
 * attempt is settled, but its handler still uses the machine.
 */
export interface Slots {
  readonly total: number;
  readonly busy: number;
  /** Slots that are neither busy nor reserved. */
  readonly free: number;
  /** Reserves slots for claimed tasks until they start. @returns a function that ends the reservation; idempotent */
  reserve(count: number): () => void;
  add(attempt: Attempt): void;
  /** Frees the slot of an attempt whose handler has returned. */
  remove(attempt: Attempt): void;
  /** In any order. */
  all(): Attempt[];
  /** Whether a running attempt is one loss short of the cap, so that its task may be what kills workers. */
  hasSuspect(lostCap: number): boolean;
  /** Returns the unsettled attempt with the earliest deadline; null if there is none. */
  earliest(): Attempt | null;
  /** Returns the attempts whose handlers still run although their time limit is over and their outcome is settled. */
  overrun(nowMs: number): Attempt[];
  /**
   * Resolves with the number of free slots. Without reservations one free slot is enough; with reservations it waits
   * for `worthwhile` free slots (default 1). Resolves with 0 after `ms` or when the signal fires.
   */
  waitForFree(ms: number, signal: AbortSignal, worthwhile?: number): Promise<number>;
  /** Resolves with true when every running attempt is settled, or with false after `ms`. */
  waitForSettled(ms: number): Promise<boolean>;
}

/** @param onChange called whenever an attempt is added or removed */
export function createSlots(total: number, onChange: (slots: Slots) => void = () => {}): Slots {
  /** A list and not a map, because a map of a few entries that come and go is built anew all the time. */
  const running: Attempt[] = [];
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
      return running.length;
    },
    get free() {
      return Math.max(0, total - running.length - reserved);
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
      attempt.slot = running.push(attempt) - 1;
      deadlines.add(attempt);
      changed();
    },
    remove(attempt) {
      if (attempt.slot === null) return;
      // The last one takes the place of the removed one.
      const last = running.pop() as Attempt;
      if (last !== attempt) {
        running[attempt.slot] = last;
        last.slot = attempt.slot;
      }
      attempt.slot = null;
      deadlines.remove();
      changed();
    },
    all: () => [...running],
    hasSuspect: (lostCap) => running.some(({ task }) => task.lost >= lostCap - 1),
    earliest: () => deadlines.earliest(),
    overrun: (nowMs) => slots.all().filter(({ settled, deadlineMs }) => settled && deadlineMs <= nowMs),
    async waitForFree(ms, signal, worthwhile = 1) {
      const isEnough = (): boolean => slots.free > 0 && (reserved === 0 || slots.free >= worthwhile);
      await changes.until(isEnough, ms, signal);
      return !signal.aborted && isEnough() ? slots.free : 0;
    },
    async waitForSettled(ms) {
      const allSettled = (): boolean => running.every(({ settled }) => settled);
      await changes.until(allSettled, ms);
      return allSettled();
    },
  };
  return slots;
}
