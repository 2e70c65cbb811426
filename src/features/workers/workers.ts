import { z } from 'zod';
import type { Config } from '../../config/env.ts';
import { LOOP_STALLED_MS } from '../../config/timings.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { RegisteredWorker, WorkerRegistry } from '../../engine/presence/worker-registry.ts';
import { WORKERS_MAX, type WorkerHoldings } from '../../engine/presence/worker-holdings.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { time } from '../../http/task-parts.ts';

export interface WorkerRoutesOptions {
  readonly registry: Pick<WorkerRegistry, 'list'>;
  /** What workers hold by PostgreSQL. */
  readonly holdings: () => Promise<WorkerHoldings[]>;
  readonly settings: Pick<Config, 'HEARTBEAT_INTERVAL'>;
  /** Milliseconds since 1970 by Redis' clock, which beats are stamped with. */
  readonly redisNowMs: () => Promise<number>;
}

const WORKER_STATES = ['alive', 'stalled', 'silent', 'dead', 'unknown'] as const;

const workerSchema = z
  .object({
    id: z.string(),
    state: z.enum(WORKER_STATES).meta({
      description:
        '`alive`: it beats. `stalled`: it beats, but its main loop stands still, blocked by a handler. ' +
        '`silent`: its beat is overdue, it is frozen or cut off. `dead`: its heartbeat has run out. ' +
        '`unknown`: a running task names it, and Redis does not know it',
    }),
    alive: z.boolean().meta({ description: 'false once its heartbeat has run out' }),
    last_beat_at: time().nullable(),
    last_beat_age: z.number().nullable().meta({ description: 'seconds' }),
    loop_age: z
      .number()
      .nullable()
      .meta({ description: 'seconds for which its main loop had stood still when it last beat' }),
    holds: z
      .object({
        count: z.int().meta({ description: 'a thousand stands for more' }),
        task_ids: z.array(z.string()).meta({ description: 'the twenty oldest' }),
      })
      .nullable()
      .meta({ description: 'the running tasks that are its own by PostgreSQL; null while that is away' }),
    host: z.string().nullable(),
    pid: z.int().nullable(),
    queues: z.array(z.string()).nullable(),
    actions: z
      .array(z.string())
      .nullable()
      .meta({ description: 'the actions that it has handlers for, at most 200 of them' }),
    slots: z.int().nullable(),
    busy: z.int().nullable().meta({ description: 'slots in use, as it told with its last beat' }),
    started_at: time().nullable(),
    draining: z.boolean().nullable().meta({ description: 'true once it has stopped claiming' }),
    end: z.string().nullable().meta({ description: 'why it ended, where it could say so' }),
  })
  .meta({
    id: 'Worker',
    description: 'What a worker told of itself last; null where that was more than a day ago, or never',
  });

type WorkerView = z.input<typeof workerSchema>;

/** Looking at workers. */
export function workerRoutes({ registry, holdings, settings, redisNowMs }: WorkerRoutesOptions): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/workers',
    summary: 'List workers, the latest beat first',
    description:
      'Those that beat, those that are silent, and those that were presumed dead in the last day. ' +
      'One that ended as it was told to is not listed.',
    responses: {
      200: {
        description: `At most ${WORKERS_MAX} workers`,
        schema: z.object({ items: z.array(workerSchema) }),
      },
    },
    async handler() {
      const [workers, nowMs, held] = await Promise.all([registry.list(), redisNowMs(), whileAnswered(holdings)]);
      const heldBy = held === null ? null : new Map(held.map((each) => [each.workerId, each]));
      const views = workers
        .toSorted((a, b) => b.lastBeatMs - a.lastBeatMs)
        .map((worker) => workerView(worker, heldBy, nowMs, settings));
      const known = new Set(workers.map(({ id }) => id));
      const unknown = (held ?? []).filter(({ workerId }) => !known.has(workerId)).map(unknownView);
      return { body: { items: [...unknown, ...views].slice(0, WORKERS_MAX) } };
    },
  });
  return [list];
}

/** Null while PostgreSQL is away: what Redis knows is worth an answer. */
async function whileAnswered(holdings: WorkerRoutesOptions['holdings']): Promise<WorkerHoldings[] | null> {
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
  settings: WorkerRoutesOptions['settings'],
): WorkerView {
  const { id, alive, lastBeatMs, description, end } = worker;
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
    queues: description === null ? null : [...description.queues],
    actions: description?.actions === undefined ? null : [...description.actions],
    slots: description?.slots ?? null,
    busy: description?.busy ?? null,
    started_at: description?.startedAt ?? null,
    draining: description?.draining ?? null,
    end: end?.message ?? null,
  };
}

/** A beat may be late by half an interval before that says anything. */
function stateOf(
  { alive, description }: RegisteredWorker,
  beatAgeMs: number,
  { HEARTBEAT_INTERVAL }: WorkerRoutesOptions['settings'],
): WorkerView['state'] {
  if (!alive) return 'dead';
  if (beatAgeMs > 1.5 * HEARTBEAT_INTERVAL) return 'silent';
  return (description?.loopAgeMs ?? 0) > LOOP_STALLED_MS ? 'stalled' : 'alive';
}

/** Somebody whom a running task names, and nobody else. */
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
