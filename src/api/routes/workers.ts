import { z } from 'zod';
import type { RegisteredWorker, WorkerRegistry } from '../../queue/worker-registry.ts';
import { defineRoute, type Route } from '../route.ts';
import { time } from './task-view.ts';

export interface WorkerRoutesOptions {
  readonly registry: Pick<WorkerRegistry, 'list'>;
  /** Milliseconds since 1970 by Redis' clock, which beats are stamped with. */
  readonly redisNowMs: () => Promise<number>;
}

const workerSchema = z
  .object({
    id: z.string(),
    alive: z.boolean().meta({ description: 'false once its heartbeat has run out' }),
    last_beat_at: time(),
    last_beat_age: z.number().meta({ description: 'seconds' }),
    host: z.string().nullable(),
    pid: z.int().nullable(),
    queues: z.array(z.string()).nullable(),
    slots: z.int().nullable(),
    busy: z.int().nullable().meta({ description: 'slots in use' }),
    started_at: time().nullable(),
    draining: z.boolean().nullable().meta({ description: 'true once it has stopped claiming' }),
  })
  .meta({ id: 'Worker', description: 'What a silent worker last told of itself is forgotten: null' });

/** Looking at workers. */
export function workerRoutes({ registry, redisNowMs }: WorkerRoutesOptions): Route[] {
  const list = defineRoute({
    method: 'get',
    path: '/workers',
    summary: 'List workers, the latest beat first',
    responses: {
      200: { description: 'All workers in the registry', schema: z.object({ items: z.array(workerSchema) }) },
    },
    async handler() {
      const [workers, nowMs] = await Promise.all([registry.list(), redisNowMs()]);
      const items = workers.toSorted((a, b) => b.lastBeatMs - a.lastBeatMs).map((worker) => workerView(worker, nowMs));
      return { body: { items } };
    },
  });
  return [list];
}

function workerView({ id, lastBeatMs, description }: RegisteredWorker, nowMs: number): z.input<typeof workerSchema> {
  return {
    id,
    alive: description !== null,
    last_beat_at: new Date(lastBeatMs).toISOString(),
    last_beat_age: Math.max(0, Math.round(nowMs - lastBeatMs)) / 1_000,
    host: description?.host ?? null,
    pid: description?.pid ?? null,
    queues: description === null ? null : [...description.queues],
    slots: description?.slots ?? null,
    busy: description?.busy ?? null,
    started_at: description?.startedAt ?? null,
    draining: description?.draining ?? null,
  };
}
