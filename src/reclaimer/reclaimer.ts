import type { Config } from '../config/env.ts';
import { ALERT_SWEEP_INTERVAL_MS, RECLAIMER_OTHERS_MS } from '../config/timings.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import { messageOf, SchedulerError, StoreUnavailableError } from '../core/errors.ts';
import type { SweepResult } from '../engine/sweep/sweep-result.ts';
import type { Sweeper } from '../engine/sweep/sweep.ts';
import { untilEnded, pause } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';

export interface Reclaimer extends Service {
  /** Runs one pass. Returns null while another process holds the lease. @throws StoreUnavailableError */
  runOnce(): Promise<SweepResult | null>;
  /**
   * Resolves when the window is over, or rejects with `NothingSweptError` if no process completed a pass in it. In a loop
   * it resolves only when the loop is stopped.
   */
  readonly finished: Promise<void>;
}

/** No process completed a successful pass in the whole window. */
export class NothingSweptError extends SchedulerError {
  constructor(why: string, cause: unknown) {
    super('nothing_swept', `no pass succeeded in the whole window: ${why}`, { retryable: true, cause });
  }
}

export interface ReclaimerOptions {
  readonly sweeper: Sweeper;
  readonly settings: Pick<Config, 'SWEEP_INTERVAL' | 'RECLAIMER_WINDOW'>;
  /** Sweeps until stopped, instead of for one window. */
  readonly loop: boolean;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** Sweeps in every interval, sooner while a worker is silent, and at once while a duty is unfinished. */
export function createReclaimer(options: ReclaimerOptions): Reclaimer {
  const { sweeper, settings, loop, log, clock = systemClock } = options;
  const stopping = new AbortController();
  const finished = Promise.withResolvers<void>();
  // The caller of the process handles a rejection. Until it does, Node must not report it as unhandled.
  finished.promise.catch(() => {});
  let running: Promise<void> | undefined;

  const runOnce = (): Promise<SweepResult | null> => sweeper.runOnce('reclaimer', stopping.signal);

  const run = async (): Promise<void> => {
    const sinceMs = clock.monotonicMs();
    let passes = 0;
    let failure: unknown;
    let failed: SweepResult['failed'] = [];
    for (;;) {
      let result: SweepResult | null = null;
      try {
        result = await runOnce();
        if (result?.well === true) passes++;
        else failed = result?.failed ?? failed;
      } catch (error) {
        failure = error;
        logFailedPass(error, log);
      }
      const restMs = loop ? Number.POSITIVE_INFINITY : settings.RECLAIMER_WINDOW - (clock.monotonicMs() - sinceMs);
      if (restMs <= 0 || stopping.signal.aborted) break;
      const pauseMs = Math.min(pauseAfter(result, settings.SWEEP_INTERVAL), restMs);
      await (result === null ? pause(pauseMs, stopping.signal) : sweeper.watch(result, pauseMs, stopping.signal));
      if (stopping.signal.aborted) break;
    }
    log.info({ passes }, 'reclaimer stops sweeping');
    // A job that swept nothing must not look like a successful one.
    if (passes === 0 && !stopping.signal.aborted) {
      const why = await whyNothing(sweeper, clock.monotonicMs() - sinceMs, failed, failure);
      if (why !== null) return finished.reject(new NothingSweptError(why, failure));
    }
    finished.resolve();
  };

  return {
    name: 'reclaimer',
    runOnce,
    finished: finished.promise,
    async start() {
      if (running === undefined) log.info({ loop }, 'reclaimer started');
      running ??= run();
    },
    async stop() {
      stopping.abort();
      await untilEnded(running);
    },
  };
}

/** Returns why nothing was swept; null if another process swept meanwhile, which is fine. */
async function whyNothing(
  sweeper: Sweeper,
  windowMs: number,
  failed: SweepResult['failed'],
  failure: unknown,
): Promise<string | null> {
  try {
    const idleMs = await sweeper.idleMs();
    if (idleMs !== null && idleMs <= windowMs + RECLAIMER_OTHERS_MS) return null;
  } catch (error) {
    return messageOf(failure ?? error);
  }
  if (failure !== undefined) return messageOf(failure);
  return failed.length > 0
    ? `these duties failed: ${failed.join(', ')}`
    : 'another process holds the lease but completes no pass';
}

/** Returns the milliseconds until the next pass, unless a worker falls silent before. */
export function pauseAfter(result: SweepResult | null, intervalMs: number): number {
  if (result?.more === true) return 0;
  return result?.silent === true ? Math.min(ALERT_SWEEP_INTERVAL_MS, intervalMs) : intervalMs;
}

/** Logs a failed pass. An outage of a store has already been logged elsewhere, so it is only a debug line here. */
export function logFailedPass(error: unknown, log: Logger): void {
  if (error instanceof StoreUnavailableError) log.debug({ err: error }, 'pass not finished');
  else log.error({ err: error }, 'pass failed');
}
