import type { Arena, ContenderKind } from './contender.ts';

/** One measurement of one contender. */
export interface Measurement {
  readonly value: number;
  /** Further figures, by name and unit. */
  readonly details?: Readonly<Record<string, number>>;
}

export interface Entrant {
  readonly name: string;
  readonly settings: string;
  unavailable(): string | null;
  measure(arena: Arena): Promise<Measurement>;
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
}

/** How large and how often; `quick` is for continuous integration. */
export interface Size {
  readonly quick: boolean;
}

export function entrantOf(kind: ContenderKind, measure: Entrant['measure']): Entrant {
  return { name: kind.name, settings: kind.settings, unavailable: kind.unavailable, measure };
}
