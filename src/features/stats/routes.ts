import { z } from 'zod';
import type { NamePatterns } from '../../core/access/name-patterns.ts';
import { StatementTimedOutError, StoreUnavailableError } from '../../core/errors.ts';
import { countQueues, queueCountsSchema } from '../../engine/counts/queue-counts.ts';
import type { ReadyAges } from '../../engine/counts/ready-ages.ts';
import type { SweeperRow, SystemReads } from '../../engine/counts/system-reads.ts';
import type { TaskQueue } from '../../engine/order/task-queue.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { time } from '../../http/task-parts.ts';
import { isoTime } from '../../postgres/reads/iso-time.ts';
import { visibleQueues } from '../../postgres/reads/sight.ts';

export interface StatsRoutesOptions {
  readonly reads: SystemReads;
  readonly queue: Pick<TaskQueue, 'counts' | 'settledCounts'>;
  readonly readyAges: ReadyAges;
}

const sweeperSchema = z
  .object({
    last_success_at: time().nullable(),
    reclaimer_last_success_at: time().nullable(),
    last_holder: z.string().nullable().meta({ description: 'the process that last took the lease' }),
    passes_by_reclaimer: z.int(),
    passes_by_workers: z.int(),
    passes_by_api: z.int(),
  })
  .meta({ id: 'Sweeper' });

const UNCOUNTED = 'null if there are too many to count, or if the client may not use all queues (`*`)';

const statsSchema = z
  .object({
    stores: z.object({ postgresql: z.enum(['up', 'down']), redis: z.enum(['up', 'down']) }),
    tasks: z
      .object({ PENDING: z.int(), SCHEDULED: z.int(), PROCESSING: z.int() })
      .nullable()
      .meta({ description: `unfinished tasks; ${UNCOUNTED}` }),
    open_dead_letters: z.int().nullable().meta({ description: UNCOUNTED }),
    sweeper: sweeperSchema.nullable(),
    queues: z
      .array(
        z.object({
          name: z.string(),
          paused: z.boolean(),
          counts: queueCountsSchema.nullable(),
          oldest_ready_age: z.number().nullable().meta({ description: 'seconds, as in `GET /queues`' }),
          settled: z
            .record(z.string(), z.int())
            .nullable()
            .meta({ description: 'attempts by how they were settled, since Redis last lost its data' }),
        }),
      )
      .nullable(),
  })
  .meta({ id: 'Stats', description: 'Values that would come from a store that is down are null' });

/** Makes the route that shows an overview of the system. */
export function statsRoutes(options: StatsRoutesOptions): Route[] {
  const stats = defineRoute({
    method: 'get',
    path: '/stats',
    summary: 'Show an overview of the system',
    scope: 'read',
    responses: { 200: { description: 'Figures of both stores', schema: statsSchema } },
    description:
      'A client sees its own queues only. Their tasks are counted for each queue, in `queues`. The totals are null unless it ' +
      'may use all queues (`*`): to count those of some queues, all unfinished tasks would have to be read.',
    handler: async ({ client }) => ({ body: await readStats(options, client.queues) }),
  });
  return [stats];
}

async function readStats(
  { reads, queue, readyAges }: StatsRoutesOptions,
  patterns: NamePatterns,
): Promise<z.input<typeof statsSchema>> {
  const [rows, redis] = await Promise.all([readRows(reads, patterns), orNull(queue.settledCounts('default'))]);
  const names = rows?.queues.map(({ name }) => name) ?? [];
  const [counted, settled] = await Promise.all([
    countQueues(queue, names, readyAges),
    orNull(Promise.all(names.map((name) => queue.settledCounts(name)))),
  ]);
  const queues = rows?.queues.map(({ name, paused }, i) => ({
    name,
    paused,
    counts: counted[i]?.counts ?? null,
    oldest_ready_age: counted[i]?.oldestReadyAge ?? null,
    settled: settled?.[i] ?? null,
  }));
  return {
    stores: { postgresql: rows === null ? 'down' : 'up', redis: redis === null ? 'down' : 'up' },
    tasks: rows?.tasks ?? null,
    open_dead_letters: rows?.deadLetters ?? null,
    sweeper: rows === null ? null : sweeperView(rows.sweeper),
    queues: queues ?? null,
  };
}

/** Reads the figures of PostgreSQL; null while it is away. */
async function readRows(reads: SystemReads, patterns: NamePatterns) {
  // A count that takes too long is not an outage: only that count becomes null.
  const withSystem = patterns.everything;
  const counts = patterns.all
    ? ([
        orNull(reads.openTasks(withSystem), StatementTimedOutError),
        orNull(reads.openDeadLetters(withSystem), StatementTimedOutError),
      ] as const)
    : ([null, null] as const);
  const all = await orNull(Promise.all([...counts, reads.sweeper(), reads.queues(visibleQueues(patterns))]));
  if (all === null) return null;
  const [tasks, deadLetters, sweeper, queues] = all;
  return { tasks, deadLetters, sweeper, queues };
}

type ErrorClass = abstract new (...args: never) => Error;

/** Returns null instead of throwing an error of the given kind. */
async function orNull<Value>(value: Promise<Value>, kind: ErrorClass = StoreUnavailableError): Promise<Value | null> {
  try {
    return await value;
  } catch (error) {
    if (!(error instanceof kind)) throw error;
    return null;
  }
}

function sweeperView(row: SweeperRow): z.input<typeof sweeperSchema> {
  return {
    last_success_at: isoTime(row.last_success_at),
    reclaimer_last_success_at: isoTime(row.reclaimer_success_at),
    last_holder: row.holder === '' ? null : row.holder,
    passes_by_reclaimer: row.passes_by_reclaimer,
    passes_by_workers: row.passes_by_worker,
    passes_by_api: row.passes_by_api,
  };
}
