import { chmodSync, chownSync, copyFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { withRedis } from '../../../scripts/stores/redis.ts';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { momentary, outage, type Fault, type FaultContext } from './fault.ts';

const LOST = 'Redis loses its data, stops or refuses writes';
const AWAY = 'Redis unreachable at submit';

const common = { family: 'redis', resource: 'redis', targets: null } as const;

export const REDIS_FAULTS: readonly Fault[] = [
  {
    ...common,
    name: 'FLUSHALL',
    rows: [LOST],
    lastsMs: momentary,
    inject: (context) =>
      disturbed(context, 'FLUSHALL', () => withRedis(context.system.redis.url, (redis) => redis.flushall())),
  },
  {
    ...common,
    name: 'SCRIPT FLUSH',
    rows: [],
    lastsMs: momentary,
    // No disturbance: nobody may even notice.
    inject: ({ system }) => withRedis(system.redis.url, (redis) => redis.script('FLUSH', 'SYNC')).then(String),
  },
  {
    ...common,
    name: 'Redis restart without persistence',
    rows: [LOST, AWAY],
    lastsMs: momentary,
    inject: (context) =>
      disturbed(context, 'restart', async () => {
        await context.system.redis.kill();
        await context.system.redis.restart();
      }),
  },
  {
    ...common,
    name: 'Redis stopped',
    rows: [LOST, AWAY],
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'stop', async () => {
        await context.system.redis.stop();
        await delay(step.lastsMs);
        await context.system.redis.restart();
      }),
  },
  {
    ...common,
    name: 'Redis frozen',
    rows: [LOST, AWAY],
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'freeze', async () => {
        context.system.redis.pause();
        await delay(step.lastsMs);
        context.system.redis.resume();
      }),
  },
  {
    ...common,
    name: 'Redis restart from an old snapshot',
    rows: [LOST],
    lastsMs: (_, random) => random.integer(2_000, 6_000),
    async inject(context, step) {
      const { redis } = context.system;
      const snapshot = join(redis.dataDirectory, 'dump.rdb');
      await withRedis(redis.url, (connection) => connection.save());
      copyFileSync(snapshot, `${snapshot}.old`);
      await delay(step.lastsMs);
      return disturbed(context, 'old snapshot', async () => {
        await redis.kill();
        copyFileSync(`${snapshot}.old`, snapshot);
        await redis.restart();
        await withRedis(redis.url, (connection) => connection.ping());
      });
    },
  },
  {
    ...common,
    name: 'Redis at its memory limit',
    rows: [LOST, AWAY],
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'maxmemory', async () => {
        const { url } = context.system.redis;
        await withRedis(url, (redis) => redis.config('SET', 'maxmemory', '1mb'));
        await delay(step.lastsMs);
        await withRedis(url, (redis) => redis.config('SET', 'maxmemory', '0'));
      }),
  },
  {
    ...common,
    name: 'Redis refuses writes (MISCONF)',
    rows: [LOST, AWAY],
    lastsMs: outage,
    inject: (context, step) => disturbed(context, 'MISCONF', () => refuseWrites(context, step.lastsMs)),
  },
  {
    ...common,
    name: 'pause, then FLUSHALL',
    rows: [LOST],
    lastsMs: (settings) => Math.min(6_000, settings.outageMaxMs),
    inject: (context, step) => pauseAndFlush(context, step.lastsMs),
  },
];

async function disturbed(context: FaultContext, fault: string, body: () => Promise<unknown>): Promise<string> {
  const disturbance = context.system.disturb('redis', fault);
  try {
    await body();
  } finally {
    disturbance.end();
  }
  return 'healed';
}

/** A snapshot that cannot be written, as on a full disk: Redis then refuses every write. */
async function refuseWrites({ system }: FaultContext, ms: number): Promise<void> {
  const { url, dataDirectory } = system.redis;
  const owner = statSync(dataDirectory);
  if (process.getuid?.() === 0) chownSync(dataDirectory, 0, 0);
  chmodSync(dataDirectory, 0o555);
  try {
    await withRedis(url, async (redis) => {
      await redis.config('SET', 'save', '3600 1');
      await redis.bgsave().catch(() => {});
      const deadline = performance.now() + 5_000;
      while (!(await redis.info('persistence')).includes('rdb_last_bgsave_status:err') && performance.now() < deadline)
        await delay(50);
    });
    await delay(ms);
  } finally {
    chownSync(dataDirectory, owner.uid, owner.gid);
    chmodSync(dataDirectory, owner.mode & 0o777);
    await withRedis(url, async (redis) => {
      await redis.bgsave();
      await redis.config('SET', 'save', '');
    });
  }
}

/** A queue that people paused stays paused, although Redis has forgotten it. */
async function pauseAndFlush({ system }: FaultContext, ms: number): Promise<string> {
  const post = async (path: string): Promise<void> => {
    for (;;) {
      const url = system.apiUrls[Math.floor(performance.now()) % system.apiUrls.length] ?? '';
      const answer = await fetch(url + path, { method: 'POST', signal: AbortSignal.timeout(5_000) }).catch(() => null);
      if (answer?.ok === true) return;
      await delay(200);
    }
  };
  const paused = system.disturb('paused', 'pause', 'other');
  await post('/queues/other/pause');
  const fromMs = Date.now();
  const flushed = system.disturb('redis', 'FLUSHALL');
  await withRedis(system.redis.url, (redis) => redis.flushall());
  flushed.end();
  await delay(ms);
  const text = `
    SELECT count(*)::int AS started FROM execution_logs l JOIN tasks t ON t.id = l.task_id
    WHERE t.queue = 'other' AND l.started_at > to_timestamp($1 / 1000.0) AND l.started_at < to_timestamp($2 / 1000.0)`;
  const rows = await withConnection(
    system.postgres.url,
    async (client) => (await client.query(text, [fromMs + 50, Date.now()])).rows,
  );
  await post('/queues/other/resume');
  paused.end();
  const { started } = rows[0] as { started: number };
  if (started > 0) throw new Error(`${started} tasks of the paused queue were started`);
  return `paused for ${ms} ms, nothing started`;
}
