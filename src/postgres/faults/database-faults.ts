import { STATEMENT_FAULT_FORGOTTEN_MS } from '../../config/timings.ts';
import { systemClock } from '../../core/clock.ts';
import {
  PoolExhaustedError,
  RefusedDataError,
  StatementTimedOutError,
  StoreUnavailableError,
} from '../../core/errors.ts';
import { createEpisode, type Episode } from '../../telemetry/episode.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Outage } from '../../telemetry/outage.ts';
import { classify, isUnanswered } from './classify.ts';
import { explained } from './explained-error.ts';

/** Which of a process's two pools: that of the hot path, or the one for lists and single reads. */
export type PoolName = 'main' | 'reads';

/**
 * Tells the faults of PostgreSQL apart, each with log lines and a metric of its own: a server that is away, a statement
 * that was ended at its time limit, and a wait for a connection of our own pool, of which the server knows nothing.
 */
export interface DatabaseFaults {
  /** Notes during which statement an error came, for when it is thrown in the end. @returns the error */
  named(error: unknown, statement: string): unknown;
  /** What a failed call is to throw; counts and logs it as what it is. */
  thrown(error: unknown): unknown;
  /** A statement ended in time. */
  answered(statement: string): void;
}

export interface DatabaseFaultsOptions {
  readonly pool: PoolName;
  readonly outage: Outage;
  readonly log: Logger;
  readonly metrics: Metrics | undefined;
  /** Monotonic milliseconds. */
  readonly nowMs?: () => number;
}

/** The name of what has no file: a transaction's own statements. */
const BEGIN_OR_COMMIT = 'transaction';

export function createDatabaseFaults(options: DatabaseFaultsOptions): DatabaseFaults {
  const { pool, outage, log, metrics, nowMs = systemClock.monotonicMs } = options;
  const nameOf = new WeakMap<object, string>();
  /** By the statement's name; only those that are open. */
  const timeOuts = new Map<string, Episode>();
  const poolWaits = createEpisode({
    nowMs,
    onBegin: (err) => log.warn({ err, pool }, 'no connection of the own pool came free in time'),
    onEnd: ({ lastedMs, failures }) => log.info({ pool, lastedMs, failures }, 'connections of the own pool come free'),
  });

  const timedOut = (statement: string, error: unknown): void => {
    metrics?.statementTimeouts.inc({ statement });
    let episode = timeOuts.get(statement);
    if (episode === undefined) {
      episode = createEpisode({
        nowMs,
        forgottenAfterMs: STATEMENT_FAULT_FORGOTTEN_MS,
        onBegin: (err) => log.warn({ err, statement }, 'statement timed out'),
        onEnd({ lastedMs, failures }) {
          timeOuts.delete(statement);
          log.info({ statement, lastedMs, failures }, 'statement ends in time again');
        },
      });
      timeOuts.set(statement, episode);
    }
    episode.failed(error);
  };

  return {
    named(error, statement) {
      if (error instanceof Error) nameOf.set(error, statement);
      return error;
    },
    thrown(failure) {
      const error = explained(failure);
      const kind = classify(error);
      const statement = (error instanceof Error ? nameOf.get(error) : undefined) ?? BEGIN_OR_COMMIT;
      switch (kind) {
        case 'refused':
          return new RefusedDataError(error);
        case 'timed_out':
        case 'locked':
        case 'idled':
          outage.answered();
          timedOut(statement, error);
          return new StatementTimedOutError(error, statement, kind === 'locked');
        case 'pool_exhausted':
          metrics?.poolExhausted.inc({ pool });
          poolWaits.failed(error);
          return new PoolExhaustedError(error);
        case 'unavailable':
          // The server, or what lies between, did not even say that the time was over.
          if (isUnanswered(error)) metrics?.statementTimeouts.inc({ statement });
          outage.failed(error);
          return new StoreUnavailableError('postgresql', error);
        default:
          return error;
      }
    },
    answered(statement) {
      outage.answered();
      if (timeOuts.size > 0) timeOuts.get(statement)?.succeeded();
      if (poolWaits.open) poolWaits.succeeded();
    },
  };
}
