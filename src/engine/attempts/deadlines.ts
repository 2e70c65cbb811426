import type { Attempt } from './attempt.ts';

/**
 * Finds the running attempt with the earliest deadline. The worker asks for it whenever an attempt begins or ends, so a
 * search through all attempts each time would cost the square of the number of slots. The list is kept sorted instead.
 * Inserting is cheap, because most attempts have the same time limit and a new one goes to the end.
 */
export interface Deadlines {
  add(attempt: Attempt): void;
  /** Call it after the attempt has lost its slot. */
  remove(): void;
  /** Returns the unsettled attempt with a slot and the earliest deadline; null if there is none. */
  earliest(): Attempt | null;
}

/** The list is cleaned only when more entries than this are superfluous, so that short lists are not cleaned often. */
const GONE_MAX = 64;

export function createDeadlines(): Deadlines {
  let running = 0;
  /**
   * Attempts by deadline. Ended and settled attempts stay in the list until they come first, or until they make up most
   * of it.
   */
  let ordered: Attempt[] = [];
  let first = 0;

  const counts = (attempt: Attempt): boolean => !attempt.settled && attempt.slot !== null;

  const clearAway = (): void => {
    if (ordered.length <= 2 * running + GONE_MAX) return;
    ordered = ordered.filter(counts);
    first = 0;
  };

  return {
    add(attempt) {
      running++;
      const latest = ordered.at(-1);
      if (latest === undefined || latest.deadlineMs <= attempt.deadlineMs) ordered.push(attempt);
      else {
        const before = ordered.findLastIndex(({ deadlineMs }) => deadlineMs <= attempt.deadlineMs);
        ordered.splice(Math.max(first, before + 1), 0, attempt);
      }
    },
    remove() {
      running--;
      clearAway();
    },
    earliest() {
      while (first < ordered.length && !counts(ordered[first] as Attempt)) first++;
      return ordered[first] ?? null;
    },
  };
}
