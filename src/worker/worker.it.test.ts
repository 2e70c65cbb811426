import { once } from 'node:events';
import { beforeAll, describe, expect, test } from 'vitest';
import { untilTrue } from '../../test/harness/processes.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { createWorkerBed, type WorkerBed } from '../../test/worker-bed.ts';
import { FinalError, RetryableError } from '../core/errors.ts';
import { idMilliseconds } from '../core/ids.ts';
import type { Priority } from '../core/priority.ts';
import type { Handler } from '../engine/attempts/handler.ts';
import { createCancelChannel } from '../engine/cancel/cancel-channel.ts';
import { createLogger } from '../telemetry/logger.ts';

let bed: WorkerBed;

beforeAll(async () => {
  bed = createWorkerBed(await createTestStores());
});

/** A handler that runs until its signal fires, and reports that it runs. */
function obedient(): { handler: Handler; running: Promise<void>; reason: Promise<unknown> } {
  const running = Promise.withResolvers<void>();
  const reason = Promise.withResolvers<unknown>();
  const handler: Handler = async ({ signal }) => {
    running.resolve();
    if (!signal.aborted) await once(signal, 'abort');
    reason.resolve((signal.reason as { code: string }).code);
    throw signal.reason;
  };
  return { handler, running: running.promise, reason: reason.promise };
}

/** A handler that ignores its signal and runs until `letGo`. */
function stubborn(): { handler: Handler; running: Promise<void>; letGo: () => void } {
  const running = Promise.withResolvers<void>();
  const going = Promise.withResolvers<void>();
  const handler: Handler = async () => {
    running.resolve();
    await going.promise;
    return 'late';
  };
  return { handler, running: running.promise, letGo: going.resolve };
}

describe('a worker', () => {
  test('claims, starts, executes and settles a task', async () => {
    const queue = 'walking';
    const worker = await bed.startWorker({
      env: { WORKER_QUEUES: queue, LOG_OUTCOMES: 'all' },
      actions: { greet: async ({ payload, attemptToken }) => ({ hello: payload, attemptToken }) },
    });
    const [id = ''] = await bed.submit([{ queue, action: 'greet', payload: '"world"' }]);

    const [task] = await bed.untilStatus([id], ['COMPLETED']);
    const [attempt] = await bed.attempts(id);

    expect(task).toMatchObject({ attempt: 1, failures: 0, worker_id: null });
    const result = JSON.stringify({ hello: 'world', attemptToken: `${id}:1` });
    expect(attempt).toMatchObject({ outcome: 'COMPLETED', result, worker_id: worker.process.workerId });
    const line = await untilTrue(() => worker.lines.find(({ msg }) => msg === 'attempt settled'));
    expect(line).toMatchObject({
      task_id: id,
      trace_id: 'trace-of-test',
      queue,
      action: 'greet',
      attempt: 1,
      outcome: 'completed',
    });
    expect(JSON.stringify(worker.lines)).not.toContain('world');
    await worker.stop();
    expect(await bed.queue.counts(queue)).toMatchObject({ ready: 0, inflight: 0 });
  });

  test('logs what did not simply complete, and the counts of everything', async () => {
    const queue = 'quiet';
    const second: Handler = ({ task }) => {
      if (task.attempt === 1) throw new RetryableError('not yet', { retryAfterMs: 1 });
    };
    const worker = await bed.startWorker({
      env: { WORKER_QUEUES: queue },
      actions: { plain: () => 1, second },
    });
    const backoff = { baseMs: 1, factor: 1, maxMs: 1, jitter: 0 };
    const plain = await bed.submit([1, 2, 3].map(() => ({ queue, action: 'plain' })));
    const [retried = ''] = await bed.submit([{ queue, action: 'second', backoff }]);
    await bed.untilStatus([...plain, retried], ['COMPLETED']);
    await worker.stop();
    const lines = worker.lines.filter(({ msg }) => msg === 'attempt settled');
    expect(lines).toMatchObject([
      { task_id: retried, attempt: 1, outcome: 'retried' },
      { task_id: retried, attempt: 2, outcome: 'completed' },
    ]);
    const counts = worker.lines.filter(({ msg }) => msg === 'attempts settled');
    expect(counts).toMatchObject([{ counts: { plain: { completed: 3 }, second: { retried: 1, completed: 1 } } }]);
  });

  test('settles every task exactly once with two other workers', async () => {
    const queue = 'load';
    const runs = new Map<string, number>();
    const count: Handler = async ({ task }) => void runs.set(task.id, (runs.get(task.id) ?? 0) + 1);
    const start = () => bed.startWorker({ env: { WORKER_QUEUES: queue, WORKER_SLOTS: '20' }, actions: { count } });
    const workers = await Promise.all([start(), start(), start()]);
    const tasks = Array.from({ length: 2_000 }, (_, i) => ({
      queue,
      action: 'count',
      priority: ((i % 3) + 1) as Priority,
    }));

    const ids = await bed.submit(tasks);
    const rows = await bed.untilStatus(ids, ['COMPLETED'], 40_000);
    await Promise.all(workers.map(({ stop }) => stop()));

    expect(new Set(rows.map(({ attempt }) => attempt))).toEqual(new Set([1]));
    expect([...runs.values()].every((times) => times === 1)).toBe(true);
    expect(runs.size).toBe(2_000);
    const perWorker = await Promise.all(workers.map(({ process }) => process.metrics.tasksSettled.get()));
    const settled = perWorker.map(({ values }) => values.reduce((sum, { value }) => sum + value, 0));
    expect(settled.reduce((sum, value) => sum + value, 0)).toBe(2_000);
    expect(Math.min(...settled), 'each worker has its share').toBeGreaterThan(0);
    expect(await bed.queue.counts(queue)).toMatchObject({ ready: 0, due: 0, delayed: 0, inflight: 0 });
    expect(await bed.queue.settledCounts(queue)).toEqual({ complete: 2_000 });
  });

  test('with one slot runs the smallest priority first, and the oldest task within a priority', async () => {
    const queue = 'order';
    const started: string[] = [];
    const note: Handler = async ({ task }) => void started.push(task.id);
    const ids = await bed.submit(
      ([3, 2, 1, 3, 2, 1] as const).map((priority) => ({ queue, action: 'note', priority })),
    );

    await bed.startWorker({ env: { WORKER_QUEUES: queue, WORKER_SLOTS: '1' }, actions: { note } });
    await bed.untilStatus(ids, ['COMPLETED']);

    expect(started).toEqual([2, 5, 1, 4, 0, 3].map((i) => ids[i]));
  });

  test('runs a task once if Redis also has it under its old place', async () => {
    const queue = 'moved';
    let runs = 0;
    const ids = await bed.submit([{ queue, action: 'count' }]);
    const [id = ''] = ids;
    await bed.queue.enqueue(queue, [{ position: { id, priority: 2, placeMs: idMilliseconds(id) - 1 }, waitMs: 0 }]);

    const worker = await bed.startWorker({
      env: { WORKER_QUEUES: queue },
      actions: { count: async () => void runs++ },
    });
    await bed.untilStatus(ids, ['COMPLETED']);
    await worker.stop();

    expect(runs).toBe(1);
    expect(worker.lines.filter(({ level }) => Number(level) >= 50)).toEqual([]);
    expect(await bed.queue.counts(queue)).toMatchObject({ ready: 0, due: 0, delayed: 0, inflight: 0 });
  });

  test('serves its queues in the configured order', async () => {
    const started: Record<string, string[]> = { listed: [], 'round-robin': [] };
    for (const order of ['listed', 'round-robin'] as const) {
      const [first, second] = [`${order}-a`, `${order}-b`];
      const note: Handler = async ({ task }) => void started[order]?.push(task.queue.slice(-1));
      const ids = await bed.submit([second, first, second, first].map((queue) => ({ queue, action: 'note' })));
      await bed.startWorker({
        env: { WORKER_QUEUES: `${first},${second}`, WORKER_SLOTS: '1', WORKER_QUEUE_ORDER: order },
        actions: { note },
      });
      await bed.untilStatus(ids, ['COMPLETED']);
    }
    expect(started).toEqual({ listed: ['a', 'a', 'b', 'b'], 'round-robin': ['a', 'b', 'a', 'b'] });
  });

  test('retries with a growing delay, then buries the task with the history of its errors', async () => {
    const queue = 'retries';
    const fail: Handler = () => {
      throw new RetryableError('not this time', { code: 'told_to' });
    };
    await bed.startWorker({ env: { WORKER_QUEUES: queue }, actions: { fail } });
    const backoff = { baseMs: 100, factor: 2, maxMs: 10_000, jitter: 0 };
    const [id = ''] = await bed.submit([{ queue, action: 'fail', backoff, maxRetries: 3 }]);

    const [task] = await bed.untilStatus([id], ['FAILED']);
    const attempts = await bed.attempts(id);

    expect(task).toMatchObject({ attempt: 4, failures: 4 });
    expect(attempts.map(({ outcome }) => outcome)).toEqual(['RETRIED', 'RETRIED', 'RETRIED', 'FAILED']);
    const gaps = attempts
      .slice(1)
      .map(({ started_at }, i) => started_at.getTime() - (attempts[i]?.finished_at?.getTime() ?? 0));
    expect(gaps.map((ms, i) => ms >= 100 * 2 ** i)).toEqual([true, true, true]);
    const [grave] = await bed.database.run<{ reason: string; errors: string }>(
      { name: 'grave', text: 'SELECT reason, errors FROM dlq WHERE task_id = $1' },
      [id],
    );
    expect(grave?.reason).toBe('retries_exhausted');
    expect(JSON.parse(grave?.errors ?? '[]')).toMatchObject(
      [1, 2, 3, 4].map((attempt) => ({ attempt, error: { code: 'told_to' } })),
    );
  });

  test('fails a task at once for a final error and for a result that cannot be kept', async () => {
    const queue = 'final';
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    let deep: unknown = null;
    for (let i = 0; i < 3_000; i++) deep = [deep];
    const actions: Record<string, Handler> = {
      final: () => Promise.reject(new FinalError('no use')),
      bigint: async () => ({ n: 1n }),
      cycle: () => cycle,
      large: () => 'x'.repeat(300_000),
      deep: () => deep,
      nul: () => Promise.reject(new Error('a NUL \0 and half a pair \ud800')),
      nothing: () => undefined,
    };
    await bed.startWorker({ env: { WORKER_QUEUES: queue }, actions });
    const names = Object.keys(actions);
    const ids = await bed.submit(names.map((action) => ({ queue, action, maxRetries: action === 'nul' ? 0 : 3 })));

    await bed.untilStatus(ids, ['COMPLETED', 'FAILED']);
    const ends = await Promise.all(ids.map(async (id) => (await bed.attempts(id))[0]));
    const codes = ends.map((end, i) => [names[i], end?.outcome, JSON.parse(end?.error ?? '{}').code]);

    expect(codes).toEqual([
      ['final', 'FAILED', 'final'],
      ['bigint', 'FAILED', 'result_not_serialisable'],
      ['cycle', 'FAILED', 'result_not_serialisable'],
      ['large', 'FAILED', 'result_too_large'],
      ['deep', 'FAILED', 'result_too_deep'],
      ['nul', 'FAILED', undefined],
      ['nothing', 'COMPLETED', undefined],
    ]);
  });

  test('buries a task whose outcome PostgreSQL always refuses, instead of running it forever', async () => {
    const queue = 'refused';
    const run = (text: string) => bed.database.run({ name: '', text }, []);
    await run(`CREATE FUNCTION refuse_outcome() RETURNS trigger LANGUAGE plpgsql
               AS $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = '23505'; END $$`);
    const [id = ''] = await bed.submit([{ queue, action: 'run' }]);
    await run(`CREATE TRIGGER refuse_outcome BEFORE INSERT ON finished FOR EACH ROW
               WHEN (NEW.id = '${id}' AND NEW.outcome IN ('COMPLETED', 'FAILED')) EXECUTE FUNCTION refuse_outcome()`);
    let runs = 0;
    const actions: Record<string, Handler> = { run: () => void runs++, other: () => 'ran' };
    const worker = await bed.startWorker({ env: { WORKER_QUEUES: queue, HOLDINGS_INTERVAL: '100ms' }, actions });

    const [task] = await bed.untilStatus([id], ['FAILED']);
    expect(task).toMatchObject({ attempt: 3, lost: 3, failures: 0 });
    expect(runs).toBe(3);
    const attempts = await bed.attempts(id);
    expect(attempts.map(({ outcome, error }) => [outcome, JSON.parse(error ?? '{}').code])).toEqual(
      [1, 2, 3].map(() => ['LOST', 'outcome_refused']),
    );
    expect(attempts[0]?.error).toContain('not this one');
    expect((await worker.process.metrics.outcomesRefused.get()).values).toMatchObject([{ value: 3 }]);
    const [other = ''] = await bed.submit([{ queue, action: 'other' }]);
    await bed.untilStatus([other], ['COMPLETED']);
    expect(await bed.queue.counts(queue)).toMatchObject({ ready: 0, delayed: 0, inflight: 0 });
    await run('DROP TRIGGER refuse_outcome ON finished');
  });

  test('writes the last progress with the outcome, even without a look at the holdings', async () => {
    const queue = 'progress';
    const actions: Record<string, Handler> = {
      done: ({ progress }) => [50, 99, 100].forEach(progress),
      silent: () => 'done',
      failed({ progress }) {
        progress({ at: '\0 \ud800' });
        throw new FinalError('no use');
      },
    };
    await bed.startWorker({ env: { WORKER_QUEUES: queue, HOLDINGS_INTERVAL: '1m' }, actions });
    const ids = await bed.submit(Object.keys(actions).map((action) => ({ queue, action })));
    const rows = await bed.untilStatus(ids, ['COMPLETED', 'FAILED']);
    expect(rows.map(({ progress }) => progress)).toEqual(['100', null, JSON.stringify({ at: '\0 \ud800' })]);
  });

  test('ends a running task as CANCELLED after a message, or because of its row', async () => {
    for (const told of ['message', 'row'] as const) {
      const queue = `cancel-${told}`;
      const { handler, running, reason } = obedient();
      const HOLDINGS_INTERVAL = told === 'row' ? '100ms' : '1m';
      await bed.startWorker({ env: { WORKER_QUEUES: queue, HOLDINGS_INTERVAL }, actions: { wait: handler } });
      const [id = ''] = await bed.submit([{ queue, action: 'wait' }]);
      await running;

      await bed.database.run(
        { name: 'request', text: 'UPDATE unfinished SET cancel_requested_at = now() WHERE id = $1' },
        [id],
      );
      if (told === 'message') await createCancelChannel(bed.redis, bed.keys, createLogger('silent', {})).publish(id);

      expect(await reason).toBe('cancelled');
      await bed.untilStatus([id], ['CANCELLED']);
      expect((await bed.attempts(id))[0]).toMatchObject({ outcome: 'CANCELLED' });
    }
  });

  test('settles an attempt as timed out although its handler ignores the signal, and keeps the slot taken', async () => {
    const queue = 'time-out';
    const { handler, letGo } = stubborn();
    const worker = await bed.startWorker({
      env: { WORKER_QUEUES: queue, WORKER_SLOTS: '1' },
      actions: { ignore: handler, other: () => 'ran' },
    });
    const [id = ''] = await bed.submit([{ queue, action: 'ignore', timeoutMs: 100, maxRetries: 0 }]);

    await bed.untilStatus([id], ['FAILED']);
    const [next = ''] = await bed.submit([{ queue, action: 'other' }]);
    expect(JSON.parse((await bed.attempts(id))[0]?.error ?? '')).toMatchObject({ code: 'timed_out' });
    const slots = await worker.process.metrics.workerSlots.get();
    expect(slots.values).toContainEqual({ labels: { state: 'free' }, value: 0 });
    expect((await bed.tasks([next]))[0]).toMatchObject({ status: 'PENDING' });

    letGo();
    await bed.untilStatus([next], ['COMPLETED']);
    expect((await bed.tasks([id]))[0], 'the late result changes nothing').toMatchObject({ status: 'FAILED' });
  });

  test('runs one suspect at a time, beside fresh tasks', async () => {
    const queue = 'suspects';
    let suspects = 0;
    let most = 0;
    let fresh = 0;
    const run: Handler = async ({ task }) => {
      if (task.lost === 0) fresh++;
      else most = Math.max(most, ++suspects);
      await untilTrue(() => fresh === 5);
      if (task.lost > 0) suspects--;
    };
    const given = Array.from({ length: 8 }, () => ({ queue, action: 'run' }));
    const ids = await bed.submit(given);
    await bed.database.run({ name: 'suspect', text: 'UPDATE unfinished SET lost = 2 WHERE id = ANY($1::uuid[])' }, [
      ids.slice(0, 3),
    ]);

    await bed.startWorker({ env: { WORKER_QUEUES: queue, LOST_CAP: '3' }, actions: { run } });
    await bed.untilStatus(ids, ['COMPLETED']);

    expect(most).toBe(1);
  });

  test('hands back unfinished tasks at the end of the grace period, without counting a failure', async () => {
    const queue = 'shutdown';
    const deaf = stubborn();
    const { handler, running, reason } = obedient();
    const env = { WORKER_QUEUES: queue, SHUTDOWN_GRACE: '300ms' };
    const quick = Promise.withResolvers<string>();
    const worker = await bed.startWorker({
      env,
      actions: { deaf: deaf.handler, obey: handler, quick: () => quick.promise },
    });
    const ids = await bed.submit(['deaf', 'obey', 'quick'].map((action) => ({ queue, action })));
    await Promise.all([deaf.running, running]);
    await untilTrue(async () => (await bed.tasks(ids)).every(({ status }) => status === 'PROCESSING'));

    const stopped = worker.stop();
    quick.resolve('in time');
    expect(await reason).toBe('shutting_down');
    // Let the deaf handler return. Otherwise the bed's worker would end this process because of it.
    deaf.letGo();
    await stopped;

    const rows = await bed.tasks(ids);
    expect(rows.map(({ failures, lost }) => [failures, lost])).toEqual([
      [0, 0],
      [0, 0],
      [0, 0],
    ]);
    expect(rows[1]).toMatchObject({ status: 'PENDING' });
    expect(rows[2]).toMatchObject({ status: 'COMPLETED' });
    const next = await bed.startWorker({ env, actions: { deaf: () => 1, obey: () => 2 } });
    await bed.untilStatus(ids, ['COMPLETED'], 3_000);
    expect((await bed.attempts(ids[1] ?? '')).at(-1)).toMatchObject({ worker_id: next.process.workerId, attempt: 2 });
  });

  test('hands back a task that it holds but does not run, because the reply to its start was lost', async () => {
    const queue = 'lost-answer';
    const [id = ''] = await bed.submit([{ queue, action: 'run', runAtMs: Date.now() + 60_000 }]);
    const worker = await bed.startWorker({
      env: { WORKER_QUEUES: queue, HOLDINGS_INTERVAL: '100ms' },
      actions: { run: () => 1 },
    });
    await bed.database.run({ name: 'due', text: 'UPDATE unfinished SET run_at = now() WHERE id = $1' }, [id]);

    const [started] = await bed.store.start([id], worker.process.workerId, 3, true);

    expect(started).toMatchObject({ verdict: 'started' });
    await bed.untilStatus([id], ['COMPLETED'], 5_000);
    expect((await bed.attempts(id)).map(({ outcome }) => outcome)).toEqual(['RELEASED', 'COMPLETED']);
    expect((await bed.tasks([id]))[0]).toMatchObject({ failures: 0, lost: 0 });
  });

  test('tells a handler that another worker has its task, and the outcome is refused', async () => {
    const queue = 'zombie';
    const { handler, running, reason } = obedient();
    const worker = await bed.startWorker({
      env: { WORKER_QUEUES: queue, HOLDINGS_INTERVAL: '100ms' },
      actions: { wait: handler },
    });
    const [id = ''] = await bed.submit([{ queue, action: 'wait' }]);
    await running;

    const text = `UPDATE unfinished SET worker_id = 'successor', attempt = attempt + 1 WHERE id = $1`;
    await bed.database.run({ name: 'take-over', text }, [id]);

    expect(await reason).toBe('ownership_lost');
    await untilTrue(async () => (await worker.process.metrics.staleSettles.get()).values[0]?.value === 1);
    expect((await bed.tasks([id]))[0]).toMatchObject({ status: 'PROCESSING', worker_id: 'successor', attempt: 2 });
  });

  test('keeps the latest progress with the task', async () => {
    const queue = 'progress';
    const { handler, running } = obedient();
    const report: Handler = (context) => {
      context.progress({ done: 1 });
      context.progress({ done: 2 });
      context.progress(10n);
      return handler(context);
    };
    const worker = await bed.startWorker({
      env: { WORKER_QUEUES: queue, HOLDINGS_INTERVAL: '100ms', SHUTDOWN_GRACE: '0s' },
      actions: { report },
    });
    const [id = ''] = await bed.submit([{ queue, action: 'report' }]);
    await running;
    expect(await untilTrue(async () => (await bed.tasks([id]))[0]?.progress)).toBe('{"done":2}');
    await worker.stop();
  });

  test('does not claim from a paused queue, even if Redis has lost the pause', async () => {
    const queue = 'paused';
    const [id = ''] = await bed.submit([{ queue, action: 'run' }]);
    await bed.database.run({ name: 'pause', text: `UPDATE queues SET paused = true WHERE name = $1` }, [queue]);
    await bed.startWorker({ env: { WORKER_QUEUES: `${queue},not-paused` }, actions: { run: () => 1 } });

    await untilTrue(async () => (await bed.queue.counts(queue)).paused);
    // When this task completes, the worker has looked at both queues.
    const [other = ''] = await bed.submit([{ queue: 'not-paused', action: 'run' }]);
    await bed.untilStatus([other], ['COMPLETED']);
    expect((await bed.tasks([id]))[0]).toMatchObject({ status: 'PENDING', attempt: 0 });

    await bed.database.run(
      { name: 'resume', text: `UPDATE queues SET paused = false, version = version + 1 WHERE name = $1` },
      [queue],
    );
    await bed.queue.setSettings(queue, { version: 2, paused: false });
    await bed.untilStatus([id], ['COMPLETED'], 3_000);
  });
});
