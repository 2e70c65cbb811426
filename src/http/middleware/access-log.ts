import { systemClock, type Clock } from '../../core/clock.ts';
import { withoutRedaction, type Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Middleware } from './request-scope.ts';

/** What no route matched shares one label: clients choose their paths. */
const UNMATCHED = 'unmatched';

const CHANGING = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);

/**
 * Writes one line for a request, at info where it may have changed something,
 * and counts it. Never its headers or bodies.
 */
export function accessLog(metrics: Metrics, log: Logger, clock: Clock = systemClock): Middleware {
  const lines = withoutRedaction(log);
  return async (ctx, next) => {
    const startMs = clock.monotonicMs();
    try {
      await next();
    } finally {
      const durationMs = clock.monotonicMs() - startMs;
      const { route, info, fields } = ctx.state;
      const label = route?.path ?? UNMATCHED;
      metrics.httpRequests.inc({ route: label, status: String(ctx.status) });
      metrics.httpDuration.observe({ route: label }, durationMs / 1_000);
      // Not a logger of the request's own: making one costs more than the line.
      const line = {
        trace_id: info.trace.traceId,
        method: ctx.method,
        route: label,
        status: ctx.status,
        duration_ms: Math.round(durationMs * 10) / 10,
        client: info.clientAddress,
        ...fields,
      };
      if (CHANGING.has(ctx.method)) lines.info(line, 'request');
      else lines.debug(line, 'request');
    }
  };
}
