import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Client } from '../../core/access/client.ts';
import { idMilliseconds } from '../../core/ids.ts';
import { PRIORITY_NAMES, priorityName } from '../../core/priority.ts';
import type { NewTask, Submission } from '../../core/task.ts';
import type { Trace } from '../../core/trace.ts';
import { canonicalSteps } from '../../json/canonical-json.ts';
import { toJson } from '../../json/json-text.ts';
import type { Steps } from '../../lifecycle/slices.ts';
import { backoffPolicy, meaningOf, milliseconds, timeoutMs } from './meaning.ts';
import { actionOf, type TaskRequest } from './task-request.ts';

const instant = () => z.iso.datetime();

/** A task as its submitter sees it. */
export const submittedTask = z
  .object({
    id: z.string(),
    queue: z.string(),
    action: z.string().nullable(),
    payload: z.unknown(),
    priority: z.enum(PRIORITY_NAMES),
    group: z.string().nullable(),
    status: z.enum(['PENDING', 'SCHEDULED']),
    created_at: instant(),
    run_at: instant().meta({ description: 'earliest time at which the task starts' }),
    execution_time: z.number().nullable(),
    attempt: z.literal(0),
    max_retries: z.int(),
    backoff: z.object({ base: z.number(), factor: z.number(), max: z.number(), jitter: z.number() }).nullable(),
    timeout: z.number(),
    metadata: z.record(z.string(), z.string()).nullable(),
    trace_id: z.string(),
    redacted_fields: z
      .array(z.string())
      .optional()
      .meta({ description: 'where `[redacted]` stands in place of a value, as in `Task`' }),
  })
  .meta({ id: 'SubmittedTask' });

export type SubmittedTask = z.output<typeof submittedTask>;

export interface PreparedSubmission {
  readonly submission: Submission;
  readonly answer: SubmittedTask;
}

export interface SubmissionContext {
  /** The id of the task; its milliseconds become the time of creation. */
  readonly id: string;
  readonly trace: Trace;
  readonly key: string | undefined;
  readonly client: Pick<Client, 'name' | 'limits'>;
}

/** Turns a validated request into the submission to commit, and the answer. */
export function* prepareSubmission(
  request: TaskRequest,
  { id, trace, key, client }: SubmissionContext,
): Steps<PreparedSubmission> {
  const createdMs = idMilliseconds(id);
  const createdAt = new Date(createdMs).toISOString();
  const runAtMs = runAt(request, createdMs);
  const {
    queue,
    group = null,
    max_retries: maxRetries,
    backoff = null,
    metadata = null,
    execution_time: executionTime = null,
  } = request;
  const action = actionOf(request);
  const task: NewTask = {
    id,
    client: client.name,
    queue,
    action,
    payload: request.payload.text,
    priority: request.priority,
    group,
    executionTimeSeconds: executionTime,
    runAtMs,
    maxRetries,
    backoff: backoff && backoffPolicy(backoff),
    timeoutMs: timeoutMs(request.timeout),
    metadata,
    traceId: trace.traceId,
    traceparent: trace.traceparent,
  };
  const answer: SubmittedTask = {
    id,
    queue,
    action,
    payload: request.payload,
    priority: priorityName(request.priority),
    group,
    status: runAtMs === null ? 'PENDING' : 'SCHEDULED',
    created_at: createdAt,
    run_at: runAtMs === null ? createdAt : new Date(runAtMs).toISOString(),
    execution_time: executionTime,
    attempt: 0,
    max_retries: maxRetries,
    backoff,
    timeout: request.timeout,
    metadata,
    trace_id: trace.traceId,
  };
  const idempotency =
    key === undefined ? null : { key, requestHash: yield* requestHash(request), answer: toJson(answer) };
  const quotaClient = client.limits.unfinishedMax === null ? undefined : client.name;
  return { submission: { task, idempotency, quotaClient }, answer };
}

/** Returns the time before which the task must not start; null if it may start at once, as for a time in the past. */
function runAt({ run_at, delay }: TaskRequest, nowMs: number): number | null {
  const at = run_at !== undefined ? Date.parse(run_at) : nowMs + milliseconds(delay ?? 0);
  return at > nowMs ? at : null;
}

/** Hashes what a request asks for. The hash depends neither on how the request is written nor on its key. */
function* requestHash(request: TaskRequest): Steps<Buffer> {
  const payload = request.payload.value();
  // Parsing a long payload takes milliseconds and cannot be interrupted; neither can the sorting that comes next.
  yield;
  const text = yield* canonicalSteps({ ...meaningOf(request), payload });
  return createHash('sha256').update(text).digest();
}
