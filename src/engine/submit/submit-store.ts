import { BATCH_PATIENCE_MS, KEY_PATIENCE_MS } from '../../config/timings.ts';
import { QueuesMissingError, SchedulerError } from '../../core/errors.ts';
import { idMilliseconds } from '../../core/ids.ts';
import { DEFAULT_QUEUE, type Submission } from '../../core/task.ts';
import { arrayLiteral } from '../../postgres/array-literal.ts';
import { column } from '../../postgres/column.ts';
import type { Database, Run } from '../../postgres/database.ts';
import { loadSql, loadSqlWithout } from '../../postgres/sql.ts';
import { ensureQueues, type NewQueues } from './new-queues.ts';
import { scopedKey } from './scoped-key.ts';

/** The result of one submission. */
export type SubmitResult =
  | { readonly kind: 'created'; readonly waitMs: number }
  | { readonly kind: 'replayed'; readonly taskId: string; readonly answer: string }
  | { readonly kind: 'mismatch' };

const NO_NEW_QUEUES: NewQueues = { names: [], most: 0 };

/**
 * Every method throws `StoreUnavailableError` when PostgreSQL did not answer; its effect may still have happened.
 * Every method throws `RefusedDataError` when PostgreSQL refused a row; nothing was written then.
 */
export interface SubmitStore {
  /**
   * Commits submissions; each scoped key may occur only once. A repeated call with the same ids changes nothing.
   * @throws QueuesMissingError queues have no row (any more); nothing was written
   * @throws StatementTimedOutError with `locked` if another transaction locked a key for longer than `KEY_PATIENCE_MS`
   */
  submit(submissions: readonly Submission[]): Promise<SubmitResult[]>;
  /**
   * Commits all submissions or none. If any result is a mismatch, nothing was committed, not even the new queues.
   * @throws QueuesExceededError
   * @throws QueuesMissingError a queue was deleted at this moment, or has no row and is not one of the new queues
   */
  submitAll(submissions: readonly Submission[], newQueues?: NewQueues): Promise<SubmitResult[]>;
}

const SUBMIT = loadSql(import.meta.dirname, 'submit');
/** For tasks without metadata. */
const SUBMIT_WITHOUT_PAIRS = loadSqlWithout(import.meta.dirname, 'submit', 'pairs');
const FIND_KEYS = loadSql(import.meta.dirname, 'find-idempotency-keys');

/** Most tries of an insert: a record that blocked it may vanish (expired, rolled back) before the look-up finds it. */
const KEY_ROUNDS = 3;

export function createSubmitStore(database: Pick<Database, 'run' | 'transaction'>, keyTtlMs: number): SubmitStore {
  const submitWith = (run: Run, submissions: readonly Submission[], patienceMs: number) =>
    submitRounds(run, submissions, { keyTtlMs, patienceMs });

  return {
    submit: (submissions) => submitWith(database.run, submissions, KEY_PATIENCE_MS),

    async submitAll(submissions, newQueues = NO_NEW_QUEUES) {
      const parts = partsOf(submissions);
      // Without keys a single statement needs no transaction: it commits everything or nothing.
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
  };
}

/** Most tasks and most characters of one statement. Serializing a larger one would block the event loop for long. */
const PART_TASKS = 1_000;
const PART_LENGTH = 1_048_576;

/**
 * Splits submissions into one part for each statement. Submissions are sorted by key and id across all parts, so that two
 * batches with the same keys or tasks cannot deadlock.
 */
function partsOf(submissions: readonly Submission[]): Submission[][] {
  const parts: Submission[][] = [[]];
  let length = 0;
  const keyOf = (submission: Submission): string => scopedKey(submission) ?? '';
  const orderOf = (a: string, b: string): number => Number(a > b) - Number(a < b);
  for (const submission of submissions.toSorted(
    (a, b) => orderOf(keyOf(a), keyOf(b)) || orderOf(a.task.id, b.task.id),
  )) {
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

/** Commits the parts. Returns the results in the order of `submissions`. */
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

/**
 * Thrown to roll back a transaction. A `SchedulerError`, because `Database` would treat any other error as an outage.
 */
class MismatchRollback extends SchedulerError {
  results: SubmitResult[] = [];

  constructor() {
    super('idempotency_mismatch', 'a key of the batch belongs to another request');
  }
}

const STANDS_AND_IS_READY = { stands: true, wait_ms: 0 };

interface SubmitTimes {
  readonly keyTtlMs: number;
  /** Milliseconds that a statement with keys waits for a lock. */
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
    // The statement returns no row for a task without a key that may start at once. Such a task is always committed.
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
  // The default queue is never deleted, so its row needs no lock. Most submissions would share that lock.
  queues.delete(DEFAULT_QUEUE);
  const metadata = column(tasks.map((task) => (task.metadata === null ? null : JSON.stringify(task.metadata))));
  return run(metadata === null ? SUBMIT_WITHOUT_PAIRS : SUBMIT, [
    arrayLiteral(tasks.map(({ id }) => id)),
    tasks.map(({ queue }) => queue),
    column(tasks.map(({ action }) => action)),
    tasks.map(({ payload }) => payload),
    arrayLiteral(tasks.map(({ priority }) => priority)),
    arrayLiteral(tasks.map(({ id }) => idMilliseconds(id))),
    numbers(tasks.map(({ runAtMs }) => runAtMs)),
    numbers(tasks.map(({ executionTimeSeconds }) => executionTimeSeconds)),
    arrayLiteral(tasks.map(({ maxRetries }) => maxRetries)),
    column(tasks.map(({ backoff }) => (backoff === null ? null : JSON.stringify(backoff)))),
    arrayLiteral(tasks.map(({ timeoutMs }) => timeoutMs)),
    metadata,
    tasks.map(({ traceId }) => traceId),
    column(tasks.map(({ traceparent }) => traceparent)),
    column(records.map((record) => record?.key ?? null)),
    column(records.map((record) => record?.requestHash ?? null)),
    column(records.map((record) => record?.answer ?? null)),
    keyTtlMs,
    records.some((record) => record !== null) ? String(patienceMs) : null,
    [...queues],
    column(tasks.map(({ group }) => group)),
    clientsOf(submissions),
    column(submissions.map(({ quotaClient = null }) => quotaClient)),
  ]);
}

const numbers = (values: readonly (number | null)[]): string | null =>
  column(values) === null ? null : arrayLiteral(values);

/** A client without a name is null, so that most statements need not send an array. */
const clientsOf = (submissions: readonly Submission[]): readonly (string | null)[] | null =>
  column(submissions.map(({ task: { client } }) => (client === '' ? null : client)));

interface KeyRow {
  /** The place of the key in the question, from 1. */
  readonly place: number;
  readonly same: boolean;
  readonly task_id: string;
  /** Null if the record belongs to another request. */
  readonly answer: string | null;
}

/** Looks up the keys of submissions that the insert left out: the same request or another one used the key before. */
async function resolveTakenKeys(
  run: Run,
  open: readonly Submission[],
  results: Map<string, SubmitResult>,
): Promise<void> {
  const records = open.map(({ idempotency }) => idempotency);
  const rows = await run<KeyRow>(FIND_KEYS, [
    clientsOf(open),
    open.map(({ task }) => task.queue),
    records.map((record) => record?.key),
    records.map((record) => record?.requestHash),
  ]);
  for (const { place, same, task_id: taskId, answer } of rows) {
    const { task } = open[place - 1] as Submission;
    results.set(task.id, same && answer !== null ? { kind: 'replayed', taskId, answer } : { kind: 'mismatch' });
  }
}
