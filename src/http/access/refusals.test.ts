import { beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { serveApp } from '../../../test/harness/serve-app.ts';
import { ANYBODY, type Client } from '../../core/access/client.ts';
import { dlqRoutes } from '../../features/dlq/routes.ts';
import { queueRoutes } from '../../features/queues/routes.ts';
import { sessionRoutes } from '../../features/sessions/routes.ts';
import { taskRoutes } from '../../features/tasks/routes.ts';
import { submitRoutes } from '../../features/tasks/submit-routes.ts';
import { workerRoutes } from '../../features/workers/routes.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import type { AppOptions } from '../app.ts';
import { Problem } from '../problem.ts';
import { defineRoute } from '../route.ts';
import type { Refusal } from './refusals.ts';

const ID = '019a5b3c-8f00-7000-8000-0123456789ab';
/** The handlers of these routes are never reached. */
const nothing = {} as never;
const routes = [
  ...taskRoutes(nothing),
  ...submitRoutes({ payloadMaxBytes: 1_024, batchMaxTasks: 10, batchMaxBytes: 1_024 } as never),
  ...dlqRoutes(nothing),
  ...queueRoutes(nothing),
  ...workerRoutes(nothing),
  ...sessionRoutes({} as never),
];

const refusals: Refusal[] = [];
let mayDo: Client = { ...ANYBODY, name: 'viewer', scopes: new Set(['read']) };
const options: AppOptions = {
  routes: [
    ...routes,
    defineRoute({
      method: 'post',
      path: '/items/{name}',
      summary: 'Refuse an item',
      params: z.object({ name: z.string() }),
      scope: 'read',
      audit: 'queue.pause',
      responses: {},
      async handler() {
        throw new Problem('missing_scope', 'the handler looked closer');
      },
    }),
  ],
  authentication: { clientOf: () => mayDo },
  refusals: { note: (refusal) => void refusals.push(refusal) },
  metrics: createMetrics(),
  log: createLogger('silent', {}),
};
let url = '';
beforeAll(async () => {
  ({ url } = await serveApp(options));
});

async function refusedBy(method: string, path: string): Promise<Refusal[]> {
  refusals.length = 0;
  const response = await fetch(url + path, { method, headers: { 'x-trace-id': 'trace-1' } });
  expect(response.status).toBe(403);
  return [...refusals];
}

it('every route that changes something has a name for the audit log, and no other route has', () => {
  const names = routes.map(({ method, audit }) => [method === 'get', audit !== undefined]);
  expect(names.filter(([reads, isAudited]) => reads === isAudited)).toEqual([]);
});

it.each([
  ['POST', '/tasks', 'task.submit', null],
  ['POST', '/tasks/batch', 'task.submit', null],
  ['POST', `/tasks/${ID}/cancel`, 'task.cancel', `task:${ID}`],
  ['POST', `/dlq/${ID}/requeue`, 'task.requeue', `task:${ID}`],
  ['POST', '/dlq/requeue', 'dlq.requeue', null],
  ['PUT', '/queues/mail', 'queue.change', 'queue:mail'],
  ['DELETE', '/queues/mail', 'queue.delete', 'queue:mail'],
  ['POST', '/queues/mail/pause', 'queue.pause', 'queue:mail'],
  ['POST', '/queues/mail/resume', 'queue.resume', 'queue:mail'],
])('%s %s is noted as %s', async (method, path, action, object) => {
  expect(await refusedBy(method, path)).toEqual([
    { client: 'viewer', action, code: 'missing_scope', object, address: '127.0.0.1', traceId: 'trace-1' },
  ]);
});

it('a handler that refuses is noted as well', async () => {
  expect(await refusedBy('POST', '/items/mail')).toMatchObject([{ action: 'queue.pause', object: 'queue:mail' }]);
});

it.each(['%00', 'a%20b', 'x'.repeat(65), '%F0%9F%92%A5'])(
  'leaves out a name that no queue can have: %s',
  async (name) => {
    expect(await refusedBy('POST', `/queues/${name}/pause`)).toMatchObject([{ action: 'queue.pause', object: null }]);
  },
);

it.each(['a-token-that-somebody-has-put-here-by-mistake', '019a5b3c-8f00-7000-8000-0123456789ab0', 'sch_aaaaaaaa_b'])(
  'leaves out what is not the id of a session: %s',
  async (id) => {
    expect(await refusedBy('DELETE', `/sessions/${id}`)).toMatchObject([{ action: 'session.end', object: null }]);
  },
);

it('reads are not noted, and neither is what fails for another reason', async () => {
  mayDo = { ...mayDo, scopes: new Set(['operate']) };
  expect(await refusedBy('GET', '/queues')).toEqual([]);
  const invalid = await fetch(`${url}/tasks/no-id/cancel`, { method: 'POST' });
  expect([invalid.status, refusals]).toEqual([422, []]);
});
