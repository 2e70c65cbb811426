import { randomBytes, randomInt } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { commandLineOf, processTree } from '../scripts/stores/process-tree.ts';
import { readConfig } from '../src/config/read-config.ts';
import { createIdSource } from '../src/core/ids.ts';
import type { Submission } from '../src/core/task.ts';
import type { AttemptStore, Settlement } from '../src/engine/attempts/attempt-store.ts';
import type { SubmitStore } from '../src/engine/submit/submit-store.ts';
import type { Database } from '../src/postgres/database.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';
import { createOutage } from '../src/telemetry/outage.ts';
import { cpuSeconds, runToEnd } from './processes.ts';
import { median } from './statistics.ts';
import { startStores, type BenchStores } from './stores.ts';

/**
 * Measures what the statements for submit, start and settle cost PostgreSQL, without an API or a worker. Several
 * checkouts can be compared: their rounds alternate on the same server.
 *   node bench/statement-cost.ts [--trees .,../main] [--tasks 30000] [--bytes 48,1000] [--pairs 2]
 *     [--rounds 3] [--apart] | [--in-turns]
 * With `--apart`, all tasks start before the first one is settled, so that each statement has figures of its own. With
 * `--pairs`, each task has so many members of metadata, each with one of a thousand values. With `--in-turns`, the
 * checkouts take turns after each batch, which tells apart one percent also on a busy machine; name one checkout twice, by
 * two copies, to see what is chance.
 */
const BATCH = 400;
const PART = 1_000;
const WORKER = 'bench-worker-0.abcdef12';
const LOST_CAP = 3;

interface Cost {
  readonly cpuUs: number;
  readonly walBytes: number;
}

/** The statements of one checkout, on a database of their own. */
interface Statements {
  readonly databaseUrl: string;
  readonly database: Database;
  readonly attempts: AttemptStore;
  readonly submissions: SubmitStore;
}

async function open(tree: string, stores: BenchStores, name: string): Promise<Statements> {
  const load = <Module>(path: string): Promise<Module> => import(join(tree, 'src', path)) as Promise<Module>;
  const databaseUrl = await stores.freshDatabase(`statements ${name}`, (url) => migrate(tree, url, stores));
  const config = readConfig({ DATABASE_URL: databaseUrl, REDIS_URL: stores.redisUrl });
  const log = createLogger('silent', {});
  const metrics = createMetrics();
  const { createDatabase } = await load<typeof import('../src/postgres/database.ts')>('postgres/database.ts');
  const { createAttemptStore } = await load<typeof import('../src/engine/attempts/attempt-store.ts')>(
    'engine/attempts/attempt-store.ts',
  );
  const { createSubmitStore } = await load<typeof import('../src/engine/submit/submit-store.ts')>(
    'engine/submit/submit-store.ts',
  );
  const database = createDatabase(config, createOutage('postgresql', log, metrics, Date.now), log);
  return {
    databaseUrl,
    database,
    attempts: createAttemptStore(database),
    submissions: createSubmitStore(database, 86_400_000),
  };
}

async function migrate(tree: string, url: string, stores: BenchStores): Promise<void> {
  const env = { DATABASE_URL: url, REDIS_URL: stores.redisUrl };
  const log = join(import.meta.dirname, '..', '.local', 'bench', 'statement-cost.log');
  await runToEnd({ command: [process.execPath, join(tree, 'src', 'main.ts'), 'migrate'], env, log });
}

function submissionsOf(count: number, bytes: number, pairs: number): Submission[] {
  const ids = createIdSource(Date.now, randomBytes);
  const payload = JSON.stringify({ action: 'noop', fill: 'x'.repeat(Math.max(0, bytes - 27)) });
  return Array.from({ length: count }, () => ({
    task: {
      id: ids.next('default'),
      client: '',
      queue: 'default',
      action: 'noop',
      payload,
      priority: 2,
      group: null,
      executionTimeSeconds: null,
      runAtMs: null,
      maxRetries: 3,
      backoff: null,
      timeoutMs: 1_800_000,
      metadata: pairs === 0 ? null : metadataOf(pairs),
      traceId: randomBytes(16).toString('hex'),
      traceparent: null,
    },
    idempotency: null,
  }));
}

const metadataOf = (pairs: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: pairs }, (_, i) => [`label-${i}`, `value-${randomInt(1_000)}`]));

function slices<Item>(items: readonly Item[], size: number): Item[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

async function start(attempts: AttemptStore, ids: readonly string[]): Promise<Settlement[]> {
  const results = await attempts.start(ids, WORKER, LOST_CAP, true);
  return results.map((result) => {
    if (result.verdict !== 'started') throw new Error(`${result.id} is ${result.verdict}`);
    const { id, attempt } = result.task;
    return { id, attempt, outcome: { verb: 'complete', result: null }, reason: null };
  });
}

async function settle(attempts: AttemptStore, settlements: readonly Settlement[]): Promise<void> {
  const results = await attempts.settle(WORKER, settlements);
  for (const { id, verdict } of results) if (verdict !== 'settled') throw new Error(`${id} is ${verdict}`);
}

/** Starts and settles as a worker does: while one batch starts, earlier ones are settled. */
async function execute(attempts: AttemptStore, ids: readonly string[]): Promise<void> {
  const settling: Promise<void>[] = [];
  for (const batch of slices(ids, BATCH)) {
    const started = await start(attempts, batch);
    if (settling.length > 1) await settling.shift();
    settling.push(settle(attempts, started));
  }
  await Promise.all(settling);
}

async function measureRound(
  tree: string,
  stores: BenchStores,
  name: string,
  { tasks, bytes, apart, pairs }: { tasks: number; bytes: number; apart: boolean; pairs: number },
): Promise<Record<string, Cost>> {
  const { databaseUrl, database, attempts, submissions } = await open(tree, stores, name);
  const costs: Record<string, Cost> = {};
  const measure = async (step: string, act: () => Promise<void>): Promise<void> => {
    const cpu = stores.postgresCpuSeconds();
    const wal = await stores.walBytes();
    await act();
    costs[step] = {
      cpuUs: ((stores.postgresCpuSeconds() - cpu) * 1e6) / tasks,
      walBytes: ((await stores.walBytes()) - wal) / tasks,
    };
  };
  try {
    await stores.query(databaseUrl, 'CHECKPOINT');
    const all = submissionsOf(tasks, bytes, pairs);
    const ids = all.map(({ task }) => task.id);
    await measure('submit', async () => {
      for (const part of slices(all, PART)) await submissions.submit(part);
    });
    if (apart) {
      const started: Settlement[][] = [];
      await measure('start', async () => {
        for (const batch of slices(ids, BATCH)) started.push(await start(attempts, batch));
      });
      await measure('settle', async () => {
        for (const batch of started) await settle(attempts, batch);
      });
    } else await measure('start + settle', () => execute(attempts, ids));
    return costs;
  } finally {
    await database.close();
  }
}

/** Batches before the first one that counts: connections open, and caches fill. */
const WARM_UP = 10;

/** Measures each checkout batch by batch, in turns, and prints the medians and the ratios to the first checkout. */
async function measureInTurns(
  stores: BenchStores,
  { tasks, bytes, pairs }: { tasks: number; bytes: number; pairs: number },
): Promise<void> {
  const opened: Statements[] = [];
  for (const [i, tree] of trees.entries()) opened.push(await open(tree, stores, `${i}`));
  const costs: Record<'submit' | 'start' | 'settle' | 'together', number>[][] = trees.map(() => []);
  for (let batch = 0; batch < WARM_UP + tasks / BATCH; batch++) {
    for (const turn of trees.keys()) {
      const i = (batch + turn) % trees.length;
      const { databaseUrl, attempts, submissions } = opened[i] as Statements;
      const all = submissionsOf(BATCH, bytes, pairs);
      const backends = backendsOf(stores, databaseUrl);
      const times = [backendUs(backends)];
      await submissions.submit(all);
      times.push(backendUs(backends));
      const started = await start(
        attempts,
        all.map(({ task }) => task.id),
      );
      times.push(backendUs(backends));
      await settle(attempts, started);
      times.push(backendUs(backends));
      const [submit, startUs, settleUs] = times.slice(1).map((us, n) => (us - (times[n] as number)) / BATCH);
      if (submit === undefined || startUs === undefined || settleUs === undefined) throw new Error('no figures');
      if (batch >= WARM_UP)
        costs[i]?.push({ submit, start: startUs, settle: settleUs, together: submit + startUs + settleUs });
    }
  }
  for (const [i, own] of costs.entries()) {
    const steps = (['submit', 'start', 'settle', 'together'] as const).map((step) => {
      const us = median(own.map((cost) => cost[step]));
      const first = costs[0]?.map((cost) => cost[step]) ?? [];
      const ofPairs = median(own.map((cost, n) => cost[step] / (first[n] as number)));
      return `${step} ${us.toFixed(1)} µs (${percent(us / median(first))}, pairs ${percent(ofPairs)})`;
    });
    console.log(`${bytes} B payload, ${trees[i]}: ${steps.join(' | ')}`);
  }
  for (const { database } of opened) await database.close();
}

/** The server's processes that serve a database. */
function backendsOf(stores: BenchStores, databaseUrl: string): number[] {
  const name = ` ${new URL(databaseUrl).pathname.slice(1)} `;
  return processTree(stores.postgres.pid).filter((pid) => commandLineOf(pid).includes(name));
}

/** Returns the CPU time of processes so far. */
const backendUs = (pids: readonly number[]): number => pids.reduce((sum, pid) => sum + cpuSeconds(pid) * 1e6, 0);

const percent = (ratio: number): string => `${ratio < 1 ? '' : '+'}${((ratio - 1) * 100).toFixed(1)} %`;

const { values } = parseArgs({
  options: {
    trees: { type: 'string', default: '.' },
    tasks: { type: 'string', default: '30000' },
    bytes: { type: 'string', default: '48,1000' },
    rounds: { type: 'string', default: '3' },
    apart: { type: 'boolean', default: false },
    'in-turns': { type: 'boolean', default: false },
    pairs: { type: 'string', default: '0' },
  },
});
const trees = values.trees.split(',').map((tree) => resolve(tree));
const directory = join(import.meta.dirname, '..', '.local', 'bench');
mkdirSync(directory, { recursive: true });
rmSync(join(directory, 'statement-cost.log'), { force: true });
const stores = await startStores();
try {
  for (const bytes of values.bytes.split(',').map(Number)) {
    if (values['in-turns']) {
      await measureInTurns(stores, { tasks: Number(values.tasks), bytes, pairs: Number(values.pairs) });
      continue;
    }
    const found = new Map<string, Record<string, Cost>[]>(trees.map((tree) => [tree, []]));
    for (let i = 0; i < Number(values.rounds); i++) {
      for (const tree of i % 2 === 0 ? trees : trees.toReversed()) {
        const shape = { tasks: Number(values.tasks), bytes, apart: values.apart, pairs: Number(values.pairs) };
        found.get(tree)?.push(await measureRound(tree, stores, `${trees.indexOf(tree)}`, shape));
      }
    }
    for (const [tree, rounds] of found) {
      const steps = Object.keys(rounds[0] ?? {}).map((step) => {
        const each = (figure: keyof Cost): number[] => rounds.map((costs) => costs[step]?.[figure] ?? Number.NaN);
        const list = each('cpuUs').map((us) => us.toFixed(1));
        return `${step} ${median(each('cpuUs')).toFixed(1)} µs (${list.join(' ')}), WAL ${median(each('walBytes')).toFixed(0)} B`;
      });
      console.log(`${bytes} B payload, ${tree}: ${steps.join(' | ')}`);
    }
  }
} finally {
  await stores.close();
}
process.exit();
