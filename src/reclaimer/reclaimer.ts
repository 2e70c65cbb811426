import type { Config } from '../config/env.ts';
import { ALERT_SWEEP_INTERVAL_MS } from '../config/timings.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { untilEnded, pause } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Sweeper } from './sweep.ts';
import type { SweepResult } from './sweep-result.ts';

export interface Reclaimer extends Service {
  /** One pass; null while somebody else holds the lease. @throws StoreUnavailableError */
  runOnce(): Promise<SweepResult | null>;
  /** Resolves when the window is over; never in a loop. */
  readonly finished: Promise<void>;
}

export interface ReclaimerOptions {
  readonly sweeper: Sweeper;
  readonly settings: Pick<Config, 'SWEEP_INTERVAL' | 'RECLAIMER_WINDOW'>;
  /** Sweeps until stopped, instead of for one window. */
  readonly loop: boolean;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** Sweeps again and again: every interval, sooner while somebody is silent, at once while a duty is not finished. */
export function createReclaimer(options: ReclaimerOptions): Reclaimer {
  const { sweeper, settings, loop, log, clock = systemClock } = options;
  const stopping = new AbortController();
  const finished = Promise.withResolvers<void>();
  let running: Promise<void> | undefined;

  const runOnce = (): Promise<SweepResult | null> => sweeper.runOnce('reclaimer', stopping.signal);

  const run = async (): Promise<void> => {
    const sinceMs = clock.monotonicMs();
    let passes = 0;
    for (;;) {
      let result: SweepResult | null = null;
      try {
        result = await runOnce();
        if (result !== null) passes++;
      } catch (error) {
        logFailedPass(error, log);
      }
      const restMs = loop ? Number.POSITIVE_INFINITY : settings.RECLAIMER_WINDOW - (clock.monotonicMs() - sinceMs);
      if (restMs <= 0 || stopping.signal.aborted) break;
      const pauseMs = Math.min(pauseAfter(result, settings.SWEEP_INTERVAL), restMs);
      await (result === null ? pause(pauseMs, stopping.signal) : sweeper.watch(result, pauseMs, stopping.signal));
      if (stopping.signal.aborted) break;
    }
    log.info({ passes }, 'sweeps are over');
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

/** Milliseconds until the next pass, if nobody falls silent before. */
export function pauseAfter(result: SweepResult | null, intervalMs: number): number {
  if (result?.more === true) return 0;
  return result?.silent === true ? Math.min(ALERT_SWEEP_INTERVAL_MS, intervalMs) : intervalMs;
}

/** A store that is away has been logged where that was noticed. */
export function logFailedPass(error: unknown, log: Logger): void {
  if (error instanceof StoreUnavailableError) log.debug({ err: error }, 'pass not finished');
  else log.error({ err: error }, 'pass failed');
}
