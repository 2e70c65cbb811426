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

/** From here on a beat is late, and passes come more often, so that one runs soon after the beat counts as missed. */
const LATE_AFTER_INTERVALS = 1.05;

/**
 * From here on Kubernetes is asked about the worker. This is before the beat counts as missed, because the answer
 * itself is the evidence. A worker that is only late costs one question.
 */
const ASK_AFTER_INTERVALS = 1.1;

export function isLate({ silentMs }: Silence, { HEARTBEAT_INTERVAL }: Beats): boolean {
  return silentMs > LATE_AFTER_INTERVALS * HEARTBEAT_INTERVAL;
}

export function isWorthAsking({ silentMs }: Silence, { HEARTBEAT_INTERVAL }: Beats): boolean {
  return silentMs > ASK_AFTER_INTERVALS * HEARTBEAT_INTERVAL;
}

/**
 * Waits at most `restMs` milliseconds, and ends early when one of the workers has been silent long enough to ask
 * Kubernetes about it. It looks whenever the next worker could be that silent, so that a death is noticed between two
 * passes. If Kubernetes cannot be asked, it only waits.
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
  // Load the Kubernetes client while there is time. It takes about a second on a busy node, and a dead worker's tasks
  // would wait for it.
  void pods.prepare();
  const ids = new Set(workerIds);
  while (!signal.aborted) {
    let silences: Silence[];
    try {
      silences = (await presence.silences(workerIds)).filter(({ workerId }) => ids.has(workerId));
    } catch {
      // The next pass asks the same and reports the error.
      break;
    }
    if (silences.some((silence) => isWorthAsking(silence, settings))) return;
    const lookMs = Math.max(WATCH_LOOK_MIN_MS, untilNext(silences, settings));
    if (clock.monotonicMs() + lookMs >= endMs) break;
    await pause(lookMs, signal);
  }
  await pause(Math.max(0, endMs - clock.monotonicMs()), signal);
}

/** Returns the milliseconds until the first worker has been silent for long enough to ask about it, unless it beats. */
function untilNext(silences: readonly Silence[], { HEARTBEAT_INTERVAL }: Beats): number {
  const threshold = ASK_AFTER_INTERVALS * HEARTBEAT_INTERVAL;
  return Math.min(...silences.map(({ silentMs }) => threshold - silentMs)) + 1;
}
