import { setTimeout as delay } from 'node:timers/promises';

interface Task {
  readonly id: string;
  readonly priority: string;
  readonly status: string;
}

interface Attempt {
  readonly started_at: string;
  readonly finished_at: string | null;
  readonly ordinal: number;
}

/** Example tasks, with the lowest priority first, so that the scheduler has to reorder them. */
const EXAMPLES = [
  ['Low', 'archive last year'],
  ['Low', 'resize pictures'],
  ['Medium', 'render report'],
  ['High', 'send password reset'],
  ['Medium', 'sync contacts'],
  ['High', 'charge card'],
] as const;

const TIMEOUT_MS = 30_000;

/**
 * Submits some tasks in one batch and prints them in the order in which they were started.
 * If the state from an earlier run prevents this, it prints the reason instead, because the system itself works.
 */
export async function showExamples(api: string, queue: string): Promise<void> {
  const hindrance = await hindranceIn(api, queue);
  if (hindrance !== null) return console.log(`no examples this time: ${hindrance}`);
  const tasks = EXAMPLES.map(([priority, job]) => ({ payload: { job }, priority, execution_time: 0.5, queue }));
  const response = await call(`${api}/tasks/batch`, { tasks });
  if (response.status === 429) return console.log('no examples this time: the rate limit of this address is used up');
  const submitted = ((await bodyOf(response)) as { tasks: Task[] }).tasks;
  console.log(`submitted ${submitted.length} example tasks: ${submitted.map(({ priority }) => priority).join(', ')}`);

  const done = await Promise.all(
    submitted.map(async (task, index) => ({ ...(await finished(api, task.id)), job: EXAMPLES[index]?.[1] })),
  );
  done.sort((a, b) => a.started_at.localeCompare(b.started_at) || a.ordinal - b.ordinal);
  for (const { priority, status, job, started_at, finished_at } of done) {
    const seconds = (Date.parse(finished_at ?? started_at) - Date.parse(started_at)) / 1_000;
    console.log(`  ${priority.padEnd(6)}  ${status} in ${seconds.toFixed(1)} s  ${job}`);
  }
}

async function hindranceIn(api: string, queue: string): Promise<string | null> {
  const found = await call(`${api}/queues/${queue}`);
  if (found.status === 401)
    return 'the API asks for a key, because HOST or AUTH says so; ./scripts/clients create NAME --role ROLE makes one';
  if (found.status === 404) return null;
  if (((await bodyOf(found)) as { paused: boolean }).paused) return `the queue ${queue} is paused`;
  const waiting = await bodyOf(await call(`${api}/tasks?queue=${queue}&status=PENDING&limit=1`));
  return (waiting as { items: Task[] }).items.length > 0 ? `tasks wait in the queue ${queue} already` : null;
}

async function finished(api: string, id: string): Promise<Task & Attempt> {
  const deadline = performance.now() + TIMEOUT_MS;
  for (;;) {
    const task = (await bodyOf(await call(`${api}/tasks/${id}`))) as Task;
    if (task.status === 'COMPLETED' || task.status === 'FAILED') {
      const { items } = (await bodyOf(await call(`${api}/tasks/${id}/logs`))) as { items: Attempt[] };
      const last = items.at(-1);
      if (last !== undefined) return { ...last, ...task };
    }
    if (performance.now() > deadline)
      throw new Error(`example task ${id} is still ${task.status} after ${TIMEOUT_MS} ms`);
    await delay(100);
  }
}

function call(url: string, body?: unknown): Promise<Response> {
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return fetch(url, body === undefined ? {} : post);
}

async function bodyOf(response: Response): Promise<unknown> {
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}
