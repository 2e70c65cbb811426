import { ReplyError } from 'ioredis';
import {
  REDIS_BREAKER_FAILURES,
  REDIS_BREAKER_RETRY_MS,
  REDIS_COMMAND_TIMEOUT_MS,
  REDIS_RECONNECT_MAX_MS,
  REDIS_SILENT_SOCKET_MS,
  REDIS_URGENT_RECONNECT_MS,
} from '../config/timings.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Outage } from '../telemetry/outage.ts';
import { openRedisClient, type RedisClient, type RedisSettings } from './redis-client.ts';
import type { Script } from './scripts.ts';

export type { RedisClient, RedisSettings };

/**
 * One shared connection with a short time-out and a circuit breaker: with Redis
 * away or hung, a call costs next to nothing. Calls throw `StoreUnavailableError`
 * when Redis did not answer or refuses writes; what was asked may still have happened.
 */
export interface RedisConnection {
  call<Reply>(command: (client: RedisClient) => Promise<Reply>): Promise<Reply>;
  /** Resolves when the connection stands, else after `ms`: calls before that fail at once. */
  untilReady(ms: number): Promise<void>;
  /** Runs a script by its hash, and by its text where the server does not know it. */
  script(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
  /** A further connection for blocking commands or subscriptions; whoever asks for it ends it. */
  openBlocking(): RedisClient;
  close(): Promise<void>;
}

/** Replies that mean "not now", not "wrong": loading, read-only replica, memory limit, failed snapshot, no quorum. */
const NOT_NOW = /^(OOM|MISCONF|LOADING|READONLY|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|BUSY)\b/;

export interface RedisConnectionOptions {
  /**
   * For the heartbeat, whose silence counts as death: every call is tried, whatever became of the
   * one before, and a connection that is lost or does not answer is replaced at once.
   */
  readonly urgent?: boolean;
  /** Called whenever the connection stands (in a Cluster: for the first time); must not reject. */
  readonly onReady?: (client: RedisClient) => Promise<void>;
}

export function createRedis(
  settings: RedisSettings,
  outage: Outage,
  log: Logger,
  { urgent = false, onReady }: RedisConnectionOptions = {},
): RedisConnection {
  let closed = false;
  let client = openShared();
  const breaker = urgent ? NO_BREAKER : createBreaker();

  function openShared(): RedisClient {
    const opened = openRedisClient(settings, {
      commandTimeout: REDIS_COMMAND_TIMEOUT_MS,
      socketTimeout: urgent ? REDIS_COMMAND_TIMEOUT_MS : REDIS_SILENT_SOCKET_MS,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      reconnectMaxMs: urgent ? REDIS_URGENT_RECONNECT_MS : REDIS_RECONNECT_MAX_MS,
    });
    opened.on('error', (error: Error) => {
      outage.failed(error);
      log.debug({ err: error }, 'connection to Redis broke');
    });
    if (onReady !== undefined) opened.on('ready', () => void onReady(opened));
    // The client gives up for good when it is interrupted while it looks for the server.
    opened.on('end', () => {
      if (!closed && opened === client) client = openShared();
    });
    return opened;
  }

  const call = async <Reply>(command: (client: RedisClient) => Promise<Reply>): Promise<Reply> => {
    if (breaker.isOpen()) throw new StoreUnavailableError('redis', new Error('it did not answer a moment ago'));
    try {
      const reply = await command(client);
      breaker.succeeded();
      outage.answered();
      return reply;
    } catch (error) {
      const replied = error instanceof ReplyError;
      if (replied && !NOT_NOW.test((error as Error).message)) throw error;
      // A reply, even a refusal, came in time: only silence opens the breaker.
      if (!replied) breaker.failed();
      outage.failed(error);
      throw new StoreUnavailableError('redis', error);
    }
  };

  return {
    call,
    async untilReady(ms) {
      if (client.status === 'ready') return;
      const waitedFor = client;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      waitedFor.once('ready', resolve);
      await promise;
      clearTimeout(timer);
      waitedFor.off('ready', resolve);
    },
    script: (script, keys, args) => call((redis) => evaluate(redis, script, keys, args)),
    openBlocking() {
      const blocking = openRedisClient(settings, {
        maxRetriesPerRequest: null,
        enableOfflineQueue: true,
        reconnectMaxMs: REDIS_RECONNECT_MAX_MS,
      });
      blocking.on('error', (error: Error) => log.debug({ err: error }, 'blocking connection to Redis broke'));
      return blocking;
    },
    async close() {
      closed = true;
      client.disconnect();
    },
  };
}

async function evaluate(
  redis: RedisClient,
  script: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
): Promise<unknown> {
  try {
    return await redis.evalsha(script.sha, keys.length, ...keys, ...args);
  } catch (error) {
    if (!(error instanceof ReplyError) || !(error as Error).message.startsWith('NOSCRIPT')) throw error;
    return redis.eval(script.lua, keys.length, ...keys, ...args);
  }
}

interface Breaker {
  isOpen(): boolean;
  succeeded(): void;
  failed(): void;
}

const NO_BREAKER: Breaker = { isOpen: () => false, succeeded: () => {}, failed: () => {} };

/** Opens after a few failures in a row; then lets one call through a second. */
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
