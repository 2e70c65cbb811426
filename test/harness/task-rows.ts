/**
 * SQL with which tests write tasks directly, in states that would take too long to reach, or that nothing but a fault
 * reaches. It leaves the tables as the statements of the scheduler would.
 */

import { lowestIdAt } from '../../src/core/ids.ts';

/** The tables that have a partition for each day. */
export const PARTITIONED = ['submissions', 'metadata_pairs', 'finished', 'attempts'] as const;

/**
 * Returns the statements that create the partitions of a day, as `ensure_partitions` does for the days to come.
 * @param day YYYYMMDD
 */
export function createDay(day: string, tables: readonly string[] = PARTITIONED, schema = 'public'): string[] {
  const fromMs = Date.parse(`${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}`);
  const range = `FROM ('${lowestIdAt(fromMs)}') TO ('${lowestIdAt(fromMs + 86_400_000)}')`;
  return tables.map(
    (table) => `CREATE TABLE ${schema}.${table}_${day} PARTITION OF ${schema}.${table} FOR VALUES ${range}`,
  );
}

/** Returns the statement that drops the partitions of a day. */
export function dropDayTables(day: string, tables: readonly string[] = PARTITIONED, schema = 'public'): string {
  return `DROP TABLE ${tables.map((table) => `${schema}.${table}_${day}`).join(', ')}`;
}

/** A task, as SQL expressions. What is not given is as in a plain task that waits. */
export interface TaskExpressions {
  readonly id: string;
  readonly queue?: string;
  readonly action?: string;
  readonly payload?: string;
  readonly priority?: string;
  readonly status?: string;
  readonly place_ms?: string;
  readonly run_at?: string;
  readonly attempt?: string;
  readonly failures?: string;
  readonly lost?: string;
  readonly max_retries?: string;
  readonly backoff?: string;
  readonly timeout_ms?: string;
  readonly metadata?: string;
  readonly group?: string;
  readonly idempotency_key?: string;
  /** False: nothing is kept of the task once it is COMPLETED, except its submission. */
  readonly keep_completed?: string;
  /** The time that the request named. */
  readonly asked_run_at?: string;
  readonly trace_id?: string;
  /** The worker of the latest attempt. */
  readonly worker_id?: string;
  readonly started_at?: string;
  readonly finished_at?: string;
}

const DEFAULTS = {
  queue: `'default'`,
  action: 'NULL::text',
  payload: `'null'`,
  priority: '2',
  status: `'PENDING'`,
  place_ms: '0',
  run_at: 'now()',
  attempt: '1',
  failures: '0',
  lost: '0',
  max_retries: '3',
  backoff: 'NULL::json',
  timeout_ms: '1000',
  metadata: 'NULL::json',
  group: 'NULL::text',
  idempotency_key: 'NULL::text',
  keep_completed: 'true',
  asked_run_at: 'NULL::timestamptz',
  trace_id: `'test'`,
  worker_id: `'test'`,
  started_at: 'now()',
  finished_at: 'now()',
} as const satisfies Omit<Required<TaskExpressions>, 'id'>;

const TYPES: Partial<Record<keyof TaskExpressions, string>> = {
  payload: 'json',
  priority: 'smallint',
  status: 'task_status',
  place_ms: 'bigint',
  timeout_ms: 'bigint',
  metadata: 'json',
};

/**
 * Returns a statement that inserts tasks of any status, each with the attempt that the status implies. It returns their
 * ids.
 * @param from the FROM clause of the expressions
 */
export function insertTasks(task: TaskExpressions, from = ''): string {
  const columns = Object.entries({ ...DEFAULTS, ...task }).map(([name, expression]) => {
    const type = TYPES[name as keyof TaskExpressions];
    return `${type === undefined ? expression : `(${expression})::${type}`} AS "${name}"`;
  });
  return `
    WITH given AS MATERIALIZED (
      SELECT ${columns.join(', ')} ${from}
    ), asked AS (
      INSERT INTO submissions (id, queue, action, payload, priority, "group", run_at, max_retries, backoff, timeout_ms, metadata, idempotency_key, trace_id, keep_completed)
      SELECT id, queue, action, payload, priority, "group", asked_run_at, max_retries, backoff, timeout_ms, metadata, idempotency_key, trace_id, keep_completed FROM given
    ), paired AS (
      INSERT INTO metadata_pairs (name, value, id)
      SELECT (pair).key, left((pair).value, 200), id
      FROM (SELECT id, json_each_text(metadata) AS pair FROM given WHERE metadata IS NOT NULL) AS members
    ), opened AS (
      INSERT INTO unfinished (id, queue, priority, place_ms, "group", keep_completed, status, run_at, attempt, failures, lost, worker_id, ordinal, started_at)
      SELECT id, queue, priority, place_ms, "group", keep_completed, status, run_at,
             CASE status WHEN 'PROCESSING' THEN attempt ELSE 0 END, failures, lost,
             CASE status WHEN 'PROCESSING' THEN worker_id END, 1,
             CASE status WHEN 'PROCESSING' THEN started_at END
      FROM given
      WHERE status IN ('PENDING', 'SCHEDULED', 'PROCESSING')
    ), ended AS (
      INSERT INTO finished (id, status, place_ms, run_at, attempt, failures, lost, finished_at, worker_id, ordinal, started_at, outcome)
      SELECT id, status, place_ms, run_at, attempt, failures, lost, finished_at, worker_id, 1, started_at,
             status::text::attempt_outcome
      FROM given
      WHERE status IN ('FAILED', 'CANCELLED') OR status = 'COMPLETED' AND keep_completed
    )
    SELECT id FROM given`;
}

/**
 * Returns a statement that ends unfinished tasks.
 * @param where condition on the columns of `unfinished`
 * @param finishedAt SQL expression
 */
export function endTasks(status: 'COMPLETED' | 'FAILED' | 'CANCELLED', where = 'true', finishedAt = 'now()'): string {
  return `
    WITH gone AS (DELETE FROM unfinished WHERE ${where} RETURNING *)
    INSERT INTO finished (id, status, place_ms, run_at, attempt, failures, lost, cancel_requested_at, finished_at, progress)
    SELECT id, '${status}', place_ms, run_at, attempt, failures, lost, cancel_requested_at, ${finishedAt}, progress
    FROM gone`;
}

/**
 * Returns a statement that deletes tasks and all that is known of them, except dead letters.
 * @param where condition on the columns of `submissions`
 */
export function deleteTasks(where = 'true'): string {
  return `
    WITH gone AS (DELETE FROM submissions WHERE ${where} RETURNING id),
         unpaired AS (DELETE FROM metadata_pairs WHERE id IN (SELECT id FROM gone)),
         unopened AS (DELETE FROM unfinished WHERE id IN (SELECT id FROM gone)),
         unended AS (DELETE FROM finished WHERE id IN (SELECT id FROM gone))
    DELETE FROM attempts WHERE task_id IN (SELECT id FROM gone)`;
}
