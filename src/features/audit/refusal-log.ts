import { REFUSALS_WRITE_INTERVAL_MS } from '../../config/access-timings.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { messageOf, RefusedDataError, StoreUnavailableError } from '../../core/errors.ts';
import type { Refusal, RefusalLog } from '../../http/access/refusals.ts';
import { createLoop, untilEnded } from '../../lifecycle/loop.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { Database } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';

/** Most groups of equal refusals that wait to be written. Clients and actions are few, so more of them are unusual. */
const GROUPS_MAX = 1_000;

export interface RefusalLogOptions {
  readonly database: Pick<Database, 'run'>;
  readonly metrics: Pick<Metrics, 'refusalsDropped'>;
  readonly log: Logger;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
  readonly groupsMax?: number;
}

export interface RefusalLogService extends RefusalLog, Service {
  /** Writes what has been noted. Keeps what could not be written, for the next time. Throws unforeseen errors. */
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
 * thousands of times a second costs no more than one row a minute. What cannot be written is kept, within a bound, and
 * tried again: neither an outage nor a fault of the server hides what was refused meanwhile.
 */
export function createRefusalLog(options: RefusalLogOptions): RefusalLogService {
  const { database, metrics, log, clock = systemClock } = options;
  let left = 0;
  const groups = createGroups(options.groupsMax ?? GROUPS_MAX, (count) => {
    left += count;
    metrics.refusalsDropped.inc(count);
  });
  /** The error of the last write, so that one that lasts is logged once. */
  let failure: string | null = null;

  /** Writes groups, and removes what is done from `waiting`. Halves them around one that PostgreSQL refuses. */
  const writeGroups = async (waiting: Set<Group>, part: readonly Group[]): Promise<void> => {
    try {
      await database.run(NOTE_REFUSALS, valuesOf(part, clock.monotonicMs()));
    } catch (error) {
      if (!(error instanceof RefusedDataError)) throw error;
      if (part.length > 1) {
        const half = Math.ceil(part.length / 2);
        await writeGroups(waiting, part.slice(0, half));
        await writeGroups(waiting, part.slice(half));
        return;
      }
      const [{ count }] = part as [Group];
      metrics.refusalsDropped.inc(count);
      log.error({ err: error, refusals: count }, 'the audit log has left out refusals: PostgreSQL refuses their text');
    }
    for (const group of part) waiting.delete(group);
  };

  const write = async (): Promise<void> => {
    if (left > 0) log.warn({ refusals: left }, 'the audit log has left out refusals: too many different ones');
    left = 0;
    const waiting = groups.take();
    if (waiting.size === 0) return;
    try {
      await writeGroups(waiting, [...waiting]);
      failure = null;
    } catch (error) {
      groups.putBack(waiting);
      if (!(error instanceof StoreUnavailableError)) throw error;
    }
  };

  const onError = (error: unknown): void => {
    const level = failure === messageOf(error) ? 'debug' : 'error';
    failure = messageOf(error);
    log[level]({ err: error }, 'refusals could not be written into the audit log; they are kept and tried again');
  };
  const intervalMs = REFUSALS_WRITE_INTERVAL_MS;
  const loop = createLoop({ name: 'refusals', intervalMs, jitter: 0.2, runOnce: write, onError });
  let last: Promise<void> | undefined;

  return {
    ...loop,
    note: (refusal) => groups.add({ first: refusal, sinceMs: clock.monotonicMs(), count: 1 }),
    write,
    async stop() {
      await loop.stop();
      last ??= write().catch(onError);
      await untilEnded(last);
      const lost = [...groups.take()].reduce((sum, { count }) => sum + count, 0);
      if (lost > 0) log.warn({ refusals: lost }, 'the process ends before these refusals are in the audit log');
    },
  };
}

/** Groups that wait to be written. @param onDropped called with the refusals that found no room */
function createGroups(most: number, onDropped: (refusals: number) => void) {
  let groups = new Map<string, Group>();
  const add = (added: Group): void => {
    const { action, code, client } = added.first;
    const key = `${action} ${code} ${client}`;
    const group = groups.get(key);
    if (group !== undefined) group.count += added.count;
    else if (groups.size < most) groups.set(key, { ...added });
    else onDropped(added.count);
  };
  const take = (): Set<Group> => {
    const taken = new Set(groups.values());
    groups = new Map();
    return taken;
  };
  return {
    add,
    take,
    /** Those that were noted meanwhile are younger, so they are counted to these. */
    putBack(older: ReadonlySet<Group>): void {
      const younger = take();
      for (const group of [...older, ...younger]) add(group);
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
