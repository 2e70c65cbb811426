import type { Clients } from '../clients.ts';
import type { ProcessKind } from '../processes.ts';
import type { Random } from '../random.ts';
import type { RedisKind } from '../redis-under-test.ts';
import type { RunSettings } from '../settings.ts';
import type { ChaosSystem } from '../system.ts';

export interface FaultContext {
  readonly system: ChaosSystem;
  readonly clients: Clients;
}

/** One fault of a plan; everything chance decides stands in it, so that a plan can be replayed. */
export interface Step {
  /** Milliseconds from the start of the load. */
  readonly atMs: number;
  readonly fault: string;
  /** Name of a process; null for faults of stores and of the whole. */
  readonly target: string | null;
  /** How long it lasts, where it lasts. */
  readonly lastsMs: number;
}

/** Steps that use the same resource are not planned at the same time. */
export type Resource = 'target' | 'redis' | 'postgresql' | 'everything' | 'none';

export interface Fault {
  readonly name: string;
  readonly family: 'processes' | 'redis' | 'postgresql' | 'network' | 'clock' | 'handlers';
  readonly resource: Resource;
  /** Which processes it can hit; null: it has no target. */
  readonly targets: readonly ProcessKind[] | null;
  /** Only for a Redis of this shape; for each unless given. */
  readonly redis?: RedisKind;
  /** Rows of the failure table that it puts to the test. */
  readonly rows: readonly string[];
  lastsMs(settings: RunSettings, random: Random): number;
  /** Does it, waits, and heals it. @returns what happened, for the report */
  inject(context: FaultContext, step: Step): Promise<string>;
}

/** What the machine does not allow: no failure of the system, but no proof either. */
export class NotPossibleHereError extends Error {}

/** Faults that are over at once. */
export const momentary = (): number => 0;

/** Up to the longest outage of the run, at least a second. */
export const outage = (settings: RunSettings, random: Random): number => random.integer(1_000, settings.outageMaxMs);

/** Longer than a silent worker is believed to be alive. */
export const beyondTtl = (settings: RunSettings, random: Random): number =>
  Math.round(settings.ttlMs * (1.3 + random.next() * 0.5));

export function requireTarget({ fault, target }: Step): string {
  if (target === null) throw new Error(`${fault} needs a target`);
  return target;
}
