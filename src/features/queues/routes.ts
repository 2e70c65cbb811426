import { z } from 'zod';
import { StoreUnavailableError } from '../../core/errors.ts';
import { countQueues, queueCountsSchema, type CountedQueue } from '../../engine/counts/queue-counts.ts';
import type { ReadyAges } from '../../engine/counts/ready-ages.ts';
import type { SystemReads } from '../../engine/counts/system-reads.ts';
import type { QueueRow, StoredQueue } from '../../engine/order/queue-settings.ts';
import type { TaskQueue } from '../../engine/order/task-queue.ts';
import type { WorkerRegistry } from '../../engine/presence/worker-registry.ts';
import { givenText } from '../../given/given-values.ts';
import { actorOf } from '../../http/access/actor.ts';
import { requireQueue } from '../../http/access/authentication.ts';
import { Problem } from '../../http/problem.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { visibleQueues } from '../../postgres/reads/sight.ts';
import type { QueueStore, QueueUse } from './queue-store.ts';

export interface QueueRoutesOptions {
  readonly reads: Pick<SystemReads, 'queues' | 'queue'>;
  readonly store: Pick<QueueStore, 'setPaused' | 'setKeepCompleted' | 'deleteQueue'>;
  readonly queue: Pick<TaskQueue, 'counts' | 'setSettings' | 'forget'>;
  readonly registry: Pick<WorkerRegistry, 'serving'>;
  readonly readyAges: ReadyAges;
}

/** Makes the routes that list, show, change, pause, resume and delete queues. */
export function queueRoutes(options: QueueRoutesOptions): Route[] {
  return [
    listQueues(options),
    getQueue(options),
    changeQueue(options),
    deleteQueue(options),
    switchQueue(options, 'pause'),
    switchQueue(options, 'resume'),
  ];
}

const KEEP_COMPLETED = 'with false, nothing is kept of its tasks that complete, except what was submitted';

const queueSchema = z
  .object({
    name: z.string(),
    paused: z.boolean(),
    keep_completed: z.boolean().meta({ description: KEEP_COMPLETED }),
    workers: z.int().nullable().meta({
      description:
        'workers that send heartbeats and claim from the queue; with 0, its tasks wait; null while Redis is away',
    }),
    counts: queueCountsSchema.nullable().meta({ description: 'null while Redis is away' }),
    oldest_ready_age: z.number().nullable().meta({
      description:
        'seconds for which the oldest of the next tasks has been ready; null if none is ready or a store is away',
    }),
  })
  .meta({ id: 'Queue' });

function listQueues({ reads, queue, registry, readyAges }: QueueRoutesOptions) {
  return defineRoute({
    method: 'get',
    path: '/queues',
    summary: 'List queues with their counts',
    scope: 'read',
    description: 'The list has only the queues that the client may use.',
    responses: {
      200: {
        description: 'Queues by name; `counted` is false while Redis is away',
        schema: z.object({ items: z.array(queueSchema), counted: z.boolean() }),
      },
    },
    async handler({ client }) {
      const rows = await reads.queues(visibleQueues(client.queues));
      const names = rows.map(({ name }) => name);
      const [counted, workers] = await Promise.all([
        countQueues(queue, names, readyAges),
        countWorkers(registry, names),
      ]);
      const items = rows.map((row, i) => queueView(row, counted[i] as CountedQueue, workers[i] ?? null));
      return { body: { items, counted: items.every(({ counts }) => counts !== null) } };
    },
  });
}

const nameParams = z.object({ name: givenText().meta({ description: 'name of a queue', example: 'default' }) });

function getQueue(options: QueueRoutesOptions) {
  return defineRoute({
    method: 'get',
    path: '/queues/{name}',
    summary: 'Show a queue with its counts',
    scope: 'read',
    params: nameParams,
    responses: { 200: { description: 'The queue', schema: queueSchema } },
    problems: ['queue_not_allowed', 'queue_not_found'],
    async handler({ params: { name }, client, annotate }) {
      annotate({ queue: name });
      requireQueue(client, name);
      const row = await options.reads.queue(name);
      if (row === null) throw unknownQueue(name);
      return { body: await countedView(options, row) };
    },
  });
}

const settingsBody = z.strictObject({ keep_completed: z.boolean().meta({ description: KEEP_COMPLETED }) });

function changeQueue(options: QueueRoutesOptions) {
  return defineRoute({
    method: 'put',
    path: '/queues/{name}',
    summary: 'Change the settings of a queue',
    scope: 'operate',
    audit: 'queue.change',
    description:
      'A change applies to tasks that are submitted afterwards. Without `keep_completed`, the result of a task that ' +
      'completes is gone, with its counters and times, and only its submission and its status remain. All other ' +
      'tasks are kept as usual. The first submission to a queue creates it; this request does not.',
    params: nameParams,
    body: settingsBody,
    bodyExample: { keep_completed: false },
    responses: { 200: { description: 'The queue as it is now', schema: queueSchema } },
    problems: ['queue_not_allowed', 'queue_not_found'],
    async handler(request) {
      const { name } = request.params;
      request.annotate({ queue: name });
      requireQueue(request.client, name);
      const row = await options.store.setKeepCompleted(name, request.body.keep_completed, actorOf(request));
      if (row === null) throw unknownQueue(name);
      await copySettings(options.queue, row);
      return { body: await countedView(options, row) };
    },
  });
}

const USES: Readonly<Record<QueueUse, string>> = {
  default: 'it is the default queue, which always exists',
  paused: 'it is paused; resume it first, because a queue that is created again is not paused',
  unfinished: 'it has unfinished tasks',
  dead_letters: 'it has open dead letters',
  kept: 'it has finished tasks that are kept until their retention is over',
  in_use: 'a submission to it, or a change of its settings, is in progress',
};

function deleteQueue({ store, queue }: QueueRoutesOptions) {
  return defineRoute({
    method: 'delete',
    path: '/queues/{name}',
    summary: 'Delete a queue that has no tasks',
    scope: 'operate',
    audit: 'queue.delete',
    description:
      'Finished tasks that are still kept count as tasks. The next submission to the queue creates it again. Nothing is ' +
      'deleted while Redis is away.',
    params: nameParams,
    responses: { 204: { description: 'The queue is deleted', schema: z.undefined() } },
    problems: ['queue_not_allowed', 'queue_not_found', 'queue_in_use', 'redis_unavailable'],
    async handler(request) {
      const { name } = request.params;
      request.annotate({ queue: name });
      requireQueue(request.client, name);
      const use = await store.deleteQueue(name, queue.forget, actorOf(request));
      if (use === 'unknown') throw unknownQueue(name);
      if (use !== null) throw new Problem('queue_in_use', `the queue cannot be deleted: ${USES[use]}`);
      return { status: 204 as const, body: undefined };
    },
  });
}

const SWITCHES = {
  pause: {
    paused: true,
    description:
      'No task of the queue is started until it is resumed. Running tasks continue, and submissions are accepted.',
  },
  resume: { paused: false, description: 'Tasks of the queue are started again.' },
} as const;

function switchQueue(options: QueueRoutesOptions, verb: keyof typeof SWITCHES) {
  const { paused, description } = SWITCHES[verb];
  return defineRoute({
    method: 'post',
    path: `/queues/{name}/${verb}`,
    summary: `${verb === 'pause' ? 'Pause' : 'Resume'} a queue`,
    scope: 'operate',
    audit: `queue.${verb}`,
    description,
    params: nameParams,
    responses: { 200: { description: 'The queue as it is now', schema: queueSchema } },
    problems: ['queue_not_allowed', 'queue_not_found'],
    async handler(request) {
      const { name } = request.params;
      request.annotate({ queue: name });
      requireQueue(request.client, name);
      const row = await options.store.setPaused(name, paused, actorOf(request));
      if (row === null) throw unknownQueue(name);
      await copySettings(options.queue, row);
      return { body: await countedView(options, row) };
    },
  });
}

/** Copies the settings to Redis. Ignores an outage: a start also checks the row, and reconcile copies it later. */
async function copySettings(queue: Pick<TaskQueue, 'setSettings'>, row: QueueRow): Promise<void> {
  try {
    await queue.setSettings(row.name, row);
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
  }
}

async function countedView(
  { queue, registry, readyAges }: QueueRoutesOptions,
  row: StoredQueue,
): Promise<z.input<typeof queueSchema>> {
  const [[counted], [workers]] = await Promise.all([
    countQueues(queue, [row.name], readyAges),
    countWorkers(registry, [row.name]),
  ]);
  return queueView(row, counted as CountedQueue, workers ?? null);
}

/** Returns the number of workers that serve each queue, in the given order; nulls while Redis is away. */
async function countWorkers(
  registry: QueueRoutesOptions['registry'],
  names: readonly string[],
): Promise<(number | null)[]> {
  try {
    const serving = await registry.serving();
    return names.map((name) => serving.get(name) ?? 0);
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    return names.map(() => null);
  }
}

function queueView(
  { name, paused, keep_completed }: StoredQueue,
  { counts, oldestReadyAge }: CountedQueue,
  workers: number | null,
): z.input<typeof queueSchema> {
  return { name, paused, keep_completed, workers, counts, oldest_ready_age: oldestReadyAge };
}

function unknownQueue(name: string): Problem {
  return new Problem('queue_not_found', `no queue is named ${JSON.stringify(name)}`);
}
