import { FAULTS, type Fault, type Step } from './faults/index.ts';
import { createRandom, type Random } from './random.ts';
import type { RunSettings } from './settings.ts';

/** The faults of a run with their times, targets and durations, chosen at random before the run. */
export interface Plan {
  readonly seed: number;
  readonly lengthMs: number;
  readonly steps: readonly Step[];
}

export interface PlanOptions {
  readonly seed: number;
  readonly lengthMs: number;
  readonly settings: RunSettings;
  /** Mean time between two faults. */
  readonly everyMs?: number;
  readonly faults?: readonly Fault[];
}

/** Time without faults at the start, until the system has work, and at the end, for the recovery. */
const QUIET_MS = 3_000;

/** Creates a plan. The same options always give the same plan. */
export function createPlan(options: PlanOptions): Plan {
  const { seed, lengthMs, settings, everyMs = 6_000 } = options;
  const faults = (options.faults ?? FAULTS).filter(({ redis = settings.redis }) => redis === settings.redis);
  const random = createRandom(seed);
  const busyUntil = new Map<string, number>();
  const steps: Step[] = [];
  // As with a deck of cards, every fault is drawn once before any is drawn twice.
  let deck: Fault[] = [];
  for (let atMs = QUIET_MS + random.exponential(everyMs / 2); ; atMs += random.exponential(everyMs)) {
    if (deck.length === 0) deck = shuffled(faults, random);
    const fault = deck.pop() as Fault;
    const target = fault.targets === null ? null : random.pick(targetsOf(fault, settings));
    const lastsMs = Math.round(fault.lastsMs(settings, random));
    const startMs = Math.round(Math.max(atMs, freeAt(fault, target, busyUntil)));
    if (atMs > lengthMs) break;
    if (startMs + lastsMs > lengthMs - QUIET_MS) continue;
    occupy(fault, target, startMs + lastsMs, settings, busyUntil);
    steps.push({ atMs: startMs, fault: fault.name, target, lastsMs });
  }
  return { seed, lengthMs, steps: steps.toSorted((a, b) => a.atMs - b.atMs) };
}

export function printPlan({ seed, lengthMs, steps }: Plan): string {
  const lines = steps.map(({ atMs, fault, target, lastsMs }) => {
    const whom = target === null ? '' : ` on ${target}`;
    return `  ${(atMs / 1_000).toFixed(1).padStart(7)} s  ${fault}${whom}${lastsMs > 0 ? ` for ${(lastsMs / 1_000).toFixed(1)} s` : ''}`;
  });
  return [`seed ${seed}, ${(lengthMs / 60_000).toFixed(1)} min, ${steps.length} faults`, ...lines].join('\n');
}

function targetsOf({ targets }: Fault, settings: RunSettings): string[] {
  const names = { api: settings.apis, worker: settings.workers, reclaimer: settings.reclaimers };
  return (targets ?? []).flatMap((kind) => [
    ...Array.from({ length: names[kind] }, (_, i) => `${kind}-${i + 1}`),
    ...(kind === 'worker' ? ['strict-1'] : []),
  ]);
}

/** Returns when the fault may start. Faults of one resource must not overlap; faults of different ones may. */
function freeAt(fault: Fault, target: string | null, busyUntil: ReadonlyMap<string, number>): number {
  if (fault.resource === 'none') return 0;
  if (fault.resource === 'everything') return Math.max(0, ...busyUntil.values());
  return Math.max(busyUntil.get('everything') ?? 0, busyUntil.get(keyOf(fault, target)) ?? 0);
}

function occupy(
  fault: Fault,
  target: string | null,
  untilMs: number,
  settings: RunSettings,
  busyUntil: Map<string, number>,
): void {
  // A killed process has to be up again before the next fault.
  if (fault.resource !== 'none') busyUntil.set(keyOf(fault, target), untilMs + settings.heartbeatIntervalMs);
}

function keyOf(fault: Fault, target: string | null): string {
  return fault.resource === 'target' ? `process ${String(target)}` : fault.resource;
}

function shuffled(faults: readonly Fault[], random: Random): Fault[] {
  return faults
    .map((fault) => ({ fault, key: random.next() }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ fault }) => fault);
}
