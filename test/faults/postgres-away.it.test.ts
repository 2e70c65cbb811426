import { describe, expect, it } from 'vitest';
import { migrate, startPostgres } from '../harness/private-stores.ts';
import { untilTrue } from '../harness/processes.ts';
import { createTestStores } from '../harness/stores.ts';
import { startSystem } from '../harness/system.ts';

describe('while PostgreSQL is down', () => {
  it('a submission gets 503 with Retry-After and makes no task, and outcomes are written later', async () => {
    const postgres = await startPostgres();
    const stores = await createTestStores({ databaseUrl: postgres.url });
    await migrate(stores.env);
    const system = await startSystem(stores);
    const [worker] = await Promise.all([system.startWorker(), system.startReclaimer()]);
    const ids = await system.submitBatch(Array.from({ length: 8 }, () => ({ payload: null, execution_time: 1.5 })));
    // Wait until the worker knows of all starts. If an answer is lost, the task is released and started again.
    const { port } = await worker.waitForLine(({ msg }) => msg === 'metrics listening');
    const untilBusy = (slots: number): Promise<unknown> =>
      untilTrue(async () => {
        const metrics = await (await fetch(`http://127.0.0.1:${String(port)}/metrics`)).text();
        return metrics.includes(`scheduler_worker_slots{state="busy"} ${slots}\n`);
      });
    await untilBusy(8);

    await postgres.kill();
    const refused = await system.post('/tasks', { payload: 'refused' });
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ code: 'postgresql_unavailable' });
    // The handlers end while PostgreSQL is down.
    await untilBusy(0);
    await postgres.restart();

    expect(await system.untilAllEnded(60_000)).toEqual({ COMPLETED: 8 });
    const attempts = await system.rows(
      'SELECT DISTINCT attempt, outcome FROM execution_logs WHERE task_id = ANY ($1)',
      [ids],
    );
    expect(attempts).toEqual([{ attempt: 1, outcome: 'COMPLETED' }]);

    // The system recovers without help, and it has logged no errors that would alert an operator.
    const id = await system.submit({ payload: 'accepted', execution_time: 0 });
    await untilTrue(async () => (await system.get(`/tasks/${id}`))['status'] === 'COMPLETED');
    for (const process of [system.api, worker]) {
      expect(process.lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([]);
      expect(
        process.lines.filter(({ msg, store }) => msg === 'store does not answer' && store === 'postgresql'),
      ).toHaveLength(1);
    }
  }, 90_000);
});
