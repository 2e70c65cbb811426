import { beforeEach, describe, expect, it } from 'vitest';
import { createApiFixture, type ApiFixture } from '../../../test/api-fixture.ts';
import { migrate, startPostgres, startRedis } from '../../../test/harness/private-stores.ts';
import { createSweepQueue } from '../../../test/harness/sweeping.ts';
import { FIXTURE_WORKER } from '../../../test/task-fixture.ts';

const BEATS = { HEARTBEAT_TTL: 10_000, HEARTBEAT_GAP: 4_000 };

let api: ApiFixture;
beforeEach(async () => {
  api = await createApiFixture();
});

const described = (id: string, more: { loopAgeMs?: number; draining?: boolean } = {}) => ({
  id,
  host: 'h',
  pid: 7,
  queues: ['a', 'b'],
  actions: ['mail', 'simulate'],
  slots: 10,
  busy: 3,
  startedAt: '2026-11-01T00:00:00.000Z',
  draining: false,
  loopAgeMs: 120,
  ...more,
});

/** Moves the last heartbeat of a worker into the past. */
const beaten = (id: string, agoMs: number) => api.redis.call((client) => client.zincrby(api.keys.workers, -agoMs, id));

const expire = (id: string) => api.redis.call((client) => client.del(api.keys.heartbeat(id)));

async function workers(): Promise<Record<string, Record<string, unknown>>> {
  const { status, body } = await api.get('/workers');
  expect(status).toBe(200);
  return Object.fromEntries((body.items as { id: string }[]).map((worker) => [worker.id, worker as never]));
}

describe('GET /workers', () => {
  it('shows the last report of a worker, its age, and the tasks it holds in PostgreSQL', async () => {
    await api.registry.beat({ ...described(FIXTURE_WORKER), busy: 0 }, BEATS);
    const ids = [];
    for (let i = 0; i < 22; i++) ids.push(await api.tasks.taskIn('PROCESSING'));
    const { [FIXTURE_WORKER]: worker } = await workers();
    expect(worker).toEqual({
      id: FIXTURE_WORKER,
      state: 'alive',
      alive: true,
      last_beat_at: expect.stringMatching(/Z$/),
      last_beat_age: expect.any(Number),
      loop_age: 0.12,
      holds: { count: 22, task_ids: ids.slice(0, 20) },
      host: 'h',
      pid: 7,
      queues: ['a', 'b'],
      actions: ['mail', 'simulate'],
      slots: 10,
      busy: 0,
      started_at: '2026-11-01T00:00:00.000Z',
      draining: false,
      end: null,
    });
    expect(worker?.['last_beat_age']).toBeLessThan(30);
  });

  it('distinguishes alive, stalled, silent and dead workers, the latest heartbeat first', async () => {
    await api.registry.beat(described('dead'), BEATS);
    await expire('dead');
    await beaten('dead', 60_000);
    await api.registry.beat(described('frozen'), BEATS);
    await beaten('frozen', 5_000);
    await api.registry.beat(described('stalled', { loopAgeMs: 6_000 }), BEATS);
    await api.registry.beat(described('alive'), BEATS);
    await api.registry.beat(described('left'), BEATS);
    await api.registry.leave('left');
    const listed = await workers();
    const states = Object.entries(listed).map(([id, { state, alive }]) => [id, state, alive]);
    expect(states.slice(2)).toEqual([
      ['frozen', 'silent', true],
      ['dead', 'dead', false],
    ]);
    expect(Object.fromEntries(states.slice(0, 2).map(([id, state]) => [id, state]))).toEqual({
      alive: 'alive',
      stalled: 'stalled',
    });
    expect(listed['dead']?.['queues']).toEqual(['a', 'b']);
  });

  it('lists dead workers for a day, with the reason of their end, even if they hold nothing', async () => {
    const sweepQueue = createSweepQueue(api.redis, api.keys);
    await api.registry.beat(described('w1'), BEATS);
    await api.registry.end(described('w1'), { reason: 'watchdog', message: 'its watchdog killed it' });
    await expire('w1');
    await sweepQueue.forget((await sweepQueue.silences([])).filter(({ workerId }) => workerId === 'w1'));
    expect(await workers()).toMatchObject({ w1: { state: 'dead', end: 'its watchdog killed it', slots: 10 } });

    // A worker that comes back is alive, and is listed once.
    await api.registry.beat(described('w1'), BEATS);
    expect((await api.get('/workers')).body.items).toMatchObject([{ id: 'w1', state: 'alive', end: null }]);
    await api.registry.leave('w1');
    expect(await workers()).toEqual({});
  });

  it('keeps at most the latest two hundred dead workers, and each for at most a day', async () => {
    const sweepQueue = createSweepQueue(api.redis, api.keys);
    const nowMs = await sweepQueue.nowMs();
    const dead = Array.from({ length: 300 }, (_, i) => ({
      workerId: `w${i}`,
      silentMs: 1,
      lastBeatMs: nowMs - 400 + i,
    }));
    await sweepQueue.forget([...dead, { workerId: 'old', silentMs: 1, lastBeatMs: nowMs - 86_400_001 }]);
    const listed = Object.keys(await workers());
    expect(listed).toHaveLength(200);
    expect(listed[0]).toBe('w299');
  });

  it('lists a worker that is named only by a running task', async () => {
    const id = await api.tasks.taskIn('PROCESSING');
    expect(await workers()).toMatchObject({
      [FIXTURE_WORKER]: { state: 'unknown', alive: false, last_beat_at: null, holds: { count: 1, task_ids: [id] } },
    });
  });

  it('shows the data of Redis while PostgreSQL is away', async () => {
    const postgres = await startPostgres();
    const cut = await createApiFixture({ databaseUrl: postgres.url, migrate });
    await cut.registry.beat(described('w1'), BEATS);
    await postgres.stop();
    expect(await cut.get('/workers')).toMatchObject({ status: 200, body: { items: [{ id: 'w1', holds: null }] } });
  });
});

describe('the workers of a queue', () => {
  it('are the workers that beat and claim', async () => {
    await api.tasks.submit({ queue: 'a' });
    await api.registry.beat(described('w1'), BEATS);
    await api.registry.beat(described('ends', { draining: true }), BEATS);
    await api.registry.beat(described('dead'), BEATS);
    await expire('dead');
    const { body } = await api.get('/queues');
    expect(body.items).toMatchObject([
      { name: 'a', workers: 1 },
      { name: 'default', workers: 0 },
    ]);
    expect(await api.get('/queues/a')).toMatchObject({ body: { workers: 1 } });
  });

  it('are unknown while Redis is away', async () => {
    const redis = await startRedis();
    const cut = await createApiFixture({ redisUrl: redis.url });
    await redis.kill();
    expect(await cut.get('/queues/default')).toMatchObject({ status: 200, body: { workers: null, counts: null } });
  });
});
