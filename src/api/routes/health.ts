import { z } from 'zod';
import type { Registry } from 'prom-client';
import { defineRoute } from '../route.ts';

/** Whether this process shall get requests: `starting` until PostgreSQL has answered once, `draining` from the signal to stop. */
export type Readiness = 'starting' | 'ready' | 'draining';

const readinessAnswer = (status: Readiness) => z.object({ status: z.literal(status) });

/** Probes and figures for an orchestrator and its monitoring. */
export function healthRoutes(readiness: () => Readiness, registry: Registry) {
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
      200: { description: 'They are', schema: readinessAnswer('ready'), example: { status: 'ready' } },
      503: {
        description: 'PostgreSQL has not answered yet, or the process is about to stop',
        schema: z.object({ status: z.enum(['starting', 'draining']) }),
        example: { status: 'draining' },
      },
    },
    async handler() {
      const status = readiness();
      return status === 'ready' ? { body: { status } } : { status: 503 as const, body: { status } };
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
