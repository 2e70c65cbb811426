import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { isAlive } from '../../scripts/stores/process-tree.ts';
import { withRedis } from '../../scripts/stores/redis.ts';
import { readConfig } from '../../src/config/read-config.ts';
import { startPostgres, startRedis } from './private-stores.ts';
import { startProcess, untilTrue } from './processes.ts';
import { createTestStores, type TestStores } from './stores.ts';

describe('createTestStores', () => {
  let stores: TestStores;
  beforeAll(async () => {
    stores = await createTestStores();
  });

  it('provides a migrated database and a complete environment', async () => {
    expect(readConfig(stores.env).DATABASE_URL).toBe(stores.databaseUrl);
    const count = await withConnection(
      stores.databaseUrl,
      async (client) => (await client.query('SELECT count(*) FROM tasks')).rows,
    );
    expect(count).toEqual([{ count: '0' }]);
  });

  it('drops only its own database and Redis keys', async () => {
    const other = await createTestStores();
    await withRedis(stores.redisUrl, (redis) => redis.mset(`${other.redisPrefix}:a`, 1, `${stores.redisPrefix}:a`, 1));
    await other.close();
    await expect(withConnection(other.databaseUrl, async () => undefined)).rejects.toThrow('does not exist');
    const left = await withRedis(stores.redisUrl, (redis) =>
      redis.mget(`${other.redisPrefix}:a`, `${stores.redisPrefix}:a`),
    );
    expect(left).toEqual([null, '1']);
  });
});

describe('private stores', () => {
  it('PostgreSQL keeps its committed data when it is killed and restarted', async () => {
    const server = await startPostgres();
    await withConnection(server.url, (client) => client.query('CREATE TABLE kept AS SELECT 1 AS one'));
    const before = server.pid;
    await server.kill();
    expect(isAlive(before)).toBe(false);
    await server.restart();
    const rows = await withConnection(server.url, async (client) => (await client.query('SELECT one FROM kept')).rows);
    expect(rows).toEqual([{ one: 1 }]);
  });

  it('a paused PostgreSQL does not answer on any connection until it is resumed', async () => {
    const server = await startPostgres();
    await withConnection(server.url, async (client) => {
      await client.query('SELECT 1');
      server.pause();
      let answered = false;
      const answer = client.query('SELECT 1').then(() => (answered = true));
      await expect(withConnection(server.url, async () => undefined)).rejects.toThrow('timeout');
      expect(answered).toBe(false);
      server.resume();
      await answer;
    });
  });

  it('Redis loses unsaved data when it is killed', async () => {
    const server = await startRedis();
    await withRedis(server.url, (redis) => redis.set('saved', 1));
    await withRedis(server.url, (redis) => redis.save());
    await withRedis(server.url, (redis) => redis.set('not saved', 1));
    await server.kill();
    await server.restart();
    expect(await withRedis(server.url, (redis) => redis.mget('saved', 'not saved'))).toEqual(['1', null]);
  });
});

describe('startProcess', () => {
  const script = `process.on('SIGTERM', () => process.exit(7)); setInterval(() => {}, 1000); console.log('{"msg":"ready"}')`;

  it('returns log lines and the exit code', async () => {
    const started = startProcess(['node', '-e', script], {});
    expect(await started.waitForLine((line) => line['msg'] === 'ready')).toEqual({ msg: 'ready' });
    started.signal('SIGTERM');
    expect(await started.waitForExit()).toEqual({ code: 7, signal: null });
    await expect(started.waitForLine((line) => line['msg'] === 'other')).rejects.toThrow('ended with 7');
  });

  it('reports the output when an expected line does not come', async () => {
    const started = startProcess(['node', '-e', script], {});
    await started.waitForLine(() => true);
    await expect(started.waitForLine((line) => line['msg'] === 'other', 50)).rejects.toThrow('"msg":"ready"');
    await expect(started.waitForExit(50)).rejects.toThrow('still runs');
  });
});

describe('untilTrue', () => {
  it('returns the result of the check, and its error contains the description', async () => {
    let calls = 0;
    expect(await untilTrue(() => (++calls === 3 ? 'third' : null))).toBe('third');
    await expect(untilTrue(() => false, { timeoutMs: 30, describe: 'never' })).rejects.toThrow('never');
  });
});
