import { BATCH_PATIENCE_MS, KEY_PATIENCE_MS } from '../config/timings.ts';
import { QueuesMissingError, SchedulerError } from '../core/errors.ts';
import type { RecordedError } from '../core/recorded-error.ts';
import type { Outcome, SettleVerdict, StartRefusal } from '../core/outcome.ts';
import type { Priority } from '../core/priority.ts';
import { idMilliseconds } from '../core/ids.ts';
import type { BackoffPolicy } from '../core/retry-policy.ts';
import { DEFAULT_QUEUE, type StartedTask, type Submission } from '../core/task.ts';
import { arrayLiteral } from './array-literal.ts';
import type { Database, Run } from './database.ts';
import { ensureQueues, type NewQueues } from './new-queues.ts';
import { loadSql } from './sql.ts';

/** What became of one submission. */
export type SubmitResult =
  | { readonly kind: 'created'; readonly waitMs: number }
  | { readonly kind: 'replayed'; readonly taskId: string; readonly answer: string }
  | { readonly kind: 'mismatch' };

const NO_NEW_QUEUES: NewQueues = { names: [], most: 0 };

export type StartResult =
  | { readonly verdict: 'started'; readonly task: StartedTask; readonly waitedMs: number }
  | { readonly verdict: StartRefusal; readonly id: string; readonly waitMs: number };

export interface Settlement {
  readonly id: string;
  readonly attempt: number;
  readonly outcome: Outcome;
  /** Why a failed task is buried; null for every other verb. */
  readonly reason: 'retries_exhausted' | 'final_error' | null;
  /** JSON text of the latest progress, where it may not have been written yet. */
  readonly progress?: string | null;
}

export interface SettleResult {
  readonly id: string;
  readonly attempt: number;
  readonly verdict: SettleVerdict;
  /** The verb that was written, `abort` where a cancel request stood; null if stale. */
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

/** What became of an attempt that its own worker gave back as lost. */
export interface ReclaimedOwn {
  readonly verb: 'reclaim' | 'fail' | 'abort';
  /** Lost runs of the task, this one included. */
  readonly lost: number;
}

/**
 * The hot path's statements. Every method throws `StoreUnavailableError` when
 * PostgreSQL did not answer, in which case its effect may have happened, and
 * `RefusedDataError` when it refused a row, in which case nothing has.
 */
export interface TaskStore {
  /**
   * Commits submissions; each key may occur once. Repeating it with the same ids changes nothing.
   * @throws QueuesMissingError nothing was done, since queues have no row (any more)
   * @throws StatementTimedOutError `locked` when somebody held the lock of a key for longer than `KEY_PATIENCE_MS`
   */
  submit(submissions: readonly Submission[]): Promise<SubmitResult[]>;
  /**
   * The same, all or nothing: with any mismatch among the results, nothing was committed, not even the new queues.
   * @throws QueuesExceededError
   * @throws QueuesMissingError a queue was deleted in this moment, or is not among the new ones and has no row
   */
  submitAll(submissions: readonly Submission[], newQueues?: NewQueues): Promise<SubmitResult[]>;
  /** Gives a verdict for every id, in the given order; each id may occur once. */
  start(ids: readonly string[], workerId: string, lostCap: number, suspectAllowed: boolean): Promise<StartResult[]>;
  settle(workerId: string, settlements: readonly Settlement[]): Promise<SettleResult[]>;
  holdings(workerId: string): Promise<Holding[]>;
  /** Gives an attempt back whose outcome was refused, and charges it as lost; null if the worker does not hold it. */
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

const SUBMIT = loadSql('submit');
const FIND_KEYS = loadSql('find-idempotency-keys');
const START = loadSql('start');
const SETTLE = loadSql('settle');
const HOLDINGS = loadSql('holdings');
const RECLAIM_OWN = loadSql('reclaim-own');
const RECORD_PROGRESS = loadSql('record-progress');

/** A record may vanish between the insert and the look-up (expired, rolled back); then the insert is repeated. */
const KEY_ROUNDS = 3;

export function createTaskStore(database: Database, keyTtlMs: number): TaskStore {
  const submitWith = (run: Run, submissions: readonly Submission[], patienceMs: number) =>
    submitRounds(run, submissions, { keyTtlMs, patienceMs });

  return {
    submit: (submissions) => submitWith(database.run, submissions, KEY_PATIENCE_MS),

    async submitAll(submissions, newQueues = NO_NEW_QUEUES) {
      const parts = partsOf(submissions);
      // Without keys one statement is all or nothing by itself.
      const isPlain = submissions.every((submission) => submission.idempotency === null);
      if (newQueues.names.length === 0 && isPlain && parts.length === 1)
        return submitWith(database.run, submissions, BATCH_PATIENCE_MS);
      const mismatches = new MismatchRollback();
      try {
        return await database.transaction(async (run) => {
          await ensureQueues(run, newQueues);
          const times = { keyTtlMs, patienceMs: BATCH_PATIENCE_MS };
          mismatches.results = await submitInParts(run, submissions, parts, times);
          if (mismatches.results.some((result) => result.kind === 'mismatch')) throw mismatches;
          return mismatches.results;
        });
      } catch (error) {
        if (error === mismatches) return mismatches.results;
        throw error;
      }
    },

    async start(ids, workerId, lostCap, suspectAllowed) {
      const rows = await database.run<StartRow>(START, [ids, workerId, lostCap, suspectAllowed, ...bounds(ids)]);
      return rows.map(startResult);
    },

    settle: (workerId, settlements) =>
      database.run<SettleResult>(SETTLE, [
        workerId,
        settlements.map(({ id }) => id),
        settlements.map(({ attempt }) => attempt),
        settlements.map(({ outcome }) => outcome.verb),
        settlements.map(({ outcome }) => (outcome.verb === 'retry' ? outcome.delayMs : null)),
        settlements.map(({ reason }) => reason),
        settlements.map(({ outcome }) => ('error' in outcome ? JSON.stringify(outcome.error) : null)),
        settlements.map(({ outcome }) => ('result' in outcome ? outcome.result : null)),
        ...bounds(settlements.map(({ id }) => id)),
        settlements.map(({ progress }) => progress ?? null),
      ]),

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

/** Most tasks of one statement, and the characters with which it is full: writing it holds the event loop. */
const PART_TASKS = 1_000;
const PART_LENGTH = 1_048_576;

/** Parts for a statement each. Keys in their order, over all parts too: two batches with the same keys must not wait for each other. */
function partsOf(submissions: readonly Submission[]): Submission[][] {
  const parts: Submission[][] = [[]];
  let length = 0;
  const keyOf = ({ idempotency }: Submission): string => idempotency?.key ?? '';
  for (const submission of submissions.toSorted((a, b) => Number(keyOf(a) > keyOf(b)) - Number(keyOf(a) < keyOf(b)))) {
    const { task, idempotency } = submission;
    const own = task.payload.length + (idempotency?.answer.length ?? 0);
    const isFull = (parts.at(-1)?.length ?? 0) >= PART_TASKS || length + own > PART_LENGTH;
    if (isFull && length > 0) {
      parts.push([]);
      length = 0;
    }
    parts.at(-1)?.push(submission);
    length += own;
  }
  return parts;
}

/** In the order in which they were given. */
async function submitInParts(
  run: Run,
  submissions: readonly Submission[],
  parts: readonly (readonly Submission[])[],
  times: SubmitTimes,
): Promise<SubmitResult[]> {
  const results = new Map<string, SubmitResult>();
  for (const part of parts) {
    const ofPart = await submitRounds(run, part, times);
    for (const [i, { task }] of part.entries()) results.set(task.id, ofPart[i] as SubmitResult);
  }
  return submissions.map(({ task }) => results.get(task.id) as SubmitResult);
}

/** One of our own errors, or `Database` would take it for an outage. */
class MismatchRollback extends SchedulerError {
  results: SubmitResult[] = [];

  constructor() {
    super('idempotency_mismatch', 'a key of the batch belongs to another request');
  }
}

const STANDS_AND_IS_READY = { stands: true, wait_ms: 0 };

interface SubmitTimes {
  readonly keyTtlMs: number;
  /** How long a statement with keys waits for a lock. */
  readonly patienceMs: number;
}

async function submitRounds(run: Run, submissions: readonly Submission[], times: SubmitTimes): Promise<SubmitResult[]> {
  const results = new Map<string, SubmitResult>();
  let open = submissions;
  for (let round = 0; open.length > 0 && round < KEY_ROUNDS; round++) {
    const rows = await insertSubmissions(run, open, times);
    const missing = rows.flatMap((row) => row.missing ?? []);
    if (missing.length > 0) throw new QueuesMissingError(missing);
    const told = new Map(rows.map((row) => [row.id, row]));
    // What the statement does not speak of stands like most: without a key, and free to start at once.
    for (const { task } of open) {
      const { stands, wait_ms: waitMs } = told.get(task.id) ?? STANDS_AND_IS_READY;
      if (stands) results.set(task.id, { kind: 'created', waitMs });
    }
    open = open.filter(({ task }) => !results.has(task.id));
    if (open.length > 0) await resolveTakenKeys(run, open, results);
    open = open.filter(({ task }) => !results.has(task.id));
  }
  if (open.length > 0) throw new Error(`idempotency keys could not be resolved in ${KEY_ROUNDS} rounds`);
  return submissions.map(({ task }) => results.get(task.id) as SubmitResult);
}

function insertSubmissions(
  run: Run,
  submissions: readonly Submission[],
  { keyTtlMs, patienceMs }: SubmitTimes,
): Promise<{ id: string; stands: boolean; wait_ms: number; missing: string | null }[]> {
  const tasks = submissions.map(({ task }) => task);
  const records = submissions.map(({ idempotency }) => idempotency);
  const queues = new Set(tasks.map(({ queue }) => queue));
  // It is never deleted: its row, which most submissions would share, need not be locked.
  queues.delete(DEFAULT_QUEUE);
  return run(SUBMIT, [
    arrayLiteral(tasks.map(({ id }) => id)),
    tasks.map(({ queue }) => queue),
    tasks.map(({ action }) => action),
    tasks.map(({ payload }) => payload),
    arrayLiteral(tasks.map(({ priority }) => priority)),
    arrayLiteral(tasks.map(({ id }) => idMilliseconds(id))),
    arrayLiteral(tasks.map(({ runAtMs }) => runAtMs)),
    arrayLiteral(tasks.map(({ executionTimeSeconds }) => executionTimeSeconds)),
    arrayLiteral(tasks.map(({ maxRetries }) => maxRetries)),
    tasks.map(({ backoff }) => (backoff === null ? null : JSON.stringify(backoff))),
    arrayLiteral(tasks.map(({ timeoutMs }) => timeoutMs)),
    tasks.map(({ metadata }) => (metadata === null ? null : JSON.stringify(metadata))),
    tasks.map(({ traceId }) => traceId),
    tasks.map(({ traceparent }) => traceparent),
    records.map((record) => record?.key ?? null),
    records.map((record) => record?.requestHash ?? null),
    records.map((record) => record?.answer ?? null),
    keyTtlMs,
    records.some((record) => record !== null) ? String(patienceMs) : null,
    [...queues],
  ]);
}

interface KeyRow {
  readonly key: string;
  readonly same: boolean;
  readonly task_id: string;
  /** Null for another request. */
  readonly answer: string | null;
}

/** What the insert left out has a key that was taken before: by the same request or by another. */
async function resolveTakenKeys(
  run: Run,
  open: readonly Submission[],
  results: Map<string, SubmitResult>,
): Promise<void> {
  const records = open.map(({ idempotency }) => idempotency);
  const rows = await run<KeyRow>(FIND_KEYS, [
    records.map((record) => record?.key),
    records.map((record) => record?.requestHash),
  ]);
  const byKey = new Map(rows.map((row) => [row.key, row]));
  for (const { task, idempotency } of open) {
    const row = idempotency === null ? undefined : byKey.get(idempotency.key);
    if (row === undefined || idempotency === null) continue;
    const { same, task_id: taskId, answer } = row;
    results.set(task.id, same && answer !== null ? { kind: 'replayed', taskId, answer } : { kind: 'mismatch' });
  }
}

interface HoldingRow extends Omit<Holding, 'cancelRequested' | 'placeMs' | 'traceId'> {
  readonly cancel_requested: boolean;
  readonly place_ms: number;
  readonly trace_id: string;
}

interface StartRow {
  readonly id: string;
  readonly verdict: 'started' | StartRefusal;
  readonly wait_ms: number | null;
  readonly queue: string;
  readonly action: string | null;
  readonly payload: string;
  readonly priority: Priority;
  readonly place_ms: number;
  readonly execution_time: number | null;
  readonly attempt: number;
  readonly failures: number;
  readonly lost: number;
  readonly max_retries: number;
  readonly backoff: string | null;
  readonly timeout_ms: number;
  readonly metadata: string | null;
  readonly trace_id: string;
  readonly traceparent: string | null;
  readonly waited_ms: number | null;
}

function startResult(row: StartRow): StartResult {
  if (row.verdict !== 'started') return { verdict: row.verdict, id: row.id, waitMs: row.wait_ms ?? 0 };
  const task: StartedTask = {
    id: row.id,
    queue: row.queue,
    action: row.action,
    payload: row.payload,
    priority: row.priority,
    placeMs: row.place_ms,
    executionTimeSeconds: row.execution_time,
    attempt: row.attempt,
    failures: row.failures,
    lost: row.lost,
    maxRetries: row.max_retries,
    backoff: row.backoff === null ? null : (JSON.parse(row.backoff) as BackoffPolicy),
    timeoutMs: row.timeout_ms,
    metadata: row.metadata === null ? null : (JSON.parse(row.metadata) as Record<string, string>),
    traceId: row.trace_id,
    traceparent: row.traceparent,
  };
  return { verdict: 'started', task, waitedMs: row.waited_ms ?? 0 };
}

/** The least and the greatest of ids, null of none: with them the planner leaves out the partitions of other days. */
function bounds(ids: readonly string[]): [string | null, string | null] {
  let least: string | null = null;
  let greatest: string | null = null;
  for (const id of ids) {
    if (least === null || id < least) least = id;
    if (greatest === null || id > greatest) greatest = id;
  }
  return [least, greatest];
}
