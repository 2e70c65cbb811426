import { ReplyError } from 'ioredis';
import {
  REDIS_BREAKER_FAILURES,
  REDIS_BREAKER_RETRY_MS,
  REDIS_COMMAND_TIMEOUT_MS,
  REDIS_RECONNECT_MAX_MS,
  REDIS_SILENT_SOCKET_MS,
  REDIS_URGENT_RECONNECT_MS,
} from '../config/timings.ts';
import { messageOf, StoreRefusedError, StoreUnavailableError } from '../core/errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Outage } from '../telemetry/outage.ts';
import { createConnectionFault } from './connection-fault.ts';
import { openRedisClient, type RedisClient, type RedisSettings } from './redis-client.ts';
import { isLastingRefusal, isRefusal } from './refusals.ts';
import type { RightsCheck } from './rights-check.ts';
import { evaluate, type Script } from './scripts.ts';

export type { RedisClient, RedisSettings };

/**
 * A shared connection with a short timeout and a circuit breaker, so that a call costs next to nothing while Redis is down
 * or hangs. Calls throw `StoreUnavailableError` when Redis did not answer or refuses writes; the command may still have
 * taken effect.
 */
export interface RedisConnection {
  call<Reply>(command: (client: RedisClient) => Promise<Reply>): Promise<Reply>;
  /** Resolves when the connection is ready and the rights were checked, or after `ms`. Earlier calls fail at once. */
  untilReady(ms: number): Promise<void>;
  /** Runs a script by its hash, or by its text if the server does not know the hash. */
  script(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
  /** Opens another connection for blocking commands or subscriptions. The caller closes it. */
  openBlocking(): RedisClient;
  /** Checks the user's rights again, and logs a change of the missing ones. Never rejects. */
  checkRights(): Promise<void>;
  /** Describes the current problem for people; null if none is known. */
  problem(): string | null;
  /** Whether the problem is a refusal that waiting does not solve: login, database or rights. */
  isRefused(): boolean;
  close(): Promise<void>;
}

/** Error replies for a temporary state: loading, read-only replica, memory limit, failed snapshot, no quorum. */
const NOT_NOW = /^(OOM|MISCONF|LOADING|READONLY|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|BUSY)\b/;

export interface RedisConnectionOptions {
  /**
   * Set for the heartbeat, because a silent worker counts as dead. There is no circuit breaker, so every call is tried,
   * and a connection that is lost or does not answer is replaced at once.
   */
  readonly urgent?: boolean;
  /** Runs whenever the connection becomes ready, and repeatedly while a right is missing. */
  readonly rights?: RightsCheck;
  /** Called whenever the connection becomes ready (in a Cluster: only the first time). Must not reject. */
  readonly onReady?: (client: RedisClient) => Promise<void>;
}

export function createRedis(
  settings: RedisSettings,
  outage: Outage,
  log: Logger,
  { urgent = false, rights, onReady }: RedisConnectionOptions = {},
): RedisConnection {
  let closed = false;
  /** The latest failure; null after a call that succeeded. */
  let failure: Error | null = null;
  let looking: Promise<unknown> = Promise.resolve();
  const breaker = urgent ? NO_BREAKER : createBreaker();
  const fault = createConnectionFault(settings, log, (error) => fail(error));
  let client = openShared();

  function fail(error: Error): void {
    failure = error;
    outage.failed(error);
  }

  /** A missing right counts as an outage, although other calls succeed. */
  function answered(): void {
    const missing = rights?.missing ?? null;
    if (missing !== null) {
      outage.failed(new StoreRefusedError(new Error(missing)));
      rights?.lookSoon(client);
      return;
    }
    failure = null;
    outage.answered();
  }

  function openShared(): RedisClient {
    const opened = openRedisClient(settings, {
      commandTimeout: REDIS_COMMAND_TIMEOUT_MS,
      socketTimeout: urgent ? REDIS_COMMAND_TIMEOUT_MS : REDIS_SILENT_SOCKET_MS,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      reconnectMaxMs: urgent ? REDIS_URGENT_RECONNECT_MS : REDIS_RECONNECT_MAX_MS,
    });
    fault.watch(opened);
    opened.on('ready', () => {
      if (fault.reason() === null) failure = null;
      looking = Promise.all([rights?.look(opened), onReady?.(opened)]);
    });
    // The client stops reconnecting if it is interrupted while it looks for the server.
    opened.on('end', () => {
      if (!closed && opened === client) client = openShared();
    });
    return opened;
  }

  /** Replaces the error of a call without a connection ("not writable") by the reason why there is none. */
  const causeOf = (error: unknown): Error => {
    const found = error instanceof Error ? error : new Error(messageOf(error));
    return client.status === 'ready' || found instanceof ReplyError ? found : (fault.reason() ?? found);
  };

  const call = async <Reply>(command: (client: RedisClient) => Promise<Reply>): Promise<Reply> => {
    if (breaker.isOpen())
      throw new StoreUnavailableError('redis', failure ?? new Error('it did not answer a moment ago'));
    try {
      const reply = await command(client);
      breaker.succeeded();
      answered();
      return reply;
    } catch (error) {
      const replied = error instanceof ReplyError;
      const refused = replied && isRefusal((error as Error).message);
      if (replied && !refused && !NOT_NOW.test((error as Error).message)) throw error;
      // Only a missing reply opens the breaker; a refusal is a reply that came in time.
      if (!replied) breaker.failed();
      const cause = causeOf(error);
      // If the reason for the lost connection is still being asked for, that reason is logged instead.
      if (!fault.isAsking()) fail(cause);
      if (refused) rights?.lookSoon(client);
      throw refused ? new StoreRefusedError(cause) : new StoreUnavailableError('redis', cause);
    }
  };

  return {
    call,
    async untilReady(ms) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      const stands = (): void => void looking.then(() => resolve());
      const waitedFor = client;
      if (waitedFor.status === 'ready') stands();
      else waitedFor.once('ready', stands);
      await promise;
      clearTimeout(timer);
      waitedFor.off('ready', stands);
    },
    script: (script, keys, args) => call((redis) => evaluate(redis, script, keys, args)),
    openBlocking() {
      const blocking = openRedisClient(settings, {
        maxRetriesPerRequest: null,
        enableOfflineQueue: true,
        // Subscribers resubscribe on each connection; if the client did it, a refusal would be an unhandled rejection.
        autoResubscribe: false,
        reconnectMaxMs: REDIS_RECONNECT_MAX_MS,
      });
      blocking.on('error', (error: Error) => log.debug({ err: error }, 'blocking connection to Redis broke'));
      return blocking;
    },
    checkRights: async () => {
      if (client.status === 'ready') await rights?.look(client);
    },
    problem: () => rights?.missing ?? (failure === null ? null : failure.message),
    isRefused: () => (rights?.missing ?? null) !== null || (failure !== null && isLastingRefusal(failure.message)),
    async close() {
      closed = true;
      client.disconnect();
    },
  };
}

interface Breaker {
  isOpen(): boolean;
  succeeded(): void;
  failed(): void;
}

const NO_BREAKER: Breaker = { isOpen: () => false, succeeded: () => {}, failed: () => {} };

/** Opens after a few failures in a row, and then lets one call per second through. */
function createBreaker(nowMs: () => number = () => performance.now()): Breaker {
  let failures = 0;
  let openUntilMs = 0;
  return {
    isOpen() {
      if (failures < REDIS_BREAKER_FAILURES) return false;
      if (nowMs() < openUntilMs) return true;
      openUntilMs = nowMs() + REDIS_BREAKER_RETRY_MS;
      return false;
    },
    succeeded() {
      failures = 0;
    },
    failed() {
      failures++;
      openUntilMs = nowMs() + REDIS_BREAKER_RETRY_MS;
    },
  };
}
