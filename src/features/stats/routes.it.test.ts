import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { createApiFixture, type ApiFixture } from '../../../test/api-fixture.ts';
import { statementNamed } from '../../../test/harness/assets.ts';
import { startPostgres, migrate } from '../../../test/harness/private-stores.ts';

let api: ApiFixture;
beforeAll(async () => {
  api = await createApiFixture();
});

describe('GET /stats', () => {
  it('counts unfinished tasks, and shows the sweeper and the queues', async () => {
    for (const status of ['PENDING', 'PENDING', 'SCHEDULED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const)
      await api.tasks.taskIn(status);
    await api.queue.settle('default', 'w', [
      { position: api.position(await api.tasks.submit()), verb: 'complete', waitMs: 0 },
    ]);
    expect(await api.get('/stats')).toEqual({
      status: 200,
      text: expect.any(String),
      headers: expect.anything(),
      body: {
        stores: { postgresql: 'up', redis: 'up' },
        tasks: { PENDING: 3, SCHEDULED: 1, PROCESSING: 1 },
        open_dead_letters: 1,
        sweeper: {
          last_success_at: null,
          reclaimer_last_success_at: null,
          last_holder: null,
          passes_by_reclaimer: 0,
          passes_by_workers: 0,
          passes_by_api: 0,
        },
        queues: [
          {
            name: 'default',
            paused: false,
            counts: { ready: 0, due: 0, delayed: 0, inflight: 0 },
            oldest_ready_age: null,
            settled: { complete: 1 },
          },
        ],
      },
    });
  });

  it('shows the time and the holder of the last sweep', async () => {
    const { database } = api.tasks;
    const [lease] = await database.run<{ pass: number }>(statementNamed('take-lease'), [
      'worker-7',
      3_000,
      15_000,
      5_000,
    ]);
    await database.run(statementNamed('end-pass'), ['worker-7', lease?.pass, null, '{}', 'worker', true]);
    const { body } = await api.get('/stats');
    expect(body['sweeper']).toEqual({
      last_success_at: expect.stringMatching(/Z$/),
      reclaimer_last_success_at: null,
      last_holder: 'worker-7',
      passes_by_reclaimer: 0,
      passes_by_workers: 1,
      passes_by_api: 0,
    });
  });

  it('shows null for a count that takes too long; a list that takes too long answers 503', async () => {
    const hurried = await createApiFixture({ readTimeoutMs: 200 });
    await withConnection(hurried.databaseUrl, async (other) => {
      await other.query('BEGIN; LOCK TABLE submissions, unfinished, finished');
      const { body } = await hurried.get('/stats');
      expect(body).toMatchObject({ stores: { postgresql: 'up' }, tasks: null, open_dead_letters: 0 });
      const refused = await hurried.get('/tasks');
      expect(refused).toMatchObject({ status: 503, body: { code: 'statement_timed_out' } });
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      await other.query('ROLLBACK');
    });
    expect((await hurried.get('/tasks')).status).toBe(200);
  });

  it('reports PostgreSQL as down when it is away, while lists answer 503', async () => {
    const postgres = await startPostgres();
    const cut = await createApiFixture({ databaseUrl: postgres.url, migrate });
    await postgres.stop();
    expect(await cut.get('/stats')).toMatchObject({
      status: 200,
      body: {
        stores: { postgresql: 'down', redis: 'up' },
        tasks: null,
        open_dead_letters: null,
        sweeper: null,
        queues: null,
      },
    });
    expect(await cut.get('/tasks')).toMatchObject({ status: 503, body: { code: 'postgresql_unavailable' } });
    expect(await cut.get('/queues')).toMatchObject({ status: 503, body: { code: 'postgresql_unavailable' } });
  });
});
