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
 * One shared connection with a short time-out and a circuit breaker: with Redis
 * away or hung, a call costs next to nothing. Calls throw `StoreUnavailableError`
 * when Redis did not answer or refuses writes; what was asked may still have happened.
 */
export interface RedisConnection {
  call<Reply>(command: (client: RedisClient) => Promise<Reply>): Promise<Reply>;
  /** Resolves when the connection stands and its user's rights were asked for, else after `ms`: calls before that fail at once. */
  untilReady(ms: number): Promise<void>;
  /** Runs a script by its hash, and by its text where the server does not know it. */
  script(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
  /** A further connection for blocking commands or subscriptions; whoever asks for it ends it. */
  openBlocking(): RedisClient;
  /** Asks again what the user may not do of all that is needed, for a line in the log. Never rejects. */
  checkRights(): Promise<void>;
  /** What is wrong at the moment, for people; null if nothing is known to be. */
  problem(): string | null;
  /** Whether that is a refusal which waiting does not mend: of the login, the database, or of rights. */
  isRefused(): boolean;
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
  /** Asked whenever the connection stands, and while something is missing. */
  readonly rights?: RightsCheck;
  /** Called whenever the connection stands (in a Cluster: for the first time); must not reject. */
  readonly onReady?: (client: RedisClient) => Promise<void>;
}

export function createRedis(
  settings: RedisSettings,
  outage: Outage,
  log: Logger,
  { urgent = false, rights, onReady }: RedisConnectionOptions = {},
): RedisConnection {
  let closed = false;
  /** The latest failure, as long as no call has been answered since. */
  let failure: Error | null = null;
  let looking: Promise<unknown> = Promise.resolve();
  const breaker = urgent ? NO_BREAKER : createBreaker();
  const fault = createConnectionFault(settings, log, (error) => fail(error));
  let client = openShared();

  function fail(error: Error): void {
    failure = error;
    outage.failed(error);
  }

  /** What is not allowed keeps the store from being up, though other calls are answered. */
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
    // The client gives up for good when it is interrupted while it looks for the server.
    opened.on('end', () => {
      if (!closed && opened === client) client = openShared();
    });
    return opened;
  }

  /** What a call is told that found no connection: why there is none, and not that the client may not write. */
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
      // A reply, even a refusal, came in time: only silence opens the breaker.
      if (!replied) breaker.failed();
      const cause = causeOf(error);
      // Why there is no connection may just be being found out; then that is what is logged.
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
        // Whoever subscribes does so with each connection; the client would let a refusal go unhandled.
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
