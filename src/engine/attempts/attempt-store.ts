import type { Outcome, SettleVerdict, StartRefusal } from '../../core/outcome.ts';
import type { Priority } from '../../core/priority.ts';
import type { RecordedError } from '../../core/recorded-error.ts';
import type { BackoffPolicy } from '../../core/retry-policy.ts';
import { attemptToken, type StartedTask } from '../../core/task.ts';
import { arrayLiteral } from '../../postgres/array-literal.ts';
import { column } from '../../postgres/column.ts';
import type { Database } from '../../postgres/database.ts';
import { loadSql, type Statement } from '../../postgres/sql.ts';

export type StartResult =
  | { readonly verdict: 'started'; readonly task: StartedTask; readonly waitedMs: number }
  | { readonly verdict: StartRefusal; readonly id: string; readonly waitMs: number };

export interface Settlement {
  readonly id: string;
  readonly attempt: number;
  readonly outcome: Outcome;
  /** Why a failed task goes to the dead letters; null for every other verb. */
  readonly reason: 'retries_exhausted' | 'final_error' | null;
  /** JSON text of the latest progress if it may not have been written yet. */
  readonly progress?: string | null;
}

export interface SettleResult {
  readonly id: string;
  readonly attempt: number;
  readonly verdict: SettleVerdict;
  /** The verb that was written: `abort` if a cancel request was pending; null if stale. */
  readonly verb: Outcome['verb'] | 'abort' | null;
}

export interface Holding {
  readonly id: string;
  readonly attempt: number;
  readonly cancelRequested: boolean;
  readonly queue: string;
  readonly priority: Priority;
  readonly placeMs: number;
  readonly traceId: string;
}

/** The result of an attempt that its own worker gave back as lost. */
export interface ReclaimedOwn {
  readonly verb: 'reclaim' | 'fail' | 'abort';
  /** Number of lost runs of the task, including this one. */
  readonly lost: number;
}

/**
 * Every method throws `StoreUnavailableError` when PostgreSQL did not answer; its effect may still have happened.
 * Every method throws `RefusedDataError` when PostgreSQL refused a row; nothing was written then.
 */
export interface AttemptStore {
  /** Starts tasks. Returns a verdict for every id, in the given order; each id may occur only once. */
  start(ids: readonly string[], workerId: string, lostCap: number, suspectAllowed: boolean): Promise<StartResult[]>;
  /** Writes outcomes. Returns a verdict for each of them, in any order; usually in the given one. */
  settle(workerId: string, settlements: readonly Settlement[]): Promise<SettleResult[]>;
  holdings(workerId: string): Promise<Holding[]>;
  /**
   * Gives back an attempt whose outcome was refused, and counts it as lost.
   * Returns null if the worker does not hold the attempt.
   */
  reclaimOwn(
    workerId: string,
    attempt: { readonly id: string; readonly attempt: number },
    lostCap: number,
    error: RecordedError,
  ): Promise<ReclaimedOwn | null>;
  recordProgress(
    workerId: string,
    entries: readonly { id: string; attempt: number; progress: string }[],
  ): Promise<void>;
}

const START: Statement = { ...loadSql(import.meta.dirname, 'start'), rowMode: 'array' };
const SETTLE: Statement = { ...loadSql(import.meta.dirname, 'settle'), rowMode: 'array' };
const UNSETTLED_VERDICTS = loadSql(import.meta.dirname, 'unsettled-verdicts');
const HOLDINGS = loadSql(import.meta.dirname, 'holdings');
const RECLAIM_OWN = loadSql(import.meta.dirname, 'reclaim-own');
const RECORD_PROGRESS = loadSql(import.meta.dirname, 'record-progress');

export function createAttemptStore(database: Pick<Database, 'run'>): AttemptStore {
  const verdictsOf = (workerId: string, unsettled: readonly Settlement[]): Promise<SettleResult[]> => {
    const ids = unsettled.map(({ id }) => id);
    const attempts = unsettled.map(({ attempt }) => attempt);
    const verbs = unsettled.map(({ outcome }) => outcome.verb);
    return database.run(UNSETTLED_VERDICTS, [workerId, ids, attempts, verbs, ...bounds(ids)]);
  };

  return {
    async start(ids, workerId, lostCap, suspectAllowed) {
      const values = [arrayLiteral(ids), workerId, lostCap, suspectAllowed, ...bounds(ids)];
      const rows = await database.run<StartRow>(START, values);
      return inOrder(rows, ids).map(startResult);
    },

    async settle(workerId, settlements) {
      const ids = settlements.map(({ id }) => id);
      const written = await database.run<SettleRow>(SETTLE, [
        workerId,
        arrayLiteral(ids),
        arrayLiteral(settlements.map(({ attempt }) => attempt)),
        // Verbs are single words, which need no quotes either.
        `{${settlements.map(({ outcome }) => outcome.verb).join(',')}}`,
        column(settlements.map(({ outcome }) => (outcome.verb === 'retry' ? outcome.delayMs : null))),
        column(settlements.map(({ reason }) => reason)),
        column(settlements.map(({ outcome }) => ('error' in outcome ? JSON.stringify(outcome.error) : null))),
        column(settlements.map(({ outcome }) => ('result' in outcome ? outcome.result : null))),
        ...bounds(ids),
        column(settlements.map(({ progress }) => progress ?? null)),
      ]);
      const settled = written.map(([id, attempt, verb]): SettleResult => ({ id, attempt, verdict: 'settled', verb }));
      if (settled.length === settlements.length) return settled;
      const tokens = new Set(settled.map(attemptToken));
      const unsettled = settlements.filter((settlement) => !tokens.has(attemptToken(settlement)));
      return [...settled, ...(await verdictsOf(workerId, unsettled))];
    },

    async holdings(workerId) {
      const rows = await database.run<HoldingRow>(HOLDINGS, [workerId]);
      return rows.map(({ cancel_requested, place_ms, trace_id, ...row }) => ({
        ...row,
        cancelRequested: cancel_requested,
        placeMs: place_ms,
        traceId: trace_id,
      }));
    },

    async reclaimOwn(workerId, { id, attempt }, lostCap, error) {
      const values = [workerId, id, attempt, lostCap, JSON.stringify(error)];
      const [row] = await database.run<ReclaimedOwn>(RECLAIM_OWN, values);
      return row ?? null;
    },

    async recordProgress(workerId, entries) {
      const ids = entries.map(({ id }) => id);
      const attempts = entries.map(({ attempt }) => attempt);
      await database.run(RECORD_PROGRESS, [workerId, ids, attempts, entries.map(({ progress }) => progress)]);
    },
  };
}

interface HoldingRow extends Omit<Holding, 'cancelRequested' | 'placeMs' | 'traceId'> {
  readonly cancel_requested: boolean;
  readonly place_ms: number;
  readonly trace_id: string;
}

/** A row of settle.sql. */
type SettleRow = readonly [id: string, attempt: number, verb: SettleResult['verb']];

/** A row of start.sql: its columns in their order. */
type StartRow = readonly [
  id: string,
  verdict: 'started' | StartRefusal,
  waitMs: number | null,
  queue: string,
  action: string | null,
  payload: string,
  priority: Priority,
  group: string | null,
  placeMs: number,
  executionTimeSeconds: number | null,
  attempt: number,
  failures: number,
  lost: number,
  maxRetries: number,
  backoff: string | null,
  timeoutMs: number,
  metadata: string | null,
  traceId: string,
  traceparent: string | null,
  waitedMs: number | null,
];

function startResult(row: StartRow): StartResult {
  const verdict = row[1];
  if (verdict !== 'started') return { verdict, id: row[0], waitMs: row[2] ?? 0 };
  const backoff = row[14];
  const metadata = row[16];
  const task: StartedTask = {
    id: row[0],
    queue: row[3],
    action: row[4],
    payload: row[5],
    priority: row[6],
    group: row[7],
    placeMs: row[8],
    executionTimeSeconds: row[9],
    attempt: row[10],
    failures: row[11],
    lost: row[12],
    maxRetries: row[13],
    backoff: backoff === null ? null : (JSON.parse(backoff) as BackoffPolicy),
    timeoutMs: row[15],
    metadata: metadata === null ? null : (JSON.parse(metadata) as Record<string, string>),
    traceId: row[17],
    traceparent: row[18],
  };
  return { verdict, task, waitedMs: row[19] ?? 0 };
}

/** Returns the rows in the order of the ids. They usually are in this order already. */
function inOrder(rows: StartRow[], ids: readonly string[]): StartRow[] {
  if (rows.every(([id], i) => id === ids[i])) return rows;
  const byId = new Map(rows.map((row) => [row[0], row]));
  return ids.flatMap((id) => {
    const row = byId.get(id);
    // Not `?? []`: a row is an array itself.
    return row === undefined ? [] : [row];
  });
}

/**
 * Returns the smallest and the greatest id, or nulls for an empty list.
 * With these bounds the planner leaves out the partitions of other days.
 */
function bounds(ids: readonly string[]): [string | null, string | null] {
  let least: string | null = null;
  let greatest: string | null = null;
  for (const id of ids) {
    if (least === null || id < least) least = id;
    if (greatest === null || id > greatest) greatest = id;
  }
  return [least, greatest];
}
