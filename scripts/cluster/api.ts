import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { kubectl, NAMESPACE, RELEASE, sql, until } from './cluster.ts';

/** The API, reached through its Service. */
export interface Api {
  readonly url: string;
  /** Whether requests go through the Service itself, and so survive the end of a pod. */
  readonly direct: boolean;
  close(): void;
}

/** By the Service's address where this machine can reach it, else by a forwarded port. */
export async function openApi(): Promise<Api> {
  const address = kubectl(
    'get',
    'service',
    `${RELEASE}-api`,
    '--output',
    'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}',
  );
  const direct = `http://${address}`;
  if (await answers(direct)) return { url: direct, direct: true, close() {} };

  const port = 18_000;
  const forward = spawn(
    'kubectl',
    ['--namespace', NAMESPACE, 'port-forward', `service/${RELEASE}-api`, `${port}:http`],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  await once(forward.stdout, 'data');
  return { url: `http://127.0.0.1:${port}`, direct: false, close: () => void forward.kill() };
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(1_500) })).ok;
  } catch {
    return false;
  }
}

export interface Submission {
  readonly payload: unknown;
  readonly queue?: string;
  readonly execution_time?: number;
}

/** Submits in batches of 1,000; every one has to be accepted. */
export async function submitAll(api: Api, tasks: readonly Submission[]): Promise<void> {
  for (let from = 0; from < tasks.length; from += 1_000) {
    const body = JSON.stringify({ tasks: tasks.slice(from, from + 1_000) });
    const response = await fetch(`${api.url}/tasks/batch`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    if (response.status !== 200)
      throw new Error(`POST /tasks/batch answered ${response.status}: ${await response.text()}`);
  }
}

export interface Load {
  /** Ends the load when what is under way has been answered. */
  stop(): Promise<{
    readonly accepted: readonly string[];
    readonly failures: readonly string[];
    readonly slowestMs: number;
  }>;
}

/** Submits at a steady rate, each request on its own, whether the ones before it were answered or not. */
export function startLoad(api: Api, perSecond: number, task: Submission): Load {
  const accepted: string[] = [];
  const failures: string[] = [];
  const pending = new Set<Promise<void>>();
  let slowestMs = 0;

  const submit = async (): Promise<void> => {
    const startedMs = performance.now();
    try {
      const response = await fetch(`${api.url}/tasks`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(task),
        signal: AbortSignal.timeout(20_000),
      });
      const body = await response.text();
      if (response.status === 200) accepted.push((JSON.parse(body) as { id: string }).id);
      else failures.push(`${response.status} ${body.slice(0, 200)}`);
    } catch (error) {
      failures.push(error instanceof Error ? `${error.message} ${String(error.cause)}` : String(error));
    }
    slowestMs = Math.max(slowestMs, performance.now() - startedMs);
  };

  const timer = setInterval(() => {
    const request = submit().finally(() => pending.delete(request));
    pending.add(request);
  }, 1_000 / perSecond);

  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(pending);
      return { accepted, failures, slowestMs };
    },
  };
}

/** Waits until every task of a queue has ended, and returns how many ended how. */
export async function drained(queue: string, seconds: number): Promise<Record<string, number>> {
  await until(`queue ${queue} is worked off`, seconds, () => {
    const open = sql(
      `SELECT count(*) FROM tasks WHERE queue = '${queue}' AND status IN ('PENDING', 'SCHEDULED', 'PROCESSING')`,
    );
    return open === '0';
  });
  return counts(`SELECT status, count(*) FROM tasks WHERE queue = '${queue}' GROUP BY 1`);
}

/** How the attempts at the tasks of a queue ended. */
export function attempts(queue: string): Record<string, number> {
  return counts(
    `SELECT coalesce(l.outcome::text, 'OPEN'), count(*) FROM execution_logs l JOIN tasks t ON t.id = l.task_id WHERE t.queue = '${queue}' GROUP BY 1`,
  );
}

function counts(statement: string): Record<string, number> {
  const lines = sql(statement)
    .split('\n')
    .filter((line) => line !== '');
  return Object.fromEntries(lines.map((line) => line.split('|')).map(([name = '', count]) => [name, Number(count)]));
}
