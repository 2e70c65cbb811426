import { once } from 'node:events';
import { renameSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { atEndOfFile } from '../../test/harness/end-of-file.ts';
import { SENTINEL_MASTER } from '../../test/harness/sentinel.ts';
import {
  startTlsRedis,
  startTlsSentinel,
  strangersCertificate,
  type TlsServer,
} from '../../test/harness/tls-stores.ts';
import { ConfigError, readConfig } from '../config/read-config.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { createOutage } from '../telemetry/outage.ts';
import { openRedisClient } from './redis-client.ts';
import { createRedis, type RedisConnection } from './redis.ts';

const log = createLogger('silent', {});
let redis: TlsServer;

beforeAll(async () => {
  redis = await startTlsRedis();
});

function urlWith(password: string | null, scheme = 'rediss'): string {
  const { password: right } = new URL(redis.server.url);
  return `${scheme}://:${password ?? right}@127.0.0.1:${redis.port}/0`;
}

async function connect(url: string, caFile: string, urlFile = ''): Promise<RedisConnection> {
  const env = { DATABASE_URL: 'postgresql://127.0.0.1:1/x', REDIS_CA_FILE: caFile };
  const config = readConfig(urlFile === '' ? { ...env, REDIS_URL: url } : { ...env, REDIS_URL_FILE: urlFile });
  const connection = createRedis(config, createOutage('redis', log, createMetrics(), Date.now), log);
  atEndOfFile(() => connection.close());
  await connection.untilReady(1_000);
  return connection;
}

describe('Redis over TLS', () => {
  it('is reached with REDIS_CA_FILE and a password, also by blocking connections', async () => {
    const connection = await connect(urlWith(null), redis.caFile);
    expect(await connection.call((client) => client.set('a', 1))).toBe('OK');
    const blocking = connection.openBlocking();
    atEndOfFile(async () => blocking.disconnect());
    expect(await blocking.get('a')).toBe('1');
  });

  it('is found through a Sentinel that uses TLS too', async () => {
    const sentinel = await startTlsSentinel(redis);
    const env = {
      DATABASE_URL: 'postgresql://127.0.0.1:1/x',
      REDIS_URL: `rediss://:${new URL(redis.server.url).password}@${SENTINEL_MASTER}/0`,
      REDIS_CA_FILE: redis.caFile,
      REDIS_SENTINELS: `127.0.0.1:${sentinel.port}`,
      REDIS_SENTINEL_MASTER: SENTINEL_MASTER,
      REDIS_SENTINEL_PASSWORD: new URL(sentinel.server.url).password,
    };
    const answerWith = async (tls: string): Promise<string | null> => {
      const config = readConfig({ ...env, REDIS_SENTINEL_TLS: tls });
      const connection = createRedis(config, createOutage('redis', log, createMetrics(), Date.now), log);
      atEndOfFile(() => connection.close());
      await connection.untilReady(3_000);
      return connection.call((client) => client.ping()).catch(() => null);
    };
    expect(await Promise.all(['true', 'false'].map(answerWith))).toEqual(['PONG', null]);
  });

  it('is refused if its certificate comes from another authority or an unknown one', async () => {
    for (const caFile of [strangersCertificate(), '']) {
      const connection = await connect(urlWith(null), caFile);
      await expect(connection.call((client) => client.ping())).rejects.toBeInstanceOf(StoreUnavailableError);
    }
  });

  it('is refused if its certificate is for another name', async () => {
    // This address leads to the same server, but its certificate does not name it.
    const url = urlWith(null).replace('@127.0.0.1:', '@[::ffff:127.0.0.1]:');
    const client = openRedisClient(
      { REDIS_URL: url, REDIS_CLUSTER: false, REDIS_CA_FILE: redis.caFile },
      { maxRetriesPerRequest: 0, enableOfflineQueue: false, reconnectMaxMs: 1_000 },
    );
    const refusal = await once(client, 'error');
    client.disconnect();
    expect(refusal).toMatchObject([{ code: 'ERR_TLS_CERT_ALTNAME_INVALID' }]);
  });

  it('refuses a wrong password', async () => {
    const connection = await connect(urlWith('wrong'), redis.caFile);
    await expect(connection.call((client) => client.ping())).rejects.toThrow(/WRONGPASS|NOAUTH|unavailable/);
  });

  it('is required if REDIS_CA_FILE is set', () => {
    const env = { DATABASE_URL: 'postgresql://127.0.0.1:1/x', REDIS_URL: urlWith(null, 'redis') };
    expect(() => readConfig({ ...env, REDIS_CA_FILE: redis.caFile })).toThrow(ConfigError);
  });
});

describe('rotation of the password of Redis', () => {
  it('needs no restart, not even for blocking connections', async () => {
    const urlFile = `${redis.caFile}.url`;
    /** Replaces the whole file, like the host and Kubernetes do. */
    const publish = (url: string): void => {
      writeFileSync(`${urlFile}.new`, `${url}\n`);
      renameSync(`${urlFile}.new`, urlFile);
    };
    publish(urlWith(null));
    const connection = await connect('', redis.caFile, urlFile);
    const blocking = connection.openBlocking();
    atEndOfFile(async () => blocking.disconnect());
    const ping = () => connection.call((client) => client.ping());
    expect(await ping()).toBe('PONG');

    const admin = await connect(urlWith(null), redis.caFile);
    await admin.call((client) => client.config('SET', 'requirepass', 'a new/one'));
    // Open connections continue to work; new ones need the new password.
    expect(await ping()).toBe('PONG');
    await admin.call((client) => client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
    await expect(async () => {
      for (;;) await ping();
    }).rejects.toBeInstanceOf(StoreUnavailableError);
    publish(urlWith(encodeURIComponent('a new/one')));
    await expect.poll(() => ping().catch(() => ''), { timeout: 10_000 }).toBe('PONG');
    await expect.poll(() => blocking.status, { timeout: 10_000 }).toBe('ready');
    expect(await blocking.ping()).toBe('PONG');
  });
});
