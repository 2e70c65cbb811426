import { setTimeout as delay } from 'node:timers/promises';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { SWEEPER_LEASE_MS } from '../../../src/config/timings.ts';
import type { ChaosProcess } from '../processes.ts';
import type { ChaosSystem } from '../system.ts';
import { until } from '../until.ts';
import { beyondTtl, momentary, requireTarget, type Fault, type FaultContext } from './fault.ts';

const EVERY_KIND = ['api', 'worker', 'reclaimer'] as const;

export const PROCESS_FAULTS: readonly Fault[] = [
  {
    name: 'kill',
    family: 'processes',
    resource: 'target',
    targets: EVERY_KIND,
    rows: ['worker SIGKILL / node loss'],
    lastsMs: momentary,
    async inject({ system }, step) {
      await system.process(requireTarget(step)).kill();
      return 'killed';
    },
  },
  {
    name: 'terminate',
    family: 'processes',
    resource: 'target',
    targets: EVERY_KIND,
    rows: ['worker SIGTERM'],
    lastsMs: momentary,
    async inject({ system }, step) {
      await system.process(requireTarget(step)).terminate('SIGTERM');
      return 'ended';
    },
  },
  {
    name: 'freeze',
    family: 'processes',
    resource: 'target',
    targets: EVERY_KIND,
    rows: ['worker frozen, then back (zombie)'],
    lastsMs: beyondTtl,
    async inject({ system }, step) {
      await system.process(requireTarget(step)).freeze(step.lastsMs);
      return `frozen for ${step.lastsMs} ms`;
    },
  },
  {
    name: 'kill all workers',
    family: 'processes',
    resource: 'everything',
    targets: null,
    rows: ['worker SIGKILL / node loss'],
    lastsMs: momentary,
    async inject({ system }) {
      await Promise.all(system.ofKind('worker').map((worker) => worker.kill()));
      return 'all at once';
    },
  },
  {
    name: 'kill API between commit and enqueue',
    family: 'processes',
    resource: 'target',
    targets: ['api'],
    rows: ['API between commit and enqueue'],
    lastsMs: (_, random) => random.integer(800, 1_500),
    async inject({ system, clients }, step) {
      const target = requireTarget(step);
      const link = system.linkOf(target, 'redis');
      // From now on the API cannot enter the tasks that it commits, and it is killed before it can do so later.
      await system.proxy.setMode(link, { kind: 'cut' });
      const before = clients.offered;
      await delay(step.lastsMs);
      const killed = system.process(target).kill();
      await system.proxy.setMode(link, { kind: 'pass' });
      await killed;
      return `${clients.offered - before} tasks were offered meanwhile`;
    },
  },
  {
    name: 'kill the sweeper inside a pass',
    family: 'processes',
    resource: 'everything',
    targets: null,
    rows: ['reclaimer dies half-way', 'two reclaimers at once'],
    lastsMs: momentary,
    inject: (context) => hitSweeper(context, async (sweeper) => sweeper.kill()),
  },
  {
    name: 'freeze the sweeper inside a pass',
    family: 'processes',
    resource: 'everything',
    targets: null,
    rows: ['reclaimer dies half-way', 'two reclaimers at once'],
    lastsMs: (_, random) => random.integer(4_000, 8_000),
    inject: (context, step) => hitSweeper(context, async (sweeper) => sweeper.freeze(step.lastsMs)),
  },
  {
    name: "the sweeper's node vanishes",
    family: 'processes',
    resource: 'everything',
    targets: null,
    rows: ['reclaimer dies half-way'],
    lastsMs: beyondTtl,
    inject: (context, step) => hitSweeper(context, (sweeper) => vanish(context, sweeper, step.lastsMs)),
  },
  {
    name: 'node vanishes',
    family: 'processes',
    resource: 'target',
    targets: EVERY_KIND,
    rows: ['worker SIGKILL / node loss'],
    lastsMs: beyondTtl,
    async inject(context, step) {
      await vanish(context, context.system.process(requireTarget(step)), step.lastsMs);
      return `the stores believed in its connections for ${step.lastsMs} ms`;
    },
  },
  {
    name: 'cancel, then SIGKILL',
    family: 'processes',
    resource: 'everything',
    targets: null,
    rows: ['worker SIGKILL / node loss'],
    lastsMs: momentary,
    async inject({ system, clients }) {
      const id = await clients.submitKind('deaf', { priority: 1, ms: 20_000 });
      const worker = await runnerOf(system, id);
      await clients.cancel(id);
      await worker.kill();
      return `${worker.name} ran it`;
    },
  },
  {
    name: 'freeze all reclaimers',
    family: 'processes',
    resource: 'everything',
    targets: null,
    rows: ['the CronJob is suspended, late or cannot start'],
    lastsMs: (settings) => settings.recoveryMs,
    async inject({ system }, step) {
      // Meanwhile a worker dies, and the other processes have to detect it without the reclaimers.
      const frozen = Promise.all(system.ofKind('reclaimer').map((reclaimer) => reclaimer.freeze(step.lastsMs)));
      await delay(1_000);
      await system.ofKind('worker')[0]?.kill();
      await frozen;
      return `frozen for ${step.lastsMs} ms, and a worker killed`;
    },
  },
];

/** Kills a process without closing its connections, as a power cut does. For `ghostsMs`, only timeouts reveal it. */
async function vanish({ system }: FaultContext, victim: ChaosProcess, ghostsMs: number): Promise<void> {
  const links = [system.linkOf(victim.name, 'postgresql'), system.linkOf(victim.name, 'redis')];
  await Promise.all(links.map((link) => system.proxy.vanish(link, ghostsMs)));
  await victim.kill();
  await delay(ghostsMs);
}

/** Waits until a process runs a task, and returns it. */
async function runnerOf(system: ChaosSystem, id: string): Promise<ChaosProcess> {
  const text = `SELECT worker_id FROM tasks WHERE id = $1 AND status = 'PROCESSING'`;
  let found: ChaosProcess | undefined;
  await until(`task ${id} runs`, async () => {
    const { rows } = await withConnection(system.postgres.url, (client) => client.query(text, [id]));
    found = system.processes.find(({ workerId }) => workerId !== null && workerId === rows[0]?.worker_id);
    return found !== undefined;
  });
  return found as ChaosProcess;
}

/** Waits until a process holds the sweeper's lease, and hits it in that moment. */
async function hitSweeper({ system }: FaultContext, hit: (sweeper: ChaosProcess) => Promise<void>): Promise<string> {
  const text = 'SELECT holder FROM sweeper WHERE until > clock_timestamp()';
  const deadline = performance.now() + 15_000;
  const sweeper = await withConnection(system.postgres.url, async (client) => {
    while (performance.now() < deadline) {
      // Query without pauses, because a pass takes only a few milliseconds.
      const { rows } = await client.query<{ holder: string }>(text);
      const found = system.processes.find(({ workerId }) => workerId !== null && workerId === rows[0]?.holder);
      if (found !== undefined) return found;
    }
    return null;
  });
  if (sweeper === null) throw new Error('no process was seen inside a pass');
  // No process sweeps until the lease has expired, which delays everything that needs a sweep.
  const disturbance = system.disturb('sweepers', 'lease');
  await Promise.all([hit(sweeper), delay(SWEEPER_LEASE_MS).then(() => disturbance.end())]);
  return `it was ${sweeper.name}`;
}
