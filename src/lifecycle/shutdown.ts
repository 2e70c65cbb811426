import type { Logger } from 'pino';
import { SchedulerError } from '../core/errors.ts';
import type { Service } from './service.ts';

/**
 * Starts services in order. Stops all of them in reverse order when SIGTERM or SIGINT
 * arrives, or when `finished` settles. A second signal ends the process at once (130).
 * @returns the exit code: 0 after a clean stop, the error's `exitCode` if a start or `finished` failed, 1 for other
 * failures
 */
export async function runServices(
  services: readonly Service[],
  log: Logger,
  finished: Promise<unknown> = new Promise(() => {}),
): Promise<number> {
  const interrupted = Promise.withResolvers<string>();
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (++signals > 1) process.exit(130);
    interrupted.resolve(signal);
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);

  let exitCode = 0;
  try {
    for (const service of services) {
      const early = await Promise.race([service.start().then(() => undefined), interrupted.promise]);
      if (early !== undefined) break;
    }
    const reason = await Promise.race([interrupted.promise, finished.then(() => 'finished')]);
    log.info({ reason }, 'stopping');
  } catch (error) {
    log.fatal({ err: error }, 'stopping after a failure');
    exitCode = error instanceof SchedulerError ? error.exitCode : 1;
  }

  // Also stop services that never started: resources opened at construction would keep the process alive.
  for (const service of services.toReversed()) {
    try {
      await service.stop();
    } catch (error) {
      // Retryable errors need no operator, so they are only warnings.
      const level = error instanceof SchedulerError && error.retryable ? 'warn' : 'error';
      log[level]({ err: error, service: service.name }, 'service did not stop cleanly');
      exitCode ||= 1;
    }
  }
  process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  return exitCode;
}
