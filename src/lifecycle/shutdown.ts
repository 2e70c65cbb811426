import type { Logger } from 'pino';
import { SchedulerError } from '../core/errors.ts';
import type { Service } from './service.ts';

/**
 * Starts services in order and stops all of them in reverse when SIGTERM or SIGINT
 * arrives, or when `finished` settles. A second signal exits at once (130).
 * @returns the exit code: 0 after a clean stop, 1 if a start, a stop or `finished` failed, or that of the error it failed with
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

  // Those that did not come to start as well: what one has held open since it was made would keep the process alive.
  for (const service of services.toReversed()) {
    try {
      await service.stop();
    } catch (error) {
      // What mends itself is nobody's to act on.
      const level = error instanceof SchedulerError && error.retryable ? 'warn' : 'error';
      log[level]({ err: error, service: service.name }, 'service did not stop cleanly');
      exitCode ||= 1;
    }
  }
  process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
  return exitCode;
}
