import { withConnection } from '../../scripts/stores/postgres.ts';
import { startProcess, untilTrue, type TestProcess } from './processes.ts';
import type { TestStores } from './stores.ts';

/** API, workers and reclaimers as real processes on the stores of one test file. */
export interface TestSystem {
  readonly baseUrl: string;
  readonly api: TestProcess;
  startWorker(env?: Record<string, string>): Promise<TestProcess>;
  /** Starts a reclaimer that sweeps until it is stopped. */
  startReclaimer(env?: Record<string, string>): Promise<TestProcess>;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Submits one task and returns its id. @throws unless the status is 200 */
  submit(task: object): Promise<string>;
  submitBatch(tasks: readonly object[]): Promise<string[]>;
  get(path: string): Promise<Record<string, unknown>>;
  /** Queries the database directly, without the code under test. */
  rows<Row>(text: string, values?: unknown[]): Promise<Row[]>;
  /** Waits until every task in the database has ended. @returns the number of tasks by status */
  untilAllEnded(timeoutMs: number): Promise<Record<string, number>>;
}

export async function startSystem(stores: TestStores, env: Record<string, string> = {}): Promise<TestSystem> {
  const common = { ...stores.env, RATE_LIMIT_PER_MINUTE: '0', ...env };
  const api = startProcess(['node', 'src/main.ts', 'api'], common);
  const { port } = await api.waitForLine(({ msg }) => msg === 'api listening');
  const baseUrl = `http://127.0.0.1:${String(port)}`;

  const post = (path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(baseUrl + path, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
      signal: AbortSignal.timeout(20_000),
    });

  const accepted = async <Answer>(path: string, body: unknown): Promise<Answer> => {
    const response = await post(path, body);
    if (response.status !== 200) throw new Error(`POST ${path} answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as Answer;
  };

  const rows = <Row>(text: string, values: unknown[] = []): Promise<Row[]> =>
    withConnection(stores.databaseUrl, async (client) => (await client.query(text, values)).rows as Row[]);

  const byStatus = async (): Promise<Record<string, number>> => {
    const counts = await rows<{ status: string; count: string }>('SELECT status, count(*) FROM tasks GROUP BY status');
    return Object.fromEntries(counts.map(({ status, count }) => [status, Number(count)]));
  };

  return {
    baseUrl,
    api,
    post,
    rows,
    async startWorker(overrides = {}) {
      const worker = startProcess(['node', 'src/main.ts', 'worker'], { ...common, ...overrides });
      await worker.waitForLine(({ msg }) => msg === 'worker claims');
      return worker;
    },
    async startReclaimer(overrides = {}) {
      const reclaimer = startProcess(['node', 'src/main.ts', 'reclaimer', '--loop'], { ...common, ...overrides });
      await reclaimer.waitForLine(({ msg }) => msg === 'reclaimer started');
      return reclaimer;
    },
    async submit(task) {
      return (await accepted<{ id: string }>('/tasks', task)).id;
    },
    async submitBatch(tasks) {
      return (await accepted<{ tasks: { id: string }[] }>('/tasks/batch', { tasks })).tasks.map(({ id }) => id);
    },
    async get(path) {
      const response = await fetch(baseUrl + path, { signal: AbortSignal.timeout(10_000) });
      return (await response.json()) as Record<string, unknown>;
    },
    untilAllEnded: (timeoutMs) =>
      untilTrue(
        async () => {
          const counts = await byStatus();
          const open = (counts['PENDING'] ?? 0) + (counts['SCHEDULED'] ?? 0) + (counts['PROCESSING'] ?? 0);
          return open === 0 && counts;
        },
        { timeoutMs, describe: byStatus },
      ),
  };
}

/** Shorter intervals and deadlines, so that a test does not have to wait for a TTL of 10 s. */
export const SHORT_HEARTBEATS = {
  HEARTBEAT_INTERVAL: '300ms',
  HEARTBEAT_TTL: '1500ms',
  HEARTBEAT_GAP: '1s',
  HOLDINGS_INTERVAL: '500ms',
  SWEEP_INTERVAL: '500ms',
};
