import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { scriptNamed } from '../harness/assets.ts';
import { startLossyProxy } from '../harness/lossy-proxy.ts';
import { createTestStores } from '../harness/stores.ts';
import { SHORT_HEARTBEATS, startSystem } from '../harness/system.ts';

const LOAD_AT_MOST_MS = 60_000;

/** Returns the bytes that name a prepared statement in a Bind message. */
const bound = (name: string) => `\0${name}\0`;

it('no task is lost or settled twice when answers to submit, start, settle, claim and release are lost', async () => {
  const stores = await createTestStores();
  const toPostgres = await startLossyProxy(stores.databaseUrl);
  const toRedis = await startLossyProxy(stores.redisUrl);
  // The TTL is long enough that no worker is presumed dead because of lost connections.
  const env = { ...SHORT_HEARTBEATS, HEARTBEAT_TTL: '10s', DATABASE_URL: toPostgres.url, REDIS_URL: toRedis.url };
  const system = await startSystem(stores, env);
  await Promise.all([system.startWorker(), system.startWorker(), system.startReclaimer()]);
  toPostgres.loseAnswersTo([bound('submit-without-pairs'), bound('start'), bound('settle')], 4);
  toRedis.loseAnswersTo(
    ['claim', 'settle', 'release', 'enqueue'].map((name) => scriptNamed(name).sha),
    4,
  );

  const answers = new Map<string, string>();
  // Submit until enough answers are lost. The number of calls per task depends on the batches.
  const enough = (): boolean => toPostgres.lost > 10 && toRedis.lost > 5;
  const until = performance.now() + LOAD_AT_MOST_MS;
  while (answers.size < 150 || (!enough() && performance.now() < until)) {
    const key = randomUUID();
    // A client without an answer repeats the request with the same key.
    for (let tries = 0; !answers.has(key) && tries < 20; tries++) {
      const task = { payload: key, execution_time: 0.05 };
      const response = await system.post('/tasks', task, { 'idempotency-key': key }).catch(() => null);
      // A repeated request must not be a conflict: if the API does not know the outcome, it answers 503.
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
  // The only valid reason for a second attempt is that a worker released the first one without running it.
  const unexplained = await system.rows(
    `SELECT task_id, attempt, outcome FROM execution_logs WHERE outcome NOT IN ('COMPLETED', 'RELEASED')`,
  );
  expect(unexplained).toEqual([]);
}, 150_000);
