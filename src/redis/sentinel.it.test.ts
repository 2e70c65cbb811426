import { expect, it, vi } from 'vitest';
import type { PrivateServer } from '../../scripts/stores/private-server.ts';
import { withRedis } from '../../scripts/stores/redis.ts';
import { untilTrue } from '../../test/harness/processes.ts';
import { startSentinelSystem } from '../../test/harness/sentinel.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createRedis } from './redis.ts';

/** Connections of clients; those of the Sentinel have names, and the one that asks does not count. */
const clientsOf = ({ url }: PrivateServer): Promise<number> =>
  withRedis(url, async (redis) => {
    const list = String(await redis.call('CLIENT', 'LIST', 'TYPE', 'normal'));
    return list.split('\n').filter((line) => line.includes(' name= ')).length - 1;
  });

it('follows the Sentinel to the new master without waiting for the old one to fail a command, and says nothing past the log', async () => {
  const printed = vi.spyOn(console, 'error');
  const sentinels = await startSentinelSystem();
  const [old, next] = sentinels.servers;
  const { REDIS_URL = '', REDIS_SENTINELS = '', ...names } = sentinels.env;
  const settings = { REDIS_URL, REDIS_CLUSTER: false, REDIS_SENTINELS: REDIS_SENTINELS.split(','), ...names };
  const redis = createRedis(
    settings,
    { failed: () => {}, answered: () => {}, ongoing: false },
    createLogger('silent', {}),
  );
  await redis.untilReady(5_000);
  await redis.call((client) => client.set('before', '1'));

  // Nothing is asked of it while it stands still, so that nothing but the Sentinel tells that it is no longer the master.
  process.kill(old.pid, 'SIGSTOP');
  try {
    await untilTrue(async () => (await sentinels.master()) === next && (await clientsOf(next)) > 0, {
      timeoutMs: 20_000,
    });
  } finally {
    process.kill(old.pid, 'SIGCONT');
  }
  // For some seconds more the old one takes itself for the master.
  await redis.untilReady(5_000);
  await redis.call((client) => client.set('after', '1'));
  expect(await withRedis(next.url, (client) => client.exists('after'))).toBe(1);
  await redis.close();
  expect(printed).not.toHaveBeenCalled();
}, 60_000);
