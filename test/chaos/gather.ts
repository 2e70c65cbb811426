import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { FIRST_ID, idMilliseconds } from '../../src/core/ids.ts';
import type {
  AttemptRecord,
  AuditedActions,
  DeadLetterRecord,
  Execution,
  OldTask,
  RestState,
  StrayRow,
  TaskRecord,
} from './evidence.ts';
import { nowMs } from './processes.ts';
import { onMasters } from './redis-under-test.ts';
import { REDIS_PREFIX, type ChaosSystem } from './system.ts';

export interface DatabaseState {
  readonly tasks: TaskRecord[];
  readonly attempts: Map<string, AttemptRecord[]>;
  readonly deadLetters: DeadLetterRecord[];
  readonly strays: StrayRow[];
  readonly unpaired: string[];
  readonly audited: Map<string, AuditedActions>;
}

const PAGE_ROWS = 20_000;

/**
 * Reads the final content of PostgreSQL directly, without the code under test: the tables, and not the views on them.
 * @param aheadMs how far the server's clock is ahead; it is subtracted from all times
 */
export function readDatabase(url: string, aheadMs: number): Promise<DatabaseState> {
  return withConnection(url, async (client) => {
    const query = async <Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> =>
      (await client.query(text, values)).rows as Row[];
    const tasks: TaskRecord[] = [];
    for (let after = FIRST_ID; ;) {
      const page = await query<TaskRow>(TASKS, [after, PAGE_ROWS]);
      for (const row of page) tasks.push(taskOf(row, aheadMs));
      if (page.length < PAGE_ROWS) break;
      after = (page.at(-1) as TaskRow).id;
    }
    const attempts = new Map<string, AttemptRecord[]>();
    for (const [table, text] of Object.entries(ATTEMPTS)) {
      for (let place: [string, number] = [FIRST_ID, -1]; ;) {
        const page = await query<AttemptRow>(text, [...place, PAGE_ROWS]);
        for (const row of page) add(attempts, row.task_id, attemptOf(table as AttemptRecord['table'], row, aheadMs));
        const last = page.at(-1);
        if (last === undefined || page.length < PAGE_ROWS) break;
        place = [last.task_id, last.attempt];
      }
    }
    for (const rows of attempts.values()) rows.sort((a, b) => a.attempt - b.attempt);
    const letters = await query<DeadLetterRecord>(DEAD_LETTERS);
    const deadLetters = letters.map((letter) => ({
      ...letter,
      failedAtMs: letter.failedAtMs - aheadMs,
      requeuedAtMs: earlier(letter.requeuedAtMs, aheadMs),
    }));
    const strays = await query<StrayRow>(STRAYS);
    const unpaired = (await query<{ id: string }>(UNPAIRED)).map(({ id }) => id);
    const audited = new Map(
      (await query<AuditedRow>(AUDITED)).map(({ id, cancels, requeues }) => [id, { cancels, requeues }]),
    );
    return { tasks, attempts, deadLetters, strays, unpaired, audited };
  });
}

interface TaskRow {
  id: string;
  queue: string;
  priority: number;
  place_ms: string | null;
  keep_completed: boolean;
  is_unfinished: boolean;
  is_finished: boolean;
  status: TaskRecord['status'];
  attempt: number;
  failures: number;
  lost: number;
  max_retries: number;
  cancel_requested: boolean;
  metadata: { ref?: string; kind?: string; delay_ms?: string } | null;
  backoff: TaskRecord['backoff'];
  run_ms: number | null;
  finished_ms: number | null;
}

type AttemptRow = { task_id: string } & Omit<AttemptRecord, 'table'>;

const TASKS = `
  SELECT s.id, s.queue, s.priority, s.max_retries, s.metadata, s.backoff, s.keep_completed,
         u.id IS NOT NULL AS is_unfinished, f.id IS NOT NULL AS is_finished,
         coalesce(f.status, u.status, 'COMPLETED') AS status, coalesce(f.place_ms, u.place_ms) AS place_ms,
         coalesce(f.attempt, u.attempt, 0) AS attempt, coalesce(f.failures, u.failures, 0) AS failures,
         coalesce(f.lost, u.lost, 0) AS lost,
         coalesce(f.cancel_requested_at, u.cancel_requested_at) IS NOT NULL AS cancel_requested,
         (extract(epoch FROM coalesce(f.run_at, u.run_at, s.run_at)) * 1000)::float8 AS run_ms,
         (extract(epoch FROM f.finished_at) * 1000)::float8 AS finished_ms
  FROM (SELECT * FROM submissions WHERE id > $1 ORDER BY id LIMIT $2) AS s
  LEFT JOIN unfinished u ON u.id = s.id
  LEFT JOIN finished f ON f.id = s.id
  ORDER BY s.id`;

const attemptsIn = (table: string, id: string, ended: string, where: string): string => `
  SELECT ${id} AS task_id, attempt, worker_id AS "workerId", ordinal,
         (extract(epoch FROM started_at) * 1000)::float8 AS "startedAtMs", ${ended}
  FROM ${table}
  WHERE (${id}, attempt) > ($1::uuid, $2::int) AND ${where}
  ORDER BY ${id}, attempt
  LIMIT $3`;

const ENDED = 'outcome, (extract(epoch FROM finished_at) * 1000)::float8 AS "finishedAtMs"';

const ATTEMPTS: Readonly<Record<AttemptRecord['table'], string>> = {
  attempts: attemptsIn('attempts', 'task_id', ENDED, 'true'),
  finished: attemptsIn('finished', 'id', ENDED, 'worker_id IS NOT NULL'),
  unfinished: attemptsIn('unfinished', 'id', 'NULL AS outcome, NULL AS "finishedAtMs"', `status = 'PROCESSING'`),
};

const STRAYS = [
  ['metadata_pairs', 'id'],
  ['unfinished', 'id'],
  ['finished', 'id'],
  ['attempts', 'task_id'],
  ['dlq', 'task_id'],
]
  .map(
    ([table, id]) => `
      SELECT DISTINCT '${table}' AS "table", ${id} AS "taskId"
      FROM ${table}
      WHERE NOT EXISTS (SELECT FROM submissions s WHERE s.id = ${table}.${id})`,
  )
  .join(' UNION ALL ');

/** The submissions whose pairs are not those of their metadata. No value of the run is longer than a pair may be. */
const UNPAIRED = `
  SELECT DISTINCT id
  FROM (SELECT s.id, m.key AS name, m.value FROM submissions s CROSS JOIN LATERAL json_each_text(s.metadata) AS m) AS member
  FULL JOIN metadata_pairs USING (id, name, value)
  WHERE member IS NULL OR metadata_pairs IS NULL`;

const DEAD_LETTERS = `
  SELECT task_id AS "taskId", attempt, reason, (extract(epoch FROM failed_at) * 1000)::float8 AS "failedAtMs",
         (extract(epoch FROM requeued_at) * 1000)::float8 AS "requeuedAtMs"
  FROM dlq ORDER BY task_id, attempt`;

type AuditedRow = { id: string } & AuditedActions;

const AUDITED = `
  SELECT substring(objects[1] FROM '^task:(.*)') AS id,
         (count(*) FILTER (WHERE action = 'task.cancel'))::int AS cancels,
         (count(*) FILTER (WHERE action = 'task.requeue'))::int AS requeues
  FROM audit
  WHERE outcome = 'allowed' AND objects[1] LIKE 'task:%'
  GROUP BY 1`;

const earlier = (ms: number | null, byMs: number): number | null => (ms === null ? null : ms - byMs);

function add(attempts: Map<string, AttemptRecord[]>, id: string, row: AttemptRecord): void {
  const rows = attempts.get(id);
  if (rows === undefined) attempts.set(id, [row]);
  else rows.push(row);
}

function attemptOf(table: AttemptRecord['table'], row: AttemptRow, aheadMs: number): AttemptRecord {
  const { attempt, workerId, ordinal, outcome } = row;
  const startedAtMs = row.startedAtMs - aheadMs;
  return { table, attempt, workerId, ordinal, outcome, startedAtMs, finishedAtMs: earlier(row.finishedAtMs, aheadMs) };
}

function taskOf(row: TaskRow, aheadMs: number): TaskRecord {
  return {
    id: row.id,
    ref: row.metadata?.ref ?? null,
    kind: row.metadata?.kind ?? null,
    queue: row.queue,
    priority: row.priority,
    placeMs: Number(row.place_ms ?? idMilliseconds(row.id)),
    keepCompleted: row.keep_completed,
    isUnfinished: row.is_unfinished,
    isFinished: row.is_finished,
    status: row.status,
    attempt: row.attempt,
    failures: row.failures,
    lost: row.lost,
    maxRetries: row.max_retries,
    cancelRequested: row.cancel_requested,
    createdMs: idMilliseconds(row.id) - aheadMs,
    runAtMs: (row.run_ms ?? idMilliseconds(row.id)) - aheadMs,
    delayMs: Number(row.metadata?.delay_ms ?? 0),
    backoff: row.backoff,
    finishedAtMs: earlier(row.finished_ms, aheadMs),
  };
}

/** Reads the calls that the handlers recorded. */
export function readExecutions(directory: string): Execution[] {
  return readdirSync(directory).flatMap((file) => {
    const pid = Number.parseInt(file, 10);
    const open = new Map<string, { -readonly [Key in keyof Execution]: Execution[Key] }>();
    const executions: Execution[] = [];
    for (const line of readFileSync(join(directory, file), 'utf8').split('\n')) {
      const [kind, token, at] = line.split(' ');
      if (token === undefined || at === undefined) continue;
      if (kind === 'l') {
        const execution = open.get(token);
        if (execution !== undefined) execution.leftAtMs = Number(at);
        continue;
      }
      const [taskId, attempt] = token.split(':');
      const execution = {
        taskId: taskId ?? '',
        attempt: Number(attempt),
        pid,
        enteredAtMs: Number(at),
        leftAtMs: null,
      };
      open.set(token, execution);
      executions.push(execution);
    }
    return executions;
  });
}

/**
 * Waits until no task is open, Redis is empty and the old tasks that are due are pruned. Returns what is left after the
 * timeouts.
 */
export async function comeToRest(
  system: ChaosSystem,
  oldTasks: readonly OldTask[],
): Promise<Omit<RestState, 'connectionsLeft'>> {
  const fromMs = nowMs();
  const settledAfterMs = await untilNothingIsOpen(system, fromMs, fromMs + system.settings.restMs);
  // A lost answer may leave an entry in flight, which the sweep finds within a minute.
  const redisDeadlineMs = settledAfterMs === null ? 0 : nowMs() + LEFTOVERS_MS;
  let leftInRedis = await leftovers(system);
  while (leftInRedis.length > 0 && nowMs() < redisDeadlineMs) {
    await delay(500);
    leftInRedis = await leftovers(system);
  }
  const due = oldTasks.filter(({ isDue }) => isDue).map(({ id }) => id);
  while ((await countSubmissions(system, due)) > 0 && nowMs() < redisDeadlineMs) await delay(500);
  return { settledAfterMs, leftInRedis, countsThatDisagree: await countsThatDisagree(system) };
}

/** @returns how long it took; null if a task was still open at the deadline */
async function untilNothingIsOpen(system: ChaosSystem, fromMs: number, deadlineMs: number): Promise<number | null> {
  while (nowMs() < deadlineMs) {
    if ((await openTasks(system)) === 0) return Math.round(nowMs() - fromMs);
    await delay(250);
  }
  return null;
}

const LEFTOVERS_MS = 50_000;

async function openTasks({ postgres }: ChaosSystem): Promise<number> {
  const text = 'SELECT count(*)::int AS open FROM unfinished';
  return withConnection(postgres.url, async (client) => Number((await client.query(text)).rows[0].open));
}

async function countSubmissions({ postgres }: ChaosSystem, ids: readonly string[]): Promise<number> {
  const text = 'SELECT count(*)::int AS count FROM submissions WHERE id = ANY ($1)';
  return withConnection(postgres.url, async (client) => Number((await client.query(text, [ids])).rows[0].count));
}

/** Returns the number of connections that are left after the scheduler's processes have ended. */
export async function connectionsLeft({ postgres }: ChaosSystem): Promise<number> {
  const text = `SELECT count(*)::int AS left FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`;
  const deadline = performance.now() + 5_000;
  for (;;) {
    const left = await withConnection(postgres.url, async (client) => Number((await client.query(text)).rows[0].left));
    if (left === 0 || performance.now() > deadline) return left;
    await delay(100);
  }
}

/** Matches the names of keys that may stay in Redis. */
const MAY_STAY = /:(settings|epoch|wake|settled)$|:(dead-)?workers$|:worker:|:ratelimit:|^worker:heartbeat:/;

async function leftovers({ redis }: ChaosSystem): Promise<string[]> {
  const ofMasters = await onMasters(redis, async (client) => {
    const left: string[] = [];
    for (const key of await client.keys('*')) {
      if (MAY_STAY.test(key)) continue;
      const isHash = key.endsWith(':inflight');
      const members = isHash
        ? Object.entries(await client.hgetall(key)).map((pair) => pair.join(' '))
        : await client.zrange(key, '0', '9');
      left.push(`${key.replace(`{${REDIS_PREFIX}:1:`, '{')}: ${members.slice(0, 5).join('; ')} (${members.length})`);
    }
    return left;
  });
  return ofMasters.flat();
}

async function countsThatDisagree({ apiUrls }: ChaosSystem): Promise<string[]> {
  const response = await fetch(`${apiUrls[0]}/queues`, { signal: AbortSignal.timeout(10_000) }).catch(() => null);
  if (response === null || !response.ok) return [`GET /queues answered ${String(response?.status)}`];
  const { items } = (await response.json()) as { items: { name: string; counts: Record<string, unknown> | null }[] };
  return items.flatMap(({ name, counts }) => {
    const busy =
      counts === null || ['ready', 'due', 'delayed', 'inflight'].some((state) => Number(counts[state] ?? 0) !== 0);
    return busy ? [`${name}: ${JSON.stringify(counts)} with no open task`] : [];
  });
}
