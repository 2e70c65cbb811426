import type { Database } from '../../postgres/database.ts';
import type { Keys } from '../../redis/keys.ts';
import type { RedisConnection } from '../../redis/redis.ts';
import type { TaskQueue } from '../order/task-queue.ts';
import { createPresence } from '../presence/presence.ts';
import type { Duty, DutyContext, DutyEnd } from './duty.ts';
import type { Pass } from './lease.ts';
import { pruneDays } from './prune/prune-days.ts';
import { pruneRows } from './prune/prune-rows.ts';
import { createPruneStore, type PruneStore } from './prune/prune-store.ts';
import { makePartitions, pruneKeys, rebuildIndexes, type PruneDuty } from './prune/prune.ts';
import { createReclaimStore } from './reclaim/reclaim-store.ts';
import { reclaim, type ReclaimParts } from './reclaim/reclaim.ts';
import { findClaims, judgeClaims } from './reconcile/claims.ts';
import { lookAtQueues } from './reconcile/look-at-queues.ts';
import { rebuild } from './reconcile/rebuild.ts';
import type { ReconcileDuty } from './reconcile/reconcile-context.ts';
import { createReconcileQueue } from './reconcile/reconcile-queue.ts';
import { createReconcileStore } from './reconcile/reconcile-store.ts';
import { scanMembers, scanRunning, scanWaiting } from './reconcile/rolling-scan.ts';
import { checkWatermark } from './reconcile/watermark.ts';
import type { SweepLimits } from './sweep-context.ts';

/** The stores that the engine's own duties use. */
export interface EngineDutyParts extends ReclaimParts {
  readonly prunes: PruneStore;
}

/** The connections of the process that the duties use. */
export interface SweepConnections {
  readonly database: Pick<Database, 'run' | 'runWithin' | 'transaction'>;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
}

export function openEngineDutyParts({ database, redis, keys, queue }: SweepConnections): EngineDutyParts {
  return {
    reclaims: createReclaimStore(database),
    store: createReconcileStore(database),
    prunes: createPruneStore(database),
    presence: createPresence(redis, keys),
    members: createReconcileQueue(redis, keys),
    queue,
  };
}

/**
 * Returns the engine's duties in their order. Reclaim comes early, because the duties behind it may take long.
 * Duties of features come after these.
 */
export function createEngineDuties(parts: EngineDutyParts, { dutyMs, pruneIntervalMs }: SweepLimits): readonly Duty[] {
  const { reclaims, presence, pods, prunes, store, members, queue } = parts;
  const inEveryPass = { budgetMs: dutyMs };
  const housekeeping = { budgetMs: dutyMs, everyMs: pruneIntervalMs, housekeeping: true };
  const comparing = (run: (context: ReconcileDuty, pass: Pass) => Promise<void>): Duty['run'] =>
    ending((context, pass) => run({ ...context, store, members, queue }, pass));
  const pruning =
    (run: (context: PruneDuty, pass: Pass) => Promise<DutyEnd>): Duty['run'] =>
    (context, pass) =>
      run({ ...context, store: prunes }, pass);
  return [
    {
      ...inEveryPass,
      name: 'queues',
      run: comparing(async (context) => {
        context.findings.queues = await lookAtQueues(context);
      }),
    },
    {
      ...inEveryPass,
      name: 'holders',
      needs: ['queues'],
      run: comparing(async (context, pass) => {
        context.findings.claims = await findClaims(context, pass, context.findings.queues ?? []);
      }),
    },
    {
      ...inEveryPass,
      name: 'reclaim',
      // This needs no findings: PostgreSQL tells what dead workers hold even if the pass could not look at Redis'
      // queues.
      run: ending((context, pass) => reclaim({ ...context, reclaims, presence, pods, store, members, queue }, pass)),
    },
    {
      ...inEveryPass,
      name: 'claims',
      needs: ['claims'],
      run: comparing(async (context, pass) => {
        if (context.findings.claims !== null) await judgeClaims(context, pass, context.findings.claims);
      }),
    },
    {
      ...inEveryPass,
      name: 'rebuild',
      needs: ['queues'],
      run: comparing((context, pass) => rebuild(context, pass, context.findings.queues ?? [])),
    },
    { ...inEveryPass, name: 'watermark', run: comparing(checkWatermark) },
    { ...inEveryPass, name: 'scan-waiting', needs: ['queues'], run: comparing(scanWaiting) },
    { ...inEveryPass, name: 'scan-running', needs: ['queues'], run: comparing(scanRunning) },
    { ...inEveryPass, name: 'scan-members', needs: ['queues'], run: comparing(scanMembers) },
    { ...housekeeping, name: 'partitions', run: pruning(makePartitions) },
    { ...housekeeping, name: 'keys', run: pruning(pruneKeys) },
    { ...housekeeping, name: 'prune', run: pruning(pruneDays) },
    { ...housekeeping, name: 'prune-rows', run: pruning(pruneRows) },
    { ...housekeeping, name: 'indexes', run: pruning(rebuildIndexes) },
  ];
}

/** Wraps a duty that ends in every pass, or that keeps its own cursor. */
function ending(run: (context: DutyContext, pass: Pass) => Promise<void>): Duty['run'] {
  return async (context, pass) => {
    await run(context, pass);
    return 'ended';
  };
}
