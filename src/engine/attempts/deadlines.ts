import type { Attempt } from './attempt.ts';

/**
 * Which running attempt's time is over first. Asked after every change of what
 * runs, so that looking through all of them each time would cost the square of
 * the slots. Most attempts have the same time limit: a new one comes last.
 */
export interface Deadlines {
  add(attempt: Attempt): void;
  remove(attempt: Attempt): void;
  /** Of the attempts that are not settled; null if there is none. */
  earliest(): Attempt | null;
}

/** So few that have left already are not worth clearing away. */
const GONE_MAX = 64;

export function createDeadlines(): Deadlines {
  const running = new Set<Attempt>();
  /** By deadline; those that have left or are settled stay until they are first, or the list is mostly them. */
  let ordered: Attempt[] = [];
  let first = 0;

  const counts = (attempt: Attempt): boolean => !attempt.settled && running.has(attempt);

  const clearAway = (): void => {
    if (ordered.length <= 2 * running.size + GONE_MAX) return;
    ordered = ordered.filter(counts);
    first = 0;
  };

  return {
    add(attempt) {
      running.add(attempt);
      const before = ordered.findLastIndex(({ deadlineMs }) => deadlineMs <= attempt.deadlineMs);
      ordered.splice(Math.max(first, before + 1), 0, attempt);
    },
    remove(attempt) {
      running.delete(attempt);
      clearAway();
    },
    earliest() {
      while (first < ordered.length && !counts(ordered[first] as Attempt)) first++;
      return ordered[first] ?? null;
    },
  };
}
