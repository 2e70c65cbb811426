import { z } from 'zod';
import { actorOf } from '../../http/access/actor.ts';
import { requireScope } from '../../http/access/authentication.ts';
import { defineRoute } from '../../http/route.ts';
import { taskIdParam, unknownTask } from '../../http/task-parts.ts';
import { storedJson } from '../../json/json-text.ts';
import { PAGE_BYTES_MAX } from '../../postgres/reads/search.ts';
import { visibleQueues } from '../../postgres/reads/sight.ts';
import type { RevealStore } from './reveal-store.ts';

export interface RevealRouteOptions {
  readonly reveals: RevealStore;
}

const revealed = z
  .object({
    id: z.string(),
    attempt: z
      .int()
      .nullable()
      .meta({ description: 'the execution that the result belongs to; null if it is not known' }),
    payload: z.unknown(),
    progress: z.unknown(),
    result: z.unknown().meta({ description: 'null if the execution has none, or does not exist' }),
  })
  .meta({ id: 'RevealedTask', description: 'What a task contains, with nothing hidden' });

/**
 * Makes the route that shows what is hidden from everybody else. It is the only way out of the scheduler that does not go
 * through a `Projection`.
 */
export function revealTask({ reveals }: RevealRouteOptions) {
  return defineRoute({
    method: 'post',
    path: '/tasks/{id}/reveal',
    summary: 'Show what is redacted in a task',
    scope: 'admin',
    audit: 'payload.reveal',
    description:
      'Answers with the payload, the progress and the result of a task, and hides nothing. It needs the scope `payload` ' +
      'beside `admin`. Every answer leaves a row `payload.reveal` in the audit log, so ask for it only on behalf of a ' +
      'person who wants to see the values.',
    readsBytes: PAGE_BYTES_MAX,
    params: z.object({ id: taskIdParam }),
    body: z
      .strictObject({
        attempt: z
          .int32()
          .min(1)
          .optional()
          .meta({ description: 'the execution whose result is wanted; default: the latest one' }),
      })
      .prefault({}),
    responses: { 200: { description: 'What the task contains', schema: revealed } },
    problems: ['missing_scope', 'task_not_found'],
    async handler(request) {
      const { params, body, client, annotate } = request;
      annotate({ task_id: params.id });
      requireScope(client, 'payload', 'revealing a task');
      const row = await reveals.reveal(params.id, body.attempt ?? null, visibleQueues(client.queues), actorOf(request));
      if (row === null) throw unknownTask(params.id);
      annotate({ queue: row.queue });
      return {
        body: {
          id: params.id,
          attempt: row.attempt,
          payload: storedJson(row.payload),
          progress: storedJson(row.progress),
          result: storedJson(row.result),
        },
      };
    },
  });
}
