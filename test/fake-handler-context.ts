import { pino } from 'pino';
import { attemptToken, type StartedTask } from '../src/core/task.ts';
import type { HandlerContext } from '../src/engine/attempts/handler.ts';

export const fakeTask: StartedTask = {
  id: '0192f0c1-2345-7abc-8def-0123456789ab',
  queue: 'default',
  action: null,
  payload: 'null',
  priority: 2,
  group: null,
  placeMs: 1_700_000_000_000,
  executionTimeSeconds: null,
  attempt: 1,
  failures: 0,
  lost: 0,
  maxRetries: 3,
  backoff: null,
  timeoutMs: 60_000,
  metadata: null,
  traceId: 'trace-1',
  traceparent: null,
};

/** Returns a context like the one that a worker passes to a handler. */
export function fakeHandlerContext(
  payload: unknown,
  task: Partial<StartedTask> = {},
  signal = new AbortController().signal,
): HandlerContext {
  const whole = { ...fakeTask, payload: JSON.stringify(payload) ?? 'null', ...task };
  return {
    task: whole,
    payload,
    signal,
    log: pino({ level: 'silent' }),
    progress: () => {},
    attemptToken: attemptToken(whole),
  };
}
