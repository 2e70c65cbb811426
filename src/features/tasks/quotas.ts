import { QUOTA_COUNT_MS } from '../../config/timings.ts';
import type { Client } from '../../core/access/client.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { Problem } from '../../http/problem.ts';
import type { Database } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** Keeps clients within their quota of unfinished tasks. Clients without a quota cost nothing. */
export interface Quotas {
  /**
   * Admits new tasks of a client. The number of its unfinished tasks is counted every few seconds, and this process adds
   * what it has admitted since. Several API processes together may admit more than the quota during that time.
   * @returns null if the client has no quota; otherwise a promise that rejects with a Problem `quota_exceeded`, or with
   *   `StoreUnavailableError`
   */
  admit(client: Client, tasks: number): Promise<GiveBack> | null;
}

/** Gives back tasks that were admitted, but not created. */
type GiveBack = (tasks: number) => void;

export interface QuotasOptions {
  /** Counts the unfinished tasks of a client, up to `most`. */
  readonly count: (client: string, most: number) => Promise<number>;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
}

/** Counting many tasks takes long. The count is then used for this many times as long as it took. */
const USED_FOR_TIMES = 20;

/** Clients whose counts are kept. The least recently counted are dropped first. */
const CLIENTS_MAX = 10_000;

interface Count {
  /** Unfinished tasks when they were counted. Pending while they are being counted. */
  counted: Promise<number>;
  /** Tasks admitted since the count began; the count may or may not include them. */
  admitted: number;
  /** Monotonic milliseconds until which the count is used. Unknown while tasks are being counted. */
  untilMs: number;
}

export function createQuotas({ count, clock = systemClock }: QuotasOptions): Quotas {
  const counts = new Map<string, Count>();

  const begin = (name: string, most: number): Count => {
    const counting: Count = { counted: Promise.resolve(0), admitted: 0, untilMs: Number.POSITIVE_INFINITY };
    counting.counted = countNow(counting, name, most);
    counts.delete(name);
    counts.set(name, counting);
    if (counts.size > CLIENTS_MAX) counts.delete(counts.keys().next().value as string);
    return counting;
  };

  const countNow = async (counting: Count, name: string, most: number): Promise<number> => {
    const sinceMs = clock.monotonicMs();
    try {
      const counted = await count(name, most + 1);
      const nowMs = clock.monotonicMs();
      counting.untilMs = nowMs + Math.max(QUOTA_COUNT_MS, USED_FOR_TIMES * (nowMs - sinceMs));
      return counted;
    } catch (error) {
      // Whoever waits for the count gets the error. The next request counts again.
      counting.untilMs = Number.NEGATIVE_INFINITY;
      throw error;
    }
  };

  const admitWithin = async (name: string, most: number, tasks: number): Promise<GiveBack> => {
    const last = counts.get(name);
    const current = last !== undefined && clock.monotonicMs() < last.untilMs ? last : begin(name, most);
    const counted = await current.counted;
    const unfinished = counted + current.admitted;
    if (unfinished + tasks > most) throw quotaExceeded(unfinished, tasks, most);
    current.admitted += tasks;
    return (back) => {
      current.admitted -= back;
    };
  };

  return {
    admit: ({ name, limits: { unfinishedMax } }, tasks) =>
      unfinishedMax === null ? null : admitWithin(name, unfinishedMax, tasks),
  };
}

/**
 * Submits tasks of a client within its quota. Tasks that were not created do not count.
 * @throws Problem `quota_exceeded`; the errors of `submit`
 */
export function withinQuota<Submitted extends { readonly created: number }>(
  quotas: Quotas,
  client: Client,
  tasks: number,
  submit: () => Promise<Submitted>,
): Promise<Submitted> {
  const admitted = quotas.admit(client, tasks);
  // Most clients have no quota, and do not even pay for another promise.
  return admitted === null ? submit() : submitAdmitted(admitted, tasks, submit);
}

async function submitAdmitted<Submitted extends { readonly created: number }>(
  admitted: Promise<GiveBack>,
  tasks: number,
  submit: () => Promise<Submitted>,
): Promise<Submitted> {
  const giveBack = await admitted;
  try {
    const submitted = await submit();
    giveBack(tasks - submitted.created);
    return submitted;
  } catch (error) {
    // After an outage, the tasks may have been stored. The next count will tell.
    if (!(error instanceof StoreUnavailableError)) giveBack(tasks);
    throw error;
  }
}

function quotaExceeded(unfinished: number, tasks: number, most: number): Problem {
  const has = `${Math.min(unfinished, most)}${unfinished > most ? ' or more' : ''}`;
  return new Problem(
    'quota_exceeded',
    `the client has ${has} unfinished tasks, and may have ${most}; this request has ${tasks}`,
    { headers: { 'Retry-After': String(Math.ceil(QUOTA_COUNT_MS / 1_000)) } },
  );
}

const COUNT_UNFINISHED = loadSql(import.meta.dirname, 'count-unfinished');

/** Counts in PostgreSQL. */
export function countUnfinished({ run }: Pick<Database, 'run'>): QuotasOptions['count'] {
  return async (client, most) => {
    const [row] = await run<{ count: number }>(COUNT_UNFINISHED, [client, most]);
    return row?.count ?? 0;
  };
}
