import { chmodSync, chownSync, copyFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import type { PrivateServer } from '../../../scripts/stores/private-server.ts';
import { withRedis } from '../../../scripts/stores/redis.ts';
import type { BoundedDisk } from '../bounded-disk.ts';
import { onMasters } from '../redis-under-test.ts';
import { until } from '../until.ts';
import { momentary, NotPossibleHereError, outage, type Fault, type FaultContext } from './fault.ts';

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
      disturbed(context, 'FLUSHALL', () => onMasters(context.system.redis, (redis) => redis.flushall())),
  },
  {
    ...common,
    name: 'SCRIPT FLUSH',
    rows: [],
    lastsMs: momentary,
    // This does not count as a disturbance, because the scheduler loads the scripts again.
    inject: ({ system }) => onMasters(system.redis, (redis) => redis.script('FLUSH', 'SYNC')).then(String),
  },
  {
    ...common,
    name: 'Redis restart without persistence',
    rows: [LOST, AWAY],
    lastsMs: momentary,
    inject: (context) =>
      disturbed(context, 'restart', () =>
        ofMasters(context, async (server) => {
          await server.kill();
          await server.restart();
        }),
      ),
  },
  {
    ...common,
    name: 'Redis stopped',
    rows: [LOST, AWAY],
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'stop', () =>
        ofMasters(context, async (server) => {
          await server.stop();
          await delay(step.lastsMs);
          await server.restart();
        }),
      ),
  },
  {
    ...common,
    name: 'Redis frozen',
    rows: [LOST, AWAY],
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'freeze', () =>
        ofMasters(context, async (server) => {
          server.pause();
          await delay(step.lastsMs);
          server.resume();
        }),
      ),
  },
  {
    ...common,
    name: 'Redis restart from an old snapshot',
    rows: [LOST],
    lastsMs: (_, random) => random.integer(2_000, 6_000),
    async inject(context, step) {
      const servers = await context.system.redis.masters();
      const snapshotOf = ({ dataDirectory }: PrivateServer): string => join(dataDirectory, 'dump.rdb');
      for (const server of servers) {
        await withRedis(server.url, (connection) => connection.save());
        copyFileSync(snapshotOf(server), `${snapshotOf(server)}.old`);
      }
      await delay(step.lastsMs);
      return disturbed(context, 'old snapshot', async () => {
        for (const server of servers) {
          await server.kill();
          copyFileSync(`${snapshotOf(server)}.old`, snapshotOf(server));
          await server.restart();
          await withRedis(server.url, (connection) => connection.ping());
        }
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
        const limit = (bytes: string) =>
          ofMasters(context, ({ url }) => withRedis(url, (redis) => redis.config('SET', 'maxmemory', bytes)));
        await limit('1mb');
        await delay(step.lastsMs);
        await limit('0');
      }),
  },
  {
    ...common,
    name: 'Redis refuses writes (MISCONF)',
    rows: [LOST, AWAY],
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'MISCONF', () => ofMasters(context, (server) => refuseWrites(server, step.lastsMs))),
  },
  {
    ...common,
    name: 'Redis disk full (append-only file)',
    rows: [LOST, AWAY],
    lastsMs: outage,
    async inject(context, step) {
      const { disk } = context.system.redis;
      if (disk === null)
        throw new NotPossibleHereError('a full disk needs root rights, to mount a separate file system');
      return disturbed(context, 'disk full', () => appendOnFullDisk(context, disk, step.lastsMs));
    },
  },
  {
    ...common,
    name: 'Redis failover to a replica that lacks writes',
    redis: 'sentinel',
    rows: [LOST, AWAY],
    lastsMs: (_, random) => random.integer(500, 2_000),
    inject: (context, step) => disturbed(context, 'failover', () => failOver(context, step.lastsMs)),
  },
  {
    ...common,
    name: 'one master of the Cluster stopped',
    redis: 'cluster',
    rows: [LOST, AWAY],
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'one master stopped', async () => {
        const masters = await context.system.redis.masters();
        const one = masters[step.lastsMs % masters.length] as PrivateServer;
        await one.stop();
        await delay(step.lastsMs);
        await one.restart();
      }),
  },
  {
    ...common,
    name: 'pause, then FLUSHALL',
    rows: [LOST],
    lastsMs: (settings) => Math.min(6_000, settings.outageMaxMs),
    inject: (context, step) => pauseAndFlush(context, step.lastsMs),
  },
];

async function ofMasters({ system }: FaultContext, body: (server: PrivateServer) => Promise<unknown>): Promise<void> {
  await Promise.all((await system.redis.masters()).map(body));
}

async function disturbed(context: FaultContext, fault: string, body: () => Promise<unknown>): Promise<string> {
  const disturbance = context.system.disturb('redis', fault);
  try {
    await body();
  } finally {
    disturbance.end();
  }
  return 'healed';
}

/** Makes snapshots fail, as on a full disk, so that Redis refuses every write. */
async function refuseWrites({ url, dataDirectory }: PrivateServer, ms: number): Promise<void> {
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

/** Pauses a queue and flushes Redis. The queue has to stay paused, although Redis has lost the setting. */
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
  await onMasters(system.redis, (redis) => redis.flushall());
  flushed.end();
  await delay(ms);
  const text = `
    SELECT count(*)::int AS started FROM execution_logs l JOIN tasks t ON t.id = l.task_id
    WHERE t.queue = 'other' AND l.started_at > to_timestamp($1 / 1000.0) AND l.started_at < to_timestamp($2 / 1000.0)`;
  const toMs = Date.now();
  let started = 0;
  await until('PostgreSQL can say what was started', async () => {
    const range = [fromMs + 50 + system.postgres.clockAheadMs, toMs];
    const { rows } = await withConnection(system.postgres.url, (client) => client.query(text, range));
    started = rows[0].started;
    return true;
  });
  await post('/queues/other/resume');
  paused.end();
  if (started > 0) throw new Error(`${started} tasks of the paused queue were started`);
  return `paused for ${ms} ms, nothing started`;
}

/** Fills the disk while Redis writes an append-only file. Until it can write again, Redis answers MISCONF to writes. */
async function appendOnFullDisk({ system }: FaultContext, disk: BoundedDisk, ms: number): Promise<void> {
  const append = (value: 'yes' | 'no') => onMasters(system.redis, (redis) => redis.config('SET', 'appendonly', value));
  await append('yes');
  await onMasters(system.redis, (redis) =>
    until('the first append-only file is written', async () =>
      (await redis.info('persistence')).includes('aof_rewrite_in_progress:0'),
    ),
  );
  disk.fill();
  try {
    await delay(ms);
  } finally {
    disk.free();
    await append('no');
  }
}

/**
 * Fails over to a replica that lacks the last writes: it is disconnected first, and then the master is killed. This can
 * happen with asynchronous replication.
 */
async function failOver({ system }: FaultContext, lostMs: number): Promise<void> {
  const { redis } = system;
  const [master] = (await redis.masters()) as [PrivateServer];
  const replica = redis.servers.find((server) => server !== master) as PrivateServer;
  await until('the replica follows', () =>
    withRedis(master.url, async (client) => (await client.info('replication')).includes('state=online')),
  );
  const [, password = ''] = await withRedis(replica.url, (client) => client.config('GET', 'masterauth'));
  await withRedis(replica.url, (client) => client.config('SET', 'masterauth', 'wrong'));
  await withRedis(master.url, (client) => client.call('CLIENT', 'KILL', 'TYPE', 'replica'));
  await delay(lostMs);
  await master.kill();
  await until('Sentinel has promoted the replica', async () => (await redis.masters())[0] === replica);
  await withRedis(replica.url, (client) => client.config('SET', 'masterauth', password));
  await master.restart();
}
