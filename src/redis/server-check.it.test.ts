import { expect, it } from 'vitest';
import { withRedis } from '../../scripts/stores/redis.ts';
import { startRedis } from '../../test/harness/private-stores.ts';
import { startProcess } from '../../test/harness/processes.ts';
import { createTestStores } from '../../test/harness/stores.ts';

it('the API warns once of a Redis that may evict keys, even if it is set so after the start', async () => {
  const redis = await startRedis();
  const stores = await createTestStores({ redisUrl: redis.url });
  const api = startProcess(['node', 'src/main.ts', 'api'], stores.env);
  await api.waitForLine(({ msg }) => msg === 'api listening');

  // Like a failover: a new connection leads to other settings.
  const policies = ['allkeys-lru', 'allkeys-lru', 'volatile-ttl'];
  for (const policy of policies) {
    await withRedis(redis.url, async (client) => {
      await client.config('SET', 'maxmemory', '50mb', 'maxmemory-policy', policy);
      await client.call('CLIENT', 'KILL', 'TYPE', 'normal');
    });
    await api.waitForLine(({ problem }) => String(problem).includes(policy));
  }
  const problems = api.lines.flatMap(({ problem }) => problem ?? []);
  expect(problems).toEqual([
    expect.stringContaining('expected maxmemory-policy noeviction, given allkeys-lru'),
    expect.stringContaining('given volatile-ttl'),
  ]);
});
