import type { Arena, ContenderKind } from './contender.ts';

/** One measurement of one contender. */
export interface Measurement {
  readonly value: number;
  /** Further figures, by name and unit. */
  readonly details?: Readonly<Record<string, number>>;
}

/** A contender that stands ready to be measured, once or several times. */
export interface Opened {
  measure(): Promise<Measurement>;
  /** After the last measurement. @throws when something was lost or done twice: then there is no result */
  verify(): Promise<void>;
  close(): Promise<void>;
}

export interface Entrant {
  readonly name: string;
  readonly settings: string;
  unavailable(): string | null;
  open(arena: Arena): Promise<Opened>;
}

/** How far the first entrant may fall behind another before the bench fails. Loose: it catches a regression, not a bad minute. */
export interface Floor {
  readonly than: string;
  /** Which of the details is compared, where less is better; the value itself unless given. */
  readonly detail?: string;
  /** The first entrant's figure must be at least so many times as good. */
  readonly ratio: number;
}

export interface Scenario {
  /** What `--only` calls it. */
  readonly name: string;
  readonly title: string;
  readonly goal: string;
  readonly unit: string;
  /** Whether a larger value is the better one. */
  readonly more: boolean;
  /** The first one is what the others are compared with. */
  readonly entrants: readonly Entrant[];
  /** All entrants stand side by side and are measured in turn, so many times in each round; else one after the other. */
  readonly inTurn?: number;
  readonly floors?: readonly Floor[];
}

/** How large and how long. */
export interface Size {
  /** For continuous integration. */
  readonly quick: boolean;
  /** Tasks that wait behind the measured ones. */
  readonly waiting: number;
  /** Rows of finished tasks beside the measured ones. */
  readonly finished: number;
  /** Seconds of the sustained load. */
  readonly seconds: number;
}

/** An entrant whose measurement opens, verifies and closes by itself. */
export function entrantOf(
  { name, settings, unavailable }: Pick<ContenderKind, 'name' | 'settings' | 'unavailable'>,
  measure: (arena: Arena) => Promise<Measurement>,
): Entrant {
  return {
    name,
    settings,
    unavailable,
    open: async (arena) => ({ measure: () => measure(arena), verify: async () => {}, close: async () => {} }),
  };
}
