import { setTimeout as delay } from 'node:timers/promises';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { momentary, outage, type Fault, type FaultContext } from './fault.ts';

const SUBMIT = 'PostgreSQL unreachable at submit';
const SETTLE = 'PostgreSQL unreachable at start or settle';

const common = { family: 'postgresql', resource: 'postgresql', targets: null, rows: [SUBMIT, SETTLE] } as const;

export const POSTGRES_FAULTS: readonly Fault[] = [
  {
    ...common,
    name: 'PostgreSQL restart',
    lastsMs: momentary,
    inject: (context) => disturbed(context, 'restart', () => context.system.postgres.restart()),
  },
  {
    ...common,
    name: 'PostgreSQL crash',
    lastsMs: momentary,
    inject: (context) =>
      disturbed(context, 'crash', async () => {
        await context.system.postgres.kill();
        await context.system.postgres.restart();
      }),
  },
  {
    ...common,
    name: 'PostgreSQL stopped',
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'stop', async () => {
        await context.system.postgres.stop();
        await delay(step.lastsMs);
        await context.system.postgres.restart();
      }),
  },
  {
    ...common,
    name: 'PostgreSQL frozen',
    lastsMs: outage,
    inject: (context, step) =>
      disturbed(context, 'freeze', async () => {
        context.system.postgres.pause();
        await delay(step.lastsMs);
        context.system.postgres.resume();
      }),
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
          await client.query('LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE');
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
    // No disturbance: it costs each of them a second, and nobody else anything.
    async inject({ system }, step) {
      const deadline = performance.now() + step.lastsMs;
      await withConnection(system.postgres.url, async (client) => {
        while (performance.now() < deadline) {
          await client.query('BEGIN');
          await client.query(`SELECT FROM tasks WHERE status IN ('PENDING', 'SCHEDULED') FOR UPDATE`);
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
