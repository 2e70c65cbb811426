import { z } from 'zod';
import type { Projection, ProjectionOf } from '../../core/access/projection.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { isTaskId } from '../../core/ids.ts';
import { PRIORITY_NAMES, priorityName } from '../../core/priority.ts';
import { ATTEMPT_OUTCOMES, TASK_STATUSES } from '../../core/task.ts';
import type { TaskQueue } from '../../engine/order/task-queue.ts';
import { givenTime } from '../../given/given-time.ts';
import { givenText } from '../../given/given-values.ts';
import { actorOf } from '../../http/access/actor.ts';
import { refuseHiddenFilter, requireQueue } from '../../http/access/authentication.ts';
import { cursorText, type Cursors } from '../../http/paging/cursors.ts';
import { LISTED_FOR_CLIENT, SEARCHED_PAGES, pageQuery, pageSchema } from '../../http/paging/paging.ts';
import { Problem } from '../../http/problem.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { redactionMark, taskIdParam, time, unknownTask } from '../../http/task-parts.ts';
import { isDeeperThan } from '../../json/kept-json.ts';
import { isoTime } from '../../postgres/reads/iso-time.ts';
import { PAGE_BYTES_MAX } from '../../postgres/reads/search.ts';
import { visibleQueues } from '../../postgres/reads/sight.ts';
import { DEAD_LETTER_REASONS } from '../../postgres/schema/entities/tasks/dead-letter.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { countInBatches, requeueInBatches } from './bulk-requeue.ts';
import type { DeadLetterReads, DeadLetterRow } from './dead-letter-reads.ts';
import type { RequeueStore, DeadLetterFilter, RequeuedTask, RequeueProgress } from './requeue-store.ts';

export interface DlqRoutesOptions {
  readonly store: RequeueStore;
  readonly reads: DeadLetterReads;
  readonly projectionOf: ProjectionOf;
  readonly queue: Pick<TaskQueue, 'enqueue'>;
  readonly metrics: Metrics;
  readonly cursors: Cursors;
}

/** Makes the routes that list and show dead letters and requeue their tasks. */
export function dlqRoutes(options: DlqRoutesOptions): Route[] {
  return [listDeadLetters(options), getDeadLetter(options), requeueTask(options), requeueByFilter(options)];
}

const pastErrorSchema = z
  .object({
    attempt: z.int(),
    worker_id: z.string(),
    outcome: z.enum(ATTEMPT_OUTCOMES),
    at: time(),
    error: z.unknown().meta({
      description: 'as in `Attempt`; without the scope `payload`, only its `name` and `code`',
    }),
  })
  .meta({ id: 'PastError', description: 'The error of one execution' });

const deadLetterSchema = z
  .object({
    task_id: z.string(),
    attempt: z.int().meta({ description: 'the execution with which the task failed' }),
    queue: z.string(),
    action: z.string().nullable(),
    priority: z.enum(PRIORITY_NAMES),
    reason: z.enum(DEAD_LETTER_REASONS),
    errors: z
      .array(pastErrorSchema)
      .meta({ description: 'errors of all executions that failed or were lost, oldest first' }),
    failed_at: time(),
    requeued_at: time().nullable(),
    redacted: redactionMark.redacted,
  })
  .meta({ id: 'DeadLetter' });

const filterFields = {
  queue: givenText().optional(),
  action: givenText().optional(),
  reason: z.enum(DEAD_LETTER_REASONS).optional(),
  failed_after: givenTime().optional().meta({ description: 'inclusive' }),
  failed_before: givenTime().optional().meta({ description: 'exclusive' }),
};

const listQuery = z.strictObject({
  ...filterFields,
  requeued: z
    .enum(['false', 'true', 'any'])
    .default('false')
    .meta({ description: '`false`: only open ones; `true`: only requeued ones; `any`: both' }),
  ...pageQuery(),
});

/**
 * Failure time and task of a page's last dead letter. The time is PostgreSQL's text, because its microseconds matter.
 */
const letterPosition = z.tuple([
  z.string().regex(/^\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d){0,2}$/),
  z.string().refine(isTaskId),
]);

function listDeadLetters({ reads, cursors, projectionOf }: DlqRoutesOptions) {
  return defineRoute({
    method: 'get',
    path: '/dlq',
    summary: 'List dead letters, latest failure first',
    scope: 'read',
    readsBytes: PAGE_BYTES_MAX,
    description: `${SEARCHED_PAGES} ${LISTED_FOR_CLIENT}`,
    query: listQuery,
    responses: {
      200: {
        description: 'A page of dead letters',
        schema: pageSchema(deadLetterSchema),
        links: {
          ShowDeadLetter: { operationId: 'getDlqId', parameters: { id: '$response.body#/items/0/task_id' } },
          RequeueTask: { operationId: 'postDlqIdRequeue', parameters: { id: '$response.body#/items/0/task_id' } },
        },
      },
    },
    problems: ['invalid_cursor'],
    async handler({ query, client }) {
      const { cursor, limit, requeued } = query;
      const filter = filterOf(query);
      const wanted = requeued === 'any' ? null : requeued === 'true';
      const scope = { route: 'GET /dlq', filter: [filter, wanted], at: 'query:cursor' };
      const position = await cursors.open(scope, letterPosition, cursor);
      const before = position === undefined ? null : { failedAt: position[0], taskId: position[1] };
      const { rows, next } = await reads.list(filter, visibleQueues(client.queues), wanted, before, limit);
      const seen = projectionOf(client);
      const nextCursor = await cursors.seal(scope, next && [next.failedAt, next.taskId]);
      return { body: { items: rows.map((row) => deadLetterView(row, seen)), next_cursor: nextCursor } };
    },
  });
}

function getDeadLetter({ reads, projectionOf }: DlqRoutesOptions) {
  return defineRoute({
    method: 'get',
    path: '/dlq/{id}',
    summary: 'Show the latest dead letter of a task',
    scope: 'read',
    readsBytes: PAGE_BYTES_MAX,
    params: z.object({ id: taskIdParam }),
    responses: { 200: { description: 'The dead letter', schema: deadLetterSchema } },
    problems: ['dead_letter_not_found'],
    async handler({ params: { id }, client, annotate }) {
      annotate({ task_id: id });
      const row = await reads.find(id, visibleQueues(client.queues));
      if (row === null) throw unknownDeadLetter(id);
      return { body: deadLetterView(row, projectionOf(client)) };
    },
  });
}

const place = z.enum(['keep', 'back']).default('keep').meta({
  description: '`keep`: the task goes to its old place in the order; `back`: it goes behind the tasks that wait now',
});

function requeueTask(options: DlqRoutesOptions) {
  const { store, reads } = options;
  return defineRoute({
    method: 'post',
    path: '/dlq/{id}/requeue',
    summary: 'Requeue a failed task',
    scope: 'operate',
    audit: 'task.requeue',
    params: z.object({ id: taskIdParam }),
    body: z.strictObject({ place }).prefault({}),
    responses: {
      200: {
        description:
          'The task and its current status; `requeued` is false if an earlier request has already requeued it',
        schema: z.object({ id: z.string(), status: z.enum(TASK_STATUSES), requeued: z.boolean() }),
      },
    },
    problems: ['task_not_found', 'not_requeueable'],
    async handler(request) {
      const { id } = request.params;
      request.annotate({ task_id: id });
      const queues = visibleQueues(request.client.queues);
      // The queue of a task never changes, so it is enough to look before the task is changed.
      if (queues !== null && (await reads.statusOfTask(id, queues)) === null) throw unknownTask(id);
      const requeued = await store.requeueOne(id, request.body.place, actorOf(request));
      if (requeued !== null) {
        request.annotate({ queue: requeued.queue });
        await enterIntoRedis(options, [requeued]);
        return { body: { id, status: 'PENDING' as const, requeued: true } };
      }
      const [letter, status] = await Promise.all([reads.find(id, queues), reads.statusOfTask(id, queues)]);
      if (status === null) throw unknownTask(id);
      if (letter === null) throw new Problem('not_requeueable', `the task is ${status} and has never failed`);
      return { body: { id, status, requeued: false } };
    },
  });
}

/** Last task and attempt that were looked at, start of the whole requeue (ms), number of tasks requeued before. */
const requeuePosition = z.tuple([z.uuid(), z.int().min(0), z.number().nullable(), z.int32().min(0)]);

const requeueBody = z.strictObject({
  filter: z
    .strictObject({
      ...filterFields,
      error_contains: givenText()
        .min(1)
        .max(1_000)
        .optional()
        .meta({
          description:
            'text that the JSON text of the errors contains; it needs the scope `payload`. Stack traces are searched only ' +
            'for clients with the scope `admin`, because they name directories of the server',
        }),
    })
    .meta({ description: 'selects open dead letters; `{}` selects all of them' }),
  place,
  rate: z.number().positive().min(0.001).max(100_000).optional().meta({
    description:
      'tasks that become runnable per second, none later than in 365 days; without a rate, all become runnable at once',
  }),
  limit: z.int32().min(1).optional().meta({ description: 'most dead letters that this request requeues' }),
  cursor: cursorText().optional().meta({ description: '`next_cursor` of the previous answer to the same request' }),
  dry_run: z.boolean().default(false).meta({ description: 'only count, and requeue nothing' }),
});

const requeueAnswer = z.object({
  matched: z.int().meta({ description: 'matching dead letters among those that this request looked at' }),
  requeued: z.int().meta({ description: 'dead letters that this request requeued' }),
  dry_run: z.boolean(),
  next_cursor: z
    .string()
    .nullable()
    .meta({ description: 'null if none is left; otherwise, the same request with this `cursor` continues' }),
});

function requeueByFilter(options: DlqRoutesOptions) {
  const { store, cursors, projectionOf } = options;
  const bulk = { store, onRequeued: (tasks: readonly RequeuedTask[]) => enterIntoRedis(options, tasks) };
  return defineRoute({
    method: 'post',
    path: '/dlq/requeue',
    summary: 'Requeue failed tasks by filter',
    scope: 'operate',
    audit: 'dlq.requeue',
    description:
      'Requeues the dead letters in batches, in the order of their task ids. Each batch is committed as a whole. ' +
      'A request works for about five seconds. If more are left, the answer has a `next_cursor`, and the same request ' +
      'with this as `cursor` continues; all parts together keep the `rate`. Repeating a request is harmless, because ' +
      "requeued tasks no longer have open dead letters. Only dead letters of the client's queues count and are requeued; a " +
      'filter that names another queue is refused.',
    body: requeueBody,
    bodyExample: { filter: { queue: 'default', reason: 'retries_exhausted' }, rate: 10, dry_run: true },
    responses: {
      200: {
        description: 'How many dead letters matched and were requeued, and whether more are left',
        schema: requeueAnswer,
      },
    },
    problems: ['missing_scope', 'queue_not_allowed', 'invalid_cursor'],
    async handler(request) {
      const { body, client } = request;
      const { dry_run, rate, limit = Number.POSITIVE_INFINITY } = body;
      const projection = projectionOf(client);
      refuseHiddenFilter(client, projection, body.filter);
      if (body.filter.queue !== undefined) requireQueue(client, body.filter.queue);
      const filter = { ...filterOf(body.filter), errorContains: body.filter.error_contains ?? null };
      const scope = { route: 'POST /dlq/requeue', filter: [filter, body.place, rate ?? null, dry_run], at: '/cursor' };
      const position = await cursors.open(scope, requeuePosition, body.cursor);
      const from = position === undefined ? null : progressOf(position);
      const plan = { place: body.place, spacingMs: rate === undefined ? null : 1_000 / rate };
      const seen = { ...filter, visible: visibleQueues(client.queues), stacks: projection.directories };
      const { matched, requeued, next } = dry_run
        ? await countInBatches(bulk, seen, from, limit)
        : await requeueInBatches(bulk, seen, plan, from, limit, actorOf(request));
      request.annotate({ matched, requeued });
      const nextCursor = await cursors.seal(scope, next && positionOf(next));
      return { body: { matched, requeued, dry_run, next_cursor: nextCursor } };
    },
  });
}

function progressOf([taskId, attempt, baseMs, requeued]: z.output<typeof requeuePosition>): RequeueProgress {
  return { after: { taskId, attempt }, baseMs, requeued };
}

function positionOf({ after, baseMs, requeued }: RequeueProgress): z.input<typeof requeuePosition> {
  return [after.taskId, after.attempt, baseMs, requeued];
}

/**
 * Enqueues requeued tasks in Redis. PostgreSQL has committed them already, so after an outage reconcile enqueues them.
 */
async function enterIntoRedis({ queue, metrics }: DlqRoutesOptions, tasks: readonly RequeuedTask[]): Promise<void> {
  for (const [name, ofQueue] of Map.groupBy(tasks, (task) => task.queue)) {
    try {
      await queue.enqueue(name, ofQueue);
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      metrics.enqueueFailures.inc(ofQueue.length);
    }
  }
}

interface FilterFields {
  readonly queue?: string | undefined;
  readonly action?: string | undefined;
  readonly reason?: DeadLetterFilter['reason'] | undefined;
  readonly failed_after?: string | undefined;
  readonly failed_before?: string | undefined;
}

function filterOf({
  queue,
  action,
  reason,
  failed_after,
  failed_before,
}: FilterFields): Omit<DeadLetterFilter, 'errorContains'> {
  return {
    queue: queue ?? null,
    action: action ?? null,
    reason: reason ?? null,
    failedAfter: failed_after ?? null,
    failedBefore: failed_before ?? null,
  };
}

function deadLetterView(row: DeadLetterRow, seen: Projection): z.input<typeof deadLetterSchema> {
  const { task_id, attempt, queue, action, reason } = row;
  return {
    task_id,
    attempt,
    queue,
    action,
    priority: priorityName(row.priority),
    reason,
    errors: pastErrors(row.errors, seen),
    failed_at: isoTime(row.failed_at),
    requeued_at: isoTime(row.requeued_at),
    ...seen.mark,
  };
}

/**
 * Deepest nesting of errors that can be shown, because writing JSON works by recursion. Errors stored today are flat.
 */
const ERRORS_DEPTH_MAX = 1_000;

/** Returns the errors as settle and reclaim have stored them, with times in the format of the API. */
function pastErrors(text: string, seen: Projection): z.input<typeof pastErrorSchema>[] {
  const errors = JSON.parse(text) as z.input<typeof pastErrorSchema>[];
  const shown = isDeeperThan(ERRORS_DEPTH_MAX, text) ? errors.map(withoutDetails) : errors;
  return shown.map(({ attempt, worker_id, outcome, at, error }) => ({
    attempt,
    worker_id,
    outcome,
    at: isoTime(at),
    error: seen.errorValue(error),
  }));
}

function withoutDetails(past: z.input<typeof pastErrorSchema>): z.input<typeof pastErrorSchema> {
  return { ...past, error: { name: 'UnreadableError', message: 'the error is nested too deeply to be shown' } };
}

function unknownDeadLetter(id: string): Problem {
  return new Problem('dead_letter_not_found', `no dead letter belongs to the task ${id}`);
}
