import { redisAddressOf } from '../config/store-urls.ts';
import type { Logger } from '../telemetry/logger.ts';
import { firstWordOf } from './first-word.ts';
import { isRefusedDatabase, type RedisClient, type RedisSettings } from './redis-client.ts';
import { isRefusal } from './refusals.ts';

/** Finds out why there is no connection to Redis. The client itself only reports that it cannot write. */
export interface ConnectionFault {
  watch(client: RedisClient): void;
  /** Why there is no connection; null while there is one, or while the reason is unknown. */
  reason(): Error | null;
  /** Whether the server is being asked for the reason right now. */
  isAsking(): boolean;
}

/** @param onFault called with every reason */
export function createConnectionFault(
  settings: RedisSettings,
  log: Logger,
  onFault: (error: Error) => void,
): ConnectionFault {
  /** Texts of the refusals already logged. Each is logged once, because the client keeps reconnecting. */
  const logged = new Set<string>();
  let reason: Error | null = null;
  let asking = false;

  const conclude = (error: Error): void => {
    reason = error;
    onFault(error);
    if (!isRefusal(error.message) || logged.has(error.message)) return;
    logged.add(error.message);
    log.error({ reason: error.message }, 'Redis refuses this process');
  };

  const ask = async (client: RedisClient, otherwise: Error): Promise<void> => {
    asking = true;
    const word = await firstWordOf(redisAddressOf(settings.REDIS_URL));
    asking = false;
    if (client.status === 'ready') return;
    conclude(word === null ? otherwise : new Error(word, { cause: otherwise }));
  };

  return {
    watch(client) {
      /** True from the TCP connect until the connection is ready or has failed. */
      let undecided = false;
      client.on('connect', () => (undecided = true));
      client.on('ready', () => {
        undecided = false;
        // A connection that will be closed because the server refused its database becomes ready first.
        if (reason === null || !isRefusedDatabase(reason.cause)) reason = null;
      });
      client.on('error', (error: Error) => {
        log.debug({ err: error }, 'connection to Redis broke');
        if (asking) return;
        undecided = false;
        const found = (error as { lastNodeError?: Error }).lastNodeError ?? error;
        if (isRefusedDatabase(found)) conclude(new Error(`REDIS_URL: ${found.message}`, { cause: found }));
        else if (wasCutOff(found) && isAskable(settings)) void ask(client, found);
        else conclude(found);
      });
      client.on('close', () => {
        if (undecided && !asking && isAskable(settings)) void ask(client, new Error('Redis closed the connection'));
        undecided = false;
      });
    },
    reason: () => reason,
    isAsking: () => asking,
  };
}

/** Returns false with Sentinels, since the server's address is unknown, and over TLS, where the client speaks first. */
function isAskable({ REDIS_URL, REDIS_SENTINELS = [] }: RedisSettings): boolean {
  return REDIS_SENTINELS.length === 0 && !redisAddressOf(REDIS_URL).tls;
}

function wasCutOff(error: Error): boolean {
  const { code = '' } = error as NodeJS.ErrnoException;
  return ['EPIPE', 'ECONNRESET'].includes(code) || error.message === 'Connection is closed.';
}
