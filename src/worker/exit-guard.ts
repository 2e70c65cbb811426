import { LAST_WORDS_MS } from '../config/timings.ts';
import type { Service } from '../lifecycle/service.ts';
import type { WorkerEnd } from '../engine/presence/worker-registry.ts';
import type { Logger } from '../telemetry/logger.ts';
import { runningAttempt } from './executor.ts';
import type { Pulse } from './pulse.ts';

export interface ExitGuardParts {
  readonly pulse: Pick<Pulse, 'endWith'>;
  readonly log: Logger;
}

/** The exit code of a process that is told a second time to end. */
const AT_ONCE = 130;

/**
 * Says what ended the process when a handler calls `process.exit()`: one line in the log, and last words that the
 * heartbeat thread leaves in the registry, where whoever takes the tasks back finds them. Ends that the worker
 * brought about itself are not its business.
 */
export function createExitGuard({ pulse, log }: ExitGuardParts): Service {
  const onExit = (code: number): void => {
    const attempt = runningAttempt.getStore();
    if (attempt === undefined && code === AT_ONCE) return;
    const who =
      attempt === undefined
        ? 'something outside of any handler'
        : `the handler of the task ${attempt.task.id} (action ${JSON.stringify(attempt.action)})`;
    const end: WorkerEnd = { reason: 'exit', message: `${who} ended the process with process.exit(${code})` };
    const task =
      attempt === undefined
        ? {}
        : {
            task_id: attempt.task.id,
            trace_id: attempt.task.traceId,
            attempt: attempt.task.attempt,
            queue: attempt.task.queue,
            action: attempt.action,
          };
    log.fatal(
      { exit_code: code, ...task, why: end.message },
      'the process exits, and the worker did not have it do so',
    );
    pulse.endWith(JSON.stringify(end), LAST_WORDS_MS);
  };
  return {
    name: 'exit-guard',
    async start() {
      process.on('exit', onExit);
    },
    async stop() {
      process.off('exit', onExit);
    },
  };
}
