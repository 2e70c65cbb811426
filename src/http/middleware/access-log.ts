import { systemClock, type Clock } from '../../core/clock.ts';
import { withoutRedaction, type Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Middleware } from './request-scope.ts';

/** All requests without a matching route share this label, because clients choose the paths. */
const UNMATCHED = 'unmatched';

const CHANGING = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);

/**
 * Logs one line for each request and counts the request. The level is info if the request may have changed something,
 * otherwise debug. Headers and bodies are never logged.
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
      // A child logger for each request would cost more than the line.
      const line = {
        trace_id: info.trace.traceId,
        method: ctx.method,
        route: label,
        status: ctx.status,
        duration_ms: Math.round(durationMs * 10) / 10,
        ...(info.client.name === '' ? {} : { client: info.client.name }),
        address: info.clientAddress,
        ...fields,
      };
      if (CHANGING.has(ctx.method)) lines.info(line, 'request');
      else lines.debug(line, 'request');
    }
  };
}
