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
import { classify, isUnanswered, keyExists } from './classify.ts';
import { explained } from './explained-error.ts';

/** The two pools of a process: `main` for the hot path, `reads` for lists and single reads. */
export type PoolName = 'main' | 'reads';

/**
 * Tells the faults of PostgreSQL apart. Each has its own log lines and metric: a server that does not answer, a statement
 * that reached its time limit, and a timeout while waiting for a connection of our own pool.
 */
export interface DatabaseFaults {
  /** Remembers the statement during which an error came, for `thrown`. @returns the error */
  named(error: unknown, statement: string): unknown;
  /** Returns the error that a failed call should throw, and counts and logs the fault. */
  thrown(error: unknown): unknown;
  /** Notes that a statement ended in time. */
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

/** Stands for the statements that begin and end a transaction, which have no file and so no name. */
const BEGIN_OR_COMMIT = 'transaction';

export function createDatabaseFaults(options: DatabaseFaultsOptions): DatabaseFaults {
  const { pool, outage, log, metrics, nowMs = systemClock.monotonicMs } = options;
  const nameOf = new WeakMap<object, string>();
  /** Open episodes of timeouts, by the statement's name. */
  const timeOuts = new Map<string, Episode>();
  const poolWaits = createEpisode({
    nowMs,
    onBegin: (err) => log.warn({ err, pool }, 'no connection of the own pool came free in time'),
    onEnd: ({ lastedMs, failures }) =>
      log.info({ pool, lastedMs, failures }, 'connections of the own pool come free in time again'),
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
          return new RefusedDataError(error, keyExists(error));
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
          // The statement timed out at the client, because neither the server nor the network reported anything.
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
