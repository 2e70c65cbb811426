import type { Config } from '../config/env.ts';
import { ABORTED_HANDLERS_MS, CLAIM_LOOP_STALLED_MS, LAST_TURN_MS } from '../config/timings.ts';
import type { Settler } from '../engine/attempts/settler.ts';
import type { Slots } from '../engine/attempts/slots.ts';
import { untilEnded } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import { awaitDatabase } from '../postgres/await-database.ts';
import type { Database } from '../postgres/database.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { ClaimLoop } from './claim-loop.ts';
import type { Executor } from './executor.ts';
import { monotonicNowMs, type Pulse } from './pulse.ts';

export interface WorkerService extends Service {
  /** False when the claim loop has stopped turning, so that only a restart helps. */
  isHealthy(): boolean;
  /** True from the first contact with PostgreSQL until the worker stops claiming. */
  isReady(): boolean;
}

export interface WorkerServiceParts {
  readonly config: Pick<
    Config,
    'DATABASE_ALLOW_UNSAFE_DURABILITY' | 'DATABASE_PREPARED_STATEMENTS' | 'WORKER_QUEUES' | 'SHUTDOWN_GRACE'
  >;
  readonly database: Database;
  readonly claimLoop: ClaimLoop;
  readonly executor: Executor;
  readonly settler: Pick<Settler, 'failed'>;
  readonly slots: Slots;
  readonly pulse: Pulse;
  /** Called when the database must not be used, so that the process has to end. */
  readonly onFatal: (error: unknown) => void;
  readonly log: Logger;
}

/** Claims tasks as soon as PostgreSQL answers. At the end, hands back the tasks that do not finish in time. */
export function createWorkerService(parts: WorkerServiceParts): WorkerService {
  const { config, database, claimLoop, executor, settler, slots, pulse, onFatal, log } = parts;
  const stopping = new AbortController();
  let graceMs = config.SHUTDOWN_GRACE;
  let claiming = false;
  let booting: Promise<void> | undefined;
  let stopped: Promise<void> | undefined;

  // When the settler has given up, it takes no more outcomes, so waiting for them would be pointless.
  settler.failed.catch(() => (graceMs = 0));

  const boot = async (): Promise<void> => {
    try {
      await awaitDatabase(database, config, log, stopping.signal);
      if (stopping.signal.aborted) return;
      await claimLoop.start();
      claiming = true;
      log.info({ queues: config.WORKER_QUEUES, slots: slots.total }, 'worker claims');
    } catch (error) {
      onFatal(error);
    }
  };

  const endClaiming = async (): Promise<void> => {
    await booting;
    await claimLoop.stop();
  };

  const drain = async (): Promise<void> => {
    const graceEndsMs = monotonicNowMs() + graceMs;
    stopping.abort();
    pulse.draining = true;
    claiming = false;
    // A claim loop that hangs on PostgreSQL must not use up the time after the grace period.
    await untilEnded(endClaiming(), Math.max(LAST_TURN_MS, graceMs));
    if (await slots.waitForSettled(graceEndsMs - monotonicNowMs())) return;
    const open = slots.all().filter(({ settled }) => !settled);
    log.warn({ tasks: open.length }, 'grace period is over, handing tasks back');
    for (const attempt of open) attempt.abort('shutting_down');
    await slots.waitForSettled(ABORTED_HANDLERS_MS);
    for (const attempt of open) executor.release(attempt);
  };

  return {
    name: 'worker',
    isHealthy: () => !claiming || monotonicNowMs() - claimLoop.turnedAtMs < CLAIM_LOOP_STALLED_MS,
    isReady: () => claiming,
    async start() {
      // Not awaited: while PostgreSQL is down, the process is up but not ready, and its other services run.
      booting ??= boot();
    },
    stop: () => (stopped ??= drain()),
  };
}
