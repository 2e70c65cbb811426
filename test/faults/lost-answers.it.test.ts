import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { scriptNamed } from '../harness/assets.ts';
import { startLossyProxy } from '../harness/lossy-proxy.ts';
import { createTestStores } from '../harness/stores.ts';
import { SHORT_HEARTBEATS, startSystem } from '../harness/system.ts';

const LOAD_AT_MOST_MS = 60_000;

/** How a prepared statement is named in the protocol when it is bound. */
const bound = (name: string) => `\0${name}\0`;

it('answers lost after submit, start, settle, claim and release were carried out: nothing is lost, nothing is settled twice', async () => {
  const stores = await createTestStores();
  const toPostgres = await startLossyProxy(stores.databaseUrl);
  const toRedis = await startLossyProxy(stores.redisUrl);
  // Deaths are none of this test's business: the heartbeats must survive the lost connections.
  const env = { ...SHORT_HEARTBEATS, HEARTBEAT_TTL: '10s', DATABASE_URL: toPostgres.url, REDIS_URL: toRedis.url };
  const system = await startSystem(stores, env);
  await Promise.all([system.startWorker(), system.startWorker(), system.startReclaimer()]);
  toPostgres.loseAnswersTo([bound('submit'), bound('start'), bound('settle')], 4);
  toRedis.loseAnswersTo(
    ['claim', 'settle', 'release', 'enqueue'].map((name) => scriptNamed(name).sha),
    4,
  );

  const answers = new Map<string, string>();
  // As long as it takes for enough answers to be lost: how many calls a task costs depends on the batches.
  const enough = (): boolean => toPostgres.lost > 10 && toRedis.lost > 5;
  const until = performance.now() + LOAD_AT_MOST_MS;
  while (answers.size < 150 || (!enough() && performance.now() < until)) {
    const key = randomUUID();
    // A client that got no answer asks again under its key.
    for (let tries = 0; !answers.has(key) && tries < 20; tries++) {
      const task = { payload: key, execution_time: 0.05 };
      const response = await system.post('/tasks', task, { 'idempotency-key': key }).catch(() => null);
      // Repeated with the same id, it is no conflict: what the API cannot know is 503, and nothing is refused.
      if (response !== null) expect([200, 503]).toContain(response.status);
      if (response?.status === 200) answers.set(key, ((await response.json()) as { id: string }).id);
    }
    expect(answers.has(key)).toBe(true);
  }
  expect(enough()).toBe(true);
  toPostgres.behave();
  toRedis.behave();

  expect(await system.untilAllEnded(90_000)).toEqual({ COMPLETED: answers.size });
  const ids = await system.rows<{ id: string }>('SELECT id FROM tasks ORDER BY id');
  expect(ids.map(({ id }) => id)).toEqual([...answers.values()].toSorted());
  const twice = await system.rows(`
    SELECT task_id FROM execution_logs WHERE outcome = 'COMPLETED' GROUP BY task_id HAVING count(*) <> 1`);
  expect(twice).toEqual([]);
  // A second start needs a reason: the first one was given back by the worker that did not run it.
  const unexplained = await system.rows(
    `SELECT task_id, attempt, outcome FROM execution_logs WHERE outcome NOT IN ('COMPLETED', 'RELEASED')`,
  );
  expect(unexplained).toEqual([]);
}, 150_000);
