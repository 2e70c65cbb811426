import { BATCH_PATIENCE_MS, KEY_PATIENCE_MS } from '../../config/timings.ts';
import { QueuesMissingError, SchedulerError } from '../../core/errors.ts';
import { idMilliseconds } from '../../core/ids.ts';
import { DEFAULT_QUEUE, type Submission } from '../../core/task.ts';
import { arrayLiteral } from '../../postgres/array-literal.ts';
import type { Database, Run } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';
import { ensureQueues, type NewQueues } from './new-queues.ts';

/** What became of one submission. */
export type SubmitResult =
  | { readonly kind: 'created'; readonly waitMs: number }
  | { readonly kind: 'replayed'; readonly taskId: string; readonly answer: string }
  | { readonly kind: 'mismatch' };

const NO_NEW_QUEUES: NewQueues = { names: [], most: 0 };

/**
 * Every method throws `StoreUnavailableError` when PostgreSQL did not answer, in which case its effect may have happened,
 * and `RefusedDataError` when it refused a row, in which case nothing has.
 */
export interface SubmitStore {
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
}

const SUBMIT = loadSql(import.meta.dirname, 'submit');
const FIND_KEYS = loadSql(import.meta.dirname, 'find-idempotency-keys');

/** A record may vanish between the insert and the look-up (expired, rolled back); then the insert is repeated. */
const KEY_ROUNDS = 3;

export function createSubmitStore(database: Pick<Database, 'run' | 'transaction'>, keyTtlMs: number): SubmitStore {
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
