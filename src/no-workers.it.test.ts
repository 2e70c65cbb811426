import { beforeAll, describe, expect, it } from 'vitest';
import { startProcess, untilTrue } from '../test/harness/processes.ts';
import { createTestStores } from '../test/harness/stores.ts';
import { openSweepParts, type SweepTestParts } from '../test/harness/sweeping.ts';

let parts: SweepTestParts;
let url: string;

/** Starts only one API process, like a release that is scaled to zero, between two runs of its CronJob. */
beforeAll(async () => {
  const stores = await createTestStores();
  parts = await openSweepParts(stores.env);
  const api = startProcess(['node', 'src/main.ts', 'api'], { RATE_LIMIT_PER_MINUTE: '0', ...stores.env });
  const { port } = await api.waitForLine(({ msg }) => msg === 'api listening');
  url = `http://127.0.0.1:${String(port)}`;
});

const submit = async (task: object): Promise<string> => {
  const body = JSON.stringify({ payload: null, ...task });
  const response = await fetch(`${url}/tasks`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  expect(response.status).toBe(200);
  return ((await response.json()) as { id: string }).id;
};

/** Returns the demand of a queue: the sum of its tasks that are ready, due or in flight, as the API exports them. */
async function demandOf(queue: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const series = text.matchAll(/^scheduler_queue_tasks\{queue="([^"]+)",state="(?:ready|due|inflight)"\} (\d+)$/gm);
  return [...series].filter(([, name]) => name === queue).reduce((sum, [, , count]) => sum + Number(count), 0);
}

describe('without a single worker', () => {
  it('a delayed task becomes demand when it is due, and not before', async () => {
    await submit({ queue: 'later', delay: 3_600 });
    await submit({ queue: 'soon', delay: 1 });
    await untilTrue(async () => (await demandOf('soon')) === 1);
    expect(await demandOf('later')).toBe(0);
    // A claim waits for the settings of a new queue. The first worker would bring them; here the next pass does.
    await untilTrue(async () => (await parts.claim('w.1', 1, 'soon')).length === 1);
  });

  it("dead workers' tasks are reclaimed and become demand again", async () => {
    const id = await submit({ queue: 'died' });
    await untilTrue(async () => (await parts.start('dead.1', 1, 'died')).length === 1);
    expect(await parts.statusOf(id)).toBe('PROCESSING');
    await parts.beaten('dead.1', 60_000);
    await parts.gapEnded(3_600_000);
    await untilTrue(async () => (await parts.statusOf(id)) === 'PENDING');
    await untilTrue(async () => (await parts.queue.counts('died')).ready === 1);
    await untilTrue(async () => (await demandOf('died')) === 1);
  });

  it('the order is restored after Redis lost it', async () => {
    const ids = [await submit({ queue: 'lost' }), await submit({ queue: 'lost', delay: 3_600 })];
    await untilTrue(async () => (await parts.queue.counts('lost')).ready === 1);
    const keys = await parts.redis.call((client) => client.keys(`*${parts.config.REDIS_PREFIX}*`));
    await parts.redis.call((client) => client.unlink(keys));
    await untilTrue(async () => {
      const { ready, delayed } = await parts.queue.counts('lost');
      return ready === 1 && delayed === 1;
    });
    await untilTrue(async () => (await demandOf('lost')) === 1);
    for (const id of ids) expect(['PENDING', 'SCHEDULED']).toContain(await parts.statusOf(id));
  });

  it('shows which processes swept', async () => {
    const stats = (await (await fetch(`${url}/stats`)).json()) as { sweeper: Record<string, unknown> };
    expect(stats.sweeper).toMatchObject({ passes_by_reclaimer: 0, passes_by_workers: 0 });
    expect(stats.sweeper['passes_by_api']).toBeGreaterThan(0);
    const text = await (await fetch(`${url}/metrics`)).text();
    expect(text).toMatch(/^scheduler_reclaimer_passes\{role="api"\} [1-9]/m);
  });
});
