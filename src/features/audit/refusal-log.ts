import { REFUSALS_WRITE_INTERVAL_MS } from '../../config/access-timings.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { Refusal, RefusalLog } from '../../http/access/refusals.ts';
import { createLoop, untilEnded } from '../../lifecycle/loop.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { Database } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';
import type { Logger } from '../../telemetry/logger.ts';

/** Most groups of equal refusals that wait to be written. Clients and actions are few, so more of them are unusual. */
const GROUPS_MAX = 1_000;

export interface RefusalLogOptions {
  readonly database: Pick<Database, 'run'>;
  readonly log: Logger;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
  readonly groupsMax?: number;
}

export interface RefusalLogService extends RefusalLog, Service {
  /** Writes what has been noted. Keeps it if PostgreSQL does not answer. */
  write(): Promise<void>;
}

/** Equal refusals: same client, action and code. The rest is that of the first. */
interface Group {
  readonly first: Refusal;
  readonly sinceMs: number;
  count: number;
}

const NOTE_REFUSALS = loadSql(import.meta.dirname, 'note-refusals');

/**
 * Writes refusals into the audit log every few seconds. Equal ones are counted, so that a client that is refused
 * thousands of times a second costs no more than one row a minute.
 */
export function createRefusalLog(options: RefusalLogOptions): RefusalLogService {
  const { database, log, clock = systemClock, groupsMax = GROUPS_MAX } = options;
  const groups = new Map<string, Group>();
  let left = 0;

  const add = (first: Refusal, sinceMs: number, count: number): void => {
    const key = `${first.action} ${first.code} ${first.client}`;
    const group = groups.get(key);
    if (group !== undefined) group.count += count;
    else if (groups.size < groupsMax) groups.set(key, { first, sinceMs, count });
    else left += count;
  };

  const write = async (): Promise<void> => {
    if (left > 0) log.warn({ refusals: left }, 'the audit log has left out refusals: too many different ones');
    left = 0;
    if (groups.size === 0) return;
    const taken = [...groups.values()];
    groups.clear();
    try {
      await database.run(NOTE_REFUSALS, valuesOf(taken, clock.monotonicMs()));
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      // Refusals that were noted meanwhile are younger, so they are counted to these.
      const younger = [...groups.values()];
      groups.clear();
      for (const { first, sinceMs, count } of [...taken, ...younger]) add(first, sinceMs, count);
    }
  };

  const onError = (error: unknown): void =>
    log.error({ err: error }, 'refusals could not be written into the audit log');
  const loop = createLoop({
    name: 'refusals',
    intervalMs: REFUSALS_WRITE_INTERVAL_MS,
    jitter: 0.2,
    runOnce: write,
    onError,
  });
  let last: Promise<void> | undefined;

  return {
    ...loop,
    note: (refusal) => add(refusal, clock.monotonicMs(), 1),
    write,
    async stop() {
      await loop.stop();
      last ??= write().catch(onError);
      await untilEnded(last);
    },
  };
}

function valuesOf(groups: readonly Group[], nowMs: number): unknown[] {
  const column = <Value>(of: (group: Group) => Value): Value[] => groups.map(of);
  return [
    column(({ first }) => first.client),
    column(({ first }) => first.action),
    column(({ first }) => first.code),
    column(({ first }) => first.object),
    column(({ first }) => first.address),
    column(({ first }) => first.traceId),
    column(({ count }) => count),
    column(({ sinceMs }) => nowMs - sinceMs),
  ];
}
