import { z } from 'zod';
import type { ProjectionOf } from '../../core/access/projection.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { isTaskId } from '../../core/ids.ts';
import { PRIORITIES, PRIORITY_NAMES } from '../../core/priority.ts';
import { TASK_STATUSES } from '../../core/task.ts';
import type { CancelChannel } from '../../engine/cancel/cancel-channel.ts';
import type { CancelResult, CancelStore } from '../../engine/cancel/cancel-store.ts';
import type { TaskQueue } from '../../engine/order/task-queue.ts';
import { metadataMembers } from '../../engine/submit/task-request.ts';
import { givenTime } from '../../given/given-time.ts';
import { givenText } from '../../given/given-values.ts';
import { actorOf } from '../../http/access/actor.ts';
import { refuseHiddenFilter, requireScope } from '../../http/access/authentication.ts';
import type { Cursors } from '../../http/paging/cursors.ts';
import { LISTED_FOR_CLIENT, SEARCHED_PAGES, pageQuery, pageSchema } from '../../http/paging/paging.ts';
import { parameterFamily } from '../../http/parameter-families.ts';
import { Problem } from '../../http/problem.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { taskIdParam, taskLinks, unknownTask } from '../../http/task-parts.ts';
import { PAGE_BYTES_MAX } from '../../postgres/reads/search.ts';
import { sightOf, type Sight } from '../../postgres/reads/sight.ts';
import type { TaskReads } from './task-reads.ts';
import { attemptSchema, attemptView, taskSchema, taskView } from './task-view.ts';

export interface TaskRoutesOptions {
  readonly cancels: CancelStore;
  readonly reads: TaskReads;
  readonly projectionOf: ProjectionOf;
  readonly queue: Pick<TaskQueue, 'drop'>;
  readonly cancelChannel: Pick<CancelChannel, 'publish'>;
  readonly cursors: Cursors;
}

/** Most attempts that `GET /tasks/{id}` shows. `GET /tasks/{id}/logs` pages through all attempts. */
const SHOWN_ATTEMPTS_MAX = 100;

/** Makes the routes that show, list and cancel tasks. */
export function taskRoutes(options: TaskRoutesOptions): Route[] {
  return [getTask(options), listTasks(options), listAttempts(options), cancelTask(options)];
}

const taskWithAttempts = taskSchema.extend({ payload: z.unknown(), attempts: z.array(attemptSchema) }).meta({
  id: 'TaskWithAttempts',
  description: `A task with its latest ${SHOWN_ATTEMPTS_MAX} executions, oldest first; fewer if these are longer than about 1 MiB in total`,
});

function getTask({ reads, projectionOf }: TaskRoutesOptions) {
  return defineRoute({
    method: 'get',
    path: '/tasks/{id}',
    summary: 'Show a task and its executions',
    scope: 'read',
    readsBytes: PAGE_BYTES_MAX,
    params: z.object({ id: taskIdParam }),
    responses: { 200: { description: 'The task', schema: taskWithAttempts } },
    problems: ['task_not_found'],
    async handler({ params: { id }, client, annotate }) {
      annotate({ task_id: id });
      const found = await reads.findWithAttempts(id, SHOWN_ATTEMPTS_MAX, sightOf(client));
      if (found === null) throw unknownTask(id);
      const seen = projectionOf(client);
      const attempts = found.attempts.map((row) => attemptView(row, found.task.action, seen));
      return { body: { payload: null, ...taskView(found.task, seen, true), attempts } };
    },
  });
}

const ONE_STATUS = `(${TASK_STATUSES.join('|')})`;
const STATUS_LIST = new RegExp(`^${ONE_STATUS}(,${ONE_STATUS})*$`);

const listQuery = z.strictObject({
  status: z
    .string()
    .regex(STATUS_LIST, `expected one or more of ${TASK_STATUSES.join(', ')}, comma-separated`)
    .transform((text) => text.split(','))
    .pipe(z.array(z.enum(TASK_STATUSES)))
    .optional()
    .meta({ description: `one or more of ${TASK_STATUSES.join(', ')}, comma-separated` }),
  queue: givenText().optional(),
  action: givenText().optional(),
  priority: z.enum(PRIORITY_NAMES).optional(),
  created_after: givenTime().optional().meta({ description: 'inclusive' }),
  created_before: givenTime().optional().meta({ description: 'exclusive' }),
  group: givenText().optional(),
  idempotency_key: givenText().optional().meta({ description: 'the `Idempotency-Key` of the submission' }),
  metadata: parameterFamily(
    'metadata',
    metadataMembers,
    'tasks with this member in their metadata: `metadata.customer=4711`; if there are several, a task has all of them',
  ),
  trace_id: givenText().optional(),
  include: z
    .enum(['payload'])
    .optional()
    .meta({ description: '`payload` adds the payloads; it needs the scope `payload`' }),
  ...pageQuery(),
});

/** The id of a page's last task. */
const taskPosition = z.tuple([z.string().refine(isTaskId)]);

function listTasks({ reads, cursors, projectionOf }: TaskRoutesOptions) {
  return defineRoute({
    method: 'get',
    path: '/tasks',
    summary: 'List tasks, newest first',
    scope: 'read',
    readsBytes: PAGE_BYTES_MAX,
    description:
      `${SEARCHED_PAGES} Tasks with a group, an idempotency key or a member of metadata are found by an index. All tasks ` +
      'of a page are read in one snapshot, and each is shown once. Different pages are read at different times. No task ' +
      'is on two pages, and a task that matches the filter the whole time is on one of them. A task that starts or stops ' +
      'matching between two pages may or may not be shown. A task that is submitted after the first page is not shown. ' +
      LISTED_FOR_CLIENT,
    query: listQuery,
    responses: {
      200: {
        description: 'A page of tasks',
        schema: pageSchema(taskSchema),
        links: taskLinks('$response.body#/items/0/id'),
      },
    },
    problems: ['missing_scope', 'invalid_cursor'],
    async handler({ query, client }) {
      const { cursor, limit, include, priority } = query;
      const withPayload = include === 'payload';
      if (withPayload) requireScope(client, 'payload', '`include=payload`');
      const seen = projectionOf(client);
      refuseHiddenFilter(client, seen, query);
      const filter = {
        statuses: query.status,
        queue: query.queue,
        action: query.action,
        priority: priority === undefined ? undefined : PRIORITIES[priority],
        group: query.group,
        idempotencyKey: query.idempotency_key,
        metadata: query.metadata,
        traceId: query.trace_id,
        createdAfterMs: milliseconds(query.created_after),
        createdBeforeMs: milliseconds(query.created_before),
      };
      const scope = { route: 'GET /tasks', filter, at: 'query:cursor' };
      const [before] = (await cursors.open(scope, taskPosition, cursor)) ?? [null];
      const { rows, next } = await reads.list(filter, sightOf(client), before, limit, withPayload);
      const items = rows.map((row) => taskView(row, seen, withPayload));
      return {
        body: { items, next_cursor: await cursors.seal(scope, next === null ? null : [next]) },
      };
    },
  });
}

/** The number of a page's last attempt. */
const attemptPosition = z.tuple([z.int32()]);

function listAttempts({ reads, cursors, projectionOf }: TaskRoutesOptions) {
  return defineRoute({
    method: 'get',
    path: '/tasks/{id}/logs',
    summary: 'List the executions of a task, oldest first',
    scope: 'read',
    description: 'A page ends with the execution that makes it longer than about 1 MiB.',
    readsBytes: PAGE_BYTES_MAX,
    params: z.object({ id: taskIdParam }),
    query: z.strictObject(pageQuery()),
    responses: { 200: { description: 'A page of executions', schema: pageSchema(attemptSchema) } },
    problems: ['task_not_found', 'invalid_cursor'],
    async handler({ params: { id }, query: { cursor, limit }, client, annotate }) {
      annotate({ task_id: id });
      const sight = sightOf(client);
      const seen = projectionOf(client);
      // The submission never changes, so it is enough to look before the attempts are read.
      const looked = sight.queues !== null || seen.needsAction;
      const submission = looked ? await reads.submission(id, sight.queues) : undefined;
      if (submission === null) throw unknownTask(id);
      const scope = { route: 'GET /tasks/{id}/logs', filter: id, at: 'query:cursor' };
      const [after] = (await cursors.open(scope, attemptPosition, cursor)) ?? [0];
      const { rows, next } = await reads.attempts(id, after, limit, sight);
      if (rows.length === 0 && (await reads.submission(id, sight.queues)) === null) throw unknownTask(id);
      return {
        body: {
          items: rows.map((row) => attemptView(row, submission?.action ?? null, seen)),
          next_cursor: await cursors.seal(scope, next === null ? null : [next]),
        },
      };
    },
  });
}

/**
 * Refuses a task that the client does not see, exactly as a task that does not exist. The queue of a task never changes, so
 * it is enough to look before the task is changed. Nothing is looked up for a client that sees all queues.
 */
async function refuseUnseen(reads: Pick<TaskReads, 'submission'>, id: string, { queues }: Sight): Promise<void> {
  if (queues !== null && (await reads.submission(id, queues)) === null) throw unknownTask(id);
}

const cancelAnswer = z.object({ id: z.string(), status: z.enum(TASK_STATUSES), cancel_requested: z.literal(true) });

function cancelTask({ cancels, reads, queue, cancelChannel }: TaskRoutesOptions) {
  return defineRoute({
    method: 'post',
    path: '/tasks/{id}/cancel',
    summary: 'Cancel a task',
    scope: 'operate',
    audit: 'task.cancel',
    description:
      'A waiting task becomes CANCELLED at once. A running task is asked to stop, and becomes CANCELLED unless it still completes.',
    params: z.object({ id: taskIdParam }),
    responses: {
      200: { description: 'The task is CANCELLED', schema: cancelAnswer },
      202: { description: 'The task is running, and its worker is asked to stop it', schema: cancelAnswer },
    },
    problems: ['task_not_found', 'not_cancellable'],
    async handler(request) {
      const { id } = request.params;
      request.annotate({ task_id: id });
      await refuseUnseen(reads, id, sightOf(request.client));
      const result = await cancels.cancel(id, actorOf(request));
      if (result === null) throw unknownTask(id);
      request.annotate({ queue: result.queue });
      if (result.verdict === 'finished') {
        throw new Problem('not_cancellable', `the task is already ${result.status}`);
      }
      await tellRedis(queue, cancelChannel, result);
      const body = { id, status: result.status, cancel_requested: true as const };
      return result.verdict === 'requested' ? { status: 202 as const, body } : { status: 200 as const, body };
    },
  });
}

/**
 * Tells Redis about a cancel that PostgreSQL has already committed. It only saves a refused start, or some seconds
 * until the worker notices the cancel, so an outage of Redis is ignored.
 */
async function tellRedis(
  queue: Pick<TaskQueue, 'drop'>,
  channel: Pick<CancelChannel, 'publish'>,
  { verdict, queue: name, position }: CancelResult,
): Promise<void> {
  try {
    if (verdict === 'requested') await channel.publish(position.id);
    else await queue.drop(name, [position]);
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
  }
}

function milliseconds(time: string | undefined): number | undefined {
  return time === undefined ? undefined : Date.parse(time);
}
