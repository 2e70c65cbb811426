import { once } from 'node:events';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { fakeTask } from '../../test/fake-handler-context.ts';
import type { StartedTask } from '../core/task.ts';
import type { Handler, HandlerContext } from '../engine/attempts/handler.ts';
import type { OpenOutcome } from '../engine/attempts/open-outcome.ts';
import { createSlots } from '../engine/attempts/slots.ts';
import { createExecutor } from './executor.ts';

function bench(handler: Handler) {
  const slots = createSlots(1);
  const outcomes: OpenOutcome[] = [];
  const lines: Record<string, unknown>[] = [];
  let onOutcome = (): void => {};
  const executor = createExecutor({
    slots,
    settler: {
      add(open) {
        outcomes.push(open);
        onOutcome();
      },
    },
    handlers: { resolve: (action) => ({ name: action ?? 'none', handler }) },
    log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
    random: () => 0,
  });
  const outcome = (task: Partial<StartedTask> = {}): Promise<OpenOutcome> =>
    new Promise((resolve) => {
      onOutcome = () => resolve(outcomes.at(-1) as OpenOutcome);
      executor.execute({ ...fakeTask, ...task }, 12);
    });
  return { executor, slots, outcomes, outcome, lines };
}

test('passes the context to the handler, and its result to the settler', async () => {
  let given: HandlerContext | undefined;
  const { outcome, slots } = bench(async (context) => {
    given = context;
    return { ok: true };
  });

  const open = await outcome({ payload: '{"n":1}', action: 'count', attempt: 7 });

  expect(open).toMatchObject({
    token: `${fakeTask.id}:7`,
    settlement: { id: fakeTask.id, attempt: 7, outcome: { verb: 'complete', result: '{"ok":true}' }, reason: null },
    action: 'count',
    waitedMs: 12,
  });
  expect(given).toMatchObject({ payload: { n: 1 }, attemptToken: `${fakeTask.id}:7` });
  expect(given?.log.bindings()).toEqual({ trace_id: 'trace-1', task_id: fakeTask.id, attempt: 7 });
  expect(slots.busy).toBe(0);
});

test('sends the last progress with the outcome, both of success and of failure', async () => {
  const { outcome } = bench(async ({ progress, payload }) => {
    for (const percent of [50, 75, 100]) progress(percent);
    if (payload === 'fail') throw new Error('x');
  });
  expect((await outcome({ payload: '"return"' })).settlement).toMatchObject({
    outcome: { verb: 'complete' },
    progress: '100',
  });
  expect((await outcome({ payload: '"fail"' })).settlement).toMatchObject({
    outcome: { verb: 'retry' },
    progress: '100',
  });
});

test('gives the handler a read-only task, and settles the attempt that it started', async () => {
  const backoff = { baseMs: 1, factor: 1, maxMs: 1, jitter: 0 };
  const writes: ((task: Record<string, any>) => void)[] = [
    (task) => (task['attempt'] = 99),
    (task) => (task['id'] = 'x'),
    (task) => (task['failures'] = -5),
    (task) => (task['metadata'].team = 'b'),
    (task) => (task['backoff'].baseMs = 1e9),
    (task) => delete task['maxRetries'],
    (task) => (task['more'] = 1),
  ];
  let refused = 0;
  const { outcome } = bench(({ task, payload }) => {
    for (const write of writes) {
      try {
        write(task);
      } catch (error) {
        if (error instanceof TypeError) refused++;
      }
    }
    (payload as { own: number }).own++;
  });
  const open = await outcome({ payload: '{"own":1}', attempt: 7, metadata: { team: 'a' }, backoff });
  expect(open).toMatchObject({ token: `${fakeTask.id}:7`, settlement: { id: fakeTask.id, attempt: 7 } });
  expect(refused).toBe(writes.length);
});

test('leaves out progress that cannot be kept, warns, and lets the handler continue', async () => {
  const hostile = {
    toJSON() {
      throw Object.defineProperty(new Error('x'), 'message', {
        get() {
          throw new Error('from a getter');
        },
      });
    },
  };
  const refused = [1n, hostile, JSON.parse(`${'['.repeat(65)}${']'.repeat(65)}`), 'x'.repeat(20_000)];
  const { outcome, lines } = bench(async ({ progress }) => {
    progress('kept');
    for (const value of refused) progress(value);
    return 'done';
  });
  expect((await outcome()).settlement).toMatchObject({ outcome: { verb: 'complete' }, progress: '"kept"' });
  expect(lines.map(({ msg }) => msg)).toEqual(refused.map(() => 'progress cannot be kept and was left out'));
});

const throwing =
  (thrown: unknown): Handler =>
  () => {
    throw thrown;
  };
const hostileThenable = {
  // oxlint-disable-next-line unicorn/no-thenable -- this is what is tested
  get then() {
    throw new Error('from a getter');
  },
};
test.each<[string, Handler, string]>([
  ['throws at once', throwing(new Error('x')), 'retry'],
  ['throws a value that is no error', throwing(42), 'retry'],
  ['throws undefined', throwing(undefined), 'retry'],
  ['rejects', () => Promise.reject(new Error('x')), 'retry'],
  ['returns no promise', () => 5, 'complete'],
  ['returns a hostile thenable', () => hostileThenable, 'retry'],
])('settles the attempt when the handler %s', async (_, handler, verb) => {
  const { outcome, slots } = bench(handler);
  expect((await outcome()).settlement.outcome.verb).toBe(verb);
  expect(slots.busy).toBe(0);
});

test('settles an attempt as timed out without waiting for its handler, which keeps the slot until it returns', async () => {
  const going = Promise.withResolvers<string>();
  let signal: AbortSignal | undefined;
  const { outcome, slots, outcomes, lines } = bench((context) => {
    signal = context.signal;
    return going.promise;
  });

  const open = await outcome({ timeoutMs: 5 });
  expect(open.settlement.outcome).toMatchObject({
    verb: 'retry',
    error: { code: 'timed_out', message: 'the time limit is over (5 ms)' },
  });
  expect(signal?.reason).toMatchObject({ code: 'timed_out' });
  expect([slots.busy, slots.earliest()?.deadlineMs ?? null]).toEqual([1, null]);

  going.resolve('late');
  expect(await slots.waitForFree(1_000, new AbortController().signal)).toBe(1);
  expect(outcomes).toHaveLength(1);
  expect(lines).toMatchObject([{ msg: 'handler returned after its attempt was settled', verb: 'complete' }]);
});

test('a time limit of months does not fire at once', async () => {
  const { outcome } = bench(() => new Promise((resolve) => setTimeout(resolve, 20, 'in time')));
  expect((await outcome({ timeoutMs: 1e11 })).settlement.outcome).toEqual({ verb: 'complete', result: '"in time"' });
});

test('hands back a released attempt once', async () => {
  const { outcome, executor, slots, outcomes } = bench(async ({ signal }) => {
    await once(signal, 'abort');
    throw signal.reason;
  });
  const first = outcome();
  const [attempt] = slots.all();
  if (attempt === undefined) throw new Error('nothing runs');
  attempt.abort('shutting_down');
  executor.release(attempt);
  expect((await first).settlement).toMatchObject({ outcome: { verb: 'release' }, reason: null });
  await slots.waitForFree(1_000, new AbortController().signal);
  expect(outcomes).toHaveLength(1);
});

test('a handler that first reads its signal after the abort finds the reason', async () => {
  const go = Promise.withResolvers<void>();
  const { outcome, slots } = bench(async (context) => {
    await go.promise;
    context.signal.throwIfAborted();
  });
  const first = outcome();
  for (const attempt of slots.all()) attempt.abort('cancelled');
  go.resolve();
  expect((await first).settlement.outcome).toMatchObject({ error: { code: 'cancelled' } });
});

test('a signal keeps its first reason', async () => {
  const { outcome, slots } = bench(async ({ signal }) => {
    await once(signal, 'abort');
    throw signal.reason;
  });
  const first = outcome();
  for (const attempt of slots.all()) {
    attempt.abort('cancelled');
    attempt.abort('shutting_down');
  }
  expect((await first).settlement.outcome).toMatchObject({ error: { code: 'cancelled' } });
});
