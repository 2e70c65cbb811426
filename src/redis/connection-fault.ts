import { redisAddressOf } from '../config/store-urls.ts';
import type { Logger } from '../telemetry/logger.ts';
import { firstWordOf } from './first-word.ts';
import { isRefusedDatabase, type RedisClient, type RedisSettings } from './redis-client.ts';
import { isRefusal } from './refusals.ts';

/** Finds out why a connection does not stand. The client itself only says that it cannot write. */
export interface ConnectionFault {
  watch(client: RedisClient): void;
  /** Why there is no connection; null while there is one, or where nothing is known yet. */
  reason(): Error | null;
  /** Whether the server is just being asked. */
  isAsking(): boolean;
}

/** @param onFault told of every reason */
export function createConnectionFault(
  settings: RedisSettings,
  log: Logger,
  onFault: (error: Error) => void,
): ConnectionFault {
  /** Texts of refusals that were logged: once each, since a client tries again and again. */
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
      /** A connection to the server was made, and neither stands yet nor is known to have failed. */
      let undecided = false;
      client.on('connect', () => (undecided = true));
      client.on('ready', () => {
        undecided = false;
        // One that is given up at once, for its database, passes through here.
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

/** Of Sentinels the address is not known, and over TLS a server says nothing before the handshake. */
function isAskable({ REDIS_URL, REDIS_SENTINELS = [] }: RedisSettings): boolean {
  return REDIS_SENTINELS.length === 0 && !redisAddressOf(REDIS_URL).tls;
}

function wasCutOff(error: Error): boolean {
  const { code = '' } = error as NodeJS.ErrnoException;
  return ['EPIPE', 'ECONNRESET'].includes(code) || error.message === 'Connection is closed.';
}
