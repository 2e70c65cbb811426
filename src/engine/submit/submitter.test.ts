import { describe, expect, it } from 'vitest';
import {
  QueuesMissingError,
  RefusedDataError,
  StatementTimedOutError,
  StoreUnavailableError,
} from '../../core/errors.ts';
import type { NewTask, Submission } from '../../core/task.ts';
import { createKnownQueues } from './known-queues.ts';
import type { SubmitResult } from './submit-store.ts';
import { createSubmitter, type CommittedTask, type SubmitterOptions } from './submitter.ts';

let serial = 0;

function submission(changes: Partial<NewTask> = {}, key?: string): Submission {
  const id = `task-${++serial}`;
  return {
    task: { id, client: '', queue: 'default', payload: 'null', priority: 2, ...changes } as NewTask,
    idempotency: key === undefined ? null : { key, requestHash: Buffer.of(1), answer: '{}' },
  };
}

const CREATED: SubmitResult = { kind: 'created', waitMs: 0 };

/** A store whose statements end when the test releases them. */
function createStatements(overrides: Partial<SubmitterOptions> = {}) {
  const statements: { readonly submissions: readonly Submission[]; finish(error?: Error): void }[] = [];
  const committed: CommittedTask[] = [];
  const arrivals: (() => void)[] = [];
  const store = {
    submit(submissions: readonly Submission[]): Promise<SubmitResult[]> {
      const { promise, resolve, reject } = Promise.withResolvers<SubmitResult[]>();
      const finish = (error?: Error): void =>
        error === undefined ? resolve(submissions.map(() => CREATED)) : reject(error);
      statements.push({ submissions, finish });
      for (const arrived of arrivals.splice(0)) arrived();
      return promise;
    },
    submitAll: (submissions: readonly Submission[]) => store.submit(submissions),
  };
  const submitter = createSubmitter({
    store,
    queues: createKnownQueues(10, 0),
    onCommitted: (tasks) => committed.push(...tasks),
    ...overrides,
  });
  /** Resolves with the nth statement once it has been sent. */
  const statement = async (n: number) => {
    while (statements.length <= n) await new Promise<void>((resolve) => arrivals.push(resolve));
    return statements[n] as (typeof statements)[number];
  };
  return { submitter, statements, statement, committed };
}

function knownQueues(...names: string[]): ReturnType<typeof createKnownQueues> {
  const known = createKnownQueues(10, 0);
  known.add(names);
  return known;
}

const missing = async (): Promise<never> => {
  throw new QueuesMissingError(['gone']);
};

const unavailable = () => new StoreUnavailableError('postgresql', new Error('gone'));
const refused = () => new RefusedDataError(new Error('bad'));

/** Refuses every statement that contains one of the bad tasks. */
function createPickyStore(isBad: (task: NewTask) => boolean) {
  const sizes: number[] = [];
  const submit = async (submissions: readonly Submission[]): Promise<SubmitResult[]> => {
    sizes.push(submissions.length);
    if (submissions.some(({ task }) => isBad(task))) throw refused();
    return submissions.map(() => CREATED);
  };
  return { sizes, store: { submit, submitAll: submit } };
}

describe('createSubmitter', () => {
  it('sends submissions that arrive together at once and in one statement when it is idle', async () => {
    const { submitter, statement, statements } = createStatements();
    const results = [submission(), submission(), submission()].map((one) => submitter.submit(one));
    (await statement(0)).finish();
    expect(await Promise.all(results)).toEqual([CREATED, CREATED, CREATED]);
    expect(statements.map(({ submissions }) => submissions.length)).toEqual([3]);
  });

  it('collects submissions while two statements run, and keeps their order', async () => {
    const { submitter, statement, statements } = createStatements();
    const first = submitter.submit(submission());
    await statement(0);
    const second = submitter.submit(submission());
    await statement(1);
    const late = [submission(), submission(), submission()];
    const results = late.map((one) => submitter.submit(one));
    await new Promise((resolve) => setImmediate(resolve));
    expect(statements).toHaveLength(2);
    (await statement(1)).finish();
    await second;
    const third = await statement(2);
    expect(third.submissions).toEqual(late);
    third.finish();
    (await statement(0)).finish();
    await Promise.all([first, ...results]);
  });

  it('sends no more in one statement than allowed', async () => {
    const { sizes, store } = createPickyStore(() => false);
    const submitter = createSubmitter({
      store,
      queues: createKnownQueues(10, 0),
      onCommitted: () => {},
      statementMax: 500,
    });
    await Promise.all(Array.from({ length: 1_200 }, () => submitter.submit(submission())));
    expect(sizes).toEqual([500, 500, 200]);
  });

  it('lets the first submission to a deleted queue create it, and sends the others together afterwards', async () => {
    const { submitter, statement, statements, committed } = createStatements({ queues: knownQueues('gone') });
    const late = [submission({ queue: 'gone' }), submission(), submission({ queue: 'gone' }), submission()];
    const results = late.map((one) => submitter.submit(one));
    (await statement(0)).finish(new QueuesMissingError(['gone']));
    (await statement(1)).finish();
    (await statement(2)).finish();
    expect(await Promise.all(results)).toEqual([CREATED, CREATED, CREATED, CREATED]);
    expect(statements.map(({ submissions }) => submissions)).toEqual([late, [late[0]], late.slice(1)]);
    expect(committed.map(({ task }) => task)).toEqual(late.map(({ task }) => task));
  });

  it('gives up with StoreUnavailableError on a queue that is deleted each time it has been created', async () => {
    const store = { submit: missing, submitAll: missing };
    const submitter = createSubmitter({ store, queues: knownQueues('gone'), onCommitted: () => {} });
    await expect(submitter.submit(submission({ queue: 'gone' }))).rejects.toBeInstanceOf(StoreUnavailableError);
    await expect(submitter.submitAll([submission({ queue: 'gone' })])).rejects.toBeInstanceOf(StoreUnavailableError);
    await submitter.stop();
  });

  it('never sends one key twice in a statement', async () => {
    const { submitter, statement } = createStatements({ underWayMax: 1 });
    const [a, b, c] = [submission({}, 'same'), submission({}, 'same'), submission({}, 'other')];
    const results = [a, b, c].map((one) => submitter.submit(one));
    const first = await statement(0);
    expect(first.submissions).toEqual([a, c]);
    first.finish();
    const second = await statement(1);
    expect(second.submissions).toEqual([b]);
    second.finish();
    await Promise.all(results);
  });

  it('sends the same text together if the keys belong to other queues or clients', async () => {
    const { submitter, statement } = createStatements({ queues: knownQueues('default', 'mail') });
    const all = [submission({}, 'k'), submission({ queue: 'mail' }, 'k'), submission({ client: 'shop' }, 'k')];
    const results = all.map((one) => submitter.submit(one));
    const first = await statement(0);
    expect(first.submissions).toEqual(all);
    first.finish();
    await Promise.all(results);
  });

  it('rejects only the refused submissions, and stores the others', async () => {
    const { store } = createPickyStore(({ queue }) => queue === 'bad');
    const committed: CommittedTask[] = [];
    const queues = createKnownQueues(10, 0);
    queues.add(['good', 'bad']);
    const submitter = createSubmitter({ store, queues, onCommitted: (tasks) => committed.push(...tasks) });
    const all = Array.from({ length: 40 }, (_, i) => submission({ queue: i === 7 || i === 31 ? 'bad' : 'good' }));
    const settled = await Promise.allSettled(all.map((one) => submitter.submit(one)));
    const failed = settled.flatMap(({ status }, i) => (status === 'rejected' ? [i] : []));
    expect(failed).toEqual([7, 31]);
    expect(settled[7]).toMatchObject({ reason: expect.any(RefusedDataError) });
    expect(committed).toHaveLength(38);
  });

  it('tries submissions that may have a locked key one by one, and gives up only the locked one', async () => {
    const locked = () => new StatementTimedOutError(new Error('lock not available'), 'submit', true);
    const sizes: number[] = [];
    let underWay = 0;
    let mostUnderWay = 0;
    const submit = async (submissions: readonly Submission[]): Promise<SubmitResult[]> => {
      sizes.push(submissions.length);
      mostUnderWay = Math.max(mostUnderWay, ++underWay);
      await Promise.resolve();
      underWay--;
      if (submissions.some(({ idempotency }) => idempotency?.key === 'locked')) throw locked();
      return submissions.map(() => CREATED);
    };
    const { submitter } = createStatements({ store: { submit, submitAll: submit }, waitMaxMs: 300 });
    const results = [
      submission({}, 'locked'),
      submission({}, 'a'),
      submission({}, 'b'),
      submission(),
      submission(),
      // This one has the same key as a submission that is tried alone.
      submission({}, 'locked'),
    ].map((one) => submitter.submit(one));
    const settled = await Promise.allSettled(results);
    expect(settled.map(({ status }) => status)).toEqual([
      'rejected',
      ...Array<string>(4).fill('fulfilled'),
      'rejected',
    ]);
    expect(settled[0]).toMatchObject({ reason: { code: 'statement_timed_out' } });
    expect(settled[5]).toMatchObject({ reason: { code: 'statement_timed_out' } });
    // First all of the first turn except the second one with the same key, then those without a key, then one by one.
    expect(sizes.toSorted((a, b) => b - a).slice(0, 3)).toEqual([5, 2, 1]);
    expect(mostUnderWay).toBeLessThanOrEqual(2);
    await submitter.stop();
  });

  it('creates an unknown queue in a transaction with the task, and knows it after the commit', async () => {
    const made: unknown[] = [];
    let result: SubmitResult = { kind: 'mismatch' };
    const store = {
      submit: async () => [CREATED],
      submitAll: async (_submissions: readonly Submission[], newQueues?: unknown) => {
        made.push(newQueues);
        return [result];
      },
    };
    const submitter = createSubmitter({ store, queues: createKnownQueues(10, 5), onCommitted: () => {} });
    expect(await submitter.submit(submission({ queue: 'new' }), 'a client')).toEqual(result);
    result = CREATED;
    await submitter.submit(submission({ queue: 'new' }), 'a client');
    await submitter.submit(submission({ queue: 'new' }), 'a client');
    const newQueues = { names: ['new'], most: 10, createdBy: 'a client', mostOfCreator: 5 };
    expect(made).toEqual([newQueues, newQueues]);
  });

  it('repeats a statement without an answer once, with the same ids', async () => {
    const { submitter, statement, committed } = createStatements();
    const one = submission();
    const result = submitter.submit(one);
    (await statement(0)).finish(unavailable());
    const again = await statement(1);
    expect(again.submissions).toEqual([one]);
    again.finish();
    expect(await result).toEqual(CREATED);
    expect(committed).toHaveLength(1);
  });

  it('does not repeat a statement that hung for long', async () => {
    const { submitter, statement, statements } = createStatements({ waitMaxMs: -1 });
    const answer = submitter.submit(submission());
    (await statement(0)).finish(unavailable());
    await expect(answer).rejects.toBeInstanceOf(StoreUnavailableError);
    expect(statements).toHaveLength(1);
  });

  it('stops even if a statement hangs', async () => {
    const { submitter, statement } = createStatements();
    const hanging = submitter.submit(submission());
    const { finish } = await statement(0);
    await submitter.stop();
    finish();
    expect(await hanging).toEqual(CREATED);
  });

  it('rejects all submissions of a statement after two tries without an answer, and goes on afterwards', async () => {
    const { submitter, statement, committed } = createStatements();
    const results = [submission(), submission()].map((one) => submitter.submit(one));
    const settled = Promise.allSettled(results);
    (await statement(0)).finish(unavailable());
    (await statement(1)).finish(unavailable());
    for (const result of await settled)
      expect(result).toMatchObject({ status: 'rejected', reason: expect.any(StoreUnavailableError) });
    expect(committed).toEqual([]);
    const next = submitter.submit(submission());
    (await statement(2)).finish();
    expect(await next).toEqual(CREATED);
  });

  it('gives up submissions that waited too long while a statement hangs, and never sends them', async () => {
    const { submitter, statement, statements } = createStatements({ underWayMax: 1, waitMaxMs: 20 });
    const hanging = submitter.submit(submission());
    const first = await statement(0);
    await expect(submitter.submit(submission())).rejects.toThrow(StoreUnavailableError);
    first.finish();
    expect(await hanging).toEqual(CREATED);
    const next = submission();
    const result = submitter.submit(next);
    (await statement(1)).finish();
    expect(await result).toEqual(CREATED);
    expect(statements.map(({ submissions }) => submissions.length)).toEqual([1, 1]);
    expect(statements[1]?.submissions).toEqual([next]);
  });

  it('reports created tasks as committed, and nothing of a batch with a mismatch', async () => {
    const committed: CommittedTask[] = [];
    let results: SubmitResult[] = [
      { kind: 'created', waitMs: 5 },
      { kind: 'replayed', taskId: 'x', answer: '{}' },
    ];
    const submit = async (): Promise<SubmitResult[]> => results;
    const submitter = createSubmitter({
      store: { submit, submitAll: submit },
      queues: createKnownQueues(10, 0),
      onCommitted: (tasks) => committed.push(...tasks),
    });
    const both = [submission(), submission({}, 'k')];
    await submitter.submitAll(both);
    expect(committed).toEqual([{ task: both[0]?.task, waitMs: 5 }]);
    results = [{ kind: 'created', waitMs: 0 }, { kind: 'mismatch' }];
    await submitter.submitAll(both);
    expect(committed).toHaveLength(1);
  });

  it('stops when all submissions have their result', async () => {
    const { submitter, statement } = createStatements({ underWayMax: 1 });
    const results = [submission({}, 'k'), submission({}, 'k')].map((one) => submitter.submit(one));
    let stopped = false;
    const stopping = submitter.stop().then(() => (stopped = true));
    (await statement(0)).finish();
    const last = await statement(1);
    expect(stopped).toBe(false);
    last.finish();
    await Promise.all([stopping, ...results]);
  });
});
