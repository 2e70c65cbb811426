import { z } from 'zod';
import type { Config } from '../../config/env.ts';
import { LOOP_STALLED_MS } from '../../config/timings.ts';
import type { NamePatterns } from '../../core/access/name-patterns.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { RegisteredWorker, WorkerRegistry } from '../../engine/presence/worker-registry.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { time } from '../../http/task-parts.ts';
import { visibleQueues, type VisibleQueues } from '../../postgres/reads/sight.ts';
import { WORKERS_MAX, type WorkerHoldings } from './worker-holdings.ts';

export interface WorkerRoutesOptions {
  readonly registry: Pick<WorkerRegistry, 'list'>;
  /** Reads the tasks that workers hold, from PostgreSQL. */
  readonly holdings: (visible: VisibleQueues) => Promise<WorkerHoldings[]>;
  readonly settings: Pick<Config, 'HEARTBEAT_INTERVAL'>;
  /** Milliseconds since 1970 by the clock of Redis, which also gives beats their time. */
  readonly redisNowMs: () => Promise<number>;
}

const WORKER_STATES = ['alive', 'stalled', 'silent', 'dead', 'unknown'] as const;

const workerSchema = z
  .object({
    id: z.string(),
    state: z.enum(WORKER_STATES).meta({
      description:
        '`alive`: the worker sends heartbeats. `stalled`: it sends heartbeats, but a handler blocks its main loop. ' +
        '`silent`: its heartbeat is overdue, because it is frozen or cut off. `dead`: its heartbeat has expired. ' +
        '`unknown`: a running task names the worker, but Redis does not know it',
    }),
    alive: z.boolean().meta({ description: 'false after its heartbeat has expired' }),
    last_beat_at: time().nullable(),
    last_beat_age: z.number().nullable().meta({ description: 'seconds' }),
    loop_age: z
      .number()
      .nullable()
      .meta({ description: 'seconds since its main loop last ran, at the time of its last heartbeat' }),
    holds: z
      .object({
        count: z.int().meta({ description: 'counted up to a thousand, which means a thousand or more' }),
        task_ids: z.array(z.string()).meta({ description: 'the twenty oldest tasks' }),
      })
      .nullable()
      .meta({ description: 'the running tasks that it holds according to PostgreSQL; null while PostgreSQL is away' }),
    host: z.string().nullable(),
    pid: z.int().nullable(),
    queues: z.array(z.string()).nullable().meta({ description: 'those of its queues that the client may use' }),
    actions: z
      .array(z.string())
      .nullable()
      .meta({ description: 'the actions for which it has handlers, at most 200 of them' }),
    slots: z.int().nullable(),
    busy: z.int().nullable().meta({
      description: 'slots in use at its last heartbeat; null if it also serves queues that the client may not use',
    }),
    started_at: time().nullable(),
    draining: z.boolean().nullable().meta({ description: 'true after it has stopped claiming' }),
    end: z.string().nullable().meta({
      description:
        'the reason why it ended, if it could report one; null if it also served queues that the client may not use',
    }),
  })
  .meta({
    id: 'Worker',
    description: 'The last report of a worker. Values are null if it reported nothing, or more than a day ago',
  });

type WorkerView = z.input<typeof workerSchema>;

/** Makes the route that lists workers. */
export function workerRoutes({ registry, holdings, settings, redisNowMs }: WorkerRoutesOptions): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/workers',
    summary: 'List workers, latest heartbeat first',
    scope: 'read',
    description:
      'Lists workers that send heartbeats, silent workers, and workers that were presumed dead within the last day. ' +
      'Workers that were stopped properly are not listed. A client sees the workers that serve one of its queues, and of ' +
      'what they hold the tasks of its queues.',
    responses: {
      200: {
        description: `At most ${WORKERS_MAX} workers`,
        schema: z.object({ items: z.array(workerSchema) }),
      },
    },
    async handler({ client: { queues: patterns } }) {
      const [workers, nowMs, held] = await Promise.all([
        registry.list(),
        redisNowMs(),
        whileAnswered(() => holdings(visibleQueues(patterns))),
      ]);
      const heldBy = held === null ? null : new Map(held.map((each) => [each.workerId, each]));
      const serves = ({ id, description }: RegisteredWorker): boolean =>
        (description?.queues.some(patterns.matches) ?? false) || (heldBy?.get(id)?.held ?? 0) > 0;
      const seen = patterns.everything ? workers : workers.filter(serves);
      const views = seen
        .toSorted((a, b) => b.lastBeatMs - a.lastBeatMs)
        .map((worker) => workerView(worker, heldBy, nowMs, { settings, patterns }));
      const known = new Set(workers.map(({ id }) => id));
      const unknown = (held ?? []).filter((each) => each.held > 0 && !known.has(each.workerId)).map(unknownView);
      return { body: { items: [...unknown, ...views].slice(0, WORKERS_MAX) } };
    },
  });
  return [list];
}

/** Returns null while PostgreSQL is away, because the data of Redis is still a useful answer. */
async function whileAnswered(holdings: () => Promise<WorkerHoldings[]>): Promise<WorkerHoldings[] | null> {
  try {
    return await holdings();
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    return null;
  }
}

function workerView(
  worker: RegisteredWorker,
  heldBy: ReadonlyMap<string, WorkerHoldings> | null,
  nowMs: number,
  { settings, patterns }: Pick<WorkerRoutesOptions, 'settings'> & { readonly patterns: NamePatterns },
): WorkerView {
  const { id, alive, lastBeatMs, description, end } = worker;
  const queues = description?.queues.filter(patterns.matches);
  // What it does for other queues is hidden: how many of its slots they use, and which of their tasks ended it.
  const isOwn = patterns.everything || (queues !== undefined && queues.length === description?.queues.length);
  const beatAgeMs = Math.max(0, Math.round(nowMs - lastBeatMs));
  return {
    id,
    state: stateOf(worker, beatAgeMs, settings),
    alive,
    last_beat_at: new Date(lastBeatMs).toISOString(),
    last_beat_age: beatAgeMs / 1_000,
    loop_age: description?.loopAgeMs === undefined ? null : description.loopAgeMs / 1_000,
    holds: heldBy === null ? null : holdsView(heldBy.get(id)),
    host: description?.host ?? null,
    pid: description?.pid ?? null,
    queues: queues ?? null,
    actions: description?.actions === undefined ? null : [...description.actions],
    slots: description?.slots ?? null,
    busy: isOwn ? (description?.busy ?? null) : null,
    started_at: description?.startedAt ?? null,
    draining: description?.draining ?? null,
    end: isOwn ? (end?.message ?? null) : null,
  };
}

/** Returns the state of a worker. It is silent only when its beat is late by more than half an interval. */
function stateOf(
  { alive, description }: RegisteredWorker,
  beatAgeMs: number,
  { HEARTBEAT_INTERVAL }: WorkerRoutesOptions['settings'],
): WorkerView['state'] {
  if (!alive) return 'dead';
  if (beatAgeMs > 1.5 * HEARTBEAT_INTERVAL) return 'silent';
  return (description?.loopAgeMs ?? 0) > LOOP_STALLED_MS ? 'stalled' : 'alive';
}

/** The view of a worker that only a running task names. */
function unknownView(held: WorkerHoldings): WorkerView {
  return {
    id: held.workerId,
    state: 'unknown',
    alive: false,
    last_beat_at: null,
    last_beat_age: null,
    loop_age: null,
    holds: holdsView(held),
    host: null,
    pid: null,
    queues: null,
    actions: null,
    slots: null,
    busy: null,
    started_at: null,
    draining: null,
    end: null,
  };
}

function holdsView(held: WorkerHoldings | undefined): NonNullable<WorkerView['holds']> {
  return { count: held?.held ?? 0, task_ids: [...(held?.taskIds ?? [])] };
}
