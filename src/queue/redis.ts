import { readFileSync } from 'node:fs';
import { Cluster, Redis, ReplyError, type RedisOptions } from 'ioredis';
import type { Config } from '../config/env.ts';
import { newestText } from '../config/replaced-file.ts';
import {
  REDIS_BREAKER_FAILURES,
  REDIS_BREAKER_RETRY_MS,
  REDIS_COMMAND_TIMEOUT_MS,
  REDIS_CONNECT_TIMEOUT_MS,
  REDIS_RECONNECT_MAX_MS,
  REDIS_SILENT_SOCKET_MS,
  REDIS_URGENT_RECONNECT_MS,
} from '../config/timings.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Outage } from '../telemetry/outage.ts';
import type { Script } from './scripts.ts';

export type RedisClient = Redis | Cluster;
export type RedisSettings = Pick<Config, 'REDIS_URL' | 'REDIS_CLUSTER'> &
  Partial<Pick<Config, 'REDIS_URL_FILE' | 'REDIS_CA_FILE'>>;

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
}

export function createRedis(
  settings: RedisSettings,
  outage: Outage,
  log: Logger,
  { urgent = false }: RedisConnectionOptions = {},
): RedisConnection {
  let closed = false;
  let client = openShared();
  const breaker = urgent ? NO_BREAKER : createBreaker();

  function openShared(): RedisClient {
    const opened = open(settings, {
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
      const blocking = open(settings, {
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

interface ConnectionOptions {
  readonly maxRetriesPerRequest: number | null;
  readonly enableOfflineQueue: boolean;
  readonly reconnectMaxMs: number;
  readonly commandTimeout?: number;
  /** A connection on which an answer is outstanding and nothing has come for this long is destroyed: it may be half-open. */
  readonly socketTimeout?: number;
}

function open(settings: RedisSettings, { reconnectMaxMs, ...options }: ConnectionOptions): RedisClient {
  const common = {
    ...options,
    connectTimeout: REDIS_CONNECT_TIMEOUT_MS,
    // Asked again that often whether it still loads; by its own estimate it could take ten seconds too long.
    maxLoadingRetryTime: REDIS_RECONNECT_MAX_MS,
    // A master that became a replica answers READONLY: look for the new one.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  };
  const retryStrategy = (attempt: number): number =>
    Math.min(reconnectMaxMs, 50 * 2 ** Math.min(attempt, 5)) * (0.75 + Math.random() / 2);
  const tls = settings.REDIS_CA_FILE ? { ca: readFileSync(settings.REDIS_CA_FILE) } : {};
  if (!settings.REDIS_CLUSTER) {
    const address = currentAddress(settings);
    const secured = settings.REDIS_URL.startsWith('rediss:') ? { tls } : {};
    const client = new Redis(address(), {
      ...common,
      ...secured,
      retryStrategy(attempt) {
        Object.assign(client.options, credentials(address()));
        return retryStrategy(attempt);
      },
    });
    return client;
  }
  const url = new URL(settings.REDIS_URL);
  const auth = {
    ...credentials(settings.REDIS_URL),
    ...(url.protocol === 'rediss:' ? { tls } : {}),
  };
  return new Cluster([{ host: url.hostname, port: Number(url.port || 6379) }], {
    redisOptions: { ...common, ...auth },
    enableOfflineQueue: options.enableOfflineQueue,
    clusterRetryStrategy: retryStrategy,
  });
}

/** The address that counts for the next connection: its password may have been rotated. */
function currentAddress({ REDIS_URL, REDIS_URL_FILE = '' }: RedisSettings): () => string {
  return REDIS_URL_FILE === '' ? () => REDIS_URL : newestText(REDIS_URL_FILE, REDIS_URL, (text) => URL.canParse(text));
}

function credentials(address: string): Pick<RedisOptions, 'username' | 'password'> {
  const { username, password } = new URL(address);
  return {
    username: username === '' ? undefined : decodeURIComponent(username),
    password: password === '' ? undefined : decodeURIComponent(password),
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
