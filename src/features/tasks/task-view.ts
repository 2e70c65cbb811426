import { z } from 'zod';
import type { Projection } from '../../core/access/projection.ts';
import { idMilliseconds } from '../../core/ids.ts';
import { PRIORITY_NAMES, priorityName } from '../../core/priority.ts';
import type { BackoffPolicy } from '../../core/retry-policy.ts';
import { ATTEMPT_OUTCOMES, TASK_STATUSES } from '../../core/task.ts';
import { redactionMark, time } from '../../http/task-parts.ts';
import { storedJson } from '../../json/json-text.ts';
import { isoTime } from '../../postgres/reads/iso-time.ts';
import type { AttemptRow, TaskRow } from './task-row.ts';

export const attemptSchema = z
  .object({
    attempt: z.int(),
    worker_id: z.string(),
    ordinal: z.int().meta({ description: 'position among the tasks that were started together, from 1' }),
    started_at: time(),
    finished_at: time().nullable(),
    outcome: z.enum(ATTEMPT_OUTCOMES).nullable().meta({ description: 'null while it runs' }),
    error: z.unknown().meta({
      description:
        'null, or the thrown error: `name`, `message`, `code`, `stack`, and in the same form `cause` and `errors`; ' +
        'shortened if it is too long; only `name` and `code` without the scope `payload`; without the scope `admin`, ' +
        'stack traces have names of files without their directories',
    }),
    result: z.unknown(),
    ...redactionMark,
  })
  .meta({ id: 'Attempt', description: 'One execution of a task' });

const backoffSchema = z.object({
  base: z.number().meta({ description: 'seconds before the first retry' }),
  factor: z.number(),
  max: z.number().meta({ description: 'longest delay in seconds' }),
  jitter: z.number(),
});

export const taskSchema = z
  .object({
    id: z.string(),
    queue: z.string(),
    action: z.string().nullable(),
    payload: z.unknown().optional(),
    priority: z.enum(PRIORITY_NAMES),
    group: z.string().nullable(),
    status: z.enum(TASK_STATUSES),
    kept: z.boolean().meta({
      description:
        'false for a completed task whose queue does not keep completed tasks: nothing is known of its last execution, ' +
        'and `attempt`, `failures`, `lost`, `progress`, `cancel_requested`, `started_at` and `finished_at` are null',
    }),
    attempt: z.int().nullable().meta({ description: 'number of the latest execution; it never decreases' }),
    failures: z.int().nullable().meta({ description: 'failed executions; they count against max_retries' }),
    lost: z.int().nullable().meta({ description: 'executions that were lost because their worker died' }),
    max_retries: z.int(),
    backoff: backoffSchema.nullable(),
    timeout: z.number().meta({ description: 'seconds that one execution may take' }),
    execution_time: z.number().nullable().meta({ description: 'seconds' }),
    metadata: z
      .record(z.string(), z.string())
      .nullable()
      .meta({ description: 'values of private members are `[redacted]` without the scope `payload`' }),
    progress: z.unknown().meta({ description: 'the progress that the handler last reported' }),
    cancel_requested: z.boolean().nullable(),
    worker_id: z.string().nullable().meta({ description: 'the worker that executes it' }),
    ...redactionMark,
    trace_id: z.string(),
    created_at: time(),
    run_at: time().meta({ description: 'the task does not start before this time' }),
    started_at: time().nullable().meta({ description: 'start of the latest execution' }),
    finished_at: time().nullable(),
  })
  .meta({ id: 'Task' });

/** @param withPayload whether the view has a payload */
export function taskView(row: TaskRow, seen: Projection, withPayload: boolean): z.input<typeof taskSchema> {
  const createdAt = new Date(idMilliseconds(row.id)).toISOString();
  const { payload = null, progress, metadata } = row;
  const { parts, mark } = seen.show(row.action, { payload: withPayload ? payload : null, progress, metadata });
  return {
    id: row.id,
    queue: row.queue,
    action: row.action,
    ...(withPayload ? { payload: storedJson(parts.payload) } : {}),
    priority: priorityName(row.priority),
    group: row.group,
    status: row.status,
    kept: row.kept,
    attempt: row.attempt,
    failures: row.failures,
    lost: row.lost,
    max_retries: row.max_retries,
    backoff: backoffView(row.backoff),
    timeout: row.timeout_ms / 1_000,
    execution_time: row.execution_time,
    metadata: parts.metadata === null ? null : (JSON.parse(parts.metadata) as Record<string, string>),
    progress: storedJson(parts.progress),
    ...mark,
    cancel_requested: row.kept ? row.cancel_requested_at !== null : null,
    worker_id: row.worker_id,
    trace_id: row.trace_id,
    created_at: createdAt,
    run_at: row.run_at === null ? createdAt : isoTime(row.run_at),
    started_at: isoTime(row.started_at),
    finished_at: isoTime(row.finished_at),
  };
}

/** @param action the action of the task */
export function attemptView(row: AttemptRow, action: string | null, seen: Projection): z.input<typeof attemptSchema> {
  const { attempt, worker_id, ordinal, outcome, result } = row;
  const { parts, mark } = seen.show(action, { result });
  return {
    attempt,
    worker_id,
    ordinal,
    started_at: isoTime(row.started_at),
    finished_at: isoTime(row.finished_at),
    outcome,
    error: storedJson(seen.error(row.error)),
    result: storedJson(parts.result),
    ...mark,
  };
}

function backoffView(text: string | null): z.input<typeof backoffSchema> | null {
  if (text === null) return null;
  const { baseMs, factor, maxMs, jitter } = JSON.parse(text) as BackoffPolicy;
  return { base: baseMs / 1_000, factor, max: maxMs / 1_000, jitter };
}
