import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { atEndOfFile } from '../test/harness/end-of-file.ts';
import { createTestStores } from '../test/harness/stores.ts';
import { startApi } from '../test/running-api.ts';
import { createWorkerBed } from '../test/worker-bed.ts';

const stores = await createTestStores();
const api = await startApi(stores.env);
const bed = createWorkerBed(stores);

async function resultOf(id: string): Promise<any> {
  const [attempt] = await bed.attempts(id);
  return JSON.parse(attempt?.result ?? 'null');
}

describe('an action, from the API to its result', () => {
  it('runs the examples of the OpenAPI document, even with SIMULATE_UNKNOWN_ACTIONS=false', async () => {
    await bed.startWorker({ env: { SIMULATE_UNKNOWN_ACTIONS: 'false' } });
    const { paths } = (await api.request('/openapi.json')).body;
    const exampleOf = (path: string): unknown => paths[path].post.requestBody.content['application/json'].example;
    const one = await api.post('/tasks', exampleOf('/tasks'));
    const batch = await api.post('/tasks/batch', exampleOf('/tasks/batch'));
    const ids = [one.body.id, ...batch.body.tasks.map(({ id }: { id: string }) => id)];
    expect(ids).toHaveLength(3);
    await bed.untilStatus(ids, ['COMPLETED']);
    expect(await resultOf(one.body.id)).toEqual({ simulated: true, simulated_seconds: 1 });
  });

  it('is simulated if it is unknown and there are no handlers, and both log and result say so', async () => {
    const worker = await bed.startWorker();
    const { body } = await api.post('/tasks', { payload: {}, action: 'email', execution_time: 0 });
    await bed.untilStatus([body.id], ['COMPLETED']);
    expect(await resultOf(body.id)).toMatchObject({ simulated: true });
    const lines = worker.lines.filter(({ msg }) => String(msg).includes('are simulated'));
    expect(lines).toMatchObject([{ level: 40 }]);
  });

  it('fails without retries if it is unknown and simulation is switched off', async () => {
    const worker = await bed.startWorker({ env: { SIMULATE_UNKNOWN_ACTIONS: 'false' } });
    const { body } = await api.post('/tasks', { payload: {}, action: 'email' });
    await bed.untilStatus([body.id], ['FAILED']);
    expect((await bed.attempts(body.id))[0]?.error).toContain('unknown_action');
    expect(worker.lines.filter(({ msg }) => String(msg).includes('are simulated'))).toEqual([]);
  });

  it('http.request keeps the part of a response that fits as JSON, and completes after a 100 Continue', async () => {
    let requests = 0;
    const target = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', () => {
        requests++;
        socket.write('HTTP/1.1 100 Continue\r\n\r\n');
        socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n${'\u0001'.repeat(60_000)}`);
      });
    });
    target.listen(0, '127.0.0.1');
    await once(target, 'listening');
    atEndOfFile(async () => void target.close());
    const { port } = target.address() as AddressInfo;
    await bed.startWorker({ env: { HTTP_ALLOWED_NETWORKS: '127.0.0.1/32' } });
    const { body } = await api.post('/tasks', {
      payload: { url: `http://127.0.0.1:${port}`, body: 'x' },
      action: 'http.request',
    });
    await bed.untilStatus([body.id], ['COMPLETED']);
    const { body: task } = await api.request(`/tasks/${body.id}`);
    expect(task.attempts[0].result).toMatchObject({ status: 200, truncated: true });
    const { body: kept } = task.attempts[0].result;
    expect(new Set(kept)).toEqual(new Set(['\u0001']));
    expect(kept.length).toBeGreaterThan(43_000);
    expect(requests).toBe(1);
  });

  it('is refused at submission if its payload is invalid', async () => {
    const reply = await api.post('/tasks', {
      payload: { action: 'http.request', url: 'ftp://a.example', uri: 1, timeout: 'long' },
    });
    expect(reply.status).toBe(422);
    expect(reply.body.errors).toMatchObject([
      { path: '/payload/url', code: 'invalid_value', given: '"ftp://a.example"' },
      { path: '/payload/timeout', code: 'invalid_type', given: '"long"' },
      { path: '/payload/uri', code: 'unknown_field' },
    ]);
  });
});
