import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';
import { runningAttempt } from './executor.ts';

/**
 * Keeps the process alive when a handler lets an error go astray: a promise that
 * nobody awaits, a callback that throws later. Ending it, as Node does by
 * default, would cost every other task of the worker a lost run for a mistake of
 * one. The state of the worker is not in doubt: its own loops catch what they
 * throw. An attempt that hangs because of it ends at its time limit.
 */
export function createStrayErrorGuard(log: Logger): Service {
  const guard = (kind: string) => (error: unknown) => {
    const attempt = runningAttempt.getStore();
    const task =
      attempt === undefined ? {} : { task_id: attempt.task.id, trace_id: attempt.task.traceId, action: attempt.action };
    log.error({ err: error, kind, ...task }, 'error outside of any handler call');
  };
  const onRejection = guard('unhandledRejection');
  const onException = guard('uncaughtException');
  return {
    name: 'stray-errors',
    async start() {
      process.on('unhandledRejection', onRejection).on('uncaughtException', onException);
    },
    async stop() {
      process.off('unhandledRejection', onRejection).off('uncaughtException', onException);
    },
  };
}
