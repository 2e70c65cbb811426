import { expect, it, vi } from 'vitest';
import type { PrivateServer } from '../../scripts/stores/private-server.ts';
import { withRedis } from '../../scripts/stores/redis.ts';
import { untilTrue } from '../../test/harness/processes.ts';
import { startSentinelSystem } from '../../test/harness/sentinel.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createRedis } from './redis.ts';

/** Counts the client connections without those of the Sentinel, which have names, and without the one that asks. */
const clientsOf = ({ url }: PrivateServer): Promise<number> =>
  withRedis(url, async (redis) => {
    const list = String(await redis.call('CLIENT', 'LIST', 'TYPE', 'normal'));
    return list.split('\n').filter((line) => line.includes(' name= ')).length - 1;
  });

it('follows the Sentinel to the new master before the old one fails a command, and prints nothing past the log', async () => {
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

  // No command is sent while the old master is stopped, so only the Sentinel can report the new one.
  process.kill(old.pid, 'SIGSTOP');
  try {
    await untilTrue(async () => (await sentinels.master()) === next && (await clientsOf(next)) > 0, {
      timeoutMs: 20_000,
    });
  } finally {
    process.kill(old.pid, 'SIGCONT');
  }
  // The old server still believes for some seconds that it is the master.
  await redis.untilReady(5_000);
  await redis.call((client) => client.set('after', '1'));
  expect(await withRedis(next.url, (client) => client.exists('after'))).toBe(1);
  await redis.close();
  expect(printed).not.toHaveBeenCalled();
}, 60_000);
