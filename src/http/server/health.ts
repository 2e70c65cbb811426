import type { Registry } from 'prom-client';
import { z } from 'zod';
import { defineRoute } from '../route.ts';
import type { ReadinessSwitch } from './readiness.ts';

const problems = z.array(z.string()).meta({
  description: 'reasons why the process is not ready, and problems that it has although it is ready; texts for people',
});

/** Health probes and metrics, for an orchestrator and its monitoring. */
export function healthRoutes(readiness: Pick<ReadinessSwitch, 'now' | 'problems'>, registry: Registry) {
  const healthz = defineRoute({
    method: 'get',
    path: '/healthz',
    summary: 'Check that the process is alive',
    scope: 'public',
    description:
      'The check does not look at PostgreSQL or Redis, because restarting this process would not repair them.',
    tags: ['operation'],
    responses: {
      200: {
        description: 'The process is alive',
        schema: z.object({ status: z.literal('ok') }),
        example: { status: 'ok' },
      },
    },
    handler: async () => ({ body: { status: 'ok' as const } }),
  });

  const readyz = defineRoute({
    method: 'get',
    path: '/readyz',
    summary: 'Check that the process accepts requests',
    scope: 'public',
    description:
      'Once ready, the process stays ready until it stops. During a later outage, the routes that need the store answer ' +
      '503; if this probe failed too, all replicas would be taken out of service at once.',
    tags: ['operation'],
    responses: {
      200: {
        description: 'The process accepts requests',
        schema: z.object({ status: z.literal('ready'), problems }),
        example: { status: 'ready', problems: [] },
      },
      503: {
        description:
          'PostgreSQL has not answered yet, Redis has refused this process since its start, or the process is about to stop',
        schema: z.object({ status: z.enum(['starting', 'draining']), problems }),
        example: {
          status: 'starting',
          problems: ['redis: WRONGPASS invalid username-password pair or user is disabled.'],
        },
      },
    },
    async handler() {
      const status = readiness.now();
      const body = { problems: readiness.problems() };
      return status === 'ready' ? { body: { status, ...body } } : { status: 503 as const, body: { status, ...body } };
    },
  });

  const metrics = defineRoute({
    method: 'get',
    path: '/metrics',
    summary: 'Show the metrics of this process',
    scope: 'metrics',
    tags: ['operation'],
    responses: {
      200: {
        description: 'The metrics in the text format of Prometheus',
        schema: z.string(),
        contentType: registry.contentType,
      },
    },
    handler: async () => ({ body: await registry.metrics() }),
  });

  return [healthz, readyz, metrics];
}
