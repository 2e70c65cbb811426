import { readFileSync } from 'node:fs';
import { Cluster, Redis, SentinelConnector, type RedisOptions } from 'ioredis';
import type { Config } from '../config/env.ts';
import { newestText } from '../config/replaced-file.ts';
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
  /** Longest pause between two tries to connect. */
  readonly reconnectMaxMs: number;
  readonly commandTimeout?: number;
  /** A connection on which an answer is due and nothing has come for this long is destroyed: it may be half-open. */
  readonly socketTimeout?: number;
}

/** Opens a client for one server, for the master that Sentinels name, or for a Cluster. It connects by itself, again and again. */
export function openRedisClient(settings: RedisSettings, { reconnectMaxMs, ...options }: ClientOptions): RedisClient {
  const common = {
    ...options,
    connectTimeout: REDIS_CONNECT_TIMEOUT_MS,
    // Asked again that often whether it still loads; by its own estimate it could take ten seconds too long.
    maxLoadingRetryTime: REDIS_RECONNECT_MAX_MS,
    reconnectOnError: createMasterDoubt(),
    ...(settings.REDIS_URL.startsWith('rediss:') ? { tls: tlsOf(settings) } : {}),
  };
  const retryStrategy = (attempt: number): number =>
    Math.min(reconnectMaxMs, 50 * 2 ** Math.min(attempt, 5)) * (0.75 + Math.random() / 2);
  if (settings.REDIS_CLUSTER) {
    return new Cluster([serverOf(settings.REDIS_URL, 6379)], {
      redisOptions: { ...common, ...loginOf(settings.REDIS_URL) },
      enableOfflineQueue: options.enableOfflineQueue,
      clusterRetryStrategy: retryStrategy,
      // The name is looked up by the connection: TLS checks the certificate for it, and would have only an address here.
      dnsLookup: (name, found) => found(null, name),
    });
  }
  const address = currentAddress(settings);
  const client: Redis = new Redis({
    ...common,
    ...loginOf(address()),
    ...(hasSentinels(settings) ? sentinelOptions(settings) : serverOf(address(), 6379)),
    db: Number(new URL(address()).pathname.slice(1) || 0),
    retryStrategy(attempt) {
      Object.assign(client.options, loginOf(address()));
      return retryStrategy(attempt);
    },
  });
  return client;
}

/** The address that counts for the next connection: its password may have been rotated. */
function currentAddress({ REDIS_URL, REDIS_URL_FILE = '' }: RedisSettings): () => string {
  return REDIS_URL_FILE === '' ? () => REDIS_URL : newestText(REDIS_URL_FILE, REDIS_URL, (text) => URL.canParse(text));
}

function loginOf(address: string): Pick<RedisOptions, 'username' | 'password'> {
  const { username, password } = new URL(address);
  return {
    username: username === '' ? undefined : decodeURIComponent(username),
    password: password === '' ? undefined : decodeURIComponent(password),
  };
}

function serverOf(address: string, defaultPort: number): { host: string; port: number } {
  const { hostname, port } = new URL(address);
  return { host: hostname.replaceAll(/^\[|\]$/g, ''), port: Number(port || defaultPort) };
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
    sentinels: sentinels.map((address) => serverOf(`redis://${address}`, 26_379)),
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
