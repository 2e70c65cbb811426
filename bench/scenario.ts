import type { Arena, ContenderKind } from './contender.ts';

/** A measurement of a contender. */
export interface Measurement {
  readonly value: number;
  /** Further figures, by name and unit. */
  readonly details?: Readonly<Record<string, number>>;
}

/** A contender that is ready to be measured, once or several times. */
export interface Opened {
  measure(): Promise<Measurement>;
  /** Checks the stores at the end. @throws if a task was lost or executed twice; then no measurement counts */
  verify(): Promise<void>;
  close(): Promise<void>;
}

export interface Entrant {
  readonly name: string;
  readonly settings: string;
  /** Whether it takes part only in the first round, because it takes long. */
  readonly once?: boolean;
  unavailable(): string | null;
  open(arena: Arena): Promise<Opened>;
}

/**
 * How far the first entrant may fall behind another before the bench fails. A floor compares CPU times or bytes of WAL,
 * never rates: a rate falls when the machine has other work. It is set below what a busy machine measures.
 */
export interface Floor {
  readonly than: string;
  /** The detail to compare; less is better. */
  readonly detail: string;
  /** How many times as good the first entrant's figure must be at least. */
  readonly ratio: number;
}

export interface Scenario {
  /** Its name for `--only`. */
  readonly name: string;
  readonly title: string;
  readonly goal: string;
  readonly unit: string;
  /** Whether a larger value is the better one. */
  readonly more: boolean;
  /** The report compares the first entrant with each of the others. */
  readonly entrants: readonly Entrant[];
  /**
   * How many times each round measures every entrant, in turn, while all of them are up. Without it, each entrant is
   * opened, measured once and closed before the next one.
   */
  readonly inTurn?: number;
  /** Whether the first round is enough: the figures hardly vary, or the measurement takes long. */
  readonly once?: boolean;
  readonly floors?: readonly Floor[];
}

/** The size and duration of a run. */
export interface Size {
  /** Whether this is the small run for continuous integration. */
  readonly quick: boolean;
  /** Tasks that wait behind the measured ones. */
  readonly waiting: number;
  /** Rows of finished tasks beside the measured ones. */
  readonly finished: number;
  /** Seconds of the sustained load. */
  readonly seconds: number;
}

/** Returns an entrant whose `measure` opens, verifies and closes the contender itself. */
export function entrantOf(
  { name, settings, unavailable, isSlow = false }: Pick<ContenderKind, 'name' | 'settings' | 'unavailable' | 'isSlow'>,
  measure: (arena: Arena) => Promise<Measurement>,
): Entrant {
  return {
    name,
    settings,
    unavailable,
    once: isSlow,
    open: async (arena) => ({ measure: () => measure(arena), verify: async () => {}, close: async () => {} }),
  };
}
