import { LAST_WORDS_MS } from '../config/timings.ts';
import type { WorkerEnd } from '../engine/presence/worker-registry.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';
import { runningAttempt } from './executor.ts';
import type { Pulse } from './pulse.ts';

export interface ExitGuardParts {
  readonly pulse: Pick<Pulse, 'endWith'>;
  readonly log: Logger;
}

/** The exit code after a second signal to end. */
const AT_ONCE = 130;

/**
 * Reports which handler ended the process with `process.exit()`. It logs one line, and the heartbeat thread writes last
 * words to the registry, where the sweep that takes the tasks back finds them. The guard ignores an exit that the worker
 * caused itself.
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
    log.fatal({ exit_code: code, ...task, why: end.message }, 'the process exits, but the worker did not request it');
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
