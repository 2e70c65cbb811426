import { setTimeout as delay } from 'node:timers/promises';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { momentary, NotPossibleHereError, outage, type Fault, type FaultContext } from './fault.ts';

const SUBMIT = 'PostgreSQL unreachable at submit';
const SETTLE = 'PostgreSQL unreachable at start or settle';

const common = { family: 'postgresql', resource: 'postgresql', targets: null, rows: [SUBMIT, SETTLE] } as const;

export const POSTGRES_FAULTS: readonly Fault[] = [
  {
    ...common,
    name: 'PostgreSQL restart',
    lastsMs: momentary,
    inject: (context) => disturbed(context, 'restart', () => context.system.postgres.primary.restart()),
  },
  {
    ...common,
    name: 'PostgreSQL crash',
    lastsMs: momentary,
    inject: (context) =>
      disturbed(context, 'crash', async () => {
        await context.system.postgres.primary.kill();
        await context.system.postgres.primary.restart();
      }),
  },
  {
    ...common,
    name: 'PostgreSQL stopped',
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'stop', async () => {
        await context.system.postgres.primary.stop();
        await delay(step.lastsMs);
        await context.system.postgres.primary.restart();
      }),
  },
  {
    ...common,
    name: 'PostgreSQL frozen',
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'freeze', async () => {
        context.system.postgres.primary.pause();
        await delay(step.lastsMs);
        context.system.postgres.primary.resume();
      }),
  },
  {
    ...common,
    name: 'PostgreSQL disk full',
    lastsMs: outage,
    async inject(context, step) {
      const { disk } = context.system.postgres;
      if (disk === null)
        throw new NotPossibleHereError('a full disk needs root rights, to mount a separate file system');
      return disturbed(context, 'disk full', async () => {
        disk.fill();
        try {
          await delay(step.lastsMs);
        } finally {
          disk.free();
        }
        // PostgreSQL ends itself if it cannot write its WAL. Then restart it, as its operator would do.
        await withConnection(context.system.postgres.url, (client) => client.query('SELECT')).catch(() =>
          context.system.postgres.primary.restart(),
        );
      });
    },
  },
  {
    ...common,
    name: 'synchronous standby takes over',
    // This includes the time to copy a million tasks to the standby.
    lastsMs: (settings) => settings.outageMaxMs,
    async inject({ system }, step) {
      const fromMs = performance.now();
      const { takeOver } = await system.postgres.addStandby();
      const copiedMs = Math.round(performance.now() - fromMs);
      await delay(Math.max(1_000, step.lastsMs - copiedMs));
      const disturbance = system.disturb('postgresql', 'failover');
      try {
        const { fromPort, toPort } = await takeOver();
        await system.proxy.setUpstream(fromPort, toPort);
      } finally {
        disturbance.end();
      }
      return `the standby was there after ${copiedMs} ms`;
    },
  },
  {
    ...common,
    name: 'connections terminated',
    lastsMs: momentary,
    inject: (context) =>
      disturbed(context, 'terminated', () =>
        withConnection(context.system.postgres.url, (client) =>
          client.query(
            `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`,
          ),
        ),
      ),
  },
  {
    ...common,
    name: 'long lock on tasks',
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'lock', () =>
        withConnection(context.system.postgres.url, async (client) => {
          await client.query('BEGIN');
          await client.query('LOCK TABLE submissions, unfinished, finished IN ACCESS EXCLUSIVE MODE');
          await delay(step.lastsMs);
          await client.query('ROLLBACK');
        }),
      ),
  },
  {
    ...common,
    name: 'waiting rows locked',
    rows: [],
    lastsMs: outage,
    // This does not count as a disturbance: it delays each of these tasks by a second and affects no others.
    async inject({ system }, step) {
      const deadline = performance.now() + step.lastsMs;
      await withConnection(system.postgres.url, async (client) => {
        while (performance.now() < deadline) {
          await client.query('BEGIN');
          await client.query(`SELECT FROM unfinished WHERE status IN ('PENDING', 'SCHEDULED') FOR UPDATE`);
          await delay(150);
          await client.query('ROLLBACK');
          await delay(300);
        }
      });
      return `for ${step.lastsMs} ms`;
    },
  },
];

async function disturbed(context: FaultContext, fault: string, body: () => Promise<unknown>): Promise<string> {
  const disturbance = context.system.disturb('postgresql', fault);
  try {
    await body();
  } finally {
    disturbance.end();
  }
  return 'healed';
}
