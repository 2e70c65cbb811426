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

/** One fault of a plan. It contains all random choices, so that a plan can be replayed. */
export interface Step {
  /** Milliseconds from the start of the load. */
  readonly atMs: number;
  readonly fault: string;
  /** Name of a process; null for faults without a single process as target. */
  readonly target: string | null;
  /** Duration; 0 for momentary faults. */
  readonly lastsMs: number;
}

/** What a fault occupies. Plans never contain simultaneous steps with the same resource. */
export type Resource = 'target' | 'redis' | 'postgresql' | 'everything' | 'none';

export interface Fault {
  readonly name: string;
  readonly family: 'processes' | 'redis' | 'postgresql' | 'network' | 'clock' | 'handlers';
  readonly resource: Resource;
  /** The kinds of processes that it can hit; null if it has no target. */
  readonly targets: readonly ProcessKind[] | null;
  /** The kind of Redis that it needs; without it, the fault fits all kinds. */
  readonly redis?: RedisKind;
  /** Rows of the failure table that it tests. */
  readonly rows: readonly string[];
  lastsMs(settings: RunSettings, random: Random): number;
  /** Injects the fault, waits, and heals it. @returns what happened, for the report */
  inject(context: FaultContext, step: Step): Promise<string>;
}

/** A fault that this machine cannot inject. It is skipped: it proves nothing, but is no failure of the system. */
export class NotPossibleHereError extends Error {}

/** Duration of faults that are over at once. */
export const momentary = (): number => 0;

/** Returns a duration from a second to the longest outage of the run. */
export const outage = (settings: RunSettings, random: Random): number => random.integer(1_000, settings.outageMaxMs);

/** Returns a duration after which a silent worker is no longer considered alive. */
export const beyondTtl = (settings: RunSettings, random: Random): number =>
  Math.round(settings.ttlMs * (1.3 + random.next() * 0.5));

export function requireTarget({ fault, target }: Step): string {
  if (target === null) throw new Error(`${fault} needs a target`);
  return target;
}
