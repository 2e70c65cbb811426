import { readFileSync } from 'node:fs';
import { Cluster, Redis, ReplyError, SentinelConnector, type RedisOptions } from 'ioredis';
import type { Config } from '../config/env.ts';
import { newestText } from '../config/replaced-file.ts';
import { parseRedisUrl, redisAddressOf, type RedisAddress } from '../config/store-urls.ts';
import { REDIS_COMMAND_TIMEOUT_MS, REDIS_CONNECT_TIMEOUT_MS, REDIS_RECONNECT_MAX_MS } from '../config/timings.ts';

export type RedisClient = Redis | Cluster;

/** Where Redis is and how it is reached. */
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
  /** Longest pause between two tries to connect. */
  readonly reconnectMaxMs: number;
  readonly commandTimeout?: number;
  /** A connection on which an answer is due and nothing has come for this long is destroyed: it may be half-open. */
  readonly socketTimeout?: number;
}

/** Opens a client for one server, for the master that Sentinels name, or for a Cluster. It connects by itself, again and again. */
export function openRedisClient(settings: RedisSettings, { reconnectMaxMs, ...options }: ClientOptions): RedisClient {
  const address = currentAddress(settings);
  const { tls, database } = address();
  const common = {
    ...options,
    connectTimeout: REDIS_CONNECT_TIMEOUT_MS,
    // It asks with INFO, which a user may not be allowed or a server may have renamed. Whether a server
    // still loads, or is a replica, is told by its answers.
    enableReadyCheck: false,
    // One right less that a user needs.
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
      // The name is looked up by the connection: TLS checks the certificate for it, and would have only an address here.
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
    // The client would go on in database 0, which may be somebody else's.
    hasDatabase = false;
    client.disconnect(true);
  });
  return client;
}

/** Whether a server has no database of this number, or does not let the user choose one. */
export function isRefusedDatabase(error: unknown): boolean {
  return error instanceof ReplyError && (error as { command?: { name?: string } }).command?.name === 'select';
}

/** The address that counts for the next connection: its password may have been rotated. */
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
    // A Sentinel that takes the connection and says nothing must not keep us from the next one.
    sentinelCommandTimeout: REDIS_COMMAND_TIMEOUT_MS,
    enableTLSForSentinelMode: settings.REDIS_URL.startsWith('rediss:'),
    // A Sentinel that had not heard of a failover yet names the old master; once restarted, that takes beats and
    // claims for 8 s, until it is made a replica. Whoever went there leaves as soon as the Sentinels have agreed.
    failoverDetector: true,
    Connector: QuietSentinelConnector as unknown as NonNullable<RedisOptions['Connector']>,
  };
}

/** Its subscriptions to Sentinels have no listener for errors: each one that is away would be a line past our log. */
class QuietSentinelConnector extends SentinelConnector {}

type ConnectToSentinel = (this: SentinelConnector, ...args: unknown[]) => Redis;
const { connectToSentinel } = SentinelConnector.prototype as unknown as { connectToSentinel: ConnectToSentinel };

Object.defineProperty(QuietSentinelConnector.prototype, 'connectToSentinel', {
  value(this: SentinelConnector, ...args: unknown[]): Redis {
    return connectToSentinel.apply(this, args).on('error', () => {});
  },
});

/**
 * Whether an error says that this may no longer be the master: it has become a replica, or it
 * lost its replicas, as one does that is cut off from the others. Then the master is looked for
 * anew; not with every command, or one that really stands alone would be left again and again.
 */
function createMasterDoubt(nowMs: () => number = () => performance.now()): (error: Error) => boolean {
  let lastMs = Number.NEGATIVE_INFINITY;
  return ({ message }) => {
    if (!/^(READONLY|NOREPLICAS)\b/.test(message) || nowMs() - lastMs < REDIS_RECONNECT_MAX_MS) return false;
    lastMs = nowMs();
    return true;
  };
}
