import { setTimeout as delay } from 'node:timers/promises';

/**
 * Checks a running system through its API only. The README shows the output. If the API asks for keys, the environment
 * variable SCHEDULER_SECRET has the secret of a client with the role `admin`.
 */

interface Task {
  id: string;
  status: string;
  attempt: number;
  priority: string;
}
interface Attempt {
  attempt: number;
  worker_id: string;
  started_at: string;
  ordinal: number;
  outcome: string | null;
}
interface Worker {
  queues: string[] | null;
  slots: number | null;
  draining: boolean | null;
}

const base = (process.argv[2] ?? 'http://localhost:8000').replace(/\/$/, '');
const secret = (process.env['SCHEDULER_SECRET'] ?? '').trim();
let failures = 0;

async function main(): Promise<void> {
  if (!/^https?:$/.test(URL.parse(base)?.protocol ?? ''))
    throw new Error(`expected the URL of a running system, such as http://localhost:8000; given ${base}`);
  console.log(`verifying ${base}`);
  await call('GET', '/readyz');
  await requireKey();
  await verifyOrder();
  await verifyRetry();
  await verifyDeadLetter();
  await verifyRateLimit();
  console.log(failures === 0 ? '\nall as promised' : `\n${failures} not as promised`);
  process.exitCode = failures === 0 ? 0 : 1;
}

/** @throws Error that says what is missing, if the API does not take the key */
async function requireKey(): Promise<void> {
  const { status } = await request('GET', '/workers');
  if (status !== 401) return;
  throw new Error(
    secret === ''
      ? 'the API asks for a key: set SCHEDULER_SECRET to the secret of a client with the role admin'
      : 'the API does not know the secret in SCHEDULER_SECRET',
  );
}

function check(holds: boolean, sentence: string): void {
  if (!holds) failures++;
  console.log(`  ${holds ? 'ok  ' : 'FAIL'} ${sentence}`);
}

/** Submits 5 Low and then 2 High tasks while every slot is busy. The High tasks have to start first. */
async function verifyOrder(): Promise<void> {
  console.log('\norder');
  const slots = await freeSlots();
  // With many slots, the blockers use up the rate limit, and the later submissions have to wait. Give them enough time.
  const blocker = { payload: { verify: 'blocker' }, priority: 'High', execution_time: 60 + 2 * slots };
  const [first, ...others] = (await submitBatch(Array.from({ length: slots }, () => blocker))) as [Task, ...Task[]];
  const submitted: Task[] = [];
  try {
    await until('every slot is busy', async () => {
      const tasks = await Promise.all([first, ...others].map(({ id }) => getTask(id)));
      return tasks.every(({ status }) => status === 'PROCESSING');
    });
    console.log(`  all ${slots} slots are busy; submitting 5 Low, then 2 High`);
    for (const priority of ['Low', 'Low', 'Low', 'Low', 'Low', 'High', 'High']) {
      submitted.push(await submit({ payload: { verify: 'order' }, priority, execution_time: 0.05 }));
    }
    // Free only one slot. Two slots that become free within milliseconds could start their tasks in reverse order.
    await cancel(first);
    await Promise.all(submitted.map(({ id }) => ended(id, 'COMPLETED')));
  } finally {
    await Promise.all([first, ...others].map(cancel));
  }

  const starts: (Attempt & Task)[] = [];
  for (const task of submitted) {
    const [attempt] = await attemptsOf(task.id);
    if (attempt !== undefined) starts.push({ ...task, ...attempt });
  }
  starts.sort((a, b) => a.started_at.localeCompare(b.started_at) || a.ordinal - b.ordinal);
  for (const start of starts)
    console.log(
      `  ${start.started_at} #${start.ordinal} ${start.priority.padEnd(6)} ${start.id} on ${start.worker_id}`,
    );
  const order = starts.map(({ priority }) => priority).join(' ');
  check(order === 'High High Low Low Low Low Low', `the High tasks, submitted last, started first (${order})`);
  const lows = starts.filter(({ priority }) => priority === 'Low').map(({ id }) => id);
  check(lows.join() === lows.toSorted().join(), 'tasks of one priority started in the order of their submission');
}

/** Checks that a task that fails once is retried after its backoff and completes. */
async function verifyRetry(): Promise<void> {
  console.log('\nretry');
  const task = await submit({ payload: { simulate: { fail_times: 1 } }, execution_time: 0, backoff: { base: 0.5 } });
  await ended(task.id, 'COMPLETED', 20);
  const attempts = await attemptsOf(task.id);
  check(
    attempts.map(({ outcome }) => outcome).join() === 'RETRIED,COMPLETED',
    `outcomes of its attempts: ${attempts.map(({ outcome }) => outcome).join(', ')}`,
  );
  const gapMs = Date.parse(attempts[1]?.started_at ?? '') - Date.parse(attempts[0]?.started_at ?? '');
  check(gapMs >= 500 && gapMs < 5_000, `the retry came ${gapMs} ms after the first start (backoff 500 ms)`);
}

/** Checks that a task that fails permanently is in the dead letters and can be requeued. */
async function verifyDeadLetter(): Promise<void> {
  console.log('\ndead letter');
  const task = await submit({
    payload: { simulate: { fail: 'always' } },
    execution_time: 0,
    max_retries: 1,
    backoff: { base: 0.2 },
  });
  const failed = await ended(task.id, 'FAILED', 20);
  check(failed.attempt === 2, `FAILED after ${failed.attempt} attempts (max_retries 1)`);
  const letter = await deadLetter(task.id);
  check(letter !== undefined, 'it is in the dead letters');
  check(letter?.errors.length === 2, `with the errors of ${letter?.errors.length ?? 0} attempts`);
  await call('POST', `/dlq/${task.id}/requeue`, {});
  const again = await until('the requeued task fails again', async () => {
    const now = await getTask(task.id);
    return now.status === 'FAILED' && now.attempt > 2 ? now : false;
  });
  check(again.attempt === 4, `requeued, its attempts went on to ${again.attempt}`);
}

/** Sends 10 requests more than a full bucket allows (60 for the default of 50). About 10 of them have to get 429. */
async function verifyRateLimit(): Promise<void> {
  console.log('\nrate limit');
  const probe = await request('POST', '/tasks', { payload: { verify: 'rate' }, execution_time: 0 });
  const limit = Number(probe.headers.get('ratelimit-limit'));
  if (!(limit > 0 && limit <= 1_000)) {
    check(
      false,
      `expected a limit from 1 to 1,000 in RateLimit-Limit, got ${probe.headers.get('ratelimit-limit') ?? 'none'}`,
    );
    return;
  }
  const fullInSeconds = Number(probe.headers.get('ratelimit-reset')) + 1;
  console.log(`  limit ${limit}; waiting ${fullInSeconds} s for a full bucket`);
  await delay(fullInSeconds * 1_000);

  const answers = await Promise.all(
    Array.from({ length: limit + 10 }, () =>
      request('POST', '/tasks', { payload: { verify: 'rate' }, execution_time: 0 }),
    ),
  );
  const passed = answers.filter(({ status }) => status === 200).length;
  const limited = answers.filter(({ status }) => status === 429);
  console.log(`  ${answers.length} requests: ${passed} × 200, ${limited.length} × 429`);
  check(
    Math.abs(passed - limit) <= 3 && passed + limited.length === answers.length,
    `about ${limit} passed and about 10 were refused`,
  );
  check(
    limited.every(({ headers }) => Number(headers.get('retry-after')) >= 1),
    'every refusal names a Retry-After',
  );
}

// --- the API ------------------------------------------------------------------

async function request(method: string, path: string, body?: unknown): Promise<Response> {
  const headers = {
    ...(secret !== '' && { authorization: `Bearer ${secret}` }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
  };
  const json = body === undefined ? null : JSON.stringify(body);
  try {
    return await fetch(base + path, { method, headers, body: json, signal: AbortSignal.timeout(30_000) });
  } catch (error) {
    const { cause = error } = error as Error;
    throw new Error(`${method} ${base}${path} has no answer: ${(cause as Error).message}`, { cause: error });
  }
}

/** Waits and retries if the rate limit refuses a request. @throws Error on any other error */
async function call<Body>(method: string, path: string, body?: unknown): Promise<Body> {
  for (;;) {
    const response = await request(method, path, body);
    if (response.status === 429) {
      const seconds = Number(response.headers.get('retry-after') ?? 1);
      console.log(`  rate limited, waiting ${seconds} s`);
      await delay(seconds * 1_000);
      continue;
    }
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as Body;
  }
}

const submit = (task: object): Promise<Task> => call<Task>('POST', '/tasks', task);
const getTask = (id: string): Promise<Task> => call<Task>('GET', `/tasks/${id}`);
const cancel = ({ id }: Task): Promise<unknown> => call('POST', `/tasks/${id}/cancel`);

async function submitBatch(tasks: readonly object[]): Promise<Task[]> {
  return (await call<{ tasks: Task[] }>('POST', '/tasks/batch', { tasks })).tasks;
}

async function attemptsOf(id: string): Promise<Attempt[]> {
  const { items } = await call<{ items: Attempt[] }>('GET', `/tasks/${id}/logs`);
  return items.toSorted((a, b) => a.attempt - b.attempt);
}

async function deadLetter(id: string): Promise<{ errors: unknown[] } | undefined> {
  const { items } = await call<{ items: { task_id: string; errors: unknown[] }[] }>('GET', '/dlq?limit=200');
  return items.find(({ task_id }) => task_id === id);
}

async function freeSlots(): Promise<number> {
  const { items } = await call<{ items: Worker[] }>('GET', '/workers');
  const serving = items.filter(({ queues, draining }) => queues?.includes('default') === true && draining !== true);
  const slots = serving.reduce((sum, worker) => sum + (worker.slots ?? 0), 0);
  if (slots === 0) throw new Error('no worker serves the queue `default`');
  return slots;
}

function ended(id: string, status: string, seconds = 30): Promise<Task> {
  return until(
    `task ${id} is ${status}`,
    async () => {
      const task = await getTask(id);
      return task.status === status ? task : false;
    },
    seconds,
  );
}

async function until<Value>(what: string, probe: () => Promise<Value | false>, seconds = 30): Promise<Value> {
  const deadline = performance.now() + seconds * 1_000;
  for (;;) {
    const value = await probe();
    if (value !== false) return value;
    if (performance.now() > deadline) throw new Error(`not so after ${seconds} s: ${what}`);
    await delay(100);
  }
}

try {
  await main();
} catch (error) {
  // A wait timed out, or an answer was unexpected.
  console.error(`\n${(error as Error).message}`);
  process.exitCode = 1;
}
