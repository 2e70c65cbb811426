import type { Config } from '../../config/env.ts';
import { WATCH_LOOK_MIN_MS } from '../../config/timings.ts';
import { pause } from '../../lifecycle/loop.ts';
import type { Presence, Silence } from '../presence/presence.ts';
import type { PodEvidence } from './reclaim/pod-evidence.ts';
import type { SweepContext } from './sweep-context.ts';

type Beats = Pick<Config, 'HEARTBEAT_INTERVAL'>;

export interface WatchContext extends Pick<SweepContext, 'clock' | 'settings'> {
  readonly presence: Pick<Presence, 'silences'>;
  readonly pods?: PodEvidence | undefined;
}

/** A beat is expected, and sweeps come sooner, so that one is near when it counts as missed. */
const LATE_AFTER_INTERVALS = 1.05;

/** Sooner than a beat counts as missed: the answer is the evidence, and whoever is only late costs a question. */
const ASK_AFTER_INTERVALS = 1.1;

export function isLate({ silentMs }: Silence, { HEARTBEAT_INTERVAL }: Beats): boolean {
  return silentMs > LATE_AFTER_INTERVALS * HEARTBEAT_INTERVAL;
}

export function isWorthAsking({ silentMs }: Silence, { HEARTBEAT_INTERVAL }: Beats): boolean {
  return silentMs > ASK_AFTER_INTERVALS * HEARTBEAT_INTERVAL;
}

/**
 * Waits, at most `restMs` milliseconds, until one of some workers has been silent for so long that Kubernetes should
 * be asked for it. It looks when the next of them would be late, so that a death waits for no interval of sweeps.
 * Where nobody can be asked, it only waits.
 */
export async function watch(
  context: WatchContext,
  workerIds: readonly string[],
  restMs: number,
  signal: AbortSignal,
): Promise<void> {
  const { clock, pods, settings, presence } = context;
  if (pods === undefined || workerIds.length === 0) return pause(restMs, signal);
  const endMs = clock.monotonicMs() + restMs;
  const ids = new Set(workerIds);
  while (!signal.aborted) {
    let silences: Silence[];
    try {
      silences = (await presence.silences(workerIds)).filter(({ workerId }) => ids.has(workerId));
    } catch {
      // The next pass asks the same, and says what is wrong.
      break;
    }
    if (silences.some((silence) => isWorthAsking(silence, settings))) return;
    if (silences.some((silence) => isLate(silence, settings))) void pods.prepare();
    const lookMs = Math.max(WATCH_LOOK_MIN_MS, untilNext(silences, settings));
    if (clock.monotonicMs() + lookMs >= endMs) break;
    await pause(lookMs, signal);
  }
  await pause(Math.max(0, endMs - clock.monotonicMs()), signal);
}

/** Milliseconds until the first of them is late, or late enough to be asked for, unless it beats. */
function untilNext(silences: readonly Silence[], settings: Beats): number {
  const thresholds = [LATE_AFTER_INTERVALS, ASK_AFTER_INTERVALS].map((each) => each * settings.HEARTBEAT_INTERVAL);
  const ahead = silences.flatMap(({ silentMs }) =>
    thresholds.map((threshold) => threshold - silentMs).filter((ms) => ms >= 0),
  );
  return Math.min(...ahead) + 1;
}
