import { once } from 'node:events';
import type { Server } from 'node:net';
import { SchedulerError } from '../core/errors.ts';

export interface ListenOptions {
  readonly host: string;
  /** 0 selects a free port. */
  readonly port: number;
  /** The environment variable that gives the port, for the error. */
  readonly setting: string;
}

/**
 * Starts a server and resolves when it listens.
 * @throws SchedulerError `port_in_use`, or the error of the operating system
 */
export async function listen(server: Server, { host, port, setting }: ListenOptions): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    const message = `port ${port} is in use already: stop what listens there, or set ${setting}`;
    throw new SchedulerError('port_in_use', message, { cause: error });
  }
}
