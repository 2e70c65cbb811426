import { readFileSync } from 'node:fs';
import { Cluster, Redis, ReplyError, SentinelConnector, type RedisOptions } from 'ioredis';
import type { Config } from '../config/env.ts';
import { newestText } from '../config/replaced-file.ts';
import { parseRedisUrl, redisAddressOf, type RedisAddress } from '../config/store-urls.ts';
import { REDIS_COMMAND_TIMEOUT_MS, REDIS_CONNECT_TIMEOUT_MS, REDIS_RECONNECT_MAX_MS } from '../config/timings.ts';

export type RedisClient = Redis | Cluster;

/** Address and connection settings of Redis. */
export type RedisSettings = Pick<Config, 'REDIS_URL' | 'REDIS_CLUSTER'> &
  Partial<
    Pick<
      Config,
      | 'REDIS_URL_FILE'
      | 'REDIS_CA_FILE'
      | 'REDIS_SENTINELS'
      | 'REDIS_SENTINEL_MASTER'
      | 'REDIS_SENTINEL_USERNAME'
      | 'REDIS_SENTINEL_PASSWORD'
      | 'REDIS_SENTINEL_TLS'
    >
  >;

export interface ClientOptions {
  readonly maxRetriesPerRequest: number | null;
  readonly enableOfflineQueue: boolean;
  readonly autoResubscribe?: boolean;
  /** Longest pause between two attempts to connect, in milliseconds. */
  readonly reconnectMaxMs: number;
  readonly commandTimeout?: number;
  /** Milliseconds without data, while a reply is due, after which a connection is destroyed: it may be half-open. */
  readonly socketTimeout?: number;
}

/** Opens a client for one server, for the master that Sentinels name, or for a Cluster. It reconnects by itself. */
export function openRedisClient(settings: RedisSettings, { reconnectMaxMs, ...options }: ClientOptions): RedisClient {
  const address = currentAddress(settings);
  const { tls, database } = address();
  const common = {
    ...options,
    connectTimeout: REDIS_CONNECT_TIMEOUT_MS,
    // The ready check runs INFO, which the user may not be allowed to run or the server may have renamed. The replies
    // show anyway whether a server is still loading or is a replica.
    enableReadyCheck: false,
    // Without CLIENT SETINFO, a user needs one right less.
    disableClientInfo: true,
    reconnectOnError: createMasterDoubt(),
    ...(tls ? { tls: tlsOf(settings) } : {}),
  };
  const retryStrategy = (attempt: number): number =>
    Math.min(reconnectMaxMs, 50 * 2 ** Math.min(attempt, 5)) * (0.75 + Math.random() / 2);
  if (settings.REDIS_CLUSTER) {
    return new Cluster([serverOf(address())], {
      redisOptions: { ...common, ...loginOf(address()) },
      enableOfflineQueue: options.enableOfflineQueue,
      enableReadyCheck: false,
      clusterRetryStrategy: retryStrategy,
      // Keep the host name, and let the connection resolve it: TLS checks the certificate against the name.
      dnsLookup: (name, found) => found(null, name),
    });
  }
  let hasDatabase = true;
  const client: Redis = new Redis({
    ...common,
    ...loginOf(address()),
    ...(hasSentinels(settings) ? sentinelOptions(settings) : serverOf(address())),
    db: database,
    retryStrategy(attempt) {
      Object.assign(client.options, loginOf(address()));
      if (hasDatabase) return retryStrategy(attempt);
      hasDatabase = true;
      return reconnectMaxMs;
    },
  });
  client.on('error', (error: Error) => {
    if (!isRefusedDatabase(error)) return;
    // Otherwise the client would continue in database 0, which may belong to another application.
    hasDatabase = false;
    client.disconnect(true);
  });
  return client;
}

/** Returns whether the server has no database of this number, or does not let the user select it. */
export function isRefusedDatabase(error: unknown): boolean {
  return error instanceof ReplyError && (error as { command?: { name?: string } }).command?.name === 'select';
}

/** Returns a function that reads the address for the next connection, because the password may have been rotated. */
function currentAddress({ REDIS_URL, REDIS_URL_FILE = '' }: RedisSettings): () => RedisAddress {
  const isWhole = (text: string): boolean => typeof parseRedisUrl(text) !== 'string';
  const text = REDIS_URL_FILE === '' ? () => REDIS_URL : newestText(REDIS_URL_FILE, REDIS_URL, isWhole);
  return () => redisAddressOf(text());
}

function loginOf({ username, password }: RedisAddress): Pick<RedisOptions, 'username' | 'password'> {
  return { username, password };
}

function serverOf({ host, port }: Pick<RedisAddress, 'host' | 'port'>): { host: string; port: number } {
  return { host, port };
}

function tlsOf({ REDIS_CA_FILE: caFile = '' }: RedisSettings): { ca?: Buffer } {
  return caFile === '' ? {} : { ca: readFileSync(caFile) };
}

function hasSentinels({ REDIS_SENTINELS: sentinels = [] }: RedisSettings): boolean {
  return sentinels.length > 0;
}

function sentinelOptions(settings: RedisSettings) {
  const { REDIS_SENTINELS: sentinels = [], REDIS_SENTINEL_MASTER: name = '' } = settings;
  const { REDIS_SENTINEL_USERNAME: username = '', REDIS_SENTINEL_PASSWORD: password = '' } = settings;
  return {
    sentinels: sentinels.map((address) => serverOf(redisAddressOf(`redis://${address}`))),
    name,
    ...(username === '' ? {} : { sentinelUsername: username }),
    ...(password === '' ? {} : { sentinelPassword: password }),
    ...(settings.REDIS_SENTINEL_TLS === true ? { sentinelTLS: tlsOf(settings) } : {}),
    // Without this timeout, a Sentinel that accepts the connection but never replies would keep us from the next one.
    sentinelCommandTimeout: REDIS_COMMAND_TIMEOUT_MS,
    enableTLSForSentinelMode: settings.REDIS_URL.startsWith('rediss:'),
    // A Sentinel that has not yet heard of a failover names the old master. After a restart, the old master accepts
    // beats and claims for 8 s until it becomes a replica. With the detector, a client that connected to the old master
    // leaves it as soon as the Sentinels agree on the new one.
    failoverDetector: true,
    Connector: QuietSentinelConnector as unknown as NonNullable<RedisOptions['Connector']>,
  };
}

/** Handles errors of the connections to Sentinels. Without a listener, ioredis prints each of them past our log. */
class QuietSentinelConnector extends SentinelConnector {}

type ConnectToSentinel = (this: SentinelConnector, ...args: unknown[]) => Redis;
const { connectToSentinel } = SentinelConnector.prototype as unknown as { connectToSentinel: ConnectToSentinel };

Object.defineProperty(QuietSentinelConnector.prototype, 'connectToSentinel', {
  value(this: SentinelConnector, ...args: unknown[]): Redis {
    return connectToSentinel.apply(this, args).on('error', () => {});
  },
});

/**
 * Returns a function that decides whether the client should reconnect after an error, to find the current master. The
 * error says that the server has become a replica, or that it has lost its replicas, which also happens to a master that
 * is cut off. The client reconnects at most once per `REDIS_RECONNECT_MAX_MS`: a master that really has no replicas must
 * not lose its connection with every command.
 */
function createMasterDoubt(nowMs: () => number = () => performance.now()): (error: Error) => boolean {
  let lastMs = Number.NEGATIVE_INFINITY;
  return ({ message }) => {
    if (!/^(READONLY|NOREPLICAS)\b/.test(message) || nowMs() - lastMs < REDIS_RECONNECT_MAX_MS) return false;
    lastMs = nowMs();
    return true;
  };
}
