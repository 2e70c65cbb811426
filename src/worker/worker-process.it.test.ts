import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { atEndOfFile } from '../../test/harness/end-of-file.ts';
import { podNamed, servePods, startKubernetesApi } from '../../test/harness/kubernetes-api.ts';
import { startProcess, untilTrue, type TestProcess } from '../../test/harness/processes.ts';
import { createTestStores, type TestStores } from '../../test/harness/stores.ts';
import { createWorkerBed, type WorkerBed } from '../../test/worker-bed.ts';
import { createWorkerRegistry } from '../engine/presence/worker-registry.ts';

let stores: TestStores;
let bed: WorkerBed;

beforeAll(async () => {
  stores = await createTestStores();
  bed = createWorkerBed(stores);
});

function startWorker(queue: string, env: Record<string, string> = {}, script = ['src/main.ts', 'worker']): TestProcess {
  const HANDLERS = resolve('test/worker-handlers.ts');
  return startProcess(['node', ...script], { ...stores.env, HANDLERS, WORKER_QUEUES: queue, ...env });
}

async function workerIdOf(worker: TestProcess): Promise<string> {
  return (await worker.waitForLine(({ msg }) => msg === 'worker claims'))['worker_id'] as string;
}

describe('a worker process', () => {
  test('serves its probes, and leaves the registry when it ends', async () => {
    const worker = startWorker('probes');
    const workerId = await workerIdOf(worker);
    const { port } = await worker.waitForLine(({ msg }) => msg === 'metrics listening');
    const get = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${Number(port)}${path}`);
      return [response.status, await response.text()] as const;
    };

    expect(await get('/healthz')).toEqual([200, '{"ok":true}']);
    expect(await get('/readyz')).toEqual([200, '{"ok":true}']);
    expect((await get('/metrics'))[1]).toContain('scheduler_worker_slots{state="free"} 10');
    expect((await get('/else'))[0]).toBe(404);
    const key = bed.keys.heartbeat(workerId);
    // On a busy machine, the first beat may come after the first claim.
    await expect.poll(() => bed.redis.call((client) => client.get(key))).toContain('"queues":["probes"]');

    worker.signal('SIGTERM');
    expect(await worker.waitForExit()).toEqual({ code: 0, signal: null });
    expect(await bed.redis.call((client) => client.exists(key))).toBe(0);
    expect(await bed.redis.call((client) => client.zscore(bed.keys.workers, workerId))).toBeNull();
  });

  test('ends when it is told to before its first claim', async () => {
    // Without Redis, the start waits a moment for the first beat.
    const worker = startWorker('early', { REDIS_URL: 'redis://127.0.0.1:1' });
    await worker.waitForLine(({ msg }) => msg === 'metrics listening');
    worker.signal('SIGTERM');
    expect(await worker.waitForExit()).toEqual({ code: 0, signal: null });
  });

  test('ends with a clear error if another program uses the port of its probes', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const worker = startWorker('busy-port', { METRICS_PORT: String(port) });
    expect(await worker.waitForExit()).toEqual({ code: 1, signal: null });
    expect(worker.output).toContain(`port ${port} is in use already: stop what listens there, or set METRICS_PORT`);
    other.close();
  });

  test('in a cluster, names its pod in the registry, and tells Kubernetes its deletion cost', async () => {
    const api = await startKubernetesApi(servePods(new Map([['worker-1', podNamed('worker-1', 'uid')]])));
    atEndOfFile(() => api.close());
    const pod = { POD_NAME: 'worker-1', POD_NAMESPACE: 'tasks', POD_UID: '0a1b2c3d-0000-4000-8000-000000000001' };
    const worker = startWorker('pod', { ...api.env, ...pod, POD_DELETION_COST: 'true' });
    const workerId = await workerIdOf(worker);
    expect(workerId).toMatch(/^0a1b2c3d-0000-4000-8000-000000000001\.[0-9a-f]{8}$/);

    const told = () => bed.redis.call((client) => client.get(bed.keys.heartbeat(workerId)));
    await expect.poll(told).toContain('"pod":{"name":"worker-1","namespace":"tasks"}');
    await untilTrue(async () => api.requests.length > 0);
    expect(api.requests).toMatchObject([{ method: 'PATCH', path: '/api/v1/namespaces/tasks/pods/worker-1' }]);

    worker.signal('SIGTERM');
    expect(await worker.waitForExit()).toEqual({ code: 0, signal: null });
  });

  test('beats while a handler blocks its event loop', async () => {
    const worker = startWorker('blocked', {
      HEARTBEAT_INTERVAL: '100ms',
      HEARTBEAT_TTL: '500ms',
      HEARTBEAT_GAP: '300ms',
      SWEEP_INTERVAL: '200ms',
    });
    const workerId = await workerIdOf(worker);
    const [id = ''] = await bed.submit([{ queue: 'blocked', action: 'block', payload: '{"ms":3000}' }]);
    await bed.untilStatus([id], ['PROCESSING']);

    const beats: number[] = [];
    await untilTrue(async () => {
      beats.push(Number(await bed.redis.call((client) => client.zscore(bed.keys.workers, workerId))));
      return (await bed.tasks([id]))[0]?.status === 'COMPLETED';
    });

    expect(new Set(beats).size, 'distinct beats during the block').toBeGreaterThan(5);
    const [attempt] = await bed.attempts(id);
    expect((attempt?.finished_at?.getTime() ?? 0) - (attempt?.started_at.getTime() ?? 0)).toBeGreaterThan(2_900);
    // Stop it, because its stand-in would judge the workers of the other tests by its short time to live.
    worker.signal('SIGTERM');
    await worker.waitForExit();
  });

  test('is killed by its watchdog when the event loop stands still beyond a deadline', async () => {
    const worker = startWorker('hung', {}, ['test/impatient-worker.ts']);
    const workerId = await workerIdOf(worker);
    const [id = ''] = await bed.submit([{ queue: 'hung', action: 'block', payload: '{"ms":60000}', timeoutMs: 200 }]);

    expect(await worker.waitForExit()).toEqual({ code: null, signal: 'SIGKILL' });
    expect(worker.lines.at(-1)).toMatchObject({
      level: 'fatal',
      msg: 'main loop stands still beyond a deadline, killing the process',
      task_id: id,
      action: 'block',
      attempt: 1,
    });
    expect(await createWorkerRegistry(bed.redis, bed.keys).lastWords(workerId)).toMatchObject({
      reason: 'watchdog',
      message: expect.stringContaining(`of the task ${id} (action "block")`),
    });
  });

  test('ends when handlers that ignore their time limit have taken every slot, and names their tasks', async () => {
    const worker = startWorker('overrun', { WORKER_SLOTS: '2', WORKER_OVERRUN_GRACE: '700ms' });
    await workerIdOf(worker);
    const { port } = await worker.waitForLine(({ msg }) => msg === 'metrics listening');
    const slots = async () =>
      (await (await fetch(`http://127.0.0.1:${Number(port)}/metrics`)).text()).match(/slots\{.*/g);
    const hang = { queue: 'overrun', action: 'hang', timeoutMs: 200, maxRetries: 0 };
    const [first = ''] = await bed.submit([hang]);
    await bed.untilStatus([first], ['FAILED']);
    expect(await slots()).toEqual(['slots{state="busy"} 0', 'slots{state="overrun"} 1', 'slots{state="free"} 1']);
    const [second = ''] = await bed.submit([hang]);

    // The other slot still works, until the second task takes it.
    await bed.untilStatus([second], ['FAILED']);
    const [waiting = ''] = await bed.submit([{ queue: 'overrun', action: 'simulate' }]);
    expect(await worker.waitForExit()).toEqual({ code: 3, signal: null });
    const fatal = worker.lines.find(({ level }) => level === 'fatal');
    expect(fatal).toMatchObject({ msg: 'stopping after a failure', err: { code: 'slots_overrun' } });
    for (const id of [first, second]) expect(JSON.stringify(fatal)).toContain(`${id} (action \\"hang\\")`);
    expect(await bed.tasks([first, second, waiting])).toMatchObject([
      { status: 'FAILED', lost: 0 },
      { status: 'FAILED', lost: 0 },
      { status: 'PENDING', lost: 0 },
    ]);
    // Its successor has free slots.
    const successor = startWorker('overrun');
    await bed.untilStatus([waiting], ['COMPLETED']);
    successor.signal('SIGTERM');
    await successor.waitForExit();
  });

  test('logs which handler ended the process, and so do the errors of the lost attempts', async () => {
    const fast = { HEARTBEAT_INTERVAL: '200ms', HEARTBEAT_TTL: '1s', HEARTBEAT_GAP: '600ms', SWEEP_INTERVAL: '300ms' };
    const worker = startWorker('exit', fast);
    const workerId = await workerIdOf(worker);
    const [innocent = '', guilty = ''] = await bed.submit([
      { queue: 'exit', action: 'simulate', executionTimeSeconds: 60 },
      { queue: 'exit', action: 'exit', payload: '{"ms":500,"code":0}' },
    ]);
    expect(await worker.waitForExit()).toEqual({ code: 0, signal: null });
    const why = `the handler of the task ${guilty} (action "exit") ended the process with process.exit(0)`;
    expect(worker.lines.at(-1)).toMatchObject({
      level: 'fatal',
      task_id: guilty,
      action: 'exit',
      exit_code: 0,
      why,
    });

    const sweeper = startProcess(['node', 'src/main.ts', 'reclaimer', '--loop'], { ...stores.env, ...fast });
    await bed.untilStatus([innocent, guilty], ['PENDING']);
    for (const id of [innocent, guilty]) {
      const [attempt] = await bed.attempts(id);
      expect(JSON.parse(attempt?.error ?? '{}')).toMatchObject({
        code: 'worker_lost',
        message: `worker ${workerId} ended while it ran the attempt: ${why}`,
      });
    }
    sweeper.signal('SIGTERM');
    await sweeper.waitForExit();
  });

  test('is spared by its watchdog while a handler blocks the event loop within its time limit', async () => {
    const worker = startWorker('busy', {}, ['test/impatient-worker.ts']);
    await workerIdOf(worker);
    const [id = ''] = await bed.submit([{ queue: 'busy', action: 'block', payload: '{"ms":1500}', timeoutMs: 60_000 }]);

    await bed.untilStatus([id], ['COMPLETED']);
    expect((await bed.attempts(id)).map(({ outcome }) => outcome)).toEqual(['COMPLETED']);
  });

  test('survives errors that a handler does not catch, and names the task', async () => {
    const worker = startWorker('stray');
    const [stray = '', after = ''] = await bed.submit([
      { queue: 'stray', action: 'stray' },
      { queue: 'stray', action: 'simulate', executionTimeSeconds: 0.1 },
    ]);

    await bed.untilStatus([stray, after], ['COMPLETED']);
    for (const kind of ['unhandledRejection', 'uncaughtException']) {
      const line = await worker.waitForLine((candidate) => candidate['kind'] === kind);
      expect(line).toMatchObject({ level: 'error', task_id: stray, action: 'stray', error_name: 'Error' });
      expect(JSON.stringify(line)).toContain('worker-handlers.ts');
    }
    // A handler's message may hold parts of a payload.
    expect(worker.output).not.toContain('behind the back');
  });

  test('ends in time although a handler ignores every signal, and hands its task back', async () => {
    const worker = startWorker('deaf', { SHUTDOWN_GRACE: '200ms' });
    await workerIdOf(worker);
    const [id = ''] = await bed.submit([{ queue: 'deaf', action: 'deaf' }]);
    await bed.untilStatus([id], ['PROCESSING']);

    worker.signal('SIGTERM');

    expect(await worker.waitForExit(10_000)).toEqual({ code: 0, signal: null });
    expect((await bed.tasks([id]))[0]).toMatchObject({ status: 'PENDING', failures: 0, lost: 0 });
    expect(await bed.queue.counts('deaf')).toMatchObject({ ready: 1, inflight: 0 });
  });

  test('does not start with a handlers module that cannot be used', async () => {
    const worker = startWorker('none', { HANDLERS: '/nowhere/handlers.ts' });
    expect(await worker.waitForExit()).toEqual({ code: 1, signal: null });
    expect(worker.output).toContain('there is no such file');
  });

  test('logs which handlers it loads, since their top-level code may never end', async () => {
    const HANDLERS = resolve('test/endless-handlers.ts');
    const worker = startWorker('endless', { HANDLERS });
    expect(await worker.waitForLine(({ msg }) => msg === 'loading the handlers')).toMatchObject({ handlers: HANDLERS });
    worker.signal('SIGTERM');
    expect(await worker.waitForExit()).toEqual({ code: 143, signal: null });
  });
});
