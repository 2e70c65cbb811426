import { once } from 'node:events';
import { expect, it } from 'vitest';
import { openParts } from '../../../test/harness/parts.ts';
import { untilTrue } from '../../../test/harness/processes.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import type { RedisClient } from '../../redis/redis.ts';
import { createCancelChannel } from './cancel-channel.ts';

it('reports cancels until the subscription ends, also after its connection has given up', async () => {
  const { redis, keys, log } = await openParts((await createTestStores()).env);
  const opened: RedisClient[] = [];
  const channel = createCancelChannel(
    {
      ...redis,
      openBlocking() {
        const client = redis.openBlocking();
        opened.push(client);
        return client;
      },
    },
    keys,
    log,
  );
  const told = new Set<string>();
  const unsubscribe = await channel.subscribe((taskId) => told.add(taskId));
  for (const id of ['first', 'second']) {
    // Publish repeatedly, because Redis keeps no message for a subscriber that is not there yet.
    await untilTrue(async () => {
      await channel.publish(id);
      return told.has(id);
    });
    // A client does this if it is interrupted while it looks for the server.
    const client = opened.at(-1) as RedisClient;
    const ended = once(client, 'end');
    client.disconnect();
    await ended;
  }
  await untilTrue(async () => opened.at(-1)?.status === 'ready');
  unsubscribe();
  await untilTrue(async () => opened.at(-1)?.status === 'end');
  expect(opened).toHaveLength(3);
});
