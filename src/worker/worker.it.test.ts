import { beforeAll, describe, expect, test } from 'vitest';
import { createTestStores } from '../../test/harness/stores.ts';
import { createWorkerBed, type WorkerBed } from '../../test/worker-bed.ts';

let bed: WorkerBed;

beforeAll(async () => {
  bed = createWorkerBed(await createTestStores());
});

describe('a worker', () => {
  test('claims, starts, executes and settles a task', async () => {
    const worker = await bed.startWorker({ actions: { greet: async ({ payload }) => ({ hello: payload }) } });
    const [id = ''] = await bed.submit([{ action: 'greet', payload: '"world"' }]);

    const [task] = await bed.untilStatus([id], ['COMPLETED']);
    const [attempt] = await bed.attempts(id);

    expect(task).toMatchObject({ attempt: 1, failures: 0, worker_id: null });
    expect(attempt).toMatchObject({
      outcome: 'COMPLETED',
      result: '{"hello":"world"}',
      worker_id: worker.process.workerId,
    });
    await worker.stop();
    expect(await bed.queue.counts('default')).toMatchObject({ ready: 0, inflight: 0 });
  });
});
