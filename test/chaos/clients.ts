import { createWriteStream, type WriteStream } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import type { Answer } from './evidence.ts';
import { nowMs } from './processes.ts';
import { createRandom, type Random } from './random.ts';
import type { RunSettings } from './settings.ts';
import { FLEETING_QUEUE } from './system.ts';

/** Clients that produce the load and record every request and its answer, or that no answer came. */
export interface Clients {
  readonly answers: readonly Answer[];
  /** Number of tasks submitted so far, accepted or not. */
  readonly offered: number;
  /** Submits one task of a kind and repeats the request until it is answered; for faults that come as tasks. */
  submitKind(kind: string, fields?: TaskFields): Promise<string>;
  /** Submits many tasks in one batch, from a separate address. */
  submitMany(kind: string, count: number, fields?: TaskFields): Promise<readonly string[]>;
  /** Repeats the cancel until it is answered. */
  cancel(id: string): Promise<void>;
  requeue(id: string): Promise<void>;
  stop(): Promise<void>;
}

export interface TaskFields {
  readonly queue?: string;
  readonly priority?: number;
  readonly ms?: number;
  readonly timeout?: number;
  readonly max_retries?: number;
}

interface Shared {
  readonly urls: readonly string[];
  readonly answers: Answer[];
  readonly file: WriteStream;
  readonly perClientPerSecond: number;
  readonly strictShare: number;
  readonly stopping: AbortController;
  offered: number;
}

const REQUEST_TIMEOUT_MS = 8_000;
const RECENT_MOST = 200;
/** After an outage, a client catches up on at most this much of its schedule. */
const BEHIND_MOST_MS = 2_000;
/** Number of the first client that submits on behalf of faults. */
const ERRANDS_FROM = 100;

type Client = ReturnType<typeof createClient>;

export function startClients(
  urls: readonly string[],
  settings: RunSettings,
  seed: number,
  historyPath: string,
): Clients {
  const shared: Shared = {
    urls,
    answers: [],
    file: createWriteStream(historyPath),
    perClientPerSecond: settings.tasksPerSecond / settings.clients,
    strictShare: settings.strictShare,
    stopping: new AbortController(),
    offered: 0,
  };
  const clients = Array.from({ length: settings.clients }, (_, i) =>
    createClient(shared, createRandom(seed * 1_000 + i), i),
  );
  const errands = [createClient(shared, createRandom(seed * 1_000 + 999), ERRANDS_FROM)];
  const running = clients.map((client) => client.run());
  return {
    answers: shared.answers,
    get offered() {
      return shared.offered;
    },
    submitKind: (kind, fields = {}) => (errands[0] as Client).submitKind(kind, fields),
    submitMany(kind, count, fields = {}) {
      const number = ERRANDS_FROM + errands.length;
      const errand = createClient(shared, createRandom(seed * 1_000 + number), number);
      errands.push(errand);
      return errand.submitMany(kind, count, fields);
    },
    cancel: (id) => (errands[0] as Client).act('cancel', id),
    requeue: (id) => (errands[0] as Client).act('requeue', id),
    async stop() {
      shared.stopping.abort();
      await Promise.all(running);
      await Promise.all([...clients, ...errands].map((client) => client.close()));
      await new Promise<void>((resolve) => shared.file.end(resolve));
    },
  };
}

function createClient(shared: Shared, random: Random, number: number) {
  // Each client has its own address, because the rate limit counts by address.
  const agent = new Agent({ localAddress: `127.0.${1 + (number >> 7)}.${(number % 128) + 1}`, connections: 4 });
  const recent: string[] = [];
  let count = 0;

  const send = async (
    op: Answer['op'],
    path: string,
    body: unknown,
    about: Pick<Answer, 'refs' | 'key'>,
  ): Promise<Answer> => {
    const sentAtMs = nowMs();
    const heard = await ask(agent, random.pick(shared.urls) + path, body, about.key);
    const answer: Answer = { op, ...about, ...heard, sentAtMs, answeredAtMs: nowMs() };
    shared.answers.push(answer);
    shared.file.write(`${JSON.stringify(answer)}\n`);
    return answer;
  };

  /** Repeats the submission with its key until it is answered, at most 40 times. */
  const untilAnswered = async (task: object, about: Pick<Answer, 'refs' | 'key'>): Promise<Answer> => {
    for (let tries = 1; ; tries++) {
      const answer = await send('submit', '/tasks', task, about);
      if (answer.status !== null && answer.status < 500 && answer.status !== 429) return answer;
      if (tries >= 40 || shared.stopping.signal.aborted) return answer;
      await delay(Math.min(1_000, 50 * 2 ** tries));
    }
  };

  const nextTask = (): { ref: string; task: Record<string, unknown> } => {
    const ref = `c${number}-${++count}`;
    return { ref, task: describeTask(random, ref, shared.strictShare) };
  };

  const submitOne = async (): Promise<number> => {
    const { ref, task } = nextTask();
    shared.offered++;
    if (random.chance(0.5)) remember(await untilAnswered(task, { refs: [ref], key: ref }));
    else remember(await send('submit', '/tasks', task, { refs: [ref], key: null }));
    return 1;
  };

  const submitBatch = async (): Promise<number> => {
    const items = Array.from({ length: random.integer(5, 30) }, nextTask);
    shared.offered += items.length;
    const refs = items.map(({ ref }) => ref);
    remember(await send('batch', '/tasks/batch', { tasks: items.map(({ task }) => task) }, { refs, key: null }));
    return items.length;
  };

  const submitBad = async (): Promise<number> => {
    const { ref, task } = nextTask();
    const bad = random.pick([
      { ...task, unknown: 1 },
      { ...task, priority: 9 },
      { ...task, timeout: -1 },
      { ...task, payload: undefined },
    ]);
    await send('refused', '/tasks', bad, { refs: [ref], key: null });
    return 0;
  };

  const errandOf = (kind: string, { ms, ...rest }: TaskFields): { ref: string; task: object } => {
    const ref = `f${number}-${kind}-${++count}`;
    shared.offered++;
    return { ref, task: { action: `chaos.${kind}`, payload: { ms: ms ?? 20 }, metadata: { ref, kind }, ...rest } };
  };

  const remember = ({ ids, status }: Answer): void => {
    if (status !== 200) return;
    recent.push(...ids);
    if (recent.length > RECENT_MOST) recent.splice(0, recent.length - RECENT_MOST);
  };

  /** Sends one random request. @returns the number of tasks in it */
  const turn = async (): Promise<number> => {
    const chance = random.next();
    if (chance < 0.68) return submitOne();
    if (chance < 0.9) return submitBatch();
    if (chance < 0.93) return submitBad();
    // Half of these requests meet a task that probably has not ended yet.
    const id = random.chance(0.5) ? recent.at(-1) : recent[random.integer(0, RECENT_MOST - 1) % recent.length];
    if (id !== undefined) await actOn(chance < 0.95 ? 'get' : chance < 0.98 ? 'cancel' : 'requeue', id);
    return 0;
  };

  const actOn = async (op: 'get' | 'cancel' | 'requeue', id: string): Promise<Answer> => {
    const path = { get: `/tasks/${id}`, cancel: `/tasks/${id}/cancel`, requeue: `/dlq/${id}/requeue` }[op];
    const answer = await send(op, path, op === 'get' ? null : {}, { refs: [], key: null });
    named(answer, id);
    return answer;
  };

  return {
    async run(): Promise<void> {
      const { signal } = shared.stopping;
      // Follow a schedule, so that slow answers do not reduce the load.
      let nextMs = performance.now();
      while (!signal.aborted) {
        const tasks = await turn();
        const pauseMs = random.exponential((1_000 * Math.max(tasks, 0.2)) / shared.perClientPerSecond);
        nextMs = Math.max(nextMs + Math.min(pauseMs, 5_000), performance.now() - BEHIND_MOST_MS);
        await delay(Math.max(0, nextMs - performance.now()), undefined, { signal }).catch(() => {});
      }
    },
    async act(op: 'cancel' | 'requeue', id: string): Promise<void> {
      for (;;) {
        const { status } = await actOn(op, id);
        if ((status !== null && status < 500 && status !== 429) || shared.stopping.signal.aborted) return;
        await delay(200);
      }
    },
    async submitKind(kind: string, fields: TaskFields): Promise<string> {
      const { ref, task } = errandOf(kind, fields);
      const answer = await untilAnswered(task, { refs: [ref], key: ref });
      return answer.ids[0] ?? '';
    },
    async submitMany(kind: string, many: number, fields: TaskFields): Promise<readonly string[]> {
      for (;;) {
        // Without an answer, the client cannot know whether the tasks exist, so each retry submits new tasks.
        const errands = Array.from({ length: many }, () => errandOf(kind, fields));
        const refs = errands.map(({ ref }) => ref);
        const answer = await send(
          'batch',
          '/tasks/batch',
          { tasks: errands.map(({ task }) => task) },
          { refs, key: null },
        );
        if (answer.status === 200 || shared.stopping.signal.aborted) return answer.ids;
        await delay(500);
      }
    },
    close: () => agent.destroy(),
  };
}

/** Adds the id of the task that the request was about to an answer that does not contain it. */
function named(answer: Answer, id: string): void {
  if (answer.ids.length === 0) (answer as { ids: readonly string[] }).ids = [id];
}

function describeTask(random: Random, ref: string, strictShare: number): Record<string, unknown> {
  const chance = random.next();
  const kind = chance < 0.93 ? 'work' : chance < 0.97 ? 'flaky' : chance < 0.985 ? 'hopeless' : 'final';
  const delayMs = random.chance(0.08) ? random.integer(200, 3_000) : 0;
  const queue = random.chance(strictShare)
    ? 'strict'
    : random.pick(['default', 'default', 'default', 'other', FLEETING_QUEUE]);
  return {
    action: `chaos.${kind}`,
    // Most tasks are short; a few are long enough to be running when a fault happens.
    payload: {
      ms:
        queue === 'strict'
          ? random.integer(1, 20)
          : random.chance(0.05)
            ? random.integer(500, 4_000)
            : random.integer(1, 100),
    },
    priority: random.integer(1, 3),
    queue,
    ...(delayMs > 0 ? { delay: delayMs / 1_000 } : {}),
    ...(kind === 'hopeless' || kind === 'flaky'
      ? { max_retries: kind === 'flaky' ? 3 : 1, backoff: { base: 0.5, factor: 2, max: 5 } }
      : {}),
    metadata: { ref, kind, ...(delayMs > 0 ? { delay_ms: String(delayMs) } : {}) },
  };
}

type Heard = Pick<Answer, 'status' | 'ids' | 'taskStatus'>;

/** Sends a request; without a body, a GET. It never throws: a broken connection or a timeout counts as "no answer". */
async function ask(agent: Agent, url: string, body: unknown, key: string | null): Promise<Heard> {
  try {
    const { statusCode, body: stream } = await request(url, {
      dispatcher: agent,
      ...(body === null
        ? { method: 'GET' }
        : {
            method: 'POST',
            headers: { 'content-type': 'application/json', ...(key === null ? {} : { 'idempotency-key': key }) },
            body: JSON.stringify(body),
          }),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const answer = (await stream.json()) as { id?: string; status?: unknown; tasks?: { id: string }[] };
    const ids = answer.tasks?.map(({ id }) => id) ?? (answer.id === undefined ? [] : [answer.id]);
    return { status: statusCode, ids, taskStatus: typeof answer.status === 'string' ? answer.status : null };
  } catch {
    return { status: null, ids: [], taskStatus: null };
  }
}
