import type { DutyContext, DutyEnd } from '../duty.ts';
import type { Pass } from '../lease.ts';
import type { PruneStore, Retention } from './prune-store.ts';

/** The arguments of the duties that prune. */
export interface PruneDuty extends DutyContext {
  readonly store: PruneStore;
}

export const DAY_MS = 86_400_000;

export const retentionOf = ({ settings }: PruneDuty): Retention => ({
  retentionMs: settings.RETENTION,
  failedRetentionMs: settings.RETENTION_FAILED,
});

/** Partitions are made a week ahead, so that a failure of this duty need not be repaired at once. */
const DAYS_AHEAD = 7;

/** Makes the partitions of the days to come. */
export async function makePartitions({ store }: PruneDuty): Promise<DutyEnd> {
  await store.ensurePartitions(DAYS_AHEAD);
  return 'ended';
}

/** Deletes expired idempotency keys. */
export async function pruneKeys(context: PruneDuty, pass: Pass): Promise<DutyEnd> {
  const { store, limits } = context;
  let deleted: number;
  do {
    await pass.keep();
    deleted = await store.pruneKeys(pass.grant, limits.batchRows);
    pass.result.pruned.keys += deleted;
  } while (deleted === limits.batchRows && !context.isSpent());
  return deleted === limits.batchRows ? 'unfinished' : 'ended';
}

/** Rebuilds the bloated indexes of unfinished tasks, one at a time, because writers wait meanwhile. */
export async function rebuildIndexes(context: PruneDuty, pass: Pass): Promise<DutyEnd> {
  const { store, log } = context;
  for (;;) {
    await pass.keep();
    const index = await store.rebuildIndex(pass.grant);
    if (index === null) return 'ended';
    log.info({ index }, 'bloated index rebuilt');
    if (context.isSpent()) return 'unfinished';
  }
}
