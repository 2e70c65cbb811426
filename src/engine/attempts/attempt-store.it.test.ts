import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { createAdminStore } from '../../../test/harness/task-stores.ts';
import type { NewTask, Submission } from '../../core/task.ts';
import type { Run } from '../../postgres/database.ts';
import type { StartResult } from './attempt-store.ts';

let parts: TestParts;

beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
});

const LOST_CAP = 3;

async function committed(count: number, changes: Partial<NewTask> = {}): Promise<NewTask[]> {
  const tasks = Array.from({ length: count }, () => parts.newTask(changes));
  const names = [...new Set(tasks.map(({ queue }) => queue))];
  await parts.store.submitAll(
    tasks.map((task) => ({ task, idempotency: null })),
    { names, most: 100 },
  );
  return tasks;
}

const idsOf = (tasks: readonly { readonly id: string }[]) => tasks.map(({ id }) => id);
const start = (ids: readonly string[], worker = 'w') => parts.store.start(ids, worker, LOST_CAP, true);
const verdicts = (results: readonly StartResult[]) => results.map(({ verdict }) => verdict);

function sql<Row extends object>(text: string, values: unknown[]): Promise<Row[]> {
  return parts.database.run<Row>({ name: '', text }, values);
}

describe('submit', () => {
  const withKey = (key: string): Submission => ({
    task: parts.newTask(),
    idempotency: { key, requestHash: Buffer.from(key), answer: JSON.stringify(key) },
  });

  it('returns `created` again for a repeated call with the same ids, and not a replay of its own record', async () => {
    const submissions = [withKey('repeated'), { task: parts.newTask(), idempotency: null }];
    const created = { kind: 'created', waitMs: 0 };
    expect(await parts.store.submit(submissions)).toEqual([created, created]);
    expect(await parts.store.submit(submissions)).toEqual([created, created]);
    expect(await parts.store.submit([withKey('repeated')])).toMatchObject([{ kind: 'replayed', answer: '"repeated"' }]);
  });

  it('locks keys in sorted order, so that statements with opposite orders do not deadlock', async () => {
    const record = (run: Run, key: string) =>
      run(
        {
          name: '',
          text: `INSERT INTO idempotency_keys (client, queue, key, request_hash, task_id, answer, expires_at)
                 VALUES ('', 'default', $1, '', $2, '{}', now() + interval '1 hour')`,
        },
        [key, parts.ids.next('default')],
      );
    let submitted: Promise<unknown> = Promise.resolve();
    await parts.database.transaction(async (run) => {
      // This is shorter than the time after which PostgreSQL looks for a deadlock and ends the other transaction.
      await run({ name: '', text: `SET LOCAL lock_timeout = '300ms'` }, []);
      await record(run, 'order-a');
      submitted = parts.store.submit([withKey('order-b'), withKey('order-a')]);
      const text = `SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' AND pid <> pg_backend_pid()`;
      await expect.poll(() => sql(text, [])).toHaveLength(1);
      // The other statement waits for the first key, so it must not hold the second one yet.
      await record(run, 'order-b');
    });
    expect(await submitted).toEqual([{ kind: 'mismatch' }, { kind: 'mismatch' }]);
  });
});

describe('start', () => {
  it('answers in the order of the claim, and logs one time for the batch and an ordinal for each task', async () => {
    const tasks = (await committed(50)).toReversed();
    const results = await start(idsOf(tasks));
    expect(results.map((result) => (result.verdict === 'started' ? result.task.id : null))).toEqual(idsOf(tasks));
    const logs = await sql<{ task_id: string; times: number }>(
      `SELECT task_id, (SELECT count(DISTINCT started_at) FROM execution_logs WHERE task_id = ANY ($1::uuid[])) AS times
       FROM execution_logs WHERE task_id = ANY ($1::uuid[]) ORDER BY started_at, ordinal`,
      [idsOf(tasks)],
    );
    expect(logs.map(({ task_id }) => task_id)).toEqual(idsOf(tasks));
    expect(logs[0]?.times).toBe(1);
  });

  it('hands over what was asked, and what became of earlier attempts', async () => {
    const asked = {
      queue: 'whole',
      priority: 1,
      group: 'acme',
      action: 'mail',
      payload: '{"to":"all"}',
      executionTimeSeconds: 9,
      maxRetries: 7,
      backoff: { baseMs: 1, factor: 2, maxMs: 3, jitter: 0 },
      timeoutMs: 5_000,
      metadata: { team: 'a' },
      traceId: 'b'.repeat(32),
      traceparent: `00-${'b'.repeat(32)}-${'c'.repeat(16)}-01`,
    } as const;
    const [whole] = await committed(1, asked);
    const [plain] = await committed(1);
    // Every number is another one, so that no two columns can be confused.
    const known = { placeMs: 123, attempt: 4, failures: 2, lost: 1 };
    await sql('UPDATE unfinished SET place_ms = $2, attempt = $3, failures = $4, lost = $5 WHERE id = $1', [
      whole?.id,
      ...Object.values(known),
    ]);
    const results = await start([whole?.id as string, plain?.id as string]);
    expect(results).toMatchObject([
      { verdict: 'started', task: { ...asked, ...known, attempt: 5 } },
      { verdict: 'started', task: { group: null, metadata: null, backoff: null } },
    ]);
  });

  it('starts a task only once when several workers ask at the same time', async () => {
    const ids = idsOf(await committed(20));
    const all = await Promise.all(Array.from({ length: 8 }, (_, i) => start(ids, `w${i}`)));
    const started = all.flat().flatMap((result) => (result.verdict === 'started' ? [result.task.id] : []));
    expect(started.toSorted()).toEqual(ids.toSorted());
    expect(all.flat().every(({ verdict }) => ['started', 'locked', 'gone'].includes(verdict))).toBe(true);
  });

  it('returns how long an early task has to wait, and `gone` for an unknown id', async () => {
    const [later] = await committed(1, { runAtMs: parts.clock.nowMs() + 60_000 });
    const results = await start([later?.id as string, parts.ids.next('default')]);
    expect(verdicts(results)).toEqual(['early', 'gone']);
    expect(results[0]).toMatchObject({ waitMs: expect.any(Number) });
    const { waitMs } = results[0] as { waitMs: number };
    expect(waitMs).toBeGreaterThan(50_000);
    // The measured clock may be ahead of the server's clock by part of a round trip.
    expect(waitMs).toBeLessThan(61_000);
  });

  it('refuses a task that another transaction locks, and a task of a paused queue', async () => {
    const [held] = await committed(1);
    const [paused] = await committed(1, { queue: 'paused' });
    await sql(`UPDATE queues SET paused = true WHERE name = 'paused'`, []);
    await parts.database.transaction(async (run) => {
      await run({ name: '', text: 'SELECT id FROM unfinished WHERE id = $1 FOR UPDATE' }, [held?.id]);
      expect(verdicts(await start(idsOf([held as NewTask, paused as NewTask])))).toEqual(['locked', 'paused']);
    });
  });

  it('has a verdict for every id, also for a task whose submission is gone', async () => {
    const [fresh, suspect, running, ended, orphan, lockedOrphan, held] = (await committed(7)) as [
      NewTask,
      NewTask,
      NewTask,
      NewTask,
      NewTask,
      NewTask,
      NewTask,
    ];
    const [later] = await committed(1, { runAtMs: parts.clock.nowMs() + 60_000 });
    const [paused] = await committed(1, { queue: 'paused-too' });
    await sql(`UPDATE queues SET paused = true WHERE name = 'paused-too'`, []);
    await sql('UPDATE unfinished SET lost = $2 WHERE id = $1', [suspect.id, LOST_CAP - 1]);
    await start([running.id, ended.id], 'another');
    const outcome = { verb: 'complete', result: null } as const;
    await parts.store.settle('another', [{ id: ended.id, attempt: 1, outcome, reason: null }]);
    await sql('DELETE FROM submissions WHERE id = ANY ($1::uuid[])', [[orphan.id, lockedOrphan.id]]);
    const unknown = parts.ids.next('default');
    const asked: [string, string][] = [
      [unknown, 'gone'],
      [orphan.id, 'gone'],
      [later?.id as string, 'early'],
      [fresh.id, 'started'],
      [lockedOrphan.id, 'gone'],
      [running.id, 'gone'],
      [held.id, 'locked'],
      [suspect.id, 'solo'],
      [ended.id, 'gone'],
      [paused?.id as string, 'paused'],
    ];
    await parts.database.transaction(async (run) => {
      await run({ name: '', text: 'SELECT FROM unfinished WHERE id = ANY ($1::uuid[]) FOR UPDATE' }, [
        [lockedOrphan.id, held.id],
      ]);
      const results = await parts.store.start(
        asked.map(([id]) => id),
        'w',
        LOST_CAP,
        false,
      );
      const idOf = (result: StartResult) => (result.verdict === 'started' ? result.task.id : result.id);
      expect(results.map((result) => [idOf(result), result.verdict])).toEqual(asked);
    });
    const started = await sql<{ id: string }>(
      `SELECT id FROM unfinished WHERE status = 'PROCESSING' AND worker_id = 'w' AND id = ANY ($1::uuid[])`,
      [asked.map(([id]) => id)],
    );
    expect(started).toEqual([{ id: fresh.id }]);
  });

  it('clears the progress of an earlier attempt', async () => {
    const [id] = idsOf(await committed(1)) as [string];
    const progress = async () =>
      (await sql<{ progress: string | null }>('SELECT progress FROM tasks WHERE id = $1', [id]))[0];
    await start([id]);
    await parts.store.recordProgress('w', [{ id, attempt: 1, progress: '1' }]);
    await parts.store.settle('w', [{ id, attempt: 1, outcome: { verb: 'release' }, reason: null }]);
    expect(await progress()).toEqual({ progress: '1' });
    await start([id]);
    expect(await progress()).toEqual({ progress: null });
    // Late progress of an earlier attempt or of another worker is ignored too.
    await parts.store.recordProgress('w', [{ id, attempt: 1, progress: '2' }]);
    await parts.store.recordProgress('v', [{ id, attempt: 2, progress: '3' }]);
    expect(await progress()).toEqual({ progress: null });
  });

  describe('of tasks that are one loss short of the cap', () => {
    let suspects: string[];

    beforeEach(async () => {
      suspects = idsOf(await committed(3));
      await sql('UPDATE unfinished SET lost = $2 WHERE id = ANY ($1::uuid[])', [suspects, LOST_CAP - 1]);
    });

    it('starts only the first one, and other tasks beside it', async () => {
      const [fresh] = idsOf(await committed(1));
      expect(verdicts(await start([...suspects, fresh as string]))).toEqual(['started', 'solo', 'solo', 'started']);
    });

    it('starts the first one that may start, even if it is not the first in the claim', async () => {
      const [fresh] = idsOf(await committed(1)) as [string];
      const [early, ...others] = suspects as [string, string, string];
      await sql(`UPDATE unfinished SET run_at = now() + interval '1 hour' WHERE id = $1`, [early]);
      expect(verdicts(await start([fresh, early, ...others]))).toEqual(['started', 'early', 'started', 'solo']);
    });

    it('starts none if the worker runs one already', async () => {
      expect(verdicts(await parts.store.start(suspects, 'w', LOST_CAP, false))).toEqual(['solo', 'solo', 'solo']);
    });
  });
});

describe('settle', () => {
  const completed = (id: string, attempt: number) =>
    ({ id, attempt, outcome: { verb: 'complete', result: null }, reason: null }) as const;

  it('accepts one outcome per attempt, and only from the worker that runs it', async () => {
    const ids = idsOf(await committed(2));
    await start(ids);
    const both = ids.map((id) => completed(id, 1));
    const verdictsOf = async (worker: string) => (await parts.store.settle(worker, both)).map(({ verdict }) => verdict);
    expect(await verdictsOf('another')).toEqual(['stale', 'stale']);
    expect(await verdictsOf('w')).toEqual(['settled', 'settled']);
    expect(await verdictsOf('w')).toEqual(['already', 'already']);
    expect(await verdictsOf('another')).toEqual(['stale', 'stale']);
  });

  it('makes a released task due again, so that the watermark finds it if Redis does not have it', async () => {
    const [id] = idsOf(await committed(1)) as [string];
    const isDueSince = async (): Promise<boolean> => {
      const [row] = await sql<{ since: boolean }>('SELECT run_at > started_at AS since FROM tasks WHERE id = $1', [id]);
      return row?.since === true;
    };
    await start([id]);
    expect(await isDueSince()).toBe(false);
    await parts.store.settle('w', [{ id, attempt: 1, outcome: { verb: 'release' }, reason: null }]);
    expect(await isDueSince()).toBe(true);
  });

  it('refuses the outcome of an earlier attempt', async () => {
    const [id] = idsOf(await committed(1)) as [string];
    await start([id]);
    await parts.store.settle('w', [{ id, attempt: 1, outcome: { verb: 'release' }, reason: null }]);
    await start([id]);
    const [result] = await parts.store.settle('w', [completed(id, 3)]);
    expect(result?.verdict).toBe('stale');
    expect(await parts.store.settle('w', [completed(id, 1)])).toMatchObject([{ verdict: 'already', verb: 'release' }]);
    expect(await parts.store.settle('w', [completed(id, 2)])).toMatchObject([{ verdict: 'settled' }]);
  });

  it('says what it has written, even if the task was cancelled since', async () => {
    const [id] = idsOf(await committed(1)) as [string];
    await start([id]);
    const released = { id, attempt: 1, outcome: { verb: 'release' }, reason: null } as const;
    await parts.store.settle('w', [released]);
    await createAdminStore(parts.database).cancel(id);
    expect(await parts.store.settle('w', [released])).toMatchObject([{ verdict: 'already', verb: 'release' }]);
    expect(await parts.store.settle('another', [released])).toMatchObject([{ verdict: 'stale' }]);
  });
});

describe('reclaimOwn', () => {
  const ERROR = { name: 'OutcomeRefusedError', code: 'outcome_refused', message: 'no' };

  it('counts a run whose outcome was refused as lost, and at the cap replaces an existing dead letter', async () => {
    const [id] = idsOf(await committed(1)) as [string];
    const ends: unknown[] = [];
    for (let attempt = 1; attempt <= LOST_CAP; attempt++) {
      await start([id]);
      await sql(
        `INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at, requeued_at)
         VALUES ($1, $2, 'default', 2, 'final_error', '[]', now(), now())`,
        [id, attempt],
      );
      ends.push(await parts.store.reclaimOwn('w', { id, attempt }, LOST_CAP, ERROR));
    }
    expect(ends).toEqual([
      { verb: 'reclaim', lost: 1 },
      { verb: 'reclaim', lost: 2 },
      { verb: 'fail', lost: 3 },
    ]);
    const [grave] = await sql<{ reason: string; errors: string; requeued_at: Date | null }>(
      'SELECT reason, errors, requeued_at FROM dlq WHERE task_id = $1 AND attempt = $2',
      [id, LOST_CAP],
    );
    expect(grave).toMatchObject({ reason: 'lost_cap', requeued_at: null });
    expect(JSON.parse(grave?.errors ?? '')).toMatchObject(
      [1, 2, 3].map((attempt) => ({ attempt, worker_id: 'w', outcome: 'LOST', error: ERROR })),
    );
  });

  it('replaces what exists already under the same attempt, and at the cap under the same task', async () => {
    const [id] = idsOf(await committed(1)) as [string];
    for (let attempt = 1; attempt <= LOST_CAP; attempt++) {
      await start([id]);
      await sql(
        `INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome, result)
         VALUES ($1, $2, 'planted', 9, now(), now(), 'RETRIED', '1')`,
        [id, attempt],
      );
      if (attempt === 1)
        await sql(
          `INSERT INTO finished (id, status, place_ms, run_at, attempt, failures, lost, finished_at, result)
           VALUES ($1, 'CANCELLED', 0, now(), 0, 0, 0, now(), '1')`,
          [id],
        );
      await parts.store.reclaimOwn('w', { id, attempt }, LOST_CAP, ERROR);
    }
    expect(await sql('SELECT status, attempt, lost FROM tasks WHERE id = $1', [id])).toEqual([
      { status: 'FAILED', attempt: LOST_CAP, lost: LOST_CAP },
    ]);
    const logs = await sql(
      'SELECT attempt, worker_id, ordinal, outcome, result FROM execution_logs WHERE task_id = $1 ORDER BY attempt',
      [id],
    );
    expect(logs).toEqual(
      [1, 2, 3].map((attempt) => ({ attempt, worker_id: 'w', ordinal: 1, outcome: 'LOST', result: null })),
    );
  });

  it('does not change an attempt that the worker does not hold', async () => {
    const [id] = idsOf(await committed(1)) as [string];
    await start([id]);
    const own = (worker: string, attempt: number) => parts.store.reclaimOwn(worker, { id, attempt }, LOST_CAP, ERROR);
    expect([await own('another', 1), await own('w', 2), await own('w', 1), await own('w', 1)]).toEqual([
      null,
      null,
      { verb: 'reclaim', lost: 1 },
      null,
    ]);
  });
});

it('accepts empty lists of starts and settlements', async () => {
  expect([await start([]), await parts.store.settle('w', [])]).toEqual([[], []]);
});

describe('new queues', () => {
  it('wait for a submission that creates the same queue, and respect the limit', async () => {
    const { database, store } = parts;
    const newQueues = { names: ['raced'], most: 100 };
    let racing: Promise<unknown> = Promise.resolve();
    await database.transaction(async (run) => {
      await run({ name: 'test-make-queue', text: `INSERT INTO queues (name) VALUES ('raced')` }, []);
      racing = store.submitAll([], newQueues);
      const text = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
      await expect.poll(() => database.run({ name: 'test-waiting', text }, [])).toHaveLength(1);
    });
    expect(await racing).toEqual([]);
    await expect(store.submitAll([], { names: ['surplus'], most: 1 })).rejects.toMatchObject({ queue: 'surplus' });
  });
});
