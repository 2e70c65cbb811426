import { z } from 'zod';
import type { Registry } from 'prom-client';
import type { ReadinessSwitch } from './readiness.ts';
import { defineRoute } from './route.ts';

const problems = z.array(z.string()).meta({
  description: 'what keeps it from being ready, or is wrong although it is, for people',
});

/** Probes and figures for an orchestrator and its monitoring. */
export function healthRoutes(readiness: Pick<ReadinessSwitch, 'now' | 'problems'>, registry: Registry) {
  const healthz = defineRoute({
    method: 'get',
    path: '/healthz',
    summary: 'Tell that the process turns',
    description: 'Looks at no store: restarting this process mends none.',
    tags: ['operation'],
    responses: {
      200: { description: 'It does', schema: z.object({ status: z.literal('ok') }), example: { status: 'ok' } },
    },
    handler: async () => ({ body: { status: 'ok' as const } }),
  });

  const readyz = defineRoute({
    method: 'get',
    path: '/readyz',
    summary: 'Tell whether requests are welcome',
    description:
      'An outage later on is answered by 503 of the routes that it concerns, not here: all replicas would leave at once.',
    tags: ['operation'],
    responses: {
      200: {
        description: 'They are',
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
    tags: ['operation'],
    responses: {
      200: { description: 'In the text format of Prometheus', schema: z.string(), contentType: registry.contentType },
    },
    handler: async () => ({ body: await registry.metrics() }),
  });

  return [healthz, readyz, metrics];
}
